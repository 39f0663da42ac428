/* fuzz_evidence_file.c - a hostile evidence file, checked as `ee verify FILE --offline` does, under a policy that its corpus meets:
 * whatever verifies holds one of the quotes that were made for it. Threats Q1, Q19. */
#include "attest/crypto.h"
#include "attest/quote.h"
#include "attest/verdict.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { GENUINE = 4 };

static ee_policy *the_policy(uint8_t genuine[GENUINE][32]) {
    static const char *const quoted[GENUINE] = {"quote-v4.bin", "quote-v5.bin", "evidence-v4.bin", "evidence-v5.bin"};
    static ee_policy *policy;
    static uint8_t hashes[GENUINE][32];
    for (size_t i = 0; !policy && i < GENUINE; i++) {
        char path[4096];
        eei_buf bytes = EEI_BUF_INIT(1 << 20);
        eei_arena arena = EEI_ARENA_INIT(1 << 20);
        eei_evidence evidence;
        eei_quote quote;
        snprintf(path, sizeof path, "%s/attest/simulated/%s", EE_VECTORS, quoted[i]);
        EE_ASSERT(eei_file_read(path, &bytes, NULL) == EE_OK);
        ee_span span = eei_buf_span(&bytes);
        if (i > 1) EE_ASSERT(eei_evidence_decode(span, &arena, &evidence, NULL) == EE_OK);
        EE_ASSERT(eei_quote_parse(i > 1 ? evidence.quote : span, &quote, NULL) == EE_OK);
        eei_sha256(quote.signed_part, hashes[i]);
        eei_arena_clear(&arena);
        eei_buf_clear(&bytes);
    }
    if (!policy) EE_ASSERT(ee_policy_load(EE_VECTORS "/attest/simulated/policy.toml", &policy, NULL) == EE_OK);
    memcpy(genuine, hashes, sizeof hashes);
    return policy;
}

/* A file that is in memory only, written anew each time. */
static const char *file_of(const uint8_t *data, size_t size) {
    static char path[64];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("evidence", MFD_CLOEXEC);
        EE_ASSERT(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    EE_ASSERT(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

static void judge(const char *path, const ee_policy *policy, uint8_t genuine[GENUINE][32]) {
    ee_verdict *verdict = NULL;
    ee_error err = {0};
    uint8_t hash[32];
    ee_status st = ee_verify_file(path, policy, 0, &verdict, &err);
    if (st != EE_OK && st != EE_E_ATTESTATION) abort(); /* bytes that are no evidence are a failed check, too */
    if (ee_verdict_verified(verdict) != (st == EE_OK) || !ee_verdict_text(verdict) || !ee_verdict_json(verdict)) abort();
    if (st == EE_OK) {
        bool known = false;
        const ee_verdict *quoted = verdict->base ? verdict->base : verdict;
        eei_sha256(quoted->quote.signed_part, hash);
        for (size_t i = 0; i < GENUINE; i++) known = known || !memcmp(hash, genuine[i], 32);
        if (!policy || !known) abort(); /* none is under Intel's root */
    }
    ee_verdict_free(verdict);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t genuine[GENUINE][32];
    ee_policy *policy = the_policy(genuine);
    if (size > 1 << 20) return 0;
    judge(file_of(data, size), policy, genuine);
    if (size % 8 == 0) judge(file_of(data, size), NULL, genuine);
    return 0;
}
