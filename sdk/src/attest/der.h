/* der.h - values of DER, read one after the other: tag, minimal length, content. A failed read leaves the reader failed, as all of
 * reader.h does. Not a decoder of types: x509.c and pck.c know those. Private to attest/. Spec: ITU-T X.690 sect. 8 and 10. */
#ifndef EEI_DER_H
#define EEI_DER_H
#include "base/reader.h"

enum {
    EEI_DER_BOOLEAN = 0x01,
    EEI_DER_INTEGER = 0x02,
    EEI_DER_BITS = 0x03,
    EEI_DER_OCTETS = 0x04,
    EEI_DER_OID = 0x06,
    EEI_DER_ENUM = 0x0a,
    EEI_DER_UTC_TIME = 0x17,
    EEI_DER_TIME = 0x18, /* GeneralizedTime */
    EEI_DER_SEQUENCE = 0x30,
    EEI_DER_SET = 0x31,
};

/* Content of the next value, which must have this tag; {NULL, 0} and a failed reader otherwise. Lengths up to 16 MiB, in their shortest
 * form; never indefinite. */
ee_span eei_der_value(eei_reader *r, uint8_t tag);
/* The same with its tag and length: what is signed, and names, which are compared as bytes. */
ee_span eei_der_whole(eei_reader *r, uint8_t tag);
/* A reader over the content of the next SEQUENCE or SET; a failed one when there is none. */
eei_reader eei_der_inside(eei_reader *r, uint8_t tag);
bool eei_der_boolean(eei_reader *r); /* DER has 00 and ff alone */
/* Tag of the next value; 0, which is no value's, at the end. */
uint8_t eei_der_next(const eei_reader *r);
#endif
