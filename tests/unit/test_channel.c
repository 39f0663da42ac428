/* test_channel.c - the inner channel: client and server against each other, through a wire that may cut, relay or lie. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/limits.h"
#include "support/fake_quoter.h"

#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    fake_world world;
    fake_machine machine, twin_machine;
    eei_prover *agent, *twin; /* two genuine agents with the same software */
    SSL_CTX *ctx;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    fake_world_init(&f->world);
    fake_machine_init(&f->machine, &f->world, "a");
    fake_machine_init(&f->twin_machine, &f->world, "b");
    f->agent = fake_prover(&f->machine, &f->world, EEI_ROLE_AGENT, "node-a", 7);
    f->twin = fake_prover(&f->twin_machine, &f->world, EEI_ROLE_AGENT, "node-b", 8);
    assert_int_equal(eei_client_ctx_new(&f->ctx, NULL), EE_OK);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    SSL_CTX_free(f->ctx);
    eei_prover_free(f->agent);
    eei_prover_free(f->twin);
    fake_machine_clear(&f->machine);
    fake_machine_clear(&f->twin_machine);
    fake_world_clear(&f->world);
    free(f);
    return 0;
}

/* ---- two ends --------------------------------------------------------------------------------------------------------- */

typedef struct pair {
    eei_channel *client, *server;
    size_t split; /* carry at most this many bytes at a time; 0 = all */
} pair;

static eei_channel_client client_options(fixture *f, const eei_prover *wanted, bool strict) {
    eei_channel_client o = {.ctx = f->ctx, .judge = f->world.judge, .alpn = EEI_ALPN_APP, .node_name = "node-a", .strict = strict};
    memcpy(o.instance_id, eei_prover_instance_id(wanted), 32);
    memcpy(o.node_id, eei_prover_node_id(wanted), 32);
    return o;
}

static void pair_open(pair *p, fixture *f, bool strict) {
    eei_channel_client o = client_options(f, f->agent, strict);
    *p = (pair){0};
    assert_int_equal(eei_channel_new_client(&o, 0, &p->client, NULL), EE_OK);
    assert_int_equal(eei_channel_new_server(f->agent, 0, &p->server, NULL), EE_OK);
}

static void pair_close(pair *p) {
    eei_channel_free(p->client);
    eei_channel_free(p->server);
}

static bool carry(pair *p, eei_channel *from, eei_channel *to) {
    ee_span cipher = eei_channel_cipher(from);
    size_t room = eei_channel_receivable(to), n = cipher.len < room ? cipher.len : room;
    if (p->split && n > p->split) n = p->split;
    if (!n) return false;
    (void)!eei_channel_receive(to, eei_span(cipher.data, n), 1, NULL);
    eei_channel_cipher_sent(from, n);
    return true;
}

static bool own_step(eei_channel *c) {
    switch (eei_channel_state(c)) {
    case EEI_CHANNEL_NEED_VERDICT: (void)!eei_channel_judge(c, 2, NULL); return true;
    case EEI_CHANNEL_NEED_QUOTE: (void)!eei_channel_quote(c, 2, NULL); return true;
    default: return false;
    }
}

static void pair_run(pair *p) {
    bool moved = true;
    while (moved) {
        moved = carry(p, p->client, p->server);
        moved = carry(p, p->server, p->client) || moved;
        moved = own_step(p->client) || moved;
        moved = own_step(p->server) || moved;
    }
}

static void pair_ready(pair *p, fixture *f, bool strict) {
    pair_open(p, f, strict);
    pair_run(p);
    if (eei_channel_state(p->client) != EEI_CHANNEL_OPEN) fail_msg("client: %s", eei_channel_error(p->client)->message);
    if (eei_channel_state(p->server) != EEI_CHANNEL_OPEN) fail_msg("server: %s", eei_channel_error(p->server)->message);
}

static void assert_refused(pair *p) {
    print_message("  %s\n", eei_channel_error(p->client)->message);
    assert_int_equal(eei_channel_state(p->client), EEI_CHANNEL_FAILED);
    assert_int_equal(eei_channel_error(p->client)->status, EE_E_ATTESTATION);
    assert_int_equal(eei_channel_write(p->client, eei_span("secret", 6)), 0);
    assert_int_equal(eei_channel_peek(p->client).len, 0);
}

/* ---- good ------------------------------------------------------------------------------------------------------------- */

static void test_opens_on_a_signed_statement(void **state) {
    fixture *f = *state;
    unsigned quotes = f->machine.quotes;
    pair p;

    pair_ready(&p, f, false);
    assert_int_equal(f->machine.quotes, quotes);
    assert_int_equal(ee_verdict_verified(eei_channel_verdict(p.client)), 1);
    assert_string_equal(eei_channel_alpn(p.client), EEI_ALPN_APP);
    assert_string_equal(eei_channel_alpn(p.server), EEI_ALPN_APP);
    assert_int_equal(eei_channel_deadline_ms(p.client), UINT64_MAX);
    assert_int_equal(eei_channel_deadline_ms(p.server), UINT64_MAX);
    pair_close(&p);
}

static void test_strict_takes_a_quote_of_its_own(void **state) {
    fixture *f = *state;
    unsigned quotes = f->machine.quotes;
    pair p;

    pair_ready(&p, f, true);
    assert_int_equal(f->machine.quotes, quotes + 1);
    assert_int_equal(ee_verdict_verified(eei_channel_verdict(p.client)), 1);
    pair_close(&p);
}

static void test_opens_byte_by_byte(void **state) {
    pair p;

    pair_open(&p, *state, false);
    p.split = 1;
    pair_run(&p);
    assert_int_equal(eei_channel_state(p.client), EEI_CHANNEL_OPEN);
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_OPEN);
    pair_close(&p);
}

/* Both ways at once, more than any buffer holds, with odd sizes. */
static void test_carries_megabytes_in_order(void **state) {
    enum { TOTAL = 5 << 20 };
    uint8_t *data = malloc(TOTAL);
    eei_channel *ends[2];
    size_t sent[2] = {0}, got[2] = {0};
    pair p;

    for (size_t i = 0; i < TOTAL; i++) data[i] = (uint8_t)(i * 2654435761u >> 13);
    pair_ready(&p, *state, false);
    ends[0] = p.client;
    ends[1] = p.server;
    p.split = 40009;
    while (got[0] < TOTAL || got[1] < TOTAL) {
        for (int i = 0; i < 2; i++) {
            size_t left = TOTAL - sent[i];
            sent[i] += eei_channel_write(ends[i], eei_span(data + sent[i], left < 70001 ? left : 70001));
            ee_span plain = eei_channel_peek(ends[i]);
            assert_true(got[i] + plain.len <= TOTAL);
            assert_memory_equal(plain.data, data + got[i], plain.len);
            size_t take = plain.len > 33333 ? plain.len - 1 : plain.len;
            got[i] += take;
            eei_channel_consume(ends[i], take);
        }
        carry(&p, p.client, p.server);
        carry(&p, p.server, p.client);
        assert_int_not_equal(eei_channel_state(p.client), EEI_CHANNEL_FAILED);
        assert_int_not_equal(eei_channel_state(p.server), EEI_CHANNEL_FAILED);
    }
    pair_close(&p);
    free(data);
}

static void test_writes_stop_at_the_bound_and_say_when_to_go_on(void **state) {
    static uint8_t block[262144];
    pair p;
    size_t total = 0, n;

    pair_ready(&p, *state, false);
    while ((n = eei_channel_write(p.client, eei_span(block, sizeof block))) > 0) total += n;
    assert_true(total >= 240000 && total <= 300000);
    assert_int_equal(eei_channel_writable(p.client), 0);
    assert_false(eei_channel_take_short(p.client));
    eei_channel_cipher_sent(p.client, eei_channel_cipher(p.client).len / 2);
    assert_true(eei_channel_take_short(p.client));
    assert_false(eei_channel_take_short(p.client)); /* told once */
    n = eei_channel_writable(p.client);
    assert_int_equal(eei_channel_write(p.client, eei_span(block, n)), n); /* at least what it said */
    pair_close(&p);
}

static void test_reader_that_does_not_read_is_bounded(void **state) {
    static uint8_t block[65536];
    pair p;
    ee_status st = EE_OK;
    size_t total = 0;

    pair_ready(&p, *state, false);
    while (!st && total < (8u << 20)) { /* a wire that ignores eei_channel_receivable() */
        eei_channel_write(p.client, eei_span(block, sizeof block));
        ee_span cipher = eei_channel_cipher(p.client);
        st = eei_channel_receive(p.server, cipher, 1, NULL);
        total += cipher.len;
        eei_channel_cipher_sent(p.client, cipher.len);
    }
    assert_int_equal(st, EE_E_LIMIT);
    assert_true(total < (3u << 20));
    pair_close(&p);
}

/* ---- ends ------------------------------------------------------------------------------------------------------------- */

static void test_goodbye_is_an_end_and_half_close_works(void **state) {
    pair p;

    pair_ready(&p, *state, false);
    assert_int_equal(eei_channel_write(p.client, eei_span("last", 4)), 4);
    eei_channel_close(p.client);
    assert_int_equal(eei_channel_write(p.client, eei_span("more", 4)), 0);
    pair_run(&p);
    eei_channel_receive_end(p.server);
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_OPEN); /* there is something to read */
    assert_true(eei_span_equal(eei_channel_peek(p.server), eei_span("last", 4)));
    eei_channel_consume(p.server, 4);
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_ENDED);
    assert_int_equal(eei_channel_write(p.server, eei_span("answer", 6)), 6);
    eei_channel_close(p.server);
    pair_run(&p);
    assert_true(eei_span_equal(eei_channel_peek(p.client), eei_span("answer", 6)));
    eei_channel_consume(p.client, 6);
    assert_int_equal(eei_channel_state(p.client), EEI_CHANNEL_ENDED);
    pair_close(&p);
}

static void test_truncation_is_told_apart_from_an_end(void **state) {
    pair p;

    pair_ready(&p, *state, false);
    assert_int_equal(eei_channel_write(p.client, eei_span("part", 4)), 4);
    pair_run(&p);
    eei_channel_consume(p.server, 4);
    eei_channel_receive_end(p.server); /* the relay closed the stream */
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_FAILED);
    assert_int_equal(eei_channel_error(p.server)->status, EE_E_CLOSED);
    assert_non_null(strstr(eei_channel_error(p.server)->message, "cut off"));
    pair_close(&p);
}

static void test_what_came_before_a_cut_is_still_read(void **state) {
    pair p;

    pair_ready(&p, *state, false);
    assert_int_equal(eei_channel_write(p.client, eei_span("part", 4)), 4);
    pair_run(&p);
    eei_channel_receive_end(p.server);
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_OPEN);
    assert_true(eei_span_equal(eei_channel_peek(p.server), eei_span("part", 4)));
    eei_channel_consume(p.server, 3);
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_OPEN);
    eei_channel_consume(p.server, 1);
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_FAILED);
    assert_int_equal(eei_channel_error(p.server)->status, EE_E_CLOSED);
    pair_close(&p);
}

static void test_truncation_inside_a_record_is_told_apart(void **state) {
    pair p;

    pair_ready(&p, *state, false);
    eei_channel_write(p.client, eei_span("part", 4));
    eei_channel_close(p.client);
    ee_span cipher = eei_channel_cipher(p.client);
    assert_int_equal(eei_channel_receive(p.server, eei_span(cipher.data, cipher.len - 1), 1, NULL), EE_OK);
    eei_channel_receive_end(p.server);
    eei_channel_consume(p.server, 4);
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_FAILED);
    assert_int_equal(eei_channel_error(p.server)->status, EE_E_CLOSED);
    pair_close(&p);
}

static void test_changed_bytes_are_refused(void **state) {
    pair p;
    uint8_t bytes[512];

    pair_ready(&p, *state, false);
    eei_channel_write(p.client, eei_span("part", 4));
    ee_span cipher = eei_channel_cipher(p.client);
    assert_true(cipher.len <= sizeof bytes);
    memcpy(bytes, cipher.data, cipher.len);
    bytes[cipher.len - 1] ^= 1;
    assert_int_not_equal(eei_channel_receive(p.server, eei_span(bytes, cipher.len), 1, NULL), EE_OK);
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_FAILED);
    assert_int_not_equal(eei_channel_receive(p.server, eei_span(bytes, 1), 1, NULL), EE_OK); /* and stays so */
    pair_close(&p);
}

static void test_an_end_during_the_opening_is_a_failure(void **state) {
    pair p;

    pair_open(&p, *state, false);
    carry(&p, p.client, p.server);
    eei_channel_receive_end(p.server);
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_FAILED);
    eei_channel_receive_end(p.client);
    assert_int_equal(eei_channel_error(p.client)->status, EE_E_CLOSED);
    pair_close(&p);
}

/* ---- nothing before proof --------------------------------------------------------------------------------------------- */

static void test_no_byte_passes_before_the_verdict(void **state) {
    fixture *f = *state;
    pair p;

    pair_open(&p, f, true);
    assert_int_equal(eei_channel_write(p.client, eei_span("secret", 6)), 0);
    assert_int_equal(eei_channel_write(p.server, eei_span("secret", 6)), 0);
    while (eei_channel_state(p.server) != EEI_CHANNEL_NEED_QUOTE) {
        carry(&p, p.client, p.server);
        carry(&p, p.server, p.client);
    }
    assert_int_equal(eei_channel_write(p.client, eei_span("secret", 6)), 0);
    assert_int_equal(eei_channel_write(p.server, eei_span("secret", 6)), 0);
    assert_int_equal(eei_channel_quote(p.server, 1, NULL), EE_OK);
    assert_int_equal(eei_channel_write(p.server, eei_span("early", 5)), 5); /* the server has proved itself and may speak */
    while (carry(&p, p.server, p.client)) continue;
    assert_int_equal(eei_channel_state(p.client), EEI_CHANNEL_NEED_VERDICT);
    assert_int_equal(eei_channel_peek(p.client).len, 0); /* but is not heard before it is believed */
    assert_int_equal(eei_channel_write(p.client, eei_span("secret", 6)), 0);
    assert_null(eei_channel_verdict(p.client));
    assert_int_equal(eei_channel_judge(p.client, 2, NULL), EE_OK);
    pair_run(&p);
    assert_true(eei_span_equal(eei_channel_peek(p.client), eei_span("early", 5)));
    pair_close(&p);
}

static void test_steps_out_of_turn_are_errors(void **state) {
    pair p;

    pair_open(&p, *state, false);
    assert_int_equal(eei_channel_judge(p.client, 1, NULL), EE_E_STATE);
    assert_int_equal(eei_channel_quote(p.server, 1, NULL), EE_E_STATE);
    pair_run(&p);
    assert_int_equal(eei_channel_judge(p.client, 1, NULL), EE_E_STATE);
    assert_int_equal(eei_channel_quote(p.client, 1, NULL), EE_E_STATE);
    assert_int_equal(eei_channel_state(p.client), EEI_CHANNEL_OPEN);
    pair_close(&p);
}

static void test_Q11_another_genuine_instance_is_refused(void **state) {
    fixture *f = *state;

    for (int strict = 0; strict < 2; strict++) {
        pair p = {0};
        eei_channel_client o = client_options(f, f->agent, strict);
        memcpy(o.node_id, eei_prover_node_id(f->twin), sizeof o.node_id);
        assert_int_equal(eei_channel_new_client(&o, 0, &p.client, NULL), EE_OK);
        assert_int_equal(eei_channel_new_server(f->twin, 0, &p.server, NULL), EE_OK);
        pair_run(&p);
        assert_refused(&p);
        assert_null(eei_channel_verdict(p.client)); /* its evidence is fine; it is the wrong one */
        pair_close(&p);
    }
}

static void test_Q11_the_instance_as_another_node_is_refused(void **state) {
    fixture *f = *state;

    for (int strict = 0; strict < 2; strict++) {
        pair p = {0};
        eei_channel_client o = client_options(f, f->agent, strict);
        memcpy(o.node_id, eei_prover_node_id(f->twin), sizeof o.node_id);
        assert_int_equal(eei_channel_new_client(&o, 0, &p.client, NULL), EE_OK);
        assert_int_equal(eei_channel_new_server(f->agent, 0, &p.server, NULL), EE_OK);
        pair_run(&p);
        assert_refused(&p);
        assert_non_null(strstr(eei_channel_error(p.client)->message, "node: another node than the one expected"));
        pair_close(&p);
    }
}

/* An instance that never renews: its certificate stands until its quote is too old, by its own signed clock, and then nothing opens on it.
 */
static void test_Q17_quote_that_is_too_old_is_refused(void **state) {
    fixture *f = *state;
    pair p;

    f->world.mono_ms += EEI_EVIDENCE_AGE_MAX_MS;
    pair_ready(&p, f, false);
    pair_close(&p);
    f->world.mono_ms += 1;
    pair_open(&p, f, false);
    pair_run(&p);
    assert_refused(&p);
    assert_non_null(strstr(eei_channel_error(p.client)->message, "the quote was made 1800 s before the statement that stands on it"));
    pair_close(&p);
    pair_ready(&p, f, true); /* a quote of its own is always young */
    pair_close(&p);
    f->world.wall_ms += EEI_CERT_RENEW_S * 1000;
    assert_int_equal(eei_prover_renew(f->agent, NULL), EE_OK);
    pair_ready(&p, f, false);
    pair_close(&p);
}

/* The attacker holds the TLS key and certificate of the agent, ends the TLS itself, and answers the challenge by asking whoever it likes.
 */
typedef struct thief {
    SSL_CTX *ctx;
    SSL *ssl;
} thief;

static int any_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *user) {
    (void)ssl;
    (void)in_len;
    (void)user;
    *out = in + 1;
    *out_len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

static thief thief_new(const eei_prover *victim) {
    ee_span der = eei_prover_certificate_der(victim), key_der = eei_prover_tls_key_der(victim);
    const unsigned char *at = key_der.data;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)key_der.len);
    thief t = {.ctx = SSL_CTX_new(TLS_server_method())};

    assert_int_equal(SSL_CTX_use_certificate_ASN1(t.ctx, (int)der.len, der.data), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(t.ctx, key), 1);
    SSL_CTX_set_alpn_select_cb(t.ctx, any_alpn, NULL);
    SSL_CTX_set_num_tickets(t.ctx, 0);
    t.ssl = SSL_new(t.ctx);
    SSL_set_bio(t.ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(t.ssl);
    EVP_PKEY_free(key);
    return t;
}

static void thief_free(thief *t) {
    SSL_free(t->ssl);
    SSL_CTX_free(t->ctx);
}

static void thief_carry(thief *t, eei_channel *client) {
    uint8_t bytes[16384];
    ee_span cipher = eei_channel_cipher(client);
    int n;

    if (cipher.len) BIO_write(SSL_get_rbio(t->ssl), cipher.data, (int)cipher.len);
    eei_channel_cipher_sent(client, cipher.len);
    if (!SSL_is_init_finished(t->ssl)) SSL_do_handshake(t->ssl);
    while ((n = BIO_read(SSL_get_wbio(t->ssl), bytes, sizeof bytes)) > 0)
        (void)!eei_channel_receive(client, eei_span(bytes, (size_t)n), 1, NULL);
}

/* Until the client's CHALLENGE is here; its payload. */
static eei_challenge thief_challenge(thief *t, eei_channel *client, eei_buf *payload) {
    uint8_t plain[4096];
    eei_arena arena = EEI_ARENA_INIT(4096);
    eei_challenge challenge = {0};
    eei_frame frame;
    int n = 0;

    for (int i = 0; i < 10 && n <= 0; i++) {
        thief_carry(t, client);
        n = SSL_is_init_finished(t->ssl) ? SSL_read(t->ssl, plain, sizeof plain) : 0;
    }
    assert_true(n > 0);
    eei_reader r = eei_reader_init(eei_span(plain, (size_t)n));
    assert_int_equal(eei_frame_decode(&r, sizeof plain, &frame, NULL), EE_OK);
    assert_int_equal(frame.type, EEI_FRAME_CHALLENGE);
    assert_int_equal(eei_buf_append_span(payload, frame.payload), EE_OK);
    assert_int_equal(eei_decode(&eei_challenge_schema, eei_buf_span(payload), &arena, &challenge, NULL), EE_OK);
    eei_arena_clear(&arena);
    return challenge;
}

static void thief_answer(thief *t, eei_channel *client, uint8_t type, ee_span payload) {
    eei_buf frame = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX + 64);
    assert_int_equal(eei_frame_encode(&frame, type, 0, 0, payload), EE_OK);
    assert_true(SSL_write(t->ssl, frame.data, (int)frame.len) > 0);
    thief_carry(t, client);
    eei_buf_clear(&frame);
}

typedef enum trick {
    OWN_STATEMENT,
    OWN_QUOTE,
    REPLAY,
    RELAYED_STATEMENT,
    RELAYED_QUOTE,
    SIGNED_FOR_STRICT,
    JUNK,
    OTHER_FRAME,
    DATA_FIRST
} trick;

static eei_prove prove_for(const eei_challenge *challenge, ee_span payload, SSL *ssl) {
    static const uint8_t zero[32];
    eei_prove what = {.purpose = EEI_PURPOSE_CHALLENGE, .wire_version = 1};
    eei_nonce_derive(zero, 0, challenge->r, zero, what.nonce);
    eei_sha256(payload, what.transcript);
    if (ssl) assert_int_equal(eei_tls_binder(ssl, what.nonce, what.binder, NULL), EE_OK);
    return what;
}

/* A genuine agent answers the same challenge on another TLS connection: it computes its own exporter. */
static void relayed(fixture *f, const eei_challenge *challenge, ee_span payload, bool strict, eei_buf *out) {
    eei_prove what = prove_for(challenge, payload, NULL);
    memset(what.binder, 0x33, 32);
    assert_int_equal(strict ? eei_prover_quote(f->agent, &what, out, NULL) : eei_prover_session(f->agent, &what, out, NULL), EE_OK);
}

static void thief_case(fixture *f, trick how, bool strict, ee_status want) {
    eei_channel_client o = client_options(f, f->agent, strict);
    eei_buf payload = EEI_BUF_INIT(4096), evidence = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    thief t = thief_new(f->agent);
    pair p = {0};
    uint8_t type = EEI_FRAME_EVIDENCE;

    assert_int_equal(eei_channel_new_client(&o, 0, &p.client, NULL), EE_OK);
    eei_challenge challenge = thief_challenge(&t, p.client, &payload);
    eei_prove what = prove_for(&challenge, eei_buf_span(&payload), t.ssl);
    switch (how) {
    case OWN_STATEMENT: assert_int_equal(eei_prover_session(f->twin, &what, &evidence, NULL), EE_OK); break;
    case OWN_QUOTE: assert_int_equal(eei_prover_quote(f->twin, &what, &evidence, NULL), EE_OK); break;
    case REPLAY:
        memset(what.nonce, 1, 32);
        assert_int_equal(eei_prover_session(f->agent, &what, &evidence, NULL), EE_OK);
        break;
    case RELAYED_STATEMENT:
    case RELAYED_QUOTE: relayed(f, &challenge, eei_buf_span(&payload), how == RELAYED_QUOTE, &evidence); break;
    case SIGNED_FOR_STRICT: assert_int_equal(eei_prover_session(f->agent, &what, &evidence, NULL), EE_OK); break;
    case JUNK: assert_int_equal(eei_buf_append_text(&evidence, "junk"), EE_OK); break;
    case OTHER_FRAME: type = EEI_FRAME_RESULT; break;
    case DATA_FIRST: type = EEI_FRAME_DATA; break;
    }
    thief_answer(&t, p.client, type, eei_buf_span(&evidence));
    own_step(p.client);
    print_message("  %s\n", eei_channel_error(p.client)->message);
    assert_int_equal(eei_channel_state(p.client), EEI_CHANNEL_FAILED);
    assert_int_equal(eei_channel_error(p.client)->status, want);
    assert_int_equal(eei_channel_write(p.client, eei_span("secret", 6)), 0);
    pair_close(&p);
    thief_free(&t);
    eei_buf_clear(&payload);
    eei_buf_clear(&evidence);
}

static void test_Q12_leaked_tls_key_with_a_genuine_certificate_is_refused(void **state) {
    fixture *f = *state;
    thief_case(f, OWN_STATEMENT, false, EE_E_ATTESTATION);
    thief_case(f, OWN_QUOTE, true, EE_E_ATTESTATION);
}

static void test_Q9_challenge_relayed_to_the_genuine_agent_is_refused(void **state) {
    fixture *f = *state;
    thief_case(f, RELAYED_STATEMENT, false, EE_E_ATTESTATION);
    thief_case(f, RELAYED_QUOTE, true, EE_E_ATTESTATION);
}

static void test_Q7_statement_for_another_nonce_is_refused(void **state) { thief_case(*state, REPLAY, false, EE_E_ATTESTATION); }
static void test_strict_takes_no_signed_statement(void **state) { thief_case(*state, SIGNED_FOR_STRICT, true, EE_E_ATTESTATION); }
static void test_answers_that_are_no_evidence_are_refused(void **state) {
    thief_case(*state, JUNK, false, EE_E_ATTESTATION);
    thief_case(*state, OTHER_FRAME, false, EE_E_MALFORMED);
    thief_case(*state, DATA_FIRST, false, EE_E_MALFORMED);
}

/* ---- a client that breaks the rules ----------------------------------------------------------------------------------- */

static void test_server_wants_a_challenge_first(void **state) {
    static const struct {
        const char *name;
        uint8_t type;
        eei_challenge challenge;
        size_t cut; /* bytes of the payload that are kept; 0 = all */
    } cases[] = {
        {"another frame", EEI_FRAME_JOB_START, {.kind = EEI_CHALLENGE_SESSION, .r = {1}}, 0},
        {"a health challenge", EEI_FRAME_CHALLENGE, {.kind = EEI_CHALLENGE_HEALTH, .r = {1}}, 0},
        {"with a slot", EEI_FRAME_CHALLENGE, {.kind = EEI_CHALLENGE_SESSION, .r = {1}, .slot = 1}, 0},
        {"cut short", EEI_FRAME_CHALLENGE, {.kind = EEI_CHALLENGE_SESSION, .r = {1}}, 9},
    };
    fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eei_buf payload = EEI_BUF_INIT(4096), frame = EEI_BUF_INIT(8192);
        eei_channel *server = NULL;
        SSL *ssl = SSL_new(f->ctx);
        uint8_t bytes[16384];
        int n;

        print_message("%s\n", cases[i].name);
        assert_int_equal(eei_channel_new_server(f->agent, 0, &server, NULL), EE_OK);
        SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        SSL_set_connect_state(ssl);
        SSL_set_alpn_protos(ssl, (const unsigned char *)"\x08" EEI_ALPN_JOB, 9);
        for (int turn = 0; turn < 4; turn++) {
            SSL_do_handshake(ssl);
            while ((n = BIO_read(SSL_get_wbio(ssl), bytes, sizeof bytes)) > 0)
                assert_int_equal(eei_channel_receive(server, eei_span(bytes, (size_t)n), 1, NULL), EE_OK);
            ee_span cipher = eei_channel_cipher(server);
            if (cipher.len) BIO_write(SSL_get_rbio(ssl), cipher.data, (int)cipher.len);
            eei_channel_cipher_sent(server, cipher.len);
        }
        assert_true(SSL_is_init_finished(ssl));
        assert_int_equal(eei_encode(&eei_challenge_schema, &cases[i].challenge, &payload, NULL), EE_OK);
        ee_span body = eei_buf_span(&payload);
        if (cases[i].cut) body.len = cases[i].cut;
        assert_int_equal(eei_frame_encode(&frame, cases[i].type, 0, 0, body), EE_OK);
        assert_true(SSL_write(ssl, frame.data, (int)frame.len) > 0);
        n = BIO_read(SSL_get_wbio(ssl), bytes, sizeof bytes);
        assert_int_equal(eei_channel_receive(server, eei_span(bytes, (size_t)n), 1, NULL), EE_E_MALFORMED);
        assert_int_equal(eei_channel_state(server), EEI_CHANNEL_FAILED);
        assert_int_equal(eei_channel_peek(server).len, 0);
        eei_channel_free(server);
        SSL_free(ssl);
        eei_buf_clear(&payload);
        eei_buf_clear(&frame);
    }
}

static void test_unknown_inner_protocol_is_refused(void **state) {
    fixture *f = *state;
    eei_channel_client o = client_options(f, f->agent, false);
    pair p = {0};

    o.alpn = "h2";
    assert_int_equal(eei_channel_new_client(&o, 0, &p.client, NULL), EE_OK);
    assert_int_equal(eei_channel_new_server(f->agent, 0, &p.server, NULL), EE_OK);
    pair_run(&p);
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_FAILED);
    assert_int_equal(eei_channel_state(p.client), EEI_CHANNEL_FAILED);
    eei_channel_free(p.client);
    o.alpn = "";
    assert_int_equal(eei_channel_new_client(&o, 0, &p.client, NULL), EE_E_INVALID);
    pair_close(&p);
}

static void test_quote_that_cannot_be_made_fails_the_channel(void **state) {
    fixture *f = *state;
    pair p;

    pair_open(&p, f, true);
    f->machine.quote_fails = true;
    pair_run(&p);
    assert_int_equal(eei_channel_state(p.server), EEI_CHANNEL_FAILED);
    assert_int_equal(eei_channel_error(p.server)->status, EE_E_IO);
    pair_close(&p);
}

static void test_deadlines_move_with_the_opening(void **state) {
    pair p;

    pair_open(&p, *state, false);
    assert_int_equal(eei_channel_deadline_ms(p.client), EEI_TLS_DEADLINE_MS);
    carry(&p, p.client, p.server);
    carry(&p, p.server, p.client);
    assert_int_equal(eei_channel_deadline_ms(p.client), 1 + EEI_EVIDENCE_DEADLINE_MS);
    pair_close(&p);
}

/* ---- memory ----------------------------------------------------------------------------------------------------------- */

static bool try_all(pair *p, fixture *f) {
    eei_channel_client o = client_options(f, f->agent, false);
    if (eei_channel_new_client(&o, 0, &p->client, NULL)) return false;
    if (eei_channel_new_server(f->agent, 0, &p->server, NULL)) return false;
    pair_run(p);
    if (eei_channel_state(p->client) != EEI_CHANNEL_OPEN || eei_channel_state(p->server) != EEI_CHANNEL_OPEN) return false;
    eei_channel_write(p->client, eei_span("data", 4));
    pair_run(p);
    return eei_channel_peek(p->server).len == 4;
}

static void test_out_of_memory(void **state) {
    for (size_t n = 1; n < 2000; n++) {
        pair p = {0};
        eei_alloc_fail_at(n);
        bool ok = try_all(&p, *state);
        bool reached = eei_alloc_fail_at(0) >= n;
        pair_close(&p);
        if (reached) continue;
        assert_true(ok);
        return;
    }
    fail_msg("never got through");
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_opens_on_a_signed_statement),
        TEST(test_strict_takes_a_quote_of_its_own),
        TEST(test_opens_byte_by_byte),
        TEST(test_carries_megabytes_in_order),
        TEST(test_writes_stop_at_the_bound_and_say_when_to_go_on),
        TEST(test_reader_that_does_not_read_is_bounded),
        TEST(test_goodbye_is_an_end_and_half_close_works),
        TEST(test_truncation_is_told_apart_from_an_end),
        TEST(test_what_came_before_a_cut_is_still_read),
        TEST(test_truncation_inside_a_record_is_told_apart),
        TEST(test_changed_bytes_are_refused),
        TEST(test_an_end_during_the_opening_is_a_failure),
        TEST(test_no_byte_passes_before_the_verdict),
        TEST(test_steps_out_of_turn_are_errors),
        TEST(test_Q11_another_genuine_instance_is_refused),
        TEST(test_Q11_the_instance_as_another_node_is_refused),
        TEST(test_Q17_quote_that_is_too_old_is_refused),
        TEST(test_Q12_leaked_tls_key_with_a_genuine_certificate_is_refused),
        TEST(test_Q9_challenge_relayed_to_the_genuine_agent_is_refused),
        TEST(test_Q7_statement_for_another_nonce_is_refused),
        TEST(test_strict_takes_no_signed_statement),
        TEST(test_answers_that_are_no_evidence_are_refused),
        TEST(test_server_wants_a_challenge_first),
        TEST(test_unknown_inner_protocol_is_refused),
        TEST(test_quote_that_cannot_be_made_fails_the_channel),
        TEST(test_deadlines_move_with_the_opening),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
