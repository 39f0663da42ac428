/* ws_client.c - HTTP upgrade with a strict look at the answer, then RFC 6455 framing by libwslay. No sockets, no TLS. Called by link.c. */
#include "net/ws_client.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "ratls/queue.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <wslay/wslay.h>

#define MASK_POOL_BYTES 1024u

struct eei_ws {
    eei_ws_options o; /* texts are not kept */
    bool open;
    char accept[32]; /* what Sec-WebSocket-Accept must be */
    eei_buf head;
    ee_span input; /* what wslay may read now */
    eei_queue output;
    wslay_event_context_ptr wslay;
    unsigned fragments;
    uint8_t masks[MASK_POOL_BYTES];
    size_t masks_used;
    ee_error error; /* first failure inside a callback */
};

/* ---- framing ---------------------------------------------------------------------------------------------------------- */

static void note(eei_ws *ws, ee_status st, const char *message) {
    if (!ws->error.status) eei_fail(&ws->error, st, "websocket: %s", message);
}

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *out, size_t len, int flags, void *user) {
    eei_ws *ws = user;
    size_t n = ws->input.len < len ? ws->input.len : len;

    (void)flags;
    if (!n) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(out, ws->input.data, n);
    ws->input = eei_span(ws->input.data + n, ws->input.len - n);
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags, void *user) {
    eei_ws *ws = user;

    (void)flags;
    if (eei_queue_append(&ws->output, eei_span(data, len))) {
        note(ws, EE_E_LIMIT, "output is full");
        wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
    }
    return (ssize_t)len;
}

/* From getrandom, many masks per call (RFC 6455 sect. 10.3). */
static int on_mask(wslay_event_context_ptr ctx, uint8_t *out, size_t len, void *user) {
    eei_ws *ws = user;

    if (ws->masks_used + len > sizeof ws->masks) {
        if (len > sizeof ws->masks || eei_random(ws->masks, sizeof ws->masks, &ws->error)) {
            wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
            return -1;
        }
        ws->masks_used = 0;
    }
    memcpy(out, ws->masks + ws->masks_used, len);
    ws->masks_used += len;
    return 0;
}

/* wslay counts a message's bytes but not its frames, and empty ones cost memory too (threat B2). */
static void on_frame(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_start_arg *frame, void *user) {
    eei_ws *ws = user;

    (void)ctx;
    if (wslay_is_ctrl_frame(frame->opcode)) return;
    if (frame->opcode != WSLAY_CONTINUATION_FRAME) ws->fragments = 0;
    if (++ws->fragments > EEI_WS_FRAGMENTS_MAX) note(ws, EE_E_LIMIT, "too many fragments in one message");
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *message, void *user) {
    eei_ws *ws = user;

    (void)ctx;
    if (ws->error.status) return;
    switch (message->opcode) {
    case WSLAY_BINARY_FRAME: ws->o.on_message(ws->o.user, eei_span(message->msg, message->msg_length), &ws->error); return;
    case WSLAY_TEXT_FRAME: note(ws, EE_E_MALFORMED, "text message, only binary ones are spoken here"); return;
    case WSLAY_CONNECTION_CLOSE:
        eei_fail(&ws->error, EE_E_CLOSED, "control plane closed the tunnel (websocket code %u)", message->status_code);
        return;
    default: return; /* ping and pong: wslay answers */
    }
}

static ee_status frames_start(eei_ws *ws, ee_error *err) {
    const struct wslay_event_callbacks callbacks = {.recv_callback = on_recv,
                                                    .send_callback = on_send,
                                                    .genmask_callback = on_mask,
                                                    .on_frame_recv_start_callback = on_frame,
                                                    .on_msg_recv_callback = on_message};
    if (wslay_event_context_client_init(&ws->wslay, &callbacks, ws) != 0) return eei_nomem(err);
    wslay_event_config_set_max_recv_msg_length(ws->wslay, EEI_WS_MESSAGE_MAX);
    ws->masks_used = sizeof ws->masks;
    ws->open = true;
    return EE_OK;
}

static ee_status push(eei_ws *ws, ee_error *err) {
    if (wslay_event_want_write(ws->wslay) && wslay_event_send(ws->wslay) != 0) note(ws, EE_E_INTERNAL, "sending failed");
    if (ws->error.status && err) *err = ws->error;
    return ws->error.status;
}

static ee_status frames_receive(eei_ws *ws, ee_span bytes, ee_error *err) {
    ws->input = bytes;
    /* wslay stops at its own read buffer's end: go on while bytes are left. */
    while (ws->input.len && !ws->error.status) {
        if (wslay_event_recv(ws->wslay) != 0) note(ws, EE_E_MALFORMED, "frames break RFC 6455");
        if (!wslay_event_get_read_enabled(ws->wslay)) note(ws, EE_E_MALFORMED, "frame breaks RFC 6455 or is over its size");
    }
    ws->input = eei_span(NULL, 0);
    return push(ws, err);
}

/* ---- upgrade ---------------------------------------------------------------------------------------------------------- */

static bool accept_for(const char *key, char out[32]) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 sect. 1.3 */
    uint8_t digest[EVP_MAX_MD_SIZE];
    char text[96];
    unsigned len = 0;

    snprintf(text, sizeof text, "%s%s", key, guid);
    if (EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL) != 1 || len != 20) return false;
    EVP_EncodeBlock((unsigned char *)out, digest, 20);
    return true;
}

static ee_status request(eei_ws *ws, const eei_ws_options *o, ee_error *err) {
    uint8_t random[16];
    char key[32];
    ee_status st = eei_random(random, sizeof random, err);

    if (st) return st;
    EVP_EncodeBlock((unsigned char *)key, random, sizeof random);
    if (!accept_for(key, ws->accept)) return eei_fail(err, EE_E_INTERNAL, "SHA-1 is not available for the websocket upgrade");
    st = eei_buf_printf(&ws->output.buf,
                        "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: " EEI_WS_SUBPROTOCOL "\r\n\r\n",
                        o->path, o->host, key);
    return st ? eei_fail(err, st, "websocket request") : EE_OK;
}

typedef struct answer {
    int status;
    bool upgrade, connection, accept, protocol;
    uint32_t retry_after_ms;
} answer;

static bool same_text(ee_span value, const char *text, bool fold) {
    size_t n = strlen(text);
    if (value.len != n) return false;
    return fold ? !strncasecmp((const char *)value.data, text, n) : !memcmp(value.data, text, n);
}

static bool has_token(ee_span list, const char *token) {
    for (size_t at = 0, end; at < list.len; at = end + 1) {
        for (end = at; end < list.len && list.data[end] != ',';) end++;
        size_t from = at, to = end;
        while (from < to && list.data[from] == ' ') from++;
        while (to > from && list.data[to - 1] == ' ') to--;
        if (same_text(eei_span(list.data + from, to - from), token, true)) return true;
    }
    return false;
}

static uint32_t seconds_to_ms(ee_span value) {
    uint32_t n = 0;
    if (!value.len || value.len > 5) return 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') return 0;
        n = n * 10 + (uint32_t)(value.data[i] - '0');
    }
    return n * 1000;
}

/* Once and exact: a header that comes twice or says something else is not our server's. */
static bool set_once(bool *seen, bool right) {
    bool ok = right && !*seen;
    *seen = true;
    return ok;
}

static bool header(eei_ws *ws, answer *a, ee_span name, ee_span value) {
    if (same_text(name, "upgrade", true)) return set_once(&a->upgrade, same_text(value, "websocket", true));
    if (same_text(name, "connection", true)) return set_once(&a->connection, has_token(value, "upgrade"));
    if (same_text(name, "sec-websocket-accept", true)) return set_once(&a->accept, same_text(value, ws->accept, false));
    if (same_text(name, "sec-websocket-protocol", true)) return set_once(&a->protocol, same_text(value, EEI_WS_SUBPROTOCOL, false));
    return !same_text(name, "sec-websocket-extensions", true); /* none was offered (threat B3) */
}

static bool split_header(ee_span line, ee_span *name, ee_span *value) {
    const uint8_t *colon = memchr(line.data, ':', line.len);
    if (!colon || colon == line.data) return false;
    *name = eei_span(line.data, (size_t)(colon - line.data));
    const uint8_t *from = colon + 1, *to = line.data + line.len;
    while (from < to && (*from == ' ' || *from == '\t')) from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t')) to--;
    *value = eei_span(from, (size_t)(to - from));
    for (size_t i = 0; i < name->len; i++) {
        if (name->data[i] <= ' ' || name->data[i] >= 0x7f) return false;
    }
    return true;
}

static bool status_line(ee_span line, int *status) {
    if (line.len < 12 || memcmp(line.data, "HTTP/1.1 ", 9) != 0) return false;
    *status = 0;
    for (size_t i = 9; i < 12; i++) {
        if (line.data[i] < '0' || line.data[i] > '9') return false;
        *status = *status * 10 + (line.data[i] - '0');
    }
    return line.len == 12 || line.data[12] == ' ';
}

static bool next_line(ee_span *rest, ee_span *line) {
    for (size_t i = 0; i + 1 < rest->len; i++) {
        if (rest->data[i] != '\r' || rest->data[i + 1] != '\n') continue;
        *line = eei_span(rest->data, i);
        *rest = eei_span(rest->data + i + 2, rest->len - i - 2);
        return true;
    }
    return false;
}

static ee_status refused(const answer *a, ee_error *err) {
    static const struct {
        int http;
        ee_status status;
    } known[] = {{401, EE_E_AUTH}, {403, EE_E_PERMISSION}, {404, EE_E_NOT_FOUND}, {426, EE_E_VERSION}, {429, EE_E_RATE_LIMIT}};
    ee_status st = a->status >= 500 ? EE_E_CONNECT : EE_E_SERVER;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].http == a->status) st = known[i].status;
    }
    eei_fail(err, st, "control plane answered the tunnel's upgrade with HTTP %d", a->status);
    if (err) {
        err->http_status = a->status;
        err->retry_after_ms = a->retry_after_ms;
    }
    return st;
}

static ee_status judge_answer(eei_ws *ws, ee_span head, ee_error *err) {
    answer a = {0};
    ee_span line, name, value;
    bool good = true;

    if (!next_line(&head, &line) || !status_line(line, &a.status))
        return eei_fail(err, EE_E_MALFORMED, "answer to the tunnel's upgrade is not HTTP/1.1");
    while (next_line(&head, &line) && line.len) {
        if (!split_header(line, &name, &value)) return eei_fail(err, EE_E_MALFORMED, "answer to the tunnel's upgrade has a broken header");
        if (same_text(name, "retry-after", true)) a.retry_after_ms = seconds_to_ms(value);
        good = header(ws, &a, name, value) && good;
    }
    if (a.status != 101) return refused(&a, err);
    if (!good || !a.upgrade || !a.connection || !a.accept || !a.protocol)
        return eei_fail(err, EE_E_MALFORMED,
                        "answer to the tunnel's upgrade is not RFC 6455, or of another protocol than " EEI_WS_SUBPROTOCOL);
    return EE_OK;
}

/* Takes bytes up to the end of the head; *rest is what follows it. */
static ee_status head_receive(eei_ws *ws, ee_span bytes, ee_span *rest, ee_error *err) {
    *rest = eei_span(NULL, 0);
    for (size_t i = 0; i < bytes.len; i++) {
        if (eei_buf_append(&ws->head, bytes.data + i, 1))
            return eei_fail(err, EE_E_LIMIT, "answer to the tunnel's upgrade is over %u bytes", EEI_WS_HEAD_MAX);
        if (ws->head.len < 4 || memcmp(ws->head.data + ws->head.len - 4, "\r\n\r\n", 4) != 0) continue;
        ee_status st = judge_answer(ws, eei_buf_span(&ws->head), err);
        if (!st) st = frames_start(ws, err);
        eei_buf_clear(&ws->head);
        *rest = eei_span(bytes.data + i + 1, bytes.len - i - 1);
        return st;
    }
    return EE_OK;
}

ee_status eei_ws_receive(eei_ws *ws, ee_span bytes, ee_error *err) {
    ee_status st;

    if (ws->error.status) {
        if (err) *err = ws->error;
        return ws->error.status;
    }
    if (!ws->open) {
        st = head_receive(ws, bytes, &bytes, &ws->error);
        if (st) {
            ws->error.status = st;
            if (err) *err = ws->error;
            return st;
        }
    }
    return ws->open && bytes.len ? frames_receive(ws, bytes, err) : EE_OK;
}

bool eei_ws_is_open(const eei_ws *ws) { return ws->open && !ws->error.status; }

ee_status eei_ws_send(eei_ws *ws, ee_span message, ee_error *err) {
    const struct wslay_event_msg m = {.opcode = WSLAY_BINARY_FRAME, .msg = message.data, .msg_length = message.len};

    if (!eei_ws_is_open(ws)) return eei_fail(err, EE_E_STATE, "websocket is not open");
    if (message.len > EEI_WS_MESSAGE_MAX)
        return eei_fail(err, EE_E_LIMIT, "websocket message of %zu bytes, at most %u", message.len, EEI_WS_MESSAGE_MAX);
    if (wslay_event_queue_msg(ws->wslay, &m) != 0) return eei_nomem(err);
    return push(ws, err);
}

void eei_ws_close(eei_ws *ws, uint16_t code, const char *reason) {
    if (!ws->open || wslay_event_get_close_sent(ws->wslay)) return;
    if (wslay_event_queue_close(ws->wslay, code, (const uint8_t *)reason, strlen(reason)) == 0) (void)wslay_event_send(ws->wslay);
}

ee_span eei_ws_output(const eei_ws *ws) { return eei_queue_span(&ws->output); }
void eei_ws_output_sent(eei_ws *ws, size_t len) { eei_queue_consume(&ws->output, len); }

ee_status eei_ws_new(const eei_ws_options *options, eei_ws **out, ee_error *err) {
    eei_ws *ws = eei_calloc(1, sizeof *ws);
    ee_status st;

    *out = NULL;
    if (!ws) return eei_nomem(err);
    ws->o = *options;
    ws->o.host = ws->o.path = NULL;
    ws->head = (eei_buf)EEI_BUF_INIT(EEI_WS_HEAD_MAX);
    ws->output = (eei_queue)EEI_QUEUE_INIT(EEI_WS_OUTPUT_MAX);
    st = request(ws, options, err);
    if (st) {
        eei_ws_free(ws);
        return st;
    }
    *out = ws;
    return EE_OK;
}

void eei_ws_free(eei_ws *ws) {
    if (!ws) return;
    if (ws->wslay) wslay_event_context_free(ws->wslay);
    eei_buf_clear(&ws->head);
    eei_queue_clear(&ws->output);
    eei_free(ws);
}
