/* ledger.c - principals, balances and the one way money moves: a journal row and both accounts' counters together. Not for locks
 * (ledger_locks.c), first answers (ledger_keys.c) or lists (ledger_read.c). Runs on the writer's thread. Spec: network.md#credits */
#include "attest/statement.h"
#include "base/clock.h"
#include "base/price.h"
#include "controlplane/ledger_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- principals ----------------------------------------------------------------------------------------------------- */

#define PRINCIPAL_COLUMNS "id, kind, name, key, provider, created_ms"
#define GUESS_ROWS_MAX    5000  /* names looked at for a "did you mean": a typo costs the writer a few milliseconds at most */
#define GUESS_JOURNAL_MAX 20000 /* newest movements looked at for those whose names one may be told */
#define LOCK_ROWS_MAX     20000 /* locks looked at for the time that one runs out */

static void read_principal(store_rows *rows, ledger_principal *out) {
    memset(out, 0, sizeof *out);
    out->id = store_get_i64(rows, 0);
    out->kind = (ledger_principal_kind)store_get_i64(rows, 1);
    store_get_name(rows, 2, out->name, sizeof out->name);
    ee_span key = store_get_blob(rows, 3);
    if (key.len == sizeof out->key) memcpy(out->key, key.data, key.len);
    out->provider = store_get_i64(rows, 4);
    out->created_ms = (uint64_t)store_get_i64(rows, 5);
}

/* EE_E_NOT_FOUND without a message: the caller knows what was looked for. */
static ee_status select_principal(store *db, const char *sql, const store_value *values, size_t count, ledger_principal *out,
                                  ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    ee_status st = store_query(db, sql, values, count, &rows, err);
    if (st) return st;
    st = store_next(rows, &row, err);
    if (!st && row) read_principal(rows, out);
    store_rows_close(rows);
    return !st && !row ? EE_E_NOT_FOUND : st;
}

static ee_status offer_names(store *db, const char *sql, const store_value *values, size_t count, names_guess *guess, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    ee_status st = store_query(db, sql, values, count, &rows, err);
    while (!st) {
        st = store_next(rows, &row, err);
        if (st || !row) break;
        names_guess_offer(guess, store_get_text(rows, 0));
    }
    store_rows_close(rows);
    return st;
}

/* An account is told the names of those it has paid or been paid by: who else has an account is nobody's business (threat L7). */
static ee_status no_such_partner(store *db, int64_t asker, ee_span name, ee_error *err) {
    names_guess guess = names_guess_for(name);
    ee_status st =
        offer_names(db,
                    "SELECT DISTINCT p.name FROM (SELECT debit, credit FROM transfer WHERE code = 2 AND (debit = $1 OR credit = $1)"
                    " AND seq > (SELECT coalesce(max(seq), 0) FROM transfer) - $2) t"
                    " JOIN principal p ON p.id = CASE WHEN t.debit = $1 THEN t.credit ELSE t.debit END",
                    STORE_WITH(store_i64(asker), store_i64(GUESS_JOURNAL_MAX)), &guess, err);
    return st ? st : names_not_found(&guess, "account", err);
}

/* Names with the same first byte come first: that is where most typos lead. */
static ee_status no_such_name(store *db, int space, ee_span name, const char *what, ee_error *err) {
    names_guess guess = names_guess_for(name);
    ee_status st = EE_OK;
    if (name.len && name.data[0] < 0x7f) {
        const uint8_t from = name.data[0], to = (uint8_t)(from + 1);
        st = offer_names(
            db, "SELECT name FROM principal WHERE space = $1 AND name >= $2 AND name < $3 ORDER BY name LIMIT $4",
            STORE_WITH(store_i64(space), store_text(eei_span(&from, 1)), store_text(eei_span(&to, 1)), store_i64(GUESS_ROWS_MAX)), &guess,
            err);
    }
    if (!st && !guess.best[0])
        st = offer_names(db, "SELECT name FROM principal WHERE space = $1 ORDER BY name LIMIT $2",
                         STORE_WITH(store_i64(space), store_i64(GUESS_ROWS_MAX)), &guess, err);
    return st ? st : names_not_found(&guess, what, err);
}

static ee_status find_name(store *db, int space, ee_span name, ledger_principal *out, ee_error *err) {
    ee_status st = EE_E_NOT_FOUND;
    memset(out, 0, sizeof *out);
    if (names_valid(name))
        st = select_principal(db, "SELECT " PRINCIPAL_COLUMNS " FROM principal WHERE space = $1 AND name = $2",
                              STORE_WITH(store_i64(space), store_text(name)), out, err);
    return st;
}

ee_status ledger_find_account(store *db, ee_span name, int64_t asker, ledger_principal *out, ee_error *err) {
    ee_status st = find_name(db, 1, name, out, err);
    if (st != EE_E_NOT_FOUND) return st;
    return asker ? no_such_partner(db, asker, name, err) : no_such_name(db, 1, name, "account", err);
}

ee_status ledger_find_node(store *db, ee_span name, ledger_principal *out, ee_error *err) {
    ee_status st = find_name(db, 2, name, out, err);
    return st == EE_E_NOT_FOUND ? no_such_name(db, 2, name, "node", err) : st;
}

ee_status ledger_find_key(store *db, const uint8_t key[32], ledger_principal *out, ee_error *err) {
    ee_status st = select_principal(db, "SELECT " PRINCIPAL_COLUMNS " FROM principal WHERE key = $1 AND kind <> 3",
                                    STORE_WITH(store_bytes(key, 32)), out, err);
    return st == EE_E_NOT_FOUND ? eei_fail(err, st, "there is no account with this key") : st;
}

ee_status ledger_get_principal(store *db, int64_t id, ledger_principal *out, ee_error *err) {
    ee_status st = select_principal(db, "SELECT " PRINCIPAL_COLUMNS " FROM principal WHERE id = $1", STORE_WITH(store_i64(id)), out, err);
    return st == EE_E_NOT_FOUND ? eei_fail(err, st, "there is no account or node with id %" PRId64, id) : st;
}

static ee_status next_id(store *db, int64_t first, int64_t *out, ee_error *err) {
    int64_t last = 0;
    ee_status st = store_get_one(db, "SELECT coalesce(max(id), $1 - 1) FROM account WHERE id >= $1 AND id < $2",
                                 STORE_WITH(store_i64(first), store_i64(first == LEDGER_FIRST_ACCOUNT ? LEDGER_FIRST_NODE
                                                                        : first == LEDGER_FIRST_NODE  ? LEDGER_FIRST_ESCROW
                                                                                                      : LEDGER_FIRST_ESCROW << 1)),
                                 &last, err);
    if (!st) *out = last + 1;
    return st;
}

/* The principal and its account: one number for both. */
static ee_status insert_principal(store *db, ledger_principal *p, ledger_account_kind account, ee_error *err) {
    ee_status st = next_id(db, p->kind == LEDGER_NODE ? LEDGER_FIRST_NODE : LEDGER_FIRST_ACCOUNT, &p->id, err);
    if (st) return st;
    st = store_exec(db, "INSERT INTO principal(id, kind, space, name, key, provider, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    STORE_WITH(store_i64(p->id), store_i64(p->kind), store_i64(p->kind == LEDGER_NODE ? 2 : 1), store_cstr(p->name),
                               store_bytes(p->key, sizeof p->key), p->provider ? store_i64(p->provider) : store_null(),
                               store_i64((int64_t)p->created_ms)),
                    NULL, err);
    if (st) return st;
    return store_exec(db, "INSERT INTO account(id, kind, owner, opened_ms) VALUES ($1, $2, $3, $4)",
                      STORE_WITH(store_i64(p->id), store_i64(account), store_i64(p->id), store_i64((int64_t)p->created_ms)), NULL, err);
}

static void new_principal(ledger_principal *p, ledger_principal_kind kind, ee_span name, const uint8_t key[32], int64_t provider,
                          uint64_t now_ms) {
    memset(p, 0, sizeof *p);
    p->kind = kind;
    memcpy(p->name, name.data, name.len);
    memcpy(p->key, key, sizeof p->key);
    p->provider = provider;
    p->created_ms = now_ms;
}

ee_status ledger_create_account(store *db, ee_span name, const uint8_t key[32], ledger_principal_kind kind, uint64_t now_ms,
                                ledger_principal *out, ee_error *err) {
    ledger_principal was;
    if (kind != LEDGER_USER && kind != LEDGER_PROVIDER) return eei_fail(err, EE_E_INVALID, "an account is a user or a provider");
    ee_status st = names_check(name, "account", err);
    if (st) return st;
    st = select_principal(db, "SELECT " PRINCIPAL_COLUMNS " FROM principal WHERE space = $1 AND name = $2",
                          STORE_WITH(store_i64(1), store_text(name)), &was, err);
    if (!st) {
        if (was.kind != kind || !eei_span_equal(eei_span(was.key, sizeof was.key), eei_span(key, sizeof was.key)))
            return eei_fail(err, EE_E_CONFLICT, "the account name \"%s\" is taken", was.name);
        *out = was;
        return EE_OK;
    }
    if (st != EE_E_NOT_FOUND) return st;
    st = select_principal(db, "SELECT " PRINCIPAL_COLUMNS " FROM principal WHERE key = $1 AND kind <> 3", STORE_WITH(store_bytes(key, 32)),
                          &was, err);
    if (!st) return eei_fail(err, EE_E_CONFLICT, "this key belongs to the account \"%s\"", was.name);
    if (st != EE_E_NOT_FOUND) return st;
    new_principal(out, kind, name, key, 0, now_ms);
    return insert_principal(db, out, kind == LEDGER_USER ? LEDGER_ACCOUNT_USER : LEDGER_ACCOUNT_EARNINGS, err);
}

ee_status ledger_create_node(store *db, ee_span name, int64_t provider, uint64_t now_ms, ledger_principal *out, ee_error *err) {
    ledger_principal owner, was;
    ee_status st = names_check(name, "node", err);
    if (!st) st = ledger_get_principal(db, provider, &owner, err);
    if (st) return st;
    if (owner.kind != LEDGER_PROVIDER) return eei_fail(err, EE_E_PERMISSION, "the account \"%s\" is not a provider", owner.name);
    st = select_principal(db, "SELECT " PRINCIPAL_COLUMNS " FROM principal WHERE space = $1 AND name = $2",
                          STORE_WITH(store_i64(2), store_text(name)), &was, err);
    if (!st) {
        if (was.provider != provider) return eei_fail(err, EE_E_CONFLICT, "the node name \"%s\" is taken", was.name);
        *out = was;
        return EE_OK;
    }
    if (st != EE_E_NOT_FOUND) return st;
    new_principal(out, LEDGER_NODE, name, owner.key, provider, now_ms);
    return insert_principal(db, out, LEDGER_ACCOUNT_STAKE, err);
}

/* ---- posting -------------------------------------------------------------------------------------------------------- */

ee_status ledger_read_account(store *db, int64_t id, ledger_counters *out, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    ee_status st = store_query(db, "SELECT kind, dp, cp, dn, cn FROM account WHERE id = $1", STORE_WITH(store_i64(id)), &rows, err);
    if (st) return st;
    st = store_next(rows, &row, err);
    if (!st && row) {
        out->kind = (ledger_account_kind)store_get_i64(rows, 0);
        out->dp = store_get_i64(rows, 1);
        out->cp = store_get_i64(rows, 2);
        out->dn = store_get_i64(rows, 3);
        out->cn = store_get_i64(rows, 4);
    }
    store_rows_close(rows);
    if (!st && !row) st = eei_fail(err, EE_E_NOT_FOUND, "there is no account with id %" PRId64, id);
    return st;
}

ee_money ledger_available(const ledger_counters *c) { return c->cp - c->dp - c->dn; }

static bool may_be_negative(ledger_account_kind kind) { return kind == LEDGER_ACCOUNT_MINT || kind == LEDGER_ACCOUNT_PAYOUT; }

/* When the last lock of an account runs out; 0 when that would take long to find. The newest to run out are looked at first. */
static uint64_t locked_until(store *db, int64_t account) {
    int64_t until = 0;
    ee_status st = store_get_one(db,
                                 "SELECT coalesce(max(expires_ms), 0) FROM (SELECT user, expires_ms FROM lock WHERE state IN (1, 2)"
                                 " ORDER BY expires_ms DESC LIMIT $1) WHERE user = $2",
                                 STORE_WITH(store_i64(LOCK_ROWS_MAX), store_i64(account)), &until, NULL);
    return st || until < 0 ? 0 : (uint64_t)until;
}

static ee_status low_balance(store *db, const ledger_posting *p, const ledger_counters *payer, ee_error *err) {
    char needed[32], has[32], held[32], time[32], more[128] = "";
    ee_money available = ledger_available(payer);
    uint64_t until = payer->dn ? locked_until(db, p->debit) : 0;
    if (payer->dn)
        (void)snprintf(more, sizeof more, " (%s more is locked%s%s%s)", ee_money_format(payer->dn, held), until ? ", until " : "",
                       until ? eei_format_utc(until, time) : "", until ? " at the latest" : "");
    ee_status st = eei_fail(err, EE_E_LOW_BALANCE, "%s %s and your balance is %s%s", p->subject ? p->subject : "this needs",
                            ee_money_format(p->amount, needed), ee_money_format(available, has), more);
    (void)eei_hint(err, st, "add credits%s%s", p->code == LEDGER_LOCK ? ", lower the timeout or the vcpus" : "",
                   payer->dn ? ", or wait for what is locked to come back" : "");
    if (err && until) (void)snprintf(err->details, sizeof err->details, "{\"locked_until\": \"%s\"}", time);
    if (err) {
        err->needed = p->amount;
        err->available = available;
        err->locked = payer->dn;
    }
    return st;
}

/* What a code does to the two accounts. A lock is pending on both sides until it is resolved. */
static bool move_counters(ledger_code code, ee_money amount, ledger_counters *debit, ledger_counters *credit) {
    switch (code) {
    case LEDGER_LOCK: return eei_money_add(&debit->dn, debit->dn, amount) && eei_money_add(&credit->cn, credit->cn, amount);
    case LEDGER_RELEASE:
    case LEDGER_VOID:
    case LEDGER_EXPIRE: return eei_money_sub(&debit->dn, debit->dn, amount) && eei_money_sub(&credit->cn, credit->cn, amount);
    case LEDGER_POST:
        return eei_money_sub(&debit->dn, debit->dn, amount) && eei_money_sub(&credit->cn, credit->cn, amount) &&
               eei_money_add(&debit->dp, debit->dp, amount) && eei_money_add(&credit->cp, credit->cp, amount);
    default: return eei_money_add(&debit->dp, debit->dp, amount) && eei_money_add(&credit->cp, credit->cp, amount);
    }
}

static bool takes_available(ledger_code code) {
    return code != LEDGER_RELEASE && code != LEDGER_VOID && code != LEDGER_EXPIRE && code != LEDGER_POST;
}

static ee_status write_counters(store *db, int64_t id, const ledger_counters *c, ee_error *err) {
    int64_t changed = 0;
    ee_status st =
        store_exec(db, "UPDATE account SET dp = $1, cp = $2, dn = $3, cn = $4 WHERE id = $5",
                   STORE_WITH(store_i64(c->dp), store_i64(c->cp), store_i64(c->dn), store_i64(c->cn), store_i64(id)), &changed, err);
    if (!st && changed != 1) st = eei_fail(err, EE_E_INTERNAL, "account %" PRId64 " was not updated", id);
    return st;
}

/* 48 bits of time, 80 random: in order on disk, and nobody else's guess. */
static ee_status make_row_id(uint64_t now_ms, uint8_t id[16], ee_error *err) {
    for (int i = 0; i < 6; i++) id[i] = (uint8_t)(now_ms >> (40 - 8 * i));
    return eei_random(id + 6, 10, err);
}

static ee_status append_row(store *db, const ledger_posting *p, ledger_posted *out, ee_error *err) {
    uint8_t hash[32];
    ee_status st = store_get_one(db, "SELECT coalesce(max(seq), 0) + 1 FROM transfer", STORE_NONE, &out->seq, err);
    if (!st) st = make_row_id(p->now_ms, out->id, err);
    if (st) return st;
    eei_sha256(p->evidence, hash);
    return store_exec(
        db,
        "INSERT INTO transfer(seq, id, code, debit, credit, amount, pend_seq, period_ms, node, ref, memo, evidence, evidence_hash, ts_ms)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        STORE_WITH(store_i64(out->seq), store_bytes(out->id, sizeof out->id), store_i64(p->code), store_i64(p->debit), store_i64(p->credit),
                   store_i64(p->amount), p->pend_seq ? store_i64(p->pend_seq) : store_null(),
                   p->has_period ? store_i64((int64_t)p->period_ms) : store_null(), p->node ? store_i64(p->node) : store_null(),
                   p->ref.len ? store_text(p->ref) : store_null(), p->memo.len ? store_text(p->memo) : store_null(),
                   store_blob(p->evidence), p->evidence.len ? store_bytes(hash, sizeof hash) : store_null(), store_i64((int64_t)p->now_ms)),
        NULL, err);
}

ee_status ledger_post(store *db, const ledger_posting *p, ledger_posted *out, ee_error *err) {
    if (p->amount <= 0) return eei_fail(err, EE_E_INVALID_AMOUNT, "the amount must be more than zero");
    if (p->debit == p->credit) return eei_fail(err, EE_E_INVALID, "the payer and the receiver are the same account");
    ee_status st = ledger_read_account(db, p->debit, &out->debit, err);
    if (!st) st = ledger_read_account(db, p->credit, &out->credit, err);
    if (st) return st;
    if (takes_available(p->code) && !may_be_negative(out->debit.kind) && ledger_available(&out->debit) < p->amount)
        return low_balance(db, p, &out->debit, err);
    if (!move_counters(p->code, p->amount, &out->debit, &out->credit))
        return eei_fail(err, EE_E_LIMIT, "the sums of an account would pass 9,223,372,036,854.775807");
    st = append_row(db, p, out, err);
    if (!st) st = write_counters(db, p->debit, &out->debit, err);
    if (!st) st = write_counters(db, p->credit, &out->credit, err);
    return st;
}

void ledger_id_text(const uint8_t id[16], char out[LEDGER_ID_CAP]) {
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; /* Crockford base32, as in eei_make_id() */
    size_t at = 0;
    unsigned bits = 0, have = 2; /* 128 bits in 26 digits: two zero bits in front */
    out[at++] = 't';
    out[at++] = 'r';
    out[at++] = '_';
    for (size_t i = 0; i < 16; i++) {
        bits = (bits << 8) | id[i];
        have += 8;
        while (have >= 5) {
            have -= 5;
            out[at++] = digits[(bits >> have) & 31];
        }
        bits &= 0xff;
    }
    out[at] = 0;
}

/* ---- balances ------------------------------------------------------------------------------------------------------- */

ee_status ledger_get_balance(store *db, int64_t principal, ledger_balance *out, ee_error *err) {
    ledger_counters c;
    if (principal < LEDGER_FIRST_ACCOUNT || principal >= LEDGER_FIRST_ESCROW)
        return eei_fail(err, EE_E_NOT_FOUND, "there is no account with id %" PRId64, principal);
    ee_status st = ledger_read_account(db, principal, &c, err);
    if (st) return st;
    memset(out, 0, sizeof *out);
    if (c.kind == LEDGER_ACCOUNT_STAKE) {
        out->staked = c.cp - c.dp;
    } else {
        out->available = ledger_available(&c);
        out->locked = c.dn;
    }
    return EE_OK;
}

/* ---- movements ------------------------------------------------------------------------------------------------------ */

ee_status ledger_check_evidence(ee_span evidence, ee_error *err) {
    if (evidence.len > LEDGER_EVIDENCE_BYTES_MAX)
        return eei_fail(err, EE_E_LIMIT, "the evidence is %zu bytes, limit %u", evidence.len, LEDGER_EVIDENCE_BYTES_MAX);
    return EE_OK;
}

static ee_status check_memo(ee_span memo, ee_error *err) {
    if (memo.len > LEDGER_MEMO_BYTES_MAX)
        return eei_fail(err, EE_E_INVALID, "the memo is %zu bytes, limit %u", memo.len, LEDGER_MEMO_BYTES_MAX);
    if (!eei_utf8_valid(memo)) return eei_fail(err, EE_E_INVALID, "the memo is not UTF-8");
    for (size_t i = 0; i < memo.len; i++)
        if (memo.data[i] < 0x20 || memo.data[i] == 0x7f) return eei_fail(err, EE_E_INVALID, "the memo has a control character");
    return EE_OK;
}

static void fill_entry(const ledger_posting *p, const ledger_posted *posted, ee_money after, ledger_entry *out) {
    memset(out, 0, sizeof *out);
    out->seq = posted->seq;
    ledger_id_text(posted->id, out->id);
    out->amount = p->amount;
    out->balance_after = after;
    out->time_ms = p->now_ms;
}

static void entry_of_outcome(const ledger_outcome *was, ledger_entry *out) {
    memset(out, 0, sizeof *out);
    out->seq = was->number;
    (void)snprintf(out->id, sizeof out->id, "%.*s", (int)sizeof out->id - 1, was->text);
    out->amount = was->amount;
    out->balance_after = was->after;
    out->time_ms = was->time_ms;
    out->replayed = true;
}

static ledger_outcome outcome_of_entry(const ledger_entry *entry) {
    ledger_outcome outcome;
    memset(&outcome, 0, sizeof outcome);
    outcome.number = entry->seq;
    (void)snprintf(outcome.text, sizeof outcome.text, "%s", entry->id);
    outcome.amount = entry->amount;
    outcome.after = entry->balance_after;
    outcome.time_ms = entry->time_ms;
    return outcome;
}

/* Post under a key that is new, and remember what came of it. */
static ee_status post_once(store *db, int64_t payer, ee_span key, const uint8_t content[32], const ledger_posting *p, ledger_entry *out,
                           ee_error *err) {
    ledger_posted posted;
    ee_status st = ledger_post(db, p, &posted, err);
    if (st) return ledger_refuse(db, payer, key, content, p->now_ms, st, err);
    fill_entry(p, &posted, ledger_available(&posted.debit), out);
    ledger_outcome outcome = outcome_of_entry(out);
    return ledger_remember(db, payer, key, content, &outcome, err);
}

ee_status ledger_transfer(store *db, const ledger_transfer_request *r, ledger_entry *out, ee_error *err) {
    ledger_principal from, to;
    ledger_outcome was;
    uint8_t content[32], payer[8], amount[8];
    bool found = false;

    if (r->amount <= 0) return eei_fail(err, EE_E_INVALID_AMOUNT, "the amount must be more than zero");
    ee_status st = check_memo(r->memo, err);
    if (!st) st = ledger_check_evidence(r->evidence, err);
    if (!st) st = ledger_get_principal(db, r->from, &from, err);
    if (st) return st;
    if (from.kind == LEDGER_NODE) return eei_fail(err, EE_E_PERMISSION, "a node has no credits of its own to send");
    ledger_put_i64(payer, r->from);
    ledger_put_i64(amount, r->amount);
    ledger_content_hash("transfer", (const ee_span[]){eei_span(payer, 8), r->to, eei_span(amount, 8), r->memo}, 4, content);
    st = ledger_recall(db, r->from, r->key, content, &found, &was, err);
    if (st) return st;
    if (found) {
        entry_of_outcome(&was, out);
        return EE_OK;
    }
    st = ledger_find_account(db, r->to, r->from, &to, err);
    if (!st && to.id == from.id) st = eei_fail(err, EE_E_INVALID, "the sender and the receiver are the same account");
    if (st) return ledger_refuse(db, r->from, r->key, content, r->now_ms, st, err);
    const ledger_posting p = {.code = LEDGER_TRANSFER,
                              .debit = from.id,
                              .credit = to.id,
                              .amount = r->amount,
                              .memo = r->memo,
                              .evidence = r->evidence,
                              .now_ms = r->now_ms,
                              .subject = "this transfer needs"};
    return post_once(db, r->from, r->key, content, &p, out, err);
}

ee_status ledger_stake(store *db, const ledger_stake_request *r, ledger_entry *out, ee_error *err) {
    ledger_principal provider, node;
    ledger_outcome was;
    uint8_t content[32], where[8], amount[8];
    bool found = false;

    if (r->amount <= 0) return eei_fail(err, EE_E_INVALID_AMOUNT, "the stake must be more than zero");
    ee_status st = ledger_check_evidence(r->evidence, err);
    if (!st) st = ledger_get_principal(db, r->provider, &provider, err);
    if (!st) st = ledger_get_principal(db, r->node, &node, err);
    if (st) return st;
    if (node.kind != LEDGER_NODE) return eei_fail(err, EE_E_INVALID, "stake is posted for a node");
    if (node.provider != provider.id)
        return eei_fail(err, EE_E_PERMISSION, "the node \"%s\" is not the account \"%s\"'s", node.name, provider.name);
    ledger_put_i64(where, r->node);
    ledger_put_i64(amount, r->amount);
    ledger_content_hash("stake", (const ee_span[]){eei_span(where, 8), eei_span(amount, 8)}, 2, content);
    st = ledger_recall(db, r->provider, r->key, content, &found, &was, err);
    if (st) return st;
    if (found) {
        entry_of_outcome(&was, out);
        return EE_OK;
    }
    const ledger_posting p = {.code = LEDGER_STAKE_IN,
                              .debit = provider.id,
                              .credit = node.id,
                              .amount = r->amount,
                              .node = node.id,
                              .evidence = r->evidence,
                              .now_ms = r->now_ms,
                              .subject = "this stake needs"};
    return post_once(db, r->provider, r->key, content, &p, out, err);
}

/* ---- mint ----------------------------------------------------------------------------------------------------------- */

#define REFERENCE_BYTES_MAX 128u

static ee_status recall_mint(store *db, ee_span reference, const uint8_t content[32], bool *found, ledger_entry *out, ee_error *err) {
    store_rows *rows = NULL;
    ee_status st = store_query(
        db, "SELECT m.content, t.seq, t.id, t.amount, m.after, t.ts_ms FROM mint m JOIN transfer t ON t.seq = m.seq WHERE m.reference = $1",
        STORE_WITH(store_text(reference)), &rows, err);
    if (st) return st;
    st = store_next(rows, found, err);
    if (!st && *found) {
        ee_span id = store_get_blob(rows, 2);
        if (!eei_span_equal(store_get_blob(rows, 0), eei_span(content, 32)) || id.len != 16) {
            st = eei_fail(err, EE_E_IDEMPOTENCY, "this payment reference was used for another account or amount");
        } else {
            memset(out, 0, sizeof *out);
            ledger_id_text(id.data, out->id);
            out->seq = store_get_i64(rows, 1);
            out->amount = store_get_i64(rows, 3);
            out->balance_after = store_get_i64(rows, 4);
            out->time_ms = (uint64_t)store_get_i64(rows, 5);
            out->replayed = true;
        }
    }
    store_rows_close(rows);
    return st;
}

ee_status ledger_mint(store *db, const ledger_mint_request *r, ledger_entry *out, ee_error *err) {
    ledger_principal to;
    ledger_posted posted;
    uint8_t content[32], amount[8];
    bool found = false;

    if (r->amount <= 0) return eei_fail(err, EE_E_INVALID_AMOUNT, "the amount must be more than zero");
    ee_status st = ledger_check_key(r->reference, "payment reference", REFERENCE_BYTES_MAX, err);
    if (!st) st = ledger_check_evidence(r->evidence, err);
    if (st) return st;
    ledger_put_i64(amount, r->amount);
    ledger_content_hash("mint", (const ee_span[]){r->to, eei_span(amount, 8)}, 2, content);
    st = recall_mint(db, r->reference, content, &found, out, err);
    if (st || found) return st;
    st = ledger_find_account(db, r->to, 0, &to, err);
    if (st) return st; /* not remembered: the payment was made, and must be repeatable once the name is right */
    const ledger_posting p = {
        .code = LEDGER_MINT, .debit = LEDGER_MINT_ID, .credit = to.id, .amount = r->amount, .evidence = r->evidence, .now_ms = r->now_ms};
    st = ledger_post(db, &p, &posted, err);
    if (st) return st;
    fill_entry(&p, &posted, ledger_available(&posted.credit), out);
    return store_exec(
        db, "INSERT INTO mint(reference, content, seq, after) VALUES ($1, $2, $3, $4)",
        STORE_WITH(store_text(r->reference), store_bytes(content, sizeof content), store_i64(posted.seq), store_i64(out->balance_after)),
        NULL, err);
}
