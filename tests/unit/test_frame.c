/* test_frame.c - the 12-byte envelope: exact layout, nothing buffered for what is too long. Called by CTest. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "wire/frame.h"

#include <string.h>

static void test_layout(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT(64);
    assert_int_equal(eei_frame_encode(&b, EEI_FRAME_DATA, EEI_FRAME_CRITICAL | 3, 0x01020304, eei_span_text("hi")), EE_OK);
    static const uint8_t want[] = {1, 10, 0x80, 3, 1, 2, 3, 4, 0, 0, 0, 2, 'h', 'i'};
    assert_true(eei_span_equal(eei_buf_span(&b), eei_span(want, sizeof want)));
    uint8_t header[EEI_FRAME_HEADER_BYTES];
    eei_frame_header(header, EEI_FRAME_DATA, EEI_FRAME_CRITICAL | 3, 0x01020304, 2);
    assert_memory_equal(header, want, sizeof header);
    eei_buf_clear(&b);
}

static void test_several_frames_in_one_message(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT(1000);
    eei_frame f;
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(eei_frame_encode(&b, (uint8_t)(i + 1), (uint16_t)i, i * 77, eei_span("abcdef", i)), EE_OK);
    eei_reader r = eei_reader_init(eei_buf_span(&b));
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(eei_frame_decode(&r, 100, &f, NULL), EE_OK);
        assert_true(f.type == i + 1 && f.flags == i && f.stream == i * 77);
        assert_true(eei_span_equal(f.payload, eei_span("abcdef", i)));
    }
    assert_int_equal(eei_reader_left(&r), 0);
    assert_int_equal(eei_frame_decode(&r, 100, &f, NULL), EE_E_AGAIN);
    eei_buf_clear(&b);
}

static void test_part_of_a_frame_waits_and_moves_nothing(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT(64);
    eei_frame f;
    assert_int_equal(eei_frame_encode(&b, EEI_FRAME_PING, 0, 0, eei_span_text("12345678")), EE_OK);
    for (size_t len = 0; len < b.len; len++) {
        uint8_t *exact = eei_memdup(b.data, len);
        eei_reader r = eei_reader_init(eei_span(exact, len));
        assert_int_equal(eei_frame_decode(&r, 100, &f, NULL), EE_E_AGAIN);
        assert_true(r.at == 0 && !eei_reader_failed(&r));
        assert_null(f.payload.data);
        eei_free(exact);
    }
    eei_buf_clear(&b);
}

static void test_B2_length_is_judged_from_the_header(void **state) {
    (void)state;
    uint8_t header[EEI_FRAME_HEADER_BYTES];
    static const struct {
        uint32_t length;
        size_t max;
        ee_status want;
    } cases[] = {
        {EEI_FRAME_PAYLOAD_MAX, EEI_FRAME_PAYLOAD_MAX, EE_E_AGAIN},
        {EEI_FRAME_PAYLOAD_MAX + 1, EEI_FRAME_PAYLOAD_MAX, EE_E_LIMIT},
        {UINT32_MAX, EEI_FRAME_PAYLOAD_MAX, EE_E_LIMIT},
        {1, 0, EE_E_LIMIT},
        {0, 0, EE_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        eei_frame f;
        ee_error err = {0};
        eei_frame_header(header, EEI_FRAME_JOB, 0, 1, cases[i].length);
        eei_reader r = eei_reader_init(eei_span(header, sizeof header));
        assert_int_equal(eei_frame_decode(&r, cases[i].max, &f, &err), cases[i].want);
        if (cases[i].want == EE_E_LIMIT) assert_memory_equal(err.message, "JOB frame of ", 13);
        if (cases[i].want) assert_int_equal(r.at, 0);
    }
}

static void test_S5_other_versions_are_refused_at_the_first_byte(void **state) {
    (void)state;
    for (unsigned version = 0; version < 256; version++) {
        const uint8_t byte = (uint8_t)version;
        eei_frame f;
        eei_reader r = eei_reader_init(eei_span(&byte, 1));
        assert_int_equal(eei_frame_decode(&r, 100, &f, NULL), version == 1 ? EE_E_AGAIN : EE_E_VERSION);
    }
}

static void test_encode_is_all_or_nothing(void **state) {
    (void)state;
    eei_buf b = EEI_BUF_INIT(EEI_FRAME_HEADER_BYTES + 1);
    assert_int_equal(eei_frame_encode(&b, 1, 0, 0, eei_span("ab", 2)), EE_E_LIMIT);
    assert_int_equal(b.len, 0);
    assert_int_equal(eei_frame_encode(&b, 1, 0, 0, (ee_span){(const uint8_t *)"", UINT32_MAX}), EE_E_LIMIT);
    eei_alloc_fail_at(1);
    assert_int_equal(eei_frame_encode(&b, 1, 0, 0, eei_span("a", 1)), EE_E_NOMEM);
    eei_alloc_fail_at(0);
    assert_int_equal(b.len, 0);
    assert_int_equal(eei_frame_encode(&b, 1, 0, 0, eei_span("a", 1)), EE_OK);
    eei_buf_clear(&b);
}

static void test_names(void **state) {
    (void)state;
    unsigned known = 0;
    for (unsigned i = 0; i < 256; i++) known += strcmp(eei_frame_name((uint8_t)i), "?") != 0;
    assert_int_equal(known, 29);
    assert_string_equal(eei_frame_name(EEI_FRAME_HELLO), "HELLO");
    assert_string_equal(eei_frame_name(EEI_FRAME_CANCEL), "CANCEL");
    assert_string_equal(eei_frame_name(0), "?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_several_frames_in_one_message),
        cmocka_unit_test(test_part_of_a_frame_waits_and_moves_nothing),
        cmocka_unit_test(test_B2_length_is_judged_from_the_header),
        cmocka_unit_test(test_S5_other_versions_are_refused_at_the_first_byte),
        cmocka_unit_test(test_encode_is_all_or_nothing),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
