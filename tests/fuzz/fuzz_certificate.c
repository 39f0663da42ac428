/* fuzz_certificate.c - a peer's certificate, as TLS hands it over, into the evidence extension's reader and the judge. Threat Q18.
 * Run by libFuzzer, and as a corpus replay. */
#include "base/alloc.h"
#include "base/limits.h"
#include "ratls/ratls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ee_status no_collateral(void *user, const eei_collateral_id *id, eei_buf *json, ee_error *err) {
    (void)user;
    (void)id;
    (void)json;
    return eei_fail(err, EE_E_CONNECT, "none here");
}

static eei_judge *the_judge(void) {
    static eei_judge *judge;
    const eei_collateral_source source = {no_collateral, NULL};
    ee_policy *policy = NULL;

    if (judge) return judge;
    EE_ASSERT(ee_policy_production(&policy, NULL) == EE_OK);
    EE_ASSERT(eei_judge_new(policy, &source, eei_clock_system(), &judge, NULL) == EE_OK);
    ee_policy_free(policy);
    return judge;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const eei_expect expect = {.role = EEI_ROLE_AGENT};
    const unsigned char *at = data;
    X509 *certificate = d2i_X509(NULL, &at, (long)size);
    ee_verdict *verdict = NULL;
    uint8_t spki[32];
    ee_span evidence;

    if (!certificate) return 0;
    if (eei_certificate_evidence(certificate, &evidence, NULL) == EE_OK)
        EE_ASSERT(evidence.len && evidence.len <= EEI_EVIDENCE_BYTES_MAX && evidence.len < size);
    (void)!eei_certificate_spki_sha256(certificate, spki, NULL);
    /* Nothing is acceptable without collateral. */
    EE_ASSERT(eei_judge_certificate(the_judge(), certificate, NULL, &expect, &verdict, NULL) != EE_OK);
    ee_verdict_free(verdict);
    X509_free(certificate);
    return 0;
}
