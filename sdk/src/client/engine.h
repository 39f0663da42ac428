/* engine.h - the client's loop thread: one link to the control plane, opened on first use, and attested connections through it to agents.
 * User threads ask and wait; everything of uv, mux and channel happens on the loop. Called by client.c, jobs_api.c and apps_api.c. */
#ifndef CLIENT_ENGINE_H
#define CLIENT_ENGINE_H
#include "client/waiter.h"
#include "net/link.h"

typedef struct client_engine client_engine;
/* url, network_id and judge as in eei_link_options; starts the thread. */
ee_status client_engine_new(const char *url, const uint8_t network_id[32], eei_judge *judge, client_engine **out,
                            ee_error *err) EE_MUST_USE;
void client_engine_free(client_engine *engine); /* joins the thread; every connection must have been freed */

/* An attested connection to one agent. The user's thread and the loop each hold it. */
typedef struct client_conn client_conn;
typedef struct client_dial {
    uint64_t kind;                        /* eei_open_kind */
    const char *target;                   /* app name or job id */
    uint8_t instance_id[32], node_id[32]; /* whom the control plane assigned */
    const uint8_t *spec_hash;             /* apps: of the app that must have been measured there; NULL = none */
    ee_span token;
    const char *alpn, *node_name;
    const ee_policy *policy; /* NULL = the judge's */
    bool strict;
    uint64_t deadline_ms; /* mono */
    const ee_cancel *cancel;
} client_dial;
/* Returns once the agent is attested. On EE_E_ATTESTATION *verdict (nullable) receives a reference to the refused verdict. */
ee_status client_conn_open(client_engine *engine, const client_dial *dial, client_conn **out, ee_verdict **verdict,
                           ee_error *err) EE_MUST_USE;
const ee_verdict *client_conn_verdict(const client_conn *conn);
/* Of one that ended: because the connection to the control plane did, so that nothing is known of the agent. */
bool client_conn_link_lost(client_conn *conn);
void client_conn_free(client_conn *conn); /* closes; any thread of the user's */

/* Frames (jobs): whole frames in, whole frames out. */
ee_status client_conn_send(client_conn *conn, uint8_t type, ee_span payload, ee_error *err) EE_MUST_USE;
/* Next frame; payload is borrowed until the next call. EE_E_TIMEOUT, EE_E_CANCELLED, EE_E_END after a clean end, EE_E_CLOSED. */
ee_status client_conn_receive(client_conn *conn, uint64_t deadline_ms, const ee_cancel *cancel, eei_frame *out, ee_error *err) EE_MUST_USE;

/* Bytes (apps): joins the connection to one end of a socketpair and hands out the other. The conn may be freed after; the join lives
 * until both directions end. */
ee_status client_conn_to_socket(client_conn *conn, int *out_fd, ee_error *err) EE_MUST_USE;
#endif
