/* pck.c - see pck.h. Every entry of the SGX extension is known by its number, and is there once. Called through pck.h and by the fuzzer. */
#include "attest/pck.h"

#include "attest/der.h"

#include <string.h>

/* 1.2.840.113741.1.13.1 */
static const uint8_t sgx_arc[] = {0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01};

/* One SEQUENCE {OID = arc (|| middle) || number, value}: leaves the reader of its value in *value. */
static uint8_t der_entry(eei_reader *r, int middle, eei_reader *value) {
    *value = eei_reader_init(eei_der_value(r, EEI_DER_SEQUENCE));
    ee_span oid = eei_der_value(value, EEI_DER_OID);
    size_t prefix = sizeof sgx_arc;
    bool fits = oid.len == prefix + (middle ? 2 : 1) && !memcmp(oid.data, sgx_arc, prefix) && (!middle || oid.data[prefix] == middle);
    uint8_t number = fits ? oid.data[oid.len - 1] : 0;
    if (number == 0 || number > 0x7f || value->failed) r->failed = true;
    return r->failed ? 0 : number;
}

static void octets(eei_reader *value, uint8_t *out, size_t len) {
    ee_span bytes = eei_der_value(value, EEI_DER_OCTETS);
    if (bytes.len != len)
        value->failed = true;
    else
        memcpy(out, bytes.data, len);
}

/* A non-negative INTEGER or ENUMERATED in minimal form, at most max. */
static uint16_t small_number(eei_reader *value, uint8_t tag, uint16_t max) {
    ee_span bytes = eei_der_value(value, tag);
    uint32_t number = 0;
    bool bad = bytes.len < 1 || bytes.len > 3 || (bytes.len && bytes.data[0] & 0x80) ||
               (bytes.len > 1 && !bytes.data[0] && !(bytes.data[1] & 0x80));
    for (size_t i = 0; !bad && i < bytes.len; i++) number = number << 8 | bytes.data[i];
    if (bad || number > max) value->failed = true;
    return value->failed ? 0 : (uint16_t)number;
}

/* .2: components 1..16, PCESVN 17, CPUSVN 18, each once. */
static void tcb_entries(eei_reader *outer, eei_pck *pck) {
    eei_reader list = eei_reader_init(eei_der_value(outer, EEI_DER_SEQUENCE));
    uint32_t seen = 0;
    while (!outer->failed && eei_reader_left(&list)) {
        eei_reader value;
        uint8_t n = der_entry(&list, 2, &value);
        if (n < 1 || n > 18 || seen & 1u << n) {
            outer->failed = true;
            return;
        }
        seen |= 1u << n;
        if (n <= 16)
            pck->components[n - 1] = (uint8_t)small_number(&value, EEI_DER_INTEGER, UINT8_MAX);
        else if (n == 17)
            pck->pcesvn = small_number(&value, EEI_DER_INTEGER, UINT16_MAX);
        else
            octets(&value, pck->cpusvn, 16);
        if (value.failed || eei_reader_left(&value)) outer->failed = true;
    }
    if (seen != 0x7fffe) outer->failed = true;
}

/* .7: three BOOLEANs that nothing here depends on; all of them, each once. */
static void configuration_entries(eei_reader *outer) {
    eei_reader list = eei_reader_init(eei_der_value(outer, EEI_DER_SEQUENCE));
    uint32_t seen = 0;
    while (!outer->failed && eei_reader_left(&list)) {
        eei_reader value;
        uint8_t n = der_entry(&list, 7, &value);
        (void)eei_der_boolean(&value);
        if (n < 1 || n > 3 || seen & 1u << n || value.failed || eei_reader_left(&value)) outer->failed = true;
        seen |= 1u << (n & 7);
    }
    if (seen != 0xe) outer->failed = true;
}

static void entry(uint8_t n, eei_reader *value, eei_pck *pck) {
    switch (n) {
    case 1: octets(value, pck->ppid, 16); break;
    case 2: tcb_entries(value, pck); break;
    case 3: octets(value, pck->pceid, 2); break;
    case 4: octets(value, pck->fmspc, 6); break;
    case 5: pck->sgx_type = (uint8_t)small_number(value, EEI_DER_ENUM, UINT8_MAX); break;
    case 6: octets(value, pck->piid, 16); break;
    case 7: configuration_entries(value); break;
    default: value->failed = true;
    }
    if (eei_reader_left(value)) value->failed = true;
}

ee_status eei_pck_parse_extension(ee_span der, eei_pck *out, ee_error *err) {
    eei_pck pck;
    uint32_t seen = 0;
    memset(&pck, 0, sizeof pck);
    memset(out, 0, sizeof *out);
    eei_reader whole = eei_reader_init(der);
    eei_reader list = eei_reader_init(eei_der_value(&whole, EEI_DER_SEQUENCE));
    if (whole.failed || eei_reader_left(&whole))
        return eei_fail(err, EE_E_MALFORMED, "PCK certificate: the SGX extension is not one sequence");
    while (eei_reader_left(&list) && !list.failed) {
        eei_reader value;
        uint8_t n = der_entry(&list, 0, &value);
        if (list.failed) break;
        if (n <= 7 && seen & 1u << n) return eei_fail(err, EE_E_MALFORMED, "PCK certificate: SGX extension has entry %u twice", n);
        entry(n, &value, &pck);
        if (value.failed) return eei_fail(err, EE_E_MALFORMED, "PCK certificate: SGX extension entry %u does not parse", n);
        seen |= 1u << n;
    }
    /* Entries 1 to 5 always; 6 and 7 together or not at all. */
    if (list.failed || (seen != 0x3e && seen != 0xfe))
        return eei_fail(err, EE_E_MALFORMED, "PCK certificate: SGX extension is not complete");
    pck.has_instance = seen == 0xfe;
    *out = pck;
    return EE_OK;
}

const uint8_t *eei_pck_machine_id(const eei_pck *pck) { return pck->has_instance ? pck->piid : pck->ppid; }

ee_status eei_pck_parse(const eei_cert *leaf, eei_pck *out, ee_error *err) {
    memset(out, 0, sizeof *out);
    if (!leaf->sgx.len) return eei_fail(err, EE_E_MALFORMED, "PCK certificate has no SGX extension");
    ee_status st = eei_pck_parse_extension(leaf->sgx, out, err);
    if (!st) out->platform_ca = strstr(leaf->issuer_cn, "SGX PCK Platform CA") != NULL;
    return st;
}
