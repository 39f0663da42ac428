/* ledger_keys.c - idempotency: the first answer to a key is the answer for ever, refusals too, so that a late duplicate can not succeed
 * after its sender gave up. Not for mints, whose key is the payment's reference. Called by the ledger, jobs_table and apps_table. */
#include "attest/statement.h"
#include "controlplane/ledger_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

ee_status ledger_check_key(ee_span key, const char *what, size_t max, ee_error *err) {
    if (!key.len || key.len > max) return eei_fail(err, EE_E_INVALID, "the %s must be 1 to %zu bytes, not %zu", what, max, key.len);
    for (size_t i = 0; i < key.len; i++)
        if (key.data[i] < 0x20 || key.data[i] > 0x7e)
            return eei_fail(err, EE_E_INVALID, "byte %zu of the %s is not printable ASCII", i + 1, what);
    return EE_OK;
}

void ledger_put_i64(uint8_t out[8], int64_t value) {
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
}

void ledger_content_hash(const char *operation, const ee_span *parts, size_t count, uint8_t out[32]) {
    /* Hash of hashes: fixed lengths, so no two requests run together, and no memory that could be missing. */
    uint8_t all[8 * 32];
    const size_t parts_max = sizeof all / 32 - 1;
    EE_ASSERT(count <= parts_max);
    eei_sha256(eei_span_text(operation), all);
    for (size_t i = 0; i < count; i++) eei_sha256(parts[i], all + 32 * (i + 1));
    eei_sha256(eei_span(all, 32 * (count + 1)), out);
}

/* A refusal comes back as it was, word for word. */
static ee_status refuse_again(store_rows *rows, ee_error *err) {
    char message[512], hint[256];
    ee_status st = (ee_status)store_get_i64(rows, 1);
    store_get_name(rows, 6, message, sizeof message);
    store_get_name(rows, 7, hint, sizeof hint);
    (void)eei_fail(err, st, "%s", message);
    if (hint[0]) (void)eei_hint(err, st, "%s", hint);
    if (err) {
        err->needed = store_get_i64(rows, 8);
        err->available = store_get_i64(rows, 9);
        err->locked = store_get_i64(rows, 10);
    }
    return st;
}

ee_status ledger_recall(store *db, int64_t principal, ee_span key, const uint8_t content[32], bool *found, ledger_outcome *out,
                        ee_error *err) {
    store_rows *rows = NULL;
    *found = false;
    ee_status st = ledger_check_key(key, "idempotency key", LEDGER_KEY_BYTES_MAX, err);
    if (st) return st;
    st = store_query(db,
                     "SELECT content, status, number, text, amount, after, message, hint, needed, available, locked, created_ms"
                     " FROM idempotency WHERE principal = $1 AND key = $2",
                     STORE_WITH(store_i64(principal), store_text(key)), &rows, err);
    if (st) return st;
    st = store_next(rows, found, err);
    if (!st && *found) {
        memset(out, 0, sizeof *out);
        out->status = (ee_status)store_get_i64(rows, 1);
        out->number = store_get_i64(rows, 2);
        store_get_name(rows, 3, out->text, sizeof out->text);
        out->amount = store_get_i64(rows, 4);
        out->after = store_get_i64(rows, 5);
        out->time_ms = (uint64_t)store_get_i64(rows, 11);
        if (!eei_span_equal(store_get_blob(rows, 0), eei_span(content, 32)))
            st = eei_fail(err, EE_E_IDEMPOTENCY, "the idempotency key was used for another request; nothing was done");
        else if (out->status)
            st = refuse_again(rows, err);
    }
    store_rows_close(rows);
    return st;
}

static ee_status insert_outcome(store *db, int64_t principal, ee_span key, const uint8_t content[32], const ledger_outcome *o,
                                const ee_error *story, ee_error *err) {
    return store_exec(
        db,
        "INSERT INTO idempotency(principal, key, content, status, number, text, amount, after, needed, available, locked, message, hint,"
        " created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        STORE_WITH(store_i64(principal), store_text(key), store_bytes(content, 32), store_i64(o->status), store_i64(o->number),
                   store_cstr(o->text), store_i64(o->amount), store_i64(o->after), store_i64(story ? story->needed : 0),
                   store_i64(story ? story->available : 0), store_i64(story ? story->locked : 0), store_cstr(story ? story->message : ""),
                   store_cstr(story ? story->hint : ""), store_i64((int64_t)o->time_ms)),
        NULL, err);
}

ee_status ledger_remember(store *db, int64_t principal, ee_span key, const uint8_t content[32], const ledger_outcome *outcome,
                          ee_error *err) {
    EE_ASSERT(outcome->status == EE_OK);
    return insert_outcome(db, principal, key, content, outcome, NULL, err);
}

/* Refusals that another state would not have given. The others are the same for ever, or are worth repeating. */
static bool depends_on_state(ee_status status) {
    return status == EE_E_LOW_BALANCE || status == EE_E_BUDGET || status == EE_E_NOT_FOUND || status == EE_E_CONFLICT ||
           status == EE_E_PERMISSION;
}

ee_status ledger_refuse(store *db, int64_t principal, ee_span key, const uint8_t content[32], uint64_t now_ms, ee_status status,
                        ee_error *err) {
    ee_error own, story;
    ledger_outcome outcome;
    if (!depends_on_state(status)) return status;
    if (!err) { /* the caller does not want the story, the next one to ask will */
        (void)eei_fail(&own, status, "%s", ee_status_text(status));
        err = &own;
    }
    story = *err;
    memset(&outcome, 0, sizeof outcome);
    outcome.status = status;
    outcome.time_ms = now_ms;
    ee_status st = store_undo_but_keep(db, err);
    if (!st) st = insert_outcome(db, principal, key, content, &outcome, &story, err);
    if (st) return st; /* not remembered, so not answered */
    return status;
}

ee_status ledger_forget(store *db, uint64_t before_ms, unsigned limit, ee_error *err) {
    return store_exec(db,
                      "DELETE FROM idempotency WHERE (principal, key) IN (SELECT principal, key FROM idempotency WHERE created_ms < $1"
                      " ORDER BY created_ms LIMIT $2)",
                      STORE_WITH(store_i64((int64_t)before_ms), store_i64(limit)), NULL, err);
}
