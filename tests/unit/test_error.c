/* test_error.c - statuses, messages and cancel: one line, valid UTF-8, never a lost status. Called by CTest. */

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/error.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct row {
    ee_status status;
    const char *word;
    int http, exit_code, retryable;
    const char *text;
} row;
static const row rows[] = {
#define EE_STATUS(symbol, number, word, http, python, go, exit_code, retryable, text) {symbol, word, http, exit_code, retryable, text},
#include <eesdk/status.def>
#undef EE_STATUS
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static void test_every_status_is_told_by_its_table(void **state) {
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        assert_string_equal(ee_status_word(rows[i].status), rows[i].word);
        assert_string_equal(ee_status_text(rows[i].status), rows[i].text);
        assert_int_equal(ee_status_exit_code(rows[i].status), rows[i].exit_code);
        assert_int_equal(eei_status_http(rows[i].status), rows[i].http);
        assert_int_equal(eei_status_from_word(rows[i].word), rows[i].status);
        assert_int_equal(eei_status_retryable(rows[i].status), rows[i].retryable);
        assert_true(strlen(rows[i].word) < sizeof((ee_error *)0)->word);
        assert_true(rows[i].status == (ee_status) - (int)i); /* numbers are dense and negative */
        for (size_t k = 0; k < i; k++) assert_string_not_equal(rows[i].word, rows[k].word);
        ee_error err;
        memset(&err, 0xff, sizeof err);
        assert_int_equal(eei_fail(&err, rows[i].status, "n=%d", 7), rows[i].status);
        assert_string_equal(err.word, rows[i].word);
        assert_string_equal(err.message, "n=7");
        assert_int_equal(err.retryable, rows[i].retryable);
        assert_true(err.native_code == 0 && err.http_status == 0);
        assert_true(err.needed == 0 && err.offset_bytes == 0 && !err.hint[0] && !err.details[0] && !err.idempotency_key[0]);
    }
    assert_string_equal(ee_status_word((ee_status)-999), "unknown");
    assert_int_equal(ee_status_exit_code((ee_status)-999), 1);
    assert_int_equal(eei_status_http((ee_status)1), 500);
    assert_int_equal(eei_status_from_word("no such word"), EE_E_SERVER);
    assert_int_equal(eei_status_from_word(NULL), EE_E_SERVER);
    assert_true(strchr(ee_version(), '.') != NULL);
}

static void test_null_error_is_fine(void **state) {
    (void)state;
    assert_int_equal(eei_fail(NULL, EE_E_LIMIT, "%s", "x"), EE_E_LIMIT);
    assert_int_equal(eei_fail_errno(NULL, EE_E_IO, ENOENT, "x"), EE_E_IO);
    assert_int_equal(eei_hint(NULL, EE_E_IO, "x"), EE_E_IO);
    assert_int_equal(eei_prefix(NULL, EE_E_IO, "x"), EE_E_IO);
    assert_int_equal(eei_nomem(NULL), EE_E_NOMEM);
}

static void test_errno_prefix_and_hint(void **state) {
    (void)state;
    ee_error err = {0};
    assert_int_equal(eei_fail_errno(&err, EE_E_IO, ENOENT, "cannot open %s", "x"), EE_E_IO);
    assert_string_equal(err.message, "cannot open x: No such file or directory (errno 2)");
    assert_int_equal(err.native_code, ENOENT);
    assert_int_equal(eei_prefix(&err, EE_E_IO, "profile"), EE_E_IO);
    assert_string_equal(err.message, "profile: cannot open x: No such file or directory (errno 2)");
    assert_string_equal(err.word, "io");
    assert_int_equal(eei_hint(&err, EE_E_IO, "run %s", "ee login"), EE_E_IO);
    assert_string_equal(err.hint, "run ee login");
    /* Whoever puts a noun before it may know better what it is: then word, code and message agree. */
    assert_int_equal(eei_prefix(&err, EE_E_CONFIG, "setting"), EE_E_CONFIG);
    assert_int_equal(err.status, EE_E_CONFIG);
    assert_string_equal(err.word, "config");
    assert_int_equal(err.retryable, eei_status_retryable(EE_E_CONFIG));
    assert_string_equal(err.hint, "run ee login");
    assert_int_equal(err.native_code, ENOENT);
    assert_int_equal(eei_nomem(&err), EE_E_NOMEM);
    assert_string_equal(err.message, "out of memory");
    assert_string_equal(err.hint, "");
    ee_error empty = {0}; /* nobody filled it: still the failure that was passed */
    assert_int_equal(eei_hint(&empty, EE_E_AUTH, "x"), EE_E_AUTH);
}

static void test_own_message_may_be_an_argument(void **state) {
    (void)state;
    ee_error err = {0};
    (void)eei_fail(&err, EE_E_IO, "inner");
    (void)eei_fail(&err, EE_E_CONFIG, "outer: %s", err.message);
    assert_string_equal(err.message, "outer: inner");
    (void)eei_hint(&err, EE_E_CONFIG, "see %s", err.message);
    assert_string_equal(err.hint, "see outer: inner");
}

static void test_L1_message_is_one_clean_line(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"a\nb\r\tc", "a?b??c"}, {"\x1b[31mred", "?[31mred"}, {"caf\xc3\xa9 \xf0\x9f\x98\x80", "caf\xc3\xa9 \xf0\x9f\x98\x80"},
        {"\xff\xfe", "??"},      {"cut \xe2\x82", "cut ??"},  {"c1 \xc2\x9b\x31m", "c1 ??1m"},
        {"\x7f", "?"},           {"\xed\xa0\x80", "???"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ee_error err = {0};
        (void)eei_fail(&err, EE_E_INVALID, "%s", cases[i].in);
        assert_string_equal(err.message, cases[i].out);
    }
}

static void test_long_messages_are_cut_at_a_character(void **state) {
    (void)state;
    char text[3000];
    for (size_t shift = 0; shift < 4; shift++) { /* a four-byte character at every alignment of the end */
        memset(text, 'x', sizeof text);
        for (size_t i = shift; i + 5 < sizeof text; i += 4) memcpy(text + i, "\xf0\x9f\x98\x80", 4);
        text[sizeof text - 1] = '\0';
        ee_error err = {0};
        (void)eei_fail(&err, EE_E_INVALID, "%s", text);
        assert_true(strlen(err.message) < sizeof err.message && strlen(err.message) > sizeof err.message - 8);
        assert_true(eei_utf8_valid(eei_span_text(err.message)));
        assert_string_equal(err.message + strlen(err.message) - 3, "...");
        (void)eei_prefix(&err, EE_E_INVALID, text);
        (void)eei_hint(&err, EE_E_INVALID, "%s", text);
        (void)eei_fail_errno(&err, EE_E_INVALID, EIO, "%s", text);
        assert_true(eei_utf8_valid(eei_span_text(err.message)) && strlen(err.message) < sizeof err.message);
        assert_non_null(strstr(err.message, "(errno 5)"));
    }
}

static void test_L10_assert_tells_only_the_place(void **state) {
    (void)state;
    int ends[2];
    char out[512] = {0};
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        const int key_material_of_somebody = 0;
        EE_ASSERT(key_material_of_somebody);
        _exit(0);
    }
    close(ends[1]);
    size_t len = 0;
    for (ssize_t n; len < sizeof out - 1 && (n = read(ends[0], out + len, sizeof out - 1 - len)) > 0;) len += (size_t)n;
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(out, "test_error.c:"));
    assert_null(strstr(out, "key_material"));
}

/* ---- cancel ---- */

static bool readable(int fd, int timeout_ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

static void test_cancel_fires_once_and_stays(void **state) {
    (void)state;
    ee_cancel *c = NULL;
    ee_error err = {0};
    assert_int_equal(ee_cancel_new(&c, &err), EE_OK);
    assert_int_equal(ee_cancel_fired(c), 0);
    assert_int_equal(eei_cancel_check(c, &err), EE_OK);
    assert_false(readable(eei_cancel_fd(c), 0));
    for (int i = 0; i < 3; i++) {
        errno = 77;
        ee_cancel_fire(c);
        assert_int_equal(errno, 77);
        assert_int_equal(ee_cancel_fired(c), 1);
        assert_true(readable(eei_cancel_fd(c), 0));
    }
    assert_int_equal(eei_cancel_check(c, &err), EE_E_CANCELLED);
    assert_string_equal(err.word, "cancelled");
    ee_cancel_free(c);
    ee_cancel_free(NULL);
    ee_cancel_fire(NULL);
    assert_int_equal(ee_cancel_fired(NULL), 0);
    assert_int_equal(eei_cancel_fd(NULL), -1);
    assert_int_equal(eei_cancel_check(NULL, &err), EE_OK);
}

static ee_cancel *signalled;
static void on_signal(int number) {
    (void)number;
    ee_cancel_fire(signalled);
}

static void test_cancel_from_a_signal_handler(void **state) {
    (void)state;
    assert_int_equal(ee_cancel_new(&signalled, NULL), EE_OK);
    struct sigaction action = {.sa_handler = on_signal}, before;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_true(readable(eei_cancel_fd(signalled), 0));
    sigaction(SIGUSR1, &before, NULL);
    ee_cancel_free(signalled);
}

static void *fire(void *cancel) {
    ee_cancel_fire(cancel);
    return NULL;
}

static void test_cancel_wakes_every_waiter(void **state) {
    (void)state;
    ee_cancel *c = NULL;
    pthread_t threads[4];
    assert_int_equal(ee_cancel_new(&c, NULL), EE_OK);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, fire, c), 0);
    assert_true(readable(eei_cancel_fd(c), 10000));
    assert_true(readable(eei_cancel_fd(c), 0)); /* for the next waiter too */
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    ee_cancel_free(c);
}

static void *fire_when_paused(void *cancel) {
    assert_int_equal(eei_cancel_pause(NULL, 20, NULL), EE_OK);
    ee_cancel_fire(cancel);
    return NULL;
}

static void test_pause_lasts_unless_it_is_cancelled(void **state) {
    (void)state;
    ee_cancel *c = NULL;
    ee_error err = {0};
    pthread_t thread;
    uint64_t before = eei_mono_ms();
    assert_int_equal(ee_cancel_new(&c, NULL), EE_OK);
    assert_int_equal(eei_cancel_pause(c, 30, &err), EE_OK);
    assert_true(eei_mono_ms() - before >= 30);
    assert_int_equal(pthread_create(&thread, NULL, fire_when_paused, c), 0);
    before = eei_mono_ms();
    assert_int_equal(eei_cancel_pause(c, 60000, &err), EE_E_CANCELLED);
    assert_true(eei_mono_ms() - before < 30000);
    assert_int_equal(eei_cancel_pause(c, 0, &err), EE_E_CANCELLED); /* it stays fired */
    pthread_join(thread, NULL);
    ee_cancel_free(c);
}

static void test_cancel_out_of_memory(void **state) {
    (void)state;
    ee_cancel *c = NULL;
    eei_alloc_fail_at(1);
    assert_int_equal(ee_cancel_new(&c, NULL), EE_E_NOMEM);
    eei_alloc_fail_at(0);
    assert_null(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_status_is_told_by_its_table),
        cmocka_unit_test(test_null_error_is_fine),
        cmocka_unit_test(test_errno_prefix_and_hint),
        cmocka_unit_test(test_own_message_may_be_an_argument),
        cmocka_unit_test(test_L1_message_is_one_clean_line),
        cmocka_unit_test(test_long_messages_are_cut_at_a_character),
        cmocka_unit_test(test_L10_assert_tells_only_the_place),
        cmocka_unit_test(test_cancel_fires_once_and_stays),
        cmocka_unit_test(test_cancel_from_a_signal_handler),
        cmocka_unit_test(test_cancel_wakes_every_waiter),
        cmocka_unit_test(test_pause_lasts_unless_it_is_cancelled),
        cmocka_unit_test(test_cancel_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
