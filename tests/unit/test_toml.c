/* test_toml.c - the subset of TOML that is read, the rest that is refused with its line. Called by CTest. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/toml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char example[] = "# policy\n"
                              "version = 1\n"
                              "name = \"caf\\u00e9 \\U0001F600 \\\"q\\\" \\\\ \\n\\t\\r\\b\\f\"  # trailing\n"
                              "\n"
                              "[measurements]\n"
                              "mrtd = [\"00ff\", # first\n"
                              "  \"11ee\",\n"
                              "\n"
                              "]\n"
                              "sealed = true\r\n"
                              "debug = false\n"
                              "\t[profile.work]   # indented\n"
                              "url = \"https://x\"\n"
                              "[[rule]]\n"
                              "max = -5\n"
                              "[[rule]]\n"
                              "\"quoted key\" = 9223372036854775807\n"
                              "[rule.limits]\n"
                              "min = -9223372036854775808\n"
                              "[ profile . \"a.b\" ]\n"
                              "empty = []\n"
                              "none = \"\"";
static const char example_json[] =
    "{\"version\": 1, \"name\": \"caf\\u00e9 \\ud83d\\ude00 \\\"q\\\" \\\\ \\n\\t\\r\\b\\f\","
    "\"measurements\": {\"mrtd\": [\"00ff\", \"11ee\"], \"sealed\": true, \"debug\": false},"
    "\"profile\": {\"work\": {\"url\": \"https://x\"}, \"a.b\": {\"empty\": [], \"none\": \"\"}},"
    "\"rule\": [{\"max\": -5}, {\"quoted key\": 9223372036854775807, \"limits\": {\"min\": -9223372036854775808}}]}";

static void test_document(void **state) {
    (void)state;
    eei_toml *t = NULL;
    ee_error err = {0};
    json_t *want = NULL;
    if (eei_toml_parse(eei_span_text(example), "policy.toml", &t, &err)) fail_msg("%s", err.message);
    assert_int_equal(eei_json_parse(eei_span_text(example_json), 10000, &want, &err), EE_OK);
    if (!json_equal(eei_toml_root(t), want)) fail_msg("%s", json_dumps(eei_toml_root(t), 0));
    static const struct {
        const char *path;
        unsigned line;
    } lines[] = {
        {"version", 2},
        {"name", 3},
        {"measurements", 5},
        {"measurements.mrtd", 6},
        {"measurements.sealed", 10},
        {"profile.work", 12},
        {"profile.work.url", 13},
        {"rule.0", 14},
        {"rule.0.max", 15},
        {"rule.1", 16},
        {"rule.1.quoted key", 17},
        {"rule.1.limits", 18},
        {"rule.1.limits.min", 19},
        {"profile.\"a.b\".empty", 21},
        {"nothing", 0},
        {"profile", 0},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (eei_toml_line(t, lines[i].path) != lines[i].line) fail_msg("%s: %u", lines[i].path, eei_toml_line(t, lines[i].path));
    assert_string_equal(eei_toml_name(t), "policy.toml");
    assert_int_equal(eei_toml_fail(t, "measurements.mrtd", &err, "%d bytes, not 48", 2), EE_E_CONFIG);
    assert_string_equal(err.message, "policy.toml:6: key \"mrtd\": 2 bytes, not 48");
    (void)eei_toml_fail(t, "measurements.rtmr0", &err, "is missing"); /* not there: the line of its table */
    assert_string_equal(err.message, "policy.toml:5: key \"rtmr0\": is missing");
    (void)eei_toml_fail(t, "owner", &err, "is missing");
    assert_string_equal(err.message, "policy.toml:22: key \"owner\": is missing"); /* the last line */
    (void)eei_toml_fail(t, "rule.1", &err, "is wrong");                            /* an element has no name of its own */
    assert_string_equal(err.message, "policy.toml:16: key \"rule\": is wrong");
    json_decref(want);
    eei_toml_free(t);
    eei_toml_free(NULL);
}

static void test_small_documents(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "\n",
                                        "\r\n",
                                        "  \t",
                                        "#",
                                        "# only\n#",
                                        "a=1",
                                        "a = 1 #x",
                                        "[a]",
                                        "[a]\n[b]",
                                        "[a.b]\n[a]",
                                        "[[a]]\n[[a]]",
                                        "a = [1,2,]",
                                        "a=[\n#c\n1\n,\n2\n]",
                                        "a = -0",
                                        "a = 0",
                                        "[a]\nb = 1\n[a.c]",
                                        "1 = 1",
                                        "-_ = 1",
                                        "\"\\\"\" = 1",
                                        "[[a.b]]\n[a.b.c]\n[[a.b]]\n[a.b.c]",
                                        "a = \"#\" # c"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        eei_toml *t = NULL;
        ee_error err = {0};
        char *exact = eei_memdup(texts[i], strlen(texts[i])); /* no NUL behind: the sanitizer sees one byte too far */
        if (eei_toml_parse(eei_span(exact, strlen(texts[i])), "t", &t, &err)) fail_msg("%s: %s", texts[i], err.message);
        eei_free(exact);
        eei_toml_free(t);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"a", "t:1: expected = after key \"a\""},
        {"a =", "t:1: key \"a\": a value is missing"},
        {"a = \n", "t:1: key \"a\": a value is missing"},
        {"= 1", "t:1: expected a key"},
        {"a = 1 b = 2", "t:1: key \"a\": unexpected text after the value"},
        {"a = 1\na = 2", "t:2: key \"a\" is already there, line 1"},
        {"a = 1\n\"a\" = 2", "t:2: key \"a\" is already there, line 1"},
        {"[x]\na = 1\n\na = 2", "t:4: key \"a\" is already there, line 2"},
        {"\"\\u0061\" = 1\na = 2", "t:2: key \"a\" is already there, line 1"},
        {"[a]\n[a]", "t:2: table \"a\" is already there, line 1"},
        {"[a.b]\n[a]\nb = 1", "t:3: key \"b\" is already there, line 1"},
        {"a = 1\n[a]", "t:2: \"a\" is a value, not a table, line 1"},
        {"a = 1\n[a.b]", "t:2: \"a\" is a value, not a table, line 1"},
        {"a = []\n[[a]]", "t:2: \"a\" is already there and is not an array of tables"},
        {"a = [1]\n[a.b]", "t:2: \"a\" is a value, not a table, line 1"},
        {"[a]\n[[a]]", "t:2: \"a\" is already there and is not an array of tables"},
        {"[[a]]\n[a]", "t:2: \"a\" is an array of tables, write [[a]]"},
        {"[a", "t:1: expected ] at the end"},
        {"[[a]", "t:1: expected ]] at the end"},
        {"[]", "t:1: expected a key"},
        {"[a.]", "t:1: expected a key"},
        {"[a] b", "t:1: unexpected text after the table's name"},
        {"[a.b.c.d.e.f.g.h.i]", "t:1: tables deeper than 8"},
        {"a = \"x", "t:1: key \"a\": the string has no closing quote on this line"},
        {"a = \"x\ny\"", "t:1: key \"a\": the string has no closing quote on this line"},
        {"a = \"x\\", "t:1: key \"a\": unknown escape"},
        {"a = \"\\q\"", "t:1: key \"a\": unknown escape"},
        {"a = \"\\u12\"", "t:1: key \"a\": \\u needs 4 hex digits"},
        {"a = \"\\U0001F60\"", "t:1: key \"a\": \\U needs 8 hex digits"},
        {"a = \"\\u0000\"", "t:1: key \"a\": U+0000 is not a character"},
        {"a = \"\\ud800\"", "t:1: key \"a\": U+D800 is not a character"},
        {"a = \"\\U00110000\"", "t:1: key \"a\": U+110000 is not a character"},
        {"a = \"\x01\"", "t:1: key \"a\": control character 0x01 in a string"},
        {"# \x01", "t:1: control character 0x01 in a comment"},
        {"# a\rb", "t:1: control character 0x0d in a comment"},
        {"a = 'x'", "t:1: key \"a\": literal strings are not supported"},
        {"a = \"\"\"x\"\"\"", "t:1: key \"a\": multi-line strings are not supported"},
        {"a = '''x'''", "t:1: key \"a\": literal strings are not supported"},
        {"a = {b = 1}", "t:1: key \"a\": inline tables are not supported"},
        {"a = [[1]]", "t:1: key \"a\": arrays inside arrays are not supported"},
        {"a = [{}]", "t:1: key \"a\": inline tables are not supported"},
        {"a.b = 1", "t:1: dotted keys are not supported"},
        {"a = 1.5", "t:1: key \"a\": \"1.5\" is not a value"},
        {"a = 1e3", "t:1: key \"a\": \"1e3\" is not a value"},
        {"a = 1_000", "t:1: key \"a\": \"1_000\" is not a value"},
        {"a = 0x10", "t:1: key \"a\": numbers are decimal, without leading zeros"},
        {"a = 01", "t:1: key \"a\": numbers are decimal, without leading zeros"},
        {"a = -01", "t:1: key \"a\": numbers are decimal, without leading zeros"},
        {"a = +1", "t:1: key \"a\": \"+1\" is not a value"},
        {"a = -", "t:1: key \"a\": \"-\" is not a value"},
        {"a = --1", "t:1: key \"a\": \"--1\" is not a value"},
        {"a = inf", "t:1: key \"a\": \"inf\" is not a value"},
        {"a = True", "t:1: key \"a\": \"True\" is not a value"},
        {"a = yes", "t:1: key \"a\": \"yes\" is not a value"},
        {"a = 2026-01-31", "t:1: key \"a\": \"2026-01-31\" is not a value"},
        {"a = 9223372036854775808", "t:1: key \"a\": the number is too large"},
        {"a = -9223372036854775809", "t:1: key \"a\": the number is too large"},
        {"a = 99999999999999999999999", "t:1: key \"a\": the number is too large"},
        {"a = [1 2]", "t:1: key \"a\": expected a comma or a closing bracket"},
        {"a = [,]", "t:1: key \"a\": a value is missing"},
        {"a = [1,,2]", "t:1: key \"a\": a value is missing"},
        {"a = [1,\n2", "t:2: key \"a\": the array has no closing bracket"},
        {"a = [\n\n\"x]", "t:3: key \"a\": the string has no closing quote on this line"},
        {"\"\" = 1", "t:1: a key must not be empty"},
        {"'a' = 1", "t:1: expected a key"},
        {"caf\xc3\xa9 = 1", "t:1: expected = after key \"caf\""},
        {"\xef\xbb\xbf"
         "a = 1",
         "t:1: expected a key"},
        {"a = \"\xff\"", "t: is not UTF-8 text"},
        {"a = 1\rb = 2", "t:1: key \"a\": unexpected text after the value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eei_toml *t = NULL;
        ee_error err = {0};
        char *exact = eei_memdup(cases[i].text, strlen(cases[i].text));
        if (eei_toml_parse(eei_span(exact, strlen(cases[i].text)), "t", &t, &err) != EE_E_CONFIG) fail_msg("%s", cases[i].text);
        if (strncmp(err.message, cases[i].message, strlen(cases[i].message)) != 0) fail_msg("%s: %s", cases[i].text, err.message);
        assert_null(t);
        eei_free(exact);
    }
    eei_toml *t = NULL;
    assert_int_equal(eei_toml_parse(eei_span("a = 1\0", 6), "t", &t, NULL), EE_E_CONFIG);
}

static void test_limits(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT(4 << 20);
    eei_toml *t = NULL;
    ee_error err = {0};
    for (int over = 0; over < 2; over++) { /* string of 65,536 bytes, and one more */
        eei_buf_reset(&b);
        assert_int_equal(eei_buf_append_text(&b, "a = \""), EE_OK);
        for (int i = 0; i < 65536 + over; i++) assert_int_equal(eei_buf_append(&b, "x", 1), EE_OK);
        assert_int_equal(eei_buf_append_text(&b, "\""), EE_OK);
        assert_int_equal(eei_toml_parse(eei_buf_span(&b), "t", &t, &err), over ? EE_E_CONFIG : EE_OK);
        eei_toml_free(t);
    }
    for (int over = 0; over < 2; over++) { /* 16,384 keys, and one more */
        eei_buf_reset(&b);
        for (int i = 0; i < 16384 + over; i++) assert_int_equal(eei_buf_printf(&b, "k%d=1\n", i), EE_OK);
        assert_int_equal(eei_toml_parse(eei_buf_span(&b), "t", &t, &err), over ? EE_E_CONFIG : EE_OK);
        eei_toml_free(t);
    }
    for (int over = 0; over < 2; over++) { /* 4,096 items, and one more */
        eei_buf_reset(&b);
        assert_int_equal(eei_buf_append_text(&b, "a=["), EE_OK);
        for (int i = 0; i < 4096 + over; i++) assert_int_equal(eei_buf_append_text(&b, "1,"), EE_OK);
        assert_int_equal(eei_buf_append_text(&b, "]"), EE_OK);
        assert_int_equal(eei_toml_parse(eei_buf_span(&b), "t", &t, &err), over ? EE_E_CONFIG : EE_OK);
        eei_toml_free(t);
    }
    eei_buf_reset(&b);
    for (int i = 0; i < 200; i++) assert_int_equal(eei_buf_append_text(&b, "longkey"), EE_OK);
    assert_int_equal(eei_buf_append_text(&b, "=1"), EE_OK);
    assert_int_equal(eei_toml_parse(eei_buf_span(&b), "t", &t, &err), EE_E_CONFIG);
    eei_buf_reset(&b);
    for (int i = 0; i < (1 << 20) + 1; i++) assert_int_equal(eei_buf_append(&b, "\n", 1), EE_OK);
    assert_int_equal(eei_toml_parse(eei_buf_span(&b), "t", &t, &err), EE_E_LIMIT);
    eei_buf_clear(&b);
}

static void test_load(void **state) {
    (void)state;
    char path[] = "/tmp/ee-test-toml-XXXXXX", want[128];
    ee_error err = {0};
    eei_toml *t = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a = 1\nb = ?\n", 12), 12);
    close(fd);
    assert_int_equal(eei_toml_load(path, 1000, &t, &err), EE_E_CONFIG);
    snprintf(want, sizeof want, "%s:2: key \"b\": a value is missing or not supported here", path);
    assert_string_equal(err.message, want);
    assert_int_equal(eei_toml_load(path, 11, &t, &err), EE_E_LIMIT);
    unlink(path);
    assert_int_equal(eei_toml_load(path, 1000, &t, &err), EE_E_NOT_FOUND);
    assert_null(t);
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    size_t made = 0, n = 0;
    do {
        eei_toml *t = NULL;
        eei_alloc_fail_at(++n);
        ee_status st = eei_toml_parse(eei_span_text(example), "t", &t, NULL);
        made = eei_alloc_fail_at(0);
        if (st != (made >= n ? EE_E_NOMEM : EE_OK)) fail_msg("allocation %zu of %zu: %s", n, made, ee_status_word(st));
        assert_int_equal(st == EE_OK, t != NULL);
        eei_toml_free(t);
    } while (made >= n);
    assert_true(n > 40);
}

int main(void) {
    json_set_alloc_funcs(eei_malloc, eei_free);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document), cmocka_unit_test(test_small_documents),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_limits),
        cmocka_unit_test(test_load),     cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
