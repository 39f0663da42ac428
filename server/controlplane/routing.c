/* routing.c - the choice of a node, as a pure function of facts. Integers only, so that everybody computes the same. Not for registry
 * state. Proto: docs/protocol.md#routing. Monotone by construction: every factor never falls when a fact gets better, and the floor of a
 * monotone function is monotone. */
#include "controlplane/routing.h"

#include "base/limits.h"
#include "controlplane/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

#define PPM             1000000u
#define DAY_MS          86400000u
#define TRUST_FLOOR_PPM 50000u         /* a bad past makes a node at most 20 times dearer */
#define HISTORY_PPM_MAX 1000000000000u /* a million facts of full weight: keeps the products within 128 bits */
#define GROWTH_DAYS     30u
#define ATTEST_FAULT    40u
#define HEALTH_FAULT    20u
#define NOT_ASKED       "is not the node that was asked for"
#define INCIDENT_FAULT  100u

/* ---- words ---------------------------------------------------------------------------------------------------------- */

const char *routing_tier_word(routing_tier tier) {
    return tier == TIER_ECONOMY ? "economy" : tier == TIER_STANDARD ? "standard" : tier == TIER_PREMIUM ? "premium" : "?";
}

bool routing_tier_parse(ee_span word, routing_tier *out) {
    for (routing_tier t = TIER_ECONOMY; t <= TIER_PREMIUM; t++)
        if (eei_span_equal(word, eei_span_text(routing_tier_word(t)))) {
            *out = t;
            return true;
        }
    return false;
}

const char *node_state_word(node_state state) {
    static const char *const words[] = {
        [NODE_ENROLLED] = "enrolled", [NODE_ATTESTED] = "attested", [NODE_SERVING] = "serving", [NODE_SUSPECT] = "suspect",
        [NODE_DRAINING] = "draining", [NODE_GONE] = "gone",         [NODE_BANNED] = "banned"};
    return state >= NODE_ENROLLED && state <= NODE_BANNED ? words[state] : "?";
}

/* ---- trust ---------------------------------------------------------------------------------------------------------- */

uint32_t routing_weight_ppm(uint64_t age_ms) {
    /* round(1e6 * 2^-(day / 7)) for day 0 to 30 */
    static const uint32_t weights[] = {1000000, 905724, 820335, 742997, 672950, 609507, 552045, 500000, 452862, 410168, 371499,
                                       336475,  304753, 276022, 250000, 226431, 205084, 185749, 168238, 152377, 138011, 125000,
                                       113215,  102542, 92875,  84119,  76188,  69006,  62500,  56608,  51271};
    uint64_t day = age_ms / DAY_MS;
    return day < sizeof weights / sizeof weights[0] ? weights[day] : 0;
}

static uint64_t capped(uint64_t ppm) { return ppm < HISTORY_PPM_MAX ? ppm : HISTORY_PPM_MAX; }

/* 1e6 * (P + 1) / (P + 1 + faults), P and faults in ppm */
static uint64_t record(uint64_t passed_ppm, u128 faults_ppm) {
    u128 good = (u128)passed_ppm + PPM;
    return (uint64_t)(good * PPM / (good + faults_ppm));
}

static uint64_t cover(ee_money stake, ee_money required) {
    if (required <= 0 || stake >= required) return PPM;
    return stake <= 0 ? 0 : (uint64_t)((u128)(uint64_t)stake * PPM / (uint64_t)required);
}

/* Half at first, all after 30 days; by the day, so that everybody agrees. */
static uint64_t growth(uint64_t age_ms) {
    uint64_t days = age_ms / DAY_MS;
    return PPM / 2 + (uint64_t)(PPM / 2) * (days < GROWTH_DAYS ? days : GROWTH_DAYS) / GROWTH_DAYS;
}

uint32_t routing_trust_ppm(const routing_history *h, ee_money stake, ee_money stake_required, uint64_t age_ms) {
    const uint64_t passed = capped(h->passed_ppm), abuse = capped(h->abuse_ppm);
    const uint64_t a = record(passed, (u128)capped(h->failed_attest_ppm) * ATTEST_FAULT);
    const uint64_t f = record(passed, (u128)capped(h->failed_health_ppm) * HEALTH_FAULT + (u128)capped(h->incidents_ppm) * INCIDENT_FAULT);
    /* a * f * s * g / 1e18 is at most 1e6; times 1e12 / (1e6 + B)^2 for the abuse. 24 + 12 decimal digits: within 128 bits. */
    const u128 product = (u128)a * f * cover(stake, stake_required) * growth(age_ms);
    const u128 weight = ((u128)PPM + abuse) * ((u128)PPM + abuse);
    const u128 shared = product * PPM * PPM / weight;
    const uint64_t trust = (uint64_t)(shared / PPM / PPM / PPM);
    return trust < 1 ? 1 : trust > PPM ? PPM : (uint32_t)trust;
}

ee_money routing_effective_price(ee_money price, uint32_t trust_ppm) {
    const uint32_t trust = trust_ppm > TRUST_FLOOR_PPM ? trust_ppm : TRUST_FLOOR_PPM;
    if (price <= 0) return 0;
    const u128 dear = ((u128)(uint64_t)price * PPM + trust - 1) / trust;
    return dear > INT64_MAX ? INT64_MAX : (ee_money)dear;
}

/* ---- who can -------------------------------------------------------------------------------------------------------- */

static const char *vcpus(uint64_t milli, char out[24]) {
    int n = milli % 1000 ? snprintf(out, 24, "%" PRIu64 ".%03" PRIu64, milli / 1000, milli % 1000)
                         : snprintf(out, 24, "%" PRIu64, milli / 1000);
    while (milli % 1000 && n > 0 && out[n - 1] == '0') out[--n] = 0;
    return out;
}

static bool state_allows(const routing_candidate *c, char reason[160]) {
    switch (c->state) {
    case NODE_SERVING: return true;
    case NODE_SUSPECT:
        (void)snprintf(reason, 160, "is suspect: it missed %u check%s and has to pass again", c->health_misses,
                       c->health_misses == 1 ? "" : "s");
        return false;
    case NODE_BANNED: (void)snprintf(reason, 160, "is banned"); return false;
    case NODE_DRAINING: (void)snprintf(reason, 160, "is draining: it takes no new work"); return false;
    case NODE_GONE: (void)snprintf(reason, 160, "is gone: its tunnel closed"); return false;
    case NODE_ATTESTED: (void)snprintf(reason, 160, "is attested but not ready for work yet"); return false;
    case NODE_ENROLLED: break;
    }
    (void)snprintf(reason, 160, "is enrolled but has not connected and attested");
    return false;
}

static bool evidence_allows(const routing_request *r, const routing_candidate *c, char reason[160]) {
    const uint64_t limit = r->evidence_age_max_ms ? r->evidence_age_max_ms : EEI_EVIDENCE_AGE_MAX_MS;
    if (c->simulated && !r->allow_simulated) {
        (void)snprintf(reason, 160, "has simulated evidence, which this network does not admit");
        return false;
    }
    if (!c->evidence_ms || c->evidence_ms > r->now_ms) {
        (void)snprintf(reason, 160, "has no evidence that is valid now");
        return false;
    }
    if (r->now_ms - c->evidence_ms > limit) { /* at use, not only by a timer (threat Q17) */
        (void)snprintf(reason, 160, "has evidence that is %" PRIu64 " s old, limit %" PRIu64 " s", (r->now_ms - c->evidence_ms) / 1000,
                       limit / 1000);
        return false;
    }
    return true;
}

static bool capacity_allows(const routing_request *r, const routing_candidate *c, char reason[160]) {
    char want[24], has[24];
    if (c->vcpus_free_milli < r->vcpus_milli) {
        (void)snprintf(reason, 160, "has %s vcpus free, %s wanted", vcpus(c->vcpus_free_milli, has), vcpus(r->vcpus_milli, want));
        return false;
    }
    if (c->memory_free < r->memory_bytes) {
        (void)snprintf(reason, 160, "has %" PRIu64 " MiB of memory free, %" PRIu64 " wanted", c->memory_free >> 20,
                       (r->memory_bytes >> 20) + (r->memory_bytes % (1u << 20) ? 1 : 0));
        return false;
    }
    return true;
}

/* Everything but room. */
static bool suits(const routing_request *r, const routing_candidate *c, char reason[160]) {
    char a[32], b[32];
    if (r->node.len && !eei_span_equal(r->node, eei_span_text(c->name))) {
        (void)snprintf(reason, 160, "%s", NOT_ASKED);
        return false;
    }
    if (!state_allows(c, reason)) return false;
    if (!c->connected) {
        (void)snprintf(reason, 160, "is not connected");
        return false;
    }
    if (!evidence_allows(r, c, reason)) return false;
    if (c->health_misses) {
        (void)snprintf(reason, 160, "missed its last %u health check%s", c->health_misses, c->health_misses == 1 ? "" : "s");
        return false;
    }
    if (c->stake < c->stake_required) {
        (void)snprintf(reason, 160, "has %s at stake, %s needs %s", ee_money_format(c->stake, a), routing_tier_word(c->tier),
                       ee_money_format(c->stake_required, b));
        return false;
    }
    if (c->tier < r->tier_min) {
        (void)snprintf(reason, 160, "is of tier %s, %s wanted", routing_tier_word(c->tier), routing_tier_word(r->tier_min));
        return false;
    }
    if (c->price < 0) {
        (void)snprintf(reason, 160, "posts no price");
        return false;
    }
    if (r->price_max > 0 && c->price > r->price_max) {
        (void)snprintf(reason, 160, "posts %s per vcpu-hour, at most %s wanted", ee_money_format(c->price, a),
                       ee_money_format(r->price_max, b));
        return false;
    }
    return true;
}

bool routing_eligible(const routing_request *r, const routing_candidate *c, bool *full, char reason[160]) {
    reason[0] = 0;
    *full = false;
    if (!suits(r, c, reason)) return false;
    if (capacity_allows(r, c, reason)) return true;
    *full = c->vcpus_milli >= r->vcpus_milli && c->memory_bytes >= r->memory_bytes;
    return false;
}

/* ---- order ---------------------------------------------------------------------------------------------------------- */

/* -1 when a comes first. */
static int compare(const routing_candidate *all, const routing_choice *a, const routing_choice *b) {
    const routing_candidate *x = &all[a->index], *y = &all[b->index];
    if (a->eligible != b->eligible) return a->eligible ? -1 : 1;
    if (a->eligible) {
        if (a->effective != b->effective) return a->effective < b->effective ? -1 : 1;
        if (x->vcpus_free_milli != y->vcpus_free_milli) return x->vcpus_free_milli > y->vcpus_free_milli ? -1 : 1;
        if (x->memory_free != y->memory_free) return x->memory_free > y->memory_free ? -1 : 1;
    }
    int ids = memcmp(x->node_id, y->node_id, sizeof x->node_id);
    return ids ? ids : strcmp(x->name, y->name);
}

/* Heap sort: no memory, no worst case, and qsort() has no argument for the candidates. */
static void sift(const routing_candidate *all, routing_choice *out, size_t root, size_t count) {
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && compare(all, &out[child], &out[child + 1]) < 0) child++;
        if (compare(all, &out[root], &out[child]) >= 0) return;
        routing_choice swap = out[root];
        out[root] = out[child];
        out[child] = swap;
    }
}

size_t routing_rank(const routing_request *request, const routing_candidate *candidates, size_t count, routing_choice *out) {
    size_t eligible = 0;
    for (size_t i = 0; i < count; i++) {
        const routing_candidate *c = &candidates[i];
        routing_choice *choice = &out[i];
        memset(choice, 0, sizeof *choice);
        choice->index = i;
        choice->eligible = routing_eligible(request, c, &choice->full, choice->reason);
        choice->trust_ppm = routing_trust_ppm(&c->history, c->stake, c->stake_required,
                                              request->now_ms > c->enrolled_ms ? request->now_ms - c->enrolled_ms : 0);
        choice->effective = routing_effective_price(c->price, choice->trust_ppm);
        eligible += choice->eligible;
    }
    for (size_t i = count / 2; i-- > 0;) sift(candidates, out, i, count);
    for (size_t end = count; end > 1; end--) {
        routing_choice swap = out[0];
        out[0] = out[end - 1];
        out[end - 1] = swap;
        sift(candidates, out, 0, end - 1);
    }
    return eligible;
}

bool routing_busy(const routing_choice *choices, size_t count) {
    bool full = false;
    for (size_t i = 0; i < count; i++) {
        if (choices[i].eligible) return false;
        full = full || choices[i].full;
    }
    return full;
}

/* Names are DNS labels and reasons are ours: nothing in them needs JSON escaping. */
static void list_reasons(const routing_candidate *candidates, const routing_choice *choices, size_t count, ee_error *err) {
    static const char end[] = "}}";
    size_t at = (size_t)snprintf(err->details, sizeof err->details, "{\"busy\": %s, \"rejected\": {",
                                 routing_busy(choices, count) ? "true" : "false");
    for (size_t i = 0; i < count; i++) {
        char item[NAME_CAP + 176];
        int n = snprintf(item, sizeof item, "%s\"%s\": \"%s\"", i ? ", " : "", candidates[choices[i].index].name, choices[i].reason);
        if (n < 0 || at + (size_t)n + sizeof end > sizeof err->details) break;
        memcpy(err->details + at, item, (size_t)n);
        at += (size_t)n;
    }
    memcpy(err->details + at, end, sizeof end);
}

ee_status routing_check(const routing_candidate *candidates, const routing_choice *choices, size_t count, ee_error *err) {
    size_t shown = 0;
    for (size_t i = 0; i < count; i++)
        if (choices[i].eligible) return EE_OK;
    if (!count) return eei_fail(err, EE_E_NO_NODE, "no node is enrolled in this network");
    /* When one node was asked for, its reason is the one that matters. */
    while (shown + 1 < count && strcmp(choices[shown].reason, NOT_ASKED) == 0) shown++;
    if (strcmp(choices[shown].reason, NOT_ASKED) == 0) shown = 0;
    const char *name = candidates[choices[shown].index].name, *reason = choices[shown].reason;
    ee_status st = count == 1 ? eei_fail(err, EE_E_NO_NODE, "no node can take this work: %s %s", name, reason)
                              : eei_fail(err, EE_E_NO_NODE, "none of %zu nodes can take this work; %s %s", count, name, reason);
    (void)eei_hint(err, st, "`ee nodes --explain` says why for each node.");
    if (err) list_reasons(candidates, choices, count, err);
    return st;
}
