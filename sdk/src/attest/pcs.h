/* pcs.h - collateral on its way: what is asked of an Intel PCS or a PCCS, its answers put together into the JSON that ee_collateral_parse()
 * takes, and for which platforms and until when the whole is good. Pure: no network, no clock. Nothing is trusted by it: a verifier checks
 * everything again under its policy. Called by net (pccs.c, collateral_cache.c), client and the fuzzer.
 * Spec: Intel SGX and TDX Provisioning Certification Service API, version 4. */
#ifndef EEI_PCS_H
#define EEI_PCS_H
#include "attest/evidence.h"

#define EEI_PCS_INTEL_ROOT_CRL "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der" /* the PCS itself does not have it */

enum { EEI_PCS_PATH_MAX = 96 };

typedef enum eei_pcs_part { EEI_PCS_TCB_INFO, EEI_PCS_QE_IDENTITY, EEI_PCS_PCK_CRL, EEI_PCS_ROOT_CRL, EEI_PCS_PARTS } eei_pcs_part;
const char *eei_pcs_name(eei_pcs_part part);   /* "TCB info" */
const char *eei_pcs_header(eei_pcs_part part); /* of the issuer chain; NULL when it has none */
size_t eei_pcs_body_max(eei_pcs_part part);
/* "/tdx/certification/v4/tcb?fmspc=..." */
void eei_pcs_path(eei_pcs_part part, const eei_collateral_id *id, char out[EEI_PCS_PATH_MAX]);

typedef struct eei_pcs_answer {
    const char *content_type;
    ee_span chain; /* value of the part's header, percent-encoded */
    ee_span body;
} eei_pcs_answer;
/* What can be told of one answer without reading it: is it of the right type, and with its header? EE_E_MALFORMED. */
ee_status eei_pcs_answer_check(eei_pcs_part part, const eei_pcs_answer *answer, ee_error *err) EE_MUST_USE;
/* All of them into one collateral JSON. The signed texts are cut out of their bodies as they lie there. EE_E_MALFORMED, EE_E_LIMIT. */
ee_status eei_pcs_assemble(const eei_pcs_answer answers[EEI_PCS_PARTS], eei_buf *json, ee_error *err) EE_MUST_USE;

/* What collateral says of itself once its own signatures hold. */
typedef struct eei_collateral_terms {
    eei_collateral_id id;     /* the platforms it is for; root: of all its chains */
    uint64_t from_s, until_s; /* everything in it is valid then, both ends included: issue dates to the earliest nextUpdate or notAfter */
    const char *from_what, *until_what; /* what bounds it, "TCB info"; static */
} eei_collateral_terms;
/* EE_E_ATTESTATION when it is not signed throughout under one root, EE_E_MALFORMED, EE_E_LIMIT, EE_E_NOMEM. The cost is five signatures. */
ee_status eei_collateral_terms_of(const ee_collateral *collateral, eei_collateral_terms *out, ee_error *err) EE_MUST_USE;
ee_status eei_collateral_terms_read(ee_span json, eei_collateral_terms *out, ee_error *err) EE_MUST_USE;
/* Is it for this platform, under this root (unless that is all zero: any), and good now? EE_E_ATTESTATION, EE_E_EXPIRED. */
ee_status eei_collateral_terms_fit(const eei_collateral_terms *terms, const eei_collateral_id *id, uint64_t now_unix_s,
                                   ee_error *err) EE_MUST_USE;
#endif
