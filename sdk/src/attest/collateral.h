/* collateral.h - collateral as delivered, split into its parts, and TCB info and QE identity once their signatures are checked.
 * Holds bytes and parsed certificates; trusts none of them: verify.c does. Called by verify.c, tcb.c and verdict.c. */
#ifndef EEI_COLLATERAL_H
#define EEI_COLLATERAL_H
#include "attest/pck.h"
#include "base/arena.h"
#include "base/encoding.h"

#include <eesdk/verify.h>

#include <stdatomic.h>

struct ee_collateral {
    atomic_uint refs;
    json_t *json;         /* as delivered; for export only */
    const char *tcb_info; /* exact signed text; borrowed from json */
    const char *qe_identity;
    uint8_t tcb_info_signature[64], qe_identity_signature[64]; /* r||s */
    eei_chain tcb_info_chain, qe_identity_chain;
    eei_chain pck_chain; /* count 0 when not delivered */
    eei_chain crl_chain; /* pck_crl_issuer_chain; only to share its certificates with quotes' chains */
    X509_CRL *root_crl, *pck_crl;
};
ee_collateral *eei_collateral_ref(const ee_collateral *collateral);

typedef enum eei_tcb_status {
    EEI_TCB_UP_TO_DATE,
    EEI_TCB_SW_HARDENING,
    EEI_TCB_CONFIG,
    EEI_TCB_CONFIG_SW_HARDENING,
    EEI_TCB_OUT_OF_DATE,
    EEI_TCB_OUT_OF_DATE_CONFIG,
    EEI_TCB_RELAUNCH,
    EEI_TCB_RELAUNCH_CONFIG,
    EEI_TCB_REVOKED,       /* never acceptable */
    EEI_TCB_NOT_SUPPORTED, /* never acceptable; also: no level fits */
} eei_tcb_status;
const char *eei_tcb_status_word(eei_tcb_status status);           /* "UpToDate" */
bool eei_tcb_status_parse(const char *word, eei_tcb_status *out); /* the words collateral and policies use */

typedef struct eei_advisories {
    const char **ids; /* from the arena */
    size_t count;
} eei_advisories;

typedef struct eei_svn_level { /* of a TDX module or the QE, highest first */
    uint16_t isvsvn;
    eei_tcb_status status;
    eei_advisories advisories;
} eei_svn_level;

typedef struct eei_tcb_level { /* of the platform, highest first */
    uint8_t sgx[16], tdx[16];
    uint16_t pcesvn;
    eei_tcb_status status;
    const char *date;
    eei_advisories advisories;
} eei_tcb_level;

typedef struct eei_tdx_module {
    uint8_t version; /* from id "TDX_xx" */
    uint8_t mrsigner[48], attributes[8], mask[8];
    eei_svn_level *levels;
    size_t level_count;
} eei_tdx_module;

typedef struct eei_tcb_info {
    uint64_t evaluation;
    uint8_t fmspc[6], pceid[2];
    eei_tdx_module module0; /* "tdxModule": for version 0, without levels */
    eei_tdx_module *modules;
    size_t module_count;
    eei_tcb_level *levels;
    size_t level_count;
} eei_tcb_info;

typedef struct eei_qe_identity {
    uint64_t evaluation;
    uint8_t miscselect[4], miscselect_mask[4], attributes[16], attributes_mask[16], mrsigner[32];
    uint16_t isvprodid;
    eei_svn_level *levels;
    size_t level_count;
} eei_qe_identity;

/* Strict reading of signed JSON; dates are checked against now. Results live in the arena. EE_E_MALFORMED, EE_E_EXPIRED, EE_E_NOMEM. */
ee_status eei_tcb_info_parse(ee_span json, uint64_t now_unix_s, eei_arena *arena, eei_tcb_info *out, ee_error *err) EE_MUST_USE;
ee_status eei_qe_identity_parse(ee_span json, uint64_t now_unix_s, eei_arena *arena, eei_qe_identity *out, ee_error *err) EE_MUST_USE;
#endif
