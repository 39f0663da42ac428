/* frame.h - the envelope of everything on a tunnel and inside an inner channel: a 12-byte header and a payload.
 * Pure. Called by mux, session and channel. Proto: docs/protocol.md#frames
 *
 *   u8 version (1) | u8 type | u16 flags | u32 stream | u32 payload length | payload        (big-endian)
 *
 * A websocket message carries one or more whole frames. Stream 0 is the connection itself. */
#ifndef EEI_FRAME_H
#define EEI_FRAME_H
#include "base/limits.h"
#include "base/reader.h"

#define EEI_FRAME_VERSION  1u
#define EEI_FRAME_CRITICAL 0x8000u /* a type that is not known and has this flag closes the connection; without it, it is ignored */

typedef enum eei_frame_type {
    EEI_FRAME_HELLO = 1,
    EEI_FRAME_EVIDENCE = 2,
    EEI_FRAME_ACCEPT = 3,
    EEI_FRAME_REJECT = 4,
    EEI_FRAME_CHALLENGE = 5,
    EEI_FRAME_RESPONSE = 6,
    EEI_FRAME_PING = 7,
    EEI_FRAME_PONG = 8,
    EEI_FRAME_OPEN = 9,
    EEI_FRAME_DATA = 10,
    EEI_FRAME_WINDOW = 11,
    EEI_FRAME_CLOSE = 12, /* no more data in this direction */
    EEI_FRAME_RESET = 13,
    EEI_FRAME_JOB = 14,
    EEI_FRAME_JOB_STATE = 15,
    EEI_FRAME_RECEIPT = 16,
    EEI_FRAME_DRAIN = 17,
    EEI_FRAME_HEAD = 18,
    EEI_FRAME_LEASE = 19,
    EEI_FRAME_ERROR = 20,
    EEI_FRAME_RECEIPT_ACK = 21,
    EEI_FRAME_APP = 22,
    EEI_FRAME_APP_STATE = 23,
    EEI_FRAME_OBSERVATION = 24,
    /* inside an inner channel */
    EEI_FRAME_JOB_START = 32,
    EEI_FRAME_PROGRESS = 33,
    EEI_FRAME_OUTPUT = 34,
    EEI_FRAME_RESULT = 35,
    EEI_FRAME_CANCEL = 36,
} eei_frame_type;

typedef struct eei_frame {
    uint8_t type;
    uint16_t flags;
    uint32_t stream;
    ee_span payload; /* borrowed */
} eei_frame;

/* Take one frame off the front of r. EE_E_AGAIN when it is not whole yet (r not moved); EE_E_VERSION; EE_E_LIMIT when the length is
 * over payload_max: decided from the header alone, before anything is buffered for it. */
ee_status eei_frame_decode(eei_reader *r, size_t payload_max, eei_frame *out, ee_error *err) EE_MUST_USE;
ee_status eei_frame_encode(eei_buf *out, uint8_t type, uint16_t flags, uint32_t stream, ee_span payload) EE_MUST_USE;
/* Header only, for writers that place the payload themselves. */
void eei_frame_header(uint8_t out[EEI_FRAME_HEADER_BYTES], uint8_t type, uint16_t flags, uint32_t stream, uint32_t length);
const char *eei_frame_name(uint8_t type); /* "HELLO"; "?" */
#endif
