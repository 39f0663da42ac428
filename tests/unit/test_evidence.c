/* test_evidence.c - evidence on the wire, its appraisal against what a caller expects, event logs, session statements, and evidence
 * files. Everything runs on a simulated platform. Threats Q7, Q9, Q10, Q11, Q13, Q18. */

#include "attest/crypto.h"
#include "attest/verdict.h"
#include "base/file.h"
#include "base/limits.h"
#include "evidence_agent.h"
#include "wire/codec.h"

#include <sys/stat.h>
#include <unistd.h>

static void test_good_evidence(void **state) {
    world *w = *state;
    agent a;
    ee_verdict *verdict = NULL;
    size_t count = 0;
    agent_init(w, &a);
    const eei_evidence e = evidence_of(&a);
    MUST(appraise(w, &e, &a.expect, &verdict, err));
    assert_true(ee_verdict_verified(verdict));
    for (size_t i = 0; i < ee_verdict_check_count(verdict); i++) {
        ee_check check;
        MUST(ee_verdict_check_at(verdict, i, &check, err));
        bool of_policy = !strcmp(check.name, "machine") || !strcmp(check.name, "genesis"); /* which pins neither here */
        assert_int_equal(check.result, of_policy ? EE_CHECK_SKIPPED : EE_CHECK_PASS);
    }
    assert_memory_equal(eei_verdict_statement(verdict)->node_id, a.statement.node_id, 32);
    assert_non_null(eei_verdict_events(verdict, &count));
    assert_int_equal(count, 5);
    assert_int_equal(eei_verdict_time(verdict), NOW);
    assert_non_null(strstr(ee_verdict_text(verdict), "node-a"));
    ee_verdict *second = ee_verdict_ref(verdict);
    ee_verdict_free(verdict);
    assert_true(ee_verdict_verified(second));
    ee_verdict_free(second);
    agent_clear(&a);
}

/* What is not asked is said to be skipped, never passed. */
static void test_not_asked_is_skipped(void **state) {
    static const char *const optional[] = {"freshness", "channel", "tls_key", "transcript", "instance", "node", "image", "genesis"};
    world *w = *state;
    agent a;
    ee_verdict *verdict = NULL;
    agent_init(w, &a);
    const eei_evidence e = evidence_of(&a);
    const eei_expect expect = {.purpose = EEI_PURPOSE_REGISTER, .role = EEI_ROLE_AGENT};
    MUST(appraise(w, &e, &expect, &verdict, err));
    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++) assert_int_equal(result_of(verdict, optional[i]), EE_CHECK_SKIPPED);
    ee_verdict_free(verdict);
    agent_clear(&a);
}

/* Genuine evidence that was made for something else. */
static void test_Q7_Q9_Q10_Q11_expectations(void **state) {
    world *w = *state;
    agent a;
    uint8_t other[32];
    memset(other, 0x77, 32);
    agent_init(w, &a);
    const eei_evidence e = evidence_of(&a);
    const struct {
        const char *name;
        size_t field; /* of eei_expect, a pointer */
        const char *check;
    } plans[] = {
        {"Q7 another nonce", offsetof(eei_expect, nonce), "freshness"},
        {"Q9 another connection", offsetof(eei_expect, binder), "channel"},
        {"Q12 another TLS key", offsetof(eei_expect, spki_sha256), "tls_key"},
        {"S5 another transcript", offsetof(eei_expect, transcript), "transcript"},
        {"Q11 another instance", offsetof(eei_expect, instance_pub), "instance"},
        {"Q9 another node", offsetof(eei_expect, node_id), "node"},
        {"another image", offsetof(eei_expect, image_digest), "image"},
        {"another specification", offsetof(eei_expect, spec_hash), "image"},
    };
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        eei_expect expect = a.expect;
        const uint8_t *pointer = other;
        memcpy((uint8_t *)&expect + plans[i].field, &pointer, sizeof pointer);
        must_refuse(plans[i].name, w, &e, &expect, plans[i].check);
    }
    for (unsigned purpose = 1; purpose <= EEI_PURPOSE_APP; purpose++) {
        eei_expect expect = a.expect;
        expect.purpose = (uint8_t)purpose;
        if (purpose != EEI_PURPOSE_REGISTER) must_refuse("Q10 another purpose", w, &e, &expect, "purpose");
    }
    for (uint8_t role = 0; role < 7; role++) {
        eei_expect expect = a.expect;
        expect.role = role;
        if (role != EEI_ROLE_AGENT) must_refuse("another role", w, &e, &expect, "purpose");
    }
    agent_clear(&a);
}

/* One bit of the statement, with the quote left as it is. */
static void test_Q9_statement_is_what_was_quoted(void **state) {
    world *w = *state;
    agent a;
    agent_init(w, &a);
    for (size_t at = 0; at < EEI_STATEMENT_BYTES; at += 5) {
        a.statement_bytes[at] ^= (uint8_t)(1u << (at % 8));
        const eei_evidence e = evidence_of(&a);
        must_refuse("statement bit", w, &e, &a.expect, "report_data");
        a.statement_bytes[at] ^= (uint8_t)(1u << (at % 8));
    }
    agent_clear(&a);
}

/* Statements that were quoted, but say what none may say. */
static void test_statement_rules(void **state) {
    world *w = *state;
    agent a;
    agent_init(w, &a);
    a.statement.flags = 0;
    requote(w, &a);
    eei_evidence e = evidence_of(&a);
    must_refuse("says real hardware under a simulated root", w, &e, &a.expect, "simulated");
    a.statement.flags = EEI_STATEMENT_SIM | 4;
    requote(w, &a);
    e = evidence_of(&a);
    must_refuse("unknown flag", w, &e, &a.expect, "statement");
    a.statement.flags = EEI_STATEMENT_SIM;
    a.statement.sequence = 0;
    requote(w, &a);
    e = evidence_of(&a);
    must_refuse("sequence 0", w, &e, &a.expect, "statement");
    agent_clear(&a);
}

static void test_sealed_builds(void **state) {
    world *w = *state;
    agent a;
    ee_verdict *verdict = NULL;
    agent_init(w, &a);
    ee_policy *sealed = world_policy(w, "allow_any_measurement = true\n"); /* require_sealed is the default */
    eei_evidence e = evidence_of(&a);
    assert_int_equal(eei_appraise(&e, w->collateral, sealed, &a.expect, NOW, &verdict, NULL), EE_E_ATTESTATION);
    assert_string_equal(first_failed(verdict), "statement");
    ee_verdict_free(verdict);
    a.statement.flags |= EEI_STATEMENT_SEALED;
    requote(w, &a);
    e = evidence_of(&a);
    MUST(eei_appraise(&e, w->collateral, sealed, &a.expect, NOW, &verdict, err));
    ee_verdict_free(verdict);
    ee_policy_free(sealed);
    agent_clear(&a);
}

/* A forged or foreign quote names whom it likes; to speak for an instance takes that instance's key as well. */
static void test_Q12_a_quote_alone_does_not_speak_for_an_instance(void **state) {
    world *w = *state;
    agent a;
    eei_key *other = NULL;
    agent_init(w, &a);
    MUST(eei_key_generate(&other, err));
    sign_statement(&a, other, EEI_SIGNED_STATEMENT);
    eei_evidence e = evidence_of(&a);
    must_refuse("signed by another key", w, &e, &a.expect, "instance_key");
    sign_statement(&a, a.key, EEI_SIGNED_HEALTH);
    e = evidence_of(&a);
    must_refuse("signed as something else (S11)", w, &e, &a.expect, "instance_key");
    sign_statement(&a, a.key, EEI_SIGNED_STATEMENT);
    for (size_t i = 0; i < a.signature.len; i++) {
        a.signature.data[i] ^= 1;
        e = evidence_of(&a);
        must_refuse("a bit of the signature", w, &e, &a.expect, "instance_key");
        a.signature.data[i] ^= 1;
    }
    a.signature.len--;
    e = evidence_of(&a);
    must_refuse("cut", w, &e, &a.expect, "instance_key");
    e.signature.len = 0;
    must_refuse("none", w, &e, &a.expect, "instance_key");
    a.signature.len++;
    a.statement_bytes[EEI_STATEMENT_BYTES - 1] ^= 1; /* the reserved end: quoted, and signed as it was */
    e = evidence_of(&a);
    must_refuse("another statement than the signed one", w, &e, &a.expect, "report_data");
    eei_key_free(other);
    agent_clear(&a);
}

static void test_bad_quote_in_evidence(void **state) {
    world *w = *state;
    agent a;
    agent_init(w, &a);
    eei_evidence e = evidence_of(&a);
    a.quote.data[AT_SIGNATURE] ^= 1;
    must_refuse("quote signature", w, &e, &a.expect, "quote_signature");
    a.quote.data[AT_SIGNATURE] ^= 1;
    assert_int_equal(eei_buf_append(&a.quote, "x", 1), EE_OK);
    e = evidence_of(&a);
    must_refuse("bytes after the quote", w, &e, &a.expect, "quote_format");
    a.quote.len = 40;
    e = evidence_of(&a);
    must_refuse("cut", w, &e, &a.expect, "quote_format");
    agent_clear(&a);
}

/* The policy's image pin: met by a measured app; a pin that nothing answers fails. */
static void test_image_pin(void **state) {
    world *w = *state;
    agent a;
    ee_verdict *verdict = NULL;
    agent_init(w, &a);
    const eei_expect expect = {.purpose = EEI_PURPOSE_REGISTER, .role = EEI_ROLE_AGENT};
    const eei_evidence e = evidence_of(&a);
    ee_policy *ours = NULL, *other = NULL;
    MUST(ee_policy_pin(w->any, "image", "1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a", &ours, err));
    MUST(ee_policy_pin(w->any, "image", "sha256:1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1b", &other, err));
    MUST(eei_appraise(&e, w->collateral, ours, &expect, NOW, &verdict, err));
    assert_int_equal(result_of(verdict, "image"), EE_CHECK_PASS);
    ee_verdict_free(verdict);
    assert_int_equal(eei_appraise(&e, w->collateral, other, &expect, NOW, &verdict, NULL), EE_E_ATTESTATION);
    assert_string_equal(first_failed(verdict), "image");
    ee_verdict_free(verdict);
    ee_policy_free(ours);
    ee_policy_free(other);
    agent_clear(&a);
}

/* A control plane's measured settings name its genesis; a pin that they do not answer fails, and of an agent it is not asked. */
static void test_genesis_pin(void **state) {
#define GENESIS "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"
    static const struct {
        const char *config;
        uint8_t role;
        int result;
        const char *says;
    } cases[] = {
        {"{\"genesis\":\"" GENESIS "\",\"policy\":\"00\"}", EEI_ROLE_CONTROL, EE_CHECK_PASS, "the genesis that the policy pins"},
        {"{\"genesis\":\"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5f\"}", EEI_ROLE_CONTROL, EE_CHECK_FAIL,
         "from another genesis"},
        {"{\"genesis\":\"5e\"}", EEI_ROLE_CONTROL, EE_CHECK_FAIL, "name no genesis"},
        {"{\"genesis\":null}", EEI_ROLE_CONTROL, EE_CHECK_FAIL, "name no genesis"},
        {"{\"genesis\":\"" GENESIS "\",\"genesis\":\"" GENESIS "\"}", EEI_ROLE_CONTROL, EE_CHECK_FAIL, "name no genesis"},
        {"{}", EEI_ROLE_CONTROL, EE_CHECK_FAIL, "name no genesis"},
        {"", EEI_ROLE_CONTROL, EE_CHECK_FAIL, "name no genesis"},
        {"[1]", EEI_ROLE_CONTROL, EE_CHECK_FAIL, "name no genesis"},
        {"{}", EEI_ROLE_AGENT, EE_CHECK_SKIPPED, "a control plane alone"},
    };
    world *w = *state;
    ee_policy *pinned = NULL;
    MUST(ee_policy_pin(w->any, "genesis", GENESIS, &pinned, err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        agent a;
        ee_verdict *verdict = NULL;
        const bool good = cases[i].result != EE_CHECK_FAIL;
        agent_init(w, &a);
        a.event_count = 0;
        boot_events_with(&a, cases[i].config);
        a.statement.role = cases[i].role;
        requote(w, &a);
        const eei_expect expect = {.purpose = EEI_PURPOSE_REGISTER, .role = cases[i].role, .no_app = true};
        const eei_evidence e = evidence_of(&a);
        assert_int_equal(eei_appraise(&e, w->collateral, pinned, &expect, NOW, &verdict, NULL), good ? EE_OK : EE_E_ATTESTATION);
        assert_string_equal(first_failed(verdict), good ? "" : "genesis");
        assert_int_equal(result_of(verdict, "genesis"), cases[i].result);
        assert_non_null(strstr(explanation_of(verdict, "genesis"), cases[i].says));
        ee_verdict_free(verdict);
        agent_clear(&a);
    }
    agent a; /* a log that does not replay says nothing */
    agent_init(w, &a);
    a.event_count = 0;
    boot_events_with(&a, cases[0].config);
    a.statement.role = EEI_ROLE_CONTROL;
    requote(w, &a);
    a.events[0].digest[0] ^= 1;
    const eei_expect expect = {.purpose = EEI_PURPOSE_REGISTER, .role = EEI_ROLE_CONTROL, .no_app = true};
    const eei_evidence e = evidence_of(&a);
    ee_verdict *verdict = NULL;
    assert_int_equal(eei_appraise(&e, w->collateral, pinned, &expect, NOW, &verdict, NULL), EE_E_ATTESTATION);
    assert_int_equal(result_of(verdict, "genesis"), EE_CHECK_FAIL);
    ee_verdict_free(verdict);
    agent_clear(&a);
    ee_policy_free(pinned);
#undef GENESIS
}

/* Evidence of an earlier build of ours, kept as it was written: it must stay verifiable (docs/protocol.md, versions). */
static void test_golden_evidence(void **state) {
    (void)state;
    eei_buf bytes = EEI_BUF_INIT(65536);
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    ee_policy *policy = NULL;
    ee_collateral *collateral = NULL;
    ee_verdict *verdict = NULL, *base = NULL;
    eei_evidence e;
    golden_trust("simulated", &policy, &collateral);
    uint8_t nonce[32];
    memset(nonce, 1, 32);
    eei_expect expect = {.purpose = EEI_PURPOSE_REGISTER, .role = EEI_ROLE_AGENT, .nonce = nonce};
    for (int version = 4; version <= 5; version++) {
        char name[32];
        snprintf(name, sizeof name, "quote-v%d.bin", version);
        read_golden("simulated", name, &bytes);
        must_verify(name, eei_buf_span(&bytes), collateral, policy, NOW);
        snprintf(name, sizeof name, "evidence-v%d.bin", version);
        read_golden("simulated", name, &bytes);
        MUST(eei_evidence_decode(eei_buf_span(&bytes), &arena, &e, err));
        MUST(eei_appraise(&e, collateral, policy, &expect, NOW, &verdict, err));
        if (version == 4) base = ee_verdict_ref(verdict);
        ee_verdict_free(verdict);
    }
    read_golden("simulated", "session.bin", &bytes);
    MUST(eei_evidence_decode(eei_buf_span(&bytes), &arena, &e, err));
    expect.purpose = EEI_PURPOSE_CHALLENGE;
    MUST(eei_appraise_session(&e, base, &expect, NOW + 60, &verdict, err));
    ee_verdict_free(verdict);
    ee_verdict_free(base);
    ee_collateral_free(collateral);
    ee_policy_free(policy);
    eei_arena_clear(&arena);
    eei_buf_clear(&bytes);
}

/* ---- Q13: event logs ---- */

typedef void (*log_change)(agent *a);
static void log_payload(agent *a) { a->payloads[1][0] ^= 1; }
static void log_digest(agent *a) { a->events[1].digest[47] ^= 1; }
static void log_app_payload(agent *a) { ((uint8_t *)(uintptr_t)a->events[4].payload.data)[12] ^= 1; }
static void log_drop_last(agent *a) { a->event_count--; }
static void log_drop_all(agent *a) { a->event_count = 0; }
static void log_extra(agent *a) { add_event(a, EEI_EVENT_DRAIN, (ee_span){NULL, 0}); }
static void log_swap(agent *a) {
    eei_event e = a->events[0];
    a->events[0] = a->events[1];
    a->events[1] = e;
}
static void log_type(agent *a) { a->events[4].type = EEI_EVENT_DRAIN; }
static void log_boot_without_payload(agent *a) { a->events[0].payload.len = 0; }

static void test_Q13_log_changed_on_the_way(void **state) {
    static const struct {
        const char *name;
        log_change change;
    } plans[] = {
        {"payload", log_payload},           {"digest", log_digest},      {"payload of the app", log_app_payload},
        {"last event gone", log_drop_last}, {"empty log", log_drop_all}, {"event added", log_extra},
        {"two swapped", log_swap},          {"type changed", log_type},  {"boot event without its payload", log_boot_without_payload}};
    world *w = *state;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        agent a;
        agent_init(w, &a);
        a.expect.image_digest = a.expect.spec_hash = NULL;
        plans[i].change(&a);
        const eei_evidence e = evidence_of(&a);
        must_refuse(plans[i].name, w, &e, &a.expect, "event_log");
        agent_clear(&a);
    }
}

/* Logs that replay, but are not a boot of ours. */
static void test_Q13_grammar(void **state) {
    static const struct {
        const char *name, *order; /* r release, c config, i identity, o another identity, y ready, a app, e app end, d drain, x type 9 */
        bool ok;
    } plans[] = {{"boot only", "rciy", true},
                 {"apps", "rciyaead", true},
                 {"no ready", "rci", false},
                 {"nothing", "", false},
                 {"two releases", "rrciy", false},
                 {"order", "criy", false},
                 {"app before ready", "rciay", false},
                 {"two readys", "rciyy", false},
                 {"identity after ready", "rciyi", false},
                 {"another identity", "rcoy", false},
                 {"two identities", "rciiy", false},
                 {"unknown after ready", "rciyx", false},
                 {"unknown after an app", "rciyax", false},
                 {"unknown first", "xrciy", false},
                 {"unknown second", "rxciy", false},
                 {"unknown before identity", "rcxiy", false},
                 {"unknown before ready", "rcixy", false},
                 {"unknown instead of ready", "rcix", false},
                 {"the same app twice", "rciyaa", true},
                 {"what runs ends after drain", "rciyaadee", true},
                 {"app after drain", "rciyda", false},
                 {"app after drain and end", "rciyadea", false},
                 {"two drains", "rciydd", false},
                 {"drain before ready", "rcidy", false},
                 {"identity missing", "rcy", false},
                 {"second boot", "rciyrciy", false}};
    static const uint8_t stranger[32] = {1};
    world *w = *state;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        agent a;
        ee_verdict *verdict = NULL;
        agent_init(w, &a);
        a.event_count = 0;
        for (const char *c = plans[i].order; *c; c++) {
            if (*c == 'r') add_event(&a, EEI_EVENT_RELEASE, eei_span_text("0.1.0"));
            if (*c == 'c') add_event(&a, EEI_EVENT_CONFIG, (ee_span){NULL, 0});
            if (*c == 'i') add_event(&a, EEI_EVENT_IDENTITY, eei_span(a.statement.instance_pub, 32));
            if (*c == 'o') add_event(&a, EEI_EVENT_IDENTITY, eei_span(stranger, 32));
            if (*c == 'y') add_event(&a, EEI_EVENT_READY, (ee_span){NULL, 0});
            if (*c == 'a') add_app(&a, a.image, a.spec);
            if (*c == 'e') add_event(&a, EEI_EVENT_APP_END, eei_span_text("app"));
            if (*c == 'd') add_event(&a, EEI_EVENT_DRAIN, (ee_span){NULL, 0});
            if (*c == 'x') add_event(&a, 9, (ee_span){NULL, 0});
        }
        a.expect.image_digest = a.expect.spec_hash = NULL;
        requote(w, &a);
        const eei_evidence e = evidence_of(&a);
        if (!plans[i].ok)
            must_refuse(plans[i].name, w, &e, &a.expect, "event_log");
        else if (appraise(w, &e, &a.expect, &verdict, NULL))
            fail_msg("%s is refused: %s", plans[i].name, first_failed(verdict));
        ee_verdict_free(verdict);
        agent_clear(&a);
    }
}

/* A boot, two apps, one end, drain: every position has its payload and its digest changed alone, and gets its neighbour's payload. */
static void test_Q13_payload_and_digest_at_each_position(void **state) {
    static uint8_t other[PAYLOAD_MAX * 2];
    world *w = *state;
    for (size_t at = 0; at < 8; at++) {
        for (int change = 0; change < 3; change++) {
            char name[64];
            agent a;
            agent_init(w, &a);
            add_app(&a, a.spec, a.image);
            add_event(&a, EEI_EVENT_APP_END, eei_span_text("app"));
            add_event(&a, EEI_EVENT_DRAIN, (ee_span){NULL, 0});
            requote(w, &a);
            a.expect.image_digest = a.expect.spec_hash = NULL;
            eei_event *e = &a.events[at];
            ee_span payload = change == 2 ? a.events[(at + 1) % 8].payload : e->payload;
            if (!payload.len) payload = eei_span_text("?"); /* where there is none, one is made up */
            memcpy(other, payload.data, payload.len);
            if (change == 0) other[payload.len / 2] ^= 0x20;
            if (change == 1)
                e->digest[at * 6] ^= 1;
            else
                e->payload = eei_span(other, payload.len);
            snprintf(name, sizeof name, "event %zu, %s", at + 1,
                     change == 0   ? "payload"
                     : change == 1 ? "digest"
                                   : "its neighbour's payload");
            const eei_evidence evidence = evidence_of(&a);
            must_refuse(name, w, &evidence, &a.expect, "event_log");
            agent_clear(&a);
        }
    }
}

/* Two events that are the same to the last bit are still two: neither can be left out, and the register tells how many there were. */
static void test_Q13_two_identical_app_events(void **state) {
    world *w = *state;
    agent a;
    ee_verdict *verdict = NULL;
    size_t count = 0;
    agent_init(w, &a);
    add_app(&a, a.image, a.spec);
    assert_memory_equal(a.events[4].digest, a.events[5].digest, 48);
    requote(w, &a);
    eei_evidence e = evidence_of(&a);
    MUST(appraise(w, &e, &a.expect, &verdict, err));
    assert_non_null(eei_verdict_events(verdict, &count));
    assert_int_equal(count, 6);
    ee_verdict_free(verdict);
    e.event_count = 5;
    must_refuse("one of two", w, &e, &a.expect, "event_log");
    add_app(&a, a.image, a.spec);
    e.event_count = 7;
    must_refuse("three of two", w, &e, &a.expect, "event_log");
    agent_clear(&a);
}

/* A later event may show its digest alone; then it vouches for no image. */
static void test_Q13_digest_alone_vouches_for_nothing(void **state) {
    world *w = *state;
    agent a;
    ee_verdict *verdict = NULL;
    agent_init(w, &a);
    a.events[4].payload.len = 0;
    const eei_evidence e = evidence_of(&a);
    must_refuse("image without payload", w, &e, &a.expect, "image");
    a.expect.image_digest = a.expect.spec_hash = NULL;
    MUST(appraise(w, &e, &a.expect, &verdict, err));
    ee_verdict_free(verdict);
    agent_clear(&a);
}

/* ---- session statements ---- */

typedef struct session {
    eei_statement statement;
    uint8_t bytes[EEI_STATEMENT_BYTES];
    eei_buf signature;
    eei_expect expect;
} session;

static void sign_session(session *s, const eei_key *key, uint16_t type) {
    eei_statement_encode(&s->statement, s->bytes);
    eei_buf_reset(&s->signature);
    MUST(eei_envelope_seal(key, type, eei_span(s->bytes, sizeof s->bytes), &s->signature, err));
}

static void session_init(const agent *a, session *s) {
    memset(s, 0, sizeof *s);
    s->signature = (eei_buf)EEI_BUF_INIT(1024);
    s->statement = a->statement;
    s->statement.purpose = EEI_PURPOSE_CHALLENGE;
    s->statement.sequence = a->statement.sequence + 1;
    memset(s->statement.nonce, 0x31, 32);
    memset(s->statement.binder, 0x32, 32);
    sign_session(s, a->key, EEI_SIGNED_STATEMENT);
    s->expect = a->expect;
    s->expect.purpose = EEI_PURPOSE_CHALLENGE;
    s->expect.nonce = s->statement.nonce;
    s->expect.binder = s->statement.binder;
}

static eei_evidence session_evidence(const session *s) {
    return (eei_evidence){.statement = eei_span(s->bytes, sizeof s->bytes), .signature = eei_buf_span(&s->signature)};
}

static void session_must_fail(const char *name, const session *s, const ee_verdict *base, uint64_t now, const char *check) {
    ee_verdict *verdict = NULL;
    ee_error told = {0};
    const eei_evidence e = session_evidence(s);
    ee_status st = eei_appraise_session(&e, base, &s->expect, now, &verdict, &told);
    if (st != EE_E_ATTESTATION || ee_verdict_verified(verdict) || strcmp(first_failed(verdict), check))
        fail_msg("%s: status %d, failed \"%s\", wanted \"%s\"", name, (int)st, first_failed(verdict), check);
    /* What failed is told, not what was not reached because of it. */
    if (strncmp(told.message, check, strlen(check)) || told.message[strlen(check)] != ':')
        fail_msg("%s: told \"%s\", wanted \"%s: ...\"", name, told.message, check);
    ee_verdict_free(verdict);
}

static void test_session_statement(void **state) {
    world *w = *state;
    agent a;
    session s;
    ee_verdict *base = NULL, *verdict = NULL;
    agent_init(w, &a);
    const eei_evidence e = evidence_of(&a);
    MUST(appraise(w, &e, &a.expect, &base, err));
    session_init(&a, &s);
    eei_evidence signed_evidence = session_evidence(&s);
    MUST(eei_appraise_session(&signed_evidence, base, &s.expect, NOW + 5, &verdict, err));
    assert_true(ee_verdict_verified(verdict));
    assert_int_equal(result_of(verdict, "quote_signature"), EE_CHECK_PASS);
    assert_int_equal(result_of(verdict, "instance_key"), EE_CHECK_PASS);
    assert_int_equal(result_of(verdict, "freshness"), EE_CHECK_PASS);
    assert_int_equal(eei_verdict_statement(verdict)->sequence, 8);
    assert_memory_equal(eei_verdict_machine_id(verdict), eei_verdict_machine_id(base), 16);

    /* Not on a session verdict, not on a failed one, not with a quote inside. */
    ee_verdict *third = NULL;
    assert_int_equal(eei_appraise_session(&signed_evidence, verdict, &s.expect, NOW, &third, NULL), EE_E_INVALID);
    assert_int_equal(eei_appraise_session(&e, base, &s.expect, NOW, &third, NULL), EE_E_INVALID);
    assert_int_equal(eei_appraise(&signed_evidence, w->collateral, w->any, &s.expect, NOW, &third, NULL), EE_E_INVALID);
    a.quote.data[AT_SIGNATURE] ^= 1;
    ee_verdict *failed = NULL;
    assert_int_equal(appraise(w, &e, &a.expect, &failed, NULL), EE_E_ATTESTATION);
    assert_int_equal(eei_appraise_session(&signed_evidence, failed, &s.expect, NOW, &third, NULL), EE_E_INVALID);
    assert_null(third);
    ee_verdict_free(failed);
    ee_verdict_free(base); /* the session verdict holds it */
    assert_true(ee_verdict_verified(verdict));
    assert_non_null(strstr(ee_verdict_text(verdict), "quote signature"));
    ee_verdict_free(verdict);
    eei_buf_clear(&s.signature);
    agent_clear(&a);
}

static void test_session_refusals(void **state) {
    world *w = *state;
    agent a;
    session s;
    eei_key *other = NULL;
    ee_verdict *base = NULL;
    agent_init(w, &a);
    MUST(eei_key_generate(&other, err));
    const eei_evidence e = evidence_of(&a);
    MUST(appraise(w, &e, &a.expect, &base, err));

    session_init(&a, &s);
    sign_session(&s, other, EEI_SIGNED_STATEMENT);
    session_must_fail("signed by another key", &s, base, NOW, "instance_key");
    sign_session(&s, a.key, EEI_SIGNED_HEALTH);
    session_must_fail("signed as something else (S11)", &s, base, NOW, "instance_key");
    sign_session(&s, a.key, EEI_SIGNED_STATEMENT);
    s.bytes[20] ^= 1;
    session_must_fail("another statement than the signed one", &s, base, NOW, "instance_key");
    s.bytes[20] ^= 1;
    s.signature.data[s.signature.len - 1] ^= 1;
    session_must_fail("signature bit", &s, base, NOW, "instance_key");
    s.signature.len -= 1;
    session_must_fail("signature cut", &s, base, NOW, "instance_key");
    eei_buf_clear(&s.signature);

    const struct {
        const char *name;
        size_t at, len; /* in eei_statement; changed, then signed by the right key */
        uint8_t value;
        uint64_t later;
        const char *check;
    } plans[] = {
        {"another instance named", offsetof(eei_statement, instance_pub), 32, 0x51, 0, "statement"},
        {"another TLS key", offsetof(eei_statement, spki_sha256), 32, 0x52, 0, "statement"},
        {"another node", offsetof(eei_statement, node_id), 32, 0x53, 0, "statement"},
        {"another role", offsetof(eei_statement, role), 1, EEI_ROLE_CONTROL, 0, "statement"},
        {"another purpose", offsetof(eei_statement, purpose), 1, EEI_PURPOSE_PERIODIC, 0, "statement"},
        {"Q7 another nonce", offsetof(eei_statement, nonce), 32, 0x54, 0, "freshness"},
        {"Q9 another connection", offsetof(eei_statement, binder), 32, 0x55, 0, "channel"},
        {"another transcript", offsetof(eei_statement, transcript), 32, 0x56, 0, "transcript"},
        {"Q17 base too old", 0, 0, 0, EEI_EVIDENCE_AGE_MAX_MS / 1000 + 1, "statement"},
        {"base old, but not too old", 0, 0, 0, EEI_EVIDENCE_AGE_MAX_MS / 1000, NULL},
    };
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        session_init(&a, &s);
        uint8_t nonce[32], binder[32];
        memcpy(nonce, s.statement.nonce, 32);
        memcpy(binder, s.statement.binder, 32);
        s.expect.nonce = nonce;
        s.expect.binder = binder;
        memset((uint8_t *)&s.statement + plans[i].at, plans[i].value, plans[i].len);
        sign_session(&s, a.key, EEI_SIGNED_STATEMENT);
        if (plans[i].check) {
            session_must_fail(plans[i].name, &s, base, NOW + plans[i].later, plans[i].check);
        } else {
            ee_verdict *verdict = NULL;
            const eei_evidence se = session_evidence(&s);
            MUST(eei_appraise_session(&se, base, &s.expect, NOW + plans[i].later, &verdict, err));
            ee_verdict_free(verdict);
        }
        eei_buf_clear(&s.signature);
    }
    const struct {
        uint64_t uptime_ms; /* the quote's is 1000 */
        bool good;
        const char *says;
    } ages[] = {
        {1000, true, ""},
        {1000 + EEI_EVIDENCE_AGE_MAX_MS, true, ""},
        {1000 + EEI_EVIDENCE_AGE_MAX_MS + 1, false,
         "the quote was made 1800 s before the statement that stands on it, limit 1800"}, /* Q17 */
        {UINT64_MAX, false, "s before the statement that stands on it"},
        {999, false, "made before the quote"},
    };
    for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++) {
        ee_verdict *verdict = NULL;
        session_init(&a, &s);
        s.statement.uptime_ms = ages[i].uptime_ms;
        sign_session(&s, a.key, EEI_SIGNED_STATEMENT);
        const eei_evidence se = session_evidence(&s);
        assert_int_equal(eei_appraise_session(&se, base, &s.expect, NOW, &verdict, NULL), ages[i].good ? EE_OK : EE_E_ATTESTATION);
        assert_non_null(strstr(explanation_of(verdict, "statement"), ages[i].says));
        ee_verdict_free(verdict);
        eei_buf_clear(&s.signature);
    }
    for (uint64_t sequence = 5; sequence <= 7; sequence++) {
        session_init(&a, &s);
        s.statement.sequence = sequence;
        sign_session(&s, a.key, EEI_SIGNED_STATEMENT);
        session_must_fail("sequence not newer than the base's", &s, base, NOW, "statement");
        eei_buf_clear(&s.signature);
    }
    session_init(&a, &s);
    s.statement.flags |= EEI_STATEMENT_SEALED;
    sign_session(&s, a.key, EEI_SIGNED_STATEMENT);
    session_must_fail("another build than quoted", &s, base, NOW, "statement");
    eei_buf_clear(&s.signature);
    ee_verdict_free(base);
    eei_key_free(other);
    agent_clear(&a);
}

/* ---- on the wire ---- */

static void test_encode_decode(void **state) {
    world *w = *state;
    agent a;
    eei_buf wire = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX), again = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    eei_evidence decoded;
    ee_verdict *verdict = NULL;
    agent_init(w, &a);
    eei_evidence e = evidence_of(&a);
    e.ticket = eei_span_text("ticket");
    MUST(eei_evidence_encode(&e, &wire, err));
    MUST(eei_evidence_decode(eei_buf_span(&wire), &arena, &decoded, err));
    MUST(eei_evidence_encode(&decoded, &again, err));
    assert_true(eei_span_equal(eei_buf_span(&wire), eei_buf_span(&again)));
    MUST(appraise(w, &decoded, &a.expect, &verdict, err));
    ee_verdict_free(verdict);
    for (size_t len = 0; len < wire.len; len += len < 500 ? 1 : 97) {
        eei_arena small = EEI_ARENA_INIT(1 << 20);
        assert_int_not_equal(eei_evidence_decode(eei_span(wire.data, len), &small, &decoded, NULL), EE_OK);
        eei_arena_clear(&small);
    }
    eei_arena_clear(&arena);
    eei_buf_clear(&wire);
    eei_buf_clear(&again);
    agent_clear(&a);
}

static void test_Q18_wire_rules(void **state) {
    world *w = *state;
    agent a;
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    eei_evidence out;
    eei_buf wire = EEI_BUF_INIT(1 << 20);
    agent_init(w, &a);
    eei_evidence e = evidence_of(&a), bad = e;
    bad.statement.len--;
    assert_int_equal(eei_evidence_encode(&bad, &wire, NULL), EE_E_MALFORMED);
    bad = e;
    bad.signature.len = 0;
    assert_int_equal(eei_evidence_encode(&bad, &wire, NULL), EE_E_MALFORMED);
    bad = e;
    bad.quote.len = 0;
    assert_int_equal(eei_evidence_encode(&bad, &wire, NULL), EE_E_MALFORMED);

    uint8_t *huge = calloc(1, EEI_EVIDENCE_BYTES_MAX + 1);
    assert_int_equal(eei_evidence_decode(eei_span(huge, EEI_EVIDENCE_BYTES_MAX + 1), &arena, &out, NULL), EE_E_LIMIT);
    free(huge);
    /* a key twice: the second statement would be another one */
    static const uint8_t twice[] = {0x82, 0x01, 0xc4, 0x00, 0x01, 0xc4, 0x00};
    assert_int_not_equal(eei_evidence_decode(eei_span(twice, sizeof twice), &arena, &out, NULL), EE_OK);
    /* 100 million events announced in a few bytes */
    static const uint8_t many[] = {0x82, 0x01, 0xc4, 0x00, 0x03, 0xdd, 0x05, 0xf5, 0xe1, 0x00};
    assert_int_not_equal(eei_evidence_decode(eei_span(many, sizeof many), &arena, &out, NULL), EE_OK);
    eei_arena_clear(&arena);
    eei_buf_clear(&wire);
    agent_clear(&a);
}

/* ---- evidence files ---- */

static char folder[64];
static int make_folder(void **state) {
    snprintf(folder, sizeof folder, "/tmp/ee-evidence-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return world_setup(state);
}
static int drop_folder(void **state) {
    char path[96];
    snprintf(path, sizeof path, "%s/e.json", folder);
    unlink(path);
    rmdir(folder);
    return world_teardown(state);
}

static void export_to(const ee_verdict *verdict, char path[96], eei_buf *text) {
    struct stat info;
    snprintf(path, 96, "%s/e.json", folder);
    MUST(ee_verdict_export(verdict, path, err));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    eei_buf_reset(text);
    MUST(eei_file_read(path, text, err));
}

static void test_evidence_file(void **state) {
    world *w = *state;
    agent a;
    session s;
    char path[96];
    eei_buf text = EEI_BUF_INIT(4 << 20);
    ee_verdict *base = NULL, *live = NULL, *again = NULL;
    agent_init(w, &a);
    const eei_evidence e = evidence_of(&a);
    MUST(appraise(w, &e, &a.expect, &base, err));
    session_init(&a, &s);
    const eei_evidence se = session_evidence(&s);
    MUST(eei_appraise_session(&se, base, &s.expect, NOW + 5, &live, err));
    const ee_verdict *const verdicts[] = {base, live};
    for (size_t i = 0; i < 2; i++) {
        export_to(verdicts[i], path, &text);
        MUST(ee_verify_file(path, w->any, 0, &again, err));
        assert_true(ee_verdict_verified(again));
        assert_int_equal(ee_verdict_check_count(again), ee_verdict_check_count(verdicts[i]) + 1);
        ee_verdict_free(again);
        /* long after, the collateral is stale */
        assert_int_equal(ee_verify_file(path, w->any, NOW + 40 * 86400, &again, NULL), EE_E_ATTESTATION);
        ee_verdict_free(again);
        /* under another policy it does not count */
        assert_int_equal(ee_verify_file(path, NULL, 0, &again, NULL), EE_E_ATTESTATION);
        assert_string_equal(first_failed(again), "pck_chain");
        ee_verdict_free(again);
    }
    ee_verdict_free(base);
    ee_verdict_free(live);
    eei_buf_clear(&s.signature);
    eei_buf_clear(&text);
    agent_clear(&a);
}

/* Without fsync: this happens hundreds of times. */
static void write_file(const char *path, ee_span data) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data.data, 1, data.len, file), data.len);
    assert_int_equal(fclose(file), 0);
}

/* Any one changed byte of the file is noticed, and the outcome is a failed check, not a crash or a pass. */
static void test_evidence_file_flipped_bytes(void **state) {
    world *w = *state;
    agent a;
    char path[96];
    eei_buf text = EEI_BUF_INIT(4 << 20);
    ee_verdict *verdict = NULL, *again = NULL;
    agent_init(w, &a);
    const eei_evidence e = evidence_of(&a);
    MUST(appraise(w, &e, &a.expect, &verdict, err));
    export_to(verdict, path, &text);
    for (size_t at = 0; at < text.len; at += at < 300 ? 1 : 149) {
        text.data[at] ^= 1;
        write_file(path, eei_buf_span(&text));
        ee_error why = {0};
        ee_status st = ee_verify_file(path, w->any, 0, &again, &why);
        if (st != EE_E_ATTESTATION || ee_verdict_verified(again)) fail_msg("byte %zu changed: status %d", at, (int)st);
        assert_true(first_failed(again)[0] != '\0');
        ee_verdict_free(again);
        text.data[at] ^= 1;
    }
    ee_verdict_free(verdict);
    eei_buf_clear(&text);
    agent_clear(&a);
}

static void test_evidence_file_of_bare_quote(void **state) {
    world *w = *state;
    char path[96];
    eei_buf text = EEI_BUF_INIT(4 << 20);
    ee_verdict *verdict = NULL, *again = NULL;
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW, &verdict, err));
    export_to(verdict, path, &text);
    MUST(ee_verify_file(path, w->any, 0, &again, err));
    ee_verdict_free(again);
    ee_verdict_free(verdict);
    assert_int_equal(ee_verify_file("/nonexistent/e.json", w->any, 0, &again, NULL), EE_E_NOT_FOUND);
    assert_null(again);
    eei_buf_clear(&text);
}

/* A file whose verdict was edited to say otherwise: checks are made anew. */
static void test_evidence_file_is_not_believed(void **state) {
    world *w = *state;
    char path[96];
    eei_buf text = EEI_BUF_INIT(4 << 20), quote = copy_quote(w);
    ee_verdict *verdict = NULL, *again = NULL;
    quote.data[AT_SIGNATURE] ^= 1;
    assert_int_equal(verify_at(eei_buf_span(&quote), w->collateral, w->any, NOW, &verdict, NULL), EE_E_ATTESTATION);
    export_to(verdict, path, &text);
    replace_in(&text, "\"verified\":false", "\"verified\":true");
    write_file(path, eei_buf_span(&text));
    assert_int_equal(ee_verify_file(path, w->any, 0, &again, NULL), EE_E_ATTESTATION);
    assert_int_equal(result_of(again, "evidence_file"), EE_CHECK_FAIL);
    assert_int_equal(result_of(again, "quote_signature"), EE_CHECK_FAIL);
    ee_verdict_free(again);
    ee_verdict_free(verdict);
    eei_buf_clear(&text);
    eei_buf_clear(&quote);
}

/* ---- digests and allocation failures ---- */

static void test_event_digest_and_replay(void **state) {
    (void)state;
    uint8_t digest[48], want[48], rtmr[48] = {0}, both[96];
    static const uint8_t input[] = {'E', 'E', '1', '-', 'E', 'V', 0, 5, 0, 0, 0, 3, 'a', 'b', 'c'};
    eei_event_digest(EEI_EVENT_APP, eei_span_text("abc"), digest);
    eei_sha384(eei_span(input, sizeof input), want);
    assert_memory_equal(digest, want, 48);
    memset(both, 0, 48);
    memcpy(both + 48, digest, 48);
    eei_sha384(eei_span(both, 96), want);
    eei_rtmr_extend(rtmr, digest);
    assert_memory_equal(rtmr, want, 48);
}

static void test_allocation_failures(void **state) {
    world *w = *state;
    agent a;
    agent_init(w, &a);
    eei_evidence e = evidence_of(&a);
    for (int good = 1; good >= 0; good--) {
        ee_verdict *verdict = NULL;
        if (!good) a.events[1].digest[0] ^= 1;
        (void)eei_alloc_fail_at(0);
        (void)!appraise(w, &e, &a.expect, &verdict, NULL);
        size_t total = eei_alloc_fail_at(0);
        ee_verdict_free(verdict);
        for (size_t n = 1; n <= total; n++) {
            (void)eei_alloc_fail_at(n);
            ee_status st = appraise(w, &e, &a.expect, &verdict, NULL);
            (void)eei_alloc_fail_at(0);
            if (st == EE_OK && !good) fail_msg("allocation %zu failed and bad evidence verified", n);
            if (st) assert_false(ee_verdict_verified(verdict));
            ee_verdict_free(verdict);
        }
    }
    agent_clear(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_evidence),
        cmocka_unit_test(test_not_asked_is_skipped),
        cmocka_unit_test(test_Q7_Q9_Q10_Q11_expectations),
        cmocka_unit_test(test_Q9_statement_is_what_was_quoted),
        cmocka_unit_test(test_statement_rules),
        cmocka_unit_test(test_sealed_builds),
        cmocka_unit_test(test_Q12_a_quote_alone_does_not_speak_for_an_instance),
        cmocka_unit_test(test_bad_quote_in_evidence),
        cmocka_unit_test(test_image_pin),
        cmocka_unit_test(test_genesis_pin),
        cmocka_unit_test(test_golden_evidence),
        cmocka_unit_test(test_Q13_log_changed_on_the_way),
        cmocka_unit_test(test_Q13_grammar),
        cmocka_unit_test(test_Q13_payload_and_digest_at_each_position),
        cmocka_unit_test(test_Q13_two_identical_app_events),
        cmocka_unit_test(test_Q13_digest_alone_vouches_for_nothing),
        cmocka_unit_test(test_session_statement),
        cmocka_unit_test(test_session_refusals),
        cmocka_unit_test(test_encode_decode),
        cmocka_unit_test(test_Q18_wire_rules),
        cmocka_unit_test(test_evidence_file),
        cmocka_unit_test(test_evidence_file_flipped_bytes),
        cmocka_unit_test(test_evidence_file_of_bare_quote),
        cmocka_unit_test(test_evidence_file_is_not_believed),
        cmocka_unit_test(test_event_digest_and_replay),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
