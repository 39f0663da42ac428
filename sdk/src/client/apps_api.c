/* apps_api.c - private apps: connect, request, socket, deploy. Behind <eesdk/apps.h>. libcurl does HTTP over sockets whose other
 * end is an attested channel (net/fetch.h); nothing of HTTP is written here. */
#include "attest/statement.h"
#include "base/alloc.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/options.h"
#include "client/spec.h"
#include "client/way.h"
#include "client_internal.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECT_TIMEOUT_MS = 30000,
    REQUEST_TIMEOUT_MS = 30000,
    POOL_MAX = 8, /* idle HTTP connections kept per app */
    DEPLOY_POLL_MS = 50,
    RETRY_MIN_MS = 100, /* while an app is being moved; spread, for all its callers wait for the same moment */
    RETRY_MAX_MS = 300,
};

struct ee_app {
    ee_client *client;
    char name[EEI_NAME_BYTES_MAX + 1], base_url[128], http_url[128];
    ee_policy *policy; /* NULL: the client's */
    bool strict;
    uint32_t timeout_ms;
    pthread_mutex_t mutex; /* guards: pool, verdicts, first_fd */
    eei_http *pool[POOL_MAX];
    size_t pooled;
    int first_fd;          /* made by ee_connect(), taken by the first request */
    ee_verdict **verdicts; /* one per instance that served us, latest last; kept, since ee_app_attestation() hands them out */
    size_t verdict_count;
};

struct ee_response {
    ee_app *app;
    eei_http *http; /* while streaming */
    eei_http_response parts;
    eei_buf piece;
};

/* ---- connect --------------------------------------------------------------------------------------------------------- */

const eei_options_kind client_connect_options = {"ee_connect_options", offsetof(ee_connect_options, timeout_ms),
                                                 sizeof(ee_connect_options)};
static const eei_options_kind request_options = {"ee_request_options", offsetof(ee_request_options, body), sizeof(ee_request_options)};
static const eei_options_kind deploy_options = {"ee_deploy_options", offsetof(ee_deploy_options, image), sizeof(ee_deploy_options)};

static ee_status remember(ee_app *app, const ee_verdict *verdict, ee_error *err) {
    ee_status st = EE_OK;
    pthread_mutex_lock(&app->mutex);
    const ee_verdict *latest = app->verdict_count ? app->verdicts[app->verdict_count - 1] : NULL;
    if (!latest || !eei_same(eei_verdict_statement(latest)->instance_pub, eei_verdict_statement(verdict)->instance_pub, 32)) {
        ee_verdict **grown = eei_realloc(app->verdicts, (app->verdict_count + 1) * sizeof(ee_verdict *));
        if (grown) {
            app->verdicts = grown;
            app->verdicts[app->verdict_count++] = ee_verdict_ref(verdict);
        } else {
            st = eei_nomem(err);
        }
    }
    pthread_mutex_unlock(&app->mutex);
    return st;
}

static ee_status dial_once(ee_app *app, const client_dial *dial, client_conn **out, ee_error *err) {
    char path[96];
    (void)snprintf(path, sizeof path, "/v1/resolve/%s", app->name);
    ee_status st = client_way_dial(app->client, path, dial, out, NULL, err);
    if (!st) {
        st = remember(app, client_conn_verdict(*out), err);
        if (st) client_conn_free(eei_take(out));
    }
    return st;
}

/* An app that is being moved is back within moments; one that failed or was stopped stays as it is. */
static bool may_come_back(ee_app *app, uint64_t deadline_ms, const ee_cancel *cancel) {
    char path[96];
    json_t *answer = NULL;
    (void)snprintf(path, sizeof path, "/v1/apps/%s", app->name);
    client_call call = {.method = "GET", .path = path, .repeatable = true, .deadline_ms = deadline_ms, .cancel = cancel};
    ee_status st = client_call_api(app->client, &call, &answer, NULL);
    const char *state = json_string_value(json_object_get(answer, "state"));
    bool final = !st && state && (strcmp(state, "failed") == 0 || strcmp(state, "stopped") == 0);
    json_decref(answer);
    return !final;
}

/* A new attested connection to the app, wherever it runs by the deadline. */
static ee_status dial_app(ee_app *app, uint64_t deadline_ms, bool strict, const ee_policy *policy, const ee_cancel *cancel,
                          client_conn **out, ee_error *err) {
    client_dial dial = {.kind = EEI_OPEN_APP,
                        .target = app->name,
                        .alpn = EEI_ALPN_APP,
                        .policy = policy ? policy : app->policy,
                        .strict = strict,
                        .deadline_ms = deadline_ms,
                        .cancel = cancel};
    ee_error story = {0};
    ee_status st;
    *out = NULL;
    for (;;) {
        st = dial_once(app, &dial, out, &story);
        if (st != EE_E_APP_UNAVAILABLE || eei_mono_ms() + RETRY_MAX_MS > dial.deadline_ms || !may_come_back(app, deadline_ms, cancel))
            break;
        st = client_pause(RETRY_MIN_MS, RETRY_MAX_MS, cancel, &story);
        if (st) break;
    }
    if (st && err) *err = story;
    return client_explain(app->client, st, err);
}

/* The connection that ee_connect() made, once; -1 when it was taken, or ended meanwhile: then something is readable before we asked. */
static int take_first(ee_app *app) {
    pthread_mutex_lock(&app->mutex);
    int fd = app->first_fd;
    app->first_fd = -1;
    pthread_mutex_unlock(&app->mutex);
    struct pollfd state = {.fd = fd, .events = POLLIN};
    if (fd >= 0 && poll(&state, 1, 0) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* For a request: within its time, and at most in the app's. */
static ee_status open_socket(void *user, uint64_t deadline_ms, const ee_cancel *cancel, int *fd, ee_error *err) {
    ee_app *app = user;
    client_conn *conn = NULL;
    if ((*fd = take_first(app)) >= 0) return EE_OK;
    uint64_t own_ms = eei_mono_ms() + app->timeout_ms;
    ee_status st = dial_app(app, own_ms < deadline_ms ? own_ms : deadline_ms, app->strict, NULL, cancel, &conn, err);
    if (!st) st = client_conn_to_socket(conn, fd, err);
    client_conn_free(conn);
    return st;
}

/* The first connection is made and attested here, and kept: what ee_connect() promises is true before it returns. */
static ee_status first_connection(ee_app *app, const ee_connect_options *options, ee_error *err) {
    client_conn *conn = NULL;
    ee_status st = dial_app(app, eei_mono_ms() + app->timeout_ms, app->strict, NULL, options->cancel, &conn, err);
    if (!st) st = client_conn_to_socket(conn, &app->first_fd, err);
    client_conn_free(conn);
    return st;
}

ee_status ee_connect(ee_client *client, const char *name, const ee_connect_options *given, ee_app **out, ee_error *err) {
    ee_connect_options options;
    ee_app *app = NULL;
    ee_status st;

    *out = NULL;
    st = eei_options_take(&client_connect_options, given, &options, err);
    if (!st) st = client_check_name("an app", name, err);
    if (!st) st = client_resolve(&client, err);
    if (st) return st;
    app = eei_calloc(1, sizeof *app);
    if (!app) return eei_nomem(err);
    app->client = client;
    app->first_fd = -1;
    app->strict = options.strict != 0;
    app->policy = eei_policy_ref(options.policy);
    app->timeout_ms = options.timeout_ms ? options.timeout_ms : CONNECT_TIMEOUT_MS;
    pthread_mutex_init(&app->mutex, NULL);
    (void)snprintf(app->name, sizeof app->name, "%s", name);
    (void)snprintf(app->base_url, sizeof app->base_url, "https://%s.ee.internal", name);
    (void)snprintf(app->http_url, sizeof app->http_url, "http://%s.ee.internal", name);
    st = first_connection(app, &options, err);
    if (st) {
        ee_app_free(app);
        return st;
    }
    *out = app;
    return EE_OK;
}

const ee_verdict *ee_app_attestation(const ee_app *app) {
    ee_app *self = (ee_app *)(uintptr_t)app; /* the mutex is not part of what const promises */
    pthread_mutex_lock(&self->mutex);
    const ee_verdict *latest = app->verdicts[app->verdict_count - 1];
    pthread_mutex_unlock(&self->mutex);
    return latest;
}

const char *ee_app_base_url(const ee_app *app) { return app->base_url; }

void ee_app_free(ee_app *app) {
    if (!app) return;
    for (size_t i = 0; i < app->pooled; i++) eei_http_free(app->pool[i]);
    if (app->first_fd >= 0) close(app->first_fd);
    for (size_t i = 0; i < app->verdict_count; i++) ee_verdict_free(app->verdicts[i]);
    eei_free(app->verdicts);
    ee_policy_free(app->policy);
    pthread_mutex_destroy(&app->mutex);
    eei_free(app);
}

/* ---- requests -------------------------------------------------------------------------------------------------------- */

static ee_status take_http(ee_app *app, eei_http **out, ee_error *err) {
    pthread_mutex_lock(&app->mutex);
    *out = app->pooled ? app->pool[--app->pooled] : NULL;
    pthread_mutex_unlock(&app->mutex);
    return *out ? EE_OK : eei_http_new(app->http_url, open_socket, app, out, err);
}

static void give_http(ee_app *app, eei_http *http) {
    pthread_mutex_lock(&app->mutex);
    if (http && eei_http_reusable(http) && app->pooled < POOL_MAX) app->pool[app->pooled++] = eei_take(&http);
    pthread_mutex_unlock(&app->mutex);
    eei_http_free(http);
}

static ee_status check_request(const char *method, const char *path, ee_error *err) {
    if (!method || !*method || strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(method))
        return eei_fail(err, EE_E_INVALID, "the method must be capital letters, such as GET");
    if (!path || path[0] != '/') return eei_fail(err, EE_E_INVALID, "the path must start with \"/\"");
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return eei_fail(err, EE_E_INVALID, "byte %zu of the path is a space or a control character: encode it as %%%02X",
                            (size_t)(c - path), (unsigned char)*c);
    return EE_OK;
}

static eei_http_request request_of(const char *method, const char *path, const ee_request_options *options) {
    return (eei_http_request){.method = method,
                              .path = path,
                              .headers = options->headers,
                              .body = options->body,
                              .timeout_ms = options->timeout_ms ? options->timeout_ms : REQUEST_TIMEOUT_MS,
                              .body_max = EEI_RESPONSE_BODY_MAX,
                              .cancel = options->cancel,
                              .stream = options->stream != 0,
                              .upload_bytes = options->body_bytes};
}

static ee_status response_new(ee_app *app, ee_response **out, ee_error *err) {
    *out = eei_calloc(1, sizeof **out);
    if (!*out) return eei_nomem(err);
    (*out)->app = app;
    (*out)->piece = (eei_buf)EEI_BUF_INIT(EEI_RESPONSE_BODY_MAX);
    return EE_OK;
}

/* Everything of the answer is there, or its headers are: text can be printed as it is, for a NUL stands past its length. */
static ee_status answered(ee_response *response, bool stream, eei_http **http, ee_error *err) {
    response->parts.body.max = (size_t)EEI_RESPONSE_BODY_MAX + 1;
    if (!eei_buf_cstr(&response->parts.body)) return eei_nomem(err);
    if (stream)
        response->http = eei_take(http);
    else
        give_http(response->app, eei_take(http));
    return EE_OK;
}

/* The way out of the limit, for an answer that is over it. */
static ee_status explain(ee_status st, ee_error *err) {
    return st == EE_E_LIMIT ? eei_hint(err, st, "take the answer as a stream, or reach the app through a forwarded port") : st;
}

ee_status ee_app_request(ee_app *app, const char *method, const char *path, const ee_request_options *given, ee_response **out,
                         ee_error *err) {
    ee_request_options options;
    ee_response *response = NULL;
    eei_http *http = NULL;

    *out = NULL;
    ee_status st = eei_options_take(&request_options, given, &options, err);
    if (!st) st = check_request(method, path, err);
    if (!st && options.body_bytes) st = eei_fail(err, EE_E_INVALID, "body_bytes is for ee_upload_open(): a body that is written later");
    if (!st) st = response_new(app, &response, err);
    if (st) return st;
    eei_http_request request = request_of(method, path, &options);
    st = take_http(app, &http, err);
    if (!st) st = explain(eei_http_call(http, &request, &response->parts, err), err);
    if (!st) st = answered(response, options.stream != 0, &http, err);
    if (st) {
        eei_http_free(http);
        ee_response_free(response);
        return st;
    }
    *out = response;
    return EE_OK;
}

/* ---- bodies of any size ---------------------------------------------------------------------------------------------- */

struct ee_upload {
    eei_http *http;        /* NULL once it is over */
    ee_response *response; /* being filled */
    bool stream;
};

ee_status ee_upload_open(ee_app *app, const char *method, const char *path, const ee_request_options *given, ee_upload **out,
                         ee_error *err) {
    ee_request_options options;
    ee_upload *upload = NULL;

    *out = NULL;
    ee_status st = eei_options_take(&request_options, given, &options, err);
    if (!st) st = check_request(method, path, err);
    if (!st && options.body.len) st = eei_fail(err, EE_E_INVALID, "the body is written with ee_upload_write(), not given before");
    if (!st && strcmp(method, "HEAD") == 0) st = eei_fail(err, EE_E_INVALID, "HEAD has no body");
    if (st) return st;
    upload = eei_calloc(1, sizeof *upload);
    if (!upload) return eei_nomem(err);
    upload->stream = options.stream != 0;
    eei_http_request request = request_of(method, path, &options);
    st = response_new(app, &upload->response, err);
    if (!st) st = take_http(app, &upload->http, err);
    if (!st) st = eei_http_open(upload->http, &request, &upload->response->parts, err);
    if (st) {
        ee_upload_free(upload);
        return st;
    }
    *out = upload;
    return EE_OK;
}

/* A transfer that failed is over, and its connection cannot be used again. */
static ee_status upload_over(ee_upload *upload, ee_status st) {
    eei_http_free(eei_take(&upload->http));
    return st;
}

static ee_status need_open(const ee_upload *upload, ee_error *err) {
    return upload->http ? EE_OK : eei_fail(err, EE_E_STATE, "the request is over: it was finished, or a call before has failed");
}

ee_status ee_upload_write(ee_upload *upload, ee_span bytes, ee_error *err) {
    ee_status st = need_open(upload, err);
    if (st) return st;
    st = eei_http_write(upload->http, bytes, err);
    return st && st != EE_E_END ? upload_over(upload, explain(st, err)) : st;
}

ee_status ee_upload_finish(ee_upload *upload, ee_response **out, ee_error *err) {
    *out = NULL;
    ee_status st = need_open(upload, err);
    if (st) return st;
    st = explain(eei_http_finish(upload->http, err), err);
    if (!st) st = answered(upload->response, upload->stream, &upload->http, err);
    if (st) return upload_over(upload, st);
    *out = eei_take(&upload->response);
    return EE_OK;
}

void ee_upload_free(ee_upload *upload) {
    if (!upload) return;
    eei_http_free(upload->http);
    ee_response_free(upload->response);
    eei_free(upload);
}

ee_status ee_get(ee_app *app, const char *path, ee_response **out, ee_error *err) {
    return ee_app_request(app, "GET", path, NULL, out, err);
}

int32_t ee_response_status(const ee_response *response) { return response->parts.status; }
size_t ee_response_header_count(const ee_response *response) { return response->parts.header_count; }

const char *ee_response_header_name(const ee_response *response, size_t index) {
    return index < response->parts.header_count ? response->parts.headers[index].name : NULL;
}

const char *ee_response_header_value(const ee_response *response, size_t index) {
    return index < response->parts.header_count ? response->parts.headers[index].value : NULL;
}

const char *ee_response_header(const ee_response *response, const char *name) {
    for (size_t i = 0; i < response->parts.header_count; i++)
        if (strcasecmp(response->parts.headers[i].name, name) == 0) return response->parts.headers[i].value;
    return NULL;
}

ee_span ee_response_body(const ee_response *response) { return eei_buf_span(&response->parts.body); }

ee_status ee_response_read(ee_response *response, int64_t timeout_ms, ee_span *out, ee_error *err) {
    *out = (ee_span){NULL, 0};
    if (!response->http) return eei_fail(err, EE_E_END, "the body has ended");
    eei_buf_reset(&response->piece);
    ee_status st = eei_http_read(response->http, timeout_ms, &response->piece, err);
    if (st == EE_E_END) give_http(response->app, eei_take(&response->http));
    if (!st) *out = eei_buf_span(&response->piece);
    return st;
}

void ee_response_free(ee_response *response) {
    if (!response) return;
    eei_http_free(response->http); /* mid-body: its connection cannot be used again */
    eei_http_response_clear(&response->parts);
    eei_buf_clear(&response->piece);
    eei_free(response);
}

/* ---- sockets --------------------------------------------------------------------------------------------------------- */

ee_status ee_app_socket(ee_app *app, const ee_connect_options *given, int *out_fd, ee_error *err) {
    client_conn *conn = NULL;
    ee_connect_options options;
    *out_fd = -1;
    ee_status st = eei_options_take(&client_connect_options, given, &options, err);
    if (st) return st;
    uint32_t timeout = options.timeout_ms ? options.timeout_ms : app->timeout_ms;
    bool strict = app->strict || options.strict;
    if (strict == app->strict && !options.policy) *out_fd = take_first(app);
    if (*out_fd >= 0) return EE_OK;
    st = dial_app(app, eei_mono_ms() + timeout, strict, options.policy, options.cancel, &conn, err);
    if (!st) st = client_conn_to_socket(conn, out_fd, err);
    client_conn_free(conn);
    return st;
}

/* ---- deploy ---------------------------------------------------------------------------------------------------------- */

static ee_status wait_running(ee_client *client, const char *name, uint64_t deadline, const ee_cancel *cancel, json_t **out,
                              ee_error *err) {
    char path[96];
    (void)snprintf(path, sizeof path, "/v1/apps/%s", name);
    for (;;) {
        json_t *answer = NULL;
        const char *state = NULL, *message;
        client_call call = {.method = "GET", .path = path, .repeatable = true, .cancel = cancel};
        ee_status st = client_call_api(client, &call, &answer, err);
        if (!st) st = eei_json_string(answer, "state", &state, err);
        if (!st && strcmp(state, "running") == 0) {
            *out = answer;
            return EE_OK;
        }
        if (!st && strcmp(state, "failed") == 0) {
            message = json_string_value(json_object_get(answer, "message"));
            const char *word = json_string_value(json_object_get(answer, "word"));
            ee_status why = word ? eei_status_from_word(word) : EE_E_APP_UNAVAILABLE;
            st = eei_fail(err, why, "app %s did not start: %s", name, message ? message : "no reason was given");
            if (why == EE_E_APP_UNAVAILABLE)
                st = eei_hint(err, st,
                              "an app's output is not kept in this version: run its image and command as a job to see what it prints");
        }
        json_decref(answer);
        if (st) return st;
        if (eei_mono_ms() >= deadline) return eei_fail(err, EE_E_TIMEOUT, "app %s is not running yet", name);
        st = eei_cancel_pause(cancel, DEPLOY_POLL_MS, err);
        if (st) return st;
    }
}

ee_status ee_app_deploy(ee_client *client, const ee_deploy_options *given, int64_t timeout_ms, char **out_json, ee_error *err) {
    ee_deploy_options options;
    client_spec spec = {0};
    client_admission admission = {0};
    char key[72];
    json_t *answer = NULL;
    eei_buf text = EEI_BUF_INIT(EEI_JSON_BYTES_MAX);
    uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : eei_mono_ms() + (uint64_t)timeout_ms;
    ee_status st = EE_OK;

    *out_json = NULL;
    st = eei_options_take(&deploy_options, given, &options, err);
    if (!st && (!options.image || !*options.image)) st = eei_fail(err, EE_E_INVALID, "the image is missing");
    if (!st) st = client_check_name("an app", options.name, err);
    if (!st) st = client_resolve(&client, err);
    if (!st) st = client_make_key("app_", options.idempotency_key, key, err);
    if (!st) st = client_spec_app(client, &options, &spec, err);
    client_place place = {.path = "/v1/apps", .key = key, .cancel = options.cancel};
    if (!st) st = client_place_work(client, &spec, &place, &admission, err);
    if (!st) st = wait_running(client, options.name, deadline, options.cancel, &answer, err);
    if (st == EE_E_CANCELLED && admission.id[0]) {
        eei_fail(err, st, "the wait for app %s was cancelled; it goes on to start", options.name);
        eei_hint(err, st, "`ee apps` shows how far it is; `ee apps stop %s` ends it", options.name);
    }
    if (!st) st = eei_json_dump(answer, &text, err);
    if (!st && !eei_buf_cstr(&text)) st = eei_nomem(err);
    if (!st) *out_json = (char *)eei_take(&text.data);
    json_decref(answer);
    eei_buf_clear(&text);
    client_admission_clear(&admission);
    client_spec_clear(&spec);
    return st;
}

ee_status ee_app_stop(ee_client *client, const char *name, ee_cancel *cancel, ee_error *err) {
    char path[96];
    json_t *answer = NULL;
    ee_status st = client_check_name("an app", name, err);
    if (!st) st = client_resolve(&client, err);
    if (st) return st;
    (void)snprintf(path, sizeof path, "/v1/apps/%s", name);
    client_call call = {.method = "DELETE", .path = path, .repeatable = true, .cancel = cancel};
    st = client_call_api(client, &call, &answer, err);
    json_decref(answer);
    return st;
}
