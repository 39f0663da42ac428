/* fuzz_pcs.c - a hostile PCS: one of its four answers is the input, the other three are short and well-formed. What is assembled must be
 * JSON that says the answer's own bytes. Input: part || length of the header (2 bytes, big-endian) || header || body. Threats B6, Q19. */
#include "attest/pcs.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "base/reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DIGITS   "0123456789abcdef"
#define DIGITS64 DIGITS DIGITS DIGITS DIGITS
static const char tcb_info[] = "{\"tcbInfo\":{\"id\":\"TDX\"},\"signature\":\"" DIGITS64 DIGITS64 "\"}";
static const char qe_identity[] = "{\"enclaveIdentity\":{\"id\":\"TD_QE\"},\"signature\":\"" DIGITS64 DIGITS64 "\"}";

/* A signed text is a piece of the answer, as it lies there; base points to nothing but the answer. */
static void must_be_cut_from(const json_t *json, const char *key, ee_span body) {
    const char *text = json_string_value(json_object_get(json, key));
    if (!text || !memmem(body.data, body.len, text, strlen(text))) abort();
}

static void look_at(ee_span json, const eei_pcs_answer *answers) {
    eei_collateral_terms terms;
    json_t *parsed = NULL;
    if (eei_json_parse(json, EEI_COLLATERAL_BYTES_MAX, &parsed, NULL)) abort();
    must_be_cut_from(parsed, "tcb_info", answers[EEI_PCS_TCB_INFO].body);
    must_be_cut_from(parsed, "qe_identity", answers[EEI_PCS_QE_IDENTITY].body);
    json_decref(parsed);
    if (!eei_collateral_terms_read(json, &terms, NULL) && terms.until_s == 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    eei_pcs_answer answers[EEI_PCS_PARTS] = {
        [EEI_PCS_TCB_INFO] = {"application/json", eei_span_text("x"), eei_span_text(tcb_info)},
        [EEI_PCS_QE_IDENTITY] = {"application/json", eei_span_text("x"), eei_span_text(qe_identity)},
        [EEI_PCS_PCK_CRL] = {"application/pkix-crl", eei_span_text("x"), eei_span_text("3000")},
        [EEI_PCS_ROOT_CRL] = {"application/pkix-crl", eei_span_text(""), eei_span_text("3000")},
    };
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    eei_reader r = eei_reader_init(eei_span(data, size));
    uint8_t part = eei_read_u8(&r);
    ee_span chain = eei_read_span(&r, eei_read_u16be(&r));
    if (r.failed) return 0;
    eei_pcs_answer *answer = &answers[part % EEI_PCS_PARTS];
    answer->chain = chain;
    answer->body = eei_read_span(&r, eei_reader_left(&r));
    if (!eei_pcs_assemble(answers, &json, NULL)) look_at(eei_buf_span(&json), answers);
    eei_buf_clear(&json);
    return 0;
}
