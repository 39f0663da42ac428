/* test_routing_laws.c - over random nodes: the choice does not depend on their order, never falls on one that is not eligible, and
 * improving any one fact of a node never makes its place worse. Replay with EE_SEED=... */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
// clang-format on
#include "controlplane/routing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NODES = 12, ROUNDS = 20000 };
#define NOW UINT64_C(1769864651000)
#define DAY UINT64_C(86400000)

static uint64_t seed;
static uint64_t next(void) { /* splitmix64 */
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
static uint64_t below(uint64_t n) { return next() % n; }

/* Mostly small numbers, so that ties happen; sometimes anything. */
static uint64_t some(uint64_t usual) { return below(50) ? below(usual) : next() >> below(64); }

static routing_candidate random_node(uint8_t id) {
    routing_candidate c;
    memset(&c, 0, sizeof c);
    (void)snprintf(c.name, sizeof c.name, "node-%u", id);
    c.node_id[0] = id;
    c.state = below(5) ? NODE_SERVING : (node_state)(1 + below(7));
    c.connected = below(10) != 0;
    c.simulated = below(10) == 0;
    c.evidence_ms = below(10) ? NOW - below(2000000) : NOW + below(5);
    c.health_misses = (uint32_t)(below(8) ? 0 : below(3));
    c.tier = (routing_tier)(1 + below(3));
    c.price = (ee_money)(some(4) * 10000 & INT64_MAX);
    c.stake = (ee_money)(some(20) * 1000000 & INT64_MAX);
    c.stake_required = (ee_money)(some(10) * 1000000 & INT64_MAX);
    c.vcpus_free_milli = some(6) * 1000;
    c.memory_free = some(6) << 30;
    c.enrolled_ms = NOW - below(60) * DAY;
    c.history = (routing_history){some(300) * 1000000, some(3) * 1000000, some(3) * 1000000, some(3) * 1000000, some(3) * 1000000};
    return c;
}

/* One fact gets better. */
static void improve(routing_candidate *c) {
    uint64_t by = 1 + some(1000000);
    switch (below(13)) {
    case 0: c->history.passed_ppm += by < UINT64_MAX - c->history.passed_ppm ? by : 0; break;
    case 1: c->history.failed_attest_ppm -= by < c->history.failed_attest_ppm ? by : c->history.failed_attest_ppm; break;
    case 2: c->history.failed_health_ppm -= by < c->history.failed_health_ppm ? by : c->history.failed_health_ppm; break;
    case 3: c->history.incidents_ppm -= by < c->history.incidents_ppm ? by : c->history.incidents_ppm; break;
    case 4: c->history.abuse_ppm -= by < c->history.abuse_ppm ? by : c->history.abuse_ppm; break;
    case 5: c->stake += (ee_money)by < INT64_MAX - c->stake && (ee_money)by > 0 ? (ee_money)by : 0; break;
    case 6: c->enrolled_ms -= DAY * below(20); break;
    case 7: c->price -= (ee_money)(by < (uint64_t)c->price ? by : (uint64_t)c->price); break;
    case 8: c->vcpus_free_milli += by < UINT64_MAX - c->vcpus_free_milli ? by : 0; break;
    case 9: c->state = NODE_SERVING; break;
    case 10: c->connected = true; break;
    case 11: c->health_misses = 0; break;
    default: c->evidence_ms = NOW; break;
    }
}

static size_t place_of(const routing_choice *out, size_t index) {
    for (size_t i = 0; i < NODES; i++)
        if (out[i].index == index) return i;
    fail_msg("node %zu is not in the list", index);
    return 0;
}

static void shuffle(routing_candidate *c) {
    for (size_t i = NODES - 1; i > 0; i--) {
        size_t j = (size_t)below(i + 1);
        routing_candidate swap = c[i];
        c[i] = c[j];
        c[j] = swap;
    }
}

static void check_choices(const routing_request *r, const routing_candidate *c, const routing_choice *out, size_t eligible) {
    char reason[160];
    bool full;
    for (size_t i = 0; i < NODES; i++) {
        const routing_candidate *node = &c[out[i].index];
        assert_int_equal(out[i].eligible, i < eligible);
        assert_int_equal(out[i].eligible, routing_eligible(r, node, &full, reason));
        assert_int_equal(out[i].full, full);
        assert_false(full && out[i].eligible);
        assert_string_equal(out[i].reason, reason);
        assert_int_equal(reason[0] != 0, !out[i].eligible); /* every refusal has its sentence */
        assert_true(out[i].trust_ppm >= 1 && out[i].trust_ppm <= 1000000);
        assert_true(out[i].effective >= node->price && out[i].effective / 20 <= node->price);
        if (!out[i].eligible) continue;
        assert_true(node->state == NODE_SERVING && node->connected && node->stake >= node->stake_required &&
                    node->vcpus_free_milli >= r->vcpus_milli && node->memory_free >= r->memory_bytes && node->tier >= r->tier_min);
        if (i) assert_true(out[i - 1].effective <= out[i].effective);
    }
}

static void one_round(void) {
    routing_candidate c[NODES], mixed[NODES];
    routing_choice out[NODES], again[NODES];
    const routing_request r = {.vcpus_milli = below(4) * 1000,
                               .memory_bytes = below(4) << 30,
                               .tier_min = (routing_tier)below(4),
                               .price_max = below(3) ? 0 : 20000,
                               .allow_simulated = below(2) == 0,
                               .now_ms = NOW};
    for (size_t i = 0; i < NODES; i++) c[i] = random_node((uint8_t)i);
    size_t eligible = routing_rank(&r, c, NODES, out);
    check_choices(&r, c, out, eligible);

    memcpy(mixed, c, sizeof mixed); /* deterministic, whatever the order */
    shuffle(mixed);
    assert_int_equal(routing_rank(&r, mixed, NODES, again), eligible);
    for (size_t i = 0; i < NODES; i++) assert_string_equal(mixed[again[i].index].name, c[out[i].index].name);

    size_t at = (size_t)below(NODES); /* monotone */
    const routing_candidate was = c[at];
    improve(&c[at]);
    (void)routing_rank(&r, c, NODES, again);
    const routing_choice *old = &out[place_of(out, at)], *better = &again[place_of(again, at)];
    assert_true(better->trust_ppm >= old->trust_ppm);
    assert_true(better->effective <= old->effective);
    assert_true(better->eligible >= old->eligible);
    if (place_of(again, at) > place_of(out, at))
        fail_msg("%s fell from %zu to %zu (price %" PRId64 " -> %" PRId64 ")", was.name, place_of(out, at), place_of(again, at), was.price,
                 c[at].price);
}

static void test_laws(void **state) {
    (void)state;
    const char *given = getenv("EE_SEED");
    seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003;
    print_message("EE_SEED=%" PRIu64 "\n", seed);
    for (int i = 0; i < ROUNDS; i++) one_round();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_laws)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
