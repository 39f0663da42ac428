/* health.c - answers health challenges: probes every running app in its own namespace, then signs what was found. Only a live agent with
 * its instance key can make the answer, and it is about the apps too, not about the agent alone (threat U1).
 * Proto: docs/protocol.md#checks */
#include "agent/agent.h"
#include "agent/probe.h"
#include "attest/statement.h"
#include "base/alloc.h"

#include <string.h>

enum { PROBE_TIMEOUT_MS = 2000, APPS_MAX = 256 };

typedef struct answer answer;
typedef struct probing {
    answer *answer;
    char app_id[65], message[201];
    bool ok;
} probing;

struct answer {
    agent *agent;
    uint8_t challenge_hash[32];
    char observer[EEI_NAME_BYTES_MAX + 1];
    probing apps[APPS_MAX];
    size_t count, left;
};

static void send_answer(answer *a) {
    agent *self = a->agent;
    eei_app_probe probes[APPS_MAX];
    eei_buf body = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX), envelope = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    eei_health health = {.observer = eei_span_text(a->observer),
                         .sequence = ++self->health_sequence,
                         .time_ms = eei_wall_ms(),
                         .apps = {probes, a->count},
                         .jobs_running = agent_jobs_running(self),
                         .vcpus_free_milli = self->vcpus_milli - self->vcpus_used_milli,
                         .memory_free = self->memory_bytes - self->memory_used};
    memcpy(health.challenge_hash, a->challenge_hash, 32);
    for (size_t i = 0; i < a->count; i++)
        probes[i] = (eei_app_probe){eei_span_text(a->apps[i].app_id), a->apps[i].ok, eei_span_text(a->apps[i].message)};
    ee_error err = {0};
    ee_status st = eei_encode(&eei_health_schema, &health, &body, &err);
    if (!st) st = eei_envelope_seal(eei_prover_key(self->prover), EEI_SIGNED_HEALTH, eei_buf_span(&body), &envelope, &err);
    if (!st && eei_link_is_open(self->link)) st = eei_link_send(self->link, EEI_FRAME_RESPONSE, 0, eei_buf_span(&envelope), &err);
    if (st) eei_log(EEI_LOG_WARN, "health.not_sent", "message=%s", err.message);
    eei_buf_clear(&body);
    eei_buf_clear(&envelope);
    eei_free(a);
}

static void on_probe(void *user, bool ok, const char *message) {
    probing *p = user;
    p->ok = ok;
    (void)snprintf(p->message, sizeof p->message, "%.200s", message);
    if (--p->answer->left == 0) send_answer(p->answer);
}

static void start_probes(agent *self, answer *a) {
    a->left = 1; /* held until all are started */
    for (agent_app *app = agent_apps_next(self, NULL); app && a->count < APPS_MAX; app = agent_apps_next(self, app)) {
        agent_run *run = agent_app_run(app);
        if (!run) continue; /* still starting: not owed yet */
        probing *p = &a->apps[a->count++];
        p->answer = a;
        (void)snprintf(p->app_id, sizeof p->app_id, "%s", agent_app_id(app));
        if (agent_probe_start(self->loop, run, agent_app_port(app), PROBE_TIMEOUT_MS, on_probe, p))
            a->left++;
        else
            (void)snprintf(p->message, sizeof p->message, "the probe could not start");
    }
    if (--a->left == 0) send_answer(a);
}

void agent_health_control(agent *self, const eei_frame *frame) {
    eei_challenge challenge;
    eei_arena arena = EEI_ARENA_INIT(1024);
    ee_error err = {0};
    if (eei_decode(&eei_challenge_schema, frame->payload, &arena, &challenge, &err)) {
        eei_log(EEI_LOG_WARN, "control.malformed", "type=CHALLENGE message=%s", err.message);
    } else if (challenge.kind == EEI_CHALLENGE_HEALTH) {
        answer *a = eei_calloc(1, sizeof *a);
        if (a) {
            a->agent = self;
            eei_sha256(frame->payload, a->challenge_hash);
            (void)snprintf(a->observer, sizeof a->observer, "%.*s", (int)challenge.observer.len, (const char *)challenge.observer.data);
            start_probes(self, a);
        }
    }
    eei_arena_clear(&arena);
}
