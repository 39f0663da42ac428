/* tcb_info.c - TCB info and QE identity, read strictly: the two documents that Intel signs. Who signed them is found out before
 * (trust.c), and what they mean for a quote after (tcb.c). Called by collateral.c.
 * Spec: Intel PCS API v4, "Get TDX TCB Info" and "Get TD QE Identity". */
#include "attest/collateral.h"
#include "attest/document.h"
#include "base/encoding.h"

#include <stdlib.h>
#include <string.h>

enum {
    LEVELS_MAX = 256, /* of one list: there is one for each ISVSVN of a module, which is a byte; Intel's have at most 11 */
    MODULES_MAX = 64, /* Intel's have 2 */
};

static const char *const status_words[] = {
    [EEI_TCB_UP_TO_DATE] = "UpToDate",
    [EEI_TCB_SW_HARDENING] = "SWHardeningNeeded",
    [EEI_TCB_CONFIG] = "ConfigurationNeeded",
    [EEI_TCB_CONFIG_SW_HARDENING] = "ConfigurationAndSWHardeningNeeded",
    [EEI_TCB_OUT_OF_DATE] = "OutOfDate",
    [EEI_TCB_OUT_OF_DATE_CONFIG] = "OutOfDateConfigurationNeeded",
    [EEI_TCB_RELAUNCH] = "TDRelaunchAdvised",
    [EEI_TCB_RELAUNCH_CONFIG] = "TDRelaunchAdvisedConfigurationNeeded",
    [EEI_TCB_REVOKED] = "Revoked",
    [EEI_TCB_NOT_SUPPORTED] = "NotSupported",
};

const char *eei_tcb_status_word(eei_tcb_status status) { return status_words[status]; }

bool eei_tcb_status_parse(const char *word, eei_tcb_status *out) {
    for (size_t i = 0; i <= EEI_TCB_REVOKED; i++) {
        if (strcmp(word, status_words[i])) continue;
        *out = (eei_tcb_status)i;
        return true;
    }
    return false;
}

/* ---- statuses and advisories ---- */

static ee_status status_value(eei_document *d, const char *name, eei_tcb_status *out) {
    const char *word = NULL;
    ee_status st = eei_doc_kept(d, &word);
    if (!st && !eei_tcb_status_parse(word, out)) st = eei_doc_wrong(d, name, "has a word that is not known");
    return st;
}

bool eei_advisory_valid(const char *id) {
    size_t len = strlen(id);
    return len && len <= EEI_ADVISORY_BYTES_MAX && strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == len;
}

static ee_status advisories_value(eei_document *d, const char *name, eei_advisories *out) {
    const char *ids[EEI_ADVISORIES_MAX];
    ee_status st = EE_OK;
    size_t count = 0;
    eei_pull_array(&d->pull);
    while (!st && eei_pull_item(&d->pull)) {
        if (d->advisories++ == EEI_ADVISORIES_ALL_MAX)
            return eei_fail(d->err, EE_E_LIMIT, "all fields \"%s\" have over %d items together", name, EEI_ADVISORIES_ALL_MAX);
        if (count == EEI_ADVISORIES_MAX) return eei_fail(d->err, EE_E_LIMIT, "field \"%s\" has over %d items", name, EEI_ADVISORIES_MAX);
        st = eei_doc_kept(d, &ids[count]);
        if (!st && !eei_advisory_valid(ids[count++])) st = eei_doc_wrong(d, name, "has an odd item");
    }
    if (!st) st = eei_doc_status(d);
    if (st || !count) return st;
    out->ids = eei_arena_alloc(d->arena, count * sizeof *out->ids);
    if (!out->ids) return eei_arena_error(d->arena, d->err);
    memcpy(out->ids, ids, count * sizeof *ids);
    out->count = count;
    return EE_OK;
}

/* ---- levels of a module or the QE ---- */

static ee_status read_isvsvn(eei_document *d, const char *name, void *into) {
    uint64_t svn = 0;
    ee_status st = eei_doc_number(d, name, UINT16_MAX, &svn);
    ((eei_svn_level *)into)->isvsvn = (uint16_t)svn;
    return st;
}
static const eei_member svn_members[] = {{"isvsvn", false, read_isvsvn}};

static ee_status read_svn_tcb(eei_document *d, const char *name, void *into) {
    (void)name;
    return EEI_READ_OBJECT(d, svn_members, into);
}
static ee_status read_svn_status(eei_document *d, const char *name, void *into) {
    return status_value(d, name, &((eei_svn_level *)into)->status);
}
static ee_status read_svn_advisories(eei_document *d, const char *name, void *into) {
    return advisories_value(d, name, &((eei_svn_level *)into)->advisories);
}
/* Not needed here, but what signs a level says since when it counts; other verifiers grant grace by it. */
static ee_status read_svn_date(eei_document *d, const char *name, void *into) {
    const char *text = NULL;
    uint64_t ignored = 0;
    (void)into;
    return eei_doc_date(d, name, &text, &ignored);
}
static const eei_member svn_level_members[] = {
    {"tcb", false, read_svn_tcb},
    {"tcbDate", false, read_svn_date},
    {"tcbStatus", false, read_svn_status},
    {"advisoryIDs", true, read_svn_advisories},
};

static int by_svn_descending(const void *a, const void *b) {
    const eei_svn_level *x = a, *y = b;
    return (x->isvsvn < y->isvsvn) - (x->isvsvn > y->isvsvn);
}

/* Levels of a module (svn up to 255) or of the QE. Only UpToDate, OutOfDate and Revoked are defined for them. */
static ee_status svn_levels(eei_document *d, const char *name, uint16_t svn_max, eei_svn_level **out, size_t *count) {
    eei_doc_list l = {0};
    ee_status st = EE_OK;
    eei_pull_array(&d->pull);
    while (!st && eei_pull_item(&d->pull)) {
        void *item = NULL;
        st = eei_doc_add(d, &l, sizeof **out, LEVELS_MAX, name, &item);
        if (!st) st = EEI_READ_OBJECT(d, svn_level_members, item);
        const eei_svn_level *level = item;
        if (!st && level->isvsvn > svn_max) st = eei_doc_wrong(d, "isvsvn", "is larger than the SVN it is compared with can be");
        if (!st && level->status != EEI_TCB_UP_TO_DATE && level->status != EEI_TCB_OUT_OF_DATE && level->status != EEI_TCB_REVOKED)
            st = eei_fail(d->err, EE_E_MALFORMED, "an isvsvn level has status %s, which is for platforms",
                          eei_tcb_status_word(level->status));
    }
    if (!st) st = eei_doc_status(d);
    if (st) return st;
    *out = l.items;
    *count = l.count;
    if (l.count) qsort(*out, *count, sizeof **out, by_svn_descending);
    for (size_t i = 1; i < *count; i++)
        if ((*out)[i].isvsvn == (*out)[i - 1].isvsvn)
            return eei_fail(d->err, EE_E_MALFORMED, "isvsvn level %u is there twice", (*out)[i].isvsvn);
    return EE_OK;
}

/* ---- levels of the platform ---- */

static ee_status read_component_svn(eei_document *d, const char *name, void *into) {
    uint64_t svn = 0;
    ee_status st = eei_doc_number(d, name, UINT8_MAX, &svn);
    *(uint8_t *)into = (uint8_t)svn;
    return st;
}
static const eei_member component_members[] = {{"svn", false, read_component_svn}};

static ee_status components(eei_document *d, const char *name, uint8_t out[16]) {
    size_t count = 0;
    ee_status st = EE_OK;
    eei_pull_array(&d->pull);
    while (!st && eei_pull_item(&d->pull)) {
        st = count < 16 ? EEI_READ_OBJECT(d, component_members, &out[count]) : eei_doc_wrong(d, name, "has over 16 items, must have 16");
        count++;
    }
    if (!st) st = eei_doc_status(d);
    if (!st && count != 16) st = eei_fail(d->err, EE_E_MALFORMED, "field \"%s\" has %zu items, must have 16", name, count);
    return st;
}

static ee_status read_sgx_components(eei_document *d, const char *name, void *into) {
    return components(d, name, ((eei_tcb_level *)into)->sgx);
}
static ee_status read_tdx_components(eei_document *d, const char *name, void *into) {
    return components(d, name, ((eei_tcb_level *)into)->tdx);
}
static ee_status read_pcesvn(eei_document *d, const char *name, void *into) {
    uint64_t svn = 0;
    ee_status st = eei_doc_number(d, name, UINT16_MAX, &svn);
    ((eei_tcb_level *)into)->pcesvn = (uint16_t)svn;
    return st;
}
static const eei_member tcb_members[] = {
    {"sgxtcbcomponents", false, read_sgx_components},
    {"tdxtcbcomponents", false, read_tdx_components},
    {"pcesvn", false, read_pcesvn},
};

static ee_status read_tcb(eei_document *d, const char *name, void *into) {
    (void)name;
    return EEI_READ_OBJECT(d, tcb_members, into);
}
static ee_status read_tcb_date(eei_document *d, const char *name, void *into) {
    uint64_t ignored = 0;
    return eei_doc_date(d, name, &((eei_tcb_level *)into)->date, &ignored);
}
static ee_status read_tcb_status(eei_document *d, const char *name, void *into) {
    return status_value(d, name, &((eei_tcb_level *)into)->status);
}
static ee_status read_tcb_advisories(eei_document *d, const char *name, void *into) {
    return advisories_value(d, name, &((eei_tcb_level *)into)->advisories);
}
static const eei_member tcb_level_members[] = {
    {"tcb", false, read_tcb},
    {"tcbDate", false, read_tcb_date},
    {"tcbStatus", false, read_tcb_status},
    {"advisoryIDs", true, read_tcb_advisories},
};

static int by_tcb_descending(const void *a, const void *b) {
    const eei_tcb_level *x = a, *y = b;
    int order = memcmp(y->sgx, x->sgx, 16);
    if (!order) order = (x->pcesvn < y->pcesvn) - (x->pcesvn > y->pcesvn);
    return order ? order : memcmp(y->tdx, x->tdx, 16);
}

static ee_status read_tcb_levels(eei_document *d, const char *name, void *into) {
    eei_tcb_info *info = into;
    eei_doc_list l = {0};
    ee_status st = EE_OK;
    eei_pull_array(&d->pull);
    while (!st && eei_pull_item(&d->pull)) {
        void *item = NULL;
        st = eei_doc_add(d, &l, sizeof *info->levels, LEVELS_MAX, name, &item);
        if (!st) st = EEI_READ_OBJECT(d, tcb_level_members, item);
    }
    if (!st) st = eei_doc_status(d);
    if (!st && (!l.items || !l.count)) return eei_doc_wrong(d, name, "is empty");
    if (st) return st;
    info->levels = l.items;
    info->level_count = l.count;
    /* The order in the JSON means nothing; a verifier that trusts it can be led to a lower level. */
    qsort(info->levels, info->level_count, sizeof *info->levels, by_tcb_descending);
    for (size_t i = 1; i < info->level_count; i++)
        if (!by_tcb_descending(&info->levels[i - 1], &info->levels[i])) return eei_doc_wrong(d, name, "has a level twice");
    return EE_OK;
}

/* ---- modules ---- */

static ee_status read_mrsigner(eei_document *d, const char *name, void *into) {
    return eei_doc_hex(d, name, ((eei_tdx_module *)into)->mrsigner, 48);
}
static ee_status read_attributes(eei_document *d, const char *name, void *into) {
    return eei_doc_hex(d, name, ((eei_tdx_module *)into)->attributes, 8);
}
static ee_status read_attributes_mask(eei_document *d, const char *name, void *into) {
    return eei_doc_hex(d, name, ((eei_tdx_module *)into)->mask, 8);
}
/* "TDX_01": four characters, then two hex digits. */
static ee_status read_module_id(eei_document *d, const char *name, void *into) {
    const char *id = NULL;
    ee_status st = eei_doc_kept(d, &id);
    if (!st && (strncasecmp(id, "TDX_", 4) || eei_hex_decode(id + 4, &((eei_tdx_module *)into)->version, 1, NULL)))
        st = eei_doc_wrong(d, name, "of a TDX module is not TDX_ and two hex digits");
    return st;
}
static ee_status read_module_levels(eei_document *d, const char *name, void *into) {
    eei_tdx_module *module = into;
    return svn_levels(d, name, UINT8_MAX, &module->levels, &module->level_count);
}
static const eei_member module_members[] = {
    {"mrsigner", false, read_mrsigner},
    {"attributes", false, read_attributes},
    {"attributesMask", false, read_attributes_mask},
};
static const eei_member identity_members[] = {
    {"id", false, read_module_id},
    {"mrsigner", false, read_mrsigner},
    {"attributes", false, read_attributes},
    {"attributesMask", false, read_attributes_mask},
    {"tcbLevels", false, read_module_levels},
};

static ee_status read_module0(eei_document *d, const char *name, void *into) {
    (void)name;
    return EEI_READ_OBJECT(d, module_members, &((eei_tcb_info *)into)->module0);
}

static ee_status read_modules(eei_document *d, const char *name, void *into) {
    eei_tcb_info *info = into;
    eei_doc_list l = {0};
    ee_status st = EE_OK;
    eei_pull_array(&d->pull);
    while (!st && eei_pull_item(&d->pull)) {
        void *item = NULL;
        st = eei_doc_add(d, &l, sizeof *info->modules, MODULES_MAX, name, &item);
        if (!st) st = EEI_READ_OBJECT(d, identity_members, item);
        const eei_tdx_module *all = l.items;
        for (size_t k = 0; !st && k + 1 < l.count; k++)
            if (all[k].version == all[l.count - 1].version)
                st = eei_fail(d->err, EE_E_MALFORMED, "TDX module TDX_%02X is there twice", all[k].version);
    }
    info->modules = l.items;
    info->module_count = l.count;
    return st ? st : eei_doc_status(d);
}

/* ---- documents ---- */

/* issueDate rounds up and nextUpdate down: within both, to the second. */
static ee_status issue_date(eei_document *d, const char *name, uint64_t *out_s) {
    const char *text = NULL;
    uint64_t ms = 0;
    ee_status st = eei_doc_date(d, name, &text, &ms);
    *out_s = (ms + 999) / 1000;
    return st;
}
static ee_status next_update(eei_document *d, const char *name, uint64_t *out_s) {
    const char *text = NULL;
    uint64_t ms = 0;
    ee_status st = eei_doc_date(d, name, &text, &ms);
    *out_s = ms / 1000;
    return st;
}

#define INFO_FIELD(field, expression)                                                                                                      \
    static ee_status info_##field(eei_document *d, const char *name, void *into) {                                                         \
        eei_tcb_info *info = into;                                                                                                         \
        (void)info;                                                                                                                        \
        return expression;                                                                                                                 \
    }
INFO_FIELD(id, eei_doc_exact_text(d, name, "TDX"))
INFO_FIELD(version, eei_doc_exact_number(d, name, 3))
INFO_FIELD(type, eei_doc_exact_number(d, name, 0))
INFO_FIELD(issued, issue_date(d, name, &info->issued_s))
INFO_FIELD(next, next_update(d, name, &info->next_update_s))
INFO_FIELD(evaluation, eei_doc_number(d, name, UINT32_MAX, &info->evaluation))
INFO_FIELD(fmspc, eei_doc_hex(d, name, info->fmspc, 6))
INFO_FIELD(pceid, eei_doc_hex(d, name, info->pceid, 2))

static const eei_member tcb_info_members[] = {
    {"id", false, info_id},
    {"version", false, info_version},
    {"tcbType", false, info_type},
    {"issueDate", false, info_issued},
    {"nextUpdate", false, info_next},
    {"tcbEvaluationDataNumber", false, info_evaluation},
    {"fmspc", false, info_fmspc},
    {"pceId", false, info_pceid},
    {"tdxModule", false, read_module0},
    {"tdxModuleIdentities", true, read_modules},
    {"tcbLevels", false, read_tcb_levels},
};

ee_status eei_tcb_info_parse(ee_span json, eei_arena *arena, eei_tcb_info *out, ee_error *err) {
    eei_document d = {.arena = arena, .err = err};
    memset(out, 0, sizeof *out);
    return eei_doc_named(&d, EEI_READ_DOCUMENT(&d, json, tcb_info_members, out), "TCB info");
}

#define QE_FIELD(field, expression)                                                                                                        \
    static ee_status qe_##field(eei_document *d, const char *name, void *into) {                                                           \
        eei_qe_identity *qe = into;                                                                                                        \
        (void)qe;                                                                                                                          \
        return expression;                                                                                                                 \
    }
QE_FIELD(id, eei_doc_exact_text(d, name, "TD_QE"))
QE_FIELD(version, eei_doc_exact_number(d, name, 2))
QE_FIELD(issued, issue_date(d, name, &qe->issued_s))
QE_FIELD(next, next_update(d, name, &qe->next_update_s))
QE_FIELD(evaluation, eei_doc_number(d, name, UINT32_MAX, &qe->evaluation))
/* Hex of the bytes as they lie in the report, not of a number. */
QE_FIELD(miscselect, eei_doc_hex(d, name, qe->miscselect, 4))
QE_FIELD(miscselect_mask, eei_doc_hex(d, name, qe->miscselect_mask, 4))
QE_FIELD(attributes, eei_doc_hex(d, name, qe->attributes, 16))
QE_FIELD(attributes_mask, eei_doc_hex(d, name, qe->attributes_mask, 16))
QE_FIELD(mrsigner, eei_doc_hex(d, name, qe->mrsigner, 32))
QE_FIELD(levels, svn_levels(d, name, UINT16_MAX, &qe->levels, &qe->level_count))

static ee_status qe_isvprodid(eei_document *d, const char *name, void *into) {
    uint64_t id = 0;
    ee_status st = eei_doc_number(d, name, UINT16_MAX, &id);
    ((eei_qe_identity *)into)->isvprodid = (uint16_t)id;
    return st;
}

static const eei_member qe_identity_members[] = {
    {"id", false, qe_id},
    {"version", false, qe_version},
    {"issueDate", false, qe_issued},
    {"nextUpdate", false, qe_next},
    {"tcbEvaluationDataNumber", false, qe_evaluation},
    {"miscselect", false, qe_miscselect},
    {"miscselectMask", false, qe_miscselect_mask},
    {"attributes", false, qe_attributes},
    {"attributesMask", false, qe_attributes_mask},
    {"mrsigner", false, qe_mrsigner},
    {"isvprodid", false, qe_isvprodid},
    {"tcbLevels", false, qe_levels},
};

ee_status eei_qe_identity_parse(ee_span json, eei_arena *arena, eei_qe_identity *out, ee_error *err) {
    eei_document d = {.arena = arena, .err = err};
    memset(out, 0, sizeof *out);
    return eei_doc_named(&d, EEI_READ_DOCUMENT(&d, json, qe_identity_members, out), "QE identity");
}
