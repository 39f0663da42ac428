/* seed.c - see seed.h. */
#include "controlplane/seed.h"

#include "attest/statement.h"
#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

typedef struct seeding {
    cp_context *cp;
    const genesis *g;
    uint64_t now_ms;
} seeding;

static ee_status seed_account(store *db, const seeding *s, const genesis_account *account, ee_error *err) {
    ledger_principal principal;
    ledger_entry entry;
    char reference[80];
    ee_status st = ledger_create_account(db, eei_span_text(account->name), account->key, account->provider ? LEDGER_PROVIDER : LEDGER_USER,
                                         s->now_ms, &principal, err);
    if (st || !account->credits || !s->g->sandbox) return st;
    (void)snprintf(reference, sizeof reference, "genesis-%.50s", account->name);
    ledger_mint_request mint = {.to = eei_span_text(account->name),
                                .amount = account->credits,
                                .reference = eei_span_text(reference),
                                .evidence = eei_span_text("genesis"),
                                .now_ms = s->now_ms};
    return ledger_mint(db, &mint, &entry, err);
}

static ee_status seed_node(store *db, const seeding *s, const genesis_node *node, ee_error *err) {
    ledger_principal provider, principal;
    ledger_balance balance;
    ledger_entry entry;
    char key[80];
    registry_node *enrolled;
    registry_profile profile = {
        .price = node->price, .vcpus_milli = node->vcpus_milli, .memory_bytes = node->memory_bytes, .stake_required = node->stake_required};
    ee_status st = ledger_find_account(db, eei_span_text(node->provider), 0, &provider, err);
    if (!st && !routing_tier_parse(eei_span_text(node->tier), &profile.tier))
        st = eei_fail(err, EE_E_CONFIG, "node %s: tier \"%s\" is not premium, standard or economy", node->name, node->tier);
    if (!st) st = ledger_create_node(db, eei_span_text(node->name), provider.id, s->now_ms, &principal, err);
    if (!st && node->stake && s->g->sandbox) {
        (void)snprintf(key, sizeof key, "genesis-stake-%.40s", node->name);
        ledger_stake_request stake = {.provider = provider.id,
                                      .node = principal.id,
                                      .amount = node->stake,
                                      .key = eei_span_text(key),
                                      .evidence = eei_span_text("genesis"),
                                      .now_ms = s->now_ms};
        st = ledger_stake(db, &stake, &entry, err);
    }
    if (!st) st = ledger_get_balance(db, principal.id, &balance, err);
    if (st) return st;
    profile.id = principal.id;
    profile.provider = provider.id;
    profile.stake = balance.staked;
    profile.enrolled_ms = principal.created_ms;
    profile.machine_pinned = node->machine_pinned;
    memcpy(profile.machine_id, node->machine_id, sizeof profile.machine_id);
    (void)snprintf(profile.name, sizeof profile.name, "%s", node->name);
    (void)snprintf(profile.provider_name, sizeof profile.provider_name, "%s", node->provider);
    memcpy(profile.provider_pub, provider.key, sizeof profile.provider_pub);
    eei_node_id(s->cp->network_id, provider.key, node->name, profile.node_id);
    return registry_enroll(s->cp->registry, &profile, s->now_ms, &enrolled, err);
}

static ee_status seed_uptime(store *db, const seeding *s, const genesis_uptime *uptime, cp_uptime *out, ee_error *err) {
    ledger_principal provider;
    ee_status st = ledger_find_account(db, eei_span_text(uptime->provider), 0, &provider, err);
    if (st) return st;
    (void)snprintf(out->name, sizeof out->name, "%s", uptime->name);
    memcpy(out->provider_pub, provider.key, sizeof out->provider_pub);
    memcpy(out->machine_id, uptime->machine_id, sizeof out->machine_id);
    out->machine_pinned = uptime->machine_pinned;
    eei_node_id(s->cp->network_id, provider.key, uptime->name, out->node_id);
    return EE_OK;
}

static ee_status seed_all(store *db, void *arg, ee_error *err) {
    const seeding *s = arg;
    for (size_t i = 0; i < s->g->account_count; i++) {
        ee_status st = seed_account(db, s, &s->g->accounts[i], err);
        if (st) return st;
    }
    for (size_t i = 0; i < s->g->node_count; i++) {
        ee_status st = seed_node(db, s, &s->g->nodes[i], err);
        if (st) return st;
    }
    s->cp->uptime = eei_calloc(s->g->uptime_count + 1, sizeof *s->cp->uptime);
    if (!s->cp->uptime) return eei_nomem(err);
    for (; s->cp->uptime_count < s->g->uptime_count; s->cp->uptime_count++) {
        size_t i = s->cp->uptime_count;
        ee_status st = seed_uptime(db, s, &s->g->uptime[i], &s->cp->uptime[i], err);
        if (st) return st;
    }
    return EE_OK;
}

ee_status cp_seed(cp_context *cp, store *db, const genesis *g, ee_error *err) {
    seeding s = {cp, g, eei_wall_ms()};
    return store_run(db, seed_all, &s, err);
}
