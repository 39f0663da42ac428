/* forward.c - a port of 127.0.0.1 whose connections are carried to an app. One thread for each: a developer's tool, not a server.
 * Behind <eesdk/apps.h>. */
#include "base/alloc.h"
#include "base/cancel.h"
#include "base/error.h"
#include "base/log.h"
#include "client/waiter.h"

#include <eesdk/apps.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 64, FAULT_PAUSE_MS = 100 };

/* One connection, and the thread that carries it. */
typedef struct carry {
    struct carry *next;
    ee_forward *forward;
    pthread_t thread;
    int local, remote; /* -1: not there, or closed */
    bool over;
} carry;

struct ee_forward {
    ee_app *app;
    int listener;
    uint16_t port;
    ee_cancel *stop;
    pthread_t thread;
    client_waiter failed;
    pthread_mutex_t mutex; /* guards: carries and what is in them, failure */
    carry *carries;
    ee_error failure; /* the latest that nobody took; EE_OK = none */
};

static void note_failure(ee_forward *forward, const ee_error *failure) {
    eei_log(EEI_LOG_WARN, "forward.failed", "port=%u word=%s message=%s", forward->port, failure->word, failure->message);
    pthread_mutex_lock(&forward->mutex);
    forward->failure = *failure;
    pthread_mutex_unlock(&forward->mutex);
    client_waiter_wake(&forward->failed);
}

/* ---- one connection -------------------------------------------------------------------------------------------------- */

static bool move_bytes(int from, int to) {
    uint8_t block[16384];
    ssize_t n = read(from, block, sizeof block);
    if (n <= 0) return false;
    for (ssize_t sent = 0; sent < n;) {
        ssize_t m = send(to, block + sent, (size_t)(n - sent), MSG_NOSIGNAL);
        if (m < 0 && errno == EINTR) continue;
        if (m <= 0) return false;
        sent += m;
    }
    return true;
}

/* Both ways, until both directions ended or the forward did. */
static void relay(int a, int b, const ee_cancel *stop) {
    bool open_a = true, open_b = true;
    while (open_a || open_b) {
        struct pollfd fds[3] = {{.fd = open_a ? a : -1, .events = POLLIN},
                                {.fd = open_b ? b : -1, .events = POLLIN},
                                {.fd = eei_cancel_fd(stop), .events = POLLIN}};
        if ((poll(fds, 3, -1) < 0 && errno != EINTR) || ee_cancel_fired(stop)) break;
        if (fds[0].revents && !move_bytes(a, b)) {
            open_a = false;
            (void)shutdown(b, SHUT_WR);
        }
        if (fds[1].revents && !move_bytes(b, a)) {
            open_b = false;
            (void)shutdown(a, SHUT_WR);
        }
    }
}

static void *run_carry(void *arg) {
    carry *c = arg;
    ee_forward *forward = c->forward;
    ee_connect_options options;
    ee_error err = {0};
    int remote = -1;
    ee_connect_options_init(&options);
    options.cancel = forward->stop;
    ee_status st = ee_app_socket(forward->app, &options, &remote, &err);
    if (st && st != EE_E_CANCELLED) note_failure(forward, &err);
    pthread_mutex_lock(&forward->mutex);
    c->remote = remote; /* from here on ee_forward_free() ends it, in the middle of a write too */
    pthread_mutex_unlock(&forward->mutex);
    if (!st) relay(c->local, remote, forward->stop);
    pthread_mutex_lock(&forward->mutex);
    if (c->remote >= 0) close(c->remote);
    close(c->local);
    c->remote = c->local = -1;
    c->over = true;
    pthread_mutex_unlock(&forward->mutex);
    return NULL;
}

/* ---- all of them ----------------------------------------------------------------------------------------------------- */

static void start_carry(ee_forward *forward, int local) {
    carry *c = eei_calloc(1, sizeof *c);
    ee_error err = {0};
    ee_status st = c ? EE_OK : eei_nomem(&err);
    if (!st) {
        *c = (carry){.forward = forward, .local = local, .remote = -1};
        int rc = pthread_create(&c->thread, NULL, run_carry, c);
        if (rc) st = eei_fail_errno(&err, EE_E_IO, rc, "no thread for one more connection");
    }
    if (st || !c) {
        close(local);
        eei_free(c);
        note_failure(forward, &err);
        return;
    }
    pthread_mutex_lock(&forward->mutex);
    c->next = forward->carries;
    forward->carries = c;
    pthread_mutex_unlock(&forward->mutex);
}

/* Those that are over, or all of them. */
static void join_carries(ee_forward *forward, bool all) {
    carry *taken = NULL;
    pthread_mutex_lock(&forward->mutex);
    for (carry **at = &forward->carries; *at;) {
        carry *c = *at;
        if (!all && !c->over) {
            at = &c->next;
            continue;
        }
        if (c->local >= 0) (void)shutdown(c->local, SHUT_RDWR);
        if (c->remote >= 0) (void)shutdown(c->remote, SHUT_RDWR);
        *at = c->next;
        c->next = taken;
        taken = c;
    }
    pthread_mutex_unlock(&forward->mutex);
    while (taken) {
        carry *c = taken;
        taken = c->next;
        pthread_join(c->thread, NULL);
        eei_free(c);
    }
}

static void *run_accept(void *arg) {
    ee_forward *forward = arg;
    while (!ee_cancel_fired(forward->stop)) {
        struct pollfd fds[2] = {{.fd = forward->listener, .events = POLLIN}, {.fd = eei_cancel_fd(forward->stop), .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR) break;
        if (!fds[0].revents) continue;
        int local = accept4(forward->listener, NULL, NULL, SOCK_CLOEXEC);
        join_carries(forward, false);
        if (local >= 0) {
            start_carry(forward, local);
        } else if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN) { /* no descriptor left: it waits in the backlog */
            ee_error err = {0};
            eei_fail_errno(&err, EE_E_IO, errno, "accepting a connection on 127.0.0.1:%u", forward->port);
            note_failure(forward, &err);
            eei_ignored(eei_cancel_pause(forward->stop, FAULT_PAUSE_MS, NULL));
        }
    }
    return NULL;
}

static ee_status listen_on(ee_forward *forward, uint16_t port, ee_error *err) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int one = 1;
    forward->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (forward->listener < 0 || setsockopt(forward->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(forward->listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(forward->listener, BACKLOG) != 0 ||
        getsockname(forward->listener, (struct sockaddr *)&address, &len) != 0)
        return eei_fail_errno(err, EE_E_IO, errno, "listening on 127.0.0.1:%u", port);
    forward->port = ntohs(address.sin_port);
    return EE_OK;
}

static void drop(ee_forward *forward) {
    if (forward->listener >= 0) close(forward->listener);
    client_waiter_clear(&forward->failed);
    ee_cancel_free(forward->stop);
    pthread_mutex_destroy(&forward->mutex);
    eei_free(forward);
}

ee_status ee_app_forward(ee_app *app, uint16_t port, ee_forward **out, ee_error *err) {
    ee_forward *forward = eei_calloc(1, sizeof *forward);
    *out = NULL;
    if (!forward) return eei_nomem(err);
    forward->app = app;
    forward->listener = forward->failed.fd = -1;
    pthread_mutex_init(&forward->mutex, NULL);
    ee_status st = ee_cancel_new(&forward->stop, err);
    if (!st) st = client_waiter_init(&forward->failed, err);
    if (!st) st = listen_on(forward, port, err);
    int rc = st ? 0 : pthread_create(&forward->thread, NULL, run_accept, forward);
    if (rc) st = eei_fail_errno(err, EE_E_IO, rc, "no thread to forward with");
    if (st) {
        drop(forward);
        return st;
    }
    *out = forward;
    return EE_OK;
}

uint16_t ee_forward_port(const ee_forward *forward) { return forward->port; }

ee_status ee_forward_failure(ee_forward *forward, int64_t timeout_ms, ee_cancel *cancel, ee_error *out, ee_error *err) {
    uint64_t deadline_ms = timeout_ms < 0 ? UINT64_MAX : eei_mono_ms() + (uint64_t)timeout_ms;
    for (;;) {
        pthread_mutex_lock(&forward->mutex);
        *out = forward->failure;
        forward->failure = (ee_error){0};
        pthread_mutex_unlock(&forward->mutex);
        if (out->status) return EE_OK;
        ee_status st = client_waiter_wait(&forward->failed, deadline_ms, cancel, err);
        if (st) return st;
    }
}

void ee_forward_free(ee_forward *forward) {
    if (!forward) return;
    ee_cancel_fire(forward->stop);
    pthread_join(forward->thread, NULL);
    join_carries(forward, true);
    drop(forward);
}
