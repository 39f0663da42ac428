/* fake_quoter.h - a world of simulated machines for tests: one root, one policy, a judge with a clock that stands still, and provers whose
 * quotes come from simtdx. Not for code under test. Setting up cannot fail: it aborts with the reason. */
#ifndef TESTS_FAKE_QUOTER_H
#define TESTS_FAKE_QUOTER_H
#include "ratls/channel.h"
#include "ratls/prover.h"
#include "ratls/ratls.h"
#include "simtdx/simtdx.h"

#include <stdatomic.h>

typedef struct fake_world {
    simtdx_root *root;
    ee_policy *policy;
    eei_judge *judge;
    eei_buf collateral;
    eei_clock clock;
    atomic_ullong mono_ms, wall_ms; /* what the clock says; tests move them */
    atomic_uint fetches;            /* of collateral */
    atomic_bool fetch_fails;
} fake_world;
void fake_world_init(fake_world *world);
void fake_world_clear(fake_world *world);

typedef struct fake_machine {
    simtdx_machine *machine;
    simtdx_td td;
    eei_buf boot_log; /* CCEL log area; tests change it before they make a prover */
    atomic_uint quotes;
    atomic_bool quote_fails;
} fake_machine;
void fake_machine_init(fake_machine *machine, const fake_world *world, const char *label);
void fake_machine_clear(fake_machine *machine);
eei_quoter fake_quoter(fake_machine *machine);

/* A prover on that machine; node_id is 32 times node_byte. */
eei_prover *fake_prover(fake_machine *machine, const fake_world *world, uint8_t role, const char *node, uint8_t node_byte);
#endif
