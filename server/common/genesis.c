/* genesis.c - see genesis.h. */
#include "common/genesis.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/file.h"

#include <stdio.h>
#include <string.h>

enum { FILE_MAX = 1 << 20 };

void genesis_network_id(const char *name, bool sandbox, uint64_t period_ms, const uint8_t salt[32], uint8_t out[32]) {
    uint8_t text[11 + GENESIS_NAME_CAP + 1 + 1 + 8 + 32];
    size_t len = strlen(name), at = 0;
    EE_ASSERT(len < GENESIS_NAME_CAP);
    memcpy(text, "EE1-network", 11);
    at = 11;
    memcpy(text + at, name, len);
    at += len;
    text[at++] = 0;
    text[at++] = sandbox;
    for (int i = 0; i < 8; i++) text[at++] = (uint8_t)(period_ms >> (56 - 8 * i));
    memcpy(text + at, salt, 32);
    eei_sha256(eei_span(text, at + 32), out);
}

/* ---- one table of the file: every key known, every value of its kind ------------------------------------------------- */

typedef struct reading {
    const eei_toml *file;
    const json_t *table;
    char prefix[64]; /* "node.2." */
    ee_error *err;
    ee_status status; /* first failure, sticky */
    const char *seen[16];
    size_t seen_count;
} reading;

static void wrong(reading *r, const char *key, const char *why) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s%s", r->prefix, key);
    if (!r->status) r->status = eei_toml_fail(r->file, path, r->err, "%s", why);
}

static const json_t *need(reading *r, const char *key, bool required) {
    const json_t *value = json_object_get(r->table, key);
    if (r->seen_count < sizeof r->seen / sizeof *r->seen) r->seen[r->seen_count++] = key;
    if (!value && required) wrong(r, key, "is missing");
    return value;
}

static void read_text(reading *r, const char *key, bool required, char *out, size_t cap) {
    const json_t *value = need(r, key, required);
    if (!value) return;
    if (!json_is_string(value) || json_string_length(value) == 0 || json_string_length(value) >= cap)
        wrong(r, key, "must be a text that is not empty and not too long");
    else
        (void)snprintf(out, cap, "%s", json_string_value(value));
}

static void read_hex32(reading *r, const char *key, uint8_t out[32]) {
    char text[66] = "";
    read_text(r, key, true, text, sizeof text);
    if (!r->status && (strlen(text) != 64 || eei_hex_decode(text, out, 32, NULL))) wrong(r, key, "must be 64 hex digits");
}

static void read_machine(reading *r, const char *key, uint8_t id[16], bool *pinned) {
    char text[34] = "";
    read_text(r, key, false, text, sizeof text);
    *pinned = text[0] != 0;
    if (!r->status && *pinned && (strlen(text) != 32 || eei_hex_decode(text, id, 16, NULL))) wrong(r, key, "must be 32 hex digits");
}

static void read_number(reading *r, const char *key, uint64_t *out) {
    const json_t *value = need(r, key, true);
    if (!value) return;
    if (!json_is_integer(value) || json_integer_value(value) <= 0)
        wrong(r, key, "must be a whole number above 0");
    else
        *out = (uint64_t)json_integer_value(value);
}

static void read_money(reading *r, const char *key, ee_money *out) {
    char text[48] = "";
    ee_error why;
    read_text(r, key, false, text, sizeof text);
    if (!r->status && text[0] && ee_money_parse(text, out, &why)) wrong(r, key, why.message);
}

static void read_bool(reading *r, const char *key, bool *out) {
    const json_t *value = need(r, key, false);
    if (value && !json_is_boolean(value)) wrong(r, key, "must be true or false");
    if (value) *out = json_is_true(value);
}

/* also: NULL-ended names that are read elsewhere; nullable. */
static void refuse_unknown(reading *r, const char *const *also) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)r->table, key, value) {
        bool known = false;
        for (size_t i = 0; also && also[i]; i++) known |= strcmp(key, also[i]) == 0;
        for (size_t i = 0; i < r->seen_count; i++) known |= strcmp(key, r->seen[i]) == 0;
        if (!known) wrong(r, key, "is not known here");
    }
}

/* ---- the file -------------------------------------------------------------------------------------------------------- */

static ee_status read_account(const eei_toml *file, const json_t *table, size_t index, genesis_account *out, ee_error *err) {
    char kind[16] = "user";
    reading r = {.file = file, .table = table, .err = err};
    (void)snprintf(r.prefix, sizeof r.prefix, "account.%zu.", index);
    read_text(&r, "name", true, out->name, sizeof out->name);
    read_hex32(&r, "public_key", out->key);
    read_text(&r, "kind", false, kind, sizeof kind);
    read_money(&r, "credits", &out->credits);
    out->provider = strcmp(kind, "provider") == 0;
    if (!out->provider && strcmp(kind, "user") != 0) wrong(&r, "kind", "must be \"user\" or \"provider\"");
    refuse_unknown(&r, NULL);
    return r.status;
}

static ee_status read_node(const eei_toml *file, const json_t *table, size_t index, genesis_node *out, ee_error *err) {
    reading r = {.file = file, .table = table, .err = err};
    (void)snprintf(r.prefix, sizeof r.prefix, "node.%zu.", index);
    read_text(&r, "name", true, out->name, sizeof out->name);
    read_text(&r, "provider", true, out->provider, sizeof out->provider);
    read_text(&r, "tier", true, out->tier, sizeof out->tier);
    read_money(&r, "price", &out->price);
    read_number(&r, "vcpus_milli", &out->vcpus_milli);
    read_number(&r, "memory_bytes", &out->memory_bytes);
    read_money(&r, "stake", &out->stake);
    read_money(&r, "stake_required", &out->stake_required);
    read_machine(&r, "machine", out->machine_id, &out->machine_pinned);
    refuse_unknown(&r, NULL);
    return r.status;
}

static ee_status read_uptime(const eei_toml *file, const json_t *table, size_t index, genesis_uptime *out, ee_error *err) {
    reading r = {.file = file, .table = table, .err = err};
    (void)snprintf(r.prefix, sizeof r.prefix, "uptime_server.%zu.", index);
    read_text(&r, "name", true, out->name, sizeof out->name);
    read_text(&r, "provider", true, out->provider, sizeof out->provider);
    read_machine(&r, "machine", out->machine_id, &out->machine_pinned);
    refuse_unknown(&r, NULL);
    return r.status;
}

static ee_status read_lists(const eei_toml *file, genesis *out, ee_error *err) {
    const json_t *root = eei_toml_root(file), *accounts = json_object_get(root, "account"), *nodes = json_object_get(root, "node"),
                 *uptime = json_object_get(root, "uptime_server");
    size_t n = json_array_size(accounts), m = json_array_size(nodes), k = json_array_size(uptime);
    if (n > GENESIS_ACCOUNTS_MAX || m > GENESIS_NODES_MAX || k > GENESIS_UPTIME_MAX)
        return eei_fail(err, EE_E_CONFIG, "%s has %zu accounts, %zu nodes and %zu uptime servers; at most %d, %d and %d",
                        eei_toml_name(file), n, m, k, GENESIS_ACCOUNTS_MAX, GENESIS_NODES_MAX, GENESIS_UPTIME_MAX);
    out->accounts = eei_calloc(n + 1, sizeof *out->accounts);
    out->nodes = eei_calloc(m + 1, sizeof *out->nodes);
    out->uptime = eei_calloc(k + 1, sizeof *out->uptime);
    if (!out->accounts || !out->nodes || !out->uptime) return eei_nomem(err);
    for (; out->account_count < n; out->account_count++) {
        ee_status st =
            read_account(file, json_array_get(accounts, out->account_count), out->account_count, &out->accounts[out->account_count], err);
        if (st) return st;
    }
    for (; out->node_count < m; out->node_count++) {
        ee_status st = read_node(file, json_array_get(nodes, out->node_count), out->node_count, &out->nodes[out->node_count], err);
        if (st) return st;
    }
    for (; out->uptime_count < k; out->uptime_count++) {
        size_t i = out->uptime_count;
        ee_status st = read_uptime(file, json_array_get(uptime, i), i, &out->uptime[i], err);
        if (st) return st;
    }
    return EE_OK;
}

/* A node id follows from provider and name: two of one name would be one. */
static ee_status check_uptime_names(const char *path, const genesis *g, ee_error *err) {
    for (size_t i = 0; i < g->uptime_count; i++) {
        const char *name = g->uptime[i].name;
        bool twice = false;
        for (size_t k = 0; k < i; k++) twice |= strcmp(name, g->uptime[k].name) == 0;
        for (size_t k = 0; k < g->node_count; k++) twice |= strcmp(name, g->nodes[k].name) == 0;
        if (twice) return eei_fail(err, EE_E_CONFIG, "%s: the name %s of an uptime server is taken", path, name);
    }
    return EE_OK;
}

ee_status genesis_load(const char *path, genesis *out, ee_error *err) {
    eei_toml *file = NULL;
    static const char *const lists[] = {"account", "node", "uptime_server", NULL};
    eei_buf text = EEI_BUF_INIT(FILE_MAX);
    uint8_t salt[32] = {0};
    memset(out, 0, sizeof *out);
    ee_status st = eei_file_read(path, &text, err);
    eei_sha256(eei_buf_span(&text), out->sha256);
    if (!st) st = eei_toml_parse(eei_buf_span(&text), path, &file, err);
    eei_buf_clear(&text);
    if (st) return st;
    reading r = {.file = file, .table = eei_toml_root(file), .err = err};
    read_text(&r, "network", true, out->network, sizeof out->network);
    read_bool(&r, "sandbox", &out->sandbox);
    read_number(&r, "period_ms", &out->period_ms);
    read_hex32(&r, "salt", salt);
    refuse_unknown(&r, lists);
    st = r.status;
    if (!st) st = read_lists(file, out, err);
    if (!st) st = check_uptime_names(path, out, err);
    if (!st) genesis_network_id(out->network, out->sandbox, out->period_ms, salt, out->network_id);
    for (size_t i = 0; !st && !out->sandbox && i < out->node_count; i++)
        if (!out->nodes[i].machine_pinned) st = eei_fail(err, EE_E_CONFIG, "%s: node %s must name its machine", path, out->nodes[i].name);
    for (size_t i = 0; !st && !out->sandbox && i < out->uptime_count; i++)
        if (!out->uptime[i].machine_pinned)
            st = eei_fail(err, EE_E_CONFIG, "%s: uptime server %s must name its machine", path, out->uptime[i].name);
    if (st) genesis_clear(out);
    eei_toml_free(file);
    return st;
}

void genesis_clear(genesis *g) {
    eei_free(g->accounts);
    eei_free(g->nodes);
    eei_free(g->uptime);
    memset(g, 0, sizeof *g);
}
