/* channel.h - the inner channel: TLS 1.3 between SDK and agent inside one stream of the tunnel, whose certificate is bound to a quote, then
 * a challenge and a session statement before any byte of the user. Sans-I/O: cipher bytes in and out, plain bytes in and out.
 * Called by net/link's users: SDK (client side), agent (server side), uptime server (client side). Proto: docs/protocol.md#channel
 * (threats Q9, Q11, Q12)
 *
 * After the TLS handshake, inside TLS:  client CHALLENGE {kind session, r, strict, policy hash} -> <- server EVIDENCE, then the user's
 * bytes. nonce = eei_nonce_derive(0, 0, r, 0), binder = exporter(nonce), transcript = SHA-256(CHALLENGE's payload), purpose CHALLENGE: a
 * statement signed by the instance key, on top of the certificate's quote; or, strict, a quote of its own. One thread at a time, but for
 * eei_channel_work(). */
#ifndef EEI_CHANNEL_H
#define EEI_CHANNEL_H
#include "ratls/session.h"

typedef struct eei_channel eei_channel;

#define EEI_ALPN_JOB    "ee-job/1"
#define EEI_ALPN_APP    "ee-app/1"
#define EEI_ALPN_HEALTH "ee-health/1"
#define EEI_ALPN_ATTEST "ee-attest/1"

typedef struct eei_channel_client {
    SSL_CTX *ctx;                         /* eei_client_ctx_new(); shared */
    eei_judge *judge;                     /* shared */
    const ee_policy *policy;              /* of this channel; shared. NULL = the judge's */
    const char *alpn;                     /* only for EEI_ALPN_APP does a policy's image ask for a measured app */
    uint8_t instance_id[32], node_id[32]; /* whom the control plane assigned: another one is refused (Q11) */
    const uint8_t *spec_hash;             /* copied; an app of this specification must have been measured there and not ended; NULL = any */
    const char *node_name;                /* for the verdict */
    bool strict;                          /* ask for a full quote */
} eei_channel_client;
ee_status eei_channel_new_client(const eei_channel_client *options, uint64_t now_ms, eei_channel **out, ee_error *err) EE_MUST_USE;
ee_status eei_channel_new_server(eei_prover *prover, uint64_t now_ms, eei_channel **out, ee_error *err) EE_MUST_USE;
void eei_channel_free(eei_channel *channel);

/* Cipher bytes that arrived. Advances everything; never blocks, except: NEED_VERDICT / NEED_QUOTE below are the owner's to run anywhere. */
ee_status eei_channel_receive(eei_channel *channel, ee_span cipher, uint64_t now_ms, ee_error *err) EE_MUST_USE;
/* How much eei_channel_receive() should be given now: 0 while unread plain bytes wait. More than that is EE_E_LIMIT at 1 MiB. */
size_t eei_channel_receivable(const eei_channel *channel);
/* Peer closed the stream. A close without TLS close_notify after data is EE_E_CLOSED to the reader: truncation is told apart. */
void eei_channel_receive_end(eei_channel *channel);
/* Cipher bytes to send: borrowed; consume what the stream took. */
ee_span eei_channel_cipher(const eei_channel *channel);
void eei_channel_cipher_sent(eei_channel *channel, size_t len);

typedef enum eei_channel_step {
    EEI_CHANNEL_HANDSHAKE,
    EEI_CHANNEL_NEED_VERDICT, /* client: judge, which may fetch collateral */
    EEI_CHANNEL_NEED_QUOTE,   /* server, strict: quote, which may block in the quoter */
    EEI_CHANNEL_OPEN,
    EEI_CHANNEL_ENDED, /* peer sent close_notify and everything was read; writing still works (half-close) */
    EEI_CHANNEL_FAILED,
} eei_channel_step;
eei_channel_step eei_channel_state(const eei_channel *channel);
uint64_t eei_channel_deadline_ms(const eei_channel *channel); /* of the handshake; UINT64_MAX when open */
/* The slow step of NEED_VERDICT or NEED_QUOTE in two halves: work on any thread (the owner may use the channel meanwhile, but not free it),
 * then done on the owner's, which moves the channel on. */
void eei_channel_work(eei_channel *channel);
ee_status eei_channel_work_done(eei_channel *channel, uint64_t now_ms, ee_error *err) EE_MUST_USE;
/* Both halves at once. EE_E_STATE when it is not the step that is due. */
ee_status eei_channel_judge(eei_channel *channel, uint64_t now_ms, ee_error *err) EE_MUST_USE;
ee_status eei_channel_quote(eei_channel *channel, uint64_t now_ms, ee_error *err) EE_MUST_USE;

const char *eei_channel_alpn(const eei_channel *channel);
/* Client: certificate and session statement. NULL before OPEN; on an attestation failure the verdict of the part that failed, when there
 * is one. */
const ee_verdict *eei_channel_verdict(const eei_channel *channel);
const ee_error *eei_channel_error(const eei_channel *channel);

/* Plain bytes. Read borrows what was decrypted; write takes at most what fits (256 KiB of cipher may be pending) and returns how much. */
ee_span eei_channel_peek(const eei_channel *channel);
void eei_channel_consume(eei_channel *channel, size_t len);
size_t eei_channel_write(eei_channel *channel, ee_span plain);
size_t eei_channel_writable(const eei_channel *channel); /* what a write would take at least; 0 before OPEN */
bool eei_channel_take_short(eei_channel *channel);       /* a write came up short since the last call and there is room again; forgets it */
void eei_channel_close(eei_channel *channel);            /* close_notify after what was written; reading goes on */
bool eei_channel_is_closed(const eei_channel *channel);  /* eei_channel_close() was called */
#endif
