/* test_prover.c - the attesting side's identity: event log, receipts tree, sequence numbers, certificate renewal. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "simtdx/parts.h"
#include "support/fake_quoter.h"

#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    fake_world world;
    fake_machine machine;
    eei_prover *prover;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    fake_world_init(&f->world);
    fake_machine_init(&f->machine, &f->world, "m1");
    f->prover = fake_prover(&f->machine, &f->world, EEI_ROLE_AGENT, "node-a", 7);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    eei_prover_free(f->prover);
    fake_machine_clear(&f->machine);
    fake_world_clear(&f->world);
    free(f);
    return 0;
}

/* A fresh quote, judged against everything that is known of it. */
static ee_verdict *verdict_of(fixture *f, ee_status want) {
    eei_prove what = {.purpose = EEI_PURPOSE_REGISTER, .wire_version = 1};
    eei_buf evidence = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    ee_verdict *v = NULL;
    ee_error err = {0};

    memset(what.nonce, 1, 32);
    memset(what.binder, 2, 32);
    memset(what.transcript, 3, 32);
    eei_expect e = {.purpose = EEI_PURPOSE_REGISTER,
                    .role = EEI_ROLE_AGENT,
                    .nonce = what.nonce,
                    .binder = what.binder,
                    .transcript = what.transcript,
                    .spki_sha256 = eei_prover_spki_sha256(f->prover),
                    .instance_pub = eei_key_public(eei_prover_key(f->prover)),
                    .node_id = eei_prover_node_id(f->prover)};
    assert_int_equal(eei_prover_quote(f->prover, &what, &evidence, &err), EE_OK);
    ee_status st = eei_judge_evidence(f->world.judge, eei_buf_span(&evidence), NULL, &e, &v, &err);
    if (st != want) fail_msg("%s: %s", ee_status_word(st), err.message);
    eei_buf_clear(&evidence);
    return v;
}

static void test_boot_events_come_in_order(void **state) {
    fixture *f = *state;
    ee_verdict *v = verdict_of(f, EE_OK);
    size_t count = 0;
    const eei_event *events = eei_verdict_events(v, &count);

    assert_int_equal(count, 4);
    for (size_t i = 0; i < 4; i++) assert_int_equal(events[i].type, EEI_EVENT_RELEASE + i);
    assert_true(eei_span_equal(events[0].payload, eei_span_text("0.1.0")));
    assert_true(eei_span_equal(events[1].payload, eei_span_text("config")));
    assert_true(eei_span_equal(events[2].payload, eei_span(eei_key_public(eei_prover_key(f->prover)), 32)));
    assert_int_equal(events[3].payload.len, 0);
    ee_verdict_free(v);
}

static void test_later_events_extend_the_log(void **state) {
    fixture *f = *state;
    ee_verdict *v;
    size_t count = 0;

    assert_int_equal(eei_prover_event(f->prover, EEI_EVENT_APP, eei_span_text("one"), NULL), EE_OK);
    assert_int_equal(eei_prover_event(f->prover, EEI_EVENT_APP_END, eei_span(NULL, 0), NULL), EE_OK);
    v = verdict_of(f, EE_OK);
    assert_non_null(eei_verdict_events(v, &count));
    assert_int_equal(count, 6);
    ee_verdict_free(v);
}

static void test_boot_events_cannot_be_added_later(void **state) {
    fixture *f = *state;
    for (uint16_t type = 0; type < EEI_EVENT_APP; type++)
        assert_int_equal(eei_prover_event(f->prover, type, eei_span_text("x"), NULL), EE_E_INVALID);
    ee_verdict_free(verdict_of(f, EE_OK));
}

/* Once it is on its way out, nothing is started that a verifier would then refuse. */
static void test_Q13_nothing_starts_after_drain(void **state) {
    fixture *f = *state;
    assert_int_equal(eei_prover_event(f->prover, EEI_EVENT_APP, eei_span_text("one"), NULL), EE_OK);
    assert_int_equal(eei_prover_event(f->prover, EEI_EVENT_DRAIN, eei_span(NULL, 0), NULL), EE_OK);
    assert_int_equal(eei_prover_event(f->prover, EEI_EVENT_APP, eei_span_text("two"), NULL), EE_E_STATE);
    assert_int_equal(eei_prover_event(f->prover, EEI_EVENT_DRAIN, eei_span(NULL, 0), NULL), EE_E_STATE);
    assert_int_equal(eei_prover_event(f->prover, EEI_EVENT_APP_END, eei_span_text("one"), NULL), EE_OK);
    ee_verdict_free(verdict_of(f, EE_OK));
}

static void test_register_changed_behind_our_back_is_seen(void **state) {
    fixture *f = *state;
    uint8_t digest[48] = {1};
    eei_rtmr_extend(f->machine.td.rtmr[3], digest);
    ee_verdict_free(verdict_of(f, EE_E_ATTESTATION));
}

static void test_sequence_rises_by_one(void **state) {
    fixture *f = *state;
    uint64_t before = 0;

    for (int i = 0; i < 3; i++) {
        ee_verdict *v = verdict_of(f, EE_OK);
        uint64_t now = eei_verdict_statement(v)->sequence;
        if (before) assert_int_equal(now, before + 1);
        before = now;
        ee_verdict_free(v);
    }
}

/* RFC 6962 sect. 2.1 by its definition, to hold against the incremental one. */
static void tree(const uint8_t *leaves, size_t n, uint8_t out[32]) {
    uint8_t text[65];
    size_t k = 1;

    if (n == 0) {
        eei_sha256(eei_span(NULL, 0), out);
        return;
    }
    if (n == 1) {
        text[0] = 0;
        memcpy(text + 1, leaves, 32);
        eei_sha256(eei_span(text, 33), out);
        return;
    }
    while (k * 2 < n) k *= 2;
    text[0] = 1;
    tree(leaves, k, text + 1);
    tree(leaves + 32 * k, n - k, text + 33);
    eei_sha256(eei_span(text, 65), out);
}

static void test_receipts_root_is_the_rfc_6962_tree(void **state) {
    fixture *f = *state;
    uint8_t leaves[33 * 32], want[32];

    for (size_t n = 0; n <= 33; n++) {
        eei_prove what = {.purpose = EEI_PURPOSE_CHALLENGE, .wire_version = 1};
        eei_buf bytes = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
        eei_arena arena = EEI_ARENA_INIT(65536);
        eei_evidence evidence;
        eei_statement s;
        assert_int_equal(eei_prover_session(f->prover, &what, &bytes, NULL), EE_OK);
        assert_int_equal(eei_evidence_decode(eei_buf_span(&bytes), &arena, &evidence, NULL), EE_OK);
        assert_int_equal(eei_statement_decode(evidence.statement, &s, NULL), EE_OK);
        tree(leaves, n, want);
        assert_int_equal(s.receipts, n);
        assert_memory_equal(s.receipts_root, want, 32);
        eei_arena_clear(&arena);
        eei_buf_clear(&bytes);
        if (n == 33) break;
        memset(leaves + 32 * n, (int)n + 1, 32);
        assert_int_equal(eei_prover_receipt(f->prover, leaves + 32 * n, NULL), EE_OK);
    }
}

static void test_certificate_is_renewed_with_its_quote(void **state) {
    fixture *f = *state;
    SSL_CTX *ctx = eei_prover_server_ctx(f->prover);
    const uint8_t *der = eei_prover_certificate_der(f->prover).data;
    unsigned quotes = f->machine.quotes;
    SSL *ssl = NULL;

    f->world.wall_ms += (EEI_CERT_RENEW_S - 1) * 1000ull;
    assert_int_equal(eei_prover_renew(f->prover, NULL), EE_OK);
    assert_ptr_equal(eei_prover_server_ctx(f->prover), ctx);
    assert_int_equal(f->machine.quotes, quotes);
    f->world.wall_ms += 1000;
    f->machine.quote_fails = true;
    assert_int_equal(eei_prover_renew(f->prover, NULL), EE_E_IO); /* the old one stays */
    assert_ptr_equal(eei_prover_server_ctx(f->prover), ctx);
    f->machine.quote_fails = false;
    assert_int_equal(eei_prover_renew(f->prover, NULL), EE_OK);
    assert_ptr_not_equal(eei_prover_server_ctx(f->prover), ctx);
    assert_int_equal(der[0], 0x30); /* borrowed before, still there */
    assert_int_equal(eei_prover_ssl_new(f->prover, &ssl, NULL), EE_OK);
    assert_ptr_equal(SSL_get_SSL_CTX(ssl), eei_prover_server_ctx(f->prover));
    SSL_free(ssl);
}

static void test_keys_are_new_with_every_boot(void **state) {
    fixture *f = *state;
    fake_machine again;
    eei_prover *second;

    fake_machine_init(&again, &f->world, "m1");
    second = fake_prover(&again, &f->world, EEI_ROLE_AGENT, "node-a", 7);
    assert_memory_not_equal(eei_prover_instance_id(f->prover), eei_prover_instance_id(second), 32);
    assert_memory_not_equal(eei_prover_spki_sha256(f->prover), eei_prover_spki_sha256(second), 32);
    assert_true(eei_prover_tls_key_der(second).len > 32);
    eei_prover_free(second);
    fake_machine_clear(&again);
}

static void test_full_event_log_is_an_error_not_a_gap(void **state) {
    fixture *f = *state;
    ee_status st = EE_OK;
    size_t made = 4;

    while (!st && made < EEI_EVENTS_MAX + 10) {
        st = eei_prover_event(f->prover, EEI_EVENT_APP_END, eei_span(NULL, 0), NULL);
        made += !st;
    }
    assert_int_equal(st, EE_E_LIMIT);
    assert_int_equal(made, EEI_EVENTS_MAX);
}

/* ---- boot log -------------------------------------------------------------------------------------------------------- */

/* Evidence for a purpose, judged; how many boot events it carries and whether their check passed. */
typedef struct boot_outcome {
    size_t events, bytes;
    ee_check_result check;
} boot_outcome;

static boot_outcome boot_log_of(fixture *f, eei_prover *prover, uint8_t purpose) {
    eei_prove what = {.purpose = purpose, .wire_version = 1};
    eei_expect expect = {.purpose = purpose, .role = EEI_ROLE_AGENT};
    eei_buf bytes = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    eei_evidence evidence;
    boot_outcome out = {.check = EE_CHECK_FAIL};
    ee_verdict *v = NULL;
    ee_check check;
    ee_error err = {0};
    assert_int_equal(eei_prover_quote(prover, &what, &bytes, &err), EE_OK);
    assert_int_equal(eei_evidence_decode(eei_buf_span(&bytes), &arena, &evidence, &err), EE_OK);
    if (eei_judge_evidence(f->world.judge, eei_buf_span(&bytes), NULL, &expect, &v, &err)) fail_msg("purpose %u: %s", purpose, err.message);
    for (size_t i = 0; ee_verdict_check_at(v, i, &check, NULL) == EE_OK; i++)
        if (!strcmp(check.name, "boot_log")) out.check = check.result;
    out.events = evidence.boot_event_count;
    out.bytes = bytes.len;
    ee_verdict_free(v);
    eei_arena_clear(&arena);
    eei_buf_clear(&bytes);
    return out;
}

/* With what is asked for once a session or a day; a periodic quote and a strict channel go without. */
static void test_boot_log_goes_with_register_and_certificate(void **state) {
    static const uint8_t with[] = {EEI_PURPOSE_REGISTER, EEI_PURPOSE_CERTIFICATE},
                         without[] = {EEI_PURPOSE_PERIODIC, EEI_PURPOSE_CHALLENGE};
    fixture *f = *state;
    for (size_t i = 0; i < 2; i++) {
        boot_outcome yes = boot_log_of(f, f->prover, with[i]), no = boot_log_of(f, f->prover, without[i]);
        assert_int_equal(yes.events, 11);
        assert_int_equal(yes.check, EE_CHECK_PASS);
        assert_int_equal(no.events, 0);
        assert_int_equal(no.check, EE_CHECK_SKIPPED);
        assert_true(yes.bytes > no.bytes + 11 * 50);
    }
}

/* One event more in the log; in_quote: also in the register. */
static void more_boot(fake_machine *machine, unsigned rtmr, const char *data, bool in_quote) {
    uint8_t digest[48];
    eei_writer w = eei_writer_init(&machine->boot_log);
    machine->boot_log.len -= 64; /* the fill */
    eei_sha384(eei_span_text(data), digest);
    simtdx_ccel_event(&w, rtmr + 1, 0xd, digest, eei_span_text(data));
    for (size_t i = 0; i < 64; i++) eei_write_u8(&w, 0xff);
    assert_int_equal(w.status, EE_OK);
    if (in_quote) eei_rtmr_extend(machine->td.rtmr[rtmr], digest);
}

static void spoil_none(fake_machine *m) { m->boot_log.len = 0; }
static void spoil_cut(fake_machine *m) { m->boot_log.len -= 65; }
static void spoil_more(fake_machine *m) { more_boot(m, 1, "never measured", false); }
static void spoil_many(fake_machine *m) {
    for (size_t i = 0; i < EEI_BOOT_EVENTS_MAX; i++) more_boot(m, 2, "again", true);
}

/* Such a log proves nothing, and must not stand in the way of the proof. */
static void test_boot_log_that_proves_nothing_is_left_out(void **state) {
    static const struct {
        const char *name;
        void (*spoil)(fake_machine *m);
    } cases[] = {{"none", spoil_none}, {"cut", spoil_cut}, {"an event that was never measured", spoil_more}, {"too many", spoil_many}};
    fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_machine machine;
        fake_machine_init(&machine, &f->world, "m2");
        uint8_t before[48];
        memcpy(before, machine.td.rtmr[2], 48);
        cases[i].spoil(&machine);
        eei_prover *prover = fake_prover(&machine, &f->world, EEI_ROLE_AGENT, "node-a", 7);
        memcpy(machine.td.rtmr[2], before, 48); /* as the policy pins it */
        boot_outcome out = boot_log_of(f, prover, EEI_PURPOSE_REGISTER);
        if (out.events || out.check != EE_CHECK_SKIPPED) fail_msg("%s: %zu events, check %d", cases[i].name, out.events, (int)out.check);
        eei_prover_free(prover);
        fake_machine_clear(&machine);
    }
}

/* Where something extended RTMR3 before us, nobody can replay it without the boot log: then it goes with everything. */
static void test_boot_log_with_rtmr3_goes_with_everything(void **state) {
    static const uint8_t purposes[] = {EEI_PURPOSE_REGISTER, EEI_PURPOSE_PERIODIC, EEI_PURPOSE_CERTIFICATE, EEI_PURPOSE_CHALLENGE};
    fixture *f = *state;
    fake_machine machine;
    fake_machine_init(&machine, &f->world, "m2");
    more_boot(&machine, 3, "loader's own", true);
    eei_prover *prover = fake_prover(&machine, &f->world, EEI_ROLE_AGENT, "node-a", 7);
    for (size_t i = 0; i < sizeof purposes; i++) {
        boot_outcome out = boot_log_of(f, prover, purposes[i]);
        assert_int_equal(out.events, 12);
        assert_int_equal(out.check, EE_CHECK_PASS);
    }
    eei_prover_free(prover);
    fake_machine_clear(&machine);
}

/* When the event log has grown so far that both do not fit, the event log goes: without it there is no proof at all. */
static void test_boot_log_makes_room_for_events(void **state) {
    fixture *f = *state;
    char payload[401];
    size_t before = EEI_EVIDENCE_BYTES_MAX, added = 0;
    memset(payload, 'x', sizeof payload - 1);
    payload[sizeof payload - 1] = '\0';
    for (boot_outcome out = boot_log_of(f, f->prover, EEI_PURPOSE_REGISTER); out.events; added++) {
        assert_true(out.bytes <= EEI_EVIDENCE_BYTES_MAX && added < 200);
        assert_int_equal(eei_prover_event(f->prover, EEI_EVENT_APP_END, eei_span_text(payload), NULL), EE_OK);
        before = out.bytes;
        out = boot_log_of(f, f->prover, EEI_PURPOSE_REGISTER);
    }
    boot_outcome last = boot_log_of(f, f->prover, EEI_PURPOSE_REGISTER);
    assert_int_equal(last.check, EE_CHECK_SKIPPED);
    assert_true(before + sizeof payload + 56 > EEI_EVIDENCE_BYTES_MAX); /* not given up early */
}

static void test_out_of_memory(void **state) {
    fixture *f = *state;

    for (size_t n = 1; n < 2000; n++) {
        fake_machine machine;
        fake_machine_init(&machine, &f->world, "m2");
        eei_prover_options o = {.role = EEI_ROLE_AGENT,
                                .node = "n",
                                .release = "1",
                                .dns_name = "d",
                                .quoter = fake_quoter(&machine),
                                .clock = &f->world.clock};
        eei_prover *p = NULL;
        eei_alloc_fail_at(n);
        ee_status st = eei_prover_new(&o, &p, NULL);
        bool reached = eei_alloc_fail_at(0) >= n;
        assert_true(st ? p == NULL : p != NULL);
        eei_prover_free(p);
        fake_machine_clear(&machine);
        if (!reached) return;
        assert_true(st == EE_E_NOMEM || st == EE_OK); /* OK: a cache or a scratch space that could do without */
    }
    fail_msg("never got through");
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_boot_events_come_in_order),
        TEST(test_later_events_extend_the_log),
        TEST(test_boot_events_cannot_be_added_later),
        TEST(test_Q13_nothing_starts_after_drain),
        TEST(test_register_changed_behind_our_back_is_seen),
        TEST(test_sequence_rises_by_one),
        TEST(test_receipts_root_is_the_rfc_6962_tree),
        TEST(test_certificate_is_renewed_with_its_quote),
        TEST(test_keys_are_new_with_every_boot),
        TEST(test_full_event_log_is_an_error_not_a_gap),
        TEST(test_boot_log_goes_with_register_and_certificate),
        TEST(test_boot_log_that_proves_nothing_is_left_out),
        TEST(test_boot_log_with_rtmr3_goes_with_everything),
        TEST(test_boot_log_makes_room_for_events),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
