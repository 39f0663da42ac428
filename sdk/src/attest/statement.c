/* statement.c - the 368-byte attestation statement, the hashes and nonces around it. No I/O, no keys.
 * Called by whoever quotes (ratls) and by appraisal. Proto: docs/protocol.md#statement */
#include "attest/statement.h"

#include "attest/crypto.h"
#include "base/reader.h"
#include "base/writer.h"

#include <string.h>

static const uint8_t magic[8] = {'E', 'E', '-', 'R', 'D', '-', '1', 0};

/* Big-endian store at a fixed place; the layout below is one table, so the running offset is all there is to keep. */
static uint8_t *put_number(uint8_t *at, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    return at + bytes;
}

static uint8_t *put_bytes(uint8_t *at, const void *data, size_t len) {
    memcpy(at, data, len);
    return at + len;
}

void eei_statement_encode(const eei_statement *s, uint8_t out[EEI_STATEMENT_BYTES]) {
    uint8_t *at = put_bytes(out, magic, sizeof magic);
    at = put_number(at, s->purpose, 1);
    at = put_number(at, s->role, 1);
    at = put_number(at, s->wire_version, 2);
    at = put_number(at, s->flags, 4);
    at = put_bytes(at, s->nonce, 32);
    at = put_bytes(at, s->binder, 32);
    at = put_bytes(at, s->instance_pub, 32);
    at = put_bytes(at, s->spki_sha256, 32);
    at = put_bytes(at, s->hpke_pub, 32);
    at = put_bytes(at, s->node_id, 32);
    at = put_bytes(at, s->policy_hash, 32);
    at = put_bytes(at, s->log_root, 32);
    at = put_number(at, s->log_size, 8);
    at = put_number(at, s->sequence, 8);
    at = put_bytes(at, s->receipts_root, 32);
    at = put_number(at, s->receipts, 8);
    at = put_number(at, s->uptime_ms, 8);
    at = put_bytes(at, s->transcript, 32);
    EE_ASSERT(at == out + EEI_STATEMENT_BYTES);
}

static bool purpose_known(uint8_t purpose) {
    return (purpose >= EEI_PURPOSE_REGISTER && purpose <= EEI_PURPOSE_SUCCESSOR) || purpose == EEI_PURPOSE_APP;
}

ee_status eei_statement_decode(ee_span bytes, eei_statement *out, ee_error *err) {
    uint8_t got_magic[8];
    eei_statement s;

    memset(out, 0, sizeof *out);
    memset(&s, 0, sizeof s);
    if (bytes.len != EEI_STATEMENT_BYTES)
        return eei_fail(err, EE_E_MALFORMED, "statement is %zu bytes, must be %u", bytes.len, EEI_STATEMENT_BYTES);
    eei_reader r = eei_reader_init(bytes);
    eei_read_bytes(&r, got_magic, sizeof got_magic);
    s.purpose = eei_read_u8(&r);
    s.role = eei_read_u8(&r);
    s.wire_version = eei_read_u16be(&r);
    s.flags = eei_read_u32be(&r);
    eei_read_bytes(&r, s.nonce, 32);
    eei_read_bytes(&r, s.binder, 32);
    eei_read_bytes(&r, s.instance_pub, 32);
    eei_read_bytes(&r, s.spki_sha256, 32);
    eei_read_bytes(&r, s.hpke_pub, 32);
    eei_read_bytes(&r, s.node_id, 32);
    eei_read_bytes(&r, s.policy_hash, 32);
    eei_read_bytes(&r, s.log_root, 32);
    s.log_size = eei_read_u64be(&r);
    s.sequence = eei_read_u64be(&r);
    eei_read_bytes(&r, s.receipts_root, 32);
    s.receipts = eei_read_u64be(&r);
    s.uptime_ms = eei_read_u64be(&r);
    eei_read_bytes(&r, s.transcript, 32);
    ee_status st = eei_reader_expect_end(&r, "statement", err);
    if (st) return st;

    if (memcmp(got_magic, magic, sizeof magic)) return eei_fail(err, EE_E_MALFORMED, "statement does not begin with EE-RD-1");
    if (!purpose_known(s.purpose)) return eei_fail(err, EE_E_MALFORMED, "statement purpose %u is not known", s.purpose);
    if (s.role < EEI_ROLE_CONTROL || s.role > EEI_ROLE_CLIENT)
        return eei_fail(err, EE_E_MALFORMED, "statement role %u is not known", s.role);
    if (s.flags & ~(EEI_STATEMENT_SEALED | EEI_STATEMENT_SIM))
        return eei_fail(err, EE_E_MALFORMED, "statement flags 0x%08x have bits that are not known", (unsigned)s.flags);
    *out = s;
    return EE_OK;
}

void eei_report_data(const uint8_t statement[EEI_STATEMENT_BYTES], uint8_t out[EEI_REPORT_DATA_BYTES]) {
    eei_sha512(eei_span(statement, EEI_STATEMENT_BYTES), out);
}

void eei_nonce_derive(const uint8_t log_root[32], uint64_t log_size, const uint8_t r[32], const uint8_t session_id[16], uint8_t out[32]) {
    uint8_t size[8];
    put_number(size, log_size, 8);
    const ee_span parts[] = {eei_span_text("EE1-nonce"), {log_root, 32}, {size, 8}, {r, 32}, {session_id, 16}};
    eei_hash_parts(EEI_SHA256, parts, 5, out);
}

void eei_instance_id(const uint8_t instance_pub[32], uint8_t out[32]) {
    const ee_span parts[] = {eei_span_text("EE1-inst"), {instance_pub, 32}};
    eei_hash_parts(EEI_SHA256, parts, 2, out);
}

void eei_node_id(const uint8_t network_id[32], const uint8_t provider_pub[32], const char *name, uint8_t out[32]) {
    const ee_span parts[] = {eei_span_text("EE1-node"), {network_id, 32}, {provider_pub, 32}, eei_span_text(name)};
    eei_hash_parts(EEI_SHA256, parts, 4, out);
}

void eei_sha256(ee_span data, uint8_t out[32]) { eei_hash_parts(EEI_SHA256, &data, 1, out); }
void eei_sha384(ee_span data, uint8_t out[48]) { eei_hash_parts(EEI_SHA384, &data, 1, out); }
void eei_sha512(ee_span data, uint8_t out[64]) { eei_hash_parts(EEI_SHA512, &data, 1, out); }
