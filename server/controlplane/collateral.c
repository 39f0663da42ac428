/* collateral.c - see collateral.h. */
#include "controlplane/collateral.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "ratls/ratls.h"

#include <string.h>

enum { START_MS = 10000, EVIDENCE_ARENA_MAX = 1 << 20 };

struct cp_collateral {
    eei_supply *supply;
    uv_work_t work;
    bool refreshing; /* loop thread */
};

static const char *given(const char *text) { return *text ? text : NULL; }

/* With a PCCS the files are a reserve; without one they are all there is. */
static ee_status load_files(cp_collateral *self, bool alone, ee_error *err) {
    ee_error why = {0};
    size_t count = 0;
    ee_status st = eei_supply_load(self->supply, &count, &why);
    if (!st) eei_log(EEI_LOG_INFO, "collateral.loaded", "platforms=%zu", count);
    if (!st || !alone) return EE_OK;
    if (err) *err = why;
    return eei_prefix(err, st, "collateral");
}

ee_status cp_collateral_new(const cp_collateral_options *o, cp_collateral **out, ee_error *err) {
    eei_supply_options options = {.pccs_url = given(o->pccs_url),
                                  .pccs_ca = given(o->pccs_ca),
                                  .cache_folder = given(o->pccs_cache),
                                  .files = given(o->files),
                                  .refresh_s = (uint32_t)(o->refresh_ms / 1000),
                                  .limit_misses = true};
    *out = NULL;
    if (!options.pccs_url && !options.files)
        return eei_hint(err, eei_fail(err, EE_E_CONFIG, "neither pccs.url nor collateral is set: there is nothing to judge agents with"),
                        "give EE_PCCS_URL, a PCCS or Intel's PCS (" EE_PCS_INTEL "), or a file as EE_COLLATERAL");
    cp_collateral *self = eei_calloc(1, sizeof *self);
    if (!self) return eei_nomem(err);
    self->work.data = self;
    ee_status st = eei_supply_new(&options, &self->supply, err);
    if (!st && options.files) st = load_files(self, !options.pccs_url, err);
    if (st)
        cp_collateral_free(self);
    else
        *out = self;
    return st;
}

void cp_collateral_free(cp_collateral *self) {
    if (!self) return;
    eei_supply_free(self->supply);
    eei_free(self);
}

eei_collateral_source cp_collateral_source(cp_collateral *self) { return eei_supply_source(self->supply); }

/* ---- own machine -------------------------------------------------------------------------------------------------------- */

static ee_status own_id(const eei_prover *prover, eei_collateral_id *id, ee_error *err) {
    eei_arena arena = EEI_ARENA_INIT(EVIDENCE_ARENA_MAX);
    eei_evidence evidence = {0};
    ee_span der = eei_prover_certificate_der(prover), bytes;
    const unsigned char *at = der.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)der.len);
    ee_status st = certificate ? eei_certificate_evidence(certificate, &bytes, err) : eei_nomem(err);
    if (!st) st = eei_evidence_decode(bytes, &arena, &evidence, err);
    if (!st) st = eei_quote_collateral_id(evidence.quote, id, err);
    X509_free(certificate);
    eei_arena_clear(&arena);
    return st;
}

void cp_collateral_own(cp_collateral *self, const eei_prover *prover) {
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    eei_collateral_id id;
    ee_error err = {0};
    ee_status st = own_id(prover, &id, &err);
    if (!st) {
        eei_supply_want(self->supply, &id);
        st = eei_supply_get(self->supply, &id, START_MS, NULL, &json, &err);
    }
    if (st) eei_log(EEI_LOG_WARN, "collateral.not_fetched", "of=own_machine word=%s message=%s", ee_status_word(st), err.message);
    eei_buf_clear(&json);
}

/* ---- refresh ------------------------------------------------------------------------------------------------------------- */

static void refresh(uv_work_t *work) { eei_supply_refresh(((cp_collateral *)work->data)->supply); }

static void refreshed(uv_work_t *work, int rc) {
    (void)rc; /* never cancelled */
    ((cp_collateral *)work->data)->refreshing = false;
}

void cp_collateral_sweep(cp_collateral *self, uv_loop_t *loop) {
    if (!self->refreshing && eei_supply_due(self->supply)) self->refreshing = uv_queue_work(loop, &self->work, refresh, refreshed) == 0;
}

void cp_collateral_stop(cp_collateral *self) { eei_supply_stop(self->supply); }

ee_status cp_collateral_find(cp_collateral *self, const char *fmspc, const char *ca, eei_buf *json, ee_error *err) {
    eei_collateral_id id;
    ee_status st = eei_collateral_id_parse(fmspc, ca, &id, err);
    return st ? st : eei_supply_peek(self->supply, &id, json, err);
}
