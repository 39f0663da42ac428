/* apps.h - private apps: an attested way to a long-running workload that has no public port. */
#ifndef EESDK_APPS_H
#define EESDK_APPS_H

#include <eesdk/client.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ee_app ee_app;           /**< thread-safe: each request has a connection of its own from a pool */
typedef struct ee_response ee_response; /**< one thread at a time */

/** Options of ee_connect(). Fill with ee_connect_options_init(); NULL = all defaults; new fields are only ever appended. */
typedef struct ee_connect_options {
    size_t struct_bytes;
    const ee_policy *policy; /**< NULL: the client's */
    uint32_t timeout_ms;     /**< resolve, attest, connect; default 30,000 */
    int32_t strict;          /**< 1: a full quote for every connection, not a signed session statement */
    ee_cancel *cancel;
} ee_connect_options;
#define ee_connect_options_init(options) ee_options_init((options), sizeof *(options))

/**
 * Resolve an app, open a stream to its agent through the proxy, and attest the agent. No byte of a request leaves before.
 * @return EE_E_NOT_FOUND, EE_E_APP_UNAVAILABLE, EE_E_ATTESTATION (details name the check), EE_E_PERMISSION ...
 */
EE_API EE_MUST_USE ee_status ee_connect(ee_client *client, const char *app, const ee_connect_options *options, ee_app **out, ee_error *err);
/** The verdict on the agent that served this app latest: an app may move. Tied to the app. Any thread. */
EE_API const ee_verdict *ee_app_attestation(const ee_app *app);
EE_API const char *ee_app_base_url(const ee_app *app); /**< "https://app-name.ee.internal" */
/** Close the connections that are kept. Its responses, uploads and forwarded ports are freed before it. NULL is fine. */
EE_API void ee_app_free(ee_app *app);

/**
 * A node's own proof: its agent is challenged and judged in a channel of its own, apart from any app or job.
 * @param node its name   @param options policy, timeout, strict and cancel as for ee_connect(); NULL = all defaults
 * @param out [out, owned] release with ee_verdict_free(); also on EE_E_ATTESTATION when there was something to judge
 * @return EE_E_NOT_FOUND, EE_E_APP_UNAVAILABLE when it is not connected, EE_E_ATTESTATION ...
 */
EE_API EE_MUST_USE ee_status ee_node_attestation(ee_client *client, const char *node, const ee_connect_options *options, ee_verdict **out,
                                                 ee_error *err);

/** Options of ee_app_request(). */
typedef struct ee_request_options {
    size_t struct_bytes;
    const char *const *headers; /**< "Name: value", NULL-ended */
    ee_span body;
    uint32_t timeout_ms; /**< whole request; default 30,000. With ee_upload_open(): each of its calls, anew whenever bytes move */
    int32_t stream;      /**< 1: return at the headers; take the body with ee_response_read() */
    ee_cancel *cancel;
    uint64_t body_bytes; /**< ee_upload_open(): exactly so many will be written; 0 = not known, they go out in chunks */
} ee_request_options;
#define ee_request_options_init(options) ee_options_init((options), sizeof *(options))

/** One HTTP request over the attested stream. Redirects are handed back. The answer's body has at most 64 MiB unless stream is 1.
 *  @param path "/api/private", with query; must start with "/" */
EE_API EE_MUST_USE ee_status ee_app_request(ee_app *app, const char *method, const char *path, const ee_request_options *options,
                                            ee_response **out, ee_error *err);
/** GET with defaults. */
EE_API EE_MUST_USE ee_status ee_get(ee_app *app, const char *path, ee_response **out, ee_error *err);

/**
 * A request whose body is written piece by piece, of any size and in flat memory: open, write, finish. One thread at a time.
 * Headers of options are copied; its body must be empty; its cancel is borrowed until the answer has been read.
 */
typedef struct ee_upload ee_upload;
/** @param out [out, owned] ee_upload_free()   @return EE_E_INVALID, or what ee_app_request() gives before the answer */
EE_API EE_MUST_USE ee_status ee_upload_open(ee_app *app, const char *method, const char *path, const ee_request_options *options,
                                            ee_upload **out, ee_error *err);
/** Send some more; returns when it is on its way. EE_E_END: the app has answered and wants no more, go on with ee_upload_finish(). */
EE_API EE_MUST_USE ee_status ee_upload_write(ee_upload *upload, ee_span bytes, ee_error *err);
/** The body ends here; the answer, as from ee_app_request(). Once. EE_E_INVALID when less was written than body_bytes. */
EE_API EE_MUST_USE ee_status ee_upload_finish(ee_upload *upload, ee_response **out, ee_error *err);
/** Before the end of the body: the app sees the connection break off. */
EE_API void ee_upload_free(ee_upload *upload);

EE_API int32_t ee_response_status(const ee_response *response);                         /**< HTTP status: 200 ... */
EE_API size_t ee_response_header_count(const ee_response *response);                    /**< as many as came, repeated names too */
EE_API const char *ee_response_header_name(const ee_response *response, size_t index);  /**< NULL past the end */
EE_API const char *ee_response_header_value(const ee_response *response, size_t index); /**< NULL past the end */
EE_API const char *ee_response_header(const ee_response *response, const char *name);   /**< first of that name, NULL if absent */
EE_API ee_span ee_response_body(const ee_response *response);                           /**< NUL-ended past len; empty when streaming */
/** Next piece of a streamed body; EE_E_END after the last. Borrowed until the next call. */
EE_API EE_MUST_USE ee_status ee_response_read(ee_response *response, int64_t timeout_ms, ee_span *out, ee_error *err);
/** A streamed body that was not read to its end costs its connection. NULL is fine. */
EE_API void ee_response_free(ee_response *response);

/** A connected socket whose bytes go to the app's port, for any protocol. The caller closes it. @param out_fd [out] */
EE_API EE_MUST_USE ee_status ee_app_socket(ee_app *app, const ee_connect_options *options, int *out_fd, ee_error *err);

typedef struct ee_forward ee_forward; /**< thread-safe */
/** Listen on 127.0.0.1 and carry each connection to the app, until ee_forward_free(), which ends those that are open too.
 *  @param port 0 = any that is free   @param out [out, owned] */
EE_API EE_MUST_USE ee_status ee_app_forward(ee_app *app, uint16_t port, ee_forward **out, ee_error *err);
/** Where it listens. */
EE_API uint16_t ee_forward_port(const ee_forward *forward);
/** Wait for a connection that could not be carried: it was closed, and @p out tells why. Of several that nobody asked about the latest is
 *  kept. @param timeout_ms negative = as long as it takes   @return EE_OK; EE_E_TIMEOUT (of the wait); EE_E_CANCELLED */
EE_API EE_MUST_USE ee_status ee_forward_failure(ee_forward *forward, int64_t timeout_ms, ee_cancel *cancel, ee_error *out, ee_error *err);
/** Nothing is carried any more when it returns. Before the app is freed. NULL is fine. */
EE_API void ee_forward_free(ee_forward *forward);

/** Deploy options; the same sizes and words as a job's. */
typedef struct ee_deploy_options {
    size_t struct_bytes;
    const char *name;
    const char *image;
    const char *const *command;
    uint16_t port; /**< the app listens on this port inside; never exposed on the host */
    double vcpus;
    uint64_t memory_bytes;
    const char *node; /**< NULL = lowest effective price */
    const char *idempotency_key;
    ee_cancel *cancel; /**< nullable: ends the wait; an app that was admitted goes on to start */
} ee_deploy_options;
#define ee_deploy_options_init(options) ee_options_init((options), sizeof *(options))
/** Deploy and wait until the app's port answers, or until it failed. @param out_json [out, owned] the app; ee_string_free() */
EE_API EE_MUST_USE ee_status ee_app_deploy(ee_client *client, const ee_deploy_options *options, int64_t timeout_ms, char **out_json,
                                           ee_error *err);
/** Stop an app of this account and give back what is left of its lock. @param client NULL = the default client   @param cancel nullable */
EE_API EE_MUST_USE ee_status ee_app_stop(ee_client *client, const char *name, ee_cancel *cancel, ee_error *err);

#ifdef __cplusplus
}
#endif
#endif
