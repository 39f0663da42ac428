/* cmd_apps.c - `ee apps`, `ee nodes`. */
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
    json_t *answer = cli_list(c, "/v1/apps", &code), *item;
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
    if (!code) code = cli_take_vcpus(c, "apps", vcpus, &options.vcpus);
    if (!code) code = cli_take_size(c, "--memory", memory, &options.memory_bytes);
    ee_client *client = code ? NULL : cli_client(c, &code);
    if (client) {
        options.name = rest[0];
        options.image = rest[1];
        options.command = count > 3 ? (const char *const *)rest + 3 : NULL;
        options.port = (uint16_t)number;
        options.node = node;
        options.idempotency_key = key;
        options.cancel = c->cancel;
        cli_talk(c, "deploying %s: waiting until port %lu answers (Ctrl-C ends the wait, not the app)", rest[0], number);
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
    if (ee_app_stop(client, name, c->cancel, &err)) return cli_error(c, &err);
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
