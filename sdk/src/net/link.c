/* link.c - the dialing side of a tunnel on a uv loop: resolve, connect, TLS, judge the certificate, websocket, session, mux; then streams
 * until it breaks, and again. Decides nothing about work or money. Called by the SDK, the agent and the uptime server.
 * Proto: docs/protocol.md#session (threats B1, S6) */
#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/link_internal.h"
#include "net/ws_client.h"
#include "ratls/tls_io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES          65536u
#define READS_PER_TURN      4u      /* others on the loop get their turn */
#define ROUNDS_PER_TURN     16u     /* of transmit, send, events */
#define MESSAGE_BYTES       65400u  /* frames collected into one websocket message */
#define OUT_HIGH            131072u /* cipher bytes that wait for the socket: more only adds delay for small frames */
#define CIPHER_MAX          (4u << 20)
#define NOTSENT_LOWAT       131072
#define USER_TIMEOUT_MS     20000 /* unacknowledged data: the path is dead */
#define UPGRADE_DEADLINE_MS 10000u
#define RETRY_BASE_MS       500u
#define RETRY_MAX_MS        15000u

typedef enum phase { RESOLVING, CONNECTING, SHAKING, JUDGING, UPGRADING, SESSION, OPEN } phase;

/* One attempt and the connection that comes of it. Outlives its link's interest until uv has let go of everything. */
typedef struct conn {
    eei_link *link;
    int refs; /* link, resolver, poll handle, worker */
    bool dead;
    phase phase;
    uint64_t deadline_ms;

    uv_getaddrinfo_t resolve;
    struct addrinfo *addresses, *next_address;
    int fd;
    uv_poll_t *poll; /* of its own on the heap: one per address tried */
    int events;
    bool want_write, paused; /* paused: a slow step runs, nothing of the peer is read */

    SSL *ssl;
    eei_tls_io io;
    eei_ws *ws;
    eei_session *session;
    eei_mux *mux;
    eei_buf message;
    ee_verdict *base; /* over the certificate */
    uint8_t spki[32], control_instance[32];
} conn;

struct eei_link {
    uv_loop_t *loop;
    eei_link_options o; /* texts are ours, below */
    char *node, *release, host[256], port[8], host_header[272];
    bool host_is_ip;
    SSL_CTX *ctx;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uint64_t timer_due_ms; /* UINT64_MAX: not running */
    uint64_t retry_at_ms;  /* UINT64_MAX: no attempt is planned */
    unsigned failures;
    bool flushing; /* prepare is running for the end of this turn */
    bool freeing;
    unsigned present; /* enters minus leaves */
    void (*done)(void *user);
    void *done_user;
    conn *conn; /* NULL between attempts */
    eei_pipe *pipes, *dirty;
    char reset_reason[256];
};

static void on_timer(uv_timer_t *timer);
static void on_prepare(uv_prepare_t *prepare);
static void on_poll(uv_poll_t *poll, int status, int events);
static void lost(eei_link *link, ee_status st, const ee_error *why);
static ee_status drain(conn *c, ee_error *err);

/* ---- presence and time ------------------------------------------------------------------------------------------------ */

uv_loop_t *eei_link_loop(const eei_link *link) { return link->loop; }
eei_pipe **eei_link_pipes(eei_link *link) { return &link->pipes; }
eei_pipe **eei_link_dirty(eei_link *link) { return &link->dirty; }
void eei_link_enter(eei_link *link) { link->present++; }

void eei_link_leave(eei_link *link) {
    if (--link->present || !link->freeing) return;
    void (*done)(void *user) = link->done;
    void *user = link->done_user;
    eei_free(link);
    if (done) done(user);
}

void eei_link_due(eei_link *link, uint64_t deadline_ms) {
    if (deadline_ms >= link->timer_due_ms || link->freeing) return;
    uint64_t now = eei_mono_ms();
    link->timer_due_ms = deadline_ms;
    uv_update_time(link->loop); /* the delay counts from uv's idea of now, which may be old */
    uv_timer_start(&link->timer, on_timer, deadline_ms > now ? deadline_ms - now : 0, 0);
}

/* The deadlines may have moved away: the timer then fires once for nothing and is set again. */
static void look_at_deadlines(eei_link *link) {
    conn *c = link->conn;

    eei_link_due(link, link->retry_at_ms);
    if (!c) return;
    eei_link_due(link, c->deadline_ms);
    if (c->session) eei_link_due(link, eei_session_deadline_ms(c->session));
    if (c->mux) eei_link_due(link, eei_mux_deadline_ms(c->mux));
}

void eei_link_flush(eei_link *link) {
    if (link->flushing || !link->conn || link->freeing) return;
    link->flushing = true;
    uv_prepare_start(&link->prepare, on_prepare);
}

/* ---- conn: life ------------------------------------------------------------------------------------------------------- */

static void conn_drop(conn *c) {
    if (--c->refs) return;
    eei_link *link = c->link;
    eei_free(c);
    eei_link_leave(link);
}

static void on_poll_closed(uv_handle_t *handle) {
    conn *c = handle->data;
    eei_free(handle);
    conn_drop(c);
}

static void close_socket(conn *c) {
    if (c->poll) uv_close((uv_handle_t *)eei_take(&c->poll), on_poll_closed);
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->events = 0;
}

/* Everything but the memory goes now. Streams first: their pipes hear of it while they can still look at their channels. */
static void conn_close(conn *c, const ee_error *why) {
    eei_link *link = c->link;

    c->dead = true;
    link->conn = NULL;
    if (link->flushing) uv_prepare_stop(&link->prepare);
    link->flushing = false;
    for (eei_pipe *pipe = link->pipes; pipe; pipe = pipe->next) pipe->stream = NULL; /* the mux frees them */
    eei_mux_free(eei_take(&c->mux));
    while (link->pipes) eei_pipe_finish(link->pipes, why);
    eei_session_free(eei_take(&c->session));
    eei_ws_free(eei_take(&c->ws));
    SSL_free(eei_take(&c->ssl));
    eei_tls_io_clear(&c->io);
    eei_buf_clear(&c->message);
    ee_verdict_free(eei_take(&c->base));
    if (c->phase == RESOLVING) uv_cancel((uv_req_t *)&c->resolve);
    if (c->addresses) uv_freeaddrinfo(eei_take(&c->addresses));
    close_socket(c);
    conn_drop(c);
}

/* ---- sending ---------------------------------------------------------------------------------------------------------- */

static void set_events(conn *c) {
    int events = (c->paused ? 0 : UV_READABLE) | (c->want_write ? UV_WRITABLE : 0);

    if (c->phase == CONNECTING) events = UV_WRITABLE;
    if (!c->poll || events == c->events) return;
    c->events = events;
    if (events)
        uv_poll_start(c->poll, events, on_poll); /* cannot fail: the descriptor was accepted by uv_poll_init */
    else
        uv_poll_stop(c->poll);
}

static ee_status encrypt(conn *c, ee_error *err) {
    for (;;) {
        ee_span plain = c->ws ? eei_ws_output(c->ws) : eei_span(NULL, 0);
        size_t n = 0;
        if (!plain.len) return EE_OK;
        ERR_clear_error();
        if (SSL_write_ex(c->ssl, plain.data, plain.len, &n) != 1) return eei_tls_fail(err, EE_E_CONNECT, "write");
        eei_ws_output_sent(c->ws, n);
    }
}

/* Frames into websocket messages, as long as the socket is not far behind. */
static ee_status collect(conn *c, ee_error *err) {
    ee_status st = encrypt(c, err);

    while (!st && c->mux && eei_ws_is_open(c->ws) && eei_queue_len(&c->io.out) < OUT_HIGH && eei_mux_wants_transmit(c->mux)) {
        eei_buf_reset(&c->message);
        st = eei_mux_transmit(c->mux, &c->message, MESSAGE_BYTES, eei_mono_ms(), err);
        if (st || !c->message.len) break;
        st = eei_ws_send(c->ws, eei_buf_span(&c->message), err);
        if (!st) st = encrypt(c, err);
    }
    return st;
}

static ee_status send_cipher(conn *c, ee_error *err) {
    c->want_write = false;
    while (eei_queue_len(&c->io.out)) {
        ee_span cipher = eei_queue_span(&c->io.out);
        ssize_t n = send(c->fd, cipher.data, cipher.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            c->want_write = true;
            return EE_OK;
        }
        if (n < 0) return eei_fail_errno(err, EE_E_CONNECT, errno, "sending to the control plane");
        eei_queue_consume(&c->io.out, (size_t)n);
    }
    return EE_OK;
}

static bool has_more(const conn *c) { return c->mux && (eei_mux_wants_transmit(c->mux) || c->link->dirty); }

/* The end of a turn: pipes move on, frames are collected, one send carries them; what that set off is done too, up to a bound. */
static ee_status transmit(conn *c, ee_error *err) {
    ee_status st = EE_OK;

    for (unsigned round = 0; !st && round < ROUNDS_PER_TURN; round++) {
        eei_pipe *pipe;
        while ((pipe = c->link->dirty)) {
            c->link->dirty = pipe->next_dirty;
            pipe->dirty = false;
            eei_pipe_move(pipe);
        }
        st = collect(c, err);
        if (!st) st = send_cipher(c, err);
        if (!st) st = drain(c, err);
        if (c->want_write || !has_more(c)) break;
    }
    if (!st && has_more(c)) c->want_write = true; /* the poll brings us back at once, or when there is room */
    return st;
}

static void on_prepare(uv_prepare_t *prepare) {
    eei_link *link = prepare->data;
    ee_error err = {0};
    ee_status st;

    uv_prepare_stop(&link->prepare);
    if (!link->conn || link->conn->phase < SHAKING) {
        link->flushing = false;
        return;
    }
    st = transmit(link->conn, &err); /* flushes asked for meanwhile are part of it */
    link->flushing = false;
    if (st) {
        lost(link, st, &err);
        return;
    }
    set_events(link->conn);
    look_at_deadlines(link);
}

/* ---- slow steps ------------------------------------------------------------------------------------------------------- */

typedef struct job {
    uv_work_t work;
    conn *conn;
    void (*run)(struct job *job);
    ee_status (*after)(struct job *job, ee_error *err);
    ee_status status;
    ee_error error;
    eei_judge *judge; /* ours */
    X509 *certificate;
    uint8_t network_id[32];
    ee_verdict *verdict;
    eei_appraisal *appraisal;
    eei_prover *prover; /* the owner's: there until eei_link_free()'s done */
    eei_prove prove;
    eei_buf evidence;
} job;

static void job_free(job *j) {
    eei_judge_free(j->judge);
    X509_free(j->certificate);
    ee_verdict_free(j->verdict);
    eei_appraisal_free(j->appraisal);
    eei_buf_clear(&j->evidence);
    eei_free(j);
}

static job *job_new(conn *c, void (*run)(job *), ee_status (*after)(job *, ee_error *)) {
    job *j = eei_calloc(1, sizeof *j);
    if (!j) return NULL;
    j->conn = c;
    j->run = run;
    j->after = after;
    j->evidence = (eei_buf)EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    return j;
}

static ee_status session_step(conn *c, ee_error *err);
static ee_status process(conn *c, ee_error *err);

static void on_work(uv_work_t *work) {
    job *j = work->data;
    j->run(j);
}

static void after_work(uv_work_t *work, int status) {
    job *j = work->data;
    conn *c = j->conn;
    eei_link *link = c->link;
    ee_error err = {0};

    (void)status; /* never cancelled */
    if (!c->dead) {
        c->paused = false;
        ee_status st = j->after(j, &err);
        if (!st) st = process(c, &err); /* what came meanwhile */
        if (st) {
            lost(link, st, &err);
        } else {
            set_events(c);
            eei_link_flush(link);
            look_at_deadlines(link);
        }
    }
    job_free(j);
    conn_drop(c);
}

static ee_status job_start(job *j, ee_error *err) {
    conn *c = j->conn;

    j->work.data = j;
    if (uv_queue_work(c->link->loop, &j->work, on_work, after_work) != 0) {
        job_free(j);
        return eei_fail(err, EE_E_INTERNAL, "no worker for a slow step of the tunnel's opening");
    }
    c->paused = true;
    c->refs++;
    return EE_OK;
}

/* ---- certificate ------------------------------------------------------------------------------------------------------ */

static void judge_run(job *j) {
    const eei_expect expect = {.role = EEI_ROLE_CONTROL, .node_id = j->network_id, .node_name = "control plane"};
    j->status = eei_judge_certificate(j->judge, j->certificate, NULL, &expect, &j->verdict, &j->error);
}

static ee_status on_ws_message(void *user, ee_span message, ee_error *err) {
    conn *c = user;
    if (!c->mux) return eei_fail(err, EE_E_MALFORMED, "tunnel: a message before the session began");
    return eei_mux_receive(c->mux, message, eei_mono_ms(), err);
}

static ee_status judge_after(job *j, ee_error *err) {
    conn *c = j->conn;
    const eei_ws_options o = {.host = c->link->host_header, .path = "/v1/tunnel", .user = c, .on_message = on_ws_message};

    if (j->status) {
        *err = j->error;
        return eei_prefix(err, j->status, "control plane");
    }
    c->base = eei_take(&j->verdict);
    c->phase = UPGRADING;
    c->deadline_ms = eei_mono_ms() + UPGRADE_DEADLINE_MS;
    return eei_ws_new(&o, &c->ws, err);
}

static ee_status judge_start(conn *c, ee_error *err) {
    job *j = job_new(c, judge_run, judge_after);

    if (!j) return eei_nomem(err);
    j->certificate = SSL_get1_peer_certificate(c->ssl);
    j->judge = eei_judge_ref(c->link->o.judge);
    memcpy(j->network_id, c->link->o.network_id, 32);
    c->phase = JUDGING;
    c->deadline_ms = eei_mono_ms() + EEI_EVIDENCE_DEADLINE_MS;
    if (j->certificate && eei_certificate_spki_sha256(j->certificate, c->spki, err) == EE_OK) return job_start(j, err);
    job_free(j);
    return eei_fail(err, EE_E_ATTESTATION, "control plane showed no usable certificate");
}

/* ---- session ---------------------------------------------------------------------------------------------------------- */

static ee_status binder(void *user, const uint8_t nonce[32], uint8_t out[32], ee_error *err) {
    conn *c = user;
    return eei_tls_binder(c->ssl, nonce, out, err);
}

static ee_status session_start(conn *c, ee_error *err) {
    const eei_link_options *o = &c->link->o;
    eei_session_options s = {.role = o->role,
                             .node = c->link->node,
                             .release = c->link->release,
                             .limits_off = o->limits_off,
                             .instance_pub = o->prover ? eei_key_public(eei_prover_key(o->prover)) : NULL,
                             .peer_spki_sha256 = c->spki,
                             .base = c->base,
                             .binder = binder,
                             .user = c};
    const eei_mux_options m = {.dialed = true};
    ee_status st;

    memcpy(s.network_id, o->network_id, 32);
    memcpy(s.policy_hash, eei_policy_hash_bytes(eei_judge_policy(o->judge)), 32);
    st = eei_mux_new(&m, eei_mono_ms(), &c->mux, err);
    if (!st) st = eei_session_new(&s, eei_mono_ms(), &c->session, err);
    c->phase = SESSION;
    c->deadline_ms = UINT64_MAX; /* the session has its own */
    return st ? st : session_step(c, err);
}

static void appraise_run(job *j) { j->status = eei_appraisal_run(j->appraisal, &j->error); }

static ee_status appraise_after(job *j, ee_error *err) {
    conn *c = j->conn;
    ee_status st = eei_session_give_verdict(c->session, j->status ? NULL : eei_appraisal_verdict(j->appraisal), err);

    if (!j->status) return st ? st : session_step(c, err);
    (void)!session_step(c, NULL); /* REJECT goes out with the last words */
    *err = j->error;
    return eei_prefix(err, j->status, "control plane");
}

static ee_status appraise_start(conn *c, ee_error *err) {
    job *j = job_new(c, appraise_run, appraise_after);
    if (!j) return eei_nomem(err);
    ee_status st = eei_session_appraisal(c->session, c->link->o.judge, NULL, &j->appraisal, err);
    if (!st) return job_start(j, err);
    job_free(j);
    return st;
}

static void prove_run(job *j) { j->status = eei_prover_quote(j->prover, &j->prove, &j->evidence, &j->error); }

static ee_status prove_after(job *j, ee_error *err) {
    conn *c = j->conn;
    if (j->status) {
        *err = j->error;
        return eei_prefix(err, j->status, "own evidence");
    }
    ee_status st = eei_session_give_evidence(c->session, eei_buf_span(&j->evidence), err);
    return st ? st : session_step(c, err);
}

static ee_status prove_start(conn *c, ee_error *err) {
    job *j = job_new(c, prove_run, prove_after);
    if (!j) return eei_nomem(err);
    j->prover = c->link->o.prover;
    j->prove = *eei_session_prove(c->session);
    return job_start(j, err);
}

static void opened(conn *c) {
    eei_link *link = c->link;

    c->phase = OPEN;
    link->failures = 0;
    eei_instance_id(eei_session_peer_hello(c->session)->instance_pub, c->control_instance);
    eei_log(EEI_LOG_INFO, "link.open", "host=%s", link->host);
    if (link->o.on_open) link->o.on_open(link->o.user, eei_session_accepted(c->session));
}

/* Send what the session has to say, do what it needs. */
static ee_status session_step(conn *c, ee_error *err) {
    eei_frame frame;

    while (eei_session_next(c->session, &frame)) {
        ee_status st = eei_mux_send_control(c->mux, frame.type, frame.flags, frame.payload, err);
        if (st) return st;
    }
    switch (eei_session_state(c->session)) {
    case EEI_SESSION_NEED_VERDICT: return c->paused ? EE_OK : appraise_start(c, err);
    case EEI_SESSION_NEED_EVIDENCE: return c->paused ? EE_OK : prove_start(c, err);
    case EEI_SESSION_OPEN:
        if (c->phase != OPEN) opened(c);
        return EE_OK;
    case EEI_SESSION_CLOSED:
        if (err) *err = *eei_session_error(c->session);
        return eei_session_error(c->session)->status;
    case EEI_SESSION_WAIT:
    case EEI_SESSION_NEED_DECISION: break;
    }
    return EE_OK;
}

/* ---- receiving -------------------------------------------------------------------------------------------------------- */

static ee_status on_control(conn *c, const eei_frame *frame, ee_error *err) {
    eei_link *link = c->link;

    if (frame->type <= EEI_FRAME_REJECT) {
        ee_status st = eei_session_receive(c->session, frame, eei_mono_ms(), err);
        return st ? st : session_step(c, err);
    }
    if (c->phase != OPEN) return eei_fail(err, EE_E_MALFORMED, "tunnel: %s before the session was accepted", eei_frame_name(frame->type));
    if (link->o.on_control) link->o.on_control(link->o.user, frame);
    return EE_OK;
}

static ee_status on_event(conn *c, const eei_mux_event *event, ee_error *err) {
    eei_link *link = c->link;

    if (event->kind == EEI_MUX_CONTROL) return on_control(c, &event->frame, err);
    if (c->phase != OPEN) return eei_fail(err, EE_E_MALFORMED, "tunnel: a stream before the session was accepted");
    if (event->kind == EEI_MUX_OPENED) {
        if (link->o.on_opened) {
            link->o.on_opened(link->o.user, event->stream, event->frame.payload);
        } else {
            eei_stream_reset(event->stream, "not_found: no streams are taken here");
            eei_stream_free(event->stream);
        }
        return EE_OK;
    }
    snprintf(link->reset_reason, sizeof link->reset_reason, "%.*s",
             event->kind == EEI_MUX_RESET && event->frame.payload.data
                 ? (int)(event->frame.payload.len < 255 ? event->frame.payload.len : 255)
                 : 0,
             event->frame.payload.data ? (const char *)event->frame.payload.data : "");
    if (link->o.on_stream) link->o.on_stream(link->o.user, event->stream, event->kind);
    link->reset_reason[0] = 0;
    return EE_OK;
}

/* Nothing is taken while a slow step runs: a client's ACCEPT waits for its verdict. */
static ee_status drain(conn *c, ee_error *err) {
    eei_mux_event event;
    ee_status st = EE_OK;

    while (!st && c->mux && !c->paused && eei_mux_next_event(c->mux, &event) != EEI_MUX_NONE) st = on_event(c, &event, err);
    return st;
}

static ee_status shake(conn *c, ee_error *err) {
    ERR_clear_error();
    int rc = SSL_do_handshake(c->ssl);
    if (rc == 1) return judge_start(c, err);
    if (SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ) return EE_OK;
    return eei_tls_fail(err, EE_E_CONNECT, "handshake with the control plane");
}

/* What came before a goodbye counts, also in one record with it: a REJECT says why, "closed" does not. */
static ee_status take_message(conn *c, ee_span plain, ee_error *err) {
    ee_error before = {0};
    ee_status st = eei_ws_receive(c->ws, plain, err);
    if (st != EE_E_CLOSED || !drain(c, &before)) return st;
    if (err) *err = before;
    return before.status;
}

static ee_status decrypt(conn *c, ee_error *err) {
    uint8_t plain[16384];
    ee_status st = EE_OK;

    while (!st && !c->paused) {
        size_t n = 0;
        ERR_clear_error();
        int rc = SSL_read_ex(c->ssl, plain, sizeof plain, &n);
        if (rc != 1) {
            int why = SSL_get_error(c->ssl, rc);
            if (why == SSL_ERROR_WANT_READ) break;
            if (why == SSL_ERROR_ZERO_RETURN) return eei_fail(err, EE_E_CLOSED, "control plane closed the connection");
            return eei_tls_fail(err, EE_E_CONNECT, "read");
        }
        st = take_message(c, eei_span(plain, n), err);
        if (!st && c->phase == UPGRADING && eei_ws_is_open(c->ws)) st = session_start(c, err);
        if (!st) st = drain(c, err);
    }
    return st;
}

/* All cipher bytes there are, as far as the phase allows. */
static ee_status process(conn *c, ee_error *err) {
    ee_status st = drain(c, err);

    if (!st && c->phase == SHAKING) st = shake(c, err);
    if (!st && c->phase >= UPGRADING) st = decrypt(c, err);
    if (eei_tls_io_keep(&c->io) && !st) st = eei_fail(err, EE_E_LIMIT, "control plane sent over %u bytes ahead", CIPHER_MAX);
    return st;
}

static ee_status receive(conn *c, ee_error *err) {
    uint8_t bytes[READ_BYTES];
    ee_status st = EE_OK;

    for (unsigned i = 0; !st && i < READS_PER_TURN && !c->paused; i++) {
        ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) break;
        if (n < 0) return eei_fail_errno(err, EE_E_CONNECT, errno, "receiving from the control plane");
        if (!n) return eei_fail(err, c->phase == OPEN ? EE_E_CLOSED : EE_E_CONNECT, "control plane ended the connection");
        c->io.lent = eei_span(bytes, (size_t)n);
        st = process(c, err);
        if ((size_t)n < sizeof bytes) break;
    }
    return st;
}

/* ---- connecting ------------------------------------------------------------------------------------------------------- */

static ee_status tls_start(conn *c, ee_error *err) {
    int on = 1, lowat = NOTSENT_LOWAT;
    unsigned user_timeout = USER_TIMEOUT_MS;

    /* Best effort: they make it faster, not right. */
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof user_timeout);
    c->ssl = SSL_new(c->link->ctx);
    if (!c->ssl) return eei_tls_fail(err, EE_E_NOMEM, "connection");
    ee_status st = eei_tls_io_attach(&c->io, c->ssl, err);
    if (st) return st;
    if (!c->link->host_is_ip && SSL_set_tlsext_host_name(c->ssl, c->link->host) != 1) return eei_tls_fail(err, EE_E_INTERNAL, "host name");
    SSL_set_connect_state(c->ssl);
    c->phase = SHAKING;
    return shake(c, err);
}

static ee_status connect_next(conn *c, ee_error *err);

/* uv tells a refusal as an error of the poll (EBADF): the socket knows the real one. */
static ee_status on_connected(conn *c, int status, ee_error *err) {
    int number = 0;
    socklen_t len = sizeof number;

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &number, &len) != 0) number = errno;
    if (!number && status < 0) number = -status;
    if (!number) return tls_start(c, err);
    close_socket(c);
    eei_fail_errno(err, EE_E_CONNECT, number, "the control plane at %s:%s cannot be reached", c->link->host, c->link->port);
    return c->next_address ? connect_next(c, err) : EE_E_CONNECT;
}

static ee_status try_address(conn *c, const struct addrinfo *a, ee_error *err) {
    c->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return eei_fail_errno(err, EE_E_CONNECT, errno, "socket");
    if (connect(c->fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS)
        return eei_fail_errno(err, EE_E_CONNECT, errno, "the control plane at %s:%s cannot be reached", c->link->host, c->link->port);
    c->poll = eei_malloc(sizeof *c->poll);
    if (!c->poll) return eei_nomem(err);
    int rc = uv_poll_init(c->link->loop, c->poll, c->fd);
    if (rc != 0) {
        eei_free(eei_take(&c->poll));
        return eei_fail_errno(err, EE_E_CONNECT, -rc, "poll");
    }
    c->poll->data = c;
    c->refs++;
    c->phase = CONNECTING;
    set_events(c);
    return EE_OK;
}

static ee_status connect_next(conn *c, ee_error *err) {
    ee_status st = EE_E_CONNECT;

    while (c->next_address) {
        const struct addrinfo *a = c->next_address;
        c->next_address = a->ai_next;
        st = try_address(c, a, err);
        if (!st) return EE_OK;
        close_socket(c);
    }
    return st;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses) {
    conn *c = request->data;
    eei_link *link = c->link;
    ee_error err = {0};
    ee_status st;

    if (c->dead) {
        uv_freeaddrinfo(addresses);
        conn_drop(c);
        return;
    }
    c->phase = CONNECTING;
    c->addresses = c->next_address = addresses;
    if (status != 0 || !addresses)
        st = eei_fail(&err, EE_E_CONNECT, "control plane's name %s: %s", link->host, uv_strerror(status));
    else
        st = connect_next(c, &err);
    if (st) lost(link, st, &err);
    conn_drop(c);
}

static ee_status conn_start(eei_link *link, ee_error *err) {
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    conn *c = eei_calloc(1, sizeof *c);

    if (!c) return eei_nomem(err);
    c->link = link;
    c->refs = 1;
    c->fd = -1;
    c->io = (eei_tls_io)EEI_TLS_IO_INIT(CIPHER_MAX, CIPHER_MAX);
    c->message = (eei_buf)EEI_BUF_INIT(EEI_WS_MESSAGE_MAX);
    c->deadline_ms = eei_mono_ms() + EEI_TLS_DEADLINE_MS;
    c->phase = RESOLVING;
    c->resolve.data = c;
    eei_link_enter(link);
    link->conn = c;
    int rc = uv_getaddrinfo(link->loop, &c->resolve, on_resolved, link->host, link->port, &hints);
    if (rc == 0) {
        c->refs++;
        return EE_OK;
    }
    c->phase = CONNECTING; /* nothing to cancel */
    return eei_fail(err, EE_E_CONNECT, "control plane's name %s: %s", link->host, uv_strerror(rc));
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    conn *c = poll->data;
    eei_link *link = c->link;
    ee_error err = {0};
    ee_status st = EE_OK;

    if (c->phase == CONNECTING)
        st = on_connected(c, status, &err);
    else if (status < 0)
        st = eei_fail_errno(&err, EE_E_CONNECT, -status, "connection to the control plane");
    else if (events & UV_READABLE)
        st = receive(c, &err);
    if (st) {
        lost(link, st, &err);
        return;
    }
    set_events(c);
    eei_link_flush(link);
}

/* ---- retry ------------------------------------------------------------------------------------------------------------ */

/* First retry at once, then full jitter up to 15 s: after an outage the agents do not come back in step. */
static uint64_t retry_delay_ms(const eei_link *link, const ee_error *why) {
    uint64_t top = RETRY_MAX_MS, delay = 0, random = 0;

    if (link->failures > 1 && link->failures < 8) top = RETRY_BASE_MS << (link->failures - 2);
    if (top > RETRY_MAX_MS) top = RETRY_MAX_MS;
    if (link->failures > 1) delay = eei_random(&random, sizeof random, NULL) ? top : random % (top + 1);
    return delay < why->retry_after_ms ? why->retry_after_ms : delay;
}

/* Only from the outermost frame: whatever runs the connection returns its error up to here. */
static void lost(eei_link *link, ee_status st, const ee_error *why) {
    ee_error copy = *why;
    uint64_t delay = UINT64_MAX;

    copy.status = st;
    if (link->conn) {
        if (link->conn->ssl && link->conn->phase >= SESSION) { /* last words: REJECT, a close frame */
            (void)!collect(link->conn, NULL);
            eei_ws_close(link->conn->ws, 1000, "");
            if (!encrypt(link->conn, NULL)) (void)!send_cipher(link->conn, NULL);
        }
        conn_close(link->conn, &copy);
    }
    link->failures++;
    if (link->o.reconnect) delay = retry_delay_ms(link, &copy);
    link->retry_at_ms = delay == UINT64_MAX ? UINT64_MAX : eei_mono_ms() + delay;
    eei_log(EEI_LOG_WARN, "link.lost", "host=%s status=%s message=\"%s\"", link->host, ee_status_word(st), copy.message);
    if (link->o.on_closed) link->o.on_closed(link->o.user, &copy, delay);
    look_at_deadlines(link);
}

static ee_status check_time(conn *c, uint64_t now, ee_error *err) {
    static const char *const doing[] = {"name lookup",       "connecting", "TLS handshake", "appraisal",
                                        "websocket upgrade", "session",    "tunnel"};

    if (now >= c->deadline_ms) return eei_fail(err, EE_E_TIMEOUT, "control plane: %s took too long", doing[c->phase]);
    if (c->session && now >= eei_session_deadline_ms(c->session))
        return eei_fail(err, EE_E_TIMEOUT, "control plane: session was not opened in time");
    return c->mux && now >= eei_mux_deadline_ms(c->mux) ? eei_mux_tick(c->mux, now, err) : EE_OK;
}

static void tick_pipes(eei_link *link, uint64_t now) {
    for (eei_pipe *pipe = link->pipes, *next; pipe; pipe = next) {
        next = pipe->next;
        uint64_t due = eei_channel_deadline_ms(pipe->channel);
        if (now < due) {
            eei_link_due(link, due);
            continue;
        }
        eei_pipe_tick(pipe, now);
        next = link->pipes; /* a callback ran: the list may be another one */
    }
}

static void on_timer(uv_timer_t *timer) {
    eei_link *link = timer->data;
    uint64_t now = eei_mono_ms();
    ee_error err = {0};
    ee_status st = EE_OK;

    link->timer_due_ms = UINT64_MAX;
    if (link->conn) {
        st = check_time(link->conn, now, &err);
        tick_pipes(link, now);
        eei_link_flush(link);
    } else if (now >= link->retry_at_ms) {
        link->retry_at_ms = UINT64_MAX;
        st = conn_start(link, &err);
    }
    if (st)
        lost(link, st, &err);
    else
        look_at_deadlines(link);
}

/* ---- public ----------------------------------------------------------------------------------------------------------- */

/* "https://name:port", "https://[::1]:8443"; no path, no user. */
static ee_status parse_url(eei_link *link, const char *url, ee_error *err) {
    static const char scheme[] = "https://";
    const char *host, *end, *port = "443";
    uint8_t ip[16];

    if (!url || strncmp(url, scheme, sizeof scheme - 1) != 0)
        return eei_fail(err, EE_E_CONFIG, "control plane's address must begin with https://");
    host = url + sizeof scheme - 1;
    bool bracket = *host == '[';
    host += bracket;
    end = bracket ? strchr(host, ']') : host + strcspn(host, ":/?#@");
    if (!end || end == host || (size_t)(end - host) >= sizeof link->host)
        return eei_fail(err, EE_E_CONFIG, "control plane's address has no usable host");
    memcpy(link->host, host, (size_t)(end - host));
    end += bracket;
    if (*end == ':') {
        port = end + 1;
        end = port + strspn(port, "0123456789");
    }
    if (*end == '/') end++;
    size_t digits = strspn(port, "0123456789");
    if (*end || !digits || digits > 5) return eei_fail(err, EE_E_CONFIG, "control plane's address must be https://host:port");
    snprintf(link->port, sizeof link->port, "%.*s", (int)digits, port);
    snprintf(link->host_header, sizeof link->host_header, bracket ? "[%s]:%s" : "%s:%s", link->host, link->port);
    link->host_is_ip = inet_pton(AF_INET, link->host, ip) == 1 || inet_pton(AF_INET6, link->host, ip) == 1;
    return EE_OK;
}

static ee_status check_options(const eei_link_options *o, ee_error *err) {
    bool client = o->role == EEI_ROLE_CLIENT;

    if (!o->judge) return eei_fail(err, EE_E_INVALID, "a link needs a judge: nobody is trusted unseen");
    if (client == (o->prover != NULL)) return eei_fail(err, EE_E_INVALID, "every role but the client has a prover");
    if (client == (o->node && *o->node)) return eei_fail(err, EE_E_INVALID, "every role but the client has a node name");
    return EE_OK;
}

static void link_clear(eei_link *link) {
    SSL_CTX_free(eei_take(&link->ctx));
    eei_judge_free(eei_take(&link->o.judge));
    eei_free(eei_take(&link->node));
    eei_free(eei_take(&link->release));
}

ee_status eei_link_new(uv_loop_t *loop, const eei_link_options *options, eei_link **out, ee_error *err) {
    eei_link *link = NULL;
    ee_status st = check_options(options, err);

    *out = NULL;
    if (st) return st;
    link = eei_calloc(1, sizeof *link);
    if (!link) return eei_nomem(err);
    link->loop = loop;
    link->o = *options;
    link->o.url = link->o.node = link->o.release = NULL;
    link->o.judge = eei_judge_ref(options->judge);
    link->timer_due_ms = link->retry_at_ms = UINT64_MAX;
    st = parse_url(link, options->url, err);
    if (!st) st = eei_client_ctx_new(&link->ctx, err);
    link->node = options->node ? eei_strdup(options->node) : NULL;
    link->release = options->release ? eei_strdup(options->release) : NULL;
    if (!st && ((options->node && !link->node) || (options->release && !link->release))) st = eei_nomem(err);
    if (st) {
        link_clear(link);
        eei_free(link);
        return st;
    }
    uv_timer_init(loop, &link->timer);
    uv_prepare_init(loop, &link->prepare);
    link->timer.data = link->prepare.data = link;
    link->present = 2;
    *out = link;
    return EE_OK;
}

void eei_link_start(eei_link *link) {
    link->retry_at_ms = eei_mono_ms();
    look_at_deadlines(link);
}

static void on_handle_closed(uv_handle_t *handle) { eei_link_leave(handle->data); }

void eei_link_free(eei_link *link, void (*done)(void *user), void *user) {
    ee_error why = {0};

    if (!link) {
        if (done) done(user);
        return;
    }
    link->done = done;
    link->done_user = user;
    if (link->conn) {
        eei_fail(&why, EE_E_CLOSED, "tunnel was closed on this side");
        if (link->conn->phase == OPEN) {
            (void)!collect(link->conn, NULL); /* what was ready to go */
            eei_ws_close(link->conn->ws, 1000, "");
            if (!encrypt(link->conn, NULL)) (void)!send_cipher(link->conn, NULL);
        }
        conn_close(link->conn, &why);
    }
    link->freeing = true;
    link_clear(link);
    uv_close((uv_handle_t *)&link->timer, on_handle_closed);
    uv_close((uv_handle_t *)&link->prepare, on_handle_closed);
}

bool eei_link_is_open(const eei_link *link) { return link->conn && link->conn->phase == OPEN; }
const ee_verdict *eei_link_verdict(const eei_link *link) {
    return eei_link_is_open(link) ? eei_session_verdict(link->conn->session) : NULL;
}
const char *eei_link_reset_reason(const eei_link *link) { return link->reset_reason; }

const uint8_t *eei_link_control_instance(const eei_link *link) {
    if (!eei_link_is_open(link)) return NULL;
    return link->conn->control_instance;
}

static ee_status not_open(ee_error *err) { return eei_fail(err, EE_E_CONNECT, "there is no open tunnel to the control plane"); }

ee_status eei_link_binder(eei_link *link, const uint8_t nonce[32], uint8_t out[32], ee_error *err) {
    return eei_link_is_open(link) ? binder(link->conn, nonce, out, err) : not_open(err);
}

ee_status eei_link_send(eei_link *link, uint8_t type, uint16_t flags, ee_span payload, ee_error *err) {
    if (!eei_link_is_open(link)) return not_open(err);
    eei_link_flush(link);
    return eei_mux_send_control(link->conn->mux, type, flags, payload, err);
}

ee_status eei_link_open_stream(eei_link *link, ee_span payload, eei_stream **out, ee_error *err) {
    *out = NULL;
    if (!eei_link_is_open(link)) return not_open(err);
    eei_link_flush(link);
    return eei_mux_open(link->conn->mux, payload, out, err);
}
