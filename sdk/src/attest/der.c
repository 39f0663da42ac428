/* der.c - see der.h. Called by x509.c and pck.c. */
#include "attest/der.h"

uint8_t eei_der_next(const eei_reader *r) { return !r->failed && eei_reader_left(r) ? r->input.data[r->at] : 0; }

/* 1 to 3 bytes of length, each form only where the shorter one does not fit. */
static size_t read_length(eei_reader *r) {
    size_t len = eei_read_u8(r), least = 0;
    if (len < 0x80) return len;
    switch (len) {
    case 0x81:
        len = eei_read_u8(r);
        least = 0x80;
        break;
    case 0x82:
        len = eei_read_u16be(r);
        least = 0x100;
        break;
    case 0x83:
        len = (size_t)eei_read_u8(r) << 16;
        len |= eei_read_u16be(r);
        least = 0x10000;
        break;
    default: r->failed = true;
    }
    if (len < least) r->failed = true;
    return len;
}

ee_span eei_der_value(eei_reader *r, uint8_t tag) {
    uint8_t got = eei_read_u8(r);
    size_t len = read_length(r);
    if (got != tag) r->failed = true;
    return r->failed ? (ee_span){NULL, 0} : eei_read_span(r, len);
}

ee_span eei_der_whole(eei_reader *r, uint8_t tag) {
    size_t start = r->at;
    (void)eei_der_value(r, tag);
    return r->failed ? (ee_span){NULL, 0} : eei_span(r->input.data + start, r->at - start);
}

eei_reader eei_der_inside(eei_reader *r, uint8_t tag) {
    eei_reader inside = eei_reader_init(eei_der_value(r, tag));
    inside.failed = r->failed;
    return inside;
}

bool eei_der_boolean(eei_reader *r) {
    ee_span b = eei_der_value(r, EEI_DER_BOOLEAN);
    if (b.len != 1 || (b.data[0] != 0 && b.data[0] != 0xff)) r->failed = true;
    return !r->failed && b.data[0];
}
