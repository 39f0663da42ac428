/* x509.h - certificates and CRLs of Intel's attestation PKI, read strictly into plain structs. One profile is known: version 3, P-256,
 * ECDSA with SHA-256, canonical DER; nothing else is read at all. Says what is written there, not whether it is true: trust.c does.
 * Not for TLS certificates (ratls). Called by chain.c, collateral.c, trust.c and policy_file.c. Why not OpenSSL's reader:
 * docs/adr/0016-own-certificate-reader.md. Spec: Intel SGX PCK Certificate and CRL Profile 1.6; RFC 5280. */
#ifndef EEI_X509_H
#define EEI_X509_H
#include "base/buf.h"

enum {
    EEI_CERT_BYTES_MAX = 8192, /* the largest seen, a PCK certificate, has 1,270 */
    EEI_CERT_CN_MAX = 64,      /* RFC 5280 appendix A: ub-common-name */
};

/* Bits of key_usage: 1u << the number in RFC 5280 sect. 4.2.1.3. */
enum { EEI_USAGE_SIGNATURE = 1u << 0, EEI_USAGE_CERT_SIGN = 1u << 5, EEI_USAGE_CRL_SIGN = 1u << 6 };

/* Spans borrow from the bytes that were read. */
typedef struct eei_cert {
    ee_span der, tbs;
    ee_span serial; /* content of the INTEGER */
    ee_span issuer, subject;
    char issuer_cn[EEI_CERT_CN_MAX + 1], subject_cn[EEI_CERT_CN_MAX + 1]; /* "" when there is not exactly one, of printable ASCII */
    uint64_t not_before_s, not_after_s;
    uint8_t key[64];       /* x||y; not known to be on the curve */
    uint8_t signature[64]; /* r||s, over tbs */
    bool has_constraints, is_ca, constraints_critical;
    int path_len; /* -1: no limit */
    bool has_usage;
    unsigned usage;
    ee_span key_id, authority_key_id; /* {NULL, 0} when absent */
    ee_span sgx;                      /* the SGX extension's value, 1.2.840.113741.1.13.1 */
} eei_cert;

/* The whole input must be one certificate. EE_E_MALFORMED says which part does not fit. */
ee_status eei_cert_parse(ee_span der, eei_cert *out, ee_error *err) EE_MUST_USE;

typedef struct eei_crl {
    ee_span der, tbs;
    ee_span issuer;
    uint64_t this_update_s, next_update_s;
    uint8_t signature[64];
    ee_span authority_key_id, number;
    ee_span revoked; /* entries, all of which parse */
} eei_crl;

/* The whole input must be one complete version 2 CRL with number, authority key id and nextUpdate. */
ee_status eei_crl_parse(ee_span der, eei_crl *out, ee_error *err) EE_MUST_USE;
bool eei_crl_lists(const eei_crl *crl, ee_span serial);
#endif
