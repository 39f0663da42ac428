/* test_chain.c - PEM chains: one text for one chain. What the certificates in them say is tested in test_x509.c. */
#include "attest/chain.h"
#include "attest_world.h"

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

/* Lengths around each place where base64 is cut into lines and padded. */
static void test_pads_and_lines(void **state) {
    static const struct {
        const char *name, *base64;
        ee_status want; /* the certificate itself is none: EE_E_MALFORMED either way; only the message tells which */
        const char *says;
    } cases[] = {
        {"one byte", "MA==\n", EE_E_MALFORMED, "of 1 bytes"},
        {"two bytes", "MAA=\n", EE_E_MALFORMED, "of 2 bytes"},
        {"three bytes", "MAAA\n", EE_E_MALFORMED, "of 3 bytes"},
        {"one byte and stray bits", "MB==\n", EE_E_MALFORMED, "stray bits"},
        {"two bytes and stray bits", "MAB=\n", EE_E_MALFORMED, "stray bits"},
        {"three pads", "M===\n", EE_E_MALFORMED, "out of place"},
        {"pad, then more", "MA==MAAA\n", EE_E_MALFORMED, "out of place"},
        {"cut in a quad", "MAA\n", EE_E_MALFORMED, "cut"},
        {"quad over two lines", "MA\nAA\n", EE_E_MALFORMED, "of 3 bytes"},
        {"no line end", "MAAA", EE_E_MALFORMED, "badly ended"},
        {"empty", "", EE_E_MALFORMED, "of 0 bytes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        eei_chain chain;
        ee_error err = {0};
        snprintf(text, sizeof text, "-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n", cases[i].base64);
        ee_status st = eei_chain_parse(eei_span_text(text), &chain, &err);
        if (st != cases[i].want || !strstr(err.message, cases[i].says)) fail_msg("%s: %d, %s", cases[i].name, (int)st, err.message);
    }
    for (size_t chars = 72; chars <= 80; chars += 4) { /* a line has at most 76 */
        char text[256] = "-----BEGIN CERTIFICATE-----\n";
        eei_chain chain;
        ee_error err = {0};
        size_t at = strlen(text);
        memset(text + at, 'A', chars);
        snprintf(text + at + chars, sizeof text - at - chars, "\n-----END CERTIFICATE-----\n");
        assert_int_equal(eei_chain_parse(eei_span_text(text), &chain, &err), EE_E_MALFORMED);
        if ((strstr(err.message, "line is over") != NULL) != (chars > 76)) fail_msg("%zu characters: %s", chars, err.message);
    }
}

static void test_too_many_certificates(void **state) {
    const world *w = *state;
    X509 *certs[5] = {w->root->ca, w->root->ca, w->root->ca, w->root->ca, w->root->root};
    eei_chain chain;
    for (size_t n = 1; n <= 5; n++) {
        eei_buf pem = EEI_BUF_INIT(65536);
        MUST(simtdx_pem(certs, n, &pem, err));
        assert_int_equal(eei_chain_parse(eei_buf_span(&pem), &chain, NULL), n <= EEI_CHAIN_CERTS_MAX ? EE_OK : EE_E_LIMIT);
        assert_int_equal(chain.count, n <= EEI_CHAIN_CERTS_MAX ? n : 0);
        eei_chain_clear(&chain);
        eei_buf_clear(&pem);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pem_text),
        cmocka_unit_test(test_pem_ends),
        cmocka_unit_test(test_pads_and_lines),
        cmocka_unit_test(test_too_many_certificates),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
