/* collateral.h - the control plane's collateral: what its judge needs, and what it hands out to agents and clients so that they need no
 * PCCS of their own. Handed out is only what is here already: of this control plane's machine, of the agents that came, of the files. So
 * nobody outside makes it ask anybody. Not for judging. Called by main.c and api.c. */
#ifndef CP_COLLATERAL_H
#define CP_COLLATERAL_H
#include "net/collateral_supply.h"
#include "ratls/prover.h"

#include <uv.h>

typedef struct cp_collateral cp_collateral;
typedef struct cp_collateral_options {
    const char *files;                           /* "" = none; with a PCCS: what serves when that does not */
    const char *pccs_url, *pccs_ca, *pccs_cache; /* "" = none */
    uint64_t refresh_ms;
} cp_collateral_options;
/* EE_E_CONFIG when there is neither; the files' own error when there is nothing else and none of them is good. */
ee_status cp_collateral_new(const cp_collateral_options *options, cp_collateral **out, ee_error *err) EE_MUST_USE;
void cp_collateral_free(cp_collateral *collateral); /* after the loop */
eei_collateral_source cp_collateral_source(cp_collateral *collateral);
/* This control plane's own machine, by its certificate: asked for now, which may take some seconds, and kept fresh for good. A failure is
 * logged: agents and clients are told to come back until it is there. */
void cp_collateral_own(cp_collateral *collateral, const eei_prover *prover);
/* Loop thread, often: refreshes on a worker what is due, one at a time. */
void cp_collateral_sweep(cp_collateral *collateral, uv_loop_t *loop);
void cp_collateral_stop(cp_collateral *collateral); /* a refresh under way ends soon */
/* fmspc and ca as the request has them. Loop thread; never waits. */
ee_status cp_collateral_find(cp_collateral *collateral, const char *fmspc, const char *ca, eei_buf *json, ee_error *err) EE_MUST_USE;
#endif
