/* request.c - the text of a signed HTTP request, and account keys from "ee_sk_..." seeds. See request.h. */
#include "request.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/encoding.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <string.h>

#define KEY_PREFIX "ee_sk_"
enum { SEED_BYTES = 32, CHECKSUM_BYTES = 4 };

ee_status eei_request_text(const eei_request_parts *parts, eei_buf *out, ee_error *err) {
    uint8_t hash[32];
    char body_hex[65], nonce_hex[33], instance_hex[65];

    eei_sha256(parts->body, hash);
    eei_hex_encode(eei_span(hash, sizeof hash), body_hex);
    eei_hex_encode(eei_span(parts->nonce, sizeof parts->nonce), nonce_hex);
    eei_hex_encode(eei_span(parts->control_instance, 32), instance_hex);
    ee_status st = eei_buf_printf(out, "EE-REQUEST-1\n%s\n%s\n%s\n%s\n%llu\n%s\n%s\n%s\n", parts->method, parts->host, parts->path_query,
                                  body_hex, (unsigned long long)parts->time_ms, nonce_hex, instance_hex, parts->idempotency_key);
    return st ? eei_fail(err, st, "signing the request: its text is too long") : EE_OK;
}

static void checksum(const uint8_t seed[SEED_BYTES], uint8_t out[CHECKSUM_BYTES]) {
    uint8_t text[8 + SEED_BYTES], hash[32];
    memcpy(text, "EE1-seed", 8);
    memcpy(text + 8, seed, SEED_BYTES);
    eei_sha256(eei_span(text, sizeof text), hash);
    memcpy(out, hash, CHECKSUM_BYTES);
    eei_wipe(text, sizeof text);
    eei_wipe(hash, sizeof hash);
}

ee_status eei_api_key_generate(char out[EEI_API_KEY_TEXT_MAX], ee_error *err) {
    uint8_t raw[SEED_BYTES + CHECKSUM_BYTES];
    eei_buf text = EEI_BUF_INIT_SECRET(EEI_API_KEY_TEXT_MAX);
    ee_status st = eei_random(raw, SEED_BYTES, err);
    if (st) goto done;
    checksum(raw, raw + SEED_BYTES);
    st = eei_buf_append_text(&text, KEY_PREFIX);
    if (!st) st = eei_base64url_encode(eei_span(raw, sizeof raw), &text);
    if (st) {
        st = eei_fail(err, st, "making an API key");
        goto done;
    }
    memcpy(out, text.data, text.len);
    out[text.len] = 0;
done:
    eei_wipe(raw, sizeof raw);
    eei_buf_clear(&text);
    return st;
}

static ee_status derive(const uint8_t seed[SEED_BYTES], uint8_t out[32], ee_error *err) {
    size_t len = 32;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
    bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_CTX_set_hkdf_md(ctx, EVP_sha256()) == 1 &&
              EVP_PKEY_CTX_set1_hkdf_salt(ctx, (const unsigned char *)"easyenclave", 11) == 1 &&
              EVP_PKEY_CTX_set1_hkdf_key(ctx, seed, SEED_BYTES) == 1 &&
              EVP_PKEY_CTX_add1_hkdf_info(ctx, (const unsigned char *)"EE1-account-sign", 16) == 1 && EVP_PKEY_derive(ctx, out, &len) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok ? EE_OK : eei_fail(err, EE_E_NOMEM, "deriving the account key failed");
}

ee_status eei_api_key_load(const char *api_key, eei_key **out, ee_error *err) {
    eei_buf raw = EEI_BUF_INIT_SECRET(64);
    uint8_t sum[CHECKSUM_BYTES], seed[32];
    ee_status st = EE_E_CONFIG;

    *out = NULL;
    if (strncmp(api_key, KEY_PREFIX, strlen(KEY_PREFIX)) != 0) {
        st = eei_fail(err, EE_E_CONFIG, "the API key does not start with " KEY_PREFIX);
        goto done;
    }
    if (eei_base64url_decode(api_key + strlen(KEY_PREFIX), &raw, NULL) || raw.len != SEED_BYTES + CHECKSUM_BYTES) {
        st = eei_fail(err, EE_E_CONFIG, "the API key is not whole: it must be " KEY_PREFIX " and 48 characters");
        goto done;
    }
    checksum(raw.data, sum);
    if (CRYPTO_memcmp(sum, raw.data + SEED_BYTES, CHECKSUM_BYTES) != 0) {
        st = eei_fail(err, EE_E_CONFIG, "the API key has a typing mistake: its checksum does not fit");
        goto done;
    }
    st = derive(raw.data, seed, err);
    if (!st) st = eei_key_from_seed(seed, out, err);
    eei_wipe(seed, sizeof seed);
done:
    eei_buf_clear(&raw);
    return st;
}
