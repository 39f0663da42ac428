/* apps.c - apps on this node: told by the control plane under a fencing epoch, run until stopped, reached only through streams of the
 * tunnel into the app's own network namespace. Restart policies and health rules come with their issue; an app that ends is reported
 * failed. */
#include "agent/agent.h"
#include "agent/probe.h"
#include "attest/statement.h"
#include "base/alloc.h"

#include <string.h>
#include <unistd.h>

enum { PROBE_EVERY_MS = 50, PROBE_TIMEOUT_MS = 1000, START_DEADLINE_MS = 60000, STOP_GRACE_MS = 2000 };

struct agent_app {
    agent *agent;
    agent_app *next;
    char id[65], name[EEI_NAME_BYTES_MAX + 1];
    uint64_t epoch;
    eei_buf spec_bytes;
    eei_spec spec;
    eei_arena arena;
    uint8_t spec_hash[32];
    agent_image_request *pulling;
    agent_image *image;
    struct agent_measuring *measuring;
    agent_run *run;
    agent_probe *probe;
    uv_timer_t timer; /* next probe while starting */
    uint64_t start_deadline_ms;
    bool running, counted, measured;
    const char *state; /* as last told */
};

/* ---- life ------------------------------------------------------------------------------------------------------------ */

static agent_app *find_id(const agent *self, ee_span id) {
    for (agent_app *app = self->apps; app; app = app->next)
        if (eei_span_equal(eei_span_text(app->id), id)) return app;
    return NULL;
}

static agent_app *find_name(const agent *self, ee_span name) {
    for (agent_app *app = self->apps; app; app = app->next)
        if (eei_span_equal(eei_span_text(app->name), name)) return app;
    return NULL;
}

static void free_app(uv_handle_t *handle) {
    agent_app *app = handle->data;
    eei_arena_clear(&app->arena);
    eei_buf_clear(&app->spec_bytes);
    eei_free(app);
}

static void tell_state(agent_app *app, const char *state, ee_status why, const char *message) {
    eei_app_state out = {.app_id = eei_span_text(app->id),
                         .epoch = app->epoch,
                         .state = eei_span_text(state),
                         .word = eei_span_text(why ? ee_status_word(why) : ""),
                         .message = eei_span_text(message)};
    app->state = state;
    agent_send(app->agent, EEI_FRAME_APP_STATE, &eei_app_state_schema, &out);
}

/* RTMR3 says which image runs before it runs (threat Q14), and the certificate that callers see says it too. A quote may be under way, and
 * the new certificate needs one: so on a worker; one after the other, for the order of events is what they say. */
typedef struct agent_measuring measuring;
struct agent_measuring {
    uv_work_t work;
    measuring *next;
    agent *agent;
    agent_app *app; /* NULL: an end, or it was stopped meanwhile */
    bool end;
    char id[65];
    eei_buf payload;
    ee_status status;
    ee_error error;
};

static void measured(uv_work_t *work, int rc);

static void measure(uv_work_t *work) {
    measuring *m = work->data;
    m->status = eei_prover_event(m->agent->prover, m->end ? EEI_EVENT_APP_END : EEI_EVENT_APP, eei_buf_span(&m->payload), &m->error);
    if (!m->status && !m->end) m->status = eei_prover_renew(m->agent->prover, &m->error);
}

static ee_status start_measuring(measuring *m, ee_error *err) {
    int rc = uv_queue_work(m->agent->loop, &m->work, measure, measured);
    return rc ? eei_fail(err, EE_E_IO, "no worker for the measurement: %s", uv_strerror(rc)) : EE_OK;
}

/* app and event NULL: an end of `id`. */
static ee_status queue_measuring(agent *self, agent_app *app, const char *id, const eei_app_event *event, ee_error *err) {
    measuring *m = eei_calloc(1, sizeof *m);
    if (!m) return eei_nomem(err);
    m->work.data = m;
    m->agent = self;
    m->app = app;
    m->end = !event;
    m->payload = (eei_buf)EEI_BUF_INIT(256);
    (void)snprintf(m->id, sizeof m->id, "%s", id);
    ee_status st = event                                  ? eei_encode(&eei_app_event_schema, event, &m->payload, err)
                   : eei_buf_append_text(&m->payload, id) ? eei_nomem(err)
                                                          : EE_OK;
    measuring **last = &self->measurements;
    while (*last) last = &(*last)->next;
    if (!st && last == &self->measurements) st = start_measuring(m, err);
    if (!st) *last = m;
    if (!st && app) app->measuring = m;
    if (st) {
        eei_buf_clear(&m->payload);
        eei_free(m);
    }
    return st;
}

static void note_end(agent *self, const char *id) { eei_ignored(queue_measuring(self, NULL, id, NULL, NULL)); }

static void drop_app(agent_app *app) {
    agent *self = app->agent;
    for (agent_app **at = &self->apps; *at; at = &(*at)->next)
        if (*at == app) {
            *at = app->next;
            break;
        }
    if (app->counted) {
        self->vcpus_used_milli -= app->spec.vcpus_milli;
        self->memory_used -= app->spec.memory_bytes;
    }
    if (app->measuring) app->measuring->app = NULL;
    if (app->measured) note_end(self, app->id);
    agent_probe_free(eei_take(&app->probe));
    if (app->pulling) agent_image_request_cancel(eei_take(&app->pulling));
    agent_run_free(eei_take(&app->run));
    agent_image_release(eei_take(&app->image));
    uv_close((uv_handle_t *)&app->timer, free_app);
}

static void fail_app(agent_app *app, ee_status why, const char *message) {
    eei_log(EEI_LOG_WARN, "app.failed", "app=%s word=%s message=%s", app->name, ee_status_word(why), message);
    tell_state(app, "failed", why, message);
    drop_app(app);
}

/* ---- starting -------------------------------------------------------------------------------------------------------- */

static void probe_again(uv_timer_t *timer);

static void on_probe(void *user, bool ok, const char *message) {
    agent_app *app = user;
    app->probe = NULL;
    if (ok) {
        app->running = true;
        eei_log(EEI_LOG_INFO, "app.running", "app=%s port=%llu", app->name, (unsigned long long)app->spec.port);
        tell_state(app, "running", EE_OK, "");
    } else if (eei_mono_ms() >= app->start_deadline_ms) {
        char text[256];
        (void)snprintf(text, sizeof text, "its port %llu did not answer within %d s (%s)", (unsigned long long)app->spec.port,
                       START_DEADLINE_MS / 1000, message);
        fail_app(app, EE_E_APP_UNAVAILABLE, text);
    } else {
        (void)uv_timer_start(&app->timer, probe_again, PROBE_EVERY_MS, 0);
    }
}

static void probe_again(uv_timer_t *timer) {
    agent_app *app = timer->data;
    if (!app->run || app->probe) return;
    app->probe = agent_probe_start(app->agent->loop, app->run, (uint16_t)app->spec.port, PROBE_TIMEOUT_MS, on_probe, app);
    if (!app->probe) (void)uv_timer_start(&app->timer, probe_again, PROBE_EVERY_MS, 0);
}

static void on_started(void *user) {
    agent_app *app = user;
    app->start_deadline_ms = eei_mono_ms() + START_DEADLINE_MS;
    (void)uv_timer_start(&app->timer, probe_again, 0, 0);
}

static void on_output(void *user, ee_stream_id stream, const void *data, size_t len) {
    (void)user; /* kept logs come with their issue; nothing of an app's output is written anywhere until then */
    (void)stream;
    (void)data;
    (void)len;
}

static void on_run_exit(void *user, const agent_run_result *end) {
    agent_app *app = user;
    char text[300];
    if (end->reason == AGENT_EXITED)
        (void)snprintf(text, sizeof text, "it ended with exit code %d", end->exit_code);
    else
        (void)snprintf(text, sizeof text, "it ended: %s", end->message[0] ? end->message : agent_exit_word(end->reason));
    fail_app(app, end->reason == AGENT_COMMAND_NOT_FOUND ? EE_E_COMMAND : EE_E_APP_UNAVAILABLE, text);
}

static void run_image(agent_app *app) {
    static const agent_run_callbacks callbacks = {on_started, on_output, on_run_exit};
    ee_error err = {0};
    agent_run_options options = {.id = app->id,
                                 .args = app->spec.args.items,
                                 .args_count = app->spec.args.count,
                                 .limits = {.vcpus_milli = (uint32_t)app->spec.vcpus_milli, .memory_bytes = app->spec.memory_bytes},
                                 .no_spare = true};
    if (agent_run_start(app->agent->runtime, app->image, &options, &callbacks, app, &app->run, &err))
        fail_app(app, err.status, err.message);
    else
        tell_state(app, "starting", EE_OK, "");
}

static void measured(uv_work_t *work, int rc) {
    measuring *m = work->data, *next = m->next;
    agent_app *app = m->app;
    bool was_stopped = !app && !m->end;
    if (rc) m->status = eei_fail(&m->error, EE_E_IO, "no worker for the measurement: %s", uv_strerror(rc));
    m->agent->measurements = next;
    if (next && start_measuring(next, &next->error)) measured(&next->work, UV_EAGAIN);
    if (app) {
        app->measuring = NULL;
        app->measured = !m->status;
        if (app->measured)
            run_image(app);
        else
            fail_app(app, m->status, m->error.message);
    } else if (was_stopped && !m->status) {
        note_end(m->agent, m->id);
    }
    eei_buf_clear(&m->payload);
    eei_free(m);
}

static void on_image(void *user, ee_status status, agent_image *image, const ee_error *why) {
    agent_app *app = user;
    ee_error err = {0};
    eei_app_event event = {.id = eei_span_text(app->id)};
    app->pulling = NULL;
    app->image = image;
    memcpy(event.image_digest, app->spec.image_digest, 32);
    memcpy(event.spec_hash, app->spec_hash, 32);
    if (status)
        fail_app(app, status, why->message);
    else if (queue_measuring(app->agent, app, app->id, &event, &err))
        fail_app(app, err.status, err.message);
}

static ee_status start(agent_app *app, const eei_app *message, ee_error *err) {
    agent *self = app->agent;
    char repository[256];
    if (eei_buf_append_span(&app->spec_bytes, message->spec)) return eei_nomem(err);
    eei_sha256(eei_buf_span(&app->spec_bytes), app->spec_hash);
    ee_status st = eei_decode(&eei_spec_schema, eei_buf_span(&app->spec_bytes), &app->arena, &app->spec, err);
    if (!st && (app->spec.kind != EEI_SPEC_APP || !app->spec.port || !eei_span_equal(app->spec.name, message->name)))
        st = eei_fail(err, EE_E_INVALID, "the spec is not this app's");
    if (!st && (self->vcpus_used_milli + app->spec.vcpus_milli > self->vcpus_milli ||
                self->memory_used + app->spec.memory_bytes > self->memory_bytes))
        st = eei_fail(err, EE_E_NO_NODE, "node %s has not enough free vcpus or memory", self->node);
    if (st) return st;
    self->vcpus_used_milli += app->spec.vcpus_milli;
    self->memory_used += app->spec.memory_bytes;
    app->counted = true;
    (void)snprintf(repository, sizeof repository, "%.*s", (int)app->spec.repository.len, (const char *)app->spec.repository.data);
    st = agent_image_prepare(self->runtime, repository, app->spec.image_digest, app->spec.insecure_registry, NULL, on_image, app,
                             &app->pulling, err);
    if (!st) tell_state(app, "pulling", EE_OK, "");
    return st;
}

static void on_app(agent *self, const eei_app *message) {
    ee_error err = {0};
    agent_app *app = find_id(self, message->app_id);
    if (app && message->epoch < app->epoch) return; /* an older placement: fenced off */
    if (app && message->spec.len && message->epoch == app->epoch) {
        tell_state(app, app->state, EE_OK, ""); /* asked again after a reconnect */
        return;
    }
    if (app) drop_app(app);
    if (!message->spec.len || self->stopping) return;
    app = eei_calloc(1, sizeof *app);
    if (!app) return;
    app->agent = self;
    app->epoch = message->epoch;
    app->state = "pulling";
    app->arena = (eei_arena)EEI_ARENA_INIT(1 << 20);
    app->spec_bytes = (eei_buf)EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    (void)snprintf(app->id, sizeof app->id, "%.*s", (int)message->app_id.len, (const char *)message->app_id.data);
    (void)snprintf(app->name, sizeof app->name, "%.*s", (int)message->name.len, (const char *)message->name.data);
    (void)uv_timer_init(self->loop, &app->timer);
    app->timer.data = app;
    app->next = self->apps;
    self->apps = app;
    if (start(app, message, &err)) fail_app(app, err.status, err.message);
}

void agent_apps_control(agent *self, const eei_frame *frame) {
    eei_arena arena = EEI_ARENA_INIT(4096);
    eei_app message;
    ee_error err = {0};
    if (frame->type == EEI_FRAME_APP && eei_decode(&eei_app_schema, frame->payload, &arena, &message, &err) == EE_OK)
        on_app(self, &message);
    if (err.status) eei_log(EEI_LOG_WARN, "control.malformed", "type=APP message=%s", err.message);
    eei_arena_clear(&arena);
}

void agent_apps_session(agent *self) { (void)self; /* the control plane tells us our apps; we answer each with its state */ }

agent_app *agent_apps_next(const agent *self, const agent_app *after) { return after ? after->next : self->apps; }
const char *agent_app_id(const agent_app *app) { return app->id; }
agent_run *agent_app_run(const agent_app *app) { return app->running ? app->run : NULL; }
uint16_t agent_app_port(const agent_app *app) { return (uint16_t)app->spec.port; }

void agent_apps_close(agent *self) {
    while (self->apps) drop_app(self->apps);
}

/* ---- connections ----------------------------------------------------------------------------------------------------- */

/* A caller's attested channel, until it is joined to the app's port. */
typedef struct visit {
    agent *agent;
    char name[EEI_NAME_BYTES_MAX + 1];
    eei_pipe *pipe;
    eei_stream *stream; /* the pipe's, to say why it is refused */
    eei_splice *splice;
} visit;

static void visit_done(void *user, const ee_error *why) {
    (void)why;
    eei_free(user); /* the splice freed itself and the pipe */
}

static void visit_drop(visit *v) {
    eei_pipe_free(v->pipe);
    eei_free(v);
}

static void visit_open(void *user) {
    visit *v = user;
    int fd = -1;
    ee_error err = {0};
    const char *alpn = eei_channel_alpn(eei_pipe_channel(v->pipe));
    agent_app *app = find_name(v->agent, eei_span_text(v->name));
    ee_status st = alpn && strcmp(alpn, EEI_ALPN_APP) == 0 ? EE_OK : eei_fail(&err, EE_E_VERSION, "the channel is not for an app");
    if (!st && (!app || !app->run)) st = eei_fail(&err, EE_E_APP_UNAVAILABLE, "app %s does not run here", v->name);
    if (!st) st = agent_run_connect(app->run, (uint16_t)app->spec.port, &fd, &err);
    if (!st) st = eei_splice_new(v->agent->link, v->pipe, fd, visit_done, v, &v->splice, &err);
    if (!st) return;
    if (fd >= 0) close(fd);
    eei_log(EEI_LOG_WARN, "app.unreachable", "app=%s message=%s", v->name, err.message);
    agent_refuse(v->stream, st, err.message);
    visit_drop(v);
}

static void visit_nothing(void *user) { (void)user; }
static void visit_end(void *user, const ee_error *why) {
    (void)why;
    visit_drop(user);
}

void agent_apps_stream(agent *self, eei_stream *stream, const eei_open *open) {
    ee_error err = {0};
    eei_channel *channel = NULL;
    visit *v = eei_calloc(1, sizeof *v);
    eei_pipe_callbacks callbacks = {v, visit_open, visit_nothing, visit_nothing, visit_end};
    ee_status st = v ? EE_OK : eei_nomem(&err);
    if (!st) {
        v->agent = self;
        (void)snprintf(v->name, sizeof v->name, "%.*s", (int)open->target.len, (const char *)open->target.data);
        st = eei_channel_new_server(self->prover, eei_mono_ms(), &channel, &err);
    }
    const agent_app *app = find_name(self, open->target);
    if (!st && (!app || !app->run)) st = eei_fail(&err, EE_E_APP_UNAVAILABLE, "app %s does not run here", v->name);
    if (!st) st = eei_pipe_new(self->link, stream, channel, &callbacks, &v->pipe, &err);
    if (!st) {
        v->stream = stream;
        return;
    }
    eei_channel_free(channel);
    eei_free(v);
    agent_refuse(stream, st, err.message);
    eei_stream_free(stream);
}
