/* test_ccel.c - boot logs: what a log area may look like, what is refused and under which name, and that a changed log never replays to the
 * same registers while looking changed. Real logs come from EE_TESTDATA when it is there, the rest from a simulated platform. Threat Q13.
 */
#include "attest/ccel.h"
#include "attest/crypto.h"
#include "attest_world.h"
#include "base/file.h"

#include <inttypes.h>

enum { AREA_MAX = 1 << 20, HEADER_BYTES = 65, EVENT_HEAD_BYTES = 4 + 4 + 4 + 2 + 48 + 4 };

/* ---- areas made here ------------------------------------------------------------------------------------------------- */

static void put_event(eei_writer *w, uint32_t index, uint32_t type, const char *text) {
    uint8_t digest[48] = {0};
    if (type != EEI_EV_NO_ACTION) eei_sha384(eei_span_text(text), digest);
    simtdx_ccel_event(w, index, type, digest, eei_span_text(text));
}

/* A header, then an event for each register but MRTD: what the cases below change. */
static void make_area(eei_buf *out) {
    eei_writer w = eei_writer_init(out);
    eei_buf_reset(out);
    simtdx_ccel_header(&w);
    for (uint32_t index = 1; index <= 4; index++) put_event(&w, index, 4, "data");
    assert_int_equal(w.status, EE_OK);
}

static void put_fill(eei_buf *area, uint8_t value, size_t count) {
    for (size_t i = 0; i < count; i++) assert_int_equal(eei_buf_append(area, &value, 1), EE_OK);
}

static void put_u32(eei_buf *area, size_t at, uint32_t value) {
    for (unsigned i = 0; i < 4; i++) area->data[at + i] = (uint8_t)(value >> (8 * i));
}
static size_t event_at(size_t n) { return HEADER_BYTES + n * (EVENT_HEAD_BYTES + 4); }

/* ---- what is accepted ------------------------------------------------------------------------------------------------ */

static void test_replay_of_the_simulated_log(void **state) {
    world *w = *state;
    eei_buf area = EEI_BUF_INIT(AREA_MAX);
    eei_ccel_replayed log;
    uint8_t zeros[48] = {0};
    MUST(simtdx_boot_log(&area, err));
    MUST(eei_ccel_replay(eei_buf_span(&area), &log, err));
    for (size_t i = 0; i < 3; i++) {
        assert_memory_equal(log.rtmr[i], w->td.rtmr[i], 48);
        assert_true(log.events[i] > 0);
    }
    assert_memory_equal(log.rtmr[3], zeros, 48);
    assert_int_equal(log.events[3], 0);
    assert_int_equal(log.events[0] + log.events[1] + log.events[2], log.count);
    assert_int_equal(log.bytes_used + 64, area.len);
    eei_buf_clear(&area);
}

/* By hand: RTMR = SHA-384(48 zeros || digest). */
static void test_one_event_by_hand(void **state) {
    (void)state;
    eei_buf area = EEI_BUF_INIT(AREA_MAX);
    eei_ccel log;
    eei_ccel_event event;
    eei_ccel_replayed sum;
    uint8_t both[96] = {0}, want[48];
    make_area(&area);
    eei_sha384(eei_span_text("data"), both + 48);
    eei_sha384(eei_span(both, 96), want);
    MUST(eei_ccel_replay(eei_buf_span(&area), &sum, err));
    for (size_t i = 0; i < 4; i++) assert_memory_equal(sum.rtmr[i], want, 48);
    MUST(eei_ccel_open(eei_buf_span(&area), &log, err));
    for (unsigned i = 0; i < 4; i++) {
        MUST(eei_ccel_next(&log, &event, err));
        assert_int_equal(event.rtmr, i);
        assert_int_equal(event.type, 4);
        assert_true(eei_span_equal(event.data, eei_span_text("data")));
        assert_memory_equal(event.digest, both + 48, 48);
    }
    assert_int_equal(eei_ccel_next(&log, &event, NULL), EE_E_END);
    assert_int_equal(eei_ccel_next(&log, &event, NULL), EE_E_END);
    eei_buf_clear(&area);
}

typedef void (*change)(eei_buf *area);
static void as_it_is(eei_buf *area) { (void)area; }
static void header_of_td_shim(eei_buf *area) { put_u32(area, 0, 0); }
static void filled_with_ones(eei_buf *area) { put_fill(area, 0xff, 1000); }
static void filled_with_zeros(eei_buf *area) { put_fill(area, 0, 1000); }
static void filled_with_one_byte(eei_buf *area) { put_fill(area, 0xff, 1); }
static void no_action_event(eei_buf *area) {
    eei_writer w = eei_writer_init(area);
    put_event(&w, 0, EEI_EV_NO_ACTION, "StartupLocality");
    put_event(&w, 2, EEI_EV_NO_ACTION, "StartupLocality");
}
static void server_platform(eei_buf *area) { area->data[32 + 16] = 1; }
static void vendor_info(eei_buf *area) {
    eei_buf longer = EEI_BUF_INIT(AREA_MAX);
    MUST(eei_buf_append(&longer, area->data, HEADER_BYTES));
    MUST(eei_buf_append_text(&longer, "abc"));
    MUST(eei_buf_append(&longer, area->data + HEADER_BYTES, area->len - HEADER_BYTES));
    put_u32(&longer, 28, 36);
    longer.data[HEADER_BYTES - 1] = 3;
    eei_buf_clear(area);
    *area = longer;
}

static void test_forms_that_are_read(void **state) {
    static const struct {
        const char *name;
        change change;
    } cases[] = {
        {"no fill", as_it_is},
        {"ones", filled_with_ones},
        {"zeros", filled_with_zeros},
        {"less than a marker of fill", filled_with_one_byte},
        {"td-shim's header", header_of_td_shim},
        {"events that extend nothing", no_action_event},
        {"server", server_platform},
        {"vendor info", vendor_info},
    };
    eei_buf area = EEI_BUF_INIT(AREA_MAX);
    eei_ccel_replayed plain, log;
    (void)state;
    make_area(&area);
    MUST(eei_ccel_replay(eei_buf_span(&area), &plain, err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ee_error why = {0};
        make_area(&area);
        cases[i].change(&area);
        if (eei_ccel_replay(eei_buf_span(&area), &log, &why)) fail_msg("%s: %s", cases[i].name, why.message);
        assert_memory_equal(log.rtmr, plain.rtmr, sizeof plain.rtmr);
    }
    eei_buf_clear(&area);
}

/* ---- what is refused, and how it is called --------------------------------------------------------------------------- */

static void nothing_at_all(eei_buf *area) { area->len = 0; }
static void header_index_2(eei_buf *area) { put_u32(area, 0, 2); }
static void header_type(eei_buf *area) { put_u32(area, 4, 4); }
static void header_digest(eei_buf *area) { area->data[8 + 19] = 1; }
static void header_signature(eei_buf *area) { area->data[32 + 14] = '2'; }
static void header_short(eei_buf *area) { put_u32(area, 28, 32); }
static void header_past_the_area(eei_buf *area) { put_u32(area, 28, (uint32_t)area->len); }
static void header_version(eei_buf *area) { area->data[32 + 21] = 1; }
static void header_platform(eei_buf *area) { area->data[32 + 16] = 2; }
static void header_uintn(eei_buf *area) { area->data[32 + 23] = 3; }
static void header_two_algorithms(eei_buf *area) { put_u32(area, 32 + 24, 2); }
static void header_no_algorithm(eei_buf *area) { put_u32(area, 32 + 24, 0); }
static void header_sha256(eei_buf *area) { area->data[32 + 28] = 0x0b; }
static void header_digest_bytes(eei_buf *area) { area->data[32 + 30] = 32; }
static void header_vendor_bytes(eei_buf *area) { area->data[32 + 32] = 1; }
static void event_mrtd(eei_buf *area) { put_u32(area, event_at(1), 0); }
static void event_index_5(eei_buf *area) { put_u32(area, event_at(1), 5); }
static void event_index_end(eei_buf *area) { put_u32(area, event_at(1), UINT32_MAX); }
static void event_no_digest(eei_buf *area) { put_u32(area, event_at(1) + 8, 0); }
static void event_two_digests(eei_buf *area) { put_u32(area, event_at(1) + 8, 2); }
static void event_many_digests(eei_buf *area) { put_u32(area, event_at(1) + 8, UINT32_MAX); }
static void event_sha256(eei_buf *area) { area->data[event_at(1) + 12] = 0x0b; }
static void event_past_the_area(eei_buf *area) { put_u32(area, event_at(3) + EVENT_HEAD_BYTES - 4, 5); }
static void event_huge(eei_buf *area) { put_u32(area, event_at(1) + EVENT_HEAD_BYTES - 4, UINT32_MAX); }
static void no_action_with_a_digest(eei_buf *area) { put_u32(area, event_at(1) + 4, EEI_EV_NO_ACTION); }
static void rubbish_behind_ones(eei_buf *area) {
    put_fill(area, 0xff, 100);
    put_fill(area, 1, 1);
    put_fill(area, 0xff, 100);
}
static void rubbish_behind_zeros(eei_buf *area) {
    put_fill(area, 0, 100);
    put_fill(area, 1, 1);
}
static void rubbish_of_three_bytes(eei_buf *area) { put_fill(area, 1, 3); }
static void two_kinds_of_fill(eei_buf *area) {
    put_fill(area, 0xff, 4);
    put_fill(area, 0, 100);
}
static void cut_in_the_last_event(eei_buf *area) { area->len -= 1; }

/* Every name once: a reader of the message knows which rule it was. */
static void test_refusals_have_a_reason(void **state) {
    static const struct {
        const char *name;
        change change;
        ee_status status;
        const char *says;
    } cases[] = {
        {"nothing", nothing_at_all, EE_E_MALFORMED, "boot log's header: needs 4 bytes"},
        {"header of register 2", header_index_2, EE_E_MALFORMED, "register index 2 and type 3"},
        {"header of another type", header_type, EE_E_MALFORMED, "type 4; a header has"},
        {"header with a digest", header_digest, EE_E_MALFORMED, "a header has index 0 or 1, type 3 and no digest"},
        {"another signature", header_signature, EE_E_VERSION, "does not begin with Spec ID Event03"},
        {"header too short", header_short, EE_E_MALFORMED, "32 bytes, at least 33"},
        {"header past the area", header_past_the_area, EE_E_MALFORMED, "boot log's header: needs"},
        {"version 1", header_version, EE_E_VERSION, "version 1.0"},
        {"platform class", header_platform, EE_E_VERSION, "platform class 2"},
        {"UINTN size", header_uintn, EE_E_VERSION, "UINTN size 3"},
        {"two algorithms", header_two_algorithms, EE_E_VERSION, "2 digest algorithms are announced"},
        {"no algorithm", header_no_algorithm, EE_E_VERSION, "0 digest algorithms are announced"},
        {"SHA-256 announced", header_sha256, EE_E_VERSION, "algorithm 0x000b of 48 bytes"},
        {"digests of 32 bytes", header_digest_bytes, EE_E_VERSION, "algorithm 0x000c of 32 bytes"},
        {"vendor info past the header", header_vendor_bytes, EE_E_MALFORMED, "Spec ID event"},
        {"MRTD", event_mrtd, EE_E_MALFORMED, "event 2 is for MRTD (index 0)"},
        {"index 5", event_index_5, EE_E_MALFORMED, "event 2 is for register index 5"},
        {"end in the middle", event_index_end, EE_E_MALFORMED, "behind event 1, are neither an event nor fill"},
        {"no digest", event_no_digest, EE_E_MALFORMED, "event 2 has 0 digests"},
        {"two digests", event_two_digests, EE_E_MALFORMED, "event 2 has 2 digests"},
        {"4 billion digests", event_many_digests, EE_E_MALFORMED, "event 2 has 4294967295 digests"},
        {"SHA-256 digest", event_sha256, EE_E_MALFORMED, "event 2 has a digest of algorithm 0x000b"},
        {"data past the area", event_past_the_area, EE_E_MALFORMED, "needs 5 bytes at offset"},
        {"4 GiB of data", event_huge, EE_E_MALFORMED, "needs 4294967295 bytes at offset"},
        {"EV_NO_ACTION with a digest", no_action_with_a_digest, EE_E_MALFORMED, "event 2 extends nothing (EV_NO_ACTION)"},
        {"rubbish behind ones", rubbish_behind_ones, EE_E_MALFORMED, "the 201 bytes from"},
        {"rubbish behind zeros", rubbish_behind_zeros, EE_E_MALFORMED, "event 5 has 0 digests"},
        {"three bytes", rubbish_of_three_bytes, EE_E_MALFORMED, "the 3 bytes from"},
        {"ones, then zeros", two_kinds_of_fill, EE_E_MALFORMED, "the 104 bytes from"},
        {"cut", cut_in_the_last_event, EE_E_MALFORMED, "needs 4 bytes at offset"},
    };
    eei_buf area = EEI_BUF_INIT(AREA_MAX);
    eei_ccel_replayed log;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ee_error why = {0};
        make_area(&area);
        cases[i].change(&area);
        ee_status st = eei_ccel_replay(eei_buf_span(&area), &log, &why);
        if (st != cases[i].status || !strstr(why.message, cases[i].says))
            fail_msg("%s: status %d, \"%s\"; wanted %d and \"%s\"", cases[i].name, (int)st, why.message, (int)cases[i].status,
                     cases[i].says);
        assert_int_equal(log.count, 0); /* nothing of a refused log comes out */
    }
    eei_buf_clear(&area);
}

static void test_limits(void **state) {
    eei_buf area = EEI_BUF_INIT(EEI_CCEL_BYTES_MAX + 1);
    eei_ccel_replayed log;
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        eei_writer w = eei_writer_init(&area);
        eei_buf_reset(&area);
        simtdx_ccel_header(&w);
        for (size_t i = 0; i < EEI_CCEL_EVENTS_MAX + more; i++) put_event(&w, 1, 4, "");
        assert_int_equal(w.status, EE_OK);
        assert_int_equal(eei_ccel_replay(eei_buf_span(&area), &log, NULL), more ? EE_E_LIMIT : EE_OK);
    }
    make_area(&area);
    put_fill(&area, 0xff, EEI_CCEL_BYTES_MAX - area.len);
    MUST(eei_ccel_replay(eei_buf_span(&area), &log, err));
    put_fill(&area, 0xff, 1);
    assert_int_equal(eei_ccel_replay(eei_buf_span(&area), &log, NULL), EE_E_LIMIT);
    eei_buf_clear(&area);
}

/* ---- mutations (threat Q13) ------------------------------------------------------------------------------------------ */

/* Where a log is cut, it is refused or gives other registers. `used` is without the fill. */
static void every_cut(const char *name, ee_span used, const eei_ccel_replayed *whole, size_t step) {
    for (size_t len = 0; len < used.len; len += step) {
        uint8_t *exact = malloc(len + 1); /* so that a sanitizer sees one byte too far */
        eei_ccel_replayed log;
        assert_non_null(exact);
        memcpy(exact, used.data, len);
        if (!eei_ccel_replay(eei_span(exact, len), &log, NULL) && !memcmp(log.rtmr, whole->rtmr, sizeof log.rtmr))
            fail_msg("%s: cut to %zu of %zu bytes it replays to the same registers", name, len, used.len);
        free(exact);
    }
}

static bool is_of_its_data(const eei_ccel_event *e) {
    uint8_t digest[48];
    eei_sha384(e->data, digest);
    return !memcmp(digest, e->digest, 48);
}

/* Both replay to the same registers. Then nothing that a digest vouches for differs: no register, no digest, no data that had been
 * measured. The bits that remain are the writer's words, which nobody may rely on: types, data that was not measured, and the header's. */
static void must_be_words(const char *name, size_t bit, ee_span before, ee_span after) {
    eei_ccel a, b;
    eei_ccel_event x, y;
    ee_status one = eei_ccel_open(before, &a, NULL), other = eei_ccel_open(after, &b, NULL);
    size_t differ = 0;
    assert_int_equal(one, other);
    for (one = eei_ccel_next(&a, &x, NULL), other = eei_ccel_next(&b, &y, NULL); !one && !other;
         one = eei_ccel_next(&a, &x, NULL), other = eei_ccel_next(&b, &y, NULL)) {
        if (x.rtmr != y.rtmr || memcmp(x.digest, y.digest, 48)) fail_msg("%s: bit %zu changes register or digest", name, bit);
        if (!eei_span_equal(x.data, y.data) && is_of_its_data(&y))
            fail_msg("%s: bit %zu changes data that is shown as measured", name, bit);
        differ += x.type != y.type || !eei_span_equal(x.data, y.data);
    }
    assert_int_equal(one, EE_E_END);
    assert_int_equal(other, EE_E_END);
    size_t at = bit / 8;
    bool header = at == 0 || at == 32 + 16 || at == 32 + 22; /* register index, platform class, errata */
    if (differ + header != 1) fail_msg("%s: bit %zu (byte %zu) changes nothing that is seen", name, bit, at);
}

static void every_bit(const char *name, ee_span area, const eei_ccel_replayed *whole, size_t step) {
    uint8_t *copy = malloc(area.len);
    size_t refused = 0, other = 0, words = 0;
    assert_non_null(copy);
    memcpy(copy, area.data, area.len);
    for (size_t bit = 0; bit < 8 * area.len; bit += step) {
        eei_ccel_replayed log;
        copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (eei_ccel_replay(eei_span(copy, area.len), &log, NULL)) {
            refused++;
        } else if (memcmp(log.rtmr, whole->rtmr, sizeof log.rtmr)) {
            other++;
        } else {
            must_be_words(name, bit, area, eei_span(copy, area.len));
            words++;
        }
        copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    print_message("%s: of %zu flipped bits %zu refused, %zu give other registers, %zu are words that no digest covers\n", name,
                  refused + other + words, refused, other, words);
    assert_true(refused && other && words);
    free(copy);
}

static void test_Q13_every_cut_and_bit(void **state) {
    eei_buf area = EEI_BUF_INIT(AREA_MAX);
    eei_ccel_replayed whole;
    (void)state;
    MUST(simtdx_boot_log(&area, err));
    MUST(eei_ccel_replay(eei_buf_span(&area), &whole, err));
    every_cut("simulated", eei_span(area.data, whole.bytes_used), &whole, 1);
    every_bit("simulated", eei_buf_span(&area), &whole, 1);
    make_area(&area);
    no_action_event(&area);
    MUST(eei_ccel_replay(eei_buf_span(&area), &whole, err));
    every_cut("all four registers", eei_span(area.data, event_at(4)), &whole, 1);
    eei_buf_clear(&area);
}

/* Reordered, doubled or left out: other registers, unless the two were the same. */
static void test_Q13_order_counts(void **state) {
    static const char *const orders[] = {"abc", "acb", "bac", "ab", "abcc", "aabc", ""};
    eei_ccel_replayed first, log;
    eei_buf area = EEI_BUF_INIT(AREA_MAX);
    (void)state;
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        eei_writer w = eei_writer_init(&area);
        eei_buf_reset(&area);
        simtdx_ccel_header(&w);
        for (const char *c = orders[i]; *c; c++) put_event(&w, 1, 4, *c == 'a' ? "a" : *c == 'b' ? "b" : "c");
        MUST(eei_ccel_replay(eei_buf_span(&area), i ? &log : &first, err));
        if (i && !memcmp(log.rtmr[0], first.rtmr[0], 48)) fail_msg("\"%s\" replays as \"abc\" does", orders[i]);
    }
    eei_buf_clear(&area);
}

/* ---- ACPI table ------------------------------------------------------------------------------------------------------ */

static void sum_again(uint8_t table[56]) {
    uint8_t sum = 0;
    table[9] = 0;
    for (size_t i = 0; i < 56; i++) sum = (uint8_t)(sum + table[i]);
    table[9] = (uint8_t)(0 - sum);
}

static void test_table(void **state) {
    static const struct {
        const char *name;
        size_t at;
        uint8_t value;
        ee_status status;
        const char *says;
    } cases[] = {
        {"as it is", 0, 'C', EE_OK, ""},
        {"signature", 3, 'l', EE_E_MALFORMED, "signature is not CCEL"},
        {"length", 4, 57, EE_E_MALFORMED, "length says 57"},
        {"SEV", 36, 1, EE_E_MALFORMED, "type 1.0, TDX is 2.0"},
        {"subtype", 37, 1, EE_E_MALFORMED, "type 2.1"},
        {"no area", 41, 0, EE_E_LIMIT, "log area of 0 bytes"},
        {"4 GiB", 44, 1, EE_E_LIMIT, "log area of 4294971392 bytes"},
    };
    uint8_t table[57];
    eei_ccel_table out;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ee_error why = {0};
        simtdx_ccel_table(4096, table);
        table[cases[i].at] = cases[i].value;
        sum_again(table);
        ee_status st = eei_ccel_table_parse(eei_span(table, 56), &out, &why);
        if (st != cases[i].status || !strstr(why.message, cases[i].says)) fail_msg("%s: %d, %s", cases[i].name, (int)st, why.message);
        assert_int_equal(out.area_bytes, st ? 0 : 4096);
    }
    simtdx_ccel_table(4096, table);
    for (size_t bit = 0; bit < 8 * 56; bit++) {
        table[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_not_equal(eei_ccel_table_parse(eei_span(table, 56), &out, NULL), EE_OK);
        table[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t len = 0; len <= 57; len++)
        assert_int_equal(eei_ccel_table_parse(eei_span(table, len), &out, NULL), len == 56 ? EE_OK : EE_E_MALFORMED);
}

static void test_type_names(void **state) {
    (void)state;
    assert_string_equal(eei_ccel_type_name(4), "EV_SEPARATOR");
    assert_string_equal(eei_ccel_type_name(0x80000001), "EV_EFI_VARIABLE_DRIVER_CONFIG");
    assert_null(eei_ccel_type_name(0x99));
    assert_null(eei_ccel_type_name(UINT64_C(0x100000004)));
}

/* ---- a real log (EE_TESTDATA) ---------------------------------------------------------------------------------------- */

static bool read_case(const char *name, eei_buf *out) {
    char path[1024];
    const char *base = getenv("EE_TESTDATA");
    snprintf(path, sizeof path, "%s/tdx/v4-cos113-parse-only/%s", base ? base : "", name);
    return base && eei_file_read(path, out, NULL) == EE_OK;
}

static void must_say(const json_t *expected, const eei_ccel_replayed *log, const eei_quote *quote) {
    for (unsigned i = 0; i < 4; i++) {
        char name[8], hex[97];
        snprintf(name, sizeof name, "rtmr%u", i);
        eei_hex_encode(eei_span(log->rtmr[i], 48), hex);
        assert_string_equal(hex, json_string_value(json_object_get(json_object_get(expected, "rtmr"), name)));
        assert_memory_equal(log->rtmr[i], quote->rtmr[i], 48);
        assert_int_equal(log->events[i], json_integer_value(json_object_get(json_object_get(expected, "per_register_event_count"), name)));
    }
    assert_int_equal(log->count, json_integer_value(json_object_get(expected, "events")));
}

/* Container-Optimized OS 113 on a TDX machine: the log's registers are its quote's. */
static void test_real_log_gives_its_quotes_registers(void **state) {
    eei_buf table = EEI_BUF_INIT(4096), area = EEI_BUF_INIT(AREA_MAX), quote = EEI_BUF_INIT(65536), expected = EEI_BUF_INIT(65536);
    eei_ccel_table parsed;
    eei_ccel_replayed log;
    eei_quote q;
    (void)state;
    if (!read_case("ccel_table.dat", &table)) {
        print_message("SKIP: the boot log of a real machine: EE_TESTDATA has no tdx/v4-cos113-parse-only\n");
        skip();
    }
    assert_true(read_case("ccel_data.dat", &area) && read_case("quote.bin", &quote) && read_case("ccel_expected.json", &expected));
    MUST(eei_ccel_table_parse(eei_buf_span(&table), &parsed, err));
    assert_int_equal(parsed.area_bytes, area.len);
    MUST(eei_ccel_replay(eei_buf_span(&area), &log, err));
    MUST(eei_quote_parse(eei_buf_span(&quote), &q, err));
    json_t *json = json_loads(eei_buf_cstr(&expected), 0, NULL);
    assert_non_null(json);
    must_say(json, &log, &q);
    json_decref(json);
    ee_span used = eei_span(area.data, log.bytes_used);
    every_cut("real", used, &log, 1);
    every_bit("real", used, &log, 5);
    eei_buf_clear(&table);
    eei_buf_clear(&area);
    eei_buf_clear(&quote);
    eei_buf_clear(&expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay_of_the_simulated_log),
        cmocka_unit_test(test_one_event_by_hand),
        cmocka_unit_test(test_forms_that_are_read),
        cmocka_unit_test(test_refusals_have_a_reason),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_Q13_every_cut_and_bit),
        cmocka_unit_test(test_Q13_order_counts),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_type_names),
        cmocka_unit_test(test_real_log_gives_its_quotes_registers),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
