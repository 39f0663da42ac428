/* test_money.c - the amounts of tests/vectors/money/amounts.json, which Python and Go run too. Called by CTest. */

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/buf.h"
#include "base/encoding.h"

#include <string.h>

static json_t *load(void) {
    json_error_t e;
    json_t *vectors = json_load_file(EE_VECTORS "/money/amounts.json", JSON_REJECT_DUPLICATES, &e);
    if (!vectors) fail_msg("%s line %d", e.text, e.line);
    return vectors;
}

static void test_M6_amounts(void **state) {
    (void)state;
    json_t *vectors = load(), *cases = json_object_get(vectors, "cases"), *one = NULL;
    size_t i = 0;
    assert_true(json_array_size(cases) >= 60);
    json_array_foreach(cases, i, one) {
        const char *text = json_string_value(json_object_get(one, "text"));
        const json_t *micros = json_object_get(one, "micros");
        const json_int_t offset = json_integer_value(json_object_get(one, "offset"));
        ee_error err = {0};
        ee_money got = 77;
        ee_status st = ee_money_parse(text, &got, &err);
        if (strcmp(ee_status_word(st), json_string_value(json_object_get(one, "word"))) != 0)
            fail_msg("\"%s\": %s", text, ee_status_word(st));
        if (json_is_integer(micros)) {
            if (got != json_integer_value(micros)) fail_msg("\"%s\": %lld", text, (long long)got);
            continue;
        }
        assert_int_equal(got, 0);
        if (err.offset_bytes != (uint64_t)offset)
            fail_msg("\"%s\": offset %u, want %d: %s", text, (unsigned)err.offset_bytes, (int)offset, err.message);
        assert_true(strlen(err.message) > 10 && strlen(err.hint) > 10);
        assert_true(eei_utf8_valid(eei_span_text(err.message)));
        assert_int_equal(ee_money_parse(text, &got, NULL), EE_E_INVALID_AMOUNT);
    }
    json_decref(vectors);
}

static void test_format_and_back(void **state) {
    (void)state;
    json_t *vectors = load(), *one = NULL;
    size_t i = 0;
    assert_true(json_array_size(json_object_get(vectors, "format")) > 10);
    json_array_foreach(json_object_get(vectors, "format"), i, one) {
        const ee_money micros = json_integer_value(json_object_get(one, "micros"));
        char text[32];
        assert_ptr_equal(ee_money_format(micros, text), text);
        assert_string_equal(text, json_string_value(json_object_get(one, "text")));
        ee_money back = 0;
        if (micros > 0) {
            assert_int_equal(ee_money_parse(text, &back, NULL), EE_OK);
            assert_true(back == micros);
        }
    }
    json_decref(vectors);
}

static void test_messages_show_what_is_wrong(void **state) {
    (void)state;
    ee_error err = {0};
    ee_money got = 0;
    assert_int_equal(ee_money_parse("1,000", &got, &err), EE_E_INVALID_AMOUNT);
    assert_string_equal(err.message,
                        "amount \"1,000\": separators are not allowed, write 1000 for a thousand and a point for decimals, at position 2");
    assert_int_equal(ee_money_parse(NULL, &got, &err), EE_E_INVALID_AMOUNT);
    char flood[5000];
    memset(flood, '9', sizeof flood - 1);
    flood[sizeof flood - 1] = '\0';
    assert_int_equal(ee_money_parse(flood, &got, &err), EE_E_INVALID_AMOUNT);
    assert_true(strlen(err.message) < 200);
    memset(flood, '0', sizeof flood - 1);
    flood[sizeof flood - 2] = '1';
    assert_int_equal(ee_money_parse(flood, &got, &err), EE_OK);
    assert_int_equal(got, 1000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_M6_amounts),
        cmocka_unit_test(test_format_and_back),
        cmocka_unit_test(test_messages_show_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
