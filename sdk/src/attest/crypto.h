/* crypto.h - the few OpenSSL calls attestation is built from: hashes over parts, raw ECDSA P-256. No keys of ours, no policy.
 * Private to attest/. */
#ifndef EEI_ATTEST_CRYPTO_H
#define EEI_ATTEST_CRYPTO_H
#include "base/buf.h"

typedef enum eei_hash { EEI_SHA256 = 32, EEI_SHA384 = 48, EEI_SHA512 = 64 } eei_hash;
/* Hash of the parts in a row; out has as many bytes as the hash's number says. Cannot fail and does not allocate. */
void eei_hash_parts(eei_hash hash, const ee_span *parts, size_t count, uint8_t *out);

/* Room for a P-256 public key and what OpenSSL has around one, to be filled with one key after another: making an EVP_PKEY anew for each
 * costs a third of a verification. One thread at a time. */
typedef struct eei_p256 eei_p256;
ee_status eei_p256_new(eei_p256 **out, ee_error *err) EE_MUST_USE;
void eei_p256_free(eei_p256 *p256);
/* ECDSA with SHA-256 over message under the key x||y, 32 bytes each, big-endian; signature is r||s. EE_E_AUTH when it does not verify,
 * EE_E_MALFORMED when the point is not on the curve. */
ee_status eei_p256_verify(eei_p256 *p256, const uint8_t xy[64], ee_span message, const uint8_t rs[64], ee_error *err) EE_MUST_USE;
#endif
