/* way.c - see way.h. Proto: docs/protocol.md#apps */
#include "client/way.h"

#include <stdio.h>

ee_status client_way_dial(ee_client *client, const char *path, const client_dial *dial, client_conn **out, ee_verdict **refused,
                          ee_error *err) {
    eei_buf token = EEI_BUF_INIT_SECRET(1024);
    const char *node = NULL;
    uint8_t spec_hash[32];
    json_t *answer = NULL;
    client_dial to = *dial;
    client_call call = {.method = "GET", .path = path, .repeatable = true, .deadline_ms = dial->deadline_ms, .cancel = dial->cancel};
    *out = NULL;
    if (refused) *refused = NULL;
    ee_status st = client_call_api(client, &call, &answer, err);
    if (!st) st = eei_json_string(answer, "node", &node, err);
    if (!st) st = client_hex(answer, "instance_id", to.instance_id, sizeof to.instance_id, err);
    if (!st) st = client_hex(answer, "node_id", to.node_id, sizeof to.node_id, err);
    if (!st && dial->kind == EEI_OPEN_APP) {
        st = client_hex(answer, "spec_hash", spec_hash, sizeof spec_hash, err);
        to.spec_hash = spec_hash;
    }
    if (!st) st = client_bytes(answer, "token", &token, err);
    to.node_name = node;
    to.token = eei_buf_span(&token);
    if (!st) st = client_conn_open(client->engine, &to, out, refused, err);
    eei_buf_clear(&token);
    json_decref(answer);
    return st;
}
