/* fuzz_crl.c - hostile certificate revocation lists. OpenSSL takes what ours takes, and counts the same entries: no serial number hides
 * from one reader in a form that the other reads. Threats Q3, Q19. */
#include "attest/der.h"
#include "attest/x509.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_entries(const eei_crl *crl, X509_CRL *theirs) {
    STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(theirs);
    eei_reader list = eei_reader_init(crl->revoked);
    int count = 0;
    for (; eei_reader_left(&list); count++) {
        eei_reader entry = eei_der_inside(&list, EEI_DER_SEQUENCE);
        ee_span serial = eei_der_value(&entry, EEI_DER_INTEGER);
        if (list.failed || entry.failed || !eei_crl_lists(crl, serial)) abort();
    }
    if (count != (entries ? sk_X509_REVOKED_num(entries) : 0)) abort();
    for (int i = 0; i < count; i++) {
        const ASN1_INTEGER *serial = X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(entries, i));
        unsigned char der[64], *end = der;
        int len = i2d_ASN1_INTEGER(serial, NULL);
        if (len < 3 || len > (int)sizeof der || i2d_ASN1_INTEGER(serial, &end) != len) abort();
        if (!eei_crl_lists(crl, eei_span(der + 2, (size_t)len - 2))) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const unsigned char *at = data;
    eei_crl crl;
    if (eei_crl_parse(eei_span(data, size), &crl, NULL)) return 0;
    if (!crl.number.len || !crl.authority_key_id.len || !crl.issuer.len) abort();
    X509_CRL *theirs = d2i_X509_CRL(NULL, &at, (long)size);
    if (!theirs || at != data + size || !X509_CRL_get0_nextUpdate(theirs)) abort();
    same_entries(&crl, theirs);
    X509_CRL_free(theirs);
    ERR_clear_error();
    return 0;
}
