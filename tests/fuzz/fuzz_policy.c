/* fuzz_policy.c - hostile policy.toml: refused, or a policy that is never weaker than it may be. */
#include "attest/policy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ee_policy *policy = NULL;
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (!ee_policy_parse(text, "fuzz.toml", &policy, NULL)) {
        bool intel = !memcmp(policy->anchor, eei_anchor_intel, 32);
        if (policy->simulated == intel) abort();
        if (!policy->statuses || policy->statuses & ~((1u << EEI_TCB_REVOKED) - 1)) abort();
        if (policy->td_attributes_allow & 1) abort();
        if (policy->allow_any_measurement && policy->profile_count) abort(); /* neither: said in so many words, and nothing is accepted */
        if (strlen(ee_policy_hash(policy)) != 64) abort();
    }
    ee_policy_free(policy);
    free(text);
    return 0;
}
