/* runtime_run.h - what runtime.c (start, probe, pool) and runtime_run.c (executions) share. Not for others. */
#ifndef AGENT_RUNTIME_RUN_H
#define AGENT_RUNTIME_RUN_H
#include "image.h"
#include "runtime.h"
#include "sandbox.h"

/* A sandbox with the image it stands on: the image is released when the sandbox is gone. */
typedef struct agent_lease {
    agent_runtime *rt;
    agent_image *image;
    agent_sandbox *sandbox;
    agent_limits limits;
    struct agent_lease *next; /* of the pool */
    uint64_t since_ms;        /* spare since */
} agent_lease;

struct agent_runtime {
    uv_loop_t *loop;
    agent_host host;
    agent_store *store;
    agent_runtime_facts facts;
    int lock_fd;
    agent_lease *spares;
    uint32_t spares_count, pool_max, pool_idle_ms;
    agent_run *runs;
    unsigned live;      /* sandboxes that are not gone yet, and handles of ours */
    uv_timer_t sweeper; /* old spares; and the turn in which closing happens */
    bool closing, sweeping;
    agent_runtime_closed_fn closed;
    void *closed_user;
};

/* A prepared sandbox of the image and limits, or a new one that is being prepared. */
ee_status agent_lease_take(agent_runtime *rt, agent_image *image, const agent_limits *limits, const agent_sandbox_events *events,
                           void *user, agent_lease **out, ee_error *err) EE_MUST_USE;
void agent_lease_end(agent_lease *lease);
/* Prepare one for next time, if there is none and room. */
void agent_lease_prepare_spare(agent_runtime *rt, agent_image *image, const agent_limits *limits);
/* The runtime closes: kill, and tell the exit soon whatever is unread. */
void agent_run_end_now(agent_run *run);
agent_run *agent_run_next(const agent_run *run);
#endif
