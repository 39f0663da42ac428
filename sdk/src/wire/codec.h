/* codec.h - messages as tables: one field table per message drives encoding, strict decoding and the JSON view.
 * The only user of msgpack-c. Pure. Called with the tables of messages.h. Proto: docs/protocol.md#encoding
 *
 * Strict profile: a map with small unsigned integer keys in ascending order, shortest integer forms, no floats, no ext, no nil,
 * no duplicate keys, UTF-8 strings, depth <= 8. The bytes are walked and bounded before msgpack-c sees them. An unknown key >= 128
 * is ignored, an unknown key < 128 is refused (so a new field says itself whether an old reader may skip it). */
#ifndef EEI_CODEC_H
#define EEI_CODEC_H
#include "base/arena.h"
#include "base/buf.h"
#include "base/encoding.h"

typedef enum eei_kind {
    EEI_KIND_U64,      /* uint64_t; max = largest value (0: any) */
    EEI_KIND_BOOL,     /* bool */
    EEI_KIND_FIXED,    /* uint8_t[max]: exactly max bytes */
    EEI_KIND_BYTES,    /* ee_span, at most max bytes */
    EEI_KIND_TEXT,     /* ee_span of UTF-8 without NUL, at most max bytes */
    EEI_KIND_MESSAGE,  /* struct described by sub, embedded */
    EEI_KIND_TEXTS,    /* eei_list of ee_span text; each at most max bytes; at most most items */
    EEI_KIND_BLOBS,    /* eei_list of ee_span bytes; idem */
    EEI_KIND_MESSAGES, /* eei_list of structs described by sub; at most most items */
    EEI_KIND_NUMBERS,  /* eei_list of uint64_t */
} eei_kind;

typedef struct eei_list {
    void *items; /* ee_span*, uint64_t* or the sub struct's array; from the arena when decoded */
    size_t count;
} eei_list;

struct eei_schema;
typedef struct eei_field {
    uint8_t key; /* 1..127: critical; 128..255: ignorable */
    eei_kind kind;
    bool required;    /* else absent decodes as zero / empty, and a zero / empty value is not encoded */
    const char *name; /* JSON name, snake_case */
    size_t offset;    /* in the struct */
    size_t max;
    size_t most; /* items of a list */
    const struct eei_schema *sub;
} eei_field;

typedef struct eei_schema {
    const char *name; /* "job_spec": used in errors */
    size_t size;      /* of the struct */
    const eei_field *fields;
    size_t count;
} eei_schema;

#define EEI_FIELD(type, member, key_, kind_, required_, max_)                                                                              \
    { .key = (key_), .kind = (kind_), .required = (required_), .name = #member, .offset = offsetof(type, member), .max = (max_) }

/* Append the message. EE_E_INVALID names a field that breaks its table; EE_E_LIMIT; EE_E_NOMEM. */
ee_status eei_encode(const eei_schema *schema, const void *message, eei_buf *out, ee_error *err) EE_MUST_USE;
/* Decode the whole input. Spans borrow from input, lists from the arena. EE_E_MALFORMED with offset, message "job_spec.args: ...". */
ee_status eei_decode(const eei_schema *schema, ee_span input, eei_arena *arena, void *message, ee_error *err) EE_MUST_USE;
/* The JSON view: bytes as base64url, u64 above 2^53 as text. New reference. NULL when out of memory. */
json_t *eei_message_json(const eei_schema *schema, const void *message);
/* The strict walk alone: no allocation. For fuzzing and for blobs that are only passed on. */
ee_status eei_msgpack_check(ee_span input, ee_error *err) EE_MUST_USE;
#endif
