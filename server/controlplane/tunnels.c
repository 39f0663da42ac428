/* tunnels.c - see tunnels.h. A tunnel is freed only when its socket told on_closed and no worker holds it. */
#include "tunnels.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/log.h"
#include "controlplane/enrolment.h"
#include "mux/mux.h"
#include "ratls/session.h"

#include <string.h>

enum { TOKEN_LIFE_MS = 60000, TRANSMIT_MAX = 65536 - 14, LAST_WORDS_MS = 1000 };

struct cp_tunnel {
    cp_context *cp;
    cp_tunnel *next, **link;
    eei_socket *socket; /* NULL once closed */
    eei_session *session;
    eei_mux *mux;
    uv_timer_t timer;
    uint8_t role; /* of the peer, once its HELLO came */
    char name[NAME_CAP];
    uint8_t instance_pub[32], instance_id[32];
    int holds; /* socket, timer, workers */
    bool working, attached, closing;
    uint8_t session_id[16];
    uint8_t attest_nonce[32]; /* of the open attestation challenge: used once, then forgotten whatever the verdict (threat Q7) */
    bool attest_open;
    bool last_words; /* a REJECT is on its way out; then it closes, for the reason kept here */
    ee_error why;
};

struct cp_tunnels {
    cp_context *cp;
    cp_tunnel_hooks hooks;
    cp_tunnel *head;
};

static void advance(cp_tunnel *tunnel);
static void on_timer(uv_timer_t *timer);
static void pump(cp_tunnel *tunnel);
static ee_status binder(void *user, const uint8_t nonce[32], uint8_t out[32], ee_error *err);
static ee_status take_periodic(cp_tunnel *tunnel, ee_span evidence, ee_error *err);

/* ---- life ------------------------------------------------------------------------------------------------------------ */

static void drop(cp_tunnel *tunnel) {
    if (--tunnel->holds > 0) return;
    eei_session_free(tunnel->session);
    eei_free(tunnel);
}

static void timer_closed(uv_handle_t *handle) { drop(handle->data); }

static void ended(cp_tunnel *tunnel) {
    cp_context *cp = tunnel->cp;
    if (tunnel->attached) {
        registry_node *node = registry_find_session(cp->registry, tunnel);
        tunnel->attached = false;
        if (node && registry_detach(cp->registry, tunnel, eei_wall_ms())) {
            eei_log(EEI_LOG_INFO, "agent.lost", "node=%s", tunnel->name);
            cp->tunnels->hooks.lost(cp, node, tunnel->instance_id);
        }
    }
    /* Streams of others that are relayed here are reset by this. */
    eei_mux_free(eei_take(&tunnel->mux));
}

static void on_closed(void *user, const ee_error *why) {
    cp_tunnel *tunnel = user;
    tunnel->socket = NULL;
    tunnel->closing = true;
    eei_log(EEI_LOG_DEBUG, "tunnel.closed", "peer=%s why=%s", tunnel->name, why ? why->message : "closed");
    ended(tunnel);
    if (tunnel->next) tunnel->next->link = tunnel->link;
    *tunnel->link = tunnel->next;
    uv_close((uv_handle_t *)&tunnel->timer, timer_closed);
    drop(tunnel);
}

static void close_tunnel(cp_tunnel *tunnel, uint16_t code, const char *reason) {
    if (tunnel->closing) return;
    tunnel->closing = true;
    if (tunnel->socket) eei_socket_close(tunnel->socket, code, reason);
}

static void fail_tunnel(cp_tunnel *tunnel, const ee_error *err) {
    eei_log(EEI_LOG_INFO, "tunnel.failed", "peer=%s word=%s message=%s", tunnel->name, err->word, err->message);
    close_tunnel(tunnel, 1008, err->word);
}

/* ---- deadlines ------------------------------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer) {
    cp_tunnel *tunnel = timer->data;
    ee_error err;
    uint64_t now = eei_mono_ms();
    if (tunnel->closing) return;
    if (tunnel->last_words) {
        fail_tunnel(tunnel, &tunnel->why);
        return;
    }
    if (eei_session_state(tunnel->session) != EEI_SESSION_OPEN && now >= eei_session_deadline_ms(tunnel->session)) {
        eei_fail(&err, EE_E_TIMEOUT, "the session was not opened in time");
        fail_tunnel(tunnel, &err);
        return;
    }
    if (eei_mux_tick(tunnel->mux, now, &err)) {
        fail_tunnel(tunnel, &err);
        return;
    }
    pump(tunnel);
}

static void arm_timer(cp_tunnel *tunnel) {
    uint64_t now = eei_mono_ms(), due = eei_mux_deadline_ms(tunnel->mux), session = eei_session_deadline_ms(tunnel->session);
    if (session < due) due = session;
    if (due == UINT64_MAX) {
        uv_timer_stop(&tunnel->timer);
        return;
    }
    (void)uv_timer_start(&tunnel->timer, on_timer, due > now ? due - now : 0, 0);
}

/* ---- the switch ------------------------------------------------------------------------------------------------------ */

static void refuse(eei_stream *stream, ee_status status, const char *why) {
    char reason[200];
    (void)snprintf(reason, sizeof reason, "%s: %s", ee_status_word(status), why);
    eei_stream_reset(stream, reason);
    eei_stream_free(stream);
}

static ee_status check_token(cp_context *cp, const eei_open *open, ee_error *err) {
    eei_envelope envelope;
    eei_token token;
    eei_arena arena = EEI_ARENA_INIT(1024);
    ee_status st = eei_envelope_parse(open->token, &envelope, err);
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_TOKEN, eei_key_public(eei_prover_key(cp->prover)), err);
    if (!st) st = eei_decode(&eei_token_schema, envelope.body, &arena, &token, err);
    if (!st &&
        (token.kind != open->kind || !eei_span_equal(token.target, open->target) || !eei_same(token.instance_id, open->instance_id, 32)))
        st = eei_fail(err, EE_E_PERMISSION, "the token is for another stream");
    if (!st && token.not_after_ms < eei_wall_ms()) st = eei_fail(err, EE_E_EXPIRED, "the token has expired");
    eei_arena_clear(&arena);
    return st;
}

/* A client or uptime server opened a stream: join it to one of the agent it names. */
static void switch_stream(cp_tunnel *tunnel, eei_stream *stream, ee_span payload) {
    cp_context *cp = tunnel->cp;
    eei_open open;
    eei_arena arena = EEI_ARENA_INIT(1024);
    eei_buf passed = EEI_BUF_INIT(4096);
    eei_stream *twin = NULL;
    ee_error err = {0};
    ee_status st = eei_decode(&eei_open_schema, payload, &arena, &open, &err);
    if (!st && open.kind != EEI_OPEN_HEALTH) st = check_token(cp, &open, &err);
    if (!st && open.kind == EEI_OPEN_HEALTH && tunnel->role != EEI_ROLE_UPTIME)
        st = eei_fail(&err, EE_E_PERMISSION, "health streams are for uptime servers");
    registry_node *node = st ? NULL : registry_find_instance(cp->registry, open.instance_id);
    cp_tunnel *agent = node ? node->session : NULL;
    if (!st && (!agent || agent->closing)) st = eei_fail(&err, EE_E_APP_UNAVAILABLE, "its agent is not connected");
    if (!st) {
        open.token = (ee_span){NULL, 0};
        st = eei_encode(&eei_open_schema, &open, &passed, &err);
    }
    if (!st) st = eei_mux_open_relay(stream, agent->mux, eei_buf_span(&passed), &twin, &err);
    if (st) refuse(stream, st, err.message);
    eei_buf_clear(&passed);
    eei_arena_clear(&arena);
    if (!st) pump(agent);
}

/* ---- events ---------------------------------------------------------------------------------------------------------- */

static ee_status on_control(cp_tunnel *tunnel, const eei_frame *frame, ee_error *err) {
    cp_context *cp = tunnel->cp;
    if (frame->type == EEI_FRAME_EVIDENCE && eei_session_state(tunnel->session) == EEI_SESSION_OPEN)
        return take_periodic(tunnel, frame->payload, err);
    if (frame->type <= EEI_FRAME_REJECT) return eei_session_receive(tunnel->session, frame, eei_mono_ms(), err);
    if (eei_session_state(tunnel->session) != EEI_SESSION_OPEN)
        return eei_fail(err, EE_E_STATE, "%s before the session is open", eei_frame_name(frame->type));
    if (tunnel->role == EEI_ROLE_AGENT) {
        registry_node *node = registry_find_session(cp->registry, tunnel);
        if (node) {
            node->seen_ms = eei_wall_ms();
            cp->tunnels->hooks.control(cp, node, tunnel->instance_id, tunnel->instance_pub, frame);
        }
        return EE_OK;
    }
    if (tunnel->role == EEI_ROLE_UPTIME && frame->type == EEI_FRAME_OBSERVATION) {
        cp->tunnels->hooks.observed(cp, tunnel->name, tunnel->instance_pub, frame);
        return EE_OK;
    }
    if (frame->flags & EEI_FRAME_CRITICAL) return eei_fail(err, EE_E_VERSION, "frame type %u is not for this role", frame->type);
    return EE_OK;
}

static void on_opened(cp_tunnel *tunnel, eei_stream *stream, ee_span payload) {
    if (eei_session_state(tunnel->session) != EEI_SESSION_OPEN)
        refuse(stream, EE_E_STATE, "the session is not open");
    else if (tunnel->role == EEI_ROLE_AGENT)
        refuse(stream, EE_E_PERMISSION, "agents open no streams");
    else
        switch_stream(tunnel, stream, payload);
}

static ee_status take_events(cp_tunnel *tunnel, ee_error *err) {
    eei_mux_event event;
    ee_status st = EE_OK;
    while (!st && tunnel->mux && eei_mux_next_event(tunnel->mux, &event) != EEI_MUX_NONE) {
        if (event.kind == EEI_MUX_CONTROL) {
            st = on_control(tunnel, &event.frame, err);
        } else if (event.kind == EEI_MUX_OPENED) {
            on_opened(tunnel, event.stream, event.frame.payload);
        } else if (event.kind == EEI_MUX_RESET || (event.kind == EEI_MUX_READABLE && eei_stream_at_end(event.stream))) {
            eei_stream_free(event.stream); /* all streams here are relays: nothing else is left to do with one */
        }
    }
    return st;
}

/* A session that ended has a REJECT to send, so that the peer learns why. */
static void end_tunnel(cp_tunnel *tunnel, const ee_error *err) {
    if (eei_session_state(tunnel->session) == EEI_SESSION_CLOSED && !tunnel->working)
        advance(tunnel);
    else
        fail_tunnel(tunnel, err);
}

/* Take events, advance the session, ask to write: after anything happened. */
static void pump(cp_tunnel *tunnel) {
    ee_error err = {0};
    if (tunnel->closing || !tunnel->mux || tunnel->last_words) return;
    if (take_events(tunnel, &err)) {
        end_tunnel(tunnel, &err);
        return;
    }
    advance(tunnel);
    if (tunnel->closing || !tunnel->mux) return;
    if (eei_mux_wants_transmit(tunnel->mux)) eei_socket_want_write(tunnel->socket);
    arm_timer(tunnel);
}

static void on_message(void *user, ee_span message) {
    cp_tunnel *tunnel = user;
    ee_error err = {0};
    if (tunnel->closing || tunnel->last_words) return;
    if (eei_mux_receive(tunnel->mux, message, eei_mono_ms(), &err)) {
        fail_tunnel(tunnel, &err);
        return;
    }
    pump(tunnel);
}

static void on_writable(void *user) {
    cp_tunnel *tunnel = user;
    eei_buf out = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX);
    ee_error err = {0};
    if (tunnel->closing) return;
    ee_status st = eei_mux_transmit(tunnel->mux, &out, TRANSMIT_MAX, eei_mono_ms(), &err);
    if (!st && out.len) st = eei_socket_send(tunnel->socket, eei_buf_span(&out), &err);
    eei_buf_clear(&out);
    if (st)
        fail_tunnel(tunnel, &err);
    else if (tunnel->last_words)
        fail_tunnel(tunnel, &tunnel->why);
    else
        pump(tunnel);
}

/* Another tunnel's relay put work here: take it at the next turn, from the writable callback. */
static void on_wake(void *user) {
    cp_tunnel *tunnel = user;
    if (!tunnel->closing && tunnel->socket) eei_socket_want_write(tunnel->socket);
}

/* ---- session --------------------------------------------------------------------------------------------------------- */

/* Slow steps run on uv's workers with copies and references of their own. */
typedef struct step_work {
    uv_work_t request;
    cp_tunnel *tunnel;
    bool verdict_wanted, periodic;
    eei_prove prove;
    eei_buf evidence;
    eei_expect expect;
    uint8_t nonce[32], binder[32], instance_pub[32], node_id[32], transcript[32];
    char node_name[NAME_CAP];
    eei_judge *judge;
    eei_prover *prover;
    ee_verdict *verdict;
    ee_status status;
    ee_error error;
} step_work;

static void run_step(uv_work_t *request) {
    step_work *work = request->data;
    if (work->verdict_wanted)
        work->status = eei_judge_evidence(work->judge, eei_buf_span(&work->evidence), NULL, &work->expect, &work->verdict, &work->error);
    else
        work->status = eei_prover_quote(work->prover, &work->prove, &work->evidence, &work->error);
}

static void attested_again(cp_tunnel *tunnel, const ee_verdict *verdict, const ee_error *why) {
    cp_context *cp = tunnel->cp;
    registry_node *node = registry_find_session(cp->registry, tunnel);
    ee_error err = *why;
    enrolment who;
    if (!node) return;
    bool good = verdict && ee_verdict_verified(verdict) && !enrolment_find(cp, tunnel->role, eei_span_text(tunnel->name), &who, &err) &&
                !enrolment_check_machine(cp, &who, verdict, &err);
    if (!good) eei_log(EEI_LOG_WARN, "attest.failed", "node=%s message=%s", tunnel->name, err.message);
    eei_ignored(registry_apply(cp->registry, node, good ? REGISTRY_ATTESTED : REGISTRY_ATTEST_MISS, eei_wall_ms(), NULL));
}

static void step_done(uv_work_t *request, int rc) {
    step_work *work = request->data;
    cp_tunnel *tunnel = work->tunnel;
    ee_error err = {0};
    ee_status st = rc ? eei_fail(&err, EE_E_CANCELLED, "stopping") : EE_OK;
    tunnel->working = false;
    if (work->periodic) {
        if (!st && !tunnel->closing) attested_again(tunnel, work->verdict, &work->error);
    } else if (!tunnel->closing) {
        if (!st && work->verdict_wanted) {
            if (work->status) eei_log(EEI_LOG_WARN, "tunnel.refused", "peer=%s message=%s", tunnel->name, work->error.message);
            st = eei_session_give_verdict(tunnel->session, work->verdict, &err);
        } else if (!st) {
            st = work->status;
            err = work->error;
            if (!st) st = eei_session_give_evidence(tunnel->session, eei_buf_span(&work->evidence), &err);
        }
        if (st)
            end_tunnel(tunnel, &err);
        else
            pump(tunnel);
    }
    eei_judge_free(work->judge);
    ee_verdict_free(work->verdict);
    eei_buf_clear(&work->evidence);
    eei_free(work);
    drop(tunnel);
}

static const uint8_t *keep32(uint8_t to[32], const uint8_t *from) {
    if (from) memcpy(to, from, 32);
    return from ? to : NULL;
}

static ee_status start_work(cp_tunnel *tunnel, bool verdict_wanted, ee_error *err) {
    step_work *work = eei_calloc(1, sizeof *work);
    if (!work) return eei_nomem(err);
    work->tunnel = tunnel;
    work->request.data = work;
    work->verdict_wanted = verdict_wanted;
    work->evidence = (eei_buf)EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    work->prover = tunnel->cp->prover;
    if (verdict_wanted) {
        work->judge = eei_judge_ref(tunnel->cp->judge);
        eei_session_expect(tunnel->session, &work->expect);
        const eei_hello *hello = eei_session_peer_hello(tunnel->session);
        enrolment who;
        /* Nobody of that name: it is told after the proof, like everything else that is known here. */
        if (enrolment_find(tunnel->cp, hello->role, hello->node, &who, NULL) == EE_OK) work->expect.node_id = who.node_id;
        work->expect.nonce = keep32(work->nonce, work->expect.nonce);
        work->expect.binder = keep32(work->binder, work->expect.binder);
        work->expect.instance_pub = keep32(work->instance_pub, work->expect.instance_pub);
        work->expect.node_id = keep32(work->node_id, work->expect.node_id);
        work->expect.transcript = keep32(work->transcript, work->expect.transcript);
        (void)snprintf(work->node_name, sizeof work->node_name, "%s", tunnel->name);
        work->expect.node_name = work->node_name;
        if (eei_buf_append_span(&work->evidence, eei_session_peer_evidence(tunnel->session))) {
            eei_free(work);
            return eei_nomem(err);
        }
    } else {
        work->prove = *eei_session_prove(tunnel->session);
    }
    int rc = uv_queue_work(tunnel->cp->loop, &work->request, run_step, step_done);
    if (rc) {
        eei_judge_free(work->judge);
        eei_buf_clear(&work->evidence);
        eei_free(work);
        return eei_fail(err, EE_E_IO, "no worker: %s", uv_strerror(rc));
    }
    tunnel->working = true;
    tunnel->holds++;
    return EE_OK;
}

/* Evidence on an open session: only the answer to our open challenge, bound to this very connection and the instance that opened it. */
static ee_status take_periodic(cp_tunnel *tunnel, ee_span evidence, ee_error *err) {
    cp_context *cp = tunnel->cp;
    const registry_node *node = registry_find_session(cp->registry, tunnel);
    if (!tunnel->attest_open || tunnel->working || !node) return eei_fail(err, EE_E_STATE, "evidence that nobody asked for");
    tunnel->attest_open = false;
    step_work *work = eei_calloc(1, sizeof *work);
    if (!work) return eei_nomem(err);
    work->tunnel = tunnel;
    work->request.data = work;
    work->verdict_wanted = work->periodic = true;
    work->judge = eei_judge_ref(cp->judge); /* everything the worker reads is there before it is queued */
    work->evidence = (eei_buf)EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    memcpy(work->nonce, tunnel->attest_nonce, 32);
    memcpy(work->instance_pub, tunnel->instance_pub, 32);
    memcpy(work->node_id, node->profile.node_id, 32);
    (void)snprintf(work->node_name, sizeof work->node_name, "%s", tunnel->name);
    work->expect = (eei_expect){.purpose = EEI_PURPOSE_PERIODIC,
                                .role = tunnel->role,
                                .nonce = work->nonce,
                                .binder = work->binder,
                                .instance_pub = work->instance_pub,
                                .node_id = work->node_id,
                                .node_name = work->node_name,
                                .no_app = true};
    ee_status st = binder(tunnel, work->nonce, work->binder, err);
    if (!st && eei_buf_append_span(&work->evidence, evidence)) st = eei_nomem(err);
    if (!st && uv_queue_work(cp->loop, &work->request, run_step, step_done) != 0) st = eei_fail(err, EE_E_IO, "no worker");
    if (st) {
        eei_judge_free(work->judge);
        eei_buf_clear(&work->evidence);
        eei_free(work);
        return st;
    }
    tunnel->working = true;
    tunnel->holds++;
    return EE_OK;
}

ee_status cp_tunnels_attest(cp_context *cp, registry_node *node, ee_error *err) {
    static const uint8_t no_head[32];
    cp_tunnel *tunnel = node->session;
    eei_challenge message = {.kind = EEI_CHALLENGE_ATTEST, .observer = eei_span_text(cp->network)};
    eei_buf payload = EEI_BUF_INIT(512);
    memcpy(message.policy_hash, eei_policy_hash_bytes(cp->policy), sizeof message.policy_hash);
    if (!tunnel || tunnel->closing) return eei_fail(err, EE_E_NO_NODE, "node %s is not connected", node->profile.name);
    if (tunnel->attest_open) {
        eei_log(EEI_LOG_WARN, "attest.missed", "node=%s", tunnel->name);
        eei_ignored(registry_apply(cp->registry, node, REGISTRY_ATTEST_MISS, eei_wall_ms(), NULL));
    }
    ee_status st = eei_random(message.r, sizeof message.r, err);
    if (!st) st = eei_encode(&eei_challenge_schema, &message, &payload, err);
    if (!st) st = cp_tunnels_send(cp, node, EEI_FRAME_CHALLENGE, eei_buf_span(&payload), err);
    if (!st) {
        eei_nonce_derive(no_head, 0, message.r, tunnel->session_id, tunnel->attest_nonce);
        tunnel->attest_open = true;
    }
    eei_buf_clear(&payload);
    return st;
}

static ee_status prove(cp_tunnel *tunnel, ee_error *err) {
    eei_buf evidence = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    if (!eei_session_prove_signed(tunnel->session)) return start_work(tunnel, false, err);
    ee_status st = eei_prover_session(tunnel->cp->prover, eei_session_prove(tunnel->session), &evidence, err);
    if (!st) st = eei_session_give_evidence(tunnel->session, eei_buf_span(&evidence), err);
    eei_buf_clear(&evidence);
    return st;
}

/* One instance replaces the other at once (threat S2). */
static ee_status admit_agent(cp_tunnel *tunnel, registry_node *node, ee_error *err) {
    cp_context *cp = tunnel->cp;
    void *replaced = NULL;
    bool simulated = ee_verdict_simulated(eei_session_verdict(tunnel->session)) != 0;
    ee_status st =
        registry_attach(cp->registry, node, tunnel, tunnel->instance_id, tunnel->instance_pub, simulated, eei_wall_ms(), &replaced, err);
    if (st) return st;
    node->limits_off = eei_session_peer_hello(tunnel->session)->limits_off;
    tunnel->attached = true;
    if (replaced && replaced != tunnel) {
        cp_tunnel *old = replaced;
        old->attached = false;
        cp->tunnels->hooks.lost(cp, node, old->instance_id);
        close_tunnel(old, 1001, "replaced");
    }
    return registry_apply(cp->registry, node, REGISTRY_READY, eei_wall_ms(), err);
}

static void send_session_frames(cp_tunnel *tunnel, ee_status *st, ee_error *err) {
    eei_frame frame;
    while (!*st && eei_session_next(tunnel->session, &frame))
        *st = eei_mux_send_control(tunnel->mux, frame.type, frame.flags, frame.payload, err);
}

static ee_status turn_away(cp_tunnel *tunnel, const ee_error *why) {
    eei_log(EEI_LOG_WARN, "peer.refused", "role=%u peer=%s message=%s", tunnel->role, tunnel->name, why->message);
    return eei_session_reject(tunnel->session, why->status, why->message, 0);
}

/* Everything is proved, checked and written down: from here on it is somebody. */
static ee_status accept_peer(cp_tunnel *tunnel, ee_error *err) {
    cp_context *cp = tunnel->cp;
    eei_accept accept = {.state = eei_span_text("open"), .time_ms = eei_wall_ms(), .health_interval_ms = cp->health_interval_ms};
    ee_error why = {0};
    memcpy(accept.session_id, tunnel->session_id, sizeof accept.session_id);
    if (tunnel->role == EEI_ROLE_AGENT) {
        registry_node *node = NULL;
        ee_status st = registry_get(cp->registry, eei_span_text(tunnel->name), &node, &why);
        if (!st) st = admit_agent(tunnel, node, &why);
        if (st) return turn_away(tunnel, &why);
        accept.state = eei_span_text("serving");
    }
    ee_status st = eei_session_accept(tunnel->session, &accept, err);
    send_session_frames(tunnel, &st, err); /* ACCEPT is on its way before anything else can be */
    if (st) return st;
    eei_log(EEI_LOG_INFO, "tunnel.accepted", "role=%u peer=%s address=%s", tunnel->role, tunnel->name,
            tunnel->socket ? eei_socket_peer(tunnel->socket) : "");
    registry_node *node = tunnel->attached ? registry_find_session(cp->registry, tunnel) : NULL;
    if (node) cp->tunnels->hooks.serving(cp, node);
    return EE_OK;
}

/* A boot ticket on its way to the disk. */
typedef struct ticket_work {
    cp_tunnel *tunnel;
    ticket_use use;
} ticket_work;

static ee_status use_ticket(store *db, void *arg, ee_error *err) { return tickets_use(db, &((ticket_work *)arg)->use, err); }

static void ticket_used(void *arg, ee_status status, const ee_error *why) {
    ticket_work *work = arg;
    cp_tunnel *tunnel = work->tunnel;
    ee_error err = {0};
    tunnel->working = false;
    if (!tunnel->closing) {
        ee_status st = status ? turn_away(tunnel, why) : accept_peer(tunnel, &err);
        if (st)
            end_tunnel(tunnel, &err);
        else
            pump(tunnel);
    }
    eei_free(work);
    drop(tunnel);
}

/* The peer is proved. Agents and uptime servers must be enrolled under that name, on that machine, with a ticket for this boot. */
static ee_status check_enrolled(cp_tunnel *tunnel, ticket_use *use, ee_error *err) {
    const ee_verdict *verdict = eei_session_verdict(tunnel->session);
    enrolment who;
    ee_status st = enrolment_find(tunnel->cp, tunnel->role, eei_span_text(tunnel->name), &who, err);
    if (!st) st = enrolment_check_machine(tunnel->cp, &who, verdict, err);
    return st ? st : enrolment_check_ticket(tunnel->cp, &who, tunnel->role, verdict, tunnel->instance_id, use, err);
}

static ee_status decide(cp_tunnel *tunnel, ee_error *err) {
    const eei_hello *hello = eei_session_peer_hello(tunnel->session);
    ticket_use use;
    ee_error why = {0};

    tunnel->role = (uint8_t)hello->role;
    if (tunnel->role == EEI_ROLE_CLIENT) return accept_peer(tunnel, err);
    (void)snprintf(tunnel->name, sizeof tunnel->name, "%.*s", (int)hello->node.len, (const char *)hello->node.data);
    memcpy(tunnel->instance_pub, hello->instance_pub, 32);
    eei_instance_id(tunnel->instance_pub, tunnel->instance_id);
    ee_status st = check_enrolled(tunnel, &use, &why);
    ticket_work *work = st ? NULL : eei_calloc(1, sizeof *work);
    if (work) {
        *work = (ticket_work){tunnel, use};
        st = writer_submit(tunnel->cp->writer, use_ticket, work, ticket_used, &why);
    } else if (!st) {
        st = eei_nomem(&why);
    }
    if (st) {
        eei_free(work);
        return turn_away(tunnel, &why);
    }
    tunnel->working = true;
    tunnel->holds++;
    return EE_OK;
}

static void advance(cp_tunnel *tunnel) {
    ee_error err = {0};
    ee_status st = EE_OK;
    send_session_frames(tunnel, &st, &err);
    while (!st && !tunnel->working) {
        eei_session_step step = eei_session_state(tunnel->session);
        if (step == EEI_SESSION_NEED_EVIDENCE)
            st = prove(tunnel, &err);
        else if (step == EEI_SESSION_NEED_VERDICT)
            st = start_work(tunnel, true, &err);
        else if (step == EEI_SESSION_NEED_DECISION)
            st = decide(tunnel, &err);
        else if (step == EEI_SESSION_CLOSED) {
            st = eei_session_error(tunnel->session)->status;
            err = *eei_session_error(tunnel->session);
        } else
            break;
        ee_status sent = EE_OK; /* a REJECT goes out although the session failed */
        send_session_frames(tunnel, &sent, NULL);
    }
    if (!st || tunnel->closing || tunnel->last_words) return;
    if (!tunnel->mux || !eei_mux_wants_transmit(tunnel->mux)) {
        fail_tunnel(tunnel, &err);
        return;
    }
    /* The REJECT goes out first, so that the peer learns why; a peer that does not read gets a second. */
    tunnel->last_words = true;
    tunnel->why = err;
    eei_socket_want_write(tunnel->socket);
    (void)uv_timer_start(&tunnel->timer, on_timer, LAST_WORDS_MS, 0);
}

static ee_status binder(void *user, const uint8_t nonce[32], uint8_t out[32], ee_error *err) {
    cp_tunnel *tunnel = user;
    if (!tunnel->socket) return eei_fail(err, EE_E_CLOSED, "the tunnel is closed");
    return eei_socket_binder(tunnel->socket, nonce, out, err);
}

/* ---- accepting ------------------------------------------------------------------------------------------------------- */

static ee_status open_tunnel(cp_tunnel *tunnel, ee_error *err) {
    cp_context *cp = tunnel->cp;
    eei_session_options session = {.listening = true,
                                   .role = EEI_ROLE_CONTROL,
                                   .release = ee_version(),
                                   .instance_pub = eei_key_public(eei_prover_key(cp->prover)),
                                   .binder = binder,
                                   .user = tunnel};
    eei_mux_options mux = {.dialed = false};
    memcpy(session.network_id, cp->network_id, 32);
    memcpy(session.policy_hash, eei_policy_hash_bytes(cp->policy), 32);
    ee_status st = eei_random(session.session_id, sizeof session.session_id, err);
    memcpy(tunnel->session_id, session.session_id, sizeof tunnel->session_id);
    if (!st) st = eei_session_new(&session, eei_mono_ms(), &tunnel->session, err);
    if (!st) st = eei_mux_new(&mux, eei_mono_ms(), &tunnel->mux, err);
    if (!st) eei_mux_set_wake(tunnel->mux, on_wake, tunnel);
    return st;
}

void cp_tunnels_accept(cp_context *cp, eei_socket *socket) {
    ee_error err = {0};
    cp_tunnels *tunnels = cp->tunnels;
    cp_tunnel *tunnel = eei_calloc(1, sizeof *tunnel);
    if (!tunnel) {
        eei_socket_close(socket, 1011, "out of memory");
        return;
    }
    tunnel->cp = cp;
    tunnel->socket = socket;
    (void)snprintf(tunnel->name, sizeof tunnel->name, "%.63s", eei_socket_peer(socket));
    if (open_tunnel(tunnel, &err)) {
        eei_socket_close(socket, 1011, err.word);
        eei_session_free(tunnel->session);
        eei_mux_free(tunnel->mux);
        eei_free(tunnel);
        return;
    }
    (void)uv_timer_init(cp->loop, &tunnel->timer);
    tunnel->timer.data = tunnel;
    tunnel->holds = 2; /* socket, timer */
    tunnel->next = tunnels->head;
    tunnel->link = &tunnels->head;
    if (tunnel->next) tunnel->next->link = &tunnel->next;
    tunnels->head = tunnel;
    eei_socket_callbacks callbacks = {tunnel, on_message, on_writable, on_closed};
    eei_socket_set(socket, &callbacks);
    pump(tunnel);
}

ee_status cp_tunnels_new(cp_context *cp, const cp_tunnel_hooks *hooks, cp_tunnels **out, ee_error *err) {
    cp_tunnels *tunnels = eei_calloc(1, sizeof *tunnels);
    *out = NULL;
    if (!tunnels) return eei_nomem(err);
    tunnels->cp = cp;
    tunnels->hooks = *hooks;
    *out = tunnels;
    return EE_OK;
}

void cp_tunnels_close_all(cp_tunnels *tunnels) {
    for (cp_tunnel *tunnel = tunnels->head; tunnel; tunnel = tunnel->next) close_tunnel(tunnel, 1001, "the control plane is stopping");
}

void cp_tunnels_free(cp_tunnels *tunnels) { eei_free(tunnels); }

ee_status cp_tunnels_send(cp_context *cp, registry_node *node, uint8_t type, ee_span payload, ee_error *err) {
    (void)cp;
    cp_tunnel *tunnel = node->session;
    if (!tunnel || tunnel->closing || !tunnel->mux) return eei_fail(err, EE_E_NO_NODE, "node %s is not connected", node->profile.name);
    ee_status st = eei_mux_send_control(tunnel->mux, type, EEI_FRAME_CRITICAL, payload, err);
    if (!st) eei_socket_want_write(tunnel->socket);
    return st;
}

ee_status cp_token_make(cp_context *cp, uint64_t kind, const char *target, const uint8_t instance_id[32], const char *account,
                        uint64_t now_ms, eei_buf *out, ee_error *err) {
    eei_token token = {
        .kind = kind, .target = eei_span_text(target), .account = eei_span_text(account), .not_after_ms = now_ms + TOKEN_LIFE_MS};
    eei_buf body = EEI_BUF_INIT(512);
    memcpy(token.instance_id, instance_id, 32);
    ee_status st = eei_encode(&eei_token_schema, &token, &body, err);
    if (!st) st = eei_envelope_seal(eei_prover_key(cp->prover), EEI_SIGNED_TOKEN, eei_buf_span(&body), out, err);
    eei_buf_clear(&body);
    return st;
}

void cp_tunnels_get_stats(const cp_tunnels *tunnels, cp_tunnel_stats *out) {
    memset(out, 0, sizeof *out);
    for (const cp_tunnel *tunnel = tunnels->head; tunnel; tunnel = tunnel->next) {
        eei_mux_stats stats;
        out->tunnels++;
        if (!tunnel->mux) continue;
        eei_mux_get_stats(tunnel->mux, &stats);
        out->streams += stats.streams;
        out->bytes_relayed += stats.bytes_out;
        if (tunnel->role == EEI_ROLE_AGENT) out->agents++;
        if (tunnel->role == EEI_ROLE_CLIENT) out->clients++;
    }
}
