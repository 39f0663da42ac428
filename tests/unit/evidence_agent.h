/* evidence_agent.h - an agent of one boot for tests of evidence: key, event log, statement, quote, and what a caller expects of it.
 * Not for code under test. Included by test_{evidence,boot_log}.c. */
#ifndef EVIDENCE_AGENT_H
#define EVIDENCE_AGENT_H
#include "attest/boot_log.h"
#include "attest_world.h"
#include "base/file.h"

enum { EVENTS_TEST_MAX = 16, PAYLOAD_MAX = 192 };

/* An agent of one boot: key, boot log, event log, statement. */
typedef struct agent {
    eei_key *key;
    eei_statement statement;
    uint8_t statement_bytes[EEI_STATEMENT_BYTES];
    eei_event events[EVENTS_TEST_MAX];
    uint8_t payloads[EVENTS_TEST_MAX][PAYLOAD_MAX];
    size_t event_count;
    eei_arena arena;
    eei_boot_event *boot;
    size_t boot_count;
    uint8_t image[32], spec[32];
    eei_buf quote, signature;
    eei_expect expect;
} agent;

static void add_event(agent *a, uint16_t type, ee_span payload) UNUSED;
static void add_event(agent *a, uint16_t type, ee_span payload) {
    eei_event *e = &a->events[a->event_count];
    assert_true(a->event_count < EVENTS_TEST_MAX && payload.len <= PAYLOAD_MAX);
    if (payload.len) memcpy(a->payloads[a->event_count], payload.data, payload.len);
    e->type = type;
    e->payload = eei_span(a->payloads[a->event_count], payload.len);
    eei_event_digest(type, payload, e->digest);
    a->event_count++;
}

/* {1: "app", 2: image, 3: spec} */
static void add_app(agent *a, const uint8_t image[32], const uint8_t spec[32]) UNUSED;
static void add_app(agent *a, const uint8_t image[32], const uint8_t spec[32]) {
    uint8_t bytes[PAYLOAD_MAX * 2], *at = bytes;
    static const uint8_t head[] = {0x83, 0x01, 0xa3, 'a', 'p', 'p', 0x02, 0xc4, 32};
    memcpy(at, head, sizeof head);
    at += sizeof head;
    memcpy(at, image, 32);
    at += 32;
    memcpy(at, (const uint8_t[]){0x03, 0xc4, 32}, 3);
    at += 3;
    memcpy(at, spec, 32);
    at += 32;
    eei_event *e = &a->events[a->event_count];
    static uint8_t kept[4][PAYLOAD_MAX * 2];
    static size_t next;
    uint8_t *mine = kept[next++ % 4];
    memcpy(mine, bytes, (size_t)(at - bytes));
    e->type = EEI_EVENT_APP;
    e->payload = eei_span(mine, (size_t)(at - bytes));
    eei_event_digest(EEI_EVENT_APP, e->payload, e->digest);
    a->event_count++;
}

static void boot_events_with(agent *a, const char *config) UNUSED;
static void boot_events_with(agent *a, const char *config) {
    add_event(a, EEI_EVENT_RELEASE, eei_span_text("0.1.0"));
    add_event(a, EEI_EVENT_CONFIG, eei_span_text(config));
    add_event(a, EEI_EVENT_IDENTITY, eei_span(eei_key_public(a->key), 32));
    add_event(a, EEI_EVENT_READY, (ee_span){NULL, 0});
}
static void boot_events(agent *a) UNUSED;
static void boot_events(agent *a) { boot_events_with(a, "config"); }

static void sign_statement(agent *a, const eei_key *key, uint16_t type) UNUSED;
static void sign_statement(agent *a, const eei_key *key, uint16_t type) {
    eei_buf_reset(&a->signature);
    MUST(eei_envelope_seal(key, type, eei_span(a->statement_bytes, sizeof a->statement_bytes), &a->signature, err));
}

/* Quote over the statement as it is now, with RTMR3 as `log` says (NULL: the agent's own log). */
static void requote(world *w, agent *a) UNUSED;
static void requote(world *w, agent *a) {
    simtdx_td td = w->td;
    uint8_t report_data[64];
    memset(td.rtmr[3], 0, 48);
    for (size_t i = 0; i < a->boot_count; i++)
        if (a->boot[i].rtmr == 3) eei_rtmr_extend(td.rtmr[3], a->boot[i].digest);
    for (size_t i = 0; i < a->event_count; i++) eei_rtmr_extend(td.rtmr[3], a->events[i].digest);
    eei_statement_encode(&a->statement, a->statement_bytes);
    eei_report_data(a->statement_bytes, report_data);
    eei_buf_reset(&a->quote);
    MUST(simtdx_quote(w->machine, &td, report_data, &a->quote, err));
    sign_statement(a, a->key, EEI_SIGNED_STATEMENT);
}

static void agent_init(world *w, agent *a) UNUSED;
static void agent_init(world *w, agent *a) {
    eei_buf area = EEI_BUF_INIT(65536);
    memset(a, 0, sizeof *a);
    a->quote = (eei_buf)EEI_BUF_INIT(65536);
    a->signature = (eei_buf)EEI_BUF_INIT(1024);
    a->arena = (eei_arena)EEI_ARENA_INIT(1 << 20);
    MUST(simtdx_boot_log(&area, err));
    MUST(eei_boot_log_compact(eei_buf_span(&area), &a->arena, &a->boot, &a->boot_count, err));
    eei_buf_clear(&area);
    MUST(eei_key_generate(&a->key, err));
    a->statement = (eei_statement){.purpose = EEI_PURPOSE_REGISTER,
                                   .role = EEI_ROLE_AGENT,
                                   .wire_version = 1,
                                   .flags = EEI_STATEMENT_SIM,
                                   .sequence = 7,
                                   .uptime_ms = 1000};
    memset(a->statement.nonce, 1, 32);
    memset(a->statement.binder, 2, 32);
    memcpy(a->statement.instance_pub, eei_key_public(a->key), 32);
    memset(a->statement.spki_sha256, 4, 32);
    memset(a->statement.node_id, 5, 32);
    memset(a->statement.transcript, 6, 32);
    memset(a->image, 0x1a, 32);
    memset(a->spec, 0x2b, 32);
    boot_events(a);
    add_app(a, a->image, a->spec);
    requote(w, a);
    a->expect = (eei_expect){.purpose = EEI_PURPOSE_REGISTER,
                             .role = EEI_ROLE_AGENT,
                             .nonce = a->statement.nonce,
                             .binder = a->statement.binder,
                             .spki_sha256 = a->statement.spki_sha256,
                             .instance_pub = a->statement.instance_pub,
                             .node_id = a->statement.node_id,
                             .transcript = a->statement.transcript,
                             .node_name = "node-a",
                             .image_digest = a->image,
                             .spec_hash = a->spec};
}

static void agent_clear(agent *a) UNUSED;
static void agent_clear(agent *a) {
    eei_key_free(a->key);
    eei_buf_clear(&a->quote);
    eei_buf_clear(&a->signature);
    eei_arena_clear(&a->arena);
}

static eei_evidence evidence_of(const agent *a) UNUSED;
static eei_evidence evidence_of(const agent *a) {
    return (eei_evidence){.statement = eei_span(a->statement_bytes, sizeof a->statement_bytes),
                          .quote = eei_buf_span(&a->quote),
                          .events = (eei_event *)(uintptr_t)a->events,
                          .event_count = a->event_count,
                          .signature = eei_buf_span(&a->signature),
                          .boot_events = a->boot,
                          .boot_event_count = a->boot_count};
}

static ee_status appraise(world *w, const eei_evidence *e, const eei_expect *expect, ee_verdict **out, ee_error *err) UNUSED;
static ee_status appraise(world *w, const eei_evidence *e, const eei_expect *expect, ee_verdict **out, ee_error *err) {
    return eei_appraise(e, w->collateral, w->any, expect, NOW, out, err);
}

static void must_refuse(const char *name, world *w, const eei_evidence *e, const eei_expect *expect, const char *check) UNUSED;
static void must_refuse(const char *name, world *w, const eei_evidence *e, const eei_expect *expect, const char *check) {
    ee_verdict *verdict = NULL;
    ee_error why = {0};
    ee_status st = appraise(w, e, expect, &verdict, &why);
    if (st != EE_E_ATTESTATION || ee_verdict_verified(verdict) || strcmp(first_failed(verdict), check))
        fail_msg("%s: status %d, failed \"%s\", wanted \"%s\"; %s", name, (int)st, first_failed(verdict), check, why.message);
    assert_null(eei_verdict_statement(verdict));
    ee_verdict_free(verdict);
}

/* Kept samples of vectors/attest/<folder>, and what they verify under. */
static void read_golden(const char *from, const char *name, eei_buf *out) UNUSED;
static void read_golden(const char *from, const char *name, eei_buf *out) {
    char path[512];
    snprintf(path, sizeof path, "%s/attest/%s/%s", EE_VECTORS, from, name);
    eei_buf_reset(out);
    MUST(eei_file_read(path, out, err));
}

static void golden_trust(const char *from, ee_policy **policy, ee_collateral **collateral) UNUSED;
static void golden_trust(const char *from, ee_policy **policy, ee_collateral **collateral) {
    eei_buf text = EEI_BUF_INIT(1 << 20);
    read_golden(from, "policy.toml", &text);
    MUST(ee_policy_parse(eei_buf_cstr(&text), "policy.toml", policy, err));
    read_golden(from, "collateral.json", &text);
    MUST(ee_collateral_parse(eei_buf_span(&text), collateral, err));
    eei_buf_clear(&text);
}
#endif
