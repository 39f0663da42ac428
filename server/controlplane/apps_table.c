/* apps_table.c - rows of apps. A name belongs to the account that first deployed it, for ever and across restarts (threat S4); the epoch
 * fences off every older placement. Not for choosing nodes or probing. */
#include "controlplane/apps_table.h"

#include "attest/statement.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *app_state_word(app_state state) {
    static const char *const words[] = {
        [APP_DEPLOYING] = "deploying", [APP_RUNNING] = "running", [APP_FAILED] = "failed", [APP_STOPPED] = "stopped", [APP_LOST] = "lost"};
    return state >= APP_DEPLOYING && state <= APP_LOST ? words[state] : "?";
}

/* ---- reading -------------------------------------------------------------------------------------------------------- */

#define COLUMNS                                                                                                                            \
    "j.id, j.name, j.account, coalesce(j.node, 0), a.name, coalesce(n.name, ''), a.key, j.instance, j.spec_hash, j.epoch, j.state, "       \
    "j.word,"                                                                                                                              \
    " j.message, j.price, j.vcpus_milli, j.memory_bytes, j.port, j.created_ms, j.changed_ms, j.ceiling"
#define SPEC_COLUMN    20
#define FROM           " FROM app j JOIN principal a ON a.id = j.account LEFT JOIN principal n ON n.id = j.node"
#define GUESS_ROWS_MAX 5000

void app_row_init(app_row *row) {
    memset(row, 0, sizeof *row);
    row->spec = (eei_buf)EEI_BUF_INIT(APP_SPEC_BYTES_MAX);
}

void app_row_clear(app_row *row) { eei_buf_clear(&row->spec); }

static void read_fixed(store_rows *rows, int column, void *out, size_t len) {
    ee_span bytes = store_get_blob(rows, column);
    memset(out, 0, len);
    if (bytes.len == len) memcpy(out, bytes.data, len);
}

static void read_row(store_rows *rows, app_row *out) {
    store_get_name(rows, 0, out->id, sizeof out->id);
    store_get_name(rows, 1, out->name, sizeof out->name);
    out->account = store_get_i64(rows, 2);
    out->node = store_get_i64(rows, 3);
    store_get_name(rows, 4, out->account_name, sizeof out->account_name);
    store_get_name(rows, 5, out->node_name, sizeof out->node_name);
    read_fixed(rows, 6, out->account_key, sizeof out->account_key);
    read_fixed(rows, 7, out->instance_id, sizeof out->instance_id);
    read_fixed(rows, 8, out->spec_hash, sizeof out->spec_hash);
    out->epoch = (uint64_t)store_get_i64(rows, 9);
    out->state = (app_state)store_get_i64(rows, 10);
    store_get_name(rows, 11, out->word, sizeof out->word);
    store_get_name(rows, 12, out->message, sizeof out->message);
    out->price = store_get_i64(rows, 13);
    out->vcpus_milli = (uint64_t)store_get_i64(rows, 14);
    out->memory_bytes = (uint64_t)store_get_i64(rows, 15);
    out->port = (uint64_t)store_get_i64(rows, 16);
    out->created_ms = (uint64_t)store_get_i64(rows, 17);
    out->changed_ms = (uint64_t)store_get_i64(rows, 18);
    out->ceiling = store_get_i64(rows, 19);
}

/* EE_E_NOT_FOUND without a message. */
static ee_status select_app(store *db, const char *sql, store_value key, app_row *out, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    ee_status st = store_query(db, sql, STORE_WITH(key), &rows, err);
    if (st) return st;
    st = store_next(rows, &row, err);
    if (!st && row) {
        read_row(rows, out);
        eei_buf_reset(&out->spec);
        st = eei_buf_append_span(&out->spec, store_get_blob(rows, SPEC_COLUMN));
        if (st) st = st == EE_E_NOMEM ? eei_nomem(err) : eei_fail(err, st, "a stored spec is over its limit");
    }
    store_rows_close(rows);
    return !st && !row ? EE_E_NOT_FOUND : st;
}

static ee_status find_name(store *db, ee_span name, app_row *out, ee_error *err) {
    return select_app(db, "SELECT " COLUMNS ", j.spec" FROM " WHERE j.name = $1", store_text(name), out, err);
}

static ee_status no_such_app(store *db, ee_span name, ee_error *err) {
    names_guess guess = names_guess_for(name);
    store_rows *rows = NULL;
    bool row = false;
    ee_status st =
        store_query(db, "SELECT name FROM app WHERE state <> 4 ORDER BY name LIMIT $1", STORE_WITH(store_i64(GUESS_ROWS_MAX)), &rows, err);
    while (!st) {
        st = store_next(rows, &row, err);
        if (st || !row) break;
        names_guess_offer(&guess, store_get_text(rows, 0));
    }
    store_rows_close(rows);
    return st ? st : names_not_found(&guess, "app", err);
}

ee_status apps_get(store *db, ee_span name, app_row *out, ee_error *err) {
    ee_status st = names_valid(name) ? find_name(db, name, out, err) : EE_E_NOT_FOUND;
    return st == EE_E_NOT_FOUND ? no_such_app(db, name, err) : st;
}

ee_status apps_get_id(store *db, const char *id, app_row *out, ee_error *err) {
    ee_status st = select_app(db, "SELECT " COLUMNS ", j.spec" FROM " WHERE j.id = $1", store_cstr(id), out, err);
    return st == EE_E_NOT_FOUND ? eei_fail(err, st, "there is no app \"%.39s\"", id) : st;
}

ee_status apps_list(store *db, const app_list_query *q, app_row_fn fn, void *user, ee_error *err) {
    store_rows *rows = NULL;
    app_row app;
    bool row = false;
    app_row_init(&app);
    ee_status st = store_query(db,
                               "SELECT " COLUMNS FROM " WHERE j.name > $1 AND ($2 = 0 OR j.account = $2) AND ($3 = 0 OR j.node = $3)"
                               " AND ($4 = 0 OR j.state NOT IN (3, 4)) ORDER BY j.name LIMIT $5",
                               STORE_WITH(store_cstr(q->after), store_i64(q->account), store_i64(q->node), store_i64(q->only_live),
                                          store_i64(q->limit ? q->limit : 100)),
                               &rows, err);
    while (!st) {
        st = store_next(rows, &row, err);
        if (st || !row) break;
        read_row(rows, &app);
        if (!fn(user, &app)) break;
    }
    store_rows_close(rows);
    return st;
}

/* ---- steps ---------------------------------------------------------------------------------------------------------- */

static ee_status must_change_one(ee_status st, int64_t changed, const char *name, ee_error *err) {
    return !st && changed != 1 ? eei_fail(err, EE_E_CONFLICT, "the app %s changed meanwhile", name) : st;
}

static ee_status check_request(const app_deploy_request *r, ee_error *err) {
    uint8_t hash[32];
    ee_status st = names_check(r->name, "app", err);
    if (st) return st;
    if (!r->id[0]) return eei_fail(err, EE_E_INVALID, "the app has no id");
    if (!r->spec.len || r->spec.len > APP_SPEC_BYTES_MAX)
        return eei_fail(err, EE_E_INVALID, "the app's spec is %zu bytes, limit %u", r->spec.len, APP_SPEC_BYTES_MAX);
    if (!r->vcpus_milli || r->vcpus_milli > INT32_MAX) return eei_fail(err, EE_E_INVALID, "an app needs some vcpus");
    if (!r->memory_bytes || r->memory_bytes > INT64_MAX) return eei_fail(err, EE_E_INVALID, "an app needs some memory");
    if (r->port > UINT16_MAX) return eei_fail(err, EE_E_INVALID, "port %" PRIu64 " does not exist", r->port);
    if (r->price < 0 || r->ceiling < 0 || r->now_ms > INT64_MAX) return eei_fail(err, EE_E_INVALID, "a number of the app is out of range");
    eei_sha256(r->spec, hash);
    return eei_span_equal(eei_span(hash, sizeof hash), eei_span(r->spec_hash, sizeof r->spec_hash))
               ? EE_OK
               : eei_fail(err, EE_E_INVALID, "the hash is of another spec");
}

static ee_status check_app_count(store *db, const app_deploy_request *r, ee_error *err) {
    int64_t count = 0;
    if (!r->apps_max) return EE_OK;
    ee_status st = store_get_one(db, "SELECT count(*) FROM app WHERE account = $1", STORE_WITH(store_i64(r->account)), &count, err);
    if (st || count < (int64_t)r->apps_max) return st;
    return eei_fail(err, EE_E_RATE_LIMIT, "the account owns %" PRId64 " app names, limit %u", count, r->apps_max);
}

static ee_status insert_app(store *db, const app_deploy_request *r, ee_error *err) {
    ee_status st = check_app_count(db, r, err);
    if (st) return st;
    return store_exec(db,
                      "INSERT INTO app(id, name, account, node, instance, epoch, state, spec, spec_hash, price, vcpus_milli, memory_bytes, "
                      "port, created_ms,"
                      " changed_ms, ceiling) VALUES ($1, $2, $3, $4, $5, 1, 1, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
                      STORE_WITH(store_cstr(r->id), store_text(r->name), store_i64(r->account), r->node ? store_i64(r->node) : store_null(),
                                 store_bytes(r->instance_id, sizeof r->instance_id), store_blob(r->spec),
                                 store_bytes(r->spec_hash, sizeof r->spec_hash), store_i64(r->price), store_i64((int64_t)r->vcpus_milli),
                                 store_i64((int64_t)r->memory_bytes), store_i64((int64_t)r->port), store_i64((int64_t)r->now_ms),
                                 store_i64((int64_t)r->now_ms), store_i64(r->ceiling)),
                      NULL, err);
}

static ee_status redeploy(store *db, const app_deploy_request *r, const app_row *app, ee_error *err) {
    int64_t changed = 0;
    ee_status st = store_exec(
        db,
        "UPDATE app SET node = $1, instance = $2, epoch = $3, state = 1, word = '', message = '', spec = $4, spec_hash = $5, price = $6,"
        " vcpus_milli = $7, memory_bytes = $8, port = $9, changed_ms = $10, ceiling = $11 WHERE id = $12 AND epoch = $13",
        STORE_WITH(r->node ? store_i64(r->node) : store_null(), store_bytes(r->instance_id, sizeof r->instance_id),
                   store_i64((int64_t)app->epoch + 1), store_blob(r->spec), store_bytes(r->spec_hash, sizeof r->spec_hash),
                   store_i64(r->price), store_i64((int64_t)r->vcpus_milli), store_i64((int64_t)r->memory_bytes),
                   store_i64((int64_t)r->port), store_i64((int64_t)r->now_ms), store_i64(r->ceiling), store_cstr(app->id),
                   store_i64((int64_t)app->epoch)),
        &changed, err);
    return must_change_one(st, changed, app->name, err);
}

static ee_status deploy_new(store *db, const app_deploy_request *r, app_deployed *out, ee_error *err) {
    app_row app;
    app_row_init(&app);
    memset(out, 0, sizeof *out);
    ee_status st = find_name(db, r->name, &app, err);
    if (st == EE_E_NOT_FOUND) {
        st = insert_app(db, r, err);
        (void)snprintf(out->id, sizeof out->id, "%s", r->id);
        out->epoch = 1;
    } else if (!st && app.account != r->account) {
        st = eei_fail(err, EE_E_PERMISSION, "the app name \"%s\" belongs to another account", app.name);
    } else if (!st) {
        st = redeploy(db, r, &app, err);
        (void)snprintf(out->id, sizeof out->id, "%s", app.id);
        out->epoch = app.epoch + 1;
    }
    app_row_clear(&app);
    return st;
}

ee_status apps_deploy(store *db, const app_deploy_request *r, app_deployed *out, ee_error *err) {
    ledger_principal account;
    ledger_outcome was;
    uint8_t content[32];
    bool found = false;

    ee_status st = check_request(r, err);
    if (!st) st = ledger_get_principal(db, r->account, &account, err);
    if (st) return st;
    ledger_content_hash("app", (const ee_span[]){r->name, eei_span(r->spec_hash, sizeof r->spec_hash)}, 2, content);
    st = ledger_recall(db, r->account, r->key, content, &found, &was, err);
    if (st) return st;
    if (found) {
        memset(out, 0, sizeof *out);
        (void)snprintf(out->id, sizeof out->id, "%.*s", (int)sizeof out->id - 1, was.text);
        out->epoch = (uint64_t)was.number;
        out->replayed = true;
        return EE_OK;
    }
    st = deploy_new(db, r, out, err);
    if (st) return ledger_refuse(db, r->account, r->key, content, r->now_ms, st, err);
    memset(&was, 0, sizeof was);
    was.number = (int64_t)out->epoch;
    (void)snprintf(was.text, sizeof was.text, "%s", out->id);
    was.time_ms = r->now_ms;
    return ledger_remember(db, r->account, r->key, content, &was, err);
}

ee_status apps_place(store *db, const char *id, uint64_t epoch_seen, int64_t node, const uint8_t instance_id[32], ee_money price,
                     uint64_t now_ms, uint64_t *epoch, ee_error *err) {
    int64_t changed = 0;
    if (epoch_seen >= INT64_MAX) return eei_fail(err, EE_E_INVALID, "there is no epoch %" PRIu64, epoch_seen);
    ee_status st =
        store_exec(db,
                   "UPDATE app SET node = $1, instance = $2, epoch = $3, state = 1, word = '', message = '', price = $4,"
                   " changed_ms = $5 WHERE id = $6 AND epoch = $7 AND state <> 4",
                   STORE_WITH(node ? store_i64(node) : store_null(), store_bytes(instance_id, 32), store_i64((int64_t)epoch_seen + 1),
                              store_i64(price), store_i64((int64_t)now_ms), store_cstr(id), store_i64((int64_t)epoch_seen)),
                   &changed, err);
    if (st) return st;
    if (changed != 1) return eei_fail(err, EE_E_CONFLICT, "the app %.39s was stopped, or is no longer at epoch %" PRIu64, id, epoch_seen);
    *epoch = epoch_seen + 1;
    return EE_OK;
}

/* Within one epoch. STOPPED is left by a new deployment only. */
static bool may_become(app_state from, app_state to) {
    switch (to) {
    case APP_RUNNING: return from == APP_DEPLOYING;
    case APP_FAILED:
    case APP_LOST: return from == APP_DEPLOYING || from == APP_RUNNING;
    case APP_STOPPED: return from != APP_STOPPED;
    case APP_DEPLOYING: break;
    }
    return false;
}

static ee_status write_state(store *db, const app_row *app, app_state state, const char *word, const char *message, uint64_t now_ms,
                             ee_error *err) {
    int64_t changed = 0;
    ee_status st =
        store_exec(db, "UPDATE app SET state = $1, word = $2, message = $3, changed_ms = $4 WHERE id = $5 AND epoch = $6 AND state = $7",
                   STORE_WITH(store_i64(state), store_cstr(word ? word : ""), store_cstr(message ? message : ""),
                              store_i64((int64_t)now_ms), store_cstr(app->id), store_i64((int64_t)app->epoch), store_i64(app->state)),
                   &changed, err);
    return must_change_one(st, changed, app->name, err);
}

ee_status apps_set_state(store *db, const char *id, uint64_t epoch, app_state state, const char *word, const char *message, uint64_t now_ms,
                         ee_error *err) {
    app_row app;
    app_row_init(&app);
    ee_status st = apps_get_id(db, id, &app, err);
    if (!st && app.epoch != epoch)
        st = eei_fail(err, EE_E_CONFLICT, "the app %s is at epoch %" PRIu64 ", not %" PRIu64, app.name, app.epoch, epoch);
    else if (!st && app.state != state && !may_become(app.state, state))
        st = eei_fail(err, EE_E_CONFLICT, "the app %s is %s and can not become %s", app.name, app_state_word(app.state),
                      app_state_word(state));
    if (!st && app.state != state) st = write_state(db, &app, state, word, message, now_ms, err);
    app_row_clear(&app);
    return st;
}

ee_status apps_stop(store *db, ee_span name, int64_t account, uint64_t now_ms, app_row *out, ee_error *err) {
    ee_status st = apps_get(db, name, out, err);
    if (st) return st;
    if (out->account != account) return eei_fail(err, EE_E_PERMISSION, "the app \"%s\" belongs to another account", out->name);
    if (out->state == APP_STOPPED) return EE_OK;
    st = write_state(db, out, APP_STOPPED, "", "stopped by its owner", now_ms, err);
    if (!st) out->state = APP_STOPPED;
    return st;
}
