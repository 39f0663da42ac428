/* test_spec.c - what of a job's options is refused before anything is asked of a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
// clang-format on
#include "client/spec.h"

#include <stdlib.h>
#include <string.h>

static ee_status spec_of(const char *const *env, ee_error *err) {
    static ee_client nobody; /* asked for nothing but its policy */
    client_spec spec;
    ee_job_options options;
    ee_job_options_init(&options);
    options.vcpus = -1; /* refused where the look at env has nothing to say, and before a client is needed */
    options.env = env;
    ee_status st = client_spec_job(&nobody, &options, &spec, err);
    client_spec_clear(&spec);
    return st;
}

/* A name goes out in the clear, so what is none is not shown and not sent. */
static void test_env_names(void **state) {
    (void)state;
    static const struct {
        const char *name, *env, *says; /* says NULL: fine */
    } cases[] = {
        {"one letter", "A=1", NULL},
        {"all kinds", "_aZ09=1", NULL},
        {"no value", "A=", NULL},
        {"anything in the value", "A== \t\n'\"\\\xff", NULL},
        {"no equals", "hunter2", "env variable 1 is not NAME=value"},
        {"no name", "=hunter2", "env variable 1 is not NAME=value"},
        {"digit first", "1hunter2=", "byte 1 of the name of env variable 1 is none of A-Z a-z _"},
        {"shell's word", "export hunter2=1", "byte 7 of the name of env variable 1 is none of A-Z a-z _ 0-9"},
        {"space behind", "hunter2 =1", "byte 8 of the name of env variable 1 is none of A-Z a-z _ 0-9"},
        {"dash", "hunter2-b=1", "byte 8 of the name of env variable 1 is none of A-Z a-z _ 0-9"},
        {"newline", "hunter2\n=1", "byte 8 of the name of env variable 1 is none of A-Z a-z _ 0-9"},
        {"not ASCII", "hunter2\xc3\xa4=1", "byte 8 of the name of env variable 1 is none of A-Z a-z _ 0-9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const env[] = {cases[i].env, NULL};
        ee_error err = {0};
        ee_status st = spec_of(env, &err);
        const char *want = cases[i].says;
        if (st != EE_E_INVALID || (want ? strcmp(err.message, want) != 0 : !strstr(err.message, "vcpus is -1")))
            fail_msg("%s: %s %s", cases[i].name, ee_status_word(st), err.message);
        if (want && strstr(err.message, "hunter2")) fail_msg("%s: the message shows the name", cases[i].name);
    }
}

static void test_env_name_length(void **state) {
    (void)state;
    for (size_t len = 254; len <= 257; len++) {
        char item[300];
        const char *const env[] = {"B=1", item, NULL};
        ee_error err = {0};
        memset(item, 'a', len);
        memcpy(item + len, "=1", 3);
        assert_int_equal(spec_of(env, &err), EE_E_INVALID);
        if (len <= 255)
            assert_non_null(strstr(err.message, "vcpus is -1"));
        else
            assert_non_null(strstr(err.message, "the name of env variable 2 has 25"));
    }
}

static void test_env_item_length(void **state) {
    static char item[EEI_ENV_ITEM_BYTES_MAX + 2] = "A=";
    const char *const env[] = {item, NULL};
    ee_error err = {0};
    (void)state;
    memset(item + 2, 'a', EEI_ENV_ITEM_BYTES_MAX - 2);
    assert_int_equal(spec_of(env, &err), EE_E_INVALID); /* not for its length */
    assert_non_null(strstr(err.message, "vcpus is -1"));
    item[EEI_ENV_ITEM_BYTES_MAX] = 'a';
    assert_int_equal(spec_of(env, &err), EE_E_LIMIT);
    assert_string_equal(err.message, "env variable 1 has 131072 bytes with its name; at most 131071");
}

static void test_env_name_twice(void **state) {
    (void)state;
    const char *const env[] = {"A=1", "B=2", "A=3", NULL};
    ee_error err = {0};
    assert_int_equal(spec_of(env, &err), EE_E_INVALID);
    assert_string_equal(err.message, "env variable A is given twice");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_env_names),
        cmocka_unit_test(test_env_name_length),
        cmocka_unit_test(test_env_item_length),
        cmocka_unit_test(test_env_name_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
