/* checks.c - see checks.h. */
#include "checks.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/log.h"
#include "tunnels.h"

#include <string.h>

#define OBSERVER "control-plane"
enum { ATTEST_ANSWER_MS = 30000 /* docs/protocol.md: time for evidence */ };

/* The challenge a node owes an answer to; hangs on the node. */
typedef struct owed {
    uint8_t challenge_hash[32];
    bool open;
    uint64_t attest_asked_ms;
} owed;

static void judge_last(cp_context *cp, registry_node *node, uint64_t now_ms) {
    owed *last = node->user;
    ee_error err;
    if (!last || !last->open) return;
    last->open = false;
    if (registry_apply(cp->registry, node, REGISTRY_HEALTH_MISS, now_ms, &err) == EE_OK)
        eei_log(EEI_LOG_WARN, "health.miss", "node=%s misses=%u state=%s", node->profile.name, node->health_misses,
                node_state_word(node->state));
}

static void challenge(cp_context *cp, registry_node *node) {
    eei_challenge message = {.kind = EEI_CHALLENGE_HEALTH, .slot = cp->slot, .observer = eei_span_text(OBSERVER)};
    eei_buf payload = EEI_BUF_INIT(512);
    memcpy(message.policy_hash, eei_policy_hash_bytes(cp->policy), sizeof message.policy_hash);
    ee_error err = {0};
    if (!node->user) node->user = eei_calloc(1, sizeof(owed));
    owed *last = node->user;
    ee_status st = last ? eei_random(message.r, sizeof message.r, &err) : eei_nomem(&err);
    if (!st) st = eei_encode(&eei_challenge_schema, &message, &payload, &err);
    if (!st) st = cp_tunnels_send(cp, node, EEI_FRAME_CHALLENGE, eei_buf_span(&payload), &err);
    if (!st) {
        eei_sha256(eei_buf_span(&payload), last->challenge_hash);
        last->open = true;
    }
    eei_buf_clear(&payload);
}

/* A spread of the rounds is settlement's business; here evidence is only kept younger than routing demands. */
static void attest_when_due(cp_context *cp, registry_node *node, uint64_t now_ms) {
    owed *last = node->user;
    ee_error err = {0};
    if (!last || now_ms < node->evidence_ms + cp->attest_interval_ms) return;
    bool answered = node->evidence_ms >= last->attest_asked_ms; /* well: what was refused is asked again only after its time */
    if (!answered && now_ms < last->attest_asked_ms + ATTEST_ANSWER_MS) return;
    last->attest_asked_ms = now_ms;
    if (cp_tunnels_attest(cp, node, &err)) eei_log(EEI_LOG_WARN, "attest.not_asked", "node=%s message=%s", node->profile.name, err.message);
}

void checks_round(cp_context *cp, uint64_t now_ms) {
    cp->slot++;
    for (size_t i = 0; i < registry_count(cp->registry); i++) {
        registry_node *node = registry_at(cp->registry, i);
        if (!node->session) {
            if (node->user) ((owed *)node->user)->open = false;
            continue;
        }
        judge_last(cp, node, now_ms);
        challenge(cp, node);
        attest_when_due(cp, node, now_ms);
    }
}

/* A pass is proved by the agent's signature over our challenge, which nobody else can make (threat U1). */
void checks_control(cp_context *cp, registry_node *node, const uint8_t instance_pub[32], const eei_frame *frame) {
    eei_envelope envelope;
    eei_health health;
    eei_arena arena = EEI_ARENA_INIT(1 << 16);
    ee_error err = {0};
    owed *last = node->user;
    if (frame->type != EEI_FRAME_RESPONSE || !last || !last->open) return;
    ee_status st = eei_envelope_parse(frame->payload, &envelope, &err);
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_HEALTH, instance_pub, &err);
    if (!st) st = eei_decode(&eei_health_schema, envelope.body, &arena, &health, &err);
    if (!st && !eei_same(health.challenge_hash, last->challenge_hash, 32))
        st = eei_fail(&err, EE_E_AUTH, "the answer is to another challenge");
    if (st) {
        eei_log(EEI_LOG_WARN, "health.refused", "node=%s message=%s", node->profile.name, err.message);
    } else {
        last->open = false;
        eei_ignored(registry_apply(cp->registry, node, REGISTRY_HEALTH_PASS, eei_wall_ms(), NULL));
    }
    eei_arena_clear(&arena);
}

void checks_observed(cp_context *cp, const char *observer, const uint8_t instance_pub[32], const eei_frame *frame) {
    eei_envelope envelope;
    eei_observation observation;
    eei_arena arena = EEI_ARENA_INIT(1 << 16);
    ee_error err = {0};
    (void)cp;
    ee_status st = eei_envelope_parse(frame->payload, &envelope, &err);
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_OBSERVATION, instance_pub, &err);
    if (!st) st = eei_decode(&eei_observation_schema, envelope.body, &arena, &observation, &err);
    if (st)
        eei_log(EEI_LOG_WARN, "observation.refused", "observer=%s message=%s", observer, err.message);
    else
        eei_log(EEI_LOG_DEBUG, "observation", "observer=%s node=%.*s slot=%llu passed=%d", observer, (int)observation.node.len,
                (const char *)observation.node.data, (unsigned long long)observation.slot, observation.received_ms != 0);
    eei_arena_clear(&arena);
}
