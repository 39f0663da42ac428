/* test_measured_config.c - every key of every program is either in the CONFIG event of RTMR3, or named here as neutral. A new key fails
 * until somebody has decided. Threat Q15. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "agent/agent_config.h"
#include "attest/evidence.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "controlplane/cp_config.h"
#include "uptime/uptime_config.h"

#include <stdlib.h>
#include <string.h>

/* ---- what was decided, a second time and by hand --------------------------------------------------------------------- */

typedef struct decision {
    const char *key;
    config_measure measure;
    const char *one, *other; /* two values it may have */
} decision;

static const decision of_agent[] = {
    /* Whoever answers at an address proves itself before the agent sends anything: another one is refused, or is the control plane. */
    {"control.ws", CONFIG_NEUTRAL, "https://a:1", "https://b:2"},
    {"network.id", CONFIG_MEASURED, "00", "01"},
    {"node.name", CONFIG_MEASURED, "node-a", "node-b"},
    /* It says whom this program may be: the node id, which every statement has. */
    {"node.ticket", CONFIG_NEUTRAL, "/a/ticket", "/b/ticket"},
    {"node.vcpus_milli", CONFIG_MEASURED, "1000", "2000"},
    {"node.memory_bytes", CONFIG_MEASURED, "1", "18446744073709551615"},
    {"policy", CONFIG_CONTENT, "/a/policy.toml", "/b/policy.toml"},
    /* Collateral is signed under the anchor and dated, whoever hands it out, and judged by the policy, which is measured. */
    {"pccs.url", CONFIG_NEUTRAL, "", "https://b:1"},
    {"pccs.ca", CONFIG_NEUTRAL, "", "/b/ca.pem"},
    /* A simulated machine's quotes hang under a simulated root, which the verdict says; a real one cannot be made by a file. */
    {"sealed", CONFIG_MEASURED, "false", "true"},
    {"tdx.machine", CONFIG_NEUTRAL, "/a/machine", "/b/machine"},
    {"runtime.dir", CONFIG_MEASURED, "/run/a", "/run/b"},
    {"runtime.images", CONFIG_MEASURED, "", "/disk/images"},
    {"runtime.program", CONFIG_MEASURED, "", "/tmp/runc"},
    {"runtime.shim", CONFIG_MEASURED, "/bin/ee-shim", "/tmp/ee-shim"},
    /* More or fewer lines; none of them ever holds a secret or a body (threat L2 has its own tests). */
    {"log.level", CONFIG_NEUTRAL, "info", "debug"},
};
static const decision of_control[] = {
    /* Where it listens: whoever connects checks the quote, at whatever address. */
    {"control.bind", CONFIG_NEUTRAL, "127.0.0.1", "0.0.0.0"},
    {"control.port", CONFIG_NEUTRAL, "1", "2"},
    /* Nobody is known by the name in the certificate: it is the quote, the network and the instance that are compared. */
    {"control.name", CONFIG_NEUTRAL, "localhost", "example.org"},
    /* The path of a file. What is in it is state: its rollback is threat K3, whatever it is called. */
    {"db.path", CONFIG_NEUTRAL, "/a/db", "/b/db"},
    {"genesis", CONFIG_CONTENT, "/a/genesis.toml", "/b/genesis.toml"},
    {"policy", CONFIG_CONTENT, "/a/policy.toml", "/b/policy.toml"},
    /* Collateral is signed under the anchor and dated; min_tcb_eval of the policy, which is measured, says how old is too old. */
    {"collateral", CONFIG_NEUTRAL, "/a/collateral", "/b/collateral"},
    /* Collateral is signed under the anchor and dated, whoever hands it out, and judged by the policy, which is measured. */
    {"pccs.url", CONFIG_NEUTRAL, "", "https://b:1"},
    {"pccs.ca", CONFIG_NEUTRAL, "", "/b/ca.pem"},
    {"pccs.cache", CONFIG_NEUTRAL, "", "/b/cache"},
    {"pccs.refresh_ms", CONFIG_NEUTRAL, "3600000", "86400000"},
    {"sealed", CONFIG_MEASURED, "false", "true"},
    {"tdx.machine", CONFIG_NEUTRAL, "", "/b/machine"},
    {"admin.token", CONFIG_PRESENCE, "", "secret"},
    {"health.interval_ms", CONFIG_MEASURED, "60000", "60001"},
    {"attest.interval_ms", CONFIG_MEASURED, "600000", "1500000"},
    {"log.level", CONFIG_NEUTRAL, "info", "debug"},
};
static const decision of_uptime[] = {
    {"control.ws", CONFIG_NEUTRAL, "https://a:1", "https://b:2"},
    {"network.id", CONFIG_MEASURED, "00", "01"},
    {"node.name", CONFIG_MEASURED, "uptime-1", "uptime-2"},
    /* It says whom this program may be: the node id, which every statement has. */
    {"node.ticket", CONFIG_NEUTRAL, "/a/ticket", "/b/ticket"},
    {"policy", CONFIG_CONTENT, "/a/policy.toml", "/b/policy.toml"},
    /* Collateral is signed under the anchor and dated, whoever hands it out, and judged by the policy, which is measured. */
    {"pccs.url", CONFIG_NEUTRAL, "", "https://b:1"},
    {"pccs.ca", CONFIG_NEUTRAL, "", "/b/ca.pem"},
    {"sealed", CONFIG_MEASURED, "false", "true"},
    {"tdx.machine", CONFIG_NEUTRAL, "/a/machine", "/b/machine"},
    {"health.interval_ms", CONFIG_MEASURED, "60000", "3600000"},
    {"log.level", CONFIG_NEUTRAL, "info", "debug"},
};

typedef struct program {
    const char *name;
    const config_key *keys;
    const size_t *key_count;
    size_t settings_bytes;
    const decision *decisions;
    size_t decision_count;
} program;
static const program programs[] = {
    {"ee-agent", agent_keys, &agent_key_count, sizeof(agent_settings), of_agent, sizeof of_agent / sizeof *of_agent},
    {"ee-controlplane", cp_keys, &cp_key_count, sizeof(cp_settings), of_control, sizeof of_control / sizeof *of_control},
    {"ee-uptime", uptime_keys, &uptime_key_count, sizeof(uptime_settings), of_uptime, sizeof of_uptime / sizeof *of_uptime},
};
enum { KEYS_MAX = 24, PROGRAMS = sizeof programs / sizeof *programs };

static const config_key *key_of(const program *p, const char *name) {
    for (size_t i = 0; i < *p->key_count; i++)
        if (!strcmp(p->keys[i].name, name)) return &p->keys[i];
    fail_msg("%s has no key %s any more: take it out of this test", p->name, name);
    return NULL;
}

/* ---- settings, event, register --------------------------------------------------------------------------------------- */

/* Settings with the first value of every key, and `other` for one of them, read as the program reads them. */
static void *settings_with(const program *p, const char *changed) {
    const char *argv[2 * KEYS_MAX + 1] = {p->name};
    static char flags[KEYS_MAX][64];
    int argc = 1;
    void *out = calloc(1, p->settings_bytes);
    ee_error err = {0};
    assert_non_null(out);
    assert_true(p->decision_count <= KEYS_MAX);
    for (size_t i = 0; i < p->decision_count; i++) {
        const decision *d = &p->decisions[i];
        const char *value = changed && !strcmp(changed, d->key) ? d->other : d->one;
        if (key_of(p, d->key)->kind == CONFIG_SECRET) { /* not taken from flags */
            assert_int_equal(setenv("EE_ADMIN_TOKEN", value, 1), 0);
            continue;
        }
        bool flag = key_of(p, d->key)->kind == CONFIG_BOOL; /* there or not */
        if (flag && !strcmp(value, "false")) continue;
        snprintf(flags[i], sizeof flags[i], "--%s", d->key);
        for (char *c = flags[i]; *c; c++)
            if (*c == '.' || *c == '_') *c = '-';
        argv[argc++] = flags[i];
        if (!flag) argv[argc++] = value;
    }
    if (config_load(p->keys, *p->key_count, NULL, argc, argv, out, &err)) fail_msg("%s: %s", p->name, err.message);
    unsetenv("EE_ADMIN_TOKEN");
    return out;
}

static void event_of(const program *p, const void *settings, const uint8_t policy[32], const uint8_t genesis[32], eei_buf *out) {
    const config_content contents[] = {{"policy", policy}, {"genesis", genesis}};
    ee_error err = {0};
    eei_buf_reset(out);
    if (config_event(p->keys, *p->key_count, settings, contents, 2, out, &err)) fail_msg("%s: %s", p->name, err.message);
}

/* RTMR3 as a boot of this program leaves it after its first two events. */
static void rtmr3_of(ee_span config, uint8_t out[48]) {
    uint8_t digest[48];
    memset(out, 0, 48);
    eei_event_digest(EEI_EVENT_RELEASE, eei_span_text("0.1.0"), digest);
    eei_rtmr_extend(out, digest);
    eei_event_digest(EEI_EVENT_CONFIG, config, digest);
    eei_rtmr_extend(out, digest);
}

static const uint8_t hash_one[32] = {1}, hash_other[32] = {2};

/* ---- Q15 ------------------------------------------------------------------------------------------------------------- */

static void test_Q15_every_key_is_decided(void **state) {
    (void)state;
    for (size_t i = 0; i < PROGRAMS; i++) {
        const program *p = &programs[i];
        for (size_t k = 0; k < *p->key_count; k++) {
            const decision *d = NULL;
            for (size_t n = 0; n < p->decision_count; n++)
                if (!strcmp(p->decisions[n].key, p->keys[k].name)) d = &p->decisions[n];
            if (!d)
                fail_msg("%s: key %s is new. Is it measured into RTMR3, or why may it not matter? Say so in its table and in this test",
                         p->name, p->keys[k].name);
            if (d->measure != p->keys[k].measure) fail_msg("%s: key %s was decided otherwise", p->name, d->key);
            bool reason = d->measure == CONFIG_NEUTRAL || d->measure == CONFIG_PRESENCE;
            if (reason != (p->keys[k].why && strlen(p->keys[k].why) > 10))
                fail_msg("%s: key %s has no reason, or needs none", p->name, d->key);
        }
        for (size_t n = 0; n < p->decision_count; n++) (void)key_of(p, p->decisions[n].key);
    }
}

static void test_Q15_changing_a_key_changes_rtmr3_or_nothing(void **state) {
    eei_buf before = EEI_BUF_INIT(EEI_EVENT_PAYLOAD_MAX), after = EEI_BUF_INIT(EEI_EVENT_PAYLOAD_MAX);
    uint8_t one[48], other[48];
    (void)state;
    for (size_t i = 0; i < PROGRAMS; i++) {
        const program *p = &programs[i];
        void *settings = settings_with(p, NULL);
        event_of(p, settings, hash_one, hash_one, &before);
        rtmr3_of(eei_buf_span(&before), one);
        for (size_t n = 0; n < p->decision_count; n++) {
            const decision *d = &p->decisions[n];
            void *changed = settings_with(p, d->key);
            if (!memcmp(settings, changed, p->settings_bytes)) fail_msg("%s: %s did not change", p->name, d->key);
            event_of(p, changed, hash_one, hash_one, &after);
            rtmr3_of(eei_buf_span(&after), other);
            bool differs = memcmp(one, other, 48) != 0, wanted = d->measure == CONFIG_MEASURED || d->measure == CONFIG_PRESENCE;
            if (differs != wanted) fail_msg("%s: %s %s RTMR3", p->name, d->key, differs ? "changes" : "does not change");
            free(changed);
        }
        free(settings);
    }
    eei_buf_clear(&before);
    eei_buf_clear(&after);
}

/* Of a file the content counts, wherever it lies. */
static void test_Q15_changing_a_files_content_changes_rtmr3(void **state) {
    eei_buf before = EEI_BUF_INIT(EEI_EVENT_PAYLOAD_MAX), after = EEI_BUF_INIT(EEI_EVENT_PAYLOAD_MAX);
    (void)state;
    for (size_t i = 0; i < PROGRAMS; i++) {
        const program *p = &programs[i];
        void *settings = settings_with(p, NULL);
        event_of(p, settings, hash_one, hash_one, &before);
        event_of(p, settings, hash_other, hash_one, &after);
        assert_false(eei_span_equal(eei_buf_span(&before), eei_buf_span(&after)));
        event_of(p, settings, hash_one, hash_other, &after);
        assert_int_equal(eei_span_equal(eei_buf_span(&before), eei_buf_span(&after)), p->keys != cp_keys); /* only it has a genesis file */
        free(settings);
    }
    eei_buf_clear(&before);
    eei_buf_clear(&after);
}

/* ---- the event itself ------------------------------------------------------------------------------------------------ */

typedef struct small {
    char name[64], token[16];
    uint64_t number;
    bool yes;
} small;
static const config_key small_keys[] = {
    {.name = "name", .kind = CONFIG_TEXT, CONFIG_FIELD(small, name), .measure = CONFIG_MEASURED},
    {.name = "number", .kind = CONFIG_NUMBER, CONFIG_FIELD(small, number), .measure = CONFIG_MEASURED},
    {.name = "yes", .kind = CONFIG_BOOL, CONFIG_FIELD(small, yes), .measure = CONFIG_MEASURED},
    {.name = "token", .kind = CONFIG_SECRET, CONFIG_FIELD(small, token), .measure = CONFIG_PRESENCE, .why = "a credential"},
    {.name = "file", .kind = CONFIG_TEXT, CONFIG_FIELD(small, name), .measure = CONFIG_CONTENT},
    {.name = "place", .kind = CONFIG_TEXT, CONFIG_FIELD(small, name), .measure = CONFIG_NEUTRAL, .why = "an address"},
};

static ee_status small_event(const small *s, eei_buf *out, ee_error *err) {
    const config_content contents[] = {{"file", hash_one}};
    eei_buf_reset(out);
    return config_event(small_keys, sizeof small_keys / sizeof *small_keys, s, contents, 1, out, err);
}

/* Frozen: verifiers read it. A value cannot pass for another key, and a secret is not in it. */
static void test_event_is_json_in_the_order_of_the_table(void **state) {
    static const char file[] = "\"file\":\"0100000000000000000000000000000000000000000000000000000000000000\"}";
    static const struct {
        small settings;
        const char *begins;
    } cases[] = {
        {{"a", "hush", 7, true}, "{\"name\":\"a\",\"number\":7,\"yes\":true,\"token\":true,"},
        {{"a\",\"number\":8", "", 7, false}, "{\"name\":\"a\\\",\\\"number\\\":8\",\"number\":7,\"yes\":false,\"token\":false,"},
        {{"a\nb", "", UINT64_C(1) << 53, false}, "{\"name\":\"a\\nb\",\"number\":9007199254740992,\"yes\":false,\"token\":false,"},
        {{"", "", UINT64_MAX, false}, "{\"name\":\"\",\"number\":\"18446744073709551615\",\"yes\":false,\"token\":false,"},
    };
    eei_buf event = EEI_BUF_INIT(EEI_EVENT_PAYLOAD_MAX);
    char want[512];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(small_event(&cases[i].settings, &event, NULL), EE_OK);
        snprintf(want, sizeof want, "%s%s", cases[i].begins, file);
        assert_string_equal(eei_buf_cstr(&event), want);
        assert_null(strstr(eei_buf_cstr(&event), "hush"));
    }
    eei_buf_clear(&event);
}

static void test_event_that_cannot_be_made(void **state) {
    eei_buf event = EEI_BUF_INIT(EEI_EVENT_PAYLOAD_MAX), narrow = EEI_BUF_INIT(40);
    ee_error err = {0};
    small s = {.name = "\xff"};
    (void)state;
    assert_int_equal(small_event(&s, &event, &err), EE_E_CONFIG);
    assert_non_null(strstr(err.message, "name is not UTF-8"));
    assert_int_equal(event.len, 0);
    s.name[0] = 'a';
    assert_int_equal(small_event(&s, &narrow, &err), EE_E_CONFIG);
    assert_non_null(strstr(err.message, "over 4096 bytes"));
    assert_int_equal(narrow.len, 0);
    eei_buf_clear(&event);
    eei_buf_clear(&narrow);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_Q15_every_key_is_decided),
        cmocka_unit_test(test_Q15_changing_a_key_changes_rtmr3_or_nothing),
        cmocka_unit_test(test_Q15_changing_a_files_content_changes_rtmr3),
        cmocka_unit_test(test_event_is_json_in_the_order_of_the_table),
        cmocka_unit_test(test_event_that_cannot_be_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
