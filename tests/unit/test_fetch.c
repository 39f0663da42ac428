/* test_fetch.c - calls to an attested listener, to impostors and middlemen, and what is reported when they fail. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/limits.h"
#include "net/fetch.h"
#include "support/fake_quoter.h"
#include "support/listener_rig.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct fixture {
    fake_world world;
    fake_machine machine, other;
    eei_prover *prover, *second; /* two control planes of one network: before and after a restart */
} fixture;
static fixture fix;

static int setup(void **state) {
    fake_world_init(&fix.world);
    fake_machine_init(&fix.machine, &fix.world, "cp");
    fake_machine_init(&fix.other, &fix.world, "cp2");
    fix.prover = fake_prover(&fix.machine, &fix.world, EEI_ROLE_CONTROL, "net", 1);
    fix.second = fake_prover(&fix.other, &fix.world, EEI_ROLE_CONTROL, "net", 1);
    *state = &fix;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    eei_prover_free(fix.prover);
    eei_prover_free(fix.second);
    fake_machine_clear(&fix.machine);
    fake_machine_clear(&fix.other);
    fake_world_clear(&fix.world);
    return 0;
}

static eei_fetch *open_fetch(uint16_t port, eei_fetch_trust trust, uint32_t timeout_ms, uint8_t network_byte) {
    char url[64];
    ee_error err = {0};
    eei_fetch *fetch = NULL;
    (void)snprintf(url, sizeof url, "%s://127.0.0.1:%u", trust == EEI_FETCH_LOOPBACK ? "http" : "https", port);
    eei_fetch_options options = {.url = url, .trust = trust, .judge = fix.world.judge, .timeout_ms = timeout_ms};
    memset(options.network_id, network_byte, 32);
    if (eei_fetch_new(&options, &fetch, &err)) fail_msg("%s", err.message);
    return fetch;
}

static eei_fetch *open_attested(const rig *r) { return open_fetch(r->port, EEI_FETCH_ATTESTED, 10000, 1); }

static ee_status call(eei_fetch *fetch, const char *path, eei_reply *reply, ee_error *err) {
    eei_request request = {.method = "GET", .path = path, .response_max = 8u << 20};
    eei_buf_clear(&reply->body);
    *reply = (eei_reply){.body = EEI_BUF_INIT(8u << 20)};
    return eei_fetch_call(fetch, &request, reply, err);
}

/* ---- the good case ---------------------------------------------------------------------------------------------------- */

static void test_calls_share_one_attested_connection(void **state) {
    static const char *const headers[] = {"Content-Type: text/plain", NULL};
    rig r = {0};
    eei_reply reply = {0};
    ee_error err = {0};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_attested(&r);
    for (int i = 0; i < 3; i++) assert_int_equal(call(fetch, "/v1/a%20b?c=+d", &reply, &err), EE_OK);
    assert_string_equal(r.last_target, "GET /v1/a%20b?c=+d");
    assert_int_equal(reply.status, 200);
    assert_true(reply.sent);
    assert_string_equal(reply.content_type, "application/json");
    assert_string_equal(reply.digest, "sha256:00");
    assert_int_equal(reply.retry_after_ms, 7000);
    assert_memory_equal(reply.request_id, "req_", 4);
    assert_int_equal(call(fetch, "/status/503", &reply, &err), EE_OK); /* any status is an answer */
    assert_int_equal(reply.status, 503);
    assert_int_equal(call(fetch, "/big/3000000", &reply, &err), EE_OK);
    assert_int_equal(reply.body.len, 3000000);
    eei_request post = {.method = "POST", .path = "/echo", .headers = headers, .body = eei_span_text("hello")};
    eei_buf_clear(&reply.body);
    reply = (eei_reply){0};
    assert_int_equal(eei_fetch_call(fetch, &post, &reply, &err), EE_OK);
    assert_true(eei_span_equal(eei_buf_span(&reply.body), eei_span_text("hello")));
    eei_request empty = {.method = "POST", .path = "/echo"}, removal = {.method = "DELETE", .path = "/x"};
    assert_int_equal(eei_fetch_call(fetch, &empty, &reply, &err), EE_OK);
    assert_int_equal(reply.body.len, 0);
    assert_int_equal(eei_fetch_call(fetch, &removal, &reply, &err), EE_OK);
    assert_string_equal(r.last_target, "DELETE /x");
    assert_int_equal(rig_read(&r, &r.counts.challenges), 1);
    assert_int_equal(rig_read(&r, &r.counts.requests), 8);
    eei_buf_clear(&reply.body);
    eei_fetch_free(fetch);
    rig_stop(&r);
}

static void test_one_header_is_kept_whole(void **state) {
    rig r = {0};
    eei_reply reply = {0};
    ee_error err = {0};
    eei_request request = {.method = "GET", .path = "/x", .keep = "Docker-Content-Digest"};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_attested(&r);
    assert_int_equal(eei_fetch_call(fetch, &request, &reply, &err), EE_OK);
    assert_true(eei_span_equal(eei_buf_span(&reply.kept), eei_span_text("sha256:00")));
    assert_int_equal(reply.kept_count, 1);
    request.keep = "Docker";
    assert_int_equal(eei_fetch_call(fetch, &request, &reply, &err), EE_OK);
    assert_int_equal(reply.kept.len, 0);
    assert_int_equal(reply.kept_count, 0);
    eei_reply_clear(&reply);
    eei_fetch_free(fetch);
    rig_stop(&r);
}

static void test_a_call_has_a_deadline_of_its_own(void **state) {
    rig r = {0};
    eei_reply reply = {0};
    ee_error err = {0};
    eei_request request = {.method = "GET", .path = "/never", .timeout_ms = 300};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_fetch(r.port, EEI_FETCH_UNTRUSTED, 600000, 1);
    assert_int_equal(eei_fetch_call(fetch, &request, &reply, &err), EE_E_TIMEOUT);
    eei_reply_clear(&reply);
    eei_fetch_free(fetch);
    rig_stop(&r);
}

static void test_verdict_of_the_peer(void **state) {
    rig r = {0};
    ee_verdict *verdict = NULL, *again = NULL;
    ee_error err = {0};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_attested(&r);
    assert_int_equal(eei_fetch_verdict(fetch, NULL, &verdict, &err), EE_OK);
    assert_int_equal(ee_verdict_verified(verdict), 1);
    assert_memory_equal(eei_verdict_statement(verdict)->instance_pub, eei_key_public(eei_prover_key(fix.prover)), 32);
    assert_int_equal(eei_fetch_verdict(fetch, NULL, &again, &err), EE_OK);
    assert_int_equal(rig_read(&r, &r.counts.challenges), 1);
    ee_verdict_free(verdict);
    ee_verdict_free(again);
    eei_fetch_free(fetch);
    rig_stop(&r);
}

typedef struct signer {
    uint8_t instance[32];
    unsigned calls;
    ee_status status;
    const char *lines;
} signer;
static ee_status sign(void *user, const uint8_t instance[32], eei_buf *lines, ee_error *err) {
    signer *s = user;
    s->calls++;
    memcpy(s->instance, instance, 32);
    if (s->status) return eei_fail(err, s->status, "no key");
    return eei_buf_append_text(lines, s->lines);
}

static void test_signature_is_for_the_instance_that_proved_itself(void **state) {
    rig r = {0};
    eei_reply reply = {0};
    ee_error err = {0};
    signer s = {.lines = "Ee-Key: k\nEe-Sig: abc\n"};
    eei_request request = {.method = "GET", .path = "/x", .sign = sign, .user = &s};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_attested(&r);
    assert_int_equal(eei_fetch_call(fetch, &request, &reply, &err), EE_OK);
    assert_memory_equal(s.instance, eei_prover_instance_id(fix.prover), 32);
    assert_string_equal(r.last_header, "abc");
    s.status = EE_E_AUTH;
    assert_int_equal(eei_fetch_call(fetch, &request, &reply, &err), EE_E_AUTH);
    assert_false(reply.sent);
    s.status = EE_OK;
    s.lines = "Ee-Sig: a\rInjected: b\n";
    assert_int_equal(eei_fetch_call(fetch, &request, &reply, &err), EE_E_INVALID);
    assert_int_equal(rig_read(&r, &r.counts.requests), 1);
    eei_buf_clear(&reply.body);
    eei_fetch_free(fetch);
    rig_stop(&r);
}

/* The control plane restarts with new keys on the same address: the kept connection is dead, and libcurl opens another by itself. That
 * one must prove itself, and the request must be signed for it. */
static void test_silent_reconnect_never_carries_an_unjudged_request(void **state) {
    rig r = {0};
    eei_reply reply = {0};
    ee_error err = {0};
    signer s = {.lines = "Ee-Sig: abc\n"};
    eei_request request = {.method = "POST", .path = "/x", .sign = sign, .user = &s, .body = eei_span_text("b")};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_attested(&r);
    assert_int_equal(eei_fetch_call(fetch, &request, &reply, &err), EE_OK);
    eei_listener_options same_port = {.port = r.port};
    rig_stop(&r);
    rig_start(&r, fix.second, &same_port);
    assert_int_equal(eei_fetch_call(fetch, &request, &reply, &err), EE_OK);
    assert_memory_equal(s.instance, eei_prover_instance_id(fix.second), 32);
    assert_int_equal(rig_read(&r, &r.counts.challenges), 1);
    assert_int_equal(rig_read(&r, &r.counts.requests), 1);
    rig_stop(&r);
    r.wrong_binder = false;
    rig_start(&r, fix.second, &same_port);
    r.wrong_binder = true; /* the next one does not prove itself: nothing is sent to it */
    assert_int_equal(eei_fetch_call(fetch, &request, &reply, &err), EE_E_ATTESTATION);
    assert_false(reply.sent);
    assert_int_equal(rig_read(&r, &r.counts.requests), 0);
    r.wrong_binder = false;
    assert_int_equal(eei_fetch_call(fetch, &request, &reply, &err), EE_OK);
    assert_int_equal(rig_read(&r, &r.counts.requests), 1);
    eei_buf_clear(&reply.body);
    eei_fetch_free(fetch);
    rig_stop(&r);
}

static void *call_many(void *user) {
    eei_reply reply = {0};
    for (int i = 0; i < 10; i++)
        if (call(user, "/echo", &reply, NULL)) abort();
    eei_buf_clear(&reply.body);
    return NULL;
}

static void test_threads_share_the_pool(void **state) {
    rig r = {0};
    pthread_t threads[4];
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_attested(&r);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, call_many, fetch), 0);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(rig_read(&r, &r.counts.requests), 40);
    assert_in_range(rig_read(&r, &r.counts.challenges), 1, 4);
    eei_fetch_free(fetch);
    rig_stop(&r);
}

/* ---- impostors -------------------------------------------------------------------------------------------------------- */

static void refused(uint16_t port, uint8_t network_byte, rig *r, ee_status want) {
    eei_reply reply = {0};
    ee_error err = {0};
    eei_fetch *fetch = open_fetch(port, EEI_FETCH_ATTESTED, 10000, network_byte);
    ee_status st = call(fetch, "/secret", &reply, &err);
    if (st != want) fail_msg("%s: %s", ee_status_word(st), err.message);
    assert_false(reply.sent);
    assert_int_equal(rig_read(r, &r->counts.requests), 0);
    eei_buf_clear(&reply.body);
    eei_fetch_free(fetch);
}

static void test_K8_another_root_is_refused_before_anything_is_sent(void **state) {
    rig r = {0};
    fake_world world;
    fake_machine machine;
    (void)state;
    fake_world_init(&world);
    fake_machine_init(&machine, &world, "cp");
    eei_prover *impostor = fake_prover(&machine, &world, EEI_ROLE_CONTROL, "net", 1);
    rig_start(&r, impostor, NULL);
    refused(r.port, 1, &r, EE_E_ATTESTATION);
    assert_int_equal(rig_read(&r, &r.counts.challenges), 0);
    rig_stop(&r);
    eei_prover_free(impostor);
    fake_machine_clear(&machine);
    fake_world_clear(&world);
}

static void test_another_network_or_role_is_refused(void **state) {
    rig r = {0};
    fake_machine machine;
    (void)state;
    rig_start(&r, fix.prover, NULL);
    refused(r.port, 2, &r, EE_E_ATTESTATION);
    assert_int_equal(rig_read(&r, &r.counts.challenges), 0);
    rig_stop(&r);
    fake_machine_init(&machine, &fix.world, "node");
    eei_prover *agent = fake_prover(&machine, &fix.world, EEI_ROLE_AGENT, "net", 1);
    rig_start(&r, agent, NULL);
    refused(r.port, 1, &r, EE_E_ATTESTATION);
    assert_int_equal(rig_read(&r, &r.counts.challenges), 0);
    rig_stop(&r);
    eei_prover_free(agent);
    fake_machine_clear(&machine);
}

static void test_unanswered_challenge_is_refused(void **state) {
    rig r = {0};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    r.silent_attest = true;
    refused(r.port, 1, &r, EE_E_ATTESTATION);
    rig_stop(&r);
}

static void test_answer_for_another_connection_is_refused(void **state) {
    rig r = {0};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    r.wrong_binder = true;
    refused(r.port, 1, &r, EE_E_ATTESTATION);
    rig_stop(&r);
}

/* A middleman that ends TLS and passes the plain bytes on. */
typedef struct middleman {
    pthread_t thread;
    int listening;
    uint16_t port, to;
    SSL_CTX *ctx;
    unsigned bytes; /* passed on; read after the join */
} middleman;

static bool pass_on(SSL *from, SSL *to, unsigned *bytes) {
    char piece[16384];
    int n = SSL_read(from, piece, sizeof piece);
    if (n <= 0) return false;
    *bytes += (unsigned)n;
    return SSL_write(to, piece, n) == n;
}

static void *run_middleman(void *user) {
    middleman *m = user;
    unsigned back = 0;
    tls_peer up;
    int fd = accept(m->listening, NULL, NULL);
    SSL *ssl = SSL_new(m->ctx);
    if (fd < 0 || !ssl || SSL_set_fd(ssl, fd) != 1) abort();
    if (SSL_accept(ssl) == 1 && tls_peer_open(&up, m->to, "http/1.1")) {
        bool open = true;
        while (open) {
            struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = up.fd, .events = POLLIN}};
            bool ready = SSL_pending(ssl) > 0 || SSL_pending(up.ssl) > 0 || poll(fds, 2, 10000) > 0;
            if (!ready)
                open = false;
            else if (SSL_pending(ssl) > 0 || fds[0].revents)
                open = pass_on(ssl, up.ssl, &m->bytes);
            else
                open = pass_on(up.ssl, ssl, &back);
        }
        tls_peer_close(&up);
    }
    SSL_free(ssl);
    (void)close(fd);
    return NULL;
}

static void middleman_start(middleman *m, uint16_t to, X509 *certificate, EVP_PKEY *key) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    *m = (middleman){.to = to, .listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .ctx = SSL_CTX_new(TLS_server_method())};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(m->listening, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(m->listening, 4), 0);
    assert_int_equal(getsockname(m->listening, (struct sockaddr *)&address, &len), 0);
    m->port = ntohs(address.sin_port);
    assert_int_equal(SSL_CTX_use_cert_and_key(m->ctx, certificate, key, NULL, 1), 1);
    assert_int_equal(pthread_create(&m->thread, NULL, run_middleman, m), 0);
}

static void middleman_stop(middleman *m) {
    (void)pthread_join(m->thread, NULL);
    SSL_CTX_free(m->ctx);
    (void)close(m->listening);
}

/* Even one that has the control plane's TLS key: the statement it passes on is over the exporter of its own connection to the control
 * plane, not of ours to it. */
static void test_S6_middleman_with_the_leaked_tls_key_is_refused(void **state) {
    rig r = {0};
    middleman m;
    (void)state;
    rig_start(&r, fix.prover, NULL);
    ee_span der = eei_prover_certificate_der(fix.prover), key_der = eei_prover_tls_key_der(fix.prover);
    const unsigned char *at = der.data, *key_at = key_der.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)der.len);
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &key_at, (long)key_der.len);
    middleman_start(&m, r.port, certificate, key);
    refused(m.port, 1, &r, EE_E_ATTESTATION);
    middleman_stop(&m);
    assert_int_equal(rig_read(&r, &r.counts.challenges), 1); /* the challenge did get through: it is what failed */
    EVP_PKEY_free(key);
    X509_free(certificate);
    rig_stop(&r);
}

/* A certificate that any browser might take, without evidence: not a byte passes. */
static void test_K8_middleman_with_another_certificate_is_refused(void **state) {
    rig r = {0};
    middleman m;
    X509 *certificate = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    (void)state;
    rig_start(&r, fix.prover, NULL);
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    middleman_start(&m, r.port, certificate, key);
    refused(m.port, 1, &r, EE_E_ATTESTATION);
    middleman_stop(&m);
    assert_int_equal(m.bytes, 0);
    EVP_PKEY_free(key);
    X509_free(certificate);
    rig_stop(&r);
}

static void test_collateral_that_cannot_be_had_is_told(void **state) {
    rig r = {0};
    fake_world world;
    fake_machine machine;
    eei_reply reply = {0};
    ee_error err = {0};
    eei_fetch *fetch = NULL;
    char url[64];
    (void)state;
    fake_world_init(&world);
    fake_machine_init(&machine, &world, "cp");
    eei_prover *prover = fake_prover(&machine, &world, EEI_ROLE_CONTROL, "net", 1);
    rig_start(&r, prover, NULL);
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%u", r.port);
    eei_fetch_options options = {.url = url, .trust = EEI_FETCH_ATTESTED, .judge = world.judge};
    memset(options.network_id, 1, 32);
    assert_int_equal(eei_fetch_new(&options, &fetch, &err), EE_OK);
    atomic_store(&world.fetch_fails, true);
    assert_int_equal(call(fetch, "/x", &reply, &err), EE_E_CONNECT);
    assert_false(reply.sent);
    atomic_store(&world.fetch_fails, false);
    assert_int_equal(call(fetch, "/x", &reply, &err), EE_OK);
    eei_buf_clear(&reply.body);
    eei_fetch_free(fetch);
    rig_stop(&r);
    eei_prover_free(prover);
    fake_machine_clear(&machine);
    fake_world_clear(&world);
}

/* ---- failures --------------------------------------------------------------------------------------------------------- */

static void test_limits_deadlines_and_cancel(void **state) {
    rig r = {0};
    eei_reply reply = {.body = EEI_BUF_INIT(1000)};
    ee_error err = {0};
    ee_cancel *cancel = NULL;
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_attested(&r);
    eei_request big = {.method = "GET", .path = "/big/1001", .response_max = 1000};
    assert_int_equal(eei_fetch_call(fetch, &big, &reply, &err), EE_E_LIMIT);
    big.path = "/big/1000";
    assert_int_equal(eei_fetch_call(fetch, &big, &reply, &err), EE_OK);
    assert_int_equal(reply.body.len, 1000);
    assert_int_equal(ee_cancel_new(&cancel, &err), EE_OK);
    r.fire_on_pending = cancel;
    eei_request never = {.method = "GET", .path = "/never", .cancel = cancel};
    assert_int_equal(eei_fetch_call(fetch, &never, &reply, &err), EE_E_CANCELLED);
    assert_true(reply.sent);
    rig_wait(&r, &r.counts.gone, 1);                                               /* the connection was closed, so the peer knows */
    assert_int_equal(eei_fetch_call(fetch, &never, &reply, &err), EE_E_CANCELLED); /* it stays fired */
    assert_false(reply.sent);
    eei_fetch *hasty = open_fetch(r.port, EEI_FETCH_ATTESTED, 700, 1);
    never.cancel = NULL;
    r.fire_on_pending = NULL;
    assert_int_equal(eei_fetch_call(hasty, &never, &reply, &err), EE_E_TIMEOUT);
    assert_true(reply.sent);
    ee_cancel_free(cancel);
    eei_buf_clear(&reply.body);
    eei_fetch_free(hasty);
    eei_fetch_free(fetch);
    rig_stop(&r);
}

static void test_nobody_listens(void **state) {
    rig r = {0};
    eei_reply reply = {0};
    ee_error err = {0};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_attested(&r);
    rig_stop(&r);
    assert_int_equal(call(fetch, "/x", &reply, &err), EE_E_CONNECT);
    assert_false(reply.sent);
    assert_true(err.retryable);
    eei_buf_clear(&reply.body);
    eei_fetch_free(fetch);
}

static void *stop_when_pending(void *user) {
    rig *r = user;
    rig_wait(r, &r->counts.pending, 1);
    rig_stop(r);
    return NULL;
}

static void test_connection_that_ends_before_the_answer(void **state) {
    rig r = {0};
    eei_reply reply = {0};
    ee_error err = {0};
    ee_verdict *verdict = NULL;
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_attested(&r);
    assert_int_equal(eei_fetch_verdict(fetch, NULL, &verdict, &err), EE_OK);
    pthread_t stopper;
    assert_int_equal(pthread_create(&stopper, NULL, stop_when_pending, &r), 0);
    assert_int_equal(call(fetch, "/never", &reply, &err), EE_E_CONNECT);
    assert_true(reply.sent);
    assert_int_equal(pthread_join(stopper, NULL), 0);
    ee_verdict_free(verdict);
    eei_buf_clear(&reply.body);
    eei_fetch_free(fetch);
}

static void test_bad_requests_are_not_sent(void **state) {
    static const char *const bad_lines[] = {"X: a\r\nY: b", NULL}, *const no_colon[] = {"nonsense", NULL};
    static const struct {
        const char *path;
        const char *const *headers;
    } cases[] = {{"x", NULL},    {"", NULL},      {"/a b", NULL},   {"/a\r\nX: y", NULL},
                 {"/a#b", NULL}, {"/\xff", NULL}, {"/", bad_lines}, {"/", no_colon}};
    rig r = {0};
    eei_reply reply = {0};
    ee_error err = {0};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_attested(&r);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eei_request request = {.method = "GET", .path = cases[i].path, .headers = cases[i].headers};
        assert_int_equal(eei_fetch_call(fetch, &request, &reply, &err), EE_E_INVALID);
        assert_false(reply.sent);
    }
    assert_int_equal(rig_read(&r, &r.counts.requests), 0);
    eei_buf_clear(&reply.body);
    eei_fetch_free(fetch);
    rig_stop(&r);
}

/* ---- other trusts ----------------------------------------------------------------------------------------------------- */

static void test_web_pki_refuses_a_certificate_of_ours(void **state) {
    rig r = {0};
    eei_reply reply = {0};
    ee_error err = {0};
    (void)state;
    rig_start(&r, fix.prover, NULL);
    eei_fetch *fetch = open_fetch(r.port, EEI_FETCH_WEB_PKI, 10000, 1);
    assert_int_equal(call(fetch, "/x", &reply, &err), EE_E_CONNECT);
    assert_false(err.retryable);
    assert_int_equal(rig_read(&r, &r.counts.requests), 0);
    eei_fetch_free(fetch);
    fetch = open_fetch(r.port, EEI_FETCH_UNTRUSTED, 10000, 1);
    assert_int_equal(call(fetch, "/x", &reply, &err), EE_OK);
    assert_int_equal(rig_read(&r, &r.counts.challenges), 0);
    eei_buf_clear(&reply.body);
    eei_fetch_free(fetch);
    rig_stop(&r);
}

static void test_loopback_means_loopback(void **state) {
    static const char *const urls[] = {"http://192.0.2.1:1", "http://[2001:db8::1]:1", "http://0.0.0.0:1"};
    ee_error err = {0};
    eei_reply reply = {0};
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        eei_fetch *fetch = NULL;
        eei_fetch_options options = {.url = urls[i], .trust = EEI_FETCH_LOOPBACK, .timeout_ms = 5000};
        assert_int_equal(eei_fetch_new(&options, &fetch, &err), EE_OK);
        assert_int_equal(call(fetch, "/x", &reply, &err), EE_E_CONNECT);
        assert_false(reply.sent);
        eei_fetch_free(fetch);
    }
    eei_buf_clear(&reply.body);
    static const struct {
        const char *url;
        eei_fetch_trust trust;
    } wrong[] = {{"https://127.0.0.1:1", EEI_FETCH_LOOPBACK},
                 {"http://127.0.0.1:1", EEI_FETCH_ATTESTED},
                 {"http://x", EEI_FETCH_WEB_PKI},
                 {"", EEI_FETCH_WEB_PKI},
                 {NULL, EEI_FETCH_WEB_PKI}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        eei_fetch *fetch = NULL;
        eei_fetch_options options = {.url = wrong[i].url, .trust = wrong[i].trust, .judge = fix.world.judge};
        assert_int_equal(eei_fetch_new(&options, &fetch, &err), EE_E_INVALID);
        assert_null(fetch);
    }
}

/* Nobody else allocates while this runs: the calls stop at a port where nobody listens. */
static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    for (size_t n = 1;; n++) {
        eei_reply reply = {.body = EEI_BUF_INIT(4096)};
        eei_fetch *fetch = NULL;
        eei_fetch_options options = {.url = "https://127.0.0.1:1", .trust = EEI_FETCH_ATTESTED, .judge = fix.world.judge};
        eei_request request = {.method = "POST", .path = "/x", .body = eei_span_text("b")};
        (void)eei_alloc_fail_at(n);
        ee_status st = eei_fetch_new(&options, &fetch, NULL);
        if (!st) st = eei_fetch_call(fetch, &request, &reply, NULL);
        bool reached = eei_alloc_fail_at(0) >= n;
        assert_int_equal(st, reached ? EE_E_NOMEM : EE_E_CONNECT);
        eei_buf_clear(&reply.body);
        eei_fetch_free(fetch);
        if (!reached) break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_share_one_attested_connection),
        cmocka_unit_test(test_one_header_is_kept_whole),
        cmocka_unit_test(test_a_call_has_a_deadline_of_its_own),
        cmocka_unit_test(test_verdict_of_the_peer),
        cmocka_unit_test(test_signature_is_for_the_instance_that_proved_itself),
        cmocka_unit_test(test_silent_reconnect_never_carries_an_unjudged_request),
        cmocka_unit_test(test_threads_share_the_pool),
        cmocka_unit_test(test_K8_another_root_is_refused_before_anything_is_sent),
        cmocka_unit_test(test_another_network_or_role_is_refused),
        cmocka_unit_test(test_unanswered_challenge_is_refused),
        cmocka_unit_test(test_answer_for_another_connection_is_refused),
        cmocka_unit_test(test_S6_middleman_with_the_leaked_tls_key_is_refused),
        cmocka_unit_test(test_K8_middleman_with_another_certificate_is_refused),
        cmocka_unit_test(test_collateral_that_cannot_be_had_is_told),
        cmocka_unit_test(test_limits_deadlines_and_cancel),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_connection_that_ends_before_the_answer),
        cmocka_unit_test(test_bad_requests_are_not_sent),
        cmocka_unit_test(test_web_pki_refuses_a_certificate_of_ours),
        cmocka_unit_test(test_loopback_means_loopback),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
