/* verdict.h - how a verdict is built: a fixed, ordered list of named checks, each pending until it is decided, and everything that is
 * needed to show it, export it and check it again. Immutable once sealed. Called by verify.c, appraise.c and evidence_file.c. */
#ifndef EEI_VERDICT_H
#define EEI_VERDICT_H
#include "attest/collateral.h"
#include "attest/evidence.h"
#include "attest/pck.h"
#include "attest/policy.h"
#include "attest/quote.h"
#include "attest/tcb.h"

#include <eesdk/verify.h>

/* In the order they are made and shown. Names are stable: programs and people know them. */
typedef enum eei_check_id {
    EEI_CHECK_EVIDENCE_FILE,
    EEI_CHECK_COLLATERAL_FORMAT,
    EEI_CHECK_QUOTE_FORMAT,
    EEI_CHECK_PCK_CHAIN,
    EEI_CHECK_PCK_CRL,
    EEI_CHECK_TCB_INFO_SIGNATURE,
    EEI_CHECK_QE_IDENTITY_SIGNATURE,
    EEI_CHECK_QE_REPORT_SIGNATURE,
    EEI_CHECK_ATTESTATION_KEY,
    EEI_CHECK_QUOTE_SIGNATURE, /* up to here each needs the one before; from here the quote is authentic and all are made */
    EEI_CHECK_VALIDITY,
    EEI_CHECK_QE_IDENTITY,
    EEI_CHECK_TDX_MODULE,
    EEI_CHECK_TCB_STATUS,
    EEI_CHECK_TD_ATTRIBUTES,
    EEI_CHECK_MEASUREMENT,
    EEI_CHECK_BOOT_LOG,
    EEI_CHECK_MACHINE,
    EEI_CHECK_REPORT_DATA,
    EEI_CHECK_STATEMENT,
    EEI_CHECK_INSTANCE_KEY,
    EEI_CHECK_SIMULATED,
    EEI_CHECK_PURPOSE,
    EEI_CHECK_FRESHNESS,
    EEI_CHECK_CHANNEL,
    EEI_CHECK_TLS_KEY,
    EEI_CHECK_TRANSCRIPT,
    EEI_CHECK_INSTANCE,
    EEI_CHECK_NODE,
    EEI_CHECK_EVENT_LOG,
    EEI_CHECK_IMAGE,
    EEI_CHECK_GENESIS,
    EEI_CHECK_COUNT
} eei_check_id;
#define EEI_CHECK_BIT(id) (UINT32_C(1) << (id))
extern const uint32_t eei_checks_of_evidence; /* what eei_appraise() makes */
extern const uint32_t eei_checks_of_session;  /* what eei_appraise_session() makes anew, beside its base's */

typedef enum eei_check_state { EEI_CHECK_PENDING = 0, EEI_CHECK_PASSED, EEI_CHECK_FAILED, EEI_CHECK_NOT_ASKED } eei_check_state;

typedef struct eei_check_row {
    eei_check_state state;
    ee_status reason; /* of a failure: EE_E_EXPIRED, EE_E_MALFORMED, or EE_E_ATTESTATION for everything else */
    const char *title, *expected, *actual, *explain; /* NULL: "" or the default */
} eei_check_row;

/* A caller's expectations with storage of their own: bit i of `given` says that field i is checked. */
enum {
    EEI_EXPECT_NONCE,
    EEI_EXPECT_BINDER,
    EEI_EXPECT_SPKI,
    EEI_EXPECT_INSTANCE,
    EEI_EXPECT_NODE,
    EEI_EXPECT_TRANSCRIPT,
    EEI_EXPECT_IMAGE,
    EEI_EXPECT_SPEC,
    EEI_EXPECT_COUNT
};
typedef struct eei_expect_copy {
    uint8_t purpose, role;
    bool no_app;
    uint32_t given;
    uint8_t value[EEI_EXPECT_COUNT][32];
    bool has_report_data;
    uint8_t report_data[64];
} eei_expect_copy;

struct ee_verdict {
    atomic_uint refs;
    eei_arena arena; /* every string and byte below */
    uint32_t wanted; /* bit per check that belongs to this verdict */
    eei_check_row rows[EEI_CHECK_COUNT];
    bool sealed, verified, nomem;
    bool authentic; /* every check up to quote_signature passed: quote's fields may be shown and compared */
    uint64_t now_unix_s;
    const char *node;

    ee_policy *policy;
    ee_collateral *collateral;
    ee_span quote_bytes;
    eei_quote quote;
    eei_pck pck;
    const char *tcb_status, *tcb_date; /* NULL before they are known */
    const char **advisories;
    size_t advisory_count;
    uint64_t tcb_evaluation, qe_evaluation;

    bool has_statement;
    ee_span statement_bytes;
    eei_statement statement;
    eei_event *events;
    size_t event_count;
    bool has_boot_log;
    eei_boot_event *boot_events;
    size_t boot_event_count;
    uint8_t boot_rtmr3[48]; /* what RTMR3 held before our first event; zeros until the boot log is known to be true */
    ee_span ticket;
    eei_expect_copy expect;

    ee_verdict *base; /* of a session verdict: what it stands on */
    ee_span statement_signed;

    _Atomic(char *) text, json; /* made when they are asked for: most verdicts are only acted on */
};

/* What ee_verify_quote() makes, and a row for each pin of the policy that only a measured log could answer. */
uint32_t eei_checks_of_bare_quote(const ee_policy *policy);
/* Fails those rows: a pin that cannot be checked fails. */
void eei_verdict_fail_pins_of_log(ee_verdict *v);
/* refs 1; policy is shared. NULL when out of memory. */
ee_verdict *eei_verdict_new(const ee_policy *policy, uint32_t wanted, uint64_t now_unix_s);
/* Formats into the arena; NULL (and the verdict notes it) when out of memory. What is no text becomes '?'. */
const char *eei_verdict_printf(ee_verdict *v, const char *format, ...) EEI_PRINTF(2, 3);
const char *eei_verdict_hex(ee_verdict *v, const uint8_t *data, size_t len);
ee_span eei_verdict_copy(ee_verdict *v, ee_span bytes);

void eei_verdict_pass(ee_verdict *v, eei_check_id id, const char *explain);
void eei_verdict_skip(ee_verdict *v, eei_check_id id, const char *explain);
void eei_verdict_fail(ee_verdict *v, eei_check_id id, const char *explain);
void eei_verdict_fail_as(ee_verdict *v, eei_check_id id, ee_status reason, const char *explain);
/* Fail with the message of an error, unless the error is our own (no memory): that is noted and returned. */
ee_status eei_verdict_judge(ee_verdict *v, eei_check_id id, ee_status st, const ee_error *why, const char *explain_pass);
void eei_verdict_compare(ee_verdict *v, eei_check_id id, const char *expected, const char *actual);

/* Decide: verified only if every wanted check passed or was not asked for (and may be).
 * EE_OK, EE_E_ATTESTATION (err names the first failed check) or EE_E_NOMEM; takes *v and gives it back in *out unless NOMEM. */
ee_status eei_verdict_seal(ee_verdict **v, ee_verdict **out, ee_error *err) EE_MUST_USE;

const eei_quote *eei_verdict_quote(const ee_verdict *verdict); /* NULL before it verified */
const char *eei_check_name(eei_check_id id);
const char *eei_check_title(const ee_verdict *v, eei_check_id id);
const char *eei_check_explain(const ee_verdict *v, eei_check_id id);
/* One of a verdict's faces, made by the first to ask for it; "" when out of memory. Any thread. */
const char *eei_verdict_made_once(const ee_verdict *verdict, _Atomic(char *) *slot, char *(*make)(const ee_verdict *));
/* {"verified": ...}: new reference; NULL when out of memory. */
json_t *eei_verdict_to_json(const ee_verdict *v);

/* verify.c: the checks quote_format .. machine, report_data (as given in v->expect, for bare quotes) into v. quote_bytes, collateral
 * and policy are already in v. strict: bytes after the quote must be zero. EE_E_NOMEM or EE_OK (even when checks failed). */
ee_status eei_verify_into(ee_verdict *v, bool strict, ee_error *err) EE_MUST_USE;
/* verify.c: the little that can be said when there is no collateral to check with; st and why say why not. */
void eei_verify_without(ee_verdict *v, ee_status st, const ee_error *why);
/* boot_log.c: a copy of a boot log into v, and the check boot_log over it. */
void eei_boot_log_keep(ee_verdict *v, const eei_boot_event *events, size_t count);
void eei_boot_log_judge(ee_verdict *v);
/* appraise.c: all of eei_appraise() but sealing. Evidence is copied into v. */
ee_status eei_appraise_into(ee_verdict *v, const eei_evidence *evidence, ee_error *err) EE_MUST_USE;
ee_status eei_appraise_session_into(ee_verdict *v, const ee_verdict *base, const eei_evidence *evidence, ee_error *err) EE_MUST_USE;
void eei_expect_keep(eei_expect_copy *out, const eei_expect *expect);
#endif
