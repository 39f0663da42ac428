/* runtime_run.c - one execution: docker's rules for command and environment, the job through the sandbox's pipe, time limit, cancel,
 * result. See runtime.h. Not for what a sandbox is. Called by the agent's job and app code, on the runtime's loop. */
#include "runtime_run.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define DEFAULT_MEMORY   ((uint64_t)512 << 20)
#define MEMORY_MIN       ((uint64_t)16 << 20) /* the OCI runtime itself runs within the limit while it starts */
#define MEMORY_MAX       ((uint64_t)1 << 50)
#define DEFAULT_PIDS     512u
#define PIDS_MIN         24u /* idem: its threads */
#define PIDS_MAX         65536u
#define VCPUS_MIN        10u
#define VCPUS_MAX        4096000u
#define PATH_DEFAULT     "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define EXIT_NOT_FOUND   127
#define EXIT_NOT_ALLOWED 126

struct agent_run {
    agent_runtime *rt;
    agent_run *next;
    agent_lease *lease; /* NULL when it is over */
    agent_run_callbacks callbacks;
    void *user;
    agent_image *image;
    agent_limits limits;
    eei_buf job, input; /* until delivered; wiped */
    uint64_t timeout_ms, started_us;
    uv_timer_t limit, killer;
    int open_handles;
    bool no_spare, delivered, started, cancelled, timed_out, paused, over, freed;
    agent_run_result result;
    char command[128];
};

const char *agent_exit_word(agent_exit reason) {
    static const char *const words[] = {"exited", "out_of_memory", "timed_out", "cancelled", "command_not_found", "start_failed"};
    return (unsigned)reason < sizeof words / sizeof *words ? words[reason] : "start_failed";
}

agent_run *agent_run_next(const agent_run *run) { return run->next; }

/* ---- the job as the shim reads it ---- */

static ee_status add_string(eei_buf *out, ee_span text, const char *what, ee_error *err) {
    if (text.len && memchr(text.data, '\0', text.len)) return eei_fail(err, EE_E_INVALID, "%s has a NUL byte", what);
    ee_status st = eei_buf_append_span(out, text);
    if (!st) st = eei_buf_append(out, "", 1);
    return st ? eei_fail(err, st, "command and environment have more than %u bytes", EE_SHIM_BYTES_MAX) : EE_OK;
}

static ee_status add_texts(eei_buf *out, const char *const *texts, uint32_t *count, ee_error *err) {
    for (; *texts; texts++, (*count)++) {
        ee_status st = add_string(out, eei_span_text(*texts), "an argument of the image", err);
        if (st) return st;
    }
    return EE_OK;
}

/* Entrypoint, then the caller's args or the image's Cmd. */
static ee_status add_args(const agent_oci_config *config, const agent_run_options *o, eei_buf *out, uint32_t *count, ee_error *err) {
    ee_status st = add_texts(out, config->entrypoint, count, err);
    if (!st && o->args_count == 0) st = add_texts(out, config->cmd, count, err);
    if (o->args_count > EEI_ARGS_MAX) return eei_fail(err, EE_E_LIMIT, "%zu arguments, limit %u", o->args_count, EEI_ARGS_MAX);
    for (size_t i = 0; !st && i < o->args_count; i++, (*count)++) st = add_string(out, o->args[i], "an argument", err);
    if (!st && *count == 0) st = eei_fail(err, EE_E_COMMAND, "the image has no command of its own and none was given");
    return st;
}

static bool env_has(const agent_run_options *o, size_t count, ee_span name) {
    for (size_t i = 0; i < count; i++)
        if (eei_span_equal(o->env[i].name, name)) return true;
    return false;
}

static ee_span name_of(const char *pair) { return eei_span(pair, strcspn(pair, "=")); }

static bool image_has(const agent_oci_config *config, const char *name) {
    for (const char **e = config->env; *e; e++)
        if (eei_span_equal(name_of(*e), eei_span_text(name))) return true;
    return false;
}

static ee_status add_default(const agent_oci_config *config, const agent_run_options *o, const char *name, const char *value, eei_buf *out,
                             uint32_t *count, ee_error *err) {
    char pair[400];
    if (image_has(config, name) || env_has(o, o->env_count, eei_span_text(name))) return EE_OK;
    snprintf(pair, sizeof pair, "%s=%s", name, value);
    (*count)++;
    return add_string(out, eei_span_text(pair), "the environment", err);
}

/* One variable of the job. No message names it: names are the user's business too. */
static ee_status add_variable(const agent_run_options *o, size_t i, eei_buf *out, ee_error *err) {
    ee_span name = o->env[i].name, value = o->env[i].value;
    if (name.len == 0 || memchr(name.data, '=', name.len) || memchr(name.data, '\0', name.len))
        return eei_fail(err, EE_E_INVALID, "environment variable %zu has a bad name", i);
    if (env_has(o, i, name)) return eei_fail(err, EE_E_INVALID, "environment variable %zu is given twice", i);
    if (eei_buf_append_span(out, name) || eei_buf_append(out, "=", 1))
        return eei_fail(err, EE_E_LIMIT, "command and environment have more than %u bytes", EE_SHIM_BYTES_MAX);
    return add_string(out, value, "an environment variable", err);
}

/* The image's variables, ours where it has none, and the job's over both. */
static ee_status add_env(const agent_run *run, const agent_run_options *o, eei_buf *out, uint32_t *count, ee_error *err) {
    const agent_oci_config *config = agent_image_config(run->image);
    if (o->env_count > EEI_ARGS_MAX) return eei_fail(err, EE_E_LIMIT, "%zu environment variables, limit %u", o->env_count, EEI_ARGS_MAX);
    ee_status st = add_default(config, o, "PATH", PATH_DEFAULT, out, count, err);
    if (!st) st = add_default(config, o, "HOME", agent_image_user(run->image)->home, out, count, err);
    if (!st) st = add_default(config, o, "HOSTNAME", "sandbox", out, count, err);
    for (const char **e = config->env; !st && *e; e++) {
        if (env_has(o, o->env_count, name_of(*e))) continue;
        (*count)++;
        st = add_string(out, eei_span_text(*e), "the image's environment", err);
    }
    for (size_t i = 0; !st && i < o->env_count; i++, (*count)++) st = add_variable(o, i, out, err);
    return st;
}

static ee_status build_job(agent_run *run, const agent_run_options *o, ee_error *err) {
    const agent_oci_config *config = agent_image_config(run->image);
    /* The best there is without cgroups. DATA, not AS: language runtimes reserve far more address space than they use. */
    ee_shim_job head = {.magic = EE_SHIM_MAGIC, .data_max = run->rt->host.limits_enforced ? 0 : run->limits.memory_bytes};
    eei_buf *out = &run->job;
    if (eei_buf_append(out, &head, sizeof head)) return eei_nomem(err);
    ee_status st = add_string(out, eei_span_text(config->working_dir), "the working directory", err);
    size_t first = out->len;
    if (!st) st = add_args(config, o, out, &head.args, err);
    if (!st) snprintf(run->command, sizeof run->command, "%.100s", (const char *)out->data + first);
    if (!st) st = add_env(run, o, out, &head.env, err);
    if (st) return st;
    head.bytes = (uint32_t)(out->len - sizeof head);
    memcpy(out->data, &head, sizeof head);
    return EE_OK;
}

static ee_status fill_limits(const agent_limits *in, agent_limits *out, ee_error *err) {
    *out = *in;
    if (!out->vcpus_milli) out->vcpus_milli = 1000;
    if (!out->memory_bytes) out->memory_bytes = DEFAULT_MEMORY;
    if (!out->pids_max) out->pids_max = DEFAULT_PIDS;
    if (!out->tmpfs_bytes) out->tmpfs_bytes = out->memory_bytes / 2;
    if (out->vcpus_milli < VCPUS_MIN || out->vcpus_milli > VCPUS_MAX)
        return eei_fail(err, EE_E_INVALID, "%u thousandths of a vcpu, allowed %u to %u", out->vcpus_milli, VCPUS_MIN, VCPUS_MAX);
    if (out->memory_bytes < MEMORY_MIN || out->memory_bytes > MEMORY_MAX || out->tmpfs_bytes > out->memory_bytes)
        return eei_fail(err, EE_E_INVALID, "%llu bytes of memory with %llu for tmpfs, at least %llu", (unsigned long long)out->memory_bytes,
                        (unsigned long long)out->tmpfs_bytes, (unsigned long long)MEMORY_MIN);
    if (out->pids_max < PIDS_MIN || out->pids_max > PIDS_MAX)
        return eei_fail(err, EE_E_INVALID, "%u processes, allowed %u to %u", out->pids_max, PIDS_MIN, PIDS_MAX);
    return EE_OK;
}

/* ---- the end ---- */

static void on_timer_closed(uv_handle_t *handle) {
    agent_run *run = handle->data;
    if (--run->open_handles == 0 && run->freed) eei_free(run);
}

static void drop_lease(agent_run *run) {
    if (run->lease) agent_lease_end(eei_take(&run->lease));
}

/* Tell the end, once. */
static void finish(agent_run *run) {
    if (run->over) return;
    run->over = true;
    uv_timer_stop(&run->limit);
    uv_timer_stop(&run->killer);
    eei_buf_clear(&run->job);
    eei_buf_clear(&run->input);
    drop_lease(run);
    if (!run->freed) run->callbacks.exit(run->user, &run->result);
}

static void set_reason(agent_run *run, agent_exit reason, const char *message) {
    run->result.reason = reason;
    snprintf(run->result.message, sizeof run->result.message, "%s", message);
}

static void explain_end(agent_run *run) {
    char text[160];
    const agent_run_result *r = &run->result;
    if (!run->started && (r->reason == AGENT_COMMAND_NOT_FOUND || r->reason == AGENT_START_FAILED)) return; /* not_started said it */
    if (run->cancelled) {
        set_reason(run, AGENT_CANCELLED, "cancelled");
    } else if (run->timed_out) {
        snprintf(text, sizeof text, "killed at its time limit of %llu ms", (unsigned long long)run->timeout_ms);
        set_reason(run, AGENT_TIMED_OUT, text);
    } else if (!run->started) {
        set_reason(run, AGENT_START_FAILED, "the sandbox ended before the command started");
    } else if (r->oom_kills && r->exit_code != 0) {
        snprintf(text, sizeof text, "reached its memory limit of %llu bytes", (unsigned long long)run->limits.memory_bytes);
        set_reason(run, AGENT_OUT_OF_MEMORY, text);
    } else if (r->signal) {
        snprintf(text, sizeof text, "ended by signal %d", r->signal);
        set_reason(run, AGENT_EXITED, text);
    }
}

static void on_ended(void *user, const agent_sandbox_end *end) {
    agent_run *run = user;
    agent_run_result *r = &run->result;
    if (WIFSIGNALED(end->wait_status)) {
        r->signal = WTERMSIG(end->wait_status);
        r->exit_code = 128 + r->signal;
    } else if (run->started) {
        r->exit_code = WEXITSTATUS(end->wait_status);
    }
    r->cpu_usec = end->usage.cpu_usec;
    r->memory_peak_bytes = end->usage.memory_peak_bytes;
    r->oom_kills = (uint32_t)end->usage.oom_kills;
    if (run->started) r->wall_ms = (end->ended_us - run->started_us + 999) / 1000;
    explain_end(run);
    finish(run);
}

/* ---- the start ---- */

static void fail_start(agent_run *run, const ee_error *err) {
    char text[sizeof run->result.message];
    snprintf(text, sizeof text, "the sandbox could not be made: %.180s", err->message);
    if (!run->cancelled) set_reason(run, AGENT_START_FAILED, text);
    finish(run);
}

static ee_status deliver(agent_run *run, ee_error *err) {
    ee_status st = agent_sandbox_deliver(run->lease->sandbox, &run->job, eei_buf_span(&run->input), err);
    eei_buf_clear(&run->input);
    run->delivered = st == EE_OK;
    return st;
}

static void on_ready(void *user, ee_status status, const ee_error *err) {
    agent_run *run = user;
    ee_error failed;
    if (run->over || run->delivered || run->cancelled) return; /* cancelled: the killer is on its way */
    if (status)
        fail_start(run, err);
    else if (deliver(run, &failed))
        fail_start(run, &failed);
}

static void on_limit(uv_timer_t *timer) {
    agent_run *run = timer->data;
    run->timed_out = true;
    if (run->lease) agent_sandbox_signal(run->lease->sandbox, SIGKILL);
}

static void on_killer(uv_timer_t *timer) {
    agent_run *run = timer->data;
    if (!run->delivered)
        finish(run);
    else if (run->lease)
        agent_sandbox_signal(run->lease->sandbox, SIGKILL);
}

static void on_started(void *user) {
    agent_run *run = user;
    run->started = true;
    run->started_us = eei_mono_us();
    if (run->timeout_ms) (void)uv_timer_start(&run->limit, on_limit, run->timeout_ms, 0);
    if (!run->no_spare) agent_lease_prepare_spare(run->rt, run->image, &run->limits);
    if (!run->freed && run->callbacks.started) run->callbacks.started(run->user);
}

/* The command is there, but nothing that can be started; NULL: that is not it. */
static const char *why_not_a_program(int why) {
    switch (why) {
    case EACCES:
    case EPERM: return "is in the image but is not executable: it has no executable bit";
    case EISDIR: return "is a folder of the image, not a program";
    case ENOEXEC: return "is in the image but is no program: neither a #! line nor a format of this machine";
    case ELIBACC: return "is in the image, but the interpreter that it names is not";
    default: return NULL;
    }
}

static void on_not_started(void *user, ee_shim_kind kind, int why) {
    agent_run *run = user;
    char text[sizeof run->result.message], reason[64];
    const char *there = why_not_a_program(why);
    bool denied = there != NULL;
    bool not_found = kind == EE_SHIM_NO_EXEC && (denied || why == ENOENT || why == ENOTDIR || why == ELOOP || why == ENAMETOOLONG);
    const char *says = strerror_r(why, reason, sizeof reason);
    run->result.exit_code = denied ? EXIT_NOT_ALLOWED : EXIT_NOT_FOUND;
    if (kind == EE_SHIM_NO_CWD)
        snprintf(text, sizeof text, "the image's working directory \"%.100s\" cannot be entered: %s",
                 agent_image_config(run->image)->working_dir, says);
    else if (not_found)
        snprintf(text, sizeof text, "the command \"%s\" %s", run->command, denied ? there : "is not in the image");
    else
        snprintf(text, sizeof text, "the command \"%s\" cannot be executed: %s", run->command, says);
    set_reason(run, not_found ? AGENT_COMMAND_NOT_FOUND : AGENT_START_FAILED, text);
}

static void on_output(void *user, ee_stream_id stream, const void *data, size_t len) {
    agent_run *run = user;
    if (!run->freed && run->callbacks.output) run->callbacks.output(run->user, stream, data, len);
}

static const agent_sandbox_events run_events = {on_ready, on_started, on_not_started, on_output, on_ended};

static void on_first_turn(uv_timer_t *timer) {
    agent_run *run = timer->data;
    ee_error err;
    if (!run->over && !run->cancelled && deliver(run, &err)) fail_start(run, &err);
}

static agent_run *new_run(agent_runtime *rt, agent_image *image, const agent_run_options *o, const agent_run_callbacks *callbacks,
                          void *user) {
    agent_run *run = eei_calloc(1, sizeof *run);
    if (!run) return NULL;
    run->rt = rt;
    run->callbacks = *callbacks;
    run->user = user;
    run->image = image;
    run->timeout_ms = o->timeout_ms;
    run->no_spare = o->no_spare;
    run->job = (eei_buf)EEI_BUF_INIT_SECRET(EE_SHIM_BYTES_MAX + sizeof(ee_shim_job));
    run->input = (eei_buf)EEI_BUF_INIT_SECRET(EEI_STDIN_BYTES_MAX);
    run->limit.data = run->killer.data = run;
    (void)uv_timer_init(rt->loop, &run->limit); /* cannot fail */
    (void)uv_timer_init(rt->loop, &run->killer);
    run->open_handles = 2;
    agent_image_hold(image);
    run->next = rt->runs;
    rt->runs = run;
    return run;
}

ee_status agent_run_start(agent_runtime *rt, agent_image *image, const agent_run_options *o, const agent_run_callbacks *callbacks,
                          void *user, agent_run **out, ee_error *err) {
    *out = NULL;
    if (rt->closing) return eei_fail(err, EE_E_STATE, "the runtime is closing");
    agent_run *run = new_run(rt, image, o, callbacks, user);
    if (!run) return eei_nomem(err);
    ee_status st = fill_limits(&o->limits, &run->limits, err);
    if (!st) st = build_job(run, o, err);
    if (!st && eei_buf_append_span(&run->input, o->stdin_data))
        st = eei_fail(err, EE_E_LIMIT, "standard input of %zu bytes, limit %u", o->stdin_data.len, EEI_STDIN_BYTES_MAX);
    if (!st) st = agent_lease_take(rt, image, &run->limits, &run_events, run, &run->lease, err);
    if (st) {
        run->over = true;
        agent_run_free(run);
        return st;
    }
    /* One that waits already gets its job on the next turn, so that failures are told from the loop. */
    if (agent_sandbox_is_ready(run->lease->sandbox)) (void)uv_timer_start(&run->limit, on_first_turn, 0, 0);
    *out = run;
    return EE_OK;
}

/* ---- while it runs ---- */

void agent_run_cancel(agent_run *run, uint32_t grace_ms) {
    if (run->over) return;
    if (!run->cancelled) {
        run->cancelled = true;
        set_reason(run, AGENT_CANCELLED, "cancelled");
        if (run->delivered)
            agent_sandbox_signal(run->lease->sandbox, SIGTERM);
        else
            grace_ms = 0;
    } else if (uv_is_active((uv_handle_t *)&run->killer) && uv_timer_get_due_in(&run->killer) < grace_ms) {
        return;
    }
    (void)uv_timer_start(&run->killer, on_killer, grace_ms, 0);
}

void agent_run_end_now(agent_run *run) {
    if (run->over) return;
    agent_run_cancel(run, 0);
    if (run->delivered) {
        agent_sandbox_signal(run->lease->sandbox, SIGKILL);
        agent_sandbox_discard(run->lease->sandbox);
    }
}

void agent_run_pause_output(agent_run *run) {
    if (run->lease) agent_sandbox_read(run->lease->sandbox, false);
}

void agent_run_resume_output(agent_run *run) {
    if (run->lease) agent_sandbox_read(run->lease->sandbox, true);
}

ee_status agent_run_connect(agent_run *run, uint16_t port, int *fd, ee_error *err) {
    *fd = -1;
    if (!run->lease || !run->started) return eei_fail(err, EE_E_APP_UNAVAILABLE, "the app does not run");
    return agent_sandbox_connect(run->lease->sandbox, port, fd, err);
}

void agent_run_free(agent_run *run) {
    if (!run) return;
    run->freed = true;
    for (agent_run **at = &run->rt->runs; *at; at = &(*at)->next)
        if (*at == run) {
            *at = run->next;
            break;
        }
    drop_lease(run);
    run->over = true;
    eei_buf_clear(&run->job);
    eei_buf_clear(&run->input);
    agent_image_release(eei_take(&run->image));
    uv_close((uv_handle_t *)&run->limit, on_timer_closed);
    uv_close((uv_handle_t *)&run->killer, on_timer_closed);
}
