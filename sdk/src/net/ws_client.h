/* ws_client.h - the client's side of a websocket over plain bytes: HTTP/1.1 upgrade, then binary messages by libwslay. No sockets, no TLS,
 * no compression, no text. Called by link.c. Spec: RFC 6455 (threats B2, B3, B4) */
#ifndef EEI_WS_CLIENT_H
#define EEI_WS_CLIENT_H
#include "base/buf.h"

#define EEI_WS_SUBPROTOCOL   "ee.v1"
#define EEI_WS_HEAD_MAX      8192u /* of the answer to the upgrade */
#define EEI_WS_FRAGMENTS_MAX 64u   /* frames of one message: ours sends one */
#define EEI_WS_OUTPUT_MAX    (1u << 20)

typedef struct eei_ws eei_ws;
typedef struct eei_ws_options {
    const char *host, *path; /* Host header ("name:port"), "/v1/tunnel" */
    void *user;
    ee_status (*on_message)(void *user, ee_span message, ee_error *err); /* whole; an error ends the websocket */
} eei_ws_options;
/* The request is in the output at once. */
ee_status eei_ws_new(const eei_ws_options *options, eei_ws **out, ee_error *err) EE_MUST_USE;
void eei_ws_free(eei_ws *ws);

/* Any error is final. EE_E_CLOSED when the peer closed; an HTTP answer that is no upgrade maps to its status. */
ee_status eei_ws_receive(eei_ws *ws, ee_span bytes, ee_error *err) EE_MUST_USE;
bool eei_ws_is_open(const eei_ws *ws);
/* One binary message, at most EEI_WS_MESSAGE_MAX. EE_E_STATE before it is open. */
ee_status eei_ws_send(eei_ws *ws, ee_span message, ee_error *err) EE_MUST_USE;
void eei_ws_close(eei_ws *ws, uint16_t code, const char *reason); /* queue a close frame; best effort */
ee_span eei_ws_output(const eei_ws *ws);
void eei_ws_output_sent(eei_ws *ws, size_t len);
#endif
