/* fuzz_pck_chain.c - hostile certificates, as DER and as a PEM chain, with their SGX extension. What is read has one form: written again it
 * is the same chain, and OpenSSL takes each certificate too. Says nothing of signatures. Threats Q2, Q19. */
#include "attest/chain.h"
#include "attest/pck.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(ee_span part, ee_span whole) {
    return !part.len || (part.data >= whole.data && part.len <= whole.len && part.data - whole.data <= (ptrdiff_t)(whole.len - part.len));
}

static void check_certificate(const eei_cert *c) {
    const ee_span parts[] = {c->tbs, c->serial, c->issuer, c->subject, c->key_id, c->authority_key_id, c->sgx};
    const unsigned char *at = c->der.data;
    eei_pck pck;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!inside(parts[i], c->der)) abort();
    if (!c->serial.len || !c->issuer.len || !c->subject.len || (c->path_len >= 0 && !c->is_ca)) abort();
    X509 *theirs = d2i_X509(NULL, &at, (long)c->der.len);
    if (!theirs || at != c->der.data + c->der.len || X509_get_version(theirs) != X509_VERSION_3) abort();
    X509_free(theirs);
    ERR_clear_error();
    if (!eei_pck_parse(c, &pck, NULL) && (!c->sgx.len || (pck.has_instance && !eei_pck_machine_id(&pck)))) abort();
}

static char *pem_line(char *at, const char *text) {
    size_t len = strlen(text);
    memcpy(at, text, len);
    return at + len;
}

/* In lines of 64, as everybody writes it. */
static char *pem(char *at, ee_span der) {
    at = pem_line(at, "-----BEGIN CERTIFICATE-----\n");
    for (size_t i = 0; i < der.len; i += 48) {
        at += EVP_EncodeBlock((unsigned char *)at, der.data + i, (int)(der.len - i < 48 ? der.len - i : 48));
        *at++ = '\n';
    }
    return pem_line(at, "-----END CERTIFICATE-----\n");
}

static void check_chain(const eei_chain *chain) {
    static char text[EEI_CHAIN_CERTS_MAX * (EEI_CERT_BYTES_MAX * 2 + 64)];
    eei_chain again;
    char *end = text;
    if (!chain->count || chain->count > EEI_CHAIN_CERTS_MAX) abort();
    for (size_t i = 0; i < chain->count; i++) {
        check_certificate(&chain->certs[i]);
        end = pem(end, chain->certs[i].der);
    }
    if (end - text > EEI_PEM_CHAIN_BYTES_MAX) return; /* the input had longer lines */
    if (eei_chain_parse(eei_span((const uint8_t *)text, (size_t)(end - text)), &again, NULL) || again.count != chain->count) abort();
    for (size_t i = 0; i < chain->count; i++)
        if (!eei_span_equal(again.certs[i].der, chain->certs[i].der)) abort();
    eei_chain_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ee_span input = {data, size};
    eei_cert cert;
    eei_chain chain;
    eei_pck pck;
    if (!eei_cert_parse(input, &cert, NULL)) check_certificate(&cert);
    if (!eei_chain_parse(input, &chain, NULL)) {
        check_chain(&chain);
        eei_chain_clear(&chain);
    }
    (void)!eei_pck_parse_extension(input, &pck, NULL);
    return 0;
}
