/* ratls.c - certificates that carry evidence, and the TLS pieces around them. Decides nothing: judge.c does. Called by prover, judge,
 * session, channel and net. Proto: docs/protocol.md#certificate */
#include "ratls/ratls.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "ratls/tls_io.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

ee_status eei_tls_fail(ee_error *err, ee_status status, const char *what) {
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    if (status == EE_E_NOMEM && RAND_status() != 1) { /* OpenSSL makes no context then, and we took it for memory (threat Q8) */
        status = EE_E_IO;
        what = "no randomness from the system";
    }
    ERR_clear_error();
    eei_fail(err, status, "TLS: %s%s%s", what, reason ? ": " : "", reason ? reason : "");
    if (err) err->native_code = (uint32_t)code;
    return status;
}

/* ---- making ----------------------------------------------------------------------------------------------------------- */

static bool push_name(GENERAL_NAMES *names, int type, const void *data, size_t len) {
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = ASN1_STRING_type_new(type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);

    if (!name || !value || ASN1_STRING_set(value, data, (int)len) != 1) goto fail;
    GENERAL_NAME_set0_value(name, type, value);
    value = NULL;
    if (sk_GENERAL_NAME_push(names, name) <= 0) goto fail;
    return true;
fail:
    ASN1_STRING_free(value);
    GENERAL_NAME_free(name);
    return false;
}

static bool push_ip(GENERAL_NAMES *names, const char *text) {
    uint8_t ip[16];

    if (inet_pton(AF_INET, text, ip) == 1) return push_name(names, GEN_IPADD, ip, 4);
    if (inet_pton(AF_INET6, text, ip) == 1) return push_name(names, GEN_IPADD, ip, 16);
    return false;
}

/* Built from parts, not from configuration text, where a comma in a name would make two. */
static bool add_names(X509 *certificate, const eei_certificate_options *o) {
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    bool ok = names && push_name(names, GEN_URI, o->uri, strlen(o->uri)) &&
              (!o->dns_name || push_name(names, GEN_DNS, o->dns_name, strlen(o->dns_name))) &&
              (!o->ip_address || push_ip(names, o->ip_address)) &&
              X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 1, X509V3_ADD_DEFAULT) == 1; /* critical: the subject is empty */

    GENERAL_NAMES_free(names);
    return ok;
}

static bool add_usage(X509 *certificate) {
    EXTENDED_KEY_USAGE *usage = sk_ASN1_OBJECT_new_null();
    bool ok = usage && sk_ASN1_OBJECT_push(usage, OBJ_nid2obj(NID_server_auth)) > 0 &&
              X509_add1_ext_i2d(certificate, NID_ext_key_usage, usage, 0, X509V3_ADD_DEFAULT) == 1;

    sk_ASN1_OBJECT_free(usage); /* the objects are OpenSSL's own */
    return ok;
}

static bool add_evidence(X509 *certificate, ee_span evidence) {
    ASN1_OBJECT *oid = OBJ_txt2obj(EEI_EVIDENCE_OID, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;
    bool ok = oid && value && ASN1_OCTET_STRING_set(value, evidence.data, (int)evidence.len) == 1 &&
              (extension = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value)) && X509_add_ext(certificate, extension, -1) == 1;

    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
    return ok;
}

static bool set_serial(X509 *certificate, const uint8_t random[16]) {
    BIGNUM *number = BN_bin2bn(random, 16, NULL);
    bool ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));

    BN_free(number);
    return ok;
}

ee_status eei_certificate_make(const eei_certificate_options *o, X509 **out, ee_error *err) {
    ee_status st;
    uint8_t serial[16];
    X509 *c = NULL;

    *out = NULL;
    if (o->evidence.len > EEI_EVIDENCE_BYTES_MAX)
        return eei_fail(err, EE_E_LIMIT, "evidence is %zu bytes, a certificate carries at most %u", o->evidence.len,
                        EEI_EVIDENCE_BYTES_MAX);
    if (o->not_after_s <= o->not_before_s) return eei_fail(err, EE_E_INVALID, "certificate ends before it begins");
    st = eei_random(serial, sizeof serial, err);
    if (st) return st;
    serial[0] &= 0x7f;
    c = X509_new();
    if (!c || X509_set_version(c, X509_VERSION_3) != 1 || !set_serial(c, serial) ||
        !ASN1_TIME_set(X509_getm_notBefore(c), (time_t)o->not_before_s) || !ASN1_TIME_set(X509_getm_notAfter(c), (time_t)o->not_after_s) ||
        X509_set_pubkey(c, o->key) != 1 || !add_names(c, o) || !add_usage(c) || !add_evidence(c, o->evidence) ||
        X509_sign(c, o->key, EVP_sha256()) <= 0) {
        st = eei_tls_fail(err, EE_E_INTERNAL, "certificate");
        goto done;
    }
    *out = eei_take(&c);
done:
    X509_free(c);
    return st;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

ee_status eei_certificate_evidence(X509 *certificate, ee_span *out, ee_error *err) {
    ASN1_OBJECT *oid = OBJ_txt2obj(EEI_EVIDENCE_OID, 1);
    ASN1_OCTET_STRING *value = NULL;
    int at = -1, found = 0;

    *out = eei_span(NULL, 0);
    if (!oid) return eei_nomem(err);
    while ((at = X509_get_ext_by_OBJ(certificate, oid, at)) >= 0) {
        value = X509_EXTENSION_get_data(X509_get_ext(certificate, at));
        found++;
    }
    ASN1_OBJECT_free(oid);
    /* Two would let one reader check the first and another trust the second (threat Q18). */
    if (found != 1) return eei_fail(err, EE_E_ATTESTATION, "certificate has %d evidence extensions, exactly 1 is allowed", found);
    int len = ASN1_STRING_length(value);
    if (len <= 0 || (size_t)len > EEI_EVIDENCE_BYTES_MAX)
        return eei_fail(err, EE_E_ATTESTATION, "certificate's evidence is %d bytes, 1 to %u are allowed", len, EEI_EVIDENCE_BYTES_MAX);
    *out = eei_span(ASN1_STRING_get0_data(value), (size_t)len);
    return EE_OK;
}

ee_status eei_certificate_spki_sha256(X509 *certificate, uint8_t out[32], ee_error *err) {
    uint8_t *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);

    if (len <= 0) return eei_tls_fail(err, EE_E_MALFORMED, "public key of the certificate");
    eei_sha256(eei_span(der, (size_t)len), out);
    OPENSSL_free(der);
    return EE_OK;
}

/* ---- connections ------------------------------------------------------------------------------------------------------ */

/* Evidence decides, not a chain to a CA: the caller judges the certificate before the first byte (docs/protocol.md#certificate). */
static int accept_for_judging(X509_STORE_CTX *store, void *user) {
    (void)store;
    (void)user;
    return 1;
}

ee_status eei_client_ctx_new(SSL_CTX **out, ee_error *err) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    ee_status st;

    *out = NULL;
    if (!ctx) return eei_tls_fail(err, EE_E_NOMEM, "context");
    st = eei_tls_harden(ctx, err);
    if (st) {
        SSL_CTX_free(ctx);
        return st;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, accept_for_judging, NULL);
    *out = ctx;
    return EE_OK;
}

ee_status eei_tls_binder(SSL *ssl, const uint8_t nonce[32], uint8_t out[32], ee_error *err) {
    static const char label[] = EEI_EXPORTER_LABEL;

    memset(out, 0, 32);
    if (!SSL_is_init_finished(ssl)) return eei_fail(err, EE_E_STATE, "TLS handshake is not done, there is nothing to bind to");
    if (SSL_version(ssl) != TLS1_3_VERSION)
        return eei_fail(err, EE_E_VERSION, "%s has no usable exporter, TLS 1.3 is needed", SSL_get_version(ssl));
    if (SSL_export_keying_material(ssl, out, 32, label, sizeof label - 1, nonce, 32, 1) != 1)
        return eei_tls_fail(err, EE_E_INTERNAL, "exporter");
    return EE_OK;
}
