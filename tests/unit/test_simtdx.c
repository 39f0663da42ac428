/* test_simtdx.c - the simulated platform's own promises: its policy accepts its release and nothing else, machines differ, machine files
 * keep a machine. That its quotes are checked like hardware's is test_verify.c. */
#include "attest_world.h"
#include "base/file.h"

#include <sys/stat.h>
#include <unistd.h>

static ee_policy *own_policy(const world *w) {
    eei_buf text = EEI_BUF_INIT(65536);
    ee_policy *policy = NULL;
    MUST(simtdx_policy_toml(w->root, &text, err));
    MUST(ee_policy_parse(eei_buf_cstr(&text), "policy.toml", &policy, err));
    eei_buf_clear(&text);
    return policy;
}

static void quote_of(const world *w, const simtdx_machine *machine, const simtdx_td *td, eei_buf *out) {
    uint8_t report_data[64] = {1};
    (void)w;
    eei_buf_reset(out);
    MUST(simtdx_quote(machine, td, report_data, out, err));
}

static void test_policy_accepts_this_release_only(void **state) {
    world *w = *state;
    ee_policy *policy = own_policy(w);
    eei_buf quote = EEI_BUF_INIT(65536);
    assert_int_equal(ee_policy_simulated(policy), 1);
    for (int version = 4; version <= 5; version++) {
        simtdx_td td;
        simtdx_td_default(&td);
        td.quote_version = version;
        memset(td.rtmr[3], 7, 48); /* grows at run time; the event log vouches for it */
        quote_of(w, w->machine, &td, &quote);
        must_verify("default TD", eei_buf_span(&quote), w->collateral, policy, NOW);
        uint8_t *const pinned[] = {td.mrtd, td.rtmr[0], td.rtmr[1], td.rtmr[2]};
        for (size_t i = 0; i < 4; i++) {
            pinned[i][47] ^= 1;
            quote_of(w, w->machine, &td, &quote);
            must_fail_at("another release", eei_buf_span(&quote), w->collateral, policy, NOW, "measurement");
            pinned[i][47] ^= 1;
        }
    }
    simtdx_td td = w->td;
    td.td_attributes |= 1;
    quote_of(w, w->machine, &td, &quote);
    must_fail_at("debug", eei_buf_span(&quote), w->collateral, policy, NOW, "td_attributes");
    td.quote_version = 3;
    uint8_t report_data[64] = {0};
    assert_int_equal(simtdx_quote(w->machine, &td, report_data, &quote, NULL), EE_E_INVALID);
    ee_policy_free(policy);
    eei_buf_clear(&quote);
}

static void test_roots_do_not_mix(void **state) {
    world *w = *state;
    simtdx_root *other = NULL;
    MUST(simtdx_root_new(NOW, &other, err));
    ee_policy *policy = policy_under(simtdx_root_der(other), "allow_any_measurement = true\n");
    must_fail_at("another devnet's root", eei_buf_span(&w->quote), w->collateral, policy, NOW, "pck_chain");
    ee_policy_free(policy);
    simtdx_root_free(other);
}

static void test_machines_differ(void **state) {
    world *w = *state;
    uint8_t ids[3][16];
    eei_buf quote = EEI_BUF_INIT(65536);
    for (size_t i = 0; i < 3; i++) {
        simtdx_machine *machine = NULL;
        ee_verdict *verdict = NULL;
        MUST(simtdx_machine_new(w->root, "same label", &machine, err));
        quote_of(w, machine, &w->td, &quote);
        MUST(verify_at(eei_buf_span(&quote), w->collateral, w->any, NOW, &verdict, err));
        memcpy(ids[i], eei_verdict_machine_id(verdict), 16);
        for (size_t k = 0; k < i; k++) assert_memory_not_equal(ids[i], ids[k], 16);
        ee_verdict_free(verdict);
        simtdx_machine_free(machine);
    }
    eei_buf_clear(&quote);
}

static void test_machine_file(void **state) {
    world *w = *state;
    char folder[] = "/tmp/ee-simtdx-XXXXXX", path[64];
    struct stat info;
    simtdx_machine *loaded = NULL;
    eei_buf quote = EEI_BUF_INIT(65536), text = EEI_BUF_INIT(65536);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/machine.json", folder);
    MUST(simtdx_machine_save(w->machine, path, err));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    MUST(simtdx_machine_load(path, &loaded, err));
    quote_of(w, loaded, &w->td, &quote);
    must_verify("loaded machine", eei_buf_span(&quote), w->collateral, w->any, NOW);
    simtdx_machine_free(loaded);

    assert_int_equal(chmod(path, 0644), 0);
    assert_int_not_equal(simtdx_machine_load(path, &loaded, NULL), EE_OK); /* others could read the key */
    assert_null(loaded);
    assert_int_equal(chmod(path, 0600), 0);
    MUST(eei_file_read(path, &text, err));
    for (size_t len = 0; len < text.len; len += 211) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(text.data, 1, len, file), len);
        fclose(file);
        assert_int_not_equal(simtdx_machine_load(path, &loaded, NULL), EE_OK);
        assert_null(loaded);
    }
    unlink(path);
    assert_int_not_equal(simtdx_machine_load(path, &loaded, NULL), EE_OK);
    rmdir(folder);
    eei_buf_clear(&quote);
    eei_buf_clear(&text);
}

/* Valid from an hour before to 30 days after it was made. */
static void test_life_of_collateral(void **state) {
    world *w = *state;
    ee_span quote = eei_buf_span(&w->quote);
    must_verify("an hour before", quote, w->collateral, w->any, NOW - 3600);
    must_fail_at("earlier", quote, w->collateral, w->any, NOW - 3601, "validity");
    must_verify("30 days", quote, w->collateral, w->any, NOW + 30 * 86400);
    must_fail_at("later", quote, w->collateral, w->any, NOW + 30 * 86400 + 1, "validity");
    simtdx_root *root = NULL;
    assert_int_equal(simtdx_root_new(0, &root, NULL), EE_E_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_accepts_this_release_only),
        cmocka_unit_test(test_roots_do_not_mix),
        cmocka_unit_test(test_machines_differ),
        cmocka_unit_test(test_machine_file),
        cmocka_unit_test(test_life_of_collateral),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
