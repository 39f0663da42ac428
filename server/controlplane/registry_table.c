/* registry_table.c - rows of nodes. Not for their state or choice. Called by the control plane at start and when a provider changes one. */
#include "controlplane/registry_table.h"

#include <inttypes.h>
#include <string.h>

static ee_status check_profile(const registry_profile *p, ee_error *err) {
    if (p->tier < TIER_ECONOMY || p->tier > TIER_PREMIUM) return eei_fail(err, EE_E_INVALID, "a node is economy, standard or premium");
    if (p->price < 0) return eei_fail(err, EE_E_INVALID_AMOUNT, "the price is negative");
    if (!p->vcpus_milli || p->vcpus_milli > INT32_MAX) return eei_fail(err, EE_E_INVALID, "a node needs some vcpus");
    if (!p->memory_bytes || p->memory_bytes > INT64_MAX) return eei_fail(err, EE_E_INVALID, "a node needs some memory");
    return EE_OK;
}

/* The row that is there, if any: whether it may be changed, and since when it is. */
static ee_status find_row(store *db, registry_profile *p, bool *found, ee_error *err) {
    store_rows *rows = NULL;
    ee_status st = store_query(db, "SELECT node_id, banned, enrolled_ms FROM node WHERE id = $1", STORE_WITH(store_i64(p->id)), &rows, err);
    if (st) return st;
    st = store_next(rows, found, err);
    if (!st && *found) {
        if (!eei_span_equal(store_get_blob(rows, 0), eei_span(p->node_id, sizeof p->node_id)))
            st = eei_fail(err, EE_E_CONFLICT, "the node name \"%s\" has another node id", p->name);
        else if (store_get_i64(rows, 1))
            st = eei_fail(err, EE_E_PERMISSION, "the node %s is banned", p->name);
        else
            p->enrolled_ms = (uint64_t)store_get_i64(rows, 2);
    }
    store_rows_close(rows);
    return st;
}

static ee_status insert_row(store *db, const registry_profile *p, uint64_t now_ms, ee_error *err) {
    int64_t taken = 0;
    ee_status st = store_get_one(db, "SELECT count(*) FROM node WHERE node_id = $1", STORE_WITH(store_bytes(p->node_id, sizeof p->node_id)),
                                 &taken, err);
    if (st) return st;
    if (taken) return eei_fail(err, EE_E_CONFLICT, "this node id is enrolled under another name");
    return store_exec(db,
                      "INSERT INTO node(id, node_id, tier, price, vcpus_milli, memory_bytes, enrolled_ms, changed_ms)"
                      " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                      STORE_WITH(store_i64(p->id), store_bytes(p->node_id, sizeof p->node_id), store_i64(p->tier), store_i64(p->price),
                                 store_i64((int64_t)p->vcpus_milli), store_i64((int64_t)p->memory_bytes), store_i64((int64_t)now_ms),
                                 store_i64((int64_t)now_ms)),
                      NULL, err);
}

ee_status nodes_enroll(store *db, registry_profile *p, uint64_t now_ms, ee_error *err) {
    ledger_principal node;
    ledger_balance balance;
    bool found = false;
    ee_status st = check_profile(p, err);
    if (!st) st = ledger_create_node(db, eei_span(p->name, strnlen(p->name, sizeof p->name)), p->provider, now_ms, &node, err);
    if (st) return st;
    p->id = node.id;
    p->enrolled_ms = now_ms;
    p->banned = false;
    st = find_row(db, p, &found, err);
    if (!st && !found) st = insert_row(db, p, now_ms, err);
    if (!st && found)
        st = store_exec(db, "UPDATE node SET tier = $1, price = $2, vcpus_milli = $3, memory_bytes = $4, changed_ms = $5 WHERE id = $6",
                        STORE_WITH(store_i64(p->tier), store_i64(p->price), store_i64((int64_t)p->vcpus_milli),
                                   store_i64((int64_t)p->memory_bytes), store_i64((int64_t)now_ms), store_i64(p->id)),
                        NULL, err);
    if (!st) st = ledger_get_balance(db, p->id, &balance, err);
    if (!st) p->stake = balance.staked;
    return st;
}

ee_status nodes_set_price(store *db, int64_t node, int64_t provider, ee_money price, uint64_t now_ms, ee_error *err) {
    ledger_principal principal;
    int64_t changed = 0;
    if (price < 0) return eei_fail(err, EE_E_INVALID_AMOUNT, "the price is negative");
    ee_status st = ledger_get_principal(db, node, &principal, err);
    if (st) return st;
    if (principal.kind != LEDGER_NODE || principal.provider != provider)
        return eei_fail(err, EE_E_PERMISSION, "the node \"%s\" belongs to another account", principal.name);
    st = store_exec(db, "UPDATE node SET price = $1, changed_ms = $2 WHERE id = $3",
                    STORE_WITH(store_i64(price), store_i64((int64_t)now_ms), store_i64(node)), &changed, err);
    return !st && changed != 1 ? eei_fail(err, EE_E_NOT_FOUND, "the node \"%s\" is not enrolled", principal.name) : st;
}

ee_status nodes_ban(store *db, int64_t node, const char *reason, uint64_t now_ms, ee_error *err) {
    int64_t changed = 0;
    ee_status st = store_exec(db,
                              "UPDATE node SET ban_reason = CASE WHEN banned = 1 THEN ban_reason ELSE $1 END, banned = 1, changed_ms = $2"
                              " WHERE id = $3",
                              STORE_WITH(store_cstr(reason ? reason : ""), store_i64((int64_t)now_ms), store_i64(node)), &changed, err);
    return !st && changed != 1 ? eei_fail(err, EE_E_NOT_FOUND, "there is no node with id %" PRId64, node) : st;
}

ee_status nodes_list(store *db, nodes_fn fn, void *user, ee_error *err) {
    store_rows *rows = NULL;
    bool row = false;
    ee_status st = store_query(db,
                               "SELECT p.id, p.provider, p.name, o.name, n.node_id, n.tier, n.price, n.vcpus_milli, n.memory_bytes,"
                               " a.cp - a.dp, n.enrolled_ms, n.banned FROM node n JOIN principal p ON p.id = n.id"
                               " JOIN principal o ON o.id = p.provider JOIN account a ON a.id = n.id ORDER BY p.name",
                               STORE_NONE, &rows, err);
    while (!st) {
        registry_profile p;
        st = store_next(rows, &row, err);
        if (st || !row) break;
        memset(&p, 0, sizeof p);
        p.id = store_get_i64(rows, 0);
        p.provider = store_get_i64(rows, 1);
        store_get_name(rows, 2, p.name, sizeof p.name);
        store_get_name(rows, 3, p.provider_name, sizeof p.provider_name);
        ee_span id = store_get_blob(rows, 4);
        if (id.len == sizeof p.node_id) memcpy(p.node_id, id.data, id.len);
        p.tier = (routing_tier)store_get_i64(rows, 5);
        p.price = store_get_i64(rows, 6);
        p.vcpus_milli = (uint64_t)store_get_i64(rows, 7);
        p.memory_bytes = (uint64_t)store_get_i64(rows, 8);
        p.stake = store_get_i64(rows, 9);
        p.enrolled_ms = (uint64_t)store_get_i64(rows, 10);
        p.banned = store_get_i64(rows, 11) != 0;
        if (!fn(user, &p)) break;
    }
    store_rows_close(rows);
    return st;
}
