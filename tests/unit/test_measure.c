/* test_measure.c - the times and sizes of tests/vectors/measures/measures.json, which Python and `ee` run too. Called by CTest. */

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/encoding.h"

#include <string.h>

typedef ee_status (*parse_fn)(const char *text, uint64_t *out, ee_error *err);

static void check_all(const char *list, const char *unit, parse_fn parse, const char *advice) {
    json_error_t e;
    json_t *vectors = json_load_file(EE_VECTORS "/measures/measures.json", JSON_REJECT_DUPLICATES, &e), *one = NULL;
    size_t i = 0;
    if (!vectors) fail_msg("%s line %d", e.text, e.line);
    assert_true(json_array_size(json_object_get(vectors, list)) > 30);
    json_array_foreach(json_object_get(vectors, list), i, one) {
        const char *text = json_string_value(json_object_get(one, "text"));
        const json_t *want = json_object_get(one, unit);
        ee_error err = {0};
        uint64_t got = 1;
        ee_status st = parse(text, &got, &err);
        if (st != (json_is_null(want) ? EE_E_INVALID : EE_OK) || got != (uint64_t)json_integer_value(want))
            fail_msg("\"%s\": %s, %llu", text, ee_status_word(st), (unsigned long long)got);
        if (st && (!strstr(err.message, text) || !err.hint[0])) fail_msg("\"%s\": %s (%s)", text, err.message, err.hint);
        assert_int_equal(parse(text, &got, NULL), st);
    }
    ee_error err = {0};
    uint64_t got = 1;
    assert_int_equal(parse(NULL, &got, &err), EE_E_INVALID);
    assert_non_null(strstr(err.hint, advice));
    json_decref(vectors);
}

static void test_durations(void **state) {
    (void)state;
    check_all("durations", "ms", ee_duration_parse, "90s, 10m, 1h30m");
}

static void test_sizes(void **state) {
    (void)state;
    check_all("sizes", "bytes", ee_size_parse, "512M, 2G or 1.5GiB");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_durations), cmocka_unit_test(test_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
