/* digest.h - SHA-256 in pieces and HMAC-SHA-256, so that nobody above attest touches OpenSSL for them. Pure.
 * Called by client and agent for output hashes and commitments. */
#ifndef EEI_DIGEST_H
#define EEI_DIGEST_H
#include "base/buf.h"

typedef struct eei_sha256_ctx eei_sha256_ctx;
ee_status eei_sha256_new(eei_sha256_ctx **out, ee_error *err) EE_MUST_USE;
void eei_sha256_add(eei_sha256_ctx *ctx, ee_span data);
void eei_sha256_end(eei_sha256_ctx *ctx, uint8_t out[32]); /* the hash so far; more may be added after */
void eei_sha256_free(eei_sha256_ctx *ctx);

void eei_hmac_sha256(const uint8_t key[32], ee_span data, uint8_t out[32]);

/* Commitment to an environment: HMAC over the SHA-256 of u32be name length || name ||
 * u32be value length || value of each, sorted by name. */
void eei_env_commitment(const uint8_t key[32], const ee_span *names, const ee_span *values, size_t count, uint8_t out[32]);
#endif
