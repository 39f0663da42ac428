/* test_writer.c - the encoding twin of the reader: what is written reads back, the first failure stays. Called by CTest. */

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/reader.h"
#include "base/writer.h"

static void test_layout(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT(64);
    eei_writer w = eei_writer_init(&b);
    eei_write_u8(&w, 0x01);
    eei_write_u16le(&w, 0x0203);
    eei_write_u16be(&w, 0x0405);
    eei_write_u32le(&w, 0x06070809);
    eei_write_u32be(&w, 0x0a0b0c0d);
    eei_write_zeros(&w, 2);
    eei_write_bytes(&w, "xy", 2);
    static const uint8_t want[] = {1, 3, 2, 4, 5, 9, 8, 7, 6, 0xa, 0xb, 0xc, 0xd, 0, 0, 'x', 'y'};
    assert_int_equal(w.status, EE_OK);
    assert_true(eei_span_equal(eei_buf_span(&b), eei_span(want, sizeof want)));
    eei_buf_clear(&b);
}

static void test_reads_back(void **state) {
    (void)state;
    static const uint64_t values[] = {0, 1, 0x80, 0x7fff, 0xdeadbeef, UINT64_C(0x8000000000000000), UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        const uint64_t v = values[i];
        eei_buf b = EEI_BUF_INIT(64);
        eei_writer w = eei_writer_init(&b);
        eei_write_u64le(&w, v), eei_write_u64be(&w, v), eei_write_u32le(&w, (uint32_t)v), eei_write_u16be(&w, (uint16_t)v);
        eei_reader r = eei_reader_init(eei_buf_span(&b));
        assert_true(eei_read_u64le(&r) == v && eei_read_u64be(&r) == v);
        assert_true(eei_read_u32le(&r) == (uint32_t)v && eei_read_u16be(&r) == (uint16_t)v);
        assert_int_equal(eei_reader_expect_end(&r, "x", NULL), EE_OK);
        eei_buf_clear(&b);
    }
}

static void test_first_failure_stays(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT(3);
    eei_writer w = eei_writer_init(&b);
    eei_write_u16be(&w, 1);
    eei_write_u16be(&w, 2);
    assert_int_equal(w.status, EE_E_LIMIT);
    eei_write_u8(&w, 3); /* would fit, but a gap in a layout must not be papered over */
    eei_write_zeros(&w, 1);
    assert_int_equal(w.status, EE_E_LIMIT);
    assert_int_equal(b.len, 2);
    eei_buf_clear(&b);
    eei_alloc_fail_at(1);
    w = eei_writer_init(&b);
    eei_write_zeros(&w, 1);
    eei_alloc_fail_at(0);
    assert_int_equal(w.status, EE_E_NOMEM);
    eei_buf_clear(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layout), cmocka_unit_test(test_reads_back),
                                       cmocka_unit_test(test_first_failure_stays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
