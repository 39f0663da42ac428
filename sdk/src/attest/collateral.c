/* collateral.c - collateral JSON into its parts, and what can be known of it without a quote. It judges nothing by itself: trust.c and
 * tcb_info.c do. Called by the public API and verify.c. */
#include "attest/collateral.h"

#include "attest/document.h"
#include "base/alloc.h"

#include <string.h>

/* 1 MiB of JSON, as much again in texts whose escapes are gone and in CRLs, and what 12,000 levels, the most that fit into it, become. */
enum { ARENA_MAX = 4 << 20 };

/* ---- the envelope ---- */

static ee_status chain_value(eei_document *d, const char *name, eei_chain *out) {
    ee_span pem;
    ee_status st = eei_doc_text(d, &pem);
    return st ? st : eei_doc_named(d, eei_chain_parse(pem, out, d->err), name);
}

/* Hex in one case, as every PCS writes it: in both, a changed bit would go unnoticed where it turns a letter into the same one. */
static ee_status hex_value(eei_document *d, const char *name, ee_span *out) {
    bool upper = false, lower = false;
    ee_status st = eei_doc_text(d, out);
    for (size_t i = 0; !st && i < out->len; i++) {
        upper = upper || (out->data[i] >= 'A' && out->data[i] <= 'F');
        lower = lower || (out->data[i] >= 'a' && out->data[i] <= 'f');
    }
    return upper && lower ? eei_doc_wrong(d, name, "has hex digits in both cases") : st;
}

static ee_status signature_value(eei_document *d, const char *name, uint8_t out[64]) {
    ee_span hex;
    ee_status st = hex_value(d, name, &hex);
    return st ? st : eei_doc_named(d, eei_hex_decode_span(hex, out, 64, d->err), name);
}

static ee_status crl_value(eei_document *d, const char *name, eei_crl *out) {
    ee_span hex;
    ee_status st = hex_value(d, name, &hex);
    if (st) return st;
    uint8_t *der = eei_arena_alloc(d->arena, hex.len / 2 + 1);
    if (!der) return eei_doc_named(d, eei_arena_error(d->arena, d->err), name);
    st = eei_hex_decode_span(hex, der, hex.len / 2, d->err);
    if (!st) st = eei_crl_parse(eei_span(der, hex.len / 2), out, d->err);
    return eei_doc_named(d, st, name);
}

#define ENVELOPE_FIELD(field, expression)                                                                                                  \
    static ee_status read_##field(eei_document *d, const char *name, void *into) {                                                         \
        ee_collateral *c = into;                                                                                                           \
        (void)name;                                                                                                                        \
        return expression;                                                                                                                 \
    }
ENVELOPE_FIELD(pck_crl_issuer_chain, chain_value(d, name, &c->crl_chain))
ENVELOPE_FIELD(root_ca_crl, crl_value(d, name, &c->root_crl))
ENVELOPE_FIELD(pck_crl, crl_value(d, name, &c->pck_crl))
ENVELOPE_FIELD(tcb_info_issuer_chain, chain_value(d, name, &c->tcb_info_chain))
ENVELOPE_FIELD(tcb_info, eei_doc_text(d, &c->tcb_info))
ENVELOPE_FIELD(tcb_info_signature, signature_value(d, name, c->tcb_info_signature))
ENVELOPE_FIELD(qe_identity_issuer_chain, chain_value(d, name, &c->qe_identity_chain))
ENVELOPE_FIELD(qe_identity, eei_doc_text(d, &c->qe_identity))
ENVELOPE_FIELD(qe_identity_signature, signature_value(d, name, c->qe_identity_signature))
ENVELOPE_FIELD(pck_certificate_chain, chain_value(d, name, &c->pck_chain))

static const eei_member envelope[] = {
    {"pck_crl_issuer_chain", false, read_pck_crl_issuer_chain},
    {"root_ca_crl", false, read_root_ca_crl},
    {"pck_crl", false, read_pck_crl},
    {"tcb_info_issuer_chain", false, read_tcb_info_issuer_chain},
    {"tcb_info", false, read_tcb_info},
    {"tcb_info_signature", false, read_tcb_info_signature},
    {"qe_identity_issuer_chain", false, read_qe_identity_issuer_chain},
    {"qe_identity", false, read_qe_identity},
    {"qe_identity_signature", false, read_qe_identity_signature},
    {"pck_certificate_chain", true, read_pck_certificate_chain},
};

ee_status ee_collateral_parse(ee_span json, ee_collateral **out, ee_error *err) {
    ee_error local; /* readers write to it whether the caller wants to know or not */
    if (!out) return eei_fail(err, EE_E_INVALID, "out is NULL");
    *out = NULL;
    if (!json.len) return eei_fail(err, EE_E_MALFORMED, "there is no collateral: without it nothing vouches for a quote");
    ee_collateral *c = eei_calloc(1, sizeof *c);
    if (!c) return eei_nomem(err);
    atomic_init(&c->refs, 1);
    (void)pthread_mutex_init(&c->lock, NULL); /* default attributes: does not fail on Linux */
    c->arena = (eei_arena)EEI_ARENA_INIT(ARENA_MAX);
    eei_document d = {.arena = &c->arena, .err = err ? err : &local};
    uint8_t *copy = json.len <= EEI_COLLATERAL_BYTES_MAX ? eei_arena_alloc(&c->arena, json.len) : NULL;
    if (copy) memcpy(copy, json.data, json.len);
    c->json = eei_span(copy, copy ? json.len : 0);
    ee_status st = copy || json.len > EEI_COLLATERAL_BYTES_MAX ? EE_OK : eei_nomem(err);
    if (!st) st = EEI_READ_DOCUMENT(&d, copy ? c->json : json, envelope, c);
    if (st && st != EE_E_NOMEM) st = eei_prefix(err, st, "collateral");
    if (st)
        ee_collateral_free(c);
    else
        *out = c;
    return st;
}

ee_span ee_collateral_json(const ee_collateral *collateral) { return collateral ? collateral->json : (ee_span){NULL, 0}; }

ee_collateral *eei_collateral_ref(const ee_collateral *collateral) {
    ee_collateral *c = (ee_collateral *)(uintptr_t)collateral; /* immutable but for its count */
    if (c) atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void ee_collateral_free(ee_collateral *collateral) {
    if (!collateral || atomic_fetch_sub_explicit(&collateral->refs, 1, memory_order_acq_rel) != 1) return;
    eei_chain_clear(&collateral->tcb_info_chain);
    eei_chain_clear(&collateral->qe_identity_chain);
    eei_chain_clear(&collateral->pck_chain);
    eei_chain_clear(&collateral->crl_chain);
    eei_arena_clear(&collateral->arena);
    (void)pthread_mutex_destroy(&collateral->lock);
    eei_free(collateral);
}

/* ---- facts ---- */

/* Only what is signed is read. Memory that ran out is no fact: it is tried again next time. */
static ee_status find_out(ee_collateral *c, eei_p256 *p256, eei_collateral_facts *f, ee_error *err) {
    ee_status st = eei_trust_collateral(c, p256, &f->trust, err);
    if (st) return st;
    f->tcb_info = f->trust.tcb_info;
    f->qe_identity = f->trust.qe_identity;
    if (!f->tcb_info.status) f->tcb_info.status = eei_tcb_info_parse(c->tcb_info, &c->arena, &f->info, &f->tcb_info.why);
    if (!f->qe_identity.status) f->qe_identity.status = eei_qe_identity_parse(c->qe_identity, &c->arena, &f->qe, &f->qe_identity.why);
    bool nomem = f->tcb_info.status == EE_E_NOMEM || f->qe_identity.status == EE_E_NOMEM;
    return nomem ? eei_nomem(err) : EE_OK;
}

ee_status eei_collateral_known(const ee_collateral *collateral, eei_p256 *p256, const eei_collateral_facts **out, ee_error *err) {
    ee_collateral *c = (ee_collateral *)(uintptr_t)collateral; /* what is found out does not change what it says */
    ee_status st = EE_OK;
    pthread_mutex_lock(&c->lock);
    if (!c->known) {
        memset(&c->facts, 0, sizeof c->facts);
        st = find_out(c, p256, &c->facts, err);
        c->known = !st;
    }
    pthread_mutex_unlock(&c->lock);
    *out = st ? NULL : &c->facts;
    return st;
}
