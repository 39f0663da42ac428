/* fuzz_evidence.c - hostile evidence, statements and envelopes: strict decoding has one encoding for each value. Threats Q18, Q19. */
#include "attest/evidence.h"
#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void evidence(ee_span input) {
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    eei_buf again = EEI_BUF_INIT(1 << 20);
    eei_evidence e;
    if (!eei_evidence_decode(input, &arena, &e, NULL)) {
        if (e.statement.len != EEI_STATEMENT_BYTES || e.event_count > EEI_EVENTS_MAX) abort();
        if (eei_evidence_encode(&e, &again, NULL)) abort();
        /* Ignorable keys are dropped, so the result may be shorter; it decodes to the same again. */
        if (again.len > input.len) abort();
        if (again.len == input.len && memcmp(again.data, input.data, input.len)) abort();
    }
    eei_buf_clear(&again);
    eei_arena_clear(&arena);
}

static void statement(ee_span input) {
    eei_statement s;
    uint8_t again[EEI_STATEMENT_BYTES];
    if (eei_statement_decode(input, &s, NULL)) return;
    eei_statement_encode(&s, again);
    if (memcmp(again, input.data, sizeof again)) abort();
}

static void envelope(ee_span input) {
    static const uint8_t pub[32] = {0x58, 0x66, 0x66, 0x66}; /* nobody's */
    eei_envelope e;
    if (eei_envelope_parse(input, &e, NULL)) return;
    if (e.body.len + EEI_ENVELOPE_OVERHEAD != input.len) abort();
    if (!eei_envelope_verify(&e, e.type, pub, NULL)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ee_span input = {data, size};
    evidence(input);
    statement(input);
    envelope(input);
    return 0;
}
