/* options.h - public option structs that begin with their size: a library takes those of programs that were compiled against an older
 * header or a newer one. Not for what the fields mean. Called by every public function that takes options. */
#ifndef EEI_OPTIONS_H
#define EEI_OPTIONS_H
#include "error.h"

typedef struct eei_options_kind {
    const char *name;    /* "ee_job_options" */
    size_t least, known; /* bytes: of the shortest that is taken; of this library's */
} eei_options_kind;

/* A copy of this library's size: what the caller's is too short for is 0, what it is too long for must be 0 there. NULL = all 0.
 * EE_E_INVALID: it was not initialized, or sets a field that this library does not know. */
ee_status eei_options_take(const eei_options_kind *kind, const void *given, void *out, ee_error *err) EE_MUST_USE;
#endif
