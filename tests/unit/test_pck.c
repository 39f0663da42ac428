/* test_pck.c - strict PEM chains and the SGX extension of PCK certificates. Trust in chains is tested in test_verify.c (Q2). */
#include "attest/pck.h"
#include "attest_world.h"

/* ---- PEM ---- */

typedef struct pem_plan {
    const char *name, *from, *to;
    bool ok;
} pem_plan;

static const pem_plan pem_plans[] = {
    {"as it is", "", "", true},
    {"empty line before", "", "\n", true},
    {"empty line between", "-----END CERTIFICATE-----\n", "-----END CERTIFICATE-----\n\n", true},
    {"CRLF", "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\r\n", true},
    {"text before", "", "x", false},
    {"text between", "-----END CERTIFICATE-----\n", "-----END CERTIFICATE-----\nx\n", false},
    {"space in a line", "-----BEGIN CERTIFICATE-----\nMI", "-----BEGIN CERTIFICATE-----\nM I", false},
    {"no newline after BEGIN", "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----", false},
    {"another label", "-----BEGIN CERTIFICATE-----", "-----BEGIN TRUSTED CERTIFICATE-----", false},
    {"header line", "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nProc-Type: 4\n", false},
    {"base64url characters", "-----BEGIN CERTIFICATE-----\nMI", "-----BEGIN CERTIFICATE-----\nM_", false},
    {"a pad in the middle", "-----BEGIN CERTIFICATE-----\nMI", "-----BEGIN CERTIFICATE-----\nM=", false},
    {"four characters gone", "-----BEGIN CERTIFICATE-----\nMII", "-----BEGIN CERTIFICATE-----\n", false},
    {"END missing", "-----END CERTIFICATE-----", "", false},
    {"END cut", "-----END CERTIFICATE-----", "-----END CERTIFICATE----", false},
    {"a dash inside", "-----BEGIN CERTIFICATE-----\nMI", "-----BEGIN CERTIFICATE-----\nM-", false},
};

static void test_pem_text(void **state) {
    const world *w = *state;
    for (size_t i = 0; i < sizeof pem_plans / sizeof pem_plans[0]; i++) {
        eei_buf text = EEI_BUF_INIT(65536);
        eei_chain chain;
        assert_int_equal(eei_buf_append_text(&text, w->machine->chain), EE_OK);
        replace_in(&text, pem_plans[i].from, pem_plans[i].to);
        ee_status st = eei_chain_parse(eei_buf_span(&text), &chain, NULL);
        if ((st == EE_OK) != pem_plans[i].ok) fail_msg("%s: status %d", pem_plans[i].name, (int)st);
        assert_int_equal(chain.count, pem_plans[i].ok ? 3 : 0);
        eei_chain_clear(&chain);
        eei_buf_clear(&text);
    }
}

static void test_pem_ends(void **state) {
    const world *w = *state;
    eei_chain chain;
    size_t len = strlen(w->machine->chain);
    uint8_t *text = malloc(len + 2);
    memcpy(text, w->machine->chain, len + 1);
    text[len + 1] = 0;
    MUST(eei_chain_parse(eei_span(text, len + 1), &chain, err)); /* one NUL, as DCAP does */
    eei_chain_clear(&chain);
    assert_int_not_equal(eei_chain_parse(eei_span(text, len + 2), &chain, NULL), EE_OK); /* two */
    text[len] = ' ';
    assert_int_not_equal(eei_chain_parse(eei_span(text, len + 1), &chain, NULL), EE_OK);
    assert_int_not_equal(eei_chain_parse(eei_span(text, 0), &chain, NULL), EE_OK);
    assert_int_not_equal(eei_chain_parse(eei_span("\n\n", 2), &chain, NULL), EE_OK);
    for (size_t cut = 1; cut < len - 1; cut += 13)
        if (eei_chain_parse(eei_span(text, cut), &chain, NULL) == EE_OK) eei_chain_clear(&chain); /* whole certificates may remain */
    free(text);
    static const uint8_t big[EEI_PEM_CHAIN_BYTES_MAX + 1];
    assert_int_equal(eei_chain_parse(eei_span(big, sizeof big), &chain, NULL), EE_E_LIMIT);
}

/* BER that means the same certificate is another text for it, and refused. */
static void test_only_der(void **state) {
    const world *w = *state;
    eei_chain chain;
    eei_buf text = EEI_BUF_INIT(65536), ber = EEI_BUF_INIT(8192), b64 = EEI_BUF_INIT(65536);
    unsigned char *der = NULL;
    int len = i2d_X509(w->root->root, &der);
    assert_true(len > 260);
    /* the outer length in three bytes instead of two */
    const uint8_t head[] = {0x30, 0x83, 0, der[2], der[3]};
    assert_int_equal(eei_buf_append(&ber, head, sizeof head), EE_OK);
    assert_int_equal(eei_buf_append(&ber, der + 4, (size_t)len - 4), EE_OK);
    while (ber.len % 3) assert_int_equal(eei_buf_append(&ber, "", 1), EE_OK); /* and bytes after it */
    assert_int_equal(eei_base64url_encode(eei_buf_span(&ber), &b64), EE_OK);
    assert_int_equal(eei_buf_append_text(&text, "-----BEGIN CERTIFICATE-----\n"), EE_OK);
    for (size_t i = 0; i < b64.len; i++) {
        uint8_t c = b64.data[i] == '-' ? '+' : b64.data[i] == '_' ? '/' : b64.data[i];
        assert_int_equal(eei_buf_append(&text, &c, 1), EE_OK);
        if (i % 64 == 63 || i + 1 == b64.len) assert_int_equal(eei_buf_append_text(&text, "\n"), EE_OK);
    }
    assert_int_equal(eei_buf_append_text(&text, "-----END CERTIFICATE-----\n"), EE_OK);
    assert_int_equal(eei_chain_parse(eei_buf_span(&text), &chain, NULL), EE_E_MALFORMED);
    OPENSSL_free(der);
    eei_buf_clear(&text);
    eei_buf_clear(&ber);
    eei_buf_clear(&b64);
}

/* ---- SGX extension ---- */

static const uint8_t ppid[16] = {1, 2, 3}, piid[16] = {9, 8, 7};

static void test_extension_fields(void **state) {
    (void)state;
    eei_buf der = EEI_BUF_INIT(4096);
    eei_pck pck;
    MUST(simtdx_sgx_extension(ppid, piid, &der, err));
    MUST(eei_pck_parse_extension(eei_buf_span(&der), &pck, err));
    assert_memory_equal(pck.ppid, ppid, 16);
    assert_memory_equal(pck.piid, piid, 16);
    assert_true(pck.has_instance);
    assert_int_equal(pck.pcesvn, 13);
    assert_memory_equal(pck.fmspc, "EESIM", 6);
    assert_memory_equal(pck.components, pck.cpusvn, 16);
    assert_int_equal(pck.sgx_type, 1);
    eei_buf_reset(&der);
    MUST(simtdx_sgx_extension(ppid, NULL, &der, err));
    MUST(eei_pck_parse_extension(eei_buf_span(&der), &pck, err));
    assert_false(pck.has_instance);
    eei_buf_clear(&der);
}

static bool same_pck(const eei_pck *a, const eei_pck *b) {
    return !memcmp(a->ppid, b->ppid, 16) && !memcmp(a->cpusvn, b->cpusvn, 16) && !memcmp(a->pceid, b->pceid, 2) &&
           !memcmp(a->fmspc, b->fmspc, 6) && !memcmp(a->components, b->components, 16) && a->pcesvn == b->pcesvn &&
           a->sgx_type == b->sgx_type && a->has_instance == b->has_instance && !memcmp(a->piid, b->piid, 16);
}

/* Every cut is refused, and every flipped bit is refused or lands in a value; sizes and tags never go unnoticed. */
static void test_extension_mutations(void **state) {
    (void)state;
    eei_buf der = EEI_BUF_INIT(4096);
    eei_pck pck, good;
    MUST(simtdx_sgx_extension(ppid, piid, &der, err));
    MUST(eei_pck_parse_extension(eei_buf_span(&der), &good, err));
    for (size_t len = 0; len < der.len; len++) {
        uint8_t *exact = malloc(len ? len : 1);
        memcpy(exact, der.data, len);
        assert_int_equal(eei_pck_parse_extension(eei_span(exact, len), &pck, NULL), EE_E_MALFORMED);
        free(exact);
    }
    size_t accepted_same = 0;
    for (size_t bit = 0; bit < der.len * 8; bit++) {
        der.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (eei_pck_parse_extension(eei_buf_span(&der), &pck, NULL) == EE_OK && same_pck(&pck, &good)) accepted_same++;
        der.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(accepted_same, 24); /* the three BOOLEANs of the configuration, which nothing depends on */
    assert_int_equal(eei_buf_append(&der, "", 1), EE_OK);
    assert_int_equal(eei_pck_parse_extension(eei_buf_span(&der), &pck, NULL), EE_E_MALFORMED); /* one byte after */
    eei_buf_clear(&der);
}

static void test_entry_twice(void **state) {
    (void)state;
    eei_buf der = EEI_BUF_INIT(4096), twice = EEI_BUF_INIT(4096);
    eei_pck pck;
    MUST(simtdx_sgx_extension(ppid, NULL, &der, err));
    /* 30 82 hh ll | first entry (PPID): 30 1e ... 32 bytes | the rest */
    assert_int_equal(der.data[4], 0x30);
    size_t entry = 2u + der.data[5], total = der.len - 4 + entry;
    const uint8_t head[] = {0x30, 0x82, (uint8_t)(total >> 8), (uint8_t)total};
    assert_int_equal(eei_buf_append(&twice, head, 4), EE_OK);
    assert_int_equal(eei_buf_append(&twice, der.data + 4, entry), EE_OK);
    assert_int_equal(eei_buf_append(&twice, der.data + 4, der.len - 4), EE_OK);
    ee_error err = {0};
    assert_int_equal(eei_pck_parse_extension(eei_buf_span(&twice), &pck, &err), EE_E_MALFORMED);
    assert_non_null(strstr(err.message, "twice"));
    eei_buf_clear(&der);
    eei_buf_clear(&twice);
}

static void test_certificate_without_extension(void **state) {
    const world *w = *state;
    eei_pck pck;
    assert_int_equal(eei_pck_parse(w->root->ca, &pck, NULL), EE_E_MALFORMED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pem_text),
        cmocka_unit_test(test_pem_ends),
        cmocka_unit_test(test_only_der),
        cmocka_unit_test(test_extension_fields),
        cmocka_unit_test(test_extension_mutations),
        cmocka_unit_test(test_entry_twice),
        cmocka_unit_test(test_certificate_without_extension),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
