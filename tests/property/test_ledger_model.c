/* test_ledger_model.c - random operations on the ledger against a reference in plain integers. After each step every balance is the
 * reference's, the sum over all accounts is zero, and nothing but the mint is negative. Replay a failure with EE_SEED=...; EE_STEPS=... */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
#include "unit/ledger_fixture.h"
// clang-format on
#include <time.h>

enum { PEOPLE = 5, NODES = 2, LOCKS_MAX = 6000, KEYS_MAX = 6000 }; /* people: 4 users and the provider */

/* ---- the reference: no SQL, no accounts, only what should be true ---------------------------------------------------- */

typedef struct ref_lock {
    int64_t seq;
    int who, node;
    ee_money amount, used;
    int state; /* ledger_lock_state */
    uint64_t expires_ms;
} ref_lock;
typedef struct ref_key {
    int who, to;
    ee_money amount;
    ee_status status;
    bool used;
} ref_key;
typedef struct reference {
    ee_money available[PEOPLE], locked[PEOPLE], staked[NODES], minted;
    ref_lock locks[LOCKS_MAX];
    size_t lock_count;
    ref_key keys[KEYS_MAX];
    size_t key_count;
    uint64_t now_ms;
    unsigned mints;
} reference;

static reference now, before; /* before: as it was when the open transaction began */
static ledger_principal people[PEOPLE], nodes[NODES];
static const char *const names[PEOPLE] = {"user-a", "user-b", "user-c", "user-d", "provider-x"};
static const char *const node_names[NODES] = {"node-a", "node-b"};

static uint64_t seed;
static uint64_t next(void) { /* splitmix64 */
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
static int below(int n) { return (int)(next() % (uint64_t)n); }
static ee_money some_amount(void) { return (ee_money)(next() % (below(4) ? 1000000 : 20000000)) + 1; }

/* ---- one operation: the reference says what must come of it ---------------------------------------------------------- */

typedef struct op {
    enum { MINT, TRANSFER, AGAIN, MISMATCH, LOCK, USE, VOID, PAY, EXPIRE, STAKE, OP_KINDS } kind;
    ee_status want;
    fix_mint_work mint;
    fix_transfer_work transfer;
    fix_lock_work lock;
    fix_resolve_work resolve;
    fix_expire_work expire;
    ledger_stake_request stake;
    char key[32];
    ee_money moved; /* expected of a resolution */
    unsigned count; /* expected of an expiry */
    size_t lock_at;
} op;

static ee_status run_op(store *db, void *arg, ee_error *err) {
    op *o = arg;
    ledger_entry entry;
    switch (o->kind) {
    case MINT: return fix_run_mint(db, &o->mint, err);
    case TRANSFER:
    case AGAIN:
    case MISMATCH: return fix_run_transfer(db, &o->transfer, err);
    case LOCK: return fix_run_lock(db, &o->lock, err);
    case USE:
    case VOID:
    case PAY: return fix_run_resolve(db, &o->resolve, err);
    case EXPIRE: return fix_run_expire(db, &o->expire, err);
    case STAKE: return ledger_stake(db, &o->stake, &entry, err);
    case OP_KINDS: break;
    }
    return EE_E_INTERNAL;
}

static void plan_transfer(op *o) {
    o->kind = TRANSFER;
    int from = below(PEOPLE), to = (from + 1 + below(PEOPLE - 1)) % PEOPLE;
    ref_key *k = &now.keys[now.key_count];
    *k = (ref_key){.who = from, .to = to, .amount = some_amount(), .used = true};
    (void)snprintf(o->key, sizeof o->key, "t-%zu", now.key_count++);
    o->want = k->status = now.available[from] >= k->amount ? EE_OK : EE_E_LOW_BALANCE;
    if (!o->want) {
        now.available[from] -= k->amount;
        now.available[to] += k->amount;
    }
    o->transfer.request = (ledger_transfer_request){
        .from = people[from].id, .to = fix_text(names[to]), .amount = k->amount, .key = fix_text(o->key), .now_ms = now.now_ms};
}

/* An old key: with the same content nothing moves and the first answer comes again; with another amount it is refused. */
static void plan_again(op *o, bool mismatch) {
    size_t at = (size_t)below((int)now.key_count);
    const ref_key *k = &now.keys[at];
    o->kind = mismatch ? MISMATCH : AGAIN;
    (void)snprintf(o->key, sizeof o->key, "t-%zu", at);
    o->want = mismatch ? EE_E_IDEMPOTENCY : k->status;
    o->transfer.request = (ledger_transfer_request){.from = people[k->who].id,
                                                    .to = fix_text(names[k->to]),
                                                    .amount = k->amount + (mismatch ? 1 : 0),
                                                    .key = fix_text(o->key),
                                                    .now_ms = now.now_ms};
}

static void plan_mint(op *o) {
    int to = below(PEOPLE);
    o->kind = MINT;
    (void)snprintf(o->key, sizeof o->key, "pay-%u", now.mints++);
    o->mint.request =
        (ledger_mint_request){.to = fix_text(names[to]), .amount = some_amount(), .reference = fix_text(o->key), .now_ms = now.now_ms};
    now.available[to] += o->mint.request.amount;
    now.minted += o->mint.request.amount;
}

static void plan_lock(op *o) {
    int who = below(PEOPLE), node = below(NODES);
    ee_money amount = some_amount();
    o->kind = LOCK;
    o->want = now.available[who] >= amount ? EE_OK : EE_E_LOW_BALANCE;
    o->lock.request = (ledger_lock_request){.user = people[who].id,
                                            .node = nodes[node].id,
                                            .period_ms = now.now_ms / 3600000 * 3600000,
                                            .ref = fix_text("job"),
                                            .amount = amount,
                                            .expires_ms = now.now_ms + 1 + (uint64_t)below(2000000),
                                            .now_ms = now.now_ms};
    if (o->want) return;
    now.available[who] -= amount;
    now.locked[who] += amount;
    o->lock_at = now.lock_count++;
    now.locks[o->lock_at] =
        (ref_lock){.who = who, .node = node, .amount = amount, .state = LEDGER_LOCK_OPEN, .expires_ms = o->lock.request.expires_ms};
}

static ee_money held(const ref_lock *l) { return l->state == LEDGER_LOCK_OPEN ? l->amount : l->state == LEDGER_LOCK_USED ? l->used : 0; }

static void give_back(ref_lock *l, ee_money amount, int state) {
    now.locked[l->who] -= amount;
    now.available[l->who] += amount;
    l->state = state;
}

static void plan_use(op *o, ref_lock *l) {
    ee_money used = below(4) ? (ee_money)(next() % (uint64_t)(l->amount + 1)) : below(2) ? l->used : l->amount;
    o->resolve.what = FIX_USE;
    o->resolve.used = used;
    o->moved = l->amount - used;
    if (!used) { /* the same as returning it */
        bool back = l->state == LEDGER_LOCK_RETURNED || l->state == LEDGER_LOCK_EXPIRED;
        o->want = l->state == LEDGER_LOCK_PAID ? EE_E_CONFLICT : EE_OK;
        o->moved = back ? (l->used ? l->used : l->amount) : held(l);
        if (!o->want && !back) give_back(l, held(l), LEDGER_LOCK_RETURNED);
    } else if (l->state == LEDGER_LOCK_USED && l->used == used) {
        o->want = EE_OK;
    } else if (l->state != LEDGER_LOCK_OPEN) {
        o->want = EE_E_CONFLICT;
    } else {
        give_back(l, l->amount - used, LEDGER_LOCK_USED);
        l->used = used;
    }
}

static void plan_void(op *o, ref_lock *l) {
    o->resolve.what = FIX_VOID;
    if (l->state == LEDGER_LOCK_PAID) {
        o->want = EE_E_CONFLICT;
    } else if (!held(l)) {
        o->moved = l->used ? l->used : l->amount;
    } else {
        o->moved = held(l);
        give_back(l, held(l), LEDGER_LOCK_RETURNED);
    }
}

static void plan_pay(op *o, ref_lock *l) {
    o->resolve.what = FIX_PAY;
    o->moved = l->used;
    if (l->state == LEDGER_LOCK_PAID) return;
    if (l->state != LEDGER_LOCK_USED) {
        o->want = EE_E_CONFLICT;
        return;
    }
    now.locked[l->who] -= l->used;
    now.available[PEOPLE - 1] += l->used; /* the provider of both nodes */
    l->state = LEDGER_LOCK_PAID;
}

static void plan_resolve(op *o) {
    ref_lock *l = &now.locks[below((int)now.lock_count)];
    int kind = below(3);
    o->kind = kind == 0 ? USE : kind == 1 ? VOID : PAY;
    o->resolve.seq = l->seq;
    o->resolve.now_ms = now.now_ms;
    if (o->kind == USE) plan_use(o, l);
    if (o->kind == VOID) plan_void(o, l);
    if (o->kind == PAY) plan_pay(o, l);
}

static void plan_expire(op *o) {
    o->kind = EXPIRE;
    o->expire.now_ms = now.now_ms;
    for (size_t i = 0; i < now.lock_count; i++) {
        ref_lock *l = &now.locks[i];
        if (!held(l) || l->expires_ms > now.now_ms) continue;
        give_back(l, held(l), LEDGER_LOCK_EXPIRED);
        o->count++;
    }
}

static void plan_stake(op *o) {
    int node = below(NODES);
    ee_money amount = some_amount() / 10 + 1;
    o->kind = STAKE;
    o->want = now.available[PEOPLE - 1] >= amount ? EE_OK : EE_E_LOW_BALANCE;
    (void)snprintf(o->key, sizeof o->key, "s-%" PRIu64, next());
    o->stake = (ledger_stake_request){
        .provider = people[PEOPLE - 1].id, .node = nodes[node].id, .amount = amount, .key = fix_text(o->key), .now_ms = now.now_ms};
    if (o->want) return;
    now.available[PEOPLE - 1] -= amount;
    now.staked[node] += amount;
}

static void plan(op *o) {
    memset(o, 0, sizeof *o);
    now.now_ms += (uint64_t)below(60000);
    int dice = below(100);
    if (dice < 8)
        plan_mint(o);
    else if (dice < 16 && now.key_count)
        plan_again(o, false);
    else if (dice < 20 && now.key_count)
        plan_again(o, true);
    else if (dice < 60 && now.lock_count)
        plan_resolve(o);
    else if (dice < 65)
        plan_expire(o);
    else if (dice < 70)
        plan_stake(o);
    else if (dice < 85)
        plan_lock(o);
    else
        plan_transfer(o);
}

/* ---- checks --------------------------------------------------------------------------------------------------------- */

static void check_balances(store *db, unsigned step) {
    ledger_balance b;
    int64_t sum = -1, negative = -1, mint = 0;
    for (int i = 0; i < PEOPLE; i++) {
        fix_ok(ledger_get_balance(db, people[i].id, &b, &fix_err));
        if (b.available != now.available[i] || b.locked != now.locked[i])
            fail_msg("step %u: %s has %" PRId64 " + %" PRId64 ", the reference %" PRId64 " + %" PRId64, step, names[i], b.available,
                     b.locked, now.available[i], now.locked[i]);
    }
    for (int i = 0; i < NODES; i++) {
        fix_ok(ledger_get_balance(db, nodes[i].id, &b, &fix_err));
        assert_int_equal(b.staked, now.staked[i]);
    }
    fix_ok(store_get_one(db, "SELECT sum(cp - dp) FROM account", STORE_NONE, &sum, &fix_err));
    fix_ok(store_get_one(db, "SELECT count(*) FROM account WHERE cp - dp < 0 AND id <> 1", STORE_NONE, &negative, &fix_err));
    fix_ok(store_get_one(db, "SELECT cp - dp FROM account WHERE id = 1", STORE_NONE, &mint, &fix_err));
    assert_int_equal(sum, 0);
    assert_int_equal(negative, 0);
    assert_int_equal(mint, -now.minted);
}

static void check_op(op *o, ee_status st, unsigned step) {
    if (st != o->want)
        fail_msg("step %u, kind %d: %s (%s), wanted %s", step, o->kind, ee_status_word(st), st ? fix_err.message : "",
                 ee_status_word(o->want));
    if (st) return;
    if (o->kind == LOCK) now.locks[o->lock_at].seq = o->lock.seq;
    if (o->kind == USE || o->kind == VOID || o->kind == PAY) assert_int_equal(o->resolve.moved, o->moved);
    if (o->kind == EXPIRE) assert_int_equal(o->expire.count, o->count);
    if (o->kind == AGAIN) assert_true(o->transfer.entry.replayed);
}

static ee_status make_people(store *db, void *arg, ee_error *err) {
    uint8_t key[32];
    ee_status st = EE_OK;
    (void)arg;
    for (int i = 0; i < PEOPLE && !st; i++) {
        fix_key(key, (uint8_t)(i + 1));
        st = ledger_create_account(db, fix_text(names[i]), key, i == PEOPLE - 1 ? LEDGER_PROVIDER : LEDGER_USER, FIX_NOW, &people[i], err);
    }
    for (int i = 0; i < NODES && !st; i++)
        st = ledger_create_node(db, fix_text(node_names[i]), people[PEOPLE - 1].id, FIX_NOW, &nodes[i], err);
    return st;
}

static void one_transaction(store *db, unsigned *step, unsigned steps) {
    bool abandon = below(10) == 0;
    unsigned count = 1 + (unsigned)below(8);
    before = now;
    fix_ok(store_begin(db, &fix_err));
    for (unsigned i = 0; i < count && *step < steps; i++, ++*step) {
        op o;
        plan(&o);
        check_op(&o, store_work(db, run_op, &o, &fix_err), *step);
        check_balances(db, *step);
    }
    if (abandon) { /* as if the disk had been full */
        store_rollback(db);
        now = before;
        check_balances(db, *step);
    } else {
        fix_ok(store_commit(db, &fix_err));
    }
}

static void test_random_operations(void **state) {
    ledger_fixture f;
    (void)state;
    const char *given = getenv("EE_SEED"), *limit = getenv("EE_STEPS");
    seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
    unsigned steps = limit ? (unsigned)strtoul(limit, NULL, 0) : 3000, step = 0, transactions = 0;
    print_message("EE_SEED=%" PRIu64 " EE_STEPS=%u\n", seed, steps);
    if (steps > KEYS_MAX) steps = KEYS_MAX;
    fix_make_dir(&f);
    fix_ok(store_open(f.path, STORE_READ_WRITE, &f.db, &fix_err));
    fix_ok(store_run(f.db, make_people, NULL, &fix_err));
    memset(&now, 0, sizeof now);
    now.now_ms = FIX_NOW;
    while (step < steps) {
        one_transaction(f.db, &step, steps);
        if (++transactions % 40) continue;
        fix_audit(&f);
        store_close(f.db); /* everything that counts is in the file */
        f.db = NULL;
        fix_ok(store_open(f.path, STORE_READ_WRITE, &f.db, &fix_err));
        check_balances(f.db, step);
    }
    fix_audit(&f);
    store_close(f.db);
    fix_remove_dir(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_operations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
