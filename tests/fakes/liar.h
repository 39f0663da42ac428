/* liar.h - which lie a lying program was told to tell: the variables LIE and LIE_TO. Called by the liar*.c beside it. */
#ifndef LIAR_H
#define LIAR_H
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool lies_about(const char *what) {
    const char *lie = getenv("LIE");
    return lie && strcmp(lie, what) == 0;
}

/* What the lie is about further: a name, an id, a path. */
static inline const char *lie_to(void) {
    const char *to = getenv("LIE_TO");
    return to ? to : "";
}
#endif
