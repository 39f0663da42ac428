/* shim.c - ee-shim: first process of every sandbox. It waits for a job on a pipe, runs it as its only child, reaps, forwards signals and
 * reports. Static, no allocation, links nothing of ours. Not for setting up isolation: the OCI runtime did that before. Run as /ee-init.
 *
 *   fd 0 1 2  the job's      fd 3  job, in (end of file: the agent is gone, so end)      fd 4  reports, out
 * Job on fd 3: the header below, then cwd, args and env as NUL-ended strings. The environment is in this memory until the command has it,
 * then wiped; nothing is written anywhere (threats W11, L4). */
#include "sandbox_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOB_FD = 3, REPORT_FD = 4 };

static char *argv[EE_SHIM_STRINGS_MAX + 1], *envp[EE_SHIM_STRINGS_MAX + 1];

static void report(uint32_t kind, int32_t value) {
    ee_shim_report r = {.kind = kind, .value = value};
    while (write(REPORT_FD, &r, sizeof r) < 0 && errno == EINTR) {
    }
}

static bool read_all(void *out, size_t len) {
    char *at = out;
    while (len > 0) {
        ssize_t n = read(JOB_FD, at, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* Point at the next NUL-ended string; false past the end. */
static bool next_string(char **at, char *end, char **out) {
    char *nul = memchr(*at, '\0', (size_t)(end - *at));
    if (!nul) return false;
    *out = *at;
    *at = nul + 1;
    return true;
}

static bool split_job(const ee_shim_job *job, char *text, char **cwd) {
    char *at = text, *end = text + job->bytes;
    if (!next_string(&at, end, cwd)) return false;
    for (uint32_t i = 0; i < job->args; i++)
        if (!next_string(&at, end, &argv[i])) return false;
    for (uint32_t i = 0; i < job->env; i++)
        if (!next_string(&at, end, &envp[i])) return false;
    return at == end;
}

/* What errno of execve leaves open: a folder has no executable bit to set, and a script may be there while its interpreter is not. */
static int try_file(const char *file) {
    struct stat info;
    execve(file, argv, envp);
    int why = errno;
    if (stat(file, &info) != 0) return why;
    return S_ISDIR(info.st_mode) ? EISDIR : why == ENOENT ? ELIBACC : why;
}

/* The search of execvp(3) without its fallback to /bin/sh. Returns errno of the most telling failure. */
static int execute(const char *name) {
    const char *path = "";
    char full[4096];
    int worst = ENOENT;
    if (strchr(name, '/')) return try_file(name);
    if (!*name) return ENOENT;
    for (char **e = envp; *e; e++)
        if (strncmp(*e, "PATH=", 5) == 0) path = *e + 5;
    while (*path) {
        size_t dir = strcspn(path, ":"), len = strlen(name);
        if (dir > 0 && dir + len + 2 <= sizeof full) {
            memcpy(full, path, dir);
            full[dir] = '/';
            memcpy(full + dir + 1, name, len + 1);
            int why = try_file(full);
            if (why != ENOENT && why != ENOTDIR) worst = why;
            if (worst != ENOENT && worst != EACCES && worst != EISDIR) return worst;
        }
        path += dir + (path[dir] == ':');
    }
    return worst;
}

/* Child: becomes the command. What fails goes to the parent through `failed`, which closes by itself when the command runs. */
static void become(const char *cwd, int failed, const sigset_t *signals, uint64_t data_max) {
    struct rlimit data = {.rlim_cur = data_max, .rlim_max = data_max};
    ee_shim_report r = {.kind = EE_SHIM_NO_CWD};
    sigset_t none = *signals;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (data_max) setrlimit(RLIMIT_DATA, &data);
    if (chdir(cwd) == 0) {
        r.kind = EE_SHIM_NO_EXEC;
        r.value = execute(argv[0]);
    } else {
        r.value = errno;
    }
    (void)!write(failed, &r, sizeof r);
    _exit(127);
}

static pid_t start(const char *cwd, const sigset_t *signals, uint64_t data_max) {
    ee_shim_report failure = {0};
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC)) {
        report(EE_SHIM_NO_EXEC, errno);
        return -1;
    }
    pid_t child = fork();
    if (child == 0) become(cwd, pipe_fds[1], signals, data_max);
    int why = errno;
    close(pipe_fds[1]);
    if (child < 0) {
        report(EE_SHIM_NO_EXEC, why);
        return -1;
    }
    ssize_t n;
    while ((n = read(pipe_fds[0], &failure, sizeof failure)) < 0 && errno == EINTR) {
    }
    close(pipe_fds[0]);
    if (n == (ssize_t)sizeof failure) {
        report(failure.kind, failure.value);
        return -1;
    }
    return child;
}

/* Reap everything that ended, as the first process of a pid namespace must. True when it was the command. */
static bool reap(pid_t child, int *status) {
    int s;
    bool ended = false;
    for (pid_t pid; (pid = waitpid(-1, &s, WNOHANG)) > 0;) {
        if (pid != child) continue;
        *status = s;
        ended = true;
    }
    return ended;
}

static int supervise(pid_t child, const sigset_t *signals) {
    struct signalfd_siginfo info;
    int status = 0, fd = signalfd(-1, signals, SFD_CLOEXEC);
    struct pollfd watch[2] = {{.fd = fd, .events = POLLIN}, {.fd = JOB_FD, .events = POLLIN}};
    if (fd < 0) return 125;
    for (;;) {
        if (reap(child, &status)) {
            report(EE_SHIM_ENDED, status);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        if (poll(watch, 2, -1) < 0 && errno != EINTR) return 125;
        if (watch[1].revents) return 125; /* the agent closed its end: nobody watches, meters or reads any more */
        if ((watch[0].revents & POLLIN) && read(fd, &info, sizeof info) == (ssize_t)sizeof info && info.ssi_signo != SIGCHLD)
            kill(child, (int)info.ssi_signo);
    }
}

int main(void) {
    ee_shim_job job;
    char *cwd = NULL;
    sigset_t signals;

    /* Same-uid processes of the job must not read this one's memory or descriptors. */
    prctl(PR_SET_DUMPABLE, 0);
    fcntl(JOB_FD, F_SETFD, FD_CLOEXEC);
    fcntl(REPORT_FD, F_SETFD, FD_CLOEXEC);
    sigfillset(&signals);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    report(EE_SHIM_READY, 0);
    if (!read_all(&job, sizeof job)) return 125;
    if (job.magic != EE_SHIM_MAGIC || job.bytes > EE_SHIM_BYTES_MAX || job.args == 0 || job.args > EE_SHIM_STRINGS_MAX ||
        job.env > EE_SHIM_STRINGS_MAX)
        return 125;
    char *text = mmap(NULL, job.bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (text == MAP_FAILED) return 125;
    if (!read_all(text, job.bytes) || !split_job(&job, text, &cwd)) return 125;
    pid_t child = start(cwd, &signals, job.data_max);
    explicit_bzero(text, job.bytes);
    munmap(text, job.bytes + 1);
    if (child < 0) return 127;
    report(EE_SHIM_STARTED, 0);               /* who hears it knows: the environment is the command's alone */
    for (int fd = 0; fd < 3; fd++) close(fd); /* so that the job's streams end when the job closes them */
    return supervise(child, &signals);
}
