/* prober.h - health checks of an uptime server: each round, every serving node gets a challenge inside an attested channel through its
 * tunnel, the same path as traffic, and what came back is signed and handed to the control plane. A pass is worth what the agent's own
 * signature proves. Keeping observations through an outage and the committed schedule come with settlement. Called by main.c. Proto:
 * docs/protocol.md#checks (threats U1, U3, U4) */
#ifndef UPTIME_PROBER_H
#define UPTIME_PROBER_H
#include "net/fetch.h"
#include "net/link.h"

typedef struct prober prober;
typedef struct prober_options {
    uv_loop_t *loop;
    const char *observer; /* our name */
    eei_fetch *api;       /* ATTESTED; asked for the list of nodes on uv's workers */
    eei_judge *judge;
    eei_prover *prover; /* signs observations */
    eei_link *link;
    uint64_t interval_ms;
} prober_options;
ee_status prober_new(const prober_options *options, prober **out, ee_error *err) EE_MUST_USE;
void prober_start(prober *self); /* at every opened session */
void prober_pause(prober *self); /* the session ended: what is under way ends with it */
void prober_free(prober *self, void (*done)(void *user), void *user);
#endif
