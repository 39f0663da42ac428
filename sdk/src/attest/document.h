/* document.h - signed JSON with a known form: tables of members over json_pull.h, and the values they hold. A member is there once or the
 * table says that it may be left out; others are passed over, as Intel adds members within a version. Knows no member itself.
 * Private to attest/; called by collateral.c and tcb_info.c. */
#ifndef EEI_DOCUMENT_H
#define EEI_DOCUMENT_H
#include "base/json_pull.h"

typedef struct eei_document {
    eei_pull pull;
    eei_arena *arena;  /* what readers keep */
    ee_error *err;     /* never NULL */
    size_t advisories; /* of all levels so far: each list is short, and there may be many (tcb_info.c) */
} eei_document;

/* Reads the value of the member into *into. It need not look at the cursor's failures. */
typedef struct eei_member {
    const char *name;
    bool optional;
    ee_status (*read)(eei_document *d, const char *name, void *into);
} eei_member;

/* A whole text of at most EEI_COLLATERAL_BYTES_MAX, or the object at the cursor. EE_E_MALFORMED, EE_E_LIMIT, EE_E_NOMEM. */
ee_status eei_doc_read(eei_document *d, ee_span text, const eei_member *members, size_t count, void *into) EE_MUST_USE;
ee_status eei_doc_object(eei_document *d, const eei_member *members, size_t count, void *into) EE_MUST_USE;
#define EEI_READ_DOCUMENT(d, text, members, into) eei_doc_read(d, text, members, sizeof(members) / sizeof(members)[0], into)
#define EEI_READ_OBJECT(d, members, into)         eei_doc_object(d, members, sizeof(members) / sizeof(members)[0], into)

ee_status eei_doc_status(eei_document *d); /* of the cursor */
/* EE_E_MALFORMED "field \"name\" what". */
ee_status eei_doc_wrong(eei_document *d, const char *name, const char *what);
/* The error so far with the name before it, unless memory ran out. */
ee_status eei_doc_named(eei_document *d, ee_status st, const char *name);

ee_status eei_doc_text(eei_document *d, ee_span *out) EE_MUST_USE;     /* borrowed from the text or the arena */
ee_status eei_doc_kept(eei_document *d, const char **out) EE_MUST_USE; /* NUL-ended, in the arena */
ee_status eei_doc_number(eei_document *d, const char *name, uint64_t max, uint64_t *out) EE_MUST_USE;
ee_status eei_doc_exact_number(eei_document *d, const char *name, uint64_t want) EE_MUST_USE;
ee_status eei_doc_exact_text(eei_document *d, const char *name, const char *want) EE_MUST_USE;
ee_status eei_doc_hex(eei_document *d, const char *name, void *out, size_t len) EE_MUST_USE;
ee_status eei_doc_date(eei_document *d, const char *name, const char **text, uint64_t *out_ms) EE_MUST_USE;

/* A growing list in the arena. */
typedef struct eei_doc_list {
    void *items;
    size_t count, room;
} eei_doc_list;
/* One more element, zeroed; elements may move. EE_E_LIMIT past most. */
ee_status eei_doc_add(eei_document *d, eei_doc_list *l, size_t bytes, size_t most, const char *name, void **item) EE_MUST_USE;
#endif
