/* test_ratls.c - certificates that carry evidence, and the judge with its caches. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/limits.h"
#include "support/fake_quoter.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    fake_world world;
    fake_machine machine;
    eei_prover *prover;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    fake_world_init(&f->world);
    fake_machine_init(&f->machine, &f->world, "m1");
    f->prover = fake_prover(&f->machine, &f->world, EEI_ROLE_AGENT, "node-a", 7);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    eei_prover_free(f->prover);
    fake_machine_clear(&f->machine);
    fake_world_clear(&f->world);
    free(f);
    return 0;
}

static X509 *certificate_of(const eei_prover *prover) {
    ee_span der = eei_prover_certificate_der(prover);
    const unsigned char *at = der.data;
    X509 *c = d2i_X509(NULL, &at, (long)der.len);
    assert_non_null(c);
    assert_ptr_equal(at, der.data + der.len);
    return c;
}

/* ---- making and reading ----------------------------------------------------------------------------------------------- */

static void test_certificate_says_what_it_should(void **state) {
    fixture *f = *state;
    X509 *c = certificate_of(f->prover);
    uint8_t spki[32];
    ee_span evidence;

    assert_int_equal(X509_get_version(c), X509_VERSION_3);
    assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(c)), 0);
    assert_int_equal(X509_get_ext_by_NID(c, NID_subject_alt_name, -1) >= 0, 1);
    assert_int_equal(X509_check_host(c, "localhost", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(c, "127.0.0.1", 0), 1);
    assert_int_equal(X509_get_extended_key_usage(c), XKU_SSL_SERVER);
    assert_int_equal(eei_certificate_spki_sha256(c, spki, NULL), EE_OK);
    assert_memory_equal(spki, eei_prover_spki_sha256(f->prover), 32);
    assert_int_equal(eei_certificate_evidence(c, &evidence, NULL), EE_OK);
    assert_true(evidence.len > 1000 && evidence.len <= EEI_EVIDENCE_BYTES_MAX);
    X509_free(c);
}

static X509 *certificate_with(EVP_PKEY *key, size_t copies, size_t evidence_len, uint64_t now_s) {
    uint8_t *bytes = calloc(1, evidence_len ? evidence_len : 1);
    eei_certificate_options o = {.key = key,
                                 .uri = "ee://n/i",
                                 .dns_name = "x",
                                 .evidence = {bytes, evidence_len},
                                 .not_before_s = now_s - 60,
                                 .not_after_s = now_s + 60};
    X509 *c = NULL;
    ASN1_OBJECT *oid = OBJ_txt2obj(EEI_EVIDENCE_OID, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();

    if (evidence_len > EEI_EVIDENCE_BYTES_MAX) o.evidence.len = 1;
    assert_int_equal(eei_certificate_make(&o, &c, NULL), EE_OK);
    assert_int_equal(ASN1_OCTET_STRING_set(value, bytes, (int)evidence_len), 1);
    int at = X509_get_ext_by_OBJ(c, oid, -1);
    X509_EXTENSION_free(X509_delete_ext(c, at));
    for (size_t i = 0; i < copies; i++) {
        X509_EXTENSION *e = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
        assert_int_equal(X509_add_ext(c, e, -1), 1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(c, key, EVP_sha256()) > 0);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
    free(bytes);
    return c;
}

static void test_Q18_evidence_extension_is_there_once_and_bounded(void **state) {
    fixture *f = *state;
    static const struct {
        const char *name;
        size_t copies, len;
        ee_status want;
    } cases[] = {
        {"none", 0, 100, EE_E_ATTESTATION},
        {"one", 1, 100, EE_OK},
        {"two", 2, 100, EE_E_ATTESTATION},
        {"three", 3, 1, EE_E_ATTESTATION},
        {"empty", 1, 0, EE_E_ATTESTATION},
        {"largest", 1, EEI_EVIDENCE_BYTES_MAX, EE_OK},
        {"one byte more", 1, EEI_EVIDENCE_BYTES_MAX + 1, EE_E_ATTESTATION},
        {"huge", 1, 4u << 20, EE_E_ATTESTATION},
    };
    EVP_PKEY *key = EVP_EC_gen("P-256");

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        X509 *c = certificate_with(key, cases[i].copies, cases[i].len, f->world.wall_ms / 1000);
        eei_expect expect = {.role = EEI_ROLE_AGENT};
        ee_verdict *verdict = NULL;
        ee_error err = {0};
        ee_span evidence;
        print_message("%s\n", cases[i].name);
        assert_int_equal(eei_certificate_evidence(c, &evidence, &err), cases[i].want);
        /* Zeros are no evidence in any case. */
        assert_int_equal(eei_judge_certificate(f->world.judge, c, NULL, &expect, &verdict, &err), EE_E_ATTESTATION);
        assert_null(verdict);
        X509_free(c);
    }
    EVP_PKEY_free(key);
}

static void test_too_much_evidence_makes_no_certificate(void **state) {
    fixture *f = *state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    uint8_t *bytes = calloc(1, EEI_EVIDENCE_BYTES_MAX + 1);
    eei_certificate_options o = {
        .key = key, .uri = "ee://n/i", .evidence = {bytes, EEI_EVIDENCE_BYTES_MAX + 1}, .not_before_s = 1, .not_after_s = 2};
    X509 *c = NULL;

    (void)f;
    assert_int_equal(eei_certificate_make(&o, &c, NULL), EE_E_LIMIT);
    assert_null(c);
    o.evidence.len = 1;
    o.not_after_s = 1;
    assert_int_equal(eei_certificate_make(&o, &c, NULL), EE_E_INVALID);
    o.not_after_s = 2;
    o.ip_address = "not an address";
    assert_int_equal(eei_certificate_make(&o, &c, NULL), EE_E_INTERNAL);
    assert_null(c);
    free(bytes);
    EVP_PKEY_free(key);
}

/* ---- judging ---------------------------------------------------------------------------------------------------------- */

static ee_status judge(fixture *f, X509 *c, uint8_t role, const uint8_t *node_id, ee_verdict **out) {
    eei_expect expect = {.role = role, .node_id = node_id, .node_name = "node-a"};
    ee_error err = {0};
    ee_status st = eei_judge_certificate(f->world.judge, c, NULL, &expect, out, &err);
    if (st) print_message("  %s: %s\n", ee_status_word(st), err.message);
    return st;
}

static void test_genuine_certificate_is_accepted_and_remembered(void **state) {
    fixture *f = *state;
    X509 *c = certificate_of(f->prover);
    ee_verdict *first = NULL, *second = NULL, *third = NULL;

    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, eei_prover_node_id(f->prover), &first), EE_OK);
    assert_int_equal(ee_verdict_verified(first), 1);
    assert_memory_equal(eei_verdict_statement(first)->instance_pub, eei_key_public(eei_prover_key(f->prover)), 32);
    assert_int_equal(f->world.fetches, 1);
    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, eei_prover_node_id(f->prover), &second), EE_OK);
    assert_ptr_equal(first, second); /* the same verdict, no quote check */
    f->world.mono_ms += EEI_EVIDENCE_AGE_MAX_MS;
    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, eei_prover_node_id(f->prover), &third), EE_OK);
    assert_ptr_not_equal(first, third); /* too old to stand on */
    assert_int_equal(f->world.fetches, 1);
    ee_verdict_free(first);
    ee_verdict_free(second);
    ee_verdict_free(third);
    X509_free(c);
}

static void test_a_remembered_verdict_answers_no_other_question(void **state) {
    fixture *f = *state;
    static const uint8_t other[32] = {9};
    X509 *c = certificate_of(f->prover);
    ee_verdict *v = NULL;

    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, eei_prover_node_id(f->prover), &v), EE_OK);
    ee_verdict_free(v);
    assert_int_equal(judge(f, c, EEI_ROLE_CONTROL, eei_prover_node_id(f->prover), &v), EE_E_ATTESTATION);
    assert_int_equal(ee_verdict_verified(v), 0);
    ee_verdict_free(v);
    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, other, &v), EE_E_ATTESTATION);
    ee_verdict_free(v);
    X509_free(c);
}

static void test_Q12_quote_under_another_tls_key_is_refused(void **state) {
    fixture *f = *state;
    X509 *genuine = certificate_of(f->prover), *forged = NULL;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    ee_span evidence;
    ee_verdict *v = NULL;

    assert_int_equal(eei_certificate_evidence(genuine, &evidence, NULL), EE_OK);
    eei_certificate_options o = {.key = key,
                                 .uri = "ee://n/i",
                                 .evidence = evidence,
                                 .not_before_s = f->world.wall_ms / 1000 - 60,
                                 .not_after_s = f->world.wall_ms / 1000 + 60};
    assert_int_equal(eei_certificate_make(&o, &forged, NULL), EE_OK);
    assert_int_equal(judge(f, forged, EEI_ROLE_AGENT, NULL, &v), EE_E_ATTESTATION);
    assert_int_equal(ee_verdict_verified(v), 0);
    ee_verdict_free(v);
    X509_free(genuine);
    X509_free(forged);
    EVP_PKEY_free(key);
}

/* Otherwise who has the TLS key could wrap a quote once more, for years. */
static void test_Q17_certificate_for_long_is_refused(void **state) {
    fixture *f = *state;
    X509 *genuine = certificate_of(f->prover);
    ee_verdict *v = NULL;
    const uint64_t now_s = f->world.wall_ms / 1000;
    for (int longer = 0; longer < 2; longer++) {
        X509 *c = X509_dup(genuine);
        ee_span der = eei_prover_tls_key_der(f->prover);
        const unsigned char *at = der.data;
        EVP_PKEY *key = d2i_PrivateKey(EVP_PKEY_EC, NULL, &at, (long)der.len);
        assert_non_null(ASN1_TIME_set(X509_getm_notBefore(c), (time_t)now_s));
        assert_non_null(ASN1_TIME_set(X509_getm_notAfter(c), (time_t)(now_s + EEI_CERT_LIFE_S + (unsigned)longer)));
        assert_true(X509_sign(c, key, EVP_sha256()) > 0);
        f->world.wall_ms += 1000;
        assert_int_equal(judge(f, c, EEI_ROLE_AGENT, NULL, &v), longer ? EE_E_ATTESTATION : EE_OK);
        assert_int_equal(v == NULL, longer); /* refused for the certificate, before the evidence is looked at */
        ee_verdict_free(v);
        EVP_PKEY_free(key);
        X509_free(c);
    }
    X509_free(genuine);
}

static void test_certificate_shell_is_checked(void **state) {
    fixture *f = *state;
    X509 *c = certificate_of(f->prover);
    uint64_t now = f->world.wall_ms;
    ee_verdict *v = NULL;

    f->world.wall_ms = now + EEI_CERT_LIFE_S * 1000ull;
    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, NULL, &v), EE_E_ATTESTATION); /* over */
    assert_null(v);
    f->world.wall_ms = now - 3600000;
    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, NULL, &v), EE_E_ATTESTATION); /* not begun */
    f->world.wall_ms = now;
    EVP_PKEY *other = EVP_EC_gen("P-256"), *curve = EVP_EC_gen("P-384");
    assert_true(X509_sign(c, other, EVP_sha256()) > 0);
    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, NULL, &v), EE_E_ATTESTATION); /* signed by another key */
    X509 *wrong = certificate_with(curve, 1, 10, now / 1000);
    assert_int_equal(judge(f, wrong, EEI_ROLE_AGENT, NULL, &v), EE_E_ATTESTATION); /* not P-256 */
    EVP_PKEY_free(other);
    EVP_PKEY_free(curve);
    X509_free(wrong);
    X509_free(c);
}

static void test_collateral_that_cannot_be_had_is_no_verdict(void **state) {
    fixture *f = *state;
    X509 *c = certificate_of(f->prover);
    ee_verdict *v = NULL;

    f->world.fetch_fails = true;
    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, NULL, &v), EE_E_CONNECT);
    assert_null(v);
    f->world.fetch_fails = false;
    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, NULL, &v), EE_OK);
    ee_verdict_free(v);
    /* Old collateral serves while its source is away; its own validity is still checked. */
    f->world.fetch_fails = true;
    f->world.mono_ms += 7200000;
    unsigned fetches = f->world.fetches;
    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, NULL, &v), EE_OK);
    assert_int_equal(f->world.fetches, fetches + 1);
    ee_verdict_free(v);
    X509_free(c);
}

static void test_signed_statement_is_no_quote(void **state) {
    fixture *f = *state;
    eei_prove what = {.purpose = EEI_PURPOSE_CHALLENGE, .wire_version = 1};
    eei_expect expect = {.purpose = EEI_PURPOSE_CHALLENGE, .role = EEI_ROLE_AGENT};
    eei_buf evidence = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    ee_verdict *v = NULL;

    assert_int_equal(eei_prover_session(f->prover, &what, &evidence, NULL), EE_OK);
    assert_int_equal(eei_judge_evidence(f->world.judge, eei_buf_span(&evidence), NULL, &expect, &v, NULL), EE_E_ATTESTATION);
    assert_null(v);
    assert_int_equal(eei_judge_session(f->world.judge, eei_buf_span(&evidence), NULL, &expect, &v, NULL), EE_E_ATTESTATION);
    assert_null(v);
    eei_buf_clear(&evidence);
}

static void must_end(const char *what, unsigned made, unsigned asked, ee_status st, ee_verdict *v, const ee_error *err, const char *check) {
    if (st != (check ? EE_E_ATTESTATION : EE_OK) || ee_verdict_verified(v) != !check)
        fail_msg("%s of purpose %u, asked for %u: %s: %s", what, made, asked, ee_status_word(st), err->message);
    if (check && strncmp(err->message, check, strlen(check)) != 0)
        fail_msg("%s of purpose %u, asked for %u: %s", what, made, asked, err->message);
    ee_verdict_free(v);
}

/* Made for each purpose, and asked for as each: only its own fits, a workload's (app) no agent's and an agent's no workload's. A signed
 * statement answers challenges only. */
static void test_Q10_statements_of_one_purpose_are_of_no_other(void **state) {
    static const uint8_t purposes[] = {1, 2, 3, 4, 5, 6, 7, EEI_PURPOSE_APP};
    fixture *f = *state;
    X509 *c = certificate_of(f->prover);
    eei_buf quoted = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX), signed_only = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    ee_verdict *base = NULL, *v = NULL;

    assert_int_equal(judge(f, c, EEI_ROLE_AGENT, NULL, &base), EE_OK);
    for (size_t i = 0; i < sizeof purposes; i++) {
        const eei_prove what = {.purpose = purposes[i], .wire_version = 1};
        eei_buf_reset(&quoted);
        eei_buf_reset(&signed_only);
        assert_int_equal(eei_prover_quote(f->prover, &what, &quoted, NULL), EE_OK);
        assert_int_equal(eei_prover_session(f->prover, &what, &signed_only, NULL), EE_OK);
        for (size_t k = 0; k < sizeof purposes; k++) {
            const eei_expect expect = {.purpose = purposes[k], .role = EEI_ROLE_AGENT};
            const char *check = i == k ? NULL : "purpose: ";
            ee_error err = {0};
            ee_status st = eei_judge_evidence(f->world.judge, eei_buf_span(&quoted), NULL, &expect, &v, &err);
            must_end("a quote", purposes[i], purposes[k], st, v, &err, check);
            if (purposes[i] != EEI_PURPOSE_CHALLENGE) check = "statement: ";
            st = eei_judge_session(f->world.judge, eei_buf_span(&signed_only), base, &expect, &v, &err);
            must_end("a signature", purposes[i], purposes[k], st, v, &err, check);
        }
    }
    ee_verdict_free(base);
    X509_free(c);
    eei_buf_clear(&signed_only);
    eei_buf_clear(&quoted);
}

static void test_out_of_memory_judging(void **state) {
    fixture *f = *state;
    X509 *c = certificate_of(f->prover);
    eei_expect expect = {.role = EEI_ROLE_AGENT};

    for (size_t n = 1; n < 400; n++) {
        ee_verdict *v = NULL;
        f->world.mono_ms += 2 * 3600000; /* nothing cached is good enough */
        eei_alloc_fail_at(n);
        ee_status st = eei_judge_certificate(f->world.judge, c, NULL, &expect, &v, NULL);
        bool reached = eei_alloc_fail_at(0) >= n;
        if (!st && !reached) {
            ee_verdict_free(v);
            break;
        }
        if (st) assert_int_equal(st, EE_E_NOMEM);
        ee_verdict_free(v);
        assert_true(n < 399);
    }
    X509_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_certificate_says_what_it_should),
        TEST(test_Q18_evidence_extension_is_there_once_and_bounded),
        TEST(test_too_much_evidence_makes_no_certificate),
        TEST(test_genuine_certificate_is_accepted_and_remembered),
        TEST(test_a_remembered_verdict_answers_no_other_question),
        TEST(test_Q12_quote_under_another_tls_key_is_refused),
        TEST(test_Q17_certificate_for_long_is_refused),
        TEST(test_certificate_shell_is_checked),
        TEST(test_collateral_that_cannot_be_had_is_no_verdict),
        TEST(test_signed_statement_is_no_quote),
        TEST(test_Q10_statements_of_one_purpose_are_of_no_other),
        TEST(test_out_of_memory_judging),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
