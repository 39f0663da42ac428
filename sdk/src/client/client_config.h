/* client_config.h - where a client finds its network: argument > EE_* environment > profile > running devnet, each value on its own, and a
 * record of where each came from. Reads files, opens no connection. Called by client.c. */
#ifndef CLIENT_CONFIG_H
#define CLIENT_CONFIG_H
#include "base/encoding.h"

#include <eesdk/client.h>

enum { CLIENT_VALUE_MAX = 512 };
typedef struct client_value {
    char text[CLIENT_VALUE_MAX];
    char origin[CLIENT_VALUE_MAX]; /* "argument", "EE_URL", "profile work in /.../config.toml", "devnet file /..." */
} client_value;

/* A PCCS of one's own. cache: a folder, "" for none. */
typedef struct client_pccs {
    client_value url, ca, cache;
    bool cache_given; /* by somebody: then it must be usable */
} client_pccs;

typedef struct client_config {
    client_value url, api_key, network_id, registry, budget, admin_token, policy_origin;
    client_pccs pccs;
    client_value config_file, devnet_file; /* where files were looked for, and as origin what came of it */
    ee_policy *policy;                     /* owned */
    bool devnet;                           /* the network is the running devnet's */
    struct {                               /* its file, as it was read */
        char path[CLIENT_VALUE_MAX];
        uint64_t device, inode;
        int64_t changed_s, changed_ns;
    } devnet_seen;
    uint32_t timeout_ms, max_retries;
    char *json; /* ee_client_config_json() */
} client_config;

/* On failure too *out has what was found, with its json, to be shown or cleared. */
ee_status client_config_load(const ee_client_options *options, client_config *out, ee_error *err) EE_MUST_USE;
void client_config_clear(client_config *config);
/* The devnet that it is of was started anew: its file is another one. A file that is gone says nothing: the devnet may be coming up. */
bool client_config_stale(const client_config *config);
/* argument > EE_PCCS_* environment > default, for what needs no client. NULL: not given. */
ee_status client_pccs_load(const char *url, const char *ca, const char *cache, client_pccs *out, ee_error *err) EE_MUST_USE;
/* $XDG_RUNTIME_DIR/easyenclave/devnet.json, else ~/.local/state/easyenclave/devnet.json. */
ee_status client_devnet_path(char *out, size_t cap, ee_error *err) EE_MUST_USE;
#endif
