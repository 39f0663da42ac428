/* test_session.c - the opening of a tunnel: both sides of it against each other, and against whoever stands between them. */
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

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE_BYTE    7
#define NETWORK_BYTE 9

typedef struct fixture {
    fake_world world;
    fake_machine control_machine, agent_machine, other_machine;
    eei_prover *control, *agent, *other;
    ee_verdict *base; /* over the control plane's certificate, as a client has it */
} fixture;

static ee_verdict *judge_certificate_of(fixture *f, const eei_prover *prover, uint8_t role) {
    ee_span der = eei_prover_certificate_der(prover);
    const unsigned char *at = der.data;
    X509 *c = d2i_X509(NULL, &at, (long)der.len);
    eei_expect expect = {.role = role, .node_id = eei_prover_node_id(prover)};
    ee_verdict *v = NULL;
    assert_int_equal(eei_judge_certificate(f->world.judge, c, NULL, &expect, &v, NULL), EE_OK);
    X509_free(c);
    return v;
}

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    fake_world_init(&f->world);
    fake_machine_init(&f->control_machine, &f->world, "c");
    fake_machine_init(&f->agent_machine, &f->world, "a");
    fake_machine_init(&f->other_machine, &f->world, "b");
    f->control = fake_prover(&f->control_machine, &f->world, EEI_ROLE_CONTROL, "net", NETWORK_BYTE);
    f->agent = fake_prover(&f->agent_machine, &f->world, EEI_ROLE_AGENT, "node-a", NODE_BYTE);
    f->other = fake_prover(&f->other_machine, &f->world, EEI_ROLE_AGENT, "node-b", NODE_BYTE + 1);
    f->base = judge_certificate_of(f, f->control, EEI_ROLE_CONTROL);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    ee_verdict_free(f->base);
    eei_prover_free(f->control);
    eei_prover_free(f->agent);
    eei_prover_free(f->other);
    fake_machine_clear(&f->control_machine);
    fake_machine_clear(&f->agent_machine);
    fake_machine_clear(&f->other_machine);
    fake_world_clear(&f->world);
    free(f);
    return 0;
}

/* ---- two sides and the wire between them ------------------------------------------------------------------------------ */

/* The exporter of a connection: different connections, different values. */
static ee_status binder(void *user, const uint8_t nonce[32], uint8_t out[32], ee_error *err) {
    uint8_t text[33];
    (void)err;
    text[0] = *(const uint8_t *)user;
    memcpy(text + 1, nonce, 32);
    eei_sha256(eei_span(text, sizeof text), out);
    return EE_OK;
}

typedef struct pair pair;
struct pair {
    fixture *f;
    eei_session *dialing, *listening;
    eei_prover *prover; /* of the dialing side; NULL: client */
    uint8_t dialing_tls, listening_tls;
    const uint8_t *node_id; /* the listening side checks it when not NULL */
    /* May change a frame on its way: from the dialing side or to it. */
    void (*meddle)(pair *p, bool from_dialing, eei_frame *frame);
    eei_buf scratch;
    eei_buf recorded; /* last EVIDENCE payload seen by meddle_record */
    ee_error error;   /* the first */
    ee_verdict *dialing_verdict;
};

static eei_session_options dialing_options(pair *p, uint8_t role) {
    eei_session_options o = {.role = role,
                             .release = "0.1.0",
                             .limits_off = role == EEI_ROLE_AGENT,
                             .peer_spki_sha256 = eei_prover_spki_sha256(p->f->control),
                             .base = p->f->base,
                             .binder = binder,
                             .user = &p->dialing_tls};
    memset(o.network_id, NETWORK_BYTE, 32);
    if (role != EEI_ROLE_CLIENT) {
        o.node = "node-a";
        o.instance_pub = eei_key_public(eei_prover_key(p->f->agent));
    }
    return o;
}

static eei_session_options listening_options(pair *p) {
    eei_session_options o = {.listening = true,
                             .role = EEI_ROLE_CONTROL,
                             .node = "net",
                             .release = "0.1.0",
                             .instance_pub = eei_key_public(eei_prover_key(p->f->control)),
                             .binder = binder,
                             .user = &p->listening_tls};
    memset(o.network_id, NETWORK_BYTE, 32);
    memset(o.session_id, 0x5e, 16);
    return o;
}

static void pair_open(pair *p, fixture *f, uint8_t role) {
    *p = (pair){.f = f, .dialing_tls = 1, .listening_tls = 1};
    p->scratch = (eei_buf)EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    p->recorded = (eei_buf)EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    p->prover = role == EEI_ROLE_CLIENT ? NULL : f->agent;
    eei_session_options d = dialing_options(p, role), l = listening_options(p);
    assert_int_equal(eei_session_new(&d, 0, &p->dialing, NULL), EE_OK);
    assert_int_equal(eei_session_new(&l, 0, &p->listening, NULL), EE_OK);
}

static void pair_close(pair *p) {
    eei_session_free(p->dialing);
    eei_session_free(p->listening);
    eei_buf_clear(&p->scratch);
    eei_buf_clear(&p->recorded);
    ee_verdict_free(p->dialing_verdict);
}

static void note(pair *p, ee_status st, const ee_error *err) {
    if (st && !p->error.status) p->error = *err;
}

static bool carry(pair *p, bool from_dialing) {
    eei_session *from = from_dialing ? p->dialing : p->listening, *to = from_dialing ? p->listening : p->dialing;
    eei_frame frame;
    ee_error err = {0};

    if (!eei_session_next(from, &frame)) return false;
    if (p->meddle) p->meddle(p, from_dialing, &frame);
    if (frame.type) note(p, eei_session_receive(to, &frame, 1, &err), &err);
    return true;
}

/* One step that is the owner's. The dialing side's evidence is its prover's; the listening side's always the control plane's. */
static bool own_step(pair *p, bool dialing) {
    eei_session *s = dialing ? p->dialing : p->listening;
    eei_prover *prover = dialing ? p->prover : p->f->control;
    eei_buf evidence = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    const eei_accept accept = {.state = {(const uint8_t *)"serving", 7}, .time_ms = 5, .health_interval_ms = 60000};
    eei_appraisal *appraisal = NULL;
    ee_error err = {0};
    ee_status st = EE_OK;

    switch (eei_session_state(s)) {
    case EEI_SESSION_NEED_EVIDENCE:
        st = eei_session_prove_signed(s) ? eei_prover_session(prover, eei_session_prove(s), &evidence, &err)
                                         : eei_prover_quote(prover, eei_session_prove(s), &evidence, &err);
        if (!st) st = eei_session_give_evidence(s, eei_buf_span(&evidence), &err);
        break;
    case EEI_SESSION_NEED_VERDICT:
        st = eei_session_appraisal(s, p->f->world.judge, dialing ? NULL : p->node_id, &appraisal, &err);
        if (!st) {
            ee_status judged = eei_appraisal_run(appraisal, &err);
            note(p, judged, &err);
            st = eei_session_give_verdict(s, eei_appraisal_verdict(appraisal), &err);
        }
        eei_appraisal_free(appraisal);
        break;
    case EEI_SESSION_NEED_DECISION: st = eei_session_accept(s, &accept, &err); break;
    default: return false;
    }
    eei_buf_clear(&evidence);
    note(p, st, &err);
    return true;
}

static void pair_run(pair *p) {
    bool moved = true;
    while (moved) {
        moved = carry(p, true);
        moved = carry(p, false) || moved;
        moved = own_step(p, true) || moved;
        moved = own_step(p, false) || moved;
    }
}

static bool is_open(const pair *p) {
    return eei_session_state(p->dialing) == EEI_SESSION_OPEN && eei_session_state(p->listening) == EEI_SESSION_OPEN;
}

/* Neither side may come to "open" when the evidence is wrong, and the word is attestation's. */
static void assert_refused(pair *p) {
    print_message("  %s\n", p->error.message);
    assert_int_equal(p->error.status, EE_E_ATTESTATION);
    assert_int_not_equal(eei_session_state(p->dialing), EEI_SESSION_OPEN);
    assert_int_not_equal(eei_session_state(p->listening), EEI_SESSION_OPEN);
}

/* ---- good openings ---------------------------------------------------------------------------------------------------- */

static void test_agent_opens_with_both_sides_proved(void **state) {
    pair p;

    pair_open(&p, *state, EEI_ROLE_AGENT);
    p.node_id = eei_prover_node_id(p.f->agent);
    pair_run(&p);
    if (!is_open(&p)) fail_msg("%s", p.error.message);
    assert_int_equal(ee_verdict_verified(eei_session_verdict(p.dialing)), 1);
    assert_int_equal(ee_verdict_verified(eei_session_verdict(p.listening)), 1);
    assert_memory_equal(eei_verdict_statement(eei_session_verdict(p.listening))->instance_pub, eei_key_public(eei_prover_key(p.f->agent)),
                        32);
    assert_int_equal(eei_session_accepted(p.dialing)->health_interval_ms, 60000);
    assert_int_equal(eei_session_accepted(p.dialing)->session_id[3], 0x5e);
    assert_null(eei_session_accepted(p.listening));
    assert_true(eei_span_equal(eei_session_peer_hello(p.listening)->node, eei_span_text("node-a")));
    assert_true(eei_session_peer_hello(p.listening)->limits_off);
    assert_false(eei_session_peer_hello(p.dialing)->limits_off);
    assert_int_equal(eei_session_deadline_ms(p.dialing), UINT64_MAX);
    assert_int_equal(eei_session_deadline_ms(p.listening), UINT64_MAX);
    pair_close(&p);
}

static void test_client_opens_on_a_signed_statement(void **state) {
    pair p;

    pair_open(&p, *state, EEI_ROLE_CLIENT);
    unsigned quotes = p.f->control_machine.quotes;
    pair_run(&p);
    if (!is_open(&p)) fail_msg("%s", p.error.message);
    assert_int_equal(p.f->control_machine.quotes, quotes); /* no quote was made for it */
    assert_int_equal(ee_verdict_verified(eei_session_verdict(p.dialing)), 1);
    assert_null(eei_session_verdict(p.listening)); /* clients prove nothing */
    pair_close(&p);
}

/* ---- someone in between ----------------------------------------------------------------------------------------------- */

static void flip_hello_release(pair *p, bool from_dialing, eei_frame *frame) {
    (void)from_dialing;
    if (frame->type != EEI_FRAME_HELLO) return;
    eei_buf_reset(&p->scratch);
    assert_int_equal(eei_buf_append_span(&p->scratch, frame->payload), EE_OK);
    uint8_t *at = memmem(p->scratch.data, p->scratch.len, "0.1.0", 5);
    assert_non_null(at);
    at[4] = '9';
    frame->payload = eei_buf_span(&p->scratch);
}

static void flip_hello_of_dialing(pair *p, bool from_dialing, eei_frame *frame) {
    if (from_dialing) flip_hello_release(p, from_dialing, frame);
}
static void flip_hello_of_listening(pair *p, bool from_dialing, eei_frame *frame) {
    if (!from_dialing) flip_hello_release(p, from_dialing, frame);
}

static void test_S5_edited_hello_is_refused(void **state) {
    static void (*const meddlers[])(pair *, bool, eei_frame *) = {flip_hello_of_dialing, flip_hello_of_listening, flip_hello_release};
    static const uint8_t roles[] = {EEI_ROLE_AGENT, EEI_ROLE_CLIENT};

    for (size_t i = 0; i < 3; i++) {
        for (size_t r = 0; r < 2; r++) {
            pair p;
            pair_open(&p, *state, roles[r]);
            p.meddle = meddlers[i];
            pair_run(&p);
            print_message("  %s\n", p.error.message);
            assert_int_equal(p.error.status, EE_E_ATTESTATION);
            assert_int_not_equal(eei_session_state(p.dialing), EEI_SESSION_OPEN);
            if (roles[r] != EEI_ROLE_CLIENT) assert_int_not_equal(eei_session_state(p.listening), EEI_SESSION_OPEN);
            pair_close(&p);
        }
    }
}

static void test_S6_terminated_outer_tls_is_refused(void **state) {
    static const uint8_t roles[] = {EEI_ROLE_AGENT, EEI_ROLE_CLIENT};

    for (size_t r = 0; r < 2; r++) {
        pair p;
        pair_open(&p, *state, roles[r]);
        p.dialing_tls = 2; /* two connections with a proxy in the middle: two exporters */
        pair_run(&p);
        print_message("  %s\n", p.error.message);
        assert_int_equal(p.error.status, EE_E_ATTESTATION);
        assert_int_not_equal(eei_session_state(p.dialing), EEI_SESSION_OPEN);
        assert_int_not_equal(eei_session_state(p.listening), roles[r] == EEI_ROLE_AGENT ? EEI_SESSION_OPEN : -1);
        pair_close(&p);
    }
}

static void record_evidence(pair *p, bool from_dialing, eei_frame *frame) {
    (void)from_dialing;
    if (frame->type != EEI_FRAME_EVIDENCE) return;
    eei_buf_reset(&p->recorded);
    assert_int_equal(eei_buf_append_span(&p->recorded, frame->payload), EE_OK);
}

static void replay_to_dialing(pair *p, bool from_dialing, eei_frame *frame) {
    if (frame->type == EEI_FRAME_EVIDENCE && !from_dialing) frame->payload = eei_buf_span(&p->recorded);
}
static void replay_to_listening(pair *p, bool from_dialing, eei_frame *frame) {
    if (frame->type == EEI_FRAME_EVIDENCE && from_dialing) frame->payload = eei_buf_span(&p->recorded);
}
static void record_from_listening(pair *p, bool from_dialing, eei_frame *frame) {
    if (!from_dialing) record_evidence(p, from_dialing, frame);
}

static void test_Q7_replayed_evidence_is_refused(void **state) {
    static const struct {
        const char *name;
        uint8_t role;
        void (*record)(pair *, bool, eei_frame *);
        void (*replay)(pair *, bool, eei_frame *);
    } cases[] = {
        {"control plane's, to an agent", EEI_ROLE_AGENT, record_from_listening, replay_to_dialing},
        {"control plane's, to a client", EEI_ROLE_CLIENT, record_from_listening, replay_to_dialing},
        {"agent's, to the control plane", EEI_ROLE_AGENT, record_evidence, replay_to_listening},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pair first, second;
        print_message("%s\n", cases[i].name);
        pair_open(&first, *state, cases[i].role);
        first.meddle = cases[i].record;
        pair_run(&first);
        assert_true(is_open(&first));
        pair_open(&second, *state, cases[i].role);
        assert_int_equal(eei_buf_append_span(&second.recorded, eei_buf_span(&first.recorded)), EE_OK);
        second.meddle = cases[i].replay;
        pair_run(&second);
        assert_refused(&second);
        pair_close(&first);
        pair_close(&second);
    }
}

static void test_Q9_evidence_of_another_agent_is_refused(void **state) {
    pair p;

    /* Named node-a with agent's key in HELLO, evidence by the genuine other machine, which quotes the right nonce and binder. */
    pair_open(&p, *state, EEI_ROLE_AGENT);
    p.prover = p.f->other;
    pair_run(&p);
    assert_refused(&p);
    pair_close(&p);
}

static void test_Q9_genuine_instance_under_another_nodes_name_is_refused(void **state) {
    pair p;
    static const uint8_t victim[32] = {0x77};

    pair_open(&p, *state, EEI_ROLE_AGENT);
    p.node_id = victim; /* what the ledger says node-a is */
    pair_run(&p);
    assert_refused(&p);
    pair_close(&p);
}

static void test_Q12_signed_statement_of_another_control_plane_is_refused(void **state) {
    fixture *f = *state;
    fake_machine machine;
    eei_prover *twin, *genuine = f->control;
    pair p;

    /* Same software, same network id, another machine: it stole the TLS key, so the certificate is genuine, but not the instance key. */
    fake_machine_init(&machine, &f->world, "evil");
    twin = fake_prover(&machine, &f->world, EEI_ROLE_CONTROL, "net", NETWORK_BYTE);
    pair_open(&p, f, EEI_ROLE_CLIENT);
    f->control = twin;
    pair_run(&p);
    f->control = genuine;
    print_message("  %s\n", p.error.message);
    assert_int_equal(p.error.status, EE_E_ATTESTATION);
    assert_int_not_equal(eei_session_state(p.dialing), EEI_SESSION_OPEN);
    pair_close(&p);
    eei_prover_free(twin);
    fake_machine_clear(&machine);
}

static void test_quote_under_another_tls_key_is_refused(void **state) {
    fixture *f = *state;
    pair p;

    pair_open(&p, f, EEI_ROLE_AGENT);
    eei_session_options o = dialing_options(&p, EEI_ROLE_AGENT);
    static const uint8_t spki[32] = {1};
    o.peer_spki_sha256 = spki; /* the outer connection showed this key */
    eei_session_free(p.dialing);
    assert_int_equal(eei_session_new(&o, 0, &p.dialing, NULL), EE_OK);
    pair_run(&p);
    assert_refused(&p);
    pair_close(&p);
}

static void test_other_network_is_refused(void **state) {
    fixture *f = *state;
    pair p;

    pair_open(&p, f, EEI_ROLE_AGENT);
    eei_session_options o = dialing_options(&p, EEI_ROLE_AGENT);
    memset(o.network_id, 1, 32);
    eei_session_free(p.dialing);
    assert_int_equal(eei_session_new(&o, 0, &p.dialing, NULL), EE_OK);
    pair_run(&p);
    assert_refused(&p);
    pair_close(&p);
}

static void test_client_without_a_base_trusts_nothing(void **state) {
    pair p;

    pair_open(&p, *state, EEI_ROLE_CLIENT);
    eei_session_options o = dialing_options(&p, EEI_ROLE_CLIENT);
    o.base = NULL;
    eei_session_free(p.dialing);
    assert_int_equal(eei_session_new(&o, 0, &p.dialing, NULL), EE_OK);
    pair_run(&p);
    assert_int_equal(p.error.status, EE_E_ATTESTATION);
    assert_int_equal(eei_session_state(p.dialing), EEI_SESSION_CLOSED);
    pair_close(&p);
}

static void test_verdict_of_another_session_is_refused(void **state) {
    pair p, q;

    pair_open(&p, *state, EEI_ROLE_AGENT);
    pair_run(&p);
    assert_true(is_open(&p));
    pair_open(&q, *state, EEI_ROLE_AGENT);
    while (eei_session_state(q.dialing) != EEI_SESSION_NEED_VERDICT) {
        carry(&q, true);
        carry(&q, false);
        own_step(&q, false);
    }
    assert_int_equal(eei_session_give_verdict(q.dialing, eei_session_verdict(p.dialing), NULL), EE_E_ATTESTATION);
    assert_int_equal(eei_session_state(q.dialing), EEI_SESSION_CLOSED);
    pair_close(&p);
    pair_close(&q);
}

/* ---- HELLO, field by field -------------------------------------------------------------------------------------------- */

typedef struct hello_case {
    const char *name;
    void (*change)(eei_hello *h);
    ee_status want;
} hello_case;

static uint64_t two_versions[] = {1, 2}, other_version[] = {2};
static void h_nothing(eei_hello *h) { (void)h; }
static void h_two(eei_hello *h) { h->versions = (eei_list){two_versions, 2}; }
static void h_other(eei_hello *h) { h->versions = (eei_list){other_version, 1}; }
static void h_no_version(eei_hello *h) { h->versions.count = 0; }
static void h_features(eei_hello *h) { h->features = 4; }
static void h_role_client(eei_hello *h) { h->role = EEI_ROLE_CLIENT; }
static void h_role_control(eei_hello *h) { h->role = EEI_ROLE_CONTROL; }
static void h_role_agent(eei_hello *h) { h->role = EEI_ROLE_AGENT; }
static void h_no_key(eei_hello *h) { memset(h->instance_pub, 0, 32); }
static void h_no_r(eei_hello *h) { memset(h->r, 0, 32); }
static void h_session(eei_hello *h) { h->session_id[0] = 1; }
static void h_no_session(eei_hello *h) { memset(h->session_id, 0, 16); }
static void h_no_node(eei_hello *h) { h->node.len = 0; }

static const hello_case to_listening[] = {
    {"as it is", h_nothing, EE_OK},
    {"two versions offered", h_two, EE_OK},
    {"unknown features offered", h_features, EE_OK},
    {"another version", h_other, EE_E_VERSION},
    {"no version", h_no_version, EE_E_VERSION},
    {"a client with key and node", h_role_client, EE_E_MALFORMED},
    {"a second control plane", h_role_control, EE_E_MALFORMED},
    {"no key", h_no_key, EE_E_MALFORMED},
    {"no randomness", h_no_r, EE_E_MALFORMED},
    {"its own session id", h_session, EE_E_MALFORMED},
    {"no node", h_no_node, EE_E_MALFORMED},
};
static const hello_case to_dialing[] = {
    {"as it is", h_nothing, EE_OK},
    {"two versions chosen", h_two, EE_E_VERSION},
    {"another version", h_other, EE_E_VERSION},
    {"features that were not offered", h_features, EE_E_VERSION},
    {"not a control plane", h_role_agent, EE_E_MALFORMED},
    {"no key", h_no_key, EE_E_MALFORMED},
    {"no randomness", h_no_r, EE_E_MALFORMED},
    {"no session id", h_no_session, EE_E_MALFORMED},
};

static void hello_reencode(eei_buf *out, ee_span payload, void (*change)(eei_hello *)) {
    eei_arena arena = EEI_ARENA_INIT(4096);
    eei_hello h = {0};
    assert_int_equal(eei_decode(&eei_hello_schema, payload, &arena, &h, NULL), EE_OK);
    change(&h);
    eei_buf_reset(out);
    assert_int_equal(eei_encode(&eei_hello_schema, &h, out, NULL), EE_OK);
    eei_arena_clear(&arena);
}

static void test_hello_is_checked_field_by_field(void **state) {
    for (size_t i = 0; i < sizeof to_listening / sizeof *to_listening; i++) {
        pair p;
        eei_frame frame;
        print_message("to listening: %s\n", to_listening[i].name);
        pair_open(&p, *state, EEI_ROLE_AGENT);
        assert_true(eei_session_next(p.dialing, &frame));
        hello_reencode(&p.scratch, frame.payload, to_listening[i].change);
        frame.payload = eei_buf_span(&p.scratch);
        assert_int_equal(eei_session_receive(p.listening, &frame, 1, NULL), to_listening[i].want);
        assert_int_equal(eei_session_state(p.listening), to_listening[i].want ? EEI_SESSION_CLOSED : EEI_SESSION_NEED_EVIDENCE);
        pair_close(&p);
    }
    for (size_t i = 0; i < sizeof to_dialing / sizeof *to_dialing; i++) {
        pair p;
        eei_frame frame;
        print_message("to dialing: %s\n", to_dialing[i].name);
        pair_open(&p, *state, EEI_ROLE_AGENT);
        assert_true(carry(&p, true));
        assert_true(eei_session_next(p.listening, &frame));
        hello_reencode(&p.scratch, frame.payload, to_dialing[i].change);
        frame.payload = eei_buf_span(&p.scratch);
        assert_int_equal(eei_session_receive(p.dialing, &frame, 1, NULL), to_dialing[i].want);
        assert_int_equal(eei_session_state(p.dialing), to_dialing[i].want ? EEI_SESSION_CLOSED : EEI_SESSION_WAIT);
        pair_close(&p);
    }
}

static void test_a_mirror_is_no_peer(void **state) {
    pair p;
    eei_frame frame;

    pair_open(&p, *state, EEI_ROLE_AGENT);
    assert_true(eei_session_next(p.dialing, &frame));
    assert_int_equal(eei_session_receive(p.dialing, &frame, 1, NULL), EE_E_MALFORMED);
    pair_close(&p);
}

/* ---- order of frames -------------------------------------------------------------------------------------------------- */

static void test_a_frame_out_of_turn_ends_the_session(void **state) {
    static const uint8_t types[] = {EEI_FRAME_HELLO, EEI_FRAME_EVIDENCE, EEI_FRAME_ACCEPT, EEI_FRAME_CHALLENGE, EEI_FRAME_JOB};

    /* n frames and steps of a good opening, then each type on each side: never "open", never a crash, and twice is still closed. */
    for (size_t n = 0; n < 12; n++) {
        for (size_t t = 0; t < sizeof types; t++) {
            for (int side = 0; side < 2; side++) {
                pair p;
                pair_open(&p, *state, EEI_ROLE_AGENT);
                for (size_t i = 0; i < n; i++) {
                    switch (i % 4) {
                    case 0: carry(&p, true); break;
                    case 1: carry(&p, false); break;
                    case 2: own_step(&p, false); break;
                    default: own_step(&p, true); break;
                    }
                }
                eei_session *s = side ? p.dialing : p.listening;
                eei_session_step before = eei_session_state(s);
                const eei_frame junk = {.type = types[t], .payload = eei_span("\x80", 1)};
                if (before != EEI_SESSION_OPEN || types[t] != EEI_FRAME_REJECT) {
                    if (eei_session_receive(s, &junk, 1, NULL) == EE_OK) {
                        /* Any bytes are evidence until they are judged, but only where evidence is due. */
                        assert_int_equal(types[t], EEI_FRAME_EVIDENCE);
                        assert_int_equal(before, EEI_SESSION_WAIT);
                    } else {
                        assert_int_equal(eei_session_state(s), EEI_SESSION_CLOSED);
                        assert_int_not_equal(eei_session_receive(s, &junk, 1, NULL), EE_OK);
                        assert_int_not_equal(eei_session_error(s)->status, EE_OK);
                    }
                }
                pair_close(&p);
            }
        }
    }
}

static void test_control_frames_belong_on_stream_0(void **state) {
    pair p;
    eei_frame frame;

    pair_open(&p, *state, EEI_ROLE_AGENT);
    assert_true(eei_session_next(p.dialing, &frame));
    frame.stream = 1;
    assert_int_equal(eei_session_receive(p.listening, &frame, 1, NULL), EE_E_MALFORMED);
    pair_close(&p);
}

static void test_steps_out_of_turn_are_errors(void **state) {
    pair p;
    const eei_accept accept = {0};
    eei_appraisal *appraisal = NULL;

    pair_open(&p, *state, EEI_ROLE_AGENT);
    assert_int_equal(eei_session_give_evidence(p.dialing, eei_span("x", 1), NULL), EE_E_STATE);
    assert_int_equal(eei_session_give_verdict(p.dialing, NULL, NULL), EE_E_STATE);
    assert_int_equal(eei_session_accept(p.listening, &accept, NULL), EE_E_STATE);
    assert_int_equal(eei_session_appraisal(p.dialing, p.f->world.judge, NULL, &appraisal, NULL), EE_E_STATE);
    assert_null(appraisal);
    assert_int_equal(eei_session_state(p.dialing), EEI_SESSION_WAIT);
    pair_run(&p);
    assert_true(is_open(&p));
    pair_close(&p);
}

static void test_rejection_is_told_with_its_reason(void **state) {
    pair p;

    pair_open(&p, *state, EEI_ROLE_AGENT);
    while (eei_session_state(p.listening) != EEI_SESSION_NEED_DECISION) {
        carry(&p, true);
        carry(&p, false);
        own_step(&p, true);
        if (eei_session_state(p.listening) != EEI_SESSION_NEED_DECISION) own_step(&p, false);
    }
    assert_int_equal(eei_session_reject(p.listening, EE_E_PERMISSION, "node is banned\nforever", 7000), EE_OK);
    assert_int_equal(eei_session_state(p.listening), EEI_SESSION_CLOSED);
    while (carry(&p, false)) continue;
    assert_int_equal(eei_session_state(p.dialing), EEI_SESSION_CLOSED);
    assert_int_equal(eei_session_error(p.dialing)->status, EE_E_PERMISSION);
    assert_int_equal(eei_session_error(p.dialing)->retry_after_ms, 7000);
    assert_non_null(strstr(eei_session_error(p.dialing)->message, "banned forever")); /* one line */
    pair_close(&p);
}

static void test_a_rejection_called_ok_is_still_one(void **state) {
    pair p;
    eei_reject reject = {.word = {(const uint8_t *)"ok", 2}};

    pair_open(&p, *state, EEI_ROLE_AGENT);
    assert_int_equal(eei_encode(&eei_reject_schema, &reject, &p.scratch, NULL), EE_OK);
    const eei_frame frame = {.type = EEI_FRAME_REJECT, .payload = eei_buf_span(&p.scratch)};
    assert_int_equal(eei_session_receive(p.dialing, &frame, 1, NULL), EE_E_SERVER);
    assert_int_equal(eei_session_state(p.dialing), EEI_SESSION_CLOSED);
    pair_close(&p);
}

static void test_accept_of_another_session_is_refused(void **state) {
    pair p;
    eei_accept accept = {.session_id = {1}, .time_ms = 1};

    pair_open(&p, *state, EEI_ROLE_AGENT);
    while (eei_session_state(p.listening) != EEI_SESSION_NEED_DECISION) {
        carry(&p, true);
        carry(&p, false);
        own_step(&p, true);
        if (eei_session_state(p.listening) != EEI_SESSION_NEED_DECISION) own_step(&p, false);
    }
    assert_int_equal(eei_encode(&eei_accept_schema, &accept, &p.scratch, NULL), EE_OK);
    const eei_frame frame = {.type = EEI_FRAME_ACCEPT, .payload = eei_buf_span(&p.scratch)};
    assert_int_equal(eei_session_receive(p.dialing, &frame, 1, NULL), EE_E_MALFORMED);
    assert_int_equal(eei_session_state(p.dialing), EEI_SESSION_CLOSED);
    pair_close(&p);
}

static void test_deadlines_move_with_the_opening(void **state) {
    pair p;

    pair_open(&p, *state, EEI_ROLE_AGENT);
    assert_int_equal(eei_session_deadline_ms(p.listening), EEI_HELLO_DEADLINE_MS);
    assert_int_equal(eei_session_deadline_ms(p.dialing), EEI_HELLO_DEADLINE_MS);
    carry(&p, true); /* at time 1 */
    assert_int_equal(eei_session_deadline_ms(p.listening), 1 + EEI_EVIDENCE_DEADLINE_MS);
    carry(&p, false);
    assert_int_equal(eei_session_deadline_ms(p.dialing), 1 + EEI_EVIDENCE_DEADLINE_MS);
    pair_close(&p);
}

static void test_options_that_make_no_sense_are_refused(void **state) {
    pair p;
    eei_session *s = NULL;

    pair_open(&p, *state, EEI_ROLE_AGENT);
    eei_session_options o = dialing_options(&p, EEI_ROLE_AGENT);
    o.binder = NULL;
    assert_int_equal(eei_session_new(&o, 0, &s, NULL), EE_E_INVALID);
    o = dialing_options(&p, EEI_ROLE_AGENT);
    o.role = EEI_ROLE_CONTROL;
    assert_int_equal(eei_session_new(&o, 0, &s, NULL), EE_E_INVALID);
    o = dialing_options(&p, EEI_ROLE_AGENT);
    o.instance_pub = NULL;
    assert_int_equal(eei_session_new(&o, 0, &s, NULL), EE_E_INVALID);
    o = dialing_options(&p, EEI_ROLE_CLIENT);
    o.node = "node-a";
    assert_int_equal(eei_session_new(&o, 0, &s, NULL), EE_E_INVALID);
    o = listening_options(&p);
    memset(o.session_id, 0, 16);
    assert_int_equal(eei_session_new(&o, 0, &s, NULL), EE_E_INVALID);
    assert_null(s);
    pair_close(&p);
}

/* ---- memory ----------------------------------------------------------------------------------------------------------- */

static ee_status try_all(pair *p) {
    eei_session_options d = dialing_options(p, EEI_ROLE_AGENT), l = listening_options(p);
    ee_status st = eei_session_new(&d, 0, &p->dialing, NULL);
    if (!st) st = eei_session_new(&l, 0, &p->listening, NULL);
    if (!st) pair_run(p);
    return st;
}

static void test_out_of_memory(void **state) {
    for (size_t n = 1; n < 3000; n++) {
        pair p = {.f = *state, .dialing_tls = 1, .listening_tls = 1, .prover = ((fixture *)*state)->agent};
        eei_alloc_fail_at(n);
        ee_status st = try_all(&p);
        bool reached = eei_alloc_fail_at(0) >= n;
        if (!reached) {
            assert_int_equal(st, EE_OK);
            assert_true(is_open(&p));
            pair_close(&p);
            return;
        }
        pair_close(&p);
    }
    fail_msg("never got through");
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_agent_opens_with_both_sides_proved),
        TEST(test_client_opens_on_a_signed_statement),
        TEST(test_S5_edited_hello_is_refused),
        TEST(test_S6_terminated_outer_tls_is_refused),
        TEST(test_Q7_replayed_evidence_is_refused),
        TEST(test_Q9_evidence_of_another_agent_is_refused),
        TEST(test_Q9_genuine_instance_under_another_nodes_name_is_refused),
        TEST(test_Q12_signed_statement_of_another_control_plane_is_refused),
        TEST(test_quote_under_another_tls_key_is_refused),
        TEST(test_other_network_is_refused),
        TEST(test_client_without_a_base_trusts_nothing),
        TEST(test_verdict_of_another_session_is_refused),
        TEST(test_hello_is_checked_field_by_field),
        TEST(test_a_mirror_is_no_peer),
        TEST(test_a_frame_out_of_turn_ends_the_session),
        TEST(test_control_frames_belong_on_stream_0),
        TEST(test_steps_out_of_turn_are_errors),
        TEST(test_rejection_is_told_with_its_reason),
        TEST(test_a_rejection_called_ok_is_still_one),
        TEST(test_accept_of_another_session_is_refused),
        TEST(test_deadlines_move_with_the_opening),
        TEST(test_options_that_make_no_sense_are_refused),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
