/* boot_ticket.h - the boot ticket that a provider put beside this program: who it may be this time. Not for checking it, which the control
 * plane does. Called by the agent's and the uptime server's main. Proto: docs/protocol.md#boot-tickets */
#ifndef BOOT_TICKET_H
#define BOOT_TICKET_H
#include "base/buf.h"

/* A file of one line of base64url, as `ee node ticket` writes it. *out is the envelope, node_id whom it is for. EE_E_CONFIG names the file
 * when it is not a ticket for this role in this network. */
ee_status boot_ticket_load(const char *path, uint8_t role, const uint8_t network_id[32], eei_buf *out, uint8_t node_id[32],
                           ee_error *err) EE_MUST_USE;
#endif
