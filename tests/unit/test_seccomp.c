/* test_seccomp.c - the allow-list says what it should, on both architectures, and every name in it is a system call. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "agent/seccomp.h"

#include <errno.h>
#include <seccomp.h>
#include <stdbool.h>
#include <string.h>

static const json_t *rule_of(const json_t *profile, const char *name, size_t which) {
    size_t i, j;
    json_t *rule, *text;
    json_array_foreach(json_object_get(profile, "syscalls"), i, rule) {
        json_array_foreach(json_object_get(rule, "names"), j, text) {
            if (strcmp(json_string_value(text), name) == 0 && which-- == 0) return rule;
        }
    }
    return NULL;
}

static const char *action_of(const json_t *rule) { return json_string_value(json_object_get(rule, "action")); }

static void check_profile(const char *machine) {
    static const char *const never[] = {"mount",       "unshare",        "setns",
                                        "ptrace",      "keyctl",         "add_key",
                                        "bpf",         "pivot_root",     "perf_event_open",
                                        "userfaultfd", "io_uring_setup", "process_vm_readv",
                                        "kexec_load",  "init_module",    "open_by_handle_at",
                                        "clone3",      "reboot",         "pidfd_getfd",
                                        "chroot"};
    json_t *p = agent_seccomp_profile(machine);
    assert_non_null(p);
    assert_string_equal(json_string_value(json_object_get(p, "defaultAction")), "SCMP_ACT_ERRNO");
    assert_int_equal(json_integer_value(json_object_get(p, "defaultErrnoRet")), ENOSYS);
    assert_int_equal(json_array_size(json_object_get(p, "architectures")), 1); /* one: 32-bit calls are another list */
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        const json_t *rule = rule_of(p, never[i], 0);
        if (!rule || strcmp(action_of(rule), "SCMP_ACT_ERRNO") != 0) fail_msg("%s on %s", never[i], machine);
        assert_null(rule_of(p, never[i], 1));
    }
    assert_string_equal(action_of(rule_of(p, "execve", 0)), "SCMP_ACT_ALLOW");
    assert_int_equal(json_integer_value(json_object_get(rule_of(p, "clone3", 0), "errnoRet")),
                     ENOSYS); /* so that libc falls back to clone */
    json_decref(p);
}

static void test_W4_profile(void **state) {
    (void)state;
    check_profile("x86_64");
    check_profile("aarch64");
}

static void test_W4_clone_makes_no_namespace(void **state) {
    static const uint64_t flags[] = {0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000};
    (void)state;
    json_t *p = agent_seccomp_profile(NULL);
    const json_t *arg = json_array_get(json_object_get(rule_of(p, "clone", 0), "args"), 0);
    uint64_t mask = (uint64_t)json_integer_value(json_object_get(arg, "value"));
    assert_string_equal(json_string_value(json_object_get(arg, "op")), "SCMP_CMP_MASKED_EQ");
    assert_int_equal(json_integer_value(json_object_get(arg, "valueTwo")), 0);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) assert_true(mask & flags[i]);
    assert_null(rule_of(p, "clone", 1));
    json_decref(p);
}

static void test_W3_no_vsock(void **state) {
    (void)state;
    json_t *p = agent_seccomp_profile(NULL);
    size_t n = 0;
    for (const json_t *rule; (rule = rule_of(p, "socket", n)); n++) {
        const json_t *arg = json_array_get(json_object_get(rule, "args"), 0);
        assert_string_equal(json_string_value(json_object_get(arg, "op")), "SCMP_CMP_EQ");
        json_int_t family = json_integer_value(json_object_get(arg, "value"));
        assert_true(family == 1 || family == 2 || family == 10 || family == 16);
    }
    assert_int_equal(n, 4);
    json_decref(p);
}

/* A typing error would silently forbid (or, in `refused`, do nothing). Newer than the libseccomp this may be built with: known by name
 * here. */
static void test_names_exist(void **state) {
    static const char *const new_ones[] = {"fchmodat2", "mseal", "map_shadow_stack", "futex_wait", "futex_wake", "futex_requeue"};
    size_t i, j;
    json_t *rule, *name;
    (void)state;
    json_t *p = agent_seccomp_profile("x86_64");
    json_array_foreach(json_object_get(p, "syscalls"), i, rule) {
        json_array_foreach(json_object_get(rule, "names"), j, name) {
            const char *text = json_string_value(name);
            bool known = seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, text) != __NR_SCMP_ERROR;
            for (size_t k = 0; !known && k < sizeof new_ones / sizeof *new_ones; k++) known = strcmp(text, new_ones[k]) == 0;
            if (!known) fail_msg("%s is not a system call", text);
        }
    }
    json_decref(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_W4_profile),
        cmocka_unit_test(test_W4_clone_makes_no_namespace),
        cmocka_unit_test(test_W3_no_vsock),
        cmocka_unit_test(test_names_exist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
