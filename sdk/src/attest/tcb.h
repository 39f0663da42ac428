/* tcb.h - TCB levels of platform, TDX module and QE, and how their statuses come together. Pure comparisons over signed data;
 * no policy. Called by verify.c. Spec: Intel PCS API v4, "Get TDX TCB Info", determining the TCB status. */
#ifndef EEI_TCB_H
#define EEI_TCB_H
#include "attest/collateral.h"
#include "attest/pck.h"
#include "attest/quote.h"

/* QE report against QE identity: identity fields, debug, level. *status is NOT_SUPPORTED when no level fits. EE_E_AUTH on a mismatch. */
ee_status eei_qe_match(const eei_qe_report *report, const eei_qe_identity *identity, eei_tcb_status *status, const eei_svn_level **level,
                       ee_error *err) EE_MUST_USE;

/* TDX module against its identity. *level is NULL for module version 0, which has none. EE_E_AUTH on a mismatch or no level. */
ee_status eei_module_match(const eei_quote *quote, const eei_tcb_info *info, const eei_svn_level **level, ee_error *err) EE_MUST_USE;

/* TD 1.5: the module that runs now, which may be newer than the one the TD was launched on, is one that Intel supports. EE_E_AUTH. */
ee_status eei_tcb_now(const eei_quote *quote, const eei_pck *pck, const eei_tcb_info *info, ee_error *err) EE_MUST_USE;

typedef struct eei_tcb_result {
    eei_tcb_status status;      /* converged */
    eei_tcb_status sgx_status;  /* of the level that fits the platform alone */
    const eei_tcb_level *level; /* the TDX level */
} eei_tcb_result;
/* Platform level and convergence with module and QE (threat Q4: the worst wins). EE_E_AUTH when there is no level or it is an error. */
ee_status eei_tcb_match(const eei_quote *quote, const eei_pck *pck, const eei_tcb_info *info, const eei_svn_level *module,
                        eei_tcb_status qe_status, eei_tcb_result *out, ee_error *err) EE_MUST_USE;
#endif
