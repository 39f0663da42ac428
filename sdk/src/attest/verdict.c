/* verdict.c - the list of checks: built row by row, sealed once, read after. It makes no check itself; how a verdict looks to people and
 * to programs is in verdict_text.c and verdict_json.c. Called by verify.c, appraise.c, evidence_file.c and through eesdk/verify.h. */
#include "attest/verdict.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* 3 MiB of quote, events and boot log, which is what an evidence file of 4 MiB can hold in base64, and the texts of 31 checks. */
enum { ARENA_MAX = 4 << 20 };

/* May be NOT_ASKED in a verified verdict; every other check must have passed. */
static const struct {
    const char *name, *title;
    bool optional;
} checks[EEI_CHECK_COUNT] = {
    [EEI_CHECK_EVIDENCE_FILE] = {"evidence_file", "evidence file", false},
    [EEI_CHECK_COLLATERAL_FORMAT] = {"collateral_format", "collateral format", false},
    [EEI_CHECK_QUOTE_FORMAT] = {"quote_format", "quote format", false},
    [EEI_CHECK_PCK_CHAIN] = {"pck_chain", "PCK chain", false},
    [EEI_CHECK_PCK_CRL] = {"pck_crl", "revocation", false},
    [EEI_CHECK_TCB_INFO_SIGNATURE] = {"tcb_info_signature", "TCB info signature", false},
    [EEI_CHECK_QE_IDENTITY_SIGNATURE] = {"qe_identity_signature", "QE identity signature", false},
    [EEI_CHECK_QE_REPORT_SIGNATURE] = {"qe_report_signature", "QE report signature", false},
    [EEI_CHECK_ATTESTATION_KEY] = {"attestation_key", "attestation key", false},
    [EEI_CHECK_QUOTE_SIGNATURE] = {"quote_signature", "quote signature", false},
    [EEI_CHECK_VALIDITY] = {"validity", "validity", false},
    [EEI_CHECK_QE_IDENTITY] = {"qe_identity", "quoting enclave", false},
    [EEI_CHECK_TDX_MODULE] = {"tdx_module", "TDX module", false},
    [EEI_CHECK_TCB_STATUS] = {"tcb_status", "TCB status", false},
    [EEI_CHECK_TD_ATTRIBUTES] = {"td_attributes", "TD attributes", false},
    [EEI_CHECK_MEASUREMENT] = {"measurement", "measurement", false},
    [EEI_CHECK_BOOT_LOG] = {"boot_log", "boot log", true},
    [EEI_CHECK_MACHINE] = {"machine", "machine", true},
    [EEI_CHECK_REPORT_DATA] = {"report_data", "report data", true},
    [EEI_CHECK_STATEMENT] = {"statement", "statement", false},
    [EEI_CHECK_INSTANCE_KEY] = {"instance_key", "instance key", false},
    [EEI_CHECK_SIMULATED] = {"simulated", "simulation flag", false},
    [EEI_CHECK_PURPOSE] = {"purpose", "purpose and role", false},
    [EEI_CHECK_FRESHNESS] = {"freshness", "freshness", true},
    [EEI_CHECK_CHANNEL] = {"channel", "channel", true},
    [EEI_CHECK_TLS_KEY] = {"tls_key", "TLS key", true},
    [EEI_CHECK_TRANSCRIPT] = {"transcript", "transcript", true},
    [EEI_CHECK_INSTANCE] = {"instance", "instance", true},
    [EEI_CHECK_NODE] = {"node", "node", true},
    [EEI_CHECK_EVENT_LOG] = {"event_log", "event log", false},
    [EEI_CHECK_IMAGE] = {"image", "image", true},
    [EEI_CHECK_GENESIS] = {"genesis", "genesis", true},
};

#define BIT EEI_CHECK_BIT
#define QUOTE_CHECKS                                                                                                                       \
    (BIT(EEI_CHECK_COLLATERAL_FORMAT) | BIT(EEI_CHECK_VALIDITY) | BIT(EEI_CHECK_QUOTE_FORMAT) | BIT(EEI_CHECK_PCK_CHAIN) |                 \
     BIT(EEI_CHECK_PCK_CRL) | BIT(EEI_CHECK_TCB_INFO_SIGNATURE) | BIT(EEI_CHECK_QE_IDENTITY_SIGNATURE) |                                   \
     BIT(EEI_CHECK_QE_REPORT_SIGNATURE) | BIT(EEI_CHECK_ATTESTATION_KEY) | BIT(EEI_CHECK_QUOTE_SIGNATURE) | BIT(EEI_CHECK_QE_IDENTITY) |   \
     BIT(EEI_CHECK_TDX_MODULE) | BIT(EEI_CHECK_TCB_STATUS) | BIT(EEI_CHECK_TD_ATTRIBUTES) | BIT(EEI_CHECK_MEASUREMENT) |                   \
     BIT(EEI_CHECK_BOOT_LOG) | BIT(EEI_CHECK_MACHINE) | BIT(EEI_CHECK_REPORT_DATA))
#define CONTEXT_CHECKS                                                                                                                     \
    (BIT(EEI_CHECK_STATEMENT) | BIT(EEI_CHECK_INSTANCE_KEY) | BIT(EEI_CHECK_SIMULATED) | BIT(EEI_CHECK_PURPOSE) |                          \
     BIT(EEI_CHECK_FRESHNESS) | BIT(EEI_CHECK_CHANNEL) | BIT(EEI_CHECK_TLS_KEY) | BIT(EEI_CHECK_TRANSCRIPT) | BIT(EEI_CHECK_INSTANCE) |    \
     BIT(EEI_CHECK_NODE) | BIT(EEI_CHECK_IMAGE))
const uint32_t eei_checks_of_evidence = QUOTE_CHECKS | CONTEXT_CHECKS | BIT(EEI_CHECK_EVENT_LOG) | BIT(EEI_CHECK_GENESIS);
const uint32_t eei_checks_of_session = CONTEXT_CHECKS;
_Static_assert(EEI_CHECK_COUNT <= 32, "a check is a bit of a uint32_t");

uint32_t eei_checks_of_bare_quote(const ee_policy *policy) {
    return QUOTE_CHECKS | (policy->has_image ? BIT(EEI_CHECK_IMAGE) : 0) | (policy->has_genesis ? BIT(EEI_CHECK_GENESIS) : 0);
}

const char *eei_check_name(eei_check_id id) { return checks[id].name; }
const char *eei_check_title(const ee_verdict *v, eei_check_id id) { return v->rows[id].title ? v->rows[id].title : checks[id].title; }

const char *eei_check_explain(const ee_verdict *v, eei_check_id id) {
    const eei_check_row *row = &v->rows[id];
    return row->state == EEI_CHECK_PENDING ? "not reached" : row->explain ? row->explain : "";
}

/* ---- life ---- */

ee_verdict *eei_verdict_new(const ee_policy *policy, uint32_t wanted, uint64_t now_unix_s) {
    ee_verdict *v = eei_calloc(1, sizeof *v);
    if (!v) return NULL;
    atomic_init(&v->refs, 1);
    v->arena = (eei_arena)EEI_ARENA_INIT(ARENA_MAX);
    v->policy = eei_policy_ref(policy);
    v->wanted = wanted;
    v->now_unix_s = now_unix_s;
    return v;
}

ee_verdict *ee_verdict_ref(const ee_verdict *verdict) {
    ee_verdict *v = (ee_verdict *)(uintptr_t)verdict; /* immutable but for its count */
    if (v) atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void ee_verdict_free(ee_verdict *verdict) {
    if (!verdict || atomic_fetch_sub_explicit(&verdict->refs, 1, memory_order_acq_rel) != 1) return;
    ee_policy_free(verdict->policy);
    ee_collateral_free(verdict->collateral);
    ee_verdict_free(verdict->base);
    eei_arena_clear(&verdict->arena);
    eei_free(atomic_load(&verdict->text));
    eei_free(atomic_load(&verdict->json));
    eei_free(verdict);
}

/* ---- building ---- */

const char *eei_verdict_printf(ee_verdict *v, const char *format, ...) {
    char text[1024], line[sizeof text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    eei_clean_text(line, sizeof line, text); /* JSON takes nothing but UTF-8 */
    const char *kept = eei_arena_text(&v->arena, eei_span_text(line));
    if (!kept) v->nomem = true;
    return kept;
}

const char *eei_verdict_hex(ee_verdict *v, const uint8_t *data, size_t len) {
    char *hex = eei_arena_alloc(&v->arena, 2 * len + 1);
    if (!hex) {
        v->nomem = true;
        return NULL;
    }
    eei_hex_encode(eei_span(data, len), hex);
    return hex;
}

ee_span eei_verdict_copy(ee_verdict *v, ee_span bytes) {
    if (!bytes.len) return (ee_span){NULL, 0};
    uint8_t *copy = eei_arena_alloc(&v->arena, bytes.len);
    if (!copy) {
        v->nomem = true;
        return (ee_span){NULL, 0};
    }
    memcpy(copy, bytes.data, bytes.len);
    return eei_span(copy, bytes.len);
}

static void decide(ee_verdict *v, eei_check_id id, eei_check_state state, ee_status reason, const char *explain) {
    eei_check_row *row = &v->rows[id];
    EE_ASSERT(!v->sealed && (v->wanted & EEI_CHECK_BIT(id)));
    if (row->state == EEI_CHECK_FAILED) return; /* a failure is final */
    row->state = state;
    row->reason = reason;
    row->explain = explain;
}

void eei_verdict_pass(ee_verdict *v, eei_check_id id, const char *explain) { decide(v, id, EEI_CHECK_PASSED, EE_OK, explain); }
void eei_verdict_skip(ee_verdict *v, eei_check_id id, const char *explain) { decide(v, id, EEI_CHECK_NOT_ASKED, EE_OK, explain); }
void eei_verdict_fail(ee_verdict *v, eei_check_id id, const char *explain) { eei_verdict_fail_as(v, id, EE_E_ATTESTATION, explain); }

/* Programs act on three kinds: get newer collateral, look at the input, distrust the peer. */
void eei_verdict_fail_as(ee_verdict *v, eei_check_id id, ee_status reason, const char *explain) {
    bool unreadable = reason == EE_E_MALFORMED || reason == EE_E_LIMIT || reason == EE_E_VERSION;
    decide(v, id, EEI_CHECK_FAILED, unreadable ? EE_E_MALFORMED : reason == EE_E_EXPIRED ? reason : EE_E_ATTESTATION, explain);
}

void eei_verdict_compare(ee_verdict *v, eei_check_id id, const char *expected, const char *actual) {
    v->rows[id].expected = expected;
    v->rows[id].actual = actual;
}

ee_status eei_verdict_judge(ee_verdict *v, eei_check_id id, ee_status st, const ee_error *why, const char *explain_pass) {
    if (st == EE_E_NOMEM) {
        v->nomem = true;
        return st;
    }
    if (st)
        eei_verdict_fail_as(v, id, st, eei_verdict_printf(v, "%s", why->message));
    else
        eei_verdict_pass(v, id, explain_pass);
    return st;
}

void eei_verdict_fail_pins_of_log(ee_verdict *v) {
    if (v->wanted & BIT(EEI_CHECK_IMAGE))
        eei_verdict_fail(v, EEI_CHECK_IMAGE, "the policy pins an image, and a bare quote does not say which image runs");
    if (v->wanted & BIT(EEI_CHECK_GENESIS))
        eei_verdict_fail(v, EEI_CHECK_GENESIS, "the policy pins a genesis, and a bare quote does not say from which one it was started");
}

/* ---- sealing ---- */

static ee_status tell_check(const ee_verdict *v, size_t id, ee_error *err) {
    const eei_check_row *row = &v->rows[id];
    const char *actual = row->actual ? row->actual : "", *expected = row->expected ? row->expected : "";
    if (*expected || *actual)
        eei_fail(err, EE_E_ATTESTATION, "%s: %.200s; expected %.110s, actual %.110s", checks[id].name,
                 eei_check_explain(v, (eei_check_id)id), *expected ? expected : "-", *actual ? actual : "-");
    else
        eei_fail(err, EE_E_ATTESTATION, "%s: %.400s", checks[id].name, eei_check_explain(v, (eei_check_id)id));
    if (err)
        snprintf(err->details, sizeof err->details, "{\"check\":\"%s\",\"reason\":\"%s\"}", checks[id].name,
                 row->state == EEI_CHECK_FAILED ? ee_status_word(row->reason) : ee_status_word(EE_E_ATTESTATION));
    return EE_E_ATTESTATION;
}

/* The first that failed; where none did, the first that was not made. */
static ee_status tell(const ee_verdict *v, ee_error *err) {
    size_t told = EEI_CHECK_COUNT;
    for (size_t i = EEI_CHECK_COUNT; i-- > 0;) {
        const eei_check_row *row = &v->rows[i];
        bool better = told == EEI_CHECK_COUNT || row->state == EEI_CHECK_FAILED || v->rows[told].state != EEI_CHECK_FAILED;
        if (!(v->wanted & EEI_CHECK_BIT(i)) || row->state == EEI_CHECK_PASSED) continue;
        if (better && !(row->state == EEI_CHECK_NOT_ASKED && checks[i].optional)) told = i;
    }
    return told == EEI_CHECK_COUNT ? EE_OK : tell_check(v, told, err);
}

ee_status eei_verdict_seal(ee_verdict **v, ee_verdict **out, ee_error *err) {
    ee_verdict *it = eei_take(v);
    *out = NULL;
    ee_status st = it->nomem ? EE_E_NOMEM : EE_OK;
    bool verified = true;
    /* Success is decided here and nowhere else, over the whole list, after everything has run. */
    for (size_t i = 0; i < EEI_CHECK_COUNT; i++) {
        if (!(it->wanted & EEI_CHECK_BIT(i))) continue;
        eei_check_state state = it->rows[i].state;
        if (state != EEI_CHECK_PASSED && !(state == EEI_CHECK_NOT_ASKED && checks[i].optional)) verified = false;
    }
    it->verified = verified && it->authentic;
    it->sealed = true;
    if (st) {
        ee_verdict_free(it);
        return eei_nomem(err);
    }
    *out = it;
    if (it->verified) return EE_OK;
    st = tell(it, err);
    return st ? st : eei_fail(err, EE_E_ATTESTATION, "not verified");
}

/* ---- reading ---- */

int ee_verdict_verified(const ee_verdict *verdict) { return verdict && verdict->verified; }
int ee_verdict_simulated(const ee_verdict *verdict) { return verdict && verdict->policy->simulated; }
const char *ee_verdict_tcb_status(const ee_verdict *verdict) { return verdict && verdict->tcb_status ? verdict->tcb_status : ""; }

/* The first to ask makes it; of two that ask at once, one keeps its own work and the other's goes. */
const char *eei_verdict_made_once(const ee_verdict *verdict, _Atomic(char *) *slot, char *(*make)(const ee_verdict *)) {
    char *have = atomic_load_explicit(slot, memory_order_acquire);
    if (have) return have;
    char *mine = make(verdict);
    if (!mine) return "";
    if (atomic_compare_exchange_strong_explicit(slot, &have, mine, memory_order_acq_rel, memory_order_acquire)) return mine;
    eei_free(mine);
    return have;
}

size_t ee_verdict_check_count(const ee_verdict *verdict) {
    size_t n = 0;
    for (size_t i = 0; verdict && i < EEI_CHECK_COUNT; i++) n += (verdict->wanted & EEI_CHECK_BIT(i)) != 0;
    return n;
}

ee_status ee_verdict_check_at(const ee_verdict *verdict, size_t index, ee_check *out, ee_error *err) {
    static const ee_check_result results[] = {EE_CHECK_SKIPPED, EE_CHECK_PASS, EE_CHECK_FAIL, EE_CHECK_SKIPPED};
    if (!verdict || !out) return eei_fail(err, EE_E_INVALID, "verdict or out is NULL");
    for (size_t i = 0; i < EEI_CHECK_COUNT; i++) {
        if (!(verdict->wanted & EEI_CHECK_BIT(i)) || index-- > 0) continue;
        const eei_check_row *row = &verdict->rows[i];
        out->name = checks[i].name;
        out->result = results[row->state];
        out->expected = row->expected ? row->expected : "";
        out->actual = row->actual ? row->actual : "";
        out->explain = eei_check_explain(verdict, (eei_check_id)i);
        return EE_OK;
    }
    return eei_fail(err, EE_E_INVALID, "the verdict has %zu checks", ee_verdict_check_count(verdict));
}

const eei_statement *eei_verdict_statement(const ee_verdict *v) { return v && v->verified && v->has_statement ? &v->statement : NULL; }

const eei_quote *eei_verdict_quote(const ee_verdict *v) { return v && v->verified ? &v->quote : NULL; }

const uint8_t *eei_verdict_machine_id(const ee_verdict *v) {
    if (!v || !v->verified) return NULL;
    return eei_pck_machine_id(&v->pck);
}

const eei_event *eei_verdict_events(const ee_verdict *v, size_t *count) {
    bool known = v && v->verified;
    *count = known ? v->event_count : 0;
    return known ? v->events : NULL;
}

ee_span eei_verdict_ticket(const ee_verdict *v) { return v && v->verified ? v->ticket : eei_span(NULL, 0); }

uint64_t eei_verdict_time(const ee_verdict *v) { return v && v->verified ? v->now_unix_s : 0; }
