/* test_envelope.c - signed envelopes against vectors made independently (tests/vectors/attest/envelope.json), and everything that must
 * not verify. Threat S11. */
#include "attest/envelope.h"
#include "attest_world.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "support/memory_search.h"

static const uint8_t seed[32] = {1, 2, 3};

static void test_vectors(void **state) {
    char path[512];
    eei_buf text = EEI_BUF_INIT(1 << 20), body = EEI_BUF_INIT(4096), want = EEI_BUF_INIT(4096), got = EEI_BUF_INIT(4096);
    size_t i;
    json_t *item;
    (void)state;
    snprintf(path, sizeof path, "%s/attest/envelope.json", EE_VECTORS);
    MUST(eei_file_read(path, &text, err));
    json_t *json = json_loads(eei_buf_cstr(&text), 0, NULL);
    json_array_foreach(json_object_get(json, "envelopes"), i, item) {
        uint8_t key_seed[32], pub[32], id[32], want_id[32];
        eei_key *key = NULL;
        eei_envelope envelope;
        uint16_t type = (uint16_t)json_integer_value(json_object_get(item, "type"));
        eei_buf_reset(&body);
        eei_buf_reset(&want);
        eei_buf_reset(&got);
        MUST(eei_hex_decode(json_string_value(json_object_get(item, "seed")), key_seed, 32, err));
        MUST(eei_hex_decode(json_string_value(json_object_get(item, "public")), pub, 32, err));
        MUST(eei_hex_decode(json_string_value(json_object_get(item, "key_id")), want_id, 32, err));
        MUST(eei_hex_append(eei_span_text(json_string_value(json_object_get(item, "body"))), &body, err));
        MUST(eei_hex_append(eei_span_text(json_string_value(json_object_get(item, "envelope"))), &want, err));
        MUST(eei_key_from_seed(key_seed, &key, err));
        assert_memory_equal(eei_key_public(key), pub, 32);
        eei_key_id(pub, id);
        assert_memory_equal(id, want_id, 32);
        MUST(eei_envelope_seal(key, type, eei_buf_span(&body), &got, err));
        assert_true(eei_span_equal(eei_buf_span(&got), eei_buf_span(&want)));
        assert_int_equal(got.len, body.len + EEI_ENVELOPE_OVERHEAD);
        MUST(eei_envelope_parse(eei_buf_span(&want), &envelope, err));
        MUST(eei_envelope_verify(&envelope, type, pub, err));
        assert_true(eei_span_equal(envelope.body, eei_buf_span(&body)));
        eei_key_free(key);
    }
    assert_true(i > 0);
    json_decref(json);
    eei_buf_clear(&text);
    eei_buf_clear(&body);
    eei_buf_clear(&want);
    eei_buf_clear(&got);
}

static void sealed(eei_key **key, eei_buf *out) {
    MUST(eei_key_from_seed(seed, key, err));
    MUST(eei_envelope_seal(*key, EEI_SIGNED_RECEIPT, eei_span_text("a receipt"), out, err));
}

static void test_every_bit_counts(void **state) {
    eei_key *key = NULL;
    eei_buf bytes = EEI_BUF_INIT(4096);
    (void)state;
    sealed(&key, &bytes);
    for (size_t bit = 0; bit < bytes.len * 8; bit++) {
        eei_envelope e;
        bytes.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (eei_envelope_parse(eei_buf_span(&bytes), &e, NULL) == EE_OK &&
            eei_envelope_verify(&e, EEI_SIGNED_RECEIPT, eei_key_public(key), NULL) == EE_OK)
            fail_msg("bit %zu can be changed", bit);
        bytes.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t len = 0; len < bytes.len; len++) {
        eei_envelope e;
        assert_int_equal(eei_envelope_parse(eei_span(bytes.data, len), &e, NULL), EE_E_MALFORMED);
    }
    eei_envelope e;
    assert_int_equal(eei_buf_append(&bytes, "", 1), EE_OK);
    assert_int_equal(eei_envelope_parse(eei_buf_span(&bytes), &e, NULL), EE_E_MALFORMED); /* one byte after */
    eei_key_free(key);
    eei_buf_clear(&bytes);
}

/* Each type's signature under each other type. */
static void test_S11_types_do_not_mix(void **state) {
    static const uint16_t types[] = {EEI_SIGNED_SPEND_AUTH, EEI_SIGNED_TRANSFER,  EEI_SIGNED_SECRETS, EEI_SIGNED_REQUEST,
                                     EEI_SIGNED_RECEIPT,    EEI_SIGNED_STATEMENT, EEI_SIGNED_HEALTH,  EEI_SIGNED_OBSERVATION,
                                     EEI_SIGNED_TICKET,     EEI_SIGNED_TOKEN};
    enum { COUNT = sizeof types / sizeof types[0] };
    eei_key *key = NULL;
    (void)state;
    MUST(eei_key_from_seed(seed, &key, err));
    for (size_t i = 0; i < COUNT; i++) {
        eei_buf bytes = EEI_BUF_INIT(4096);
        MUST(eei_envelope_seal(key, types[i], eei_span_text("body"), &bytes, err));
        for (size_t k = 0; k < COUNT; k++) {
            eei_envelope e;
            MUST(eei_envelope_parse(eei_buf_span(&bytes), &e, err));
            assert_int_equal(eei_envelope_verify(&e, types[k], eei_key_public(key), NULL), i == k ? EE_OK : EE_E_AUTH);
            e.type = types[k]; /* relabelled */
            assert_int_equal(eei_envelope_verify(&e, types[k], eei_key_public(key), NULL), i == k ? EE_OK : EE_E_AUTH);
        }
        eei_buf_clear(&bytes);
    }
    eei_key_free(key);
}

static void test_another_key(void **state) {
    eei_key *key = NULL, *other = NULL;
    eei_buf bytes = EEI_BUF_INIT(4096);
    eei_envelope e;
    (void)state;
    sealed(&key, &bytes);
    MUST(eei_key_generate(&other, err));
    MUST(eei_envelope_parse(eei_buf_span(&bytes), &e, err));
    assert_int_equal(eei_envelope_verify(&e, EEI_SIGNED_RECEIPT, eei_key_public(other), NULL), EE_E_AUTH);
    eei_key_id(eei_key_public(other), e.key_id); /* claims to be the other's */
    assert_int_equal(eei_envelope_verify(&e, EEI_SIGNED_RECEIPT, eei_key_public(other), NULL), EE_E_AUTH);
    eei_key_free(key);
    eei_key_free(other);
    eei_buf_clear(&bytes);
}

/* A zeroed public key and its kin verify signatures nobody made. */
static void test_small_order_keys(void **state) {
    static const char *const keys[] = {"0000000000000000000000000000000000000000000000000000000000000000",
                                       "0100000000000000000000000000000000000000000000000000000000000000",
                                       "0100000000000000000000000000000000000000000000000000000000000080",
                                       "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
                                       "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
                                       "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
                                       "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                                       "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                                       "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"};
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        uint8_t pub[32], signature[64] = {1}; /* R = the neutral element, S = 0 */
        MUST(eei_hex_decode(keys[i], pub, 32, err));
        ee_error why = {0};
        assert_int_equal(eei_verify(pub, EEI_SIGNED_REQUEST, eei_span_text("x"), signature, &why), EE_E_AUTH);
        assert_non_null(strstr(why.message, "small order"));
    }
}

static void test_limits(void **state) {
    eei_key *key = NULL;
    eei_buf out = EEI_BUF_INIT(4 << 20), small = EEI_BUF_INIT(100);
    uint8_t *body = calloc(1, EEI_MESSAGE_BYTES_MAX + 1);
    eei_envelope e;
    (void)state;
    MUST(eei_key_generate(&key, err));
    MUST(eei_envelope_seal(key, EEI_SIGNED_SECRETS, eei_span(body, EEI_MESSAGE_BYTES_MAX), &out, err));
    MUST(eei_envelope_parse(eei_buf_span(&out), &e, err));
    MUST(eei_envelope_verify(&e, EEI_SIGNED_SECRETS, eei_key_public(key), err));
    assert_int_equal(eei_envelope_seal(key, EEI_SIGNED_SECRETS, eei_span(body, EEI_MESSAGE_BYTES_MAX + 1), &out, NULL), EE_E_LIMIT);
    assert_int_equal(eei_envelope_seal(key, EEI_SIGNED_SECRETS, eei_span_text("x"), &small, NULL), EE_E_LIMIT);
    assert_int_equal(small.len, 0); /* nothing half-written */
    static const uint8_t huge[38] = {0, 0x20, [34] = 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(eei_envelope_parse(eei_span(huge, sizeof huge), &e, NULL), EE_E_LIMIT);
    free(body);
    eei_key_free(key);
    eei_buf_clear(&out);
    eei_buf_clear(&small);
}

/* A body may be a job's environment. Sealing and verifying make copies of it; none is left in freed memory. */
static void test_L5_signed_bodies_do_not_stay_behind(void **state) {
    enum { SECRET = 24 };
    uint8_t inverted[SECRET];
    eei_key *key = NULL;
    eei_envelope envelope;
    eei_buf body = EEI_BUF_INIT_SECRET(4096), bytes = EEI_BUF_INIT_SECRET(8192);
    (void)state;
    MUST(eei_random(inverted, sizeof inverted, err));
    MUST(eei_key_from_seed(seed, &key, err));
    MUST(eei_buf_append(&body, (uint8_t[900]){0}, 900));
    for (size_t i = 0; i < SECRET; i++) MUST(eei_buf_append(&body, &(uint8_t){(uint8_t)~inverted[i]}, 1));
    assert_int_equal(memory_copies(inverted, SECRET), 1); /* the search finds the one that is there */
    MUST(eei_envelope_seal(key, EEI_SIGNED_SECRETS, eei_buf_span(&body), &bytes, err));
    MUST(eei_envelope_parse(eei_buf_span(&bytes), &envelope, err));
    MUST(eei_envelope_verify(&envelope, EEI_SIGNED_SECRETS, eei_key_public(key), err));
    assert_int_equal(memory_copies(inverted, SECRET), 2); /* body and envelope */
    eei_buf_clear(&body);
    eei_buf_clear(&bytes);
    assert_int_equal(memory_copies(inverted, SECRET), 0);
    eei_key_free(key);
}

static void test_detached(void **state) {
    eei_key *key = NULL;
    uint8_t signature[64];
    (void)state;
    MUST(eei_key_from_seed(seed, &key, err));
    MUST(eei_sign(key, EEI_SIGNED_REQUEST, eei_span_text("GET /"), signature, err));
    MUST(eei_verify(eei_key_public(key), EEI_SIGNED_REQUEST, eei_span_text("GET /"), signature, err));
    assert_int_equal(eei_verify(eei_key_public(key), EEI_SIGNED_REQUEST, eei_span_text("GET /x"), signature, NULL), EE_E_AUTH);
    assert_int_equal(eei_verify(eei_key_public(key), EEI_SIGNED_TRANSFER, eei_span_text("GET /"), signature, NULL), EE_E_AUTH);
    MUST(eei_sign(key, EEI_SIGNED_REQUEST, (ee_span){NULL, 0}, signature, err)); /* an empty body is a body */
    MUST(eei_verify(eei_key_public(key), EEI_SIGNED_REQUEST, (ee_span){NULL, 0}, signature, err));
    eei_key_free(key);
    eei_key_free(NULL);
}

static void test_allocation_failures(void **state) {
    eei_key *key = NULL;
    (void)state;
    MUST(eei_key_from_seed(seed, &key, err));
    for (size_t n = 1; n < 12; n++) {
        eei_key *other = NULL;
        eei_buf out = EEI_BUF_INIT(4096);
        uint8_t signature[64];
        (void)eei_alloc_fail_at(n);
        ee_status made = eei_key_from_seed(seed, &other, NULL);
        (void)eei_alloc_fail_at(n);
        ee_status st = eei_envelope_seal(key, EEI_SIGNED_TOKEN, eei_span_text("body"), &out, NULL);
        (void)eei_alloc_fail_at(n);
        ee_status verified = eei_verify(eei_key_public(key), EEI_SIGNED_TOKEN, eei_span_text("other"), memset(signature, 1, 64), NULL);
        (void)eei_alloc_fail_at(0);
        assert_int_equal(made == EE_OK, other != NULL);
        assert_int_equal(st == EE_OK, out.len > 0);
        assert_int_not_equal(verified, EE_OK);
        eei_key_free(other);
        eei_buf_clear(&out);
    }
    eei_key_free(key);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_S11_types_do_not_mix),
        cmocka_unit_test(test_another_key),
        cmocka_unit_test(test_small_order_keys),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_L5_signed_bodies_do_not_stay_behind),
        cmocka_unit_test(test_detached),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
