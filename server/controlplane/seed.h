/* seed.h - brings a genesis file into ledger and registry: accounts, nodes, and on sandbox networks their first credits and stake. Safe to
 * repeat: everything has a fixed reference. Called by main.c before the loop runs. */
#ifndef CP_SEED_H
#define CP_SEED_H
#include "common/genesis.h"
#include "controlplane/cp.h"

ee_status cp_seed(cp_context *cp, store *db, const genesis *g, ee_error *err) EE_MUST_USE;
#endif
