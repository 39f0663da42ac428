/* fuzz_quote.c - hostile quotes, PEM chains and SGX extensions: whatever comes, no memory error, and nothing is read past a stated length.
 * Parsers only; what verifies is test_verify.c's matter. Threat Q19. */
#include "attest/chain.h"
#include "attest/evidence.h"
#include "attest/pck.h"
#include "attest/quote.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void chain(ee_span pem) {
    eei_chain certs;
    eei_pck pck;
    if (eei_chain_parse(pem, &certs, NULL)) return;
    if (certs.count == 0 || certs.count > EEI_CHAIN_CERTS_MAX) abort();
    for (size_t i = 0; i < certs.count; i++) (void)!eei_pck_parse(&certs.certs[i], &pck, NULL);
    eei_chain_clear(&certs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    eei_quote quote;
    eei_pck pck;
    eei_collateral_id id;
    ee_span input = {data, size};
    if (!eei_quote_parse(input, &quote, NULL)) {
        /* The parts lie inside the input, in order, and together with the trailing bytes fill it. */
        if (quote.signed_part.data != data || quote.trailing.len > size || quote.cert_data.len > size) abort();
        if (quote.cert_data.data + quote.cert_data.len + quote.trailing.len != data + size) abort();
        chain(quote.cert_data);
    }
    (void)!eei_quote_collateral_id(input, &id, NULL);
    chain(input);
    (void)!eei_pck_parse_extension(input, &pck, NULL);
    return 0;
}
