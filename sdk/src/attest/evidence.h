/* evidence.h - evidence and its appraisal: is this the machine and code it claims to be, talking on this connection?
 * One pure function used by control plane, agents, SDK and verifier. No network; collateral and time are arguments.
 * Called by ratls (certificates, sessions, channels) and client/verify. Proto: docs/protocol.md#appraisal */
#ifndef EEI_EVIDENCE_H
#define EEI_EVIDENCE_H
#include "attest/collateral_id.h"
#include "attest/envelope.h"
#include "attest/statement.h"
#include "base/arena.h"

#include <eesdk/verify.h>

/* On the wire a strict msgpack map: 1 statement, 2 quote, 3 events (list of {1 type, 2 digest 48, 3 payload}), 4 ticket envelope,
 * 5 signed (the statement in an envelope of type STATEMENT, by the instance key; where there is no quote it stands on evidence seen
 * before), 128 boot log (list of {1 register, 2 type, 3 digest 48, 4 data}; readers that do not know it skip it). */
typedef struct eei_event {
    uint64_t type; /* eei_event_type */
    uint8_t digest[48];
    ee_span payload; /* may be empty: only the digest is known */
} eei_event;
typedef enum eei_event_type {
    EEI_EVENT_RELEASE = 1,
    EEI_EVENT_CONFIG = 2,
    EEI_EVENT_IDENTITY = 3, /* payload: instance_pub */
    EEI_EVENT_READY = 4,
    EEI_EVENT_APP = 5, /* payload: msgpack {1 app or job id, 2 image digest, 3 spec hash} */
    EEI_EVENT_APP_END = 6,
    EEI_EVENT_DRAIN = 7,
} eei_event_type;
#define EEI_EVENT_LABEL "EE1-EV"
/* SHA-384("EE1-EV" || u16be type || u32be len || payload) */
void eei_event_digest(uint16_t type, ee_span payload, uint8_t out[48]);
/* RTMR after: SHA-384(before || digest) */
void eei_rtmr_extend(uint8_t rtmr[48], const uint8_t digest[48]);

/* What firmware, boot loader and kernel measured before our code ran: an event of the CCEL log, made small. Register and digest are what
 * RTMR0 to RTMR2 hold; data is what was measured, where that is short and in the log; the type is the log's own word. */
typedef struct eei_boot_event {
    uint64_t rtmr; /* 0 to 3 */
    uint64_t type; /* TCG event type */
    uint8_t digest[48];
    ee_span data; /* its SHA-384 is the digest; empty: not shown */
} eei_boot_event;

typedef struct eei_evidence {
    ee_span statement; /* 368 bytes */
    ee_span quote;
    eei_event *events;
    size_t event_count;
    ee_span ticket;
    ee_span signature; /* envelope of the statement, by the instance key */
    eei_boot_event *boot_events;
    size_t boot_event_count; /* 0: no boot log */
} eei_evidence;
/* Appends; nothing on failure. EE_E_LIMIT over EEI_EVIDENCE_BYTES_MAX. */
ee_status eei_evidence_encode(const eei_evidence *evidence, eei_buf *out, ee_error *err) EE_MUST_USE;
ee_status eei_evidence_decode(ee_span bytes, eei_arena *arena, eei_evidence *out, ee_error *err) EE_MUST_USE;

/* What the caller expects; a NULL field is not checked and says "skipped" in the verdict, never "pass". All 32 bytes. */
typedef struct eei_expect {
    uint8_t purpose, role; /* always checked */
    const uint8_t *nonce, *binder, *spki_sha256, *instance_pub, *node_id, *transcript;
    const char *node_name;                   /* for the verdict's text */
    const uint8_t *image_digest, *spec_hash; /* an APP event with these must be in the log */
    bool no_app; /* the peer is asked for itself, not for an app of its: a policy's image is compared elsewhere, or with nothing */
} eei_expect;

/* Quoted evidence: the whole list of checks of verify_quote, then statement hash, purpose, role, nonce, binder, keys, node, event log
 * replay and grammar, simulated flag against the anchor, signature of the instance key. EE_OK only if every check passed; *out is set on
 * EE_OK and EE_E_ATTESTATION. */
ee_status eei_appraise(const eei_evidence *evidence, const ee_collateral *collateral, const ee_policy *policy, const eei_expect *expect,
                       uint64_t now_unix_s, ee_verdict **out, ee_error *err) EE_MUST_USE;
/* Signed session statement: by the instance key of `base` (a verdict that verified, for the same TLS key), with purpose CHALLENGE.
 * *out is base's checks plus the session's. */
ee_status eei_appraise_session(const eei_evidence *evidence, const ee_verdict *base, const eei_expect *expect, uint64_t now_unix_s,
                               ee_verdict **out, ee_error *err) EE_MUST_USE;

/* What a verified verdict established. NULL / 0 before it verified. */
const eei_statement *eei_verdict_statement(const ee_verdict *verdict);
const uint8_t *eei_verdict_machine_id(const ee_verdict *verdict); /* 16 bytes: PIID, else PPID */
const eei_event *eei_verdict_events(const ee_verdict *verdict, size_t *count);
ee_span eei_verdict_ticket(const ee_verdict *verdict); /* the boot ticket that was shown, empty when there was none; not checked here */
uint64_t eei_verdict_time(const ee_verdict *verdict);  /* unix seconds it was made for */

const uint8_t *eei_policy_hash_bytes(const ee_policy *policy); /* 32 */
const uint8_t *eei_policy_image(const ee_policy *policy);      /* 32: the digest it pins; NULL = none */
ee_policy *eei_policy_ref(const ee_policy *policy);
#endif
