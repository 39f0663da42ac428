/* listener.c - the lws context on the owner's uv loop: listening, TLS, limits per address, timers and pacing of writes.
 * Not for what is said on a connection (listener_exchange.c, listener_socket.c). Called by the control plane. */
#include "attest/statement.h"
#include "base/alloc.h"
#include "base/log.h"
#include "net/listener_private.h"
#include "ratls/ratls.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/socket.h>

enum { CONNECTIONS_MAX = 4096, PER_ADDRESS_MAX = 1024, HEAD_TIMEOUT_MS = 10000, IDLE_TIMEOUT_MS = 60000, NEVER_MS = 1000 * 86400 };

/* ---- connections ------------------------------------------------------------------------------------------------------ */

void eei_conn_deadline(eei_conn *conn, uint64_t ms) {
    /* lws 4.1 takes LWS_SET_TIMER_USEC_CANCEL for "at once": never is far away instead, and eei_conn_late() lets it pass. */
    lws_set_timer_usecs(conn->wsi, (lws_usec_t)(ms ? ms : NEVER_MS) * 1000);
}

void eei_conn_want_write(eei_conn *conn) { (void)lws_callback_on_writable(conn->wsi); }
void eei_conn_kill(eei_conn *conn) { lws_set_timeout(conn->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC); }

/* IPv4 as ::ffff:a.b.c.d, so that one address is one key whatever the socket's family. */
static bool peer_of(int fd, uint8_t address[16], char *text, size_t cap) {
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof peer;
    memset(address, 0, 16);
    if (cap) text[0] = '\0';
    if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0) return false;
    if (peer.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&peer;
        address[10] = address[11] = 0xff;
        memcpy(address + 12, &v4->sin_addr, 4);
    } else if (peer.ss_family == AF_INET6) {
        memcpy(address, &((const struct sockaddr_in6 *)&peer)->sin6_addr, 16);
    } else {
        return false;
    }
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    bool v4 = eei_same(address, mapped, sizeof mapped);
    if (cap) (void)inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? address + 12 : address, text, (socklen_t)cap);
    return true;
}

/* Threat B11: one address cannot take every place, and all of them together cannot take the last descriptors. */
static bool admit(const eei_listener *listener, int fd) {
    uint8_t address[16];
    size_t same = 0;
    if (listener->freed || !peer_of(fd, address, NULL, 0)) return false;
    if (listener->conn_count >= listener->options.connections_max) return false;
    for (const eei_conn *c = listener->conns; c; c = c->next) same += eei_same(c->address, address, 16);
    return same < listener->options.per_address_max;
}

static int conn_open(eei_listener *listener, struct lws *wsi) {
    eei_conn *conn = eei_calloc(1, sizeof *conn);
    if (!conn) return -1;
    conn->listener = listener;
    conn->wsi = wsi;
    conn->in = (eei_buf)EEI_BUF_INIT(EEI_HTTP_HEAD_MAX + EEI_LISTENER_RX);
    conn->out = (eei_buf)EEI_BUF_INIT((size_t)EEI_REPLY_BODY_MAX + EEI_HTTP_HEAD_MAX);
    (void)peer_of(lws_get_socket_fd(wsi), conn->address, conn->peer, sizeof conn->peer);
    conn->next = listener->conns;
    if (conn->next) conn->next->previous = conn;
    listener->conns = conn;
    listener->conn_count++;
    lws_set_opaque_user_data(wsi, conn);
    conn->head_started = true; /* TLS and the first head share one deadline (threat B1) */
    eei_conn_deadline(conn, listener->options.head_timeout_ms);
    return 0;
}

static void conn_close(eei_conn *conn) {
    eei_listener *listener = conn->listener;
    lws_set_opaque_user_data(conn->wsi, NULL);
    if (conn->previous) conn->previous->next = conn->next;
    if (conn->next) conn->next->previous = conn->previous;
    if (listener->conns == conn) listener->conns = conn->next;
    listener->conn_count--;
    eei_exchange *exchange = eei_take(&conn->exchange);
    eei_socket *socket = eei_take(&conn->socket);
    if (exchange) eei_exchange_end(exchange);
    if (socket) eei_socket_end(socket);
    eei_buf_clear(&conn->in);
    eei_buf_clear(&conn->out);
    eei_free(conn);
}

/* Send what is queued, one TLS record at a time, until lws had to keep a part back. */
static int conn_flush(eei_conn *conn) {
    while (conn->out_at < conn->out.len && !lws_partial_buffered(conn->wsi)) {
        size_t n = conn->out.len - conn->out_at;
        if (n > EEI_LISTENER_TLS_RECORD) n = EEI_LISTENER_TLS_RECORD;
        if (lws_write(conn->wsi, conn->out.data + conn->out_at, n, LWS_WRITE_RAW) < 0) return -1;
        conn->out_at += n;
    }
    if (conn->out_at < conn->out.len || lws_partial_buffered(conn->wsi)) {
        eei_conn_want_write(conn);
        return 0;
    }
    conn->out_at = conn->out_seen = 0;
    eei_buf_reset(&conn->out);
    if (conn->out.cap > EEI_LISTENER_OUT_KEEP) eei_buf_clear(&conn->out);
    return 1;
}

static int conn_writable(eei_conn *conn) {
    int flushed = conn_flush(conn);
    if (flushed <= 0) return flushed;
    if (conn->state == CONN_WS) {
        if (eei_socket_writable(conn) < 0) return -1;
        return conn->out.len ? (conn_flush(conn) < 0 ? -1 : 0) : 0;
    }
    return conn->state == CONN_REPLY ? eei_conn_sent(conn) : 0;
}

/* ---- TLS -------------------------------------------------------------------------------------------------------------- */

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *user) {
    static const unsigned char http11[] = "\x08http/1.1";
    (void)ssl;
    (void)user;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_len, http11, sizeof http11 - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* TLS 1.3 only, nothing resumable: every connection has its own exporter and its own handshake (docs/protocol.md#session). */
static ee_status tls_harden(SSL_CTX *ctx, ee_error *err) {
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 || SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
        SSL_CTX_set_max_early_data(ctx, 0) != 1)
        return eei_tls_fail(err, EE_E_INTERNAL, "server context");
    return EE_OK;
}

/* The prover renews its certificate while we run: a new connection gets the newest. */
static void tls_refresh(eei_listener *listener) {
    ee_span der = eei_prover_certificate_der(listener->options.prover);
    uint8_t hash[32];
    eei_sha256(der, hash);
    if (eei_same(hash, listener->certificate_sha256, sizeof hash)) return;
    const unsigned char *at = der.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)der.len);
    ee_span key = eei_prover_tls_key_der(listener->options.prover);
    at = key.data;
    EVP_PKEY *pkey = d2i_AutoPrivateKey(NULL, &at, (long)key.len);
    if (certificate && pkey && SSL_CTX_use_cert_and_key(listener->tls, certificate, pkey, NULL, 1) == 1) {
        memcpy(listener->certificate_sha256, hash, sizeof hash);
        eei_log(EEI_LOG_INFO, "listener.certificate", "renewed=1");
    } else {
        eei_log(EEI_LOG_ERROR, "listener.certificate", "renewed=0 the old one stays");
    }
    EVP_PKEY_free(pkey);
    X509_free(certificate);
}

/* ---- lws -------------------------------------------------------------------------------------------------------------- */

static int on_network(eei_listener *listener, int fd) {
    if (!admit(listener, fd)) return -1;
    tls_refresh(listener);
    return 0;
}

static int on_conn(eei_conn *conn, enum lws_callback_reasons reason, ee_span in) {
    switch (reason) {
    case LWS_CALLBACK_RAW_RX:
        if (!conn->handshaken) lws_set_timeout(conn->wsi, NO_PENDING_TIMEOUT, 0); /* else the handshake's own ends a raw connection later */
        conn->handshaken = true;
        return eei_conn_receive(conn, in);
    case LWS_CALLBACK_RAW_WRITEABLE: return conn_writable(conn);
    case LWS_CALLBACK_TIMER: return eei_conn_late(conn);
    case LWS_CALLBACK_RAW_CLOSE:
    case LWS_CALLBACK_WSI_DESTROY: conn_close(conn); return 0;
    default: return 0;
    }
}

static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len) {
    struct lws_context *context = wsi ? lws_get_context(wsi) : NULL;
    eei_listener *listener = context ? lws_context_user(context) : NULL;
    (void)user;
    if (!listener) return 0;
    switch (reason) {
    case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS: listener->tls = user; return 0;
    case LWS_CALLBACK_FILTER_NETWORK_CONNECTION: return on_network(listener, (int)(intptr_t)in);
    case LWS_CALLBACK_RAW_ADOPT: return conn_open(listener, wsi);
    case LWS_CALLBACK_RAW_RX:
    case LWS_CALLBACK_RAW_WRITEABLE:
    case LWS_CALLBACK_RAW_CLOSE:
    case LWS_CALLBACK_TIMER:
    case LWS_CALLBACK_WSI_DESTROY: {
        eei_conn *conn = lws_get_opaque_user_data(wsi);
        return conn ? on_conn(conn, reason, eei_span(in, len)) : 0;
    }
    default: return 0;
    }
}

static void on_lws_log(int level, const char *line) {
    size_t len = strcspn(line, "\n");
    eei_log(level & (LLL_ERR | LLL_WARN) ? EEI_LOG_WARN : EEI_LOG_DEBUG, "listener.lws", "text=%.*s", (int)len, line);
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

typedef struct handle_walk {
    eei_listener *listener;
    uv_handle_t *before[256]; /* the owner's: there when we came */
    size_t before_count;
    bool overflow, found;
} handle_walk;

static void collect_before(uv_handle_t *handle, void *arg) {
    handle_walk *walk = arg;
    if (walk->before_count == sizeof walk->before / sizeof *walk->before)
        walk->overflow = true;
    else
        walk->before[walk->before_count++] = handle;
}

static void collect_lws(uv_handle_t *handle, void *arg) {
    handle_walk *walk = arg;
    eei_listener *listener = walk->listener;
    if (handle->type != UV_TIMER && handle->type != UV_IDLE) return; /* those live as long as the context; others are freed as they close */
    for (size_t i = 0; i < walk->before_count; i++)
        if (walk->before[i] == handle) return;
    if (listener->lws_handle_count == sizeof listener->lws_handles / sizeof *listener->lws_handles)
        walk->overflow = true;
    else
        listener->lws_handles[listener->lws_handle_count++] = handle;
}

static void find_lws(uv_handle_t *handle, void *arg) {
    handle_walk *walk = arg;
    for (size_t i = 0; i < walk->listener->lws_handle_count; i++)
        if (walk->listener->lws_handles[i] == handle) walk->found = true;
}

static ee_status make_context(eei_listener *listener, ee_error *err) {
    void *loops[] = {listener->loop};
    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    info.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    info.foreign_loops = loops;
    info.pt_serv_buf_size = EEI_LISTENER_RX;
    info.timeout_secs = (listener->options.head_timeout_ms + 999) / 1000; /* of the TLS handshake */
    info.user = listener;
    handle_walk walk = {.listener = listener};
    uv_walk(listener->loop, collect_before, &walk);
    if (!walk.overflow) listener->context = lws_create_context(&info);
    if (!listener->context) return eei_fail(err, EE_E_INTERNAL, "libwebsockets did not start: is its libuv plugin installed?");
    uv_walk(listener->loop, collect_lws, &walk);
    if (walk.overflow) return eei_fail(err, EE_E_INTERNAL, "too many handles on the loop before the listener");
    return EE_OK;
}

static ee_status make_vhost(eei_listener *listener, ee_error *err) {
    static const char *const any[] = {"", "0.0.0.0", "::"};
    ee_span certificate = eei_prover_certificate_der(listener->options.prover), key = eei_prover_tls_key_der(listener->options.prover);
    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    info.options = LWS_SERVER_OPTION_ADOPT_APPLY_LISTEN_ACCEPT_CONFIG | LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND |
                   LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT; /* without it the vhost speaks plain TCP */
    info.listen_accept_role = "raw-skt";
    info.listen_accept_protocol = "ee";
    info.vhost_name = "ee";
    info.port = listener->options.port;
    info.iface = listener->bind;
    for (size_t i = 0; i < sizeof any / sizeof *any; i++)
        if (strcmp(listener->bind, any[i]) == 0) info.iface = NULL;
    if (!strchr(listener->bind, ':')) info.options |= LWS_SERVER_OPTION_DISABLE_IPV6;
    listener->protocols[0] =
        (struct lws_protocols){.name = "ee", .callback = on_lws, .rx_buffer_size = EEI_LISTENER_RX, .tx_packet_size = EEI_LISTENER_RX};
    info.protocols = listener->protocols;
    info.alpn = "http/1.1";
    info.server_ssl_cert_mem = certificate.data;
    info.server_ssl_cert_mem_len = (unsigned)certificate.len;
    info.server_ssl_private_key_mem = key.data;
    info.server_ssl_private_key_mem_len = (unsigned)key.len;
    eei_sha256(certificate, listener->certificate_sha256);
    listener->vhost = lws_create_vhost(listener->context, &info);
    if (!listener->vhost || !listener->tls)
        return eei_fail(err, EE_E_IO, "cannot listen on %s port %u", listener->bind, listener->options.port);
    listener->port = (uint16_t)lws_get_vhost_listen_port(listener->vhost);
    return tls_harden(listener->tls, err);
}

ee_status eei_listener_new(uv_loop_t *loop, const eei_listener_options *options, eei_listener **out, ee_error *err) {
    *out = NULL;
    if (!options->prover || !options->on_request || !options->bind)
        return eei_fail(err, EE_E_INVALID, "a listener needs an address, a prover and on_request");
    eei_listener *listener = eei_calloc(1, sizeof *listener);
    if (!listener) return eei_nomem(err);
    lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
    listener->loop = loop;
    listener->options = *options;
    eei_listener_options *o = &listener->options;
    if (!o->connections_max) o->connections_max = CONNECTIONS_MAX;
    if (!o->per_address_max) o->per_address_max = PER_ADDRESS_MAX;
    if (!o->head_timeout_ms) o->head_timeout_ms = HEAD_TIMEOUT_MS;
    if (!o->idle_timeout_ms) o->idle_timeout_ms = IDLE_TIMEOUT_MS;
    listener->bind = eei_strdup(options->bind);
    listener->tunnel_path = eei_strdup(options->tunnel_path ? options->tunnel_path : "");
    (void)uv_idle_init(loop, &listener->closer); /* cannot fail */
    ee_status st = listener->bind && listener->tunnel_path ? EE_OK : eei_nomem(err);
    if (!st) st = make_context(listener, err);
    if (!st) st = make_vhost(listener, err);
    if (st)
        eei_listener_free(listener);
    else
        *out = listener;
    return st;
}

uint16_t eei_listener_port(const eei_listener *listener) { return listener->port; }

static void on_closer_closed(uv_handle_t *handle) {
    eei_listener *listener = handle->data;
    if (listener->context) lws_context_destroy(listener->context); /* the second call, after its handles are gone, frees it */
    eei_free(listener->tunnel_path);
    eei_free(listener->bind);
    eei_free(listener);
}

static void on_closer(uv_idle_t *closer) {
    handle_walk walk = {.listener = closer->data};
    uv_walk(closer->loop, find_lws, &walk);
    if (!walk.found) uv_close((uv_handle_t *)closer, on_closer_closed);
}

void eei_listener_free(eei_listener *listener) {
    if (!listener) return;
    EE_ASSERT(!listener->freed);
    listener->freed = true;
    listener->closer.data = listener;
    if (listener->context) lws_context_destroy(listener->context); /* closes every connection; on a loop of ours it only begins */
    (void)uv_idle_start(&listener->closer, on_closer);
}
