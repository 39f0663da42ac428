/* main.c - ee-controlplane: wiring only. Configuration -> trust -> store -> modules -> loop, and the way back. */
#include "base/alloc.h"
#include "base/log.h"
#include "common/genesis.h"
#include "common/quote_source.h"
#include "common/renewal.h"
#include "common/service.h"
#include "controlplane/api.h"
#include "controlplane/auth.h"
#include "controlplane/broker.h"
#include "controlplane/checks.h"
#include "controlplane/collateral.h"
#include "controlplane/cp_config.h"
#include "controlplane/placer.h"
#include "controlplane/seed.h"
#include "controlplane/tunnels.h"

#include <stdio.h>
#include <string.h>

enum { SWEEP_EVERY_MS = 500 };

typedef struct program {
    cp_settings settings;
    genesis genesis;
    cp_context cp;
    quote_source *quotes;
    eei_quoter quoter;
    service service;
    renewal certificate;
    uint64_t next_round_ms;
} program;

uint64_t cp_period_start(const cp_context *cp, uint64_t wall_ms) { return wall_ms - wall_ms % cp->period_ms; }

/* ---- hooks ----------------------------------------------------------------------------------------------------------- */

static void on_serving(cp_context *cp, registry_node *node) {
    broker_node_serving(cp, node);
    placer_node_serving(cp, node);
}

static void on_lost(cp_context *cp, registry_node *node, const uint8_t instance_id[32]) {
    (void)cp;
    (void)instance_id;
    eei_log(EEI_LOG_INFO, "node.disconnected", "node=%s", node->profile.name); /* the sweeps decide after a grace */
}

static void on_control(cp_context *cp, registry_node *node, const uint8_t instance_id[32], const uint8_t instance_pub[32],
                       const eei_frame *frame) {
    broker_control(cp, node, instance_id, instance_pub, frame);
    placer_control(cp, node, instance_id, frame);
    checks_control(cp, node, instance_pub, frame);
}

static void on_request(void *user, eei_exchange *exchange) { api_request(user, exchange); }
static void on_socket(void *user, eei_socket *socket) { cp_tunnels_accept(user, socket); }

static void on_sweep(uv_timer_t *timer) {
    program *p = timer->data;
    uint64_t now = eei_wall_ms(), mono = eei_mono_ms();
    broker_sweep(&p->cp, now);
    placer_sweep(&p->cp, now);
    cp_collateral_sweep(p->cp.collateral, p->cp.loop);
    if (mono >= p->next_round_ms) {
        p->next_round_ms = mono + p->cp.health_interval_ms;
        checks_round(&p->cp, now);
    }
    if (writer_failed(p->cp.writer)) {
        eei_log(EEI_LOG_ERROR, "ledger.stopped", "a commit's outcome is not known: start again, ids decide");
        uv_stop(p->cp.loop);
    }
}

/* ---- trust ----------------------------------------------------------------------------------------------------------- */

static ee_status open_trust(program *p, ee_error *err) {
    cp_context *cp = &p->cp;
    quote_source_options quotes = {.machine_file = p->settings.machine[0] ? p->settings.machine : NULL};
    cp_collateral_options collateral = {.files = p->settings.collateral,
                                        .pccs_url = p->settings.pccs_url,
                                        .pccs_ca = p->settings.pccs_ca,
                                        .pccs_cache = p->settings.pccs_cache,
                                        .refresh_ms = p->settings.pccs_refresh_ms};
    ee_status st = cp_collateral_new(&collateral, &cp->collateral, err);
    if (!st) st = ee_policy_load(p->settings.policy, &cp->policy, err);
    if (st) return st;
    eei_collateral_source source = cp_collateral_source(cp->collateral);
    st = eei_judge_new(cp->policy, &source, eei_clock_system(), &cp->judge, err);
    if (!st) st = quote_source_open(&quotes, &p->quotes, err);
    if (st) return st;
    eei_buf config = EEI_BUF_INIT(EEI_EVENT_PAYLOAD_MAX);
    const config_content contents[] = {{"genesis", p->genesis.sha256}, {"policy", eei_policy_hash_bytes(cp->policy)}};
    st = config_event(cp_keys, cp_key_count, &p->settings, contents, 2, &config, err);
    p->quoter = quote_source_quoter(p->quotes);
    eei_prover_options prover = {.role = EEI_ROLE_CONTROL,
                                 .node = cp->network,
                                 .release = ee_version(),
                                 .config = eei_buf_span(&config),
                                 .dns_name = p->settings.dns_name,
                                 .ip_address = p->settings.bind,
                                 .quoter = p->quoter,
                                 .sealed = p->settings.sealed,
                                 .clock = eei_clock_system()};
    memcpy(prover.node_id, cp->network_id, 32);
    memcpy(prover.policy_hash, eei_policy_hash_bytes(cp->policy), 32);
    if (!st) st = eei_prover_new(&prover, &cp->prover, err);
    eei_buf_clear(&config);
    if (!st) cp_collateral_own(cp->collateral, cp->prover);
    if (!st)
        eei_log(EEI_LOG_INFO, "trust.ready", "quotes=%s policy=%s sandbox=%d", quote_source_kind(p->quotes), ee_policy_hash(cp->policy),
                cp->sandbox);
    return st;
}

/* ---- start and stop -------------------------------------------------------------------------------------------------- */

static ee_status open_store(program *p, ee_error *err) {
    store *db = NULL;
    ee_status st = store_open(p->settings.db_path, STORE_READ_WRITE, &db, err);
    if (!st) st = registry_new(&p->cp.registry, err);
    if (!st) st = cp_seed(&p->cp, db, &p->genesis, err);
    if (!st) st = store_open(p->settings.db_path, STORE_READ_ONLY, &p->cp.reader, err);
    if (!st) st = writer_start(p->cp.loop, db, NULL, &p->cp.writer, err);
    if (st) store_close(db);
    return st;
}

static ee_status open_doors(program *p, ee_error *err) {
    static const cp_tunnel_hooks hooks = {on_serving, on_lost, on_control, checks_observed};
    cp_context *cp = &p->cp;
    eei_listener_options listener = {.bind = p->settings.bind,
                                     .port = (uint16_t)p->settings.port,
                                     .prover = cp->prover,
                                     .tunnel_path = "/v1/tunnel",
                                     .user = cp,
                                     .on_request = on_request,
                                     .on_socket = on_socket};
    ee_status st = cp_auth_new(p->settings.admin_token, &cp->auth, err);
    eei_wipe(p->settings.admin_token, sizeof p->settings.admin_token);
    if (!st) st = cp_tunnels_new(cp, &hooks, &cp->tunnels, err);
    if (!st) st = eei_listener_new(cp->loop, &listener, &cp->listener, err);
    if (st) return st;
    (void)uv_timer_init(cp->loop, &cp->sweep);
    cp->sweep.data = p;
    (void)uv_timer_start(&cp->sweep, on_sweep, SWEEP_EVERY_MS, SWEEP_EVERY_MS);
    renewal_start(&p->certificate, cp->loop, cp->prover);
    return EE_OK;
}

static ee_status start(program *p, ee_error *err) {
    cp_context *cp = &p->cp;
    ee_status st = genesis_load(p->settings.genesis, &p->genesis, err);
    if (st) return st;
    (void)snprintf(cp->network, sizeof cp->network, "%s", p->genesis.network);
    memcpy(cp->network_id, p->genesis.network_id, 32);
    cp->sandbox = p->genesis.sandbox;
    cp->period_ms = p->genesis.period_ms;
    cp->health_interval_ms = p->settings.health_interval_ms;
    cp->attest_interval_ms = p->settings.attest_interval_ms;
    st = open_trust(p, err);
    if (!st) st = open_store(p, err);
    if (st) return st;
    broker_recover(cp);
    placer_recover(cp);
    return open_doors(p, err);
}

static void stop(void *user) {
    program *p = user;
    if (p->cp.stopping) return;
    p->cp.stopping = true;
    eei_log(EEI_LOG_INFO, "stopping", "orderly");
    uv_close((uv_handle_t *)&p->cp.sweep, NULL);
    renewal_stop(&p->certificate);
    cp_collateral_stop(p->cp.collateral);
    cp_tunnels_close_all(p->cp.tunnels);
    eei_listener_free(eei_take(&p->cp.listener));
    writer_close(eei_take(&p->cp.writer));
    service_unwatch(&p->service);
}

static void clear(program *p) {
    cp_context *cp = &p->cp;
    cp_tunnels_free(cp->tunnels);
    cp_auth_free(cp->auth);
    store_close(cp->reader);
    registry_free(cp->registry);
    eei_free(cp->uptime);
    eei_prover_free(cp->prover);
    eei_judge_free(cp->judge);
    ee_policy_free(cp->policy);
    cp_collateral_free(cp->collateral);
    quote_source_free(p->quotes);
    genesis_clear(&p->genesis);
}

int main(int argc, char **argv) {
    static program p;
    static uv_loop_t loop; /* p points to it */
    ee_error err = {0};
    ee_status st = service_harden(&err);
    if (!st) st = service_log("warn", &err);
    if (!st) st = config_load(cp_keys, cp_key_count, NULL, argc, (const char *const *)argv, &p.settings, &err);
    if (st == EE_E_END) return 0;
    if (!st) st = service_log(p.settings.log_level, &err);
    if (!st && uv_loop_init(&loop) != 0) st = eei_fail(&err, EE_E_IO, "no event loop");
    p.cp.loop = &loop;
    if (!st) st = start(&p, &err);
    if (!st) st = service_watch(&p.service, &loop, stop, &p, &err);
    if (st) {
        fprintf(stderr, "ee-controlplane: %s: %s%s%s\n", err.word, err.message, err.hint[0] ? "\n  " : "", err.hint);
        return ee_status_exit_code(st);
    }
    eei_log(EEI_LOG_INFO, "listening", "address=%s port=%u network=%s", p.settings.bind, eei_listener_port(p.cp.listener), p.cp.network);
    service_ready(eei_listener_port(p.cp.listener));
    uv_run(&loop, UV_RUN_DEFAULT);
    st = p.cp.writer && writer_failed(p.cp.writer) ? EE_E_OUTCOME_UNKNOWN : EE_OK;
    if (st) _exit(70); /* fail-stop: nothing may be written after a commit that did not say */
    clear(&p);
    (void)uv_loop_close(&loop);
    return 0;
}
