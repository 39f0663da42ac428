/* parts.h - what a simulated platform is made of: keys, certificates, CRLs, signed texts, each made on its own. For simtdx.c, and for
 * tests that break one link at a time and sign it again. Nobody else includes it. */
#ifndef EES_SIMTDX_PARTS_H
#define EES_SIMTDX_PARTS_H
#include "base/writer.h"
#include "simtdx/simtdx.h"

#include <openssl/x509.h>

struct simtdx_root {
    EVP_PKEY *root_key, *ca_key, *tcb_key;
    X509 *root, *ca, *tcb;
    eei_buf root_der;
    uint64_t now_unix_s;
};

struct simtdx_machine {
    EVP_PKEY *pck_key; /* NULL when loaded from a file: a quote needs only what the PCK key signed once */
    EVP_PKEY *attestation_key;
    uint8_t qe_report[384], qe_report_signature[64], qe_auth_data[32];
    char *chain; /* PEM: PCK, platform CA, root */
    char label[64];
    uint8_t piid[16]; /* of a machine made here; a loaded one has it in its certificate only */
};

ee_status simtdx_key(EVP_PKEY **out, ee_error *err) EE_MUST_USE; /* P-256 */
/* ECDSA with SHA-256 as r||s. */
ee_status simtdx_sign(EVP_PKEY *key, ee_span message, uint8_t rs[64], ee_error *err) EE_MUST_USE;

typedef struct simtdx_cert {
    const char *cn;
    EVP_PKEY *key, *issuer_key;
    X509 *issuer; /* NULL: self-signed */
    bool ca;
    int pathlen; /* CAs; -1: none */
    uint64_t serial, not_before_unix_s, not_after_unix_s;
    ee_span sgx_extension; /* PCK certificates */
    const EVP_MD *md;      /* NULL: SHA-256 */
} simtdx_cert;
ee_status simtdx_cert_make(const simtdx_cert *options, X509 **out, ee_error *err) EE_MUST_USE;
ee_status simtdx_pem(X509 *const *certs, size_t count, eei_buf *out, ee_error *err) EE_MUST_USE;

typedef struct simtdx_crl {
    X509 *issuer;
    EVP_PKEY *issuer_key;
    uint64_t this_update_unix_s, next_update_unix_s; /* next 0: left out */
    const uint64_t *serials;
    size_t serial_count;
} simtdx_crl;
ee_status simtdx_crl_make(const simtdx_crl *options, eei_buf *der, ee_error *err) EE_MUST_USE;

/* SGX extension of a PCK certificate of the simulated platform. piid NULL: as under the processor CA. */
ee_status simtdx_sgx_extension(const uint8_t ppid[16], const uint8_t *piid, eei_buf *der, ee_error *err) EE_MUST_USE;

/* The texts as they are before they are signed. */
ee_status simtdx_tcb_info(const simtdx_root *root, eei_buf *out, ee_error *err) EE_MUST_USE;
ee_status simtdx_qe_identity(const simtdx_root *root, eei_buf *out, ee_error *err) EE_MUST_USE;

/* Collateral from parts; a part that is empty (NULL) is made as simtdx_root_collateral() makes it. */
typedef struct simtdx_collateral_parts {
    ee_span tcb_info, qe_identity;
    const uint8_t *tcb_info_signature, *qe_identity_signature; /* 64 */
    ee_span root_crl, pck_crl;                                 /* DER */
    ee_span tcb_chain, qe_chain, pck_chain;                    /* PEM; pck_chain only goes in when given */
} simtdx_collateral_parts;
ee_status simtdx_collateral(const simtdx_root *root, const simtdx_collateral_parts *parts, eei_buf *json, ee_error *err) EE_MUST_USE;

/* What the default TD's RTMR0 to RTMR2 hold once it has booted. */
void simtdx_boot_registers(uint8_t rtmr[3][48]);
/* A boot log's log area, piece by piece. index as it lies there: 1 to 4 are RTMR0 to RTMR3. */
void simtdx_ccel_header(eei_writer *w);
void simtdx_ccel_event(eei_writer *w, uint32_t index, uint32_t type, const uint8_t digest[48], ee_span data);
/* The ACPI table for an area of that many bytes. */
void simtdx_ccel_table(uint64_t area_bytes, uint8_t out[56]);

/* A machine with a PCK chain of the caller's. */
ee_status simtdx_machine_with(EVP_PKEY *pck_key, const char *chain_pem, const char *label, simtdx_machine **out, ee_error *err) EE_MUST_USE;

/* Sign a changed quote again: the TD report by the attestation key; the QE report by the PCK key. Quotes of simtdx_quote() only. */
ee_status simtdx_quote_resign(const simtdx_machine *machine, uint8_t *quote, size_t len, ee_error *err) EE_MUST_USE;
ee_status simtdx_quote_resign_qe(const simtdx_machine *machine, uint8_t *quote, size_t len, ee_error *err) EE_MUST_USE;
#endif
