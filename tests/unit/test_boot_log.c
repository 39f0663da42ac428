/* test_boot_log.c - boot logs in evidence and beside bare quotes: made small, on the wire, compared with the registers of the quote, shown,
 * saved. A real log comes from EE_TESTDATA when it is there. Threat Q13. */
#include "attest/crypto.h"
#include "attest/verdict.h"
#include "base/file.h"
#include "base/limits.h"
#include "evidence_agent.h"

#include <unistd.h>

static char folder[64];

/* ---- made small ------------------------------------------------------------------------------------------------------ */

/* A log of `count` events in RTMR1, whose data was measured and is `bytes` long. */
static void long_log(size_t count, size_t bytes, eei_buf *area) {
    uint8_t data[EEI_BOOT_DATA_MAX + 1], digest[48];
    eei_writer w = eei_writer_init(area);
    eei_buf_reset(area);
    simtdx_ccel_header(&w);
    for (size_t i = 0; i < count; i++) {
        memset(data, (int)(i & 0x7f), sizeof data);
        eei_sha384(eei_span(data, bytes), digest);
        simtdx_ccel_event(&w, 2, 0x80000007, digest, eei_span(data, bytes));
    }
    assert_int_equal(w.status, EE_OK);
}

static void test_compact_keeps_what_was_measured(void **state) {
    eei_buf area = EEI_BUF_INIT(65536);
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    eei_boot_event *events = NULL;
    eei_boot_registers made;
    size_t count = 0, shown = 0;
    world *w = *state;
    MUST(simtdx_boot_log(&area, err));
    MUST(eei_boot_log_compact(eei_buf_span(&area), &arena, &events, &count, err));
    eei_buf_clear(&area); /* the events are copies */
    MUST(eei_boot_log_replay(events, count, &made, err));
    for (size_t i = 0; i < 3; i++) assert_memory_equal(made.rtmr[i], w->td.rtmr[i], 48);
    for (size_t i = 0; i < count; i++) {
        uint8_t digest[48];
        shown += events[i].data.len > 0;
        eei_sha384(events[i].data, digest);
        if (events[i].data.len) assert_memory_equal(digest, events[i].digest, 48);
    }
    assert_int_equal(count, 11);
    assert_int_equal(shown, 7); /* firmware, tables, kernel and initrd are named in the log, not held by it */
    eei_arena_clear(&arena);
}

static void test_long_data_is_left_out(void **state) {
    static const struct {
        size_t count, bytes;
        bool shown;
    } cases[] = {{1, EEI_BOOT_DATA_MAX, true}, {1, EEI_BOOT_DATA_MAX + 1, false}, {250, 64, true}, {250, 66, false}, {512, 1, false}};
    eei_buf area = EEI_BUF_INIT(1 << 20);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eei_arena arena = EEI_ARENA_INIT(1 << 20);
        eei_boot_event *events = NULL;
        size_t count = 0;
        long_log(cases[i].count, cases[i].bytes, &area);
        MUST(eei_boot_log_compact(eei_buf_span(&area), &arena, &events, &count, err));
        assert_int_equal(count, cases[i].count);
        for (size_t k = 0; k < count; k++)
            if ((events[k].data.len > 0) != cases[i].shown) fail_msg("case %zu: event %zu", i, k);
        eei_arena_clear(&arena);
    }
    eei_buf_clear(&area);
}

/* Boots of 250 and of 512 events leave room for the largest quotes and 100 apps: evidence stays below its 60 KiB (threat Q18). */
static void test_evidence_stays_small(void **state) {
    static const size_t counts[] = {43, 250, EEI_BOOT_EVENTS_MAX};
    static uint8_t statement[EEI_STATEMENT_BYTES], signature[EEI_STATEMENT_BYTES + EEI_ENVELOPE_OVERHEAD], quote[8192], payload[110];
    eei_event events[104];
    eei_buf area = EEI_BUF_INIT(1 << 20);
    (void)state;
    for (size_t i = 0; i < 104; i++) {
        events[i] = (eei_event){.type = EEI_EVENT_APP, .payload = {payload, sizeof payload}};
        memset(events[i].digest, 1, 48);
    }
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        size_t most = 0;
        for (size_t bytes = 1; bytes <= EEI_BOOT_DATA_MAX; bytes += 3) {
            eei_arena arena = EEI_ARENA_INIT(1 << 20);
            eei_buf bare = EEI_BUF_INIT(1 << 20), with = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
            eei_evidence e = {.statement = {statement, sizeof statement},
                              .quote = {quote, sizeof quote},
                              .events = events,
                              .event_count = 104,
                              .signature = {signature, sizeof signature}};
            MUST(eei_evidence_encode(&e, &bare, err));
            long_log(counts[i], bytes, &area);
            MUST(eei_boot_log_compact(eei_buf_span(&area), &arena, &e.boot_events, &e.boot_event_count, err));
            MUST(eei_evidence_encode(&e, &with, err));
            if (with.len - bare.len > most) most = with.len - bare.len;
            eei_arena_clear(&arena);
            eei_buf_clear(&bare);
            eei_buf_clear(&with);
        }
        print_message("a boot of %zu events: at most %zu bytes of evidence\n", counts[i], most);
        assert_true(most <= EEI_BOOT_LOG_BYTES_MAX + 8); /* key and count */
    }
    eei_buf_clear(&area);
}

static void test_compact_refuses_what_the_reader_refuses(void **state) {
    eei_buf area = EEI_BUF_INIT(65536);
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    eei_boot_event *events = NULL;
    size_t count = 1;
    (void)state;
    long_log(2, 4, &area);
    area.len--;
    assert_int_equal(eei_boot_log_compact(eei_buf_span(&area), &arena, &events, &count, NULL), EE_E_MALFORMED);
    assert_null(events);
    assert_int_equal(count, 0);
    eei_arena_clear(&arena);
    eei_buf_clear(&area);
}

/* ---- on the wire ----------------------------------------------------------------------------------------------------- */

/* Key 128, then register, type, digest, data: frozen. A reader from before skips a key from 128 (test_codec.c). */
static void test_wire_form_is_frozen(void **state) {
    static const uint8_t head[] = {0xcc, 0x80, 0x91, 0x84, 0x01, 0x02, 0x02, 0xce, 0x80, 0x00, 0x00, 0x07, 0x03, 0xc4, 48};
    static const uint8_t tail[] = {0x04, 0xc4, 0x02, 'h', 'i'};
    world *w = *state;
    agent a;
    eei_buf wire = EEI_BUF_INIT(65536);
    eei_boot_event event = {.rtmr = 2, .type = 0x80000007, .data = eei_span_text("hi")};
    eei_sha384(event.data, event.digest);
    agent_init(w, &a);
    eei_evidence e = evidence_of(&a);
    e.boot_events = &event;
    e.boot_event_count = 1;
    MUST(eei_evidence_encode(&e, &wire, err));
    const uint8_t *at = wire.data + wire.len - sizeof tail - 48 - sizeof head;
    assert_memory_equal(at, head, sizeof head);
    assert_memory_equal(at + sizeof head, event.digest, 48);
    assert_memory_equal(at + sizeof head + 48, tail, sizeof tail);
    eei_buf_clear(&wire);
    agent_clear(&a);
}

static void test_Q18_wire_limits(void **state) {
    world *w = *state;
    agent a;
    eei_buf wire = EEI_BUF_INIT(1 << 20);
    eei_evidence out;
    agent_init(w, &a);
    eei_boot_event *many = calloc(EEI_BOOT_EVENTS_MAX + 1, sizeof *many);
    uint8_t *data = calloc(1, EEI_BOOT_DATA_MAX + 1);
    assert_non_null(many);
    assert_non_null(data);
    eei_evidence e = evidence_of(&a), bad = e;
    bad.boot_events = many;
    bad.boot_event_count = EEI_BOOT_EVENTS_MAX;
    MUST(eei_evidence_encode(&bad, &wire, err));
    bad.boot_event_count++;
    assert_int_not_equal(eei_evidence_encode(&bad, &wire, NULL), EE_OK);
    bad.boot_event_count = 1;
    many[0].data = eei_span(data, EEI_BOOT_DATA_MAX + 1);
    assert_int_not_equal(eei_evidence_encode(&bad, &wire, NULL), EE_OK);
    many[0].data.len = 0;
    many[0].rtmr = 4;
    assert_int_not_equal(eei_evidence_encode(&bad, &wire, NULL), EE_OK);
    /* by the decoder too: register 4, patched into good bytes */
    many[0].rtmr = 3;
    eei_buf_reset(&wire);
    MUST(eei_evidence_encode(&bad, &wire, err));
    uint8_t *at = wire.data + wire.len - 48 - 3 - 2 - 1; /* value of key 1: before 02 00 03 c4 30 */
    assert_int_equal(*at, 3);
    for (uint8_t value = 3; value < 5; value++) {
        eei_arena arena = EEI_ARENA_INIT(1 << 20);
        *at = value;
        assert_int_equal(eei_evidence_decode(eei_buf_span(&wire), &arena, &out, NULL) == EE_OK, value == 3);
        eei_arena_clear(&arena);
    }
    /* a signed statement stands on evidence seen before, and brings no log of its own */
    bad = (eei_evidence){.statement = e.statement, .signature = eei_span_text("signed"), .boot_events = many, .boot_event_count = 1};
    assert_int_equal(eei_evidence_encode(&bad, &wire, NULL), EE_E_MALFORMED);
    free(many);
    free(data);
    eei_buf_clear(&wire);
    agent_clear(&a);
}

static void test_round_trip(void **state) {
    world *w = *state;
    agent a;
    eei_buf wire = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    eei_evidence decoded;
    ee_verdict *verdict = NULL;
    agent_init(w, &a);
    const eei_evidence e = evidence_of(&a);
    MUST(eei_evidence_encode(&e, &wire, err));
    MUST(eei_evidence_decode(eei_buf_span(&wire), &arena, &decoded, err));
    assert_int_equal(decoded.boot_event_count, a.boot_count);
    for (size_t i = 0; i < a.boot_count; i++) {
        assert_int_equal(decoded.boot_events[i].rtmr, a.boot[i].rtmr);
        assert_int_equal(decoded.boot_events[i].type, a.boot[i].type);
        assert_memory_equal(decoded.boot_events[i].digest, a.boot[i].digest, 48);
        assert_true(eei_span_equal(decoded.boot_events[i].data, a.boot[i].data));
    }
    MUST(appraise(w, &decoded, &a.expect, &verdict, err));
    assert_int_equal(result_of(verdict, "boot_log"), EE_CHECK_PASS);
    ee_verdict_free(verdict);
    eei_arena_clear(&arena);
    eei_buf_clear(&wire);
    agent_clear(&a);
}

/* ---- the check ------------------------------------------------------------------------------------------------------- */

static json_t *verdict_json(const ee_verdict *verdict) {
    json_t *json = json_loads(ee_verdict_json(verdict), 0, NULL);
    assert_non_null(json);
    return json;
}

static void test_boot_events_are_shown(void **state) {
    world *w = *state;
    agent a;
    ee_verdict *verdict = NULL;
    size_t nulls = 0, i;
    json_t *item;
    agent_init(w, &a);
    const eei_evidence e = evidence_of(&a);
    MUST(appraise(w, &e, &a.expect, &verdict, err));
    assert_string_equal(explanation_of(verdict, "boot_log"), "11 events replay to RTMR0-2");
    json_t *json = verdict_json(verdict), *list = json_object_get(json, "boot_events");
    assert_int_equal(json_array_size(list), a.boot_count);
    json_array_foreach(list, i, item) {
        char hex[97];
        eei_hex_encode(eei_span(a.boot[i].digest, 48), hex);
        assert_string_equal(json_string_value(json_object_get(item, "digest")), hex);
        assert_int_equal(json_integer_value(json_object_get(item, "rtmr")), a.boot[i].rtmr);
        nulls += json_is_null(json_object_get(item, "data"));
    }
    assert_int_equal(nulls, 4);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 4), "name")), "EV_EFI_ACTION");
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 7), "data")),
                        "636f6e736f6c653d6876633020726f2070616e69633d2d312073696d756c61746564"); /* the command line */
    json_decref(json);
    ee_verdict_free(verdict);
    agent_clear(&a);
}

static void test_evidence_without_one_says_so(void **state) {
    world *w = *state;
    agent a;
    ee_verdict *verdict = NULL;
    agent_init(w, &a);
    a.boot_count = 0;
    const eei_evidence e = evidence_of(&a);
    MUST(appraise(w, &e, &a.expect, &verdict, err));
    assert_int_equal(result_of(verdict, "boot_log"), EE_CHECK_SKIPPED);
    assert_non_null(strstr(explanation_of(verdict, "boot_log"), "carries no boot log"));
    json_t *json = verdict_json(verdict);
    assert_null(json_object_get(json, "boot_events"));
    json_decref(json);
    ee_verdict_free(verdict);
    agent_clear(&a);
}

typedef void (*boot_change)(agent *a, size_t i);
static void boot_digest(agent *a, size_t i) { a->boot[i].digest[i] ^= 0x10; }
static void boot_register(agent *a, size_t i) { a->boot[i].rtmr = (a->boot[i].rtmr + 1) % 3; }
static void boot_to_rtmr3(agent *a, size_t i) { a->boot[i].rtmr = 3; }
static void boot_no_action(agent *a, size_t i) { a->boot[i].type = EEI_EV_NO_ACTION; }
static void boot_dropped(agent *a, size_t i) {
    memmove(&a->boot[i], &a->boot[i + 1], (a->boot_count - i - 1) * sizeof *a->boot);
    a->boot_count--;
}
static void boot_doubled(agent *a, size_t i) {
    static eei_boot_event more[64];
    memcpy(more, a->boot, a->boot_count * sizeof *more);
    more[a->boot_count] = a->boot[i];
    a->boot = more;
    a->boot_count++;
}
static void boot_other_data(agent *a, size_t i) { a->boot[i].data = eei_span_text("something else"); }

/* At every place of the log. */
static void test_Q13_boot_log_changed_on_the_way(void **state) {
    static const struct {
        const char *name;
        boot_change change;
    } plans[] = {{"digest", boot_digest},           {"another register", boot_register},
                 {"put into RTMR3", boot_to_rtmr3}, {"made no action", boot_no_action},
                 {"left out", boot_dropped},        {"twice", boot_doubled},
                 {"other data", boot_other_data}};
    world *w = *state;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        for (size_t at = 0; at < 11; at++) {
            char name[64];
            agent a;
            agent_init(w, &a);
            snprintf(name, sizeof name, "%s, event %zu", plans[i].name, at + 1);
            plans[i].change(&a, at);
            const eei_evidence e = evidence_of(&a);
            must_refuse(name, w, &e, &a.expect, "boot_log");
            agent_clear(&a);
        }
    }
}

/* Two events of one register the other way round. */
static void test_Q13_boot_log_reordered(void **state) {
    world *w = *state;
    for (size_t i = 0; i < 11; i++) {
        for (size_t k = i + 1; k < 11; k++) {
            agent a;
            agent_init(w, &a);
            if (a.boot[i].rtmr == a.boot[k].rtmr && memcmp(a.boot[i].digest, a.boot[k].digest, 48)) {
                eei_boot_event e = a.boot[i];
                a.boot[i] = a.boot[k];
                a.boot[k] = e;
                const eei_evidence swapped = evidence_of(&a);
                must_refuse("two events swapped", w, &swapped, &a.expect, "boot_log");
            }
            agent_clear(&a);
        }
    }
}

/* The log is good, and of another boot: each register alone. The verdict says which one. */
static void test_Q13_log_of_another_boot(void **state) {
    world *w = *state;
    for (unsigned i = 0; i < 3; i++) {
        agent a;
        ee_verdict *verdict = NULL;
        char want[8];
        ee_check check = {0};
        w->td.rtmr[i][0] ^= 1;
        agent_init(w, &a);
        w->td.rtmr[i][0] ^= 1;
        const eei_evidence e = evidence_of(&a);
        assert_int_equal(appraise(w, &e, &a.expect, &verdict, NULL), EE_E_ATTESTATION);
        assert_string_equal(first_failed(verdict), "boot_log");
        for (size_t k = 0; ee_verdict_check_at(verdict, k, &check, NULL) == EE_OK && strcmp(check.name, "boot_log"); k++) {
        }
        snprintf(want, sizeof want, "rtmr%u ", i);
        assert_int_equal(strncmp(check.expected, want, 6), 0);
        assert_int_equal(strlen(check.actual), 96);
        json_t *json = verdict_json(verdict);
        assert_null(json_object_get(json, "boot_events")); /* what does not replay is not shown */
        json_decref(json);
        ee_verdict_free(verdict);
        agent_clear(&a);
    }
}

/* Types and missing data change nothing that is proved; nothing is concluded from them. */
static void test_words_of_the_log_are_not_proved(void **state) {
    world *w = *state;
    agent a;
    ee_verdict *verdict = NULL;
    agent_init(w, &a);
    for (size_t i = 0; i < a.boot_count; i++) {
        a.boot[i].type = 0xd;
        a.boot[i].data = (ee_span){NULL, 0};
    }
    const eei_evidence e = evidence_of(&a);
    MUST(appraise(w, &e, &a.expect, &verdict, err));
    assert_int_equal(result_of(verdict, "boot_log"), EE_CHECK_PASS);
    ee_verdict_free(verdict);
    agent_clear(&a);
}

/* ---- RTMR3 before our own events ------------------------------------------------------------------------------------- */

static void boot_extends_rtmr3(world *w, agent *a, ee_span data) {
    static eei_boot_event more[64];
    memcpy(more, a->boot, a->boot_count * sizeof *more);
    more[a->boot_count] = (eei_boot_event){.rtmr = 3, .type = 0xd, .data = data};
    eei_sha384(data, more[a->boot_count].digest);
    a->boot = more;
    a->boot_count++;
    requote(w, a);
}

static void test_boot_part_of_rtmr3(void **state) {
    world *w = *state;
    agent a;
    ee_verdict *verdict = NULL;
    agent_init(w, &a);
    boot_extends_rtmr3(w, &a, eei_span_text("loader's own"));
    eei_evidence e = evidence_of(&a);
    MUST(appraise(w, &e, &a.expect, &verdict, err));
    assert_int_equal(result_of(verdict, "boot_log"), EE_CHECK_PASS);
    assert_int_equal(result_of(verdict, "event_log"), EE_CHECK_PASS);
    assert_non_null(strstr(explanation_of(verdict, "boot_log"), "RTMR3 begins with theirs"));
    ee_verdict_free(verdict);
    /* Without the log nobody knows what RTMR3 began with; with an event too many it began with something else. */
    e.boot_event_count = 0;
    must_refuse("no boot log", w, &e, &a.expect, "event_log");
    e.boot_event_count = a.boot_count - 1;
    must_refuse("RTMR3's event left out", w, &e, &a.expect, "event_log");
    e.boot_event_count = a.boot_count;
    a.boot[a.boot_count - 1].data.len = 0;
    must_refuse("not shown", w, &e, &a.expect, "boot_log");
    agent_clear(&a);
    agent_init(w, &a);
    boot_extends_rtmr3(w, &a, eei_span_text("loader's own"));
    a.boot[a.boot_count - 1].rtmr = 2;
    e = evidence_of(&a);
    must_refuse("said to be of RTMR2", w, &e, &a.expect, "boot_log");
    agent_clear(&a);
}

/* An instance that ran before in the same TD cannot be passed off as a part of the boot: neither its identity nor its apps. */
static void test_Q13_another_instance_is_no_boot(void **state) {
    world *w = *state;
    static const uint8_t label[] = "EE1-EV\0\3\0\0\0\x02hi";
    for (int cut = 0; cut < 2; cut++) {
        agent a;
        agent_init(w, &a);
        boot_extends_rtmr3(w, &a, eei_span(label, cut ? 6 : sizeof label - 1));
        const eei_evidence e = evidence_of(&a);
        must_refuse("event of an instance", w, &e, &a.expect, "boot_log");
        agent_clear(&a);
    }
    agent a;
    agent_init(w, &a);
    boot_extends_rtmr3(w, &a, eei_span_text("EE1-E"));
    const eei_evidence e = evidence_of(&a);
    ee_verdict *verdict = NULL;
    MUST(appraise(w, &e, &a.expect, &verdict, err));
    ee_verdict_free(verdict);
    agent_clear(&a);
}

/* ---- beside a bare quote --------------------------------------------------------------------------------------------- */

static ee_status verify_with(const world *w, ee_span quote, ee_span ccel, ee_verdict **out, ee_error *err) {
    ee_verify_options options;
    ee_verify_options_init(&options);
    options.now_unix_s = NOW;
    options.ccel = ccel;
    return ee_verify_quote(quote, w->collateral, w->any, &options, out, err);
}

static void test_bare_quote_with_its_log(void **state) {
    world *w = *state;
    eei_buf area = EEI_BUF_INIT(65536);
    ee_verdict *verdict = NULL;
    MUST(simtdx_boot_log(&area, err));
    MUST(verify_with(w, eei_buf_span(&w->quote), eei_buf_span(&area), &verdict, err));
    assert_int_equal(result_of(verdict, "boot_log"), EE_CHECK_PASS);
    json_t *json = verdict_json(verdict);
    assert_int_equal(json_array_size(json_object_get(json, "boot_events")), 11);
    json_decref(json);
    ee_verdict_free(verdict);
    MUST(verify_with(w, eei_buf_span(&w->quote), (ee_span){NULL, 0}, &verdict, err));
    assert_int_equal(result_of(verdict, "boot_log"), EE_CHECK_SKIPPED);
    assert_non_null(strstr(explanation_of(verdict, "boot_log"), "no boot log was given"));
    ee_verdict_free(verdict);
    assert_int_equal(verify_with(w, eei_buf_span(&w->quote), (ee_span){NULL, 5}, &verdict, NULL), EE_E_INVALID);
    assert_null(verdict);
    eei_buf_clear(&area);
}

static void must_fail_with(const char *name, const world *w, ee_span quote, ee_span ccel, const char *says) {
    ee_verdict *verdict = NULL;
    ee_status st = verify_with(w, quote, ccel, &verdict, NULL);
    if (st != EE_E_ATTESTATION || strcmp(first_failed(verdict), "boot_log") || !strstr(explanation_of(verdict, "boot_log"), says))
        fail_msg("%s: status %d, failed \"%s\": %s", name, (int)st, first_failed(verdict), explanation_of(verdict, "boot_log"));
    ee_verdict_free(verdict);
}

static void test_bare_quote_with_a_bad_log(void **state) {
    world *w = *state;
    eei_buf area = EEI_BUF_INIT(65536);
    eei_writer writer = eei_writer_init(&area);
    ee_span quote = eei_buf_span(&w->quote);
    must_fail_with("empty", w, quote, eei_span("", 0), "boot log's header: needs 4 bytes");
    must_fail_with("text", w, quote, eei_span_text("this is a text file and no boot log of any kind"), "needs");
    simtdx_ccel_header(&writer);
    must_fail_with("a log without events", w, quote, eei_buf_span(&area), "its 0 events for RTMR0");
    eei_buf_reset(&area);
    MUST(simtdx_boot_log(&area, err));
    area.data[65 + 14] ^= 1; /* first byte of the first digest */
    must_fail_with("a bit", w, quote, eei_buf_span(&area), "does not give the quote's RTMR0");
    /* Of a quote that is not authentic nothing is compared, and a bad log says so all the same. */
    eei_buf forged = copy_quote(w);
    ee_verdict *verdict = NULL;
    forged.data[AT_SIGNATURE] ^= 1;
    assert_int_equal(verify_with(w, eei_buf_span(&forged), eei_span_text("rubbish"), &verdict, NULL), EE_E_ATTESTATION);
    assert_string_equal(first_failed(verdict), "quote_signature");
    assert_int_equal(result_of(verdict, "boot_log"), EE_CHECK_FAIL);
    ee_verdict_free(verdict);
    eei_buf_clear(&forged);
    eei_buf_clear(&area);
}

/* With nothing else to vouch for RTMR3, a log that has events for it must give all of it. */
static void test_bare_quote_and_rtmr3(void **state) {
    world *w = *state;
    eei_buf area = EEI_BUF_INIT(65536), quote = EEI_BUF_INIT(65536);
    uint8_t digest[48], report_data[64] = {0};
    simtdx_td td = w->td;
    ee_verdict *verdict = NULL;
    MUST(simtdx_boot_log(&area, err));
    area.len -= 64; /* the fill */
    eei_writer writer = eei_writer_init(&area);
    eei_sha384(eei_span_text("app"), digest);
    simtdx_ccel_event(&writer, 4, 0xd, digest, eei_span_text("app"));
    must_fail_with("RTMR3 untouched", w, eei_buf_span(&w->quote), eei_buf_span(&area), "RTMR3");
    eei_rtmr_extend(td.rtmr[3], digest);
    MUST(simtdx_quote(w->machine, &td, report_data, &quote, err));
    MUST(verify_with(w, eei_buf_span(&quote), eei_buf_span(&area), &verdict, err));
    ee_verdict_free(verdict);
    eei_buf_clear(&area);
    eei_buf_clear(&quote);
}

/* A caller built before the field was there gives a shorter struct: nothing behind it is read. */
static void test_options_of_an_older_caller(void **state) {
    world *w = *state;
    const size_t before = offsetof(ee_verify_options, ccel);
    for (size_t bytes = before - 8; bytes <= sizeof(ee_verify_options); bytes += 8) {
        ee_verify_options *options = malloc(bytes); /* exactly: a sanitizer sees a byte too far */
        ee_verify_options whole;
        ee_verdict *verdict = NULL;
        assert_non_null(options);
        ee_verify_options_init(&whole);
        whole.struct_bytes = bytes;
        whole.now_unix_s = NOW;
        whole.ccel = eei_span_text("rubbish");
        memcpy(options, &whole, bytes);
        ee_status st = ee_verify_quote(eei_buf_span(&w->quote), w->collateral, w->any, options, &verdict, NULL);
        if (bytes < before) {
            assert_int_equal(st, EE_E_INVALID);
        } else {
            assert_int_equal(result_of(verdict, "boot_log"), bytes == sizeof whole ? EE_CHECK_FAIL : EE_CHECK_SKIPPED);
        }
        ee_verdict_free(verdict);
        free(options);
    }
}

static void test_allocation_failures(void **state) {
    world *w = *state;
    eei_buf area = EEI_BUF_INIT(65536);
    ee_verdict *verdict = NULL;
    MUST(simtdx_boot_log(&area, err));
    for (int good = 1; good >= 0; good--) {
        if (!good) area.data[65 + 14] ^= 1;
        (void)eei_alloc_fail_at(0);
        (void)!verify_with(w, eei_buf_span(&w->quote), eei_buf_span(&area), &verdict, NULL);
        size_t total = eei_alloc_fail_at(0);
        ee_verdict_free(verdict);
        for (size_t n = 1; n <= total; n++) {
            (void)eei_alloc_fail_at(n);
            ee_status st = verify_with(w, eei_buf_span(&w->quote), eei_buf_span(&area), &verdict, NULL);
            (void)eei_alloc_fail_at(0);
            if (st == EE_OK && !good) fail_msg("allocation %zu failed and a bad log passed", n);
            ee_verdict_free(verdict);
        }
    }
    eei_buf_clear(&area);
}

/* ---- evidence files -------------------------------------------------------------------------------------------------- */

static int make_folder(void **state) {
    snprintf(folder, sizeof folder, "/tmp/ee-boot-log-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return world_setup(state);
}
static int drop_folder(void **state) {
    char path[96];
    snprintf(path, sizeof path, "%s/e.json", folder);
    (void)unlink(path);
    (void)rmdir(folder);
    return world_teardown(state);
}

/* The log goes into the file and is checked again from there; a changed one is refused. */
static void check_file(const ee_verdict *verdict, const ee_policy *policy) {
    char path[96];
    eei_buf text = EEI_BUF_INIT(4 << 20);
    ee_verdict *again = NULL;
    snprintf(path, sizeof path, "%s/e.json", folder);
    MUST(ee_verdict_export(verdict, path, err));
    MUST(ee_verify_file(path, policy, 0, &again, err));
    assert_int_equal(result_of(again, "boot_log"), EE_CHECK_PASS);
    json_t *one = verdict_json(verdict), *other = verdict_json(again);
    assert_true(json_equal(json_object_get(one, "boot_events"), json_object_get(other, "boot_events")));
    json_decref(one);
    json_decref(other);
    ee_verdict_free(again);
    MUST(eei_file_read(path, &text, err));
    json_t *file = json_loads(eei_buf_cstr(&text), 0, NULL);
    assert_int_equal(json_object_set_new(json_array_get(json_object_get(file, "boot_log"), 0), "data", json_string("00")), 0);
    eei_buf_reset(&text);
    MUST(eei_json_dump(file, &text, err));
    json_decref(file);
    MUST(eei_file_write_atomic(path, eei_buf_span(&text), 0600, err));
    assert_int_equal(ee_verify_file(path, policy, 0, &again, NULL), EE_E_ATTESTATION);
    assert_int_equal(result_of(again, "boot_log"), EE_CHECK_FAIL);
    ee_verdict_free(again);
    eei_buf_clear(&text);
}

static void test_evidence_files(void **state) {
    world *w = *state;
    agent a;
    eei_buf area = EEI_BUF_INIT(65536);
    ee_verdict *verdict = NULL;
    agent_init(w, &a);
    const eei_evidence e = evidence_of(&a);
    MUST(appraise(w, &e, &a.expect, &verdict, err));
    check_file(verdict, w->any);
    ee_verdict_free(verdict);
    MUST(simtdx_boot_log(&area, err));
    MUST(verify_with(w, eei_buf_span(&w->quote), eei_buf_span(&area), &verdict, err));
    check_file(verdict, w->any);
    ee_verdict_free(verdict);
    eei_buf_clear(&area);
    agent_clear(&a);
}

/* ---- kept samples ---------------------------------------------------------------------------------------------------- */

/* Evidence with a boot log as the first build wrote it: it must stay verifiable (docs/protocol.md, versions). */
static void test_golden_evidence(void **state) {
    (void)state;
    eei_buf bytes = EEI_BUF_INIT(65536);
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    ee_policy *policy = NULL;
    ee_collateral *collateral = NULL;
    ee_verdict *verdict = NULL;
    eei_evidence e;
    const eei_expect expect = {.purpose = EEI_PURPOSE_REGISTER, .role = EEI_ROLE_AGENT};
    golden_trust("boot_log", &policy, &collateral);
    read_golden("boot_log", "evidence.bin", &bytes);
    MUST(eei_evidence_decode(eei_buf_span(&bytes), &arena, &e, err));
    MUST(eei_appraise(&e, collateral, policy, &expect, NOW, &verdict, err));
    assert_int_equal(result_of(verdict, "boot_log"), EE_CHECK_PASS);
    assert_int_equal(e.boot_event_count, 11);
    ee_verdict_free(verdict);
    ee_collateral_free(collateral);
    ee_policy_free(policy);
    eei_arena_clear(&arena);
    eei_buf_clear(&bytes);
}

/* ---- a real log (EE_TESTDATA) ---------------------------------------------------------------------------------------- */

static void test_real_log(void **state) {
    char path[1024];
    const char *base = getenv("EE_TESTDATA");
    eei_buf area = EEI_BUF_INIT(1 << 20), quote = EEI_BUF_INIT(65536);
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    eei_boot_event *events = NULL;
    eei_boot_registers made;
    eei_quote q;
    size_t count = 0, shown = 0;
    (void)state;
    snprintf(path, sizeof path, "%s/tdx/v4-cos113-parse-only/ccel_data.dat", base ? base : "");
    if (!base || eei_file_read(path, &area, NULL)) {
        print_message("SKIP: the boot log of a real machine: EE_TESTDATA has no tdx/v4-cos113-parse-only\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/tdx/v4-cos113-parse-only/quote.bin", base);
    MUST(eei_file_read(path, &quote, err));
    MUST(eei_quote_parse(eei_buf_span(&quote), &q, err));
    MUST(eei_boot_log_compact(eei_buf_span(&area), &arena, &events, &count, err));
    MUST(eei_boot_log_replay(events, count, &made, err));
    for (size_t i = 0; i < count; i++) shown += events[i].data.len > 0;
    assert_int_equal(count, 43);
    assert_int_equal(shown, 8); /* SecureBoot, two separators, three actions, SBAT level, MokListTrusted */
    for (size_t i = 0; i < 3; i++) assert_memory_equal(made.rtmr[i], q.rtmr[i], 48);
    eei_arena_clear(&arena);
    eei_buf_clear(&area);
    eei_buf_clear(&quote);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compact_keeps_what_was_measured),
        cmocka_unit_test(test_long_data_is_left_out),
        cmocka_unit_test(test_evidence_stays_small),
        cmocka_unit_test(test_compact_refuses_what_the_reader_refuses),
        cmocka_unit_test(test_wire_form_is_frozen),
        cmocka_unit_test(test_Q18_wire_limits),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_boot_events_are_shown),
        cmocka_unit_test(test_evidence_without_one_says_so),
        cmocka_unit_test(test_Q13_boot_log_changed_on_the_way),
        cmocka_unit_test(test_Q13_boot_log_reordered),
        cmocka_unit_test(test_Q13_log_of_another_boot),
        cmocka_unit_test(test_words_of_the_log_are_not_proved),
        cmocka_unit_test(test_boot_part_of_rtmr3),
        cmocka_unit_test(test_Q13_another_instance_is_no_boot),
        cmocka_unit_test(test_bare_quote_with_its_log),
        cmocka_unit_test(test_bare_quote_with_a_bad_log),
        cmocka_unit_test(test_bare_quote_and_rtmr3),
        cmocka_unit_test(test_options_of_an_older_caller),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_evidence_files),
        cmocka_unit_test(test_golden_evidence),
        cmocka_unit_test(test_real_log),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
