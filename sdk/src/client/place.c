/* place.c - work finds its node: quote, caps, authorization, admission, and again while what stands in the way is only that nodes are full.
 * Not for specs or single calls (spec.c). Called by jobs_api.c and apps_api.c. Proto: docs/protocol.md#jobs */
#include "base/clock.h"
#include "client/spec.h"

#include <string.h>

enum { PAUSE_FIRST_MS = 50, PAUSE_MAX_MS = 800 };

ee_status client_check_cap(const char *max_cost, ee_money ceiling, ee_error *err) {
    char need[32], have[32];
    ee_money cap;
    if (!max_cost) return EE_OK;
    ee_status st = ee_money_parse(max_cost, &cap, err);
    if (st) return eei_prefix(err, st, "max_cost");
    if (ceiling <= cap) return EE_OK;
    eei_fail(err, EE_E_BUDGET, "this job may cost up to %s, over the cap of %s; nothing was locked", ee_money_format(ceiling, need),
             ee_money_format(cap, have));
    if (err) {
        err->needed = ceiling;
        err->available = cap;
    }
    return eei_hint(err, EE_E_BUDGET, "raise max_cost, or lower the timeout or the vcpus");
}

/* The caller's cap, then the client's budget: both before anything is locked. */
static ee_status check_cost(ee_client *client, const client_place *place, ee_money ceiling, ee_error *err) {
    ee_status st = client_check_cap(place->max_cost, ceiling, err);
    return !st && place->budget ? client_budget_take(client, ceiling, err) : st;
}

/* {"busy": true, ...}: nodes would take it when some of what they run has ended. {"rejected": ...}: the node that was quoted does not. */
static bool has_detail(const ee_error *err, const char *field) {
    json_t *details = NULL;
    eei_ignored(eei_json_parse(eei_span_text(err->details), sizeof err->details, &details, NULL));
    const json_t *value = json_object_get(details, field);
    bool has = json_is_object(value) || json_is_true(value);
    json_decref(details);
    return has;
}

static ee_status place_once(ee_client *client, const client_spec *spec, const client_place *place, client_admission *out, bool *again,
                            bool *no_room, ee_error *err) {
    client_offer offer;
    ee_status st = client_best_offer(client, spec, place->cancel, &offer, err);
    *no_room = *again = st == EE_E_NO_NODE && has_detail(err, "busy");
    if (!st) st = check_cost(client, place, offer.ceiling, err);
    if (st) return st;
    st = client_admit(client, place->path, spec, &offer, place->key, place->cancel, out, err);
    /* Refused before anything was locked: others were quicker. That it went away after its admission comes without details. */
    *again = st == EE_E_NO_NODE && has_detail(err, "rejected");
    if (st && st != EE_E_OUTCOME_UNKNOWN && place->budget) client_budget_return(client, offer.ceiling); /* unknown: it may be spent */
    if (!st && place->budget) client_budget_return(client, offer.ceiling - out->locked);
    return st;
}

ee_status client_place_work(ee_client *client, const client_spec *spec, const client_place *place, client_admission *out, ee_error *err) {
    uint64_t deadline = eei_mono_ms() + CLIENT_PLACE_MS, most = PAUSE_FIRST_MS;
    ee_error story = {0};
    bool again = false, no_room = false, told = false;
    ee_status st;

    for (;;) {
        client_admission_clear(out);
        memset(&story, 0, sizeof story);
        st = place_once(client, spec, place, out, &again, &no_room, &story);
        if (!st || !again || eei_mono_ms() >= deadline) break;
        if (no_room && !told && place->on_wait && place->on_wait(place->user)) {
            st = eei_fail(&story, EE_E_CANCELLED, "the caller's callback ended the job");
            break;
        }
        told = told || no_room;
        st = client_pause(most / 4, most, place->cancel, &story);
        if (st) break;
        if (most < PAUSE_MAX_MS) most *= 2;
    }
    if (st == EE_E_NO_NODE && again)
        (void)eei_hint(&story, st, "all that could take it were busy for %d s: try again later, or ask for less", CLIENT_PLACE_MS / 1000);
    if (st && err) *err = story;
    return st;
}
