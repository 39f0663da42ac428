/* liar_answers.c - see liar.c. What it answers when it is asked to prove itself in a session or channel:
 *
 *   LIE=replay  the first answer of each kind is true, and is what it shows ever after
 *   LIE=stale   it registers truly; its first answer to a periodic challenge is true, and is what it shows for each later one
 *   LIE=elsewhere  its answers to periodic challenges are true, but for another TLS connection with the same control plane
 *   LIE=hello   it registers with a statement over other HELLOs than were sent
 *   LIE=app     its statements of the purposes whose digits are in LIE_TO are made for purpose app, as a workload's would be
 *   LIE=nothing its log tells each statement that it makes and each quote: the purpose, and the report data
 *   LIE=relay   answers of another agent: LIE_TO is the socket of somebody who gets them. It hands over r and, in a channel, the CHALLENGE
 *               as it came, and shows what comes back. It registers truly.
 *   LIE=stolen-tls  relay, and the inner channels end with the TLS key and certificate that LIE=leak left in the folder of the socket
 */
#include "attest/statement.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "liar.h"
#include "net/link.h"
#include "ratls/channel.h"
#include "ratls/prover.h"
#include "ratls/ratls.h"
#include "ratls/tls_io.h"
#include "simtdx/simtdx.h"

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

void __real_eei_statement_encode(const eei_statement *statement, uint8_t out[EEI_STATEMENT_BYTES]);
void __wrap_eei_statement_encode(const eei_statement *statement, uint8_t out[EEI_STATEMENT_BYTES]);
ee_status __real_simtdx_quote(const simtdx_machine *m, const simtdx_td *td, const uint8_t report_data[64], eei_buf *out,
                              ee_error *err) EE_MUST_USE;
ee_status __wrap_simtdx_quote(const simtdx_machine *m, const simtdx_td *td, const uint8_t report_data[64], eei_buf *out,
                              ee_error *err) EE_MUST_USE;
ee_status __real_eei_link_binder(eei_link *link, const uint8_t nonce[32], uint8_t out[32], ee_error *err) EE_MUST_USE;
ee_status __wrap_eei_link_binder(eei_link *link, const uint8_t nonce[32], uint8_t out[32], ee_error *err) EE_MUST_USE;

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

/* What is shown again. */
typedef enum kind { QUOTE, SIGNED, PERIODIC } kind;

static ee_status replayed(kind k, eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) {
    static eei_buf first[] = {EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX), EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX),
                              EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX)};
    ee_status st = EE_OK;
    if (!first[k].len)
        st = k == SIGNED ? __real_eei_prover_session(prover, what, &first[k], err) : __real_eei_prover_quote(prover, what, &first[k], err);
    return st ? st : eei_buf_append_span(out, eei_buf_span(&first[k]));
}

static bool relays(const eei_prove *what) {
    return (lies_about("relay") || lies_about("stolen-tls")) && what->purpose != EEI_PURPOSE_REGISTER;
}

ee_status __wrap_eei_prover_quote(eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) {
    if (lies_about("replay")) return replayed(QUOTE, prover, what, out, err);
    if (lies_about("stale") && what->purpose == EEI_PURPOSE_PERIODIC) return replayed(PERIODIC, prover, what, out, err);
    return relays(what) ? relayed(out, err) : __real_eei_prover_quote(prover, what, out, err);
}

ee_status __wrap_eei_prover_session(eei_prover *prover, const eei_prove *what, eei_buf *out, ee_error *err) {
    if (lies_about("replay")) return replayed(SIGNED, prover, what, out, err);
    return relays(what) ? relayed(out, err) : __real_eei_prover_session(prover, what, out, err);
}

static void log_report_data(const char *event, unsigned purpose, const uint8_t *statement, const uint8_t *data) {
    uint8_t of_statement[EEI_REPORT_DATA_BYTES];
    char hex[2 * EEI_REPORT_DATA_BYTES + 1];
    if (statement) eei_report_data(statement, of_statement);
    eei_hex_encode(eei_span(data ? data : of_statement, EEI_REPORT_DATA_BYTES), hex);
    eei_log(EEI_LOG_INFO, event, "purpose=%u report_data=%s", purpose, hex);
}

/* Every statement that is quoted or signed comes by here. */
void __wrap_eei_statement_encode(const eei_statement *statement, uint8_t out[EEI_STATEMENT_BYTES]) {
    eei_statement said = *statement;
    if (lies_about("app") && strchr(lie_to(), '0' + statement->purpose)) said.purpose = EEI_PURPOSE_APP;
    if (lies_about("hello") && statement->purpose == EEI_PURPOSE_REGISTER) said.transcript[0] ^= 1;
    __real_eei_statement_encode(&said, out);
    if (lies_about("nothing")) log_report_data("statement.made", said.purpose, out, NULL);
}

ee_status __wrap_simtdx_quote(const simtdx_machine *m, const simtdx_td *td, const uint8_t report_data[64], eei_buf *out, ee_error *err) {
    if (lies_about("nothing")) log_report_data("quote.made", 0, NULL, report_data);
    return __real_simtdx_quote(m, td, report_data, out, err);
}

/* ---- another connection ---------------------------------------------------------------------------------------------- */

/* Its exporter, for the same nonce: all that a periodic answer has of its connection. */
ee_status __wrap_eei_link_binder(eei_link *link, const uint8_t nonce[32], uint8_t out[32], ee_error *err) {
    const char *url = getenv("EE_CONTROL_WS"), *host = url ? strstr(url, "://") : NULL;
    SSL_CTX *ctx = NULL;
    if (!lies_about("elsewhere")) return __real_eei_link_binder(link, nonce, out, err);
    ee_status st = host ? eei_client_ctx_new(&ctx, err) : eei_fail(err, EE_E_CONFIG, "EE_CONTROL_WS names no control plane");
    SSL *ssl = st ? NULL : SSL_new(ctx);
    BIO *bio = ssl ? BIO_new_connect(host + 3) : NULL;
    if (bio) SSL_set_bio(ssl, bio, bio);
    if (!st && (!bio || BIO_do_connect(bio) != 1 || SSL_connect(ssl) != 1)) st = eei_tls_fail(err, EE_E_CONNECT, "another connection");
    if (!st) st = eei_tls_binder(ssl, nonce, out, err);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return st;
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
