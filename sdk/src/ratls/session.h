/* session.h - the opening of a tunnel: HELLO, the control plane proves itself first, then the agent; ACCEPT or REJECT. Sans-I/O: control
 * frames in, control frames out, slow steps (quotes, appraisal) handed to the owner. Called by net/link (dialing side: agents, uptime
 * servers, SDK) and the control plane (listening side). Proto: docs/protocol.md#session (threats S1, S2, S5, S6, Q7, Q9)
 *
 *   dialing                          listening
 *   HELLO {versions, role, r, ...} ->
 *                                 <- HELLO {version chosen, r, session_id, ...}
 *                                 <- EVIDENCE nonce = f(dialing HELLO), binder = exporter(nonce), transcript = SHA-256(both HELLOs)
 *   EVIDENCE nonce = f(listening HELLO), ... ->       (agents and uptime servers; purpose REGISTER, quoted)
 *                                 <- ACCEPT {session_id}, or REJECT
 * Clients prove nothing here; for them the listening side's evidence has purpose CHALLENGE and is a signed statement.
 * f(HELLO) = eei_nonce_derive(head_root, head_size, r, session_id) with that HELLO's own fields. */
#ifndef EEI_SESSION_H
#define EEI_SESSION_H
#include "ratls/prover.h"
#include "ratls/ratls.h"
#include "wire/frame.h"
#include "wire/messages.h"

typedef struct eei_session eei_session;
typedef struct eei_session_options {
    bool listening;   /* the control plane's side */
    uint8_t role;     /* ours */
    const char *node; /* dialing agents and uptime servers: their ledger name */
    const char *release;
    bool limits_off;             /* agents: said in HELLO */
    const uint8_t *instance_pub; /* 32; NULL for clients */
    uint8_t policy_hash[32];
    uint8_t network_id[32];          /* expected of, or stated by, the control plane */
    uint8_t session_id[16];          /* listening side: fresh random */
    const uint8_t *peer_spki_sha256; /* dialing: of the outer connection's certificate; copied */
    const ee_verdict *base;          /* clients: verdict over that certificate (eei_judge_certificate, role CONTROL, node_id = network
                                        id), on which the control plane's signed statement stands; shared */
    ee_status (*binder)(void *user, const uint8_t nonce[32], uint8_t out[32], ee_error *err); /* exporter of the outer connection */
    void *user;
} eei_session_options;
ee_status eei_session_new(const eei_session_options *options, uint64_t now_ms, eei_session **out, ee_error *err) EE_MUST_USE;
void eei_session_free(eei_session *session);

typedef enum eei_session_step {
    EEI_SESSION_WAIT,          /* needs the peer */
    EEI_SESSION_NEED_EVIDENCE, /* make evidence for eei_session_prove(); then eei_session_give_evidence() */
    EEI_SESSION_NEED_VERDICT,  /* appraise eei_session_peer_evidence() against eei_session_expect(); then eei_session_give_verdict() */
    EEI_SESSION_NEED_DECISION, /* listening side: peer is proved; eei_session_accept() or eei_session_reject() */
    EEI_SESSION_OPEN,          /* accepted: streams may flow */
    EEI_SESSION_CLOSED,        /* rejected or failed; eei_session_error() */
} eei_session_step;
eei_session_step eei_session_state(const eei_session *session);

/* A control frame from the peer (HELLO, EVIDENCE, ACCEPT, REJECT). An error means: send what is queued, close. While a step is the owner's
 * (NEED_VERDICT ...) keep later frames back: a client's ACCEPT may follow the evidence at once. */
ee_status eei_session_receive(eei_session *session, const eei_frame *frame, uint64_t now_ms, ee_error *err) EE_MUST_USE;
/* Next control frame to send; false when there is none. Borrowed until the next call. The dialing side has its HELLO at once. */
bool eei_session_next(eei_session *session, eei_frame *out);
uint64_t eei_session_deadline_ms(const eei_session *session); /* EEI_HELLO_DEADLINE_MS, EEI_EVIDENCE_DEADLINE_MS; UINT64_MAX when open */

const eei_prove *eei_session_prove(const eei_session *session); /* what our evidence must say; clients are never asked */
bool eei_session_prove_signed(const eei_session *session);      /* peer is a client: a signed session statement is enough */
ee_status eei_session_give_evidence(eei_session *session, ee_span evidence, ee_error *err) EE_MUST_USE;
ee_span eei_session_peer_evidence(const eei_session *session);
void eei_session_expect(const eei_session *session, eei_expect *out); /* pointers into the session */
/* The appraisal that NEED_VERDICT asks for, as a parcel for a worker thread: everything is copied, the session may go meanwhile.
 * Quoted evidence is judged as it is; a client judges the signed statement on top of `base`. node_id: 32 bytes that the listening side
 * knows for the node of the peer's HELLO; NULL = not checked (the dialing side has the network id anyway). */
typedef struct eei_appraisal eei_appraisal;
ee_status eei_session_appraisal(const eei_session *session, eei_judge *judge, const uint8_t *node_id, eei_appraisal **out,
                                ee_error *err) EE_MUST_USE;
/* Any thread; may fetch collateral. The status is also kept. */
ee_status eei_appraisal_run(eei_appraisal *appraisal, ee_error *err);
const ee_verdict *eei_appraisal_verdict(const eei_appraisal *appraisal); /* NULL when there is none; for eei_session_give_verdict() */
const ee_error *eei_appraisal_error(const eei_appraisal *appraisal);     /* status EE_OK when it verified */
void eei_appraisal_free(eei_appraisal *appraisal);

/* verdict NULL or not verified: the session closes with EE_E_ATTESTATION and tells the peer. Shares the verdict. */
ee_status eei_session_give_verdict(eei_session *session, const ee_verdict *verdict, ee_error *err) EE_MUST_USE;
ee_status eei_session_accept(eei_session *session, const eei_accept *accept, ee_error *err) EE_MUST_USE;
/* Either side, before it is open: queue REJECT and close. */
ee_status eei_session_reject(eei_session *session, ee_status why, const char *message, uint32_t retry_after_ms);

const eei_hello *eei_session_peer_hello(const eei_session *session); /* NULL before it came */
const eei_accept *eei_session_accepted(const eei_session *session);  /* dialing side, when open */
const ee_verdict *eei_session_verdict(const eei_session *session);   /* of the peer; NULL before */
const ee_error *eei_session_error(const eei_session *session);
#endif
