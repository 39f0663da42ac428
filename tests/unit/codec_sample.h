/* codec_sample.h - one message that has every kind of field, for the codec's unit, property and fuzz tests.
 * Not a message of the protocol. tests/vectors/codec/sample.json describes it in words. */
#ifndef CODEC_SAMPLE_H
#define CODEC_SAMPLE_H
#include "wire/codec.h"

typedef struct sample_point {
    uint64_t x, y;
} sample_point;

typedef struct sample {
    uint64_t id;
    bool flag;
    uint8_t digest[32];
    ee_span blob, name;
    sample_point origin;
    eei_list tags, blobs, points, numbers;
    uint64_t late;
} sample;

static const eei_field sample_point_fields[] = {
    EEI_FIELD(sample_point, x, 1, EEI_KIND_U64, true, 0),
    EEI_FIELD(sample_point, y, 2, EEI_KIND_U64, false, 1000),
};
static const eei_schema sample_point_schema = {"point", sizeof(sample_point), sample_point_fields, 2};

#define SAMPLE_LIST(member_, key_, kind_, max_, most_, sub_)                                                                               \
    { .key = (key_), .kind = (kind_), .name = #member_, .offset = offsetof(sample, member_), .max = (max_), .most = (most_), .sub = (sub_) }

static const eei_field sample_fields[] = {
    EEI_FIELD(sample, id, 1, EEI_KIND_U64, true, 0),
    EEI_FIELD(sample, flag, 2, EEI_KIND_BOOL, false, 0),
    EEI_FIELD(sample, digest, 3, EEI_KIND_FIXED, false, 32),
    EEI_FIELD(sample, blob, 4, EEI_KIND_BYTES, false, 300),
    EEI_FIELD(sample, name, 5, EEI_KIND_TEXT, true, 16),
    SAMPLE_LIST(origin, 6, EEI_KIND_MESSAGE, 0, 0, &sample_point_schema),
    SAMPLE_LIST(tags, 7, EEI_KIND_TEXTS, 8, 4, NULL),
    SAMPLE_LIST(blobs, 8, EEI_KIND_BLOBS, 8, 20, NULL),
    SAMPLE_LIST(points, 9, EEI_KIND_MESSAGES, 0, 3, &sample_point_schema),
    SAMPLE_LIST(numbers, 10, EEI_KIND_NUMBERS, 0, 5, NULL),
    EEI_FIELD(sample, late, 200, EEI_KIND_U64, false, 0),
};
static const eei_schema sample_schema = {"sample", sizeof(sample), sample_fields, sizeof sample_fields / sizeof sample_fields[0]};
#endif
