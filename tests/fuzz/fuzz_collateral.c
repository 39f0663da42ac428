/* fuzz_collateral.c - hostile collateral: the outer JSON with PEM and CRLs, and TCB info and QE identity as if their signatures were good.
 * Threats B6, Q19. */
#include "attest/collateral.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_MAX = 1 << 20 };

static void documents(ee_span text) {
    eei_arena arena = EEI_ARENA_INIT(ARENA_MAX);
    eei_tcb_info info;
    eei_qe_identity qe;
    if (!eei_tcb_info_parse(text, &arena, &info, NULL)) {
        /* What the matching relies on: at least one level, and highest first. */
        if (!info.level_count) abort();
        for (size_t i = 1; i < info.level_count; i++)
            if (memcmp(info.levels[i - 1].sgx, info.levels[i].sgx, 16) < 0) abort();
    }
    if (!eei_qe_identity_parse(text, &arena, &qe, NULL))
        for (size_t i = 1; i < qe.level_count; i++)
            if (qe.levels[i - 1].isvsvn <= qe.levels[i].isvsvn) abort();
    eei_arena_clear(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ee_collateral *collateral = NULL;
    ee_span input = {data, size};
    documents(input);
    if (!ee_collateral_parse(input, &collateral, NULL)) {
        documents(collateral->tcb_info);
        documents(collateral->qe_identity);
    }
    ee_collateral_free(collateral);
    return 0;
}
