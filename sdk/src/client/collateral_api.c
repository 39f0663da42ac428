/* collateral_api.c - collateral for a quote without a client: ee_collateral_fetch(), and what it shares with clients. The asking is net's.
 * Called through eesdk/verify.h and by client.c. */
#include "attest/pcs.h"
#include "base/limits.h"
#include "base/log.h"
#include "client/client_internal.h"

#include <string.h>

static const eei_options_kind collateral_options = {"ee_collateral_options", offsetof(ee_collateral_options, pccs_ca),
                                                    sizeof(ee_collateral_options)};

ee_status client_supply_new(const client_pccs *pccs, const char *control_url, uint32_t timeout_ms, eei_supply **out, ee_error *err) {
    eei_supply_options options = {.pccs_url = pccs->url.origin[0] ? pccs->url.text : NULL,
                                  .pccs_ca = pccs->ca.origin[0] ? pccs->ca.text : NULL,
                                  .cache_folder = pccs->cache.text[0] ? pccs->cache.text : NULL,
                                  .control_url = control_url,
                                  .timeout_ms = timeout_ms};
    ee_error why = {0};
    ee_status st = eei_supply_new(&options, out, &why);
    if (st == EE_E_IO && options.cache_folder && !pccs->cache_given) { /* nobody asked for that folder: a read-only home costs time only */
        eei_log(EEI_LOG_WARN, "collateral.no_cache", "message=%s", why.message);
        options.cache_folder = NULL;
        st = eei_supply_new(&options, out, &why);
    }
    if (st && err) *err = why;
    return st;
}

static ee_status fetch(const eei_collateral_id *id, const ee_collateral_options *options, ee_collateral **out, ee_error *err) {
    client_pccs pccs;
    eei_supply *supply = NULL;
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    ee_status st = client_pccs_load(options->pccs_url, options->pccs_ca, options->cache, &pccs, err);
    if (st) return st;
    if (!pccs.url.origin[0]) {
        memcpy(pccs.url.text, EE_PCS_INTEL, sizeof EE_PCS_INTEL);
        memcpy(pccs.url.origin, "default", sizeof "default");
    }
    st = client_supply_new(&pccs, NULL, 0, &supply, err);
    uint32_t timeout_ms = options->timeout_ms ? options->timeout_ms : EEI_SUPPLY_TIMEOUT_MS;
    if (!st) st = eei_supply_get(supply, id, timeout_ms, options->cancel, &json, err);
    if (!st) st = ee_collateral_parse(eei_buf_span(&json), out, err);
    eei_buf_clear(&json);
    eei_supply_free(supply);
    return st;
}

ee_status ee_collateral_fetch(ee_span quote, const ee_collateral_options *given, ee_collateral **out, ee_error *err) {
    ee_collateral_options options;
    eei_collateral_id id;
    if (!out) return eei_fail(err, EE_E_INVALID, "ee_collateral_fetch: out is NULL");
    *out = NULL;
    ee_status st = eei_options_take(&collateral_options, given, &options, err);
    if (!st) st = eei_quote_collateral_id(quote, &id, err);
    return st ? st : fetch(&id, &options, out, err);
}
