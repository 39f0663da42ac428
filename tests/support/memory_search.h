/* memory_search.h - how often some bytes lie in this process's memory, freed memory too: for tests that a secret does not stay behind. */
#ifndef MEMORY_SEARCH_H
#define MEMORY_SEARCH_H
#include <stddef.h>
#include <stdint.h>

/* The bytes are given inverted, so that the question is not found as its own answer. */
size_t memory_copies(const uint8_t *inverted, size_t len);
#endif
