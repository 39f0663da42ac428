/* test_control.h - a minimal control plane in a thread, for tests of the dialing side: plain OpenSSL and libwslay, one tunnel at a time.
 * Streams that are opened to it are echoed: raw bytes, or, with an agent's prover, through an inner channel. Not for code under test. */
#ifndef TESTS_TEST_CONTROL_H
#define TESTS_TEST_CONTROL_H
#include "ratls/session.h"

typedef struct test_control test_control;
typedef struct test_control_options {
    eei_prover *prover;      /* role CONTROL; its certificate is the server's */
    eei_judge *judge;        /* of agents */
    eei_prover *agent;       /* not NULL: streams end in inner channels of this agent */
    ee_status reject;        /* not OK: refuse every session with it */
    uint32_t retry_after_ms; /* with reject */
    int http_status;         /* not 0: answer the upgrade with it */
    const char *http_extra;  /* header lines added to the answer, each with CRLF */
    unsigned open_streams;   /* open so many streams to the peer once it is accepted */
    unsigned frames_early;   /* send a stream's OPEN before ACCEPT: a broken peer */
    const char *reset_with;  /* not NULL: reset every stream with this reason */
    bool cut_channels;       /* echo once, then end the stream without a TLS goodbye */
} test_control_options;
test_control *test_control_start(const test_control_options *options);
const char *test_control_url(const test_control *control);
unsigned test_control_accepted(const test_control *control);    /* sessions so far */
unsigned test_control_connections(const test_control *control); /* TCP connections so far */
void test_control_drop(test_control *control);                  /* cut the tunnel that is open now */
void test_control_stop(test_control *control);
#endif
