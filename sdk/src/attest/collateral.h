/* collateral.h - collateral as delivered, split into its parts, and what can be known of it without a quote: whether its signatures hold,
 * and then TCB info and QE identity. Called by verify.c, trust.c, tcb.c and verdict.c. */
#ifndef EEI_COLLATERAL_H
#define EEI_COLLATERAL_H
#include "attest/trust.h"
#include "base/encoding.h"

#include <eesdk/verify.h>

#include <pthread.h>
#include <stdatomic.h>

typedef enum eei_tcb_status {
    EEI_TCB_UP_TO_DATE,
    EEI_TCB_SW_HARDENING,
    EEI_TCB_CONFIG,
    EEI_TCB_CONFIG_SW_HARDENING,
    EEI_TCB_OUT_OF_DATE,
    EEI_TCB_OUT_OF_DATE_CONFIG,
    EEI_TCB_RELAUNCH,
    EEI_TCB_RELAUNCH_CONFIG,
    EEI_TCB_REVOKED,       /* never acceptable */
    EEI_TCB_NOT_SUPPORTED, /* never acceptable; also: no level fits */
} eei_tcb_status;
const char *eei_tcb_status_word(eei_tcb_status status);           /* "UpToDate" */
bool eei_tcb_status_parse(const char *word, eei_tcb_status *out); /* the words collateral and policies use */

enum {
    EEI_ADVISORY_BYTES_MAX = 64,   /* "INTEL-SA-01234" has 14 */
    EEI_ADVISORIES_MAX = 64,       /* of one level; at most 20 were seen */
    EEI_ADVISORIES_ALL_MAX = 2048, /* of all levels of a document; at most 68 were seen */
};
bool eei_advisory_valid(const char *id); /* letters, digits, - _ . */

typedef struct eei_advisories {
    const char **ids; /* from the arena */
    size_t count;
} eei_advisories;

typedef struct eei_svn_level { /* of a TDX module or the QE, highest first */
    uint16_t isvsvn;
    eei_tcb_status status;
    eei_advisories advisories;
} eei_svn_level;

typedef struct eei_tcb_level { /* of the platform, highest first */
    uint8_t sgx[16], tdx[16];
    uint16_t pcesvn;
    eei_tcb_status status;
    const char *date;
    eei_advisories advisories;
} eei_tcb_level;

typedef struct eei_tdx_module {
    uint8_t version; /* from id "TDX_xx" */
    uint8_t mrsigner[48], attributes[8], mask[8];
    eei_svn_level *levels;
    size_t level_count;
} eei_tdx_module;

typedef struct eei_tcb_info {
    uint64_t issued_s, next_update_s; /* valid from and to, both included */
    uint64_t evaluation;
    uint8_t fmspc[6], pceid[2];
    eei_tdx_module module0; /* "tdxModule": for version 0, without levels */
    eei_tdx_module *modules;
    size_t module_count;
    eei_tcb_level *levels;
    size_t level_count;
} eei_tcb_info;

typedef struct eei_qe_identity {
    uint64_t issued_s, next_update_s;
    uint64_t evaluation;
    uint8_t miscselect[4], miscselect_mask[4], attributes[16], attributes_mask[16], mrsigner[32];
    uint16_t isvprodid;
    eei_svn_level *levels;
    size_t level_count;
} eei_qe_identity;

/* Found out once, on first use: nothing in it depends on the time, the policy or a quote. */
typedef struct eei_collateral_facts {
    eei_trust_facts trust;
    eei_fact tcb_info, qe_identity; /* signed and read; without a signature nothing is read */
    eei_tcb_info info;
    eei_qe_identity qe;
} eei_collateral_facts;

struct ee_collateral {
    atomic_uint refs;
    ee_span json;     /* as delivered */
    ee_span tcb_info; /* exact signed text */
    ee_span qe_identity;
    uint8_t tcb_info_signature[64], qe_identity_signature[64]; /* r||s */
    eei_chain tcb_info_chain, qe_identity_chain;
    eei_chain crl_chain; /* pck_crl_issuer_chain */
    eei_chain pck_chain; /* count 0 when not delivered */
    eei_crl root_crl, pck_crl;
    eei_arena arena; /* what the above and the facts point to */
    pthread_mutex_t lock;
    bool known; /* guarded by lock, as facts are until it is set */
    eei_collateral_facts facts;
};
ee_collateral *eei_collateral_ref(const ee_collateral *collateral);
/* Any thread. The first call pays for the signatures. EE_E_NOMEM. */
ee_status eei_collateral_known(const ee_collateral *collateral, eei_p256 *p256, const eei_collateral_facts **out,
                               ee_error *err) EE_MUST_USE;

/* Strict reading of signed JSON. Results live in the arena. EE_E_MALFORMED, EE_E_LIMIT, EE_E_NOMEM. */
ee_status eei_tcb_info_parse(ee_span json, eei_arena *arena, eei_tcb_info *out, ee_error *err) EE_MUST_USE;
ee_status eei_qe_identity_parse(ee_span json, eei_arena *arena, eei_qe_identity *out, ee_error *err) EE_MUST_USE;
#endif
