/* fuzz_codec.c - bytes from a peer into the strict walk, the table decoder and the JSON view. Run by libFuzzer, and as a corpus replay. */
#include "../unit/codec_sample.h"
#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void roundtrip(ee_span input) {
    eei_arena arena = EEI_ARENA_INIT(1 << 16);
    eei_buf first = EEI_BUF_INIT(1 << 16), second = EEI_BUF_INIT(1 << 16);
    sample m, again;
    if (eei_decode(&sample_schema, input, &arena, &m, NULL)) goto done;
    EE_ASSERT(eei_msgpack_check(input, NULL) == EE_OK);
    json_t *view = eei_message_json(&sample_schema, &m);
    EE_ASSERT(view);
    json_decref(view);
    EE_ASSERT(eei_encode(&sample_schema, &m, &first, NULL) == EE_OK && first.len <= input.len);
    EE_ASSERT(eei_decode(&sample_schema, eei_buf_span(&first), &arena, &again, NULL) == EE_OK);
    EE_ASSERT(eei_encode(&sample_schema, &again, &second, NULL) == EE_OK);
    EE_ASSERT(eei_span_equal(eei_buf_span(&first), eei_buf_span(&second)));
done:
    eei_buf_clear(&first);
    eei_buf_clear(&second);
    eei_arena_clear(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    eei_frame frame;
    ee_error err;
    eei_reader r = eei_reader_init(eei_span(data, size));
    while (eei_frame_decode(&r, EEI_FRAME_PAYLOAD_MAX, &frame, &err) == EE_OK) EE_ASSERT(frame.payload.len <= size);
    (void)!eei_msgpack_check(eei_span(data, size), &err);
    roundtrip(eei_span(data, size));
    return 0;
}
