/* ledger_fixture.h - a fresh database with two users, a provider and a node, and short ways to do things to it.
 * For tests of the ledger and of what stands on it; header only, so that each test stays one file. */
#ifndef LEDGER_FIXTURE_H
#define LEDGER_FIXTURE_H
#include "attest/statement.h"
#include "base/alloc.h"
#include "controlplane/jobs_table.h"
#include "controlplane/ledger.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIX_USD  INT64_C(1000000)
#define FIX_NOW  UINT64_C(1769864651000)
#define FIX_LATE (FIX_NOW + 3600000)

typedef struct ledger_fixture {
    char dir[64], path[96];
    store *db;
    ledger_principal alice, bob, provider, node;
} ledger_fixture;

#define fix_ok(call)                                                                                                                       \
    do {                                                                                                                                   \
        ee_status fix_status = (call);                                                                                                     \
        if (fix_status) fail_msg("%s: %s: %s", #call, ee_status_word(fix_status), fix_err.message);                                        \
    } while (0)

static ee_error fix_err; /* the story of the last failure */

static inline ee_span fix_text(const char *text) { return eei_span_text(text); }

static inline void fix_key(uint8_t key[32], uint8_t fill) { memset(key, fill, 32); }

static inline ee_status fix_setup_work(store *db, void *arg, ee_error *err) {
    ledger_fixture *f = arg;
    uint8_t key[32];
    fix_key(key, 1);
    ee_status st = ledger_create_account(db, fix_text("alice"), key, LEDGER_USER, FIX_NOW, &f->alice, err);
    fix_key(key, 2);
    if (!st) st = ledger_create_account(db, fix_text("bob"), key, LEDGER_USER, FIX_NOW, &f->bob, err);
    fix_key(key, 3);
    if (!st) st = ledger_create_account(db, fix_text("provider-one"), key, LEDGER_PROVIDER, FIX_NOW, &f->provider, err);
    if (!st) st = ledger_create_node(db, fix_text("node-a"), f->provider.id, FIX_NOW, &f->node, err);
    return st;
}

static inline void fix_make_dir(ledger_fixture *f) {
    memset(f, 0, sizeof *f);
    (void)snprintf(f->dir, sizeof f->dir, "/tmp/ee-ledger-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof f->path, "%s/ledger.db", f->dir);
}

static inline void fix_remove_dir(ledger_fixture *f) {
    static const char *const tails[] = {"", "-wal", "-shm", "-writer"};
    char path[128];
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        (void)snprintf(path, sizeof path, "%s%s", f->path, tails[i]);
        (void)unlink(path);
    }
    (void)rmdir(f->dir);
}

static inline int fix_setup(void **state) {
    ledger_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    fix_make_dir(f);
    fix_ok(store_open(f->path, STORE_READ_WRITE, &f->db, &fix_err));
    fix_ok(store_run(f->db, fix_setup_work, f, &fix_err));
    *state = f;
    return 0;
}

static inline void fix_audit(ledger_fixture *f) {
    ledger_audit_report report;
    fix_ok(ledger_audit(f->db, &report, &fix_err));
}

/* Whatever a test did, the books must balance when it is over. */
static inline int fix_teardown(void **state) {
    ledger_fixture *f = *state;
    if (f->db && !store_broken(f->db)) fix_audit(f);
    store_close(f->db);
    fix_remove_dir(f);
    free(f);
    return 0;
}

/* ---- one call, one transaction -------------------------------------------------------------------------------------- */

typedef struct fix_transfer_work {
    ledger_transfer_request request;
    ledger_entry entry;
} fix_transfer_work;
static inline ee_status fix_run_transfer(store *db, void *arg, ee_error *err) {
    fix_transfer_work *w = arg;
    return ledger_transfer(db, &w->request, &w->entry, err);
}
static inline ee_status fix_transfer(ledger_fixture *f, int64_t from, const char *to, ee_money amount, const char *key, ledger_entry *out) {
    fix_transfer_work w = {.request = {.from = from,
                                       .to = fix_text(to),
                                       .amount = amount,
                                       .key = fix_text(key),
                                       .evidence = fix_text("signed order"),
                                       .now_ms = FIX_NOW}};
    ee_status st = store_run(f->db, fix_run_transfer, &w, &fix_err);
    if (!st && out) *out = w.entry;
    return st;
}

typedef struct fix_mint_work {
    ledger_mint_request request;
    ledger_entry entry;
} fix_mint_work;
static inline ee_status fix_run_mint(store *db, void *arg, ee_error *err) {
    fix_mint_work *w = arg;
    return ledger_mint(db, &w->request, &w->entry, err);
}
static inline ee_status fix_mint(ledger_fixture *f, const char *to, ee_money amount, const char *reference, ledger_entry *out) {
    fix_mint_work w = {.request = {.to = fix_text(to), .amount = amount, .reference = fix_text(reference), .now_ms = FIX_NOW}};
    ee_status st = store_run(f->db, fix_run_mint, &w, &fix_err);
    if (!st && out) *out = w.entry;
    return st;
}

typedef struct fix_lock_work {
    ledger_lock_request request;
    int64_t seq;
    ee_money left;
} fix_lock_work;
static inline ee_status fix_run_lock(store *db, void *arg, ee_error *err) {
    fix_lock_work *w = arg;
    return ledger_lock(db, &w->request, &w->seq, &w->left, err);
}
static inline ee_status fix_lock(ledger_fixture *f, int64_t user, ee_money amount, uint64_t expires_ms, int64_t *seq) {
    fix_lock_work w = {.request = {.user = user,
                                   .node = f->node.id,
                                   .period_ms = FIX_NOW / 3600000 * 3600000,
                                   .ref = fix_text("job_X"),
                                   .amount = amount,
                                   .expires_ms = expires_ms,
                                   .what = "this job",
                                   .now_ms = FIX_NOW}};
    ee_status st = store_run(f->db, fix_run_lock, &w, &fix_err);
    if (!st) *seq = w.seq;
    return st;
}

typedef struct fix_resolve_work {
    int64_t seq;
    ee_money used, moved;
    enum { FIX_USE, FIX_VOID, FIX_PAY } what;
    uint64_t now_ms;
} fix_resolve_work;
static inline ee_status fix_run_resolve(store *db, void *arg, ee_error *err) {
    fix_resolve_work *w = arg;
    const ee_span none = {NULL, 0};
    if (w->what == FIX_USE) return ledger_lock_use(db, w->seq, w->used, none, w->now_ms, &w->moved, err);
    if (w->what == FIX_VOID) return ledger_lock_void(db, w->seq, none, w->now_ms, &w->moved, err);
    return ledger_lock_pay(db, w->seq, none, w->now_ms, &w->moved, err);
}
static inline ee_status fix_resolve(ledger_fixture *f, int what, int64_t seq, ee_money used, ee_money *moved) {
    fix_resolve_work w = {.seq = seq, .used = used, .now_ms = FIX_NOW};
    w.what = what;
    ee_status st = store_run(f->db, fix_run_resolve, &w, &fix_err);
    if (moved) *moved = w.moved;
    return st;
}
#define fix_use(f, seq, used, moved) fix_resolve(f, FIX_USE, seq, used, moved)
#define fix_void(f, seq, moved)      fix_resolve(f, FIX_VOID, seq, 0, moved)
#define fix_pay(f, seq, moved)       fix_resolve(f, FIX_PAY, seq, 0, moved)

typedef struct fix_expire_work {
    uint64_t now_ms;
    unsigned count;
} fix_expire_work;
static inline ee_status fix_run_expire(store *db, void *arg, ee_error *err) {
    fix_expire_work *w = arg;
    return ledger_expire(db, w->now_ms, 100, &w->count, err);
}

static inline void fix_expect(ledger_fixture *f, int64_t principal, ee_money available, ee_money locked) {
    ledger_balance balance;
    fix_ok(ledger_get_balance(f->db, principal, &balance, &fix_err));
    assert_int_equal(balance.available, available);
    assert_int_equal(balance.locked, locked);
}

static inline int64_t fix_count(ledger_fixture *f, const char *sql) {
    int64_t n = -1;
    fix_ok(store_get_one(f->db, sql, STORE_NONE, &n, &fix_err));
    return n;
}

/* ---- jobs ----------------------------------------------------------------------------------------------------------- */

static inline void fix_admit_request(ledger_fixture *f, job_admit_request *r, const char *id, const char *key, uint8_t auth) {
    static const char spec[] = "a spec";
    memset(r, 0, sizeof *r);
    (void)snprintf(r->id, sizeof r->id, "%s", id);
    r->account = f->alice.id;
    r->node = f->node.id;
    memset(r->instance_id, 7, sizeof r->instance_id);
    r->spec = fix_text(spec);
    r->spend_auth_envelope = fix_text("an envelope");
    memset(r->auth.auth_id, auth, sizeof r->auth.auth_id);
    eei_sha256(r->spec, r->auth.spec_hash);
    r->auth.price = r->price = 40000; /* $0.04 per vcpu-hour */
    r->auth.node = fix_text("node-a");
    r->auth.max_total = FIX_USD;
    r->auth.not_after_ms = FIX_NOW + 60000;
    r->vcpus_milli = 2000;
    r->memory_bytes = 1 << 20;
    r->wall_ms = 600000; /* 2 vcpus x 10 min x $0.04 = $0.013334 rounded up */
    r->period_ms = FIX_NOW / 3600000 * 3600000;
    r->lock_expires_ms = FIX_LATE;
    r->connect_by_ms = FIX_NOW + 30000;
    r->key = fix_text(key);
    r->now_ms = FIX_NOW;
}
typedef struct fix_admit_work {
    job_admit_request request;
    job_admitted admitted;
} fix_admit_work;
static inline ee_status fix_run_admit(store *db, void *arg, ee_error *err) {
    fix_admit_work *w = arg;
    return jobs_admit(db, &w->request, &w->admitted, err);
}
static inline ee_status fix_admit(ledger_fixture *f, const job_admit_request *r, job_admitted *out) {
    fix_admit_work w = {.request = *r};
    ee_status st = store_run(f->db, fix_run_admit, &w, &fix_err);
    if (!st && out) *out = w.admitted;
    return st;
}
#endif
