/* cmd_apps.c - `ee apps`, `ee curl`, `ee forward`, `ee nodes`, `ee verify`, `ee config`. */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADERS_MAX = 64, BODY_MAX = 64 << 20, DEPLOY_TIMEOUT_MS = 120000 };

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

int cmd_apps(cli *c, int argc, char **argv) {
    char path[128];
    ee_error err = {0};
    int code = 0;
    if (argc < 2 || strcmp(argv[1], "ls") == 0) return list_apps(c);
    if (strcmp(argv[1], "deploy") == 0) return deploy(c, argc - 1, argv + 1);
    if (argc != 3) return cli_usage(c, "apps", "there is no `ee apps %s` with %d arguments", argv[1], argc - 2);
    if (strcmp(argv[1], "stop") == 0) {
        ee_client *client = cli_client(c, &code);
        if (!client) return code;
        if (ee_app_stop(client, argv[2], &err)) return cli_error(c, &err);
        if (c->json)
            (void)printf("{\"name\": \"%s\", \"state\": \"stopped\"}\n", argv[2]);
        else
            (void)printf("%s is stopped\n", argv[2]);
        return 0;
    }
    if (strcmp(argv[1], "show") != 0) return cli_usage(c, "apps", "there is no `ee apps %s`", argv[1]);
    (void)snprintf(path, sizeof path, "/v1/apps/%.63s", argv[2]);
    json_t *answer = cli_call(c, "GET", path, NULL, NULL, &code);
    if (answer) cli_print_json(answer);
    json_decref(answer);
    return code;
}

/* ---- curl and forward ------------------------------------------------------------------------------------------------ */

static ee_app *connect_app(cli *c, const char *name, int *code) {
    ee_client *client = cli_client(c, code);
    ee_connect_options options;
    ee_app *app = NULL;
    ee_error err = {0};
    if (!client) return NULL;
    ee_connect_options_init(&options);
    options.cancel = c->cancel;
    if (ee_connect(client, name, &options, &app, &err)) *code = cli_error(c, &err);
    return app;
}

static int print_response(cli *c, ee_response *response, bool with_headers, const char *output) {
    ee_span body = ee_response_body(response);
    FILE *to = output ? fopen(output, "wb") : stdout;
    if (!to) return cli_usage(c, "curl", "%s: %s", output, strerror(errno));
    if (c->json) {
        json_t *headers = json_object(), *text = json_stringn((const char *)body.data, body.len);
        for (size_t i = 0; i < ee_response_header_count(response); i++)
            json_object_set_new(headers, ee_response_header_name(response, i), json_string(ee_response_header_value(response, i)));
        json_t *value =
            json_pack("{s:i, s:o, s:o}", "status", ee_response_status(response), "headers", headers, "body", text ? text : json_null());
        cli_print_json(value);
        json_decref(value);
    } else {
        if (with_headers) {
            (void)fprintf(to, "HTTP/1.1 %d\n", ee_response_status(response));
            for (size_t i = 0; i < ee_response_header_count(response); i++)
                (void)fprintf(to, "%s: %s\n", ee_response_header_name(response, i), ee_response_header_value(response, i));
            (void)fputc('\n', to);
        }
        if (output)
            (void)fwrite(body.data, 1, body.len, to);
        else
            (void)cli_write_output(c, to, body.data, body.len);
    }
    if (output)
        (void)fclose(to);
    else if (isatty(STDOUT_FILENO) && body.len && body.data[body.len - 1] != '\n')
        (void)fputc('\n', stdout);
    return ee_response_status(response) >= 400 ? 1 : 0;
}

static char *read_body(cli *c, const char *data, size_t *len, int *code) {
    FILE *from;
    char *body;
    if (data[0] != '@') {
        *len = strlen(data);
        return strdup(data);
    }
    from = strcmp(data, "@-") == 0 ? stdin : fopen(data + 1, "rb");
    body = from ? malloc(BODY_MAX) : NULL;
    if (!body)
        *code = cli_usage(c, "curl", "-d %s: %s", data, strerror(errno));
    else
        *len = fread(body, 1, BODY_MAX, from);
    if (from && from != stdin) (void)fclose(from);
    return body;
}

int cmd_curl(cli *c, int argc, char **argv) {
    const char *method = NULL, *data = NULL, *output = NULL, *headers[HEADERS_MAX + 1] = {NULL};
    size_t header_count = 0, len = 0;
    bool include = false;
    char **rest = calloc((size_t)argc + 2, sizeof *rest), name[64], *body = NULL;
    int count, code;
    const cli_option known[] = {{"--request", "-X", true, &method, NULL, NULL, 0, NULL},
                                {"--data", "-d", true, &data, NULL, NULL, 0, NULL},
                                {"--output", "-o", true, &output, NULL, NULL, 0, NULL},
                                {"--header", "-H", true, NULL, NULL, headers, HEADERS_MAX, &header_count},
                                {"--include", "-i", false, NULL, &include, NULL, 0, NULL}};
    ee_request_options options;
    ee_response *response = NULL;
    ee_error err = {0};
    if (!rest) return 1;
    ee_request_options_init(&options);
    code = cli_parse(c, "curl", argc, argv, known, sizeof known / sizeof *known, rest, &count);
    if (!code && count != 1) code = cli_usage(c, "curl", "write: ee curl APP/PATH");
    const char *slash = code ? NULL : strchr(rest[0], '/');
    if (!code) (void)snprintf(name, sizeof name, "%.*s", slash ? (int)(slash - rest[0] > 63 ? 63 : slash - rest[0]) : 63, rest[0]);
    if (!code && data) body = read_body(c, data, &len, &code);
    ee_app *app = code ? NULL : connect_app(c, name, &code);
    if (app) {
        options.headers = headers;
        options.body = (ee_span){(const uint8_t *)body, len};
        options.cancel = c->cancel;
        if (ee_app_request(app, method ? method : body ? "POST" : "GET", slash ? slash : "/", &options, &response, &err))
            code = cli_error(c, &err);
        else
            code = print_response(c, response, include, output);
    }
    ee_response_free(response);
    ee_app_free(app);
    free(body);
    free(rest);
    return code;
}

int cmd_forward(cli *c, int argc, char **argv) {
    ee_forward *forward = NULL;
    ee_error err = {0};
    int code = 0;
    char *end = NULL;
    unsigned long port = argc > 2 ? strtoul(argv[2], &end, 10) : 0;
    if (argc < 2 || argc > 3 || (end && *end) || port > 65535) return cli_usage(c, "forward", "write: ee forward APP [PORT]");
    ee_app *app = connect_app(c, argv[1], &code);
    if (!app) return code;
    if (ee_app_forward(app, (uint16_t)port, &forward, &err)) {
        code = cli_error(c, &err);
    } else {
        if (c->json)
            (void)printf("{\"url\": \"http://127.0.0.1:%u\", \"app\": \"%s\"}\n", ee_forward_port(forward), argv[1]);
        else
            (void)printf("http://127.0.0.1:%u -> %s (attested%s)     Ctrl-C to end\n", ee_forward_port(forward), argv[1],
                         ee_verdict_simulated(ee_app_attestation(app)) ? ", simulated" : "");
        (void)fflush(stdout);
        while (!ee_cancel_fired(c->cancel)) (void)poll(NULL, 0, 100);
        code = 130;
    }
    ee_forward_free(forward);
    ee_app_free(app);
    return code;
}

/* ---- nodes ----------------------------------------------------------------------------------------------------------- */

int cmd_nodes(cli *c, int argc, char **argv) {
    bool eligible = false;
    char **rest = calloc((size_t)argc + 2, sizeof *rest), path[128] = "/v1/nodes";
    int count, code;
    const cli_option known[] = {{"--eligible", NULL, false, NULL, &eligible, NULL, 0, NULL}};
    json_t *item;
    size_t i;
    if (!rest) return 1;
    code = cli_parse(c, "nodes", argc, argv, known, 1, rest, &count);
    bool show = !code && count == 2 && strcmp(rest[0], "show") == 0;
    if (!code && !show && count > 0 && strcmp(rest[0], "ls") != 0)
        code = cli_usage(c, "nodes", "write: ee nodes [ls] or ee nodes show NODE");
    if (show) (void)snprintf(path, sizeof path, "/v1/nodes/%.63s", rest[1]);
    free(rest);
    json_t *answer = code ? NULL : cli_call(c, "GET", path, NULL, NULL, &code);
    if (!answer) return code;
    if (c->json || show) {
        cli_print_json(answer);
    } else {
        cli_table table = {.columns = 8,
                           .heads = {"NODE", "TIER", "$/vCPU-h", "TRUST", "EFFECTIVE", "STATE", "STAKE", "ATTESTED"},
                           .right = {false, false, true, true, true, false, true, false}};
        json_array_foreach(json_object_get(answer, "items"), i, item) {
            char price[32], effective[32], stake[32], trust[16];
            if (eligible && !json_is_true(json_object_get(item, "eligible"))) continue;
            (void)snprintf(trust, sizeof trust, "%.2f", (double)cli_number(item, "trust_ppm") / 1e6);
            const char *cells[] = {cli_text(item, "node"),
                                   cli_text(item, "tier"),
                                   cli_money(item, "price_per_vcpu_hour", price),
                                   trust,
                                   cli_money(item, "effective", effective),
                                   cli_text(item, "state"),
                                   cli_money(item, "stake", stake),
                                   cli_text(item, "attested_at")};
            cli_table_add(&table, cells);
        }
        cli_table_print(&table);
        cli_talk(c, "effective = price / trust; the lowest eligible one gets the work");
    }
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

static int verify_file(cli *c, const char *path, const char *policy_path) {
    ee_policy *policy = NULL;
    ee_verdict *verdict = NULL;
    ee_error err = {0};
    int code = 0;
    if (policy_path && ee_policy_load(policy_path, &policy, &err)) return cli_error(c, &err);
    ee_status st = ee_verify_file(path, policy, 0, &verdict, &err);
    if (verdict) code = tell_verdict(c, verdict, NULL);
    if (st) code = cli_error(c, &err);
    ee_verdict_free(verdict);
    ee_policy_free(policy);
    return code;
}

int cmd_verify(cli *c, int argc, char **argv) {
    const char *policy = NULL, *export_path = NULL;
    char **rest = calloc((size_t)argc + 2, sizeof *rest), what[512];
    int count, code;
    const cli_option known[] = {{"--policy", NULL, true, &policy, NULL, NULL, 0, NULL},
                                {"--export", NULL, true, &export_path, NULL, NULL, 0, NULL}};
    ee_error err = {0};
    if (!rest) return 1;
    code = cli_parse(c, "verify", argc, argv, known, 2, rest, &count);
    if (!code && count != 1) code = cli_usage(c, "verify", "write: ee verify APP, ee verify control or ee verify FILE");
    if (!code) (void)snprintf(what, sizeof what, "%s", rest[0]);
    free(rest);
    if (code) return code;
    if (strcmp(what, "control") == 0) {
        const ee_verdict *verdict = NULL;
        ee_client *client = cli_client(c, &code);
        if (!client) return code;
        return ee_client_attestation(client, &verdict, &err) ? cli_error(c, &err) : tell_verdict(c, verdict, export_path);
    }
    if (strpbrk(what, "./") || access(what, F_OK) == 0) return verify_file(c, what, policy);
    ee_app *app = connect_app(c, what, &code);
    if (app) code = tell_verdict(c, ee_app_attestation(app), export_path);
    ee_app_free(app);
    return code;
}

int cmd_config(cli *c, int argc, char **argv) {
    int code = 0;
    (void)argv;
    if (argc > 2) return cli_usage(c, "config", "write: ee config show");
    ee_client *client = cli_client(c, &code);
    if (client) cli_print_json_text(ee_client_config_json(client));
    return code;
}
