/* policy.c - policies: the built-in strictest one, policy.toml, pins, and the hash that names a policy. It decides nothing: verify.c does.
 * Called through eesdk/verify.h and by programs. */
#include "attest/policy.h"

#include "attest/evidence.h"
#include "attest/statement.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/toml.h"
#include "base/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLICY_BYTES_MAX = 1 << 20, PROFILES_MAX = 1024, MACHINES_MAX = 4096, EXCEPTIONS_MAX = 256 };

const uint8_t eei_anchor_intel[32] = {0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35,
                                      0x0e, 0x74, 0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3};

const char *const eei_pin_names[EEI_PIN_COUNT] = {"mrtd",    "rtmr0",        "rtmr1",    "rtmr2",          "rtmr3",
                                                  "mr_seam", "mr_config_id", "mr_owner", "mr_owner_config"};

const uint8_t *eei_pin_of_quote(const eei_quote *quote, eei_pin_id pin) {
    switch (pin) {
    case EEI_PIN_MRTD: return quote->mrtd;
    case EEI_PIN_RTMR0: return quote->rtmr[0];
    case EEI_PIN_RTMR1: return quote->rtmr[1];
    case EEI_PIN_RTMR2: return quote->rtmr[2];
    case EEI_PIN_RTMR3: return quote->rtmr[3];
    case EEI_PIN_MRSEAM: return quote->mr_seam;
    case EEI_PIN_MRCONFIGID: return quote->mr_config_id;
    case EEI_PIN_MROWNER: return quote->mr_owner;
    case EEI_PIN_MROWNERCONFIG: return quote->mr_owner_config;
    case EEI_PIN_COUNT: break;
    }
    EE_ASSERT(!"pin");
    return NULL;
}

/* Spec: Intel TDX Module Base Architecture, TD_ATTRIBUTES; Linux arch/x86/include/asm/shared/tdx.h. DEBUG is not here: nothing allows it.
 */
static const struct {
    const char *name;
    unsigned bit;
} attribute_bits[] = {
    {"hgs_plus_prof", 4}, {"perf_prof", 5}, {"pmt_prof", 6}, {"icssd", 16}, {"lass", 27},
    {"migratable", 29},   {"pks", 30},      {"kl", 31},      {"tpa", 62},   {"perfmon", 63},
};

const char *eei_td_attribute_name(unsigned bit) {
    if (bit == 0) return "debug";
    if (bit == 28) return "sept_ve_disable";
    for (size_t i = 0; i < sizeof attribute_bits / sizeof attribute_bits[0]; i++)
        if (attribute_bits[i].bit == bit) return attribute_bits[i].name;
    return NULL;
}

/* Features TDX can save and restore for a TD; x87 and SSE are always there. Spec: Intel TDX Module Base Architecture, XFAM. */
static const uint64_t xfam_fixed = 3, xfam_known = 0x0006dbe7;

/* ---- life ---- */

static ee_policy *policy_alloc(void) {
    ee_policy *p = eei_calloc(1, sizeof *p);
    if (!p) return NULL;
    atomic_init(&p->refs, 1);
    memcpy(p->anchor, eei_anchor_intel, 32);
    p->require_sealed = true;
    p->statuses = 1u << EEI_TCB_UP_TO_DATE;
    p->xfam_allow = xfam_known;
    p->xfam_require = xfam_fixed;
    return p;
}

void ee_policy_free(ee_policy *policy) {
    if (!policy || atomic_fetch_sub_explicit(&policy->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < policy->exception_count; i++) eei_free(policy->exceptions[i].advisories);
    eei_free(policy->exceptions);
    eei_free(policy->profiles);
    eei_free(policy->machines);
    eei_free(policy);
}

ee_policy *eei_policy_ref(const ee_policy *policy) {
    ee_policy *p = (ee_policy *)(uintptr_t)policy; /* immutable but for its count */
    if (p) atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

const char *ee_policy_hash(const ee_policy *policy) { return policy ? policy->hash_hex : ""; }
const uint8_t *eei_policy_hash_bytes(const ee_policy *policy) { return policy->hash; }
const uint8_t *eei_policy_image(const ee_policy *policy) { return policy->has_image ? policy->image : NULL; }
int ee_policy_simulated(const ee_policy *policy) { return policy && policy->simulated; }

/* ---- hash ---- */

enum { PROFILE_CODE_BYTES = 4 + EEI_PIN_COUNT * 48 };

static int by_profile_code(const void *a, const void *b) { return memcmp(a, b, PROFILE_CODE_BYTES); }
static int by_machine(const void *a, const void *b) { return memcmp(a, b, 16); }

/* Profiles as a sorted array of fixed-size records: their order, names and line numbers decide nothing. */
static ee_status profile_codes(const ee_policy *p, uint8_t **out) {
    uint8_t *codes = eei_calloc(p->profile_count + 1, PROFILE_CODE_BYTES);
    if (!codes) return EE_E_NOMEM;
    for (size_t i = 0; i < p->profile_count; i++) {
        uint8_t *code = codes + i * PROFILE_CODE_BYTES;
        for (unsigned k = 0; k < 4; k++) code[k] = (uint8_t)(p->profiles[i].pinned >> (24 - 8 * k));
        memcpy(code + 4, p->profiles[i].value, sizeof p->profiles[i].value);
    }
    qsort(codes, p->profile_count, PROFILE_CODE_BYTES, by_profile_code);
    *out = codes;
    return EE_OK;
}

static int by_exception(const void *a, const void *b) {
    const eei_tcb_exception *x = a, *y = b;
    int order = (x->status > y->status) - (x->status < y->status);
    if (!order) order = (x->until_s > y->until_s) - (x->until_s < y->until_s);
    if (!order) order = (x->advisory_count > y->advisory_count) - (x->advisory_count < y->advisory_count);
    for (size_t i = 0; !order && i < x->advisory_count; i++) order = strcmp(x->advisories[i], y->advisories[i]);
    return order;
}

static void write_exceptions(const ee_policy *p, eei_writer *w) {
    eei_write_u32be(w, (uint32_t)p->exception_count);
    for (size_t i = 0; i < p->exception_count; i++) {
        const eei_tcb_exception *e = &p->exceptions[i];
        eei_write_u8(w, (uint8_t)e->status);
        eei_write_u64be(w, e->until_s);
        eei_write_u32be(w, (uint32_t)e->advisory_count);
        for (size_t k = 0; k < e->advisory_count; k++) eei_write_bytes(w, e->advisories[k], sizeof e->advisories[k]);
    }
}

/* SHA-256 over everything that decides, in one canonical form. */
static ee_status policy_seal(ee_policy *p, ee_error *err) {
    eei_buf code = EEI_BUF_INIT(4u << 20);
    uint8_t *profiles = NULL;
    if (p->machine_count > 1) qsort(p->machines, p->machine_count, sizeof *p->machines, by_machine);
    if (p->exception_count > 1) qsort(p->exceptions, p->exception_count, sizeof *p->exceptions, by_exception);
    ee_status st = profile_codes(p, &profiles);
    if (st) return eei_nomem(err);
    eei_writer w = eei_writer_init(&code);
    eei_write_bytes(&w, "EE1-policy-1", 12);
    eei_write_bytes(&w, p->anchor, 32);
    eei_write_u8(&w, (uint8_t)(p->simulated | p->allow_any_measurement << 1 | p->require_sealed << 2 | p->has_image << 3));
    eei_write_u32be(&w, p->statuses);
    eei_write_u64be(&w, p->min_tcb_eval);
    eei_write_u64be(&w, p->td_attributes_allow);
    eei_write_u64be(&w, p->xfam_allow);
    eei_write_u64be(&w, p->xfam_require);
    write_exceptions(p, &w);
    eei_write_bytes(&w, p->image, 32);
    eei_write_u32be(&w, (uint32_t)p->profile_count);
    eei_write_bytes(&w, profiles, p->profile_count * PROFILE_CODE_BYTES);
    eei_write_u32be(&w, (uint32_t)p->machine_count);
    eei_write_bytes(&w, p->machines, p->machine_count * 16);
    if (!w.status) {
        eei_sha256(eei_buf_span(&code), p->hash);
        eei_hex_encode(eei_span(p->hash, 32), p->hash_hex);
    }
    eei_free(profiles);
    eei_buf_clear(&code);
    return w.status ? eei_nomem(err) : EE_OK;
}

ee_status ee_policy_production(ee_policy **out, ee_error *err) {
    if (!out) return eei_fail(err, EE_E_INVALID, "out is NULL");
    *out = NULL;
    ee_policy *p = policy_alloc();
    if (!p) return eei_nomem(err);
    snprintf(p->name, sizeof p->name, "production policy");
    ee_status st = policy_seal(p, err);
    if (!st) *out = eei_take(&p);
    ee_policy_free(p);
    return st;
}

/* ---- policy.toml ---- */

typedef struct loader {
    const eei_toml *toml;
    ee_policy *policy;
    ee_error *err;
} loader;

static ee_status need_text(loader *l, const char *path, const json_t *value, const char **out) {
    *out = json_string_value(value);
    if (*out) return EE_OK;
    (void)eei_toml_fail(l->toml, path, l->err, "must be a string");
    return EE_E_CONFIG;
}

static ee_status need_bool(loader *l, const char *path, const json_t *value, bool *out) {
    if (!json_is_boolean(value)) return eei_toml_fail(l->toml, path, l->err, "must be true or false");
    *out = json_is_true(value);
    return EE_OK;
}

static ee_status need_hex(loader *l, const char *path, const json_t *value, uint8_t *out, size_t len) {
    const char *hex = NULL;
    ee_error why = {0};
    ee_status st = need_text(l, path, value, &hex);
    if (!st && eei_hex_decode(hex, out, len, &why)) st = eei_toml_fail(l->toml, path, l->err, "%s", why.message);
    return st;
}

static ee_status key_anchor(loader *l, const char *path, const json_t *value) {
    const char *text = NULL;
    ee_status st = need_text(l, path, value, &text);
    if (!st && strcmp(text, "intel")) st = eei_toml_fail(l->toml, path, l->err, "must be \"intel\"; another root goes into anchor_der");
    if (!st && json_object_get(eei_toml_root(l->toml), "anchor_der"))
        st = eei_toml_fail(l->toml, path, l->err, "cannot stand beside anchor_der");
    return st;
}

/* Hex or base64url: a certificate begins with 30 82, so the two cannot be mistaken. */
static ee_status key_anchor_der(loader *l, const char *path, const json_t *value) {
    eei_buf der = EEI_BUF_INIT(EEI_CERT_BYTES_MAX);
    const char *text = NULL;
    ee_error why = {0};
    eei_cert root;
    ee_status st = need_text(l, path, value, &text);
    if (st) return st;
    st = strncmp(text, "30", 2) ? eei_base64url_decode(text, &der, &why) : eei_hex_append(eei_span_text(text), &der, &why);
    if (!st) st = eei_cert_parse(eei_buf_span(&der), &root, &why);
    if (st) st = st == EE_E_NOMEM ? eei_nomem(l->err) : eei_toml_fail(l->toml, path, l->err, "%s", why.message);
    if (!st) eei_sha256(eei_buf_span(&der), l->policy->anchor);
    eei_buf_clear(&der);
    return st;
}

static ee_status key_simulated(loader *l, const char *path, const json_t *value) {
    return need_bool(l, path, value, &l->policy->simulated);
}
static ee_status key_require_sealed(loader *l, const char *path, const json_t *value) {
    return need_bool(l, path, value, &l->policy->require_sealed);
}
static ee_status key_allow_any(loader *l, const char *path, const json_t *value) {
    return need_bool(l, path, value, &l->policy->allow_any_measurement);
}

static ee_status key_tcb_status(loader *l, const char *path, const json_t *value) {
    size_t count = json_array_size(value);
    if (!json_is_array(value) || !count) return eei_toml_fail(l->toml, path, l->err, "must be a list of at least one TCB status");
    l->policy->statuses = 0;
    for (size_t i = 0; i < count; i++) {
        const char *word = json_string_value(json_array_get(value, i));
        eei_tcb_status status;
        if (!word || !eei_tcb_status_parse(word, &status))
            return eei_toml_fail(l->toml, path, l->err, "item %zu is not a TCB status", i + 1);
        if (status == EEI_TCB_REVOKED) return eei_toml_fail(l->toml, path, l->err, "Revoked is never acceptable");
        l->policy->statuses |= 1u << status;
    }
    return EE_OK;
}

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

static ee_status exception_advisories(loader *l, const char *path, const json_t *value, eei_tcb_exception *e) {
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count > EEI_ADVISORIES_MAX)
        return eei_toml_fail(l->toml, path, l->err, "must be a list of at most %d advisory ids", EEI_ADVISORIES_MAX);
    e->advisories = eei_calloc(count + 1, sizeof *e->advisories);
    if (!e->advisories) return eei_nomem(l->err);
    for (size_t i = 0; i < count; i++) {
        const char *id = json_string_value(json_array_get(value, i));
        if (!id || !eei_advisory_valid(id)) return eei_toml_fail(l->toml, path, l->err, "item %zu is not an advisory id", i + 1);
        snprintf(e->advisories[i], sizeof e->advisories[i], "%s", id);
    }
    e->advisory_count = count;
    qsort(e->advisories, count, sizeof *e->advisories, by_text);
    return EE_OK;
}

static ee_status exception_status(loader *l, const char *path, const json_t *value, eei_tcb_exception *e) {
    const char *word = NULL;
    ee_status st = need_text(l, path, value, &word);
    if (!st && (!eei_tcb_status_parse(word, &e->status) || e->status >= EEI_TCB_REVOKED))
        st = eei_toml_fail(l->toml, path, l->err, "is not a TCB status that can be accepted");
    return st;
}

static ee_status exception_until(loader *l, const char *path, const json_t *value, eei_tcb_exception *e) {
    const char *text = NULL;
    uint64_t ms = 0;
    ee_error why = {0};
    ee_status st = need_text(l, path, value, &text);
    if (!st && eei_parse_utc(text, &ms, &why)) st = eei_toml_fail(l->toml, path, l->err, "%s", why.message);
    e->until_s = ms / 1000;
    return st;
}

/* Why it was made is for people; it decides nothing. */
static ee_status exception_reason(loader *l, const char *path, const json_t *value, eei_tcb_exception *e) {
    const char *text = NULL;
    (void)e;
    return need_text(l, path, value, &text);
}

static const struct {
    const char *name;
    bool needed;
    ee_status (*read)(loader *, const char *path, const json_t *value, eei_tcb_exception *e);
} exception_keys[] = {
    {"status", true, exception_status},
    {"advisories", true, exception_advisories},
    {"until", true, exception_until},
    {"reason", false, exception_reason},
};

static ee_status exception_item(loader *l, const char *path, const json_t *item, eei_tcb_exception *e) {
    enum { KEYS = sizeof exception_keys / sizeof exception_keys[0] };
    char at[192];
    size_t known = 0;
    ee_status st = EE_OK;
    e->line = eei_toml_line(l->toml, path);
    for (size_t k = 0; !st && k < KEYS; k++) {
        const json_t *value = json_object_get(item, exception_keys[k].name);
        snprintf(at, sizeof at, "%s.%s", path, exception_keys[k].name);
        known += value != NULL;
        if (value)
            st = exception_keys[k].read(l, at, value, e);
        else if (exception_keys[k].needed)
            st = eei_toml_fail(l->toml, path, l->err, "lacks \"%s\"", exception_keys[k].name);
    }
    if (!st && json_object_size(item) != known)
        st = eei_toml_fail(l->toml, path, l->err, "has a key that is not status, advisories, until or reason");
    return st;
}

static ee_status key_tcb_exception(loader *l, const char *path, const json_t *value) {
    size_t count = json_array_size(value);
    ee_status st = EE_OK;
    if (!json_is_array(value) || !count || count > EXCEPTIONS_MAX)
        return eei_toml_fail(l->toml, path, l->err, "must be 1 to %d tables [[tcb_exception]]", EXCEPTIONS_MAX);
    l->policy->exceptions = eei_calloc(count, sizeof *l->policy->exceptions);
    if (!l->policy->exceptions) return eei_nomem(l->err);
    l->policy->exception_count = count;
    for (size_t i = 0; !st && i < count; i++) {
        char at[128];
        const json_t *item = json_array_get(value, i);
        snprintf(at, sizeof at, "%s.%zu", path, i);
        st = json_is_object(item) ? exception_item(l, at, item, &l->policy->exceptions[i])
                                  : eei_toml_fail(l->toml, path, l->err, "must be written as [[tcb_exception]]");
    }
    return st;
}

/* A TD may have fewer features than TDX can give it, never others. */
static ee_status key_xfam_allow(loader *l, const char *path, const json_t *value) {
    const char *text = NULL;
    char *end = NULL;
    ee_status st = need_text(l, path, value, &text);
    if (st) return st;
    size_t len = strlen(text);
    bool form = len > 2 && len <= 18 && !strncmp(text, "0x", 2) && strspn(text + 2, "0123456789abcdefABCDEF") == len - 2;
    uint64_t mask = form ? strtoull(text + 2, &end, 16) : 0;
    if (!form || (mask & xfam_fixed) != xfam_fixed || mask & ~xfam_known)
        return eei_toml_fail(l->toml, path, l->err, "must be a mask such as \"0x%llx\", within that and with its two lowest bits",
                             (unsigned long long)xfam_known);
    l->policy->xfam_allow = mask;
    return EE_OK;
}

static ee_status key_min_tcb_eval(loader *l, const char *path, const json_t *value) {
    if (!json_is_integer(value) || json_integer_value(value) < 0) return eei_toml_fail(l->toml, path, l->err, "must be a number from 0");
    l->policy->min_tcb_eval = (uint64_t)json_integer_value(value);
    return EE_OK;
}

static ee_status attribute_item(loader *l, const char *path, const char *word) {
    for (size_t i = 0; i < sizeof attribute_bits / sizeof attribute_bits[0]; i++) {
        if (strcmp(word, attribute_bits[i].name)) continue;
        l->policy->td_attributes_allow |= UINT64_C(1) << attribute_bits[i].bit;
        return EE_OK;
    }
    return eei_toml_fail(l->toml, path, l->err, strcmp(word, "debug") ? "\"%.40s\" is not a TD attribute" : "\"%s\" is never acceptable",
                         word);
}

static ee_status key_td_attributes(loader *l, const char *path, const json_t *value) {
    ee_status st = json_is_array(value) ? EE_OK : eei_toml_fail(l->toml, path, l->err, "must be a list of TD attribute names");
    for (size_t i = 0; !st && i < json_array_size(value); i++) {
        const char *word = json_string_value(json_array_get(value, i));
        st = word ? attribute_item(l, path, word) : eei_toml_fail(l->toml, path, l->err, "item %zu is not a string", i + 1);
    }
    return st;
}

static ee_status key_machines(loader *l, const char *path, const json_t *value) {
    size_t count = json_array_size(value);
    if (!json_is_array(value) || !count || count > MACHINES_MAX)
        return eei_toml_fail(l->toml, path, l->err, "must be a list of 1 to %d machine ids of 32 hex digits", MACHINES_MAX);
    l->policy->machines = eei_calloc(count, sizeof *l->policy->machines);
    if (!l->policy->machines) return eei_nomem(l->err);
    l->policy->machine_count = count;
    ee_status st = EE_OK;
    for (size_t i = 0; !st && i < count; i++) st = need_hex(l, path, json_array_get(value, i), l->policy->machines[i], 16);
    return st;
}

static ee_status image_text(const char *text, uint8_t out[32], ee_error *err) {
    if (!strncmp(text, "sha256:", 7)) text += 7;
    return eei_hex_decode(text, out, 32, err);
}

static ee_status key_image(loader *l, const char *path, const json_t *value) {
    const char *text = NULL;
    ee_error why = {0};
    ee_status st = need_text(l, path, value, &text);
    if (!st && image_text(text, l->policy->image, &why)) st = eei_toml_fail(l->toml, path, l->err, "%s", why.message);
    l->policy->has_image = true;
    l->policy->image_line = eei_toml_line(l->toml, path);
    return st;
}

static int pin_by_name(const char *name) {
    for (int i = 0; i < EEI_PIN_COUNT; i++)
        if (!strcmp(name, eei_pin_names[i])) return i;
    return -1;
}

static ee_status profile_key(loader *l, const char *path, const char *key, const json_t *value, eei_profile *profile) {
    const char *name = NULL;
    int pin = pin_by_name(key);
    if (pin >= 0) {
        profile->pinned |= 1u << pin;
        profile->line[pin] = eei_toml_line(l->toml, path);
        return need_hex(l, path, value, profile->value[pin], 48);
    }
    if (strcmp(key, "name")) return eei_toml_fail(l->toml, path, l->err, "is not known in a profile");
    ee_status st = need_text(l, path, value, &name);
    if (!st && (strlen(name) >= sizeof profile->name || !eei_utf8_valid(eei_span_text(name))))
        st = eei_toml_fail(l->toml, path, l->err, "is too long");
    if (!st) snprintf(profile->name, sizeof profile->name, "%s", name);
    return st;
}

static ee_status key_profile(loader *l, const char *path, const json_t *value) {
    size_t count = json_array_size(value);
    ee_status st = EE_OK;
    if (!json_is_array(value) || !count || count > PROFILES_MAX)
        return eei_toml_fail(l->toml, path, l->err, "must be 1 to %d tables [[profile]]", PROFILES_MAX);
    l->policy->profiles = eei_calloc(count, sizeof *l->policy->profiles);
    if (!l->policy->profiles) return eei_nomem(l->err);
    l->policy->profile_count = count;
    for (size_t i = 0; !st && i < count; i++) {
        const char *key;
        json_t *item = json_array_get(value, i), *field;
        char at[192];
        if (!json_is_object(item)) return eei_toml_fail(l->toml, path, l->err, "must be written as [[profile]]");
        json_object_foreach(item, key, field) {
            snprintf(at, sizeof at, "%s.%zu.%.120s", path, i, key);
            st = profile_key(l, at, key, field, &l->policy->profiles[i]);
            if (st) return st;
        }
        snprintf(at, sizeof at, "%s.%zu", path, i);
        if (!l->policy->profiles[i].pinned) st = eei_toml_fail(l->toml, at, l->err, "a profile must pin something");
    }
    return st;
}

static const struct {
    const char *name;
    ee_status (*read)(loader *, const char *path, const json_t *value);
} policy_keys[] = {
    {"anchor", key_anchor},
    {"anchor_der", key_anchor_der},
    {"simulated", key_simulated},
    {"tcb_status", key_tcb_status},
    {"tcb_exception", key_tcb_exception},
    {"min_tcb_eval", key_min_tcb_eval},
    {"td_attributes_allow", key_td_attributes},
    {"xfam_allow", key_xfam_allow},
    {"allow_any_measurement", key_allow_any},
    {"require_sealed", key_require_sealed},
    {"image", key_image},
    {"machines", key_machines},
    {"profile", key_profile},
};

static ee_status read_key(loader *l, const char *key, const json_t *value) {
    for (size_t i = 0; i < sizeof policy_keys / sizeof policy_keys[0]; i++)
        if (!strcmp(key, policy_keys[i].name)) return policy_keys[i].read(l, key, value);
    return eei_toml_fail(l->toml, key, l->err, "is not known");
}

/* What only holds for the whole file. */
static ee_status check_whole(loader *l) {
    ee_policy *p = l->policy;
    bool intel = !memcmp(p->anchor, eei_anchor_intel, 32);
    if (!intel && !p->simulated)
        return eei_toml_fail(l->toml, "anchor_der", l->err, "is not Intel's root: say simulated = true, and know that it protects nothing");
    if (intel && p->simulated && !json_object_get(eei_toml_root(l->toml), "anchor_der"))
        return eei_toml_fail(l->toml, "simulated", l->err, "needs anchor_der: Intel's root signs no simulated quotes");
    p->simulated = !intel; /* the anchor decides, also when anchor_der happens to be Intel's */
    if (p->allow_any_measurement && p->profile_count)
        return eei_toml_fail(l->toml, "allow_any_measurement", l->err, "cannot stand beside [[profile]]");
    if (!p->allow_any_measurement && !p->profile_count)
        return eei_toml_fail(l->toml, "profile", l->err, "is missing: pin the measurements, or say allow_any_measurement = true");
    return EE_OK;
}

static ee_status policy_from_toml(const eei_toml *toml, ee_policy **out, ee_error *err) {
    const char *key;
    json_t *value, *root = (json_t *)(uintptr_t)eei_toml_root(toml); /* only read */
    loader l = {toml, policy_alloc(), err};
    ee_status st = EE_OK;
    if (!l.policy) return eei_nomem(err);
    snprintf(l.policy->name, sizeof l.policy->name, "%s", eei_toml_name(toml));
    json_object_foreach(root, key, value) {
        st = read_key(&l, key, value);
        if (st) break;
    }
    if (!st) st = check_whole(&l);
    if (!st) st = policy_seal(l.policy, err);
    if (!st) *out = eei_take(&l.policy);
    ee_policy_free(l.policy);
    return st;
}

ee_status ee_policy_parse(const char *toml, const char *name, ee_policy **out, ee_error *err) {
    eei_toml *doc = NULL;
    if (!toml || !out) return eei_fail(err, EE_E_INVALID, "toml or out is NULL");
    *out = NULL;
    ee_status st = eei_toml_parse(eei_span_text(toml), name ? name : "policy", &doc, err);
    if (!st) st = policy_from_toml(doc, out, err);
    eei_toml_free(doc);
    return st;
}

ee_status ee_policy_load(const char *path, ee_policy **out, ee_error *err) {
    eei_toml *doc = NULL;
    if (!path || !out) return eei_fail(err, EE_E_INVALID, "path or out is NULL");
    *out = NULL;
    ee_status st = eei_toml_load(path, POLICY_BYTES_MAX, &doc, err);
    if (!st) st = policy_from_toml(doc, out, err);
    eei_toml_free(doc);
    return st;
}

/* ---- pins ---- */

static ee_status exceptions_copy(const ee_policy *from, ee_policy *to) {
    to->exceptions = eei_calloc(from->exception_count + 1, sizeof *to->exceptions);
    if (!to->exceptions) return EE_E_NOMEM;
    for (; to->exception_count < from->exception_count; to->exception_count++) {
        const eei_tcb_exception *e = &from->exceptions[to->exception_count];
        eei_tcb_exception *copy = &to->exceptions[to->exception_count];
        *copy = *e;
        copy->advisories = eei_memdup(e->advisories, (e->advisory_count + 1) * sizeof *e->advisories);
        if (!copy->advisories) return EE_E_NOMEM;
    }
    return EE_OK;
}

static ee_status policy_copy(const ee_policy *from, size_t profiles_min, ee_policy **out, ee_error *err) {
    ee_policy *p = policy_alloc();
    size_t room = from->profile_count > profiles_min ? from->profile_count : profiles_min;
    if (!p) return eei_nomem(err);
    *p = *from;
    atomic_init(&p->refs, 1);
    p->exceptions = NULL;
    p->exception_count = 0;
    p->profiles = eei_calloc(room + 1, sizeof *p->profiles);
    p->machines = eei_calloc(from->machine_count + 1, sizeof *p->machines);
    if (!p->profiles || !p->machines || exceptions_copy(from, p)) {
        ee_policy_free(p);
        return eei_nomem(err);
    }
    if (from->profile_count) memcpy(p->profiles, from->profiles, from->profile_count * sizeof *p->profiles);
    if (from->machine_count) memcpy(p->machines, from->machines, from->machine_count * sizeof *p->machines);
    *out = p;
    return EE_OK;
}

/* Every profile gets the pin; a profile that pins another value can never match again and goes away. */
static ee_status pin_profiles(ee_policy *p, int pin, const uint8_t value[48], ee_error *err) {
    size_t kept = 0;
    if (!p->profile_count) {
        p->profile_count = 1; /* room was made for it */
        memset(&p->profiles[0], 0, sizeof p->profiles[0]);
        p->allow_any_measurement = false;
    }
    for (size_t i = 0; i < p->profile_count; i++) {
        eei_profile profile = p->profiles[i];
        if (profile.pinned & 1u << pin && memcmp(profile.value[pin], value, 48)) continue;
        if (!(profile.pinned & 1u << pin)) profile.line[pin] = 0;
        profile.pinned |= 1u << pin;
        memcpy(profile.value[pin], value, 48);
        p->profiles[kept++] = profile;
    }
    p->profile_count = kept;
    return kept ? EE_OK : eei_fail(err, EE_E_CONFLICT, "the policy pins another %s: no quote could have both", eei_pin_names[pin]);
}

ee_status ee_policy_pin(const ee_policy *policy, const char *what, const char *hex, ee_policy **out, ee_error *err) {
    ee_policy *p = NULL;
    uint8_t value[48];
    if (!policy || !what || !hex || !out) return eei_fail(err, EE_E_INVALID, "policy, what, hex or out is NULL");
    *out = NULL;
    int pin = pin_by_name(what);
    bool image = !strcmp(what, "image");
    if (pin < 0 && !image)
        return eei_fail(err, EE_E_INVALID,
                        "\"%.40s\" cannot be pinned; mrtd, rtmr0 to rtmr3, mr_seam, mr_config_id, mr_owner, mr_owner_config and image can",
                        what);
    ee_status st = image ? image_text(hex, value, err) : eei_hex_decode(hex, value, 48, err);
    if (st) {
        eei_prefix(err, st, what);
        if (err) err->status = EE_E_INVALID;
        return EE_E_INVALID;
    }
    st = policy_copy(policy, 1, &p, err);
    if (st) return st;
    if (!image)
        st = pin_profiles(p, pin, value, err);
    else if (p->has_image && memcmp(p->image, value, 32))
        st = eei_fail(err, EE_E_CONFLICT, "the policy pins another image");
    if (!st && image) {
        p->has_image = true;
        memcpy(p->image, value, 32);
    }
    if (!st) st = policy_seal(p, err);
    if (!st) *out = eei_take(&p);
    ee_policy_free(p);
    return st;
}
