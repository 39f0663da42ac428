/* test_arena.c - many small objects under one ceiling, zeroed, aligned, freed together. Called by CTest. */

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"

#include <string.h>

static void test_objects_are_zeroed_aligned_and_apart(void **state) {
    (void)state;
    eei_arena a = EEI_ARENA_INIT(1 << 20);
    uint8_t *seen[200];
    for (size_t i = 0; i < 200; i++) {
        const size_t size = i * 13 % 300;
        seen[i] = eei_arena_alloc(&a, size);
        assert_non_null(seen[i]);
        assert_int_equal((uintptr_t)seen[i] % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < size; k++) assert_int_equal(seen[i][k], 0);
        memset(seen[i], (int)(i & 0xff), size);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < i * 13 % 300; k++) assert_int_equal(seen[i][k], i & 0xff);
    eei_arena_clear(&a);
    assert_int_equal(a.used, 0);
    assert_non_null(eei_arena_alloc(&a, 1)); /* usable again */
    eei_arena_clear(&a);
    eei_arena_clear(&a);
}

/* The ceiling is the reason, not the machine's memory. */
static void must_be_full(eei_arena *a, size_t bytes) {
    assert_null(eei_arena_alloc(a, bytes));
    assert_int_equal(eei_arena_error(a, NULL), EE_E_LIMIT);
}

static void test_ceiling(void **state) {
    (void)state;
    eei_arena a = EEI_ARENA_INIT(64);
    ee_error why = {0};
    must_be_full(&a, 65);
    must_be_full(&a, SIZE_MAX);
    must_be_full(&a, SIZE_MAX - 8);
    assert_non_null(eei_arena_alloc(&a, 64));
    must_be_full(&a, 1);
    must_be_full(&a, 0); /* even nothing takes a place of its own */
    assert_int_equal(eei_arena_error(&a, &why), EE_E_LIMIT);
    assert_non_null(strstr(why.message, "over 64 bytes"));
    eei_arena_clear(&a);
    a = (eei_arena)EEI_ARENA_INIT(100000);
    assert_non_null(eei_arena_alloc(&a, 50000)); /* larger than a block */
    assert_non_null(eei_arena_alloc(&a, 16));
    assert_null(eei_arena_alloc(&a, 60000));
    eei_arena_clear(&a);
}

static void test_text(void **state) {
    (void)state;
    eei_arena a = EEI_ARENA_INIT(1000);
    assert_string_equal(eei_arena_text(&a, eei_span("abcdef", 3)), "abc");
    assert_string_equal(eei_arena_text(&a, eei_span(NULL, 0)), "");
    eei_arena_clear(&a);
}

static void test_out_of_memory(void **state) {
    (void)state;
    eei_arena a = EEI_ARENA_INIT(1000);
    eei_alloc_fail_at(1);
    assert_null(eei_arena_alloc(&a, 10));
    eei_alloc_fail_at(0);
    assert_int_equal(eei_arena_error(&a, NULL), EE_E_NOMEM);
    assert_int_equal(a.used, 0);
    must_be_full(&a, 1001);
    eei_alloc_fail_at(1);
    assert_null(eei_arena_alloc(&a, 10)); /* what was refused before does not count */
    eei_alloc_fail_at(0);
    assert_int_equal(eei_arena_error(&a, NULL), EE_E_NOMEM);
    assert_non_null(eei_arena_alloc(&a, 10));
    eei_arena_clear(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_are_zeroed_aligned_and_apart),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
