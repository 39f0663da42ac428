/* test_control.c - see test_control.h. */
#include "support/test_control.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "mux/mux.h"
#include "ratls/channel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wslay/wslay.h>

struct test_control {
    test_control_options o;
    pthread_t thread;
    int listen_fd, wake_fd;
    char url[64];
    atomic_bool stop, drop;
    atomic_uint accepted, connections;
};

typedef struct echo {
    struct echo *next;
    eei_channel *channel; /* NULL: raw */
    bool sent_end, fed_end;
} echo;

typedef struct tunnel {
    echo *echoes;
    test_control *control;
    int fd;
    SSL *ssl;
    wslay_event_context_ptr ws;
    eei_session *session;
    eei_mux *mux;
    bool broken, opened, want_write;
    eei_buf last; /* what it says at its end, as one TLS record */
    uint8_t session_id[16];
} tunnel;

/* ---- streams ---------------------------------------------------------------------------------------------------------- */

static echo *echo_new(tunnel *t) {
    echo *e = calloc(1, sizeof *e);
    e->next = t->echoes;
    t->echoes = e;
    return e;
}

static void echo_free(tunnel *t, eei_stream *stream) {
    echo *e = eei_stream_user(stream);
    if (e) {
        echo **at = &t->echoes;
        while (*at != e) at = &(*at)->next;
        *at = e->next;
        eei_channel_free(e->channel);
        free(e);
    }
    eei_stream_free(stream);
}

static void echo_raw(eei_stream *stream, echo *e) {
    for (;;) {
        ee_span got = eei_stream_peek(stream);
        size_t n = got.len ? eei_stream_write(stream, got) : 0;
        if (!n) break;
        eei_stream_consume(stream, n);
    }
    if (!eei_stream_at_end(stream)) return;
    e->sent_end = e->fed_end = true;
    eei_stream_close(stream);
}

static void channel_in(eei_stream *stream, echo *e) {
    for (;;) {
        ee_span got = eei_stream_peek(stream);
        size_t room = eei_channel_receivable(e->channel), n = got.len < room ? got.len : room;
        if (!n) break;
        if (eei_channel_receive(e->channel, eei_span(got.data, n), eei_mono_ms(), NULL)) break;
        eei_stream_consume(stream, n);
    }
    if (eei_channel_state(e->channel) == EEI_CHANNEL_NEED_QUOTE) (void)!eei_channel_quote(e->channel, eei_mono_ms(), NULL);
    if (eei_stream_at_end(stream) && !e->fed_end) {
        e->fed_end = true;
        eei_channel_receive_end(e->channel);
    }
}

static bool channel_turn(tunnel *t, eei_stream *stream, echo *e) {
    bool moved = false;
    ee_span plain = eei_channel_peek(e->channel);
    size_t n = plain.len ? eei_channel_write(e->channel, plain) : 0;
    eei_channel_consume(e->channel, n);
    if (eei_channel_state(e->channel) == EEI_CHANNEL_ENDED) eei_channel_close(e->channel);
    ee_span cipher = eei_channel_cipher(e->channel);
    size_t sent = cipher.len ? eei_stream_write(stream, cipher) : 0;
    eei_channel_cipher_sent(e->channel, sent);
    moved = n || sent;
    bool over = eei_channel_is_closed(e->channel) || (n && t->control->o.cut_channels);
    if (over && !eei_channel_cipher(e->channel).len && !e->sent_end) {
        e->sent_end = true;
        eei_stream_close(stream);
    }
    return moved;
}

static void echo_move(tunnel *t, eei_stream *stream) {
    echo *e = eei_stream_user(stream);

    if (!e) return;
    if (!e->channel) {
        echo_raw(stream, e);
    } else {
        do channel_in(stream, e);
        while (channel_turn(t, stream, e));
        if (eei_channel_state(e->channel) == EEI_CHANNEL_FAILED && !e->sent_end) {
            eei_stream_reset(stream, "channel failed");
            e->sent_end = e->fed_end = true;
        }
    }
    if (e->sent_end && e->fed_end) echo_free(t, stream);
}

static void stream_opened(tunnel *t, eei_stream *stream) {
    const test_control_options *o = &t->control->o;
    echo *e = echo_new(t);

    eei_stream_set_user(stream, e);
    if (o->reset_with) {
        eei_stream_reset(stream, o->reset_with);
        echo_free(t, stream);
        return;
    }
    if (o->agent && eei_channel_new_server(o->agent, eei_mono_ms(), &e->channel, NULL)) abort();
    echo_move(t, stream);
}

/* ---- session ---------------------------------------------------------------------------------------------------------- */

static ee_status binder(void *user, const uint8_t nonce[32], uint8_t out[32], ee_error *err) {
    return eei_tls_binder(((tunnel *)user)->ssl, nonce, out, err);
}

static bool session_start(tunnel *t) {
    const test_control_options *o = &t->control->o;
    const eei_mux_options m = {0};
    eei_session_options s = {.listening = true,
                             .role = EEI_ROLE_CONTROL,
                             .node = "net",
                             .release = "0.1.0",
                             .instance_pub = eei_key_public(eei_prover_key(o->prover)),
                             .binder = binder,
                             .user = t};
    memcpy(s.network_id, eei_prover_node_id(o->prover), 32);
    if (eei_random(t->session_id, sizeof t->session_id, NULL)) return false;
    memcpy(s.session_id, t->session_id, 16);
    return !eei_mux_new(&m, eei_mono_ms(), &t->mux, NULL) && !eei_session_new(&s, eei_mono_ms(), &t->session, NULL);
}

static void open_streams(tunnel *t, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        eei_stream *stream;
        if (eei_mux_open(t->mux, eei_span_text("hello"), &stream, NULL)) abort();
        eei_stream_set_user(stream, echo_new(t));
        eei_stream_write(stream, eei_span("from control", 12));
    }
}

static ee_status decide(tunnel *t) {
    const test_control_options *o = &t->control->o;
    eei_accept accept = {.state = eei_span_text("serving"), .health_interval_ms = 60000, .time_ms = 1};

    if (o->reject) return eei_session_reject(t->session, o->reject, "this test refuses you", o->retry_after_ms);
    atomic_fetch_add(&t->control->accepted, 1);
    return eei_session_accept(t->session, &accept, NULL);
}

static ee_status session_turn(tunnel *t) {
    eei_buf evidence = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    eei_appraisal *appraisal = NULL;
    eei_frame frame;
    ee_status st = EE_OK;

    switch (eei_session_state(t->session)) {
    case EEI_SESSION_NEED_EVIDENCE:
        if (t->control->o.frames_early) open_streams(t, t->control->o.frames_early);
        st = eei_session_prove_signed(t->session) ? eei_prover_session(t->control->o.prover, eei_session_prove(t->session), &evidence, NULL)
                                                  : eei_prover_quote(t->control->o.prover, eei_session_prove(t->session), &evidence, NULL);
        if (!st) st = eei_session_give_evidence(t->session, eei_buf_span(&evidence), NULL);
        break;
    case EEI_SESSION_NEED_VERDICT:
        st = eei_session_appraisal(t->session, t->control->o.judge, NULL, &appraisal, NULL);
        if (!st) (void)eei_appraisal_run(appraisal, NULL);
        if (!st) st = eei_session_give_verdict(t->session, eei_appraisal_verdict(appraisal), NULL);
        eei_appraisal_free(appraisal);
        break;
    case EEI_SESSION_NEED_DECISION: st = decide(t); break;
    default: break;
    }
    eei_buf_clear(&evidence);
    while (eei_session_next(t->session, &frame)) {
        if (eei_mux_send_control(t->mux, frame.type, frame.flags, frame.payload, NULL)) return EE_E_LIMIT;
    }
    if (eei_session_state(t->session) == EEI_SESSION_OPEN && !t->opened) {
        t->opened = true;
        open_streams(t, t->control->o.open_streams);
    }
    return st;
}

static void events(tunnel *t) {
    eei_mux_event event;

    while (eei_mux_next_event(t->mux, &event) != EEI_MUX_NONE) {
        switch (event.kind) {
        case EEI_MUX_CONTROL:
            if (event.frame.type <= EEI_FRAME_REJECT && eei_session_receive(t->session, &event.frame, eei_mono_ms(), NULL))
                t->broken = true;
            break;
        case EEI_MUX_OPENED: stream_opened(t, event.stream); break;
        case EEI_MUX_READABLE:
        case EEI_MUX_WRITABLE: echo_move(t, event.stream); break;
        case EEI_MUX_RESET: echo_free(t, event.stream); break;
        case EEI_MUX_NONE: break;
        }
    }
}

/* ---- websocket -------------------------------------------------------------------------------------------------------- */

static ssize_t ws_recv(wslay_event_context_ptr ctx, uint8_t *out, size_t len, int flags, void *user) {
    tunnel *t = user;
    (void)flags;
    ERR_clear_error();
    int n = SSL_read(t->ssl, out, (int)len);
    if (n > 0) return n;
    if (SSL_get_error(t->ssl, n) != SSL_ERROR_WANT_READ) t->broken = true;
    wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
    return -1;
}

static ssize_t ws_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags, void *user) {
    tunnel *t = user;
    (void)flags;
    if (eei_session_state(t->session) == EEI_SESSION_CLOSED) {
        if (eei_buf_append(&t->last, data, len)) abort();
        return (ssize_t)len;
    }
    ERR_clear_error();
    int n = SSL_write(t->ssl, data, (int)len);
    if (n > 0) return n;
    if (SSL_get_error(t->ssl, n) == SSL_ERROR_WANT_WRITE)
        t->want_write = true;
    else
        t->broken = true;
    wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
    return -1;
}

static void ws_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *message, void *user) {
    tunnel *t = user;
    (void)ctx;
    if (message->opcode == WSLAY_CONNECTION_CLOSE) t->broken = true;
    if (message->opcode != WSLAY_BINARY_FRAME || t->broken) return;
    if (eei_mux_receive(t->mux, eei_span(message->msg, message->msg_length), eei_mono_ms(), NULL)) t->broken = true;
    events(t);
}

static void write_queued(tunnel *t) {
    while (!t->want_write && !t->broken && wslay_event_want_write(t->ws)) { /* it stops after each partial write */
        if (wslay_event_send(t->ws)) t->broken = true;
    }
}

static void send_frames(tunnel *t) {
    eei_buf message = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX);

    while (eei_mux_wants_transmit(t->mux) && wslay_event_get_queued_msg_length(t->ws) < 262144) {
        eei_buf_reset(&message);
        if (eei_mux_transmit(t->mux, &message, 65536, eei_mono_ms(), NULL)) t->broken = true;
        if (t->broken || !message.len) break;
        const struct wslay_event_msg m = {WSLAY_BINARY_FRAME, message.data, message.len};
        if (wslay_event_queue_msg(t->ws, &m)) t->broken = true;
    }
    eei_buf_clear(&message);
    t->want_write = false;
    write_queued(t);
    if (eei_session_state(t->session) == EEI_SESSION_CLOSED && t->last.len) { /* a REJECT and the goodbye come together */
        if (wslay_event_queue_close(t->ws, 1008, NULL, 0)) t->broken = true;
        write_queued(t);
        if (SSL_write(t->ssl, t->last.data, (int)t->last.len) <= 0) t->broken = true;
    }
    events(t);
}

static bool wait_for(tunnel *t, short events, int timeout_ms) {
    struct pollfd fds[2] = {{t->fd, events, 0}, {t->control->wake_fd, POLLIN, 0}};
    uint64_t count;

    if (poll(fds, 2, timeout_ms) < 0 && errno != EINTR) return false;
    if (fds[1].revents && read(t->control->wake_fd, &count, sizeof count) < 0) return false;
    return !atomic_load(&t->control->stop) && !atomic_exchange(&t->control->drop, false);
}

static void serve(tunnel *t) {
    while (!t->broken) {
        if (wslay_event_recv(t->ws) || !wslay_event_get_read_enabled(t->ws)) t->broken = true;
        eei_session_step before;
        do {
            before = eei_session_state(t->session);
            if (session_turn(t)) t->broken = true;
        } while (!t->broken && eei_session_state(t->session) != before);
        send_frames(t);
        if (eei_session_state(t->session) == EEI_SESSION_CLOSED) t->broken = true;
        bool more = eei_mux_wants_transmit(t->mux) && !t->want_write;
        if (!t->broken && !wait_for(t, t->want_write ? POLLIN | POLLOUT : POLLIN, more ? 0 : 1000)) return;
    }
}

/* ---- upgrade ---------------------------------------------------------------------------------------------------------- */

static bool read_request(tunnel *t, char *out, size_t cap) {
    size_t len = 0;
    while (len + 1 < cap) {
        ERR_clear_error();
        int n = SSL_read(t->ssl, out + len, 1);
        if (n <= 0 && SSL_get_error(t->ssl, n) != SSL_ERROR_WANT_READ) return false;
        if (n <= 0 && !wait_for(t, POLLIN, 5000)) return false;
        len += n > 0;
        out[len] = 0;
        if (len >= 4 && !strcmp(out + len - 4, "\r\n\r\n")) return true;
    }
    return false;
}

static bool upgrade(tunnel *t) {
    const test_control_options *o = &t->control->o;
    char request[4096], text[128], answer[1024];
    unsigned char digest[EVP_MAX_MD_SIZE], accept[64];

    if (!read_request(t, request, sizeof request)) return false;
    const char *key = strstr(request, "Sec-WebSocket-Key: ");
    if (strncmp(request, "GET /v1/tunnel HTTP/1.1\r\n", 25) != 0 || !key || !strstr(request, "Sec-WebSocket-Protocol: ee.v1\r\n"))
        return false;
    snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
    EVP_Digest(text, strlen(text), digest, NULL, EVP_sha1(), NULL);
    EVP_EncodeBlock(accept, digest, 20);
    snprintf(
        answer, sizeof answer,
        "HTTP/1.1 %d X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: ee.v1\r\n%s\r\n",
        o->http_status ? o->http_status : 101, accept, o->http_extra ? o->http_extra : "");
    return SSL_write(t->ssl, answer, (int)strlen(answer)) > 0 && !o->http_status;
}

static bool shake(tunnel *t) {
    for (;;) {
        ERR_clear_error();
        int rc = SSL_accept(t->ssl);
        if (rc == 1) return true;
        if (SSL_get_error(t->ssl, rc) != SSL_ERROR_WANT_READ || !wait_for(t, POLLIN, 5000)) return false;
    }
}

static void connection(test_control *control, int fd) {
    const struct wslay_event_callbacks callbacks = {ws_recv, ws_send, NULL, NULL, NULL, NULL, ws_message};
    tunnel t = {.control = control, .fd = fd, .last = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX)};

    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || eei_prover_ssl_new(control->o.prover, &t.ssl, NULL)) abort();
    SSL_set_mode(t.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_fd(t.ssl, fd);
    if (shake(&t) && upgrade(&t) && session_start(&t) && !wslay_event_context_server_init(&t.ws, &callbacks, &t)) serve(&t);
    eei_mux_free(t.mux);
    eei_buf_clear(&t.last);
    while (t.echoes) {
        echo *e = t.echoes;
        t.echoes = e->next;
        eei_channel_free(e->channel);
        free(e);
    }
    eei_session_free(t.session);
    if (t.ws) wslay_event_context_free(t.ws);
    SSL_free(t.ssl);
    close(fd);
}

/* ---- thread ----------------------------------------------------------------------------------------------------------- */

static void *run(void *arg) {
    test_control *control = arg;

    while (!atomic_load(&control->stop)) {
        struct pollfd fds[2] = {{control->listen_fd, POLLIN, 0}, {control->wake_fd, POLLIN, 0}};
        uint64_t count;
        if (poll(fds, 2, -1) < 0) continue;
        if (fds[1].revents && read(control->wake_fd, &count, sizeof count) < 0) break;
        if (!(fds[0].revents & POLLIN)) continue;
        int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) continue;
        atomic_store(&control->drop, false);
        atomic_fetch_add(&control->connections, 1);
        connection(control, fd);
    }
    return NULL;
}

static void wake(test_control *control) {
    const uint64_t one = 1;
    if (write(control->wake_fd, &one, sizeof one) < 0) abort();
}

test_control *test_control_start(const test_control_options *options) {
    test_control *control = calloc(1, sizeof *control);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;

    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to the socket by itself here */
    control->o = *options;
    control->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    control->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (control->listen_fd < 0 || control->wake_fd < 0 || bind(control->listen_fd, (struct sockaddr *)&address, sizeof address) ||
        listen(control->listen_fd, 8) || getsockname(control->listen_fd, (struct sockaddr *)&address, &len))
        abort();
    snprintf(control->url, sizeof control->url, "https://127.0.0.1:%u", ntohs(address.sin_port));
    if (pthread_create(&control->thread, NULL, run, control)) abort();
    return control;
}

const char *test_control_url(const test_control *control) { return control->url; }
unsigned test_control_accepted(const test_control *control) { return atomic_load(&control->accepted); }
unsigned test_control_connections(const test_control *control) { return atomic_load(&control->connections); }

void test_control_drop(test_control *control) {
    atomic_store(&control->drop, true);
    wake(control);
}

void test_control_stop(test_control *control) {
    if (!control) return;
    atomic_store(&control->stop, true);
    wake(control);
    pthread_join(control->thread, NULL);
    close(control->listen_fd);
    close(control->wake_fd);
    free(control);
}
