/* tcb.c - TCB matching and convergence, as Intel's verifier does it. Pure. Called by verify.c.
 * Spec: Intel PCS API v4, "Get TDX TCB Info"; TD relaunch as in Intel's quote verification library. */
#include "attest/tcb.h"

#include <string.h>

static bool masked_equal(const uint8_t *value, const uint8_t *mask, const uint8_t *want, size_t len) {
    for (size_t i = 0; i < len; i++)
        if ((value[i] & mask[i]) != want[i]) return false;
    return true;
}

/* Levels are sorted highest first: the first that is not above svn. */
static const eei_svn_level *find_svn_level(const eei_svn_level *levels, size_t count, uint16_t svn) {
    for (size_t i = 0; i < count; i++)
        if (levels[i].isvsvn <= svn) return &levels[i];
    return NULL;
}

ee_status eei_qe_match(const eei_qe_report *report, const eei_qe_identity *identity, eei_tcb_status *status, const eei_svn_level **level,
                       ee_error *err) {
    *status = EEI_TCB_NOT_SUPPORTED;
    *level = NULL;
    if (!masked_equal(report->miscselect, identity->miscselect_mask, identity->miscselect, 4))
        return eei_fail(err, EE_E_AUTH, "the quoting enclave's MISCSELECT is not the one in its signed identity");
    if (report->attributes[0] & 2) return eei_fail(err, EE_E_AUTH, "the quoting enclave is a debug enclave"); /* whatever the mask says */
    if (!masked_equal(report->attributes, identity->attributes_mask, identity->attributes, 16))
        return eei_fail(err, EE_E_AUTH, "the quoting enclave's ATTRIBUTES are not the ones in its signed identity");
    if (memcmp(report->mrsigner, identity->mrsigner, 32))
        return eei_fail(err, EE_E_AUTH, "the quoting enclave has another signer than its signed identity");
    if (report->isvprodid != identity->isvprodid)
        return eei_fail(err, EE_E_AUTH, "the quoting enclave's ISVPRODID is %u, must be %u", report->isvprodid, identity->isvprodid);
    *level = find_svn_level(identity->levels, identity->level_count, report->isvsvn);
    if (!*level) return eei_fail(err, EE_E_AUTH, "the quoting enclave's ISVSVN %u is below every supported level", report->isvsvn);
    *status = (*level)->status;
    return EE_OK;
}

static const eei_tdx_module *find_module(const eei_tcb_info *info, uint8_t version) {
    for (size_t i = 0; i < info->module_count; i++)
        if (info->modules[i].version == version) return &info->modules[i];
    return NULL;
}

/* The level of the module that these SVNs name; NULL for version 0, which has none. */
static ee_status module_level(const uint8_t svn[16], const eei_tcb_info *info, const eei_tdx_module **module, const eei_svn_level **level,
                              ee_error *err) {
    *level = NULL;
    *module = svn[1] ? find_module(info, svn[1]) : &info->module0;
    if (!*module) return eei_fail(err, EE_E_AUTH, "TCB info does not know TDX module TDX_%02X", svn[1]);
    if (!svn[1]) return EE_OK;
    *level = find_svn_level((*module)->levels, (*module)->level_count, svn[0]);
    if (!*level) return eei_fail(err, EE_E_AUTH, "TDX module TDX_%02X with ISVSVN %u is below every supported level", svn[1], svn[0]);
    return EE_OK;
}

ee_status eei_module_match(const eei_quote *quote, const eei_tcb_info *info, const eei_svn_level **level, ee_error *err) {
    static const uint8_t zeros[8];
    uint8_t version = quote->tee_tcb_svn[1];
    const eei_tdx_module *module = NULL;
    const eei_svn_level *found = NULL;
    ee_status below = module_level(quote->tee_tcb_svn, info, &module, &found, err);
    *level = NULL;
    if (!module) return below;
    if (memcmp(quote->mr_signer_seam, module->mrsigner, 48))
        return eei_fail(err, EE_E_AUTH, "the TDX module has another signer than TDX_%02X", version);
    if (memcmp(quote->seam_attributes, zeros, 8))
        return eei_fail(err, EE_E_AUTH, "SEAM attributes are not zero: the TDX module is in a debug mode");
    if (!masked_equal(quote->seam_attributes, module->mask, module->attributes, 8))
        return eei_fail(err, EE_E_AUTH, "SEAM attributes are not the ones of TDX_%02X", version);
    if (!below) *level = found;
    return below;
}

/* ---- platform ---- */

static bool sgx_fits(const eei_tcb_level *level, const eei_pck *pck) {
    for (size_t i = 0; i < 16; i++)
        if (pck->components[i] < level->sgx[i]) return false;
    return pck->pcesvn >= level->pcesvn;
}

/* With a module version the first two components are the module's own SVNs, and its identity judges them. */
static bool tdx_fits(const eei_tcb_level *level, const uint8_t svn[16]) {
    for (size_t i = svn[1] ? 2 : 0; i < 16; i++)
        if (svn[i] < level->tdx[i]) return false;
    return true;
}

/* TEE_TCB_SVN is the module at launch, TEE_TCB_SVN2 the one that runs now, after updates that left the TD alive. Intel's verifier looks at
 * the second only to advise a relaunch; a TD that now runs on a module that is unknown, unsupported or revoked is refused here. */
ee_status eei_tcb_now(const eei_quote *quote, const eei_pck *pck, const eei_tcb_info *info, ee_error *err) {
    const eei_tdx_module *module = NULL;
    const eei_svn_level *level = NULL;
    const uint8_t *svn = quote->tee_tcb_svn2;
    if (quote->body_type != EEI_BODY_TD15 || !memcmp(svn, quote->tee_tcb_svn, 16)) return EE_OK;
    ee_status st = module_level(svn, info, &module, &level, err);
    if (!st && level && level->status == EEI_TCB_REVOKED)
        st = eei_fail(err, EE_E_AUTH, "TDX module TDX_%02X ISVSVN %u is revoked", svn[1], svn[0]);
    for (size_t i = 0; !st && i < info->level_count; i++)
        if (sgx_fits(&info->levels[i], pck) && tdx_fits(&info->levels[i], svn)) return EE_OK;
    if (!st) st = eei_fail(err, EE_E_AUTH, "it is below every TCB level of its TCB info");
    return eei_prefix(err, st, "the TDX module that runs now (TEE_TCB_SVN2)");
}

/* OutOfDate of the module or of the QE, on top of what the platform has. */
static eei_tcb_status with_out_of_date(eei_tcb_status status) {
    switch (status) {
    case EEI_TCB_UP_TO_DATE:
    case EEI_TCB_SW_HARDENING: return EEI_TCB_OUT_OF_DATE;
    case EEI_TCB_CONFIG:
    case EEI_TCB_CONFIG_SW_HARDENING: return EEI_TCB_OUT_OF_DATE_CONFIG;
    default: return status; /* out of date or worse already; relaunch is decided only when the QE is up to date */
    }
}

static eei_tcb_status converge(eei_tcb_status status, eei_tcb_status other) {
    if (status == EEI_TCB_REVOKED || other == EEI_TCB_REVOKED) return EEI_TCB_REVOKED;
    if (other == EEI_TCB_OUT_OF_DATE) return with_out_of_date(status);
    return other == EEI_TCB_UP_TO_DATE ? status : EEI_TCB_NOT_SUPPORTED;
}

static bool has_configuration(eei_tcb_status status) {
    return status == EEI_TCB_CONFIG || status == EEI_TCB_CONFIG_SW_HARDENING || status == EEI_TCB_OUT_OF_DATE_CONFIG;
}

/* What the TD would have if it were started now. */
static eei_tcb_status status_now(const eei_quote *quote, const eei_pck *pck, const eei_tcb_info *info) {
    const eei_tdx_module *module = NULL;
    const eei_svn_level *level = NULL;
    const uint8_t *svn = quote->tee_tcb_svn2;
    if (module_level(svn, info, &module, &level, NULL)) return EEI_TCB_NOT_SUPPORTED;
    for (size_t i = 0; i < info->level_count; i++)
        if (sgx_fits(&info->levels[i], pck) && tdx_fits(&info->levels[i], svn))
            return level ? converge(info->levels[i].status, level->status) : info->levels[i].status;
    return EEI_TCB_NOT_SUPPORTED;
}

/* The platform has been updated since this TD was started (TEE_TCB_SVN2 is the module that runs now): relaunching the TD is enough. Intel's
 * verifier asked whether the newest module runs until 2026, and asks since then whether what runs is up to date. Here both must be so. */
static ee_status relaunch(const eei_quote *quote, const eei_pck *pck, const eei_tcb_info *info, const eei_svn_level *module,
                          eei_tcb_status qe_status, eei_tcb_result *r, ee_error *err) {
    const uint8_t *now = quote->tee_tcb_svn2;
    const eei_tcb_level *top = &info->levels[0];
    uint8_t least = top->tdx[0];
    if (quote->body_type != EEI_BODY_TD15 || qe_status != EEI_TCB_UP_TO_DATE || r->sgx_status > EEI_TCB_CONFIG_SW_HARDENING ||
        (r->status != EEI_TCB_OUT_OF_DATE && r->status != EEI_TCB_OUT_OF_DATE_CONFIG) || !module || module->status != EEI_TCB_OUT_OF_DATE)
        return EE_OK;
    if (now[1]) {
        const eei_tdx_module *identity = find_module(info, now[1]);
        if (!identity || !identity->level_count)
            return eei_fail(err, EE_E_AUTH, "TCB info does not know TDX module TDX_%02X (TEE_TCB_SVN2)", now[1]);
        least = (uint8_t)identity->levels[0].isvsvn;
    }
    eei_tcb_status after = status_now(quote, pck, info);
    if (now[0] < least || now[2] < top->tdx[2] || after > EEI_TCB_CONFIG_SW_HARDENING) return EE_OK;
    bool configuration = has_configuration(r->sgx_status) || has_configuration(r->status) || has_configuration(after);
    r->status = configuration ? EEI_TCB_RELAUNCH_CONFIG : EEI_TCB_RELAUNCH;
    return EE_OK;
}

ee_status eei_tcb_match(const eei_quote *quote, const eei_pck *pck, const eei_tcb_info *info, const eei_svn_level *module,
                        eei_tcb_status qe_status, eei_tcb_result *out, ee_error *err) {
    const eei_tcb_level *sgx = NULL, *tdx = NULL;
    memset(out, 0, sizeof *out);
    out->status = out->sgx_status = EEI_TCB_NOT_SUPPORTED;
    for (size_t i = 0; i < info->level_count && !tdx; i++) {
        const eei_tcb_level *level = &info->levels[i];
        if (!sgx_fits(level, pck)) continue;
        if (!sgx) sgx = level;
        if (tdx_fits(level, quote->tee_tcb_svn)) tdx = level;
    }
    if (!sgx) return eei_fail(err, EE_E_AUTH, "the platform's SVNs are below every TCB level of its TCB info");
    if (!tdx) return eei_fail(err, EE_E_AUTH, "the TD's TEE_TCB_SVN is below every TCB level of its TCB info");
    out->level = tdx;
    out->sgx_status = sgx->status;
    out->status = tdx->status;
    if (module) out->status = converge(out->status, module->status);
    ee_status st = relaunch(quote, pck, info, module, qe_status, out, err);
    if (st) return st;
    out->status = converge(out->status, qe_status);
    return EE_OK;
}
