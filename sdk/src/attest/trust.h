/* trust.h - from signed things up to the pinned root: chains, roles, CRLs, revocation, validity. Pure: time and anchor are arguments,
 * and what depends on neither is found out once for a collateral. Called by collateral.c (facts) and verify.c.
 * Spec: Intel SGX PCK Certificate and CRL Profile 1.6; RFC 5280 sect. 6, narrowed to the three shapes that exist. Threats Q2, Q3. */
#ifndef EEI_TRUST_H
#define EEI_TRUST_H
#include "attest/chain.h"
#include "attest/crypto.h"
#include "attest/window.h"

#include <eesdk/verify.h>

/* One thing that was looked into: EE_OK, or why not. */
typedef struct eei_fact {
    ee_status status;
    ee_error why;
} eei_fact;

/* What signatures say of a collateral, whatever the time, the anchor and the quote. */
typedef struct eei_trust_facts {
    eei_fact tcb_info;    /* signed by "SGX TCB Signing" under the root of its chain */
    eei_fact qe_identity; /* the same */
    eei_fact pck_ca;      /* pck_crl_issuer_chain has its shape, and its CA is signed by its root */
    eei_fact crls;        /* both CRLs are signed, by the root and by the PCK CA of pck_crl_issuer_chain */
} eei_trust_facts;

/* EE_OK or EE_E_NOMEM; what does not hold is in the facts. */
ee_status eei_trust_collateral(const ee_collateral *collateral, eei_p256 *p256, eei_trust_facts *out, ee_error *err) EE_MUST_USE;

/* The chain ends in the root whose SHA-256 is the anchor; another chain ends in the very same root. EE_E_AUTH. */
ee_status eei_trust_anchor(const eei_chain *pck, const uint8_t anchor[32], ee_error *err) EE_MUST_USE;
ee_status eei_trust_same_root(const eei_chain *chain, const eei_chain *pck, ee_error *err) EE_MUST_USE;
/* The PCK chain by itself: shape, names, roles, constraints, signatures. What the collateral's facts have of them is not found out
 * twice. EE_E_AUTH, EE_E_NOMEM. */
ee_status eei_trust_pck(const ee_collateral *collateral, const eei_trust_facts *facts, const eei_chain *pck, eei_p256 *p256,
                        ee_error *err) EE_MUST_USE;
/* The PCK CRL is of the CA of this chain, and no certificate of any chain is listed. Only after facts.crls holds. EE_E_AUTH. */
ee_status eei_trust_revocation(const ee_collateral *collateral, const eei_chain *pck, ee_error *err) EE_MUST_USE;

/* Of certificates and CRLs. */
void eei_trust_window(const ee_collateral *collateral, const eei_chain *pck, eei_window *window);
#endif
