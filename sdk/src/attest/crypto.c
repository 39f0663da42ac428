/* crypto.c - hashes over parts and raw ECDSA P-256 verification on OpenSSL. No primitives of our own, no policy.
 * Called by the other files of attest/. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "attest/crypto.h"

#include "base/alloc.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/params.h>
#include <openssl/sha.h>
#include <string.h>

/* OpenSSL's plain SHA functions: EVP digests allocate, and so could fail in the middle of a verification or a log. They are marked
 * deprecated for want of provider support, not of soundness. */
static void sha256_parts(const ee_span *parts, size_t count, uint8_t *out) {
    SHA256_CTX ctx;
    SHA256_Init(&ctx);
    for (size_t i = 0; i < count; i++)
        if (parts[i].len) SHA256_Update(&ctx, parts[i].data, parts[i].len);
    SHA256_Final(out, &ctx);
}

void eei_hash_parts(eei_hash hash, const ee_span *parts, size_t count, uint8_t *out) {
    SHA512_CTX ctx;
    if (hash == EEI_SHA256) {
        sha256_parts(parts, count, out);
        return;
    }
    EE_ASSERT((hash == EEI_SHA384 ? SHA384_Init(&ctx) : SHA512_Init(&ctx)) == 1);
    for (size_t i = 0; i < count; i++)
        if (parts[i].len) SHA512_Update(&ctx, parts[i].data, parts[i].len);
    SHA512_Final(out, &ctx); /* also ends a SHA-384: the context knows its length */
}

ee_status eei_p256_key(const uint8_t xy[64], EVP_PKEY **out, ee_error *err) {
    uint8_t point[65] = {4}; /* uncompressed */
    char group[] = "prime256v1";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
                           OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point), OSSL_PARAM_construct_end()};
    ee_status st = EE_OK;

    *out = NULL;
    memcpy(point + 1, xy, 64);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (!ctx) return eei_nomem(err);
    /* fromdata refuses a point that is not on the curve (EC_POINT_oct2point). */
    if (EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, out, EVP_PKEY_PUBLIC_KEY, params) != 1 || !*out) {
        EVP_PKEY_free(*out);
        *out = NULL;
        st = eei_fail(err, EE_E_MALFORMED, "the public key is not a point on P-256");
    }
    EVP_PKEY_CTX_free(ctx);
    return st;
}

/* r||s as the DER that OpenSSL wants. */
static ee_status signature_der(const uint8_t rs[64], uint8_t **der, int *der_len, ee_error *err) {
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(rs, 32, NULL), *s = BN_bin2bn(rs + 32, 32, NULL);
    *der = NULL;
    if (!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return eei_nomem(err);
    }
    *der_len = i2d_ECDSA_SIG(sig, der);
    ECDSA_SIG_free(sig);
    return *der_len > 0 ? EE_OK : eei_nomem(err);
}

ee_status eei_p256_verify(EVP_PKEY *key, ee_span message, const uint8_t rs[64], ee_error *err) {
    uint8_t *der = NULL;
    int der_len = 0;
    EVP_MD_CTX *ctx = NULL;
    ee_status st = signature_der(rs, &der, &der_len, err);
    if (st) goto done;
    ctx = EVP_MD_CTX_new();
    if (!ctx) {
        st = eei_nomem(err);
        goto done;
    }
    /* Exactly 1 is yes; 0 and negative numbers are both no. */
    if (EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestVerify(ctx, der, (size_t)der_len, message.data, message.len) != 1)
        st = eei_fail(err, EE_E_AUTH, "the ECDSA signature does not verify");
done:
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    return st;
}
