/* test_price.c - price arithmetic at its edges, and over random inputs against itself (threat M6). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
// clang-format on
#include "base/price.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void test_ceiling(void **state) {
    (void)state;
    static const struct {
        const char *name;
        ee_money price;
        uint64_t vcpus_milli, wall_ms;
        ee_status want;
        ee_money cost;
    } cases[] = {
        {"nothing", 0, 1000, 3600000, EE_OK, 0},
        {"one hour", 40000, 1000, 3600000, EE_OK, 40000},
        {"a millisecond rounds up", 40000, 1000, 1, EE_OK, 1},
        {"exact is not rounded", 3600000, 1000, 1, EE_OK, 1},
        {"just over exact", 3600001, 1000, 1, EE_OK, 2},
        {"half a vcpu", 40000, 500, 3600000, EE_OK, 20000},
        {"no time", 40000, 1000, 0, EE_OK, 0},
        {"largest", INT64_MAX, 1000, 3600000, EE_OK, INT64_MAX},
        {"one over largest", INT64_MAX, 1000, 3600001, EE_E_LIMIT, 0},
        {"128 bits overflow", INT64_MAX, UINT64_MAX, UINT64_MAX, EE_E_LIMIT, 0},
        {"negative price", -1, 1000, 1, EE_E_INVALID, 0},
        {"least price", INT64_MIN, 1000, 1, EE_E_INVALID, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ee_money cost = 0;
        ee_error err;
        ee_status st = eei_price_ceiling(cases[i].price, cases[i].vcpus_milli, cases[i].wall_ms, &cost, &err);
        if (st != cases[i].want || cost != cases[i].cost) fail_msg("%s: %s %" PRId64, cases[i].name, ee_status_word(st), cost);
    }
}

static void test_charge(void **state) {
    (void)state;
    static const struct {
        const char *name;
        ee_money price;
        uint64_t vcpu_ms;
        ee_money locked, want;
    } cases[] = {
        {"an hour", 40000, 3600000, 100000, 40000},
        {"rounds down", 3599999, 1, 10, 0},
        {"exact", 3600000, 1, 10, 1},
        {"at the lock", 3600000, 10, 10, 10},
        {"over the lock", 3600000, 11, 10, 10},
        {"no lock", 3600000, 11, 0, 0},
        {"largest", INT64_MAX, UINT64_MAX, INT64_MAX, INT64_MAX},
        {"negative price", -5, 3600000, 10, 0},
        {"negative lock", 5, 3600000, -10, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ee_money got = eei_price_charge(cases[i].price, cases[i].vcpu_ms, cases[i].locked);
        if (got != cases[i].want) fail_msg("%s: %" PRId64, cases[i].name, got);
    }
}

static void test_vcpu_ms(void **state) {
    (void)state;
    assert_int_equal(eei_price_vcpu_ms(1000, 7), 7);
    assert_int_equal(eei_price_vcpu_ms(1500, 1), 2);
    assert_int_equal(eei_price_vcpu_ms(1, 1), 1);
    assert_int_equal(eei_price_vcpu_ms(1, 1001), 2);
    assert_int_equal(eei_price_vcpu_ms(0, 1000), 0);
    assert_true(eei_price_vcpu_ms(UINT64_MAX, UINT64_MAX) == UINT64_MAX);
}

static void test_add_and_sub(void **state) {
    ee_money out = 77;
    (void)state;
    assert_true(eei_money_add(&out, INT64_MAX - 1, 1) && out == INT64_MAX);
    assert_false(eei_money_add(&out, INT64_MAX, 1));
    assert_false(eei_money_add(&out, -1, 1));
    assert_true(eei_money_sub(&out, 5, 5) && out == 0);
    assert_false(eei_money_sub(&out, 5, 6));
    assert_false(eei_money_sub(&out, INT64_MIN, 1));
    assert_int_equal(out, 0);
}

/* ---- random --------------------------------------------------------------------------------------------------------- */

static uint64_t seed;
static uint64_t next(void) { /* splitmix64 */
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void test_laws(void **state) {
    (void)state;
    const char *given = getenv("EE_SEED");
    seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    print_message("EE_SEED=%" PRIu64 "\n", seed);
    for (int i = 0; i < 100000; i++) {
        const ee_money price = (ee_money)(next() >> (1 + next() % 50));
        const uint64_t milli = next() % 256000 + 1, wall = next() % (86400000 * UINT64_C(31));
        const uint64_t used = wall ? next() % (wall + 1) : 0;
        ee_money lock = 0, longer = 0;
        if (eei_price_ceiling(price, milli, wall, &lock, NULL)) continue;
        const ee_money whole = eei_price_charge(price, eei_price_vcpu_ms(milli, wall), lock);
        const ee_money part = eei_price_charge(price, eei_price_vcpu_ms(milli, used), lock);
        assert_true(part >= 0 && part <= whole && whole <= lock); /* never over the lock, and grows with use */
        if (milli % 1000 == 0) assert_true(lock - whole <= 1);    /* the whole time costs the whole lock, but for rounding */
        if (!eei_price_ceiling(price, milli, wall + 1, &longer, NULL)) assert_true(longer >= lock);
        /* Two pieces never cost more than the whole: splitting a job gains its user nothing but rounding, and costs nothing. */
        const uint64_t a = eei_price_vcpu_ms(1000, used), b = eei_price_vcpu_ms(1000, wall - used);
        const ee_money apart = eei_price_charge(price, a, INT64_MAX) / 2 + eei_price_charge(price, b, INT64_MAX) / 2;
        const ee_money together = eei_price_charge(price, a + b, INT64_MAX);
        if (together < INT64_MAX) assert_true(apart <= together / 2 + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ceiling),     cmocka_unit_test(test_charge), cmocka_unit_test(test_vcpu_ms),
        cmocka_unit_test(test_add_and_sub), cmocka_unit_test(test_laws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
