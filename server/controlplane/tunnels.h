/* tunnels.h - the accepted websockets: session, mux, and the switch that joins a client's stream to an agent's. It forwards ciphertext and
 * knows sizes and times only. Events of agents go up through the hooks. Called by main (listener) and the broker and placer (send).
 * Proto: docs/protocol.md#session, #streams (threats S1, S2, B7, W1) */
#ifndef CP_TUNNELS_H
#define CP_TUNNELS_H
#include "cp.h"

typedef struct cp_tunnel_hooks {
    void (*serving)(cp_context *cp, registry_node *node);                             /* an agent was accepted */
    void (*lost)(cp_context *cp, registry_node *node, const uint8_t instance_id[32]); /* its tunnel ended, or another replaced it */
    void (*control)(cp_context *cp, registry_node *node, const uint8_t instance_id[32], const uint8_t instance_pub[32],
                    const eei_frame *frame);
    void (*observed)(cp_context *cp, const char *observer, const uint8_t instance_pub[32],
                     const eei_frame *frame); /* from an uptime server */
} cp_tunnel_hooks;
ee_status cp_tunnels_new(cp_context *cp, const cp_tunnel_hooks *hooks, cp_tunnels **out, ee_error *err) EE_MUST_USE;
void cp_tunnels_accept(cp_context *cp, eei_socket *socket); /* the listener's on_socket */
void cp_tunnels_close_all(cp_tunnels *tunnels);             /* they go away as the loop turns */
void cp_tunnels_free(cp_tunnels *tunnels);

/* To the agent whose session the node has. EE_E_NO_NODE when it has none. */
ee_status cp_tunnels_send(cp_context *cp, registry_node *node, uint8_t type, ee_span payload, ee_error *err) EE_MUST_USE;

/* Ask the node's agent to prove itself again on its open session. A challenge that is still open counts as missed; the answer, judged on a
 * worker, renews the node's evidence time. */
ee_status cp_tunnels_attest(cp_context *cp, registry_node *node, ee_error *err) EE_MUST_USE;

/* A capability for one kind of stream to one target on one instance, signed by our instance key; appended to out. */
ee_status cp_token_make(cp_context *cp, uint64_t kind, const char *target, const uint8_t instance_id[32], const char *account,
                        uint64_t now_ms, eei_buf *out, ee_error *err) EE_MUST_USE;

typedef struct cp_tunnel_stats {
    size_t tunnels, agents, clients, streams;
    uint64_t bytes_relayed;
} cp_tunnel_stats;
void cp_tunnels_get_stats(const cp_tunnels *tunnels, cp_tunnel_stats *out);
#endif
