/* trust.c - see trust.h. */
#include "common/trust.h"

#include "attest/ticket.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "common/boot_ticket.h"

#include <string.h>

static const char *given(const char *text) { return text[0] ? text : NULL; }

static ee_status open_judge(const trust_settings *s, trust *t, ee_error *err) {
    eei_supply_options collateral = {.pccs_url = given(s->pccs_url), .pccs_ca = given(s->pccs_ca), .control_url = s->control};
    ee_status st = ee_policy_load(s->policy, &t->policy, err);
    if (!st) st = eei_supply_new(&collateral, &t->collateral, err);
    if (st) return st;
    eei_collateral_source source = eei_supply_source(t->collateral);
    return eei_judge_new(t->policy, &source, eei_clock_system(), &t->judge, err);
}

static ee_status open_prover(const trust_settings *s, const trust_program *program, trust *t, ee_error *err) {
    quote_source_options quotes = {.machine_file = given(s->machine)};
    eei_buf config = EEI_BUF_INIT(EEI_EVENT_PAYLOAD_MAX);
    const config_content contents[] = {{"policy", eei_policy_hash_bytes(t->policy)}};
    eei_prover_options prover = {.role = program->role,
                                 .node = s->node,
                                 .release = ee_version(),
                                 .dns_name = s->node,
                                 .sealed = s->sealed,
                                 .clock = eei_clock_system()};
    memcpy(prover.policy_hash, eei_policy_hash_bytes(t->policy), 32);
    ee_status st = quote_source_open(&quotes, &t->quotes, err);
    if (!st) st = boot_ticket_load(s->ticket, program->role, t->network_id, &t->ticket, prover.node_id, err);
    if (!st) st = config_event(program->keys, program->key_count, program->settings, contents, 1, &config, err);
    if (!st) {
        prover.quoter = quote_source_quoter(t->quotes);
        prover.ticket = eei_buf_span(&t->ticket);
        prover.config = eei_buf_span(&config);
        st = eei_prover_new(&prover, &t->prover, err);
    }
    eei_buf_clear(&config);
    return st;
}

ee_status trust_open(const trust_settings *settings, const trust_program *program, trust *out, ee_error *err) {
    *out = (trust){.ticket = EEI_BUF_INIT(EEI_TICKET_BYTES_MAX)};
    ee_status st = eei_hex_decode(settings->network_id, out->network_id, 32, err);
    if (st) return eei_prefix(err, EE_E_CONFIG, "network.id");
    st = open_judge(settings, out, err);
    return st ? st : open_prover(settings, program, out, err);
}

void trust_clear(trust *t) {
    eei_prover_free(t->prover);
    eei_judge_free(t->judge);
    eei_supply_free(t->collateral);
    ee_policy_free(t->policy);
    quote_source_free(t->quotes);
    eei_buf_clear(&t->ticket);
}
