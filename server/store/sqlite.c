/* sqlite.c - store.h on SQLite. Not for rules about money. Measured: WAL with synchronous=FULL loses nothing acknowledged over 2,000
 * simulated power cuts, NORMAL does; STRICT tables and triggers cost nothing that can be measured. */
#include "base/alloc.h"
#include "base/log.h"
#include "store/schema.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define STATEMENTS_MAX     256u       /* a power of two; there are under 100 distinct statements */
#define APPLICATION_ID     0x45454c31 /* "EEL1" */
#define BUSY_MS            5000
#define WAL_BYTES_KEPT_MAX "67108864"

struct store_rows {
    store *db;
    sqlite3_stmt *stmt;
    bool busy;
    bool own; /* not in the cache: its twin was in use */
};
struct store {
    sqlite3 *sqlite;
    int lock_fd; /* flock on <path>-writer: one writing process */
    bool read_only, in_transaction, in_work, keep, lost, broken;
    int64_t schema;
    store_rows cache[STATEMENTS_MAX];
    size_t cached;
};

/* ---- errors --------------------------------------------------------------------------------------------------------- */

/* SQLite's codes end here. The text is SQLite's own and names tables and rules, never values. */
static ee_status translate(store *db, int rc, const char *doing, ee_error *err) {
    const char *text = db->sqlite ? sqlite3_errmsg(db->sqlite) : sqlite3_errstr(rc);
    int extended = db->sqlite ? sqlite3_extended_errcode(db->sqlite) : rc;
    ee_status st = EE_E_IO;

    switch (rc & 0xff) {
    case SQLITE_NOMEM: st = eei_fail(err, EE_E_NOMEM, "%s: out of memory", doing); break;
    case SQLITE_FULL:
        st = eei_fail(err, EE_E_IO, "%s: the disk of the database is full", doing);
        (void)eei_hint(err, st, "Nothing was written. Free space on that disk and repeat the request.");
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: st = eei_fail(err, EE_E_AGAIN, "%s: the database is in use: %s", doing, text); break;
    case SQLITE_CONSTRAINT:
        if (extended == SQLITE_CONSTRAINT_UNIQUE || extended == SQLITE_CONSTRAINT_PRIMARYKEY || extended == SQLITE_CONSTRAINT_ROWID)
            st = eei_fail(err, EE_E_CONFLICT, "%s: %s", doing, text);
        else
            st = eei_fail(err, EE_E_INTERNAL, "%s: refused by the database: %s", doing, text);
        break;
    case SQLITE_MISMATCH:
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
    case SQLITE_RANGE: st = eei_fail(err, EE_E_INTERNAL, "%s: %s", doing, text); break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        st = eei_fail(err, EE_E_IO, "%s: the database file is damaged: %s", doing, text);
        (void)eei_hint(err, st, "Stop the control plane and restore the file from a copy.");
        break;
    default: st = eei_fail(err, EE_E_IO, "%s: %s", doing, text); break;
    }
    if (err) err->native_code = (uint32_t)extended;
    return st;
}

/* Full disk, I/O errors and lack of memory may end the transaction behind our back: look after every error. */
static void note_loss(store *db, int rc) {
    int primary = rc & 0xff;
    if (!db->in_transaction) return;
    if (sqlite3_get_autocommit(db->sqlite) || primary == SQLITE_IOERR || primary == SQLITE_CORRUPT) db->lost = true;
}

static ee_status check_usable(const store *db, ee_error *err) {
    if (db->broken) return eei_fail(err, EE_E_SERVER, "the outcome of an earlier commit is not known; the database must be opened again");
    if (db->lost) return eei_fail(err, EE_E_IO, "the transaction was ended by an earlier error; nothing of it happened");
    return EE_OK;
}

/* ---- statements ----------------------------------------------------------------------------------------------------- */

/* SQLite numbers $n by first use, PostgreSQL by n: they are the same only when first uses come in order. */
static bool placeholders_in_order(sqlite3_stmt *stmt, size_t count) {
    char want[16];
    if ((size_t)sqlite3_bind_parameter_count(stmt) != count) return false;
    for (size_t i = 1; i <= count; i++) {
        const char *name = sqlite3_bind_parameter_name(stmt, (int)i);
        (void)snprintf(want, sizeof want, "$%zu", i);
        if (!name || strcmp(name, want) != 0) return false;
    }
    return true;
}

static ee_status prepare(store *db, const char *sql, size_t count, bool keep, sqlite3_stmt **out, ee_error *err) {
    int rc = sqlite3_prepare_v3(db->sqlite, sql, -1, keep ? SQLITE_PREPARE_PERSISTENT : 0, out, NULL);
    if (rc != SQLITE_OK) {
        note_loss(db, rc);
        return translate(db, rc, "prepare", err);
    }
    EE_ASSERT(placeholders_in_order(*out, count));
    return EE_OK;
}

static size_t slot_of(const char *sql) {
    uintptr_t at = (uintptr_t)sql;
    return (size_t)((at >> 4) ^ (at >> 12)) & (STATEMENTS_MAX - 1);
}

static ee_status make_own(store *db, const char *sql, size_t count, store_rows **out, ee_error *err) {
    store_rows *rows = eei_calloc(1, sizeof *rows);
    if (!rows) return eei_nomem(err);
    ee_status st = prepare(db, sql, count, false, &rows->stmt, err);
    if (st) {
        eei_free(rows);
        return st;
    }
    rows->db = db;
    rows->own = rows->busy = true;
    *out = rows;
    return EE_OK;
}

/* The kept statement of this text, or one for this call only when the kept one is being stepped through. */
static ee_status take_statement(store *db, const char *sql, size_t count, store_rows **out, ee_error *err) {
    ee_status st = check_usable(db, err);
    if (st) return st;
    for (size_t i = 0; i < STATEMENTS_MAX; i++) {
        store_rows *rows = &db->cache[(slot_of(sql) + i) & (STATEMENTS_MAX - 1)];
        if (rows->stmt && strcmp(sqlite3_sql(rows->stmt), sql) == 0) {
            if (rows->busy) break;
            rows->busy = true;
            *out = rows;
            return EE_OK;
        }
        if (rows->stmt) continue;
        if (db->cached >= STATEMENTS_MAX - STATEMENTS_MAX / 4) break;
        st = prepare(db, sql, count, true, &rows->stmt, err);
        if (st) return st;
        db->cached++;
        rows->db = db;
        rows->busy = true;
        *out = rows;
        return EE_OK;
    }
    return make_own(db, sql, count, out, err);
}

void store_rows_close(store_rows *rows) {
    if (!rows) return;
    if (rows->own) {
        (void)sqlite3_finalize(rows->stmt);
        eei_free(rows);
        return;
    }
    (void)sqlite3_reset(rows->stmt);
    (void)sqlite3_clear_bindings(rows->stmt);
    rows->busy = false;
}

static int bind_one(sqlite3_stmt *stmt, int at, const store_value *value) {
    switch (value->kind) {
    case STORE_I64: return sqlite3_bind_int64(stmt, at, value->i64);
    case STORE_TEXT:
        return sqlite3_bind_text64(stmt, at, value->bytes.data ? (const char *)value->bytes.data : "", value->bytes.len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case STORE_BLOB: return sqlite3_bind_blob64(stmt, at, value->bytes.data, value->bytes.len, SQLITE_STATIC);
    case STORE_NULL: break;
    }
    return sqlite3_bind_null(stmt, at);
}

ee_status store_query(store *db, const char *sql, const store_value *values, size_t count, store_rows **out, ee_error *err) {
    store_rows *rows = NULL;
    *out = NULL;
    ee_status st = take_statement(db, sql, count, &rows, err);
    if (st) return st;
    EE_ASSERT((size_t)sqlite3_bind_parameter_count(rows->stmt) == count);
    for (size_t i = 0; i < count; i++) {
        int rc = bind_one(rows->stmt, (int)i + 1, &values[i]);
        if (rc != SQLITE_OK) {
            st = translate(db, rc, "bind", err);
            store_rows_close(rows);
            return st;
        }
    }
    *out = rows;
    return EE_OK;
}

ee_status store_next(store_rows *rows, bool *row, ee_error *err) {
    store *db = rows->db;
    *row = false;
    int rc = sqlite3_step(rows->stmt);
    if (rc == SQLITE_ROW) {
        *row = true;
        return EE_OK;
    }
    if (rc == SQLITE_DONE) return EE_OK;
    note_loss(db, rc);
    return translate(db, rc, "database", err);
}

ee_status store_exec(store *db, const char *sql, const store_value *values, size_t count, int64_t *changed, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    ee_status st = store_query(db, sql, values, count, &rows, err);
    if (st) return st;
    st = store_next(rows, &row, err);
    if (!st && changed) *changed = sqlite3_changes64(db->sqlite);
    store_rows_close(rows);
    return st;
}

ee_status store_get_one(store *db, const char *sql, const store_value *values, size_t count, int64_t *out, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    ee_status st = store_query(db, sql, values, count, &rows, err);
    if (st) return st;
    st = store_next(rows, &row, err);
    if (!st && row) *out = store_get_i64(rows, 0);
    store_rows_close(rows);
    if (!st && !row) st = EE_E_NOT_FOUND;
    return st;
}

int64_t store_get_i64(store_rows *rows, int column) { return sqlite3_column_int64(rows->stmt, column); }
bool store_get_null(store_rows *rows, int column) { return sqlite3_column_type(rows->stmt, column) == SQLITE_NULL; }
ee_span store_get_text(store_rows *rows, int column) {
    const void *data = sqlite3_column_text(rows->stmt, column);
    return data ? eei_span(data, (size_t)sqlite3_column_bytes(rows->stmt, column)) : eei_span(NULL, 0);
}
ee_span store_get_blob(store_rows *rows, int column) {
    const void *data = sqlite3_column_blob(rows->stmt, column);
    return data ? eei_span(data, (size_t)sqlite3_column_bytes(rows->stmt, column)) : eei_span(NULL, 0);
}
void store_get_name(store_rows *rows, int column, char *out, size_t cap) {
    ee_span text = store_get_text(rows, column);
    size_t len = text.len < cap - 1 ? text.len : cap - 1;
    if (len) memcpy(out, text.data, len);
    out[len] = 0;
}

store_value store_null(void) { return (store_value){.kind = STORE_NULL}; }
store_value store_i64(int64_t value) { return (store_value){.kind = STORE_I64, .i64 = value}; }
store_value store_text(ee_span text) { return (store_value){.kind = STORE_TEXT, .bytes = text}; }
store_value store_cstr(const char *text) { return text ? store_text(eei_span_text(text)) : store_null(); }
store_value store_blob(ee_span bytes) { return bytes.data && bytes.len ? (store_value){.kind = STORE_BLOB, .bytes = bytes} : store_null(); }
store_value store_bytes(const void *data, size_t len) { return store_blob(eei_span(data, len)); }

/* ---- transactions --------------------------------------------------------------------------------------------------- */

ee_status store_begin(store *db, ee_error *err) {
    ee_status st = check_usable(db, err);
    if (st) return st;
    EE_ASSERT(!db->in_transaction);
    /* IMMEDIATE: a writer that could not write is told here, not at its first row. */
    st = store_exec(db, db->read_only ? "BEGIN" : "BEGIN IMMEDIATE", STORE_NONE, NULL, err);
    if (!st) db->in_transaction = true;
    return st;
}

void store_rollback(store *db) {
    if (!db->in_transaction) return;
    if (!sqlite3_get_autocommit(db->sqlite)) (void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
    db->in_transaction = db->lost = false;
    if (!sqlite3_get_autocommit(db->sqlite)) db->broken = true; /* can not be left: nothing after this may count as written */
}

ee_status store_commit(store *db, ee_error *err) {
    store_rows *rows = NULL;
    EE_ASSERT(db->in_transaction && !db->in_work);
    ee_status st = check_usable(db, err);
    if (!st) st = take_statement(db, "COMMIT", 0, &rows, err);
    if (st) { /* not even tried: a clean no */
        store_rollback(db);
        return st;
    }
    int rc = sqlite3_step(rows->stmt);
    if (rc == SQLITE_DONE) {
        db->in_transaction = false;
    } else if ((rc & 0xff) == SQLITE_FULL || (rc & 0xff) == SQLITE_BUSY) {
        /* The frame that says "committed" is written last, so what could not be written in full did not happen. */
        st = translate(db, rc, "commit", err);
        store_rows_close(rows);
        store_rollback(db);
        return st;
    } else {
        /* Measured: after a failed fsync this process no longer sees the rows, yet they are there when the file is opened again. */
        const int code = sqlite3_extended_errcode(db->sqlite);
        st = eei_fail(err, EE_E_OUTCOME_UNKNOWN, "the commit failed and may have happened (SQLite %d)", code);
        if (err) err->native_code = (uint32_t)code;
        db->broken = true;
        db->in_transaction = false;
    }
    store_rows_close(rows);
    return st;
}

static void end_work(store *db, bool undo) {
    bool failed = false;
    if (!db->lost) {
        if (undo && store_exec(db, "ROLLBACK TO work", STORE_NONE, NULL, NULL)) failed = true;
        if (!failed && store_exec(db, "RELEASE work", STORE_NONE, NULL, NULL)) failed = true;
    }
    if (failed) db->lost = true; /* half a work must not be committed */
    db->in_work = db->keep = false;
}

ee_status store_work(store *db, store_work_fn fn, void *arg, ee_error *err) {
    ee_status st = check_usable(db, err);
    if (st) return st;
    EE_ASSERT(db->in_transaction && !db->in_work);
    st = store_exec(db, "SAVEPOINT work", STORE_NONE, NULL, err);
    if (st) return st;
    db->in_work = true;
    db->keep = false;
    st = fn(db, arg, err);
    end_work(db, st != EE_OK && !db->keep);
    if (db->lost && !st) st = eei_fail(err, EE_E_IO, "the transaction was ended by an error; nothing of it happened");
    return st;
}

ee_status store_undo_but_keep(store *db, ee_error *err) {
    if (!db->in_work) return eei_fail(err, EE_E_STATE, "not inside a work");
    ee_status st = store_exec(db, "ROLLBACK TO work", STORE_NONE, NULL, err);
    if (!st) db->keep = true;
    return st;
}

ee_status store_run(store *db, store_work_fn fn, void *arg, ee_error *err) {
    ee_error ignored;
    ee_status st = store_begin(db, err);
    if (st) return st;
    st = store_work(db, fn, arg, err);
    if (db->lost) {
        store_rollback(db);
        return st;
    }
    ee_status committed = store_commit(db, st ? &ignored : err);
    if (committed && st && err) *err = ignored;
    return committed ? committed : st;
}

bool store_transaction_lost(const store *db) { return db->lost; }
bool store_broken(const store *db) { return db->broken; }
int64_t store_schema(const store *db) { return db->schema; }

/* ---- open ----------------------------------------------------------------------------------------------------------- */

static ee_status run_text(store *db, const char *sql, const char *doing, ee_error *err) {
    int rc = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? EE_OK : translate(db, rc, doing, err);
}

static ee_status migrate_step(store *db, int step, ee_error *err) {
    char version[64];
    (void)snprintf(version, sizeof version, "PRAGMA user_version = %d", step + 1);
    ee_status st = run_text(db, "BEGIN IMMEDIATE", "schema", err);
    if (!st) st = run_text(db, store_schema_steps[step], "schema", err);
    if (!st) st = run_text(db, version, "schema", err);
    if (!st) st = run_text(db, "COMMIT", "schema", err);
    if (st && !sqlite3_get_autocommit(db->sqlite)) (void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
    return st;
}

static ee_status migrate(store *db, const char *path, ee_error *err) {
    int64_t application = 0;
    ee_status st = store_get_one(db, "PRAGMA user_version", STORE_NONE, &db->schema, err);
    if (!st) st = store_get_one(db, "PRAGMA application_id", STORE_NONE, &application, err);
    if (st) return st;
    if (db->schema > store_schema_count)
        return eei_fail(err, EE_E_VERSION, "%s has schema %" PRId64 ", this program knows up to %d", path, db->schema, store_schema_count);
    if ((application != APPLICATION_ID) != (db->schema == 0 && application == 0))
        return eei_fail(err, EE_E_CONFIG, "%s is a database of another program", path);
    if (db->read_only && db->schema < store_schema_count)
        return eei_fail(err, EE_E_VERSION, "%s has schema %" PRId64 ", wanted %d: open it for writing first", path, db->schema,
                        store_schema_count);
    if (db->schema == 0) {
        char text[64];
        (void)snprintf(text, sizeof text, "PRAGMA application_id = %d", APPLICATION_ID);
        st = run_text(db, text, "schema", err);
    }
    for (; !st && db->schema < store_schema_count; db->schema++) st = migrate_step(db, (int)db->schema, err);
    return st;
}

static ee_status configure(store *db, ee_error *err) {
    (void)sqlite3_extended_result_codes(db->sqlite, 1);
    (void)sqlite3_busy_timeout(db->sqlite, BUSY_MS);
    (void)sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* The page size counts only while the file is empty. */
    ee_status st = db->read_only ? EE_OK : run_text(db, "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL;", "open", err);
    if (!st)
        st = run_text(db,
                      "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON; PRAGMA cell_size_check = ON;"
                      "PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = " WAL_BYTES_KEPT_MAX ";",
                      "open", err);
    if (!st && db->read_only) st = run_text(db, "PRAGMA query_only = ON", "open", err);
    return st;
}

/* A setting that silently did not take would cost money later. */
static ee_status check_configured(store *db, ee_error *err) {
    static const struct {
        const char *sql;
        int64_t want;
    } wanted[] = {{"PRAGMA synchronous", 2}, {"PRAGMA foreign_keys", 1}, {"PRAGMA recursive_triggers", 1}};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        int64_t got = -1;
        ee_status st = store_get_one(db, wanted[i].sql, STORE_NONE, &got, err);
        if (st) return st;
        if (got != wanted[i].want) return eei_fail(err, EE_E_IO, "%s is %" PRId64 ", wanted %" PRId64, wanted[i].sql, got, wanted[i].want);
    }
    store_rows *rows = NULL;
    bool row = false;
    ee_status st = store_query(db, "PRAGMA journal_mode", STORE_NONE, &rows, err);
    if (!st) st = store_next(rows, &row, err);
    if (!st && (!row || !eei_span_equal(store_get_text(rows, 0), eei_span_text("wal"))))
        st = eei_fail(err, EE_E_IO, "the file system does not allow a write-ahead log");
    store_rows_close(rows);
    return st;
}

/* One writing process: two control planes on one file would each believe their own memory. (threat K4) */
static ee_status take_writer_lock(store *db, const char *path, ee_error *err) {
    char lock_path[4096];
    int n = snprintf(lock_path, sizeof lock_path, "%s-writer", path);
    if (n < 0 || (size_t)n >= sizeof lock_path) return eei_fail(err, EE_E_LIMIT, "the path of the database is %d bytes long", n);
    /* Made here, so that the file and its journal are nobody else's to read. */
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return eei_fail_errno(err, EE_E_IO, errno, "cannot open the database %s", path);
    (void)close(fd);
    db->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (db->lock_fd < 0) return eei_fail_errno(err, EE_E_IO, errno, "cannot open %s", lock_path);
    if (flock(db->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? eei_fail(err, EE_E_CONFLICT, "another process writes to %s", path)
                                    : eei_fail_errno(err, EE_E_IO, errno, "cannot lock %s", lock_path);
    return EE_OK;
}

ee_status store_open(const char *path, store_mode mode, store **out, ee_error *err) {
    ee_status st = EE_OK;
    *out = NULL;
    store *db = eei_calloc(1, sizeof *db);
    if (!db) return eei_nomem(err);
    db->lock_fd = -1;
    db->read_only = mode == STORE_READ_ONLY;
    if (!db->read_only) st = take_writer_lock(db, path, err);
    if (st) goto done;
    int flags = (db->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(path, &db->sqlite, flags, NULL);
    if (rc != SQLITE_OK) {
        st = translate(db, rc, path, err);
        goto done;
    }
    st = configure(db, err);
    if (!st) st = migrate(db, path, err);
    if (!st) st = check_configured(db, err);
    if (!st) *out = eei_take(&db);
done:
    store_close(db);
    return st;
}

void store_close(store *db) {
    if (!db) return;
    if (db->sqlite) store_rollback(db);
    for (size_t i = 0; i < STATEMENTS_MAX; i++) (void)sqlite3_finalize(db->cache[i].stmt);
    if (db->sqlite && sqlite3_close(db->sqlite) != SQLITE_OK) eei_log(EEI_LOG_ERROR, "store.leak", "a statement was left open");
    if (db->lock_fd >= 0) (void)close(db->lock_fd);
    eei_free(db);
}

ee_status store_limit_pages(store *db, int64_t pages, ee_error *err) {
    char text[64];
    (void)snprintf(text, sizeof text, "PRAGMA max_page_count = %" PRId64, pages ? pages : 1073741823);
    return run_text(db, text, "limit", err);
}
