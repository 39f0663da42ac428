/* receipts.c - see receipts.h. */
#include "agent/receipts.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/price.h"

#include <string.h>

enum { KEPT_MAX = 4096, KEPT_MS = 24 * 3600 * 1000 };

struct agent_receipt {
    agent_receipt *next;
    uint8_t hash[32];
    uint64_t issued_ms; /* monotonic */
    eei_buf envelope;
};

/* ---- the list: oldest first, so that they are sent again in the order of their chain ----------------------------------- */

static void append(agent *self, agent_receipt *r) {
    if (self->receipts_last)
        self->receipts_last->next = r;
    else
        self->receipts = r;
    self->receipts_last = r;
    self->receipt_count++;
    if (!self->receipts_unsent) self->receipts_unsent = r;
}

static void discard(agent *self, agent_receipt *r, agent_receipt *before) {
    if (before)
        before->next = r->next;
    else
        self->receipts = r->next;
    if (self->receipts_last == r) self->receipts_last = before;
    if (self->receipts_unsent == r) self->receipts_unsent = r->next;
    self->receipt_count--;
    eei_buf_clear(&r->envelope);
    eei_free(r);
}

/* What a control plane never acknowledges must not fill this node's memory. */
static void bound(agent *self) {
    uint64_t now = eei_mono_ms(), dropped = 0;
    while (self->receipts && (self->receipt_count > KEPT_MAX || now - self->receipts->issued_ms > KEPT_MS)) {
        discard(self, self->receipts, NULL);
        dropped++;
    }
    if (dropped)
        eei_log(EEI_LOG_ERROR, "receipts.dropped", "count=%llu kept=%zu message=not acknowledged within a day, or over %d of them",
                (unsigned long long)dropped, self->receipt_count, KEPT_MAX);
}

/* ---- issuing --------------------------------------------------------------------------------------------------------- */

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
    kept->issued_ms = eei_mono_ms();
    append(self, kept);
    bound(self);
    *envelope = eei_buf_span(&kept->envelope);
    agent_receipts_go_on(self);
    return EE_OK;
}

/* ---- until it is booked ---------------------------------------------------------------------------------------------- */

bool agent_receipts_acknowledge(agent *self, const uint8_t hash[32]) {
    for (agent_receipt *r = self->receipts, *before = NULL; r; before = r, r = r->next) {
        if (!eei_same(r->hash, hash, 32)) continue;
        discard(self, r, before);
        return true;
    }
    return false;
}

void agent_receipts_go_on(agent *self) {
    if (!self->link || !eei_link_is_open(self->link)) return;
    for (agent_receipt *r = self->receipts_unsent; r; r = self->receipts_unsent = r->next)
        if (eei_link_send(self->link, EEI_FRAME_RECEIPT, EEI_FRAME_CRITICAL, eei_buf_span(&r->envelope), NULL)) return;
}

void agent_receipts_send_again(agent *self) {
    bound(self);
    self->receipts_unsent = self->receipts;
    agent_receipts_go_on(self);
}

void agent_receipts_free(agent *self) {
    while (self->receipts) discard(self, self->receipts, NULL);
}
