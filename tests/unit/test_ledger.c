/* test_ledger.c - the ledger's rules and refusals one by one, replays, locks, tampering by SQL. Not for random sequences
 * (property/test_ledger_model.c) or the writing thread (test_ledger_writer.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
#include "ledger_fixture.h"
// clang-format on
#include "base/price.h"

/* ---- principals ----------------------------------------------------------------------------------------------------- */

typedef struct create_work {
    const char *name;
    uint8_t key;
    ledger_principal_kind kind;
    ledger_principal out;
} create_work;
static ee_status run_create(store *db, void *arg, ee_error *err) {
    create_work *w = arg;
    uint8_t key[32];
    fix_key(key, w->key);
    return ledger_create_account(db, fix_text(w->name), key, w->kind, FIX_NOW, &w->out, err);
}

static void test_accounts_are_made_once(void **state) {
    ledger_fixture *f = *state;
    static const struct {
        const char *title;
        create_work work;
        ee_status want;
    } cases[] = {
        {"new", {"carol", 9, LEDGER_USER, {0}}, EE_OK},
        {"the same again", {"alice", 1, LEDGER_USER, {0}}, EE_OK},
        {"name of another key", {"alice", 9, LEDGER_USER, {0}}, EE_E_CONFLICT},
        {"key of another name", {"dave", 1, LEDGER_USER, {0}}, EE_E_CONFLICT},
        {"another kind", {"alice", 1, LEDGER_PROVIDER, {0}}, EE_E_CONFLICT},
        {"node kind", {"erin", 8, LEDGER_NODE, {0}}, EE_E_INVALID},
        {"empty", {"", 8, LEDGER_USER, {0}}, EE_E_INVALID},
        {"upper case", {"Alice", 8, LEDGER_USER, {0}}, EE_E_INVALID},
        {"dash in front", {"-alice", 8, LEDGER_USER, {0}}, EE_E_INVALID},
        {"dash at the end", {"alice-", 8, LEDGER_USER, {0}}, EE_E_INVALID},
        {"space", {"al ice", 8, LEDGER_USER, {0}}, EE_E_INVALID},
        {"63 bytes", {"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg", 10, LEDGER_USER, {0}}, EE_OK},
        {"64 bytes", {"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg", 11, LEDGER_USER, {0}}, EE_E_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        create_work w = cases[i].work;
        ee_status st = store_run(f->db, run_create, &w, &fix_err);
        if (st != cases[i].want) fail_msg("%s: %s %s", cases[i].title, ee_status_word(st), fix_err.message);
        if (!st) assert_true(w.out.id >= LEDGER_FIRST_ACCOUNT && w.out.id < LEDGER_FIRST_NODE);
    }
    assert_int_equal(fix_count(f, "SELECT count(*) FROM principal"), 6);
}

static void test_names_are_found_exactly_or_guessed(void **state) {
    ledger_fixture *f = *state;
    ledger_principal p;
    static const struct {
        const char *name, *hint;
    } missing[] = {
        {"alic", "alice"}, {"alcie", "alice"}, {"alicee", "alice"}, {"bbo", "bob"},     {"provider-on", "provider-one"},
        {"zebra", NULL},   {"ab", NULL},       {"node-a", NULL},    {"Alice", "alice"}, {"al\"ice", "alice"},
    };
    fix_ok(ledger_find_account(f->db, fix_text("alice"), 0, &p, &fix_err));
    assert_int_equal(p.id, f->alice.id);
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        char want[128];
        assert_int_equal(ledger_find_account(f->db, fix_text(missing[i].name), 0, &p, &fix_err), EE_E_NOT_FOUND);
        (void)snprintf(want, sizeof want, "Did you mean %s?", missing[i].hint ? missing[i].hint : "");
        if ((strstr(fix_err.message, "Did you mean") != NULL) != (missing[i].hint != NULL) ||
            (missing[i].hint && !strstr(fix_err.message, want)))
            fail_msg("%s: %s", missing[i].name, fix_err.message);
    }
    assert_int_equal(fix_count(f, "SELECT count(*) FROM principal"), 4); /* looking makes nothing */
}

/* Who else has an account is told to nobody: a close name only to those who have dealt with it. (threat L7) */
static void test_L7_a_guess_discloses_no_account(void **state) {
    ledger_fixture *f = *state;
    ledger_principal p;
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    fix_ok(fix_mint(f, "bob", 10 * FIX_USD, "pay-2", NULL));
    assert_int_equal(fix_transfer(f, f->alice.id, "bbo", FIX_USD, "k1", NULL), EE_E_NOT_FOUND);
    assert_string_equal(fix_err.message, "there is no account \"bbo\"");
    assert_string_equal(fix_err.hint, "");
    fix_ok(fix_transfer(f, f->alice.id, "bob", FIX_USD, "k2", NULL));
    assert_int_equal(fix_transfer(f, f->alice.id, "bbo", FIX_USD, "k3", NULL), EE_E_NOT_FOUND);
    assert_string_equal(fix_err.message, "there is no account \"bbo\". Did you mean bob?");
    assert_int_equal(fix_transfer(f, f->bob.id, "alcie", FIX_USD, "k4", NULL), EE_E_NOT_FOUND); /* who was paid knows, too */
    assert_string_equal(fix_err.message, "there is no account \"alcie\". Did you mean alice?");
    assert_int_equal(fix_transfer(f, f->alice.id, "provider-on", FIX_USD, "k5", NULL), EE_E_NOT_FOUND);
    assert_null(strstr(fix_err.message, "Did you mean"));
    assert_int_equal(ledger_find_account(f->db, fix_text("bbo"), f->provider.id, &p, &fix_err), EE_E_NOT_FOUND);
    assert_null(strstr(fix_err.message, "Did you mean"));
}

/* The toy's fault: a user named like a node collected its pay. */
static void test_a_user_named_like_a_node_is_not_the_node(void **state) {
    ledger_fixture *f = *state;
    create_work w = {"node-a", 40, LEDGER_USER, {0}};
    ledger_principal user, node;
    fix_ok(store_run(f->db, run_create, &w, &fix_err));
    fix_ok(ledger_find_account(f->db, fix_text("node-a"), 0, &user, &fix_err));
    fix_ok(ledger_find_node(f->db, fix_text("node-a"), &node, &fix_err));
    assert_true(user.id < LEDGER_FIRST_NODE && node.id >= LEDGER_FIRST_NODE);
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    fix_ok(fix_transfer(f, f->alice.id, "node-a", FIX_USD, "k1", NULL));
    fix_expect(f, user.id, FIX_USD, 0);
    ledger_balance stake;
    fix_ok(ledger_get_balance(f->db, node.id, &stake, &fix_err));
    assert_int_equal(stake.staked, 0);
    int64_t seq = 0;
    ee_money paid = 0;
    fix_ok(fix_lock(f, f->alice.id, FIX_USD, FIX_LATE, &seq));
    fix_ok(fix_use(f, seq, FIX_USD, NULL));
    fix_ok(fix_pay(f, seq, &paid));
    fix_expect(f, f->provider.id, FIX_USD, 0);
    fix_expect(f, user.id, FIX_USD, 0);
}

static ee_status run_foreign_node(store *db, void *arg, ee_error *err) {
    ledger_fixture *f = arg;
    ledger_principal node;
    return ledger_create_node(db, fix_text("node-b"), f->alice.id, FIX_NOW, &node, err);
}
static void test_only_providers_own_nodes(void **state) {
    ledger_fixture *f = *state;
    assert_int_equal(store_run(f->db, run_foreign_node, f, &fix_err), EE_E_PERMISSION);
}

/* ---- mint ----------------------------------------------------------------------------------------------------------- */

static void test_M13_a_reference_mints_once(void **state) {
    ledger_fixture *f = *state;
    ledger_entry first, again;
    fix_ok(fix_mint(f, "alice", 5 * FIX_USD, "pay-1", &first));
    assert_false(first.replayed);
    assert_int_equal(first.balance_after, 5 * FIX_USD);
    assert_int_equal(fix_transfer(f, f->alice.id, "bob", FIX_USD, "k", NULL), EE_OK);
    fix_ok(fix_mint(f, "alice", 5 * FIX_USD, "pay-1", &again));
    assert_true(again.replayed);
    assert_string_equal(first.id, again.id);
    assert_int_equal(again.balance_after, 5 * FIX_USD); /* as it was answered first */
    assert_int_equal(fix_mint(f, "alice", 6 * FIX_USD, "pay-1", NULL), EE_E_IDEMPOTENCY);
    assert_int_equal(fix_mint(f, "bob", 5 * FIX_USD, "pay-1", NULL), EE_E_IDEMPOTENCY);
    fix_expect(f, f->alice.id, 4 * FIX_USD, 0);
    assert_int_equal(fix_mint(f, "alicee", FIX_USD, "pay-2", NULL), EE_E_NOT_FOUND);
    fix_ok(fix_mint(f, "alice", FIX_USD, "pay-2", NULL)); /* the payment was made; the name is right now */
    assert_int_equal(fix_mint(f, "alice", 0, "pay-3", NULL), EE_E_INVALID_AMOUNT);
    assert_int_equal(fix_mint(f, "alice", -1, "pay-3", NULL), EE_E_INVALID_AMOUNT);
    assert_int_equal(fix_mint(f, "alice", 1, "", NULL), EE_E_INVALID);
}

static void test_M6_sums_do_not_overflow(void **state) {
    ledger_fixture *f = *state;
    fix_ok(fix_mint(f, "alice", INT64_MAX, "pay-1", NULL));
    assert_int_equal(fix_mint(f, "alice", 1, "pay-2", NULL), EE_E_LIMIT);
    assert_int_equal(fix_mint(f, "bob", 1, "pay-3", NULL), EE_E_LIMIT); /* mint's own counter */
    fix_ok(fix_transfer(f, f->alice.id, "bob", INT64_MAX, "k1", NULL));
    fix_expect(f, f->alice.id, 0, 0);
    assert_int_equal(fix_transfer(f, f->bob.id, "alice", INT64_MAX, "k2", NULL), EE_E_LIMIT); /* alice's credits ever */
    fix_expect(f, f->bob.id, INT64_MAX, 0);
}

/* ---- transfers ------------------------------------------------------------------------------------------------------ */

static void test_transfer_moves_money_once(void **state) {
    ledger_fixture *f = *state;
    ledger_entry first, again;
    fix_ok(fix_mint(f, "alice", 300 * FIX_USD, "pay-1", NULL));
    fix_ok(fix_transfer(f, f->alice.id, "bob", 200 * FIX_USD, "key-1", &first));
    assert_int_equal(first.balance_after, 100 * FIX_USD);
    assert_int_equal(strlen(first.id), 29);
    fix_ok(fix_transfer(f, f->alice.id, "bob", 200 * FIX_USD, "key-1", &again));
    assert_true(again.replayed);
    assert_string_equal(again.id, first.id);
    assert_int_equal(again.seq, first.seq);
    fix_expect(f, f->alice.id, 100 * FIX_USD, 0);
    fix_expect(f, f->bob.id, 200 * FIX_USD, 0);
    fix_ok(fix_transfer(f, f->bob.id, "alice", FIX_USD, "key-1", NULL)); /* keys are an account's own */
}

static void test_M5_same_key_other_content_is_refused(void **state) {
    ledger_fixture *f = *state;
    fix_ok(fix_mint(f, "alice", 300 * FIX_USD, "pay-1", NULL));
    fix_ok(fix_transfer(f, f->alice.id, "bob", 2 * FIX_USD, "key-1", NULL));
    assert_int_equal(fix_transfer(f, f->alice.id, "bob", 3 * FIX_USD, "key-1", NULL), EE_E_IDEMPOTENCY);
    assert_int_equal(fix_transfer(f, f->alice.id, "provider-one", 2 * FIX_USD, "key-1", NULL), EE_E_IDEMPOTENCY);
    fix_transfer_work w = {.request = {.from = f->alice.id,
                                       .to = fix_text("bob"),
                                       .amount = 2 * FIX_USD,
                                       .memo = fix_text("other"),
                                       .key = fix_text("key-1"),
                                       .now_ms = FIX_NOW}};
    assert_int_equal(store_run(f->db, fix_run_transfer, &w, &fix_err), EE_E_IDEMPOTENCY);
    fix_expect(f, f->alice.id, 298 * FIX_USD, 0);
}

/* Its sender gave up; topping up later must not make the late duplicate succeed. */
static void test_M5_a_refusal_is_remembered(void **state) {
    ledger_fixture *f = *state;
    char first[512], hint[256];
    assert_int_equal(fix_transfer(f, f->alice.id, "bob", FIX_USD, "key-1", NULL), EE_E_LOW_BALANCE);
    (void)snprintf(first, sizeof first, "%s", fix_err.message);
    (void)snprintf(hint, sizeof hint, "%s", fix_err.hint);
    assert_int_equal(fix_transfer(f, f->alice.id, "bobb", FIX_USD, "key-2", NULL), EE_E_NOT_FOUND);
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    memset(&fix_err, 0, sizeof fix_err);
    assert_int_equal(fix_transfer(f, f->alice.id, "bob", FIX_USD, "key-1", NULL), EE_E_LOW_BALANCE);
    assert_string_equal(fix_err.message, first);
    assert_string_equal(fix_err.hint, hint);
    assert_int_equal(fix_err.needed, FIX_USD);
    assert_string_equal(fix_err.word, "low_balance");
    assert_int_equal(fix_transfer(f, f->alice.id, "bobb", FIX_USD, "key-2", NULL), EE_E_NOT_FOUND);
    assert_int_equal(fix_transfer(f, f->alice.id, "bob", 2 * FIX_USD, "key-1", NULL), EE_E_IDEMPOTENCY);
    fix_ok(fix_transfer(f, f->alice.id, "bob", FIX_USD, "key-3", NULL));
}

static ee_status run_forget(store *db, void *arg, ee_error *err) { return ledger_forget(db, *(uint64_t *)arg, 10, err); }
static void test_old_keys_are_forgotten(void **state) {
    ledger_fixture *f = *state;
    ledger_entry again = {0};
    uint64_t before = FIX_NOW;
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    fix_ok(fix_transfer(f, f->alice.id, "bob", FIX_USD, "key-1", NULL));
    fix_ok(store_run(f->db, run_forget, &before, &fix_err)); /* not older than that */
    fix_ok(fix_transfer(f, f->alice.id, "bob", FIX_USD, "key-1", &again));
    assert_true(again.replayed);
    before++;
    fix_ok(store_run(f->db, run_forget, &before, &fix_err));
    fix_ok(fix_transfer(f, f->alice.id, "bob", FIX_USD, "key-1", &again));
    assert_false(again.replayed);
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL)); /* a payment's reference never is */
    fix_expect(f, f->alice.id, 8 * FIX_USD, 0);
}

static void test_name_distance(void **state) {
    static const struct {
        const char *a, *b;
        unsigned limit, want;
    } cases[] = {
        {"", "", 2, 0},       {"a", "", 2, 1},      {"abc", "abc", 0, 0},  {"abc", "acb", 2, 1}, {"abc", "abcd", 2, 1},
        {"abc", "xbz", 2, 2}, {"abc", "xyz", 2, 3}, {"abcdef", "a", 2, 3}, {"ca", "abc", 3, 3},  {"kitten", "sitting", 3, 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(names_distance(fix_text(cases[i].a), fix_text(cases[i].b), cases[i].limit), cases[i].want);
        assert_int_equal(names_distance(fix_text(cases[i].b), fix_text(cases[i].a), cases[i].limit), cases[i].want);
    }
}

#define LATE_TEXT  "2026-01-31T14:04:11Z"
#define LATER_TEXT "2026-01-31T15:04:11Z"
static void test_low_balance_says_the_numbers(void **state) {
    ledger_fixture *f = *state;
    int64_t seq = 0;
    fix_ok(fix_mint(f, "alice", 3120000, "pay-1", NULL));
    fix_ok(fix_lock(f, f->alice.id, 3 * FIX_USD, FIX_LATE, &seq));
    assert_int_equal(fix_transfer(f, f->alice.id, "bob", 200 * FIX_USD, "k1", NULL), EE_E_LOW_BALANCE);
    assert_string_equal(fix_err.message,
                        "this transfer needs $200.00 and your balance is $0.12 ($3.00 more is locked, until " LATE_TEXT " at the latest)");
    assert_string_equal(fix_err.details, "{\"locked_until\": \"" LATE_TEXT "\"}");
    assert_string_equal(fix_err.hint, "add credits, or wait for what is locked to come back");
    assert_int_equal(fix_err.needed, 200 * FIX_USD);
    assert_int_equal(fix_err.available, 120000);
    assert_int_equal(fix_err.locked, 3 * FIX_USD);
    assert_int_equal(fix_lock(f, f->alice.id, 400000, FIX_LATE, &seq), EE_E_LOW_BALANCE);
    assert_string_equal(fix_err.message, "this job may cost up to $0.40 and your balance is $0.12 ($3.00 more is locked, until " LATE_TEXT
                                         " at the latest)");
    assert_string_equal(fix_err.hint, "add credits, lower the timeout or the vcpus, or wait for what is locked to come back");
    fix_ok(fix_lock(f, f->alice.id, 20000, FIX_LATE + 3600000, &seq)); /* the last to run out counts */
    assert_int_equal(fix_transfer(f, f->alice.id, "bob", FIX_USD, "k4", NULL), EE_E_LOW_BALANCE);
    assert_non_null(strstr(fix_err.message, "$3.02 more is locked, until " LATER_TEXT " at the latest"));
    ee_money returned = 0;
    fix_ok(fix_mint(f, "bob", FIX_USD, "pay-2", NULL));
    assert_int_equal(fix_transfer(f, f->bob.id, "alice", 2 * FIX_USD, "k5", NULL), EE_E_LOW_BALANCE); /* others' locks do not */
    assert_string_equal(fix_err.message, "this transfer needs $2.00 and your balance is $1.00");
    assert_string_equal(fix_err.details, "");
    fix_ok(fix_void(f, seq, &returned));
    fix_ok(fix_transfer(f, f->alice.id, "bob", 120000, "k2", NULL)); /* all of it, to the last microdollar */
    assert_int_equal(fix_transfer(f, f->alice.id, "bob", 1, "k3", NULL), EE_E_LOW_BALANCE);
}

static void test_transfer_refusals(void **state) {
    ledger_fixture *f = *state;
    static char long_memo[142];
    memset(long_memo, 'm', sizeof long_memo - 1);
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    const ledger_transfer_request good = {
        .from = f->alice.id, .to = fix_text("bob"), .amount = 1, .memo = fix_text("thanks"), .key = fix_text("k"), .now_ms = FIX_NOW};
    const struct {
        const char *title;
        int64_t from;
        const char *to, *key;
        ee_money amount;
        ee_span memo;
        ee_status want;
    } cases[] = {
        {"zero", good.from, "bob", "a1", 0, good.memo, EE_E_INVALID_AMOUNT},
        {"negative", good.from, "bob", "a2", -1, good.memo, EE_E_INVALID_AMOUNT},
        {"least amount", good.from, "bob", "a3", INT64_MIN, good.memo, EE_E_INVALID_AMOUNT},
        {"to itself", good.from, "alice", "a4", 1, good.memo, EE_E_INVALID},
        {"to a node", good.from, "node-a", "a5", 1, good.memo, EE_E_NOT_FOUND},
        {"from a node", f->node.id, "bob", "a6", 1, good.memo, EE_E_PERMISSION},
        {"from nobody", 12345678, "bob", "a7", 1, good.memo, EE_E_NOT_FOUND},
        {"from the mint", 1, "bob", "a8", 1, good.memo, EE_E_NOT_FOUND},
        {"no key", good.from, "bob", "", 1, good.memo, EE_E_INVALID},
        {"key of 65 bytes", good.from, "bob", "12345678901234567890123456789012345678901234567890123456789012345", 1, good.memo,
         EE_E_INVALID},
        {"key of 64 bytes", good.from, "bob", "1234567890123456789012345678901234567890123456789012345678901234", 1, good.memo, EE_OK},
        {"key with a newline", good.from, "bob", "a\nb", 1, good.memo, EE_E_INVALID},
        {"memo of 141 bytes", good.from, "bob", "b1", 1, {(const uint8_t *)long_memo, 141}, EE_E_INVALID},
        {"memo of 140 bytes", good.from, "bob", "b2", 1, {(const uint8_t *)long_memo, 140}, EE_OK},
        {"memo not UTF-8", good.from, "bob", "b3", 1, {(const uint8_t *)"\xff", 1}, EE_E_INVALID},
        {"memo with a newline", good.from, "bob", "b4", 1, {(const uint8_t *)"a\nb", 3}, EE_E_INVALID},
        {"memo with a NUL", good.from, "bob", "b5", 1, {(const uint8_t *)"a\0b", 3}, EE_E_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fix_transfer_work w = {.request = good};
        w.request.from = cases[i].from;
        w.request.to = fix_text(cases[i].to);
        w.request.key = fix_text(cases[i].key);
        w.request.amount = cases[i].amount;
        w.request.memo = cases[i].memo;
        ee_status st = store_run(f->db, fix_run_transfer, &w, &fix_err);
        if (st != cases[i].want) fail_msg("%s: %s %s", cases[i].title, ee_status_word(st), fix_err.message);
    }
    fix_expect(f, f->alice.id, 10 * FIX_USD - 2, 0);
}

/* ---- locks ---------------------------------------------------------------------------------------------------------- */

static void test_lock_life(void **state) {
    ledger_fixture *f = *state;
    int64_t seq = 0;
    ee_money moved = 0;
    ledger_lock_info lock;
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    fix_ok(fix_lock(f, f->alice.id, 4 * FIX_USD, FIX_LATE, &seq));
    fix_expect(f, f->alice.id, 6 * FIX_USD, 4 * FIX_USD);
    fix_ok(fix_use(f, seq, FIX_USD, &moved));
    assert_int_equal(moved, 3 * FIX_USD);
    fix_expect(f, f->alice.id, 9 * FIX_USD, FIX_USD);
    fix_ok(fix_use(f, seq, FIX_USD, &moved)); /* again: the same answer */
    assert_int_equal(moved, 3 * FIX_USD);
    assert_int_equal(fix_use(f, seq, 2 * FIX_USD, &moved), EE_E_CONFLICT);
    fix_ok(ledger_get_lock(f->db, seq, &lock, &fix_err));
    assert_int_equal(lock.state, LEDGER_LOCK_USED);
    assert_int_equal(lock.used, FIX_USD);
    fix_ok(fix_pay(f, seq, &moved));
    assert_int_equal(moved, FIX_USD);
    fix_expect(f, f->alice.id, 9 * FIX_USD, 0);
    fix_expect(f, f->provider.id, FIX_USD, 0);
    fix_ok(fix_pay(f, seq, &moved)); /* M4: settled once, however often it is asked for */
    fix_expect(f, f->provider.id, FIX_USD, 0);
    assert_int_equal(fix_void(f, seq, &moved), EE_E_CONFLICT);
}

static void test_M4_a_lock_ends_once(void **state) {
    ledger_fixture *f = *state;
    int64_t seq = 0, whole = 0, none = 0;
    ee_money moved = 0;
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    fix_ok(fix_lock(f, f->alice.id, 4 * FIX_USD, FIX_LATE, &seq));
    assert_int_equal(fix_use(f, seq, 4 * FIX_USD + 1, &moved), EE_E_INVALID);
    assert_int_equal(fix_use(f, seq, -1, &moved), EE_E_INVALID);
    assert_int_equal(fix_pay(f, seq, &moved), EE_E_CONFLICT); /* not metered yet */
    fix_ok(fix_void(f, seq, &moved));
    assert_int_equal(moved, 4 * FIX_USD);
    fix_ok(fix_void(f, seq, &moved));
    assert_int_equal(moved, 4 * FIX_USD);
    fix_expect(f, f->alice.id, 10 * FIX_USD, 0);
    assert_int_equal(fix_use(f, seq, 1, &moved), EE_E_CONFLICT);
    assert_int_equal(fix_pay(f, seq, &moved), EE_E_CONFLICT);

    fix_ok(fix_lock(f, f->alice.id, 4 * FIX_USD, FIX_LATE, &whole)); /* used to the last */
    fix_ok(fix_use(f, whole, 4 * FIX_USD, &moved));
    assert_int_equal(moved, 0);
    fix_ok(fix_void(f, whole, &moved)); /* the period failed: all of it back */
    assert_int_equal(moved, 4 * FIX_USD);

    fix_ok(fix_lock(f, f->alice.id, 4 * FIX_USD, FIX_LATE, &none)); /* not used at all */
    fix_ok(fix_use(f, none, 0, &moved));
    assert_int_equal(moved, 4 * FIX_USD);
    fix_ok(fix_use(f, none, 0, &moved));
    fix_expect(f, f->alice.id, 10 * FIX_USD, 0);
    assert_int_equal(fix_void(f, 999, &moved), EE_E_NOT_FOUND);
}

static void test_M7_a_lock_nobody_resolves_expires(void **state) {
    ledger_fixture *f = *state;
    int64_t open = 0, used = 0, later = 0;
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    fix_ok(fix_lock(f, f->alice.id, FIX_USD, FIX_NOW + 1000, &open));
    fix_ok(fix_lock(f, f->alice.id, FIX_USD, FIX_NOW + 1000, &used));
    fix_ok(fix_use(f, used, 300000, NULL));
    fix_ok(fix_lock(f, f->alice.id, FIX_USD, FIX_NOW + 1001, &later));
    fix_expect(f, f->alice.id, 7700000, 2300000);
    fix_expire_work w = {.now_ms = FIX_NOW + 999};
    fix_ok(store_run(f->db, fix_run_expire, &w, &fix_err));
    assert_int_equal(w.count, 0);
    w.now_ms = FIX_NOW + 1000;
    fix_ok(store_run(f->db, fix_run_expire, &w, &fix_err));
    assert_int_equal(w.count, 2);
    fix_expect(f, f->alice.id, 9 * FIX_USD, FIX_USD);
    fix_ok(store_run(f->db, fix_run_expire, &w, &fix_err));
    assert_int_equal(w.count, 0);
    ee_money moved = 0;
    assert_int_equal(fix_use(f, open, 1, &moved), EE_E_CONFLICT);
    fix_ok(fix_void(f, open, &moved)); /* it went back already: the same to whoever asks */
    assert_int_equal(moved, FIX_USD);
}

static void test_lock_refusals(void **state) {
    ledger_fixture *f = *state;
    int64_t seq = -1;
    fix_ok(fix_mint(f, "alice", FIX_USD, "pay-1", NULL));
    assert_int_equal(fix_lock(f, f->alice.id, -1, FIX_LATE, &seq), EE_E_INVALID_AMOUNT);
    assert_int_equal(fix_lock(f, f->alice.id, 1, FIX_NOW, &seq), EE_E_INVALID); /* expires at once */
    assert_int_equal(fix_lock(f, f->node.id, 1, FIX_LATE, &seq), EE_E_PERMISSION);
    fix_ok(fix_lock(f, f->alice.id, 0, FIX_LATE, &seq)); /* free work */
    assert_int_equal(seq, 0);
    fix_lock_work w = {.request = {.user = f->alice.id, .node = f->bob.id, .ref = fix_text("j"), .amount = 1, .expires_ms = FIX_LATE}};
    assert_int_equal(store_run(f->db, fix_run_lock, &w, &fix_err), EE_E_INVALID); /* bob is not a node */
}

/* ---- stake ---------------------------------------------------------------------------------------------------------- */

typedef struct stake_work {
    ledger_stake_request request;
    ledger_entry entry;
} stake_work;
static ee_status run_stake(store *db, void *arg, ee_error *err) {
    stake_work *w = arg;
    return ledger_stake(db, &w->request, &w->entry, err);
}

static void test_M16_stake_is_money_held(void **state) {
    ledger_fixture *f = *state;
    stake_work w = {
        .request = {.provider = f->provider.id, .node = f->node.id, .amount = 10 * FIX_USD, .key = fix_text("s1"), .now_ms = FIX_NOW}};
    ledger_balance balance;
    assert_int_equal(store_run(f->db, run_stake, &w, &fix_err), EE_E_LOW_BALANCE); /* a number alone is no stake */
    assert_string_equal(fix_err.message, "this stake needs $10.00 and your balance is $0.00");
    fix_ok(ledger_get_balance(f->db, f->node.id, &balance, &fix_err));
    assert_int_equal(balance.staked, 0);
    fix_ok(fix_mint(f, "provider-one", 12 * FIX_USD, "pay-1", NULL));
    w.request.key = fix_text("s2");
    fix_ok(store_run(f->db, run_stake, &w, &fix_err));
    fix_ok(store_run(f->db, run_stake, &w, &fix_err));
    assert_true(w.entry.replayed);
    fix_ok(ledger_get_balance(f->db, f->node.id, &balance, &fix_err));
    assert_int_equal(balance.staked, 10 * FIX_USD);
    assert_int_equal(balance.available, 0);
    fix_expect(f, f->provider.id, 2 * FIX_USD, 0);
    w.request.provider = f->alice.id;
    w.request.key = fix_text("s3");
    assert_int_equal(store_run(f->db, run_stake, &w, &fix_err), EE_E_PERMISSION);
}

/* ---- evidence, history, audit --------------------------------------------------------------------------------------- */

static void test_every_row_carries_its_evidence(void **state) {
    ledger_fixture *f = *state;
    store_rows *rows = NULL;
    uint8_t hash[32];
    bool row = false;
    fix_ok(fix_mint(f, "alice", FIX_USD, "pay-1", NULL));
    fix_ok(fix_transfer(f, f->alice.id, "bob", 1, "k", NULL));
    fix_ok(store_query(f->db, "SELECT evidence, evidence_hash FROM transfer WHERE code = 2", STORE_NONE, &rows, &fix_err));
    fix_ok(store_next(rows, &row, &fix_err));
    assert_true(row);
    eei_sha256(fix_text("signed order"), hash);
    assert_true(eei_span_equal(store_get_blob(rows, 0), fix_text("signed order")));
    assert_true(eei_span_equal(store_get_blob(rows, 1), eei_span(hash, 32)));
    store_rows_close(rows);
}

typedef struct seen {
    size_t count;
    ledger_row last;
    char codes[32];
} seen;
static bool see(void *user, const ledger_row *row) {
    seen *s = user;
    s->last = *row;
    if (s->count < sizeof s->codes - 1) s->codes[s->count] = (char)((row->incoming ? 'A' : 'a') + (int)row->code - 1);
    s->count++;
    return true;
}
static void test_history_is_newest_first(void **state) {
    ledger_fixture *f = *state;
    int64_t seq = 0;
    seen s;
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    fix_ok(fix_transfer(f, f->alice.id, "bob", FIX_USD, "k1", NULL));
    fix_ok(fix_lock(f, f->alice.id, FIX_USD, FIX_LATE, &seq));
    fix_ok(fix_use(f, seq, 400000, NULL));
    fix_ok(fix_void(f, seq, NULL));
    memset(&s, 0, sizeof s);
    fix_ok(ledger_history(f->db, f->alice.id, 0, 0, see, &s, &fix_err));
    assert_string_equal(s.codes, "EQcbA"); /* void in, release in, lock out, transfer out, mint in */
    assert_string_equal(s.last.other, "");
    memset(&s, 0, sizeof s);
    fix_ok(ledger_history(f->db, f->bob.id, 0, 0, see, &s, &fix_err));
    assert_string_equal(s.codes, "B");
    assert_string_equal(s.last.other, "alice");
    memset(&s, 0, sizeof s);
    fix_ok(ledger_history(f->db, f->alice.id, seq, 1, see, &s, &fix_err));
    assert_string_equal(s.codes, "b"); /* one, older than the lock */
}

static void test_audit_finds_counters_that_were_changed(void **state) {
    ledger_fixture *f = *state;
    ledger_audit_report report;
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    fix_ok(ledger_audit(f->db, &report, &fix_err));
    assert_int_equal(report.minted, 10 * FIX_USD);
    fix_ok(store_begin(f->db, &fix_err));
    fix_ok(store_exec(f->db, "UPDATE account SET cp = cp + 5 WHERE owner IS NOT NULL AND kind = 1", STORE_NONE, NULL, &fix_err));
    assert_int_equal(ledger_audit(f->db, &report, &fix_err), EE_E_INTERNAL);
    store_rollback(f->db);
    fix_ok(store_begin(f->db, &fix_err)); /* both sides, so that the sums agree: still not what the journal says */
    fix_ok(store_exec(f->db, "UPDATE account SET cp = cp + 5 WHERE kind = 1", STORE_NONE, NULL, &fix_err));
    fix_ok(store_exec(f->db, "UPDATE account SET dp = dp + 10 WHERE kind = 5", STORE_NONE, NULL, &fix_err));
    assert_int_equal(ledger_audit(f->db, &report, &fix_err), EE_E_INTERNAL);
    assert_non_null(strstr(fix_err.message, "journal"));
    store_rollback(f->db);
    fix_ok(ledger_audit(f->db, &report, &fix_err));
}

/* What a hand with SQL would try. The database itself refuses, whoever asks. */
static void test_the_journal_can_not_be_tampered_with(void **state) {
    ledger_fixture *f = *state;
    int64_t seq = 0;
    job_admit_request r;
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    fix_ok(fix_transfer(f, f->alice.id, "bob", FIX_USD, "k1", NULL));
    fix_ok(fix_lock(f, f->alice.id, FIX_USD, FIX_LATE, &seq));
    fix_admit_request(f, &r, "job_A", "k2", 1);
    fix_ok(fix_admit(f, &r, NULL));
    static const char *const attacks[] = {
        "UPDATE transfer SET amount = 1 WHERE seq = 1",
        "DELETE FROM transfer WHERE seq = 1",
        "DELETE FROM transfer",
        "REPLACE INTO transfer SELECT seq, id, code, debit, credit, 1, pend_seq, period_ms, node, ref, memo, evidence, evidence_hash, ts_ms"
        " FROM transfer WHERE seq = 1",
        "REPLACE INTO transfer SELECT (SELECT max(seq) + 1 FROM transfer), id, code, debit, credit, 1, pend_seq, period_ms, node, ref, "
        "memo,"
        " evidence, evidence_hash, ts_ms FROM transfer WHERE seq = 1",
        "INSERT INTO transfer(seq, id, code, debit, credit, amount, ts_ms) SELECT 1000, randomblob(16), 2, 1, 2, 1, 0", /* a gap */
        "INSERT INTO transfer(seq, id, code, debit, credit, amount, ts_ms) SELECT NULL, randomblob(16), 2, 1, 2, 1, 0", /* no number */
        "INSERT INTO transfer(seq, id, code, debit, credit, amount, ts_ms) SELECT max(seq) + 1, randomblob(16), 2, 1, 1, 1, 0 FROM "
        "transfer",
        "INSERT INTO transfer(seq, id, code, debit, credit, amount, ts_ms) SELECT max(seq) + 1, randomblob(16), 2, 1, 2, 0, 0 FROM "
        "transfer",
        "INSERT INTO transfer(seq, id, code, debit, credit, amount, ts_ms) SELECT max(seq) + 1, randomblob(16), 2, 1, 2, -5, 0 FROM "
        "transfer",
        "INSERT INTO transfer(seq, id, code, debit, credit, amount, ts_ms) SELECT max(seq) + 1, randomblob(16), 2, 1, 99, 5, 0 FROM "
        "transfer",
        "INSERT INTO transfer(seq, id, code, debit, credit, amount, ts_ms) SELECT max(seq) + 1, randomblob(16), 2, 1, 2, 1.5, 0 FROM "
        "transfer",
        "INSERT INTO transfer(seq, id, code, debit, credit, amount, ts_ms) SELECT max(seq) + 1, randomblob(16), 5, 1, 2, 5, 0 FROM "
        "transfer",
        "UPDATE account SET dp = dp + 1000000000 WHERE kind = 1",     /* overdrawn */
        "UPDATE account SET dn = 9223372036854775807 WHERE kind = 1", /* idem, and dp + dn overflows */
        "UPDATE account SET cp = cp - 1 WHERE kind = 1",              /* backwards */
        "UPDATE account SET dn = -1 WHERE kind = 1",
        "UPDATE account SET cp = 9223372036854775807 + 1 WHERE kind = 1", /* would be a REAL */
        "UPDATE account SET kind = 5 WHERE kind = 1",                     /* make it a clearing account */
        "DELETE FROM account WHERE kind = 1",
        "REPLACE INTO account(id, kind, owner, opened_ms, cp) SELECT id, kind, owner, opened_ms, 1000 FROM account WHERE kind = 1",
        "INSERT INTO account(id, kind, cp, opened_ms) VALUES (77, 6, 5, 0)", /* born rich */
        "UPDATE principal SET key = randomblob(32)",
        "UPDATE principal SET name = 'mallory' WHERE name = 'alice'",
        "DELETE FROM principal",
        "REPLACE INTO principal SELECT id, kind, space, name, randomblob(32), provider, created_ms FROM principal WHERE name = 'alice'",
        "UPDATE lock SET state = 1, used = 0",
        "UPDATE lock SET state = 3, used = amount", /* paid without being metered */
        "UPDATE lock SET amount = 1",
        "DELETE FROM lock",
        "REPLACE INTO lock SELECT seq, user, node, period_ms, ref, 1, 0, 1, expires_ms, created_ms, changed_ms FROM lock",
        "UPDATE mint SET reference = 'free'",
        "DELETE FROM mint",
        "REPLACE INTO mint SELECT reference, randomblob(32), seq, after FROM mint",
        "UPDATE idempotency SET content = randomblob(32)",
        "REPLACE INTO idempotency SELECT principal, key, randomblob(32), status, number, text, amount, after, needed, available, locked,"
        " message, hint, created_ms FROM idempotency",
        "UPDATE job SET state = 1",
        "UPDATE job SET locked = 0, lock_seq = NULL, state = 2",
        "DELETE FROM job",
        "REPLACE INTO job SELECT * FROM job",
    };
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        fix_ok(store_begin(f->db, &fix_err));
        int64_t changed = 0;
        ee_status st = store_exec(f->db, attacks[i], STORE_NONE, &changed, &fix_err);
        if (!st) fail_msg("not refused (%d rows): %s", (int)changed, attacks[i]);
        store_rollback(f->db);
    }
    fix_expect(f, f->bob.id, FIX_USD, 0);
}

/* ---- out of memory -------------------------------------------------------------------------------------------------- */

static void test_allocation_failures_leave_no_half_row(void **state) {
    ledger_fixture *f = *state;
    fix_ok(fix_mint(f, "alice", 10 * FIX_USD, "pay-1", NULL));
    for (size_t n = 1; n < 50; n++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%zu", n);
        (void)eei_alloc_fail_at(n);
        ee_status st = fix_transfer(f, f->alice.id, "bob", 1, key, NULL);
        size_t made = eei_alloc_fail_at(0);
        fix_audit(f);
        if (made < n) {
            fix_ok(st);
            return;
        }
        assert_int_equal(st, EE_E_NOMEM);
    }
    fail_msg("more allocations than expected");
}

int main(void) {
#define LEDGER_TEST(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        LEDGER_TEST(test_accounts_are_made_once),
        LEDGER_TEST(test_names_are_found_exactly_or_guessed),
        LEDGER_TEST(test_a_user_named_like_a_node_is_not_the_node),
        LEDGER_TEST(test_only_providers_own_nodes),
        LEDGER_TEST(test_M13_a_reference_mints_once),
        LEDGER_TEST(test_M6_sums_do_not_overflow),
        LEDGER_TEST(test_transfer_moves_money_once),
        LEDGER_TEST(test_M5_same_key_other_content_is_refused),
        LEDGER_TEST(test_M5_a_refusal_is_remembered),
        LEDGER_TEST(test_old_keys_are_forgotten),
        cmocka_unit_test(test_name_distance),
        LEDGER_TEST(test_L7_a_guess_discloses_no_account),
        LEDGER_TEST(test_low_balance_says_the_numbers),
        LEDGER_TEST(test_transfer_refusals),
        LEDGER_TEST(test_lock_life),
        LEDGER_TEST(test_M4_a_lock_ends_once),
        LEDGER_TEST(test_M7_a_lock_nobody_resolves_expires),
        LEDGER_TEST(test_lock_refusals),
        LEDGER_TEST(test_M16_stake_is_money_held),
        LEDGER_TEST(test_every_row_carries_its_evidence),
        LEDGER_TEST(test_history_is_newest_first),
        LEDGER_TEST(test_audit_finds_counters_that_were_changed),
        LEDGER_TEST(test_the_journal_can_not_be_tampered_with),
        LEDGER_TEST(test_allocation_failures_leave_no_half_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
