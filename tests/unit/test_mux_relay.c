/* test_mux_relay.c - streams joined across two connections, as the control plane does it: client - (a|b) - agent.
 * Not for single connections (test_mux.c). Called by CTest. */

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "mux/mux_internal.h"
#include "support/mux_pair.h"

#include <string.h>

static uint8_t pattern[8u << 20];

typedef struct relay {
    mux_pair left, right; /* left: client dials the control plane; right: the agent does */
    eei_mux *client, *cp_a, *cp_b, *agent;
    eei_stream *user;    /* the client's */
    eei_stream *a, *b;   /* the control plane's */
    eei_stream *service; /* the agent's */
    size_t woken_a, woken_b;
} relay;

static int group_setup(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof pattern; i++) pattern[i] = (uint8_t)(i * 7 + (i >> 8) * 13 + (i >> 16));
    return 0;
}

static void count_wake(void *user) { ++*(size_t *)user; }

static void relay_init(relay *r, const eei_mux_options *client, const eei_mux_options *cp, const eei_mux_options *agent) {
    memset(r, 0, sizeof *r);
    mux_pair_init(&r->left, client, cp);
    mux_pair_init(&r->right, agent, cp);
    r->client = r->left.dialer;
    r->cp_a = r->left.listener;
    r->cp_b = r->right.listener;
    r->agent = r->right.dialer;
    eei_mux_set_wake(r->cp_a, count_wake, &r->woken_a);
    eei_mux_set_wake(r->cp_b, count_wake, &r->woken_b);
}

static void relay_clear(relay *r) {
    mux_pair_clear(&r->left);
    mux_pair_clear(&r->right);
}

static void settle(relay *r) {
    for (;;) {
        size_t moved = mux_move(r->client, r->cp_a, EEI_WS_MESSAGE_MAX, 1000) + mux_move(r->cp_b, r->agent, EEI_WS_MESSAGE_MAX, 1000) +
                       mux_move(r->agent, r->cp_b, EEI_WS_MESSAGE_MAX, 1000) + mux_move(r->cp_a, r->client, EEI_WS_MESSAGE_MAX, 1000);
        if (moved == 0) return;
    }
}

/* The client opens; the control plane sees it and joins it to a stream of the agent. */
static void connect_through(relay *r, ee_span early) {
    eei_mux_event event;
    ee_error err = {0};

    assert_int_equal(eei_mux_open(r->client, eei_span_text("to app"), &r->user, &err), EE_OK);
    assert_int_equal(eei_stream_write(r->user, early), early.len);
    mux_move(r->client, r->cp_a, EEI_WS_MESSAGE_MAX, 1000);
    r->a = mux_expect(r->cp_a, EEI_MUX_OPENED, NULL);
    if (early.len > 0) mux_expect(r->cp_a, EEI_MUX_READABLE, NULL);
    assert_int_equal(eei_mux_open_relay(r->a, r->cp_b, eei_span_text("from client"), &r->b, &err), EE_OK);
    assert_true(r->woken_b > 0);
    settle(r);
    r->service = mux_expect(r->agent, EEI_MUX_OPENED, &event);
    assert_true(eei_span_equal(event.frame.payload, eei_span_text("from client")));
    assert_int_equal(eei_stream_id(r->service), 2);
}

static void expect_bytes(eei_stream *stream, ee_span want) {
    eei_buf got = EEI_BUF_INIT(16u << 20);
    for (ee_span front; (front = eei_stream_peek(stream)).len > 0;) {
        assert_int_equal(eei_buf_append_span(&got, front), EE_OK);
        eei_stream_consume(stream, front.len);
    }
    assert_true(eei_span_equal(eei_buf_span(&got), want));
    eei_buf_clear(&got);
}

static void expect_reset(eei_mux *mux, eei_stream *stream, const char *reason) {
    eei_mux_event event;
    assert_ptr_equal(mux_expect(mux, EEI_MUX_RESET, &event), stream);
    if (!eei_span_equal(event.frame.payload, eei_span_text(reason)))
        fail_msg("reset with \"%.*s\", expected \"%s\"", (int)event.frame.payload.len, (const char *)event.frame.payload.data, reason);
}

static void expect_empty(eei_mux *mux) {
    eei_mux_stats stats;
    eei_mux_get_stats(mux, &stats);
    assert_int_equal(stats.streams, 0);
    assert_int_equal(stats.buffered, 0);
    assert_int_equal(mux->relay_bytes, 0);
    assert_int_equal(mux->windows, 0);
    mux_expect_none(mux);
}

static void test_request_and_answer(void **state) {
    (void)state;
    relay r;

    relay_init(&r, NULL, NULL, NULL);
    connect_through(&r, eei_span(pattern, 5000)); /* 0-RTT data had arrived before the join and moves over */
    mux_expect(r.agent, EEI_MUX_READABLE, NULL);
    expect_bytes(r.service, eei_span(pattern, 5000));
    eei_stream_close(r.user); /* half: the answer comes after */
    settle(&r);
    mux_expect(r.agent, EEI_MUX_READABLE, NULL);
    assert_true(eei_stream_at_end(r.service));
    assert_false(eei_stream_at_end(r.a));
    assert_int_equal(eei_stream_write(r.service, eei_span(pattern, 100000)), 100000);
    eei_stream_close(r.service);
    r.woken_a = 0;
    settle(&r);
    assert_true(r.woken_a > 0);
    mux_expect(r.client, EEI_MUX_READABLE, NULL);
    expect_bytes(r.user, eei_span(pattern, 100000));
    assert_true(eei_stream_at_end(r.user));
    assert_ptr_equal(mux_expect(r.cp_a, EEI_MUX_READABLE, NULL), r.a); /* the relay's user learns of the end of each */
    assert_ptr_equal(mux_expect(r.cp_b, EEI_MUX_READABLE, NULL), r.b);
    assert_true(eei_stream_at_end(r.a));
    assert_true(eei_stream_at_end(r.b));
    eei_stream_free(r.a);
    eei_stream_free(r.b);
    eei_stream_free(r.user);
    eei_stream_free(r.service);
    settle(&r);
    expect_empty(r.client);
    expect_empty(r.cp_a);
    expect_empty(r.cp_b);
    expect_empty(r.agent);
    relay_clear(&r);
}

static void test_closed_before_the_join(void **state) {
    (void)state;
    relay r;
    ee_error err = {0};

    relay_init(&r, NULL, NULL, NULL);
    assert_int_equal(eei_mux_open(r.client, eei_span_text(""), &r.user, &err), EE_OK);
    eei_stream_write(r.user, eei_span_text("all of it"));
    eei_stream_close(r.user);
    mux_move(r.client, r.cp_a, EEI_WS_MESSAGE_MAX, 1000);
    r.a = mux_expect(r.cp_a, EEI_MUX_OPENED, NULL);
    assert_int_equal(eei_mux_open_relay(r.a, r.cp_b, eei_span("", 0), &r.b, &err), EE_OK);
    settle(&r);
    r.service = mux_expect(r.agent, EEI_MUX_OPENED, NULL);
    expect_bytes(r.service, eei_span_text("all of it"));
    assert_true(eei_stream_at_end(r.service));
    relay_clear(&r);
}

static void test_hands_off_a_relayed_stream(void **state) {
    (void)state;
    relay r;

    relay_init(&r, NULL, NULL, NULL);
    connect_through(&r, eei_span("", 0));
    eei_stream *const both[] = {r.a, r.b};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(eei_stream_writable(both[i]), 0);
        assert_int_equal(eei_stream_write(both[i], eei_span_text("x")), 0);
        assert_int_equal(eei_stream_peek(both[i]).len, 0);
        eei_stream_consume(both[i], 10);
        eei_stream_close(both[i]);
    }
    eei_stream_write(r.user, eei_span_text("still works"));
    settle(&r);
    expect_bytes(r.service, eei_span_text("still works"));
    relay_clear(&r);
}

/* Credit is end to end: the windows the ends see are the ends' own, whatever the relay would like for itself. */
static void test_windows_pass_through(void **state) {
    (void)state;
    static const struct {
        uint32_t client, cp, agent;
    } cases[] = {{0, 0, 0}, {1u << 20, 0, 2u << 20}, {1000, 0, 1000}, {4u << 20, 8u << 20, 0}, {100, 1000, 4u << 20}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        relay r;
        uint32_t client = cases[i].client ? cases[i].client : EEI_STREAM_WINDOW, agent = cases[i].agent;
        if (agent < EEI_STREAM_WINDOW) agent = EEI_STREAM_WINDOW;
        relay_init(&r, &(eei_mux_options){.window = cases[i].client}, &(eei_mux_options){.window = cases[i].cp},
                   &(eei_mux_options){.window = cases[i].agent});
        connect_through(&r, eei_span(pattern, 100));
        assert_int_equal(eei_stream_writable(r.service), client > MUX_SEND_QUEUE_MAX ? MUX_SEND_QUEUE_MAX : client);
        assert_int_equal(r.service->credit, client);
        assert_int_equal(r.user->credit, agent - 100);
        assert_int_equal(r.a->granted, r.b->credit);
        assert_int_equal(r.b->granted, r.a->credit);
        relay_clear(&r);
    }
}

static void test_bytes_consumed_before_the_join_are_granted_again(void **state) {
    (void)state;
    relay r;
    ee_error err = {0};

    relay_init(&r, NULL, NULL, NULL);
    assert_int_equal(eei_mux_open(r.client, eei_span_text(""), &r.user, &err), EE_OK);
    eei_stream_write(r.user, eei_span(pattern, 5000));
    mux_move(r.client, r.cp_a, EEI_WS_MESSAGE_MAX, 1000);
    r.a = mux_expect(r.cp_a, EEI_MUX_OPENED, NULL);
    eei_stream_consume(r.a, 1000); /* a header that the control plane reads itself */
    assert_int_equal(eei_stream_write(r.a, eei_span_text("ok ")), 3);
    assert_int_equal(eei_mux_open_relay(r.a, r.cp_b, eei_span("", 0), &r.b, &err), EE_OK);
    settle(&r);
    r.service = mux_expect(r.agent, EEI_MUX_OPENED, NULL);
    expect_bytes(r.service, eei_span(pattern + 1000, 4000));
    assert_int_equal(r.user->credit, EEI_STREAM_WINDOW - 4000);
    assert_int_equal(r.service->credit, EEI_STREAM_WINDOW - 3);
    eei_stream_write(r.service, eei_span_text("and more"));
    settle(&r);
    expect_bytes(r.user, eei_span_text("ok and more"));
    relay_clear(&r);
}

static void test_relay_holds_no_more_than_the_credit(void **state) {
    (void)state;
    relay r;
    size_t written = 0, n;

    relay_init(&r, NULL, NULL, NULL);
    connect_through(&r, eei_span("", 0));
    do { /* the agent's connection takes nothing: everything stays in the control plane */
        n = eei_stream_write(r.user, eei_span(pattern, 100000));
        written += n;
        while (mux_move(r.client, r.cp_a, EEI_WS_MESSAGE_MAX, 1000)) {
        }
    } while (n > 0);
    assert_int_equal(written, EEI_STREAM_WINDOW);
    assert_int_equal(r.cp_b->relay_bytes, EEI_STREAM_WINDOW);
    assert_int_equal(r.cp_a->in_bytes, 0);
    for (size_t total = 0; total < (20u << 20);) { /* and goes on as soon as it does */
        settle(&r);
        for (ee_span front; (front = eei_stream_peek(r.service)).len > 0;) {
            total += front.len;
            eei_stream_consume(r.service, front.len);
        }
        assert_int_equal(r.a->granted + r.a->grant_unsent, r.b->credit);
        settle(&r);
        eei_stream_write(r.user, eei_span(pattern, sizeof pattern));
        assert_true(r.cp_b->relay_bytes <= EEI_STREAM_WINDOW_MAX);
    }
    assert_true(r.service->window > EEI_STREAM_WINDOW); /* grown by the end, not by the relay */
    assert_int_equal(r.a->window, 0);
    relay_clear(&r);
}

static void test_B2_window_overrun_ends_that_relay_only(void **state) {
    (void)state;
    relay r;
    ee_error err = {0};
    eei_stream *other_a, *other_b;

    relay_init(&r, NULL, NULL, NULL);
    connect_through(&r, eei_span("", 0));
    assert_int_equal(mux_inject_open(r.cp_a, 3, 1000, "", &err), EE_OK);
    other_a = mux_expect(r.cp_a, EEI_MUX_OPENED, NULL);
    assert_int_equal(eei_mux_open_relay(other_a, r.cp_b, eei_span("", 0), &other_b, &err), EE_OK);
    for (size_t left = EEI_STREAM_WINDOW; left > 0; left -= 16384 / 2) assert_int_equal(mux_inject_data(r.cp_a, 1, 16384 / 2, &err), EE_OK);
    assert_int_equal(mux_inject_data(r.cp_a, 1, 1, &err), EE_OK);
    expect_reset(r.cp_a, r.a, "DATA of 1 bytes, but the credit left is 0");
    expect_reset(r.cp_b, r.b, "DATA of 1 bytes, but the credit left is 0");
    assert_int_equal(r.cp_b->relay_bytes, 0);
    eei_stream_free(r.a);
    eei_stream_free(r.b);
    mux_move(r.cp_b, r.agent, EEI_WS_MESSAGE_MAX, 1000);
    mux_expect(r.agent, EEI_MUX_OPENED, NULL);
    expect_reset(r.agent, r.service, "DATA of 1 bytes, but the credit left is 0");
    assert_int_equal(mux_inject_data(r.cp_a, 3, 100, &err), EE_OK);
    assert_int_equal(other_b->out.len, 100);
    mux_expect_none(r.cp_a);
    relay_clear(&r);
}

static void test_B2_window_overflow_through_a_relay(void **state) {
    (void)state;
    relay r;
    ee_error err = {0};

    relay_init(&r, NULL, NULL, NULL);
    connect_through(&r, eei_span("", 0));
    assert_int_equal(mux_inject_window(r.cp_a, 1, EEI_STREAM_WINDOW_MAX - EEI_STREAM_WINDOW, &err), EE_OK);
    assert_int_equal(r.b->grant_unsent, EEI_STREAM_WINDOW_MAX - EEI_STREAM_WINDOW);
    assert_int_equal(mux_inject_window(r.cp_a, 1, 1, &err), EE_OK);
    expect_reset(r.cp_a, r.a, "WINDOW of 1 makes a credit of 16777217, limit 16777216");
    expect_reset(r.cp_b, r.b, "WINDOW of 1 makes a credit of 16777217, limit 16777216");
    relay_clear(&r);
}

/* Many uploads to an agent whose connection has stalled: the cap is per connection and the one that holds most pays. */
static void test_B2_session_cap_of_a_relay(void **state) {
    (void)state;
    enum { STREAMS = 300 };
    relay r;
    eei_mux_event event;
    eei_stream *b;
    ee_error err = {0};
    size_t resets = 0;

    relay_init(&r, NULL, NULL, NULL);
    for (uint32_t id = 1; id < 2 * STREAMS; id += 2) {
        assert_int_equal(mux_inject_open(r.cp_a, id, 1000, "", &err), EE_OK);
        eei_stream *a = mux_expect(r.cp_a, EEI_MUX_OPENED, NULL);
        assert_int_equal(eei_mux_open_relay(a, r.cp_b, eei_span("", 0), &b, &err), EE_OK);
        for (int k = 0; k < 16; k++) assert_int_equal(mux_inject_data(r.cp_a, id, 16000, &err), EE_OK);
        assert_true(r.cp_b->relay_bytes <= EEI_SESSION_BUFFER_MAX);
        while (eei_mux_next_event(r.cp_a, &event)) {
            if (event.kind == EEI_MUX_RESET) resets++;
            eei_stream_free(event.stream);
        }
        while (eei_mux_next_event(r.cp_b, &event)) eei_stream_free(event.stream);
    }
    assert_in_range(resets, STREAMS * 256000 / EEI_SESSION_BUFFER_MAX, STREAMS * 2 / 3);
    assert_true(r.cp_b->relay_bytes > EEI_SESSION_BUFFER_MAX - EEI_STREAM_WINDOW);
    relay_clear(&r);
}

static void test_reset_passes_end_to_end(void **state) {
    (void)state;
    enum { BY_CLIENT, BY_AGENT, BY_RELAY_A, BY_RELAY_B, FREE_A, FREE_B, WAYS };
    for (int way = 0; way < WAYS; way++) {
        relay r;
        const char *reason = way >= FREE_A ? "the stream was let go" : "no such app";
        bool cp_did = way >= BY_RELAY_A;
        relay_init(&r, NULL, NULL, NULL);
        connect_through(&r, eei_span("", 0));
        eei_stream_write(r.user, eei_span(pattern, 200000)); /* queued data goes down with it */
        eei_stream_write(r.service, eei_span(pattern, 200000));
        mux_move(r.client, r.cp_a, 50000, 1000);
        mux_move(r.agent, r.cp_b, 50000, 1000);
        if (way == BY_CLIENT)
            eei_stream_reset(r.user, reason);
        else if (way == BY_AGENT)
            eei_stream_reset(r.service, reason);
        else if (way == BY_RELAY_A)
            eei_stream_reset(r.a, reason);
        else if (way == BY_RELAY_B)
            eei_stream_reset(r.b, reason);
        else
            eei_stream_free(way == FREE_A ? r.a : r.b);
        settle(&r);
        if (!cp_did || way == BY_RELAY_B || way == FREE_B) expect_reset(r.cp_a, r.a, reason);
        if (!cp_did || way == BY_RELAY_A || way == FREE_A) expect_reset(r.cp_b, r.b, reason);
        mux_expect_none(r.cp_a);
        mux_expect_none(r.cp_b);
        if (way != BY_CLIENT) expect_reset(r.client, r.user, reason);
        if (way != BY_AGENT) expect_reset(r.agent, r.service, reason);
        if (way != FREE_A) eei_stream_free(r.a);
        if (way != FREE_B) eei_stream_free(r.b);
        eei_stream_free(r.user);
        eei_stream_free(r.service);
        settle(&r);
        expect_empty(r.cp_a);
        expect_empty(r.cp_b);
        relay_clear(&r);
    }
}

static void test_either_connection_may_go_first(void **state) {
    (void)state;
    for (int left_first = 0; left_first <= 1; left_first++) {
        relay r;
        relay_init(&r, NULL, NULL, NULL);
        connect_through(&r, eei_span("", 0));
        eei_stream_write(r.user, eei_span(pattern, 1000));
        mux_move(r.client, r.cp_a, 50000, 1000);
        r.woken_a = r.woken_b = 0;
        if (left_first) {
            mux_pair_clear(&r.left);
            assert_true(r.woken_b > 0);
            expect_reset(r.cp_b, r.b, "the connection behind the relay ended");
            mux_pair_settle(&r.right);
            expect_reset(r.agent, r.service, "the connection behind the relay ended");
            eei_stream_free(r.b);
            expect_empty(r.cp_b);
        } else {
            mux_pair_clear(&r.right);
            assert_true(r.woken_a > 0);
            expect_reset(r.cp_a, r.a, "the connection behind the relay ended");
            mux_pair_settle(&r.left);
            expect_reset(r.client, r.user, "the connection behind the relay ended");
            eei_stream_free(r.a);
            expect_empty(r.cp_a);
        }
        relay_clear(&r);
    }
}

/* One half is over and freed while the other still flushes what it holds. */
static void test_a_finished_half_may_be_freed_first(void **state) {
    (void)state;
    relay r;

    relay_init(&r, NULL, NULL, NULL);
    connect_through(&r, eei_span("", 0));
    eei_stream_close(r.service);
    settle(&r);
    mux_expect(r.client, EEI_MUX_READABLE, NULL);
    eei_stream_write(r.user, eei_span(pattern, 100000));
    eei_stream_close(r.user);
    while (mux_move(r.client, r.cp_a, EEI_WS_MESSAGE_MAX, 1000)) {
    }
    assert_ptr_equal(mux_expect(r.cp_a, EEI_MUX_READABLE, NULL), r.a);
    eei_stream_free(r.a);
    eei_stream_free(r.b); /* done both ways as well: flushes, then goes */
    settle(&r);
    expect_bytes(r.service, eei_span(pattern, 100000));
    assert_true(eei_stream_at_end(r.service));
    expect_empty(r.cp_a);
    expect_empty(r.cp_b);
    relay_clear(&r);
}

static void test_what_cannot_be_joined(void **state) {
    (void)state;
    relay r;
    eei_stream *out = NULL;
    ee_error err = {0};

    relay_init(&r, NULL, &(eei_mux_options){.window = 1u << 20, .streams_max = 3}, NULL);
    connect_through(&r, eei_span("", 0));
    assert_int_equal(eei_mux_open_relay(r.a, r.cp_b, eei_span("", 0), &out, &err), EE_E_STATE); /* joined already */
    assert_int_equal(mux_inject_open(r.cp_a, 3, 1000, "", &err), EE_OK);
    eei_stream *a = mux_expect(r.cp_a, EEI_MUX_OPENED, NULL);
    assert_int_equal(eei_mux_open_relay(a, r.cp_a, eei_span("", 0), &out, &err), EE_E_STATE); /* same connection */
    assert_int_equal(eei_mux_open_relay(a, r.cp_b, eei_span(pattern, 4097), &out, &err), EE_E_INVALID);
    assert_null(out);
    eei_stream_close(a);
    assert_int_equal(eei_mux_open_relay(a, r.cp_b, eei_span("", 0), &out, &err), EE_E_STATE); /* we closed it */
    eei_stream_reset(a, "");
    assert_int_equal(eei_mux_open_relay(a, r.cp_b, eei_span("", 0), &out, &err), EE_E_STATE);
    eei_stream_free(a);
    assert_int_equal(mux_inject_open(r.cp_a, 5, 1000, "", &err), EE_OK);
    a = mux_expect(r.cp_a, EEI_MUX_OPENED, NULL);
    eei_buf gone = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX);
    assert_int_equal(eei_mux_transmit(r.cp_a, &gone, EEI_WS_MESSAGE_MAX, 1000, &err), EE_OK);
    eei_buf_clear(&gone);
    assert_int_equal(eei_mux_open_relay(a, r.cp_b, eei_span("", 0), &out, &err), EE_E_STATE); /* 1 MiB of our own was granted */
    assert_non_null(strstr(err.message, "1048576"));
    assert_int_equal(mux_inject_data(r.cp_a, 5, 10, &err), EE_OK); /* and the stream is as it was */
    mux_expect(r.cp_a, EEI_MUX_READABLE, NULL);
    assert_int_equal(eei_stream_peek(a).len, 10);
    relay_clear(&r);
}

/* Nobody polls the other connection: whatever a relay puts there is told. */
static void test_the_other_connection_is_woken(void **state) {
    (void)state;
    relay r;
    ee_error err = {0};

    relay_init(&r, NULL, NULL, NULL);
    connect_through(&r, eei_span("", 0));
    r.woken_a = r.woken_b = 0;
    assert_int_equal(mux_inject_data(r.cp_a, 1, 5, &err), EE_OK);
    assert_int_equal(r.woken_b, 1);
    assert_int_equal(mux_inject_window(r.cp_a, 1, 5, &err), EE_OK);
    assert_int_equal(r.woken_b, 2);
    assert_int_equal(mux_inject(r.cp_a, EEI_FRAME_CLOSE, 0, 1, eei_span("", 0), 0, &err), EE_OK);
    assert_int_equal(r.woken_b, 3);
    assert_int_equal(r.woken_a, 0);
    assert_int_equal(mux_inject_data(r.cp_b, 2, 5, &err), EE_OK);
    assert_int_equal(r.woken_a, 1);
    assert_int_equal(mux_inject(r.cp_b, EEI_FRAME_RESET, 0, 2, eei_span("", 0), 0, &err), EE_OK);
    assert_int_equal(r.woken_a, 2);
    assert_int_equal(r.woken_b, 3);
    relay_clear(&r);
}

/* The receiver's own connection is short (0 ms), the path is not (200 ms, 400 KB on their way): its window follows the path. */
static void test_window_grows_with_the_whole_path(void **state) {
    (void)state;
    static mux_line there, back;
    relay r;
    eei_mux_event event;
    size_t total = 0;

    relay_init(&r, NULL, NULL, NULL);
    connect_through(&r, eei_span("", 0));
    for (uint64_t now_ms = 1000; now_ms < 11000; now_ms++) {
        while (eei_stream_write(r.user, eei_span(pattern, sizeof pattern)) > 0) {
        }
        mux_line_put(&there, r.client, now_ms, 100, 2000);
        mux_line_get(&there, r.cp_a, now_ms);
        while (mux_move(r.cp_b, r.agent, EEI_WS_MESSAGE_MAX, now_ms)) {
        }
        for (ee_span front; (front = eei_stream_peek(r.service)).len > 0;) {
            total += front.len;
            eei_stream_consume(r.service, front.len);
        }
        while (mux_move(r.agent, r.cp_b, EEI_WS_MESSAGE_MAX, now_ms)) {
        }
        mux_line_put(&back, r.cp_a, now_ms, 100, SIZE_MAX);
        mux_line_get(&back, r.client, now_ms);
        while (eei_mux_next_event(r.client, &event) || eei_mux_next_event(r.agent, &event)) {
        }
    }
    print_message("window %u KiB, %zu KB in 10 s of 2,000 KB/s\n", r.service->window >> 10, total / 1000);
    assert_in_range(r.service->window, 2 * EEI_STREAM_WINDOW, 8 * EEI_STREAM_WINDOW);
    assert_true(total > 18000000);
    mux_line_get(&there, NULL, UINT64_MAX);
    mux_line_get(&back, NULL, UINT64_MAX);
    relay_clear(&r);
}

static void test_full_far_side_leaves_the_stream_usable(void **state) {
    (void)state;
    relay r;
    eei_stream *out = NULL, *a;
    ee_error err = {0};

    relay_init(&r, NULL, NULL, NULL);
    r.cp_b->options.streams_max = 0;
    assert_int_equal(mux_inject_open(r.cp_a, 1, 1000, "", &err), EE_OK);
    a = mux_expect(r.cp_a, EEI_MUX_OPENED, NULL);
    assert_int_equal(eei_mux_open_relay(a, r.cp_b, eei_span("", 0), &out, &err), EE_E_LIMIT);
    assert_int_equal(eei_stream_write(a, eei_span_text("try later")), 9);
    eei_stream_close(a);
    relay_clear(&r);
}

/* One whole life; every allocation of the four may fail, nothing may leak. */
static bool live_through(void) {
    eei_mux_options dialed = {.dialed = true};
    eei_mux *client = NULL, *cp_a = NULL, *cp_b = NULL, *agent = NULL;
    eei_stream *user = NULL, *a = NULL, *b = NULL, *service = NULL;
    eei_buf out = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX);
    eei_mux_event event;
    ee_error err = {0};
    size_t got = 0;

    if (eei_mux_new(&dialed, 0, &client, &err) || eei_mux_new(NULL, 0, &cp_a, &err)) goto done;
    if (eei_mux_new(NULL, 0, &cp_b, &err) || eei_mux_new(&dialed, 0, &agent, &err)) goto done;
    if (eei_mux_open(client, eei_span_text("app"), &user, &err)) goto done;
    if (eei_stream_write(user, eei_span(pattern, 20000)) != 20000) goto done;
    for (int i = 0; i < 12; i++) {
        eei_mux *from[] = {client, cp_b, agent, cp_a}, *to[] = {cp_a, agent, cp_b, client};
        eei_buf_reset(&out);
        if (eei_mux_transmit(from[i % 4], &out, 16384, 0, &err)) goto done;
        if (eei_mux_receive(to[i % 4], eei_buf_span(&out), 0, &err)) goto done;
        for (int k = 0; k < 4; k++) {
            while (eei_mux_next_event(to[k], &event)) {
                if (event.kind == EEI_MUX_RESET) goto done;
                if (event.kind == EEI_MUX_OPENED && to[k] == cp_a) a = event.stream;
                if (event.kind == EEI_MUX_OPENED && to[k] == agent) service = event.stream;
            }
        }
        if (a && !b && eei_mux_open_relay(a, cp_b, eei_span_text("x"), &b, &err)) goto done;
        while (service && eei_stream_peek(service).len > 0) {
            got += eei_stream_peek(service).len;
            eei_stream_consume(service, eei_stream_peek(service).len);
        }
    }
done:
    eei_mux_free(cp_a);
    eei_mux_free(client);
    eei_mux_free(agent);
    eei_mux_free(cp_b);
    eei_buf_clear(&out);
    return got == 20000;
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    eei_alloc_fail_at(0);
    assert_true(live_through());
    size_t total = eei_alloc_fail_at(0), failed = 0;
    assert_true(total > 12);
    for (size_t n = 1; n <= total; n++) {
        eei_alloc_fail_at(n);
        failed += live_through() ? 0 : 1;
    }
    eei_alloc_fail_at(0);
    assert_true(failed >= 12);
    assert_true(live_through());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_and_answer),
        cmocka_unit_test(test_closed_before_the_join),
        cmocka_unit_test(test_hands_off_a_relayed_stream),
        cmocka_unit_test(test_windows_pass_through),
        cmocka_unit_test(test_bytes_consumed_before_the_join_are_granted_again),
        cmocka_unit_test(test_relay_holds_no_more_than_the_credit),
        cmocka_unit_test(test_B2_window_overrun_ends_that_relay_only),
        cmocka_unit_test(test_B2_window_overflow_through_a_relay),
        cmocka_unit_test(test_B2_session_cap_of_a_relay),
        cmocka_unit_test(test_reset_passes_end_to_end),
        cmocka_unit_test(test_either_connection_may_go_first),
        cmocka_unit_test(test_a_finished_half_may_be_freed_first),
        cmocka_unit_test(test_what_cannot_be_joined),
        cmocka_unit_test(test_the_other_connection_is_woken),
        cmocka_unit_test(test_window_grows_with_the_whole_path),
        cmocka_unit_test(test_full_far_side_leaves_the_stream_usable),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}
