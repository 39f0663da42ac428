/* listener_exchange.c - HTTP on one connection: a head, a body, the owner's answer, then the next request. No pipelining: what a peer
 * sends early waits in a bounded buffer. Not for TLS or sockets (listener.c). Called by listener.c and the control plane. */
#include "base/alloc.h"
#include "base/encoding.h"
#include "base/log.h"
#include "net/listener_private.h"
#include "ratls/ratls.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    DRAIN_MS = 1000,
    PROGRESS_MS = 10000, /* an answer must move by PROGRESS_BYTES in this time (threat B1) */
    PROGRESS_BYTES = 10240,
    BODY_BYTES_PER_MS = 16, /* slowest body, after a grace of 10 s */
};

static void exchange_free(eei_exchange *exchange) {
    if (!exchange) return;
    eei_free(exchange->text);
    eei_buf_clear(&exchange->body);
    eei_free(exchange);
}

void eei_exchange_end(eei_exchange *exchange) {
    eei_conn *conn = exchange->conn;
    bool owners = conn->state == CONN_WAIT;
    exchange->conn = NULL;
    if (owners && !exchange->gone) return; /* the owner will answer it, in vain */
    if (owners) exchange->gone(exchange->user);
    exchange_free(exchange);
}

/* ---- answers ---------------------------------------------------------------------------------------------------------- */

static bool body_allowed(int status) { return status >= 200 && status != 204 && status != 304; }

static ee_status append_reply(eei_conn *conn, const char *id, int status, const char *type, const char *const *extra, ee_span body,
                              bool head) {
    eei_buf *out = &conn->out;
    ee_status st = eei_buf_printf(out, "HTTP/1.1 %d %s\r\nEe-Request-Id: %s\r\nX-Content-Type-Options: nosniff\r\n", status,
                                  eei_http_reason(status), id);
    if (!st && body_allowed(status)) st = eei_buf_printf(out, "Content-Length: %zu\r\n", body.len);
    if (!st && type && *type && eei_http_line_ok(type)) st = eei_buf_printf(out, "Content-Type: %s\r\n", type);
    if (!st && conn->close_after) st = eei_buf_append_text(out, "Connection: close\r\n");
    for (; !st && extra && *extra; extra++)
        if (eei_http_line_ok(*extra) && strchr(*extra, ':')) st = eei_buf_printf(out, "%s\r\n", *extra);
    if (!st) st = eei_buf_append_text(out, "\r\n");
    if (!st && body_allowed(status) && !head) st = eei_buf_append_span(out, body);
    return st;
}

static int send_reply(eei_conn *conn, const char *id, int status, const char *type, const char *const *extra, ee_span body, bool head) {
    conn->state = CONN_REPLY;
    conn->out_seen = 0;
    if (append_reply(conn, id, status, type, extra, body, head)) return -1;
    eei_conn_deadline(conn, PROGRESS_MS);
    eei_conn_want_write(conn);
    return 0;
}

/* Our own refusal: the owner never sees the request, and the connection ends, for what follows cannot be trusted to be a request. */
static int refuse(eei_conn *conn, int status, const ee_error *why) {
    char id[40];
    eei_buf body = EEI_BUF_INIT(2048);
    if (eei_make_id("req_", eei_wall_ms(), id, sizeof id, NULL)) (void)snprintf(id, sizeof id, "req_0");
    conn->close_after = conn->linger = true;
    eei_log(EEI_LOG_DEBUG, "listener.refused", "peer=%s status=%d %s", conn->peer, status, why->message);
    /* Messages of listener_http.c are our own literals: nothing in them needs escaping. */
    ee_status st =
        eei_buf_printf(&body, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\",\"hint\":\"\",\"request_id\":\"%s\",\"retryable\":%s}}",
                       ee_status_word(why->status), why->message, id, eei_status_retryable(why->status) ? "true" : "false");
    static const char *const upgrade[] = {"Upgrade: websocket", "Sec-WebSocket-Version: 13", NULL};
    int result = st ? -1 : send_reply(conn, id, status, "application/json", status == 426 ? upgrade : NULL, eei_buf_span(&body), false);
    eei_buf_clear(&body);
    return result;
}

/* TLS close_notify and FIN go out; what still comes in is read and dropped for a moment. */
static int start_drain(eei_conn *conn) {
    if (!conn->linger) return -1;
    conn->state = CONN_DRAIN;
    (void)SSL_shutdown(lws_get_ssl(conn->wsi));
    eei_conn_deadline(conn, DRAIN_MS);
    return 0;
}

int eei_conn_sent(eei_conn *conn) {
    if (conn->close_after) return start_drain(conn);
    conn->state = CONN_HEAD;
    conn->head_started = false;
    eei_conn_deadline(conn, conn->listener->options.idle_timeout_ms);
    return eei_conn_pump(conn);
}

int eei_conn_late(eei_conn *conn) {
    ee_error why = {0};
    switch (conn->state) {
    case CONN_HEAD:
        if (conn->in.len == 0) return -1; /* idle */
        (void)eei_fail(&why, EE_E_TIMEOUT, "HTTP request: the head did not arrive in time");
        return refuse(conn, 408, &why);
    case CONN_BODY:
        exchange_free(eei_take(&conn->exchange));
        (void)eei_fail(&why, EE_E_TIMEOUT, "HTTP request: the body did not arrive in time");
        return refuse(conn, 408, &why);
    case CONN_REPLY:
        if (conn->out_at < conn->out_seen + PROGRESS_BYTES) return -1;
        conn->out_seen = conn->out_at;
        eei_conn_deadline(conn, PROGRESS_MS);
        return 0;
    case CONN_WAIT: return 0;
    case CONN_DRAIN:
    case CONN_WS: return -1;
    }
    return -1;
}

/* ---- requests --------------------------------------------------------------------------------------------------------- */

static ee_status exchange_new(eei_conn *conn, size_t head_len, eei_exchange **out, int *http_status, ee_error *err) {
    eei_exchange *x = eei_calloc(1, sizeof *x);
    *out = NULL;
    *http_status = 500;
    ee_status st = x ? EE_OK : eei_nomem(err);
    if (!st) x->text = eei_strndup((const char *)conn->in.data, head_len); /* bytes may hold NUL: the copy is of head_len bytes */
    if (!st && !x->text) st = eei_nomem(err);
    if (!st) st = eei_make_id("req_", eei_wall_ms(), x->id, sizeof x->id, err);
    if (!st) st = eei_http_head_parse(x->text, head_len, &x->head, http_status, err);
    if (!st) {
        x->conn = conn;
        x->body = (eei_buf)EEI_BUF_INIT(EEI_HTTP_BODY_MAX);
        (void)snprintf(x->peer, sizeof x->peer, "%s", conn->peer);
        *out = eei_take(&x);
    }
    exchange_free(x);
    return st;
}

static int dispatch(eei_conn *conn) {
    eei_listener *listener = conn->listener;
    conn->state = CONN_WAIT;
    eei_conn_deadline(conn, 0);
    listener->options.on_request(listener->options.user, conn->exchange);
    return 0;
}

static int take_upgrade(eei_conn *conn, eei_exchange *x) {
    ee_error why = {0};
    int result;
    bool tunnel = conn->listener->options.on_socket && strcmp(x->head.path, conn->listener->tunnel_path) == 0;
    if (!tunnel) {
        (void)eei_fail(&why, EE_E_NOT_FOUND, "HTTP request: no websocket is served at this path");
        result = refuse(conn, 404, &why);
    } else if (!eei_socket_asked(&x->head)) {
        (void)eei_fail(&why, EE_E_VERSION, "HTTP request: websocket version 13 with subprotocol ee.v1 is served");
        result = refuse(conn, 426, &why);
    } else {
        result = eei_socket_upgrade(conn, &x->head, x->id);
    }
    exchange_free(x);
    return result;
}

static int take_head(eei_conn *conn, bool *more) {
    size_t len = 0;
    int http_status = 400;
    ee_error why = {0};
    eei_exchange *x = NULL;
    *more = false;
    ee_status st = eei_http_head_find(eei_buf_span(&conn->in), &len, &http_status, &why);
    if (st == EE_E_AGAIN) {
        if (!conn->head_started && conn->in.len) eei_conn_deadline(conn, conn->listener->options.head_timeout_ms);
        conn->head_started = conn->head_started || conn->in.len;
        return 0;
    }
    if (!st) st = exchange_new(conn, len, &x, &http_status, &why);
    if (st) return refuse(conn, http_status, &why);
    eei_buf_consume(&conn->in, len);
    *more = true;
    if (x->head.upgrade) return take_upgrade(conn, x);
    conn->exchange = x;
    conn->close_after = x->head.close;
    conn->body_len = x->head.body_len;
    conn->state = CONN_BODY;
    eei_conn_deadline(conn, conn->listener->options.head_timeout_ms + conn->body_len / BODY_BYTES_PER_MS);
    if (x->head.expects && conn->body_len > conn->in.len) {
        if (eei_buf_append_text(&conn->out, "HTTP/1.1 100 Continue\r\n\r\n")) return -1;
        eei_conn_want_write(conn);
    }
    return 0;
}

static int take_body(eei_conn *conn, bool *more) {
    eei_exchange *x = conn->exchange;
    size_t n = (size_t)conn->body_len - x->body.len;
    if (n > conn->in.len) n = conn->in.len;
    if (eei_buf_append(&x->body, conn->in.data, n)) return -1;
    eei_buf_consume(&conn->in, n);
    *more = x->body.len == conn->body_len;
    return *more ? dispatch(conn) : 0;
}

/* As far as the bytes that are there allow. An answer given inside on_request() only queues, so this does not nest. */
int eei_conn_pump(eei_conn *conn) {
    bool more = true;
    int result = 0;
    while (more && result == 0) {
        more = false;
        if (conn->state == CONN_HEAD && conn->in.len)
            result = take_head(conn, &more);
        else if (conn->state == CONN_BODY)
            result = take_body(conn, &more);
    }
    if (result == 0 && conn->state == CONN_WS && conn->in.len) {
        result = eei_socket_feed(conn, eei_buf_span(&conn->in)); /* frames right behind the upgrade */
        eei_buf_clear(&conn->in);
    }
    return result;
}

int eei_conn_receive(eei_conn *conn, ee_span bytes) {
    if (conn->state == CONN_DRAIN || (conn->state == CONN_REPLY && conn->close_after)) return 0;
    if (conn->state == CONN_WS) return eei_socket_feed(conn, bytes);
    if (eei_buf_append_span(&conn->in, bytes)) return -1; /* far more than one may send before an answer */
    return eei_conn_pump(conn);
}

/* ---- the owner's side ------------------------------------------------------------------------------------------------- */

const char *eei_exchange_method(const eei_exchange *exchange) { return exchange->head.method; }
const char *eei_exchange_path(const eei_exchange *exchange) { return exchange->head.path; }
const char *eei_exchange_query(const eei_exchange *exchange) { return exchange->head.query; }
const char *eei_exchange_host(const eei_exchange *exchange) { return exchange->head.host; }
const char *eei_exchange_header(const eei_exchange *exchange, const char *lowercase_name) {
    return eei_http_head_field(&exchange->head, lowercase_name);
}
ee_span eei_exchange_body(const eei_exchange *exchange) { return eei_buf_span(&exchange->body); }
const char *eei_exchange_peer(const eei_exchange *exchange) { return exchange->peer; }
const char *eei_exchange_id(const eei_exchange *exchange) { return exchange->id; }
void *eei_exchange_user(const eei_exchange *exchange) { return exchange->user; }

ee_status eei_exchange_binder(const eei_exchange *exchange, const uint8_t nonce[32], uint8_t out[32], ee_error *err) {
    if (!exchange->conn) return eei_fail(err, EE_E_CLOSED, "the peer left");
    return eei_tls_binder(lws_get_ssl(exchange->conn->wsi), nonce, out, err);
}

void eei_exchange_set_user(eei_exchange *exchange, void *user, void (*gone)(void *user)) {
    exchange->user = user;
    exchange->gone = exchange->conn ? gone : NULL;
}

void eei_exchange_reply(eei_exchange *exchange, int status, const char *content_type, const char *const *extra_headers, ee_span body) {
    eei_conn *conn = exchange->conn;
    if (conn) {
        EE_ASSERT(conn->exchange == exchange && conn->state == CONN_WAIT);
        conn->exchange = NULL;
        bool head = strcmp(exchange->head.method, "HEAD") == 0;
        if (send_reply(conn, exchange->id, status, content_type, extra_headers, body, head) < 0) eei_conn_kill(conn);
    }
    exchange_free(exchange);
}
