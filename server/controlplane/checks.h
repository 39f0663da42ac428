/* checks.h - the control plane's own health checks: a challenge to every serving agent each interval, answered by the agent's signature.
 * What they decide beyond serving and suspect comes with settlement. Called by main.c. Proto: docs/protocol.md#checks */
#ifndef CP_CHECKS_H
#define CP_CHECKS_H
#include "cp.h"

void checks_round(cp_context *cp, uint64_t now_ms); /* each health interval: judge the last round, challenge again */
void checks_control(cp_context *cp, registry_node *node, const uint8_t instance_pub[32], const eei_frame *frame); /* RESPONSE */
void checks_observed(cp_context *cp, const char *observer, const uint8_t instance_pub[32], const eei_frame *frame);
#endif
