/* buf.h - bytes we own: a growing buffer that is born with its maximum, and helpers for borrowed spans. Called everywhere. */
#ifndef EEI_BUF_H
#define EEI_BUF_H
#include "error.h"

#include <stdbool.h>

typedef struct eei_buf {
    uint8_t *data;
    size_t len, cap, max;
    bool secret; /* wiped when it moves or is cleared */
} eei_buf;
#define EEI_BUF_INIT(max_bytes)                                                                                                            \
    { NULL, 0, 0, (max_bytes), false }
#define EEI_BUF_INIT_SECRET(max_bytes)                                                                                                     \
    { NULL, 0, 0, (max_bytes), true }

/* All return EE_OK, EE_E_LIMIT (nothing appended) or EE_E_NOMEM (nothing appended). */
ee_status eei_buf_append(eei_buf *buf, const void *data, size_t len) EE_MUST_USE;
ee_status eei_buf_append_span(eei_buf *buf, ee_span span) EE_MUST_USE;
ee_status eei_buf_append_text(eei_buf *buf, const char *text) EE_MUST_USE;
ee_status eei_buf_printf(eei_buf *buf, const char *format, ...) EEI_PRINTF(2, 3) EE_MUST_USE;
ee_status eei_buf_reserve(eei_buf *buf, size_t more, uint8_t **out) EE_MUST_USE; /* room for `more` bytes at *out; then eei_buf_commit() */
void eei_buf_commit(eei_buf *buf, size_t written);
void eei_buf_consume(eei_buf *buf, size_t front); /* drop bytes at the front */
void eei_buf_reset(eei_buf *buf);                 /* len = 0, memory kept */
void eei_buf_clear(eei_buf *buf);                 /* frees; usable again */
ee_span eei_buf_span(const eei_buf *buf);
const char *eei_buf_cstr(eei_buf *buf); /* NUL-ended past len; NULL when out of memory or at max */

ee_span eei_span(const void *data, size_t len);
ee_span eei_span_text(const char *text);   /* without the NUL; NULL gives {NULL, 0} */
bool eei_span_equal(ee_span a, ee_span b); /* not constant time */
/* Constant time in the content: digests, ids, keys, nonces. */
bool eei_same(const void *a, const void *b, size_t len);
bool eei_secret_equal(ee_span a, ee_span b); /* constant time in the content */
bool eei_utf8_valid(ee_span text);           /* RFC 3629: no overlong forms, no surrogates, <= U+10FFFF */
#endif
