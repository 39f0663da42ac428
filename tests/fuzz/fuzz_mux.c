/* fuzz_mux.c - two connections with a relay between them, both ends of which are the fuzzer: any frames, any calls, in any order.
 * Not for the frame header alone. Called by libFuzzer, or by standalone_driver.c over the corpus.
 * The input is a program: one byte says what to do, its arguments follow. tests/fuzz/corpus/fuzz_mux holds short ones. */
#include "mux/mux_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOTS = 16, OPS_MAX = 400 };

typedef struct fuzz {
    eei_reader in;
    eei_mux *mux[2];
    uint32_t next_id[2];
    eei_stream *slots[SLOTS];
    eei_buf out;
    uint64_t now_ms;
} fuzz;

static const uint8_t zeros[EEI_FRAME_PAYLOAD_MAX];

#define MUST(condition)                                                                                                                    \
    do {                                                                                                                                   \
        if (!(condition)) abort();                                                                                                         \
    } while (0)

static void any(ee_status st) { (void)st; } /* whatever it says: what must hold is checked after */

static size_t checked(const eei_stream *s) {
    bool receiving = s->state == STREAM_OPEN || s->state == STREAM_LOCAL_CLOSED;
    MUST(s->out.len <= EEI_STREAM_WINDOW_MAX && s->in.len <= EEI_STREAM_WINDOW_MAX);
    MUST((uint64_t)s->credit + s->out.len <= EEI_STREAM_WINDOW_MAX);
    if (s->state == STREAM_DEAD) MUST(s->in.len + s->out.len == 0 && !s->listed);
    if (!s->relayed && receiving) MUST((size_t)s->granted + s->grant_unsent + s->ungranted + s->in.len == s->window);
    if (s->relayed && s->twin && receiving) MUST(s->granted + s->grant_unsent == s->twin->credit);
    if (s->twin) MUST(s->twin->twin == s && s->twin->mux != s->mux);
    return s->in.len + (s->relayed ? s->out.len : 0);
}

static void check(const eei_mux *mux) {
    size_t held = 0, count = 0;
    for (mux_link *link = mux->streams.next; link != &mux->streams; link = link->next, count++)
        held += checked(mux_owner(link, eei_stream, all));
    MUST(held == mux->in_bytes + mux->relay_bytes && held <= EEI_SESSION_BUFFER_MAX);
    MUST(count == mux->streams_count && count <= 2 * mux->options.streams_max);
    MUST(mux->control_bytes <= MUX_CONTROL_QUEUE_MAX + EEI_WS_MESSAGE_MAX && mux->control_event_bytes <= MUX_CONTROL_EVENTS_MAX);
}

static void renew(fuzz *f, size_t which) {
    eei_mux_options options = {.dialed = which == 1, .streams_max = 8, .window = eei_read_u8(&f->in) * 4096u};

    for (int i = 0; i < SLOTS; i++)
        if (f->slots[i] && f->slots[i]->mux == f->mux[which]) f->slots[i] = NULL;
    eei_mux_free(f->mux[which]);
    f->mux[which] = NULL;
    f->next_id[which] = which == 0 ? 1 : 2;
    if (eei_mux_new(&options, f->now_ms, &f->mux[which], NULL) == EE_OK) return;
    eei_alloc_fail_at(0);
    MUST(eei_mux_new(&options, f->now_ms, &f->mux[which], NULL) == EE_OK);
}

static void take_events(fuzz *f, size_t which) {
    eei_mux_event event;

    for (uint8_t left = eei_read_u8(&f->in); left > 0 && eei_mux_next_event(f->mux[which], &event); left--) {
        if (event.kind == EEI_MUX_OPENED) {
            eei_stream **slot = &f->slots[event.frame.stream % SLOTS];
            if (*slot)
                eei_stream_free(event.stream);
            else
                *slot = event.stream;
        }
        if (event.frame.payload.len > 0) (void)eei_utf8_valid(event.frame.payload); /* reads all of it */
        if (event.kind != EEI_MUX_RESET) continue;
        for (int i = 0; i < SLOTS; i++)
            if (f->slots[i] == event.stream) f->slots[i] = NULL;
        eei_stream_free(event.stream);
    }
}

static void receive(fuzz *f, size_t which, uint8_t type, uint16_t flags, uint32_t stream, ee_span payload) {
    eei_buf message = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX);

    if (eei_frame_encode(&message, type, flags, stream, payload) == EE_OK)
        any(eei_mux_receive(f->mux[which], eei_buf_span(&message), f->now_ms, NULL));
    eei_buf_clear(&message);
}

static void receive_u32(fuzz *f, size_t which, uint8_t type, uint32_t stream, uint32_t value) {
    const uint8_t be[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    receive(f, which, type, 0, stream, eei_span(be, sizeof be));
}

static void keep(fuzz *f, eei_stream *stream) {
    for (int i = 0; i < SLOTS; i++) {
        if (f->slots[i]) continue;
        f->slots[i] = stream;
        return;
    }
    eei_stream_free(stream);
}

static void use_stream(fuzz *f, size_t which) {
    eei_stream **slot = &f->slots[eei_read_u8(&f->in) % SLOTS], *twin = NULL;
    uint8_t what = eei_read_u8(&f->in);
    size_t len = eei_read_u16be(&f->in);

    if (!*slot) return;
    switch (what % 8) {
    case 0: (void)eei_stream_write(*slot, eei_span(zeros, len)); break;
    case 1: eei_stream_consume(*slot, len); break;
    case 2:
        while (eei_stream_peek(*slot).len > 0) eei_stream_consume(*slot, eei_stream_peek(*slot).len);
        break;
    case 3: eei_stream_close(*slot); break;
    case 4: eei_stream_reset(*slot, "fuzz"); break;
    case 5:
        eei_stream_free(*slot);
        *slot = NULL;
        break;
    case 6:
        if (eei_mux_open_relay(*slot, f->mux[which], eei_span(zeros, len % 5000), &twin, NULL) == EE_OK) keep(f, twin);
        break;
    default: (void)eei_stream_at_end(*slot); break;
    }
}

static void run_one(fuzz *f) {
    uint8_t op = eei_read_u8(&f->in);
    size_t which = op & 1;
    eei_stream *stream = NULL;
    ee_span bytes;

    switch ((op >> 1) % 12) {
    case 0: /* anything at all */
        bytes = eei_read_span(&f->in, eei_read_u16be(&f->in));
        any(eei_mux_receive(f->mux[which], bytes, f->now_ms, NULL));
        break;
    case 1: { /* any frame */
        uint8_t type = eei_read_u8(&f->in), flags = eei_read_u8(&f->in), id = eei_read_u8(&f->in);
        receive(f, which, type % 40, (uint16_t)(flags << 8), id % 24, eei_span(zeros, eei_read_u16be(&f->in)));
        break;
    }
    case 2: /* a good OPEN */
        receive_u32(f, which, EEI_FRAME_OPEN, f->next_id[which], eei_read_u32be(&f->in) % (2 * EEI_STREAM_WINDOW_MAX));
        f->next_id[which] += 2;
        break;
    case 3: receive(f, which, EEI_FRAME_DATA, 0, eei_read_u8(&f->in) % 24u, eei_span(zeros, eei_read_u16be(&f->in) % 16384u)); break;
    case 4: {
        uint32_t id = eei_read_u8(&f->in) % 24u;
        receive_u32(f, which, EEI_FRAME_WINDOW, id, eei_read_u32be(&f->in));
        break;
    }
    case 5:
        receive(f, which, eei_read_u8(&f->in) & 1 ? EEI_FRAME_CLOSE : EEI_FRAME_RESET, 0, eei_read_u8(&f->in) % 24u, eei_span("", 0));
        break;
    case 6:
        eei_buf_reset(&f->out);
        any(eei_mux_transmit(f->mux[which], &f->out, eei_read_u16be(&f->in), f->now_ms, NULL));
        break;
    case 7: take_events(f, which); break;
    case 8: use_stream(f, which); break;
    case 9:
        if (eei_mux_open(f->mux[which], eei_span(zeros, eei_read_u8(&f->in)), &stream, NULL) == EE_OK) keep(f, stream);
        break;
    case 10:
        f->now_ms += eei_read_u16be(&f->in);
        any(eei_mux_tick(f->mux[which], f->now_ms, NULL));
        any(eei_mux_send_control(f->mux[which], eei_read_u8(&f->in), 0, eei_span(zeros, 100), NULL));
        break;
    default:
        if (eei_read_u8(&f->in) < 16)
            renew(f, which);
        else
            eei_alloc_fail_at(1 + eei_read_u8(&f->in) % 8u);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz f = {.in = eei_reader_init(eei_span(data, size)), .out = EEI_BUF_INIT(EEI_WS_MESSAGE_MAX), .now_ms = 1000};

    renew(&f, 0);
    renew(&f, 1);
    for (int i = 0; i < OPS_MAX && eei_reader_left(&f.in) > 0; i++) {
        run_one(&f);
        check(f.mux[0]);
        check(f.mux[1]);
    }
    eei_alloc_fail_at(0);
    eei_mux_free(f.mux[0]);
    eei_mux_free(f.mux[1]);
    eei_buf_clear(&f.out);
    return 0;
}
