/* test_progress.c - what of a job's phases a person sees on stderr: on a terminal, in a pipe, and when nothing was asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
// clang-format on
#include "cli/progress.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

typedef struct event {
    const char *phase;
    uint64_t done, total;
    const char *message;
} event;

/* Names come from others: the last one tries to move the cursor. */
static const event whole[] = {
    {"quoting", 0, 0, "asking"},
    {"quoting", 0, 0, "x is sha256:00"},
    {"placing", 0, 0, "choosing"},
    {"placing", 0, 0, "node-a at $1"},
    {"attesting", 0, 0, "node-a"},
    {"attesting", 0, 0, "node-a\033[2J has proved itself"},
    {"pulling", 0, 0, ""},
    {"pulling", 0, 3145728, ""},
    {"pulling", 1048576, 3145728, ""},
    {"pulling", 3145728, 3145728, ""},
    {"starting", 0, 0, ""},
    {"running", 0, 0, ""},
};

static void tell_all(const cli *c, bool live) {
    progress p;
    progress_init(&p, c);
    assert_true(p.live == live);
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        progress_show(&p, 1000 + 40 * i, whole[i].phase, whole[i].done, whole[i].total, whole[i].message);
    progress_clear(&p);
    assert_int_equal(fflush(stderr), 0);
}

/* stderr goes to fd while the phases are told. */
static void tell_to(int fd, const cli *c, bool live) {
    int kept = dup(STDERR_FILENO);
    assert_true(kept >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
    tell_all(c, live);
    assert_true(dup2(kept, STDERR_FILENO) == STDERR_FILENO);
    close(kept);
}

static const char *in_a_pipe(const cli *c) {
    static char told[4096];
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    tell_to(fds[1], c, false);
    close(fds[1]);
    ssize_t n = read(fds[0], told, sizeof told - 1);
    told[n < 0 ? 0 : n] = 0;
    close(fds[0]);
    return told;
}

static void test_a_line_for_each_phase(void **state) {
    cli c = {.json = false};
    (void)state;
    assert_string_equal(in_a_pipe(&c), "quoting    x is sha256:00\n"
                                       "placing    node-a at $1\n"
                                       "attesting  node-a?[2J has proved itself\n"
                                       "pulling    3.0 MiB\n"
                                       "running\n");
}

static void test_silent_when_asked(void **state) {
    cli quiet = {.quiet = true}, json = {.json = true};
    (void)state;
    assert_string_equal(in_a_pipe(&quiet), "");
    assert_string_equal(in_a_pipe(&json), "");
}

static int open_terminal(int *child, unsigned short columns) {
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    struct termios raw;
    int parent = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(parent >= 0 && grantpt(parent) == 0 && unlockpt(parent) == 0);
    *child = open(ptsname(parent), O_RDWR | O_NOCTTY);
    assert_true(*child >= 0 && ioctl(*child, TIOCSWINSZ, &size) == 0 && tcgetattr(*child, &raw) == 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(*child, TCSANOW, &raw), 0);
    return parent;
}

/* All phases on a terminal of that width. Once its last descriptor is closed, reading ends with what was written. */
static const char *on_a_terminal(unsigned short columns) {
    static char told[4096];
    cli c = {.json = false};
    int child, parent = open_terminal(&child, columns);
    size_t len = 0;
    assert_int_equal(setenv("TERM", "xterm", 1), 0);
    (void)unsetenv("COLUMNS");
    tell_to(child, &c, true);
    close(child);
    for (ssize_t n; len < sizeof told - 1 && (n = read(parent, told + len, sizeof told - 1 - len)) > 0;) len += (size_t)n;
    told[len] = 0;
    close(parent);
    return told;
}

/* What waits is written over; what came of it stays. */
static void test_a_terminal_keeps_what_came_of_it(void **state) {
    static const char want[] = "quoting    asking\r\033[K"
                               "quoting    x is sha256:00\n"
                               "placing    choosing\r\033[K"
                               "placing    node-a at $1\n"
                               "attesting  node-a\r\033[K"
                               "attesting  node-a?[2J has proved itself\n"
                               "pulling\r\033[K"
                               "pulling    0.0 of 3.0 MiB\r\033[K"
                               "pulled     3.0 MiB\n"
                               "starting\r\033[K"
                               "running\r\033[K";
    (void)state;
    assert_string_equal(on_a_terminal(80), want);
}

/* A line that is written over must not wrap. */
static void test_a_narrow_terminal(void **state) {
    static const char back[] = "\r\033[K";
    const char *told = on_a_terminal(14);
    size_t written_over = 0;
    (void)state;
    for (const char *end; (end = strstr(told, back)) != NULL; told = end + strlen(back)) {
        const char *line = end;
        while (line > told && line[-1] != '\n') line--;
        if (end - line > 13) fail_msg("\"%.*s\" has %zu columns", (int)(end - line), line, (size_t)(end - line));
        written_over++;
    }
    assert_int_equal(written_over, 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_for_each_phase),
        cmocka_unit_test(test_silent_when_asked),
        cmocka_unit_test(test_a_terminal_keeps_what_came_of_it),
        cmocka_unit_test(test_a_narrow_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
