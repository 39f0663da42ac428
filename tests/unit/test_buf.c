/* test_buf.c - limits, growth, wiping and spans of base/buf, and allocation counting of base/alloc. Not for parsing. */

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

static void test_append_stops_at_the_maximum(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT(5);
    assert_int_equal(eei_buf_append(&b, "abc", 3), EE_OK);
    assert_int_equal(eei_buf_append(&b, "def", 3), EE_E_LIMIT);
    assert_int_equal(b.len, 3);
    assert_int_equal(eei_buf_append_text(&b, "de"), EE_OK);
    assert_int_equal(eei_buf_append(&b, "", 0), EE_OK);
    assert_int_equal(eei_buf_append(&b, "f", 1), EE_E_LIMIT);
    assert_int_equal(eei_buf_append(&b, "f", SIZE_MAX), EE_E_LIMIT); /* len + SIZE_MAX wraps */
    assert_true(eei_span_equal(eei_buf_span(&b), eei_span_text("abcde")));
    assert_string_equal(eei_buf_cstr(&b), "abcde"); /* the NUL is beyond the content, so it fits at the maximum too */
    assert_int_equal(b.len, 5);
    eei_buf_clear(&b);
    assert_null(b.data);
    assert_int_equal(eei_buf_append(&b, "x", 1), EE_OK); /* usable again */
    eei_buf_clear(&b);
}

static void test_empty_buffer_never_hands_out_a_bad_pointer(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT(0);
    uint8_t *room = NULL;
    assert_int_equal(eei_buf_append(&b, NULL, 0), EE_OK);
    assert_int_equal(eei_buf_append_span(&b, eei_span(NULL, 0)), EE_OK);
    assert_int_equal(eei_buf_append(&b, "x", 1), EE_E_LIMIT);
    assert_int_equal(eei_buf_reserve(&b, 0, &room), EE_OK);
    assert_non_null(room);
    assert_string_equal(eei_buf_cstr(&b), "");
    eei_buf_consume(&b, 0);
    eei_buf_clear(&b);
    eei_buf_clear(&b);
}

static void test_growth_keeps_content_for_every_size(void **state) {
    (void)state;
    for (size_t max = 1; max < 300; max += 7) {
        eei_buf b = EEI_BUF_INIT(max);
        for (size_t i = 0; i < max; i++) {
            uint8_t byte = (uint8_t)(i * 31);
            assert_int_equal(eei_buf_append(&b, &byte, 1), EE_OK);
        }
        assert_int_equal(eei_buf_append(&b, "x", 1), EE_E_LIMIT);
        for (size_t i = 0; i < max; i++) assert_int_equal(b.data[i], (uint8_t)(i * 31));
        assert_true(b.cap <= max + 1);
        eei_buf_clear(&b);
    }
}

static void test_printf_is_all_or_nothing(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT(8);
    assert_int_equal(eei_buf_printf(&b, "%d-%s", 12, "abcde"), EE_OK);
    assert_int_equal(b.len, 8);
    assert_int_equal(eei_buf_printf(&b, "%s", "z"), EE_E_LIMIT);
    assert_int_equal(eei_buf_printf(&b, "%s", ""), EE_OK);
    assert_string_equal(eei_buf_cstr(&b), "12-abcde");
    eei_buf_consume(&b, 3);
    assert_string_equal(eei_buf_cstr(&b), "abcde");
    assert_int_equal(eei_buf_printf(&b, "%04x", 0xbeefu), EE_E_LIMIT);
    assert_int_equal(eei_buf_printf(&b, "%03x", 0xeefu), EE_OK);
    assert_string_equal(eei_buf_cstr(&b), "abcdeeef");
    eei_buf_clear(&b);
}

static void test_reserve_and_commit(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT(100);
    uint8_t *room = NULL;
    assert_int_equal(eei_buf_reserve(&b, 101, &room), EE_E_LIMIT);
    assert_null(room);
    assert_int_equal(eei_buf_reserve(&b, 100, &room), EE_OK);
    memset(room, 7, 100);
    eei_buf_commit(&b, 40);
    assert_int_equal(b.len, 40);
    eei_buf_reset(&b);
    assert_int_equal(b.len, 0);
    assert_non_null(b.data);
    eei_buf_clear(&b);
}

static void test_L5_secret_bytes_do_not_stay_behind(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT_SECRET(1000);
    assert_int_equal(eei_buf_append_text(&b, "secret-secret"), EE_OK);
    eei_buf_consume(&b, 7);
    assert_memory_equal(b.data, "secret\0\0\0\0\0\0\0", 13);
    eei_buf_reset(&b);
    assert_memory_equal(b.data, "\0\0\0\0\0\0\0\0\0\0\0\0\0", 13);
    for (int i = 0; i < 50; i++) assert_int_equal(eei_buf_append_text(&b, "0123456789"), EE_OK); /* moves several times */
    for (size_t i = 0; i < 500; i++) assert_int_equal(b.data[i], '0' + i % 10);
    eei_buf_clear(&b);
    char key[4] = {1, 2, 3, 4};
    eei_wipe(key, sizeof key);
    assert_memory_equal(key, "\0\0\0\0", 4);
}

static void test_allocation_failure_appends_nothing(void **state) {
    (void)state;
    for (int secret = 0; secret < 2; secret++) {
        eei_buf b = EEI_BUF_INIT(4096);
        b.secret = secret;
        assert_int_equal(eei_buf_append_text(&b, "kept"), EE_OK);
        char large[1000] = {0};
        uint8_t *room = NULL;
        eei_alloc_fail_at(1);
        assert_int_equal(eei_buf_append(&b, large, sizeof large), EE_E_NOMEM);
        eei_alloc_fail_at(1);
        assert_int_equal(eei_buf_printf(&b, "%900d", 1), EE_E_NOMEM);
        eei_alloc_fail_at(1);
        assert_int_equal(eei_buf_reserve(&b, 1000, &room), EE_E_NOMEM);
        assert_null(room);
        eei_alloc_fail_at(0);
        assert_string_equal(eei_buf_cstr(&b), "kept");
        eei_buf_clear(&b);
    }
}

static void test_secret_equal(void **state) {
    (void)state;
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {{"", "", true},         {"a", "a", true},        {"a", "b", false},
                 {"abc", "abcd", false}, {"abcd", "abce", false}, {"xbcd", "abcd", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ee_span a = eei_span_text(cases[i].a), b = eei_span_text(cases[i].b);
        assert_int_equal(eei_secret_equal(a, b), cases[i].equal);
        assert_int_equal(eei_span_equal(a, b), cases[i].equal);
    }
    for (unsigned bit = 0; bit < 32 * 8; bit++) { /* no bit is overlooked */
        uint8_t x[32] = {0}, y[32] = {0};
        y[bit / 8] = (uint8_t)(1u << bit % 8);
        assert_false(eei_secret_equal(eei_span(x, 32), eei_span(y, 32)));
    }
    assert_null(eei_span_text(NULL).data);
}

static void test_utf8(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"", true},
        {"plain", true},
        {"\x7f", true},
        {"\xc2\x80", true},
        {"\xdf\xbf", true},
        {"\xe0\xa0\x80", true},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\xf0\x90\x80\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"a\xc3\xa9z", true},
        {"\x80", false},
        {"\xbf", false},
        {"\xc0\x80", false},
        {"\xc1\xbf", false},
        {"\xc2", false},
        {"\xc2\x41", false},
        {"\xe0\x80\x80", false},
        {"\xe0\x9f\xbf", false},
        {"\xe2\x82", false},
        {"\xed\xa0\x80", false},
        {"\xed\xbf\xbf", false},
        {"\xf0\x80\x80\x80", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xf0\x9f\x98", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf5\x80\x80\x80", false},
        {"\xfe", false},
        {"\xff", false},
        {"ok\xff", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (eei_utf8_valid(eei_span_text(cases[i].text)) != cases[i].valid) fail_msg("case %zu", i);
        char *exact = eei_memdup(cases[i].text, strlen(cases[i].text)); /* no NUL behind it: the sanitizer sees one byte too far */
        assert_int_equal(eei_utf8_valid(eei_span(exact, strlen(cases[i].text))), cases[i].valid);
        eei_free(exact);
    }
    assert_true(eei_utf8_valid(eei_span("a\0b", 3)));
}

static void test_sizes_do_not_wrap(void **state) {
    (void)state;
    size_t n = 0;
    assert_true(eei_mul_size(&n, SIZE_MAX / 2, 2));
    assert_int_equal(n, SIZE_MAX - 1);
    assert_false(eei_mul_size(&n, SIZE_MAX / 2 + 1, 2));
    assert_true(eei_add_size(&n, SIZE_MAX, 0));
    assert_false(eei_add_size(&n, SIZE_MAX, 1));
    assert_null(eei_calloc(SIZE_MAX / 2, 3));
    assert_null(eei_strndup("", SIZE_MAX));
    assert_null(eei_strdup(NULL));
}

static void test_nth_allocation_fails_once(void **state) {
    (void)state;
    eei_alloc_fail_at(2);
    void *a = eei_malloc(0), *b = eei_malloc(1), *c = eei_calloc(1, 1);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    assert_int_equal(eei_alloc_fail_at(0), 3);
    assert_int_equal(eei_alloc_fail_at(0), 0);
    eei_free(a);
    eei_free(c);
    eei_free(NULL);
    char *text = eei_strndup("abcdef", 3);
    assert_string_equal(text, "abc");
    char *taken = eei_take(&text);
    assert_null(text);
    eei_free(taken);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_stops_at_the_maximum),
        cmocka_unit_test(test_empty_buffer_never_hands_out_a_bad_pointer),
        cmocka_unit_test(test_growth_keeps_content_for_every_size),
        cmocka_unit_test(test_printf_is_all_or_nothing),
        cmocka_unit_test(test_reserve_and_commit),
        cmocka_unit_test(test_L5_secret_bytes_do_not_stay_behind),
        cmocka_unit_test(test_allocation_failure_appends_nothing),
        cmocka_unit_test(test_secret_equal),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_sizes_do_not_wrap),
        cmocka_unit_test(test_nth_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
