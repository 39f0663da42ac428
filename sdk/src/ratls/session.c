/* session.c - the opening of a tunnel as a table of states and frames; both sides in one object. No I/O, no clock, no quotes: the owner
 * runs the slow steps. Called by net/link and the control plane. Proto: docs/protocol.md#session */
#include "ratls/session.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <stdio.h>
#include <string.h>

#define WIRE_VERSION     1u
#define HELLO_BYTES_MAX  4096u /* every field at its maximum is under 1 KiB */
#define ACCEPT_BYTES_MAX 4096u
#define ARENA_MAX        4096u /* a list of 8 versions */
#define QUEUE_MAX        4u    /* HELLO, EVIDENCE and one end are all that a side ever sends */

typedef enum state {
    HELLO_WAIT,    /* both: the peer's HELLO */
    EVIDENCE_WAIT, /* both: the peer's EVIDENCE */
    VERDICT,       /* both: the owner appraises it */
    PROVE,         /* both: the owner makes ours */
    DECISION,      /* listening: the owner decides */
    ACCEPT_WAIT,   /* dialing */
    OPEN,
    CLOSED,
} state;

typedef struct outgoing {
    uint8_t type;
    eei_buf payload;
} outgoing;

struct eei_session {
    eei_session_options o;
    char *node, *release;
    uint8_t instance_pub[32], peer_spki[32];
    ee_verdict *base;
    state state;
    uint64_t deadline_ms;

    uint8_t r[32];
    eei_buf our_hello, peer_hello;
    eei_arena arena; /* what peer.versions points to */
    eei_hello peer;
    char peer_node[EEI_NAME_BYTES_MAX + 1];
    bool peer_known;
    uint64_t version;
    uint8_t transcript[32];
    eei_prove prove;                         /* what ours must say */
    uint8_t peer_nonce[32], peer_binder[32]; /* what theirs must say */

    eei_buf evidence;
    ee_verdict *verdict;
    eei_buf accept_bytes;
    eei_accept accepted;
    outgoing queue[QUEUE_MAX];
    size_t queued, sent;
    ee_error error;
};

/* ---- small ------------------------------------------------------------------------------------------------------------ */

static bool all_zero(const uint8_t *data, size_t len) {
    uint8_t any = 0;
    for (size_t i = 0; i < len; i++) any |= data[i];
    return !any;
}

static bool is_client(const eei_session *s) { return s->o.role == EEI_ROLE_CLIENT; }
static bool peer_is_client(const eei_session *s) { return s->peer.role == EEI_ROLE_CLIENT; }

/* Ends the session with the error that is in err, which every failing path has filled. */
static ee_status closed(eei_session *s, ee_status st, const ee_error *err) {
    s->state = CLOSED;
    s->deadline_ms = UINT64_MAX;
    if (err) s->error = *err;
    s->error.status = st;
    return st;
}

static ee_status queue_bytes(eei_session *s, uint8_t type, ee_span payload, ee_error *err) {
    EE_ASSERT(s->queued < QUEUE_MAX);
    outgoing *q = &s->queue[s->queued];
    q->payload = (eei_buf)EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    ee_status st = eei_buf_append_span(&q->payload, payload);
    if (st) return eei_fail(err, st, "%s of %zu bytes does not fit its frame", eei_frame_name(type), payload.len);
    q->type = type;
    s->queued++;
    return EE_OK;
}

static ee_status queue_message(eei_session *s, uint8_t type, const eei_schema *schema, const void *message, ee_error *err) {
    eei_buf bytes = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    ee_status st = eei_encode(schema, message, &bytes, err);
    if (!st) st = queue_bytes(s, type, eei_buf_span(&bytes), err);
    eei_buf_clear(&bytes);
    return st;
}

/* ---- HELLO ------------------------------------------------------------------------------------------------------------ */

static ee_status send_hello(eei_session *s, uint64_t version, ee_error *err) {
    eei_hello h = {.versions = {&version, 1}, .role = s->o.role};
    ee_status st = eei_random(s->r, sizeof s->r, err);

    if (st) return st;
    memcpy(h.instance_pub, s->instance_pub, 32);
    memcpy(h.r, s->r, 32);
    memcpy(h.policy_hash, s->o.policy_hash, 32);
    if (s->o.listening) memcpy(h.session_id, s->o.session_id, 16);
    h.release = eei_span_text(s->release);
    h.node = eei_span_text(s->node);
    h.limits_off = s->o.limits_off;
    eei_buf_reset(&s->our_hello);
    st = eei_encode(&eei_hello_schema, &h, &s->our_hello, err);
    return st ? st : queue_bytes(s, EEI_FRAME_HELLO, eei_buf_span(&s->our_hello), err);
}

static ee_status decode_hello(eei_session *s, ee_span payload, ee_error *err) {
    ee_status st = eei_buf_append_span(&s->peer_hello, payload);

    if (st) return eei_fail(err, st, "HELLO of %zu bytes, at most %u", payload.len, HELLO_BYTES_MAX);
    st = eei_decode(&eei_hello_schema, eei_buf_span(&s->peer_hello), &s->arena, &s->peer, err);
    if (st) return st;
    s->peer_known = true;
    snprintf(s->peer_node, sizeof s->peer_node, "%.*s", (int)s->peer.node.len, (const char *)s->peer.node.data);
    if (all_zero(s->peer.r, 32)) return eei_fail(err, EE_E_MALFORMED, "HELLO has no randomness");
    /* Our own words back are a mirror, not a peer. */
    if (eei_span_equal(eei_span(s->peer.r, 32), eei_span(s->r, 32)))
        return eei_fail(err, EE_E_MALFORMED, "HELLO repeats our own randomness");
    return EE_OK;
}

static bool offers(const eei_hello *h, uint64_t version) {
    const uint64_t *v = h->versions.items;
    for (size_t i = 0; i < h->versions.count; i++) {
        if (v[i] == version) return true;
    }
    return false;
}

/* The dialing HELLO comes first in the transcript, on both sides (threat S5). */
static ee_status fix_transcript(eei_session *s, ee_error *err) {
    ee_span first = eei_buf_span(s->o.listening ? &s->peer_hello : &s->our_hello);
    ee_span second = eei_buf_span(s->o.listening ? &s->our_hello : &s->peer_hello);
    eei_buf both = EEI_BUF_INIT(2 * HELLO_BYTES_MAX);
    ee_status st = eei_buf_append_span(&both, first);

    if (!st) st = eei_buf_append_span(&both, second);
    if (!st) eei_sha256(eei_buf_span(&both), s->transcript);
    eei_buf_clear(&both);
    return st ? eei_fail(err, st, "transcript") : EE_OK;
}

/* Both nonces, and what this connection's exporter says for each: known from here on, the same on both sides. */
static ee_status fix_binding(eei_session *s, ee_error *err) {
    static const uint8_t zero[32];
    const eei_hello *h = &s->peer;
    bool client = s->o.listening ? peer_is_client(s) : is_client(s);
    ee_status st = fix_transcript(s, err);

    if (st) return st;
    s->prove = (eei_prove){.purpose = client ? EEI_PURPOSE_CHALLENGE : EEI_PURPOSE_REGISTER, .wire_version = (uint16_t)s->version};
    memcpy(s->prove.transcript, s->transcript, 32);
    eei_nonce_derive(h->head_root, h->head_size, h->r, h->session_id, s->prove.nonce);
    eei_nonce_derive(zero, 0, s->r, s->o.listening ? s->o.session_id : zero, s->peer_nonce);
    st = s->o.binder(s->o.user, s->prove.nonce, s->prove.binder, err);
    return st ? st : s->o.binder(s->o.user, s->peer_nonce, s->peer_binder, err);
}

static ee_status hello_from_control(eei_session *s, ee_error *err) {
    const eei_hello *h = &s->peer;

    if (h->role != EEI_ROLE_CONTROL)
        return eei_fail(err, EE_E_MALFORMED, "HELLO of role %u where the control plane's was due", (unsigned)h->role);
    if (h->versions.count != 1 || !offers(h, WIRE_VERSION))
        return eei_fail(err, EE_E_VERSION, "control plane chose none of our wire versions (we speak %u)", WIRE_VERSION);
    if (h->features) return eei_fail(err, EE_E_VERSION, "control plane chose features that were not offered");
    if (all_zero(h->session_id, 16) || all_zero(h->instance_pub, 32))
        return eei_fail(err, EE_E_MALFORMED, "HELLO without session id or key");
    s->version = WIRE_VERSION;
    ee_status st = fix_binding(s, err);
    s->state = EVIDENCE_WAIT;
    return st;
}

static ee_status hello_from_dialer(eei_session *s, ee_error *err) {
    const eei_hello *h = &s->peer;
    bool client = peer_is_client(s);

    if (!client && h->role != EEI_ROLE_AGENT && h->role != EEI_ROLE_UPTIME)
        return eei_fail(err, EE_E_MALFORMED, "HELLO of role %u, which does not dial", (unsigned)h->role);
    if (!offers(h, WIRE_VERSION))
        return eei_fail(err, EE_E_VERSION, "none of the %zu wire versions offered is %u", h->versions.count, WIRE_VERSION);
    if (!all_zero(h->session_id, 16))
        return eei_fail(err, EE_E_MALFORMED, "HELLO chooses a session id, which is the control plane's to choose");
    if (client != all_zero(h->instance_pub, 32) || client != !h->node.len)
        return eei_fail(err, EE_E_MALFORMED, client ? "a client's HELLO has no key and no node" : "HELLO without key or node name");
    s->version = WIRE_VERSION;
    ee_status st = send_hello(s, s->version, err);
    if (!st) st = fix_binding(s, err);
    s->state = PROVE;
    return st;
}

static ee_status on_hello(eei_session *s, ee_span payload, uint64_t now_ms, ee_error *err) {
    ee_status st = decode_hello(s, payload, err);
    if (st) return st;
    s->deadline_ms = now_ms + EEI_EVIDENCE_DEADLINE_MS;
    return s->o.listening ? hello_from_dialer(s, err) : hello_from_control(s, err);
}

/* ---- the other frames ------------------------------------------------------------------------------------------------- */

static ee_status on_evidence(eei_session *s, ee_span payload, uint64_t now_ms, ee_error *err) {
    ee_status st;

    if (!payload.len) return eei_fail(err, EE_E_MALFORMED, "EVIDENCE is empty");
    st = eei_buf_append_span(&s->evidence, payload);
    if (st) return eei_fail(err, st, "EVIDENCE of %zu bytes, at most %u", payload.len, EEI_EVIDENCE_BYTES_MAX);
    s->deadline_ms = now_ms + EEI_EVIDENCE_DEADLINE_MS;
    s->state = VERDICT;
    return EE_OK;
}

static ee_status on_accept(eei_session *s, ee_span payload, uint64_t now_ms, ee_error *err) {
    ee_status st = eei_buf_append_span(&s->accept_bytes, payload);

    (void)now_ms;
    if (st) return eei_fail(err, st, "ACCEPT of %zu bytes, at most %u", payload.len, ACCEPT_BYTES_MAX);
    st = eei_decode(&eei_accept_schema, eei_buf_span(&s->accept_bytes), &s->arena, &s->accepted, err);
    if (st) return st;
    if (!eei_span_equal(eei_span(s->accepted.session_id, 16), eei_span(s->peer.session_id, 16)))
        return eei_fail(err, EE_E_MALFORMED, "ACCEPT is of another session");
    s->state = OPEN;
    s->deadline_ms = UINT64_MAX;
    return EE_OK;
}

/* The peer's text goes into one line of ours. */
static void one_line(ee_span text, char *out, size_t cap) {
    size_t n = text.len < cap - 1 ? text.len : cap - 1;
    for (size_t i = 0; i < n; i++) out[i] = text.data[i] < 0x20 || text.data[i] == 0x7f ? ' ' : (char)text.data[i];
    out[n] = 0;
}

static ee_status on_reject(eei_session *s, ee_span payload, uint64_t now_ms, ee_error *err) {
    eei_arena arena = EEI_ARENA_INIT(ARENA_MAX);
    eei_reject reject;
    ee_error local;
    char word[33], message[400];
    ee_status st = eei_decode(&eei_reject_schema, payload, &arena, &reject, err);

    (void)now_ms;
    eei_arena_clear(&arena);
    if (st) return st;
    one_line(reject.word, word, sizeof word);
    one_line(reject.message, message, sizeof message);
    st = eei_status_from_word(word);
    if (st == EE_OK) st = EE_E_SERVER;
    eei_fail(&local, st, "%s refused the session: %s", s->o.listening ? "peer" : "control plane", message[0] ? message : word);
    local.retry_after_ms = reject.retry_after_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)reject.retry_after_ms;
    if (err) *err = local;
    return closed(s, st, &local);
}

typedef enum side { DIALING = 1, LISTENING = 2, BOTH = 3 } side;
typedef struct rule {
    side side;
    state state;
    uint8_t type;
    ee_status (*act)(eei_session *session, ee_span payload, uint64_t now_ms, ee_error *err);
} rule;
static const rule rules[] = {
    {BOTH, HELLO_WAIT, EEI_FRAME_HELLO, on_hello},       {BOTH, EVIDENCE_WAIT, EEI_FRAME_EVIDENCE, on_evidence},
    {DIALING, ACCEPT_WAIT, EEI_FRAME_ACCEPT, on_accept}, {DIALING, HELLO_WAIT, EEI_FRAME_REJECT, on_reject},
    {BOTH, EVIDENCE_WAIT, EEI_FRAME_REJECT, on_reject},  {DIALING, ACCEPT_WAIT, EEI_FRAME_REJECT, on_reject},
    {LISTENING, DECISION, EEI_FRAME_REJECT, on_reject}, /* a client that was not convinced */
    {BOTH, OPEN, EEI_FRAME_REJECT, on_reject},
}; /* a pair that is not in the table ends the session */

static const char *state_name(state s) {
    static const char *const names[] = {"waiting for HELLO", "waiting for EVIDENCE", "appraising", "proving",
                                        "deciding",          "waiting for ACCEPT",   "open",       "closed"};
    return names[s];
}

static ee_status act(eei_session *s, const eei_frame *frame, uint64_t now_ms, ee_error *err) {
    side mine = s->o.listening ? LISTENING : DIALING;

    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const rule *r = &rules[i];
        if ((r->side & mine) && r->state == s->state && r->type == frame->type && !frame->stream)
            return r->act(s, frame->payload, now_ms, err);
    }
    return eei_fail(err, s->state == CLOSED ? EE_E_CLOSED : EE_E_MALFORMED, "session: %s while %s", eei_frame_name(frame->type),
                    state_name(s->state));
}

ee_status eei_session_receive(eei_session *s, const eei_frame *frame, uint64_t now_ms, ee_error *err) {
    ee_error local = {0};
    ee_status st = act(s, frame, now_ms, &local);

    if (!st) return EE_OK;
    if (err) *err = local;
    if (s->state == CLOSED) return st;
    eei_session_reject(s, st, local.message, 0); /* say why: the peer's operator has nothing else to go by */
    return closed(s, st, &local);
}

/* ---- the owner's steps ------------------------------------------------------------------------------------------------ */

static ee_status wrong_step(const eei_session *s, const char *what, ee_error *err) {
    return eei_fail(err, EE_E_STATE, "session: %s while %s", what, state_name(s->state));
}

ee_status eei_session_give_evidence(eei_session *s, ee_span evidence, ee_error *err) {
    ee_status st;

    if (s->state != PROVE) return wrong_step(s, "evidence given", err);
    st = queue_bytes(s, EEI_FRAME_EVIDENCE, evidence, err);
    if (st) return st;
    if (!s->o.listening)
        s->state = ACCEPT_WAIT;
    else
        s->state = peer_is_client(s) ? DECISION : EVIDENCE_WAIT;
    return EE_OK;
}

/* The verdict must be about this session: its statement carries our nonce (threat Q7 through a mix-up of ours). */
static bool is_ours(const eei_session *s, const ee_verdict *verdict) {
    const eei_statement *statement = eei_verdict_statement(verdict);
    return statement && eei_span_equal(eei_span(statement->nonce, 32), eei_span(s->peer_nonce, 32));
}

ee_status eei_session_give_verdict(eei_session *s, const ee_verdict *verdict, ee_error *err) {
    if (s->state != VERDICT) return wrong_step(s, "verdict given", err);
    if (verdict) s->verdict = ee_verdict_ref(verdict);
    if (!verdict || !ee_verdict_verified(verdict) || !is_ours(s, verdict)) {
        eei_session_reject(s, EE_E_ATTESTATION, "the evidence was not accepted", 0);
        return eei_fail(err, EE_E_ATTESTATION, "%s did not prove what it runs", s->o.listening ? "peer" : "control plane");
    }
    if (s->o.listening)
        s->state = DECISION;
    else
        s->state = is_client(s) ? ACCEPT_WAIT : PROVE;
    return EE_OK;
}

ee_status eei_session_accept(eei_session *s, const eei_accept *accept, ee_error *err) {
    eei_accept a = *accept;
    ee_status st;

    if (s->state != DECISION) return wrong_step(s, "accepted", err);
    memcpy(a.session_id, s->o.session_id, 16);
    st = queue_message(s, EEI_FRAME_ACCEPT, &eei_accept_schema, &a, err);
    if (st) return st;
    s->state = OPEN;
    s->deadline_ms = UINT64_MAX;
    return EE_OK;
}

ee_status eei_session_reject(eei_session *s, ee_status why, const char *message, uint32_t retry_after_ms) {
    eei_reject reject = {.word = eei_span_text(ee_status_word(why)), .message = eei_span_text(message), .retry_after_ms = retry_after_ms};
    ee_error local = {0};
    ee_status st = EE_OK;

    if (s->state == CLOSED || s->state == OPEN) return EE_E_STATE;
    if (reject.message.len > 512) reject.message.len = 512;
    if (!eei_utf8_valid(reject.message)) reject.message.len = 0;
    if (s->queued < QUEUE_MAX) st = queue_message(s, EEI_FRAME_REJECT, &eei_reject_schema, &reject, NULL);
    eei_fail(&local, why, "%s", message ? message : "rejected");
    local.retry_after_ms = retry_after_ms;
    closed(s, why, &local);
    return st;
}

bool eei_session_next(eei_session *s, eei_frame *out) {
    if (s->sent > 0) eei_buf_clear(&s->queue[s->sent - 1].payload);
    if (s->sent >= s->queued) return false;
    const outgoing *q = &s->queue[s->sent++];
    *out = (eei_frame){.type = q->type, .flags = EEI_FRAME_CRITICAL, .payload = eei_buf_span(&q->payload)};
    return true;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

eei_session_step eei_session_state(const eei_session *s) {
    switch (s->state) {
    case VERDICT: return EEI_SESSION_NEED_VERDICT;
    case PROVE: return EEI_SESSION_NEED_EVIDENCE;
    case DECISION: return EEI_SESSION_NEED_DECISION;
    case OPEN: return EEI_SESSION_OPEN;
    case CLOSED: return EEI_SESSION_CLOSED;
    case HELLO_WAIT:
    case EVIDENCE_WAIT:
    case ACCEPT_WAIT: break;
    }
    return EEI_SESSION_WAIT;
}

void eei_session_expect(const eei_session *s, eei_expect *out) {
    *out = (eei_expect){.purpose = s->prove.purpose,
                        .role = (uint8_t)s->peer.role,
                        .nonce = s->peer_nonce,
                        .binder = s->peer_binder,
                        .spki_sha256 = s->o.peer_spki_sha256,
                        .instance_pub = s->peer.instance_pub,
                        .node_id = s->o.listening ? NULL : s->o.network_id,
                        .transcript = s->transcript,
                        .node_name = s->o.listening ? s->peer_node : "control plane",
                        .no_app = true};
}

uint64_t eei_session_deadline_ms(const eei_session *s) { return s->deadline_ms; }
const eei_prove *eei_session_prove(const eei_session *s) { return &s->prove; }
bool eei_session_prove_signed(const eei_session *s) { return s->o.listening && peer_is_client(s); }
ee_span eei_session_peer_evidence(const eei_session *s) { return eei_buf_span(&s->evidence); }
const eei_hello *eei_session_peer_hello(const eei_session *s) { return s->peer_known ? &s->peer : NULL; }
const eei_accept *eei_session_accepted(const eei_session *s) { return !s->o.listening && s->state == OPEN ? &s->accepted : NULL; }
const ee_verdict *eei_session_verdict(const eei_session *s) { return s->verdict; }
const ee_error *eei_session_error(const eei_session *s) { return &s->error; }

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static ee_status copy_options(eei_session *s, const eei_session_options *o, ee_error *err) {
    s->o = *o;
    s->o.node = s->o.release = NULL;
    s->o.base = NULL;
    s->o.instance_pub = s->o.peer_spki_sha256 = NULL;
    if (o->instance_pub) memcpy(s->instance_pub, o->instance_pub, 32);
    if (o->peer_spki_sha256) {
        memcpy(s->peer_spki, o->peer_spki_sha256, 32);
        s->o.peer_spki_sha256 = s->peer_spki;
    }
    if (o->base) s->base = ee_verdict_ref(o->base);
    s->node = o->node ? eei_strdup(o->node) : NULL;
    s->release = o->release ? eei_strdup(o->release) : NULL;
    return (o->node && !s->node) || (o->release && !s->release) ? eei_nomem(err) : EE_OK;
}

static ee_status check_options(const eei_session_options *o, ee_error *err) {
    bool client = o->role == EEI_ROLE_CLIENT;

    if (!o->binder) return eei_fail(err, EE_E_INVALID, "a session needs the exporter of its connection");
    if (o->listening != (o->role == EEI_ROLE_CONTROL)) return eei_fail(err, EE_E_INVALID, "role %u is on the wrong side", o->role);
    if (o->listening && all_zero(o->session_id, 16)) return eei_fail(err, EE_E_INVALID, "the listening side needs a session id");
    if (client != !o->instance_pub) return eei_fail(err, EE_E_INVALID, "every role but the client has an instance key");
    if (!o->listening && client != (!o->node || !*o->node))
        return eei_fail(err, EE_E_INVALID, "every dialing role but the client has a node name");
    return EE_OK;
}

ee_status eei_session_new(const eei_session_options *o, uint64_t now_ms, eei_session **out, ee_error *err) {
    eei_session *s = NULL;
    ee_status st = check_options(o, err);

    *out = NULL;
    if (st) return st;
    s = eei_calloc(1, sizeof *s);
    if (!s) return eei_nomem(err);
    s->our_hello = (eei_buf)EEI_BUF_INIT(HELLO_BYTES_MAX);
    s->peer_hello = (eei_buf)EEI_BUF_INIT(HELLO_BYTES_MAX);
    s->evidence = (eei_buf)EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    s->accept_bytes = (eei_buf)EEI_BUF_INIT(ACCEPT_BYTES_MAX);
    s->arena = (eei_arena)EEI_ARENA_INIT(ARENA_MAX);
    s->deadline_ms = now_ms + EEI_HELLO_DEADLINE_MS;
    st = copy_options(s, o, err);
    if (!st && !o->listening) st = send_hello(s, WIRE_VERSION, err);
    if (st) {
        eei_session_free(s);
        return st;
    }
    *out = s;
    return EE_OK;
}

void eei_session_free(eei_session *s) {
    if (!s) return;
    for (size_t i = 0; i < s->queued; i++) eei_buf_clear(&s->queue[i].payload);
    eei_buf_clear(&s->our_hello);
    eei_buf_clear(&s->peer_hello);
    eei_buf_clear(&s->evidence);
    eei_buf_clear(&s->accept_bytes);
    eei_arena_clear(&s->arena);
    ee_verdict_free(s->verdict);
    ee_verdict_free(s->base);
    eei_free(s->node);
    eei_free(s->release);
    eei_free(s);
}

/* ---- appraisal as a parcel -------------------------------------------------------------------------------------------- */

struct eei_appraisal {
    eei_judge *judge;
    ee_verdict *base; /* not NULL: judge a signed statement on top of it */
    bool is_signed;
    eei_buf evidence;
    eei_expect expect; /* points into the arrays below */
    uint8_t nonce[32], binder[32], spki[32], instance_pub[32], node_id[32], transcript[32];
    char node_name[EEI_NAME_BYTES_MAX + 1];
    ee_verdict *verdict;
    ee_error error;
};

static const uint8_t *keep(uint8_t to[32], const uint8_t *from) {
    if (!from) return NULL;
    memcpy(to, from, 32);
    return to;
}

ee_status eei_session_appraisal(const eei_session *s, eei_judge *judge, const uint8_t *node_id, eei_appraisal **out, ee_error *err) {
    eei_expect e;
    eei_appraisal *a;
    ee_status st;

    *out = NULL;
    if (s->state != VERDICT) return wrong_step(s, "appraisal asked", err);
    a = eei_calloc(1, sizeof *a);
    if (!a) return eei_nomem(err);
    a->evidence = (eei_buf)EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    st = eei_buf_append_span(&a->evidence, eei_buf_span(&s->evidence));
    if (st) {
        eei_free(a);
        return eei_nomem(err);
    }
    eei_session_expect(s, &e);
    if (node_id) e.node_id = node_id;
    a->judge = eei_judge_ref(judge);
    a->is_signed = is_client(s);
    a->base = s->base ? ee_verdict_ref(s->base) : NULL;
    a->expect = (eei_expect){.purpose = e.purpose,
                             .role = e.role,
                             .nonce = keep(a->nonce, e.nonce),
                             .binder = keep(a->binder, e.binder),
                             .spki_sha256 = keep(a->spki, e.spki_sha256),
                             .instance_pub = keep(a->instance_pub, e.instance_pub),
                             .node_id = keep(a->node_id, e.node_id),
                             .transcript = keep(a->transcript, e.transcript),
                             .node_name = a->node_name,
                             .no_app = e.no_app};
    snprintf(a->node_name, sizeof a->node_name, "%s", e.node_name);
    *out = a;
    return EE_OK;
}

ee_status eei_appraisal_run(eei_appraisal *a, ee_error *err) {
    ee_span evidence = eei_buf_span(&a->evidence);
    ee_status st;

    ee_verdict_free(eei_take(&a->verdict));
    a->error = (ee_error){0};
    st = a->is_signed ? eei_judge_session(a->judge, evidence, a->base, &a->expect, &a->verdict, &a->error)
                      : eei_judge_evidence(a->judge, evidence, NULL, &a->expect, &a->verdict, &a->error);
    if (st && err) *err = a->error;
    return st;
}

const ee_verdict *eei_appraisal_verdict(const eei_appraisal *a) { return a->verdict; }
const ee_error *eei_appraisal_error(const eei_appraisal *a) { return &a->error; }

void eei_appraisal_free(eei_appraisal *a) {
    if (!a) return;
    eei_buf_clear(&a->evidence);
    ee_verdict_free(a->verdict);
    ee_verdict_free(a->base);
    eei_judge_free(a->judge);
    eei_free(a);
}
