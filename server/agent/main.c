/* main.c - ee-agent: wiring only. Configuration -> trust -> runtime -> tunnel -> loop, and the way back. */
#include "agent/agent.h"
#include "agent/agent_config.h"
#include "attest/statement.h"
#include "base/alloc.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "common/boot_ticket.h"
#include "common/quote_source.h"
#include "common/renewal.h"
#include "common/service.h"
#include "net/collateral_supply.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct program {
    agent_settings settings;
    agent agent;
    ee_policy *policy;
    eei_supply *collateral; /* of the judge */
    quote_source *quotes;
    eei_buf ticket;
    service service;
    renewal certificate;
    bool told_ready;
    int closing; /* parts that are still going away */
} program;

/* ---- link callbacks -------------------------------------------------------------------------------------------------- */

static void on_open(void *user, const eei_accept *accept) {
    program *p = user;
    memcpy(p->agent.session_id, accept->session_id, sizeof p->agent.session_id);
    eei_log(EEI_LOG_INFO, "tunnel.open", "node=%s", p->agent.node);
    agent_on_session(&p->agent);
    if (!p->told_ready) service_ready(0);
    p->told_ready = true;
}

static void on_control(void *user, const eei_frame *frame) { agent_on_control(&((program *)user)->agent, frame); }
static void on_opened(void *user, eei_stream *stream, ee_span payload) { agent_on_opened(&((program *)user)->agent, stream, payload); }

static void on_stream(void *user, eei_stream *stream, eei_mux_event_kind kind) {
    eei_pipe *pipe = eei_stream_user(stream);
    (void)user;
    if (pipe) eei_pipe_event(pipe, kind);
}

static void on_closed(void *user, const ee_error *why, uint64_t retry_in_ms) {
    (void)user;
    eei_log(EEI_LOG_WARN, "tunnel.closed", "word=%s retry_ms=%llu message=%s", why ? why->word : "", (unsigned long long)retry_in_ms,
            why ? why->message : "");
}

/* ---- start ----------------------------------------------------------------------------------------------------------- */

static ee_status open_trust(program *p, ee_error *err) {
    agent *self = &p->agent;
    uint8_t node_id[32];
    quote_source_options quotes = {.machine_file = p->settings.machine[0] ? p->settings.machine : NULL};
    eei_supply_options collateral = {.pccs_url = p->settings.pccs_url[0] ? p->settings.pccs_url : NULL,
                                     .pccs_ca = p->settings.pccs_ca[0] ? p->settings.pccs_ca : NULL,
                                     .control_url = p->settings.control};
    ee_status st = eei_hex_decode(p->settings.network_id, self->network_id, 32, err);
    if (st) return eei_prefix(err, EE_E_CONFIG, "network.id");
    st = ee_policy_load(p->settings.policy, &p->policy, err);
    if (!st) st = eei_supply_new(&collateral, &p->collateral, err);
    if (st) return st;
    eei_collateral_source source = eei_supply_source(p->collateral);
    memcpy(self->policy_hash, eei_policy_hash_bytes(p->policy), 32);
    st = eei_judge_new(p->policy, &source, eei_clock_system(), &self->judge, err);
    if (!st) st = quote_source_open(&quotes, &p->quotes, err);
    p->ticket = (eei_buf)EEI_BUF_INIT(EEI_TICKET_BYTES_MAX);
    if (!st) st = boot_ticket_load(p->settings.ticket, EEI_ROLE_AGENT, self->network_id, &p->ticket, node_id, err);
    if (st) return st;
    eei_buf config = EEI_BUF_INIT(EEI_EVENT_PAYLOAD_MAX);
    const config_content contents[] = {{"policy", self->policy_hash}};
    st = config_event(agent_keys, agent_key_count, &p->settings, contents, 1, &config, err);
    eei_prover_options prover = {.role = EEI_ROLE_AGENT,
                                 .node = self->node,
                                 .release = ee_version(),
                                 .config = eei_buf_span(&config),
                                 .dns_name = self->node,
                                 .quoter = quote_source_quoter(p->quotes),
                                 .clock = eei_clock_system()};
    prover.ticket = eei_buf_span(&p->ticket);
    memcpy(prover.node_id, node_id, 32);
    memcpy(prover.policy_hash, self->policy_hash, 32);
    if (!st) st = eei_prover_new(&prover, &self->prover, err);
    eei_buf_clear(&config);
    return st;
}

static ee_status open_runtime(program *p, ee_error *err) {
    (void)umask(022); /* images are read by the sandboxes' users; what is private is below directories made 0700 */
    agent_runtime_options options = {.root_dir = p->settings.runtime_dir,
                                     .image_dir = p->settings.image_dir[0] ? p->settings.image_dir : NULL,
                                     .runtime = p->settings.runtime[0] ? p->settings.runtime : NULL,
                                     .shim_path = p->settings.shim};
    ee_status st = agent_runtime_new(p->agent.loop, &options, &p->agent.runtime, err);
    if (st) return st;
    const agent_runtime_facts *facts = agent_runtime_get_facts(p->agent.runtime);
    eei_log(EEI_LOG_INFO, "runtime.ready", "program=%s cgroup=%d limits=%d userns=%d", facts->runtime_path, facts->cgroup_version,
            facts->limits_enforced, facts->user_namespace);
    return EE_OK;
}

static ee_status open_link(program *p, ee_error *err) {
    eei_link_options options = {.url = p->settings.control,
                                .role = EEI_ROLE_AGENT,
                                .node = p->agent.node,
                                .release = ee_version(),
                                .limits_off = !agent_runtime_get_facts(p->agent.runtime)->limits_enforced,
                                .judge = p->agent.judge,
                                .prover = p->agent.prover,
                                .reconnect = true,
                                .user = p,
                                .on_open = on_open,
                                .on_control = on_control,
                                .on_opened = on_opened,
                                .on_stream = on_stream,
                                .on_closed = on_closed};
    memcpy(options.network_id, p->agent.network_id, 32);
    ee_status st = eei_link_new(p->agent.loop, &options, &p->agent.link, err);
    if (!st) eei_link_start(p->agent.link);
    return st;
}

/* ---- stop ------------------------------------------------------------------------------------------------------------ */

static void part_closed(void *user) {
    program *p = user;
    if (--p->closing == 0) service_unwatch(&p->service);
}

static void stop(void *user) {
    program *p = user;
    if (p->agent.stopping) return;
    p->agent.stopping = true;
    eei_log(EEI_LOG_INFO, "stopping", "orderly");
    renewal_stop(&p->certificate);
    eei_supply_stop(p->collateral);
    agent_jobs_close(&p->agent);
    agent_apps_close(&p->agent);
    p->closing = 2;
    agent_runtime_close(p->agent.runtime, part_closed, p);
    eei_link_free(eei_take(&p->agent.link), part_closed, p);
}

static void clear(program *p) {
    agent_runtime_free(p->agent.runtime);
    eei_prover_free(p->agent.prover);
    eei_judge_free(p->agent.judge);
    eei_supply_free(p->collateral);
    ee_policy_free(p->policy);
    quote_source_free(p->quotes);
    eei_buf_clear(&p->ticket);
}

int main(int argc, char **argv) {
    static program p;
    static uv_loop_t loop; /* p points to it */
    ee_error err = {0};
    ee_status st = service_harden(&err);
    if (!st) st = service_log("warn", &err);
    if (!st) st = config_load(agent_keys, agent_key_count, NULL, argc, (const char *const *)argv, &p.settings, &err);
    if (st == EE_E_END) return 0;
    if (!st) st = service_log(p.settings.log_level, &err);
    if (!st && uv_loop_init(&loop) != 0) st = eei_fail(&err, EE_E_IO, "no event loop");
    p.agent.loop = &loop;
    p.agent.vcpus_milli = p.settings.vcpus_milli;
    p.agent.memory_bytes = p.settings.memory_bytes;
    (void)snprintf(p.agent.node, sizeof p.agent.node, "%s", p.settings.node);
    if (!st) st = open_trust(&p, &err);
    if (!st) st = open_runtime(&p, &err);
    if (!st) st = open_link(&p, &err);
    if (!st) st = service_watch(&p.service, &loop, stop, &p, &err);
    if (st) {
        fprintf(stderr, "ee-agent: %s: %s%s%s\n", err.word, err.message, err.hint[0] ? "\n  " : "", err.hint);
        return ee_status_exit_code(st);
    }
    renewal_start(&p.certificate, &loop, p.agent.prover);
    uv_run(&loop, UV_RUN_DEFAULT);
    clear(&p);
    (void)uv_loop_close(&loop);
    return 0;
}
