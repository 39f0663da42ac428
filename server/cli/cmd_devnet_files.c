/* cmd_devnet_files.c - what a devnet's programs and clients read: trust root, machines, collateral, policy, genesis, keys, profile.
 * Everything is below one directory of the user's (0700). See cmd_devnet_parts.h. */
#include "attest/statement.h"
#include "attest/ticket.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/home_config.h"
#include "base/limits.h"
#include "cli/cmd_devnet_parts.h"
#include "common/genesis.h"
#include "ratls/request.h"
#include "simtdx/simtdx.h"

#include <eesdk/eesdk.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PERIOD_MS = 3600000 };
#define UPTIME        "uptime-1"
#define ACCOUNTS_FILE "accounts.json"

typedef struct node_seed {
    const char *name, *provider, *tier, *price, *stake, *required;
} node_seed;
static const node_seed nodes[DEVNET_NODES] = {
    {"node-a", "provider-a", "premium", "$0.04", "$100", "$100"},
    {"node-b", "provider-b", "standard", "$0.036", "$50", "$10"},
    {"node-c", "provider-c", "economy", "$0.03", "$10", "$1"},
};
static const char *const machines[] = {"control", "node-a", "node-b", "node-c", UPTIME, NULL};

/* ---- paths ----------------------------------------------------------------------------------------------------------- */

ee_status devnet_find_paths(devnet *net, ee_error *err) {
    enum { CAP = DEVNET_PATH_MAX - 160 }; /* there are files below them */
    memset(net, 0, sizeof *net);
    net->stop_fd = -1;
    ee_status st = eei_runtime_path(net->file, CAP, EEI_DEVNET_FILE, err);
    if (!st) st = eei_runtime_path(net->dir, CAP, "easyenclave/devnet", err);
    if (!st) st = eei_runtime_path(net->lock, CAP, "easyenclave/devnet.lock", err);
    if (!st) st = eei_home_path(net->cache, CAP, "XDG_CACHE_HOME", ".cache", "easyenclave/devnet", err);
    /* A sandbox's root is another user outside, who must be able to walk to its files; below the caller's 0700 directories it could not.
     * Without root it is the caller, and everything stays in one place. */
    if (geteuid() == 0)
        (void)snprintf(net->sandboxes, sizeof net->sandboxes, DEVNET_SANDBOXES "%d", (int)getpid());
    else
        (void)snprintf(net->sandboxes, sizeof net->sandboxes, "%.480s/sandboxes", net->dir);
    ssize_t n = st ? 0 : readlink("/proc/self/exe", net->bin, sizeof net->bin - 1);
    if (!st && n <= 0) return eei_fail_errno(err, EE_E_IO, errno, "/proc/self/exe");
    if (st) return st;
    net->bin[n] = 0;
    *strrchr(net->bin, '/') = 0;
    return EE_OK;
}

/* ---- trust ----------------------------------------------------------------------------------------------------------- */

static ee_status save(const devnet *net, const char *name, ee_span data, ee_error *err) {
    char path[DEVNET_PATH_MAX + 64];
    (void)snprintf(path, sizeof path, "%s/%s", net->dir, name);
    return eei_file_write_atomic(path, data, 0600, err);
}

static ee_status write_machines(devnet *net, const simtdx_root *root, ee_error *err) {
    ee_status st = EE_OK;
    for (size_t i = 0; !st && machines[i]; i++) {
        char path[DEVNET_PATH_MAX + 64];
        simtdx_machine *machine = NULL;
        (void)snprintf(path, sizeof path, "%s/machines/%s.json", net->dir, machines[i]);
        st = simtdx_machine_new(root, machines[i], &machine, err);
        if (!st) st = simtdx_machine_save(machine, path, err);
        if (!st) eei_hex_encode(eei_span(simtdx_machine_piid(machine), 16), net->machine_ids[i]);
        simtdx_machine_free(machine);
    }
    return st;
}

static ee_status write_trust(devnet *net, ee_error *err) {
    simtdx_root *root = NULL;
    eei_buf collateral = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX), policy = EEI_BUF_INIT(1 << 16);
    ee_status st = simtdx_root_new(eei_wall_ms() / 1000, &root, err);
    if (!st) st = simtdx_root_collateral(root, &collateral, err);
    if (!st) st = simtdx_policy_toml(root, &policy, err);
    if (!st) st = save(net, "collateral.json", eei_buf_span(&collateral), err);
    if (!st) st = save(net, "policy.toml", eei_buf_span(&policy), err);
    if (!st) st = write_machines(net, root, err);
    if (!st && !eei_buf_cstr(&policy)) st = eei_nomem(err);
    if (!st) net->policy = (char *)eei_take(&policy.data);
    simtdx_root_free(root);
    eei_buf_clear(&collateral);
    eei_buf_clear(&policy);
    return st;
}

/* ---- genesis --------------------------------------------------------------------------------------------------------- */

static ee_status add_account(eei_buf *text, json_t *accounts, const char *name, const char *kind, const char *credits, char key[80],
                             ee_error *err) {
    char api_key[80], public_hex[65];
    ee_status st = ee_key_generate(api_key, public_hex, err);
    if (st) return st;
    if (eei_buf_printf(text, "\n[[account]]\nname = \"%s\"\npublic_key = \"%s\"\nkind = \"%s\"\n", name, public_hex, kind) ||
        (credits && eei_buf_printf(text, "credits = \"%s\"\n", credits)))
        st = eei_nomem(err);
    if (json_object_set_new(accounts, name, json_string(api_key))) st = eei_nomem(err);
    if (key) memcpy(key, api_key, sizeof api_key);
    eei_wipe(api_key, sizeof api_key);
    return st;
}

static ee_status write_genesis(devnet *net, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(1 << 16);
    eei_buf keys = EEI_BUF_INIT_SECRET(1 << 14);
    json_t *accounts = json_object();
    uint8_t salt[32], id[32];
    char hex[65];
    ee_status st = accounts ? eei_random(salt, sizeof salt, err) : eei_nomem(err);
    eei_hex_encode(eei_span(salt, sizeof salt), hex);
    genesis_network_id("devnet", true, PERIOD_MS, salt, id);
    eei_hex_encode(eei_span(id, sizeof id), net->network_id);
    if (!st &&
        eei_buf_printf(
            &text,
            "# A devnet: simulated machines, credits from nowhere.\nnetwork = \"devnet\"\nsandbox = true\nperiod_ms = %d\nsalt = \"%s\"\n",
            PERIOD_MS, hex))
        st = eei_nomem(err);
    if (!st) st = add_account(&text, accounts, "dev", "user", "$1000", net->dev_key, err);
    if (!st) st = add_account(&text, accounts, "contractor-id", "user", NULL, NULL, err);
    if (!st) st = add_account(&text, accounts, "app-owner", "user", "$1000", net->owner_key, err);
    for (size_t i = 0; !st && i < DEVNET_NODES; i++)
        st = add_account(&text, accounts, nodes[i].provider, "provider", "$1000", net->provider_keys[i], err);
    for (size_t i = 0; !st && i < DEVNET_NODES; i++)
        if (eei_buf_printf(&text,
                           "\n[[node]]\nname = \"%s\"\nprovider = \"%s\"\ntier = \"%s\"\nprice = \"%s\"\nvcpus_milli = 8000\nmemory_bytes "
                           "= 8589934592\nstake = \"%s\"\nstake_required = \"%s\"\nmachine = \"%s\"\n",
                           nodes[i].name, nodes[i].provider, nodes[i].tier, nodes[i].price, nodes[i].stake, nodes[i].required,
                           net->machine_ids[i + 1]))
            st = eei_nomem(err);
    if (!st && eei_buf_printf(&text, "\n[[uptime_server]]\nname = \"%s\"\nprovider = \"%s\"\nmachine = \"%s\"\n", UPTIME, nodes[0].provider,
                              net->machine_ids[DEVNET_NODES + 1]))
        st = eei_nomem(err);
    if (!st) st = save(net, "genesis.toml", eei_buf_span(&text), err);
    if (!st) st = eei_json_dump(accounts, &keys, err);
    if (!st) st = save(net, ACCOUNTS_FILE, eei_buf_span(&keys), err);
    json_decref(accounts);
    eei_buf_clear(&text);
    eei_buf_clear(&keys);
    return st;
}

/* Place in `machines`; 0 is the control plane. */
static size_t place_of(const char *name) {
    size_t i = 1;
    while (machines[i] && strcmp(machines[i], name) != 0) i++;
    return i;
}

ee_status devnet_write_ticket(const devnet *net, const char *name, ee_error *err) {
    const ee_span release = eei_span_text(ee_version());
    eei_ticket ticket = {.releases = {(void *)(uintptr_t)&release, 1}, .not_after_ms = eei_wall_ms() + EEI_TICKET_LIFE_MAX_MS};
    eei_buf text = EEI_BUF_INIT(2 * EEI_TICKET_BYTES_MAX);
    char file[64];
    size_t place = place_of(name);
    bool uptime = strcmp(name, UPTIME) == 0;
    eei_key *key = NULL;
    ee_status st = eei_api_key_load(net->provider_keys[uptime ? 0 : place - 1], &key, err);
    if (!st) st = eei_hex_decode(net->network_id, ticket.network_id, 32, err);
    if (!st) st = eei_hex_decode(net->machine_ids[place], ticket.machine_id, 16, err);
    if (!st) st = eei_random(ticket.serial, sizeof ticket.serial, err);
    ticket.role = uptime ? EEI_ROLE_UPTIME : EEI_ROLE_AGENT;
    if (!st) st = eei_ticket_line(key, name, &ticket, &text, err);
    (void)snprintf(file, sizeof file, "%s.ticket", name);
    if (!st) st = save(net, file, eei_buf_span(&text), err);
    eei_key_free(key);
    eei_buf_clear(&text);
    return st;
}

static ee_status write_registry_config(const devnet *net, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(4096);
    ee_status st =
        eei_buf_printf(
            &text,
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: %s/registry\nhttp:\n  addr: 127.0.0.1:%u\n",
            net->cache, net->registry_port)
            ? eei_nomem(err)
            : EE_OK;
    if (!st) st = save(net, "registry.yml", eei_buf_span(&text), err);
    eei_buf_clear(&text);
    return st;
}

ee_status devnet_write_files(devnet *net, ee_error *err) {
    char path[DEVNET_PATH_MAX + 32], parent[DEVNET_PATH_MAX];
    uint8_t token[32];
    (void)snprintf(parent, sizeof parent, "%s", net->dir);
    *strrchr(parent, '/') = 0;
    ee_status st = eei_make_dirs(parent, 0700, err);
    if (!st) st = devnet_remove_dir(net->dir, err);
    (void)snprintf(path, sizeof path, "%s/machines", net->dir);
    if (!st) st = eei_make_dirs(path, 0700, err);
    (void)snprintf(path, sizeof path, "%s/logs", net->dir);
    if (!st) st = eei_make_dirs(path, 0700, err);
    if (!st) st = devnet_make_sandboxes(net, err);
    (void)snprintf(path, sizeof path, "%s/registry", net->cache);
    if (!st) st = eei_make_dirs(path, 0700, err);
    if (!st && (chmod(parent, 0700) != 0 || chmod(net->dir, 0700) != 0)) st = eei_fail_errno(err, EE_E_IO, errno, "%s", net->dir);
    if (!st) st = write_trust(net, err);
    if (!st) st = write_genesis(net, err);
    if (!st) st = eei_random(token, sizeof token, err);
    eei_hex_encode(eei_span(token, sizeof token), net->admin_token);
    if (!st) st = write_registry_config(net, err);
    (void)snprintf(net->registry, sizeof net->registry, "http://127.0.0.1:%u", net->registry_port);
    return st;
}

/* ---- profile --------------------------------------------------------------------------------------------------------- */

ee_status devnet_write_profile(const devnet *net, pid_t pid, ee_error *err) {
    eei_buf text = EEI_BUF_INIT_SECRET(1 << 16);
    json_t *file = json_pack("{s:i, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "version", 1, "pid", (json_int_t)pid, "url", net->url,
                             "network", "devnet", "network_id", net->network_id, "account", "dev", "api_key", net->dev_key, "admin_token",
                             net->admin_token, "policy", net->policy, "registry", net->registry);
    ee_status st = file ? eei_json_dump(file, &text, err) : eei_nomem(err);
    if (!st) st = eei_file_write_atomic(net->file, eei_buf_span(&text), 0600, err);
    json_decref(file);
    eei_buf_clear(&text);
    return st;
}

ee_status devnet_write_children(const devnet *net, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(1 << 14);
    json_t *items = json_array(), *file = json_pack("{s:O, s:s}", "items", items, "sandboxes", net->sandboxes);
    for (size_t i = 0; i < net->child_count; i++) {
        const devnet_child *child = &net->children[i];
        json_array_append_new(items,
                              json_pack("{s:s, s:I, s:b, s:I, s:s}", "name", child->name, "pid", (json_int_t)child->started_as, "running",
                                        child->pid != 0, "answered", (json_int_t)child->answered, "failure", child->failure));
    }
    ee_status st = file && json_array_size(items) == net->child_count ? eei_json_dump(file, &text, err) : eei_nomem(err);
    if (!st) st = save(net, "children.json", eei_buf_span(&text), err);
    json_decref(file);
    json_decref(items);
    eei_buf_clear(&text);
    return st;
}

static json_t *read_private(const devnet *net, const char *name) {
    char path[DEVNET_PATH_MAX + 32];
    eei_buf text = EEI_BUF_INIT_SECRET(1 << 14);
    json_t *file = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", net->dir, name);
    if (eei_file_check_private(path, NULL) == EE_OK && eei_file_read(path, &text, NULL) == EE_OK)
        eei_ignored(eei_json_parse(eei_buf_span(&text), 1 << 14, &file, NULL));
    eei_buf_clear(&text);
    return file;
}

json_t *devnet_read_children(const devnet *net) { return read_private(net, "children.json"); }
json_t *devnet_read_accounts(const devnet *net) { return read_private(net, ACCOUNTS_FILE); }

bool devnet_is_supervisor(pid_t pid) {
    char link[64], mine[DEVNET_PATH_MAX], theirs[DEVNET_PATH_MAX];
    (void)snprintf(link, sizeof link, "/proc/%d/exe", (int)pid);
    ssize_t n = readlink("/proc/self/exe", mine, sizeof mine - 1), m = readlink(link, theirs, sizeof theirs - 1);
    if (n <= 0 || m <= 0) return false;
    mine[n] = theirs[m] = 0;
    const char *a = strrchr(mine, '/'), *b = strrchr(theirs, '/');
    return strncmp(a, b, 3) == 0 && (b[3] == 0 || b[3] == ' '); /* "/ee", or "/ee (deleted)" after a rebuild */
}

pid_t devnet_running(const devnet *net) {
    eei_buf text = EEI_BUF_INIT_SECRET(1 << 16);
    json_t *file = NULL;
    pid_t pid = 0;
    if (eei_file_check_private(net->file, NULL) == EE_OK && eei_file_read(net->file, &text, NULL) == EE_OK &&
        eei_json_parse(eei_buf_span(&text), 1 << 16, &file, NULL) == EE_OK)
        pid = (pid_t)json_integer_value(json_object_get(file, "pid"));
    json_decref(file);
    eei_buf_clear(&text);
    return pid > 1 && kill(pid, 0) == 0 && devnet_is_supervisor(pid) ? pid : 0;
}
