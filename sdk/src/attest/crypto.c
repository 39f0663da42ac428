/* crypto.c - hashes over parts and raw ECDSA P-256 verification on OpenSSL. No primitives of our own, no policy.
 * Called by the other files of attest/. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "attest/crypto.h"

#include "base/alloc.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdbool.h>
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

/* ---- ECDSA ---- */

struct eei_p256 {
    EVP_PKEY *key;
};

/* The base point: some key must be there before another can take its place. Spec: SEC 2 sect. 2.4.2. */
static const uint8_t base_point[65] = {0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
                                       0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f,
                                       0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce,
                                       0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5};

/* Made once and never changed: what a key is copied from. Freeing it at exit would race with OpenSSL's own cleanup. */
static pthread_once_t model_once = PTHREAD_ONCE_INIT;
static EVP_PKEY *model;

static void make_model(void) {
    char group[] = "prime256v1";
    uint8_t point[sizeof base_point];
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
                           OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point), OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);

    memcpy(point, base_point, sizeof point);
    if (ctx && EVP_PKEY_fromdata_init(ctx) == 1) (void)EVP_PKEY_fromdata(ctx, &model, EVP_PKEY_PUBLIC_KEY, params);
    EVP_PKEY_CTX_free(ctx);
}

ee_status eei_p256_new(eei_p256 **out, ee_error *err) {
    eei_p256 *p = eei_calloc(1, sizeof *p);
    *out = NULL;
    (void)pthread_once(&model_once, make_model);
    if (p && model) p->key = EVP_PKEY_dup(model);
    if (!p || !p->key) {
        eei_p256_free(p);
        return eei_nomem(err);
    }
    *out = p;
    return EE_OK;
}

void eei_p256_free(eei_p256 *p256) {
    if (!p256) return;
    EVP_PKEY_free(p256->key);
    eei_free(p256);
}

/* One INTEGER of at most 32 bytes; returns where the next one goes. */
static uint8_t *put_integer(uint8_t *at, const uint8_t number[32]) {
    size_t skip = 0;
    while (skip < 31 && !number[skip]) skip++;
    bool sign = number[skip] & 0x80;
    *at++ = 0x02;
    *at++ = (uint8_t)(32 - skip + sign);
    if (sign) *at++ = 0;
    memcpy(at, number + skip, 32 - skip);
    return at + 32 - skip;
}

/* r||s as the ECDSA-Sig-Value that OpenSSL wants. */
static size_t signature_der(const uint8_t rs[64], uint8_t out[72]) {
    uint8_t *end = put_integer(put_integer(out + 2, rs), rs + 32);
    out[0] = 0x30;
    out[1] = (uint8_t)(end - out - 2);
    return (size_t)(end - out);
}

ee_status eei_p256_verify(eei_p256 *p256, const uint8_t xy[64], ee_span message, const uint8_t rs[64], ee_error *err) {
    uint8_t point[65] = {4}, der[72], digest[32]; /* 4: uncompressed */
    size_t der_len = signature_der(rs, der);

    memcpy(point + 1, xy, 64);
    /* OpenSSL refuses a point that is not on the curve (EC_POINT_oct2point). */
    if (EVP_PKEY_set1_encoded_public_key(p256->key, point, sizeof point) != 1)
        return eei_fail(err, EE_E_MALFORMED, "the public key is not a point on P-256");
    sha256_parts(&message, 1, digest);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(p256->key, NULL);
    if (!ctx || EVP_PKEY_verify_init(ctx) != 1) {
        EVP_PKEY_CTX_free(ctx);
        return eei_nomem(err);
    }
    /* Exactly 1 is yes; 0 and negative numbers are both no. */
    int yes = EVP_PKEY_verify(ctx, der, der_len, digest, sizeof digest);
    EVP_PKEY_CTX_free(ctx);
    return yes == 1 ? EE_OK : eei_fail(err, EE_E_AUTH, "the ECDSA signature does not verify");
}
