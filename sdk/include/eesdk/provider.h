/* provider.h - for those whose machines work for the network. */
#ifndef EESDK_PROVIDER_H
#define EESDK_PROVIDER_H

#include <eesdk/client.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Options of ee_ticket_make(). Fill with ee_ticket_options_init(); new fields are only ever appended. */
typedef struct ee_ticket_options {
    size_t struct_bytes;
    const char *node;            /**< name, as it is enrolled */
    const char *machine_id;      /**< of the machine that will boot, 32 hex digits: `machine_id` of its quotes */
    const char *const *releases; /**< what may boot, NULL-ended; NULL = this library's version alone */
    uint32_t life_ms;            /**< until it must have been used; 0 = 600,000, which is the most */
    int32_t uptime_server;       /**< 1: for an uptime server, not for an agent */
} ee_ticket_options;
#define ee_ticket_options_init(options) ee_options_init((options), sizeof *(options))

/**
 * Sign a boot ticket: one boot of one machine may be this account's node. The agent gets it as a file (node.ticket). It is no secret: it
 * is worth nothing on another machine, for another release, after its time, or a second time. Sends nothing.
 * @param client whose account is the node's provider; NULL = the default client   @param out [out, owned] one line of text;
 * ee_string_free()
 * @return EE_E_INVALID with the reason; EE_E_CONFIG when no account key is configured.
 * Spec: docs/protocol.md#boot-tickets
 */
EE_API EE_MUST_USE ee_status ee_ticket_make(ee_client *client, const ee_ticket_options *options, char **out, ee_error *err);

#ifdef __cplusplus
}
#endif
#endif
