/* test_rent.c - what an app's owner pays, period by period, with the clock in hand: locked before, used after, stopped when it cannot be
 * paid. Spec: network.md#spending-and-locks (threats M5, M7) */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "controlplane/rent.h"
#include "ledger_fixture.h"

enum { PERIOD = 3600000, MINUTE = 60000 };
#define PRICE    (INT64_C(6) * FIX_USD)                /* $6 per vcpu-hour: $0.1 a minute for one vcpu */
#define START    (FIX_NOW - FIX_NOW % PERIOD + PERIOD) /* a period's first millisecond */
#define EVIDENCE fix_text("order")

typedef struct step {
    uint64_t now_ms;
    app_state state;
    ee_money ceiling, locked;
    const char *ended;
    app_row row;
} step;

static ledger_fixture *fixture;
#define fix (*fixture)

static int set_up(void **state) {
    (void)fix_setup(state);
    fixture = *state;
    fix_ok(fix_mint(fixture, "alice", 100 * FIX_USD, "deposit-1", NULL));
    return 0;
}

static ee_status deploy_work(store *db, void *arg, ee_error *err) {
    step *s = arg;
    app_deployed deployed;
    app_deploy_request r = {.id = "app_1",
                            .name = fix_text("web"),
                            .account = fix.alice.id,
                            .node = fix.node.id,
                            .spec = fix_text("spec"),
                            .price = PRICE,
                            .ceiling = s->ceiling,
                            .vcpus_milli = 1000,
                            .memory_bytes = 1 << 20,
                            .port = 80,
                            .key = fix_text("key-1"),
                            .now_ms = s->now_ms};
    eei_sha256(r.spec, r.spec_hash);
    ee_status st = apps_deploy(db, &r, &deployed, err);
    if (!st) st = apps_get_id(db, "app_1", &s->row, err);
    return st ? st : rent_open(db, &s->row, EVIDENCE, PERIOD, s->now_ms, &s->locked, err);
}

static ee_status deploy(step *s) {
    app_row_init(&s->row);
    if (!s->ceiling) s->ceiling = PRICE;
    ee_status st = store_run(fix.db, deploy_work, s, &fix_err);
    app_row_clear(&s->row);
    return st;
}

static ee_status state_work(store *db, void *arg, ee_error *err) {
    step *s = arg;
    app_row before;
    app_row_init(&before);
    ee_status st = apps_get_id(db, "app_1", &before, err);
    if (!st) st = apps_set_state(db, "app_1", 1, s->state, "", "", s->now_ms, err);
    if (!st && s->state == APP_FAILED) st = rent_close(db, &before, PERIOD, s->now_ms, err);
    app_row_clear(&before);
    return st;
}

static void become(app_state state, uint64_t now_ms) {
    step s = {.now_ms = now_ms, .state = state};
    fix_ok(store_run(fix.db, state_work, &s, &fix_err));
}

static void on_stopped(void *user, const app_row *app) { ((step *)user)->ended = app->name[0] ? "web" : ""; }

static ee_status sweep_work(store *db, void *arg, ee_error *err) {
    step *s = arg;
    return rent_sweep(db, PERIOD, s->now_ms, on_stopped, s, err);
}

static const char *sweep(uint64_t now_ms) {
    step s = {.now_ms = now_ms};
    fix_ok(store_run(fix.db, sweep_work, &s, &fix_err));
    return s.ended;
}

static ledger_balance alice(void) {
    ledger_balance b;
    fix_ok(ledger_get_balance(fix.db, fix.alice.id, &b, &fix_err));
    return b;
}

static void expect(ee_money available, ee_money locked) {
    ledger_balance b = alice();
    assert_int_equal(b.available, available);
    assert_int_equal(b.locked, locked);
}

static void test_the_rest_of_the_period_is_locked_when_it_is_placed(void **state) {
    step s = {.now_ms = START + 30 * MINUTE};
    (void)state;
    fix_ok(deploy(&s));
    assert_int_equal(s.locked, 3 * FIX_USD);
    expect(97 * FIX_USD, 3 * FIX_USD);
}

static void test_deploying_is_not_billed(void **state) {
    step s = {.now_ms = START};
    (void)state;
    fix_ok(deploy(&s));
    become(APP_FAILED, START + 10 * MINUTE);
    expect(100 * FIX_USD, 0);
}

static void test_what_ran_stays_locked_and_the_rest_returns(void **state) {
    step s = {.now_ms = START};
    (void)state;
    fix_ok(deploy(&s));
    become(APP_RUNNING, START + 10 * MINUTE);
    become(APP_FAILED, START + 25 * MINUTE);
    expect(100 * FIX_USD - 1500000, 1500000); /* 15 minutes at $0.1 */
}

static void test_the_next_period_is_locked_before_it_starts(void **state) {
    step s = {.now_ms = START};
    (void)state;
    fix_ok(deploy(&s));
    become(APP_RUNNING, START);
    assert_null(sweep(START + PERIOD - rent_lead_ms(PERIOD) - 1));
    expect(94 * FIX_USD, 6 * FIX_USD);
    assert_null(sweep(START + PERIOD - rent_lead_ms(PERIOD)));
    expect(88 * FIX_USD, 12 * FIX_USD);
    assert_null(sweep(START + PERIOD - 1)); /* once */
    expect(88 * FIX_USD, 12 * FIX_USD);
    assert_null(sweep(START + PERIOD)); /* the past one is used whole: it ran all the time */
    expect(88 * FIX_USD, 12 * FIX_USD);
    become(APP_FAILED, START + PERIOD + 30 * MINUTE);
    expect(91 * FIX_USD, 9 * FIX_USD);
}

static void test_a_lock_for_a_period_that_never_came_goes_back(void **state) {
    step s = {.now_ms = START};
    (void)state;
    fix_ok(deploy(&s));
    become(APP_RUNNING, START);
    (void)sweep(START + PERIOD - 1);
    become(APP_FAILED, START + PERIOD - 1);
    ledger_balance b = alice();
    assert_true(b.locked <= 6 * FIX_USD && b.locked > 5 * FIX_USD);
    assert_int_equal(b.available + b.locked, 100 * FIX_USD);
}

static void test_M7_who_cannot_pay_is_stopped_at_the_boundary_with_a_reason(void **state) {
    step s = {.now_ms = START};
    app_row row;
    (void)state;
    fix_ok(deploy(&s));
    become(APP_RUNNING, START);
    fix_ok(fix_transfer(fixture, fix.alice.id, "bob", 94 * FIX_USD, "pay-1", NULL));
    assert_null(sweep(START + PERIOD - 1)); /* could not be locked; there is time until the boundary */
    assert_string_equal(sweep(START + PERIOD), "web");
    app_row_init(&row);
    fix_ok(apps_get_id(fix.db, "app_1", &row, &fix_err));
    assert_int_equal(row.state, APP_FAILED);
    assert_string_equal(row.word, "low_balance");
    assert_non_null(strstr(row.message, "could not be paid"));
    app_row_clear(&row);
    expect(0, 6 * FIX_USD);
    assert_null(sweep(START + PERIOD + MINUTE)); /* it is over: nothing more happens */
}

static void test_low_balance_places_nothing(void **state) {
    step s = {.now_ms = START, .ceiling = 1000 * FIX_USD};
    app_row row;
    (void)state;
    fix_ok(fix_transfer(fixture, fix.alice.id, "bob", 95 * FIX_USD, "pay-1", NULL));
    assert_int_equal(deploy(&s), EE_E_LOW_BALANCE);
    assert_int_equal(fix_err.needed, 6 * FIX_USD);
    app_row_init(&row);
    assert_int_equal(apps_get_id(fix.db, "app_1", &row, &fix_err), EE_E_NOT_FOUND);
    app_row_clear(&row);
    expect(5 * FIX_USD, 0);
}

static void test_M11_never_more_than_was_authorized(void **state) {
    step s = {.now_ms = START, .ceiling = PRICE - 1};
    (void)state;
    assert_int_equal(deploy(&s), EE_E_BUDGET);
    expect(100 * FIX_USD, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_the_rest_of_the_period_is_locked_when_it_is_placed),
        TEST(test_deploying_is_not_billed),
        TEST(test_what_ran_stays_locked_and_the_rest_returns),
        TEST(test_the_next_period_is_locked_before_it_starts),
        TEST(test_a_lock_for_a_period_that_never_came_goes_back),
        TEST(test_M7_who_cannot_pay_is_stopped_at_the_boundary_with_a_reason),
        TEST(test_low_balance_places_nothing),
        TEST(test_M11_never_more_than_was_authorized),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
