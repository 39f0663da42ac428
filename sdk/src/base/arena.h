/* arena.h - the many small objects of one message, freed together. Called by the codec and by whoever decodes. */
#ifndef EEI_ARENA_H
#define EEI_ARENA_H
#include "error.h"

#include <stdbool.h>

typedef struct eei_arena {
    struct eei_arena_block *head;
    size_t used, max; /* bytes in all */
    bool full;        /* what was last asked for is refused because of max */
} eei_arena;
#define EEI_ARENA_INIT(max_bytes)                                                                                                          \
    { NULL, 0, (max_bytes), false }
void *eei_arena_alloc(eei_arena *arena, size_t bytes); /* zeroed, aligned for anything; NULL past max or out of memory */
char *eei_arena_text(eei_arena *arena, ee_span text);  /* NUL-ended copy */
/* Why nothing came just now: EE_E_LIMIT when max is the reason, which a stranger's bytes can bring about; else EE_E_NOMEM. */
ee_status eei_arena_error(const eei_arena *arena, ee_error *err);
void eei_arena_clear(eei_arena *arena);
#endif
