/* stream.c - one stream: what each frame does to it, credit, relays, and the functions users call on it.
 * Not for choosing what is sent when (transmit.c) or frames of the connection (mux.c). Called by both and by users.
 * Proto: docs/protocol.md#streams */
#include "mux/mux_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* ---- table of streams by id ---- */

static size_t table_position(const mux_table *table, uint32_t id) {
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table->at[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

eei_stream *mux_table_find(const mux_table *table, uint32_t id) {
    size_t i = table_position(table, id);
    return i < table->count && table->at[i]->id == id ? table->at[i] : NULL;
}

static bool table_append(mux_table *table, eei_stream *stream) {
    if (table->count == table->cap) {
        size_t cap = table->cap ? table->cap * 2 : 4, bytes;
        eei_stream **grown = eei_mul_size(&bytes, cap, sizeof *grown) ? eei_realloc(table->at, bytes) : NULL;
        if (!grown) return false;
        table->at = grown;
        table->cap = cap;
    }
    EE_ASSERT(table->count == 0 || table->at[table->count - 1]->id < stream->id);
    table->at[table->count++] = stream;
    return true;
}

static void table_remove(mux_table *table, const eei_stream *stream) {
    size_t i = table_position(table, stream->id);
    EE_ASSERT(i < table->count && table->at[i] == stream);
    table->count--;
    memmove(table->at + i, table->at + i + 1, (table->count - i) * sizeof *table->at);
    if (table->count == 0) { /* an idle connection holds no table */
        eei_free(table->at);
        *table = (mux_table){NULL, 0, 0};
    }
}

static void unlist(eei_stream *stream) {
    if (!stream->listed) return;
    table_remove(mux_table_of(stream->mux, stream->id), stream);
    stream->listed = false;
}

/* ---- birth and death ---- */

eei_stream *mux_stream_new(eei_mux *mux, uint32_t id, ee_span payload) {
    eei_stream *stream = eei_calloc(1, sizeof *stream);

    if (!stream) return NULL;
    stream->mux = mux;
    stream->id = id;
    stream->round = mux->round - 1; /* so that its first turn gives it a quantum */
    stream->epoch_ms = mux->now_ms;
    mux_link_init(&stream->all);
    mux_link_init(&stream->sched);
    mux_link_init(&stream->control);
    mux_link_init(&stream->event.link);
    stream->event.stream = stream;
    if (payload.len > 0) {
        stream->payload = eei_memdup(payload.data, payload.len);
        stream->payload_len = payload.len;
        if (!stream->payload) goto fail;
    }
    if (!table_append(mux_table_of(mux, id), stream)) goto fail;
    stream->listed = true;
    mux_link_last(&mux->streams, &stream->all);
    mux->streams_count++;
    mux->stats.streams_opened++;
    return stream;
fail:
    eei_free(stream->payload);
    eei_free(stream);
    return NULL;
}

static void clear_queues(eei_stream *stream) {
    eei_mux *mux = stream->mux;

    mux->in_bytes -= stream->in.len;
    mux->out_bytes -= stream->out.len;
    if (stream->relayed) mux->relay_bytes -= stream->out.len;
    mux_queue_clear(&stream->in);
    mux_queue_clear(&stream->out);
}

static void return_window(eei_stream *stream) {
    stream->mux->windows -= stream->window;
    stream->window = 0;
}

void mux_stream_destroy(eei_stream *stream) {
    if (stream->twin) stream->twin->twin = NULL;
    clear_queues(stream);
    return_window(stream);
    unlist(stream);
    mux_event_drop(stream, 0);
    mux_unlink(&stream->all);
    mux_unlink(&stream->sched);
    mux_unlink(&stream->control);
    stream->mux->streams_count--;
    eei_free(stream->payload);
    eei_free(stream->reason);
    eei_free(stream);
}

/* Reason in valid UTF-8, cut at a character. Without memory there is no reason, the reset happens all the same. */
static char *copy_reason(ee_span reason) {
    size_t len = min_size(reason.len, MUX_REASON_BYTES_MAX);

    if (len < reason.len)
        while (len > 0 && (reason.data[len] & 0xC0u) == 0x80u) len--;
    if (!eei_utf8_valid((ee_span){reason.data, len})) return eei_strdup("the peer's reason is not text");
    return eei_strndup((const char *)reason.data, len);
}

/* Never to be found or scheduled again; holds nothing but the reason. */
static void make_dead(eei_stream *stream, ee_span reason) {
    stream->state = STREAM_DEAD;
    stream->close_unsent = false;
    stream->grant_unsent = stream->ungranted = stream->granted = stream->credit = 0;
    stream->short_write = false;
    unlist(stream);
    clear_queues(stream);
    return_window(stream);
    mux_unlink(&stream->sched);
    mux_unlink(&stream->control);
    eei_free(stream->reason);
    stream->reason = reason.len > 0 ? copy_reason(reason) : NULL;
}

static void kill_one(eei_stream *stream, bool tell_peer, bool tell_user, ee_span reason) {
    bool unknown_to_user = (stream->events & EVENT_BIT(EEI_MUX_OPENED)) != 0; /* opened and reset in one breath: it never was */

    make_dead(stream, reason);
    if (tell_peer && !stream->open_unsent) {
        stream->reset_unsent = true;
        mux_schedule_control(stream);
    }
    stream->open_unsent = false;
    mux_event_drop(stream, 0);
    if (unknown_to_user || stream->orphan) {
        stream->orphan = true;
        if (!stream->reset_unsent) mux_stream_destroy(stream);
    } else if (tell_user) {
        mux_event_add(stream, EEI_MUX_RESET);
    }
}

void mux_stream_kill(eei_stream *stream, bool tell_peer, bool tell_user, ee_span reason) {
    eei_stream *twin = stream->twin;

    if (stream->state == STREAM_DEAD) return;
    stream->twin = NULL;
    if (twin) {
        twin->twin = NULL;
        mux_wake(twin->mux);
        kill_one(twin, true, true, reason);
    }
    kill_one(stream, tell_peer, tell_user, reason);
}

/* The peer broke a rule on this stream: it hears why, the user gets RESET, the connection goes on. */
static void refuse(eei_stream *stream, const char *format, ...) EEI_PRINTF(2, 3);
static void refuse(eei_stream *stream, const char *format, ...) {
    char text[MUX_REASON_BYTES_MAX + 1];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    mux_stream_kill(stream, true, true, eei_span_text(text));
}

/* ---- session cap ---- */

static size_t held_bytes(const eei_stream *stream) { return stream->in.len + (stream->relayed ? stream->out.len : 0); }

/* Windows overcommit the session (1,024 streams of 256 KiB), so the bytes really held have their own cap. Who pays is the stream that
 * holds most: a reader that stalls, not the one whose byte comes last. (threat B2) False: `stream` itself paid, do not touch it. */
static bool make_room(eei_stream *stream, size_t bytes) {
    eei_mux *mux = stream->mux;

    while (mux->in_bytes + mux->relay_bytes + bytes > EEI_SESSION_BUFFER_MAX) {
        eei_stream *most = stream;
        for (mux_link *link = mux->streams.next; link != &mux->streams; link = link->next) {
            eei_stream *other = mux_owner(link, eei_stream, all);
            if (held_bytes(other) > held_bytes(most)) most = other;
        }
        bool itself = most == stream;
        refuse(most, "the connection holds %zu unread bytes, limit %u, and this stream most of them", mux->in_bytes + mux->relay_bytes,
               EEI_SESSION_BUFFER_MAX);
        if (itself) return false;
    }
    return true;
}

/* ---- credit ---- */

static bool peer_may_send(const eei_stream *stream) { return stream->state == STREAM_OPEN || stream->state == STREAM_LOCAL_CLOSED; }

static bool may_send(const eei_stream *stream) { return stream->state == STREAM_OPEN || stream->state == STREAM_PEER_CLOSED; }

static void grant(eei_stream *stream, uint32_t bytes) {
    if (bytes == 0 || !peer_may_send(stream)) return;
    stream->grant_unsent += bytes;
    mux_schedule_control(stream);
}

/* How long the sender takes to come back with the first byte that needed a grant: one round trip end to end, relays included, when the
 * window is what holds it up; longer when something else does. So the shortest is the time to fill, whatever the path. */
void mux_stream_granted(eei_stream *stream) {
    if (!stream->turn_running) {
        stream->turn_running = true;
        stream->turn_start_ms = stream->mux->now_ms;
        stream->turn_mark = stream->received_bytes + stream->granted;
    }
    stream->granted += stream->grant_unsent;
    stream->grant_unsent = 0;
}

static void measure_turn(eei_stream *stream) {
    uint64_t turn_ms = stream->mux->now_ms - stream->turn_start_ms;

    if (!stream->turn_running || stream->received_bytes <= stream->turn_mark) return;
    stream->turn_running = false;
    if (turn_ms == 0) turn_ms = 1;
    if (turn_ms < UINT32_MAX && (stream->turn_ms == 0 || turn_ms < stream->turn_ms)) stream->turn_ms = (uint32_t)turn_ms;
}

/* The window doubles when half of it was consumed within twice the time to fill it: then the sender waits for us, not we for the sender.
 * A constant multiple of the connection's round trip is wrong behind a relay and stops growth too early (libp2p/go-yamux #136). */
static void tune_window(eei_stream *stream, size_t consumed) {
    eei_mux *mux = stream->mux;
    uint64_t fill_ms = stream->turn_ms > mux->rtt_ms ? stream->turn_ms : mux->rtt_ms, elapsed_ms = mux->now_ms - stream->epoch_ms;
    size_t spare = mux->windows < EEI_SESSION_BUFFER_MAX ? EEI_SESSION_BUFFER_MAX - mux->windows : 0, more;

    stream->epoch_bytes += (uint32_t)consumed; /* consumed <= window: no wrap, it is reset at half of that */
    if (stream->epoch_bytes < stream->window / 2) return;
    stream->epoch_bytes = 0;
    stream->epoch_ms = mux->now_ms;
    if (fill_ms == 0) fill_ms = 1;
    if (elapsed_ms > 2 * fill_ms) return;
    more = min_size(min_size(stream->window, mux->options.window_max - min_size(mux->options.window_max, stream->window)), spare);
    stream->window += (uint32_t)more;
    mux->windows += more;
    grant(stream, (uint32_t)more);
}

/* ---- what frames do; the state is the next one already, the stream may be gone after ---- */

static void deliver(eei_stream *stream, ee_span data) {
    bool was_empty = stream->in.len == 0;

    if (!make_room(stream, data.len)) return;
    if (!mux_queue_push(&stream->in, data)) {
        refuse(stream, "out of memory for %zu bytes", data.len);
        return;
    }
    stream->mux->in_bytes += data.len;
    if (was_empty) mux_event_add(stream, EEI_MUX_READABLE);
}

static void forward(eei_stream *stream, ee_span data) {
    eei_stream *twin = stream->twin;

    if (!twin || twin->credit < data.len) { /* cannot be: granted never is more than the far end's credit */
        refuse(stream, "relay has no credit for %zu bytes", data.len);
        return;
    }
    if (!make_room(twin, data.len)) return;
    if (!mux_queue_push(&twin->out, data)) {
        refuse(stream, "out of memory for %zu bytes", data.len);
        return;
    }
    twin->credit -= (uint32_t)data.len;
    twin->mux->out_bytes += data.len;
    twin->mux->relay_bytes += data.len;
    mux_schedule(twin);
    mux_wake(twin->mux);
}

static void on_data(eei_stream *stream, const eei_frame *frame) {
    size_t len = frame->payload.len;

    if (len > EEI_DATA_PAYLOAD_MAX) {
        refuse(stream, "DATA has %zu bytes, limit %u", len, EEI_DATA_PAYLOAD_MAX);
        return;
    }
    if (len > stream->granted) { /* before anything is kept of it (threat B2) */
        refuse(stream, "DATA of %zu bytes, but the credit left is %u", len, stream->granted);
        return;
    }
    stream->granted -= (uint32_t)len;
    stream->received_bytes += len;
    measure_turn(stream);
    if (len == 0) return;
    if (stream->relayed)
        forward(stream, frame->payload);
    else
        deliver(stream, frame->payload);
}

static void wake_writer(eei_stream *stream) {
    if (!stream->short_write || eei_stream_writable(stream) == 0) return;
    stream->short_write = false;
    mux_event_add(stream, EEI_MUX_WRITABLE);
}

static void on_window(eei_stream *stream, const eei_frame *frame) {
    eei_reader r = eei_reader_init(frame->payload);
    uint32_t bytes = eei_read_u32be(&r);
    uint64_t total = (uint64_t)stream->credit + stream->out.len + bytes;

    if (bytes == 0) {
        refuse(stream, "WINDOW grants nothing");
        return;
    }
    if (total > EEI_STREAM_WINDOW_MAX) {
        refuse(stream, "WINDOW of %u makes a credit of %llu, limit %u", bytes, (unsigned long long)total, EEI_STREAM_WINDOW_MAX);
        return;
    }
    stream->credit += bytes;
    if (stream->relayed && stream->twin) {
        grant(stream->twin, bytes);
        mux_wake(stream->twin->mux);
    }
    wake_writer(stream);
}

static void close_local(eei_stream *stream) {
    if (!may_send(stream)) return;
    stream->state = stream->state == STREAM_OPEN ? STREAM_LOCAL_CLOSED : STREAM_DONE;
    stream->close_unsent = true;
    stream->short_write = false;
    mux_schedule(stream);
}

/* Both directions are over and our last frame is out: frames that still come are late ones. */
static void finish(eei_stream *stream) {
    if (stream->state != STREAM_DONE || stream->close_unsent) return;
    unlist(stream);
    if (stream->orphan)
        mux_stream_destroy(stream);
    else if (stream->relayed)
        mux_event_add(stream, EEI_MUX_READABLE); /* its user sees the end, nothing to read */
}

static void on_close(eei_stream *stream, const eei_frame *frame) {
    (void)frame;
    stream->grant_unsent = 0;
    if (stream->relayed && stream->twin) {
        close_local(stream->twin);
        mux_wake(stream->twin->mux);
    } else if (stream->in.len == 0) {
        mux_event_add(stream, EEI_MUX_READABLE);
    }
    finish(stream);
}

static void on_reset(eei_stream *stream, const eei_frame *frame) { mux_stream_kill(stream, false, true, frame->payload); }

typedef struct stream_rule {
    stream_state state;
    eei_frame_type frame;
    stream_state next;
    void (*action)(eei_stream *stream, const eei_frame *frame);
} stream_rule;

/* A pair that is not in the table resets the stream, never the process. RESET's action makes the stream dead itself. */
static const stream_rule rules[] = {
    {STREAM_OPEN, EEI_FRAME_DATA, STREAM_OPEN, on_data},
    {STREAM_OPEN, EEI_FRAME_WINDOW, STREAM_OPEN, on_window},
    {STREAM_OPEN, EEI_FRAME_CLOSE, STREAM_PEER_CLOSED, on_close},
    {STREAM_OPEN, EEI_FRAME_RESET, STREAM_OPEN, on_reset},
    {STREAM_LOCAL_CLOSED, EEI_FRAME_DATA, STREAM_LOCAL_CLOSED, on_data},
    {STREAM_LOCAL_CLOSED, EEI_FRAME_WINDOW, STREAM_LOCAL_CLOSED, on_window},
    {STREAM_LOCAL_CLOSED, EEI_FRAME_CLOSE, STREAM_DONE, on_close},
    {STREAM_LOCAL_CLOSED, EEI_FRAME_RESET, STREAM_LOCAL_CLOSED, on_reset},
    {STREAM_PEER_CLOSED, EEI_FRAME_WINDOW, STREAM_PEER_CLOSED, on_window},
    {STREAM_PEER_CLOSED, EEI_FRAME_RESET, STREAM_PEER_CLOSED, on_reset},
    {STREAM_DONE, EEI_FRAME_WINDOW, STREAM_DONE, on_window},
    {STREAM_DONE, EEI_FRAME_RESET, STREAM_DONE, on_reset},
};

static bool is_muxes_own(uint8_t type) { return type >= EEI_FRAME_PING && type <= EEI_FRAME_RESET; }

static const char *state_name(stream_state state) {
    static const char *const names[] = {"open", "closed by us", "closed by the peer", "closed both ways", "reset"};
    return names[state];
}

ee_status mux_stream_frame(eei_stream *stream, const eei_frame *frame, ee_error *err) {
    /* A length that is wrong means the peer's encoder is: nothing after it can be trusted. */
    if (frame->type == EEI_FRAME_WINDOW && frame->payload.len != 4)
        return eei_fail(err, EE_E_MALFORMED, "WINDOW of stream %u has %zu bytes, expected 4", stream->id, frame->payload.len);
    if (frame->type == EEI_FRAME_CLOSE && frame->payload.len != 0)
        return eei_fail(err, EE_E_MALFORMED, "CLOSE of stream %u has %zu bytes, expected none", stream->id, frame->payload.len);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (rules[i].state != stream->state || rules[i].frame != frame->type) continue;
        stream->state = rules[i].next;
        rules[i].action(stream, frame);
        return EE_OK;
    }
    if (is_muxes_own(frame->type) || (frame->flags & EEI_FRAME_CRITICAL))
        refuse(stream, "%s (type %u) on a stream that is %s", eei_frame_name(frame->type), frame->type, state_name(stream->state));
    return EE_OK;
}

/* ---- what transmit tells ---- */

void mux_stream_drained(eei_stream *stream) { wake_writer(stream); }

void mux_stream_closed(eei_stream *stream) {
    stream->close_unsent = false;
    finish(stream);
}

/* ---- opening ---- */

static ee_status open_stream(eei_mux *mux, ee_span payload, eei_stream **out, ee_error *err) {
    *out = NULL;
    if (payload.len > MUX_OPEN_PAYLOAD_MAX)
        return eei_fail(err, EE_E_INVALID, "OPEN payload is %zu bytes, limit %u", payload.len, MUX_OPEN_PAYLOAD_MAX);
    if (mux->failed) return eei_fail(err, EE_E_CLOSED, "the connection has failed");
    if (mux->streams_count >= mux->options.streams_max)
        return eei_fail(err, EE_E_LIMIT, "%zu streams are open, limit %u", mux->streams_count, mux->options.streams_max);
    if (mux->next_id == 0) return eei_fail(err, EE_E_LIMIT, "stream ids of this connection are used up; reconnect");

    eei_stream *stream = mux_stream_new(mux, mux->next_id, payload);
    if (!stream) return eei_nomem(err);
    mux->next_id = mux->next_id > UINT32_MAX - 2 ? 0 : mux->next_id + 2;
    stream->credit = EEI_STREAM_WINDOW; /* every acceptor grants this, so data may follow OPEN at once */
    stream->open_unsent = true;
    mux_schedule_control(stream);
    *out = stream;
    return EE_OK;
}

ee_status eei_mux_open(eei_mux *mux, ee_span payload, eei_stream **out, ee_error *err) {
    ee_status st = open_stream(mux, payload, out, err);
    if (st) return st;
    (*out)->window = (*out)->granted = mux->options.window;
    mux->windows += mux->options.window;
    return EE_OK;
}

/* Credit past the fixed first window has no counterpart at the far end. What is not sent yet can be taken back. */
static bool take_back_excess(eei_stream *stream) {
    uint32_t excess = stream->window > EEI_STREAM_WINDOW ? stream->window - EEI_STREAM_WINDOW : 0;

    if (stream->window < EEI_STREAM_WINDOW || stream->grant_unsent < excess) return false;
    stream->grant_unsent -= excess;
    stream->window -= excess;
    stream->mux->windows -= excess;
    return true;
}

static void join(eei_stream *a, eei_stream *b) {
    bool ended = a->state == STREAM_PEER_CLOSED;
    size_t moved = a->in.len;

    /* Bytes consumed by hand before are credit the far end has not seen used. */
    a->grant_unsent += a->ungranted;
    a->ungranted = 0;
    if (!ended && a->grant_unsent > 0) mux_schedule_control(a);
    return_window(a);
    b->granted = a->credit;
    b->credit -= (uint32_t)moved;
    a->mux->in_bytes -= moved;
    b->mux->out_bytes += moved;
    b->mux->relay_bytes += moved;
    a->mux->relay_bytes += a->out.len;
    mux_queue_move(&b->out, &a->in);
    a->relayed = b->relayed = true;
    a->twin = b;
    b->twin = a;
    a->short_write = false;
    mux_event_drop(a, 0);
    if (ended)
        close_local(b);
    else
        mux_schedule(b);
    mux_wake(b->mux);
}

ee_status eei_mux_open_relay(eei_stream *a, eei_mux *mux_b, ee_span payload, eei_stream **out_b, ee_error *err) {
    ee_status st;

    *out_b = NULL;
    if (a->relayed || a->mux == mux_b) return eei_fail(err, EE_E_STATE, "stream %u cannot be relayed to there", a->id);
    if (!may_send(a)) return eei_fail(err, EE_E_STATE, "stream %u is %s and cannot be relayed", a->id, state_name(a->state));
    if (a->in.len > EEI_STREAM_WINDOW || (a->state == STREAM_OPEN && !take_back_excess(a)))
        return eei_fail(err, EE_E_STATE, "stream %u was granted %u bytes, a relay passes on %u; join it when it opens", a->id, a->window,
                        EEI_STREAM_WINDOW);
    st = open_stream(mux_b, payload, out_b, err);
    if (st) return st;
    if (!make_room(*out_b, a->in.len)) { /* cannot be: the new stream holds nothing, so another one pays */
        *out_b = NULL;
        return eei_fail(err, EE_E_LIMIT, "the other connection is full");
    }
    join(a, *out_b);
    return EE_OK;
}

/* ---- what users call ---- */

uint32_t eei_stream_id(const eei_stream *stream) { return stream->id; }

void eei_stream_set_user(eei_stream *stream, void *user) { stream->user = user; }

void *eei_stream_user(const eei_stream *stream) { return stream->user; }

size_t eei_stream_writable(const eei_stream *stream) {
    if (!may_send(stream) || stream->relayed || stream->out.len >= MUX_SEND_QUEUE_MAX) return 0;
    return min_size(stream->credit, MUX_SEND_QUEUE_MAX - stream->out.len);
}

size_t eei_stream_write(eei_stream *stream, ee_span data) {
    size_t n = min_size(data.len, eei_stream_writable(stream));

    if (n < data.len && may_send(stream) && !stream->relayed) stream->short_write = true;
    if (n == 0) return 0;
    if (!mux_queue_push(&stream->out, (ee_span){data.data, n})) {
        /* A writer told to wait for WRITABLE might wait for ever. */
        mux_stream_kill(stream, true, true, eei_span_text("the sender is out of memory"));
        return 0;
    }
    stream->credit -= (uint32_t)n;
    stream->mux->out_bytes += n;
    mux_schedule(stream);
    return n;
}

ee_span eei_stream_peek(const eei_stream *stream) { return mux_queue_front(&stream->in); }

void eei_stream_consume(eei_stream *stream, size_t len) {
    len = min_size(len, stream->in.len);
    mux_queue_drop(&stream->in, len);
    stream->mux->in_bytes -= len;
    if (len == 0 || !peer_may_send(stream)) return;
    stream->ungranted += (uint32_t)len;
    tune_window(stream, len);
    if (stream->ungranted < stream->window / 4) return;
    uint32_t bytes = stream->ungranted;
    stream->ungranted = 0;
    grant(stream, bytes);
    mux_want_rtt(stream->mux);
}

bool eei_stream_at_end(const eei_stream *stream) {
    if (stream->relayed) return stream->state == STREAM_DONE && !stream->close_unsent;
    return (stream->state == STREAM_PEER_CLOSED || stream->state == STREAM_DONE) && stream->in.len == 0;
}

void eei_stream_close(eei_stream *stream) {
    if (stream->relayed) return;
    close_local(stream);
}

void eei_stream_reset(eei_stream *stream, const char *reason) { mux_stream_kill(stream, true, false, eei_span_text(reason)); }

void eei_stream_free(eei_stream *stream) {
    if (!stream) return;
    if (stream->state != STREAM_DONE) mux_stream_kill(stream, true, false, eei_span_text("the stream was let go"));
    mux_event_drop(stream, 0);
    if (stream->reset_unsent || stream->close_unsent) { /* flushes, then frees itself */
        stream->orphan = true;
        stream->user = NULL;
        stream->mux->in_bytes -= stream->in.len;
        mux_queue_clear(&stream->in);
        return_window(stream);
        if (stream->twin) stream->twin->twin = NULL;
        stream->twin = NULL;
        return;
    }
    mux_stream_destroy(stream);
}
