/* tickets_table.h - boot tickets that were used. A ticket is checked by attest/ticket.h; that it is used once is kept here, across restarts
 * (threat S3). Called by enrolment.c; the writing function runs inside a writer's work. */
#ifndef TICKETS_TABLE_H
#define TICKETS_TABLE_H
#include "store/store.h"

typedef struct ticket_use {
    uint8_t serial[16], node_id[32], instance_id[32];
    uint64_t now_ms;
} ticket_use;
/* Once, and again by the same instance, until a later ticket of the node is used. EE_E_ATTESTATION when another instance has used it, or
 * one of a later boot has its place. */
ee_status tickets_use(store *db, const ticket_use *use, ee_error *err) EE_MUST_USE;
/* Whether this instance has used it before. */
ee_status tickets_used_by(store *db, const uint8_t serial[16], const uint8_t instance_id[32], bool *used, ee_error *err) EE_MUST_USE;
#endif
