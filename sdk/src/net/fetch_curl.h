/* fetch_curl.h - what fetch.c and http.c share: one curl easy handle in a multi handle of its own, driven with a deadline and a cancel.
 * The multi handle keeps the connection between transfers. Included by fetch*.c and http.c only. */
#ifndef EEI_FETCH_CURL_H
#define EEI_FETCH_CURL_H
#include "base/buf.h"

#include <curl/curl.h>

typedef struct eei_curl {
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers;
    bool running;    /* easy is in multi */
    CURLcode result; /* when it stopped running */
} eei_curl;
ee_status eei_curl_open(eei_curl *c, ee_error *err) EE_MUST_USE;
void eei_curl_close(eei_curl *c);
/* Method, path joined to base, headers and body (borrowed until the transfer is over). header_lines: "Name: value\n"..., nullable. */
ee_status eei_curl_request(eei_curl *c, const char *base, const char *method, const char *path, const char *const *headers,
                           const char *header_lines, ee_span body, ee_error *err) EE_MUST_USE;
/* The same with a body that curl's read function gives: bytes of it, 0 = in chunks until it ends. */
ee_status eei_curl_upload(eei_curl *c, const char *base, const char *method, const char *path, const char *const *headers, uint64_t bytes,
                          ee_error *err) EE_MUST_USE;
ee_status eei_curl_start(eei_curl *c, ee_error *err) EE_MUST_USE;
/* Do what can be done without waiting; running is false when the transfer is over. Then wait for more to do. */
ee_status eei_curl_work(eei_curl *c, ee_error *err) EE_MUST_USE;
ee_status eei_curl_wait(eei_curl *c, uint64_t deadline_ms, const ee_cancel *cancel, ee_error *err) EE_MUST_USE; /* eei_mono_ms() */
/* Until it is over; on EE_E_TIMEOUT and EE_E_CANCELLED the transfer is aborted and its connection closed. Curl's own result is in c. */
ee_status eei_curl_run(eei_curl *c, uint64_t deadline_ms, const ee_cancel *cancel, ee_error *err) EE_MUST_USE;
void eei_curl_stop(eei_curl *c);
/* Why the transfer failed, in our words: "nothing listens there". */
const char *eei_curl_reason(const eei_curl *c);
/* Nothing of the request can have reached the other side. */
bool eei_curl_unreached(const eei_curl *c);
/* Curl's result as ours: "GET /x: the connection ended before the answer did". */
ee_status eei_curl_fail(const eei_curl *c, const char *what, ee_error *err);
#endif
