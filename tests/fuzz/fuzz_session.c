/* fuzz_session.c - control frames from a peer into a session, either side and any role (first byte). It may close, never open: nobody here
 * can prove anything. Run by libFuzzer, and as a corpus replay. */
#include "base/alloc.h"
#include "ratls/session.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ee_status binder(void *user, const uint8_t nonce[32], uint8_t out[32], ee_error *err) {
    (void)user;
    (void)err;
    memcpy(out, nonce, 32);
    return EE_OK;
}

static eei_session *session_new(uint8_t kind) {
    static const uint8_t pub[32] = {1}, spki[32] = {2};
    static const uint8_t roles[] = {EEI_ROLE_CONTROL, EEI_ROLE_AGENT, EEI_ROLE_UPTIME, EEI_ROLE_CLIENT};
    uint8_t role = roles[kind % 4];
    eei_session_options o = {.listening = role == EEI_ROLE_CONTROL,
                             .role = role,
                             .release = "0.1.0",
                             .session_id = {3},
                             .peer_spki_sha256 = spki,
                             .binder = binder};
    eei_session *session = NULL;

    if (role != EEI_ROLE_CLIENT) {
        o.instance_pub = pub;
        o.node = "node-a";
    }
    EE_ASSERT(eei_session_new(&o, 0, &session, NULL) == EE_OK);
    return session;
}

static void own_step(eei_session *session) {
    eei_expect expect;

    switch (eei_session_state(session)) {
    case EEI_SESSION_NEED_EVIDENCE: (void)!eei_session_give_evidence(session, eei_span("evidence", 8), NULL); break;
    case EEI_SESSION_NEED_VERDICT:
        eei_session_expect(session, &expect);
        EE_ASSERT(eei_session_peer_evidence(session).len);
        (void)!eei_session_give_verdict(session, NULL, NULL);
        break;
    case EEI_SESSION_NEED_DECISION: EE_ASSERT(eei_session_peer_hello(session)->role == EEI_ROLE_CLIENT); break;
    default: break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    eei_reader r;
    eei_frame frame, out;

    if (!size) return 0;
    eei_session *session = session_new(data[0]);
    r = eei_reader_init(eei_span(data + 1, size - 1));
    while (eei_frame_decode(&r, EEI_FRAME_PAYLOAD_MAX, &frame, NULL) == EE_OK) {
        if (eei_session_receive(session, &frame, 1, NULL))
            EE_ASSERT(eei_session_state(session) == EEI_SESSION_CLOSED && eei_session_error(session)->status);
        own_step(session);
        while (eei_session_next(session, &out)) EE_ASSERT(out.payload.len <= EEI_FRAME_PAYLOAD_MAX);
        EE_ASSERT(eei_session_state(session) != EEI_SESSION_OPEN);
    }
    eei_session_free(session);
    return 0;
}
