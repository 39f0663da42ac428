/* ticket.h - boot tickets: what a provider signs so that one boot of one machine may be its node. Pure; that a ticket is used once is kept
 * by who checks it. Called by launchers (make), agents and uptime servers (read their own), the control plane (check).
 * Proto: docs/protocol.md#boot-tickets (threat S3) */
#ifndef EEI_TICKET_H
#define EEI_TICKET_H
#include "attest/envelope.h"
#include "base/arena.h"
#include "wire/messages.h"

/* The envelope. EE_E_INVALID for what no control plane would take. */
ee_status eei_ticket_make(const eei_key *provider, const eei_ticket *ticket, eei_buf *out, ee_error *err) EE_MUST_USE;
/* The same as launchers hand it on, a line of base64url, for the provider's node `name`: node_id is filled in. Appends; nothing on failure.
 */
ee_status eei_ticket_line(const eei_key *provider, const char *name, eei_ticket *ticket, eei_buf *text, ee_error *err) EE_MUST_USE;
/* What its bearer may know of it before anybody checked it. Spans borrow from the envelope, the list from the arena. */
ee_status eei_ticket_read(ee_span envelope, eei_arena *arena, eei_ticket *out, ee_error *err) EE_MUST_USE;

typedef struct eei_ticket_expect {
    const uint8_t *network_id, *node_id, *provider_pub, *machine_id; /* 32, 32, 32, 16 */
    uint8_t role;
    ee_span release; /* that the evidence shows */
    uint64_t now_ms; /* wall clock */
    bool used_by_it; /* this very instance has used the ticket before: then its date does not matter any more */
} eei_ticket_expect;
/* EE_E_ATTESTATION says what does not fit, EE_E_EXPIRED that it came too late. serial: for the check that it is used once. */
ee_status eei_ticket_check(ee_span envelope, const eei_ticket_expect *expect, uint8_t serial[16], ee_error *err) EE_MUST_USE;
/* Of any envelope that reads as a ticket; false when it does not. */
bool eei_ticket_serial(ee_span envelope, uint8_t serial[16]);
#endif
