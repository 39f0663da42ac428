/* test_pck.c - the SGX extension of PCK certificates. Trust in chains is tested in test_verify.c (Q2). */
#include "attest/chain.h"
#include "attest/pck.h"
#include "attest_world.h"

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
    assert_int_equal(accepted_same, 0); /* nor in the configuration's BOOLEANs, which nothing depends on */
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
    eei_chain chain;
    eei_pck pck;
    MUST(eei_chain_parse(eei_span_text(w->machine->chain), &chain, err));
    MUST(eei_pck_parse(&chain.certs[0], &pck, err));
    assert_true(pck.platform_ca);
    assert_memory_equal(eei_pck_machine_id(&pck), w->machine->piid, 16);
    assert_int_equal(eei_pck_parse(&chain.certs[1], &pck, NULL), EE_E_MALFORMED);
    eei_chain_clear(&chain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extension_fields),
        cmocka_unit_test(test_extension_mutations),
        cmocka_unit_test(test_entry_twice),
        cmocka_unit_test(test_certificate_without_extension),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
