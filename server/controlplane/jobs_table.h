/* jobs_table.h - the rows of jobs: admitted with their money locked, moved forward one state at a time, ended once. Each transition is a
 * compare-and-set. Not for placing or talking to agents (broker.h). Writing functions run inside a writer's work, reading ones with any
 * store.
 */
#ifndef JOBS_TABLE_H
#define JOBS_TABLE_H
#include "controlplane/ledger.h"

#define JOB_ID_CAP             40u
#define JOB_SPEC_BYTES_MAX     65536u
#define JOB_ENVELOPE_BYTES_MAX 16384u

typedef enum job_state {                   /* stored: frozen. Only ever grows. */
                         JOB_ADMITTED = 1, /* money locked; waiting for its caller to connect */
                         JOB_WAITING = 2,  /* the agent has it */
                         JOB_PULLING = 3,
                         JOB_RUNNING = 4,
                         JOB_DONE = 5,  /* a receipt was booked, whatever the exit code */
                         JOB_FAILED = 6 /* it did not run to a receipt: the whole lock went back */
} job_state;
const char *job_state_word(job_state state); /* "admitted" "waiting" "pulling" "running" "done" "failed" */
bool job_state_parse(ee_span word, job_state *out);

typedef struct job_row {
    char id[JOB_ID_CAP];
    int64_t account, node; /* principals */
    char account_name[NAME_CAP], node_name[NAME_CAP];
    uint8_t account_key[32];
    uint8_t instance_id[32];
    uint8_t auth_id[16];
    uint8_t spec_hash[32];
    job_state state;
    char word[32];     /* FAILED: status word; DONE: the receipt's reason */
    char message[256]; /* FAILED: why */
    ee_money price, locked, charge, returned;
    int64_t lock_seq;
    uint64_t period_ms, vcpus_milli, memory_bytes, wall_ms;
    uint64_t vcpu_ms; /* metered */
    uint64_t exit_code;
    uint64_t created_ms, changed_ms, started_ms, ended_ms, connect_by_ms;
    uint8_t receipt_hash[32]; /* of the envelope; 0 = none */
    /* Only from job_get(): valid until job_row_clear(). */
    eei_buf spec, spend_auth, receipt;
} job_row;
void job_row_init(job_row *row);
void job_row_clear(job_row *row);

/* What the caller already verified: the envelope's signature, that spec_hash is the spec's, control instance and policy. */
typedef struct job_spend_auth {
    uint8_t auth_id[16];
    uint8_t spec_hash[32];
    ee_money price; /* per vcpu-hour, that the user agreed to */
    ee_span node;   /* name that was quoted */
    ee_money max_total;
    uint64_t not_after_ms;
} job_spend_auth;
typedef struct job_admit_request {
    char id[JOB_ID_CAP]; /* made by the caller: eei_make_id("job_") */
    int64_t account, node;
    uint8_t instance_id[32]; /* whom the job is for */
    ee_span spec, spend_auth_envelope;
    job_spend_auth auth;
    ee_money price; /* the node's posted price now: more than auth.price is refused (threat M12) */
    uint64_t vcpus_milli, memory_bytes, wall_ms;
    uint64_t period_ms;
    uint64_t lock_expires_ms;
    uint64_t connect_by_ms;
    ee_span key;            /* idempotency key; content is the spec: what was asked for, not what it was quoted at */
    unsigned open_jobs_max; /* of this account; 0 = no limit (threat B10) */
    uint64_t now_ms;
} job_admit_request;
typedef struct job_admitted {
    char id[JOB_ID_CAP]; /* the first one, when replayed */
    ee_money locked;
    ee_money balance_after;
    int64_t lock_seq;
    bool replayed;
} job_admitted;
/* Idempotency, the limits of the SpendAuth, the lock and the row: all or nothing.
 * EE_E_LOW_BALANCE; EE_E_BUDGET (over max_total); EE_E_CONFLICT (price went up, other node than quoted, auth id used before);
 * EE_E_EXPIRED (not_after); EE_E_IDEMPOTENCY; EE_E_RATE_LIMIT (too many open jobs). */
ee_status jobs_admit(store *db, const job_admit_request *request, job_admitted *out, ee_error *err) EE_MUST_USE;

/* Forward only, and only by its own instance; the same state again is fine. EE_E_CONFLICT when the job has ended or is further. */
ee_status jobs_progress(store *db, const char *id, const uint8_t instance_id[32], job_state state, uint64_t now_ms,
                        ee_error *err) EE_MUST_USE;

/* The fields of a receipt whose signature the caller verified. */
typedef struct job_receipt {
    uint8_t instance_id[32];
    uint8_t auth_id[16];
    uint8_t spec_hash[32];
    ee_span node;
    ee_money price, charge;
    uint64_t vcpus_milli, vcpu_ms;
    uint64_t exit_code;
    ee_span reason; /* "exited" "out_of_memory" "timed_out" "cancelled" */
    uint64_t start_ms, end_ms;
} job_receipt;
typedef struct job_finished {
    ee_money charge, returned;
    bool replayed; /* this very receipt was booked before */
} job_finished;
/* Book a receipt: charge = floor(price x vcpu_ms / 3,600,000), at most the lock; the rest is available again.
 * EE_E_CONFLICT: it contradicts the row, or its own arithmetic, or another receipt was booked. */
ee_status jobs_finish(store *db, const char *id, const job_receipt *receipt, ee_span envelope, uint64_t now_ms, job_finished *out,
                      ee_error *err) EE_MUST_USE;
/* End it without a receipt: the whole lock goes back. Again: the same answer. EE_E_CONFLICT when it is done. */
ee_status jobs_fail(store *db, const char *id, const char *word, const char *message, uint64_t now_ms, ee_money *returned,
                    ee_error *err) EE_MUST_USE;

/* EE_E_NOT_FOUND. The blobs are read too. */
ee_status jobs_get(store *db, const char *id, job_row *out, ee_error *err) EE_MUST_USE;
/* Newest first. account 0 and node 0 = any; only_open leaves out what has ended; after an id "" = from the newest.
 * The row (without blobs) is valid during the callback, which returns false to stop. */
typedef bool (*job_row_fn)(void *user, const job_row *row);
typedef struct job_list_query {
    int64_t account, node;
    bool only_open;
    char before[JOB_ID_CAP];
    unsigned limit; /* 0 = 100 */
} job_list_query;
ee_status jobs_list(store *db, const job_list_query *query, job_row_fn fn, void *user, ee_error *err) EE_MUST_USE;
#endif
