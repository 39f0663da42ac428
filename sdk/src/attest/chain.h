/* chain.h - certificate chains as they are delivered: strict PEM, leaf first. Trusts nothing; trust.c does.
 * Called by verify.c, collateral.c and pck.c. */
#ifndef EEI_CHAIN_H
#define EEI_CHAIN_H
#include "attest/x509.h"
#include "base/arena.h"

enum {
    EEI_PEM_CHAIN_BYTES_MAX = 16384, /* a quote's has 3,700 */
    EEI_CHAIN_CERTS_MAX = 4,         /* hardware's longest has 3; other verifiers' suites go one further */
};

typedef struct eei_chain {
    eei_cert certs[EEI_CHAIN_CERTS_MAX]; /* leaf first */
    size_t count;
    eei_arena arena; /* their bytes */
} eei_chain;

/* Nothing but certificates and line ends, canonical base64, canonical DER; one NUL at the end is allowed (DCAP puts it). *out needs no
 * preparation and is empty after a failure. */
ee_status eei_chain_parse(ee_span pem, eei_chain *out, ee_error *err) EE_MUST_USE;
const eei_cert *eei_chain_root(const eei_chain *chain);      /* the last; NULL when it is empty */
bool eei_chain_same(const eei_chain *a, const eei_chain *b); /* byte for byte */
void eei_chain_clear(eei_chain *chain);
#endif
