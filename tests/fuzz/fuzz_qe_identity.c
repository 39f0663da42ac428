/* fuzz_qe_identity.c - a hostile QE identity, as if its signature were good, and QE reports that it is held against: a debug enclave never
 * passes, another signer never does. Threats Q1, Q19. */
#include "attest/tcb.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_MAX = 1 << 20 };

/* A report made to fit, and one thing changed. */
static void match(const eei_qe_identity *qe, uint16_t isvsvn) {
    eei_qe_report report = {.isvprodid = qe->isvprodid, .isvsvn = isvsvn};
    const eei_svn_level *level = NULL;
    eei_tcb_status status;
    memcpy(report.miscselect, qe->miscselect, sizeof report.miscselect);
    memcpy(report.attributes, qe->attributes, sizeof report.attributes);
    memcpy(report.mrsigner, qe->mrsigner, sizeof report.mrsigner);
    ee_status st = eei_qe_match(&report, qe, &status, &level, NULL);
    if (!st && (!level || level->isvsvn > isvsvn || status != level->status || report.attributes[0] & 2)) abort();
    if (!st && status != EEI_TCB_UP_TO_DATE && status != EEI_TCB_OUT_OF_DATE && status != EEI_TCB_REVOKED) abort();
    report.attributes[0] |= 2;
    if (!eei_qe_match(&report, qe, &status, &level, NULL)) abort();
    report.attributes[0] = qe->attributes[0];
    report.mrsigner[31] ^= 1;
    if (!eei_qe_match(&report, qe, &status, &level, NULL)) abort();
    report.mrsigner[31] ^= 1;
    report.isvprodid ^= 1;
    if (!eei_qe_match(&report, qe, &status, &level, NULL)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    eei_arena arena = EEI_ARENA_INIT(ARENA_MAX);
    eei_qe_identity qe;
    if (!eei_qe_identity_parse(eei_span(data, size), &arena, &qe, NULL)) {
        for (size_t i = 1; i < qe.level_count; i++)
            if (qe.levels[i - 1].isvsvn <= qe.levels[i].isvsvn) abort();
        for (size_t i = 0; i < qe.level_count; i++) match(&qe, qe.levels[i].isvsvn);
        match(&qe, 0);
        match(&qe, UINT16_MAX);
    }
    eei_arena_clear(&arena);
    return 0;
}
