/* verify.c - the strict verification of a TDX quote: an ordered list of named checks, each link before what hangs on it.
 * No network, no clock of its own, no success before all checks have run. Called through eesdk/verify.h and by appraise.c.
 * Spec: Intel TDX DCAP Quoting Library API; PCS API v4. Threats Q1 to Q6. */
#include "attest/boot_log.h"
#include "attest/crypto.h"
#include "attest/statement.h"
#include "attest/verdict.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/options.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

enum { ATTRIBUTE_SEPT_VE_DISABLE = 28 };

/* One verification under way. */
typedef struct run {
    ee_verdict *v;
    bool strict;
    eei_chain own_chain;    /* from the quote */
    const eei_chain *chain; /* own_chain or the collateral's */
    eei_p256 *p256;
    const eei_collateral_facts *facts;
    const eei_svn_level *qe_level, *module_level;
    eei_tcb_status qe_status;
    bool levels_known; /* qe_identity and tdx_module passed */
} run;

/* A step returns false when nothing after it can be meaningful. */
typedef bool (*step)(run *r);

/* ---- authenticity: each step only uses what the steps before it have proved ---- */

static bool collateral_format(run *r) {
    eei_verdict_pass(r->v, EEI_CHECK_COLLATERAL_FORMAT, "complete");
    return true;
}

static bool quote_format(run *r) {
    if (r->v->rows[EEI_CHECK_QUOTE_FORMAT].state == EEI_CHECK_FAILED) return false; /* by its length */
    ee_error why = {0};
    eei_quote *q = &r->v->quote;
    ee_status st = eei_quote_parse(r->v->quote_bytes, q, &why);
    bool zeros = true;
    for (size_t i = 0; !st && i < q->trailing.len; i++) zeros = zeros && !q->trailing.data[i];
    if (!st && r->strict && !zeros) st = eei_fail(&why, EE_E_MALFORMED, "%zu bytes after the quote are not zero", q->trailing.len);
    const char *good = st ? NULL
                          : eei_verdict_printf(r->v, "version %u, TD report 1.%d, %zu bytes", q->version,
                                               q->body_type == EEI_BODY_TD15 ? 5 : 0, r->v->quote_bytes.len - q->trailing.len);
    return !eei_verdict_judge(r->v, EEI_CHECK_QUOTE_FORMAT, st, &why, good);
}

/* From the quote (certification data type 5), else from the collateral: harmless, as it must still sign the QE report. Where both have one
 * they are one: nothing in a collateral goes unlooked at. */
static ee_status pick_chain(run *r, ee_error *why) {
    const eei_quote *q = &r->v->quote;
    const eei_chain *delivered = &r->v->collateral->pck_chain;
    r->chain = q->cert_type == EEI_CERT_PCK_CHAIN ? &r->own_chain : delivered;
    ee_status st = q->cert_type == EEI_CERT_PCK_CHAIN ? eei_chain_parse(q->cert_data, &r->own_chain, why) : EE_OK;
    if (!st && !r->chain->count)
        st =
            eei_fail(why, EE_E_MALFORMED, "certification data is of type %u and the collateral has no pck_certificate_chain", q->cert_type);
    if (!st && delivered->count && !eei_chain_same(r->chain, delivered))
        st = eei_fail(why, EE_E_AUTH, "the collateral's pck_certificate_chain is another one than the quote's own");
    return st;
}

static bool pck_chain(run *r) {
    ee_error why = {0};
    ee_status st = pick_chain(r, &why);
    if (!st) st = eei_trust_anchor(r->chain, r->v->policy->anchor, &why);
    if (!st) st = eei_trust_pck(r->v->collateral, &r->facts->trust, r->chain, r->p256, &why);
    if (!st) st = eei_pck_parse(&r->chain->certs[0], &r->v->pck, &why);
    const char *anchor = r->v->policy->simulated ? "chain to the simulated root of the policy" : "chain to Intel SGX Root CA";
    return !eei_verdict_judge(r->v, EEI_CHECK_PCK_CHAIN, st, &why, anchor);
}

static bool pck_crl(run *r) {
    ee_error why = r->facts->trust.crls.why;
    ee_status st = r->facts->trust.crls.status;
    if (!st) st = eei_trust_same_root(&r->v->collateral->crl_chain, r->chain, &why);
    if (!st) st = eei_trust_revocation(r->v->collateral, r->chain, &why);
    return !eei_verdict_judge(r->v, EEI_CHECK_PCK_CRL, st, &why, "no certificate of the chains is revoked");
}

static bool tcb_info_signature(run *r) {
    ee_error why = r->facts->tcb_info.why;
    const eei_pck *pck = &r->v->pck;
    const eei_tcb_info *info = &r->facts->info;
    ee_status st = r->facts->tcb_info.status;
    if (!st) st = eei_trust_same_root(&r->v->collateral->tcb_info_chain, r->chain, &why);
    if (!st && memcmp(info->fmspc, pck->fmspc, 6)) {
        st = eei_fail(&why, EE_E_AUTH, "TCB info is for another platform type (FMSPC)");
        eei_verdict_compare(r->v, EEI_CHECK_TCB_INFO_SIGNATURE, eei_verdict_hex(r->v, pck->fmspc, 6),
                            eei_verdict_hex(r->v, info->fmspc, 6));
    }
    if (!st && memcmp(info->pceid, pck->pceid, 2)) {
        st = eei_fail(&why, EE_E_AUTH, "TCB info is for another provisioning enclave (PCE id)");
        eei_verdict_compare(r->v, EEI_CHECK_TCB_INFO_SIGNATURE, eei_verdict_hex(r->v, pck->pceid, 2),
                            eei_verdict_hex(r->v, info->pceid, 2));
    }
    r->v->tcb_evaluation = info->evaluation;
    const char *good = st ? NULL
                          : eei_verdict_printf(r->v, "signed under the same root, for this platform type; evaluation %llu",
                                               (unsigned long long)info->evaluation);
    return !eei_verdict_judge(r->v, EEI_CHECK_TCB_INFO_SIGNATURE, st, &why, good);
}

static bool qe_identity_signature(run *r) {
    ee_error why = r->facts->qe_identity.why;
    ee_status st = r->facts->qe_identity.status;
    if (!st) st = eei_trust_same_root(&r->v->collateral->qe_identity_chain, r->chain, &why);
    r->v->qe_evaluation = r->facts->qe.evaluation;
    return !eei_verdict_judge(r->v, EEI_CHECK_QE_IDENTITY_SIGNATURE, st, &why, "signed under the same root");
}

static bool qe_report_signature(run *r) {
    ee_error why = {0};
    const eei_quote *q = &r->v->quote;
    ee_status st = eei_p256_verify(r->p256, r->chain->certs[0].key, q->qe_report_bytes, q->qe_report_signature, &why);
    return !eei_verdict_judge(r->v, EEI_CHECK_QE_REPORT_SIGNATURE, st, &why, "the quoting enclave's report is signed by the PCK key");
}

/* The QE vouches for the attestation key: first half of its report data is the hash of key and auth data, second half is zero. */
static bool attestation_key(run *r) {
    const eei_quote *q = &r->v->quote;
    const ee_span parts[] = {{q->attestation_key, 64}, q->qe_auth_data};
    uint8_t want[64] = {0};
    eei_hash_parts(EEI_SHA256, parts, 2, want);
    if (memcmp(want, q->qe_report.report_data, 64)) {
        eei_verdict_fail(r->v, EEI_CHECK_ATTESTATION_KEY, "the quoting enclave did not vouch for the key that signed the quote");
        return false;
    }
    eei_verdict_pass(r->v, EEI_CHECK_ATTESTATION_KEY, "the quoting enclave vouches for the key");
    return true;
}

static bool quote_signature(run *r) {
    ee_error why = {0};
    const eei_quote *q = &r->v->quote;
    ee_status st = eei_p256_verify(r->p256, q->attestation_key, q->signed_part, q->signature, &why);
    return !eei_verdict_judge(r->v, EEI_CHECK_QUOTE_SIGNATURE, st, &why, "header and TD report are signed by that key");
}

/* ---- acceptance: the quote is authentic; every check is made, so that people see all that is wrong at once ---- */

static const char *utc(run *r, uint64_t unix_s) {
    char text[32];
    return eei_verdict_printf(r->v, "%s", eei_format_utc(unix_s <= UINT64_MAX / 1000 ? unix_s * 1000 : UINT64_MAX, text));
}

/* Old collateral is told apart from a forged one, and a wrong clock is named: it is the likeliest cause. Times are inclusive at both ends
 * (RFC 5280 sect. 4.1.2.5; Intel PCS: nextUpdate). */
static bool validity(run *r) {
    ee_verdict *v = r->v;
    eei_window w = {0, UINT64_MAX, "", ""};
    const eei_collateral_facts *f = r->facts;
    eei_trust_window(v->collateral, r->chain, &w);
    eei_window_narrow(&w, f->info.issued_s, f->info.next_update_s, "TCB info");
    eei_window_narrow(&w, f->qe.issued_s, f->qe.next_update_s, "QE identity");
    const char *from = utc(r, w.from_s), *to = utc(r, w.to_s), *now = utc(r, v->now_unix_s);
    if (v->nomem) return false;
    if (v->now_unix_s >= w.from_s && v->now_unix_s <= w.to_s) {
        eei_verdict_pass(v, EEI_CHECK_VALIDITY, eei_verdict_printf(v, "certificates and collateral are in date until %s", to));
        return !v->nomem;
    }
    bool late = v->now_unix_s > w.to_s;
    eei_verdict_compare(v, EEI_CHECK_VALIDITY, eei_verdict_printf(v, "%s to %s", from, to), now);
    eei_verdict_fail_as(v, EEI_CHECK_VALIDITY, EE_E_EXPIRED,
                        late ? eei_verdict_printf(v, "the %s is expired since %s: get newer collateral, or set the clock if it is not %s",
                                                  w.to_what, to, now)
                             : eei_verdict_printf(v, "the %s is not valid before %s: the clock, which says %s, is probably behind",
                                                  w.from_what, from, now));
    return !v->nomem;
}

static bool qe_identity(run *r) {
    ee_error why = {0};
    ee_status st = eei_qe_match(&r->v->quote.qe_report, &r->facts->qe, &r->qe_status, &r->qe_level, &why);
    const char *good = st ? NULL
                          : eei_verdict_printf(r->v, "as in the signed QE identity, ISVSVN %u, %s", r->v->quote.qe_report.isvsvn,
                                               eei_tcb_status_word(r->qe_status));
    if (!st && r->qe_status == EEI_TCB_REVOKED)
        st = eei_fail(&why, EE_E_AUTH, "the quoting enclave's level (ISVSVN %u) is revoked", r->v->quote.qe_report.isvsvn);
    r->levels_known = !st;
    return eei_verdict_judge(r->v, EEI_CHECK_QE_IDENTITY, st, &why, good) != EE_E_NOMEM;
}

static bool tdx_module(run *r) {
    ee_error why = {0};
    const uint8_t *svn = r->v->quote.tee_tcb_svn;
    ee_status st = eei_module_match(&r->v->quote, &r->facts->info, &r->module_level, &why);
    const char *word = r->module_level ? eei_tcb_status_word(r->module_level->status) : "judged by the platform's level";
    const char *good = st ? NULL : eei_verdict_printf(r->v, "TDX_%02X as in the signed TCB info, ISVSVN %u, %s", svn[1], svn[0], word);
    if (!st && r->module_level && r->module_level->status == EEI_TCB_REVOKED)
        st = eei_fail(&why, EE_E_AUTH, "TDX module TDX_%02X ISVSVN %u is revoked", svn[1], svn[0]);
    if (!st) st = eei_tcb_now(&r->v->quote, &r->v->pck, &r->facts->info, &why);
    r->levels_known = r->levels_known && !st;
    return eei_verdict_judge(r->v, EEI_CHECK_TDX_MODULE, st, &why, good) != EE_E_NOMEM;
}

static void add_advisories(ee_verdict *v, const eei_advisories *from) {
    for (size_t i = 0; i < from->count; i++) {
        size_t known = 0;
        while (known < v->advisory_count && strcmp(v->advisories[known], from->ids[i])) known++;
        if (known < v->advisory_count) continue;
        v->advisories[v->advisory_count] = eei_verdict_printf(v, "%s", from->ids[i]);
        if (!v->advisories[v->advisory_count]) return;
        v->advisory_count++;
    }
}

static void collect_advisories(run *r, const eei_tcb_level *level) {
    size_t most = level->advisories.count + (r->module_level ? r->module_level->advisories.count : 0) + r->qe_level->advisories.count;
    r->v->advisories = eei_arena_alloc(&r->v->arena, (most + 1) * sizeof *r->v->advisories);
    if (!r->v->advisories) {
        r->v->nomem = true;
        return;
    }
    add_advisories(r->v, &level->advisories);
    if (r->module_level) add_advisories(r->v, &r->module_level->advisories);
    add_advisories(r->v, &r->qe_level->advisories);
}

/* Statuses the policy accepts, as people write them. */
static const char *accepted_statuses(run *r) {
    char text[320] = "";
    for (unsigned i = 0; i < EEI_TCB_REVOKED; i++) {
        size_t len = strlen(text);
        if (r->v->policy->statuses & 1u << i)
            snprintf(text + len, sizeof text - len, "%s%s", len ? " or " : "", eei_tcb_status_word((eei_tcb_status)i));
    }
    return eei_verdict_printf(r->v, "%s", text);
}

static const char *advisory_text(run *r) {
    if (!r->v->advisory_count) return eei_verdict_printf(r->v, "%s, no open advisories", r->v->tcb_status);
    return eei_verdict_printf(r->v, "%s, %zu advisories (%s ...)", r->v->tcb_status, r->v->advisory_count, r->v->advisories[0]);
}

/* The first open advisory that the exception does not name; NULL when it names them all. */
static const char *unlisted(const ee_verdict *v, const eei_tcb_exception *e) {
    for (size_t i = 0; i < v->advisory_count; i++) {
        size_t k = 0;
        while (k < e->advisory_count && strcmp(e->advisories[k], v->advisories[i])) k++;
        if (k == e->advisory_count) return v->advisories[i];
    }
    return NULL;
}

/* A status outside the list may be excused for a while. The last exception that comes near says what is missing. */
static void excuse(run *r, eei_tcb_status status) {
    ee_verdict *v = r->v;
    ee_status reason = EE_E_ATTESTATION;
    const char *why = "the machine's firmware or modules are not at a level the policy accepts";
    for (size_t i = 0; i < v->policy->exception_count; i++) {
        const eei_tcb_exception *e = &v->policy->exceptions[i];
        const char *open = unlisted(v, e);
        if (e->status != status) continue;
        if (open) {
            why =
                eei_verdict_printf(v, "the policy excuses %s (%s:%u), but not with %s open", v->tcb_status, v->policy->name, e->line, open);
        } else if (v->now_unix_s > e->until_s) {
            reason = EE_E_EXPIRED;
            why = eei_verdict_printf(v, "the policy's exception for %s (%s:%u) ended at %s", v->tcb_status, v->policy->name, e->line,
                                     utc(r, e->until_s));
        } else {
            eei_verdict_pass(v, EEI_CHECK_TCB_STATUS,
                             eei_verdict_printf(v, "%s; excused by the policy (%s:%u) until %s", advisory_text(r), v->policy->name, e->line,
                                                utc(r, e->until_s)));
            return;
        }
    }
    eei_verdict_compare(v, EEI_CHECK_TCB_STATUS, accepted_statuses(r), v->tcb_status);
    eei_verdict_fail_as(v, EEI_CHECK_TCB_STATUS, reason, why);
}

static void evaluation_number(run *r) {
    ee_verdict *v = r->v;
    uint64_t evaluation = v->tcb_evaluation < v->qe_evaluation ? v->tcb_evaluation : v->qe_evaluation;
    if (evaluation >= v->policy->min_tcb_eval || v->rows[EEI_CHECK_TCB_STATUS].state == EEI_CHECK_FAILED) return;
    eei_verdict_compare(v, EEI_CHECK_TCB_STATUS,
                        eei_verdict_printf(v, "evaluation %llu or later", (unsigned long long)v->policy->min_tcb_eval),
                        eei_verdict_printf(v, "%llu", (unsigned long long)evaluation));
    eei_verdict_fail_as(v, EEI_CHECK_TCB_STATUS, EE_E_EXPIRED,
                        "the collateral is of an older TCB evaluation than the policy demands: get newer collateral");
}

static bool tcb_status(run *r) {
    ee_error why = {0};
    eei_tcb_result result;
    ee_verdict *v = r->v;
    if (!r->levels_known) {
        eei_verdict_fail(v, EEI_CHECK_TCB_STATUS, "there is none: the quoting enclave or the TDX module is not acceptable at all");
        return true;
    }
    ee_status st = eei_tcb_match(&v->quote, &v->pck, &r->facts->info, r->module_level, r->qe_status, &result, &why);
    if (st) return eei_verdict_judge(v, EEI_CHECK_TCB_STATUS, st, &why, NULL) != EE_E_NOMEM;
    v->tcb_status = eei_tcb_status_word(result.status);
    v->tcb_date = eei_verdict_printf(v, "%s", result.level->date);
    collect_advisories(r, result.level);
    if (v->nomem) return false;
    if (result.status < EEI_TCB_REVOKED && v->policy->statuses & 1u << result.status)
        eei_verdict_pass(v, EEI_CHECK_TCB_STATUS, advisory_text(r));
    else
        excuse(r, result.status);
    evaluation_number(r);
    return !v->nomem;
}

/* What is wrong with the TD, with what was expected and found in the terms of that. */
typedef struct td_fault {
    const char *explain; /* NULL: nothing */
    const char *expected, *actual;
} td_fault;

static const char *mask_text(run *r, const char *before, uint64_t mask, const char *after) {
    return eei_verdict_printf(r->v, "%s0x%016llx%s", before, (unsigned long long)mask, after);
}

static td_fault attributes_fault(run *r) {
    const uint64_t have = r->v->quote.td_attributes, sept = UINT64_C(1) << ATTRIBUTE_SEPT_VE_DISABLE;
    const uint64_t allowed = r->v->policy->td_attributes_allow | sept, odd = have & ~allowed;
    td_fault fault = {NULL, NULL, NULL};
    unsigned bit = 0;
    if (!odd && have & sept) return fault; /* debug is never among the allowed */
    fault.expected = mask_text(r, "TD attributes within ", allowed, "");
    fault.actual = mask_text(r, "TD attributes ", have, "");
    while (bit < 64 && !(odd >> bit & 1)) bit++;
    if (have & 1) {
        fault.explain = "the TD is in debug mode: the host can read it";
    } else if (!(have & sept)) {
        fault.explain = "SEPT_VE_DISABLE is off: the host can inject exceptions into the TD";
        fault.expected = mask_text(r, "TD attributes with ", sept, " on");
    } else {
        const char *name = eei_td_attribute_name(bit);
        fault.explain =
            eei_verdict_printf(r->v, "TD attribute bit %u (%s) is on and the policy does not allow it", bit, name ? name : "reserved");
    }
    return fault;
}

static td_fault xfam_fault(run *r) {
    const ee_policy *p = r->v->policy;
    const uint64_t have = r->v->quote.xfam, odd = have & ~p->xfam_allow, lacks = p->xfam_require & ~have;
    td_fault fault = {NULL, NULL, NULL};
    if (!odd && !lacks) return fault;
    fault.explain = odd ? mask_text(r, "XFAM has bits ", odd, ": the policy does not allow these processor features")
                        : mask_text(r, "XFAM lacks bits ", lacks, ", which every TD has");
    fault.expected = odd ? mask_text(r, "XFAM within ", p->xfam_allow, "") : mask_text(r, "XFAM with ", p->xfam_require, " on");
    fault.actual = mask_text(r, "XFAM ", have, "");
    return fault;
}

static td_fault service_td_fault(run *r) {
    static const uint8_t zeros[48];
    const uint8_t *have = r->v->quote.mr_service_td;
    td_fault fault = {NULL, NULL, NULL};
    if (!memcmp(have, zeros, sizeof zeros)) return fault;
    fault.explain = "a service TD is bound to the TD (MRSERVICETD is not zero)";
    fault.expected = eei_verdict_hex(r->v, zeros, sizeof zeros);
    fault.actual = eei_verdict_hex(r->v, have, sizeof zeros);
    return fault;
}

static bool td_attributes(run *r) {
    td_fault fault = attributes_fault(r);
    if (!fault.explain) fault = xfam_fault(r);
    if (!fault.explain) fault = service_td_fault(r);
    if (r->v->nomem) return false;
    if (!fault.explain) {
        eei_verdict_pass(r->v, EEI_CHECK_TD_ATTRIBUTES, "no debug, no reserved bits, no service TD");
        return true;
    }
    eei_verdict_compare(r->v, EEI_CHECK_TD_ATTRIBUTES, fault.expected, fault.actual);
    eei_verdict_fail(r->v, EEI_CHECK_TD_ATTRIBUTES, fault.explain);
    return true;
}

/* Pins of this profile that the quote does not meet; *first is the first of them. */
static unsigned mismatches(const eei_quote *q, const eei_profile *profile, eei_pin_id *first) {
    unsigned n = 0;
    for (int i = 0; i < EEI_PIN_COUNT; i++) {
        if (!(profile->pinned & 1u << i) || !memcmp(profile->value[i], eei_pin_of_quote(q, (eei_pin_id)i), 48)) continue;
        if (!n++) *first = (eei_pin_id)i;
    }
    return n;
}

static void measurement_failed(run *r, const eei_profile *nearest, eei_pin_id pin) {
    ee_verdict *v = r->v;
    char value[97], place[160] = "";
    eei_hex_encode(eei_span(nearest->value[pin], 48), value);
    if (nearest->line[pin]) snprintf(place, sizeof place, " (%s:%u)", v->policy->name, nearest->line[pin]);
    v->rows[EEI_CHECK_MEASUREMENT].title = eei_pin_names[pin];
    eei_verdict_compare(v, EEI_CHECK_MEASUREMENT, eei_verdict_printf(v, "%s %s", eei_pin_names[pin], value),
                        eei_verdict_printf(v, "%s", eei_verdict_hex(v, eei_pin_of_quote(&v->quote, pin), 48)));
    eei_verdict_fail(v, EEI_CHECK_MEASUREMENT,
                     eei_verdict_printf(v, "the TD runs something else than the policy pins: %s%s", eei_pin_names[pin], place));
}

static bool measurement(run *r) {
    const ee_policy *p = r->v->policy;
    const eei_profile *nearest = NULL;
    eei_pin_id first = EEI_PIN_MRTD, nearest_first = EEI_PIN_MRTD;
    unsigned fewest = UINT32_MAX;
    if (!p->profile_count) {
        if (p->allow_any_measurement)
            eei_verdict_pass(r->v, EEI_CHECK_MEASUREMENT, "any measurement: the policy says so");
        else
            eei_verdict_fail(r->v, EEI_CHECK_MEASUREMENT, "the policy pins no measurements; pin what you trust in policy.toml");
        return true;
    }
    for (size_t i = 0; i < p->profile_count && fewest; i++) {
        unsigned wrong = mismatches(&r->v->quote, &p->profiles[i], &first);
        if (wrong >= fewest) continue;
        fewest = wrong;
        nearest = &p->profiles[i];
        nearest_first = first;
    }
    EE_ASSERT(nearest); /* there is at least one profile */
    if (fewest)
        measurement_failed(r, nearest, nearest_first);
    else
        eei_verdict_pass(r->v, EEI_CHECK_MEASUREMENT,
                         eei_verdict_printf(r->v, "as pinned%s%s", nearest->name[0] ? ": " : "", nearest->name));
    return !r->v->nomem;
}

static bool machine(run *r) {
    const ee_policy *p = r->v->policy;
    const uint8_t *id = eei_pck_machine_id(&r->v->pck);
    const char *hex = eei_verdict_hex(r->v, id, 16);
    eei_verdict_compare(r->v, EEI_CHECK_MACHINE, p->machine_count ? "one of the policy's machines" : "", hex);
    if (!p->machine_count) {
        eei_verdict_skip(r->v, EEI_CHECK_MACHINE, "the policy names no machines");
        return true;
    }
    for (size_t i = 0; i < p->machine_count; i++) {
        if (memcmp(p->machines[i], id, 16)) continue;
        eei_verdict_pass(r->v, EEI_CHECK_MACHINE, "one of the policy's machines");
        return true;
    }
    eei_verdict_fail(r->v, EEI_CHECK_MACHINE, "the quote is from a machine the policy does not name");
    return true;
}

static bool boot_log(run *r) {
    eei_boot_log_judge(r->v);
    return !r->v->nomem;
}

/* For bare quotes. Evidence has a statement, and appraise.c compares its hash. */
static bool report_data(run *r) {
    ee_verdict *v = r->v;
    if (v->has_statement) return true;
    if (!v->expect.has_report_data) {
        eei_verdict_skip(v, EEI_CHECK_REPORT_DATA, "no report data was given: nothing says for whom or when this quote was made");
        return true;
    }
    eei_verdict_compare(v, EEI_CHECK_REPORT_DATA, eei_verdict_hex(v, v->expect.report_data, 64),
                        eei_verdict_hex(v, v->quote.report_data, 64));
    if (memcmp(v->expect.report_data, v->quote.report_data, 64))
        eei_verdict_fail(v, EEI_CHECK_REPORT_DATA, "the quote was made over other report data");
    else
        eei_verdict_pass(v, EEI_CHECK_REPORT_DATA, "as expected");
    return true;
}

ee_status eei_verify_into(ee_verdict *v, bool strict, ee_error *err) {
    static const step authenticity[] = {pck_chain,           pck_crl,         tcb_info_signature, qe_identity_signature,
                                        qe_report_signature, attestation_key, quote_signature};
    static const step acceptance[] = {validity,    qe_identity, tdx_module, tcb_status, td_attributes,
                                      measurement, boot_log,    machine,    report_data};
    run r = {.v = v, .strict = strict, .qe_status = EEI_TCB_NOT_SUPPORTED};
    if (!collateral_format(&r) || !quote_format(&r)) return v->nomem ? eei_nomem(err) : EE_OK; /* what cannot be read costs no signature */
    ERR_set_mark();                                                                            /* OpenSSL's queue is left as it was found */
    ee_status st = eei_p256_new(&r.p256, err);
    if (!st) st = eei_collateral_known(v->collateral, r.p256, &r.facts, err);
    bool go = !st;
    for (size_t i = 0; go && i < sizeof authenticity / sizeof authenticity[0]; i++) go = authenticity[i](&r);
    v->authentic = go && !v->nomem;
    for (size_t i = 0; go && i < sizeof acceptance / sizeof acceptance[0]; i++) go = acceptance[i](&r);
    ERR_pop_to_mark();
    eei_chain_clear(&r.own_chain);
    eei_p256_free(r.p256);
    return st ? st : v->nomem ? eei_nomem(err) : EE_OK;
}

void eei_verify_without(ee_verdict *v, ee_status st, const ee_error *why) {
    run r = {.v = v};
    eei_verdict_judge(v, EEI_CHECK_COLLATERAL_FORMAT, st, why, NULL);
    (void)quote_format(&r);
}

/* ---- public ---- */

static const eei_options_kind verify_options = {"ee_verify_options", offsetof(ee_verify_options, ccel), sizeof(ee_verify_options)};

/* One that cannot be read is a failed check like any other. */
static void take_boot_log(ee_verdict *v, ee_span ccel) {
    if (!ccel.data) return;
    ee_error why = {0};
    v->has_boot_log = true;
    ee_status st = eei_boot_log_compact(ccel, &v->arena, &v->boot_events, &v->boot_event_count, &why);
    if (st) eei_verdict_judge(v, EEI_CHECK_BOOT_LOG, st, &why, NULL);
}

static ee_verdict *bare_verdict(ee_span quote, const ee_policy *policy, uint64_t now_unix_s, ee_span expected) {
    ee_verdict *v = eei_verdict_new(policy, eei_checks_of_bare_quote(policy), now_unix_s ? now_unix_s : eei_wall_ms() / 1000);
    if (!v) return NULL;
    if (quote.len <= EEI_QUOTE_BYTES_MAX) {
        v->quote_bytes = eei_verdict_copy(v, quote);
    } else { /* judged by its length alone, and not kept */
        ee_error why = {0};
        eei_verdict_judge(v, EEI_CHECK_QUOTE_FORMAT, eei_quote_parse(quote, &v->quote, &why), &why, NULL);
    }
    v->expect.has_report_data = expected.len == 64;
    if (expected.len) memcpy(v->expect.report_data, expected.data, 64);
    eei_verdict_fail_pins_of_log(v);
    return v;
}

/* collateral, or why there is none. */
static ee_status verify_bare(ee_span quote, const ee_collateral *collateral, ee_status none, const ee_error *why, const ee_policy *policy,
                             const ee_verify_options *given, ee_verdict **out, ee_error *err) {
    ee_policy *production = NULL;
    ee_verify_options options;
    if (!quote.data && quote.len) return eei_fail(err, EE_E_INVALID, "quote is NULL");
    ee_status st = eei_options_take(&verify_options, given, &options, err);
    if (st) return st;
    const ee_span expected = options.expected_report_data;
    const bool half = given && given->struct_bytes < sizeof options; /* of a span: it is there whole, or not at all */
    const ee_span ccel = half ? (ee_span){NULL, 0} : options.ccel;
    if (!ccel.data && ccel.len) return eei_fail(err, EE_E_INVALID, "ccel is NULL");
    if (expected.len && (expected.len != 64 || !expected.data))
        return eei_fail(err, EE_E_INVALID, "expected_report_data is %zu bytes, must be 64", expected.len);
    if (!policy) st = ee_policy_production(&production, err);
    if (st) return st;
    ee_verdict *v = bare_verdict(quote, policy ? policy : production, options.now_unix_s, expected);
    if (v) take_boot_log(v, ccel);
    if (!v || v->nomem) {
        st = eei_nomem(err);
    } else if (collateral) {
        v->collateral = eei_collateral_ref(collateral);
        st = eei_verify_into(v, false, err);
    } else {
        eei_verify_without(v, none, why);
        if (v->nomem) st = eei_nomem(err);
    }
    if (!st) st = eei_verdict_seal(&v, out, err);
    ee_verdict_free(v);
    ee_policy_free(production);
    return st;
}

ee_status ee_verify_quote(ee_span quote, const ee_collateral *collateral, const ee_policy *policy, const ee_verify_options *options,
                          ee_verdict **out, ee_error *err) {
    if (!out) return eei_fail(err, EE_E_INVALID, "out is NULL");
    *out = NULL;
    if (!collateral) return eei_fail(err, EE_E_INVALID, "collateral is NULL");
    return verify_bare(quote, collateral, EE_OK, NULL, policy, options, out, err);
}

ee_status ee_verify_quote_json(ee_span quote, ee_span collateral_json, const ee_policy *policy, const ee_verify_options *options,
                               ee_verdict **out, ee_error *err) {
    ee_collateral *collateral = NULL;
    ee_error why = {0};
    if (!out) return eei_fail(err, EE_E_INVALID, "out is NULL");
    *out = NULL;
    if (!collateral_json.data && collateral_json.len) return eei_fail(err, EE_E_INVALID, "collateral is NULL");
    ee_status st = ee_collateral_parse(collateral_json, &collateral, &why);
    if (st == EE_E_NOMEM) return eei_nomem(err);
    st = verify_bare(quote, collateral, st, &why, policy, options, out, err);
    ee_collateral_free(collateral);
    return st;
}
