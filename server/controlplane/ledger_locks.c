/* ledger_locks.c - money held for work: locked when it is admitted, used when it is metered, then paid or returned once (threats M4, M7).
 * Not for deciding which: jobs_table meters, settlement judges. Spec: network.md#spending-and-locks */
#include "controlplane/ledger_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXPIRE_BATCH_MAX 256u

static const char *state_word(ledger_lock_state state) {
    switch (state) {
    case LEDGER_LOCK_OPEN: return "open";
    case LEDGER_LOCK_USED: return "used";
    case LEDGER_LOCK_PAID: return "paid";
    case LEDGER_LOCK_RETURNED: return "returned";
    case LEDGER_LOCK_EXPIRED: return "expired";
    }
    return "?";
}

ee_status ledger_get_lock(store *db, int64_t seq, ledger_lock_info *out, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    ee_status st = store_query(db, "SELECT seq, user, node, period_ms, ref, amount, used, state, expires_ms FROM lock WHERE seq = $1",
                               STORE_WITH(store_i64(seq)), &rows, err);
    if (st) return st;
    st = store_next(rows, &row, err);
    if (!st && row) {
        memset(out, 0, sizeof *out);
        out->seq = store_get_i64(rows, 0);
        out->user = store_get_i64(rows, 1);
        out->node = store_get_i64(rows, 2);
        out->period_ms = (uint64_t)store_get_i64(rows, 3);
        store_get_name(rows, 4, out->ref, sizeof out->ref);
        out->amount = store_get_i64(rows, 5);
        out->used = store_get_i64(rows, 6);
        out->state = (ledger_lock_state)store_get_i64(rows, 7);
        out->expires_ms = (uint64_t)store_get_i64(rows, 8);
    }
    store_rows_close(rows);
    if (!st && !row) st = eei_fail(err, EE_E_NOT_FOUND, "there is no lock %" PRId64, seq);
    return st;
}

/* One escrow account for each period, made by its first lock. */
static ee_status find_escrow(store *db, uint64_t period_ms, uint64_t now_ms, bool make, int64_t *out, ee_error *err) {
    int64_t last = 0;
    ee_status st =
        store_get_one(db, "SELECT id FROM account WHERE kind = 9 AND period_ms = $1", STORE_WITH(store_i64((int64_t)period_ms)), out, err);
    if (st != EE_E_NOT_FOUND || !make)
        return st == EE_E_NOT_FOUND ? eei_fail(err, EE_E_INTERNAL, "period %" PRIu64 " has no escrow account", period_ms) : st;
    st = store_get_one(db, "SELECT coalesce(max(id), $1) FROM account", STORE_WITH(store_i64(LEDGER_FIRST_ESCROW)), &last, err);
    if (st) return st;
    *out = last < LEDGER_FIRST_ESCROW ? LEDGER_FIRST_ESCROW : last + 1;
    return store_exec(db, "INSERT INTO account(id, kind, period_ms, opened_ms) VALUES ($1, 9, $2, $3)",
                      STORE_WITH(store_i64(*out), store_i64((int64_t)period_ms), store_i64((int64_t)now_ms)), NULL, err);
}

static ee_status check_lock_request(store *db, const ledger_lock_request *r, ee_error *err) {
    ledger_principal user, node;
    if (r->amount < 0) return eei_fail(err, EE_E_INVALID_AMOUNT, "a lock can not be negative");
    ee_status st = ledger_check_key(r->ref, "lock's reference", NAME_CAP - 1, err);
    if (!st && (r->period_ms > INT64_MAX || r->expires_ms > INT64_MAX)) st = eei_fail(err, EE_E_INVALID, "a time of the lock is too large");
    if (!st && r->expires_ms <= r->now_ms) st = eei_fail(err, EE_E_INVALID, "the lock would expire before it starts");
    if (!st) st = ledger_check_evidence(r->evidence, err);
    if (!st) st = ledger_get_principal(db, r->user, &user, err);
    if (!st && user.kind == LEDGER_NODE) st = eei_fail(err, EE_E_PERMISSION, "a node has no credits of its own to lock");
    if (!st) st = ledger_get_principal(db, r->node, &node, err);
    if (!st && node.kind != LEDGER_NODE) st = eei_fail(err, EE_E_INVALID, "\"%s\" is not a node", node.name);
    return st;
}

ee_status ledger_lock(store *db, const ledger_lock_request *r, int64_t *out_seq, ee_money *left, ee_error *err) {
    ledger_counters payer;
    ledger_posted posted;
    char subject[96];
    int64_t escrow = 0;

    *out_seq = 0;
    ee_status st = check_lock_request(db, r, err);
    if (st) return st;
    if (!r->amount) { /* free work: nothing to hold */
        st = ledger_read_account(db, r->user, &payer, err);
        if (!st && left) *left = ledger_available(&payer);
        return st;
    }
    st = find_escrow(db, r->period_ms, r->now_ms, true, &escrow, err);
    if (st) return st;
    (void)snprintf(subject, sizeof subject, "%s may cost up to", r->what ? r->what : "this");
    const ledger_posting p = {.code = LEDGER_LOCK,
                              .debit = r->user,
                              .credit = escrow,
                              .amount = r->amount,
                              .period_ms = r->period_ms,
                              .has_period = true,
                              .node = r->node,
                              .ref = r->ref,
                              .evidence = r->evidence,
                              .now_ms = r->now_ms,
                              .subject = subject};
    st = ledger_post(db, &p, &posted, err);
    if (st) return st;
    if (left) *left = ledger_available(&posted.debit);
    *out_seq = posted.seq;
    return store_exec(db,
                      "INSERT INTO lock(seq, user, node, period_ms, ref, amount, expires_ms, created_ms, changed_ms)"
                      " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                      STORE_WITH(store_i64(posted.seq), store_i64(r->user), store_i64(r->node), store_i64((int64_t)r->period_ms),
                                 store_text(r->ref), store_i64(r->amount), store_i64((int64_t)r->expires_ms), store_i64((int64_t)r->now_ms),
                                 store_i64((int64_t)r->now_ms)),
                      NULL, err);
}

/* A row that resolves (part of) a lock: the same two accounts as the lock's own row. */
static ee_status post_for_lock(store *db, const ledger_lock_info *lock, ledger_code code, ee_money amount, ee_span evidence,
                               uint64_t now_ms, ee_error *err) {
    ledger_posted posted;
    int64_t escrow = 0;
    ee_status st = find_escrow(db, lock->period_ms, now_ms, false, &escrow, err);
    if (!st) st = ledger_check_evidence(evidence, err);
    if (st) return st;
    const ledger_posting p = {.code = code,
                              .debit = lock->user,
                              .credit = escrow,
                              .amount = amount,
                              .pend_seq = lock->seq,
                              .period_ms = lock->period_ms,
                              .has_period = true,
                              .node = lock->node,
                              .ref = eei_span_text(lock->ref),
                              .evidence = evidence,
                              .now_ms = now_ms};
    return ledger_post(db, &p, &posted, err);
}

/* Compare-and-set: from the state that was read, and no other. */
static ee_status move_lock(store *db, const ledger_lock_info *lock, ledger_lock_state to, ee_money used, uint64_t now_ms, ee_error *err) {
    int64_t changed = 0;
    ee_status st =
        store_exec(db, "UPDATE lock SET state = $1, used = $2, changed_ms = $3 WHERE seq = $4 AND state = $5",
                   STORE_WITH(store_i64(to), store_i64(used), store_i64((int64_t)now_ms), store_i64(lock->seq), store_i64(lock->state)),
                   &changed, err);
    if (!st && changed != 1) st = eei_fail(err, EE_E_CONFLICT, "lock %" PRId64 " changed meanwhile", lock->seq);
    return st;
}

static ee_status wrong_state(const ledger_lock_info *lock, const char *wanted, ee_error *err) {
    return eei_fail(err, EE_E_CONFLICT, "lock %" PRId64 " can not be %s: it is %s", lock->seq, wanted, state_word(lock->state));
}

static ee_money still_held(const ledger_lock_info *lock) {
    return lock->state == LEDGER_LOCK_OPEN ? lock->amount : lock->state == LEDGER_LOCK_USED ? lock->used : 0;
}

ee_status ledger_lock_use(store *db, int64_t seq, ee_money used, ee_span evidence, uint64_t now_ms, ee_money *returned, ee_error *err) {
    ledger_lock_info lock;
    char want[32], has[32];
    ee_status st = ledger_get_lock(db, seq, &lock, err);
    if (st) return st;
    if (used < 0 || used > lock.amount)
        return eei_fail(err, EE_E_INVALID, "usage of %s is not within the lock of %s", ee_money_format(used, want),
                        ee_money_format(lock.amount, has));
    *returned = lock.amount - used;
    if (!used) return ledger_lock_void(db, seq, evidence, now_ms, returned, err);
    if (lock.state == LEDGER_LOCK_USED && lock.used == used) return EE_OK;
    if (lock.state != LEDGER_LOCK_OPEN) return wrong_state(&lock, "used", err);
    if (*returned) st = post_for_lock(db, &lock, LEDGER_RELEASE, *returned, evidence, now_ms, err);
    return st ? st : move_lock(db, &lock, LEDGER_LOCK_USED, used, now_ms, err);
}

ee_status ledger_lock_void(store *db, int64_t seq, ee_span evidence, uint64_t now_ms, ee_money *returned, ee_error *err) {
    ledger_lock_info lock;
    ee_status st = ledger_get_lock(db, seq, &lock, err);
    if (st) return st;
    if (lock.state == LEDGER_LOCK_RETURNED || lock.state == LEDGER_LOCK_EXPIRED) {
        *returned = lock.used ? lock.used : lock.amount;
        return EE_OK;
    }
    if (lock.state == LEDGER_LOCK_PAID) return wrong_state(&lock, "returned", err);
    *returned = still_held(&lock);
    st = post_for_lock(db, &lock, LEDGER_VOID, *returned, evidence, now_ms, err);
    return st ? st : move_lock(db, &lock, LEDGER_LOCK_RETURNED, lock.used, now_ms, err);
}

ee_status ledger_lock_pay(store *db, int64_t seq, ee_span evidence, uint64_t now_ms, ee_money *paid, ee_error *err) {
    ledger_lock_info lock;
    ledger_principal node;
    ledger_posted posted;
    int64_t escrow = 0;
    ee_status st = ledger_get_lock(db, seq, &lock, err);
    if (st) return st;
    *paid = lock.used;
    if (lock.state == LEDGER_LOCK_PAID) return EE_OK;
    if (lock.state != LEDGER_LOCK_USED) return wrong_state(&lock, "paid", err);
    st = ledger_get_principal(db, lock.node, &node, err);
    if (!st) st = post_for_lock(db, &lock, LEDGER_POST, lock.used, evidence, now_ms, err);
    if (!st) st = find_escrow(db, lock.period_ms, now_ms, false, &escrow, err);
    if (st) return st;
    const ledger_posting p = {.code = LEDGER_SETTLE_NODE,
                              .debit = escrow,
                              .credit = node.provider,
                              .amount = lock.used,
                              .period_ms = lock.period_ms,
                              .has_period = true,
                              .node = node.id,
                              .ref = eei_span_text(lock.ref),
                              .now_ms = now_ms,
                              .subject = "this settlement needs"};
    st = ledger_post(db, &p, &posted, err);
    return st ? st : move_lock(db, &lock, LEDGER_LOCK_PAID, lock.used, now_ms, err);
}

ee_status ledger_expire(store *db, uint64_t now_ms, unsigned limit, unsigned *count, ee_error *err) {
    int64_t due[EXPIRE_BATCH_MAX];
    store_rows *rows = NULL;
    unsigned found = 0;
    bool row = true;

    *count = 0;
    if (limit > EXPIRE_BATCH_MAX) limit = EXPIRE_BATCH_MAX;
    ee_status st = store_query(db, "SELECT seq FROM lock WHERE state IN (1, 2) AND expires_ms <= $1 ORDER BY expires_ms LIMIT $2",
                               STORE_WITH(store_i64((int64_t)now_ms), store_i64(limit)), &rows, err);
    while (!st && found < limit) {
        st = store_next(rows, &row, err);
        if (st || !row) break;
        due[found++] = store_get_i64(rows, 0);
    }
    store_rows_close(rows);
    for (unsigned i = 0; !st && i < found; i++) {
        ledger_lock_info lock;
        st = ledger_get_lock(db, due[i], &lock, err);
        if (!st) st = post_for_lock(db, &lock, LEDGER_EXPIRE, still_held(&lock), eei_span(NULL, 0), now_ms, err);
        if (!st) st = move_lock(db, &lock, LEDGER_LOCK_EXPIRED, lock.used, now_ms, err);
        if (!st) (*count)++;
    }
    return st;
}
