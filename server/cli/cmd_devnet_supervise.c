/* cmd_devnet_supervise.c - the devnet's own process: brings the network up in order, watches it, takes it down. See cmd_devnet_parts.h. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "cli/cmd_devnet_parts.h"

#include <eesdk/eesdk.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { START_MS = 30000, APP_MS = 60000, ENV_MAX = 24 };

/* ---- programs -------------------------------------------------------------------------------------------------------- */

typedef struct environment {
    char *items[ENV_MAX + 1];
    size_t count;
} environment;

static void set_env(environment *env, const char *name, const char *format, const char *value) {
    char text[2 * DEVNET_PATH_MAX], item[2 * DEVNET_PATH_MAX + 64];
    EE_ASSERT(env->count < ENV_MAX);
    /* format has one %s for the value: the directory or the name */
    const char *at = strstr(format, "%s");
    if (at)
        (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - format), format, value, at + 2);
    else
        (void)snprintf(text, sizeof text, "%s", format);
    (void)snprintf(item, sizeof item, "%s=%s", name, text);
    env->items[env->count++] = eei_strdup(item);
}

static void clear_env(environment *env) {
    for (size_t i = 0; i < env->count; i++) eei_free(env->items[i]);
}

static void set_common(environment *env, const devnet *net, const char *machine) {
    char quote[2 * DEVNET_PATH_MAX];
    (void)snprintf(quote, sizeof quote, "%s/machines/%s.json", net->dir, machine);
    set_env(env, "EE_TDX_MACHINE", quote, "");
    set_env(env, "EE_POLICY", "%s/policy.toml", net->dir);
    set_env(env, "EE_READY_FD", "3", "");
    set_env(env, "EE_LOG_LEVEL", "info", "");
}

static ee_status start_program(devnet *net, const char *name, const char *program, environment *env, ee_error *err) {
    char path[DEVNET_PATH_MAX + 32];
    (void)snprintf(path, sizeof path, "%s/%s", net->bin, program);
    const char *const argv[] = {path, NULL};
    ee_status st = devnet_start(net, name, argv, (const char *const *)env->items, err);
    clear_env(env);
    return st;
}

static ee_status start_registry(devnet *net, ee_error *err) {
    char config[DEVNET_PATH_MAX + 32];
    (void)snprintf(config, sizeof config, "%s/registry.yml", net->dir);
    const char *const argv[] = {"docker-registry", "serve", config, NULL};
    return devnet_start(net, "registry", argv, NULL, err);
}

static ee_status start_control(devnet *net, ee_error *err) {
    environment env = {.count = 0};
    char port[8], attest[24];
    (void)snprintf(port, sizeof port, "%u", net->port);
    set_common(&env, net, "control");
    set_env(&env, "EE_CONTROL_BIND", "127.0.0.1", "");
    set_env(&env, "EE_CONTROL_PORT", port, "");
    set_env(&env, "EE_DB_PATH", "%s/control.db", net->dir);
    set_env(&env, "EE_GENESIS", "%s/genesis.toml", net->dir);
    set_env(&env, "EE_COLLATERAL", "%s/collateral.json", net->dir);
    set_env(&env, "EE_ADMIN_TOKEN", net->admin_token, "");
    set_env(&env, "EE_HEALTH_INTERVAL_MS", "2000", "");
    (void)snprintf(attest, sizeof attest, "%llu", (unsigned long long)net->attest_ms);
    set_env(&env, "EE_ATTEST_INTERVAL_MS", attest, "");
    return start_program(net, "control", "ee-controlplane", &env, err);
}

static ee_status start_agent(devnet *net, const char *name, ee_error *err) {
    environment env = {.count = 0};
    char dir[DEVNET_PATH_MAX + 64], ticket[DEVNET_PATH_MAX + 64];
    ee_status st = devnet_write_ticket(net, name, err);
    if (st) return st;
    set_common(&env, net, name);
    (void)snprintf(dir, sizeof dir, "%s/%s", net->sandboxes, name);
    set_env(&env, "EE_CONTROL_WS", net->url, "");
    set_env(&env, "EE_NETWORK_ID", net->network_id, "");
    set_env(&env, "EE_NODE_NAME", name, "");
    (void)snprintf(ticket, sizeof ticket, "%s/%s.ticket", net->dir, name);
    set_env(&env, "EE_NODE_TICKET", ticket, "");
    set_env(&env, "EE_RUNTIME_DIR", dir, "");
    set_env(&env, "EE_RUNTIME_SHIM", "%s/ee-shim", net->bin);
    set_env(&env, "EE_NODE_VCPUS_MILLI", "8000", "");
    set_env(&env, "EE_NODE_MEMORY_BYTES", "8589934592", "");
    return start_program(net, name, "ee-agent", &env, err);
}

static ee_status start_uptime(devnet *net, ee_error *err) {
    environment env = {.count = 0};
    ee_status st = devnet_write_ticket(net, "uptime-1", err);
    if (st) return st;
    set_common(&env, net, "uptime-1");
    set_env(&env, "EE_CONTROL_WS", net->url, "");
    set_env(&env, "EE_NETWORK_ID", net->network_id, "");
    set_env(&env, "EE_NODE_NAME", "uptime-1", "");
    set_env(&env, "EE_NODE_TICKET", "%s/uptime-1.ticket", net->dir);
    set_env(&env, "EE_HEALTH_INTERVAL_MS", "2000", "");
    return start_program(net, "uptime-1", "ee-uptime", &env, err);
}

/* The settings of the shell that said `ee devnet up` are for the network it uses: none reaches this one's programs. */
static void drop_settings(void) {
    extern char **environ;
    for (char **at = environ; *at;) {
        char name[128];
        size_t len = strcspn(*at, "=");
        if (strncmp(*at, "EE_", 3) != 0 || len >= sizeof name) {
            at++;
            continue;
        }
        (void)snprintf(name, sizeof name, "%.*s", (int)len, *at);
        (void)unsetenv(name); /* the next one has its place now */
    }
}

/* ---- the sample app -------------------------------------------------------------------------------------------------- */

static ee_status owner_client(const devnet *net, ee_client **out, ee_error *err) {
    ee_client_options options;
    ee_policy *policy = NULL;
    const char *config = getenv("XDG_CONFIG_HOME");
    char *kept = config ? eei_strdup(config) : NULL;
    ee_client_options_init(&options);
    /* What a client takes no argument for, and no profile of the user's: for this call only, not for programs that are started later. */
    (void)setenv("XDG_CONFIG_HOME", net->dir, 1);
    (void)setenv("EE_NETWORK_ID", net->network_id, 1);
    (void)setenv("EE_REGISTRY", net->registry, 1);
    ee_status st = ee_policy_parse(net->policy, "policy.toml", &policy, err);
    options.url = net->url;
    options.api_key = net->owner_key;
    options.policy = policy;
    if (!st) st = ee_client_new(&options, out, err);
    if (kept) (void)setenv("XDG_CONFIG_HOME", kept, 1);
    if (!config) (void)unsetenv("XDG_CONFIG_HOME");
    drop_settings();
    eei_free(kept);
    ee_policy_free(policy);
    return st;
}

/* Whether every node holds jobs to their memory, vcpus and pids: not without root, nor without cgroups. */
static ee_status ask_limits(ee_client *client, bool *enforced, ee_error *err) {
    char *text = NULL;
    json_t *nodes = NULL, *item;
    size_t i;
    *enforced = true;
    ee_status st = ee_client_call(client, "GET", "/v1/nodes", NULL, NULL, NULL, &text, err);
    if (!st) st = eei_json_parse(eei_span_text(text), 1 << 20, &nodes, err);
    json_array_foreach(json_object_get(nodes, "items"), i, item) {
        if (json_is_false(json_object_get(item, "limits_enforced"))) *enforced = false;
    }
    json_decref(nodes);
    ee_string_free(text);
    return st;
}

static ee_status deploy_app(const devnet *net, bool *limits, ee_error *err) {
    static const char *const command[] = {"httpd", "-f", "-p", "8080", "-h", "/www", NULL};
    ee_client *client = NULL;
    ee_deploy_options options;
    char *json = NULL;
    ee_deploy_options_init(&options);
    options.name = "app-name";
    options.image = "myapp:latest";
    options.command = command;
    options.port = 8080;
    options.vcpus = 0.5;
    options.memory_bytes = 64 << 20;
    ee_status st = owner_client(net, &client, err);
    if (!st) st = ee_app_deploy(client, &options, APP_MS, &json, err);
    if (!st) st = ask_limits(client, limits, err);
    ee_string_free(json);
    ee_client_free(client);
    return st;
}

/* ---- up and down ----------------------------------------------------------------------------------------------------- */

static ee_status bring_up(devnet *net, bool *limits, ee_error *err) {
    static const char *const agents[] = {"node-a", "node-b", "node-c", NULL};
    char layout[DEVNET_PATH_MAX];
    unsigned port = 0;
    net->registry_port = devnet_free_port(net->registry_port);
    ee_status st = devnet_write_files(net, err);
    if (!st) st = start_registry(net, err);
    if (!st) st = start_control(net, err);
    if (!st) st = devnet_make_image(net, layout, err);
    if (!st) st = devnet_wait_ready(net, "control", START_MS, &port, err);
    (void)snprintf(net->url, sizeof net->url, "https://127.0.0.1:%u", port);
    net->port = (uint16_t)port;
    for (size_t i = 0; !st && agents[i]; i++) st = start_agent(net, agents[i], err);
    if (!st) st = start_uptime(net, err);
    if (!st) st = devnet_wait_port(net, "registry", net->registry_port, START_MS, err);
    if (!st) st = devnet_stopped(net, err);
    if (!st) st = devnet_push_image(net, layout, err);
    for (size_t i = 0; !st && agents[i]; i++) st = devnet_wait_ready(net, agents[i], START_MS, NULL, err);
    if (!st) st = devnet_wait_ready(net, "uptime-1", START_MS, NULL, err);
    if (!st) st = devnet_stopped(net, err);
    if (!st) st = deploy_app(net, limits, err);
    if (!st) st = devnet_stopped(net, err);
    if (!st) st = devnet_write_children(net, err);
    if (!st) st = devnet_write_profile(net, getpid(), err);
    return st;
}

static ee_status heal(devnet *net, const char *name, ee_error *err) {
    ee_status st;
    if (strcmp(name, "registry") == 0) {
        st = start_registry(net, err);
        return st ? st : devnet_wait_port(net, name, net->registry_port, START_MS, err);
    }
    if (strcmp(name, "control") == 0)
        st = start_control(net, err);
    else
        st = strcmp(name, "uptime-1") == 0 ? start_uptime(net, err) : start_agent(net, name, err);
    return st ? st : devnet_wait_ready(net, name, START_MS, NULL, err);
}

/* What `ee devnet kill` and `heal` ask for. The answer is in children.json. */
static void obey(devnet *net, int order) {
    ee_error err = {0};
    size_t place = (size_t)order & DEVNET_PLACE;
    if (place >= net->child_count) return;
    devnet_child *child = &net->children[place];
    if (order & DEVNET_KILL) devnet_kill(child);
    ee_status st = (order & DEVNET_HEAL) && !child->pid ? heal(net, child->name, &err) : EE_OK;
    if (st) devnet_kill(child); /* one that ended is not reaped yet, one that is not ready is of no use: it can be healed again at once */
    (void)snprintf(child->failure, sizeof child->failure, "%.255s", st ? err.message : "");
    child->answered++;
    dprintf(2, "devnet: %s %s%s%s\n", order & DEVNET_KILL ? "killed" : "healed", child->name, st ? ": " : "", child->failure);
}

static void watch(devnet *net, int signals) {
    for (;;) {
        struct pollfd fd = {.fd = signals, .events = POLLIN};
        struct signalfd_siginfo info;
        if (poll(&fd, 1, -1) < 0 && errno != EINTR) return;
        if (read(signals, &info, sizeof info) != (ssize_t)sizeof info) continue;
        if (info.ssi_signo != SIGCHLD && info.ssi_signo != (unsigned)DEVNET_ORDER) return;
        if (info.ssi_signo == (unsigned)DEVNET_ORDER) obey(net, info.ssi_int);
        for (const char *name; (name = devnet_reap(net)) != NULL;) dprintf(2, "devnet: %s ended by itself\n", name);
        eei_ignored(devnet_write_children(net, NULL));
    }
}

int devnet_supervise(devnet *net, int tell_fd) {
    sigset_t set;
    bool limits = true;
    ee_error err = {0};
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    net->stop_fd = signalfd(-1, &set, SFD_CLOEXEC);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, DEVNET_ORDER);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)setsid();
    devnet_lock_name(net);
    drop_settings();
    devnet_sweep_sandboxes();
    int signals = signalfd(-1, &set, SFD_CLOEXEC);
    ee_status st = signals < 0 || net->stop_fd < 0 ? eei_fail_errno(&err, EE_E_IO, errno, "signalfd") : bring_up(net, &limits, &err);
    if (st) {
        dprintf(tell_fd, "error\t%s\t%s\t%s\n", err.word, err.message, err.hint);
    } else {
        dprintf(tell_fd, "up\t%s\t%s\t%s\n", net->url, net->registry, limits ? "limited" : "unlimited");
        close(tell_fd);
        watch(net, signals);
    }
    (void)unlink(net->file);
    devnet_stop_all(net);
    devnet_remove_sandboxes(net->sandboxes);
    /* After a failure the logs stay for whoever looks. */
    if (!st || st == EE_E_CANCELLED) eei_ignored(devnet_remove_dir(net->dir, NULL));
    eei_free(net->policy);
    return st ? 1 : 0;
}
