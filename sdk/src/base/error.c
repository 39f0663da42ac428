/* error.c - filling the caller's ee_error: one line, valid UTF-8, never more than fits. Not for logging.
 * Called wherever something can fail, so it allocates nothing and works when memory is gone. */
#define EEI_ERROR_C /* see error.h: the functions themselves */
#include "error.h"

#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Length of the well-formed UTF-8 sequence at the start of text that is also fit for a terminal line; 0 if there is none. */
static size_t clean_sequence(const char *text, size_t left) {
    unsigned char c = (unsigned char)text[0];
    if (c < 0x80) return c >= 0x20 && c != 0x7f;
    for (size_t n = 2; n <= 4 && n <= left; n++)
        if (eei_utf8_valid(eei_span(text, n))) return c == 0xc2 && (unsigned char)text[1] < 0xa0 ? 0 : n; /* C1 controls: no */
    return 0;
}

void eei_clean_text(char *out, size_t cap, const char *text) {
    size_t len = strlen(text), at = 0;
    for (size_t i = 0; i < len;) {
        size_t n = clean_sequence(text + i, len - i);
        if (at + (n ? n : 1) >= cap) break;
        if (n) {
            memcpy(out + at, text + i, n);
            at += n;
            i += n;
        } else {
            out[at++] = '?';
            i++;
        }
    }
    out[at] = '\0';
}

static void format_clean(char *out, size_t cap, const char *format, va_list args) EEI_PRINTF(3, 0);
static void format_clean(char *out, size_t cap, const char *format, va_list args) {
    char text[sizeof((ee_error *)0)->message]; /* apart from *out, which may be among the arguments */
    int n = vsnprintf(text, sizeof text, format, args);
    if (n < 0) text[0] = '\0';
    if (n >= 0 && (size_t)n >= sizeof text) memcpy(text + sizeof text - 4, "...", 4);
    eei_clean_text(out, cap, text);
}

static void set_status(ee_error *err, ee_status status) {
    err->status = status;
    err->retryable = eei_status_retryable(status);
    snprintf(err->word, sizeof err->word, "%s", ee_status_word(status));
}

static void fill(ee_error *err, ee_status status, const char *message) {
    memset(err, 0, sizeof *err);
    set_status(err, status);
    snprintf(err->message, sizeof err->message, "%s", message);
}

ee_status eei_fail(ee_error *err, ee_status status, const char *format, ...) {
    if (!err) return status;
    char message[sizeof err->message];
    va_list args;
    va_start(args, format);
    format_clean(message, sizeof message, format, args);
    va_end(args);
    fill(err, status, message);
    return status;
}

ee_status eei_fail_errno(ee_error *err, ee_status status, int error_number, const char *format, ...) {
    if (!err) return status;
    char what[sizeof err->message], reason[96];
    va_list args;
    va_start(args, format);
    format_clean(what, sizeof what - sizeof reason, format, args);
    va_end(args);
    eei_fail(err, status, "%s: %s (errno %d)", what, strerror_r(error_number, reason, sizeof reason), error_number);
    err->native_code = (uint32_t)error_number;
    return status;
}

ee_status eei_hint(ee_error *err, ee_status status, const char *format, ...) {
    if (!err) return status;
    char hint[sizeof err->hint];
    va_list args;
    va_start(args, format);
    format_clean(hint, sizeof hint, format, args);
    va_end(args);
    memcpy(err->hint, hint, sizeof hint);
    return status; /* not err->status: an error nobody filled must not turn a failure into success */
}

ee_status eei_prefix(ee_error *err, ee_status status, const char *noun) {
    if (!err) return status;
    char joined[2 * sizeof err->message];
    snprintf(joined, sizeof joined, "%s: %s", noun, err->message);
    eei_clean_text(err->message, sizeof err->message, joined);
    set_status(err, status);
    return status;
}

ee_status eei_nomem(ee_error *err) {
    if (err) fill(err, EE_E_NOMEM, "out of memory");
    return EE_E_NOMEM;
}

void eei_assert_failed(const char *condition, const char *file, int line) {
    (void)condition; /* even the text of the condition may name what it should not (threat L10) */
    fprintf(stderr, "easyenclave: internal error at %s:%d\n", file, line);
    abort();
}
