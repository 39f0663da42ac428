/* collateral_id.h - which collateral a quote needs: what it is kept under and asked for by. Nothing is trusted by it.
 * Called by pcs.c, ratls, net, client and the control plane. */
#ifndef EEI_COLLATERAL_ID_H
#define EEI_COLLATERAL_ID_H
#include "base/error.h"

#include <stdbool.h>

typedef struct eei_collateral_id {
    uint8_t fmspc[6];
    char ca[16];      /* "platform" or "processor" */
    uint8_t root[32]; /* SHA-256 of the certificate that the quote's chain ends in; all zero when it is not known */
} eei_collateral_id;

/* As a quote's own PCK certificate says. EE_E_MALFORMED when there is none. */
ee_status eei_quote_collateral_id(ee_span quote, eei_collateral_id *out, ee_error *err) EE_MUST_USE;
/* From "454553494d00" and "platform", as a path has them. EE_E_INVALID. */
ee_status eei_collateral_id_parse(const char *fmspc, const char *ca, eei_collateral_id *out, ee_error *err) EE_MUST_USE;
bool eei_collateral_id_same(const eei_collateral_id *a, const eei_collateral_id *b); /* FMSPC and CA */
#endif
