/* writer.h - the one thread that writes to the database. Works queued by the loop go into one transaction (group commit, no timer: the
 * fsync in progress is the timer), each in a savepoint of its own; after COMMIT their callbacks run on the loop's thread.
 * Not for reading: the loop has a read-only store. Called by the control plane's API, broker and timers. */
#ifndef WRITER_H
#define WRITER_H
#include "store/store.h"

#include <uv.h>

typedef struct writer writer;

/* On the writer's thread, inside the transaction. arg is the work's own until done runs. All or nothing: see store_work(). */
typedef store_work_fn writer_work;
/* On the loop's thread, exactly once, after the work is on the disk or refused. err is filled when status is not EE_OK.
 * EE_E_OUTCOME_UNKNOWN: the commit failed in a way that does not say; the writer has stopped for good. */
typedef void (*writer_done)(void *arg, ee_status status, const ee_error *err);

typedef struct writer_options {
    size_t queue_max; /* works waiting; 0 = 65,536 */
    size_t batch_max; /* works in one transaction; 0 = 4,096 */
} writer_options;

/* Takes db when it succeeds: the writer closes it. options NULL = defaults. */
ee_status writer_start(uv_loop_t *loop, store *db, const writer_options *options, writer **out, ee_error *err) EE_MUST_USE;
/* From the loop's thread. EE_E_RATE_LIMIT when the queue is full, EE_E_SERVER after a failed commit, EE_E_CLOSED after writer_close();
 * on any failure done is not called. done may be NULL and may submit more. */
ee_status writer_submit(writer *w, writer_work work, void *arg, writer_done done, ee_error *err) EE_MUST_USE;
/* True once a commit's outcome is unknown: the program must exit and be started again. */
bool writer_failed(const writer *w);
/* Works of which the callback has not run yet. */
size_t writer_pending(const writer *w);
/* Finish what is queued, run its callbacks, join the thread, close the store. The memory goes when the loop has closed the handle:
 * run the loop once more. NULL is fine. */
void writer_close(writer *w);
#endif
