/* mux.c - the connection: frames in, control frames, liveness, events. Not for single streams (stream.c) or for choosing what is sent
 * (transmit.c). Called by sessions of SDK, agent and control plane. Proto: docs/protocol.md#streams */
#include "mux/mux_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- birth and death ---- */

static ee_status check_options(eei_mux_options *o, ee_error *err) {
    if (o->window == 0) o->window = EEI_STREAM_WINDOW;
    if (o->window_max == 0) o->window_max = EEI_STREAM_WINDOW_MAX;
    if (o->streams_max == 0) o->streams_max = EEI_STREAMS_MAX;
    if (o->ping_idle_ms == 0) o->ping_idle_ms = EEI_PING_IDLE_MS;
    if (o->dead_ms == 0) o->dead_ms = EEI_DEAD_MS;
    if (o->window_max > EEI_STREAM_WINDOW_MAX || o->window > o->window_max)
        return eei_fail(err, EE_E_INVALID, "stream window %u may open to %u, limit %u", o->window, o->window_max, EEI_STREAM_WINDOW_MAX);
    if (o->ping_idle_ms >= o->dead_ms)
        return eei_fail(err, EE_E_INVALID, "ping after %u ms is not before the end at %u ms", o->ping_idle_ms, o->dead_ms);
    return EE_OK;
}

ee_status eei_mux_new(const eei_mux_options *options, uint64_t now_ms, eei_mux **out, ee_error *err) {
    eei_mux_options filled = options ? *options : (eei_mux_options){0};
    ee_status st;

    *out = NULL;
    st = check_options(&filled, err);
    if (st) return st;
    eei_mux *mux = eei_calloc(1, sizeof *mux);
    if (!mux) return eei_nomem(err);
    mux->options = filled;
    mux->now_ms = mux->received_ms = mux->pinged_ms = now_ms;
    mux->next_id = filled.dialed ? 1 : 2;
    mux_link *const lists[] = {&mux->streams,  &mux->control,   &mux->control_streams, &mux->sparse,
                               &mux->bulk_now, &mux->bulk_next, &mux->events};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) mux_link_init(lists[i]);
    *out = mux;
    return EE_OK;
}

void eei_mux_free(eei_mux *mux) {
    if (!mux) return;
    mux->wake = NULL;
    while (mux_linked(&mux->streams)) {
        eei_stream *stream = mux_owner(mux->streams.next, eei_stream, all);
        if (stream->twin) {
            mux_wake(stream->twin->mux);
            mux_stream_kill(stream->twin, true, true, eei_span_text("the connection behind the relay ended"));
        }
        mux_stream_destroy(stream);
    }
    while (mux_linked(&mux->control)) {
        mux_control_frame *frame = mux_owner(mux->control.next, mux_control_frame, link);
        mux_unlink(&frame->link);
        eei_free(frame);
    }
    while (mux_linked(&mux->events)) {
        mux_event_node *node = mux_owner(mux->events.next, mux_event_node, link);
        mux_unlink(&node->link);
        eei_free(mux_owner(node, mux_control_event, node));
    }
    eei_free(mux->delivered);
    eei_free(mux);
}

void eei_mux_set_wake(eei_mux *mux, void (*wake)(void *user), void *user) {
    mux->wake = wake;
    mux->wake_user = user;
}

void mux_wake(eei_mux *mux) {
    if (mux->wake) mux->wake(mux->wake_user);
}

static void advance(eei_mux *mux, uint64_t now_ms) {
    if (now_ms > mux->now_ms) mux->now_ms = now_ms; /* a clock that steps back counts as standing still (threat B13) */
}

/* ---- ids ---- */

bool mux_id_is_ours(const eei_mux *mux, uint32_t id) { return (id & 1u) == (mux->options.dialed ? 1u : 0u); }

mux_table *mux_table_of(eei_mux *mux, uint32_t id) { return mux_id_is_ours(mux, id) ? &mux->ours : &mux->theirs; }

static bool was_opened(const eei_mux *mux, uint32_t id) {
    if (!mux_id_is_ours(mux, id)) return id <= mux->peer_id;
    return mux->next_id == 0 || id < mux->next_id;
}

/* ---- control frames to send ---- */

static ee_status queue_control(eei_mux *mux, const eei_frame *frame, bool refusal, ee_error *err) {
    size_t len = EEI_FRAME_HEADER_BYTES + frame->payload.len;
    mux_control_frame *queued = eei_malloc(sizeof *queued + len);

    if (!queued) return eei_nomem(err);
    mux_link_init(&queued->link);
    queued->len = len;
    queued->refusal = refusal;
    eei_frame_header(queued->bytes, frame->type, frame->flags, frame->stream, (uint32_t)frame->payload.len);
    if (frame->payload.len > 0) memcpy(queued->bytes + EEI_FRAME_HEADER_BYTES, frame->payload.data, frame->payload.len);
    mux_link_last(&mux->control, &queued->link);
    if (refusal)
        mux->refusals++;
    else
        mux->control_bytes += len;
    return EE_OK;
}

ee_status eei_mux_send_control(eei_mux *mux, uint8_t type, uint16_t flags, ee_span payload, ee_error *err) {
    const eei_frame frame = {type, flags, 0, payload};

    if (type >= EEI_FRAME_PING && type <= EEI_FRAME_RESET)
        return eei_fail(err, EE_E_INVALID, "%s is the mux's own to send", eei_frame_name(type));
    if (payload.len > EEI_FRAME_PAYLOAD_MAX)
        return eei_fail(err, EE_E_LIMIT, "%s has %zu bytes, limit %u", eei_frame_name(type), payload.len, EEI_FRAME_PAYLOAD_MAX);
    if (mux->control_bytes + payload.len + EEI_FRAME_HEADER_BYTES > MUX_CONTROL_QUEUE_MAX)
        return eei_fail(err, EE_E_LIMIT, "%zu bytes of control frames wait to be sent, limit %u: the peer does not read",
                        mux->control_bytes, MUX_CONTROL_QUEUE_MAX);
    return queue_control(mux, &frame, false, err);
}

/* ---- frames of the connection ---- */

static ee_status on_ping(eei_mux *mux, const eei_frame *frame, ee_error *err) {
    if (mux->pongs_count == MUX_PONGS_MAX) return eei_fail(err, EE_E_LIMIT, "peer sent a PING while %u wait for their PONG", MUX_PONGS_MAX);
    memcpy(mux->pongs[mux->pongs_count++], frame->payload.data, 8);
    return EE_OK;
}

/* A PONG that answers nothing we asked is ignored: it must not forge a round trip (threat B7). */
static void on_pong(eei_mux *mux, const eei_frame *frame) {
    eei_reader r = eei_reader_init(frame->payload);

    if (eei_read_u64be(&r) != mux->ping_value || !mux->ping_running) return;
    uint64_t sample_ms = mux->now_ms - mux->ping_sent_ms;
    if (sample_ms == 0) sample_ms = 1;
    if (sample_ms > mux->options.dead_ms) sample_ms = mux->options.dead_ms;
    mux->ping_running = false;
    mux->rtt_at_ms = mux->now_ms;
    mux->rtt_ms = mux->rtt_ms == 0 ? (uint32_t)sample_ms : (uint32_t)((7u * (uint64_t)mux->rtt_ms + sample_ms + 4u) / 8u);
}

static ee_status hand_up(eei_mux *mux, const eei_frame *frame, ee_error *err) {
    size_t cost = sizeof(mux_control_event) + frame->payload.len;

    if (mux->control_event_bytes + cost > MUX_CONTROL_EVENTS_MAX)
        return eei_fail(err, EE_E_LIMIT, "%zu bytes of control frames were not taken yet, limit %u", mux->control_event_bytes,
                        MUX_CONTROL_EVENTS_MAX);
    mux_control_event *event = eei_malloc(cost);
    if (!event) return eei_nomem(err);
    mux_link_init(&event->node.link);
    event->node.stream = NULL;
    event->type = frame->type;
    event->flags = frame->flags;
    event->len = frame->payload.len;
    if (event->len > 0) memcpy(event->bytes, frame->payload.data, event->len);
    mux->control_event_bytes += cost;
    mux_link_last(&mux->events, &event->node.link);
    return EE_OK;
}

static ee_status on_connection_frame(eei_mux *mux, const eei_frame *frame, ee_error *err) {
    if (frame->type == EEI_FRAME_PING || frame->type == EEI_FRAME_PONG) {
        if (frame->payload.len != 8)
            return eei_fail(err, EE_E_MALFORMED, "%s has %zu bytes, expected 8", eei_frame_name(frame->type), frame->payload.len);
        if (frame->type == EEI_FRAME_PING) return on_ping(mux, frame, err);
        on_pong(mux, frame);
        return EE_OK;
    }
    if (frame->type >= EEI_FRAME_OPEN && frame->type <= EEI_FRAME_RESET)
        return eei_fail(err, EE_E_MALFORMED, "%s on stream 0, which is the connection", eei_frame_name(frame->type));
    return hand_up(mux, frame, err);
}

/* ---- OPEN ---- */

static ee_status refuse_open(eei_mux *mux, uint32_t id, const char *reason, ee_error *err) {
    const eei_frame frame = {EEI_FRAME_RESET, 0, id, eei_span_text(reason)};

    if (mux->refusals >= MUX_REFUSALS_MAX)
        return eei_fail(err, EE_E_LIMIT, "peer opens streams faster than it reads that %u were refused", MUX_REFUSALS_MAX);
    return queue_control(mux, &frame, true, err);
}

static ee_status accept_open(eei_mux *mux, uint32_t id, uint32_t credit, ee_span payload, ee_error *err) {
    eei_stream *stream = mux_stream_new(mux, id, payload);

    if (!stream) return refuse_open(mux, id, "out of memory", err);
    stream->credit = credit;
    stream->window = mux->options.window > EEI_STREAM_WINDOW ? mux->options.window : EEI_STREAM_WINDOW;
    mux->windows += stream->window;
    stream->granted = EEI_STREAM_WINDOW; /* what the opener counted on */
    stream->grant_unsent = stream->window - EEI_STREAM_WINDOW;
    if (stream->grant_unsent > 0) mux_schedule_control(stream);
    mux_event_add(stream, EEI_MUX_OPENED);
    return EE_OK;
}

static ee_status on_open(eei_mux *mux, const eei_frame *frame, ee_error *err) {
    eei_reader r = eei_reader_init(frame->payload);
    uint32_t credit = eei_read_u32be(&r), id = frame->stream;
    ee_span payload = eei_read_span(&r, eei_reader_left(&r));
    char reason[MUX_REASON_BYTES_MAX];

    if (mux_id_is_ours(mux, id)) return eei_fail(err, EE_E_MALFORMED, "peer opened stream %u, an id of ours", id);
    if (id <= mux->peer_id) return eei_fail(err, EE_E_MALFORMED, "peer opened stream %u after %u: ids only rise", id, mux->peer_id);
    if (eei_reader_failed(&r)) return eei_fail(err, EE_E_MALFORMED, "OPEN of stream %u has %zu bytes, needs 4", id, frame->payload.len);
    mux->peer_id = id;
    if (mux->streams_count >= mux->options.streams_max)
        snprintf(reason, sizeof reason, "refused: %zu streams are open, limit %u", mux->streams_count, mux->options.streams_max);
    else if (payload.len > MUX_OPEN_PAYLOAD_MAX)
        snprintf(reason, sizeof reason, "refused: OPEN payload is %zu bytes, limit %u", payload.len, MUX_OPEN_PAYLOAD_MAX);
    else if (credit > EEI_STREAM_WINDOW_MAX)
        snprintf(reason, sizeof reason, "refused: window is %u, limit %u", credit, EEI_STREAM_WINDOW_MAX);
    else
        return accept_open(mux, id, credit, payload, err);
    return refuse_open(mux, id, reason, err);
}

/* ---- frames in ---- */

static ee_status on_frame(eei_mux *mux, const eei_frame *frame, ee_error *err) {
    eei_stream *stream;

    if (frame->stream == 0) return on_connection_frame(mux, frame, err);
    if (frame->type == EEI_FRAME_OPEN) return on_open(mux, frame, err);
    stream = mux_table_find(mux_table_of(mux, frame->stream), frame->stream);
    if (stream && !stream->open_unsent) return mux_stream_frame(stream, frame, err);
    /* Late frames of a stream that is over are quiet: its sender has not heard yet. A stream nobody has opened has no sender. */
    if (!stream && was_opened(mux, frame->stream)) return EE_OK;
    return eei_fail(err, EE_E_MALFORMED, "%s (type %u) on stream %u, which was never opened", eei_frame_name(frame->type), frame->type,
                    frame->stream);
}

static void release_delivered(eei_mux *mux) {
    eei_free(mux->delivered);
    mux->delivered = NULL;
}

static ee_status receive(eei_mux *mux, ee_span message, ee_error *err) {
    eei_reader r = eei_reader_init(message);

    if (message.len > EEI_WS_MESSAGE_MAX)
        return eei_fail(err, EE_E_LIMIT, "message is %zu bytes, limit %u", message.len, EEI_WS_MESSAGE_MAX);
    while (eei_reader_left(&r) > 0) {
        eei_frame frame;
        ee_status st = eei_frame_decode(&r, EEI_FRAME_PAYLOAD_MAX, &frame, err);
        if (st == EE_E_AGAIN) return eei_fail(err, EE_E_MALFORMED, "message ends %zu bytes into a frame", eei_reader_left(&r));
        if (st) return st;
        mux->stats.frames_in++;
        st = on_frame(mux, &frame, err);
        if (st) return st;
    }
    return EE_OK;
}

ee_status eei_mux_receive(eei_mux *mux, ee_span message, uint64_t now_ms, ee_error *err) {
    ee_status st;

    advance(mux, now_ms);
    release_delivered(mux);
    if (mux->failed) return eei_fail(err, EE_E_CLOSED, "the connection has failed before");
    if (message.len > 0) mux->received_ms = mux->now_ms;
    mux->stats.bytes_in += message.len;
    st = receive(mux, message, err);
    mux->failed = st != EE_OK;
    return st;
}

/* ---- liveness ---- */

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }

static uint64_t plus(uint64_t at_ms, uint32_t ms) { return at_ms > UINT64_MAX - ms ? UINT64_MAX : at_ms + ms; }

static uint64_t ping_due_ms(const eei_mux *mux) { return plus(later(mux->received_ms, mux->pinged_ms), mux->options.ping_idle_ms); }

static uint64_t dead_at_ms(const eei_mux *mux) { return plus(mux->received_ms, mux->options.dead_ms); }

uint64_t eei_mux_deadline_ms(const eei_mux *mux) {
    if (mux->failed) return UINT64_MAX;
    return ping_due_ms(mux) < dead_at_ms(mux) ? ping_due_ms(mux) : dead_at_ms(mux);
}

ee_status eei_mux_tick(eei_mux *mux, uint64_t now_ms, ee_error *err) {
    advance(mux, now_ms);
    if (mux->failed) return eei_fail(err, EE_E_CLOSED, "the connection has failed before");
    if (mux->now_ms >= dead_at_ms(mux)) {
        mux->failed = true;
        return eei_fail(err, EE_E_TIMEOUT, "nothing came from the peer for %llu ms, limit %u",
                        (unsigned long long)(mux->now_ms - mux->received_ms), mux->options.dead_ms);
    }
    if (mux->now_ms >= ping_due_ms(mux)) {
        mux->ping_unsent = true;
        mux->pinged_ms = mux->now_ms;
    }
    return EE_OK;
}

void mux_want_rtt(eei_mux *mux) {
    bool fresh = mux->rtt_ms != 0 && mux->now_ms - mux->rtt_at_ms < MUX_RTT_FRESH_MS;
    if (!fresh && !mux->ping_running) mux->ping_unsent = true;
}

uint32_t eei_mux_rtt_ms(const eei_mux *mux) { return mux->rtt_ms; }

/* ---- events ---- */

void mux_event_add(eei_stream *stream, eei_mux_event_kind kind) {
    stream->events |= EVENT_BIT(kind);
    if (!mux_linked(&stream->event.link)) mux_link_last(&stream->mux->events, &stream->event.link);
}

void mux_event_drop(eei_stream *stream, uint8_t keep_bits) {
    stream->events &= keep_bits;
    if (stream->events == 0) mux_unlink(&stream->event.link);
}

static void take_control_event(eei_mux *mux, mux_control_event *event, eei_mux_event *out) {
    mux_unlink(&event->node.link);
    mux->control_event_bytes -= sizeof *event + event->len;
    mux->delivered = event;
    out->kind = EEI_MUX_CONTROL;
    out->frame = (eei_frame){event->type, event->flags, 0, {event->bytes, event->len}};
}

static void take_stream_event(eei_mux *mux, eei_stream *stream, eei_mux_event *out) {
    eei_mux_event_kind kind = EEI_MUX_OPENED;

    while (!(stream->events & EVENT_BIT(kind))) kind++;
    mux_event_drop(stream, (uint8_t)(stream->events & ~EVENT_BIT(kind)));
    out->kind = kind;
    out->stream = stream;
    out->frame.stream = stream->id;
    if (kind == EEI_MUX_OPENED) {
        out->frame.type = EEI_FRAME_OPEN;
        out->frame.payload = eei_span(stream->payload, stream->payload_len);
        mux->delivered = eei_take(&stream->payload);
        stream->payload_len = 0;
    } else if (kind == EEI_MUX_RESET) {
        out->frame.type = EEI_FRAME_RESET;
        mux->delivered = stream->reset_unsent ? eei_strdup(stream->reason ? stream->reason : "") : eei_take(&stream->reason);
        out->frame.payload = eei_span_text(mux->delivered);
    }
}

eei_mux_event_kind eei_mux_next_event(eei_mux *mux, eei_mux_event *out) {
    *out = (eei_mux_event){0};
    release_delivered(mux);
    if (!mux_linked(&mux->events)) return EEI_MUX_NONE;
    mux_event_node *node = mux_owner(mux->events.next, mux_event_node, link);
    if (node->stream)
        take_stream_event(mux, node->stream, out);
    else
        take_control_event(mux, mux_owner(node, mux_control_event, node), out);
    return out->kind;
}

void eei_mux_get_stats(const eei_mux *mux, eei_mux_stats *out) {
    *out = mux->stats;
    out->streams = mux->streams_count;
    out->buffered = mux->in_bytes + mux->out_bytes;
}
