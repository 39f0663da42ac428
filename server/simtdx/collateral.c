/* collateral.c - TCB info, QE identity and CRLs of a simulated platform, signed under its root, as one collateral JSON. Never part of a
 * production build. Called by simtdx.c and tests. Spec: Intel PCS API v4. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "simtdx/parts.h"

#include <string.h>

enum { COLLATERAL_DAYS = 30, DAY_S = 86400, TEXT_BYTES_MAX = 65536 };

static const char zeros48[] = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

/* One component list: the first values are given, the rest are 0. */
static ee_status components(eei_buf *out, const char *name, const unsigned *values, size_t count) {
    ee_status st = eei_buf_printf(out, "\"%s\":[", name);
    for (size_t i = 0; !st && i < 16; i++) st = eei_buf_printf(out, "%s{\"svn\":%u}", i ? "," : "", i < count ? values[i] : 0);
    return st ? st : eei_buf_append_text(out, "]");
}

static ee_status level(eei_buf *out, const unsigned sgx[8], unsigned pcesvn, const unsigned tdx[3], const char *rest) {
    ee_status st = eei_buf_append_text(out, "{\"tcb\":{");
    if (!st) st = components(out, "sgxtcbcomponents", sgx, 8);
    if (!st) st = eei_buf_printf(out, ",\"pcesvn\":%u,", pcesvn);
    if (!st) st = components(out, "tdxtcbcomponents", tdx, 3);
    if (!st) st = eei_buf_printf(out, "},\"tcbDate\":\"2025-05-14T00:00:00Z\",%s}", rest);
    return st;
}

static ee_status dates(const simtdx_root *root, eei_buf *out) {
    char from[32], to[32];
    eei_format_utc((root->now_unix_s - 3600) * 1000, from);
    eei_format_utc((root->now_unix_s + COLLATERAL_DAYS * DAY_S) * 1000, to);
    return eei_buf_printf(out, "\"issueDate\":\"%s\",\"nextUpdate\":\"%s\",\"tcbEvaluationDataNumber\":18,", from, to);
}

ee_status simtdx_tcb_info(const simtdx_root *root, eei_buf *out, ee_error *err) {
    static const unsigned sgx_new[8] = {3, 3, 2, 2, 4, 1, 0, 5}, sgx_old[8] = {2, 2, 2, 2, 3, 1, 0, 3}, tdx_new[3] = {5, 0, 5},
                          tdx_old[3] = {3, 0, 3};
    static const char module[] = "\"mrsigner\":\"%s\",\"attributes\":\"0000000000000000\",\"attributesMask\":\"FFFFFFFFFFFFFFFF\"";
    ee_status st = eei_buf_append_text(out, "{\"id\":\"TDX\",\"version\":3,");
    if (!st) st = dates(root, out);
    if (!st) st = eei_buf_append_text(out, "\"fmspc\":\"454553494D00\",\"pceId\":\"0000\",\"tcbType\":0,\"tdxModule\":{");
    if (!st) st = eei_buf_printf(out, module, zeros48);
    if (!st) st = eei_buf_append_text(out, "},\"tdxModuleIdentities\":[{\"id\":\"TDX_01\",");
    if (!st) st = eei_buf_printf(out, module, zeros48);
    if (!st)
        st = eei_buf_append_text(out,
                                 ",\"tcbLevels\":[{\"tcb\":{\"isvsvn\":5},\"tcbDate\":\"2025-05-14T00:00:00Z\",\"tcbStatus\":\"UpToDate\"},"
                                 "{\"tcb\":{\"isvsvn\":2},\"tcbDate\":\"2023-08-09T00:00:00Z\",\"tcbStatus\":\"OutOfDate\",\"advisoryIDs\":"
                                 "[\"SIM-SA-00002\"]}]}],");
    if (!st) st = eei_buf_append_text(out, "\"tcbLevels\":[");
    if (!st) st = level(out, sgx_new, 13, tdx_new, "\"tcbStatus\":\"UpToDate\"");
    if (!st) st = eei_buf_append_text(out, ",");
    if (!st) st = level(out, sgx_old, 11, tdx_old, "\"tcbStatus\":\"OutOfDate\",\"advisoryIDs\":[\"SIM-SA-00001\"]");
    if (!st) st = eei_buf_append_text(out, "]}");
    return st ? eei_nomem(err) : EE_OK;
}

ee_status simtdx_qe_identity(const simtdx_root *root, eei_buf *out, ee_error *err) {
    ee_status st = eei_buf_append_text(out, "{\"id\":\"TD_QE\",\"version\":2,");
    if (!st) st = dates(root, out);
    if (!st)
        st = eei_buf_append_text(
            out, "\"miscselect\":\"00000000\",\"miscselectMask\":\"FFFFFFFF\",\"attributes\":\"11000000000000000000000000000000\","
                 "\"attributesMask\":\"FBFFFFFFFFFFFFFF0000000000000000\","
                 "\"mrsigner\":\"EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51EE51\",\"isvprodid\":2,"
                 "\"tcbLevels\":[{\"tcb\":{\"isvsvn\":4},\"tcbDate\":\"2025-05-14T00:00:00Z\",\"tcbStatus\":\"UpToDate\"},"
                 "{\"tcb\":{\"isvsvn\":2},\"tcbDate\":\"2023-08-09T00:00:00Z\",\"tcbStatus\":\"OutOfDate\",\"advisoryIDs\":[\"SIM-SA-"
                 "00003\"]}]}");
    return st ? eei_nomem(err) : EE_OK;
}

/* ---- the whole ---- */

typedef struct maker {
    const simtdx_root *root;
    json_t *json;
    ee_error *err;
    ee_status status; /* first failure, sticky */
} maker;

static void put_text(maker *m, const char *key, ee_span text) {
    if (!m->status && json_object_set_new(m->json, key, json_stringn((const char *)text.data, text.len))) m->status = eei_nomem(m->err);
}

static void put_hex(maker *m, const char *key, ee_span bytes) {
    char *hex = eei_malloc(2 * bytes.len + 1);
    if (!hex) {
        m->status = eei_nomem(m->err);
        return;
    }
    eei_hex_encode(bytes, hex);
    put_text(m, key, eei_span_text(hex));
    eei_free(hex);
}

static void put_chain(maker *m, const char *key, ee_span given, X509 *leaf) {
    X509 *const certs[] = {leaf, m->root->root};
    eei_buf pem = EEI_BUF_INIT(TEXT_BYTES_MAX);
    if (!given.data && !m->status) m->status = simtdx_pem(certs, 2, &pem, m->err);
    put_text(m, key, given.data ? given : eei_buf_span(&pem));
    eei_buf_clear(&pem);
}

static void put_crl(maker *m, const char *key, ee_span given, X509 *issuer, EVP_PKEY *issuer_key) {
    uint64_t now = m->root->now_unix_s;
    const simtdx_crl options = {issuer, issuer_key, now - 3600, now + COLLATERAL_DAYS * DAY_S, NULL, 0};
    eei_buf der = EEI_BUF_INIT(TEXT_BYTES_MAX);
    if (!given.data && !m->status) m->status = simtdx_crl_make(&options, &der, m->err);
    put_hex(m, key, given.data ? given : eei_buf_span(&der));
    eei_buf_clear(&der);
}

static void put_signed(maker *m, const char *key, const char *signature_key, ee_span given, const uint8_t *signature,
                       ee_status (*make)(const simtdx_root *, eei_buf *, ee_error *)) {
    uint8_t own[64];
    eei_buf text = EEI_BUF_INIT(TEXT_BYTES_MAX);
    if (!given.data && !m->status) m->status = make(m->root, &text, m->err);
    if (!given.data) given = eei_buf_span(&text);
    if (!m->status && !signature) m->status = simtdx_sign(m->root->tcb_key, given, own, m->err);
    if (!m->status) {
        put_text(m, key, given);
        put_hex(m, signature_key, eei_span(signature ? signature : own, 64));
    }
    eei_buf_clear(&text);
}

ee_status simtdx_collateral(const simtdx_root *root, const simtdx_collateral_parts *parts, eei_buf *json, ee_error *err) {
    static const simtdx_collateral_parts none;
    const simtdx_collateral_parts *p = parts ? parts : &none;
    maker m = {root, json_object(), err, EE_OK};
    if (!m.json) return eei_nomem(err);
    put_chain(&m, "pck_crl_issuer_chain", (ee_span){NULL, 0}, root->ca);
    put_crl(&m, "root_ca_crl", p->root_crl, root->root, root->root_key);
    put_crl(&m, "pck_crl", p->pck_crl, root->ca, root->ca_key);
    put_chain(&m, "tcb_info_issuer_chain", p->tcb_chain, root->tcb);
    put_signed(&m, "tcb_info", "tcb_info_signature", p->tcb_info, p->tcb_info_signature, simtdx_tcb_info);
    put_chain(&m, "qe_identity_issuer_chain", p->qe_chain, root->tcb);
    put_signed(&m, "qe_identity", "qe_identity_signature", p->qe_identity, p->qe_identity_signature, simtdx_qe_identity);
    if (p->pck_chain.data) put_text(&m, "pck_certificate_chain", p->pck_chain);
    if (!m.status) m.status = eei_json_dump(m.json, json, err);
    json_decref(m.json);
    return m.status;
}

ee_status simtdx_root_collateral(const simtdx_root *root, eei_buf *json, ee_error *err) { return simtdx_collateral(root, NULL, json, err); }
