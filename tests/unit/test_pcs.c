/* test_pcs.c - what is asked of a PCS, its answers into collateral byte by byte, and for whom and until when that is good. */
#include "attest/collateral.h"
#include "base/limits.h"
#include "pcs_world.h"

static eei_buf collateral_of(const world *w, const simtdx_collateral_parts *parts) {
    eei_buf json = EEI_BUF_INIT(1 << 20);
    MUST(simtdx_collateral(w->root, parts, &json, err));
    return json;
}

static void open_answers(const world *w, pcs_world *p) {
    eei_buf json = collateral_of(w, NULL);
    pcs_open(p, eei_buf_span(&json));
    eei_buf_clear(&json);
}

static ee_status assemble(const pcs_world *p, ee_error *why) {
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    ee_status st = eei_pcs_assemble(p->answers, &json, why);
    eei_buf_clear(&json);
    return st;
}

/* ---- what is asked ---- */

static void test_paths_and_headers(void **state) {
    eei_collateral_id id = {.fmspc = {0x00, 0x90, 0x6e, 0xd5, 0x00, 0xff}, .ca = "processor"};
    char path[EEI_PCS_PATH_MAX];
    (void)state;
    eei_pcs_path(EEI_PCS_TCB_INFO, &id, path);
    assert_string_equal(path, "/tdx/certification/v4/tcb?fmspc=00906ed500ff");
    eei_pcs_path(EEI_PCS_QE_IDENTITY, &id, path);
    assert_string_equal(path, "/tdx/certification/v4/qe/identity");
    eei_pcs_path(EEI_PCS_PCK_CRL, &id, path);
    assert_string_equal(path, "/sgx/certification/v4/pckcrl?ca=processor&encoding=der");
    eei_pcs_path(EEI_PCS_ROOT_CRL, &id, path);
    assert_string_equal(path, "/sgx/certification/v4/rootcacrl");
    assert_string_equal(eei_pcs_header(EEI_PCS_TCB_INFO), "TCB-Info-Issuer-Chain");
    assert_string_equal(eei_pcs_header(EEI_PCS_QE_IDENTITY), "SGX-Enclave-Identity-Issuer-Chain");
    assert_string_equal(eei_pcs_header(EEI_PCS_PCK_CRL), "SGX-PCK-CRL-Issuer-Chain");
    assert_null(eei_pcs_header(EEI_PCS_ROOT_CRL));
}

static void test_ids(void **state) {
    static const struct {
        const char *fmspc, *ca;
        ee_status want;
    } cases[] = {
        {"454553494D00", "platform", EE_OK},
        {"454553494d00", "processor", EE_OK},
        {"454553494D0", "platform", EE_E_INVALID},
        {"454553494D0000", "platform", EE_E_INVALID},
        {"", "platform", EE_E_INVALID},
        {"454553494Dzz", "platform", EE_E_INVALID},
        {"454553494D00", "", EE_E_INVALID},
        {"454553494D00", "Platform", EE_E_INVALID},
        {"454553494D00", "root", EE_E_INVALID},
    };
    eei_collateral_id id, same;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (eei_collateral_id_parse(cases[i].fmspc, cases[i].ca, &id, NULL) != cases[i].want)
            fail_msg("\"%s\" \"%s\"", cases[i].fmspc, cases[i].ca);
    MUST(eei_collateral_id_parse("454553494D00", "platform", &id, err));
    assert_memory_equal(id.fmspc, "EESIM", 6);
    same = id;
    same.root[0] = 1;
    assert_true(eei_collateral_id_same(&id, &same));
    same.fmspc[5] = 1;
    assert_false(eei_collateral_id_same(&id, &same));
    MUST(eei_collateral_id_parse("454553494D00", "processor", &same, err));
    assert_false(eei_collateral_id_same(&id, &same));
}

/* ---- answers ---- */

/* Everything as the platform's owner signed it, byte by byte, and a verifier takes it. */
static void test_answers_become_collateral(void **state) {
    world *w = *state;
    pcs_world p;
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    json_t *got = NULL;
    const char *key;
    json_t *value;
    open_answers(w, &p);
    MUST(eei_pcs_assemble(p.answers, &json, err));
    MUST(eei_json_parse(eei_buf_span(&json), 1 << 20, &got, err));
    assert_int_equal(json_object_size(got), 9);
    json_object_foreach(got, key, value) assert_string_equal(json_string_value(value), pcs_field(&p, key));
    ee_collateral *collateral = NULL;
    MUST(ee_collateral_parse(eei_buf_span(&json), &collateral, err));
    must_verify("assembled", eei_buf_span(&w->quote), collateral, w->any, NOW);
    ee_collateral_free(collateral);
    json_decref(got);
    eei_buf_clear(&json);
    pcs_close(&p);
}

/* White space, member order, and escapes inside the signed text: none of it is written anew. */
static void test_signed_bytes_are_cut_not_made(void **state) {
    static const char text[] = "{ \"id\" : \"TDX\",\n\t\"x\":[1 ,2], \"y\":\"\\u00e9\\n\\/\xc3\xa9\", \"z\":{} }";
    static const char *const bodies[] = {"{\"tcbInfo\":%s,\"signature\":\"%s\"}", "\r\n { \"tcbInfo\" : \t %s ,\n\"signature\":\"%s\"}\n",
                                         "{\"more\":{\"tcbInfo\":{}},\"tcbInfo\":%s,\"signature\":\"%s\",\"other\":[1]}"};
    char signature[129];
    pcs_world p;
    open_answers(*state, &p);
    memset(signature, 'a', 128);
    signature[128] = 0;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        eei_buf json = EEI_BUF_INIT(1 << 20), body = EEI_BUF_INIT(4096);
        json_t *got = NULL;
        const char *percent = strstr(bodies[i], "%s"), *second = strstr(percent + 2, "%s");
        assert_int_equal(eei_buf_append(&body, bodies[i], (size_t)(percent - bodies[i])), EE_OK);
        assert_int_equal(eei_buf_append_text(&body, text), EE_OK);
        assert_int_equal(eei_buf_append(&body, percent + 2, (size_t)(second - percent - 2)), EE_OK);
        assert_int_equal(eei_buf_append_text(&body, signature), EE_OK);
        assert_int_equal(eei_buf_append_text(&body, second + 2), EE_OK);
        p.answers[EEI_PCS_TCB_INFO].body = eei_buf_span(&body);
        MUST(eei_pcs_assemble(p.answers, &json, err));
        MUST(eei_json_parse(eei_buf_span(&json), 1 << 20, &got, err));
        assert_string_equal(json_string_value(json_object_get(got, "tcb_info")), text);
        assert_string_equal(json_string_value(json_object_get(got, "tcb_info_signature")), signature);
        json_decref(got);
        eei_buf_clear(&json);
        eei_buf_clear(&body);
    }
    pcs_close(&p);
}

static void test_crls_in_both_forms(void **state) {
    world *w = *state;
    pcs_world p;
    open_answers(w, &p);
    for (int form = 0; form < 3; form++) {
        eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX), der = EEI_BUF_INIT(1 << 16), hex = EEI_BUF_INIT(1 << 16);
        eei_collateral_terms terms;
        MUST(eei_hex_append(eei_span_text(pcs_field(&p, "root_ca_crl")), &der, err));
        assert_int_equal(eei_buf_printf(&hex, "%s%s", pcs_field(&p, "pck_crl"), form == 2 ? "\r\n" : ""), EE_OK);
        p.answers[EEI_PCS_ROOT_CRL].body = eei_buf_span(&der);
        p.answers[EEI_PCS_ROOT_CRL].content_type = "application/octet-stream";
        if (form) p.answers[EEI_PCS_PCK_CRL].body = eei_buf_span(&hex);
        MUST(eei_pcs_assemble(p.answers, &json, err));
        MUST(eei_collateral_terms_read(eei_buf_span(&json), &terms, err));
        eei_buf_clear(&json);
        eei_buf_clear(&der);
        eei_buf_clear(&hex);
    }
    pcs_close(&p);
}

/* Each is refused, and the message says which part and what about it. */
static void test_wrong_answers_are_named(void **state) {
    static const char page[] = "<html>log in</html>";
    static const struct {
        const char *name;
        eei_pcs_part part;
        const char *type, *chain, *body; /* NULL: as it is */
        const char *says;
    } cases[] = {
        {"a page", EEI_PCS_TCB_INFO, "text/html", NULL, page, "TCB info came as \"text/html\""},
        {"no type", EEI_PCS_QE_IDENTITY, "", NULL, NULL, "QE identity came as \"\""},
        {"nearly the type", EEI_PCS_TCB_INFO, "application/json5", NULL, NULL, "TCB info came as"},
        {"JSON for a CRL", EEI_PCS_PCK_CRL, "application/json", NULL, "{}", "PCK CRL came as"},
        {"no header", EEI_PCS_TCB_INFO, NULL, "", NULL, "TCB info came without the header TCB-Info-Issuer-Chain"},
        {"no CRL header", EEI_PCS_PCK_CRL, NULL, "", NULL, "PCK CRL came without the header SGX-PCK-CRL-Issuer-Chain"},
        {"empty", EEI_PCS_ROOT_CRL, NULL, NULL, "", "root CA CRL came empty"},
        {"a page as a CRL", EEI_PCS_ROOT_CRL, NULL, NULL, page, "root CA CRL: 19 bytes that are neither DER nor hex"},
        {"odd hex", EEI_PCS_ROOT_CRL, NULL, NULL, "abc", "root CA CRL: 3 bytes"},
        {"spaces", EEI_PCS_ROOT_CRL, NULL, NULL, " \n", "root CA CRL: 2 bytes"},
        {"cut", EEI_PCS_TCB_INFO, NULL, NULL, "{\"tcbInfo\":{\"id\":\"TDX\"", "TCB info: JSON"},
        {"a list", EEI_PCS_TCB_INFO, NULL, NULL, "[]", "TCB info: JSON"},
        {"SGX's", EEI_PCS_TCB_INFO, NULL, NULL, "{\"enclaveIdentity\":{},\"signature\":\"\"}", "no object \"tcbInfo\""},
        {"text where an object is", EEI_PCS_TCB_INFO, NULL, NULL, "{\"tcbInfo\":\"{}\",\"signature\":\"\"}", "no object \"tcbInfo\""},
        {"unsigned", EEI_PCS_QE_IDENTITY, NULL, NULL, "{\"enclaveIdentity\":{}}", "QE identity: field \"signature\" has 0 digits"},
        {"twice", EEI_PCS_TCB_INFO, NULL, NULL, "{\"tcbInfo\":{},\"tcbInfo\":{},\"signature\":\"\"}", "name twice"},
        {"more behind", EEI_PCS_TCB_INFO, NULL, NULL, "{\"tcbInfo\":{},\"signature\":\"\"}{}", "goes on after its end"},
        {"bad UTF-8", EEI_PCS_TCB_INFO, NULL, NULL, "{\"tcbInfo\":{\"x\":\"\xff\"},\"signature\":\"\"}", "not UTF-8"},
        {"half an escape", EEI_PCS_TCB_INFO, NULL, "abc%2", NULL, "TCB info: issuer chain: % without two hex digits, at offset 3"},
        {"no escape", EEI_PCS_TCB_INFO, NULL, "%zz", NULL, "offset 0"},
        {"a NUL", EEI_PCS_TCB_INFO, NULL, "a%00", NULL, "byte 0x00"},
        {"not ASCII", EEI_PCS_TCB_INFO, NULL, "%FF", NULL, "byte 0xff"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pcs_world p;
        ee_error why = {0};
        open_answers(*state, &p);
        eei_pcs_answer *a = &p.answers[cases[i].part];
        if (cases[i].type) a->content_type = cases[i].type;
        if (cases[i].chain) a->chain = eei_span_text(cases[i].chain);
        if (cases[i].body) a->body = eei_span_text(cases[i].body);
        ee_status st = assemble(&p, &why);
        if (st != EE_E_MALFORMED || !strstr(why.message, cases[i].says))
            fail_msg("%s: %s: %s", cases[i].name, ee_status_word(st), why.message);
        pcs_close(&p);
    }
}

/* Every cut of an answer is refused or is another text than the signed one: never mistaken for the whole. */
static void test_every_cut_is_refused(void **state) {
    for (int part = 0; part < EEI_PCS_PARTS; part++) {
        pcs_world p;
        open_answers(*state, &p);
        ee_span whole = p.answers[part].body;
        for (size_t len = 0; len < whole.len; len++) {
            eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
            eei_collateral_terms terms;
            p.answers[part].body.len = len;
            if (!eei_pcs_assemble(p.answers, &json, NULL) && !eei_collateral_terms_read(eei_buf_span(&json), &terms, NULL))
                fail_msg("%s: %zu of %zu bytes were taken", eei_pcs_name((eei_pcs_part)part), len, whole.len);
            eei_buf_clear(&json);
        }
        pcs_close(&p);
    }
}

static void test_sizes_are_bounded(void **state) {
    pcs_world p;
    ee_error why = {0};
    eei_buf chain = EEI_BUF_INIT(1 << 16), crl = EEI_BUF_INIT(1 << 20), body = EEI_BUF_INIT(1 << 16);
    size_t total = 0;
    uint8_t *room;
    open_answers(*state, &p);
    for (size_t i = 0; i <= 16384; i++) assert_int_equal(eei_buf_append_text(&chain, "%41"), EE_OK);
    p.answers[EEI_PCS_TCB_INFO].chain = eei_buf_span(&chain);
    assert_int_equal(assemble(&p, &why), EE_E_LIMIT);
    assert_non_null(strstr(why.message, "issuer chain: over 16384 bytes"));
    p.answers[EEI_PCS_TCB_INFO].chain = eei_buf_span(&p.chain[EEI_PCS_TCB_INFO]);
    assert_int_equal(eei_buf_reserve(&crl, 700000, &room), EE_OK);
    memset(room, 0x30, 700000);
    room[1] = 0x82;
    eei_buf_commit(&crl, 700000);
    p.answers[EEI_PCS_PCK_CRL].body = eei_buf_span(&crl);
    assert_int_equal(assemble(&p, &why), EE_E_LIMIT);
    p.answers[EEI_PCS_PCK_CRL].body = eei_buf_span(&p.body[EEI_PCS_PCK_CRL]);
    assert_int_equal(eei_buf_append_text(&body, "{\"tcbInfo\":{},\"signature\":\""), EE_OK);
    for (size_t i = 0; i < 1000; i++) assert_int_equal(eei_buf_append_text(&body, "\\u0041"), EE_OK);
    assert_int_equal(eei_buf_append_text(&body, "\"}"), EE_OK);
    p.answers[EEI_PCS_TCB_INFO].body = eei_buf_span(&body);
    assert_int_equal(assemble(&p, &why), EE_E_LIMIT);
    assert_non_null(strstr(why.message, "TCB info: JSON has strings with escapes"));
    for (int i = 0; i < EEI_PCS_PARTS; i++) total += eei_pcs_body_max((eei_pcs_part)i);
    assert_true(total < EEI_COLLATERAL_BYTES_MAX);
    eei_buf_clear(&chain);
    eei_buf_clear(&crl);
    eei_buf_clear(&body);
    pcs_close(&p);
}

/* ---- terms ---- */

static void test_terms(void **state) {
    world *w = *state;
    eei_collateral_terms t, of;
    eei_collateral_id id;
    uint8_t root[32];
    eei_buf json = collateral_of(w, NULL);
    MUST(eei_collateral_terms_read(eei_buf_span(&json), &t, err));
    MUST(eei_collateral_terms_of(w->collateral, &of, err));
    eei_sha256(simtdx_root_der(w->root), root);
    assert_memory_equal(t.id.root, root, 32);
    assert_memory_equal(t.id.fmspc, "EESIM", 6);
    assert_string_equal(t.id.ca, "platform");
    assert_int_equal(t.from_s, NOW - 3600);
    assert_int_equal(t.until_s, NOW + 30 * 86400);
    assert_int_equal(of.until_s, t.until_s);
    MUST(eei_quote_collateral_id(eei_buf_span(&w->quote), &id, err));
    assert_memory_equal(id.root, root, 32);
    MUST(eei_collateral_terms_fit(&t, &id, NOW, err));
    MUST(eei_collateral_terms_fit(&t, &id, t.from_s, err));
    MUST(eei_collateral_terms_fit(&t, &id, t.until_s, err));
    ee_error why = {0};
    assert_int_equal(eei_collateral_terms_fit(&t, &id, t.until_s + 1, &why), EE_E_EXPIRED);
    assert_non_null(strstr(why.message, "expired at 2026-10-21T"));
    assert_non_null(strstr(why.hint, "clock"));
    assert_int_equal(eei_collateral_terms_fit(&t, &id, t.from_s - 1, &why), EE_E_EXPIRED);
    assert_non_null(strstr(why.message, "is valid from"));
    eei_collateral_id other = id;
    other.root[31] ^= 1;
    assert_int_equal(eei_collateral_terms_fit(&t, &other, NOW, &why), EE_E_ATTESTATION);
    assert_non_null(strstr(why.message, "another root"));
    memset(other.root, 0, 32); /* not known: any */
    MUST(eei_collateral_terms_fit(&t, &other, NOW, err));
    other.fmspc[0] ^= 1;
    assert_int_equal(eei_collateral_terms_fit(&t, &other, NOW, &why), EE_E_ATTESTATION);
    (void)snprintf(id.ca, sizeof id.ca, "processor");
    assert_int_equal(eei_collateral_terms_fit(&t, &id, NOW, &why), EE_E_ATTESTATION);
    eei_buf_clear(&json);
}

/* The earliest end of all counts, whichever part has it. */
static void test_terms_end_with_the_first_part(void **state) {
    world *w = *state;
    const simtdx_crl early[2] = {{w->root->root, w->root->root_key, NOW - 3600, NOW + 100, NULL, 0},
                                 {w->root->ca, w->root->ca_key, NOW - 3600, NOW + 200, NULL, 0}};
    static const char *const names[] = {"root CRL", "PCK CRL"};
    for (size_t i = 0; i < 2; i++) {
        eei_buf der = EEI_BUF_INIT(1 << 16);
        simtdx_collateral_parts parts = {.root_crl = {NULL, 0}};
        eei_collateral_terms t;
        MUST(simtdx_crl_make(&early[i], &der, err));
        if (i == 0) parts.root_crl = eei_buf_span(&der);
        if (i == 1) parts.pck_crl = eei_buf_span(&der);
        eei_buf json = collateral_of(w, &parts);
        MUST(eei_collateral_terms_read(eei_buf_span(&json), &t, err));
        assert_int_equal(t.until_s, NOW + 100 + 100 * i);
        assert_string_equal(t.until_what, names[i]);
        eei_buf_clear(&json);
        eei_buf_clear(&der);
    }
    eei_buf info = EEI_BUF_INIT(1 << 16);
    eei_collateral_terms t;
    MUST(simtdx_tcb_info(w->root, &info, err));
    replace_in(&info, "\"nextUpdate\":\"2026-10-21T", "\"nextUpdate\":\"2026-09-30T");
    simtdx_collateral_parts parts = {.tcb_info = eei_buf_span(&info)};
    eei_buf json = collateral_of(w, &parts);
    MUST(eei_collateral_terms_read(eei_buf_span(&json), &t, err));
    assert_string_equal(t.until_what, "TCB info");
    assert_int_equal(t.until_s, NOW + 9 * 86400);
    eei_buf_clear(&json);
    eei_buf_clear(&info);
}

/* A chain of another CA, a part of another platform's owner, a changed byte: told as what it is, and no terms are left behind. */
static void test_unsigned_collateral_has_no_terms(void **state) {
    world *w = *state;
    simtdx_root *other = NULL;
    MUST(simtdx_root_new(NOW, &other, err));
    X509 *const foreign[] = {other->tcb, other->root};
    eei_buf chain = EEI_BUF_INIT(1 << 16), info = EEI_BUF_INIT(1 << 16);
    MUST(simtdx_pem(foreign, 2, &chain, err));
    MUST(simtdx_tcb_info(w->root, &info, err));
    uint8_t own_signature[64], foreign_signature[64];
    MUST(simtdx_sign(w->root->tcb_key, eei_buf_span(&info), own_signature, err));
    MUST(simtdx_sign(other->tcb_key, eei_buf_span(&info), foreign_signature, err));
    const simtdx_collateral_parts cases[] = {
        {.tcb_info = eei_buf_span(&info), .tcb_info_signature = own_signature, .tcb_chain = eei_buf_span(&chain)},
        {.tcb_info = eei_buf_span(&info),
         .tcb_info_signature = foreign_signature,
         .tcb_chain = eei_buf_span(&chain)}, /* of one mind, but two roots */
        {.tcb_info = eei_buf_span(&info), .tcb_info_signature = foreign_signature},
        {.qe_chain = eei_buf_span(&chain)},
    };
    static const char *const says[] = {"tcb_info", "different roots", "tcb_info", "qe_identity"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eei_buf json = collateral_of(w, &cases[i]);
        eei_collateral_terms t;
        ee_error why = {0};
        assert_int_equal(eei_collateral_terms_read(eei_buf_span(&json), &t, &why), EE_E_ATTESTATION);
        if (!strstr(why.message, says[i])) fail_msg("case %zu: %s", i, why.message);
        assert_int_equal(t.until_s, 0);
        eei_buf_clear(&json);
    }
    eei_buf_clear(&chain);
    eei_buf_clear(&info);
    simtdx_root_free(other);
}

/* ---- memory ---- */

static void test_every_failed_allocation_is_survived(void **state) {
    pcs_world p;
    open_answers(*state, &p);
    json_set_alloc_funcs(eei_malloc, eei_free);
    for (size_t n = 1;; n++) {
        eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
        eei_collateral_terms terms;
        (void)eei_alloc_fail_at(n);
        ee_status st = eei_pcs_assemble(p.answers, &json, NULL);
        if (!st) st = eei_collateral_terms_read(eei_buf_span(&json), &terms, NULL);
        bool reached = eei_alloc_fail_at(0) >= n;
        assert_int_equal(st, reached ? EE_E_NOMEM : EE_OK);
        eei_buf_clear(&json);
        if (!reached) break;
    }
    json_set_alloc_funcs(malloc, free);
    pcs_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_and_headers),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_answers_become_collateral),
        cmocka_unit_test(test_signed_bytes_are_cut_not_made),
        cmocka_unit_test(test_crls_in_both_forms),
        cmocka_unit_test(test_wrong_answers_are_named),
        cmocka_unit_test(test_every_cut_is_refused),
        cmocka_unit_test(test_sizes_are_bounded),
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_terms_end_with_the_first_part),
        cmocka_unit_test(test_unsigned_collateral_has_no_terms),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
