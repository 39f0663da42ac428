/* way.h - the way to an agent: which instance the control plane assigned, the token for it, and an attested connection there. Called by
 * apps_api.c and nodes_api.c; jobs get theirs with the admission (spec.h). */
#ifndef CLIENT_WAY_H
#define CLIENT_WAY_H
#include "client/client_internal.h"

/* path: of the call that names the way, "/v1/resolve/app-name". dial: kind, target, alpn, deadline and what else is wanted; node, instance
 * and token are filled in for this one attempt. *refused (nullable) as in client_conn_open(). */
ee_status client_way_dial(ee_client *client, const char *path, const client_dial *dial, client_conn **out, ee_verdict **refused,
                          ee_error *err) EE_MUST_USE;
#endif
