/* placer.h - apps: placed on a node under a fencing epoch, resolved to the instance that serves them, stopped by their owner, moved when
 * their node is gone. Called by api.c, main.c (hooks, sweep). Proto: docs/protocol.md#apps */
#ifndef CP_PLACER_H
#define CP_PLACER_H
#include "broker.h"
#include "page.h"

void placer_deploy(cp_context *cp, const ledger_principal *account, ee_span spec, ee_span spend_auth, const char *key, broker_done done,
                   void *user);
void placer_stop(cp_context *cp, const ledger_principal *account, const char *name, broker_done done, void *user);
/* Who owns an app, what it costs and what went wrong with it is shown to its owner only. account 0: nobody's view. */
ee_status placer_app_json(cp_context *cp, int64_t account, const char *name, json_t **out, ee_error *err) EE_MUST_USE;
ee_status placer_list(cp_context *cp, int64_t account, const page_request *page, json_t **out, ee_error *err) EE_MUST_USE;
/* Where an app is served, with a token for this account. EE_E_NOT_FOUND, EE_E_APP_UNAVAILABLE, EE_E_PERMISSION (not its owner). */
ee_status placer_resolve(cp_context *cp, const ledger_principal *account, const char *name, json_t **out, ee_error *err) EE_MUST_USE;

void placer_control(cp_context *cp, registry_node *node, const uint8_t instance_id[32], const eei_frame *frame);
void placer_node_serving(cp_context *cp, registry_node *node); /* its apps are told to it again: agents may have been started again */
void placer_recover(cp_context *cp);                           /* after a start: what live apps hold of their nodes is reserved again */
void placer_sweep(cp_context *cp, uint64_t now_ms);            /* apps whose node is gone move to another */
#endif
