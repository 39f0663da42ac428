/* parts.c - keys, certificates, CRLs and the SGX extension of a simulated platform, all through OpenSSL. Never part of a production
 * build. Called by simtdx.c, collateral.c and tests. Spec: Intel SGX PCK Certificate and CRL Profile. */
#include "simtdx/parts.h"

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

ee_status simtdx_key(EVP_PKEY **out, ee_error *err) {
    *out = EVP_EC_gen("P-256");
    return *out ? EE_OK : eei_fail(err, EE_E_INTERNAL, "P-256 key generation failed");
}

ee_status simtdx_sign(EVP_PKEY *key, ee_span message, uint8_t rs[64], ee_error *err) {
    uint8_t der[128];
    size_t der_len = sizeof der;
    const unsigned char *at = der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestSign(ctx, der, &der_len, message.data, message.len) == 1;
    ECDSA_SIG *sig = ok ? d2i_ECDSA_SIG(NULL, &at, (long)der_len) : NULL;
    ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), rs, 32) == 32 && BN_bn2binpad(ECDSA_SIG_get0_s(sig), rs + 32, 32) == 32;
    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(ctx);
    return ok ? EE_OK : eei_fail(err, EE_E_INTERNAL, "ECDSA signing failed");
}

/* ---- certificates ---- */

static bool set_name(X509_NAME *name, const char *cn) {
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0) == 1 &&
           X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"easyenclave devnet", -1, -1, 0) == 1 &&
           X509_NAME_add_entry_by_txt(name, "C", MBSTRING_ASC, (const unsigned char *)"US", -1, -1, 0) == 1;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value) {
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&ctx);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

static bool add_sgx_extension(X509 *cert, ee_span der) {
    if (!der.len) return true;
    ASN1_OBJECT *oid = OBJ_txt2obj("1.2.840.113741.1.13.1", 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *ext = NULL;
    bool ok = oid && value && ASN1_OCTET_STRING_set(value, der.data, (int)der.len) == 1;
    ok = ok && (ext = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value)) && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
    return ok;
}

static bool fill_cert(X509 *cert, const simtdx_cert *o) {
    X509 *issuer = o->issuer ? o->issuer : cert;
    char constraints[64];
    snprintf(constraints, sizeof constraints,
             o->ca ? (o->pathlen >= 0 ? "critical,CA:TRUE,pathlen:%d" : "critical,CA:TRUE") : "critical,CA:FALSE", o->pathlen);
    return X509_set_version(cert, X509_VERSION_3) == 1 && ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), o->serial) == 1 &&
           ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)o->not_before_unix_s) &&
           ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)o->not_after_unix_s) && set_name(X509_get_subject_name(cert), o->cn) &&
           X509_set_issuer_name(cert, X509_get_subject_name(issuer)) == 1 && X509_set_pubkey(cert, o->key) == 1 &&
           add_extension(cert, issuer, NID_basic_constraints, constraints) &&
           add_extension(cert, issuer, NID_key_usage,
                         o->ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature,nonRepudiation") &&
           add_extension(cert, issuer, NID_subject_key_identifier, "hash") &&
           add_extension(cert, issuer, NID_authority_key_identifier, "keyid:always") && add_sgx_extension(cert, o->sgx_extension) &&
           X509_sign(cert, o->issuer_key, o->md ? o->md : EVP_sha256()) > 0;
}

ee_status simtdx_cert_make(const simtdx_cert *options, X509 **out, ee_error *err) {
    *out = X509_new();
    if (*out && fill_cert(*out, options)) return EE_OK;
    X509_free(*out);
    *out = NULL;
    return eei_fail(err, EE_E_INTERNAL, "making the certificate \"%s\" failed", options->cn);
}

ee_status simtdx_pem(X509 *const *certs, size_t count, eei_buf *out, ee_error *err) {
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    ee_status st = bio ? EE_OK : eei_nomem(err);
    for (size_t i = 0; !st && i < count; i++)
        if (PEM_write_bio_X509(bio, certs[i]) != 1) st = eei_nomem(err);
    if (!st) {
        long len = BIO_get_mem_data(bio, &text);
        if (eei_buf_append(out, text, (size_t)len)) st = eei_nomem(err);
    }
    BIO_free(bio);
    return st;
}

/* ---- CRLs ---- */

static bool add_revoked(X509_CRL *crl, uint64_t serial, const ASN1_TIME *when) {
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    bool ok = entry && number && ASN1_INTEGER_set_uint64(number, serial) == 1 && X509_REVOKED_set_serialNumber(entry, number) == 1 &&
              X509_REVOKED_set_revocationDate(entry, (ASN1_TIME *)(uintptr_t)when) == 1 && X509_CRL_add0_revoked(crl, entry) == 1;
    ASN1_INTEGER_free(number);
    if (!ok) X509_REVOKED_free(entry);
    return ok;
}

static bool fill_crl(X509_CRL *crl, const simtdx_crl *o) {
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, o->issuer, NULL, NULL, crl, 0);
    X509V3_set_ctx_nodb(&ctx);
    ASN1_TIME *from = ASN1_TIME_set(NULL, (time_t)o->this_update_unix_s), *to = ASN1_TIME_set(NULL, (time_t)o->next_update_unix_s);
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    X509_EXTENSION *aki = X509V3_EXT_conf_nid(NULL, &ctx, NID_authority_key_identifier, "keyid:always");
    bool ok = from && to && number && aki && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
              X509_CRL_set_issuer_name(crl, X509_get_subject_name(o->issuer)) == 1 && X509_CRL_set1_lastUpdate(crl, from) == 1 &&
              (!o->next_update_unix_s || X509_CRL_set1_nextUpdate(crl, to) == 1) && X509_CRL_add_ext(crl, aki, -1) == 1 &&
              ASN1_INTEGER_set_uint64(number, o->this_update_unix_s) == 1 && X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0) == 1;
    for (size_t i = 0; ok && i < o->serial_count; i++) ok = add_revoked(crl, o->serials[i], from);
    ok = ok && X509_CRL_sort(crl) == 1 && X509_CRL_sign(crl, o->issuer_key, EVP_sha256()) > 0;
    X509_EXTENSION_free(aki);
    ASN1_INTEGER_free(number);
    ASN1_TIME_free(to);
    ASN1_TIME_free(from);
    return ok;
}

ee_status simtdx_crl_make(const simtdx_crl *options, eei_buf *der, ee_error *err) {
    X509_CRL *crl = X509_CRL_new();
    unsigned char *bytes = NULL;
    int len = crl && fill_crl(crl, options) ? i2d_X509_CRL(crl, &bytes) : 0;
    ee_status st = len > 0 ? eei_buf_append(der, bytes, (size_t)len) : EE_E_INTERNAL;
    OPENSSL_free(bytes);
    X509_CRL_free(crl);
    return st ? eei_fail(err, st, "making a CRL failed") : EE_OK;
}

/* ---- SGX extension ---- */

enum { OID_TAIL_MAX = 2, DER_SMALL_MAX = 1024 };

/* tag, definite length, content */
static bool tlv(eei_buf *out, uint8_t tag, ee_span content) {
    uint8_t head[4] = {tag, (uint8_t)content.len};
    size_t len = 2;
    if (content.len >= 0x100) {
        head[1] = 0x82;
        head[2] = (uint8_t)(content.len >> 8);
        head[3] = (uint8_t)content.len;
        len = 4;
    } else if (content.len >= 0x80) {
        head[1] = 0x81;
        head[2] = (uint8_t)content.len;
        len = 3;
    }
    return !eei_buf_append(out, head, len) && !eei_buf_append_span(out, content);
}

/* SEQUENCE {arc || tail, value}; value is already encoded. */
static bool entry(eei_buf *out, const uint8_t *tail, size_t tail_len, ee_span value) {
    static const uint8_t arc[9] = {0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01};
    uint8_t oid[sizeof arc + OID_TAIL_MAX];
    eei_buf content = EEI_BUF_INIT(DER_SMALL_MAX);
    memcpy(oid, arc, sizeof arc);
    memcpy(oid + sizeof arc, tail, tail_len);
    bool ok = tlv(&content, 0x06, eei_span(oid, sizeof arc + tail_len)) && !eei_buf_append_span(&content, value) &&
              tlv(out, 0x30, eei_buf_span(&content));
    eei_buf_clear(&content);
    return ok;
}

static bool octets_entry(eei_buf *out, uint8_t n, const uint8_t *data, size_t len) {
    eei_buf value = EEI_BUF_INIT(DER_SMALL_MAX);
    bool ok = tlv(&value, 0x04, eei_span(data, len)) && entry(out, &n, 1, eei_buf_span(&value));
    eei_buf_clear(&value);
    return ok;
}

static const uint8_t simtdx_components[16] = {3, 3, 2, 2, 4, 1, 0, 5};
enum { SIM_PCESVN = 13 };

static bool tcb_entry(eei_buf *out) {
    eei_buf list = EEI_BUF_INIT(DER_SMALL_MAX), value = EEI_BUF_INIT(DER_SMALL_MAX);
    bool ok = true;
    for (uint8_t i = 1; ok && i <= 18; i++) {
        const uint8_t tail[2] = {2, i};
        const uint8_t number[3] = {0x02, 1, i <= 16 ? simtdx_components[i - 1] : SIM_PCESVN};
        eei_buf_reset(&value);
        ok = i == 18 ? tlv(&value, 0x04, eei_span(simtdx_components, 16)) : !eei_buf_append(&value, number, sizeof number);
        ok = ok && entry(&list, tail, 2, eei_buf_span(&value));
    }
    eei_buf_reset(&value);
    ok = ok && tlv(&value, 0x30, eei_buf_span(&list)) && entry(out, (const uint8_t[]){2}, 1, eei_buf_span(&value));
    eei_buf_clear(&list);
    eei_buf_clear(&value);
    return ok;
}

static bool configuration_entry(eei_buf *out) {
    static const uint8_t yes[3] = {0x01, 1, 0xff};
    eei_buf list = EEI_BUF_INIT(DER_SMALL_MAX), value = EEI_BUF_INIT(DER_SMALL_MAX);
    bool ok = true;
    for (uint8_t i = 1; ok && i <= 3; i++) ok = entry(&list, (const uint8_t[]){7, i}, 2, eei_span(yes, sizeof yes));
    ok = ok && tlv(&value, 0x30, eei_buf_span(&list)) && entry(out, (const uint8_t[]){7}, 1, eei_buf_span(&value));
    eei_buf_clear(&list);
    eei_buf_clear(&value);
    return ok;
}

ee_status simtdx_sgx_extension(const uint8_t ppid[16], const uint8_t *piid, eei_buf *der, ee_error *err) {
    static const uint8_t pceid[2] = {0}, fmspc[6] = {'E', 'E', 'S', 'I', 'M', 0}, type[3] = {0x0a, 1, 1};
    eei_buf list = EEI_BUF_INIT(DER_SMALL_MAX);
    bool ok = octets_entry(&list, 1, ppid, 16) && tcb_entry(&list) && octets_entry(&list, 3, pceid, 2) &&
              octets_entry(&list, 4, fmspc, 6) && entry(&list, (const uint8_t[]){5}, 1, eei_span(type, sizeof type));
    if (ok && piid) ok = octets_entry(&list, 6, piid, 16) && configuration_entry(&list);
    ok = ok && tlv(der, 0x30, eei_buf_span(&list));
    eei_buf_clear(&list);
    return ok ? EE_OK : eei_nomem(err);
}
