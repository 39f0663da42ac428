/* collateral_id.c - see collateral_id.h. Called through it and by the fuzzer. */
#include "attest/collateral_id.h"

#include "attest/chain.h"
#include "attest/pck.h"
#include "attest/quote.h"
#include "attest/statement.h"
#include "base/encoding.h"

#include <stdio.h>
#include <string.h>

ee_status eei_quote_collateral_id(ee_span quote, eei_collateral_id *out, ee_error *err) {
    eei_quote q;
    eei_chain chain;
    eei_pck pck;
    memset(out, 0, sizeof *out);
    ee_status st = eei_quote_parse(quote, &q, err);
    if (st) return st;
    if (q.cert_type != EEI_CERT_PCK_CHAIN)
        return eei_fail(err, EE_E_MALFORMED, "the quote has certification data of type %u, only type 5 names its platform", q.cert_type);
    st = eei_chain_parse(q.cert_data, &chain, err);
    if (st) return st;
    st = eei_pck_parse(&chain.certs[0], &pck, err);
    if (!st) {
        memcpy(out->fmspc, pck.fmspc, sizeof pck.fmspc);
        snprintf(out->ca, sizeof out->ca, "%s", pck.platform_ca ? "platform" : "processor");
        eei_sha256(chain.certs[chain.count - 1].der, out->root);
    }
    eei_chain_clear(&chain);
    return st;
}

bool eei_collateral_id_same(const eei_collateral_id *a, const eei_collateral_id *b) {
    return !memcmp(a->fmspc, b->fmspc, sizeof a->fmspc) && !strncmp(a->ca, b->ca, sizeof a->ca);
}

ee_status eei_collateral_id_parse(const char *fmspc, const char *ca, eei_collateral_id *out, ee_error *err) {
    memset(out, 0, sizeof *out);
    if (strlen(fmspc) != 2 * sizeof out->fmspc || eei_hex_decode(fmspc, out->fmspc, sizeof out->fmspc, NULL))
        return eei_fail(err, EE_E_INVALID, "an FMSPC has %zu hex digits, not \"%.40s\"", 2 * sizeof out->fmspc, fmspc);
    if (strcmp(ca, "platform") != 0 && strcmp(ca, "processor") != 0)
        return eei_fail(err, EE_E_INVALID, "ca must be platform or processor, not \"%.40s\"", ca);
    (void)snprintf(out->ca, sizeof out->ca, "%s", ca);
    return EE_OK;
}
