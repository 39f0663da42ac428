/* test_encoding.c - hex, base64url and strict JSON at the edges. Called by CTest. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/encoding.h"
#include "base/limits.h"

#include <stdio.h>
#include <string.h>

static void test_hex(void **state) {
    (void)state;
    char text[9];
    uint8_t out[4];
    ee_error err = {0};
    eei_hex_encode(eei_span("\x00\xff\x1a\x7e", 4), text);
    assert_string_equal(text, "00ff1a7e");
    assert_int_equal(eei_hex_decode("00FF1a7E", out, 4, &err), EE_OK);
    assert_memory_equal(out, "\x00\xff\x1a\x7e", 4);
    assert_int_equal(eei_hex_decode("", out, 0, &err), EE_OK);
    static const struct {
        const char *hex;
        size_t offset;
    } bad[] = {{"", 0},         {"00ff1a7", 0},  {"00ff1a7e0", 0}, {"00ff1a7e00", 0},    {"0xff1a7e", 1},
               {"00ff1a7g", 7}, {"00 f1a7e", 2}, {"-0ff1a7e", 0},  {"00ff1a\xc3\xa9", 6}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (eei_hex_decode(bad[i].hex, out, 4, &err) != EE_E_MALFORMED) fail_msg("%s", bad[i].hex);
        assert_int_equal(err.offset_bytes, bad[i].offset);
    }
    assert_int_equal(eei_hex_decode(NULL, out, 4, &err), EE_E_MALFORMED);
}

static void test_hex_append_is_all_or_nothing(void **state) {
    (void)state;
    ee_error err = {0};
    eei_buf b = EEI_BUF_INIT(4);
    assert_int_equal(eei_hex_append(eei_span_text("0aF0"), &b, &err), EE_OK);
    assert_int_equal(eei_hex_append(eei_span_text("0a0"), &b, &err), EE_E_MALFORMED);
    assert_int_equal(eei_hex_append(eei_span_text("0a0x"), &b, &err), EE_E_MALFORMED);
    assert_int_equal(err.offset_bytes, 3);
    assert_int_equal(eei_hex_append(eei_span_text("0a0b0c"), &b, &err), EE_E_LIMIT);
    assert_true(eei_span_equal(eei_buf_span(&b), eei_span("\x0a\xf0", 2)));
    eei_buf_clear(&b);
    eei_alloc_fail_at(1);
    assert_int_equal(eei_hex_append(eei_span_text("0a"), &b, &err), EE_E_NOMEM);
    eei_alloc_fail_at(0);
}

static void test_base64url(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *bytes;
        size_t len;
    } good[] = {{"", "", 0},           {"Zg", "f", 1},         {"Zm8", "fo", 2},     {"Zm9v", "foo", 3},
                {"Zm9vYg", "foob", 4}, {"_-8", "\xff\xef", 2}, {"AAAA", "\0\0\0", 3}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) { /* RFC 4648 sect. 10, and the two characters that differ */
        eei_buf b = EEI_BUF_INIT(100);
        assert_int_equal(eei_base64url_encode(eei_span(good[i].bytes, good[i].len), &b), EE_OK);
        assert_string_equal(eei_buf_cstr(&b), good[i].text);
        eei_buf_reset(&b);
        assert_int_equal(eei_base64url_decode(good[i].text, &b, NULL), EE_OK);
        assert_true(eei_span_equal(eei_buf_span(&b), eei_span(good[i].bytes, good[i].len)));
        eei_buf_clear(&b);
    }
    static const struct {
        const char *text;
        size_t offset;
    } bad[] = {{"Z", 1}, {"Zm9vY", 5}, {"Zg==", 2}, {"Zm9v+g", 4}, {"Zm9v/g", 4}, {"Zm 9", 2}, {"Zh", 1}, {"Zm9", 2}, {"Zm8\n", 3}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        eei_buf b = EEI_BUF_INIT(100);
        ee_error err = {0};
        if (eei_base64url_decode(bad[i].text, &b, &err) != EE_E_MALFORMED) fail_msg("%s", bad[i].text);
        assert_int_equal(err.offset_bytes, bad[i].offset);
        assert_int_equal(b.len, 0);
        eei_buf_clear(&b);
    }
}

static void test_base64url_every_length(void **state) {
    (void)state;
    uint8_t bytes[100];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 197 + 3);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        eei_buf text = EEI_BUF_INIT(200), back = EEI_BUF_INIT(len);
        assert_int_equal(eei_base64url_encode(eei_span(bytes, len), &text), EE_OK);
        assert_int_equal(eei_base64url_decode(eei_buf_cstr(&text), &back, NULL), EE_OK);
        assert_true(eei_span_equal(eei_buf_span(&back), eei_span(bytes, len)));
        eei_buf small = EEI_BUF_INIT(len ? len - 1 : 0);
        if (len) assert_int_equal(eei_base64url_decode(eei_buf_cstr(&text), &small, NULL), EE_E_LIMIT);
        eei_buf_clear(&text), eei_buf_clear(&back), eei_buf_clear(&small);
    }
}

static const char *nested(char *out, size_t depth) {
    memset(out, '[', depth);
    memset(out + depth, ']', depth);
    out[2 * depth] = '\0';
    return out;
}

static void test_B6_json_is_strict(void **state) {
    (void)state;
    static const struct {
        const char *text;
        ee_status want;
        size_t offset;
    } cases[] = {
        {"{}", EE_OK, 0},
        {" [1, -2, \"a\", true, null] ", EE_OK, 0},
        {"{\"e\": \"1.5e3\", \"a\": \"\\\"1.5\"}", EE_OK, 0},
        {"[9223372036854775807, -9223372036854775808]", EE_OK, 0},
        {"[\"\\\\u0000\"]", EE_OK, 0},
        {"[\"\\ud83d\\ude00\"]", EE_OK, 0},
        {"", EE_E_MALFORMED, 0},
        {"   ", EE_E_MALFORMED, 3},
        {"1", EE_E_MALFORMED, 0},
        {"  1", EE_E_MALFORMED, 2},
        {" \"a\"", EE_E_MALFORMED, 1},
        {"{\"a\":1,\"a\":2}", EE_E_MALFORMED, 0},
        {"{\"a\":1,\"\\u0061\":2}", EE_E_MALFORMED, 0},
        {"{\"o\":{\"a\":1,\"a\":1}}", EE_E_MALFORMED, 0},
        {"[1.5]", EE_E_MALFORMED, 2},
        {"[1.0]", EE_E_MALFORMED, 2},
        {"[1e3]", EE_E_MALFORMED, 2},
        {"[-1E3]", EE_E_MALFORMED, 3},
        {"[01]", EE_E_MALFORMED, 0},
        {"[+1]", EE_E_MALFORMED, 0},
        {"[NaN]", EE_E_MALFORMED, 0},
        {"[Infinity]", EE_E_MALFORMED, 0},
        {"[9223372036854775808]", EE_E_MALFORMED, 0},
        {"[\"\\u0000\"]", EE_E_MALFORMED, 2},
        {"{\"\\u0000\":1}", EE_E_MALFORMED, 2},
        {"[\"\\ud800\"]", EE_E_MALFORMED, 0},
        {"[\"\xff\"]", EE_E_MALFORMED, 0},
        {"[\"\xc0\x80\"]", EE_E_MALFORMED, 0},
        {"[\"a\nb\"]", EE_E_MALFORMED, 0},
        {"[\"\\x41\"]", EE_E_MALFORMED, 0},
        {"[1] x", EE_E_MALFORMED, 0},
        {"[1][2]", EE_E_MALFORMED, 0},
        {"[1,]", EE_E_MALFORMED, 0},
        {"{'a':1}", EE_E_MALFORMED, 0},
        {"{a:1}", EE_E_MALFORMED, 0},
        {"[1 /* c */]", EE_E_MALFORMED, 0},
        {"[1", EE_E_MALFORMED, 0},
        {"[\"a", EE_E_MALFORMED, 0},
        {"[\"a\\", EE_E_MALFORMED, 0},
        {"\xef\xbb\xbf{}", EE_E_MALFORMED, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *out = NULL;
        ee_error err = {0};
        ee_status st = eei_json_parse(eei_span_text(cases[i].text), 1000, &out, &err);
        if (st != cases[i].want) fail_msg("%s: %s", cases[i].text, err.message);
        assert_int_equal(st == EE_OK, out != NULL);
        if (cases[i].offset && err.offset_bytes != cases[i].offset) fail_msg("%s: %u", cases[i].text, (unsigned)err.offset_bytes);
        json_decref(out);
    }
    json_t *out = NULL;
    assert_int_equal(eei_json_parse(eei_span("[1]\0", 4), 1000, &out, NULL), EE_E_MALFORMED);
    assert_int_equal(eei_json_parse(eei_span("\0[1]", 4), 1000, &out, NULL), EE_E_MALFORMED);
    assert_int_equal(eei_json_parse(eei_span("[\"a\0b\"]", 7), 1000, &out, NULL), EE_E_MALFORMED);
}

static void test_B6_json_depth_and_size(void **state) {
    (void)state;
    static char text[400010];
    json_t *out = NULL;
    ee_error err = {0};
    assert_int_equal(eei_json_parse(eei_span_text(nested(text, EEI_JSON_DEPTH_MAX)), sizeof text, &out, &err), EE_OK);
    json_decref(out);
    assert_int_equal(eei_json_parse(eei_span_text(nested(text, EEI_JSON_DEPTH_MAX + 1)), sizeof text, &out, &err), EE_E_MALFORMED);
    assert_int_equal(err.offset_bytes, EEI_JSON_DEPTH_MAX);
    assert_int_equal(eei_json_parse(eei_span_text(nested(text, 200000)), sizeof text, &out, &err), EE_E_MALFORMED); /* no recursion */
    assert_int_equal(eei_json_parse(eei_span_text("[1,2]"), 5, &out, &err), EE_OK);
    json_decref(out);
    assert_int_equal(eei_json_parse(eei_span_text("[1,2]"), 4, &out, &err), EE_E_LIMIT);
    assert_null(out);
}

/* "[one,one,...]" of `count` items, the list itself among them. */
static ee_status parse_items(const char *one, size_t count) {
    eei_buf text = EEI_BUF_INIT(4 << 20);
    json_t *out = NULL;
    ee_error err = {0};
    assert_int_equal(eei_buf_append_text(&text, "["), EE_OK);
    for (size_t i = 1; i < count; i++)
        assert_int_equal(eei_buf_append_text(&text, i > 1 ? "," : "") | eei_buf_append_text(&text, one), EE_OK);
    assert_int_equal(eei_buf_append_text(&text, "]"), EE_OK);
    ee_status st = eei_json_parse(eei_buf_span(&text), 4 << 20, &out, &err);
    if (st) assert_string_equal(err.message, "JSON with more than 200000 names and values");
    json_decref(out);
    eei_buf_clear(&text);
    return st;
}

static void test_B6_json_items(void **state) {
    (void)state;
    static const char *const kinds[] = {"{}", "[]", "\"\"", "0", "-1"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_int_equal(parse_items(kinds[i], EEI_JSON_ITEMS_MAX), EE_OK);
        assert_int_equal(parse_items(kinds[i], EEI_JSON_ITEMS_MAX + 1), EE_E_LIMIT);
    }
}

static void test_L2_json_errors_do_not_quote_the_body(void **state) {
    (void)state;
    static const char *const bodies[] = {"{\"key\": ee_sk_secret}", "{\"ee_sk_secret\": 1, \"ee_sk_secret\": 2}", "[\"ee_sk_secret",
                                         "{\"a\": \"x\" ee_sk_secret"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        json_t *out = NULL;
        ee_error err = {0};
        assert_int_equal(eei_json_parse(eei_span_text(bodies[i]), 1000, &out, &err), EE_E_MALFORMED);
        if (strstr(err.message, "secret")) fail_msg("%s", err.message);
    }
}

static void test_fields(void **state) {
    (void)state;
    static const char text[] = "{\"s\":\"v\",\"n\":7,\"big\":\"18446744073709551615\",\"neg\":-1,\"lead\":\"07\",\"over\":"
                               "\"18446744073709551616\",\"empty\":\"\",\"z\":\"0\",\"t\":true}";
    json_t *o = NULL;
    ee_error err = {0};
    const char *s = NULL;
    uint64_t n = 0;
    assert_int_equal(eei_json_parse(eei_span_text(text), 1000, &o, &err), EE_OK);
    assert_int_equal(eei_json_string(o, "s", &s, &err), EE_OK);
    assert_string_equal(s, "v");
    assert_int_equal(eei_json_string(o, "n", &s, &err), EE_E_INVALID);
    assert_string_equal(err.message, "field \"n\" must be a string");
    assert_int_equal(eei_json_string(o, "none", &s, &err), EE_E_INVALID);
    assert_string_equal(err.message, "field \"none\" is missing");
    assert_int_equal(eei_json_string_opt(o, "none", &s, &err), EE_OK);
    assert_null(s);
    assert_int_equal(eei_json_string_opt(o, "t", &s, &err), EE_E_INVALID);
    assert_int_equal(eei_json_u64(o, "n", &n, &err), EE_OK);
    assert_int_equal(n, 7);
    assert_int_equal(eei_json_u64(o, "big", &n, &err), EE_OK);
    assert_true(n == UINT64_MAX);
    assert_int_equal(eei_json_u64(o, "z", &n, &err), EE_OK);
    assert_int_equal(n, 0);
    static const char *const wrong[] = {"neg", "lead", "over", "empty", "t", "s", "none"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (eei_json_u64(o, wrong[i], &n, &err) != EE_E_INVALID) fail_msg("%s", wrong[i]);
    static const char *const all[] = {"s", "n", "big", "neg", "lead", "over", "empty", "z", "t", "more", NULL};
    static const char *const fewer[] = {"s", "n", "big", "neg", "lead", "over", "empty", "z", NULL};
    assert_int_equal(eei_json_only(o, all, &err), EE_OK);
    assert_int_equal(eei_json_only(o, fewer, &err), EE_E_INVALID);
    assert_string_equal(err.message, "field \"t\" is not known");
    assert_int_equal(eei_json_only(NULL, all, &err), EE_E_INVALID);
    assert_int_equal(eei_json_u64(NULL, "n", &n, &err), EE_E_INVALID);
    json_decref(o);
}

static void test_dump_and_money(void **state) {
    (void)state;
    static const struct {
        ee_money amount;
        const char *want;
    } cases[] = {
        {36, "{\"usd\":\"0.000036\",\"micros\":36}"},
        {200000000, "{\"usd\":\"200.00\",\"micros\":200000000}"},
        {0, "{\"usd\":\"0.00\",\"micros\":0}"},
        {-1500000, "{\"usd\":\"-1.50\",\"micros\":-1500000}"},
        {INT64_C(9007199254740992), "{\"usd\":\"9007199254.740992\",\"micros\":9007199254740992}"},
        {INT64_C(9007199254740993), "{\"usd\":\"9007199254.740993\",\"micros\":\"9007199254740993\"}"},
        {INT64_MIN, "{\"usd\":\"-9223372036854.775808\",\"micros\":\"-9223372036854775808\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eei_buf b = EEI_BUF_INIT(100);
        json_t *money = eei_json_money(cases[i].amount);
        assert_int_equal(eei_json_dump(money, &b, NULL), EE_OK);
        assert_string_equal(eei_buf_cstr(&b), cases[i].want);
        ee_error err = {0};
        assert_int_equal(eei_buf_append_text(&b, ""), EE_OK);
        const size_t kept = b.len;
        assert_int_equal(eei_json_dump(json_object_get(money, "usd"), &b, &err), EE_OK);
        b.max = b.len + 3;
        const size_t full = b.len;
        assert_int_equal(eei_json_dump(money, &b, &err), EE_E_LIMIT);
        assert_true(b.len == full && full > kept);
        eei_buf_clear(&b);
        json_decref(money);
    }
}

static void test_put_and_hex(void **state) {
    (void)state;
    static const uint8_t bytes[64] = {0x01, 0xab};
    bool ok = true;
    json_t *object = json_object();
    eei_json_put(object, "two", eei_json_hex(bytes, 2), &ok);
    eei_json_put(object, "none", eei_json_hex(bytes, 0), &ok);
    eei_json_put(object, "all", eei_json_hex(bytes, 64), &ok);
    assert_true(ok);
    assert_string_equal(json_string_value(json_object_get(object, "two")), "01ab");
    assert_string_equal(json_string_value(json_object_get(object, "none")), "");
    assert_int_equal(json_string_length(json_object_get(object, "all")), 128);
    eei_json_put(object, "no value", NULL, &ok); /* as when memory ran out */
    assert_false(ok);
    eei_json_put(object, "later", json_true(), &ok);
    assert_false(ok); /* a failure stays */
    json_decref(object);
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    static const char text[] = "{\"list\":[1,2,{\"deep\":\"caf\\u00e9\"}],\"name\":\"value\"}";
    size_t made = 0;
    for (size_t n = 1;; n++) {
        json_t *out = NULL;
        eei_buf b = EEI_BUF_INIT(1000);
        eei_alloc_fail_at(n);
        ee_status st = eei_json_parse(eei_span_text(text), 1000, &out, NULL);
        if (!st) st = eei_json_dump(out, &b, NULL);
        made = eei_alloc_fail_at(0);
        /* jansson calls some of its allocation failures "invalid token"; refused is what matters, and nothing leaks. */
        if (made >= n) assert_true(st == EE_E_NOMEM || st == EE_E_MALFORMED);
        json_decref(out);
        eei_buf_clear(&b);
        if (made < n) {
            assert_int_equal(st, EE_OK);
            break;
        }
    }
    assert_true(made > 5);
    for (size_t n = 1; n < 6; n++) {
        eei_alloc_fail_at(n);
        json_t *money = eei_json_money(1);
        if (eei_alloc_fail_at(0) >= n) assert_null(money);
        json_decref(money);
    }
}

int main(void) {
    json_set_alloc_funcs(eei_malloc, eei_free);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_hex_append_is_all_or_nothing),
        cmocka_unit_test(test_base64url),
        cmocka_unit_test(test_base64url_every_length),
        cmocka_unit_test(test_B6_json_is_strict),
        cmocka_unit_test(test_B6_json_depth_and_size),
        cmocka_unit_test(test_B6_json_items),
        cmocka_unit_test(test_L2_json_errors_do_not_quote_the_body),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_dump_and_money),
        cmocka_unit_test(test_put_and_hex),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
