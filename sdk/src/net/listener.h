/* listener.h - the listening side: libwebsockets on a uv loop serves the HTTP API and accepts tunnels. Only the control plane links it.
 * Everything runs on the loop's thread. Limits: headers 10 s, body EEI_HTTP_BODY_MAX, connections per address (threats B1, B2, B4, B11). */
#ifndef EEI_LISTENER_H
#define EEI_LISTENER_H
#include "base/clock.h"
#include "ratls/prover.h"

#include <uv.h>

typedef struct eei_listener eei_listener;
typedef struct eei_exchange eei_exchange; /* one HTTP request and its answer */
typedef struct eei_socket eei_socket;     /* one accepted websocket */

typedef struct eei_listener_options {
    const char *bind;                          /* address */
    uint16_t port;                             /* 0 = any; eei_listener_port() */
    eei_prover *prover;                        /* certificate and key, from memory; borrowed */
    const char *tunnel_path;                   /* "/v1/tunnel", subprotocol "ee.v1" */
    uint32_t connections_max, per_address_max; /* 0 = defaults */
    uint32_t head_timeout_ms; /* from accept, or from the first byte of a later request, to the whole head; 0 = 10 s (threat B1) */
    uint32_t idle_timeout_ms; /* between two requests of one connection; 0 = 60 s */
    void *user;
    void (*on_request)(void *user, eei_exchange *exchange); /* the whole body is there; answer now or later */
    void (*on_socket)(void *user, eei_socket *socket);      /* upgraded; set its callbacks now */
} eei_listener_options;
ee_status eei_listener_new(uv_loop_t *loop, const eei_listener_options *options, eei_listener **out, ee_error *err) EE_MUST_USE;
uint16_t eei_listener_port(const eei_listener *listener);
/* Ends every connection at once: gone() and on_closed() of all that are open are called before this returns, none after. The handles
 * close in the next turns of the loop, which the owner must still run. Not from inside a callback of this listener. */
void eei_listener_free(eei_listener *listener);

const char *eei_exchange_method(const eei_exchange *exchange); /* "GET" */
const char *eei_exchange_path(const eei_exchange *exchange);   /* decoded? no: as sent, without the query */
const char *eei_exchange_query(const eei_exchange *exchange);  /* as sent; "" if none */
const char *eei_exchange_host(const eei_exchange *exchange);
const char *eei_exchange_header(const eei_exchange *exchange,
                                const char *lowercase_name); /* NULL if absent: any of the kept ones (Ee-*, Idempotency-Key, Authorization,
                                                                Content-Type, Origin, User-Agent) */
ee_span eei_exchange_body(const eei_exchange *exchange);
const char *eei_exchange_peer(const eei_exchange *exchange); /* address text */
const char *eei_exchange_id(const eei_exchange *exchange);   /* request id, also sent as Ee-Request-Id */
ee_status eei_exchange_binder(const eei_exchange *exchange, const uint8_t nonce[32], uint8_t out[32], ee_error *err) EE_MUST_USE;
void eei_exchange_set_user(eei_exchange *exchange, void *user, void (*gone)(void *user)); /* gone: nullable */
void *eei_exchange_user(const eei_exchange *exchange);
/* Answer once; the exchange is invalid after. When the peer left first (or the listener was freed), an exchange with gone() is invalid
 * once that was called; one without stays the owner's, who answers it as if nobody had left.
 * extra_headers: "Name: value" lines, NULL-ended, nullable. */
void eei_exchange_reply(eei_exchange *exchange, int status, const char *content_type, const char *const *extra_headers, ee_span body);

typedef struct eei_socket_callbacks {
    void *user;
    void (*on_message)(void *user, ee_span message); /* whole binary message; text closes with 1003 */
    void (*on_writable)(void *user);                 /* asked for by eei_socket_want_write(); send one message */
    void (*on_closed)(void *user, const ee_error *why);
} eei_socket_callbacks;
void eei_socket_set(eei_socket *socket, const eei_socket_callbacks *callbacks);
void eei_socket_want_write(eei_socket *socket);
/* Only inside on_writable; at most EEI_WS_MESSAGE_MAX. */
ee_status eei_socket_send(eei_socket *socket, ee_span message, ee_error *err) EE_MUST_USE;
ee_status eei_socket_binder(const eei_socket *socket, const uint8_t nonce[32], uint8_t out[32], ee_error *err) EE_MUST_USE;
const char *eei_socket_peer(const eei_socket *socket);
void eei_socket_close(eei_socket *socket, uint16_t code, const char *reason); /* on_closed follows, later */
#endif
