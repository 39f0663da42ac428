/* liar_answers.c - see liar.c. What it answers when it is asked to prove itself in a session or channel:
 *
 *   LIE=replay  the first answer of each kind is true, and is what it shows ever after
 *   LIE=relay   answers of another agent: LIE_TO is the socket of somebody who gets them. It hands over r and, in a channel, the CHALLENGE
 *               as it came, and shows what comes back. It registers truly.
 *   LIE=stolen-tls  relay, and the inner channels end with the TLS key and certificate that LIE=leak left in the folder of the socket
 */
#include "attest/statement.h"
#include "base/file.h"
#include "base/limits.h"
#include "liar.h"
#include "ratls/channel.h"
#include "ratls/prover.h"
#include "ratls/tls_io.h"

#include <openssl/x509.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void __real_eei_nonce_derive(const uint8_t log_root[32], uint64_t log_size, const uint8_t r[32], const uint8_t session_id[16],
                             uint8_t out[32]);
void __wrap_eei_nonce_derive(const uint8_t log_root[32], uint64_t log_size, const uint8_t r[32], const uint8_t session_id[16],
                             uint8_t out[32]);
void __real_eei_sha256(ee_span data, uint8_t out[32]);
void __wrap_eei_sha256(ee_span data, uint8_t out[32]);
ee_status __real_eei_prover_quote(eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) EE_MUST_USE;
ee_status __wrap_eei_prover_quote(eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) EE_MUST_USE;
ee_status __real_eei_prover_session(eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) EE_MUST_USE;
ee_status __wrap_eei_prover_session(eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) EE_MUST_USE;
ee_status __real_eei_prover_ssl_new(eei_prover *prover, SSL **out, ee_error *err) EE_MUST_USE;
ee_status __wrap_eei_prover_ssl_new(eei_prover *prover, SSL **out, ee_error *err) EE_MUST_USE;

/* The question that came last: its r, and what was hashed after it, which in a channel is the CHALLENGE. One question at a time. */
static uint8_t question[32 + 1024];
static size_t question_len;
static _Thread_local bool listening;

void __wrap_eei_nonce_derive(const uint8_t log_root[32], uint64_t log_size, const uint8_t r[32], const uint8_t session_id[16],
                             uint8_t out[32]) {
    __real_eei_nonce_derive(log_root, log_size, r, session_id, out);
    memcpy(question, r, 32);
    question_len = 32;
    listening = true;
}

void __wrap_eei_sha256(ee_span data, uint8_t out[32]) {
    __real_eei_sha256(data, out);
    if (!listening || !data.len || data.len > sizeof question - 32) return;
    listening = false;
    memcpy(question + 32, data.data, data.len);
    question_len = 32 + data.len;
}

static ee_status relayed(eei_buf *out, ee_error *err) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    uint8_t bytes[4096];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", lie_to());
    bool asked = fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && send(fd, question, question_len, MSG_NOSIGNAL) >= 32 &&
                 shutdown(fd, SHUT_WR) == 0;
    ee_status st = asked ? EE_OK : eei_fail(err, EE_E_IO, "nobody to pass the challenge on to");
    for (ssize_t n; !st && (n = read(fd, bytes, sizeof bytes)) > 0;) st = eei_buf_append(out, bytes, (size_t)n);
    if (fd >= 0) close(fd);
    return st;
}

/* kind 0: quotes; 1: signed statements. */
static ee_status replayed(int kind, eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) {
    static eei_buf first[2] = {EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX), EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX)};
    ee_status st = EE_OK;
    if (!first[kind].len)
        st = kind ? __real_eei_prover_session(prover, what, &first[kind], err) : __real_eei_prover_quote(prover, what, &first[kind], err);
    return st ? st : eei_buf_append_span(out, eei_buf_span(&first[kind]));
}

static bool relays(const eei_prove *what) {
    return (lies_about("relay") || lies_about("stolen-tls")) && what->purpose != EEI_PURPOSE_REGISTER;
}

ee_status __wrap_eei_prover_quote(eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) {
    if (lies_about("replay")) return replayed(0, prover, what, out, err);
    return relays(what) ? relayed(out, err) : __real_eei_prover_quote(prover, what, out, err);
}

ee_status __wrap_eei_prover_session(eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) {
    if (lies_about("replay")) return replayed(1, prover, what, out, err);
    return relays(what) ? relayed(out, err) : __real_eei_prover_session(prover, what, out, err);
}

/* ---- a channel under somebody else's certificate --------------------------------------------------------------------- */

static int choose_any(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *user) {
    (void)ssl, (void)user;
    if (in_len < 2) return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = in + 1;
    *out_len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

ee_status __wrap_eei_prover_ssl_new(eei_prover *prover, SSL **out, ee_error *err) {
    if (!lies_about("stolen-tls")) return __real_eei_prover_ssl_new(prover, out, err);
    char path[256];
    const char *end = strrchr(lie_to(), '/');
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int folder = end ? (int)(end - lie_to()) : 0;
    (void)snprintf(path, sizeof path, "%.*s/certificate.der", folder, lie_to());
    bool good = ctx && SSL_CTX_use_certificate_file(ctx, path, SSL_FILETYPE_ASN1) == 1;
    (void)snprintf(path, sizeof path, "%.*s/tls.der", folder, lie_to());
    good =
        good && SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_ASN1) == 1 && SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1;
    if (good) SSL_CTX_set_alpn_select_cb(ctx, choose_any, NULL);
    *out = good ? SSL_new(ctx) : NULL;
    SSL_CTX_free(ctx);
    return *out ? EE_OK : eei_tls_fail(err, EE_E_INTERNAL, "stolen certificate");
}
