/* buf.c - the growing buffer and span helpers. Not for parsing (reader.c) or fixed layouts (writer.c). Called everywhere. */
#include "buf.h"

#include "alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CAP_FIRST = 64 };

/* Make room for `need` bytes; need <= max + 1, the one more being for a NUL that is not content. */
static ee_status grow(eei_buf *buf, size_t need) {
    if (need <= buf->cap) return EE_OK;
    size_t cap = buf->cap ? buf->cap : CAP_FIRST;
    while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap > buf->max && need <= buf->max) cap = buf->max;
    if (cap > buf->max && need > buf->max) cap = need;
    if (!buf->secret) {
        uint8_t *moved = eei_realloc(buf->data, cap);
        if (!moved) return EE_E_NOMEM;
        buf->data = moved;
        buf->cap = cap;
        return EE_OK;
    }
    uint8_t *moved = eei_malloc(cap); /* realloc would leave a copy of the secret behind (threat L5) */
    if (!moved) return EE_E_NOMEM;
    if (buf->len) memcpy(moved, buf->data, buf->len);
    eei_wipe(buf->data, buf->cap);
    eei_free(buf->data);
    buf->data = moved;
    buf->cap = cap;
    return EE_OK;
}

static ee_status room(eei_buf *buf, size_t more, size_t beyond) {
    size_t need = 0;
    if (buf->len > buf->max || more > buf->max - buf->len) return EE_E_LIMIT;
    if (!eei_add_size(&need, buf->len + more, beyond)) return EE_E_LIMIT;
    return grow(buf, need);
}

ee_status eei_buf_append(eei_buf *buf, const void *data, size_t len) {
    ee_status st = room(buf, len, 0);
    if (st || len == 0) return st;
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    return EE_OK;
}

ee_status eei_buf_append_span(eei_buf *buf, ee_span span) { return eei_buf_append(buf, span.data, span.len); }
ee_status eei_buf_append_text(eei_buf *buf, const char *text) { return eei_buf_append(buf, text, strlen(text)); }

ee_status eei_buf_printf(eei_buf *buf, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    ee_status st = n < 0 ? EE_E_INTERNAL : room(buf, (size_t)n, 1);
    if (!st) {
        (void)vsnprintf((char *)buf->data + buf->len, (size_t)n + 1, format, again);
        buf->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
    return st;
}

ee_status eei_buf_reserve(eei_buf *buf, size_t more, uint8_t **out) {
    *out = NULL;
    ee_status st = room(buf, more, 0);
    if (st) return st;
    if (!buf->data) st = grow(buf, 1); /* a pointer that may be used, even for nothing */
    if (!st) *out = buf->data + buf->len;
    return st;
}

void eei_buf_commit(eei_buf *buf, size_t written) {
    EE_ASSERT(written <= buf->cap - buf->len && written <= buf->max - buf->len);
    buf->len += written;
}

void eei_buf_consume(eei_buf *buf, size_t front) {
    EE_ASSERT(front <= buf->len);
    if (front == 0) return;
    size_t left = buf->len - front;
    if (left) memmove(buf->data, buf->data + front, left);
    if (buf->secret) eei_wipe(buf->data + left, front);
    buf->len = left;
}

void eei_buf_reset(eei_buf *buf) {
    if (buf->secret) eei_wipe(buf->data, buf->cap);
    buf->len = 0;
}

void eei_buf_clear(eei_buf *buf) {
    if (buf->secret) eei_wipe(buf->data, buf->cap);
    eei_free(buf->data);
    buf->data = NULL;
    buf->len = buf->cap = 0;
}

ee_span eei_buf_span(const eei_buf *buf) { return eei_span(buf->data, buf->len); }

const char *eei_buf_cstr(eei_buf *buf) {
    if (room(buf, 0, 1)) return NULL;
    buf->data[buf->len] = '\0';
    return (const char *)buf->data;
}

ee_span eei_span(const void *data, size_t len) { return (ee_span){data, len}; }
ee_span eei_span_text(const char *text) { return text ? eei_span(text, strlen(text)) : (ee_span){NULL, 0}; }
bool eei_span_equal(ee_span a, ee_span b) { return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0); }

bool eei_same(const void *a, const void *b, size_t len) {
    const uint8_t *x = a, *y = b;
    volatile uint8_t differ = 0; /* volatile: every byte is looked at, whatever the compiler thinks (threat S7) */
    for (size_t i = 0; i < len; i++) differ = (uint8_t)(differ | (x[i] ^ y[i]));
    return differ == 0;
}

bool eei_secret_equal(ee_span a, ee_span b) { return a.len == b.len && eei_same(a.data, b.data, a.len); }

/* Length of the sequence that starts with lead byte c; 0 if none does. low: smallest code point that needs so many bytes. */
static size_t utf8_sequence(uint8_t c, uint32_t *low) {
    if (c >= 0xc2 && c <= 0xdf) return *low = 0x80, 2;
    if (c >= 0xe0 && c <= 0xef) return *low = 0x800, 3;
    if (c >= 0xf0 && c <= 0xf4) return *low = 0x10000, 4;
    return 0;
}

/* Spec: RFC 3629 sect. 3 and 4. */
bool eei_utf8_valid(ee_span text) {
    for (size_t i = 0; i < text.len;) {
        uint8_t c = text.data[i];
        if (c < 0x80) {
            i++;
            continue;
        }
        uint32_t low = 0;
        size_t n = utf8_sequence(c, &low);
        if (n == 0 || n > text.len - i) return false;
        uint32_t point = c & (0xffu >> (n + 1));
        for (size_t k = 1; k < n; k++) {
            if ((text.data[i + k] & 0xc0) != 0x80) return false;
            point = point << 6 | (text.data[i + k] & 0x3fu);
        }
        if (point < low || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return false;
        i += n;
    }
    return true;
}
