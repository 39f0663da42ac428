/* ledger.h - double entry in microdollars: principals, mint, transfers, locks, stake. Every movement is two accounts, one amount, one
 * journal row that nobody can change, and one idempotency key; the sum over all accounts is always zero. Not for prices (base/price),
 * jobs (jobs_table) or the network. Writing functions run inside a writer's work, reading ones with any store.
 * Spec: network.md#credits; the numbers of kinds and codes are stored, so they are frozen. */
#ifndef LEDGER_H
#define LEDGER_H
#include "controlplane/names.h"
#include "store/store.h"

#define LEDGER_KEY_BYTES_MAX      64u /* an idempotency key: printable ASCII */
#define LEDGER_MEMO_BYTES_MAX     140u
#define LEDGER_EVIDENCE_BYTES_MAX 65536u
#define LEDGER_ID_CAP             40u /* "tr_" + 26 characters */
/* Principal ids: 1..999 are the system's own, users and providers start at 2^20, nodes at 2^40, so that no id can be taken for another's.
 */
#define LEDGER_FIRST_ACCOUNT ((int64_t)1 << 20)
#define LEDGER_FIRST_NODE    ((int64_t)1 << 40)

typedef enum ledger_principal_kind { LEDGER_USER = 1, LEDGER_PROVIDER = 2, LEDGER_NODE = 3 } ledger_principal_kind;
typedef struct ledger_principal {
    int64_t id;
    ledger_principal_kind kind;
    char name[NAME_CAP];
    uint8_t key[32];  /* Ed25519 public key; a node's is its provider's */
    int64_t provider; /* nodes: who owns it and is paid; else 0 */
    uint64_t created_ms;
} ledger_principal;

typedef enum ledger_account_kind {
    LEDGER_ACCOUNT_USER = 1,
    LEDGER_ACCOUNT_EARNINGS = 2,
    LEDGER_ACCOUNT_STAKE = 3,
    LEDGER_ACCOUNT_UNBONDING = 4,
    LEDGER_ACCOUNT_MINT = 5, /* prepay clearing: carries the negative side */
    LEDGER_ACCOUNT_FEE = 6,
    LEDGER_ACCOUNT_TREASURY = 7, /* slashes */
    LEDGER_ACCOUNT_REFUND = 8,
    LEDGER_ACCOUNT_ESCROW = 9, /* one per period; locks credit it, pending */
    LEDGER_ACCOUNT_WRITE_OFF = 10,
    LEDGER_ACCOUNT_PAYOUT = 11 /* payout clearing: may be negative */
} ledger_account_kind;

typedef enum ledger_code {
    LEDGER_MINT = 1,
    LEDGER_TRANSFER = 2,
    LEDGER_LOCK = 3,
    LEDGER_POST = 4,
    LEDGER_VOID = 5,
    LEDGER_EXPIRE = 6,
    LEDGER_SETTLE_NODE = 7,
    LEDGER_RETURN_NODE = 8,
    LEDGER_FEE = 9,
    LEDGER_STAKE_IN = 10,
    LEDGER_STAKE_OUT_REQUEST = 11,
    LEDGER_STAKE_OUT = 12,
    LEDGER_SLASH = 13,
    LEDGER_REFUND = 14,
    LEDGER_REVERSAL = 15,
    LEDGER_PAYOUT = 16,
    LEDGER_RELEASE = 17 /* the unused part of a lock goes back; the used part stays locked */
} ledger_code;

/* ---- principals ----------------------------------------------------------------------------------------------------- */
/* Users and providers share one space of names, nodes have their own. The same name and key again: the first answer, nothing new.
 * EE_E_CONFLICT when the name belongs to another key, or the key to another account. */
ee_status ledger_create_account(store *db, ee_span name, const uint8_t key[32], ledger_principal_kind kind, uint64_t now_ms,
                                ledger_principal *out, ee_error *err) EE_MUST_USE;
ee_status ledger_create_node(store *db, ee_span name, int64_t provider, uint64_t now_ms, ledger_principal *out, ee_error *err) EE_MUST_USE;
/* EE_E_NOT_FOUND with a close name when there is one that asker may know: one it has paid or been paid by; 0 = the owner, who may know all.
 * Never makes anything. */
ee_status ledger_find_account(store *db, ee_span name, int64_t asker, ledger_principal *out, ee_error *err) EE_MUST_USE;
ee_status ledger_find_node(store *db, ee_span name, ledger_principal *out, ee_error *err) EE_MUST_USE;
ee_status ledger_find_key(store *db, const uint8_t key[32], ledger_principal *out, ee_error *err) EE_MUST_USE; /* user or provider */
ee_status ledger_get_principal(store *db, int64_t id, ledger_principal *out, ee_error *err) EE_MUST_USE;

/* ---- balances ------------------------------------------------------------------------------------------------------- */
typedef struct ledger_balance {
    ee_money available;
    ee_money locked; /* held for running or not yet settled work */
    ee_money staked; /* nodes: in escrow */
} ledger_balance;
/* Of a user or provider; of a node its stake. EE_E_NOT_FOUND. */
ee_status ledger_get_balance(store *db, int64_t principal, ledger_balance *out, ee_error *err) EE_MUST_USE;

/* ---- movements ------------------------------------------------------------------------------------------------------ */
/* What every movement leaves behind. The same key with the same content gives the first one again, replayed set. */
typedef struct ledger_entry {
    int64_t seq; /* journal row */
    char id[LEDGER_ID_CAP];
    ee_money amount;
    ee_money balance_after; /* of the payer (mint: of the receiver), available, right after this movement */
    uint64_t time_ms;
    bool replayed;
} ledger_entry;

/* All of these: EE_E_LOW_BALANCE (err->needed, available, locked), EE_E_IDEMPOTENCY (the key was used for something else),
 * EE_E_NOT_FOUND, EE_E_INVALID, EE_E_INVALID_AMOUNT. A refusal that depends on the state is remembered under its key: repeating the
 * key gives it again, even when the state has changed since. Run them inside store_work() (the writer does). */
typedef struct ledger_transfer_request {
    int64_t from; /* principal, authenticated by the caller */
    ee_span to;   /* account name */
    ee_money amount;
    ee_span memo;     /* at most 140 bytes of UTF-8 */
    ee_span key;      /* idempotency key; content is {from, to, amount, memo} */
    ee_span evidence; /* the signed order */
    uint64_t now_ms;
} ledger_transfer_request;
ee_status ledger_transfer(store *db, const ledger_transfer_request *request, ledger_entry *out, ee_error *err) EE_MUST_USE;

typedef struct ledger_mint_request {
    ee_span to; /* account name */
    ee_money amount;
    ee_span reference; /* external: the payment's. Mints once, for whomever it was first; it is the idempotency key */
    ee_span evidence;  /* the owner's or adapter's authenticated request */
    uint64_t now_ms;
} ledger_mint_request;
ee_status ledger_mint(store *db, const ledger_mint_request *request, ledger_entry *out, ee_error *err) EE_MUST_USE;

typedef struct ledger_stake_request {
    int64_t provider; /* pays; must own the node */
    int64_t node;
    ee_money amount;
    ee_span key;
    ee_span evidence;
    uint64_t now_ms;
} ledger_stake_request;
ee_status ledger_stake(store *db, const ledger_stake_request *request, ledger_entry *out, ee_error *err) EE_MUST_USE;

/* ---- locks ---------------------------------------------------------------------------------------------------------- */
typedef enum ledger_lock_state {
    LEDGER_LOCK_OPEN = 1,     /* the work runs */
    LEDGER_LOCK_USED = 2,     /* metered; the used part waits for its period */
    LEDGER_LOCK_PAID = 3,     /* settled to the provider */
    LEDGER_LOCK_RETURNED = 4, /* void or failed: all of it went back */
    LEDGER_LOCK_EXPIRED = 5   /* nobody resolved it in time: all of it went back (threat M7) */
} ledger_lock_state;
typedef struct ledger_lock_info {
    int64_t seq; /* its name: the journal row that made it */
    int64_t user, node;
    uint64_t period_ms; /* start of the period it belongs to */
    char ref[NAME_CAP]; /* job or app id */
    ee_money amount;    /* locked at first */
    ee_money used;      /* what stays locked, once state is USED */
    ledger_lock_state state;
    uint64_t expires_ms;
} ledger_lock_info;
typedef struct ledger_lock_request {
    int64_t user, node;
    uint64_t period_ms;
    ee_span ref;     /* job or app id, at most 63 bytes */
    ee_money amount; /* 0 locks nothing and gives seq 0: free work has no lock */
    uint64_t expires_ms;
    ee_span evidence; /* the SpendAuth envelope */
    const char *what; /* the subject of a refusal: "this job" */
    uint64_t now_ms;
} ledger_lock_request;
/* No key of its own: it belongs to the work that admits the job, which has one. @param left [out, nullable] available after it */
ee_status ledger_lock(store *db, const ledger_lock_request *request, int64_t *out_seq, ee_money *left, ee_error *err) EE_MUST_USE;
/* OPEN -> USED: assign usage; amount - used is available again at once. used 0 returns all of it. More than the lock: EE_E_INVALID.
 * The same used again is the same answer; EE_E_CONFLICT when it was resolved otherwise. */
ee_status ledger_lock_use(store *db, int64_t seq, ee_money used, ee_span evidence, uint64_t now_ms, ee_money *returned,
                          ee_error *err) EE_MUST_USE;
/* OPEN or USED -> RETURNED: all that is still locked goes back. Again: the same answer. */
ee_status ledger_lock_void(store *db, int64_t seq, ee_span evidence, uint64_t now_ms, ee_money *returned, ee_error *err) EE_MUST_USE;
/* USED -> PAID: the used part goes to the provider of the lock's node. For settlement, which decides whether. */
ee_status ledger_lock_pay(store *db, int64_t seq, ee_span evidence, uint64_t now_ms, ee_money *paid, ee_error *err) EE_MUST_USE;
/* Return every lock that is past its expiry, at most limit of them. Call again while *count == limit. */
ee_status ledger_expire(store *db, uint64_t now_ms, unsigned limit, unsigned *count, ee_error *err) EE_MUST_USE;
ee_status ledger_get_lock(store *db, int64_t seq, ledger_lock_info *out, ee_error *err) EE_MUST_USE;

/* ---- idempotency ---------------------------------------------------------------------------------------------------- */
/* For works that are more than one movement (jobs_table): look a key up first, remember its outcome last. */
typedef struct ledger_outcome {
    ee_status status;    /* what was answered first */
    int64_t number;      /* journal row, lock */
    char text[NAME_CAP]; /* job id, transfer id */
    ee_money amount, after;
    uint64_t time_ms;
} ledger_outcome;
/* SHA-256 over the parts, each with its length before it, so that two different requests never hash alike. */
void ledger_content_hash(const char *operation, const ee_span *parts, size_t count, uint8_t out[32]);
/* *found false: the key is new. true: *out is the first outcome, and a refusal is in err and returned as the status it was.
 * EE_E_IDEMPOTENCY: same key, other content. EE_E_INVALID: not a key. */
ee_status ledger_recall(store *db, int64_t principal, ee_span key, const uint8_t content[32], bool *found, ledger_outcome *out,
                        ee_error *err) EE_MUST_USE;
ee_status ledger_remember(store *db, int64_t principal, ee_span key, const uint8_t content[32], const ledger_outcome *outcome,
                          ee_error *err) EE_MUST_USE;
/* On a refusal: if it depends on the state, undo the work so far and remember the refusal under the key. Returns status, always. */
ee_status ledger_refuse(store *db, int64_t principal, ee_span key, const uint8_t content[32], uint64_t now_ms, ee_status status,
                        ee_error *err);
/* Drop keys older than this; a request that old is refused by its not_after. */
ee_status ledger_forget(store *db, uint64_t before_ms, unsigned limit, ee_error *err) EE_MUST_USE;

/* ---- reading -------------------------------------------------------------------------------------------------------- */
typedef struct ledger_row {
    int64_t seq;
    char id[LEDGER_ID_CAP];
    ledger_code code;
    ee_money amount;
    bool incoming;        /* credit side is the one asked about */
    char other[NAME_CAP]; /* the other account's name; "" for the system's own */
    char ref[NAME_CAP];
    ee_span memo; /* valid during the callback */
    uint64_t time_ms;
} ledger_row;
/* Movements of one principal, newest first, seq < before (0 = from the newest). The callback returns false to stop. */
typedef bool (*ledger_row_fn)(void *user, const ledger_row *row);
ee_status ledger_history(store *db, int64_t principal, int64_t before, unsigned limit, ledger_row_fn fn, void *user,
                         ee_error *err) EE_MUST_USE;

/* Recompute everything from the journal. EE_E_INTERNAL names the first thing that does not add up. */
typedef struct ledger_audit_report {
    int64_t accounts, rows, locks_open;
    ee_money minted;
} ledger_audit_report;
ee_status ledger_audit(store *db, ledger_audit_report *out, ee_error *err) EE_MUST_USE;
#endif
