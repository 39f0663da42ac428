/* jobs_table.c - rows of jobs and the money that goes with each step, in one transaction. Not for placing or agents.
 * Spec: network.md#spending-and-locks; threats M5, M6, M7, M12 */
#include "controlplane/jobs_table.h"

#include "attest/statement.h"
#include "base/price.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const words[] = {[JOB_ADMITTED] = "admitted", [JOB_WAITING] = "waiting", [JOB_PULLING] = "pulling",
                                    [JOB_RUNNING] = "running",   [JOB_DONE] = "done",       [JOB_FAILED] = "failed"};

const char *job_state_word(job_state state) { return state >= JOB_ADMITTED && state <= JOB_FAILED ? words[state] : "?"; }

bool job_state_parse(ee_span word, job_state *out) {
    for (job_state s = JOB_ADMITTED; s <= JOB_FAILED; s++)
        if (eei_span_equal(word, eei_span_text(words[s]))) {
            *out = s;
            return true;
        }
    return false;
}

/* ---- reading -------------------------------------------------------------------------------------------------------- */

#define COLUMNS                                                                                                                            \
    "j.id, j.account, j.node, a.name, n.name, a.key, j.instance, j.auth_id, j.spec_hash, j.state, j.word, j.message, j.price, j.locked,"   \
    " j.charge, j.returned, coalesce(j.lock_seq, 0), j.period_ms, j.vcpus_milli, j.memory_bytes, j.wall_ms, j.vcpu_ms, j.exit_code,"       \
    " j.created_ms, j.changed_ms, j.started_ms, j.ended_ms, j.connect_by_ms, j.receipt_hash"
#define BLOB_COLUMN 29
#define FROM        " FROM job j JOIN principal a ON a.id = j.account JOIN principal n ON n.id = j.node"

void job_row_init(job_row *row) {
    memset(row, 0, sizeof *row);
    row->spec = (eei_buf)EEI_BUF_INIT(JOB_SPEC_BYTES_MAX);
    row->spend_auth = (eei_buf)EEI_BUF_INIT(JOB_ENVELOPE_BYTES_MAX);
    row->receipt = (eei_buf)EEI_BUF_INIT(JOB_ENVELOPE_BYTES_MAX);
}

void job_row_clear(job_row *row) {
    eei_buf_clear(&row->spec);
    eei_buf_clear(&row->spend_auth);
    eei_buf_clear(&row->receipt);
}

static void read_fixed(store_rows *rows, int column, void *out, size_t len) {
    ee_span bytes = store_get_blob(rows, column);
    memset(out, 0, len);
    if (bytes.len == len) memcpy(out, bytes.data, len);
}

static void read_row(store_rows *rows, job_row *out) {
    store_get_name(rows, 0, out->id, sizeof out->id);
    out->account = store_get_i64(rows, 1);
    out->node = store_get_i64(rows, 2);
    store_get_name(rows, 3, out->account_name, sizeof out->account_name);
    store_get_name(rows, 4, out->node_name, sizeof out->node_name);
    read_fixed(rows, 5, out->account_key, sizeof out->account_key);
    read_fixed(rows, 6, out->instance_id, sizeof out->instance_id);
    read_fixed(rows, 7, out->auth_id, sizeof out->auth_id);
    read_fixed(rows, 8, out->spec_hash, sizeof out->spec_hash);
    out->state = (job_state)store_get_i64(rows, 9);
    store_get_name(rows, 10, out->word, sizeof out->word);
    store_get_name(rows, 11, out->message, sizeof out->message);
    out->price = store_get_i64(rows, 12);
    out->locked = store_get_i64(rows, 13);
    out->charge = store_get_i64(rows, 14);
    out->returned = store_get_i64(rows, 15);
    out->lock_seq = store_get_i64(rows, 16);
    out->period_ms = (uint64_t)store_get_i64(rows, 17);
    out->vcpus_milli = (uint64_t)store_get_i64(rows, 18);
    out->memory_bytes = (uint64_t)store_get_i64(rows, 19);
    out->wall_ms = (uint64_t)store_get_i64(rows, 20);
    out->vcpu_ms = (uint64_t)store_get_i64(rows, 21);
    out->exit_code = (uint64_t)store_get_i64(rows, 22);
    out->created_ms = (uint64_t)store_get_i64(rows, 23);
    out->changed_ms = (uint64_t)store_get_i64(rows, 24);
    out->started_ms = (uint64_t)store_get_i64(rows, 25);
    out->ended_ms = (uint64_t)store_get_i64(rows, 26);
    out->connect_by_ms = (uint64_t)store_get_i64(rows, 27);
    read_fixed(rows, 28, out->receipt_hash, sizeof out->receipt_hash);
}

static ee_status read_blob(store_rows *rows, int column, eei_buf *out, ee_error *err) {
    eei_buf_reset(out);
    ee_status st = eei_buf_append_span(out, store_get_blob(rows, column));
    return st == EE_E_NOMEM ? eei_nomem(err) : st ? eei_fail(err, st, "a stored blob is over its limit") : EE_OK;
}

static ee_status no_such_job(const char *id, ee_error *err) { return eei_fail(err, EE_E_NOT_FOUND, "there is no job \"%.39s\"", id); }

/* The row alone, for a decision. */
static ee_status find_job(store *db, const char *id, job_row *out, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    ee_status st = store_query(db, "SELECT " COLUMNS FROM " WHERE j.id = $1", STORE_WITH(store_cstr(id)), &rows, err);
    if (st) return st;
    st = store_next(rows, &row, err);
    if (!st && row) read_row(rows, out);
    store_rows_close(rows);
    return !st && !row ? no_such_job(id, err) : st;
}

ee_status jobs_get(store *db, const char *id, job_row *out, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    ee_status st = store_query(db, "SELECT " COLUMNS ", j.spec, j.spend_auth, j.receipt" FROM " WHERE j.id = $1",
                               STORE_WITH(store_cstr(id)), &rows, err);
    if (st) return st;
    st = store_next(rows, &row, err);
    if (!st && row) {
        read_row(rows, out);
        st = read_blob(rows, BLOB_COLUMN, &out->spec, err);
        if (!st) st = read_blob(rows, BLOB_COLUMN + 1, &out->spend_auth, err);
        if (!st) st = read_blob(rows, BLOB_COLUMN + 2, &out->receipt, err);
    }
    store_rows_close(rows);
    return !st && !row ? no_such_job(id, err) : st;
}

/* Three queries, so that each walks an index in the order of its answer. "~" is past every id. */
static ee_status query_list(store *db, const job_list_query *q, store_rows **out, ee_error *err) {
    const char *before = q->before[0] ? q->before : "~";
    const int64_t limit = q->limit ? q->limit : 100;
    if (q->account)
        return store_query(
            db,
            "SELECT " COLUMNS FROM " WHERE j.account = $1 AND j.id < $2 AND ($3 = 0 OR j.state < 5)"
            " AND ($4 = 0 OR j.node = $4) ORDER BY j.id DESC LIMIT $5",
            STORE_WITH(store_i64(q->account), store_cstr(before), store_i64(q->only_open), store_i64(q->node), store_i64(limit)), out, err);
    if (q->node && q->only_open)
        return store_query(db, "SELECT " COLUMNS FROM " WHERE j.node = $1 AND j.state < 5 AND j.id < $2 ORDER BY j.id DESC LIMIT $3",
                           STORE_WITH(store_i64(q->node), store_cstr(before), store_i64(limit)), out, err);
    return store_query(db,
                       "SELECT " COLUMNS FROM " WHERE j.id < $1 AND ($2 = 0 OR j.state < 5) AND ($3 = 0 OR j.node = $3)"
                       " ORDER BY j.id DESC LIMIT $4",
                       STORE_WITH(store_cstr(before), store_i64(q->only_open), store_i64(q->node), store_i64(limit)), out, err);
}

ee_status jobs_list(store *db, const job_list_query *query, job_row_fn fn, void *user, ee_error *err) {
    store_rows *rows = NULL;
    job_row job;
    bool row = false;
    job_row_init(&job);
    ee_status st = query_list(db, query, &rows, err);
    while (!st) {
        st = store_next(rows, &row, err);
        if (st || !row) break;
        read_row(rows, &job);
        if (!fn(user, &job)) break;
    }
    store_rows_close(rows);
    return st;
}

/* ---- admission ------------------------------------------------------------------------------------------------------ */

static ee_status check_request(const job_admit_request *r, ee_error *err) {
    uint8_t hash[32];
    if (!r->id[0]) return eei_fail(err, EE_E_INVALID, "the job has no id");
    if (!r->spec.len || r->spec.len > JOB_SPEC_BYTES_MAX)
        return eei_fail(err, EE_E_INVALID, "the job's spec is %zu bytes, limit %u", r->spec.len, JOB_SPEC_BYTES_MAX);
    if (!r->spend_auth_envelope.len || r->spend_auth_envelope.len > JOB_ENVELOPE_BYTES_MAX)
        return eei_fail(err, EE_E_INVALID, "the spend authorisation is %zu bytes, limit %u", r->spend_auth_envelope.len,
                        JOB_ENVELOPE_BYTES_MAX);
    if (!r->vcpus_milli || r->vcpus_milli > INT32_MAX) return eei_fail(err, EE_E_INVALID, "a job needs some vcpus");
    if (!r->memory_bytes || r->memory_bytes > INT64_MAX) return eei_fail(err, EE_E_INVALID, "a job needs some memory");
    if (!r->wall_ms || r->wall_ms > INT64_MAX) return eei_fail(err, EE_E_INVALID, "a job needs a time limit");
    if (r->now_ms > INT64_MAX || r->connect_by_ms > INT64_MAX) return eei_fail(err, EE_E_INVALID, "a time of the job is too large");
    eei_sha256(r->spec, hash);
    if (!eei_span_equal(eei_span(hash, sizeof hash), eei_span(r->auth.spec_hash, sizeof r->auth.spec_hash)))
        return eei_fail(err, EE_E_INVALID, "the spend authorisation is for another spec");
    return EE_OK;
}

/* What the signer allowed, against what it would be now. (threats M11, M12) */
static ee_status check_auth(const job_admit_request *r, const ledger_principal *node, ee_money ceiling, ee_error *err) {
    char a[32], b[32];
    if (r->auth.not_after_ms <= r->now_ms)
        return eei_fail(err, EE_E_EXPIRED, "the spend authorisation ran out %" PRIu64 " ms ago", r->now_ms - r->auth.not_after_ms);
    if (!eei_span_equal(r->auth.node, eei_span_text(node->name)))
        return eei_fail(err, EE_E_CONFLICT, "the spend authorisation is for another node than %s", node->name);
    if (r->price > r->auth.price) {
        ee_status st = eei_fail(err, EE_E_CONFLICT, "the price of %s is now %s per vcpu-hour, it was quoted at %s", node->name,
                                ee_money_format(r->price, a), ee_money_format(r->auth.price, b));
        return eei_hint(err, st, "Ask for a new quote.");
    }
    if (ceiling > r->auth.max_total) {
        ee_status st = eei_fail(err, EE_E_BUDGET, "this job may cost up to %s and %s is authorised", ee_money_format(ceiling, a),
                                ee_money_format(r->auth.max_total, b));
        if (err) {
            err->needed = ceiling;
            err->available = r->auth.max_total;
        }
        return eei_hint(err, st, "authorise more, or ask for less time or fewer vcpus");
    }
    return EE_OK;
}

static ee_status check_unused(store *db, const job_admit_request *r, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    char id[JOB_ID_CAP] = "";
    ee_status st = store_query(db, "SELECT id FROM job WHERE account = $1 AND auth_id = $2",
                               STORE_WITH(store_i64(r->account), store_bytes(r->auth.auth_id, sizeof r->auth.auth_id)), &rows, err);
    if (st) return st;
    st = store_next(rows, &row, err);
    if (!st && row) store_get_name(rows, 0, id, sizeof id);
    store_rows_close(rows);
    if (!st && row) st = eei_fail(err, EE_E_CONFLICT, "the spend authorisation was used for the job %s", id);
    return st;
}

static ee_status check_open_jobs(store *db, const job_admit_request *r, ee_error *err) {
    int64_t open = 0;
    if (!r->open_jobs_max) return EE_OK;
    ee_status st =
        store_get_one(db, "SELECT count(*) FROM job WHERE account = $1 AND state < 5", STORE_WITH(store_i64(r->account)), &open, err);
    if (st || open < (int64_t)r->open_jobs_max) return st;
    st = eei_fail(err, EE_E_RATE_LIMIT, "the account has %" PRId64 " jobs that have not ended, limit %u", open, r->open_jobs_max);
    return eei_hint(err, st, "Wait for one to end, or cancel one.");
}

static ee_status insert_job(store *db, const job_admit_request *r, ee_money locked, int64_t lock_seq, ee_error *err) {
    return store_exec(
        db,
        "INSERT INTO job(id, account, node, instance, auth_id, spec, spec_hash, spend_auth, state, price, locked, lock_seq, period_ms,"
        " vcpus_milli, memory_bytes, wall_ms, created_ms, changed_ms, connect_by_ms)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        STORE_WITH(store_cstr(r->id), store_i64(r->account), store_i64(r->node), store_bytes(r->instance_id, sizeof r->instance_id),
                   store_bytes(r->auth.auth_id, sizeof r->auth.auth_id), store_blob(r->spec),
                   store_bytes(r->auth.spec_hash, sizeof r->auth.spec_hash), store_blob(r->spend_auth_envelope), store_i64(r->price),
                   store_i64(locked), lock_seq ? store_i64(lock_seq) : store_null(), store_i64((int64_t)r->period_ms),
                   store_i64((int64_t)r->vcpus_milli), store_i64((int64_t)r->memory_bytes), store_i64((int64_t)r->wall_ms),
                   store_i64((int64_t)r->now_ms), store_i64((int64_t)r->now_ms), store_i64((int64_t)r->connect_by_ms)),
        NULL, err);
}

/* A key that is new: everything that can refuse, then the lock, then the row. */
static ee_status admit_new(store *db, const job_admit_request *r, job_admitted *out, ee_error *err) {
    ledger_principal node;
    ee_money ceiling = 0;
    ee_status st = ledger_get_principal(db, r->node, &node, err);
    if (!st) st = eei_price_ceiling(r->price, r->vcpus_milli, r->wall_ms, &ceiling, err);
    if (!st) st = check_auth(r, &node, ceiling, err);
    if (!st) st = check_unused(db, r, err);
    if (!st) st = check_open_jobs(db, r, err);
    if (st) return st;
    const ledger_lock_request lock = {.user = r->account,
                                      .node = r->node,
                                      .period_ms = r->period_ms,
                                      .ref = eei_span_text(r->id),
                                      .amount = ceiling,
                                      .expires_ms = r->lock_expires_ms,
                                      .evidence = r->spend_auth_envelope,
                                      .what = "this job",
                                      .now_ms = r->now_ms};
    memset(out, 0, sizeof *out);
    st = ledger_lock(db, &lock, &out->lock_seq, &out->balance_after, err);
    if (st) return st;
    (void)snprintf(out->id, sizeof out->id, "%s", r->id);
    out->locked = ceiling;
    return insert_job(db, r, ceiling, out->lock_seq, err);
}

ee_status jobs_admit(store *db, const job_admit_request *r, job_admitted *out, ee_error *err) {
    ledger_principal account;
    ledger_outcome was;
    uint8_t content[32];
    bool found = false;

    ee_status st = check_request(r, err);
    if (!st) st = ledger_get_principal(db, r->account, &account, err);
    if (st) return st;
    ledger_content_hash("job", (const ee_span[]){eei_span(r->auth.spec_hash, sizeof r->auth.spec_hash)}, 1, content);
    st = ledger_recall(db, r->account, r->key, content, &found, &was, err);
    if (st) return st;
    if (found) {
        memset(out, 0, sizeof *out);
        (void)snprintf(out->id, sizeof out->id, "%.*s", (int)sizeof out->id - 1, was.text);
        out->locked = was.amount;
        out->balance_after = was.after;
        out->lock_seq = was.number;
        out->replayed = true;
        return EE_OK;
    }
    st = admit_new(db, r, out, err);
    if (st) return ledger_refuse(db, r->account, r->key, content, r->now_ms, st, err);
    memset(&was, 0, sizeof was);
    was.number = out->lock_seq;
    (void)snprintf(was.text, sizeof was.text, "%s", out->id);
    was.amount = out->locked;
    was.after = out->balance_after;
    was.time_ms = r->now_ms;
    return ledger_remember(db, r->account, r->key, content, &was, err);
}

/* ---- steps ---------------------------------------------------------------------------------------------------------- */

static ee_status must_change_one(ee_status st, int64_t changed, const char *id, ee_error *err) {
    return !st && changed != 1 ? eei_fail(err, EE_E_CONFLICT, "the job %s changed meanwhile", id) : st;
}

static ee_status has_ended(const job_row *job, ee_error *err) {
    if (job->state == JOB_FAILED)
        return eei_fail(err, EE_E_CONFLICT, "the job %s has failed (%s) and its lock was returned", job->id, job->word);
    return eei_fail(err, EE_E_CONFLICT, "the job %s is done and its receipt is booked", job->id);
}

ee_status jobs_progress(store *db, const char *id, const uint8_t instance_id[32], job_state state, uint64_t now_ms, ee_error *err) {
    job_row job;
    int64_t changed = 0;
    job_row_init(&job);
    if (state < JOB_WAITING || state > JOB_RUNNING) return eei_fail(err, EE_E_INVALID, "a job is not set to \"%s\"", job_state_word(state));
    ee_status st = find_job(db, id, &job, err);
    if (st) return st;
    if (!eei_same(job.instance_id, instance_id, sizeof job.instance_id))
        return eei_fail(err, EE_E_PERMISSION, "the job %s is not this instance's", job.id);
    if (job.state == state) return EE_OK;
    if (job.state >= JOB_DONE) return has_ended(&job, err);
    if (job.state > state)
        return eei_fail(err, EE_E_CONFLICT, "the job %s is %s already, not %s", job.id, job_state_word(job.state), job_state_word(state));
    st = store_exec(db, "UPDATE job SET state = $1, changed_ms = $2, started_ms = $3 WHERE id = $4 AND state = $5",
                    STORE_WITH(store_i64(state), store_i64((int64_t)now_ms),
                               store_i64(state == JOB_RUNNING ? (int64_t)now_ms : (int64_t)job.started_ms), store_cstr(id),
                               store_i64(job.state)),
                    &changed, err);
    return must_change_one(st, changed, job.id, err);
}

static bool differs(const void *a, const void *b, size_t len) { return !eei_span_equal(eei_span(a, len), eei_span(b, len)); }

/* A receipt is taken whole or not at all: a field that differs means it is not this job's. */
static ee_status check_receipt(const job_row *job, const job_receipt *r, ee_error *err) {
    const char *field = NULL;
    char a[32], b[32];
    if (differs(r->instance_id, job->instance_id, sizeof job->instance_id))
        field = "instance";
    else if (differs(r->auth_id, job->auth_id, sizeof job->auth_id))
        field = "spend authorisation";
    else if (differs(r->spec_hash, job->spec_hash, sizeof job->spec_hash))
        field = "spec";
    else if (!eei_span_equal(r->node, eei_span_text(job->node_name)))
        field = "node";
    else if (r->price != job->price)
        field = "price";
    else if (r->vcpus_milli != job->vcpus_milli)
        field = "number of vcpus";
    if (field) return eei_fail(err, EE_E_CONFLICT, "the receipt of %s names another %s", job->id, field);
    if (r->end_ms < r->start_ms) return eei_fail(err, EE_E_CONFLICT, "the receipt of %s ends before it starts", job->id);
    if (r->vcpu_ms > INT64_MAX || r->exit_code > INT64_MAX || r->reason.len >= sizeof job->word)
        return eei_fail(err, EE_E_INVALID, "the receipt of %s has a number over its limit", job->id);
    ee_money charge = eei_price_charge(job->price, r->vcpu_ms, job->locked);
    if (r->charge != charge)
        return eei_fail(err, EE_E_CONFLICT, "the receipt of %s charges %s for %" PRIu64 " vcpu-ms, which is %s", job->id,
                        ee_money_format(r->charge, a), r->vcpu_ms, ee_money_format(charge, b));
    return EE_OK;
}

static ee_status write_done(store *db, const job_row *job, const job_receipt *r, ee_span envelope, const uint8_t hash[32], uint64_t now_ms,
                            ee_money returned, ee_error *err) {
    int64_t changed = 0;
    ee_status st = store_exec(
        db,
        "UPDATE job SET state = 5, word = $1, charge = $2, returned = $3, vcpu_ms = $4, exit_code = $5, receipt = $6, receipt_hash = $7,"
        " started_ms = $8, ended_ms = $9, changed_ms = $10 WHERE id = $11 AND state < 5",
        STORE_WITH(store_text(r->reason), store_i64(r->charge), store_i64(returned), store_i64((int64_t)r->vcpu_ms),
                   store_i64((int64_t)r->exit_code), store_blob(envelope), store_bytes(hash, 32),
                   store_i64((int64_t)(r->start_ms <= INT64_MAX ? r->start_ms : 0)), store_i64((int64_t)now_ms), store_i64((int64_t)now_ms),
                   store_cstr(job->id)),
        &changed, err);
    return must_change_one(st, changed, job->id, err);
}

ee_status jobs_finish(store *db, const char *id, const job_receipt *receipt, ee_span envelope, uint64_t now_ms, job_finished *out,
                      ee_error *err) {
    job_row job;
    uint8_t hash[32];

    memset(out, 0, sizeof *out);
    job_row_init(&job);
    if (!envelope.len || envelope.len > JOB_ENVELOPE_BYTES_MAX)
        return eei_fail(err, EE_E_INVALID, "the receipt is %zu bytes, limit %u", envelope.len, JOB_ENVELOPE_BYTES_MAX);
    ee_status st = find_job(db, id, &job, err);
    if (st) return st;
    eei_sha256(envelope, hash);
    if (job.state == JOB_DONE && eei_span_equal(eei_span(hash, sizeof hash), eei_span(job.receipt_hash, sizeof job.receipt_hash))) {
        out->charge = job.charge;
        out->returned = job.returned;
        out->replayed = true;
        return EE_OK;
    }
    if (job.state >= JOB_DONE) return has_ended(&job, err);
    st = check_receipt(&job, receipt, err);
    if (st) return st;
    out->charge = receipt->charge;
    if (job.lock_seq) st = ledger_lock_use(db, job.lock_seq, receipt->charge, envelope, now_ms, &out->returned, err);
    return st ? st : write_done(db, &job, receipt, envelope, hash, now_ms, out->returned, err);
}

ee_status jobs_fail(store *db, const char *id, const char *word, const char *message, uint64_t now_ms, ee_money *returned, ee_error *err) {
    job_row job;
    int64_t changed = 0;

    *returned = 0;
    job_row_init(&job);
    ee_status st = find_job(db, id, &job, err);
    if (st) return st;
    if (job.state == JOB_FAILED) {
        *returned = job.returned;
        return EE_OK;
    }
    if (job.state == JOB_DONE) return has_ended(&job, err);
    if (job.lock_seq) st = ledger_lock_void(db, job.lock_seq, eei_span(NULL, 0), now_ms, returned, err);
    if (st) return st;
    st = store_exec(
        db, "UPDATE job SET state = 6, word = $1, message = $2, returned = $3, ended_ms = $4, changed_ms = $5 WHERE id = $6 AND state < 5",
        STORE_WITH(store_cstr(word ? word : ""), store_cstr(message ? message : ""), store_i64(*returned), store_i64((int64_t)now_ms),
                   store_i64((int64_t)now_ms), store_cstr(id)),
        &changed, err);
    return must_change_one(st, changed, job.id, err);
}
