/* seccomp.c - our own allow-list (threat W4). What is not listed gives ENOSYS, so that a libc falls back to an older call; what programs
 * probe for and must not have gives EPERM. Names another architecture lacks are left out by table. Called by oci_bundle.c. */
#include "seccomp.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* clang-format off */
/* On both architectures. */
static const char *const common[] = {
    "accept", "accept4", "bind", "brk", "capget", "capset", "chdir", "clock_getres", "clock_gettime", "clock_nanosleep", "close",
    "close_range", "connect", "copy_file_range", "dup", "dup3", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "eventfd2",
    "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat",
    "fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr", "flock", "fremovexattr", "fsetxattr", "fstat",
    "fstatfs", "fsync", "ftruncate", "futex", "futex_waitv", "futex_wait", "futex_wake", "futex_requeue", "getcpu", "getcwd",
    "getdents64", "getegid", "geteuid", "getgid", "getgroups", "getitimer", "getpeername", "getpgid", "getpid", "getppid", "getpriority",
    "getrandom", "getresgid", "getresuid", "getrlimit", "get_robust_list", "getrusage", "getsid", "getsockname", "getsockopt", "gettid",
    "gettimeofday", "getuid", "getxattr", "inotify_add_watch", "inotify_init1", "inotify_rm_watch", "ioctl", "ioprio_get", "ioprio_set",
    "kill", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "lgetxattr", "linkat", "listen", "listxattr",
    "llistxattr", "lremovexattr", "lseek", "lsetxattr", "madvise", "membarrier", "memfd_create", "mincore", "mkdirat", "mknodat", "mlock",
    "mlock2", "mlockall", "mmap", "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
    "mremap", "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall", "munmap", "name_to_handle_at",
    "nanosleep", "newfstatat", "openat", "openat2", "pidfd_open", "pidfd_send_signal", "pipe2", "pkey_alloc", "pkey_free",
    "pkey_mprotect", "ppoll", "prctl", "pread64", "preadv", "preadv2", "prlimit64", "pselect6", "pwrite64", "pwritev", "pwritev2", "read",
    "readahead", "readlinkat", "readv", "recvfrom", "recvmmsg", "recvmsg", "remap_file_pages", "removexattr", "renameat", "renameat2",
    "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr", "sched_setparam",
    "sched_setscheduler", "sched_yield", "seccomp", "semctl", "semget", "semop", "semtimedop", "sendfile", "sendmmsg", "sendmsg",
    "sendto", "setfsgid", "setfsuid", "setgid", "setgroups", "setitimer", "setpgid", "setpriority", "setregid", "setresgid", "setresuid",
    "setreuid", "setrlimit", "set_robust_list", "setsid", "setsockopt", "set_tid_address", "setuid", "setxattr", "shmat", "shmctl",
    "shmdt", "shmget", "shutdown", "sigaltstack", "signalfd4", "socketpair", "splice", "statfs", "statx", "symlinkat", "sync",
    "sync_file_range", "syncfs", "sysinfo", "tee", "tgkill", "timer_create", "timer_delete", "timerfd_create", "timerfd_gettime",
    "timerfd_settime", "timer_getoverrun", "timer_gettime", "timer_settime", "times", "tkill", "truncate", "umask", "uname", "unlinkat",
    "utimensat", "vmsplice", "wait4", "waitid", "write", "writev",
};

/* Old forms that only x86_64 has. */
static const char *const x86_64_only[] = {
    "access", "alarm", "arch_prctl", "chmod", "chown", "creat", "dup2", "epoll_create", "epoll_wait", "eventfd", "fork", "futimesat",
    "getdents", "getpgrp", "inotify_init", "lchown", "link", "lstat", "mkdir", "mknod", "open", "pause", "pipe", "poll", "readlink",
    "rename", "rmdir", "select", "signalfd", "stat", "symlink", "time", "unlink", "utime", "utimes", "vfork", "map_shadow_stack",
};

/* EPERM, not ENOSYS: programs handle a refusal, and "not implemented" would be a lie that some retry or abort on. */
static const char *const refused[] = {
    "acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime", "delete_module", "fanotify_init", "finit_module",
    "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_setup", "io_uring_enter", "io_uring_register", "kcmp",
    "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mount", "mount_setattr", "move_mount", "nfsservctl",
    "open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv",
    "process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname", "sethostname", "setns",
    "settimeofday", "swapoff", "swapon", "syslog", "umount2", "unshare", "userfaultfd", "vhangup",
};

/* clang-format on */

/* clone(2) without any CLONE_NEW* flag: threads and forks, no namespaces. */
#define CLONE_NAMESPACES 0x7E020080ull

static json_t *names_of(const char *const *list, size_t count) {
    json_t *names = json_array();
    for (size_t i = 0; names && i < count; i++)
        if (json_array_append_new(names, json_string(list[i]))) {
            json_decref(names);
            return NULL;
        }
    return names;
}

static bool add_rule(json_t *rules, json_t *names, const char *action, int errno_ret, json_t *args) {
    json_t *rule = errno_ret ? json_pack("{s:o, s:s, s:i, s:o}", "names", names, "action", action, "errnoRet", errno_ret, "args", args)
                             : json_pack("{s:o, s:s, s:o}", "names", names, "action", action, "args", args);
    return json_array_append_new(rules, rule) == 0;
}

static json_t *no_args(void) { return json_array(); }

static json_t *masked_arg(unsigned index, uint64_t mask, uint64_t value) {
    return json_pack("[{s:i, s:I, s:I, s:s}]", "index", (int)index, "value", (json_int_t)mask, "valueTwo", (json_int_t)value, "op",
                     "SCMP_CMP_MASKED_EQ");
}

static json_t *equal_arg(unsigned index, uint64_t value) {
    return json_pack("[{s:i, s:I, s:s}]", "index", (int)index, "value", (json_int_t)value, "op", "SCMP_CMP_EQ");
}

static bool add_one(json_t *rules, const char *name, const char *action, int errno_ret, json_t *args) {
    return add_rule(rules, names_of(&name, 1), action, errno_ret, args);
}

static bool add_special(json_t *rules) {
    /* No vsock (it is not confined by a network namespace and reaches the host), no packet, no crypto-API sockets (threat W3). The
     * comparison is of 64 bits, so set high bits make a mismatch, not a hole. */
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    static const uint64_t personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};
    bool ok = add_one(rules, "clone", "SCMP_ACT_ALLOW", 0, masked_arg(0, CLONE_NAMESPACES, 0));
    /* clone3's flags are behind a pointer: not implemented, so that libc uses clone. */
    ok = ok && add_one(rules, "clone3", "SCMP_ACT_ERRNO", ENOSYS, no_args());
    for (size_t i = 0; ok && i < sizeof families / sizeof *families; i++)
        ok = add_one(rules, "socket", "SCMP_ACT_ALLOW", 0, equal_arg(0, (uint64_t)families[i]));
    for (size_t i = 0; ok && i < sizeof personalities / sizeof *personalities; i++)
        ok = add_one(rules, "personality", "SCMP_ACT_ALLOW", 0, equal_arg(0, personalities[i]));
    return ok;
}

json_t *agent_seccomp_profile(const char *machine) {
#if defined(__x86_64__)
    bool x86 = !machine || strcmp(machine, "x86_64") == 0;
#else
    bool x86 = machine && strcmp(machine, "x86_64") == 0;
#endif
    json_t *rules = json_array();
    bool ok = rules && add_rule(rules, names_of(common, sizeof common / sizeof *common), "SCMP_ACT_ALLOW", 0, no_args());
    if (x86) ok = ok && add_rule(rules, names_of(x86_64_only, sizeof x86_64_only / sizeof *x86_64_only), "SCMP_ACT_ALLOW", 0, no_args());
    ok = ok && add_rule(rules, names_of(refused, sizeof refused / sizeof *refused), "SCMP_ACT_ERRNO", EPERM, no_args());
    ok = ok && add_special(rules);
    if (!ok) {
        json_decref(rules);
        return NULL;
    }
    return json_pack("{s:s, s:i, s:[s], s:o}", "defaultAction", "SCMP_ACT_ERRNO", "defaultErrnoRet", ENOSYS, "architectures",
                     x86 ? "SCMP_ARCH_X86_64" : "SCMP_ARCH_AARCH64", "syscalls", rules);
}
