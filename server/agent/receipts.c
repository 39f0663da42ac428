/* receipts.c - see receipts.h. */
#include "agent/receipts.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/price.h"

#include <string.h>

struct agent_receipt {
    agent_receipt *next;
    uint8_t hash[32];
    eei_buf envelope;
};

static void complete(agent *self, eei_receipt *receipt, ee_money locked) {
    memcpy(receipt->network_id, self->network_id, 32);
    memcpy(receipt->policy_hash, self->policy_hash, 32);
    memcpy(receipt->instance_id, eei_prover_instance_id(self->prover), 32);
    memcpy(receipt->previous, self->last_receipt, 32);
    receipt->node = eei_span_text(self->node);
    receipt->sequence = self->receipt_sequence + 1;
    receipt->charge = (uint64_t)eei_price_charge((ee_money)receipt->price, receipt->vcpu_ms, locked);
}

ee_status agent_receipts_issue(agent *self, eei_receipt *receipt, ee_money locked, ee_span *envelope, uint8_t hash[32], ee_error *err) {
    agent_receipt *kept = eei_calloc(1, sizeof *kept);
    eei_buf body = EEI_BUF_INIT(8192);
    ee_status st = kept ? EE_OK : eei_nomem(err);
    if (st) return st;
    kept->envelope = (eei_buf)EEI_BUF_INIT(16384);
    complete(self, receipt, locked);
    st = eei_encode(&eei_receipt_schema, receipt, &body, err);
    if (!st) st = eei_envelope_seal(eei_prover_key(self->prover), EEI_SIGNED_RECEIPT, eei_buf_span(&body), &kept->envelope, err);
    if (!st) eei_sha256(eei_buf_span(&kept->envelope), kept->hash);
    if (!st) st = eei_prover_receipt(self->prover, kept->hash, err);
    eei_buf_clear(&body);
    if (st) {
        eei_buf_clear(&kept->envelope);
        eei_free(kept);
        return st;
    }
    self->receipt_sequence = receipt->sequence;
    memcpy(self->last_receipt, kept->hash, 32);
    memcpy(hash, kept->hash, 32);
    /* Oldest first, so that they are sent again in the order of their chain. */
    agent_receipt **at = &self->receipts;
    while (*at) at = &(*at)->next;
    *at = kept;
    *envelope = eei_buf_span(&kept->envelope);
    if (eei_link_is_open(self->link)) eei_ignored(eei_link_send(self->link, EEI_FRAME_RECEIPT, EEI_FRAME_CRITICAL, *envelope, NULL));
    return EE_OK;
}

bool agent_receipts_acknowledge(agent *self, const uint8_t hash[32]) {
    for (agent_receipt **at = &self->receipts; *at; at = &(*at)->next) {
        if (!eei_same((*at)->hash, hash, 32)) continue;
        agent_receipt *done = *at;
        *at = done->next;
        eei_buf_clear(&done->envelope);
        eei_free(done);
        return true;
    }
    return false;
}

void agent_receipts_send_again(agent *self) {
    for (agent_receipt *r = self->receipts; r; r = r->next)
        eei_ignored(eei_link_send(self->link, EEI_FRAME_RECEIPT, EEI_FRAME_CRITICAL, eei_buf_span(&r->envelope), NULL));
}

void agent_receipts_free(agent *self) {
    while (self->receipts) (void)agent_receipts_acknowledge(self, self->receipts->hash);
}
