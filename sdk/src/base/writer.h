/* writer.h - the encoding twin of reader.h: appends to an eei_buf and remembers its first failure. Called by encoders of fixed layouts. */
#ifndef EEI_WRITER_H
#define EEI_WRITER_H
#include "buf.h"

typedef struct eei_writer {
    eei_buf *out;
    ee_status status; /* first failure, sticky */
} eei_writer;

eei_writer eei_writer_init(eei_buf *out);
void eei_write_u8(eei_writer *w, uint8_t v);
void eei_write_u16le(eei_writer *w, uint16_t v);
void eei_write_u32le(eei_writer *w, uint32_t v);
void eei_write_u64le(eei_writer *w, uint64_t v);
void eei_write_u16be(eei_writer *w, uint16_t v);
void eei_write_u32be(eei_writer *w, uint32_t v);
void eei_write_u64be(eei_writer *w, uint64_t v);
void eei_write_bytes(eei_writer *w, const void *data, size_t len);
void eei_write_zeros(eei_writer *w, size_t len);
#endif
