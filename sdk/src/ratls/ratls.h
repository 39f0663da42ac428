/* ratls.h - certificates that carry evidence, and the judging side: who must the peer be, under which policy, with which collateral.
 * Called by session, channel, net (TLS verify hooks) and client. Proto: docs/protocol.md#certificate */
#ifndef EEI_RATLS_H
#define EEI_RATLS_H
#include "attest/evidence.h"
#include "base/clock.h"

#include <openssl/ssl.h>

/* Own arc below the one IANA gives to nobody in production use; see docs/adr on the choice. One extension, not critical, <= 60 KiB. */
#define EEI_EVIDENCE_OID "2.25.186104938271450391250817236591467052913"

/* Self-signed P-256 certificate, CN empty, SAN URI ee://<network>/<instance> plus DNS (and IP), EKU serverAuth, evidence extension. */
typedef struct eei_certificate_options {
    EVP_PKEY *key;
    const char *uri, *dns_name, *ip_address; /* ip nullable */
    ee_span evidence;
    uint64_t not_before_s, not_after_s;
} eei_certificate_options;
ee_status eei_certificate_make(const eei_certificate_options *options, X509 **out, ee_error *err) EE_MUST_USE;
/* The one evidence extension; EE_E_ATTESTATION when there is none, more than one, or it is over its size. Borrowed from the certificate. */
ee_status eei_certificate_evidence(X509 *certificate, ee_span *out, ee_error *err) EE_MUST_USE;
ee_status eei_certificate_spki_sha256(X509 *certificate, uint8_t out[32], ee_error *err) EE_MUST_USE;

/* Collateral by FMSPC: a cache in front of a fetch that the owner provides (HTTP in the SDK, memory in the control plane).
 * Thread-safe. The fetch may block. */
typedef struct eei_collateral_source {
    /* JSON for ee_collateral_parse(). Called without locks held, from any thread. */
    ee_status (*fetch)(void *user, const eei_collateral_id *id, eei_buf *json, ee_error *err);
    void *user;
} eei_collateral_source;

/* The judge: policy, collateral, clock. Thread-safe once made. */
typedef struct eei_judge eei_judge;
ee_status eei_judge_new(const ee_policy *policy, const eei_collateral_source *source, const eei_clock *clock, eei_judge **out,
                        ee_error *err) EE_MUST_USE;
void eei_judge_free(eei_judge *judge);
eei_judge *eei_judge_ref(eei_judge *judge);
const ee_policy *eei_judge_policy(const eei_judge *judge);
/* Every refused verdict is shown to fn, on the thread that judged, with no lock held; fn may note in err where it keeps it. Set it before
 * the judge is shared. */
void eei_judge_on_refused(eei_judge *judge, void (*fn)(void *user, const ee_verdict *verdict, ee_error *err), void *user);
/* Quoted evidence against expectations; fetches collateral when it is not cached. *out also on EE_E_ATTESTATION.
 * policy: of this one question; NULL = the judge's. */
ee_status eei_judge_evidence(eei_judge *judge, ee_span evidence, const ee_policy *policy, const eei_expect *expect, ee_verdict **out,
                             ee_error *err) EE_MUST_USE;
/* A peer's certificate: its evidence, purpose CERTIFICATE, bound to its own key. Verdicts are cached by certificate hash (at most 64,
 * at most half of EEI_EVIDENCE_AGE_MAX_MS), so a reconnect costs no quote check. expect->purpose is set by this function. */
ee_status eei_judge_certificate(eei_judge *judge, X509 *certificate, const ee_policy *policy, const eei_expect *expect, ee_verdict **out,
                                ee_error *err) EE_MUST_USE;

/* A signed session statement on top of `base`, a verified verdict over the same TLS key: no quote, no collateral. It is judged by the
 * policy of its base. */
ee_status eei_judge_session(eei_judge *judge, ee_span evidence, const ee_verdict *base, const eei_expect *expect, ee_verdict **out,
                            ee_error *err) EE_MUST_USE;

/* A client SSL_CTX: TLS 1.3 only, no session cache, no tickets, peer certificate always taken and never checked against a CA: the
 * caller judges it (eei_judge_certificate) after the handshake and before the first byte. */
ee_status eei_client_ctx_new(SSL_CTX **out, ee_error *err) EE_MUST_USE;
/* Exporter of this connection with context = nonce; EE_E_STATE before the handshake is done. */
ee_status eei_tls_binder(SSL *ssl, const uint8_t nonce[32], uint8_t out[32], ee_error *err) EE_MUST_USE;
/* "TLS: ..." from OpenSSL's error queue, which is emptied. */
ee_status eei_tls_fail(ee_error *err, ee_status status, const char *what);
#endif
