/* mux.h - many streams over one connection, with end-to-end credit. Sans-I/O: frames in, frames out, time as an argument; the same object
 * runs in SDK, agent, control plane, unit tests and the fuzzer. Not thread-safe: its owner's loop calls it.
 * Proto: docs/protocol.md#streams
 *
 * The side that dialed opens odd ids, the side that listens even ones, ever rising. OPEN carries a msgpack payload that mux does not read
 * and the opener's receive window; data may follow at once (0-RTT open): before the acceptor has granted anything the opener counts on
 * EEI_STREAM_WINDOW, which every acceptor must grant, and whatever the acceptor adds to it comes as WINDOW. Each direction closes on its
 * own (CLOSE), RESET ends both.
 * Credit: a receiver grants bytes with WINDOW as its user consumes; a sender that goes past its credit is reset (threat B2).
 * A relay (control plane) joins a stream of one mux to a stream of another: it forwards DATA, WINDOW, CLOSE and RESET and never grants
 * credit of its own, so it holds at most what the end granted. The OPEN that makes the twin carries the opener's window; the acceptor's
 * first window is the fixed one on both hops, and what it adds is forwarded like every WINDOW.
 * Windows overcommit: a connection whose unread bytes reach EEI_SESSION_BUFFER_MAX resets the stream that holds most of them. */
#ifndef EEI_MUX_H
#define EEI_MUX_H
#include "wire/frame.h"

typedef struct eei_mux eei_mux;
typedef struct eei_stream eei_stream;

typedef struct eei_mux_options {
    bool dialed;           /* we opened the connection: our stream ids are odd */
    uint32_t window;       /* receive window of a new stream; 0 = EEI_STREAM_WINDOW, which is also the least for streams we accept */
    uint32_t window_max;   /* it may open up to this; 0 = EEI_STREAM_WINDOW_MAX */
    uint32_t streams_max;  /* 0 = EEI_STREAMS_MAX */
    uint32_t ping_idle_ms; /* 0 = EEI_PING_IDLE_MS */
    uint32_t dead_ms;      /* 0 = EEI_DEAD_MS */
} eei_mux_options;

ee_status eei_mux_new(const eei_mux_options *options, uint64_t now_ms, eei_mux **out, ee_error *err) EE_MUST_USE;
void eei_mux_free(eei_mux *mux); /* every stream of it is freed; relayed twins get a RESET */

/* One websocket message: whole frames. Any error ends the connection. */
ee_status eei_mux_receive(eei_mux *mux, ee_span message, uint64_t now_ms, ee_error *err) EE_MUST_USE;
/* Append frames worth sending now, at most about max bytes: control first, then sparse streams, then bulk by deficit round robin.
 * Appends nothing when there is nothing to send. */
ee_status eei_mux_transmit(eei_mux *mux, eei_buf *out, size_t max, uint64_t now_ms, ee_error *err) EE_MUST_USE;
bool eei_mux_wants_transmit(const eei_mux *mux);
/* When eei_mux_tick() is due, in the clock of now_ms; UINT64_MAX = never. */
uint64_t eei_mux_deadline_ms(const eei_mux *mux);
/* Pings when idle. EE_E_TIMEOUT: the peer is dead, close the connection. */
ee_status eei_mux_tick(eei_mux *mux, uint64_t now_ms, ee_error *err) EE_MUST_USE;
/* Called when another mux put work here (a relayed twin has frames to send or an event): transmit and take events soon, but not from
 * inside the callback, which may call nothing of any mux. Work from this mux's own functions is not told. */
void eei_mux_set_wake(eei_mux *mux, void (*wake)(void *user), void *user);
uint32_t eei_mux_rtt_ms(const eei_mux *mux); /* smoothed; 0 = not known yet */

typedef enum eei_mux_event_kind {
    EEI_MUX_NONE = 0,
    EEI_MUX_CONTROL,  /* a frame of stream 0 that is not mux's own: HELLO, JOB, ... in `frame` */
    EEI_MUX_OPENED,   /* the peer opened `stream`; its payload in `frame.payload` */
    EEI_MUX_READABLE, /* data or end of data arrived on a stream that was empty */
    EEI_MUX_WRITABLE, /* a stream whose eei_stream_write() came up short can take more */
    EEI_MUX_RESET,    /* the peer reset `stream`, or was reset for breaking a rule; reason in frame.payload's text; eei_stream_free() it */
} eei_mux_event_kind;
typedef struct eei_mux_event {
    eei_mux_event_kind kind;
    eei_stream *stream;
    eei_frame frame; /* borrowed until the next eei_mux_receive() or eei_mux_next_event() */
} eei_mux_event;
/* Call until NONE after receive, transmit and wake. Events of freed streams are dropped. */
eei_mux_event_kind eei_mux_next_event(eei_mux *mux, eei_mux_event *out);

/* Send a control frame on stream 0. EE_E_LIMIT when the queue of control frames is full (peer does not read). */
ee_status eei_mux_send_control(eei_mux *mux, uint8_t type, uint16_t flags, ee_span payload, ee_error *err) EE_MUST_USE;

/* Open a stream. @payload at most 4 KiB. */
ee_status eei_mux_open(eei_mux *mux, ee_span payload, eei_stream **out, ee_error *err) EE_MUST_USE;
uint32_t eei_stream_id(const eei_stream *stream);
void eei_stream_set_user(eei_stream *stream, void *user);
void *eei_stream_user(const eei_stream *stream);
/* Queue up to the credit and the send buffer; returns how many bytes were taken (0 = wait for WRITABLE). */
size_t eei_stream_write(eei_stream *stream, ee_span data);
size_t eei_stream_writable(const eei_stream *stream);
/* Bytes received and not consumed yet, borrowed until the next call on this mux. Empty when there are none. */
ee_span eei_stream_peek(const eei_stream *stream);
void eei_stream_consume(eei_stream *stream, size_t len);       /* grants credit */
bool eei_stream_at_end(const eei_stream *stream);              /* peer closed its direction and everything was consumed */
void eei_stream_close(eei_stream *stream);                     /* our direction, after what is queued */
void eei_stream_reset(eei_stream *stream, const char *reason); /* both, at once; reason at most 200 bytes of UTF-8 */
/* Let go. A stream that is not finished both ways is reset; one that is still sends what is queued. The pointer is invalid after. */
void eei_stream_free(eei_stream *stream);

/* Join two open streams of different muxes: from now on neither is readable or writable by hand. Bytes that had arrived move over.
 * Join while handling OPENED, or any time as long as a's window is EEI_STREAM_WINDOW (EE_E_STATE otherwise). Both pointers stay the
 * user's: each stream tells its end with RESET, or with READABLE once eei_stream_at_end(), and is freed then. Freeing or resetting one
 * before its end resets both. Either mux may be freed first. */
ee_status eei_mux_open_relay(eei_stream *a, eei_mux *mux_b, ee_span payload, eei_stream **out_b, ee_error *err) EE_MUST_USE;

typedef struct eei_mux_stats {
    uint64_t bytes_in, bytes_out, frames_in, frames_out, streams_opened;
    size_t streams, buffered; /* now */
} eei_mux_stats;
void eei_mux_get_stats(const eei_mux *mux, eei_mux_stats *out);
#endif
