/* test_collateral.c - collateral JSON into parts: what is refused before any signature is looked at. Signed content is in test_verify.c
 * (Q3). */
#include "attest/collateral.h"
#include "attest_world.h"

static const char *const needed[] = {"pck_crl_issuer_chain",     "root_ca_crl", "pck_crl",
                                     "tcb_info_issuer_chain",    "tcb_info",    "tcb_info_signature",
                                     "qe_identity_issuer_chain", "qe_identity", "qe_identity_signature"};

static json_t *good_json(const world *w) {
    eei_buf text = EEI_BUF_INIT(1 << 20);
    json_t *json = NULL;
    MUST(simtdx_root_collateral(w->root, &text, err));
    MUST(eei_json_parse(eei_buf_span(&text), 1 << 20, &json, err));
    eei_buf_clear(&text);
    return json;
}

static ee_status parse_json(json_t *json, ee_error *why) {
    eei_buf text = EEI_BUF_INIT(4 << 20);
    ee_collateral *collateral = NULL;
    MUST(eei_json_dump(json, &text, err));
    ee_status st = ee_collateral_parse(eei_buf_span(&text), &collateral, why);
    assert_int_equal(st == EE_OK, collateral != NULL);
    ee_collateral_free(collateral);
    eei_buf_clear(&text);
    return st;
}

static void test_missing_fields_are_named(void **state) {
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        json_t *json = good_json(*state);
        ee_error why = {0};
        json_object_del(json, needed[i]);
        assert_int_not_equal(parse_json(json, &why), EE_OK);
        assert_non_null(strstr(why.message, needed[i]));
        json_object_set_new(json, needed[i], json_integer(1));
        assert_int_not_equal(parse_json(json, &why), EE_OK);
        assert_non_null(strstr(why.message, needed[i]));
        json_decref(json);
    }
}

static void test_garbage_is_refused(void **state) {
    static const char *const texts[] = {"", "00", "zz", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (!strcmp(needed[i], "tcb_info") || !strcmp(needed[i], "qe_identity")) continue; /* only read once their signature is good */
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
            json_t *json = good_json(*state);
            ee_error why = {0};
            json_object_set_new(json, needed[i], json_string(texts[k]));
            assert_int_not_equal(parse_json(json, &why), EE_OK);
            assert_non_null(strstr(why.message, needed[i]));
            json_decref(json);
        }
    }
}

static void test_optional_fields(void **state) {
    ee_error why = {0};
    json_t *json = good_json(*state);
    json_object_set_new(json, "something_new", json_integer(1));
    assert_int_equal(parse_json(json, &why), EE_OK);
    json_object_set_new(json, "pck_certificate_chain", json_string("no chain"));
    assert_int_not_equal(parse_json(json, &why), EE_OK);
    json_decref(json);
}

static void test_crl_bytes_are_exact(void **state) {
    ee_error why = {0};
    json_t *json = good_json(*state);
    char hex[8192];
    const char *crl = json_string_value(json_object_get(json, "pck_crl"));
    snprintf(hex, sizeof hex, "%s00", crl);
    json_object_set_new(json, "pck_crl", json_string(hex));
    assert_int_equal(parse_json(json, &why), EE_E_MALFORMED);
    json_decref(json);
}

/* Hex has one case throughout, whichever: a bit that only changes the case of a letter is a changed bit. */
static void test_hex_in_one_case(void **state) {
    static const char *const fields[] = {"root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        char hex[8192];
        ee_error why = {0};
        json_t *json = good_json(*state);
        snprintf(hex, sizeof hex, "%s", json_string_value(json_object_get(json, fields[i])));
        char *letter = strpbrk(hex, "abcdef");
        assert_non_null(letter);
        *letter ^= 0x20;
        json_object_set_new(json, fields[i], json_string(hex));
        assert_int_equal(parse_json(json, &why), EE_E_MALFORMED);
        if (!strstr(why.message, fields[i]) || !strstr(why.message, "both cases")) fail_msg("%s: %s", fields[i], why.message);
        for (char *c = hex; *c; c++) *c = (char)(*c >= 'a' && *c <= 'f' ? *c ^ 0x20 : *c);
        json_object_set_new(json, fields[i], json_string(hex));
        if (parse_json(json, &why)) fail_msg("%s in upper case: %s", fields[i], why.message);
        json_decref(json);
    }
}

static void test_sizes_and_forms(void **state) {
    (void)state;
    ee_collateral *collateral = NULL;
    static const char *const texts[] = {"", "[]", "{}", "null", "{\"tcb_info\":\"a\",\"tcb_info\":\"b\"}", "{} x"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_not_equal(ee_collateral_parse(eei_span_text(texts[i]), &collateral, NULL), EE_OK);
    char *big = malloc((1 << 20) + 1);
    memset(big, ' ', (1 << 20) + 1);
    assert_int_equal(ee_collateral_parse(eei_span(big, (1 << 20) + 1), &collateral, NULL), EE_E_LIMIT);
    free(big);
    assert_null(collateral);
    assert_int_equal(ee_collateral_parse(eei_span_text("{}"), NULL, NULL), EE_E_INVALID);
    ee_collateral_free(NULL);
}

static void test_references(void **state) {
    const world *w = *state;
    ee_collateral *collateral = world_collateral(w, NULL), *second = eei_collateral_ref(collateral);
    ee_collateral_free(collateral);
    assert_true(second->tcb_info.len > 0);
    ee_collateral_free(second);
}

static void test_status_words(void **state) {
    (void)state;
    eei_tcb_status status;
    for (int i = 0; i <= EEI_TCB_REVOKED; i++) {
        assert_true(eei_tcb_status_parse(eei_tcb_status_word((eei_tcb_status)i), &status));
        assert_int_equal((int)status, i);
    }
    assert_false(eei_tcb_status_parse("NotSupported", &status));
    assert_false(eei_tcb_status_parse("uptodate", &status));
    assert_false(eei_tcb_status_parse("", &status));
}

static void test_allocation_failures(void **state) {
    const world *w = *state;
    eei_buf text = EEI_BUF_INIT(1 << 20);
    ee_collateral *collateral = NULL;
    MUST(simtdx_root_collateral(w->root, &text, err));
    (void)eei_alloc_fail_at(0);
    MUST(ee_collateral_parse(eei_buf_span(&text), &collateral, err));
    size_t total = eei_alloc_fail_at(0);
    ee_collateral_free(collateral);
    for (size_t n = 1; n <= total; n++) {
        (void)eei_alloc_fail_at(n);
        ee_status st = ee_collateral_parse(eei_buf_span(&text), &collateral, NULL);
        (void)eei_alloc_fail_at(0);
        assert_int_equal(st == EE_OK, collateral != NULL);
        if (st) assert_int_equal(st, EE_E_NOMEM);
        ee_collateral_free(collateral);
    }
    eei_buf_clear(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_fields_are_named),
        cmocka_unit_test(test_garbage_is_refused),
        cmocka_unit_test(test_optional_fields),
        cmocka_unit_test(test_crl_bytes_are_exact),
        cmocka_unit_test(test_hex_in_one_case),
        cmocka_unit_test(test_sizes_and_forms),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_status_words),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
