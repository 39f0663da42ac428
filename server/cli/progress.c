/* progress.c - see progress.h. */
#include "cli/progress.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REDRAW_MS = 100, LINE_MAX_BYTES = 512 };

void progress_init(progress *p, const cli *c) {
    const char *term = getenv("TERM");
    *p = (progress){.c = c, .live = isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0)};
}

void progress_clear(progress *p) {
    if (p->pending) (void)fputs("\r\033[K", stderr);
    p->pending = false;
}

static void line(progress *p, bool stays, const char *phase, const char *text) {
    char whole[LINE_MAX_BYTES];
    if (p->c->quiet || p->c->json) return;
    progress_clear(p);
    (void)snprintf(whole, sizeof whole, text[0] ? "%-9s  %s" : "%s%s", phase, text);
    if (stays || !p->live) {
        cli_talk(p->c, "%s", whole);
        return;
    }
    size_t width = cli_terminal_width(stderr);
    cli_write_clean(stderr, whole, width > 1 ? width - 1 : 1); /* a line that wrapped could not be written over */
    (void)fflush(stderr);
    p->pending = true;
}

static void pulling(progress *p, uint64_t now_ms, uint64_t done, uint64_t total) {
    char text[64];
    bool first = p->pulled_bytes == 0;
    if (!total) {
        if (p->live) line(p, false, "pulling", "");
        return;
    }
    p->pulled_bytes = total;
    if (!first && (!p->live || now_ms - p->drawn_ms < REDRAW_MS)) return;
    p->drawn_ms = now_ms;
    if (p->live)
        (void)snprintf(text, sizeof text, "%.1f of %.1f MiB", (double)done / (1 << 20), (double)total / (1 << 20));
    else
        (void)snprintf(text, sizeof text, "%.1f MiB", (double)total / (1 << 20));
    line(p, false, "pulling", text);
}

void progress_show(progress *p, uint64_t now_ms, const char *phase, uint64_t done, uint64_t total, const char *message) {
    char text[64];
    bool again = strcmp(phase, p->phase) == 0, was_pulling = strcmp(p->phase, "pulling") == 0;
    if (strcmp(phase, "pulling") != 0 && was_pulling && p->live && p->pulled_bytes) {
        (void)snprintf(text, sizeof text, "%.1f MiB", (double)p->pulled_bytes / (1 << 20));
        line(p, true, "pulled", text);
    }
    (void)snprintf(p->phase, sizeof p->phase, "%s", phase);
    if (strcmp(phase, "pulling") == 0)
        pulling(p, now_ms, done, total);
    else if (again)
        line(p, true, phase, message);
    else if (p->live || strcmp(phase, "running") == 0) /* elsewhere it says what came of it, not what will */
        line(p, false, phase, message);
}
