/* policy.c - policies in memory: the built-in strictest one, pins, and the hash that names a policy. It decides nothing: verify.c does;
 * files are policy_file.c's. Called through eesdk/verify.h and by programs. */
#include "attest/policy.h"

#include "attest/evidence.h"
#include "attest/statement.h"
#include "attest/verdict.h"
#include "base/alloc.h"
#include "base/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

bool eei_td_attribute_bit(const char *name, unsigned *bit) {
    for (size_t i = 0; i < sizeof attribute_bits / sizeof attribute_bits[0]; i++) {
        if (strcmp(name, attribute_bits[i].name)) continue;
        *bit = attribute_bits[i].bit;
        return true;
    }
    return false;
}

bool eei_profile_name_ok(const char *name) {
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) return false;
    return len < sizeof((eei_profile *)0)->name && eei_utf8_valid(eei_span_text(name));
}

/* Features TDX can save and restore for a TD; x87 and SSE are always there. Spec: Intel TDX Module Base Architecture, XFAM. */
const uint64_t eei_xfam_fixed = 3, eei_xfam_known = 0x0006dbe7;

/* ---- life ---- */

ee_policy *eei_policy_new(void) {
    ee_policy *p = eei_calloc(1, sizeof *p);
    if (!p) return NULL;
    atomic_init(&p->refs, 1);
    memcpy(p->anchor, eei_anchor_intel, 32);
    p->require_sealed = true;
    p->statuses = 1u << EEI_TCB_UP_TO_DATE;
    p->xfam_allow = eei_xfam_known;
    p->xfam_require = eei_xfam_fixed;
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
size_t ee_policy_profile_count(const ee_policy *policy) { return policy ? policy->profile_count : 0; }
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
ee_status eei_policy_seal(ee_policy *p, ee_error *err) {
    eei_buf code = EEI_BUF_INIT(4u << 20);
    uint8_t *profiles = NULL;
    if (p->machine_count > 1) qsort(p->machines, p->machine_count, sizeof *p->machines, by_machine);
    if (p->exception_count > 1) qsort(p->exceptions, p->exception_count, sizeof *p->exceptions, by_exception);
    ee_status st = profile_codes(p, &profiles);
    if (st) return eei_nomem(err);
    eei_writer w = eei_writer_init(&code);
    eei_write_bytes(&w, "EE1-policy-1", 12);
    eei_write_bytes(&w, p->anchor, 32);
    eei_write_u8(
        &w, (uint8_t)(p->simulated | p->allow_any_measurement << 1 | p->require_sealed << 2 | p->has_image << 3 | p->has_genesis << 4));
    eei_write_u32be(&w, p->statuses);
    eei_write_u64be(&w, p->min_tcb_eval);
    eei_write_u64be(&w, p->td_attributes_allow);
    eei_write_u64be(&w, p->xfam_allow);
    eei_write_u64be(&w, p->xfam_require);
    write_exceptions(p, &w);
    eei_write_bytes(&w, p->image, 32);
    eei_write_bytes(&w, p->genesis, 32);
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
    ee_policy *p = eei_policy_new();
    if (!p) return eei_nomem(err);
    snprintf(p->name, sizeof p->name, "production policy");
    ee_status st = eei_policy_seal(p, err);
    if (!st) *out = eei_take(&p);
    ee_policy_free(p);
    return st;
}

/* ---- pins ---- */

int eei_pin_by_name(const char *name) {
    for (int i = 0; i < EEI_PIN_COUNT; i++)
        if (!strcmp(name, eei_pin_names[i])) return i;
    return -1;
}

ee_status eei_policy_image_parse(const char *text, uint8_t out[32], ee_error *err) {
    if (!strncmp(text, "sha256:", 7)) text += 7;
    return eei_hex_decode(text, out, 32, err);
}

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
    ee_policy *p = eei_policy_new();
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

static bool same_pins(const eei_profile *a, const eei_profile *b) {
    return a->pinned == b->pinned && !memcmp(a->value, b->value, sizeof a->value);
}

ee_status ee_policy_accept(const ee_policy *policy, const ee_verdict *verdict, const char *name, ee_policy **out, ee_error *err) {
    const eei_quote *quote = verdict ? eei_verdict_quote(verdict) : NULL;
    eei_profile profile = {.name = ""};
    ee_policy *p = NULL;
    if (!policy || !verdict || !out) return eei_fail(err, EE_E_INVALID, "policy, verdict or out is NULL");
    *out = NULL;
    if (!quote) return eei_fail(err, EE_E_STATE, "the verdict is not verified: nothing of it may be pinned");
    if (name && !eei_profile_name_ok(name)) return eei_fail(err, EE_E_INVALID, "the name is no " EEI_PROFILE_NAME_FORM);
    if (policy->profile_count >= EEI_PROFILES_MAX)
        return eei_fail(err, EE_E_LIMIT, "the policy has %zu profiles, limit %d", policy->profile_count, EEI_PROFILES_MAX);
    snprintf(profile.name, sizeof profile.name, "%s", name ? name : "");
    for (int pin = EEI_PIN_MRTD; pin <= EEI_PIN_RTMR2; pin++) {
        profile.pinned |= 1u << pin;
        memcpy(profile.value[pin], eei_pin_of_quote(quote, (eei_pin_id)pin), 48);
    }
    ee_status st = policy_copy(policy, policy->profile_count + 1, &p, err);
    if (st) return st;
    bool known = false;
    for (size_t i = 0; i < p->profile_count; i++) known |= same_pins(&p->profiles[i], &profile);
    if (!known) p->profiles[p->profile_count++] = profile;
    p->allow_any_measurement = false;
    st = eei_policy_seal(p, err);
    if (!st) *out = eei_take(&p);
    ee_policy_free(p);
    return st;
}

ee_status ee_policy_unpinned(const ee_policy *policy, ee_policy **out, ee_error *err) {
    ee_policy *p = NULL;
    if (!policy || !out) return eei_fail(err, EE_E_INVALID, "policy or out is NULL");
    *out = NULL;
    ee_status st = policy_copy(policy, 0, &p, err);
    if (st) return st;
    p->profile_count = 0;
    p->allow_any_measurement = true;
    st = eei_policy_seal(p, err);
    if (!st) *out = eei_take(&p);
    ee_policy_free(p);
    return st;
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

static ee_status pin_hash(bool *has, uint8_t kept[32], const uint8_t value[32], const char *what, ee_error *err) {
    if (*has && memcmp(kept, value, 32)) return eei_fail(err, EE_E_CONFLICT, "the policy pins another %s", what);
    *has = true;
    memcpy(kept, value, 32);
    return EE_OK;
}

ee_status ee_policy_pin(const ee_policy *policy, const char *what, const char *hex, ee_policy **out, ee_error *err) {
    ee_policy *p = NULL;
    uint8_t value[48];
    if (!policy || !what || !hex || !out) return eei_fail(err, EE_E_INVALID, "policy, what, hex or out is NULL");
    *out = NULL;
    int pin = eei_pin_by_name(what);
    bool image = !strcmp(what, "image"), genesis = !strcmp(what, "genesis");
    if (pin < 0 && !image && !genesis)
        return eei_fail(err, EE_E_INVALID,
                        "\"%.40s\" cannot be pinned; mrtd, rtmr0 to rtmr3, mr_seam, mr_config_id, mr_owner, mr_owner_config, image and "
                        "genesis can",
                        what);
    ee_status st = image ? eei_policy_image_parse(hex, value, err) : eei_hex_decode(hex, value, genesis ? 32 : 48, err);
    if (st) {
        eei_prefix(err, st, what);
        if (err) err->status = EE_E_INVALID;
        return EE_E_INVALID;
    }
    st = policy_copy(policy, 1, &p, err);
    if (st) return st;
    st = image     ? pin_hash(&p->has_image, p->image, value, what, err)
         : genesis ? pin_hash(&p->has_genesis, p->genesis, value, what, err)
                   : pin_profiles(p, pin, value, err);
    if (!st) st = eei_policy_seal(p, err);
    if (!st) *out = eei_take(&p);
    ee_policy_free(p);
    return st;
}
