/* trust.c - see trust.h. There are three chains: {PCK, PCK CA, root} in a quote, {TCB signer, root} with TCB info and QE identity,
 * {PCK CA, root} with the PCK CRL. Each is checked link by link; nothing is searched for. Called through trust.h. */
#include "attest/trust.h"

#include "attest/collateral.h"
#include "attest/policy.h"
#include "attest/statement.h"
#include "base/encoding.h"

#include <stdio.h>
#include <string.h>

/* ---- one chain ---- */

typedef enum role { ROLE_PCK, ROLE_PCK_CA, ROLE_TCB_SIGNER, ROLE_ROOT } role;

static const struct {
    const char *what;
    bool ca;
    const char *names[2]; /* common name; under Intel's root exactly, after "Intel " */
} roles[] = {
    [ROLE_PCK] = {"PCK certificate", false, {"SGX PCK Certificate", NULL}},
    [ROLE_PCK_CA] = {"PCK CA certificate", true, {"SGX PCK Platform CA", "SGX PCK Processor CA"}},
    [ROLE_TCB_SIGNER] = {"TCB signing certificate", false, {"SGX TCB Signing", NULL}},
    [ROLE_ROOT] = {"root certificate", true, {"SGX Root CA", NULL}},
};

/* Leaf first; the last is the root. */
typedef struct shape {
    const char *what;
    size_t count;
    role roles[3];
} shape;
static const shape pck_shape = {"PCK chain", 3, {ROLE_PCK, ROLE_PCK_CA, ROLE_ROOT}};
static const shape signer_shape = {"TCB signing chain", 2, {ROLE_TCB_SIGNER, ROLE_ROOT}};
static const shape crl_shape = {"PCK CRL issuer chain", 2, {ROLE_PCK_CA, ROLE_ROOT}};

/* Under Intel's root a role is one exact name; another root may put its own organisation before it. Without this, any end-entity
 * certificate under the root could sign collateral. */
static bool has_role(const eei_cert *cert, role as, bool intel) {
    char exact[EEI_CERT_CN_MAX + 1];
    for (size_t i = 0; i < 2 && roles[as].names[i]; i++) {
        snprintf(exact, sizeof exact, "Intel %s", roles[as].names[i]);
        if (intel ? !strcmp(cert->subject_cn, exact) : strstr(cert->subject_cn, roles[as].names[i]) != NULL) return true;
    }
    return false;
}

/* Basic constraints and key usage as the profile has them. below: how many CAs stand between this one and the leaf. */
static ee_status constraints(const eei_cert *cert, role as, size_t below, ee_error *err) {
    const char *what = roles[as].what;
    unsigned want = roles[as].ca ? EEI_USAGE_CERT_SIGN | EEI_USAGE_CRL_SIGN : EEI_USAGE_SIGNATURE;
    if (cert->is_ca != roles[as].ca)
        return eei_fail(err, EE_E_AUTH, "%s is %sa CA, and must %sbe", what, cert->is_ca ? "" : "not ", cert->is_ca ? "not " : "");
    if (cert->is_ca && (!cert->constraints_critical || !cert->key_id.len))
        return eei_fail(err, EE_E_AUTH, "%s lacks critical basic constraints or a key identifier", what);
    if (cert->is_ca && cert->path_len >= 0 && (size_t)cert->path_len < below)
        return eei_fail(err, EE_E_AUTH, "%s allows a path of %d CAs below it, there are %zu", what, cert->path_len, below);
    if (!cert->has_usage || (cert->usage & want) != want || (!cert->is_ca && cert->usage & (EEI_USAGE_CERT_SIGN | EEI_USAGE_CRL_SIGN)))
        return eei_fail(err, EE_E_AUTH, "%s has the wrong key usage", what);
    return EE_OK;
}

/* Named by its issuer's exact name and key. The root is its own issuer. */
static ee_status link_of(const eei_cert *cert, const eei_cert *issuer, role as, ee_error *err) {
    if (!eei_span_equal(cert->issuer, issuer->subject))
        return eei_fail(err, EE_E_AUTH, "%s names another issuer than the next certificate", roles[as].what);
    bool root = as == ROLE_ROOT;
    if (!cert->authority_key_id.len ? !root : !eei_span_equal(cert->authority_key_id, issuer->key_id))
        return eei_fail(err, EE_E_AUTH, "%s names another issuer key than the next certificate's", roles[as].what);
    return EE_OK;
}

static bool is_intel(const eei_cert *root) {
    uint8_t hash[32];
    eei_sha256(root->der, hash);
    return eei_same(hash, eei_anchor_intel, 32);
}

/* Everything about a chain but its signatures, dates and pin. */
static ee_status chain_shape(const eei_chain *chain, const shape *s, ee_error *err) {
    if (chain->count != s->count)
        return eei_fail(err, EE_E_AUTH, "%s has %zu certificates, must have %zu", s->what, chain->count, s->count);
    bool intel = is_intel(&chain->certs[s->count - 1]);
    ee_status st = EE_OK;
    for (size_t i = 0; !st && i < s->count; i++) {
        const eei_cert *cert = &chain->certs[i], *issuer = &chain->certs[i + 1 < s->count ? i + 1 : i];
        st = constraints(cert, s->roles[i], i ? i - 1 : 0, err);
        if (!st) st = link_of(cert, issuer, s->roles[i], err);
        if (!st && !has_role(cert, s->roles[i], intel))
            st = eei_fail(err, EE_E_AUTH, "%s: a certificate does not have the role its place needs (common name)", s->what);
    }
    return st;
}

static ee_status signed_by(eei_p256 *p256, const eei_cert *cert, const eei_cert *issuer, role as, ee_error *err) {
    ee_status st = eei_p256_verify(p256, issuer->key, cert->tbs, cert->signature, err);
    return st && st != EE_E_NOMEM ? eei_fail(err, EE_E_AUTH, "the signature of the %s does not verify", roles[as].what) : st;
}

/* ---- facts of a collateral ---- */

static void decide(eei_fact *fact, ee_status st) { fact->status = fact->why.status = st; }

/* Text signed by "SGX TCB Signing". The bytes are the ones delivered; they are parsed only after this. */
static ee_status signed_text(eei_p256 *p256, const eei_chain *chain, bool signer_known, ee_span text, const uint8_t signature[64],
                             ee_error *err) {
    ee_status st = signer_known ? EE_OK : chain_shape(chain, &signer_shape, err);
    if (!st && !signer_known) st = signed_by(p256, &chain->certs[0], &chain->certs[1], ROLE_TCB_SIGNER, err);
    if (!st) st = eei_p256_verify(p256, chain->certs[0].key, text, signature, err);
    return st;
}

static ee_status crl_of(const eei_crl *crl, const eei_cert *issuer, const char *what, ee_error *err) {
    if (!eei_span_equal(crl->issuer, issuer->subject) || !eei_span_equal(crl->authority_key_id, issuer->key_id))
        return eei_fail(err, EE_E_AUTH, "%s is issued by another CA than the one it is needed for", what);
    return EE_OK;
}

static ee_status crl_signed(eei_p256 *p256, const eei_crl *crl, const eei_cert *issuer, const char *what, ee_error *err) {
    ee_status st = crl_of(crl, issuer, what, err);
    if (!st) st = eei_p256_verify(p256, issuer->key, crl->tbs, crl->signature, err);
    return st == EE_E_AUTH && err ? eei_prefix(err, st, what) : st;
}

static ee_status pck_ca_signed(const eei_chain *chain, eei_p256 *p256, ee_error *err) {
    ee_status st = chain_shape(chain, &crl_shape, err);
    return st ? st : signed_by(p256, &chain->certs[0], &chain->certs[1], ROLE_PCK_CA, err);
}

static ee_status crls_signed(const ee_collateral *c, const eei_fact *pck_ca, eei_p256 *p256, ee_error *err) {
    const eei_cert *ca = &c->crl_chain.certs[0], *root = &c->crl_chain.certs[1];
    ee_status st = pck_ca->status;
    if (st) *err = pck_ca->why;
    if (!st) st = crl_signed(p256, &c->root_crl, root, "root CRL", err);
    if (!st) st = crl_signed(p256, &c->pck_crl, ca, "PCK CRL", err);
    return st;
}

ee_status eei_trust_collateral(const ee_collateral *c, eei_p256 *p256, eei_trust_facts *out, ee_error *err) {
    memset(out, 0, sizeof *out);
    decide(&out->tcb_info, signed_text(p256, &c->tcb_info_chain, false, c->tcb_info, c->tcb_info_signature, &out->tcb_info.why));
    bool known = !out->tcb_info.status && eei_chain_same(&c->tcb_info_chain, &c->qe_identity_chain);
    decide(&out->qe_identity,
           signed_text(p256, &c->qe_identity_chain, known, c->qe_identity, c->qe_identity_signature, &out->qe_identity.why));
    decide(&out->pck_ca, pck_ca_signed(&c->crl_chain, p256, &out->pck_ca.why));
    decide(&out->crls, crls_signed(c, &out->pck_ca, p256, &out->crls.why));
    bool nomem = out->tcb_info.status == EE_E_NOMEM || out->qe_identity.status == EE_E_NOMEM || out->crls.status == EE_E_NOMEM;
    return nomem ? eei_nomem(err) : EE_OK;
}

/* ---- a quote's chain under a collateral ---- */

ee_status eei_trust_anchor(const eei_chain *pck, const uint8_t anchor[32], ee_error *err) {
    const eei_cert *root = eei_chain_root(pck);
    uint8_t hash[32];
    char hex[65];
    if (!root) return eei_fail(err, EE_E_AUTH, "PCK chain is empty");
    eei_sha256(root->der, hash);
    if (eei_same(hash, anchor, 32)) return EE_OK;
    eei_hex_encode(eei_span(hash, 8), hex);
    return eei_fail(err, EE_E_AUTH, "the root certificate (SHA-256 %s...) is not the policy's trust anchor", hex);
}

ee_status eei_trust_same_root(const eei_chain *chain, const eei_chain *pck, ee_error *err) {
    const eei_cert *root = eei_chain_root(chain), *want = eei_chain_root(pck);
    if (root && want && eei_span_equal(root->der, want->der)) return EE_OK;
    return eei_fail(err, EE_E_AUTH, "its chain ends in another root certificate than the policy's trust anchor");
}

/* The CA's signature is known when the collateral has the same CA under the same root, and it holds there. */
static bool pck_ca_known(const ee_collateral *c, const eei_trust_facts *facts, const eei_chain *pck) {
    const eei_chain *known = &c->crl_chain;
    return !facts->pck_ca.status && eei_span_equal(known->certs[0].der, pck->certs[1].der) &&
           eei_span_equal(known->certs[1].der, pck->certs[2].der);
}

ee_status eei_trust_pck(const ee_collateral *c, const eei_trust_facts *facts, const eei_chain *pck, eei_p256 *p256, ee_error *err) {
    ee_status st = chain_shape(pck, &pck_shape, err);
    if (st) return st;
    const eei_cert *leaf = &pck->certs[0], *ca = &pck->certs[1], *root = &pck->certs[2];
    if (!pck_ca_known(c, facts, pck)) st = signed_by(p256, ca, root, ROLE_PCK_CA, err);
    return st ? st : signed_by(p256, leaf, ca, ROLE_PCK, err);
}

static ee_status not_listed(const eei_crl *crl, const eei_cert *cert, const char *what, ee_error *err) {
    return eei_crl_lists(crl, cert->serial) ? eei_fail(err, EE_E_AUTH, "%s is revoked", what) : EE_OK;
}

ee_status eei_trust_revocation(const ee_collateral *c, const eei_chain *pck, ee_error *err) {
    const eei_cert *ca = &pck->certs[1], *crl_ca = &c->crl_chain.certs[0];
    ee_status st = crl_of(&c->pck_crl, ca, "PCK CRL", err);
    if (!st && !eei_same(ca->key, crl_ca->key, sizeof ca->key))
        st = eei_fail(err, EE_E_AUTH, "PCK CRL is signed by another key than the CA of the quote's chain has");
    if (!st) st = not_listed(&c->root_crl, eei_chain_root(pck), roles[ROLE_ROOT].what, err);
    if (!st) st = not_listed(&c->root_crl, ca, roles[ROLE_PCK_CA].what, err);
    if (!st) st = not_listed(&c->root_crl, crl_ca, roles[ROLE_PCK_CA].what, err);
    if (!st) st = not_listed(&c->root_crl, &c->tcb_info_chain.certs[0], roles[ROLE_TCB_SIGNER].what, err);
    if (!st) st = not_listed(&c->root_crl, &c->qe_identity_chain.certs[0], roles[ROLE_TCB_SIGNER].what, err);
    if (!st) st = not_listed(&c->pck_crl, &pck->certs[0], roles[ROLE_PCK].what, err);
    return st;
}

/* ---- time ---- */

static void narrow_chain(eei_window *window, const eei_chain *chain, const shape *s) {
    for (size_t i = 0; i < chain->count && i < s->count; i++)
        eei_window_narrow(window, chain->certs[i].not_before_s, chain->certs[i].not_after_s, roles[s->roles[i]].what);
}

void eei_trust_window(const ee_collateral *c, const eei_chain *pck, eei_window *window) {
    narrow_chain(window, pck, &pck_shape);
    narrow_chain(window, &c->crl_chain, &crl_shape);
    narrow_chain(window, &c->tcb_info_chain, &signer_shape);
    narrow_chain(window, &c->qe_identity_chain, &signer_shape);
    eei_window_narrow(window, c->root_crl.this_update_s, c->root_crl.next_update_s, "root CRL");
    eei_window_narrow(window, c->pck_crl.this_update_s, c->pck_crl.next_update_s, "PCK CRL");
}
