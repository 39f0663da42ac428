/* test_codec_roundtrip.c - random messages encode, decode and encode to the same bytes; no truncation and no flipped bit gives bytes
 * that are accepted and mean something else than they say. The seed is printed; EE_SEED=n repeats a run. Called by CTest. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/clock.h"
#include "unit/codec_sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 120 };

static uint64_t seed, random_state;

static uint64_t next(void) { /* splitmix64: the same numbers everywhere */
    uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static size_t below(size_t n) { return (size_t)(next() % n); }
static bool maybe(void) { return next() & 1; }
/* Every width of number is as likely as any other. */
static uint64_t number(void) { return next() >> below(64); }

typedef struct scratch {
    uint8_t bytes[4096];
    size_t used;
    ee_span tags[4], blobs[20];
    sample_point points[3];
    uint64_t numbers[5];
} scratch;

static ee_span some_bytes(scratch *s, size_t len) {
    uint8_t *at = s->bytes + s->used;
    for (size_t i = 0; i < len; i++) at[i] = (uint8_t)next();
    s->used += len;
    return eei_span(at, len);
}

static ee_span some_text(scratch *s, size_t max) {
    static const char *const letters[] = {
        "a", "~", " ", "\n", "\x7f", "\xc2\x80", "\xc3\xa9", "\xe2\x82\xac", "\xef\xbf\xbf", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"};
    uint8_t *at = s->bytes + s->used;
    size_t len = 0;
    for (size_t want = below(max + 1);;) {
        const char *letter = letters[below(sizeof letters / sizeof letters[0])];
        if (len + strlen(letter) > want) break;
        memcpy(at + len, letter, strlen(letter));
        len += strlen(letter);
    }
    s->used += len;
    return eei_span(at, len);
}

static sample_point some_point(void) { return (sample_point){maybe() ? number() : 0, maybe() ? below(1001) : 0}; }

static sample some_message(scratch *s) {
    sample m = {.id = number(), .flag = maybe(), .name = some_text(s, 16), .late = maybe() ? number() : 0};
    s->used = m.name.len;
    if (maybe()) memcpy(m.digest, some_bytes(s, 32).data, 32);
    if (maybe()) m.blob = some_bytes(s, below(301));
    if (maybe()) m.origin = some_point();
    m.tags = (eei_list){s->tags, below(5)};
    for (size_t i = 0; i < m.tags.count; i++) s->tags[i] = some_text(s, 8);
    m.blobs = (eei_list){s->blobs, maybe() ? below(21) : 0};
    for (size_t i = 0; i < m.blobs.count; i++) s->blobs[i] = some_bytes(s, below(9));
    m.points = (eei_list){s->points, below(4)};
    for (size_t i = 0; i < m.points.count; i++) s->points[i] = some_point();
    m.numbers = (eei_list){s->numbers, below(6)};
    for (size_t i = 0; i < m.numbers.count; i++) s->numbers[i] = number();
    return m;
}

static bool spans_equal(const eei_list *a, const eei_list *b) {
    for (size_t i = 0; i < a->count; i++)
        if (!eei_span_equal(((const ee_span *)a->items)[i], ((const ee_span *)b->items)[i])) return false;
    return true;
}

static bool same_content(const sample *a, const sample *b) {
    bool same = a->id == b->id && a->flag == b->flag && a->late == b->late && memcmp(a->digest, b->digest, 32) == 0;
    same = same && eei_span_equal(a->blob, b->blob) && eei_span_equal(a->name, b->name);
    same = same && a->origin.x == b->origin.x && a->origin.y == b->origin.y;
    same = same && a->tags.count == b->tags.count && spans_equal(&a->tags, &b->tags);
    same = same && a->blobs.count == b->blobs.count && spans_equal(&a->blobs, &b->blobs);
    same = same && a->points.count == b->points.count && a->numbers.count == b->numbers.count;
    for (size_t i = 0; same && i < a->points.count; i++) {
        const sample_point *p = (const sample_point *)a->points.items + i, *q = (const sample_point *)b->points.items + i;
        same = p->x == q->x && p->y == q->y;
    }
    return same && (a->numbers.count == 0 || memcmp(a->numbers.items, b->numbers.items, a->numbers.count * sizeof(uint64_t)) == 0);
}

/* A key of a newer writer (128..255, other than the sample's 200) is ignored, so it does not come back. */
static bool may_hold_a_newer_field(ee_span bytes) {
    for (size_t i = 0; i + 1 < bytes.len; i++)
        if (bytes.data[i] == 0xcc && bytes.data[i + 1] >= 128 && bytes.data[i + 1] != 200) return true;
    return false;
}

/* Bytes that somebody changed: refused, or exactly what their meaning encodes to. Returns 1 when they were accepted. */
static unsigned judge(ee_span bytes) {
    eei_arena arena = EEI_ARENA_INIT(10000);
    eei_buf again = EEI_BUF_INIT(8192);
    sample m;
    ee_status st = eei_decode(&sample_schema, bytes, &arena, &m, NULL);
    if (st) {
        assert_int_equal(st, EE_E_MALFORMED);
    } else {
        assert_int_equal(eei_encode(&sample_schema, &m, &again, NULL), EE_OK);
        if (!eei_span_equal(eei_buf_span(&again), bytes)) assert_true(may_hold_a_newer_field(bytes) && again.len < bytes.len);
    }
    eei_buf_clear(&again);
    eei_arena_clear(&arena);
    return st == EE_OK;
}

static void test_random_messages(void **state) {
    (void)state;
    unsigned accepted = 0;
    for (int round = 0; round < MESSAGES; round++) {
        static scratch s;
        s.used = 0;
        sample m = some_message(&s), back;
        eei_buf first = EEI_BUF_INIT(8192), second = EEI_BUF_INIT(8192);
        eei_arena arena = EEI_ARENA_INIT(10000);
        ee_error err = {0};
        if (eei_encode(&sample_schema, &m, &first, &err)) fail_msg("%s", err.message);
        if (eei_decode(&sample_schema, eei_buf_span(&first), &arena, &back, &err)) fail_msg("%s", err.message);
        assert_true(same_content(&m, &back));
        assert_int_equal(eei_encode(&sample_schema, &back, &second, &err), EE_OK);
        assert_true(eei_span_equal(eei_buf_span(&first), eei_buf_span(&second)));
        json_t *view = eei_message_json(&sample_schema, &back);
        assert_non_null(view);
        json_decref(view);
        for (size_t len = 0; len < first.len; len++) { /* no prefix of a message is a message */
            uint8_t *exact = eei_memdup(first.data, len);
            assert_int_equal(judge(eei_span(exact, len)), 0);
            eei_free(exact);
        }
        for (size_t bit = 0; bit < first.len * 8; bit++) {
            first.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            accepted += judge(eei_buf_span(&first));
            first.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        eei_arena_clear(&arena);
        eei_buf_clear(&first);
        eei_buf_clear(&second);
    }
    assert_true(accepted > 100); /* flips inside numbers and bytes are other valid messages; else this test judged nothing */
}

int main(void) {
    const char *given = getenv("EE_SEED");
    if (given)
        seed = strtoull(given, NULL, 10);
    else if (eei_random(&seed, sizeof seed, NULL))
        return 1;
    random_state = seed;
    printf("EE_SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_messages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
