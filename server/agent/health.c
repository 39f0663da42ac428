/* health.c - answers health challenges: probes every running app in its own namespace, then signs what was found. Only a live agent with
 * its instance key can make the answer, and it is about the apps too, not about the agent alone (threat U1).
 * Proto: docs/protocol.md#checks */
#include "agent/agent.h"
#include "agent/probe.h"
#include "attest/statement.h"
#include "base/alloc.h"

#include <string.h>

enum { PROBE_TIMEOUT_MS = 2000, APPS_MAX = 256 };

typedef struct answer answer;
typedef struct probing {
    answer *answer;
    char app_id[65], message[201];
    bool ok;
} probing;

/* An uptime server's visit: its channel, until its challenge is answered. */
typedef struct visit {
    agent *agent;
    eei_pipe *pipe;
    answer *pending; /* the answer that will come to us */
} visit;

struct answer {
    agent *agent;
    visit *visit; /* NULL: the control plane asked, or the visitor left */
    bool for_visit;
    uint8_t challenge_hash[32];
    char observer[EEI_NAME_BYTES_MAX + 1];
    probing apps[APPS_MAX];
    size_t count, left;
};

static void answer_visit(const answer *a, ee_span envelope) {
    eei_buf frame = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX + EEI_FRAME_HEADER_BYTES);
    if (!a->visit) return; /* it left before */
    eei_channel *channel = eei_pipe_channel(a->visit->pipe);
    a->visit->pending = NULL;
    /* An answer is far below what a channel takes at once; if it is not, the visitor counts a miss. */
    if (eei_frame_encode(&frame, EEI_FRAME_RESPONSE, EEI_FRAME_CRITICAL, 0, envelope) == EE_OK)
        (void)eei_channel_write(channel, eei_buf_span(&frame));
    eei_channel_close(channel);
    eei_pipe_flush(a->visit->pipe);
    eei_buf_clear(&frame);
}

static void send_answer(answer *a) {
    agent *self = a->agent;
    eei_app_probe probes[APPS_MAX];
    eei_buf body = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX), envelope = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    eei_health health = {.observer = eei_span_text(a->observer),
                         .sequence = ++self->health_sequence,
                         .time_ms = eei_wall_ms(),
                         .apps = {probes, a->count},
                         .jobs_running = agent_jobs_running(self),
                         .vcpus_free_milli = self->vcpus_milli - self->vcpus_used_milli,
                         .memory_free = self->memory_bytes - self->memory_used};
    memcpy(health.challenge_hash, a->challenge_hash, 32);
    for (size_t i = 0; i < a->count; i++)
        probes[i] = (eei_app_probe){eei_span_text(a->apps[i].app_id), a->apps[i].ok, eei_span_text(a->apps[i].message)};
    ee_error err = {0};
    ee_status st = eei_encode(&eei_health_schema, &health, &body, &err);
    if (!st) st = eei_envelope_seal(eei_prover_key(self->prover), EEI_SIGNED_HEALTH, eei_buf_span(&body), &envelope, &err);
    if (!st && a->for_visit)
        answer_visit(a, eei_buf_span(&envelope));
    else if (!st && eei_link_is_open(self->link))
        st = eei_link_send(self->link, EEI_FRAME_RESPONSE, 0, eei_buf_span(&envelope), &err);
    if (st) eei_log(EEI_LOG_WARN, "health.not_sent", "message=%s", err.message);
    eei_buf_clear(&body);
    eei_buf_clear(&envelope);
    eei_free(a);
}

static void on_probe(void *user, bool ok, const char *message) {
    probing *p = user;
    p->ok = ok;
    (void)snprintf(p->message, sizeof p->message, "%.200s", message);
    if (--p->answer->left == 0) send_answer(p->answer);
}

static void start_probes(agent *self, answer *a) {
    a->left = 1; /* held until all are started */
    for (agent_app *app = agent_apps_next(self, NULL); app && a->count < APPS_MAX; app = agent_apps_next(self, app)) {
        agent_run *run = agent_app_run(app);
        if (!run) continue; /* still starting: not owed yet */
        probing *p = &a->apps[a->count++];
        p->answer = a;
        (void)snprintf(p->app_id, sizeof p->app_id, "%s", agent_app_id(app));
        if (agent_probe_start(self->loop, run, agent_app_port(app), PROBE_TIMEOUT_MS, on_probe, p))
            a->left++;
        else
            (void)snprintf(p->message, sizeof p->message, "the probe could not start");
    }
    if (--a->left == 0) send_answer(a);
}

/* NULL, or an answer under way. */
static answer *take_challenge(agent *self, ee_span payload, ee_error *err) {
    eei_challenge challenge;
    eei_arena arena = EEI_ARENA_INIT(1024);
    answer *a = NULL;
    ee_status st = eei_decode(&eei_challenge_schema, payload, &arena, &challenge, err);
    if (!st && challenge.kind != EEI_CHALLENGE_HEALTH) st = eei_fail(err, EE_E_INVALID, "this challenge is not about health");
    if (!st) a = eei_calloc(1, sizeof *a);
    if (a) {
        a->agent = self;
        eei_sha256(payload, a->challenge_hash);
        (void)snprintf(a->observer, sizeof a->observer, "%.*s", (int)challenge.observer.len, (const char *)challenge.observer.data);
    }
    eei_arena_clear(&arena);
    return a;
}

void agent_health_control(agent *self, const eei_frame *frame) {
    ee_error err = {0};
    answer *a = take_challenge(self, frame->payload, &err);
    if (a)
        start_probes(self, a);
    else
        eei_log(EEI_LOG_WARN, "control.malformed", "type=CHALLENGE message=%s", err.message);
}

/* ---- uptime servers -------------------------------------------------------------------------------------------------- */

static void visit_drop(visit *v) {
    if (v->pending) v->pending->visit = NULL;
    eei_pipe_free(v->pipe);
    eei_free(v);
}

static void visit_readable(void *user) {
    visit *v = user;
    eei_channel *channel = eei_pipe_channel(v->pipe);
    eei_reader reader = eei_reader_init(eei_channel_peek(channel));
    eei_frame frame;
    ee_error err = {0};
    ee_status st = eei_frame_decode(&reader, EEI_FRAME_PAYLOAD_MAX, &frame, &err);
    if (st == EE_E_AGAIN) return;
    answer *a = st || v->pending || frame.type != EEI_FRAME_CHALLENGE ? NULL : take_challenge(v->agent, frame.payload, &err);
    if (!a) {
        visit_drop(v);
        return;
    }
    eei_channel_consume(channel, reader.at);
    a->visit = v;
    a->for_visit = true;
    v->pending = a;
    start_probes(v->agent, a);
}

static void visit_open(void *user) {
    visit *v = user;
    const char *alpn = eei_channel_alpn(eei_pipe_channel(v->pipe));
    if (!alpn || strcmp(alpn, EEI_ALPN_HEALTH) != 0) visit_drop(v);
}
static void visit_writable(void *user) { (void)user; }
static void visit_end(void *user, const ee_error *why) {
    (void)why;
    visit_drop(user);
}

void agent_health_stream(agent *self, eei_stream *stream) {
    ee_error err = {0};
    eei_channel *channel = NULL;
    visit *v = eei_calloc(1, sizeof *v);
    eei_pipe_callbacks callbacks = {v, visit_open, visit_readable, visit_writable, visit_end};
    ee_status st = v ? eei_channel_new_server(self->prover, eei_mono_ms(), &channel, &err) : eei_nomem(&err);
    if (!st) {
        v->agent = self;
        st = eei_pipe_new(self->link, stream, channel, &callbacks, &v->pipe, &err);
    }
    if (!st) return;
    eei_channel_free(channel);
    eei_free(v);
    agent_refuse(stream, st, err.message);
    eei_stream_free(stream);
}
