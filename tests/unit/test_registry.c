/* test_registry.c - nodes in memory: who may be enrolled, the whole state table, what a suspect owes, sessions that replace each other,
 * capacity. And the rows that outlive a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
#include "ledger_fixture.h"
// clang-format on
#include "controlplane/registry_table.h"

static ee_error err;

static registry_profile profile(const char *name, uint8_t id) {
    registry_profile p;
    memset(&p, 0, sizeof p);
    p.id = LEDGER_FIRST_NODE + id;
    p.provider = LEDGER_FIRST_ACCOUNT;
    (void)snprintf(p.name, sizeof p.name, "%s", name);
    memset(p.node_id, id, sizeof p.node_id);
    p.tier = TIER_STANDARD;
    p.price = 40000;
    p.vcpus_milli = 4000;
    p.memory_bytes = 1 << 30;
    return p;
}

static registry_node *enroll(registry *r, const char *name, uint8_t id) {
    registry_profile p = profile(name, id);
    registry_node *node = NULL;
    assert_int_equal(registry_enroll(r, &p, 100, &node, &err), EE_OK);
    return node;
}

static ee_status attach(registry *r, registry_node *node, void *session, uint8_t instance, void **replaced) {
    uint8_t id[32], pub[32];
    memset(id, instance, sizeof id);
    memset(pub, instance + 1, sizeof pub);
    return registry_attach(r, node, session, id, pub, false, 200, replaced, &err);
}

static registry *fresh(void) {
    registry *r = NULL;
    assert_int_equal(registry_new(&r, &err), EE_OK);
    return r;
}

static void test_nodes_are_found(void **state) {
    (void)state;
    registry *r = fresh();
    static const char *const names[] = {"node-c", "node-a", "node-d", "node-b", "node"};
    for (uint8_t i = 0; i < 5; i++) (void)enroll(r, names[i], (uint8_t)(i + 1));
    assert_int_equal(registry_count(r), 5);
    assert_string_equal(registry_at(r, 0)->profile.name, "node");
    assert_string_equal(registry_at(r, 4)->profile.name, "node-d");
    assert_null(registry_at(r, 5));
    for (uint8_t i = 0; i < 5; i++) {
        assert_int_equal(registry_find(r, fix_text(names[i]))->profile.id, LEDGER_FIRST_NODE + i + 1);
        assert_string_equal(registry_find_id(r, LEDGER_FIRST_NODE + i + 1)->profile.name, names[i]);
    }
    assert_null(registry_find(r, fix_text("node-")));
    assert_null(registry_find(r, fix_text("")));
    registry_node *node = NULL;
    assert_int_equal(registry_get(r, fix_text("nodea"), &node, &err), EE_E_NOT_FOUND);
    assert_non_null(strstr(err.message, "Did you mean node"));
    static const uint8_t zero[32];
    assert_null(registry_find_instance(r, zero)); /* "no instance" is nobody's */
    assert_null(registry_find_session(r, NULL));
    registry_free(r);
    registry_free(NULL);
}

static void test_enrolment_keeps_identity(void **state) {
    (void)state;
    registry *r = fresh();
    registry_node *node = enroll(r, "node-a", 1), *again = NULL;
    registry_profile p = profile("node-a", 1);
    p.price = 50000;
    assert_int_equal(registry_enroll(r, &p, 300, &again, &err), EE_OK);
    assert_ptr_equal(node, again);
    assert_int_equal(node->profile.price, 50000);
    p.node_id[0] ^= 1;
    assert_int_equal(registry_enroll(r, &p, 300, &again, &err), EE_E_CONFLICT); /* S1 */
    p = profile("Node A", 9);
    assert_int_equal(registry_enroll(r, &p, 300, &again, &err), EE_E_INVALID);
    assert_int_equal(registry_apply(r, node, REGISTRY_BAN, 400, &err), EE_OK);
    p = profile("node-a", 1);
    assert_int_equal(registry_enroll(r, &p, 500, &again, &err), EE_OK);
    assert_int_equal(node->state, NODE_BANNED); /* enrolling again does not lift it */
    assert_true(node->profile.banned);
    registry_free(r);
}

/* The table of docs/protocol.md#registration, written a second time: 0 is refused. */
static void test_every_state_and_event(void **state) {
    (void)state;
    enum { E = NODE_ENROLLED, A = NODE_ATTESTED, S = NODE_SERVING, U = NODE_SUSPECT, D = NODE_DRAINING, G = NODE_GONE, B = NODE_BANNED };
    static const uint8_t want[8][9] = {
        /* -, ATTESTED, READY, PASS, MISS, ATTEST_MISS, DRAIN, LOST, BAN */
        [E] = {0, A, 0, 0, 0, 0, 0, 0, B}, [A] = {0, A, S, A, U, U, D, G, B}, [S] = {0, S, S, S, U, U, D, G, B},
        [U] = {0, U, U, U, U, U, D, G, B}, [D] = {0, D, D, D, D, D, D, G, B}, [G] = {0, A, 0, 0, G, G, 0, G, B},
        [B] = {0, 0, 0, 0, 0, 0, 0, B, B},
    };
    for (uint8_t from = E; from <= B; from++)
        for (uint8_t event = REGISTRY_ATTESTED; event <= REGISTRY_BAN; event++) {
            registry *r = fresh();
            registry_node *node = enroll(r, "node-a", 1);
            node->state = (node_state)from;
            if (from == U) {
                node->passes_owed = 3;
                node->attest_owed = true;
            }
            ee_status st = registry_apply(r, node, (registry_event)event, 1000, &err);
            node_state now = want[from][event] ? (node_state)want[from][event] : (node_state)from;
            if ((st == EE_OK) != (want[from][event] != 0) || node->state != now || (st && st != EE_E_STATE))
                fail_msg("%s and event %u: %s, now %s", node_state_word((node_state)from), event, ee_status_word(st),
                         node_state_word(node->state));
            registry_free(r);
        }
    registry *r = fresh();
    registry_node *node = enroll(r, "node-a", 1);
    assert_int_equal(registry_apply(r, node, (registry_event)0, 1, &err), EE_E_STATE);
    assert_int_equal(registry_apply(r, node, (registry_event)99, 1, &err), EE_E_STATE);
    registry_free(r);
}

static void apply_all(registry *r, registry_node *node, const char *events) {
    static const char letters[] = " arpmxdlb"; /* attested ready pass miss attest-miss drain lost ban */
    for (; *events; events++)
        assert_int_equal(registry_apply(r, node, (registry_event)(strchr(letters, *events) - letters), 1000, &err), EE_OK);
}

static void test_a_suspect_owes_an_attestation_and_three_passes(void **state) {
    (void)state;
    static const struct {
        const char *events;
        node_state want;
    } cases[] = {
        {"ar", NODE_SERVING},      {"arm", NODE_SUSPECT},     {"armppp", NODE_SUSPECT},    {"armapp", NODE_SUSPECT},
        {"armappp", NODE_SERVING}, {"armpppa", NODE_SERVING}, {"armappmp", NODE_SUSPECT},  {"armappmappp", NODE_SERVING},
        {"arxappp", NODE_SERVING}, {"armlar", NODE_SUSPECT},  {"armlarppp", NODE_SERVING}, {"am", NODE_SUSPECT},
        {"arlm", NODE_GONE},       {"arlmar", NODE_SUSPECT},  {"ardppp", NODE_DRAINING},   {"ardlar", NODE_SERVING},
        {"armarrr", NODE_SUSPECT}, {"arb", NODE_BANNED},      {"ap", NODE_ATTESTED},       {"armdppp", NODE_DRAINING},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        registry *r = fresh();
        registry_node *node = enroll(r, "node-a", 1);
        apply_all(r, node, cases[i].events);
        if (node->state != cases[i].want) fail_msg("%s: %s", cases[i].events, node_state_word(node->state));
        registry_free(r);
    }
}

static void test_S2_a_newer_session_replaces(void **state) {
    (void)state;
    registry *r = fresh();
    int one = 1, two = 2;
    void *replaced = &one;
    registry_node *a = enroll(r, "node-a", 1), *b = enroll(r, "node-b", 2);
    assert_int_equal(attach(r, a, &one, 10, &replaced), EE_OK);
    assert_null(replaced);
    assert_int_equal(a->state, NODE_ATTESTED);
    apply_all(r, a, "r");
    assert_ptr_equal(registry_find_session(r, &one), a);
    assert_int_equal(attach(r, b, &two, 10, &replaced), EE_E_CONFLICT); /* one instance is one node */
    assert_null(b->session);
    assert_int_equal(attach(r, a, &two, 11, &replaced), EE_OK);
    assert_ptr_equal(replaced, &one);
    assert_int_equal(a->state, NODE_ATTESTED);   /* not ready before it says so */
    assert_false(registry_detach(r, &one, 300)); /* the old one's end changes nothing */
    assert_int_equal(a->state, NODE_ATTESTED);
    apply_all(r, a, "r");
    assert_true(registry_detach(r, &two, 300));
    assert_int_equal(a->state, NODE_GONE);
    static const uint8_t gone[32] = {0};
    assert_memory_equal(a->instance_id, gone, sizeof gone);
    apply_all(r, a, "b");
    assert_int_equal(attach(r, a, &one, 12, &replaced), EE_E_PERMISSION);
    registry_free(r);
}

static void test_capacity_is_not_promised_twice(void **state) {
    (void)state;
    registry *r = fresh();
    registry_node *node = enroll(r, "node-a", 1);
    routing_candidate c;
    assert_int_equal(registry_reserve(r, node, 3000, 1 << 29, &err), EE_OK);
    assert_int_equal(registry_reserve(r, node, 1001, 0, &err), EE_E_NO_NODE);
    assert_int_equal(registry_reserve(r, node, 0, (1 << 29) + 1, &err), EE_E_NO_NODE);
    assert_int_equal(registry_reserve(r, node, 1000, 1 << 29, &err), EE_OK);
    assert_int_equal(registry_candidates(r, &c, 1), 1);
    assert_int_equal(c.vcpus_free_milli, 0);
    assert_int_equal(c.memory_free, 0);
    assert_int_equal(registry_reserve(r, node, 1, 0, &err), EE_E_NO_NODE);
    node->profile.vcpus_milli = 1000; /* the provider takes some away: less than is in use */
    assert_int_equal(registry_reserve(r, node, 1, 0, &err), EE_E_NO_NODE);
    registry_release(r, node, 3000, 1 << 29);
    registry_release(r, node, 1000, 1 << 29);
    assert_int_equal(node->reservations, 0);
    assert_int_equal(registry_reserve(r, node, UINT64_MAX, UINT64_MAX, &err), EE_E_NO_NODE);
    registry_free(r);
}

static void test_allocation_failures(void **state) {
    (void)state;
    for (size_t n = 1; n < 10; n++) {
        registry *r = NULL;
        registry_node *node = NULL;
        registry_profile p = profile("node-a", 1);
        (void)eei_alloc_fail_at(n);
        ee_status st = registry_new(&r, &err);
        if (!st) st = registry_enroll(r, &p, 1, &node, &err);
        size_t made = eei_alloc_fail_at(0);
        assert_int_equal(st, made < n ? EE_OK : EE_E_NOMEM);
        if (r) assert_int_equal(registry_count(r), st ? 0 : 1);
        registry_free(r);
        if (made < n) return;
    }
    fail_msg("more allocations than expected");
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

typedef struct enroll_work {
    registry_profile profile;
    int64_t node, provider;
    ee_money price;
} enroll_work;
static ee_status run_enroll(store *db, void *arg, ee_error *e) { return nodes_enroll(db, &((enroll_work *)arg)->profile, FIX_NOW, e); }
static ee_status run_price(store *db, void *arg, ee_error *e) {
    enroll_work *w = arg;
    return nodes_set_price(db, w->node, w->provider, w->price, FIX_NOW, e);
}
static ee_status run_ban(store *db, void *arg, ee_error *e) { return nodes_ban(db, ((enroll_work *)arg)->node, "fraud", FIX_NOW, e); }
static bool take_profile(void *user, const registry_profile *p) {
    *(registry_profile *)user = *p;
    return true;
}

static void test_rows_outlive_a_restart(void **state) {
    ledger_fixture *f = *state;
    registry_profile p;
    enroll_work w = {.profile = profile("node-a", 1)};
    w.profile.provider = f->provider.id;
    fix_ok(store_run(f->db, run_enroll, &w, &fix_err));
    assert_int_equal(w.profile.id, f->node.id);
    fix_ok(store_run(f->db, run_enroll, &w, &fix_err)); /* again, as it is */
    enroll_work other = {.profile = profile("node-b", 1)};
    other.profile.provider = f->provider.id;
    assert_int_equal(store_run(f->db, run_enroll, &other, &fix_err), EE_E_CONFLICT); /* one node id, two names */
    other.profile = profile("node-a", 2);
    other.profile.provider = f->provider.id;
    assert_int_equal(store_run(f->db, run_enroll, &other, &fix_err), EE_E_CONFLICT);
    other.profile = profile("node-c", 3);
    other.profile.provider = f->alice.id;
    assert_int_equal(store_run(f->db, run_enroll, &other, &fix_err), EE_E_PERMISSION);
    other.profile = profile("node-d", 4);
    other.profile.provider = f->provider.id;
    other.profile.vcpus_milli = 0;
    assert_int_equal(store_run(f->db, run_enroll, &other, &fix_err), EE_E_INVALID);
    w.node = f->node.id;
    w.provider = f->alice.id;
    w.price = 1;
    assert_int_equal(store_run(f->db, run_price, &w, &fix_err), EE_E_PERMISSION);
    w.provider = f->provider.id;
    w.price = -1;
    assert_int_equal(store_run(f->db, run_price, &w, &fix_err), EE_E_INVALID_AMOUNT);
    w.price = 77;
    fix_ok(store_run(f->db, run_price, &w, &fix_err));
    fix_ok(store_run(f->db, run_ban, &w, &fix_err));
    fix_ok(store_run(f->db, run_ban, &w, &fix_err));
    store_close(f->db);
    f->db = NULL;
    fix_ok(store_open(f->path, STORE_READ_WRITE, &f->db, &fix_err));
    fix_ok(nodes_list(f->db, take_profile, &p, &fix_err));
    assert_string_equal(p.name, "node-a");
    assert_string_equal(p.provider_name, "provider-one");
    assert_int_equal(p.price, 77);
    assert_int_equal(p.node_id[31], 1);
    assert_true(p.banned);
    assert_int_equal(store_run(f->db, run_enroll, &w, &fix_err), EE_E_PERMISSION); /* a ban is for ever */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes_are_found),
        cmocka_unit_test(test_enrolment_keeps_identity),
        cmocka_unit_test(test_every_state_and_event),
        cmocka_unit_test(test_a_suspect_owes_an_attestation_and_three_passes),
        cmocka_unit_test(test_S2_a_newer_session_replaces),
        cmocka_unit_test(test_capacity_is_not_promised_twice),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test_setup_teardown(test_rows_outlive_a_restart, fix_setup, fix_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
