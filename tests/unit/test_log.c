/* test_log.c - one event is one line of printable ASCII, from any thread. Called by CTest. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char last[16384];
static eei_log_level last_level;
static unsigned count;
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;

static void keep(void *user, eei_log_level level, const char *line) {
    pthread_mutex_lock(&counting);
    assert_ptr_equal(user, last);
    snprintf(last, sizeof last, "%s", line);
    last_level = level;
    count++;
    pthread_mutex_unlock(&counting);
}

static void test_silent_until_set_and_by_level(void **state) {
    (void)state;
    eei_log_set(NULL, NULL, EEI_LOG_DEBUG);
    count = 0;
    eei_log(EEI_LOG_ERROR, "a.b", "x=%d", 1);
    assert_int_equal(count, 0);
    eei_log_set(keep, last, EEI_LOG_WARN);
    eei_log(EEI_LOG_INFO, "a.b", "x=%d", 1);
    assert_int_equal(count, 0);
    eei_log(EEI_LOG_WARN, "agent.accepted", "node=%s n=%d", "node-a", 1);
    assert_int_equal(count, 1);
    assert_int_equal(last_level, EEI_LOG_WARN);
    assert_string_equal(last, "event=agent.accepted node=node-a n=1");
    eei_log(EEI_LOG_ERROR, "start", "%s", "");
    assert_memory_equal(last, "event=start", 11);
    eei_log_set(NULL, NULL, EEI_LOG_DEBUG);
    eei_log(EEI_LOG_ERROR, "a.b", "x=%d", 1);
    assert_int_equal(count, 2);
}

static void test_L1_one_event_is_one_line(void **state) {
    (void)state;
    eei_log_set(keep, last, EEI_LOG_DEBUG);
    eei_log(EEI_LOG_INFO, "login", "name=%s", "eve\nevent=login name=root\x1b[2K\r\x7f\xc3\xa9");
    assert_string_equal(last, "event=login name=eve\\x0aevent=login name=root\\x1b[2K\\x0d\\x7f\\xc3\\xa9");
    const unsigned seed = 20260131;
    srand(seed);
    for (int round = 0; round < 500; round++) {
        char noise[300];
        const size_t len = (size_t)rand() % (sizeof noise - 1);
        for (size_t i = 0; i < len; i++) noise[i] = (char)(1 + rand() % 255);
        noise[len] = '\0';
        eei_log(EEI_LOG_INFO, "noise", "v=%s", noise);
        for (const char *p = last; *p; p++)
            if (*p < 0x20 || *p > 0x7e) fail_msg("seed %u round %d", seed, round);
    }
    eei_log_set(NULL, NULL, EEI_LOG_ERROR);
}

static void test_L1_length_is_capped(void **state) {
    (void)state;
    static char flood[100000];
    memset(flood, 'x', sizeof flood - 1);
    eei_log_set(keep, last, EEI_LOG_DEBUG);
    eei_log(EEI_LOG_INFO, "flood", "v=%s", flood);
    assert_in_range(strlen(last), 1000, 2048);
    assert_string_equal(last + strlen(last) - 3, "...");
    memset(flood, '\n', sizeof flood - 1);
    eei_log(EEI_LOG_INFO, "flood", "v=%s", flood);
    assert_in_range(strlen(last), 4000, 8192);
    eei_log(EEI_LOG_INFO, flood, "v=%d", 1); /* even a mad event name */
    eei_log_set(NULL, NULL, EEI_LOG_ERROR);
}

static void *shout(void *unused) {
    (void)unused;
    for (int i = 0; i < 500; i++) eei_log(EEI_LOG_INFO, "shout", "i=%d", i);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    pthread_t threads[4];
    count = 0;
    eei_log_set(keep, last, EEI_LOG_DEBUG);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, shout, NULL), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_int_equal(count, 2000);
    eei_log_set(NULL, NULL, EEI_LOG_ERROR);
}

static void test_stderr_line(void **state) {
    (void)state;
    int ends[2], kept = dup(STDERR_FILENO);
    char out[256] = {0};
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    eei_log_to_stderr(NULL, EEI_LOG_WARN, "event=x k=v");
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(ends[1]);
    assert_true(read(ends[0], out, sizeof out - 1) > 0);
    close(ends[0]);
    assert_int_equal(out[10], 'T');
    assert_non_null(strstr(out, "Z level=warn event=x k=v\n"));
    assert_ptr_equal(strchr(out, '\n') + 1, out + strlen(out));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silent_until_set_and_by_level),
        cmocka_unit_test(test_L1_one_event_is_one_line),
        cmocka_unit_test(test_L1_length_is_capped),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_stderr_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
