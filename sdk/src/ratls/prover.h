/* prover.h - the attesting side's identity: instance keys of one boot, its RTMR3 event log, and the quotes over statements.
 * The quote itself comes from an eei_quoter (configfs-tsm or simulated) that server/common provides; the SDK never has one.
 * Thread-safe but for new and free. Called by session, channel and the programs. Proto: docs/protocol.md#statement */
#ifndef EEI_PROVER_H
#define EEI_PROVER_H
#include "attest/evidence.h"
#include "base/clock.h"

#include <openssl/ssl.h>

/* A source of quotes. quote() may block for seconds: callers run it off their loop. report_data is always made by prover.c. */
typedef struct eei_quoter {
    ee_status (*quote)(void *user, const uint8_t report_data[64], eei_buf *out, ee_error *err);
    ee_status (*extend_rtmr3)(void *user, const uint8_t digest[48], ee_error *err);
    void *user;
    bool simulated;
    ee_span boot_log; /* log area of the machine's CCEL, read only while the prover is made; {NULL, 0}: there is none */
} eei_quoter;

typedef struct eei_prover eei_prover;
typedef struct eei_prover_options {
    uint8_t role;        /* eei_role */
    const char *node;    /* node name; control plane: network name */
    uint8_t node_id[32]; /* control plane: network id; others: of their boot ticket */
    ee_span ticket;      /* boot ticket, shown with every quote; empty for the control plane */
    uint8_t policy_hash[32];
    bool sealed; /* nobody can log in to the image, nor change it: said in every statement, and only the measurements vouch for it */
    const char *release;    /* RELEASE event payload */
    ee_span config;         /* CONFIG event payload: what the program's behaviour depends on */
    const char *dns_name;   /* certificate's DNS SAN */
    const char *ip_address; /* nullable: IP SAN, for devnets */
    eei_quoter quoter;      /* borrowed */
    const eei_clock *clock;
} eei_prover_options;
/* A boot log that cannot be read, is longer than evidence may carry, or does not give the registers of the first quote, is left out, and
 * the log says so: a verifier that gets none skips its check, one that gets a false one refuses the machine. Makes the instance key
 * (Ed25519) and the TLS key (P-256), extends RTMR3 with release, config, identity, ready, and issues the certificate with purpose-3
 * evidence. Keys live in memory only. */
ee_status eei_prover_new(const eei_prover_options *options, eei_prover **out, ee_error *err) EE_MUST_USE;
void eei_prover_free(eei_prover *prover);

const eei_key *eei_prover_key(const eei_prover *prover);         /* instance key; signing is thread-safe */
const uint8_t *eei_prover_instance_id(const eei_prover *prover); /* 32 */
const uint8_t *eei_prover_node_id(const eei_prover *prover);     /* 32 */
const uint8_t *eei_prover_spki_sha256(const eei_prover *prover); /* 32 */
ee_span eei_prover_certificate_der(const eei_prover *prover);
ee_span eei_prover_tls_key_der(const eei_prover *prover); /* secret; for a TLS library that takes DER from memory */
/* TLS 1.3 only, this certificate, no tickets, no resumption, no 0-RTT. For inner channels; shared by all of them. */
SSL_CTX *eei_prover_server_ctx(const eei_prover *prover); /* borrowed; good for one renewal, as the certificate above */
ee_status eei_prover_ssl_new(eei_prover *prover, SSL **out, ee_error *err) EE_MUST_USE; /* one connection of it; any thread */
/* Make a new certificate when the old one is past EEI_CERT_RENEW_S, or when events came after it, so that what is shown is what runs; else
 * nothing. Quotes, so it may block: for a worker thread. */
ee_status eei_prover_renew(eei_prover *prover, ee_error *err) EE_MUST_USE;

/* One more RTMR3 event (APP, APP_END, DRAIN). After DRAIN only APP_END: EE_E_STATE. Waits for a quote that is being made, so it may block:
 * for a worker thread. */
ee_status eei_prover_event(eei_prover *prover, uint16_t type, ee_span payload, ee_error *err) EE_MUST_USE;
/* A receipt this instance signed: goes into receipts_root of later statements (RFC 6962 tree, receipt hashes are the leaves). Any thread.
 */
ee_status eei_prover_receipt(eei_prover *prover, const uint8_t receipt_hash[32], ee_error *err) EE_MUST_USE;

typedef struct eei_prove {
    uint8_t purpose;
    uint16_t wire_version;
    uint8_t nonce[32], binder[32], transcript[32];
} eei_prove;
/* Quoted evidence: appends the evidence map, with the boot log where it is asked for rarely (purposes register and certificate), or where
 * RTMR3 cannot be replayed without it. May block in the quoter. Thread-safe against other eei_prover_quote/_session calls. */
ee_status eei_prover_quote(eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) EE_MUST_USE;
/* Session evidence: the statement signed by the instance key; microseconds. */
ee_status eei_prover_session(eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) EE_MUST_USE;
#endif
