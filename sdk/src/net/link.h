/* link.h - the dialing side of a tunnel: TCP, outer TLS, websocket, session and mux on one uv loop. Used by the SDK (in a thread of its
 * own), the agent and the uptime server. libwslay does the RFC 6455 framing, OpenSSL the TLS; libwebsockets is not on this path (see
 * docs/adr: its client costs 10 s of CPU per GiB). Everything here runs on the loop's thread. Proto: docs/protocol.md#session */
#ifndef EEI_LINK_H
#define EEI_LINK_H
#include "mux/mux.h"
#include "ratls/channel.h"
#include "ratls/session.h"

#include <uv.h>

typedef struct eei_link eei_link;
typedef struct eei_link_options {
    const char *url; /* "https://host:port" of the control plane; copied */
    uint8_t role;
    const char *node; /* agents and uptime servers */
    const char *release;
    bool limits_off; /* agents: said in HELLO */
    uint8_t network_id[32];
    eei_judge *judge;   /* judges the control plane; shared */
    eei_prover *prover; /* NULL for clients */
    bool reconnect;     /* agents: first retry at once, then full jitter 0.5 s x 2 up to 15 s */
    /* Callbacks, on the loop's thread; none may free the link. */
    void *user;
    void (*on_open)(void *user, const eei_accept *accept);
    void (*on_control)(void *user, const eei_frame *frame);
    void (*on_opened)(void *user, eei_stream *stream, ee_span payload);         /* a stream the control plane opened */
    void (*on_stream)(void *user, eei_stream *stream, eei_mux_event_kind kind); /* READABLE, WRITABLE, RESET of any stream */
    void (*on_closed)(void *user, const ee_error *why, uint64_t retry_in_ms);   /* every stream of it is gone; UINT64_MAX = no retry */
} eei_link_options;
ee_status eei_link_new(uv_loop_t *loop, const eei_link_options *options, eei_link **out, ee_error *err) EE_MUST_USE;
void eei_link_start(eei_link *link); /* the first attempt begins in the loop's next turn */
/* Closes and frees; on_closed is not called, on_end of pipes that are left is, at once. done(user) (nullable) when no handle, request or
 * worker of it is left: judge and prover may go then. Not from inside a callback of this link. */
void eei_link_free(eei_link *link, void (*done)(void *user), void *user);
bool eei_link_is_open(const eei_link *link);
const ee_verdict *eei_link_verdict(const eei_link *link);       /* of the control plane, while open */
const uint8_t *eei_link_control_instance(const eei_link *link); /* 32; NULL while not open */

/* Exporter of the outer connection with context = nonce: what evidence sent on it must carry. EE_E_CLOSED while not open. */
ee_status eei_link_binder(eei_link *link, const uint8_t nonce[32], uint8_t out[32], ee_error *err) EE_MUST_USE;

ee_status eei_link_send(eei_link *link, uint8_t type, uint16_t flags, ee_span payload, ee_error *err) EE_MUST_USE;
ee_status eei_link_open_stream(eei_link *link, ee_span payload, eei_stream **out, ee_error *err) EE_MUST_USE;
/* Inside on_stream(RESET) only: the reason the stream was reset for, "" if none was given. A status word and ": " may open it. */
const char *eei_link_reset_reason(const eei_link *link);
/* After writing to, consuming from, closing or freeing streams outside a callback: send what is ready at the end of this turn. */
void eei_link_flush(eei_link *link);

/* A channel on a stream: moves cipher bytes both ways, runs verdicts and quotes on uv's worker threads. One owner's callbacks. */
typedef struct eei_pipe eei_pipe;
typedef struct eei_pipe_callbacks {
    void *user;
    void (*on_open)(void *user);                     /* client: the verdict is there; server: ALPN is known */
    void (*on_readable)(void *user);                 /* eei_channel_peek() has more */
    void (*on_writable)(void *user);                 /* after a short eei_channel_write() */
    void (*on_end)(void *user, const ee_error *why); /* NULL = clean end; nothing is called after */
} eei_pipe_callbacks;
/* Takes the stream and the channel; on failure it takes nothing. The link's owner passes on_stream events of this stream to
 * eei_pipe_event() (eei_stream_user() is the pipe). */
ee_status eei_pipe_new(eei_link *link, eei_stream *stream, eei_channel *channel, const eei_pipe_callbacks *callbacks, eei_pipe **out,
                       ee_error *err) EE_MUST_USE;
void eei_pipe_event(eei_pipe *pipe, eei_mux_event_kind kind);
eei_channel *eei_pipe_channel(const eei_pipe *pipe);
/* Hand the pipe over to other callbacks. on_eof (nullable): the peer ended its direction and everything was read; ours stays open until
 * eei_channel_close(). Without it ours is closed then too. A clean on_end comes when both directions have ended. */
void eei_pipe_hand_over(eei_pipe *pipe, const eei_pipe_callbacks *callbacks, void (*on_eof)(void *user));
void eei_pipe_flush(
    eei_pipe *pipe);                /* after eei_channel_write/consume/close: moved on at the end of this turn, callbacks come from there */
void eei_pipe_free(eei_pipe *pipe); /* any time on the loop's thread, callbacks included */

/* Joins a pipe's plain bytes to a connected socket, both ways with back-pressure and half-close; owns both from eei_splice_new() on (on
 * failure it takes nothing); done is called once, then it frees itself. The agent joins an app's backend socket, the SDK one end of a
 * socketpair. */
typedef struct eei_splice eei_splice;
ee_status eei_splice_new(eei_link *link, eei_pipe *pipe, int fd, void (*done)(void *user, const ee_error *why), void *user,
                         eei_splice **out, ee_error *err) EE_MUST_USE;
void eei_splice_free(eei_splice *splice); /* before done: ends both; done is not called */
#endif
