/* receipt.h - is this receipt for the job that was asked for, signed by the machine that was attested? Pure. Called by jobs_api.c.
 * Proto: docs/protocol.md#receipts */
#ifndef CLIENT_RECEIPT_H
#define CLIENT_RECEIPT_H
#include "client/spec.h"

typedef struct client_receipt_expect {
    const ee_verdict *verdict; /* verified: whose instance key must have signed */
    const client_spec *spec;
    const client_admission *admission;
    const uint8_t *env_commitment, *input_commitment; /* 32 each: made when the secrets were sealed */
    const char *node;
    uint8_t output_hash[32];
} client_receipt_expect;
/* EE_E_ATTESTATION names the first field that is not what it must be. *out's spans borrow from envelope. */
ee_status client_receipt_check(const client_receipt_expect *expect, ee_span envelope, eei_receipt *out, ee_error *err) EE_MUST_USE;
/* {"id","job_id","node","period_start","vcpu_seconds","locked","charged","refunded","status","signed":...,"receipt":{all fields}} */
ee_status client_receipt_json(const eei_receipt *receipt, ee_span envelope, ee_money locked, char **out, ee_error *err) EE_MUST_USE;
#endif
