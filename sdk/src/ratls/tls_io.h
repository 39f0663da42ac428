/* tls_io.h - OpenSSL without a socket: cipher bytes are lent to it and collected from it, so one send() carries many records. Also the
 * settings every TLS context of ours has. Not for certificates (ratls.h). Called by channel, ratls, prover and net/link. */
#ifndef EEI_TLS_IO_H
#define EEI_TLS_IO_H
#include "ratls/queue.h"

#include <openssl/ssl.h>

typedef struct eei_tls_io {
    eei_queue in;  /* cipher bytes kept from earlier calls */
    ee_span lent;  /* cipher bytes of the caller, read after `in`; what is left must be kept with eei_tls_io_keep() */
    eei_queue out; /* cipher bytes to send */
} eei_tls_io;
#define EEI_TLS_IO_INIT(in_max, out_max)                                                                                                   \
    { EEI_QUEUE_INIT(in_max), {NULL, 0}, EEI_QUEUE_INIT(out_max) }

/* Gives the SSL a BIO over io; io must outlive it at the same address. */
ee_status eei_tls_io_attach(eei_tls_io *io, SSL *ssl, ee_error *err) EE_MUST_USE;
/* Copy what is left of `lent`, which goes away. EE_E_LIMIT past in_max. */
ee_status eei_tls_io_keep(eei_tls_io *io) EE_MUST_USE;
bool eei_tls_io_has_input(const eei_tls_io *io);
void eei_tls_io_clear(eei_tls_io *io);

/* TLS 1.3 only, no tickets, no resumption, no 0-RTT, no renegotiation (docs/protocol.md#session). */
ee_status eei_tls_harden(SSL_CTX *ctx, ee_error *err) EE_MUST_USE;
#endif
