/* client.c - the client object: configuration, identity, signed calls with retries, money. Jobs and apps are beside it. */
#include "attest/statement.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "client_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RESPONSE_MAX = 4 << 20, BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 2000, ORDER_LIFE_MS = 300000 };

/* ---- life ------------------------------------------------------------------------------------------------------------ */

static const eei_options_kind client_options = {"ee_client_options", offsetof(ee_client_options, url), sizeof(ee_client_options)};

static ee_status open_parts(ee_client *client, ee_error *err) {
    eei_fetch_options api = {.url = client->config.url.text, .trust = EEI_FETCH_ATTESTED, .timeout_ms = client->config.timeout_ms};
    eei_fetch_options brief;
    ee_status st = eei_api_key_load(client->config.api_key.text, &client->key, err);
    eei_wipe(client->config.api_key.text + 6, sizeof client->config.api_key.text - 6); /* the seed itself is not needed any more */
    if (!st && client->config.budget.origin[0]) st = ee_money_parse(client->config.budget.text, &client->budget, err);
    if (!st) st = eei_hex_decode(client->config.network_id.text, client->network_id, sizeof client->network_id, err);
    if (!st) st = client_supply_new(&client->config.pccs, client->config.url.text, client->config.timeout_ms, &client->collateral, err);
    if (st) return st;
    eei_collateral_source source = eei_supply_source(client->collateral);
    st = eei_judge_new(client->config.policy, &source, eei_clock_system(), &client->judge, err);
    if (st) return st;
    eei_judge_on_refused(client->judge, client_note_refused, client);
    api.judge = client->judge;
    memcpy(api.network_id, client->network_id, sizeof api.network_id);
    brief = api;
    brief.timeout_ms = CLIENT_BRIEF_MS;
    brief.connections_max = 1;
    st = eei_fetch_new(&api, &client->api, err);
    if (!st) st = eei_fetch_new(&brief, &client->brief, err);
    if (!st) st = client_engine_new(client->config.url.text, client->network_id, client->judge, &client->engine, err);
    return st;
}

ee_status ee_client_new(const ee_client_options *given, ee_client **out, ee_error *err) {
    ee_client_options options;
    ee_client *client = NULL;
    ee_status st;

    if (!out) return eei_fail(err, EE_E_INVALID, "ee_client_new: out is NULL");
    *out = NULL;
    st = eei_options_take(&client_options, given, &options, err);
    if (st) return st;
    client = eei_calloc(1, sizeof *client);
    if (!client) return eei_nomem(err);
    client->refs = 1;
    pthread_mutex_init(&client->mutex, NULL);
    client_log_join(&client->log, options.log, options.log_user);
    st = client_config_load(&options, &client->config, err);
    if (!st) st = open_parts(client, err);
    if (st) {
        ee_client_free(client);
        return st;
    }
    *out = client;
    return EE_OK;
}

void client_ref(ee_client *client) { __atomic_add_fetch(&client->refs, 1, __ATOMIC_ACQ_REL); }

void ee_client_free(ee_client *client) {
    if (!client || __atomic_sub_fetch(&client->refs, 1, __ATOMIC_ACQ_REL) > 0) return;
    client_engine_free(client->engine);
    eei_fetch_free(client->api);
    eei_fetch_free(client->brief);
    eei_judge_free(client->judge);
    eei_supply_free(client->collateral);
    eei_key_free(client->key);
    ee_verdict_free(client->verdict);
    for (size_t i = 0; i < client->retired_count; i++) ee_verdict_free(client->retired[i]);
    eei_free(client->retired);
    for (size_t i = 0; i < CLIENT_REFUSED_KEPT; i++) ee_verdict_free(client->refused[i]);
    client_config_clear(&client->config);
    client_log_leave(&client->log);
    pthread_mutex_destroy(&client->mutex);
    eei_free(client);
}

ee_status ee_client_config_find(const ee_client_options *given, char **out_json, ee_error *err) {
    ee_client_options options;
    client_config *config = eei_calloc(1, sizeof *config);
    *out_json = NULL;
    if (!config) return eei_nomem(err);
    ee_status st = eei_options_take(&client_options, given, &options, err);
    if (!st) st = client_config_load(&options, config, err);
    *out_json = eei_take(&config->json);
    client_config_clear(config);
    eei_free(config);
    return st;
}

const ee_policy *ee_client_policy(const ee_client *client) { return client ? client->config.policy : NULL; }

const char *ee_client_config_json(const ee_client *client) { return client->config.json; }
int32_t ee_client_stale(const ee_client *client) { return client && client_config_stale(&client->config); }

ee_status client_explain(const ee_client *client, ee_status st, ee_error *err) {
    bool away = st == EE_E_CONNECT || st == EE_E_TIMEOUT;
    if ((away || st == EE_E_ATTESTATION || st == EE_E_AUTH) && client_config_stale(&client->config))
        return eei_hint(err, st, "the devnet was started anew since this client was made: make another one");
    if (!away || !err || err->hint[0]) return st;
    if (client->config.devnet) return eei_hint(err, st, "`ee devnet status` shows what of the devnet runs; `ee devnet up` starts one");
    return eei_hint(err, st, "its address comes from %.150s: check it, and that this machine can reach it", client->config.url.origin);
}

static pthread_mutex_t default_mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the three below */
/* The ones before it are never freed: made before a fork(), without their threads here, or for a devnet that is gone, and used perhaps. */
static ee_client *default_client, *past_clients;
static pid_t default_pid;

ee_status client_resolve(ee_client **client, ee_error *err) {
    ee_status st = EE_OK;
    if (*client) return EE_OK;
    pthread_mutex_lock(&default_mutex);
    if (default_client && (default_pid != getpid() || client_config_stale(&default_client->config))) {
        default_client->before = past_clients;
        past_clients = eei_take(&default_client);
    }
    default_pid = getpid();
    if (!default_client) st = ee_client_new(NULL, &default_client, err);
    *client = default_client;
    pthread_mutex_unlock(&default_mutex);
    return st;
}

/* ---- attested control plane ------------------------------------------------------------------------------------------ */

static ee_status remember_verdict(ee_client *client, const ee_cancel *cancel, ee_error *err) {
    pthread_mutex_lock(&client->mutex);
    bool known = client->verdict != NULL;
    pthread_mutex_unlock(&client->mutex);
    if (known) return EE_OK;
    ee_verdict *verdict = NULL;
    ee_status st = eei_fetch_verdict(client->api, cancel, &verdict, err);
    if (st) return client_explain(client, st, err);
    pthread_mutex_lock(&client->mutex);
    if (!client->verdict) {
        client->verdict = eei_take(&verdict);
        eei_instance_id(eei_verdict_statement(client->verdict)->instance_pub, client->control_instance);
    }
    pthread_mutex_unlock(&client->mutex);
    ee_verdict_free(verdict);
    return EE_OK;
}

/* The control plane may restart with new keys: every call signs for the instance its own connection proved; this one is for orders. */
static void note_instance(ee_client *client, const uint8_t instance[32]) {
    pthread_mutex_lock(&client->mutex);
    if (client->verdict && !eei_same(client->control_instance, instance, 32)) {
        ee_verdict **grown = eei_realloc(client->retired, (client->retired_count + 1) * sizeof(ee_verdict *));
        if (grown) {
            client->retired = grown;
            client->retired[client->retired_count++] = eei_take(&client->verdict);
        } /* out of memory: the old one stays for this call, and its orders are refused by the new instance */
    }
    pthread_mutex_unlock(&client->mutex);
}

ee_status client_control_instance(ee_client *client, const ee_cancel *cancel, uint8_t out[32], ee_error *err) {
    ee_status st = remember_verdict(client, cancel, err);
    if (st) return st;
    pthread_mutex_lock(&client->mutex);
    memcpy(out, client->control_instance, 32);
    pthread_mutex_unlock(&client->mutex);
    return EE_OK;
}

bool client_instance_changed(ee_client *client, const ee_cancel *cancel, const uint8_t sealed_for[32]) {
    uint8_t now[32];
    return client_control_instance(client, cancel, now, NULL) == EE_OK && !eei_same(now, sealed_for, sizeof now);
}

ee_status ee_client_attestation(ee_client *client, ee_cancel *cancel, const ee_verdict **out, ee_error *err) {
    ee_status st = client_resolve(&client, err);
    *out = NULL;
    if (!st) st = remember_verdict(client, cancel, err);
    if (st) return st;
    pthread_mutex_lock(&client->mutex);
    *out = client->verdict; /* NULL only when the control plane restarted in this very moment */
    pthread_mutex_unlock(&client->mutex);
    return *out ? EE_OK : eei_fail(err, EE_E_CONNECT, "the control plane restarted; ask again");
}

/* ---- who was refused ------------------------------------------------------------------------------------------------- */

void client_note_refused(void *user, const ee_verdict *verdict, ee_error *err) {
    ee_client *client = user;
    ee_verdict *kept = ee_verdict_ref(verdict);
    pthread_mutex_lock(&client->mutex);
    uint64_t number = ++client->refusals;
    ee_verdict **slot = &client->refused[number % CLIENT_REFUSED_KEPT], *old = *slot;
    *slot = kept;
    pthread_mutex_unlock(&client->mutex);
    if (err) err->refusal = number;
    ee_verdict_free(old);
}

ee_status ee_client_refused(ee_client *client, const ee_error *refused, ee_verdict **out, ee_error *err) {
    ee_status st = client_resolve(&client, err);
    *out = NULL;
    if (st) return st;
    pthread_mutex_lock(&client->mutex);
    uint64_t number = refused->refusal;
    if (number && number <= client->refusals && client->refusals - number < CLIENT_REFUSED_KEPT)
        *out = ee_verdict_ref(client->refused[number % CLIENT_REFUSED_KEPT]);
    pthread_mutex_unlock(&client->mutex);
    if (*out) return EE_OK;
    return number ? eei_fail(err, EE_E_NOT_FOUND, "the verdict is not kept any more: at most %d are", CLIENT_REFUSED_KEPT)
                  : eei_fail(err, EE_E_NOT_FOUND, "there is no verdict: nothing that could be judged came");
}

/* ---- signed calls ---------------------------------------------------------------------------------------------------- */

typedef struct signing {
    ee_client *client;
    const client_call *call;
    ee_span body;
} signing;

static const char *url_host(const char *url) { return strstr(url, "://") ? strstr(url, "://") + 3 : url; }

static ee_status add_header(eei_buf *lines, const char *name, const char *value, ee_error *err) {
    ee_status st = eei_buf_printf(lines, "%s: %s\n", name, value);
    return st ? eei_fail(err, st, "building request headers") : EE_OK;
}

static ee_status sign(void *user, const uint8_t control_instance[32], eei_buf *lines, ee_error *err) {
    signing *s = user;
    eei_buf text = EEI_BUF_INIT(8192), signature_text = EEI_BUF_INIT(128);
    uint8_t signature[64];
    char host[256], pub[65], nonce[33], time_text[24];
    eei_request_parts parts = {.method = s->call->method,
                               .path_query = s->call->path,
                               .body = s->body,
                               .time_ms = eei_wall_ms(),
                               .control_instance = control_instance,
                               .idempotency_key = s->call->idempotency_key ? s->call->idempotency_key : ""};
    (void)snprintf(host, sizeof host, "%s", url_host(s->client->config.url.text));
    host[strcspn(host, "/")] = 0;
    parts.host = host;
    if (!s->call->brief) note_instance(s->client, control_instance); /* orders follow the connections that carry them */
    ee_status st = eei_random(parts.nonce, sizeof parts.nonce, err);
    if (!st) st = eei_request_text(&parts, &text, err);
    if (!st) st = eei_sign(s->client->key, EEI_SIGNED_REQUEST, eei_buf_span(&text), signature, err);
    if (!st && eei_base64url_encode(eei_span(signature, sizeof signature), &signature_text)) st = eei_nomem(err);
    eei_hex_encode(eei_span(eei_key_public(s->client->key), 32), pub);
    eei_hex_encode(eei_span(parts.nonce, sizeof parts.nonce), nonce);
    (void)snprintf(time_text, sizeof time_text, "%llu", (unsigned long long)parts.time_ms);
    if (!st) st = add_header(lines, "Ee-Key", pub, err);
    if (!st) st = add_header(lines, "Ee-Time", time_text, err);
    if (!st) st = add_header(lines, "Ee-Nonce", nonce, err);
    if (!st) st = add_header(lines, "Ee-Sig", eei_buf_cstr(&signature_text), err);
    if (!st && s->call->idempotency_key) st = add_header(lines, "Idempotency-Key", s->call->idempotency_key, err);
    if (!st && s->call->owner && eei_buf_printf(lines, "Authorization: Bearer %s\n", s->client->config.admin_token.text))
        st = eei_nomem(err);
    eei_buf_clear(&text);
    eei_buf_clear(&signature_text);
    return st;
}

void client_set_details(ee_error *err, json_t *details) {
    eei_buf text = EEI_BUF_INIT(err ? sizeof err->details : 0);
    if (err && json_is_object(details) && eei_json_dump(details, &text, NULL) == EE_OK && eei_buf_cstr(&text))
        (void)snprintf(err->details, sizeof err->details, "%s", (const char *)text.data);
    eei_buf_clear(&text);
    json_decref(details);
}

static void copy_text(char *out, size_t cap, const json_t *object, const char *field) {
    const char *text = json_string_value(json_object_get(object, field));
    if (text) (void)snprintf(out, cap, "%s", text);
}

static void take_money(const json_t *error, const char *field, ee_money *out) {
    const json_t *micros = json_object_get(json_object_get(error, field), "micros");
    if (json_is_integer(micros)) *out = json_integer_value(micros);
}

/* {"error": {"code", "message", "hint", "request_id", "details", "needed", "available", "locked"}} */
static ee_status error_from_reply(const eei_reply *reply, ee_error *err) {
    json_t *body = NULL;
    ee_error story = {0};
    if (eei_json_parse(eei_buf_span(&reply->body), RESPONSE_MAX, &body, NULL) == EE_OK) {
        const json_t *error = json_object_get(body, "error");
        const char *code = json_string_value(json_object_get(error, "code")),
                   *message = json_string_value(json_object_get(error, "message"));
        if (code && message) {
            eei_fail(&story, eei_status_from_word(code), "%s", message);
            copy_text(story.hint, sizeof story.hint, error, "hint");
            copy_text(story.request_id, sizeof story.request_id, error, "request_id");
            take_money(error, "needed", &story.needed);
            take_money(error, "available", &story.available);
            take_money(error, "locked", &story.locked);
            client_set_details(&story, json_incref(json_object_get(error, "details")));
        }
    }
    json_decref(body);
    if (!story.status) {
        ee_status st = reply->status == 429 ? EE_E_RATE_LIMIT : reply->status >= 500 ? EE_E_SERVER : EE_E_INVALID;
        eei_fail(&story, st, "the control plane answered HTTP %d without saying why", reply->status);
    }
    if (!story.request_id[0]) (void)snprintf(story.request_id, sizeof story.request_id, "%s", reply->request_id);
    story.http_status = reply->status;
    story.retry_after_ms = reply->retry_after_ms;
    if (err) *err = story;
    return story.status;
}

ee_status client_pause(uint64_t least_ms, uint64_t most_ms, const ee_cancel *cancel, ee_error *err) {
    uint32_t random = 0;
    if (eei_random(&random, sizeof random, NULL)) random = 0;
    return eei_cancel_pause(cancel, least_ms + random % (most_ms - least_ms + 1), err);
}

/* Full jitter, but not before the server said, within reason. The milliseconds that are waited at most. */
static uint64_t pause_for(unsigned attempt, uint32_t retry_after_ms, uint64_t *least_ms) {
    uint64_t most = (uint64_t)BACKOFF_FIRST_MS << (attempt < 5 ? attempt : 5);
    uint64_t least = retry_after_ms < CLIENT_RETRY_AFTER_MAX_MS ? retry_after_ms : CLIENT_RETRY_AFTER_MAX_MS;
    if (most > BACKOFF_MAX_MS) most = BACKOFF_MAX_MS;
    *least_ms = least;
    return least > most ? least : most;
}

/* What is left of the call's own time, at most that of one attempt. 0 = one attempt's. */
static ee_status time_left(const client_call *call, uint32_t timeout_ms, uint32_t *out, ee_error *err) {
    uint64_t now = eei_mono_ms();
    *out = 0;
    if (!call->deadline_ms) return EE_OK;
    if (now >= call->deadline_ms) return eei_fail(err, EE_E_TIMEOUT, "%s %s: no answer in time", call->method, call->path);
    if (call->deadline_ms - now < timeout_ms) *out = (uint32_t)(call->deadline_ms - now);
    return EE_OK;
}

static bool worth_retry(ee_status st, int http_status) {
    return st == EE_E_CONNECT || st == EE_E_TIMEOUT || st == EE_E_RATE_LIMIT || http_status == 429 || http_status == 502 ||
           http_status == 504 || (http_status == 503 && eei_status_retryable(st));
}

static ee_status outcome_unknown(const client_call *call, const ee_error *cause, ee_error *err) {
    eei_fail(err, EE_E_OUTCOME_UNKNOWN, "no answer to %s %s came (%s): it may have been done", call->method, call->path, cause->message);
    if (err && call->idempotency_key) (void)snprintf(err->idempotency_key, sizeof err->idempotency_key, "%s", call->idempotency_key);
    return eei_hint(err, EE_E_OUTCOME_UNKNOWN, "repeat the call with idempotency key %s: it cannot happen twice",
                    call->idempotency_key ? call->idempotency_key : "(none)");
}

ee_status client_call_api(ee_client *client, const client_call *call, json_t **out, ee_error *err) {
    eei_buf body = EEI_BUF_INIT(EEI_HTTP_BODY_MAX);
    ee_status st = EE_OK;
    bool may_have_happened = false;

    *out = NULL;
    if (call->owner && !client->config.admin_token.origin[0])
        return eei_hint(
            err, eei_fail(err, EE_E_CONFIG, "%s %s is the network owner's, and there is no owner's token here", call->method, call->path),
            "set EE_ADMIN_TOKEN_FILE, a file that is yours alone (0600), or EE_ADMIN_TOKEN");
    if (call->body) st = eei_json_dump(call->body, &body, err);
    for (unsigned attempt = 0; !st; attempt++) {
        signing s = {client, call, eei_buf_span(&body)};
        static const char *const headers[] = {"Content-Type: application/json", "Accept: application/json", NULL};
        eei_reply reply = {.body = EEI_BUF_INIT(RESPONSE_MAX)};
        ee_error story = {0}, why = {0};
        eei_request request = {.method = call->method,
                               .path = call->path,
                               .headers = headers,
                               .body = eei_buf_span(&body),
                               .response_max = RESPONSE_MAX,
                               .cancel = call->cancel,
                               .sign = sign,
                               .user = &s};
        ee_status call_st = time_left(call, client->config.timeout_ms, &request.timeout_ms, &story);
        if (!call_st) call_st = eei_fetch_call(call->brief ? client->brief : client->api, &request, &reply, &story);
        if (call_st && reply.sent) may_have_happened = true;
        if (!call_st && reply.status / 100 == 2) {
            call_st = eei_json_parse(eei_buf_span(&reply.body), RESPONSE_MAX, out, &story);
            if (call_st) (void)eei_prefix(&story, call_st, "the control plane's answer");
        } else if (!call_st) {
            call_st = error_from_reply(&reply, &story);
        }
        if (call_st) (void)client_explain(client, call_st, &story);
        int http_status = reply.status;
        eei_buf_clear(&reply.body);
        if (!call_st) break;
        uint64_t least_ms, most_ms = pause_for(attempt, story.retry_after_ms, &least_ms);
        bool again = call->repeatable && !call->brief && worth_retry(call_st, http_status) && attempt < client->config.max_retries &&
                     (!call->deadline_ms || eei_mono_ms() + most_ms < call->deadline_ms);
        if (again)
            eei_log(EEI_LOG_WARN, "call.again", "method=%s path=%s attempt=%u word=%s message=%s", call->method, call->path, attempt + 2,
                    story.word, story.message);
        if (again && client_pause(least_ms, most_ms, call->cancel, &why) == EE_OK) continue;
        if (again && !(may_have_happened && call->idempotency_key)) { /* cancelled while it waited */
            call_st = why.status;
            story = why;
        }
        bool left = call_st == EE_E_CANCELLED && call->lasting;
        if (may_have_happened && call->idempotency_key && (left || worth_retry(call_st, http_status)))
            st = outcome_unknown(call, &story, err);
        else {
            st = call_st;
            if (err) *err = story;
        }
    }
    eei_buf_clear(&body);
    return st;
}

/* The calls that take the owner's token; it goes with no other. */
static bool is_owners(const char *method, const char *path) {
    return strcmp(method, "POST") == 0 && strcmp(path, "/v1/credits/purchase") == 0;
}

ee_status ee_client_call(ee_client *client, const char *method, const char *path, const char *body_json, const char *idempotency_key,
                         ee_cancel *cancel, char **out_json, ee_error *err) {
    json_t *body = NULL, *answer = NULL;
    eei_buf text = EEI_BUF_INIT(RESPONSE_MAX + 1);
    ee_status st = client_resolve(&client, err);

    *out_json = NULL;
    if (st) return st;
    if (!method || !path || path[0] != '/') return eei_fail(err, EE_E_INVALID, "a call needs a method and a path that starts with /");
    if (body_json) st = eei_json_parse(eei_span_text(body_json), EEI_HTTP_BODY_MAX, &body, err);
    client_call call = {.method = method,
                        .path = path,
                        .body = body,
                        .idempotency_key = idempotency_key,
                        .repeatable = strcmp(method, "GET") == 0 || idempotency_key,
                        .owner = is_owners(method, path),
                        .lasting = true,
                        .cancel = cancel};
    if (!st) st = client_call_api(client, &call, &answer, err);
    if (!st) st = eei_json_dump(answer, &text, err);
    if (!st && !eei_buf_cstr(&text)) st = eei_nomem(err);
    if (!st) *out_json = (char *)eei_take(&text.data);
    eei_buf_clear(&text);
    json_decref(answer);
    json_decref(body);
    return st;
}

void ee_string_free(char *string) { eei_free(string); }

/* ---- reading answers ------------------------------------------------------------------------------------------------- */

ee_status client_u64(const json_t *object, const char *field, uint64_t *out, ee_error *err) {
    ee_status st = eei_json_u64(object, field, out, err);
    return st ? eei_prefix(err, st, "the control plane's answer") : EE_OK;
}

ee_status client_money(const json_t *object, const char *field, ee_money *out, ee_error *err) {
    const json_t *micros = json_object_get(json_object_get(object, field), "micros");
    if (!json_is_integer(micros)) return eei_fail(err, EE_E_SERVER, "the control plane's answer has no amount \"%s\"", field);
    *out = json_integer_value(micros);
    return EE_OK;
}

ee_status client_hex(const json_t *object, const char *field, void *out, size_t len, ee_error *err) {
    const char *text;
    ee_status st = eei_json_string(object, field, &text, err);
    if (!st) st = eei_hex_decode(text, out, len, err);
    return st ? eei_prefix(err, st, "the control plane's answer") : EE_OK;
}

ee_status client_bytes(const json_t *object, const char *field, eei_buf *out, ee_error *err) {
    const char *text;
    ee_status st = eei_json_string(object, field, &text, err);
    if (!st) st = eei_base64url_decode(text, out, err);
    return st ? eei_prefix(err, st, "the control plane's answer") : EE_OK;
}

ee_status client_check_name(const char *what, const char *name, ee_error *err) {
    size_t len = name ? strlen(name) : 0;
    bool ok = len > 0 && len <= EEI_NAME_BYTES_MAX && name[0] != '-' && name[len - 1] != '-' &&
              strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
    return ok ? EE_OK : eei_fail(err, EE_E_INVALID, "%s's name has 1 to %u of a-z, 0-9 and \"-\"", what, EEI_NAME_BYTES_MAX);
}

ee_status client_make_key(const char *prefix, const char *given, char out[72], ee_error *err) {
    if (!given) return eei_make_id(prefix, eei_wall_ms(), out, 72, err);
    size_t len = strlen(given);
    if (len == 0 || len > 64) return eei_fail(err, EE_E_INVALID, "the idempotency key has %zu bytes; it must have 1 to 64", len);
    for (size_t i = 0; i < len; i++)
        if (given[i] <= ' ' || given[i] > '~')
            return eei_fail(err, EE_E_INVALID, "byte %zu of the idempotency key is not printable ASCII", i);
    (void)snprintf(out, 72, "%s", given);
    return EE_OK;
}

/* ---- money ----------------------------------------------------------------------------------------------------------- */

ee_status client_budget_take(ee_client *client, ee_money amount, ee_error *err) {
    ee_status st = EE_OK;
    pthread_mutex_lock(&client->mutex);
    if (client->budget && (amount > client->budget || client->spent > client->budget - amount)) {
        char need[32], left[32];
        st = eei_fail(err, EE_E_BUDGET, "this may cost up to %s and %s of this client's budget is left", ee_money_format(amount, need),
                      ee_money_format(client->budget - client->spent, left));
        if (err) {
            err->needed = amount;
            err->available = client->budget - client->spent;
        }
    } else {
        client->spent += amount;
    }
    pthread_mutex_unlock(&client->mutex);
    return st;
}

void client_budget_return(ee_client *client, ee_money amount) {
    pthread_mutex_lock(&client->mutex);
    client->spent -= amount;
    pthread_mutex_unlock(&client->mutex);
}

static ee_status fetch_balance(ee_client *client, const ee_cancel *cancel, ee_balance *out, ee_error *err) {
    json_t *answer = NULL;
    const char *account;
    client_call call = {.method = "GET", .path = "/v1/balances/me", .repeatable = true, .cancel = cancel};
    ee_status st = client_call_api(client, &call, &answer, err);
    if (!st) st = client_money(answer, "available", &out->available, err);
    if (!st) st = client_money(answer, "locked", &out->locked, err);
    if (!st) st = eei_json_string(answer, "account", &account, err);
    if (!st) (void)snprintf(out->account, sizeof out->account, "%s", account);
    json_decref(answer);
    return st;
}

ee_status ee_balance_get(ee_client *client, ee_cancel *cancel, ee_balance *out, ee_error *err) {
    ee_balance balance = {0};
    ee_status st = client_resolve(&client, err);
    if (!st) st = fetch_balance(client, cancel, &balance, err);
    if (!st) *out = balance;
    return st;
}

ee_status client_account_name(ee_client *client, const ee_cancel *cancel, char out[EEI_NAME_BYTES_MAX + 1], ee_error *err) {
    pthread_mutex_lock(&client->mutex);
    (void)snprintf(out, EEI_NAME_BYTES_MAX + 1, "%s", client->account);
    pthread_mutex_unlock(&client->mutex);
    if (out[0]) return EE_OK;
    ee_balance balance = {0};
    ee_status st = fetch_balance(client, cancel, &balance, err);
    if (st) return st;
    (void)snprintf(out, EEI_NAME_BYTES_MAX + 1, "%.63s", balance.account);
    pthread_mutex_lock(&client->mutex);
    (void)snprintf(client->account, sizeof client->account, "%s", out);
    pthread_mutex_unlock(&client->mutex);
    return EE_OK;
}

static ee_status seal_order(ee_client *client, const eei_transfer_order *order, eei_buf *text, ee_error *err) {
    eei_buf body = EEI_BUF_INIT(2048), envelope = EEI_BUF_INIT(4096);
    ee_status st = eei_encode(&eei_transfer_order_schema, order, &body, err);
    if (!st) st = eei_envelope_seal(client->key, EEI_SIGNED_TRANSFER, eei_buf_span(&body), &envelope, err);
    if (!st && (eei_base64url_encode(eei_buf_span(&envelope), text) || !eei_buf_cstr(text))) st = eei_nomem(err);
    eei_buf_clear(&body);
    eei_buf_clear(&envelope);
    return st;
}

static ee_status read_transfer(const json_t *answer, ee_transfer *out, ee_error *err) {
    const char *id;
    ee_status st = eei_json_string(answer, "id", &id, err);
    if (!st) st = client_money(answer, "amount", &out->amount, err);
    if (!st) st = client_money(answer, "balance_after", &out->balance_after, err);
    if (!st) (void)snprintf(out->id, sizeof out->id, "%s", id);
    out->replayed = json_is_true(json_object_get(answer, "replayed"));
    return st;
}

static ee_status send_order(ee_client *client, eei_transfer_order *order, const ee_cancel *cancel, ee_transfer *out, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(8192);
    json_t *body = NULL, *answer = NULL;
    order->not_after_ms = eei_wall_ms() + ORDER_LIFE_MS;
    ee_status st = client_control_instance(client, cancel, order->control_instance, err);
    if (!st) st = seal_order(client, order, &text, err);
    if (!st && !(body = json_pack("{s:s}", "order", (const char *)text.data))) st = eei_nomem(err);
    client_call call = {.method = "POST",
                        .path = "/v1/credits/transfer",
                        .body = body,
                        .idempotency_key = out->idempotency_key,
                        .repeatable = true,
                        .lasting = true,
                        .cancel = cancel};
    if (!st) st = client_call_api(client, &call, &answer, err);
    if (!st) st = read_transfer(answer, out, err);
    json_decref(answer);
    json_decref(body);
    eei_buf_clear(&text);
    return st;
}

static ee_status send_transfer(ee_client *client, const char *to, ee_money amount, const char *memo, const ee_cancel *cancel,
                               ee_transfer *out, ee_error *err) {
    char from[EEI_NAME_BYTES_MAX + 1];
    ee_error story = {0};
    eei_transfer_order order = {.to = eei_span_text(to),
                                .amount = (uint64_t)amount,
                                .memo = eei_span_text(memo ? memo : ""),
                                .key = eei_span_text(out->idempotency_key)};
    ee_status st = client_account_name(client, cancel, from, err);
    if (st) return st;
    order.from = eei_span_text(from);
    st = send_order(client, &order, cancel, out, &story);
    /* The control plane restarted since it was last heard: once more, for the instance that answered. */
    if (st == EE_E_AUTH && client_instance_changed(client, cancel, order.control_instance))
        st = send_order(client, &order, cancel, out, &story);
    if (st && err) *err = story;
    return st;
}

ee_status ee_transfer_credits(ee_client *client, const char *to, const char *amount, const char *memo, const char *idempotency_key,
                              ee_cancel *cancel, ee_transfer *out, ee_error *err) {
    ee_transfer transfer = {0};
    ee_money micros = 0;
    ee_status st;

    /* What is wrong with the arguments is told before anything is connected. */
    if (!to || !*to || strlen(to) > EEI_NAME_BYTES_MAX)
        return eei_fail(err, EE_E_INVALID, "\"to\" must name an account in 1 to %u bytes", EEI_NAME_BYTES_MAX);
    if (!amount) return eei_fail(err, EE_E_INVALID_AMOUNT, "the amount is missing");
    if (memo && (strlen(memo) > 140 || !eei_utf8_valid(eei_span_text(memo))))
        return eei_fail(err, EE_E_INVALID, "the memo must be at most 140 bytes of UTF-8");
    st = ee_money_parse(amount, &micros, err);
    if (!st) st = client_make_key("tr_", idempotency_key, transfer.idempotency_key, err);
    if (!st) st = client_resolve(&client, err);
    if (!st) st = client_budget_take(client, micros, err);
    if (st) return st;
    st = send_transfer(client, to, micros, memo, cancel, &transfer, err);
    if ((st && st != EE_E_OUTCOME_UNKNOWN) || transfer.replayed) client_budget_return(client, micros);
    if (!st && out) *out = transfer;
    return st;
}

/* ---- keys ------------------------------------------------------------------------------------------------------------ */

ee_status ee_key_public(const char *api_key, char public_hex[65], ee_error *err) {
    eei_key *key = NULL;
    ee_error why = {0};
    ee_status st = eei_api_key_load(api_key, &key, &why);
    if (st == EE_E_CONFIG)
        st = eei_fail(err, EE_E_INVALID, "%s", why.message); /* an argument here, not a setting */
    else if (st && err)
        *err = why;
    if (!st) eei_hex_encode(eei_span(eei_key_public(key), 32), public_hex);
    eei_key_free(key);
    return st;
}

ee_status ee_key_generate(char api_key[80], char public_hex[65], ee_error *err) {
    ee_status st = eei_api_key_generate(api_key, err);
    return st ? st : ee_key_public(api_key, public_hex, err);
}
