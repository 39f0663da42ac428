/* collateral_supply.c - see collateral_supply.h. Called through it. */
#include "net/collateral_supply.h"

#include "base/alloc.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/fetch.h"
#include "net/pccs.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { FILES_MAX = 64, PATH_BYTES_MAX = 1024 };

struct eei_supply {
    eei_pccs *pccs; /* nullable, as are the next three */
    char *files;
    eei_collateral_cache *cache; /* in front of the two above */
    eei_fetch *control;
    ee_cancel *stop; /* for what does not go through the cache */
    uint32_t timeout_ms;
};

/* ---- files -------------------------------------------------------------------------------------------------------------------- */

typedef ee_status (*file_visit)(void *user, const char *path, ee_span json, ee_error *err);

static ee_status visit_file(const char *path, file_visit visit, void *user, ee_error *err) {
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    ee_status st = eei_file_read(path, &json, err);
    if (!st) st = visit(user, path, eei_buf_span(&json), err);
    eei_buf_clear(&json);
    return st;
}

static bool is_json(const char *name) {
    size_t len = strlen(name);
    return name[0] != '.' && len > 5 && !strcmp(name + len - 5, ".json");
}

/* All of them, whatever becomes of each; the last failure. */
static ee_status visit_files(const char *where, file_visit visit, void *user, ee_error *err) {
    struct stat s;
    char path[PATH_BYTES_MAX];
    if (stat(where, &s) != 0) return eei_fail(err, EE_E_NOT_FOUND, "there is no collateral at %.200s", where);
    if (!S_ISDIR(s.st_mode)) return visit_file(where, visit, user, err);
    DIR *dir = opendir(where);
    if (!dir) return eei_fail(err, EE_E_IO, "cannot read the folder %.200s", where);
    ee_status st = EE_OK;
    size_t count = 0;
    for (const struct dirent *d = readdir(dir); d && count < FILES_MAX; d = readdir(dir)) {
        if (!is_json(d->d_name) || snprintf(path, sizeof path, "%s/%s", where, d->d_name) >= (int)sizeof path) continue;
        ee_status one = visit_file(path, visit, user, err);
        if (one) st = one;
        count++;
    }
    closedir(dir);
    return st;
}

/* A platform may have an old and a new file: the one that is good for longest serves. */
typedef struct looking {
    const eei_collateral_id *id;
    eei_buf *json;
    size_t before; /* what was in json */
    uint64_t until_s;
} looking;

static ee_status take_if_it_is(void *user, const char *path, ee_span json, ee_error *err) {
    looking *l = user;
    eei_collateral_terms terms;
    ee_status st = eei_collateral_terms_read(json, &terms, err);
    if (st) return eei_prefix(err, st, path);
    if (!eei_collateral_id_same(&terms.id, l->id) || terms.until_s <= l->until_s) return EE_OK;
    l->json->len = l->before;
    l->until_s = terms.until_s;
    return eei_buf_append_span(l->json, json) ? eei_nomem(err) : EE_OK;
}

static ee_status from_files(const eei_supply *self, const eei_collateral_id *id, eei_buf *json, ee_error *err) {
    looking l = {id, json, json->len, 0};
    ee_error why = {0};
    char fmspc[13];
    ee_status st = visit_files(self->files, take_if_it_is, &l, &why);
    if (st != EE_E_NOMEM && l.until_s) return EE_OK;
    eei_hex_encode(eei_span(id->fmspc, sizeof id->fmspc), fmspc);
    if (!st) st = eei_fail(&why, EE_E_NOT_FOUND, "%.200s has no collateral for FMSPC %s and the %s CA", self->files, fmspc, id->ca);
    if (err) *err = why;
    return st;
}

typedef struct loading {
    eei_supply *supply;
    size_t count;
} loading;

static ee_status add_file(void *user, const char *path, ee_span json, ee_error *err) {
    loading *l = user;
    ee_status st = eei_collateral_cache_add(l->supply->cache, json, err);
    if (!st) l->count++;
    if (!st || st == EE_E_NOMEM) return st;
    st = eei_prefix(err, st, path);
    eei_log(EEI_LOG_WARN, "collateral.file_refused", "word=%s message=%s", ee_status_word(st), err->message);
    return st;
}

ee_status eei_supply_load(eei_supply *self, size_t *count, ee_error *err) {
    ee_error why = {0};
    loading l = {self, 0};
    *count = 0;
    if (!self->files) return eei_fail(err, EE_E_STATE, "this supply has no files");
    ee_status st = visit_files(self->files, add_file, &l, &why);
    *count = l.count;
    if (l.count && st != EE_E_NOMEM) return EE_OK;
    if (!st) st = eei_fail(&why, EE_E_NOT_FOUND, "the folder %.200s has no *.json", self->files);
    if (err) *err = why;
    return st;
}

/* ---- the control plane ----------------------------------------------------------------------------------------------------------- */

/* {"error": {"code", "message", "hint"}}: the control plane's own words, when it has some. */
static ee_status refused(const eei_reply *reply, const char *fmspc, ee_error *err) {
    json_t *body = NULL;
    ee_status st = EE_E_ATTESTATION;
    const char *code = NULL, *message = NULL, *hint = NULL;
    if (!eei_json_parse(eei_buf_span(&reply->body), EEI_COLLATERAL_BYTES_MAX, &body, NULL)) {
        const json_t *error = json_object_get(body, "error");
        code = json_string_value(json_object_get(error, "code"));
        message = json_string_value(json_object_get(error, "message"));
        hint = json_string_value(json_object_get(error, "hint"));
    }
    if (code && message) st = eei_status_from_word(code);
    if (st == EE_OK) st = EE_E_SERVER;
    eei_fail(err, st, "no collateral for FMSPC %s from the control plane: HTTP %d%s%.200s", fmspc, reply->status, message ? ", " : "",
             message ? message : "");
    if (hint) st = eei_hint(err, st, "%.200s", hint);
    json_decref(body);
    return st;
}

static ee_status from_control(const eei_supply *self, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel,
                              eei_buf *json, ee_error *err) {
    char fmspc[13], path[96];
    eei_reply reply = {.body = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX)};
    eei_hex_encode(eei_span(id->fmspc, sizeof id->fmspc), fmspc);
    (void)snprintf(path, sizeof path, "/v1/collateral/%s?ca=%s", fmspc, id->ca);
    eei_request request = {.method = "GET",
                           .path = path,
                           .response_max = EEI_COLLATERAL_BYTES_MAX,
                           .timeout_ms = timeout_ms,
                           .cancel = cancel ? cancel : self->stop};
    ee_status st = eei_fetch_call(self->control, &request, &reply, err);
    if (!st && reply.status != 200) st = refused(&reply, fmspc, err);
    if (!st && eei_buf_append_span(json, eei_buf_span(&reply.body)))
        st = eei_fail(err, EE_E_LIMIT, "collateral for %s is too large", fmspc);
    eei_reply_clear(&reply);
    return st;
}

/* ---- one after the other ------------------------------------------------------------------------------------------------------------ */

/* Behind the cache. What the first source says is told: it is the one that was set up. */
static ee_status fetch(void *user, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel, eei_buf *json,
                       ee_error *err) {
    const eei_supply *self = user;
    if (!self->pccs) return from_files(self, id, json, err);
    ee_status st = eei_pccs_get(self->pccs, id, timeout_ms, cancel, json, err);
    if (!st || !self->files || st == EE_E_CANCELLED || st == EE_E_NOMEM) return st;
    return from_files(self, id, json, NULL) ? st : EE_OK;
}

ee_status eei_supply_get(eei_supply *self, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel, eei_buf *json,
                         ee_error *err) {
    ee_error why = {0};
    if (!self->cache) return from_control(self, id, timeout_ms, cancel, json, err);
    uint32_t first_ms = self->control && timeout_ms / 2 < EEI_SUPPLY_FIRST_MS ? timeout_ms / 2 : EEI_SUPPLY_FIRST_MS;
    ee_status st = eei_collateral_cache_get(self->cache, id, self->control ? first_ms : timeout_ms, cancel, json, &why);
    if (st && self->control && st != EE_E_CANCELLED && st != EE_E_NOMEM) {
        eei_log(EEI_LOG_WARN, "collateral.pccs_failed", "word=%s message=%s next=control_plane", ee_status_word(st), why.message);
        if (!from_control(self, id, timeout_ms - first_ms, cancel, json, NULL)) return EE_OK;
    }
    if (st && err) *err = why;
    return st;
}

static ee_status for_judge(void *user, const eei_collateral_id *id, eei_buf *json, ee_error *err) {
    eei_supply *self = user;
    return eei_supply_get(self, id, self->timeout_ms, NULL, json, err);
}

eei_collateral_source eei_supply_source(eei_supply *self) { return (eei_collateral_source){for_judge, self}; }

/* ---- for those who hand it out --------------------------------------------------------------------------------------------------- */

ee_status eei_supply_peek(eei_supply *self, const eei_collateral_id *id, eei_buf *json, ee_error *err) {
    if (!self->cache) return eei_fail(err, EE_E_NOT_FOUND, "no collateral is kept here");
    return eei_collateral_cache_peek(self->cache, id, json, err);
}

void eei_supply_want(eei_supply *self, const eei_collateral_id *id) {
    if (self->cache) eei_collateral_cache_want(self->cache, id);
}

bool eei_supply_due(eei_supply *self) { return self->cache && eei_collateral_cache_due(self->cache); }

void eei_supply_refresh(eei_supply *self) {
    if (self->cache) eei_collateral_cache_refresh(self->cache, self->timeout_ms);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------- */

static ee_status open_cache(eei_supply *self, const eei_supply_options *o, ee_error *err) {
    eei_collateral_cache_options options = {.fetcher = {fetch, self},
                                            .clock = o->clock ? o->clock : eei_clock_system(),
                                            .origin = self->pccs ? eei_pccs_url(self->pccs) : "",
                                            .folder = self->pccs ? o->cache_folder : NULL, /* files need no file */
                                            .refresh_s = o->refresh_s,
                                            .limit_misses = o->limit_misses};
    return eei_collateral_cache_new(&options, &self->cache, err);
}

static ee_status open_sources(eei_supply *self, const eei_supply_options *o, ee_error *err) {
    eei_pccs_options pccs = {.url = o->pccs_url, .ca_file = o->pccs_ca};
    eei_fetch_options control = {.url = o->control_url, .trust = EEI_FETCH_UNTRUSTED};
    ee_status st = o->pccs_url ? eei_pccs_new(&pccs, &self->pccs, err) : EE_OK;
    if (!st && o->files && !(self->files = eei_strdup(o->files))) st = eei_nomem(err);
    if (!st && (self->pccs || self->files)) st = open_cache(self, o, err);
    if (!st && o->control_url) st = eei_fetch_new(&control, &self->control, err);
    return st ? st : ee_cancel_new(&self->stop, err);
}

ee_status eei_supply_new(const eei_supply_options *options, eei_supply **out, ee_error *err) {
    *out = NULL;
    if (!options->pccs_url && !options->files && !options->control_url) return eei_fail(err, EE_E_INVALID, "no source of collateral");
    eei_supply *self = eei_calloc(1, sizeof *self);
    if (!self) return eei_nomem(err);
    self->timeout_ms = options->timeout_ms ? options->timeout_ms : EEI_SUPPLY_TIMEOUT_MS;
    ee_status st = open_sources(self, options, err);
    if (st)
        eei_supply_free(self);
    else
        *out = self;
    return st;
}

void eei_supply_free(eei_supply *self) {
    if (!self) return;
    eei_collateral_cache_free(self->cache);
    eei_pccs_free(self->pccs);
    eei_fetch_free(self->control);
    ee_cancel_free(self->stop);
    eei_free(self->files);
    eei_free(self);
}

void eei_supply_stop(eei_supply *self) {
    if (!self) return;
    if (self->cache) eei_collateral_cache_stop(self->cache);
    ee_cancel_fire(self->stop);
}
