/* encoding.c - hex, base64url and strict JSON. Not for the wire, which is msgpack (wire/codec.c).
 * Called at the edges: HTTP bodies, collateral, configuration, views for people. */
#include "encoding.h"

#include "alloc.h"
#include "limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- hex ---- */

void eei_hex_encode(ee_span in, char *out) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < in.len; i++) {
        *out++ = digits[in.data[i] >> 4];
        *out++ = digits[in.data[i] & 15];
    }
    *out = '\0';
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static ee_status malformed_at(ee_error *err, size_t offset, const char *what) {
    eei_fail(err, EE_E_MALFORMED, "%s, at offset %zu", what, offset);
    if (err) err->offset_bytes = offset;
    return EE_E_MALFORMED;
}

static ee_status hex_into(ee_span hex, uint8_t *out, ee_error *err) {
    for (size_t i = 0; i < hex.len; i += 2) {
        int high = hex_digit(hex.data[i]), low = hex_digit(hex.data[i + 1]);
        if (high < 0 || low < 0) return malformed_at(err, high < 0 ? i : i + 1, "not a hex digit");
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    return EE_OK;
}

ee_status eei_hex_decode(const char *hex, void *out, size_t len, ee_error *err) {
    return eei_hex_decode_span(eei_span_text(hex), out, len, err);
}

ee_status eei_hex_decode_span(ee_span text, void *out, size_t len, ee_error *err) {
    if (len > SIZE_MAX / 2 || text.len != 2 * len)
        return eei_fail(err, EE_E_MALFORMED, "expected %zu hex digits, found %zu", 2 * len, text.len);
    return hex_into(text, out, err);
}

ee_status eei_hex_append(ee_span hex, eei_buf *out, ee_error *err) {
    uint8_t *room = NULL;
    if (hex.len % 2) return malformed_at(err, hex.len, "an odd number of hex digits");
    ee_status st = eei_buf_reserve(out, hex.len / 2, &room);
    if (st == EE_E_LIMIT) return eei_fail(err, st, "hex of %zu bytes, room for %zu", hex.len / 2, out->max - out->len);
    if (st) return eei_nomem(err);
    st = hex_into(hex, room, err);
    if (!st) eei_buf_commit(out, hex.len / 2);
    return st;
}

/* ---- base64url. Spec: RFC 4648 sect. 5, without padding, canonical (sect. 3.5) ---- */

ee_status eei_base64url_encode(ee_span in, eei_buf *out) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t *room = NULL;
    if (in.len > SIZE_MAX / 2) return EE_E_LIMIT;
    size_t len = in.len / 3 * 4 + (in.len % 3 ? in.len % 3 + 1 : 0);
    ee_status st = eei_buf_reserve(out, len, &room);
    if (st) return st;
    uint32_t held = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < in.len; i++) {
        held = (held << 8 | in.data[i]) & 0xffffu;
        for (bits += 8; bits >= 6; bits -= 6) *room++ = (uint8_t)alphabet[held >> (bits - 6) & 63];
    }
    if (bits) *room = (uint8_t)alphabet[held << (6 - bits) & 63];
    eei_buf_commit(out, len);
    return EE_OK;
}

static int base64url_digit(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

ee_status eei_base64url_decode(const char *text, eei_buf *out, ee_error *err) {
    ee_span in = eei_span_text(text);
    uint8_t *room = NULL;
    if (in.len % 4 == 1) return malformed_at(err, in.len, "base64url of an impossible length");
    size_t len = in.len / 4 * 3 + (in.len % 4 ? in.len % 4 - 1 : 0);
    ee_status st = eei_buf_reserve(out, len, &room);
    if (st == EE_E_LIMIT) return eei_fail(err, st, "base64url of %zu bytes, room for %zu", len, out->max - out->len);
    if (st) return eei_nomem(err);
    uint32_t held = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < in.len; i++) {
        int digit = base64url_digit(in.data[i]);
        if (digit < 0) return malformed_at(err, i, "not a base64url character");
        held = (held << 6 | (uint32_t)digit) & 0xffffu;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *room++ = (uint8_t)(held >> bits);
        }
    }
    if (held & ((1u << bits) - 1)) return malformed_at(err, in.len - 1, "base64url with stray bits");
    eei_buf_commit(out, len);
    return EE_OK;
}

/* ---- JSON in ---- */

typedef struct json_scan {
    ee_span text;
    size_t at, depth, items;
} json_scan;

/* From the opening quote to past the closing one; the rest of the string's rules are jansson's. */
static ee_status scan_string(json_scan *s, ee_error *err) {
    for (s->at++; s->at < s->text.len && s->text.data[s->at] != '"'; s->at++) {
        if (s->text.data[s->at] != '\\') continue;
        if (s->text.len - s->at >= 6 && memcmp(s->text.data + s->at, "\\u0000", 6) == 0)
            return malformed_at(err, s->at, "JSON string with a NUL");
        s->at++;
    }
    if (s->at < s->text.len) s->at++;
    return EE_OK;
}

static ee_status scan_number(json_scan *s, ee_error *err) {
    for (; s->at < s->text.len; s->at++) {
        uint8_t c = s->text.data[s->at];
        if (c == '.' || c == 'e' || c == 'E') return malformed_at(err, s->at, "JSON number with a fraction or exponent");
        if (c != '-' && c != '+' && (c < '0' || c > '9')) break;
    }
    return EE_OK;
}

/* Depth, count and number form, before jansson recurses, allocates or converts (threat B6). Not a validator: what it lets through jansson
 * judges. */
static ee_status scan(ee_span text, ee_error *err) {
    json_scan s = {.text = text};
    ee_status st = EE_OK;
    while (!st && s.at < text.len) {
        uint8_t c = text.data[s.at];
        bool number = c == '-' || (c >= '0' && c <= '9'), opens = c == '[' || c == '{';
        if (c == '\0') return malformed_at(err, s.at, "JSON with a NUL");
        if ((c == '"' || number || opens) && ++s.items > EEI_JSON_ITEMS_MAX)
            return eei_fail(err, EE_E_LIMIT, "JSON with more than %u names and values", EEI_JSON_ITEMS_MAX);
        if (c == '"') {
            st = scan_string(&s, err);
        } else if (number) {
            st = scan_number(&s, err);
        } else {
            if (opens && ++s.depth > EEI_JSON_DEPTH_MAX) return malformed_at(err, s.at, "JSON deeper than 16");
            if ((c == ']' || c == '}') && s.depth > 0) s.depth--;
            s.at++;
        }
    }
    return st;
}

/* jansson quotes the input in its messages ("... near 'text'"): cut, because bodies may hold secrets (threat L2). */
static ee_status json_failed(const json_error_t *e, ee_error *err) {
    char text[JSON_ERROR_TEXT_LENGTH];
    if (!e->text[0] || json_error_code(e) == json_error_out_of_memory) return eei_nomem(err);
    snprintf(text, sizeof text, "%s", e->text);
    char *cut = strstr(text, " near ");
    if (cut) *cut = '\0';
    if (json_error_code(e) == json_error_duplicate_key) snprintf(text, sizeof text, "duplicate key");
    size_t offset = e->position > 0 ? (size_t)e->position : 0;
    eei_fail(err, EE_E_MALFORMED, "JSON: %s, line %d, at offset %zu", text, e->line, offset);
    if (err) err->offset_bytes = offset;
    return EE_E_MALFORMED;
}

ee_status eei_json_parse(ee_span text, size_t max, json_t **out, ee_error *err) {
    json_error_t e = {0};
    *out = NULL;
    if (text.len > max) return eei_fail(err, EE_E_LIMIT, "JSON of %zu bytes, limit %zu", text.len, max);
    if (text.len == 0) return malformed_at(err, 0, "JSON is empty");
    size_t first = 0;
    while (first < text.len && memchr(" \t\r\n", text.data[first], 4)) first++;
    if (first == text.len || (text.data[first] != '{' && text.data[first] != '['))
        return malformed_at(err, first, "no JSON object or list");
    ee_status st = scan(text, err);
    if (st) return st;
    *out = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &e);
    return *out ? EE_OK : json_failed(&e, err);
}

/* ---- fields ---- */

ee_status eei_json_string_opt(const json_t *object, const char *field, const char **out, ee_error *err) {
    *out = NULL;
    const json_t *value = json_object_get(object, field);
    if (!value) return EE_OK;
    if (!json_is_string(value)) return eei_fail(err, EE_E_INVALID, "field \"%s\" must be a string", field);
    *out = json_string_value(value);
    return EE_OK;
}

ee_status eei_json_string(const json_t *object, const char *field, const char **out, ee_error *err) {
    ee_status st = eei_json_string_opt(object, field, out, err);
    if (st || *out) return st;
    return eei_fail(err, EE_E_INVALID, "field \"%s\" is missing", field);
}

/* Decimal digits without sign or leading zeros. */
static bool u64_from_text(const char *text, uint64_t *out) {
    uint64_t v = 0;
    if (!*text || (text[0] == '0' && text[1])) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v)) return false;
    }
    *out = v;
    return true;
}

ee_status eei_json_u64(const json_t *object, const char *field, uint64_t *out, ee_error *err) {
    *out = 0;
    const json_t *value = json_object_get(object, field);
    if (!value) return eei_fail(err, EE_E_INVALID, "field \"%s\" is missing", field);
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *out = (uint64_t)json_integer_value(value);
        return EE_OK;
    }
    /* Above 2^53 numbers travel as text, because JavaScript and jq round them. */
    if (json_is_string(value) && u64_from_text(json_string_value(value), out)) return EE_OK;
    return eei_fail(err, EE_E_INVALID, "field \"%s\" must be a whole number from 0 to 18446744073709551615", field);
}

ee_status eei_json_only(const json_t *object, const char *const *allowed, ee_error *err) {
    const char *key = NULL;
    json_t *value = NULL;
    if (!json_is_object(object)) return eei_fail(err, EE_E_INVALID, "expected a JSON object");
    json_object_foreach((json_t *)(uintptr_t)object, key, value) { /* jansson's iterator takes no const; nothing is changed */
        const char *const *a = allowed;
        while (*a && strcmp(*a, key) != 0) a++;
        if (!*a) return eei_fail(err, EE_E_INVALID, "field \"%.64s\" is not known", key);
    }
    return EE_OK;
}

/* ---- JSON out ---- */

typedef struct json_sink {
    eei_buf *out;
    ee_status status;
} json_sink;

static int write_json(const char *data, size_t len, void *user) {
    json_sink *sink = user;
    sink->status = eei_buf_append(sink->out, data, len);
    return sink->status ? -1 : 0;
}

ee_status eei_json_dump(const json_t *value, eei_buf *out, ee_error *err) {
    json_sink sink = {.out = out};
    const size_t kept = out->len;
    if (json_dump_callback(value, write_json, &sink, JSON_COMPACT | JSON_ENCODE_ANY) == 0) return EE_OK;
    out->len = kept;
    if (sink.status == EE_E_LIMIT) return eei_fail(err, EE_E_LIMIT, "JSON is larger than %zu bytes", out->max - kept);
    return eei_nomem(err);
}

void eei_json_put(json_t *object, const char *key, json_t *value, bool *ok) {
    if (json_object_set_new(object, key, value)) *ok = false;
}

json_t *eei_json_hex(const uint8_t *data, size_t len) {
    char hex[129];
    EE_ASSERT(len <= 64);
    eei_hex_encode(eei_span(data, len), hex);
    return json_string(hex);
}

json_t *eei_json_money(ee_money amount) {
    char text[32], micros[24];
    const bool negative = amount < 0;
    ee_money_format(amount, text); /* "$1.00" or "-$1.00": the dollar sign goes, the minus stays */
    memmove(text + negative, text + negative + 1, strlen(text) - negative);
    const int64_t exact = INT64_C(1) << 53;
    if (amount >= -exact && amount <= exact) return json_pack("{s:s, s:I}", "usd", text, "micros", (json_int_t)amount);
    snprintf(micros, sizeof micros, "%" PRId64, amount);
    return json_pack("{s:s, s:s}", "usd", text, "micros", micros);
}
