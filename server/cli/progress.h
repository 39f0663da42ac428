/* progress.h - what `ee run` waits for, on stderr. On a terminal one line that is written over, and what came of a phase stays; elsewhere a
 * plain line for each phase. Silent with --quiet and --json. */
#ifndef EE_PROGRESS_H
#define EE_PROGRESS_H
#include "cli/cli.h"

#include <stdint.h>

typedef struct progress {
    const cli *c;
    bool live;      /* stderr is a terminal that can go back to the beginning of its line */
    bool pending;   /* a line that will be written over stands there */
    char phase[16]; /* the last one told */
    uint64_t pulled_bytes, drawn_ms;
} progress;
void progress_init(progress *p, const cli *c);
/* One event of a job: see ee_progress_fn. A phase that is told again has in its message what came of it. */
void progress_show(progress *p, uint64_t now_ms, const char *phase, uint64_t done, uint64_t total, const char *message);
/* Before anything else is written: the line that would be written over goes. */
void progress_clear(progress *p);
#endif
