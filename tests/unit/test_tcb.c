/* test_tcb.c - TCB level matching and convergence as a table: SVNs and statuses in, converged status out. Pure; no quotes, no signatures.
 * Threat Q4: the worst of platform, module and QE wins, and a TD that only has to be relaunched says so. */
#include "attest/tcb.h"
#include "attest_world.h"

#define U   EEI_TCB_UP_TO_DATE
#define SW  EEI_TCB_SW_HARDENING
#define C   EEI_TCB_CONFIG
#define CSW EEI_TCB_CONFIG_SW_HARDENING
#define O   EEI_TCB_OUT_OF_DATE
#define OC  EEI_TCB_OUT_OF_DATE_CONFIG
#define R   EEI_TCB_REVOKED

/* A platform with one level of this status, which fits. */
static eei_tcb_status converged(eei_tcb_status platform, eei_tcb_status module, eei_tcb_status qe) {
    eei_tcb_level level = {.status = platform, .date = ""};
    const eei_tcb_info info = {.levels = &level, .level_count = 1};
    const eei_svn_level module_level = {.status = module};
    const eei_quote quote = {.body_type = EEI_BODY_TD10, .tee_tcb_svn = {0, 1}};
    const eei_pck pck = {.pcesvn = 0};
    eei_tcb_result result;
    MUST(eei_tcb_match(&quote, &pck, &info, &module_level, qe, &result, err));
    return result.status;
}

static void test_convergence(void **state) {
    static const struct {
        eei_tcb_status platform, module, qe, want;
    } table[] = {
        {U, U, U, U},  {SW, U, U, SW},  {C, U, U, C},    {CSW, U, U, CSW}, {O, U, U, O},   {OC, U, U, OC}, {R, U, U, R}, {U, O, U, O},
        {SW, O, U, O}, {C, O, U, OC},   {CSW, O, U, OC}, {O, O, U, O},     {OC, O, U, OC}, {R, O, U, R},   {U, U, O, O}, {SW, U, O, O},
        {C, U, O, OC}, {CSW, U, O, OC}, {O, U, O, O},    {OC, U, O, OC},   {R, U, O, R},   {U, R, U, R},   {C, R, U, R}, {O, R, U, R},
        {U, U, R, R},  {C, U, R, R},    {OC, U, R, R},   {U, O, R, R},     {C, O, O, OC},  {SW, O, O, O},  {U, R, O, R}, {U, O, O, O},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (converged(table[i].platform, table[i].module, table[i].qe) != table[i].want)
            fail_msg("platform %s, module %s, QE %s: not %s", eei_tcb_status_word(table[i].platform), eei_tcb_status_word(table[i].module),
                     eei_tcb_status_word(table[i].qe), eei_tcb_status_word(table[i].want));
}

/* Anything but the three defined statuses for the QE is not supported. */
static void test_odd_qe_status(void **state) {
    (void)state;
    assert_int_equal(converged(U, U, EEI_TCB_NOT_SUPPORTED), EEI_TCB_NOT_SUPPORTED);
    assert_int_equal(converged(U, U, C), EEI_TCB_NOT_SUPPORTED);
}

/* Levels as sorted, highest first: [0] needs all 5s, [1] all 3s. */
static void two_levels(eei_tcb_level levels[2]) {
    memset(levels, 0, 2 * sizeof levels[0]);
    memset(levels[0].sgx, 5, 16);
    memset(levels[0].tdx, 5, 16);
    memset(levels[1].sgx, 3, 16);
    memset(levels[1].tdx, 3, 16);
    levels[0].pcesvn = 13;
    levels[1].pcesvn = 11;
    levels[0].status = U;
    levels[1].status = O;
}

static void test_each_svn_counts(void **state) {
    eei_tcb_level levels[2];
    const eei_tcb_info info = {.levels = levels, .level_count = 2};
    const eei_svn_level module = {.status = U};
    eei_tcb_result result;
    (void)state;
    two_levels(levels);
    for (size_t i = 0; i < 33; i++) {
        eei_quote quote = {.body_type = EEI_BODY_TD10};
        eei_pck pck = {.pcesvn = 13};
        memset(quote.tee_tcb_svn, 5, 16);
        memset(pck.components, 5, 16);
        if (i < 16) pck.components[i] = 4;
        if (i >= 16 && i < 32) quote.tee_tcb_svn[i - 16] = 4;
        if (i == 32) pck.pcesvn = 12;
        MUST(eei_tcb_match(&quote, &pck, &info, &module, U, &result, err));
        /* TDX components 0 and 1 are the module's own when it has a version. */
        assert_int_equal(result.status, i == 16 || i == 17 ? U : O);
        assert_ptr_equal(result.level, i == 16 || i == 17 ? &levels[0] : &levels[1]);
        if (i < 16) pck.components[i] = 2;
        if (i >= 18 && i < 32) quote.tee_tcb_svn[i - 16] = 2;
        if (i == 32) pck.pcesvn = 10;
        if (i != 16 && i != 17) assert_int_equal(eei_tcb_match(&quote, &pck, &info, &module, U, &result, NULL), EE_E_AUTH);
    }
    /* Without a module version the first two count. */
    for (size_t i = 0; i < 2; i++) {
        eei_quote quote = {.body_type = EEI_BODY_TD10};
        eei_pck pck = {.pcesvn = 13};
        memset(quote.tee_tcb_svn, 5, 16);
        memset(pck.components, 5, 16);
        levels[0].tdx[1] = levels[1].tdx[1] = 0;
        quote.tee_tcb_svn[1] = 0;
        quote.tee_tcb_svn[0] = i ? 5 : 4;
        MUST(eei_tcb_match(&quote, &pck, &info, NULL, U, &result, err));
        assert_int_equal(result.status, i ? U : O);
    }
}

/* ---- relaunch ---- */

typedef struct relaunch_plan {
    const char *name;
    uint16_t body_type;
    eei_tcb_status sgx, tdx, module, qe; /* levels: [0] fits SGX only, [1] fits both */
    uint8_t svn2[3];
    eei_tcb_status want;
    eei_tcb_status newest; /* level of the module */
} relaunch_plan;

static const relaunch_plan relaunch_plans[] = {
    {"relaunch", EEI_BODY_TD15, U, O, O, U, {5, 1, 5}, EEI_TCB_RELAUNCH, U},
    {"relaunch, SW hardening", EEI_BODY_TD15, SW, O, O, U, {5, 1, 5}, EEI_TCB_RELAUNCH, U},
    {"relaunch, configuration of the platform", EEI_BODY_TD15, C, O, O, U, {5, 1, 5}, EEI_TCB_RELAUNCH_CONFIG, U},
    {"relaunch, configuration of the TD level", EEI_BODY_TD15, U, OC, O, U, {5, 1, 5}, EEI_TCB_RELAUNCH_CONFIG, U},
    {"version 0 module now", EEI_BODY_TD15, U, O, O, U, {5, 0, 5}, EEI_TCB_RELAUNCH, U},
    {"TD 1.0", EEI_BODY_TD10, U, O, O, U, {5, 1, 5}, O, U},
    {"module is up to date", EEI_BODY_TD15, U, O, U, U, {5, 1, 5}, O, U},
    {"QE out of date", EEI_BODY_TD15, U, O, O, O, {5, 1, 5}, O, U},
    {"QE revoked", EEI_BODY_TD15, U, O, O, R, {5, 1, 5}, R, U},
    {"platform out of date", EEI_BODY_TD15, O, O, O, U, {5, 1, 5}, O, U},
    {"TD level revoked", EEI_BODY_TD15, U, R, O, U, {5, 1, 5}, R, U},
    {"module now is old too", EEI_BODY_TD15, U, O, O, U, {4, 1, 5}, O, U},
    {"loader now is old too", EEI_BODY_TD15, U, O, O, U, {5, 1, 4}, O, U},
    {"the newest module is out of date", EEI_BODY_TD15, U, O, O, U, {5, 1, 5}, O, O},
    {"the newest module is revoked", EEI_BODY_TD15, U, O, O, U, {5, 1, 5}, O, R},
    {"the newest module is out of date, configuration", EEI_BODY_TD15, C, OC, O, U, {5, 1, 5}, OC, O},
};

static void test_relaunch(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof relaunch_plans / sizeof relaunch_plans[0]; i++) {
        const relaunch_plan *p = &relaunch_plans[i];
        eei_tcb_level levels[2];
        eei_svn_level module_levels[2] = {{.isvsvn = 5, .status = p->newest}, {.isvsvn = 2, .status = O}};
        eei_tdx_module identity = {.version = 1, .levels = module_levels, .level_count = 2};
        const eei_tcb_info info = {.levels = levels, .level_count = 2, .modules = &identity, .module_count = 1};
        const eei_svn_level module = {.isvsvn = 2, .status = p->module};
        eei_quote quote = {.body_type = p->body_type};
        eei_pck pck = {.pcesvn = 13};
        eei_tcb_result result;
        two_levels(levels);
        levels[0].status = p->sgx;
        levels[1].status = p->tdx;
        levels[0].tdx[1] = levels[1].tdx[1] = 0; /* as Intel writes them: versions are the identities' */
        memset(pck.components, 5, 16);
        memset(quote.tee_tcb_svn, 3, 16); /* the TD was started on the older module and loader */
        quote.tee_tcb_svn[1] = 1;
        memset(quote.tee_tcb_svn2, 5, 16);
        memcpy(quote.tee_tcb_svn2, p->svn2, 3);
        MUST(eei_tcb_match(&quote, &pck, &info, &module, p->qe, &result, err));
        if (result.status != p->want)
            fail_msg("%s: %s, wanted %s", p->name, eei_tcb_status_word(result.status), eei_tcb_status_word(p->want));
        quote.tee_tcb_svn2[1] = 9; /* a module nobody knows runs now: an error where relaunch is considered */
        ee_status st = eei_tcb_match(&quote, &pck, &info, &module, p->qe, &result, NULL);
        bool considered =
            p->want == EEI_TCB_RELAUNCH || p->want == EEI_TCB_RELAUNCH_CONFIG || strstr(p->name, "is old too") || strstr(p->name, "newest");
        assert_int_equal(st, considered ? EE_E_AUTH : EE_OK);
    }
}

/* What runs now must be supported, whatever the TD was launched on. Threat Q5. */
static void test_Q5_module_that_runs_now(void **state) {
    static const struct {
        const char *name;
        uint16_t body_type;
        uint8_t svn2[4];
        bool ok;
    } plans[] = {
        {"the same", EEI_BODY_TD15, {5, 1, 5, 5}, true},
        {"newer", EEI_BODY_TD15, {9, 1, 9, 5}, true},
        {"older, still supported", EEI_BODY_TD15, {2, 1, 3, 3}, true},
        {"revoked", EEI_BODY_TD15, {1, 1, 5, 5}, false},
        {"below every module level", EEI_BODY_TD15, {0, 1, 5, 5}, false},
        {"a module nobody knows", EEI_BODY_TD15, {5, 2, 5, 5}, false},
        {"loader below every level", EEI_BODY_TD15, {5, 1, 2, 5}, false},
        {"another component below", EEI_BODY_TD15, {5, 1, 5, 2}, false},
        {"TD 1.0 has none", EEI_BODY_TD10, {0, 0, 0, 0}, true},
    };
    eei_tcb_level levels[2];
    eei_svn_level module_levels[3] = {{.isvsvn = 5, .status = U}, {.isvsvn = 2, .status = O}, {.isvsvn = 1, .status = R}};
    eei_tdx_module identity = {.version = 1, .levels = module_levels, .level_count = 3};
    const eei_tcb_info info = {.levels = levels, .level_count = 2, .modules = &identity, .module_count = 1};
    eei_pck pck = {.pcesvn = 13};
    (void)state;
    two_levels(levels);
    memset(pck.components, 5, 16);
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        eei_quote quote = {.body_type = plans[i].body_type};
        ee_error err = {0};
        memset(quote.tee_tcb_svn, 5, 16);
        quote.tee_tcb_svn[1] = 1;
        memcpy(quote.tee_tcb_svn2, quote.tee_tcb_svn, 16);
        memcpy(quote.tee_tcb_svn2, plans[i].svn2, 4);
        ee_status st = eei_tcb_now(&quote, &pck, &info, &err);
        if (st != (plans[i].ok ? EE_OK : EE_E_AUTH)) fail_msg("%s: %d %s", plans[i].name, (int)st, err.message);
        if (st) assert_non_null(strstr(err.message, "TEE_TCB_SVN2"));
    }
}

/* ---- QE ---- */

static void test_qe_levels(void **state) {
    static const struct {
        uint16_t isvsvn;
        int want; /* -1: not supported */
    } table[] = {{9, U}, {5, U}, {4, O}, {3, O}, {2, R}, {1, R}, {0, -1}};
    eei_svn_level levels[3] = {{.isvsvn = 5, .status = U}, {.isvsvn = 3, .status = O}, {.isvsvn = 1, .status = R}};
    const eei_qe_identity identity = {.levels = levels, .level_count = 3, .isvprodid = 2};
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const eei_qe_report report = {.isvprodid = 2, .isvsvn = table[i].isvsvn};
        eei_tcb_status status;
        const eei_svn_level *level = NULL;
        ee_status st = eei_qe_match(&report, &identity, &status, &level, NULL);
        assert_int_equal(st, table[i].want < 0 ? EE_E_AUTH : EE_OK);
        assert_int_equal((int)status, table[i].want < 0 ? EEI_TCB_NOT_SUPPORTED : table[i].want);
        assert_int_equal(level != NULL, table[i].want >= 0);
    }
}

/* The debug attribute is refused even when the mask leaves it out. */
static void test_qe_debug(void **state) {
    eei_svn_level level = {.isvsvn = 0, .status = U};
    const eei_qe_identity identity = {.levels = &level, .level_count = 1};
    eei_qe_report report = {.isvsvn = 1};
    eei_tcb_status status;
    const eei_svn_level *found = NULL;
    (void)state;
    MUST(eei_qe_match(&report, &identity, &status, &found, err));
    report.attributes[0] = 2;
    assert_int_equal(eei_qe_match(&report, &identity, &status, &found, NULL), EE_E_AUTH);
    assert_int_equal((int)status, EEI_TCB_NOT_SUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convergence),     cmocka_unit_test(test_odd_qe_status),
        cmocka_unit_test(test_each_svn_counts), cmocka_unit_test(test_Q5_module_that_runs_now),
        cmocka_unit_test(test_relaunch),        cmocka_unit_test(test_qe_levels),
        cmocka_unit_test(test_qe_debug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
