/* cmd_run.c - `ee run`: a private job. Its output alone on stdout and stderr; everything else is talk. */
#include "cli/job_env.h"
#include "cli/progress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STDIN_MAX = 1 << 20, PLATFORM_FAULT = 125, RECEIPT_SHOWN = 12 };

typedef struct running {
    cli *c;
    progress progress;
    uint64_t since_ms;
} running;

static int on_output(void *user, ee_stream_id stream, uint64_t seq, const void *data, size_t len) {
    running *r = user;
    (void)seq;
    if (r->c->json) return 0;
    progress_clear(&r->progress);
    /* Nobody reads any more: the job ends too, and what it has not used is not billed. */
    return cli_write_output(r->c, stream == EE_STDOUT ? stdout : stderr, data, len) ? 0 : 1;
}

static int on_progress(void *user, const char *phase, uint64_t done, uint64_t total, const char *message) {
    running *r = user;
    progress_show(&r->progress, cli_clock_ms(), phase, done, total, message);
    return 0;
}

static json_t *result_json(const ee_result *result, uint64_t took_ms) {
    char cost[32];
    json_t *value =
        json_pack("{s:s, s:i, s:s, s:s, s:s, s:{s:s, s:I}, s:I, s:b, s:o, s:o}", "job_id", ee_result_job_id(result), "exit_code",
                  ee_result_exit_code(result), "reason", ee_result_reason(result), "image_digest", ee_result_image_digest(result), "node",
                  ee_result_node(result), "cost", "usd", ee_money_format(ee_result_cost(result), cost) + 1, "micros",
                  (json_int_t)ee_result_cost(result), "took_ms", (json_int_t)took_ms, "truncated", ee_result_truncated(result), "receipt",
                  json_loads(ee_result_receipt_json(result), 0, NULL), "attestation",
                  json_loads(ee_verdict_json(ee_result_attestation(result)), 0, NULL));
    cli_json_bytes(value, "stdout", ee_result_output(result, EE_STDOUT));
    cli_json_bytes(value, "stderr", ee_result_output(result, EE_STDERR));
    return value;
}

static void tell_result(const cli *c, const ee_result *result, uint64_t took_ms) {
    char cost[32], price[32], back[32], metered[32];
    if (c->json) {
        json_t *value = result_json(result, took_ms);
        cli_print_json(value);
        json_decref(value);
        return;
    }
    json_t *receipt = json_loads(ee_result_receipt_json(result), 0, NULL);
    cli_talk(c, "done       exit %d  %s  %llu.%llu s on %s  cost %s (%s vCPU-s at %s/vCPU-h)  refunded %s  receipt %.*s...",
             ee_result_exit_code(result), ee_result_reason(result), (unsigned long long)(took_ms / 1000),
             (unsigned long long)(took_ms % 1000 / 100), ee_result_node(result), ee_money_format(ee_result_cost(result), cost),
             cli_thousandths(ee_result_vcpu_ms(result), metered), ee_money_format(ee_result_price(result), price),
             ee_money_format(ee_result_locked(result) - ee_result_cost(result), back), RECEIPT_SHOWN, cli_text(receipt, "id"));
    json_decref(receipt);
}

static void quote_table(const json_t *quote) {
    /* What a narrow terminal must keep stands first. */
    cli_table table = {.columns = 6,
                       .heads = {"NODE", "THIS JOB, AT MOST", "EFFECTIVE", "$/vCPU-h", "TRUST", "TIER"},
                       .right = {false, true, true, true, true, false}};
    const char *node;
    json_t *item, *why;
    size_t i;
    json_array_foreach(json_object_get(quote, "items"), i, item) {
        char price[32], effective[32], ceiling[32], trust[16];
        (void)snprintf(trust, sizeof trust, "%.2f", (double)cli_number(item, "trust_ppm") / 1e6);
        const char *cells[] = {cli_text(item, "node"),
                               cli_money(item, "ceiling", ceiling),
                               cli_money(item, "effective", effective),
                               cli_money(item, "price_per_vcpu_hour", price),
                               trust,
                               cli_text(item, "tier")};
        cli_table_add(&table, cells);
    }
    if (i) cli_table_print(&table);
    json_object_foreach(json_object_get(quote, "rejected"), node, why) {
        char text[256];
        (void)snprintf(text, sizeof text, "-- not eligible: %s (%s)", node, json_string_value(why));
        cli_fold(stdout, text, 3);
    }
}

/* The prices, and then the verdict that running it would get: over the cap, or nobody can. */
static int print_quote(cli *c, ee_client *client, const ee_job_options *options) {
    ee_error err = {0};
    char *text = NULL;
    ee_status st = ee_job_quote(client, options, &text, &err);
    json_t *quote = text ? json_loads(text, 0, NULL) : NULL;
    if (quote && c->json) cli_print_json(quote);
    if (quote && !c->json) quote_table(quote);
    (void)fflush(stdout); /* what fails shows at the end; the verdict comes behind the table */
    json_decref(quote);
    ee_string_free(text);
    return st ? cli_error(c, &err) : 0;
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

static int run_job(cli *c, ee_client *client, const ee_job_options *what) {
    ee_job_options options = *what;
    running r = {.c = c, .since_ms = cli_clock_ms()};
    ee_result *result = NULL;
    ee_error err = {0};
    progress_init(&r.progress, c);
    options.on_output = on_output;
    options.on_progress = on_progress;
    options.user = &r;
    options.cancel = c->cancel;
    ee_status st = ee_run_private_job(client, &options, &result, &err);
    int code = st ? fault_code(st) : ee_result_exit_code(result);
    progress_clear(&r.progress);
    if (st && !ferror(stdout) && !ferror(stderr)) (void)cli_error(c, &err); /* else it was cancelled for that, and main tells it */
    if (result) tell_result(c, result, cli_clock_ms() - r.since_ms);        /* also what came before a time limit or a cancel */
    ee_result_free(result);
    return code;
}

static int fill_options(cli *c, ee_job_options *options, const char *vcpus, const char *memory, const char *timeout) {
    int code = cli_take_vcpus(c, "run", vcpus, &options->vcpus);
    if (!code) code = cli_take_size(c, "--memory", memory, &options->memory_bytes);
    return code ? code : cli_take_duration(c, "--timeout", timeout, &options->timeout_ms);
}

int cmd_run(cli *c, int argc, char **argv) {
    const char *vcpus = NULL, *memory = NULL, *timeout = NULL, *max_cost = NULL, *node = NULL, *key = NULL, *env_file = NULL,
               *env_args[JOB_ENV_MAX + 1] = {NULL};
    size_t env_arg_count = 0, stdin_len = 0;
    bool use_stdin = false, quote = false;
    job_env *env = calloc(1, sizeof *env);
    char **rest = calloc((size_t)argc + 2, sizeof *rest), *stdin_data = NULL;
    int rest_count, code;
    const cli_option known[] = {
        {"--vcpus", NULL, true, &vcpus, NULL, NULL, 0, NULL},
        {"--memory", NULL, true, &memory, NULL, NULL, 0, NULL},
        {"--timeout", NULL, true, &timeout, NULL, NULL, 0, NULL},
        {"--max-cost", NULL, true, &max_cost, NULL, NULL, 0, NULL},
        {"--node", NULL, true, &node, NULL, NULL, 0, NULL},
        {"--key", NULL, true, &key, NULL, NULL, 0, NULL},
        {"--env-file", NULL, true, &env_file, NULL, NULL, 0, NULL},
        {"--env", "-e", true, NULL, NULL, env_args, JOB_ENV_MAX, &env_arg_count},
        {"--stdin", "-i", false, NULL, &use_stdin, NULL, 0, NULL},
        {"--quote", NULL, false, NULL, &quote, NULL, 0, NULL},
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
    for (size_t i = 0; !code && i < env_arg_count; i++) code = job_env_argument(c, env, env_args[i]);
    if (!code && env_file) code = job_env_file(c, env, env_file);
    if (!code && use_stdin) {
        stdin_data = cli_read_stream(stdin, STDIN_MAX, &stdin_len);
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
    job_env_free(env);
    free(rest);
    free(stdin_data);
    return code;
}
