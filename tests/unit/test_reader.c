/* test_reader.c - the cursor never goes past the end, and its first failure stays. Called by CTest. */

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/reader.h"

#include <string.h>

static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static void test_numbers_in_both_orders(void **state) {
    (void)state;
    eei_reader r = eei_reader_init(eei_span(bytes, sizeof bytes));
    assert_int_equal(eei_read_u8(&r), 1);
    assert_int_equal(eei_read_u16le(&r), 0x0302);
    assert_int_equal(eei_read_u16be(&r), 0x0405);
    assert_int_equal(eei_read_u32le(&r), 0x09080706);
    assert_int_equal(eei_read_u32be(&r), 0x0a0b0c0d);
    assert_int_equal(eei_reader_left(&r), 3);
    r = eei_reader_init(eei_span(bytes, sizeof bytes));
    assert_true(eei_read_u64le(&r) == UINT64_C(0x0807060504030201));
    assert_true(eei_read_u64be(&r) == UINT64_C(0x090a0b0c0d0e0f10));
    assert_int_equal(eei_reader_expect_end(&r, "x", NULL), EE_OK);
}

static void test_first_failure_stays(void **state) {
    (void)state;
    ee_error err = {0};
    eei_reader r = eei_reader_init(eei_span(bytes, 5));
    assert_int_equal(eei_reader_error(&r, "header", &err), EE_OK);
    assert_int_equal(err.status, EE_OK); /* untouched on success */
    eei_read_skip(&r, 3);
    assert_int_equal(eei_read_u32be(&r), 0);
    assert_true(eei_reader_failed(&r));
    assert_int_equal(eei_read_u8(&r), 0); /* would fit, but nothing is read after a failure */
    assert_int_equal(eei_reader_left(&r), 0);
    uint8_t out[2] = {9, 9};
    eei_read_bytes(&r, out, 2);
    assert_int_equal(out[0] | out[1], 0);
    ee_span none = eei_read_span(&r, 1);
    assert_true(none.data == NULL && none.len == 0);
    assert_int_equal(eei_reader_error(&r, "header", &err), EE_E_MALFORMED);
    assert_int_equal(err.offset_bytes, 3);
    assert_string_equal(err.message, "header: needs 4 bytes at offset 3, has 2");
    assert_string_equal(err.word, "malformed");
    assert_int_equal(eei_reader_expect_end(&r, "header", NULL), EE_E_MALFORMED);
}

static void test_leftover_bytes_are_refused(void **state) {
    (void)state;
    ee_error err = {0};
    eei_reader r = eei_reader_init(eei_span(bytes, 5));
    eei_read_skip(&r, 4);
    assert_int_equal(eei_reader_expect_end(&r, "body", &err), EE_E_MALFORMED);
    assert_int_equal(err.offset_bytes, 4);
    assert_string_equal(err.message, "body: 1 bytes too many after offset 4");
}

static void test_huge_lengths_do_not_wrap(void **state) {
    (void)state;
    static const size_t lengths[] = {17, SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        eei_reader r = eei_reader_init(eei_span(bytes, sizeof bytes));
        eei_read_skip(&r, 1);
        eei_read_skip(&r, lengths[i] - (lengths[i] == 17));
        assert_true(eei_reader_failed(&r));
        r = eei_reader_init(eei_span(bytes, sizeof bytes));
        assert_null(eei_read_span(&r, lengths[i]).data);
        assert_true(eei_reader_failed(&r));
    }
}

static void test_empty_input(void **state) {
    (void)state;
    eei_reader r = eei_reader_init(eei_span(NULL, 0));
    eei_read_skip(&r, 0);
    eei_read_bytes(&r, NULL, 0);
    assert_int_equal(eei_read_span(&r, 0).len, 0);
    assert_int_equal(eei_reader_expect_end(&r, "x", NULL), EE_OK);
    assert_int_equal(eei_read_u8(&r), 0);
    assert_true(eei_reader_failed(&r));
}

/* Every prefix of an input, in memory of exactly its size: reads fit or fail, never more. */
static void test_every_prefix(void **state) {
    (void)state;
    for (size_t len = 0; len <= sizeof bytes; len++) {
        uint8_t *exact = eei_memdup(bytes, len);
        eei_reader r = eei_reader_init(eei_span(exact, len));
        uint8_t tail[1];
        (void)eei_read_u8(&r), (void)eei_read_u16be(&r), (void)eei_read_u32le(&r), (void)eei_read_u64be(&r);
        eei_read_bytes(&r, tail, sizeof tail);
        assert_int_equal(eei_reader_failed(&r), len < 16);
        eei_free(exact);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_in_both_orders),
        cmocka_unit_test(test_first_failure_stays),
        cmocka_unit_test(test_leftover_bytes_are_refused),
        cmocka_unit_test(test_huge_lengths_do_not_wrap),
        cmocka_unit_test(test_empty_input),
        cmocka_unit_test(test_every_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
