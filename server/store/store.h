/* store.h - the database behind the control plane: transactions, prepared statements, migrations. No SQLite word leaves this folder.
 * Not for rules: those are in ledger, jobs_table and apps_table, which are the callers, on the writer's thread (read-write) or on any
 * one thread with a read-only store of its own. A store is used by one thread at a time. */
#ifndef STORE_H
#define STORE_H
#include "base/buf.h"

typedef struct store store;
typedef struct store_rows store_rows;

typedef enum store_mode {
    STORE_READ_WRITE = 1, /* makes the file and its tables when they are missing; one per file */
    STORE_READ_ONLY = 2   /* sees what was committed; never blocks the writer and is not blocked by it */
} store_mode;

/* Open and bring the schema up to date. Every commit is on the disk before it is acknowledged (WAL, synchronous=FULL).
 * EE_E_IO with the reason; EE_E_VERSION when the file was made by a newer program; EE_E_CONFLICT when another process writes to it. */
ee_status store_open(const char *path, store_mode mode, store **out, ee_error *err) EE_MUST_USE;
void store_close(store *db); /* rolls back what is open; NULL is fine */

/* One transaction at a time. After EE_E_OUTCOME_UNKNOWN from store_commit() the store refuses everything: nobody knows whether the work
 * is on the disk until the file has been opened again (an fsync that failed does not say). Any other failed commit is a clean no:
 * nothing of the transaction happened, and the store goes on. */
ee_status store_begin(store *db, ee_error *err) EE_MUST_USE;
ee_status store_commit(store *db, ee_error *err) EE_MUST_USE;
void store_rollback(store *db);

/* A piece of work inside the open transaction: all of it or nothing. When fn fails, everything it wrote is undone and its status is
 * returned. Not nestable. */
typedef ee_status (*store_work_fn)(store *db, void *arg, ee_error *err);
ee_status store_work(store *db, store_work_fn fn, void *arg, ee_error *err) EE_MUST_USE;
/* Inside fn, on the way to a refusal: undo everything so far and keep what is written from now on although fn will fail. For one
 * purpose: the first answer to an idempotency key is remembered even when it was no. */
ee_status store_undo_but_keep(store *db, ee_error *err) EE_MUST_USE;
/* The whole of it: begin, store_work, commit. A refusal kept by store_undo_but_keep() is committed and returned. For tools and tests. */
ee_status store_run(store *db, store_work_fn fn, void *arg, ee_error *err) EE_MUST_USE;

/* True when the open transaction is gone (disk full, I/O error, out of memory): every work of it has failed. */
bool store_transaction_lost(const store *db);
/* True after a commit whose outcome is not known. */
bool store_broken(const store *db);

/* A value for $1, $2, ... Placeholders stand in first-use order, so that the same SQL runs on PostgreSQL. */
typedef struct store_value {
    enum { STORE_NULL, STORE_I64, STORE_TEXT, STORE_BLOB } kind;
    int64_t i64;
    ee_span bytes; /* borrowed until store_exec() returns or store_rows_close() */
} store_value;
store_value store_null(void);
store_value store_i64(int64_t value);
store_value store_text(ee_span text);
store_value store_cstr(const char *text); /* NULL gives null */
store_value store_blob(ee_span bytes);    /* {NULL, 0} gives null */
store_value store_bytes(const void *data, size_t len);
/* store_exec(db, sql, STORE_WITH(store_i64(1), store_cstr("x")), &changed, err) */
#define STORE_WITH(...) (const store_value[]){__VA_ARGS__}, (sizeof((const store_value[]){__VA_ARGS__}) / sizeof(store_value))
#define STORE_NONE      NULL, 0

/* Run a statement that gives no rows. sql must stay alive as long as the store (a literal): it is prepared once and kept.
 * @param changed [out, nullable] rows inserted, updated or deleted: how a compare-and-set knows
 * @return EE_E_CONFLICT for UNIQUE and PRIMARY KEY; EE_E_INTERNAL for a CHECK, a foreign key or a trigger (a defect of ours, or tampering);
 *         EE_E_IO (hint when the disk is full); EE_E_NOMEM. */
ee_status store_exec(store *db, const char *sql, const store_value *values, size_t count, int64_t *changed, ee_error *err) EE_MUST_USE;

/* Rows, one after the other. */
ee_status store_query(store *db, const char *sql, const store_value *values, size_t count, store_rows **out, ee_error *err) EE_MUST_USE;
ee_status store_next(store_rows *rows, bool *row, ee_error *err) EE_MUST_USE; /* *row false: there are no more */
int64_t store_get_i64(store_rows *rows, int column);                          /* 0 for NULL */
ee_span store_get_text(store_rows *rows, int column);                         /* borrowed until the next store_next(); {NULL,0} for NULL */
ee_span store_get_blob(store_rows *rows, int column);
bool store_get_null(store_rows *rows, int column);
void store_get_name(store_rows *rows, int column, char *out, size_t cap); /* text cut to cap - 1 bytes, NUL-ended */
void store_rows_close(store_rows *rows);                                  /* NULL is fine */
/* The first column of the first row. EE_E_NOT_FOUND, with no message, when there is none. */
ee_status store_get_one(store *db, const char *sql, const store_value *values, size_t count, int64_t *out, ee_error *err) EE_MUST_USE;

/* The schema number of the file: 1, 2, ... */
int64_t store_schema(const store *db);
/* Tests only: the file may not grow past this many pages; 0 = no limit. */
ee_status store_limit_pages(store *db, int64_t pages, ee_error *err) EE_MUST_USE;
#endif
