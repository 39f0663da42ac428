/* test_jobs_table.c - jobs and apps as rows: admission is all or nothing, every step is a compare-and-set, money follows each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
#include "ledger_fixture.h"
// clang-format on
#include "base/price.h"
#include "controlplane/apps_table.h"

#define LOCK INT64_C(13334) /* 2 vcpus x 10 min x $0.04, rounded up */

static int setup(void **state) {
    int rc = fix_setup(state);
    fix_ok(fix_mint(*state, "alice", FIX_USD, "pay-1", NULL));
    return rc;
}

/* ---- works ---------------------------------------------------------------------------------------------------------- */

typedef struct step {
    const char *id;
    const uint8_t *instance;
    job_state state;
    job_receipt receipt;
    ee_span envelope;
    job_finished finished;
    ee_money returned;
} step;
static ee_status run_progress(store *db, void *arg, ee_error *err) {
    step *s = arg;
    return jobs_progress(db, s->id, s->instance, s->state, FIX_NOW + 5, err);
}
static ee_status run_finish(store *db, void *arg, ee_error *err) {
    step *s = arg;
    return jobs_finish(db, s->id, &s->receipt, s->envelope, FIX_NOW + 9, &s->finished, err);
}
static ee_status run_fail(store *db, void *arg, ee_error *err) {
    step *s = arg;
    return jobs_fail(db, s->id, "job_lost", "the node went away", FIX_NOW + 9, &s->returned, err);
}
static ee_status progress(ledger_fixture *f, const char *id, job_state state) {
    uint8_t instance[32];
    memset(instance, 7, sizeof instance);
    step s = {.id = id, .instance = instance, .state = state};
    return store_run(f->db, run_progress, &s, &fix_err);
}
static ee_status fail_job(ledger_fixture *f, const char *id, ee_money *returned) {
    step s = {.id = id};
    ee_status st = store_run(f->db, run_fail, &s, &fix_err);
    *returned = s.returned;
    return st;
}
static void good_receipt(step *s, const char *id, uint64_t vcpu_ms) {
    memset(s, 0, sizeof *s);
    s->id = id;
    memset(s->receipt.instance_id, 7, 32);
    memset(s->receipt.auth_id, 1, 16);
    eei_sha256(fix_text("a spec"), s->receipt.spec_hash);
    s->receipt.node = fix_text("node-a");
    s->receipt.price = 40000;
    s->receipt.vcpus_milli = 2000;
    s->receipt.vcpu_ms = vcpu_ms;
    s->receipt.charge = eei_price_charge(40000, vcpu_ms, LOCK);
    s->receipt.exit_code = 3;
    s->receipt.reason = fix_text("exited");
    s->receipt.start_ms = FIX_NOW + 5;
    s->receipt.end_ms = FIX_NOW + 8;
    s->envelope = fix_text("signed receipt");
}

/* ---- admission ------------------------------------------------------------------------------------------------------ */

static void test_admission_locks_and_writes_together(void **state) {
    ledger_fixture *f = *state;
    job_admit_request r;
    job_admitted admitted = {0}, again = {0};
    job_row row;
    fix_admit_request(f, &r, "job_A", "key-1", 1);
    fix_ok(fix_admit(f, &r, &admitted));
    assert_int_equal(admitted.locked, LOCK);
    assert_int_equal(admitted.balance_after, FIX_USD - LOCK);
    assert_false(admitted.replayed);
    fix_expect(f, f->alice.id, FIX_USD - LOCK, LOCK);
    job_row_init(&row);
    fix_ok(jobs_get(f->db, "job_A", &row, &fix_err));
    assert_int_equal(row.state, JOB_ADMITTED);
    assert_string_equal(row.account_name, "alice");
    assert_string_equal(row.node_name, "node-a");
    assert_int_equal(row.account_key[0], 1);
    assert_int_equal(row.locked, LOCK);
    assert_true(eei_span_equal(eei_buf_span(&row.spec), fix_text("a spec")));
    assert_true(eei_span_equal(eei_buf_span(&row.spend_auth), fix_text("an envelope")));
    job_row_clear(&row);

    /* The retry after a lost response: a new id and authorisation, the same key and spec. */
    fix_admit_request(f, &r, "job_B", "key-1", 2);
    fix_ok(fix_admit(f, &r, &again));
    assert_true(again.replayed);
    assert_string_equal(again.id, "job_A");
    assert_int_equal(again.lock_seq, admitted.lock_seq);
    fix_expect(f, f->alice.id, FIX_USD - LOCK, LOCK);
    r.spec = fix_text("another spec");
    eei_sha256(r.spec, r.auth.spec_hash);
    assert_int_equal(fix_admit(f, &r, NULL), EE_E_IDEMPOTENCY);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM job"), 1);
}

static void test_admission_refusals(void **state) {
    ledger_fixture *f = *state;
    static const struct {
        const char *title;
        ee_money price, quoted, max_total;
        uint64_t wall_ms, not_after_ms, vcpus;
        const char *node;
        ee_status want;
    } cases[] = {
        {"as quoted", 40000, 40000, LOCK, 600000, FIX_NOW + 1, 2000, "node-a", EE_OK},
        {"cheaper now", 30000, 40000, LOCK, 600000, FIX_NOW + 1, 2000, "node-a", EE_OK},
        {"M12 dearer now", 40001, 40000, LOCK, 600000, FIX_NOW + 1, 2000, "node-a", EE_E_CONFLICT},
        {"over the cap by one", 40000, 40000, LOCK - 1, 600000, FIX_NOW + 1, 2000, "node-a", EE_E_BUDGET},
        {"ran out this instant", 40000, 40000, LOCK, 600000, FIX_NOW, 2000, "node-a", EE_E_EXPIRED},
        {"another node", 40000, 40000, LOCK, 600000, FIX_NOW + 1, 2000, "node-b", EE_E_CONFLICT},
        {"no time", 40000, 40000, LOCK, 0, FIX_NOW + 1, 2000, "node-a", EE_E_INVALID},
        {"no vcpus", 40000, 40000, LOCK, 600000, FIX_NOW + 1, 0, "node-a", EE_E_INVALID},
        {"low balance", 40000, 40000, INT64_MAX, 60000000000, FIX_NOW + 1, 2000, "node-a", EE_E_LOW_BALANCE},
        {"over any sum", INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, FIX_NOW + 1, 2000, "node-a", EE_E_LIMIT},
        {"negative price", -1, 40000, LOCK, 600000, FIX_NOW + 1, 2000, "node-a", EE_E_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        job_admit_request r;
        char id[16], key[16];
        (void)snprintf(id, sizeof id, "job_%zu", i);
        (void)snprintf(key, sizeof key, "key-%zu", i);
        fix_admit_request(f, &r, id, key, (uint8_t)(i + 10));
        r.price = cases[i].price;
        r.auth.price = cases[i].quoted;
        r.auth.max_total = cases[i].max_total;
        r.auth.not_after_ms = cases[i].not_after_ms;
        r.auth.node = fix_text(cases[i].node);
        r.wall_ms = cases[i].wall_ms;
        r.vcpus_milli = cases[i].vcpus;
        int64_t locks = fix_count(f, "SELECT count(*) FROM lock"), rows = fix_count(f, "SELECT count(*) FROM job");
        ee_status st = fix_admit(f, &r, NULL);
        if (st != cases[i].want) fail_msg("%s: %s %s", cases[i].title, ee_status_word(st), fix_err.message);
        assert_int_equal(fix_count(f, "SELECT count(*) FROM lock"), locks + !st);
        assert_int_equal(fix_count(f, "SELECT count(*) FROM job"), rows + !st);
    }
    job_admit_request r;
    fix_admit_request(f, &r, "job_x", "key-x", 99);
    memset(r.auth.spec_hash, 0, sizeof r.auth.spec_hash);
    assert_int_equal(fix_admit(f, &r, NULL), EE_E_INVALID); /* W13: the authorisation is for another spec */
    fix_admit_request(f, &r, "job_y", "key-y", 10);
    assert_int_equal(fix_admit(f, &r, NULL), EE_E_CONFLICT); /* M5: an authorisation is used once, under whatever key */
    fix_admit_request(f, &r, "job_z", "key-z", 98);
    r.open_jobs_max = 2;
    assert_int_equal(fix_admit(f, &r, NULL), EE_E_RATE_LIMIT); /* B10 */
    r.open_jobs_max = 3;
    fix_ok(fix_admit(f, &r, NULL)); /* a full house is not remembered: the same key works later */
}

static void test_M5_a_refused_admission_is_remembered(void **state) {
    ledger_fixture *f = *state;
    job_admit_request r;
    fix_admit_request(f, &r, "job_A", "key-1", 1);
    r.vcpus_milli = 2000000;
    r.auth.max_total = INT64_MAX;
    assert_int_equal(fix_admit(f, &r, NULL), EE_E_LOW_BALANCE);
    assert_string_equal(fix_err.message, "this job may cost up to $13.333334 and your balance is $1.00");
    fix_ok(fix_mint(f, "alice", 100 * FIX_USD, "pay-2", NULL));
    assert_int_equal(fix_admit(f, &r, NULL), EE_E_LOW_BALANCE);
    r.key = fix_text("key-2");
    fix_ok(fix_admit(f, &r, NULL));
}

static void test_free_work_needs_no_lock(void **state) {
    ledger_fixture *f = *state;
    job_admit_request r;
    job_admitted admitted;
    step s;
    fix_admit_request(f, &r, "job_A", "key-1", 1);
    r.price = r.auth.price = 0;
    fix_ok(fix_admit(f, &r, &admitted));
    assert_int_equal(admitted.locked, 0);
    assert_int_equal(admitted.lock_seq, 0);
    good_receipt(&s, "job_A", 1000);
    s.receipt.price = 0;
    s.receipt.charge = 0;
    fix_ok(store_run(f->db, run_finish, &s, &fix_err));
    fix_expect(f, f->alice.id, FIX_USD, 0);
}

/* ---- steps ---------------------------------------------------------------------------------------------------------- */

static void test_a_job_only_moves_forward(void **state) {
    ledger_fixture *f = *state;
    job_admit_request r;
    uint8_t other[32] = {9};
    step s = {.id = "job_A", .instance = other, .state = JOB_WAITING};
    fix_admit_request(f, &r, "job_A", "key-1", 1);
    fix_ok(fix_admit(f, &r, NULL));
    assert_int_equal(store_run(f->db, run_progress, &s, &fix_err), EE_E_PERMISSION); /* another instance */
    fix_ok(progress(f, "job_A", JOB_WAITING));
    fix_ok(progress(f, "job_A", JOB_WAITING));
    fix_ok(progress(f, "job_A", JOB_RUNNING)); /* the image was there: no pulling */
    assert_int_equal(progress(f, "job_A", JOB_PULLING), EE_E_CONFLICT);
    assert_int_equal(progress(f, "job_A", JOB_DONE), EE_E_INVALID); /* only by a receipt */
    assert_int_equal(progress(f, "job_A", JOB_ADMITTED), EE_E_INVALID);
    assert_int_equal(progress(f, "job_X", JOB_RUNNING), EE_E_NOT_FOUND);
    job_row row;
    job_row_init(&row);
    fix_ok(jobs_get(f->db, "job_A", &row, &fix_err));
    assert_int_equal(row.started_ms, FIX_NOW + 5);
    job_row_clear(&row);
}

static void test_a_receipt_charges_and_returns(void **state) {
    ledger_fixture *f = *state;
    job_admit_request r;
    job_row row;
    step s;
    fix_admit_request(f, &r, "job_A", "key-1", 1);
    fix_ok(fix_admit(f, &r, NULL));
    fix_ok(progress(f, "job_A", JOB_RUNNING));
    good_receipt(&s, "job_A", 180000); /* 3 vcpu-minutes: $0.002 */
    fix_ok(store_run(f->db, run_finish, &s, &fix_err));
    assert_int_equal(s.finished.charge, 2000);
    assert_int_equal(s.finished.returned, LOCK - 2000);
    assert_false(s.finished.replayed);
    fix_expect(f, f->alice.id, FIX_USD - 2000, 2000); /* the used part waits for its period */
    fix_ok(store_run(f->db, run_finish, &s, &fix_err));
    assert_true(s.finished.replayed);
    assert_int_equal(s.finished.charge, 2000);
    s.envelope = fix_text("another signed receipt");
    assert_int_equal(store_run(f->db, run_finish, &s, &fix_err), EE_E_CONFLICT);
    ee_money returned = 0;
    assert_int_equal(fail_job(f, "job_A", &returned), EE_E_CONFLICT);
    assert_int_equal(progress(f, "job_A", JOB_RUNNING), EE_E_CONFLICT);
    job_row_init(&row);
    fix_ok(jobs_get(f->db, "job_A", &row, &fix_err));
    assert_int_equal(row.state, JOB_DONE);
    assert_int_equal(row.exit_code, 3);
    assert_string_equal(row.word, "exited");
    assert_int_equal(row.vcpu_ms, 180000);
    assert_true(eei_span_equal(eei_buf_span(&row.receipt), fix_text("signed receipt")));
    job_row_clear(&row);
}

static void test_M9_a_receipt_never_charges_over_the_lock(void **state) {
    ledger_fixture *f = *state;
    job_admit_request r;
    step s;
    fix_admit_request(f, &r, "job_A", "key-1", 1);
    fix_ok(fix_admit(f, &r, NULL));
    good_receipt(&s, "job_A", UINT64_C(1) << 60);
    assert_int_equal(s.receipt.charge, LOCK);
    s.receipt.charge++;
    assert_int_equal(store_run(f->db, run_finish, &s, &fix_err), EE_E_CONFLICT);
    s.receipt.charge--;
    fix_ok(store_run(f->db, run_finish, &s, &fix_err));
    assert_int_equal(s.finished.returned, 0);
    fix_expect(f, f->alice.id, FIX_USD - LOCK, LOCK);
}

static void test_a_receipt_that_contradicts_the_row_is_refused(void **state) {
    ledger_fixture *f = *state;
    job_admit_request r;
    fix_admit_request(f, &r, "job_A", "key-1", 1);
    fix_ok(fix_admit(f, &r, NULL));
    for (int i = 0; i < 11; i++) {
        step s;
        ee_status want = EE_E_CONFLICT;
        good_receipt(&s, "job_A", 1000);
        switch (i) {
        case 0: s.receipt.instance_id[31] ^= 1; break;
        case 1: s.receipt.auth_id[0] ^= 1; break;
        case 2: s.receipt.spec_hash[5] ^= 1; break;
        case 3: s.receipt.node = fix_text("node-b"); break;
        case 4: s.receipt.price++; break;
        case 5: s.receipt.vcpus_milli--; break;
        case 6: s.receipt.charge++; break;
        case 7: s.receipt.charge--; break;
        case 8: s.receipt.end_ms = s.receipt.start_ms - 1; break;
        case 9:
            s.receipt.vcpu_ms = UINT64_MAX;
            want = EE_E_INVALID;
            break;
        default:
            s.envelope = eei_span(NULL, 0);
            want = EE_E_INVALID;
            break;
        }
        ee_status st = store_run(f->db, run_finish, &s, &fix_err);
        if (st != want) fail_msg("case %d: %s %s", i, ee_status_word(st), fix_err.message);
    }
    fix_expect(f, f->alice.id, FIX_USD - LOCK, LOCK);
}

static void test_M7_a_job_that_fails_gives_everything_back(void **state) {
    ledger_fixture *f = *state;
    job_admit_request r;
    ee_money returned = 0;
    job_row row;
    step s;
    fix_admit_request(f, &r, "job_A", "key-1", 1);
    fix_ok(fix_admit(f, &r, NULL));
    fix_ok(progress(f, "job_A", JOB_RUNNING));
    fix_ok(fail_job(f, "job_A", &returned));
    assert_int_equal(returned, LOCK);
    fix_ok(fail_job(f, "job_A", &returned));
    assert_int_equal(returned, LOCK);
    fix_expect(f, f->alice.id, FIX_USD, 0);
    good_receipt(&s, "job_A", 1000);
    assert_int_equal(store_run(f->db, run_finish, &s, &fix_err), EE_E_CONFLICT); /* too late */
    job_row_init(&row);
    fix_ok(jobs_get(f->db, "job_A", &row, &fix_err));
    assert_string_equal(row.word, "job_lost");
    assert_string_equal(row.message, "the node went away");
    job_row_clear(&row);

    fix_admit_request(f, &r, "job_B", "key-2", 2); /* the lock expires first, then the job is failed */
    fix_ok(fix_admit(f, &r, NULL));
    fix_expire_work e = {.now_ms = FIX_LATE};
    fix_ok(store_run(f->db, fix_run_expire, &e, &fix_err));
    assert_int_equal(e.count, 1);
    fix_ok(fail_job(f, "job_B", &returned));
    assert_int_equal(returned, LOCK);
    fix_expect(f, f->alice.id, FIX_USD, 0);
}

/* ---- lists ---------------------------------------------------------------------------------------------------------- */

typedef struct names {
    char text[256];
    size_t stop;
} names;
static bool add_job(void *user, const job_row *row) {
    names *n = user;
    size_t len = strlen(n->text);
    (void)snprintf(n->text + len, sizeof n->text - len, "%s ", row->id);
    return !n->stop || --n->stop;
}
static void expect_jobs(ledger_fixture *f, job_list_query q, size_t stop, const char *want) {
    names n = {.stop = stop};
    fix_ok(jobs_list(f->db, &q, add_job, &n, &fix_err));
    assert_string_equal(n.text, want);
}
static void test_jobs_are_listed_newest_first(void **state) {
    ledger_fixture *f = *state;
    ee_money returned = 0;
    static const char *const ids[] = {"job_A", "job_B", "job_C"};
    for (uint8_t i = 0; i < 3; i++) {
        job_admit_request r;
        char key[8];
        (void)snprintf(key, sizeof key, "k%u", i);
        fix_admit_request(f, &r, ids[i], key, (uint8_t)(i + 1));
        fix_ok(fix_admit(f, &r, NULL));
    }
    fix_ok(fail_job(f, "job_B", &returned));
    expect_jobs(f, (job_list_query){0}, 0, "job_C job_B job_A ");
    expect_jobs(f, (job_list_query){.only_open = true}, 0, "job_C job_A ");
    expect_jobs(f, (job_list_query){.account = f->alice.id}, 0, "job_C job_B job_A ");
    expect_jobs(f, (job_list_query){.account = f->alice.id, .only_open = true, .node = f->node.id}, 0, "job_C job_A ");
    expect_jobs(f, (job_list_query){.account = f->bob.id}, 0, "");
    expect_jobs(f, (job_list_query){.node = f->node.id, .only_open = true}, 0, "job_C job_A ");
    expect_jobs(f, (job_list_query){.node = f->node.id}, 0, "job_C job_B job_A ");
    expect_jobs(f, (job_list_query){.limit = 2}, 0, "job_C job_B ");
    expect_jobs(f, (job_list_query){.before = "job_C"}, 0, "job_B job_A ");
    expect_jobs(f, (job_list_query){.account = f->alice.id, .before = "job_B"}, 0, "job_A ");
    expect_jobs(f, (job_list_query){0}, 1, "job_C ");
}

static void test_state_words(void **state) {
    job_state s = 0;
    (void)state;
    for (job_state i = JOB_ADMITTED; i <= JOB_FAILED; i++) {
        assert_true(job_state_parse(fix_text(job_state_word(i)), &s));
        assert_int_equal(s, i);
    }
    assert_false(job_state_parse(fix_text("sleeping"), &s));
    assert_string_equal(job_state_word(0), "?");
}

/* ---- apps ----------------------------------------------------------------------------------------------------------- */

typedef struct app_work {
    app_deploy_request deploy;
    app_deployed deployed;
    const char *id, *name;
    int64_t account, node;
    uint64_t epoch;
    app_state state;
    app_row row;
} app_work;
static ee_status run_deploy(store *db, void *arg, ee_error *err) {
    app_work *w = arg;
    return apps_deploy(db, &w->deploy, &w->deployed, err);
}
static ee_status run_place(store *db, void *arg, ee_error *err) {
    app_work *w = arg;
    static const uint8_t instance[32] = {5};
    return apps_place(db, w->id, w->epoch, w->node, instance, 7, FIX_NOW, &w->epoch, err);
}
static ee_status run_state(store *db, void *arg, ee_error *err) {
    app_work *w = arg;
    return apps_set_state(db, w->id, w->epoch, w->state, "", "", FIX_NOW, err);
}
static ee_status run_stop(store *db, void *arg, ee_error *err) {
    app_work *w = arg;
    app_row_init(&w->row);
    ee_status st = apps_stop(db, fix_text(w->name), w->account, FIX_NOW, &w->row, err);
    app_row_clear(&w->row);
    return st;
}
static ee_status deploy(ledger_fixture *f, int64_t account, const char *id, const char *name, const char *key, app_deployed *out) {
    app_work w = {.deploy = {.name = fix_text(name),
                             .account = account,
                             .node = f->node.id,
                             .spec = fix_text("app spec"),
                             .price = 40000,
                             .vcpus_milli = 1000,
                             .memory_bytes = 1,
                             .port = 8080,
                             .key = fix_text(key),
                             .apps_max = 2,
                             .now_ms = FIX_NOW}};
    memset(w.deploy.instance_id, 4, 32);
    (void)snprintf(w.deploy.id, sizeof w.deploy.id, "%s", id);
    eei_sha256(w.deploy.spec, w.deploy.spec_hash);
    ee_status st = store_run(f->db, run_deploy, &w, &fix_err);
    if (!st && out) *out = w.deployed;
    return st;
}
static ee_status set_state(ledger_fixture *f, const char *id, uint64_t epoch, app_state state) {
    app_work w = {.id = id, .epoch = epoch, .state = state};
    return store_run(f->db, run_state, &w, &fix_err);
}

static void test_S4_an_app_name_stays_its_owners(void **state) {
    ledger_fixture *f = *state;
    app_deployed d;
    app_row row;
    fix_ok(deploy(f, f->alice.id, "app_A", "web", "k1", &d));
    assert_int_equal(d.epoch, 1);
    assert_int_equal(deploy(f, f->bob.id, "app_B", "web", "k1", &d), EE_E_PERMISSION);
    app_work stop = {.name = "web", .account = f->bob.id};
    assert_int_equal(store_run(f->db, run_stop, &stop, &fix_err), EE_E_PERMISSION);
    stop.account = f->alice.id;
    fix_ok(store_run(f->db, run_stop, &stop, &fix_err));
    fix_ok(store_run(f->db, run_stop, &stop, &fix_err)); /* twice is fine */
    store_close(f->db);
    f->db = NULL;
    fix_ok(store_open(f->path, STORE_READ_WRITE, &f->db, &fix_err)); /* restart in between */
    assert_int_equal(deploy(f, f->bob.id, "app_B", "web", "k2", &d), EE_E_PERMISSION);
    fix_ok(deploy(f, f->alice.id, "app_C", "web", "k2", &d));
    assert_string_equal(d.id, "app_A"); /* the same app, placed again */
    assert_int_equal(d.epoch, 2);
    fix_ok(deploy(f, f->alice.id, "app_D", "web", "k2", &d));
    assert_true(d.replayed);
    assert_int_equal(d.epoch, 2);
    assert_int_equal(deploy(f, f->alice.id, "app_E", "other", "k2", &d), EE_E_IDEMPOTENCY);
    app_row_init(&row);
    fix_ok(apps_get(f->db, fix_text("web"), &row, &fix_err));
    assert_string_equal(row.node_name, "node-a");
    assert_int_equal(row.port, 8080);
    assert_int_equal(apps_get(f->db, fix_text("wbe"), &row, &fix_err), EE_E_NOT_FOUND);
    assert_non_null(strstr(fix_err.message, "Did you mean web?"));
    app_row_clear(&row);
    fix_ok(deploy(f, f->alice.id, "app_F", "second", "k3", &d));
    assert_int_equal(deploy(f, f->alice.id, "app_G", "third", "k4", &d), EE_E_RATE_LIMIT);
}

static void test_apps_are_fenced_by_epoch(void **state) {
    ledger_fixture *f = *state;
    fix_ok(deploy(f, f->alice.id, "app_A", "web", "k1", NULL));
    fix_ok(set_state(f, "app_A", 1, APP_RUNNING));
    fix_ok(set_state(f, "app_A", 1, APP_RUNNING));
    assert_int_equal(set_state(f, "app_A", 1, APP_DEPLOYING), EE_E_CONFLICT);
    assert_int_equal(set_state(f, "app_A", 2, APP_FAILED), EE_E_CONFLICT);
    fix_ok(set_state(f, "app_A", 1, APP_LOST));
    assert_int_equal(set_state(f, "app_A", 1, APP_RUNNING), EE_E_CONFLICT);
    app_work w = {.id = "app_A", .epoch = 1, .node = f->node.id};
    fix_ok(store_run(f->db, run_place, &w, &fix_err));
    assert_int_equal(w.epoch, 2);
    w.epoch = 1; /* the one who saw the old epoch */
    assert_int_equal(store_run(f->db, run_place, &w, &fix_err), EE_E_CONFLICT);
    assert_int_equal(set_state(f, "app_A", 1, APP_RUNNING), EE_E_CONFLICT); /* the old placement speaks */
    fix_ok(set_state(f, "app_A", 2, APP_RUNNING));
    app_work stop = {.name = "web", .account = f->alice.id};
    fix_ok(store_run(f->db, run_stop, &stop, &fix_err));
    w.epoch = 2;
    assert_int_equal(store_run(f->db, run_place, &w, &fix_err), EE_E_CONFLICT); /* stopped: not to be moved */
    assert_int_equal(set_state(f, "app_A", 2, APP_FAILED), EE_E_CONFLICT);
}

static bool add_app(void *user, const app_row *row) {
    names *n = user;
    size_t len = strlen(n->text);
    (void)snprintf(n->text + len, sizeof n->text - len, "%s ", row->name);
    return true;
}
static void test_apps_are_listed_by_name(void **state) {
    ledger_fixture *f = *state;
    const struct {
        app_list_query q;
        const char *want;
    } cases[] = {
        {{.limit = 0}, "api web zoo "},
        {{.only_live = true}, "api zoo "},
        {{.account = f->alice.id}, "api web "},
        {{.node = f->node.id, .after = "api"}, "web zoo "},
        {{.limit = 1}, "api "},
    };
    fix_ok(deploy(f, f->alice.id, "app_A", "web", "k1", NULL));
    fix_ok(deploy(f, f->alice.id, "app_B", "api", "k2", NULL));
    fix_ok(deploy(f, f->bob.id, "app_C", "zoo", "k3", NULL));
    fix_ok(set_state(f, "app_A", 1, APP_FAILED));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        names n = {.stop = 0};
        fix_ok(apps_list(f->db, &cases[i].q, add_app, &n, &fix_err));
        assert_string_equal(n.text, cases[i].want);
    }
}

int main(void) {
#define TABLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TABLE_TEST(test_admission_locks_and_writes_together),
        TABLE_TEST(test_admission_refusals),
        TABLE_TEST(test_M5_a_refused_admission_is_remembered),
        TABLE_TEST(test_free_work_needs_no_lock),
        TABLE_TEST(test_a_job_only_moves_forward),
        TABLE_TEST(test_a_receipt_charges_and_returns),
        TABLE_TEST(test_M9_a_receipt_never_charges_over_the_lock),
        TABLE_TEST(test_a_receipt_that_contradicts_the_row_is_refused),
        TABLE_TEST(test_M7_a_job_that_fails_gives_everything_back),
        TABLE_TEST(test_jobs_are_listed_newest_first),
        cmocka_unit_test(test_state_words),
        TABLE_TEST(test_S4_an_app_name_stays_its_owners),
        TABLE_TEST(test_apps_are_fenced_by_epoch),
        TABLE_TEST(test_apps_are_listed_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
