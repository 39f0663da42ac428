/* test_routing.c - each reason to refuse a node, trust by known numbers, order and ties. Laws over random nodes are in
 * property/test_routing_laws.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
// clang-format on
#include "controlplane/routing.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define NOW UINT64_C(1769864651000)
#define DAY UINT64_C(86400000)

static routing_candidate good(const char *name, uint8_t id) {
    routing_candidate c;
    memset(&c, 0, sizeof c);
    (void)snprintf(c.name, sizeof c.name, "%s", name);
    memset(c.node_id, id, sizeof c.node_id);
    c.state = NODE_SERVING;
    c.connected = true;
    c.evidence_ms = NOW - 1000;
    c.tier = TIER_STANDARD;
    c.price = 40000;
    c.stake = c.stake_required = 10000000;
    c.vcpus_milli = c.vcpus_free_milli = 4000;
    c.memory_bytes = c.memory_free = UINT64_C(8) << 30;
    c.enrolled_ms = NOW - 60 * DAY;
    return c;
}
static const routing_request wants = {.vcpus_milli = 2000, .memory_bytes = 1 << 30, .now_ms = NOW};

static void test_every_reason(void **state) {
    (void)state;
    for (int i = 0; i < 24; i++) {
        routing_candidate c = good("node-a", 1);
        routing_request r = wants;
        const char *want = NULL;
        char reason[160];
        switch (i) {
        case 0: break;
        case 1: c.state = NODE_ENROLLED, want = "is enrolled but has not connected and attested"; break;
        case 2: c.state = NODE_ATTESTED, want = "is attested but not ready for work yet"; break;
        case 3: c.state = NODE_SUSPECT, c.health_misses = 1, want = "is suspect: it missed 1 check and has to pass again"; break;
        case 4: c.state = NODE_DRAINING, want = "is draining: it takes no new work"; break;
        case 5: c.state = NODE_GONE, want = "is gone: its tunnel closed"; break;
        case 6: c.state = NODE_BANNED, want = "is banned"; break;
        case 7: c.connected = false, want = "is not connected"; break;
        case 8: c.simulated = true, want = "has simulated evidence, which this network does not admit"; break;
        case 9: c.simulated = true, r.allow_simulated = true; break;
        case 10: c.evidence_ms = 0, want = "has no evidence that is valid now"; break;
        case 11: c.evidence_ms = NOW + 1, want = "has no evidence that is valid now"; break;
        case 12: c.evidence_ms = NOW - 1800000; break;
        case 13: c.evidence_ms = NOW - 1800001, want = "has evidence that is 1800 s old, limit 1800 s"; break; /* Q17 */
        case 14: c.health_misses = 2, want = "missed its last 2 health checks"; break;
        case 15: c.stake--, want = "has $9.999999 at stake, standard needs $10.00"; break; /* M16 */
        case 16: r.tier_min = TIER_PREMIUM, want = "is of tier standard, premium wanted"; break;
        case 17: r.tier_min = TIER_STANDARD; break;
        case 18: r.price_max = 39999, want = "posts $0.04 per vcpu-hour, at most $0.039999 wanted"; break;
        case 19: r.price_max = 40000; break;
        case 20: c.vcpus_free_milli = 1999, want = "has 1.999 vcpus free, 2 wanted"; break;
        case 21: c.memory_free = (1 << 30) - 1, want = "has 1023 MiB of memory free, 1024 wanted"; break;
        case 22: r.node = eei_span_text("node-b"), want = "is not the node that was asked for"; break;
        default: r.node = eei_span_text("node-a"); break;
        }
        bool full, eligible = routing_eligible(&r, &c, &full, reason);
        if (eligible != (want == NULL) || strcmp(reason, want ? want : "") != 0) fail_msg("case %d: %s", i, reason);
        if (full != (i == 20 || i == 21)) fail_msg("case %d: full is %d", i, full);
    }
}

static void test_weights_are_powers_of_two(void **state) {
    (void)state;
    double want = 1e6;
    for (unsigned day = 0; day <= 30; day++) {
        assert_int_equal(routing_weight_ppm(day * DAY + 5), (uint32_t)(want + 0.5));
        want *= 0.90572366426390671; /* 2^(-1/7) */
    }
    assert_int_equal(routing_weight_ppm(31 * DAY), 0);
    assert_int_equal(routing_weight_ppm(UINT64_MAX), 0);
}

static void test_trust_by_known_numbers(void **state) {
    (void)state;
    static const struct {
        const char *name;
        routing_history h;
        ee_money stake, required;
        uint64_t age_ms;
        uint32_t want;
    } cases[] = {
        {"new", {0}, 10, 10, 0, 500000},
        {"15 days", {0}, 10, 10, 15 * DAY, 750000},
        {"30 days", {0}, 10, 10, 30 * DAY, 1000000},
        {"a year", {0}, 10, 10, 365 * DAY, 1000000},
        {"half the stake", {0}, 5, 10, 30 * DAY, 500000},
        {"more stake does not count", {0}, 50, 10, 30 * DAY, 1000000},
        {"no stake wanted", {0}, 0, 0, 30 * DAY, 1000000},
        {"no stake", {0}, 0, 10, 30 * DAY, 1},
        {"failed health", {230000000, 0, 1000000, 0, 0}, 10, 10, 30 * DAY, 920318},      /* 231 / 251 */
        {"failed attestation", {230000000, 1000000, 0, 0, 0}, 10, 10, 30 * DAY, 852398}, /* 231 / 271 */
        {"incident", {230000000, 0, 0, 1000000, 0}, 10, 10, 30 * DAY, 697885},           /* 231 / 331 */
        {"abuse", {230000000, 0, 0, 0, 1000000}, 10, 10, 30 * DAY, 250000},
        {"everything at its worst", {0, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}, 0, INT64_MAX, 0, 1},
        {"everything at its best", {UINT64_MAX, 0, 0, 0, 0}, INT64_MAX, INT64_MAX, UINT64_MAX, 1000000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t got = routing_trust_ppm(&cases[i].h, cases[i].stake, cases[i].required, cases[i].age_ms);
        if (got != cases[i].want) fail_msg("%s: %u, wanted %u", cases[i].name, got, cases[i].want);
    }
    assert_int_equal(routing_effective_price(40000, 1000000), 40000);
    assert_int_equal(routing_effective_price(40000, 500000), 80000);
    assert_int_equal(routing_effective_price(1, 999999), 2);     /* up */
    assert_int_equal(routing_effective_price(40000, 1), 800000); /* at most 20 times */
    assert_int_equal(routing_effective_price(INT64_MAX, 500000), INT64_MAX);
    assert_int_equal(routing_effective_price(0, 1), 0);
}

static void expect_order(const routing_candidate *c, size_t count, const char *want) {
    routing_choice out[8];
    char got[128] = "";
    size_t eligible = routing_rank(&wants, c, count, out);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(out[i].eligible, i < eligible);
        size_t len = strlen(got);
        (void)snprintf(got + len, sizeof got - len, "%s%s ", out[i].eligible ? "" : "!", c[out[i].index].name);
    }
    assert_string_equal(got, want);
}

static void test_order_and_ties(void **state) {
    (void)state;
    routing_candidate c[4] = {good("d", 1), good("c", 2), good("b", 3), good("a", 4)};
    expect_order(c, 4, "d c b a "); /* all alike: node id, not name */
    c[3].vcpus_free_milli = 5000;   /* more free */
    expect_order(c, 4, "a d c b ");
    c[2].vcpus_free_milli = 5000;
    c[2].memory_free++;
    expect_order(c, 4, "b a d c ");
    c[1].price = 39999; /* cheaper */
    expect_order(c, 4, "c b a d ");
    c[1].history.abuse_ppm = 1000000; /* cheap, but not trusted */
    expect_order(c, 4, "b a d c ");
    c[2].state = NODE_SUSPECT;
    c[0].connected = false;
    expect_order(c, 4, "a c !d !b ");
    expect_order(c, 0, "");
}

static void test_nobody_can(void **state) {
    (void)state;
    ee_error err;
    static routing_candidate c[40];
    static routing_choice out[40];
    routing_request r = wants;
    assert_int_equal(routing_check(c, out, 0, &err), EE_E_NO_NODE);
    c[0] = good("node-a", 1);
    c[1] = good("node-b", 2);
    (void)routing_rank(&r, c, 2, out);
    assert_int_equal(routing_check(c, out, 2, &err), EE_OK);
    c[1].state = NODE_BANNED;
    r.node = eei_span_text("node-b");
    assert_int_equal(routing_rank(&r, c, 2, out), 0);
    assert_int_equal(routing_check(c, out, 2, &err), EE_E_NO_NODE);
    assert_string_equal(err.message, "none of 2 nodes can take this work; node-b is banned");
    json_t *details = json_loads(err.details, 0, NULL);
    assert_non_null(details);
    assert_string_equal(json_string_value(json_object_get(json_object_get(details, "rejected"), "node-b")), "is banned");
    json_decref(details);
    for (uint8_t i = 0; i < 40; i++) { /* more than fit */
        char name[16];
        (void)snprintf(name, sizeof name, "node-%u", i);
        c[i] = good(name, i);
        c[i].stake = 0;
    }
    r.node = eei_span(NULL, 0);
    assert_int_equal(routing_rank(&r, c, 40, out), 0);
    assert_int_equal(routing_check(c, out, 40, &err), EE_E_NO_NODE);
    details = json_loads(err.details, 0, NULL); /* cut between items, still JSON */
    assert_non_null(details);
    assert_true(json_object_size(json_object_get(details, "rejected")) > 5);
    json_decref(details);
    assert_int_equal(routing_check(c, out, 40, NULL), EE_E_NO_NODE);
}

/* What is only a matter of room passes; what is missing for good, or beside the room, does not. */
static void test_busy_is_what_will_pass(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t vcpus_free, memory_free, vcpus_wanted, memory_wanted;
        bool suspect, other_is_free, busy;
    } cases[] = {
        {"no vcpus free", 1999, UINT64_C(8) << 30, 2000, 1 << 30, false, false, true},
        {"no memory free", 4000, (1 << 30) - 1, 2000, 1 << 30, false, false, true},
        {"as much as it has", 3999, UINT64_C(8) << 30, 4000, 1 << 30, false, false, true},
        {"more vcpus than it has", 4000, UINT64_C(8) << 30, 4001, 1 << 30, false, false, false},
        {"more memory than it has", 0, 0, 2000, (UINT64_C(8) << 30) + 1, false, false, false},
        {"full and suspect", 0, UINT64_C(8) << 30, 2000, 1 << 30, true, false, false},
        {"another one is free", 0, UINT64_C(8) << 30, 2000, 1 << 30, false, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        routing_candidate c[2] = {good("node-a", 1), good("node-b", 2)};
        routing_choice out[2];
        routing_request r = wants;
        ee_error err = {0};
        r.vcpus_milli = cases[i].vcpus_wanted;
        r.memory_bytes = cases[i].memory_wanted;
        c[0].vcpus_free_milli = cases[i].vcpus_free;
        c[0].memory_free = cases[i].memory_free;
        if (cases[i].suspect) c[0].state = NODE_SUSPECT;
        if (!cases[i].other_is_free) c[1].state = NODE_GONE;
        (void)routing_rank(&r, c, 2, out);
        if (routing_busy(out, 2) != cases[i].busy) fail_msg("%s: busy is %d", cases[i].name, !cases[i].busy);
        if (cases[i].other_is_free) continue;
        assert_int_equal(routing_check(c, out, 2, &err), EE_E_NO_NODE);
        json_t *details = json_loads(err.details, 0, NULL);
        if (json_is_true(json_object_get(details, "busy")) != cases[i].busy) fail_msg("%s: %s", cases[i].name, err.details);
        json_decref(details);
    }
}

static void test_words(void **state) {
    (void)state;
    routing_tier tier = 0;
    assert_true(routing_tier_parse(eei_span_text("premium"), &tier));
    assert_int_equal(tier, TIER_PREMIUM);
    assert_false(routing_tier_parse(eei_span_text("gold"), &tier));
    assert_string_equal(routing_tier_word(0), "?");
    assert_string_equal(node_state_word(NODE_SERVING), "serving");
    assert_string_equal(node_state_word(0), "?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_reason),
        cmocka_unit_test(test_weights_are_powers_of_two),
        cmocka_unit_test(test_trust_by_known_numbers),
        cmocka_unit_test(test_order_and_ties),
        cmocka_unit_test(test_nobody_can),
        cmocka_unit_test(test_busy_is_what_will_pass),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
