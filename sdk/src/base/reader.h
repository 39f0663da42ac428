/* reader.h - the only way hostile bytes are touched: a cursor that cannot go back or past the end and remembers its first failure,
 * so a parser reads like the table in the specification. After a failure every read gives zeros. Called by every parser. */
#ifndef EEI_READER_H
#define EEI_READER_H
#include "buf.h"

typedef struct eei_reader {
    ee_span input;
    size_t at;
    bool failed;
    size_t failed_at;
    size_t wanted; /* bytes the failed read asked for */
} eei_reader;

eei_reader eei_reader_init(ee_span input);
uint8_t eei_read_u8(eei_reader *r);
uint16_t eei_read_u16le(eei_reader *r);
uint32_t eei_read_u32le(eei_reader *r);
uint64_t eei_read_u64le(eei_reader *r);
uint16_t eei_read_u16be(eei_reader *r);
uint32_t eei_read_u32be(eei_reader *r);
uint64_t eei_read_u64be(eei_reader *r);
void eei_read_bytes(eei_reader *r, void *out, size_t len); /* zero-fills out on failure */
ee_span eei_read_span(eei_reader *r, size_t len);          /* borrowed from the input; {NULL,0} on failure */
void eei_read_skip(eei_reader *r, size_t len);
size_t eei_reader_left(const eei_reader *r);
bool eei_reader_failed(const eei_reader *r);
/* EE_E_MALFORMED "<what>: needs N bytes at offset O, has M"; EE_OK if it did not fail. */
ee_status eei_reader_error(const eei_reader *r, const char *what, ee_error *err);
/* EE_E_MALFORMED if it failed or bytes are left. */
ee_status eei_reader_expect_end(const eei_reader *r, const char *what, ee_error *err) EE_MUST_USE;
#endif
