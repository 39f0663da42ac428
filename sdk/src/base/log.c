/* log.c - one event, one line, to the sink that was set. Not for secrets, bodies or anything a user wrote at length.
 * Called everywhere, from any thread; silent until a program or the user of the library sets a sink. */
#include "log.h"

#include "clock.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 2048, LINE_BYTES_MAX = 4 * TEXT_BYTES_MAX }; /* each byte may become \xNN */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards sink and sink_user; never held while the sink runs */
static eei_log_sink sink;
static void *sink_user;
static atomic_int level_most = -1; /* -1: no sink. Read without the lock, so that a silent log costs nothing */

void eei_log_set(eei_log_sink new_sink, void *user, eei_log_level most) {
    pthread_mutex_lock(&lock);
    sink = new_sink;
    sink_user = user;
    atomic_store(&level_most, new_sink ? (int)most : -1);
    pthread_mutex_unlock(&lock);
}

/* Spec: threat L1. Nothing that a peer sent can start a line, move the cursor or colour it. */
static void escape(char *out, size_t cap, const char *text) {
    size_t at = 0;
    for (; *text && at + 5 < cap; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= 0x20 && c < 0x7f)
            out[at++] = (char)c;
        else
            at += (size_t)snprintf(out + at, cap - at, "\\x%02x", c);
    }
    out[at] = '\0';
}

void eei_log(eei_log_level level, const char *event, const char *format, ...) {
    if ((int)level > atomic_load_explicit(&level_most, memory_order_relaxed)) return;
    char text[TEXT_BYTES_MAX], line[LINE_BYTES_MAX];
    int n = snprintf(text, sizeof text, "event=%s", event);
    size_t at = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (format && *format && at + 1 < sizeof text) {
        text[at++] = ' ';
        va_list args;
        va_start(args, format);
        n = vsnprintf(text + at, sizeof text - at, format, args);
        va_end(args);
        if (n < 0) text[at] = '\0';
        if (n >= 0 && (size_t)n >= sizeof text - at) memcpy(text + sizeof text - 4, "...", 4);
    }
    escape(line, sizeof line, text);
    pthread_mutex_lock(&lock);
    eei_log_sink to = sink;
    void *user = sink_user;
    pthread_mutex_unlock(&lock);
    if (to) to(user, level, line);
}

void eei_log_to_stderr(void *user, eei_log_level level, const char *line) {
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char when[32], whole[LINE_BYTES_MAX + 96];
    (void)user;
    const char *name = (unsigned)level < sizeof names / sizeof names[0] ? names[level] : "?";
    int n = snprintf(whole, sizeof whole, "%s level=%s %s\n", eei_format_utc(eei_wall_ms(), when), name, line);
    if (n <= 0) return;
    size_t len = (size_t)n < sizeof whole ? (size_t)n : sizeof whole - 1;
    whole[len - 1] = '\n';
    ssize_t written = write(STDERR_FILENO, whole, len); /* one write, so that lines of two threads do not mix */
    (void)written;                                      /* there is nobody left to tell */
}
