/* test_tickets_table.c - a boot ticket is used once, by one instance, also after a restart. Threat S3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
#include "ledger_fixture.h"
// clang-format on
#include "controlplane/tickets_table.h"

static ticket_use use(uint8_t serial, uint8_t instance) {
    ticket_use u = {.now_ms = FIX_NOW};
    memset(u.serial, serial, sizeof u.serial);
    memset(u.node_id, 7, sizeof u.node_id);
    memset(u.instance_id, instance, sizeof u.instance_id);
    return u;
}

static ee_status use_it(store *db, void *arg, ee_error *err) { return tickets_use(db, arg, err); }

static ee_status used(ledger_fixture *f, uint8_t serial, uint8_t instance) {
    static uint64_t now_ms = FIX_NOW;
    ticket_use u = use(serial, instance);
    u.now_ms = ++now_ms;
    return store_run(f->db, use_it, &u, &fix_err);
}

static bool by(ledger_fixture *f, uint8_t serial, uint8_t instance) {
    ticket_use u = use(serial, instance);
    bool same = true;
    fix_ok(tickets_used_by(f->db, u.serial, u.instance_id, &same, &fix_err));
    return same;
}

static void test_S3_a_ticket_is_used_once(void **state) {
    ledger_fixture *f = *state;
    assert_false(by(f, 1, 1));
    fix_ok(used(f, 1, 1));
    fix_ok(used(f, 1, 1)); /* the same instance comes back */
    assert_true(by(f, 1, 1));
    assert_false(by(f, 1, 2));
    assert_int_equal(used(f, 1, 2), EE_E_ATTESTATION);
    assert_non_null(strstr(fix_err.message, "used before, by another instance"));
    fix_ok(used(f, 2, 2));
    assert_int_equal(used(f, 2, 1), EE_E_ATTESTATION);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM ticket"), 2);
}

static void test_S2_a_later_boot_has_the_nodes_place_for_good(void **state) {
    ledger_fixture *f = *state;
    fix_ok(used(f, 1, 1));
    fix_ok(used(f, 2, 2));
    assert_int_equal(used(f, 1, 1), EE_E_ATTESTATION);
    assert_non_null(strstr(fix_err.message, "a later boot of this node has taken its place"));
    fix_ok(used(f, 2, 2));
    ticket_use other = use(3, 3); /* of another node */
    memset(other.node_id, 8, sizeof other.node_id);
    other.now_ms = FIX_LATE;
    fix_ok(store_run(f->db, use_it, &other, &fix_err));
    fix_ok(used(f, 2, 2));
}

static void test_S3_a_used_ticket_outlives_a_restart(void **state) {
    ledger_fixture *f = *state;
    fix_ok(used(f, 1, 1));
    store_close(f->db);
    f->db = NULL;
    fix_ok(store_open(f->path, STORE_READ_WRITE, &f->db, &fix_err));
    assert_int_equal(used(f, 1, 2), EE_E_ATTESTATION);
    fix_ok(used(f, 1, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_S3_a_ticket_is_used_once, fix_setup, fix_teardown),
        cmocka_unit_test_setup_teardown(test_S2_a_later_boot_has_the_nodes_place_for_good, fix_setup, fix_teardown),
        cmocka_unit_test_setup_teardown(test_S3_a_used_ticket_outlives_a_restart, fix_setup, fix_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
