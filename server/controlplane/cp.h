/* cp.h - the control plane's insides, shared by its files: api -> {broker, placer} -> {tunnels, auth} -> registry, ledger, writer.
 * Everything runs on the loop's thread, but the works of the writer and what eei_judge does on uv's workers. */
#ifndef CP_H
#define CP_H
#include "apps_table.h"
#include "jobs_table.h"
#include "net/listener.h"
#include "ratls/prover.h"
#include "ratls/ratls.h"
#include "registry.h"
#include "wire/frame.h"
#include "wire/messages.h"
#include "writer.h"

#include <uv.h>

typedef struct cp_tunnels cp_tunnels;
typedef struct cp_tunnel cp_tunnel;
typedef struct cp_auth cp_auth;
typedef struct cp_collateral cp_collateral;

/* An uptime server, as genesis names it. */
typedef struct cp_uptime {
    char name[NAME_CAP];
    uint8_t node_id[32], provider_pub[32], machine_id[16];
    bool machine_pinned;
} cp_uptime;

typedef struct cp_context {
    uv_loop_t *loop;
    char network[NAME_CAP];
    uint8_t network_id[32];
    bool sandbox;       /* simulated evidence is admitted */
    uint64_t period_ms; /* settlement period */
    uint64_t health_interval_ms, attest_interval_ms;
    ee_policy *policy; /* judges agents and uptime servers */
    cp_collateral *collateral;
    eei_judge *judge;
    eei_prover *prover;
    eei_listener *listener;
    writer *writer;
    store *reader; /* the loop's read-only view */
    registry *registry;
    cp_tunnels *tunnels;
    cp_auth *auth;
    cp_uptime *uptime;
    size_t uptime_count;
    uv_timer_t sweep;    /* expiries, health */
    uint64_t slot;       /* of the running health round */
    uint64_t rent_ms;    /* when rent was last looked over */
    uint64_t expired_ms; /* when locks were last looked over for expiry */
    bool stopping;
} cp_context;

/* Start of the period that a moment lies in: fixed grid from the epoch, half-open (threat M20). */
uint64_t cp_period_start(const cp_context *cp, uint64_t wall_ms);
#endif
