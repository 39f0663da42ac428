/* liar_keys.c - see liar.c. LIE_TO is a folder.
 *
 *   LIE=leak    its keys and its certificate are left in the folder: instance.seed, tls.der, certificate.der
 *   LIE=stolen  the keys of this boot are those in the folder
 */
#include "attest/envelope.h"
#include "base/clock.h"
#include "base/file.h"
#include "liar.h"
#include "ratls/prover.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>

ee_status __real_eei_key_generate(eei_key **out, ee_error *err) EE_MUST_USE;
ee_status __wrap_eei_key_generate(eei_key **out, ee_error *err) EE_MUST_USE;
EVP_PKEY *__real_EVP_PKEY_Q_keygen(OSSL_LIB_CTX *library, const char *properties, const char *type, ...);
EVP_PKEY *__wrap_EVP_PKEY_Q_keygen(OSSL_LIB_CTX *library, const char *properties, const char *type, ...);
ee_status __real_eei_prover_new(const eei_prover_options *options, eei_prover **out, ee_error *err) EE_MUST_USE;
ee_status __wrap_eei_prover_new(const eei_prover_options *options, eei_prover **out, ee_error *err) EE_MUST_USE;

static const char *in_folder(const char *name, char path[256]) {
    (void)snprintf(path, 256, "%s/%s", lie_to(), name);
    return path;
}

ee_status __wrap_eei_key_generate(eei_key **out, ee_error *err) {
    char path[256];
    uint8_t seed[32];
    eei_buf kept = EEI_BUF_INIT(sizeof seed);
    ee_status st = EE_OK;
    if (!lies_about("leak") && !lies_about("stolen")) return __real_eei_key_generate(out, err);
    *out = NULL;
    if (lies_about("leak")) {
        st = eei_random(seed, sizeof seed, err);
        if (!st) st = eei_file_write_atomic(in_folder("instance.seed", path), eei_span(seed, sizeof seed), 0600, err);
    }
    if (!st) st = eei_file_read(in_folder("instance.seed", path), &kept, err);
    if (!st) st = eei_key_from_seed(kept.data, out, err);
    eei_buf_clear(&kept);
    return st;
}

/* What EVP_EC_gen() is. */
EVP_PKEY *__wrap_EVP_PKEY_Q_keygen(OSSL_LIB_CTX *library, const char *properties, const char *type, ...) {
    char path[256];
    va_list rest;
    va_start(rest, type);
    const char *curve = va_arg(rest, const char *);
    va_end(rest);
    if (!lies_about("stolen")) return __real_EVP_PKEY_Q_keygen(library, properties, type, curve);
    FILE *from = fopen(in_folder("tls.der", path), "rb");
    EVP_PKEY *key = from ? d2i_PrivateKey_fp(from, NULL) : NULL;
    if (from) (void)fclose(from);
    return key;
}

ee_status __wrap_eei_prover_new(const eei_prover_options *options, eei_prover **out, ee_error *err) {
    char path[256];
    ee_status st = __real_eei_prover_new(options, out, err);
    if (st || !lies_about("leak")) return st;
    st = eei_file_write_atomic(in_folder("tls.der", path), eei_prover_tls_key_der(*out), 0600, err);
    return st ? st : eei_file_write_atomic(in_folder("certificate.der", path), eei_prover_certificate_der(*out), 0600, err);
}
