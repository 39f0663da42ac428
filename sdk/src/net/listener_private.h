/* listener_private.h - what the files of the listener share: a connection, and the exchange or the websocket on it.
 * libwebsockets listens, does TLS and paces writes (role "raw-skt"); HTTP is listener_http.c and RFC 6455 is libwslay, because
 * lws 4.1's own HTTP parser decodes and rewrites the URL that a request's signature covers, and takes bare LF, folded lines and
 * chunked bodies in ways that another parser would not (threats S7, W2). Included by listener*.c only. */
#ifndef EEI_LISTENER_PRIVATE_H
#define EEI_LISTENER_PRIVATE_H
#include "base/limits.h"
#include "net/listener.h"
#include "net/listener_http.h"

#include <libwebsockets.h>
#include <wslay/wslay.h>

enum {
    EEI_LISTENER_RX = 65536,          /* most bytes of one read */
    EEI_LISTENER_TLS_RECORD = 16384,  /* one write: lws copies what does not go into one record */
    EEI_LISTENER_OUT_KEEP = 163840,   /* a drained send buffer up to this size is kept: one websocket message fits */
    EEI_LISTENER_CONTROL_MAX = 65536, /* bytes of pongs a peer may leave unread */
    EEI_REPLY_BODY_MAX = 64 << 20,
};

typedef struct eei_conn eei_conn;

typedef enum eei_conn_state {
    CONN_HEAD, /* between requests, or in a head */
    CONN_BODY,
    CONN_WAIT,  /* the owner has the exchange */
    CONN_REPLY, /* an answer is being sent */
    CONN_DRAIN, /* answered and shut; what the peer still sends is dropped, so that a reset does not eat the answer */
    CONN_WS,
} eei_conn_state;

struct eei_exchange {
    eei_conn *conn; /* NULL when the peer left */
    char *text;     /* the head's bytes; strings point into it */
    eei_http_head head;
    eei_buf body;
    char id[40], peer[64];
    void *user;
    void (*gone)(void *user);
};

struct eei_socket {
    eei_conn *conn;
    eei_socket_callbacks callbacks;
    wslay_event_context_ptr ws;
    ee_span rx; /* bytes wslay has not taken yet; only during a feed */
    bool wants_write, closing;
    ee_error why;
};

struct eei_conn {
    eei_listener *listener;
    struct lws *wsi;
    eei_conn *previous, *next;
    uint8_t address[16];
    char peer[64];
    eei_conn_state state;
    bool handshaken;                              /* TLS is done: lws watches the time no more */
    bool head_started, close_after, linger, busy; /* busy: inside eei_conn_pump() */
    eei_buf in, out;
    size_t out_at, out_seen; /* sent; sent at the last look of the progress timer */
    uint64_t body_len;
    eei_exchange *exchange; /* in BODY and WAIT */
    eei_socket *socket;     /* in WS */
};

struct eei_listener {
    uv_loop_t *loop;
    struct lws_context *context;
    struct lws_vhost *vhost;
    SSL_CTX *tls; /* lws's; borrowed */
    uint8_t certificate_sha256[32];
    eei_listener_options options;
    char *bind, *tunnel_path;
    struct lws_protocols protocols[2];
    eei_conn *conns;
    size_t conn_count;
    uint16_t port;
    uv_handle_t *lws_handles[8]; /* lws's own on our loop: once they are gone its context may be freed */
    size_t lws_handle_count;
    uv_idle_t closer;
    bool freed;
};

/* listener.c */
void eei_conn_deadline(eei_conn *conn, uint64_t ms); /* 0 = none */
void eei_conn_want_write(eei_conn *conn);
void eei_conn_kill(eei_conn *conn); /* soon, from anywhere on the loop's thread */

/* listener_exchange.c: all return -1 to drop the connection now */
int eei_conn_receive(eei_conn *conn, ee_span bytes);
int eei_conn_pump(eei_conn *conn);
int eei_conn_sent(eei_conn *conn);             /* everything in out was sent */
int eei_conn_late(eei_conn *conn);             /* the deadline passed */
void eei_exchange_end(eei_exchange *exchange); /* the connection is gone */

/* listener_socket.c */
bool eei_socket_asked(const eei_http_head *head);
int eei_socket_upgrade(eei_conn *conn, const eei_http_head *head, const char *request_id);
int eei_socket_feed(eei_conn *conn, ee_span bytes);
int eei_socket_writable(eei_conn *conn);
void eei_socket_end(eei_socket *socket); /* the connection is gone */
#endif
