/* collateral.c - collateral JSON into its parts, and the strict reading of TCB info and QE identity. No signatures, no judgement.
 * Called by the public API and verify.c. Spec: Intel PCS API v4, "Get TDX TCB Info", "Get TD QE Identity". */
#include "attest/collateral.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS_MAX = 256, MODULES_MAX = 64, ADVISORIES_MAX = 64, ADVISORY_BYTES_MAX = 64 };

/* ---- the envelope ---- */

static ee_status named(ee_error *err, ee_status st, const char *field) { return st == EE_E_NOMEM ? st : eei_prefix(err, st, field); }

static ee_status chain_field(const json_t *json, const char *field, bool optional, const eei_chain *known, eei_chain *out, ee_error *err) {
    const char *pem = NULL;
    ee_status st = optional ? eei_json_string_opt(json, field, &pem, err) : eei_json_string(json, field, &pem, err);
    if (st || !pem) return st;
    st = eei_chain_parse_known(eei_span_text(pem), &known, known ? 1 : 0, out, err);
    return st ? named(err, st, field) : EE_OK;
}

static ee_status crl_from_der(ee_span der, X509_CRL **out, ee_error *err) {
    const unsigned char *at = der.data;
    unsigned char *again = NULL;
    X509_CRL *crl = d2i_X509_CRL(NULL, &at, (long)der.len);
    int len = crl ? i2d_X509_CRL(crl, &again) : 0;
    bool exact = len > 0 && at == der.data + der.len && (size_t)len == der.len && !memcmp(again, der.data, der.len);
    OPENSSL_free(again);
    if (!exact) {
        X509_CRL_free(crl);
        return eei_fail(err, EE_E_MALFORMED, "a CRL of %zu bytes is not in DER form", der.len);
    }
    *out = crl;
    return EE_OK;
}

static ee_status crl_field(const json_t *json, const char *field, X509_CRL **out, ee_error *err) {
    const char *hex = NULL;
    eei_buf der = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX / 2);
    ee_status st = eei_json_string(json, field, &hex, err);
    if (!st) st = eei_hex_append(eei_span_text(hex), &der, err);
    if (!st) st = crl_from_der(eei_buf_span(&der), out, err);
    eei_buf_clear(&der);
    return st ? named(err, st, field) : EE_OK;
}

static ee_status signature_field(const json_t *json, const char *field, uint8_t out[64], ee_error *err) {
    const char *hex = NULL;
    ee_status st = eei_json_string(json, field, &hex, err);
    if (!st) st = eei_hex_decode(hex, out, 64, err);
    return st ? named(err, st, field) : EE_OK;
}

static ee_status fill(ee_collateral *c, ee_error *err) {
    const json_t *json = c->json;
    ee_status st = EE_OK;
    ee_error ignored = {0};
    if (!json_is_object(json)) return eei_fail(err, EE_E_MALFORMED, "must be a JSON object");
    /* Nothing hangs on it, so it may be anything: the PCK CRL is checked against the CA of the quote's own chain. */
    if (chain_field(json, "pck_crl_issuer_chain", true, NULL, &c->crl_chain, &ignored) == EE_E_NOMEM) return eei_nomem(err);
    st = crl_field(json, "root_ca_crl", &c->root_crl, err);
    if (!st) st = crl_field(json, "pck_crl", &c->pck_crl, err);
    if (!st) st = chain_field(json, "tcb_info_issuer_chain", false, &c->crl_chain, &c->tcb_info_chain, err);
    if (!st) st = eei_json_string(json, "tcb_info", &c->tcb_info, err);
    if (!st) st = signature_field(json, "tcb_info_signature", c->tcb_info_signature, err);
    if (!st) st = chain_field(json, "qe_identity_issuer_chain", false, &c->tcb_info_chain, &c->qe_identity_chain, err);
    if (!st) st = eei_json_string(json, "qe_identity", &c->qe_identity, err);
    if (!st) st = signature_field(json, "qe_identity_signature", c->qe_identity_signature, err);
    if (!st) st = chain_field(json, "pck_certificate_chain", true, &c->crl_chain, &c->pck_chain, err);
    return st;
}

ee_status ee_collateral_parse(ee_span json, ee_collateral **out, ee_error *err) {
    if (!out) return eei_fail(err, EE_E_INVALID, "out is NULL");
    *out = NULL;
    ee_collateral *c = eei_calloc(1, sizeof *c);
    if (!c) return eei_nomem(err);
    atomic_init(&c->refs, 1);
    ERR_set_mark();
    ee_status st = eei_json_parse(json, EEI_COLLATERAL_BYTES_MAX, &c->json, err);
    if (!st) st = fill(c, err);
    ERR_pop_to_mark();
    if (st) {
        if (st != EE_E_NOMEM) eei_prefix(err, st, "collateral");
        ee_collateral_free(c);
        return st;
    }
    *out = c;
    return EE_OK;
}

ee_collateral *eei_collateral_ref(const ee_collateral *collateral) {
    ee_collateral *c = (ee_collateral *)(uintptr_t)collateral; /* immutable but for its count */
    if (c) atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void ee_collateral_free(ee_collateral *collateral) {
    if (!collateral || atomic_fetch_sub_explicit(&collateral->refs, 1, memory_order_acq_rel) != 1) return;
    eei_chain_clear(&collateral->tcb_info_chain);
    eei_chain_clear(&collateral->qe_identity_chain);
    eei_chain_clear(&collateral->pck_chain);
    eei_chain_clear(&collateral->crl_chain);
    X509_CRL_free(collateral->root_crl);
    X509_CRL_free(collateral->pck_crl);
    json_decref(collateral->json);
    eei_free(collateral);
}

/* ---- words ---- */

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

/* ---- fields of signed JSON ---- */

/* A JSON integer; eei_json_u64() would also take one written as text, which Intel never signs. */
static ee_status integer(const json_t *object, const char *field, uint64_t *out, ee_error *err) {
    const json_t *value = json_object_get(object, field);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return eei_fail(err, EE_E_MALFORMED, "field \"%s\" must be a number from 0", field);
    *out = (uint64_t)json_integer_value(value);
    return EE_OK;
}

static ee_status number_field(const json_t *object, const char *field, uint64_t max, uint64_t *out, ee_error *err) {
    ee_status st = integer(object, field, out, err);
    if (!st && *out > max)
        st = eei_fail(err, EE_E_MALFORMED, "field \"%s\" is %llu, limit %llu", field, (unsigned long long)*out, (unsigned long long)max);
    return st;
}

static ee_status hex_field(const json_t *object, const char *field, void *out, size_t len, ee_error *err) {
    const char *hex = NULL;
    ee_status st = eei_json_string(object, field, &hex, err);
    if (!st) st = eei_hex_decode(hex, out, len, err);
    return st ? named(err, st, field) : EE_OK;
}

static ee_status word_field(const json_t *object, const char *field, const char *want, ee_error *err) {
    const char *got = NULL;
    ee_status st = eei_json_string(object, field, &got, err);
    if (!st && strcmp(got, want)) st = eei_fail(err, EE_E_MALFORMED, "field \"%s\" is not \"%s\"", field, want);
    return st;
}

static ee_status exact_number(const json_t *object, const char *field, uint64_t want, ee_error *err) {
    uint64_t got = 0;
    ee_status st = integer(object, field, &got, err);
    if (!st && got != want)
        st = eei_fail(err, EE_E_MALFORMED, "field \"%s\" is %llu, must be %llu", field, (unsigned long long)got, (unsigned long long)want);
    return st;
}

static ee_status array_field(const json_t *object, const char *field, size_t max, const json_t **out, ee_error *err) {
    *out = json_object_get(object, field);
    if (!json_is_array(*out)) return eei_fail(err, EE_E_MALFORMED, "field \"%s\" must be an array", field);
    if (json_array_size(*out) > max)
        return eei_fail(err, EE_E_LIMIT, "field \"%s\" has %zu items, limit %zu", field, json_array_size(*out), max);
    return EE_OK;
}

static ee_status object_field(const json_t *object, const char *field, const json_t **out, ee_error *err) {
    *out = json_object_get(object, field);
    return json_is_object(*out) ? EE_OK : eei_fail(err, EE_E_MALFORMED, "field \"%s\" must be an object", field);
}

static ee_status date_field(const json_t *object, const char *field, uint64_t *out_ms, ee_error *err) {
    const char *text = NULL;
    ee_status st = eei_json_string(object, field, &text, err);
    if (!st) st = eei_parse_utc(text, out_ms, err);
    return st ? named(err, st, field) : EE_OK;
}

/* issueDate <= now <= nextUpdate, both ends included. */
static ee_status window_check(const json_t *object, uint64_t now_unix_s, ee_error *err) {
    uint64_t from_ms = 0, to_ms = 0;
    ee_status st = date_field(object, "issueDate", &from_ms, err);
    if (!st) st = date_field(object, "nextUpdate", &to_ms, err);
    if (st) return st;
    if (now_unix_s > UINT64_MAX / 1000) return eei_fail(err, EE_E_EXPIRED, "the time given is out of range");
    if (now_unix_s * 1000 < from_ms) return eei_fail(err, EE_E_EXPIRED, "is not valid yet (issueDate)");
    if (now_unix_s * 1000 > to_ms) return eei_fail(err, EE_E_EXPIRED, "is expired (nextUpdate)");
    return EE_OK;
}

static ee_status status_field(const json_t *object, eei_tcb_status *out, ee_error *err) {
    const char *word = NULL;
    ee_status st = eei_json_string(object, "tcbStatus", &word, err);
    if (!st && !eei_tcb_status_parse(word, out)) st = eei_fail(err, EE_E_MALFORMED, "field \"tcbStatus\" has a word that is not known");
    return st;
}

static ee_status advisories_field(const json_t *object, eei_arena *arena, eei_advisories *out, ee_error *err) {
    const json_t *list = NULL;
    if (!json_object_get(object, "advisoryIDs")) return EE_OK;
    ee_status st = array_field(object, "advisoryIDs", ADVISORIES_MAX, &list, err);
    if (st) return st;
    out->count = json_array_size(list);
    out->ids = eei_arena_alloc(arena, (out->count + 1) * sizeof *out->ids);
    if (!out->ids) return eei_nomem(err);
    for (size_t i = 0; i < out->count; i++) {
        const char *id = json_string_value(json_array_get(list, i));
        size_t len = id ? strlen(id) : 0;
        if (!id || len > ADVISORY_BYTES_MAX || strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") != len)
            return eei_fail(err, EE_E_MALFORMED, "field \"advisoryIDs\" has an odd item %zu", i);
        out->ids[i] = eei_arena_text(arena, eei_span_text(id));
        if (!out->ids[i]) return eei_nomem(err);
    }
    return EE_OK;
}

/* ---- levels ---- */

static int by_svn_descending(const void *a, const void *b) {
    const eei_svn_level *x = a, *y = b;
    return (x->isvsvn < y->isvsvn) - (x->isvsvn > y->isvsvn);
}

/* Levels of a module (svn up to 255) or of the QE. Only UpToDate, OutOfDate and Revoked are defined for them. */
static ee_status svn_levels(const json_t *object, uint64_t svn_max, eei_arena *arena, eei_svn_level **out, size_t *count, ee_error *err) {
    const json_t *list = NULL, *tcb = NULL;
    ee_status st = array_field(object, "tcbLevels", LEVELS_MAX, &list, err);
    if (st) return st;
    *count = json_array_size(list);
    *out = eei_arena_alloc(arena, (*count + 1) * sizeof **out);
    if (!*out) return eei_nomem(err);
    for (size_t i = 0; i < *count; i++) {
        const json_t *item = json_array_get(list, i);
        eei_svn_level *level = &(*out)[i];
        uint64_t svn = 0;
        st = object_field(item, "tcb", &tcb, err);
        if (!st) st = number_field(tcb, "isvsvn", svn_max, &svn, err);
        if (!st) st = status_field(item, &level->status, err);
        if (!st) st = advisories_field(item, arena, &level->advisories, err);
        if (st) return st;
        if (level->status != EEI_TCB_UP_TO_DATE && level->status != EEI_TCB_OUT_OF_DATE && level->status != EEI_TCB_REVOKED)
            return eei_fail(err, EE_E_MALFORMED, "an isvsvn level has status %s, which is for platforms",
                            eei_tcb_status_word(level->status));
        level->isvsvn = (uint16_t)svn;
    }
    qsort(*out, *count, sizeof **out, by_svn_descending);
    for (size_t i = 1; i < *count; i++)
        if ((*out)[i].isvsvn == (*out)[i - 1].isvsvn)
            return eei_fail(err, EE_E_MALFORMED, "isvsvn level %u is there twice", (*out)[i].isvsvn);
    return EE_OK;
}

static int by_tcb_descending(const void *a, const void *b) {
    const eei_tcb_level *x = a, *y = b;
    int order = memcmp(y->sgx, x->sgx, 16);
    if (!order) order = (x->pcesvn < y->pcesvn) - (x->pcesvn > y->pcesvn);
    return order ? order : memcmp(y->tdx, x->tdx, 16);
}

static ee_status components(const json_t *tcb, const char *field, uint8_t out[16], ee_error *err) {
    const json_t *list = NULL;
    ee_status st = array_field(tcb, field, 16, &list, err);
    if (st) return st;
    if (json_array_size(list) != 16)
        return eei_fail(err, EE_E_MALFORMED, "field \"%s\" has %zu items, must have 16", field, json_array_size(list));
    for (size_t i = 0; !st && i < 16; i++) {
        uint64_t svn = 0;
        st = number_field(json_array_get(list, i), "svn", UINT8_MAX, &svn, err);
        out[i] = (uint8_t)svn;
    }
    return st;
}

static ee_status tcb_level(const json_t *item, eei_arena *arena, eei_tcb_level *level, ee_error *err) {
    const json_t *tcb = NULL;
    const char *date = NULL;
    uint64_t pcesvn = 0, ignored = 0;
    ee_status st = object_field(item, "tcb", &tcb, err);
    if (!st) st = components(tcb, "sgxtcbcomponents", level->sgx, err);
    if (!st) st = components(tcb, "tdxtcbcomponents", level->tdx, err);
    if (!st) st = number_field(tcb, "pcesvn", UINT16_MAX, &pcesvn, err);
    if (!st) st = date_field(item, "tcbDate", &ignored, err);
    if (!st) st = eei_json_string(item, "tcbDate", &date, err);
    if (!st) st = status_field(item, &level->status, err);
    if (!st) st = advisories_field(item, arena, &level->advisories, err);
    if (st) return st;
    level->pcesvn = (uint16_t)pcesvn;
    level->date = eei_arena_text(arena, eei_span_text(date));
    return level->date ? EE_OK : eei_nomem(err);
}

static ee_status tcb_levels(const json_t *json, eei_arena *arena, eei_tcb_info *info, ee_error *err) {
    const json_t *list = NULL;
    ee_status st = array_field(json, "tcbLevels", LEVELS_MAX, &list, err);
    if (st) return st;
    info->level_count = json_array_size(list);
    if (!info->level_count) return eei_fail(err, EE_E_MALFORMED, "field \"tcbLevels\" is empty");
    info->levels = eei_arena_alloc(arena, info->level_count * sizeof *info->levels);
    if (!info->levels) return eei_nomem(err);
    for (size_t i = 0; !st && i < info->level_count; i++) st = tcb_level(json_array_get(list, i), arena, &info->levels[i], err);
    if (st) return st;
    /* The order in the JSON means nothing; a verifier that trusts it can be led to a lower level. */
    qsort(info->levels, info->level_count, sizeof *info->levels, by_tcb_descending);
    for (size_t i = 1; i < info->level_count; i++)
        if (!by_tcb_descending(&info->levels[i - 1], &info->levels[i]))
            return eei_fail(err, EE_E_MALFORMED, "field \"tcbLevels\" has a level twice");
    return EE_OK;
}

/* ---- modules ---- */

static ee_status module_common(const json_t *object, eei_tdx_module *module, ee_error *err) {
    ee_status st = hex_field(object, "mrsigner", module->mrsigner, 48, err);
    if (!st) st = hex_field(object, "attributes", module->attributes, 8, err);
    if (!st) st = hex_field(object, "attributesMask", module->mask, 8, err);
    return st;
}

/* "TDX_01": four characters, then two hex digits. */
static ee_status module_id(const json_t *object, uint8_t *version, ee_error *err) {
    const char *id = NULL;
    ee_status st = eei_json_string(object, "id", &id, err);
    if (st) return st;
    if (strncasecmp(id, "TDX_", 4) || eei_hex_decode(id + 4, version, 1, NULL))
        return eei_fail(err, EE_E_MALFORMED, "a TDX module id is not TDX_ and two hex digits");
    return EE_OK;
}

static ee_status modules(const json_t *json, eei_arena *arena, eei_tcb_info *info, ee_error *err) {
    const json_t *list = NULL, *module0 = NULL;
    ee_status st = object_field(json, "tdxModule", &module0, err);
    if (!st) st = module_common(module0, &info->module0, err);
    if (st || !json_object_get(json, "tdxModuleIdentities")) return st;
    st = array_field(json, "tdxModuleIdentities", MODULES_MAX, &list, err);
    if (st) return st;
    info->module_count = json_array_size(list);
    info->modules = eei_arena_alloc(arena, (info->module_count + 1) * sizeof *info->modules);
    if (!info->modules) return eei_nomem(err);
    for (size_t i = 0; i < info->module_count; i++) {
        const json_t *item = json_array_get(list, i);
        eei_tdx_module *module = &info->modules[i];
        st = module_id(item, &module->version, err);
        if (!st) st = module_common(item, module, err);
        if (!st) st = svn_levels(item, UINT8_MAX, arena, &module->levels, &module->level_count, err);
        if (st) return st;
        for (size_t k = 0; k < i; k++)
            if (info->modules[k].version == module->version)
                return eei_fail(err, EE_E_MALFORMED, "TDX module TDX_%02X is there twice", module->version);
    }
    return EE_OK;
}

/* ---- documents ---- */

static ee_status tcb_info_fields(const json_t *json, uint64_t now_unix_s, eei_arena *arena, eei_tcb_info *info, ee_error *err) {
    ee_status st = word_field(json, "id", "TDX", err);
    if (!st) st = exact_number(json, "version", 3, err);
    if (!st) st = exact_number(json, "tcbType", 0, err);
    if (!st) st = window_check(json, now_unix_s, err);
    if (!st) st = number_field(json, "tcbEvaluationDataNumber", UINT32_MAX, &info->evaluation, err);
    if (!st) st = hex_field(json, "fmspc", info->fmspc, 6, err);
    if (!st) st = hex_field(json, "pceId", info->pceid, 2, err);
    if (!st) st = modules(json, arena, info, err);
    if (!st) st = tcb_levels(json, arena, info, err);
    return st;
}

ee_status eei_tcb_info_parse(ee_span text, uint64_t now_unix_s, eei_arena *arena, eei_tcb_info *out, ee_error *err) {
    json_t *json = NULL;
    memset(out, 0, sizeof *out);
    ee_status st = eei_json_parse(text, EEI_COLLATERAL_BYTES_MAX, &json, err);
    if (!st) st = tcb_info_fields(json, now_unix_s, arena, out, err);
    json_decref(json);
    return st ? named(err, st, "TCB info") : EE_OK;
}

static ee_status qe_identity_fields(const json_t *json, uint64_t now_unix_s, eei_arena *arena, eei_qe_identity *qe, ee_error *err) {
    uint64_t isvprodid = 0;
    ee_status st = word_field(json, "id", "TD_QE", err);
    if (!st) st = exact_number(json, "version", 2, err);
    if (!st) st = window_check(json, now_unix_s, err);
    if (!st) st = number_field(json, "tcbEvaluationDataNumber", UINT32_MAX, &qe->evaluation, err);
    /* Hex of the bytes as they lie in the report, not of a number. */
    if (!st) st = hex_field(json, "miscselect", qe->miscselect, 4, err);
    if (!st) st = hex_field(json, "miscselectMask", qe->miscselect_mask, 4, err);
    if (!st) st = hex_field(json, "attributes", qe->attributes, 16, err);
    if (!st) st = hex_field(json, "attributesMask", qe->attributes_mask, 16, err);
    if (!st) st = hex_field(json, "mrsigner", qe->mrsigner, 32, err);
    if (!st) st = number_field(json, "isvprodid", UINT16_MAX, &isvprodid, err);
    if (!st) st = svn_levels(json, UINT16_MAX, arena, &qe->levels, &qe->level_count, err);
    qe->isvprodid = (uint16_t)isvprodid;
    return st;
}

ee_status eei_qe_identity_parse(ee_span text, uint64_t now_unix_s, eei_arena *arena, eei_qe_identity *out, ee_error *err) {
    json_t *json = NULL;
    memset(out, 0, sizeof *out);
    ee_status st = eei_json_parse(text, EEI_COLLATERAL_BYTES_MAX, &json, err);
    if (!st) st = qe_identity_fields(json, now_unix_s, arena, out, err);
    json_decref(json);
    return st ? named(err, st, "QE identity") : EE_OK;
}
