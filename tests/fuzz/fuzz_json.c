/* fuzz_json.c - JSON, base64url and hex as they come from outside. Run by libFuzzer, and as a corpus replay. */
#include "base/alloc.h"
#include "base/encoding.h"
#include "base/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void json(ee_span input) {
    json_t *value = NULL, *again = NULL;
    eei_buf text = EEI_BUF_INIT(1 << 22);
    ee_error err;
    if (eei_json_parse(input, EEI_JSON_BYTES_MAX, &value, &err)) return;
    EE_ASSERT(eei_json_dump(value, &text, NULL) == EE_OK);
    EE_ASSERT(eei_json_parse(eei_buf_span(&text), text.max, &again, NULL) == EE_OK);
    EE_ASSERT(json_equal(value, again));
    json_decref(value);
    json_decref(again);
    eei_buf_clear(&text);
}

static void encodings(ee_span input) {
    char *text = eei_strndup((const char *)input.data, input.len);
    eei_buf bytes = EEI_BUF_INIT(1 << 20), back = EEI_BUF_INIT(1 << 20);
    EE_ASSERT(text);
    if (eei_base64url_decode(text, &bytes, NULL) == EE_OK) { /* canonical: one text for the bytes, one meaning for the text */
        EE_ASSERT(eei_base64url_encode(eei_buf_span(&bytes), &back) == EE_OK);
        EE_ASSERT(eei_span_equal(eei_buf_span(&back), eei_span_text(text)));
    }
    eei_buf_reset(&bytes);
    (void)!eei_hex_append(input, &bytes, NULL);
    eei_buf_clear(&bytes);
    eei_buf_clear(&back);
    eei_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json(eei_span(data, size));
    encodings(eei_span(data, size));
    return 0;
}
