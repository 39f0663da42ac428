/* main.c - ee-uptime: wiring only. A second attested observer whose health checks count like the control plane's. */
#include "attest/statement.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "common/renewal.h"
#include "common/service.h"
#include "common/trust.h"
#include "uptime/prober.h"
#include "uptime/uptime_config.h"

#include <stdio.h>
#include <string.h>

typedef struct program {
    uptime_settings settings;
    uv_loop_t *loop;
    trust trust;
    eei_fetch *api;
    eei_link *link;
    prober *prober;
    service service;
    renewal certificate;
    bool told_ready, stopping;
} program;

/* ---- link callbacks -------------------------------------------------------------------------------------------------- */

static void on_open(void *user, const eei_accept *accept) {
    program *p = user;
    (void)accept;
    if (p->stopping) return; /* the prober goes first, the link after it */
    prober_start(p->prober);
    if (!p->told_ready) service_ready(0);
    p->told_ready = true;
}

static void on_control(void *user, const eei_frame *frame) {
    (void)user;
    (void)frame;
}

static void on_opened(void *user, eei_stream *stream, ee_span payload) {
    (void)user;
    (void)payload;
    eei_stream_reset(stream, "permission: an uptime server takes no streams");
    eei_stream_free(stream);
}

static void on_stream(void *user, eei_stream *stream, eei_mux_event_kind kind) {
    eei_pipe *pipe = eei_stream_user(stream);
    (void)user;
    if (pipe) eei_pipe_event(pipe, kind);
}

static void on_closed(void *user, const ee_error *why, uint64_t retry_in_ms) {
    program *p = user;
    if (p->stopping) return;
    eei_log(EEI_LOG_WARN, "tunnel.closed", "word=%s retry_ms=%llu message=%s", why ? why->word : "", (unsigned long long)retry_in_ms,
            why ? why->message : "");
    prober_pause(p->prober);
}

/* ---- start ----------------------------------------------------------------------------------------------------------- */

static ee_status open_work(program *p, ee_error *err) {
    eei_fetch_options api = {.url = p->settings.trust.control, .trust = EEI_FETCH_ATTESTED, .judge = p->trust.judge, .timeout_ms = 10000};
    eei_link_options link = {.url = p->settings.trust.control,
                             .role = EEI_ROLE_UPTIME,
                             .node = p->settings.trust.node,
                             .release = ee_version(),
                             .judge = p->trust.judge,
                             .prover = p->trust.prover,
                             .reconnect = true,
                             .user = p,
                             .on_open = on_open,
                             .on_control = on_control,
                             .on_opened = on_opened,
                             .on_stream = on_stream,
                             .on_closed = on_closed};
    memcpy(api.network_id, p->trust.network_id, 32);
    memcpy(link.network_id, p->trust.network_id, 32);
    ee_status st = eei_fetch_new(&api, &p->api, err);
    if (!st) st = eei_link_new(p->loop, &link, &p->link, err);
    prober_options options = {.loop = p->loop,
                              .observer = p->settings.trust.node,
                              .api = p->api,
                              .judge = p->trust.judge,
                              .prover = p->trust.prover,
                              .link = p->link,
                              .interval_ms = p->settings.interval_ms};
    if (!st) st = prober_new(&options, &p->prober, err);
    if (!st) eei_link_start(p->link);
    return st;
}

/* ---- stop ------------------------------------------------------------------------------------------------------------ */

static void link_gone(void *user) { service_unwatch(&((program *)user)->service); }

static void prober_gone(void *user) {
    program *p = user;
    eei_link_free(eei_take(&p->link), link_gone, p);
}

static void stop(void *user) {
    program *p = user;
    if (p->stopping) return;
    p->stopping = true;
    renewal_stop(&p->certificate);
    eei_supply_stop(p->trust.collateral);
    prober_free(eei_take(&p->prober), prober_gone, p);
}

static void clear(program *p) {
    eei_fetch_free(p->api);
    trust_clear(&p->trust);
}

int main(int argc, char **argv) {
    static program p;
    static uv_loop_t loop; /* p points to it */
    ee_error err = {0};
    ee_status st = service_harden(&err);
    if (!st) st = service_log("warn", &err);
    if (!st) st = config_load(uptime_keys, uptime_key_count, NULL, argc, (const char *const *)argv, &p.settings, &err);
    if (st == EE_E_END) return 0;
    if (!st) st = service_log(p.settings.log_level, &err);
    if (!st && uv_loop_init(&loop) != 0) st = eei_fail(&err, EE_E_IO, "no event loop");
    p.loop = &loop;
    const trust_program me = {EEI_ROLE_UPTIME, uptime_keys, uptime_key_count, &p.settings};
    if (!st) st = trust_open(&p.settings.trust, &me, &p.trust, &err);
    if (!st) st = open_work(&p, &err);
    if (!st) st = service_watch(&p.service, &loop, stop, &p, &err);
    if (st) {
        fprintf(stderr, "ee-uptime: %s: %s%s%s\n", err.word, err.message, err.hint[0] ? "\n  " : "", err.hint);
        return ee_status_exit_code(st);
    }
    renewal_start(&p.certificate, &loop, p.trust.prover);
    uv_run(&loop, UV_RUN_DEFAULT);
    clear(&p);
    (void)uv_loop_close(&loop);
    return 0;
}
