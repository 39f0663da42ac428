/* test_ledger_writer.c - the writing thread: group commit, refusals alone, a thousand locks on a small balance, kill -9 under load.
 * (test_writer.c is the byte writer's.) Nothing sleeps: the loop and the pipe say when to go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
#include "ledger_fixture.h"
// clang-format on
#include "controlplane/writer.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

typedef struct bench {
    ledger_fixture f;
    uv_loop_t loop;
    writer *w;
    store *reader;
    uv_sem_t entered, gate; /* work_gate runs; it may end */
} bench;

static void open_writer(bench *b, const writer_options *options) {
    fix_ok(writer_start(&b->loop, b->f.db, options, &b->w, &fix_err));
    b->f.db = NULL;
}

/* Everything queued is answered, the thread is gone, the loop is empty; then the books are read again. */
static void close_writer(bench *b) {
    writer_close(b->w);
    b->w = NULL;
    assert_int_equal(uv_run(&b->loop, UV_RUN_DEFAULT), 0);
    fix_ok(store_open(b->f.path, STORE_READ_WRITE, &b->f.db, &fix_err));
}

static int setup(void **state) {
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    fix_make_dir(&b->f);
    fix_ok(store_open(b->f.path, STORE_READ_WRITE, &b->f.db, &fix_err));
    fix_ok(store_run(b->f.db, fix_setup_work, &b->f, &fix_err));
    fix_ok(fix_mint(&b->f, "alice", 10 * FIX_USD, "pay-1", NULL));
    fix_ok(store_open(b->f.path, STORE_READ_ONLY, &b->reader, &fix_err));
    assert_int_equal(uv_loop_init(&b->loop), 0);
    assert_int_equal(uv_sem_init(&b->entered, 0), 0);
    assert_int_equal(uv_sem_init(&b->gate, 0), 0);
    *state = b;
    return 0;
}

static int teardown(void **state) {
    bench *b = *state;
    if (b->w) close_writer(b);
    store_close(b->reader);
    fix_audit(&b->f);
    store_close(b->f.db);
    uv_sem_destroy(&b->entered);
    uv_sem_destroy(&b->gate);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    fix_remove_dir(&b->f);
    free(b);
    return 0;
}

/* ---- works ---------------------------------------------------------------------------------------------------------- */

typedef struct job {
    bench *b;
    size_t *answered;
    size_t order; /* of the answer, from 1 */
    ee_status status;
    ee_error err;
    uv_thread_t thread; /* of the callback */
    fix_lock_work lock;
    fix_transfer_work transfer;
    int64_t visible;
} job;

static void on_done(void *arg, ee_status status, const ee_error *err) {
    job *j = arg;
    j->status = status;
    if (status) j->err = *err;
    j->order = ++*j->answered;
    j->thread = uv_thread_self();
}

static ee_status work_lock(store *db, void *arg, ee_error *err) { return fix_run_lock(db, &((job *)arg)->lock, err); }
static ee_status work_transfer(store *db, void *arg, ee_error *err) { return fix_run_transfer(db, &((job *)arg)->transfer, err); }
static ee_status work_gate(store *db, void *arg, ee_error *err) {
    (void)db;
    (void)err;
    bench *b = ((job *)arg)->b;
    uv_sem_post(&b->entered);
    uv_sem_wait(&b->gate);
    return EE_OK;
}
static ee_status work_look(store *db, void *arg, ee_error *err) {
    job *j = arg;
    (void)db; /* the reader is not used by the loop's thread while this runs */
    return store_get_one(j->b->reader, "SELECT count(*) FROM lock", STORE_NONE, &j->visible, err);
}

static void init_lock(bench *b, job *j, ee_money amount) {
    j->lock.request = (ledger_lock_request){.user = b->f.alice.id,
                                            .node = b->f.node.id,
                                            .ref = fix_text("job_X"),
                                            .amount = amount,
                                            .expires_ms = FIX_LATE,
                                            .what = "this job",
                                            .now_ms = FIX_NOW};
}

static job *make_jobs(bench *b, size_t count, size_t *answered) {
    job *jobs = calloc(count, sizeof *jobs);
    assert_non_null(jobs);
    for (size_t i = 0; i < count; i++) {
        jobs[i].b = b;
        jobs[i].answered = answered;
    }
    return jobs;
}

/* From here on the thread is inside a batch of this one work: whatever is submitted before the gate opens waits for the next. */
static void enter_gate(bench *b, job *j) {
    fix_ok(writer_submit(b->w, work_gate, j, on_done, &fix_err));
    uv_sem_wait(&b->entered);
}

static void wait_for(bench *b, const size_t *answered, size_t count) {
    while (*answered < count) (void)uv_run(&b->loop, UV_RUN_ONCE);
}

/* ---- tests ---------------------------------------------------------------------------------------------------------- */

static void test_M5_a_thousand_locks_on_a_small_balance(void **state) {
    enum { COUNT = 1000 };
    bench *b = *state;
    size_t answered = 0, won = 0;
    job *jobs = make_jobs(b, COUNT, &answered);
    open_writer(b, NULL);
    for (size_t i = 0; i < COUNT; i++) {
        init_lock(b, &jobs[i], FIX_USD);
        fix_ok(writer_submit(b->w, work_lock, &jobs[i], on_done, &fix_err));
    }
    wait_for(b, &answered, COUNT);
    assert_int_equal(writer_pending(b->w), 0);
    const uv_thread_t self = uv_thread_self();
    for (size_t i = 0; i < COUNT; i++) {
        won += jobs[i].status == EE_OK;
        if (jobs[i].status) assert_int_equal(jobs[i].status, EE_E_LOW_BALANCE);
        assert_true(uv_thread_equal(&jobs[i].thread, &self));
        assert_int_equal(jobs[i].order, i + 1); /* in order */
    }
    assert_int_equal(won, 10);
    close_writer(b);
    fix_expect(&b->f, b->f.alice.id, 0, 10 * FIX_USD);
    free(jobs);
}

static void test_M5_one_key_sent_a_hundred_times_moves_once(void **state) {
    enum { COUNT = 100 };
    bench *b = *state;
    size_t answered = 0, first = 0;
    job *jobs = make_jobs(b, COUNT, &answered);
    open_writer(b, NULL);
    for (size_t i = 0; i < COUNT; i++) {
        jobs[i].transfer.request = (ledger_transfer_request){
            .from = b->f.alice.id, .to = fix_text("bob"), .amount = FIX_USD, .key = fix_text("one key"), .now_ms = FIX_NOW + i};
        fix_ok(writer_submit(b->w, work_transfer, &jobs[i], on_done, &fix_err));
    }
    wait_for(b, &answered, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(jobs[i].status, EE_OK);
        first += !jobs[i].transfer.entry.replayed;
        assert_string_equal(jobs[i].transfer.entry.id, jobs[0].transfer.entry.id);
    }
    assert_int_equal(first, 1);
    close_writer(b);
    fix_expect(&b->f, b->f.alice.id, 9 * FIX_USD, 0);
    free(jobs);
}

static void test_what_is_queued_commits_together(void **state) {
    enum { COUNT = 52 };
    bench *b = *state;
    size_t answered = 0;
    job *jobs = make_jobs(b, COUNT, &answered);
    open_writer(b, NULL);
    enter_gate(b, &jobs[0]);
    for (size_t i = 1; i < COUNT - 1; i++) {
        init_lock(b, &jobs[i], 1 + (i == 10 ? 11 * FIX_USD : 0)); /* one of them is refused, alone */
        fix_ok(writer_submit(b->w, work_lock, &jobs[i], on_done, &fix_err));
    }
    fix_ok(writer_submit(b->w, work_look, &jobs[COUNT - 1], on_done, &fix_err));
    uv_sem_post(&b->gate);
    wait_for(b, &answered, COUNT);
    assert_int_equal(jobs[COUNT - 1].visible, 0); /* nobody saw half of it */
    assert_int_equal(jobs[10].status, EE_E_LOW_BALANCE);
    int64_t n = 0;
    fix_ok(store_get_one(b->reader, "SELECT count(*) FROM lock", STORE_NONE, &n, &fix_err));
    assert_int_equal(n, COUNT - 3); /* and every answer was given after COMMIT */
    free(jobs);
}

static void test_the_queue_is_bounded(void **state) { /* one runs, two wait */
    enum { COUNT = 5 };
    bench *b = *state;
    size_t answered = 0;
    job *jobs = make_jobs(b, COUNT, &answered);
    const writer_options options = {.queue_max = 2, .batch_max = 1};
    open_writer(b, &options);
    enter_gate(b, &jobs[0]);
    for (size_t i = 1; i <= 2; i++) fix_ok(writer_submit(b->w, work_gate, &jobs[i], on_done, &fix_err));
    for (size_t i = 3; i < COUNT; i++) assert_int_equal(writer_submit(b->w, work_gate, &jobs[i], on_done, &fix_err), EE_E_RATE_LIMIT);
    assert_true(fix_err.retryable && fix_err.retry_after_ms);
    for (size_t i = 0; i <= 2; i++) uv_sem_post(&b->gate);
    wait_for(b, &answered, 3);
    assert_int_equal(answered, 3);
    free(jobs);
}

static void test_close_answers_what_is_queued(void **state) {
    enum { COUNT = 20 };
    bench *b = *state;
    size_t answered = 0;
    job *jobs = make_jobs(b, COUNT, &answered);
    const writer_options options = {.batch_max = 3};
    open_writer(b, &options);
    for (size_t i = 0; i < COUNT; i++) {
        init_lock(b, &jobs[i], 1);
        fix_ok(writer_submit(b->w, work_lock, &jobs[i], on_done, &fix_err));
    }
    close_writer(b);
    assert_int_equal(answered, COUNT);
    fix_expect(&b->f, b->f.alice.id, 10 * FIX_USD - COUNT, COUNT);
    free(jobs);
}

static void submit_again(void *arg, ee_status status, const ee_error *err) {
    job *j = arg;
    (void)err;
    assert_int_equal(status, EE_OK);
    j->status = writer_submit(j->b->w, work_lock, j + 1, on_done, &j->err);
    ++*j->answered;
}
static void test_a_callback_may_submit(void **state) {
    bench *b = *state;
    size_t answered = 0;
    job *jobs = make_jobs(b, 3, &answered);
    open_writer(b, NULL);
    for (size_t i = 0; i < 3; i++) init_lock(b, &jobs[i], 1);
    fix_ok(writer_submit(b->w, work_lock, &jobs[0], submit_again, &fix_err));
    wait_for(b, &answered, 2);
    assert_int_equal(jobs[1].status, EE_OK);
    fix_ok(writer_submit(b->w, work_lock, &jobs[0], submit_again, &fix_err));
    writer_close(b->w); /* the callback runs in here, and is told */
    b->w = NULL;
    assert_int_equal(uv_run(&b->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(jobs[0].status, EE_E_CLOSED);
    fix_ok(store_open(b->f.path, STORE_READ_WRITE, &b->f.db, &fix_err));
    free(jobs);
}

/* ---- faults --------------------------------------------------------------------------------------------------------- */

static ee_status work_big(store *db, void *arg, ee_error *err) {
    static uint8_t evidence[60000];
    ledger_entry entry;
    job *j = arg;
    char key[32];
    ee_status st = EE_OK;
    for (int i = 0; i < 20 && !st; i++) {
        (void)snprintf(key, sizeof key, "%p-%d", arg, i);
        const ledger_transfer_request r = {.from = j->b->f.alice.id,
                                           .to = fix_text("bob"),
                                           .amount = 1,
                                           .key = fix_text(key),
                                           .evidence = eei_span(evidence, sizeof evidence),
                                           .now_ms = FIX_NOW};
        st = ledger_transfer(db, &r, &entry, err);
    }
    return st;
}

static void test_a_full_disk_refuses_the_batch_and_goes_on(void **state) {
    bench *b = *state;
    size_t answered = 0;
    int64_t pages = 0;
    job *jobs = make_jobs(b, 4, &answered);
    fix_ok(store_get_one(b->f.db, "PRAGMA page_count", STORE_NONE, &pages, &fix_err));
    fix_ok(store_limit_pages(b->f.db, pages + 8, &fix_err));
    open_writer(b, NULL);
    fix_ok(writer_submit(b->w, work_big, &jobs[0], on_done, &fix_err));
    wait_for(b, &answered, 1);
    assert_int_equal(jobs[0].status, EE_E_IO);
    assert_true(jobs[0].err.hint[0] != 0);
    assert_false(writer_failed(b->w));
    init_lock(b, &jobs[1], FIX_USD);
    fix_ok(writer_submit(b->w, work_lock, &jobs[1], on_done, &fix_err));
    wait_for(b, &answered, 2);
    assert_int_equal(jobs[1].status, EE_OK);
    close_writer(b);
    fix_expect(&b->f, b->f.alice.id, 9 * FIX_USD, FIX_USD); /* not a microdollar of the big one */
    free(jobs);
}

/* An I/O error before COMMIT ends the whole transaction: a work that had gone well must not be told so. */
static void test_a_lost_transaction_fails_everybody_in_it(void **state) {
    enum { COUNT = 6 };
    bench *b = *state;
    size_t answered = 0;
    struct rlimit was, less;
    job *jobs = make_jobs(b, COUNT, &answered);
    (void)signal(SIGXFSZ, SIG_IGN);
    open_writer(b, NULL);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    less = was;
    less.rlim_cur = 400000;
    enter_gate(b, &jobs[0]);
    init_lock(b, &jobs[1], FIX_USD);
    fix_ok(writer_submit(b->w, work_lock, &jobs[1], on_done, &fix_err));
    for (size_t i = 2; i < 5; i++) fix_ok(writer_submit(b->w, work_big, &jobs[i], on_done, &fix_err)); /* 3.6 MB: does not fit in memory */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
    uv_sem_post(&b->gate);
    wait_for(b, &answered, 5);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    for (size_t i = 1; i < 5; i++) assert_int_equal(jobs[i].status, EE_E_IO);
    assert_false(writer_failed(b->w)); /* a clean no: it goes on */
    init_lock(b, &jobs[5], 2 * FIX_USD);
    fix_ok(writer_submit(b->w, work_lock, &jobs[5], on_done, &fix_err));
    wait_for(b, &answered, 6);
    assert_int_equal(jobs[5].status, EE_OK);
    close_writer(b);
    fix_expect(&b->f, b->f.alice.id, 8 * FIX_USD, 2 * FIX_USD);
    free(jobs);
}

static void test_an_unknown_commit_stops_the_writer(void **state) {
    bench *b = *state;
    size_t answered = 0;
    struct rlimit was, less;
    job *jobs = make_jobs(b, 3, &answered);
    (void)signal(SIGXFSZ, SIG_IGN);
    open_writer(b, NULL);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    less = was;
    less.rlim_cur = 400000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
    fix_ok(writer_submit(b->w, work_big, &jobs[0], on_done, &fix_err)); /* 1.2 MB: kept in memory until COMMIT */
    wait_for(b, &answered, 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(jobs[0].status, EE_E_OUTCOME_UNKNOWN);
    assert_true(writer_failed(b->w));
    assert_int_equal(writer_submit(b->w, work_lock, &jobs[2], on_done, &fix_err), EE_E_SERVER);
    close_writer(b); /* opens the file again: now it is known */
    ledger_balance balance;
    fix_ok(ledger_get_balance(b->f.db, b->f.bob.id, &balance, &fix_err));
    assert_true(balance.available % 20 == 0);
    free(jobs);
}

/* ---- kill -9 -------------------------------------------------------------------------------------------------------- */

typedef struct child {
    bench *b;
    int pipe;
    uint32_t next;
} child;
typedef struct child_work {
    child *c;
    uint32_t number;
    char key[16];
    fix_transfer_work transfer;
} child_work;

static ee_status work_child(store *db, void *arg, ee_error *err) { return fix_run_transfer(db, &((child_work *)arg)->transfer, err); }
static void child_done(void *arg, ee_status status, const ee_error *err);

static void child_submit(child *c) {
    child_work *w = calloc(1, sizeof *w);
    if (!w) _exit(3);
    w->c = c;
    w->number = c->next++;
    (void)snprintf(w->key, sizeof w->key, "n-%u", w->number);
    w->transfer.request =
        (ledger_transfer_request){.from = c->b->f.alice.id, .to = fix_text("bob"), .amount = 1, .key = fix_text(w->key), .now_ms = FIX_NOW};
    if (writer_submit(c->b->w, work_child, w, child_done, NULL)) _exit(4);
}

/* The answer goes out before anything else: what the parent read was acknowledged. */
static void child_done(void *arg, ee_status status, const ee_error *err) {
    child_work *w = arg;
    (void)err;
    if (status) _exit(5);
    if (write(w->c->pipe, &w->number, sizeof w->number) != (ssize_t)sizeof w->number) _exit(6);
    child_submit(w->c);
    free(w);
}

static void run_child(bench *b, int fd) {
    child c = {.b = b, .pipe = fd};
    if (store_open(b->f.path, STORE_READ_WRITE, &b->f.db, NULL)) _exit(1);
    if (writer_start(&b->loop, b->f.db, NULL, &b->w, NULL)) _exit(2);
    for (int i = 0; i < 32; i++) child_submit(&c);
    (void)uv_run(&b->loop, UV_RUN_DEFAULT);
    _exit(0);
}

static uint32_t kill_one(bench *b, uint32_t acks_wanted, bool *seen, uint32_t max) {
    int fds[2];
    uint32_t number = 0, acks = 0;
    assert_int_equal(pipe(fds), 0);
    store_close(b->f.db);
    b->f.db = NULL;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) run_child(b, fds[1]);
    (void)close(fds[1]);
    while (acks < acks_wanted && read(fds[0], &number, sizeof number) == (ssize_t)sizeof number) {
        assert_true(number < max);
        seen[number] = true;
        acks++;
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (read(fds[0], &number, sizeof number) == (ssize_t)sizeof number) { /* acknowledged before it died */
        assert_true(number < max);
        seen[number] = true;
        acks++;
    }
    (void)close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return acks;
}

static void test_M4_B12_kill_9_loses_nothing_acknowledged(void **state) {
    enum { ROUNDS = 6, MAX = 20000 };
    bench *b = *state;
    static bool seen[MAX];
    memset(seen, 0, sizeof seen);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        ledger_audit_report report;
        uint32_t acks = kill_one(b, 40 + 67 * round, seen, MAX);
        assert_true(acks >= 40 + 67 * round);
        fix_ok(store_open(b->f.path, STORE_READ_WRITE, &b->f.db, &fix_err));
        fix_ok(ledger_audit(b->f.db, &report, &fix_err));
        uint32_t moved = 0;
        for (uint32_t i = 0; i < MAX; i++) {
            int64_t there = 0;
            char key[16];
            (void)snprintf(key, sizeof key, "n-%u", i);
            fix_ok(store_get_one(b->f.db, "SELECT count(*) FROM idempotency WHERE key = $1 AND status = 0", STORE_WITH(store_cstr(key)),
                                 &there, &fix_err));
            if (seen[i] && !there) fail_msg("round %u: transfer %u was acknowledged and is gone", round, i);
            moved += (uint32_t)there;
            if (i > 2000 && !there && !seen[i]) break;
        }
        ledger_balance bob;
        fix_ok(ledger_get_balance(b->f.db, b->f.bob.id, &bob, &fix_err));
        assert_int_equal(bob.available, moved); /* each once: the next child repeats every key */
    }
}

int main(void) {
#define WRITER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        WRITER_TEST(test_M5_a_thousand_locks_on_a_small_balance),
        WRITER_TEST(test_M5_one_key_sent_a_hundred_times_moves_once),
        WRITER_TEST(test_what_is_queued_commits_together),
        WRITER_TEST(test_the_queue_is_bounded),
        WRITER_TEST(test_close_answers_what_is_queued),
        WRITER_TEST(test_a_callback_may_submit),
        WRITER_TEST(test_a_full_disk_refuses_the_batch_and_goes_on),
        WRITER_TEST(test_a_lost_transaction_fails_everybody_in_it),
        WRITER_TEST(test_an_unknown_commit_stops_the_writer),
        WRITER_TEST(test_M4_B12_kill_9_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
