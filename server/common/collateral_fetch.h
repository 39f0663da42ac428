/* collateral_fetch.h - collateral for judging the control plane, fetched from it over HTTPS: signed by itself, so any bringer will do.
 * Called by the agent's and the uptime server's main. A PCCS client with a cache comes with the attestation issue. */
#ifndef COLLATERAL_FETCH_H
#define COLLATERAL_FETCH_H
#include "net/fetch.h"

typedef struct collateral_fetch collateral_fetch;
ee_status collateral_fetch_new(const char *url, collateral_fetch **out, ee_error *err) EE_MUST_USE;
void collateral_fetch_free(collateral_fetch *fetch);
eei_collateral_source collateral_fetch_source(collateral_fetch *fetch); /* valid as long as fetch */
#endif
