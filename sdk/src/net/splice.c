/* splice.c - a pipe's plain bytes joined to a socket: back-pressure and half-close both ways, nothing buffered here but one read.
 * Called by the agent (apps) and the SDK (sockets of attested connections). */
#include "base/alloc.h"
#include "net/link_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_MAX 65536u

struct eei_splice {
    eei_link *link;
    eei_pipe *pipe;
    int fd;
    uv_poll_t poll;
    int events;      /* what poll waits for now */
    bool want_write; /* the socket's buffer is full */
    bool fd_ended;   /* nothing more will be read from it */
    bool peer_ended; /* nothing more will be written to it */
    bool finished;
    void (*done)(void *user, const ee_error *why);
    void *user;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void on_poll_closed(uv_handle_t *handle) {
    eei_splice *splice = handle->data;
    eei_link_leave(splice->link);
    eei_free(splice);
}

/* Everything goes; the memory when uv has let go of the handle. */
static void finish(eei_splice *splice, const ee_error *why, bool tell) {
    if (splice->finished) return;
    splice->finished = true;
    uv_close((uv_handle_t *)&splice->poll, on_poll_closed);
    close(splice->fd);
    eei_pipe_free(eei_take(&splice->pipe));
    if (tell && splice->done) splice->done(splice->user, why);
}

static void finish_errno(eei_splice *splice, int number, const char *what) {
    ee_error why = {0};
    eei_fail_errno(&why, EE_E_IO, number, "socket: %s", what);
    finish(splice, &why, true);
}

static void set_events(eei_splice *splice) {
    eei_channel *channel = eei_pipe_channel(splice->pipe);
    int events = splice->want_write ? UV_WRITABLE : 0;

    if (!splice->fd_ended && eei_channel_writable(channel)) events |= UV_READABLE;
    if (events == splice->events) return;
    splice->events = events;
    int rc = events ? uv_poll_start(&splice->poll, events, on_poll) : uv_poll_stop(&splice->poll);
    if (rc != 0) finish_errno(splice, -rc, "poll");
}

static void to_socket(eei_splice *splice) {
    eei_channel *channel = eei_pipe_channel(splice->pipe);
    ee_span plain;

    splice->want_write = false;
    while ((plain = eei_channel_peek(channel)).len) {
        ssize_t n = send(splice->fd, plain.data, plain.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            splice->want_write = true;
            break;
        }
        if (n < 0) {
            finish_errno(splice, errno, "send");
            return;
        }
        eei_channel_consume(channel, (size_t)n);
    }
    if (eei_channel_state(channel) == EEI_CHANNEL_ENDED && !splice->peer_ended) {
        splice->peer_ended = true;
        (void)shutdown(splice->fd, SHUT_WR);
    }
    set_events(splice);
}

static void from_socket(eei_splice *splice) {
    eei_channel *channel = eei_pipe_channel(splice->pipe);
    uint8_t bytes[READ_MAX];
    size_t room;

    while (!splice->fd_ended && (room = eei_channel_writable(channel)) > 0) {
        size_t want = room < sizeof bytes ? room : sizeof bytes;
        ssize_t n = recv(splice->fd, bytes, want, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
        if (n < 0) {
            finish_errno(splice, errno, "receive");
            return;
        }
        if (!n) {
            splice->fd_ended = true;
            eei_channel_close(channel);
        } else if (eei_channel_write(channel, eei_span(bytes, (size_t)n)) != (size_t)n) {
            finish(splice, eei_channel_error(channel), true); /* there was room, so the channel has failed */
            return;
        }
        if ((size_t)n < want) break;
    }
    eei_pipe_flush(splice->pipe);
    set_events(splice);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    eei_splice *splice = poll->data;

    if (status < 0) {
        finish_errno(splice, -status, "poll");
        return;
    }
    if (events & UV_WRITABLE) {
        to_socket(splice);
        if (!splice->finished) eei_pipe_flush(splice->pipe); /* room was made */
    }
    if (!splice->finished && (events & UV_READABLE)) from_socket(splice);
}

static void on_readable(void *user) { to_socket(user); }
static void on_writable(void *user) { from_socket(user); }
static void on_eof(void *user) { to_socket(user); }
static void on_end(void *user, const ee_error *why) { finish(user, why, true); }

ee_status eei_splice_new(eei_link *link, eei_pipe *pipe, int fd, void (*done)(void *user, const ee_error *why), void *user,
                         eei_splice **out, ee_error *err) {
    eei_splice *splice;
    int rc, flags = fcntl(fd, F_GETFL);

    *out = NULL;
    if (pipe->ended) return eei_fail(err, EE_E_CLOSED, "inner channel has ended");
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return eei_fail_errno(err, EE_E_IO, errno, "socket: non-blocking mode");
    splice = eei_calloc(1, sizeof *splice);
    if (!splice) return eei_nomem(err);
    *splice = (eei_splice){.link = link, .pipe = pipe, .fd = fd, .done = done, .user = user};
    rc = uv_poll_init(eei_link_loop(link), &splice->poll, fd);
    if (rc != 0) {
        eei_free(splice);
        return eei_fail_errno(err, EE_E_IO, -rc, "socket: poll");
    }
    splice->poll.data = splice;
    eei_link_enter(link);
    const eei_pipe_callbacks callbacks = {splice, NULL, on_readable, on_writable, on_end};
    eei_pipe_hand_over(pipe, &callbacks, on_eof);
    eei_pipe_flush(pipe); /* what has arrived already comes as on_readable */
    splice->events = UV_READABLE;
    rc = uv_poll_start(&splice->poll, UV_READABLE, on_poll);
    EE_ASSERT(rc == 0); /* the handle is new and the descriptor was accepted above */
    *out = splice;
    return EE_OK;
}

void eei_splice_free(eei_splice *splice) {
    if (splice) finish(splice, NULL, false);
}
