/* process.c - helper programs over libuv: argument arrays, bounded output, bounded time. See process.h.
 * Not for the workload. Called by image.c, sandbox.c, runtime.c. */
#include "process.h"

#include "base/alloc.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SYSTEM_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define FDS_MAX     8
#define STREAMS     2

const char AGENT_PROCESS_PATH[] = "PATH=" SYSTEM_PATH;

typedef struct captured {
    uv_pipe_t pipe;
    eei_buf text;
    char chunk[4096];
} captured;

struct agent_process {
    uv_process_t handle;
    uv_timer_t timer;
    captured streams[STREAMS];
    agent_process_done_fn done;
    void *user;
    int exit_code;
    int open_handles; /* freed when the last one has closed */
    int waiting_for;  /* exit, and end of each captured stream; done comes at 0 */
    bool captures, timed_out, truncated;
};

static void on_closed(uv_handle_t *handle) {
    agent_process *p = handle->data;
    if (--p->open_handles > 0) return;
    for (int i = 0; i < STREAMS; i++) eei_buf_clear(&p->streams[i].text);
    eei_free(p);
}

static void close_all(agent_process *p) {
    uv_close((uv_handle_t *)&p->timer, on_closed);
    uv_close((uv_handle_t *)&p->handle, on_closed);
    if (!p->captures) return;
    for (int i = 0; i < STREAMS; i++) uv_close((uv_handle_t *)&p->streams[i].pipe, on_closed);
}

static void one_less(agent_process *p) {
    if (--p->waiting_for > 0) return;
    agent_process_result result = {.exit_code = p->exit_code,
                                   .timed_out = p->timed_out,
                                   .truncated = p->truncated,
                                   .out = eei_buf_span(&p->streams[0].text),
                                   .err = eei_buf_span(&p->streams[1].text)};
    if (p->done) p->done(p->user, &result);
    close_all(p);
}

static void on_exit(uv_process_t *handle, int64_t status, int signal_number) {
    agent_process *p = handle->data;
    p->exit_code = signal_number ? 128 + signal_number : (int)status;
    uv_timer_stop(&p->timer);
    one_less(p);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    agent_process *p = handle->data;
    captured *c = &p->streams[handle == (uv_handle_t *)&p->streams[1].pipe];
    (void)suggested;
    *out = uv_buf_init(c->chunk, sizeof c->chunk);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf) {
    agent_process *p = stream->data;
    captured *c = &p->streams[stream == (uv_stream_t *)&p->streams[1].pipe];
    if (got > 0) {
        size_t room = c->text.max - c->text.len, keep = (size_t)got < room ? (size_t)got : room;
        if (keep < (size_t)got || eei_buf_append(&c->text, buf->base, keep)) p->truncated = true;
    } else if (got < 0) {
        uv_read_stop(stream);
        one_less(p);
    }
}

static void on_timer(uv_timer_t *timer) {
    agent_process *p = timer->data;
    p->timed_out = true;
    agent_process_kill(p);
}

static agent_process *process_new(uv_loop_t *loop, const agent_process_options *o) {
    agent_process *p = eei_calloc(1, sizeof *p);
    if (!p) return NULL;
    size_t max = o->output_max ? o->output_max : 65536;
    p->captures = o->fds == NULL;
    p->open_handles = p->captures ? 4 : 2;
    p->waiting_for = p->captures ? 3 : 1;
    p->handle.data = p->timer.data = p;
    (void)uv_timer_init(loop, &p->timer); /* cannot fail */
    for (int i = 0; i < STREAMS; i++) {
        p->streams[i].text = (eei_buf)EEI_BUF_INIT(max);
        p->streams[i].pipe.data = p;
        if (p->captures) (void)uv_pipe_init(loop, &p->streams[i].pipe, 0); /* cannot fail */
    }
    return p;
}

static void limit_files(int pid, uint64_t bytes) {
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = bytes};
    (void)prlimit(pid, RLIMIT_FSIZE, &limit, NULL); /* the total is checked again afterwards: this only stops a runaway early */
}

ee_status agent_process_start(uv_loop_t *loop, const agent_process_options *o, agent_process_done_fn done, void *user, agent_process **out,
                              ee_error *err) {
    uv_stdio_container_t stdio[FDS_MAX] = {{.flags = UV_IGNORE}};
    uv_process_options_t options = {.file = o->argv[0], .exit_cb = on_exit, .stdio = stdio, .stdio_count = 3};

    *out = NULL;
    EE_ASSERT(o->fds_count <= FDS_MAX);
    agent_process *p = process_new(loop, o);
    if (!p) return eei_nomem(err);
    /* libuv's types lack const; it does not write to either array. */
    options.args = (char **)(uintptr_t)o->argv;
    options.env = (char **)(uintptr_t)o->env;
    if (p->captures) {
        for (int i = 0; i < STREAMS; i++) {
            stdio[1 + i].flags = (uv_stdio_flags)(UV_CREATE_PIPE | UV_WRITABLE_PIPE);
            stdio[1 + i].data.stream = (uv_stream_t *)&p->streams[i].pipe;
        }
    } else {
        options.stdio_count = o->fds_count;
        for (int i = 0; i < o->fds_count; i++) {
            stdio[i].flags = o->fds[i] < 0 ? UV_IGNORE : UV_INHERIT_FD;
            stdio[i].data.fd = o->fds[i];
        }
    }
    int rc = uv_spawn(loop, &p->handle, &options);
    if (rc) {
        close_all(p);
        return eei_fail_errno(err, EE_E_CONFIG, -rc, "cannot execute %s", o->argv[0]);
    }
    if (o->file_bytes_max) limit_files(p->handle.pid, o->file_bytes_max);
    p->done = done;
    p->user = user;
    (void)uv_timer_start(&p->timer, on_timer, o->timeout_ms ? o->timeout_ms : 60000, 0);
    for (int i = 0; p->captures && i < STREAMS; i++) {
        if (uv_read_start((uv_stream_t *)&p->streams[i].pipe, on_alloc, on_read)) p->waiting_for--;
    }
    *out = p;
    return EE_OK;
}

void agent_process_kill(agent_process *p) { (void)uv_process_kill(&p->handle, SIGKILL); }

void agent_process_abandon(agent_process *p) {
    p->done = NULL;
    agent_process_kill(p);
}

typedef struct blocking {
    int *exit_code;
    eei_buf *out, *errors;
    bool timed_out;
    ee_status status;
} blocking;

static void on_blocking_done(void *user, const agent_process_result *result) {
    blocking *b = user;
    *b->exit_code = result->exit_code;
    b->timed_out = result->timed_out;
    if (b->out) b->status = eei_buf_append_span(b->out, result->out);
    if (b->errors && !b->status) b->status = eei_buf_append_span(b->errors, result->err);
}

ee_status agent_process_run(const agent_process_options *options, int *exit_code, eei_buf *out, eei_buf *errors, ee_error *err) {
    uv_loop_t loop;
    agent_process *p = NULL;
    blocking b = {.exit_code = exit_code, .out = out, .errors = errors};

    *exit_code = -1;
    int rc = uv_loop_init(&loop);
    if (rc) return eei_fail_errno(err, EE_E_IO, -rc, "no event loop");
    ee_status st = agent_process_start(&loop, options, on_blocking_done, &b, &p, err);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    EE_ASSERT(uv_loop_close(&loop) == 0);
    if (st) return st;
    if (b.timed_out) return eei_fail(err, EE_E_TIMEOUT, "%s did not end in time", options->argv[0]);
    return b.status ? eei_fail(err, b.status, "%s printed too much", options->argv[0]) : EE_OK;
}

ee_status agent_process_find(const char *name, char *out, size_t cap, ee_error *err) {
    if (strchr(name, '/')) {
        int n = snprintf(out, cap, "%s", name);
        if (n > 0 && (size_t)n < cap && access(out, X_OK) == 0) return EE_OK;
        return eei_fail(err, EE_E_NOT_FOUND, "%s is not an executable file", name);
    }
    for (const char *at = SYSTEM_PATH; *at;) {
        size_t len = strcspn(at, ":");
        int n = snprintf(out, cap, "%.*s/%s", (int)len, at, name);
        if (n > 0 && (size_t)n < cap && access(out, X_OK) == 0) return EE_OK;
        at += len + (at[len] == ':');
    }
    return eei_fail(err, EE_E_NOT_FOUND, "%s is not installed (looked in %s)", name, SYSTEM_PATH);
}

char *agent_process_last_line(ee_span text, char *out, size_t cap) {
    size_t end = text.len, start;
    while (end > 0 && (text.data[end - 1] == '\n' || text.data[end - 1] == ' ')) end--;
    for (start = end; start > 0 && text.data[start - 1] != '\n'; start--) {
    }
    if (end - start >= cap) end = start + cap - 1;
    for (size_t i = start; i < end; i++) out[i - start] = text.data[i] >= 0x20 && text.data[i] < 0x7f ? (char)text.data[i] : '?';
    out[end - start] = '\0';
    return out;
}
