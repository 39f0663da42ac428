/* test_policy_file.c - over random policies: what ee_policy_toml() writes reads as the same policy, with the same hash, names and order,
 * and is written the same again. Replay with EE_SEED=... */
#include "attest/policy.h"
#include "unit/attest_world.h"

#include <eesdk/client.h>

#include <inttypes.h>
#include <time.h>

enum { ROUNDS = 2000, TEXT_MAX = 1 << 20 };

static uint64_t seed;
static uint64_t next(void) { /* splitmix64 */
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
static uint64_t below(uint64_t n) { return next() % n; }

static void put(eei_buf *to, const char *text) { assert_int_equal(eei_buf_append_text(to, text), EE_OK); }
static void put_number(eei_buf *to, const char *format, ...) EEI_PRINTF(2, 3);
static void put_number(eei_buf *to, const char *format, ...) {
    char text[64];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put(to, text);
}

static void put_hex(eei_buf *to, size_t bytes) {
    static const char *const digits[] = {"0123456789abcdef", "0123456789ABCDEF"};
    for (size_t i = 0; i < 2 * bytes; i++) {
        const char digit[] = {digits[below(2)][below(16)], '\0'};
        put(to, digit);
    }
}

/* A list of those of `words` that luck picks; at least `least` of them. */
static void put_words(eei_buf *to, const char *key, const char *const *words, size_t count, size_t least) {
    size_t at = below(count), n = least + below(count - least + 1);
    put(to, key);
    put(to, " = [");
    for (size_t i = 0; i < n; i++) {
        put(to, i ? ", \"" : "\"");
        put(to, words[(at + i) % count]);
        put(to, "\"");
    }
    put(to, "]\n");
}

static const char *const statuses[] = {"UpToDate",
                                       "SWHardeningNeeded",
                                       "ConfigurationNeeded",
                                       "ConfigurationAndSWHardeningNeeded",
                                       "OutOfDate",
                                       "OutOfDateConfigurationNeeded",
                                       "TDRelaunchAdvised",
                                       "TDRelaunchAdvisedConfigurationNeeded"};
static const char *const attributes[] = {"hgs_plus_prof", "perf_prof",  "pmt_prof", "icssd", "lass",
                                         "pks",           "migratable", "kl",       "tpa",   "perfmon"};
static const char *const advisories[] = {"INTEL-SA-00001", "INTEL-SA-00002", "INTEL-SA-00960", "x", "A.b_c-9"};
#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* What a name may be made of, as TOML writes it: the last six need care on the way out. */
static void put_name(eei_buf *to) {
    static const char *const pieces[] = {
        "a",    "Z",    "0",       " ",           "-",        "=", "#", "]", "'", "\xc3\xa9", "\xe2\x80\xa6", "\xf0\x9f\x98\x80",
        "\\\"", "\\\\", "\\u00e9", "\\U0001F600", "\\\\\\\"", "[["};
    size_t n = below(12);
    put(to, "name = \"");
    for (size_t i = 0; i < n; i++) put(to, pieces[below(COUNT(pieces))]);
    put(to, "\"\n");
}

static void put_exception(eei_buf *to) {
    put(to, "[[tcb_exception]]\nstatus = \"");
    put(to, statuses[below(COUNT(statuses))]);
    put(to, "\"\n");
    put_words(to, "advisories", advisories, COUNT(advisories), 0);
    put_number(to, "until = \"%04u-%02u-%02u", (unsigned)(1970 + below(8030)), (unsigned)(1 + below(12)), (unsigned)(1 + below(28)));
    put_number(to, "T%02u:%02u:%02u", (unsigned)below(24), (unsigned)below(60), (unsigned)below(60));
    put(to, below(4) ? "Z\"\n" : ".250Z\"\n");
    if (below(2)) put(to, "reason = \"because\"\n");
}

static void put_profile(eei_buf *to) {
    uint64_t pinned = 1 + below((1u << EEI_PIN_COUNT) - 1);
    put(to, "[[profile]]\n");
    if (below(3)) put_name(to);
    for (size_t i = 0; i < EEI_PIN_COUNT; i++) {
        if (!(pinned >> i & 1)) continue;
        put(to, eei_pin_names[i]);
        put(to, " = \"");
        put_hex(to, 48);
        put(to, "\"\n");
    }
}

static void random_policy(eei_buf *to) {
    if (below(2)) {
        put(to, "anchor_sha256 = \"");
        put_hex(to, 32);
        put(to, "\"\nsimulated = true\n");
    }
    if (below(2)) put_words(to, "tcb_status", statuses, COUNT(statuses), 1);
    if (below(2)) put_words(to, "td_attributes_allow", attributes, COUNT(attributes), 0);
    if (below(2)) put_number(to, "min_tcb_eval = %" PRIu64 "\n", next() >> (1 + below(63)));
    if (below(2)) put_number(to, "xfam_allow = \"0x%" PRIx64 "\"\n", (next() & eei_xfam_known) | eei_xfam_fixed);
    if (below(2)) put(to, below(2) ? "require_sealed = true\n" : "require_sealed = false\n");
    if (below(2)) {
        put(to, below(2) ? "image = \"sha256:" : "image = \"");
        put_hex(to, 32);
        put(to, "\"\n");
    }
    if (below(2)) {
        put(to, "genesis = \"");
        put_hex(to, 32);
        put(to, "\"\n");
    }
    if (below(2)) {
        put(to, "machines = [");
        for (uint64_t n = 1 + below(5); n > 0; n--) {
            put(to, "\"");
            put_hex(to, 16);
            put(to, n > 1 ? "\", " : "\"");
        }
        put(to, "]\n");
    }
    uint64_t profiles = below(4);
    if (!profiles) put(to, below(3) ? "allow_any_measurement = true\n" : "allow_any_measurement = false\n");
    for (uint64_t n = below(3); n > 0; n--) put_exception(to);
    for (; profiles > 0; profiles--) put_profile(to);
}

static ee_policy *read_policy(const char *toml, uint64_t round) {
    ee_policy *policy = NULL;
    ee_error err = {0};
    if (ee_policy_parse(toml, "p.toml", &policy, &err)) fail_msg("EE_SEED=%" PRIu64 ": %s\n%s", round, err.message, toml);
    return policy;
}

static char *written(const ee_policy *policy) {
    char *text = NULL;
    MUST(ee_policy_toml(policy, &text, err));
    return text;
}

static void must_be_same(const ee_policy *policy, uint64_t round) {
    char *text = written(policy);
    ee_policy *again = read_policy(text, round);
    char *twice = written(again);
    if (strcmp(ee_policy_hash(policy), ee_policy_hash(again))) fail_msg("EE_SEED=%" PRIu64 ": another policy:\n%s", round, text);
    assert_string_equal(text, twice);
    assert_int_equal(ee_policy_profile_count(policy), ee_policy_profile_count(again));
    assert_int_equal(ee_policy_simulated(policy), ee_policy_simulated(again));
    for (size_t i = 0; i < policy->profile_count; i++) assert_string_equal(policy->profiles[i].name, again->profiles[i].name);
    ee_policy_free(again);
    ee_string_free(text);
    ee_string_free(twice);
}

/* Another pin is one more place where a policy comes from. */
static void pinned_too(const ee_policy *policy, uint64_t round) {
    char hex[97];
    uint8_t value[48];
    ee_policy *more = NULL;
    for (size_t i = 0; i < sizeof value; i++) value[i] = (uint8_t)next();
    eei_hex_encode(eei_span(value, sizeof value), hex);
    ee_status st = ee_policy_pin(policy, eei_pin_names[below(EEI_PIN_COUNT)], hex, &more, NULL);
    if (st == EE_E_CONFLICT) return; /* every profile pins another value */
    assert_int_equal(st, EE_OK);
    must_be_same(more, round);
    ee_policy_free(more);
}

static void test_written_and_read_again(void **state) {
    const char *given = getenv("EE_SEED");
    (void)state;
    seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003;
    print_message("EE_SEED=%" PRIu64 "\n", seed);
    for (int i = 0; i < ROUNDS; i++) {
        const uint64_t round = seed; /* as EE_SEED: this one first */
        eei_buf text = EEI_BUF_INIT(TEXT_MAX);
        random_policy(&text);
        ee_policy *policy = read_policy(eei_buf_cstr(&text), round);
        must_be_same(policy, round);
        pinned_too(policy, round);
        ee_policy_free(policy);
        eei_buf_clear(&text);
    }
}

static void test_built_in_and_copies(void **state) {
    const world *w = *state;
    ee_policy *production = NULL, *loose = NULL;
    MUST(ee_policy_production(&production, err));
    MUST(ee_policy_unpinned(production, &loose, err));
    must_be_same(production, 0);
    must_be_same(loose, 0);
    must_be_same(w->any, 0);
    ee_policy_free(production);
    ee_policy_free(loose);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_and_read_again),
        cmocka_unit_test(test_built_in_and_copies),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
