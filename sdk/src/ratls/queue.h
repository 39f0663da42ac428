/* queue.h - bytes in at the back, out at the front, without moving the rest each time. For cipher and plain bytes on their way through;
 * not for messages (buf.h). Called by tls_io, channel and net. */
#ifndef EEI_QUEUE_H
#define EEI_QUEUE_H
#include "base/buf.h"

typedef struct eei_queue {
    eei_buf buf;
    size_t at; /* bytes of buf that are gone already */
} eei_queue;
#define EEI_QUEUE_INIT(max_bytes)                                                                                                          \
    { EEI_BUF_INIT(max_bytes), 0 }

static inline size_t eei_queue_len(const eei_queue *queue) { return queue->buf.len - queue->at; }

static inline ee_span eei_queue_span(const eei_queue *queue) {
    ee_span all = eei_buf_span(&queue->buf);
    return all.len > queue->at ? eei_span(all.data + queue->at, all.len - queue->at) : eei_span(NULL, 0);
}

static inline void eei_queue_consume(eei_queue *queue, size_t len) {
    queue->at += len;
    if (queue->at >= queue->buf.len) {
        eei_buf_reset(&queue->buf);
        queue->at = 0;
    }
}

/* Move only when at least as much is gone as is left: each byte moves at most once on average. */
static inline void eei_queue_compact(eei_queue *queue, size_t more) {
    size_t left = eei_queue_len(queue);
    if (queue->at && (queue->at >= left || queue->buf.len + more > queue->buf.max)) {
        eei_buf_consume(&queue->buf, queue->at);
        queue->at = 0;
    }
}

static inline ee_status eei_queue_append(eei_queue *queue, ee_span data) {
    eei_queue_compact(queue, data.len);
    return eei_buf_append_span(&queue->buf, data);
}

/* Room for `more` bytes at *out; then eei_buf_commit(&queue->buf, written). */
static inline ee_status eei_queue_reserve(eei_queue *queue, size_t more, uint8_t **out) {
    eei_queue_compact(queue, more);
    return eei_buf_reserve(&queue->buf, more, out);
}

static inline void eei_queue_clear(eei_queue *queue) {
    eei_buf_clear(&queue->buf);
    queue->at = 0;
}
#endif
