/* test_verify.c - the strict verifier: sample quotes, every link of the chain of trust broken in turn and signed again where an attacker
 * could, policies, allocation failures. Vectors come from EE_TESTDATA when it is there, the rest from a simulated platform. */
#include "attest/chain.h"
#include "attest/crypto.h"
#include "attest/verdict.h"
#include "attest_world.h"
#include "base/clock.h"
#include "base/file.h"

#include <dirent.h>
#include <openssl/crypto.h>
#include <unistd.h>

/* ---- sample quotes (EE_TESTDATA) ---- */

static bool read_case_file(const char *folder, const char *name, eei_buf *out) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return eei_file_read(path, out, NULL) == EE_OK;
}

static void compare_advisories(const char *name, const json_t *want, const ee_verdict *verdict) {
    json_t *json = json_loads(ee_verdict_json(verdict), 0, NULL);
    assert_non_null(json);
    if (json_is_array(want) && !json_equal(want, json_object_get(json, "advisory_ids"))) fail_msg("%s: advisories differ", name);
    json_decref(json);
}

static void compare_fields(const char *name, const json_t *c, const eei_quote *q) {
    const struct {
        const char *field;
        const uint8_t *value;
        size_t len;
    } fields[] = {{"mrtd", q->mrtd, 48},
                  {"rtmr0", q->rtmr[0], 48},
                  {"rtmr1", q->rtmr[1], 48},
                  {"rtmr2", q->rtmr[2], 48},
                  {"rtmr3", q->rtmr[3], 48},
                  {"report_data", q->report_data, 64},
                  {"mr_seam", q->mr_seam, 48},
                  {"tee_tcb_svn", q->tee_tcb_svn, 16},
                  {"mr_owner", q->mr_owner, 48},
                  {"tee_tcb_svn2", q->tee_tcb_svn2, 16},
                  {"mr_service_td", q->mr_service_td, 48},
                  {"mr_config_id", q->mr_config_id, 48}};
    char hex[129];
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const char *want = json_string_value(json_object_get(c, fields[i].field));
        if (!want) continue;
        eei_hex_encode(eei_span(fields[i].value, fields[i].len), hex);
        if (strcmp(want, hex)) fail_msg("%s: %s is %s, wanted %s", name, fields[i].field, hex, want);
    }
}

static void verify_case(const char *name, const json_t *c, ee_span quote, ee_span collateral_json, ee_span root) {
    char lines[1024];
    ee_policy *policy = NULL;
    ee_collateral *collateral = NULL;
    ee_verdict *verdict = NULL;
    ee_error why = {0};
    snprintf(lines, sizeof lines, "allow_any_measurement = true\n%s", all_statuses);
    if (root.len)
        policy = policy_under(root, lines);
    else
        MUST(ee_policy_parse(lines, "policy.toml", &policy, err));
    uint64_t now = (uint64_t)json_integer_value(json_object_get(c, "now"));
    ee_status st = ee_collateral_parse(collateral_json, &collateral, &why);
    if (!st) st = verify_at(quote, collateral, policy, now, &verdict, &why);
    const char *want = json_string_value(json_object_get(c, "expect")), *status = json_string_value(json_object_get(c, "tcb_status"));
    if (!strcmp(want, "ok")) {
        if (st || !ee_verdict_verified(verdict)) fail_msg("%s: wanted ok, got %s: %s", name, ee_status_word(st), why.message);
        if (status && strcmp(status, ee_verdict_tcb_status(verdict)))
            fail_msg("%s: TCB status %s, wanted %s", name, ee_verdict_tcb_status(verdict), status);
        compare_advisories(name, json_object_get(c, "advisory_ids"), verdict);
    } else if (!st || ee_verdict_verified(verdict)) {
        fail_msg("%s: wanted an error (%s), got ok", name, json_string_value(json_object_get(c, "error_class")));
    }
    ee_verdict_free(verdict);
    ee_collateral_free(collateral);
    ee_policy_free(policy);
}

static void run_case(const char *base, const char *name) {
    char folder[768];
    eei_buf file = EEI_BUF_INIT(1 << 20), quote = EEI_BUF_INIT(65536), collateral = EEI_BUF_INIT(1 << 20), root = EEI_BUF_INIT(65536);
    eei_quote parsed;
    snprintf(folder, sizeof folder, "%s/%s", base, name);
    assert_true(read_case_file(folder, "case.json", &file));
    assert_true(read_case_file(folder, "quote.bin", &quote));
    json_t *c = json_loads(eei_buf_cstr(&file), 0, NULL);
    assert_non_null(c);
    bool has_root = read_case_file(folder, "root_ca.der", &root);
    const char *mode = json_string_value(json_object_get(c, "mode"));
    bool parses = eei_quote_parse(eei_buf_span(&quote), &parsed, NULL) == EE_OK;
    if (parses) compare_fields(name, c, &parsed);
    if (!strcmp(mode, "parse-only")) {
        if (parses != !strcmp(json_string_value(json_object_get(c, "expect")), "ok")) fail_msg("%s: parses: %d", name, parses);
    } else {
        assert_true(read_case_file(folder, "collateral.json", &collateral));
        verify_case(name, c, eei_buf_span(&quote), eei_buf_span(&collateral), has_root ? eei_buf_span(&root) : (ee_span){NULL, 0});
    }
    json_decref(c);
    eei_buf_clear(&file);
    eei_buf_clear(&quote);
    eei_buf_clear(&collateral);
    eei_buf_clear(&root);
}

static void test_sample_quotes(void **state) {
    (void)state;
    char base[512], path[600];
    eei_buf index = EEI_BUF_INIT(1 << 20);
    const char *env = getenv("EE_TESTDATA");
    snprintf(base, sizeof base, "%s/tdx", env ? env : "");
    snprintf(path, sizeof path, "%s/index.json", base);
    if (!env || eei_file_read(path, &index, NULL)) {
        print_message("SKIP: all sample quotes (hardware and synthetic, 56 cases): EE_TESTDATA is %s, no tdx/index.json there\n",
                      env ? env : "not set");
        skip();
    }
    json_t *json = json_loads(eei_buf_cstr(&index), 0, NULL);
    json_t *list = json_object_get(json, "vectors"), *item;
    size_t i;
    json_array_foreach(list, i, item) run_case(base, json_string_value(json_object_get(item, "path")));
    print_message("%zu sample quotes\n", json_array_size(list));
    assert_true(json_array_size(list) > 0);
    json_decref(json);
    eei_buf_clear(&index);
}

/* ---- good quotes ---- */

static void test_good_quote_verifies(void **state) {
    world *w = *state;
    ee_verdict *verdict = NULL;
    ee_verify_options options;
    uint8_t report_data[64];
    memset(report_data, 0x42, sizeof report_data);
    for (int version = 4; version <= 5; version++) {
        eei_buf quote = EEI_BUF_INIT(65536);
        w->td.quote_version = version;
        MUST(simtdx_quote(w->machine, &w->td, report_data, &quote, err));
        ee_verify_options_init(&options);
        options.now_unix_s = NOW;
        options.expected_report_data = eei_span(report_data, 64);
        MUST(ee_verify_quote(eei_buf_span(&quote), w->collateral, w->any, &options, &verdict, err));
        assert_true(ee_verdict_verified(verdict));
        assert_true(ee_verdict_simulated(verdict));
        assert_string_equal(ee_verdict_tcb_status(verdict), "UpToDate");
        assert_int_equal(result_of(verdict, "report_data"), EE_CHECK_PASS);
        assert_non_null(eei_verdict_machine_id(verdict));
        ee_verdict_free(verdict);
        eei_buf_clear(&quote);
    }
    w->td.quote_version = 4;
}

static void test_report_data(void **state) {
    world *w = *state;
    ee_verdict *verdict = NULL;
    ee_verify_options options;
    uint8_t other[64];
    memset(other, 0x42, sizeof other);
    other[63] ^= 1;
    ee_verify_options_init(&options);
    options.now_unix_s = NOW;
    options.expected_report_data = eei_span(other, 64);
    assert_int_equal(ee_verify_quote(eei_buf_span(&w->quote), w->collateral, w->any, &options, &verdict, NULL), EE_E_ATTESTATION);
    assert_string_equal(first_failed(verdict), "report_data");
    ee_verdict_free(verdict);
    options.expected_report_data.len = 63;
    assert_int_equal(ee_verify_quote(eei_buf_span(&w->quote), w->collateral, w->any, &options, &verdict, NULL), EE_E_INVALID);
    assert_null(verdict);
    must_verify("no report data asked", eei_buf_span(&w->quote), w->collateral, w->any, NOW);
}

static void test_arguments(void **state) {
    world *w = *state;
    ee_verdict *verdict = NULL;
    ee_verify_options options = {0};
    static const uint8_t big[EE_QUOTE_BYTES_MAX + 1];
    ee_span quote = eei_buf_span(&w->quote), json = eei_span_text("{}");
    assert_int_equal(ee_verify_quote(quote, NULL, w->any, NULL, &verdict, NULL), EE_E_INVALID);
    assert_int_equal(ee_verify_quote(quote, w->collateral, w->any, NULL, NULL, NULL), EE_E_INVALID);
    assert_int_equal(ee_verify_quote(quote, w->collateral, w->any, &options, &verdict, NULL), EE_E_INVALID); /* not initialised */
    assert_int_equal(ee_verify_quote_json(quote, json, w->any, &options, &verdict, NULL), EE_E_INVALID);
    assert_int_equal(ee_verify_quote_json(quote, json, w->any, NULL, NULL, NULL), EE_E_INVALID);
    assert_int_equal(ee_verify_quote_json(quote, (ee_span){NULL, 2}, w->any, NULL, &verdict, NULL), EE_E_INVALID);
    assert_int_equal(ee_verify_quote((ee_span){NULL, 2}, w->collateral, w->any, NULL, &verdict, NULL), EE_E_INVALID);
    assert_null(verdict);
    must_fail_at("too large", eei_span(big, sizeof big), w->collateral, w->any, NOW, "quote_format");
    assert_int_equal(ee_verdict_verified(NULL), 0);
    ee_verdict_free(NULL);
}

/* Anybody can send such: the collateral's five signatures are not even looked at for them, and a large one is not copied. */
static void test_what_cannot_be_read_costs_no_signature(void **state) {
    world *w = *state;
    static uint8_t big[EE_QUOTE_BYTES_MAX + 4465];
    const uint8_t *quote = w->quote.data;
    size_t len = w->quote.len;
    const ee_span malformed[] = {{quote, 0}, {quote, 300}, {quote, len - 1}, {quote + 1, len - 1}, {big, sizeof big}};
    eei_buf json = EEI_BUF_INIT(1 << 20);
    ee_collateral *fresh = NULL;
    ee_verdict *verdict = NULL;
    MUST(simtdx_root_collateral(w->root, &json, err));
    MUST(ee_collateral_parse(eei_buf_span(&json), &fresh, err));
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        must_fail_at("malformed", malformed[i], fresh, w->any, NOW, "quote_format");
        if (fresh->known) fail_msg("malformed %zu: the collateral's signatures were verified", i);
    }
    assert_int_equal(verify_at(malformed[4], fresh, w->any, NOW, &verdict, NULL), EE_E_ATTESTATION);
    assert_non_null(strstr(ee_verdict_json(verdict), "quote is 70001 bytes, limit 65536"));
    assert_true(verdict->quote_bytes.len == 0);
    ee_verdict_free(verdict);
    must_verify("read", eei_buf_span(&w->quote), fresh, w->any, NOW);
    assert_true(fresh->known);
    ee_collateral_free(fresh);
    eei_buf_clear(&json);
}

/* The default policy is Intel's root and no measurements: nothing passes until people pin something. */
static void test_production_policy_refuses_until_pinned(void **state) {
    world *w = *state;
    must_fail_at("simulated under production", eei_buf_span(&w->quote), w->collateral, NULL, NOW, "pck_chain");
}

static void test_trailing_bytes_change_nothing(void **state) {
    world *w = *state;
    eei_buf quote = copy_quote(w);
    assert_int_equal(eei_buf_append(&quote, "\0\0\0\0", 4), EE_OK);
    must_verify("zero padding", eei_buf_span(&quote), w->collateral, w->any, NOW);
    eei_buf_clear(&quote);
}

/* ---- Q1: every link of the quote ---- */

static void own_key(world *w, eei_buf *quote, EVP_PKEY **key) {
    uint8_t point[65];
    size_t len = 0;
    (void)w;
    MUST(simtdx_key(key, err));
    assert_int_equal(EVP_PKEY_get_octet_string_param(*key, "encoded-pub-key", point, sizeof point, &len), 1);
    memcpy(quote->data + AT_KEY, point + 1, 64);
    MUST(simtdx_sign(*key, eei_span(quote->data, AT_SIG_LEN), quote->data + AT_SIGNATURE, err));
}

/* The QE report vouches for whatever key and auth data are in the quote now. */
static void vouch(eei_buf *quote) {
    const ee_span parts[] = {{quote->data + AT_KEY, 64}, {quote->data + AT_QE_AUTH, 32}};
    eei_hash_parts(EEI_SHA256, parts, 2, quote->data + AT_QE_REPORT_DATA);
}

static void test_Q1_forged_attestation_key(void **state) {
    world *w = *state;
    eei_buf quote = copy_quote(w);
    EVP_PKEY *key = NULL;
    quote.data[AT_MRTD] ^= 1;
    own_key(w, &quote, &key);
    must_fail_at("own attestation key", eei_buf_span(&quote), w->collateral, w->any, NOW, "attestation_key");
    EVP_PKEY_free(key);
    eei_buf_clear(&quote);
}

static void test_Q1_forged_qe_report(void **state) {
    world *w = *state;
    eei_buf quote = copy_quote(w);
    EVP_PKEY *key = NULL;
    own_key(w, &quote, &key);
    vouch(&quote);
    must_fail_at("QE report not signed", eei_buf_span(&quote), w->collateral, w->any, NOW, "qe_report_signature");
    MUST(simtdx_sign(key, eei_span(quote.data + AT_QE_REPORT, 384), quote.data + AT_QE_SIGNATURE, err));
    must_fail_at("QE report signed by own key", eei_buf_span(&quote), w->collateral, w->any, NOW, "qe_report_signature");
    /* With the PCK key itself the forgery is complete: what stands between is exactly that key. */
    MUST(simtdx_quote_resign_qe(w->machine, quote.data, quote.len, err));
    must_verify("QE report signed by the PCK key", eei_buf_span(&quote), w->collateral, w->any, NOW);
    EVP_PKEY_free(key);
    eei_buf_clear(&quote);
}

static void test_Q1_qe_report_data_tail_must_be_zero(void **state) {
    world *w = *state;
    eei_buf quote = copy_quote(w);
    quote.data[AT_QE_REPORT_DATA + 63] = 1;
    MUST(simtdx_quote_resign_qe(w->machine, quote.data, quote.len, err));
    must_fail_at("tail", eei_buf_span(&quote), w->collateral, w->any, NOW, "attestation_key");
    eei_buf_clear(&quote);
}

static void put_le(uint8_t *at, size_t bytes, uint64_t value) {
    for (size_t i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * i));
}

/* Longer auth data whose first 32 bytes are the vouched ones: a verifier that hashes a fixed length would accept it. */
static void test_Q1_qe_auth_data_counts_in_full(void **state) {
    world *w = *state;
    eei_buf quote = EEI_BUF_INIT(65536);
    static const uint8_t more[8] = {1, 2, 3};
    assert_int_equal(eei_buf_append(&quote, w->quote.data, AT_INNER_TYPE), EE_OK);
    assert_int_equal(eei_buf_append(&quote, more, sizeof more), EE_OK);
    assert_int_equal(eei_buf_append(&quote, w->quote.data + AT_INNER_TYPE, w->quote.len - AT_INNER_TYPE), EE_OK);
    put_le(quote.data + AT_QE_AUTH_LEN, 2, 40);
    put_le(quote.data + AT_SIG_LEN, 4, quote.len - AT_SIGNATURE);
    put_le(quote.data + AT_OUTER_LEN, 4, quote.len - AT_QE_REPORT);
    must_fail_at("40 bytes of auth data", eei_buf_span(&quote), w->collateral, w->any, NOW, "attestation_key");
    eei_buf_clear(&quote);
}

static void test_Q1_key_off_curve(void **state) {
    world *w = *state;
    eei_buf quote = copy_quote(w);
    memset(quote.data + AT_KEY, 0x11, 64);
    vouch(&quote);
    MUST(simtdx_quote_resign_qe(w->machine, quote.data, quote.len, err));
    must_fail_at("key off the curve", eei_buf_span(&quote), w->collateral, w->any, NOW, "quote_signature");
    eei_buf_clear(&quote);
}

static void test_Q1_signature_extremes(void **state) {
    world *w = *state;
    static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    static const uint8_t zero[32];
    const uint8_t *const values[] = {zero, order};
    for (size_t i = 0; i < 4; i++) {
        eei_buf quote = copy_quote(w);
        memcpy(quote.data + AT_SIGNATURE + (i & 1) * 32, values[i >> 1], 32);
        must_fail_at("r or s is 0 or the order", eei_buf_span(&quote), w->collateral, w->any, NOW, "quote_signature");
        eei_buf_clear(&quote);
    }
}

static void test_Q1_parts_of_another_machine(void **state) {
    world *w = *state;
    simtdx_machine *other = NULL;
    eei_buf theirs = EEI_BUF_INIT(65536), quote = copy_quote(w);
    uint8_t report_data[64] = {0};
    MUST(simtdx_machine_new(w->root, "machine-2", &other, err));
    MUST(simtdx_quote(other, &w->td, report_data, &theirs, err));
    must_verify("the other machine's own", eei_buf_span(&theirs), w->collateral, w->any, NOW);
    memcpy(quote.data, theirs.data, AT_SIG_LEN);
    must_fail_at("their body, our signature", eei_buf_span(&quote), w->collateral, w->any, NOW, "quote_signature");
    memcpy(quote.data + AT_SIGNATURE, theirs.data + AT_SIGNATURE, 128);
    must_fail_at("their key, our QE report", eei_buf_span(&quote), w->collateral, w->any, NOW, "attestation_key");
    memcpy(quote.data + AT_QE_REPORT, theirs.data + AT_QE_REPORT, AT_INNER_TYPE - AT_QE_REPORT);
    must_fail_at("their QE report, our chain", eei_buf_span(&quote), w->collateral, w->any, NOW, "qe_report_signature");
    simtdx_machine_free(other);
    eei_buf_clear(&theirs);
    eei_buf_clear(&quote);
}

/* One changed byte or field, not signed again: where it must be noticed. */
static const struct {
    const char *name;
    size_t at, bytes;
    uint64_t value; /* little-endian; bytes 0: flip one bit at `at` */
    const char *check;
} quote_mutations[] = {
    {"version 3", 0, 2, 3, "quote_format"},
    {"version 5 over a version 4 body", 0, 2, 5, "quote_format"},
    {"key type P-384", 2, 2, 3, "quote_format"},
    {"TEE type SGX", 4, 4, 0, "quote_format"},
    {"reserved header bytes", 8, 0, 0, "quote_signature"},
    {"vendor id", 12, 0, 0, "quote_format"},
    {"user data", 28, 0, 0, "quote_signature"},
    {"TEE_TCB_SVN", AT_TEE_TCB_SVN, 0, 0, "quote_signature"},
    {"MRSEAM", AT_MRSEAM, 0, 0, "quote_signature"},
    {"MRSIGNERSEAM", AT_MRSIGNERSEAM, 0, 0, "quote_signature"},
    {"SEAMATTRIBUTES", AT_SEAM_ATTRIBUTES, 0, 0, "quote_signature"},
    {"TDATTRIBUTES", AT_TD_ATTRIBUTES, 0, 0, "quote_signature"},
    {"XFAM", AT_XFAM, 0, 0, "quote_signature"},
    {"MRTD", AT_MRTD, 0, 0, "quote_signature"},
    {"RTMR3", AT_RTMR3, 0, 0, "quote_signature"},
    {"REPORTDATA", AT_REPORT_DATA, 0, 0, "quote_signature"},
    {"signature r", AT_SIGNATURE, 0, 0, "quote_signature"},
    {"signature s", AT_SIGNATURE + 32, 0, 0, "quote_signature"},
    {"attestation key x", AT_KEY, 0, 0, "attestation_key"},
    {"attestation key y", AT_KEY + 32, 0, 0, "attestation_key"},
    {"signature data length 0", AT_SIG_LEN, 4, 0, "quote_format"},
    {"signature data length max", AT_SIG_LEN, 4, UINT32_MAX, "quote_format"},
    {"outer type 5", AT_OUTER_TYPE, 2, 5, "quote_format"},
    {"outer length 0", AT_OUTER_LEN, 4, 0, "quote_format"},
    {"outer length max", AT_OUTER_LEN, 4, UINT32_MAX, "quote_format"},
    {"QE CPUSVN", AT_QE_REPORT, 0, 0, "qe_report_signature"},
    {"QE attributes", AT_QE_REPORT + 48, 0, 0, "qe_report_signature"},
    {"QE MRSIGNER", AT_QE_REPORT + 128, 0, 0, "qe_report_signature"},
    {"QE ISVSVN", AT_QE_REPORT + 258, 0, 0, "qe_report_signature"},
    {"QE report data", AT_QE_REPORT_DATA, 0, 0, "qe_report_signature"},
    {"QE signature r", AT_QE_SIGNATURE, 0, 0, "qe_report_signature"},
    {"QE signature s", AT_QE_SIGNATURE + 32, 0, 0, "qe_report_signature"},
    {"QE auth data length 31", AT_QE_AUTH_LEN, 2, 31, "quote_format"},
    {"QE auth data length max", AT_QE_AUTH_LEN, 2, UINT16_MAX, "quote_format"},
    {"QE auth data", AT_QE_AUTH, 0, 0, "attestation_key"},
    {"inner type 0", AT_INNER_TYPE, 2, 0, "quote_format"},
    {"inner type 6", AT_INNER_TYPE, 2, 6, "quote_format"},
    {"inner type 3, no chain in the collateral", AT_INNER_TYPE, 2, 3, "pck_chain"},
    {"inner length one less", AT_INNER_LEN, 0, 0, "quote_format"},
    {"inner length max", AT_INNER_LEN, 4, UINT32_MAX, "quote_format"},
    {"PEM mark", AT_CHAIN, 0, 0, "pck_chain"},
    {"PCK certificate", AT_CHAIN + 200, 0, 0, "pck_chain"},
};

static void test_Q1_quote_mutations(void **state) {
    world *w = *state;
    for (size_t i = 0; i < sizeof quote_mutations / sizeof quote_mutations[0]; i++) {
        eei_buf quote = copy_quote(w);
        if (quote_mutations[i].bytes)
            put_le(quote.data + quote_mutations[i].at, quote_mutations[i].bytes, quote_mutations[i].value);
        else
            quote.data[quote_mutations[i].at] ^= 1;
        must_fail_at(quote_mutations[i].name, eei_buf_span(&quote), w->collateral, w->any, NOW, quote_mutations[i].check);
        eei_buf_clear(&quote);
    }
}

static void test_Q1_every_cut(void **state) {
    world *w = *state;
    for (size_t len = 0; len < w->quote.len; len += len < AT_CHAIN ? 1 : 37) {
        uint8_t *exact = malloc(len ? len : 1); /* exact size: a sanitizer sees one byte too far */
        memcpy(exact, w->quote.data, len);
        must_fail_at("cut", eei_span(exact, len), w->collateral, w->any, NOW, "quote_format");
        free(exact);
    }
}

/* Every byte of the quote, one bit each (the bit moves along): none may verify. */
static void test_Q1_single_bit_flips(void **state) {
    world *w = *state;
    eei_buf quote = copy_quote(w);
    for (size_t at = 0; at < quote.len; at++) {
        ee_verdict *verdict = NULL;
        uint8_t bit = (uint8_t)(1u << (at % 8));
        quote.data[at] ^= bit;
        if (verify_at(eei_buf_span(&quote), w->collateral, w->any, NOW, &verdict, NULL) != EE_E_ATTESTATION || ee_verdict_verified(verdict))
            fail_msg("byte %zu with bit 0x%02x changed still verifies", at, bit);
        ee_verdict_free(verdict);
        quote.data[at] ^= bit;
    }
    eei_buf_clear(&quote);
}

/* ---- Q2: chains ---- */

typedef struct chain_plan {
    const char *name;
    const char *leaf_cn, *ca_cn;    /* NULL: the right one */
    bool leaf_is_ca, ca_is_leaf;    /* basic constraints the wrong way */
    bool sha384, p384;              /* of the leaf */
    bool no_sgx, processor_entries; /* SGX extension: none; without PIID */
    bool leaf_by_root;              /* root signs the leaf, CA stands between unused */
    bool own_root;                  /* a root of the attacker's with the right names */
    int64_t leaf_from, leaf_to;     /* shifted, seconds; 0: as usual */
    const char *order;              /* certificates in the chain: l, c, r, t (TCB signer) */
    const char *check;              /* NULL: verifies */
} chain_plan;

static const chain_plan chain_plans[] = {
    {.name = "good"},
    {.name = "good, without platform instance", .processor_entries = true},
    {.name = "root missing", .order = "lc", .check = "pck_chain"},
    {.name = "leaf alone", .order = "l", .check = "pck_chain"},
    {.name = "root alone", .order = "r", .check = "pck_chain"},
    {.name = "four certificates", .order = "lccr", .check = "pck_chain"},
    {.name = "five certificates", .order = "lcccr", .check = "pck_chain"},
    {.name = "wrong order", .order = "clr", .check = "pck_chain"},
    {.name = "reversed", .order = "rcl", .check = "pck_chain"},
    {.name = "TCB signer as CA", .order = "ltr", .check = "pck_chain"},
    {.name = "TCB signer as leaf", .order = "tcr", .check = "pck_chain"},
    {.name = "leaf with the TCB signer's name", .leaf_cn = "Simulated SGX TCB Signing", .check = "pck_chain"},
    {.name = "leaf with some name", .leaf_cn = "Mallory", .check = "pck_chain"},
    {.name = "CA with the root's name", .ca_cn = "Simulated SGX Root CA", .check = "pck_chain"},
    {.name = "CA with some name", .ca_cn = "Simulated CA", .check = "pck_chain"},
    {.name = "leaf is a CA", .leaf_is_ca = true, .check = "pck_chain"},
    {.name = "CA is not a CA", .ca_is_leaf = true, .check = "pck_chain"},
    {.name = "SHA-384", .sha384 = true, .check = "pck_chain"},
    {.name = "P-384", .p384 = true, .check = "pck_chain"},
    {.name = "no SGX extension", .no_sgx = true, .check = "pck_chain"},
    {.name = "leaf signed by the root", .leaf_by_root = true, .check = "pck_chain"},
    {.name = "own root with the right names", .own_root = true, .check = "pck_chain"},
    {.name = "leaf expired one second ago", .leaf_to = -1, .check = "validity"},
    {.name = "leaf valid to this second", .leaf_to = INT64_MIN},
    {.name = "leaf valid from the next second", .leaf_from = 1, .check = "validity"},
    {.name = "leaf valid from this second", .leaf_from = INT64_MIN},
};

static uint64_t shifted(int64_t shift, uint64_t usual) {
    return shift == 0 ? usual : shift == INT64_MIN ? NOW : (uint64_t)((int64_t)NOW + shift);
}

static void chain_quote(const world *w, const chain_plan *plan, eei_buf *quote) {
    static const uint8_t ppid[16] = {9}, piid[16] = {7};
    eei_buf sgx = EEI_BUF_INIT(4096), pem = EEI_BUF_INIT(65536);
    simtdx_root *other = NULL;
    EVP_PKEY *key = NULL, *ca_key = NULL;
    X509 *leaf = NULL, *ca = NULL, *certs[8];
    simtdx_machine *machine = NULL;
    uint8_t report_data[64] = {0};
    size_t count = 0;

    if (plan->own_root) MUST(simtdx_root_new(NOW, &other, err));
    const simtdx_root *r = other ? other : w->root;
    if (plan->p384)
        key = EVP_EC_gen("P-384");
    else
        MUST(simtdx_key(&key, err));
    MUST(simtdx_key(&ca_key, err));
    if (!plan->no_sgx) MUST(simtdx_sgx_extension(ppid, plan->processor_entries ? NULL : piid, &sgx, err));
    const simtdx_cert ca_options = {plan->ca_cn ? plan->ca_cn : "Simulated SGX PCK Platform CA",
                                    r->ca_key,
                                    r->root_key,
                                    r->root,
                                    !plan->ca_is_leaf,
                                    0,
                                    2,
                                    NOW - 3600,
                                    NOW + 86400,
                                    {NULL, 0},
                                    NULL};
    MUST(simtdx_cert_make(&ca_options, &ca, err));
    const simtdx_cert leaf_options = {plan->leaf_cn ? plan->leaf_cn : "Simulated SGX PCK Certificate",
                                      key,
                                      plan->leaf_by_root ? r->root_key : r->ca_key,
                                      plan->leaf_by_root ? r->root : ca,
                                      plan->leaf_is_ca,
                                      -1,
                                      77,
                                      shifted(plan->leaf_from, NOW - 3600),
                                      shifted(plan->leaf_to, NOW + 86400),
                                      eei_buf_span(&sgx),
                                      plan->sha384 ? EVP_sha384() : NULL};
    MUST(simtdx_cert_make(&leaf_options, &leaf, err));
    for (const char *c = plan->order ? plan->order : "lcr"; *c; c++)
        certs[count++] = *c == 'l' ? leaf : *c == 'c' ? ca : *c == 'r' ? r->root : r->tcb;
    MUST(simtdx_pem(certs, count, &pem, err));
    MUST(simtdx_machine_with(plan->p384 ? ca_key : key, eei_buf_cstr(&pem), "x", &machine, err));
    MUST(simtdx_quote(machine, &w->td, report_data, quote, err));
    simtdx_machine_free(machine);
    X509_free(leaf);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    simtdx_root_free(other);
    eei_buf_clear(&sgx);
    eei_buf_clear(&pem);
}

static void test_Q2_chains(void **state) {
    world *w = *state;
    for (size_t i = 0; i < sizeof chain_plans / sizeof chain_plans[0]; i++) {
        eei_buf quote = EEI_BUF_INIT(65536);
        chain_quote(w, &chain_plans[i], &quote);
        if (chain_plans[i].check)
            must_fail_at(chain_plans[i].name, eei_buf_span(&quote), w->collateral, w->any, NOW, chain_plans[i].check);
        else
            must_verify(chain_plans[i].name, eei_buf_span(&quote), w->collateral, w->any, NOW);
        eei_buf_clear(&quote);
    }
}

/* A CA certificate that the root did not sign is no better for standing in the collateral, too, where the CRLs are signed by its key. */
static void test_Q2_unsigned_ca_in_quote_and_collateral(void **state) {
    world *w = *state;
    static const uint8_t ppid[16] = {9}, piid[16] = {7}, report_data[64] = {0};
    eei_buf sgx = EEI_BUF_INIT(4096), pem = EEI_BUF_INIT(65536), quote = EEI_BUF_INIT(65536), text = EEI_BUF_INIT(1 << 20);
    simtdx_cert ca_options = {
        .cn = "Simulated SGX PCK Platform CA", .key = w->root->ca_key, .issuer = w->root->root, .ca = true, .serial = 2};
    simtdx_cert leaf_options = {.cn = "Simulated SGX PCK Certificate", .issuer_key = w->root->ca_key, .pathlen = -1, .serial = 77};
    simtdx_machine *machine = NULL;
    EVP_PKEY *key = NULL;
    X509 *leaf = NULL, *ca = NULL;
    json_t *json = NULL;
    MUST(simtdx_key(&key, err));
    MUST(simtdx_sgx_extension(ppid, piid, &sgx, err));
    ca_options.issuer_key = key; /* whoever's: not the root's */
    ca_options.not_before_unix_s = leaf_options.not_before_unix_s = NOW - 3600;
    ca_options.not_after_unix_s = leaf_options.not_after_unix_s = NOW + 86400;
    MUST(simtdx_cert_make(&ca_options, &ca, err));
    leaf_options.key = key;
    leaf_options.issuer = ca;
    leaf_options.sgx_extension = eei_buf_span(&sgx);
    MUST(simtdx_cert_make(&leaf_options, &leaf, err));
    X509 *const chain[] = {leaf, ca, w->root->root};
    MUST(simtdx_pem(chain, 3, &pem, err));
    MUST(simtdx_machine_with(key, eei_buf_cstr(&pem), "x", &machine, err));
    MUST(simtdx_quote(machine, &w->td, report_data, &quote, err));
    must_fail_at("only in the quote", eei_buf_span(&quote), w->collateral, w->any, NOW, "pck_chain");

    ee_collateral *both = NULL;
    eei_buf_clear(&pem);
    MUST(simtdx_pem(chain + 1, 2, &pem, err));
    MUST(simtdx_root_collateral(w->root, &text, err));
    MUST(eei_json_parse(eei_buf_span(&text), 1 << 20, &json, err));
    assert_int_equal(json_object_set_new(json, "pck_crl_issuer_chain", json_string(eei_buf_cstr(&pem))), 0);
    eei_buf_clear(&text);
    MUST(eei_json_dump(json, &text, err));
    MUST(ee_collateral_parse(eei_buf_span(&text), &both, err));
    must_fail_at("in the collateral, too", eei_buf_span(&quote), both, w->any, NOW, "pck_chain");
    must_fail_at("only in the collateral", eei_buf_span(&w->quote), both, w->any, NOW, "pck_crl");
    ee_collateral_free(both);
    json_decref(json);
    simtdx_machine_free(machine);
    X509_free(leaf);
    X509_free(ca);
    EVP_PKEY_free(key);
    eei_buf_clear(&sgx);
    eei_buf_clear(&pem);
    eei_buf_clear(&quote);
    eei_buf_clear(&text);
}

/* Certification data of types 1 to 4 has no chain: the collateral's is used, and must still sign the QE report. */
static void test_chain_from_collateral(void **state) {
    world *w = *state;
    simtdx_machine *other = NULL;
    eei_buf quote = copy_quote(w);
    simtdx_collateral_parts parts = {.pck_chain = eei_span_text(w->machine->chain)};
    ee_collateral *with_chain = world_collateral(w, &parts);
    must_verify("the quote's own and the same again", eei_buf_span(&w->quote), with_chain, w->any, NOW);
    put_le(quote.data + AT_INNER_TYPE, 2, 4);
    must_verify("chain from the collateral", eei_buf_span(&quote), with_chain, w->any, NOW);
    ee_collateral_free(with_chain);
    MUST(simtdx_machine_new(w->root, "machine-2", &other, err));
    parts.pck_chain = eei_span_text(other->chain);
    with_chain = world_collateral(w, &parts);
    must_fail_at("the quote's own and another", eei_buf_span(&w->quote), with_chain, w->any, NOW, "pck_chain");
    must_fail_at("another machine's chain", eei_buf_span(&quote), with_chain, w->any, NOW, "qe_report_signature");
    ee_collateral_free(with_chain);
    simtdx_machine_free(other);
    eei_buf_clear(&quote);
}

/* ---- Q3: collateral ---- */

typedef struct text_plan {
    const char *name, *from, *to; /* replaced before signing */
    int64_t at;                   /* verified at NOW + at */
    const char *check;            /* NULL: verifies */
} text_plan;

/* The simulated collateral is valid from NOW - 1 h to NOW + 30 days. */
enum { LAST_SECOND = 30 * 86400 };

static const text_plan tcb_info_plans[] = {
    {"as it is", "", "", 0, NULL},
    {"last second", "", "", LAST_SECOND, NULL},
    {"expired by a second (CRLs end then too)", "", "", LAST_SECOND + 1, "validity"},
    {"first second", "\"issueDate\":\"", "\"issueDate\":\"", 0, NULL},
    {"expired", "\"nextUpdate\":\"2026-10-21", "\"nextUpdate\":\"2026-09-21", 86400, "validity"},
    {"not yet issued", "\"issueDate\":\"2026-09-21", "\"issueDate\":\"2026-09-22", 0, "validity"},
    {"a date without Z", "T14:13:20Z\",\"tcbEval", "T14:13:20\",\"tcbEval", 0, "tcb_info_signature"},
    {"id SGX", "\"id\":\"TDX\"", "\"id\":\"SGX\"", 0, "tcb_info_signature"},
    {"id missing", "\"id\":\"TDX\",", "", 0, "tcb_info_signature"},
    {"version 2", "\"version\":3", "\"version\":2", 0, "tcb_info_signature"},
    {"version 4", "\"version\":3", "\"version\":4", 0, "tcb_info_signature"},
    {"version as text", "\"version\":3", "\"version\":\"3\"", 0, "tcb_info_signature"},
    {"another TCB type", "\"tcbType\":0", "\"tcbType\":1", 0, "tcb_info_signature"},
    {"another FMSPC", "454553494D00", "454553494D01", 0, "tcb_info_signature"},
    {"FMSPC in lower case", "454553494D00", "454553494d00", 0, NULL},
    {"another PCE id", "\"pceId\":\"0000\"", "\"pceId\":\"0001\"", 0, "tcb_info_signature"},
    {"no tdxModule", "\"tdxModule\":", "\"noModule\":", 0, "tcb_info_signature"},
    {"a key twice", "\"tcbType\":0", "\"tcbType\":0,\"tcbType\":0", 0, "tcb_info_signature"},
    {"something after", "]}", "]} ", 0, NULL}, /* only white space, and inside the signature */
    {"15 components", "{\"svn\":3},{\"svn\":3},", "{\"svn\":3},", 0, "tcb_info_signature"},
    {"17 components", "[{\"svn\":3},{\"svn\":3},", "[{\"svn\":3},{\"svn\":3},{\"svn\":0},", 0, "tcb_info_signature"},
    {"SVN 256", "[{\"svn\":3}", "[{\"svn\":256}", 0, "tcb_info_signature"},
    {"SVN -1", "[{\"svn\":3}", "[{\"svn\":-1}", 0, "tcb_info_signature"},
    {"PCESVN 65536", "\"pcesvn\":13", "\"pcesvn\":65536", 0, "tcb_info_signature"},
    {"PCESVN 1.5", "\"pcesvn\":13", "\"pcesvn\":1.5", 0, "tcb_info_signature"},
    {"a status that is not known", "\"OutOfDate\",\"advisoryIDs\":[\"SIM-SA-00001", "\"Fine\",\"advisoryIDs\":[\"SIM-SA-00001", 0,
     "tcb_info_signature"},
    {"an odd advisory", "SIM-SA-00001", "<script>", 0, "tcb_info_signature"},
    {"a platform status on a module", "\"isvsvn\":5},\"tcbDate\":\"2025-05-14T00:00:00Z\",\"tcbStatus\":\"UpToDate\"",
     "\"isvsvn\":5},\"tcbDate\":\"2025-05-14T00:00:00Z\",\"tcbStatus\":\"ConfigurationNeeded\"", 0, "tcb_info_signature"},
    {"a module that is not TDX_", "\"TDX_01\"", "\"SGX_01\"", 0, "tcb_info_signature"},
    {"a module level above 255", "\"isvsvn\":5", "\"isvsvn\":261", 0, "tcb_info_signature"},
    {"a module level twice", "\"isvsvn\":2", "\"isvsvn\":5", 0, "tcb_info_signature"},
    {"a module level without a date", "\"isvsvn\":5},\"tcbDate\"", "\"isvsvn\":5},\"date\"", 0, "tcb_info_signature"},
    {"no levels", "\"tcbLevels\":[{\"tcb\":{\"sgx", "\"tcbLevels\":[],\"x\":[{\"tcb\":{\"sgx", 0, "tcb_info_signature"},
    {"unknown fields are fine", "\"tcbType\":0", "\"tcbType\":0,\"new\":{\"a\":[1]}", 0, NULL},
};

static const text_plan qe_identity_plans[] = {
    {"as it is", "", "", 0, NULL},
    {"id QE", "\"id\":\"TD_QE\"", "\"id\":\"QE\"", 0, "qe_identity_signature"},
    {"version 3", "\"version\":2", "\"version\":3", 0, "qe_identity_signature"},
    {"expired", "\"nextUpdate\":\"2026-10-21", "\"nextUpdate\":\"2026-09-21", 86400, "validity"},
    {"not yet issued", "\"issueDate\":\"2026-09-21", "\"issueDate\":\"2026-09-22", 0, "validity"},
    {"short MRSIGNER", "EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51", "EE51", 0, "qe_identity_signature"},
    {"another MRSIGNER", "\"mrsigner\":\"EE51", "\"mrsigner\":\"EE52", 0, "qe_identity"},
    {"another MISCSELECT", "\"miscselect\":\"00000000\"", "\"miscselect\":\"00000001\"", 0, "qe_identity"},
    {"other attributes", "\"attributes\":\"11", "\"attributes\":\"13", 0, "qe_identity"},
    {"another product", "\"isvprodid\":2", "\"isvprodid\":1", 0, "qe_identity"},
    {"ISVSVN above all levels", "\"isvsvn\":4", "\"isvsvn\":9", 0, "tcb_status"}, /* then level 2 fits: OutOfDate */
    {"every level above", "\"isvsvn\":4},\"tcbDate\":\"2025-05-14T00:00:00Z\",\"tcbStatus\":\"UpToDate\"},{\"tcb\":{\"isvsvn\":2}",
     "\"isvsvn\":7},\"tcbDate\":\"2025-05-14T00:00:00Z\",\"tcbStatus\":\"UpToDate\"},{\"tcb\":{\"isvsvn\":6}", 0, "qe_identity"},
    {"a level without a date", "\"isvsvn\":4},\"tcbDate\"", "\"isvsvn\":4},\"date\"", 0, "qe_identity_signature"},
    {"revoked", "\"tcbStatus\":\"UpToDate\"", "\"tcbStatus\":\"Revoked\"", 0, "qe_identity"},
    {"levels in another order",
     "\"isvsvn\":4},\"tcbDate\":\"2025-05-14T00:00:00Z\",\"tcbStatus\":\"UpToDate\"},{\"tcb\":{\"isvsvn\":2},\"tcbDate\":\"2023-08-09T00:"
     "00:00Z\",\"tcbStatus\":\"OutOfDate\"",
     "\"isvsvn\":2},\"tcbDate\":\"2025-05-14T00:00:00Z\",\"tcbStatus\":\"OutOfDate\"},{\"tcb\":{\"isvsvn\":4},\"tcbDate\":\"2023-08-09T00:"
     "00:00Z\",\"tcbStatus\":\"UpToDate\"",
     0, NULL},
};

static void run_text_plan(world *w, const text_plan *plan, bool tcb_info) {
    eei_buf text = EEI_BUF_INIT(1 << 20);
    simtdx_collateral_parts parts = {0};
    if (tcb_info)
        MUST(simtdx_tcb_info(w->root, &text, err));
    else
        MUST(simtdx_qe_identity(w->root, &text, err));
    replace_in(&text, plan->from, plan->to);
    *(tcb_info ? &parts.tcb_info : &parts.qe_identity) = eei_buf_span(&text);
    ee_collateral *collateral = world_collateral(w, &parts);
    uint64_t now = (uint64_t)((int64_t)NOW + plan->at);
    if (plan->check)
        must_fail_at(plan->name, eei_buf_span(&w->quote), collateral, w->any, now, plan->check);
    else
        must_verify(plan->name, eei_buf_span(&w->quote), collateral, w->any, now);
    ee_collateral_free(collateral);
    eei_buf_clear(&text);
}

static void test_Q3_tcb_info(void **state) {
    for (size_t i = 0; i < sizeof tcb_info_plans / sizeof tcb_info_plans[0]; i++) run_text_plan(*state, &tcb_info_plans[i], true);
}

static void test_Q3_qe_identity(void **state) {
    for (size_t i = 0; i < sizeof qe_identity_plans / sizeof qe_identity_plans[0]; i++) run_text_plan(*state, &qe_identity_plans[i], false);
}

/* Signed by somebody: the right text under the wrong key, or with the wrong signer's chain. */
static void test_Q3_signers(void **state) {
    world *w = *state;
    eei_buf text = EEI_BUF_INIT(1 << 20), pem = EEI_BUF_INIT(65536);
    uint8_t rs[64];
    simtdx_root *other = NULL;
    MUST(simtdx_root_new(NOW, &other, err));
    MUST(simtdx_tcb_info(w->root, &text, err));

    MUST(simtdx_sign(other->tcb_key, eei_buf_span(&text), rs, err));
    simtdx_collateral_parts parts = {.tcb_info_signature = rs};
    ee_collateral *c = world_collateral(w, &parts);
    must_fail_at("signed by another key", eei_buf_span(&w->quote), c, w->any, NOW, "tcb_info_signature");
    ee_collateral_free(c);

    X509 *theirs[] = {other->tcb, other->root};
    MUST(simtdx_pem(theirs, 2, &pem, err));
    parts.tcb_chain = eei_buf_span(&pem);
    c = world_collateral(w, &parts);
    must_fail_at("signed under another root", eei_buf_span(&w->quote), c, w->any, NOW, "tcb_info_signature");
    ee_collateral_free(c);

    /* The PCK key is under the same root, but its role is another (known failure of other verifiers). */
    MUST(simtdx_sign(w->machine->pck_key, eei_buf_span(&text), rs, err));
    parts.tcb_chain = eei_span_text(w->machine->chain);
    c = world_collateral(w, &parts);
    must_fail_at("signed by the PCK key", eei_buf_span(&w->quote), c, w->any, NOW, "tcb_info_signature");
    ee_collateral_free(c);

    MUST(simtdx_sign(w->root->root_key, eei_buf_span(&text), rs, err));
    X509 *roots[] = {w->root->root, w->root->root};
    eei_buf_reset(&pem);
    MUST(simtdx_pem(roots, 2, &pem, err));
    parts.tcb_chain = eei_buf_span(&pem);
    c = world_collateral(w, &parts);
    must_fail_at("signed by the root itself", eei_buf_span(&w->quote), c, w->any, NOW, "tcb_info_signature");
    ee_collateral_free(c);

    memset(rs, 0, sizeof rs);
    parts = (simtdx_collateral_parts){.qe_identity_signature = rs};
    c = world_collateral(w, &parts);
    must_fail_at("QE identity signature zero", eei_buf_span(&w->quote), c, w->any, NOW, "qe_identity_signature");
    ee_collateral_free(c);
    simtdx_root_free(other);
    eei_buf_clear(&text);
    eei_buf_clear(&pem);
}

/* Same content, other bytes: the signature is over bytes. */
static void test_Q3_exact_bytes(void **state) {
    world *w = *state;
    eei_buf text = EEI_BUF_INIT(1 << 20);
    uint8_t rs[64];
    MUST(simtdx_tcb_info(w->root, &text, err));
    MUST(simtdx_sign(w->root->tcb_key, eei_buf_span(&text), rs, err));
    replace_in(&text, "\"version\":3", "\"version\": 3");
    const simtdx_collateral_parts parts = {.tcb_info = eei_buf_span(&text), .tcb_info_signature = rs};
    ee_collateral *c = world_collateral(w, &parts);
    must_fail_at("one space", eei_buf_span(&w->quote), c, w->any, NOW, "tcb_info_signature");
    ee_collateral_free(c);
    eei_buf_clear(&text);
}

typedef enum crl_kind { PCK_CRL, ROOT_CRL } crl_kind;
typedef struct crl_plan {
    const char *name;
    crl_kind kind;
    int issuer;       /* 0 the right one, 1 the other CA of this root, 2 another root's of the same name */
    int64_t from, to; /* NOW +; to 0: no nextUpdate */
    uint64_t serial;  /* revoked; 0: none; 1 root, 2 CA, 3 TCB signer, 4 the machine's certificate, else itself */
    const char *check;
} crl_plan;

static const crl_plan crl_plans[] = {
    {"good", PCK_CRL, 0, -10, 10, 0, NULL},
    {"good root CRL", ROOT_CRL, 0, -10, 10, 0, NULL},
    {"another serial", PCK_CRL, 0, -10, 10, 12345, NULL},
    {"machine's serial on the root CRL counts not", ROOT_CRL, 0, -10, 10, 4, NULL},
    {"machine revoked", PCK_CRL, 0, -10, 10, 4, "pck_crl"},
    {"CA revoked", ROOT_CRL, 0, -10, 10, 2, "pck_crl"},
    {"root revoked", ROOT_CRL, 0, -10, 10, 1, "pck_crl"},
    {"TCB signer revoked", ROOT_CRL, 0, -10, 10, 3, "pck_crl"},
    {"PCK CRL expired by a second", PCK_CRL, 0, -10, -1, 0, "validity"},
    {"PCK CRL from the next second", PCK_CRL, 0, 1, 10, 0, "validity"},
    {"root CRL expired by a second", ROOT_CRL, 0, -10, -1, 0, "validity"},
    {"no nextUpdate", PCK_CRL, 0, -10, 0, 0, "collateral_format"},
    {"root's CRL as PCK CRL", PCK_CRL, 1, -10, 10, 0, "pck_crl"},
    {"CA's CRL as root CRL", ROOT_CRL, 1, -10, 10, 0, "pck_crl"},
    {"PCK CRL by another key of the same name", PCK_CRL, 2, -10, 10, 0, "pck_crl"},
    {"root CRL by another key of the same name", ROOT_CRL, 2, -10, 10, 0, "pck_crl"},
};

static uint64_t machine_serial(const world *w) {
    eei_chain chain;
    uint64_t serial = 0;
    MUST(eei_chain_parse(eei_span_text(w->machine->chain), &chain, err));
    for (size_t i = 0; i < chain.certs[0].serial.len; i++) serial = serial << 8 | chain.certs[0].serial.data[i];
    eei_chain_clear(&chain);
    return serial;
}

/* check NULL: must verify. */
static void verify_json(const char *name, const world *w, ee_span collateral, uint64_t now, const char *check) {
    ee_verdict *verdict = NULL;
    ee_error err = {0};
    ee_verify_options options;
    ee_verify_options_init(&options);
    options.now_unix_s = now;
    ee_status st = ee_verify_quote_json(eei_buf_span(&w->quote), collateral, w->any, &options, &verdict, &err);
    if (!verdict || st != (check ? EE_E_ATTESTATION : EE_OK) || strcmp(first_failed(verdict), check ? check : ""))
        fail_msg("%s: status %d, failed \"%s\", wanted \"%s\"; %s", name, (int)st, verdict ? first_failed(verdict) : "(no verdict)",
                 check ? check : "", err.message);
    ee_verdict_free(verdict);
}

static void test_Q3_crls(void **state) {
    world *w = *state;
    simtdx_root *other = NULL;
    MUST(simtdx_root_new(NOW, &other, err));
    for (size_t i = 0; i < sizeof crl_plans / sizeof crl_plans[0]; i++) {
        const crl_plan *p = &crl_plans[i];
        const simtdx_root *r = p->issuer == 2 ? other : w->root;
        bool root_issues = (p->kind == ROOT_CRL) != (p->issuer == 1);
        uint64_t serial = p->serial == 4 ? machine_serial(w) : p->serial;
        const simtdx_crl options = {root_issues ? r->root : r->ca,
                                    root_issues ? r->root_key : r->ca_key,
                                    (uint64_t)((int64_t)NOW + p->from),
                                    p->to ? (uint64_t)((int64_t)NOW + p->to) : 0,
                                    &serial,
                                    serial ? 1 : 0};
        eei_buf der = EEI_BUF_INIT(65536);
        simtdx_collateral_parts parts = {0};
        MUST(simtdx_crl_make(&options, &der, err));
        *(p->kind == ROOT_CRL ? &parts.root_crl : &parts.pck_crl) = eei_buf_span(&der);
        eei_buf json = EEI_BUF_INIT(1 << 20);
        MUST(simtdx_collateral(w->root, &parts, &json, err));
        verify_json(p->name, w, eei_buf_span(&json), NOW, p->check);
        eei_buf_clear(&json);
        eei_buf_clear(&der);
    }
    simtdx_root_free(other);
}

/* ---- Q4: statuses and policy ---- */

static const struct {
    const char *status;
    const char *policy_status; /* one word in tcb_status */
    bool ok;
} status_plans[] = {
    {"UpToDate", "UpToDate", true},
    {"UpToDate", "OutOfDate", false},
    {"SWHardeningNeeded", "UpToDate", false},
    {"SWHardeningNeeded", "SWHardeningNeeded", true},
    {"ConfigurationNeeded", "UpToDate", false},
    {"ConfigurationNeeded", "ConfigurationNeeded", true},
    {"ConfigurationAndSWHardeningNeeded", "ConfigurationNeeded", false},
    {"ConfigurationAndSWHardeningNeeded", "ConfigurationAndSWHardeningNeeded", true},
    {"OutOfDate", "UpToDate", false},
    {"OutOfDate", "OutOfDate", true},
    {"OutOfDateConfigurationNeeded", "OutOfDate", false},
    {"OutOfDateConfigurationNeeded", "OutOfDateConfigurationNeeded", true},
    {"Revoked", "UpToDate", false},
    {"Revoked", "OutOfDate", false},
};

static void test_Q4_status_and_policy(void **state) {
    world *w = *state;
    for (size_t i = 0; i < sizeof status_plans / sizeof status_plans[0]; i++) {
        eei_buf text = EEI_BUF_INIT(1 << 20);
        char lines[256], to[128], name[128];
        MUST(simtdx_tcb_info(w->root, &text, err));
        snprintf(to, sizeof to, "\"tcbStatus\":\"%s\"},{\"tcb\":{\"sgx", status_plans[i].status);
        replace_in(&text, "\"tcbStatus\":\"UpToDate\"},{\"tcb\":{\"sgx", to);
        const simtdx_collateral_parts parts = {.tcb_info = eei_buf_span(&text)};
        ee_collateral *c = world_collateral(w, &parts);
        snprintf(lines, sizeof lines, "allow_any_measurement = true\ntcb_status = [\"%s\"]\n", status_plans[i].policy_status);
        ee_policy *policy = world_policy(w, lines);
        snprintf(name, sizeof name, "%s under %s", status_plans[i].status, status_plans[i].policy_status);
        if (status_plans[i].ok)
            must_verify(name, eei_buf_span(&w->quote), c, policy, NOW);
        else
            must_fail_at(name, eei_buf_span(&w->quote), c, policy, NOW, "tcb_status");
        ee_policy_free(policy);
        ee_collateral_free(c);
        eei_buf_clear(&text);
    }
}

static void test_Q4_old_evaluation_refused(void **state) {
    world *w = *state;
    ee_policy *policy = world_policy(w, "allow_any_measurement = true\nmin_tcb_eval = 18\n");
    must_verify("evaluation 18", eei_buf_span(&w->quote), w->collateral, policy, NOW);
    for (int which = 0; which < 2; which++) {
        eei_buf text = EEI_BUF_INIT(1 << 20);
        simtdx_collateral_parts parts = {0};
        if (which)
            MUST(simtdx_tcb_info(w->root, &text, err));
        else
            MUST(simtdx_qe_identity(w->root, &text, err));
        replace_in(&text, "\"tcbEvaluationDataNumber\":18", "\"tcbEvaluationDataNumber\":17");
        *(which ? &parts.tcb_info : &parts.qe_identity) = eei_buf_span(&text);
        ee_collateral *c = world_collateral(w, &parts);
        must_fail_at("evaluation 17", eei_buf_span(&w->quote), c, policy, NOW, "tcb_status");
        ee_collateral_free(c);
        eei_buf_clear(&text);
    }
    ee_policy_free(policy);
}

/* Advisories of level, module and QE come in this order, each once. */
static void test_Q4_advisories(void **state) {
    world *w = *state;
    ee_verdict *verdict = NULL;
    eei_buf quote = copy_quote(w), qe = EEI_BUF_INIT(1 << 20);
    ee_policy *policy = world_policy(w, "allow_any_measurement = true\ntcb_status = [\"OutOfDate\"]\n");
    MUST(simtdx_qe_identity(w->root, &qe, err));
    replace_in(&qe, "\"isvsvn\":4", "\"isvsvn\":5"); /* the QE falls to its second level */
    const simtdx_collateral_parts parts = {.qe_identity = eei_buf_span(&qe)};
    ee_collateral *c = world_collateral(w, &parts);
    quote.data[AT_TEE_TCB_SVN] = 2;     /* module's second level */
    quote.data[AT_TEE_TCB_SVN + 2] = 3; /* platform's second level */
    MUST(simtdx_quote_resign(w->machine, quote.data, quote.len, err));
    MUST(verify_at(eei_buf_span(&quote), c, policy, NOW, &verdict, err));
    assert_non_null(strstr(ee_verdict_json(verdict), "\"advisory_ids\":[\"SIM-SA-00001\",\"SIM-SA-00002\",\"SIM-SA-00003\"]"));
    ee_verdict_free(verdict);
    ee_collateral_free(c);
    ee_policy_free(policy);
    eei_buf_clear(&quote);
    eei_buf_clear(&qe);
}

/* Anybody can sign, under a root of his own, collateral that says very much. It is refused for what it is, whatever root is asked. */
static void put_module(eei_buf *out, unsigned version, size_t levels, size_t advisories) {
    static const char zeros[97] = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";
    assert_int_equal(eei_buf_printf(out, "{\"id\":\"TDX_%02X\",\"mrsigner\":\"%s\",\"attributes\":\"%.16s\",\"attributesMask\":\"%.16s\",",
                                    version, zeros, zeros, zeros),
                     EE_OK);
    assert_int_equal(eei_buf_append_text(out, "\"tcbLevels\":["), EE_OK);
    for (size_t i = 0; i < levels; i++) {
        assert_int_equal(eei_buf_printf(out, "%s{\"tcb\":{\"isvsvn\":%zu},\"tcbDate\":\"2025-05-14T00:00:00Z\",", i ? "," : "", i), EE_OK);
        assert_int_equal(eei_buf_append_text(out, "\"tcbStatus\":\"UpToDate\",\"advisoryIDs\":["), EE_OK);
        for (size_t k = 0; k < advisories; k++) assert_int_equal(eei_buf_append_text(out, k ? ",\"a\"" : "\"a\""), EE_OK);
        assert_int_equal(eei_buf_append_text(out, "]}"), EE_OK);
    }
    assert_int_equal(eei_buf_append_text(out, "]},"), EE_OK);
}

static void test_Q3_very_much_collateral(void **state) {
    static const struct {
        const char *name;
        size_t modules, levels, advisories;
        const char *check, *says; /* NULL: verifies */
    } cases[] = {
        {"nearly 2048 advisories", 1, 31, 64, NULL, NULL}, /* beside the platform's own */
        {"65 advisories", 1, 1, 65, "tcb_info_signature", "\"advisoryIDs\" has over 64 items"},
        {"2048 and the platform's own", 1, 32, 64, "tcb_info_signature", "have over 2048 items together"},
        {"900 KB of them", 7, 256, 64, "tcb_info_signature", "have over 2048 items together"},
        {"700 KB of levels", 28, 255, 0, NULL, NULL},
        {"257 levels", 1, 257, 0, "tcb_info_signature", "\"tcbLevels\" has over 256 items"},
        {"65 modules", 65, 1, 0, "tcb_info_signature", "\"tdxModuleIdentities\" has over 64 items"},
    };
    const world *w = *state;
    ee_policy *intel = NULL;
    MUST(ee_policy_parse("allow_any_measurement = true\n", "policy.toml", &intel, err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eei_buf text = EEI_BUF_INIT(1 << 20), modules = EEI_BUF_INIT(1 << 20);
        ee_verdict *verdict = NULL;
        ee_error why = {0};
        assert_int_equal(eei_buf_append_text(&modules, "\"tdxModuleIdentities\":["), EE_OK);
        for (size_t k = 0; k < cases[i].modules; k++) put_module(&modules, (unsigned)(16 + k), cases[i].levels, cases[i].advisories);
        MUST(simtdx_tcb_info(w->root, &text, err));
        replace_in(&text, "\"tdxModuleIdentities\":[", eei_buf_cstr(&modules));
        const simtdx_collateral_parts parts = {.tcb_info = eei_buf_span(&text)};
        ee_collateral *c = world_collateral(w, &parts);
        ee_status st = verify_at(eei_buf_span(&w->quote), c, w->any, NOW, &verdict, &why);
        if (st != (cases[i].check ? EE_E_ATTESTATION : EE_OK) || !verdict)
            fail_msg("%s: %s %s", cases[i].name, ee_status_word(st), why.message);
        if (cases[i].check && (strcmp(first_failed(verdict), cases[i].check) || !strstr(why.message, cases[i].says)))
            fail_msg("%s: %s", cases[i].name, why.message);
        ee_verdict_free(verdict);
        must_fail_at(cases[i].name, eei_buf_span(&w->quote), c, intel, NOW, "pck_chain");
        ee_collateral_free(c);
        eei_buf_clear(&text);
        eei_buf_clear(&modules);
    }
    ee_policy_free(intel);
}

/* What is out of memory is told apart from what asks for too much of it. */
static void test_Q3_arena_is_no_memory(void **state) {
    const world *w = *state;
    eei_buf text = EEI_BUF_INIT(1 << 20);
    eei_tcb_info info;
    ee_error why = {0};
    MUST(simtdx_tcb_info(w->root, &text, err));
    for (size_t max = 16; max <= 4096; max += 16) {
        eei_arena arena = EEI_ARENA_INIT(max);
        ee_status st = eei_tcb_info_parse(eei_buf_span(&text), &arena, &info, &why);
        if (st && st != EE_E_LIMIT) fail_msg("%zu bytes: %s %s", max, ee_status_word(st), why.message);
        eei_arena_clear(&arena);
    }
    eei_buf_clear(&text);
}

/* ---- Q5: TDX module ---- */

static const struct {
    const char *name;
    size_t at;
    uint8_t value;
    const char *check;
} module_plans[] = {
    {"another signer", AT_MRSIGNERSEAM, 1, "tdx_module"},
    {"another signer, last byte", AT_MRSIGNERSEAM + 47, 1, "tdx_module"},
    {"SEAM attributes", AT_SEAM_ATTRIBUTES, 1, "tdx_module"},
    {"SEAM attributes, last byte", AT_SEAM_ATTRIBUTES + 7, 0x80, "tdx_module"},
    {"a module that is not in the table", AT_TEE_TCB_SVN + 1, 3, "tdx_module"},
    {"ISVSVN below every level", AT_TEE_TCB_SVN, 1, "tdx_module"},
    {"ISVSVN out of date", AT_TEE_TCB_SVN, 4, "tcb_status"},
    {"ISVSVN above the top level", AT_TEE_TCB_SVN, 9, NULL},
    {"SEAM loader below every level", AT_TEE_TCB_SVN + 2, 2, "tcb_status"},
    {"version 0 has no identity of its own", AT_TEE_TCB_SVN + 1, 0, NULL},
};

static void test_Q5_tdx_module(void **state) {
    world *w = *state;
    for (size_t i = 0; i < sizeof module_plans / sizeof module_plans[0]; i++) {
        eei_buf quote = copy_quote(w);
        quote.data[module_plans[i].at] = module_plans[i].value;
        MUST(simtdx_quote_resign(w->machine, quote.data, quote.len, err));
        if (module_plans[i].check)
            must_fail_at(module_plans[i].name, eei_buf_span(&quote), w->collateral, w->any, NOW, module_plans[i].check);
        else
            must_verify(module_plans[i].name, eei_buf_span(&quote), w->collateral, w->any, NOW);
        eei_buf_clear(&quote);
    }
}

static void test_Q5_module_table_missing(void **state) {
    const text_plan plan = {"no module identities", "\"tdxModuleIdentities\":", "\"someIdentities\":", 0, "tdx_module"};
    run_text_plan(*state, &plan, true);
}

/* ---- Q6: TD attributes, one by one ---- */

static void attributes_quote(const world *w, uint64_t attributes, uint64_t xfam, eei_buf *quote) {
    *quote = copy_quote(w);
    put_le(quote->data + AT_TD_ATTRIBUTES, 8, attributes);
    put_le(quote->data + AT_XFAM, 8, xfam);
    MUST(simtdx_quote_resign(w->machine, quote->data, quote->len, err));
}

static void test_Q6_each_td_attribute_bit(void **state) {
    world *w = *state;
    for (unsigned bit = 0; bit < 64; bit++) {
        eei_buf quote;
        char name[32];
        snprintf(name, sizeof name, "bit %u", bit);
        attributes_quote(w, (UINT64_C(1) << 28) | UINT64_C(1) << bit, 0x602e7, &quote);
        if (bit == 28)
            must_verify(name, eei_buf_span(&quote), w->collateral, w->any, NOW);
        else
            must_fail_at(name, eei_buf_span(&quote), w->collateral, w->any, NOW, "td_attributes");
        eei_buf_clear(&quote);
    }
}

static void test_Q6_sept_ve_disable_must_be_on(void **state) {
    world *w = *state;
    eei_buf quote;
    attributes_quote(w, 0, 0x602e7, &quote);
    must_fail_at("SEPT_VE_DISABLE off", eei_buf_span(&quote), w->collateral, w->any, NOW, "td_attributes");
    eei_buf_clear(&quote);
}

static void test_Q6_allowed_attributes(void **state) {
    static const struct {
        const char *name;
        unsigned bit;
    } known[] = {{"hgs_plus_prof", 4}, {"perf_prof", 5}, {"pmt_prof", 6}, {"icssd", 16}, {"lass", 27},
                 {"migratable", 29},   {"pks", 30},      {"kl", 31},      {"tpa", 62},   {"perfmon", 63}};
    world *w = *state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char lines[128];
        snprintf(lines, sizeof lines, "allow_any_measurement = true\ntd_attributes_allow = [\"%s\"]\n", known[i].name);
        ee_policy *policy = world_policy(w, lines);
        for (unsigned bit = 0; bit < 64; bit++) {
            eei_buf quote;
            if (bit != known[i].bit && bit != 0 && bit % 7 != 3) continue; /* the allowed one, debug, and a sample of the others */
            attributes_quote(w, (UINT64_C(1) << 28) | UINT64_C(1) << bit, 0x602e7, &quote);
            if (bit == known[i].bit)
                must_verify(known[i].name, eei_buf_span(&quote), w->collateral, policy, NOW);
            else
                must_fail_at(known[i].name, eei_buf_span(&quote), w->collateral, policy, NOW, "td_attributes");
            eei_buf_clear(&quote);
        }
        ee_policy_free(policy);
    }
}

static void test_Q6_xfam(void **state) {
    static const struct {
        uint64_t xfam;
        bool ok;
    } plans[] = {{0x602e7, true},
                 {0x618e7, true},
                 {0x61ae7, true},
                 {3, true},
                 {2, false},
                 {1, false},
                 {0, false},
                 {0x602e7 | 1 << 3, false},
                 {0x602e7 | UINT64_C(1) << 63, false},
                 {0x6dbe7, true},
                 {0x6ffff, false}};
    world *w = *state;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        eei_buf quote;
        attributes_quote(w, UINT64_C(1) << 28, plans[i].xfam, &quote);
        if (plans[i].ok)
            must_verify("xfam", eei_buf_span(&quote), w->collateral, w->any, NOW);
        else
            must_fail_at("xfam", eei_buf_span(&quote), w->collateral, w->any, NOW, "td_attributes");
        eei_buf_clear(&quote);
    }
}

static void test_Q6_service_td(void **state) {
    world *w = *state;
    eei_buf quote = EEI_BUF_INIT(65536);
    uint8_t report_data[64] = {0};
    simtdx_td td = w->td;
    td.quote_version = 5;
    MUST(simtdx_quote(w->machine, &td, report_data, &quote, err));
    quote.data[54 + 600 + 47] = 1; /* MRSERVICETD */
    MUST(simtdx_quote_resign(w->machine, quote.data, quote.len, err));
    must_fail_at("service TD", eei_buf_span(&quote), w->collateral, w->any, NOW, "td_attributes");
    eei_buf_clear(&quote);
}

/* Each fault is told in its own terms. */
static void test_Q6_faults_say_what_was_expected_and_found(void **state) {
    static const struct {
        const char *name;
        uint64_t attributes, xfam;
        bool service_td;
        const char *expected, *actual, *explain;
    } cases[] = {
        {"debug", 0x10000001, 0x602e7, false, "TD attributes within 0x0000000050000000", "TD attributes 0x0000000010000001", "debug mode"},
        {"SEPT", 0x40000000, 0x602e7, false, "TD attributes with 0x0000000010000000 on", "TD attributes 0x0000000040000000", "is off"},
        {"neither", 0, 0, true, "TD attributes with 0x0000000010000000 on", "TD attributes 0x0000000000000000", "is off"},
        {"a bit", 0x90000000, 0x602e7, false, "TD attributes within 0x0000000050000000", "TD attributes 0x0000000090000000", "bit 31 (kl)"},
        {"XFAM", 0x10000000, 0x602ef, false, "XFAM within 0x00000000000602e7", "XFAM 0x00000000000602ef",
         "XFAM has bits 0x0000000000000008"},
        {"no SSE", 0x10000000, 0x602e5, false, "XFAM with 0x0000000000000003 on", "XFAM 0x00000000000602e5",
         "lacks bits 0x0000000000000002"},
        {"service TD", 0x10000000, 0x602e7, true,
         "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
         "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001", "MRSERVICETD"},
    };
    world *w = *state;
    const uint8_t report_data[64] = {0};
    simtdx_td td = w->td;
    ee_policy *policy = world_policy(
        w, "allow_any_measurement = true\nxfam_allow = \"0x602e7\"\ntd_attributes_allow = [\"pks\"]\nrequire_sealed = false\n");
    td.quote_version = 5;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eei_buf quote = EEI_BUF_INIT(65536);
        ee_verdict *verdict = NULL;
        ee_check check;
        size_t at = 0;
        MUST(simtdx_quote(w->machine, &td, report_data, &quote, err));
        put_le(quote.data + 6 + AT_TD_ATTRIBUTES, 8, cases[i].attributes);
        put_le(quote.data + 6 + AT_XFAM, 8, cases[i].xfam);
        quote.data[54 + 600 + 47] = cases[i].service_td;
        MUST(simtdx_quote_resign(w->machine, quote.data, quote.len, err));
        assert_int_equal(verify_at(eei_buf_span(&quote), w->collateral, policy, NOW, &verdict, NULL), EE_E_ATTESTATION);
        do MUST(ee_verdict_check_at(verdict, at++, &check, err));
        while (strcmp(check.name, "td_attributes") != 0);
        if (check.result != EE_CHECK_FAIL || strcmp(check.expected, cases[i].expected) || strcmp(check.actual, cases[i].actual) ||
            !strstr(check.explain, cases[i].explain))
            fail_msg("%s: expected %s, actual %s: %s", cases[i].name, check.expected, check.actual, check.explain);
        ee_verdict_free(verdict);
        eei_buf_clear(&quote);
    }
    ee_policy_free(policy);
}

static void test_v5_descriptor(void **state) {
    world *w = *state;
    uint8_t report_data[64] = {0};
    simtdx_td td = w->td;
    static const struct {
        const char *name;
        uint16_t type;
        uint32_t size;
    } plans[] = {{"SGX body", 1, 384},
                 {"TD 1.0 with the size of 1.5", 2, 648},
                 {"TD 1.5 with the size of 1.0", 3, 584},
                 {"type 4", 4, 648},
                 {"size one more", 3, 649},
                 {"size max", 3, UINT32_MAX}};
    td.quote_version = 5;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        eei_buf quote = EEI_BUF_INIT(65536);
        MUST(simtdx_quote(w->machine, &td, report_data, &quote, err));
        put_le(quote.data + 48, 2, plans[i].type);
        put_le(quote.data + 50, 4, plans[i].size);
        must_fail_at(plans[i].name, eei_buf_span(&quote), w->collateral, w->any, NOW, "quote_format");
        eei_buf_clear(&quote);
    }
}

/* ---- measurements and machines ---- */

static void pin_lines(char *out, size_t cap, const char *name, const uint8_t value[48]) {
    char hex[97];
    eei_hex_encode(eei_span(value, 48), hex);
    snprintf(out + strlen(out), cap - strlen(out), "%s = \"%s\"\n", name, hex);
}

static void test_measurement_pins(void **state) {
    world *w = *state;
    char lines[2048] = "[[profile]]\nname = \"other\"\n";
    uint8_t other[48] = {1};
    pin_lines(lines, sizeof lines, "mrtd", other);
    snprintf(lines + strlen(lines), sizeof lines - strlen(lines), "[[profile]]\nname = \"ours\"\n");
    pin_lines(lines, sizeof lines, "mrtd", w->td.mrtd);
    pin_lines(lines, sizeof lines, "rtmr1", w->td.rtmr[1]);
    ee_policy *policy = world_policy(w, lines);
    must_verify("second profile", eei_buf_span(&w->quote), w->collateral, policy, NOW);
    eei_buf quote = copy_quote(w);
    quote.data[AT_BODY + 328 + 47] ^= 1; /* inside RTMR0, which is not pinned */
    MUST(simtdx_quote_resign(w->machine, quote.data, quote.len, err));
    must_verify("rtmr0 is not pinned", eei_buf_span(&quote), w->collateral, policy, NOW);
    eei_buf_clear(&quote);
    ee_policy_free(policy);
}

/* A failed pin is shown by its own name, with both values and the line of the policy file that asked for it. */
static void test_measurement_failure_is_explained(void **state) {
    world *w = *state;
    char lines[2048] = "[[profile]]\n";
    uint8_t other[48];
    memcpy(other, w->td.rtmr[1], 48);
    other[47] ^= 1;
    pin_lines(lines, sizeof lines, "mrtd", w->td.mrtd);
    pin_lines(lines, sizeof lines, "rtmr1", other);
    ee_policy *policy = world_policy(w, lines);
    ee_verdict *verdict = NULL;
    ee_error err = {0};
    ee_check check = {0};
    assert_int_equal(verify_at(eei_buf_span(&w->quote), w->collateral, policy, NOW, &verdict, &err), EE_E_ATTESTATION);
    assert_string_equal(first_failed(verdict), "measurement");
    assert_string_equal(err.details, "{\"check\":\"measurement\",\"reason\":\"attestation\"}");
    for (size_t i = 0; ee_verdict_check_at(verdict, i, &check, NULL) == EE_OK && strcmp(check.name, "measurement"); i++) {
    }
    assert_non_null(strstr(check.expected, "rtmr1 "));
    assert_non_null(strstr(check.explain, "policy.toml:5"));
    assert_int_equal(strlen(check.actual), 96);
    assert_non_null(strstr(ee_verdict_text(verdict), "FAIL  rtmr1"));
    ee_verdict_free(verdict);
    ee_policy_free(policy);
}

static void test_image_pin_cannot_be_met_by_a_bare_quote(void **state) {
    world *w = *state;
    ee_policy *policy = world_policy(
        w, "allow_any_measurement = true\nimage = \"sha256:1111111111111111111111111111111111111111111111111111111111111111\"\n");
    must_fail_at("image pin", eei_buf_span(&w->quote), w->collateral, policy, NOW, "image");
    ee_policy_free(policy);
}

static void test_genesis_pin_cannot_be_met_by_a_bare_quote(void **state) {
    world *w = *state;
    ee_policy *policy =
        world_policy(w, "allow_any_measurement = true\ngenesis = \"1111111111111111111111111111111111111111111111111111111111111111\"\n");
    must_fail_at("genesis pin", eei_buf_span(&w->quote), w->collateral, policy, NOW, "genesis");
    ee_policy_free(policy);
}

static void test_R3_machines(void **state) {
    world *w = *state;
    ee_verdict *verdict = NULL;
    char id[33], lines[160];
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW, &verdict, err));
    eei_hex_encode(eei_span(eei_verdict_machine_id(verdict), 16), id);
    ee_verdict_free(verdict);
    snprintf(lines, sizeof lines, "allow_any_measurement = true\nmachines = [\"00000000000000000000000000000000\", \"%s\"]\n", id);
    ee_policy *policy = world_policy(w, lines);
    must_verify("listed", eei_buf_span(&w->quote), w->collateral, policy, NOW);
    ee_policy_free(policy);
    policy = world_policy(w, "allow_any_measurement = true\nmachines = [\"00000000000000000000000000000000\"]\n");
    must_fail_at("not listed", eei_buf_span(&w->quote), w->collateral, policy, NOW, "machine");
    ee_policy_free(policy);
}

/* ---- what people see ---- */

static void test_table_fits_100_columns(void **state) {
    world *w = *state;
    ee_verdict *verdicts[3] = {NULL};
    eei_buf quote = copy_quote(w);
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW, &verdicts[0], err));
    quote.data[AT_TD_ATTRIBUTES + 4] = 1;
    MUST(simtdx_quote_resign(w->machine, quote.data, quote.len, err));
    assert_int_equal(verify_at(eei_buf_span(&quote), w->collateral, w->any, NOW, &verdicts[1], NULL), EE_E_ATTESTATION);
    assert_int_equal(verify_at(eei_buf_span(&quote), w->collateral, NULL, NOW, &verdicts[2], NULL), EE_E_ATTESTATION);
    for (size_t i = 0; i < 3; i++) {
        size_t column = 0;
        for (const char *c = ee_verdict_text(verdicts[i]); *c; c++) {
            column = *c == '\n' ? 0 : column + (((unsigned char)*c & 0xc0) != 0x80);
            if (column > 100) fail_msg("a line is over 100 columns:\n%s", ee_verdict_text(verdicts[i]));
        }
        json_t *json = json_loads(ee_verdict_json(verdicts[i]), JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        assert_int_equal(json_is_true(json_object_get(json, "verified")), i == 0);
        assert_int_equal(json_is_true(json_object_get(json, "simulated")), i != 2);
        assert_int_equal(json_array_size(json_object_get(json, "checks")), ee_verdict_check_count(verdicts[i]));
        assert_non_null(json_object_get(json, "mrtd"));
        assert_int_equal(json_is_true(json_object_get(json, "authentic")), i != 2);
        json_decref(json);
        ee_verdict_free(verdicts[i]);
    }
    eei_buf_clear(&quote);
}

static void test_checks_after_the_first_failure(void **state) {
    world *w = *state;
    ee_verdict *verdict = NULL;
    eei_buf quote = copy_quote(w);
    quote.data[AT_SIGNATURE] ^= 1;
    assert_int_equal(verify_at(eei_buf_span(&quote), w->collateral, w->any, NOW, &verdict, NULL), EE_E_ATTESTATION);
    assert_int_equal(result_of(verdict, "attestation_key"), EE_CHECK_PASS);
    assert_int_equal(result_of(verdict, "quote_signature"), EE_CHECK_FAIL);
    assert_int_equal(result_of(verdict, "tcb_status"), EE_CHECK_SKIPPED);
    assert_null(eei_verdict_machine_id(verdict));
    assert_int_equal(eei_verdict_time(verdict), 0);
    ee_verdict_free(verdict);
    eei_buf_clear(&quote);
}

/* ---- allocation failures ---- */

static void *openssl_malloc(size_t bytes, const char *file, int line) {
    (void)file, (void)line;
    return bytes ? eei_malloc(bytes) : NULL;
}
static void *openssl_realloc(void *old, size_t bytes, const char *file, int line) {
    (void)file, (void)line;
    if (!old) return openssl_malloc(bytes, file, line);
    if (bytes) return eei_realloc(old, bytes);
    eei_free(old);
    return NULL;
}
static void openssl_free(void *memory, const char *file, int line) {
    (void)file, (void)line;
    eei_free(memory);
}

static size_t allocations(world *w, ee_span quote) {
    ee_verdict *verdict = NULL;
    (void)eei_alloc_fail_at(0);
    (void)!verify_at(quote, w->collateral, w->any, NOW, &verdict, NULL);
    ee_verdict_free(verdict);
    return eei_alloc_fail_at(0);
}

/* Each allocation of one verification fails in turn, ours and OpenSSL's: a bad quote never verifies, nothing leaks (sanitizer). */
static void walk(world *w, ee_span quote, bool good, size_t step) {
    size_t total = allocations(w, quote), refused = 0;
    assert_true(total > 20);
    for (size_t n = 1; n <= total; n += step) {
        ee_verdict *verdict = NULL;
        (void)eei_alloc_fail_at(n);
        ee_status st = verify_at(quote, w->collateral, w->any, NOW, &verdict, NULL);
        (void)eei_alloc_fail_at(0);
        if (st == EE_OK && (!good || !ee_verdict_verified(verdict)))
            fail_msg("allocation %zu of %zu failed and the quote verified", n, total);
        if (st != EE_OK && st != EE_E_NOMEM && st != EE_E_ATTESTATION && st != EE_E_INTERNAL)
            fail_msg("allocation %zu: status %s", n, ee_status_word(st));
        if (st == EE_E_NOMEM) assert_null(verdict);
        if (st && verdict) assert_false(ee_verdict_verified(verdict));
        refused += st != EE_OK;
        ee_verdict_free(verdict);
    }
    assert_true(refused > 10);
}

static void test_allocation_failures(void **state) {
    world *w = *state;
    eei_buf quote = copy_quote(w);
    walk(w, eei_buf_span(&quote), true, 7);
    quote.data[AT_SIGNATURE + 40] ^= 1;
    walk(w, eei_buf_span(&quote), false, 11);
    eei_buf_clear(&quote);
}

/* How long one verification takes; a number for people, with a bound that only a blunder would pass. */
static void test_time(void **state) {
    world *w = *state;
    enum { ROUNDS = 50 };
    uint64_t start = eei_mono_us();
    for (int i = 0; i < ROUNDS; i++) must_verify("time", eei_buf_span(&w->quote), w->collateral, w->any, NOW);
    uint64_t each = (eei_mono_us() - start) / ROUNDS;
    print_message("one verification: %llu us (this build)\n", (unsigned long long)each);
    assert_true(each < 500000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample_quotes),
        cmocka_unit_test(test_good_quote_verifies),
        cmocka_unit_test(test_report_data),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_what_cannot_be_read_costs_no_signature),
        cmocka_unit_test(test_production_policy_refuses_until_pinned),
        cmocka_unit_test(test_trailing_bytes_change_nothing),
        cmocka_unit_test(test_Q1_forged_attestation_key),
        cmocka_unit_test(test_Q1_forged_qe_report),
        cmocka_unit_test(test_Q1_qe_report_data_tail_must_be_zero),
        cmocka_unit_test(test_Q1_qe_auth_data_counts_in_full),
        cmocka_unit_test(test_Q1_key_off_curve),
        cmocka_unit_test(test_Q1_signature_extremes),
        cmocka_unit_test(test_Q1_parts_of_another_machine),
        cmocka_unit_test(test_Q1_quote_mutations),
        cmocka_unit_test(test_Q1_every_cut),
        cmocka_unit_test(test_Q1_single_bit_flips),
        cmocka_unit_test(test_Q2_chains),
        cmocka_unit_test(test_Q2_unsigned_ca_in_quote_and_collateral),
        cmocka_unit_test(test_chain_from_collateral),
        cmocka_unit_test(test_Q3_tcb_info),
        cmocka_unit_test(test_Q3_qe_identity),
        cmocka_unit_test(test_Q3_signers),
        cmocka_unit_test(test_Q3_exact_bytes),
        cmocka_unit_test(test_Q3_crls),
        cmocka_unit_test(test_Q4_status_and_policy),
        cmocka_unit_test(test_Q4_old_evaluation_refused),
        cmocka_unit_test(test_Q4_advisories),
        cmocka_unit_test(test_Q3_very_much_collateral),
        cmocka_unit_test(test_Q3_arena_is_no_memory),
        cmocka_unit_test(test_Q5_tdx_module),
        cmocka_unit_test(test_Q5_module_table_missing),
        cmocka_unit_test(test_Q6_each_td_attribute_bit),
        cmocka_unit_test(test_Q6_sept_ve_disable_must_be_on),
        cmocka_unit_test(test_Q6_allowed_attributes),
        cmocka_unit_test(test_Q6_xfam),
        cmocka_unit_test(test_Q6_service_td),
        cmocka_unit_test(test_Q6_faults_say_what_was_expected_and_found),
        cmocka_unit_test(test_v5_descriptor),
        cmocka_unit_test(test_measurement_pins),
        cmocka_unit_test(test_measurement_failure_is_explained),
        cmocka_unit_test(test_image_pin_cannot_be_met_by_a_bare_quote),
        cmocka_unit_test(test_genesis_pin_cannot_be_met_by_a_bare_quote),
        cmocka_unit_test(test_R3_machines),
        cmocka_unit_test(test_table_fits_100_columns),
        cmocka_unit_test(test_checks_after_the_first_failure),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_time),
    };
    /* Before OpenSSL allocates anything, so that its allocations can fail too. */
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        print_message("OpenSSL's allocations cannot be made to fail here\n");
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
