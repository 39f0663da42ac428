/* trust.h - what an attested program that joins a network judges others by, and proves itself with: policy, collateral, quotes, boot
 * ticket, settings measured. Called by the agent's and the uptime server's main; the control plane, which is its own network and hands
 * out collateral, wires its own. */
#ifndef TRUST_H
#define TRUST_H
#include "common/config.h"
#include "common/quote_source.h"
#include "net/collateral_supply.h"
#include "ratls/prover.h"
#include "ratls/ratls.h"

/* The settings that both programs have. Fields as in docs/operations.md; "" is not set. */
typedef struct trust_settings {
    char control[512], network_id[80], node[64], ticket[512], policy[512], machine[512], pccs_url[512], pccs_ca[512];
    bool sealed;
} trust_settings;

/* Which program it is, and all of its settings, for the CONFIG event. */
typedef struct trust_program {
    uint8_t role; /* EEI_ROLE_AGENT or EEI_ROLE_UPTIME */
    const config_key *keys;
    size_t key_count;
    const void *settings; /* [borrowed] during the call */
} trust_program;

typedef struct trust {
    uint8_t network_id[32];
    ee_policy *policy;
    eei_supply *collateral; /* of the judge */
    eei_judge *judge;
    quote_source *quotes;
    eei_buf ticket;
    eei_prover *prover;
} trust;

/* settings is [borrowed] until trust_clear. Blocks: quotes once. After a failure too trust_clear is called; EE_E_CONFIG names the key. */
ee_status trust_open(const trust_settings *settings, const trust_program *program, trust *out, ee_error *err) EE_MUST_USE;
void trust_clear(trust *t);
#endif
