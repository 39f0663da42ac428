/* prover.c - the attesting side's identity: keys of one boot, RTMR3 event log, receipts tree, certificate, and evidence over statements
 * that are built here and nowhere else (threats Q9, Q10). No network. Called by session, channel and the programs.
 * Proto: docs/protocol.md#statement */
#include "ratls/prover.h"

#include "attest/boot_log.h"
#include "attest/quote.h"
#include "attest/ticket.h"
#include "base/alloc.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "base/log.h"
#include "ratls/channel.h"
#include "ratls/ratls.h"
#include "ratls/tls_io.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define NOT_BEFORE_SLACK_S  300u /* a peer whose clock is behind */
#define SIGNED_BYTES_MAX    (EEI_STATEMENT_BYTES + EEI_ENVELOPE_OVERHEAD)
#define TREE_DEPTH_MAX      64u
#define TLS_KEY_DER_MAX     512u
#define CERTIFICATE_DER_MAX (EEI_EVIDENCE_BYTES_MAX + 2048u)
#define BOOT_LOG_MEMORY_MAX (1u << 20) /* 4,096 events */

/* Root over all receipts without keeping them: the roots of the full subtrees, largest first, as an RFC 6962 tree. */
typedef struct receipt_tree {
    uint8_t roots[TREE_DEPTH_MAX][32];
    size_t depth;
    uint64_t count;
} receipt_tree;

/* One certificate and the TLS context that shows it. */
typedef struct shown {
    SSL_CTX *ctx;
    eei_buf der;
    uint64_t renew_at_s;
} shown;

struct eei_prover {
    eei_prover_options o; /* texts and spans are not kept beyond eei_prover_new(), but for dns_name, ip_address and uri below */
    char *dns_name, *ip_address, *uri;
    eei_buf ticket;
    uint8_t node_id[32], policy_hash[32], instance_id[32], spki_sha256[32];
    eei_key *key;
    EVP_PKEY *tls_key;
    eei_buf tls_key_der;
    uint64_t start_ms;

    /* Lock order: quoting, then state. */
    pthread_mutex_t quoting; /* guards the quoter and the event log, so that a quote and the log beside it agree; held for seconds */
    eei_event *events;       /* payloads are ours */
    size_t event_count, event_cap;
    bool drained; /* a DRAIN event is in the log */
    eei_arena boot_arena;
    eei_boot_event *boot_events; /* of the boot log; in the arena */
    size_t boot_event_count;
    bool boot_compared; /* with the registers of a quote */

    pthread_mutex_t state; /* guards the rest; held for microseconds */
    uint64_t sequence;
    receipt_tree receipts;
    uint64_t events_later; /* since the boot's own: a certificate that is being made may miss the last ones */
    shown now, before;     /* before: borrowed pointers stay good for one renewal */
};

/* ---- receipts tree: RFC 6962 sect. 2.1 -------------------------------------------------------------------------------- */

static void leaf_hash(const uint8_t receipt[32], uint8_t out[32]) {
    uint8_t text[33] = {0x00};
    memcpy(text + 1, receipt, 32);
    eei_sha256(eei_span(text, sizeof text), out);
}

static void node_hash(const uint8_t left[32], const uint8_t right[32], uint8_t out[32]) {
    uint8_t text[65] = {0x01};
    memcpy(text + 1, left, 32);
    memcpy(text + 33, right, 32);
    eei_sha256(eei_span(text, sizeof text), out);
}

static void tree_add(receipt_tree *tree, const uint8_t receipt[32]) {
    uint8_t hash[32];
    uint64_t full = tree->count; /* its low ones are the subtrees that become one with the new leaf */

    leaf_hash(receipt, hash);
    for (; full & 1; full >>= 1) node_hash(tree->roots[--tree->depth], hash, hash);
    memcpy(tree->roots[tree->depth++], hash, 32);
    tree->count++;
}

static void tree_root(const receipt_tree *tree, uint8_t out[32]) {
    if (!tree->depth) {
        eei_sha256(eei_span(NULL, 0), out);
        return;
    }
    memcpy(out, tree->roots[tree->depth - 1], 32);
    for (size_t i = tree->depth - 1; i > 0; i--) node_hash(tree->roots[i - 1], out, out);
}

/* ---- events ----------------------------------------------------------------------------------------------------------- */

static ee_status events_room(eei_prover *p, ee_error *err) {
    if (p->event_count >= EEI_EVENTS_MAX)
        return eei_fail(err, EE_E_LIMIT, "event log of this boot is full (%u events): drain and restart", EEI_EVENTS_MAX);
    if (p->event_count < p->event_cap) return EE_OK;
    size_t cap = p->event_cap ? p->event_cap * 2 : 16;
    eei_event *grown = eei_realloc(p->events, cap * sizeof *grown);
    if (!grown) return eei_nomem(err);
    p->events = grown;
    p->event_cap = cap;
    return EE_OK;
}

/* Everything that can fail comes before the register is extended: an extension without its log entry would end all attestation. */
static ee_status event_add(eei_prover *p, uint16_t type, ee_span payload, ee_error *err) {
    eei_event event = {.type = type};
    uint8_t *copy = NULL;
    ee_status st = events_room(p, err);

    if (st) return st;
    if (payload.len) {
        copy = eei_memdup(payload.data, payload.len);
        if (!copy) return eei_nomem(err);
        event.payload = eei_span(copy, payload.len);
    }
    eei_event_digest(type, payload, event.digest);
    st = p->o.quoter.extend_rtmr3(p->o.quoter.user, event.digest, err);
    if (st) {
        eei_free(copy);
        return st;
    }
    p->events[p->event_count++] = event;
    return EE_OK;
}

ee_status eei_prover_event(eei_prover *p, uint16_t type, ee_span payload, ee_error *err) {
    ee_status st;

    if (type < EEI_EVENT_APP) return eei_fail(err, EE_E_INVALID, "event %u belongs to the boot and was made", type);
    pthread_mutex_lock(&p->quoting);
    if (p->drained && type != EEI_EVENT_APP_END)
        st = eei_fail(err, EE_E_STATE, "this instance drains: no event but the end of an app can follow, not %u", type);
    else
        st = event_add(p, type, payload, err);
    p->drained = p->drained || (!st && type == EEI_EVENT_DRAIN);
    pthread_mutex_unlock(&p->quoting);
    if (st) return st;
    pthread_mutex_lock(&p->state);
    p->now.renew_at_s = 0; /* its log is behind now */
    p->events_later++;
    pthread_mutex_unlock(&p->state);
    return EE_OK;
}

ee_status eei_prover_receipt(eei_prover *p, const uint8_t receipt_hash[32], ee_error *err) {
    ee_status st = EE_OK;

    pthread_mutex_lock(&p->state);
    if (p->receipts.count == UINT64_MAX) {
        st = eei_fail(err, EE_E_LIMIT, "no more receipts can be counted");
    } else {
        tree_add(&p->receipts, receipt_hash);
    }
    pthread_mutex_unlock(&p->state);
    return st;
}

/* ---- statements and evidence ------------------------------------------------------------------------------------------ */

static void statement_make(eei_prover *p, const eei_prove *what, uint8_t out[EEI_STATEMENT_BYTES]) {
    eei_statement s = {.purpose = what->purpose, .role = p->o.role, .wire_version = what->wire_version};

    s.flags = (p->o.quoter.simulated ? EEI_STATEMENT_SIM : 0) | (p->o.sealed ? EEI_STATEMENT_SEALED : 0);
    memcpy(s.nonce, what->nonce, 32);
    memcpy(s.binder, what->binder, 32);
    memcpy(s.transcript, what->transcript, 32);
    memcpy(s.instance_pub, eei_key_public(p->key), 32);
    memcpy(s.spki_sha256, p->spki_sha256, 32);
    memcpy(s.node_id, p->node_id, 32);
    memcpy(s.policy_hash, p->policy_hash, 32);
    s.uptime_ms = p->o.clock->mono_ms(p->o.clock->user) - p->start_ms;
    pthread_mutex_lock(&p->state);
    s.sequence = ++p->sequence;
    s.receipts = p->receipts.count;
    tree_root(&p->receipts, s.receipts_root);
    pthread_mutex_unlock(&p->state);
    eei_statement_encode(&s, out);
}

/* What all evidence has: a new statement, and it in an envelope by the instance key. */
static ee_status statement_signed(eei_prover *p, const eei_prove *what, uint8_t out[EEI_STATEMENT_BYTES], eei_buf *envelope,
                                  ee_error *err) {
    statement_make(p, what, out);
    return eei_envelope_seal(p->key, EEI_SIGNED_STATEMENT, eei_span(out, EEI_STATEMENT_BYTES), envelope, err);
}

/* Proto: docs/protocol.md#boot-log. Periodic quotes and strict channels go without: it does not change within a boot. */
static bool wants_boot_log(const eei_prover *p, uint8_t purpose) {
    if (purpose == EEI_PURPOSE_REGISTER || purpose == EEI_PURPOSE_CERTIFICATE) return true;
    for (size_t i = 0; i < p->boot_event_count; i++)
        if (p->boot_events[i].rtmr == 3) return true;
    return false;
}

static void drop_boot_log(eei_prover *p, const char *why) {
    eei_log(EEI_LOG_WARN, "boot_log.left_out", "events=%zu reason=%s", p->boot_event_count, why);
    p->boot_event_count = 0;
}

/* Firmware whose log was full, or a driver that extends without logging: such a log would only make verifiers refuse the machine. */
static void compare_boot_log(eei_prover *p, ee_span quote_bytes) {
    eei_boot_registers made;
    eei_quote quote;
    ee_error why = {0};
    if (p->boot_compared || !p->boot_event_count) return;
    p->boot_compared = true;
    if (eei_quote_parse(quote_bytes, &quote, &why) || eei_boot_log_replay(p->boot_events, p->boot_event_count, &made, &why))
        drop_boot_log(p, why.message);
    else if (!eei_same(made.rtmr, quote.rtmr, 3 * sizeof made.rtmr[0]))
        drop_boot_log(p, "it does not replay to RTMR0-2 of this machine");
}

static ee_status evidence_with_boot_log(eei_prover *p, const eei_evidence *bare, eei_buf *out, ee_error *err) {
    eei_evidence e = *bare;
    e.boot_events = p->boot_events;
    e.boot_event_count = p->boot_event_count;
    ee_status st = eei_evidence_encode(&e, out, err);
    /* Once the event log has grown that far, it matters more. */
    return st == EE_E_LIMIT && p->boot_event_count ? eei_evidence_encode(bare, out, err) : st;
}

ee_status eei_prover_quote(eei_prover *p, const eei_prove *what, eei_buf *out, ee_error *err) {
    uint8_t statement[EEI_STATEMENT_BYTES], report_data[EEI_REPORT_DATA_BYTES];
    eei_buf quote = EEI_BUF_INIT(EEI_QUOTE_BYTES_MAX), envelope = EEI_BUF_INIT(SIGNED_BYTES_MAX);

    ee_status st = statement_signed(p, what, statement, &envelope, err);
    eei_report_data(statement, report_data);
    pthread_mutex_lock(&p->quoting);
    if (!st) st = p->o.quoter.quote(p->o.quoter.user, report_data, &quote, err);
    if (!st) {
        const eei_evidence e = {.statement = eei_span(statement, sizeof statement),
                                .quote = eei_buf_span(&quote),
                                .events = p->events,
                                .event_count = p->event_count,
                                .ticket = eei_buf_span(&p->ticket),
                                .signature = eei_buf_span(&envelope)};
        compare_boot_log(p, eei_buf_span(&quote));
        st = wants_boot_log(p, what->purpose) ? evidence_with_boot_log(p, &e, out, err) : eei_evidence_encode(&e, out, err);
    }
    pthread_mutex_unlock(&p->quoting);
    eei_buf_clear(&envelope);
    eei_buf_clear(&quote);
    return st;
}

ee_status eei_prover_session(eei_prover *p, const eei_prove *what, eei_buf *out, ee_error *err) {
    uint8_t statement[EEI_STATEMENT_BYTES];
    eei_buf envelope = EEI_BUF_INIT(SIGNED_BYTES_MAX);

    ee_status st = statement_signed(p, what, statement, &envelope, err);
    if (!st) {
        const eei_evidence e = {.statement = eei_span(statement, sizeof statement), .signature = eei_buf_span(&envelope)};
        st = eei_evidence_encode(&e, out, err);
    }
    eei_buf_clear(&envelope);
    return st;
}

/* ---- certificate and TLS context -------------------------------------------------------------------------------------- */

static void shown_clear(shown *s) {
    SSL_CTX_free(s->ctx);
    s->ctx = NULL;
    eei_buf_clear(&s->der);
}

static ee_status certificate_make(eei_prover *p, uint64_t now_s, X509 **out, ee_error *err) {
    eei_prove what = {.purpose = EEI_PURPOSE_CERTIFICATE, .wire_version = 1};
    eei_buf evidence = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX);
    ee_status st = eei_prover_quote(p, &what, &evidence, err);

    if (!st) {
        const eei_certificate_options o = {.key = p->tls_key,
                                           .uri = p->uri,
                                           .dns_name = p->dns_name,
                                           .ip_address = p->ip_address,
                                           .evidence = eei_buf_span(&evidence),
                                           .not_before_s = now_s - NOT_BEFORE_SLACK_S,
                                           .not_after_s = now_s + EEI_CERT_LIFE_S - NOT_BEFORE_SLACK_S};
        st = eei_certificate_make(&o, out, err);
    }
    eei_buf_clear(&evidence);
    return st;
}

/* The server's own list decides, in its order; a client that offers nothing of it gets an alert. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *user) {
    static const unsigned char known[] = "\x08" EEI_ALPN_JOB "\x08" EEI_ALPN_APP "\x0b" EEI_ALPN_HEALTH "\x0b" EEI_ALPN_ATTEST;
    unsigned char *chosen = NULL;

    (void)ssl;
    (void)user;
    if (SSL_select_next_proto(&chosen, out_len, known, sizeof known - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static ee_status server_ctx_new(EVP_PKEY *key, X509 *certificate, SSL_CTX **out, ee_error *err) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    ee_status st;

    if (!ctx) return eei_tls_fail(err, EE_E_NOMEM, "context");
    st = eei_tls_harden(ctx, err);
    if (!st &&
        (SSL_CTX_use_certificate(ctx, certificate) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1))
        st = eei_tls_fail(err, EE_E_INTERNAL, "certificate and key");
    if (st) {
        SSL_CTX_free(ctx);
        return st;
    }
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
    *out = ctx;
    return EE_OK;
}

static ee_status certificate_der(X509 *certificate, eei_buf *out, ee_error *err) {
    uint8_t *der = NULL;
    int len = i2d_X509(certificate, &der);

    if (len <= 0) return eei_tls_fail(err, EE_E_INTERNAL, "certificate");
    ee_status st = eei_buf_append(out, der, (size_t)len);
    OPENSSL_free(der);
    return st ? eei_fail(err, st, "certificate of %d bytes", len) : EE_OK;
}

static ee_status shown_make(eei_prover *p, uint64_t now_s, shown *out, ee_error *err) {
    X509 *certificate = NULL;
    ee_status st = certificate_make(p, now_s, &certificate, err);

    *out = (shown){.der = EEI_BUF_INIT(CERTIFICATE_DER_MAX), .renew_at_s = now_s + EEI_CERT_RENEW_S};
    if (!st) st = certificate_der(certificate, &out->der, err);
    if (!st) st = server_ctx_new(p->tls_key, certificate, &out->ctx, err);
    if (st) shown_clear(out);
    X509_free(certificate);
    return st;
}

ee_status eei_prover_renew(eei_prover *p, ee_error *err) {
    uint64_t now_s = p->o.clock->wall_ms(p->o.clock->user) / 1000;
    shown made, gone;
    ee_status st;

    pthread_mutex_lock(&p->state);
    bool young = now_s < p->now.renew_at_s;
    uint64_t events = p->events_later;
    pthread_mutex_unlock(&p->state);
    if (young) return EE_OK;
    st = shown_make(p, now_s, &made, err);
    if (st) return st;
    pthread_mutex_lock(&p->state);
    if (events != p->events_later) made.renew_at_s = 0;
    gone = p->before;
    p->before = p->now;
    p->now = made;
    pthread_mutex_unlock(&p->state);
    shown_clear(&gone);
    return EE_OK;
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static ee_status make_keys(eei_prover *p, ee_error *err) {
    uint8_t *der = NULL;
    int len;
    ee_status st = eei_key_generate(&p->key, err);

    if (st) return st;
    eei_instance_id(eei_key_public(p->key), p->instance_id);
    p->tls_key = EVP_EC_gen("P-256");
    if (!p->tls_key) return eei_tls_fail(err, EE_E_INTERNAL, "key");
    len = i2d_PrivateKey(p->tls_key, &der);
    if (len <= 0) return eei_tls_fail(err, EE_E_INTERNAL, "key");
    st = eei_buf_append(&p->tls_key_der, der, (size_t)len);
    OPENSSL_clear_free(der, (size_t)len);
    if (st) return eei_nomem(err);
    der = NULL;
    len = i2d_PUBKEY(p->tls_key, &der);
    if (len <= 0) return eei_tls_fail(err, EE_E_INTERNAL, "key");
    eei_sha256(eei_span(der, (size_t)len), p->spki_sha256);
    OPENSSL_free(der);
    return EE_OK;
}

static ee_status make_names(eei_prover *p, const eei_prover_options *o, ee_error *err) {
    char hex[65], uri[256];

    eei_hex_encode(eei_span(p->instance_id, 32), hex);
    snprintf(uri, sizeof uri, "ee://%.*s/%s", (int)EEI_NAME_BYTES_MAX, o->node ? o->node : "", hex);
    p->uri = eei_strdup(uri);
    p->dns_name = o->dns_name ? eei_strdup(o->dns_name) : NULL;
    p->ip_address = o->ip_address ? eei_strdup(o->ip_address) : NULL;
    if (!p->uri || (o->dns_name && !p->dns_name) || (o->ip_address && !p->ip_address)) return eei_nomem(err);
    return EE_OK;
}

/* Proto: docs/protocol.md#events: once each, in this order. */
static ee_status make_boot_events(eei_prover *p, const eei_prover_options *o, ee_error *err) {
    ee_status st = event_add(p, EEI_EVENT_RELEASE, eei_span_text(o->release), err);

    if (!st) st = event_add(p, EEI_EVENT_CONFIG, o->config, err);
    if (!st) st = event_add(p, EEI_EVENT_IDENTITY, eei_span(eei_key_public(p->key), 32), err);
    if (!st) st = event_add(p, EEI_EVENT_READY, eei_span(NULL, 0), err);
    return st;
}

static ee_status take_boot_log(eei_prover *p, ee_span area, ee_error *err) {
    ee_error why = {0};
    if (!area.len) return EE_OK;
    ee_status st = eei_boot_log_compact(area, &p->boot_arena, &p->boot_events, &p->boot_event_count, &why);
    if (st == EE_E_NOMEM) return eei_nomem(err);
    if (st)
        drop_boot_log(p, why.message);
    else if (p->boot_event_count > EEI_BOOT_EVENTS_MAX)
        drop_boot_log(p, "it has more events than evidence carries");
    return EE_OK;
}

static ee_status prover_alloc(const eei_prover_options *o, eei_prover **out, ee_error *err) {
    eei_prover *p = eei_calloc(1, sizeof *p);

    if (!p) return eei_nomem(err);
    if (pthread_mutex_init(&p->quoting, NULL) != 0) {
        eei_free(p);
        return eei_nomem(err);
    }
    if (pthread_mutex_init(&p->state, NULL) != 0) {
        pthread_mutex_destroy(&p->quoting);
        eei_free(p);
        return eei_nomem(err);
    }
    p->o = *o;
    p->o.node = p->o.release = p->o.dns_name = p->o.ip_address = NULL;
    p->o.config = p->o.ticket = eei_span(NULL, 0);
    p->ticket = (eei_buf)EEI_BUF_INIT(EEI_TICKET_BYTES_MAX);
    p->o.quoter.boot_log = eei_span(NULL, 0);
    p->boot_arena = (eei_arena)EEI_ARENA_INIT(BOOT_LOG_MEMORY_MAX);
    memcpy(p->node_id, o->node_id, 32);
    memcpy(p->policy_hash, o->policy_hash, 32);
    p->tls_key_der = (eei_buf)EEI_BUF_INIT_SECRET(TLS_KEY_DER_MAX);
    p->start_ms = 0; /* the monotonic clock starts with the boot */
    *out = p;
    return EE_OK;
}

ee_status eei_prover_new(const eei_prover_options *o, eei_prover **out, ee_error *err) {
    eei_prover *p = NULL;
    ee_status st;

    *out = NULL;
    if (!o->quoter.quote || !o->quoter.extend_rtmr3 || !o->clock || !o->release)
        return eei_fail(err, EE_E_INVALID, "a prover needs a quoter, a clock and a release");
    st = prover_alloc(o, &p, err);
    if (!st && eei_buf_append_span(&p->ticket, o->ticket)) st = eei_fail(err, EE_E_LIMIT, "a boot ticket of %zu bytes", o->ticket.len);
    if (!st) st = make_keys(p, err);
    if (!st) st = make_names(p, o, err);
    if (!st) st = take_boot_log(p, o->quoter.boot_log, err);
    if (!st) st = make_boot_events(p, o, err);
    if (!st) st = shown_make(p, o->clock->wall_ms(o->clock->user) / 1000, &p->now, err);
    if (st) {
        eei_prover_free(p);
        return st;
    }
    *out = p;
    return EE_OK;
}

void eei_prover_free(eei_prover *p) {
    if (!p) return;
    shown_clear(&p->now);
    shown_clear(&p->before);
    for (size_t i = 0; i < p->event_count; i++) eei_free((void *)(uintptr_t)p->events[i].payload.data);
    eei_free(p->events);
    eei_arena_clear(&p->boot_arena);
    eei_key_free(p->key);
    EVP_PKEY_free(p->tls_key);
    eei_buf_clear(&p->tls_key_der);
    eei_buf_clear(&p->ticket);
    eei_free(p->uri);
    eei_free(p->dns_name);
    eei_free(p->ip_address);
    pthread_mutex_destroy(&p->state);
    pthread_mutex_destroy(&p->quoting);
    eei_free(p);
}

const eei_key *eei_prover_key(const eei_prover *p) { return p->key; }
const uint8_t *eei_prover_instance_id(const eei_prover *p) { return p->instance_id; }
const uint8_t *eei_prover_node_id(const eei_prover *p) { return p->node_id; }
const uint8_t *eei_prover_spki_sha256(const eei_prover *p) { return p->spki_sha256; }
ee_span eei_prover_certificate_der(const eei_prover *p) { return eei_buf_span(&p->now.der); }
ee_span eei_prover_tls_key_der(const eei_prover *p) { return eei_buf_span(&p->tls_key_der); }
SSL_CTX *eei_prover_server_ctx(const eei_prover *p) { return p->now.ctx; }

ee_status eei_prover_ssl_new(eei_prover *p, SSL **out, ee_error *err) {
    pthread_mutex_lock(&p->state);
    *out = SSL_new(p->now.ctx);
    pthread_mutex_unlock(&p->state);
    return *out ? EE_OK : eei_tls_fail(err, EE_E_NOMEM, "connection");
}
