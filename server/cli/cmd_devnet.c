/* cmd_devnet.c - `ee devnet up|down|status|env|logs|kill|heal`: a whole network on this machine, real underneath, with simulated TDX. */
#include "base/clock.h"
#include "base/encoding.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/cmd_devnet_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DOWN_MS = 15000, ATTEST_MS = 30000, DEFAULT_PORT = 7443, HEALTH_MS = 2000, LOOK_MS = 100 /* how often a wait looks for Ctrl-C */ };

/* Whether what is typed next in this shell goes to the devnet that is up now, and if not, why. */
static void tell_use(cli *c, const char *url) {
    ee_error err = {0};
    json_t *settings = cli_settings(c, &err);
    const json_t *used = json_object_get(settings, "url");
    if (cli_uses_devnet(settings) && strcmp(cli_text(used, "value"), url) == 0 && !err.status)
        (void)printf("This shell uses it already.   Stop it with   ee devnet down\n");
    else if (err.status)
        (void)printf("This shell does not use it: %s\nUse it with   eval \"$(ee devnet env)\"\n", err.message);
    else
        (void)printf("This shell uses another network: %s (%s). Use this one with   eval \"$(ee devnet env)\"\n", cli_text(used, "value"),
                     cli_text(used, "origin"));
    json_decref(settings);
}

static int tell_up(cli *c, const devnet *net, uint64_t took_ms, const char *url, const char *registry, bool limits) {
    if (c->json) {
        json_t *value = json_pack("{s:s, s:s, s:I, s:s, s:b, s:b}", "url", url, "registry", registry, "took_ms", (json_int_t)took_ms,
                                  "profile", net->file, "simulated", 1, "limits_enforced", limits);
        cli_print_json(value);
        json_decref(value);
        return 0;
    }
    (void)printf("devnet is up in %llu.%llu s     (simulated TDX: good for trying things, keeps no secret)\n",
                 (unsigned long long)(took_ms / 1000), (unsigned long long)(took_ms % 1000 / 100));
    (void)printf("  control   %s\n  registry  %s\n", url, registry);
    (void)printf("  nodes     node-a premium $0.04/vCPU-h   node-b standard $0.036   node-c economy $0.03\n");
    (void)printf("  you       dev $1,000.00   contractor-id $0.00\n");
    (void)printf("  image     myapp:latest    app  app-name  (try: ee curl app-name/api/private)\n");
    if (!limits)
        (void)printf("Jobs are not held to their memory, vcpus and pids on these nodes: that needs %s.\n",
                     geteuid() == 0 ? "cgroups this machine does not have" : "a devnet that root started");
    tell_use(c, url);
    return 0;
}

/* All that the supervisor says, up to its end. False when Ctrl-C came first. */
static bool hear(const cli *c, int fd, char *line, size_t cap) {
    size_t len = 0;
    while (len < cap - 1) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        if (ee_cancel_fired(c->cancel)) return false;
        if (poll(&one, 1, LOOK_MS) <= 0) continue; /* a signal is looked for above */
        ssize_t n = read(fd, line + len, cap - 1 - len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        len += (size_t)n;
    }
    line[len] = 0;
    return true;
}

/* Ctrl-C: what is half made is taken away again. */
static int give_up(cli *c, pid_t supervisor) {
    ee_error err = {0};
    (void)kill(supervisor, SIGTERM);
    while (waitpid(supervisor, NULL, 0) < 0 && errno == EINTR) continue;
    eei_ignored(eei_fail(&err, EE_E_CANCELLED, "the devnet was stopped before it was up; nothing of it is left running"));
    return cli_error(c, &err);
}

/* "up\turl\tregistry\tlimited" or "error\tword\tmessage\thint" */
static int read_outcome(cli *c, const devnet *net, pid_t supervisor, int fd, uint64_t started_ms) {
    char line[2048] = "";
    if (!hear(c, fd, line, sizeof line)) return give_up(c, supervisor);
    line[strcspn(line, "\n")] = 0;
    char *save = NULL, *kind = strtok_r(line, "\t", &save), *first = strtok_r(NULL, "\t", &save), *second = strtok_r(NULL, "\t", &save),
         *third = strtok_r(NULL, "\t", &save);
    if (kind && strcmp(kind, "up") == 0 && third)
        return tell_up(c, net, eei_mono_ms() - started_ms, first, second, strcmp(third, "limited") == 0);
    ee_error err = {.status = first ? eei_status_from_word(first) : EE_E_SERVER};
    (void)snprintf(err.word, sizeof err.word, "%s", ee_status_word(err.status));
    (void)snprintf(err.message, sizeof err.message, "the devnet did not come up: %s",
                   second ? second : "its supervisor ended without a word");
    (void)snprintf(err.hint, sizeof err.hint, "%s", third ? third : "see `ee devnet logs`");
    return cli_error(c, &err);
}

static int up_already(cli *c, const devnet *net);

static int take_port(const cli *c, const char *option, const char *text, uint16_t *port) {
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (*end || text[0] < '0' || text[0] > '9' || number > 65535)
        return cli_usage(c, "devnet", "%s %s is not a port from 0 to 65535 (0 is any that is free)", option, text);
    *port = (uint16_t)number;
    return 0;
}

/* What the supervisor would have removed. Its sandboxes' path depends on its pid, so it wrote it down. */
static bool remove_leftovers(const devnet *net) {
    if (unlink(net->file) != 0) return false; /* its supervisor was not killed */
    json_t *children = devnet_read_children(net);
    devnet_remove_stale_sandboxes(cli_text(children, "sandboxes"));
    eei_ignored(devnet_remove_dir(net->dir, NULL));
    json_decref(children);
    return true;
}

typedef struct up_line {
    const char *port, *registry_port, *attest;
} up_line;

static int take_up_line(const cli *c, const up_line *line, devnet *net) {
    net->attest_ms = ATTEST_MS;
    net->port = DEFAULT_PORT;
    int code = cli_take_duration(c, "--attest-interval", line->attest, &net->attest_ms);
    if (!code && net->attest_ms < 1000) code = cli_usage(c, "devnet", "--attest-interval %s is not a time of at least 1s", line->attest);
    if (!code && line->port) code = take_port(c, "--port", line->port, &net->port);
    if (!code && line->registry_port) code = take_port(c, "--registry-port", line->registry_port, &net->registry_port);
    return code;
}

static void become_supervisor(devnet *net, int tell_fd) {
    char log[DEVNET_PATH_MAX + 32];
    (void)snprintf(log, sizeof log, "%s/supervisor.log", net->cache);
    eei_ignored(eei_make_dirs(net->cache, 0700, NULL));
    int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), null = open("/dev/null", O_RDONLY);
    if (out >= 0) (void)dup2(out, 2);
    if (out >= 0) (void)dup2(out, 1);
    if (null >= 0) (void)dup2(null, 0);
    (void)signal(SIGINT, SIG_DFL);
    _exit(devnet_supervise(net, tell_fd));
}

/* Only the default port may become another one. */
static ee_status check_ports(const up_line *line, devnet *net, ee_error *err) {
    ee_status st = line->port ? devnet_check_port("--port", net->port, err) : EE_OK;
    if (!st && line->registry_port) st = devnet_check_port("--registry-port", net->registry_port, err);
    if (!st && !line->port) net->port = devnet_free_port(net->port);
    return st;
}

static int start(cli *c, const up_line *line, devnet *net) {
    const uint64_t started = eei_mono_ms();
    int fds[2];
    ee_error err = {0};
    if (devnet_running(net)) return up_already(c, net);
    ee_status st = devnet_lock(net, &err);
    if (st == EE_E_CONFLICT && devnet_running(net)) return up_already(c, net);
    if (!st) st = check_ports(line, net, &err);
    if (!st && pipe2(fds, O_CLOEXEC) != 0) st = eei_fail_errno(&err, EE_E_IO, errno, "pipe");
    if (st) return cli_error(c, &err);
    (void)remove_leftovers(net);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        become_supervisor(net, fds[1]);
    }
    close(fds[1]);
    int code = pid < 0 ? 1 : read_outcome(c, net, pid, fds[0], started);
    close(fds[0]);
    return code;
}

static int up(cli *c, int argc, char **argv) {
    devnet *net = calloc(1, sizeof *net);
    up_line line = {0};
    char **rest = calloc((size_t)argc + 2, sizeof *rest);
    int count, code = 1;
    const cli_option known[] = {{"--port", NULL, true, &line.port, NULL, NULL, 0, NULL},
                                {"--registry-port", NULL, true, &line.registry_port, NULL, NULL, 0, NULL},
                                {"--attest-interval", NULL, true, &line.attest, NULL, NULL, 0, NULL}};
    ee_error err = {0};
    if (net && rest) code = cli_parse(c, "devnet", argc, argv, known, sizeof known / sizeof *known, rest, &count);
    if (!code && count) code = cli_usage(c, "devnet", "up takes no \"%s\"", rest[0]);
    if (!code && devnet_find_paths(net, &err)) code = cli_error(c, &err);
    if (!code) code = take_up_line(c, &line, net);
    if (!code) code = start(c, &line, net);
    free(rest);
    free(net);
    return code;
}

static int tell_down(const cli *c, const char *text) {
    (void)printf("%s\n", c->json ? "{\"running\": false}" : text);
    return 0;
}

static int down(cli *c) {
    devnet net;
    ee_error err = {0};
    if (devnet_find_paths(&net, &err)) return cli_error(c, &err);
    pid_t pid = devnet_running(&net);
    if (!pid) pid = devnet_starting(&net);
    if (!pid)
        return tell_down(c, remove_leftovers(&net) ? "no devnet is up; took away what was left of one that ended without a word"
                                                   : "no devnet is up");
    (void)kill(pid, SIGTERM);
    for (uint64_t deadline = eei_mono_ms() + DOWN_MS; kill(pid, 0) == 0 && eei_mono_ms() < deadline;) {
        (void)waitpid(pid, NULL, WNOHANG);
        (void)poll(NULL, 0, 10);
    }
    if (kill(pid, 0) == 0) {
        eei_hint(&err, eei_fail(&err, EE_E_TIMEOUT, "the devnet (process %d) did not stop within %d s", (int)pid, DOWN_MS / 1000),
                 "see `ee devnet logs`");
        return cli_error(c, &err);
    }
    return tell_down(c, "devnet is down; nothing of it is left running");
}

static bool has_ended(const json_t *children, const char *name) {
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(children, "items"), i, item) {
        if (strcmp(cli_text(item, "name"), name) == 0) return !json_is_true(json_object_get(item, "running"));
    }
    return false;
}

static int no_devnet(cli *c, const devnet *net) {
    bool stale = access(net->file, F_OK) == 0; /* its supervisor was killed: nobody took the file away */
    if (c->json)
        (void)printf("{\"running\": false, \"stale\": %s}\n", stale ? "true" : "false");
    else if (stale)
        (void)printf("the devnet of %s ended without a word; clean up with `ee devnet down`, then `ee devnet up`\n", net->file);
    else
        (void)printf("no devnet is up (start one with `ee devnet up`)\n");
    return 1;
}

/* What the control plane says of itself, soon: what is known without it must not wait. NULL and err when it says nothing. */
static json_t *ask_health(const cli *c, ee_error *err) {
    ee_client_options options;
    ee_client *client = NULL;
    char *text = NULL;
    ee_client_options_init(&options);
    options.profile = c->profile;
    options.url = c->url;
    options.timeout_ms = HEALTH_MS;
    options.max_retries = UINT32_MAX; /* none */
    ee_status st = ee_client_new(&options, &client, err);
    if (!st) st = ee_client_call(client, "GET", "/health", NULL, NULL, c->cancel, &text, err);
    json_t *health = st ? NULL : json_loads(text, 0, NULL);
    ee_string_free(text);
    ee_client_free(client);
    return health;
}

static void status_json(pid_t pid, const json_t *health, json_t *items, bool healthy, const ee_error *why) {
    json_t *document = health ? json_copy((json_t *)(uintptr_t)health) : json_object();
    json_object_set_new(document, "running", json_true());
    json_object_set_new(document, "healthy", json_boolean(healthy));
    json_object_set_new(document, "pid", json_integer(pid));
    if (items) json_object_set(document, "programs", items);
    if (why->status) json_object_set_new(document, "error", json_pack("{s:s, s:s}", "code", why->word, "message", why->message));
    cli_print_json(document);
    json_decref(document);
}

static void tell_status(cli *c, pid_t pid, const json_t *health, json_t *children, const char *ended, const ee_error *why) {
    size_t i;
    json_t *item, *items = json_object_get(children, "items");
    char line[1024];
    if (c->json) {
        status_json(pid, health, items, health && !ended[0], why);
        return;
    }
    if (health)
        (void)printf("devnet is %s (process %d): %lld agents connected, version %s\n", ended[0] ? "up in part" : "up", (int)pid,
                     cli_number(health, "agents"), cli_text(health, "version"));
    else
        (void)printf("devnet is broken (process %d): its control plane %s\n", (int)pid, why->status ? "does not answer" : "ended");
    json_array_foreach(items, i, item) {
        bool running = json_is_true(json_object_get(item, "running"));
        (void)printf("  %-10s %s  process %lld\n", cli_text(item, "name"), running ? "up   " : "ended", cli_number(item, "pid"));
    }
    if (ended[0]) (void)printf("%s ended: `ee devnet logs` may say why; `ee devnet heal` starts again what ended\n", ended);
    if (!why->status) return;
    (void)snprintf(line, sizeof line,
                   "%s: %s; `ee devnet logs control` may say why; `ee devnet kill control`, then `ee devnet heal`, start it again",
                   why->word, why->message);
    cli_fold(stdout, line, 2);
}

static int status(cli *c) {
    devnet net;
    ee_error err = {0};
    char ended[256];
    if (devnet_find_paths(&net, &err)) return cli_error(c, &err);
    pid_t pid = devnet_running(&net);
    if (!pid) return no_devnet(c, &net);
    json_t *children = devnet_read_children(&net);
    devnet_find_ended(children, ended);
    json_t *health = has_ended(children, "control") ? NULL : ask_health(c, &err);
    if (health) err.status = EE_OK; /* what was noted and got over */
    tell_status(c, pid, health, children, ended, &err);
    int code = health && !ended[0] ? 0 : 1;
    json_decref(health);
    json_decref(children);
    return code;
}

/* `up` beside a devnet that is there already: refused, with what helps when that one is broken. */
static int up_already(cli *c, const devnet *net) {
    ee_error err = {0};
    char ended[256];
    json_t *children = devnet_read_children(net);
    devnet_find_ended(children, ended);
    json_decref(children);
    if (ended[0])
        eei_hint(&err, eei_fail(&err, EE_E_CONFLICT, "a devnet is up already, but %s of it ended", ended),
                 "`ee devnet heal` starts again what ended; `ee devnet down`, then `ee devnet up`, start anew");
    else
        eei_hint(&err, eei_fail(&err, EE_E_CONFLICT, "a devnet is up already"), "`ee devnet status` shows it, `ee devnet down` stops it");
    return cli_error(c, &err);
}

/* The shell becomes `account`, NULL = the one everybody gets. */
static int env(cli *c, const char *account) {
    devnet net;
    ee_error err = {0};
    eei_buf text = EEI_BUF_INIT_SECRET(1 << 16);
    json_t *file = NULL;
    char policy[DEVNET_PATH_MAX + 16];
    if (devnet_find_paths(&net, &err)) return cli_error(c, &err);
    ee_status st = devnet_running(&net) ? EE_OK : eei_hint(&err, eei_fail(&err, EE_E_CONFIG, "no devnet is up"), "run `ee devnet up`");
    if (!st) st = eei_file_read(net.file, &text, &err);
    if (!st) st = eei_json_parse(eei_buf_span(&text), 1 << 16, &file, &err);
    if (st) {
        eei_buf_clear(&text);
        return cli_error(c, &err);
    }
    json_t *accounts = devnet_read_accounts(&net);
    const char *key = account ? cli_text(accounts, account) : cli_text(file, "api_key");
    if (!*key) {
        (void)eei_hint(&err, eei_fail(&err, EE_E_NOT_FOUND, "the devnet has no account \"%.63s\"", account),
                       "it has dev, contractor-id, app-owner and provider-a to provider-c");
        json_decref(accounts);
        json_decref(file);
        eei_buf_clear(&text);
        return cli_error(c, &err);
    }
    (void)snprintf(policy, sizeof policy, "%s/policy.toml", net.dir);
    const char *values[][2] = {{"EE_URL", cli_text(file, "url")},
                               {"EE_API_KEY", key},
                               {"EE_ADMIN_TOKEN", cli_text(file, "admin_token")},
                               {"EE_NETWORK_ID", cli_text(file, "network_id")},
                               {"EE_REGISTRY", cli_text(file, "registry")},
                               {"EE_POLICY", policy}};
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        json_object_set_new(object, values[i][0], json_string(values[i][1]));
        if (!c->json) (void)printf("export %s='%s'\n", values[i][0], values[i][1]);
    }
    if (!c->json)
        (void)printf("unset EE_PROFILE\n");
    else
        cli_print_json(object);
    json_decref(object);
    json_decref(accounts);
    json_decref(file);
    eei_buf_clear(&text);
    return 0;
}

static void print_log(cli *c, const char *path) {
    char block[16384];
    FILE *from = fopen(path, "r");
    if (!from) return;
    for (size_t n; (n = fread(block, 1, sizeof block, from)) > 0;)
        if (!cli_write_output(c, stdout, block, n)) break;
    (void)fclose(from);
}

static json_t *log_json(const char *path) {
    char block[16384];
    eei_buf text = EEI_BUF_INIT(64 << 20);
    FILE *from = fopen(path, "r");
    if (!from) return NULL;
    for (size_t n; (n = fread(block, 1, sizeof block, from)) > 0;)
        if (eei_buf_append(&text, block, n)) break;
    (void)fclose(from);
    json_t *value = json_stringn((const char *)text.data, text.len);
    eei_buf_clear(&text);
    return value ? value : json_null();
}

static int logs(cli *c, const char *who) {
    devnet net;
    ee_error err = {0};
    char path[DEVNET_PATH_MAX + 64];
    static const char *const all[] = {"control", "node-a", "node-b", "node-c", "uptime-1", "registry", NULL};
    json_t *items = json_array(), *text;
    size_t shown = 0;
    if (devnet_find_paths(&net, &err)) return cli_error(c, &err);
    for (size_t i = 0; all[i]; i++) {
        if (who && strcmp(who, all[i]) != 0) continue;
        (void)snprintf(path, sizeof path, "%s/logs/%s.log", net.dir, all[i]);
        if (access(path, R_OK) != 0) continue;
        shown++;
        if (c->json && (text = log_json(path)) != NULL) json_array_append_new(items, json_pack("{s:s, s:o}", "name", all[i], "text", text));
        if (c->json) continue;
        if (!who) (void)printf("==> %s\n", all[i]);
        print_log(c, path);
    }
    if (c->json && shown) {
        json_t *document = json_pack("{s:O}", "items", items);
        cli_print_json(document);
        json_decref(document);
    }
    json_decref(items);
    if (shown) return 0;
    if (access(net.dir, F_OK) != 0)
        return cli_error(
            c, (eei_hint(&err, eei_fail(&err, EE_E_NOT_FOUND, "no devnet is up, and none left logs"), "run `ee devnet up`"), &err));
    return cli_usage(c, "devnet", "there is no log of \"%s\"", who ? who : "it");
}

static int fault(cli *c, bool heals, int argc, char **argv) {
    devnet net;
    ee_error err = {0};
    const char *name;
    if (cli_arguments(c, "devnet", argc, argv, heals ? 0 : 1, 1, &name, heals ? "ee devnet heal [NAME]" : "ee devnet kill NAME")) return 2;
    return devnet_find_paths(&net, &err) ? cli_error(c, &err) : devnet_fault(c, &net, heals, name);
}

int cmd_devnet(cli *c, int argc, char **argv) {
    static const struct {
        const char *verb;
        int (*run)(cli *c);
    } plain[] = {{"down", down}, {"status", status}};
    const char *verb = argc > 1 ? argv[1] : "", *who;
    char usage[64];
    if (strcmp(verb, "up") == 0) return up(c, argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (strcmp(verb, plain[i].verb) != 0) continue;
        (void)snprintf(usage, sizeof usage, "ee devnet %s", verb);
        return cli_arguments(c, "devnet", argc - 1, argv + 1, 0, 0, NULL, usage) ? 2 : plain[i].run(c);
    }
    if (strcmp(verb, "env") == 0)
        return cli_arguments(c, "devnet", argc - 1, argv + 1, 0, 1, &who, "ee devnet env [ACCOUNT]") ? 2 : env(c, who);
    if (strcmp(verb, "logs") == 0)
        return cli_arguments(c, "devnet", argc - 1, argv + 1, 0, 1, &who, "ee devnet logs [WHO]") ? 2 : logs(c, who);
    if (strcmp(verb, "kill") == 0 || strcmp(verb, "heal") == 0) return fault(c, verb[0] == 'h', argc - 1, argv + 1);
    return cli_usage(c, "devnet", "write: ee devnet up, down, status, env, logs, kill or heal");
}
