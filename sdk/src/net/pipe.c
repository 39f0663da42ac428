/* pipe.c - an inner channel on a stream: cipher bytes both ways, slow steps on uv's workers, callbacks for the owner. No sockets.
 * Called by link.c, splice.c and the owners of pipes. Proto: docs/protocol.md#channel */
#include "base/alloc.h"
#include "net/link_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static void destroy(eei_pipe *pipe) {
    eei_channel_free(pipe->channel);
    eei_free(pipe);
}

static void enter(eei_pipe *pipe) { pipe->depth++; }

/* True when the pipe is gone and nothing of it may be touched. */
static bool leave(eei_pipe *pipe) {
    pipe->depth--;
    if (!pipe->freed || pipe->depth || pipe->working) return false;
    destroy(pipe);
    return true;
}

static void leave_lists(eei_pipe *pipe) {
    if (!pipe->link) return;
    if (pipe->prev)
        pipe->prev->next = pipe->next;
    else
        *eei_link_pipes(pipe->link) = pipe->next;
    if (pipe->next) pipe->next->prev = pipe->prev;
    if (pipe->dirty) {
        eei_pipe **at = eei_link_dirty(pipe->link);
        while (*at != pipe) at = &(*at)->next_dirty;
        *at = pipe->next_dirty;
    }
    pipe->dirty = false;
    pipe->link = NULL;
}

/* The stream goes with a reason for the peer when it did not end well. */
static void drop_stream(eei_pipe *pipe, const ee_error *why) {
    eei_stream *stream = eei_take(&pipe->stream);
    if (!stream) return;
    eei_stream_set_user(stream, NULL);
    if (why) eei_stream_reset(stream, ee_status_word(why->status));
    eei_stream_free(stream);
    if (pipe->link) eei_link_flush(pipe->link);
}

void eei_pipe_finish(eei_pipe *pipe, const ee_error *why) {
    if (pipe->ended) return;
    pipe->ended = true;
    drop_stream(pipe, why);
    leave_lists(pipe);
    enter(pipe);
    if (!pipe->freed && pipe->callbacks.on_end) pipe->callbacks.on_end(pipe->callbacks.user, why);
    leave(pipe);
}

static void finish_with(eei_pipe *pipe, ee_status st, const char *message) {
    ee_error why = {0};
    eei_fail(&why, st, "%s", message);
    eei_pipe_finish(pipe, &why);
}

void eei_pipe_free(eei_pipe *pipe) {
    if (!pipe || pipe->freed) return;
    ee_error why = {.status = EE_E_CLOSED};
    pipe->freed = true;
    if (!pipe->ended) {
        pipe->ended = true;
        drop_stream(pipe, &why);
        leave_lists(pipe);
    }
    enter(pipe);
    leave(pipe);
}

/* ---- slow steps ------------------------------------------------------------------------------------------------------- */

static void on_work(uv_work_t *work) {
    eei_pipe *pipe = work->data;
    eei_channel_work(pipe->channel);
}

static void after_work(uv_work_t *work, int status) {
    eei_pipe *pipe = work->data;
    eei_link *link = eei_take(&pipe->work_link);

    (void)status; /* never cancelled */
    pipe->working = false;
    enter(pipe);
    if (!pipe->ended) {
        (void)!eei_channel_work_done(pipe->channel, eei_mono_ms(), NULL); /* a failure is in the channel's state */
        pipe->fresh = true;
        eei_pipe_move(pipe);
    }
    leave(pipe);
    eei_link_leave(link);
}

static void start_work(eei_pipe *pipe) {
    if (pipe->working) return;
    pipe->work.data = pipe;
    if (uv_queue_work(eei_link_loop(pipe->link), &pipe->work, on_work, after_work) != 0) {
        finish_with(pipe, EE_E_INTERNAL, "no worker for the verdict");
        return;
    }
    pipe->working = true;
    pipe->work_link = pipe->link;
    eei_link_enter(pipe->link);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------ */

static void move_in(eei_pipe *pipe) {
    while (pipe->stream) {
        ee_span got = eei_stream_peek(pipe->stream);
        size_t room = eei_channel_receivable(pipe->channel);
        size_t n = got.len < room ? got.len : room;
        if (!n) break;
        ee_status st = eei_channel_receive(pipe->channel, eei_span(got.data, n), eei_mono_ms(), NULL);
        eei_stream_consume(pipe->stream, n);
        pipe->fresh = true;
        eei_link_flush(pipe->link); /* credit may be due */
        if (st) return;             /* the channel's state says why */
    }
    if (pipe->stream && !pipe->fed_end && eei_stream_at_end(pipe->stream)) {
        pipe->fed_end = true;
        eei_channel_receive_end(pipe->channel);
    }
}

static void move_out(eei_pipe *pipe) {
    while (pipe->stream) {
        ee_span cipher = eei_channel_cipher(pipe->channel);
        size_t n = cipher.len ? eei_stream_write(pipe->stream, cipher) : 0;
        if (!n) break;
        eei_channel_cipher_sent(pipe->channel, n);
        eei_link_flush(pipe->link);
    }
    bool all = !eei_channel_cipher(pipe->channel).len;
    if (pipe->stream && all && eei_channel_is_closed(pipe->channel) && !pipe->sent_end) {
        pipe->sent_end = true;
        eei_stream_close(pipe->stream);
        eei_link_flush(pipe->link);
    }
}

/* Until the owner stops taking: what it takes makes room for more to be decrypted. */
static void tell_readable(eei_pipe *pipe) {
    for (;;) {
        ee_span before = eei_channel_peek(pipe->channel);
        pipe->fresh = false;
        if (!before.len || !pipe->callbacks.on_readable) return;
        pipe->callbacks.on_readable(pipe->callbacks.user);
        if (pipe->ended) return;
        ee_span after = eei_channel_peek(pipe->channel);
        if (after.data == before.data && after.len == before.len) return;
        move_in(pipe);
    }
}

static void tell_eof(eei_pipe *pipe) {
    pipe->eof_told = true;
    if (pipe->on_eof)
        pipe->on_eof(pipe->callbacks.user);
    else
        eei_channel_close(pipe->channel);
}

static bool both_ended(const eei_pipe *pipe) { return pipe->eof_told && pipe->sent_end && pipe->fed_end; }

static void step(eei_pipe *pipe) {
    switch (eei_channel_state(pipe->channel)) {
    case EEI_CHANNEL_HANDSHAKE: return;
    case EEI_CHANNEL_NEED_VERDICT:
    case EEI_CHANNEL_NEED_QUOTE: start_work(pipe); return;
    case EEI_CHANNEL_FAILED:
        move_out(pipe); /* TLS's last words */
        eei_pipe_finish(pipe, eei_channel_error(pipe->channel));
        return;
    case EEI_CHANNEL_OPEN:
    case EEI_CHANNEL_ENDED: break;
    }
    if (!pipe->opened) {
        pipe->opened = true;
        pipe->fresh = true;
        if (pipe->callbacks.on_open) pipe->callbacks.on_open(pipe->callbacks.user);
    }
    if (!pipe->ended && pipe->fresh) tell_readable(pipe);
    if (!pipe->ended && eei_channel_take_short(pipe->channel) && pipe->callbacks.on_writable)
        pipe->callbacks.on_writable(pipe->callbacks.user);
    if (!pipe->ended && !pipe->eof_told && eei_channel_state(pipe->channel) == EEI_CHANNEL_ENDED) tell_eof(pipe);
}

void eei_pipe_move(eei_pipe *pipe) {
    if (pipe->ended) return;
    enter(pipe);
    move_in(pipe);
    move_out(pipe);
    step(pipe);
    if (!pipe->ended) move_in(pipe); /* the owner made room, or close_notify is all that is left */
    if (!pipe->ended) move_out(pipe);
    if (!pipe->ended && eei_channel_state(pipe->channel) == EEI_CHANNEL_FAILED) step(pipe);
    if (!pipe->ended && both_ended(pipe)) eei_pipe_finish(pipe, NULL);
    leave(pipe);
}

/* ---- events ----------------------------------------------------------------------------------------------------------- */

/* "app_unavailable: web is not running" keeps its status, and its words: whoever hears it sooner, in a frame, hears the same. Any other
 * text is just why. */
static void reset_error(const char *reason, ee_error *out) {
    char word[32];
    const char *colon = strstr(reason, ": ");
    size_t len = colon ? (size_t)(colon - reason) : strlen(reason);
    ee_status st = EE_E_CLOSED;

    if (len < sizeof word) {
        snprintf(word, sizeof word, "%.*s", (int)len, reason);
        ee_status named = eei_status_from_word(word);
        if (named && !strcmp(ee_status_word(named), word)) st = named;
    }
    if (colon && st != EE_E_CLOSED)
        eei_fail(out, st, "%s", colon + 2);
    else
        eei_fail(out, st, "stream was reset: %s", reason[0] ? reason : "no reason given");
}

void eei_pipe_event(eei_pipe *pipe, eei_mux_event_kind kind) {
    ee_error why;

    if (pipe->ended) return;
    if (kind != EEI_MUX_RESET) {
        eei_pipe_move(pipe);
        return;
    }
    if (pipe->eof_told && pipe->sent_end) { /* both TLS goodbyes were said: the peer only let go a little early */
        eei_pipe_finish(pipe, NULL);
        return;
    }
    reset_error(eei_link_reset_reason(pipe->link), &why);
    eei_pipe_finish(pipe, &why);
}

void eei_pipe_tick(eei_pipe *pipe, uint64_t now_ms) {
    uint64_t due = eei_channel_deadline_ms(pipe->channel);

    if (now_ms >= due)
        finish_with(pipe, EE_E_TIMEOUT, "inner channel was not proved in time");
    else
        eei_link_due(pipe->link, due);
}

void eei_pipe_flush(eei_pipe *pipe) {
    if (pipe->ended) return;
    pipe->fresh = true;
    if (!pipe->dirty) {
        pipe->dirty = true;
        pipe->next_dirty = *eei_link_dirty(pipe->link);
        *eei_link_dirty(pipe->link) = pipe;
    }
    eei_link_flush(pipe->link);
}

void eei_pipe_hand_over(eei_pipe *pipe, const eei_pipe_callbacks *callbacks, void (*on_eof)(void *user)) {
    pipe->callbacks = *callbacks;
    pipe->on_eof = on_eof;
}

eei_channel *eei_pipe_channel(const eei_pipe *pipe) { return pipe->channel; }

ee_status eei_pipe_new(eei_link *link, eei_stream *stream, eei_channel *channel, const eei_pipe_callbacks *callbacks, eei_pipe **out,
                       ee_error *err) {
    eei_pipe *pipe = eei_calloc(1, sizeof *pipe);

    *out = NULL;
    if (!pipe) return eei_nomem(err);
    pipe->link = link;
    pipe->stream = stream;
    pipe->channel = channel;
    pipe->callbacks = *callbacks;
    pipe->next = *eei_link_pipes(link);
    if (pipe->next) pipe->next->prev = pipe;
    *eei_link_pipes(link) = pipe;
    eei_stream_set_user(stream, pipe);
    eei_link_due(link, eei_channel_deadline_ms(channel));
    eei_pipe_flush(pipe); /* first flight, or what has arrived already */
    *out = pipe;
    return EE_OK;
}
