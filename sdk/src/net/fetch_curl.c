/* fetch_curl.c - one transfer with libcurl: made from a request, run with a deadline and a cancel, its result in our words.
 * Not for trust (fetch.c) or sockets (http.c). Called by both. */
#include "net/fetch_curl.h"

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum { URL_MAX = 8192 };

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_init_result;
static void init_curl(void) { curl_init_result = curl_global_init(CURL_GLOBAL_DEFAULT); }

ee_status eei_curl_open(eei_curl *c, ee_error *err) {
    *c = (eei_curl){0};
    (void)pthread_once(&curl_once, init_curl);
    if (curl_init_result != CURLE_OK)
        return eei_fail(err, EE_E_INTERNAL, "libcurl did not start: %s", curl_easy_strerror(curl_init_result));
    c->multi = curl_multi_init();
    c->easy = curl_easy_init();
    if (!c->multi || !c->easy) {
        eei_curl_close(c);
        return eei_nomem(err);
    }
    (void)curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 1L);
    return EE_OK;
}

void eei_curl_stop(eei_curl *c) {
    if (!c->running) return;
    (void)curl_multi_remove_handle(c->multi, c->easy); /* a transfer that was under way takes its connection with it */
    c->running = false;
}

void eei_curl_close(eei_curl *c) {
    eei_curl_stop(c);
    if (c->easy) curl_easy_cleanup(c->easy);
    if (c->multi) (void)curl_multi_cleanup(c->multi);
    curl_slist_free_all(c->headers);
    c->easy = NULL;
    c->multi = NULL;
    c->headers = NULL;
}

static ee_status add_header(eei_curl *c, const char *line, size_t len, ee_error *err) {
    char *text = eei_strndup(line, len);
    if (!text) return eei_nomem(err);
    bool clean = strchr(text, ':') != NULL;
    for (const char *p = text; *p; p++) clean = clean && ((unsigned char)*p >= 0x20 || *p == '\t') && *p != 0x7f;
    struct curl_slist *longer = clean ? curl_slist_append(c->headers, text) : NULL;
    eei_free(text);
    if (!clean) return eei_fail(err, EE_E_INVALID, "a header line has no colon or a control character");
    if (!longer) return eei_nomem(err);
    c->headers = longer;
    return EE_OK;
}

static ee_status add_headers(eei_curl *c, const char *const *headers, const char *lines, ee_error *err) {
    ee_status st = add_header(c, "Expect:", 7, err); /* curl's 100-continue costs a round trip and gains nothing here */
    for (; !st && headers && *headers; headers++) st = add_header(c, *headers, strlen(*headers), err);
    while (!st && lines && *lines) {
        size_t len = strcspn(lines, "\n");
        if (len) st = add_header(c, lines, len, err);
        lines += len + (lines[len] == '\n');
    }
    return st;
}

static ee_status set_url(eei_curl *c, const char *base, const char *path, ee_error *err) {
    eei_buf url = EEI_BUF_INIT(URL_MAX);
    size_t base_len = strlen(base);
    while (base_len && base[base_len - 1] == '/') base_len--;
    bool clean = path[0] == '/';
    for (const char *p = path; *p; p++) clean = clean && (unsigned char)*p > 0x20 && (unsigned char)*p < 0x7f && *p != '#';
    if (!clean) return eei_fail(err, EE_E_INVALID, "the path must start with \"/\" and hold printable ASCII only");
    ee_status st = eei_buf_append(&url, base, base_len);
    if (!st) st = eei_buf_append_text(&url, path);
    const char *text = st ? NULL : eei_buf_cstr(&url);
    if (!text)
        st = eei_fail(err, st == EE_E_NOMEM ? st : EE_E_LIMIT, "the URL is over %d bytes", URL_MAX);
    else if (curl_easy_setopt(c->easy, CURLOPT_URL, text) != CURLE_OK)
        st = eei_nomem(err);
    eei_buf_clear(&url);
    return st;
}

ee_status eei_curl_request(eei_curl *c, const char *base, const char *method, const char *path, const char *const *headers,
                           const char *header_lines, ee_span body, ee_error *err) {
    curl_slist_free_all(c->headers);
    c->headers = NULL;
    ee_status st = set_url(c, base, path, err);
    if (!st) st = add_headers(c, headers, header_lines, err);
    if (st) return st;
    bool head = strcmp(method, "HEAD") == 0, sends = body.len > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0;
    CURL *e = c->easy;
    CURLcode bad = curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_POSTFIELDS, NULL);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
    if (!bad && head) bad = curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    if (!bad && sends && !head) {
        bad = curl_easy_setopt(e, CURLOPT_POST, 1L);
        if (!bad) bad = curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
        if (!bad) bad = curl_easy_setopt(e, CURLOPT_POSTFIELDS, body.len ? (const char *)body.data : "");
    }
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, head ? NULL : method);
    return bad ? eei_fail(err, EE_E_NOMEM, "libcurl: %s", curl_easy_strerror(bad)) : EE_OK;
}

ee_status eei_curl_upload(eei_curl *c, const char *base, const char *method, const char *path, const char *const *headers, uint64_t bytes,
                          ee_error *err) {
    ee_status st = bytes > INT64_MAX ? eei_fail(err, EE_E_INVALID, "a body cannot have %llu bytes", (unsigned long long)bytes) : EE_OK;
    if (!st) st = eei_curl_request(c, base, method, path, headers, NULL, eei_span(NULL, 0), err);
    if (st) return st;
    CURLcode bad = curl_easy_setopt(c->easy, CURLOPT_UPLOAD, 1L);
    if (!bad) bad = curl_easy_setopt(c->easy, CURLOPT_INFILESIZE_LARGE, bytes ? (curl_off_t)bytes : (curl_off_t)-1);
    if (!bad) bad = curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, method);
    return bad ? eei_fail(err, EE_E_NOMEM, "libcurl: %s", curl_easy_strerror(bad)) : EE_OK;
}

ee_status eei_curl_start(eei_curl *c, ee_error *err) {
    c->result = CURLE_OK;
    CURLMcode bad = curl_multi_add_handle(c->multi, c->easy);
    if (bad) return eei_fail(err, EE_E_INTERNAL, "libcurl: %s", curl_multi_strerror(bad));
    c->running = true;
    return EE_OK;
}

static void collect(eei_curl *c) {
    int left = 0;
    for (CURLMsg *m = curl_multi_info_read(c->multi, &left); m; m = curl_multi_info_read(c->multi, &left)) {
        if (m->msg != CURLMSG_DONE) continue;
        c->result = m->data.result;
        (void)curl_multi_remove_handle(c->multi, c->easy);
        c->running = false;
        return; /* the message is invalid after the removal, and there is only one transfer */
    }
}

ee_status eei_curl_work(eei_curl *c, ee_error *err) {
    int active = 0;
    CURLMcode bad = curl_multi_perform(c->multi, &active);
    if (bad) return eei_fail(err, EE_E_INTERNAL, "libcurl: %s", curl_multi_strerror(bad));
    collect(c);
    return EE_OK;
}

ee_status eei_curl_wait(eei_curl *c, uint64_t deadline_ms, const ee_cancel *cancel, ee_error *err) {
    ee_status st = eei_cancel_check(cancel, err);
    if (st) return st;
    uint64_t now = eei_mono_ms();
    if (now >= deadline_ms) return eei_fail(err, EE_E_TIMEOUT, "no answer in time");
    uint64_t wait = deadline_ms - now < 1000 ? deadline_ms - now : 1000;
    struct curl_waitfd extra = {.fd = eei_cancel_fd(cancel), .events = CURL_WAIT_POLLIN};
    CURLMcode bad = curl_multi_poll(c->multi, &extra, extra.fd >= 0 ? 1 : 0, (int)wait, NULL);
    return bad ? eei_fail(err, EE_E_INTERNAL, "libcurl: %s", curl_multi_strerror(bad)) : EE_OK;
}

ee_status eei_curl_run(eei_curl *c, uint64_t deadline_ms, const ee_cancel *cancel, ee_error *err) {
    ee_status st = eei_cancel_check(cancel, err);
    if (!st) st = eei_curl_start(c, err);
    while (!st && c->running) {
        st = eei_curl_work(c, err);
        if (!st && c->running) st = eei_curl_wait(c, deadline_ms, cancel, err);
    }
    eei_curl_stop(c);
    return st;
}

static const char *why_no_connection(const eei_curl *c) {
    long number = 0;
    (void)curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &number);
    switch (number) {
    case ECONNREFUSED: return "nothing listens there";
    case ENETUNREACH:
    case EHOSTUNREACH: return "there is no way to it from here";
    case ETIMEDOUT: return "nothing answers there";
    default: return "no connection could be made";
    }
}

const char *eei_curl_reason(const eei_curl *c) {
    switch (c->result) {
    case CURLE_COULDNT_RESOLVE_HOST: return "its name is not known";
    case CURLE_COULDNT_CONNECT: return why_no_connection(c);
    case CURLE_OPERATION_TIMEDOUT: return "it took too long";
    case CURLE_SSL_CONNECT_ERROR: return "TLS could not be set up";
    case CURLE_PEER_FAILED_VERIFICATION: return "its certificate is not trusted";
    case CURLE_SSL_CACERT_BADFILE: return "the file of certificates that are trusted cannot be read";
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING: return "what it answers is not HTTP";
    default: return "the connection ended before the answer did";
    }
}

bool eei_curl_unreached(const eei_curl *c) {
    return c->result == CURLE_COULDNT_RESOLVE_HOST || c->result == CURLE_COULDNT_CONNECT || c->result == CURLE_SSL_CONNECT_ERROR ||
           c->result == CURLE_PEER_FAILED_VERIFICATION || c->result == CURLE_SSL_CACERT_BADFILE;
}

/* "" where there is nothing to say that the message does not, or where who knows whence the address came has more to say. */
static const char *next_step(CURLcode result) {
    switch (result) {
    case CURLE_SSL_CONNECT_ERROR: return "the other side must speak TLS, of a version that is taken here (1.2 or newer)";
    case CURLE_PEER_FAILED_VERIFICATION: return "its certificate must be for this very name, in date, and by a CA that is trusted here";
    case CURLE_SSL_CACERT_BADFILE: return "the file of trusted certificates must be there, in PEM";
    default: return "";
    }
}

ee_status eei_curl_fail(const eei_curl *c, const char *what, ee_error *err) {
    ee_status st = EE_E_CONNECT;
    switch (c->result) {
    case CURLE_OK: return EE_OK;
    case CURLE_OUT_OF_MEMORY: st = EE_E_NOMEM; break;
    case CURLE_OPERATION_TIMEDOUT: st = EE_E_TIMEOUT; break;
    case CURLE_URL_MALFORMAT: st = EE_E_INVALID; break;
    default: break;
    }
    (void)eei_fail(err, st, "%s: %s", what, eei_curl_reason(c));
    if (err) {
        err->native_code = (uint32_t)c->result;
        if (c->result == CURLE_PEER_FAILED_VERIFICATION || c->result == CURLE_SSL_CACERT_BADFILE) err->retryable = 0;
    }
    return eei_hint(err, st, "%s", next_step(c->result));
}
