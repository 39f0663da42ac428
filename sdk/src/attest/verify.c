/* verify.c - the strict verification of a TDX quote: an ordered list of named checks, each link before what hangs on it.
 * No network, no clock of its own, no success before all checks have run. Called through eesdk/verify.h and by appraise.c.
 * Spec: Intel TDX DCAP Quoting Library API; PCS API v4. Threats Q1 to Q6. */
#include "attest/crypto.h"
#include "attest/statement.h"
#include "attest/verdict.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

enum { WORK_ARENA_MAX = 4 << 20, ATTRIBUTE_SEPT_VE_DISABLE = 28 };

/* Features TDX can save and restore for a TD; x87 and SSE are always there. Spec: Intel TDX Module Base Architecture, XFAM. */
static const uint64_t xfam_fixed1 = 3, xfam_allowed = 0x0006dbe7;

/* One verification under way. */
typedef struct run {
    ee_verdict *v;
    bool strict;
    eei_chain own_chain;    /* from the quote */
    const eei_chain *chain; /* own_chain or the collateral's */
    eei_arena arena;        /* parsed collateral */
    eei_tcb_info info;
    eei_qe_identity qe;
    bool signer_trusted; /* the TCB info's chain was good; the QE identity's is usually the same */
    const eei_svn_level *qe_level, *module_level;
    eei_tcb_status qe_status;
    bool levels_known; /* qe_identity and tdx_module passed */
    bool tcb_is_bad;
} run;

/* A step returns false when nothing after it can be meaningful. */
typedef bool (*step)(run *r);

/* ---- authenticity: each step only uses what the steps before it have proved ---- */

static bool quote_format(run *r) {
    ee_error why = {0};
    eei_quote *q = &r->v->quote;
    ee_status st = eei_quote_parse(r->v->quote_bytes, q, &why);
    bool zeros = true;
    for (size_t i = 0; !st && i < q->trailing.len; i++) zeros = zeros && !q->trailing.data[i];
    if (!st && r->strict && !zeros) st = eei_fail(&why, EE_E_MALFORMED, "%zu bytes after the quote are not zero", q->trailing.len);
    const char *good = st ? NULL
                          : eei_verdict_printf(r->v, "version %u, TD report 1.%d, %zu bytes", q->version,
                                               q->body_type == EEI_BODY_TD15 ? 5 : 0, r->v->quote_bytes.len);
    return !eei_verdict_judge(r->v, EEI_CHECK_QUOTE_FORMAT, st, &why, good);
}

/* From the quote (certification data type 5), else from the collateral: harmless, as it must still sign the QE report. */
static ee_status pick_chain(run *r, ee_error *why) {
    const eei_quote *q = &r->v->quote;
    const eei_chain *const known[] = {&r->v->collateral->crl_chain, &r->v->collateral->tcb_info_chain};
    if (q->cert_type == EEI_CERT_PCK_CHAIN) {
        r->chain = &r->own_chain;
        return eei_chain_parse_known(q->cert_data, known, 2, &r->own_chain, why);
    }
    if (!r->v->collateral->pck_chain.count)
        return eei_fail(why, EE_E_MALFORMED, "certification data is of type %u and the collateral has no pck_certificate_chain",
                        q->cert_type);
    r->chain = &r->v->collateral->pck_chain;
    return EE_OK;
}

static bool pck_chain_and_crls(run *r) {
    ee_error why = {0}, why_crl = {0};
    const ee_collateral *c = r->v->collateral;
    X509_CRL *const crls[] = {c->root_crl, c->pck_crl};
    bool revoked = false;
    ee_status st = pick_chain(r, &why), crl = EE_OK;
    if (!st) st = eei_chain_check(r->chain, EEI_CHAIN_PCK, r->v->policy->anchor, r->v->now_unix_s, &why);
    if (!st) crl = eei_crl_check(c->root_crl, r->chain->certs[2], "root CRL", r->v->now_unix_s, &why_crl);
    if (!st && !crl) crl = eei_crl_check(c->pck_crl, r->chain->certs[1], "PCK CRL", r->v->now_unix_s, &why_crl);
    if (!st && !crl) crl = eei_trust_check(r->chain, crls, 2, &revoked, &why_crl);
    /* Only to tell which of the two is at fault: without CRLs the chain stands or falls by itself. */
    if (!st && crl) st = crl == EE_E_NOMEM ? crl : eei_trust_check(r->chain, NULL, 0, &revoked, &why);
    if (!st) st = eei_pck_parse(r->chain->certs[0], &r->v->pck, &why);
    const char *anchor = r->v->policy->simulated ? "chain to the simulated root of the policy" : "chain to Intel SGX Root CA";
    if (eei_verdict_judge(r->v, EEI_CHECK_PCK_CHAIN, st, &why, anchor)) return false;
    return !eei_verdict_judge(r->v, EEI_CHECK_PCK_CRL, crl, &why_crl, "no certificate of the chain is revoked");
}

static bool same_chain(const eei_chain *a, const eei_chain *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++)
        if (X509_cmp(a->certs[i], b->certs[i])) return false;
    return true;
}

/* Text signed by "SGX TCB Signing" under the pinned root. The bytes are the ones delivered; they are parsed only after this. */
static ee_status signed_text(run *r, const eei_chain *chain, bool chain_trusted, ee_span text, const uint8_t signature[64], ee_error *why) {
    X509_CRL *const crls[] = {r->v->collateral->root_crl};
    bool revoked = false;
    ee_status st = EE_OK;
    if (!chain_trusted) {
        st = eei_chain_check(chain, EEI_CHAIN_TCB_SIGNER, r->v->policy->anchor, r->v->now_unix_s, why);
        if (!st) st = eei_trust_check(chain, crls, 1, &revoked, why);
    }
    if (!st) st = eei_p256_verify(X509_get0_pubkey(chain->certs[0]), text, signature, why);
    return st;
}

static bool tcb_info_signature(run *r) {
    ee_error why = {0};
    const ee_collateral *c = r->v->collateral;
    const eei_pck *pck = &r->v->pck;
    ee_status st = signed_text(r, &c->tcb_info_chain, false, eei_span_text(c->tcb_info), c->tcb_info_signature, &why);
    r->signer_trusted = !st;
    if (!st) st = eei_tcb_info_parse(eei_span_text(c->tcb_info), r->v->now_unix_s, &r->arena, &r->info, &why);
    if (!st && memcmp(r->info.fmspc, pck->fmspc, 6)) {
        st = eei_fail(&why, EE_E_AUTH, "TCB info is for another platform type (FMSPC)");
        eei_verdict_compare(r->v, EEI_CHECK_TCB_INFO_SIGNATURE, eei_verdict_hex(r->v, pck->fmspc, 6),
                            eei_verdict_hex(r->v, r->info.fmspc, 6));
    }
    if (!st && memcmp(r->info.pceid, pck->pceid, 2)) {
        st = eei_fail(&why, EE_E_AUTH, "TCB info is for another provisioning enclave (PCE id)");
        eei_verdict_compare(r->v, EEI_CHECK_TCB_INFO_SIGNATURE, eei_verdict_hex(r->v, pck->pceid, 2),
                            eei_verdict_hex(r->v, r->info.pceid, 2));
    }
    r->v->tcb_evaluation = r->info.evaluation;
    const char *good = st ? NULL
                          : eei_verdict_printf(r->v, "signed under the same root, for this platform type, in date; evaluation %llu",
                                               (unsigned long long)r->info.evaluation);
    return !eei_verdict_judge(r->v, EEI_CHECK_TCB_INFO_SIGNATURE, st, &why, good);
}

static bool qe_identity_signature(run *r) {
    ee_error why = {0};
    const ee_collateral *c = r->v->collateral;
    bool trusted = r->signer_trusted && same_chain(&c->tcb_info_chain, &c->qe_identity_chain);
    ee_status st = signed_text(r, &c->qe_identity_chain, trusted, eei_span_text(c->qe_identity), c->qe_identity_signature, &why);
    if (!st) st = eei_qe_identity_parse(eei_span_text(c->qe_identity), r->v->now_unix_s, &r->arena, &r->qe, &why);
    r->v->qe_evaluation = r->qe.evaluation;
    return !eei_verdict_judge(r->v, EEI_CHECK_QE_IDENTITY_SIGNATURE, st, &why, "signed under the same root, in date");
}

static bool qe_report_signature(run *r) {
    ee_error why = {0};
    const eei_quote *q = &r->v->quote;
    ee_status st = eei_p256_verify(X509_get0_pubkey(r->chain->certs[0]), q->qe_report_bytes, q->qe_report_signature, &why);
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
    EVP_PKEY *key = NULL;
    ee_status st = eei_p256_key(q->attestation_key, &key, &why);
    if (!st) st = eei_p256_verify(key, q->signed_part, q->signature, &why);
    EVP_PKEY_free(key);
    return !eei_verdict_judge(r->v, EEI_CHECK_QUOTE_SIGNATURE, st, &why, "header and TD report are signed by that key");
}

/* ---- acceptance: the quote is authentic; every check is made, so that people see all that is wrong at once ---- */

static bool qe_identity(run *r) {
    ee_error why = {0};
    ee_status st = eei_qe_match(&r->v->quote.qe_report, &r->qe, &r->qe_status, &r->qe_level, &why);
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
    ee_status st = eei_module_match(&r->v->quote, &r->info, &r->module_level, &why);
    const char *word = r->module_level ? eei_tcb_status_word(r->module_level->status) : "judged by the platform's level";
    const char *good = st ? NULL : eei_verdict_printf(r->v, "TDX_%02X as in the signed TCB info, ISVSVN %u, %s", svn[1], svn[0], word);
    if (!st && r->module_level && r->module_level->status == EEI_TCB_REVOKED)
        st = eei_fail(&why, EE_E_AUTH, "TDX module TDX_%02X ISVSVN %u is revoked", svn[1], svn[0]);
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

static bool tcb_status(run *r) {
    ee_error why = {0};
    eei_tcb_result result;
    ee_verdict *v = r->v;
    if (!r->levels_known) {
        eei_verdict_fail(v, EEI_CHECK_TCB_STATUS, "there is none: the quoting enclave or the TDX module is not acceptable at all");
        return true;
    }
    ee_status st = eei_tcb_match(&v->quote, &v->pck, &r->info, r->module_level, r->qe_status, &result, &why);
    if (st) return eei_verdict_judge(v, EEI_CHECK_TCB_STATUS, st, &why, NULL) != EE_E_NOMEM;
    v->tcb_status = eei_tcb_status_word(result.status);
    v->tcb_date = eei_verdict_printf(v, "%s", result.level->date);
    collect_advisories(r, result.level);
    if (v->nomem) return false;
    if (result.status >= EEI_TCB_REVOKED || !(v->policy->statuses & 1u << result.status)) {
        eei_verdict_compare(v, EEI_CHECK_TCB_STATUS, accepted_statuses(r), v->tcb_status);
        eei_verdict_fail(v, EEI_CHECK_TCB_STATUS, "the machine's firmware or modules are not at a level the policy accepts");
        return true;
    }
    uint64_t evaluation = r->info.evaluation < r->qe.evaluation ? r->info.evaluation : r->qe.evaluation;
    if (evaluation < v->policy->min_tcb_eval) {
        eei_verdict_compare(v, EEI_CHECK_TCB_STATUS,
                            eei_verdict_printf(v, "evaluation %llu or later", (unsigned long long)v->policy->min_tcb_eval),
                            eei_verdict_printf(v, "%llu", (unsigned long long)evaluation));
        eei_verdict_fail(v, EEI_CHECK_TCB_STATUS, "the collateral is of an older TCB evaluation than the policy demands");
        return true;
    }
    eei_verdict_pass(v, EEI_CHECK_TCB_STATUS, advisory_text(r));
    return true;
}

static const char *attribute_fault(run *r) {
    const eei_quote *q = &r->v->quote;
    static const uint8_t zeros[48];
    uint64_t sept = UINT64_C(1) << ATTRIBUTE_SEPT_VE_DISABLE;
    uint64_t odd = q->td_attributes & ~(r->v->policy->td_attributes_allow | sept);
    if (q->td_attributes & 1) return "the TD is in debug mode: the host can read it";
    if (!(q->td_attributes & sept)) return "SEPT_VE_DISABLE is off: the host can inject exceptions into the TD";
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(odd >> bit & 1)) continue;
        const char *name = eei_td_attribute_name(bit);
        return eei_verdict_printf(r->v, "TD attribute bit %u (%s) is on and the policy does not allow it", bit, name ? name : "reserved");
    }
    if ((q->xfam & xfam_fixed1) != xfam_fixed1 || q->xfam & ~xfam_allowed)
        return "XFAM has bits that no TD may have, or lacks those that every TD has";
    if (memcmp(q->mrservicetd, zeros, 48)) return "a service TD is bound to the TD (MRSERVICETD is not zero)";
    return NULL;
}

static bool td_attributes(run *r) {
    const char *fault = attribute_fault(r);
    if (r->v->nomem) return false;
    if (!fault) {
        eei_verdict_pass(r->v, EEI_CHECK_TD_ATTRIBUTES, "no debug, no reserved bits, no service TD");
        return true;
    }
    uint64_t allowed = r->v->policy->td_attributes_allow | UINT64_C(1) << ATTRIBUTE_SEPT_VE_DISABLE;
    eei_verdict_compare(r->v, EEI_CHECK_TD_ATTRIBUTES, eei_verdict_printf(r->v, "within 0x%016llx", (unsigned long long)allowed),
                        eei_verdict_printf(r->v, "0x%016llx, XFAM 0x%llx", (unsigned long long)r->v->quote.td_attributes,
                                           (unsigned long long)r->v->quote.xfam));
    eei_verdict_fail(r->v, EEI_CHECK_TD_ATTRIBUTES, fault);
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
    const uint8_t *id = r->v->pck.has_instance ? r->v->pck.piid : r->v->pck.ppid;
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
    static const step authenticity[] = {quote_format,        pck_chain_and_crls, tcb_info_signature, qe_identity_signature,
                                        qe_report_signature, attestation_key,    quote_signature};
    static const step acceptance[] = {qe_identity, tdx_module, tcb_status, td_attributes, measurement, machine, report_data};
    run r = {.v = v, .strict = strict, .arena = EEI_ARENA_INIT(WORK_ARENA_MAX), .qe_status = EEI_TCB_NOT_SUPPORTED};
    bool go = true;

    ERR_set_mark(); /* OpenSSL's queue is left as it was found */
    for (size_t i = 0; go && i < sizeof authenticity / sizeof authenticity[0]; i++) go = authenticity[i](&r);
    v->authentic = go && !v->nomem;
    for (size_t i = 0; go && i < sizeof acceptance / sizeof acceptance[0]; i++) go = acceptance[i](&r);
    ERR_pop_to_mark();
    eei_chain_clear(&r.own_chain);
    eei_arena_clear(&r.arena);
    return v->nomem ? eei_nomem(err) : EE_OK;
}

/* ---- public ---- */

void ee_verify_options_init(ee_verify_options *options) {
    if (!options) return;
    memset(options, 0, sizeof *options);
    options->struct_bytes = sizeof *options;
}

ee_status ee_verify_quote(ee_span quote, const ee_collateral *collateral, const ee_policy *policy, const ee_verify_options *options,
                          ee_verdict **out, ee_error *err) {
    ee_policy *production = NULL;
    ee_verdict *v = NULL;
    uint64_t now = options ? options->now_unix_s : 0;
    ee_span expected = options ? options->expected_report_data : (ee_span){NULL, 0};

    if (!out) return eei_fail(err, EE_E_INVALID, "out is NULL");
    *out = NULL;
    if (!collateral || (!quote.data && quote.len)) return eei_fail(err, EE_E_INVALID, "quote or collateral is NULL");
    if (options && options->struct_bytes < sizeof *options)
        return eei_fail(err, EE_E_INVALID, "options were not filled with ee_verify_options_init()");
    if (expected.len && (expected.len != 64 || !expected.data))
        return eei_fail(err, EE_E_INVALID, "expected_report_data is %zu bytes, must be 64", expected.len);
    if (quote.len > EEI_QUOTE_BYTES_MAX) return eei_fail(err, EE_E_INVALID, "quote is %zu bytes, limit %u", quote.len, EEI_QUOTE_BYTES_MAX);
    ee_status st = policy ? EE_OK : ee_policy_production(&production, err);
    if (st) return st;
    if (!policy) policy = production;
    /* An image pin needs evidence with an event log; with a bare quote it is a pin that cannot be checked, and fails. */
    uint32_t wanted = eei_checks_of_quote | (policy->has_image ? EEI_CHECK_BIT(EEI_CHECK_IMAGE) : 0);
    v = eei_verdict_new(policy, wanted, now ? now : eei_wall_ms() / 1000);
    if (!v) {
        st = eei_nomem(err);
        goto done;
    }
    v->collateral = eei_collateral_ref(collateral);
    v->quote_bytes = eei_verdict_copy(v, quote);
    v->expect.has_report_data = expected.len == 64;
    if (expected.len) memcpy(v->expect.report_data, expected.data, 64);
    if (policy->has_image) eei_verdict_fail(v, EEI_CHECK_IMAGE, "the policy pins an image, and a bare quote does not say which image runs");
    st = v->nomem ? eei_nomem(err) : eei_verify_into(v, false, err);
    if (!st) st = eei_verdict_seal(&v, out, err);
done:
    ee_verdict_free(v);
    ee_policy_free(production);
    return st;
}
