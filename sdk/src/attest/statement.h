/* statement.h - the attestation statement: the fixed 368 bytes whose SHA-512 is report_data, and the key ids and nonces around it.
 * Pure. Built only by the code that quotes, from values it computed itself: no interface takes a ready 64-byte value (threats Q9, Q10).
 * Called by ratls (agents, control plane) and by appraisal. Proto: docs/protocol.md#statement */
#ifndef EEI_STATEMENT_H
#define EEI_STATEMENT_H
#include "base/buf.h"

#define EEI_STATEMENT_BYTES   368u
#define EEI_REPORT_DATA_BYTES 64u
#define EEI_EXPORTER_LABEL    "EXPORTER-easyenclave-attest-v1"

typedef enum eei_purpose {
    EEI_PURPOSE_REGISTER = 1,
    EEI_PURPOSE_PERIODIC = 2,
    EEI_PURPOSE_CERTIFICATE = 3,
    EEI_PURPOSE_CHALLENGE = 4,
    EEI_PURPOSE_EPOCH = 5,
    EEI_PURPOSE_KEY_REQUEST = 6,
    EEI_PURPOSE_SUCCESSOR = 7,
    EEI_PURPOSE_APP = 16,
} eei_purpose;

typedef enum eei_role {
    EEI_ROLE_CONTROL = 1,
    EEI_ROLE_AGENT = 2,
    EEI_ROLE_UPTIME = 3,
    EEI_ROLE_KEY_HOLDER = 4,
    EEI_ROLE_CLIENT = 5
} eei_role;

#define EEI_STATEMENT_SEALED 1u /* flags bit 0: sealed image */
#define EEI_STATEMENT_SIM    2u /* flags bit 1: simulated device */

typedef struct eei_statement {
    uint8_t purpose, role;
    uint16_t wire_version;
    uint32_t flags;
    uint8_t nonce[32];
    uint8_t binder[32];       /* TLS exporter of this connection; 0 for certificate and epoch */
    uint8_t instance_pub[32]; /* Ed25519 */
    uint8_t spki_sha256[32];  /* of the TLS key */
    uint8_t hpke_pub[32];     /* X25519; 0 until sealed jobs need it */
    uint8_t node_id[32];      /* control plane: network id */
    uint8_t policy_hash[32];
    uint8_t log_root[32];
    uint64_t log_size;
    uint64_t sequence; /* of this instance's statements, from 1 */
    uint8_t receipts_root[32];
    uint64_t receipts;
    uint64_t uptime_ms;
    uint8_t transcript[32]; /* SHA-256 of both HELLOs, or what the purpose says, else 0 */
} eei_statement;

void eei_statement_encode(const eei_statement *statement, uint8_t out[EEI_STATEMENT_BYTES]);
/* Refuses a wrong magic, unknown purpose, role or flag bits. */
ee_status eei_statement_decode(ee_span bytes, eei_statement *out, ee_error *err) EE_MUST_USE;
void eei_report_data(const uint8_t statement[EEI_STATEMENT_BYTES], uint8_t out[EEI_REPORT_DATA_BYTES]); /* SHA-512 */

/* SHA-256("EE1-nonce" || log_root || u64be log_size || r || session_id): younger than that head, offline provable. */
void eei_nonce_derive(const uint8_t log_root[32], uint64_t log_size, const uint8_t r[32], const uint8_t session_id[16], uint8_t out[32]);
void eei_instance_id(const uint8_t instance_pub[32], uint8_t out[32]); /* SHA-256("EE1-inst" || pub) */
/* SHA-256("EE1-node" || network id || provider's public key || name): who it is in this network, whatever machine it runs on. */
void eei_node_id(const uint8_t network_id[32], const uint8_t provider_pub[32], const char *name, uint8_t out[32]);

void eei_sha256(ee_span data, uint8_t out[32]);
void eei_sha384(ee_span data, uint8_t out[48]);
void eei_sha512(ee_span data, uint8_t out[64]);
#endif
