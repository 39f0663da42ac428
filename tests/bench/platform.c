/* platform.c - see platform.h. Linked into each tests/bench/bench_<name>.c. */
#include "platform.h"

#include "simtdx/parts.h"

#include <stdio.h>
#include <stdlib.h>

void bench_must(ee_status st, const ee_error *err) {
    if (!st) return;
    fprintf(stderr, "bench: %s\n", err->message);
    exit(1);
}

void bench_platform_make(bench_platform *out) {
    simtdx_root *root = NULL;
    simtdx_machine *machine = NULL;
    simtdx_td td;
    uint8_t report_data[64] = {1};
    ee_error err = {0};
    eei_buf text = EEI_BUF_INIT(65536);
    *out = (bench_platform){.quote = EEI_BUF_INIT(65536), .collateral_json = EEI_BUF_INIT(1 << 20), .now_unix_s = UINT64_C(1790000000)};
    bench_must(simtdx_root_new(out->now_unix_s, &root, &err), &err);
    bench_must(simtdx_machine_new(root, "bench", &machine, &err), &err);
    simtdx_td_default(&td);
    bench_must(simtdx_quote(machine, &td, report_data, &out->quote, &err), &err);
    bench_must(simtdx_root_collateral(root, &out->collateral_json, &err), &err);
    bench_must(ee_collateral_parse(eei_buf_span(&out->collateral_json), &out->collateral, &err), &err);
    bench_must(simtdx_policy_toml(root, &text, &err), &err);
    bench_must(ee_policy_parse(eei_buf_cstr(&text), "bench", &out->policy, &err), &err);
    eei_buf_clear(&text);
    simtdx_machine_free(machine);
    simtdx_root_free(root);
}

void bench_platform_clear(bench_platform *p) {
    eei_buf_clear(&p->quote);
    eei_buf_clear(&p->collateral_json);
    ee_collateral_free(p->collateral);
    ee_policy_free(p->policy);
}

ee_status bench_platform_verify(const bench_platform *p, ee_span quote, const ee_collateral *collateral, ee_span ccel, ee_verdict **out) {
    ee_verify_options options;
    ee_verify_options_init(&options);
    options.now_unix_s = p->now_unix_s;
    options.ccel = ccel;
    return ee_verify_quote(quote, collateral, p->policy, &options, out, NULL);
}

static bool verifies(const bench_platform *p, const ee_collateral *collateral) {
    ee_verdict *verdict = NULL;
    ee_status st = bench_platform_verify(p, eei_buf_span(&p->quote), collateral, (ee_span){0}, &verdict);
    ee_verdict_free(verdict);
    return st == EE_OK;
}

bool bench_platform_cold(const bench_platform *p) {
    ee_collateral *collateral = NULL;
    bool ok = ee_collateral_parse(eei_buf_span(&p->collateral_json), &collateral, NULL) == EE_OK && verifies(p, collateral);
    ee_collateral_free(collateral);
    return ok;
}

bool bench_platform_warm(const bench_platform *p) { return verifies(p, p->collateral); }
