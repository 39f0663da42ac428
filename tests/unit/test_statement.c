/* test_statement.c - the statement's layout, hashes and nonces against vectors made independently (tests/vectors/attest/statement.json). */
#include "attest/statement.h"
#include "attest_world.h"
#include "base/file.h"

static json_t *load(const char *name) {
    char path[512];
    eei_buf text = EEI_BUF_INIT(1 << 20);
    snprintf(path, sizeof path, "%s/attest/%s", EE_VECTORS, name);
    MUST(eei_file_read(path, &text, err));
    json_t *json = json_loads(eei_buf_cstr(&text), 0, NULL);
    assert_non_null(json);
    eei_buf_clear(&text);
    return json;
}

static void get_hex(const json_t *object, const char *field, void *out, size_t len) {
    MUST(eei_hex_decode(json_string_value(json_object_get(object, field)), out, len, err));
}

static uint64_t get_number(const json_t *object, const char *field) { return (uint64_t)json_integer_value(json_object_get(object, field)); }

static void fill(const json_t *f, eei_statement *s) {
    memset(s, 0, sizeof *s);
    s->purpose = (uint8_t)get_number(f, "purpose");
    s->role = (uint8_t)get_number(f, "role");
    s->wire_version = (uint16_t)get_number(f, "wire_version");
    s->flags = (uint32_t)get_number(f, "flags");
    get_hex(f, "nonce", s->nonce, 32);
    get_hex(f, "binder", s->binder, 32);
    get_hex(f, "instance_pub", s->instance_pub, 32);
    get_hex(f, "spki_sha256", s->spki_sha256, 32);
    get_hex(f, "hpke_pub", s->hpke_pub, 32);
    get_hex(f, "node_id", s->node_id, 32);
    get_hex(f, "policy_hash", s->policy_hash, 32);
    get_hex(f, "log_root", s->log_root, 32);
    s->log_size = get_number(f, "log_size");
    s->sequence = get_number(f, "sequence");
    get_hex(f, "receipts_root", s->receipts_root, 32);
    s->receipts = get_number(f, "receipts");
    s->uptime_ms = get_number(f, "uptime_ms");
    get_hex(f, "transcript", s->transcript, 32);
}

static void test_vectors(void **state) {
    json_t *json = load("statement.json"), *item;
    size_t i;
    (void)state;
    json_array_foreach(json_object_get(json, "statements"), i, item) {
        eei_statement s, decoded;
        uint8_t bytes[EEI_STATEMENT_BYTES], want[EEI_STATEMENT_BYTES], data[64], want_data[64];
        fill(json_object_get(item, "fields"), &s);
        get_hex(item, "bytes", want, sizeof want);
        get_hex(item, "report_data", want_data, sizeof want_data);
        eei_statement_encode(&s, bytes);
        assert_memory_equal(bytes, want, sizeof want);
        eei_report_data(bytes, data);
        assert_memory_equal(data, want_data, sizeof data);
        MUST(eei_statement_decode(eei_span(bytes, sizeof bytes), &decoded, err));
        assert_memory_equal(&decoded, &s, sizeof s);
    }
    assert_true(i > 0);
    json_decref(json);
}

static void test_derived_ids(void **state) {
    json_t *json = load("statement.json");
    const json_t *n = json_object_get(json, "nonce"), *i = json_object_get(json, "instance");
    uint8_t root[32], r[32], session[16], want[32], got[32];
    (void)state;
    get_hex(n, "log_root", root, 32);
    get_hex(n, "r", r, 32);
    get_hex(n, "session_id", session, 16);
    get_hex(n, "nonce", want, 32);
    eei_nonce_derive(root, get_number(n, "log_size"), r, session, got);
    assert_memory_equal(got, want, 32);
    get_hex(i, "instance_pub", root, 32);
    get_hex(i, "instance_id", want, 32);
    eei_instance_id(root, got);
    assert_memory_equal(got, want, 32);
    json_decref(json);
}

static void test_event_vectors(void **state) {
    json_t *json = load("events.json"), *item;
    uint8_t rtmr[48] = {0}, digest[48], want[48], payload[256];
    size_t i;
    (void)state;
    json_array_foreach(json_object_get(json, "events"), i, item) {
        size_t len = strlen(json_string_value(json_object_get(item, "payload"))) / 2;
        get_hex(item, "payload", payload, len);
        eei_event_digest((uint16_t)get_number(item, "type"), eei_span(payload, len), digest);
        get_hex(item, "digest", want, 48);
        assert_memory_equal(digest, want, 48);
        eei_rtmr_extend(rtmr, digest);
        get_hex(item, "rtmr_after", want, 48);
        assert_memory_equal(rtmr, want, 48);
    }
    assert_true(i > 0);
    json_decref(json);
}

static void good(uint8_t bytes[EEI_STATEMENT_BYTES]) {
    const eei_statement s = {.purpose = EEI_PURPOSE_PERIODIC, .role = EEI_ROLE_AGENT, .wire_version = 1};
    eei_statement_encode(&s, bytes);
}

static void test_refusals(void **state) {
    static const struct {
        const char *name;
        size_t at;
        uint8_t value;
        bool ok;
    } plans[] = {{"as it is", 367, 1, true},   {"magic", 0, 'F', false},   {"magic's NUL", 7, 1, false}, {"purpose 0", 8, 0, false},
                 {"purpose 7", 8, 7, true},    {"purpose 8", 8, 8, false}, {"purpose 15", 8, 15, false}, {"purpose 16", 8, 16, true},
                 {"purpose 17", 8, 17, false}, {"role 0", 9, 0, false},    {"role 5", 9, 5, true},       {"role 6", 9, 6, false},
                 {"flag 0", 15, 1, true},      {"flag 1", 15, 2, true},    {"flag 2", 15, 4, false},     {"flag 31", 12, 0x80, false}};
    eei_statement s;
    uint8_t bytes[EEI_STATEMENT_BYTES + 1];
    (void)state;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        good(bytes);
        bytes[plans[i].at] = plans[i].value;
        ee_status st = eei_statement_decode(eei_span(bytes, EEI_STATEMENT_BYTES), &s, NULL);
        if ((st == EE_OK) != plans[i].ok) fail_msg("%s: status %d", plans[i].name, (int)st);
        if (st) assert_int_equal(s.purpose, 0); /* nothing half-read stays */
    }
    good(bytes);
    assert_int_equal(eei_statement_decode(eei_span(bytes, EEI_STATEMENT_BYTES - 1), &s, NULL), EE_E_MALFORMED);
    assert_int_equal(eei_statement_decode(eei_span(bytes, EEI_STATEMENT_BYTES + 1), &s, NULL), EE_E_MALFORMED);
    assert_int_equal(eei_statement_decode((ee_span){NULL, 0}, &s, NULL), EE_E_MALFORMED);
}

/* Every byte of the encoding is some field's: changing it changes what is decoded, or is refused. */
static void test_every_byte_means_something(void **state) {
    uint8_t bytes[EEI_STATEMENT_BYTES];
    eei_statement before, after;
    (void)state;
    good(bytes);
    MUST(eei_statement_decode(eei_span(bytes, sizeof bytes), &before, err));
    for (size_t at = 0; at < sizeof bytes; at++) {
        bytes[at] ^= 1;
        if (eei_statement_decode(eei_span(bytes, sizeof bytes), &after, NULL) == EE_OK && !memcmp(&before, &after, sizeof before))
            fail_msg("byte %zu means nothing", at);
        bytes[at] ^= 1;
    }
}

static void test_hashes(void **state) {
    static const char abc256[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    static const char abc384[] = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7";
    static const char abc512[] =
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    uint8_t out[64];
    char hex[129];
    (void)state;
    eei_sha256(eei_span_text("abc"), out);
    eei_hex_encode(eei_span(out, 32), hex);
    assert_string_equal(hex, abc256);
    eei_sha384(eei_span_text("abc"), out);
    eei_hex_encode(eei_span(out, 48), hex);
    assert_string_equal(hex, abc384);
    eei_sha512(eei_span_text("abc"), out);
    eei_hex_encode(eei_span(out, 64), hex);
    assert_string_equal(hex, abc512);
    eei_sha256((ee_span){NULL, 0}, out);
    assert_int_equal(out[0], 0xe3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_derived_ids),
        cmocka_unit_test(test_event_vectors),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_every_byte_means_something),
        cmocka_unit_test(test_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
