/* quote.c - the quote parser: every length is checked against the bytes that are left, every structure must end where its size says.
 * No cryptography, no policy. Called by verify.c. Spec: Intel TDX DCAP Quoting Library API, "TD Quote format". */
#include "attest/quote.h"

#include "base/limits.h"

#include <string.h>

enum { KEY_TYPE_ECDSA_P256 = 2, TEE_TDX = 0x81, BODY_TD10_BYTES = 584, BODY_TD15_BYTES = 648, CERT_QE_REPORT = 6 };

static const uint8_t intel_qe_vendor[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};

static ee_status parse_header(eei_reader *r, eei_quote *q, ee_error *err) {
    uint8_t vendor[16];
    q->version = eei_read_u16le(r);
    uint16_t key_type = eei_read_u16le(r);
    q->tee_type = eei_read_u32le(r);
    eei_read_skip(r, 4); /* QE and PCE SVN in older layouts: signed, not used */
    eei_read_bytes(r, vendor, sizeof vendor);
    eei_read_skip(r, 20); /* user data: platform's QE id */
    if (eei_reader_failed(r)) return eei_reader_error(r, "quote header", err);
    if (q->version != 4 && q->version != 5) return eei_fail(err, EE_E_VERSION, "quote version is %u, known are 4 and 5", q->version);
    if (key_type != KEY_TYPE_ECDSA_P256)
        return eei_fail(err, EE_E_MALFORMED, "attestation key type is %u, known is 2 (ECDSA P-256)", key_type);
    if (q->tee_type != TEE_TDX) return eei_fail(err, EE_E_MALFORMED, "TEE type is 0x%x, must be 0x81 (TDX)", (unsigned)q->tee_type);
    if (memcmp(vendor, intel_qe_vendor, sizeof vendor)) return eei_fail(err, EE_E_MALFORMED, "QE vendor id is not Intel's");
    return EE_OK;
}

/* Version 5 names the body's type and size; version 4 has a TD 1.0 body right away. */
static ee_status parse_descriptor(eei_reader *r, eei_quote *q, ee_error *err) {
    q->body_type = EEI_BODY_TD10;
    if (q->version == 4) return EE_OK;
    q->body_type = eei_read_u16le(r);
    uint32_t size = eei_read_u32le(r);
    if (eei_reader_failed(r)) return eei_reader_error(r, "quote body descriptor", err);
    if (q->body_type != EEI_BODY_TD10 && q->body_type != EEI_BODY_TD15)
        return eei_fail(err, EE_E_MALFORMED, "quote body type is %u, known are 2 (TD 1.0) and 3 (TD 1.5)", q->body_type);
    uint32_t want = q->body_type == EEI_BODY_TD10 ? BODY_TD10_BYTES : BODY_TD15_BYTES;
    if (size != want)
        return eei_fail(err, EE_E_MALFORMED, "quote body type %u is %u bytes, must be %u", q->body_type, (unsigned)size, (unsigned)want);
    return EE_OK;
}

static ee_status parse_body(eei_reader *r, eei_quote *q, ee_error *err) {
    eei_read_bytes(r, q->tee_tcb_svn, 16);
    eei_read_bytes(r, q->mr_seam, 48);
    eei_read_bytes(r, q->mr_signer_seam, 48);
    eei_read_bytes(r, q->seam_attributes, 8);
    q->td_attributes = eei_read_u64le(r);
    q->xfam = eei_read_u64le(r);
    eei_read_bytes(r, q->mrtd, 48);
    eei_read_bytes(r, q->mr_config_id, 48);
    eei_read_bytes(r, q->mr_owner, 48);
    eei_read_bytes(r, q->mr_owner_config, 48);
    for (size_t i = 0; i < 4; i++) eei_read_bytes(r, q->rtmr[i], 48);
    eei_read_bytes(r, q->report_data, 64);
    if (q->body_type == EEI_BODY_TD15) {
        eei_read_bytes(r, q->tee_tcb_svn2, 16);
        eei_read_bytes(r, q->mr_service_td, 48);
    }
    return eei_reader_failed(r) ? eei_reader_error(r, "quote body", err) : EE_OK;
}

static ee_status parse_qe_report(ee_span bytes, eei_qe_report *qe, ee_error *err) {
    eei_reader r = eei_reader_init(bytes);
    eei_read_bytes(&r, qe->cpusvn, 16);
    eei_read_bytes(&r, qe->miscselect, 4);
    eei_read_skip(&r, 28);
    eei_read_bytes(&r, qe->attributes, 16);
    eei_read_bytes(&r, qe->mrenclave, 32);
    eei_read_skip(&r, 32);
    eei_read_bytes(&r, qe->mrsigner, 32);
    eei_read_skip(&r, 96);
    qe->isvprodid = eei_read_u16le(&r);
    qe->isvsvn = eei_read_u16le(&r);
    eei_read_skip(&r, 60);
    eei_read_bytes(&r, qe->report_data, 64);
    return eei_reader_expect_end(&r, "QE report", err);
}

/* Certification data of type 6: the QE's report, its signature, and one inner certification data that ends exactly with it. */
static ee_status parse_certification(ee_span bytes, eei_quote *q, ee_error *err) {
    eei_reader r = eei_reader_init(bytes);
    q->qe_report_bytes = eei_read_span(&r, EEI_QE_REPORT_BYTES);
    eei_read_bytes(&r, q->qe_report_signature, 64);
    uint16_t auth_len = eei_read_u16le(&r);
    q->qe_auth_data = eei_read_span(&r, auth_len);
    q->cert_type = eei_read_u16le(&r);
    uint32_t cert_len = eei_read_u32le(&r);
    q->cert_data = eei_read_span(&r, cert_len);
    ee_status st = eei_reader_expect_end(&r, "QE certification data", err);
    if (st) return st;
    if (q->cert_type < 1 || q->cert_type > EEI_CERT_PCK_CHAIN)
        return eei_fail(err, EE_E_MALFORMED, "inner certification data type is %u, known are 1 to 5", q->cert_type);
    return parse_qe_report(q->qe_report_bytes, &q->qe_report, err);
}

static ee_status parse_auth_data(ee_span bytes, eei_quote *q, ee_error *err) {
    eei_reader r = eei_reader_init(bytes);
    eei_read_bytes(&r, q->signature, 64);
    eei_read_bytes(&r, q->attestation_key, 64);
    uint16_t type = eei_read_u16le(&r);
    uint32_t len = eei_read_u32le(&r);
    ee_span certification = eei_read_span(&r, len);
    ee_status st = eei_reader_expect_end(&r, "quote signature data", err);
    if (st) return st;
    if (type != CERT_QE_REPORT) return eei_fail(err, EE_E_MALFORMED, "certification data type is %u, must be 6 (QE report)", type);
    return parse_certification(certification, q, err);
}

ee_status eei_quote_parse(ee_span bytes, eei_quote *out, ee_error *err) {
    eei_quote q;
    memset(&q, 0, sizeof q);
    memset(out, 0, sizeof *out);
    if (bytes.len > EEI_QUOTE_BYTES_MAX) return eei_fail(err, EE_E_LIMIT, "quote is %zu bytes, limit %u", bytes.len, EEI_QUOTE_BYTES_MAX);

    eei_reader r = eei_reader_init(bytes);
    ee_status st = parse_header(&r, &q, err);
    if (!st) st = parse_descriptor(&r, &q, err);
    if (!st) st = parse_body(&r, &q, err);
    if (st) return st;
    q.signed_part = eei_span(bytes.data, r.at);
    uint32_t auth_len = eei_read_u32le(&r);
    ee_span auth = eei_read_span(&r, auth_len);
    if (eei_reader_failed(&r)) return eei_reader_error(&r, "quote signature data", err);
    q.bytes_used = r.at;
    /* configfs-tsm hands out zero padding, and some tools append more: nothing covers it, so nothing may read it. */
    q.trailing = eei_read_span(&r, eei_reader_left(&r));
    st = parse_auth_data(auth, &q, err);
    if (!st) *out = q;
    return st;
}
