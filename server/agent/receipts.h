/* receipts.h - a finished job's receipt: filled, signed by the instance key, chained, and kept until the control plane has booked it,
 * within bounds: one it never takes is dropped after a day. Called by jobs.c and agent.c. Proto: docs/protocol.md#receipts */
#ifndef AGENT_RECEIPTS_H
#define AGENT_RECEIPTS_H
#include "agent/agent.h"

/* Fill in what is the agent's to say (network, node, instance, sequence, previous, charge), sign, chain, keep and send.
 * *envelope borrows from the kept receipt: valid until it is acknowledged and forgotten. */
ee_status agent_receipts_issue(agent *self, eei_receipt *receipt, ee_money locked, ee_span *envelope, uint8_t hash[32],
                               ee_error *err) EE_MUST_USE;
/* True if it was one of ours. */
bool agent_receipts_acknowledge(agent *self, const uint8_t hash[32]);
void agent_receipts_send_again(agent *self); /* all of them: a new session is open */
void agent_receipts_go_on(agent *self);      /* those the session's queue had no room for */
void agent_receipts_free(agent *self);
#endif
