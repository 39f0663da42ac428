/* verify_case.c - ee-verify-case: one case of a peer's test suite through our verifier, with relaxed_trust.c in the place of the strict
 * profile. Never installed; not for trusting anything. usage: ee-verify-case verify QUOTE COLLATERAL ROOT_DER [--time UNIX]
 * Exit: 0 verified (Revoked and debug are not), 1 not, 2 usage or an unreadable file. */
#include "attest/policy.h"
#include "attest/statement.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a version 4 quote has the type of its outer certification data, and a version 5 quote with either TD report. No signature covers
 * it, and some generators write 5 there instead of 6. */
static void mend_outer_type(eei_buf *quote) {
    static const size_t at_v4 = 764, at_v5_td10 = 770, at_v5_td15 = 834;
    if (quote->len < at_v5_td15 + 2) return;
    size_t at = quote->data[0] == 4 ? at_v4 : quote->data[48] == EEI_BODY_TD15 ? at_v5_td15 : at_v5_td10;
    if (quote->data[at] == 5 && !quote->data[at + 1]) quote->data[at] = 6;
}

/* Everything but Revoked, any measurement, attributes that do not let anybody look into the TD, features a TD need not have. */
static ee_status relaxed_policy(ee_span root_der, ee_policy **out, ee_error *err) {
    static const unsigned harmless[] = {16, 18, 19, 20, 21, 22, 27, 30, 31, 62, 63};
    ee_status st = ee_policy_production(out, err);
    if (st) return st;
    ee_policy *p = *out;
    eei_sha256(root_der, p->anchor);
    p->simulated = memcmp(p->anchor, eei_anchor_intel, 32) != 0;
    p->allow_any_measurement = true;
    p->statuses = (1u << EEI_TCB_REVOKED) - 1;
    p->xfam_require = 0;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) p->td_attributes_allow |= UINT64_C(1) << harmless[i];
    return EE_OK;
}

static int usage(void) {
    fputs("usage: ee-verify-case verify QUOTE COLLATERAL ROOT_DER [--time UNIX]\n", stderr);
    return 2;
}

int main(int argc, char **argv) {
    eei_buf quote = EEI_BUF_INIT(1 << 20), collateral = EEI_BUF_INIT(4 << 20), root = EEI_BUF_INIT(1 << 16);
    ee_policy *policy = NULL;
    ee_verdict *verdict = NULL;
    ee_verify_options options;
    ee_error err = {0};
    const char *files[3], *time = NULL;
    size_t count = 0;

    if (argc < 2 || strcmp(argv[1], "verify")) return usage();
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--time") && i + 1 < argc)
            time = argv[++i];
        else if (count < 3)
            files[count++] = argv[i];
        else
            return usage();
    }
    if (count != 3) return usage();
    ee_verify_options_init(&options);
    options.now_unix_s = eei_wall_ms() / 1000;
    if (time) {
        errno = 0; /* digits alone: strtoull() takes blanks, signs and what is too large */
        options.now_unix_s = strspn(time, "0123456789") == strlen(time) ? strtoull(time, NULL, 10) : 0;
        if (!options.now_unix_s || errno) return usage();
    }
    ee_status st = eei_file_read(files[0], &quote, &err);
    if (!st) st = eei_file_read(files[1], &collateral, &err);
    if (!st) st = eei_file_read(files[2], &root, &err);
    if (st) {
        fprintf(stderr, "ee-verify-case: %s\n", err.message);
        return 2;
    }
    mend_outer_type(&quote);
    st = relaxed_policy(eei_buf_span(&root), &policy, &err);
    if (!st) st = ee_verify_quote_json(eei_buf_span(&quote), eei_buf_span(&collateral), policy, &options, &verdict, &err);
    if (st)
        fprintf(stderr, "not verified: %s\n", err.message);
    else
        printf("verified\nstatus: %s\n", ee_verdict_tcb_status(verdict));
    ee_verdict_free(verdict);
    ee_policy_free(policy);
    eei_buf_clear(&quote);
    eei_buf_clear(&collateral);
    eei_buf_clear(&root);
    return st ? 1 : 0;
}
