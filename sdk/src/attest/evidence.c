/* evidence.c - evidence on the wire and the RTMR3 event log: encode, decode, digests, replay. It judges nothing; appraise.c does.
 * Called by ratls and appraise.c. Proto: docs/protocol.md#evidence */
#include "attest/evidence.h"

#include "attest/crypto.h"
#include "base/limits.h"
#include "wire/codec.h"

#include <string.h>

enum { TICKET_MAX = 4096, SIGNED_MAX = EEI_STATEMENT_BYTES + EEI_ENVELOPE_OVERHEAD };

static const eei_field event_fields[] = {
    EEI_FIELD(eei_event, type, 1, EEI_KIND_U64, true, UINT16_MAX),
    EEI_FIELD(eei_event, digest, 2, EEI_KIND_FIXED, true, 48),
    EEI_FIELD(eei_event, payload, 3, EEI_KIND_BYTES, false, EEI_EVENT_PAYLOAD_MAX),
};
static const eei_schema event_schema = {"event", sizeof(eei_event), event_fields, 3};

static const eei_field boot_event_fields[] = {
    {.key = 1, .kind = EEI_KIND_U64, .required = true, .name = "register", .offset = offsetof(eei_boot_event, rtmr), .max = 3},
    EEI_FIELD(eei_boot_event, type, 2, EEI_KIND_U64, true, UINT32_MAX),
    EEI_FIELD(eei_boot_event, digest, 3, EEI_KIND_FIXED, true, 48),
    EEI_FIELD(eei_boot_event, data, 4, EEI_KIND_BYTES, false, EEI_BOOT_DATA_MAX),
};
static const eei_schema boot_event_schema = {"boot_event", sizeof(eei_boot_event), boot_event_fields, 4};

/* The same as eei_evidence with the lists as the codec wants them. */
typedef struct wire_evidence {
    ee_span statement, quote, ticket, signature;
    eei_list events, boot_log;
} wire_evidence;

static const eei_field evidence_fields[] = {
    {.key = 1,
     .kind = EEI_KIND_BYTES,
     .required = true,
     .name = "statement",
     .offset = offsetof(wire_evidence, statement),
     .max = EEI_STATEMENT_BYTES},
    {.key = 2, .kind = EEI_KIND_BYTES, .name = "quote", .offset = offsetof(wire_evidence, quote), .max = EEI_QUOTE_BYTES_MAX},
    {.key = 3,
     .kind = EEI_KIND_MESSAGES,
     .name = "events",
     .offset = offsetof(wire_evidence, events),
     .most = EEI_EVENTS_MAX,
     .sub = &event_schema},
    {.key = 4, .kind = EEI_KIND_BYTES, .name = "ticket", .offset = offsetof(wire_evidence, ticket), .max = TICKET_MAX},
    {.key = 5, .kind = EEI_KIND_BYTES, .name = "signed", .offset = offsetof(wire_evidence, signature), .max = SIGNED_MAX},
    {.key = 128,
     .kind = EEI_KIND_MESSAGES,
     .name = "boot_log",
     .offset = offsetof(wire_evidence, boot_log),
     .most = EEI_BOOT_EVENTS_MAX,
     .sub = &boot_event_schema},
};
static const eei_schema evidence_schema = {"evidence", sizeof(wire_evidence), evidence_fields, 6};

void eei_event_digest(uint16_t type, ee_span payload, uint8_t out[48]) {
    const uint8_t head[] = {(uint8_t)(type >> 8),        (uint8_t)type,       (uint8_t)(payload.len >> 24), (uint8_t)(payload.len >> 16),
                            (uint8_t)(payload.len >> 8), (uint8_t)payload.len};
    const ee_span parts[] = {eei_span_text(EEI_EVENT_LABEL), {head, sizeof head}, payload};
    eei_hash_parts(EEI_SHA384, parts, 3, out);
}

void eei_rtmr_extend(uint8_t rtmr[48], const uint8_t digest[48]) {
    const ee_span parts[] = {{rtmr, 48}, {digest, 48}};
    uint8_t after[48];
    eei_hash_parts(EEI_SHA384, parts, 2, after);
    memcpy(rtmr, after, 48);
}

/* A statement with its signature, and the quote and log that it needs, or none of them when they were seen before. */
static ee_status check_shape(const eei_evidence *e, ee_error *err) {
    if (e->statement.len != EEI_STATEMENT_BYTES)
        return eei_fail(err, EE_E_MALFORMED, "evidence: statement is %zu bytes, must be %u", e->statement.len, EEI_STATEMENT_BYTES);
    if (!e->signature.len) return eei_fail(err, EE_E_MALFORMED, "evidence: the statement is not signed");
    if (!e->quote.len && (e->event_count || e->boot_event_count || e->ticket.len))
        return eei_fail(err, EE_E_MALFORMED, "evidence: events, boot log and ticket come with a quote, or not at all");
    return EE_OK;
}

ee_status eei_evidence_encode(const eei_evidence *evidence, eei_buf *out, ee_error *err) {
    const wire_evidence wire = {evidence->statement,
                                evidence->quote,
                                evidence->ticket,
                                evidence->signature,
                                {evidence->events, evidence->event_count},
                                {evidence->boot_events, evidence->boot_event_count}};
    size_t before = out->len;
    ee_status st = check_shape(evidence, err);
    if (!st) st = eei_encode(&evidence_schema, &wire, out, err);
    size_t bytes = out->len - before;
    if (!st && bytes > EEI_EVIDENCE_BYTES_MAX)
        st = eei_fail(err, EE_E_LIMIT, "evidence is %zu bytes, limit %u", bytes, EEI_EVIDENCE_BYTES_MAX);
    if (st) out->len = before;
    return st;
}

ee_status eei_evidence_decode(ee_span bytes, eei_arena *arena, eei_evidence *out, ee_error *err) {
    wire_evidence wire;
    memset(&wire, 0, sizeof wire);
    memset(out, 0, sizeof *out);
    if (bytes.len > EEI_EVIDENCE_BYTES_MAX) /* threat Q18 */
        return eei_fail(err, EE_E_LIMIT, "evidence is %zu bytes, limit %u", bytes.len, EEI_EVIDENCE_BYTES_MAX);
    ee_status st = eei_decode(&evidence_schema, bytes, arena, &wire, err);
    if (st) return st;
    const eei_evidence e = {.statement = wire.statement,
                            .quote = wire.quote,
                            .events = wire.events.items,
                            .event_count = wire.events.count,
                            .ticket = wire.ticket,
                            .signature = wire.signature,
                            .boot_events = wire.boot_log.items,
                            .boot_event_count = wire.boot_log.count};
    st = check_shape(&e, err);
    if (!st) *out = e;
    return st;
}
