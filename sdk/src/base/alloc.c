/* alloc.c - memory requests, counted so that a test can fail the n-th. Not for pooling or tuning.
 * Called by everything that allocates; the counter costs one relaxed atomic add. */
#include "alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static atomic_size_t made;    /* requests since the last eei_alloc_fail_at() */
static atomic_size_t fail_at; /* 0 = never */

static bool must_fail(void) {
    size_t n = atomic_fetch_add_explicit(&made, 1, memory_order_relaxed) + 1;
    return n == atomic_load_explicit(&fail_at, memory_order_relaxed);
}

size_t eei_alloc_fail_at(size_t n) {
    atomic_store(&fail_at, n);
    return atomic_exchange(&made, 0);
}

void *eei_malloc(size_t bytes) {
    if (must_fail()) return NULL;
    return malloc(bytes ? bytes : 1);
}

void *eei_calloc(size_t count, size_t bytes) {
    size_t total = 0;
    if (!eei_mul_size(&total, count, bytes) || must_fail()) return NULL;
    return calloc(1, total ? total : 1);
}

void *eei_realloc(void *old, size_t bytes) {
    if (must_fail()) return NULL;
    return realloc(old, bytes ? bytes : 1);
}

void eei_free(void *memory) { free(memory); }

char *eei_strdup(const char *text) { return text ? eei_strndup(text, strlen(text)) : NULL; }

char *eei_strndup(const char *text, size_t len) {
    size_t total = 0;
    if (!eei_add_size(&total, len, 1)) return NULL;
    char *copy = eei_malloc(total);
    if (!copy) return NULL;
    if (len) memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void *eei_memdup(const void *data, size_t bytes) {
    void *copy = eei_malloc(bytes);
    if (copy && bytes) memcpy(copy, data, bytes);
    return copy;
}

void eei_wipe(void *memory, size_t bytes) {
    if (memory && bytes) explicit_bzero(memory, bytes);
}

bool eei_mul_size(size_t *out, size_t a, size_t b) { return !__builtin_mul_overflow(a, b, out); }
bool eei_add_size(size_t *out, size_t a, size_t b) { return !__builtin_add_overflow(a, b, out); }
