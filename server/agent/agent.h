/* agent.h - the agent's insides, shared by its files: one tunnel to the control plane, the jobs and apps it runs, its receipts.
 * Everything runs on the loop's thread. It proves, it does not judge anybody but the control plane. */
#ifndef AGENT_H
#define AGENT_H
#include "agent/runtime.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/link.h"

typedef struct agent agent;
typedef struct agent_job agent_job;
typedef struct agent_app agent_app;
typedef struct agent_receipt agent_receipt;

struct agent {
    uv_loop_t *loop;
    char node[EEI_NAME_BYTES_MAX + 1];
    uint8_t network_id[32], policy_hash[32];
    uint8_t session_id[16]; /* of the open session */
    eei_prover *prover;
    eei_judge *judge;
    eei_link *link;
    agent_runtime *runtime;
    agent_job *jobs; /* open ones */
    agent_app *apps;
    struct agent_measuring *measurements;    /* the first is under way */
    agent_receipt *receipts, *receipts_last; /* signed, not yet acknowledged, oldest first: sent again on every new session */
    agent_receipt *receipts_unsent;          /* from here on they are not sent in this session yet */
    size_t receipt_count;
    uint64_t receipt_sequence, health_sequence;
    uint8_t last_receipt[32];               /* hash of the previous one */
    uint64_t vcpus_milli, memory_bytes;     /* of the node */
    uint64_t vcpus_used_milli, memory_used; /* by what runs here */
    bool stopping;
};

/* The control plane's frames and streams, as the link hands them up. */
void agent_on_control(agent *self, const eei_frame *frame);
void agent_on_opened(agent *self, eei_stream *stream, ee_span payload);
void agent_on_session(agent *self); /* a session is open: say again what it may not know */

/* Encode and send one control message; a failure is logged: the next session says it again. */
void agent_send(agent *self, uint8_t type, const eei_schema *schema, const void *message);

/* Reset a stream with a reason that keeps its status on the way to the peer: "word: message". The stream stays its owner's to free. */
void agent_refuse(eei_stream *stream, ee_status why, const char *message);

/* jobs.c */
void agent_jobs_control(agent *self, const eei_frame *frame); /* JOB, RECEIPT_ACK */
/* A stream of a job's caller. Takes the stream. */
void agent_jobs_stream(agent *self, eei_stream *stream, const eei_open *open);
void agent_jobs_session(agent *self);
size_t agent_jobs_running(const agent *self);
void agent_jobs_close(agent *self); /* cancel all */

/* apps.c */
void agent_apps_control(agent *self, const eei_frame *frame); /* APP */
void agent_apps_stream(agent *self, eei_stream *stream, const eei_open *open);
void agent_apps_session(agent *self);
agent_app *agent_apps_next(const agent *self, const agent_app *after); /* NULL = first */
const char *agent_app_id(const agent_app *app);
agent_run *agent_app_run(const agent_app *app); /* NULL when it does not run */
uint16_t agent_app_port(const agent_app *app);
void agent_apps_close(agent *self);

/* health.c */
void agent_health_control(agent *self, const eei_frame *frame); /* CHALLENGE */
/* attest.c: CHALLENGE of kind attest: a fresh quote over this session, made on a worker. False when it is not one. */
bool agent_attest_control(agent *self, const eei_frame *frame);
/* A stream of somebody who only wants to see the proof: an inner channel that nothing follows. Takes the stream. */
void agent_attest_stream(agent *self, eei_stream *stream);
/* A stream of an uptime server: one challenge in, one signed answer out. Takes the stream. */
void agent_health_stream(agent *self, eei_stream *stream);
#endif
