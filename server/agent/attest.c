/* attest.c - proves the agent again: to the control plane while its session is open, with a quote over its nonce, this connection's
 * exporter and every receipt signed so far; and to any account that asks, in an inner channel of its own. Evidence that gets old takes the
 * node out of routing by itself (threat Q17). Called by agent.c. Proto: docs/protocol.md#checks */
#include "agent/agent.h"
#include "base/alloc.h"

#include <string.h>

/* A quote may take seconds on real hardware: it is made beside the loop, with copies. */
typedef struct proving {
    uv_work_t work;
    agent *agent;
    eei_prove what;
    eei_buf evidence;
    ee_status status;
    ee_error error;
} proving;

static void make_quote(uv_work_t *work) {
    proving *p = work->data;
    p->status = eei_prover_quote(p->agent->prover, &p->what, &p->evidence, &p->error);
}

static void quote_made(uv_work_t *work, int rc) {
    proving *p = work->data;
    agent *self = p->agent;
    if (!rc && !p->status && !self->stopping && eei_link_is_open(self->link))
        p->status = eei_link_send(self->link, EEI_FRAME_EVIDENCE, EEI_FRAME_CRITICAL, eei_buf_span(&p->evidence), &p->error);
    if (!rc && p->status) eei_log(EEI_LOG_WARN, "attest.not_answered", "message=%s", p->error.message);
    eei_buf_clear(&p->evidence);
    eei_free(p);
}

static ee_status answer(agent *self, const eei_challenge *challenge, ee_error *err) {
    static const uint8_t no_head[32];
    proving *p = eei_calloc(1, sizeof *p);
    if (!p) return eei_nomem(err);
    p->work.data = p;
    p->agent = self;
    p->evidence = (eei_buf)EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    p->what.purpose = EEI_PURPOSE_PERIODIC;
    p->what.wire_version = EEI_FRAME_VERSION;
    eei_nonce_derive(no_head, 0, challenge->r, self->session_id, p->what.nonce);
    ee_status st = eei_link_binder(self->link, p->what.nonce, p->what.binder, err);
    if (!st && uv_queue_work(self->loop, &p->work, make_quote, quote_made) != 0) st = eei_fail(err, EE_E_IO, "no worker for the quote");
    if (st) eei_free(p);
    return st;
}

bool agent_attest_control(agent *self, const eei_frame *frame) {
    eei_challenge challenge;
    eei_arena arena = EEI_ARENA_INIT(1024);
    ee_error err = {0};
    bool ours =
        eei_decode(&eei_challenge_schema, frame->payload, &arena, &challenge, NULL) == EE_OK && challenge.kind == EEI_CHALLENGE_ATTEST;
    if (ours && answer(self, &challenge, &err)) eei_log(EEI_LOG_WARN, "attest.not_answered", "message=%s", err.message);
    eei_arena_clear(&arena);
    return ours;
}

/* ---- accounts that ask ----------------------------------------------------------------------------------------------- */

typedef struct asking {
    eei_pipe *pipe;
} asking;

static void asking_drop(asking *a) {
    eei_pipe_free(a->pipe);
    eei_free(a);
}

/* The opening was the answer. Who sends more wants something else. */
static void asking_readable(void *user) { asking_drop(user); }
static void asking_writable(void *user) { (void)user; }
static void asking_end(void *user, const ee_error *why) {
    (void)why;
    asking_drop(user);
}
static void asking_open(void *user) {
    asking *a = user;
    const char *alpn = eei_channel_alpn(eei_pipe_channel(a->pipe));
    if (!alpn || strcmp(alpn, EEI_ALPN_ATTEST) != 0) asking_drop(a);
}

void agent_attest_stream(agent *self, eei_stream *stream) {
    ee_error err = {0};
    eei_channel *channel = NULL;
    asking *a = eei_calloc(1, sizeof *a);
    eei_pipe_callbacks callbacks = {a, asking_open, asking_readable, asking_writable, asking_end};
    ee_status st = a ? eei_channel_new_server(self->prover, eei_mono_ms(), &channel, &err) : eei_nomem(&err);
    if (!st) st = eei_pipe_new(self->link, stream, channel, &callbacks, &a->pipe, &err);
    if (!st) return;
    eei_channel_free(channel);
    eei_free(a);
    agent_refuse(stream, st, err.message);
    eei_stream_free(stream);
}
