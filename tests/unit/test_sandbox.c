/* test_sandbox.c - ee-shim alone, as a plain process with the two pipes it has in a sandbox: jobs good and bad, ends, signals. No root
 * needed. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "agent/sandbox_shim.h"
#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHIM        EE_BINARY_DIR "/bin/ee-shim"
#define DEADLINE_MS 20000

typedef struct shim {
    pid_t pid;
    int job, report, out;
} shim;

static shim start(void) {
    int job[2], report[2], out[2];
    assert_int_equal(pipe2(job, O_CLOEXEC) | pipe2(report, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    shim s = {.pid = fork(), .job = job[1], .report = report[0], .out = out[0]};
    if (s.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int base = fcntl(job[0], F_DUPFD, 20), base2 = fcntl(report[1], F_DUPFD, 21),
            base3 = fcntl(out[1], F_DUPFD, 22); /* off the low numbers first */
        dup2(base3, 1);
        dup2(base, 3);
        dup2(base2, 4);
        for (int fd = 5; fd < 40; fd++) close(fd);
        execl(SHIM, SHIM, (char *)NULL);
        _exit(126);
    }
    close(job[0]);
    close(report[1]);
    close(out[1]);
    return s;
}

/* Next report; kind 0 at end of file. */
static ee_shim_report next(const shim *s) {
    ee_shim_report r = {0};
    struct pollfd p = {.fd = s->report, .events = POLLIN};
    assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
    ssize_t n = read(s->report, &r, sizeof r);
    if (n == 0) return (ee_shim_report){0};
    assert_int_equal(n, sizeof r);
    return r;
}
static void expect(const shim *s, uint32_t kind, int32_t value) {
    ee_shim_report r = next(s);
    assert_int_equal(r.kind, kind);
    assert_int_equal(r.value, value);
}

/* Exit code of the shim, 128 + signal. */
static int finish(shim *s) {
    int status = 0;
    if (s->job >= 0) close(s->job);
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    close(s->report);
    close(s->out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

typedef struct job {
    const char *cwd, *args[6], *env[4];
} job;

static eei_buf encode(const job *j) {
    ee_shim_job head = {.magic = EE_SHIM_MAGIC};
    eei_buf out = EEI_BUF_INIT(65536);
    assert_int_equal(eei_buf_append(&out, &head, sizeof head), EE_OK);
    assert_int_equal(eei_buf_append(&out, j->cwd, strlen(j->cwd) + 1), EE_OK);
    for (; j->args[head.args]; head.args++)
        assert_int_equal(eei_buf_append(&out, j->args[head.args], strlen(j->args[head.args]) + 1), EE_OK);
    for (; j->env[head.env]; head.env++) assert_int_equal(eei_buf_append(&out, j->env[head.env], strlen(j->env[head.env]) + 1), EE_OK);
    head.bytes = (uint32_t)(out.len - sizeof head);
    memcpy(out.data, &head, sizeof head);
    return out;
}

static void send_bytes(const shim *s, const void *data, size_t len) { assert_int_equal(write(s->job, data, len), (ssize_t)len); }

static void give(const shim *s, const job *j) {
    eei_buf bytes = encode(j);
    expect(s, EE_SHIM_READY, 0);
    send_bytes(s, bytes.data, bytes.len);
    eei_buf_clear(&bytes);
}

static void read_line(const shim *s, char *out, size_t cap) {
    size_t len = 0;
    struct pollfd p = {.fd = s->out, .events = POLLIN};
    while (len + 1 < cap && poll(&p, 1, DEADLINE_MS) == 1 && read(s->out, out + len, 1) == 1 && out[len] != '\n') len++;
    out[len] = '\0';
}

static void test_runs_and_reports(void **state) {
    static const struct {
        job job;
        int status, code;
    } cases[] = {
        {{"/", {"/bin/sh", "-c", "exit 0"}, {NULL}}, 0, 0},
        {{"/", {"/bin/sh", "-c", "exit 42"}, {NULL}}, 42 << 8, 42},
        {{"/", {"sh", "-c", "exit 3"}, {"PATH=/nowhere:/bin"}}, 3 << 8, 3},
        {{"/", {"/bin/sh", "-c", "kill -9 $$"}, {NULL}}, 9, 137},
        {{"/tmp", {"/bin/sh", "-c", "test \"$(pwd)\" = /tmp && test \"$A\" = 'b c'"}, {"A=b c", "PATH=/bin:/usr/bin"}}, 0, 0},
        {{"/", {"/bin/sh", "-c", "(exit 9) & wait $!; exit 8"}, {NULL}}, 8 << 8, 8}, /* other children are not the command */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        shim s = start();
        give(&s, &cases[i].job);
        expect(&s, EE_SHIM_STARTED, 0);
        expect(&s, EE_SHIM_ENDED, cases[i].status);
        expect(&s, 0, 0);
        assert_int_equal(finish(&s), cases[i].code);
    }
}

static void test_what_cannot_run(void **state) {
    static const struct {
        job job;
        uint32_t kind;
        int error;
    } cases[] = {
        {{"/", {"no-such-thing"}, {"PATH=/bin:/usr/bin"}}, EE_SHIM_NO_EXEC, ENOENT},
        {{"/", {"sh"}, {NULL}}, EE_SHIM_NO_EXEC, ENOENT}, /* no PATH is no path, not a default one */
        {{"/", {"sh"}, {"PATH="}}, EE_SHIM_NO_EXEC, ENOENT},
        {{"/", {""}, {"PATH=/bin"}}, EE_SHIM_NO_EXEC, ENOENT},
        {{"/", {"/etc/passwd"}, {NULL}}, EE_SHIM_NO_EXEC, EACCES},
        {{"/", {"/etc"}, {NULL}}, EE_SHIM_NO_EXEC, EISDIR},
        {{"/", {"/etc/passwd/x"}, {NULL}}, EE_SHIM_NO_EXEC, ENOTDIR},
        {{"/", {"passwd"}, {"PATH=/nowhere:/etc:/nowhere"}}, EE_SHIM_NO_EXEC, EACCES}, /* found, not executable: that is the news */
        {{"/no/such/dir", {"/bin/sh"}, {NULL}}, EE_SHIM_NO_CWD, ENOENT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        shim s = start();
        give(&s, &cases[i].job);
        expect(&s, cases[i].kind, cases[i].error);
        expect(&s, 0, 0);
        assert_int_equal(finish(&s), 127);
    }
}

static void test_bad_jobs(void **state) {
    ee_shim_job good = {.magic = EE_SHIM_MAGIC, .args = 1, .env = 0, .bytes = 10}; /* "/" and "/bin/sh" */
    static const char text[16] = "/\0/bin/sh\0x\0y\0z";
    (void)state;
    for (int i = 0; i < 9; i++) {
        ee_shim_job head = good;
        shim s = start();
        expect(&s, EE_SHIM_READY, 0);
        if (i == 0) head.magic ^= 1;
        if (i == 1) head.args = 0;
        if (i == 2) head.args = 2;   /* more strings than bytes */
        if (i == 3) head.bytes = 12; /* more bytes than strings */
        if (i == 4) head.bytes = 9;  /* no NUL at the end */
        if (i == 5) head.args = EE_SHIM_STRINGS_MAX + 1;
        if (i == 6) head.env = EE_SHIM_STRINGS_MAX + 1;
        if (i == 7) head.bytes = EE_SHIM_BYTES_MAX + 1;
        if (i == 8) head.bytes = 0;
        send_bytes(&s, &head, sizeof head);
        signal(SIGPIPE, SIG_IGN); /* it may have refused the head already */
        (void)!write(s.job, text, head.bytes < sizeof text ? head.bytes : sizeof text);
        signal(SIGPIPE, SIG_DFL);
        expect(&s, 0, 0); /* says nothing, ends */
        assert_int_equal(finish(&s), 125);
    }
    shim s = start(); /* control: the same bytes unspoiled */
    expect(&s, EE_SHIM_READY, 0);
    send_bytes(&s, &good, sizeof good);
    send_bytes(&s, text, good.bytes);
    expect(&s, EE_SHIM_STARTED, 0);
    expect(&s, EE_SHIM_ENDED, 0); /* its stdin is this test's: at its end or /dev/null under ctest */
    finish(&s);
}

static void test_ends_with_the_agent(void **state) {
    char line[64];
    (void)state;
    shim idle = start();
    expect(&idle, EE_SHIM_READY, 0);
    assert_int_equal(finish(&idle), 125); /* closes the pipe: as when the agent was killed */
    shim half = start();
    expect(&half, EE_SHIM_READY, 0);
    send_bytes(&half, "jeb1", 4);
    assert_int_equal(finish(&half), 125);
    shim s = start();
    give(&s, &(job){"/", {"/bin/sh", "-c", "echo $$; trap '' TERM HUP; while :; do sleep 1; done"}, {"PATH=/bin:/usr/bin"}});
    expect(&s, EE_SHIM_STARTED, 0);
    read_line(&s, line, sizeof line);
    assert_int_equal(finish(&s), 125); /* in a sandbox its end is everybody's; here the command is ours to end */
    kill((pid_t)strtol(line, NULL, 10), SIGKILL);
}

static void test_forwards_signals(void **state) {
    char line[64];
    (void)state;
    shim s = start();
    give(&s, &(job){"/", {"/bin/sh", "-c", "trap 'echo got; exit 5' TERM; echo up; while :; do sleep 0.05; done"}, {"PATH=/bin:/usr/bin"}});
    expect(&s, EE_SHIM_STARTED, 0);
    read_line(&s, line, sizeof line);
    assert_string_equal(line, "up");
    assert_int_equal(kill(s.pid, SIGTERM), 0);
    read_line(&s, line, sizeof line);
    assert_string_equal(line, "got");
    expect(&s, EE_SHIM_ENDED, 5 << 8);
    assert_int_equal(finish(&s), 5);
}

static void test_W11_environment_is_the_commands_only(void **state) {
    char line[64], path[64], text[4096];
    (void)state;
    shim s = start();
    give(&s, &(job){"/", {"/bin/sh", "-c", "echo ${#TOKEN} $$; exec sleep 1000"}, {"TOKEN=canary-in-the-shim", "PATH=/bin:/usr/bin"}});
    expect(&s, EE_SHIM_STARTED, 0);
    read_line(&s, line, sizeof line);
    assert_memory_equal(line, "18 ", 3); /* it has it */
    snprintf(path, sizeof path, "/proc/%d/mem", s.pid);
    int mem = open(path, O_RDONLY | O_CLOEXEC);
    if (mem < 0) { /* not root: the shim is not readable at all */
        assert_true(errno == EACCES || errno == EPERM);
    } else {
        size_t found = 0, looked = 0;
        unsigned long from, to;
        snprintf(path, sizeof path, "/proc/%d/maps", s.pid);
        FILE *maps = fopen(path, "re");
        while (fgets(text, sizeof text, maps)) {
            char mode[5];
            if (sscanf(text, "%lx-%lx %4s", &from, &to, mode) != 3 || mode[0] != 'r' || strstr(text, "[v")) continue;
            for (; from < to; from += 4096) {
                char page[4096];
                if (pread(mem, page, sizeof page, (off_t)from) != (ssize_t)sizeof page) continue;
                looked++;
                if (memmem(page, sizeof page, "canary-in-the-shim", 18)) found++;
            }
        }
        fclose(maps);
        close(mem);
        assert_true(looked > 20);
        assert_int_equal(found, 0); /* wiped */
    }
    kill((pid_t)strtol(line + 3, NULL, 10), SIGKILL);
    expect(&s, EE_SHIM_ENDED, SIGKILL);
    assert_int_equal(finish(&s), 137);
}

static int setup(void **state) {
    (void)state;
    if (access(SHIM, X_OK) == 0) return 0;
    print_error(SHIM " is not there: build ee-shim\n");
    return -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_and_reports), cmocka_unit_test(test_what_cannot_run),
        cmocka_unit_test(test_bad_jobs),         cmocka_unit_test(test_ends_with_the_agent),
        cmocka_unit_test(test_forwards_signals), cmocka_unit_test(test_W11_environment_is_the_commands_only),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
