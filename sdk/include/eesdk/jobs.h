/* jobs.h - private jobs: run once on an attested machine, secrets end to end, output back in order. */
#ifndef EESDK_JOBS_H
#define EESDK_JOBS_H

#include <eesdk/client.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ee_job ee_job;       /**< one thread at a time; ee_job_cancel() any thread */
typedef struct ee_result ee_result; /**< immutable */

typedef enum ee_stream_id { EE_STDOUT = 1, EE_STDERR = 2 } ee_stream_id;

/** Callbacks of ee_run_private_job(): on the calling thread, one at a time. Return 0 to go on; anything else cancels the job. */
typedef int (*ee_output_fn)(void *user, ee_stream_id stream, uint64_t seq, const void *data, size_t len);
typedef int (*ee_progress_fn)(void *user, const char *phase, uint64_t done, uint64_t total, const char *message);

/** What to run. Fill with ee_job_options_init() or EE_JOB(...); a 0 or NULL field means the default; new fields are only ever appended. */
typedef struct ee_job_options {
    size_t struct_bytes;
    const char *image;          /**< "myapp:latest", "registry.example/etl@sha256:..." */
    const char *const *command; /**< NULL-ended; NULL for the image's own */
    const char *const *env;     /**< "NAME=value", NULL-ended; only ever sent inside the attested channel */
    const void *stdin_data;     /**< whole standard input; borrowed until the job has started */
    size_t stdin_bytes;
    double vcpus;                /**< default 1; at most three decimals */
    uint64_t memory_bytes;       /**< default 512 MiB */
    uint64_t timeout_ms;         /**< wall clock, default 10 min */
    uint64_t output_limit_bytes; /**< captured per stream, default 1 MiB; more is counted and `truncated` says so */
    const char *max_cost;        /**< "$0.50"; NULL for none */
    const char *node;            /**< only this node; NULL = lowest effective price */
    const ee_policy *policy;     /**< NULL: the client's */
    const char *idempotency_key; /**< NULL: one is made */
    int32_t check;               /**< 1: a non-zero exit code is EE_E_JOB_FAILED (the result is still given) */
    ee_output_fn on_output;
    ee_progress_fn on_progress;
    void *user;
    ee_cancel *cancel; /**< nullable */
} ee_job_options;

#define ee_job_options_init(options) ee_options_init((options), sizeof *(options))
#if !defined(SWIG) && !defined(__cplusplus) /* C++ has no address of a temporary: ee_job_options_init() there */
#define EE_JOB(...)  (&(ee_job_options){.struct_bytes = sizeof(ee_job_options), __VA_ARGS__})
#define EE_LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#endif

/**
 * Run a private workload: price quoted, credits locked, node chosen, agent attested by this process, secrets sent only
 * inside the channel to it, output streamed back, receipt verified.
 * @param client NULL = the default client
 * @param out [out, owned] release with ee_result_free(). Set on EE_OK, and with what came so far on EE_E_JOB_FAILED,
 *            EE_E_JOB_TIMEOUT and EE_E_CANCELLED; else NULL. A non-zero exit code is a result, not an error, unless check is 1.
 */
EE_API EE_MUST_USE ee_status ee_run_private_job(ee_client *client, const ee_job_options *options, ee_result **out, ee_error *err);

/** Price of a job, nothing locked. JSON: {"items": [{"node","tier","price_per_vcpu_hour","trust","effective","ceiling"}], "rejected":
 * {...}}. Judged as ee_run_private_job() would: EE_E_NO_NODE when nobody can take it, EE_E_BUDGET over max_cost; out_json is set then too.
 */
EE_API EE_MUST_USE ee_status ee_job_quote(ee_client *client, const ee_job_options *options, char **out_json, ee_error *err);

/** Start a job: returns once it is admitted, attested and its secrets are delivered. Freeing the handle cancels the job unless it ended;
 *  ee_job_detach() does not. */
EE_API EE_MUST_USE ee_status ee_job_start(ee_client *client, const ee_job_options *options, ee_job **out, ee_error *err);

typedef enum ee_job_event_kind { EE_JOB_PROGRESS = 1, EE_JOB_OUTPUT = 2, EE_JOB_DONE = 3 } ee_job_event_kind;
/** Pulled by ee_job_next(). Pointers are valid until the next call on the same job. */
typedef struct ee_job_event {
    ee_job_event_kind kind;
    ee_stream_id stream; /**< OUTPUT */
    uint64_t seq; /**< OUTPUT: one sequence over both streams, from 1, no gaps. As they came out of the job's two pipes: in order within
                       a stream; what was written to both within moments of each other may come in another order */
    uint64_t time_unix_ms;
    ee_span data;         /**< OUTPUT: as written */
    const char *phase;    /**< PROGRESS: "quoting" "placing" "attesting" "pulling" "starting" "running" "settling"; may be told again,
                               with what came of it in `message` */
    uint64_t done, total; /**< PROGRESS; total 0 = not known */
    const char *message;  /**< PROGRESS */
} ee_job_event;

/** Wait for the next event. @param timeout_ms negative = as long as it takes
 *  @return EE_OK; EE_E_END after EE_JOB_DONE; EE_E_TIMEOUT (the wait, not the job); EE_E_CANCELLED; EE_E_JOB_LOST ... */
EE_API EE_MUST_USE ee_status ee_job_next(ee_job *job, int64_t timeout_ms, ee_cancel *cancel, ee_job_event *out, ee_error *err);
/** The result, once ee_job_next() gave EE_JOB_DONE. Same statuses as ee_run_private_job(). */
EE_API EE_MUST_USE ee_status ee_job_result(ee_job *job, ee_result **out, ee_error *err);
/** TERM now, KILL after the grace. Any thread. */
EE_API EE_MUST_USE ee_status ee_job_cancel(ee_job *job, uint32_t grace_ms, ee_error *err);
EE_API const char *ee_job_id(const ee_job *job); /**< "job_..."; what names it everywhere. Tied to the job */
/** Close the handle, and cancel the job unless it ended. */
EE_API void ee_job_free(ee_job *job);
/** Close the handle, and let the job go on to its end, for as long as this process lives: a caller that is gone cancels its job. What it
 * still prints is dropped; what came of it is in GET /v1/jobs/{id}. The client may be freed before. Without a thread for it (out of
 * resources) the job is cancelled. */
EE_API void ee_job_detach(ee_job *job);

/* Of results: texts and verdicts are tied to the result. Any thread. */
EE_API const char *ee_result_job_id(const ee_result *result);                  /**< "job_..." */
EE_API int32_t ee_result_exit_code(const ee_result *result);                   /**< 128 + n when a signal ended it */
EE_API const char *ee_result_reason(const ee_result *result);                  /**< "exited" "out_of_memory" "timed_out" "cancelled" */
EE_API ee_span ee_result_output(const ee_result *result, ee_stream_id stream); /**< NUL-ended past len */
EE_API int32_t ee_result_truncated(const ee_result *result);
EE_API const char *ee_result_image_digest(const ee_result *result); /**< "sha256:...": what actually ran */
EE_API const char *ee_result_node(const ee_result *result);
EE_API ee_money ee_result_cost(const ee_result *result);    /**< what was charged, as the receipt says */
EE_API ee_money ee_result_locked(const ee_result *result);  /**< what was locked for it; the rest came back */
EE_API uint64_t ee_result_vcpu_ms(const ee_result *result); /**< metered: time x vcpus reserved; cost = floor of this times the price */
EE_API ee_money ee_result_price(const ee_result *result);   /**< per vcpu-hour */
EE_API const char *ee_result_receipt_json(const ee_result *result); /**< verified against the attested key; with the signed bytes */
EE_API const ee_verdict *ee_result_attestation(const ee_result *result);
/** NULL is fine. */
EE_API void ee_result_free(ee_result *result);

#ifdef __cplusplus
}
#endif
#endif
