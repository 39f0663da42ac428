/* http.c - HTTP over sockets that somebody else connected: libcurl speaks, open() brings the socket (one end of a socketpair whose other
 * end is an attested channel). Not for trust: the channel has it. Called by client. */
#include "base/alloc.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/limits.h"
#include "net/fetch.h"
#include "net/fetch_curl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TIMEOUT_MS = 60000, HEADERS_MAX = 128, HEADER_BYTES_MAX = 65536, STREAM_HIGH = 262144, UPLOAD_HIGH = 262144 };

/* A body that is being sent, by eei_http_write(). */
typedef struct uploading {
    eei_buf bytes;              /* written and not dropped yet */
    size_t at;                  /* so many of them are curl's */
    uint64_t announced, wanted; /* of the whole body; written so far */
    bool dropped;               /* its first bytes are gone: it cannot be sent again */
    bool ended, paused;         /* all was written; curl waits for more */
} uploading;

struct eei_http {
    eei_curl curl;
    char *base;
    struct curl_slist *connect_to;
    eei_http_open_fn open;
    void *user;
    int sockets;            /* open now */
    int given, placeholder; /* the socket from open(), until it takes the placeholder's number; -1 */
    ee_status open_status;  /* why open() failed */
    ee_error open_error;
    eei_http_response *response; /* of the running request, until its headers are there */
    size_t header_bytes;
    bool headers_done, stream, paused, over;
    eei_buf body;
    uploading upload;
    uint32_t timeout_ms; /* idem, like the three below */
    uint64_t deadline_ms;
    const ee_cancel *cancel;
    char what[160];
};

/* ---- curl's hooks ---------------------------------------------------------------------------------------------------- */

/* libcurl 7.88 (Debian 12) calls connect() even when the sockopt callback says CURL_SOCKOPT_ALREADY_CONNECTED; later ones do not. So it
 * gets a placeholder that connect() does nothing to: a UDP socket, on which nothing is ever sent. Before the first byte of a request the
 * given socket takes over the placeholder's number. */
static void drop_given(eei_http *http) {
    if (http->given >= 0) (void)close(http->given);
    http->given = -1;
}

static curl_socket_t on_open(void *user, curlsocktype purpose, struct curl_sockaddr *address) {
    eei_http *http = user;
    (void)purpose;
    drop_given(http);
    http->open_status = http->open(http->user, http->deadline_ms, http->cancel, &http->given, &http->open_error);
    if (http->open_status) return CURL_SOCKET_BAD;
    http->placeholder = socket(address->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int flags = fcntl(http->given, F_GETFL);
    if (http->placeholder < 0 || flags < 0 || fcntl(http->given, F_SETFL, flags | O_NONBLOCK) != 0) {
        http->open_status = eei_fail_errno(&http->open_error, EE_E_IO, errno, "cannot use the socket");
        if (http->placeholder >= 0) (void)close(http->placeholder);
        drop_given(http);
        return CURL_SOCKET_BAD;
    }
    http->sockets++;
    return http->placeholder;
}

static int on_socket(void *user, curl_socket_t fd, curlsocktype purpose) {
    (void)user;
    (void)fd;
    (void)purpose;
    return CURL_SOCKOPT_ALREADY_CONNECTED;
}

/* A kept connection may turn out to have ended: then curl sends the body again on a new one, if its beginning is still here. 7.88 asks for
 * that with no more than the next on_before_request(), later ones through on_seek(). */
static bool rewind_upload(uploading *up) {
    if (up->dropped) return false;
    up->at = 0;
    return true;
}

static int on_before_request(void *user, char *remote_ip, char *local_ip, int remote_port, int local_port) {
    eei_http *http = user;
    (void)remote_ip;
    (void)local_ip;
    (void)remote_port;
    (void)local_port;
    if (!rewind_upload(&http->upload)) {
        http->open_status = eei_fail(&http->open_error, EE_E_CONNECT, "the connection ended while the body was being sent");
        return CURL_PREREQFUNC_ABORT;
    }
    if (http->given < 0) return CURL_PREREQFUNC_OK; /* a kept connection */
    bool ok = dup3(http->given, http->placeholder, O_CLOEXEC) >= 0;
    drop_given(http);
    return ok ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static int on_close(void *user, curl_socket_t fd) {
    eei_http *http = user;
    if (fd == http->placeholder) drop_given(http);
    http->sockets--;
    return close(fd);
}

static ee_status add_header(eei_http_response *r, const char *line, size_t len) {
    const char *colon = memchr(line, ':', len), *end = line + len;
    if (!colon || r->header_count == HEADERS_MAX) return colon ? EE_E_LIMIT : EE_OK;
    const char *value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t')) value++;
    while (end > value && (unsigned char)end[-1] <= ' ') end--;
    if (r->header_count % 16 == 0) {
        eei_http_header *more = eei_realloc(r->headers, (r->header_count + 16) * sizeof *more);
        if (!more) return EE_E_NOMEM;
        r->headers = more;
    }
    eei_http_header header = {eei_strndup(line, (size_t)(colon - line)), eei_strndup(value, (size_t)(end - value))};
    if (!header.name || !header.value) {
        eei_free(header.name);
        eei_free(header.value);
        return EE_E_NOMEM;
    }
    r->headers[r->header_count++] = header;
    return EE_OK;
}

static void drop_headers(eei_http_response *r) {
    for (size_t i = 0; i < r->header_count; i++) {
        eei_free(r->headers[i].name);
        eei_free(r->headers[i].value);
    }
    r->header_count = 0;
}

static size_t on_header(char *line, size_t size, size_t count, void *user) {
    eei_http *http = user;
    size_t len = size * count;
    long status = 0;
    if (!http->response || http->headers_done) return len; /* trailers */
    http->header_bytes += len;
    if (http->header_bytes > HEADER_BYTES_MAX) {
        http->over = true;
        return 0;
    }
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        drop_headers(http->response); /* of an interim answer before */
        return len;
    }
    if (len > 2) {
        ee_status st = add_header(http->response, line, len);
        http->over = http->over || st == EE_E_LIMIT;
        return st ? 0 : len;
    }
    (void)curl_easy_getinfo(http->curl.easy, CURLINFO_RESPONSE_CODE, &status);
    http->response->status = (int)status;
    http->headers_done = status >= 200 || status == 101;
    return len;
}

static size_t on_body(char *data, size_t size, size_t count, void *user) {
    eei_http *http = user;
    size_t len = size * count;
    if (http->stream && http->body.len >= STREAM_HIGH) {
        http->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (eei_buf_append(&http->body, data, len) == EE_OK) return len;
    http->over = http->body.len + len > http->body.max;
    return 0;
}

static size_t on_read(char *out, size_t size, size_t count, void *user) {
    uploading *up = &((eei_http *)user)->upload;
    size_t room = size * count, n = up->bytes.len - up->at;
    if (n > room) n = room;
    if (n == 0 && !up->ended) {
        up->paused = true;
        return CURL_READFUNC_PAUSE;
    }
    if (n) memcpy(out, up->bytes.data + up->at, n);
    up->at += n;
    return n;
}

static int on_seek(void *user, curl_off_t offset, int origin) {
    return offset == 0 && origin == SEEK_SET && rewind_upload(&((eei_http *)user)->upload) ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

/* ---- life ------------------------------------------------------------------------------------------------------------ */

static ee_status set_options(eei_http *http, ee_error *err) {
    CURL *e = http->curl.easy;
    /* Every host is 127.0.0.1 as far as curl knows: the name is for the Host header, no resolver is asked about it. */
    http->connect_to = curl_slist_append(NULL, "::127.0.0.1:");
    if (!http->connect_to) return eei_nomem(err);
    CURLcode bad = curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_MAXLIFETIME_CONN, (long)EEI_CONNECTION_LIFE_S);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_PROXY, "");
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_CONNECT_TO, http->connect_to);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, http);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_socket);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_before_request);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_PREREQDATA, http);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, http);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_WRITEDATA, http);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_HEADERDATA, http);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_READDATA, http);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_SEEKDATA, http);
    return bad ? eei_fail(err, EE_E_INTERNAL, "libcurl: %s", curl_easy_strerror(bad)) : EE_OK;
}

ee_status eei_http_new(const char *base_url, eei_http_open_fn open, void *user, eei_http **out, ee_error *err) {
    *out = NULL;
    if (strncmp(base_url, "http://", 7) != 0) return eei_fail(err, EE_E_INVALID, "the base URL must start with http://");
    eei_http *http = eei_calloc(1, sizeof *http);
    if (!http) return eei_nomem(err);
    http->open = open;
    http->given = http->placeholder = -1;
    http->user = user;
    http->base = eei_strdup(base_url);
    ee_status st = http->base ? eei_curl_open(&http->curl, err) : eei_nomem(err);
    if (!st) st = set_options(http, err);
    if (st)
        eei_http_free(http);
    else
        *out = http;
    return st;
}

void eei_http_free(eei_http *http) {
    if (!http) return;
    eei_curl_close(&http->curl);
    drop_given(http);
    curl_slist_free_all(http->connect_to);
    eei_buf_clear(&http->body);
    eei_buf_clear(&http->upload.bytes);
    eei_free(http->base);
    eei_free(http);
}

void eei_http_response_clear(eei_http_response *response) {
    drop_headers(response);
    eei_free(response->headers);
    eei_buf_clear(&response->body);
    *response = (eei_http_response){0};
}

bool eei_http_reusable(const eei_http *http) { return !http->curl.running && http->curl.result == CURLE_OK && http->sockets > 0; }

/* ---- requests -------------------------------------------------------------------------------------------------------- */

/* Why the transfer that is over failed, or EE_OK. */
static ee_status outcome(eei_http *http, const char *what, ee_error *err) {
    if (http->open_status) {
        if (err) *err = http->open_error;
        return http->open_status;
    }
    if (http->over) return eei_fail(err, EE_E_LIMIT, "%s: the answer is over %zu bytes", what, http->body.max);
    return eei_curl_fail(&http->curl, what, err);
}

static void reset(eei_http *http, const eei_http_request *request, eei_http_response *out) {
    eei_curl_stop(&http->curl);
    eei_buf_clear(&http->body);
    eei_buf_clear(&http->upload.bytes);
    size_t most = request->body_max ? request->body_max : EEI_RESPONSE_BODY_MAX;
    http->body = (eei_buf)EEI_BUF_INIT(request->stream ? STREAM_HIGH + CURL_MAX_WRITE_SIZE : most);
    http->upload = (uploading){.bytes = EEI_BUF_INIT(UPLOAD_HIGH), .announced = request->upload_bytes};
    http->open_status = EE_OK;
    http->header_bytes = 0;
    http->headers_done = http->paused = http->over = false;
    http->stream = request->stream;
    http->response = out;
    http->timeout_ms = request->timeout_ms ? request->timeout_ms : TIMEOUT_MS;
    http->cancel = request->cancel;
    (void)snprintf(http->what, sizeof http->what, "%s %.100s", request->method, request->path);
    *out = (eei_http_response){0};
}

/* Anew whenever bytes of a body moved. */
static void extend(eei_http *http) { http->deadline_ms = eei_mono_ms() + http->timeout_ms; }

/* The running request failed: nothing of it is left. */
static ee_status give_up(eei_http *http, ee_status st, ee_error *err) {
    eei_curl_stop(&http->curl);
    if (http->response) eei_http_response_clear(http->response);
    http->response = NULL;
    http->cancel = NULL;
    return st == EE_E_TIMEOUT ? eei_fail(err, st, "%s: no answer in time", http->what) : st;
}

/* To the answer: its headers when it is streamed, else its end. */
static ee_status await_answer(eei_http *http, ee_error *err) {
    ee_status st = EE_OK;
    bool streams = false;
    size_t seen = http->upload.at;
    extend(http);
    while (!st && http->curl.running && !streams) {
        st = eei_curl_work(&http->curl, err);
        streams = http->stream && http->headers_done; /* what comes later is eei_http_read()'s to tell */
        if (http->upload.at != seen) extend(http);
        seen = http->upload.at;
        if (!st && http->curl.running && !streams) st = eei_curl_wait(&http->curl, http->deadline_ms, http->cancel, err);
    }
    if (!st && !http->curl.running && !streams) st = outcome(http, http->what, err);
    if (st) return give_up(http, st, err);
    if (!http->stream) {
        http->response->body = http->body;
        http->body = (eei_buf)EEI_BUF_INIT(0);
        http->cancel = NULL;
    }
    http->response = NULL;
    return EE_OK;
}

ee_status eei_http_call(eei_http *http, const eei_http_request *request, eei_http_response *out, ee_error *err) {
    reset(http, request, out);
    ee_status st = eei_curl_request(&http->curl, http->base, request->method, request->path, request->headers, NULL, request->body, err);
    if (!st) st = eei_cancel_check(request->cancel, err);
    if (!st) st = eei_curl_start(&http->curl, err);
    return st ? give_up(http, st, err) : await_answer(http, err);
}

/* ---- bodies that are written ----------------------------------------------------------------------------------------- */

ee_status eei_http_open(eei_http *http, const eei_http_request *request, eei_http_response *out, ee_error *err) {
    reset(http, request, out);
    ee_status st = eei_curl_upload(&http->curl, http->base, request->method, request->path, request->headers, request->upload_bytes, err);
    if (!st) st = eei_cancel_check(request->cancel, err);
    if (!st) st = eei_curl_start(&http->curl, err);
    return st ? give_up(http, st, err) : EE_OK;
}

static void resume_upload(eei_http *http) {
    if (!http->upload.paused) return;
    http->upload.paused = false;
    (void)curl_easy_pause(http->curl.easy, http->paused ? CURLPAUSE_RECV : CURLPAUSE_CONT);
}

/* As much of bytes as there is room for; what curl has is dropped only when its place is needed. */
static ee_status take_piece(uploading *up, ee_span *bytes, ee_error *err) {
    size_t room = up->bytes.max - up->bytes.len;
    if (room < bytes->len && up->at) {
        eei_buf_consume(&up->bytes, up->at);
        up->at = 0;
        up->dropped = true;
        room = up->bytes.max - up->bytes.len;
    }
    size_t n = bytes->len < room ? bytes->len : room;
    if (n && eei_buf_append(&up->bytes, bytes->data, n)) return eei_nomem(err);
    *bytes = eei_span(bytes->data + n, bytes->len - n);
    return EE_OK;
}

/* The answer is there and says no, or is over: curl sends no more of the body then. */
static bool unwanted(const eei_http *http) { return !http->curl.running || (http->headers_done && http->response->status >= 300); }

ee_status eei_http_write(eei_http *http, ee_span bytes, ee_error *err) {
    uploading *up = &http->upload;
    ee_status st = EE_OK;
    if (!http->response) return eei_fail(err, EE_E_STATE, "no request is open");
    if (up->announced && bytes.len > up->announced - up->wanted) {
        st = eei_fail(err, EE_E_INVALID, "the body has more than the %llu bytes that were announced", (unsigned long long)up->announced);
        return give_up(http, st, err);
    }
    up->wanted += bytes.len;
    extend(http);
    while (!st && bytes.len) {
        if (!http->curl.running) st = outcome(http, http->what, err);
        if (st) break;
        if (unwanted(http)) return eei_fail(err, EE_E_END, "%s: the answer came before the end of the body", http->what);
        size_t left = bytes.len;
        st = take_piece(up, &bytes, err);
        if (bytes.len != left) extend(http);
        resume_upload(http);
        if (!st) st = eei_curl_work(&http->curl, err);
        if (!st && bytes.len && http->curl.running && up->at == 0) st = eei_curl_wait(&http->curl, http->deadline_ms, http->cancel, err);
    }
    return st ? give_up(http, st, err) : EE_OK;
}

ee_status eei_http_finish(eei_http *http, ee_error *err) {
    uploading *up = &http->upload;
    if (!http->response) return eei_fail(err, EE_E_STATE, "no request is open");
    if (up->wanted < up->announced && !unwanted(http)) {
        ee_status st = eei_fail(err, EE_E_INVALID, "the body has %llu of the %llu bytes that were announced",
                                (unsigned long long)up->wanted, (unsigned long long)up->announced);
        return give_up(http, st, err);
    }
    up->ended = true;
    resume_upload(http);
    return await_answer(http, err);
}

static ee_status hand_over(eei_http *http, eei_buf *out, ee_error *err) {
    size_t n = http->body.len < out->max - out->len ? http->body.len : out->max - out->len;
    if (n == 0) return eei_fail(err, EE_E_LIMIT, "no room for more of the body");
    if (eei_buf_append(out, http->body.data, n)) return eei_nomem(err);
    eei_buf_consume(&http->body, n);
    if (http->paused && http->body.len < STREAM_HIGH / 2) {
        http->paused = false;
        (void)curl_easy_pause(http->curl.easy, CURLPAUSE_CONT); /* may call on_body(): after the hand-over */
    }
    return EE_OK;
}

ee_status eei_http_read(eei_http *http, int64_t timeout_ms, eei_buf *out, ee_error *err) {
    uint64_t deadline_ms = timeout_ms < 0 ? UINT64_MAX : eei_mono_ms() + (uint64_t)timeout_ms;
    while (http->body.len == 0) {
        ee_status st = EE_OK;
        if (!http->curl.running) {
            st = outcome(http, "reading the body", err);
            return st ? st : eei_fail(err, EE_E_END, "the body has ended");
        }
        st = eei_curl_work(&http->curl, err);
        if (!st && http->curl.running && http->body.len == 0) st = eei_curl_wait(&http->curl, deadline_ms, http->cancel, err);
        if (st) return st; /* a timeout leaves the transfer as it is: reading may go on */
    }
    return hand_over(http, out, err);
}
