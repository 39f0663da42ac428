/* test_quote.c - the quote parser alone: fields land where the layout says, every length is exact. No cryptography; see test_verify.c. */
#include "attest_world.h"

static void test_fields_v4(void **state) {
    const world *w = *state;
    eei_quote q;
    uint8_t want[64];
    memset(want, 0x42, sizeof want);
    MUST(eei_quote_parse(eei_buf_span(&w->quote), &q, err));
    assert_int_equal(q.version, 4);
    assert_int_equal(q.body_type, EEI_BODY_TD10);
    assert_int_equal(q.signed_part.len, AT_SIG_LEN);
    assert_memory_equal(q.mrtd, w->td.mrtd, 48);
    for (size_t i = 0; i < 4; i++) assert_memory_equal(q.rtmr[i], w->td.rtmr[i], 48);
    assert_memory_equal(q.report_data, want, 64);
    assert_int_equal(q.td_attributes, w->td.td_attributes);
    assert_int_equal(q.xfam, w->td.xfam);
    assert_int_equal(q.tee_tcb_svn[1], 1);
    assert_ptr_equal(q.qe_report_bytes.data, w->quote.data + AT_QE_REPORT);
    assert_int_equal(q.qe_report.isvprodid, 2);
    assert_int_equal(q.qe_report.isvsvn, 4);
    assert_int_equal(q.qe_auth_data.len, 32);
    assert_int_equal(q.cert_type, EEI_CERT_PCK_CHAIN);
    assert_ptr_equal(q.cert_data.data, w->quote.data + AT_CHAIN);
    assert_int_equal(q.trailing.len, 0);
}

/* Each byte of the body belongs to exactly one field, at the offset of the layout table. */
static void test_layout_offsets(void **state) {
    static const struct {
        size_t at, len, field;
    } table[] = {{0, 16, offsetof(eei_quote, tee_tcb_svn)},     {16, 48, offsetof(eei_quote, mr_seam)},
                 {64, 48, offsetof(eei_quote, mr_signer_seam)}, {112, 8, offsetof(eei_quote, seam_attributes)},
                 {136, 48, offsetof(eei_quote, mrtd)},          {184, 48, offsetof(eei_quote, mr_config_id)},
                 {232, 48, offsetof(eei_quote, mr_owner)},      {280, 48, offsetof(eei_quote, mr_owner_config)},
                 {328, 192, offsetof(eei_quote, rtmr)},         {520, 64, offsetof(eei_quote, report_data)}};
    world *w = *state;
    eei_buf bytes = copy_quote(w);
    eei_quote q;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (size_t k = 0; k < table[i].len; k++) bytes.data[AT_BODY + table[i].at + k] = (uint8_t)(i * 31 + k);
        MUST(eei_quote_parse(eei_buf_span(&bytes), &q, err));
        assert_memory_equal((const uint8_t *)&q + table[i].field, bytes.data + AT_BODY + table[i].at, table[i].len);
    }
    eei_buf_clear(&bytes);
}

static void test_fields_v5(void **state) {
    world *w = *state;
    eei_buf bytes = EEI_BUF_INIT(65536);
    eei_quote q;
    uint8_t report_data[64] = {3};
    simtdx_td td = w->td;
    td.quote_version = 5;
    MUST(simtdx_quote(w->machine, &td, report_data, &bytes, err));
    memset(bytes.data + 54 + 584, 0xa1, 16);
    memset(bytes.data + 54 + 600, 0xa2, 48);
    MUST(eei_quote_parse(eei_buf_span(&bytes), &q, err));
    assert_int_equal(q.version, 5);
    assert_int_equal(q.body_type, EEI_BODY_TD15);
    assert_int_equal(q.signed_part.len, 702);
    assert_int_equal(q.tee_tcb_svn2[15], 0xa1);
    assert_int_equal(q.mr_service_td[0], 0xa2);
    assert_int_equal(q.mr_service_td[47], 0xa2);
    assert_memory_equal(q.report_data, report_data, 64);
    eei_buf_clear(&bytes);
}

static void test_trailing_is_set_apart(void **state) {
    world *w = *state;
    eei_buf bytes = copy_quote(w);
    eei_quote q;
    assert_int_equal(eei_buf_append_text(&bytes, "more"), EE_OK);
    MUST(eei_quote_parse(eei_buf_span(&bytes), &q, err));
    assert_int_equal(q.trailing.len, 4);
    eei_buf_clear(&bytes);
}

/* A failed parse leaves nothing behind and says where it stopped. */
static void test_cuts_say_where(void **state) {
    static const struct {
        size_t len;
        const char *part;
    } cuts[] = {{0, "quote header"}, {47, "quote header"},          {48, "quote body"},
                {631, "quote body"}, {633, "quote signature data"}, {700, "quote signature data"}};
    world *w = *state;
    static const eei_quote nothing;
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        eei_quote q;
        ee_error err = {0};
        assert_int_equal(eei_quote_parse(eei_span(w->quote.data, cuts[i].len), &q, &err), EE_E_MALFORMED);
        assert_non_null(strstr(err.message, cuts[i].part));
        assert_memory_equal(&q, &nothing, sizeof q);
    }
    static const uint8_t big[EE_QUOTE_BYTES_MAX + 1];
    eei_quote q;
    assert_int_equal(eei_quote_parse(eei_span(big, sizeof big), &q, NULL), EE_E_LIMIT);
}

static void test_versions(void **state) {
    world *w = *state;
    eei_buf bytes = copy_quote(w);
    eei_quote q;
    for (unsigned version = 0; version < 9; version++) {
        bytes.data[0] = (uint8_t)version;
        ee_status st = eei_quote_parse(eei_buf_span(&bytes), &q, NULL);
        assert_int_equal(st, version == 4 ? EE_OK : version == 5 ? EE_E_MALFORMED : EE_E_VERSION);
    }
    eei_buf_clear(&bytes);
}

/* Which collateral to fetch, read from the quote's own certificate. */
static void test_collateral_id(void **state) {
    world *w = *state;
    eei_collateral_id id;
    MUST(eei_quote_collateral_id(eei_buf_span(&w->quote), &id, err));
    assert_memory_equal(id.fmspc, "EESIM", 6);
    assert_string_equal(id.ca, "platform");
    eei_buf bytes = copy_quote(w);
    bytes.data[AT_INNER_TYPE] = 4;
    assert_int_equal(eei_quote_collateral_id(eei_buf_span(&bytes), &id, NULL), EE_E_MALFORMED);
    bytes.data[AT_INNER_TYPE] = 5;
    bytes.data[AT_CHAIN + 100] = '!';
    assert_int_equal(eei_quote_collateral_id(eei_buf_span(&bytes), &id, NULL), EE_E_MALFORMED);
    eei_buf_clear(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_v4),      cmocka_unit_test(test_layout_offsets),
        cmocka_unit_test(test_fields_v5),      cmocka_unit_test(test_trailing_is_set_apart),
        cmocka_unit_test(test_cuts_say_where), cmocka_unit_test(test_versions),
        cmocka_unit_test(test_collateral_id),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
