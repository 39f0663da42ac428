/* digest.c - SHA-256 in pieces and HMAC-SHA-256 by OpenSSL. Failing to hash is our own bug or out of memory at start, never input. */
#include "digest.h"

#include "base/alloc.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

struct eei_sha256_ctx {
    EVP_MD_CTX *md;
};

ee_status eei_sha256_new(eei_sha256_ctx **out, ee_error *err) {
    eei_sha256_ctx *ctx = eei_calloc(1, sizeof *ctx);
    *out = NULL;
    if (!ctx) return eei_nomem(err);
    ctx->md = EVP_MD_CTX_new();
    if (!ctx->md || EVP_DigestInit_ex(ctx->md, EVP_sha256(), NULL) != 1) {
        eei_sha256_free(ctx);
        return eei_nomem(err);
    }
    *out = ctx;
    return EE_OK;
}

void eei_sha256_add(eei_sha256_ctx *ctx, ee_span data) { EE_ASSERT(EVP_DigestUpdate(ctx->md, data.data, data.len) == 1); }

void eei_sha256_end(eei_sha256_ctx *ctx, uint8_t out[32]) {
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    unsigned len = 32;
    EE_ASSERT(copy && EVP_MD_CTX_copy_ex(copy, ctx->md) == 1);
    EE_ASSERT(EVP_DigestFinal_ex(copy, out, &len) == 1);
    EVP_MD_CTX_free(copy);
}

void eei_sha256_free(eei_sha256_ctx *ctx) {
    if (!ctx) return;
    EVP_MD_CTX_free(ctx->md);
    eei_free(ctx);
}

void eei_hmac_sha256(const uint8_t key[32], ee_span data, uint8_t out[32]) {
    unsigned len = 32;
    static const uint8_t none = 0;
    EE_ASSERT(HMAC(EVP_sha256(), key, 32, data.data ? data.data : &none, data.len, out, &len) != NULL);
}

static void be32(uint8_t out[4], size_t value) {
    for (size_t i = 0; i < 4; i++) out[i] = (uint8_t)(value >> (24 - 8 * i));
}

void eei_env_commitment(const uint8_t key[32], const ee_span *names, const ee_span *values, size_t count, uint8_t out[32]) {
    /* A hash of the length-prefixed pieces, then one HMAC over it: no copy of the secrets is made. */
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t hash[32], length[4];
    unsigned len = 32;
    EE_ASSERT(md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
    for (size_t i = 0; i < count; i++) {
        be32(length, names[i].len);
        EE_ASSERT(EVP_DigestUpdate(md, length, 4) == 1 && EVP_DigestUpdate(md, names[i].data, names[i].len) == 1);
        be32(length, values[i].len);
        EE_ASSERT(EVP_DigestUpdate(md, length, 4) == 1 && EVP_DigestUpdate(md, values[i].data, values[i].len) == 1);
    }
    EE_ASSERT(EVP_DigestFinal_ex(md, hash, &len) == 1);
    EVP_MD_CTX_free(md);
    eei_hmac_sha256(key, eei_span(hash, sizeof hash), out);
}
