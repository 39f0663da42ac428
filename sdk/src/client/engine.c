/* engine.c - see engine.h. Locking: conn->mutex guards a conn's queues and state, engine->mutex the list of posted calls; neither is held
 * while a callback of link, pipe or mux runs user code, and they are never nested. */
#include "engine.h"

#include "base/alloc.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    RECEIVE_QUEUE_MAX = 4 << 20, /* frames a slow caller has not taken yet; past it, credit is no longer returned */
    HELD_MAX = RECEIVE_QUEUE_MAX + EEI_MESSAGE_BYTES_MAX + EEI_FRAME_HEADER_BYTES, /* a full queue behind the start of a frame */
    SEND_QUEUE_MAX = EEI_MESSAGE_BYTES_MAX + (64 << 10),
};

typedef struct posted {
    struct posted *next;
    void (*fn)(void *arg);
    void *arg;
} posted;

struct client_engine {
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t async;
    pthread_mutex_t mutex; /* guards: head, tail */
    posted *head, *tail;
    char url[512];
    uint8_t network_id[32];
    eei_judge *judge;
    SSL_CTX *tls;
    eei_link *link;                      /* loop thread only, like all below */
    bool link_open, link_dead, stopping; /* dead: it closed, but could not be freed inside its own callback */
    client_conn *waiting;                /* conns that wait for the link, by their next_waiting */
    client_conn *conns;                  /* every conn that the loop holds */
};

typedef enum conn_state { CONN_DIALING, CONN_OPEN, CONN_SPLICED, CONN_ENDED } conn_state;

struct client_conn {
    client_engine *engine;
    int refs; /* atomic: user, loop */
    client_waiter waiter;
    /* what to dial; not changed after */
    eei_open open;
    char target[65], alpn[16], node_name[64];
    uint8_t token[1024];
    uint8_t node_id[32], spec_hash[32];
    bool has_spec_hash;
    ee_policy *policy; /* NULL = the judge's */
    bool strict;
    /* loop thread only */
    client_conn *next, *next_waiting;
    eei_stream *stream;
    eei_pipe *pipe;
    eei_splice *splice;
    bool freed_by_user;
    /* user's thread only */
    eei_buf held; /* taken out of `received`: the user's frames are borrowed from here, where the loop never writes */
    size_t held_at;
    /* under mutex */
    pthread_mutex_t mutex;
    conn_state state;
    int splice_fd;  /* our end of the socketpair, until the splice or conn_end() has it */
    ee_error error; /* why it ended; status EE_OK = clean */
    ee_verdict *verdict;
    eei_buf received; /* what came and the user has not taken yet */
    eei_buf to_send;
    bool link_lost; /* it ended because the link to the control plane did, and not by itself */
    bool stalled;   /* the loop stopped reading because `received` is full */
    ee_status send_status;
};

/* ---- posting to the loop --------------------------------------------------------------------------------------------- */

static ee_status post(client_engine *engine, void (*fn)(void *), void *arg, ee_error *err) {
    posted *item = eei_calloc(1, sizeof *item);
    if (!item) return eei_nomem(err);
    item->fn = fn;
    item->arg = arg;
    pthread_mutex_lock(&engine->mutex);
    if (engine->tail)
        engine->tail->next = item;
    else
        engine->head = item;
    engine->tail = item;
    pthread_mutex_unlock(&engine->mutex);
    uv_async_send(&engine->async);
    return EE_OK;
}

static void on_async(uv_async_t *handle) {
    client_engine *engine = handle->data;
    for (;;) {
        pthread_mutex_lock(&engine->mutex);
        posted *item = engine->head;
        if (item) {
            engine->head = item->next;
            if (!engine->head) engine->tail = NULL;
        }
        pthread_mutex_unlock(&engine->mutex);
        if (!item) return;
        item->fn(item->arg);
        eei_free(item);
    }
}

/* ---- conn life ------------------------------------------------------------------------------------------------------- */

static void conn_unref(client_conn *conn) {
    if (__atomic_sub_fetch(&conn->refs, 1, __ATOMIC_ACQ_REL) > 0) return;
    client_waiter_clear(&conn->waiter);
    pthread_mutex_destroy(&conn->mutex);
    ee_verdict_free(conn->verdict);
    ee_policy_free(conn->policy);
    eei_buf_clear(&conn->received);
    eei_buf_clear(&conn->held);
    eei_buf_clear(&conn->to_send);
    eei_wipe(conn->token, sizeof conn->token);
    eei_free(conn);
}

static void unlink_conn(client_conn **head, const client_conn *conn, size_t next_offset) {
    for (client_conn **at = head; *at; at = (client_conn **)(void *)((char *)*at + next_offset))
        if (*at == conn) {
            *at = *(client_conn **)(void *)((char *)*at + next_offset);
            return;
        }
}

/* Loop: it is over, for the reason given (NULL = clean). Safe to call twice. Drops the loop's reference. */
static void conn_end(client_conn *conn, const ee_error *why) {
    client_engine *engine = conn->engine;
    pthread_mutex_lock(&conn->mutex);
    bool already = conn->state == CONN_ENDED;
    int splice_fd = conn->splice_fd;
    if (!already) {
        conn->state = CONN_ENDED;
        conn->splice_fd = -1;
        if (why) conn->error = *why;
        conn->link_lost = !engine->link || !eei_link_is_open(engine->link);
    }
    if (conn->pipe && !conn->verdict) {
        const ee_verdict *verdict = eei_channel_verdict(eei_pipe_channel(conn->pipe));
        if (verdict) conn->verdict = ee_verdict_ref(verdict);
    }
    pthread_mutex_unlock(&conn->mutex);
    if (already) return;
    unlink_conn(&engine->conns, conn, offsetof(client_conn, next));
    unlink_conn(&engine->waiting, conn, offsetof(client_conn, next_waiting));
    if (conn->splice)
        eei_splice_free(eei_take(&conn->splice));
    else if (conn->pipe)
        eei_pipe_free(eei_take(&conn->pipe));
    else if (conn->stream)
        eei_stream_free(eei_take(&conn->stream));
    conn->pipe = NULL;
    conn->stream = NULL;
    if (splice_fd >= 0) close(splice_fd);
    client_waiter_wake(&conn->waiter);
    if (engine->link) eei_link_flush(engine->link);
    conn_unref(conn);
}

/* ---- frames in and out ----------------------------------------------------------------------------------------------- */

static void pump_in(client_conn *conn) {
    eei_channel *channel = eei_pipe_channel(conn->pipe);
    ee_span bytes = eei_channel_peek(channel);
    if (!bytes.len) return;
    pthread_mutex_lock(&conn->mutex);
    size_t room = RECEIVE_QUEUE_MAX - conn->received.len, take = bytes.len < room ? bytes.len : room;
    conn->stalled = take < bytes.len;
    ee_status st = take ? eei_buf_append(&conn->received, bytes.data, take) : EE_OK;
    pthread_mutex_unlock(&conn->mutex);
    if (st) {
        ee_error err;
        eei_fail(&err, st, "receiving from the agent");
        conn_end(conn, &err);
        return;
    }
    eei_channel_consume(channel, take);
    if (take) client_waiter_wake(&conn->waiter);
}

static void pump_out(client_conn *conn) {
    pthread_mutex_lock(&conn->mutex);
    size_t sent = eei_channel_write(eei_pipe_channel(conn->pipe), eei_buf_span(&conn->to_send));
    eei_buf_consume(&conn->to_send, sent);
    pthread_mutex_unlock(&conn->mutex);
    if (sent) eei_pipe_flush(conn->pipe);
}

static void pipe_open(void *user) {
    client_conn *conn = user;
    pthread_mutex_lock(&conn->mutex);
    conn->state = CONN_OPEN;
    conn->verdict = ee_verdict_ref(eei_channel_verdict(eei_pipe_channel(conn->pipe)));
    pthread_mutex_unlock(&conn->mutex);
    client_waiter_wake(&conn->waiter);
}
static void pipe_readable(void *user) { pump_in(user); }
static void pipe_writable(void *user) { pump_out(user); }
static void pipe_end(void *user, const ee_error *why) { conn_end(user, why); }

/* ---- dialing --------------------------------------------------------------------------------------------------------- */

static void dial_now(client_conn *conn) {
    client_engine *engine = conn->engine;
    eei_buf payload = EEI_BUF_INIT(4096);
    eei_channel *channel = NULL;
    ee_error err = {0};
    eei_channel_client options = {.ctx = engine->tls,
                                  .judge = engine->judge,
                                  .policy = conn->policy,
                                  .alpn = conn->alpn,
                                  .node_name = conn->node_name,
                                  .strict = conn->strict};
    eei_pipe_callbacks callbacks = {conn, pipe_open, pipe_readable, pipe_writable, pipe_end};

    memcpy(options.instance_id, conn->open.instance_id, sizeof options.instance_id);
    memcpy(options.node_id, conn->node_id, sizeof options.node_id);
    if (conn->has_spec_hash) options.spec_hash = conn->spec_hash;
    ee_status st = eei_encode(&eei_open_schema, &conn->open, &payload, &err);
    if (!st) st = eei_link_open_stream(engine->link, eei_buf_span(&payload), &conn->stream, &err);
    if (!st) st = eei_channel_new_client(&options, eei_mono_ms(), &channel, &err);
    if (!st) st = eei_pipe_new(engine->link, conn->stream, channel, &callbacks, &conn->pipe, &err);
    eei_buf_clear(&payload);
    if (!st) {
        conn->stream = NULL; /* the pipe's now */
        eei_link_flush(engine->link);
        return;
    }
    if (!conn->pipe) eei_channel_free(channel);
    conn_end(conn, &err);
}

static void link_open(void *user, const eei_accept *accept) {
    client_engine *engine = user;
    (void)accept;
    engine->link_open = true;
    while (engine->waiting) {
        client_conn *conn = engine->waiting;
        engine->waiting = conn->next_waiting;
        dial_now(conn);
    }
}

static void link_stream(void *user, eei_stream *stream, eei_mux_event_kind kind) {
    eei_pipe *pipe = eei_stream_user(stream);
    (void)user;
    if (pipe) eei_pipe_event(pipe, kind);
}

static void link_control(void *user, const eei_frame *frame) {
    (void)user;
    (void)frame; /* nothing is sent to clients outside streams yet; unknown critical frames were refused below */
}

static void link_opened(void *user, eei_stream *stream, ee_span payload) {
    (void)user;
    (void)payload;
    eei_stream_reset(stream, "clients take no streams");
    eei_stream_free(stream);
}

static void forget_link(void *user) {
    client_engine *engine = user;
    (void)engine;
}

static void drop_link(void *arg) {
    client_engine *engine = arg;
    if (!engine->link_dead) return; /* start_dial() was here first, and may have made another */
    engine->link_dead = false;
    eei_link_free(eei_take(&engine->link), forget_link, engine);
}

static void link_closed(void *user, const ee_error *why, uint64_t retry_in_ms) {
    client_engine *engine = user;
    (void)retry_in_ms;
    engine->link_open = false;
    engine->link_dead = true;
    while (engine->conns) conn_end(engine->conns, why);
    (void)post(engine, drop_link, engine, NULL); /* callbacks may not free the link */
}

static ee_status ensure_link(client_engine *engine, ee_error *err) {
    drop_link(engine);
    if (engine->link) return EE_OK;
    eei_link_options options = {.url = engine->url,
                                .role = EEI_ROLE_CLIENT,
                                .release = ee_version(),
                                .judge = engine->judge,
                                .user = engine,
                                .on_open = link_open,
                                .on_control = link_control,
                                .on_opened = link_opened,
                                .on_stream = link_stream,
                                .on_closed = link_closed};
    memcpy(options.network_id, engine->network_id, sizeof options.network_id);
    ee_status st = eei_link_new(&engine->loop, &options, &engine->link, err);
    if (!st) eei_link_start(engine->link);
    return st;
}

static void start_dial(void *arg) {
    client_conn *conn = arg;
    client_engine *engine = conn->engine;
    ee_error err = {0};
    conn->next = engine->conns;
    engine->conns = conn;
    if (conn->freed_by_user || engine->stopping) {
        eei_fail(&err, EE_E_CLOSED, "the client was closed");
        conn_end(conn, &err);
        return;
    }
    if (ensure_link(engine, &err)) {
        conn_end(conn, &err);
        return;
    }
    if (engine->link_open) {
        dial_now(conn);
    } else {
        conn->next_waiting = engine->waiting;
        engine->waiting = conn;
    }
}

static ee_status conn_new(client_engine *engine, const client_dial *dial, client_conn **out, ee_error *err) {
    client_conn *conn = eei_calloc(1, sizeof *conn);
    ee_status st = conn ? client_waiter_init(&conn->waiter, err) : eei_nomem(err);
    if (st) {
        eei_free(conn);
        return st;
    }
    EE_ASSERT(dial->token.len <= sizeof conn->token);
    pthread_mutex_init(&conn->mutex, NULL);
    conn->engine = engine;
    conn->refs = 2;
    conn->splice_fd = -1;
    conn->received = (eei_buf)EEI_BUF_INIT(HELD_MAX);
    conn->held = (eei_buf)EEI_BUF_INIT(HELD_MAX);
    conn->to_send = (eei_buf)EEI_BUF_INIT_SECRET(SEND_QUEUE_MAX);
    conn->strict = dial->strict;
    memcpy(conn->node_id, dial->node_id, sizeof conn->node_id);
    conn->has_spec_hash = dial->spec_hash != NULL;
    if (dial->spec_hash) memcpy(conn->spec_hash, dial->spec_hash, sizeof conn->spec_hash);
    conn->policy = eei_policy_ref(dial->policy);
    (void)snprintf(conn->target, sizeof conn->target, "%s", dial->target);
    (void)snprintf(conn->alpn, sizeof conn->alpn, "%s", dial->alpn);
    (void)snprintf(conn->node_name, sizeof conn->node_name, "%s", dial->node_name ? dial->node_name : "");
    memcpy(conn->token, dial->token.data, dial->token.len);
    conn->open.kind = dial->kind;
    conn->open.target = eei_span_text(conn->target);
    conn->open.token = eei_span(conn->token, dial->token.len);
    memcpy(conn->open.instance_id, dial->instance_id, sizeof conn->open.instance_id);
    *out = conn;
    return EE_OK;
}

ee_status client_conn_open(client_engine *engine, const client_dial *dial, client_conn **out, ee_verdict **verdict, ee_error *err) {
    client_conn *conn = NULL;
    *out = NULL;
    if (verdict) *verdict = NULL;
    ee_status st = conn_new(engine, dial, &conn, err);
    if (st) return st;
    st = post(engine, start_dial, conn, err);
    if (st) {
        conn_unref(conn);
        conn_unref(conn);
        return st;
    }
    for (;;) {
        st = client_waiter_wait(&conn->waiter, dial->deadline_ms, dial->cancel, err);
        if (st) break;
        pthread_mutex_lock(&conn->mutex);
        conn_state state = conn->state;
        if (state == CONN_ENDED) {
            st = conn->error.status ? conn->error.status : eei_fail(err, EE_E_CLOSED, "the agent closed the connection");
            if (conn->error.status && err) *err = conn->error;
            if (verdict && conn->verdict) *verdict = ee_verdict_ref(conn->verdict);
        }
        pthread_mutex_unlock(&conn->mutex);
        if (state != CONN_DIALING) break;
    }
    if (st) {
        client_conn_free(conn);
        return st;
    }
    *out = conn;
    return EE_OK;
}

const ee_verdict *client_conn_verdict(const client_conn *conn) { return conn->verdict; }

bool client_conn_link_lost(client_conn *conn) {
    pthread_mutex_lock(&conn->mutex);
    bool lost = conn->link_lost;
    pthread_mutex_unlock(&conn->mutex);
    return lost;
}

static void user_gone(void *arg) {
    client_conn *conn = arg;
    conn->freed_by_user = true;
    pthread_mutex_lock(&conn->mutex);
    bool spliced = conn->state == CONN_SPLICED; /* goes on by itself */
    pthread_mutex_unlock(&conn->mutex);
    if (!spliced) conn_end(conn, NULL);
    conn_unref(conn);
}

void client_conn_free(client_conn *conn) {
    if (!conn) return;
    if (post(conn->engine, user_gone, conn, NULL)) conn_unref(conn); /* out of memory: it ends with the link */
}

/* ---- frames, user's thread ------------------------------------------------------------------------------------------- */

static void flush_out(void *arg) {
    client_conn *conn = arg;
    if (conn->pipe && !conn->splice) pump_out(conn);
    conn_unref(conn);
}

static void resume_in(void *arg) {
    client_conn *conn = arg;
    if (conn->pipe && !conn->splice) {
        pump_in(conn);
        if (conn->pipe) eei_pipe_flush(conn->pipe);
    }
    conn_unref(conn);
}

static ee_status post_conn(client_conn *conn, void (*fn)(void *), ee_error *err) {
    __atomic_add_fetch(&conn->refs, 1, __ATOMIC_ACQ_REL);
    ee_status st = post(conn->engine, fn, conn, err);
    if (st) conn_unref(conn);
    return st;
}

ee_status client_conn_send(client_conn *conn, uint8_t type, ee_span payload, ee_error *err) {
    pthread_mutex_lock(&conn->mutex);
    ee_status st = conn->state == CONN_OPEN ? eei_frame_encode(&conn->to_send, type, 0, 0, payload) : EE_E_CLOSED;
    pthread_mutex_unlock(&conn->mutex);
    if (st) return eei_fail(err, st, "sending to the agent: %s", ee_status_text(st));
    return post_conn(conn, flush_out, err);
}

/* Everything that came moves out of the loop's reach: the buffers change places, or what is new goes behind the start of a frame. */
static ee_status take_received(client_conn *conn, ee_error *err) {
    eei_buf_consume(&conn->held, conn->held_at);
    conn->held_at = 0;
    if (!conn->held.len) {
        eei_buf empty = conn->held;
        conn->held = conn->received;
        conn->received = empty;
        return EE_OK;
    }
    ee_status st = eei_buf_append_span(&conn->held, eei_buf_span(&conn->received));
    if (st) return eei_fail(err, st, "receiving from the agent");
    eei_buf_reset(&conn->received);
    return EE_OK;
}

/* Under mutex, all taken and no whole frame among it: why none will come. */
static ee_status why_ended(const client_conn *conn, ee_error *err) {
    if (conn->held.len > conn->held_at) return eei_fail(err, EE_E_CLOSED, "the connection ended in the middle of a message");
    if (!conn->error.status) return eei_fail(err, EE_E_END, "the agent ended the connection");
    if (err) *err = conn->error;
    return conn->error.status;
}

ee_status client_conn_receive(client_conn *conn, uint64_t deadline_ms, const ee_cancel *cancel, eei_frame *out, ee_error *err) {
    for (;;) {
        bool resume = false;
        ee_span held = eei_buf_span(&conn->held);
        eei_reader reader = eei_reader_init(eei_span(held.data ? held.data + conn->held_at : NULL, held.len - conn->held_at));
        ee_status st = eei_frame_decode(&reader, EEI_MESSAGE_BYTES_MAX, out, err);
        if (!st) conn->held_at += reader.at;
        if (st != EE_E_AGAIN) return st;
        pthread_mutex_lock(&conn->mutex);
        bool more = conn->received.len > 0;
        if (more) {
            st = take_received(conn, err);
            resume = conn->stalled;
            conn->stalled = false;
        } else if (conn->state == CONN_ENDED) {
            st = why_ended(conn, err);
        }
        pthread_mutex_unlock(&conn->mutex);
        if (resume) (void)post_conn(conn, resume_in, NULL);
        if (more && !st) continue;
        if (st == EE_E_AGAIN) st = client_waiter_wait(&conn->waiter, deadline_ms, cancel, err);
        if (st) return st;
    }
}

/* ---- sockets --------------------------------------------------------------------------------------------------------- */

static void splice_done(void *user, const ee_error *why) {
    client_conn *conn = user;
    conn->splice = NULL; /* freed by itself, with the pipe */
    conn->pipe = NULL;
    conn_end(conn, why);
}

static int take_splice_fd(client_conn *conn) {
    pthread_mutex_lock(&conn->mutex);
    int fd = conn->splice_fd;
    conn->splice_fd = -1;
    pthread_mutex_unlock(&conn->mutex);
    return fd;
}

static void start_splice(void *arg) {
    client_conn *conn = arg;
    ee_error err = {0};
    int fd = conn->pipe ? take_splice_fd(conn) : -1;
    if (fd >= 0 && eei_splice_new(conn->engine->link, conn->pipe, fd, splice_done, conn, &conn->splice, &err)) {
        close(fd);
        conn_end(conn, &err);
    }
    conn_unref(conn);
}

/* The loop does not know of it: what is left of the conn is its owner's again. Whoever took the descriptor first closes it. */
static void splice_failed(client_conn *conn) {
    int fd = take_splice_fd(conn);
    pthread_mutex_lock(&conn->mutex);
    if (conn->state == CONN_SPLICED) conn->state = CONN_OPEN;
    pthread_mutex_unlock(&conn->mutex);
    if (fd >= 0) close(fd);
}

ee_status client_conn_to_socket(client_conn *conn, int *out_fd, ee_error *err) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return eei_fail_errno(err, EE_E_IO, errno, "socketpair");
    pthread_mutex_lock(&conn->mutex);
    bool open = conn->state == CONN_OPEN;
    if (open) {
        conn->state = CONN_SPLICED;
        conn->splice_fd = fds[0];
    }
    pthread_mutex_unlock(&conn->mutex);
    if (!open) {
        close(fds[0]);
        close(fds[1]);
        return eei_fail(err, EE_E_CLOSED, "the agent closed the connection");
    }
    ee_status st = post_conn(conn, start_splice, err);
    if (st) {
        splice_failed(conn);
        close(fds[1]);
        return st;
    }
    *out_fd = fds[1];
    return EE_OK;
}

/* ---- engine ---------------------------------------------------------------------------------------------------------- */

static void link_gone(void *user) {
    client_engine *engine = user;
    uv_close((uv_handle_t *)&engine->async, NULL);
}

static void stop(void *arg) {
    client_engine *engine = arg;
    ee_error err;
    engine->stopping = true;
    eei_fail(&err, EE_E_CLOSED, "the client was closed");
    while (engine->conns) conn_end(engine->conns, &err);
    if (engine->link)
        eei_link_free(eei_take(&engine->link), link_gone, engine);
    else
        link_gone(engine);
}

static void *run(void *arg) {
    client_engine *engine = arg;
    uv_run(&engine->loop, UV_RUN_DEFAULT);
    on_async(&engine->async); /* what was posted last */
    return NULL;
}

ee_status client_engine_new(const char *url, const uint8_t network_id[32], eei_judge *judge, client_engine **out, ee_error *err) {
    client_engine *engine = eei_calloc(1, sizeof *engine);
    *out = NULL;
    if (!engine) return eei_nomem(err);
    (void)snprintf(engine->url, sizeof engine->url, "%s", url);
    memcpy(engine->network_id, network_id, sizeof engine->network_id);
    pthread_mutex_init(&engine->mutex, NULL);
    ee_status st = eei_client_ctx_new(&engine->tls, err);
    if (st) goto fail;
    if (uv_loop_init(&engine->loop) != 0) {
        st = eei_fail(err, EE_E_IO, "no event loop: %s", strerror(errno));
        goto fail;
    }
    engine->judge = eei_judge_ref(judge);
    (void)uv_async_init(&engine->loop, &engine->async, on_async);
    engine->async.data = engine;
    int rc = pthread_create(&engine->thread, NULL, run, engine);
    if (rc != 0) {
        st = eei_fail_errno(err, EE_E_IO, rc, "no thread for the client");
        uv_close((uv_handle_t *)&engine->async, NULL);
        uv_run(&engine->loop, UV_RUN_DEFAULT);
        uv_loop_close(&engine->loop);
        goto fail;
    }
    *out = engine;
    return EE_OK;
fail:
    SSL_CTX_free(engine->tls);
    eei_judge_free(engine->judge);
    pthread_mutex_destroy(&engine->mutex);
    eei_free(engine);
    return st;
}

void client_engine_free(client_engine *engine) {
    if (!engine) return;
    while (post(engine, stop, engine, NULL) != EE_OK) continue; /* out of memory: nothing else can be done but ask again */
    pthread_join(engine->thread, NULL);
    uv_loop_close(&engine->loop);
    SSL_CTX_free(engine->tls);
    eei_judge_free(engine->judge);
    pthread_mutex_destroy(&engine->mutex);
    eei_free(engine);
}
