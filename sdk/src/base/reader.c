/* reader.c - the cursor over hostile bytes. Not for growing or owning them. Called by every parser. */
#include "reader.h"

#include <string.h>

eei_reader eei_reader_init(ee_span input) { return (eei_reader){.input = input}; }

size_t eei_reader_left(const eei_reader *r) { return r->failed ? 0 : r->input.len - r->at; }
bool eei_reader_failed(const eei_reader *r) { return r->failed; }

/* The only place that moves the cursor. */
static const uint8_t *advance(eei_reader *r, size_t len) {
    if (r->failed) return NULL;
    if (len > r->input.len - r->at) {
        r->failed = true;
        r->failed_at = r->at;
        r->wanted = len;
        return NULL;
    }
    if (len == 0) return r->input.data; /* may be NULL; nobody looks through it */
    const uint8_t *here = r->input.data + r->at;
    r->at += len;
    return here;
}

static uint64_t read_be(eei_reader *r, size_t bytes) {
    const uint8_t *p = advance(r, bytes);
    uint64_t v = 0;
    for (size_t i = 0; p && i < bytes; i++) v = v << 8 | p[i];
    return v;
}

static uint64_t read_le(eei_reader *r, size_t bytes) {
    const uint8_t *p = advance(r, bytes);
    uint64_t v = 0;
    for (size_t i = bytes; p && i > 0; i--) v = v << 8 | p[i - 1];
    return v;
}

uint8_t eei_read_u8(eei_reader *r) { return (uint8_t)read_be(r, 1); }
uint16_t eei_read_u16le(eei_reader *r) { return (uint16_t)read_le(r, 2); }
uint32_t eei_read_u32le(eei_reader *r) { return (uint32_t)read_le(r, 4); }
uint64_t eei_read_u64le(eei_reader *r) { return read_le(r, 8); }
uint16_t eei_read_u16be(eei_reader *r) { return (uint16_t)read_be(r, 2); }
uint32_t eei_read_u32be(eei_reader *r) { return (uint32_t)read_be(r, 4); }
uint64_t eei_read_u64be(eei_reader *r) { return read_be(r, 8); }

void eei_read_bytes(eei_reader *r, void *out, size_t len) {
    const uint8_t *p = advance(r, len);
    if (len == 0) return;
    if (p)
        memcpy(out, p, len);
    else
        memset(out, 0, len);
}

ee_span eei_read_span(eei_reader *r, size_t len) {
    const uint8_t *p = advance(r, len);
    return p ? eei_span(p, len) : eei_span(NULL, 0);
}

void eei_read_skip(eei_reader *r, size_t len) { (void)advance(r, len); }

ee_status eei_reader_error(const eei_reader *r, const char *what, ee_error *err) {
    if (!r->failed) return EE_OK;
    eei_fail(err, EE_E_MALFORMED, "%s: needs %zu bytes at offset %zu, has %zu", what, r->wanted, r->failed_at, r->input.len - r->failed_at);
    if (err) err->offset_bytes = r->failed_at;
    return EE_E_MALFORMED;
}

ee_status eei_reader_expect_end(const eei_reader *r, const char *what, ee_error *err) {
    if (r->failed) return eei_reader_error(r, what, err);
    if (r->at == r->input.len) return EE_OK;
    eei_fail(err, EE_E_MALFORMED, "%s: %zu bytes too many after offset %zu", what, r->input.len - r->at, r->at);
    if (err) err->offset_bytes = r->at;
    return EE_E_MALFORMED;
}
