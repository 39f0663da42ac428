/* test_collateral_api.c - ee_collateral_fetch() and what goes with it, without a PCCS: arguments, settings, memory. With one:
 * tests/bindings/python/test_collateral.py. */
#include "attest_world.h"
#include "base/limits.h"

#include <eesdk/eesdk.h>

#include <unistd.h>

static ee_status fetch(const world *w, const ee_collateral_options *options, ee_error *err) {
    ee_collateral *collateral = (ee_collateral *)(uintptr_t)1;
    ee_status st = ee_collateral_fetch(eei_buf_span(&w->quote), options, &collateral, err);
    assert_null(collateral); /* every call in this file fails */
    return st;
}

static ee_collateral_options nobody(void) {
    ee_collateral_options options;
    ee_collateral_options_init(&options);
    options.pccs_url = "http://127.0.0.1:1"; /* nobody listens there */
    options.cache = "";
    return options;
}

static void test_arguments(void **state) {
    world *w = *state;
    ee_error why = {0};
    ee_collateral_options options = nobody();
    options.struct_bytes = 8;
    assert_int_equal(fetch(w, &options, &why), EE_E_INVALID);
    assert_non_null(strstr(why.message, "ee_collateral_options_init"));
    options = nobody();
    assert_int_equal(ee_collateral_fetch(eei_buf_span(&w->quote), &options, NULL, &why), EE_E_INVALID);
    eei_buf cut = copy_quote(w);
    ee_collateral *collateral = NULL;
    assert_int_equal(ee_collateral_fetch(eei_span(cut.data, 700), &options, &collateral, &why), EE_E_MALFORMED);
    assert_int_equal(ee_collateral_fetch((ee_span){NULL, 0}, &options, &collateral, &why), EE_E_MALFORMED);
    eei_buf_clear(&cut);
    assert_int_equal(fetch(w, &options, &why), EE_E_CONNECT);
    assert_string_equal(why.message, "the PCCS at http://127.0.0.1:1 cannot be reached: nothing listens there");
    assert_int_not_equal(why.hint[0], 0);
    assert_int_equal(fetch(w, &options, NULL), EE_E_CONNECT);
}

/* argument > environment; an empty variable is none. */
static void test_settings(void **state) {
    world *w = *state;
    ee_error why = {0};
    ee_collateral_options options = nobody();
    assert_int_equal(setenv("EE_PCCS_URL", "http://pccs.example", 1), 0);
    assert_int_equal(fetch(w, &options, &why), EE_E_CONNECT);
    options.pccs_url = NULL;
    assert_int_equal(fetch(w, &options, &why), EE_E_CONFIG);
    assert_non_null(strstr(why.message, "pccs.example"));
    assert_int_equal(setenv("EE_PCCS_URL", "http://127.0.0.1:1", 1), 0);
    assert_int_equal(fetch(w, &options, &why), EE_E_CONNECT);
    options.cache = NULL;
    assert_int_equal(setenv("EE_PCCS_CACHE", "/proc/none", 1), 0);
    assert_int_equal(fetch(w, &options, &why), EE_E_IO); /* asked for: must work */
    assert_int_equal(setenv("EE_PCCS_CACHE", "", 1), 0);
    assert_int_equal(setenv("XDG_CACHE_HOME", "/proc/none", 1), 0);
    assert_int_equal(fetch(w, &options, &why), EE_E_CONNECT); /* the default: does without */
    assert_int_equal(unsetenv("XDG_CACHE_HOME"), 0);
    assert_int_equal(setenv("HOME", "", 1), 0);
    assert_int_equal(fetch(w, &options, &why), EE_E_CONNECT);
    (void)unsetenv("EE_PCCS_URL");
    (void)unsetenv("EE_PCCS_CACHE");
}

static void test_cancelled_before(void **state) {
    ee_cancel *cancel = NULL;
    ee_collateral_options options = nobody();
    MUST(ee_cancel_new(&cancel, err));
    ee_cancel_fire(cancel);
    options.cancel = cancel;
    assert_int_equal(fetch(*state, &options, NULL), EE_E_CANCELLED);
    ee_cancel_free(cancel);
}

static void test_json_and_end(void **state) {
    world *w = *state;
    eei_buf json = EEI_BUF_INIT(1 << 20);
    ee_collateral *collateral = NULL;
    MUST(simtdx_root_collateral(w->root, &json, err));
    MUST(ee_collateral_parse(eei_buf_span(&json), &collateral, err));
    assert_true(eei_span_equal(ee_collateral_json(collateral), eei_buf_span(&json)));
    assert_int_equal(ee_collateral_valid_until(collateral), NOW + 30 * 86400);
    ee_collateral_free(collateral);
    replace_in(&json, "UpToDate", "uPToDate");
    MUST(ee_collateral_parse(eei_buf_span(&json), &collateral, err));
    assert_int_equal(ee_collateral_valid_until(collateral), 0);
    ee_collateral_free(collateral);
    assert_int_equal(ee_collateral_valid_until(NULL), 0);
    assert_int_equal(ee_collateral_json(NULL).len, 0);
    eei_buf_clear(&json);
}

static void test_every_failed_allocation_is_survived(void **state) {
    ee_collateral_options options = nobody();
    options.timeout_ms = 40; /* less than a pause: one attempt */
    for (size_t n = 1;; n++) {
        (void)eei_alloc_fail_at(n);
        ee_status st = fetch(*state, &options, NULL);
        bool reached = eei_alloc_fail_at(0) >= n;
        if (reached)
            assert_int_equal(st, EE_E_NOMEM);
        else
            assert_true(st == EE_E_CONNECT || st == EE_E_TIMEOUT);
        if (!reached) break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_cancelled_before),
        cmocka_unit_test(test_json_and_end),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
