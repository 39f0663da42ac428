/* sim_platform.c - ee-sim-platform: a simulated platform as files, for tests that are not in C: quote.bin, collateral.json, root.der,
 * policy.toml and ccel.bin, its boot log, in FOLDER. Never installed. usage: ee-sim-platform FOLDER [--now UNIX] [--until UNIX]
 * --now: when it was made, so that its collateral ends 30 days later; --until: when its CRLs end. Called by tests/support/pccs.py. */
#include "base/clock.h"
#include "base/encoding.h"
#include "base/file.h"
#include "simtdx/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ee_status save(const char *folder, const char *name, ee_span data, ee_error *err) {
    char path[1024];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return eei_fail(err, EE_E_INVALID, "the folder's name is too long");
    return eei_file_write_atomic(path, data, 0600, err);
}

static ee_status collateral(const simtdx_root *root, uint64_t until, eei_buf *json, ee_error *err) {
    const simtdx_crl ends[] = {{root->root, root->root_key, root->now_unix_s - 3600, until, NULL, 0},
                               {root->ca, root->ca_key, root->now_unix_s - 3600, until, NULL, 0}};
    eei_buf der[2] = {EEI_BUF_INIT(1 << 16), EEI_BUF_INIT(1 << 16)};
    ee_status st = EE_OK;
    for (size_t i = 0; !st && until && i < 2; i++) st = simtdx_crl_make(&ends[i], &der[i], err);
    const simtdx_collateral_parts parts = {.root_crl = eei_buf_span(&der[0]), .pck_crl = eei_buf_span(&der[1])};
    if (!st) st = simtdx_collateral(root, &parts, json, err);
    for (size_t i = 0; i < 2; i++) eei_buf_clear(&der[i]);
    return st;
}

static ee_status make(const char *folder, uint64_t now, uint64_t until, ee_error *err) {
    simtdx_root *root = NULL;
    simtdx_machine *machine = NULL;
    simtdx_td td;
    const uint8_t report_data[64] = {0x42};
    eei_buf quote = EEI_BUF_INIT(1 << 16), json = EEI_BUF_INIT(1 << 20), policy = EEI_BUF_INIT(1 << 16), log = EEI_BUF_INIT(1 << 16);
    simtdx_td_default(&td);
    ee_status st = simtdx_root_new(now, &root, err);
    if (!st) st = simtdx_machine_new(root, "machine-1", &machine, err);
    if (!st) st = simtdx_quote(machine, &td, report_data, &quote, err);
    if (!st) st = collateral(root, until, &json, err);
    if (!st) st = simtdx_policy_toml(root, &policy, err);
    if (!st) st = simtdx_boot_log(&log, err);
    if (!st) st = save(folder, "quote.bin", eei_buf_span(&quote), err);
    if (!st) st = save(folder, "collateral.json", eei_buf_span(&json), err);
    if (!st) st = save(folder, "root.der", simtdx_root_der(root), err);
    if (!st) st = save(folder, "policy.toml", eei_buf_span(&policy), err);
    if (!st) st = save(folder, "ccel.bin", eei_buf_span(&log), err);
    eei_buf_clear(&quote);
    eei_buf_clear(&json);
    eei_buf_clear(&policy);
    eei_buf_clear(&log);
    simtdx_machine_free(machine);
    simtdx_root_free(root);
    return st;
}

int main(int argc, char **argv) {
    ee_error err = {0};
    uint64_t now = eei_wall_ms() / 1000, until = 0;
    const char *folder = argc > 1 ? argv[1] : NULL;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--now"))
            now = strtoull(argv[i + 1], NULL, 10);
        else if (!strcmp(argv[i], "--until"))
            until = strtoull(argv[i + 1], NULL, 10);
        else
            folder = NULL;
    }
    if (!folder || argc % 2) {
        fputs("usage: ee-sim-platform FOLDER [--now UNIX] [--until UNIX]\n", stderr);
        return 2;
    }
    if (make(folder, now, until, &err)) {
        fprintf(stderr, "ee-sim-platform: %s: %s\n", err.word, err.message);
        return 1;
    }
    return 0;
}
