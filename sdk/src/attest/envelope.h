/* envelope.h - signed bytes: Ed25519 over "EE1\0" || u16 type || key_id || u32 length || body. Verify, then decode; never re-encode to
 * verify. One key, one purpose; a type is unique across the protocol (threat S11). Pure but for signing. Called wherever something is
 * signed. Proto: docs/protocol.md#envelope */
#ifndef EEI_ENVELOPE_H
#define EEI_ENVELOPE_H
#include "base/buf.h"

typedef enum eei_signed_type {
    EEI_SIGNED_SPEND_AUTH = 0x10,
    EEI_SIGNED_TRANSFER = 0x11,
    EEI_SIGNED_SECRETS = 0x12,
    EEI_SIGNED_REQUEST = 0x13, /* an HTTP request, detached: the body is the sig_input text of docs/protocol.md#requests */
    EEI_SIGNED_RECEIPT = 0x20,
    EEI_SIGNED_STATEMENT = 0x21, /* session statement: a 368-byte statement signed by the instance key */
    EEI_SIGNED_HEALTH = 0x30,
    EEI_SIGNED_OBSERVATION = 0x31,
    EEI_SIGNED_TICKET = 0x40, /* boot ticket, by the provider key */
    EEI_SIGNED_TOKEN = 0x41,  /* stream capability, by the control plane's instance key */
} eei_signed_type;

/* On the wire: u16be type || key_id[32] || u32be len || body || signature[64]. */
#define EEI_ENVELOPE_OVERHEAD (2u + 32u + 4u + 64u)

typedef struct eei_envelope {
    uint16_t type;
    uint8_t key_id[32];
    ee_span body; /* borrowed */
    uint8_t signature[64];
} eei_envelope;

typedef struct eei_key eei_key; /* an Ed25519 private key in memory that is wiped and kept out of core dumps */
ee_status eei_key_generate(eei_key **out, ee_error *err) EE_MUST_USE;
ee_status eei_key_from_seed(const uint8_t seed[32], eei_key **out, ee_error *err) EE_MUST_USE;
const uint8_t *eei_key_public(const eei_key *key); /* 32 bytes */
void eei_key_free(eei_key *key);
void eei_key_id(const uint8_t pub[32], uint8_t out[32]); /* SHA-256("EE1-key" || "ed25519" || pub) */

/* Any thread: signing does not change the key. */
ee_status eei_envelope_seal(const eei_key *key, uint16_t type, ee_span body, eei_buf *out, ee_error *err) EE_MUST_USE;
/* Split, checking sizes only: nothing in it may be acted on before eei_envelope_verify(). The whole input must be one envelope. */
ee_status eei_envelope_parse(ee_span bytes, eei_envelope *out, ee_error *err) EE_MUST_USE;
/* EE_E_AUTH when the type, the key id or the signature is not exactly this key's. */
ee_status eei_envelope_verify(const eei_envelope *envelope, uint16_t type, const uint8_t pub[32], ee_error *err) EE_MUST_USE;
/* Detached signature for HTTP requests; same sig_input. */
ee_status eei_sign(const eei_key *key, uint16_t type, ee_span body, uint8_t signature[64], ee_error *err) EE_MUST_USE;
ee_status eei_verify(const uint8_t pub[32], uint16_t type, ee_span body, const uint8_t signature[64], ee_error *err) EE_MUST_USE;
#endif
