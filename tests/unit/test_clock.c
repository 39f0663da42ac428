/* test_clock.c - UTC text, ids and randomness. Called by CTest. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/buf.h"
#include "base/clock.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_utc_there_and_back(void **state) {
    (void)state;
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {951782400000, "2000-02-29T00:00:00Z"},
        {951868799999, "2000-02-29T23:59:59.999Z"},
        {951868800000, "2000-03-01T00:00:00Z"},
        {1769864651123, "2026-01-31T13:04:11.123Z"},
        {2147483647000, "2038-01-19T03:14:07Z"},
        {2147483648000, "2038-01-19T03:14:08Z"},
        {4107542400000, "2100-03-01T00:00:00Z"},
        {4294967296000, "2106-02-07T06:28:16Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        uint64_t back = 0;
        assert_ptr_equal(eei_format_utc(cases[i].ms, text), text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(eei_parse_utc(text, &back, NULL), EE_OK);
        assert_true(back == cases[i].ms);
    }
    char text[32];
    assert_true(strlen(eei_format_utc(UINT64_MAX, text)) < sizeof text);
}

static void test_B13_every_day_of_a_century(void **state) {
    (void)state;
    uint64_t back = 0;
    char text[32], before[32] = "";
    for (uint64_t day = 0; day < 36525u * 2; day++) {
        eei_format_utc(day * 86400000u + 86399000u, text);
        assert_true(strcmp(before, text) < 0);
        assert_int_equal(eei_parse_utc(text, &back, NULL), EE_OK);
        assert_true(back == day * 86400000u + 86399000u);
        memcpy(before, text, sizeof text);
    }
}

static void test_utc_accepts_one_form(void **state) {
    (void)state;
    uint64_t ms = 0;
    assert_int_equal(eei_parse_utc("2026-01-31T13:04:11.5Z", &ms, NULL), EE_OK);
    assert_true(ms == UINT64_C(1769864651500));
    assert_int_equal(eei_parse_utc("2026-01-31T13:04:11.123456789Z", &ms, NULL), EE_OK);
    assert_true(ms == UINT64_C(1769864651123));
    static const struct {
        const char *text;
        size_t offset;
    } bad[] = {
        {"", 0},
        {"2026-01-31", 10},
        {"2026-01-31T13:04:11", 19},
        {"2026-01-31T13:04:11+00:00", 19},
        {"2026-01-31t13:04:11z", 10},
        {"2026-01-31 13:04:11Z", 10},
        {"2026-1-31T13:04:11Z", 6},
        {" 2026-01-31T13:04:11Z", 0},
        {"2026-01-31T13:04:11Z ", 20},
        {"2026-01-31T13:04:11.Z", 20},
        {"2026-01-31T13:04:11.1234567890Z", 29},
        {"2026-00-31T13:04:11Z", 20},
        {"2026-13-31T13:04:11Z", 20},
        {"2026-02-29T13:04:11Z", 20},
        {"2100-02-29T13:04:11Z", 20},
        {"2026-04-31T13:04:11Z", 20},
        {"2026-01-00T13:04:11Z", 20},
        {"2026-01-31T24:00:00Z", 20},
        {"2026-01-31T13:60:11Z", 20},
        {"2026-01-31T13:04:60Z", 20},
        {"1969-12-31T23:59:59Z", 20},
        {"-026-01-31T13:04:11Z", 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ee_error err = {0};
        if (eei_parse_utc(bad[i].text, &ms, &err) != EE_E_MALFORMED) fail_msg("%s", bad[i].text);
        if (err.offset_bytes != bad[i].offset) fail_msg("%s: %u", bad[i].text, (unsigned)err.offset_bytes);
        assert_int_equal(ms, 0);
    }
    assert_int_equal(eei_parse_utc(NULL, &ms, NULL), EE_E_MALFORMED);
}

static void test_ids(void **state) {
    (void)state;
    char a[40], b[40];
    ee_error err = {0};
    assert_int_equal(eei_make_id("job_", 1769864651123, a, sizeof a, &err), EE_OK);
    assert_int_equal(strlen(a), 30);
    assert_int_equal(strspn(a + 4, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), 26);
    assert_memory_equal(a, "job_01KGA2ERBK", 14); /* 1769864651123 in base 32 */
    assert_int_equal(eei_make_id("job_", 1769864651123, b, sizeof b, &err), EE_OK);
    assert_memory_equal(a, b, 14);
    assert_string_not_equal(a, b);
    assert_int_equal(eei_make_id("job_", 1769864651124, b, sizeof b, &err), EE_OK);
    assert_true(strcmp(a, b) < 0); /* ids sort by time */
    assert_int_equal(eei_make_id("", (UINT64_C(1) << 48) - 1, b, 27, &err), EE_OK);
    assert_memory_equal(b, "7ZZZZZZZZZ", 10);
    assert_int_equal(eei_make_id("", 0, b, 26, &err), EE_E_INTERNAL);
}

static void test_Q8_random_differs_and_fills_all(void **state) {
    (void)state;
    uint8_t seen[64] = {0}, one[64];
    unsigned ones = 0;
    for (int round = 0; round < 64; round++) {
        assert_int_equal(eei_random(one, sizeof one, NULL), EE_OK);
        for (size_t i = 0; i < sizeof one; i++) {
            seen[i] |= one[i];
            ones += (unsigned)__builtin_popcount(one[i]);
        }
    }
    for (size_t i = 0; i < sizeof seen; i++) assert_int_equal(seen[i], 0xff); /* a bit that is 0 in 64 rounds: 2^-64 each */
    assert_in_range(ones, 16384 - 700, 16384 + 700);                          /* of 32,768 bits: about 8 standard deviations */
    assert_int_equal(eei_random(NULL, 0, NULL), EE_OK);
}

/* In a child: getrandom answers an error; nothing random may be made up instead. Exit code 42 = refused as it should be. */
static void refuse_getrandom_and_try(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getrandom, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) _exit(77);
    uint8_t nonce[32];
    char id[40];
    ee_error err = {0};
    bool refused = eei_random(nonce, sizeof nonce, &err) == EE_E_IO && err.native_code == EIO;
    refused = refused && eei_make_id("job_", 1, id, sizeof id, &err) == EE_E_IO;
    _exit(refused ? 42 : 1);
}

static void test_Q8_no_entropy_is_an_error(void **state) {
    (void)state;
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) refuse_getrandom_and_try();
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) skip(); /* a sandbox without seccomp */
    assert_int_equal(WEXITSTATUS(status), 42);
}

static void test_clocks(void **state) {
    (void)state;
    const eei_clock *c = eei_clock_system();
    uint64_t a = c->mono_ms(c->user), b = eei_mono_ms();
    assert_true(a <= b);
    assert_true(eei_mono_us() / 1000 >= b);
    assert_true(c->wall_ms(c->user) > UINT64_C(1700000000000) && c->wall_ms(c->user) <= eei_wall_ms());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utc_there_and_back),
        cmocka_unit_test(test_B13_every_day_of_a_century),
        cmocka_unit_test(test_utc_accepts_one_form),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_Q8_random_differs_and_fills_all),
        cmocka_unit_test(test_Q8_no_entropy_is_an_error),
        cmocka_unit_test(test_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
