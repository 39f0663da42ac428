/* ledger_read.c - lists of movements, and the audit that recomputes every account from the journal. Reads only; any store will do.
 * Not for balances in a decision: those are read in the writer's transaction. */
#include "controlplane/ledger_internal.h"

#include <inttypes.h>
#include <string.h>

#define HISTORY_ROWS_MAX 1000u

static void read_row(store_rows *rows, int64_t principal, ledger_row *out) {
    memset(out, 0, sizeof *out);
    out->seq = store_get_i64(rows, 0);
    ee_span id = store_get_blob(rows, 1);
    if (id.len == 16) ledger_id_text(id.data, out->id);
    out->code = (ledger_code)store_get_i64(rows, 2);
    out->incoming = store_get_i64(rows, 3) == principal;
    /* These give back to the account that paid. */
    if (out->code == LEDGER_VOID || out->code == LEDGER_EXPIRE || out->code == LEDGER_RELEASE) out->incoming = !out->incoming;
    out->amount = store_get_i64(rows, 4);
    store_get_name(rows, 5, out->ref, sizeof out->ref);
    out->memo = store_get_text(rows, 6);
    out->time_ms = (uint64_t)store_get_i64(rows, 7);
    store_get_name(rows, 8, out->other, sizeof out->other);
}

ee_status ledger_history(store *db, int64_t principal, int64_t before, unsigned limit, ledger_row_fn fn, void *user, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    if (!limit || limit > HISTORY_ROWS_MAX) limit = HISTORY_ROWS_MAX;
    /* A scan from the newest row: an index on the journal would halve the commit rate (measured). */
    ee_status st = store_query(db,
                               "SELECT t.seq, t.id, t.code, t.credit, t.amount, t.ref, t.memo, t.ts_ms, coalesce(p.name, '')"
                               " FROM transfer t LEFT JOIN principal p ON p.id = CASE WHEN t.credit = $1 THEN t.debit ELSE t.credit END"
                               " WHERE (t.debit = $1 OR t.credit = $1) AND t.seq < $2 ORDER BY t.seq DESC LIMIT $3",
                               STORE_WITH(store_i64(principal), store_i64(before > 0 ? before : INT64_MAX), store_i64(limit)), &rows, err);
    while (!st) {
        ledger_row entry;
        st = store_next(rows, &row, err);
        if (st || !row) break;
        read_row(rows, principal, &entry);
        if (!fn(user, &entry)) break;
    }
    store_rows_close(rows);
    return st;
}

/* Each answers with the number of things that are wrong. Sums over all accounts may pass 2^63, so they are taken in halves. */
static const struct {
    const char *what, *sql;
} checks[] = {
    {"debits and credits posted differ", "SELECT (h * 4294967296 + l <> 0) FROM (SELECT sum((dp >> 32) - (cp >> 32)) AS h,"
                                         " sum((dp & 4294967295) - (cp & 4294967295)) AS l FROM account)"},
    {"debits and credits pending differ", "SELECT (h * 4294967296 + l <> 0) FROM (SELECT sum((dn >> 32) - (cn >> 32)) AS h,"
                                          " sum((dn & 4294967295) - (cn & 4294967295)) AS l FROM account)"},
    {"the journal has gaps", "SELECT (coalesce(max(seq), 0) <> count(*)) FROM transfer"},
    {"accounts differ from what the journal says",
     "WITH leg(account, dp, cp, dn, cn) AS ("
     " SELECT debit, CASE WHEN code IN (3, 5, 6, 17) THEN 0 ELSE amount END, 0,"
     "  CASE WHEN code = 3 THEN amount WHEN code IN (4, 5, 6, 17) THEN -amount ELSE 0 END, 0 FROM transfer"
     " UNION ALL SELECT credit, 0, CASE WHEN code IN (3, 5, 6, 17) THEN 0 ELSE amount END, 0,"
     "  CASE WHEN code = 3 THEN amount WHEN code IN (4, 5, 6, 17) THEN -amount ELSE 0 END FROM transfer),"
     " total AS (SELECT account, sum(dp) AS dp, sum(cp) AS cp, sum(dn) AS dn, sum(cn) AS cn FROM leg GROUP BY account)"
     " SELECT count(*) FROM account a LEFT JOIN total t ON t.account = a.id WHERE a.dp <> coalesce(t.dp, 0) OR a.cp <> coalesce(t.cp, 0)"
     "  OR a.dn <> coalesce(t.dn, 0) OR a.cn <> coalesce(t.cn, 0)"},
    {"accounts are overdrawn", "SELECT count(*) FROM account WHERE kind NOT IN (5, 11) AND dp + dn > cp"},
    {"accounts have no principal of their number, or principals no account",
     "SELECT (SELECT count(*) FROM principal p LEFT JOIN account a ON a.id = p.id AND a.owner = p.id WHERE a.id IS NULL)"
     " + (SELECT count(*) FROM account a LEFT JOIN principal p ON p.id = a.owner WHERE a.owner IS NOT NULL AND p.id IS NULL)"},
    {"lock rows and locks differ",
     "SELECT count(*) FROM transfer t LEFT JOIN lock l ON l.seq = t.seq WHERE t.code = 3 AND (l.seq IS NULL OR l.amount <> t.amount"
     " OR l.user <> t.debit OR l.node IS NOT t.node OR l.period_ms IS NOT t.period_ms)"},
    {"what is held differs from the open locks", "SELECT ((SELECT coalesce(sum(dn), 0) FROM account) <> (SELECT coalesce(sum(CASE state "
                                                 "WHEN 1 THEN amount WHEN 2 THEN used ELSE 0 END),"
                                                 " 0) FROM lock))"},
    {"locks are resolved otherwise than their state says",
     "SELECT count(*) FROM lock l LEFT JOIN transfer t ON t.pend_seq = l.seq AND t.code IN (4, 5, 6) WHERE"
     " coalesce(t.code, 0) <> CASE l.state WHEN 3 THEN 4 WHEN 4 THEN 5 WHEN 5 THEN 6 ELSE 0 END"},
    {"mints and their references differ", "SELECT ((SELECT count(*) FROM transfer WHERE code = 1) <> (SELECT count(*) FROM mint))"},
    {"ended jobs and their locks differ",
     "SELECT count(*) FROM job j JOIN lock l ON l.seq = j.lock_seq WHERE l.amount <> j.locked OR l.ref <> j.id OR l.node <> j.node"
     " OR (j.state = 5 AND l.state IN (2, 3) AND l.used <> j.charge) OR (j.state = 6 AND l.state NOT IN (4, 5))"},
};

ee_status ledger_audit(store *db, ledger_audit_report *out, ee_error *err) {
    ee_status st = EE_OK;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; !st && i < sizeof checks / sizeof checks[0]; i++) {
        int64_t wrong = 0;
        st = store_get_one(db, checks[i].sql, STORE_NONE, &wrong, err);
        if (!st && wrong) st = eei_fail(err, EE_E_INTERNAL, "audit: %s (%" PRId64 ")", checks[i].what, wrong);
    }
    if (!st) st = store_get_one(db, "SELECT count(*) FROM account", STORE_NONE, &out->accounts, err);
    if (!st) st = store_get_one(db, "SELECT count(*) FROM transfer", STORE_NONE, &out->rows, err);
    if (!st) st = store_get_one(db, "SELECT count(*) FROM lock WHERE state IN (1, 2)", STORE_NONE, &out->locks_open, err);
    if (!st) st = store_get_one(db, "SELECT dp FROM account WHERE id = $1", STORE_WITH(store_i64(LEDGER_MINT_ID)), &out->minted, err);
    return st;
}
