/* mux_internal.h - what mux.c, stream.c, transmit.c and queue.c share: lists, byte queues, the stream and the connection.
 * Not for anybody outside sdk/src/mux. Proto: docs/protocol.md#streams */
#ifndef EEI_MUX_INTERNAL_H
#define EEI_MUX_INTERNAL_H
#include "base/alloc.h"
#include "mux/mux.h"

#define MUX_QUANTUM            16384u     /* bytes a stream may send per round: one full DATA frame */
#define MUX_SPARSE_BYTES       16384u     /* a stream with less than this queued goes before the bulk ones (as in FQ-CoDel) */
#define MUX_SEND_QUEUE_MAX     (1u << 20) /* what one stream queues for sending: more only adds delay, credit bounds it as well */
#define MUX_OPEN_PAYLOAD_MAX   4096u      /* application's part of OPEN */
#define MUX_REASON_BYTES_MAX   200u       /* text of RESET */
#define MUX_CONTROL_QUEUE_MAX  (1u << 20) /* control frames not sent yet: the peer does not read when it is full */
#define MUX_CONTROL_EVENTS_MAX (1u << 20) /* control frames not taken yet: twice the dearest websocket message there can be */
#define MUX_REFUSALS_MAX       1024u      /* RESETs owed for streams we refused: more is a flood (threat B2) */
#define MUX_PONGS_MAX          16u        /* PINGs not answered yet: an honest peer has one or two on the way */
#define MUX_FRAGMENT_MIN       512u       /* do not cut a DATA frame below this to fill up a message */
#define MUX_RTT_FRESH_MS       10000u     /* measure again when the last round trip is older and it matters */

/* Intrusive doubly linked circular list; a link that is in no list points to itself, so unlinking twice is harmless. */
typedef struct mux_link {
    struct mux_link *prev, *next;
} mux_link;
void mux_link_init(mux_link *link);
bool mux_linked(const mux_link *link);
void mux_unlink(mux_link *link);
void mux_link_last(mux_link *list, mux_link *link); /* moves it when it is in a list already */
#define mux_owner(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

/* Bytes in blocks: appended at the end, taken at the front, never moved. An empty queue holds no block. */
typedef struct mux_queue {
    struct mux_block *head, *tail;
    size_t len;
} mux_queue;
bool mux_queue_push(mux_queue *queue, ee_span data); /* all or, when out of memory, nothing */
ee_span mux_queue_front(const mux_queue *queue);
void mux_queue_drop(mux_queue *queue, size_t len);
void mux_queue_read(mux_queue *queue, uint8_t *out, size_t len); /* copy out and drop; len <= queue->len */
void mux_queue_move(mux_queue *to, mux_queue *from);             /* everything, without copying */
void mux_queue_clear(mux_queue *queue);

typedef enum stream_state {
    STREAM_OPEN,         /* both directions */
    STREAM_LOCAL_CLOSED, /* we have closed (CLOSE may still wait behind data), the peer may send */
    STREAM_PEER_CLOSED,  /* the peer has closed, we may send */
    STREAM_DONE,         /* both closed; listed until our CLOSE is out */
    STREAM_DEAD,         /* reset; not listed */
} stream_state;

/* One bit per eei_mux_event_kind that waits to be taken. */
#define EVENT_BIT(kind) ((uint8_t)(1u << (kind)))

typedef struct mux_event_node {
    mux_link link;
    eei_stream *stream; /* NULL: a control frame, see mux_control_event */
} mux_event_node;

struct eei_stream {
    eei_mux *mux;
    eei_stream *twin; /* the other end of a relay, in another mux; NULL when that end is finished */
    void *user;
    uint32_t id;
    stream_state state;
    uint8_t events;
    bool listed;      /* found by id; else frames for it are late ones */
    bool relayed;     /* set once and for all by eei_mux_open_relay() */
    bool orphan;      /* the user let go: frees itself when its last frame is out */
    bool short_write; /* the user waits for WRITABLE */
    bool open_unsent, close_unsent, reset_unsent;

    /* Sending. Bytes are taken from the user against credit, so everything queued may be sent. */
    mux_queue out;
    uint32_t credit;  /* granted by the peer, not taken yet */
    uint32_t deficit; /* bytes it may still send in `round` */
    uint32_t round;
    bool bulk; /* waits in a bulk list, when it waits */

    /* Receiving. granted + grant_unsent + ungranted + in.len == window, for a stream that is not relayed.
     * For a relayed one granted + grant_unsent == twin->credit: what the far end granted, nothing of our own. */
    mux_queue in;
    uint32_t window;       /* 0 for a relayed stream */
    uint32_t granted;      /* the peer may still send this much */
    uint32_t grant_unsent; /* goes out in the next WINDOW */
    uint32_t ungranted;    /* consumed, waits to be worth a WINDOW */

    /* Measuring how fast the window fills (see tune_window in stream.c). */
    uint64_t epoch_ms;
    uint32_t epoch_bytes;
    uint32_t turn_ms; /* shortest time from a grant to the first byte that needed it; 0 = not known */
    bool turn_running;
    uint64_t turn_start_ms, turn_mark; /* in received_bytes */
    uint64_t received_bytes;

    uint8_t *payload; /* OPEN's: waiting to be sent, or to be taken with OPENED */
    size_t payload_len;
    char *reason; /* RESET's; NULL is empty */

    mux_link all, sched, control;
    mux_event_node event;
};

/* Streams by id. Ids only rise, so appending keeps it sorted: no hash that a peer could aim at (threat B5). */
typedef struct mux_table {
    eei_stream **at;
    size_t count, cap;
} mux_table;

typedef struct mux_control_frame { /* encoded, waits to be sent */
    mux_link link;
    size_t len;
    bool refusal;
    uint8_t bytes[];
} mux_control_frame;

typedef struct mux_control_event { /* received, waits to be taken */
    mux_event_node node;
    uint8_t type;
    uint16_t flags;
    size_t len;
    uint8_t bytes[];
} mux_control_event;

struct eei_mux {
    eei_mux_options options; /* defaults filled in */
    bool failed;
    uint64_t now_ms, received_ms;
    void (*wake)(void *user);
    void *wake_user;

    uint32_t next_id; /* ours; 0 = used up */
    uint32_t peer_id; /* highest the peer opened; 0 = none */
    mux_table ours, theirs;
    mux_link streams; /* all there are, dead and orphaned ones too */
    size_t streams_count;

    mux_link control; /* mux_control_frame */
    size_t control_bytes, refusals;
    mux_link control_streams; /* with OPEN, WINDOW or RESET to send */
    mux_link sparse, bulk_now, bulk_next;
    uint32_t round;

    mux_link events; /* mux_event_node */
    size_t control_event_bytes;
    void *delivered; /* what the last event's payload points to */

    bool ping_unsent, ping_running;
    uint64_t ping_value, ping_sent_ms, pinged_ms, rtt_at_ms;
    uint32_t rtt_ms;
    uint8_t pongs[MUX_PONGS_MAX][8];
    size_t pongs_count;

    size_t windows;     /* sum of our streams' windows */
    size_t in_bytes;    /* received, not consumed */
    size_t out_bytes;   /* queued for sending */
    size_t relay_bytes; /* of out_bytes: those of relayed streams */
    eei_mux_stats stats;
};

/* stream.c */
eei_stream *mux_stream_new(eei_mux *mux, uint32_t id, ee_span payload); /* listed and open; NULL when out of memory */
void mux_stream_destroy(eei_stream *stream);
ee_status mux_stream_frame(eei_stream *stream, const eei_frame *frame, ee_error *err); /* the stream may be gone after */
/* End both directions. The stream is gone after if nobody holds it. */
void mux_stream_kill(eei_stream *stream, bool tell_peer, bool tell_user, ee_span reason);
void mux_stream_closed(eei_stream *stream);  /* our CLOSE went out; the stream may be gone after */
void mux_stream_drained(eei_stream *stream); /* bytes of `out` went out */
void mux_stream_granted(eei_stream *stream); /* the waiting WINDOW goes out */
eei_stream *mux_table_find(const mux_table *table, uint32_t id);

/* mux.c */
void mux_event_add(eei_stream *stream, eei_mux_event_kind kind);
void mux_event_drop(eei_stream *stream, uint8_t keep_bits);
void mux_want_rtt(eei_mux *mux);
void mux_wake(eei_mux *mux); /* another mux put work here */
mux_table *mux_table_of(eei_mux *mux, uint32_t id);
bool mux_id_is_ours(const eei_mux *mux, uint32_t id);

/* transmit.c */
void mux_schedule(eei_stream *stream); /* it has bytes or a CLOSE to send */
void mux_schedule_control(eei_stream *stream);
#endif
