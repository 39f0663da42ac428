/* attest_world.h - a simulated platform for tests of attest/: root, machine, collateral, policies, and readers of verdicts.
 * Not for code under test. Included by test_{quote,pck,collateral,tcb,policy,verify,evidence,simtdx}.c. */
#ifndef ATTEST_WORLD_H
#define ATTEST_WORLD_H
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "attest/evidence.h"
#include "attest/quote.h"
#include "base/alloc.h"
#include "base/encoding.h"
#include "simtdx/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW    UINT64_C(1790000000) /* 2026-09-21 */
#define UNUSED __attribute__((unused))

/* Offsets in a version 4 quote. Spec: attestation layouts, Intel TDX DCAP Quoting Library API. */
enum {
    AT_BODY = 48,
    AT_TEE_TCB_SVN = 48,
    AT_MRSEAM = 64,
    AT_MRSIGNERSEAM = 112,
    AT_SEAM_ATTRIBUTES = 160,
    AT_TD_ATTRIBUTES = 168,
    AT_XFAM = 176,
    AT_MRTD = 184,
    AT_RTMR3 = 520,
    AT_REPORT_DATA = 568,
    AT_SIG_LEN = 632,
    AT_SIGNATURE = 636,
    AT_KEY = 700,
    AT_OUTER_TYPE = 764,
    AT_OUTER_LEN = 766,
    AT_QE_REPORT = 770,
    AT_QE_REPORT_DATA = 770 + 320,
    AT_QE_SIGNATURE = 1154,
    AT_QE_AUTH_LEN = 1218,
    AT_QE_AUTH = 1220,
    AT_INNER_TYPE = 1252,
    AT_INNER_LEN = 1254,
    AT_CHAIN = 1258,
};

typedef struct world {
    simtdx_root *root;
    simtdx_machine *machine;
    simtdx_td td;
    ee_collateral *collateral;
    ee_policy *any; /* any measurement, only UpToDate, builds need not be sealed */
    eei_buf quote;  /* version 4, report data 0x42... */
} world;

static const char all_statuses[] UNUSED =
    "tcb_status = [\"UpToDate\", \"SWHardeningNeeded\", \"ConfigurationNeeded\", \"ConfigurationAndSWHardeningNeeded\", \"OutOfDate\", "
    "\"OutOfDateConfigurationNeeded\", \"TDRelaunchAdvised\", \"TDRelaunchAdvisedConfigurationNeeded\"]\n";

#define MUST(call)                                                                                                                         \
    do {                                                                                                                                   \
        ee_error must_err = {0};                                                                                                           \
        ee_error *err = &must_err;                                                                                                         \
        ee_status must_st = (call);                                                                                                        \
        if (must_st) fail_msg("%s: %s: %s", #call, ee_status_word(must_st), err->message);                                                 \
    } while (0)

/* Policy text under a DER root, with more lines. */
static ee_policy *policy_under(ee_span root_der, const char *lines) UNUSED;
static ee_policy *policy_under(ee_span root_der, const char *lines) {
    eei_buf text = EEI_BUF_INIT(65536);
    ee_policy *policy = NULL;
    assert_int_equal(eei_buf_append_text(&text, "anchor_der = \""), EE_OK);
    assert_int_equal(eei_base64url_encode(root_der, &text), EE_OK);
    assert_int_equal(eei_buf_append_text(&text, "\"\nsimulated = true\n"), EE_OK);
    assert_int_equal(eei_buf_append_text(&text, lines), EE_OK);
    MUST(ee_policy_parse(eei_buf_cstr(&text), "policy.toml", &policy, err));
    eei_buf_clear(&text);
    return policy;
}

static ee_policy *world_policy(const world *w, const char *lines) UNUSED;
static ee_policy *world_policy(const world *w, const char *lines) { return policy_under(simtdx_root_der(w->root), lines); }

static ee_collateral *world_collateral(const world *w, const simtdx_collateral_parts *parts) UNUSED;
static ee_collateral *world_collateral(const world *w, const simtdx_collateral_parts *parts) {
    eei_buf json = EEI_BUF_INIT(1 << 20);
    ee_collateral *collateral = NULL;
    MUST(simtdx_collateral(w->root, parts, &json, err));
    MUST(ee_collateral_parse(eei_buf_span(&json), &collateral, err));
    eei_buf_clear(&json);
    return collateral;
}

static int world_setup(void **state) UNUSED;
static int world_setup(void **state) {
    uint8_t report_data[64];
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    memset(report_data, 0x42, sizeof report_data);
    w->quote = (eei_buf)EEI_BUF_INIT(65536);
    MUST(simtdx_root_new(NOW, &w->root, err));
    MUST(simtdx_machine_new(w->root, "machine-1", &w->machine, err));
    simtdx_td_default(&w->td);
    MUST(simtdx_quote(w->machine, &w->td, report_data, &w->quote, err));
    w->collateral = world_collateral(w, NULL);
    w->any = world_policy(w, "allow_any_measurement = true\nrequire_sealed = false\n");
    *state = w;
    return 0;
}

static int world_teardown(void **state) UNUSED;
static int world_teardown(void **state) {
    world *w = *state;
    simtdx_machine_free(w->machine);
    simtdx_root_free(w->root);
    ee_collateral_free(w->collateral);
    ee_policy_free(w->any);
    eei_buf_clear(&w->quote);
    free(w);
    return 0;
}

/* Result of one named check; -1 when the verdict does not have it. */
static int result_of(const ee_verdict *verdict, const char *name) UNUSED;
static int result_of(const ee_verdict *verdict, const char *name) {
    ee_check check;
    for (size_t i = 0; ee_verdict_check_at(verdict, i, &check, NULL) == EE_OK; i++)
        if (!strcmp(check.name, name)) return (int)check.result;
    return -1;
}

/* The sentence of one named check; "" when the verdict does not have it. */
static const char *explanation_of(const ee_verdict *verdict, const char *name) UNUSED;
static const char *explanation_of(const ee_verdict *verdict, const char *name) {
    ee_check check;
    for (size_t i = 0; ee_verdict_check_at(verdict, i, &check, NULL) == EE_OK; i++)
        if (!strcmp(check.name, name)) return check.explain;
    return "";
}

/* Name of the first failed check; "" when none failed. */
static const char *first_failed(const ee_verdict *verdict) UNUSED;
static const char *first_failed(const ee_verdict *verdict) {
    ee_check check;
    for (size_t i = 0; ee_verdict_check_at(verdict, i, &check, NULL) == EE_OK; i++)
        if (check.result == EE_CHECK_FAIL) return check.name;
    return "";
}

static ee_status verify_at(ee_span quote, const ee_collateral *collateral, const ee_policy *policy, uint64_t now, ee_verdict **out,
                           ee_error *err) UNUSED;
static ee_status verify_at(ee_span quote, const ee_collateral *collateral, const ee_policy *policy, uint64_t now, ee_verdict **out,
                           ee_error *err) {
    ee_verify_options options;
    ee_verify_options_init(&options);
    options.now_unix_s = now;
    return ee_verify_quote(quote, collateral, policy, &options, out, err);
}

/* The quote must fail, and at this check; a message is always there. */
static void must_fail_at(const char *name, ee_span quote, const ee_collateral *collateral, const ee_policy *policy, uint64_t now,
                         const char *check) UNUSED;
static void must_fail_at(const char *name, ee_span quote, const ee_collateral *collateral, const ee_policy *policy, uint64_t now,
                         const char *check) {
    ee_verdict *verdict = NULL;
    ee_error err = {0};
    ee_status st = verify_at(quote, collateral, policy, now, &verdict, &err);
    if (st != EE_E_ATTESTATION || !verdict || ee_verdict_verified(verdict) || strcmp(first_failed(verdict), check) || !err.message[0])
        fail_msg("%s: status %d, failed \"%s\", wanted \"%s\"; %s", name, (int)st, verdict ? first_failed(verdict) : "(no verdict)", check,
                 err.message);
    ee_verdict_free(verdict);
}

static void must_verify(const char *name, ee_span quote, const ee_collateral *collateral, const ee_policy *policy, uint64_t now) UNUSED;
static void must_verify(const char *name, ee_span quote, const ee_collateral *collateral, const ee_policy *policy, uint64_t now) {
    ee_verdict *verdict = NULL;
    ee_error err = {0};
    ee_status st = verify_at(quote, collateral, policy, now, &verdict, &err);
    if (st || !ee_verdict_verified(verdict)) fail_msg("%s: %s: %s", name, ee_status_word(st), err.message);
    ee_verdict_free(verdict);
}

/* A changeable copy of the world's quote. */
static eei_buf copy_quote(const world *w) UNUSED;
static eei_buf copy_quote(const world *w) {
    eei_buf copy = EEI_BUF_INIT(65536);
    assert_int_equal(eei_buf_append_span(&copy, eei_buf_span(&w->quote)), EE_OK);
    return copy;
}

/* text with the first `from` replaced by `to`; fails the test when it is not there. */
static void replace_in(eei_buf *text, const char *from, const char *to) UNUSED;
static void replace_in(eei_buf *text, const char *from, const char *to) {
    eei_buf out = EEI_BUF_INIT(1 << 20);
    const char *all = eei_buf_cstr(text);
    const char *at = strstr(all, from);
    if (!at) fail_msg("\"%s\" is not in the text", from);
    assert_int_equal(eei_buf_append(&out, all, (size_t)(at - all)), EE_OK);
    assert_int_equal(eei_buf_append_text(&out, to), EE_OK);
    assert_int_equal(eei_buf_append_text(&out, at + strlen(from)), EE_OK);
    eei_buf_clear(text);
    *text = out;
}
#endif
