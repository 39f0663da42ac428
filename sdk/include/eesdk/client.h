/* client.h - the client: where it finds its network, who it is, money, lists.
 * Jobs are in jobs.h, apps in apps.h, attestation without a client in verify.h. */
#ifndef EESDK_CLIENT_H
#define EESDK_CLIENT_H

#include <eesdk/types.h>
#include <eesdk/verify.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A connection to a network under one account. Thread-safe: many threads may use one client at once. */
typedef struct ee_client ee_client;

/** One event, one line: "event=link.lost host=127.0.0.1 status=connect message=..."; no secrets, no bodies. Any thread; must not call back.
 *  @param level 0 error, 1 warning, 2 info, 3 debug */
typedef void (*ee_log_fn)(void *user, int level, const char *line);

/** Options of ee_client_new(). Fill with ee_client_options_init(), then change fields; new fields are only ever appended.
 *  A NULL or 0 field means: look it up (argument > EE_* environment > profile > running devnet), each value on its own. */
typedef struct ee_client_options {
    size_t struct_bytes;     /**< set by init, as are those of the other option structs */
    const char *profile;     /**< name in config.toml; EE_PROFILE */
    const char *url;         /**< https://host:port of the control plane; EE_URL */
    const char *api_key;     /**< "ee_sk_..."; EE_API_KEY, EE_API_KEY_FILE. A seed: it never leaves the process */
    const char *budget;      /**< "$5": ceiling over everything this client spends; EE_BUDGET */
    const ee_policy *policy; /**< borrowed until ee_client_new() returns; EE_POLICY names a file */
    uint32_t timeout_ms;     /**< one HTTP call to the control plane; default 30,000 */
    uint32_t max_retries;    /**< of calls that are safe to repeat; default 3; UINT32_MAX = none */
    ee_log_fn log;           /**< what this library does, for as long as this client lives: of every client of the process. NULL: nothing */
    void *log_user;
    const char *pccs_url; /**< a PCCS to ask for collateral before the control plane is; EE_PCCS_URL. See ee_collateral_options */
    const char *pccs_ca;  /**< EE_PCCS_CA */
} ee_client_options;

#define ee_client_options_init(options) ee_options_init((options), sizeof *(options))

/**
 * Make a client. Reads configuration; connects on first use, and verifies the control plane's attestation then.
 * @param options NULL for all defaults   @param out [out, owned] release with ee_client_free()
 * @return EE_E_CONFIG when no network is configured (the hint says how), or a file is not safe to use.
 */
EE_API EE_MUST_USE ee_status ee_client_new(const ee_client_options *options, ee_client **out, ee_error *err);
/** Close its connections. Its jobs, apps and calls are over before that, but for jobs that were detached. NULL is fine. */
EE_API void ee_client_free(ee_client *client);

/** 1 when the devnet that this client was made for has been started anew since: its calls fail from now on, make another one. Else 0, as
 * for NULL: the default client gives way to a new one by itself. */
EE_API int32_t ee_client_stale(const ee_client *client);

/** Where the values came from, as JSON: {"url": {"value": ..., "origin": "devnet file /run/..."}, ...}; secrets are masked. With the files
 * that were looked for: {"devnet_file": {"value": path, "origin": "in use" | "is not there" ...}}. Tied to the client. */
EE_API const char *ee_client_config_json(const ee_client *client);

/**
 * What ee_client_new() would use and where from, as ee_client_config_json() tells it, without making a client. Opens no connection.
 * @param options NULL for all defaults
 * @param out_json [out, owned] ee_string_free(); also set on failure, with what was found before, so that it can be shown beside the error
 */
EE_API EE_MUST_USE ee_status ee_client_config_find(const ee_client_options *options, char **out_json, ee_error *err);

/** Outcome of ee_transfer_credits(). */
typedef struct ee_transfer {
    char id[40];
    char idempotency_key[72];
    ee_money amount;
    ee_money balance_after; /**< of the sender, available */
    int32_t replayed;       /**< 1: this key had been used for the same transfer before; nothing moved again */
} ee_transfer;

/**
 * Pay another account. Moves money once for a given key, however often it is repeated.
 * @param client NULL = the default client   @param to account name   @param amount as for ee_money_parse()
 * @param memo nullable, at most 140 bytes of UTF-8   @param idempotency_key nullable: one is made; at most 64 printable ASCII
 * @param cancel nullable: when it fires after the order may have left, that is EE_E_OUTCOME_UNKNOWN; before, EE_E_CANCELLED
 * @param out [out, nullable]
 * @return EE_E_NOT_FOUND, EE_E_INVALID_AMOUNT, EE_E_LOW_BALANCE, EE_E_IDEMPOTENCY, EE_E_OUTCOME_UNKNOWN (err->idempotency_key), ...
 */
EE_API EE_MUST_USE ee_status ee_transfer_credits(ee_client *client, const char *to, const char *amount, const char *memo,
                                                 const char *idempotency_key, ee_cancel *cancel, ee_transfer *out, ee_error *err);

/** What an account has. */
typedef struct ee_balance {
    ee_money available;
    ee_money locked; /**< held for running or not yet settled work */
    char account[64];
} ee_balance;
/** Ask for this account's balance. @param client NULL = the default client   @param cancel nullable */
EE_API EE_MUST_USE ee_status ee_balance_get(ee_client *client, ee_cancel *cancel, ee_balance *out, ee_error *err);

/**
 * Call the control plane's HTTP API as this account and hand back its JSON, for lists and for what has no function of its own.
 * The request is signed, sent only to an attested control plane, and retried like any other when it is safe. A call that is the network
 * owner's (POST /v1/credits/purchase) also carries the owner's token, from EE_ADMIN_TOKEN, EE_ADMIN_TOKEN_FILE, the profile or the devnet.
 * @param method "GET", "POST", "DELETE"   @param path "/v1/nodes"   @param body_json NULL for none
 * @param idempotency_key nullable; needed by calls that move money or start work
 * @param cancel nullable: when it fires after a call with a key may have left, that is EE_E_OUTCOME_UNKNOWN
 * @param out_json [out, owned] NUL-terminated; release with ee_string_free()
 */
EE_API EE_MUST_USE ee_status ee_client_call(ee_client *client, const char *method, const char *path, const char *body_json,
                                            const char *idempotency_key, ee_cancel *cancel, char **out_json, ee_error *err);
/** Of what was handed out as "owned" text. NULL is fine. */
EE_API void ee_string_free(char *string);

/** The policy that this client judges its network by. Tied to the client. */
EE_API const ee_policy *ee_client_policy(const ee_client *client);

/** The control plane's verdict, as last checked; the first call connects. Tied to the client. @param cancel nullable */
EE_API EE_MUST_USE ee_status ee_client_attestation(ee_client *client, ee_cancel *cancel, const ee_verdict **out, ee_error *err);

/**
 * The verdict behind an EE_E_ATTESTATION of one of this client's calls: every check, of the control plane or the agent that was refused.
 * @param client the one the call was made with; NULL = the default client   @param refused that call's error
 * @param out [out, owned] release with ee_verdict_free()
 * @return EE_E_NOT_FOUND when nothing came that could be judged, or 16 refusals came after it: no more are kept.
 */
EE_API EE_MUST_USE ee_status ee_client_refused(ee_client *client, const ee_error *refused, ee_verdict **out, ee_error *err);

/** A fresh account key "ee_sk_..." and its public half in hex (64 digits + NUL). No network. */
EE_API EE_MUST_USE ee_status ee_key_generate(char api_key[80], char public_hex[65], ee_error *err);
/** Public half of an API key. EE_E_INVALID with the reason when the checksum is wrong. */
EE_API EE_MUST_USE ee_status ee_key_public(const char *api_key, char public_hex[65], ee_error *err);

#ifdef __cplusplus
}
#endif
#endif
