/* simtdx.c - a simulated TDX platform: root, machines, quotes of the real format. What it makes must pass the same verifier as hardware's,
 * under its own root. Never part of a production build. Called by server/common's quote source, the devnet and tests. */
#include "simtdx/simtdx.h"

#include "attest/crypto.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/writer.h"
#include "simtdx/parts.h"

#include <stdio.h>
#include <string.h>

enum { YEAR_S = 31536000, CHAIN_BYTES_MAX = 16384, MACHINE_FILE_MAX = 65536, QUOTE_MAX = 32768, BODY_AT_V4 = 48, BODY_AT_V5 = 54 };

/* ---- root ---- */

static ee_status root_certificates(simtdx_root *r, ee_error *err) {
    uint64_t from = r->now_unix_s - 3600, to = r->now_unix_s + 20ull * YEAR_S;
    const simtdx_cert root = {"Simulated SGX Root CA", r->root_key, r->root_key, NULL, true, 1, 1, from, to, {NULL, 0}, NULL};
    ee_status st = simtdx_cert_make(&root, &r->root, err);
    const simtdx_cert ca = {"Simulated SGX PCK Platform CA", r->ca_key, r->root_key, r->root, true, 0, 2, from, to, {NULL, 0}, NULL};
    if (!st) st = simtdx_cert_make(&ca, &r->ca, err);
    const simtdx_cert tcb = {"Simulated SGX TCB Signing", r->tcb_key, r->root_key, r->root, false, -1, 3, from, to, {NULL, 0}, NULL};
    if (!st) st = simtdx_cert_make(&tcb, &r->tcb, err);
    return st;
}

ee_status simtdx_root_new(uint64_t now_unix_s, simtdx_root **out, ee_error *err) {
    unsigned char *der = NULL;
    *out = NULL;
    if (now_unix_s < 3600 || now_unix_s > UINT32_MAX) return eei_fail(err, EE_E_INVALID, "the time of a simulated root is out of range");
    simtdx_root *r = eei_calloc(1, sizeof *r);
    if (!r) return eei_nomem(err);
    r->now_unix_s = now_unix_s;
    r->root_der = (eei_buf)EEI_BUF_INIT(CHAIN_BYTES_MAX);
    ee_status st = simtdx_key(&r->root_key, err);
    if (!st) st = simtdx_key(&r->ca_key, err);
    if (!st) st = simtdx_key(&r->tcb_key, err);
    if (!st) st = root_certificates(r, err);
    if (!st) {
        int len = i2d_X509(r->root, &der);
        st = len > 0 && !eei_buf_append(&r->root_der, der, (size_t)len) ? EE_OK : eei_nomem(err);
    }
    OPENSSL_free(der);
    if (!st) *out = eei_take(&r);
    simtdx_root_free(r);
    return st;
}

ee_span simtdx_root_der(const simtdx_root *root) { return eei_buf_span(&root->root_der); }

void simtdx_root_free(simtdx_root *root) {
    if (!root) return;
    EVP_PKEY_free(root->root_key);
    EVP_PKEY_free(root->ca_key);
    EVP_PKEY_free(root->tcb_key);
    X509_free(root->root);
    X509_free(root->ca);
    X509_free(root->tcb);
    eei_buf_clear(&root->root_der);
    eei_free(root);
}

/* ---- machine ---- */

static ee_status public_point(EVP_PKEY *key, uint8_t xy[64], ee_error *err) {
    uint8_t point[65];
    size_t len = 0;
    if (EVP_PKEY_get_octet_string_param(key, "encoded-pub-key", point, sizeof point, &len) != 1 || len != sizeof point || point[0] != 4)
        return eei_fail(err, EE_E_INTERNAL, "reading a public key failed");
    memcpy(xy, point + 1, 64);
    return EE_OK;
}

/* The quoting enclave's report: vouches for the attestation key, signed by the PCK key. */
static ee_status qe_report(simtdx_machine *m, ee_error *err) {
    uint8_t key[64], *report = m->qe_report;
    ee_status st = public_point(m->attestation_key, key, err);
    if (!st) st = eei_random(m->qe_auth_data, sizeof m->qe_auth_data, err);
    if (st) return st;
    memset(report, 0, sizeof m->qe_report);
    report[48] = 0x15; /* ATTRIBUTES: initialised, 64-bit, provision key; XFRM behind it */
    report[56] = 0xe7;
    memset(report + 64, 0x51, 32); /* MRENCLAVE */
    for (size_t i = 0; i < 32; i += 2) {
        report[128 + i] = 0xee; /* MRSIGNER, as in the QE identity */
        report[129 + i] = 0x51;
    }
    report[256] = 2; /* ISVPRODID */
    report[258] = 4; /* ISVSVN */
    const ee_span parts[] = {{key, 64}, {m->qe_auth_data, sizeof m->qe_auth_data}};
    eei_hash_parts(EEI_SHA256, parts, 2, report + 320);
    return simtdx_sign(m->pck_key, eei_span(report, sizeof m->qe_report), m->qe_report_signature, err);
}

ee_status simtdx_machine_with(EVP_PKEY *pck_key, const char *chain_pem, const char *label, simtdx_machine **out, ee_error *err) {
    *out = NULL;
    simtdx_machine *m = eei_calloc(1, sizeof *m);
    if (!m) return eei_nomem(err);
    snprintf(m->label, sizeof m->label, "%s", label);
    m->chain = eei_strdup(chain_pem);
    EVP_PKEY_up_ref(pck_key);
    m->pck_key = pck_key;
    ee_status st = m->chain ? simtdx_key(&m->attestation_key, err) : eei_nomem(err);
    if (!st) st = qe_report(m, err);
    if (!st) *out = eei_take(&m);
    simtdx_machine_free(m);
    return st;
}

ee_status simtdx_machine_new(const simtdx_root *root, const char *label, simtdx_machine **out, ee_error *err) {
    uint8_t ids[40], ppid[32];
    uint64_t serial = 0;
    eei_buf extension = EEI_BUF_INIT(4096), pem = EEI_BUF_INIT(CHAIN_BYTES_MAX);
    EVP_PKEY *key = NULL;
    X509 *pck = NULL;
    *out = NULL;
    const ee_span name[] = {eei_span_text("simulated PPID"), eei_span_text(label)};
    eei_hash_parts(EEI_SHA256, name, 2, ppid);
    ee_status st = eei_random(ids, sizeof ids, err);
    for (size_t i = 0; i < 7; i++) serial = serial << 8 | ids[16 + i];
    if (!st) st = simtdx_key(&key, err);
    if (!st) st = simtdx_sgx_extension(ppid, ids, &extension, err);
    const simtdx_cert options = {"Simulated SGX PCK Certificate",
                                 key,
                                 root->ca_key,
                                 root->ca,
                                 false,
                                 -1,
                                 serial + 16,
                                 root->now_unix_s - 3600,
                                 root->now_unix_s + 7ull * YEAR_S,
                                 eei_buf_span(&extension),
                                 NULL};
    if (!st) st = simtdx_cert_make(&options, &pck, err);
    X509 *const chain[] = {pck, root->ca, root->root};
    if (!st) st = simtdx_pem(chain, 3, &pem, err);
    const char *text = st ? NULL : eei_buf_cstr(&pem);
    if (!st) st = text ? simtdx_machine_with(key, text, label, out, err) : eei_nomem(err);
    if (!st) memcpy((*out)->piid, ids, sizeof(*out)->piid);
    X509_free(pck);
    EVP_PKEY_free(key);
    eei_buf_clear(&extension);
    eei_buf_clear(&pem);
    return st;
}

const uint8_t *simtdx_machine_piid(const simtdx_machine *machine) { return machine->piid; }

void simtdx_machine_free(simtdx_machine *machine) {
    if (!machine) return;
    EVP_PKEY_free(machine->pck_key);
    EVP_PKEY_free(machine->attestation_key);
    eei_free(machine->chain);
    eei_free(machine);
}

/* ---- machine file ---- */

static ee_status put_base64(json_t *json, const char *key, ee_span bytes) {
    eei_buf text = EEI_BUF_INIT_SECRET(MACHINE_FILE_MAX);
    const char *chars = eei_base64url_encode(bytes, &text) ? NULL : eei_buf_cstr(&text);
    ee_status st = chars && !json_object_set_new(json, key, json_string(chars)) ? EE_OK : EE_E_NOMEM;
    eei_buf_clear(&text);
    return st;
}

ee_status simtdx_machine_save(const simtdx_machine *machine, const char *path, ee_error *err) {
    eei_buf text = EEI_BUF_INIT_SECRET(MACHINE_FILE_MAX);
    unsigned char *key = NULL;
    json_t *json = json_object();
    int len = i2d_PrivateKey(machine->attestation_key, &key);
    ee_status st = json && len > 0 && !json_object_set_new(json, "version", json_integer(1)) &&
                           !json_object_set_new(json, "label", json_string(machine->label)) &&
                           !json_object_set_new(json, "chain", json_string(machine->chain))
                       ? EE_OK
                       : EE_E_NOMEM;
    if (!st) st = put_base64(json, "attestation_key", eei_span(key, (size_t)len));
    if (!st) st = put_base64(json, "qe_report", eei_span(machine->qe_report, sizeof machine->qe_report));
    if (!st) st = put_base64(json, "qe_report_signature", eei_span(machine->qe_report_signature, 64));
    if (!st) st = put_base64(json, "qe_auth_data", eei_span(machine->qe_auth_data, sizeof machine->qe_auth_data));
    if (st)
        eei_nomem(err);
    else
        st = eei_json_dump(json, &text, err);
    if (!st) st = eei_file_write_atomic(path, eei_buf_span(&text), 0600, err);
    if (len > 0) OPENSSL_clear_free(key, (size_t)len);
    json_decref(json);
    eei_buf_clear(&text);
    return st;
}

static ee_status get_base64(const json_t *json, const char *key, eei_buf *out, size_t want, ee_error *err) {
    const char *text = NULL;
    eei_buf_reset(out);
    ee_status st = eei_json_string(json, key, &text, err);
    if (!st) st = eei_base64url_decode(text, out, err);
    if (!st && want && out->len != want) st = eei_fail(err, EE_E_MALFORMED, "%s is %zu bytes, must be %zu", key, out->len, want);
    return st;
}

static ee_status machine_fields(const json_t *json, simtdx_machine *m, ee_error *err) {
    eei_buf bytes = EEI_BUF_INIT_SECRET(4096);
    const char *label = NULL, *chain = NULL;
    ee_status st = eei_json_string(json, "label", &label, err);
    if (!st) st = eei_json_string(json, "chain", &chain, err);
    if (!st) snprintf(m->label, sizeof m->label, "%s", label);
    if (!st && !(m->chain = eei_strdup(chain))) st = eei_nomem(err);
    if (!st) st = get_base64(json, "qe_report", &bytes, sizeof m->qe_report, err);
    if (!st) memcpy(m->qe_report, bytes.data, sizeof m->qe_report);
    if (!st) st = get_base64(json, "qe_report_signature", &bytes, 64, err);
    if (!st) memcpy(m->qe_report_signature, bytes.data, 64);
    if (!st) st = get_base64(json, "qe_auth_data", &bytes, sizeof m->qe_auth_data, err);
    if (!st) memcpy(m->qe_auth_data, bytes.data, sizeof m->qe_auth_data);
    if (!st) st = get_base64(json, "attestation_key", &bytes, 0, err);
    if (!st) {
        const unsigned char *at = bytes.data;
        m->attestation_key = d2i_AutoPrivateKey(NULL, &at, (long)bytes.len);
        if (!m->attestation_key) st = eei_fail(err, EE_E_MALFORMED, "attestation_key does not parse");
    }
    eei_buf_clear(&bytes);
    return st;
}

ee_status simtdx_machine_load(const char *path, simtdx_machine **out, ee_error *err) {
    eei_buf text = EEI_BUF_INIT_SECRET(MACHINE_FILE_MAX);
    json_t *json = NULL;
    *out = NULL;
    simtdx_machine *m = eei_calloc(1, sizeof *m);
    if (!m) return eei_nomem(err);
    ee_status st = eei_file_check_private(path, err);
    if (!st) st = eei_file_read(path, &text, err);
    if (!st) st = eei_json_parse(eei_buf_span(&text), MACHINE_FILE_MAX, &json, err);
    if (!st) st = machine_fields(json, m, err);
    if (!st) *out = eei_take(&m);
    json_decref(json);
    eei_buf_clear(&text);
    simtdx_machine_free(m);
    return st;
}

/* ---- quotes ---- */

static void release_measurement(const char *what, uint8_t out[48]) {
    const ee_span parts[] = {eei_span_text("easyenclave simulated release "), eei_span_text(what)};
    eei_hash_parts(EEI_SHA384, parts, 2, out);
}

void simtdx_td_default(simtdx_td *td) {
    memset(td, 0, sizeof *td);
    release_measurement("mrtd", td->mrtd);
    simtdx_boot_registers(td->rtmr);
    td->td_attributes = UINT64_C(1) << 28; /* SEPT_VE_DISABLE */
    td->xfam = 0x602e7;
    td->quote_version = 4;
}

static void write_header(eei_writer *w, int version) {
    static const uint8_t vendor[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};
    eei_write_u16le(w, (uint16_t)version);
    eei_write_u16le(w, 2);
    eei_write_u32le(w, 0x81);
    eei_write_zeros(w, 4);
    eei_write_bytes(w, vendor, sizeof vendor);
    eei_write_zeros(w, 20);
    if (version != 5) return;
    eei_write_u16le(w, 3); /* TD report 1.5 */
    eei_write_u32le(w, 648);
}

static void write_body(eei_writer *w, const simtdx_td *td, const uint8_t report_data[64]) {
    static const uint8_t tee_tcb_svn[16] = {5, 1, 5};
    uint8_t mr_seam[48];
    release_measurement("mrseam", mr_seam);
    eei_write_bytes(w, tee_tcb_svn, 16);
    eei_write_bytes(w, mr_seam, 48);
    eei_write_zeros(w, 48 + 8); /* MRSIGNERSEAM, SEAMATTRIBUTES */
    eei_write_u64le(w, td->td_attributes);
    eei_write_u64le(w, td->xfam);
    eei_write_bytes(w, td->mrtd, 48);
    eei_write_bytes(w, td->mr_config_id, 48);
    eei_write_bytes(w, td->mr_owner, 48);
    eei_write_bytes(w, td->mr_owner_config, 48);
    eei_write_bytes(w, td->rtmr, sizeof td->rtmr);
    eei_write_bytes(w, report_data, 64);
    if (td->quote_version != 5) return;
    eei_write_bytes(w, tee_tcb_svn, 16); /* TEE_TCB_SVN2 */
    eei_write_zeros(w, 48);              /* MRSERVICETD */
}

static void write_auth(eei_writer *w, const simtdx_machine *m, const uint8_t signature[64], const uint8_t key[64]) {
    size_t chain = strlen(m->chain) + 1, certification = 384 + 64 + 2 + sizeof m->qe_auth_data + 6 + chain;
    eei_write_u32le(w, (uint32_t)(64 + 64 + 6 + certification));
    eei_write_bytes(w, signature, 64);
    eei_write_bytes(w, key, 64);
    eei_write_u16le(w, 6);
    eei_write_u32le(w, (uint32_t)certification);
    eei_write_bytes(w, m->qe_report, sizeof m->qe_report);
    eei_write_bytes(w, m->qe_report_signature, 64);
    eei_write_u16le(w, sizeof m->qe_auth_data);
    eei_write_bytes(w, m->qe_auth_data, sizeof m->qe_auth_data);
    eei_write_u16le(w, 5);
    eei_write_u32le(w, (uint32_t)chain);
    eei_write_bytes(w, m->chain, chain); /* with its NUL, as DCAP does */
}

ee_status simtdx_quote(const simtdx_machine *machine, const simtdx_td *td, const uint8_t report_data[64], eei_buf *out, ee_error *err) {
    eei_buf quote = EEI_BUF_INIT(QUOTE_MAX);
    eei_writer w = eei_writer_init(&quote);
    uint8_t signature[64], key[64];
    if (td->quote_version != 4 && td->quote_version != 5)
        return eei_fail(err, EE_E_INVALID, "quote version %d, known are 4 and 5", td->quote_version);
    write_header(&w, td->quote_version);
    write_body(&w, td, report_data);
    ee_status st = w.status ? eei_nomem(err) : public_point(machine->attestation_key, key, err);
    if (!st) st = simtdx_sign(machine->attestation_key, eei_buf_span(&quote), signature, err);
    if (!st) {
        write_auth(&w, machine, signature, key);
        st = w.status ? eei_nomem(err) : EE_OK;
    }
    if (!st) {
        st = eei_buf_append_span(out, eei_buf_span(&quote));
        if (st) eei_fail(err, st, "a quote of %zu bytes does not fit its buffer", quote.len);
    }
    eei_buf_clear(&quote);
    return st;
}

/* Length of header, descriptor and body: what the attestation key signs. */
static size_t signed_bytes(const uint8_t *quote) { return quote[0] == 5 ? BODY_AT_V5 + 648 : BODY_AT_V4 + 584; }

ee_status simtdx_quote_resign(const simtdx_machine *machine, uint8_t *quote, size_t len, ee_error *err) {
    size_t body_end = signed_bytes(quote);
    EE_ASSERT(len > body_end + 4 + 64);
    return simtdx_sign(machine->attestation_key, eei_span(quote, body_end), quote + body_end + 4, err);
}

ee_status simtdx_quote_resign_qe(const simtdx_machine *machine, uint8_t *quote, size_t len, ee_error *err) {
    uint8_t *report = quote + signed_bytes(quote) + 4 + 134;
    EE_ASSERT(len > (size_t)(report - quote) + 384 + 64 && machine->pck_key);
    return simtdx_sign(machine->pck_key, eei_span(report, 384), report + 384, err);
}

/* ---- policy ---- */

static ee_status pin_line(eei_buf *out, const char *name, const uint8_t value[48]) {
    char hex[97];
    eei_hex_encode(eei_span(value, 48), hex);
    return eei_buf_printf(out, "%s = \"%s\"\n", name, hex);
}

ee_status simtdx_policy_toml(const simtdx_root *root, eei_buf *out, ee_error *err) {
    simtdx_td td;
    simtdx_td_default(&td);
    ee_status st = eei_buf_append_text(
        out, "# Accepts quotes of this devnet's simulated machines and no others. It protects nothing.\nanchor_der = \"");
    if (!st) st = eei_base64url_encode(simtdx_root_der(root), out);
    if (!st)
        st = eei_buf_append_text(
            out,
            "\"\nsimulated = true\ntcb_status = [\"UpToDate\"]\nrequire_sealed = false\n\n[[profile]]\nname = \"simulated release\"\n");
    if (!st) st = pin_line(out, "mrtd", td.mrtd);
    if (!st) st = pin_line(out, "rtmr0", td.rtmr[0]);
    if (!st) st = pin_line(out, "rtmr1", td.rtmr[1]);
    if (!st) st = pin_line(out, "rtmr2", td.rtmr[2]);
    return st ? eei_fail(err, st, "no room for the simulated policy") : EE_OK;
}
