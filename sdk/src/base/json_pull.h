/* json_pull.h - JSON read in the order in which it comes, nothing built: a cursor like reader.h, for documents whose form is known and
 * whose bytes are a stranger's. Stricter than RFC 8259: no duplicate names, no escapes in names, whole numbers only, bounded depth and
 * members. Not for documents that are kept or written (encoding.h). Called by attest for collateral, TCB info and QE identity. */
#ifndef EEI_JSON_PULL_H
#define EEI_JSON_PULL_H
#include "arena.h"
#include "buf.h"
#include "limits.h"

enum { EEI_PULL_MEMBERS_MAX = 32 }; /* of one object; Intel's largest has 11 */

typedef struct eei_pull_level {
    bool first;
    size_t count;
    ee_span names[EEI_PULL_MEMBERS_MAX];
} eei_pull_level;

typedef struct eei_pull {
    ee_span text;
    size_t at;
    size_t depth;        /* of what is open */
    const char *why;     /* NULL: nothing has failed yet; static */
    ee_status failed_as; /* EE_E_MALFORMED, unless the arena had no room (EE_E_LIMIT) or there is no memory */
    eei_pull_level levels[EEI_JSON_DEPTH_MAX];
} eei_pull;

void eei_pull_begin(eei_pull *p, ee_span text);
/* After a failure every read gives nothing, and loops end. */
void eei_pull_object(eei_pull *p);
/* The next member of the innermost object: its value comes next. False at the object's end, which is passed, or after a failure. */
bool eei_pull_member(eei_pull *p, ee_span *name);
void eei_pull_array(eei_pull *p);
bool eei_pull_item(eei_pull *p);    /* the same for arrays */
uint64_t eei_pull_u64(eei_pull *p); /* 0 to 2^64-1, without leading zeros */
/* A string without its escapes: borrowed from the text when it has none, else from the arena. Never holds a NUL. */
ee_span eei_pull_text(eei_pull *p, eei_arena *arena);
void eei_pull_skip(eei_pull *p); /* any one value, checked all the same */
/* EE_OK when nothing failed and nothing but white space is left. EE_E_MALFORMED and EE_E_LIMIT with the offset, EE_E_NOMEM. */
ee_status eei_pull_end(eei_pull *p, ee_error *err) EE_MUST_USE;
/* The failure so far; EE_OK when there is none. */
ee_status eei_pull_error(const eei_pull *p, ee_error *err);
#endif
