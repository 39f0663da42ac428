/* eesdk.i - the raw module eesdk_raw: what of the C API crosses into Python and Go. How each type crosses is in typemaps_<language>.i.
 * Not for users: bindings/python/easyenclave and bindings/go call it, and nobody else. Names are the C API's; `ees_` are shims of this file,
 * where the C function takes an option struct, a list of strings or an out-handle. Rules that hold for every function here:
 *   - handles are passed as they are and freed by the wrapper, once; "" or NULL stands for a text that was not given;
 *   - a list of strings is one block of bytes, each string closed by a NUL: no char ** crosses;
 *   - `ee_error *err` is the caller's; a call failed when its status is not EE_OK. */
%module(threads="1") eesdk_raw

%{
#include <eesdk/eesdk.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes that the shim allocated; the out-typemap copies and frees them. */
typedef struct ees_bytes {
    uint8_t *data;
    size_t len;
} ees_bytes;

/* A status is the shim's word for what happened: callees may have left notes in err although they succeeded in the end. */
static void ees_end(ee_status st, ee_error *err) {
    err->status = st;
    if (st && !err->word[0]) snprintf(err->word, sizeof err->word, "%s", ee_status_word(st));
    if (st && !err->message[0]) snprintf(err->message, sizeof err->message, "%s", ee_status_text(st));
}

static void ees_fail(ee_error *err, ee_status st, const char *message) {
    snprintf(err->message, sizeof err->message, "%s", message);
    ees_end(st, err);
}

static const char *ees_given(const char *text) { return text && *text ? text : NULL; }

/* A block of NUL-closed strings as a NULL-ended list that points into it. free() the list; NULL for an empty block. */
static ee_status ees_list(const char *block, size_t len, const char ***out, ee_error *err) {
    size_t count = 0, i = 0;
    *out = NULL;
    if (!len) return EE_OK;
    if (block[len - 1] != '\0') {
        ees_fail(err, EE_E_INTERNAL, "a list of strings is not closed");
        return EE_E_INTERNAL;
    }
    for (size_t at = 0; at < len; at++) count += block[at] == '\0';
    const char **list = calloc(count + 1, sizeof *list);
    if (!list) {
        ees_fail(err, EE_E_NOMEM, "out of memory");
        return EE_E_NOMEM;
    }
    for (size_t at = 0; at < len; at += strlen(block + at) + 1) list[i++] = block + at;
    *out = list;
    return EE_OK;
}

/* What to run, kept together so that quote and start take the same. Owns copies; wiped when freed, since env is in it. */
typedef struct ees_job_spec {
    ee_job_options options;
    size_t len;
    char *block; /* everything below points into it */
    const char **command, **env;
} ees_job_spec;

static char *ees_put(char **at, const void *data, size_t len) {
    char *here = *at;
    if (len) memcpy(here, data, len);
    here[len] = '\0';
    *at += len + 1;
    return here;
}

static void ees_job_spec_free(ees_job_spec *spec) {
    if (!spec) return;
    if (spec->block) explicit_bzero(spec->block, spec->len);
    free(spec->block);
    free(spec->command);
    free(spec->env);
    free(spec);
}

/* The whole of a file that this process just wrote. */
static ee_status ees_slurp(const char *path, ees_bytes *out) {
    struct stat info;
    size_t got = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ee_status st = EE_E_IO;
    if (fd >= 0 && fstat(fd, &info) == 0 && info.st_size > 0 && (out->data = malloc((size_t)info.st_size))) {
        ssize_t n = 1;
        while (got < (size_t)info.st_size && (n = read(fd, out->data + got, (size_t)info.st_size - got)) > 0) got += (size_t)n;
        if (got == (size_t)info.st_size) st = EE_OK;
    }
    if (fd >= 0) close(fd);
    if (st) {
        free(out->data);
        out->data = NULL;
    }
    out->len = st ? 0 : got;
    return st;
}
%}

%include <stdint.i>
#if defined(SWIGPYTHON)
%include "typemaps_python.i"
#elif defined(SWIGGO)
%include "typemaps_go.i"
#endif

/* ---- quick: no waiting, so the caller's lock is kept ------------------------------------------------------------------------------ */
%nothread;

const char *ee_version(void);
const char *ee_status_word(ee_status status);

void ee_cancel_fire(ee_cancel *cancel);
void ee_cancel_free(ee_cancel *cancel);

const char *ee_client_config_json(const ee_client *client);
int32_t ee_client_stale(const ee_client *client);

const char *ee_policy_hash(const ee_policy *policy);
int ee_policy_simulated(const ee_policy *policy);
void ee_policy_free(ee_policy *policy);

int ee_verdict_verified(const ee_verdict *verdict);
const char *ee_verdict_text(const ee_verdict *verdict);
const char *ee_verdict_json(const ee_verdict *verdict);
void ee_verdict_free(ee_verdict *verdict);

const char *ee_job_id(const ee_job *job);

const char *ee_result_job_id(const ee_result *result);
int32_t ee_result_exit_code(const ee_result *result);
const char *ee_result_reason(const ee_result *result);
ee_span ee_result_output(const ee_result *result, ee_stream_id stream);
int32_t ee_result_truncated(const ee_result *result);
const char *ee_result_image_digest(const ee_result *result);
const char *ee_result_node(const ee_result *result);
ee_money ee_result_cost(const ee_result *result);
ee_money ee_result_locked(const ee_result *result);
const char *ee_result_receipt_json(const ee_result *result);
const ee_verdict *ee_result_attestation(const ee_result *result);
void ee_result_free(ee_result *result);

const char *ee_app_base_url(const ee_app *app);
const ee_verdict *ee_app_attestation(const ee_app *app);
int32_t ee_response_status(const ee_response *response);
size_t ee_response_header_count(const ee_response *response);
const char *ee_response_header_name(const ee_response *response, size_t index);
const char *ee_response_header_value(const ee_response *response, size_t index);
ee_span ee_response_body(const ee_response *response);
uint16_t ee_forward_port(const ee_forward *forward);

%inline %{
static ee_money ees_money_parse(const char *text, ee_error *err) {
    ee_money out = 0;
    ees_end(ee_money_parse(text, &out, err), err);
    return out;
}

/* A fresh API key. Its public half follows from it: ees_key_public(). */
static ees_bytes ees_key_generate(ee_error *err) {
    char key[80] = "", public_hex[65];
    ees_bytes out = {NULL, 0};
    ee_status st = ee_key_generate(key, public_hex, err);
    if (!st && !(out.data = malloc(strlen(key)))) st = EE_E_NOMEM;
    if (!st) {
        out.len = strlen(key);
        memcpy(out.data, key, out.len);
    }
    explicit_bzero(key, sizeof key);
    ees_end(st, err);
    return out;
}

static ees_bytes ees_key_public(const char *api_key, ee_error *err) {
    char public_hex[65] = "";
    ees_bytes out = {NULL, 0};
    ee_status st = ee_key_public(api_key, public_hex, err);
    if (!st && !(out.data = malloc(strlen(public_hex)))) st = EE_E_NOMEM;
    if (!st) {
        out.len = strlen(public_hex);
        memcpy(out.data, public_hex, out.len);
    }
    ees_end(st, err);
    return out;
}

static ee_cancel *ees_cancel_new(ee_error *err) {
    ee_cancel *out = NULL;
    ees_end(ee_cancel_new(&out, err), err);
    return out;
}

static ees_job_spec *ees_job_spec_new(const char *image, const void *command, size_t command_len, const void *env, size_t env_len,
                                      const void *input, size_t input_len, double vcpus, uint64_t memory_bytes, uint64_t timeout_ms,
                                      uint64_t output_limit_bytes, const char *max_cost, const char *node, const char *idempotency_key,
                                      ee_error *err) {
    const size_t len = strlen(image) + command_len + env_len + input_len + strlen(max_cost) + strlen(node) + strlen(idempotency_key) + 7;
    ees_job_spec *spec = calloc(1, sizeof *spec);
    ee_status st = EE_E_NOMEM;
    if (spec && (spec->block = calloc(1, len))) {
        char *at = spec->block;
        spec->len = len;
        ee_job_options_init(&spec->options);
        spec->options.image = ees_put(&at, image, strlen(image));
        st = ees_list(ees_put(&at, command, command_len), command_len, &spec->command, err);
        if (!st) st = ees_list(ees_put(&at, env, env_len), env_len, &spec->env, err);
        spec->options.command = spec->command;
        spec->options.env = spec->env;
        spec->options.stdin_data = ees_put(&at, input, input_len);
        spec->options.stdin_bytes = input_len;
        spec->options.vcpus = vcpus;
        spec->options.memory_bytes = memory_bytes;
        spec->options.timeout_ms = timeout_ms;
        spec->options.output_limit_bytes = output_limit_bytes;
        spec->options.max_cost = ees_given(ees_put(&at, max_cost, strlen(max_cost)));
        spec->options.node = ees_given(ees_put(&at, node, strlen(node)));
        spec->options.idempotency_key = ees_given(ees_put(&at, idempotency_key, strlen(idempotency_key)));
    }
    ees_end(st, err);
    if (!st) return spec;
    ees_job_spec_free(spec);
    return NULL;
}
%}
void ees_job_spec_free(ees_job_spec *spec);

/* ---- may wait or compute: the caller's lock is released ----------------------------------------------------------------------------- */
%thread;

void ee_client_free(ee_client *client);
void ee_job_free(ee_job *job);
void ee_job_detach(ee_job *job);
void ee_app_free(ee_app *app);
void ee_response_free(ee_response *response);
void ee_upload_free(ee_upload *upload);
void ee_forward_free(ee_forward *forward);

%newobject ees_client_call;
%newobject ees_policy_toml;
%newobject ees_job_quote;
%newobject ees_app_deploy;

%inline %{
/* client */
static ee_client *ees_client_new(const char *profile, const char *url, const char *api_key, const char *budget, const ee_policy *policy,
                                 uint32_t timeout_ms, uint32_t max_retries, const char *pccs_url, const char *pccs_ca, ee_error *err) {
    ee_client *out = NULL;
    ee_client_options options;
    ee_client_options_init(&options);
    options.profile = ees_given(profile);
    options.url = ees_given(url);
    options.api_key = ees_given(api_key);
    options.budget = ees_given(budget);
    options.policy = policy;
    options.timeout_ms = timeout_ms;
    options.max_retries = max_retries;
    options.pccs_url = ees_given(pccs_url);
    options.pccs_ca = ees_given(pccs_ca);
    ees_end(ee_client_new(&options, &out, err), err);
    return out;
}

static void ees_transfer_credits(ee_client *client, const char *to, const char *amount, const char *memo, const char *idempotency_key,
                                 ee_cancel *cancel, ee_transfer *out, ee_error *err) {
    ees_end(ee_transfer_credits(client, to, amount, ees_given(memo), ees_given(idempotency_key), cancel, out, err), err);
}

static void ees_balance_get(ee_client *client, ee_cancel *cancel, ee_balance *out, ee_error *err) {
    ees_end(ee_balance_get(client, cancel, out, err), err);
}

static char *ees_client_call(ee_client *client, const char *method, const char *path, const char *body_json, const char *idempotency_key,
                             ee_cancel *cancel, ee_error *err) {
    char *out = NULL;
    ees_end(ee_client_call(client, method, path, ees_given(body_json), ees_given(idempotency_key), cancel, &out, err), err);
    return out;
}

/* Borrowed: lives as long as the client. */
static const ee_verdict *ees_client_attestation(ee_client *client, ee_cancel *cancel, ee_error *err) {
    const ee_verdict *out = NULL;
    ees_end(ee_client_attestation(client, cancel, &out, err), err);
    return out;
}

/* Owned. The number is ee_error's `refusal`. */
static ee_verdict *ees_client_refused(ee_client *client, uint64_t refusal, ee_error *err) {
    ee_verdict *out = NULL;
    const ee_error refused = {.status = EE_E_ATTESTATION, .refusal = refusal};
    ees_end(ee_client_refused(client, &refused, &out, err), err);
    return out;
}

/* attestation */
static ee_policy *ees_policy_production(ee_error *err) {
    ee_policy *out = NULL;
    ees_end(ee_policy_production(&out, err), err);
    return out;
}

static ee_policy *ees_policy_load(const char *path, ee_error *err) {
    ee_policy *out = NULL;
    ees_end(ee_policy_load(path, &out, err), err);
    return out;
}

static ee_policy *ees_policy_parse(const char *toml, const char *name, ee_error *err) {
    ee_policy *out = NULL;
    ees_end(ee_policy_parse(toml, name, &out, err), err);
    return out;
}

/* The whole policy as policy.toml. */
static char *ees_policy_toml(const ee_policy *policy, ee_error *err) {
    char *out = NULL;
    ees_end(ee_policy_toml(policy, &out, err), err);
    return out;
}

static ee_policy *ees_policy_unpinned(const ee_policy *policy, ee_error *err) {
    ee_policy *out = NULL;
    ees_end(ee_policy_unpinned(policy, &out, err), err);
    return out;
}

static ee_policy *ees_policy_pin(const ee_policy *policy, const char *what, const char *hex, ee_error *err) {
    ee_policy *out = NULL;
    ees_end(ee_policy_pin(policy, what, hex, &out, err), err);
    return out;
}

/* A refused quote has a verdict too: then both the result and err are set. */
static ee_verdict *ees_verify_quote(const void *quote, size_t quote_len, const void *json, size_t json_len, const ee_policy *policy,
                                    uint64_t now_unix_s, const void *report_data, size_t report_data_len, const void *ccel,
                                    size_t ccel_len, ee_error *err) {
    ee_verdict *out = NULL;
    ee_verify_options options;
    ee_verify_options_init(&options);
    options.now_unix_s = now_unix_s;
    if (report_data_len) options.expected_report_data = (ee_span){report_data, report_data_len};
    if (ccel_len) options.ccel = (ee_span){ccel, ccel_len};
    ees_end(ee_verify_quote_json((ee_span){quote, quote_len}, (ee_span){json, json_len}, policy, &options, &out, err), err);
    return out;
}

/* Collateral as JSON: the languages' values hold no C pointers. cache: "" is the default folder, unless nothing is to be kept. */
static ees_bytes ees_collateral_fetch(const void *quote, size_t quote_len, const char *pccs_url, const char *pccs_ca, const char *cache,
                                      int keep_nothing, uint32_t timeout_ms, ee_cancel *cancel, ee_error *err) {
    ees_bytes out = {NULL, 0};
    ee_collateral *collateral = NULL;
    ee_collateral_options options;
    ee_collateral_options_init(&options);
    options.pccs_url = ees_given(pccs_url);
    options.pccs_ca = ees_given(pccs_ca);
    options.cache = keep_nothing ? "" : ees_given(cache);
    options.timeout_ms = timeout_ms;
    options.cancel = cancel;
    ee_status st = ee_collateral_fetch((ee_span){quote, quote_len}, &options, &collateral, err);
    const ee_span json = ee_collateral_json(collateral);
    if (!st && !(out.data = malloc(json.len))) st = EE_E_NOMEM;
    if (!st) {
        out.len = json.len;
        memcpy(out.data, json.data, json.len);
    }
    ee_collateral_free(collateral);
    ees_end(st, err);
    return out;
}

/* 0 when it cannot be known. Collateral that cannot be read at all is a failure. */
static uint64_t ees_collateral_valid_until(const void *json, size_t json_len, ee_error *err) {
    ee_collateral *collateral = NULL;
    ee_status st = ee_collateral_parse((ee_span){json, json_len}, &collateral, err);
    uint64_t until = ee_collateral_valid_until(collateral);
    ee_collateral_free(collateral);
    ees_end(st, err);
    return until;
}

static ee_verdict *ees_verify_file(const char *path, const ee_policy *policy, uint64_t at_unix_s, ee_error *err) {
    ee_verdict *out = NULL;
    ees_end(ee_verify_file(path, policy, at_unix_s, &out, err), err);
    return out;
}

/* The evidence file as bytes, so that the languages' values hold no C pointers. Written in memory where there is a place for that. */
static ees_bytes ees_verdict_evidence(const ee_verdict *verdict, ee_error *err) {
    static const char *const places[] = {"/dev/shm", NULL, "/tmp"};
    ees_bytes out = {NULL, 0};
    char folder[512], path[540];
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *place = places[i] ? places[i] : getenv("TMPDIR");
        if (!place || snprintf(folder, sizeof folder, "%s/ee-evidence-XXXXXX", place) >= (int)sizeof folder || !mkdtemp(folder)) continue;
        snprintf(path, sizeof path, "%s/evidence", folder);
        ee_status st = ee_verdict_export(verdict, path, err);
        if (!st) st = ees_slurp(path, &out);
        unlink(path);
        rmdir(folder);
        ees_end(st, err);
        return out;
    }
    ees_fail(err, EE_E_IO, "no folder to write the evidence into: /dev/shm, TMPDIR and /tmp do not take a file");
    return out;
}

/* jobs */
static char *ees_job_quote(ee_client *client, const ees_job_spec *spec, const ee_policy *policy, ee_cancel *cancel, ee_error *err) {
    char *out = NULL;
    ee_job_options options = spec->options;
    options.policy = policy;
    options.cancel = cancel;
    ee_status st = ee_job_quote(client, &options, &out, err);
    ees_end(st, err);
    if (st) ee_string_free(out); /* what it says is in the error */
    return st ? NULL : out;
}

static ee_job *ees_job_start(ee_client *client, const ees_job_spec *spec, const ee_policy *policy, ee_cancel *cancel, ee_error *err) {
    ee_job *out = NULL;
    ee_job_options options = spec->options;
    options.policy = policy;
    options.cancel = cancel;
    ees_end(ee_job_start(client, &options, &out, err), err);
    return out;
}

static void ees_job_next(ee_job *job, int64_t timeout_ms, ee_cancel *cancel, ee_job_event *out, ee_error *err) {
    ees_end(ee_job_next(job, timeout_ms, cancel, out, err), err);
}

/* A job that was stopped has a result too: then both the result and err are set. */
static ee_result *ees_job_result(ee_job *job, ee_error *err) {
    ee_result *out = NULL;
    ees_end(ee_job_result(job, &out, err), err);
    return out;
}

static void ees_job_cancel(ee_job *job, uint32_t grace_ms, ee_error *err) { ees_end(ee_job_cancel(job, grace_ms, err), err); }

/* apps */
static ee_app *ees_connect(ee_client *client, const char *app, const ee_policy *policy, uint32_t timeout_ms, int32_t strict,
                           ee_cancel *cancel, ee_error *err) {
    ee_app *out = NULL;
    ee_connect_options options;
    ee_connect_options_init(&options);
    options.policy = policy;
    options.timeout_ms = timeout_ms;
    options.strict = strict;
    options.cancel = cancel;
    ees_end(ee_connect(client, app, &options, &out, err), err);
    return out;
}

/* Owned. What came of a refused one is behind the error: ees_client_refused(). */
static ee_verdict *ees_node_attestation(ee_client *client, const char *node, const ee_policy *policy, uint32_t timeout_ms, int32_t strict,
                                        ee_cancel *cancel, ee_error *err) {
    ee_verdict *out = NULL;
    ee_connect_options options;
    ee_connect_options_init(&options);
    options.policy = policy;
    options.timeout_ms = timeout_ms;
    options.strict = strict;
    options.cancel = cancel;
    ee_status st = ee_node_attestation(client, node, &options, &out, err);
    ees_end(st, err);
    if (st) ee_verdict_free(out);
    return st ? NULL : out;
}

static ee_response *ees_app_request(ee_app *app, const char *method, const char *path, const void *headers, size_t headers_len,
                                    const void *body, size_t body_len, uint32_t timeout_ms, int32_t stream, ee_cancel *cancel,
                                    ee_error *err) {
    ee_response *out = NULL;
    const char **list = NULL;
    ee_request_options options;
    ee_request_options_init(&options);
    ee_status st = ees_list(headers, headers_len, &list, err);
    options.headers = list;
    options.body = (ee_span){body, body_len};
    options.timeout_ms = timeout_ms;
    options.stream = stream;
    options.cancel = cancel;
    if (!st) st = ee_app_request(app, method, path, &options, &out, err);
    free(list);
    ees_end(st, err);
    return out;
}

static ee_upload *ees_upload_open(ee_app *app, const char *method, const char *path, const void *headers, size_t headers_len,
                                  uint64_t body_bytes, uint32_t timeout_ms, int32_t stream, ee_cancel *cancel, ee_error *err) {
    ee_upload *out = NULL;
    const char **list = NULL;
    ee_request_options options;
    ee_request_options_init(&options);
    ee_status st = ees_list(headers, headers_len, &list, err);
    options.headers = list;
    options.body_bytes = body_bytes;
    options.timeout_ms = timeout_ms;
    options.stream = stream;
    options.cancel = cancel;
    if (!st) st = ee_upload_open(app, method, path, &options, &out, err);
    free(list);
    ees_end(st, err);
    return out;
}

static void ees_upload_write(ee_upload *upload, const void *body, size_t body_len, ee_error *err) {
    ees_end(ee_upload_write(upload, (ee_span){body, body_len}, err), err);
}

static ee_response *ees_upload_finish(ee_upload *upload, ee_error *err) {
    ee_response *out = NULL;
    ees_end(ee_upload_finish(upload, &out, err), err);
    return out;
}

/* Borrowed until the next read; the out-typemap copies. */
static ee_span ees_response_read(ee_response *response, int64_t timeout_ms, ee_error *err) {
    ee_span out = {NULL, 0};
    ees_end(ee_response_read(response, timeout_ms, &out, err), err);
    return out;
}

/* The caller owns the descriptor. */
static int ees_app_socket(ee_app *app, uint32_t timeout_ms, int32_t strict, ee_cancel *cancel, ee_error *err) {
    int out = -1;
    ee_connect_options options;
    ee_connect_options_init(&options);
    options.timeout_ms = timeout_ms;
    options.strict = strict;
    options.cancel = cancel;
    ees_end(ee_app_socket(app, &options, &out, err), err);
    return out;
}

static ee_forward *ees_app_forward(ee_app *app, uint16_t port, ee_error *err) {
    ee_forward *out = NULL;
    ees_end(ee_app_forward(app, port, &out, err), err);
    return out;
}

static char *ees_app_deploy(ee_client *client, const char *name, const char *image, const void *command, size_t command_len, uint16_t port,
                            double vcpus, uint64_t memory_bytes, const char *node, const char *idempotency_key, int64_t timeout_ms,
                            ee_cancel *cancel, ee_error *err) {
    char *out = NULL;
    const char **list = NULL;
    ee_deploy_options options;
    ee_deploy_options_init(&options);
    ee_status st = ees_list(command, command_len, &list, err);
    options.name = name;
    options.image = image;
    options.command = list;
    options.port = port;
    options.vcpus = vcpus;
    options.memory_bytes = memory_bytes;
    options.node = ees_given(node);
    options.idempotency_key = ees_given(idempotency_key);
    options.cancel = cancel;
    if (!st) st = ee_app_deploy(client, &options, timeout_ms, &out, err);
    free(list);
    ees_end(st, err);
    return out;
}

static void ees_app_stop(ee_client *client, const char *name, ee_cancel *cancel, ee_error *err) {
    ees_end(ee_app_stop(client, name, cancel, err), err);
}
%}
