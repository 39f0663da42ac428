/* test_service.c - how a program of ours behaves as a process: signals, ready line, hardening. Each case runs in a child. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/log.h"
#include "common/service.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct child {
    pid_t pid;
    int out; /* what it says on descriptor `ready` */
} child;

typedef struct running {
    uv_loop_t loop;
    service service;
    uv_timer_t work; /* keeps the loop alive */
    bool stubborn;
} running;

static void on_stop(void *user) {
    running *r = user;
    if (r->stubborn) return;
    service_unwatch(&r->service);
    uv_close((uv_handle_t *)&r->work, NULL);
}
static void on_work(uv_timer_t *timer) { (void)timer; }

/* Returns what the process exits with. */
static int serve(int ready, bool stubborn) {
    static running r;
    char fd[16];
    r.stubborn = stubborn;
    (void)snprintf(fd, sizeof fd, "%d", ready);
    (void)setenv("EE_READY_FD", fd, 1);
    if (service_harden(NULL) || uv_loop_init(&r.loop) || uv_timer_init(&r.loop, &r.work)) return 90;
    if (uv_timer_start(&r.work, on_work, 60000, 60000) || service_watch(&r.service, &r.loop, on_stop, &r, NULL)) return 91;
    service_ready(8443);
    (void)uv_run(&r.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&r.loop) ? 92 : 0;
}

static child start(bool stubborn) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    child c = {.pid = fork(), .out = ends[0]};
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        (void)close(ends[0]);
        _exit(serve(ends[1], stubborn));
    }
    (void)close(ends[1]);
    return c;
}

static int finish(child *c) {
    int status = 0;
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    (void)close(c->out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void wait_ready(const child *c) {
    char line[64] = {0};
    size_t n = 0;
    for (ssize_t got = 1; got > 0 && n < sizeof line - 1; n += (size_t)(got > 0 ? got : 0))
        got = read(c->out, line + n, sizeof line - 1 - n);
    assert_string_equal(line, "ready 8443\n"); /* and then the descriptor is closed, so that reading ends */
}

static void test_signals_stop_in_order(void **state) {
    static const int numbers[] = {SIGTERM, SIGINT};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        child c = start(false);
        wait_ready(&c);
        assert_int_equal(kill(c.pid, SIGPIPE), 0); /* is nothing to it */
        assert_int_equal(kill(c.pid, numbers[i]), 0);
        assert_int_equal(finish(&c), 0);
    }
}

static void test_second_signal_ends_at_once(void **state) {
    child c = start(true);
    (void)state;
    wait_ready(&c);
    assert_int_equal(kill(c.pid, SIGTERM), 0);
    assert_int_equal(kill(c.pid, SIGINT), 0);
    assert_int_equal(finish(&c), 130);
}

static void test_hardened_process(void **state) {
    pid_t pid = fork();
    int status = 0;
    (void)state;
    if (pid == 0) {
        struct rlimit core;
        if (service_harden(NULL) || getrlimit(RLIMIT_CORE, &core)) _exit(1);
        if (core.rlim_cur != 0 || core.rlim_max != 0) _exit(2);
        if (umask(077) != 077) _exit(3);
        if (raise(SIGPIPE) != 0) _exit(4);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_log_levels(void **state) {
    ee_error err = {0};
    (void)state;
    assert_int_equal(service_log("info", &err), EE_OK);
    assert_int_equal(service_log("verbose", &err), EE_E_CONFIG);
    assert_non_null(strstr(err.message, "verbose"));
    eei_log_set(NULL, NULL, EEI_LOG_ERROR);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals_stop_in_order),
        cmocka_unit_test(test_second_signal_ends_at_once),
        cmocka_unit_test(test_hardened_process),
        cmocka_unit_test(test_log_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
