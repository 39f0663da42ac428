/* test_mux.c - one connection: streams, credit, fairness, liveness, and what a peer that breaks the rules gets.
 * Relays are in test_mux_relay.c, random histories in property/test_mux_random.c. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "mux/mux_internal.h"
#include "support/mux_pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t pattern[8u << 20]; /* bytes whose place can be told */
static mux_sent sent;

static int group_setup(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof pattern; i++) pattern[i] = (uint8_t)(i * 7 + (i >> 8) * 13 + (i >> 16));
    return 0;
}

static int group_teardown(void **state) {
    (void)state;
    mux_sent_clear(&sent);
    return 0;
}

static eei_mux *alone(const eei_mux_options *options) {
    eei_mux *mux = NULL;
    ee_error err = {0};
    assert_int_equal(eei_mux_new(options, 0, &mux, &err), EE_OK);
    return mux;
}

static eei_stream *open_on(eei_mux *mux, const char *payload) {
    eei_stream *stream = NULL;
    ee_error err = {0};
    assert_int_equal(eei_mux_open(mux, eei_span_text(payload), &stream, &err), EE_OK);
    return stream;
}

/* A listener that has accepted stream 1. */
static eei_mux *accepted(const eei_mux_options *options, uint32_t window, eei_stream **stream) {
    eei_mux *mux = alone(options);
    ee_error err = {0};
    assert_int_equal(mux_inject_open(mux, 1, window, "hello", &err), EE_OK);
    *stream = mux_expect(mux, EEI_MUX_OPENED, NULL);
    return mux;
}

static size_t read_all(eei_stream *stream) {
    size_t total = 0;
    for (ee_span front; (front = eei_stream_peek(stream)).len > 0;) {
        total += front.len;
        eei_stream_consume(stream, front.len);
    }
    return total;
}

/* ---- ordinary life ---- */

static void test_open_data_close(void **state) {
    (void)state;
    mux_pair pair;
    eei_mux_event event;

    mux_pair_init(&pair, NULL, NULL);
    assert_false(eei_mux_wants_transmit(pair.dialer));
    eei_stream *a = open_on(pair.dialer, "payload");
    assert_int_equal(eei_stream_id(a), 1);
    eei_stream_set_user(a, &pair);
    assert_ptr_equal(eei_stream_user(a), &pair);
    assert_int_equal(eei_stream_write(a, eei_span(pattern, 40000)), 40000); /* 0-RTT */
    eei_stream_close(a);
    assert_int_equal(eei_stream_write(a, eei_span(pattern, 1)), 0);
    assert_true(eei_mux_wants_transmit(pair.dialer));
    mux_move(pair.dialer, pair.listener, EEI_WS_MESSAGE_MAX, pair.now_ms); /* OPEN, data and CLOSE in one message */
    assert_false(eei_mux_wants_transmit(pair.dialer));

    eei_stream *b = mux_expect(pair.listener, EEI_MUX_OPENED, &event);
    assert_true(eei_span_equal(event.frame.payload, eei_span_text("payload")));
    assert_int_equal(event.frame.stream, 1);
    assert_ptr_equal(mux_expect(pair.listener, EEI_MUX_READABLE, NULL), b);
    mux_expect_none(pair.listener);
    eei_buf got = EEI_BUF_INIT(1u << 20);
    for (ee_span front; (front = eei_stream_peek(b)).len > 0;) {
        assert_false(eei_stream_at_end(b));
        assert_int_equal(eei_buf_append_span(&got, front), EE_OK);
        eei_stream_consume(b, front.len);
    }
    assert_true(eei_span_equal(eei_buf_span(&got), eei_span(pattern, 40000)));
    eei_buf_clear(&got);
    assert_true(eei_stream_at_end(b));

    assert_int_equal(eei_stream_write(b, eei_span_text("answer")), 6); /* the other direction is still open */
    eei_stream_close(b);
    eei_stream_free(b); /* finished both ways: what is queued still goes out */
    mux_pair_settle(&pair);
    assert_ptr_equal(mux_expect(pair.dialer, EEI_MUX_READABLE, NULL), a);
    mux_expect_none(pair.dialer);
    assert_true(eei_span_equal(eei_stream_peek(a), eei_span_text("answer")));
    eei_stream_consume(a, 6);
    assert_true(eei_stream_at_end(a));
    eei_stream_free(a);
    mux_pair_settle(&pair);
    mux_expect_none(pair.listener);

    eei_mux_stats stats;
    eei_mux_get_stats(pair.listener, &stats);
    assert_int_equal(stats.streams, 0);
    assert_int_equal(stats.buffered, 0);
    assert_int_equal(stats.streams_opened, 1);
    eei_mux_get_stats(pair.dialer, &stats);
    assert_int_equal(stats.streams, 0);
    mux_pair_clear(&pair);
}

static void test_ids_rise_by_side(void **state) {
    (void)state;
    mux_pair pair;

    mux_pair_init(&pair, NULL, NULL);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(eei_stream_id(open_on(pair.dialer, "")), 2 * i + 1);
        assert_int_equal(eei_stream_id(open_on(pair.listener, "")), 2 * i + 2);
    }
    mux_pair_settle(&pair);
    for (int i = 0; i < 5; i++) {
        mux_expect(pair.dialer, EEI_MUX_OPENED, NULL);
        mux_expect(pair.listener, EEI_MUX_OPENED, NULL);
    }
    mux_pair_clear(&pair);
}

static void test_ids_run_out(void **state) {
    (void)state;
    const struct {
        bool dialed;
        uint32_t last;
    } cases[] = {{true, UINT32_MAX}, {false, UINT32_MAX - 1}};
    for (size_t i = 0; i < 2; i++) {
        eei_mux *mux = alone(&(eei_mux_options){.dialed = cases[i].dialed});
        eei_stream *stream = NULL;
        ee_error err = {0};
        mux->next_id = cases[i].last;
        assert_int_equal(eei_stream_id(open_on(mux, "")), cases[i].last);
        assert_int_equal(eei_mux_open(mux, eei_span("", 0), &stream, &err), EE_E_LIMIT);
        assert_null(stream);
        mux_sent_take_all(&sent, mux, 0);
        assert_int_equal(mux_inject_data(mux, cases[i].last, 1, &err), EE_OK); /* it is there, and so are the ids before it */
        assert_int_equal(mux_inject_data(mux, cases[i].last - 2, 1, &err), EE_OK);
        eei_mux_free(mux);
    }
}

static void test_writable_comes_after_a_short_write(void **state) {
    (void)state;
    mux_pair pair;

    mux_pair_init(&pair, NULL, NULL);
    eei_stream *a = open_on(pair.dialer, "");
    assert_int_equal(eei_stream_writable(a), EEI_STREAM_WINDOW);
    assert_int_equal(eei_stream_write(a, eei_span(pattern, EEI_STREAM_WINDOW + 1)), EEI_STREAM_WINDOW);
    assert_int_equal(eei_stream_writable(a), 0);
    mux_pair_settle(&pair);
    mux_expect_none(pair.dialer); /* sent, but no credit */
    eei_stream *b = mux_expect(pair.listener, EEI_MUX_OPENED, NULL);
    mux_expect(pair.listener, EEI_MUX_READABLE, NULL);
    size_t first = EEI_STREAM_WINDOW / 4 - 1;
    for (size_t left = first; left > 0;) { /* less than a quarter is not worth a WINDOW */
        size_t n = eei_stream_peek(b).len < left ? eei_stream_peek(b).len : left;
        eei_stream_consume(b, n);
        left -= n;
    }
    mux_pair_settle(&pair);
    mux_expect_none(pair.dialer);
    eei_stream_consume(b, 1);
    mux_pair_settle(&pair);
    assert_ptr_equal(mux_expect(pair.dialer, EEI_MUX_WRITABLE, NULL), a);
    assert_int_equal(eei_stream_writable(a), EEI_STREAM_WINDOW / 4);
    mux_expect_none(pair.dialer);
    assert_int_equal(eei_stream_write(a, eei_span(pattern, 10)), 10); /* not short: nobody waits */
    eei_stream_consume(b, eei_stream_peek(b).len);
    while (eei_stream_peek(b).len > 0) eei_stream_consume(b, eei_stream_peek(b).len);
    mux_pair_settle(&pair);
    assert_true(eei_stream_writable(a) > EEI_STREAM_WINDOW / 2);
    mux_expect_none(pair.dialer);
    mux_pair_clear(&pair);
}

static void test_send_queue_is_bounded(void **state) {
    (void)state;
    eei_stream *stream;
    eei_mux *mux = accepted(NULL, EEI_STREAM_WINDOW_MAX, &stream);

    assert_int_equal(eei_stream_write(stream, eei_span(pattern, sizeof pattern)), MUX_SEND_QUEUE_MAX);
    assert_int_equal(eei_stream_writable(stream), 0);
    mux_sent_take(&sent, mux, EEI_WS_MESSAGE_MAX, 0);
    assert_int_equal(mux_expect(mux, EEI_MUX_WRITABLE, NULL) == stream, 1);
    assert_true(eei_stream_writable(stream) >= 7 * EEI_DATA_PAYLOAD_MAX);
    eei_mux_free(mux);
}

static void test_events_of_freed_streams_are_dropped(void **state) {
    (void)state;
    mux_pair pair;
    eei_mux_event event;

    mux_pair_init(&pair, NULL, NULL);
    for (int i = 0; i < 3; i++) eei_stream_write(open_on(pair.dialer, "text"), eei_span_text("data"));
    mux_pair_settle(&pair);
    mux_expect(pair.listener, EEI_MUX_OPENED, &event);
    eei_stream_free(event.stream);                                           /* its READABLE waits */
    assert_true(eei_span_equal(event.frame.payload, eei_span_text("text"))); /* borrowed until the next event, not until the stream's end */
    eei_stream *second = mux_expect(pair.listener, EEI_MUX_OPENED, NULL);
    assert_ptr_equal(mux_expect(pair.listener, EEI_MUX_READABLE, NULL), second);
    eei_stream_free(second);
    mux_expect(pair.listener, EEI_MUX_OPENED, NULL);
    mux_expect(pair.listener, EEI_MUX_READABLE, NULL);
    mux_expect_none(pair.listener);
    mux_pair_settle(&pair);
    for (int i = 0; i < 2; i++) {
        eei_stream *reset = mux_expect(pair.dialer, EEI_MUX_RESET, &event);
        assert_true(eei_span_equal(event.frame.payload, eei_span_text("the stream was let go")));
        eei_stream_free(reset);
    }
    mux_expect_none(pair.dialer);
    mux_pair_clear(&pair);
}

static void test_reset_tells_its_reason(void **state) {
    (void)state;
    static const struct {
        const char *name, *reason, *want;
    } cases[] = {
        {"plain", "no such app", "no such app"},
        {"none", "", ""},
        {"null", NULL, ""},
        {"cut at a character", NULL, NULL}, /* made below: 199 letters and a two-byte one */
        {"not text", "\xff\xfe", "the peer's reason is not text"},
    };
    char long_reason[256] = "", cut[256] = "";
    memset(long_reason, 'x', 199);
    memcpy(long_reason + 199, "\xc3\xa9\xc3\xa9", 5);
    memset(cut, 'x', 199);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mux_pair pair;
        eei_mux_event event;
        bool is_cut = cases[i].want == NULL;
        print_message("%s\n", cases[i].name);
        mux_pair_init(&pair, NULL, NULL);
        eei_stream *a = open_on(pair.dialer, "");
        mux_pair_settle(&pair);
        eei_stream *b = mux_expect(pair.listener, EEI_MUX_OPENED, NULL);
        eei_stream_write(a, eei_span(pattern, 1000));
        eei_stream_reset(a, is_cut ? long_reason : cases[i].reason);
        eei_stream_reset(a, "twice");
        assert_int_equal(eei_stream_write(a, eei_span(pattern, 1)), 0);
        mux_pair_settle(&pair);
        assert_ptr_equal(mux_expect(pair.listener, EEI_MUX_RESET, &event), b);
        assert_true(eei_span_equal(event.frame.payload, eei_span_text(is_cut ? cut : cases[i].want)));
        mux_expect_none(pair.listener);
        mux_expect_none(pair.dialer); /* who resets knows */
        eei_stream_free(a);
        eei_stream_free(b);
        mux_pair_clear(&pair);
    }
}

static void test_a_stream_reset_before_its_open_went_out_never_was(void **state) {
    (void)state;
    mux_pair pair;

    mux_pair_init(&pair, NULL, NULL);
    eei_stream *a = open_on(pair.dialer, "");
    eei_stream_free(a);
    mux_sent_take_all(&sent, pair.dialer, pair.now_ms);
    assert_int_equal(sent.count, 0);
    open_on(pair.dialer, "");
    mux_pair_settle(&pair);
    assert_int_equal(eei_stream_id(mux_expect(pair.listener, EEI_MUX_OPENED, NULL)), 3); /* ids may be skipped */
    mux_pair_clear(&pair);
}

static void test_control_frames_are_handed_up_in_order(void **state) {
    (void)state;
    mux_pair pair;
    eei_mux_event event;
    ee_error err = {0};

    mux_pair_init(&pair, NULL, NULL);
    assert_int_equal(eei_mux_send_control(pair.dialer, EEI_FRAME_HELLO, 0, eei_span_text("one"), &err), EE_OK);
    assert_int_equal(eei_mux_send_control(pair.dialer, 200, EEI_FRAME_CRITICAL, eei_span("", 0), &err), EE_OK);
    assert_int_equal(eei_mux_send_control(pair.dialer, EEI_FRAME_JOB, 7, eei_span(pattern, EEI_FRAME_PAYLOAD_MAX), &err), EE_OK);
    mux_pair_settle(&pair);
    assert_null(mux_expect(pair.listener, EEI_MUX_CONTROL, &event));
    assert_int_equal(event.frame.type, EEI_FRAME_HELLO);
    assert_true(eei_span_equal(event.frame.payload, eei_span_text("one")));
    mux_expect(pair.listener, EEI_MUX_CONTROL, &event); /* unknown and critical: the session judges */
    assert_int_equal(event.frame.type, 200);
    assert_int_equal(event.frame.flags, EEI_FRAME_CRITICAL);
    mux_expect(pair.listener, EEI_MUX_CONTROL, &event);
    assert_int_equal(event.frame.flags, 7);
    assert_true(eei_span_equal(event.frame.payload, eei_span(pattern, EEI_FRAME_PAYLOAD_MAX)));
    mux_expect_none(pair.listener);
    mux_pair_clear(&pair);
}

static void test_send_control_limits(void **state) {
    (void)state;
    eei_mux *mux = alone(NULL);
    ee_error err = {0};
    size_t queued = 0;

    for (uint8_t type = EEI_FRAME_PING; type <= EEI_FRAME_RESET; type++)
        assert_int_equal(eei_mux_send_control(mux, type, 0, eei_span("", 0), &err), EE_E_INVALID);
    assert_int_equal(eei_mux_send_control(mux, EEI_FRAME_JOB, 0, eei_span(pattern, EEI_FRAME_PAYLOAD_MAX + 1), &err), EE_E_LIMIT);
    while (eei_mux_send_control(mux, EEI_FRAME_JOB, 0, eei_span(pattern, 60000), &err) == EE_OK) queued++;
    assert_int_equal(err.status, EE_E_LIMIT);
    assert_int_equal(queued, MUX_CONTROL_QUEUE_MAX / (60000 + EEI_FRAME_HEADER_BYTES));
    mux_sent_take_all(&sent, mux, 0);
    assert_int_equal(sent.count, queued);
    assert_int_equal(eei_mux_send_control(mux, EEI_FRAME_JOB, 0, eei_span(pattern, 60000), &err), EE_OK);
    eei_mux_free(mux);
}

static void test_options(void **state) {
    (void)state;
    static const struct {
        const char *name;
        eei_mux_options options;
        ee_status want;
    } cases[] = {
        {"defaults", {0}, EE_OK},
        {"window at its limit", {.window = EEI_STREAM_WINDOW_MAX}, EE_OK},
        {"window over its limit", {.window = EEI_STREAM_WINDOW_MAX + 1, .window_max = EEI_STREAM_WINDOW_MAX + 1}, EE_E_INVALID},
        {"window over window_max", {.window = 2000, .window_max = 1999}, EE_E_INVALID},
        {"ping as late as the end", {.ping_idle_ms = 60000, .dead_ms = 60000}, EE_E_INVALID},
        {"ping before the end", {.ping_idle_ms = 59999, .dead_ms = 60000}, EE_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eei_mux *mux = NULL;
        ee_error err = {0};
        print_message("%s\n", cases[i].name);
        assert_int_equal(eei_mux_new(&cases[i].options, 0, &mux, &err), cases[i].want);
        assert_int_equal(mux != NULL, cases[i].want == EE_OK);
        eei_mux_free(mux);
    }
}

/* ---- a peer that breaks the rules ---- */

enum { OUTCOME_CONNECTION, OUTCOME_RESET, OUTCOME_QUIET };

/* Seen by a listener: stream 1 is open, 3 was opened and is over, 5 closed its direction, 7 we have closed, 2 we opened, 4 we are about to.
 */
static eei_mux *scene(void) {
    eei_mux *mux = alone(NULL);
    eei_mux_event event;
    eei_stream *streams[8] = {NULL};
    ee_error err = {0};

    for (uint32_t id = 1; id <= 7; id += 2) assert_int_equal(mux_inject_open(mux, id, 1000, "", &err), EE_OK);
    while (eei_mux_next_event(mux, &event)) streams[eei_stream_id(event.stream)] = event.stream;
    open_on(mux, "");
    eei_stream_free(streams[3]);
    assert_int_equal(mux_inject(mux, EEI_FRAME_CLOSE, 0, 5, eei_span("", 0), 0, &err), EE_OK);
    eei_stream_close(streams[7]);
    mux_sent_take_all(&sent, mux, 0);
    while (eei_mux_next_event(mux, &event)) {
    }
    open_on(mux, "");
    return mux;
}

static const struct {
    const char *name;
    uint8_t type;
    uint16_t flags;
    uint32_t stream;
    const char *hex_payload; /* NULL: `zeros` bytes of zero */
    size_t zeros;
    int outcome;
    const char *message;
    ee_status status;
} broken[] = {
    {"B7 DATA on a stream never opened", EEI_FRAME_DATA, 0, 9, NULL, 5, OUTCOME_CONNECTION, "never opened", EE_E_MALFORMED},
    {"B7 DATA on one of ours never opened", EEI_FRAME_DATA, 0, 6, NULL, 5, OUTCOME_CONNECTION, "never opened", EE_E_MALFORMED},
    {"B7 DATA on ours before its OPEN went out", EEI_FRAME_DATA, 0, 4, NULL, 5, OUTCOME_CONNECTION, "never opened", EE_E_MALFORMED},
    {"B7 WINDOW on a stream never opened", EEI_FRAME_WINDOW, 0, 9, "00000001", 0, OUTCOME_CONNECTION, "never opened", EE_E_MALFORMED},
    {"B7 RESET on a stream never opened", EEI_FRAME_RESET, 0, UINT32_MAX, NULL, 0, OUTCOME_CONNECTION, "never opened", EE_E_MALFORMED},
    {"DATA on an open stream", EEI_FRAME_DATA, 0, 1, NULL, 5, OUTCOME_QUIET, NULL, EE_OK},
    {"DATA on ours", EEI_FRAME_DATA, 0, 2, NULL, 5, OUTCOME_QUIET, NULL, EE_OK},
    {"late DATA", EEI_FRAME_DATA, 0, 3, NULL, 5, OUTCOME_QUIET, NULL, EE_OK},
    {"late WINDOW", EEI_FRAME_WINDOW, 0, 3, "00000001", 0, OUTCOME_QUIET, NULL, EE_OK},
    {"late CLOSE", EEI_FRAME_CLOSE, 0, 3, NULL, 0, OUTCOME_QUIET, NULL, EE_OK},
    {"late RESET", EEI_FRAME_RESET, 0, 3, NULL, 0, OUTCOME_QUIET, NULL, EE_OK},
    {"DATA after CLOSE", EEI_FRAME_DATA, 0, 5, NULL, 5, OUTCOME_RESET, "DATA (type 10) on a stream that is closed by the peer", EE_OK},
    {"CLOSE twice", EEI_FRAME_CLOSE, 0, 5, NULL, 0, OUTCOME_RESET, "CLOSE (type 12) on a stream that is closed by the peer", EE_OK},
    {"WINDOW after CLOSE", EEI_FRAME_WINDOW, 0, 5, "00000001", 0, OUTCOME_QUIET, NULL, EE_OK},
    {"DATA after our CLOSE", EEI_FRAME_DATA, 0, 7, NULL, 5, OUTCOME_QUIET, NULL, EE_OK},
    {"DATA at its largest", EEI_FRAME_DATA, 0, 1, NULL, EEI_DATA_PAYLOAD_MAX, OUTCOME_QUIET, NULL, EE_OK},
    {"DATA one byte larger", EEI_FRAME_DATA, 0, 1, NULL, EEI_DATA_PAYLOAD_MAX + 1, OUTCOME_RESET, "DATA has 16361 bytes, limit 16360",
     EE_OK},
    {"B2 frame over the limit", EEI_FRAME_DATA, 0, 1, NULL, EEI_FRAME_PAYLOAD_MAX + 1, OUTCOME_CONNECTION, "65537", EE_E_LIMIT},
    {"DATA of nothing", EEI_FRAME_DATA, 0, 1, NULL, 0, OUTCOME_QUIET, NULL, EE_OK},
    {"OPEN with an id of ours", EEI_FRAME_OPEN, 0, 8, "00000001", 0, OUTCOME_CONNECTION, "id of ours", EE_E_MALFORMED},
    {"OPEN of an id in use", EEI_FRAME_OPEN, 0, 1, "00000001", 0, OUTCOME_CONNECTION, "opened stream 1 after 7", EE_E_MALFORMED},
    {"OPEN of the last id", EEI_FRAME_OPEN, 0, 7, "00000001", 0, OUTCOME_CONNECTION, "opened stream 7 after 7", EE_E_MALFORMED},
    {"OPEN of an id that is over", EEI_FRAME_OPEN, 0, 3, "00000001", 0, OUTCOME_CONNECTION, "ids only rise", EE_E_MALFORMED},
    {"OPEN that skips ids", EEI_FRAME_OPEN, 0, 99, "00000001", 0, OUTCOME_QUIET, NULL, EE_OK},
    {"OPEN without a window", EEI_FRAME_OPEN, 0, 9, "000001", 0, OUTCOME_CONNECTION, "has 3 bytes, needs 4", EE_E_MALFORMED},
    {"OPEN with a window of nothing", EEI_FRAME_OPEN, 0, 9, "00000000", 0, OUTCOME_QUIET, NULL, EE_OK},
    {"OPEN with the largest window", EEI_FRAME_OPEN, 0, 9, "01000000", 0, OUTCOME_QUIET, NULL, EE_OK},
    {"OPEN with a larger window", EEI_FRAME_OPEN, 0, 9, "01000001", 0, OUTCOME_RESET, "window is 16777217", EE_OK},
    {"OPEN with the largest payload", EEI_FRAME_OPEN, 0, 9, NULL, 4 + 4096, OUTCOME_QUIET, NULL, EE_OK},
    {"OPEN with a larger payload", EEI_FRAME_OPEN, 0, 9, NULL, 4 + 4097, OUTCOME_RESET, "payload is 4097 bytes", EE_OK},
    {"WINDOW of nothing", EEI_FRAME_WINDOW, 0, 1, "00000000", 0, OUTCOME_RESET, "WINDOW grants nothing", EE_OK},
    {"WINDOW up to the limit", EEI_FRAME_WINDOW, 0, 1, "00fffc18", 0, OUTCOME_QUIET, NULL, EE_OK},
    {"B2 WINDOW over the limit", EEI_FRAME_WINDOW, 0, 1, "00fffc19", 0, OUTCOME_RESET, "makes a credit of 16777217", EE_OK},
    {"B2 WINDOW that would wrap", EEI_FRAME_WINDOW, 0, 1, "ffffffff", 0, OUTCOME_RESET, "makes a credit of 4294968295", EE_OK},
    {"WINDOW too short", EEI_FRAME_WINDOW, 0, 1, "000001", 0, OUTCOME_CONNECTION, "expected 4", EE_E_MALFORMED},
    {"WINDOW too long", EEI_FRAME_WINDOW, 0, 1, "0000000100", 0, OUTCOME_CONNECTION, "expected 4", EE_E_MALFORMED},
    {"CLOSE with a payload", EEI_FRAME_CLOSE, 0, 1, "00", 0, OUTCOME_CONNECTION, "expected none", EE_E_MALFORMED},
    {"PING on a stream", EEI_FRAME_PING, 0, 1, NULL, 8, OUTCOME_RESET, "PING (type 7) on a stream that is open", EE_OK},
    {"PING too short", EEI_FRAME_PING, 0, 0, NULL, 7, OUTCOME_CONNECTION, "expected 8", EE_E_MALFORMED},
    {"PONG too long", EEI_FRAME_PONG, 0, 0, NULL, 9, OUTCOME_CONNECTION, "expected 8", EE_E_MALFORMED},
    {"B7 PONG nobody asked for", EEI_FRAME_PONG, 0, 0, NULL, 8, OUTCOME_QUIET, NULL, EE_OK},
    {"OPEN of stream 0", EEI_FRAME_OPEN, 0, 0, NULL, 4, OUTCOME_CONNECTION, "OPEN on stream 0", EE_E_MALFORMED},
    {"DATA on stream 0", EEI_FRAME_DATA, 0, 0, NULL, 4, OUTCOME_CONNECTION, "DATA on stream 0", EE_E_MALFORMED},
    {"WINDOW on stream 0", EEI_FRAME_WINDOW, 0, 0, NULL, 4, OUTCOME_CONNECTION, "WINDOW on stream 0", EE_E_MALFORMED},
    {"CLOSE of stream 0", EEI_FRAME_CLOSE, 0, 0, NULL, 0, OUTCOME_CONNECTION, "CLOSE on stream 0", EE_E_MALFORMED},
    {"RESET of stream 0", EEI_FRAME_RESET, 0, 0, NULL, 0, OUTCOME_CONNECTION, "RESET on stream 0", EE_E_MALFORMED},
    {"unknown type on a stream", 200, 0, 1, NULL, 4, OUTCOME_QUIET, NULL, EE_OK},
    {"unknown critical type on a stream", 200, EEI_FRAME_CRITICAL, 1, NULL, 4, OUTCOME_RESET, "(type 200)", EE_OK},
    {"session's type on a stream, critical", EEI_FRAME_HELLO, EEI_FRAME_CRITICAL, 1, NULL, 4, OUTCOME_RESET, "HELLO (type 1)", EE_OK},
    {"unknown type on a stream that is over", 200, EEI_FRAME_CRITICAL, 3, NULL, 4, OUTCOME_QUIET, NULL, EE_OK},
    {"unknown type on a stream never opened", 200, 0, 9, NULL, 4, OUTCOME_CONNECTION, "never opened", EE_E_MALFORMED},
};

static size_t unhex(const char *hex, uint8_t *out) {
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return n;
}

static void test_broken_rules_have_one_outcome_each(void **state) {
    (void)state;
    static uint8_t payload[EEI_FRAME_PAYLOAD_MAX + 1];
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        ee_error err = {0};
        eei_mux *mux = scene();
        print_message("%s\n", broken[i].name);
        memset(payload, 0, sizeof payload);
        size_t len = broken[i].hex_payload ? unhex(broken[i].hex_payload, payload) : broken[i].zeros;
        ee_status st = mux_inject(mux, broken[i].type, broken[i].flags, broken[i].stream, eei_span(payload, len), 0, &err);
        if (st != broken[i].status) fail_msg("status %d: %s", (int)st, err.message);
        mux_sent_take_all(&sent, mux, 0);
        const eei_frame *reset = NULL;
        for (size_t k = 0; k < sent.count; k++)
            if (sent.frames[k].type == EEI_FRAME_RESET) reset = &sent.frames[k];
        assert_int_equal(reset != NULL, broken[i].outcome == OUTCOME_RESET);
        char text[512] = "";
        if (broken[i].outcome == OUTCOME_CONNECTION) {
            snprintf(text, sizeof text, "%s", err.message);
            assert_int_equal(mux_inject_data(mux, 1, 1, &err), EE_E_CLOSED); /* and it stays failed */
        } else if (reset) {
            assert_int_equal(reset->stream, broken[i].stream);
            snprintf(text, sizeof text, "%.*s", (int)reset->payload.len, (const char *)reset->payload.data);
        }
        if (broken[i].message && !strstr(text, broken[i].message)) fail_msg("\"%s\" does not say \"%s\"", text, broken[i].message);
        if (broken[i].outcome != OUTCOME_CONNECTION) assert_int_equal(mux_inject_data(mux, 1, 1, &err), EE_OK);
        eei_mux_free(mux);
    }
}

static void test_messages_carry_whole_frames(void **state) {
    (void)state;
    eei_buf message = EEI_BUF_INIT(1000);
    assert_int_equal(eei_frame_encode(&message, EEI_FRAME_HELLO, 0, 0, eei_span_text("hello")), EE_OK);
    assert_int_equal(eei_frame_encode(&message, EEI_FRAME_JOB, 0, 0, eei_span_text("job")), EE_OK);
    for (size_t cut = 0; cut <= message.len; cut++) {
        eei_mux *mux = alone(NULL);
        ee_error err = {0};
        bool whole = cut == 0 || cut == 17 || cut == message.len;
        uint8_t *exact = eei_memdup(message.data, cut);
        assert_int_equal(eei_mux_receive(mux, eei_span(exact, cut), 0, &err), whole ? EE_OK : EE_E_MALFORMED);
        eei_free(exact);
        eei_mux_free(mux);
    }
    eei_mux *mux = alone(NULL);
    ee_error err = {0};
    message.data[0] = 2;
    assert_int_equal(eei_mux_receive(mux, eei_buf_span(&message), 0, &err), EE_E_VERSION);
    eei_mux_free(mux);
    mux = alone(NULL);
    assert_int_equal(eei_mux_receive(mux, eei_span(pattern, EEI_WS_MESSAGE_MAX + 1), 0, &err), EE_E_LIMIT);
    eei_mux_free(mux);
    eei_buf_clear(&message);
}

/* ---- memory (threat B2) ---- */

static void test_B2_huge_length_header(void **state) {
    (void)state;
    eei_mux *mux = alone(NULL);
    ee_error err = {0};
    uint8_t header[EEI_FRAME_HEADER_BYTES];

    eei_frame_header(header, EEI_FRAME_HELLO, 0, 0, UINT32_MAX);
    eei_alloc_fail_at(0);
    assert_int_equal(eei_mux_receive(mux, eei_span(header, sizeof header), 0, &err), EE_E_LIMIT);
    assert_int_equal(eei_alloc_fail_at(0), 0); /* refused before anything is asked for it */
    eei_mux_free(mux);
}

static void test_B2_window_overrun(void **state) {
    (void)state;
    for (size_t over = 0; over <= 1; over++) {
        eei_stream *stream, *other;
        eei_mux *mux = accepted(NULL, 1000, &stream);
        eei_mux_event event;
        ee_error err = {0};

        assert_int_equal(mux_inject_open(mux, 3, 1000, "", &err), EE_OK);
        other = mux_expect(mux, EEI_MUX_OPENED, NULL);
        for (size_t left = EEI_STREAM_WINDOW; left > 0;) {
            size_t n = left < EEI_DATA_PAYLOAD_MAX ? left : EEI_DATA_PAYLOAD_MAX;
            assert_int_equal(mux_inject_data(mux, 1, n, &err), EE_OK);
            left -= n;
        }
        mux_expect(mux, EEI_MUX_READABLE, NULL);
        assert_int_equal(mux_inject_data(mux, 1, over, &err), EE_OK);
        mux_sent_take_all(&sent, mux, 0);
        assert_int_equal(mux_sent_find(&sent, EEI_FRAME_RESET, 1) != NULL, over == 1);
        if (over) {
            assert_ptr_equal(mux_expect(mux, EEI_MUX_RESET, &event), stream);
            assert_true(eei_span_equal(event.frame.payload, eei_span_text("DATA of 1 bytes, but the credit left is 0")));
            assert_int_equal(eei_stream_peek(stream).len, 0);
        }
        mux_expect_none(mux);
        assert_int_equal(read_all(stream), over ? 0 : EEI_STREAM_WINDOW);
        assert_int_equal(mux_inject_data(mux, 3, 5, &err), EE_OK); /* that stream only */
        assert_ptr_equal(mux_expect(mux, EEI_MUX_READABLE, NULL), other);
        eei_mux_free(mux);
    }
}

/* Credit that was consumed but not yet announced is not the peer's to use. */
static void test_B2_credit_counts_from_the_window_frame(void **state) {
    (void)state;
    eei_stream *stream;
    eei_mux *mux = accepted(NULL, 1000, &stream);
    ee_error err = {0};

    for (size_t left = EEI_STREAM_WINDOW; left > 0; left -= 8192) assert_int_equal(mux_inject_data(mux, 1, 8192, &err), EE_OK);
    mux_expect(mux, EEI_MUX_READABLE, NULL);
    read_all(stream);
    assert_int_equal(mux_inject_data(mux, 1, 1, &err), EE_OK);
    mux_expect(mux, EEI_MUX_RESET, NULL);
    eei_mux_free(mux);
}

static void test_B2_tiny_fragments_cost_little(void **state) {
    (void)state;
    eei_stream *stream;
    eei_mux *mux = accepted(NULL, 1000, &stream);
    ee_error err = {0};
    uint8_t one = 'x';

    eei_alloc_fail_at(0);
    for (int i = 0; i < 100000; i++) assert_int_equal(mux_inject(mux, EEI_FRAME_DATA, 0, 1, eei_span(&one, 1), 0, &err), EE_OK);
    size_t made = eei_alloc_fail_at(0);
    assert_true(made < 100000 + 20); /* one each for the message this test builds, and a dozen blocks */
    assert_int_equal(read_all(stream), 100000);
    assert_null(stream->in.head);
    eei_mux_free(mux);
}

static void test_B2_session_cap_hits_the_stalled_reader(void **state) {
    (void)state;
    enum { STALLED = 200 };
    eei_mux *mux = alone(NULL);
    eei_stream *live, *reset = NULL;
    eei_mux_event event;
    ee_error err = {0};
    size_t resets = 0, most = 0;

    assert_int_equal(mux_inject_open(mux, 1, 1000, "", &err), EE_OK);
    live = mux_expect(mux, EEI_MUX_OPENED, NULL);
    for (uint32_t id = 3; id < 3 + 2 * STALLED; id += 2) {
        assert_int_equal(mux_inject_open(mux, id, 1000, "", &err), EE_OK);
        mux_expect(mux, EEI_MUX_OPENED, NULL);
        for (int k = 0; k < 16; k++) {
            assert_int_equal(mux_inject_data(mux, id, 16000, &err), EE_OK);
            assert_int_equal(mux_inject_data(mux, 1, 100, &err), EE_OK); /* read at once */
            if (mux->in_bytes > most) most = mux->in_bytes;
            while (eei_mux_next_event(mux, &event)) {
                if (event.kind != EEI_MUX_RESET) continue;
                assert_ptr_not_equal(event.stream, live);
                reset = event.stream;
                eei_stream_free(reset);
                resets++;
            }
            assert_int_equal(read_all(live), 100);
            mux_sent_take_all(&sent, mux, 0);
        }
    }
    assert_non_null(reset);
    assert_true(most <= EEI_SESSION_BUFFER_MAX);
    assert_true(most > EEI_SESSION_BUFFER_MAX - EEI_STREAM_WINDOW);
    assert_in_range(resets, STALLED * 256000 / EEI_SESSION_BUFFER_MAX, STALLED / 2);
    eei_mux_free(mux);
}

static void test_B2_session_cap_takes_from_who_holds_most(void **state) {
    (void)state;
    eei_mux *mux = alone(NULL);
    eei_stream *most = NULL;
    ee_error err = {0};

    for (uint32_t id = 1; mux->in_bytes + 200000 <= EEI_SESSION_BUFFER_MAX; id += 2) {
        assert_int_equal(mux_inject_open(mux, id, 1000, "", &err), EE_OK);
        eei_stream *stream = mux_expect(mux, EEI_MUX_OPENED, NULL);
        if (id == 21) most = stream;
        for (int k = 0; k < (id == 21 ? 16 : 12); k++) assert_int_equal(mux_inject_data(mux, id, 16000, &err), EE_OK);
        mux_expect(mux, EEI_MUX_READABLE, NULL);
    }
    eei_mux_event event;
    for (int k = 0; k < 4 && eei_mux_next_event(mux, &event) == EEI_MUX_NONE; k++)
        for (uint32_t id = 1; id < 10; id += 2) assert_int_equal(mux_inject_data(mux, id, 10000, &err), EE_OK);
    assert_int_equal(event.kind, EEI_MUX_RESET);
    assert_ptr_equal(event.stream, most); /* though its bytes came long before the last ones */
    mux_expect_none(mux);
    eei_mux_free(mux);
}

static void test_B2_too_many_streams_are_refused(void **state) {
    (void)state;
    eei_mux *mux = alone(&(eei_mux_options){.streams_max = 4});
    eei_mux_event event;
    eei_stream *held[4] = {NULL};
    ee_error err = {0};

    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(mux_inject_open(mux, 2 * i + 1, 1000, "", &err), EE_OK);
        held[i] = mux_expect(mux, EEI_MUX_OPENED, NULL);
    }
    assert_int_equal(mux_inject_open(mux, 9, 1000, "", &err), EE_OK); /* not fatal */
    mux_expect_none(mux);
    mux_sent_take_all(&sent, mux, 0);
    const eei_frame *reset = mux_sent_find(&sent, EEI_FRAME_RESET, 9);
    assert_non_null(reset);
    assert_true(eei_span_equal(reset->payload, eei_span_text("refused: 4 streams are open, limit 4")));
    assert_int_equal(mux_inject_data(mux, 9, 100, &err), EE_OK); /* its 0-RTT data is late data */
    eei_stream *ours = NULL;
    assert_int_equal(eei_mux_open(mux, eei_span("", 0), &ours, &err), EE_E_LIMIT);
    eei_stream_free(held[0]);
    mux_sent_take_all(&sent, mux, 0);
    assert_int_equal(mux_inject_open(mux, 11, 1000, "", &err), EE_OK);
    mux_expect(mux, EEI_MUX_OPENED, &event);
    assert_int_equal(eei_stream_id(event.stream), 11);
    eei_mux_free(mux);
}

static void test_B2_refusals_that_are_not_read(void **state) {
    (void)state;
    eei_mux *mux = alone(&(eei_mux_options){.streams_max = 1});
    ee_error err = {0};
    uint32_t id = 1;

    while (mux_inject_open(mux, id, 1000, "", &err) == EE_OK) id += 2;
    assert_int_equal(err.status, EE_E_LIMIT);
    assert_int_equal(id, 2 * (1 + MUX_REFUSALS_MAX) + 1);
    eei_mux_free(mux);

    mux = alone(&(eei_mux_options){.streams_max = 1}); /* one that reads them may go on */
    for (id = 1; id < 6 * MUX_REFUSALS_MAX; id += 2) {
        assert_int_equal(mux_inject_open(mux, id, 1000, "", &err), EE_OK);
        if (id % 1000 == 1) mux_sent_take_all(&sent, mux, 0);
    }
    eei_mux_free(mux);
}

/* Open and reset in a row ("rapid reset"): nothing stays, nobody is told of what never was. */
static void test_B2_rapid_reset(void **state) {
    (void)state;
    eei_mux *mux = alone(NULL);
    eei_mux_stats stats;
    ee_error err = {0};

    for (uint32_t id = 1; id < 20001; id += 2) {
        assert_int_equal(mux_inject_open(mux, id, 1000, "x", &err), EE_OK);
        assert_int_equal(mux_inject_data(mux, id, 10, &err), EE_OK);
        assert_int_equal(mux_inject(mux, EEI_FRAME_RESET, 0, id, eei_span("", 0), 0, &err), EE_OK);
    }
    eei_mux_get_stats(mux, &stats);
    assert_int_equal(stats.streams, 0);
    assert_int_equal(stats.buffered, 0);
    assert_false(eei_mux_wants_transmit(mux));
    mux_expect_none(mux);
    eei_mux_free(mux);
}

static void test_B2_ping_flood(void **state) {
    (void)state;
    eei_mux *mux = alone(NULL);
    ee_error err = {0};

    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < MUX_PONGS_MAX; i++)
            assert_int_equal(mux_inject(mux, EEI_FRAME_PING, 0, 0, eei_span(&i, 8), 0, &err), EE_OK);
        mux_sent_take_all(&sent, mux, 0);
        assert_int_equal(sent.count, MUX_PONGS_MAX);
        for (uint64_t i = 0; i < MUX_PONGS_MAX; i++) {
            assert_int_equal(sent.frames[i].type, EEI_FRAME_PONG);
            assert_true(eei_span_equal(sent.frames[i].payload, eei_span(&i, 8)));
        }
    }
    for (size_t i = 0; i < MUX_PONGS_MAX; i++)
        assert_int_equal(mux_inject(mux, EEI_FRAME_PING, 0, 0, eei_span("12345678", 8), 0, &err), EE_OK);
    assert_int_equal(mux_inject(mux, EEI_FRAME_PING, 0, 0, eei_span("12345678", 8), 0, &err), EE_E_LIMIT);
    eei_mux_free(mux);
}

static void test_B2_control_flood(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1000, EEI_FRAME_PAYLOAD_MAX};
    for (size_t i = 0; i < 3; i++) {
        eei_mux *mux = alone(NULL);
        ee_error err = {0};
        size_t taken = 0;
        while (mux_inject(mux, EEI_FRAME_JOB, 0, 0, eei_span(pattern, sizes[i]), 0, &err) == EE_OK) taken++;
        assert_int_equal(err.status, EE_E_LIMIT);
        assert_true(taken * (sizes[i] + sizeof(mux_control_event)) <= MUX_CONTROL_EVENTS_MAX);
        assert_true(taken * EEI_FRAME_HEADER_BYTES + taken * sizes[i] >= EEI_WS_MESSAGE_MAX); /* one message always fits */
        eei_mux_free(mux);
    }
}

static void test_control_frames_that_are_taken_make_room(void **state) {
    (void)state;
    eei_mux *mux = alone(NULL);
    eei_mux_event event;
    ee_error err = {0};

    for (int i = 0; i < 50; i++) {
        assert_int_equal(mux_inject(mux, EEI_FRAME_JOB, 0, 0, eei_span(pattern, EEI_FRAME_PAYLOAD_MAX), 0, &err), EE_OK);
        mux_expect(mux, EEI_MUX_CONTROL, &event);
        assert_int_equal(event.frame.payload.len, EEI_FRAME_PAYLOAD_MAX);
    }
    eei_mux_free(mux);
}

static void test_idle_connection_holds_nothing(void **state) {
    (void)state;
    mux_pair pair;

    mux_pair_init(&pair, NULL, NULL);
    eei_stream *a = open_on(pair.dialer, "payload"), *idle = open_on(pair.dialer, "idle");
    (void)idle;
    eei_stream_write(a, eei_span(pattern, 100000));
    mux_pair_settle(&pair);
    eei_stream *b = mux_expect(pair.listener, EEI_MUX_OPENED, NULL);
    read_all(b);
    while (eei_mux_next_event(pair.listener, &(eei_mux_event){0})) {
    }
    mux_pair_settle(&pair);
    assert_null(a->out.head);
    assert_null(a->payload);
    assert_null(b->in.head);
    assert_null(b->payload);
    assert_true(sizeof(struct eei_stream) <= 512);
    assert_true(sizeof(struct eei_mux) <= 1024);
    eei_stream_free(a);
    eei_stream_free(idle);
    mux_pair_settle(&pair);
    eei_mux_event event;
    while (eei_mux_next_event(pair.listener, &event)) eei_stream_free(event.stream);
    assert_null(pair.listener->theirs.at);
    assert_null(pair.dialer->ours.at);
    assert_false(eei_mux_wants_transmit(pair.dialer));
    mux_pair_clear(&pair);
}

/* ---- what goes first ---- */

/* A dialer with `count` open streams whose OPENs are out. */
static eei_mux *with_streams(eei_stream **streams, size_t count, uint32_t credit) {
    eei_mux *mux = alone(&(eei_mux_options){.dialed = true});
    ee_error err = {0};
    for (size_t i = 0; i < count; i++) streams[i] = open_on(mux, "");
    mux_sent_take_all(&sent, mux, 0);
    for (size_t i = 0; i < count && credit > EEI_STREAM_WINDOW; i++)
        assert_int_equal(mux_inject_window(mux, eei_stream_id(streams[i]), credit - EEI_STREAM_WINDOW, &err), EE_OK);
    return mux;
}

static void test_control_goes_before_data(void **state) {
    (void)state;
    eei_stream *s[2], *fresh;
    eei_mux *mux = with_streams(s, 2, 0);
    ee_error err = {0};

    eei_stream_write(s[0], eei_span(pattern, 200000));
    mux_sent_take(&sent, mux, 20000, 0);
    assert_int_equal(sent.frames[0].type, EEI_FRAME_DATA);
    assert_int_equal(eei_mux_send_control(mux, EEI_FRAME_JOB, 0, eei_span_text("job"), &err), EE_OK);
    assert_int_equal(mux_inject(mux, EEI_FRAME_PING, 0, 0, eei_span("12345678", 8), 0, &err), EE_OK);
    fresh = open_on(mux, "");
    eei_stream_write(fresh, eei_span_text("request"));
    eei_stream_reset(s[1], "gone");
    mux_sent_take(&sent, mux, 20000, 0);
    static const uint8_t want[] = {EEI_FRAME_PONG, EEI_FRAME_JOB, EEI_FRAME_OPEN, EEI_FRAME_RESET, EEI_FRAME_DATA, EEI_FRAME_DATA};
    assert_true(sent.count >= sizeof want);
    for (size_t i = 0; i < sizeof want; i++) assert_int_equal(sent.frames[i].type, want[i]);
    assert_int_equal(sent.frames[4].stream, eei_stream_id(fresh)); /* sparse before bulk */
    assert_int_equal(sent.frames[5].stream, eei_stream_id(s[0]));
    eei_mux_free(mux);
}

static void test_sparse_waits_for_one_quantum_each_at_most(void **state) {
    (void)state;
    enum { BULK = 8 };
    eei_stream *s[BULK + 1];
    eei_mux *mux = with_streams(s, BULK + 1, 0);

    for (int i = 0; i < BULK; i++) eei_stream_write(s[i], eei_span(pattern, 200000));
    for (int turn = 0; turn < 50; turn++) {
        mux_sent_take(&sent, mux, 16384, 0); /* somewhere in the middle of a round */
        for (int i = 0; i < BULK; i++) assert_int_equal(sent.frames[0].type, EEI_FRAME_DATA);
        assert_int_equal(eei_stream_write(s[BULK], eei_span_text("key")), 3);
        size_t before = 0;
        mux_sent_take(&sent, mux, EEI_WS_MESSAGE_MAX, 0);
        for (size_t i = 0; i < sent.count && sent.frames[i].stream != eei_stream_id(s[BULK]); i++) before += sent.frames[i].payload.len;
        assert_non_null(mux_sent_find(&sent, EEI_FRAME_DATA, eei_stream_id(s[BULK])));
        assert_true(before <= BULK * MUX_QUANTUM);
        assert_int_equal(before, 0); /* and better: its share of the round is not used up */
        for (int i = 0; i < BULK; i++) {
            ee_error err = {0};
            size_t n = eei_stream_writable(s[i]);
            if (n < 100000) assert_int_equal(mux_inject_window(mux, eei_stream_id(s[i]), 200000, &err), EE_OK);
            eei_stream_write(s[i], eei_span(pattern, 200000));
        }
    }
    eei_mux_free(mux);
}

static void test_bulk_streams_share_evenly(void **state) {
    (void)state;
    enum { BULK = 5 };
    eei_stream *s[BULK];
    eei_mux *mux = with_streams(s, BULK, 8u << 20);
    size_t got[BULK] = {0};

    for (int i = 0; i < BULK; i++) assert_int_equal(eei_stream_write(s[i], eei_span(pattern, 1u << 20)), 1u << 20);
    for (int turn = 0; turn < 100; turn++) {
        mux_sent_take(&sent, mux, 5000u + (size_t)turn * 333, 0);
        for (size_t i = 0; i < sent.count; i++) got[(sent.frames[i].stream - 1) / 2] += sent.frames[i].payload.len;
        size_t least = SIZE_MAX, most = 0;
        for (int i = 0; i < BULK; i++) {
            if (got[i] < least) least = got[i];
            if (got[i] > most) most = got[i];
            eei_stream_write(s[i], eei_span(pattern, 20000));
        }
        assert_true(most - least <= 2 * MUX_QUANTUM);
    }
    eei_mux_free(mux);
}

/* A stream that always has a little to send goes first, but not more than its share. */
static void test_sparse_for_ever_does_not_starve_bulk(void **state) {
    (void)state;
    eei_stream *s[2];
    eei_mux *mux = with_streams(s, 2, 8u << 20);
    size_t sparse = 0, bulk = 0;

    for (int turn = 0; turn < 300; turn++) {
        eei_stream_write(s[0], eei_span(pattern, 200000));
        eei_stream_write(s[1], eei_span(pattern, 15000));
        mux_sent_take(&sent, mux, 16384, 0);
        for (size_t i = 0; i < sent.count; i++) *(sent.frames[i].stream == 1 ? &bulk : &sparse) += sent.frames[i].payload.len;
    }
    assert_true(bulk > (sparse + bulk) * 45 / 100);
    assert_true(sparse > (sparse + bulk) * 45 / 100);
    eei_mux_free(mux);
}

static void test_stalled_reader_blocks_nobody(void **state) {
    (void)state;
    mux_pair pair;
    eei_mux_event event;

    mux_pair_init(&pair, NULL, NULL);
    eei_stream *stalled = open_on(pair.dialer, "stalled"), *live = open_on(pair.dialer, "live");
    mux_pair_settle(&pair);
    mux_expect(pair.listener, EEI_MUX_OPENED, NULL);
    eei_stream *reader = mux_expect(pair.listener, EEI_MUX_OPENED, NULL);
    size_t total = 0;
    for (int i = 0; i < 200; i++) {
        eei_stream_write(stalled, eei_span(pattern, 100000));
        assert_int_equal(eei_stream_write(live, eei_span(pattern, 100000)), 100000);
        pair.now_ms++;
        mux_pair_settle(&pair);
        while (eei_mux_next_event(pair.listener, &event)) {
        }
        total += read_all(reader);
        mux_pair_settle(&pair);
    }
    assert_int_equal(total, 200 * 100000);
    assert_int_equal(eei_stream_writable(stalled), 0);
    mux_pair_clear(&pair);
}

static void test_messages_keep_to_max(void **state) {
    (void)state;
    static const size_t limits[] = {13, 100, 500, 512, 600, 1000, 16384, 65536, EEI_WS_MESSAGE_MAX, SIZE_MAX};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        eei_stream *s[3];
        eei_mux *mux = with_streams(s, 3, 0);
        size_t total = 0;
        for (int k = 0; k < 3; k++) {
            eei_stream_write(s[k], eei_span(pattern, 30000));
            eei_stream_close(s[k]);
        }
        while (eei_mux_wants_transmit(mux)) {
            mux_sent_take(&sent, mux, limits[i], 0);
            assert_true(sent.count > 0);
            assert_true(sent.bytes.len <= limits[i] && sent.bytes.len <= EEI_WS_MESSAGE_MAX);
            for (size_t k = 0; k < sent.count; k++) total += sent.frames[k].payload.len;
        }
        assert_int_equal(total, 90000);
        mux_sent_take(&sent, mux, limits[i], 0);
        assert_int_equal(sent.count, 0);
        eei_mux_free(mux);
    }
}

static void test_messages_are_filled_but_not_with_crumbs(void **state) {
    (void)state;
    eei_stream *s[2];
    eei_mux *mux = with_streams(s, 2, 0);

    eei_stream_write(s[0], eei_span(pattern, 100));
    eei_stream_write(s[1], eei_span(pattern, 100000));
    mux_sent_take(&sent, mux, 1000, 0);
    assert_int_equal(sent.count, 2);
    assert_int_equal(sent.bytes.len, 1000);
    eei_stream_write(s[0], eei_span(pattern, 100));
    mux_sent_take(&sent, mux, 112 + 12 + MUX_FRAGMENT_MIN - 1, 0);
    assert_int_equal(sent.count, 1);
    eei_mux_free(mux);
}

static void test_transmit_into_a_small_buffer(void **state) {
    (void)state;
    eei_stream *s[1];
    eei_mux *mux = with_streams(s, 1, 0);
    eei_buf out = EEI_BUF_INIT(100);
    ee_error err = {0};

    assert_int_equal(eei_mux_send_control(mux, EEI_FRAME_JOB, 0, eei_span(pattern, 200), &err), EE_OK);
    assert_int_equal(eei_mux_transmit(mux, &out, 1000, 0, &err), EE_E_LIMIT);
    assert_int_equal(out.len, 0);
    out.max = 1000;
    assert_int_equal(eei_mux_transmit(mux, &out, 1000, 0, &err), EE_OK); /* nothing was lost */
    assert_int_equal(out.len, 212);
    eei_stream_write(s[0], eei_span(pattern, 5000));
    assert_int_equal(eei_mux_transmit(mux, &out, 10000, 0, &err), EE_OK);
    assert_int_equal(out.len, 1000);
    assert_int_equal(eei_mux_transmit(mux, &out, 10000, 0, &err), EE_OK); /* full: nothing more, and no error */
    assert_int_equal(out.len, 1000);
    eei_buf_clear(&out);
    eei_mux_free(mux);
}

/* ---- windows that grow ---- */

/* Bulk from dialer to listener for `ms`; the link carries link_per_ms and the reader takes read_per_ms. Gives the window at the end. */
static uint32_t run_link(uint64_t rtt_ms, size_t link_per_ms, size_t read_per_ms, uint64_t ms, const eei_mux_options *listener,
                         size_t *total) {
    static mux_line there, back;
    mux_pair pair;
    eei_mux_event event;
    eei_stream *reader = NULL;

    mux_pair_init(&pair, NULL, listener);
    eei_stream *writer = open_on(pair.dialer, "");
    *total = 0;
    for (uint64_t t = 0; t < ms; t++) {
        uint64_t now_ms = pair.now_ms + t;
        while (eei_stream_write(writer, eei_span(pattern, sizeof pattern)) > 0) {
        }
        mux_line_put(&there, pair.dialer, now_ms, rtt_ms / 2, link_per_ms);
        mux_line_get(&there, pair.listener, now_ms);
        while (eei_mux_next_event(pair.listener, &event))
            if (event.kind == EEI_MUX_OPENED) reader = event.stream;
        for (size_t left = read_per_ms; reader && left > 0 && eei_stream_peek(reader).len > 0;) {
            size_t n = eei_stream_peek(reader).len < left ? eei_stream_peek(reader).len : left;
            eei_stream_consume(reader, n);
            *total += n;
            left -= n;
        }
        mux_line_put(&back, pair.listener, now_ms, rtt_ms / 2, SIZE_MAX);
        mux_line_get(&back, pair.dialer, now_ms);
        while (eei_mux_next_event(pair.dialer, &event)) {
        }
    }
    uint32_t window = reader->window;
    mux_line_get(&there, NULL, UINT64_MAX);
    mux_line_get(&back, NULL, UINT64_MAX);
    mux_pair_clear(&pair);
    return window;
}

static void test_window_opens_with_the_round_trip(void **state) {
    (void)state;
    size_t total = 0;
    const size_t MiB = 1u << 20;

    /* 200 ms and 100 MB/s: 20 MB are on their way. A fixed 256 KiB would carry 1.3 MB/s. */
    uint32_t window = run_link(200, 100000, SIZE_MAX, 5000, NULL, &total);
    print_message("200 ms, 100 MB/s: window %u KiB, %zu MiB in 5 s\n", window >> 10, total / MiB);
    assert_int_equal(window, EEI_STREAM_WINDOW_MAX);
    assert_true(total > 200 * MiB);

    /* 50 ms and 10 MB/s: 500 KB are on their way; the window need not be larger than some times that. */
    window = run_link(50, 10000, SIZE_MAX, 5000, NULL, &total);
    print_message("50 ms, 10 MB/s: window %u KiB, %zu MiB in 5 s\n", window >> 10, total / MiB);
    assert_in_range(window, 1u << 20, 4u << 20);
    assert_true(total > 45000000);

    /* A reader of 1 MB/s on a fast link: more window would only hold more of its memory. */
    window = run_link(2, 1000000, 1000, 5000, NULL, &total);
    print_message("slow reader: window %u KiB\n", window >> 10);
    assert_true(window <= 2 * EEI_STREAM_WINDOW);

    window = run_link(200, 100000, SIZE_MAX, 3000, &(eei_mux_options){.window_max = 1u << 20}, &total);
    assert_int_equal(window, 1u << 20); /* the owner's limit */
}

static void test_windows_together_keep_to_the_session(void **state) {
    (void)state;
    enum { STREAMS = 8 };
    mux_pair pair;
    eei_mux_event event;
    eei_stream *writers[STREAMS], *readers[STREAMS] = {NULL};

    mux_pair_init(&pair, NULL, NULL);
    for (int i = 0; i < STREAMS; i++) writers[i] = open_on(pair.dialer, "");
    for (int turn = 0; turn < 400; turn++) {
        for (int i = 0; i < STREAMS; i++) eei_stream_write(writers[i], eei_span(pattern, sizeof pattern));
        mux_pair_settle(&pair);
        while (eei_mux_next_event(pair.listener, &event))
            if (event.kind == EEI_MUX_OPENED) readers[(eei_stream_id(event.stream) - 1) / 2] = event.stream;
        size_t sum = 0;
        for (int i = 0; i < STREAMS; i++) {
            read_all(readers[i]);
            sum += readers[i]->window;
        }
        assert_int_equal(sum, pair.listener->windows);
        assert_true(sum <= EEI_SESSION_BUFFER_MAX);
    }
    assert_int_equal(pair.listener->windows, EEI_SESSION_BUFFER_MAX); /* all of it is used */
    for (int i = 0; i < STREAMS; i++) eei_stream_free(readers[i]);
    assert_int_equal(pair.listener->windows, 0);
    mux_pair_clear(&pair);
}

static void test_first_window_may_be_larger(void **state) {
    (void)state;
    mux_pair pair;
    eei_mux_options wide = {.window = 1u << 20};

    mux_pair_init(&pair, &wide, &wide);
    eei_stream *a = open_on(pair.dialer, "");
    assert_int_equal(eei_stream_writable(a), EEI_STREAM_WINDOW); /* what every acceptor grants, until we hear more */
    mux_pair_settle(&pair);
    assert_int_equal(eei_stream_writable(a), 1u << 20);
    eei_stream *b = mux_expect(pair.listener, EEI_MUX_OPENED, NULL);
    assert_int_equal(eei_stream_writable(b), 1u << 20); /* came in OPEN */
    mux_pair_clear(&pair);

    mux_pair_init(&pair, &(eei_mux_options){.window = 1000}, &(eei_mux_options){.window = 1000});
    a = open_on(pair.dialer, "");
    mux_pair_settle(&pair);
    b = mux_expect(pair.listener, EEI_MUX_OPENED, NULL);
    assert_int_equal(eei_stream_writable(a), EEI_STREAM_WINDOW);
    assert_int_equal(eei_stream_write(a, eei_span(pattern, EEI_STREAM_WINDOW)), EEI_STREAM_WINDOW);
    mux_pair_settle(&pair);
    mux_expect(pair.listener, EEI_MUX_READABLE, NULL); /* not a reset: an acceptor grants the fixed window whatever it would like */
    assert_int_equal(eei_stream_writable(b), 1000);
    mux_pair_clear(&pair);
}

/* ---- liveness ---- */

static void test_ping_when_idle_and_the_end(void **state) {
    (void)state;
    mux_pair pair;
    ee_error err = {0};

    mux_pair_init(&pair, NULL, NULL);
    assert_int_equal(eei_mux_rtt_ms(pair.dialer), 0);
    assert_int_equal(eei_mux_deadline_ms(pair.dialer), 1000 + EEI_PING_IDLE_MS);
    assert_int_equal(eei_mux_tick(pair.dialer, 1000 + EEI_PING_IDLE_MS - 1, &err), EE_OK);
    assert_false(eei_mux_wants_transmit(pair.dialer));
    assert_int_equal(eei_mux_tick(pair.dialer, 1000 + EEI_PING_IDLE_MS, &err), EE_OK);
    assert_true(eei_mux_wants_transmit(pair.dialer));
    assert_int_equal(eei_mux_deadline_ms(pair.dialer), 1000 + 2 * EEI_PING_IDLE_MS);
    mux_move(pair.dialer, pair.listener, 1000, 21000);
    mux_move(pair.listener, pair.dialer, 1000, 21070);
    assert_int_equal(eei_mux_rtt_ms(pair.dialer), 70);
    assert_int_equal(eei_mux_deadline_ms(pair.dialer), 21070 + EEI_PING_IDLE_MS);
    for (uint64_t now_ms = 21070; now_ms < 21070 + EEI_DEAD_MS; now_ms += 1000)
        assert_int_equal(eei_mux_tick(pair.dialer, now_ms, &err), EE_OK);
    assert_int_equal(eei_mux_deadline_ms(pair.dialer), 21070 + EEI_DEAD_MS);
    assert_int_equal(eei_mux_tick(pair.dialer, 21070 + EEI_DEAD_MS, &err), EE_E_TIMEOUT);
    assert_non_null(strstr(err.message, "60000 ms"));
    assert_int_equal(eei_mux_deadline_ms(pair.dialer), UINT64_MAX);
    mux_pair_clear(&pair);
}

static void test_round_trip_is_smoothed(void **state) {
    (void)state;
    mux_pair pair;
    ee_error err = {0};
    uint64_t now_ms = 1000;

    mux_pair_init(&pair, NULL, NULL);
    for (int i = 0; i < 20; i++) {
        now_ms += EEI_PING_IDLE_MS;
        assert_int_equal(eei_mux_tick(pair.dialer, now_ms, &err), EE_OK);
        mux_move(pair.dialer, pair.listener, 1000, now_ms);
        now_ms += i == 0 ? 100 : 20;
        mux_move(pair.listener, pair.dialer, 1000, now_ms);
        assert_in_range(eei_mux_rtt_ms(pair.dialer), 20, 100);
    }
    assert_in_range(eei_mux_rtt_ms(pair.dialer), 20, 30);
    mux_pair_clear(&pair);
}

static void test_B7_pong_that_was_not_asked_for(void **state) {
    (void)state;
    eei_mux *mux = alone(NULL);
    ee_error err = {0};
    static const uint8_t first[8] = {0, 0, 0, 0, 0, 0, 0, 1}, other[8] = {1};

    assert_int_equal(mux_inject(mux, EEI_FRAME_PONG, 0, 0, eei_span(first, 8), 10, &err), EE_OK); /* guessed before the PING */
    assert_int_equal(eei_mux_rtt_ms(mux), 0);
    assert_int_equal(eei_mux_tick(mux, 10 + EEI_PING_IDLE_MS, &err), EE_OK);
    mux_sent_take_all(&sent, mux, 10 + EEI_PING_IDLE_MS);
    assert_int_equal(mux_inject(mux, EEI_FRAME_PONG, 0, 0, eei_span(other, 8), 20100, &err), EE_OK); /* of something else */
    assert_int_equal(eei_mux_rtt_ms(mux), 0);
    assert_int_equal(mux_inject(mux, EEI_FRAME_PONG, 0, 0, sent.frames[0].payload, 20100, &err), EE_OK);
    assert_int_equal(eei_mux_rtt_ms(mux), 90);
    assert_int_equal(mux_inject(mux, EEI_FRAME_PONG, 0, 0, sent.frames[0].payload, 30000, &err), EE_OK); /* replayed */
    assert_int_equal(eei_mux_rtt_ms(mux), 90);
    eei_mux_free(mux);
}

/* The same id on another connection is another stream. */
static void test_B7_streams_belong_to_their_connection(void **state) {
    (void)state;
    mux_pair one, two;
    ee_error err = {0};

    mux_pair_init(&one, NULL, NULL);
    mux_pair_init(&two, NULL, NULL);
    open_on(one.dialer, "");
    eei_stream *asked = open_on(one.dialer, "");
    open_on(two.dialer, "");
    mux_pair_settle(&one);
    mux_pair_settle(&two);
    eei_buf answer = EEI_BUF_INIT(100);
    assert_int_equal(eei_frame_encode(&answer, EEI_FRAME_DATA, 0, eei_stream_id(asked), eei_span_text("forged")), EE_OK);
    assert_int_equal(eei_mux_receive(two.dialer, eei_buf_span(&answer), 1000, &err), EE_E_MALFORMED);
    assert_int_equal(eei_stream_peek(asked).len, 0);
    eei_buf_clear(&answer);
    mux_pair_clear(&one);
    mux_pair_clear(&two);
}

static void test_B13_clock_that_steps_back(void **state) {
    (void)state;
    eei_mux *mux = NULL;
    ee_error err = {0};

    assert_int_equal(eei_mux_new(NULL, UINT64_MAX - 30000, &mux, &err), EE_OK);
    assert_int_equal(eei_mux_deadline_ms(mux), UINT64_MAX - 10000);
    assert_int_equal(eei_mux_tick(mux, 5, &err), EE_OK); /* counts as standing still */
    assert_int_equal(eei_mux_tick(mux, UINT64_MAX - 10000, &err), EE_OK);
    assert_true(eei_mux_wants_transmit(mux));
    assert_int_equal(eei_mux_deadline_ms(mux), UINT64_MAX); /* no wrap */
    mux_sent_take_all(&sent, mux, UINT64_MAX - 10000);
    assert_int_equal(mux_inject(mux, EEI_FRAME_PONG, 0, 0, sent.frames[0].payload, 7, &err), EE_OK);
    assert_int_equal(eei_mux_rtt_ms(mux), 1);
    eei_mux_free(mux);
}

/* ---- out of memory ---- */

/* A short life of two connections; every call may fail for want of memory, nothing may leak or be lost silently. */
static bool live_through(void) {
    mux_pair pair = {NULL, NULL, 0};
    eei_mux_options dialed = {.dialed = true};
    eei_stream *a = NULL, *b = NULL;
    eei_mux_event event;
    eei_buf out = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX);
    ee_error err = {0};
    size_t got = 0;
    bool ok = false;

    if (eei_mux_new(&dialed, 0, &pair.dialer, &err) || eei_mux_new(NULL, 0, &pair.listener, &err)) goto done;
    if (eei_mux_open(pair.dialer, eei_span_text("payload"), &a, &err)) goto done;
    if (eei_mux_send_control(pair.dialer, EEI_FRAME_HELLO, 0, eei_span_text("hello"), &err)) goto done;
    if (eei_stream_write(a, eei_span(pattern, 50000)) != 50000) goto done;
    eei_stream_close(a);
    for (int i = 0; i < 6; i++) {
        eei_mux *from = i % 2 ? pair.listener : pair.dialer, *to = i % 2 ? pair.dialer : pair.listener;
        eei_buf_reset(&out);
        if (eei_mux_transmit(from, &out, EEI_WS_MESSAGE_MAX, 0, &err)) goto done;
        if (eei_mux_receive(to, eei_buf_span(&out), 0, &err)) goto done;
        while (eei_mux_next_event(to, &event)) {
            if (event.kind == EEI_MUX_OPENED) b = event.stream;
            if (event.kind == EEI_MUX_RESET) goto done;
            if (event.kind == EEI_MUX_READABLE && event.stream == b) {
                got += read_all(b);
                eei_stream_reset(b, "enough");
            }
        }
    }
done:
    ok = got == 50000;
    eei_stream_free(a);
    eei_mux_free(pair.dialer);
    eei_mux_free(pair.listener);
    eei_buf_clear(&out);
    return ok;
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    eei_alloc_fail_at(0);
    assert_true(live_through());
    size_t total = eei_alloc_fail_at(0), failed = 0;
    assert_true(total > 10);
    for (size_t n = 1; n <= total; n++) {
        eei_alloc_fail_at(n);
        failed += live_through() ? 0 : 1;
    }
    eei_alloc_fail_at(0);
    assert_true(failed >= 8 && failed < total);
    assert_true(live_through());
}

static void test_out_of_memory_resets_the_stream_alone(void **state) {
    (void)state;
    eei_stream *stream, *other;
    eei_mux *mux = accepted(NULL, 100000, &stream);
    eei_buf message = EEI_BUF_INIT(100000);
    ee_error err = {0};

    assert_int_equal(mux_inject_open(mux, 3, 100000, "", &err), EE_OK);
    other = mux_expect(mux, EEI_MUX_OPENED, NULL);
    assert_int_equal(eei_frame_encode(&message, EEI_FRAME_DATA, 0, 1, eei_span(pattern, 1000)), EE_OK);
    assert_int_equal(eei_frame_encode(&message, EEI_FRAME_DATA, 0, 3, eei_span(pattern, 1000)), EE_OK);
    eei_alloc_fail_at(1);
    assert_int_equal(eei_mux_receive(mux, eei_buf_span(&message), 0, &err), EE_OK);
    assert_ptr_equal(mux_expect(mux, EEI_MUX_RESET, NULL), stream);
    assert_ptr_equal(mux_expect(mux, EEI_MUX_READABLE, NULL), other);
    eei_alloc_fail_at(1);
    assert_int_equal(eei_stream_write(other, eei_span(pattern, 1000)), 0);
    assert_ptr_equal(mux_expect(mux, EEI_MUX_RESET, NULL), other); /* a writer is not left waiting for WRITABLE */
    mux_sent_take_all(&sent, mux, 0);
    assert_non_null(mux_sent_find(&sent, EEI_FRAME_RESET, 1));
    assert_non_null(mux_sent_find(&sent, EEI_FRAME_RESET, 3));
    eei_buf_clear(&message);
    eei_mux_free(mux);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_data_close),
        cmocka_unit_test(test_ids_rise_by_side),
        cmocka_unit_test(test_ids_run_out),
        cmocka_unit_test(test_writable_comes_after_a_short_write),
        cmocka_unit_test(test_send_queue_is_bounded),
        cmocka_unit_test(test_events_of_freed_streams_are_dropped),
        cmocka_unit_test(test_reset_tells_its_reason),
        cmocka_unit_test(test_a_stream_reset_before_its_open_went_out_never_was),
        cmocka_unit_test(test_control_frames_are_handed_up_in_order),
        cmocka_unit_test(test_send_control_limits),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_broken_rules_have_one_outcome_each),
        cmocka_unit_test(test_messages_carry_whole_frames),
        cmocka_unit_test(test_B2_huge_length_header),
        cmocka_unit_test(test_B2_window_overrun),
        cmocka_unit_test(test_B2_credit_counts_from_the_window_frame),
        cmocka_unit_test(test_B2_tiny_fragments_cost_little),
        cmocka_unit_test(test_B2_session_cap_hits_the_stalled_reader),
        cmocka_unit_test(test_B2_session_cap_takes_from_who_holds_most),
        cmocka_unit_test(test_B2_too_many_streams_are_refused),
        cmocka_unit_test(test_B2_refusals_that_are_not_read),
        cmocka_unit_test(test_B2_rapid_reset),
        cmocka_unit_test(test_B2_ping_flood),
        cmocka_unit_test(test_B2_control_flood),
        cmocka_unit_test(test_control_frames_that_are_taken_make_room),
        cmocka_unit_test(test_idle_connection_holds_nothing),
        cmocka_unit_test(test_control_goes_before_data),
        cmocka_unit_test(test_sparse_waits_for_one_quantum_each_at_most),
        cmocka_unit_test(test_bulk_streams_share_evenly),
        cmocka_unit_test(test_sparse_for_ever_does_not_starve_bulk),
        cmocka_unit_test(test_stalled_reader_blocks_nobody),
        cmocka_unit_test(test_messages_keep_to_max),
        cmocka_unit_test(test_messages_are_filled_but_not_with_crumbs),
        cmocka_unit_test(test_transmit_into_a_small_buffer),
        cmocka_unit_test(test_window_opens_with_the_round_trip),
        cmocka_unit_test(test_windows_together_keep_to_the_session),
        cmocka_unit_test(test_first_window_may_be_larger),
        cmocka_unit_test(test_ping_when_idle_and_the_end),
        cmocka_unit_test(test_round_trip_is_smoothed),
        cmocka_unit_test(test_B7_pong_that_was_not_asked_for),
        cmocka_unit_test(test_B7_streams_belong_to_their_connection),
        cmocka_unit_test(test_B13_clock_that_steps_back),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_out_of_memory_resets_the_stream_alone),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
