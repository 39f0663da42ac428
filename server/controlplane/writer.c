/* writer.c - the writing thread: takes all that is queued, runs it in one transaction, answers after COMMIT. The only lock guards the two
 * lists and the counts; it is never held while SQL or a callback runs. Not for rules: works bring them. */
#include "controlplane/writer.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdatomic.h>
#include <string.h>

#define QUEUE_MAX 65536u
#define BATCH_MAX 4096u

typedef struct item {
    struct item *next;
    writer_work work;
    writer_done done;
    void *arg;
    ee_status status;
    ee_error *err; /* only of a failure; NULL when there was no memory for it */
} item;
typedef struct items {
    item *first, **end;
    size_t count;
} items;

struct writer {
    store *db; /* the thread's */
    uv_thread_t thread;
    uv_async_t async;
    uv_mutex_t mutex; /* guards queued, finished, closing */
    uv_cond_t wake;
    items queued, finished;
    bool closing;
    atomic_bool failed;
    size_t pending; /* the loop's */
    writer_options options;
};

static void items_init(items *list) {
    list->first = NULL;
    list->end = &list->first;
    list->count = 0;
}

static void items_add(items *list, item *it) {
    it->next = NULL;
    *list->end = it;
    list->end = &it->next;
    list->count++;
}

/* Move at most max from the front of one list to the end of another. */
static void items_move(items *to, items *from, size_t max) {
    while (from->first && max--) {
        item *it = from->first;
        from->first = it->next;
        from->count--;
        items_add(to, it);
    }
    if (!from->first) from->end = &from->first;
}

/* ---- the thread ----------------------------------------------------------------------------------------------------- */

static void item_fail(item *it, ee_status status, const ee_error *err) {
    it->status = status;
    if (!it->err) it->err = eei_malloc(sizeof *it->err);
    if (it->err) *it->err = *err;
}

static void fail_all(items *batch, ee_status status, const ee_error *err) {
    for (item *it = batch->first; it; it = it->next) item_fail(it, status, err);
}

/* Runs the works. False when the transaction is gone: then *err says why, and nobody's work happened. */
static bool run_works(writer *w, items *batch, ee_error *err) {
    for (item *it = batch->first; it; it = it->next) {
        memset(err, 0, sizeof *err);
        ee_status st = store_work(w->db, it->work, it->arg, err);
        if (store_transaction_lost(w->db)) {
            /* One status for all, and never a refusal: what it rests on was not kept. */
            if (!st || (err->status != EE_E_IO && err->status != EE_E_NOMEM))
                (void)eei_fail(err, EE_E_IO, "the database ended the transaction; nothing of it happened");
            return false;
        }
        if (st) item_fail(it, st, err);
    }
    return true;
}

static void run_batch(writer *w, items *batch) {
    ee_error err;
    memset(&err, 0, sizeof err);
    if (atomic_load(&w->failed)) {
        ee_status st = eei_fail(&err, EE_E_SERVER, "the ledger has stopped after a commit whose outcome is not known");
        fail_all(batch, st, &err);
        return;
    }
    ee_status st = store_begin(w->db, &err);
    if (st) {
        fail_all(batch, st, &err);
        return;
    }
    if (!run_works(w, batch, &err)) {
        store_rollback(w->db);
        eei_log(EEI_LOG_ERROR, "writer.lost", "works=%zu reason=%s", batch->count, err.message);
        fail_all(batch, err.status, &err);
        return;
    }
    st = store_commit(w->db, &err);
    if (!st) return;
    if (store_broken(w->db)) atomic_store(&w->failed, true);
    eei_log(EEI_LOG_ERROR, st == EE_E_OUTCOME_UNKNOWN ? "writer.unknown" : "writer.refused", "works=%zu reason=%s", batch->count,
            err.message);
    fail_all(batch, st, &err);
}

static void run_thread(void *user) {
    writer *w = user;
    for (;;) {
        items batch;
        items_init(&batch);
        uv_mutex_lock(&w->mutex);
        while (!w->queued.first && !w->closing) uv_cond_wait(&w->wake, &w->mutex);
        items_move(&batch, &w->queued, w->options.batch_max);
        uv_mutex_unlock(&w->mutex);
        if (!batch.first) return; /* closing, and nothing is left */
        run_batch(w, &batch);
        uv_mutex_lock(&w->mutex);
        items_move(&w->finished, &batch, SIZE_MAX);
        uv_mutex_unlock(&w->mutex);
        (void)uv_async_send(&w->async);
    }
}

/* ---- the loop ------------------------------------------------------------------------------------------------------- */

static void finish_one(writer *w, item *it) {
    ee_error none;
    const ee_error *err = it->err;
    if (it->status && !err) {
        (void)eei_fail(&none, it->status, "%s", ee_status_text(it->status));
        err = &none;
    }
    w->pending--;
    if (it->done) it->done(it->arg, it->status, err);
    eei_free(it->err);
    eei_free(it);
}

static void deliver(writer *w) {
    items batch;
    items_init(&batch);
    uv_mutex_lock(&w->mutex);
    items_move(&batch, &w->finished, SIZE_MAX);
    uv_mutex_unlock(&w->mutex);
    while (batch.first) {
        item *it = batch.first;
        batch.first = it->next;
        finish_one(w, it);
    }
}

static void on_async(uv_async_t *async) { deliver(async->data); }

static void on_closed(uv_handle_t *handle) {
    writer *w = handle->data;
    uv_cond_destroy(&w->wake);
    uv_mutex_destroy(&w->mutex);
    eei_free(w);
}

ee_status writer_start(uv_loop_t *loop, store *db, const writer_options *options, writer **out, ee_error *err) {
    *out = NULL;
    writer *w = eei_calloc(1, sizeof *w);
    if (!w) return eei_nomem(err);
    if (options) w->options = *options;
    if (!w->options.queue_max) w->options.queue_max = QUEUE_MAX;
    if (!w->options.batch_max) w->options.batch_max = BATCH_MAX;
    items_init(&w->queued);
    items_init(&w->finished);
    atomic_init(&w->failed, false);
    if (uv_mutex_init(&w->mutex) != 0) goto no_mutex;
    if (uv_cond_init(&w->wake) != 0) goto no_cond;
    if (uv_async_init(loop, &w->async, on_async) != 0) goto no_async;
    w->async.data = w;
    w->db = db;
    if (uv_thread_create(&w->thread, run_thread, w) != 0) {
        uv_close((uv_handle_t *)&w->async, on_closed);
        return eei_fail(err, EE_E_IO, "cannot start the writing thread");
    }
    *out = w;
    return EE_OK;
no_async:
    uv_cond_destroy(&w->wake);
no_cond:
    uv_mutex_destroy(&w->mutex);
no_mutex:
    eei_free(w);
    return eei_fail(err, EE_E_IO, "cannot start the writer");
}

ee_status writer_submit(writer *w, writer_work work, void *arg, writer_done done, ee_error *err) {
    if (atomic_load(&w->failed)) return eei_fail(err, EE_E_SERVER, "the ledger has stopped after a commit whose outcome is not known");
    item *it = eei_calloc(1, sizeof *it);
    if (!it) return eei_nomem(err);
    it->work = work;
    it->done = done;
    it->arg = arg;
    uv_mutex_lock(&w->mutex);
    bool closing = w->closing, full = w->queued.count >= w->options.queue_max;
    if (!closing && !full) {
        items_add(&w->queued, it);
        uv_cond_signal(&w->wake);
    }
    uv_mutex_unlock(&w->mutex);
    if (!closing && !full) {
        w->pending++;
        return EE_OK;
    }
    eei_free(it);
    if (closing) return eei_fail(err, EE_E_CLOSED, "the ledger is being closed");
    ee_status st = eei_fail(err, EE_E_RATE_LIMIT, "%zu requests wait for the ledger already", w->options.queue_max);
    if (err) err->retry_after_ms = 1000;
    return st;
}

bool writer_failed(const writer *w) { return atomic_load(&w->failed); }
size_t writer_pending(const writer *w) { return w->pending; }

void writer_close(writer *w) {
    if (!w) return;
    uv_mutex_lock(&w->mutex);
    w->closing = true;
    uv_cond_signal(&w->wake);
    uv_mutex_unlock(&w->mutex);
    (void)uv_thread_join(&w->thread);
    deliver(w);
    store_close(w->db);
    w->db = NULL;
    uv_close((uv_handle_t *)&w->async, on_closed);
}
