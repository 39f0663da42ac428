/* registry.h - the nodes as they are now: state, session, evidence time, free capacity. In memory, pure, clock as argument; what must
 * outlive a restart is in the ledger (principals, stake) and in registry_table. Not for choosing (routing). One thread: the loop's. */
#ifndef REGISTRY_H
#define REGISTRY_H
#include "controlplane/routing.h"

#define REGISTRY_NODES_MAX 4096u

/* What a node is told to be by its provider; changes by registry_enroll() again. */
typedef struct registry_profile {
    int64_t id; /* principal in the ledger */
    int64_t provider;
    char name[NAME_CAP];
    char provider_name[NAME_CAP];
    uint8_t node_id[32], provider_pub[32];
    routing_tier tier;
    ee_money price; /* per vcpu-hour; applies to new locks only */
    uint64_t vcpus_milli, memory_bytes;
    ee_money stake, stake_required;
    uint64_t enrolled_ms;
    uint8_t machine_id[16]; /* of the machine it runs on */
    bool machine_pinned;
    bool banned;
} registry_profile;

typedef struct registry_node {
    registry_profile profile;
    node_state state;
    void *session;           /* the connection's; NULL = none */
    uint8_t instance_id[32]; /* of the attested instance; 0 = none */
    uint8_t instance_pub[32];
    bool simulated;
    bool limits_off;                        /* its agent says that sandboxes' memory, vcpus and pids are not enforced there */
    uint64_t evidence_ms;                   /* last good attestation */
    uint64_t seen_ms;                       /* last sign of life */
    uint32_t health_misses;                 /* in a row */
    uint32_t passes_owed;                   /* until a suspect node serves again */
    bool attest_owed;                       /* idem */
    uint64_t vcpus_used_milli, memory_used; /* reserved by us */
    uint32_t reservations;
    routing_history history;
    uint64_t changed_ms;
    void *user; /* the caller's */
} registry_node;

typedef struct registry registry;
ee_status registry_new(registry **out, ee_error *err) EE_MUST_USE;
void registry_free(registry *r);

/* Add a node, or change its profile (state, session and reservations stay). EE_E_LIMIT; EE_E_CONFLICT when the name has another node id. */
ee_status registry_enroll(registry *r, const registry_profile *profile, uint64_t now_ms, registry_node **out, ee_error *err) EE_MUST_USE;
registry_node *registry_find(registry *r, ee_span name);         /* NULL */
registry_node *registry_find_id(registry *r, int64_t principal); /* NULL */
registry_node *registry_find_instance(registry *r, const uint8_t instance_id[32]);
registry_node *registry_find_session(registry *r, const void *session);
/* EE_E_NOT_FOUND with a close name. */
ee_status registry_get(registry *r, ee_span name, registry_node **out, ee_error *err) EE_MUST_USE;
/* In hex, for answers; "" for a name that nobody has. */
const char *registry_node_id(registry *r, const char *name, char out[65]);
size_t registry_count(const registry *r);
registry_node *registry_at(registry *r, size_t index); /* by name */

typedef enum registry_event {
    REGISTRY_ATTESTED = 1, /* evidence of this session was accepted, or renewed */
    REGISTRY_READY = 2,    /* the session is open for work */
    REGISTRY_HEALTH_PASS = 3,
    REGISTRY_HEALTH_MISS = 4,
    REGISTRY_ATTEST_MISS = 5, /* a challenge without good evidence in time */
    REGISTRY_DRAIN = 6,
    REGISTRY_LOST = 7, /* the session ended */
    REGISTRY_BAN = 8
} registry_event;
/* The one way a state changes: docs/protocol.md#registration as a table. EE_E_STATE for a pair that is not in it; nothing changes then. */
ee_status registry_apply(registry *r, registry_node *node, registry_event event, uint64_t now_ms, ee_error *err) EE_MUST_USE;
/* Attested: the session and its instance become the node's, then REGISTRY_ATTESTED. *replaced is the session it had, or NULL (threat S2).
 */
ee_status registry_attach(registry *r, registry_node *node, void *session, const uint8_t instance_id[32], const uint8_t instance_pub[32],
                          bool simulated, uint64_t now_ms, void **replaced, ee_error *err) EE_MUST_USE;
/* The session ended: LOST, unless another has taken its place. True when it was the node's. */
bool registry_detach(registry *r, const void *session, uint64_t now_ms);

/* Capacity, reserved by the broker for a job or app. EE_E_NO_NODE when there is not enough. */
ee_status registry_reserve(registry *r, registry_node *node, uint64_t vcpus_milli, uint64_t memory_bytes, ee_error *err) EE_MUST_USE;
void registry_release(registry *r, registry_node *node, uint64_t vcpus_milli, uint64_t memory_bytes);

/* Facts for routing, by name; out has room for registry_count(). Returns how many. */
size_t registry_candidates(const registry *r, routing_candidate *out, size_t max);
#endif
