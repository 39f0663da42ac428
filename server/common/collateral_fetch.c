/* collateral_fetch.c - see collateral_fetch.h. */
#include "common/collateral_fetch.h"

#include "base/alloc.h"
#include "base/encoding.h"
#include "base/limits.h"

#include <stdio.h>

enum { TIMEOUT_MS = 10000 };

struct collateral_fetch {
    eei_fetch *fetch;
};

static ee_status fetch_one(void *user, const eei_collateral_id *id, eei_buf *json, ee_error *err) {
    collateral_fetch *self = user;
    char fmspc[13], path[96];
    eei_reply reply = {.body = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX)};
    eei_hex_encode(eei_span(id->fmspc, sizeof id->fmspc), fmspc);
    (void)snprintf(path, sizeof path, "/v1/collateral/%s?ca=%s", fmspc, id->ca);
    eei_request request = {.method = "GET", .path = path, .response_max = EEI_COLLATERAL_BYTES_MAX};
    ee_status st = eei_fetch_call(self->fetch, &request, &reply, err);
    if (!st && reply.status != 200) st = eei_fail(err, EE_E_ATTESTATION, "no collateral for FMSPC %s: HTTP status %d", fmspc, reply.status);
    if (!st && eei_buf_append_span(json, eei_buf_span(&reply.body)))
        st = eei_fail(err, EE_E_LIMIT, "collateral for %s is too large", fmspc);
    eei_buf_clear(&reply.body);
    return st;
}

ee_status collateral_fetch_new(const char *url, collateral_fetch **out, ee_error *err) {
    eei_fetch_options options = {.url = url, .trust = EEI_FETCH_UNTRUSTED, .timeout_ms = TIMEOUT_MS};
    collateral_fetch *self = eei_calloc(1, sizeof *self);
    *out = NULL;
    ee_status st = self ? eei_fetch_new(&options, &self->fetch, err) : eei_nomem(err);
    if (st) {
        eei_free(self);
        return st;
    }
    *out = self;
    return EE_OK;
}

void collateral_fetch_free(collateral_fetch *self) {
    if (!self) return;
    eei_fetch_free(self->fetch);
    eei_free(self);
}

eei_collateral_source collateral_fetch_source(collateral_fetch *self) { return (eei_collateral_source){fetch_one, self}; }
