/* channel.c - TLS 1.3 over lent bytes, then a challenge and evidence, then the user's bytes. No I/O, no clock, no certificate checks of its
 * own: judge.c does those. Called by net/pipe and whoever runs a channel by hand. Proto: docs/protocol.md#channel */
#include "ratls/channel.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "ratls/tls_io.h"

#include <openssl/err.h>
#include <string.h>

#define CIPHER_OUT_MAX      262144u                                 /* eei_channel_write() stops here */
#define CIPHER_OUT_HARD_MAX (CIPHER_OUT_MAX + 2 * 65536u + 131072u) /* + one write's record, evidence, handshake with certificate */
#define CIPHER_IN_MAX       (1u << 20)                              /* bytes that came while nobody read */
#define PLAIN_WANT_MAX      262144u                                 /* decrypt no further ahead of the reader */
#define RECORD_MAX          16384u                                  /* RFC 8446 sect. 5.1 */
#define CHALLENGE_MAX       1024u

typedef enum phase {
    HANDSHAKE,
    CHALLENGE_WAIT, /* server: the client's CHALLENGE */
    QUOTE,          /* server, strict: the owner runs eei_channel_quote() */
    EVIDENCE_WAIT,  /* client: the server's EVIDENCE */
    VERDICT,        /* client: the owner runs eei_channel_judge() */
    OPEN,
    FAILED,
} phase;

struct eei_channel {
    bool client, strict;
    phase phase;
    bool peer_closed, closed, cut; /* close_notify came; close_notify is sent; the stream ended */
    uint64_t deadline_ms;
    SSL *ssl;
    eei_tls_io io;
    eei_queue plain; /* before OPEN: frames of the opening */
    char alpn[32];

    /* client */
    eei_judge *judge;
    ee_policy *policy; /* NULL: the judge's */
    uint8_t instance_id[32], node_id[32], spec_hash[32];
    bool has_spec_hash;
    char node_name[EEI_NAME_BYTES_MAX + 1];
    eei_buf evidence;
    ee_verdict *verdict;

    eei_prover *prover; /* server */

    uint8_t nonce[32], binder[32], transcript[32];
    bool short_write;
    ee_error error;

    /* What eei_channel_work() makes, apart from everything else, so that the owner's thread may use the rest meanwhile. */
    X509 *certificate;
    ee_verdict *made_verdict;
    eei_buf made_evidence;
    ee_error made_error;
};

/* ---- failure ---------------------------------------------------------------------------------------------------------- */

static ee_status fail_with(eei_channel *c, const ee_error *e, ee_error *err) {
    if (c->phase != FAILED) {
        c->phase = FAILED;
        c->error = *e;
        c->deadline_ms = UINT64_MAX;
    }
    if (err) *err = c->error;
    return c->error.status;
}

static ee_status tls_failed(eei_channel *c, ee_status st, const char *what, ee_error *err) {
    ee_error local = {0};
    eei_tls_fail(&local, st, what);
    return fail_with(c, &local, err);
}

/* ---- TLS in and out --------------------------------------------------------------------------------------------------- */

static ee_status write_all(eei_channel *c, ee_span data, ee_error *err) {
    for (size_t at = 0; at < data.len;) {
        size_t n = 0;
        if (SSL_write_ex(c->ssl, data.data + at, data.len - at, &n) != 1) return tls_failed(c, EE_E_INTERNAL, "write", err);
        at += n;
    }
    return EE_OK;
}

/* Decrypt until the input is used up, the reader is far enough behind, or the peer said goodbye. */
static ee_status read_plain(eei_channel *c, ee_error *err) {
    while (!c->peer_closed && eei_queue_len(&c->plain) < PLAIN_WANT_MAX) {
        uint8_t *room;
        size_t n = 0;
        if (eei_queue_reserve(&c->plain, RECORD_MAX, &room)) {
            ee_error local;
            eei_nomem(&local);
            return fail_with(c, &local, err);
        }
        ERR_clear_error();
        int rc = SSL_read_ex(c->ssl, room, RECORD_MAX, &n);
        if (rc == 1) {
            eei_buf_commit(&c->plain.buf, n);
            continue;
        }
        switch (SSL_get_error(c->ssl, rc)) {
        case SSL_ERROR_WANT_READ: return EE_OK;
        case SSL_ERROR_ZERO_RETURN: c->peer_closed = true; return EE_OK;
        default: return tls_failed(c, EE_E_CLOSED, "read", err);
        }
    }
    return EE_OK;
}

/* ---- the opening ------------------------------------------------------------------------------------------------------ */

static ee_status send_frame(eei_channel *c, uint8_t type, ee_span payload, ee_error *err) {
    eei_buf frame = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX + EEI_FRAME_HEADER_BYTES);
    ee_status st = eei_frame_encode(&frame, type, EEI_FRAME_CRITICAL, 0, payload);

    if (st) {
        ee_error local = {0};
        eei_fail(&local, st, "%s of %zu bytes", eei_frame_name(type), payload.len);
        fail_with(c, &local, err);
    } else {
        st = write_all(c, eei_buf_span(&frame), err);
    }
    eei_buf_clear(&frame);
    return st;
}

/* Nonce and binder of this connection; the same computation on both sides. */
static ee_status bind(eei_channel *c, const uint8_t r[32], ee_span challenge, ee_error *err) {
    static const uint8_t zero[32];

    eei_nonce_derive(zero, 0, r, zero, c->nonce);
    eei_sha256(challenge, c->transcript);
    return eei_tls_binder(c->ssl, c->nonce, c->binder, err);
}

static ee_status send_challenge(eei_channel *c, ee_error *err) {
    eei_challenge challenge = {.kind = EEI_CHALLENGE_SESSION, .strict = c->strict};
    eei_buf bytes = EEI_BUF_INIT(CHALLENGE_MAX);
    ee_status st = eei_random(challenge.r, sizeof challenge.r, err);

    memcpy(challenge.policy_hash, eei_policy_hash_bytes(c->policy ? c->policy : eei_judge_policy(c->judge)), 32);
    if (!st) st = eei_encode(&eei_challenge_schema, &challenge, &bytes, err);
    if (!st) st = bind(c, challenge.r, eei_buf_span(&bytes), err);
    if (!st) st = send_frame(c, EEI_FRAME_CHALLENGE, eei_buf_span(&bytes), err);
    eei_buf_clear(&bytes);
    return st;
}

static eei_prove what_to_prove(const eei_channel *c) {
    eei_prove what = {.purpose = EEI_PURPOSE_CHALLENGE, .wire_version = 1};
    memcpy(what.nonce, c->nonce, 32);
    memcpy(what.binder, c->binder, 32);
    memcpy(what.transcript, c->transcript, 32);
    return what;
}

static void opened(eei_channel *c) {
    c->phase = OPEN;
    c->deadline_ms = UINT64_MAX;
}

static ee_status answer(eei_channel *c, ee_span evidence, ee_error *err) {
    ee_status st = send_frame(c, EEI_FRAME_EVIDENCE, evidence, err);
    if (!st) opened(c);
    return st;
}

static ee_status answer_signed(eei_channel *c, ee_error *err) {
    eei_buf evidence = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    eei_prove what = what_to_prove(c);
    ee_status st = eei_prover_session(c->prover, &what, &evidence, err);

    if (!st) st = answer(c, eei_buf_span(&evidence), err);
    eei_buf_clear(&evidence);
    return st;
}

static ee_status on_challenge(eei_channel *c, ee_span payload, ee_error *err) {
    eei_arena arena = EEI_ARENA_INIT(CHALLENGE_MAX);
    eei_challenge challenge = {0};
    ee_status st = eei_decode(&eei_challenge_schema, payload, &arena, &challenge, err);

    eei_arena_clear(&arena);
    if (st) return st;
    if (challenge.kind != EEI_CHALLENGE_SESSION || challenge.slot || challenge.observer.len)
        return eei_fail(err, EE_E_MALFORMED, "challenge of kind %u does not open a channel", (unsigned)challenge.kind);
    st = bind(c, challenge.r, payload, err);
    if (st) return st;
    c->strict = challenge.strict;
    if (c->strict) {
        c->phase = QUOTE;
        return EE_OK;
    }
    return answer_signed(c, err);
}

static ee_status on_evidence(eei_channel *c, ee_span payload, ee_error *err) {
    ee_status st = eei_buf_append_span(&c->evidence, payload);

    if (st) return eei_fail(err, st, "evidence of %zu bytes, at most %u", payload.len, EEI_EVIDENCE_BYTES_MAX);
    c->certificate = SSL_get1_peer_certificate(c->ssl);
    if (!c->certificate) return eei_fail(err, EE_E_ATTESTATION, "peer showed no certificate");
    c->phase = VERDICT;
    return EE_OK;
}

/* One whole frame of the kind that is due; EE_E_AGAIN when it is not there yet. */
static ee_status take_frame(eei_channel *c, uint8_t type, ee_status (*act)(eei_channel *, ee_span, ee_error *), ee_error *err) {
    eei_reader r = eei_reader_init(eei_queue_span(&c->plain));
    eei_frame frame;
    ee_status st = eei_frame_decode(&r, type == EEI_FRAME_CHALLENGE ? CHALLENGE_MAX : EEI_FRAME_PAYLOAD_MAX, &frame, err);

    if (st) return st;
    if (frame.type != type || frame.stream)
        return eei_fail(err, EE_E_MALFORMED, "%s where %s was due", eei_frame_name(frame.type), eei_frame_name(type));
    st = act(c, frame.payload, err);
    if (!st) eei_queue_consume(&c->plain, r.at);
    return st;
}

static ee_status check_handshake(eei_channel *c, ee_error *err) {
    const unsigned char *name = NULL;
    unsigned len = 0;

    SSL_get0_alpn_selected(c->ssl, &name, &len);
    if (SSL_version(c->ssl) != TLS1_3_VERSION)
        return eei_fail(err, EE_E_VERSION, "peer speaks %s, TLS 1.3 is needed", SSL_get_version(c->ssl));
    if (!len || len >= sizeof c->alpn) return eei_fail(err, EE_E_VERSION, "peer did not agree on an inner protocol");
    if (c->client && (strlen(c->alpn) != len || memcmp(c->alpn, name, len) != 0))
        return eei_fail(err, EE_E_VERSION, "peer chose another inner protocol than \"%s\"", c->alpn);
    memcpy(c->alpn, name, len);
    c->alpn[len] = 0;
    return EE_OK;
}

static ee_status shake(eei_channel *c, uint64_t now_ms, ee_error *err) {
    ERR_clear_error();
    int rc = SSL_do_handshake(c->ssl);
    ee_status st;

    if (rc != 1) {
        if (SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ) return EE_E_AGAIN;
        return eei_tls_fail(err, EE_E_CLOSED, "inner handshake");
    }
    st = check_handshake(c, err);
    if (!st && c->client) st = send_challenge(c, err);
    if (st) return st;
    c->phase = c->client ? EVIDENCE_WAIT : CHALLENGE_WAIT;
    c->deadline_ms = now_ms + EEI_EVIDENCE_DEADLINE_MS;
    return EE_OK;
}

static ee_status step(eei_channel *c, uint64_t now_ms, ee_error *err) {
    ee_status st;

    if (c->phase == HANDSHAKE) return shake(c, now_ms, err);
    st = read_plain(c, err);
    if (st) return st;
    if (c->phase == CHALLENGE_WAIT) return take_frame(c, EEI_FRAME_CHALLENGE, on_challenge, err);
    if (c->phase == EVIDENCE_WAIT) return take_frame(c, EEI_FRAME_EVIDENCE, on_evidence, err);
    return EE_E_AGAIN; /* open: everything there is to read was read */
}

/* The stream is over and all of it was decrypted and taken: was there a goodbye? What came before a cut is still the reader's. */
static ee_status check_cut(eei_channel *c, ee_error *err) {
    if (!c->cut || c->peer_closed || eei_tls_io_has_input(&c->io)) return EE_OK;
    if (c->phase == OPEN && eei_queue_len(&c->plain)) return EE_OK;
    return eei_fail(err, EE_E_CLOSED,
                    c->phase == OPEN ? "inner channel was cut off: the stream ended without a TLS goodbye"
                                     : "peer left during the inner handshake");
}

/* As far as the bytes that are there carry. Nothing is decrypted while a step is the owner's. */
static ee_status advance(eei_channel *c, uint64_t now_ms, ee_error *err) {
    ee_status st = EE_OK;
    ee_error local = {0};

    while (!st && c->phase != QUOTE && c->phase != VERDICT && c->phase != FAILED) st = step(c, now_ms, &local);
    if (st == EE_E_AGAIN) st = EE_OK;
    if (!st) st = check_cut(c, &local);
    if (!st && c->peer_closed && (c->phase == CHALLENGE_WAIT || c->phase == EVIDENCE_WAIT))
        st = eei_fail(&local, EE_E_CLOSED, "peer closed the inner channel before it was proved");
    return st ? fail_with(c, &local, err) : EE_OK;
}

ee_status eei_channel_receive(eei_channel *c, ee_span cipher, uint64_t now_ms, ee_error *err) {
    ee_status st, kept;

    if (c->phase == FAILED) return fail_with(c, &c->error, err);
    if (c->cut) return eei_fail(err, EE_E_STATE, "bytes after the end of the stream");
    c->io.lent = cipher;
    st = advance(c, now_ms, err);
    if (!st && c->peer_closed) c->io.lent = eei_span(NULL, 0); /* after close_notify nothing counts */
    kept = eei_tls_io_keep(&c->io);
    if (!st && kept) {
        ee_error local = {0};
        eei_fail(&local, kept, "inner channel: %zu bytes wait to be read, no room for %zu more", eei_queue_len(&c->io.in), cipher.len);
        return fail_with(c, &local, err);
    }
    return st;
}

void eei_channel_receive_end(eei_channel *c) {
    ee_error local = {0};

    c->cut = true;
    if (c->phase != FAILED && check_cut(c, &local)) fail_with(c, &local, NULL);
}

ee_span eei_channel_cipher(const eei_channel *c) { return eei_queue_span(&c->io.out); }
void eei_channel_cipher_sent(eei_channel *c, size_t len) { eei_queue_consume(&c->io.out, len); }
size_t eei_channel_receivable(const eei_channel *c) {
    size_t held = eei_queue_len(&c->plain) + eei_queue_len(&c->io.in);
    if (c->phase == QUOTE || c->phase == VERDICT || c->phase == FAILED) return 0;
    return held < PLAIN_WANT_MAX ? PLAIN_WANT_MAX - held : 0;
}

/* ---- slow steps ------------------------------------------------------------------------------------------------------- */

/* The certificate's quote names the instance; the control plane named the one we want (threat Q11). */
static ee_status check_instance(const eei_channel *c, const ee_verdict *verdict, ee_error *err) {
    const eei_statement *s = eei_verdict_statement(verdict);
    uint8_t id[32];

    if (!s) return eei_fail(err, EE_E_ATTESTATION, "verdict without a statement");
    eei_instance_id(s->instance_pub, id);
    if (memcmp(id, c->instance_id, 32) != 0)
        return eei_fail(err, EE_E_ATTESTATION, "reached another instance than the one that was assigned");
    return EE_OK;
}

static bool for_app(const eei_channel *c) { return strcmp(c->alpn, EEI_ALPN_APP) == 0; }

static ee_status judge_session(eei_channel *c, const ee_verdict *base, ee_verdict **out, ee_error *err) {
    uint8_t spki[32];
    const eei_expect expect = {.purpose = EEI_PURPOSE_CHALLENGE,
                               .role = EEI_ROLE_AGENT,
                               .nonce = c->nonce,
                               .binder = c->binder,
                               .spki_sha256 = spki,
                               .instance_pub = eei_verdict_statement(base)->instance_pub,
                               .node_id = c->node_id,
                               .spec_hash = c->has_spec_hash ? c->spec_hash : NULL,
                               .transcript = c->transcript,
                               .node_name = c->node_name,
                               .no_app = !for_app(c)};
    ee_status st = eei_certificate_spki_sha256(c->certificate, spki, err);

    if (st) return st;
    if (c->strict) return eei_judge_evidence(c->judge, eei_buf_span(&c->evidence), c->policy, &expect, out, err);
    return eei_judge_session(c->judge, eei_buf_span(&c->evidence), base, &expect, out, err);
}

static ee_status judge(eei_channel *c, ee_verdict **out, ee_error *err) {
    const eei_expect expect = {.role = EEI_ROLE_AGENT,
                               .node_id = c->node_id,
                               .spec_hash = c->has_spec_hash ? c->spec_hash : NULL,
                               .node_name = c->node_name,
                               .no_app = !for_app(c)};
    ee_verdict *base = NULL;
    ee_status st = eei_judge_certificate(c->judge, c->certificate, c->policy, &expect, &base, err);

    if (st) {
        *out = eei_take(&base);
        return st;
    }
    st = check_instance(c, base, err);
    if (!st) st = judge_session(c, base, out, err);
    ee_verdict_free(base);
    return st;
}

void eei_channel_work(eei_channel *c) {
    eei_prove what;

    c->made_error = (ee_error){0};
    if (c->phase == VERDICT) {
        c->made_error.status = judge(c, &c->made_verdict, &c->made_error);
    } else if (c->phase == QUOTE) {
        what = what_to_prove(c);
        c->made_error.status = eei_prover_quote(c->prover, &what, &c->made_evidence, &c->made_error);
    }
}

ee_status eei_channel_work_done(eei_channel *c, uint64_t now_ms, ee_error *err) {
    ee_error local = c->made_error;
    ee_status st = local.status;

    if (c->phase == FAILED) return fail_with(c, &c->error, err);
    if (c->phase != VERDICT && c->phase != QUOTE) return eei_fail(err, EE_E_STATE, "channel: there was no work to do");
    ee_verdict_free(c->verdict);
    c->verdict = eei_take(&c->made_verdict);
    if (!st && c->phase == QUOTE) st = answer(c, eei_buf_span(&c->made_evidence), &local);
    eei_buf_clear(&c->made_evidence);
    if (st) return fail_with(c, &local, err);
    opened(c);
    return advance(c, now_ms, err);
}

static ee_status work_now(eei_channel *c, phase due, uint64_t now_ms, ee_error *err) {
    if (c->phase != due) return eei_fail(err, EE_E_STATE, "channel: that step is not due now");
    eei_channel_work(c);
    return eei_channel_work_done(c, now_ms, err);
}

ee_status eei_channel_judge(eei_channel *c, uint64_t now_ms, ee_error *err) { return work_now(c, VERDICT, now_ms, err); }
ee_status eei_channel_quote(eei_channel *c, uint64_t now_ms, ee_error *err) { return work_now(c, QUOTE, now_ms, err); }

/* ---- plain bytes ------------------------------------------------------------------------------------------------------ */

ee_span eei_channel_peek(const eei_channel *c) { return c->phase == OPEN ? eei_queue_span(&c->plain) : eei_span(NULL, 0); }

void eei_channel_consume(eei_channel *c, size_t len) {
    bool more;

    if (c->phase != OPEN) return;
    eei_queue_consume(&c->plain, len);
    more = eei_tls_io_has_input(&c->io) && eei_queue_len(&c->plain) < PLAIN_WANT_MAX / 2;
    if (!c->peer_closed && (more || c->cut)) (void)!advance(c, 0, NULL); /* a failure is in eei_channel_state() */
}

size_t eei_channel_writable(const eei_channel *c) {
    size_t pending = eei_queue_len(&c->io.out);
    size_t room = c->phase == OPEN && !c->closed && pending < CIPHER_OUT_MAX ? CIPHER_OUT_MAX - pending : 0;
    return room - room / 64; /* 22 bytes of each record are not the user's */
}

bool eei_channel_take_short(eei_channel *c) {
    bool now = c->short_write && eei_channel_writable(c) >= CIPHER_OUT_MAX / 4;
    if (now) c->short_write = false;
    return now;
}

size_t eei_channel_write(eei_channel *c, ee_span plain) {
    size_t at = 0;

    while (at < plain.len && eei_channel_writable(c)) {
        size_t n = 0, piece = plain.len - at < RECORD_MAX ? plain.len - at : RECORD_MAX;
        ERR_clear_error();
        if (SSL_write_ex(c->ssl, plain.data + at, piece, &n) != 1) {
            tls_failed(c, EE_E_INTERNAL, "write", NULL);
            break;
        }
        at += n;
    }
    if (at < plain.len || !eei_channel_writable(c)) c->short_write = true;
    return at;
}

void eei_channel_close(eei_channel *c) {
    if (c->closed || c->phase == HANDSHAKE) {
        c->closed = true;
        return;
    }
    c->closed = true;
    ERR_clear_error();
    if (c->phase != FAILED && SSL_shutdown(c->ssl) < 0) ERR_clear_error(); /* 0: ours is out, the peer's is due; that is all we ask */
}

bool eei_channel_is_closed(const eei_channel *c) { return c->closed; }

/* ---- life and reading ------------------------------------------------------------------------------------------------- */

eei_channel_step eei_channel_state(const eei_channel *c) {
    switch (c->phase) {
    case HANDSHAKE:
    case CHALLENGE_WAIT:
    case EVIDENCE_WAIT: return EEI_CHANNEL_HANDSHAKE;
    case QUOTE: return EEI_CHANNEL_NEED_QUOTE;
    case VERDICT: return EEI_CHANNEL_NEED_VERDICT;
    case OPEN: return c->peer_closed && !eei_queue_len(&c->plain) ? EEI_CHANNEL_ENDED : EEI_CHANNEL_OPEN;
    case FAILED: break;
    }
    return EEI_CHANNEL_FAILED;
}

uint64_t eei_channel_deadline_ms(const eei_channel *c) { return c->deadline_ms; }
const char *eei_channel_alpn(const eei_channel *c) { return c->alpn; }
const ee_verdict *eei_channel_verdict(const eei_channel *c) { return c->phase == OPEN || c->phase == FAILED ? c->verdict : NULL; }
const ee_error *eei_channel_error(const eei_channel *c) { return &c->error; }

static eei_channel *channel_alloc(uint64_t now_ms) {
    eei_channel *c = eei_calloc(1, sizeof *c);

    if (!c) return NULL;
    c->deadline_ms = now_ms + EEI_TLS_DEADLINE_MS;
    c->io = (eei_tls_io)EEI_TLS_IO_INIT(CIPHER_IN_MAX, CIPHER_OUT_HARD_MAX);
    c->plain = (eei_queue)EEI_QUEUE_INIT(PLAIN_WANT_MAX + 2 * RECORD_MAX);
    c->plain.buf.secret = true; /* environments and inputs of jobs pass here */
    c->evidence = (eei_buf)EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    c->made_evidence = (eei_buf)EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    return c;
}

static ee_status offer_alpn(eei_channel *c, const char *alpn, ee_error *err) {
    uint8_t list[33];
    size_t len = alpn ? strlen(alpn) : 0;

    if (!len || len >= sizeof c->alpn)
        return eei_fail(err, EE_E_INVALID, "an inner protocol's name has 1 to %zu bytes", sizeof c->alpn - 1);
    memcpy(c->alpn, alpn, len + 1);
    list[0] = (uint8_t)len;
    memcpy(list + 1, alpn, len);
    return SSL_set_alpn_protos(c->ssl, list, (unsigned)len + 1) == 0
               ? EE_OK
               : eei_tls_fail(err, EE_E_INTERNAL, "inner protocol"); /* 0 is success here */
}

ee_status eei_channel_new_client(const eei_channel_client *o, uint64_t now_ms, eei_channel **out, ee_error *err) {
    eei_channel *c = channel_alloc(now_ms);
    ee_status st;

    *out = NULL;
    if (!c) return eei_nomem(err);
    c->client = true;
    c->strict = o->strict;
    c->judge = eei_judge_ref(o->judge);
    c->policy = eei_policy_ref(o->policy);
    memcpy(c->instance_id, o->instance_id, 32);
    memcpy(c->node_id, o->node_id, 32);
    c->has_spec_hash = o->spec_hash != NULL;
    if (o->spec_hash) memcpy(c->spec_hash, o->spec_hash, 32);
    if (o->node_name) memcpy(c->node_name, o->node_name, strnlen(o->node_name, sizeof c->node_name - 1));
    c->ssl = SSL_new(o->ctx);
    st = c->ssl ? eei_tls_io_attach(&c->io, c->ssl, err) : eei_tls_fail(err, EE_E_NOMEM, "connection");
    if (!st) st = offer_alpn(c, o->alpn, err);
    if (!st) {
        SSL_set_connect_state(c->ssl);
        st = advance(c, now_ms, err); /* the first flight is ready at once */
    }
    if (st) {
        eei_channel_free(c);
        return st;
    }
    *out = c;
    return EE_OK;
}

ee_status eei_channel_new_server(eei_prover *prover, uint64_t now_ms, eei_channel **out, ee_error *err) {
    eei_channel *c = channel_alloc(now_ms);
    ee_status st;

    *out = NULL;
    if (!c) return eei_nomem(err);
    c->prover = prover;
    st = eei_prover_ssl_new(prover, &c->ssl, err);
    if (!st) st = eei_tls_io_attach(&c->io, c->ssl, err);
    if (st) {
        eei_channel_free(c);
        return st;
    }
    SSL_set_accept_state(c->ssl);
    *out = c;
    return EE_OK;
}

void eei_channel_free(eei_channel *c) {
    if (!c) return;
    SSL_free(c->ssl);
    eei_tls_io_clear(&c->io);
    eei_queue_clear(&c->plain);
    eei_buf_clear(&c->evidence);
    eei_buf_clear(&c->made_evidence);
    X509_free(c->certificate);
    ee_verdict_free(c->made_verdict);
    ee_verdict_free(c->verdict);
    eei_judge_free(c->judge);
    ee_policy_free(c->policy);
    eei_free(c);
}
