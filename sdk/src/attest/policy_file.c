/* policy_file.c - policy.toml: read strictly, and written so that reading it gives the same policy. Called through eesdk/verify.h.
 * Proto: docs/protocol.md#appraisal */
#include "attest/evidence.h"
#include "attest/policy.h"
#include "attest/statement.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/toml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLICY_BYTES_MAX = 1 << 20, MACHINES_MAX = 4096, EXCEPTIONS_MAX = 256 };

/* ---- in ---- */

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
    if (!st && strcmp(text, "intel"))
        st = eei_toml_fail(l->toml, path, l->err, "must be \"intel\"; another root goes into anchor_der or anchor_sha256");
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

/* The root by the hash of its DER: every chain brings the certificate itself. */
static ee_status key_anchor_sha256(loader *l, const char *path, const json_t *value) {
    const json_t *root = eei_toml_root(l->toml);
    if (json_object_get(root, "anchor") || json_object_get(root, "anchor_der"))
        return eei_toml_fail(l->toml, path, l->err, "cannot stand beside anchor or anchor_der");
    return need_hex(l, path, value, l->policy->anchor, 32);
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
    if (!form || (mask & eei_xfam_fixed) != eei_xfam_fixed || mask & ~eei_xfam_known)
        return eei_toml_fail(l->toml, path, l->err, "must be a mask such as \"0x%llx\", within that and with its two lowest bits",
                             (unsigned long long)eei_xfam_known);
    l->policy->xfam_allow = mask;
    return EE_OK;
}

static ee_status key_min_tcb_eval(loader *l, const char *path, const json_t *value) {
    if (!json_is_integer(value) || json_integer_value(value) < 0) return eei_toml_fail(l->toml, path, l->err, "must be a number from 0");
    l->policy->min_tcb_eval = (uint64_t)json_integer_value(value);
    return EE_OK;
}

static ee_status attribute_item(loader *l, const char *path, const char *word) {
    unsigned bit = 0;
    if (eei_td_attribute_bit(word, &bit)) {
        l->policy->td_attributes_allow |= UINT64_C(1) << bit;
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

static ee_status key_image(loader *l, const char *path, const json_t *value) {
    const char *text = NULL;
    ee_error why = {0};
    ee_status st = need_text(l, path, value, &text);
    if (!st && eei_policy_image_parse(text, l->policy->image, &why)) st = eei_toml_fail(l->toml, path, l->err, "%s", why.message);
    l->policy->has_image = true;
    return st;
}

static ee_status key_genesis(loader *l, const char *path, const json_t *value) {
    l->policy->has_genesis = true;
    return need_hex(l, path, value, l->policy->genesis, 32);
}

static ee_status profile_key(loader *l, const char *path, const char *key, const json_t *value, eei_profile *profile) {
    const char *name = NULL;
    int pin = eei_pin_by_name(key);
    if (pin >= 0) {
        profile->pinned |= 1u << pin;
        profile->line[pin] = eei_toml_line(l->toml, path);
        return need_hex(l, path, value, profile->value[pin], 48);
    }
    if (strcmp(key, "name")) return eei_toml_fail(l->toml, path, l->err, "is not known in a profile");
    ee_status st = need_text(l, path, value, &name);
    if (!st && !eei_profile_name_ok(name)) st = eei_toml_fail(l->toml, path, l->err, "is no " EEI_PROFILE_NAME_FORM);
    if (!st) snprintf(profile->name, sizeof profile->name, "%s", name);
    return st;
}

static ee_status key_profile(loader *l, const char *path, const json_t *value) {
    size_t count = json_array_size(value);
    ee_status st = EE_OK;
    if (!json_is_array(value) || !count || count > EEI_PROFILES_MAX)
        return eei_toml_fail(l->toml, path, l->err, "must be 1 to %d tables [[profile]]", EEI_PROFILES_MAX);
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
    {"anchor_sha256", key_anchor_sha256},
    {"simulated", key_simulated},
    {"tcb_status", key_tcb_status},
    {"tcb_exception", key_tcb_exception},
    {"min_tcb_eval", key_min_tcb_eval},
    {"td_attributes_allow", key_td_attributes},
    {"xfam_allow", key_xfam_allow},
    {"allow_any_measurement", key_allow_any},
    {"require_sealed", key_require_sealed},
    {"image", key_image},
    {"genesis", key_genesis},
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
    const json_t *root = eei_toml_root(l->toml);
    const char *anchor = json_object_get(root, "anchor_der") ? "anchor_der" : "anchor_sha256";
    bool intel = !memcmp(p->anchor, eei_anchor_intel, 32);
    if (!intel && !p->simulated)
        return eei_toml_fail(l->toml, anchor, l->err, "is not Intel's root: say simulated = true, and know that it protects nothing");
    if (intel && p->simulated && !json_object_get(root, anchor))
        return eei_toml_fail(l->toml, "simulated", l->err, "needs anchor_der or anchor_sha256: Intel's root signs no simulated quotes");
    p->simulated = !intel; /* the anchor decides, also when the one given happens to be Intel's */
    if (p->allow_any_measurement && p->profile_count)
        return eei_toml_fail(l->toml, "allow_any_measurement", l->err, "cannot stand beside [[profile]]");
    /* Said in words it is meant: nothing is acceptable until something is pinned, as in the built-in policy. */
    if (!p->allow_any_measurement && !p->profile_count && !json_object_get(root, "allow_any_measurement"))
        return eei_toml_fail(l->toml, "profile", l->err, "is missing: pin the measurements, or say allow_any_measurement = true");
    return EE_OK;
}

static ee_status policy_from_toml(const eei_toml *toml, ee_policy **out, ee_error *err) {
    const char *key;
    json_t *value, *root = (json_t *)(uintptr_t)eei_toml_root(toml); /* only read */
    loader l = {toml, eei_policy_new(), err};
    ee_status st = EE_OK;
    if (!l.policy) return eei_nomem(err);
    snprintf(l.policy->name, sizeof l.policy->name, "%s", eei_toml_name(toml));
    json_object_foreach(root, key, value) {
        st = read_key(&l, key, value);
        if (st) break;
    }
    if (!st) st = check_whole(&l);
    if (!st) st = eei_policy_seal(l.policy, err);
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

/* ---- out ---- */

static void put(eei_buf *to, ee_status *st, const char *format, ...) EEI_PRINTF(3, 4);
static void put(eei_buf *to, ee_status *st, const char *format, ...) {
    char line[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    EE_ASSERT(n >= 0 && (size_t)n < sizeof line);
    if (!*st) *st = eei_buf_append_text(to, line);
}

static void put_hex(eei_buf *to, ee_status *st, const char *key, const uint8_t *value, size_t len) {
    char hex[129];
    eei_hex_encode(eei_span(value, len), hex);
    put(to, st, "%s = \"%s\"\n", key, hex);
}

static void put_statuses(eei_buf *to, ee_status *st, uint32_t statuses) {
    const char *comma = "";
    put(to, st, "tcb_status = [");
    for (unsigned i = 0; i < EEI_TCB_REVOKED; i++) {
        if (!(statuses >> i & 1)) continue;
        put(to, st, "%s\"%s\"", comma, eei_tcb_status_word((eei_tcb_status)i));
        comma = ", ";
    }
    put(to, st, "]\n");
}

static void put_attributes(eei_buf *to, ee_status *st, uint64_t allow) {
    const char *comma = "";
    if (!allow) return;
    put(to, st, "td_attributes_allow = [");
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(allow >> bit & 1)) continue;
        put(to, st, "%s\"%s\"", comma, eei_td_attribute_name(bit));
        comma = ", ";
    }
    put(to, st, "]\n");
}

static void put_machines(eei_buf *to, ee_status *st, const ee_policy *p) {
    if (!p->machine_count) return;
    put(to, st, "machines = [\n");
    for (size_t i = 0; i < p->machine_count; i++) {
        char hex[33];
        eei_hex_encode(eei_span(p->machines[i], 16), hex);
        put(to, st, "    \"%s\",\n", hex);
    }
    put(to, st, "]\n");
}

static void put_exception(eei_buf *to, ee_status *st, const eei_tcb_exception *e) {
    char utc[32];
    put(to, st, "\n[[tcb_exception]]\nstatus = \"%s\"\nadvisories = [", eei_tcb_status_word(e->status));
    for (size_t i = 0; i < e->advisory_count; i++) put(to, st, "%s\"%s\"", i ? ", " : "", e->advisories[i]);
    put(to, st, "]\nuntil = \"%s\"\n", eei_format_utc(e->until_s * 1000, utc));
}

/* A basic string: quotes and backslashes escaped; a name has no control characters. */
static void put_text(eei_buf *to, ee_status *st, const char *key, const char *text) {
    put(to, st, "%s = \"", key);
    for (const char *c = text; *c; c++) put(to, st, "%s%c", *c == '"' || *c == '\\' ? "\\" : "", *c);
    put(to, st, "\"\n");
}

static void put_profile(eei_buf *to, ee_status *st, const eei_profile *profile) {
    put(to, st, "\n[[profile]]\n");
    if (profile->name[0]) put_text(to, st, "name", profile->name);
    for (int i = 0; i < EEI_PIN_COUNT; i++)
        if (profile->pinned & 1u << i) put_hex(to, st, eei_pin_names[i], profile->value[i], 48);
}

static void put_policy(eei_buf *to, ee_status *st, const ee_policy *p) {
    if (p->simulated)
        put_hex(to, st, "anchor_sha256", p->anchor, 32);
    else
        put(to, st, "anchor = \"intel\"\n");
    put(to, st, "simulated = %s\n", p->simulated ? "true" : "false");
    put_statuses(to, st, p->statuses);
    if (p->min_tcb_eval) put(to, st, "min_tcb_eval = %llu\n", (unsigned long long)p->min_tcb_eval);
    put_attributes(to, st, p->td_attributes_allow);
    put(to, st, "xfam_allow = \"0x%llx\"\n", (unsigned long long)p->xfam_allow);
    put(to, st, "require_sealed = %s\n", p->require_sealed ? "true" : "false");
    if (!p->profile_count) put(to, st, "allow_any_measurement = %s\n", p->allow_any_measurement ? "true" : "false");
    if (p->has_image) put_hex(to, st, "image", p->image, 32);
    if (p->has_genesis) put_hex(to, st, "genesis", p->genesis, 32);
    put_machines(to, st, p);
    for (size_t i = 0; i < p->exception_count; i++) put_exception(to, st, &p->exceptions[i]);
    for (size_t i = 0; i < p->profile_count; i++) put_profile(to, st, &p->profiles[i]);
}

ee_status ee_policy_toml(const ee_policy *policy, char **out, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(POLICY_BYTES_MAX);
    ee_status st = EE_OK;
    if (!policy || !out) return eei_fail(err, EE_E_INVALID, "policy or out is NULL");
    *out = NULL;
    put_policy(&text, &st, policy);
    const char *whole = st ? NULL : eei_buf_cstr(&text);
    *out = whole ? eei_strdup(whole) : NULL;
    eei_buf_clear(&text);
    return *out ? EE_OK : st == EE_E_LIMIT ? eei_fail(err, st, "the policy is over %d bytes as text", POLICY_BYTES_MAX) : eei_nomem(err);
}
