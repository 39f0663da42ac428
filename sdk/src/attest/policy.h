/* policy.h - what the verifier needs of a policy: anchor, statuses, masks, pins. The public half is eesdk/verify.h.
 * Called by verify.c, appraise.c, trust.c and policy_file.c. */
#ifndef EEI_POLICY_H
#define EEI_POLICY_H
#include "attest/collateral.h"
#include "attest/quote.h"

#include <eesdk/verify.h>

/* SHA-256 of the DER of Intel SGX Root CA. The certificate itself comes with every chain. */
extern const uint8_t eei_anchor_intel[32];

typedef enum eei_pin_id {
    EEI_PIN_MRTD,
    EEI_PIN_RTMR0,
    EEI_PIN_RTMR1,
    EEI_PIN_RTMR2,
    EEI_PIN_RTMR3,
    EEI_PIN_MRSEAM,
    EEI_PIN_MRCONFIGID,
    EEI_PIN_MROWNER,
    EEI_PIN_MROWNERCONFIG,
    EEI_PIN_COUNT
} eei_pin_id;
extern const char *const eei_pin_names[EEI_PIN_COUNT];
const uint8_t *eei_pin_of_quote(const eei_quote *quote, eei_pin_id pin); /* 48 bytes */

enum { EEI_PROFILES_MAX = 1024 }; /* releases of a network that are still good */

/* A profile matches when all of its pins do. */
typedef struct eei_profile {
    char name[64];
    uint32_t pinned; /* bit per eei_pin_id */
    uint8_t value[EEI_PIN_COUNT][48];
    unsigned line[EEI_PIN_COUNT]; /* in the policy file; 0 when pinned by code */
} eei_profile;

/* A status that is accepted for a while, as long as no other advisory is open than these. */
typedef struct eei_tcb_exception {
    eei_tcb_status status;
    char (*advisories)[EEI_ADVISORY_BYTES_MAX + 1]; /* sorted */
    size_t advisory_count;
    uint64_t until_s; /* still acceptable in this second */
    unsigned line;
} eei_tcb_exception;

struct ee_policy {
    atomic_uint refs;
    char name[128]; /* of the file, for explanations */
    uint8_t anchor[32];
    bool simulated; /* the anchor is not Intel's */
    bool allow_any_measurement, require_sealed;
    uint32_t statuses; /* bit per eei_tcb_status */
    eei_tcb_exception *exceptions;
    size_t exception_count;
    uint64_t min_tcb_eval;
    uint64_t td_attributes_allow; /* beyond SEPT_VE_DISABLE, which must be set; never DEBUG */
    uint64_t xfam_allow, xfam_require;
    eei_profile *profiles;
    size_t profile_count;
    bool has_image, has_genesis;
    uint8_t image[32], genesis[32]; /* SHA-256 each: of an image's manifest, of the genesis file a control plane was started with */
    uint8_t (*machines)[16];
    size_t machine_count; /* 0: any */
    uint8_t hash[32];
    char hash_hex[65];
};

/* The strictest policy there is, not sealed yet. NULL when out of memory. */
ee_policy *eei_policy_new(void);
/* Sort what has no order and name the whole by its hash; nothing changes after. */
ee_status eei_policy_seal(ee_policy *policy, ee_error *err) EE_MUST_USE;
bool eei_profile_name_ok(const char *name);
#define EEI_PROFILE_NAME_FORM "UTF-8 of at most 63 bytes without control characters"
int eei_pin_by_name(const char *name); /* -1 for none */
/* "sha256:" and 64 hex digits, or these alone. */
ee_status eei_policy_image_parse(const char *text, uint8_t out[32], ee_error *err) EE_MUST_USE;

/* Name of a TD attribute bit, NULL for one that has none; and of those a policy may allow, the bit. */
const char *eei_td_attribute_name(unsigned bit);
bool eei_td_attribute_bit(const char *name, unsigned *bit);
extern const uint64_t eei_xfam_fixed, eei_xfam_known;
#endif
