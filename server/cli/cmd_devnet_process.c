/* cmd_devnet_process.c - starting, waiting for and ending the programs of a devnet. See cmd_devnet_parts.h. */
#include "base/clock.h"
#include "cli/cmd_devnet_parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
enum { TOOL_OUTPUT_MAX = 8192, STOP_GRACE_MS = 8000, LOG_TAIL = 16384, EXIT_NOT_INSTALLED = 127 };

/* ---- tools ----------------------------------------------------------------------------------------------------------- */

static void last_line(char *text) {
    size_t len = strlen(text);
    while (len && (text[len - 1] == '\n' || text[len - 1] == ' ')) text[--len] = 0;
    char *line = strrchr(text, '\n');
    if (line) memmove(text, line + 1, strlen(line + 1) + 1);
}

ee_status devnet_tool(const char *const *argv, ee_error *err) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    char output[TOOL_OUTPUT_MAX + 1] = "", block[1024];
    size_t len = 0;
    int fds[2], status = 0, rc;
    pid_t pid;
    if (pipe2(fds, O_CLOEXEC) != 0) return eei_fail_errno(err, EE_E_IO, errno, "pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 2);
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    rc = posix_spawnp(&pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (rc != 0) {
        close(fds[0]);
        return eei_hint(err, eei_fail_errno(err, EE_E_CONFIG, rc, "cannot run %s", argv[0]), "./dev setup installs what a devnet needs");
    }
    for (ssize_t n; (n = read(fds[0], block, sizeof block)) > 0;)
        for (ssize_t i = 0; i < n; i++) { /* keep the end of what it says */
            if (len == TOOL_OUTPUT_MAX) memmove(output, output + 1024, len -= 1024);
            output[len++] = block[i];
            output[len] = 0;
        }
    close(fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return EE_OK;
    last_line(output);
    return eei_fail(err, EE_E_IO, "%s %s failed: %s", argv[0], argv[1] ? argv[1] : "", output[0] ? output : "it said nothing");
}

/* ---- programs -------------------------------------------------------------------------------------------------------- */

static devnet_child *find_child(devnet *net, const char *name) {
    for (size_t i = 0; i < net->child_count; i++)
        if (strcmp(net->children[i].name, name) == 0) return &net->children[i];
    return NULL;
}

static void become_child(const devnet *net, const char *log, int ready, const char *const *argv, const char *const *env) {
    int null = open("/dev/null", O_RDONLY), out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    (void)net;
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL); /* the supervisor takes its signals from a descriptor; its children do not */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);      /* nothing outlives the supervisor */
    (void)setsid();
    if (null < 0 || out < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || dup2(ready, 3) < 0) _exit(126);
    for (size_t i = 0; env && env[i]; i++) (void)putenv((char *)(uintptr_t)env[i]);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    dprintf(2, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(EXIT_NOT_INSTALLED);
}

ee_status devnet_start(devnet *net, const char *name, const char *const *argv, const char *const *env, ee_error *err) {
    char log[DEVNET_PATH_MAX + 64];
    struct stat info;
    int fds[2];
    devnet_child *child = find_child(net, name);
    EE_ASSERT(child ? child->pid == 0 : net->child_count < DEVNET_CHILDREN_MAX);
    (void)snprintf(log, sizeof log, "%s/logs/%s.log", net->dir, name);
    if (pipe2(fds, O_CLOEXEC) != 0) return eei_fail_errno(err, EE_E_IO, errno, "pipe");
    long logged = stat(log, &info) == 0 ? (long)info.st_size : 0;
    pid_t pid = fork();
    if (pid == 0) become_child(net, log, fds[1], argv, env);
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return eei_fail_errno(err, EE_E_IO, errno, "cannot start %s", name);
    }
    if (child) {
        close(child->ready_fd);
    } else {
        child = &net->children[net->child_count++];
        *child = (devnet_child){.pid = 0};
        (void)snprintf(child->name, sizeof child->name, "%s", name);
    }
    child->pid = child->started_as = pid;
    child->ready_fd = fds[0];
    child->log_from = logged;
    return EE_OK;
}

/* The message of a line `... level=fatal msg="..." ...`, as Go programs log; NULL for another line. */
static char *fatal_message(char *line) {
    static const char *const marks[] = {"level=fatal msg=\"", "level=panic msg=\"", "level=error msg=\""};
    char *at = NULL, *to;
    for (size_t i = 0; !at && i < sizeof marks / sizeof *marks; i++)
        if ((at = strstr(line, marks[i])) != NULL) at += strlen(marks[i]);
    char *message = to = at;
    for (; at && *at && *at != '"'; at++) {
        if (*at == '\\' && at[1]) at++;
        *to++ = *at;
    }
    if (to) *to = 0;
    return message;
}

/* Whether a line says why its program ends: ours and a devnet's child before it is one say so in one form, a Go program in two. */
static char *reason_of(char *line) {
    static const char *const begins[] = {"ee-", "cannot run ", "panic: ", "configuration error: "};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (strncmp(line, begins[i], strlen(begins[i])) == 0) return line;
    return fatal_message(line);
}

/* Of the end of a log: why the program ended, else the last it said; and what it advised. Both within text. */
static void find_reason(char *text, const char **reason, const char **advice) {
    const char *last = "it said nothing";
    bool follows = false; /* the line before is the reason */
    *reason = NULL;
    *advice = "";
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        if (!*line) continue;
        char *found = reason_of(line);
        if (found) {
            *reason = found;
            *advice = "";
        } else if (follows && strncmp(line, "  ", 2) == 0) {
            *advice = line + 2;
        }
        follows = found != NULL;
        last = line;
    }
    if (!*reason) *reason = last;
}

static ee_status ended_early(const devnet *net, const devnet_child *child, bool not_installed, ee_error *err) {
    char log[DEVNET_PATH_MAX + 64], tail[LOG_TAIL + 1] = "";
    const char *reason, *advice;
    (void)snprintf(log, sizeof log, "%s/logs/%s.log", net->dir, child->name);
    FILE *from = fopen(log, "r");
    if (from) {
        (void)fseek(from, 0, SEEK_END);
        long size = ftell(from), begin = size > child->log_from + LOG_TAIL ? size - LOG_TAIL : child->log_from;
        (void)fseek(from, begin, SEEK_SET);
        tail[fread(tail, 1, LOG_TAIL, from)] = 0;
        (void)fclose(from);
    }
    find_reason(tail, &reason, &advice);
    eei_fail(err, EE_E_CONFIG, "%s did not start: %.400s", child->name, reason);
    if (not_installed) return eei_hint(err, EE_E_CONFIG, "./dev setup installs what a devnet needs");
    return eei_hint(err, EE_E_CONFIG, "%.120s%sits log is %s", advice, *advice ? "; " : "", log);
}

static ee_status stopped(const devnet *net, int wait_ms, ee_error *err) {
    struct pollfd stop = {.fd = net->stop_fd, .events = POLLIN};
    return poll(&stop, 1, wait_ms) == 1 ? eei_fail(err, EE_E_CANCELLED, "it was told to stop") : EE_OK;
}

ee_status devnet_stopped(const devnet *net, ee_error *err) { return stopped(net, 0, err); }

ee_status devnet_wait_ready(devnet *net, const char *name, uint64_t timeout_ms, unsigned *port, ee_error *err) {
    devnet_child *child = find_child(net, name);
    uint64_t deadline = eei_mono_ms() + timeout_ms;
    char line[64] = "";
    size_t len = 0;
    EE_ASSERT(child);
    while (len < sizeof line - 1 && !strchr(line, '\n')) {
        struct pollfd fds[] = {{.fd = child->ready_fd, .events = POLLIN}, {.fd = net->stop_fd, .events = POLLIN}};
        uint64_t now = eei_mono_ms();
        ee_status st = now >= deadline || poll(fds, 2, (int)(deadline - now)) == 0 ? EE_OK : devnet_stopped(net, err);
        if (st) return st;
        if (!fds[0].revents) return eei_fail(err, EE_E_TIMEOUT, "%s was not ready within %llu ms", name, (unsigned long long)timeout_ms);
        ssize_t n = read(child->ready_fd, line + len, sizeof line - 1 - len);
        if (n <= 0) return ended_early(net, child, false, err);
        len += (size_t)n;
        line[len] = 0;
    }
    if (strncmp(line, "ready", 5) != 0) return ended_early(net, child, false, err);
    if (port) *port = (unsigned)strtoul(line + 5, NULL, 10);
    return EE_OK;
}

/* ---- ports ----------------------------------------------------------------------------------------------------------- */

static int loopback_socket(uint16_t port, struct sockaddr_in *address) {
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* 0 and errno when it cannot be had. */
static uint16_t try_port(uint16_t wanted) {
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int one = 1, fd = loopback_socket(wanted, &address);
    uint16_t port = 0;
    if (fd < 0) return 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0)
        port = ntohs(address.sin_port);
    int why = errno;
    close(fd);
    errno = why;
    return port;
}

uint16_t devnet_free_port(uint16_t wanted) {
    uint16_t port = try_port(wanted);
    return port || !wanted ? port : try_port(0);
}

ee_status devnet_check_port(const char *option, uint16_t port, ee_error *err) {
    if (!port || try_port(port)) return EE_OK;
    return eei_hint(err, eei_fail_errno(err, EE_E_CONFLICT, errno, "%s %u cannot be had", option, port),
                    "name another one; 0 is any that is free");
}

ee_status devnet_wait_port(devnet *net, const char *name, uint16_t port, uint64_t timeout_ms, ee_error *err) {
    devnet_child *child = find_child(net, name);
    uint64_t deadline = eei_mono_ms() + timeout_ms;
    EE_ASSERT(child);
    for (int status;;) {
        struct sockaddr_in address;
        int fd = loopback_socket(port, &address);
        int rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof address);
        if (fd >= 0) close(fd);
        if (child->pid && waitpid(child->pid, &status, WNOHANG) == child->pid) {
            child->pid = 0;
            return ended_early(net, child, WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_INSTALLED, err);
        }
        if (rc == 0) return EE_OK;
        if (eei_mono_ms() >= deadline)
            return eei_fail(err, EE_E_TIMEOUT, "%s did not answer on port %u within %llu ms", name, port, (unsigned long long)timeout_ms);
        ee_status st = stopped(net, 10, err);
        if (st) return st;
    }
}

/* ---- ends ------------------------------------------------------------------------------------------------------------ */

const char *devnet_reap(devnet *net) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    for (size_t i = 0; pid > 0 && i < net->child_count; i++) {
        if (net->children[i].pid != pid) continue;
        net->children[i].pid = 0;
        return net->children[i].name;
    }
    return NULL;
}

void devnet_kill(devnet_child *child) {
    if (!child->pid) return;
    (void)kill(child->pid, SIGKILL);
    while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) continue;
    child->pid = 0;
}

static bool any_left(const devnet *net) {
    for (size_t i = 0; i < net->child_count; i++)
        if (net->children[i].pid) return true;
    return false;
}

void devnet_stop_all(devnet *net) {
    uint64_t deadline = eei_mono_ms() + STOP_GRACE_MS;
    for (size_t i = net->child_count; i-- > 0;)
        if (net->children[i].pid) (void)kill(net->children[i].pid, SIGTERM);
    while (any_left(net) && eei_mono_ms() < deadline)
        if (!devnet_reap(net)) (void)poll(NULL, 0, 5);
    for (size_t i = 0; i < net->child_count; i++)
        if (net->children[i].pid) (void)kill(-net->children[i].pid, SIGKILL);
    while (any_left(net))
        if (!devnet_reap(net)) (void)poll(NULL, 0, 5);
    for (size_t i = 0; i < net->child_count; i++) close(net->children[i].ready_fd);
    net->child_count = 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

ee_status devnet_remove_dir(const char *path, ee_error *err) {
    if (access(path, F_OK) != 0) return EE_OK;
    return nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0
               ? EE_OK
               : eei_fail_errno(err, EE_E_IO, errno, "cannot remove %s", path);
}
