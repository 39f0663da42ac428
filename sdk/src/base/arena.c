/* arena.c - bump allocation in blocks, with a ceiling over all of them. Not for long-lived objects.
 * Called by the codec; hostile counts are bounded before they get here, and by max again. */
#include "arena.h"

#include "alloc.h"

#include <stdalign.h>
#include <string.h>

enum { BLOCK_BYTES = 4096 };

struct eei_arena_block {
    struct eei_arena_block *next;
    size_t used, cap;
    alignas(max_align_t) unsigned char data[];
};

static struct eei_arena_block *add_block(eei_arena *arena, size_t bytes) {
    size_t cap = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES, total = 0;
    if (!eei_add_size(&total, sizeof(struct eei_arena_block), cap)) return NULL;
    struct eei_arena_block *block = eei_calloc(1, total);
    if (!block) return NULL;
    block->cap = cap;
    block->next = arena->head;
    arena->head = block;
    return block;
}

void *eei_arena_alloc(eei_arena *arena, size_t bytes) {
    const size_t align = alignof(max_align_t);
    arena->full = arena->used > arena->max || bytes > arena->max - arena->used;
    if (!arena->full) {
        bytes = bytes ? (bytes + align - 1) / align * align : align; /* no overflow: max is far below SIZE_MAX */
        arena->full = bytes > arena->max - arena->used;
    }
    if (arena->full) return NULL;
    struct eei_arena_block *block = arena->head;
    if (!block || bytes > block->cap - block->used) block = add_block(arena, bytes);
    if (!block) return NULL;
    void *out = block->data + block->used;
    block->used += bytes;
    arena->used += bytes;
    return out;
}

char *eei_arena_text(eei_arena *arena, ee_span text) {
    if (text.len == SIZE_MAX) return NULL;
    char *out = eei_arena_alloc(arena, text.len + 1);
    if (out && text.len) memcpy(out, text.data, text.len);
    return out;
}

ee_status eei_arena_error(const eei_arena *arena, ee_error *err) {
    return arena->full ? eei_fail(err, EE_E_LIMIT, "needs over %zu bytes of memory once it is taken apart", arena->max) : eei_nomem(err);
}

void eei_arena_clear(eei_arena *arena) {
    for (struct eei_arena_block *block = arena->head; block;) {
        struct eei_arena_block *next = block->next;
        eei_wipe(block->data, block->used); /* messages carry environments and keys */
        eei_free(block);
        block = next;
    }
    arena->head = NULL;
    arena->used = 0;
}
