/* test_verdict.c - what a verdict tells programs and people: names of fields, reasons, times, exceptions of the policy; from many threads.
 * Whether it is right is test_verify.c's matter. */
#include "attest/policy.h"
#include "attest_world.h"

#include <eesdk/client.h>

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
    assert_true(json_is_true(json_object_get(json, "authentic")));
    assert_null(json_object_get(json, "tee_tcb_svn2")); /* a TD 1.0 report has none */
    json_decref(json);
    ee_verdict_free(verdict);
}

/* They are told, for people who look for what is wrong; and that nobody vouches for them. */
static void test_fields_without_a_signature_are_told_as_such(void **state) {
    const world *w = *state;
    eei_buf quote = copy_quote(w);
    ee_verdict *verdict = NULL;
    quote.data[AT_SIGNATURE] ^= 1;
    assert_int_equal(verify_at(eei_buf_span(&quote), w->collateral, w->any, NOW, &verdict, NULL), EE_E_ATTESTATION);
    json_t *json = told(verdict);
    assert_true(json_is_false(json_object_get(json, "authentic")) && json_is_false(json_object_get(json, "verified")));
    assert_int_equal(strlen(text_of(json, "mrtd")), 96);
    assert_int_equal(strlen(text_of(json, "fmspc")), 12); /* as its own certificate says */
    assert_int_equal(strlen(text_of(json, "ppid")) + strlen(text_of(json, "cpusvn")) + strlen(text_of(json, "machine_id")), 96);
    assert_null(json_object_get(json, "tcb_date")); /* of collateral that was never matched */
    json_decref(json);
    ee_verdict_free(verdict);
    verdict = NULL;
    assert_int_equal(verify_at(eei_span(quote.data, 100), w->collateral, w->any, NOW, &verdict, NULL), EE_E_ATTESTATION);
    json = told(verdict);
    assert_true(json_is_false(json_object_get(json, "authentic")));
    assert_null(json_object_get(json, "mrtd")); /* nothing was read */
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

/* ---- the table ---- */

static size_t code_points(const char *text, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

static void must_fit(const char *name, const char *text, size_t columns) {
    if (!eei_utf8_valid(eei_span_text(text))) fail_msg("%s: a character is cut at %zu columns:\n%s", name, columns, text);
    for (const char *line = text, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        assert_non_null(end);
        if (code_points(line, (size_t)(end - line)) > columns)
            fail_msg("%s: a line is over %zu columns: %.*s", name, columns, (int)(end - line), line);
        if (end > line && end[-1] == ' ') fail_msg("%s: a blank ends a line at %zu columns: %.*s", name, columns, (int)(end - line), line);
    }
}

/* Everything that is said is said at every width: what is folded is the same words. */
static void words_of(const char *text, eei_buf *out) {
    for (const char *c = text; *c; c++)
        if (*c != ' ' && *c != '\n') assert_int_equal(eei_buf_append(out, c, 1), EE_OK);
}

static void at_every_width(const char *name, const ee_verdict *verdict) {
    eei_buf whole = EEI_BUF_INIT(1 << 20), folded = EEI_BUF_INIT(1 << 20);
    char *text = NULL;
    words_of(ee_verdict_text(verdict), &whole);
    for (uint32_t columns = 24; columns <= 1000; columns += columns < 130 ? 1 : 29) {
        MUST(ee_verdict_render(verdict, columns, &text, err));
        must_fit(name, text, columns);
        eei_buf_reset(&folded);
        words_of(text, &folded);
        if (!eei_span_equal(eei_buf_span(&folded), eei_buf_span(&whole)))
            fail_msg("%s: other words at %u columns:\n%s", name, columns, text);
        ee_string_free(text);
    }
    eei_buf_clear(&whole);
    eei_buf_clear(&folded);
}

#define LONG_NAME "\xc3\xa9\xe2\x80\xa6\xf0\x9f\x98\x80 of a release that has a l\xc3\xb6ng name"

static void test_no_line_is_longer_than_asked(void **state) {
    const world *w = *state;
    static const char zeros[] = "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";
    char lines[1024];
    ee_verdict *verdict = NULL;
    ee_policy *policy = NULL;
    eei_buf other = copy_quote(w);
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW, &verdict, err));
    at_every_width("verified", verdict);
    MUST(ee_policy_accept(w->any, verdict, LONG_NAME, &policy, err));
    ee_verdict_free(verdict);
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, policy, NOW, &verdict, err));
    at_every_width("a name of many bytes", verdict);
    ee_verdict_free(verdict);
    ee_policy_free(policy);
    assert_int_equal(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW + 400 * 86400, &verdict, NULL), EE_E_ATTESTATION);
    at_every_width("expired", verdict);
    ee_verdict_free(verdict);
    snprintf(lines, sizeof lines, "require_sealed = false\n[[profile]]\nname = \"" LONG_NAME "\"\nmr_owner_config = \"%.95s1\"\n", zeros);
    policy = world_policy(w, lines);
    assert_int_equal(verify_at(eei_buf_span(&w->quote), w->collateral, policy, NOW, &verdict, NULL), EE_E_ATTESTATION);
    at_every_width("another measurement", verdict);
    ee_verdict_free(verdict);
    ee_policy_free(policy);
    other.data[AT_SIGNATURE] ^= 1;
    assert_int_equal(verify_at(eei_buf_span(&other), w->collateral, w->any, NOW, &verdict, NULL), EE_E_ATTESTATION);
    at_every_width("not authentic", verdict);
    ee_verdict_free(verdict);
    eei_buf_clear(&other);
}

/* Two values that differ somewhere must not look the same where they are shortened. */
static void test_what_differs_is_shown(void **state) {
    const world *w = *state;
    char lines[1024], zeros[97], line[200];
    memset(zeros, '0', 96);
    zeros[96] = '\0';
    for (size_t digit = 0; digit < 96; digit++) {
        ee_verdict *verdict = NULL;
        zeros[digit] = '1';
        snprintf(lines, sizeof lines, "require_sealed = false\n[[profile]]\nmr_owner_config = \"%s\"\n", zeros);
        zeros[digit] = '0';
        ee_policy *policy = world_policy(w, lines);
        assert_int_equal(verify_at(eei_buf_span(&w->quote), w->collateral, policy, NOW, &verdict, NULL), EE_E_ATTESTATION);
        const char *row = strstr(ee_verdict_text(verdict), "expected mr_owner_config "), *end = row ? strchr(row, '\n') : NULL;
        assert_non_null(end);
        snprintf(line, sizeof line, "%.*s", (int)(end - row), row);
        char *actual = strstr(line, "   actual ");
        assert_non_null(actual);
        if (!memchr(line, '1', (size_t)(actual - line)) || strchr(actual, '1')) fail_msg("digit %zu: %s", digit, line);
        ee_verdict_free(verdict);
        ee_policy_free(policy);
    }
}

static void test_widths_at_the_edges(void **state) {
    const world *w = *state;
    char *text = NULL, *edge = NULL;
    ee_verdict *verdict = NULL;
    static const struct { uint32_t asked, given; } same[] = {{0, 100}, {1, 24}, {23, 24}, {1001, 1000}, {UINT32_MAX, 1000}};
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW, &verdict, err));
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        MUST(ee_verdict_render(verdict, same[i].asked, &text, err));
        MUST(ee_verdict_render(verdict, same[i].given, &edge, err));
        assert_string_equal(text, edge);
        ee_string_free(text);
        ee_string_free(edge);
    }
    MUST(ee_verdict_render(verdict, 0, &text, err));
    assert_string_equal(text, ee_verdict_text(verdict));
    ee_string_free(text);
    assert_int_equal(ee_verdict_render(verdict, 80, NULL, NULL), EE_E_INVALID);
    assert_int_equal(ee_verdict_render(NULL, 80, &text, NULL), EE_E_INVALID);
    ee_verdict *again = ee_verdict_ref(verdict);
    assert_ptr_equal(again, verdict);
    ee_verdict_free(verdict);
    assert_int_equal(ee_verdict_verified(again), 1);
    ee_verdict_free(again);
    assert_null(ee_verdict_ref(NULL));
}

/* A policy's file may be called anything: what is said of it stays text, in every form. */
static void test_odd_names_stay_text(void **state) {
    const world *w = *state;
    char name[200], toml[300];
    ee_policy *policy = NULL;
    ee_verdict *verdict = NULL;
    static const char *const odd[] = {"\xff\xfe.toml", "a\xc3",
                                      "\xc2\x9b"
                                      "31m.toml",
                                      "a\nb\x1b[31m.toml"};
    for (size_t i = 0; i < 200; i++) {
        if (i < 4) {
            snprintf(name, sizeof name, "%s", odd[i]);
        } else { /* long, and cut somewhere: at each byte of a character */
            size_t at = 0;
            for (; at < i - 4; at++) name[at] = 'x';
            for (; at + 3 <= sizeof name - 1; at += 3) memcpy(name + at, "\xe2\x80\xa6", 3);
            name[at] = '\0';
        }
        snprintf(toml, sizeof toml, "simulated = true\nanchor_sha256 = \"%064d\"\n[[profile]]\nmrtd = \"%096d\"\n", 0, 0);
        MUST(ee_policy_parse(toml, name, &policy, err));
        memcpy(policy->anchor, w->any->anchor, 32); /* sealed already; only where it hangs is another */
        assert_int_equal(verify_at(eei_buf_span(&w->quote), w->collateral, policy, NOW, &verdict, NULL), EE_E_ATTESTATION);
        assert_string_equal(first_failed(verdict), "measurement");
        json_decref(told(verdict));
        must_fit("odd name", ee_verdict_text(verdict), 100);
        ee_verdict_free(verdict);
        ee_policy_free(policy);
    }
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
        cmocka_unit_test(test_fields_are_the_quotes), cmocka_unit_test(test_fields_without_a_signature_are_told_as_such),
        cmocka_unit_test(test_expired_is_not_forged), cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_Q4_exceptions_end),     cmocka_unit_test(test_one_for_all_threads),
        cmocka_unit_test(test_nothing_of_nothing),    cmocka_unit_test(test_no_line_is_longer_than_asked),
        cmocka_unit_test(test_what_differs_is_shown), cmocka_unit_test(test_widths_at_the_edges),
        cmocka_unit_test(test_odd_names_stay_text),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
