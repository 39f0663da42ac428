/* chain.c - certificate chains and CRLs of the attestation PKI: strict PEM, shape and roles, trust up to the pinned root, revocation.
 * OpenSSL does path validation; what it leaves open (pin, exact shape, roles, algorithms, dates) is here. Called by verify.c. */
#include "attest/crypto.h"
#include "attest/pck.h"
#include "attest/policy.h"
#include "attest/statement.h"
#include "base/alloc.h"
#include "base/encoding.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/* ---- PEM ---- */

enum { CERT_DER_MAX = 6144, PEM_LINE_MAX = 76 };

typedef struct pem_text {
    const uint8_t *at, *end;
} pem_text;

static bool take(pem_text *t, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(t->end - t->at) < len || memcmp(t->at, word, len)) return false;
    t->at += len;
    return true;
}

static bool take_eol(pem_text *t) { return take(t, "\n") || take(t, "\r\n"); }

static bool base64_char(uint8_t c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

/* The base64 lines of one certificate as one base64url text without padding. Anything odd is refused, so that no two texts mean the
 * same certificate but for line ends. */
static ee_status take_base64(pem_text *t, eei_buf *out, ee_error *err) {
    size_t line = 0, pads = 0, chars = 0;
    ee_status st = EE_OK;
    while (!st && t->at < t->end && *t->at != '-') {
        if (line && take_eol(t)) {
            line = 0;
            continue;
        }
        uint8_t c = *t->at++;
        if (c == '=' ? ++pads > 2 : pads || !base64_char(c)) return eei_fail(err, EE_E_MALFORMED, "PEM has a byte 0x%02x out of place", c);
        if (++line > PEM_LINE_MAX) return eei_fail(err, EE_E_MALFORMED, "PEM line is over %d characters", PEM_LINE_MAX);
        chars++;
        if (c == '=') continue;
        uint8_t url = c == '+' ? '-' : c == '/' ? '_' : c;
        st = eei_buf_append(out, &url, 1);
    }
    if (st == EE_E_NOMEM) return eei_nomem(err);
    if (st) return eei_fail(err, st, "PEM certificate is over %d bytes", CERT_DER_MAX);
    if (line || chars % 4) return eei_fail(err, EE_E_MALFORMED, "PEM certificate of %zu characters is cut or badly ended", chars);
    return EE_OK;
}

static bool has_der(X509 *cert, ee_span der) {
    unsigned char *own = NULL;
    int len = i2d_X509(cert, &own);
    bool same = len > 0 && (size_t)len == der.len && !memcmp(own, der.data, der.len);
    OPENSSL_free(own);
    return same;
}

typedef struct known_chains {
    const eei_chain *const *chains;
    size_t count;
} known_chains;

static X509 *find_known(const known_chains *known, ee_span der) {
    for (size_t i = 0; i < known->count; i++)
        for (size_t k = 0; k < known->chains[i]->count; k++)
            if (has_der(known->chains[i]->certs[k], der) && X509_up_ref(known->chains[i]->certs[k]) == 1) return known->chains[i]->certs[k];
    return NULL;
}

static ee_status certificate_from_der(ee_span der, X509 **out, ee_error *err) {
    const unsigned char *at = der.data;
    *out = d2i_X509(NULL, &at, (long)der.len);
    if (*out && at == der.data + der.len && has_der(*out, der)) return EE_OK;
    X509_free(*out);
    *out = NULL;
    return eei_fail(err, EE_E_MALFORMED, "a certificate of %zu bytes is not in DER form", der.len);
}

static ee_status take_certificate(pem_text *t, const known_chains *known, X509 **out, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(CERT_DER_MAX / 3 * 4), der = EEI_BUF_INIT(CERT_DER_MAX);
    ee_status st = EE_OK;
    *out = NULL;
    if (!take(t, "-----BEGIN CERTIFICATE-----") || !take_eol(t))
        return eei_fail(err, EE_E_MALFORMED, "PEM chain has something else than certificates");
    st = take_base64(t, &text, err);
    if (st) goto done;
    if (!take(t, "-----END CERTIFICATE-----") || (t->at < t->end && *t->at && !take_eol(t))) {
        st = eei_fail(err, EE_E_MALFORMED, "PEM certificate does not end properly");
        goto done;
    }
    const char *chars = eei_buf_cstr(&text);
    st = chars ? eei_base64url_decode(chars, &der, err) : eei_nomem(err);
    if (!st) *out = find_known(known, eei_buf_span(&der));
    if (!st && !*out) st = certificate_from_der(eei_buf_span(&der), out, err);
done:
    eei_buf_clear(&der);
    eei_buf_clear(&text);
    return st;
}

ee_status eei_chain_parse(ee_span pem, eei_chain *out, ee_error *err) { return eei_chain_parse_known(pem, NULL, 0, out, err); }

ee_status eei_chain_parse_known(ee_span pem, const eei_chain *const *known, size_t known_count, eei_chain *out, ee_error *err) {
    const known_chains pool = {known, known_count};
    memset(out, 0, sizeof *out);
    if (pem.len > EEI_PEM_CHAIN_BYTES_MAX)
        return eei_fail(err, EE_E_LIMIT, "PEM chain is %zu bytes, limit %d", pem.len, EEI_PEM_CHAIN_BYTES_MAX);
    if (!pem.len) return eei_fail(err, EE_E_MALFORMED, "PEM chain is empty");
    if (pem.data[pem.len - 1] == 0) pem.len--; /* DCAP's own quotes end the chain with one NUL */
    pem_text t = {pem.data, pem.data + pem.len};
    ee_status st = EE_OK;
    ERR_set_mark();
    while (!st) {
        while (take_eol(&t)) {
        }
        if (t.at == t.end) break;
        if (out->count == EEI_CHAIN_CERTS_MAX) {
            st = eei_fail(err, EE_E_LIMIT, "PEM chain has more than %d certificates", EEI_CHAIN_CERTS_MAX);
            break;
        }
        st = take_certificate(&t, &pool, &out->certs[out->count], err);
        if (!st) out->count++;
    }
    ERR_pop_to_mark();
    if (!st && !out->count) st = eei_fail(err, EE_E_MALFORMED, "PEM chain has no certificate");
    if (st) eei_chain_clear(out);
    return st;
}

void eei_chain_clear(eei_chain *chain) {
    for (size_t i = 0; i < EEI_CHAIN_CERTS_MAX; i++) X509_free(chain->certs[i]);
    memset(chain, 0, sizeof *chain);
}

/* ---- shape and roles ---- */

/* The one common name as plain ASCII; "" when there is none, several, or an odd one. */
static void common_name(const X509_NAME *name, char out[128]) {
    out[0] = '\0';
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0) return;
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    int len = ASN1_STRING_length(value);
    const unsigned char *bytes = ASN1_STRING_get0_data(value);
    if (len <= 0 || len > 127) return;
    for (int i = 0; i < len; i++)
        if (bytes[i] < 0x20 || bytes[i] > 0x7e) return;
    memcpy(out, bytes, (size_t)len);
    out[len] = '\0';
}

/* Under Intel's root a role is one exact name; another root may put its own organisation before it. Without this, any end-entity
 * certificate under the root could sign collateral. */
static bool has_role(X509 *cert, const char *role, bool intel) {
    char cn[128], exact[64];
    common_name(X509_get_subject_name(cert), cn);
    if (!intel) return strstr(cn, role) != NULL;
    snprintf(exact, sizeof exact, "Intel %s", role);
    return strcmp(cn, exact) == 0;
}

/* P-256 by name with an uncompressed point, signed with ECDSA and SHA-256: nothing else exists in this PKI. */
static bool algorithms_ok(X509 *cert) {
    ASN1_OBJECT *algorithm = NULL;
    const unsigned char *point = NULL;
    int point_len = 0, param_type = 0;
    X509_ALGOR *params = NULL;
    const void *param = NULL;
    const ASN1_OBJECT *oid = NULL;
    if (X509_get_signature_nid(cert) != NID_ecdsa_with_SHA256) return false;
    X509_PUBKEY *spki = X509_get_X509_PUBKEY(cert);
    if (!spki || X509_PUBKEY_get0_param(&algorithm, &point, &point_len, &params, spki) != 1) return false;
    X509_ALGOR_get0(&oid, &param_type, &param, params);
    return OBJ_obj2nid(oid) == NID_X9_62_id_ecPublicKey && param_type == V_ASN1_OBJECT && OBJ_obj2nid(param) == NID_X9_62_prime256v1 &&
           point_len == 65 && point[0] == 4 && X509_get0_pubkey(cert) != NULL;
}

/* Validity is inclusive at both ends (RFC 5280 sect. 4.1.2.5). OpenSSL's own check refuses the last second, and would refuse CRLs that
 * end in the same second as the TCB info they came with; so it is told not to look, and this is the only check of dates. */
static ee_status dates_check(const ASN1_TIME *from, const ASN1_TIME *to, const char *what, uint64_t now, ee_error *err) {
    if (now > INT64_MAX / 2) return eei_fail(err, EE_E_EXPIRED, "the time given is out of range");
    int begins = ASN1_TIME_cmp_time_t(from, (time_t)now), ends = ASN1_TIME_cmp_time_t(to, (time_t)now);
    if (begins == -2 || ends == -2) return eei_fail(err, EE_E_MALFORMED, "%s has a date that does not parse", what);
    if (begins > 0) return eei_fail(err, EE_E_EXPIRED, "%s is not valid yet", what);
    if (ends < 0) return eei_fail(err, EE_E_EXPIRED, "%s is expired", what);
    return EE_OK;
}

static ee_status certificate_check(X509 *cert, bool ca, const char *what, uint64_t now, ee_error *err) {
    uint32_t want = ca ? KU_KEY_CERT_SIGN | KU_CRL_SIGN : KU_DIGITAL_SIGNATURE;
    int is_ca = X509_check_ca(cert); /* also fills OpenSSL's view of the extensions */
    uint32_t usage = X509_get_key_usage(cert);
    if (X509_get_version(cert) != X509_VERSION_3) return eei_fail(err, EE_E_AUTH, "%s is not an X.509 v3 certificate", what);
    if (X509_get_extension_flags(cert) & EXFLAG_INVALID) return eei_fail(err, EE_E_AUTH, "%s has an extension that does not parse", what);
    if (is_ca != (ca ? 1 : 0)) return eei_fail(err, EE_E_AUTH, "%s is %sa CA, and must %sbe", what, is_ca ? "" : "not ", ca ? "" : "not ");
    if (!(X509_get_extension_flags(cert) & EXFLAG_KUSAGE) || (usage & want) != want || (!ca && usage & KU_KEY_CERT_SIGN))
        return eei_fail(err, EE_E_AUTH, "%s has the wrong key usage", what);
    if (!algorithms_ok(cert)) return eei_fail(err, EE_E_AUTH, "%s does not use P-256 and SHA-256", what);
    return dates_check(X509_get0_notBefore(cert), X509_get0_notAfter(cert), what, now, err);
}

static ee_status root_check(X509 *root, const uint8_t anchor[32], ee_error *err) {
    unsigned char *der = NULL;
    uint8_t hash[32];
    char hex[65];
    int len = i2d_X509(root, &der);
    if (len <= 0) return eei_nomem(err);
    eei_sha256(eei_span(der, (size_t)len), hash);
    OPENSSL_free(der);
    if (eei_secret_equal(eei_span(hash, 32), eei_span(anchor, 32))) return EE_OK;
    eei_hex_encode(eei_span(hash, 8), hex);
    return eei_fail(err, EE_E_AUTH, "the root certificate (SHA-256 %s...) is not the policy's trust anchor", hex);
}

ee_status eei_chain_check(const eei_chain *chain, eei_chain_kind kind, const uint8_t anchor[32], uint64_t now_unix_s, ee_error *err) {
    static const struct {
        const char *what;
        size_t count;
        const char *names[3];
    } kinds[] = {
        [EEI_CHAIN_PCK] = {"PCK chain", 3, {"PCK certificate", "PCK CA certificate", "root certificate"}},
        [EEI_CHAIN_TCB_SIGNER] = {"TCB signing chain", 2, {"TCB signing certificate", "root certificate"}},
    };
    size_t count = kinds[kind].count;
    bool intel = !memcmp(anchor, eei_anchor_intel, 32);
    if (chain->count != count)
        return eei_fail(err, EE_E_AUTH, "%s has %zu certificates, must have %zu", kinds[kind].what, chain->count, count);
    X509 *leaf = chain->certs[0], *root = chain->certs[count - 1];
    ee_status st = root_check(root, anchor, err);
    for (size_t i = 0; !st && i < count; i++) st = certificate_check(chain->certs[i], i > 0, kinds[kind].names[i], now_unix_s, err);
    if (st) return st;
    for (size_t i = 0; i < count; i++)
        if (X509_NAME_cmp(X509_get_issuer_name(chain->certs[i]), X509_get_subject_name(chain->certs[i + 1 < count ? i + 1 : i])))
            return eei_fail(err, EE_E_AUTH, "%s names another issuer than the next certificate", kinds[kind].names[i]);
    bool roles = has_role(root, "SGX Root CA", intel);
    if (kind == EEI_CHAIN_PCK) {
        X509 *ca = chain->certs[1];
        roles = roles && has_role(leaf, "SGX PCK Certificate", intel) &&
                (has_role(ca, "SGX PCK Platform CA", intel) || has_role(ca, "SGX PCK Processor CA", intel));
    } else {
        roles = roles && has_role(leaf, "SGX TCB Signing", intel);
    }
    return roles ? EE_OK
                 : eei_fail(err, EE_E_AUTH, "%s: a certificate does not have the role its place needs (common name)", kinds[kind].what);
}

/* ---- CRLs ---- */

/* The extension exactly once. */
static bool crl_extension_once(const X509_CRL *crl, int nid) {
    int at = X509_CRL_get_ext_by_NID(crl, nid, -1);
    return at >= 0 && X509_CRL_get_ext_by_NID(crl, nid, at) < 0;
}

ee_status eei_crl_check(X509_CRL *crl, X509 *issuer, const char *what, uint64_t now_unix_s, ee_error *err) {
    if (X509_CRL_get_version(crl) != X509_CRL_VERSION_2 || X509_CRL_get_signature_nid(crl) != NID_ecdsa_with_SHA256)
        return eei_fail(err, EE_E_AUTH, "%s is not a version 2 CRL signed with ECDSA and SHA-256", what);
    if (X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(issuer)))
        return eei_fail(err, EE_E_AUTH, "%s is issued by another CA than the one it is needed for", what);
    if (!crl_extension_once(crl, NID_crl_number) || !crl_extension_once(crl, NID_authority_key_identifier))
        return eei_fail(err, EE_E_AUTH, "%s must have one CRL number and one authority key identifier", what);
    /* A CRL that speaks only for some certificates says nothing about the others. */
    if (X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0 || X509_CRL_get_ext_by_NID(crl, NID_issuing_distribution_point, -1) >= 0)
        return eei_fail(err, EE_E_AUTH, "%s is a partial CRL", what);
    if (!X509_CRL_get0_nextUpdate(crl)) return eei_fail(err, EE_E_AUTH, "%s does not say when it ends", what);
    return dates_check(X509_CRL_get0_lastUpdate(crl), X509_CRL_get0_nextUpdate(crl), what, now_unix_s, err);
}

/* ---- trust ---- */

static ee_status validate(X509_STORE_CTX *ctx, const eei_chain *chain, bool *revoked, ee_error *err) {
    if (X509_verify_cert(ctx) != 1) {
        int why = X509_STORE_CTX_get_error(ctx);
        if (why == X509_V_ERR_OUT_OF_MEM) return eei_nomem(err);
        *revoked = why == X509_V_ERR_CERT_REVOKED;
        ee_status st = eei_fail(err, EE_E_AUTH, "certificate %d of the chain: %s", X509_STORE_CTX_get_error_depth(ctx),
                                X509_verify_cert_error_string(why));
        if (err) err->native_code = (uint32_t)why;
        return st;
    }
    /* The path OpenSSL found must be the chain as delivered, each certificate in its place. */
    STACK_OF(X509) *path = X509_STORE_CTX_get0_chain(ctx);
    if (!path || sk_X509_num(path) != (int)chain->count)
        return eei_fail(err, EE_E_AUTH, "the validated path is not the chain that was delivered");
    for (size_t i = 0; i < chain->count; i++)
        if (X509_cmp(sk_X509_value(path, (int)i), chain->certs[i]))
            return eei_fail(err, EE_E_AUTH, "the validated path is not the chain that was delivered");
    return EE_OK;
}

ee_status eei_trust_check(const eei_chain *chain, X509_CRL *const *crls, size_t crl_count, bool *revoked, ee_error *err) {
    ee_status st = EE_OK;
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *between = sk_X509_new_null();
    *revoked = false;
    bool ok = store && ctx && between && chain->count >= 2 && X509_STORE_add_cert(store, chain->certs[chain->count - 1]) == 1;
    for (size_t i = 1; ok && i + 1 < chain->count; i++) ok = sk_X509_push(between, chain->certs[i]) > 0;
    for (size_t i = 0; ok && i < crl_count; i++) ok = X509_STORE_add_crl(store, crls[i]) == 1;
    if (!ok || X509_STORE_CTX_init(ctx, store, chain->certs[0], between) != 1) {
        st = eei_nomem(err);
        goto done;
    }
    unsigned long flags = X509_V_FLAG_X509_STRICT | X509_V_FLAG_NO_CHECK_TIME; /* dates: dates_check() */
    if (crl_count) flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    if (X509_VERIFY_PARAM_set_flags(param, flags) != 1) {
        st = eei_nomem(err);
        goto done;
    }
    X509_VERIFY_PARAM_set_depth(param, (int)chain->count - 1);
    X509_VERIFY_PARAM_set_auth_level(param, 3); /* 128 bits: what P-256 and SHA-256 have */
    st = validate(ctx, chain, revoked, err);
done:
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    sk_X509_free(between);
    return st;
}
