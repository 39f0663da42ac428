/* prober.c - see prober.h. */
#include "uptime/prober.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/encoding.h"
#include "base/log.h"
#include "wire/messages.h"

#include <string.h>

enum { NODES_MAX = 4096, DEADLINE_MS = 10000, LIST_MAX = 4 << 20 };

typedef struct target {
    char node[EEI_NAME_BYTES_MAX + 1];
    uint8_t instance_id[32], node_id[32];
} target;

/* One node in one round. */
typedef struct check {
    prober *prober;
    struct check *next;
    target target;
    uint64_t slot, sent_ms;
    eei_pipe *pipe;
    uv_timer_t timer;
    eei_buf challenge; /* payload: its hash must come back */
} check;

struct prober {
    prober_options options;
    char observer[EEI_NAME_BYTES_MAX + 1];
    SSL_CTX *tls;
    uv_timer_t timer;
    uv_work_t work;
    bool running, listing, closing;
    target *targets; /* filled by the worker */
    size_t target_count;
    check *checks;
    uint64_t slot;
    int handles;
    void (*done)(void *user);
    void *user;
};

static void drop_handle(prober *self) {
    if (--self->handles > 0 || !self->closing) return;
    SSL_CTX_free(self->tls);
    eei_free(self->targets);
    if (self->done) self->done(self->user);
    eei_free(self);
}

/* ---- one check ------------------------------------------------------------------------------------------------------- */

static void check_closed(uv_handle_t *handle) {
    check *c = handle->data;
    prober *self = c->prober;
    eei_buf_clear(&c->challenge);
    eei_free(c);
    drop_handle(self);
}

static void report(check *c, ee_span response, const char *error) {
    prober *self = c->prober;
    eei_buf body = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX), envelope = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    ee_error err = {0};
    eei_observation observation = {.observer = eei_span_text(self->observer),
                                   .node = eei_span_text(c->target.node),
                                   .slot = c->slot,
                                   .sent_ms = c->sent_ms,
                                   .received_ms = response.len ? eei_wall_ms() : 0,
                                   .response = response,
                                   .error = eei_span_text(error)};
    ee_status st = eei_encode(&eei_observation_schema, &observation, &body, &err);
    if (!st) st = eei_envelope_seal(eei_prover_key(self->options.prover), EEI_SIGNED_OBSERVATION, eei_buf_span(&body), &envelope, &err);
    if (!st && eei_link_is_open(self->options.link))
        st = eei_link_send(self->options.link, EEI_FRAME_OBSERVATION, 0, eei_buf_span(&envelope), &err);
    eei_log(response.len ? EEI_LOG_DEBUG : EEI_LOG_WARN, "check", "node=%s slot=%llu result=%s%s%s", c->target.node,
            (unsigned long long)c->slot, response.len ? "pass" : "miss", st ? " not_sent=" : "", st ? err.message : "");
    eei_buf_clear(&body);
    eei_buf_clear(&envelope);
}

static void end_check(check *c, ee_span response, const char *error, bool tell) {
    prober *self = c->prober;
    for (check **at = &self->checks; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    if (tell) report(c, response, error);
    eei_pipe_free(eei_take(&c->pipe));
    uv_close((uv_handle_t *)&c->timer, check_closed);
}

static void on_deadline(uv_timer_t *timer) { end_check(timer->data, (ee_span){NULL, 0}, ee_status_word(EE_E_TIMEOUT), true); }

static void on_open(void *user) {
    check *c = user;
    eei_buf frame = EEI_BUF_INIT(1024);
    if (eei_frame_encode(&frame, EEI_FRAME_CHALLENGE, EEI_FRAME_CRITICAL, 0, eei_buf_span(&c->challenge)) == EE_OK)
        (void)eei_channel_write(eei_pipe_channel(c->pipe), eei_buf_span(&frame));
    eei_buf_clear(&frame);
    eei_pipe_flush(c->pipe);
}

/* The answer counts only with the signature of the instance that was attested on this very channel, over our challenge. */
static ee_status check_answer(check *c, ee_span bytes, ee_error *err) {
    eei_envelope envelope;
    eei_health health;
    uint8_t hash[32];
    eei_arena arena = EEI_ARENA_INIT(1 << 16);
    const eei_statement *statement = eei_verdict_statement(eei_channel_verdict(eei_pipe_channel(c->pipe)));
    eei_sha256(eei_buf_span(&c->challenge), hash);
    ee_status st = statement ? eei_envelope_parse(bytes, &envelope, err) : eei_fail(err, EE_E_ATTESTATION, "the agent is not attested");
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_HEALTH, statement->instance_pub, err);
    if (!st) st = eei_decode(&eei_health_schema, envelope.body, &arena, &health, err);
    if (!st && !eei_same(health.challenge_hash, hash, 32)) st = eei_fail(err, EE_E_AUTH, "the answer is to another challenge");
    eei_arena_clear(&arena);
    return st;
}

static void on_readable(void *user) {
    check *c = user;
    eei_channel *channel = eei_pipe_channel(c->pipe);
    eei_reader reader = eei_reader_init(eei_channel_peek(channel));
    eei_frame frame;
    ee_error err = {0};
    ee_status st = eei_frame_decode(&reader, EEI_FRAME_PAYLOAD_MAX, &frame, &err);
    if (st == EE_E_AGAIN) return;
    if (!st && frame.type != EEI_FRAME_RESPONSE) st = eei_fail(&err, EE_E_VERSION, "message type %u instead of an answer", frame.type);
    if (!st) st = check_answer(c, frame.payload, &err);
    if (st)
        end_check(c, (ee_span){NULL, 0}, ee_status_word(st), true);
    else
        end_check(c, frame.payload, "", true);
}

static void on_writable(void *user) { (void)user; }
static void on_end(void *user, const ee_error *why) {
    end_check(user, (ee_span){NULL, 0}, why ? why->word : ee_status_word(EE_E_CLOSED), true);
}

static ee_status open_channel(check *c, ee_error *err) {
    prober *self = c->prober;
    eei_channel_client client = {.ctx = self->tls, .judge = self->options.judge, .alpn = EEI_ALPN_HEALTH, .node_name = c->target.node};
    eei_open open = {.kind = EEI_OPEN_HEALTH, .target = eei_span_text(c->target.node)};
    eei_pipe_callbacks callbacks = {c, on_open, on_readable, on_writable, on_end};
    eei_buf payload = EEI_BUF_INIT(512);
    eei_stream *stream = NULL;
    eei_channel *channel = NULL;
    memcpy(client.instance_id, c->target.instance_id, 32);
    memcpy(client.node_id, c->target.node_id, 32);
    memcpy(open.instance_id, c->target.instance_id, 32);
    ee_status st = eei_encode(&eei_open_schema, &open, &payload, err);
    if (!st) st = eei_link_open_stream(self->options.link, eei_buf_span(&payload), &stream, err);
    if (!st) st = eei_channel_new_client(&client, eei_mono_ms(), &channel, err);
    if (!st) st = eei_pipe_new(self->options.link, stream, channel, &callbacks, &c->pipe, err);
    if (st) {
        eei_channel_free(channel);
        if (stream) eei_stream_free(stream);
    }
    eei_buf_clear(&payload);
    return st;
}

static ee_status make_challenge(check *c, ee_error *err) {
    eei_challenge challenge = {.kind = EEI_CHALLENGE_HEALTH, .slot = c->slot, .observer = eei_span_text(c->prober->observer)};
    ee_status st = eei_random(challenge.r, sizeof challenge.r, err);
    memcpy(challenge.policy_hash, eei_policy_hash_bytes(eei_judge_policy(c->prober->options.judge)), sizeof challenge.policy_hash);
    return st ? st : eei_encode(&eei_challenge_schema, &challenge, &c->challenge, err);
}

static void start_check(prober *self, const target *of) {
    ee_error err = {0};
    check *c = eei_calloc(1, sizeof *c);
    if (!c) return;
    c->prober = self;
    c->target = *of;
    c->slot = self->slot;
    c->sent_ms = eei_wall_ms();
    c->challenge = (eei_buf)EEI_BUF_INIT(512);
    (void)uv_timer_init(self->options.loop, &c->timer);
    c->timer.data = c;
    self->handles++;
    c->next = self->checks;
    self->checks = c;
    (void)uv_timer_start(&c->timer, on_deadline, DEADLINE_MS, 0);
    if (make_challenge(c, &err) || open_channel(c, &err)) end_check(c, (ee_span){NULL, 0}, err.word, true);
}

/* ---- rounds ---------------------------------------------------------------------------------------------------------- */

static ee_status read_targets(prober *self, ee_span text, ee_error *err) {
    json_t *answer = NULL, *item;
    size_t i;
    ee_status st = eei_json_parse(text, LIST_MAX, &answer, err);
    self->target_count = 0;
    json_array_foreach(json_object_get(answer, "items"), i, item) {
        const char *name = NULL, *state = NULL, *instance = NULL, *node_id = NULL;
        if (st || self->target_count == NODES_MAX) break;
        st = eei_json_string(item, "node", &name, err);
        if (!st) st = eei_json_string(item, "state", &state, err);
        if (!st) st = eei_json_string(item, "instance_id", &instance, err);
        if (!st) st = eei_json_string(item, "node_id", &node_id, err);
        if (st || (strcmp(state, "serving") != 0 && strcmp(state, "suspect") != 0)) continue;
        target *t = &self->targets[self->target_count];
        (void)snprintf(t->node, sizeof t->node, "%s", name);
        st = eei_hex_decode(instance, t->instance_id, 32, err);
        if (!st) st = eei_hex_decode(node_id, t->node_id, 32, err);
        if (!st) self->target_count++;
    }
    json_decref(answer);
    return st;
}

static void list_nodes(uv_work_t *work) {
    prober *self = work->data;
    eei_reply reply = {.body = EEI_BUF_INIT(LIST_MAX)};
    eei_request request = {.method = "GET", .path = "/v1/nodes", .response_max = LIST_MAX};
    ee_error err = {0};
    ee_status st = eei_fetch_call(self->options.api, &request, &reply, &err);
    if (!st && reply.status != 200) st = eei_fail(&err, EE_E_SERVER, "HTTP status %d", reply.status);
    if (!st) st = read_targets(self, eei_buf_span(&reply.body), &err);
    if (st) {
        self->target_count = 0;
        eei_log(EEI_LOG_WARN, "nodes.not_listed", "message=%s", err.message);
    }
    eei_buf_clear(&reply.body);
}

static void listed(uv_work_t *work, int rc) {
    prober *self = work->data;
    self->listing = false;
    if (!rc && self->running && !self->closing) {
        self->slot++;
        for (size_t i = 0; i < self->target_count; i++) start_check(self, &self->targets[i]);
        eei_link_flush(self->options.link);
    }
    drop_handle(self);
}

static void on_round(uv_timer_t *timer) {
    prober *self = timer->data;
    if (self->listing || self->checks || !self->running) return; /* one round at a time */
    if (uv_queue_work(self->options.loop, &self->work, list_nodes, listed) == 0) {
        self->listing = true;
        self->handles++;
    }
}

ee_status prober_new(const prober_options *options, prober **out, ee_error *err) {
    prober *self = eei_calloc(1, sizeof *self);
    *out = NULL;
    if (!self) return eei_nomem(err);
    self->options = *options;
    (void)snprintf(self->observer, sizeof self->observer, "%s", options->observer);
    self->work.data = self;
    self->targets = eei_calloc(NODES_MAX, sizeof *self->targets);
    ee_status st = self->targets ? eei_client_ctx_new(&self->tls, err) : eei_nomem(err);
    if (st) {
        eei_free(self->targets);
        eei_free(self);
        return st;
    }
    (void)uv_timer_init(options->loop, &self->timer);
    self->timer.data = self;
    self->handles = 1;
    *out = self;
    return EE_OK;
}

void prober_start(prober *self) {
    self->running = true;
    (void)uv_timer_start(&self->timer, on_round, 0, self->options.interval_ms);
}

void prober_pause(prober *self) {
    self->running = false;
    (void)uv_timer_stop(&self->timer);
    while (self->checks) end_check(self->checks, (ee_span){NULL, 0}, "", false);
}

static void timer_closed(uv_handle_t *handle) { drop_handle(handle->data); }

void prober_free(prober *self, void (*done)(void *user), void *user) {
    prober_pause(self);
    self->closing = true;
    self->done = done;
    self->user = user;
    uv_close((uv_handle_t *)&self->timer, timer_closed);
}
