/* liar.c - linked, with the liar_*.c beside it, into a real ee-agent, ee-controlplane or ee-uptime (CMakeLists.txt) and makes it lie in one
 * thing, which the variable LIE names. All else is the program's own, and true. The linker's --wrap puts these in front of the functions
 * they are named after.
 *
 *   LIE=quote   the certificate's evidence has one byte of its quote changed
 *   LIE=key     the evidence is genuine, but names another TLS key than the certificate's
 */
#include "liar.h"

#include "attest/evidence.h"
#include "attest/quote.h"
#include "base/limits.h"
#include "ratls/ratls.h"

ee_status __real_eei_certificate_make(const eei_certificate_options *options, X509 **out, ee_error *err) EE_MUST_USE;
ee_status __wrap_eei_certificate_make(const eei_certificate_options *options, X509 **out, ee_error *err) EE_MUST_USE;
int __real_i2d_PUBKEY(const EVP_PKEY *key, unsigned char **out);
int __wrap_i2d_PUBKEY(const EVP_PKEY *key, unsigned char **out);

/* Inside the signed part, so that only the quote's own signature can tell. */
static ee_status change_quote(ee_span evidence, eei_buf *out, ee_error *err) {
    eei_arena arena = EEI_ARENA_INIT(EEI_EVIDENCE_BYTES_MAX);
    eei_buf copy = EEI_BUF_INIT(EEI_QUOTE_BYTES_MAX);
    eei_evidence e;
    ee_status st = eei_evidence_decode(evidence, &arena, &e, err);
    if (!st) st = eei_buf_append(&copy, e.quote.data, e.quote.len);
    if (!st) {
        copy.data[EEI_QUOTE_HEADER_BYTES + 20] ^= 1; /* of MRSEAM */
        e.quote = eei_buf_span(&copy);
        st = eei_evidence_encode(&e, out, err);
    }
    eei_buf_clear(&copy);
    eei_arena_clear(&arena);
    return st;
}

ee_status __wrap_eei_certificate_make(const eei_certificate_options *options, X509 **out, ee_error *err) {
    eei_certificate_options changed = *options;
    eei_buf evidence = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    ee_status st = EE_OK;
    if (lies_about("quote")) {
        st = change_quote(options->evidence, &evidence, err);
        changed.evidence = eei_buf_span(&evidence);
    }
    if (!st) st = __real_eei_certificate_make(&changed, out, err);
    eei_buf_clear(&evidence);
    return st;
}

/* The prover's first act is to hash its TLS key for its statements. It gets another key's bytes, and everything is quoted over those. */
int __wrap_i2d_PUBKEY(const EVP_PKEY *key, unsigned char **out) {
    static bool lied;
    if (lied || !lies_about("key")) return __real_i2d_PUBKEY(key, out);
    lied = true;
    EVP_PKEY *another = EVP_EC_gen("P-256");
    int len = another ? __real_i2d_PUBKEY(another, out) : -1;
    EVP_PKEY_free(another);
    return len;
}
