/* cmd_run.c - `ee run` and `ee jobs`. Output of the job alone on stdout and stderr; everything else is talk. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENV_MAX = 1024, STDIN_MAX = 1 << 20, FILE_VALUE_MAX = 1 << 20, ENV_FILE_MAX = 4 << 20, PLATFORM_FAULT = 125 };

typedef struct env_list {
    char *items[ENV_MAX + 1]; /* owned "NAME=value", NULL-ended */
    size_t count;
} env_list;

static void env_free(env_list *env) {
    for (size_t i = 0; i < env->count; i++) {
        explicit_bzero(env->items[i], strlen(env->items[i]));
        free(env->items[i]);
    }
}

static char *read_stream(FILE *from, size_t max, size_t *len) {
    char *data = malloc(max + 2);
    if (!data) return NULL;
    *len = fread(data, 1, max + 1, from);
    data[*len] = 0;
    return data;
}

static int add_env(const cli *c, env_list *env, const char *name, size_t name_len, const char *value) {
    size_t size = name_len + strlen(value) + 2;
    if (env->count >= ENV_MAX) return cli_usage(c, "run", "more than %d environment variables", ENV_MAX);
    char *item = malloc(size);
    if (!item) return 1;
    (void)snprintf(item, size, "%.*s=%s", (int)name_len, name, value);
    env->items[env->count++] = item;
    return 0;
}

static int add_env_value(const cli *c, env_list *env, const char *name, size_t name_len, const char *data, size_t len) {
    if (len > FILE_VALUE_MAX) return cli_usage(c, "run", "-e %.*s: the value has more than %d bytes", (int)name_len, name, FILE_VALUE_MAX);
    if (strlen(data) != len) /* what is behind would be lost */
        return cli_usage(c, "run", "-e %.*s: byte %zu of the value is a NUL, which no environment can hold", (int)name_len, name,
                         strlen(data) + 1);
    return add_env(c, env, name, name_len, data);
}

/* NAME, NAME=value, NAME=@file, NAME=-. A value is never in a message. */
static int add_env_argument(const cli *c, env_list *env, const char *arg) {
    const char *equals = strchr(arg, '='), *value;
    size_t name_len = equals ? (size_t)(equals - arg) : strlen(arg), len = 0;
    if (!name_len) return cli_usage(c, "run", "-e has no name before the \"=\"");
    if (!equals) {
        value = getenv(arg);
        return value ? add_env(c, env, arg, name_len, value)
                     : cli_usage(c, "run", "%s is not set here. Use -e %s=value, -e %s=@file, or export it first", arg, arg, arg);
    }
    if (equals[1] != '@' && strcmp(equals + 1, "-") != 0) return add_env(c, env, arg, name_len, equals + 1);
    const char *path = equals[1] == '@' ? equals + 2 : "/dev/stdin";
    FILE *from = equals[1] == '@' ? fopen(path, "rb") : stdin;
    if (!from) return cli_file_error(c, "run", "-e", path);
    char *data = read_stream(from, FILE_VALUE_MAX, &len);
    int code = !data ? 1 : ferror(from) ? cli_file_error(c, "run", "-e", path) : add_env_value(c, env, arg, name_len, data, len);
    if (from != stdin) (void)fclose(from);
    if (data) explicit_bzero(data, len);
    free(data);
    return code;
}

/* One line, closed by its NUL. What is no name is refused here already, with the line's number: it may be the rest of a value. */
static int add_env_line(const cli *c, env_list *env, const char *path, unsigned number, const char *line, size_t len) {
    const char *equals = memchr(line, '=', len);
    if (!len || line[0] == '#') return 0;
    if (strlen(line) != len)
        return cli_usage(c, "run", "%s:%u: byte %zu is a NUL, which no environment can hold", path, number, strlen(line) + 1);
    size_t name_len = equals ? (size_t)(equals - line) : 0;
    size_t good = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");
    if (!name_len || good < name_len || (line[0] >= '0' && line[0] <= '9'))
        return cli_usage(c, "run", "%s:%u is not NAME=value with a name of letters, digits and _", path, number);
    return add_env(c, env, line, name_len, equals + 1);
}

static int add_env_file(const cli *c, env_list *env, const char *path) {
    size_t len = 0;
    int code = 0;
    FILE *from = fopen(path, "rb");
    if (!from) return cli_file_error(c, "run", "--env-file", path);
    char *text = read_stream(from, ENV_FILE_MAX, &len), *at = text;
    if (!text)
        code = 1;
    else if (ferror(from))
        code = cli_file_error(c, "run", "--env-file", path);
    else if (len > ENV_FILE_MAX) /* half a file would be another environment */
        code = cli_usage(c, "run", "--env-file %s has more than %d bytes", path, ENV_FILE_MAX);
    for (unsigned number = 1; !code && at < text + len; number++) {
        char *end = memchr(at, '\n', (size_t)(text + len - at)), *next = end ? end + 1 : text + len;
        if (!end) end = text + len;
        if (end > at && end[-1] == '\r') end--;
        *end = 0;
        code = add_env_line(c, env, path, number, at, (size_t)(end - at));
        at = next;
    }
    if (text) explicit_bzero(text, len);
    free(text);
    (void)fclose(from);
    return code;
}

/* ---- running --------------------------------------------------------------------------------------------------------- */

static int on_output(void *user, ee_stream_id stream, uint64_t seq, const void *data, size_t len) {
    const cli *c = user;
    (void)seq;
    /* Nobody reads any more: the job ends too, and what it has not used is not billed. */
    return c->json || cli_write_output(c, stream == EE_STDOUT ? stdout : stderr, data, len) ? 0 : 1;
}

static int on_progress(void *user, const char *phase, uint64_t done, uint64_t total, const char *message) {
    const cli *c = user;
    (void)done;
    (void)total;
    if (!isatty(STDERR_FILENO)) return 0;
    if (strcmp(phase, "attesting") == 0) cli_talk(c, "attesting %s", message);
    return 0;
}

static json_t *result_json(const ee_result *result) {
    ee_span out = ee_result_output(result, EE_STDOUT), err = ee_result_output(result, EE_STDERR);
    char cost[32];
    json_t *out_text = json_stringn((const char *)out.data, out.len), *err_text = json_stringn((const char *)err.data, err.len);
    json_t *value = json_pack("{s:s, s:i, s:s, s:s, s:s, s:{s:s, s:I}, s:b, s:o, s:o}", "job_id", ee_result_job_id(result), "exit_code",
                              ee_result_exit_code(result), "reason", ee_result_reason(result), "image_digest",
                              ee_result_image_digest(result), "node", ee_result_node(result), "cost", "usd",
                              ee_money_format(ee_result_cost(result), cost) + 1, "micros", (json_int_t)ee_result_cost(result), "truncated",
                              ee_result_truncated(result), "receipt", json_loads(ee_result_receipt_json(result), 0, NULL), "attestation",
                              json_loads(ee_verdict_json(ee_result_attestation(result)), 0, NULL));
    /* Bytes that are not UTF-8 cannot stand in JSON: then there is null, and the bytes come without --json. */
    json_object_set_new(value, "stdout", out_text ? out_text : json_null());
    json_object_set_new(value, "stderr", err_text ? err_text : json_null());
    return value;
}

static void tell_result(const cli *c, const ee_result *result) {
    char cost[32], back[32];
    if (c->json) {
        json_t *value = result_json(result);
        cli_print_json(value);
        json_decref(value);
        return;
    }
    cli_talk(c, "done  exit %d  %s  on %s  cost %s  refunded %s%s", ee_result_exit_code(result), ee_result_reason(result),
             ee_result_node(result), ee_money_format(ee_result_cost(result), cost),
             ee_money_format(ee_result_locked(result) - ee_result_cost(result), back),
             ee_verdict_simulated(ee_result_attestation(result)) ? "  (attested, simulated)" : "  (attested)");
}

static int print_quote(cli *c, ee_client *client, const ee_job_options *options) {
    ee_error err = {0};
    char *text = NULL;
    if (ee_job_quote(client, options, &text, &err)) return cli_error(c, &err);
    json_t *quote = json_loads(text, 0, NULL), *item, *why;
    const char *node;
    size_t i;
    if (c->json) {
        cli_print_json(quote);
    } else {
        cli_table table = {.columns = 6,
                           .heads = {"NODE", "TIER", "$/vCPU-h", "TRUST", "EFFECTIVE", "THIS JOB, AT MOST"},
                           .right = {false, false, true, true, true, true}};
        json_array_foreach(json_object_get(quote, "items"), i, item) {
            char price[32], effective[32], ceiling[32], trust[16];
            (void)snprintf(trust, sizeof trust, "%.2f", (double)cli_number(item, "trust_ppm") / 1e6);
            const char *cells[] = {cli_text(item, "node"),
                                   cli_text(item, "tier"),
                                   cli_money(item, "price_per_vcpu_hour", price),
                                   trust,
                                   cli_money(item, "effective", effective),
                                   cli_money(item, "ceiling", ceiling)};
            cli_table_add(&table, cells);
        }
        cli_table_print(&table);
        json_object_foreach(json_object_get(quote, "rejected"), node, why)(void)
            printf("-- not eligible: %s (%s)\n", node, json_string_value(why));
    }
    json_decref(quote);
    ee_string_free(text);
    return 0;
}

/* A platform fault is 125 whatever its kind, but for what the caller got wrong or has not. */
static int fault_code(ee_status status) {
    int code = ee_status_exit_code(status);
    return status == EE_E_INVALID || status == EE_E_INVALID_AMOUNT || status == EE_E_LIMIT || status == EE_E_NOT_FOUND ||
                   status == EE_E_CONFIG || status == EE_E_AUTH || status == EE_E_LOW_BALANCE || status == EE_E_BUDGET ||
                   status == EE_E_CANCELLED || status == EE_E_JOB_TIMEOUT
               ? code
               : PLATFORM_FAULT;
}

static int run_job(cli *c, ee_client *client, ee_job_options *options) {
    ee_result *result = NULL;
    ee_error err = {0};
    options->on_output = on_output;
    options->on_progress = on_progress;
    options->user = c;
    options->cancel = c->cancel;
    ee_status st = ee_run_private_job(client, options, &result, &err);
    int code = 0;
    if (st) {
        if (!ferror(stdout) && !ferror(stderr)) (void)cli_error(c, &err); /* else the job was cancelled for that, and main tells it */
        code = fault_code(st);
    } else {
        code = ee_result_exit_code(result);
    }
    if (result && (!st || !c->json)) tell_result(c, result);
    ee_result_free(result);
    return code;
}

static int fill_options(cli *c, ee_job_options *options, const char *vcpus, const char *memory, const char *timeout) {
    char *end;
    if (vcpus) {
        options->vcpus = strtod(vcpus, &end);
        if (*end || !(options->vcpus > 0)) return cli_usage(c, "run", "--vcpus %s is not a number above 0", vcpus);
    }
    if (memory && !cli_parse_size(memory, &options->memory_bytes))
        return cli_usage(c, "run", "--memory %s is not a size such as 512M", memory);
    if (timeout && (!cli_parse_duration(timeout, &options->timeout_ms) || !options->timeout_ms))
        return cli_usage(c, "run", "--timeout %s is not a time such as 10m", timeout);
    return 0;
}

int cmd_run(cli *c, int argc, char **argv) {
    const char *vcpus = NULL, *memory = NULL, *timeout = NULL, *max_cost = NULL, *node = NULL, *key = NULL, *env_file = NULL,
               *env_args[ENV_MAX + 1] = {NULL};
    size_t env_arg_count = 0, stdin_len = 0;
    bool use_stdin = false, quote = false;
    env_list *env = calloc(1, sizeof *env);
    char **rest = calloc((size_t)argc + 2, sizeof *rest), *stdin_data = NULL;
    int rest_count, code;
    const cli_option known[] = {
        {"--vcpus", NULL, true, &vcpus, NULL, NULL, 0, NULL},       {"--memory", NULL, true, &memory, NULL, NULL, 0, NULL},
        {"--timeout", NULL, true, &timeout, NULL, NULL, 0, NULL},   {"--max-cost", NULL, true, &max_cost, NULL, NULL, 0, NULL},
        {"--node", NULL, true, &node, NULL, NULL, 0, NULL},         {"--key", NULL, true, &key, NULL, NULL, 0, NULL},
        {"--env-file", NULL, true, &env_file, NULL, NULL, 0, NULL}, {"--env", "-e", true, NULL, NULL, env_args, ENV_MAX, &env_arg_count},
        {"--stdin", "-i", false, NULL, &use_stdin, NULL, 0, NULL},  {"--quote", NULL, false, NULL, &quote, NULL, 0, NULL},
        {"--raw", NULL, false, NULL, &c->raw, NULL, 0, NULL},
    };
    if (!env || !rest) {
        free(env);
        free(rest);
        return 1;
    }
    code = cli_parse(c, "run", argc, argv, known, sizeof known / sizeof *known, rest, &rest_count);
    ee_job_options options;
    ee_job_options_init(&options);
    if (!code && rest_count < 1) code = cli_usage(c, "run", "the image is missing");
    if (!code && rest_count > 1 && strcmp(rest[1], "--") != 0)
        code = cli_usage(c, "run", "put -- before the command: ee run %s -- %s ...", rest[0], rest[1]);
    if (!code && rest_count == 2) code = cli_usage(c, "run", "there is no command after --");
    if (!code) code = fill_options(c, &options, vcpus, memory, timeout);
    for (size_t i = 0; !code && i < env_arg_count; i++) code = add_env_argument(c, env, env_args[i]);
    if (!code && env_file) code = add_env_file(c, env, env_file);
    if (!code && use_stdin) {
        stdin_data = read_stream(stdin, STDIN_MAX, &stdin_len);
        if (!stdin_data || stdin_len > STDIN_MAX) code = cli_usage(c, "run", "standard input has more than %d bytes", STDIN_MAX);
    }
    ee_client *client = code ? NULL : cli_client(c, &code);
    if (client) {
        options.image = rest[0];
        options.command = rest_count > 2 ? (const char *const *)rest + 2 : NULL;
        options.env = (const char *const *)env->items;
        options.stdin_data = stdin_data;
        options.stdin_bytes = stdin_len;
        options.max_cost = max_cost;
        options.node = node;
        options.idempotency_key = key;
        code = quote ? print_quote(c, client, &options) : run_job(c, client, &options);
    }
    env_free(env);
    free(env);
    free(rest);
    free(stdin_data);
    return code;
}

/* ---- jobs ------------------------------------------------------------------------------------------------------------ */

static void print_jobs(const json_t *answer) {
    /* What a narrow terminal must keep stands first; an id is long. */
    cli_table table = {.columns = 6,
                       .heads = {"STATE", "NODE", "CHARGED", "JOB", "REASON", "CREATED"},
                       .right = {false, false, true, false, false, false}};
    json_t *item;
    size_t i;
    json_array_foreach(json_object_get(answer, "items"), i, item) {
        char charged[32];
        const char *cells[] = {cli_text(item, "state"), cli_text(item, "node"),   cli_money(item, "charged", charged),
                               cli_text(item, "id"),    cli_text(item, "reason"), cli_text(item, "created_at")};
        cli_table_add(&table, cells);
    }
    cli_table_print(&table);
}

int cmd_jobs(cli *c, int argc, char **argv) {
    char path[128] = "/v1/jobs", usage[64];
    int code = 0;
    const char *verb = argc > 1 ? argv[1] : "ls", *id = NULL;
    bool lists = strcmp(verb, "ls") == 0, cancels = strcmp(verb, "cancel") == 0;
    if (!lists && !cancels && strcmp(verb, "show") != 0) return cli_usage(c, "jobs", "there is no `ee jobs %s`", verb);
    (void)snprintf(usage, sizeof usage, "ee jobs %s%s", verb, lists ? "" : " ID");
    if (cli_arguments(c, "jobs", argc - 1, argv + 1, lists ? 0 : 1, lists ? 0 : 1, &id, usage)) return 2;
    if (id && cli_check_name(c, "jobs", "a job", id)) return 2;
    if (id) (void)snprintf(path, sizeof path, "/v1/jobs/%s", id);
    json_t *answer = cli_call(c, cancels ? "DELETE" : "GET", path, NULL, NULL, &code);
    if (!answer) return code;
    if (lists && !c->json)
        print_jobs(answer);
    else
        cli_print_object(c, answer);
    json_decref(answer);
    return 0;
}
