/* verdict.c - the list of checks, and its two faces: a table for people and JSON for programs. It makes no check itself.
 * Called by verify.c, appraise.c, evidence_file.c and through eesdk/verify.h. */
#include "attest/verdict.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ARENA_MAX = 4 << 20, TEXT_MAX = 65536, JSON_MAX = 4 << 20, WIDTH = 100, TITLE_AT = 8, TEXT_AT = 31 };

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
    [EEI_CHECK_MACHINE] = {"machine", "machine", true},
    [EEI_CHECK_REPORT_DATA] = {"report_data", "report data", true},
    [EEI_CHECK_STATEMENT] = {"statement", "statement", false},
    [EEI_CHECK_SESSION] = {"session", "session signature", false},
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
};

#define BIT EEI_CHECK_BIT
#define QUOTE_CHECKS                                                                                                                       \
    (BIT(EEI_CHECK_COLLATERAL_FORMAT) | BIT(EEI_CHECK_VALIDITY) | BIT(EEI_CHECK_QUOTE_FORMAT) | BIT(EEI_CHECK_PCK_CHAIN) |                 \
     BIT(EEI_CHECK_PCK_CRL) | BIT(EEI_CHECK_TCB_INFO_SIGNATURE) | BIT(EEI_CHECK_QE_IDENTITY_SIGNATURE) |                                   \
     BIT(EEI_CHECK_QE_REPORT_SIGNATURE) | BIT(EEI_CHECK_ATTESTATION_KEY) | BIT(EEI_CHECK_QUOTE_SIGNATURE) | BIT(EEI_CHECK_QE_IDENTITY) |   \
     BIT(EEI_CHECK_TDX_MODULE) | BIT(EEI_CHECK_TCB_STATUS) | BIT(EEI_CHECK_TD_ATTRIBUTES) | BIT(EEI_CHECK_MEASUREMENT) |                   \
     BIT(EEI_CHECK_MACHINE) | BIT(EEI_CHECK_REPORT_DATA))
#define CONTEXT_CHECKS                                                                                                                     \
    (BIT(EEI_CHECK_STATEMENT) | BIT(EEI_CHECK_SIMULATED) | BIT(EEI_CHECK_PURPOSE) | BIT(EEI_CHECK_FRESHNESS) | BIT(EEI_CHECK_CHANNEL) |    \
     BIT(EEI_CHECK_TLS_KEY) | BIT(EEI_CHECK_TRANSCRIPT) | BIT(EEI_CHECK_INSTANCE) | BIT(EEI_CHECK_NODE) | BIT(EEI_CHECK_IMAGE))
const uint32_t eei_checks_of_quote = QUOTE_CHECKS;
const uint32_t eei_checks_of_evidence = QUOTE_CHECKS | CONTEXT_CHECKS | BIT(EEI_CHECK_EVENT_LOG);
const uint32_t eei_checks_of_session = CONTEXT_CHECKS | BIT(EEI_CHECK_SESSION);

const char *eei_check_name(eei_check_id id) { return checks[id].name; }

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

ee_verdict *eei_verdict_ref(const ee_verdict *verdict) {
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
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
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

/* ---- the table ---- */

typedef struct table {
    eei_buf out;
    ee_status status;
} table;

static void put(table *t, const char *text) {
    if (!t->status) t->status = eei_buf_append_text(&t->out, text);
}

static void put_bytes(table *t, const char *text, size_t len) {
    if (!t->status) t->status = eei_buf_append(&t->out, text, len);
}

static void pad(table *t, size_t columns) {
    while (columns-- > 0) put(t, " ");
}

/* Columns of the first `bytes` bytes: code points, as all we print is narrow. */
static size_t columns_of(const char *text, size_t bytes) {
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* Text from column TEXT_AT on, broken at spaces; a word that is too long is cut. */
static void put_wrapped(table *t, const char *text) {
    size_t room = WIDTH - TEXT_AT;
    while (*text) {
        size_t len = strlen(text), fits = 0, last_space = 0;
        for (size_t i = 0; i <= len; i++) {
            if (columns_of(text, i) > room) break;
            fits = i;
            if (text[i] == ' ' || !text[i]) last_space = i;
        }
        while (fits < len && ((unsigned char)text[fits] & 0xc0) == 0x80) fits--;
        size_t take = last_space ? last_space : fits;
        put_bytes(t, text, take);
        put(t, "\n");
        text += take;
        while (*text == ' ') text++;
        if (*text) pad(t, TEXT_AT);
    }
}

/* "5b1f…c2" for long hex, so that a row stays a row; JSON has all of it. */
static void shorten(const char *text, char out[96]) {
    size_t len = text ? strlen(text) : 0;
    const char *hex = len > 40 ? strrchr(text, ' ') : NULL;
    hex = hex ? hex + 1 : text;
    size_t hex_len = len ? strlen(hex) : 0;
    if (hex_len > 40 && strspn(hex, "0123456789abcdef") == hex_len)
        snprintf(out, 96, "%.*s%.8s\xe2\x80\xa6%s", (int)(hex - text > 60 ? 60 : hex - text), text, hex, hex + hex_len - 4);
    else
        snprintf(out, 96, "%s", text ? text : "");
}

static const char *explain_of(const eei_check_row *row) {
    return row->state == EEI_CHECK_PENDING ? "not reached" : row->explain ? row->explain : "";
}
static const char *title_of(const ee_verdict *v, size_t id) { return v->rows[id].title ? v->rows[id].title : checks[id].title; }

static void put_row(table *t, const ee_verdict *v, size_t id) {
    static const char *const words[] = {"  skip  ", "  pass  ", "  FAIL  ", "  skip  "};
    const eei_check_row *row = &v->rows[id];
    const char *title = title_of(v, id), *explain = explain_of(row);
    char expected[96], actual[96], both[256];
    put(t, words[row->state]);
    put(t, title);
    size_t used = TITLE_AT + columns_of(title, strlen(title));
    pad(t, used < TEXT_AT - 1 ? TEXT_AT - used : 1);
    bool compare = row->state == EEI_CHECK_FAILED && ((row->expected && *row->expected) || (row->actual && *row->actual));
    if (compare) {
        shorten(row->expected, expected);
        shorten(row->actual, actual);
        snprintf(both, sizeof both, "expected %s   actual %s", *expected ? expected : "-", *actual ? actual : "-");
        put_wrapped(t, both);
        if (*explain) pad(t, TEXT_AT);
    }
    if (*explain) put_wrapped(t, explain);
    if (!*explain && !compare) put(t, "\n");
}

static void count_rows(const ee_verdict *v, size_t counts[4]) {
    memset(counts, 0, 4 * sizeof counts[0]);
    for (size_t i = 0; i < EEI_CHECK_COUNT; i++)
        if (v->wanted & EEI_CHECK_BIT(i)) counts[v->rows[i].state]++;
}

static char *make_text(const ee_verdict *v) {
    table t = {EEI_BUF_INIT(TEXT_MAX), EE_OK};
    size_t counts[4], all = 0;
    char utc[32], line[128];
    count_rows(v, counts);
    for (size_t i = 0; i < 4; i++) all += counts[i];
    const char *head = v->node ? v->node : v->has_statement ? "evidence" : "TDX quote";
    eei_format_utc(v->now_unix_s * 1000, utc);
    put(&t, head);
    pad(&t, columns_of(head, strlen(head)) < 58 ? 58 - columns_of(head, strlen(head)) : 2);
    if (strlen(utc) == 20) {
        utc[10] = ' ';
        utc[19] = '\0';
    }
    put(&t, utc);
    put(&t, " UTC\n");
    for (size_t i = 0; i < EEI_CHECK_COUNT; i++)
        if (v->wanted & EEI_CHECK_BIT(i)) put_row(&t, v, i);
    if (v->policy->simulated) put(&t, "SIMULATED: a devnet's own root, not Intel's. It shows how things work; it protects nothing.\n");
    if (v->verified)
        snprintf(line, sizeof line, "VERIFIED: %zu checks passed, %zu not asked for.\n", counts[EEI_CHECK_PASSED],
                 counts[EEI_CHECK_NOT_ASKED]);
    else
        snprintf(line, sizeof line, "NOT VERIFIED: %zu of %zu checks failed.\n", counts[EEI_CHECK_FAILED], all);
    put(&t, line);
    const char *text = t.status ? NULL : eei_buf_cstr(&t.out);
    char *kept = text ? eei_strdup(text) : NULL;
    eei_buf_clear(&t.out);
    return kept;
}

/* ---- JSON ---- */

static void set(json_t *object, const char *key, json_t *value, bool *ok) {
    if (json_object_set_new(object, key, value)) *ok = false; /* also when value is NULL: out of memory */
}

static json_t *hex_json(const uint8_t *data, size_t len) {
    char hex[129];
    EE_ASSERT(len <= 64);
    eei_hex_encode(eei_span(data, len), hex);
    return json_string(hex);
}

static json_t *checks_json(const ee_verdict *v, bool *ok) {
    static const char *const words[] = {"skipped", "pass", "fail", "skipped"};
    json_t *list = json_array();
    for (size_t i = 0; i < EEI_CHECK_COUNT; i++) {
        if (!(v->wanted & EEI_CHECK_BIT(i))) continue;
        const eei_check_row *row = &v->rows[i];
        json_t *item = json_object();
        set(item, "name", json_string(checks[i].name), ok);
        set(item, "title", json_string(title_of(v, i)), ok);
        set(item, "status", json_string(words[row->state]), ok);
        bool decided = row->state == EEI_CHECK_PASSED || row->state == EEI_CHECK_FAILED; /* null: neither */
        set(item, "passed", decided ? json_boolean(row->state == EEI_CHECK_PASSED) : json_null(), ok);
        set(item, "reason", json_string(row->state == EEI_CHECK_FAILED ? ee_status_word(row->reason) : ""), ok);
        set(item, "expected", json_string(row->expected ? row->expected : ""), ok);
        set(item, "actual", json_string(row->actual ? row->actual : ""), ok);
        set(item, "explain", json_string(explain_of(row)), ok);
        if (json_array_append_new(list, item)) *ok = false;
    }
    return list;
}

/* ---- JSON: what the quote says ---- */

static json_t *le_hex(uint64_t value) {
    uint8_t bytes[8];
    for (size_t i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> (8 * i));
    return hex_json(bytes, 8);
}

/* Bytes in the order in which they lie in the quote. */
static void quote_json(const eei_quote *q, json_t *out, bool *ok) {
    set(out, "quote_version", json_integer(q->version), ok);
    set(out, "tee_type", json_integer(q->tee_type), ok);
    set(out, "body_type", json_integer(q->body_type), ok);
    for (int i = 0; i < EEI_PIN_COUNT; i++) set(out, eei_pin_names[i], hex_json(eei_pin_of_quote(q, (eei_pin_id)i), 48), ok);
    set(out, "report_data", hex_json(q->report_data, 64), ok);
    set(out, "mr_signer_seam", hex_json(q->mr_signer_seam, 48), ok);
    set(out, "seam_attributes", hex_json(q->seam_attributes, 8), ok);
    set(out, "td_attributes", le_hex(q->td_attributes), ok);
    set(out, "xfam", le_hex(q->xfam), ok);
    set(out, "tee_tcb_svn", hex_json(q->tee_tcb_svn, 16), ok);
    if (q->body_type == EEI_BODY_TD15) {
        set(out, "tee_tcb_svn2", hex_json(q->tee_tcb_svn2, 16), ok);
        set(out, "mr_service_td", hex_json(q->mr_service_td, 48), ok);
    }
    set(out, "cert_data_type", json_integer(q->cert_type), ok);
}

static void platform_json(const ee_verdict *v, json_t *out, bool *ok) {
    set(out, "fmspc", hex_json(v->pck.fmspc, 6), ok);
    set(out, "pceid", hex_json(v->pck.pceid, 2), ok);
    set(out, "pcesvn", json_integer(v->pck.pcesvn), ok);
    set(out, "cpusvn", hex_json(v->pck.cpusvn, 16), ok);
    set(out, "ppid", hex_json(v->pck.ppid, 16), ok);
    set(out, "machine_id", hex_json(eei_pck_machine_id(&v->pck), 16), ok);
    set(out, "tcb_evaluation", json_integer((json_int_t)v->tcb_evaluation), ok);
    set(out, "qe_evaluation", json_integer((json_int_t)v->qe_evaluation), ok);
    if (v->tcb_date) set(out, "tcb_date", json_string(v->tcb_date), ok);
}

/* What a signature stands behind is named at the top. Otherwise it is kept apart, so that nobody reads it by mistake. */
static void fields_json(const ee_verdict *v, json_t *out, bool *ok) {
    json_t *fields = v->authentic ? out : json_object();
    if (!v->quote.version) { /* did not parse */
        if (!v->authentic) json_decref(fields);
        return;
    }
    quote_json(&v->quote, fields, ok);
    set(fields, "quote_len_used", json_integer((json_int_t)(v->quote.bytes_used)), ok);
    set(fields, "trailing_bytes", json_integer((json_int_t)v->quote.trailing.len), ok);
    if (v->authentic)
        platform_json(v, fields, ok);
    else
        set(out, "unverified", fields, ok);
}

json_t *eei_verdict_to_json(const ee_verdict *v) {
    bool ok = true;
    char utc[32];
    json_t *out = json_object(), *advisories = json_array();
    set(out, "verified", json_boolean(v->verified), &ok);
    set(out, "simulated", json_boolean(v->policy->simulated), &ok);
    set(out, "node", v->node ? json_string(v->node) : json_null(), &ok);
    set(out, "tcb_status", json_string(v->tcb_status ? v->tcb_status : ""), &ok);
    for (size_t i = 0; i < v->advisory_count; i++)
        if (json_array_append_new(advisories, json_string(v->advisories[i]))) ok = false;
    set(out, "advisory_ids", advisories, &ok);
    set(out, "checks", checks_json(v, &ok), &ok);
    set(out, "verified_at", json_string(eei_format_utc(v->now_unix_s * 1000, utc)), &ok);
    set(out, "policy_hash", json_string(v->policy->hash_hex), &ok);
    fields_json(v, out, &ok);
    if (ok && out) return out;
    json_decref(out);
    return NULL;
}

static char *make_json(const ee_verdict *v) {
    eei_buf out = EEI_BUF_INIT(JSON_MAX);
    json_t *json = eei_verdict_to_json(v);
    ee_status st = json ? eei_json_dump(json, &out, NULL) : EE_E_NOMEM;
    const char *text = st ? NULL : eei_buf_cstr(&out);
    char *kept = text ? eei_strdup(text) : NULL;
    json_decref(json);
    eei_buf_clear(&out);
    return kept;
}

/* ---- sealing ---- */

static ee_status tell(const ee_verdict *v, ee_error *err) {
    for (size_t i = 0; i < EEI_CHECK_COUNT; i++) {
        const eei_check_row *row = &v->rows[i];
        if (!(v->wanted & EEI_CHECK_BIT(i)) || row->state == EEI_CHECK_PASSED) continue;
        if (row->state == EEI_CHECK_NOT_ASKED && checks[i].optional) continue;
        const char *actual = row->actual ? row->actual : "", *expected = row->expected ? row->expected : "";
        if (*expected || *actual)
            eei_fail(err, EE_E_ATTESTATION, "%s: %.200s; expected %.100s, actual %.100s", checks[i].name, explain_of(row),
                     *expected ? expected : "-", *actual ? actual : "-");
        else
            eei_fail(err, EE_E_ATTESTATION, "%s: %.400s", checks[i].name, explain_of(row));
        if (err)
            snprintf(err->details, sizeof err->details, "{\"check\":\"%s\",\"reason\":\"%s\"}", checks[i].name,
                     row->state == EEI_CHECK_FAILED ? ee_status_word(row->reason) : ee_status_word(EE_E_ATTESTATION));
        return EE_E_ATTESTATION;
    }
    return EE_OK;
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
static const char *made_once(const ee_verdict *verdict, _Atomic(char *) *slot, char *(*make)(const ee_verdict *)) {
    char *have = atomic_load_explicit(slot, memory_order_acquire);
    if (have) return have;
    char *mine = make(verdict);
    if (!mine) return "";
    if (atomic_compare_exchange_strong_explicit(slot, &have, mine, memory_order_acq_rel, memory_order_acquire)) return mine;
    eei_free(mine);
    return have;
}

const char *ee_verdict_text(const ee_verdict *verdict) {
    ee_verdict *v = (ee_verdict *)(uintptr_t)verdict; /* immutable but for what is made late */
    return v ? made_once(v, &v->text, make_text) : "";
}

const char *ee_verdict_json(const ee_verdict *verdict) {
    ee_verdict *v = (ee_verdict *)(uintptr_t)verdict;
    return v ? made_once(v, &v->json, make_json) : "";
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
        out->explain = explain_of(row);
        return EE_OK;
    }
    return eei_fail(err, EE_E_INVALID, "the verdict has %zu checks", ee_verdict_check_count(verdict));
}

const eei_statement *eei_verdict_statement(const ee_verdict *v) { return v && v->verified && v->has_statement ? &v->statement : NULL; }

const uint8_t *eei_verdict_machine_id(const ee_verdict *v) {
    if (!v || !v->verified) return NULL;
    return eei_pck_machine_id(&v->pck);
}

const eei_event *eei_verdict_events(const ee_verdict *v, size_t *count) {
    bool known = v && v->verified;
    *count = known ? v->event_count : 0;
    return known ? v->events : NULL;
}

uint64_t eei_verdict_time(const ee_verdict *v) { return v && v->verified ? v->now_unix_s : 0; }
