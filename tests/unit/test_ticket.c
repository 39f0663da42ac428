/* test_ticket.c - boot tickets: what each of their fields is checked against, in which order, and that nothing else is one. That a ticket
 * is used once is test_tickets_table.c's matter. Threat S3. */
#include "attest/statement.h"
#include "attest/ticket.h"
#include "attest_world.h"
#include "base/limits.h"

static const uint64_t now = UINT64_C(1769864651000);

typedef struct fixture {
    eei_key *provider, *other;
    uint8_t network[32], node[32], machine[16];
    ee_span releases[2];
    eei_ticket ticket;
    eei_ticket_expect expect;
} fixture;

static int setup(void **state) {
    static const uint8_t seeds[2][32] = {{1}, {2}};
    fixture *f = calloc(1, sizeof *f);
    MUST(eei_key_from_seed(seeds[0], &f->provider, err));
    MUST(eei_key_from_seed(seeds[1], &f->other, err));
    memset(f->network, 3, 32);
    memset(f->machine, 4, 16);
    eei_node_id(f->network, eei_key_public(f->provider), "node-a", f->node);
    f->releases[0] = eei_span_text("agent 1.0");
    f->releases[1] = eei_span_text("agent 1.1");
    f->ticket = (eei_ticket){.role = EEI_ROLE_AGENT, .releases = {f->releases, 2}, .not_after_ms = now + EEI_TICKET_LIFE_MAX_MS};
    memcpy(f->ticket.network_id, f->network, 32);
    memcpy(f->ticket.node_id, f->node, 32);
    memcpy(f->ticket.machine_id, f->machine, 16);
    memset(f->ticket.serial, 5, 16);
    f->expect = (eei_ticket_expect){.network_id = f->network,
                                    .node_id = f->node,
                                    .provider_pub = eei_key_public(f->provider),
                                    .machine_id = f->machine,
                                    .role = EEI_ROLE_AGENT,
                                    .release = f->releases[1],
                                    .now_ms = now};
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    eei_key_free(f->provider);
    eei_key_free(f->other);
    free(f);
    return 0;
}

static void make(const fixture *f, const eei_key *key, eei_buf *out) {
    eei_buf_reset(out);
    MUST(eei_ticket_make(key, &f->ticket, out, err));
}

/* why NULL: it is taken. */
static void judged(const fixture *f, ee_span ticket, ee_status want, const char *why) {
    uint8_t serial[16] = {0};
    ee_error err = {0};
    ee_status st = eei_ticket_check(ticket, &f->expect, serial, &err);
    if (st != want || (why && !strstr(err.message, why)))
        fail_msg("%s: %s; expected %s: %s", ee_status_word(st), err.message, ee_status_word(want), why ? why : "");
    for (size_t i = 0; i < sizeof serial; i++) assert_int_equal(serial[i], st ? 0 : 5);
}

static void test_a_ticket_for_this_boot_is_good(void **state) {
    fixture *f = *state;
    eei_buf bytes = EEI_BUF_INIT(EEI_TICKET_BYTES_MAX);
    eei_arena arena = EEI_ARENA_INIT(EEI_TICKET_BYTES_MAX);
    eei_ticket told;
    make(f, f->provider, &bytes);
    judged(f, eei_buf_span(&bytes), EE_OK, NULL);
    MUST(eei_ticket_read(eei_buf_span(&bytes), &arena, &told, err));
    assert_memory_equal(told.node_id, f->node, 32);
    assert_int_equal(told.releases.count, 2);
    f->ticket.role = f->expect.role = EEI_ROLE_UPTIME;
    make(f, f->provider, &bytes);
    judged(f, eei_buf_span(&bytes), EE_OK, NULL);
    eei_arena_clear(&arena);
    eei_buf_clear(&bytes);
}

static void test_S3_a_ticket_for_anything_else_is_refused(void **state) {
    fixture *f = *state;
    uint8_t elsewhere[32];
    eei_buf bytes = EEI_BUF_INIT(EEI_TICKET_BYTES_MAX);
    const eei_ticket_expect good = f->expect;
    make(f, f->provider, &bytes);
    ee_span ticket = eei_buf_span(&bytes);
    memset(elsewhere, 9, sizeof elsewhere);
    f->expect.network_id = elsewhere, judged(f, ticket, EE_E_ATTESTATION, "of another network"), f->expect = good;
    f->expect.node_id = elsewhere, judged(f, ticket, EE_E_ATTESTATION, "for another node"), f->expect = good;
    f->expect.role = EEI_ROLE_UPTIME, judged(f, ticket, EE_E_ATTESTATION, "another kind of peer"), f->expect = good;
    f->expect.machine_id = elsewhere, judged(f, ticket, EE_E_ATTESTATION, "another machine"), f->expect = good;
    f->expect.release = eei_span_text("agent 0.9"), judged(f, ticket, EE_E_ATTESTATION, "release \"agent 0.9\""), f->expect = good;
    f->expect.release = eei_span_text("agent 1"), judged(f, ticket, EE_E_ATTESTATION, "release \"agent 1\""), f->expect = good;
    f->expect.release = (ee_span){0}, judged(f, ticket, EE_E_ATTESTATION, "release \"\""), f->expect = good;
    f->expect.provider_pub = eei_key_public(f->other), judged(f, ticket, EE_E_ATTESTATION, "boot ticket: "), f->expect = good;
    judged(f, (ee_span){0}, EE_E_ATTESTATION, "there is no boot ticket");
    make(f, f->other, &bytes);
    judged(f, eei_buf_span(&bytes), EE_E_ATTESTATION, "boot ticket: ");
    eei_buf_clear(&bytes);
}

static void test_S3_a_ticket_has_its_time(void **state) {
    fixture *f = *state;
    eei_buf bytes = EEI_BUF_INIT(EEI_TICKET_BYTES_MAX);
    const struct {
        uint64_t not_after_ms;
        bool used_by_it;
        ee_status want;
    } cases[] = {
        {now, false, EE_OK},
        {now - 1, false, EE_E_EXPIRED},
        {0, false, EE_E_EXPIRED},
        {now + EEI_TICKET_LIFE_MAX_MS + EEI_REQUEST_SKEW_MS, false, EE_OK},
        {now + EEI_TICKET_LIFE_MAX_MS + EEI_REQUEST_SKEW_MS + 1, false, EE_E_ATTESTATION},
        {UINT64_MAX, false, EE_E_ATTESTATION},
        {now - 86400000, true, EE_OK}, /* a tunnel may break at any time */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f->ticket.not_after_ms = cases[i].not_after_ms;
        f->expect.used_by_it = cases[i].used_by_it;
        make(f, f->provider, &bytes);
        judged(f, eei_buf_span(&bytes), cases[i].want, NULL);
    }
    eei_buf_clear(&bytes);
}

static void test_S11_no_other_envelope_is_a_ticket(void **state) {
    fixture *f = *state;
    eei_envelope envelope;
    uint8_t serial[16];
    eei_buf bytes = EEI_BUF_INIT(EEI_TICKET_BYTES_MAX), other = EEI_BUF_INIT(EEI_TICKET_BYTES_MAX);
    make(f, f->provider, &bytes);
    assert_true(eei_ticket_serial(eei_buf_span(&bytes), serial));
    MUST(eei_envelope_parse(eei_buf_span(&bytes), &envelope, err));
    MUST(eei_envelope_seal(f->provider, EEI_SIGNED_SPEND_AUTH, envelope.body, &other, err));
    judged(f, eei_buf_span(&other), EE_E_ATTESTATION, "boot ticket: ");
    assert_false(eei_ticket_serial(eei_buf_span(&other), serial));
    for (size_t i = 0; i < bytes.len; i++) {
        bytes.data[i] ^= 0x20;
        judged(f, eei_buf_span(&bytes), EE_E_ATTESTATION, "boot ticket: ");
        bytes.data[i] ^= 0x20;
        judged(f, eei_span(bytes.data, i), EE_E_ATTESTATION, "boot ticket");
    }
    static const uint8_t large[EEI_TICKET_BYTES_MAX + 1] = {0};
    judged(f, eei_span(large, sizeof large), EE_E_ATTESTATION, "2049 bytes");
    assert_false(eei_ticket_serial(eei_span(large, sizeof large), serial));
    eei_buf_clear(&bytes);
    eei_buf_clear(&other);
}

static void test_what_no_control_plane_takes_is_not_made(void **state) {
    fixture *f = *state;
    eei_buf bytes = EEI_BUF_INIT(EEI_TICKET_BYTES_MAX);
    const eei_ticket good = f->ticket;
    f->ticket.role = EEI_ROLE_CONTROL;
    assert_int_equal(eei_ticket_make(f->provider, &f->ticket, &bytes, NULL), EE_E_INVALID);
    f->ticket = good;
    f->ticket.releases.count = 0;
    assert_int_equal(eei_ticket_make(f->provider, &f->ticket, &bytes, NULL), EE_E_INVALID);
    assert_int_equal(bytes.len, 0);
    eei_buf_clear(&bytes);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_ticket_for_this_boot_is_good),
        TEST(test_S3_a_ticket_for_anything_else_is_refused),
        TEST(test_S3_a_ticket_has_its_time),
        TEST(test_S11_no_other_envelope_is_a_ticket),
        TEST(test_what_no_control_plane_takes_is_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
