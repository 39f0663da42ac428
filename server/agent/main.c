/* main.c - ee-agent: wiring only. Configuration -> trust -> runtime -> tunnel -> loop, and the way back. */
#include "agent/agent.h"
#include "agent/agent_config.h"
#include "attest/statement.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "common/renewal.h"
#include "common/service.h"
#include "common/trust.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct program {
    agent_settings settings;
    agent agent;
    trust trust;
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
    const trust_program me = {EEI_ROLE_AGENT, agent_keys, agent_key_count, &p->settings};
    ee_status st = trust_open(&p->settings.trust, &me, &p->trust, err);
    if (st) return st;
    memcpy(self->network_id, p->trust.network_id, 32);
    memcpy(self->policy_hash, eei_policy_hash_bytes(p->trust.policy), 32);
    self->judge = p->trust.judge;
    self->prover = p->trust.prover;
    return EE_OK;
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
    eei_link_options options = {.url = p->settings.trust.control,
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
    eei_supply_stop(p->trust.collateral);
    agent_jobs_close(&p->agent);
    agent_apps_close(&p->agent);
    p->closing = 2;
    agent_runtime_close(p->agent.runtime, part_closed, p);
    eei_link_free(eei_take(&p->agent.link), part_closed, p);
}

static void clear(program *p) {
    agent_runtime_free(p->agent.runtime);
    trust_clear(&p->trust);
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
    (void)snprintf(p.agent.node, sizeof p.agent.node, "%s", p.settings.trust.node);
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
