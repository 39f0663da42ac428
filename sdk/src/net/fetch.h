/* fetch.h - HTTPS calls with limits, over libcurl: the control plane's API from an attested connection, registries, collateral.
 * Blocking; called on user threads and uv workers, never on a loop. */
#ifndef EEI_FETCH_H
#define EEI_FETCH_H
#include "ratls/ratls.h"

#include <eesdk/types.h>

typedef struct eei_fetch eei_fetch; /* a pool of kept connections; thread-safe */

typedef enum eei_fetch_trust {
    EEI_FETCH_WEB_PKI,   /* system CAs or those of ca_file, host name checked; through the proxy that the environment names, as libcurl does
                          */
    EEI_FETCH_ATTESTED,  /* the peer's certificate must carry acceptable evidence of the control plane; a session challenge is answered
                            on every new connection before the first request leaves (POST /v1/attest) */
    EEI_FETCH_UNTRUSTED, /* content is signed by itself: collateral */
    EEI_FETCH_LOOPBACK,  /* plain http, 127.0.0.0/8 and ::1 only: a devnet's registry */
} eei_fetch_trust;

typedef struct eei_fetch_options {
    const char *url;  /* base, "https://host:port" */
    const char *peer; /* a literal, for messages: "the registry"; NULL = "the control plane" */
    eei_fetch_trust trust;
    eei_judge *judge;       /* ATTESTED; shared */
    uint8_t network_id[32]; /* ATTESTED */
    const char *ca_file;    /* WEB_PKI: PEM file of what is trusted instead of the system's CAs; nullable */
    uint32_t timeout_ms;
    uint32_t connections_max; /* kept; 0 = 4 */
} eei_fetch_options;
ee_status eei_fetch_new(const eei_fetch_options *options, eei_fetch **out, ee_error *err) EE_MUST_USE;
void eei_fetch_free(eei_fetch *fetch);

typedef struct eei_request {
    const char *method, *path;  /* path starts with "/" */
    const char *const *headers; /* "Name: value", NULL-ended; nullable */
    ee_span body;
    size_t response_max;     /* EE_E_LIMIT past it; a head is at most EEI_REPLY_HEAD_MAX */
    uint32_t timeout_ms;     /* of this call; 0 = the fetch's */
    const char *keep;        /* a header whose whole value goes into reply->kept; nullable */
    const ee_cancel *cancel; /* nullable */
    /* ATTESTED: called after the peer was judged and before anything is sent, to sign with the control plane's instance id; appends
     * headers to the list. Nullable. */
    ee_status (*sign)(void *user, const uint8_t control_instance[32], eei_buf *header_lines, ee_error *err);
    void *user;
} eei_request;
typedef struct eei_reply {
    int status;
    eei_buf body;
    eei_buf kept;                                                               /* of request->keep */
    unsigned kept_count;                                                        /* how often that header came */
    char content_type[128], request_id[48], digest[128], www_authenticate[512]; /* Docker-Content-Digest */
    char location[512];
    uint32_t retry_after_ms;
    bool sent; /* on failure: whether the request may have reached the peer */
} eei_reply;
/* Any HTTP status is EE_OK. EE_E_CONNECT when no answer came (reply->sent tells whether it may have been acted on), EE_E_TIMEOUT,
 * EE_E_ATTESTATION, EE_E_LIMIT, EE_E_CANCELLED. Redirects are answers too. The reply is the caller's to clear. */
ee_status eei_fetch_call(eei_fetch *fetch, const eei_request *request, eei_reply *reply, ee_error *err) EE_MUST_USE;
void eei_reply_clear(eei_reply *reply);
/* The attested peer's verdict; connects when there was none yet. Shared reference, ee_verdict_free(). */
ee_status eei_fetch_verdict(eei_fetch *fetch, const ee_cancel *cancel, ee_verdict **out, ee_error *err) EE_MUST_USE;

/* HTTP over a socket that is already connected (one end of a socketpair whose other end is an attested channel): libcurl does all of
 * HTTP. One request at a time per handle; keeps the socket for the next request when HTTP allows. */
typedef struct eei_http eei_http;
/* Gives a connected socket; called when there is none to reuse, inside the request that needs it: within that one's deadline (mono_ms) and
 * cancel (nullable). */
typedef ee_status (*eei_http_open_fn)(void *user, uint64_t deadline_ms, const ee_cancel *cancel, int *fd, ee_error *err);
ee_status eei_http_new(const char *base_url, eei_http_open_fn open, void *user, eei_http **out, ee_error *err) EE_MUST_USE;
void eei_http_free(eei_http *http);
typedef struct eei_http_request {
    const char *method, *path;
    const char *const *headers;
    ee_span body;
    uint32_t timeout_ms;
    size_t body_max;
    const ee_cancel *cancel;
    bool stream;           /* return at the headers; eei_http_read() takes the body */
    uint64_t upload_bytes; /* eei_http_open(): so many will be written; 0 = not known, they go out in chunks */
} eei_http_request;
typedef struct eei_http_header {
    char *name, *value;
} eei_http_header;
typedef struct eei_http_response {
    int status;
    eei_http_header *headers;
    size_t header_count;
    eei_buf body;
} eei_http_response;
ee_status eei_http_call(eei_http *http, const eei_http_request *request, eei_http_response *out, ee_error *err) EE_MUST_USE;
/* The same with a body of any size: open, write as often as there is something, finish. request and its cancel stay borrowed, and *out is
 * being filled, until finish. timeout_ms is for each of them, anew whenever bytes move. After a failure the transfer is over. */
ee_status eei_http_open(eei_http *http, const eei_http_request *request, eei_http_response *out, ee_error *err) EE_MUST_USE;
/* EE_E_END: the answer is there and the rest of the body is not wanted; finish gives it. EE_E_INVALID: more than was announced. */
ee_status eei_http_write(eei_http *http, ee_span bytes, ee_error *err) EE_MUST_USE;
ee_status eei_http_finish(eei_http *http, ee_error *err) EE_MUST_USE;
ee_status eei_http_read(eei_http *http, int64_t timeout_ms, eei_buf *out, ee_error *err) EE_MUST_USE; /* EE_E_END after the last */
bool eei_http_reusable(const eei_http *http);
void eei_http_response_clear(eei_http_response *response);
#endif
