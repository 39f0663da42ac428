/* jobs.c - jobs on this node: an admission from the control plane and a caller's attested channel meet here, the image runs, output goes
 * back in order, a receipt ends it. The job holds its secrets only between JOB_START and the start of the run (threats W11-W13). */
#include "agent/agent.h"
#include "agent/receipts.h"
#include "attest/digest.h"
#include "attest/statement.h"
#include "base/alloc.h"
#include "base/price.h"

#include <inttypes.h>
#include <string.h>

enum {
    OUTPUT_BLOCK = 16384,
    PENDING_HIGH = 256 << 10, /* unsent output past this pauses the job's pipes */
    PENDING_LOW = 64 << 10,
    PENDING_MAX = 4 << 20,
    ACK_WAIT_MS = 2000,    /* the result is held this long for the booking of its receipt */
    LEAVE_GRACE_MS = 2000, /* TERM to KILL when the caller has gone */
    READ_WAIT_MS = 30000,  /* a caller that reads nothing of its result for this long is let go */
};

struct agent_job {
    agent *agent;
    agent_job *next;
    char id[65];
    /* admission */
    eei_buf spec_bytes, spend_auth;
    eei_spec spec;
    eei_spend_auth auth;
    eei_arena arena;
    uint8_t spec_hash[32], account_pub[32];
    ee_money price, locked;
    uint64_t period_start_ms;
    uint64_t connect_by_ms;
    uv_timer_t timer; /* the connect deadline; at the end the wait for the acknowledgement, then for the caller to take its result */
    /* image */
    agent_image_request *pulling;
    agent_image *image;
    ee_error image_error;
    bool image_ready;
    /* caller */
    eei_pipe *pipe;
    eei_stream *stream; /* the pipe's, to say why it is let go */
    bool attached;
    ee_error failed;  /* why it did not run, for a caller that comes after */
    eei_buf incoming; /* secret: of a message that is not whole yet */
    /* secrets, until the run started */
    eei_buf secrets_bytes; /* secret */
    eei_secrets secrets;
    eei_arena secrets_arena;
    bool has_secrets;
    uint8_t env_commitment[32], input_commitment[32];
    /* run */
    agent_run *run;
    bool counted, paused, ended;
    uint64_t start_ms, next_seq, output_bytes;
    eei_sha256_ctx *output_hash;
    eei_buf pending; /* frames not taken by the channel yet */
    uint8_t receipt_hash[32];
    bool waiting_ack, closing;
    eei_buf result; /* RESULT frame, held until the acknowledgement */
};

static void maybe_start(agent_job *job);

/* ---- life ------------------------------------------------------------------------------------------------------------ */

static agent_job *find_job(const agent *self, ee_span id) {
    for (agent_job *job = self->jobs; job; job = job->next)
        if (eei_span_equal(eei_span_text(job->id), id)) return job;
    return NULL;
}

static void forget_secrets(agent_job *job) {
    eei_buf_clear(&job->incoming);
    eei_arena_clear(&job->secrets_arena);
    eei_buf_clear(&job->secrets_bytes);
    eei_wipe(&job->secrets, sizeof job->secrets);
    job->has_secrets = false;
}

static void free_job(uv_handle_t *handle) {
    agent_job *job = handle->data;
    eei_arena_clear(&job->arena);
    eei_buf_clear(&job->spec_bytes);
    eei_buf_clear(&job->spend_auth);
    eei_buf_clear(&job->incoming);
    eei_buf_clear(&job->pending);
    eei_buf_clear(&job->result);
    eei_sha256_free(job->output_hash);
    eei_free(job);
}

/* What it occupied is free as soon as it does not run any more, whoever still reads its result. */
static void release_capacity(agent_job *job) {
    if (!job->counted) return;
    job->counted = false;
    job->agent->vcpus_used_milli -= job->spec.vcpus_milli;
    job->agent->memory_used -= job->spec.memory_bytes;
}

/* With why, the caller hears it as the reason of the stream's reset. */
static void let_caller_go(agent_job *job, const ee_error *why) {
    if (job->pipe && why) agent_refuse(job->stream, why->status, why->message);
    job->stream = NULL;
    eei_pipe_free(eei_take(&job->pipe));
    eei_buf_reset(&job->pending);
    eei_buf_clear(&job->incoming);
}

/* Out of the list at once, memory when the timer's handle is closed. */
static void drop_job(agent_job *job) {
    agent *self = job->agent;
    for (agent_job **at = &self->jobs; *at; at = &(*at)->next)
        if (*at == job) {
            *at = job->next;
            break;
        }
    release_capacity(job);
    if (job->pulling) agent_image_request_cancel(eei_take(&job->pulling));
    agent_image_release(eei_take(&job->image));
    agent_run_free(eei_take(&job->run));
    let_caller_go(job, NULL);
    forget_secrets(job);
    uv_close((uv_handle_t *)&job->timer, free_job);
}

static void tell_state(agent_job *job, const char *state, ee_status why, const char *message) {
    eei_job_state state_message = {.job_id = eei_span_text(job->id),
                                   .state = eei_span_text(state),
                                   .word = eei_span_text(why ? ee_status_word(why) : ""),
                                   .message = eei_span_text(message)};
    agent_send(job->agent, EEI_FRAME_JOB_STATE, &eei_job_state_schema, &state_message);
}

/* ---- frames to the caller -------------------------------------------------------------------------------------------- */

static void on_read_deadline(uv_timer_t *timer);

static void pump_out(agent_job *job) {
    if (!job->pipe) return;
    size_t sent = eei_channel_write(eei_pipe_channel(job->pipe), eei_buf_span(&job->pending));
    eei_buf_consume(&job->pending, sent);
    if (sent) eei_pipe_flush(job->pipe);
    if (sent && job->ended && !job->waiting_ack) (void)uv_timer_start(&job->timer, on_read_deadline, READ_WAIT_MS, 0);
    if (job->paused && job->run && job->pending.len <= PENDING_LOW) {
        job->paused = false;
        agent_run_resume_output(job->run);
    }
    if (job->ended && !job->pending.len && !job->waiting_ack && !job->closing) { /* all is said: on_end comes when the caller has read it */
        job->closing = true;
        eei_channel_close(eei_pipe_channel(job->pipe));
        eei_pipe_flush(job->pipe);
    }
}

static ee_status queue_frame(agent_job *job, uint8_t type, const eei_schema *schema, const void *message, ee_error *err) {
    eei_buf payload = EEI_BUF_INIT(EEI_MESSAGE_BYTES_MAX);
    ee_status st = eei_encode(schema, message, &payload, err);
    if (!st) st = eei_frame_encode(&job->pending, type, EEI_FRAME_CRITICAL, 0, eei_buf_span(&payload));
    eei_buf_clear(&payload);
    return st;
}

static void tell_progress(agent_job *job, const char *phase, uint64_t done, uint64_t total) {
    eei_progress progress = {.phase = eei_span_text(phase), .done = done, .total = total};
    if (!job->attached) return;
    (void)queue_frame(job, EEI_FRAME_PROGRESS, &eei_progress_schema, &progress, NULL);
    pump_out(job);
}

/* ---- the end --------------------------------------------------------------------------------------------------------- */

static void on_read_deadline(uv_timer_t *timer) {
    agent_job *job = timer->data;
    ee_error why = {0};
    if (job->pipe) {
        eei_fail(&why, EE_E_TIMEOUT, "the result was not read within %d s", READ_WAIT_MS / 1000);
        eei_log(EEI_LOG_WARN, "job.result_not_read", "job=%s", job->id);
        let_caller_go(job, &why);
    }
    drop_job(job);
}

/* How long an ended job is kept: for its caller to take the result, or, when it failed before its caller came, for that one to hear why;
 * 0: nobody will ask. */
static uint64_t kept_ms(const agent_job *job) {
    uint64_t now = eei_wall_ms();
    if (job->pipe) return READ_WAIT_MS;
    if (job->attached || job->agent->stopping || job->connect_by_ms <= now) return 0;
    return job->connect_by_ms - now < EEI_JOB_CONNECT_DEADLINE_MS ? job->connect_by_ms - now : EEI_JOB_CONNECT_DEADLINE_MS;
}

/* The job may be gone after this. */
static void settle(agent_job *job) {
    if (job->ended && !job->waiting_ack) {
        uint64_t keep = kept_ms(job);
        if (!keep) {
            drop_job(job);
            return;
        }
        (void)uv_timer_start(&job->timer, on_read_deadline, keep, 0);
    }
    pump_out(job);
}

/* It did not run: no receipt, the whole lock goes back. The job may be gone after this. */
static void fail_job(agent_job *job, ee_status why, const char *message) {
    eei_result result = {.word = eei_span_text(ee_status_word(why)), .message = eei_span_text(message)};
    eei_log(EEI_LOG_INFO, "job.failed", "job=%s word=%s message=%s", job->id, ee_status_word(why), message);
    eei_fail(&job->failed, why, "%s", message);
    tell_state(job, "failed", why, message);
    forget_secrets(job);
    release_capacity(job);
    if (job->pulling) agent_image_request_cancel(eei_take(&job->pulling));
    job->ended = true;
    if (job->pipe && queue_frame(job, EEI_FRAME_RESULT, &eei_result_schema, &result, NULL))
        eei_log(EEI_LOG_ERROR, "job.result_lost", "job=%s", job->id);
    settle(job);
}

static void on_ack_timeout(uv_timer_t *timer) {
    agent_job *job = timer->data;
    job->waiting_ack = false; /* it is kept and sent again; the caller need not wait for it */
    if (job->pipe && eei_buf_append_span(&job->pending, eei_buf_span(&job->result)))
        eei_log(EEI_LOG_ERROR, "job.result_lost", "job=%s", job->id);
    settle(job);
}

static void result_with_receipt(agent_job *job, ee_span envelope) {
    eei_result result = {.receipt = envelope};
    eei_buf payload = EEI_BUF_INIT(EEI_MESSAGE_BYTES_MAX);
    ee_error err;
    job->ended = true;
    job->waiting_ack = true;
    if (eei_encode(&eei_result_schema, &result, &payload, &err) ||
        eei_frame_encode(&job->result, EEI_FRAME_RESULT, EEI_FRAME_CRITICAL, 0, eei_buf_span(&payload)))
        eei_log(EEI_LOG_ERROR, "job.result_lost", "job=%s", job->id);
    eei_buf_clear(&payload);
    (void)uv_timer_start(&job->timer, on_ack_timeout, ACK_WAIT_MS, 0);
    pump_out(job);
}

static void on_run_exit(void *user, const agent_run_result *end) {
    agent_job *job = user;
    ee_error err = {0};
    ee_span envelope;
    release_capacity(job);
    if (end->reason == AGENT_COMMAND_NOT_FOUND || end->reason == AGENT_START_FAILED) {
        fail_job(job, end->reason == AGENT_COMMAND_NOT_FOUND ? EE_E_COMMAND : EE_E_SERVER, end->message);
        return;
    }
    eei_receipt receipt = {.period_start_ms = job->period_start_ms,
                           .job_id = eei_span_text(job->id),
                           .output_bytes = job->output_bytes,
                           .exit_code = (uint64_t)(uint32_t)end->exit_code & 0xff,
                           .reason = eei_span_text(agent_exit_word(end->reason)),
                           .start_ms = job->start_ms,
                           .end_ms = job->start_ms + end->wall_ms,
                           .vcpus_milli = job->spec.vcpus_milli,
                           .vcpu_ms = eei_price_vcpu_ms(job->spec.vcpus_milli, end->wall_ms),
                           .cpu_us = end->cpu_usec,
                           .memory_peak = end->memory_peak_bytes,
                           .price = (uint64_t)job->price};
    memcpy(receipt.auth_id, job->auth.auth_id, 16);
    memcpy(receipt.spec_hash, job->spec_hash, 32);
    memcpy(receipt.image_digest, agent_image_digest(job->image), 32);
    memcpy(receipt.env_commitment, job->env_commitment, 32);
    memcpy(receipt.input_commitment, job->input_commitment, 32);
    eei_sha256_end(job->output_hash, receipt.output_hash);
    eei_sha256(eei_buf_span(&job->spend_auth), receipt.spend_auth_hash);
    if (agent_receipts_issue(job->agent, &receipt, job->locked, &envelope, job->receipt_hash, &err)) {
        fail_job(job, err.status, err.message);
        return;
    }
    eei_log(EEI_LOG_INFO, "job.done", "job=%s reason=%s exit=%" PRIu64 " wall_ms=%" PRIu64 " charge=%" PRIu64, job->id,
            agent_exit_word(end->reason), receipt.exit_code, end->wall_ms, receipt.charge);
    result_with_receipt(job, envelope);
}

/* ---- the run --------------------------------------------------------------------------------------------------------- */

static void on_started(void *user) {
    agent_job *job = user;
    job->start_ms = eei_wall_ms();
    forget_secrets(job); /* they are in the sandbox now and nowhere else here */
    tell_state(job, "running", EE_OK, "");
    tell_progress(job, "running", 0, 0);
}

static void on_output(void *user, ee_stream_id stream, const void *data, size_t len) {
    agent_job *job = user;
    uint8_t stream_byte = (uint8_t)stream;
    ee_error err = {0};
    for (size_t at = 0; at < len; at += OUTPUT_BLOCK) {
        size_t n = len - at < OUTPUT_BLOCK ? len - at : OUTPUT_BLOCK;
        eei_output output = {
            .seq = ++job->next_seq, .stream = stream_byte, .time_ms = eei_wall_ms(), .data = eei_span((const uint8_t *)data + at, n)};
        eei_sha256_add(job->output_hash, eei_span(&stream_byte, 1));
        eei_sha256_add(job->output_hash, output.data);
        job->output_bytes += n;
        /* Without a caller it is hashed and dropped; kept output comes with detached jobs. */
        if (job->pipe && queue_frame(job, EEI_FRAME_OUTPUT, &eei_output_schema, &output, &err)) {
            eei_log(EEI_LOG_ERROR, "job.output_lost", "job=%s message=%s", job->id, err.message);
            agent_run_cancel(job->run, 0);
            return;
        }
    }
    if (job->pending.len > PENDING_HIGH && !job->paused) {
        job->paused = true;
        agent_run_pause_output(job->run);
    }
    pump_out(job);
}

static void maybe_start(agent_job *job) {
    static const agent_run_callbacks callbacks = {on_started, on_output, on_run_exit};
    ee_error err = {0};
    if (job->run || job->ended || !job->has_secrets) return;
    if (job->image_error.status) {
        fail_job(job, job->image_error.status, job->image_error.message);
        return;
    }
    if (!job->image_ready) return;
    agent_run_options options = {.id = job->id,
                                 .args = job->spec.args.items,
                                 .args_count = job->spec.args.count,
                                 .env = job->secrets.env.items,
                                 .env_count = job->secrets.env.count,
                                 .stdin_data = job->secrets.stdin_data,
                                 .limits = {.vcpus_milli = (uint32_t)job->spec.vcpus_milli, .memory_bytes = job->spec.memory_bytes},
                                 .timeout_ms = job->spec.wall_ms};
    tell_progress(job, "starting", 0, 0);
    ee_status st = agent_run_start(job->agent->runtime, job->image, &options, &callbacks, job, &job->run, &err);
    if (st) fail_job(job, st == EE_E_COMMAND || st == EE_E_INVALID ? st : EE_E_SERVER, err.message);
}

static void on_pull_progress(void *user, const char *phase, uint64_t done, uint64_t total) {
    (void)phase;
    tell_progress(user, "pulling", done, total);
}

static void on_image(void *user, ee_status status, agent_image *image, const ee_error *err) {
    agent_job *job = user;
    job->pulling = NULL;
    job->image = image;
    job->image_ready = status == EE_OK;
    if (status) job->image_error = *err;
    if (status && !job->attached)
        fail_job(job, status, err->message); /* before it was given any secrets */
    else
        maybe_start(job);
}

/* ---- the caller's channel -------------------------------------------------------------------------------------------- */

/* The environment is what the account's key signed, for this job, on this instance, and has exactly the names of the spec. */
static ee_status check_secrets(agent_job *job, const eei_job_start *start, ee_error *err) {
    eei_envelope envelope;
    const ee_span *names = job->spec.env_names.items;
    ee_status st = eei_buf_append_span(&job->secrets_bytes, start->secrets) ? eei_nomem(err) : EE_OK;
    if (!st) st = eei_envelope_parse(eei_buf_span(&job->secrets_bytes), &envelope, err);
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_SECRETS, job->account_pub, err);
    if (!st) st = eei_decode(&eei_secrets_schema, envelope.body, &job->secrets_arena, &job->secrets, err);
    if (st) return st;
    const eei_secrets *s = &job->secrets;
    const eei_env *env = s->env.items;
    if (!eei_same(s->auth_id, job->auth.auth_id, 16) || !eei_same(s->spec_hash, job->spec_hash, 32) ||
        !eei_same(s->instance_id, eei_prover_instance_id(job->agent->prover), 32))
        return eei_fail(err, EE_E_AUTH, "the secrets were sealed for another job, spec or instance");
    bool same = s->env.count == job->spec.env_names.count;
    for (size_t i = 0; same && i < s->env.count; i++) same = eei_span_equal(env[i].name, names[i]);
    return same ? EE_OK : eei_fail(err, EE_E_INVALID, "the environment does not have the names of the spec");
}

static ee_status commit_to_inputs(agent_job *job, ee_error *err) {
    const eei_secrets *s = &job->secrets;
    const eei_env *env = s->env.items;
    ee_span *values = eei_calloc(s->env.count + 1, sizeof *values);
    if (!values) return eei_nomem(err);
    for (size_t i = 0; i < s->env.count; i++) values[i] = env[i].value;
    eei_env_commitment(s->k_env, job->spec.env_names.items, values, s->env.count, job->env_commitment);
    eei_hmac_sha256(s->k_env, s->stdin_data, job->input_commitment);
    eei_free(values);
    return EE_OK;
}

static ee_status on_job_start(agent_job *job, ee_span payload, ee_error *err) {
    eei_job_start start;
    eei_arena arena = EEI_ARENA_INIT(4096);
    if (job->has_secrets || job->run) return eei_fail(err, EE_E_STATE, "the job was started before");
    ee_status st = eei_decode(&eei_job_start_schema, payload, &arena, &start, err);
    if (!st && !eei_span_equal(start.job_id, eei_span_text(job->id))) st = eei_fail(err, EE_E_INVALID, "the secrets are for another job");
    if (!st) st = check_secrets(job, &start, err);
    if (!st) st = commit_to_inputs(job, err);
    eei_arena_clear(&arena);
    if (st) return st;
    job->has_secrets = true;
    uv_timer_stop(&job->timer);
    if (!job->image_ready) {
        tell_state(job, "pulling", EE_OK, "");
        tell_progress(job, "pulling", 0, 0);
    }
    return EE_OK;
}

static ee_status take_frame(agent_job *job, const eei_frame *frame, ee_error *err) {
    if (frame->type == EEI_FRAME_JOB_START) return on_job_start(job, frame->payload, err);
    if (frame->type == EEI_FRAME_CANCEL) {
        eei_cancel_job cancel;
        eei_arena arena = EEI_ARENA_INIT(256);
        ee_status st = eei_decode(&eei_cancel_job_schema, frame->payload, &arena, &cancel, err);
        eei_arena_clear(&arena);
        if (st) return st;
        if (job->run)
            agent_run_cancel(job->run, (uint32_t)cancel.grace_ms);
        else if (!job->ended)
            fail_job(job, EE_E_CANCELLED, "cancelled before it started");
        return EE_OK;
    }
    return eei_fail(err, EE_E_VERSION, "message type %u is not for a job", frame->type);
}

/* The job may be gone after this. */
static void caller_left(agent_job *job, const ee_error *why) {
    let_caller_go(job, why);
    if (job->ended) {
        settle(job);
    } else if (job->run) {
        if (job->paused) agent_run_resume_output(job->run);
        job->paused = false;
        agent_run_cancel(job->run, LEAVE_GRACE_MS); /* nobody waits for it, and nobody should pay for it */
    } else {
        fail_job(job, EE_E_CANCELLED, "its caller left before it started");
    }
}

static void pipe_open(void *user) {
    agent_job *job = user;
    const char *alpn = eei_channel_alpn(eei_pipe_channel(job->pipe));
    ee_error why = {0};
    if (alpn && strcmp(alpn, EEI_ALPN_JOB) == 0) return;
    eei_fail(&why, EE_E_VERSION, "the channel is not for a job");
    caller_left(job, &why);
}

/* A message may be larger than what the channel holds decrypted at once: it is put together here. */
static ee_status take_bytes(agent_job *job, ee_error *err) {
    eei_channel *channel = eei_pipe_channel(job->pipe);
    for (ee_span bytes; (bytes = eei_channel_peek(channel)).len > 0; eei_channel_consume(channel, bytes.len))
        if (eei_buf_append_span(&job->incoming, bytes))
            return eei_fail(err, EE_E_LIMIT, "a message is over %u bytes", EEI_MESSAGE_BYTES_MAX);
    return EE_OK;
}

typedef enum taken { TAKEN_ONE, TAKEN_ALL, TAKEN_REFUSED /* the job may be gone */ } taken;

static taken take_next(agent_job *job) {
    eei_reader reader = eei_reader_init(eei_buf_span(&job->incoming));
    eei_frame frame;
    ee_error err = {0};
    ee_status st = eei_frame_decode(&reader, EEI_MESSAGE_BYTES_MAX, &frame, &err);
    if (st == EE_E_AGAIN) return TAKEN_ALL;
    if (!st) st = take_frame(job, &frame, &err);
    if (!st) {
        if (job->incoming.len) eei_buf_consume(&job->incoming, reader.at); /* a cancel has forgotten it already */
        return TAKEN_ONE;
    }
    eei_log(EEI_LOG_WARN, "job.caller_refused", "job=%s message=%s", job->id, err.message);
    if (!job->ended && !job->run)
        fail_job(job, st, err.message);
    else
        caller_left(job, &err);
    return TAKEN_REFUSED;
}

static void pipe_readable(void *user) {
    agent_job *job = user;
    ee_error err = {0};
    if (take_bytes(job, &err)) {
        eei_log(EEI_LOG_WARN, "job.caller_refused", "job=%s message=%s", job->id, err.message);
        caller_left(job, &err);
        return;
    }
    if (job->ended) { /* what crossed its result, secrets among it */
        forget_secrets(job);
        return;
    }
    taken last;
    while ((last = take_next(job)) == TAKEN_ONE) continue;
    if (last == TAKEN_ALL && !job->ended) maybe_start(job);
}

static void pipe_writable(void *user) { pump_out(user); }

static void pipe_end(void *user, const ee_error *why) {
    agent_job *job = user;
    (void)why;
    job->stream = NULL; /* the pipe has let go of it */
    caller_left(job, NULL);
}

/* No caller is here before its job: the control plane queued JOB before it answered the admission, and control frames go before OPEN. */
void agent_jobs_stream(agent *self, eei_stream *stream, const eei_open *open) {
    agent_job *job = find_job(self, open->target);
    eei_channel *channel = NULL;
    ee_error err = {0};
    eei_pipe_callbacks callbacks = {job, pipe_open, pipe_readable, pipe_writable, pipe_end};
    ee_status st = job ? EE_OK : eei_fail(&err, EE_E_NOT_FOUND, "there is no such job here");
    if (!st && job->attached) st = eei_fail(&err, EE_E_CONFLICT, "the job has its caller");
    bool told = !st && job->ended; /* it failed before: no channel, so that no secrets come for nothing */
    if (told) {
        err = job->failed;
        st = err.status;
    }
    if (!st) st = eei_channel_new_server(self->prover, eei_mono_ms(), &channel, &err);
    if (!st) st = eei_pipe_new(self->link, stream, channel, &callbacks, &job->pipe, &err);
    if (!st) {
        job->attached = true;
        job->stream = stream;
        return;
    }
    eei_channel_free(channel);
    agent_refuse(stream, st, err.message);
    eei_stream_free(stream);
    if (told) drop_job(job);
}

/* ---- admission ------------------------------------------------------------------------------------------------------- */

static void on_connect_deadline(uv_timer_t *timer) {
    agent_job *job = timer->data;
    fail_job(job, EE_E_TIMEOUT, "nobody brought its secrets in time");
}

/* The agent checks everything again: the control plane can neither invent a job nor change one (threats M11, W13). */
static ee_status check_admission(agent_job *job, const eei_job *message, ee_error *err) {
    eei_envelope envelope;
    ee_status st = EE_OK;
    if (eei_buf_append_span(&job->spec_bytes, message->spec) || eei_buf_append_span(&job->spend_auth, message->spend_auth))
        return eei_nomem(err);
    eei_sha256(eei_buf_span(&job->spec_bytes), job->spec_hash);
    memcpy(job->account_pub, message->account_pub, 32);
    st = eei_envelope_parse(eei_buf_span(&job->spend_auth), &envelope, err);
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_SPEND_AUTH, job->account_pub, err);
    if (!st) st = eei_decode(&eei_spend_auth_schema, envelope.body, &job->arena, &job->auth, err);
    if (!st) st = eei_decode(&eei_spec_schema, eei_buf_span(&job->spec_bytes), &job->arena, &job->spec, err);
    if (st) return st;
    if (!eei_same(job->auth.spec_hash, job->spec_hash, 32)) return eei_fail(err, EE_E_AUTH, "the spec is not the one its user signed");
    if (!eei_span_equal(job->auth.node, eei_span_text(job->agent->node)))
        return eei_fail(err, EE_E_AUTH, "the job was authorized for another node");
    if (message->price > job->auth.price || message->locked > job->auth.max_total)
        return eei_fail(err, EE_E_AUTH, "the price or the lock is over what was authorized");
    if (job->spec.kind != EEI_SPEC_JOB) return eei_fail(err, EE_E_INVALID, "the spec is not of a job");
    if (job->auth.not_after_ms + EEI_REQUEST_SKEW_MS < eei_wall_ms())
        return eei_fail(err, EE_E_EXPIRED, "the spend authorization has expired");
    if (job->agent->vcpus_used_milli + job->spec.vcpus_milli > job->agent->vcpus_milli ||
        job->agent->memory_used + job->spec.memory_bytes > job->agent->memory_bytes)
        return eei_fail(err, EE_E_NO_NODE, "node %s has not enough free vcpus or memory", job->agent->node);
    return EE_OK;
}

static ee_status admit(agent_job *job, const eei_job *message, ee_error *err) {
    char repository[256];
    ee_status st = check_admission(job, message, err);
    if (!st) st = eei_sha256_new(&job->output_hash, err);
    if (st) return st;
    job->price = (ee_money)message->price;
    job->locked = (ee_money)message->locked;
    job->period_start_ms = message->period_start_ms;
    job->agent->vcpus_used_milli += job->spec.vcpus_milli;
    job->agent->memory_used += job->spec.memory_bytes;
    job->counted = true;
    (void)snprintf(repository, sizeof repository, "%.*s", (int)job->spec.repository.len, (const char *)job->spec.repository.data);
    return agent_image_prepare(job->agent->runtime, repository, job->spec.image_digest, job->spec.insecure_registry, on_pull_progress,
                               on_image, job, &job->pulling, err);
}

static void on_job(agent *self, const eei_job *message) {
    ee_error err = {0};
    agent_job *job = find_job(self, message->job_id);
    uint64_t now = eei_wall_ms();
    if (!message->spec.len) { /* cancel */
        if (job && job->run && !job->ended)
            agent_run_cancel(job->run, LEAVE_GRACE_MS);
        else if (job && !job->ended)
            fail_job(job, EE_E_CANCELLED, "cancelled before it started");
        return;
    }
    if (job || self->stopping) return; /* told twice: nothing to do */
    job = eei_calloc(1, sizeof *job);
    if (!job) return;
    job->agent = self;
    job->connect_by_ms = message->connect_by_ms;
    job->arena = (eei_arena)EEI_ARENA_INIT(1 << 20);
    job->secrets_arena = (eei_arena)EEI_ARENA_INIT(1 << 20);
    job->spec_bytes = (eei_buf)EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    job->spend_auth = (eei_buf)EEI_BUF_INIT(4096);
    job->secrets_bytes = (eei_buf)EEI_BUF_INIT_SECRET(EEI_MESSAGE_BYTES_MAX);
    job->incoming = (eei_buf)EEI_BUF_INIT_SECRET(EEI_MESSAGE_BYTES_MAX + EEI_FRAME_HEADER_BYTES + OUTPUT_BLOCK);
    job->pending = (eei_buf)EEI_BUF_INIT_SECRET(PENDING_MAX);
    job->result = (eei_buf)EEI_BUF_INIT(16384);
    (void)snprintf(job->id, sizeof job->id, "%.*s", (int)message->job_id.len, (const char *)message->job_id.data);
    (void)uv_timer_init(self->loop, &job->timer);
    job->timer.data = job;
    job->next = self->jobs;
    self->jobs = job;
    if (admit(job, message, &err)) {
        fail_job(job, err.status, err.message);
        return;
    }
    tell_state(job, "waiting", EE_OK, "");
    (void)uv_timer_start(&job->timer, on_connect_deadline, message->connect_by_ms > now ? message->connect_by_ms - now : 0, 0);
}

void agent_jobs_control(agent *self, const eei_frame *frame) {
    eei_arena arena = EEI_ARENA_INIT(4096);
    ee_error err = {0};
    if (frame->type == EEI_FRAME_JOB) {
        eei_job message;
        if (eei_decode(&eei_job_schema, frame->payload, &arena, &message, &err) == EE_OK) on_job(self, &message);
    } else if (frame->type == EEI_FRAME_RECEIPT_ACK) {
        eei_receipt_ack ack;
        if (eei_decode(&eei_receipt_ack_schema, frame->payload, &arena, &ack, &err) == EE_OK &&
            agent_receipts_acknowledge(self, ack.receipt_hash)) {
            agent_job *job = find_job(self, ack.job_id);
            if (job && job->waiting_ack && eei_same(job->receipt_hash, ack.receipt_hash, 32)) {
                uv_timer_stop(&job->timer);
                on_ack_timeout(&job->timer);
            }
        }
    }
    if (err.status) eei_log(EEI_LOG_WARN, "control.malformed", "type=%s message=%s", eei_frame_name(frame->type), err.message);
    eei_arena_clear(&arena);
}

void agent_jobs_session(agent *self) { agent_receipts_send_again(self); }

size_t agent_jobs_running(const agent *self) {
    size_t n = 0;
    for (const agent_job *job = self->jobs; job; job = job->next) n += job->run && !job->ended;
    return n;
}

void agent_jobs_close(agent *self) {
    while (self->jobs) drop_job(self->jobs);
    agent_receipts_free(self);
}
