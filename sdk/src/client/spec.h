/* spec.h - what is asked of the network: a job's or app's spec, its quote, its spend authorization and admission. Called by jobs_api.c and
 * apps_api.c. Proto: docs/protocol.md#jobs */
#ifndef CLIENT_SPEC_H
#define CLIENT_SPEC_H
#include "client/client_internal.h"
#include "wire/messages.h"

typedef struct client_spec {
    eei_spec message; /* spans and lists point into the fields below */
    client_image image;
    ee_span *args, *env_names;
    eei_env *env; /* sorted by name; values borrowed from the options */
    size_t env_count;
    eei_buf bytes; /* encoded */
    uint8_t hash[32];
    char node[EEI_NAME_BYTES_MAX + 1], name[EEI_NAME_BYTES_MAX + 1];
    ee_span stdin_data;
    const ee_policy *policy; /* of this order: the options' or the client's, borrowed */
} client_spec;
ee_status client_spec_job(ee_client *client, const ee_job_options *options, client_spec *out, ee_error *err) EE_MUST_USE;
ee_status client_spec_app(ee_client *client, const ee_deploy_options *options, client_spec *out, ee_error *err) EE_MUST_USE;
void client_spec_clear(client_spec *spec);

/* One candidate, the best: lowest effective price. EE_E_NO_NODE when there is none; its details say whether that may pass ("busy"). */
typedef struct client_offer {
    char node[EEI_NAME_BYTES_MAX + 1], tier[16];
    ee_money price, ceiling;
} client_offer;
ee_status client_quote(ee_client *client, const client_spec *spec, const ee_cancel *cancel, json_t **out, ee_error *err) EE_MUST_USE;
/* EE_E_NO_NODE with the reasons of a quote that has no offer. */
ee_status client_no_node(const json_t *quote, ee_error *err) EE_MUST_USE;
ee_status client_best_offer(ee_client *client, const client_spec *spec, const ee_cancel *cancel, client_offer *out,
                            ee_error *err) EE_MUST_USE;

typedef struct client_admission {
    char id[64], node[EEI_NAME_BYTES_MAX + 1];
    uint8_t instance_id[32], node_id[32], auth_id[16], spend_auth_hash[32];
    ee_money locked, price;
    uint64_t period_start_ms;
    eei_buf token;
    bool replayed; /* the key had been used before: this is what the first call started, and whose it is is not known */
} client_admission;
/* Sign the spend authorization and have the work admitted: credits locked, node chosen. What was admitted on other terms than were
 * authorized, or cannot be read, is withdrawn again. */
ee_status client_admit(ee_client *client, const char *path, const client_spec *spec, const client_offer *offer, const char *key,
                       const ee_cancel *cancel, client_admission *out, ee_error *err) EE_MUST_USE;
/* All of it: the best offer, the caps, the admission; and again, with a new authorization, when the node that was quoted is full by then or
 * all that could take the work are, for at most CLIENT_PLACE_MS. One key is one order however often it is authorized: what was refused
 * holds no lock, and two can never be admitted. max_cost is text, nullable; budget: the client's is to be kept. */
typedef struct client_place {
    const char *path, *key, *max_cost;
    bool budget;
    const ee_cancel *cancel;
    /* Nullable: nobody has room now; it is waited for. Not 0: the caller ends it. */
    int (*on_wait)(void *user);
    void *user;
} client_place;
/* "$0.50", or NULL for no cap. EE_E_BUDGET when the ceiling is over it. */
ee_status client_check_cap(const char *max_cost, ee_money ceiling, ee_error *err) EE_MUST_USE;
ee_status client_place_work(ee_client *client, const client_spec *spec, const client_place *place, client_admission *out,
                            ee_error *err) EE_MUST_USE;
/* Tell the control plane that admitted work is not wanted, so that its lock returns at once instead of at a deadline. One brief attempt.
 * collection: "/v1/jobs" with a job's id, "/v1/apps" with an app's name. */
void client_withdraw(ee_client *client, const char *collection, const char *name);
void client_admission_clear(client_admission *admission);
#endif
