/* frame.c - the 12-byte header in front of every payload. Not for what a payload means, nor for which type may come when (mux, session).
 * Called by mux, session and channel. Proto: docs/protocol.md#frames */
#include "frame.h"

#include <string.h>

void eei_frame_header(uint8_t out[EEI_FRAME_HEADER_BYTES], uint8_t type, uint16_t flags, uint32_t stream, uint32_t length) {
    out[0] = EEI_FRAME_VERSION;
    out[1] = type;
    out[2] = (uint8_t)(flags >> 8);
    out[3] = (uint8_t)flags;
    for (unsigned i = 0; i < 4; i++) {
        out[4 + i] = (uint8_t)(stream >> (24 - 8 * i));
        out[8 + i] = (uint8_t)(length >> (24 - 8 * i));
    }
}

ee_status eei_frame_encode(eei_buf *out, uint8_t type, uint16_t flags, uint32_t stream, ee_span payload) {
    uint8_t *room = NULL;
    if (payload.len > UINT32_MAX - EEI_FRAME_HEADER_BYTES) return EE_E_LIMIT;
    ee_status st = eei_buf_reserve(out, EEI_FRAME_HEADER_BYTES + payload.len, &room); /* at once: never a header without its payload */
    if (st) return st;
    eei_frame_header(room, type, flags, stream, (uint32_t)payload.len);
    if (payload.len) memcpy(room + EEI_FRAME_HEADER_BYTES, payload.data, payload.len);
    eei_buf_commit(out, EEI_FRAME_HEADER_BYTES + payload.len);
    return EE_OK;
}

ee_status eei_frame_decode(eei_reader *r, size_t payload_max, eei_frame *out, ee_error *err) {
    eei_reader ahead = *r; /* r itself moves only past a whole frame */
    eei_frame frame = {0};
    memset(out, 0, sizeof *out);
    const uint8_t version = eei_read_u8(&ahead);
    if (eei_reader_failed(&ahead)) return eei_fail(err, EE_E_AGAIN, "no frame yet");
    if (version != EEI_FRAME_VERSION) return eei_fail(err, EE_E_VERSION, "frame version %u, know %u", version, EEI_FRAME_VERSION);
    frame.type = eei_read_u8(&ahead);
    frame.flags = eei_read_u16be(&ahead);
    frame.stream = eei_read_u32be(&ahead);
    const uint32_t length = eei_read_u32be(&ahead);
    if (eei_reader_failed(&ahead)) return eei_fail(err, EE_E_AGAIN, "frame header is not whole yet");
    if (length > payload_max) /* threat B2: before anybody buffers for it */
        return eei_fail(err, EE_E_LIMIT, "%s frame of %u bytes, limit %zu", eei_frame_name(frame.type), length, payload_max);
    if (length > eei_reader_left(&ahead)) return eei_fail(err, EE_E_AGAIN, "frame is not whole yet");
    frame.payload = eei_read_span(&ahead, length);
    *out = frame;
    *r = ahead;
    return EE_OK;
}

const char *eei_frame_name(uint8_t type) {
    switch ((eei_frame_type)type) {
    case EEI_FRAME_HELLO: return "HELLO";
    case EEI_FRAME_EVIDENCE: return "EVIDENCE";
    case EEI_FRAME_ACCEPT: return "ACCEPT";
    case EEI_FRAME_REJECT: return "REJECT";
    case EEI_FRAME_CHALLENGE: return "CHALLENGE";
    case EEI_FRAME_RESPONSE: return "RESPONSE";
    case EEI_FRAME_PING: return "PING";
    case EEI_FRAME_PONG: return "PONG";
    case EEI_FRAME_OPEN: return "OPEN";
    case EEI_FRAME_DATA: return "DATA";
    case EEI_FRAME_WINDOW: return "WINDOW";
    case EEI_FRAME_CLOSE: return "CLOSE";
    case EEI_FRAME_RESET: return "RESET";
    case EEI_FRAME_JOB: return "JOB";
    case EEI_FRAME_JOB_STATE: return "JOB_STATE";
    case EEI_FRAME_RECEIPT: return "RECEIPT";
    case EEI_FRAME_DRAIN: return "DRAIN";
    case EEI_FRAME_HEAD: return "HEAD";
    case EEI_FRAME_LEASE: return "LEASE";
    case EEI_FRAME_ERROR: return "ERROR";
    case EEI_FRAME_RECEIPT_ACK: return "RECEIPT_ACK";
    case EEI_FRAME_APP: return "APP";
    case EEI_FRAME_APP_STATE: return "APP_STATE";
    case EEI_FRAME_OBSERVATION: return "OBSERVATION";
    case EEI_FRAME_JOB_START: return "JOB_START";
    case EEI_FRAME_PROGRESS: return "PROGRESS";
    case EEI_FRAME_OUTPUT: return "OUTPUT";
    case EEI_FRAME_RESULT: return "RESULT";
    case EEI_FRAME_CANCEL: return "CANCEL";
    }
    return "?";
}
