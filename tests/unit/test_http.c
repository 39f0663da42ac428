/* test_http.c - HTTP over sockets that somebody else connected: reuse, streaming, limits, and peers that behave badly. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/clock.h"
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

static ee_status open_pair(void *user, uint64_t deadline_ms, const ee_cancel *cancel, int *fd, ee_error *err) {
    far_end *far = user;
    (void)deadline_ms;
    (void)cancel;
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
static ee_status open_given(void *user, uint64_t deadline_ms, const ee_cancel *cancel, int *fd, ee_error *err) {
    int *given = user;
    (void)deadline_ms;
    (void)cancel;
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

/* ---- bodies that are written ----------------------------------------------------------------------------------------- */

typedef enum sink_mode { SINK_COUNT, SINK_REFUSE, SINK_STALL, SINK_BREAK } sink_mode;
/* The far end of one socketpair, which takes a body of any size. */
typedef struct sink {
    sink_mode mode;
    const char *answer; /* said once the body is there; NULL: its length and sum */
    pthread_t thread;
    int pair[2];
    char head[2048];
    uint64_t bytes, sum;
    bool chunked, whole;
    bool taken; /* its near end: by a connection that was made, which closes it */
} sink;

static void count(sink *s, const char *data, size_t len) {
    s->bytes += len;
    for (size_t i = 0; i < len; i++) s->sum = s->sum * 31 + (unsigned char)data[i];
}

static bool read_line(FILE *from, char *out, size_t cap) { return fgets(out, (int)cap, from) != NULL; }

static bool take_bytes(sink *s, FILE *from, uint64_t left) {
    char block[8192];
    while (left) {
        size_t n = fread(block, 1, left < sizeof block ? (size_t)left : sizeof block, from);
        if (!n) return false;
        count(s, block, n);
        left -= n;
    }
    return true;
}

static bool take_chunks(sink *s, FILE *from) {
    char line[64];
    while (read_line(from, line, sizeof line)) {
        uint64_t n = strtoull(line, NULL, 16);
        if (!take_bytes(s, from, n)) return false;
        if (!read_line(from, line, sizeof line) || strcmp(line, "\r\n") != 0) return false;
        if (!n) return true;
    }
    return false;
}

static void *run_sink(void *user) {
    sink *s = user;
    FILE *from = fdopen(dup(s->pair[1]), "rb");
    char line[512], answer[256];
    uint64_t announced = 0;
    if (!from) abort();
    while (read_line(from, line, sizeof line) && strcmp(line, "\r\n") != 0) {
        size_t used = strlen(s->head);
        (void)snprintf(s->head + used, sizeof s->head - used, "%s", line);
        if (strncasecmp(line, "content-length:", 15) == 0) announced = strtoull(line + 15, NULL, 10);
        s->chunked = s->chunked || strncasecmp(line, "transfer-encoding: chunked", 26) == 0;
    }
    if (s->mode == SINK_COUNT) s->whole = s->chunked ? take_chunks(s, from) : take_bytes(s, from, announced);
    if (s->mode == SINK_BREAK) (void)take_bytes(s, from, 100000);
    (void)snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere");
    if (s->mode == SINK_REFUSE) (void)snprintf(answer, sizeof answer, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n");
    const char *text = s->answer ? s->answer : answer;
    if ((s->mode == SINK_COUNT && s->whole) || s->mode == SINK_REFUSE) (void)!send(s->pair[1], text, strlen(text), MSG_NOSIGNAL);
    if (s->mode == SINK_BREAK) (void)shutdown(s->pair[1], SHUT_RDWR);
    if (s->mode == SINK_REFUSE) /* not read, so the writer stands until it sees the answer */
        (void)recv(s->pair[1], line, 0, MSG_PEEK);
    (void)fclose(from);
    return NULL;
}

static ee_status open_sink(void *user, uint64_t deadline_ms, const ee_cancel *cancel, int *fd, ee_error *err) {
    (void)deadline_ms;
    (void)cancel;
    sink *s = user;
    (void)err;
    *fd = s->pair[0];
    s->taken = true;
    return EE_OK;
}

static eei_http *sink_start(sink *s, sink_mode mode) {
    eei_http *http = NULL;
    *s = (sink){.mode = mode};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->pair), 0);
    assert_int_equal(eei_http_new("http://app.example", open_sink, s, &http, NULL), EE_OK);
    assert_int_equal(pthread_create(&s->thread, NULL, run_sink, s), 0);
    return http;
}

static void sink_stop(sink *s, eei_http *http) {
    eei_http_free(http);
    if (!s->taken) (void)close(s->pair[0]);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->pair[1]);
}

static eei_http_request upload_request(uint64_t bytes) {
    static const char *const headers[] = {"Content-Type: application/octet-stream", NULL};
    return (eei_http_request){.method = "POST", .path = "/in", .headers = headers, .timeout_ms = 10000, .upload_bytes = bytes};
}

/* In pieces of odd sizes, one of them larger than any buffer. */
static uint64_t write_all(eei_http *http, uint64_t total) {
    static char block[700001];
    static const size_t sizes[] = {1, 0, 65536, 13, sizeof block, 262144, 4096};
    uint64_t sum = 0;
    for (uint64_t at = 0, i = 0; at < total; i++) {
        size_t n = sizes[i % (sizeof sizes / sizeof *sizes)];
        if (n > total - at) n = (size_t)(total - at);
        for (size_t j = 0; j < n; j++) block[j] = (char)((at + j) * 7 + i);
        for (size_t j = 0; j < n; j++) sum = sum * 31 + (unsigned char)block[j];
        ee_error err = {0};
        ee_status st = eei_http_write(http, eei_span(block, n), &err);
        if (st) fail_msg("at %llu: %s", (unsigned long long)at, err.message);
        at += n;
    }
    return sum;
}

static void test_bodies_are_written_in_pieces(void **state) {
    static const struct {
        const char *name;
        uint64_t bytes;
        bool announced, stream;
    } cases[] = {
        {"announced", 5000003, true, false}, {"in chunks", 5000003, false, false}, {"streamed answer", 300000, true, true},
        {"one byte", 1, true, false},        {"empty", 0, false, false},           {"just the buffer", 262144, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sink s;
        eei_http_response r = {0};
        ee_error err = {0};
        eei_buf piece = EEI_BUF_INIT(100);
        eei_http *http = sink_start(&s, SINK_COUNT);
        eei_http_request request = upload_request(cases[i].announced ? cases[i].bytes : 0);
        request.stream = cases[i].stream;
        assert_int_equal(eei_http_open(http, &request, &r, &err), EE_OK);
        uint64_t sum = write_all(http, cases[i].bytes);
        if (eei_http_finish(http, &err)) fail_msg("%s: %s", cases[i].name, err.message);
        assert_int_equal(r.status, 200);
        if (cases[i].stream) assert_int_equal(eei_http_read(http, 10000, &piece, &err), EE_OK);
        assert_true(eei_span_equal(eei_buf_span(cases[i].stream ? &piece : &r.body), eei_span_text("there")));
        if (cases[i].stream) assert_int_equal(eei_http_read(http, 10000, &piece, &err), EE_E_END);
        assert_true(eei_http_reusable(http));
        assert_int_equal(eei_http_write(http, eei_span_text("x"), &err), EE_E_STATE);
        assert_int_equal(eei_http_finish(http, &err), EE_E_STATE);
        sink_stop(&s, http);
        if (s.bytes != cases[i].bytes || s.sum != sum || !s.whole || s.chunked == cases[i].announced) fail_msg("%s", cases[i].name);
        assert_ptr_equal(strstr(s.head, "POST /in HTTP/1.1\r\n"), s.head);
        assert_null(strstr(s.head, "Expect"));
        assert_null(strstr(s.head, "x-www-form-urlencoded"));
        eei_buf_clear(&piece);
        eei_http_response_clear(&r);
    }
}

static void test_an_early_answer_ends_the_body(void **state) {
    static char block[65536];
    sink s;
    eei_http_response r = {0};
    ee_error err = {0};
    ee_status st = EE_OK;
    (void)state;
    eei_http *http = sink_start(&s, SINK_REFUSE);
    eei_http_request request = upload_request(1 << 30);
    assert_int_equal(eei_http_open(http, &request, &r, &err), EE_OK);
    for (int i = 0; i < 16384 && !st; i++) st = eei_http_write(http, eei_span(block, sizeof block), &err);
    assert_int_equal(st, EE_E_END);
    assert_int_equal(eei_http_write(http, eei_span(block, sizeof block), &err), EE_E_END);
    assert_int_equal(eei_http_finish(http, &err), EE_OK); /* less than was announced, which nobody wanted */
    assert_int_equal(r.status, 413);
    assert_true(eei_span_equal(eei_buf_span(&r.body), eei_span_text("no\n")));
    assert_false(eei_http_reusable(http));
    eei_http_response_clear(&r);
    sink_stop(&s, http);
}

static void test_bodies_that_go_wrong(void **state) {
    static char block[65536];
    static const struct {
        const char *name;
        sink_mode mode;
        uint64_t announced, written;
        bool cancelled;
        ee_status want;
    } cases[] = {
        {"one more than announced", SINK_COUNT, 10, 11, false, EE_E_INVALID},
        {"one less than announced", SINK_COUNT, 10, 9, false, EE_E_INVALID},
        {"none of what was announced", SINK_COUNT, 10, 0, false, EE_E_INVALID},
        {"nobody reads", SINK_STALL, 0, 1 << 24, false, EE_E_TIMEOUT},
        {"cancelled while nobody reads", SINK_STALL, 0, 1 << 24, true, EE_E_CANCELLED},
        {"it breaks off", SINK_BREAK, 0, 1 << 24, false, EE_E_CONNECT},
        {"no answer", SINK_STALL, 5, 5, false, EE_E_TIMEOUT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sink s;
        ee_cancel *cancel = NULL;
        eei_http_response r = {0};
        ee_error err = {0};
        ee_status st = EE_OK;
        eei_http *http = sink_start(&s, cases[i].mode);
        assert_int_equal(ee_cancel_new(&cancel, NULL), EE_OK);
        eei_http_request request = upload_request(cases[i].announced);
        request.timeout_ms = cases[i].want == EE_E_TIMEOUT ? 100 : 10000;
        request.cancel = cancel;
        assert_int_equal(eei_http_open(http, &request, &r, &err), EE_OK);
        if (cases[i].cancelled) ee_cancel_fire(cancel);
        for (uint64_t left = cases[i].written; left && !st;) {
            size_t n = left < sizeof block ? (size_t)left : sizeof block;
            st = eei_http_write(http, eei_span(block, n), &err);
            left -= n;
        }
        if (!st) st = eei_http_finish(http, &err);
        if (st != cases[i].want) fail_msg("%s: %s %s", cases[i].name, ee_status_word(st), err.message);
        assert_int_equal(err.status, st);
        assert_int_equal(r.header_count, 0);
        assert_int_equal(eei_http_finish(http, &err), EE_E_STATE);
        assert_false(eei_http_reusable(http));
        sink_stop(&s, http);
        ee_cancel_free(cancel);
    }
}

/* A kept connection that has ended meanwhile is no reason to fail, as long as the beginning of the body is still here. */
static void test_a_short_body_goes_out_again_on_a_new_connection(void **state) {
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", NULL};
    far_end far;
    eei_http_response r = {0};
    ee_error err = {0};
    (void)state;
    eei_http *http = far_end_start(&far, answers);
    assert_int_equal(get(http, "/first", &r, &err), EE_OK);
    eei_http_response_clear(&r);
    eei_http_request request = upload_request(5); /* the far end takes the request, and closes without a word */
    assert_int_equal(eei_http_open(http, &request, &r, &err), EE_OK);
    assert_int_equal(eei_http_write(http, eei_span_text("hello"), &err), EE_OK);
    assert_int_equal(eei_http_finish(http, &err), EE_OK);
    assert_true(eei_span_equal(eei_buf_span(&r.body), eei_span_text("ok")));
    assert_int_equal(far.opened, 2);
    assert_non_null(strstr(far.last, "\r\n\r\nhello"));
    eei_http_response_clear(&r);
    far_end_stop(&far, http);
}

/* Nobody is there: what waits for a socket ends with the request that waits for it. */
static ee_status open_nothing(void *user, uint64_t deadline_ms, const ee_cancel *cancel, int *fd, ee_error *err) {
    uint64_t now = eei_mono_ms();
    *fd = -1;
    if (user) ee_cancel_fire(user);
    ee_status st = eei_cancel_pause(cancel, deadline_ms > now ? deadline_ms - now : 0, err);
    return st ? st : eei_fail(err, EE_E_TIMEOUT, "nobody came");
}

static void test_a_request_bounds_the_wait_for_its_socket(void **state) {
    static const struct {
        const char *name;
        bool upload, fires;
        uint32_t timeout_ms;
        ee_status want;
    } cases[] = {{"its time", false, false, 50, EE_E_TIMEOUT},
                 {"its cancel", false, true, 60000, EE_E_CANCELLED},
                 {"an upload's time", true, false, 50, EE_E_TIMEOUT},
                 {"an upload's cancel", true, true, 60000, EE_E_CANCELLED}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eei_http *http = NULL;
        eei_http_response r = {0};
        ee_error err = {0};
        ee_cancel *cancel = NULL;
        assert_int_equal(ee_cancel_new(&cancel, NULL), EE_OK);
        assert_int_equal(eei_http_new("http://app", open_nothing, cases[i].fires ? cancel : NULL, &http, NULL), EE_OK);
        eei_http_request request = {.method = "POST", .path = "/", .timeout_ms = cases[i].timeout_ms, .cancel = cancel};
        uint64_t began = eei_mono_ms();
        ee_status st = cases[i].upload ? eei_http_open(http, &request, &r, &err) : eei_http_call(http, &request, &r, &err);
        if (!st && cases[i].upload) st = eei_http_write(http, eei_span_text("body"), &err);
        if (!st && cases[i].upload) st = eei_http_finish(http, &err);
        if (st != cases[i].want) fail_msg("%s: %s %s", cases[i].name, ee_status_word(st), err.message);
        assert_true(eei_mono_ms() - began < 30000);
        eei_http_free(http);
        ee_cancel_free(cancel);
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
        cmocka_unit_test(test_bodies_are_written_in_pieces),
        cmocka_unit_test(test_an_early_answer_ends_the_body),
        cmocka_unit_test(test_bodies_that_go_wrong),
        cmocka_unit_test(test_a_short_body_goes_out_again_on_a_new_connection),
        cmocka_unit_test(test_a_request_bounds_the_wait_for_its_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
