/* registry.c - nodes in memory: one table says how a state changes, everything else only asks it. Pure; not for choosing or persistence. */
#include "controlplane/registry.h"

#include "base/alloc.h"
#include "base/encoding.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSES_OWED 3u /* a suspect node serves again after an attestation and this many passes */

struct registry {
    registry_node **nodes; /* by name */
    size_t count, cap;
};

ee_status registry_new(registry **out, ee_error *err) {
    *out = eei_calloc(1, sizeof **out);
    return *out ? EE_OK : eei_nomem(err);
}

void registry_free(registry *r) {
    if (!r) return;
    for (size_t i = 0; i < r->count; i++) eei_free(r->nodes[i]);
    eei_free(r->nodes);
    eei_free(r);
}

/* ---- finding -------------------------------------------------------------------------------------------------------- */

static int compare_name(const registry_node *node, ee_span name) {
    const size_t len = strlen(node->profile.name);
    const size_t common = len < name.len ? len : name.len;
    int order = common ? memcmp(node->profile.name, name.data, common) : 0;
    return order ? order : len < name.len ? -1 : len > name.len ? 1 : 0;
}

/* Where the name is, or belongs. */
static size_t place_of(const registry *r, ee_span name, bool *found) {
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_name(r->nodes[middle], name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < r->count && compare_name(r->nodes[low], name) == 0;
    return low;
}

registry_node *registry_find(registry *r, ee_span name) {
    bool found = false;
    size_t at = place_of(r, name, &found);
    return found ? r->nodes[at] : NULL;
}

registry_node *registry_find_id(registry *r, int64_t principal) {
    for (size_t i = 0; i < r->count; i++)
        if (r->nodes[i]->profile.id == principal) return r->nodes[i];
    return NULL;
}

registry_node *registry_find_instance(registry *r, const uint8_t instance_id[32]) {
    static const uint8_t none[32];
    if (eei_same(instance_id, none, sizeof none)) return NULL;
    for (size_t i = 0; i < r->count; i++)
        if (memcmp(r->nodes[i]->instance_id, instance_id, sizeof r->nodes[i]->instance_id) == 0) return r->nodes[i];
    return NULL;
}

registry_node *registry_find_session(registry *r, const void *session) {
    if (!session) return NULL;
    for (size_t i = 0; i < r->count; i++)
        if (r->nodes[i]->session == session) return r->nodes[i];
    return NULL;
}

ee_status registry_get(registry *r, ee_span name, registry_node **out, ee_error *err) {
    *out = registry_find(r, name);
    if (*out) return EE_OK;
    names_guess guess = names_guess_for(name);
    for (size_t i = 0; i < r->count; i++) names_guess_offer(&guess, eei_span_text(r->nodes[i]->profile.name));
    return names_not_found(&guess, "node", err);
}

const char *registry_node_id(registry *r, const char *name, char out[65]) {
    const registry_node *node = registry_find(r, eei_span_text(name));
    out[0] = 0;
    if (node) eei_hex_encode(eei_span(node->profile.node_id, 32), out);
    return out;
}

size_t registry_count(const registry *r) { return r->count; }
registry_node *registry_at(registry *r, size_t index) { return index < r->count ? r->nodes[index] : NULL; }

/* ---- enrolment ------------------------------------------------------------------------------------------------------ */

static ee_status insert(registry *r, size_t at, registry_node *node, ee_error *err) {
    if (r->count >= REGISTRY_NODES_MAX)
        return eei_fail(err, EE_E_LIMIT, "the network has %zu nodes, limit %u", r->count, REGISTRY_NODES_MAX);
    if (r->count == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 16, bytes = 0;
        registry_node **more = eei_mul_size(&bytes, cap, sizeof *more) ? eei_realloc(r->nodes, bytes) : NULL;
        if (!more) return eei_nomem(err);
        r->nodes = more;
        r->cap = cap;
    }
    memmove(&r->nodes[at + 1], &r->nodes[at], (r->count - at) * sizeof *r->nodes);
    r->nodes[at] = node;
    r->count++;
    return EE_OK;
}

ee_status registry_enroll(registry *r, const registry_profile *profile, uint64_t now_ms, registry_node **out, ee_error *err) {
    bool found = false;
    const ee_span name = eei_span(profile->name, strnlen(profile->name, sizeof profile->name));
    *out = NULL;
    ee_status st = names_check(name, "node", err);
    if (st) return st;
    size_t at = place_of(r, name, &found);
    if (found) {
        registry_node *node = r->nodes[at];
        if (node->profile.id != profile->id || !eei_same(node->profile.node_id, profile->node_id, sizeof profile->node_id))
            return eei_fail(err, EE_E_CONFLICT, "the node name \"%s\" is taken", node->profile.name);
        const bool banned = node->profile.banned;
        node->profile = *profile;
        node->profile.banned |= banned; /* for ever */
        *out = node;
    } else {
        registry_node *node = eei_calloc(1, sizeof *node);
        if (!node) return eei_nomem(err);
        node->profile = *profile;
        node->state = NODE_ENROLLED;
        node->changed_ms = now_ms;
        st = insert(r, at, node, err);
        if (st) {
            eei_free(node);
            return st;
        }
        *out = node;
    }
    if ((*out)->profile.banned) (*out)->state = NODE_BANNED;
    return EE_OK;
}

/* ---- states --------------------------------------------------------------------------------------------------------- */

/* Where an event leads; 0: it can not happen there. Proto: docs/protocol.md#registration. READY and what a suspect node owes come below. */
enum { ENR = NODE_ENROLLED, ATT, SRV, SUS, DRN, GON, BAN };
static const uint8_t rules[NODE_BANNED + 1][REGISTRY_BAN + 1] = {
    /*                    -  ATTESTED READY PASS MISS  A.MISS DRAIN LOST BAN */
    [NODE_ENROLLED] = {0, ATT, 0, 0, 0, 0, 0, 0, BAN},             /* only evidence makes anything of it */
    [NODE_ATTESTED] = {0, ATT, SRV, ATT, SUS, SUS, DRN, GON, BAN}, /* */
    [NODE_SERVING] = {0, SRV, SRV, SRV, SUS, SUS, DRN, GON, BAN},  /* */
    [NODE_SUSPECT] = {0, SUS, SUS, SUS, SUS, SUS, DRN, GON, BAN},  /* left when nothing is owed */
    [NODE_DRAINING] = {0, DRN, DRN, DRN, DRN, DRN, DRN, GON, BAN}, /* left by disconnecting */
    [NODE_GONE] = {0, ATT, 0, 0, GON, GON, 0, GON, BAN},           /* a miss while gone is owed for */
    [NODE_BANNED] = {0, 0, 0, 0, 0, 0, 0, BAN, BAN},               /* for ever */
};

static const char *event_word(registry_event event) {
    static const char *const words[] = {
        "", "attested", "ready", "passed a health check", "missed a health check", "missed an attestation", "draining", "lost", "banned"};
    return event >= REGISTRY_ATTESTED && event <= REGISTRY_BAN ? words[event] : "?";
}

static void note(registry_node *node, registry_event event, uint64_t now_ms) {
    switch (event) {
    case REGISTRY_ATTESTED:
        node->evidence_ms = node->seen_ms = now_ms;
        node->attest_owed = false;
        break;
    case REGISTRY_HEALTH_PASS:
        node->seen_ms = now_ms;
        node->health_misses = 0;
        if (node->passes_owed) node->passes_owed--;
        break;
    case REGISTRY_HEALTH_MISS:
    case REGISTRY_ATTEST_MISS:
        node->health_misses += event == REGISTRY_HEALTH_MISS && node->health_misses < UINT32_MAX;
        node->passes_owed = PASSES_OWED;
        node->attest_owed = true;
        break;
    case REGISTRY_BAN: node->profile.banned = true; break;
    case REGISTRY_READY:
    case REGISTRY_DRAIN:
    case REGISTRY_LOST: break;
    }
}

ee_status registry_apply(registry *r, registry_node *node, registry_event event, uint64_t now_ms, ee_error *err) {
    (void)r;
    const bool known = event >= REGISTRY_ATTESTED && event <= REGISTRY_BAN;
    node_state next = known ? (node_state)rules[node->state][event] : 0;
    if (!next)
        return eei_fail(err, EE_E_STATE, "the node %s is %s: it can not be %s", node->profile.name, node_state_word(node->state),
                        event_word(event));
    note(node, event, now_ms);
    const bool owes = node->passes_owed || node->attest_owed;
    if (next == NODE_SERVING && owes) next = NODE_SUSPECT; /* reconnecting does not wash a miss off */
    if (next == NODE_SUSPECT && !owes) next = NODE_SERVING;
    if (next != node->state) node->changed_ms = now_ms;
    node->state = next;
    return EE_OK;
}

/* A session that ends is LOST in every state that has one. */
static void lose(registry *r, registry_node *node, uint64_t now_ms) {
    ee_status st = registry_apply(r, node, REGISTRY_LOST, now_ms, NULL);
    EE_ASSERT(st == EE_OK);
}

ee_status registry_attach(registry *r, registry_node *node, void *session, const uint8_t instance_id[32], const uint8_t instance_pub[32],
                          bool simulated, uint64_t now_ms, void **replaced, ee_error *err) {
    *replaced = NULL;
    if (node->state == NODE_BANNED) return eei_fail(err, EE_E_PERMISSION, "the node %s is banned", node->profile.name);
    registry_node *other = registry_find_instance(r, instance_id);
    if (other && other != node) return eei_fail(err, EE_E_CONFLICT, "this instance is the node %s already", other->profile.name);
    if (node->session && node->session != session) {
        *replaced = node->session;
        lose(r, node, now_ms);
    }
    ee_status st = registry_apply(r, node, REGISTRY_ATTESTED, now_ms, err);
    if (st) return st;
    node->session = session;
    memcpy(node->instance_id, instance_id, sizeof node->instance_id);
    memcpy(node->instance_pub, instance_pub, sizeof node->instance_pub);
    node->simulated = simulated;
    return EE_OK;
}

bool registry_detach(registry *r, const void *session, uint64_t now_ms) {
    registry_node *node = registry_find_session(r, session);
    if (!node) return false;
    node->session = NULL;
    memset(node->instance_id, 0, sizeof node->instance_id);
    memset(node->instance_pub, 0, sizeof node->instance_pub);
    lose(r, node, now_ms);
    return true;
}

/* ---- capacity ------------------------------------------------------------------------------------------------------- */

static uint64_t left(uint64_t all, uint64_t used) { return all > used ? all - used : 0; }

ee_status registry_reserve(registry *r, registry_node *node, uint64_t vcpus_milli, uint64_t memory_bytes, ee_error *err) {
    (void)r;
    const uint64_t vcpus = left(node->profile.vcpus_milli, node->vcpus_used_milli);
    const uint64_t memory = left(node->profile.memory_bytes, node->memory_used);
    if (vcpus < vcpus_milli)
        return eei_fail(err, EE_E_NO_NODE, "the node %s has %" PRIu64 " of %" PRIu64 " thousandths of a vcpu free", node->profile.name,
                        vcpus, vcpus_milli);
    if (memory < memory_bytes)
        return eei_fail(err, EE_E_NO_NODE, "the node %s has %" PRIu64 " of %" PRIu64 " bytes of memory free", node->profile.name, memory,
                        memory_bytes);
    node->vcpus_used_milli += vcpus_milli;
    node->memory_used += memory_bytes;
    node->reservations++;
    return EE_OK;
}

void registry_release(registry *r, registry_node *node, uint64_t vcpus_milli, uint64_t memory_bytes) {
    (void)r;
    /* What is released comes from rows that a restart may have outlived: never below nothing. */
    node->vcpus_used_milli -= vcpus_milli < node->vcpus_used_milli ? vcpus_milli : node->vcpus_used_milli;
    node->memory_used -= memory_bytes < node->memory_used ? memory_bytes : node->memory_used;
    if (node->reservations) node->reservations--;
}

size_t registry_candidates(const registry *r, routing_candidate *out, size_t max) {
    size_t count = r->count < max ? r->count : max;
    for (size_t i = 0; i < count; i++) {
        const registry_node *n = r->nodes[i];
        routing_candidate *c = &out[i];
        memset(c, 0, sizeof *c);
        (void)snprintf(c->name, sizeof c->name, "%s", n->profile.name);
        (void)snprintf(c->provider, sizeof c->provider, "%s", n->profile.provider_name);
        memcpy(c->node_id, n->profile.node_id, sizeof c->node_id);
        c->state = n->state;
        c->connected = n->session != NULL;
        c->simulated = n->simulated;
        c->evidence_ms = n->evidence_ms;
        c->health_misses = n->health_misses;
        c->tier = n->profile.tier;
        c->price = n->profile.price;
        c->stake = n->profile.stake;
        c->stake_required = n->profile.stake_required;
        c->vcpus_milli = n->profile.vcpus_milli;
        c->memory_bytes = n->profile.memory_bytes;
        c->vcpus_free_milli = left(n->profile.vcpus_milli, n->vcpus_used_milli);
        c->memory_free = left(n->profile.memory_bytes, n->memory_used);
        c->enrolled_ms = n->profile.enrolled_ms;
        c->history = n->history;
    }
    return count;
}
