/* test_codec.c - the strict walk and the field tables against tests/vectors/codec, and what vectors cannot hold: limits, memory,
 * wrong tables. Called by CTest. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/limits.h"
#include "unit/codec_sample.h"

#include <stdio.h>
#include <string.h>

static json_t *load(const char *path) {
    json_error_t e;
    json_t *vectors = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    if (!vectors) fail_msg("%s: %s line %d", path, e.text, e.line);
    return vectors;
}

static const char *text_of(const json_t *one, const char *field) { return json_string_value(json_object_get(one, field)); }

/* The bytes in memory of exactly their size, so that a sanitizer sees one byte too far. */
static ee_span exact(const json_t *one) {
    const char *hex = text_of(one, "hex");
    const size_t len = strlen(hex) / 2;
    uint8_t *bytes = eei_malloc(len);
    assert_int_equal(eei_hex_decode(hex, bytes, len, NULL), EE_OK);
    return eei_span(bytes, len);
}

static void release(ee_span bytes) { eei_free((void *)(uintptr_t)bytes.data); }

static void test_strict_walk(void **state) {
    (void)state;
    json_t *vectors = load(EE_VECTORS "/codec/strict.json"), *cases = json_object_get(vectors, "cases"), *one = NULL;
    size_t i = 0;
    assert_true(json_array_size(cases) > 90);
    json_array_foreach(cases, i, one) {
        ee_error err = {0};
        ee_span bytes = exact(one);
        ee_status st = eei_msgpack_check(bytes, &err);
        if (strcmp(ee_status_word(st), text_of(one, "word")) != 0) fail_msg("%s: %s", text_of(one, "name"), ee_status_word(st));
        if (st && err.offset_bytes != (uint64_t)json_integer_value(json_object_get(one, "offset")))
            fail_msg("%s: offset %u: %s", text_of(one, "name"), (unsigned)err.offset_bytes, err.message);
        assert_int_equal(eei_msgpack_check(bytes, NULL), st);
        release(bytes);
    }
    json_decref(vectors);
}

static void test_messages(void **state) {
    (void)state;
    json_t *vectors = load(EE_VECTORS "/codec/sample.json"), *one = NULL;
    static const char *const sections[] = {"same", "ignored"};
    for (size_t s = 0; s < 2; s++) {
        size_t i = 0;
        assert_true(json_array_size(json_object_get(vectors, sections[s])) > 2);
        json_array_foreach(json_object_get(vectors, sections[s]), i, one) {
            eei_arena arena = EEI_ARENA_INIT(10000);
            eei_buf again = EEI_BUF_INIT(1000);
            ee_error err = {0};
            sample m;
            ee_span bytes = exact(one);
            if (eei_decode(&sample_schema, bytes, &arena, &m, &err)) fail_msg("%s: %s", text_of(one, "name"), err.message);
            json_t *view = eei_message_json(&sample_schema, &m);
            if (!json_equal(view, json_object_get(one, "view"))) fail_msg("%s: %s", text_of(one, "name"), json_dumps(view, 0));
            assert_int_equal(eei_encode(&sample_schema, &m, &again, &err), EE_OK);
            if (eei_span_equal(eei_buf_span(&again), bytes) != (s == 0)) fail_msg("%s", text_of(one, "name"));
            json_decref(view);
            eei_buf_clear(&again);
            eei_arena_clear(&arena);
            release(bytes);
        }
    }
    json_decref(vectors);
}

static void test_messages_refused(void **state) {
    (void)state;
    static const sample zeros;
    json_t *vectors = load(EE_VECTORS "/codec/sample.json"), *cases = json_object_get(vectors, "refused"), *one = NULL;
    size_t i = 0;
    assert_true(json_array_size(cases) > 30);
    json_array_foreach(cases, i, one) {
        eei_arena arena = EEI_ARENA_INIT(10000);
        ee_error err = {0};
        sample m;
        memset(&m, 0xff, sizeof m);
        ee_span bytes = exact(one);
        assert_int_equal(eei_msgpack_check(bytes, &err), EE_OK); /* the table refuses, not the walk */
        if (eei_decode(&sample_schema, bytes, &arena, &m, &err) != EE_E_MALFORMED) fail_msg("%s", text_of(one, "name"));
        const char *want = text_of(one, "message");
        if (strncmp(err.message, want, strlen(want)) != 0) fail_msg("%s: %s", text_of(one, "name"), err.message);
        if (err.offset_bytes != (uint64_t)json_integer_value(json_object_get(one, "offset")))
            fail_msg("%s: offset %u", text_of(one, "name"), (unsigned)err.offset_bytes);
        assert_memory_equal(&m, &zeros, sizeof m); /* nothing half-decoded is left */
        eei_arena_clear(&arena);
        release(bytes);
    }
    json_decref(vectors);
}

static void test_walk_errors_name_the_message(void **state) {
    (void)state;
    eei_arena arena = EEI_ARENA_INIT(100);
    ee_error err = {0};
    sample m;
    assert_int_equal(eei_decode(&sample_schema, eei_span("\x81\x01\xc0", 3), &arena, &m, &err), EE_E_MALFORMED);
    assert_string_equal(err.message, "sample: msgpack: nil is not used, at offset 2");
    assert_int_equal(eei_decode(&sample_schema, eei_span(NULL, 0), &arena, &m, &err), EE_E_MALFORMED);
}

/* 16,384 values pass, one more does not; a list of them costs 1 byte each on the wire. */
static void test_B2_number_of_values_is_bounded(void **state) {
    (void)state;
    for (unsigned extra = 0; extra < 2; extra++) {
        const unsigned count = EEI_MSGPACK_ITEMS_MAX - 2 + extra; /* the key and the list count too */
        eei_buf b = EEI_BUF_INIT(20000);
        const uint8_t head[] = {0x81, 1, 0xdc, (uint8_t)(count >> 8), (uint8_t)count};
        assert_int_equal(eei_buf_append(&b, head, sizeof head), EE_OK);
        for (unsigned i = 0; i < count; i++) assert_int_equal(eei_buf_append(&b, "", 1), EE_OK);
        assert_int_equal(eei_msgpack_check(eei_buf_span(&b), NULL), extra ? EE_E_MALFORMED : EE_OK);
        eei_buf_clear(&b);
    }
}

static void test_encode_refuses_what_breaks_the_table(void **state) {
    (void)state;
    static const uint8_t long_bytes[400] = {1};
    static const uint8_t bad_utf8[] = {0xff}, nul[] = {'a', 0};
    ee_span five[] = {{(const uint8_t *)"a", 1},
                      {(const uint8_t *)"a", 1},
                      {(const uint8_t *)"a", 1},
                      {(const uint8_t *)"a", 1},
                      {(const uint8_t *)"a", 1}};
    ee_span nine[] = {{long_bytes, 9}};
    sample_point far_point[] = {{1, 1001}};
    const ee_span name = eei_span_text("x");
    const struct {
        sample m;
        const char *message;
    } cases[] = {
        {{.name = {long_bytes, 17}}, "sample.name: too long (17, limit 16)"},
        {{.name = {bad_utf8, 1}}, "sample.name: not UTF-8 (1, limit 16)"},
        {{.name = {nul, 2}}, "sample.name: text with a NUL (2, limit 16)"},
        {{.name = name, .blob = {long_bytes, 301}}, "sample.blob: too long (301, limit 300)"},
        {{.name = name, .origin = {1, 1001}}, "sample.origin.y: too large (1001, limit 1000)"},
        {{.name = name, .tags = {five, 5}}, "sample.tags: too many items (5, limit 4)"},
        {{.name = name, .tags = {nine, 1}}, "sample.tags: too long (9, limit 8)"},
        {{.name = name, .points = {far_point, 1}}, "sample.points.y: too large (1001, limit 1000)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eei_buf b = EEI_BUF_INIT(1000);
        ee_error err = {0};
        assert_int_equal(eei_buf_append_text(&b, "kept"), EE_OK);
        assert_int_equal(eei_encode(&sample_schema, &cases[i].m, &b, &err), EE_E_INVALID);
        assert_string_equal(err.message, cases[i].message);
        assert_string_equal(eei_buf_cstr(&b), "kept");
        eei_buf_clear(&b);
    }
}

static void test_encode_stops_at_the_buffers_maximum(void **state) {
    (void)state;
    const sample m = {.id = 5, .name = {(const uint8_t *)"name", 4}, .blob = {(const uint8_t *)"blob", 4}};
    eei_buf whole = EEI_BUF_INIT(1000);
    assert_int_equal(eei_encode(&sample_schema, &m, &whole, NULL), EE_OK);
    for (size_t max = 0; max <= whole.len; max++) {
        eei_buf b = EEI_BUF_INIT_SECRET(max);
        ee_error err = {0};
        assert_int_equal(eei_encode(&sample_schema, &m, &b, &err), max < whole.len ? EE_E_LIMIT : EE_OK);
        assert_int_equal(b.len, max < whole.len ? 0 : whole.len);
        eei_buf_clear(&b);
    }
    eei_buf_clear(&whole);
}

/* A schema that may hold itself must end at the depth everybody else refuses. */
typedef struct knot {
    uint64_t v;
    eei_list inner;
} knot;
static const eei_schema knot_schema;
static const eei_field knot_fields[] = {
    EEI_FIELD(knot, v, 1, EEI_KIND_U64, true, 0),
    {.key = 2, .kind = EEI_KIND_MESSAGES, .name = "inner", .offset = offsetof(knot, inner), .most = 20000, .sub = &knot_schema},
};
static const eei_schema knot_schema = {"knot", sizeof(knot), knot_fields, 2};

static void test_encode_bounds_depth_and_values(void **state) {
    (void)state;
    knot knots[6] = {{0}};
    eei_buf b = EEI_BUF_INIT(1 << 20);
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    ee_error err = {0};
    knot back;
    for (size_t i = 0; i < 5; i++) knots[i].inner = (eei_list){&knots[i + 1], 1};
    assert_int_equal(eei_encode(&knot_schema, &knots[2], &b, &err), EE_OK); /* 4 maps and 3 lists: depth 7 */
    assert_int_equal(eei_decode(&knot_schema, eei_buf_span(&b), &arena, &back, &err), EE_OK);
    assert_int_equal(back.inner.count, 1);
    eei_buf_reset(&b);
    assert_int_equal(eei_encode(&knot_schema, &knots[1], &b, &err), EE_E_INVALID); /* depth 9 */
    assert_non_null(strstr(err.message, "too deep"));
    assert_int_equal(eei_encode(&knot_schema, &knots[0], &b, NULL), EE_E_INVALID);
    knot *many = eei_calloc(6000, sizeof *many);
    const knot wide = {.inner = {many, 6000}};
    assert_int_equal(eei_encode(&knot_schema, &wide, &b, &err), EE_E_LIMIT); /* 18,000 values: nobody would take it */
    assert_int_equal(b.len, 0);
    eei_free(many);
    eei_arena_clear(&arena);
    eei_buf_clear(&b);
}

static const uint8_t *rich(size_t *len) {
    static uint8_t bytes[400];
    json_t *vectors = load(EE_VECTORS "/codec/sample.json");
    const char *hex = text_of(json_array_get(json_object_get(vectors, "same"), 5), "hex");
    *len = strlen(hex) / 2;
    assert_int_equal(eei_hex_decode(hex, bytes, *len, NULL), EE_OK);
    json_decref(vectors);
    return bytes;
}

static void test_arena_ceiling_is_a_limit(void **state) {
    (void)state;
    size_t len = 0, max = 0;
    const uint8_t *bytes = rich(&len);
    sample m;
    ee_error err = {0};
    ee_status st = EE_E_LIMIT;
    for (; st == EE_E_LIMIT; max += 16) {
        eei_arena arena = EEI_ARENA_INIT(max);
        st = eei_decode(&sample_schema, eei_span(bytes, len), &arena, &m, &err);
        eei_arena_clear(&arena);
    }
    assert_int_equal(st, EE_OK);
    assert_int_equal(max - 16, 2 * 16 + 2 * 16 + 2 * 16 + 2 * 8); /* tags, blobs, points, numbers */
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    size_t len = 0;
    const uint8_t *bytes = rich(&len);
    size_t made = 0, n = 0;
    do {
        eei_arena arena = EEI_ARENA_INIT(10000);
        eei_buf b = EEI_BUF_INIT(1000);
        sample m;
        json_t *view = NULL;
        eei_alloc_fail_at(++n);
        ee_status st = eei_decode(&sample_schema, eei_span(bytes, len), &arena, &m, NULL);
        if (!st) st = eei_encode(&sample_schema, &m, &b, NULL);
        if (!st && !(view = eei_message_json(&sample_schema, &m))) st = EE_E_NOMEM;
        made = eei_alloc_fail_at(0);
        if (st != (made >= n ? EE_E_NOMEM : EE_OK)) fail_msg("allocation %zu of %zu: %s", n, made, ee_status_word(st));
        json_decref(view);
        eei_buf_clear(&b);
        eei_arena_clear(&arena);
    } while (made >= n);
    assert_true(n > 20);
}

int main(void) {
    json_set_alloc_funcs(eei_malloc, eei_free);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strict_walk),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_messages_refused),
        cmocka_unit_test(test_walk_errors_name_the_message),
        cmocka_unit_test(test_B2_number_of_values_is_bounded),
        cmocka_unit_test(test_encode_refuses_what_breaks_the_table),
        cmocka_unit_test(test_encode_stops_at_the_buffers_maximum),
        cmocka_unit_test(test_encode_bounds_depth_and_values),
        cmocka_unit_test(test_arena_ceiling_is_a_limit),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
