/* apps_table.h - the rows of apps: a name owned by an account (threat S4), where it runs, with which fencing epoch, and how it does.
 * Each transition is a compare-and-set. Not for placing or probing. Writing functions run inside a writer's work. */
#ifndef APPS_TABLE_H
#define APPS_TABLE_H
#include "controlplane/ledger.h"

#define APP_ID_CAP         40u
#define APP_SPEC_BYTES_MAX 65536u

typedef enum app_state {                    /* stored: frozen */
                         APP_DEPLOYING = 1, /* placed; "pulling" and "starting" of the agent */
                         APP_RUNNING = 2,
                         APP_FAILED = 3,
                         APP_STOPPED = 4, /* by its owner; the name stays owned */
                         APP_LOST = 5     /* its node went away; to be placed again with a higher epoch */
} app_state;
const char *app_state_word(app_state state); /* "deploying" "running" "failed" "stopped" "lost" */

typedef struct app_row {
    char id[APP_ID_CAP];
    char name[NAME_CAP];
    int64_t account, node; /* node 0 = nowhere */
    char account_name[NAME_CAP], node_name[NAME_CAP];
    uint8_t account_key[32];
    uint8_t instance_id[32];
    uint8_t spec_hash[32];
    uint64_t epoch; /* goes up with every placement; agents refuse an older one */
    app_state state;
    char word[32], message[256];
    ee_money price;
    ee_money ceiling; /* most its owner authorized for one period, wherever it runs */
    uint64_t vcpus_milli, memory_bytes, port;
    uint64_t created_ms, changed_ms;
    eei_buf spec; /* only from apps_get() */
} app_row;
void app_row_init(app_row *row);
void app_row_clear(app_row *row);

typedef struct app_deploy_request {
    char id[APP_ID_CAP]; /* for a new name: eei_make_id("app_") */
    ee_span name;
    int64_t account, node;
    uint8_t instance_id[32];
    ee_span spec;
    uint8_t spec_hash[32];
    ee_money price, ceiling;
    uint64_t vcpus_milli, memory_bytes, port;
    ee_span key;       /* idempotency key; content is {account, name, spec_hash} */
    unsigned apps_max; /* names of this account; 0 = no limit (threat B10) */
    uint64_t now_ms;
} app_deploy_request;
typedef struct app_deployed {
    char id[APP_ID_CAP];
    uint64_t epoch;
    bool replayed;
} app_deployed;
/* A new name becomes the account's; a name of its own is placed again with the next epoch. EE_E_PERMISSION when the name is another's. */
ee_status apps_deploy(store *db, const app_deploy_request *request, app_deployed *out, ee_error *err) EE_MUST_USE;
/* Move an app to another node: epoch + 1, DEPLOYING. Compare-and-set on the epoch that was seen: EE_E_CONFLICT. */
ee_status apps_place(store *db, const char *id, uint64_t epoch_seen, int64_t node, const uint8_t instance_id[32], ee_money price,
                     uint64_t now_ms, uint64_t *epoch, ee_error *err) EE_MUST_USE;
/* What the agent of that epoch says, or what happened to it. EE_E_CONFLICT for an older epoch or a step that is not allowed. */
ee_status apps_set_state(store *db, const char *id, uint64_t epoch, app_state state, const char *word, const char *message, uint64_t now_ms,
                         ee_error *err) EE_MUST_USE;
/* By its owner only: EE_E_PERMISSION, EE_E_NOT_FOUND. Stopping twice is fine. */
ee_status apps_stop(store *db, ee_span name, int64_t account, uint64_t now_ms, app_row *out, ee_error *err) EE_MUST_USE;

/* By name; with a close name when there is none. */
ee_status apps_get(store *db, ee_span name, app_row *out, ee_error *err) EE_MUST_USE;
ee_status apps_get_id(store *db, const char *id, app_row *out, ee_error *err) EE_MUST_USE;
/* By name; account 0 and node 0 = any; only_live leaves out STOPPED and FAILED. The callback returns false to stop. */
typedef bool (*app_row_fn)(void *user, const app_row *row);
typedef struct app_list_query {
    int64_t account, node;
    bool only_live;
    char after[NAME_CAP];
    unsigned limit; /* 0 = 100 */
} app_list_query;
ee_status apps_list(store *db, const app_list_query *query, app_row_fn fn, void *user, ee_error *err) EE_MUST_USE;
#endif
