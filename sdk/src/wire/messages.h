/* messages.h - one struct and one schema per message. Pure data; the tables are in messages.c. Called by everybody who speaks the protocol.
 * Proto: docs/protocol.md#messages. Keys are frozen once released; new ones are appended (>= 128 when an old reader may skip them). */
#ifndef EEI_MESSAGES_H
#define EEI_MESSAGES_H
#include "wire/codec.h"

/* ---- connection (stream 0) ------------------------------------------------------------------------------------------ */
typedef struct eei_hello { /* HELLO, both ways */
    eei_list versions;     /* numbers; the answer has exactly the one chosen */
    uint64_t features;     /* bits; none defined yet */
    uint64_t role;         /* eei_role */
    uint8_t instance_pub[32];
    uint8_t r[32];          /* fresh randomness for the peer's nonce */
    uint8_t session_id[16]; /* chosen by the control plane; 0 from the dialing side */
    uint8_t head_root[32];  /* log head known; 0 = none yet */
    uint64_t head_size;
    ee_span release; /* "0.1.0" */
    ee_span node;    /* agent, uptime: its name in the ledger */
    uint8_t policy_hash[32];
    bool limits_off; /* agent: on its machine memory, vcpus and pids of sandboxes are not enforced */
} eei_hello;

typedef struct eei_accept { /* ACCEPT, control plane -> dialing side */
    uint8_t session_id[16];
    ee_span state; /* node state: "serving" */
    uint64_t health_interval_ms;
    uint64_t time_ms;
} eei_accept;

typedef struct eei_reject { /* REJECT, ERROR, and REFUSED answers */
    ee_span word;
    ee_span message;
    uint64_t retry_after_ms;
} eei_reject;

/* OPEN's application payload, dialing client -> control plane -> agent. The control plane checks the token and passes the rest. */
typedef enum eei_open_kind {
    EEI_OPEN_APP = 1,
    EEI_OPEN_JOB = 2,
    EEI_OPEN_HEALTH = 3,
    EEI_OPEN_ATTEST = 4, /* nothing but the opening of an inner channel: the agent proves itself to whoever asks */
} eei_open_kind;
typedef struct eei_open {
    uint64_t kind;
    ee_span target;          /* app name, job id */
    uint8_t instance_id[32]; /* whom the stream is for */
    ee_span token;           /* envelope of type TOKEN; dropped when passed on */
} eei_open;

/* Body of a TOKEN envelope: capability for one kind of stream to one target on one instance. */
typedef struct eei_token {
    uint64_t kind;
    ee_span target;
    uint8_t instance_id[32];
    ee_span account;
    uint64_t not_after_ms;
} eei_token;

typedef struct eei_ticket { /* body of TICKET, signed by the provider key: this machine may boot once as that node (threat S3) */
    uint8_t network_id[32];
    uint8_t node_id[32];
    uint64_t role;          /* eei_role: agent or uptime server */
    uint8_t machine_id[16]; /* PIID, else PPID */
    eei_list releases;      /* texts: the RELEASE event's payload is one of them */
    uint8_t serial[16];     /* random; used once */
    uint64_t not_after_ms;
} eei_ticket;

/* ---- work ----------------------------------------------------------------------------------------------------------- */
typedef enum eei_spec_kind { EEI_SPEC_JOB = 1, EEI_SPEC_APP = 2 } eei_spec_kind;
typedef struct eei_spec { /* spec_hash = SHA-256 of its bytes */
    uint64_t kind;
    ee_span repository; /* "registry.example/etl" without tag */
    ee_span tag;        /* as the user wrote it; "" when pinned by digest */
    uint8_t image_digest[32];
    eei_list args;        /* texts; empty = the image's own */
    eei_list env_names;   /* texts, sorted: names only */
    uint64_t vcpus_milli; /* 1000 = one vcpu */
    uint64_t memory_bytes;
    uint64_t wall_ms;       /* jobs: most it may run */
    uint64_t output_max;    /* most bytes kept per stream */
    uint64_t port;          /* apps */
    ee_span name;           /* apps */
    ee_span node;           /* "" = any */
    bool insecure_registry; /* plain http, only to a loopback registry of a devnet */
} eei_spec;

typedef struct eei_spend_auth { /* body of SPEND_AUTH, signed by the account key */
    uint8_t auth_id[16];
    uint8_t spec_hash[32];
    uint64_t price;     /* micros per vcpu-hour that was quoted */
    ee_span node;       /* that was quoted */
    uint64_t max_total; /* micros */
    uint64_t not_after_ms;
    uint8_t control_instance[32];
    uint8_t policy_hash[32];
} eei_spend_auth;

typedef struct eei_transfer_order { /* body of TRANSFER, signed by the account key */
    ee_span from, to;
    uint64_t amount;
    ee_span memo;
    ee_span key; /* idempotency key */
    uint64_t not_after_ms;
    uint8_t control_instance[32];
} eei_transfer_order;

typedef struct eei_job { /* JOB, control plane -> agent: an admitted job, or one to cancel */
    ee_span job_id;
    ee_span spec;       /* bytes of eei_spec; empty = cancel the job */
    ee_span spend_auth; /* envelope */
    uint8_t account_pub[32];
    ee_span account;
    uint64_t price;
    uint64_t locked;
    uint64_t period_start_ms;
    uint64_t connect_by_ms; /* wall clock */
} eei_job;

typedef struct eei_job_state { /* JOB_STATE, agent -> control plane */
    ee_span job_id;
    ee_span state; /* "waiting" "pulling" "running" "done" "failed" */
    ee_span word;  /* failed: status word */
    ee_span message;
} eei_job_state;

typedef struct eei_app { /* APP, control plane -> agent */
    ee_span app_id;
    ee_span name;
    ee_span spec;   /* empty = stop it */
    uint64_t epoch; /* fencing: an older one is refused */
    ee_span account;
} eei_app;
typedef struct eei_app_state { /* APP_STATE, agent -> control plane */
    ee_span app_id;
    uint64_t epoch;
    ee_span state; /* "pulling" "starting" "running" "failed" "stopped" */
    ee_span word, message;
} eei_app_state;

typedef struct eei_receipt { /* body of RECEIPT, signed by the instance key */
    uint8_t network_id[32];
    uint64_t period_start_ms;
    ee_span node;
    uint8_t instance_id[32];
    uint8_t auth_id[16];
    uint64_t sequence; /* of this instance's receipts, from 1 */
    ee_span job_id;
    uint8_t image_digest[32];
    uint8_t spec_hash[32];
    uint8_t env_commitment[32];   /* HMAC-SHA-256(k_env, env) */
    uint8_t input_commitment[32]; /* HMAC-SHA-256(k_env, stdin) */
    uint8_t output_hash[32];      /* SHA-256 over all OUTPUT frames' (stream byte || data), in order */
    uint64_t output_bytes;
    uint64_t exit_code;
    ee_span reason;            /* "exited" "out_of_memory" "timed_out" "cancelled" */
    uint64_t start_ms, end_ms; /* wall clock estimate */
    uint64_t vcpus_milli;
    uint64_t vcpu_ms; /* metered: wall x vcpus reserved, rounded up to the millisecond */
    uint64_t cpu_us;  /* used */
    uint64_t memory_peak;
    uint64_t price;
    uint64_t charge; /* floor(price * vcpu_ms / 3,600,000), at most the lock */
    uint8_t spend_auth_hash[32];
    uint8_t policy_hash[32];
    uint8_t previous[32]; /* SHA-256 of this instance's previous receipt envelope; 0 for the first */
    uint8_t log_root[32];
} eei_receipt;

typedef struct eei_receipt_ack { /* RECEIPT_ACK, control plane -> agent: booked */
    ee_span job_id;
    uint8_t receipt_hash[32];
} eei_receipt_ack;

typedef struct eei_app_event { /* payload of an RTMR3 event of type APP: which image runs, before it runs (threat Q14) */
    ee_span id;
    uint8_t image_digest[32];
    uint8_t spec_hash[32];
} eei_app_event;

/* ---- checks --------------------------------------------------------------------------------------------------------- */
typedef enum eei_challenge_kind { EEI_CHALLENGE_HEALTH = 1, EEI_CHALLENGE_ATTEST = 2, EEI_CHALLENGE_SESSION = 3 } eei_challenge_kind;
typedef struct eei_challenge { /* CHALLENGE: on stream 0 from the control plane; first frame of an inner channel from its client */
    uint64_t kind;
    uint8_t r[32];
    uint64_t slot;           /* health */
    ee_span observer;        /* health: who asks */
    bool strict;             /* session: a full quote, please */
    uint8_t policy_hash[32]; /* the policy that the answer will be judged by */
} eei_challenge;
typedef struct eei_app_probe {
    ee_span app_id;
    bool ok;
    ee_span message;
} eei_app_probe;
typedef struct eei_health {     /* body of HEALTH, signed by the instance key; RESPONSE carries the envelope */
    uint8_t challenge_hash[32]; /* SHA-256 of the CHALLENGE payload */
    ee_span observer;
    uint64_t sequence;
    uint64_t time_ms;
    eei_list apps; /* eei_app_probe */
    uint64_t jobs_running;
    uint64_t vcpus_free_milli;
    uint64_t memory_free;
} eei_health;
typedef struct eei_observation { /* body of OBSERVATION, signed by the observer's instance key */
    ee_span observer, node;
    uint64_t slot;
    uint64_t sent_ms, received_ms; /* received 0 = no answer */
    ee_span response;              /* HEALTH envelope, or empty */
    ee_span error;                 /* word, when there was none */
} eei_observation;

/* ---- inside an inner channel ---------------------------------------------------------------------------------------- */
typedef struct eei_env {
    ee_span name;
    ee_span value;
} eei_env;
typedef struct eei_secrets { /* body of SECRETS, signed by the account key; JOB_START carries the envelope (threat W12) */
    uint8_t auth_id[16];
    uint8_t spec_hash[32];
    uint8_t instance_id[32];
    uint8_t k_env[32];
    eei_list env; /* eei_env */
    ee_span stdin_data;
} eei_secrets;
typedef struct eei_job_start {
    ee_span job_id;
    ee_span secrets;
} eei_job_start;
typedef struct eei_progress {
    ee_span phase;
    uint64_t done, total;
    ee_span message;
} eei_progress;
typedef struct eei_output {
    uint64_t seq;
    uint64_t stream;
    uint64_t time_ms;
    ee_span data;
} eei_output;
typedef struct eei_result { /* RESULT: the last frame */
    ee_span word;           /* "" = it ran; else the status word of why it did not */
    ee_span message;
    ee_span receipt; /* envelope; present whenever something ran */
    bool stdout_truncated, stderr_truncated;
} eei_result;
typedef struct eei_cancel_job {
    uint64_t grace_ms;
} eei_cancel_job;

extern const eei_schema eei_hello_schema, eei_accept_schema, eei_reject_schema, eei_open_schema, eei_token_schema, eei_spec_schema,
    eei_spend_auth_schema, eei_transfer_order_schema, eei_job_schema, eei_job_state_schema, eei_app_schema, eei_app_state_schema,
    eei_app_event_schema, eei_receipt_schema, eei_receipt_ack_schema, eei_challenge_schema, eei_app_probe_schema, eei_health_schema,
    eei_observation_schema, eei_env_schema, eei_secrets_schema, eei_job_start_schema, eei_progress_schema, eei_output_schema,
    eei_result_schema, eei_cancel_job_schema, eei_ticket_schema;
#endif
