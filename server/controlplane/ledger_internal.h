/* ledger_internal.h - what the ledger's own files share: system accounts, the one way a journal row is written. Not for anybody else. */
#ifndef LEDGER_INTERNAL_H
#define LEDGER_INTERNAL_H
#include "controlplane/ledger.h"

/* Rows of the schema. */
#define LEDGER_MINT_ID      1
#define LEDGER_FIRST_ESCROW ((int64_t)1 << 41)

typedef struct ledger_counters {
    ledger_account_kind kind;
    ee_money dp, cp, dn, cn; /* debits and credits posted, ever; pending now */
} ledger_counters;
ee_status ledger_read_account(store *db, int64_t id, ledger_counters *out, ee_error *err) EE_MUST_USE;
ee_money ledger_available(const ledger_counters *c); /* negative for clearing accounts only */

/* One movement: debit pays, credit gets. */
typedef struct ledger_posting {
    ledger_code code;
    int64_t debit, credit;
    ee_money amount;
    int64_t pend_seq;   /* the LOCK it resolves; 0 = none */
    uint64_t period_ms; /* with has_period */
    bool has_period;
    int64_t node; /* 0 = none */
    ee_span ref, memo, evidence;
    uint64_t now_ms;
    const char *subject; /* of a low balance: "this transfer needs", "this job may cost up to" */
} ledger_posting;
typedef struct ledger_posted {
    int64_t seq;
    uint8_t id[16];
    ledger_counters debit, credit; /* after it */
} ledger_posted;
/* Append the row and move both accounts' counters. EE_E_LOW_BALANCE, EE_E_LIMIT; nothing written on a refusal. */
ee_status ledger_post(store *db, const ledger_posting *posting, ledger_posted *out, ee_error *err) EE_MUST_USE;
void ledger_id_text(const uint8_t id[16], char out[LEDGER_ID_CAP]);

ee_status ledger_check_key(ee_span key, const char *what, size_t max, ee_error *err) EE_MUST_USE;
ee_status ledger_check_evidence(ee_span evidence, ee_error *err) EE_MUST_USE;
void ledger_put_i64(uint8_t out[8], int64_t value); /* big-endian, for content hashes */
#endif
