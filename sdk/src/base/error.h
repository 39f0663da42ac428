/* error.h - how a failure is told: set the caller's ee_error and return its status in one line.
 * The lowest layer that knows the fact writes the message; upper layers pass it on or prefix a noun. Called everywhere. */
#ifndef EEI_ERROR_H
#define EEI_ERROR_H
#include <eesdk/types.h>

#define EEI_PRINTF(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))

/* Fill err (may be NULL) with status, its word, retryable flag and the message; everything else is zeroed. Returns status. */
ee_status eei_fail(ee_error *err, ee_status status, const char *format, ...) EEI_PRINTF(3, 4);
/* The same with errno's number and text added. */
ee_status eei_fail_errno(ee_error *err, ee_status status, int error_number, const char *format, ...) EEI_PRINTF(4, 5);
/* Set the hint of a filled error. Returns status, so: return eei_hint(err, st, "..."). */
ee_status eei_hint(ee_error *err, ee_status status, const char *format, ...) EEI_PRINTF(3, 4);
/* "noun: " before the message that is there. The error has this status from here on. */
ee_status eei_prefix(ee_error *err, ee_status status, const char *noun);
/* Input from strangers ends up in messages: one line always, and text that every binding can decode; the rest becomes '?'. Cut to cap at a
 * whole character. Threat L1. */
void eei_clean_text(char *out, size_t cap, const char *text);
/* Status for a word ("low_balance"); EE_E_SERVER for one that is not known. */
ee_status eei_status_from_word(const char *word);
int eei_status_http(ee_status status);
int eei_status_retryable(ee_status status);
/* Out of memory, with no message to build. */
ee_status eei_nomem(ee_error *err);

/* For a failure that nobody could act on, or that shows elsewhere: says so where the compiler wants the status used. */
static inline void eei_ignored(ee_status status) { (void)status; }

/* The static analyzer does not see into error.c. Told that a failure returns the status it was given, it stops following paths where a
 * failed call counts as a success. Compilers never read this. */
#if defined(__clang_analyzer__) && !defined(EEI_ERROR_C)
static inline ee_status eei_same_status(ee_status status) { return status; }
#define eei_fail(err, status, ...)               (eei_fail(err, status, __VA_ARGS__), eei_same_status(status))
#define eei_fail_errno(err, status, number, ...) (eei_fail_errno(err, status, number, __VA_ARGS__), eei_same_status(status))
#define eei_hint(err, status, ...)               (eei_hint(err, status, __VA_ARGS__), eei_same_status(status))
#define eei_prefix(err, status, noun)            (eei_prefix(err, status, noun), eei_same_status(status))
#define eei_nomem(err)                           (eei_nomem(err), eei_same_status(EE_E_NOMEM))
#endif

/* Our own bugs only; never reached by input from outside. Prints the location, never data, and aborts. Stays in release builds. */
#define EE_ASSERT(condition) ((condition) ? (void)0 : eei_assert_failed(#condition, __FILE__, __LINE__))
void eei_assert_failed(const char *condition, const char *file, int line) __attribute__((noreturn));
#endif
