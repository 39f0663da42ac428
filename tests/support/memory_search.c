/* memory_search.c - reads /proc/self/mem, which also shows what AddressSanitizer keeps in quarantine. See memory_search.h. */
#include "support/memory_search.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE = 1 << 20, REGION_MAX = 1 << 28 /* larger ones are a sanitizer's shadow */ };

static bool is_there(const uint8_t *at, const uint8_t *inverted, size_t len) {
    for (size_t i = 0; i < len; i++)
        if ((at[i] ^ inverted[i]) != 0xff) return false;
    return true;
}

/* A copy in `piece`, this function's own window on the rest, is not looked at: it is mapped, and its mapping is left out. */
size_t memory_copies(const uint8_t *inverted, size_t len) {
    char line[512];
    size_t found = 0;
    uint8_t *piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FILE *maps = fopen("/proc/self/maps", "r");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    while (piece != MAP_FAILED && maps && memory >= 0 && fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char may[8];
        if (sscanf(line, "%lx-%lx %7s", &start, &end, may) != 3 || strncmp(may, "rw", 2) != 0 || end - start > REGION_MAX) continue;
        for (unsigned long at = start; at < end; at += PIECE - len) { /* pieces overlap, for what lies across two */
            size_t want = end - at < PIECE ? end - at : PIECE;
            if (at < (uintptr_t)piece + PIECE && at + want > (uintptr_t)piece) continue;
            ssize_t got = pread(memory, piece, want, (off_t)at);
            size_t places = got >= (ssize_t)len ? (size_t)got - len + 1 : 0;
            if (want == PIECE && places) places--; /* the last one is the next piece's first */
            for (size_t i = 0; i < places; i++) found += is_there(piece + i, inverted, len);
        }
    }
    if (memory >= 0) close(memory);
    if (maps) (void)fclose(maps);
    if (piece != MAP_FAILED) munmap(piece, PIECE);
    return found;
}
