/* rent.c - see rent.h. */
#include "controlplane/rent.h"

#include "base/alloc.h"
#include "base/price.h"

#include <stdio.h>
#include <string.h>

enum {
    LEAD_MS = 120000,
    LOCK_GRACE_MS = 96 * 3600 * 1000, /* docs/protocol.md: a lock expires at the latest 96 h after its period */
    APPS_MAX = 4096,                  /* in one sweep: more wait for the next */
    LOCKS_MAX = 64,                   /* open locks of one app: one per period and placement, closed as they pass */
};

uint64_t rent_lead_ms(uint64_t period_ms) { return period_ms / 10 < LEAD_MS ? period_ms / 10 : LEAD_MS; }

/* ---- locks of an app ------------------------------------------------------------------------------------------------- */

typedef struct open_lock {
    int64_t seq;
    uint64_t period_ms;
    ee_money amount;
} open_lock;

static ee_status open_locks(store *db, const char *app_id, open_lock out[LOCKS_MAX], size_t *count, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    *count = 0;
    ee_status st = store_query(db, "SELECT seq, period_ms, amount FROM lock WHERE ref = $1 AND state = 1 ORDER BY seq LIMIT 64",
                               STORE_WITH(store_cstr(app_id)), &rows, err);
    while (!st && !(st = store_next(rows, &row, err)) && row)
        out[(*count)++] = (open_lock){store_get_i64(rows, 0), (uint64_t)store_get_i64(rows, 1), store_get_i64(rows, 2)};
    store_rows_close(rows);
    return st;
}

static ee_status lock_span(store *db, const app_row *app, ee_span evidence, uint64_t start_ms, uint64_t from_ms, uint64_t period_ms,
                           uint64_t now_ms, ee_money *locked, ee_error *err) {
    ee_money amount = 0;
    int64_t seq = 0;
    ee_status st = eei_price_ceiling(app->price, app->vcpus_milli, start_ms + period_ms - from_ms, &amount, err);
    *locked = amount;
    if (st || !amount) return st;
    if (amount > app->ceiling) {
        char need[32], cap[32];
        st = eei_fail(err, EE_E_BUDGET, "app %s may cost %s a period, over the %s that were authorized", app->name,
                      ee_money_format(amount, need), ee_money_format(app->ceiling, cap));
        if (err) {
            err->needed = amount;
            err->available = app->ceiling;
        }
        return st;
    }
    ledger_lock_request request = {.user = app->account,
                                   .node = app->node,
                                   .period_ms = start_ms,
                                   .ref = eei_span_text(app->id),
                                   .amount = amount,
                                   .expires_ms = start_ms + period_ms + LOCK_GRACE_MS,
                                   .evidence = evidence,
                                   .what = "this app",
                                   .now_ms = now_ms};
    return ledger_lock(db, &request, &seq, NULL, err);
}

ee_status rent_open(store *db, const app_row *app, ee_span evidence, uint64_t period_ms, uint64_t now_ms, ee_money *locked, ee_error *err) {
    return lock_span(db, app, evidence, now_ms - now_ms % period_ms, now_ms, period_ms, now_ms, locked, err);
}

/* Billed from the first passed probe on (changed_ms of RUNNING), within the lock's period. */
static ee_money used_of(const app_row *app, const open_lock *lock, uint64_t period_ms, uint64_t now_ms) {
    uint64_t end = lock->period_ms + period_ms, from = app->changed_ms > lock->period_ms ? app->changed_ms : lock->period_ms;
    uint64_t to = now_ms < end ? now_ms : end;
    if (app->state != APP_RUNNING || to <= from) return 0;
    return eei_price_charge(app->price, eei_price_vcpu_ms(app->vcpus_milli, to - from), lock->amount);
}

static ee_status close_one(store *db, const app_row *app, const open_lock *lock, uint64_t period_ms, uint64_t now_ms, ee_error *err) {
    ee_money returned = 0;
    return ledger_lock_use(db, lock->seq, used_of(app, lock, period_ms, now_ms), eei_span_text(app->id), now_ms, &returned, err);
}

ee_status rent_close(store *db, const app_row *app, uint64_t period_ms, uint64_t now_ms, ee_error *err) {
    open_lock locks[LOCKS_MAX];
    size_t count = 0;
    ee_status st = open_locks(db, app->id, locks, &count, err);
    for (size_t i = 0; !st && i < count; i++) st = close_one(db, app, &locks[i], period_ms, now_ms, err);
    return st;
}

/* ---- the sweep ------------------------------------------------------------------------------------------------------- */

static ee_status stop_unpaid(store *db, const app_row *app, const ee_error *why, uint64_t now_ms, ee_error *err) {
    char message[256];
    (void)snprintf(message, sizeof message, "its next period could not be paid: %.200s", why->message);
    return apps_set_state(db, app->id, app->epoch, APP_FAILED, ee_status_word(EE_E_LOW_BALANCE), message, now_ms, err);
}

typedef struct rent_state {
    bool has_current, has_next;
} rent_state;

static ee_status close_past(store *db, const app_row *app, uint64_t period_ms, uint64_t now_ms, rent_state *out, ee_error *err) {
    open_lock locks[LOCKS_MAX];
    size_t count = 0;
    uint64_t current = now_ms - now_ms % period_ms;
    ee_status st = open_locks(db, app->id, locks, &count, err);
    for (size_t i = 0; !st && i < count; i++) {
        out->has_current |= locks[i].period_ms == current;
        out->has_next |= locks[i].period_ms == current + period_ms;
        if (locks[i].period_ms < current) st = close_one(db, app, &locks[i], period_ms, now_ms, err);
    }
    return st;
}

/* A refused lock writes nothing, so it may be tried inside this work and tried again. */
static ee_status sweep_app(store *db, const app_row *app, uint64_t period_ms, uint64_t now_ms, bool *stopped, ee_error *err) {
    uint64_t current = now_ms - now_ms % period_ms, next = current + period_ms;
    rent_state rent = {false, false};
    ee_money locked;
    ee_error why = {0};
    ee_span evidence = eei_span_text(app->id); /* the SpendAuth of the placement is in the first lock */
    ee_status st = close_past(db, app, period_ms, now_ms, &rent, err);
    if (!st && !rent.has_current) {
        st = lock_span(db, app, evidence, current, now_ms, period_ms, now_ms, &locked, &why);
        if (st == EE_E_LOW_BALANCE) {
            *stopped = true;
            return stop_unpaid(db, app, &why, now_ms, err);
        }
        if (st && err) *err = why;
    }
    if (!st && !rent.has_next && now_ms + rent_lead_ms(period_ms) >= next) {
        st = lock_span(db, app, evidence, next, next, period_ms, now_ms, &locked, &why);
        if (st == EE_E_LOW_BALANCE)
            st = EE_OK; /* its owner has until the boundary */
        else if (st && err)
            *err = why;
    }
    return st;
}

typedef struct id_list {
    char (*ids)[APP_ID_CAP];
    size_t count;
} id_list;

static bool add_id(void *user, const app_row *row) {
    id_list *list = user;
    if (row->state == APP_DEPLOYING || row->state == APP_RUNNING) memcpy(list->ids[list->count++], row->id, APP_ID_CAP);
    return list->count < APPS_MAX;
}

ee_status rent_sweep(store *db, uint64_t period_ms, uint64_t now_ms, rent_stopped_fn stopped, void *user, ee_error *err) {
    id_list list = {eei_calloc(APPS_MAX, APP_ID_CAP), 0};
    app_list_query query = {.only_live = true, .limit = APPS_MAX};
    ee_status st = list.ids ? apps_list(db, &query, add_id, &list, err) : eei_nomem(err);
    for (size_t i = 0; !st && i < list.count; i++) {
        app_row row;
        bool ended = false;
        app_row_init(&row);
        st = apps_get_id(db, list.ids[i], &row, err);
        if (!st) st = sweep_app(db, &row, period_ms, now_ms, &ended, err);
        if (!st && ended && stopped) stopped(user, &row);
        app_row_clear(&row);
    }
    eei_free(list.ids);
    return st;
}
