/* alloc.h - the one way memory is asked for, so that tests can fail the n-th request. Not for tuning. Called by everything in sdk/ and
 * server/. */
#ifndef EEI_ALLOC_H
#define EEI_ALLOC_H
#include <stdbool.h>
#include <stddef.h>

void *eei_malloc(size_t bytes);               /* NULL when out of memory; eei_malloc(0) gives a freeable pointer */
void *eei_calloc(size_t count, size_t bytes); /* zeroed; NULL on overflow of count * bytes */
void *eei_realloc(void *old, size_t bytes);
void eei_free(void *memory); /* NULL is fine */
char *eei_strdup(const char *text);
char *eei_strndup(const char *text, size_t len);
void *eei_memdup(const void *data, size_t bytes);
void eei_wipe(void *memory, size_t bytes);          /* zero in a way the compiler keeps (explicit_bzero) */
bool eei_mul_size(size_t *out, size_t a, size_t b); /* false on overflow */
bool eei_add_size(size_t *out, size_t a, size_t b);

/* Take: move a pointer out and leave NULL behind. */
#define eei_take(pp)                                                                                                                       \
    __extension__({                                                                                                                        \
        __typeof__(*(pp)) got = *(pp);                                                                                                     \
        *(pp) = NULL;                                                                                                                      \
        got;                                                                                                                               \
    })

/* Tests only: make the n-th allocation from now fail (1 = the next), once. 0 = never. Returns how many allocations were made since the last
 * call. */
size_t eei_alloc_fail_at(size_t n);
#endif
