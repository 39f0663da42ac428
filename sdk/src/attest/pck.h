/* pck.h - certificate chains of the attestation PKI: PEM as it is delivered, shape and roles, trust up to the pinned root,
 * revocation, and the SGX extension of PCK certificates. Called by verify.c and collateral.c.
 * Spec: Intel SGX PCK Certificate and CRL Profile 1.6; RFC 5280. */
#ifndef EEI_PCK_H
#define EEI_PCK_H
#include "base/buf.h"

#include <openssl/x509.h>

enum { EEI_PEM_CHAIN_BYTES_MAX = 16384, EEI_CHAIN_CERTS_MAX = 4 };

typedef struct eei_chain {
    X509 *certs[EEI_CHAIN_CERTS_MAX]; /* leaf first */
    size_t count;
} eei_chain;
/* Strict PEM: nothing but certificates and line ends, canonical base64, canonical DER; one NUL at the end is allowed (DCAP puts it). */
ee_status eei_chain_parse(ee_span pem, eei_chain *out, ee_error *err) EE_MUST_USE;
/* The same; a certificate whose bytes are those of a known one is shared with it. It says nothing about trust: decoding a certificate
 * costs OpenSSL as much as three signatures, and all quotes of a network have the same CA and root. */
ee_status eei_chain_parse_known(ee_span pem, const eei_chain *const *known, size_t known_count, eei_chain *out, ee_error *err) EE_MUST_USE;
void eei_chain_clear(eei_chain *chain);

/* The anchor is the SHA-256 of the root certificate's DER. */
typedef enum eei_chain_kind { EEI_CHAIN_PCK, EEI_CHAIN_TCB_SIGNER } eei_chain_kind;
/* Shape, names, roles (CN), key and signature algorithms, CA flags, validity at now, root = anchor. No signatures yet: eei_trust_check().
 */
ee_status eei_chain_check(const eei_chain *chain, eei_chain_kind kind, const uint8_t anchor[32], uint64_t now_unix_s,
                          ee_error *err) EE_MUST_USE;

/* A CRL by itself: issued and signed by this certificate, version 2, CRL number and authority key id, in date at now. */
ee_status eei_crl_check(X509_CRL *crl, X509 *issuer, const char *what, uint64_t now_unix_s, ee_error *err) EE_MUST_USE;
/* Signatures of the whole chain up to its (already pinned) root, RFC 5280 rules, and no certificate revoked. EE_E_AUTH; *revoked says
 * that the reason is revocation. crls are the chain's issuers' CRLs. */
ee_status eei_trust_check(const eei_chain *chain, X509_CRL *const *crls, size_t crl_count, bool *revoked, ee_error *err) EE_MUST_USE;

/* What a PCK certificate says about its platform (extension 1.2.840.113741.1.13.1). */
typedef struct eei_pck {
    uint8_t ppid[16], cpusvn[16], pceid[2], fmspc[6];
    uint8_t components[16];
    uint16_t pcesvn;
    uint8_t sgx_type;
    bool has_instance; /* platform CA: PIID and configuration */
    uint8_t piid[16];
    bool platform_ca; /* by its issuer's CN */
} eei_pck;
ee_status eei_pck_parse(X509 *leaf, eei_pck *out, ee_error *err) EE_MUST_USE;
/* The extension's content alone; for the fuzzer. */
ee_status eei_pck_parse_extension(ee_span der, eei_pck *out, ee_error *err) EE_MUST_USE;
#endif
