/* auth.c - see auth.h. */
#include "auth.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "ratls/request.h"

#include <stdlib.h>
#include <string.h>

/* Nonces seen, in two generations each one window long: a nonce lives at least one window and at most two. Bounded: when a generation is
 * full, requests are refused rather than replays let in. */
enum { NONCES_MAX = 1 << 18, TABLE_SLOTS = 1 << 19 };

typedef struct generation {
    uint8_t (*slots)[16]; /* open addressing; all zero = free */
    size_t count;
    uint64_t start_ms;
} generation;

struct cp_auth {
    generation young, old;
    uint8_t owner_hash[32];
    bool has_owner;
};

ee_status cp_auth_new(const char *owner_token, cp_auth **out, ee_error *err) {
    cp_auth *auth = eei_calloc(1, sizeof *auth);
    *out = NULL;
    if (!auth) return eei_nomem(err);
    auth->young.slots = eei_calloc(TABLE_SLOTS, 16);
    auth->old.slots = eei_calloc(TABLE_SLOTS, 16);
    if (!auth->young.slots || !auth->old.slots) {
        cp_auth_free(auth);
        return eei_nomem(err);
    }
    auth->has_owner = owner_token && *owner_token;
    if (auth->has_owner) eei_sha256(eei_span_text(owner_token), auth->owner_hash);
    *out = auth;
    return EE_OK;
}

void cp_auth_free(cp_auth *auth) {
    if (!auth) return;
    eei_free(auth->young.slots);
    eei_free(auth->old.slots);
    eei_wipe(auth->owner_hash, sizeof auth->owner_hash);
    eei_free(auth);
}

static bool is_zero(const uint8_t nonce[16]) {
    static const uint8_t zero[16];
    return eei_same(nonce, zero, 16);
}

/* The slot that holds the nonce, or the free one where it belongs. A client chooses nonces, so the place comes from a hash of it and its
 * key (threat B5): the caller passes that. */
static uint8_t *find(const generation *g, const uint8_t id[16]) {
    uint64_t at;
    memcpy(&at, id, sizeof at);
    for (size_t i = 0; i < TABLE_SLOTS; i++) {
        uint8_t *slot = g->slots[(at + i) % TABLE_SLOTS];
        if (is_zero(slot) || eei_same(slot, id, 16)) return slot;
    }
    return NULL;
}

static ee_status remember_nonce(cp_auth *auth, const uint8_t pub[32], const uint8_t nonce[16], uint64_t now_ms, ee_error *err) {
    uint8_t text[48], id[32];
    memcpy(text, pub, 32);
    memcpy(text + 32, nonce, 16);
    eei_sha256(eei_span(text, sizeof text), id);
    if (now_ms - auth->young.start_ms > 2 * (uint64_t)EEI_REQUEST_SKEW_MS) {
        generation swap = auth->old;
        auth->old = auth->young;
        auth->young = swap;
        memset(auth->young.slots, 0, (size_t)TABLE_SLOTS * 16);
        auth->young.count = 0;
        auth->young.start_ms = now_ms;
    }
    uint8_t *slot = find(&auth->young, id), *older = find(&auth->old, id);
    if (!slot || !older || auth->young.count >= NONCES_MAX)
        return eei_fail(err, EE_E_RATE_LIMIT, "too many signed requests; try again later");
    if (!is_zero(slot) || !is_zero(older)) return eei_fail(err, EE_E_AUTH, "this request was seen before: its nonce was used");
    memcpy(slot, id, 16);
    auth->young.count++;
    return EE_OK;
}

static ee_status need_header(const eei_exchange *exchange, const char *name, const char **out, ee_error *err) {
    *out = eei_exchange_header(exchange, name);
    if (*out && **out) return EE_OK;
    return eei_hint(err, eei_fail(err, EE_E_AUTH, "the request is not signed: header %s is missing", name),
                    "the SDK and `ee` sign requests by themselves; see docs/protocol.md");
}

typedef struct signed_request {
    uint8_t pub[32], signature[64], nonce[16];
    uint64_t time_ms;
} signed_request;

static ee_status read_headers(const eei_exchange *exchange, signed_request *out, ee_error *err) {
    const char *key, *time_text, *nonce, *signature;
    eei_buf raw = EEI_BUF_INIT(128);
    char *end = NULL;
    ee_status st = need_header(exchange, "ee-key", &key, err);
    if (!st) st = need_header(exchange, "ee-time", &time_text, err);
    if (!st) st = need_header(exchange, "ee-nonce", &nonce, err);
    if (!st) st = need_header(exchange, "ee-sig", &signature, err);
    if (st) return st;
    if (strlen(key) != 64 || eei_hex_decode(key, out->pub, sizeof out->pub, NULL))
        return eei_fail(err, EE_E_AUTH, "Ee-Key is not 64 hex digits");
    if (strlen(nonce) != 32 || eei_hex_decode(nonce, out->nonce, sizeof out->nonce, NULL))
        return eei_fail(err, EE_E_AUTH, "Ee-Nonce is not 32 hex digits");
    out->time_ms = strtoull(time_text, &end, 10);
    if (*end || time_text[0] < '0' || time_text[0] > '9') return eei_fail(err, EE_E_AUTH, "Ee-Time is not a number of milliseconds");
    bool ok = eei_base64url_decode(signature, &raw, NULL) == EE_OK && raw.len == sizeof out->signature;
    if (ok) memcpy(out->signature, raw.data, sizeof out->signature);
    eei_buf_clear(&raw);
    return ok ? EE_OK : eei_fail(err, EE_E_AUTH, "Ee-Sig is not the base64url of a 64-byte signature");
}

static ee_status request_text(cp_context *cp, const eei_exchange *exchange, const signed_request *signed_by, eei_buf *text, ee_error *err) {
    char path[2048];
    const char *query = eei_exchange_query(exchange), *key = eei_exchange_header(exchange, "idempotency-key");
    int n = snprintf(path, sizeof path, "%s%s%s", eei_exchange_path(exchange), *query ? "?" : "", query);
    if (n < 0 || (size_t)n >= sizeof path) return eei_fail(err, EE_E_LIMIT, "the path is longer than %zu bytes", sizeof path - 1);
    eei_request_parts parts = {.method = eei_exchange_method(exchange),
                               .host = eei_exchange_host(exchange),
                               .path_query = path,
                               .body = eei_exchange_body(exchange),
                               .time_ms = signed_by->time_ms,
                               .control_instance = eei_prover_instance_id(cp->prover),
                               .idempotency_key = key ? key : ""};
    memcpy(parts.nonce, signed_by->nonce, sizeof parts.nonce);
    return eei_request_text(&parts, text, err);
}

ee_status cp_auth_account(cp_context *cp, const eei_exchange *exchange, uint64_t now_ms, ledger_principal *out, eei_buf *evidence,
                          ee_error *err) {
    signed_request request;
    eei_buf text = EEI_BUF_INIT(8192);
    ee_status st = read_headers(exchange, &request, err);
    if (st) return st;
    /* Cheap checks first, then the signature, then the database. */
    if (request.time_ms > now_ms + EEI_REQUEST_SKEW_MS || request.time_ms + EEI_REQUEST_SKEW_MS < now_ms)
        return eei_hint(err,
                        eei_fail(err, EE_E_AUTH, "the request's time is %lld s off ours; at most %u s",
                                 (long long)(request.time_ms - now_ms) / 1000, EEI_REQUEST_SKEW_MS / 1000),
                        "set this machine's clock");
    st = request_text(cp, exchange, &request, &text, err);
    if (!st && eei_verify(request.pub, EEI_SIGNED_REQUEST, eei_buf_span(&text), request.signature, NULL))
        st = eei_fail(err, EE_E_AUTH, "the request's signature does not fit it: another key, host, body or control plane instance");
    if (!st && ledger_find_key(cp->reader, request.pub, out, NULL))
        st = eei_fail(err, EE_E_AUTH, "no account of this network has this key");
    if (!st) st = remember_nonce(cp->auth, request.pub, request.nonce, now_ms, err);
    if (!st && evidence && (eei_buf_append_span(evidence, eei_buf_span(&text)) || eei_buf_append(evidence, request.signature, 64)))
        st = eei_nomem(err);
    eei_buf_clear(&text);
    return st;
}

ee_status cp_auth_owner(cp_context *cp, const eei_exchange *exchange, ee_error *err) {
    const char *header = eei_exchange_header(exchange, "authorization");
    uint8_t hash[32];
    if (!cp->auth->has_owner) return eei_fail(err, EE_E_PERMISSION, "this network has no owner token: the owner's calls are closed");
    if (!header || strncmp(header, "Bearer ", 7) != 0)
        return eei_fail(err, EE_E_AUTH, "this call is the owner's: send Authorization: Bearer <owner token>");
    eei_sha256(eei_span_text(header + 7), hash);
    if (!eei_secret_equal(eei_span(hash, 32), eei_span(cp->auth->owner_hash, 32)))
        return eei_fail(err, EE_E_PERMISSION, "this is not the owner's token");
    return EE_OK;
}
