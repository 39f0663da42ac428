/* spec.c - see spec.h. */
#include "spec.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MEMORY_DEFAULT = 512 << 20,
    WALL_DEFAULT_MS = 600000,
    WALL_MAX_MS = 86400000, /* a day: one lock must end */
    MEMORY_MIN = 16 << 20,  /* less cannot start a process in a sandbox */
    VCPUS_MAX = 1024,
    AUTH_LIFE_MS = 300000,
};

/* ---- spec ------------------------------------------------------------------------------------------------------------ */

static size_t list_length(const char *const *list) {
    size_t n = 0;
    while (list && list[n]) n++;
    return n;
}

static ee_status set_args(client_spec *spec, const char *const *command, ee_error *err) {
    size_t n = list_length(command);
    if (n > EEI_ARGS_MAX) return eei_fail(err, EE_E_INVALID, "the command has %zu arguments; at most %u", n, EEI_ARGS_MAX);
    if (command && n == 0) return eei_fail(err, EE_E_INVALID, "the command is empty; leave it out for the image's own");
    spec->args = eei_calloc(n + 1, sizeof *spec->args);
    if (!spec->args) return eei_nomem(err);
    for (size_t i = 0; command && i < n; i++) spec->args[i] = eei_span_text(command[i]);
    spec->message.args = (eei_list){spec->args, n};
    return EE_OK;
}

static int by_name(const void *a, const void *b) {
    ee_span x = ((const eei_env *)a)->name, y = ((const eei_env *)b)->name;
    size_t shorter = x.len < y.len ? x.len : y.len;
    int order = memcmp(x.data, y.data, shorter);
    return order ? order : (x.len > y.len) - (x.len < y.len);
}

/* Names travel in the clear, values do not: what is no name may be the rest of a value that was cut, so it is counted but never shown. */
static ee_status check_env_name(ee_span name, size_t number, ee_error *err) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
    if (name.len > 255) return eei_fail(err, EE_E_INVALID, "the name of env variable %zu has %zu bytes; at most 255", number, name.len);
    for (size_t i = 0; i < name.len; i++)
        if (!memchr(letters, name.data[i], sizeof letters - 1) && (i == 0 || name.data[i] < '0' || name.data[i] > '9'))
            return eei_fail(err, EE_E_INVALID, "byte %zu of the name of env variable %zu is none of A-Z a-z _%s", i + 1, number,
                            i ? " 0-9" : "");
    return EE_OK;
}

static ee_status set_env(client_spec *spec, const char *const *env, ee_error *err) {
    size_t n = list_length(env), total = 0;
    if (n > EEI_ARGS_MAX) return eei_fail(err, EE_E_INVALID, "env has %zu variables; at most %u", n, EEI_ARGS_MAX);
    spec->env = eei_calloc(n + 1, sizeof *spec->env);
    spec->env_names = eei_calloc(n + 1, sizeof *spec->env_names);
    if (!spec->env || !spec->env_names) return eei_nomem(err);
    for (size_t i = 0; env && i < n; i++) {
        const char *equals = strchr(env[i], '=');
        if (!equals || equals == env[i]) return eei_fail(err, EE_E_INVALID, "env variable %zu is not NAME=value", i + 1);
        spec->env[i] = (eei_env){eei_span(env[i], (size_t)(equals - env[i])), eei_span_text(equals + 1)};
        ee_status st = check_env_name(spec->env[i].name, i + 1, err);
        if (st) return st;
        size_t bytes = strlen(env[i]);
        if (bytes > EEI_ENV_ITEM_BYTES_MAX)
            return eei_fail(err, EE_E_LIMIT, "env variable %zu has %zu bytes with its name; at most %u", i + 1, bytes,
                            EEI_ENV_ITEM_BYTES_MAX);
        total += bytes + 1;
    }
    if (total > EEI_ENV_BYTES_MAX) return eei_fail(err, EE_E_LIMIT, "env has %zu bytes in all; at most %u", total, EEI_ENV_BYTES_MAX);
    qsort(spec->env, n, sizeof *spec->env, by_name);
    for (size_t i = 0; i < n; i++) {
        if (i && by_name(&spec->env[i - 1], &spec->env[i]) == 0)
            return eei_fail(err, EE_E_INVALID, "env variable %.*s is given twice", (int)spec->env[i].name.len,
                            (const char *)spec->env[i].name.data);
        spec->env_names[i] = spec->env[i].name;
    }
    spec->env_count = n;
    spec->message.env_names = (eei_list){spec->env_names, n};
    return EE_OK;
}

static ee_status set_size(client_spec *spec, double vcpus, uint64_t memory, ee_error *err) {
    double milli = (vcpus == 0 ? 1.0 : vcpus) * 1000.0;
    if (!(milli >= 1.0 && milli <= VCPUS_MAX * 1000.0))
        return eei_fail(err, EE_E_INVALID, "vcpus is %g; it must be 0.001 to %d", vcpus, VCPUS_MAX);
    uint64_t rounded = (uint64_t)(milli + 0.5);
    if (milli - (double)rounded > 1e-6 || (double)rounded - milli > 1e-6)
        return eei_fail(err, EE_E_INVALID, "vcpus is %.9g; at most three decimals", vcpus);
    spec->message.vcpus_milli = rounded;
    spec->message.memory_bytes = memory ? memory : MEMORY_DEFAULT;
    if (spec->message.memory_bytes < MEMORY_MIN)
        return eei_fail(err, EE_E_INVALID, "memory is %llu bytes; at least %d", (unsigned long long)memory, MEMORY_MIN);
    return EE_OK;
}

static ee_status set_name(char out[EEI_NAME_BYTES_MAX + 1], ee_span *span, const char *text, const char *what, ee_error *err) {
    if (!text) return EE_OK;
    if (!*text || strlen(text) > EEI_NAME_BYTES_MAX)
        return eei_fail(err, EE_E_INVALID, "%s must have 1 to %u bytes", what, EEI_NAME_BYTES_MAX);
    (void)snprintf(out, EEI_NAME_BYTES_MAX + 1, "%s", text);
    *span = eei_span_text(out);
    return EE_OK;
}

/* A job leaves no event that a quote covers: what its policy says of the image is compared with the order itself, before anything is
 * locked. */
static ee_status check_image(const client_spec *spec, const char *image, ee_error *err) {
    const uint8_t *pin = eei_policy_image(spec->policy);
    char want[65], have[65];
    if (!pin || eei_same(pin, spec->image.digest, 32)) return EE_OK;
    eei_hex_encode(eei_span(pin, 32), want);
    eei_hex_encode(eei_span(spec->image.digest, 32), have);
    eei_fail(err, EE_E_ATTESTATION, "image: %.200s is another image than the policy pins; expected sha256:%s, actual sha256:%s", image,
             want, have);
    if (err) (void)snprintf(err->details, sizeof err->details, "{\"check\":\"image\",\"reason\":\"attestation\"}");
    return eei_hint(err, EE_E_ATTESTATION, "nothing was locked; REPOSITORY@sha256:DIGEST names exactly one image");
}

static ee_status finish_spec(ee_client *client, client_spec *spec, const char *image, const ee_cancel *cancel, ee_error *err) {
    ee_status st = client_image_resolve(client, image, cancel, &spec->image, err);
    if (!st) st = check_image(spec, image, err);
    if (st) return st;
    spec->message.repository = eei_span_text(spec->image.repository);
    spec->message.tag = eei_span_text(spec->image.tag);
    spec->message.insecure_registry = spec->image.insecure;
    memcpy(spec->message.image_digest, spec->image.digest, sizeof spec->message.image_digest);
    spec->bytes = (eei_buf)EEI_BUF_INIT(60000);
    st = eei_encode(&eei_spec_schema, &spec->message, &spec->bytes, err);
    if (!st) eei_sha256(eei_buf_span(&spec->bytes), spec->hash);
    return st;
}

ee_status client_spec_job(ee_client *client, const ee_job_options *options, client_spec *spec, ee_error *err) {
    ee_status st;
    memset(spec, 0, sizeof *spec);
    spec->message.kind = EEI_SPEC_JOB;
    spec->message.wall_ms = options->timeout_ms ? options->timeout_ms : WALL_DEFAULT_MS;
    if (spec->message.wall_ms > WALL_MAX_MS)
        return eei_fail(err, EE_E_INVALID, "the timeout is %llu ms; at most %d", (unsigned long long)options->timeout_ms, WALL_MAX_MS);
    if (options->stdin_bytes > EEI_STDIN_BYTES_MAX)
        return eei_hint(err, eei_fail(err, EE_E_LIMIT, "stdin has %zu bytes; at most %u", options->stdin_bytes, EEI_STDIN_BYTES_MAX),
                        "larger input is not streamed in this version: what does not change can be part of the image");
    spec->stdin_data = eei_span(options->stdin_data, options->stdin_bytes);
    spec->policy = options->policy ? options->policy : client->config.policy;
    spec->message.output_max = options->output_limit_bytes;
    st = set_args(spec, options->command, err);
    if (!st) st = set_env(spec, options->env, err);
    if (!st) st = set_size(spec, options->vcpus, options->memory_bytes, err);
    if (!st) st = set_name(spec->node, &spec->message.node, options->node, "node", err);
    return st ? st : finish_spec(client, spec, options->image, options->cancel, err);
}

ee_status client_spec_app(ee_client *client, const ee_deploy_options *options, client_spec *spec, ee_error *err) {
    ee_status st;
    memset(spec, 0, sizeof *spec);
    spec->message.kind = EEI_SPEC_APP;
    spec->message.port = options->port;
    spec->policy = client->config.policy;
    if (!options->port) return eei_fail(err, EE_E_INVALID, "the app's port is missing");
    if (!options->name) return eei_fail(err, EE_E_INVALID, "the app's name is missing");
    st = set_args(spec, options->command, err);
    if (!st) st = set_env(spec, NULL, err);
    if (!st) st = set_size(spec, options->vcpus, options->memory_bytes, err);
    if (!st) st = set_name(spec->name, &spec->message.name, options->name, "the app's name", err);
    if (!st) st = set_name(spec->node, &spec->message.node, options->node, "node", err);
    return st ? st : finish_spec(client, spec, options->image, options->cancel, err);
}

void client_spec_clear(client_spec *spec) {
    eei_free(spec->args);
    eei_free(spec->env_names);
    eei_free(spec->env);
    eei_buf_clear(&spec->bytes);
    memset(spec, 0, sizeof *spec);
}

/* ---- quotes ---------------------------------------------------------------------------------------------------------- */

static json_t *base64_json(ee_span bytes) {
    eei_buf text = EEI_BUF_INIT(2 * EEI_FRAME_PAYLOAD_MAX);
    json_t *value = NULL;
    if (eei_base64url_encode(bytes, &text) == EE_OK) value = json_stringn((const char *)text.data, text.len);
    eei_buf_clear(&text);
    return value;
}

ee_status client_quote(ee_client *client, const client_spec *spec, const ee_cancel *cancel, json_t **out, ee_error *err) {
    json_t *body = json_pack("{s:o}", "spec", base64_json(eei_buf_span(&spec->bytes)));
    client_call call = {.method = "POST", .path = "/v1/quotes", .body = body, .repeatable = true, .cancel = cancel};
    *out = NULL;
    ee_status st = body ? client_call_api(client, &call, out, err) : eei_nomem(err);
    json_decref(body);
    return st;
}

/* Of the reasons what an ee_error has room for. */
static json_t *as_many_as_fit(const json_t *rejected) {
    json_t *out = json_object(), *why;
    const char *node;
    size_t room = sizeof((ee_error *)0)->details - sizeof "{\"busy\":false,\"rejected\":{}}";
    json_object_foreach((json_t *)(uintptr_t)rejected, node, why) {
        size_t need = strlen(node) + json_string_length(why) + sizeof "\"\":\"\",";
        if (need > room) break;
        room -= need;
        json_object_set(out, node, why);
    }
    return out;
}

ee_status client_no_node(const json_t *answer, ee_error *err) {
    const json_t *rejected = json_object_get(answer, "rejected");
    const char *node;
    json_t *why;
    char reasons[400] = "";
    size_t used = 0;
    json_object_foreach((json_t *)(uintptr_t)rejected, node, why) {
        int n = snprintf(reasons + used, sizeof reasons - used, "%s%s: %s", used ? "; " : "", node, json_string_value(why));
        if (n < 0 || (size_t)n >= sizeof reasons - used) break;
        used += (size_t)n;
    }
    eei_fail(err, EE_E_NO_NODE, "no node can take this: %s", used ? reasons : "there are no nodes");
    client_set_details(
        err, json_pack("{s:b, s:o}", "busy", json_is_true(json_object_get(answer, "busy")), "rejected", as_many_as_fit(rejected)));
    return eei_hint(err, EE_E_NO_NODE, "ask for less, or see `ee nodes`");
}

ee_status client_best_offer(ee_client *client, const client_spec *spec, const ee_cancel *cancel, client_offer *out, ee_error *err) {
    json_t *answer = NULL;
    const char *node = NULL, *tier = NULL;
    ee_status st = client_quote(client, spec, cancel, &answer, err);
    const json_t *best = json_array_get(json_object_get(answer, "items"), 0);
    memset(out, 0, sizeof *out);
    if (!st && !best) st = client_no_node(answer, err);
    if (!st) st = eei_json_string(best, "node", &node, err);
    if (!st) st = eei_json_string(best, "tier", &tier, err);
    if (!st) st = client_money(best, "price_per_vcpu_hour", &out->price, err);
    if (!st) st = client_money(best, "ceiling", &out->ceiling, err);
    /* An app may move when its node is gone: it is authorized for the dearest of the nodes that could take it now. */
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(answer, "items"), i, item) {
        ee_money ceiling = 0;
        if (st || spec->message.kind != EEI_SPEC_APP) break;
        st = client_money(item, "ceiling", &ceiling, err);
        if (ceiling > out->ceiling) out->ceiling = ceiling;
    }
    if (!st) {
        (void)snprintf(out->node, sizeof out->node, "%s", node);
        (void)snprintf(out->tier, sizeof out->tier, "%s", tier);
    }
    json_decref(answer);
    return st;
}

/* ---- admission ------------------------------------------------------------------------------------------------------- */

static ee_status authorize(ee_client *client, const client_spec *spec, const client_offer *offer, const ee_cancel *cancel,
                           client_admission *out, uint8_t sealed_for[32], eei_buf *envelope, ee_error *err) {
    eei_spend_auth auth = {.price = (uint64_t)offer->price,
                           .node = eei_span_text(offer->node),
                           .max_total = (uint64_t)offer->ceiling,
                           .not_after_ms = eei_wall_ms() + AUTH_LIFE_MS};
    eei_buf body = EEI_BUF_INIT(1024);
    memcpy(auth.auth_id, out->auth_id, sizeof auth.auth_id);
    memcpy(auth.spec_hash, spec->hash, sizeof auth.spec_hash);
    memcpy(auth.policy_hash, eei_policy_hash_bytes(spec->policy), sizeof auth.policy_hash);
    ee_status st = client_control_instance(client, cancel, sealed_for, err);
    if (!st) memcpy(auth.control_instance, sealed_for, sizeof auth.control_instance);
    if (!st) st = eei_encode(&eei_spend_auth_schema, &auth, &body, err);
    if (!st) st = eei_envelope_seal(client->key, EEI_SIGNED_SPEND_AUTH, eei_buf_span(&body), envelope, err);
    if (!st) eei_sha256(eei_buf_span(envelope), out->spend_auth_hash);
    eei_buf_clear(&body);
    return st;
}

/* The authorization's id follows from the key: whatever is sealed with one key is one order. */
static void auth_id_from_key(ee_client *client, const char *key, uint8_t out[16]) {
    uint8_t text[32 + 72], hash[32];
    size_t len = strlen(key);
    memcpy(text, eei_key_public(client->key), 32);
    memcpy(text + 32, key, len);
    eei_sha256(eei_span(text, 32 + len), hash);
    memcpy(out, hash, 16);
}

/* Exactly what was authorized, or less. */
static ee_status check_terms(const client_spec *spec, const client_offer *offer, const client_admission *admission, ee_error *err) {
    bool same = strcmp(admission->node, offer->node) == 0 && admission->price == offer->price && admission->locked >= 0 &&
                admission->locked <= offer->ceiling;
    if (same) return EE_OK;
    if (!admission->replayed)
        return eei_fail(err, EE_E_SERVER, "the control plane admitted the work on other terms than were authorized (node %s)",
                        admission->node);
    /* The first call authorized these. An app is only looked at from here on; a job would be paid for. */
    if (spec->message.kind == EEI_SPEC_APP) return EE_OK;
    return eei_fail(err, EE_E_CONFLICT, "job %s was started with this key before, on other terms: see `ee jobs show %s`", admission->id,
                    admission->id);
}

static ee_status read_admission(const json_t *answer, const client_spec *spec, const client_offer *offer, client_admission *out,
                                ee_error *err) {
    const char *id = NULL, *node = NULL;
    ee_status st = eei_json_string(answer, "id", &id, err);
    if (!st && strlen(id) < sizeof out->id) (void)snprintf(out->id, sizeof out->id, "%s", id); /* first: it may have to be withdrawn */
    out->replayed = json_is_true(json_object_get(answer, "replayed"));
    if (!st) st = eei_json_string(answer, "node", &node, err);
    if (!st) st = client_hex(answer, "instance_id", out->instance_id, sizeof out->instance_id, err);
    if (!st) st = client_hex(answer, "node_id", out->node_id, sizeof out->node_id, err);
    if (!st) st = client_money(answer, "locked", &out->locked, err);
    if (!st) st = client_money(answer, "price_per_vcpu_hour", &out->price, err);
    if (!st) st = client_u64(answer, "period_start_ms", &out->period_start_ms, err);
    if (!st) st = client_bytes(answer, "token", &out->token, err);
    if (st) return st;
    if (!out->id[0] || strlen(id) >= sizeof out->id || strlen(node) >= sizeof out->node)
        return eei_fail(err, EE_E_SERVER, "the control plane's answer has names that are empty or too long");
    (void)snprintf(out->node, sizeof out->node, "%s", node);
    return check_terms(spec, offer, out, err);
}

void client_withdraw(ee_client *client, const char *collection, const char *name) {
    char path[96];
    json_t *answer = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", collection, name);
    client_call call = {.method = "DELETE", .path = path, .brief = true};
    eei_ignored(client_call_api(client, &call, &answer, NULL));
    json_decref(answer);
}

static ee_status ask_admission(ee_client *client, const client_spec *spec, const client_offer *offer, client_call *call,
                               client_admission *out, uint8_t sealed_for[32], json_t **answer, ee_error *err) {
    eei_buf envelope = EEI_BUF_INIT(2048);
    json_t *body = NULL;
    ee_status st = authorize(client, spec, offer, call->cancel, out, sealed_for, &envelope, err);
    if (!st) {
        body =
            json_pack("{s:o, s:o}", "spec", base64_json(eei_buf_span(&spec->bytes)), "authorization", base64_json(eei_buf_span(&envelope)));
        if (!body) st = eei_nomem(err);
    }
    call->body = body;
    if (!st) st = client_call_api(client, call, answer, err);
    json_decref(body);
    eei_buf_clear(&envelope);
    return st;
}

ee_status client_admit(ee_client *client, const char *path, const client_spec *spec, const client_offer *offer, const char *key,
                       const ee_cancel *cancel, client_admission *out, ee_error *err) {
    uint8_t sealed_for[32];
    json_t *answer = NULL;
    ee_error story = {0};

    memset(out, 0, sizeof *out);
    out->token = (eei_buf)EEI_BUF_INIT_SECRET(1024);
    auth_id_from_key(client, key, out->auth_id);
    client_call call = {.method = "POST", .path = path, .idempotency_key = key, .repeatable = true, .cancel = cancel};
    call.lasting = spec->message.kind == EEI_SPEC_APP; /* a job without its caller is given back */
    ee_status st = ask_admission(client, spec, offer, &call, out, sealed_for, &answer, &story);
    /* The control plane restarted since it was last heard: once more, for the instance that answered. */
    if (st == EE_E_AUTH && client_instance_changed(client, cancel, sealed_for))
        st = ask_admission(client, spec, offer, &call, out, sealed_for, &answer, &story);
    if (!st) {
        st = read_admission(answer, spec, offer, out, &story);
        if (st && out->id[0] && !out->replayed) client_withdraw(client, path, spec->message.kind == EEI_SPEC_APP ? spec->name : out->id);
    }
    if (st && err) *err = story;
    json_decref(answer);
    return st;
}

void client_admission_clear(client_admission *admission) { eei_buf_clear(&admission->token); }
