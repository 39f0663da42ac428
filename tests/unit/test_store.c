/* test_store.c - the database layer: opening, refusals, savepoints, a full disk, a commit nobody knows the outcome of.
 * Not for what the tables mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
#include "ledger_fixture.h"
#include "store/schema.h"
// clang-format on

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static int setup(void **state) {
    ledger_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    fix_make_dir(f);
    fix_ok(store_open(f->path, STORE_READ_WRITE, &f->db, &fix_err));
    fix_ok(store_exec(f->db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c BLOB CHECK(length(c) < 10)) STRICT", STORE_NONE, NULL,
                      &fix_err));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    ledger_fixture *f = *state;
    store_close(f->db);
    fix_remove_dir(f);
    free(f);
    return 0;
}

static void test_values_come_back(void **state) {
    ledger_fixture *f = *state;
    store_rows *rows = NULL;
    bool row = false;
    char cut[3];
    fix_ok(store_exec(f->db, "INSERT INTO t VALUES ($1, $2, $3)",
                      STORE_WITH(store_i64(INT64_MIN), store_cstr("h\xc3\xa9llo"), store_bytes("\0\x01", 2)), NULL, &fix_err));
    fix_ok(store_exec(f->db, "INSERT INTO t VALUES ($1, $2, $3)", STORE_WITH(store_i64(7), store_cstr(NULL), store_bytes(NULL, 0)), NULL,
                      &fix_err));
    fix_ok(
        store_exec(f->db, "INSERT INTO t VALUES ($1, $2, NULL)", STORE_WITH(store_i64(8), store_text(eei_span(NULL, 0))), NULL, &fix_err));
    fix_ok(store_query(f->db, "SELECT a, b, c FROM t ORDER BY a", STORE_NONE, &rows, &fix_err));
    fix_ok(store_next(rows, &row, &fix_err));
    assert_true(row);
    assert_true(store_get_i64(rows, 0) == INT64_MIN);
    assert_true(eei_span_equal(store_get_text(rows, 1), fix_text("h\xc3\xa9llo")));
    assert_true(eei_span_equal(store_get_blob(rows, 2), eei_span("\0\x01", 2)));
    store_get_name(rows, 1, cut, sizeof cut);
    assert_int_equal(strlen(cut), 2);
    fix_ok(store_next(rows, &row, &fix_err));
    assert_true(store_get_null(rows, 1) && store_get_null(rows, 2));
    fix_ok(store_next(rows, &row, &fix_err));
    assert_false(store_get_null(rows, 1)); /* empty is not absent */
    fix_ok(store_next(rows, &row, &fix_err));
    assert_false(row);
    store_rows_close(rows);
    store_rows_close(NULL);
}

static void test_a_query_may_run_inside_itself(void **state) {
    ledger_fixture *f = *state;
    static const char sql[] = "SELECT a FROM t ORDER BY a";
    store_rows *outer = NULL, *inner = NULL;
    bool row = false;
    size_t pairs = 0;
    for (int i = 0; i < 3; i++) fix_ok(store_exec(f->db, "INSERT INTO t(a) VALUES ($1)", STORE_WITH(store_i64(i)), NULL, &fix_err));
    fix_ok(store_query(f->db, sql, STORE_NONE, &outer, &fix_err));
    for (;;) {
        fix_ok(store_next(outer, &row, &fix_err));
        if (!row) break;
        fix_ok(store_query(f->db, sql, STORE_NONE, &inner, &fix_err));
        for (;;) {
            fix_ok(store_next(inner, &row, &fix_err));
            if (!row) break;
            pairs++;
        }
        store_rows_close(inner);
    }
    store_rows_close(outer);
    assert_int_equal(pairs, 9);
}

static void test_errors_are_translated(void **state) {
    ledger_fixture *f = *state;
    int64_t changed = -1, n = 0;
    fix_ok(store_exec(f->db, "INSERT INTO t(a) VALUES (1)", STORE_NONE, &changed, &fix_err));
    assert_int_equal(changed, 1);
    assert_int_equal(store_exec(f->db, "INSERT INTO t(a) VALUES (1)", STORE_NONE, NULL, &fix_err), EE_E_CONFLICT);
    assert_true(fix_err.native_code != 0);
    assert_int_equal(store_exec(f->db, "UPDATE t SET c = zeroblob(10)", STORE_NONE, NULL, &fix_err), EE_E_INTERNAL);
    assert_int_equal(store_exec(f->db, "UPDATE t SET a = 9223372036854775807 + 1", STORE_NONE, NULL, &fix_err), EE_E_INTERNAL);
    assert_int_equal(store_exec(f->db, "SELECT nothing", STORE_NONE, NULL, &fix_err), EE_E_INTERNAL);
    assert_int_equal(store_get_one(f->db, "SELECT a FROM t WHERE a = 5", STORE_NONE, &n, &fix_err), EE_E_NOT_FOUND);
    fix_ok(store_exec(f->db, "UPDATE t SET b = 'x' WHERE a = 5", STORE_NONE, &changed, &fix_err));
    assert_int_equal(changed, 0);
    assert_int_equal(store_exec(f->db, "INSERT INTO t(a) VALUES (2)", STORE_NONE, NULL, NULL), EE_OK); /* nobody listens: fine */
    assert_int_equal(store_exec(f->db, "INSERT INTO t(a) VALUES (2)", STORE_NONE, NULL, NULL), EE_E_CONFLICT);
}

static void test_the_file_is_private_and_has_one_writer(void **state) {
    ledger_fixture *f = *state;
    struct stat info;
    store *other = NULL;
    assert_int_equal(stat(f->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(store_open(f->path, STORE_READ_WRITE, &other, &fix_err), EE_E_CONFLICT); /* K4 */
    assert_null(other);
    assert_non_null(strstr(fix_err.message, "another process"));
}

static void test_a_reader_sees_what_was_committed(void **state) {
    ledger_fixture *f = *state;
    store *reader = NULL;
    int64_t n = -1;
    fix_ok(store_open(f->path, STORE_READ_ONLY, &reader, &fix_err));
    fix_ok(store_begin(f->db, &fix_err));
    fix_ok(store_exec(f->db, "INSERT INTO t(a) VALUES (1)", STORE_NONE, NULL, &fix_err));
    fix_ok(store_get_one(reader, "SELECT count(*) FROM t", STORE_NONE, &n, &fix_err));
    assert_int_equal(n, 0);
    fix_ok(store_commit(f->db, &fix_err));
    fix_ok(store_get_one(reader, "SELECT count(*) FROM t", STORE_NONE, &n, &fix_err));
    assert_int_equal(n, 1);
    assert_int_not_equal(store_exec(reader, "INSERT INTO t(a) VALUES (2)", STORE_NONE, NULL, &fix_err), EE_OK);
    store_close(reader);
}

static void test_what_is_not_ours_is_not_opened(void **state) {
    ledger_fixture *f = *state;
    store *db = NULL;
    fix_ok(store_exec(f->db, "PRAGMA user_version = 99", STORE_NONE, NULL, &fix_err));
    store_close(f->db);
    f->db = NULL;
    assert_int_equal(store_open(f->path, STORE_READ_WRITE, &db, &fix_err), EE_E_VERSION);
    assert_int_equal(store_open(f->path, STORE_READ_ONLY, &db, &fix_err), EE_E_VERSION);
    int fd = open(f->path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0 && write(fd, "this is not a database, but it is long enough", 46) == 46);
    (void)close(fd);
    assert_int_equal(store_open(f->path, STORE_READ_WRITE, &db, &fix_err), EE_E_IO);
    assert_non_null(strstr(fix_err.message, "damaged"));
    assert_int_equal(store_open("/nonexistent/x.db", STORE_READ_WRITE, &db, &fix_err), EE_E_IO);
    assert_int_equal(store_open("/nonexistent/x.db", STORE_READ_ONLY, &db, &fix_err), EE_E_IO);
    assert_null(db);
}

static void test_opening_twice_keeps_what_is_there(void **state) {
    ledger_fixture *f = *state;
    assert_int_equal(store_schema(f->db), store_schema_count);
    fix_ok(store_exec(f->db, "INSERT INTO t(a) VALUES (1)", STORE_NONE, NULL, &fix_err));
    store_close(f->db);
    f->db = NULL;
    fix_ok(store_open(f->path, STORE_READ_WRITE, &f->db, &fix_err));
    assert_int_equal(fix_count(f, "SELECT count(*) FROM t"), 1);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM account WHERE owner IS NULL"), 6);
}

/* ---- works ---------------------------------------------------------------------------------------------------------- */

static ee_status work_insert(store *db, void *arg, ee_error *err) {
    int64_t value = *(int64_t *)arg;
    ee_status st = store_exec(db, "INSERT INTO t(a) VALUES ($1)", STORE_WITH(store_i64(value)), NULL, err);
    if (!st && value < 0) st = eei_fail(err, EE_E_CONFLICT, "negative");
    return st;
}
static ee_status work_note(store *db, void *arg, ee_error *err) {
    ee_status st = work_insert(db, arg, err);
    if (!st) st = store_undo_but_keep(db, err);
    if (!st) st = store_exec(db, "INSERT INTO t(a, b) VALUES (1000, 'refused')", STORE_NONE, NULL, err);
    return st ? st : eei_fail(err, EE_E_LOW_BALANCE, "no");
}

static void test_a_refused_work_is_undone_alone(void **state) {
    ledger_fixture *f = *state;
    int64_t one = 1, minus = -2, three = 3;
    fix_ok(store_begin(f->db, &fix_err));
    fix_ok(store_work(f->db, work_insert, &one, &fix_err));
    assert_int_equal(store_work(f->db, work_insert, &minus, &fix_err), EE_E_CONFLICT);
    assert_int_equal(store_work(f->db, work_note, &three, &fix_err), EE_E_LOW_BALANCE);
    fix_ok(store_commit(f->db, &fix_err));
    assert_int_equal(fix_count(f, "SELECT count(*) FROM t"), 2);
    assert_int_equal(fix_count(f, "SELECT sum(a) FROM t"), 1001);
    assert_int_equal(store_undo_but_keep(f->db, &fix_err), EE_E_STATE); /* outside a work */
    assert_int_equal(store_run(f->db, work_insert, &minus, &fix_err), EE_E_CONFLICT);
    fix_ok(store_begin(f->db, &fix_err));
    fix_ok(store_work(f->db, work_insert, &three, &fix_err));
    store_rollback(f->db);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM t"), 2);
}

/* ---- faults --------------------------------------------------------------------------------------------------------- */

static ee_status work_fill(store *db, void *arg, ee_error *err) {
    (void)arg;
    return store_exec(db,
                      "INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
                      " SELECT hex(randomblob(500)) FROM n",
                      STORE_NONE, NULL, err);
}

static void test_a_full_disk_is_a_clean_no(void **state) {
    ledger_fixture *f = *state;
    int64_t one = 1;
    int64_t pages = 0;
    fix_ok(store_get_one(f->db, "PRAGMA page_count", STORE_NONE, &pages, &fix_err));
    fix_ok(store_limit_pages(f->db, pages + 4, &fix_err));
    assert_int_equal(store_run(f->db, work_fill, NULL, &fix_err), EE_E_IO);
    assert_non_null(strstr(fix_err.message, "full"));
    assert_true(fix_err.hint[0] != 0);
    assert_false(store_broken(f->db));
    assert_int_equal(fix_count(f, "SELECT count(*) FROM t"), 0); /* reads go on, and nothing is half there */
    fix_ok(store_run(f->db, work_insert, &one, &fix_err));
    fix_ok(store_limit_pages(f->db, 0, &fix_err));
    fix_ok(store_run(f->db, work_fill, NULL, &fix_err));
    assert_int_equal(fix_count(f, "SELECT count(*) FROM t"), 501);
}

/* A write that fails at COMMIT for another reason than space: only the file knows what became of it. */
static void test_a_failed_commit_is_unknown_and_the_last(void **state) {
    ledger_fixture *f = *state;
    struct rlimit was, less;
    int64_t one = 1;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    fix_ok(store_run(f->db, work_insert, &one, &fix_err));
    less = was;
    less.rlim_cur = 200000; /* the log is past this, or soon will be */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
    ee_status st = store_run(f->db, work_fill, NULL, &fix_err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(st, EE_E_OUTCOME_UNKNOWN);
    assert_true(store_broken(f->db));
    assert_int_equal(store_run(f->db, work_insert, &one, &fix_err), EE_E_SERVER);
    store_close(f->db);
    f->db = NULL;
    fix_ok(store_open(f->path, STORE_READ_WRITE, &f->db, &fix_err));
    int64_t n = fix_count(f, "SELECT count(*) FROM t");
    assert_true(n == 1 || n == 501); /* all or nothing, either way */
}

static void test_open_without_memory(void **state) {
    ledger_fixture *f = *state;
    store *db = NULL;
    (void)eei_alloc_fail_at(1);
    assert_int_equal(store_open(f->path, STORE_READ_ONLY, &db, &fix_err), EE_E_NOMEM);
    (void)eei_alloc_fail_at(0);
    assert_null(db);
}

int main(void) {
#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_values_come_back),
        STORE_TEST(test_a_query_may_run_inside_itself),
        STORE_TEST(test_errors_are_translated),
        STORE_TEST(test_the_file_is_private_and_has_one_writer),
        STORE_TEST(test_a_reader_sees_what_was_committed),
        STORE_TEST(test_what_is_not_ours_is_not_opened),
        STORE_TEST(test_opening_twice_keeps_what_is_there),
        STORE_TEST(test_a_refused_work_is_undone_alone),
        STORE_TEST(test_a_full_disk_is_a_clean_no),
        STORE_TEST(test_a_failed_commit_is_unknown_and_the_last),
        STORE_TEST(test_open_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
