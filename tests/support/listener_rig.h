/* listener_rig.h - a real listener on a loop in a thread, with routes for tests, and a raw TLS peer that says exactly the bytes it is told.
 * Not for code under test. Setting up cannot fail: it aborts with the reason. Called by test_listener, test_fetch. */
#ifndef TESTS_LISTENER_RIG_H
#define TESTS_LISTENER_RIG_H
#include "net/listener.h"

#include <pthread.h>

typedef struct rig_counts {
    unsigned requests; /* all but challenges */
    unsigned challenges, gone, sockets, messages, closed;
    unsigned pending; /* exchanges that nobody answered yet */
} rig_counts;

typedef struct rig {
    uv_loop_t loop;
    uv_async_t wake;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards: counts, last_* and order */
    pthread_cond_t changed;
    eei_listener *listener;
    eei_prover *prover;
    eei_listener_options options;
    uint16_t port;
    rig_counts counts;
    char last_target[4200], last_body[64], last_header[256], last_close[256];
    size_t last_body_len;
    ee_cancel *fire_on_pending; /* nullable: fired when /never was asked for */
    bool wrong_binder;          /* answer challenges for another connection */
    bool silent_attest;         /* answer challenges with 404 */
    eei_exchange *pending[16];
    enum { RIG_RUN, RIG_STOP, RIG_ANSWER } order;
} rig;

/* Routes: POST /v1/attest; /echo (the body); /big/<bytes>; /never (pending); /orphan (pending, without gone()); /status/<code>; else "{}".
 * limits may be NULL: only its numbers are used. Websockets echo; "close" closes with 4000, "flood" answers with 64 messages. */
void rig_start(rig *r, eei_prover *prover, const eei_listener_options *limits);
void rig_stop(rig *r);   /* frees the listener on its thread, runs the loop empty, and checks that it closes */
void rig_answer(rig *r); /* reply 200 "late" to everything pending, on the loop, and wait until it was done */
/* Wait until the counter is at least n; aborts after 10 s. */
void rig_wait(rig *r, const unsigned *counter, unsigned n);
unsigned rig_read(rig *r, const unsigned *counter);

/* Raw TLS. All reads give up after 10 s. */
typedef struct tls_peer {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
} tls_peer;
bool tls_peer_open(tls_peer *p, uint16_t port, const char *alpn); /* false: refused; alpn nullable */
void tls_peer_close(tls_peer *p);
void tls_peer_write(tls_peer *p, const void *data, size_t len); /* what the other side does not take is dropped */
/* At most len bytes; how many came before the end. */
size_t tls_peer_read(tls_peer *p, void *out, size_t len);
bool tls_peer_at_end(tls_peer *p);
/* One HTTP answer: head and body by content-length. Returns the status, 0 when the connection ended first. */
int tls_peer_answer(tls_peer *p, eei_buf *head, eei_buf *body);
int rig_connect(uint16_t port); /* TCP to 127.0.0.1 */
#endif
