/* nodes_api.c - a node's own proof, apart from any app or job. Behind <eesdk/apps.h>. */
#include "base/clock.h"
#include "client/way.h"

#include <stdio.h>
#include <string.h>

enum { ATTEST_TIMEOUT_MS = 30000 };

ee_status ee_node_attestation(ee_client *client, const char *node, const ee_connect_options *given, ee_verdict **out, ee_error *err) {
    ee_connect_options options;
    client_conn *conn = NULL;
    char path[96];
    if (!out) return eei_fail(err, EE_E_INVALID, "out is NULL");
    *out = NULL;
    ee_status st = eei_options_take(&client_connect_options, given, &options, err);
    if (!st) st = client_check_name("a node", node, err);
    if (!st) st = client_resolve(&client, err);
    if (st) return st;
    (void)snprintf(path, sizeof path, "/v1/attest/%s", node);
    client_dial dial = {.kind = EEI_OPEN_ATTEST,
                        .target = node,
                        .alpn = EEI_ALPN_ATTEST,
                        .policy = options.policy,
                        .strict = options.strict != 0,
                        .deadline_ms = eei_mono_ms() + (options.timeout_ms ? options.timeout_ms : ATTEST_TIMEOUT_MS),
                        .cancel = options.cancel};
    st = client_way_dial(client, path, &dial, &conn, out, err);
    if (!st) *out = ee_verdict_ref(client_conn_verdict(conn));
    client_conn_free(conn);
    return st;
}
