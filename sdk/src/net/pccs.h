/* pccs.h - collateral from Intel's PCS or a PCCS: four GETs within one deadline, each with a size, put together by attest/pcs.c. It
 * believes nothing and keeps nothing: collateral_cache.c does that. Thread-safe; blocking. Called by collateral_supply.c. Spec: Intel SGX
 * and TDX Provisioning Certification Service API, version 4. */
#ifndef EEI_PCCS_H
#define EEI_PCCS_H
#include "attest/pcs.h"
#include "base/buf.h"

#include <eesdk/types.h>

typedef struct eei_pccs eei_pccs;
typedef struct eei_pccs_options {
    const char *url; /* "https://host[:port][/path]"; http:// for loopback only. NULL: Intel's PCS. "/sgx/certification/v4" at its end is
                        taken away: that is how Intel's own clients are configured */
    const char *ca_file; /* PEM file of what is trusted instead of this machine's CAs; nullable. A PCCS is installed with a certificate of
                            its own */
    const char *root_crl_url; /* nullable: where Intel has it for Intel's PCS, the PCCS itself otherwise */
} eei_pccs_options;
/* EE_E_CONFIG when the URL is not one to ask. No network. */
ee_status eei_pccs_new(const eei_pccs_options *options, eei_pccs **out, ee_error *err) EE_MUST_USE;
void eei_pccs_free(eei_pccs *pccs);
const char *eei_pccs_url(const eei_pccs *pccs); /* as it is asked */

/* All four answers as collateral JSON, appended. timeout_ms is for all together. A connection that breaks and a 5xx are tried again within
 * it. EE_E_CONNECT, EE_E_TIMEOUT, EE_E_SERVER, EE_E_RATE_LIMIT, EE_E_NOT_FOUND (it does not know the platform), EE_E_AUTH, EE_E_LIMIT,
 * EE_E_MALFORMED, EE_E_CANCELLED; message and hint say what was asked and what to do. */
ee_status eei_pccs_get(eei_pccs *pccs, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel, eei_buf *json,
                       ee_error *err) EE_MUST_USE;
#endif
