/* status.c - what is known about each status, generated from status.def. Not for messages: those are in error.c.
 * Called by the public API, by error.c and by whoever answers HTTP. */
#include "error.h"

#include <string.h>

typedef struct status_row {
    ee_status status;
    int http, exit_code, retryable;
    const char *word, *text;
} status_row;

static const status_row rows[] = {
#define EE_STATUS(symbol, number, word_, http_, python, go, exit_, retry_, text_) {symbol, http_, exit_, retry_, word_, text_},
#include <eesdk/status.def>
#undef EE_STATUS
};

static const status_row *find(ee_status status) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].status == status) return &rows[i];
    return NULL;
}

const char *ee_status_word(ee_status status) {
    const status_row *row = find(status);
    return row ? row->word : "unknown";
}

const char *ee_status_text(ee_status status) {
    const status_row *row = find(status);
    return row ? row->text : "a status this version does not know";
}

int ee_status_exit_code(ee_status status) {
    const status_row *row = find(status);
    return row ? row->exit_code : 1;
}

int eei_status_http(ee_status status) {
    const status_row *row = find(status);
    return row ? row->http : 500;
}

int eei_status_retryable(ee_status status) {
    const status_row *row = find(status);
    return row ? row->retryable : 0;
}

ee_status eei_status_from_word(const char *word) {
    for (size_t i = 0; word && i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].word, word) == 0) return rows[i].status;
    return EE_E_SERVER;
}

const char *ee_version(void) { return EE_VERSION; }
