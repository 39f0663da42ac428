/* codec.c - messages to bytes and back, driven by their field tables; the only user of msgpack-c.
 * Not for what messages mean, and not for statements of fixed layout. Called with the tables of messages.h.
 *
 * Decoding has three steps: our own walk over the bytes (bounded, no allocation), msgpack-c, then the table. msgpack-c never sees
 * bytes that the walk did not pass: 5 bytes `dd 08 00 00 00` would make it ask for 3 GB. Proto: docs/protocol.md#encoding */
#include "codec.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/reader.h"

#include <msgpack.h>
#include <stdio.h>
#include <string.h>

/* ---- the strict walk ---- */

enum { KEY_MAX = 255, KEY_IGNORABLE = 128 };

typedef enum token_kind { TOKEN_UINT, TOKEN_BOOL, TOKEN_TEXT, TOKEN_BYTES, TOKEN_ARRAY, TOKEN_MAP } token_kind;
typedef struct token {
    token_kind kind;
    uint64_t value; /* number, length or count */
    size_t at;      /* offset of its first byte */
} token;

static ee_status bad(ee_error *err, size_t at, const char *what) {
    eei_fail(err, EE_E_MALFORMED, "msgpack: %s, at offset %zu", what, at);
    if (err) err->offset_bytes = at;
    return EE_E_MALFORMED;
}

/* Heads that carry their number in 1, 2, 4 or 8 bytes after them. A smaller number has a shorter form and is refused in this one. */
typedef struct head {
    uint8_t byte, bytes;
    token_kind kind;
    uint64_t least;
} head;
static const head heads[] = {
    {0xcc, 1, TOKEN_UINT, 128},  {0xcd, 2, TOKEN_UINT, 256},    {0xce, 4, TOKEN_UINT, 65536}, {0xcf, 8, TOKEN_UINT, UINT64_C(1) << 32},
    {0xd9, 1, TOKEN_TEXT, 32},   {0xda, 2, TOKEN_TEXT, 256},    {0xdb, 4, TOKEN_TEXT, 65536}, {0xc4, 1, TOKEN_BYTES, 0},
    {0xc5, 2, TOKEN_BYTES, 256}, {0xc6, 4, TOKEN_BYTES, 65536}, {0xdc, 2, TOKEN_ARRAY, 16},   {0xdd, 4, TOKEN_ARRAY, 65536},
    {0xde, 2, TOKEN_MAP, 16},    {0xdf, 4, TOKEN_MAP, 65536},
};

static uint64_t read_number(eei_reader *r, unsigned bytes) {
    switch (bytes) {
    case 1: return eei_read_u8(r);
    case 2: return eei_read_u16be(r);
    case 4: return eei_read_u32be(r);
    default: return eei_read_u64be(r);
    }
}

static ee_status read_long_head(eei_reader *r, uint8_t byte, token *t, ee_error *err) {
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        if (heads[i].byte != byte) continue;
        t->kind = heads[i].kind;
        t->value = read_number(r, heads[i].bytes);
        if (eei_reader_failed(r)) return eei_reader_error(r, "msgpack", err);
        return t->value < heads[i].least ? bad(err, t->at, "not the shortest form") : EE_OK;
    }
    if (byte == 0xc0) return bad(err, t->at, "nil is not used");
    if (byte == 0xca || byte == 0xcb) return bad(err, t->at, "floating point is not used");
    if (byte >= 0xe0 || (byte >= 0xd0 && byte <= 0xd3)) return bad(err, t->at, "signed integers are not used");
    return bad(err, t->at, "extension types are not used");
}

static ee_status read_head(eei_reader *r, token *t, ee_error *err) {
    *t = (token){.at = r->at};
    const uint8_t byte = eei_read_u8(r);
    if (eei_reader_failed(r)) return eei_reader_error(r, "msgpack", err);
    if (byte <= 0x7f)
        t->kind = TOKEN_UINT, t->value = byte;
    else if (byte <= 0x8f)
        t->kind = TOKEN_MAP, t->value = byte & 0x0fu;
    else if (byte <= 0x9f)
        t->kind = TOKEN_ARRAY, t->value = byte & 0x0fu;
    else if (byte <= 0xbf)
        t->kind = TOKEN_TEXT, t->value = byte & 0x1fu;
    else if (byte == 0xc2 || byte == 0xc3)
        t->kind = TOKEN_BOOL, t->value = byte & 1u;
    else
        return read_long_head(r, byte, t, err);
    return EE_OK;
}

/* One value's head and, for text and bytes, its content; for containers the count is held against the bytes that are left. */
static ee_status read_token(eei_reader *r, token *t, ee_error *err) {
    ee_status st = read_head(r, t, err);
    if (st) return st;
    const uint64_t least_bytes = t->kind == TOKEN_MAP ? 2 * t->value : t->kind == TOKEN_ARRAY ? t->value : 0; /* at most 2^33 */
    if (least_bytes > eei_reader_left(r)) return bad(err, t->at, "more items than bytes");
    if (t->kind != TOKEN_TEXT && t->kind != TOKEN_BYTES) return EE_OK;
    ee_span content = eei_read_span(r, (size_t)t->value);
    if (eei_reader_failed(r)) return eei_reader_error(r, "msgpack", err);
    return t->kind == TOKEN_TEXT && !eei_utf8_valid(content) ? bad(err, t->at, "text that is not UTF-8") : EE_OK;
}

typedef struct level {
    uint64_t left; /* values to come; in a map keys and values alternate, a key when it is even */
    uint64_t last_key;
    bool map;
} level;

typedef struct walk {
    level levels[EEI_MSGPACK_DEPTH_MAX];
    size_t depth, items;
} walk;

static ee_status check_key(level *l, const token *t, ee_error *err) {
    if (t->kind != TOKEN_UINT || t->value == 0 || t->value > KEY_MAX) return bad(err, t->at, "a key that is not a number from 1 to 255");
    if (t->value <= l->last_key) return bad(err, t->at, t->value == l->last_key ? "duplicate key" : "keys not in ascending order");
    l->last_key = t->value;
    return EE_OK;
}

static ee_status enter(walk *w, const token *t, ee_error *err) {
    if (w->depth == EEI_MSGPACK_DEPTH_MAX) return bad(err, t->at, "deeper than 8");
    const bool map = t->kind == TOKEN_MAP;
    w->levels[w->depth++] = (level){.left = map ? 2 * t->value : t->value, .map = map};
    return EE_OK;
}

ee_status eei_msgpack_check(ee_span input, ee_error *err) {
    eei_reader r = eei_reader_init(input);
    walk w = {.depth = 0};
    token t;
    ee_status st = read_token(&r, &t, err);
    if (st) return st;
    if (t.kind != TOKEN_MAP) return bad(err, t.at, "a message is a map");
    st = enter(&w, &t, err);
    while (!st && w.depth > 0) {
        level *l = &w.levels[w.depth - 1];
        if (l->left == 0) {
            w.depth--;
            continue;
        }
        if (++w.items > EEI_MSGPACK_ITEMS_MAX) return bad(err, r.at, "more than 16384 values");
        st = read_token(&r, &t, err);
        if (!st && l->map && l->left % 2 == 0) st = check_key(l, &t, err);
        l->left--;
        if (!st && (t.kind == TOKEN_MAP || t.kind == TOKEN_ARRAY)) st = enter(&w, &t, err);
    }
    return st ? st : eei_reader_expect_end(&r, "msgpack", err);
}

/* ---- fields ---- */

/* Where we are, for messages: "job_spec.limits.vcpus". Lives on the stack of the functions below. */
typedef struct place {
    const struct place *up;
    const char *name;
} place;

static void place_text(const place *p, char *out, size_t cap) {
    const char *names[EEI_MSGPACK_DEPTH_MAX + 1];
    size_t count = 0, at = 0;
    out[0] = '\0';
    for (; p && count < sizeof names / sizeof names[0]; p = p->up) names[count++] = p->name;
    while (count > 0 && at < cap) {
        count--;
        int n = snprintf(out + at, cap - at, "%s%s", names[count], count ? "." : "");
        if (n > 0) at += (size_t)n;
    }
}

static bool all_zero(const void *data, size_t len) {
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++)
        if (p[i]) return false;
    return true;
}

/* Zero or empty: what an absent field decodes to, and what is not encoded unless the field is required. */
static bool is_empty(const eei_field *f, const void *value) {
    ee_span span;
    eei_list list;
    switch (f->kind) {
    case EEI_KIND_U64: return all_zero(value, sizeof(uint64_t));
    case EEI_KIND_BOOL: return all_zero(value, sizeof(bool));
    case EEI_KIND_FIXED: return all_zero(value, f->max);
    case EEI_KIND_BYTES:
    case EEI_KIND_TEXT: return memcpy(&span, value, sizeof span), span.len == 0;
    case EEI_KIND_MESSAGE:
        for (size_t i = 0; i < f->sub->count; i++)
            if (!is_empty(&f->sub->fields[i], (const char *)value + f->sub->fields[i].offset)) return false;
        return true;
    default: return memcpy(&list, value, sizeof list), list.count == 0;
    }
}

/* ---- encoding ---- */

typedef struct encoder {
    msgpack_packer pack;
    eei_buf *out;
    ee_status status; /* of the buffer */
    ee_error *err;
} encoder;

static int write_bytes(void *user, const char *data, size_t len) {
    encoder *e = user;
    e->status = eei_buf_append(e->out, data, len);
    return e->status ? -1 : 0;
}

static ee_status encode_error(encoder *e, const place *p, const char *what, uint64_t found, uint64_t limit) {
    char where[160];
    place_text(p, where, sizeof where);
    return eei_fail(e->err, EE_E_INVALID, "%s: %s (%llu, limit %llu)", where, what, (unsigned long long)found, (unsigned long long)limit);
}

/* What msgpack-c's writer gave back: it fails only when the buffer does. */
static ee_status packed(encoder *e, int rc) {
    if (!rc) return EE_OK;
    if (e->status == EE_E_LIMIT) return eei_fail(e->err, EE_E_LIMIT, "message is larger than %zu bytes", e->out->max);
    return eei_nomem(e->err);
}

static ee_status encode_map(encoder *e, const eei_schema *schema, const void *message, const place *up, unsigned depth);

static ee_status encode_span(encoder *e, const eei_field *f, bool text, ee_span v, const place *p) {
    if (v.len > f->max || v.len > UINT32_MAX) return encode_error(e, p, "too long", v.len, f->max);
    const char *data = v.len ? (const char *)v.data : "";
    if (!text) return packed(e, msgpack_pack_bin_with_body(&e->pack, data, v.len));
    if (!eei_utf8_valid(v)) return encode_error(e, p, "not UTF-8", v.len, f->max);
    if (v.len && memchr(data, 0, v.len)) return encode_error(e, p, "text with a NUL", v.len, f->max);
    return packed(e, msgpack_pack_str_with_body(&e->pack, data, v.len));
}

static ee_status encode_number(encoder *e, const eei_field *f, uint64_t v, const place *p) {
    if (f->max && v > f->max) return encode_error(e, p, "too large", v, f->max);
    return packed(e, msgpack_pack_uint64(&e->pack, v));
}

static ee_status encode_list(encoder *e, const eei_field *f, const eei_list *list, const place *p, unsigned depth) {
    if (list->count > f->most) return encode_error(e, p, "too many items", list->count, f->most);
    ee_status st = packed(e, msgpack_pack_array(&e->pack, list->count));
    for (size_t i = 0; !st && i < list->count; i++) {
        switch (f->kind) {
        case EEI_KIND_TEXTS:
        case EEI_KIND_BLOBS: st = encode_span(e, f, f->kind == EEI_KIND_TEXTS, ((const ee_span *)list->items)[i], p); break;
        case EEI_KIND_NUMBERS: st = encode_number(e, f, ((const uint64_t *)list->items)[i], p); break;
        default: st = encode_map(e, f->sub, (const char *)list->items + i * f->sub->size, p, depth + 1);
        }
    }
    return st;
}

static ee_status encode_value(encoder *e, const eei_field *f, const void *value, const place *p, unsigned depth) {
    uint64_t number = 0;
    bool truth = false;
    ee_span span = {NULL, 0};
    eei_list list = {NULL, 0};
    switch (f->kind) {
    case EEI_KIND_U64: return memcpy(&number, value, sizeof number), encode_number(e, f, number, p);
    case EEI_KIND_BOOL:
        memcpy(&truth, value, sizeof truth);
        return packed(e, truth ? msgpack_pack_true(&e->pack) : msgpack_pack_false(&e->pack));
    case EEI_KIND_FIXED: return encode_span(e, f, false, eei_span(value, f->max), p);
    case EEI_KIND_BYTES:
    case EEI_KIND_TEXT: return memcpy(&span, value, sizeof span), encode_span(e, f, f->kind == EEI_KIND_TEXT, span, p);
    case EEI_KIND_MESSAGE: return encode_map(e, f->sub, value, p, depth + 1);
    default: return memcpy(&list, value, sizeof list), encode_list(e, f, &list, p, depth + 1);
    }
}

static ee_status encode_map(encoder *e, const eei_schema *schema, const void *message, const place *up, unsigned depth) {
    size_t present = 0;
    if (depth > EEI_MSGPACK_DEPTH_MAX) return encode_error(e, up, "too deep", depth, EEI_MSGPACK_DEPTH_MAX);
    for (size_t i = 0; i < schema->count; i++) {
        const eei_field *f = &schema->fields[i];
        EE_ASSERT(f->key > (i ? f[-1].key : 0)); /* tables are written in ascending order */
        present += f->required || !is_empty(f, (const char *)message + f->offset);
    }
    ee_status st = packed(e, msgpack_pack_map(&e->pack, present));
    for (size_t i = 0; !st && i < schema->count; i++) {
        const eei_field *f = &schema->fields[i];
        const void *value = (const char *)message + f->offset;
        const place here = {up, f->name};
        if (!f->required && is_empty(f, value)) continue;
        st = packed(e, msgpack_pack_uint8(&e->pack, f->key));
        if (!st) st = encode_value(e, f, value, &here, depth);
    }
    return st;
}

ee_status eei_encode(const eei_schema *schema, const void *message, eei_buf *out, ee_error *err) {
    encoder e = {.out = out, .err = err};
    const size_t kept = out->len;
    const place root = {NULL, schema->name};
    msgpack_packer_init(&e.pack, &e, write_bytes);
    ee_status st = encode_map(&e, schema, message, &root, 1);
    /* We send nothing that we would refuse: the same walk judges what was written. Only the number of values can be wrong by now. */
    if (!st && eei_msgpack_check(eei_span(out->data + kept, out->len - kept), NULL))
        st = eei_fail(err, EE_E_LIMIT, "%s: more than %u values in one message", schema->name, EEI_MSGPACK_ITEMS_MAX);
    if (st) {
        if (out->secret && out->len > kept) eei_wipe(out->data + kept, out->len - kept);
        out->len = kept;
    }
    return st;
}

/* ---- decoding ---- */

typedef struct decoder {
    eei_arena *arena;
    ee_error *err;
    size_t at;      /* offset of the next value; known because every value has exactly one form */
    size_t ignored; /* unknown fields that were skipped */
} decoder;

static size_t number_bytes(uint64_t v) { return v < 128 ? 1 : v < 256 ? 2 : v < 65536 ? 3 : v <= UINT32_MAX ? 5 : 9; }

/* Encoded bytes of a value without the values inside it. */
static size_t head_bytes(const msgpack_object *o) {
    switch (o->type) {
    case MSGPACK_OBJECT_POSITIVE_INTEGER: return number_bytes(o->via.u64);
    case MSGPACK_OBJECT_STR:
        return o->via.str.size + (o->via.str.size < 32 ? 1u : o->via.str.size < 256 ? 2u : o->via.str.size < 65536 ? 3u : 5u);
    case MSGPACK_OBJECT_BIN: return o->via.bin.size + (o->via.bin.size < 256 ? 2u : o->via.bin.size < 65536 ? 3u : 5u);
    case MSGPACK_OBJECT_ARRAY: return o->via.array.size < 16 ? 1 : o->via.array.size < 65536 ? 3 : 5;
    case MSGPACK_OBJECT_MAP: return o->via.map.size < 16 ? 1 : o->via.map.size < 65536 ? 3 : 5;
    default: return 1;
    }
}

/* Encoded bytes of a value with all inside it. Recursion is at most 8 deep: the walk has seen to it. */
static size_t whole_bytes(const msgpack_object *o) {
    size_t n = head_bytes(o);
    if (o->type == MSGPACK_OBJECT_ARRAY)
        for (uint32_t i = 0; i < o->via.array.size; i++) n += whole_bytes(&o->via.array.ptr[i]);
    if (o->type == MSGPACK_OBJECT_MAP)
        for (uint32_t i = 0; i < o->via.map.size; i++) n += whole_bytes(&o->via.map.ptr[i].key) + whole_bytes(&o->via.map.ptr[i].val);
    return n;
}

static ee_status decode_error(decoder *d, const place *p, size_t at, const char *what) {
    char where[160];
    place_text(p, where, sizeof where);
    eei_fail(d->err, EE_E_MALFORMED, "%s: %s, at offset %zu", where, what, at);
    if (d->err) d->err->offset_bytes = at;
    return EE_E_MALFORMED;
}

static ee_status decode_map(decoder *d, const eei_schema *schema, const msgpack_object *o, void *message, const place *up);

static ee_status decode_number(decoder *d, const eei_field *f, const msgpack_object *o, uint64_t *out, const place *p) {
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER) return decode_error(d, p, d->at, "expected a number");
    if (f->max && o->via.u64 > f->max) return decode_error(d, p, d->at, "number is too large");
    *out = o->via.u64;
    d->at += head_bytes(o);
    return EE_OK;
}

static ee_status decode_bytes(decoder *d, const eei_field *f, const msgpack_object *o, ee_span *out, const place *p) {
    if (o->type != MSGPACK_OBJECT_BIN) return decode_error(d, p, d->at, "expected bytes");
    if (o->via.bin.size > f->max) return decode_error(d, p, d->at, "too many bytes");
    if (o->via.bin.size) *out = eei_span(o->via.bin.ptr, o->via.bin.size);
    d->at += head_bytes(o);
    return EE_OK;
}

static ee_status decode_text(decoder *d, const eei_field *f, const msgpack_object *o, ee_span *out, const place *p) {
    if (o->type != MSGPACK_OBJECT_STR) return decode_error(d, p, d->at, "expected text");
    if (o->via.str.size > f->max) return decode_error(d, p, d->at, "text is too long");
    if (o->via.str.size && memchr(o->via.str.ptr, 0, o->via.str.size)) return decode_error(d, p, d->at, "text with a NUL");
    if (o->via.str.size) *out = eei_span(o->via.str.ptr, o->via.str.size);
    d->at += head_bytes(o);
    return EE_OK;
}

static ee_status decode_fixed(decoder *d, const eei_field *f, const msgpack_object *o, void *out, const place *p) {
    ee_span bytes = {NULL, 0};
    const size_t at = d->at;
    ee_status st = decode_bytes(d, f, o, &bytes, p);
    if (st) return st;
    if (bytes.len != f->max) return decode_error(d, p, at, "too few bytes");
    if (bytes.len) memcpy(out, bytes.data, bytes.len);
    return EE_OK;
}

static ee_status list_memory(decoder *d, const eei_field *f, size_t count, void **out, const place *p) {
    const size_t each = f->kind == EEI_KIND_MESSAGES ? f->sub->size : f->kind == EEI_KIND_NUMBERS ? sizeof(uint64_t) : sizeof(ee_span);
    size_t bytes = 0;
    if (!eei_mul_size(&bytes, count, each)) return decode_error(d, p, d->at, "too many items");
    *out = eei_arena_alloc(d->arena, bytes);
    return *out ? EE_OK : eei_arena_error(d->arena, d->err);
}

static ee_status decode_list(decoder *d, const eei_field *f, const msgpack_object *o, eei_list *out, const place *p) {
    if (o->type != MSGPACK_OBJECT_ARRAY) return decode_error(d, p, d->at, "expected a list");
    const size_t count = o->via.array.size;
    if (count > f->most) return decode_error(d, p, d->at, "too many items");
    void *items = NULL;
    ee_status st = count ? list_memory(d, f, count, &items, p) : EE_OK;
    d->at += head_bytes(o);
    for (size_t i = 0; !st && i < count; i++) {
        const msgpack_object *item = &o->via.array.ptr[i];
        switch (f->kind) {
        case EEI_KIND_TEXTS: st = decode_text(d, f, item, (ee_span *)items + i, p); break;
        case EEI_KIND_BLOBS: st = decode_bytes(d, f, item, (ee_span *)items + i, p); break;
        case EEI_KIND_NUMBERS: st = decode_number(d, f, item, (uint64_t *)items + i, p); break;
        default: st = decode_map(d, f->sub, item, (char *)items + i * f->sub->size, p);
        }
    }
    if (!st) *out = (eei_list){items, count};
    return st;
}

static ee_status decode_value(decoder *d, const eei_field *f, const msgpack_object *o, void *value, const place *p) {
    uint64_t number = 0;
    bool truth = false;
    ee_span span = {NULL, 0};
    eei_list list = {NULL, 0};
    ee_status st = EE_OK;
    switch (f->kind) {
    case EEI_KIND_U64:
        st = decode_number(d, f, o, &number, p);
        memcpy(value, &number, sizeof number);
        return st;
    case EEI_KIND_BOOL:
        if (o->type != MSGPACK_OBJECT_BOOLEAN) return decode_error(d, p, d->at, "expected true or false");
        truth = o->via.boolean;
        memcpy(value, &truth, sizeof truth);
        d->at++;
        return EE_OK;
    case EEI_KIND_FIXED: return decode_fixed(d, f, o, value, p);
    case EEI_KIND_BYTES:
    case EEI_KIND_TEXT:
        st = f->kind == EEI_KIND_TEXT ? decode_text(d, f, o, &span, p) : decode_bytes(d, f, o, &span, p);
        memcpy(value, &span, sizeof span);
        return st;
    case EEI_KIND_MESSAGE: return decode_map(d, f->sub, o, value, p);
    default:
        st = decode_list(d, f, o, &list, p);
        memcpy(value, &list, sizeof list);
        return st;
    }
}

static ee_status decode_field(decoder *d, const eei_field *f, const msgpack_object *o, void *message, const place *up) {
    void *value = (char *)message + f->offset;
    const place here = {up, f->name};
    const size_t at = d->at, ignored = d->ignored;
    ee_status st = decode_value(d, f, o, value, &here);
    /* One message, one encoding: signatures and hashes are over the bytes. A field of a newer writer inside is no emptiness. */
    if (!st && !f->required && d->ignored == ignored && is_empty(f, value))
        return decode_error(d, &here, at, "an empty field must be left out");
    return st;
}

static ee_status decode_map(decoder *d, const eei_schema *schema, const msgpack_object *o, void *message, const place *up) {
    const eei_field *f = schema->fields, *end = schema->fields + schema->count;
    memset(message, 0, schema->size);
    if (o->type != MSGPACK_OBJECT_MAP) return decode_error(d, up, d->at, "expected a map");
    const size_t start = d->at;
    d->at += head_bytes(o);
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        const uint64_t key = o->via.map.ptr[i].key.via.u64; /* the walk saw numbers, ascending */
        const msgpack_object *value = &o->via.map.ptr[i].val;
        for (; f < end && f->key < key; f++)
            if (f->required) return decode_error(d, &(place){up, f->name}, start, "is missing");
        if ((f == end || f->key != key) && key < KEY_IGNORABLE) {
            char what[48];
            snprintf(what, sizeof what, "unknown field %u", (unsigned)key);
            return decode_error(d, up, d->at, what);
        }
        d->at += number_bytes(key);
        if (f == end || f->key != key) {
            d->at += whole_bytes(value);
            d->ignored++;
            continue;
        }
        ee_status st = decode_field(d, f++, value, message, up);
        if (st) return st;
    }
    for (; f < end; f++)
        if (f->required) return decode_error(d, &(place){up, f->name}, start, "is missing");
    return EE_OK;
}

ee_status eei_decode(const eei_schema *schema, ee_span input, eei_arena *arena, void *message, ee_error *err) {
    decoder d = {.arena = arena, .err = err};
    const place root = {NULL, schema->name};
    size_t used = 0;
    memset(message, 0, schema->size);
    ee_status st = eei_msgpack_check(input, err);
    if (st) return eei_prefix(err, st, schema->name);
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    const msgpack_unpack_return got = msgpack_unpack_next(&unpacked, (const char *)input.data, input.len, &used);
    if (got == MSGPACK_UNPACK_NOMEM_ERROR)
        st = eei_nomem(err);
    else if (got != MSGPACK_UNPACK_SUCCESS || used != input.len) /* cannot be: the walk is stricter than msgpack-c. Refuse all the same */
        st = eei_fail(err, EE_E_MALFORMED, "%s: msgpack-c stopped at offset %zu of %zu", schema->name, used, input.len);
    else
        st = decode_map(&d, schema, &unpacked.data, message, &root);
    msgpack_unpacked_destroy(&unpacked);
    if (st) memset(message, 0, schema->size); /* no half-decoded message is ever looked at */
    return st;
}

/* ---- the JSON view ---- */

static json_t *json_of_bytes(ee_span bytes) {
    eei_buf text = EEI_BUF_INIT(SIZE_MAX / 2);
    json_t *out = NULL;
    if (!eei_base64url_encode(bytes, &text)) out = json_stringn(text.len ? (const char *)text.data : "", text.len);
    eei_buf_clear(&text);
    return out;
}

static json_t *json_of_number(uint64_t v) {
    char text[24];
    if (v <= UINT64_C(1) << 53) return json_integer((json_int_t)v); /* larger ones are rounded by half the JSON readers there are */
    snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    return json_string(text);
}

static json_t *json_of_text(ee_span text) { return json_stringn(text.len ? (const char *)text.data : "", text.len); }

static json_t *json_of_list(const eei_field *f, const eei_list *list) {
    json_t *out = json_array(), *item = NULL;
    for (size_t i = 0; out && i < list->count; i++) {
        switch (f->kind) {
        case EEI_KIND_TEXTS: item = json_of_text(((const ee_span *)list->items)[i]); break;
        case EEI_KIND_BLOBS: item = json_of_bytes(((const ee_span *)list->items)[i]); break;
        case EEI_KIND_NUMBERS: item = json_of_number(((const uint64_t *)list->items)[i]); break;
        default: item = eei_message_json(f->sub, (const char *)list->items + i * f->sub->size);
        }
        if (json_array_append_new(out, item)) { /* also when item is NULL */
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

static json_t *json_of_value(const eei_field *f, const void *value) {
    uint64_t number = 0;
    bool truth = false;
    ee_span span = {NULL, 0};
    eei_list list = {NULL, 0};
    switch (f->kind) {
    case EEI_KIND_U64: return memcpy(&number, value, sizeof number), json_of_number(number);
    case EEI_KIND_BOOL: return memcpy(&truth, value, sizeof truth), json_boolean(truth);
    case EEI_KIND_FIXED: return json_of_bytes(eei_span(value, f->max));
    case EEI_KIND_BYTES: return memcpy(&span, value, sizeof span), json_of_bytes(span);
    case EEI_KIND_TEXT: return memcpy(&span, value, sizeof span), json_of_text(span);
    case EEI_KIND_MESSAGE: return eei_message_json(f->sub, value);
    default: return memcpy(&list, value, sizeof list), json_of_list(f, &list);
    }
}

json_t *eei_message_json(const eei_schema *schema, const void *message) {
    json_t *out = json_object();
    for (size_t i = 0; out && i < schema->count; i++) {
        const eei_field *f = &schema->fields[i];
        const void *value = (const char *)message + f->offset;
        if (!f->required && is_empty(f, value)) continue; /* absent on the wire, absent in the view */
        if (json_object_set_new(out, f->name, json_of_value(f, value))) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}
