/* tls_io.c - a BIO over two queues, and the settings of every TLS context. No sockets, no certificates. Called by channel, ratls, prover
 * and net/link. */
#include "tls_io.h"

#include "ratls/ratls.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int io_read(BIO *bio, char *out, int len) {
    eei_tls_io *io = BIO_get_data(bio);
    size_t want = len > 0 ? (size_t)len : 0;

    BIO_clear_retry_flags(bio);
    ee_span kept = eei_queue_span(&io->in);
    ee_span from = kept.len ? kept : io->lent;
    size_t n = from.len < want ? from.len : want;
    if (!n) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(out, from.data, n);
    if (kept.len) {
        eei_queue_consume(&io->in, n);
    } else {
        io->lent = eei_span(io->lent.data + n, io->lent.len - n);
    }
    return (int)n;
}

static int io_write(BIO *bio, const char *data, int len) {
    eei_tls_io *io = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (len <= 0 || eei_queue_append(&io->out, eei_span(data, (size_t)len))) return -1; /* out of memory or over the limit: fatal */
    return len;
}

static long io_ctrl(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

static int io_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

static void method_make(void) {
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "eei_tls_io");
    if (m && BIO_meth_set_read(m, io_read) && BIO_meth_set_write(m, io_write) && BIO_meth_set_ctrl(m, io_ctrl) &&
        BIO_meth_set_create(m, io_create)) {
        method = m;
        return;
    }
    BIO_meth_free(m);
}

ee_status eei_tls_io_attach(eei_tls_io *io, SSL *ssl, ee_error *err) {
    BIO *bio;

    if (pthread_once(&method_once, method_make) != 0 || !method) return eei_nomem(err);
    bio = BIO_new(method);
    if (!bio) return eei_nomem(err);
    BIO_set_data(bio, io);
    SSL_set_bio(ssl, bio, bio); /* takes the one reference for both directions */
    return EE_OK;
}

ee_status eei_tls_io_keep(eei_tls_io *io) {
    ee_span left = io->lent;

    io->lent = eei_span(NULL, 0);
    return left.len ? eei_queue_append(&io->in, left) : EE_OK;
}

bool eei_tls_io_has_input(const eei_tls_io *io) { return eei_queue_len(&io->in) || io->lent.len; }

void eei_tls_io_clear(eei_tls_io *io) {
    eei_queue_clear(&io->in);
    eei_queue_clear(&io->out);
    io->lent = eei_span(NULL, 0);
}

ee_status eei_tls_harden(SSL_CTX *ctx, ee_error *err) {
    SSL_CTX_set_options(ctx, SSL_OP_CLEANSE_PLAINTEXT | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* AES-128 first: as strong as P-256 and the fastest here. */
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 || SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_num_tickets(ctx, 0) != 1 || SSL_CTX_set_max_early_data(ctx, 0) != 1 || SSL_CTX_set_recv_max_early_data(ctx, 0) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1)
        return eei_tls_fail(err, EE_E_INTERNAL, "settings");
    return EE_OK;
}
