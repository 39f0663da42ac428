/* request.h - what an account signs when it calls the HTTP API, and account keys themselves. Pure.
 * Called by the client (signs) and the control plane (checks). Proto: docs/protocol.md#requests (threats S7, S8, S9) */
#ifndef EEI_REQUEST_H
#define EEI_REQUEST_H
#include "attest/envelope.h"

typedef struct eei_request_parts {
    const char *method, *host, *path_query; /* as sent */
    ee_span body;
    uint64_t time_ms;
    uint8_t nonce[16];
    const uint8_t *control_instance; /* 32: a signature for one control plane is worth nothing to another */
    const char *idempotency_key;     /* "" when there is none */
} eei_request_parts;
/* "EE-REQUEST-1\n<method>\n<host>\n<path?query>\n<sha256 of body, hex>\n<time_ms>\n<nonce hex>\n<control instance hex>\n<key>\n" */
ee_status eei_request_text(const eei_request_parts *parts, eei_buf *out, ee_error *err) EE_MUST_USE;

/* An API key is "ee_sk_" and base64url of a 32-byte seed and 4 bytes of checksum. It is never sent: HKDF makes the signing key. */
#define EEI_API_KEY_TEXT_MAX 80
ee_status eei_api_key_generate(char out[EEI_API_KEY_TEXT_MAX], ee_error *err) EE_MUST_USE;
ee_status eei_api_key_load(const char *api_key, eei_key **out, ee_error *err) EE_MUST_USE;
#endif
