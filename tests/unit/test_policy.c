/* test_policy.c - policy.toml: every key, every refusal with file, line and key, the hash, and pins. What a policy does to quotes is in
 * test_verify.c. */
#include "attest/policy.h"
#include "attest_world.h"

#include <eesdk/client.h>

#include <unistd.h>

#define MRTD_A  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define MRTD_B  "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HASH_62 "00112233445566778899aabbccddeeff00112233445566778899aabbccddee"
#define HASH    "ff" HASH_62
#define ANY     "allow_any_measurement = true\n"

static const struct {
    const char *name, *toml;
    const char *says; /* NULL: fine; else in the message */
} plans[] = {
    {"least", ANY, NULL},
    {"intel", "anchor = \"intel\"\n" ANY, NULL},
    {"all keys",
     "anchor = \"intel\"\ntcb_status = [\"UpToDate\", \"OutOfDate\"]\nmin_tcb_eval = 17\ntd_attributes_allow = [\"pks\", \"perfmon\"]\n"
     "require_sealed = false\nimage = \"sha256:1111111111111111111111111111111111111111111111111111111111111111\"\n"
     "machines = [\"00112233445566778899aabbccddeeff\"]\n[[profile]]\nname = \"x\"\nmrtd = \"" MRTD_A "\"\nrtmr0 = \"" MRTD_A
     "\"\nrtmr1 = \"" MRTD_A "\"\nrtmr2 = \"" MRTD_A "\"\nrtmr3 = \"" MRTD_A "\"\nmr_seam = \"" MRTD_A "\"\nmr_config_id = \"" MRTD_A
     "\"\nmr_owner = \"" MRTD_A "\"\nmr_owner_config = \"" MRTD_A "\"\n",
     NULL},
    {"genesis", ANY "genesis = \"" HASH "\"\n", NULL},
    {"short genesis", ANY "genesis = \"" HASH_62 "\"\n", "p.toml:2: key \"genesis\""},
    {"genesis as number", ANY "genesis = 7\n", "must be a string"},
    {"empty", "", "p.toml:1: key \"profile\": is missing"},
    {"no profile", "# nothing\nsimulated = false\n", "p.toml:2: key \"profile\": is missing"},
    {"no profile, no line end", "# nothing\nsimulated = false", "p.toml:2: key \"profile\": is missing"},
    {"empty profile", "# one\n[[profile]]\n", "p.toml:2: key \"profile\": a profile must pin"},
    {"second profile is empty", "[[profile]]\nmrtd = \"" MRTD_A "\"\n[[profile]]\n", "p.toml:3: key \"profile\": a profile must pin"},
    {"evaluation too large", ANY "min_tcb_eval = 99999999999999999999\n", "p.toml:2: key \"min_tcb_eval\": the number is too large"},
    {"another language's true", "allow_any_measurement = True\n", "p.toml:1: key \"allow_any_measurement\": \"True\" is not a value"},
    {"a value in a list", ANY "tcb_status = [\n    \"UpToDate\",\n    x,\n]\n", "p.toml:4: key \"tcb_status\": \"x\" is not"},
    {"unknown key", ANY "\nspeed = 1\n", "p.toml:3: key \"speed\""},
    {"unknown key in a profile", "[[profile]]\nmrtd = \"" MRTD_A "\"\nmrtf = \"" MRTD_A "\"\n", "p.toml:3"},
    {"second profile's key", "[[profile]]\nmrtd = \"" MRTD_A "\"\n[[profile]]\nrtmr9 = \"\"\n", "p.toml:4"},
    {"short measurement", "[[profile]]\nmrtd = \"aa\"\n", "p.toml:2"},
    {"measurement that is no hex", "[[profile]]\nmrtd = \"zz" MRTD_A "\"\n", "p.toml:2"},
    {"measurement as number", "[[profile]]\nmrtd = 7\n", "must be a string"},
    {"profile without pins", "[[profile]]\nname = \"x\"\n", "must pin"},
    {"profile as table", "[profile]\nmrtd = \"" MRTD_A "\"\n", "[[profile]]"},
    {"none acceptable yet", "allow_any_measurement = false\n", NULL},
    {"none in words, and profiles", "allow_any_measurement = false\n[[profile]]\nmrtd = \"" MRTD_A "\"\n", NULL},
    {"root by hash", "anchor_sha256 = \"" HASH "\"\nsimulated = true\n" ANY, NULL},
    {"root by hash in capitals", "anchor_sha256 = \"AA" HASH_62 "\"\nsimulated = true\n" ANY, NULL},
    {"root by hash, not said to be simulated", "anchor_sha256 = \"" HASH "\"\n" ANY,
     "p.toml:1: key \"anchor_sha256\": is not Intel's root"},
    {"short hash of a root", "simulated = true\nanchor_sha256 = \"" HASH_62 "\"\n" ANY, "p.toml:2: key \"anchor_sha256\""},
    {"long hash of a root", "anchor_sha256 = \"" HASH "00\"\nsimulated = true\n" ANY, "anchor_sha256"},
    {"hash of a root that is no hex", "anchor_sha256 = \"gg" HASH_62 "\"\nsimulated = true\n" ANY, "anchor_sha256"},
    {"hash of a root as number", "anchor_sha256 = 7\nsimulated = true\n" ANY, "must be a string"},
    {"two anchors", "anchor = \"intel\"\nanchor_sha256 = \"" HASH "\"\nsimulated = true\n" ANY,
     "p.toml:2: key \"anchor_sha256\": cannot stand"},
    {"two anchors, the other way round", "anchor_sha256 = \"" HASH "\"\nanchor_der = \"3082\"\nsimulated = true\n" ANY, "p.toml:1"},
    {"exception without an end", "[[tcb_exception]]\nstatus = \"OutOfDate\"\nadvisories = []\n",
     "p.toml:1: key \"tcb_exception\": lacks \"until\""},
    {"exception with an odd key",
     ANY "[[tcb_exception]]\nstatus = \"OutOfDate\"\nadvisories = []\nuntil = \"2027-01-01T00:00:00Z\"\nfor = 1\n",
     "has a key that is not"},
    {"exception for what is revoked", ANY "[[tcb_exception]]\nstatus = \"Revoked\"\nadvisories = []\nuntil = \"2027-01-01T00:00:00Z\"\n",
     "p.toml:3: key \"status\""},
    {"exception that ends in words", ANY "[[tcb_exception]]\nstatus = \"OutOfDate\"\nadvisories = []\nuntil = \"soon\"\n",
     "p.toml:5: key \"until\""},
    {"exception as table", ANY "[tcb_exception]\nstatus = \"OutOfDate\"\n", "[[tcb_exception]]"},
    {"advisory that is none", ANY "[[tcb_exception]]\nstatus = \"OutOfDate\"\nadvisories = [\"a b\"]\nuntil = \"2027-01-01T00:00:00Z\"\n",
     "p.toml:4: key \"advisories\": item 1"},
    {"features as number", "xfam_allow = 3\n" ANY, "must be a string"},
    {"features without the fixed ones", "xfam_allow = \"0x4\"\n" ANY, "p.toml:1: key \"xfam_allow\""},
    {"features nobody knows", "xfam_allow = \"0x100007\"\n" ANY, "0x6dbe7"},
    {"profile name that is too long", "[[profile]]\nname = \"" MRTD_A "\"\nmrtd = \"" MRTD_A "\"\n", "p.toml:2: key \"name\""},
    {"profile name with a line end", "[[profile]]\nname = \"a\\nb\"\nmrtd = \"" MRTD_A "\"\n", "control characters"},
    {"any and profiles", ANY "[[profile]]\nmrtd = \"" MRTD_A "\"\n", "allow_any_measurement"},
    {"any as text", "allow_any_measurement = \"yes\"\n", "true or false"},
    {"another anchor word", "anchor = \"mine\"\n" ANY, "anchor_der"},
    {"anchor as number", "anchor = 1\n" ANY, "must be a string"},
    {"simulated without an anchor", "simulated = true\n" ANY, "anchor_der"},
    {"anchor that is no certificate", "anchor_der = \"AAAA\"\nsimulated = true\n" ANY, "certificate"},
    {"anchor that is no base64", "anchor_der = \"?\"\nsimulated = true\n" ANY, "anchor_der"},
    {"anchor in hex that is none", "anchor_der = \"3082\"\nsimulated = true\n" ANY, "certificate"},
    {"empty anchor", "anchor_der = \"\"\nsimulated = true\n" ANY, "certificate"},
    {"empty status list", "tcb_status = []\n" ANY, "tcb_status"},
    {"status as text", "tcb_status = \"UpToDate\"\n" ANY, "tcb_status"},
    {"unknown status", "tcb_status = [\"Fine\"]\n" ANY, "item 1"},
    {"revoked", "tcb_status = [\"UpToDate\", \"Revoked\"]\n" ANY, "never acceptable"},
    {"debug", "td_attributes_allow = [\"debug\"]\n" ANY, "never acceptable"},
    {"unknown attribute", "td_attributes_allow = [\"turbo\"]\n" ANY, "turbo"},
    {"attribute as number", "td_attributes_allow = [1]\n" ANY, "item 1"},
    {"negative evaluation", "min_tcb_eval = -1\n" ANY, "min_tcb_eval"},
    {"short image", "image = \"sha256:11\"\n" ANY, "image"},
    {"no machines", "machines = []\n" ANY, "machines"},
    {"short machine", "machines = [\"00\"]\n" ANY, "machines"},
    {"key twice", ANY ANY, "already there"},
    {"not TOML", "allow_any_measurement\n", "p.toml:1"},
};

static void test_toml(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        ee_policy *policy = NULL;
        ee_error why = {0};
        ee_status st = ee_policy_parse(plans[i].toml, "p.toml", &policy, &why);
        if (!plans[i].says && st) fail_msg("%s: %s", plans[i].name, why.message);
        if (plans[i].says && (!st || !strstr(why.message, plans[i].says)))
            fail_msg("%s: status %d, \"%s\"", plans[i].name, (int)st, why.message);
        assert_int_equal(st == EE_OK, policy != NULL);
        ee_policy_free(policy);
    }
}

static void test_defaults_are_the_strictest(void **state) {
    ee_policy *production = NULL, *least = NULL;
    (void)state;
    MUST(ee_policy_production(&production, err));
    MUST(ee_policy_parse(ANY, "p.toml", &least, err));
    const ee_policy *const both[] = {production, least};
    for (size_t i = 0; i < 2; i++) {
        assert_memory_equal(both[i]->anchor, eei_anchor_intel, 32);
        assert_int_equal(both[i]->statuses, 1u << EEI_TCB_UP_TO_DATE);
        assert_int_equal(both[i]->td_attributes_allow, 0);
        assert_true(both[i]->require_sealed);
        assert_int_equal(ee_policy_simulated(both[i]), 0);
    }
    assert_false(production->allow_any_measurement);
    assert_int_equal(production->profile_count, 0);
    ee_policy_free(production);
    ee_policy_free(least);
}

static void test_anchor_forms(void **state) {
    const world *w = *state;
    char hex[8192], toml[9000];
    ee_policy *policy = NULL;
    ee_error why = {0};
    eei_hex_encode(simtdx_root_der(w->root), hex);
    snprintf(toml, sizeof toml, "anchor_der = \"%s\"\nsimulated = true\n" ANY "require_sealed = false\n", hex);
    MUST(ee_policy_parse(toml, "p.toml", &policy, err));
    assert_string_equal(ee_policy_hash(policy), ee_policy_hash(w->any)); /* hex or base64url is the same anchor */
    assert_int_equal(ee_policy_simulated(policy), 1);
    ee_policy_free(policy);
    snprintf(toml, sizeof toml, "anchor_der = \"%s\"\n" ANY, hex);
    assert_int_not_equal(ee_policy_parse(toml, "p.toml", &policy, &why), EE_OK);
    assert_non_null(strstr(why.message, "simulated = true"));
    snprintf(toml, sizeof toml, "anchor = \"intel\"\nanchor_der = \"%s\"\nsimulated = true\n" ANY, hex);
    assert_int_not_equal(ee_policy_parse(toml, "p.toml", &policy, &why), EE_OK);
}

/* A root is the same by whatever it is named; Intel's is never "simulated". */
static void test_anchor_sha256(void **state) {
    const world *w = *state;
    char hex[65], toml[512];
    uint8_t hash[32];
    ee_policy *policy = NULL;
    eei_sha256(simtdx_root_der(w->root), hash);
    eei_hex_encode(eei_span(hash, 32), hex);
    snprintf(toml, sizeof toml, "anchor_sha256 = \"%s\"\nsimulated = true\nrequire_sealed = false\n" ANY, hex);
    MUST(ee_policy_parse(toml, "p.toml", &policy, err));
    assert_string_equal(ee_policy_hash(policy), ee_policy_hash(w->any));
    must_verify("root by hash", eei_buf_span(&w->quote), w->collateral, policy, NOW);
    ee_policy_free(policy);
    hex[0] = hex[0] == '0' ? '1' : '0';
    snprintf(toml, sizeof toml, "anchor_sha256 = \"%s\"\nsimulated = true\nrequire_sealed = false\n" ANY, hex);
    MUST(ee_policy_parse(toml, "p.toml", &policy, err));
    must_fail_at("another root", eei_buf_span(&w->quote), w->collateral, policy, NOW, "pck_chain");
    ee_policy_free(policy);
    eei_hex_encode(eei_span(eei_anchor_intel, 32), hex);
    for (int simulated = 0; simulated < 2; simulated++) {
        snprintf(toml, sizeof toml, "anchor_sha256 = \"%s\"\nsimulated = %s\n" ANY, hex, simulated ? "true" : "false");
        MUST(ee_policy_parse(toml, "p.toml", &policy, err));
        assert_int_equal(ee_policy_simulated(policy), 0);
        ee_policy_free(policy);
    }
}

/* ---- what was seen, accepted ---- */

/* mrtd and rtmr0 to rtmr2 of what verified; nothing else of the policy changes. */
static void test_accept(void **state) {
    const world *w = *state;
    ee_verdict *verdict = NULL;
    ee_policy *one = NULL, *two = NULL;
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW, &verdict, err));
    MUST(ee_policy_accept(w->any, verdict, "a \"name\" \\ more", &one, err));
    assert_int_equal(ee_policy_profile_count(w->any), 0); /* a copy */
    assert_int_equal(ee_policy_profile_count(one), 1);
    assert_false(one->allow_any_measurement);
    assert_int_equal(one->profiles[0].pinned, 1u << EEI_PIN_MRTD | 1u << EEI_PIN_RTMR0 | 1u << EEI_PIN_RTMR1 | 1u << EEI_PIN_RTMR2);
    assert_memory_equal(one->profiles[0].value[EEI_PIN_MRTD], w->quote.data + AT_MRTD, 48);
    assert_string_equal(one->profiles[0].name, "a \"name\" \\ more");
    must_verify("what was accepted", eei_buf_span(&w->quote), w->collateral, one, NOW);
    MUST(ee_policy_accept(one, verdict, "again", &two, err)); /* known already */
    assert_int_equal(ee_policy_profile_count(two), 1);
    assert_string_equal(ee_policy_hash(one), ee_policy_hash(two));
    ee_policy_free(two);
    MUST(ee_policy_unpinned(one, &two, err));
    assert_string_equal(ee_policy_hash(two), ee_policy_hash(w->any));
    ee_policy_free(two);
    ee_policy_free(one);
    ee_verdict_free(verdict);
}

/* Another TD than the one that was accepted is refused by it, and named by the register. */
static void test_accepted_is_no_other(void **state) {
    const world *w = *state;
    simtdx_td td = w->td;
    uint8_t report_data[64] = {0};
    eei_buf quote = EEI_BUF_INIT(65536);
    ee_verdict *verdict = NULL;
    ee_policy *one = NULL, *both = NULL;
    td.rtmr[1][47] ^= 1;
    MUST(simtdx_quote(w->machine, &td, report_data, &quote, err));
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW, &verdict, err));
    MUST(ee_policy_accept(w->any, verdict, NULL, &one, err));
    ee_verdict_free(verdict);
    must_fail_at("another TD", eei_buf_span(&quote), w->collateral, one, NOW, "measurement");
    MUST(verify_at(eei_buf_span(&quote), w->collateral, w->any, NOW, &verdict, err));
    MUST(ee_policy_accept(one, verdict, "the other", &both, err));
    assert_int_equal(ee_policy_profile_count(both), 2);
    must_verify("both", eei_buf_span(&quote), w->collateral, both, NOW);
    must_verify("both", eei_buf_span(&w->quote), w->collateral, both, NOW);
    ee_verdict_free(verdict);
    ee_policy_free(one);
    ee_policy_free(both);
    eei_buf_clear(&quote);
}

static void test_accept_refusals(void **state) {
    const world *w = *state;
    ee_verdict *good = NULL, *bad = NULL;
    ee_policy *out = NULL, *full = NULL;
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW, &good, err));
    assert_int_equal(verify_at(eei_buf_span(&w->quote), w->collateral, NULL, NOW, &bad, NULL), EE_E_ATTESTATION);
    assert_int_equal(ee_policy_accept(w->any, bad, NULL, &out, NULL), EE_E_STATE);
    assert_int_equal(ee_policy_accept(w->any, NULL, NULL, &out, NULL), EE_E_INVALID);
    assert_int_equal(ee_policy_accept(NULL, good, NULL, &out, NULL), EE_E_INVALID);
    assert_int_equal(ee_policy_accept(w->any, good, NULL, NULL, NULL), EE_E_INVALID);
    assert_int_equal(ee_policy_accept(w->any, good, "a\nb", &out, NULL), EE_E_INVALID);
    assert_int_equal(ee_policy_accept(w->any, good, "\xff", &out, NULL), EE_E_INVALID);
    assert_int_equal(ee_policy_accept(w->any, good, MRTD_A, &out, NULL), EE_E_INVALID); /* 96 bytes */
    assert_int_equal(ee_policy_unpinned(NULL, &out, NULL), EE_E_INVALID);
    assert_int_equal(ee_policy_unpinned(w->any, NULL, NULL), EE_E_INVALID);
    assert_int_equal(ee_policy_toml(NULL, NULL, NULL), EE_E_INVALID);
    assert_null(out);
    eei_buf text = EEI_BUF_INIT(1 << 20);
    for (int i = 0; i < EEI_PROFILES_MAX; i++) {
        char profile[160];
        snprintf(profile, sizeof profile, "[[profile]]\nmrtd = \"%08x%.88s\"\n", (unsigned)i, MRTD_A);
        assert_int_equal(eei_buf_append_text(&text, profile), EE_OK);
    }
    MUST(ee_policy_parse(eei_buf_cstr(&text), "p.toml", &full, err));
    assert_int_equal(ee_policy_accept(full, good, NULL, &out, NULL), EE_E_LIMIT);
    assert_null(out);
    eei_buf_clear(&text);
    ee_policy_free(full);
    ee_verdict_free(good);
    ee_verdict_free(bad);
}

static const char *hash_of(const char *toml, char out[65]) {
    ee_policy *policy = NULL;
    MUST(ee_policy_parse(toml, "p.toml", &policy, err));
    snprintf(out, 65, "%s", ee_policy_hash(policy));
    ee_policy_free(policy);
    return out;
}

/* The hash names what decides: not names, lines, order or comments; but every value. */
static void test_hash(void **state) {
    static const char *const same[] = {"[[profile]]\nname = \"one\"\nmrtd = \"" MRTD_A "\"\n[[profile]]\nmrtd = \"" MRTD_B "\"\n",
                                       "# comment\n\n[[profile]]\nmrtd = \"" MRTD_B "\"\n[[profile]]\nmrtd = \"" MRTD_A "\"\n"};
    static const char *const different[] = {ANY,
                                            ANY "require_sealed = false\n",
                                            ANY "tcb_status = [\"OutOfDate\"]\n",
                                            ANY "min_tcb_eval = 1\n",
                                            ANY "td_attributes_allow = [\"pks\"]\n",
                                            ANY "image = \"1111111111111111111111111111111111111111111111111111111111111111\"\n",
                                            ANY "genesis = \"1111111111111111111111111111111111111111111111111111111111111111\"\n",
                                            ANY "machines = [\"00112233445566778899aabbccddeeff\"]\n",
                                            "[[profile]]\nmrtd = \"" MRTD_A "\"\n",
                                            "[[profile]]\nrtmr0 = \"" MRTD_A "\"\n",
                                            "[[profile]]\nmrtd = \"" MRTD_B "\"\n",
                                            "[[profile]]\nmrtd = \"" MRTD_A "\"\nrtmr0 = \"" MRTD_A "\"\n",
                                            "[[profile]]\nmrtd = \"" MRTD_A "\"\n[[profile]]\nrtmr0 = \"" MRTD_A "\"\n"};
    enum { COUNT = sizeof different / sizeof different[0] };
    char a[65], b[65], hashes[COUNT][65];
    (void)state;
    assert_string_equal(hash_of(same[0], a), hash_of(same[1], b));
    assert_int_equal(strlen(a), 64);
    for (size_t i = 0; i < COUNT; i++) {
        hash_of(different[i], hashes[i]);
        for (size_t k = 0; k < i; k++) assert_string_not_equal(hashes[i], hashes[k]);
    }
}

static void test_pins(void **state) {
    ee_policy *production = NULL, *one = NULL, *two = NULL, *out = NULL;
    (void)state;
    MUST(ee_policy_production(&production, err));
    MUST(ee_policy_pin(production, "mrtd", MRTD_A, &one, err));
    assert_int_equal(one->profile_count, 1);
    assert_int_equal(production->profile_count, 0); /* a copy */
    MUST(ee_policy_pin(one, "rtmr2", MRTD_B, &two, err));
    assert_int_equal(two->profiles[0].pinned, 1u << EEI_PIN_MRTD | 1u << EEI_PIN_RTMR2);
    assert_string_not_equal(ee_policy_hash(one), ee_policy_hash(two));
    assert_int_equal(ee_policy_pin(two, "mrtd", MRTD_B, &out, NULL), EE_E_CONFLICT);
    assert_int_equal(ee_policy_pin(two, "speed", MRTD_B, &out, NULL), EE_E_INVALID);
    assert_int_equal(ee_policy_pin(two, "mrtd", "aa", &out, NULL), EE_E_INVALID);
    assert_null(out);
    MUST(ee_policy_pin(two, "mrtd", MRTD_A, &out, err)); /* the same again changes nothing */
    assert_string_equal(ee_policy_hash(out), ee_policy_hash(two));
    ee_policy_free(out);
    MUST(ee_policy_pin(two, "image", "1111111111111111111111111111111111111111111111111111111111111111", &out, err));
    ee_policy_free(two);
    assert_true(out->has_image);
    MUST(ee_policy_pin(out, "genesis", "1111111111111111111111111111111111111111111111111111111111111111", &two, err));
    assert_true(two->has_image && two->has_genesis);
    ee_policy *three = NULL;
    assert_int_equal(ee_policy_pin(two, "genesis", "2111111111111111111111111111111111111111111111111111111111111111", &three, NULL),
                     EE_E_CONFLICT);
    assert_int_equal(ee_policy_pin(two, "genesis", MRTD_A, &three, NULL), EE_E_INVALID);
    assert_null(three);
    ee_policy_free(two);
    assert_int_equal(ee_policy_pin(out, "image", "2111111111111111111111111111111111111111111111111111111111111111", &two, NULL),
                     EE_E_CONFLICT);
    ee_policy_free(out);
    ee_policy_free(one);
    ee_policy_free(production);
}

/* With several profiles a pin keeps those that agree. */
static void test_pin_narrows(void **state) {
    ee_policy *policy = NULL, *narrow = NULL;
    (void)state;
    MUST(ee_policy_parse("[[profile]]\nmrtd = \"" MRTD_A "\"\n[[profile]]\nmrtd = \"" MRTD_B "\"\n[[profile]]\nrtmr0 = \"" MRTD_B "\"\n",
                         "p.toml", &policy, err));
    MUST(ee_policy_pin(policy, "mrtd", MRTD_B, &narrow, err));
    assert_int_equal(narrow->profile_count, 2);
    ee_policy_free(narrow);
    ee_policy_free(policy);
    MUST(ee_policy_parse(ANY, "p.toml", &policy, err));
    MUST(ee_policy_pin(policy, "mrtd", MRTD_B, &narrow, err));
    assert_false(narrow->allow_any_measurement);
    ee_policy_free(narrow);
    ee_policy_free(policy);
}

static void test_load(void **state) {
    char path[] = "/tmp/ee-policy-XXXXXX";
    ee_policy *policy = NULL;
    ee_error why = {0};
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, ANY, strlen(ANY)), (ssize_t)strlen(ANY));
    close(fd);
    MUST(ee_policy_load(path, &policy, err));
    ee_policy_free(policy);
    unlink(path);
    assert_int_not_equal(ee_policy_load(path, &policy, &why), EE_OK);
    assert_non_null(strstr(why.message, path));
    assert_null(policy);
}

/* Each copy, and its text, with the n-th request for memory refused. */
static void test_allocation_failures_of_copies(void **state) {
    const world *w = *state;
    ee_verdict *verdict = NULL;
    ee_policy *source = NULL;
    MUST(verify_at(eei_buf_span(&w->quote), w->collateral, w->any, NOW, &verdict, err));
    MUST(ee_policy_parse(plans[2].toml, "p.toml", &source, err));
    for (size_t n = 1, done = 0; !done; n++) {
        ee_policy *accepted = NULL, *loose = NULL;
        char *text = NULL;
        assert_true(n < 1000);
        (void)eei_alloc_fail_at(n);
        ee_status st = ee_policy_accept(source, verdict, "x", &accepted, NULL);
        if (!st) st = ee_policy_unpinned(accepted, &loose, NULL);
        if (!st) st = ee_policy_toml(loose, &text, NULL);
        done = eei_alloc_fail_at(0) < n;
        assert_int_equal(st, done ? EE_OK : EE_E_NOMEM);
        assert_int_equal(text != NULL, done);
        ee_string_free(text);
        ee_policy_free(loose);
        ee_policy_free(accepted);
    }
    ee_policy_free(source);
    ee_verdict_free(verdict);
}

static void test_allocation_failures(void **state) {
    ee_policy *policy = NULL;
    (void)state;
    (void)eei_alloc_fail_at(0);
    MUST(ee_policy_parse(plans[2].toml, "p.toml", &policy, err));
    size_t total = eei_alloc_fail_at(0);
    ee_policy_free(policy);
    for (size_t n = 1; n <= total; n++) {
        (void)eei_alloc_fail_at(n);
        ee_status st = ee_policy_parse(plans[2].toml, "p.toml", &policy, NULL);
        (void)eei_alloc_fail_at(0);
        assert_int_equal(st == EE_OK, policy != NULL);
        ee_policy_free(policy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_toml),
        cmocka_unit_test(test_defaults_are_the_strictest),
        cmocka_unit_test(test_anchor_forms),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_pin_narrows),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_anchor_sha256),
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_accepted_is_no_other),
        cmocka_unit_test(test_accept_refusals),
        cmocka_unit_test(test_allocation_failures_of_copies),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
