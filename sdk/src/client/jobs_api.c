/* jobs_api.c - private jobs: quote, lock, attest, deliver the secrets, follow the output, check the receipt. Behind <eesdk/jobs.h>. */
#include "attest/digest.h"
#include "attest/statement.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/options.h"
#include "client/receipt.h"
#include "client/spec.h"
#include "client_internal.h"

#include <stdio.h>
#include <string.h>

enum {
    DIAL_DEADLINE_MS = 30000,
    SETTLE_GRACE_MS = 30000, /* past the job's own limit: pulling, starting, booking */
    PULL_DEADLINE_MS = 600000,
    CANCEL_GRACE_MS = 1000, /* TERM to KILL */
    CANCEL_WAIT_MS = 2500,  /* in all, for what came so far and its receipt; a caller who cancels wants to go */
    CAPTURE_DEFAULT = 1 << 20,
};

typedef struct capture {
    eei_buf bytes;
    bool truncated;
} capture;

struct ee_job {
    ee_client *client;
    char id[64], node[64], key[72];
    client_spec spec;
    client_admission admission;
    client_conn *conn;
    eei_sha256_ctx *output_hash;
    capture out[2]; /* stdout, stderr */
    uint64_t next_seq;
    ee_verdict *verdict;
    uint8_t env_commitment[32], input_commitment[32];
    bool ours;     /* to withdraw: no earlier call started it */
    bool started;  /* the secrets were delivered */
    bool given_up; /* cancelled, and no answer to that came: not asked again */
    bool done;
    ee_error failure; /* of the job, once done; status EE_OK = it ran */
    ee_result *result;
    char phase[33], message[201];
};

struct ee_result {
    int refs; /* atomic */
    char job_id[64], node[64], reason[33], image_digest[80];
    int32_t exit_code;
    eei_buf out[2];
    bool truncated;
    ee_money cost, locked, price;
    uint64_t vcpu_ms;
    char *receipt_json;
    ee_verdict *verdict;
};

/* ---- options --------------------------------------------------------------------------------------------------------- */

static const eei_options_kind job_options = {"ee_job_options", offsetof(ee_job_options, command), sizeof(ee_job_options)};

static ee_status take_options(const ee_job_options *given, ee_job_options *out, ee_error *err) {
    if (!given) return eei_fail(err, EE_E_INVALID, "job options are missing");
    ee_status st = eei_options_take(&job_options, given, out, err);
    if (!st && (!out->image || !*out->image)) st = eei_fail(err, EE_E_INVALID, "the image is missing");
    return st;
}

/* ---- quote and admission --------------------------------------------------------------------------------------------- */

/* The verdict that starting it would get. */
static ee_status judge_quote(const ee_job_options *options, const json_t *answer, ee_error *err) {
    const json_t *best = json_array_get(json_object_get(answer, "items"), 0);
    ee_money ceiling = 0;
    if (!best) return client_no_node(answer, err);
    ee_status st = client_money(best, "ceiling", &ceiling, err);
    return st ? st : client_check_cap(options->max_cost, ceiling, err);
}

ee_status ee_job_quote(ee_client *client, const ee_job_options *given, char **out_json, ee_error *err) {
    ee_job_options options;
    client_spec spec = {0};
    json_t *answer = NULL;
    eei_buf text = EEI_BUF_INIT(EEI_JSON_BYTES_MAX);
    ee_status st = take_options(given, &options, err);

    *out_json = NULL;
    if (!st) st = client_resolve(&client, err);
    if (!st) st = client_spec_job(client, &options, &spec, err);
    if (!st) st = client_quote(client, &spec, options.cancel, &answer, err);
    if (!st) st = eei_json_dump(answer, &text, err);
    if (!st && !eei_buf_cstr(&text)) st = eei_nomem(err);
    if (!st) *out_json = (char *)eei_take(&text.data);
    if (!st) st = judge_quote(&options, answer, err);
    eei_buf_clear(&text);
    json_decref(answer);
    client_spec_clear(&spec);
    return st;
}

static int tell(const ee_job_options *options, const char *phase, const char *message) {
    return options->on_progress ? options->on_progress(options->user, phase, 0, 0, message) : 0;
}

static int tell_wait(void *user) { return tell(user, "placing", "all nodes that could take it are busy: waiting for room"); }

static ee_status admit(ee_job *job, const ee_job_options *options, ee_error *err) {
    client_place place = {.path = "/v1/jobs",
                          .key = job->key,
                          .max_cost = options->max_cost,
                          .budget = true,
                          .cancel = options->cancel,
                          .on_wait = tell_wait,
                          .user = (void *)(uintptr_t)options};
    ee_status st = client_place_work(job->client, &job->spec, &place, &job->admission, err);
    if (st) return st;
    job->ours = !job->admission.replayed || !options->idempotency_key; /* a key that was made here is nobody else's */
    (void)snprintf(job->id, sizeof job->id, "%s", job->admission.id);
    (void)snprintf(job->node, sizeof job->node, "%s", job->admission.node);
    return EE_OK;
}

static ee_status started_before(const ee_job *job, const char *how_it_is, ee_error *err) {
    return eei_fail(err, EE_E_CONFLICT, "job %s was started with this key before and %s: see `ee jobs show %s`", job->id, how_it_is,
                    job->id);
}

/* An earlier call's job can be joined as long as it waits for its caller; one that runs or ended has had it. */
static ee_status check_joinable(ee_job *job, const ee_cancel *cancel, ee_error *err) {
    char path[96];
    const char *state = NULL;
    json_t *answer = NULL;
    (void)snprintf(path, sizeof path, "/v1/jobs/%s", job->id);
    client_call call = {.method = "GET", .path = path, .repeatable = true, .cancel = cancel};
    ee_status st = client_call_api(job->client, &call, &answer, err);
    if (!st) st = eei_json_string(answer, "state", &state, err);
    if (!st && (strcmp(state, "done") == 0 || strcmp(state, "failed") == 0))
        st = started_before(job, "has ended", err);
    else if (!st && strcmp(state, "admitted") != 0 && strcmp(state, "waiting") != 0)
        st = started_before(job, "has its caller", err);
    json_decref(answer);
    return st;
}

/* ---- secrets --------------------------------------------------------------------------------------------------------- */

/* What the receipt must say about env and stdin, kept instead of them: the caller's strings are borrowed only until the start. */
static ee_status commit(ee_job *job, const eei_secrets *secrets, ee_error *err) {
    ee_span *values = eei_calloc(job->spec.env_count + 1, sizeof *values);
    if (!values) return eei_nomem(err);
    for (size_t i = 0; i < job->spec.env_count; i++) values[i] = job->spec.env[i].value;
    eei_env_commitment(secrets->k_env, job->spec.env_names, values, job->spec.env_count, job->env_commitment);
    eei_hmac_sha256(secrets->k_env, secrets->stdin_data, job->input_commitment);
    eei_free(values);
    return EE_OK;
}

static ee_status seal_secrets(ee_job *job, const ee_job_options *options, eei_buf *start, ee_error *err) {
    eei_secrets secrets = {.stdin_data = eei_span(options->stdin_data, options->stdin_bytes)};
    eei_buf body = EEI_BUF_INIT_SECRET(EEI_MESSAGE_BYTES_MAX), envelope = EEI_BUF_INIT_SECRET(EEI_MESSAGE_BYTES_MAX);
    ee_status st = eei_random(secrets.k_env, sizeof secrets.k_env, err);

    memcpy(secrets.auth_id, job->admission.auth_id, sizeof secrets.auth_id);
    memcpy(secrets.spec_hash, job->spec.hash, sizeof secrets.spec_hash);
    memcpy(secrets.instance_id, job->admission.instance_id, sizeof secrets.instance_id);
    secrets.env = (eei_list){job->spec.env, job->spec.env_count};
    if (!st) st = commit(job, &secrets, err);
    if (!st) st = eei_encode(&eei_secrets_schema, &secrets, &body, err);
    if (!st) st = eei_envelope_seal(job->client->key, EEI_SIGNED_SECRETS, eei_buf_span(&body), &envelope, err);
    eei_job_start message = {eei_span_text(job->id), eei_buf_span(&envelope)};
    if (!st) st = eei_encode(&eei_job_start_schema, &message, start, err);
    eei_wipe(secrets.k_env, sizeof secrets.k_env);
    eei_buf_clear(&body);
    eei_buf_clear(&envelope);
    return st;
}

static ee_status deliver(ee_job *job, const ee_job_options *options, ee_error *err) {
    eei_buf start = EEI_BUF_INIT_SECRET(EEI_MESSAGE_BYTES_MAX);
    client_dial dial = {.kind = EEI_OPEN_JOB,
                        .target = job->id,
                        .token = eei_buf_span(&job->admission.token),
                        .alpn = EEI_ALPN_JOB,
                        .node_name = job->node,
                        .policy = job->spec.policy,
                        .deadline_ms = eei_mono_ms() + DIAL_DEADLINE_MS,
                        .cancel = options->cancel};
    memcpy(dial.instance_id, job->admission.instance_id, sizeof dial.instance_id);
    memcpy(dial.node_id, job->admission.node_id, sizeof dial.node_id);
    ee_status st = client_conn_open(job->client->engine, &dial, &job->conn, &job->verdict, err);
    if (st) return client_explain(job->client, st, err);
    job->verdict = ee_verdict_ref(client_conn_verdict(job->conn));
    st = seal_secrets(job, options, &start, err);
    if (!st) st = client_conn_send(job->conn, EEI_FRAME_JOB_START, eei_buf_span(&start), err);
    eei_buf_clear(&start);
    job->started = !st;
    return st;
}

/* A job of an earlier call: between the look at it and the connection it may have got its caller. */
static ee_status join(ee_job *job, const ee_job_options *options, ee_error *err) {
    ee_error story = {0};
    ee_status st = check_joinable(job, options->cancel, &story);
    if (!st) {
        st = deliver(job, options, &story);
        if (st == EE_E_CLOSED || st == EE_E_CONFLICT || st == EE_E_NOT_FOUND)
            st = started_before(job, "its node takes no caller for it now", &story);
    }
    if (st && err) *err = story;
    return st;
}

/* ---- start ----------------------------------------------------------------------------------------------------------- */

/* What the tag means now: this is what will run, whatever becomes of the tag. */
static int tell_image(const ee_job *job, const ee_job_options *options) {
    char hex[65], text[400];
    eei_hex_encode(eei_span(job->spec.image.digest, 32), hex);
    (void)snprintf(text, sizeof text, "%.300s is sha256:%.12s...", options->image, hex);
    return tell(options, "quoting", text);
}

static int tell_terms(const ee_job *job, const ee_job_options *options) {
    char price[32], locked[32], text[320];
    (void)snprintf(text, sizeof text, "%s at %s/vCPU-h, up to %s locked, %s", job->node, ee_money_format(job->admission.price, price),
                   ee_money_format(job->admission.locked, locked), job->id);
    return tell(options, "placing", text);
}

static int tell_proof(const ee_job *job, const ee_job_options *options) {
    char text[128];
    (void)snprintf(text, sizeof text, "%s has proved itself%s", job->node, ee_verdict_simulated(job->verdict) ? " (simulated TDX)" : "");
    return tell(options, "attesting", text);
}

static ee_status stopped_by_caller(ee_error *err) { return eei_fail(err, EE_E_CANCELLED, "the caller's callback ended the job"); }

static ee_status start(ee_client *client, const ee_job_options *options, ee_job **out, ee_error *err) {
    ee_job *job = NULL;
    ee_status st = client_resolve(&client, err);

    *out = NULL;
    if (st) return st;
    job = eei_calloc(1, sizeof *job);
    if (!job) return eei_nomem(err);
    job->client = client;
    job->next_seq = 1;
    uint64_t limit = options->output_limit_bytes ? options->output_limit_bytes : CAPTURE_DEFAULT;
    if (limit > EEI_OUTPUT_CAPTURE_MAX) limit = EEI_OUTPUT_CAPTURE_MAX;
    for (int i = 0; i < 2; i++) job->out[i].bytes = (eei_buf)EEI_BUF_INIT((size_t)limit);
    st = client_make_key("run_", options->idempotency_key, job->key, err);
    if (!st) st = eei_sha256_new(&job->output_hash, err);
    if (!st && tell(options, "quoting", "asking for the image's digest and the price")) st = stopped_by_caller(err);
    if (!st) st = client_spec_job(client, options, &job->spec, err);
    if (!st && tell_image(job, options)) st = stopped_by_caller(err);
    if (!st && tell(options, "placing", "locking credits and choosing a node")) st = stopped_by_caller(err);
    if (!st) st = admit(job, options, err);
    if (!st && tell_terms(job, options)) st = stopped_by_caller(err);
    if (!st && tell(options, "attesting", job->node)) st = stopped_by_caller(err);
    if (!st) st = job->ours ? deliver(job, options, err) : join(job, options, err);
    if (!st && tell_proof(job, options)) st = stopped_by_caller(err);
    if (st) {
        if (job->id[0] && job->ours) client_withdraw(client, "/v1/jobs", job->id);
        job->given_up = true; /* once is enough */
        ee_job_free(job);
        return st;
    }
    *out = job;
    return EE_OK;
}

ee_status ee_job_start(ee_client *client, const ee_job_options *given, ee_job **out, ee_error *err) {
    ee_job_options options;
    *out = NULL;
    ee_status st = take_options(given, &options, err);
    return st ? st : start(client, &options, out, err);
}

/* ---- events ---------------------------------------------------------------------------------------------------------- */

static ee_status keep_output(ee_job *job, const eei_output *output, ee_job_event *event, ee_error *err) {
    uint8_t stream = (uint8_t)output->stream;
    if (output->seq != job->next_seq)
        return eei_fail(err, EE_E_JOB_LOST, "output %llu came where %llu was due", (unsigned long long)output->seq,
                        (unsigned long long)job->next_seq);
    if (stream != EE_STDOUT && stream != EE_STDERR) return eei_fail(err, EE_E_MALFORMED, "output for stream %u", stream);
    job->next_seq++;
    eei_sha256_add(job->output_hash, eei_span(&stream, 1));
    eei_sha256_add(job->output_hash, output->data);
    capture *kept = &job->out[stream - 1];
    size_t room = kept->bytes.max - kept->bytes.len, take = output->data.len < room ? output->data.len : room;
    if (take && eei_buf_append(&kept->bytes, output->data.data, take) == EE_E_NOMEM) return eei_nomem(err);
    if (take < output->data.len) kept->truncated = true;
    *event = (ee_job_event){
        .kind = EE_JOB_OUTPUT, .stream = (ee_stream_id)stream, .seq = output->seq, .time_unix_ms = output->time_ms, .data = output->data};
    return EE_OK;
}

static ee_status make_result(ee_job *job, const eei_receipt *receipt, ee_span envelope, ee_error *err) {
    ee_result *result = eei_calloc(1, sizeof *result);
    char hex[65];
    if (!result) return eei_nomem(err);
    result->refs = 1;
    (void)snprintf(result->job_id, sizeof result->job_id, "%s", job->id);
    (void)snprintf(result->node, sizeof result->node, "%s", job->node);
    (void)snprintf(result->reason, sizeof result->reason, "%.*s", (int)receipt->reason.len, (const char *)receipt->reason.data);
    eei_hex_encode(eei_span(receipt->image_digest, 32), hex);
    (void)snprintf(result->image_digest, sizeof result->image_digest, "sha256:%s", hex);
    result->exit_code = (int32_t)receipt->exit_code;
    result->cost = (ee_money)receipt->charge;
    result->locked = job->admission.locked;
    result->price = (ee_money)receipt->price;
    result->vcpu_ms = receipt->vcpu_ms;
    for (int i = 0; i < 2; i++) {
        job->out[i].bytes.max++; /* for the NUL behind */
        if (!eei_buf_cstr(&job->out[i].bytes)) {
            ee_result_free(result);
            return eei_nomem(err);
        }
        result->out[i] = job->out[i].bytes;
        job->out[i].bytes = (eei_buf)EEI_BUF_INIT(0);
        result->truncated |= job->out[i].truncated;
    }
    result->verdict = ee_verdict_ref(job->verdict);
    ee_status st = client_receipt_json(receipt, envelope, result->locked, &result->receipt_json, err);
    if (st) {
        ee_result_free(result);
        return st;
    }
    job->result = result;
    return EE_OK;
}

static ee_status finish(ee_job *job, const eei_result *message, ee_error *err) {
    eei_receipt receipt;
    char word[33], text[513];
    ee_status st = EE_OK;

    (void)snprintf(word, sizeof word, "%.*s", (int)message->word.len, (const char *)message->word.data);
    (void)snprintf(text, sizeof text, "%.*s", (int)message->message.len, (const char *)message->message.data);
    ee_status why = word[0] ? eei_status_from_word(word) : EE_OK;
    if (message->receipt.len) {
        client_receipt_expect expect = {.verdict = job->verdict,
                                        .spec = &job->spec,
                                        .admission = &job->admission,
                                        .env_commitment = job->env_commitment,
                                        .input_commitment = job->input_commitment,
                                        .node = job->node};
        eei_sha256_end(job->output_hash, expect.output_hash);
        st = client_receipt_check(&expect, message->receipt, &receipt, err);
        if (!st) st = make_result(job, &receipt, message->receipt, err);
        if (!st) client_budget_return(job->client, job->admission.locked - job->result->cost);
    } else if (!word[0]) {
        st = eei_fail(err, EE_E_ATTESTATION, "the agent says that the job ran but gives no receipt");
    } else if (why == EE_OK || strcmp(ee_status_word(why), word) != 0) {
        st = eei_fail(err, EE_E_MALFORMED, "the agent gives neither a receipt nor an error that is known (\"%s\")", word);
    }
    if (st) return st;
    job->done = true;
    if (why) {
        eei_fail(&job->failure, why, "%s", text);
    } else if (strcmp(job->result->reason, "timed_out") == 0) {
        eei_fail(&job->failure, EE_E_JOB_TIMEOUT, "the job reached its time limit of %llu ms and was ended",
                 (unsigned long long)job->spec.message.wall_ms);
        eei_hint(&job->failure, EE_E_JOB_TIMEOUT, "raise the timeout; what it printed so far is in the result");
    } else if (strcmp(job->result->reason, "cancelled") == 0) {
        eei_fail(&job->failure, EE_E_CANCELLED, "the job was cancelled");
    }
    return EE_OK;
}

static ee_status take_frame(ee_job *job, const eei_frame *frame, ee_job_event *event, bool *is_event, ee_error *err) {
    eei_arena arena = EEI_ARENA_INIT(4096);
    ee_status st = EE_OK;
    *is_event = true;
    if (frame->type == EEI_FRAME_OUTPUT) {
        eei_output output;
        st = eei_decode(&eei_output_schema, frame->payload, &arena, &output, err);
        if (!st) st = keep_output(job, &output, event, err);
    } else if (frame->type == EEI_FRAME_PROGRESS) {
        eei_progress progress;
        st = eei_decode(&eei_progress_schema, frame->payload, &arena, &progress, err);
        if (!st) {
            (void)snprintf(job->phase, sizeof job->phase, "%.*s", (int)progress.phase.len, (const char *)progress.phase.data);
            (void)snprintf(job->message, sizeof job->message, "%.*s", (int)progress.message.len, (const char *)progress.message.data);
            *event = (ee_job_event){
                .kind = EE_JOB_PROGRESS, .phase = job->phase, .done = progress.done, .total = progress.total, .message = job->message};
        }
    } else if (frame->type == EEI_FRAME_RESULT) {
        eei_result message;
        st = eei_decode(&eei_result_schema, frame->payload, &arena, &message, err);
        if (!st) st = finish(job, &message, err);
        if (!st) *event = (ee_job_event){.kind = EE_JOB_DONE};
    } else if (frame->flags & EEI_FRAME_CRITICAL) {
        st = eei_fail(err, EE_E_VERSION, "the agent sent message type %u, which this version does not know", frame->type);
    } else {
        *is_event = false;
    }
    eei_arena_clear(&arena);
    return st;
}

static ee_status lost(ee_job *job, const ee_error *why, ee_error *err) {
    char locked[32];
    if (client_conn_link_lost(job->conn)) {
        eei_fail(err, EE_E_JOB_LOST, "the way to job %s on node %s was lost while it ran: the control plane went away (%s)", job->id,
                 job->node, why->message);
        client_set_details(err, json_pack("{s:s, s:s}", "job_id", job->id, "node", job->node));
        return eei_hint(
            err, EE_E_JOB_LOST,
            "its node ends a job whose caller is gone; once the control plane answers, `ee jobs show %s` tells what it came to and cost",
            job->id);
    }
    eei_fail(err, EE_E_JOB_LOST, "node %s went away while job %s ran (%s)", job->node, job->id, why->message);
    client_set_details(err, json_pack("{s:s, s:s}", "job_id", job->id, "node", job->node));
    return eei_hint(err, EE_E_JOB_LOST, "what is not used of the %s that were locked comes back; run it again to use another node",
                    ee_money_format(job->admission.locked, locked));
}

ee_status ee_job_next(ee_job *job, int64_t timeout_ms, ee_cancel *cancel, ee_job_event *event, ee_error *err) {
    uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : eei_mono_ms() + (uint64_t)timeout_ms;
    if (job->done) return eei_fail(err, EE_E_END, "the job has ended");
    for (;;) {
        eei_frame frame;
        ee_error story = {0};
        bool is_event = false;
        ee_status st = client_conn_receive(job->conn, deadline, cancel, &frame, &story);
        if (st == EE_E_END || st == EE_E_CLOSED || st == EE_E_CONNECT || st == EE_E_IO) return lost(job, &story, err);
        if (!st) st = take_frame(job, &frame, event, &is_event, &story);
        if (st) {
            if (err) *err = story;
            return st;
        }
        if (is_event) return EE_OK;
    }
}

ee_status ee_job_cancel(ee_job *job, uint32_t grace_ms, ee_error *err) {
    eei_cancel_job message = {grace_ms};
    eei_buf payload = EEI_BUF_INIT(64);
    ee_status st = eei_encode(&eei_cancel_job_schema, &message, &payload, err);
    if (!st) st = client_conn_send(job->conn, EEI_FRAME_CANCEL, eei_buf_span(&payload), err);
    eei_buf_clear(&payload);
    return st;
}

const char *ee_job_id(const ee_job *job) { return job->id; }

ee_status ee_job_result(ee_job *job, ee_result **out, ee_error *err) {
    *out = NULL;
    if (!job->done) return eei_fail(err, EE_E_STATE, "job %s has not ended yet", job->id);
    if (job->result) {
        __atomic_add_fetch(&job->result->refs, 1, __ATOMIC_ACQ_REL);
        *out = job->result;
    }
    if (job->failure.status && err) *err = job->failure;
    return job->failure.status;
}

void ee_job_free(ee_job *job) {
    if (!job) return;
    if (job->started && job->ours && !job->done && !job->given_up) client_withdraw(job->client, "/v1/jobs", job->id);
    if (job->id[0] && !job->result) client_budget_return(job->client, job->admission.locked);
    client_conn_free(job->conn);
    eei_sha256_free(job->output_hash);
    for (int i = 0; i < 2; i++) eei_buf_clear(&job->out[i].bytes);
    ee_verdict_free(job->verdict);
    ee_result_free(job->result);
    client_spec_clear(&job->spec);
    client_admission_clear(&job->admission);
    eei_free(job);
}

/* What a job that was let go of still says is taken and dropped: a queue that fills would hold it up. */
static void *run_to_its_end(void *arg) {
    ee_job *job = arg;
    ee_client *client = job->client;
    ee_job_event event;
    while (ee_job_next(job, -1, NULL, &event, NULL) == EE_OK) {
    }
    job->given_up = true; /* it ended, or cannot be reached */
    ee_job_free(job);
    ee_client_free(client);
    return NULL;
}

void ee_job_detach(ee_job *job) {
    pthread_t thread;
    if (!job) return;
    if (!job->done && !job->given_up) {
        client_ref(job->client);
        if (pthread_create(&thread, NULL, run_to_its_end, job) == 0) {
            pthread_detach(thread);
            return;
        }
        ee_client_free(job->client);
    }
    ee_job_free(job);
}

/* ---- the one call ---------------------------------------------------------------------------------------------------- */

/* Once: what came so far, the receipt and the bill are waited for, but not for long. */
static ee_status begin_cancel(ee_job *job, uint64_t *deadline_ms, ee_error *err) {
    *deadline_ms = eei_mono_ms() + CANCEL_WAIT_MS;
    return ee_job_cancel(job, CANCEL_GRACE_MS, err);
}

static ee_status give_up(ee_job *job, ee_error *err) {
    job->given_up = true; /* the agent hears it from the end of the connection */
    eei_fail(err, EE_E_CANCELLED, "the job was cancelled; no answer to that came within %d ms", CANCEL_WAIT_MS);
    return eei_hint(err, EE_E_CANCELLED, "`ee jobs show %s` tells what it cost", job->id);
}

static int pass_on(const ee_job_options *options, const ee_job_event *event) {
    if (event->kind == EE_JOB_OUTPUT && options->on_output)
        return options->on_output(options->user, event->stream, event->seq, event->data.data, event->data.len);
    if (event->kind == EE_JOB_PROGRESS && options->on_progress)
        return options->on_progress(options->user, event->phase, event->done, event->total, event->message);
    return 0;
}

static ee_status follow(ee_job *job, const ee_job_options *options, ee_error *err) {
    bool cancelling = false;
    uint64_t deadline = eei_mono_ms() + job->spec.message.wall_ms + PULL_DEADLINE_MS + SETTLE_GRACE_MS;
    for (;;) {
        ee_job_event event = {0};
        uint64_t now = eei_mono_ms();
        ee_status st = ee_job_next(job, (int64_t)(deadline > now ? deadline - now : 0), cancelling ? NULL : options->cancel, &event, err);
        bool stop = st == EE_E_CANCELLED || (!st && pass_on(options, &event) != 0);
        if (st == EE_E_TIMEOUT && cancelling) return give_up(job, err);
        if ((st && st != EE_E_CANCELLED) || event.kind == EE_JOB_DONE) return st;
        if (stop && !cancelling) {
            cancelling = true;
            st = begin_cancel(job, &deadline, err);
        }
        if (st) return st;
    }
}

ee_status ee_run_private_job(ee_client *client, const ee_job_options *given, ee_result **out, ee_error *err) {
    ee_job_options options;
    ee_job *job = NULL;

    *out = NULL;
    ee_status st = take_options(given, &options, err);
    if (!st) st = start(client, &options, &job, err);
    if (!st) st = follow(job, &options, err);
    if (!st) st = ee_job_result(job, out, err);
    if (!st && options.check && (*out)->exit_code != 0)
        st = eei_fail(err, EE_E_JOB_FAILED, "job %s ended with exit code %d", (*out)->job_id, (*out)->exit_code);
    ee_job_free(job);
    return st;
}

/* ---- results --------------------------------------------------------------------------------------------------------- */

const char *ee_result_job_id(const ee_result *result) { return result->job_id; }
int32_t ee_result_exit_code(const ee_result *result) { return result->exit_code; }
const char *ee_result_reason(const ee_result *result) { return result->reason; }
ee_span ee_result_output(const ee_result *result, ee_stream_id stream) {
    return stream == EE_STDOUT || stream == EE_STDERR ? eei_buf_span(&result->out[stream - 1]) : (ee_span){NULL, 0};
}
int32_t ee_result_truncated(const ee_result *result) { return result->truncated; }
const char *ee_result_image_digest(const ee_result *result) { return result->image_digest; }
const char *ee_result_node(const ee_result *result) { return result->node; }
ee_money ee_result_cost(const ee_result *result) { return result->cost; }
ee_money ee_result_locked(const ee_result *result) { return result->locked; }
ee_money ee_result_price(const ee_result *result) { return result->price; }
uint64_t ee_result_vcpu_ms(const ee_result *result) { return result->vcpu_ms; }
const char *ee_result_receipt_json(const ee_result *result) { return result->receipt_json; }
const ee_verdict *ee_result_attestation(const ee_result *result) { return result->verdict; }

void ee_result_free(ee_result *result) {
    if (!result || __atomic_sub_fetch(&result->refs, 1, __ATOMIC_ACQ_REL) > 0) return;
    for (int i = 0; i < 2; i++) eei_buf_clear(&result->out[i]);
    ee_verdict_free(result->verdict);
    eei_free(result->receipt_json);
    eei_free(result);
}
