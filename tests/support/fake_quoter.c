/* fake_quoter.c - see fake_quoter.h. */
#include "support/fake_quoter.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(ee_status st, const char *what, const ee_error *err) {
    if (!st) return;
    fprintf(stderr, "fake_quoter: %s: %s: %s\n", what, ee_status_word(st), err->message);
    abort();
}

/* ---- world ------------------------------------------------------------------------------------------------------------ */

static uint64_t mono(void *user) { return atomic_load(&((fake_world *)user)->mono_ms); }
static uint64_t wall(void *user) { return atomic_load(&((fake_world *)user)->wall_ms); }

static ee_status fetch(void *user, const eei_collateral_id *id, eei_buf *json, ee_error *err) {
    fake_world *world = user;

    (void)id;
    atomic_fetch_add(&world->fetches, 1);
    if (atomic_load(&world->fetch_fails)) return eei_fail(err, EE_E_CONNECT, "no collateral today");
    ee_status st = eei_buf_append_span(json, eei_buf_span(&world->collateral));
    return st ? eei_fail(err, st, "collateral") : EE_OK;
}

void fake_world_init(fake_world *world) {
    const eei_collateral_source source = {fetch, world};
    eei_buf toml = EEI_BUF_INIT(65536);
    ee_error err = {0};

    memset(world, 0, sizeof *world);
    atomic_store(&world->mono_ms, 1000000);
    atomic_store(&world->wall_ms, eei_wall_ms());
    world->clock = (eei_clock){mono, wall, world};
    world->collateral = (eei_buf)EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    must(simtdx_root_new(atomic_load(&world->wall_ms) / 1000, &world->root, &err), "root", &err);
    must(simtdx_root_collateral(world->root, &world->collateral, &err), "collateral", &err);
    must(simtdx_policy_toml(world->root, &toml, &err), "policy text", &err);
    const char *text = eei_buf_cstr(&toml);
    must(text ? EE_OK : EE_E_NOMEM, "policy text", &err);
    must(ee_policy_parse(text, "policy.toml", &world->policy, &err), "policy", &err);
    must(eei_judge_new(world->policy, &source, &world->clock, &world->judge, &err), "judge", &err);
    eei_buf_clear(&toml);
}

void fake_world_clear(fake_world *world) {
    eei_judge_free(world->judge);
    ee_policy_free(world->policy);
    eei_buf_clear(&world->collateral);
    simtdx_root_free(world->root);
}

/* ---- machines --------------------------------------------------------------------------------------------------------- */

void fake_machine_init(fake_machine *machine, const fake_world *world, const char *label) {
    ee_error err = {0};

    memset(machine, 0, sizeof *machine);
    must(simtdx_machine_new(world->root, label, &machine->machine, &err), "machine", &err);
    machine->boot_log = (eei_buf)EEI_BUF_INIT(65536);
    must(simtdx_boot_log(&machine->boot_log, &err), "boot log", &err);
    simtdx_td_default(&machine->td);
}

void fake_machine_clear(fake_machine *machine) {
    simtdx_machine_free(machine->machine);
    eei_buf_clear(&machine->boot_log);
}

static ee_status quote(void *user, const uint8_t report_data[64], eei_buf *out, ee_error *err) {
    fake_machine *machine = user;

    atomic_fetch_add(&machine->quotes, 1);
    if (atomic_load(&machine->quote_fails)) return eei_fail(err, EE_E_IO, "the quoting enclave does not answer");
    return simtdx_quote(machine->machine, &machine->td, report_data, out, err);
}

static ee_status extend(void *user, const uint8_t digest[48], ee_error *err) {
    fake_machine *machine = user;

    (void)err;
    eei_rtmr_extend(machine->td.rtmr[3], digest);
    return EE_OK;
}

eei_quoter fake_quoter(fake_machine *machine) {
    return (eei_quoter){
        .quote = quote, .extend_rtmr3 = extend, .user = machine, .simulated = true, .boot_log = eei_buf_span(&machine->boot_log)};
}

eei_prover *fake_prover(fake_machine *machine, const fake_world *world, uint8_t role, const char *node, uint8_t node_byte) {
    eei_prover_options options = {.role = role,
                                  .node = node,
                                  .release = "0.1.0",
                                  .config = eei_span_text("config"),
                                  .dns_name = "localhost",
                                  .ip_address = "127.0.0.1",
                                  .quoter = fake_quoter(machine),
                                  .clock = &world->clock};
    eei_prover *prover = NULL;
    ee_error err = {0};

    memset(options.node_id, node_byte, sizeof options.node_id);
    memcpy(options.policy_hash, eei_policy_hash_bytes(world->policy), 32);
    must(eei_prover_new(&options, &prover, &err), "prover", &err);
    return prover;
}
