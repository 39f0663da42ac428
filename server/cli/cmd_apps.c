/* cmd_apps.c - `ee apps`, `ee nodes`, `ee verify`. */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPLOY_TIMEOUT_MS = 120000 };

/* ---- apps ------------------------------------------------------------------------------------------------------------ */

static int list_apps(cli *c) {
    int code = 0;
    json_t *answer = cli_call(c, "GET", "/v1/apps", NULL, NULL, &code), *item;
    size_t i;
    if (!answer) return code;
    if (c->json) {
        cli_print_json(answer);
    } else {
        cli_table table = {.columns = 6, .heads = {"APP", "STATE", "NODE", "TUNNEL", "ACCOUNT", "CREATED"}};
        json_array_foreach(json_object_get(answer, "items"), i, item) {
            const char *cells[] = {cli_text(item, "name"),    cli_text(item, "state"),
                                   cli_text(item, "node"),    json_is_true(json_object_get(item, "tunnel_up")) ? "up" : "down",
                                   cli_text(item, "account"), cli_text(item, "created_at")};
            cli_table_add(&table, cells);
        }
        cli_table_print(&table);
    }
    json_decref(answer);
    return 0;
}

static int deploy(cli *c, int argc, char **argv) {
    const char *port = NULL, *vcpus = NULL, *memory = NULL, *node = NULL, *key = NULL;
    char **rest = calloc((size_t)argc + 2, sizeof *rest), *text = NULL, *end;
    int count, code;
    const cli_option known[] = {{"--port", NULL, true, &port, NULL, NULL, 0, NULL},
                                {"--vcpus", NULL, true, &vcpus, NULL, NULL, 0, NULL},
                                {"--memory", NULL, true, &memory, NULL, NULL, 0, NULL},
                                {"--node", NULL, true, &node, NULL, NULL, 0, NULL},
                                {"--key", NULL, true, &key, NULL, NULL, 0, NULL}};
    ee_deploy_options options;
    ee_error err = {0};
    if (!rest) return 1;
    ee_deploy_options_init(&options);
    code = cli_parse(c, "apps", argc, argv, known, sizeof known / sizeof *known, rest, &count);
    if (!code && (count < 2 || (count > 2 && strcmp(rest[2], "--") != 0)))
        code = cli_usage(c, "apps", "write: ee apps deploy NAME IMAGE --port P [-- CMD...]");
    if (!code) code = cli_check_name(c, "apps", "an app", rest[0]);
    unsigned long number = !code && port ? strtoul(port, &end, 10) : 0;
    if (!code && (!port || *end || number == 0 || number > 65535)) code = cli_usage(c, "apps", "--port must be 1 to 65535");
    if (!code && vcpus) options.vcpus = strtod(vcpus, NULL);
    if (!code && memory && !cli_parse_size(memory, &options.memory_bytes))
        code = cli_usage(c, "apps", "--memory %s is not a size such as 512M", memory);
    ee_client *client = code ? NULL : cli_client(c, &code);
    if (client) {
        options.name = rest[0];
        options.image = rest[1];
        options.command = count > 3 ? (const char *const *)rest + 3 : NULL;
        options.port = (uint16_t)number;
        options.node = node;
        options.idempotency_key = key;
        if (ee_app_deploy(client, &options, DEPLOY_TIMEOUT_MS, &text, &err))
            code = cli_error(c, &err);
        else if (c->json)
            cli_print_json_text(text);
        else
            (void)printf("%s is running (try: ee curl %s/)\n", rest[0], rest[0]);
    }
    ee_string_free(text);
    free(rest);
    return code;
}

static int stop(cli *c, const char *name) {
    ee_error err = {0};
    int code = 0;
    ee_client *client = cli_client(c, &code);
    if (!client) return code;
    if (ee_app_stop(client, name, &err)) return cli_error(c, &err);
    if (c->json)
        (void)printf("{\"name\": \"%s\", \"state\": \"stopped\"}\n", name);
    else
        (void)printf("%s is stopped\n", name);
    return 0;
}

/* One object of the network: fields for people, the document with --json. */
static int show(cli *c, const char *command, const char *what, const char *name) {
    char path[128];
    int code = cli_check_name(c, command, what, name);
    if (code) return code;
    (void)snprintf(path, sizeof path, "/v1/%s/%s", command, name);
    json_t *answer = cli_call(c, "GET", path, NULL, NULL, &code);
    if (answer) cli_print_object(c, answer);
    json_decref(answer);
    return code;
}

int cmd_apps(cli *c, int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "ls", *name;
    bool shows = strcmp(verb, "show") == 0;
    if (strcmp(verb, "deploy") == 0) return deploy(c, argc - 1, argv + 1);
    if (strcmp(verb, "ls") == 0) return cli_arguments(c, "apps", argc - 1, argv + 1, 0, 0, NULL, "ee apps ls") ? 2 : list_apps(c);
    if (!shows && strcmp(verb, "stop") != 0) return cli_usage(c, "apps", "there is no `ee apps %s`", verb);
    int code = cli_arguments(c, "apps", argc - 1, argv + 1, 1, 1, &name, shows ? "ee apps show APP" : "ee apps stop APP");
    if (!code) code = cli_check_name(c, "apps", "an app", name);
    return code ? code : shows ? show(c, "apps", "an app", name) : stop(c, name);
}

/* ---- nodes ----------------------------------------------------------------------------------------------------------- */

/* Whether the machine holds jobs to what they asked for; it says so itself, once it is connected. */
static const char *limits_word(const json_t *node) {
    const json_t *enforced = json_object_get(node, "limits_enforced");
    return json_is_true(enforced) ? "enforced" : json_is_false(enforced) ? "not enforced" : "";
}

static void print_nodes(cli *c, const json_t *answer, bool eligible) {
    /* What a narrow terminal must keep stands first. */
    cli_table table = {.columns = 9,
                       .heads = {"NODE", "EFFECTIVE", "STATE", "$/vCPU-h", "TRUST", "TIER", "STAKE", "LIMITS", "ATTESTED"},
                       .right = {false, true, false, true, true, false, true, false, false}};
    json_t *item;
    size_t i;
    json_array_foreach(json_object_get(answer, "items"), i, item) {
        char price[32], effective[32], stake[32], trust[16];
        if (eligible && !json_is_true(json_object_get(item, "eligible"))) continue;
        (void)snprintf(trust, sizeof trust, "%.2f", (double)cli_number(item, "trust_ppm") / 1e6);
        const char *cells[] = {cli_text(item, "node"),
                               cli_money(item, "effective", effective),
                               cli_text(item, "state"),
                               cli_money(item, "price_per_vcpu_hour", price),
                               trust,
                               cli_text(item, "tier"),
                               cli_money(item, "stake", stake),
                               limits_word(item),
                               cli_text(item, "attested_at")};
        cli_table_add(&table, cells);
    }
    cli_table_print(&table);
    cli_talk(c, "effective = price / trust; the lowest eligible one gets the work");
}

/* Why each node gets work or does not. */
static void explain_nodes(cli *c, const json_t *answer, bool eligible) {
    cli_table table = {.columns = 4, .heads = {"NODE", "STATE", "PRICE / TRUST = EFFECTIVE", "WHY"}};
    json_t *item;
    size_t i;
    json_array_foreach(json_object_get(answer, "items"), i, item) {
        char price[32], effective[32], sum[96], why[256];
        bool is_eligible = json_is_true(json_object_get(item, "eligible"));
        if (eligible && !is_eligible) continue;
        (void)snprintf(sum, sizeof sum, "%s / %.4f = %s", cli_money(item, "price_per_vcpu_hour", price),
                       (double)cli_number(item, "trust_ppm") / 1e6, cli_money(item, "effective", effective));
        (void)snprintf(why, sizeof why, "%s%s%s", is_eligible ? "eligible" : "not eligible: ", is_eligible ? "" : cli_text(item, "reason"),
                       json_is_false(json_object_get(item, "limits_enforced")) ? "; limits are not enforced" : "");
        const char *cells[] = {cli_text(item, "node"), cli_text(item, "state"), sum, why};
        cli_table_add(&table, cells);
    }
    cli_table_print(&table);
    cli_talk(c, "the lowest effective price among the eligible gets the work; `ee run --quote` asks for a job's own needs");
}

int cmd_nodes(cli *c, int argc, char **argv) {
    static const char usage[] = "write: ee nodes [ls] [--eligible] [--explain] or ee nodes show NODE";
    bool eligible = false, explain = false;
    char **rest = calloc((size_t)argc + 2, sizeof *rest);
    int count, code;
    const cli_option known[] = {{"--eligible", NULL, false, NULL, &eligible, NULL, 0, NULL},
                                {"--explain", NULL, false, NULL, &explain, NULL, 0, NULL}};
    if (!rest) return 1;
    code = cli_parse(c, "nodes", argc, argv, known, sizeof known / sizeof *known, rest, &count);
    bool shows = !code && count == 2 && strcmp(rest[0], "show") == 0;
    if (!code && ((shows && (eligible || explain)) || (!shows && (count > 1 || (count == 1 && strcmp(rest[0], "ls") != 0)))))
        code = cli_usage(c, "nodes", "%s", usage);
    if (shows && !code) code = show(c, "nodes", "a node", rest[1]);
    free(rest);
    if (code || shows) return code;
    json_t *answer = cli_call(c, "GET", "/v1/nodes", NULL, NULL, &code);
    if (!answer) return code;
    if (c->json)
        cli_print_json(answer);
    else if (explain)
        explain_nodes(c, answer, eligible);
    else
        print_nodes(c, answer, eligible);
    json_decref(answer);
    return 0;
}

/* ---- verify ---------------------------------------------------------------------------------------------------------- */

static int tell_verdict(cli *c, const ee_verdict *verdict, const char *export_path) {
    ee_error err = {0};
    if (c->json)
        cli_print_json_text(ee_verdict_json(verdict));
    else
        (void)fputs(ee_verdict_text(verdict), stdout);
    if (export_path) {
        if (ee_verdict_export(verdict, export_path, &err)) return cli_error(c, &err);
        cli_talk(c, "wrote %s", export_path);
    }
    return ee_verdict_verified(verdict) ? 0 : ee_status_exit_code(EE_E_ATTESTATION);
}

/* What `ee verify FILE` judges by. NULL policy is production: Intel's root alone. */
typedef struct chosen_policy {
    ee_policy *policy;
    char origin[512];
} chosen_policy;

static ee_status choose_from_devnet(const char *path, chosen_policy *chosen, ee_error *err) {
    json_t *file = json_load_file(path, 0, NULL);
    ee_status st = ee_policy_parse(cli_text(file, "policy"), path, &chosen->policy, err);
    json_decref(file);
    return st;
}

/* The policy this client would judge the network by. Making a client reads configuration and checks the files' owners; it sends nothing.
 * No network configured is no failure: then it is the strictest policy there is. */
static ee_status choose_configured(cli *c, chosen_policy *chosen, ee_error *err) {
    static const char devnet[] = "devnet file ";
    ee_client_options options;
    ee_client *client = NULL;
    ee_error why = {0};
    ee_client_options_init(&options);
    options.profile = c->profile;
    options.url = c->url;
    (void)snprintf(chosen->origin, sizeof chosen->origin, "production");
    ee_status st = ee_client_new(&options, &client, &why);
    if (st && (c->profile || st != EE_E_CONFIG)) {
        *err = why;
        return st;
    }
    if (st) return EE_OK;
    json_t *config = json_loads(ee_client_config_json(client), 0, NULL);
    const json_t *used = json_object_get(config, "policy_hash");
    const char *origin = cli_text(used, "origin");
    if (strncmp(origin, devnet, sizeof devnet - 1) == 0)
        st = choose_from_devnet(origin + sizeof devnet - 1, chosen, err);
    else if (strncmp(origin, "default", 7) != 0)
        st = ee_policy_load(origin, &chosen->policy, err);
    if (!st && chosen->policy) {
        (void)snprintf(chosen->origin, sizeof chosen->origin, "%s", origin);
        if (strcmp(ee_policy_hash(chosen->policy), cli_text(used, "value")) != 0) { /* replaced between the two readings */
            err->status = st = EE_E_CONFLICT;
            (void)snprintf(err->word, sizeof err->word, "%s", ee_status_word(st));
            (void)snprintf(err->message, sizeof err->message, "the policy of %.150s changed while it was read", origin);
        }
    }
    json_decref(config);
    ee_client_free(client);
    return st;
}

/* --policy FILE or "production"; EE_POLICY; the configured client's. */
static ee_status choose_policy(cli *c, const char *named, chosen_policy *chosen, ee_error *err) {
    if (!named) named = getenv("EE_POLICY");
    if (!named || !*named) return choose_configured(c, chosen, err);
    (void)snprintf(chosen->origin, sizeof chosen->origin, "%s", named);
    return strcmp(named, "production") == 0 ? EE_OK : ee_policy_load(named, &chosen->policy, err);
}

static bool is_evidence(const char *path) {
    json_t *file = json_load_file(path, 0, NULL);
    bool is = strcmp(cli_text(file, "kind"), "easyenclave evidence") == 0;
    json_decref(file);
    return is;
}

static int verify_file(cli *c, const char *path, const char *policy_path) {
    chosen_policy chosen = {.policy = NULL};
    ee_verdict *verdict = NULL;
    ee_error err = {0};
    int code = 0;
    if (access(path, R_OK) != 0) return cli_usage(c, "verify", "%s: %s", path, strerror(errno));
    if (!is_evidence(path)) return cli_usage(c, "verify", "%s is not an evidence file (`ee verify APP --export FILE` writes one)", path);
    if (choose_policy(c, policy_path, &chosen, &err)) return cli_error(c, &err);
    cli_talk(c, "policy  %s", chosen.origin);
    ee_status st = ee_verify_file(path, chosen.policy, 0, &verdict, &err);
    if (verdict) code = tell_verdict(c, verdict, NULL);
    if (st) code = cli_error(c, &err);
    ee_verdict_free(verdict);
    ee_policy_free(chosen.policy);
    return code;
}

/* "app-name" is an app; what has a dot or a slash, or is there, is a file. */
static bool names_file(const char *what) { return strpbrk(what, "./") || access(what, F_OK) == 0; }

static int verify_app(cli *c, const char *name, const char *export_path) {
    int code = cli_check_name(c, "verify", "an app", name);
    ee_app *app = code ? NULL : cli_connect(c, name, &code);
    if (app) code = tell_verdict(c, ee_app_attestation(app), export_path);
    ee_app_free(app);
    return code;
}

static int verify_control(cli *c, const char *export_path) {
    const ee_verdict *verdict = NULL;
    ee_error err = {0};
    int code = 0;
    ee_client *client = cli_client(c, &code);
    if (!client) return code;
    return ee_client_attestation(client, &verdict, &err) ? cli_error(c, &err) : tell_verdict(c, verdict, export_path);
}

int cmd_verify(cli *c, int argc, char **argv) {
    const char *policy = NULL, *export_path = NULL;
    char **rest = calloc((size_t)argc + 2, sizeof *rest);
    bool offline = false;
    int count, code;
    const cli_option known[] = {{"--policy", NULL, true, &policy, NULL, NULL, 0, NULL},
                                {"--export", NULL, true, &export_path, NULL, NULL, 0, NULL},
                                {"--offline", NULL, false, NULL, &offline, NULL, 0, NULL}};
    if (!rest) return 1;
    code = cli_parse(c, "verify", argc, argv, known, sizeof known / sizeof *known, rest, &count);
    if (!code && count != 1) code = cli_usage(c, "verify", "write: ee verify APP, ee verify control or ee verify FILE");
    bool control = !code && strcmp(rest[0], "control") == 0, file = !code && !control && names_file(rest[0]);
    if (!code && file && export_path) code = cli_usage(c, "verify", "--export goes with an app or control; %s is a file already", rest[0]);
    if (!code && !file && (policy || offline))
        code = cli_usage(c, "verify", "%s goes with a file; \"%s\" is none", policy ? "--policy" : "--offline", rest[0]);
    if (!code)
        code = file ? verify_file(c, rest[0], policy) : control ? verify_control(c, export_path) : verify_app(c, rest[0], export_path);
    free(rest);
    return code;
}
