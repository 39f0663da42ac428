/* queue.c - byte queues of blocks and the intrusive list under everything in the mux.
 * Not for messages: a queue knows bytes only. Called by stream.c, transmit.c and mux.c. */
#include "mux/mux_internal.h"

#include <string.h>

#define BLOCK_BYTES_MIN 512u   /* a stream of single bytes costs this much, not 16 KiB (threat B2) */
#define BLOCK_BYTES_MAX 16384u /* holds one full DATA frame */

typedef struct mux_block {
    struct mux_block *next;
    size_t begin, end, cap;
    uint8_t data[];
} mux_block;

void mux_link_init(mux_link *link) { link->prev = link->next = link; }

bool mux_linked(const mux_link *link) { return link->next != link; }

void mux_unlink(mux_link *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
    mux_link_init(link);
}

void mux_link_last(mux_link *list, mux_link *link) {
    mux_unlink(link);
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* Blocks double in size as a queue grows, so a little data costs little and bulk data comes in full blocks. */
static mux_block *block_new(const mux_block *before, size_t bytes) {
    size_t cap = before ? min_size(before->cap * 2, BLOCK_BYTES_MAX) : BLOCK_BYTES_MIN;
    mux_block *block;

    if (cap < bytes) cap = min_size(bytes, BLOCK_BYTES_MAX);
    block = eei_malloc(sizeof *block + cap);
    if (!block) return NULL;
    block->next = NULL;
    block->begin = block->end = 0;
    block->cap = cap;
    return block;
}

static void blocks_free(mux_block *block) {
    while (block) {
        mux_block *next = block->next;
        eei_free(block);
        block = next;
    }
}

static size_t block_fill(mux_block *block, ee_span data) {
    size_t n = min_size(block->cap - block->end, data.len);
    if (n > 0) memcpy(block->data + block->end, data.data, n);
    block->end += n;
    return n;
}

bool mux_queue_push(mux_queue *queue, ee_span data) {
    size_t room = queue->tail ? queue->tail->cap - queue->tail->end : 0, missing = data.len > room ? data.len - room : 0, done = 0;
    mux_block *first = NULL, *last = queue->tail;

    if (data.len == 0) return true;
    /* All memory first, so that a failure leaves the queue as it was. */
    while (missing > 0) {
        mux_block *block = block_new(last, missing);
        if (!block) {
            blocks_free(first);
            return false;
        }
        if (first)
            last->next = block;
        else
            first = block;
        last = block;
        missing -= min_size(missing, block->cap);
    }
    if (queue->tail) {
        done = block_fill(queue->tail, data);
        queue->tail->next = first;
    } else {
        queue->head = first;
    }
    for (mux_block *block = first; block; block = block->next) done += block_fill(block, (ee_span){data.data + done, data.len - done});
    if (first) queue->tail = last;
    queue->len += data.len;
    return true;
}

ee_span mux_queue_front(const mux_queue *queue) {
    const mux_block *block = queue->head;
    if (!block) return (ee_span){NULL, 0};
    return (ee_span){block->data + block->begin, block->end - block->begin};
}

void mux_queue_drop(mux_queue *queue, size_t len) {
    while (len > 0 && queue->head) {
        mux_block *block = queue->head;
        size_t n = min_size(len, block->end - block->begin);
        block->begin += n;
        queue->len -= n;
        len -= n;
        if (block->begin < block->end) return;
        queue->head = block->next;
        if (!queue->head) queue->tail = NULL;
        eei_free(block);
    }
}

void mux_queue_read(mux_queue *queue, uint8_t *out, size_t len) {
    EE_ASSERT(len <= queue->len);
    while (len > 0) {
        ee_span front = mux_queue_front(queue);
        size_t n = min_size(front.len, len);
        EE_ASSERT(front.data && n > 0);
        memcpy(out, front.data, n);
        mux_queue_drop(queue, n);
        out += n;
        len -= n;
    }
}

void mux_queue_move(mux_queue *to, mux_queue *from) {
    if (!from->head) return;
    if (to->tail)
        to->tail->next = from->head;
    else
        to->head = from->head;
    to->tail = from->tail;
    to->len += from->len;
    *from = (mux_queue){NULL, NULL, 0};
}

void mux_queue_clear(mux_queue *queue) {
    blocks_free(queue->head);
    *queue = (mux_queue){NULL, NULL, 0};
}
