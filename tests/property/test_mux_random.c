/* test_mux_random.c - random histories of two connections, and of four with a relay between, under a fake clock and any cut of the
 * messages: bytes come out as they went in, credit is conserved, nothing leaks, small writes do not wait long. Not for single rules
 * (test_mux.c). EE_SEED=n replays one history; the seed of each is printed. */

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/clock.h"
#include "mux/mux_internal.h"
#include "support/mux_pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TALKS_MAX = 64, QUEUE_MAX = 256, STEPS = 3000, HISTORIES = 24 };

static uint64_t rng_state;

static uint64_t rng(void) { /* xorshift64* */
    rng_state ^= rng_state >> 12;
    rng_state ^= rng_state << 25;
    rng_state ^= rng_state >> 27;
    return rng_state * 2685821657736338717ull;
}

static size_t below(size_t n) { return (size_t)(rng() >> 33) % n; }

/* Many small, some large. */
static size_t some_bytes(size_t max) {
    switch (below(4)) {
    case 0: return below(4);
    case 1: return below(600);
    case 2: return below(20000);
    default: return below(max);
    }
}

/* One conversation: an end on each side, and for each direction (0: left to right) what went in and came out. */
typedef struct talk {
    bool used, broken, stalled[2];
    eei_stream *end[2];
    bool closed[2];
    uint64_t written[2], read[2];
} talk;

typedef struct wire { /* one direction of one connection: whole messages in order */
    eei_mux *from, *to;
    eei_buf messages[QUEUE_MAX];
    size_t first, count;
} wire;

typedef struct world {
    bool relayed, resets;
    uint64_t now_ms;
    eei_mux *mux[4]; /* left, right; with a relay also the two in the middle */
    size_t mux_count;
    eei_mux *side[2];
    wire wires[4];
    size_t wires_count;
    talk talks[TALKS_MAX];
    size_t talks_count;
    size_t control_sent, control_seen;
} world;

static uint8_t byte_at(size_t number, int direction, uint64_t at) {
    return (uint8_t)(at * 31 + (at >> 8) + number * 7 + (size_t)direction * 101);
}

/* ---- building ---- */

static eei_mux *make(world *w, bool dialed) {
    static const uint32_t windows[] = {0, 0, 1000, 300000, 1u << 20};
    eei_mux_options options = {.dialed = dialed, .dead_ms = UINT32_MAX};
    eei_mux *mux = NULL;
    ee_error err = {0};

    options.window = windows[below(w->mux_count < 2 ? 5 : 3)]; /* a relay grants no more than the fixed window */
    options.window_max = below(2) ? 0 : 2u << 20;
    if (eei_mux_new(&options, w->now_ms, &mux, &err)) fail_msg("%s", err.message);
    w->mux[w->mux_count++] = mux;
    return mux;
}

static void connect_muxes(world *w, eei_mux *a, eei_mux *b) {
    w->wires[w->wires_count].from = a;
    w->wires[w->wires_count++].to = b;
    w->wires[w->wires_count].from = b;
    w->wires[w->wires_count++].to = a;
}

static void build(world *w, bool relayed, bool resets) {
    memset(w, 0, sizeof *w);
    w->relayed = relayed;
    w->resets = resets;
    w->now_ms = 1000;
    w->side[0] = make(w, true);
    w->side[1] = make(w, relayed);
    if (!relayed) {
        connect_muxes(w, w->side[0], w->side[1]);
        return;
    }
    eei_mux *a = make(w, false), *b = make(w, false);
    connect_muxes(w, w->side[0], a);
    connect_muxes(w, b, w->side[1]);
}

/* ---- moving ---- */

static void wire_put(wire *line, ee_span message) {
    assert_true(line->count < QUEUE_MAX);
    eei_buf *slot = &line->messages[(line->first + line->count++) % QUEUE_MAX];
    *slot = (eei_buf)EEI_BUF_INIT(2 * EEI_WS_MESSAGE_MAX);
    assert_int_equal(eei_buf_append_span(slot, message), EE_OK);
}

/* One transmit, cut between frames where chance has it. */
static bool step_transmit(world *w, wire *line) {
    eei_buf out = EEI_BUF_INIT(2 * EEI_WS_MESSAGE_MAX);
    size_t max = below(3) ? 13 + below(40000) : EEI_WS_MESSAGE_MAX, cut = 0;
    ee_error err = {0};

    if (line->count + 40 > QUEUE_MAX) return false;
    if (eei_mux_transmit(line->from, &out, max, w->now_ms, &err)) fail_msg("transmit: %s", err.message);
    assert_true(out.len <= (max > 5000 ? max : 5000));
    bool any = out.len > 0;
    eei_reader r = eei_reader_init(eei_buf_span(&out));
    while (eei_reader_left(&r) > 0) {
        eei_frame frame;
        assert_int_equal(eei_frame_decode(&r, EEI_FRAME_PAYLOAD_MAX, &frame, &err), EE_OK);
        if (below(4) && eei_reader_left(&r) > 0) continue;
        if (line->count + 1 >= QUEUE_MAX && eei_reader_left(&r) > 0) continue;
        wire_put(line, eei_span(out.data + cut, r.at - cut));
        cut = r.at;
    }
    eei_buf_clear(&out);
    return any;
}

static bool step_deliver(world *w, wire *line) {
    ee_error err = {0};

    if (line->count == 0) return false;
    eei_buf *message = &line->messages[line->first];
    if (eei_mux_receive(line->to, eei_buf_span(message), w->now_ms, &err)) fail_msg("receive: %s", err.message);
    eei_buf_clear(message);
    line->first = (line->first + 1) % QUEUE_MAX;
    line->count--;
    return true;
}

/* ---- users ---- */

static void let_go(world *w, size_t number, int side) {
    talk *t = &w->talks[number];
    eei_stream_free(t->end[side]);
    t->end[side] = NULL;
}

static void relay_event(world *w, eei_mux *mux, const eei_mux_event *event) {
    eei_mux *other = mux == w->mux[2] ? w->mux[3] : w->mux[2];
    eei_stream *twin = NULL;
    ee_error err = {0};

    if (event->kind == EEI_MUX_OPENED) {
        if (eei_mux_open_relay(event->stream, other, event->frame.payload, &twin, &err)) fail_msg("relay: %s", err.message);
    } else if (event->kind == EEI_MUX_RESET) {
        if (!w->resets) fail_msg("relay reset: %.*s", (int)event->frame.payload.len, (const char *)event->frame.payload.data);
        eei_stream_free(event->stream);
    } else if (event->kind == EEI_MUX_READABLE) {
        assert_true(eei_stream_at_end(event->stream));
        eei_stream_free(event->stream);
    }
}

static void user_event(world *w, int side, const eei_mux_event *event) {
    uint32_t number;

    if (event->kind == EEI_MUX_CONTROL) {
        w->control_seen++;
        return;
    }
    if (event->kind == EEI_MUX_OPENED) {
        assert_int_equal(event->frame.payload.len, sizeof number);
        memcpy(&number, event->frame.payload.data, sizeof number);
        eei_stream_set_user(event->stream, &w->talks[number]);
        if (w->talks[number].broken || (w->resets && below(20) == 0)) {
            w->talks[number].broken = true;
            eei_stream_free(event->stream); /* inside the handling of its own event */
        } else {
            w->talks[number].end[side] = event->stream;
        }
        return;
    }
    talk *t = eei_stream_user(event->stream);
    assert_ptr_equal(t->end[side], event->stream); /* never an event of one that was freed */
    if (event->kind == EEI_MUX_RESET) {
        if (!w->resets) fail_msg("reset: %.*s", (int)event->frame.payload.len, (const char *)event->frame.payload.data);
        t->broken = true;
        let_go(w, (size_t)(t - w->talks), side);
    }
}

static void take_events(world *w) {
    eei_mux_event event;

    for (size_t i = 0; i < w->mux_count; i++) {
        while (eei_mux_next_event(w->mux[i], &event)) {
            if (i >= 2)
                relay_event(w, w->mux[i], &event);
            else
                user_event(w, (int)i, &event);
        }
    }
}

static void step_open(world *w) {
    eei_stream *stream = NULL;
    ee_error err = {0};
    uint32_t number = (uint32_t)w->talks_count;
    int side = (int)below(2);

    if (w->talks_count == TALKS_MAX) return;
    if (eei_mux_open(w->side[side], eei_span(&number, sizeof number), &stream, &err)) fail_msg("open: %s", err.message);
    talk *t = &w->talks[w->talks_count++];
    t->used = true;
    t->end[side] = stream;
    t->stalled[0] = below(6) == 0;
    t->stalled[1] = below(6) == 0;
    eei_stream_set_user(stream, t);
}

static void write_some(world *w, size_t number, int side, size_t len) {
    static uint8_t data[400000];
    talk *t = &w->talks[number];

    if (!t->end[side] || t->closed[side]) return;
    for (size_t i = 0; i < len; i++) data[i] = byte_at(number, side, t->written[side] + i);
    size_t taken = eei_stream_write(t->end[side], eei_span(data, len));
    assert_true(taken <= len);
    t->written[side] += taken;
}

static void read_some(world *w, size_t number, int side, size_t max) {
    talk *t = &w->talks[number];

    while (t->end[side] && max > 0) {
        ee_span front = eei_stream_peek(t->end[side]);
        size_t n = front.len < max ? front.len : max;
        if (n == 0) return;
        for (size_t i = 0; i < n; i++)
            if (front.data[i] != byte_at(number, 1 - side, t->read[1 - side] + i)) fail_msg("talk %zu: byte %zu is wrong", number, i);
        t->read[1 - side] += n;
        assert_true(t->read[1 - side] <= t->written[1 - side]);
        eei_stream_consume(t->end[side], n);
        max -= n;
    }
}

static void close_one(world *w, size_t number, int side) {
    talk *t = &w->talks[number];
    if (!t->end[side]) return;
    eei_stream_close(t->end[side]);
    t->closed[side] = true;
}

static void step_user(world *w) {
    if (w->talks_count == 0) return;
    size_t number = below(w->talks_count);
    int side = (int)below(2);
    talk *t = &w->talks[number];

    switch (below(20)) {
    case 0: close_one(w, number, side); break;
    case 1:
        if (!w->resets || below(8)) break;
        if (!t->end[side]) break;
        t->broken = true;
        eei_stream_reset(t->end[side], "chance");
        if (below(2)) let_go(w, number, side);
        break;
    case 2:
        if (!w->resets || below(8) || !t->end[side]) break;
        t->broken = true;
        let_go(w, number, side);
        break;
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
    case 9: write_some(w, number, side, some_bytes(400000)); break;
    default:
        if (!t->stalled[side]) read_some(w, number, side, some_bytes(400000));
    }
}

/* ---- what must always hold ---- */

static void check_mux(const eei_mux *mux) {
    size_t in = 0, out = 0, relay = 0, windows = 0, count = 0;

    for (mux_link *link = mux->streams.next; link != &mux->streams; link = link->next, count++) {
        const eei_stream *s = mux_owner(link, eei_stream, all);
        bool receiving = s->state == STREAM_OPEN || s->state == STREAM_LOCAL_CLOSED;
        in += s->in.len;
        out += s->out.len;
        windows += s->window;
        if (s->relayed) relay += s->out.len;
        assert_true((s->in.len == 0) == (s->in.head == NULL));
        assert_true((s->out.len == 0) == (s->out.head == NULL));
        assert_true(s->out.len <= (s->relayed ? EEI_STREAM_WINDOW_MAX : MUX_SEND_QUEUE_MAX));
        assert_true(s->credit + s->out.len <= EEI_STREAM_WINDOW_MAX);
        if (s->out.len > 0 || s->close_unsent) assert_true(mux_linked(&s->sched));
        if (s->open_unsent || s->reset_unsent || (s->grant_unsent > 0 && receiving)) assert_true(mux_linked(&s->control));
        if (!s->relayed && receiving) assert_int_equal((size_t)s->granted + s->grant_unsent + s->ungranted + s->in.len, s->window);
        if (!s->relayed) assert_true(s->orphan || s->state == STREAM_DEAD || s->in.len <= s->window);
        if (s->relayed && s->twin && receiving) assert_int_equal(s->granted + s->grant_unsent, s->twin->credit);
    }
    assert_int_equal(in, mux->in_bytes);
    assert_int_equal(out, mux->out_bytes);
    assert_int_equal(relay, mux->relay_bytes);
    assert_int_equal(windows, mux->windows);
    assert_int_equal(count, mux->streams_count);
    assert_true(in + relay <= EEI_SESSION_BUFFER_MAX);
}

/* Credit is conserved on a hop: what the sender has or has queued, and what is on the wire both ways, is what the receiver granted. */
static void check_hop(const wire *there, const wire *back) {
    static uint64_t data[2 * TALKS_MAX * 2 + 8], grants[2 * TALKS_MAX * 2 + 8];
    static bool opening[2 * TALKS_MAX * 2 + 8];
    ee_error err;

    memset(data, 0, sizeof data);
    memset(grants, 0, sizeof grants);
    memset(opening, 0, sizeof opening);
    for (int way = 0; way < 2; way++) {
        const wire *line = way ? back : there;
        for (size_t i = 0; i < line->count; i++) {
            eei_reader r = eei_reader_init(eei_buf_span(&line->messages[(line->first + i) % QUEUE_MAX]));
            while (eei_reader_left(&r) > 0) {
                eei_frame f;
                assert_int_equal(eei_frame_decode(&r, EEI_FRAME_PAYLOAD_MAX, &f, &err), EE_OK);
                if (f.stream >= sizeof data / sizeof data[0]) fail_msg("stream %u", f.stream);
                eei_reader p = eei_reader_init(f.payload);
                if (f.type == EEI_FRAME_OPEN) opening[f.stream] = true;
                if (f.type == EEI_FRAME_DATA && !way) data[f.stream] += f.payload.len;
                if (f.type == EEI_FRAME_WINDOW && way) grants[f.stream] += eei_read_u32be(&p);
            }
        }
    }
    for (mux_link *link = there->from->streams.next; link != &there->from->streams; link = link->next) {
        const eei_stream *s = mux_owner(link, eei_stream, all);
        if (s->state != STREAM_OPEN || s->open_unsent || opening[s->id] || !s->listed) continue;
        const eei_stream *peer = mux_table_find(mux_table_of(there->to, s->id), s->id);
        if (!peer || (peer->state != STREAM_OPEN && peer->state != STREAM_LOCAL_CLOSED)) continue;
        assert_int_equal((uint64_t)s->credit + s->out.len + data[s->id] + grants[s->id], peer->granted);
    }
}

static void check_all(const world *w) {
    for (size_t i = 0; i < w->mux_count; i++) check_mux(w->mux[i]);
    for (size_t i = 0; i < w->wires_count; i += 2) {
        check_hop(&w->wires[i], &w->wires[i + 1]);
        check_hop(&w->wires[i + 1], &w->wires[i]);
    }
}

/* ---- one history ---- */

static void step(world *w) {
    ee_error err = {0};

    switch (below(12)) {
    case 0:
        if (below(4) == 0) step_open(w);
        break;
    case 1:
    case 2:
    case 3: step_transmit(w, &w->wires[below(w->wires_count)]); break;
    case 4:
    case 5:
    case 6: step_deliver(w, &w->wires[below(w->wires_count)]); break;
    case 7: w->now_ms += below(50); break;
    case 8:
        if (below(10) == 0 && eei_mux_send_control(w->side[below(2)], EEI_FRAME_JOB, 0, eei_span("job", 3), &err) == EE_OK)
            w->control_sent++;
        if (below(10) == 0) w->now_ms += 15000;
        for (size_t i = 0; i < w->mux_count; i++)
            if (eei_mux_tick(w->mux[i], w->now_ms, &err)) fail_msg("tick: %s", err.message);
        break;
    default: step_user(w);
    }
    if (below(3)) take_events(w);
}

static void drain(world *w, bool stalled_too) {
    bool moved = true;

    while (moved) {
        moved = false;
        w->now_ms += below(20);
        for (size_t n = 0; n < w->talks_count; n++)
            for (int side = 0; side < 2; side++)
                if (stalled_too || !w->talks[n].stalled[side]) read_some(w, n, side, SIZE_MAX);
        for (size_t i = 0; i < w->wires_count; i++) {
            moved |= step_transmit(w, &w->wires[i]);
            while (step_deliver(w, &w->wires[i])) moved = true;
        }
        take_events(w);
    }
}

/* While some readers take nothing, every other one has everything. */
static void check_stalled_block_nobody(world *w) {
    drain(w, false);
    for (size_t n = 0; n < w->talks_count; n++)
        for (int side = 0; side < 2; side++)
            if (!w->talks[n].broken && !w->talks[n].stalled[side])
                assert_int_equal(w->talks[n].read[1 - side], w->talks[n].written[1 - side]);
}

static void check_ends(world *w) {
    for (size_t n = 0; n < w->talks_count; n++) {
        talk *t = &w->talks[n];
        if (t->broken) continue;
        for (int side = 0; side < 2; side++) {
            assert_non_null(t->end[side]);
            if (t->read[1 - side] != t->written[1 - side])
                fail_msg("talk %zu: %llu of %llu bytes arrived", n, (unsigned long long)t->read[1 - side],
                         (unsigned long long)t->written[1 - side]);
            assert_int_equal(eei_stream_at_end(t->end[side]), t->closed[1 - side]);
            const eei_stream *s = t->end[side], *peer = t->end[1 - side];
            if (!t->closed[side] && eei_stream_writable(s) == 0) /* everybody may go on */
                fail_msg("talk %zu: side %d is stuck: credit %u, queued %zu, window %u, granted %u, unsent %u, ungranted %u", n, side,
                         s->credit, s->out.len, peer->window, peer->granted, peer->grant_unsent, peer->ungranted);
        }
    }
}

static void finish(world *w) {
    for (size_t n = 0; n < w->talks_count; n++)
        for (int side = 0; side < 2; side++) close_one(w, n, side);
    drain(w, true);
    check_ends(w);
    for (size_t n = 0; n < w->talks_count; n++)
        for (int side = 0; side < 2; side++)
            if (w->talks[n].end[side]) let_go(w, n, side);
    drain(w, true);
    check_all(w);
    for (size_t i = 0; i < w->mux_count; i++) { /* no stream is left behind, no block, no window */
        eei_mux_stats stats;
        eei_mux_get_stats(w->mux[i], &stats);
        assert_int_equal(stats.streams, 0);
        assert_int_equal(stats.buffered, 0);
        assert_int_equal(w->mux[i]->windows, 0);
        assert_null(w->mux[i]->ours.at);
        assert_null(w->mux[i]->theirs.at);
        assert_false(eei_mux_wants_transmit(w->mux[i]));
    }
    if (!w->relayed) assert_int_equal(w->control_seen, w->control_sent);
}

static void tear_down(world *w) {
    for (size_t i = 0; i < w->wires_count; i++)
        while (w->wires[i].count > 0) {
            eei_buf_clear(&w->wires[i].messages[w->wires[i].first]);
            w->wires[i].first = (w->wires[i].first + 1) % QUEUE_MAX;
            w->wires[i].count--;
        }
    while (w->mux_count > 0) { /* in any order */
        size_t i = below(w->mux_count);
        eei_mux_free(w->mux[i]);
        w->mux[i] = w->mux[--w->mux_count];
    }
}

static void one_history(uint64_t seed, bool relayed, bool resets) {
    static world w;

    print_message("EE_SEED=%llu %s%s\n", (unsigned long long)seed, relayed ? "relay" : "pair", resets ? " with resets" : "");
    rng_state = seed * 4 + relayed * 2u + resets + 1;
    for (int i = 0; i < 8; i++) rng();
    build(&w, relayed, resets);
    for (int i = 0; i < STEPS; i++) {
        step(&w);
        if (i % 16 == 0) check_all(&w);
    }
    if (below(4)) { /* else: torn down in the middle of everything */
        check_stalled_block_nobody(&w);
        drain(&w, true);
        check_ends(&w);
        finish(&w);
    }
    tear_down(&w);
}

static uint64_t first_seed(size_t *count) {
    const char *given = getenv("EE_SEED");
    uint64_t seed = 0;
    ee_error err = {0};

    *count = given ? 1 : HISTORIES;
    if (given) return strtoull(given, NULL, 10);
    assert_int_equal(eei_random(&seed, sizeof seed, &err), EE_OK);
    return seed >> 24;
}

static void test_random_histories(void **state) {
    (void)state;
    size_t count;
    uint64_t seed = first_seed(&count);
    for (size_t i = 0; i < count; i++)
        for (int kind = 0; kind < 4; kind++) one_history(seed + i, kind & 1, kind & 2);
}

/* ---- fairness ---- */

/* However it is cut: between a small write on an idle stream and its first byte out, each bulk stream sends at most one quantum, each
 * other sparse one at most two (the rest of this round and the next). */
static void one_race(uint64_t seed) {
    enum { RACERS = 12 };
    static uint8_t zeros[100000];
    static mux_sent sent;
    eei_mux_options options = {.dialed = true};
    eei_stream *s[RACERS];
    size_t since[RACERS] = {0};
    bool bulk[RACERS], waiting = false;
    eei_mux *mux = NULL;
    ee_error err = {0};

    print_message("EE_SEED=%llu race\n", (unsigned long long)seed);
    rng_state = seed * 4 + 1;
    for (int i = 0; i < 8; i++) rng();
    assert_int_equal(eei_mux_new(&options, 0, &mux, &err), EE_OK);
    for (int i = 0; i < RACERS; i++) {
        assert_int_equal(eei_mux_open(mux, eei_span("", 0), &s[i], &err), EE_OK);
        bulk[i] = below(2);
    }
    mux_sent_take_all(&sent, mux, 0);
    for (int turn = 0; turn < 2000; turn++) {
        for (int i = 1; i < RACERS; i++) {
            if (s[i]->credit < 150000) assert_int_equal(mux_inject_window(mux, eei_stream_id(s[i]), 150000, &err), EE_OK);
            if (bulk[i])
                while (s[i]->out.len < 2 * MUX_SPARSE_BYTES) eei_stream_write(s[i], eei_span(zeros, 50000));
            else if (below(2))
                eei_stream_write(s[i], eei_span(zeros, below(MUX_SPARSE_BYTES - s[i]->out.len)));
        }
        if (!waiting && below(3) == 0) {
            size_t n = 1 + below(3000);
            if (s[0]->credit < n) assert_int_equal(mux_inject_window(mux, eei_stream_id(s[0]), 100000, &err), EE_OK);
            if (s[0]->out.len == 0) {
                assert_int_equal(eei_stream_write(s[0], eei_span(zeros, n)), n);
                waiting = true;
                memset(since, 0, sizeof since);
            }
        }
        mux_sent_take(&sent, mux, 13 + below(60000), 0);
        for (size_t i = 0; i < sent.count; i++) {
            if (sent.frames[i].type != EEI_FRAME_DATA) continue;
            size_t who = (sent.frames[i].stream - 1) / 2;
            if (who == 0) waiting = false;
            since[who] += sent.frames[i].payload.len;
            if (waiting && since[who] > (bulk[who] ? 1 : 2) * MUX_QUANTUM)
                fail_msg("turn %d: stream %zu sent %zu bytes before a small write went out", turn, who, since[who]);
        }
    }
    eei_mux_free(mux);
    mux_sent_clear(&sent);
    memset(&sent, 0, sizeof sent);
}

static void test_small_writes_wait_for_one_quantum_each(void **state) {
    (void)state;
    size_t count;
    uint64_t seed = first_seed(&count);
    for (size_t i = 0; i < (count + 3) / 4; i++) one_race(seed + i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_histories),
        cmocka_unit_test(test_small_writes_wait_for_one_quantum_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
