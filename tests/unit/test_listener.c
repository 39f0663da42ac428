/* test_listener.c - the listening side against raw TLS peers: HTTP, websockets, limits, deadlines, and freeing it while in use. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "net/listener_http.h"
#include "support/fake_quoter.h"
#include "support/listener_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct fixture {
    fake_world world;
    fake_machine machine;
    eei_prover *prover;
    eei_buf head, body;
} fixture;
static fixture fix;

static int setup(void **state) {
    fake_world_init(&fix.world);
    fake_machine_init(&fix.machine, &fix.world, "cp");
    fix.prover = fake_prover(&fix.machine, &fix.world, EEI_ROLE_CONTROL, "net", 1);
    fix.head = (eei_buf)EEI_BUF_INIT(65536);
    fix.body = (eei_buf)EEI_BUF_INIT(64u << 20);
    *state = &fix;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    eei_prover_free(fix.prover);
    fake_machine_clear(&fix.machine);
    fake_world_clear(&fix.world);
    eei_buf_clear(&fix.head);
    eei_buf_clear(&fix.body);
    return 0;
}

static void open_peer(tls_peer *p, const rig *r) { assert_true(tls_peer_open(p, r->port, "http/1.1")); }

static int ask(tls_peer *p, const char *text) {
    tls_peer_write(p, text, strlen(text));
    return tls_peer_answer(p, &fix.head, &fix.body);
}

static bool head_has(const char *text) { return strstr(eei_buf_cstr(&fix.head), text) != NULL; }

/* ---- HTTP ------------------------------------------------------------------------------------------------------------- */

static void test_requests_share_a_connection(void **state) {
    rig r = {0};
    tls_peer p;
    (void)state;
    rig_start(&r, fix.prover, NULL);
    open_peer(&p, &r);
    assert_int_equal(SSL_version(p.ssl), TLS1_3_VERSION);
    assert_int_equal(ask(&p, "GET /v1/a%2Fb//../c?x=%20+&y=;z HTTP/1.1\r\nHost: h\r\nEe-Sig:  s i g \t\r\n\r\n"), 200);
    assert_string_equal(r.last_target, "GET /v1/a%2Fb//../c?x=%20+&y=;z"); /* a signature covers it as sent */
    assert_string_equal(r.last_header, "s i g");
    assert_true(head_has("\r\nX-Content-Type-Options: nosniff\r\n"));
    assert_true(head_has("\r\nEe-Request-Id: req_"));
    assert_true(head_has("\r\nX-Test: yes\r\n"));
    assert_false(head_has("Injected")); /* threat W2: a header line with CR LF is left out */
    assert_int_equal(ask(&p, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"), 200);
    assert_true(eei_span_equal(eei_buf_span(&fix.body), eei_span_text("hello")));
    assert_int_equal(ask(&p, "HEAD /echo HTTP/1.1\r\nHost: h\r\n\r\nGET /two HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    assert_int_equal(tls_peer_answer(&p, &fix.head, &fix.body), 200); /* sent early, answered in turn */
    assert_string_equal(r.last_target, "GET /two");
    assert_int_equal(ask(&p, "GET /status/204 HTTP/1.1\r\nHost: h\r\n\r\n"), 204);
    assert_false(head_has("Content-Length"));
    assert_int_equal(ask(&p, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), 200);
    assert_true(tls_peer_at_end(&p));
    tls_peer_close(&p);
    rig_stop(&r);
}

static void test_body_may_come_in_pieces_and_after_a_hint(void **state) {
    rig r = {0};
    tls_peer p;
    char byte = 'b';
    (void)state;
    rig_start(&r, fix.prover, NULL);
    open_peer(&p, &r);
    assert_int_equal(ask(&p, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"), 100);
    for (int i = 0; i < 3; i++) tls_peer_write(&p, &byte, 1);
    assert_int_equal(tls_peer_answer(&p, &fix.head, &fix.body), 200);
    assert_true(eei_span_equal(eei_buf_span(&fix.body), eei_span_text("bbb")));
    tls_peer_close(&p);
    rig_stop(&r);
}

static void test_large_answers_arrive_whole(void **state) {
    static const size_t sizes[] = {0, 1, 16384, 65535, 65536, 65537, 5u << 20};
    rig r = {0};
    tls_peer p;
    (void)state;
    rig_start(&r, fix.prover, NULL);
    open_peer(&p, &r);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char text[96];
        (void)snprintf(text, sizeof text, "GET /big/%zu HTTP/1.1\r\nHost: h\r\n\r\n", sizes[i]);
        assert_int_equal(ask(&p, text), 200);
        assert_int_equal(fix.body.len, sizes[i]);
        for (size_t k = 0; k < fix.body.len; k++)
            if (fix.body.data[k] != (uint8_t)(k * 31 >> 3)) fail_msg("byte %zu of %zu", k, sizes[i]);
    }
    tls_peer_close(&p);
    rig_stop(&r);
}

static void test_body_limit(void **state) {
    rig r = {0};
    tls_peer p;
    char text[128];
    char *big = malloc(EEI_HTTP_BODY_MAX + 1);
    (void)state;
    assert_non_null(big);
    memset(big, 'x', EEI_HTTP_BODY_MAX + 1);
    rig_start(&r, fix.prover, NULL);
    open_peer(&p, &r);
    (void)snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %u\r\n\r\n", EEI_HTTP_BODY_MAX);
    tls_peer_write(&p, text, strlen(text));
    tls_peer_write(&p, big, EEI_HTTP_BODY_MAX);
    assert_int_equal(tls_peer_answer(&p, &fix.head, &fix.body), 200);
    assert_int_equal(r.last_body_len, EEI_HTTP_BODY_MAX);
    (void)snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %u\r\n\r\n", EEI_HTTP_BODY_MAX + 1);
    tls_peer_write(&p, text, strlen(text));
    tls_peer_write(&p, big, EEI_HTTP_BODY_MAX + 1); /* while the refusal is on its way: it must not be lost to a reset */
    assert_int_equal(tls_peer_answer(&p, &fix.head, &fix.body), 413);
    assert_true(tls_peer_at_end(&p));
    assert_int_equal(rig_read(&r, &r.counts.requests), 1);
    tls_peer_close(&p);
    rig_stop(&r);
    free(big);
}

/* What another parser might read differently is refused, and nothing behind it is read as a request. */
static void test_W2_smuggling_corpus(void **state) {
    static const struct {
        const char *name, *text;
        int status;
    } cases[] = {
        {"length and coding", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"coding alone", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
        {"coding obscured", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
        {"coding by tab", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\tchunked\r\n\r\n", 501},
        {"two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
        {"two equal lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\nabc", 400},
        {"length list", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", 400},
        {"length with sign", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", 400},
        {"length negative", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400},
        {"length hex", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc", 400},
        {"length empty", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", 400},
        {"length overflow", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551619\r\n\r\nabc", 413},
        {"bare LF in head", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400},
        {"bare LF everywhere", "GET / HTTP/1.1\nHost: h\n\n", 400},
        {"bare CR", "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400},
        {"CR at the start of a line", "POST / HTTP/1.1\r\nHost: h\r\n\rContent-Length: 3\r\n\r\nabc", 400},
        {"folded line", "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400},
        {"folded first", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400},
        {"space before colon", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc", 400},
        {"no colon", "GET / HTTP/1.1\r\nHost: h\r\nNonsense\r\n\r\n", 400},
        {"empty name", "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", 400},
        {"two hosts", "GET / HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n", 400},
        {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
        {"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
        {"two signatures", "GET / HTTP/1.1\r\nHost: h\r\nEe-Sig: a\r\nEe-Sig: b\r\n\r\n", 400},
        {"HTTP/1.0", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", 505},
        {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"no version", "GET /\r\nHost: h\r\n\r\n", 400},
        {"two spaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"space at the end", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 505},
        {"absolute target", "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"star target", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"high byte in target", "GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"high byte in value", "GET / HTTP/1.1\r\nHost: h\xc3\xa4\r\n\r\n", 400},
        {"control in value", "GET / HTTP/1.1\r\nHost: h\r\nX: \x01\r\n\r\n", 400},
        {"unknown method", "BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 501},
        {"CONNECT", "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 501},
        {"empty line first", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"other expectation", "POST / HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 1\r\n\r\na", 417},
        {"upgrade elsewhere", "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 404},
        {"upgrade with body",
         "GET /v1/tunnel HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\na", 400},
        {"upgrade without protocol",
         "GET /v1/tunnel HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
         426},
        {"upgrade version 8",
         "GET /v1/tunnel HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ee.v1\r\n\r\n",
         426},
    };
    rig r = {0};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const char smuggled[] = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        tls_peer p;
        json_t *body = NULL;
        open_peer(&p, &r);
        tls_peer_write(&p, cases[i].text, strlen(cases[i].text));
        tls_peer_write(&p, smuggled, sizeof smuggled - 1);
        int status = tls_peer_answer(&p, &fix.head, &fix.body);
        if (status != cases[i].status) fail_msg("%s: %d", cases[i].name, status);
        if (eei_json_parse(eei_buf_span(&fix.body), 4096, &body, NULL)) fail_msg("%s: body is not JSON", cases[i].name);
        assert_non_null(json_object_get(json_object_get(body, "error"), "code"));
        json_decref(body);
        if (!tls_peer_at_end(&p)) fail_msg("%s: the connection goes on", cases[i].name);
        tls_peer_close(&p);
    }
    assert_int_equal(rig_read(&r, &r.counts.requests), 0);
    rig_stop(&r);
}

/* Every cut of a head waits for more; no byte in it makes the parser read past it. */
static void test_heads_are_bounded(void **state) {
    static const char whole[] = "POST /p?q HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nConnection: x, Close\r\n\r\n";
    eei_http_head head;
    int status = 0;
    size_t len = 0;
    (void)state;
    for (size_t cut = 0; cut < sizeof whole - 1; cut++)
        assert_int_equal(eei_http_head_find(eei_span(whole, cut), &len, &status, NULL), EE_E_AGAIN);
    assert_int_equal(eei_http_head_find(eei_span(whole, sizeof whole - 1), &len, &status, NULL), EE_OK);
    assert_int_equal(len, sizeof whole - 1);
    for (size_t at = 0; at < sizeof whole - 1; at++) {
        for (int byte = 0; byte < 256; byte++) {
            char *text = malloc(sizeof whole);
            memcpy(text, whole, sizeof whole);
            text[at] = (char)byte;
            ee_status st = eei_http_head_parse(text, sizeof whole - 1, &head, &status, NULL);
            if (st) assert_in_range(status, 400, 505);
            if (((byte < 0x20 && byte != 9) || byte > 0x7e) && !st && (char)byte != whole[at])
                fail_msg("byte %d at %zu was taken", byte, at);
            free(text);
        }
    }
    char copy[sizeof whole];
    memcpy(copy, whole, sizeof whole);
    assert_int_equal(eei_http_head_parse(copy, sizeof whole - 1, &head, &status, NULL), EE_OK);
    assert_string_equal(head.path, "/p");
    assert_string_equal(head.query, "q");
    assert_int_equal(head.body_len, 7);
    assert_true(head.close);
}

static void test_head_limits(void **state) {
    rig r = {0};
    tls_peer p;
    char *big = malloc(EEI_HTTP_HEAD_MAX + 64);
    (void)state;
    assert_non_null(big);
    rig_start(&r, fix.prover, NULL);
    memset(big, 'a', EEI_HTTP_HEAD_MAX + 64);
    memcpy(big, "GET / HTTP/1.1\r\nX: ", 19);
    open_peer(&p, &r);
    tls_peer_write(&p, big, EEI_HTTP_HEAD_MAX);
    assert_int_equal(tls_peer_answer(&p, &fix.head, &fix.body), 431);
    tls_peer_close(&p);
    memset(big, 'a', EEI_HTTP_HEAD_MAX);
    memcpy(big, "GET /", 5);
    (void)snprintf(big + EEI_HTTP_TARGET_MAX + 5, 64, " HTTP/1.1\r\nHost: h\r\n\r\n");
    open_peer(&p, &r);
    assert_int_equal(ask(&p, big), 414);
    tls_peer_close(&p);
    size_t n = (size_t)snprintf(big, EEI_HTTP_HEAD_MAX, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (unsigned i = 0; i < EEI_HTTP_HEADERS_MAX; i++) n += (size_t)snprintf(big + n, EEI_HTTP_HEAD_MAX - n, "X%u: y\r\n", i);
    (void)snprintf(big + n, EEI_HTTP_HEAD_MAX - n, "\r\n");
    open_peer(&p, &r);
    assert_int_equal(ask(&p, big), 431);
    tls_peer_close(&p);
    rig_stop(&r);
    free(big);
}

/* ---- deadlines and limits --------------------------------------------------------------------------------------------- */

static void test_B1_slow_peers_are_closed(void **state) {
    eei_listener_options limits = {.head_timeout_ms = 1500, .idle_timeout_ms = 1500}; /* room for four handshakes on a loaded machine */
    rig r = {0};
    tls_peer slow, body, idle, later;
    char byte;
    (void)state;
    rig_start(&r, fix.prover, &limits);
    int silent = rig_connect(r.port); /* not even a handshake */
    open_peer(&slow, &r);
    open_peer(&body, &r);
    open_peer(&idle, &r);
    assert_int_equal(ask(&slow, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 200); /* answered in time */
    tls_peer_write(&slow, "GET / HTTP/1.1\r\nHost:", 21);
    tls_peer_write(&body, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", 50);
    assert_int_equal(tls_peer_answer(&slow, &fix.head, &fix.body), 408);
    assert_int_equal(tls_peer_answer(&body, &fix.head, &fix.body), 408);
    assert_true(tls_peer_at_end(&idle));
    assert_true(recv(silent, &byte, 1, 0) <= 0);
    open_peer(&later, &r); /* and the listener serves on */
    assert_int_equal(ask(&later, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    tls_peer_close(&slow);
    tls_peer_close(&body);
    tls_peer_close(&idle);
    tls_peer_close(&later);
    (void)close(silent);
    rig_stop(&r);
}

static void test_B11_connections_of_one_address_are_capped(void **state) {
    eei_listener_options limits = {.per_address_max = 2};
    rig r = {0};
    tls_peer a, b, c;
    (void)state;
    rig_start(&r, fix.prover, &limits);
    open_peer(&a, &r);
    open_peer(&b, &r);
    assert_false(tls_peer_open(&c, r.port, "http/1.1"));
    assert_int_equal(ask(&a, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    assert_int_equal(ask(&b, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), 200);
    assert_true(tls_peer_at_end(&b)); /* its place is free again */
    open_peer(&c, &r);
    assert_int_equal(ask(&c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    tls_peer_close(&a);
    tls_peer_close(&b);
    tls_peer_close(&c);
    rig_stop(&r);
}

static void test_only_tls13_and_http11(void **state) {
    rig r = {0};
    tls_peer p;
    char byte;
    (void)state;
    rig_start(&r, fix.prover, NULL);
    assert_false(tls_peer_open(&p, r.port, "h2"));
    assert_true(tls_peer_open(&p, r.port, NULL)); /* no ALPN at all is HTTP/1.1 */
    assert_int_equal(SSL_session_reused(p.ssl), 0);
    assert_int_equal(ask(&p, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    assert_int_equal(SSL_SESSION_is_resumable(SSL_get0_session(p.ssl)), 0); /* no ticket was given */
    tls_peer_close(&p);
    SSL_CTX *old = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION), 1);
    SSL *ssl = SSL_new(old);
    int fd = rig_connect(r.port);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    assert_int_not_equal(SSL_connect(ssl), 1);
    SSL_free(ssl);
    SSL_CTX_free(old);
    (void)close(fd);
    fd = rig_connect(r.port); /* plain HTTP gets no HTTP */
    assert_true(send(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27, 0) == 27);
    ssize_t n = recv(fd, &byte, 1, 0);
    assert_true(n <= 0 || byte != 'H');
    (void)close(fd);
    assert_int_equal(rig_read(&r, &r.counts.requests), 1);
    rig_stop(&r);
}

/* ---- answers that come late or never ---------------------------------------------------------------------------------- */

static void test_late_answers(void **state) {
    rig r = {0};
    tls_peer p;
    static const char never[] = "GET /orphan HTTP/1.1\r\nHost: h\r\n\r\n";
    (void)state;
    rig_start(&r, fix.prover, NULL);
    open_peer(&p, &r);
    tls_peer_write(&p, never, sizeof never - 1);
    rig_wait(&r, &r.counts.pending, 1);
    rig_answer(&r);
    assert_int_equal(tls_peer_answer(&p, &fix.head, &fix.body), 200);
    assert_true(eei_span_equal(eei_buf_span(&fix.body), eei_span_text("late")));
    tls_peer_close(&p);
    rig_stop(&r);
}

static void test_peer_that_leaves_is_reported(void **state) {
    rig r = {0};
    tls_peer p;
    static const char never[] = "GET /never HTTP/1.1\r\nHost: h\r\n\r\n";
    (void)state;
    rig_start(&r, fix.prover, NULL);
    open_peer(&p, &r);
    tls_peer_write(&p, never, sizeof never - 1);
    rig_wait(&r, &r.counts.pending, 1);
    tls_peer_close(&p);
    rig_wait(&r, &r.counts.gone, 1);
    rig_stop(&r);
}

static void test_answer_to_a_peer_that_left_is_harmless(void **state) {
    rig r = {0};
    tls_peer p, q;
    static const char orphan[] = "GET /orphan HTTP/1.1\r\nHost: h\r\n\r\n";
    (void)state;
    eei_listener_options limits = {.per_address_max = 1}; /* so that a second connection shows that the first one is gone */
    rig_start(&r, fix.prover, &limits);
    open_peer(&p, &r);
    tls_peer_write(&p, orphan, sizeof orphan - 1);
    rig_wait(&r, &r.counts.pending, 1);
    tls_peer_close(&p);
    while (!tls_peer_open(&q, r.port, "http/1.1")) continue;
    rig_answer(&r);
    assert_int_equal(ask(&q, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    tls_peer_close(&q);
    rig_stop(&r);
}

static void test_free_with_everything_open(void **state) {
    rig r = {0};
    tls_peer pending, orphan, half;
    (void)state;
    rig_start(&r, fix.prover, NULL);
    open_peer(&pending, &r);
    open_peer(&half, &r);
    tls_peer_write(&half, "GET / HT", 8);
    tls_peer_write(&pending, "GET /orphan HTTP/1.1\r\nHost: h\r\n\r\n", 34);
    rig_wait(&r, &r.counts.pending, 1);
    open_peer(&orphan, &r);
    int raw = rig_connect(r.port);
    rig_stop(&r); /* aborts when a handle is left; answers the orphan after the listener is gone */
    assert_true(tls_peer_at_end(&pending));
    tls_peer_close(&pending);
    tls_peer_close(&orphan);
    tls_peer_close(&half);
    (void)close(raw);
}

static void test_busy_port_is_an_error(void **state) {
    rig r = {0};
    uv_loop_t loop;
    eei_listener *second = NULL;
    ee_error err = {0};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_listener_options options = r.options;
    options.port = r.port;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(eei_listener_new(&loop, &options, &second, &err), EE_E_IO);
    assert_null(second);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    rig_stop(&r);
}

static void ignore_request(void *user, eei_exchange *exchange) {
    (void)user;
    eei_exchange_reply(exchange, 204, NULL, NULL, eei_span(NULL, 0));
}

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    for (size_t n = 1;; n++) {
        uv_loop_t loop;
        eei_listener *listener = NULL;
        eei_listener_options options = {.bind = "127.0.0.1", .prover = fix.prover, .tunnel_path = "/t", .on_request = ignore_request};
        assert_int_equal(uv_loop_init(&loop), 0);
        (void)eei_alloc_fail_at(n);
        ee_status st = eei_listener_new(&loop, &options, &listener, NULL);
        bool reached = eei_alloc_fail_at(0) >= n;
        assert_int_equal(st, reached ? EE_E_NOMEM : EE_OK);
        eei_listener_free(listener);
        assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
        assert_int_equal(uv_loop_close(&loop), 0);
        if (!reached) break;
    }
}

static void test_certificate_is_renewed_while_running(void **state) {
    rig r = {0};
    tls_peer p;
    uint8_t before[32], after[32];
    X509 *certificate;
    unsigned len = 32;
    (void)state;
    rig_start(&r, fix.prover, NULL);
    for (int i = 0; i < 2; i++) {
        open_peer(&p, &r);
        certificate = SSL_get1_peer_certificate(p.ssl);
        assert_int_equal(X509_digest(certificate, EVP_sha256(), i ? after : before, &len), 1);
        X509_free(certificate);
        assert_int_equal(ask(&p, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
        tls_peer_close(&p);
        atomic_fetch_add(&fix.world.wall_ms, (uint64_t)EEI_CERT_RENEW_S * 1000);
        assert_int_equal(eei_prover_renew(fix.prover, NULL), EE_OK);
    }
    assert_memory_not_equal(before, after, 32);
    rig_stop(&r);
}

/* ---- websockets ------------------------------------------------------------------------------------------------------- */

static void ws_open(tls_peer *p, const rig *r) {
    open_peer(p, r);
    assert_int_equal(ask(p, "GET /v1/tunnel HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
                            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                            "Sec-WebSocket-Protocol: other, ee.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
                     101);
    assert_true(head_has("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")); /* RFC 6455 sect. 1.3 */
    assert_true(head_has("\r\nSec-WebSocket-Protocol: ee.v1\r\n"));
    assert_false(head_has("deflate"));
}

/* One frame, masked with 1 2 3 4. */
static void ws_append(eei_buf *out, int first, bool masked, const void *data, size_t len) {
    uint8_t header[14] = {(uint8_t)first, masked ? 0x80 : 0}, *room = NULL;
    size_t n = 2;
    if (len < 126) {
        header[1] |= (uint8_t)len;
    } else if (len < 65536) {
        header[1] |= 126;
        header[n++] = (uint8_t)(len >> 8);
        header[n++] = (uint8_t)len;
    } else {
        header[1] |= 127;
        for (int i = 0; i < 8; i++) header[n++] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
    }
    for (uint8_t i = 0; masked && i < 4; i++) header[n++] = (uint8_t)(i + 1);
    assert_int_equal(eei_buf_append(out, header, n), EE_OK);
    assert_int_equal(eei_buf_reserve(out, len, &room), EE_OK);
    for (size_t i = 0; i < len; i++) room[i] = (uint8_t)(((const uint8_t *)data)[i] ^ (masked ? i % 4 + 1 : 0));
    eei_buf_commit(out, len);
}

/* Next frame into fix.body; returns its first byte, -1 at the end. */
static int ws_next(tls_peer *p) {
    uint8_t h[8];
    eei_buf_reset(&fix.body);
    if (tls_peer_read(p, h, 2) != 2) return -1;
    int first = h[0];
    assert_false(h[1] & 0x80); /* a server does not mask */
    size_t len = h[1], wide = len == 126 ? 2 : len == 127 ? 8 : 0;
    if (wide) {
        assert_int_equal(tls_peer_read(p, h, wide), wide);
        len = 0;
        for (size_t i = 0; i < wide; i++) len = len << 8 | h[i];
    }
    uint8_t *room = NULL;
    assert_int_equal(eei_buf_reserve(&fix.body, len, &room), EE_OK);
    assert_int_equal(tls_peer_read(p, room, len), len);
    eei_buf_commit(&fix.body, len);
    return first;
}

static void ws_send(tls_peer *p, int first, bool masked, const void *data, size_t len) {
    eei_buf out = EEI_BUF_INIT(1u << 20);
    ws_append(&out, first, masked, data, len);
    tls_peer_write(p, out.data, out.len);
    eei_buf_clear(&out);
}

static void test_messages_come_back(void **state) {
    static const size_t sizes[] = {0, 1, 125, 126, 16360, 65535, 65536, EEI_WS_MESSAGE_MAX};
    rig r = {0};
    tls_peer p;
    uint8_t *data = calloc(1, EEI_WS_MESSAGE_MAX);
    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < EEI_WS_MESSAGE_MAX; i++) data[i] = (uint8_t)(i * 7 >> 2);
    rig_start(&r, fix.prover, NULL);
    ws_open(&p, &r);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ws_send(&p, 0x82, true, data, sizes[i]);
        assert_int_equal(ws_next(&p), 0x82);
        assert_int_equal(fix.body.len, sizes[i]);
        if (sizes[i]) assert_memory_equal(fix.body.data, data, sizes[i]);
    }
    ws_send(&p, 0x02, true, "ab", 2); /* fragments with a ping between them */
    ws_send(&p, 0x89, true, "ping", 4);
    ws_send(&p, 0x00, true, "", 0);
    ws_send(&p, 0x80, true, "cd", 2);
    assert_int_equal(ws_next(&p), 0x8a);
    assert_true(eei_span_equal(eei_buf_span(&fix.body), eei_span_text("ping")));
    assert_int_equal(ws_next(&p), 0x82);
    assert_true(eei_span_equal(eei_buf_span(&fix.body), eei_span_text("abcd")));
    ws_send(&p, 0x82, true, "flood", 5);
    for (int i = 0; i < 64; i++) assert_int_equal(ws_next(&p), 0x82);
    ws_send(&p, 0x88, true, "\x03\xe8", 2);
    assert_int_equal(ws_next(&p), 0x88);
    assert_true(tls_peer_at_end(&p));
    rig_wait(&r, &r.counts.closed, 1);
    assert_string_equal(r.last_close, "closed: websocket: peer closed with 1000");
    tls_peer_close(&p);
    rig_stop(&r);
    free(data);
}

static void test_messages_behind_the_handshake_are_not_lost(void **state) {
    rig r = {0};
    tls_peer p;
    eei_buf out = EEI_BUF_INIT(4096);
    (void)state;
    rig_start(&r, fix.prover, NULL);
    open_peer(&p, &r);
    assert_int_equal(eei_buf_append_text(
                         &out,
                         "GET /v1/tunnel HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ee.v1\r\n\r\n"),
                     EE_OK);
    ws_append(&out, 0x82, true, "early", 5);
    tls_peer_write(&p, out.data, out.len);
    assert_int_equal(tls_peer_answer(&p, &fix.head, &fix.body), 101);
    assert_int_equal(ws_next(&p), 0x82);
    assert_true(eei_span_equal(eei_buf_span(&fix.body), eei_span_text("early")));
    eei_buf_clear(&out);
    tls_peer_close(&p);
    rig_stop(&r);
}

/* Spec: RFC 6455 sect. 5.1, 5.2, 5.4, 5.5, 7.4.1 */
static void test_B4_bad_frames_close_the_connection(void **state) {
    static uint8_t big[EEI_WS_MESSAGE_MAX + 1];
    static const struct {
        const char *name;
        int first;
        bool masked;
        size_t len;
        unsigned code; /* 0 = closed without a code, or without a close frame */
    } cases[] = {
        {"text", 0x81, true, 2, 1003},
        {"unmasked", 0x82, false, 2, 1002},
        {"over the limit", 0x82, true, EEI_WS_MESSAGE_MAX + 1, 1009},
        {"reserved bit 1", 0xc2, true, 2, 1002},
        {"reserved bit 2", 0xa2, true, 2, 1002},
        {"reserved bit 3", 0x92, true, 2, 1002},
        {"continuation of nothing", 0x80, true, 2, 1002},
        {"opcode 3", 0x83, true, 2, 1002},
        {"opcode 11", 0x8b, true, 2, 1002},
        {"long ping", 0x89, true, 126, 0},
        {"fragmented ping", 0x09, true, 2, 0},
        {"close of one byte", 0x88, true, 1, 0},
    };
    rig r = {0};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tls_peer p;
        ws_open(&p, &r);
        ws_send(&p, cases[i].first, cases[i].masked, big, cases[i].len);
        int first = ws_next(&p);
        if (cases[i].code && first != 0x88) fail_msg("%s: answered with %d", cases[i].name, first);
        if (cases[i].code) {
            if (fix.body.len < 2) fail_msg("%s: close without a code", cases[i].name);
            unsigned code = (unsigned)(fix.body.data[0] << 8 | fix.body.data[1]);
            if (code != cases[i].code) fail_msg("%s: closed with %u", cases[i].name, code);
        }
        if (first == 0x88) first = ws_next(&p);
        if (first != -1) fail_msg("%s: the connection goes on", cases[i].name);
        tls_peer_close(&p);
        rig_wait(&r, &r.counts.closed, (unsigned)i + 1);
    }
    assert_int_equal(rig_read(&r, &r.counts.messages), 0);
    rig_stop(&r);
}

static void test_fragments_over_the_limit_together(void **state) {
    static uint8_t half[EEI_WS_MESSAGE_MAX / 2 + 1];
    rig r = {0};
    tls_peer p;
    (void)state;
    rig_start(&r, fix.prover, NULL);
    ws_open(&p, &r);
    ws_send(&p, 0x02, true, half, sizeof half);
    ws_send(&p, 0x80, true, half, sizeof half);
    assert_int_equal(ws_next(&p), 0x88);
    assert_memory_equal(fix.body.data, "\x03\xf1", 2);
    tls_peer_close(&p);
    rig_stop(&r);
}

static void test_we_close(void **state) {
    rig r = {0};
    tls_peer p;
    (void)state;
    rig_start(&r, fix.prover, NULL);
    ws_open(&p, &r);
    ws_send(&p, 0x82, true, "close", 5);
    assert_int_equal(ws_next(&p), 0x88);
    assert_memory_equal(fix.body.data,
                        "\x0f\xa0"
                        "as asked",
                        10);
    ws_send(&p, 0x88, true, "\x0f\xa0", 2);
    assert_true(tls_peer_at_end(&p));
    rig_wait(&r, &r.counts.closed, 1);
    tls_peer_close(&p);
    ws_open(&p, &r); /* and a peer that does not answer our close is dropped after a while */
    ws_send(&p, 0x82, true, "close", 5);
    assert_int_equal(ws_next(&p), 0x88);
    assert_true(tls_peer_at_end(&p));
    rig_wait(&r, &r.counts.closed, 2);
    tls_peer_close(&p);
    ws_open(&p, &r); /* freed with a socket open: on_closed is called */
    rig_stop(&r);
    assert_int_equal(r.counts.closed, 3);
    tls_peer_close(&p);
}

/* A peer that asks for much and reads nothing holds up nobody else. */
static void test_B2_reader_that_stalls_holds_up_nobody(void **state) {
    rig r = {0};
    tls_peer stalled, p;
    static const char big[] = "GET /big/50000000 HTTP/1.1\r\nHost: h\r\n\r\n";
    (void)state;
    rig_start(&r, fix.prover, NULL);
    open_peer(&stalled, &r);
    tls_peer_write(&stalled, big, sizeof big - 1);
    rig_wait(&r, &r.counts.requests, 1);
    open_peer(&p, &r);
    for (int i = 0; i < 20; i++) assert_int_equal(ask(&p, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    tls_peer_close(&p);
    tls_peer_close(&stalled);
    rig_stop(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_share_a_connection),
        cmocka_unit_test(test_body_may_come_in_pieces_and_after_a_hint),
        cmocka_unit_test(test_large_answers_arrive_whole),
        cmocka_unit_test(test_body_limit),
        cmocka_unit_test(test_W2_smuggling_corpus),
        cmocka_unit_test(test_heads_are_bounded),
        cmocka_unit_test(test_head_limits),
        cmocka_unit_test(test_B1_slow_peers_are_closed),
        cmocka_unit_test(test_B11_connections_of_one_address_are_capped),
        cmocka_unit_test(test_only_tls13_and_http11),
        cmocka_unit_test(test_late_answers),
        cmocka_unit_test(test_peer_that_leaves_is_reported),
        cmocka_unit_test(test_answer_to_a_peer_that_left_is_harmless),
        cmocka_unit_test(test_free_with_everything_open),
        cmocka_unit_test(test_busy_port_is_an_error),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
        cmocka_unit_test(test_certificate_is_renewed_while_running),
        cmocka_unit_test(test_messages_come_back),
        cmocka_unit_test(test_messages_behind_the_handshake_are_not_lost),
        cmocka_unit_test(test_B4_bad_frames_close_the_connection),
        cmocka_unit_test(test_fragments_over_the_limit_together),
        cmocka_unit_test(test_we_close),
        cmocka_unit_test(test_B2_reader_that_stalls_holds_up_nobody),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
