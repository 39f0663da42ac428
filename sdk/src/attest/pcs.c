/* pcs.c - see pcs.h. Called through it. */
#include "attest/pcs.h"

#include "attest/collateral.h"
#include "attest/document.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { ARENA_MAX = 4096, SIGNATURE_DIGITS = 128 };

/* ---- what is asked ---- */

/* JSON is sent as that. A CRL is what its bytes are: Intel's PCS sends DER as pkix-crl, a PCCS the same bytes as octet-stream, and the
 * root's in hex as a page of text. */
static const char *const json_types[] = {"application/json", NULL};
static const char *const crl_types[] = {
    "application/pkix-crl", "application/x-pkcs7-crl", "application/octet-stream", "text/plain", "text/html", NULL};

static const struct {
    const char *name, *header;
    const char *const *types;
    size_t body_max; /* together, with JSON's escapes and hex, within EEI_COLLATERAL_BYTES_MAX */
} parts[EEI_PCS_PARTS] = {
    [EEI_PCS_TCB_INFO] = {"TCB info", "TCB-Info-Issuer-Chain", json_types, 256u << 10},                  /* Intel's largest: 25 KiB */
    [EEI_PCS_QE_IDENTITY] = {"QE identity", "SGX-Enclave-Identity-Issuer-Chain", json_types, 64u << 10}, /* 1 KiB */
    [EEI_PCS_PCK_CRL] = {"PCK CRL", "SGX-PCK-CRL-Issuer-Chain", crl_types, 192u << 10},                  /* 1 KiB; room for 5,000 serials */
    [EEI_PCS_ROOT_CRL] = {"root CA CRL", NULL, crl_types, 64u << 10},
};

const char *eei_pcs_name(eei_pcs_part part) { return parts[part].name; }
const char *eei_pcs_header(eei_pcs_part part) { return parts[part].header; }
size_t eei_pcs_body_max(eei_pcs_part part) { return parts[part].body_max; }

void eei_pcs_path(eei_pcs_part part, const eei_collateral_id *id, char out[EEI_PCS_PATH_MAX]) {
    char fmspc[2 * sizeof id->fmspc + 1];
    eei_hex_encode(eei_span(id->fmspc, sizeof id->fmspc), fmspc);
    switch (part) {
    case EEI_PCS_TCB_INFO: (void)snprintf(out, EEI_PCS_PATH_MAX, "/tdx/certification/v4/tcb?fmspc=%s", fmspc); break;
    case EEI_PCS_QE_IDENTITY: (void)snprintf(out, EEI_PCS_PATH_MAX, "/tdx/certification/v4/qe/identity"); break;
    case EEI_PCS_PCK_CRL: (void)snprintf(out, EEI_PCS_PATH_MAX, "/sgx/certification/v4/pckcrl?ca=%s&encoding=der", id->ca); break;
    default: (void)snprintf(out, EEI_PCS_PATH_MAX, "/sgx/certification/v4/rootcacrl");
    }
}

/* ---- one answer ---- */

static bool has_type(const char *content_type, const char *const *types) {
    size_t len = strcspn(content_type, "; \t");
    for (; *types; types++)
        if (strlen(*types) == len && !strncasecmp(content_type, *types, len)) return true;
    return false;
}

ee_status eei_pcs_answer_check(eei_pcs_part part, const eei_pcs_answer *answer, ee_error *err) {
    const char *name = parts[part].name;
    if (!has_type(answer->content_type, parts[part].types))
        return eei_hint(
            err, eei_fail(err, EE_E_MALFORMED, "%s came as \"%.60s\", and should as %s", name, answer->content_type, parts[part].types[0]),
            "is this the address of a PCS or PCCS, without a login page before it?");
    if (parts[part].header && !answer->chain.len)
        return eei_hint(err, eei_fail(err, EE_E_MALFORMED, "%s came without the header %s", name, parts[part].header),
                        "a proxy in between may have taken it away, or it is not version 4 of the API");
    return answer->body.len ? EE_OK : eei_fail(err, EE_E_MALFORMED, "%s came empty", name);
}

static int hex_digit(uint8_t c) {
    uint8_t value;
    const char pair[] = {'0', (char)c, 0};
    return c && !eei_hex_decode(pair, &value, 1, NULL) ? value : -1;
}

/* Percent-encoding away; a plus is a plus: it is base64's. PEM is printable text and line ends, nothing else. */
static ee_status chain_text(ee_span value, eei_buf *out, ee_error *err) {
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.data[i];
        if (c == '%') {
            bool whole = value.len - i > 2;
            int high = whole ? hex_digit(value.data[i + 1]) : -1, low = whole ? hex_digit(value.data[i + 2]) : -1;
            if (high < 0 || low < 0) return eei_fail(err, EE_E_MALFORMED, "%% without two hex digits, at offset %zu", i);
            c = (uint8_t)(high << 4 | low);
            i += 2;
        }
        if ((c < 0x20 && c != '\n' && c != '\r') || c >= 0x7f)
            return eei_fail(err, EE_E_MALFORMED, "byte 0x%02x, which no PEM has, at offset %zu", c, i);
        ee_status st = eei_buf_append(out, &c, 1);
        if (st == EE_E_LIMIT) return eei_fail(err, st, "over %d bytes", EEI_PEM_CHAIN_BYTES_MAX);
        if (st) return eei_nomem(err);
    }
    return EE_OK;
}

static ee_status put(json_t *object, const char *key, ee_span text, ee_error *err) {
    json_t *value = json_stringn((const char *)text.data, text.len); /* UTF-8 by now: NULL is memory */
    return value && !json_object_set_new(object, key, value) ? EE_OK : eei_nomem(err);
}

static ee_status put_chain(json_t *object, const char *key, ee_span value, ee_error *err) {
    eei_buf pem = EEI_BUF_INIT(EEI_PEM_CHAIN_BYTES_MAX);
    ee_status st = chain_text(value, &pem, err);
    if (st && st != EE_E_NOMEM) st = eei_prefix(err, st, "issuer chain");
    if (!st) st = put(object, key, eei_buf_span(&pem), err);
    eei_buf_clear(&pem);
    return st;
}

/* ---- signed texts ---- */

/* The object's own bytes, from its brace to its brace: they are what is signed. */
static ee_span raw_value(eei_pull *pull) {
    const uint8_t *data = pull->text.data;
    size_t from = pull->at;
    eei_pull_skip(pull);
    while (from < pull->at && strchr(" \t\r\n", data[from])) from++;
    return pull->why ? (ee_span){NULL, 0} : eei_span(data + from, pull->at - from);
}

static ee_status cut(ee_span body, const char *member, ee_span *text, ee_span *signature, eei_arena *arena, ee_error *err) {
    eei_pull pull;
    ee_span name;
    *text = *signature = (ee_span){NULL, 0};
    eei_pull_begin(&pull, body);
    eei_pull_object(&pull);
    while (eei_pull_member(&pull, &name)) {
        if (eei_span_equal(name, eei_span_text(member)))
            *text = raw_value(&pull);
        else if (eei_span_equal(name, eei_span_text("signature")))
            *signature = eei_pull_text(&pull, arena);
        else
            eei_pull_skip(&pull);
    }
    ee_status st = eei_pull_end(&pull, err);
    if (!st && (!text->len || text->data[0] != '{')) st = eei_fail(err, EE_E_MALFORMED, "there is no object \"%s\" in it", member);
    if (!st && signature->len != SIGNATURE_DIGITS)
        st = eei_fail(err, EE_E_MALFORMED, "field \"signature\" has %zu digits, must have %d", signature->len, SIGNATURE_DIGITS);
    return st;
}

static ee_status put_signed(json_t *object, const char *member, const char *key, const char *signature_key, ee_span body, ee_error *err) {
    eei_arena arena = EEI_ARENA_INIT(ARENA_MAX);
    ee_span text, signature;
    ee_status st = cut(body, member, &text, &signature, &arena, err);
    if (!st) st = put(object, key, text, err);
    if (!st) st = put(object, signature_key, signature, err);
    eei_arena_clear(&arena);
    return st;
}

/* ---- CRLs ---- */

static bool is_hex(ee_span text) {
    for (size_t i = 0; i < text.len; i++)
        if (hex_digit(text.data[i]) < 0) return false;
    return text.len && text.len % 2 == 0;
}

/* DER, or hex of it with a line end. */
static ee_status put_crl(json_t *object, const char *key, ee_span body, ee_error *err) {
    ee_span text = body;
    while (text.len && strchr("\r\n \t", text.data[text.len - 1]) && text.data[text.len - 1]) text.len--;
    if (is_hex(text)) return put(object, key, text, err);
    if (body.data[0] != 0x30) return eei_fail(err, EE_E_MALFORMED, "%zu bytes that are neither DER nor hex", body.len);
    char *hex = eei_malloc(2 * body.len + 1);
    if (!hex) return eei_nomem(err);
    eei_hex_encode(body, hex);
    ee_status st = put(object, key, eei_span_text(hex), err);
    eei_free(hex);
    return st;
}

/* ---- all together ---- */

static ee_status put_part(json_t *object, eei_pcs_part part, const eei_pcs_answer *a, ee_error *err) {
    ee_status st;
    switch (part) {
    case EEI_PCS_TCB_INFO:
        st = put_signed(object, "tcbInfo", "tcb_info", "tcb_info_signature", a->body, err);
        return st ? st : put_chain(object, "tcb_info_issuer_chain", a->chain, err);
    case EEI_PCS_QE_IDENTITY:
        st = put_signed(object, "enclaveIdentity", "qe_identity", "qe_identity_signature", a->body, err);
        return st ? st : put_chain(object, "qe_identity_issuer_chain", a->chain, err);
    case EEI_PCS_PCK_CRL:
        st = put_crl(object, "pck_crl", a->body, err);
        return st ? st : put_chain(object, "pck_crl_issuer_chain", a->chain, err);
    default: return put_crl(object, "root_ca_crl", a->body, err);
    }
}

ee_status eei_pcs_assemble(const eei_pcs_answer answers[EEI_PCS_PARTS], eei_buf *json, ee_error *err) {
    json_t *object = json_object();
    ee_status st = object ? EE_OK : eei_nomem(err);
    for (int i = 0; !st && i < EEI_PCS_PARTS; i++) {
        st = eei_pcs_answer_check((eei_pcs_part)i, &answers[i], err);
        if (st) break;
        st = put_part(object, (eei_pcs_part)i, &answers[i], err);
        if (st && st != EE_E_NOMEM) st = eei_prefix(err, st, parts[i].name);
    }
    if (!st) st = eei_json_dump(object, json, err);
    json_decref(object);
    return st;
}

/* ---- terms ---- */

static ee_status signed_throughout(const eei_collateral_facts *f, ee_error *err) {
    const struct {
        const char *what;
        const eei_fact *fact;
    } facts[] = {{"tcb_info", &f->tcb_info}, {"qe_identity", &f->qe_identity}, {"pck_crl", &f->trust.crls}};
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        ee_status st = facts[i].fact->status;
        if (st) return eei_fail(err, st == EE_E_AUTH ? EE_E_ATTESTATION : st, "%s: %s", facts[i].what, facts[i].fact->why.message);
    }
    return EE_OK;
}

static ee_status terms(const ee_collateral *c, const eei_collateral_facts *f, eei_collateral_terms *out, ee_error *err) {
    static const eei_chain none;
    const eei_cert *root = eei_chain_root(&c->crl_chain), *ca = &c->crl_chain.certs[0];
    eei_window window = {0, UINT64_MAX, "", ""};
    ee_status st = signed_throughout(f, err);
    if (st) return st;
    if (!eei_span_equal(eei_chain_root(&c->tcb_info_chain)->der, root->der) ||
        !eei_span_equal(eei_chain_root(&c->qe_identity_chain)->der, root->der))
        return eei_fail(err, EE_E_ATTESTATION, "its parts are signed under different roots");
    eei_trust_window(c, &none, &window);
    eei_window_narrow(&window, f->info.issued_s, f->info.next_update_s, "TCB info");
    eei_window_narrow(&window, f->qe.issued_s, f->qe.next_update_s, "QE identity");
    out->from_s = window.from_s;
    out->until_s = window.to_s;
    out->from_what = window.from_what;
    out->until_what = window.to_what;
    memcpy(out->id.fmspc, f->info.fmspc, sizeof out->id.fmspc);
    (void)snprintf(out->id.ca, sizeof out->id.ca, "%s", strstr(ca->subject_cn, "SGX PCK Platform CA") ? "platform" : "processor");
    eei_sha256(root->der, out->id.root);
    return EE_OK;
}

ee_status eei_collateral_terms_of(const ee_collateral *collateral, eei_collateral_terms *out, ee_error *err) {
    eei_p256 *p256 = NULL;
    const eei_collateral_facts *facts = NULL;
    memset(out, 0, sizeof *out);
    ee_status st = eei_p256_new(&p256, err);
    if (!st) st = eei_collateral_known(collateral, p256, &facts, err);
    if (!st) st = terms(collateral, facts, out, err);
    if (st) memset(out, 0, sizeof *out);
    eei_p256_free(p256);
    return st && st != EE_E_NOMEM ? eei_prefix(err, st, "collateral") : st;
}

uint64_t ee_collateral_valid_until(const ee_collateral *collateral) {
    eei_collateral_terms t;
    return collateral && !eei_collateral_terms_of(collateral, &t, NULL) ? t.until_s : 0;
}

ee_status eei_collateral_terms_read(ee_span json, eei_collateral_terms *out, ee_error *err) {
    ee_collateral *collateral = NULL;
    memset(out, 0, sizeof *out);
    ee_status st = ee_collateral_parse(json, &collateral, err);
    if (!st) st = eei_collateral_terms_of(collateral, out, err);
    ee_collateral_free(collateral);
    return st;
}

static ee_status out_of_date(const char *what, const char *verb, uint64_t then_s, uint64_t now_s, ee_error *err) {
    char then[32], now[32];
    eei_format_utc(then_s * 1000, then);
    eei_format_utc(now_s * 1000, now);
    return eei_hint(err, eei_fail(err, EE_E_EXPIRED, "collateral: %s %s %s; this machine's clock says %s", what, verb, then, now),
                    "look at the clock first; if it is right, get newer collateral");
}

ee_status eei_collateral_terms_fit(const eei_collateral_terms *t, const eei_collateral_id *id, uint64_t now_s, ee_error *err) {
    static const uint8_t any[32];
    char has[13], wants[13];
    eei_hex_encode(eei_span(t->id.fmspc, sizeof t->id.fmspc), has);
    eei_hex_encode(eei_span(id->fmspc, sizeof id->fmspc), wants);
    if (!eei_collateral_id_same(&t->id, id))
        return eei_fail(err, EE_E_ATTESTATION, "collateral is for FMSPC %s and the %s CA, asked for was %s and %s", has, t->id.ca, wants,
                        id->ca);
    if (memcmp(id->root, any, sizeof any) != 0 && memcmp(id->root, t->id.root, sizeof any) != 0)
        return eei_hint(err,
                        eei_fail(err, EE_E_ATTESTATION, "collateral for FMSPC %s is signed under another root than the quote's chain", has),
                        "is it a simulated machine, or a PCCS of another network?");
    if (now_s > t->until_s) return out_of_date(t->until_what, "expired at", t->until_s, now_s, err);
    if (now_s < t->from_s) return out_of_date(t->from_what, "is valid from", t->from_s, now_s, err);
    return EE_OK;
}
