/* test_x509.c - certificates and CRLs, one DER form of one profile: every cut, every bit, every odd form. OpenSSL, which made them, is
 * asked whether it reads the same. Who may be trusted is tested in test_verify.c (Q2, Q3). */
#include "attest/crypto.h"
#include "attest/x509.h"
#include "attest_world.h"

#include <openssl/x509v3.h>

static const uint8_t ppid[16] = {1}, piid[16] = {2};

/* A PCK certificate with everything in it. */
static X509 *leaf_of(const world *w, EVP_PKEY *key, const simtdx_cert *change) {
    eei_buf sgx = EEI_BUF_INIT(4096);
    X509 *cert = NULL;
    MUST(simtdx_sgx_extension(ppid, piid, &sgx, err));
    simtdx_cert options = {.cn = "Simulated SGX PCK Certificate",
                           .key = key,
                           .issuer_key = w->root->ca_key,
                           .issuer = w->root->ca,
                           .pathlen = -1,
                           .serial = 0x1234567890,
                           .not_before_unix_s = NOW - 3600,
                           .not_after_unix_s = NOW + 86400,
                           .sgx_extension = eei_buf_span(&sgx)};
    if (change && change->not_after_unix_s) options.not_after_unix_s = change->not_after_unix_s;
    if (change && change->not_before_unix_s) options.not_before_unix_s = change->not_before_unix_s;
    if (change && change->md) options.md = change->md;
    if (change && change->serial) options.serial = change->serial;
    MUST(simtdx_cert_make(&options, &cert, err));
    eei_buf_clear(&sgx);
    return cert;
}

static eei_buf der_of(X509 *cert) {
    unsigned char *der = NULL;
    eei_buf out = EEI_BUF_INIT(8192);
    int len = i2d_X509(cert, &der);
    assert_true(len > 0);
    assert_int_equal(eei_buf_append(&out, der, (size_t)len), EE_OK);
    OPENSSL_free(der);
    return out;
}

static time_t unix_of(const ASN1_TIME *t) {
    struct tm tm;
    assert_int_equal(ASN1_TIME_to_tm(t, &tm), 1);
    return timegm(&tm);
}

/* Field by field as OpenSSL reads the same bytes. */
static void test_same_as_openssl(void **state) {
    const world *w = *state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *leaf = leaf_of(w, key, NULL), *all[] = {leaf, w->root->ca, w->root->tcb, w->root->root};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        eei_buf der = der_of(all[i]);
        eei_cert c;
        uint64_t serial = 0, read = 0;
        uint8_t point[65];
        size_t len = 0;
        MUST(eei_cert_parse(eei_buf_span(&der), &c, err));
        assert_int_equal(unix_of(X509_get0_notBefore(all[i])), c.not_before_s);
        assert_int_equal(unix_of(X509_get0_notAfter(all[i])), c.not_after_s);
        assert_int_equal(ASN1_INTEGER_get_uint64(&serial, X509_get0_serialNumber(all[i])), 1);
        for (size_t k = 0; k < c.serial.len; k++) read = read << 8 | c.serial.data[k];
        assert_int_equal(read, serial);
        assert_int_equal(EVP_PKEY_get_octet_string_param(X509_get0_pubkey(all[i]), "encoded-pub-key", point, sizeof point, &len), 1);
        assert_memory_equal(point + 1, c.key, 64);
        assert_int_equal(X509_check_ca(all[i]) == 1, c.is_ca);
        assert_int_equal((long)X509_get_pathlen(all[i]), (long)c.path_len);
        /* OpenSSL counts from the other end: digitalSignature is 0x80, keyCertSign 0x04, cRLSign 0x02. */
        uint32_t usage = X509_get_key_usage(all[i]);
        assert_int_equal((usage & KU_DIGITAL_SIGNATURE) != 0, (c.usage & EEI_USAGE_SIGNATURE) != 0);
        assert_int_equal((usage & KU_KEY_CERT_SIGN) != 0, (c.usage & EEI_USAGE_CERT_SIGN) != 0);
        assert_int_equal((usage & KU_CRL_SIGN) != 0, (c.usage & EEI_USAGE_CRL_SIGN) != 0);
        const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(all[i]);
        if (id) assert_memory_equal(ASN1_STRING_get0_data(id), c.key_id.data, c.key_id.len);
        assert_int_equal(c.sgx.len != 0, i == 0);
        assert_int_equal(strstr(c.subject_cn, i == 0   ? "PCK Certificate"
                                              : i == 1 ? "PCK Platform CA"
                                              : i == 2 ? "TCB Signing"
                                                       : "Root CA") != NULL,
                         1);
        eei_buf_clear(&der);
    }
    X509_free(leaf);
    EVP_PKEY_free(key);
}

/* A signature over the part that is said to be signed: our own reading of where it lies, checked by mathematics. */
static void test_signature_verifies(void **state) {
    const world *w = *state;
    eei_buf ca = der_of(w->root->ca), root = der_of(w->root->root);
    eei_cert c, r;
    eei_p256 *p256 = NULL;
    MUST(eei_p256_new(&p256, err));
    MUST(eei_cert_parse(eei_buf_span(&ca), &c, err));
    MUST(eei_cert_parse(eei_buf_span(&root), &r, err));
    MUST(eei_p256_verify(p256, r.key, c.tbs, c.signature, err));
    MUST(eei_p256_verify(p256, r.key, r.tbs, r.signature, err));
    assert_int_equal(eei_p256_verify(p256, c.key, c.tbs, c.signature, NULL), EE_E_AUTH);
    MUST(eei_p256_verify(p256, r.key, c.tbs, c.signature, err)); /* a refusal leaves nothing behind */
    eei_p256_free(p256);
    eei_buf_clear(&ca);
    eei_buf_clear(&root);
}

static void test_every_cut(void **state) {
    const world *w = *state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *leaf = leaf_of(w, key, NULL);
    eei_buf der = der_of(leaf);
    for (size_t len = 0; len < der.len; len++) {
        uint8_t *exact = malloc(len ? len : 1); /* exact size: a sanitizer sees one byte too far */
        eei_cert c;
        memcpy(exact, der.data, len);
        if (eei_cert_parse(eei_span(exact, len), &c, NULL) != EE_E_MALFORMED) fail_msg("cut at %zu of %zu", len, der.len);
        assert_null(c.der.data);
        free(exact);
    }
    assert_int_equal(eei_buf_append(&der, "", 1), EE_OK);
    eei_cert c;
    assert_int_equal(eei_cert_parse(eei_buf_span(&der), &c, NULL), EE_E_MALFORMED); /* one byte after */
    static const uint8_t big[EEI_CERT_BYTES_MAX + 1];
    assert_int_equal(eei_cert_parse(eei_span(big, sizeof big), &c, NULL), EE_E_LIMIT);
    eei_buf_clear(&der);
    X509_free(leaf);
    EVP_PKEY_free(key);
}

/* A flipped bit of the signed part is refused, or the signature no longer fits: it never goes unnoticed. The same for the signature. */
static void test_every_bit(void **state) {
    const world *w = *state;
    eei_buf der = der_of(w->root->ca), root = der_of(w->root->root);
    eei_cert r, c;
    eei_p256 *p256 = NULL;
    size_t read = 0;
    MUST(eei_p256_new(&p256, err));
    MUST(eei_cert_parse(eei_buf_span(&root), &r, err));
    for (size_t bit = 0; bit < der.len * 8; bit++) {
        der.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (!eei_cert_parse(eei_buf_span(&der), &c, NULL)) {
            read++;
            if (!eei_p256_verify(p256, r.key, c.tbs, c.signature, NULL)) fail_msg("bit %zu changed, and the signature still fits", bit);
        }
        der.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_true(read > 1000); /* keys, names, dates, the signature: most bits are content */
    eei_p256_free(p256);
    eei_buf_clear(&der);
    eei_buf_clear(&root);
}

static void test_dates(void **state) {
    const world *w = *state;
    static const struct {
        uint64_t not_before, not_after;
    } plans[] = {{1, 2524607999}, /* 1970-01-01T00:00:01Z, and the last second of UTCTime */
                 {2524608000, 4102444800} /* 2050 on: GeneralizedTime */};
    EVP_PKEY *key = EVP_EC_gen("P-256");
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        const simtdx_cert change = {.not_before_unix_s = plans[i].not_before, .not_after_unix_s = plans[i].not_after};
        X509 *leaf = leaf_of(w, key, &change);
        eei_buf der = der_of(leaf);
        eei_cert c;
        MUST(eei_cert_parse(eei_buf_span(&der), &c, err));
        assert_int_equal(c.not_before_s, plans[i].not_before);
        assert_int_equal(c.not_after_s, plans[i].not_after);
        eei_buf_clear(&der);
        X509_free(leaf);
    }
    EVP_PKEY_free(key);
}

/* What is replaced in the DER of a good certificate; the signature is not looked at here. Same length, so that no length changes. */
static const struct {
    const char *name, *from, *to; /* hex */
} odd_forms[] = {
    {"version 1", "a003020102", "a003020100"},
    {"version 4", "a003020102", "a003020103"},
    {"a negative serial number", "02051234567890", "02059234567890"},
    {"a serial number with a zero too many", "02051234567890", "02050034567890"},
    {"signed with SHA-384, inside", "300a06082a8648ce3d040302", "300a06082a8648ce3d040303"},
    {"a key on another curve", "06082a8648ce3d030107", "06082a8648ce3d030106"},
    {"a compressed point", "03420004", "03420002"},
    {"unused bits in the key", "03420004", "03420104"},
    {"month 13", "170d32363039323131333133", "170d32363133323131333133"},
    {"an hour of letters", "170d3236303932313133",
     "170d32363039323141"
     "33"},
    {"a time without Z", "170d3236303932313133313332305a",
     "170d323630393231313331333230"
     "41"},
    {"UTCTime with the tag of GeneralizedTime", "170d323630393231313331333230", "180d323630393231313331333230"},
    {"an extension twice", "0603551d0f", "0603551d0e"}, /* key usage becomes a second key id */
    {"critical FALSE written out", "0101ff", "010100"},
    {"critical that is neither", "0101ff", "010101"},
    {"key usage with a stray bit", "030206c0", "030207c0"},
    {"an indefinite length", "a003020102", "a080020102"},
    {"an extension's type that does not end", "0603551d0f", "0603551d8f"},
    {"an extension's type with an arc too long", "0603551d0f", "060355800f"},
    {"a name's type that does not end", "0603550403", "0603550483"},
    {"a name that is a BIT STRING", "06035504030c", "060355040303"},
    {"a name that is a T61String", "06035504030c", "060355040314"},
    {"a name with a tag of two bytes", "06035504030c", "06035504031f"},
    {"a name that is not UTF-8", "060355040a0c1265", "060355040a0c12ff"},
    {"a country with a byte above ASCII", "13025553", "1302d553"},
    {"an issuer's key id under another tag", "30168014", "30168214"},
};

static void test_odd_forms(void **state) {
    const world *w = *state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *leaf = leaf_of(w, key, NULL);
    eei_cert c;
    for (size_t i = 0; i < sizeof odd_forms / sizeof odd_forms[0]; i++) {
        eei_buf der = der_of(leaf), from = EEI_BUF_INIT(64), to = EEI_BUF_INIT(64);
        MUST(eei_hex_append(eei_span_text(odd_forms[i].from), &from, err));
        MUST(eei_hex_append(eei_span_text(odd_forms[i].to), &to, err));
        uint8_t *at = memmem(der.data, der.len, from.data, from.len);
        if (!at) fail_msg("%s: %s is not there", odd_forms[i].name, odd_forms[i].from);
        MUST(eei_cert_parse(eei_buf_span(&der), &c, err));
        memcpy(at, to.data, to.len);
        if (eei_cert_parse(eei_buf_span(&der), &c, NULL) != EE_E_MALFORMED) fail_msg("%s: accepted", odd_forms[i].name);
        eei_buf_clear(&der);
        eei_buf_clear(&from);
        eei_buf_clear(&to);
    }
    X509_free(leaf);
    EVP_PKEY_free(key);
}

static void test_other_algorithms(void **state) {
    const world *w = *state;
    EVP_PKEY *p256 = EVP_EC_gen("P-256"), *p384 = EVP_EC_gen("P-384"), *rsa = EVP_RSA_gen(2048);
    const simtdx_cert sha384 = {.md = EVP_sha384()};
    X509 *certs[] = {leaf_of(w, p256, &sha384), leaf_of(w, p384, NULL), leaf_of(w, rsa, NULL)};
    for (size_t i = 0; i < sizeof certs / sizeof certs[0]; i++) {
        eei_buf der = der_of(certs[i]);
        eei_cert c;
        assert_int_equal(eei_cert_parse(eei_buf_span(&der), &c, NULL), EE_E_MALFORMED);
        eei_buf_clear(&der);
        X509_free(certs[i]);
    }
    EVP_PKEY_free(p256);
    EVP_PKEY_free(p384);
    EVP_PKEY_free(rsa);
}

/* ---- CRLs ---- */

static eei_buf crl_of(const world *w, const uint64_t *serials, size_t count, uint64_t next) {
    const simtdx_crl options = {w->root->ca, w->root->ca_key, NOW - 10, next, serials, count};
    eei_buf der = EEI_BUF_INIT(1 << 20);
    MUST(simtdx_crl_make(&options, &der, err));
    return der;
}

static void test_crl_lists(void **state) {
    const world *w = *state;
    const uint64_t serials[] = {5, 0x80, 0x1234567890};
    static const uint8_t five[] = {5}, high[] = {0, 0x80}, wide[] = {0x12, 0x34, 0x56, 0x78, 0x90}, six[] = {6}, bare[] = {0x80};
    eei_buf der = crl_of(w, serials, 3, NOW + 10), none = crl_of(w, NULL, 0, NOW + 10);
    eei_crl crl;
    MUST(eei_crl_parse(eei_buf_span(&der), &crl, err));
    assert_int_equal(crl.this_update_s, NOW - 10);
    assert_int_equal(crl.next_update_s, NOW + 10);
    assert_true(eei_crl_lists(&crl, eei_span(five, sizeof five)));
    assert_true(eei_crl_lists(&crl, eei_span(high, sizeof high)));
    assert_true(eei_crl_lists(&crl, eei_span(wide, sizeof wide)));
    assert_false(eei_crl_lists(&crl, eei_span(six, sizeof six)));
    assert_false(eei_crl_lists(&crl, eei_span(bare, sizeof bare))); /* no certificate can have it: it is negative */
    MUST(eei_crl_parse(eei_buf_span(&none), &crl, err));
    assert_false(eei_crl_lists(&crl, eei_span(five, sizeof five)));
    eei_buf_clear(&der);
    eei_buf_clear(&none);
}

static void test_crl_mutations(void **state) {
    const world *w = *state;
    const uint64_t serials[] = {5, 6};
    eei_buf der = crl_of(w, serials, 2, NOW + 10), ca = EEI_BUF_INIT(8192);
    eei_crl crl;
    eei_cert c;
    eei_p256 *p256 = NULL;
    ca = der_of(w->root->ca);
    MUST(eei_p256_new(&p256, err));
    MUST(eei_cert_parse(eei_buf_span(&ca), &c, err));
    MUST(eei_crl_parse(eei_buf_span(&der), &crl, err));
    MUST(eei_p256_verify(p256, c.key, crl.tbs, crl.signature, err));
    for (size_t len = 0; len < der.len; len++) {
        uint8_t *exact = malloc(len ? len : 1);
        memcpy(exact, der.data, len);
        assert_int_equal(eei_crl_parse(eei_span(exact, len), &crl, NULL), EE_E_MALFORMED);
        free(exact);
    }
    for (size_t bit = 0; bit < der.len * 8; bit++) {
        der.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (!eei_crl_parse(eei_buf_span(&der), &crl, NULL) && !eei_p256_verify(p256, c.key, crl.tbs, crl.signature, NULL))
            fail_msg("bit %zu changed, and the signature still fits", bit);
        der.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(eei_buf_append(&der, "", 1), EE_OK);
    assert_int_equal(eei_crl_parse(eei_buf_span(&der), &crl, NULL), EE_E_MALFORMED);
    eei_p256_free(p256);
    eei_buf_clear(&der);
    eei_buf_clear(&ca);
}

/* A CRL that speaks only for some certificates, or is a difference to another, says nothing about ours. */
static void add_crl_extension(X509_CRL *crl, int nid) {
    if (nid == NID_delta_crl) {
        ASN1_INTEGER *base = ASN1_INTEGER_new();
        assert_int_equal(ASN1_INTEGER_set(base, 1), 1);
        assert_int_equal(X509_CRL_add1_ext_i2d(crl, nid, base, 1, 0), 1);
        ASN1_INTEGER_free(base);
    } else if (nid == NID_issuing_distribution_point) {
        ISSUING_DIST_POINT *point = ISSUING_DIST_POINT_new();
        point->onlyuser = 0xff;
        assert_int_equal(X509_CRL_add1_ext_i2d(crl, nid, point, 1, 0), 1);
        ISSUING_DIST_POINT_free(point);
    } else {
        X509_EXTENSION *gone = X509_CRL_delete_ext(crl, X509_CRL_get_ext_by_NID(crl, -nid, -1));
        assert_non_null(gone);
        X509_EXTENSION_free(gone);
    }
}

static void test_crl_extensions(void **state) {
    const world *w = *state;
    static const int changes[] = {NID_delta_crl, NID_issuing_distribution_point, -NID_crl_number, -NID_authority_key_identifier};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        eei_buf der = crl_of(w, NULL, 0, NOW + 10);
        const unsigned char *at = der.data;
        unsigned char *changed = NULL;
        eei_crl crl;
        X509_CRL *parsed = d2i_X509_CRL(NULL, &at, (long)der.len);
        add_crl_extension(parsed, changes[i]);
        assert_true(X509_CRL_sign(parsed, w->root->ca_key, EVP_sha256()) > 0);
        int len = i2d_X509_CRL(parsed, &changed);
        assert_int_equal(eei_crl_parse(eei_span(changed, (size_t)len), &crl, NULL), EE_E_MALFORMED);
        OPENSSL_free(changed);
        X509_CRL_free(parsed);
        eei_buf_clear(&der);
    }
    eei_buf endless = crl_of(w, NULL, 0, 0);
    eei_crl crl;
    ee_error err = {0};
    assert_int_equal(eei_crl_parse(eei_buf_span(&endless), &crl, &err), EE_E_MALFORMED);
    assert_non_null(strstr(err.message, "does not say when it ends"));
    eei_buf_clear(&endless);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_openssl),
        cmocka_unit_test(test_signature_verifies),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_odd_forms),
        cmocka_unit_test(test_other_algorithms),
        cmocka_unit_test(test_crl_lists),
        cmocka_unit_test(test_crl_mutations),
        cmocka_unit_test(test_crl_extensions),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
