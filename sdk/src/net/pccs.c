/* pccs.c - see pccs.h. Called through it. */
#include "net/pccs.h"

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "net/fetch.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    URL_BYTES_MAX = 512,
    ATTEMPTS = 3,
    PAUSE_MS = 200, /* before the second attempt at most; twice as long before the third */
    REDIRECTS_MAX = 3,
};

typedef struct site {
    char base[URL_BYTES_MAX]; /* before each path */
    eei_fetch *fetch;
} site;

#define PEER "the PCCS"

struct eei_pccs {
    site main, root; /* root.fetch NULL: the root CA CRL is asked of main, too */
    char root_path[URL_BYTES_MAX];
};

/* ---- addresses ---- */

/* "https://host:port", its length; 0 when there is none. */
static size_t origin_len(const char *url) {
    const char *host = strstr(url, "://");
    return host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : 0;
}

static bool names_loopback(const char *url) {
    const char *host = strstr(url, "://") + 3;
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t len = strlen(names[i]);
        if (!strncasecmp(host, names[i], len) && (!host[len] || strchr(":/", host[len]))) return true;
    }
    return false;
}

static ee_status wrong_url(ee_error *err, const char *url, const char *why) {
    return eei_hint(err, eei_fail(err, EE_E_CONFIG, "\"%.200s\" is no address of a PCCS: %s", url, why),
                    "write https://host:port, as in " EE_PCS_INTEL);
}

/* The connection itself is held to loopback, too, whatever the name resolves to. */
static ee_status check_url(const char *url, ee_error *err) {
    bool https = !strncasecmp(url, "https://", 8), http = !strncasecmp(url, "http://", 7);
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f) return wrong_url(err, url, "it has a character that no address has");
    if (!https && !http) return wrong_url(err, url, "it must start with https://");
    if (http && !names_loopback(url)) return wrong_url(err, url, "plain http is for this machine only (127.0.0.1, [::1], localhost)");
    if (origin_len(url) == (https ? 8u : 7u)) return wrong_url(err, url, "it names no host");
    if (strpbrk(url, "?#@")) return wrong_url(err, url, "it may have no \"?\", \"#\" or \"@\"");
    return EE_OK;
}

static bool drop_tail(char *url, const char *tail) {
    size_t len = strlen(url), n = strlen(tail);
    if (len <= n || strcasecmp(url + len - n, tail) != 0) return false;
    url[len - n] = 0;
    return true;
}

static ee_status take_url(eei_pccs *self, const char *url, ee_error *err) {
    ee_status st = check_url(url, err);
    if (st) return st;
    if (strlen(url) >= sizeof self->main.base) return wrong_url(err, url, "it is over 511 bytes");
    char *base = self->main.base;
    (void)snprintf(base, sizeof self->main.base, "%s", url);
    while (drop_tail(base, "/")) {
    }
    (void)(drop_tail(base, "/sgx/certification/v4") || drop_tail(base, "/tdx/certification/v4"));
    while (drop_tail(base, "/")) {
    }
    return EE_OK;
}

/* ---- life ---- */

static ee_status open_site(site *s, const char *ca_file, ee_error *err) {
    bool http = !strncasecmp(s->base, "http://", 7);
    eei_fetch_options options = {
        .url = s->base, .peer = PEER, .trust = http ? EEI_FETCH_LOOPBACK : EEI_FETCH_WEB_PKI, .ca_file = ca_file, .connections_max = 1};
    return eei_fetch_new(&options, &s->fetch, err);
}

static ee_status open_root(eei_pccs *self, const char *url, const char *ca_file, ee_error *err) {
    ee_status st = check_url(url, err);
    if (!st && strlen(url) >= sizeof self->root.base) st = wrong_url(err, url, "it is over 511 bytes");
    if (st) return st;
    size_t len = origin_len(url);
    (void)snprintf(self->root.base, sizeof self->root.base, "%.*s", (int)len, url);
    (void)snprintf(self->root_path, sizeof self->root_path, "%s", url[len] ? url + len : "/");
    return open_site(&self->root, ca_file, err);
}

ee_status eei_pccs_new(const eei_pccs_options *options, eei_pccs **out, ee_error *err) {
    *out = NULL;
    eei_pccs *self = eei_calloc(1, sizeof *self);
    if (!self) return eei_nomem(err);
    ee_status st = take_url(self, options->url ? options->url : EE_PCS_INTEL, err);
    const char *root = options->root_crl_url;
    if (!st && !root && !strcasecmp(self->main.base, EE_PCS_INTEL)) root = EEI_PCS_INTEL_ROOT_CRL;
    if (!st) st = open_site(&self->main, options->ca_file, err);
    if (!st && root) st = open_root(self, root, options->ca_file, err);
    if (st)
        eei_pccs_free(self);
    else
        *out = self;
    return st;
}

void eei_pccs_free(eei_pccs *self) {
    if (!self) return;
    eei_fetch_free(self->main.fetch);
    eei_fetch_free(self->root.fetch);
    eei_free(self);
}

const char *eei_pccs_url(const eei_pccs *self) { return self->main.base; }

/* ---- one answer ---- */

typedef struct question {
    const site *site;
    eei_pcs_part part;
    char path[URL_BYTES_MAX];
    uint64_t deadline_ms;
    const ee_cancel *cancel;
} question;

static ee_status fetch_once(const question *q, eei_reply *reply, ee_error *err) {
    uint64_t now = eei_mono_ms();
    if (now >= q->deadline_ms) return eei_fail(err, EE_E_TIMEOUT, "no answer in time");
    eei_request request = {.method = "GET",
                           .path = q->path,
                           .response_max = eei_pcs_body_max(q->part),
                           .timeout_ms = (uint32_t)(q->deadline_ms - now),
                           .keep = eei_pcs_header(q->part),
                           .cancel = q->cancel};
    return eei_fetch_call(q->site->fetch, &request, reply, err);
}

static bool is_redirect(int status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

/* Only within the very same scheme, host and port: another host was not what was configured, and its answer has not the TLS that was. */
static ee_status follow(question *q, const eei_reply *reply, ee_error *err) {
    const char *base = q->site->base, *to = reply->location;
    size_t origin = origin_len(base), inner = strlen(base) - origin; /* inner: what the base has of a path, which comes before ours */
    if (!strncasecmp(to, base, origin) && to[origin] == '/') to += origin;
    bool whole = strlen(reply->location) + 1 < sizeof reply->location;
    if (!whole || to[0] != '/' || to[1] == '/' || strncmp(to, base + origin, inner) != 0 || to[inner] != '/') {
        eei_fail(err, EE_E_CONNECT, "HTTP %d sends us to \"%.160s\", another place than the one configured", reply->status,
                 reply->location);
        if (err) err->retryable = 0;
        return eei_hint(err, EE_E_CONNECT, "redirects to another place are not followed: if that is the PCCS, configure its address");
    }
    (void)snprintf(q->path, sizeof q->path, "%s", to + inner);
    return EE_OK;
}

static ee_status fetch_following(question *q, eei_reply *reply, ee_error *err) {
    for (int i = 0; i <= REDIRECTS_MAX; i++) {
        ee_status st = fetch_once(q, reply, err);
        if (st || !is_redirect(reply->status)) return st;
        st = follow(q, reply, err);
        if (st) return st;
    }
    return eei_fail(err, EE_E_CONNECT, "over %d redirects", REDIRECTS_MAX);
}

/* A PCCS has statuses of its own: 460 and 461 are "not here". */
static ee_status status_error(int status, const eei_reply *reply, ee_error *err) {
    ee_status st = status == 429                                     ? EE_E_RATE_LIMIT
                   : status == 404 || status == 460 || status == 461 ? EE_E_NOT_FOUND
                   : status == 401 || status == 403                  ? EE_E_AUTH
                                                                     : EE_E_SERVER;
    const char *hint = st == EE_E_RATE_LIMIT  ? "wait, or run a PCCS of your own"
                       : st == EE_E_NOT_FOUND ? "is the platform registered with this PCCS, and the address one of version 4 of the API?"
                       : st == EE_E_AUTH      ? "this service wants a key, which we do not send: ask a PCCS or Intel's PCS"
                                              : "look at the log of the PCCS, or try again later";
    eei_fail(err, st, "HTTP %d", status);
    if (err) {
        err->http_status = status;
        err->retry_after_ms = reply->retry_after_ms;
        if (status < 500 && st == EE_E_SERVER) err->retryable = 0;
    }
    return eei_hint(err, st, "%s", hint);
}

static ee_status attempt(question *q, eei_reply *reply, ee_error *err) {
    ee_status st = fetch_following(q, reply, err);
    if (!st && reply->status != 200) st = status_error(reply->status, reply, err);
    if (!st && reply->kept_count > 1)
        st = eei_fail(err, EE_E_MALFORMED, "%s came with the header %s %u times", eei_pcs_name(q->part), eei_pcs_header(q->part),
                      reply->kept_count);
    if (st) return st;
    eei_pcs_answer answer = {reply->content_type, eei_buf_span(&reply->kept), eei_buf_span(&reply->body)};
    return eei_pcs_answer_check(q->part, &answer, err);
}

/* What may be another the next time: the peer or the way to it. */
static bool worth_another(ee_status st, const ee_error *why, int status) {
    return (st == EE_E_CONNECT && why->retryable) || (st == EE_E_SERVER && status >= 500);
}

static ee_status ask(question *q, eei_reply *reply, ee_error *err) {
    ee_error why = {0};
    ee_status st = EE_OK;
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        uint32_t pause = 0; /* half of it is chance: many clients that one restart broke off do not come back together */
        if (i && eei_random(&pause, sizeof pause, NULL)) pause = 0;
        pause = i * (PAUSE_MS / 2 + pause % (PAUSE_MS / 2));
        if (i && eei_mono_ms() + pause >= q->deadline_ms) break;
        ee_status stopped = i ? eei_cancel_pause(q->cancel, pause, err) : EE_OK;
        if (stopped) return stopped;
        st = attempt(q, reply, &why);
        if (!st || !worth_another(st, &why, reply->status)) break;
    }
    if (st && err) *err = why;
    return st;
}

/* ---- all of it ---- */

#define HINT_NO_PCCS "this is not what version 4 of the API answers: look at what runs at that address"

/* "the PCCS at https://...: TCB info: HTTP 404". What the fetch says names the address itself. */
static ee_status tell(const question *q, ee_status st, ee_error *err) {
    char noun[URL_BYTES_MAX + 64];
    if (!st || st == EE_E_NOMEM || st == EE_E_CANCELLED) return st;
    if (!err->hint[0] && st == EE_E_TIMEOUT) st = eei_hint(err, st, "is the PCCS there, and is the way to it (firewall, proxy) open?");
    if (!err->hint[0]) st = eei_hint(err, st, HINT_NO_PCCS);
    const char *name = eei_pcs_name(q->part);
    if (!strncmp(err->message, PEER, sizeof PEER - 1)) return st;
    bool named = !strncmp(err->message, name, strlen(name));
    (void)snprintf(noun, sizeof noun, PEER " at %.200s%s%s", q->site->base, named ? "" : ": ", named ? "" : name);
    return eei_prefix(err, st, noun);
}

static ee_status ask_all(eei_pccs *self, const eei_collateral_id *id, uint64_t deadline_ms, const ee_cancel *cancel,
                         eei_reply replies[EEI_PCS_PARTS], eei_buf *json, ee_error *err) {
    eei_pcs_answer answers[EEI_PCS_PARTS];
    for (int i = 0; i < EEI_PCS_PARTS; i++) {
        question q = {&self->main, (eei_pcs_part)i, "", deadline_ms, cancel};
        eei_pcs_path(q.part, id, q.path);
        if (q.part == EEI_PCS_ROOT_CRL && self->root.fetch) {
            q.site = &self->root;
            (void)snprintf(q.path, sizeof q.path, "%s", self->root_path);
        }
        ee_status st = tell(&q, ask(&q, &replies[i], err), err);
        if (st) return st;
        answers[i] = (eei_pcs_answer){replies[i].content_type, eei_buf_span(&replies[i].kept), eei_buf_span(&replies[i].body)};
    }
    ee_status st = eei_pcs_assemble(answers, json, err);
    if (!st || st == EE_E_NOMEM) return st;
    char noun[URL_BYTES_MAX + 8];
    (void)snprintf(noun, sizeof noun, PEER " at %.200s", self->main.base);
    return eei_hint(err, eei_prefix(err, st, noun), HINT_NO_PCCS);
}

ee_status eei_pccs_get(eei_pccs *self, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel, eei_buf *json,
                       ee_error *err) {
    ee_error local = {0}; /* messages are built step by step, whether the caller wants them or not */
    eei_reply replies[EEI_PCS_PARTS];
    for (int i = 0; i < EEI_PCS_PARTS; i++) replies[i] = (eei_reply){.body = EEI_BUF_INIT(eei_pcs_body_max((eei_pcs_part)i))};
    ee_status st = ask_all(self, id, eei_mono_ms() + timeout_ms, cancel, replies, json, err ? err : &local);
    for (int i = 0; i < EEI_PCS_PARTS; i++) eei_reply_clear(&replies[i]);
    return st;
}
