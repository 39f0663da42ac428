/* pck.h - what a PCK certificate says about its platform: ids and SVNs. Trusts nothing and judges nothing: by the time it is read,
 * trust.c has checked the certificate. Called by verify.c and for collateral ids.
 * Spec: Intel SGX PCK Certificate and CRL Profile 1.6, SGX extensions. */
#ifndef EEI_PCK_H
#define EEI_PCK_H
#include "attest/x509.h"

typedef struct eei_pck {
    uint8_t ppid[16], cpusvn[16], pceid[2], fmspc[6];
    uint8_t components[16];
    uint16_t pcesvn;
    uint8_t sgx_type;
    bool has_instance; /* platform CA: PIID and configuration */
    uint8_t piid[16];
    bool platform_ca; /* by its issuer's CN */
} eei_pck;
ee_status eei_pck_parse(const eei_cert *leaf, eei_pck *out, ee_error *err) EE_MUST_USE;
/* What a policy and a genesis file pin: the platform instance id, else the PPID. 16 bytes. */
const uint8_t *eei_pck_machine_id(const eei_pck *pck);
/* The extension's content alone; for the fuzzer. */
ee_status eei_pck_parse_extension(ee_span der, eei_pck *out, ee_error *err) EE_MUST_USE;
#endif
