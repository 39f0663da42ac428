/* sandbox.c - one container: pipes and bundle, `runc run --detach` of the shim, the job through a pipe, the end, `runc delete`. See
 * sandbox.h. Not for images or pools. Called by runtime.c, on its loop. */
#include "sandbox.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "netns.h"
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PREPARE_DEADLINE_MS 30000u
#define LOG_BYTES_MAX       65536u
#define BUNDLE_BYTES_MAX    65536u

enum { IN, OUT, ERR, JOB, REPORT, PIPES };

struct agent_sandbox {
    agent_host *host;
    const agent_sandbox_events *events;
    void *user;
    char id[40], dir[320];
    agent_process *process; /* `run`, later `delete` */
    uv_pipe_t pipes[PIPES];
    uv_poll_t exit_watch;
    uv_timer_t deadline;
    uv_write_t job_write, in_write;
    eei_buf job, input;
    uint8_t report[sizeof(ee_shim_report)];
    size_t report_len;
    pid_t pid;
    int pidfd, netns_fd, userns_fd;
    int open_handles;
    agent_cgroup group;
    agent_cgroup_usage before;
    agent_sandbox_end end;
    bool watching; /* exit_watch was initialised */
    bool shim_ready, ready, failed, delivered;
    bool told; /* started or not: output may be handed over */
    bool read_wanted;
    int order_fd; /* until told: an epoll that knows which of the two had something first; -1 */
    bool eof[PIPES];
    bool exited, ended;
    bool closing, deleted;
    void (*closed)(void *user);
    void *closed_user;
};

/* ---- end of life ---- */

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void on_handle_closed(uv_handle_t *handle) {
    agent_sandbox *s = handle->data;
    if (--s->open_handles > 0) return;
    close_fd(&s->pidfd);
    close_fd(&s->netns_fd);
    close_fd(&s->userns_fd);
    close_fd(&s->order_fd);
    eei_buf_clear(&s->job);
    eei_buf_clear(&s->input);
    void (*closed)(void *user) = s->closed;
    void *user = s->closed_user;
    eei_free(s);
    if (closed) closed(user);
}

static void close_handle(uv_handle_t *handle) {
    if (!uv_is_closing(handle)) uv_close(handle, on_handle_closed);
}

static void remove_bundle(const char *dir) {
    static const char *const files[] = {"config.json", "pid", "log"};
    char path[384];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        (void)unlink(path);
    }
    if (rmdir(dir) && errno != ENOENT) eei_log(EEI_LOG_WARN, "sandbox.bundle_left", "dir=%s errno=%d", dir, errno);
}

static void release(agent_sandbox *s) {
    remove_bundle(s->dir);
    for (int i = 0; i < PIPES; i++) close_handle((uv_handle_t *)&s->pipes[i]);
    close_handle((uv_handle_t *)&s->deadline);
    if (s->watching) close_handle((uv_handle_t *)&s->exit_watch);
}

typedef struct runtime_command {
    const char *argv[20];
    const char *env[4];
    char root[288], log[360], home[288];
} runtime_command;

/* "runc --root DIR --log FILE --log-format json", to be followed by a verb. Returns where. */
static size_t begin_command(runtime_command *c, const agent_host *host, const char *dir) {
    size_t n = 0;
    snprintf(c->root, sizeof c->root, "%s/oci-%s", host->root_dir, host->crun ? "crun" : "runc");
    if (dir) snprintf(c->log, sizeof c->log, "%s/log", dir);
    snprintf(c->home, sizeof c->home, "HOME=%s", host->root_dir);
    c->argv[n++] = host->runtime_path;
    c->argv[n++] = "--root";
    c->argv[n++] = c->root;
    c->argv[n++] = "--log";
    c->argv[n++] = dir ? c->log : "/dev/null";
    c->argv[n++] = "--log-format";
    c->argv[n++] = "json";
    if (host->crun) c->argv[n++] = host->limits_enforced ? "--cgroup-manager=cgroupfs" : "--cgroup-manager=disabled";
    c->env[0] = AGENT_PROCESS_PATH;
    c->env[1] = c->home;
    c->env[2] = NULL;
    return n;
}

static void on_deleted(void *user, const agent_process_result *result) {
    agent_sandbox *s = user;
    char line[160];
    s->process = NULL;
    s->deleted = true;
    if (result->exit_code)
        eei_log(EEI_LOG_WARN, "sandbox.delete_failed", "id=%s code=%d says=%s", s->id, result->exit_code,
                agent_process_last_line(result->err, line, sizeof line));
    release(s);
}

static void delete_container(agent_sandbox *s) {
    runtime_command c;
    size_t n = begin_command(&c, s->host, s->dir);
    ee_error err;
    c.argv[n++] = "delete";
    c.argv[n++] = "--force";
    c.argv[n++] = s->id;
    c.argv[n] = NULL;
    agent_process_options options = {.argv = c.argv, .env = c.env, .timeout_ms = PREPARE_DEADLINE_MS};
    if (agent_process_start(s->host->loop, &options, on_deleted, s, &s->process, &err) == EE_OK) return;
    eei_log(EEI_LOG_WARN, "sandbox.delete_failed", "id=%s says=%s", s->id, err.message);
    s->deleted = true;
    release(s);
}

static void go_on_closing(agent_sandbox *s) {
    if (s->process || s->deleted) return; /* comes back when the process is done */
    if (s->pid > 0 && !s->exited) {
        agent_sandbox_signal(s, SIGKILL);
        return; /* comes back from exit_watch */
    }
    delete_container(s);
}

void agent_sandbox_close(agent_sandbox *s, void (*closed)(void *user), void *user) {
    EE_ASSERT(!s->closing);
    s->closing = true;
    s->events = NULL;
    s->closed = closed;
    s->closed_user = user;
    uv_timer_stop(&s->deadline);
    for (int i = 0; i < PIPES; i++) close_handle((uv_handle_t *)&s->pipes[i]); /* an idle shim ends by that alone */
    go_on_closing(s);
}

/* ---- the end of the job ---- */

static void maybe_ended(agent_sandbox *s) {
    if (s->closing || s->ended || !s->exited || !s->eof[REPORT]) return;
    if (s->delivered && (!s->eof[OUT] || !s->eof[ERR])) return;
    s->ended = true;
    if (s->events) s->events->ended(s->user, &s->end);
}

static void fail_prepare(agent_sandbox *s, ee_error *err) {
    if (s->failed || s->ready) return;
    s->failed = true;
    uv_timer_stop(&s->deadline);
    if (s->events) s->events->ready(s->user, err->status, err);
}

static void read_usage(agent_sandbox *s) {
    agent_cgroup_usage now;
    s->end.ended_us = eei_mono_us();
    if (!s->host->limits_enforced) return;
    agent_cgroup_read(&s->group, &now);
    s->end.usage = now;
    s->end.usage.cpu_usec = now.cpu_usec > s->before.cpu_usec ? now.cpu_usec - s->before.cpu_usec : 0;
    s->end.usage.oom_kills = now.oom_kills > s->before.oom_kills ? now.oom_kills - s->before.oom_kills : 0;
}

/* The shim ended and with it, by the kernel, every process of its pid namespace. */
static void on_exit_watch(uv_poll_t *handle, int status, int events) {
    agent_sandbox *s = handle->data;
    int wait_status = 0;
    (void)status;
    (void)events;
    if (s->exited) return;
    if (waitpid(s->pid, &wait_status, WNOHANG) == 0) return;
    uv_poll_stop(handle);
    s->exited = true;
    if (!s->end.reported) s->end.wait_status = wait_status;
    read_usage(s);
    if (s->closing) {
        go_on_closing(s);
        return;
    }
    if (!s->ready) {
        ee_error err;
        eei_fail(&err, EE_E_IO, "the sandbox's first process ended before it was ready (status %#x)", (unsigned)wait_status);
        fail_prepare(s, &err);
        return;
    }
    maybe_ended(s);
}

/* ---- pipes ---- */

static int pipe_index(const agent_sandbox *s, const uv_stream_t *stream) { return (int)((const uv_pipe_t *)stream - s->pipes); }

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    agent_sandbox *s = handle->data;
    (void)suggested;
    *out = uv_buf_init(s->host->read_buffer, sizeof s->host->read_buffer);
}

static void maybe_ready(agent_sandbox *s) {
    if (s->closing || s->failed || s->ready || !s->shim_ready || !s->watching) return;
    s->ready = true;
    uv_timer_stop(&s->deadline);
    if (s->events) s->events->ready(s->user, EE_OK, NULL);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf);

/* What a job writes before "started" is told waits in its pipes; the one that had something first is read first. */
static int first_to_read(agent_sandbox *s) {
    struct epoll_event ready = {.data.u32 = OUT};
    if (s->order_fd >= 0 && epoll_wait(s->order_fd, &ready, 1, 0) != 1) ready.data.u32 = OUT;
    close_fd(&s->order_fd);
    return (int)ready.data.u32;
}

static ee_status watch_order(agent_sandbox *s, int fd, int which, ee_error *err) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)which};
    if (s->order_fd < 0) s->order_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->order_fd >= 0 && epoll_ctl(s->order_fd, EPOLL_CTL_ADD, fd, &event) == 0) return EE_OK;
    return eei_fail_errno(err, EE_E_IO, errno, "cannot watch a pipe");
}

static void update_reading(agent_sandbox *s) {
    const int first = s->told ? first_to_read(s) : OUT;
    for (int n = 0; n < 2; n++) {
        const int i = n == 0 ? first : OUT + ERR - first;
        uv_stream_t *stream = (uv_stream_t *)&s->pipes[i];
        if (s->eof[i] || uv_is_closing((uv_handle_t *)stream)) continue;
        if (!s->read_wanted || !s->told)
            uv_read_stop(stream);
        else if (uv_read_start(stream, on_alloc, on_read))
            s->eof[i] = true;
    }
    maybe_ended(s);
}

/* From now on output may follow; not before, so that "started" always comes first. */
static void tell(agent_sandbox *s) {
    if (s->told) return;
    s->told = true;
    if (!s->closing) update_reading(s);
}

void agent_sandbox_read(agent_sandbox *s, bool on) {
    s->read_wanted = on;
    update_reading(s);
}

void agent_sandbox_discard(agent_sandbox *s) {
    for (int i = OUT; i <= ERR; i++) {
        s->eof[i] = true;
        if (!uv_is_closing((uv_handle_t *)&s->pipes[i])) uv_read_stop((uv_stream_t *)&s->pipes[i]);
    }
    maybe_ended(s);
}

static void on_report(agent_sandbox *s, const ee_shim_report *r) {
    switch (r->kind) {
    case EE_SHIM_READY:
        s->shim_ready = true;
        maybe_ready(s);
        break;
    case EE_SHIM_STARTED:
        if (s->events) s->events->started(s->user);
        tell(s);
        break;
    case EE_SHIM_NO_CWD:
    case EE_SHIM_NO_EXEC:
        if (s->events) s->events->not_started(s->user, (ee_shim_kind)r->kind, r->value);
        tell(s);
        break;
    case EE_SHIM_ENDED:
        s->end.reported = true;
        s->end.wait_status = r->value;
        break;
    default: break;
    }
}

static void on_report_bytes(agent_sandbox *s, const char *data, size_t len) {
    for (size_t i = 0; i < len && !s->closing; i++) {
        s->report[s->report_len++] = (uint8_t)data[i];
        if (s->report_len < sizeof s->report) continue;
        ee_shim_report r;
        memcpy(&r, s->report, sizeof r);
        s->report_len = 0;
        on_report(s, &r);
    }
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf) {
    agent_sandbox *s = stream->data;
    int which = pipe_index(s, stream);
    if (got == 0) return;
    if (got < 0) {
        uv_read_stop(stream);
        s->eof[which] = true;
        if (which == REPORT) tell(s); /* killed before it could say anything */
        maybe_ended(s);
    } else if (which == REPORT) {
        on_report_bytes(s, buf->base, (size_t)got);
    } else if (s->events) {
        s->events->output(s->user, which == OUT ? EE_STDOUT : EE_STDERR, buf->base, (size_t)got);
    }
}

/* ---- preparation ---- */

static void make_id(char out[40], ee_status *st, ee_error *err) {
    uint8_t random[12];
    char hex[2 * sizeof random + 1];
    *st = eei_random(random, sizeof random, err);
    if (*st) return;
    eei_hex_encode(eei_span(random, sizeof random), hex);
    snprintf(out, 40, "ee-%s", hex);
}

static ee_status write_bundle(agent_sandbox *s, const agent_sandbox_spec *spec, ee_error *err) {
    const agent_host *h = s->host;
    eei_buf text = EEI_BUF_INIT(BUNDLE_BYTES_MAX);
    char path[384], cgroups[128];
    snprintf(cgroups, sizeof cgroups, "%s/%s", h->cgroup_parent, s->id);
    agent_oci_bundle bundle = {.rootfs = spec->rootfs,
                               .shim = h->shim,
                               .cgroups_path = h->limits_enforced ? cgroups : NULL,
                               .user = spec->user,
                               .volumes = spec->volumes,
                               .userns_base = h->userns_base,
                               .userns_gid_base = h->userns_gid_base,
                               .userns_size = h->userns_size,
                               .cgroup_limits = h->limits_enforced,
                               .swap_limit = h->cgroups.swap,
                               .vcpus_milli = spec->vcpus_milli,
                               .pids_max = spec->pids_max,
                               .memory_bytes = spec->memory_bytes,
                               .tmpfs_bytes = spec->tmpfs_bytes,
                               .files_max = h->files_max};
    ee_status st = agent_oci_write_bundle(&bundle, &text, err);
    if (st) goto done;
    if (mkdir(s->dir, 0700)) {
        st = eei_fail_errno(err, EE_E_IO, errno, "cannot make %s", s->dir);
        goto done;
    }
    snprintf(path, sizeof path, "%s/config.json", s->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t n = fd < 0 ? -1 : write(fd, text.data, text.len);
    if (n != (ssize_t)text.len) st = eei_fail_errno(err, EE_E_IO, errno, "cannot write %s", path);
    close_fd(&fd);
done:
    eei_buf_clear(&text);
    return st;
}

/* Both ends of every pipe; the sandbox's end in theirs[]. */
static ee_status open_pipes(agent_sandbox *s, const agent_sandbox_spec *spec, int theirs[PIPES], ee_error *err) {
    for (int i = 0; i < PIPES; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC)) return eei_fail_errno(err, EE_E_IO, errno, "no pipe");
        bool we_write = i == IN || i == JOB;
        theirs[i] = ends[we_write ? 0 : 1];
        int rc = uv_pipe_open(&s->pipes[i], ends[we_write ? 1 : 0]);
        if (rc) {
            close(ends[we_write ? 1 : 0]);
            return eei_fail_errno(err, EE_E_IO, -rc, "no pipe");
        }
        if (i == OUT || i == ERR) {
            ee_status st = watch_order(s, ends[0], i, err);
            if (st) return st;
        }
        /* So that the job can open /dev/stdout, which asks for the pipe's owner. */
        if (i <= ERR && !s->host->rootless)
            (void)!fchown(theirs[i], s->host->userns_base + spec->user->uid, s->host->userns_gid_base + spec->user->gid);
    }
    int rc = uv_read_start((uv_stream_t *)&s->pipes[REPORT], on_alloc, on_read);
    return rc ? eei_fail_errno(err, EE_E_IO, -rc, "cannot read a pipe") : EE_OK;
}

/* The OCI runtime's own words for a failure: "msg" of the last line of its log. */
static void explain_failure(const agent_sandbox *s, char *out, size_t cap) {
    eei_buf text = EEI_BUF_INIT(LOG_BYTES_MAX);
    char path[384], line[1024];
    json_t *entry = NULL;
    snprintf(path, sizeof path, "%s/log", s->dir);
    snprintf(out, cap, "no reason given");
    if (eei_file_read(path, &text, NULL) == EE_OK && text.len) {
        agent_process_last_line(eei_buf_span(&text), line, sizeof line);
        const char *msg = eei_json_parse(eei_span_text(line), sizeof line, &entry, NULL) == EE_OK
                              ? json_string_value(json_object_get(entry, "msg"))
                              : NULL;
        snprintf(out, cap, "%s", msg ? msg : line);
    }
    json_decref(entry);
    eei_buf_clear(&text);
}

static ee_status read_pid(agent_sandbox *s, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(32);
    char path[384];
    snprintf(path, sizeof path, "%s/pid", s->dir);
    ee_status st = eei_file_read(path, &text, err);
    const char *digits = st ? NULL : eei_buf_cstr(&text);
    long pid = digits ? strtol(digits, NULL, 10) : 0;
    eei_buf_clear(&text);
    if (st) return st;
    if (pid <= 1 || pid > INT32_MAX) return eei_fail(err, EE_E_IO, "the OCI runtime wrote no process id");
    s->pid = (pid_t)pid;
    return EE_OK;
}

static int open_namespace(pid_t pid, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* The container runs: hold on to its process, namespace and counters. */
static ee_status adopt(agent_sandbox *s, ee_error *err) {
    char path[64];
    ee_status st = read_pid(s, err);
    if (st) return st;
    s->pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
    if (s->pidfd < 0) {
        int why = errno;
        kill(s->pid, SIGKILL);
        s->pid = 0;
        return eei_fail_errno(err, EE_E_IO, why, "cannot watch the sandbox's process");
    }
    int rc = uv_poll_init(s->host->loop, &s->exit_watch, s->pidfd);
    if (rc == 0) {
        s->exit_watch.data = s;
        s->open_handles++;
        s->watching = true;
        rc = uv_poll_start(&s->exit_watch, UV_READABLE, on_exit_watch);
    }
    if (rc) return eei_fail_errno(err, EE_E_IO, -rc, "cannot watch the sandbox's process");
    s->netns_fd = open_namespace(s->pid, "net");
    if (s->host->rootless) s->userns_fd = open_namespace(s->pid, "user");
    if (s->netns_fd < 0) return eei_fail_errno(err, EE_E_IO, errno, "cannot open the sandbox's network namespace");
    if (!s->host->limits_enforced) return EE_OK;
    snprintf(path, sizeof path, "/proc/%d/cgroup", s->pid);
    return agent_cgroup_open(&s->host->cgroups, path, &s->group, err);
}

static void on_prepared(void *user, const agent_process_result *result) {
    agent_sandbox *s = user;
    ee_error err;
    ee_status st = EE_OK;
    char why[300];

    s->process = NULL;
    if (result->exit_code) {
        explain_failure(s, why, sizeof why);
        st = eei_fail(&err, EE_E_IO, "%s: %s", s->host->crun ? "crun" : "runc", why);
    } else {
        st = adopt(s, &err);
    }
    if (s->closing)
        go_on_closing(s);
    else if (st)
        fail_prepare(s, &err);
    else
        maybe_ready(s);
}

static void on_deadline(uv_timer_t *timer) {
    agent_sandbox *s = timer->data;
    ee_error err;
    eei_fail(&err, EE_E_TIMEOUT, "the sandbox was not ready after %u s", PREPARE_DEADLINE_MS / 1000);
    fail_prepare(s, &err);
}

static ee_status start_container(agent_sandbox *s, const int theirs[PIPES], ee_error *err) {
    runtime_command c;
    char pid_file[384];
    size_t n = begin_command(&c, s->host, s->dir);
    snprintf(pid_file, sizeof pid_file, "%s/pid", s->dir);
    const char *const verb[] = {"run", "--detach", "--bundle", s->dir, "--pid-file", pid_file, "--preserve-fds", "2", s->id, NULL};
    for (size_t i = 0; i < sizeof verb / sizeof *verb; i++) c.argv[n++] = verb[i];
    agent_process_options options = {.argv = c.argv, .env = c.env, .fds = theirs, .fds_count = PIPES, .timeout_ms = PREPARE_DEADLINE_MS};
    return agent_process_start(s->host->loop, &options, on_prepared, s, &s->process, err);
}

static agent_sandbox *allocate(agent_host *host) {
    agent_sandbox *s = eei_calloc(1, sizeof *s);
    if (!s) return NULL;
    s->host = host;
    s->pidfd = s->netns_fd = s->userns_fd = s->order_fd = -1;
    s->job = (eei_buf)EEI_BUF_INIT_SECRET(EE_SHIM_BYTES_MAX + sizeof(ee_shim_job));
    s->input = (eei_buf)EEI_BUF_INIT_SECRET(EEI_STDIN_BYTES_MAX);
    s->open_handles = PIPES + 1;
    s->read_wanted = true;
    s->deadline.data = s;
    (void)uv_timer_init(host->loop, &s->deadline); /* cannot fail */
    for (int i = 0; i < PIPES; i++) {
        s->pipes[i].data = s;
        (void)uv_pipe_init(host->loop, &s->pipes[i], 0); /* cannot fail */
    }
    return s;
}

ee_status agent_sandbox_new(agent_host *host, const agent_sandbox_spec *spec, const agent_sandbox_events *events, void *user,
                            agent_sandbox **out, ee_error *err) {
    int theirs[PIPES] = {-1, -1, -1, -1, -1};
    ee_status st;

    *out = NULL;
    agent_sandbox *s = allocate(host);
    if (!s) return eei_nomem(err);
    agent_sandbox_own(s, events, user);
    make_id(s->id, &st, err);
    snprintf(s->dir, sizeof s->dir, "%s/b/%s", host->root_dir, s->id);
    if (!st) st = write_bundle(s, spec, err);
    if (!st) st = open_pipes(s, spec, theirs, err);
    if (!st) st = start_container(s, theirs, err);
    for (int i = 0; i < PIPES; i++) close_fd(&theirs[i]);
    if (st) {
        s->events = NULL;
        release(s);
        return st;
    }
    (void)uv_timer_start(&s->deadline, on_deadline, PREPARE_DEADLINE_MS, 0);
    *out = s;
    return EE_OK;
}

void agent_sandbox_own(agent_sandbox *s, const agent_sandbox_events *events, void *user) {
    s->events = events;
    s->user = user;
}

bool agent_sandbox_is_ready(const agent_sandbox *s) { return s->ready && !s->exited && !s->delivered && !s->closing; }

/* ---- a job ---- */

static void on_job_written(uv_write_t *request, int status) {
    agent_sandbox *s = request->data;
    (void)status; /* a shim that is gone tells it by its exit */
    eei_buf_clear(&s->job);
}

static void on_input_written(uv_write_t *request, int status) {
    agent_sandbox *s = request->data;
    (void)status; /* a job need not read its input */
    eei_buf_clear(&s->input);
    close_handle((uv_handle_t *)&s->pipes[IN]);
}

ee_status agent_sandbox_deliver(agent_sandbox *s, eei_buf *job, ee_span stdin_data, ee_error *err) {
    if (!agent_sandbox_is_ready(s)) return eei_fail(err, EE_E_STATE, "the sandbox is not ready for a job");
    ee_status st = stdin_data.len ? eei_buf_append_span(&s->input, stdin_data) : EE_OK;
    if (st) return eei_fail(err, st, "standard input of %zu bytes, limit %u", stdin_data.len, EEI_STDIN_BYTES_MAX);
    eei_buf_clear(&s->job);
    s->job = *job;
    *job = (eei_buf)EEI_BUF_INIT_SECRET(job->max);
    if (s->host->limits_enforced) {
        agent_cgroup_reset_peak(&s->group);
        agent_cgroup_read(&s->group, &s->before);
    }
    s->delivered = true;
    uv_buf_t job_bytes = uv_buf_init((char *)s->job.data, (unsigned)s->job.len);
    s->job_write.data = s->in_write.data = s;
    int rc = uv_write(&s->job_write, (uv_stream_t *)&s->pipes[JOB], &job_bytes, 1, on_job_written);
    if (rc) return eei_fail_errno(err, EE_E_IO, -rc, "cannot hand the job to the sandbox");
    uv_buf_t input_bytes = uv_buf_init((char *)s->input.data, (unsigned)s->input.len);
    if (!stdin_data.len || uv_write(&s->in_write, (uv_stream_t *)&s->pipes[IN], &input_bytes, 1, on_input_written))
        close_handle((uv_handle_t *)&s->pipes[IN]);
    return EE_OK;
}

void agent_sandbox_signal(agent_sandbox *s, int signal_number) {
    if (s->pidfd < 0 || s->exited) return;
    (void)syscall(SYS_pidfd_send_signal, s->pidfd, signal_number, NULL, 0); /* ESRCH: it is ending by itself */
}

ee_status agent_sandbox_connect(agent_sandbox *s, uint16_t port, int *fd, ee_error *err) {
    *fd = -1;
    if (!s->delivered || s->exited || s->closing) return eei_fail(err, EE_E_APP_UNAVAILABLE, "nothing runs in the sandbox");
    return agent_netns_connect(s->netns_fd, s->userns_fd, port, fd, err);
}

/* ---- after a crash ---- */

/* Call remove(host, name) for every entry of root_dir/sub. */
static unsigned for_each_left(const agent_host *host, const char *sub, void (*remove_one)(const agent_host *, const char *)) {
    char path[320];
    unsigned count = 0;
    snprintf(path, sizeof path, "%s/%s", host->root_dir, sub);
    DIR *d = opendir(path);
    if (!d) return 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, "ee-", 3) != 0 || strlen(e->d_name) > 40) continue;
        remove_one(host, e->d_name);
        count++;
    }
    closedir(d);
    return count;
}

static void delete_left(const agent_host *host, const char *id) {
    runtime_command c;
    int exit_code;
    ee_error err = {0};
    size_t n = begin_command(&c, host, NULL);
    c.argv[n++] = "delete";
    c.argv[n++] = "--force";
    c.argv[n++] = id;
    c.argv[n] = NULL;
    agent_process_options options = {.argv = c.argv, .env = c.env, .timeout_ms = PREPARE_DEADLINE_MS};
    ee_status st = agent_process_run(&options, &exit_code, NULL, NULL, &err);
    eei_log(EEI_LOG_INFO, "sandbox.recovered", "id=%s status=%d code=%d", id, st, exit_code);
}

static void remove_left_bundle(const agent_host *host, const char *id) {
    char dir[384];
    snprintf(dir, sizeof dir, "%s/b/%s", host->root_dir, id);
    remove_bundle(dir);
}

unsigned agent_sandbox_recover(const agent_host *host) {
    unsigned count = for_each_left(host, host->crun ? "oci-crun" : "oci-runc", delete_left);
    (void)for_each_left(host, "b", remove_left_bundle);
    (void)agent_cgroup_remove(&host->cgroups, host->cgroup_parent);
    return count;
}
