/* pcs_world.h - the answers of a PCS for a simulated platform, made from its collateral. Not for code under test. Included by test_pcs.c.
 */
#ifndef PCS_WORLD_H
#define PCS_WORLD_H
#include "attest/pcs.h"
#include "attest_world.h"

#include <ctype.h>

typedef struct pcs_world {
    json_t *json;
    eei_buf body[EEI_PCS_PARTS], chain[EEI_PCS_PARTS];
    eei_pcs_answer answers[EEI_PCS_PARTS];
} pcs_world;

static void percent_encode(const char *text, eei_buf *out) {
    for (; *text; text++) {
        ee_status st =
            isalnum((unsigned char)*text) || strchr("-._~", *text) ? eei_buf_append(out, text, 1) : eei_buf_printf(out, "%%%02X", *text);
        assert_int_equal(st, EE_OK);
    }
}

static const char *pcs_field(const pcs_world *p, const char *name) { return json_string_value(json_object_get(p->json, name)); }

static void pcs_put(pcs_world *p, eei_pcs_part part, const char *type, const char *chain) {
    if (chain) percent_encode(pcs_field(p, chain), &p->chain[part]);
    p->answers[part] = (eei_pcs_answer){type, eei_buf_span(&p->chain[part]), eei_buf_span(&p->body[part])};
}

/* JSON around the text as Intel's PCS writes it: nothing but the two members. */
static void pcs_open(pcs_world *p, ee_span collateral) {
    *p = (pcs_world){.json = NULL};
    for (size_t i = 0; i < EEI_PCS_PARTS; i++) p->body[i] = p->chain[i] = (eei_buf)EEI_BUF_INIT(1 << 20);
    MUST(eei_json_parse(collateral, 1 << 20, &p->json, err));
    assert_int_equal(eei_buf_printf(&p->body[EEI_PCS_TCB_INFO], "{\"tcbInfo\":%s,\"signature\":\"%s\"}", pcs_field(p, "tcb_info"),
                                    pcs_field(p, "tcb_info_signature")),
                     EE_OK);
    assert_int_equal(eei_buf_printf(&p->body[EEI_PCS_QE_IDENTITY], "{\"enclaveIdentity\":%s,\"signature\":\"%s\"}",
                                    pcs_field(p, "qe_identity"), pcs_field(p, "qe_identity_signature")),
                     EE_OK);
    MUST(eei_hex_append(eei_span_text(pcs_field(p, "pck_crl")), &p->body[EEI_PCS_PCK_CRL], err));
    assert_int_equal(eei_buf_printf(&p->body[EEI_PCS_ROOT_CRL], "%s", pcs_field(p, "root_ca_crl")), EE_OK);
    pcs_put(p, EEI_PCS_TCB_INFO, "application/json", "tcb_info_issuer_chain");
    pcs_put(p, EEI_PCS_QE_IDENTITY, "application/json; charset=utf-8", "qe_identity_issuer_chain");
    pcs_put(p, EEI_PCS_PCK_CRL, "application/pkix-crl", "pck_crl_issuer_chain");
    pcs_put(p, EEI_PCS_ROOT_CRL, "text/html; charset=utf-8", NULL);
}

static void pcs_close(pcs_world *p) {
    json_decref(p->json);
    for (size_t i = 0; i < EEI_PCS_PARTS; i++) {
        eei_buf_clear(&p->body[i]);
        eei_buf_clear(&p->chain[i]);
    }
}
#endif
