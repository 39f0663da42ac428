/* test_cgroup.c - v1, hybrid and v2 layouts from fixture files: found, read, told apart. The real thing is in test_runtime_root.c. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "agent/cgroup.h"
#include "agent/image_tree.h"
#include "base/buf.h"
#include "base/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

static void put(const char *name, const char *text) {
    char path[300], parent[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = '\0';
    assert_int_equal(eei_make_dirs(parent, 0755, NULL), EE_OK);
    assert_int_equal(eei_file_write_atomic(path, eei_span_text(text), 0644, NULL), EE_OK);
}

static const char *in_dir(const char *name) {
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/ee-cgroup-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    return agent_tree_remove(AT_FDCWD, dir);
}

static void put_hybrid(void) {
    char text[2000];
    snprintf(text, sizeof text,
             "20 1 8:1 / / rw - ext4 /dev/vda rw\n"
             "30 20 0:26 / %s/v1/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
             "31 20 0:27 / %s/v1/memory rw,relatime - cgroup cgroup rw,memory\n"
             "32 20 0:28 / %s/v1/pids rw,relatime - cgroup cgroup rw,pids\n"
             "33 20 0:29 / %s/v1/unified rw,relatime - cgroup2 cgroup2 rw\n"
             "34 20 0:30 / %s/v1/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n",
             dir, dir, dir, dir, dir);
    put("mountinfo-hybrid", text);
}

static void test_hybrid(void **state) {
    agent_cgroup_layout layout;
    agent_cgroup group;
    agent_cgroup_usage usage;
    ee_error err;
    (void)state;
    put_hybrid();
    put("v1/memory/memory.memsw.limit_in_bytes", "1\n");
    agent_cgroup_find(in_dir("mountinfo-hybrid"), &layout);
    assert_int_equal(layout.version, 1);
    assert_true(layout.swap);
    assert_int_equal(layout.mounts_count, 5);
    put("proc-hybrid", "9:name=systemd:/easy/ee-1\n4:memory:/easy/ee-1\n2:cpu,cpuacct:/easy/ee-1\n0::/wrong\n");
    assert_int_equal(agent_cgroup_open(&layout, in_dir("proc-hybrid"), &group, &err), EE_E_IO); /* not there yet */
    put("v1/memory/easy/ee-1/memory.max_usage_in_bytes", "2240512\n");
    put("v1/memory/easy/ee-1/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
    put("v1/cpu,cpuacct/easy/ee-1/cpuacct.usage", "1234567890\n");
    assert_int_equal(agent_cgroup_open(&layout, in_dir("proc-hybrid"), &group, &err), EE_OK);
    agent_cgroup_read(&group, &usage);
    assert_int_equal(usage.cpu_usec, 1234567);
    assert_int_equal(usage.memory_peak_bytes, 2240512);
    assert_int_equal(usage.oom_kills, 3); /* not oom_kill_disable's 0 */
}

static void test_v2(void **state) {
    agent_cgroup_layout layout;
    agent_cgroup group;
    agent_cgroup_usage usage;
    ee_error err;
    char text[400];
    (void)state;
    snprintf(text, sizeof text, "24 1 0:22 /part %s/v2 rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", dir);
    put("mountinfo-v2", text);
    put("v2/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
    agent_cgroup_find(in_dir("mountinfo-v2"), &layout);
    assert_int_equal(layout.version, 2);
    put("proc-v2", "0::/part/easy/ee-1\n"); /* the mount shows only a part of the hierarchy */
    put("v2/easy/ee-1/memory.peak", "777\n");
    put("v2/easy/ee-1/memory.events", "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n");
    put("v2/easy/ee-1/cpu.stat", "usage_usec 42\nuser_usec 40\nsystem_usec 2\n");
    assert_int_equal(agent_cgroup_open(&layout, in_dir("proc-v2"), &group, &err), EE_OK);
    agent_cgroup_read(&group, &usage);
    assert_int_equal(usage.cpu_usec, 42);
    assert_int_equal(usage.memory_peak_bytes, 777);
    assert_int_equal(usage.oom_kills, 1);
    put("proc-v2-outside", "0::/elsewhere/ee-1\n");
    assert_int_equal(agent_cgroup_open(&layout, in_dir("proc-v2-outside"), &group, &err), EE_E_IO);
}

static void test_not_usable(void **state) {
    static const char *const controllers[] = {"cpu memory\n", "cpuset io\n", "", "cpus memoryx pidss\n"};
    agent_cgroup_layout layout;
    char text[400];
    (void)state;
    agent_cgroup_find(in_dir("no-such-file"), &layout);
    assert_int_equal(layout.version, 0);
    snprintf(text, sizeof text, "24 1 0:22 / %s/less rw - cgroup2 cgroup2 rw\nbroken line\n - cgroup\n1 2 3\n", dir);
    put("mountinfo-less", text);
    for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++) {
        put("less/cgroup.controllers", controllers[i]);
        agent_cgroup_find(in_dir("mountinfo-less"), &layout);
        assert_int_equal(layout.version, 0);
    }
}

static void test_remove(void **state) {
    agent_cgroup_layout layout;
    (void)state;
    put_hybrid();
    agent_cgroup_find(in_dir("mountinfo-hybrid"), &layout);
    assert_int_equal(eei_make_dirs(in_dir("v1/pids/easyenclave-1/ee-2"), 0755, NULL), EE_OK);
    assert_int_equal(eei_make_dirs(in_dir("v1/systemd/easyenclave-1/ee-2/inner"), 0755, NULL), EE_OK);
    assert_int_equal(eei_make_dirs(in_dir("v1/pids/easyenclave-12"), 0755, NULL), EE_OK);
    assert_int_equal(agent_cgroup_remove(&layout, "/easyenclave-1"), 5);
    assert_int_equal(access(in_dir("v1/pids/easyenclave-1"), F_OK), -1);
    assert_int_equal(access(in_dir("v1/pids/easyenclave-12"), F_OK), 0); /* another agent's */
    assert_int_equal(agent_cgroup_remove(&layout, "/easyenclave-1"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_not_usable),
        cmocka_unit_test(test_remove),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
