/* listener_rig.c - see listener_rig.h. */
#include "support/listener_rig.h"

#include "base/alloc.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "base/log.h"
#include "ratls/ratls.h"
#include "wire/frame.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_S = 10 };

static void die(const char *what) {
    fprintf(stderr, "listener_rig: %s\n", what);
    abort();
}

static void count(rig *r, unsigned *counter) {
    pthread_mutex_lock(&r->mutex);
    (*counter)++;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
}

unsigned rig_read(rig *r, const unsigned *counter) {
    pthread_mutex_lock(&r->mutex);
    unsigned n = *counter;
    pthread_mutex_unlock(&r->mutex);
    return n;
}

void rig_wait(rig *r, const unsigned *counter, unsigned n) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&r->mutex);
    while (*counter < n)
        if (pthread_cond_timedwait(&r->changed, &r->mutex, &until) != 0) die("waited too long");
    pthread_mutex_unlock(&r->mutex);
}

/* ---- requests --------------------------------------------------------------------------------------------------------- */

static void answer_challenge(rig *r, eei_exchange *x) {
    static const uint8_t zero[32];
    eei_prove prove = {.purpose = EEI_PURPOSE_CHALLENGE, .wire_version = EEI_FRAME_VERSION};
    eei_buf nonce = EEI_BUF_INIT(64), evidence = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX), text = EEI_BUF_INIT(2 * EEI_EVIDENCE_BYTES_MAX);
    json_t *body = NULL;
    const char *random = NULL;
    if (eei_json_parse(eei_exchange_body(x), 4096, &body, NULL) || eei_json_string(body, "r", &random, NULL) ||
        eei_base64url_decode(random, &nonce, NULL) || nonce.len != 32)
        die("a challenge that is none");
    eei_nonce_derive(zero, 0, nonce.data, zero, prove.nonce);
    if (eei_exchange_binder(x, prove.nonce, prove.binder, NULL)) die("no binder");
    if (r->wrong_binder) prove.binder[0] ^= 1;
    if (eei_prover_session(r->prover, &prove, &evidence, NULL) || eei_buf_append_text(&text, "{\"evidence\":\"") ||
        eei_base64url_encode(eei_buf_span(&evidence), &text) || eei_buf_append_text(&text, "\"}"))
        die("no evidence");
    count(r, &r->counts.challenges);
    eei_exchange_reply(x, r->silent_attest ? 404 : 200, "application/json", NULL, eei_buf_span(&text));
    json_decref(body);
    eei_buf_clear(&nonce);
    eei_buf_clear(&evidence);
    eei_buf_clear(&text);
}

static void on_gone(void *user) {
    rig *r = user;
    count(r, &r->counts.gone);
}

static void keep(rig *r, eei_exchange *x) {
    for (size_t i = 0; i < 16; i++) {
        if (r->pending[i]) continue;
        r->pending[i] = x;
        count(r, &r->counts.pending);
        if (r->fire_on_pending) ee_cancel_fire(r->fire_on_pending);
        return;
    }
    die("too many pending");
}

static void note(rig *r, const eei_exchange *x) {
    ee_span body = eei_exchange_body(x);
    const char *header = eei_exchange_header(x, "ee-sig");
    pthread_mutex_lock(&r->mutex);
    (void)snprintf(r->last_target, sizeof r->last_target, "%s %s%s%s", eei_exchange_method(x), eei_exchange_path(x),
                   *eei_exchange_query(x) ? "?" : "", eei_exchange_query(x));
    (void)snprintf(r->last_header, sizeof r->last_header, "%s", header ? header : "");
    r->last_body_len = body.len;
    (void)snprintf(r->last_body, sizeof r->last_body, "%.*s", (int)(body.len < 60 ? body.len : 60),
                   body.len ? (const char *)body.data : "");
    pthread_mutex_unlock(&r->mutex);
}

static void on_request(void *user, eei_exchange *x) {
    rig *r = user;
    const char *path = eei_exchange_path(x);
    static const char *const extra[] = {"X-Test: yes", "bad\r\nX-Injected: 1", "Retry-After: 7", "Docker-Content-Digest: sha256:00", NULL};
    if (strcmp(path, "/v1/attest") == 0) {
        answer_challenge(r, x);
        return;
    }
    note(r, x);
    if (strncmp(path, "/big/", 5) == 0) {
        size_t n = (size_t)strtoul(path + 5, NULL, 10);
        uint8_t *data = malloc(n ? n : 1);
        if (!data) die("memory");
        for (size_t i = 0; i < n; i++) data[i] = (uint8_t)(i * 31 >> 3);
        eei_exchange_reply(x, 200, "application/octet-stream", NULL, eei_span(data, n));
        free(data);
    } else if (strcmp(path, "/never") == 0) {
        eei_exchange_set_user(x, r, on_gone);
        keep(r, x);
    } else if (strcmp(path, "/orphan") == 0) {
        keep(r, x);
    } else if (strncmp(path, "/status/", 8) == 0) {
        eei_exchange_reply(x, (int)strtoul(path + 8, NULL, 10), "application/json", extra, eei_span_text("{\"a\":1}"));
    } else if (strcmp(path, "/echo") == 0) {
        eei_exchange_reply(x, 200, "text/plain", NULL, eei_exchange_body(x));
    } else {
        eei_exchange_reply(x, 200, "application/json", extra, eei_span_text("{}"));
    }
    count(r, &r->counts.requests);
}

/* ---- websockets ------------------------------------------------------------------------------------------------------- */

typedef struct echo {
    rig *rig;
    eei_socket *socket;
    eei_buf queue[128];
    size_t first, last;
} echo;

static void queue(echo *e, ee_span message) {
    if (e->last - e->first == 128) die("echo queue");
    eei_buf *b = &e->queue[e->last++ % 128];
    *b = (eei_buf)EEI_BUF_INIT(EEI_WS_MESSAGE_MAX);
    if (eei_buf_append_span(b, message)) die("memory");
}

static void on_message(void *user, ee_span message) {
    echo *e = user;
    count(e->rig, &e->rig->counts.messages);
    if (eei_span_equal(message, eei_span_text("close"))) {
        eei_socket_close(e->socket, 4000, "as asked");
        return;
    }
    size_t times = eei_span_equal(message, eei_span_text("flood")) ? 64 : 1;
    for (size_t i = 0; i < times; i++) queue(e, message);
    eei_socket_want_write(e->socket);
}

static void on_writable(void *user) {
    echo *e = user;
    if (e->first == e->last) return;
    eei_buf *b = &e->queue[e->first++ % 128];
    if (eei_socket_send(e->socket, eei_buf_span(b), NULL)) die("send");
    eei_buf_clear(b);
    if (e->first != e->last) eei_socket_want_write(e->socket);
}

static void on_closed(void *user, const ee_error *why) {
    echo *e = user;
    rig *r = e->rig;
    pthread_mutex_lock(&r->mutex);
    (void)snprintf(r->last_close, sizeof r->last_close, "%s: %s", why->word, why->message);
    pthread_mutex_unlock(&r->mutex);
    for (; e->first != e->last; e->first++) eei_buf_clear(&e->queue[e->first % 128]);
    free(e);
    count(r, &r->counts.closed);
}

static void on_socket(void *user, eei_socket *socket) {
    rig *r = user;
    echo *e = calloc(1, sizeof *e);
    if (!e) die("memory");
    e->rig = r;
    e->socket = socket;
    eei_socket_callbacks callbacks = {e, on_message, on_writable, on_closed};
    eei_socket_set(socket, &callbacks);
    count(r, &r->counts.sockets);
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static void answer_pending(rig *r) {
    for (size_t i = 0; i < 16; i++)
        if (r->pending[i]) eei_exchange_reply(eei_take(&r->pending[i]), 200, "text/plain", NULL, eei_span_text("late"));
}

static void on_wake(uv_async_t *wake) {
    rig *r = wake->data;
    pthread_mutex_lock(&r->mutex);
    int order = (int)r->order;
    r->order = RIG_RUN;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
    if (order == RIG_ANSWER) answer_pending(r);
    if (order != RIG_STOP) return;
    eei_listener_free(r->listener);
    uv_close((uv_handle_t *)wake, NULL);
}

static void *run(void *user) {
    rig *r = user;
    ee_error err = {0};
    if (uv_loop_init(&r->loop) != 0 || uv_async_init(&r->loop, &r->wake, on_wake) != 0) die("loop");
    r->wake.data = r;
    if (eei_listener_new(&r->loop, &r->options, &r->listener, &err)) die(err.message);
    pthread_mutex_lock(&r->mutex);
    r->port = eei_listener_port(r->listener);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&r->loop) != 0) die("handles are left on the loop");
    return NULL;
}

void rig_start(rig *r, eei_prover *prover, const eei_listener_options *limits) {
    memset(r, 0, sizeof *r);
    if (limits) r->options = *limits;
    r->options.bind = "127.0.0.1";
    r->options.port = limits && limits->port ? limits->port : 0;
    r->options.prover = r->prover = prover;
    r->options.tunnel_path = "/v1/tunnel";
    r->options.user = r;
    r->options.on_request = on_request;
    r->options.on_socket = on_socket;
    if (pthread_mutex_init(&r->mutex, NULL) || pthread_cond_init(&r->changed, NULL) || pthread_create(&r->thread, NULL, run, r))
        die("thread");
    pthread_mutex_lock(&r->mutex);
    while (!r->port) pthread_cond_wait(&r->changed, &r->mutex);
    pthread_mutex_unlock(&r->mutex);
}

static void give_order(rig *r, int order) {
    pthread_mutex_lock(&r->mutex);
    r->order = order == RIG_STOP ? RIG_STOP : RIG_ANSWER;
    uv_async_send(&r->wake);
    while (r->order != RIG_RUN) pthread_cond_wait(&r->changed, &r->mutex);
    pthread_mutex_unlock(&r->mutex);
}

void rig_answer(rig *r) { give_order(r, RIG_ANSWER); }

void rig_stop(rig *r) {
    give_order(r, RIG_STOP);
    pthread_join(r->thread, NULL);
    for (size_t i = 0; i < 16; i++) r->pending[i] = r->counts.gone ? NULL : r->pending[i];
    answer_pending(r); /* those without gone() are still ours */
    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->changed);
}

/* ---- raw TLS ---------------------------------------------------------------------------------------------------------- */

int rig_connect(uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval limit = {.tv_sec = WAIT_S};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) die("connect");
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

bool tls_peer_open(tls_peer *p, uint16_t port, const char *alpn) {
    unsigned char list[32];
    if (eei_client_ctx_new(&p->ctx, NULL)) die("context");
    p->fd = rig_connect(port);
    p->ssl = SSL_new(p->ctx);
    if (!p->ssl || SSL_set_fd(p->ssl, p->fd) != 1) die("TLS");
    if (alpn) {
        list[0] = (unsigned char)strlen(alpn);
        memcpy(list + 1, alpn, list[0]);
        if (SSL_set_alpn_protos(p->ssl, list, list[0] + 1u) != 0) die("ALPN");
    }
    bool ok = SSL_connect(p->ssl) == 1;
    if (!ok) tls_peer_close(p);
    return ok;
}

void tls_peer_close(tls_peer *p) {
    SSL_free(p->ssl);
    SSL_CTX_free(p->ctx);
    (void)close(p->fd);
    *p = (tls_peer){.fd = -1};
}

void tls_peer_write(tls_peer *p, const void *data, size_t len) {
    while (len > 0) {
        int n = SSL_write(p->ssl, data, len < 16384 ? (int)len : 16384);
        if (n <= 0) return;
        data = (const char *)data + n;
        len -= (size_t)n;
    }
}

size_t tls_peer_read(tls_peer *p, void *out, size_t len) {
    size_t have = 0;
    while (have < len) {
        size_t want = len - have < 65536 ? len - have : 65536;
        int n = SSL_read(p->ssl, (char *)out + have, (int)want);
        if (n <= 0) break;
        have += (size_t)n;
    }
    return have;
}

bool tls_peer_at_end(tls_peer *p) {
    char byte;
    return tls_peer_read(p, &byte, 1) == 0;
}

int tls_peer_answer(tls_peer *p, eei_buf *head, eei_buf *body) {
    char byte;
    eei_buf_reset(head);
    eei_buf_reset(body);
    while (head->len < 4 || memcmp(head->data + head->len - 4, "\r\n\r\n", 4) != 0)
        if (tls_peer_read(p, &byte, 1) != 1 || eei_buf_append(head, &byte, 1)) return 0;
    const char *text = eei_buf_cstr(head);
    if (!text || strncmp(text, "HTTP/1.1 ", 9) != 0) return 0;
    const char *length = strcasestr(text, "\r\ncontent-length:");
    size_t n = length ? (size_t)strtoul(length + 17, NULL, 10) : 0;
    uint8_t *room = NULL;
    if (n && eei_buf_reserve(body, n, &room)) return 0;
    if (n) eei_buf_commit(body, tls_peer_read(p, room, n));
    return body->len == n ? (int)strtoul(text + 9, NULL, 10) : 0;
}
