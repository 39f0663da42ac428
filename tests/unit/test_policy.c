/* test_policy.c - policy.toml: every key, every refusal with file, line and key, the hash, and pins. What a policy does to quotes is in
 * test_verify.c. */
#include "attest/policy.h"
#include "attest_world.h"

#include <unistd.h>

#define MRTD_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define MRTD_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ANY    "allow_any_measurement = true\n"

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
    {"empty", "", "profile"},
    {"unknown key", ANY "\nspeed = 1\n", "p.toml:3: key \"speed\""},
    {"unknown key in a profile", "[[profile]]\nmrtd = \"" MRTD_A "\"\nmrtf = \"" MRTD_A "\"\n", "p.toml:3"},
    {"second profile's key", "[[profile]]\nmrtd = \"" MRTD_A "\"\n[[profile]]\nrtmr9 = \"\"\n", "p.toml:4"},
    {"short measurement", "[[profile]]\nmrtd = \"aa\"\n", "p.toml:2"},
    {"measurement that is no hex", "[[profile]]\nmrtd = \"zz" MRTD_A "\"\n", "p.toml:2"},
    {"measurement as number", "[[profile]]\nmrtd = 7\n", "must be a string"},
    {"profile without pins", "[[profile]]\nname = \"x\"\n", "must pin"},
    {"profile as table", "[profile]\nmrtd = \"" MRTD_A "\"\n", "[[profile]]"},
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
        cmocka_unit_test(test_toml),         cmocka_unit_test(test_defaults_are_the_strictest),
        cmocka_unit_test(test_anchor_forms), cmocka_unit_test(test_hash),
        cmocka_unit_test(test_pins),         cmocka_unit_test(test_pin_narrows),
        cmocka_unit_test(test_load),         cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
