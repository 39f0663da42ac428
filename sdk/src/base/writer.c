/* writer.c - fixed layouts appended to a buffer, first failure kept. Not for msgpack (wire/codec.c). Called by encoders. */
#include "writer.h"

#include <string.h>

eei_writer eei_writer_init(eei_buf *out) { return (eei_writer){.out = out, .status = EE_OK}; }

void eei_write_bytes(eei_writer *w, const void *data, size_t len) {
    if (!w->status) w->status = eei_buf_append(w->out, data, len);
}

void eei_write_zeros(eei_writer *w, size_t len) {
    uint8_t *room = NULL;
    if (!w->status) w->status = eei_buf_reserve(w->out, len, &room);
    if (w->status) return;
    memset(room, 0, len);
    eei_buf_commit(w->out, len);
}

static void write_be(eei_writer *w, uint64_t v, size_t bytes) {
    uint8_t out[8];
    for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
    eei_write_bytes(w, out, bytes);
}

static void write_le(eei_writer *w, uint64_t v, size_t bytes) {
    uint8_t out[8];
    for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)(v >> (8 * i));
    eei_write_bytes(w, out, bytes);
}

void eei_write_u8(eei_writer *w, uint8_t v) { write_be(w, v, 1); }
void eei_write_u16le(eei_writer *w, uint16_t v) { write_le(w, v, 2); }
void eei_write_u32le(eei_writer *w, uint32_t v) { write_le(w, v, 4); }
void eei_write_u64le(eei_writer *w, uint64_t v) { write_le(w, v, 8); }
void eei_write_u16be(eei_writer *w, uint16_t v) { write_be(w, v, 2); }
void eei_write_u32be(eei_writer *w, uint32_t v) { write_be(w, v, 4); }
void eei_write_u64be(eei_writer *w, uint64_t v) { write_be(w, v, 8); }
