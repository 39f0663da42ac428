/* window.h - the time in which several dated things are valid at once, and which of them bounds it. Called by trust.c, verify.c and pcs.c.
 */
#ifndef EEI_WINDOW_H
#define EEI_WINDOW_H
#include <stdint.h>

/* Both ends included. To start with: {0, UINT64_MAX, "", ""}. */
typedef struct eei_window {
    uint64_t from_s, to_s;
    const char *from_what, *to_what; /* "TCB info"; static */
} eei_window;
void eei_window_narrow(eei_window *window, uint64_t from_s, uint64_t to_s, const char *what);
#endif
