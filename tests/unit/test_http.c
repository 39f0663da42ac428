/* test_http.c - HTTP over sockets that somebody else connected: reuse, streaming, limits, and peers that behave badly. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/limits.h"
#include "net/fetch.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* The far end of the socketpairs: reads one head (and a body of its content-length), then says its next lines. One thread, one connection
 * after the other. */
typedef struct far_end {
    const char *const *answers; /* NULL-ended; a "" closes the connection instead */
    pthread_t thread;
    int opened;
    int pipe[2];     /* carries far ends to the thread */
    char last[2048]; /* the last request; read after far_end_stop() or between calls */
    ee_cancel *fire;
    ee_status fail;
} far_end;

static bool read_request(int fd, char *out, size_t cap) {
    size_t n = 0, want = 0;
    while (n + 1 < cap) {
        ssize_t got = read(fd, out + n, want ? want - n : 1);
        if (got <= 0) return false;
        n += (size_t)got;
        out[n] = '\0';
        if (!want && n >= 4 && memcmp(out + n - 4, "\r\n\r\n", 4) == 0) {
            const char *length = strcasestr(out, "content-length:");
            want = n + (length ? (size_t)strtoul(length + 15, NULL, 10) : 0);
        }
        if (want && n == want) return true;
    }
    return false;
}

static void *serve(void *user) {
    far_end *far = user;
    int fd;
    while (read(far->pipe[0], &fd, sizeof fd) == sizeof fd) {
        char request[2048];
        while (read_request(fd, request, sizeof request)) {
            memcpy(far->last, request, sizeof request);
            if (far->fire) ee_cancel_fire(far->fire);
            const char *answer = *far->answers;
            if (!answer) continue; /* says nothing */
            far->answers++;
            if (!*answer) break;
            size_t len = strlen(answer);
            if (send(fd, answer, len, MSG_NOSIGNAL) != (ssize_t)len) break;
            if (strstr(answer, "close\r\n")) break;
        }
        (void)close(fd);
    }
    return NULL;
}

static ee_status open_pair(void *user, int *fd, ee_error *err) {
    far_end *far = user;
    int pair[2];
    if (far->fail) return eei_fail(err, far->fail, "the channel did not open");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return eei_fail(err, EE_E_IO, "socketpair");
    far->opened++;
    if (write(far->pipe[1], &pair[1], sizeof pair[1]) != sizeof pair[1]) abort();
    *fd = pair[0];
    return EE_OK;
}

static eei_http *far_end_start(far_end *far, const char *const *answers) {
    ee_error err = {0};
    eei_http *http = NULL;
    *far = (far_end){.answers = answers};
    assert_int_equal(pipe(far->pipe), 0);
    assert_int_equal(pthread_create(&far->thread, NULL, serve, far), 0);
    assert_int_equal(eei_http_new("http://app.example:8080", open_pair, far, &http, &err), EE_OK);
    return http;
}

static void far_end_stop(far_end *far, eei_http *http) {
    eei_http_free(http); /* closes its socket, so the thread comes back for the next */
    (void)close(far->pipe[1]);
    (void)pthread_join(far->thread, NULL);
    (void)close(far->pipe[0]);
}

static ee_status get(eei_http *http, const char *path, eei_http_response *out, ee_error *err) {
    eei_http_request request = {.method = "GET", .path = path, .body_max = 1000, .timeout_ms = 10000};
    return eei_http_call(http, &request, out, err);
}

static const char *header(const eei_http_response *r, const char *name) {
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, name) == 0) return r->headers[i].value;
    return NULL;
}

static void test_requests_reuse_the_socket(void **state) {
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: one\r\nX-A:  two \r\n\r\nhi",
        "HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", "HTTP/1.1 204 No Content\r\n\r\n", NULL};
    static const char *const headers[] = {"X-Mine: yes", NULL};
    far_end far;
    eei_http_response r = {0};
    ee_error err = {0};
    (void)state;
    eei_http *http = far_end_start(&far, answers);
    assert_false(eei_http_reusable(http));
    assert_int_equal(get(http, "/a?b=c", &r, &err), EE_OK);
    assert_int_equal(r.status, 200);
    assert_true(eei_span_equal(eei_buf_span(&r.body), eei_span_text("hi")));
    assert_string_equal(header(&r, "x-a"), "one");
    assert_int_equal(r.header_count, 3);
    assert_string_equal(r.headers[2].value, "two");
    assert_true(eei_http_reusable(http));
    assert_ptr_equal(strstr(far.last, "GET /a?b=c HTTP/1.1\r\nHost: app.example:8080\r\n"), far.last);
    eei_http_response_clear(&r);
    eei_http_request post = {.method = "POST", .path = "/p", .headers = headers, .body = eei_span_text("body"), .timeout_ms = 10000};
    assert_int_equal(eei_http_call(http, &post, &r, &err), EE_OK);
    assert_int_equal(r.status, 404);
    assert_null(header(&r, "x-interim"));
    assert_non_null(strstr(far.last, "\r\nX-Mine: yes\r\n"));
    assert_non_null(strstr(far.last, "\r\n\r\nbody"));
    eei_http_response_clear(&r);
    assert_int_equal(far.opened, 1);
    assert_int_equal(get(http, "/", &r, &err), EE_OK);
    assert_false(eei_http_reusable(http)); /* it said close */
    eei_http_response_clear(&r);
    assert_int_equal(get(http, "/", &r, &err), EE_OK);
    assert_int_equal(r.status, 204);
    assert_int_equal(far.opened, 2);
    eei_http_response_clear(&r);
    far_end_stop(&far, http);
}

static void test_body_is_streamed(void **state) {
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc", NULL};
    far_end far;
    eei_http_response r = {0};
    ee_error err = {0};
    eei_buf body = EEI_BUF_INIT(5), all = EEI_BUF_INIT(64);
    eei_http_request stream = {.method = "GET", .path = "/", .timeout_ms = 10000, .stream = true};
    ee_status st;
    (void)state;
    eei_http *http = far_end_start(&far, answers);
    assert_int_equal(eei_http_call(http, &stream, &r, &err), EE_OK);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.body.len, 0);
    while ((st = eei_http_read(http, 10000, &body, &err)) == EE_OK) { /* at most what fits comes at once */
        assert_in_range(body.len, 1, 5);
        assert_int_equal(eei_buf_append_span(&all, eei_buf_span(&body)), EE_OK);
        eei_buf_reset(&body);
    }
    assert_int_equal(st, EE_E_END);
    assert_true(eei_span_equal(eei_buf_span(&all), eei_span_text("abcdefg")));
    assert_true(eei_http_reusable(http));
    eei_http_response_clear(&r);
    assert_int_equal(eei_http_call(http, &stream, &r, &err), EE_OK);
    assert_int_equal(eei_http_read(http, 10000, &body, &err), EE_OK);
    assert_int_equal(eei_http_read(http, 20, &body, &err), EE_E_TIMEOUT);
    assert_false(eei_http_reusable(http));
    eei_http_response_clear(&r);
    eei_buf_reset(&body);
    assert_int_equal(eei_http_call(http, &stream, &r, &err), EE_OK); /* the unfinished one is dropped with its socket */
    assert_int_equal(far.opened, 2);
    assert_int_equal(eei_http_read(http, 10000, &body, &err), EE_OK);
    assert_int_equal(eei_http_read(http, 10000, &body, &err), EE_E_CONNECT); /* cut off is not the end */
    eei_http_response_clear(&r);
    eei_buf_clear(&body);
    eei_buf_clear(&all);
    far_end_stop(&far, http);
}

/* 8 MiB are read with at most a quarter held: the far end is slowed down, not buffered. */
static void *pour(void *user) {
    int fd = *(int *)user;
    char request[2048], piece[4096];
    memset(piece, 'z', sizeof piece);
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n";
    if (!read_request(fd, request, sizeof request) || write(fd, head, sizeof head - 1) < 0) abort();
    for (int i = 0; i < 2048; i++)
        if (send(fd, piece, sizeof piece, MSG_NOSIGNAL) != sizeof piece) break;
    (void)close(fd);
    return NULL;
}
static ee_status open_given(void *user, int *fd, ee_error *err) {
    int *given = user;
    if (*given < 0) return eei_fail(err, EE_E_CONNECT, "no second one");
    *fd = *given;
    *given = -1;
    return EE_OK;
}

static void test_large_stream_is_paced(void **state) {
    int pair[2];
    pthread_t thread;
    eei_http *http = NULL;
    eei_http_response r = {0};
    eei_buf body = EEI_BUF_INIT(1u << 20);
    size_t total = 0;
    ee_status st;
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pthread_create(&thread, NULL, pour, &pair[1]), 0);
    assert_int_equal(eei_http_new("http://app", open_given, &pair[0], &http, NULL), EE_OK);
    eei_http_request stream = {.method = "GET", .path = "/", .timeout_ms = 10000, .stream = true};
    assert_int_equal(eei_http_call(http, &stream, &r, NULL), EE_OK);
    while ((st = eei_http_read(http, 10000, &body, NULL)) == EE_OK) {
        for (size_t i = 0; i < body.len; i++) assert_int_equal(body.data[i], 'z');
        assert_true(body.len <= 300000);
        total += body.len;
        eei_buf_reset(&body);
    }
    assert_int_equal(st, EE_E_END);
    assert_int_equal(total, 8388608);
    eei_http_response_clear(&r);
    eei_buf_clear(&body);
    eei_http_free(http);
    (void)pthread_join(thread, NULL);
}

static void test_failures_are_told(void **state) {
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "", "nonsense\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nab", NULL};
    static const struct {
        const char *name;
        ee_status want;
    } cases[] = {{"closed without an answer", EE_E_CONNECT}, {"not HTTP", EE_E_CONNECT}, {"cut off", EE_E_CONNECT}};
    far_end far;
    eei_http_response r = {0};
    ee_error err = {0};
    ee_cancel *cancel = NULL;
    (void)state;
    eei_http *http = far_end_start(&far, answers);
    eei_http_request bounded = {.method = "GET", .path = "/", .timeout_ms = 50};
    assert_int_equal(eei_http_call(http, &bounded, &r, &err), EE_E_TIMEOUT); /* it promised 1001 bytes and sends none */
    assert_int_equal(r.header_count, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ee_status st = get(http, "/", &r, &err);
        if (st != cases[i].want) fail_msg("%s: %s: %s", cases[i].name, ee_status_word(st), err.message);
        assert_false(eei_http_reusable(http));
        assert_int_equal(r.header_count, 0);
        assert_null(r.body.data);
    }
    assert_int_equal(ee_cancel_new(&cancel, &err), EE_OK);
    far.fire = cancel; /* as soon as the request is there, which nobody answers */
    eei_http_request cancelled = {.method = "GET", .path = "/", .cancel = cancel, .timeout_ms = 10000};
    assert_int_equal(eei_http_call(http, &cancelled, &r, &err), EE_E_CANCELLED);
    far.fail = EE_E_ATTESTATION; /* what the opener says is what the caller gets */
    assert_int_equal(get(http, "/", &r, &err), EE_E_ATTESTATION);
    assert_string_equal(err.message, "the channel did not open");
    assert_int_equal(get(http, "no-slash", &r, &err), EE_E_INVALID);
    far_end_stop(&far, http);
    ee_cancel_free(cancel);
    assert_int_equal(eei_http_new("https://app", open_pair, &far, &http, &err), EE_E_INVALID);
    assert_null(http);
}

static void test_limits(void **state) {
    static char many[20000];
    const char *answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", many, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
                             NULL};
    char large[1200];
    far_end far;
    eei_http_response r = {0};
    ee_error err = {0};
    (void)state;
    (void)snprintf(large, sizeof large, "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n%01001d", 0);
    answers[0] = large;
    size_t n = (size_t)snprintf(many, sizeof many, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
    for (int i = 0; i < 200; i++) n += (size_t)snprintf(many + n, sizeof many - n, "X-%d: y\r\n", i);
    (void)snprintf(many + n, sizeof many - n, "\r\n");
    eei_http *http = far_end_start(&far, answers);
    assert_int_equal(get(http, "/", &r, &err), EE_E_LIMIT);
    assert_int_equal(get(http, "/", &r, &err), EE_E_LIMIT); /* over 128 headers */
    assert_int_equal(get(http, "/", &r, &err), EE_OK);
    assert_int_equal(r.body.len, 3);
    eei_http_response_clear(&r);
    far_end_stop(&far, http);
}

static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    for (size_t n = 1;; n++) {
        static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi", NULL};
        far_end far = {.answers = answers};
        eei_http *http = NULL;
        eei_http_response r = {0};
        assert_int_equal(pipe(far.pipe), 0);
        assert_int_equal(pthread_create(&far.thread, NULL, serve, &far), 0);
        (void)eei_alloc_fail_at(n);
        ee_status st = eei_http_new("http://app", open_pair, &far, &http, NULL);
        if (!st) st = get(http, "/", &r, NULL);
        bool reached = eei_alloc_fail_at(0) >= n;
        if (reached && st == EE_OK) fail_msg("allocation %zu was not missed", n);
        if (!reached) assert_int_equal(st, EE_OK);
        eei_http_response_clear(&r);
        far_end_stop(&far, http);
        if (!reached) break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_reuse_the_socket),
        cmocka_unit_test(test_body_is_streamed),
        cmocka_unit_test(test_large_stream_is_paced),
        cmocka_unit_test(test_failures_are_told),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
