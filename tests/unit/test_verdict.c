/* test_verdict.c - what a verdict tells programs and people: names of fields, reasons, times, exceptions of the policy; from many threads.
 * Whether it is right is test_verify.c's matter. */
#include "attest_world.h"

#include <pthread.h>

static json_t *told(const ee_verdict *verdict) {
    json_t *json = json_loads(ee_verdict_json(verdict), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    return json;
}

static const char *text_of(const json_t *json, const char *field) {
    const char *text = json_string_value(json_object_get(json, field));
    return text ? text : "";
}

/* The check of this name as JSON. */
static const json_t *check_of(const json_t *json, const char *name) {
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(json, "checks"), i, item) if (!strcmp(text_of(item, "name"), name)) return item;
    fail_msg("no check %s", name);
    return NULL;
}

/* ---- fields ---- */

/* Hex as the bytes lie in the quote, straight from it. */
static const struct {
    const char *field;
    size_t at, len;
} quote_fields[] = {
    {"tee_tcb_svn", 48, 16}, {"mr_seam", 64, 48}, {"mr_signer_seam", 112, 48}, {"seam_attributes", 160, 8}, {"td_attributes", 168, 8},
    {"xfam", 176, 8},        {"mrtd", 184, 48},   {"mr_config_id", 232, 48},   {"mr_owner", 280, 48},       {"mr_owner_config", 328, 48},
    {"rtmr0", 376, 48},      {"rtmr1", 424, 48},  {"rtmr2", 472, 48},          {"rtmr3", 520, 48},          {"report_data", 568, 64},
};

static void test_fields_are_the_quotes(void **state) {
    const world *w = *state;
    ee_verdict *verdict = NULL;
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW, &verdict, err));
    json_t *json = told(verdict);
    for (size_t i = 0; i < sizeof quote_fields / sizeof quote_fields[0]; i++) {
        char hex[129];
        eei_hex_encode(eei_span(w->quote.data + quote_fields[i].at, quote_fields[i].len), hex);
        assert_string_equal(text_of(json, quote_fields[i].field), hex);
    }
    static const struct {
        const char *field;
        long long value;
    } numbers[] = {{"quote_version", 4}, {"tee_type", 129}, {"body_type", 2}, {"cert_data_type", 5}, {"trailing_bytes", 0}, {"pcesvn", 13}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_int_equal(json_integer_value(json_object_get(json, numbers[i].field)), numbers[i].value);
    assert_int_equal(json_integer_value(json_object_get(json, "quote_len_used")), (long long)w->quote.len);
    assert_string_equal(text_of(json, "fmspc"), "454553494d00");
    assert_string_equal(text_of(json, "pceid"), "0000");
    assert_int_equal(strlen(text_of(json, "ppid")) + strlen(text_of(json, "cpusvn")) + strlen(text_of(json, "machine_id")), 96);
    assert_null(json_object_get(json, "unverified"));
    assert_null(json_object_get(json, "tee_tcb_svn2")); /* a TD 1.0 report has none */
    json_decref(json);
    ee_verdict_free(verdict);
}

/* What no signature stands behind is not where a program looks for what one does. */
static void test_unverified_fields_stand_apart(void **state) {
    const world *w = *state;
    eei_buf quote = copy_quote(w);
    ee_verdict *verdict = NULL;
    quote.data[AT_SIGNATURE] ^= 1;
    assert_int_equal(verify_at(eei_buf_span(&quote), w->collateral, w->any, NOW, &verdict, NULL), EE_E_ATTESTATION);
    json_t *json = told(verdict);
    assert_null(json_object_get(json, "mrtd"));
    assert_null(json_object_get(json, "fmspc"));
    assert_int_equal(strlen(text_of(json_object_get(json, "unverified"), "mrtd")), 96);
    json_decref(json);
    ee_verdict_free(verdict);
    verdict = NULL;
    assert_int_equal(verify_at(eei_span(quote.data, 100), w->collateral, w->any, NOW, &verdict, NULL), EE_E_ATTESTATION);
    json = told(verdict);
    assert_null(json_object_get(json, "unverified")); /* nothing was read */
    json_decref(json);
    ee_verdict_free(verdict);
    eei_buf_clear(&quote);
}

/* ---- reasons ---- */

static void test_expired_is_not_forged(void **state) {
    const world *w = *state;
    static const struct {
        int64_t at;
        const char *says;
    } cases[] = {{-3601, "is not valid before 2026-09-21T13:13:20Z: the clock, which says 2026-09-21T13:13:19Z, is probably behind"},
                 {30 * 86400 + 1,
                  "is expired since 2026-10-21T14:13:20Z: get newer collateral, or set the clock if it is not 2026-10-21T14:13:21Z"}};
    for (size_t i = 0; i < 2; i++) {
        ee_verdict *verdict = NULL;
        ee_error err = {0};
        uint64_t now = (uint64_t)((int64_t)NOW + cases[i].at);
        assert_int_equal(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, now, &verdict, &err), EE_E_ATTESTATION);
        json_t *json = told(verdict);
        const json_t *check = check_of(json, "validity");
        assert_string_equal(text_of(check, "reason"), "expired");
        assert_non_null(strstr(text_of(check, "explain"), cases[i].says));
        assert_non_null(strstr(err.details, "\"reason\":\"expired\""));
        /* Everything else holds, and is shown: only the time is wrong. */
        size_t k;
        const json_t *item;
        json_array_foreach(json_object_get(json, "checks"), k, item)
            assert_int_equal(!strcmp(text_of(item, "status"), "fail"), !strcmp(text_of(item, "name"), "validity"));
        json_decref(json);
        ee_verdict_free(verdict);
    }
}

static void test_reasons(void **state) {
    const world *w = *state;
    eei_buf quote = copy_quote(w);
    ee_verdict *verdict = NULL;
    quote.data[AT_MRTD] ^= 1;
    assert_int_equal(verify_at(eei_buf_span(&quote), w->collateral, w->any, NOW, &verdict, NULL), EE_E_ATTESTATION);
    json_t *json = told(verdict);
    assert_string_equal(text_of(check_of(json, "quote_signature"), "reason"), "attestation");
    assert_string_equal(text_of(check_of(json, "pck_chain"), "reason"), "");
    assert_true(json_is_false(json_object_get(check_of(json, "quote_signature"), "passed")));
    assert_true(json_is_true(json_object_get(check_of(json, "pck_chain"), "passed")));
    assert_true(json_is_null(json_object_get(check_of(json, "tcb_status"), "passed"))); /* not reached is neither */
    json_decref(json);
    ee_verdict_free(verdict);
    verdict = NULL;
    assert_int_equal(ee_verify_quote_json(eei_buf_span(&quote), eei_span_text("{\"tcb_info\":"), w->any, NULL, &verdict, NULL),
                     EE_E_ATTESTATION);
    json = told(verdict);
    assert_string_equal(text_of(check_of(json, "collateral_format"), "reason"), "malformed");
    assert_string_equal(text_of(check_of(json, "quote_format"), "status"), "pass");
    json_decref(json);
    ee_verdict_free(verdict);
    eei_buf_clear(&quote);
}

/* ---- exceptions of a policy ---- */

static ee_collateral *out_of_date(const world *w) {
    eei_buf text = EEI_BUF_INIT(1 << 20);
    MUST(simtdx_tcb_info(w->root, &text, err));
    replace_in(&text, "\"tcbStatus\":\"UpToDate\"},{\"tcb\":{\"sgx",
               "\"tcbStatus\":\"OutOfDate\",\"advisoryIDs\":[\"INTEL-SA-00002\",\"INTEL-SA-00001\"]},{\"tcb\":{\"sgx");
    const simtdx_collateral_parts parts = {.tcb_info = eei_buf_span(&text)};
    ee_collateral *collateral = world_collateral(w, &parts);
    eei_buf_clear(&text);
    return collateral;
}

/* NOW is 2026-09-21T14:13:20Z. */
static const struct {
    const char *name, *lines;
    bool ok;
    const char *reason, *says;
} exceptions[] = {
    {"no exception", "", false, "attestation", "not at a level the policy accepts"},
    {"all advisories, in time",
     "[[tcb_exception]]\nstatus = \"OutOfDate\"\nadvisories = [\"INTEL-SA-00001\", \"INTEL-SA-00002\"]\nuntil = \"2026-09-21T14:13:20Z\"\n",
     true, "", "until 2026-09-21T14:13:20Z"},
    {"ended a second ago",
     "[[tcb_exception]]\nstatus = \"OutOfDate\"\nadvisories = [\"INTEL-SA-00001\", \"INTEL-SA-00002\"]\nuntil = \"2026-09-21T14:13:19Z\"\n",
     false, "expired", "policy.toml:5) ended at 2026-09-21T14:13:19Z"},
    {"one advisory is not named",
     "[[tcb_exception]]\nstatus = \"OutOfDate\"\nadvisories = [\"INTEL-SA-00001\"]\nuntil = \"2027-01-01T00:00:00Z\"\n", false,
     "attestation", "not with INTEL-SA-00002 open"},
    {"more advisories than are open",
     "[[tcb_exception]]\nstatus = \"OutOfDate\"\nadvisories = [\"INTEL-SA-00001\", \"INTEL-SA-00002\", \"INTEL-SA-00003\"]\nuntil = "
     "\"2027-01-01T00:00:00Z\"\n",
     true, "", "excused"},
    {"of another status",
     "[[tcb_exception]]\nstatus = \"SWHardeningNeeded\"\nadvisories = [\"INTEL-SA-00001\", \"INTEL-SA-00002\"]\nuntil = "
     "\"2027-01-01T00:00:00Z\"\n",
     false, "attestation", "not at a level"},
    {"the second one fits",
     "[[tcb_exception]]\nstatus = \"OutOfDate\"\nadvisories = []\nuntil = \"2027-01-01T00:00:00Z\"\nreason = \"new firmware is "
     "late\"\n[[tcb_exception]]\nstatus = \"OutOfDate\"\nadvisories = [\"INTEL-SA-00002\", \"INTEL-SA-00001\"]\nuntil = "
     "\"2027-01-01T00:00:00Z\"\n",
     true, "", "excused"},
    {"the status is accepted anyhow", "tcb_status = [\"UpToDate\", \"OutOfDate\"]\n", true, "", "2 advisories"},
    {"an old evaluation is not excused",
     "min_tcb_eval = 1000\n[[tcb_exception]]\nstatus = \"OutOfDate\"\nadvisories = [\"INTEL-SA-00001\", \"INTEL-SA-00002\"]\nuntil = "
     "\"2027-01-01T00:00:00Z\"\n",
     false, "expired", "older TCB evaluation"},
};

static void test_Q4_exceptions_end(void **state) {
    const world *w = *state;
    ee_collateral *collateral = out_of_date(w);
    for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++) {
        char lines[1024];
        ee_verdict *verdict = NULL;
        snprintf(lines, sizeof lines, "allow_any_measurement = true\nrequire_sealed = false\n%s", exceptions[i].lines);
        ee_policy *policy = world_policy(w, lines);
        ee_status st = verify_at(eei_buf_span(&w->quote), collateral, policy, NOW, &verdict, NULL);
        json_t *json = told(verdict);
        const json_t *check = check_of(json, "tcb_status");
        if ((st == EE_OK) != exceptions[i].ok || strcmp(text_of(check, "reason"), exceptions[i].reason) ||
            !strstr(text_of(check, "explain"), exceptions[i].says))
            fail_msg("%s: %d, %s: %s", exceptions[i].name, (int)st, text_of(check, "reason"), text_of(check, "explain"));
        json_decref(json);
        ee_verdict_free(verdict);
        ee_policy_free(policy);
    }
    ee_collateral_free(collateral);
}

/* ---- many threads ---- */

enum { THREADS = 8, ROUNDS = 8 };

typedef struct shared {
    const world *w;
    const ee_collateral *collateral;
    const ee_verdict *verdict;
} shared;

/* One fresh collateral and one fresh verdict for all: whoever comes first finds out, everybody gets the same. */
static void *asks(void *user) {
    const shared *s = user;
    for (int i = 0; i < ROUNDS; i++) {
        ee_verdict *own = NULL;
        if (verify_at(eei_buf_span(&s->w->quote), s->collateral, s->w->any, NOW, &own, NULL)) return NULL;
        bool same =
            !strcmp(ee_verdict_json(own), ee_verdict_json(s->verdict)) && !strcmp(ee_verdict_text(own), ee_verdict_text(s->verdict));
        ee_verdict_free(own);
        if (!same) return NULL;
    }
    return user;
}

static void test_one_for_all_threads(void **state) {
    const world *w = *state;
    ee_verdict *verdict = NULL;
    ee_collateral *collateral = world_collateral(w, NULL);
    pthread_t threads[THREADS];
    void *result = NULL;
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW, &verdict, err));
    shared s = {w, collateral, verdict};
    for (size_t i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, asks, &s), 0);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, &s);
    }
    ee_verdict_free(verdict);
    ee_collateral_free(collateral);
}

static void test_nothing_of_nothing(void **state) {
    (void)state;
    assert_string_equal(ee_verdict_json(NULL), "");
    assert_string_equal(ee_verdict_text(NULL), "");
    assert_int_equal(ee_verdict_check_count(NULL), 0);
    assert_string_equal(ee_verdict_tcb_status(NULL), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_are_the_quotes), cmocka_unit_test(test_unverified_fields_stand_apart),
        cmocka_unit_test(test_expired_is_not_forged), cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_Q4_exceptions_end),     cmocka_unit_test(test_one_for_all_threads),
        cmocka_unit_test(test_nothing_of_nothing),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
