/* ticket.c - see ticket.h. */
#include "attest/ticket.h"

#include "attest/statement.h"
#include "base/encoding.h"
#include "base/limits.h"

#include <string.h>

static ee_status role_of_bearer(uint64_t role, ee_error *err) {
    return role == EEI_ROLE_AGENT || role == EEI_ROLE_UPTIME
               ? EE_OK
               : eei_fail(err, EE_E_INVALID, "a boot ticket is for an agent or an uptime server");
}

ee_status eei_ticket_make(const eei_key *provider, const eei_ticket *ticket, eei_buf *out, ee_error *err) {
    eei_buf body = EEI_BUF_INIT(EEI_TICKET_BYTES_MAX);
    ee_status st = role_of_bearer(ticket->role, err);
    if (!st && !ticket->releases.count) st = eei_fail(err, EE_E_INVALID, "a boot ticket names at least one release");
    if (!st) st = eei_encode(&eei_ticket_schema, ticket, &body, err);
    if (!st) st = eei_envelope_seal(provider, EEI_SIGNED_TICKET, eei_buf_span(&body), out, err);
    eei_buf_clear(&body);
    return st;
}

ee_status eei_ticket_line(const eei_key *provider, const char *name, eei_ticket *ticket, eei_buf *text, ee_error *err) {
    eei_buf envelope = EEI_BUF_INIT(EEI_TICKET_BYTES_MAX);
    eei_node_id(ticket->network_id, eei_key_public(provider), name, ticket->node_id);
    ee_status st = eei_ticket_make(provider, ticket, &envelope, err);
    if (!st && eei_base64url_encode(eei_buf_span(&envelope), text)) st = eei_nomem(err);
    eei_buf_clear(&envelope);
    return st;
}

ee_status eei_ticket_read(ee_span bytes, eei_arena *arena, eei_ticket *out, ee_error *err) {
    eei_envelope envelope;
    if (bytes.len > EEI_TICKET_BYTES_MAX)
        return eei_fail(err, EE_E_LIMIT, "a boot ticket of %zu bytes, limit %u", bytes.len, EEI_TICKET_BYTES_MAX);
    ee_status st = eei_envelope_parse(bytes, &envelope, err);
    if (!st && envelope.type != EEI_SIGNED_TICKET)
        st = eei_fail(err, EE_E_MALFORMED, "an envelope of type 0x%x is no boot ticket", envelope.type);
    if (!st) st = eei_decode(&eei_ticket_schema, envelope.body, arena, out, err);
    return st ? st : role_of_bearer(out->role, err);
}

bool eei_ticket_serial(ee_span bytes, uint8_t serial[16]) {
    eei_arena arena = EEI_ARENA_INIT(EEI_TICKET_BYTES_MAX);
    eei_ticket ticket;
    bool reads = eei_ticket_read(bytes, &arena, &ticket, NULL) == EE_OK;
    if (reads) memcpy(serial, ticket.serial, sizeof ticket.serial);
    eei_arena_clear(&arena);
    return reads;
}

static bool names_release(const eei_ticket *ticket, ee_span release) {
    const ee_span *items = ticket->releases.items;
    for (size_t i = 0; i < ticket->releases.count; i++)
        if (eei_span_equal(items[i], release)) return true;
    return false;
}

static ee_status compare(const eei_ticket *t, const eei_ticket_expect *e, ee_error *err) {
    if (memcmp(t->network_id, e->network_id, 32)) return eei_fail(err, EE_E_ATTESTATION, "the boot ticket is of another network");
    if (memcmp(t->node_id, e->node_id, 32)) return eei_fail(err, EE_E_ATTESTATION, "the boot ticket is for another node");
    if (t->role != e->role) return eei_fail(err, EE_E_ATTESTATION, "the boot ticket is for another kind of peer");
    if (memcmp(t->machine_id, e->machine_id, 16))
        return eei_fail(err, EE_E_ATTESTATION, "the boot ticket is for another machine than this");
    if (!names_release(t, e->release))
        return eei_fail(err, EE_E_ATTESTATION, "the boot ticket does not name the release \"%.*s\"",
                        (int)(e->release.len > 64 ? 64 : e->release.len), (const char *)e->release.data);
    if (e->used_by_it) return EE_OK;
    if (t->not_after_ms < e->now_ms)
        return eei_fail(err, EE_E_EXPIRED, "the boot ticket expired %llu s ago",
                        (unsigned long long)((e->now_ms - t->not_after_ms) / 1000));
    if (t->not_after_ms - e->now_ms > EEI_TICKET_LIFE_MAX_MS + EEI_REQUEST_SKEW_MS)
        return eei_fail(err, EE_E_ATTESTATION, "the boot ticket is good for %llu s more, limit %u",
                        (unsigned long long)((t->not_after_ms - e->now_ms) / 1000), EEI_TICKET_LIFE_MAX_MS / 1000);
    return EE_OK;
}

ee_status eei_ticket_check(ee_span bytes, const eei_ticket_expect *expect, uint8_t serial[16], ee_error *err) {
    eei_arena arena = EEI_ARENA_INIT(EEI_TICKET_BYTES_MAX);
    eei_envelope envelope;
    eei_ticket ticket;
    ee_error why = {0};
    if (!bytes.len) return eei_fail(err, EE_E_ATTESTATION, "there is no boot ticket: its provider signs one for each boot");
    ee_status st =
        bytes.len > EEI_TICKET_BYTES_MAX ? eei_fail(&why, EE_E_LIMIT, "%zu bytes", bytes.len) : eei_envelope_parse(bytes, &envelope, &why);
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_TICKET, expect->provider_pub, &why);
    if (!st) st = eei_ticket_read(bytes, &arena, &ticket, &why);
    if (st)
        st = st == EE_E_NOMEM ? eei_nomem(err) : eei_fail(err, EE_E_ATTESTATION, "boot ticket: %.300s", why.message);
    else
        st = compare(&ticket, expect, err);
    if (!st) memcpy(serial, ticket.serial, sizeof ticket.serial);
    eei_arena_clear(&arena);
    return st;
}
