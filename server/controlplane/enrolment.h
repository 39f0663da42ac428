/* enrolment.h - who may open a tunnel as which node: enrolled by its provider, on the machine that was named, booted with a ticket that is
 * good for this boot. Called by tunnels.c once a peer's evidence is proved. Proto: docs/protocol.md#registration (threats S1, S3, Q9) */
#ifndef ENROLMENT_H
#define ENROLMENT_H
#include "controlplane/cp.h"
#include "controlplane/tickets_table.h"

/* What was said of a node or uptime server when it was enrolled. Borrowed: it stays as it is while the control plane runs. */
typedef struct enrolment {
    const char *name;
    const uint8_t *node_id, *provider_pub; /* 32 */
    const uint8_t *machine_id;             /* 16; NULL = any of the policy's, in sandbox networks */
} enrolment;
/* EE_E_NOT_FOUND, for nodes with a close name; EE_E_PERMISSION for a role that is not enrolled. */
ee_status enrolment_find(const cp_context *cp, uint64_t role, ee_span name, enrolment *out, ee_error *err) EE_MUST_USE;
/* An acceptable machine is not yet this node's machine. */
ee_status enrolment_check_machine(const cp_context *cp, const enrolment *who, const ee_verdict *verdict, ee_error *err) EE_MUST_USE;
/* The ticket that the verdict's evidence shows, for this boot of this machine; *use is what must still be written down before the peer is
 * anybody. */
ee_status enrolment_check_ticket(const cp_context *cp, const enrolment *who, uint8_t role, const ee_verdict *verdict,
                                 const uint8_t instance_id[32], ticket_use *use, ee_error *err) EE_MUST_USE;
#endif
