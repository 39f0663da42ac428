/* fuzz_channel.c - what a peer of an inner channel may send: raw bytes instead of TLS, or, inside a real TLS session, anything instead of
 * the opening frames. First byte: bit 0 = inside TLS, bit 1 = the channel is the client. Run by libFuzzer, and as a corpus replay. */
#include "base/alloc.h"
#include "ratls/channel.h"

#include <openssl/err.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- both sides' identities, made once -------------------------------------------------------------------------------- */

static ee_status quote(void *user, const uint8_t report_data[64], eei_buf *out, ee_error *err) {
    (void)user;
    (void)err;
    return eei_buf_append(out, report_data, 64);
}
static ee_status extend(void *user, const uint8_t digest[48], ee_error *err) {
    (void)user;
    (void)digest;
    (void)err;
    return EE_OK;
}
static ee_status no_collateral(void *user, const eei_collateral_id *id, eei_buf *json, ee_error *err) {
    (void)user;
    (void)id;
    (void)json;
    return eei_fail(err, EE_E_CONNECT, "none here");
}

static struct {
    eei_prover *prover;
    eei_judge *judge;
    SSL_CTX *ctx;
} made;

static void make(void) {
    const eei_prover_options o = {
        .role = EEI_ROLE_AGENT, .node = "n", .release = "1", .quoter = {quote, extend, NULL, true}, .clock = eei_clock_system()};
    const eei_collateral_source source = {no_collateral, NULL};
    ee_policy *policy = NULL;

    if (made.prover) return;
    EE_ASSERT(ee_policy_production(&policy, NULL) == EE_OK);
    EE_ASSERT(eei_judge_new(policy, &source, eei_clock_system(), &made.judge, NULL) == EE_OK);
    EE_ASSERT(eei_prover_new(&o, &made.prover, NULL) == EE_OK);
    EE_ASSERT(eei_client_ctx_new(&made.ctx, NULL) == EE_OK);
    ee_policy_free(policy);
}

static eei_channel *channel_new(bool client) {
    const eei_channel_client o = {.ctx = made.ctx, .judge = made.judge, .alpn = EEI_ALPN_JOB};
    eei_channel *channel = NULL;
    EE_ASSERT((client ? eei_channel_new_client(&o, 0, &channel, NULL) : eei_channel_new_server(made.prover, 0, &channel, NULL)) == EE_OK);
    return channel;
}

static void own_step(eei_channel *channel, bool client) {
    if (eei_channel_state(channel) == EEI_CHANNEL_NEED_VERDICT) (void)!eei_channel_judge(channel, 1, NULL);
    if (eei_channel_state(channel) == EEI_CHANNEL_NEED_QUOTE) (void)!eei_channel_quote(channel, 1, NULL);
    if (client) { /* nobody proved anything */
        EE_ASSERT(eei_channel_state(channel) != EEI_CHANNEL_OPEN && eei_channel_state(channel) != EEI_CHANNEL_ENDED);
        EE_ASSERT(!eei_channel_peek(channel).len && !eei_channel_write(channel, eei_span("x", 1)));
    }
}

/* ---- the peer --------------------------------------------------------------------------------------------------------- */

static SSL *peer_new(bool client) {
    SSL *ssl = SSL_new(client ? made.ctx : eei_prover_server_ctx(made.prover));
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (client) {
        SSL_set_connect_state(ssl);
        SSL_set_alpn_protos(ssl, (const unsigned char *)"\x08" EEI_ALPN_JOB, 9);
    } else {
        SSL_set_accept_state(ssl);
    }
    return ssl;
}

static void carry(SSL *peer, eei_channel *channel) {
    uint8_t bytes[16384];
    ee_span cipher = eei_channel_cipher(channel);
    int n;

    if (cipher.len) BIO_write(SSL_get_rbio(peer), cipher.data, (int)cipher.len);
    eei_channel_cipher_sent(channel, cipher.len);
    if (!SSL_is_init_finished(peer)) SSL_do_handshake(peer);
    while ((n = BIO_read(SSL_get_wbio(peer), bytes, sizeof bytes)) > 0)
        (void)!eei_channel_receive(channel, eei_span(bytes, (size_t)n), 1, NULL);
}

static void inside(eei_channel *channel, bool client, ee_span data) {
    SSL *peer = peer_new(!client);

    for (int i = 0; i < 4; i++) carry(peer, channel);
    EE_ASSERT(SSL_is_init_finished(peer));
    if (data.len) SSL_write(peer, data.data, (int)data.len);
    carry(peer, channel);
    own_step(channel, client);
    SSL_shutdown(peer);
    carry(peer, channel);
    own_step(channel, client);
    SSL_free(peer);
    ERR_clear_error();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size || size > 65536) return 0;
    make();
    bool client = data[0] & 2;
    eei_channel *channel = channel_new(client);
    if (data[0] & 1) {
        inside(channel, client, eei_span(data + 1, size - 1));
    } else {
        (void)!eei_channel_receive(channel, eei_span(data + 1, size - 1), 1, NULL);
        own_step(channel, client);
    }
    eei_channel_receive_end(channel);
    EE_ASSERT(eei_channel_state(channel) != EEI_CHANNEL_HANDSHAKE);
    eei_channel_free(channel);
    return 0;
}
