/* test_link.c - the dialing side of a tunnel against a small control plane: opening, streams, pipes, splices, reconnects, refusals, and
 * being freed at any moment. The websocket client alone is in here too. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/limits.h"
#include "net/link.h"
#include "net/ws_client.h"
#include "support/fake_quoter.h"
#include "support/test_control.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NETWORK_BYTE 9
#define WAIT_MS      20000

typedef struct fixture {
    fake_world world, other_world;
    fake_machine control_machine, agent_machine, other_machine;
    eei_prover *control, *agent;
    test_control *server;
    SSL_CTX *ctx;
    uv_loop_t loop;
    uv_timer_t guard;
    eei_link *link;

    unsigned opened, closed, streams;
    bool gone;
    ee_error why;
    uint64_t retry_in_ms;
    eei_stream *stream;
    void (*on_stream)(struct fixture *f, eei_stream *stream, eei_mux_event_kind kind);

    eei_pipe *pipe;
    bool pipe_open, pipe_ended, pipe_clean, keep_open;
    ee_error pipe_why;

    const uint8_t *data; /* what is sent, and must come back */
    size_t total, sent, got;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    fake_world_init(&f->world);
    fake_machine_init(&f->control_machine, &f->world, "c");
    fake_machine_init(&f->agent_machine, &f->world, "a");
    f->control = fake_prover(&f->control_machine, &f->world, EEI_ROLE_CONTROL, "net", NETWORK_BYTE);
    f->agent = fake_prover(&f->agent_machine, &f->world, EEI_ROLE_AGENT, "node-a", 7);
    assert_int_equal(eei_client_ctx_new(&f->ctx, NULL), EE_OK);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    uv_timer_init(&f->loop, &f->guard);
    *state = f;
    return 0;
}

static void on_gone(void *user) { ((fixture *)user)->gone = true; }

/* The loop must come to its end by itself: a handle that is left over hangs here, and the guard says so. */
static void let_go(fixture *f) {
    if (f->pipe) eei_pipe_free(eei_take(&f->pipe));
    if (f->link) {
        f->gone = false;
        eei_link_free(eei_take(&f->link), on_gone, f);
        while (!f->gone) uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static int teardown(void **state) {
    fixture *f = *state;
    let_go(f);
    uv_close((uv_handle_t *)&f->guard, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    test_control_stop(f->server);
    SSL_CTX_free(f->ctx);
    eei_prover_free(f->control);
    eei_prover_free(f->agent);
    fake_machine_clear(&f->control_machine);
    fake_machine_clear(&f->agent_machine);
    fake_world_clear(&f->world);
    free(f);
    return 0;
}

/* ---- running ---------------------------------------------------------------------------------------------------------- */

static void on_guard(uv_timer_t *timer) { ++*(unsigned *)timer->data; }

/* The guard ticks, so that a turn of the loop never blocks for long, and ends the waiting in the end. */
#define RUN_UNTIL(f, condition)                                                                                                            \
    do {                                                                                                                                   \
        unsigned ticks = 0;                                                                                                                \
        (f)->guard.data = &ticks;                                                                                                          \
        uv_timer_start(&(f)->guard, on_guard, 10, 10);                                                                                     \
        while (!(condition) && ticks < WAIT_MS / 10) uv_run(&(f)->loop, UV_RUN_ONCE);                                                      \
        uv_timer_stop(&(f)->guard);                                                                                                        \
        if (!(condition)) fail_msg("waited in vain for %s (%s)", #condition, (f)->why.message);                                            \
    } while (0)

static void on_open(void *user, const eei_accept *accept) {
    fixture *f = user;
    assert_non_null(accept);
    f->opened++;
}
static void on_closed(void *user, const ee_error *why, uint64_t retry_in_ms) {
    fixture *f = user;
    f->closed++;
    f->why = *why;
    f->retry_in_ms = retry_in_ms;
}
static void on_opened(void *user, eei_stream *stream, ee_span payload) {
    fixture *f = user;
    assert_true(eei_span_equal(payload, eei_span_text("hello")));
    f->streams++;
    f->stream = stream;
}
static void on_stream(void *user, eei_stream *stream, eei_mux_event_kind kind) {
    fixture *f = user;
    eei_pipe *pipe = eei_stream_user(stream);
    if (pipe)
        eei_pipe_event(pipe, kind);
    else if (f->on_stream)
        f->on_stream(f, stream, kind);
}

static void serve(fixture *f, test_control_options o) {
    if (!o.prover) o.prover = f->control;
    if (!o.judge) o.judge = f->world.judge;
    f->server = test_control_start(&o);
}

static void dial_url(fixture *f, const char *url, uint8_t role, bool reconnect) {
    eei_link_options o = {.url = url,
                          .role = role,
                          .release = "0.1.0",
                          .judge = f->world.judge,
                          .reconnect = reconnect,
                          .user = f,
                          .on_open = on_open,
                          .on_opened = on_opened,
                          .on_stream = on_stream,
                          .on_closed = on_closed};
    ee_error err = {0};
    memset(o.network_id, NETWORK_BYTE, 32);
    if (role != EEI_ROLE_CLIENT) {
        o.node = "node-a";
        o.prover = f->agent;
    }
    if (eei_link_new(&f->loop, &o, &f->link, &err)) fail_msg("%s", err.message);
    eei_link_start(f->link);
}

static void dial(fixture *f, uint8_t role, bool reconnect) { dial_url(f, test_control_url(f->server), role, reconnect); }

static void dial_open(fixture *f, uint8_t role, bool reconnect) {
    dial(f, role, reconnect);
    RUN_UNTIL(f, f->opened || f->closed);
    if (!f->opened) fail_msg("%s", f->why.message);
}

static uint8_t *pattern(size_t total) {
    uint8_t *data = malloc(total);
    for (size_t i = 0; i < total; i++) data[i] = (uint8_t)(i * 2654435761u >> 11);
    return data;
}

/* ---- opening ---------------------------------------------------------------------------------------------------------- */

static void test_client_opens_and_knows_the_control_plane(void **state) {
    fixture *f = *state;

    serve(f, (test_control_options){0});
    dial_open(f, EEI_ROLE_CLIENT, false);
    assert_true(eei_link_is_open(f->link));
    assert_int_equal(ee_verdict_verified(eei_link_verdict(f->link)), 1);
    assert_memory_equal(eei_link_control_instance(f->link), eei_prover_instance_id(f->control), 32);
    assert_int_equal(test_control_accepted(f->server), 1);
}

static void test_agent_opens_with_a_quote(void **state) {
    fixture *f = *state;
    unsigned quotes = f->agent_machine.quotes;

    serve(f, (test_control_options){0});
    dial_open(f, EEI_ROLE_AGENT, true);
    assert_int_equal(f->agent_machine.quotes, quotes + 1);
    assert_int_equal(ee_verdict_verified(eei_link_verdict(f->link)), 1);
}

static void test_wrong_addresses_are_configuration_errors(void **state) {
    static const char *const urls[] = {"",
                                       "http://a:1",
                                       "https://",
                                       "https://:443",
                                       "https://a:b",
                                       "https://a/path",
                                       "https://a:1/x",
                                       "https://u@a",
                                       "https://[::1",
                                       "https://a:123456"};
    fixture *f = *state;

    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        const eei_link_options o = {.url = urls[i], .role = EEI_ROLE_CLIENT, .judge = f->world.judge};
        print_message("%s\n", urls[i]);
        assert_int_equal(eei_link_new(&f->loop, &o, &f->link, NULL), EE_E_CONFIG);
        assert_null(f->link);
    }
    const eei_link_options client_that_proves = {.url = "https://a", .role = EEI_ROLE_CLIENT, .judge = f->world.judge, .prover = f->agent};
    assert_int_equal(eei_link_new(&f->loop, &client_that_proves, &f->link, NULL), EE_E_INVALID);
    const eei_link_options no_judge = {.url = "https://a", .role = EEI_ROLE_CLIENT};
    assert_int_equal(eei_link_new(&f->loop, &no_judge, &f->link, NULL), EE_E_INVALID);
}

static void test_nobody_there_is_a_connect_error(void **state) {
    fixture *f = *state;

    serve(f, (test_control_options){0});
    dial(f, EEI_ROLE_CLIENT, false);
    test_control_stop(eei_take(&f->server));
    RUN_UNTIL(f, f->closed);
    assert_int_equal(f->why.status, EE_E_CONNECT);
    assert_non_null(strstr(f->why.message, strerror(ECONNREFUSED)));
    assert_int_equal(f->opened, 0);
}

/* Names in test.invalid have two addresses: nobody listens on the first. Everything else is looked up as ever. libuv
 * finds this one in place of libc's. */
static bool two_addresses;
__attribute__((visibility("default"))) int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                                                       struct addrinfo **out) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!two_addresses || strcmp(name, "test.invalid") != 0) return real(name, service, hints, out);
    struct addrinfo *first = NULL;
    int rc = real("127.0.0.2", service, hints, &first);
    if (!rc) rc = real("127.0.0.1", service, hints, &first->ai_next);
    *out = first;
    return rc;
}

static void test_refused_address_falls_back_to_the_next(void **state) {
    fixture *f = *state;
    char url[64];

    two_addresses = true;
    serve(f, (test_control_options){0});
    (void)snprintf(url, sizeof url, "https://test.invalid%s", strrchr(test_control_url(f->server), ':'));
    dial_url(f, url, EEI_ROLE_CLIENT, false);
    RUN_UNTIL(f, f->opened || f->closed);
    two_addresses = false;
    if (!f->opened) fail_msg("%s", f->why.message);
}

/* ---- refusals --------------------------------------------------------------------------------------------------------- */

static void expect_closed(fixture *f, uint8_t role, ee_status want) {
    dial(f, role, false);
    RUN_UNTIL(f, f->closed || f->opened);
    print_message("  %s\n", f->why.message);
    assert_int_equal(f->opened, 0);
    assert_int_equal(f->why.status, want);
    assert_true(f->retry_in_ms == UINT64_MAX);
    assert_false(eei_link_is_open(f->link));
    assert_null(eei_link_verdict(f->link));
}

static void test_control_plane_under_another_root_is_refused(void **state) {
    fixture *f = *state;
    fake_world other;
    fake_machine machine;

    fake_world_init(&other);
    fake_machine_init(&machine, &other, "evil");
    eei_prover *evil = fake_prover(&machine, &other, EEI_ROLE_CONTROL, "net", NETWORK_BYTE);
    serve(f, (test_control_options){.prover = evil});
    expect_closed(f, EEI_ROLE_CLIENT, EE_E_ATTESTATION);
    assert_int_equal(test_control_accepted(f->server), 0);
    let_go(f);
    test_control_stop(eei_take(&f->server));
    eei_prover_free(evil);
    fake_machine_clear(&machine);
    fake_world_clear(&other);
}

static void refused_prover(fixture *f, uint8_t role, uint8_t network_byte, uint8_t dialing) {
    fake_machine machine;

    fake_machine_init(&machine, &f->world, "evil");
    eei_prover *evil = fake_prover(&machine, &f->world, role, "net", network_byte);
    serve(f, (test_control_options){.prover = evil});
    expect_closed(f, dialing, EE_E_ATTESTATION);
    assert_int_equal(test_control_accepted(f->server), 0);
    let_go(f);
    test_control_stop(eei_take(&f->server));
    eei_prover_free(evil);
    fake_machine_clear(&machine);
}

static void test_control_plane_of_another_network_is_refused(void **state) {
    refused_prover(*state, EEI_ROLE_CONTROL, NETWORK_BYTE + 1, EEI_ROLE_CLIENT);
}
static void test_agent_posing_as_control_plane_is_refused(void **state) {
    refused_prover(*state, EEI_ROLE_AGENT, NETWORK_BYTE, EEI_ROLE_AGENT);
}

static void test_rejection_carries_its_reason(void **state) {
    fixture *f = *state;

    serve(f, (test_control_options){.reject = EE_E_PERMISSION, .retry_after_ms = 4000});
    expect_closed(f, EEI_ROLE_AGENT, EE_E_PERMISSION);
    assert_int_equal(f->why.retry_after_ms, 4000);
}

static void test_http_errors_keep_their_meaning(void **state) {
    fixture *f = *state;

    serve(f, (test_control_options){.http_status = 503, .http_extra = "Retry-After: 7\r\n"});
    expect_closed(f, EEI_ROLE_CLIENT, EE_E_CONNECT);
    assert_int_equal(f->why.http_status, 503);
    assert_int_equal(f->why.retry_after_ms, 7000);
}

static void test_B3_compression_is_not_negotiated(void **state) {
    fixture *f = *state;
    serve(f, (test_control_options){.http_extra = "Sec-WebSocket-Extensions: permessage-deflate\r\n"});
    expect_closed(f, EEI_ROLE_CLIENT, EE_E_MALFORMED);
}

static void test_streams_before_acceptance_are_refused(void **state) {
    fixture *f = *state;
    serve(f, (test_control_options){.frames_early = 1});
    expect_closed(f, EEI_ROLE_AGENT, EE_E_MALFORMED);
    assert_int_equal(f->streams, 0);
}

static void test_own_quote_that_cannot_be_made_is_told(void **state) {
    fixture *f = *state;
    f->agent_machine.quote_fails = true;
    serve(f, (test_control_options){0});
    expect_closed(f, EEI_ROLE_AGENT, EE_E_IO);
}

/* ---- streams ---------------------------------------------------------------------------------------------------------- */

static void echo_move(fixture *f, eei_stream *stream) {
    while (f->sent < f->total) {
        size_t n = eei_stream_write(stream, eei_span(f->data + f->sent, f->total - f->sent));
        f->sent += n;
        if (!n) break;
    }
    for (;;) {
        ee_span got = eei_stream_peek(stream);
        if (!got.len) break;
        assert_true(f->got + got.len <= f->total);
        assert_memory_equal(got.data, f->data + f->got, got.len);
        f->got += got.len;
        eei_stream_consume(stream, got.len);
    }
    eei_link_flush(f->link);
}

static void on_echo(fixture *f, eei_stream *stream, eei_mux_event_kind kind) {
    assert_int_not_equal(kind, EEI_MUX_RESET);
    echo_move(f, stream);
}

static void test_raw_stream_echoes_10_mb(void **state) {
    fixture *f = *state;
    uint8_t *data = pattern(10u << 20);
    eei_stream *stream = NULL;

    serve(f, (test_control_options){0});
    dial_open(f, EEI_ROLE_CLIENT, false);
    f->data = data;
    f->total = 10u << 20;
    f->on_stream = on_echo;
    assert_int_equal(eei_link_open_stream(f->link, eei_span_text("x"), &stream, NULL), EE_OK);
    echo_move(f, stream);
    RUN_UNTIL(f, f->got == f->total || f->closed);
    assert_int_equal(f->closed, 0);
    eei_stream_close(stream); /* half: the other side ends its own then */
    eei_link_flush(f->link);
    RUN_UNTIL(f, eei_stream_at_end(stream));
    eei_stream_free(stream);
    free(data);
}

static void test_streams_the_control_plane_opens_arrive(void **state) {
    fixture *f = *state;

    serve(f, (test_control_options){.open_streams = 3});
    dial_open(f, EEI_ROLE_AGENT, false);
    RUN_UNTIL(f, f->streams == 3 && eei_stream_peek(f->stream).len == 12);
    assert_true(eei_span_equal(eei_stream_peek(f->stream), eei_span_text("from control")));
}

static void test_nothing_works_on_a_link_that_is_not_open(void **state) {
    fixture *f = *state;
    eei_stream *stream = NULL;

    serve(f, (test_control_options){0});
    dial(f, EEI_ROLE_CLIENT, false);
    assert_int_equal(eei_link_open_stream(f->link, eei_span_text("x"), &stream, NULL), EE_E_CONNECT);
    assert_int_equal(eei_link_send(f->link, EEI_FRAME_HEAD, 0, eei_span_text("x"), NULL), EE_E_CONNECT);
    assert_null(eei_link_control_instance(f->link));
    eei_link_flush(f->link);
}

/* ---- reconnect -------------------------------------------------------------------------------------------------------- */

static void test_agent_comes_back_when_it_is_dropped(void **state) {
    fixture *f = *state;

    serve(f, (test_control_options){0});
    dial_open(f, EEI_ROLE_AGENT, true);
    for (unsigned i = 1; i <= 3; i++) {
        test_control_drop(f->server);
        RUN_UNTIL(f, f->closed == i);
        assert_int_equal(f->retry_in_ms, 0); /* it had worked: at once */
        RUN_UNTIL(f, f->opened == i + 1);
    }
    assert_int_equal(test_control_accepted(f->server), 4);
}

static void test_retries_slow_down_and_heed_the_server(void **state) {
    fixture *f = *state;

    serve(f, (test_control_options){.http_status = 500});
    dial(f, EEI_ROLE_AGENT, true);
    RUN_UNTIL(f, f->closed == 1);
    assert_int_equal(f->retry_in_ms, 0); /* first at once */
    RUN_UNTIL(f, f->closed == 2);
    assert_true(f->retry_in_ms <= 500);
    RUN_UNTIL(f, f->closed == 3);
    assert_true(f->retry_in_ms <= 1000);
    let_go(f);
    test_control_stop(eei_take(&f->server));
    serve(f, (test_control_options){.http_status = 503, .http_extra = "Retry-After: 60\r\n"});
    f->closed = 0;
    dial(f, EEI_ROLE_AGENT, true);
    RUN_UNTIL(f, f->closed == 1);
    assert_int_equal(f->retry_in_ms, 60000);
}

/* ---- pipes ------------------------------------------------------------------------------------------------------------ */

static void pipe_move(fixture *f) {
    eei_channel *channel = eei_pipe_channel(f->pipe);
    size_t n;

    while (f->sent < f->total && (n = eei_channel_write(channel, eei_span(f->data + f->sent, f->total - f->sent))) > 0) f->sent += n;
    ee_span got = eei_channel_peek(channel);
    assert_true(f->got + got.len <= f->total);
    if (got.len) assert_memory_equal(got.data, f->data + f->got, got.len);
    f->got += got.len;
    eei_channel_consume(channel, got.len);
    if (f->total && f->got == f->total && !f->keep_open) eei_channel_close(channel);
    eei_pipe_flush(f->pipe);
}

static void pipe_on_open(void *user) {
    fixture *f = user;
    f->pipe_open = true;
    if (f->total) pipe_move(f);
}
static void pipe_on_readable(void *user) { pipe_move(user); }
static void pipe_on_writable(void *user) { pipe_move(user); }
static void pipe_on_end(void *user, const ee_error *why) {
    fixture *f = user;
    assert_false(f->pipe_ended);
    f->pipe_ended = true;
    f->pipe_clean = !why;
    if (why) f->pipe_why = *why;
}

static void pipe_to(fixture *f, const eei_prover *wanted, bool strict) {
    eei_channel_client o = {.ctx = f->ctx, .judge = f->world.judge, .alpn = EEI_ALPN_JOB, .node_name = "node-a", .strict = strict};
    const eei_pipe_callbacks callbacks = {f, pipe_on_open, pipe_on_readable, pipe_on_writable, pipe_on_end};
    eei_channel *channel = NULL;
    eei_stream *stream = NULL;

    memcpy(o.instance_id, eei_prover_instance_id(wanted), 32);
    memcpy(o.node_id, eei_prover_node_id(wanted), 32);
    assert_int_equal(eei_link_open_stream(f->link, eei_span_text("job"), &stream, NULL), EE_OK);
    assert_int_equal(eei_channel_new_client(&o, eei_mono_ms(), &channel, NULL), EE_OK);
    assert_int_equal(eei_pipe_new(f->link, stream, channel, &callbacks, &f->pipe, NULL), EE_OK);
}

static void test_pipe_echoes_10_mb_and_ends_cleanly(void **state) {
    fixture *f = *state;
    uint8_t *data = pattern(10u << 20);

    serve(f, (test_control_options){.agent = f->agent});
    dial_open(f, EEI_ROLE_CLIENT, false);
    f->data = data;
    f->total = 10u << 20;
    pipe_to(f, f->agent, false);
    RUN_UNTIL(f, f->pipe_ended);
    if (!f->pipe_clean) fail_msg("%s", f->pipe_why.message);
    assert_int_equal(f->got, f->total);
    assert_int_equal(ee_verdict_verified(eei_channel_verdict(eei_pipe_channel(f->pipe))), 1);
    free(data);
}

static void test_strict_pipe_opens(void **state) {
    fixture *f = *state;
    unsigned quotes = f->agent_machine.quotes;

    serve(f, (test_control_options){.agent = f->agent});
    dial_open(f, EEI_ROLE_CLIENT, false);
    pipe_to(f, f->agent, true);
    RUN_UNTIL(f, f->pipe_open || f->pipe_ended);
    assert_true(f->pipe_open);
    assert_int_equal(f->agent_machine.quotes, quotes + 1);
}

static void test_Q11_pipe_to_another_instance_is_refused(void **state) {
    fixture *f = *state;

    serve(f, (test_control_options){.agent = f->agent});
    dial_open(f, EEI_ROLE_CLIENT, false);
    pipe_to(f, f->control, false);
    RUN_UNTIL(f, f->pipe_ended);
    assert_false(f->pipe_open);
    assert_int_equal(f->pipe_why.status, EE_E_ATTESTATION);
    assert_true(eei_link_is_open(f->link)); /* the tunnel is fine */
}

static void test_reset_reason_reaches_the_owner(void **state) {
    static const struct {
        const char *reason;
        ee_status want;
        const char *message;
    } cases[] = {
        {"app_unavailable: web is not running", EE_E_APP_UNAVAILABLE, "web is not running"},
        {"permission", EE_E_PERMISSION, "stream was reset: permission"},
        {"nonsense: x", EE_E_CLOSED, "stream was reset: nonsense: x"},
        {"ok: fine", EE_E_CLOSED, "stream was reset: ok: fine"},
        {"", EE_E_CLOSED, "stream was reset: no reason given"},
    };
    fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        serve(f, (test_control_options){.reset_with = cases[i].reason});
        f->opened = 0;
        f->pipe_ended = false;
        dial_open(f, EEI_ROLE_CLIENT, false);
        pipe_to(f, f->agent, false);
        RUN_UNTIL(f, f->pipe_ended);
        print_message("  %s\n", f->pipe_why.message);
        assert_int_equal(f->pipe_why.status, cases[i].want);
        assert_string_equal(f->pipe_why.message, cases[i].message);
        let_go(f);
        test_control_stop(eei_take(&f->server));
    }
}

static void test_truncated_pipe_is_told_apart(void **state) {
    fixture *f = *state;
    uint8_t data[100] = {1};

    serve(f, (test_control_options){.agent = f->agent, .cut_channels = true});
    dial_open(f, EEI_ROLE_CLIENT, false);
    f->data = data;
    f->total = sizeof data;
    f->keep_open = true;
    pipe_to(f, f->agent, false);
    RUN_UNTIL(f, f->pipe_ended);
    assert_int_equal(f->got, f->total); /* what came before the cut was delivered */
    assert_false(f->pipe_clean);
    assert_int_equal(f->pipe_why.status, EE_E_CLOSED);
    assert_non_null(strstr(f->pipe_why.message, "cut off"));
}

static void test_dropped_tunnel_ends_its_pipes(void **state) {
    fixture *f = *state;

    serve(f, (test_control_options){.agent = f->agent});
    dial_open(f, EEI_ROLE_CLIENT, false);
    pipe_to(f, f->agent, false);
    RUN_UNTIL(f, f->pipe_open);
    test_control_drop(f->server);
    RUN_UNTIL(f, f->closed);
    assert_true(f->pipe_ended);
    assert_false(f->pipe_clean);
    eei_pipe_flush(f->pipe); /* harmless */
}

/* ---- splices ---------------------------------------------------------------------------------------------------------- */

typedef struct user_end {
    int fd;
    const uint8_t *data;
    size_t total, got;
    bool ok;
} user_end;

static void *write_all(void *arg) {
    user_end *u = arg;
    for (size_t at = 0; at < u->total;) {
        ssize_t n = send(u->fd, u->data + at, u->total - at, MSG_NOSIGNAL);
        if (n <= 0) return NULL;
        at += (size_t)n;
    }
    shutdown(u->fd, SHUT_WR); /* half-close: the echo still comes */
    return NULL;
}

static void *read_all(void *arg) {
    user_end *u = arg;
    static uint8_t bytes[50000];
    for (;;) {
        ssize_t n = recv(u->fd, bytes, sizeof bytes, 0);
        if (n < 0) return NULL;
        if (n == 0) break;
        if (u->got + (size_t)n > u->total || memcmp(bytes, u->data + u->got, (size_t)n) != 0) return NULL;
        u->got += (size_t)n;
    }
    u->ok = u->got == u->total;
    return NULL;
}

typedef struct splice_end {
    bool done, clean;
    ee_error why;
} splice_end;

static void splice_done(void *user, const ee_error *why) {
    splice_end *end = user;
    end->done = true;
    end->clean = !why;
    if (why) end->why = *why;
}

static void spliced_pipe(fixture *f, int fds[2], splice_end *end, eei_splice **splice) {
    *end = (splice_end){0};
    serve(f, (test_control_options){.agent = f->agent});
    dial_open(f, EEI_ROLE_CLIENT, false);
    pipe_to(f, f->agent, false);
    RUN_UNTIL(f, f->pipe_open || f->pipe_ended);
    assert_true(f->pipe_open);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(eei_splice_new(f->link, f->pipe, fds[0], splice_done, end, splice, NULL), EE_OK);
    f->pipe = NULL; /* the splice's now */
}

static void test_splice_echoes_with_half_close(void **state) {
    fixture *f = *state;
    uint8_t *data = pattern(6u << 20);
    int fds[2];
    static splice_end end;
    eei_splice *splice = NULL;
    pthread_t writer, reader;

    spliced_pipe(f, fds, &end, &splice);
    user_end u = {.fd = fds[1], .data = data, .total = 6u << 20};
    assert_int_equal(pthread_create(&writer, NULL, write_all, &u), 0);
    assert_int_equal(pthread_create(&reader, NULL, read_all, &u), 0);
    RUN_UNTIL(f, end.done);
    pthread_join(writer, NULL);
    pthread_join(reader, NULL);
    if (!end.clean) fail_msg("%s", end.why.message);
    assert_true(u.ok);
    assert_int_equal(u.got, u.total);
    close(fds[1]);
    free(data);
}

static void test_splice_ends_when_the_tunnel_does(void **state) {
    fixture *f = *state;
    int fds[2];
    static splice_end end;
    eei_splice *splice = NULL;
    uint8_t byte;

    spliced_pipe(f, fds, &end, &splice);
    test_control_drop(f->server);
    RUN_UNTIL(f, end.done);
    assert_false(end.clean);
    assert_int_equal(recv(fds[1], &byte, 1, 0), 0);
    close(fds[1]);
}

static void test_splice_freed_early_closes_both(void **state) {
    fixture *f = *state;
    int fds[2];
    static splice_end end;
    eei_splice *splice = NULL;
    uint8_t byte;

    spliced_pipe(f, fds, &end, &splice);
    eei_splice_free(splice);
    assert_int_equal(recv(fds[1], &byte, 1, 0), 0);
    assert_false(end.done);
    close(fds[1]);
}

static void test_link_freed_under_a_splice(void **state) {
    fixture *f = *state;
    int fds[2];
    static splice_end end;
    eei_splice *splice = NULL;

    spliced_pipe(f, fds, &end, &splice);
    let_go(f);
    assert_true(end.done);
    close(fds[1]);
}

/* ---- any time --------------------------------------------------------------------------------------------------------- */

static void test_free_at_any_time_is_safe(void **state) {
    fixture *f = *state;
    unsigned later = 0;

    serve(f, (test_control_options){.agent = f->agent});
    for (unsigned turns = 0; turns < 60; turns++) {
        f->opened = f->closed = 0;
        f->pipe_open = f->pipe_ended = false;
        dial(f, turns % 2 ? EEI_ROLE_CLIENT : EEI_ROLE_AGENT, true);
        /* Turn by turn through name, connection, TLS, verdict, upgrade, session, stream, channel, verdict. */
        for (unsigned i = 0; i < turns && !f->pipe_open && !f->closed && !(f->opened && turns % 2 == 0); i++) {
            uv_run(&f->loop, UV_RUN_ONCE);
            if (f->opened && !f->pipe) pipe_to(f, f->agent, turns % 4 == 1);
        }
        later += f->opened;
        if (turns % 5 == 0 && f->pipe) eei_pipe_free(eei_take(&f->pipe));
        if (turns % 7 == 0) {
            f->gone = false;
            eei_link_free(eei_take(&f->link), on_gone, f); /* before its pipes */
            if (f->pipe) eei_pipe_free(eei_take(&f->pipe));
            while (!f->gone) uv_run(&f->loop, UV_RUN_ONCE);
        }
        let_go(f);
    }
    print_message("  %u of 60 had opened\n", later);
    assert_in_range(later, 10, 55);
}

static void test_out_of_memory_while_opening(void **state) {
    fixture *f = *state;

    serve(f, (test_control_options){0});
    for (size_t n = 1; n < 120; n++) {
        eei_link_options o = {.url = test_control_url(f->server),
                              .role = EEI_ROLE_CLIENT,
                              .judge = f->world.judge,
                              .user = f,
                              .on_open = on_open,
                              .on_closed = on_closed};
        memset(o.network_id, NETWORK_BYTE, 32);
        f->opened = f->closed = 0;
        eei_alloc_fail_at(n); /* ours or the server's: neither may crash, leak or hang */
        if (eei_link_new(&f->loop, &o, &f->link, NULL) == EE_OK) {
            eei_link_start(f->link);
            RUN_UNTIL(f, f->opened || f->closed);
        }
        eei_alloc_fail_at(0);
        let_go(f);
    }
}

/* ---- websocket client alone ------------------------------------------------------------------------------------------- */

typedef struct messages {
    unsigned count;
    size_t bytes;
} messages;

static ee_status on_message(void *user, ee_span message, ee_error *err) {
    messages *m = user;
    m->count++;
    m->bytes += message.len;
    return message.len == 13 ? eei_fail(err, EE_E_MALFORMED, "unlucky") : EE_OK;
}

static eei_ws *ws_new(messages *m, char accept[64]) {
    const eei_ws_options o = {.host = "h:1", .path = "/v1/tunnel", .user = m, .on_message = on_message};
    eei_ws *ws = NULL;
    char text[128];
    uint8_t digest[EVP_MAX_MD_SIZE];

    assert_int_equal(eei_ws_new(&o, &ws, NULL), EE_OK);
    ee_span request = eei_ws_output(ws);
    const char *key = memmem(request.data, request.len, "Sec-WebSocket-Key: ", 19);
    assert_non_null(key);
    snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
    EVP_Digest(text, strlen(text), digest, NULL, EVP_sha1(), NULL);
    EVP_EncodeBlock((unsigned char *)accept, digest, 20);
    eei_ws_output_sent(ws, request.len);
    return ws;
}

#define GOOD "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Protocol: ee.v1\r\n"

static void test_upgrade_answers(void **state) {
    static const struct {
        const char *name, *head; /* %s: the right accept value */
        ee_status want;
    } cases[] = {
        {"good", "HTTP/1.1 101 Switching Protocols\r\n" GOOD "Sec-WebSocket-Accept: %s\r\n\r\n", EE_OK},
        {"no text after the status", "HTTP/1.1 101\r\n" GOOD "sec-websocket-accept:%s \r\n\r\n", EE_OK},
        {"wrong accept", "HTTP/1.1 101 X\r\n" GOOD "Sec-WebSocket-Accept: x%s\r\n\r\n", EE_E_MALFORMED},
        {"no accept", "HTTP/1.1 101 X\r\n" GOOD "\r\n", EE_E_MALFORMED},
        {"accept twice", "HTTP/1.1 101 X\r\n" GOOD "Sec-WebSocket-Accept: %1$s\r\nSec-WebSocket-Accept: %1$s\r\n\r\n", EE_E_MALFORMED},
        {"other protocol",
         "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: x\r\nSec-WebSocket-Accept: %s\r\n\r\n",
         EE_E_MALFORMED},
        {"no protocol", "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", EE_E_MALFORMED},
        {"no connection", "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: ee.v1\r\nSec-WebSocket-Accept: %s\r\n\r\n",
         EE_E_MALFORMED},
        {"an extension", "HTTP/1.1 101 X\r\n" GOOD "Sec-WebSocket-Extensions: x\r\nSec-WebSocket-Accept: %s\r\n\r\n", EE_E_MALFORMED},
        {"HTTP/1.0", "HTTP/1.0 101 X\r\n" GOOD "Sec-WebSocket-Accept: %s\r\n\r\n", EE_E_MALFORMED},
        {"status 1010", "HTTP/1.1 1010\r\n" GOOD "Sec-WebSocket-Accept: %s\r\n\r\n", EE_E_MALFORMED},
        {"header without colon", "HTTP/1.1 101 X\r\nUpgrade\r\n\r\n", EE_E_MALFORMED},
        {"space in a name", "HTTP/1.1 101 X\r\nUp grade: x\r\n\r\n", EE_E_MALFORMED},
        {"200", "HTTP/1.1 200 OK\r\n\r\n", EE_E_SERVER},
        {"401", "HTTP/1.1 401 no\r\n\r\n", EE_E_AUTH},
        {"404", "HTTP/1.1 404 no\r\n\r\n", EE_E_NOT_FOUND},
        {"429", "HTTP/1.1 429 no\r\n\r\n", EE_E_RATE_LIMIT},
        {"502", "HTTP/1.1 502 no\r\n\r\n", EE_E_CONNECT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t split = 1; split < 2000; split += 1999 - 1) {
            messages m = {0};
            char accept[64], head[1024];
            eei_ws *ws = ws_new(&m, accept);
            ee_status st = EE_OK;
            print_message("%s\n", cases[i].name);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(head, sizeof head, cases[i].head, accept);
#pragma GCC diagnostic pop
            for (size_t at = 0, n = strlen(head); at < n && !st; at += split)
                st = eei_ws_receive(ws, eei_span(head + at, n - at < split ? n - at : split), NULL);
            assert_int_equal(st, cases[i].want);
            assert_int_equal(eei_ws_is_open(ws), !cases[i].want);
            if (st) assert_int_equal(eei_ws_receive(ws, eei_span("x", 1), NULL), st); /* final */
            assert_int_equal(eei_ws_send(ws, eei_span("x", 1), NULL), st ? EE_E_STATE : EE_OK);
            eei_ws_free(ws);
        }
    }
}

static void test_B1_endless_answer_is_cut_off(void **state) {
    messages m = {0};
    char accept[64], block[4096];
    eei_ws *ws = ws_new(&m, accept);
    ee_status st = EE_OK;

    (void)state;
    memset(block, 'a', sizeof block);
    for (int i = 0; i < 10 && !st; i++) st = eei_ws_receive(ws, eei_span(block, sizeof block), NULL);
    assert_int_equal(st, EE_E_LIMIT);
    eei_ws_free(ws);
}

static eei_ws *ws_open(messages *m) {
    char accept[64], head[512];
    eei_ws *ws = ws_new(m, accept);
    snprintf(head, sizeof head, "HTTP/1.1 101 X\r\n" GOOD "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    assert_int_equal(eei_ws_receive(ws, eei_span_text(head), NULL), EE_OK);
    return ws;
}

static void test_B4_frames_that_break_the_rules(void **state) {
    static const struct {
        const char *name, *bytes;
        size_t len;
        ee_status want;
        unsigned messages;
    } cases[] = {
        {"binary",
         "\x82\x03"
         "abc",
         5, EE_OK, 1},
        {"two at once",
         "\x82\x01"
         "a\x82\x01"
         "b",
         6, EE_OK, 2},
        {"fragmented",
         "\x02\x01"
         "a\x80\x01"
         "b",
         6, EE_OK, 1},
        {"ping", "\x89\x00", 2, EE_OK, 0},
        {"half a frame", "\x82\x7e\x01", 3, EE_OK, 0},
        {"refused by its reader",
         "\x82\x0d"
         "1234567890123",
         15, EE_E_MALFORMED, 1},
        {"text",
         "\x81\x01"
         "a",
         3, EE_E_MALFORMED, 0},
        {"masked by the server",
         "\x82\x81\x00\x00\x00\x00"
         "a",
         7, EE_E_MALFORMED, 0},
        {"reserved bit",
         "\xc2\x01"
         "a",
         3, EE_E_MALFORMED, 0},
        {"reserved opcode",
         "\x83\x01"
         "a",
         3, EE_E_MALFORMED, 0},
        {"continuation of nothing",
         "\x80\x01"
         "a",
         3, EE_E_MALFORMED, 0},
        {"fragmented ping", "\x09\x00", 2, EE_E_MALFORMED, 0},
        {"length not shortest",
         "\x82\x7e\x00\x01"
         "a",
         5, EE_E_MALFORMED, 0},
        {"B2: one byte over the size",
         "\x82\x7f\x00\x00\x00\x00\x00\x02\x00\x01"
         "a",
         11, EE_E_MALFORMED, 0},
        {"B2: length of 2^62",
         "\x82\x7f\x40\x00\x00\x00\x00\x00\x00\x00"
         "a",
         11, EE_E_MALFORMED, 0},
        {"close", "\x88\x02\x03\xe8", 4, EE_E_CLOSED, 0},
        {"close without a code", "\x88\x00", 2, EE_E_CLOSED, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t split = 1; split <= 20; split += 19) {
            messages m = {0};
            eei_ws *ws = ws_open(&m);
            ee_status st = EE_OK;
            print_message("%s\n", cases[i].name);
            for (size_t at = 0; at < cases[i].len && !st; at += split)
                st = eei_ws_receive(ws, eei_span(cases[i].bytes + at, cases[i].len - at < split ? cases[i].len - at : split), NULL);
            assert_int_equal(st, cases[i].want);
            assert_int_equal(m.count, cases[i].messages);
            eei_ws_free(ws);
        }
    }
}

static void test_B2_endless_fragments_are_cut_off(void **state) {
    messages m = {0};
    eei_ws *ws = ws_open(&m);
    ee_status st = eei_ws_receive(ws, eei_span("\x02\x00", 2), NULL);
    unsigned i = 0;

    (void)state;
    for (; i < 1000 && !st; i++) st = eei_ws_receive(ws, eei_span("\x00\x00", 2), NULL);
    assert_int_equal(st, EE_E_LIMIT);
    assert_true(i <= EEI_WS_FRAGMENTS_MAX);
    eei_ws_free(ws);
}

static void test_messages_out_are_masked_and_bounded(void **state) {
    messages m = {0};
    eei_ws *ws = ws_open(&m);
    uint8_t *big = calloc(1, EEI_WS_MESSAGE_MAX + 1), first[4];

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(eei_ws_send(ws, eei_span("abc", 3), NULL), EE_OK);
        ee_span out = eei_ws_output(ws);
        assert_int_equal(out.len, 9);
        assert_int_equal(out.data[0], 0x82);
        assert_int_equal(out.data[1], 0x83);
        for (size_t k = 0; k < 3; k++) assert_int_equal(out.data[6 + k] ^ out.data[2 + k], "abc"[k]);
        if (i) assert_memory_not_equal(first, out.data + 2, 4); /* a new mask each time */
        memcpy(first, out.data + 2, 4);
        eei_ws_output_sent(ws, out.len);
    }
    assert_int_equal(eei_ws_send(ws, eei_span(big, EEI_WS_MESSAGE_MAX + 1), NULL), EE_E_LIMIT);
    assert_int_equal(eei_ws_send(ws, eei_span(big, EEI_WS_MESSAGE_MAX), NULL), EE_OK);
    free(big);
    eei_ws_free(ws);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_client_opens_and_knows_the_control_plane),
        TEST(test_agent_opens_with_a_quote),
        TEST(test_wrong_addresses_are_configuration_errors),
        TEST(test_nobody_there_is_a_connect_error),
        TEST(test_refused_address_falls_back_to_the_next),
        TEST(test_control_plane_under_another_root_is_refused),
        TEST(test_control_plane_of_another_network_is_refused),
        TEST(test_agent_posing_as_control_plane_is_refused),
        TEST(test_rejection_carries_its_reason),
        TEST(test_http_errors_keep_their_meaning),
        TEST(test_B3_compression_is_not_negotiated),
        TEST(test_streams_before_acceptance_are_refused),
        TEST(test_own_quote_that_cannot_be_made_is_told),
        TEST(test_raw_stream_echoes_10_mb),
        TEST(test_streams_the_control_plane_opens_arrive),
        TEST(test_nothing_works_on_a_link_that_is_not_open),
        TEST(test_agent_comes_back_when_it_is_dropped),
        TEST(test_retries_slow_down_and_heed_the_server),
        TEST(test_pipe_echoes_10_mb_and_ends_cleanly),
        TEST(test_strict_pipe_opens),
        TEST(test_Q11_pipe_to_another_instance_is_refused),
        TEST(test_reset_reason_reaches_the_owner),
        TEST(test_truncated_pipe_is_told_apart),
        TEST(test_dropped_tunnel_ends_its_pipes),
        TEST(test_splice_echoes_with_half_close),
        TEST(test_splice_ends_when_the_tunnel_does),
        TEST(test_splice_freed_early_closes_both),
        TEST(test_link_freed_under_a_splice),
        TEST(test_free_at_any_time_is_safe),
        TEST(test_out_of_memory_while_opening),
        cmocka_unit_test(test_upgrade_answers),
        cmocka_unit_test(test_B1_endless_answer_is_cut_off),
        cmocka_unit_test(test_B4_frames_that_break_the_rules),
        cmocka_unit_test(test_B2_endless_fragments_are_cut_off),
        cmocka_unit_test(test_messages_out_are_masked_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
