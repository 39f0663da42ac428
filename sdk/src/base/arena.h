/* arena.h - the many small objects of one message, freed together. Called by the codec and by whoever decodes. */
#ifndef EEI_ARENA_H
#define EEI_ARENA_H
#include "error.h"

typedef struct eei_arena {
    struct eei_arena_block *head;
    size_t used, max; /* bytes in all */
} eei_arena;
#define EEI_ARENA_INIT(max_bytes)                                                                                                          \
    { NULL, 0, (max_bytes) }
void *eei_arena_alloc(eei_arena *arena, size_t bytes); /* zeroed, aligned for anything; NULL past max or out of memory */
char *eei_arena_text(eei_arena *arena, ee_span text);  /* NUL-ended copy */
void eei_arena_clear(eei_arena *arena);
#endif
