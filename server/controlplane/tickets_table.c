/* tickets_table.c - see tickets_table.h. */
#include "controlplane/tickets_table.h"

/* *found: there is a row; *same: it is this instance's. */
static ee_status find(store *db, const uint8_t serial[16], const uint8_t instance_id[32], bool *found, bool *same, ee_error *err) {
    store_rows *rows = NULL;
    *found = *same = false;
    ee_status st = store_query(db, "SELECT instance FROM ticket WHERE serial = $1", STORE_WITH(store_bytes(serial, 16)), &rows, err);
    if (st) return st;
    st = store_next(rows, found, err);
    if (!st && *found) *same = eei_span_equal(store_get_blob(rows, 0), eei_span(instance_id, 32));
    store_rows_close(rows);
    return st;
}

ee_status tickets_used_by(store *db, const uint8_t serial[16], const uint8_t instance_id[32], bool *used, ee_error *err) {
    bool found = false;
    return find(db, serial, instance_id, &found, used, err);
}

/* Whoever has a boot behind it that came after this ticket's is not that node any more, or two instances would replace each other for ever.
 */
static ee_status is_newest(store *db, const ticket_use *use, ee_error *err) {
    store_rows *rows = NULL;
    bool newer = false;
    ee_status st =
        store_query(db, "SELECT 1 FROM ticket WHERE node_id = $1 AND used_ms > (SELECT used_ms FROM ticket WHERE serial = $2) LIMIT 1",
                    STORE_WITH(store_bytes(use->node_id, 32), store_bytes(use->serial, 16)), &rows, err);
    if (st) return st;
    st = store_next(rows, &newer, err);
    store_rows_close(rows);
    if (st || !newer) return st;
    return eei_fail(err, EE_E_ATTESTATION, "a later boot of this node has taken its place: it needs a boot ticket of its own to come back");
}

ee_status tickets_use(store *db, const ticket_use *use, ee_error *err) {
    bool found = false, same = false;
    ee_status st = find(db, use->serial, use->instance_id, &found, &same, err);
    if (!st && same) return is_newest(db, use, err);
    if (st) return st;
    if (found)
        return eei_fail(err, EE_E_ATTESTATION,
                        "the boot ticket was used before, by another instance: its provider signs one for each boot");
    return store_exec(db, "INSERT INTO ticket(serial, node_id, instance, used_ms) VALUES ($1, $2, $3, $4)",
                      STORE_WITH(store_bytes(use->serial, 16), store_bytes(use->node_id, 32), store_bytes(use->instance_id, 32),
                                 store_i64((int64_t)use->now_ms)),
                      NULL, err);
}
