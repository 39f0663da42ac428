/* routing.h - which node gets the work: eligible or why not, trust, effective price, order. Pure: facts and the time come in, a ranked list
 * goes out. Not for keeping nodes (registry) or reserving capacity. Called by the job broker, for quotes too, and by the app placer.
 * Proto: docs/protocol.md#routing. All integers; a ppm is a millionth. */
#ifndef ROUTING_H
#define ROUTING_H
#include "controlplane/names.h"

typedef enum routing_tier { TIER_ECONOMY = 1, TIER_STANDARD = 2, TIER_PREMIUM = 3 } routing_tier;
const char *routing_tier_word(routing_tier tier); /* "economy" "standard" "premium" */
bool routing_tier_parse(ee_span word, routing_tier *out);

/* Node states (docs/protocol.md#registration). Only SERVING gets work; BANNED is for ever. */
typedef enum node_state {
    NODE_ENROLLED = 1,
    NODE_ATTESTED = 2,
    NODE_SERVING = 3,
    NODE_SUSPECT = 4,
    NODE_DRAINING = 5,
    NODE_GONE = 6,
    NODE_BANNED = 7
} node_state;
const char *node_state_word(node_state state);

/* What trust is made of: sums of routing_weight_ppm() over settled facts of the last 30 days. */
typedef struct routing_history {
    uint64_t passed_ppm;        /* P: periods passed */
    uint64_t failed_attest_ppm; /* Fa */
    uint64_t failed_health_ppm; /* Fh */
    uint64_t incidents_ppm;     /* I */
    uint64_t abuse_ppm;         /* B */
} routing_history;
/* 2^-(age in days / 7) by table; 0 past 30 days. */
uint32_t routing_weight_ppm(uint64_t age_ms);
/* T in [1, 1,000,000]. A node without a past and with its stake is at 500,000. */
uint32_t routing_trust_ppm(const routing_history *history, ee_money stake, ee_money stake_required, uint64_t age_ms);
/* price x 1e6 / max(T, 50,000), rounded up; saturates at INT64_MAX. */
ee_money routing_effective_price(ee_money price, uint32_t trust_ppm);

typedef struct routing_candidate {
    char name[NAME_CAP];
    uint8_t node_id[32];
    char provider[NAME_CAP];
    node_state state;
    bool connected;         /* its tunnel is up */
    bool simulated;         /* evidence is from the simulated source */
    uint64_t evidence_ms;   /* when it was last attested; 0 = never */
    uint32_t health_misses; /* in a row */
    routing_tier tier;
    ee_money price; /* per vcpu-hour */
    ee_money stake, stake_required;
    uint64_t vcpus_milli, memory_bytes; /* all that it has */
    uint64_t vcpus_free_milli, memory_free;
    uint64_t enrolled_ms; /* age */
    routing_history history;
} routing_candidate;

typedef struct routing_request {
    uint64_t vcpus_milli, memory_bytes;
    ee_span node;                 /* only this one; "" = any */
    routing_tier tier_min;        /* 0 = any */
    ee_money price_max;           /* 0 = any */
    bool allow_simulated;         /* sandbox networks */
    uint64_t evidence_age_max_ms; /* 0 = EEI_EVIDENCE_AGE_MAX_MS */
    uint64_t now_ms;
} routing_request;

typedef struct routing_choice {
    size_t index; /* into the candidates */
    bool eligible;
    bool full; /* not eligible now, but it will be when enough of what it runs has ended */
    uint32_t trust_ppm;
    ee_money effective;
    char reason[160]; /* not eligible: one sentence part, "is suspect: it missed 1 health check"; else "" */
} routing_choice;

/* Why not, or true. *full as in routing_choice. */
bool routing_eligible(const routing_request *request, const routing_candidate *candidate, bool *full, char reason[160]);
/* Fill out[count]: the eligible ones first, best first (lowest effective price, then more free vcpus, then more free memory, then node
 * id), then the others in order of node id. Deterministic whatever the order of the candidates. Returns how many are eligible. */
size_t routing_rank(const routing_request *request, const routing_candidate *candidates, size_t count, routing_choice *out);
/* Nobody is eligible, but some of them only for what they run now: worth asking again soon. */
bool routing_busy(const routing_choice *choices, size_t count);
/* EE_E_NO_NODE with a sentence, err->details {"busy": false, "rejected": {"node-a": "..."}} as far as it fits. EE_OK when somebody is
 * eligible. */
ee_status routing_check(const routing_candidate *candidates, const routing_choice *choices, size_t count, ee_error *err) EE_MUST_USE;
#endif
