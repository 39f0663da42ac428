/* broker.h - jobs from quote to booked receipt: ranks nodes, admits with the money locked, tells the agent, books its receipt, gives back
 * what is not used. Holds no I/O of its own: the writer writes, tunnels send. Called by api.c, main.c (hooks, sweep). */
#ifndef CP_BROKER_H
#define CP_BROKER_H
#include "cp.h"
#include "page.h"
#include "routing.h"

/* A decoded spec, with its bytes' hash; spans borrow from bytes. */
typedef struct broker_spec {
    eei_spec message;
    uint8_t hash[32];
    eei_arena arena;
} broker_spec;
ee_status broker_spec_parse(ee_span bytes, uint64_t kind, broker_spec *out, ee_error *err) EE_MUST_USE;
void broker_spec_clear(broker_spec *spec);

/* {"items": [...], "rejected": {...}, "busy": false}: every node, best first, with what this work may cost there. */
ee_status broker_quote(cp_context *cp, const broker_spec *spec, json_t **out, ee_error *err) EE_MUST_USE;

/* The SpendAuth envelope: signed by this account, for this spec, this control plane, not expired. */
ee_status broker_check_auth(cp_context *cp, const ledger_principal *account, const broker_spec *spec, ee_span envelope, uint64_t now_ms,
                            eei_spend_auth *out, eei_arena *arena, ee_error *err) EE_MUST_USE;
/* The node a SpendAuth names, if it may take this work now. */
ee_status broker_node(cp_context *cp, const broker_spec *spec, ee_span name, uint64_t now_ms, registry_node **out,
                      ee_error *err) EE_MUST_USE;

typedef void (*broker_done)(void *user, const json_t *answer, const ee_error *err); /* one of them is NULL */
/* Everything is copied; done runs later, once. */
void broker_admit(cp_context *cp, const ledger_principal *account, ee_span spec, ee_span spend_auth, const char *key, broker_done done,
                  void *user);
void broker_cancel(cp_context *cp, const ledger_principal *account, const char *job_id, broker_done done, void *user);
ee_status broker_job_json(cp_context *cp, const ledger_principal *account, const char *job_id, json_t **out, ee_error *err) EE_MUST_USE;
/* {"items": [...], "next": null, or the cursor of the page after this one}. */
ee_status broker_list(cp_context *cp, const ledger_principal *account, const page_request *page, json_t **out, ee_error *err) EE_MUST_USE;

/* Frames of agents: JOB_STATE, RECEIPT. */
void broker_control(cp_context *cp, registry_node *node, const uint8_t instance_id[32], const uint8_t instance_pub[32],
                    const eei_frame *frame);
/* After a start: what open jobs hold of their nodes is reserved again. */
void broker_recover(cp_context *cp);
/* A node serves again: jobs of an earlier instance of it are lost. */
void broker_node_serving(cp_context *cp, registry_node *node);
/* Jobs that can have no good end any more (caller never came, node gone for too long); locks past their expiry. */
void broker_sweep(cp_context *cp, uint64_t now_ms);
#endif
