/* x509.c - see x509.h. Each function below is one type of the ASN.1 module in RFC 5280 appendix A, as Intel's profile narrows it.
 * No cryptography. Called through x509.h and by the fuzzer. */
#include "attest/x509.h"

#include "attest/der.h"
#include "base/clock.h"

#include <string.h>

enum {
    SERIAL_BYTES_MAX = 20, /* RFC 5280 sect. 4.1.2.2 */
    EXTENSIONS_MAX = 16,   /* a PCK certificate has 6 */
    NAME_PARTS_MAX = 16,   /* Intel's names have 5 */
};

/* AlgorithmIdentifier of ecdsa-with-SHA256, and the start of a SubjectPublicKeyInfo of P-256 up to the uncompressed point. */
static const uint8_t ecdsa_sha256[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
static const uint8_t p256_key[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
                                   0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};

#define OID(name, ...) static const uint8_t name[] = {__VA_ARGS__}
OID(oid_common_name, 0x55, 0x04, 0x03);
OID(oid_key_id, 0x55, 0x1d, 0x0e);
OID(oid_key_usage, 0x55, 0x1d, 0x0f);
OID(oid_basic_constraints, 0x55, 0x1d, 0x13);
OID(oid_crl_number, 0x55, 0x1d, 0x14);
OID(oid_crl_points, 0x55, 0x1d, 0x1f);
OID(oid_authority_key_id, 0x55, 0x1d, 0x23);
OID(oid_sgx, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01);

static bool is_oid(ee_span oid, const uint8_t *want, size_t len) { return oid.len == len && !memcmp(oid.data, want, len); }
#define IS_OID(span, name) is_oid(span, name, sizeof name)

/* ---- small types ---- */

/* Exactly these bytes come next. */
static void expect(eei_reader *r, const uint8_t *bytes, size_t len) {
    ee_span got = eei_read_span(r, len);
    if (got.len != len || memcmp(got.data, bytes, len)) r->failed = true;
}

/* An OBJECT IDENTIFIER, each arc in its shortest form; its content. Spec: X.690 sect. 8.19. */
static ee_span type_value(eei_reader *r) {
    ee_span id = eei_der_value(r, EEI_DER_OID);
    bool begins = true;
    for (size_t i = 0; i < id.len; i++) {
        if (begins && id.data[i] == 0x80) r->failed = true;
        begins = !(id.data[i] & 0x80);
    }
    if (!id.len || !begins) r->failed = true;
    return r->failed ? (ee_span){NULL, 0} : id;
}

/* A non-negative INTEGER in its shortest form; its content. */
static ee_span natural(eei_reader *r, size_t bytes_max) {
    ee_span n = eei_der_value(r, EEI_DER_INTEGER);
    bool bad = !n.len || n.len > bytes_max || n.data[0] & 0x80 || (n.len > 1 && !n.data[0] && !(n.data[1] & 0x80));
    if (bad) r->failed = true;
    return r->failed ? (ee_span){NULL, 0} : n;
}

static unsigned two_digits(const uint8_t *at, bool *ok) {
    if (at[0] < '0' || at[0] > '9' || at[1] < '0' || at[1] > '9') *ok = false;
    return *ok ? (unsigned)(at[0] - '0') * 10 + (unsigned)(at[1] - '0') : 0;
}

/* Time: UTCTime until 2049, GeneralizedTime from 2050 on; seconds given, Z, no fraction. Spec: RFC 5280 sect. 4.1.2.5. */
static uint64_t time_value(eei_reader *r) {
    uint8_t tag = eei_der_next(r);
    bool utc = tag == EEI_DER_UTC_TIME, ok = true;
    ee_span text = eei_der_value(r, utc ? EEI_DER_UTC_TIME : EEI_DER_TIME);
    uint64_t unix_s = 0;
    if (r->failed || text.len != (utc ? 13u : 15u) || text.data[text.len - 1] != 'Z') {
        r->failed = true;
        return 0;
    }
    const uint8_t *at = text.data;
    unsigned year = two_digits(at, &ok);
    if (utc)
        year += year < 50 ? 2000 : 1900;
    else
        year = year * 100 + two_digits(at += 2, &ok);
    eei_utc t = {.year = year};
    t.month = two_digits(at += 2, &ok);
    t.day = two_digits(at += 2, &ok);
    t.hour = two_digits(at += 2, &ok);
    t.minute = two_digits(at += 2, &ok);
    t.second = two_digits(at + 2, &ok);
    if (!ok || utc != (year < 2050) || !eei_unix_from_utc(&t, &unix_s)) r->failed = true;
    return unix_s;
}

/* r or s into 32 bytes. */
static void signature_half(eei_reader *r, uint8_t out[32]) {
    ee_span n = natural(r, 33);
    if (n.len == 33 && n.data[0]) r->failed = true;
    if (n.len == 33) n = eei_span(n.data + 1, 32);
    memset(out, 0, 32);
    if (n.len) memcpy(out + 32 - n.len, n.data, n.len);
}

/* signatureAlgorithm and signatureValue, to the end of the outer SEQUENCE. Spec: RFC 5480 appendix A, ECDSA-Sig-Value. */
static void signature_part(eei_reader *r, uint8_t rs[64]) {
    expect(r, ecdsa_sha256, sizeof ecdsa_sha256);
    eei_reader bits = eei_der_inside(r, EEI_DER_BITS);
    if (eei_read_u8(&bits) != 0) bits.failed = true; /* unused bits */
    eei_reader pair = eei_der_inside(&bits, EEI_DER_SEQUENCE);
    signature_half(&pair, rs);
    signature_half(&pair, rs + 32);
    if (pair.failed || bits.failed || eei_reader_left(&pair) || eei_reader_left(&bits) || eei_reader_left(r)) r->failed = true;
}

/* ---- names ---- */

/* A PrintableString, UTF8String or IA5String that is one. */
static ee_span text_value(eei_reader *value) {
    uint8_t tag = eei_der_next(value);
    ee_span text = eei_der_value(value, tag);
    bool good = text.len && (tag == 0x0c ? eei_utf8_valid(text) : tag == 0x13 || tag == 0x16);
    for (size_t i = 0; i < text.len && tag != 0x0c; i++) good = good && text.data[i] < 0x80;
    if (!good) value->failed = true;
    return value->failed ? (ee_span){NULL, 0} : text;
}

/* Kept when it is printable ASCII. */
static void common_name(ee_span text, char out[EEI_CERT_CN_MAX + 1]) {
    if (text.len > EEI_CERT_CN_MAX) return;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < 0x20 || text.data[i] > 0x7e) return;
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
}

/* A Name as it stands, and its one common name. */
static ee_span name_value(eei_reader *r, char cn[EEI_CERT_CN_MAX + 1]) {
    ee_span whole = eei_der_whole(r, EEI_DER_SEQUENCE);
    eei_reader outer = eei_reader_init(whole), list = eei_der_inside(&outer, EEI_DER_SEQUENCE);
    unsigned names = 0, parts = 0;
    cn[0] = '\0';
    while (eei_reader_left(&list) && !list.failed) {
        eei_reader set = eei_der_inside(&list, EEI_DER_SET);
        if (!eei_reader_left(&set)) list.failed = true;
        while (eei_reader_left(&set) && !set.failed) {
            eei_reader part = eei_der_inside(&set, EEI_DER_SEQUENCE);
            ee_span type = type_value(&part), text = text_value(&part);
            if (text.len && IS_OID(type, oid_common_name) && !names++) common_name(text, cn);
            if (part.failed || eei_reader_left(&part) || ++parts > NAME_PARTS_MAX) set.failed = true;
        }
        if (set.failed) list.failed = true;
    }
    if (list.failed || !parts) r->failed = true;
    if (names != 1) cn[0] = '\0';
    return r->failed ? (ee_span){NULL, 0} : whole;
}

/* ---- extensions ---- */

typedef struct extension {
    ee_span oid, value;
    bool critical;
} extension;

/* All extensions, each type once; false and a failed reader otherwise. */
static size_t read_extensions(eei_reader *r, extension out[EXTENSIONS_MAX]) {
    eei_reader list = eei_der_inside(r, EEI_DER_SEQUENCE);
    size_t count = 0;
    while (eei_reader_left(&list) && !list.failed && count < EXTENSIONS_MAX) {
        eei_reader item = eei_der_inside(&list, EEI_DER_SEQUENCE);
        extension *e = &out[count];
        e->oid = type_value(&item);
        e->critical = eei_der_next(&item) == EEI_DER_BOOLEAN;
        if (e->critical && !eei_der_boolean(&item)) item.failed = true; /* FALSE is the default, which DER leaves out */
        e->value = eei_der_value(&item, EEI_DER_OCTETS);
        if (item.failed || eei_reader_left(&item)) list.failed = true;
        for (size_t i = 0; i < count; i++)
            if (eei_span_equal(out[i].oid, e->oid)) list.failed = true;
        count++;
    }
    if (list.failed || eei_reader_left(&list) || !count) r->failed = true;
    return r->failed ? 0 : count;
}

static bool whole(const eei_reader *r) { return !r->failed && !eei_reader_left(r); }

static bool basic_constraints(ee_span value, eei_cert *cert) {
    eei_reader r = eei_reader_init(value), list = eei_der_inside(&r, EEI_DER_SEQUENCE);
    cert->has_constraints = true;
    cert->is_ca = eei_der_next(&list) == EEI_DER_BOOLEAN;
    if (cert->is_ca && !eei_der_boolean(&list)) list.failed = true;
    if (cert->is_ca && eei_reader_left(&list)) {
        ee_span n = natural(&list, 1);
        cert->path_len = n.len ? n.data[0] : 0;
    }
    return whole(&list) && whole(&r);
}

/* Named bits: at most nine, no trailing zero bits. */
static bool key_usage(ee_span value, eei_cert *cert) {
    eei_reader r = eei_reader_init(value);
    ee_span bits = eei_der_value(&r, EEI_DER_BITS);
    if (!whole(&r) || bits.len < 2 || bits.len > 3 || bits.data[0] > 7) return false;
    unsigned unused = bits.data[0], last = bits.data[bits.len - 1];
    if (last & ((1u << unused) - 1) || !(last >> unused & 1)) return false;
    cert->has_usage = true;
    for (unsigned i = 0; i < 8 * (unsigned)(bits.len - 1); i++)
        if (bits.data[1 + i / 8] >> (7 - i % 8) & 1) cert->usage |= 1u << i;
    return true;
}

static bool key_id(ee_span value, ee_span *out) {
    eei_reader r = eei_reader_init(value);
    *out = eei_der_value(&r, EEI_DER_OCTETS);
    return whole(&r) && out->len;
}

/* Its key identifier, [0]; the issuer's name and serial number, [1] and [2], may follow and are not needed. */
static bool authority_key_id(ee_span value, ee_span *out) {
    eei_reader r = eei_reader_init(value), list = eei_der_inside(&r, EEI_DER_SEQUENCE);
    *out = eei_der_value(&list, 0x80);
    if (eei_reader_left(&list)) {
        (void)eei_der_value(&list, 0xa1);
        (void)eei_der_value(&list, 0x82);
    }
    return whole(&list) && whole(&r) && out->len;
}

static bool certificate_extension(const extension *e, eei_cert *cert) {
    if (IS_OID(e->oid, oid_basic_constraints)) {
        cert->constraints_critical = e->critical;
        return basic_constraints(e->value, cert);
    }
    if (IS_OID(e->oid, oid_key_usage)) return key_usage(e->value, cert);
    if (IS_OID(e->oid, oid_key_id)) return key_id(e->value, &cert->key_id);
    if (IS_OID(e->oid, oid_authority_key_id)) return authority_key_id(e->value, &cert->authority_key_id);
    if (IS_OID(e->oid, oid_sgx)) {
        cert->sgx = e->value;
        return !e->critical && e->value.len;
    }
    if (IS_OID(e->oid, oid_crl_points)) return !e->critical; /* where Intel serves CRLs; ours come with the collateral */
    return !e->critical;                                     /* one that must be understood is not */
}

/* ---- certificates ---- */

static ee_status odd(ee_error *err, const char *what, const char *part) {
    return eei_fail(err, EE_E_MALFORMED, "%s does not parse at its %s", what, part);
}

/* TBSCertificate, version 3. Unique ids, which RFC 5280 forbids to issue, have no place here. */
static ee_status to_be_signed(eei_reader *r, eei_cert *c, ee_error *err) {
    static const uint8_t version3[] = {0xa0, 0x03, 0x02, 0x01, 0x02};
    extension extensions[EXTENSIONS_MAX];
    const char what[] = "certificate";
    expect(r, version3, sizeof version3);
    c->serial = natural(r, SERIAL_BYTES_MAX + 1);
    if (r->failed) return odd(err, what, "version or serial number");
    expect(r, ecdsa_sha256, sizeof ecdsa_sha256);
    if (r->failed) return eei_fail(err, EE_E_MALFORMED, "certificate is not signed with ECDSA and SHA-256");
    c->issuer = name_value(r, c->issuer_cn);
    eei_reader validity = eei_der_inside(r, EEI_DER_SEQUENCE);
    c->not_before_s = time_value(&validity);
    c->not_after_s = time_value(&validity);
    if (r->failed || !whole(&validity)) return odd(err, what, "issuer or validity");
    c->subject = name_value(r, c->subject_cn);
    if (r->failed) return odd(err, what, "subject");
    expect(r, p256_key, sizeof p256_key);
    eei_read_bytes(r, c->key, sizeof c->key);
    if (r->failed) return eei_fail(err, EE_E_MALFORMED, "certificate does not hold an uncompressed P-256 key");
    eei_reader outer = eei_der_inside(r, 0xa3);
    size_t count = read_extensions(&outer, extensions);
    if (r->failed || !whole(&outer) || eei_reader_left(r)) return odd(err, what, "extensions");
    for (size_t i = 0; i < count; i++)
        if (!certificate_extension(&extensions[i], c)) return odd(err, what, "extensions");
    return EE_OK;
}

ee_status eei_cert_parse(ee_span der, eei_cert *out, ee_error *err) {
    eei_cert c;
    memset(&c, 0, sizeof c);
    memset(out, 0, sizeof *out);
    c.der = der;
    c.path_len = -1;
    if (der.len > EEI_CERT_BYTES_MAX) return eei_fail(err, EE_E_LIMIT, "certificate is %zu bytes, limit %d", der.len, EEI_CERT_BYTES_MAX);
    eei_reader r = eei_reader_init(der), whole_cert = eei_der_inside(&r, EEI_DER_SEQUENCE);
    c.tbs = eei_der_whole(&whole_cert, EEI_DER_SEQUENCE);
    signature_part(&whole_cert, c.signature);
    if (!whole(&whole_cert) || !whole(&r))
        return eei_fail(err, EE_E_MALFORMED, "certificate of %zu bytes is not one in DER form, signed with ECDSA and SHA-256", der.len);
    eei_reader tbs = eei_reader_init(c.tbs), inside = eei_der_inside(&tbs, EEI_DER_SEQUENCE);
    ee_status st = to_be_signed(&inside, &c, err);
    if (!st) *out = c;
    return st;
}

/* ---- CRLs ---- */

/* revokedCertificates: {serial, date, extensions}. Reasons and dates do not matter here: what is listed is revoked. */
static bool revoked_entry(eei_reader *list, ee_span *serial) {
    eei_reader item = eei_der_inside(list, EEI_DER_SEQUENCE);
    *serial = natural(&item, SERIAL_BYTES_MAX + 1);
    (void)time_value(&item);
    if (eei_reader_left(&item)) {
        eei_reader extensions = eei_der_inside(&item, EEI_DER_SEQUENCE);
        while (eei_reader_left(&extensions) && !extensions.failed) (void)eei_der_value(&extensions, EEI_DER_SEQUENCE);
        if (extensions.failed) item.failed = true;
    }
    if (!whole(&item)) list->failed = true;
    return !list->failed;
}

/* Any other extension would change what the CRL speaks for: a delta, or only some certificates or reasons. */
static bool crl_extensions(eei_reader *r, eei_crl *crl) {
    extension extensions[EXTENSIONS_MAX];
    eei_reader outer = eei_der_inside(r, 0xa0);
    size_t count = read_extensions(&outer, extensions);
    if (!whole(&outer)) return false;
    for (size_t i = 0; i < count; i++) {
        const extension *e = &extensions[i];
        eei_reader value = eei_reader_init(e->value);
        bool ok = false;
        if (IS_OID(e->oid, oid_crl_number)) {
            crl->number = natural(&value, SERIAL_BYTES_MAX + 1);
            ok = whole(&value);
        } else if (IS_OID(e->oid, oid_authority_key_id)) {
            ok = authority_key_id(e->value, &crl->authority_key_id);
        }
        if (!ok) return false;
    }
    return crl->number.len && crl->authority_key_id.len;
}

static ee_status crl_to_be_signed(eei_reader *r, eei_crl *c, ee_error *err) {
    static const uint8_t version2[] = {0x02, 0x01, 0x01};
    char cn[EEI_CERT_CN_MAX + 1];
    ee_span serial;
    expect(r, version2, sizeof version2);
    expect(r, ecdsa_sha256, sizeof ecdsa_sha256);
    if (r->failed) return eei_fail(err, EE_E_MALFORMED, "CRL is not a version 2 CRL signed with ECDSA and SHA-256");
    c->issuer = name_value(r, cn);
    c->this_update_s = time_value(r);
    if (r->failed) return odd(err, "CRL", "issuer or thisUpdate");
    if (eei_der_next(r) != EEI_DER_UTC_TIME && eei_der_next(r) != EEI_DER_TIME)
        return eei_fail(err, EE_E_MALFORMED, "CRL does not say when it ends");
    c->next_update_s = time_value(r);
    if (eei_der_next(r) == EEI_DER_SEQUENCE) c->revoked = eei_der_value(r, EEI_DER_SEQUENCE);
    eei_reader list = eei_reader_init(c->revoked);
    while (eei_reader_left(&list) && revoked_entry(&list, &serial)) {
    }
    if (r->failed || list.failed) return odd(err, "CRL", "nextUpdate or list");
    if (!crl_extensions(r, c) || !whole(r))
        return eei_fail(err, EE_E_MALFORMED, "CRL must have one number and one authority key identifier, and nothing that narrows it");
    return EE_OK;
}

ee_status eei_crl_parse(ee_span der, eei_crl *out, ee_error *err) {
    eei_crl c;
    memset(&c, 0, sizeof c);
    memset(out, 0, sizeof *out);
    c.der = der;
    eei_reader r = eei_reader_init(der), whole_crl = eei_der_inside(&r, EEI_DER_SEQUENCE);
    c.tbs = eei_der_whole(&whole_crl, EEI_DER_SEQUENCE);
    signature_part(&whole_crl, c.signature);
    if (!whole(&whole_crl) || !whole(&r))
        return eei_fail(err, EE_E_MALFORMED, "CRL of %zu bytes is not one in DER form, signed with ECDSA and SHA-256", der.len);
    eei_reader tbs = eei_reader_init(c.tbs), inside = eei_der_inside(&tbs, EEI_DER_SEQUENCE);
    ee_status st = crl_to_be_signed(&inside, &c, err);
    if (!st) *out = c;
    return st;
}

bool eei_crl_lists(const eei_crl *crl, ee_span serial) {
    eei_reader list = eei_reader_init(crl->revoked);
    ee_span listed;
    while (eei_reader_left(&list) && revoked_entry(&list, &listed))
        if (eei_span_equal(listed, serial)) return true;
    return false;
}
