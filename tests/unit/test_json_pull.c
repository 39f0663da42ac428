/* test_json_pull.c - JSON read as it comes: what is refused and where, and that what is accepted means what jansson says it means. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "base/alloc.h"
#include "base/encoding.h"
#include "base/json_pull.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *text, *why; /* why NULL: accepted */
} documents[] = {
    {"empty object", "{}", NULL},
    {"empty array", "[]", NULL},
    {"white space everywhere", " \t\r\n{ \"a\" : [ 1 , 2 ] , \"b\" : { } } \n", NULL},
    {"words", "[true,false,null]", NULL},
    {"numbers", "[0,1,-1,18446744073709551615]", NULL},
    {"escapes", "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"]", NULL},
    {"depth 16", "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]", NULL},
    {"depth 17", "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", "nested"},
    {"empty", "", "no value"},
    {"only white space", "  ", "no value"},
    {"two values", "{} {}", "after its end"},
    {"a comma too many", "[1,]", "no value"},
    {"a comma at the start", "[,1]", "no value"},
    {"no comma", "[1 2]", "comma"},
    {"no colon", "{\"a\" 1}", "colon"},
    {"a name that is none", "{a:1}", "name"},
    {"a trailing comma", "{\"a\":1,}", "name"},
    {"a name twice", "{\"a\":1,\"b\":2,\"a\":1}", "twice"},
    {"the same name deeper", "{\"a\":{\"a\":1}}", NULL},
    {"an escape in a name", "{\"\\u0061\":1}", "escape in a name"},
    {"a fraction", "[1.0]", "whole number"},
    {"an exponent", "[1e3]", "whole number"},
    {"a leading zero", "[01]", "whole number"},
    {"a plus", "[+1]", "no value"},
    {"2^64", "[18446744073709551616]", "whole number"},
    {"a minus alone", "[-]", "whole number"},
    {"NaN", "[NaN]", "no value"},
    {"half a word", "[tru]", "no value"},
    {"a single quote", "['a']", "no value"},
    {"a comment", "[1/*x*/]", "comma"},
    {"a string without end", "[\"a", "does not end"},
    {"a backslash at the end", "[\"a\\", "does not end"},
    {"a control character", "[\"a\nb\"]", "control"},
    {"a NUL escape", "[\"\\u0000\"]", "escape"},
    {"half a surrogate pair", "[\"\\ud83d\"]", "escape"},
    {"a pair in the wrong order", "[\"\\ude00\\ud83d\"]", "escape"},
    {"a pair of other halves", "[\"\\ud83dx\\ude00\"]", "escape"},
    {"an unknown escape", "[\"\\x41\"]", "escape"},
    {"an escape of letters", "[\"\\u00zz\"]", "escape"},
    {"an escape that is cut", "[\"\\u00\"]", "escape"},
    {"bad UTF-8", "[\"\xc3\x28\"]", "UTF-8"},
    {"an overlong form", "[\"\xc0\xaf\"]", "UTF-8"},
    {"a byte order mark", "\xef\xbb\xbf[]", "no value"},
    {"the wrong closing bracket", "[1}", "comma"},
    {"nothing closed", "[[1]", "comma"},
};

static ee_status skim(ee_span text, ee_error *err) {
    eei_pull p;
    eei_pull_begin(&p, text);
    eei_pull_skip(&p);
    return eei_pull_end(&p, err);
}

static void test_documents(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        ee_error err = {0};
        size_t len = strlen(documents[i].text);
        char *exact = malloc(len ? len : 1); /* exact size: a sanitizer sees one byte too far */
        memcpy(exact, documents[i].text, len);
        ee_status st = skim(eei_span(exact, len), &err);
        if ((st == EE_OK) != (documents[i].why == NULL)) fail_msg("%s: %d %s", documents[i].name, (int)st, err.message);
        if (st && (st != EE_E_MALFORMED || !strstr(err.message, documents[i].why))) fail_msg("%s: %s", documents[i].name, err.message);
        free(exact);
    }
}

/* A NUL is no byte of JSON, wherever it stands. */
static void test_nul_bytes(void **state) {
    static const char text[] = "{\"a\":[1,\"b\",{\"c\":null}]}";
    (void)state;
    assert_int_equal(skim(eei_span(text, sizeof text - 1), NULL), EE_OK);
    for (size_t i = 0; i < sizeof text; i++) {
        char changed[sizeof text];
        memcpy(changed, text, sizeof text);
        changed[i] = 0;
        assert_int_equal(skim(eei_span(changed, sizeof text - (i + 1 < sizeof text)), NULL), EE_E_MALFORMED);
    }
}

static void test_members_in_any_order(void **state) {
    eei_arena arena = EEI_ARENA_INIT(4096);
    eei_pull p;
    ee_span name;
    uint64_t sum = 0;
    size_t names = 0;
    (void)state;
    eei_pull_begin(&p, eei_span_text("{\"list\":[1,2,3],\"skipped\":{\"x\":[{},\"}\"]},\"text\":\"a\\u00e9\\n\",\"n\":7}"));
    eei_pull_object(&p);
    while (eei_pull_member(&p, &name)) {
        names++;
        if (eei_span_equal(name, eei_span_text("list"))) {
            eei_pull_array(&p);
            while (eei_pull_item(&p)) sum += eei_pull_u64(&p);
        } else if (eei_span_equal(name, eei_span_text("text"))) {
            assert_true(eei_span_equal(eei_pull_text(&p, &arena), eei_span_text("a\xc3\xa9\n")));
        } else if (eei_span_equal(name, eei_span_text("n"))) {
            sum += eei_pull_u64(&p);
        } else {
            eei_pull_skip(&p);
        }
    }
    assert_int_equal(eei_pull_end(&p, NULL), EE_OK);
    assert_int_equal(names, 4);
    assert_int_equal(sum, 13);
    eei_arena_clear(&arena);
}

/* After a failure nothing is read any more, loops end, and the place of the first failure stays. */
static void test_failure_is_final(void **state) {
    eei_arena arena = EEI_ARENA_INIT(4096);
    eei_pull p;
    ee_span name;
    ee_error err = {0};
    (void)state;
    eei_pull_begin(&p, eei_span_text("{\"a\":\"text\",\"b\":1}"));
    eei_pull_object(&p);
    assert_true(eei_pull_member(&p, &name));
    assert_int_equal(eei_pull_u64(&p), 0);
    assert_false(eei_pull_member(&p, &name));
    assert_false(eei_pull_item(&p));
    assert_null(eei_pull_text(&p, &arena).data);
    eei_pull_skip(&p);
    assert_int_equal(eei_pull_end(&p, &err), EE_E_MALFORMED);
    assert_int_equal(err.offset_bytes, 5);
    assert_non_null(strstr(err.message, "whole number"));
}

static void test_too_many_members(void **state) {
    char text[1024] = "{";
    (void)state;
    for (int i = 0; i < EEI_PULL_MEMBERS_MAX + 1; i++) {
        size_t at = strlen(text);
        snprintf(text + at, sizeof text - at, "%s\"k%d\":%d", i ? "," : "", i, i);
        at = strlen(text);
        snprintf(text + at, sizeof text - at, "}");
        assert_int_equal(skim(eei_span_text(text), NULL), i < EEI_PULL_MEMBERS_MAX ? EE_OK : EE_E_MALFORMED);
        text[at] = '\0';
    }
}

static void test_memory_runs_out(void **state) {
    eei_arena small = EEI_ARENA_INIT(8);
    eei_pull p;
    (void)state;
    eei_pull_begin(&p, eei_span_text("\"longer than eight bytes\\n\""));
    assert_null(eei_pull_text(&p, &small).data);
    assert_int_equal(eei_pull_end(&p, NULL), EE_E_LIMIT); /* a stranger's text: no reason to speak of our memory */
    eei_arena_clear(&small);
    eei_arena roomy = EEI_ARENA_INIT(1000);
    eei_pull_begin(&p, eei_span_text("\"longer than eight bytes\\n\""));
    eei_alloc_fail_at(1);
    assert_null(eei_pull_text(&p, &roomy).data);
    eei_alloc_fail_at(0);
    assert_int_equal(eei_pull_end(&p, NULL), EE_E_NOMEM);
    eei_arena_clear(&roomy);
}

/* Every cut and every one-byte change of a real document: what we accept, jansson accepts too. We are the stricter one. */
static void test_never_more_than_jansson(void **state) {
    static const char text[] = "{\"id\":\"TDX\",\"v\":3,\"l\":[{\"svn\":5,\"x\":\"\\u00e9\"},{\"svn\":0}],\"t\":true,\"n\":null,\"e\":{}}";
    static const char bytes[] = "{}[]:,\"\\0129a-+.eEtfn /u\x80\xff\n";
    size_t accepted = 0, tried = 0;
    (void)state;
    for (size_t at = 0; at < sizeof text - 1; at++) {
        for (size_t k = 0; k < sizeof bytes - 1; k++) {
            char changed[sizeof text];
            json_t *json = NULL;
            memcpy(changed, text, sizeof text);
            changed[at] = bytes[k];
            ee_span span = eei_span(changed, sizeof text - 1);
            tried++;
            if (skim(span, NULL) != EE_OK) continue;
            accepted++;
            if (eei_json_parse(span, sizeof text, &json, NULL) != EE_OK) fail_msg("accepted alone: %s", changed);
            json_decref(json);
        }
        assert_int_equal(skim(eei_span(text, at), NULL), EE_E_MALFORMED);
    }
    assert_true(accepted > 50 && accepted < tried / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_members_in_any_order),
        cmocka_unit_test(test_failure_is_final),
        cmocka_unit_test(test_too_many_members),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_never_more_than_jansson),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
