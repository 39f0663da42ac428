/* listener_socket.c - an accepted websocket: the handshake, messages in (assembled, bounded) and out, closing. RFC 6455 framing is
 * libwslay's; permessage-deflate is not offered. Not for what messages mean (mux). Called by listener_exchange.c and the control plane. */
#include "base/alloc.h"
#include "net/listener_private.h"
#include "ratls/ratls.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { CLOSE_MS = 2000, DRAIN_MS = 1000, CODE_NORMAL = 1000, CODE_PROTOCOL = 1002, CODE_DATA = 1003, CODE_TOO_BIG = 1009 };

/* ---- handshake -------------------------------------------------------------------------------------------------------- */

/* Spec: RFC 6455 sect. 4.2.1 */
bool eei_socket_asked(const eei_http_head *head) {
    const char *version = eei_http_head_field(head, "sec-websocket-version"), *key = eei_http_head_field(head, "sec-websocket-key");
    const char *protocols = eei_http_head_field(head, "sec-websocket-protocol");
    unsigned char raw[18];
    return strcmp(head->method, "GET") == 0 && version && strcmp(version, "13") == 0 && protocols &&
           eei_http_list_has(protocols, "ee.v1") && key && strlen(key) == 24 && strcmp(key + 22, "==") == 0 &&
           EVP_DecodeBlock(raw, (const unsigned char *)key, 24) == 18;
}

static bool accept_key(const char *key, char out[32]) {
    char text[64];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    (void)snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    if (EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL) != 1 || len != 20) return false;
    return EVP_EncodeBlock((unsigned char *)out, digest, 20) == 28;
}

/* ---- wslay ------------------------------------------------------------------------------------------------------------ */

static ssize_t ws_receive(wslay_event_context_ptr ws, uint8_t *data, size_t len, int flags, void *user) {
    eei_socket *socket = user;
    (void)flags;
    size_t n = len < socket->rx.len ? len : socket->rx.len;
    if (n == 0) {
        wslay_event_set_error(ws, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(data, socket->rx.data, n);
    socket->rx.data += n;
    socket->rx.len -= n;
    return (ssize_t)n;
}

/* Only pongs and close frames come this way; data is framed by eei_socket_send(). */
static ssize_t ws_send(wslay_event_context_ptr ws, const uint8_t *data, size_t len, int flags, void *user) {
    eei_conn *conn = ((eei_socket *)user)->conn;
    (void)flags;
    size_t limit = (size_t)EEI_WS_MESSAGE_MAX + EEI_LISTENER_CONTROL_MAX;
    if (conn->out.len - conn->out_at + len > limit || eei_buf_append(&conn->out, data, len)) {
        wslay_event_set_error(ws, WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
    }
    return (ssize_t)len;
}

static void ws_message(wslay_event_context_ptr ws, const struct wslay_event_on_msg_recv_arg *message, void *user) {
    eei_socket *socket = user;
    (void)ws;
    if (socket->closing || wslay_is_ctrl_frame(message->opcode)) return;
    if (message->opcode != WSLAY_BINARY_FRAME) {
        (void)eei_fail(&socket->why, EE_E_MALFORMED, "websocket: text message");
        eei_socket_close(socket, CODE_DATA, "binary only");
    } else if (socket->callbacks.on_message) {
        socket->callbacks.on_message(socket->callbacks.user, eei_span(message->msg, message->msg_length));
    }
}

/* wslay closed on its own: say why. */
static void note_protocol_error(eei_socket *socket) {
    if (socket->why.status) return;
    if (wslay_event_get_close_received(socket->ws)) {
        (void)eei_fail(&socket->why, EE_E_CLOSED, "websocket: peer closed with %u", wslay_event_get_status_code_received(socket->ws));
        return;
    }
    uint16_t code = wslay_event_get_status_code_sent(socket->ws);
    if (code == CODE_TOO_BIG)
        (void)eei_fail(&socket->why, EE_E_LIMIT, "websocket: message over %u bytes", EEI_WS_MESSAGE_MAX);
    else if (code != CODE_NORMAL && code != WSLAY_CODE_ABNORMAL_CLOSURE)
        (void)eei_fail(&socket->why, EE_E_MALFORMED, "websocket: protocol error, closed with %u", code);
}

/* Let wslay write what it has; -1 when the connection is to be dropped. */
static int pump_control(eei_conn *conn) {
    eei_socket *socket = conn->socket;
    if (wslay_event_want_write(socket->ws) && wslay_event_send(socket->ws) != 0) return -1;
    if (!wslay_event_want_read(socket->ws) && !socket->closing) {
        socket->closing = true;
        note_protocol_error(socket);
        eei_conn_deadline(conn, CLOSE_MS);
    }
    if (conn->out_at < conn->out.len || socket->closing) eei_conn_want_write(conn);
    return 0;
}

int eei_socket_feed(eei_conn *conn, ee_span bytes) {
    eei_socket *socket = conn->socket;
    socket->rx = bytes;
    int result = wslay_event_recv(socket->ws);
    socket->rx = eei_span(NULL, 0);
    if (result != 0) {
        (void)eei_fail(&socket->why, EE_E_MALFORMED, "websocket: framing error %d", result);
        return -1;
    }
    return pump_control(conn);
}

/* Everything queued was sent. */
int eei_socket_writable(eei_conn *conn) {
    eei_socket *socket = conn->socket;
    if (socket->closing) {
        bool done = wslay_event_get_close_sent(socket->ws) && !wslay_event_want_read(socket->ws);
        if (!done) return 0; /* their close frame is awaited, not longer than CLOSE_MS */
        if (wslay_event_get_close_received(socket->ws)) return -1;
        conn->state = CONN_DRAIN; /* we ended it: let our close frame reach the peer before a reset can */
        (void)SSL_shutdown(lws_get_ssl(conn->wsi));
        eei_conn_deadline(conn, DRAIN_MS);
        return 0;
    }
    if (!socket->wants_write) return 0;
    socket->wants_write = false;
    if (socket->callbacks.on_writable) socket->callbacks.on_writable(socket->callbacks.user);
    return 0;
}

void eei_socket_end(eei_socket *socket) {
    socket->conn = NULL;
    if (!socket->why.status) (void)eei_fail(&socket->why, EE_E_CLOSED, "websocket: connection lost");
    if (socket->callbacks.on_closed) socket->callbacks.on_closed(socket->callbacks.user, &socket->why);
    wslay_event_context_free(socket->ws);
    eei_free(socket);
}

int eei_socket_upgrade(eei_conn *conn, const eei_http_head *head, const char *request_id) {
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = ws_receive, .send_callback = ws_send, .on_msg_recv_callback = ws_message};
    char accepted[32];
    eei_socket *socket = eei_calloc(1, sizeof *socket);
    if (!socket || !accept_key(eei_http_head_field(head, "sec-websocket-key"), accepted) ||
        wslay_event_context_server_init(&socket->ws, &callbacks, socket) != 0) {
        eei_free(socket);
        return -1;
    }
    wslay_event_config_set_max_recv_msg_length(socket->ws, EEI_WS_MESSAGE_MAX);
    socket->conn = conn;
    conn->socket = socket;
    conn->state = CONN_WS;
    conn->close_after = false;
    eei_conn_deadline(conn, 0);
    if (eei_buf_printf(&conn->out,
                       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
                       "Sec-WebSocket-Protocol: ee.v1\r\nEe-Request-Id: %s\r\n\r\n",
                       accepted, request_id))
        return -1;
    eei_conn_want_write(conn);
    conn->listener->options.on_socket(conn->listener->options.user, socket);
    return 0;
}

/* ---- the owner's side ------------------------------------------------------------------------------------------------- */

void eei_socket_set(eei_socket *socket, const eei_socket_callbacks *callbacks) { socket->callbacks = *callbacks; }
const char *eei_socket_peer(const eei_socket *socket) { return socket->conn->peer; }

void eei_socket_want_write(eei_socket *socket) {
    if (!socket->conn || socket->closing) return;
    socket->wants_write = true;
    eei_conn_want_write(socket->conn);
}

/* A binary message in one unmasked frame, beside the payload so that one TLS record carries both. */
ee_status eei_socket_send(eei_socket *socket, ee_span message, ee_error *err) {
    uint8_t header[10] = {0x82};
    size_t n = 2;
    if (message.len > EEI_WS_MESSAGE_MAX)
        return eei_fail(err, EE_E_LIMIT, "websocket message of %zu bytes, limit %u", message.len, EEI_WS_MESSAGE_MAX);
    if (!socket->conn || socket->closing) return eei_fail(err, EE_E_CLOSED, "the websocket is closing");
    if (message.len < 126) {
        header[1] = (uint8_t)message.len;
    } else if (message.len < 65536) {
        header[1] = 126;
        header[2] = (uint8_t)(message.len >> 8);
        header[3] = (uint8_t)message.len;
        n = 4;
    } else {
        header[1] = 127;
        for (int i = 0; i < 8; i++) header[2 + i] = (uint8_t)((uint64_t)message.len >> (56 - 8 * i));
        n = 10;
    }
    eei_buf *out = &socket->conn->out;
    uint8_t *room = NULL;
    if (eei_buf_reserve(out, n + message.len, &room)) return eei_nomem(err);
    ee_status st = eei_buf_append(out, header, n);
    if (!st) st = eei_buf_append_span(out, message);
    EE_ASSERT(!st);
    return EE_OK;
}

ee_status eei_socket_binder(const eei_socket *socket, const uint8_t nonce[32], uint8_t out[32], ee_error *err) {
    if (!socket->conn) return eei_fail(err, EE_E_CLOSED, "the peer left");
    return eei_tls_binder(lws_get_ssl(socket->conn->wsi), nonce, out, err);
}

void eei_socket_close(eei_socket *socket, uint16_t code, const char *reason) {
    if (!socket->conn || socket->closing) return;
    socket->closing = true;
    size_t len = reason ? strlen(reason) : 0;
    if (len > 123) len = 123;
    if (!socket->why.status) (void)eei_fail(&socket->why, EE_E_CLOSED, "websocket: closed with %u", code);
    if (wslay_event_queue_close(socket->ws, code, (const uint8_t *)reason, len) != 0) {
        eei_conn_kill(socket->conn);
        return;
    }
    eei_conn_deadline(socket->conn, CLOSE_MS);
    if (wslay_event_send(socket->ws) != 0) eei_conn_kill(socket->conn);
    eei_conn_want_write(socket->conn);
}
