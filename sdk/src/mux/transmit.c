/* transmit.c - what goes out next: control first, then streams with little to send, then bulk by deficit round robin.
 * Not for what streams mean (stream.c). Called by the owner of the connection when it can send.
 * A round gives every stream one quantum; sparse streams get theirs first, so a small write waits at most for one frame of each stream
 * that is in the way, and a stream that stays sparse for ever still cannot take more than its share. */
#include "mux/mux_internal.h"

#include <string.h>

typedef struct emitter {
    eei_mux *mux;
    eei_buf *out;
    size_t room, used;
} emitter;

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* ---- queues ---- */

void mux_schedule_control(eei_stream *stream) {
    if (!mux_linked(&stream->control)) mux_link_last(&stream->mux->control_streams, &stream->control);
}

static bool has_work(const eei_stream *stream) { return stream->out.len > 0 || stream->close_unsent; }

/* A new round gives a new quantum; nothing is carried over, so that one quantum is all anybody ever waits for. */
static void refresh_quantum(eei_stream *stream) {
    if (stream->round == stream->mux->round) return;
    stream->round = stream->mux->round;
    stream->deficit = MUX_QUANTUM;
}

static size_t next_frame_bytes(const eei_stream *stream) {
    return min_size(min_size(stream->out.len, EEI_DATA_PAYLOAD_MAX), stream->deficit);
}

/* The rest of a quantum is used up in a smaller frame, but not in crumbs. */
static bool has_turn(const eei_stream *stream) { return stream->deficit >= min_size(stream->out.len, MUX_FRAGMENT_MIN); }

static void place(eei_stream *stream) {
    eei_mux *mux = stream->mux;
    mux_link *bulk = has_turn(stream) ? &mux->bulk_now : &mux->bulk_next;

    stream->bulk = !has_turn(stream) || stream->out.len >= MUX_SPARSE_BYTES;
    mux_link_last(stream->bulk ? bulk : &mux->sparse, &stream->sched);
}

void mux_schedule(eei_stream *stream) {
    if (stream->state == STREAM_DEAD || !has_work(stream)) return;
    if (mux_linked(&stream->sched) && (stream->bulk || stream->out.len < MUX_SPARSE_BYTES)) return; /* keeps its place in line */
    refresh_quantum(stream);
    place(stream);
}

bool eei_mux_wants_transmit(const eei_mux *mux) {
    return mux->ping_unsent || mux->pongs_count > 0 || mux_linked(&mux->control) || mux_linked(&mux->control_streams) ||
           mux_linked(&mux->sparse) || mux_linked(&mux->bulk_now) || mux_linked(&mux->bulk_next);
}

/* ---- writing frames ---- */

static bool fits(const emitter *e, size_t len) { return e->used == 0 || len <= e->room - min_size(e->room, e->used); }

/* Room for a whole frame, header written; *payload is the caller's to fill and then done() with. EE_E_AGAIN: the message is full. */
static ee_status begin(emitter *e, uint8_t type, uint32_t stream, size_t len, uint8_t **payload) {
    uint8_t *at = NULL;
    ee_status st;

    if (!fits(e, EEI_FRAME_HEADER_BYTES + len)) return EE_E_AGAIN;
    st = eei_buf_reserve(e->out, EEI_FRAME_HEADER_BYTES + len, &at);
    if (st == EE_E_LIMIT && e->out->len > 0) return EE_E_AGAIN;
    if (st) return st;
    eei_frame_header(at, type, 0, stream, (uint32_t)len);
    *payload = at + EEI_FRAME_HEADER_BYTES;
    return EE_OK;
}

static void done(emitter *e, size_t len) {
    len += EEI_FRAME_HEADER_BYTES;
    eei_buf_commit(e->out, len);
    e->used += len;
    e->mux->stats.frames_out++;
    e->mux->stats.bytes_out += len;
}

static void put_u32be(uint8_t *out, uint32_t v) {
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put_u64be(uint8_t *out, uint64_t v) {
    put_u32be(out, (uint32_t)(v >> 32));
    put_u32be(out + 4, (uint32_t)v);
}

/* ---- control ---- */

static ee_status send_pongs(emitter *e) {
    eei_mux *mux = e->mux;
    uint8_t *payload;

    while (mux->pongs_count > 0) {
        ee_status st = begin(e, EEI_FRAME_PONG, 0, 8, &payload);
        if (st) return st;
        memcpy(payload, mux->pongs[0], 8);
        done(e, 8);
        mux->pongs_count--;
        memmove(mux->pongs[0], mux->pongs[1], mux->pongs_count * 8);
    }
    return EE_OK;
}

static ee_status send_ping(emitter *e) {
    eei_mux *mux = e->mux;
    uint8_t *payload;
    ee_status st;

    if (!mux->ping_unsent) return EE_OK;
    st = begin(e, EEI_FRAME_PING, 0, 8, &payload);
    if (st) return st;
    put_u64be(payload, ++mux->ping_value);
    done(e, 8);
    mux->ping_unsent = false;
    mux->ping_running = true;
    mux->ping_sent_ms = mux->now_ms;
    return EE_OK;
}

static ee_status send_control_frames(emitter *e) {
    eei_mux *mux = e->mux;

    while (mux_linked(&mux->control)) {
        mux_control_frame *frame = mux_owner(mux->control.next, mux_control_frame, link);
        uint8_t *at = NULL;
        if (!fits(e, frame->len)) return EE_E_AGAIN;
        ee_status st = eei_buf_reserve(e->out, frame->len, &at);
        if (st) return st == EE_E_LIMIT && e->out->len > 0 ? EE_E_AGAIN : st;
        memcpy(at, frame->bytes, frame->len);
        done(e, frame->len - EEI_FRAME_HEADER_BYTES);
        if (frame->refusal)
            mux->refusals--;
        else
            mux->control_bytes -= frame->len;
        mux_unlink(&frame->link);
        eei_free(frame);
    }
    return EE_OK;
}

static ee_status send_open(emitter *e, eei_stream *stream) {
    uint8_t *payload;
    ee_status st = begin(e, EEI_FRAME_OPEN, stream->id, 4 + stream->payload_len, &payload);

    if (st) return st;
    put_u32be(payload, stream->granted);
    if (stream->payload_len > 0) memcpy(payload + 4, stream->payload, stream->payload_len);
    done(e, 4 + stream->payload_len);
    stream->open_unsent = false;
    eei_free(stream->payload);
    stream->payload = NULL;
    stream->payload_len = 0;
    return EE_OK;
}

static ee_status send_window(emitter *e, eei_stream *stream) {
    uint8_t *payload;
    ee_status st = begin(e, EEI_FRAME_WINDOW, stream->id, 4, &payload);

    if (st) return st;
    put_u32be(payload, stream->grant_unsent);
    done(e, 4);
    mux_stream_granted(stream);
    return EE_OK;
}

static ee_status send_reset(emitter *e, eei_stream *stream) {
    size_t len = stream->reason ? strlen(stream->reason) : 0;
    uint8_t *payload;
    ee_status st = begin(e, EEI_FRAME_RESET, stream->id, len, &payload);

    if (st) return st;
    if (len > 0) memcpy(payload, stream->reason, len);
    done(e, len);
    stream->reset_unsent = false;
    return EE_OK;
}

/* OPENs leave in the order of their ids: the list is first in, first out, and a stream enters it at birth. */
static ee_status send_stream_control(emitter *e) {
    mux_link *list = &e->mux->control_streams;

    while (mux_linked(list)) {
        eei_stream *stream = mux_owner(list->next, eei_stream, control);
        ee_status st = stream->open_unsent ? send_open(e, stream) : EE_OK;
        if (!st && stream->grant_unsent > 0) st = send_window(e, stream);
        if (!st && stream->reset_unsent) st = send_reset(e, stream);
        if (st) return st;
        mux_unlink(&stream->control);
        if (stream->state == STREAM_DEAD && stream->orphan) mux_stream_destroy(stream);
    }
    return EE_OK;
}

/* ---- data ---- */

/* As much of the next DATA frame as this message has room for. */
static ee_status send_data(emitter *e, eei_stream *stream) {
    size_t len = next_frame_bytes(stream), room = e->room - min_size(e->room, e->used + EEI_FRAME_HEADER_BYTES);
    uint8_t *payload;
    ee_status st;

    if (len > room && (room >= MUX_FRAGMENT_MIN || e->used == 0)) len = room > 0 ? room : 1;
    st = begin(e, EEI_FRAME_DATA, stream->id, len, &payload);
    if (st) return st;
    mux_queue_read(&stream->out, payload, len);
    done(e, len);
    stream->deficit -= (uint32_t)len;
    stream->mux->out_bytes -= len;
    if (stream->relayed) stream->mux->relay_bytes -= len;
    mux_stream_drained(stream);
    return EE_OK;
}

static ee_status send_close(emitter *e, eei_stream *stream) {
    uint8_t *payload;
    ee_status st = begin(e, EEI_FRAME_CLOSE, stream->id, 0, &payload);

    if (st) return st;
    done(e, 0);
    mux_unlink(&stream->sched);
    mux_stream_closed(stream); /* the stream may be gone */
    return EE_OK;
}

/* One frame of the stream whose turn it is. */
static ee_status serve(emitter *e, eei_stream *stream) {
    refresh_quantum(stream);
    if (!has_turn(stream)) {
        place(stream);
        return EE_OK;
    }
    if (stream->out.len > 0) {
        ee_status st = send_data(e, stream);
        if (st) return st;
    }
    if (stream->out.len > 0) {
        if (!has_turn(stream)) place(stream);
        return EE_OK;
    }
    if (stream->close_unsent) return send_close(e, stream);
    mux_unlink(&stream->sched);
    return EE_OK;
}

static eei_stream *next_stream(eei_mux *mux) {
    if (mux_linked(&mux->sparse)) return mux_owner(mux->sparse.next, eei_stream, sched);
    if (!mux_linked(&mux->bulk_now)) { /* the round is over */
        mux->round++;
        while (mux_linked(&mux->bulk_next)) mux_link_last(&mux->bulk_now, mux->bulk_next.next);
    }
    return mux_linked(&mux->bulk_now) ? mux_owner(mux->bulk_now.next, eei_stream, sched) : NULL;
}

static ee_status send_streams(emitter *e) {
    eei_stream *stream;
    ee_status st = EE_OK;

    while (!st && (stream = next_stream(e->mux)) != NULL) st = serve(e, stream);
    return st;
}

ee_status eei_mux_transmit(eei_mux *mux, eei_buf *out, size_t max, uint64_t now_ms, ee_error *err) {
    static ee_status (*const steps[])(emitter *) = {send_pongs, send_ping, send_control_frames, send_stream_control, send_streams};
    emitter e = {mux, out, min_size(min_size(max, EEI_WS_MESSAGE_MAX), out->max - min_size(out->max, out->len)), 0};
    ee_status st = EE_OK;

    if (now_ms > mux->now_ms) mux->now_ms = now_ms;
    if (max == 0) return EE_OK;
    for (size_t i = 0; !st && i < sizeof steps / sizeof steps[0]; i++) st = steps[i](&e);
    if (st == EE_OK || st == EE_E_AGAIN) return EE_OK; /* AGAIN: this message is full, the rest comes with the next */
    if (st == EE_E_NOMEM) return eei_nomem(err);
    return eei_fail(err, st, "output buffer of %zu bytes is too small for one frame", out->max);
}
