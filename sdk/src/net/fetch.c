/* fetch.c - HTTPS calls over a pool of kept connections, each with the trust its owner asked for. An ATTESTED connection carries nothing
 * but the session challenge before its peer proved itself, and a connection that libcurl opened on its own is never used unproved.
 * Not for the tunnel (link.c). Called by client and server on threads that may block. Proto: docs/protocol.md#requests (threats K8, S6) */
#include "net/fetch.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "net/fetch_curl.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    CONNECTIONS_KEPT = 4,
    TIMEOUT_MS = 30000,
    CONNECT_TIMEOUT_MS = 10000,
    KEPT_S = 50,            /* below the listener's 60 s, so that a request seldom meets a connection that is just being closed */
    ANSWER_MAX = 65536 * 2, /* evidence as base64url in JSON */
    ATTEMPTS = 3,
};

/* What a connection proved. Hangs on its SSL object, so that it lives and dies with that very connection. */
typedef struct proof {
    atomic_int refs;
    bool proved;
    ee_verdict *verdict;
    uint8_t instance[32];
} proof;

typedef struct slot {
    eei_curl curl;
    eei_fetch *fetch;
    proof *proof; /* of the connection that this slot keeps */
    struct slot *next;
} slot;

struct eei_fetch {
    char *url, *ca_file;
    const char *peer;
    eei_fetch_trust trust;
    eei_judge *judge;
    uint8_t network_id[32];
    uint32_t timeout_ms, connections_max;
    pthread_mutex_t mutex; /* guards: idle, idle_count, verdict */
    slot *idle;
    uint32_t idle_count;
    ee_verdict *verdict; /* the latest */
};

/* One transfer. */
typedef struct transfer {
    slot *slot;
    eei_reply *reply;
    bool challenge; /* it is the session challenge itself */
    uint8_t nonce[32];
    uint8_t binder[32], spki[32]; /* challenge: of the connection it goes out on */
    ee_verdict *certificate;      /* challenge: of that connection's certificate */
    bool unproved;                /* stopped before anything was sent: the connection is not the one that was proved */
    bool over;                    /* answer over its limit */
    const char *keep;             /* header to keep; nullable */
    size_t head_bytes;            /* of all headers so far */
    uint32_t timeout_ms;          /* 0: the fetch's */
    ee_status hook_status;        /* why the hook stopped it */
    ee_error hook_error;
} transfer;

/* ---- proofs on SSL objects ------------------------------------------------------------------------------------------- */

static int proof_index = -1;
static pthread_once_t proof_once = PTHREAD_ONCE_INIT;

static void proof_drop(proof *p) {
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1) return;
    ee_verdict_free(p->verdict);
    eei_free(p);
}

static void on_ssl_freed(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl, void *argp) {
    (void)parent;
    (void)ad;
    (void)index;
    (void)argl;
    (void)argp;
    proof_drop(ptr);
}

static void make_proof_index(void) { proof_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_ssl_freed); }

/* A fresh, unproved proof on this connection; the slot shares it. */
static ee_status proof_attach(slot *s, SSL *ssl, ee_error *err) {
    proof *p = eei_calloc(1, sizeof *p);
    if (!p) return eei_nomem(err);
    atomic_init(&p->refs, 2);
    proof *old = SSL_get_ex_data(ssl, proof_index);
    if (SSL_set_ex_data(ssl, proof_index, p) != 1) {
        eei_free(p);
        return eei_nomem(err);
    }
    proof_drop(old);
    proof_drop(s->proof);
    s->proof = p;
    return EE_OK;
}

static SSL *transfer_ssl(const transfer *t) {
    struct curl_tlssessioninfo *info = NULL;
    if (curl_easy_getinfo(t->slot->curl.easy, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK || !info || info->backend != CURLSSLBACKEND_OPENSSL)
        return NULL;
    return info->internals;
}

/* ---- curl's hooks ---------------------------------------------------------------------------------------------------- */

/* The challenge is about to leave on a connection: its certificate is judged first (threat K8), its exporter is noted (threat S6). */
static ee_status before_challenge(transfer *t, SSL *ssl, ee_error *err) {
    eei_fetch *fetch = t->slot->fetch;
    X509 *certificate = SSL_get1_peer_certificate(ssl);
    eei_expect expect = {.role = EEI_ROLE_CONTROL, .node_id = fetch->network_id, .node_name = "control plane"};
    ee_status st = EE_OK;
    ee_verdict_free(eei_take(&t->certificate));
    if (SSL_version(ssl) != TLS1_3_VERSION || SSL_session_reused(ssl))
        st = eei_fail(err, EE_E_ATTESTATION, "the connection is not a fresh TLS 1.3 one");
    if (!st && !certificate) st = eei_fail(err, EE_E_ATTESTATION, "the peer sent no certificate");
    if (!st) st = eei_judge_certificate(fetch->judge, certificate, NULL, &expect, &t->certificate, err);
    if (!st) st = eei_certificate_spki_sha256(certificate, t->spki, err);
    if (!st) st = eei_tls_binder(ssl, t->nonce, t->binder, err);
    if (!st) st = proof_attach(t->slot, ssl, err);
    X509_free(certificate);
    return st;
}

/* Connected, nothing of this request sent yet. Called again when curl retries on another connection. */
static int on_before_request(void *user, char *remote_ip, char *local_ip, int remote_port, int local_port) {
    transfer *t = user;
    (void)remote_ip;
    (void)local_ip;
    (void)remote_port;
    (void)local_port;
    if (t->slot->fetch->trust == EEI_FETCH_ATTESTED) {
        SSL *ssl = transfer_ssl(t);
        if (!ssl) {
            t->hook_status = eei_fail(&t->hook_error, EE_E_INTERNAL, "libcurl is not built with OpenSSL");
        } else if (t->challenge) {
            t->hook_status = before_challenge(t, ssl, &t->hook_error);
        } else {
            const proof *p = SSL_get_ex_data(ssl, proof_index);
            t->unproved = !p || !p->proved || p != t->slot->proof;
        }
        if (t->hook_status || t->unproved) return CURL_PREREQFUNC_ABORT;
    }
    if (!t->challenge) t->reply->sent = true;
    return CURL_PREREQFUNC_OK;
}

static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *user) {
    SSL_CTX *ctx = ssl_ctx;
    (void)easy;
    (void)user;
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 ? CURLE_OK : CURLE_SSL_CONNECT_ERROR;
}

static size_t on_body(char *data, size_t size, size_t count, void *user) {
    transfer *t = user;
    if (eei_buf_append(&t->reply->body, data, size * count) == EE_OK) return size * count;
    t->over = t->reply->body.len + size * count > t->reply->body.max;
    return 0;
}

static ee_span trimmed(const char *value, const char *end) {
    while (value < end && (*value == ' ' || *value == '\t')) value++;
    while (end > value && (unsigned char)end[-1] <= ' ') end--;
    return eei_span(value, (size_t)(end - value));
}

static bool is_field(const char *line, size_t len, const char *name, char *out, size_t cap) {
    size_t n = strlen(name);
    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0) return false;
    ee_span value = trimmed(line + n + 1, line + len);
    size_t fits = value.len < cap ? value.len : cap - 1;
    memcpy(out, value.data, fits);
    out[fits] = '\0';
    return true;
}

/* The header that the caller wants whole. False when there is no room for it. */
static bool keep_header(transfer *t, const char *line, size_t len) {
    size_t n = t->keep ? strlen(t->keep) : 0;
    if (!n || len <= n || line[n] != ':' || strncasecmp(line, t->keep, n) != 0) return true;
    ee_span value = trimmed(line + n + 1, line + len);
    t->reply->kept_count++;
    eei_buf_reset(&t->reply->kept);
    return eei_buf_append_span(&t->reply->kept, value) == EE_OK;
}

static size_t on_header(char *line, size_t size, size_t count, void *user) {
    transfer *t = user;
    eei_reply *r = t->reply;
    char wait[16];
    size_t len = size * count;
    t->head_bytes += len;
    if (t->head_bytes > EEI_REPLY_HEAD_MAX || !keep_header(t, line, len)) return 0;
    if (is_field(line, len, "location", r->location, sizeof r->location)) return len;
    if (is_field(line, len, "content-type", r->content_type, sizeof r->content_type)) return len;
    if (is_field(line, len, "ee-request-id", r->request_id, sizeof r->request_id)) return len;
    if (is_field(line, len, "docker-content-digest", r->digest, sizeof r->digest)) return len;
    if (is_field(line, len, "www-authenticate", r->www_authenticate, sizeof r->www_authenticate)) return len;
    if (is_field(line, len, "retry-after", wait, sizeof wait)) {
        uint64_t seconds = 0;
        for (const char *p = wait; *p >= '0' && *p <= '9' && seconds < 86400; p++) seconds = seconds * 10 + (uint64_t)(*p - '0');
        r->retry_after_ms = (uint32_t)(seconds < 86400 ? seconds : 86400) * 1000;
    }
    return len;
}

/* LOOPBACK means it: a name that resolves elsewhere is not connected to. */
static curl_socket_t on_open_loopback(void *user, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)user;
    (void)purpose;
    bool ours = false;
    if (address->family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, &address->addr, sizeof v4);
        ours = ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    } else if (address->family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, &address->addr, sizeof v6 < address->addrlen ? sizeof v6 : address->addrlen);
        ours = address->addrlen >= sizeof v6 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
    }
    return ours ? socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol) : CURL_SOCKET_BAD;
}

/* ---- slots ----------------------------------------------------------------------------------------------------------- */

static ee_status set_options(slot *s, ee_error *err) {
    CURL *e = s->curl.easy;
    bool attested = s->fetch->trust == EEI_FETCH_ATTESTED, web = s->fetch->trust == EEI_FETCH_WEB_PKI;
    bool loopback = s->fetch->trust == EEI_FETCH_LOOPBACK;
    CURLcode bad = curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    if (!bad)
        bad = curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR,
                               loopback                                 ? "http"
                               : s->fetch->trust == EEI_FETCH_UNTRUSTED ? "http,https"
                                                                        : "https");
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)KEPT_S);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_MAXLIFETIME_CONN, (long)EEI_CONNECTION_LIFE_S);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)(attested ? CURL_SSLVERSION_TLSv1_3 : CURL_SSLVERSION_TLSv1_2));
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, web ? 1L : 0L);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, web ? 2L : 0L);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_before_request);
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's head is none of the answer */
    if (!bad) bad = curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    if (!bad && s->fetch->ca_file) bad = curl_easy_setopt(e, CURLOPT_CAINFO, s->fetch->ca_file);
    if (!bad && s->fetch->ca_file) bad = curl_easy_setopt(e, CURLOPT_CAPATH, NULL); /* instead of the system's, not beside them */
    if (!bad && !web) bad = curl_easy_setopt(e, CURLOPT_PROXY, "");
    if (!bad && loopback) bad = curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_loopback);
    if (!bad && attested) bad = curl_easy_setopt(e, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    if (!bad && attested) bad = curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
    return bad ? eei_fail(err, EE_E_INTERNAL, "libcurl: %s", curl_easy_strerror(bad)) : EE_OK;
}

static void slot_free(slot *s) {
    if (!s) return;
    eei_curl_close(&s->curl);
    proof_drop(s->proof);
    eei_free(s);
}

static ee_status slot_take(eei_fetch *fetch, slot **out, ee_error *err) {
    pthread_mutex_lock(&fetch->mutex);
    slot *s = fetch->idle;
    if (s) {
        fetch->idle = s->next;
        fetch->idle_count--;
    }
    pthread_mutex_unlock(&fetch->mutex);
    *out = s;
    if (s) return EE_OK;
    s = eei_calloc(1, sizeof *s);
    if (!s) return eei_nomem(err);
    s->fetch = fetch;
    ee_status st = eei_curl_open(&s->curl, err);
    if (!st) st = set_options(s, err);
    if (st)
        slot_free(s);
    else
        *out = s;
    return st;
}

static void slot_give(slot *s) {
    eei_fetch *fetch = s->fetch;
    pthread_mutex_lock(&fetch->mutex);
    if (fetch->idle_count < fetch->connections_max) {
        s->next = fetch->idle;
        fetch->idle = s;
        fetch->idle_count++;
        s = NULL;
    }
    pthread_mutex_unlock(&fetch->mutex);
    slot_free(s);
}

/* ---- transfers ------------------------------------------------------------------------------------------------------- */

/* libcurl has a maximum for a single line, which it reports as if memory had run out. */
static bool head_too_large(const transfer *t) {
    return t->head_bytes > EEI_REPLY_HEAD_MAX || (t->slot->curl.result == CURLE_OUT_OF_MEMORY && t->reply->sent && !t->reply->body.len);
}

static ee_status run(transfer *t, const char *method, const char *path, const char *const *headers, const char *lines, ee_span body,
                     uint64_t deadline_ms, const ee_cancel *cancel, ee_error *err) {
    eei_curl *c = &t->slot->curl;
    const eei_fetch *fetch = t->slot->fetch;
    long status = 0;
    ee_status st = eei_curl_request(c, t->slot->fetch->url, method, path, headers, lines, body, err);
    if (st) return st;
    (void)curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, t); /* pointers: cannot fail */
    (void)curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(c->easy, CURLOPT_PREREQDATA, t);
    st = eei_curl_run(c, deadline_ms, cancel, err);
    if (st) {
        if (st == EE_E_TIMEOUT)
            st = eei_fail(err, st, "%s at %s gave no answer to %s %s in time (%u ms)", fetch->peer, fetch->url, method, path,
                          t->timeout_ms ? t->timeout_ms : fetch->timeout_ms);
        return st;
    }
    if (t->hook_status) {
        if (err) *err = t->hook_error;
        return t->hook_status;
    }
    if (t->unproved) return eei_fail(err, EE_E_CONNECT, "%s at %s: the connection was replaced", fetch->peer, fetch->url);
    if (t->over)
        return eei_fail(err, EE_E_LIMIT, "%s at %s: the answer to %s %s is over %zu bytes", fetch->peer, fetch->url, method, path,
                        t->reply->body.max);
    if (head_too_large(t))
        return eei_fail(err, EE_E_LIMIT, "%s at %s: the head of the answer to %s %s is over %u bytes", fetch->peer, fetch->url, method,
                        path, EEI_REPLY_HEAD_MAX);
    if (c->result != CURLE_OK) {
        char what[320];
        if (eei_curl_unreached(c))
            (void)snprintf(what, sizeof what, "%s at %.160s cannot be reached", fetch->peer, fetch->url);
        else
            (void)snprintf(what, sizeof what, "%s at %.160s gave no answer to %s %.90s", fetch->peer, fetch->url, method, path);
        return eei_curl_fail(c, what, err);
    }
    (void)curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    t->reply->status = (int)status;
    return EE_OK;
}

/* {"evidence": base64url} -> a verdict over the certificate's and the session's checks. */
static ee_status judge_answer(transfer *t, ee_verdict **out, ee_error *err) {
    eei_fetch *fetch = t->slot->fetch;
    eei_buf evidence = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    json_t *answer = NULL;
    const char *text = NULL;
    *out = NULL;
    if (t->reply->status != 200)
        return eei_fail(err, t->reply->status >= 500 ? EE_E_CONNECT : EE_E_ATTESTATION, "POST /v1/attest was answered with HTTP %d",
                        t->reply->status);
    eei_expect expect = {.purpose = EEI_PURPOSE_CHALLENGE,
                         .role = EEI_ROLE_CONTROL,
                         .nonce = t->nonce,
                         .binder = t->binder,
                         .spki_sha256 = t->spki,
                         .node_id = fetch->network_id,
                         .node_name = "control plane",
                         .no_app = true};
    ee_status st = eei_json_parse(eei_buf_span(&t->reply->body), ANSWER_MAX, &answer, err);
    if (!st) st = eei_json_string(answer, "evidence", &text, err);
    if (!st) st = eei_base64url_decode(text, &evidence, err);
    if (!st) st = eei_judge_session(fetch->judge, eei_buf_span(&evidence), t->certificate, &expect, out, err);
    json_decref(answer);
    eei_buf_clear(&evidence);
    return st;
}

static void remember(eei_fetch *fetch, const ee_verdict *verdict) {
    pthread_mutex_lock(&fetch->mutex);
    ee_verdict *old = fetch->verdict;
    fetch->verdict = ee_verdict_ref(verdict);
    pthread_mutex_unlock(&fetch->mutex);
    ee_verdict_free(old);
}

/* The session challenge: makes this slot's connection a proved one. */
static ee_status prove(slot *s, uint64_t deadline_ms, const ee_cancel *cancel, ee_error *err) {
    static const uint8_t no_root[32], no_session[16];
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    uint8_t r[32];
    eei_reply reply = {.body = EEI_BUF_INIT(ANSWER_MAX)};
    eei_buf body = EEI_BUF_INIT(256);
    transfer t = {.slot = s, .reply = &reply, .challenge = true};
    ee_verdict *verdict = NULL;
    ee_status st = eei_random(r, sizeof r, err);
    if (st) return st;
    eei_nonce_derive(no_root, 0, r, no_session, t.nonce);
    if (eei_buf_append_text(&body, "{\"r\":\"") || eei_base64url_encode(eei_span(r, sizeof r), &body) || eei_buf_append_text(&body, "\"}"))
        st = eei_nomem(err);
    if (!st) st = run(&t, "POST", "/v1/attest", headers, NULL, eei_buf_span(&body), deadline_ms, cancel, err);
    if (!st) st = judge_answer(&t, &verdict, err);
    if (!st) {
        eei_instance_id(eei_verdict_statement(verdict)->instance_pub, s->proof->instance);
        remember(s->fetch, verdict);
        s->proof->verdict = eei_take(&verdict);
        s->proof->proved = true;
    } else if (s->proof) {
        s->proof->proved = false;
    }
    ee_verdict_free(verdict);
    ee_verdict_free(t.certificate);
    eei_buf_clear(&reply.body);
    eei_buf_clear(&body);
    return st;
}

static void reply_reset(eei_reply *reply, size_t max) {
    eei_buf body = reply->body;
    if (body.max == 0) body = (eei_buf)EEI_BUF_INIT(max ? max : EEI_JSON_BYTES_MAX);
    if (max && max < body.max) body.max = max;
    eei_buf_reset(&body);
    eei_buf kept = reply->kept;
    kept.max = EEI_REPLY_HEAD_MAX;
    eei_buf_reset(&kept);
    *reply = (eei_reply){.body = body, .kept = kept};
}

void eei_reply_clear(eei_reply *reply) {
    eei_buf_clear(&reply->body);
    eei_buf_clear(&reply->kept);
}

/* One try. *again: nothing was sent, for the kept connection had gone. */
static ee_status attempt(slot *s, const eei_request *request, eei_reply *reply, uint64_t deadline_ms, bool *again, ee_error *err) {
    bool attested = s->fetch->trust == EEI_FETCH_ATTESTED;
    transfer t = {.slot = s, .reply = reply, .keep = request->keep, .timeout_ms = request->timeout_ms};
    eei_buf lines = EEI_BUF_INIT_SECRET(8192); /* the owner's token may be among them */
    ee_status st = EE_OK;
    *again = false;
    reply_reset(reply, request->response_max);
    if (attested && !(s->proof && s->proof->proved)) st = prove(s, deadline_ms, request->cancel, err);
    if (!st && attested && request->sign) st = request->sign(request->user, s->proof->instance, &lines, err);
    const char *text = NULL;
    if (!st && lines.len) text = eei_buf_cstr(&lines);
    if (!st && lines.len && !text) st = eei_nomem(err);
    if (!st) {
        st = run(&t, request->method, request->path, request->headers, text, request->body, deadline_ms, request->cancel, err);
        *again = t.unproved && !reply->sent;
        if (t.unproved) s->proof->proved = false;
    }
    eei_buf_clear(&lines);
    return st;
}

ee_status eei_fetch_call(eei_fetch *fetch, const eei_request *request, eei_reply *reply, ee_error *err) {
    slot *s = NULL;
    bool again = true;
    uint64_t deadline_ms = eei_mono_ms() + (request->timeout_ms ? request->timeout_ms : fetch->timeout_ms);
    reply_reset(reply, request->response_max);
    ee_status st = slot_take(fetch, &s, err);
    if (st) return st;
    for (int i = 0; i < ATTEMPTS && again; i++) st = attempt(s, request, reply, deadline_ms, &again, err);
    slot_give(s);
    return st;
}

ee_status eei_fetch_verdict(eei_fetch *fetch, const ee_cancel *cancel, ee_verdict **out, ee_error *err) {
    slot *s = NULL;
    *out = NULL;
    if (fetch->trust != EEI_FETCH_ATTESTED) return eei_fail(err, EE_E_STATE, "the peer is not one that attests");
    pthread_mutex_lock(&fetch->mutex);
    if (fetch->verdict) *out = ee_verdict_ref(fetch->verdict);
    pthread_mutex_unlock(&fetch->mutex);
    if (*out) return EE_OK;
    ee_status st = slot_take(fetch, &s, err);
    if (st) return st;
    if (!(s->proof && s->proof->proved)) st = prove(s, eei_mono_ms() + fetch->timeout_ms, cancel, err);
    if (!st) *out = ee_verdict_ref(s->proof->verdict);
    slot_give(s);
    return st;
}

/* ---- life ------------------------------------------------------------------------------------------------------------ */

ee_status eei_fetch_new(const eei_fetch_options *options, eei_fetch **out, ee_error *err) {
    *out = NULL;
    if (!options->url || !*options->url) return eei_fail(err, EE_E_INVALID, "no URL");
    if (options->trust == EEI_FETCH_ATTESTED && !options->judge) return eei_fail(err, EE_E_INVALID, "an attested peer needs a judge");
    const char *scheme = options->trust == EEI_FETCH_LOOPBACK ? "http://" : "https://";
    if (options->trust != EEI_FETCH_UNTRUSTED && strncasecmp(options->url, scheme, strlen(scheme)) != 0)
        return eei_fail(err, EE_E_INVALID, "the URL must start with %s", scheme);
    (void)pthread_once(&proof_once, make_proof_index);
    if (proof_index < 0) return eei_fail(err, EE_E_INTERNAL, "OpenSSL gave no index for connections");
    eei_fetch *fetch = eei_calloc(1, sizeof *fetch);
    if (!fetch) return eei_nomem(err);
    fetch->url = eei_strdup(options->url);
    if (options->ca_file) fetch->ca_file = eei_strdup(options->ca_file);
    if (!fetch->url || (options->ca_file && !fetch->ca_file)) {
        eei_free(fetch->url);
        eei_free(fetch->ca_file);
        eei_free(fetch);
        return eei_nomem(err);
    }
    fetch->trust = options->trust;
    fetch->peer = options->peer ? options->peer : "the control plane";
    if (options->judge) fetch->judge = eei_judge_ref(options->judge);
    memcpy(fetch->network_id, options->network_id, sizeof fetch->network_id);
    fetch->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
    fetch->connections_max = options->connections_max ? options->connections_max : CONNECTIONS_KEPT;
    (void)pthread_mutex_init(&fetch->mutex, NULL); /* default attributes: does not fail on Linux */
    *out = fetch;
    return EE_OK;
}

void eei_fetch_free(eei_fetch *fetch) {
    if (!fetch) return;
    while (fetch->idle) {
        slot *s = fetch->idle;
        fetch->idle = s->next;
        slot_free(s);
    }
    ee_verdict_free(fetch->verdict);
    if (fetch->judge) eei_judge_free(fetch->judge);
    (void)pthread_mutex_destroy(&fetch->mutex);
    eei_free(fetch->url);
    eei_free(fetch->ca_file);
    eei_free(fetch);
}
