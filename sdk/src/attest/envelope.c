/* envelope.c - Ed25519 signatures over typed, length-prefixed bodies, and the keys that make them. No message formats.
 * Called wherever something is signed or a signature is checked. Proto: docs/protocol.md#envelope */
#include "attest/envelope.h"

#include "attest/crypto.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/reader.h"
#include "base/writer.h"

#include <openssl/evp.h>
#include <string.h>
#include <sys/mman.h>

enum { SEED_PAGE_BYTES = 4096, SIG_INPUT_PREFIX_BYTES = 4 + 2 + 32 + 4 };

struct eei_key {
    uint8_t *seed; /* alone in a page that core dumps and forked children do not get */
    uint8_t pub[32];
    uint8_t id[32];
};

void eei_key_id(const uint8_t pub[32], uint8_t out[32]) {
    const ee_span parts[] = {eei_span_text("EE1-key"), eei_span_text("ed25519"), {pub, 32}};
    eei_hash_parts(EEI_SHA256, parts, 3, out);
}

void eei_key_free(eei_key *key) {
    if (!key) return;
    if (key->seed) {
        eei_wipe(key->seed, 32);
        munmap(key->seed, SEED_PAGE_BYTES);
    }
    eei_wipe(key, sizeof *key);
    eei_free(key);
}

ee_status eei_key_from_seed(const uint8_t seed[32], eei_key **out, ee_error *err) {
    ee_status st = EE_OK;
    EVP_PKEY *pkey = NULL;
    size_t pub_len = 32;

    *out = NULL;
    eei_key *key = eei_calloc(1, sizeof *key);
    if (!key) return eei_nomem(err);
    void *page = mmap(NULL, SEED_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        st = eei_nomem(err);
        goto done;
    }
    key->seed = page;
    /* Best effort: an old kernel or a low lock limit does not stop us from running. */
    (void)madvise(page, SEED_PAGE_BYTES, MADV_DONTDUMP);
    (void)madvise(page, SEED_PAGE_BYTES, MADV_WIPEONFORK);
    (void)mlock(page, SEED_PAGE_BYTES);
    memcpy(key->seed, seed, 32);
    pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key->seed, 32);
    if (!pkey || EVP_PKEY_get_raw_public_key(pkey, key->pub, &pub_len) != 1 || pub_len != 32) {
        st = eei_nomem(err);
        goto done;
    }
    eei_key_id(key->pub, key->id);
    *out = eei_take(&key);
done:
    EVP_PKEY_free(pkey);
    eei_key_free(key);
    return st;
}

ee_status eei_key_generate(eei_key **out, ee_error *err) {
    uint8_t seed[32];
    *out = NULL;
    ee_status st = eei_random(seed, sizeof seed, err);
    if (!st) st = eei_key_from_seed(seed, out, err);
    eei_wipe(seed, sizeof seed);
    return st;
}

const uint8_t *eei_key_public(const eei_key *key) { return key->pub; }

/* "EE1\0" || u16be type || key_id || u32be length || body */
static ee_status sig_input(uint16_t type, const uint8_t key_id[32], ee_span body, eei_buf *out, ee_error *err) {
    if (body.len > EEI_MESSAGE_BYTES_MAX)
        return eei_fail(err, EE_E_LIMIT, "signed body is %zu bytes, limit %u", body.len, EEI_MESSAGE_BYTES_MAX);
    eei_writer w = eei_writer_init(out);
    eei_write_bytes(&w, "EE1", 4);
    eei_write_u16be(&w, type);
    eei_write_bytes(&w, key_id, 32);
    eei_write_u32be(&w, (uint32_t)body.len);
    eei_write_bytes(&w, body.data, body.len);
    return w.status ? eei_fail(err, w.status, "no memory for the signed bytes") : EE_OK;
}

ee_status eei_sign(const eei_key *key, uint16_t type, ee_span body, uint8_t signature[64], ee_error *err) {
    eei_buf input = EEI_BUF_INIT_SECRET(SIG_INPUT_PREFIX_BYTES + EEI_MESSAGE_BYTES_MAX);
    EVP_PKEY *pkey = NULL;
    EVP_MD_CTX *ctx = NULL;
    size_t sig_len = 64;

    ee_status st = sig_input(type, key->id, body, &input, err);
    if (st) goto done;
    /* Made anew each time (20 us): OpenSSL's copy of the key lives only for this call, and threads share nothing. */
    pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key->seed, 32);
    ctx = EVP_MD_CTX_new();
    if (!pkey || !ctx || EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) != 1 ||
        EVP_DigestSign(ctx, signature, &sig_len, input.data, input.len) != 1 || sig_len != 64)
        st = eei_fail(err, EE_E_INTERNAL, "Ed25519 signing failed");
done:
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    eei_buf_clear(&input);
    return st;
}

/* Points of small order make signatures that fit many messages (a zeroed key is one). Nobody has such a key by accident. */
static bool small_order(const uint8_t pub[32]) {
    static const uint8_t points[7][32] = {
        {0},
        {1},
        {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
         0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
        {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
         0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
        {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
        {0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
        {0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    };
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        if (!memcmp(pub, points[i], 31) && (pub[31] & 0x7f) == points[i][31]) return true;
    return false;
}

ee_status eei_verify(const uint8_t pub[32], uint16_t type, ee_span body, const uint8_t signature[64], ee_error *err) {
    eei_buf input = EEI_BUF_INIT_SECRET(SIG_INPUT_PREFIX_BYTES + EEI_MESSAGE_BYTES_MAX);
    EVP_PKEY *pkey = NULL;
    EVP_MD_CTX *ctx = NULL;
    uint8_t id[32];

    if (small_order(pub)) return eei_fail(err, EE_E_AUTH, "the Ed25519 public key is a point of small order");
    eei_key_id(pub, id);
    ee_status st = sig_input(type, id, body, &input, err);
    if (st) goto done;
    pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pub, 32);
    ctx = EVP_MD_CTX_new();
    if (!pkey || !ctx || EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) != 1) {
        st = eei_nomem(err);
        goto done;
    }
    if (EVP_DigestVerify(ctx, signature, 64, input.data, input.len) != 1)
        st = eei_fail(err, EE_E_AUTH, "the signature of a type 0x%02x body does not verify", type);
done:
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    eei_buf_clear(&input);
    return st;
}

ee_status eei_envelope_seal(const eei_key *key, uint16_t type, ee_span body, eei_buf *out, ee_error *err) {
    uint8_t signature[64];
    size_t before = out->len;
    ee_status st = eei_sign(key, type, body, signature, err);
    if (st) return st;
    eei_writer w = eei_writer_init(out);
    eei_write_u16be(&w, type);
    eei_write_bytes(&w, key->id, 32);
    eei_write_u32be(&w, (uint32_t)body.len);
    eei_write_bytes(&w, body.data, body.len);
    eei_write_bytes(&w, signature, 64);
    if (!w.status) return EE_OK;
    out->len = before; /* nothing half-written stays behind */
    return eei_fail(err, w.status, "an envelope of %zu bytes does not fit its buffer of %zu", body.len + EEI_ENVELOPE_OVERHEAD, out->max);
}

ee_status eei_envelope_parse(ee_span bytes, eei_envelope *out, ee_error *err) {
    eei_envelope e;
    memset(out, 0, sizeof *out);
    memset(&e, 0, sizeof e);
    eei_reader r = eei_reader_init(bytes);
    e.type = eei_read_u16be(&r);
    eei_read_bytes(&r, e.key_id, 32);
    uint32_t len = eei_read_u32be(&r);
    if (len > EEI_MESSAGE_BYTES_MAX)
        return eei_fail(err, EE_E_LIMIT, "envelope body is %u bytes, limit %u", (unsigned)len, EEI_MESSAGE_BYTES_MAX);
    e.body = eei_read_span(&r, len);
    eei_read_bytes(&r, e.signature, 64);
    ee_status st = eei_reader_expect_end(&r, "envelope", err);
    if (!st) *out = e;
    return st;
}

ee_status eei_envelope_verify(const eei_envelope *envelope, uint16_t type, const uint8_t pub[32], ee_error *err) {
    uint8_t id[32];
    eei_key_id(pub, id);
    if (envelope->type != type) return eei_fail(err, EE_E_AUTH, "envelope type is 0x%02x, expected 0x%02x", envelope->type, type);
    if (!eei_secret_equal(eei_span(envelope->key_id, 32), eei_span(id, 32)))
        return eei_fail(err, EE_E_AUTH, "envelope type 0x%02x is signed by another key than expected", type);
    return eei_verify(pub, type, envelope->body, envelope->signature, err);
}
