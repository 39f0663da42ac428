/* relaxed_trust.c - trust.h for peers' test suites, whose certificates have other names, other chain lengths and no key usage. It takes the
 * place of sdk/src/attest/trust.c when ee-verify-case is linked, and is in nothing else: the library knows one strict profile only.
 * Still checked: every signature up to the anchor, CA flags, CRL signatures, revocation, dates. */
#include "attest/collateral.h"
#include "attest/statement.h"
#include "attest/trust.h"

#include <string.h>

/* From this certificate on each is signed by the next, the last by itself; those from first_ca on are CAs, the others are not. */
static ee_status path_signed(eei_p256 *p256, const eei_chain *chain, size_t from, size_t first_ca, ee_error *err) {
    ee_status st = EE_OK;
    for (size_t i = from; !st && i < chain->count; i++) {
        const eei_cert *cert = &chain->certs[i], *issuer = &chain->certs[i + 1 < chain->count ? i + 1 : i];
        if (cert->is_ca != (i >= first_ca)) return eei_fail(err, EE_E_AUTH, "CaUsedAsEndEntity: certificate %zu is in another's place", i);
        if (!eei_span_equal(cert->issuer, issuer->subject)) return eei_fail(err, EE_E_AUTH, "UnknownIssuer: certificate %zu", i);
        st = eei_p256_verify(p256, issuer->key, cert->tbs, cert->signature, err);
        if (st) st = eei_fail(err, st, "the signature of the %s certificate does not verify", i + 1 < chain->count ? "lower" : "root");
    }
    return st;
}

static ee_status chain_signed(eei_p256 *p256, const eei_chain *chain, ee_error *err) { return path_signed(p256, chain, 0, 1, err); }

static void decide(eei_fact *fact, ee_status st) { fact->status = fact->why.status = st; }

static ee_status signed_text(eei_p256 *p256, const eei_chain *chain, ee_span text, const uint8_t signature[64], ee_error *err) {
    ee_status st = chain_signed(p256, chain, err);
    return st ? st : eei_p256_verify(p256, chain->certs[0].key, text, signature, err);
}

/* By whichever CA of the collateral has the issuer's name, and is a CA under the root of pck_crl_issuer_chain, which verify.c compares with
 * the anchor. A name alone is anybody's. */
static ee_status crl_signed(eei_p256 *p256, const ee_collateral *c, const eei_crl *crl, ee_error *err) {
    const eei_chain *const chains[] = {&c->crl_chain, &c->tcb_info_chain, &c->qe_identity_chain, &c->pck_chain};
    ee_status forged = EE_OK;
    for (size_t i = 0; i < sizeof chains / sizeof *chains; i++)
        for (size_t k = 0; k < chains[i]->count; k++) {
            const eei_cert *ca = &chains[i]->certs[k];
            if (!eei_span_equal(ca->subject, crl->issuer) ||
                !eei_span_equal(eei_chain_root(chains[i])->der, eei_chain_root(&c->crl_chain)->der))
                continue;
            forged = path_signed(p256, chains[i], k, k, err);
            if (forged) continue;
            if (ca->has_usage && !(ca->usage & EEI_USAGE_CRL_SIGN)) return eei_fail(err, EE_E_AUTH, "IssuerNotCrlSigner");
            return eei_p256_verify(p256, ca->key, crl->tbs, crl->signature, err);
        }
    return forged ? forged : eei_fail(err, EE_E_AUTH, "UnknownIssuer of a CRL");
}

ee_status eei_trust_collateral(const ee_collateral *c, eei_p256 *p256, eei_trust_facts *out, ee_error *err) {
    (void)err;
    memset(out, 0, sizeof *out);
    decide(&out->tcb_info, signed_text(p256, &c->tcb_info_chain, c->tcb_info, c->tcb_info_signature, &out->tcb_info.why));
    decide(&out->qe_identity, signed_text(p256, &c->qe_identity_chain, c->qe_identity, c->qe_identity_signature, &out->qe_identity.why));
    ee_status st = eei_span_equal(c->root_crl.issuer, eei_chain_root(&c->crl_chain)->subject)
                       ? crl_signed(p256, c, &c->root_crl, &out->crls.why)
                       : eei_fail(&out->crls.why, EE_E_AUTH, "UnknownIssuer: the root CRL is another CA's");
    if (!st) st = crl_signed(p256, c, &c->pck_crl, &out->crls.why);
    decide(&out->crls, st);
    return EE_OK;
}

ee_status eei_trust_anchor(const eei_chain *pck, const uint8_t anchor[32], ee_error *err) {
    uint8_t hash[32];
    eei_sha256(eei_chain_root(pck)->der, hash);
    return memcmp(hash, anchor, 32) ? eei_fail(err, EE_E_AUTH, "UnknownIssuer: the root is not the one that was given") : EE_OK;
}

ee_status eei_trust_same_root(const eei_chain *chain, const eei_chain *pck, ee_error *err) {
    if (eei_span_equal(eei_chain_root(chain)->der, eei_chain_root(pck)->der)) return EE_OK;
    return eei_fail(err, EE_E_AUTH, "UnknownIssuer: the chain has another root than the one that was given");
}

ee_status eei_trust_pck(const ee_collateral *c, const eei_trust_facts *facts, const eei_chain *pck, eei_p256 *p256, ee_error *err) {
    (void)c;
    (void)facts;
    return chain_signed(p256, pck, err);
}

/* Each by a CRL of its issuer, which must be there where it is needed: no CRL is not an empty CRL. */
static ee_status chain_not_revoked(const ee_collateral *c, const eei_chain *chain, bool needed, ee_error *err) {
    const eei_crl *const crls[] = {&c->root_crl, &c->pck_crl};
    for (size_t i = 0; i < chain->count; i++) {
        size_t known = 0;
        for (size_t k = 0; k < 2; k++) {
            if (!eei_span_equal(crls[k]->issuer, chain->certs[i].issuer)) continue;
            if (eei_crl_lists(crls[k], chain->certs[i].serial)) return eei_fail(err, EE_E_AUTH, "CertRevoked: certificate %zu", i);
            known++;
        }
        if (needed && !known) return eei_fail(err, EE_E_AUTH, "UnknownRevocationStatus: certificate %zu", i);
    }
    return EE_OK;
}

ee_status eei_trust_revocation(const ee_collateral *c, const eei_chain *pck, ee_error *err) {
    ee_status st = chain_not_revoked(c, pck, true, err);
    if (!st) st = chain_not_revoked(c, &c->tcb_info_chain, true, err);
    if (!st) st = chain_not_revoked(c, &c->qe_identity_chain, true, err);
    return st ? st : chain_not_revoked(c, &c->crl_chain, false, err);
}

static void narrow_chain(eei_window *window, const eei_chain *chain, const char *what) {
    for (size_t i = 0; i < chain->count; i++)
        eei_window_narrow(window, chain->certs[i].not_before_s, chain->certs[i].not_after_s,
                          i + 1 < chain->count ? what : "root certificate");
}

void eei_trust_window(const ee_collateral *c, const eei_chain *pck, eei_window *window) {
    narrow_chain(window, pck, "PCK chain");
    narrow_chain(window, &c->tcb_info_chain, "TCB signing chain");
    narrow_chain(window, &c->qe_identity_chain, "TCB signing chain");
    eei_window_narrow(window, c->root_crl.this_update_s, c->root_crl.next_update_s, "root CRL");
    eei_window_narrow(window, c->pck_crl.this_update_s, c->pck_crl.next_update_s, "PCK CRL");
}
