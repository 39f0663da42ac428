/* probe.c - see probe.h. */
#include "agent/probe.h"

#include "base/alloc.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct agent_probe {
    uv_poll_t poll;
    uv_timer_t timer;
    int fd, handles;
    agent_probe_fn done; /* NULL once told or freed */
    void *user;
};

static void handle_closed(uv_handle_t *handle) {
    agent_probe *probe = handle->data;
    if (--probe->handles > 0) return;
    if (probe->fd >= 0) close(probe->fd);
    eei_free(probe);
}

static void close_handles(agent_probe *probe) {
    if (probe->fd >= 0) uv_close((uv_handle_t *)&probe->poll, handle_closed);
    uv_close((uv_handle_t *)&probe->timer, handle_closed);
}

static void tell(agent_probe *probe, bool ok, const char *message) {
    agent_probe_fn done = probe->done;
    if (!done) return;
    probe->done = NULL;
    close_handles(probe);
    done(probe->user, ok, message);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    agent_probe *probe = poll->data;
    int error = 0;
    socklen_t len = sizeof error;
    (void)events;
    if (status || getsockopt(probe->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) error = error ? error : 1;
    tell(probe, error == 0, error ? strerror(error) : "");
}

static void on_timer(uv_timer_t *timer) {
    agent_probe *probe = timer->data;
    tell(probe, false, probe->fd < 0 ? "nothing listens" : "no answer");
}

agent_probe *agent_probe_start(uv_loop_t *loop, agent_run *run, uint16_t port, uint32_t timeout_ms, agent_probe_fn done, void *user) {
    agent_probe *probe = eei_calloc(1, sizeof *probe);
    if (!probe) return NULL;
    probe->fd = -1;
    probe->done = done;
    probe->user = user;
    (void)uv_timer_init(loop, &probe->timer);
    probe->timer.data = probe;
    probe->handles = 1;
    if (agent_run_connect(run, port, &probe->fd, NULL) != EE_OK) {
        probe->fd = -1;
        (void)uv_timer_start(&probe->timer, on_timer, 0, 0); /* told from the loop, like every answer */
        return probe;
    }
    (void)uv_poll_init(loop, &probe->poll, probe->fd);
    probe->poll.data = probe;
    probe->handles = 2;
    (void)uv_poll_start(&probe->poll, UV_WRITABLE, on_poll);
    (void)uv_timer_start(&probe->timer, on_timer, timeout_ms, 0);
    return probe;
}

void agent_probe_free(agent_probe *probe) {
    if (!probe) return;
    probe->done = NULL;
    close_handles(probe);
}
