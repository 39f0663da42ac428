/* verdict_json.c - a verdict for programs: every check, then what the quote says. It decides nothing.
 * Called through eesdk/verify.h, and by evidence_file.c. */
#include "attest/boot_log.h"
#include "attest/chain.h"
#include "attest/verdict.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

enum { JSON_BYTES_MAX = 4 << 20 };

static json_t *checks_json(const ee_verdict *v, bool *ok) {
    static const char *const words[] = {"skipped", "pass", "fail", "skipped"};
    json_t *list = json_array();
    for (size_t i = 0; i < EEI_CHECK_COUNT; i++) {
        if (!(v->wanted & EEI_CHECK_BIT(i))) continue;
        const eei_check_row *row = &v->rows[i];
        json_t *item = json_object();
        eei_json_put(item, "name", json_string(eei_check_name((eei_check_id)i)), ok);
        eei_json_put(item, "title", json_string(eei_check_title(v, (eei_check_id)i)), ok);
        eei_json_put(item, "status", json_string(words[row->state]), ok);
        bool decided = row->state == EEI_CHECK_PASSED || row->state == EEI_CHECK_FAILED; /* null: neither */
        eei_json_put(item, "passed", decided ? json_boolean(row->state == EEI_CHECK_PASSED) : json_null(), ok);
        eei_json_put(item, "reason", json_string(row->state == EEI_CHECK_FAILED ? ee_status_word(row->reason) : ""), ok);
        eei_json_put(item, "expected", json_string(row->expected ? row->expected : ""), ok);
        eei_json_put(item, "actual", json_string(row->actual ? row->actual : ""), ok);
        eei_json_put(item, "explain", json_string(eei_check_explain(v, (eei_check_id)i)), ok);
        if (json_array_append_new(list, item)) *ok = false;
    }
    return list;
}

/* ---- what the quote says ---- */

static json_t *le_hex(uint64_t value) {
    uint8_t bytes[8];
    for (size_t i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> (8 * i));
    return eei_json_hex(bytes, 8);
}

/* Bytes in the order in which they lie in the quote. */
static void quote_json(const eei_quote *q, json_t *out, bool *ok) {
    eei_json_put(out, "quote_version", json_integer(q->version), ok);
    eei_json_put(out, "tee_type", json_integer(q->tee_type), ok);
    eei_json_put(out, "body_type", json_integer(q->body_type), ok);
    for (int i = 0; i < EEI_PIN_COUNT; i++) eei_json_put(out, eei_pin_names[i], eei_json_hex(eei_pin_of_quote(q, (eei_pin_id)i), 48), ok);
    eei_json_put(out, "report_data", eei_json_hex(q->report_data, 64), ok);
    eei_json_put(out, "mr_signer_seam", eei_json_hex(q->mr_signer_seam, 48), ok);
    eei_json_put(out, "seam_attributes", eei_json_hex(q->seam_attributes, 8), ok);
    eei_json_put(out, "td_attributes", le_hex(q->td_attributes), ok);
    eei_json_put(out, "xfam", le_hex(q->xfam), ok);
    eei_json_put(out, "tee_tcb_svn", eei_json_hex(q->tee_tcb_svn, 16), ok);
    if (q->body_type == EEI_BODY_TD15) {
        eei_json_put(out, "tee_tcb_svn2", eei_json_hex(q->tee_tcb_svn2, 16), ok);
        eei_json_put(out, "mr_service_td", eei_json_hex(q->mr_service_td, 48), ok);
    }
    eei_json_put(out, "cert_data_type", json_integer(q->cert_type), ok);
}

static void pck_json(const eei_pck *pck, json_t *out, bool *ok) {
    eei_json_put(out, "fmspc", eei_json_hex(pck->fmspc, 6), ok);
    eei_json_put(out, "pceid", eei_json_hex(pck->pceid, 2), ok);
    eei_json_put(out, "pcesvn", json_integer(pck->pcesvn), ok);
    eei_json_put(out, "cpusvn", eei_json_hex(pck->cpusvn, 16), ok);
    eei_json_put(out, "ppid", eei_json_hex(pck->ppid, 16), ok);
    eei_json_put(out, "machine_id", eei_json_hex(eei_pck_machine_id(pck), 16), ok);
}

/* Of a quote that is not authentic: as its own certificate says, where that can be read. */
static void claimed_platform_json(const eei_quote *q, json_t *out, bool *ok) {
    eei_chain chain;
    eei_pck pck;
    if (q->cert_type != EEI_CERT_PCK_CHAIN) return;
    ee_status st = eei_chain_parse(q->cert_data, &chain, NULL);
    if (!st && !(st = eei_pck_parse(&chain.certs[0], &pck, NULL))) pck_json(&pck, out, ok);
    if (st == EE_E_NOMEM) *ok = false;
    eei_chain_clear(&chain);
}

static void platform_json(const ee_verdict *v, json_t *out, bool *ok) {
    pck_json(&v->pck, out, ok);
    eei_json_put(out, "tcb_evaluation", json_integer((json_int_t)v->tcb_evaluation), ok);
    eei_json_put(out, "qe_evaluation", json_integer((json_int_t)v->qe_evaluation), ok);
    if (v->tcb_date) eei_json_put(out, "tcb_date", json_string(v->tcb_date), ok);
}

/* What the quote says, whether or not a signature stands behind it: "authentic" tells. */
static void fields_json(const ee_verdict *v, json_t *out, bool *ok) {
    if (!v->quote.version) return; /* did not parse */
    quote_json(&v->quote, out, ok);
    eei_json_put(out, "quote_len_used", json_integer((json_int_t)(v->quote.bytes_used)), ok);
    eei_json_put(out, "trailing_bytes", json_integer((json_int_t)v->quote.trailing.len), ok);
    if (v->authentic)
        platform_json(v, out, ok);
    else
        claimed_platform_json(&v->quote, out, ok);
}

json_t *eei_verdict_to_json(const ee_verdict *v) {
    bool ok = true;
    char utc[32];
    json_t *out = json_object(), *advisories = json_array();
    eei_json_put(out, "verified", json_boolean(v->verified), &ok);
    eei_json_put(out, "authentic", json_boolean(v->authentic), &ok);
    eei_json_put(out, "simulated", json_boolean(v->policy->simulated), &ok);
    eei_json_put(out, "node", v->node ? json_string(v->node) : json_null(), &ok);
    eei_json_put(out, "tcb_status", json_string(v->tcb_status ? v->tcb_status : ""), &ok);
    for (size_t i = 0; i < v->advisory_count; i++)
        if (json_array_append_new(advisories, json_string(v->advisories[i]))) ok = false;
    eei_json_put(out, "advisory_ids", advisories, &ok);
    eei_json_put(out, "checks", checks_json(v, &ok), &ok);
    eei_json_put(out, "verified_at", json_string(eei_format_utc(v->now_unix_s * 1000, utc)), &ok);
    eei_json_put(out, "policy_hash", json_string(v->policy->hash_hex), &ok);
    fields_json(v, out, &ok);
    if (v->rows[EEI_CHECK_BOOT_LOG].state == EEI_CHECK_PASSED)
        eei_json_put(out, "boot_events", eei_boot_log_json(v->boot_events, v->boot_event_count), &ok);
    if (ok && out) return out;
    json_decref(out);
    return NULL;
}

static char *make_json(const ee_verdict *v) {
    eei_buf out = EEI_BUF_INIT(JSON_BYTES_MAX);
    json_t *json = eei_verdict_to_json(v);
    ee_status st = json ? eei_json_dump(json, &out, NULL) : EE_E_NOMEM;
    const char *text = st ? NULL : eei_buf_cstr(&out);
    char *kept = text ? eei_strdup(text) : NULL;
    json_decref(json);
    eei_buf_clear(&out);
    return kept;
}

const char *ee_verdict_json(const ee_verdict *verdict) {
    ee_verdict *v = (ee_verdict *)(uintptr_t)verdict; /* immutable but for what is made late */
    return v ? eei_verdict_made_once(v, &v->json, make_json) : "";
}
