/* client_internal.h - what the files of client/ share: the client's insides and its signed calls. Not public; the server never includes it.
 */
#ifndef CLIENT_INTERNAL_H
#define CLIENT_INTERNAL_H
#include "base/options.h"
#include "client/client_config.h"
#include "client/client_log.h"
#include "client/engine.h"
#include "net/collateral_supply.h"
#include "net/fetch.h"
#include "ratls/request.h"

#include <eesdk/eesdk.h>

#include <pthread.h>

enum { CLIENT_REFUSED_KEPT = 16 }; /* as client.h says */

struct ee_client {
    int refs; /* atomic: its maker, and each job that was let go of */
    client_config config;
    ee_client *before; /* of the default client: the ones it took the place of */
    eei_key *key;
    uint8_t network_id[32];
    eei_judge *judge;
    eei_fetch *api, *brief; /* brief: the api, for calls that may not take long */
    eei_supply *collateral; /* of the judge */
    client_engine *engine;
    ee_verdict *verdict;  /* of the control plane, under mutex */
    ee_verdict **retired; /* of earlier instances of the control plane: ee_client_attestation() handed them out */
    size_t retired_count;
    uint8_t control_instance[32];
    pthread_mutex_t mutex;                    /* guards: verdict, retired, control_instance, refused, refusals, spent, account */
    ee_verdict *refused[CLIENT_REFUSED_KEPT]; /* the n-th is at n modulo the size */
    uint64_t refusals;
    ee_money budget, spent;
    char account[EEI_NAME_BYTES_MAX + 1];
    client_log log;
};

enum {
    CLIENT_BRIEF_MS = 2000,
    CLIENT_PLACE_MS = 30000,           /* how long room is waited for, where all that is missing is room */
    CLIENT_RETRY_AFTER_MAX_MS = 10000, /* a server that asks for more gets its error shown instead of a caller that seems to hang */
};

/* Collateral from a PCCS, if there is one, and from a control plane, if it is not NULL. Without either: EE_E_INVALID. */
ee_status client_supply_new(const client_pccs *pccs, const char *control_url, uint32_t timeout_ms, eei_supply **out,
                            ee_error *err) EE_MUST_USE;

extern const eei_options_kind client_connect_options;

/* Another hold, given back with ee_client_free(). */
void client_ref(ee_client *client);

/* NULL = the default client, made on first use; lives until the process ends. A child of fork() gets its own. */
ee_status client_resolve(ee_client **client, ee_error *err) EE_MUST_USE;

/* What to do next about a call that failed, where only the client knows: its network is out of reach, or was started anew. */
ee_status client_explain(const ee_client *client, ee_status st, ee_error *err);

typedef struct client_call {
    const char *method, *path;
    const json_t *body;          /* nullable */
    const char *idempotency_key; /* nullable */
    bool repeatable;             /* safe to send again: GET, or carries an idempotency key the server honours */
    bool owner;                  /* for the network's owner: carries the owner's token beside the signature */
    bool lasting;                /* what it did stays done without its caller: cancelled after it was sent is EE_E_OUTCOME_UNKNOWN */
    bool brief;                  /* one attempt of at most CLIENT_BRIEF_MS, whatever `repeatable` says */
    uint64_t deadline_ms;        /* mono: of all attempts together, beside the timeout of each; 0 = none */
    const ee_cancel *cancel;
} client_call;
/* A signed call to the attested control plane; an error answer becomes err. While repeatable it retries connection faults, 429, 502, 504,
 * and 503 when its word says that it passes, with full jitter and for at most CLIENT_RETRY_AFTER_MAX_MS a time. If it may have been acted
 * on and no answer came: EE_E_OUTCOME_UNKNOWN with the key. *out: json_decref(). */
ee_status client_call_api(ee_client *client, const client_call *call, json_t **out, ee_error *err) EE_MUST_USE;
/* For eei_judge_on_refused(), of every judge that judges for this client: keeps the verdict for ee_client_refused(). */
void client_note_refused(void *client, const ee_verdict *verdict, ee_error *err);
/* Attest the control plane if that has not happened, and give its instance id. */
ee_status client_control_instance(ee_client *client, const ee_cancel *cancel, uint8_t out[32], ee_error *err) EE_MUST_USE;
/* After an order was refused: was it sealed for an instance of the control plane that is no more? Then seal it again, with the same key. */
bool client_instance_changed(ee_client *client, const ee_cancel *cancel, const uint8_t sealed_for[32]);
/* Sleep, but not through a cancel. Milliseconds from `least` to `most`, chosen at random. EE_E_CANCELLED. */
ee_status client_pause(uint64_t least_ms, uint64_t most_ms, const ee_cancel *cancel, ee_error *err) EE_MUST_USE;
ee_status client_account_name(ee_client *client, const ee_cancel *cancel, char out[EEI_NAME_BYTES_MAX + 1], ee_error *err) EE_MUST_USE;
/* Take an amount from the client's budget before it is spent; give back what was not. */
ee_status client_budget_take(ee_client *client, ee_money amount, ee_error *err) EE_MUST_USE;
void client_budget_return(ee_client *client, ee_money amount);
/* It becomes part of a request's path. what: "an app". EE_E_INVALID. */
ee_status client_check_name(const char *what, const char *name, ee_error *err) EE_MUST_USE;
ee_status client_make_key(const char *prefix, const char *given, char out[72], ee_error *err) EE_MUST_USE;
/* Facts for programs beside the message; what is too large for ee_error is left out. Takes `details`, which may be NULL. */
void client_set_details(ee_error *err, json_t *details);
ee_status client_u64(const json_t *object, const char *field, uint64_t *out, ee_error *err) EE_MUST_USE;
/* {"micros": n} of a money object. */
ee_status client_money(const json_t *object, const char *field, ee_money *out, ee_error *err) EE_MUST_USE;
ee_status client_hex(const json_t *object, const char *field, void *out, size_t len, ee_error *err) EE_MUST_USE;
ee_status client_bytes(const json_t *object, const char *field, eei_buf *out, ee_error *err) EE_MUST_USE; /* base64url */

/* Image reference -> registry, repository, tag, digest. Asks the registry itself: nobody else says what a tag means. */
typedef struct client_image {
    char repository[256], tag[129];
    uint8_t digest[32];
    bool insecure;
} client_image;
ee_status client_image_resolve(ee_client *client, const char *reference, const ee_cancel *cancel, client_image *out,
                               ee_error *err) EE_MUST_USE;

#define CLIENT_RELEASE "eesdk"
#endif
