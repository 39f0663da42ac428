/* receipt.c - see receipt.h. */
#include "receipt.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/price.h"

#include <stdio.h>
#include <string.h>

static ee_status wrong(ee_error *err, const char *field) {
    return eei_fail(err, EE_E_ATTESTATION, "the receipt's %s is not what was asked for or seen here; do not trust this result", field);
}

static ee_status check_identity(const client_receipt_expect *expect, const eei_receipt *receipt, ee_error *err) {
    if (!eei_span_equal(receipt->job_id, eei_span_text(expect->admission->id))) return wrong(err, "job id");
    if (!eei_span_equal(receipt->node, eei_span_text(expect->node))) return wrong(err, "node");
    if (!eei_same(receipt->instance_id, expect->admission->instance_id, 32)) return wrong(err, "instance");
    if (!eei_same(receipt->auth_id, expect->admission->auth_id, 16)) return wrong(err, "authorization id");
    /* What an earlier call with the same key signed is not known here; its id is, for it follows from the key. */
    if (!expect->admission->replayed && !eei_same(receipt->spend_auth_hash, expect->admission->spend_auth_hash, 32))
        return wrong(err, "authorization");
    if (!eei_same(receipt->spec_hash, expect->spec->hash, 32)) return wrong(err, "spec");
    if (!eei_same(receipt->image_digest, expect->spec->message.image_digest, 32)) return wrong(err, "image digest");
    if (!eei_same(receipt->output_hash, expect->output_hash, 32)) return wrong(err, "output hash");

    if (!eei_same(receipt->env_commitment, expect->env_commitment, 32)) return wrong(err, "environment");
    if (!eei_same(receipt->input_commitment, expect->input_commitment, 32)) return wrong(err, "input");
    return EE_OK;
}

static ee_status check_money(const client_receipt_expect *expect, const eei_receipt *receipt, ee_error *err) {
    ee_money charge = eei_price_charge(expect->admission->price, receipt->vcpu_ms, expect->admission->locked);
    if (receipt->price != (uint64_t)expect->admission->price) return wrong(err, "price");
    if (receipt->vcpus_milli != expect->spec->message.vcpus_milli) return wrong(err, "vcpus");
    if (receipt->charge != (uint64_t)charge) return wrong(err, "charge");
    return EE_OK;
}

ee_status client_receipt_check(const client_receipt_expect *expect, ee_span bytes, eei_receipt *out, ee_error *err) {
    eei_arena arena = EEI_ARENA_INIT(4096);
    eei_envelope envelope;
    const eei_statement *statement = eei_verdict_statement(expect->verdict);
    ee_status st = statement ? EE_OK : eei_fail(err, EE_E_STATE, "a receipt cannot be checked before its machine is attested");
    if (!st) st = eei_envelope_parse(bytes, &envelope, err);
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_RECEIPT, statement->instance_pub, err);
    if (!st) st = eei_decode(&eei_receipt_schema, envelope.body, &arena, out, err);
    if (st) {
        eei_arena_clear(&arena);
        return st == EE_E_NOMEM ? st : eei_prefix(err, st, "the receipt");
    }
    st = check_identity(expect, out, err);
    if (!st) st = check_money(expect, out, err);
    eei_arena_clear(&arena); /* a receipt has no lists: nothing of it lives in the arena */
    return st;
}

ee_status client_receipt_json(const eei_receipt *receipt, ee_span envelope, ee_money locked, char **out, ee_error *err) {
    char id[65], period[32], seconds[40];
    uint8_t hash[32];
    eei_buf text = EEI_BUF_INIT(1 << 16), signed_text = EEI_BUF_INIT(1 << 14);
    json_t *object = NULL;
    ee_status st = EE_OK;

    *out = NULL;
    eei_sha256(envelope, hash);
    eei_hex_encode(eei_span(hash, sizeof hash), id);
    (void)snprintf(seconds, sizeof seconds, "%llu.%03u", (unsigned long long)(receipt->vcpu_ms / 1000),
                   (unsigned)(receipt->vcpu_ms % 1000));
    if (eei_base64url_encode(envelope, &signed_text) || !eei_buf_cstr(&signed_text)) st = eei_nomem(err);
    if (!st) {
        object = json_pack(
            "{s:s, s:s%, s:s%, s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:s, s:o}", "id", id, "job_id", receipt->job_id.data, receipt->job_id.len,
            "node", receipt->node.data, receipt->node.len, "period", eei_format_utc(receipt->period_start_ms, period), "vcpu_seconds",
            seconds, "price_per_vcpu_hour", eei_json_money((ee_money)receipt->price), "locked", eei_json_money(locked), "charged",
            eei_json_money((ee_money)receipt->charge), "refunded", eei_json_money(locked - (ee_money)receipt->charge), "status", "locked",
            "signed", (const char *)signed_text.data, "receipt", eei_message_json(&eei_receipt_schema, receipt));
        if (!object) st = eei_nomem(err);
    }
    if (!st) st = eei_json_dump(object, &text, err);
    if (!st && !eei_buf_cstr(&text)) st = eei_nomem(err);
    if (!st) *out = (char *)eei_take(&text.data);
    json_decref(object);
    eei_buf_clear(&text);
    eei_buf_clear(&signed_text);
    return st;
}
