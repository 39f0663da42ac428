/* mux_pair.c - see mux_pair.h. Not for the library. Called by tests of the mux. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "support/mux_pair.h"

#include "base/alloc.h"

static void check(ee_status st, const ee_error *err) {
    if (st) fail_msg("status %d: %s", (int)st, err->message);
}

void mux_pair_init(mux_pair *pair, const eei_mux_options *dialer, const eei_mux_options *listener) {
    eei_mux_options a = dialer ? *dialer : (eei_mux_options){0}, b = listener ? *listener : (eei_mux_options){0};
    ee_error err = {0};

    *pair = (mux_pair){NULL, NULL, 1000};
    a.dialed = true;
    b.dialed = false;
    check(eei_mux_new(&a, pair->now_ms, &pair->dialer, &err), &err);
    check(eei_mux_new(&b, pair->now_ms, &pair->listener, &err), &err);
}

void mux_pair_clear(mux_pair *pair) {
    eei_mux_free(pair->dialer);
    eei_mux_free(pair->listener);
    *pair = (mux_pair){NULL, NULL, 0};
}

size_t mux_move(eei_mux *from, eei_mux *to, size_t max, uint64_t now_ms) {
    eei_buf out = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX);
    ee_error err = {0};
    size_t moved;

    check(eei_mux_transmit(from, &out, max, now_ms, &err), &err);
    moved = out.len;
    if (moved > 0) check(eei_mux_receive(to, eei_buf_span(&out), now_ms, &err), &err);
    eei_buf_clear(&out);
    return moved;
}

void mux_pair_settle(mux_pair *pair) {
    while (mux_move(pair->dialer, pair->listener, EEI_WS_MESSAGE_MAX, pair->now_ms) +
           mux_move(pair->listener, pair->dialer, EEI_WS_MESSAGE_MAX, pair->now_ms)) {
    }
}

void mux_line_put(mux_line *line, eei_mux *from, uint64_t now_ms, uint64_t delay_ms, size_t max) {
    eei_buf out = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX);
    ee_error err = {0};

    for (size_t left = max; left > 1000 && eei_mux_wants_transmit(from);) {
        eei_buf_reset(&out);
        check(eei_mux_transmit(from, &out, left < 65536 ? left : 65536, now_ms, &err), &err);
        if (out.len == 0) break;
        assert_true(line->count < MUX_LINE_MAX);
        size_t i = (line->first + line->count++) % MUX_LINE_MAX;
        line->at[i].data = eei_memdup(out.data, out.len);
        line->at[i].len = out.len;
        line->at[i].due_ms = now_ms + delay_ms;
        left -= out.len < left ? out.len : left;
    }
    eei_buf_clear(&out);
}

void mux_line_get(mux_line *line, eei_mux *to, uint64_t now_ms) {
    ee_error err = {0};

    while (line->count > 0 && line->at[line->first].due_ms <= now_ms) {
        if (to) check(eei_mux_receive(to, eei_span(line->at[line->first].data, line->at[line->first].len), now_ms, &err), &err);
        eei_free(line->at[line->first].data);
        line->first = (line->first + 1) % MUX_LINE_MAX;
        line->count--;
    }
}

ee_status mux_inject(eei_mux *mux, uint8_t type, uint16_t flags, uint32_t stream, ee_span payload, uint64_t now_ms, ee_error *err) {
    eei_buf message = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX + EEI_WS_MESSAGE_MAX);
    ee_error encode = {0};
    ee_status st;

    check(eei_frame_encode(&message, type, flags, stream, payload), &encode);
    st = eei_mux_receive(mux, eei_buf_span(&message), now_ms, err);
    eei_buf_clear(&message);
    return st;
}

ee_status mux_inject_open(eei_mux *mux, uint32_t stream, uint32_t window, const char *payload, ee_error *err) {
    eei_buf body = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX);
    const uint8_t be[4] = {(uint8_t)(window >> 24), (uint8_t)(window >> 16), (uint8_t)(window >> 8), (uint8_t)window};
    ee_error full = {0};
    ee_status st;

    check(eei_buf_append(&body, be, sizeof be), &full);
    check(eei_buf_append_text(&body, payload), &full);
    st = mux_inject(mux, EEI_FRAME_OPEN, 0, stream, eei_buf_span(&body), 0, err);
    eei_buf_clear(&body);
    return st;
}

ee_status mux_inject_window(eei_mux *mux, uint32_t stream, uint32_t bytes, ee_error *err) {
    const uint8_t be[4] = {(uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8), (uint8_t)bytes};
    return mux_inject(mux, EEI_FRAME_WINDOW, 0, stream, eei_span(be, sizeof be), 0, err);
}

ee_status mux_inject_data(eei_mux *mux, uint32_t stream, size_t len, ee_error *err) {
    static const uint8_t zeros[EEI_FRAME_PAYLOAD_MAX + 1];
    assert_true(len <= sizeof zeros);
    return mux_inject(mux, EEI_FRAME_DATA, 0, stream, eei_span(zeros, len), 0, err);
}

void mux_sent_take(mux_sent *sent, eei_mux *mux, size_t max, uint64_t now_ms) {
    ee_error err = {0};

    if (sent->bytes.max == 0) sent->bytes = (eei_buf)EEI_BUF_INIT(64u << 20);
    eei_buf_reset(&sent->bytes);
    sent->count = 0;
    check(eei_mux_transmit(mux, &sent->bytes, max, now_ms, &err), &err);
    eei_reader r = eei_reader_init(eei_buf_span(&sent->bytes));
    while (eei_reader_left(&r) > 0) {
        assert_true(sent->count < MUX_SENT_MAX);
        check(eei_frame_decode(&r, EEI_FRAME_PAYLOAD_MAX, &sent->frames[sent->count++], &err), &err);
    }
}

void mux_sent_take_all(mux_sent *sent, eei_mux *mux, uint64_t now_ms) {
    ee_error err = {0};
    size_t before;

    if (sent->bytes.max == 0) sent->bytes = (eei_buf)EEI_BUF_INIT(64u << 20);
    eei_buf_reset(&sent->bytes);
    sent->count = 0;
    do {
        before = sent->bytes.len;
        check(eei_mux_transmit(mux, &sent->bytes, EEI_WS_MESSAGE_MAX, now_ms, &err), &err);
    } while (sent->bytes.len > before);
    eei_reader r = eei_reader_init(eei_buf_span(&sent->bytes));
    while (eei_reader_left(&r) > 0) {
        assert_true(sent->count < MUX_SENT_MAX);
        check(eei_frame_decode(&r, EEI_FRAME_PAYLOAD_MAX, &sent->frames[sent->count++], &err), &err);
    }
}

const eei_frame *mux_sent_find(const mux_sent *sent, uint8_t type, uint32_t stream) {
    for (size_t i = 0; i < sent->count; i++)
        if (sent->frames[i].type == type && sent->frames[i].stream == stream) return &sent->frames[i];
    return NULL;
}

void mux_sent_clear(mux_sent *sent) { eei_buf_clear(&sent->bytes); }

eei_stream *mux_expect(eei_mux *mux, eei_mux_event_kind kind, eei_mux_event *out) {
    eei_mux_event event;
    eei_mux_event_kind got = eei_mux_next_event(mux, &event);

    if (got != kind) fail_msg("event %d, expected %d", (int)got, (int)kind);
    if (out) *out = event;
    return event.stream;
}

void mux_expect_none(eei_mux *mux) { mux_expect(mux, EEI_MUX_NONE, NULL); }
