/* fuzz_tcb_info.c - hostile TCB info, as if its signature were good, and what follows of it for platforms of all SVNs: a status that
 * exists, or a refusal. Threats Q4, Q5, Q19. */
#include "attest/tcb.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_MAX = 1 << 20 };

static void check_order(const eei_tcb_info *info) {
    if (!info->level_count) abort();
    for (size_t i = 1; i < info->level_count; i++)
        if (memcmp(info->levels[i - 1].sgx, info->levels[i].sgx, 16) < 0) abort();
    for (size_t m = 0; m < info->module_count; m++)
        for (size_t i = 1; i < info->modules[m].level_count; i++)
            if (info->modules[m].levels[i - 1].isvsvn <= info->modules[m].levels[i].isvsvn) abort();
}

/* Higher SVNs never reach a lower level. */
static void match(const eei_tcb_info *info, uint8_t svn, uint8_t version, uint8_t now, const eei_tcb_level **highest) {
    const eei_svn_level *module = NULL;
    eei_quote quote = {.body_type = EEI_BODY_TD15};
    eei_pck pck = {.pcesvn = (uint16_t)(svn * 257)};
    eei_tcb_result result;
    memset(pck.components, svn, sizeof pck.components);
    memset(quote.tee_tcb_svn, svn, sizeof quote.tee_tcb_svn);
    memset(quote.tee_tcb_svn2, now, sizeof quote.tee_tcb_svn2);
    quote.tee_tcb_svn[1] = quote.tee_tcb_svn2[1] = version;
    memcpy(quote.mr_signer_seam, info->module_count ? info->modules[0].mrsigner : info->module0.mrsigner, 48);
    ee_status identity = eei_module_match(&quote, info, &module, NULL);
    if (identity) module = NULL;
    (void)!eei_tcb_now(&quote, &pck, info, NULL);
    if (eei_tcb_match(&quote, &pck, info, module, EEI_TCB_UP_TO_DATE, &result, NULL)) return;
    if (result.status > EEI_TCB_NOT_SUPPORTED || !result.level || !eei_tcb_status_word(result.status)) abort();
    if (module && module->status == EEI_TCB_REVOKED && result.status != EEI_TCB_REVOKED) abort();
    if (*highest && result.level < *highest) abort();
    *highest = result.level;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t svns[] = {255, 128, 13, 5, 3, 1, 0};
    eei_arena arena = EEI_ARENA_INIT(ARENA_MAX);
    eei_tcb_info info;
    if (!eei_tcb_info_parse(eei_span(data, size), &arena, &info, NULL)) {
        check_order(&info);
        if (info.issued_s > UINT32_MAX * UINT64_C(64) || info.next_update_s > UINT32_MAX * UINT64_C(64)) abort();
        for (unsigned version = 0; version < 4; version++) {
            const eei_tcb_level *highest = NULL;
            for (size_t i = 0; i < sizeof svns; i++) match(&info, svns[i], (uint8_t)version, svns[(i + version) % sizeof svns], &highest);
        }
    }
    eei_arena_clear(&arena);
    return 0;
}
