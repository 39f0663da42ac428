/* caller.c - one call through the C API, for callers.py, which says what the arguments and the output are. */
#include <eesdk/eesdk.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *unless_empty(const char *text) { return *text ? text : NULL; }

static int show(void *user, ee_stream_id stream, uint64_t seq, const void *data, size_t len) {
    (void)user, (void)seq;
    (void)fwrite(data, 1, len, stream == EE_STDOUT ? stdout : stderr);
    return fflush(stdout);
}

static ee_status run(char **argv, ee_error *err) {
    ee_job_options options;
    ee_result *result = NULL;
    char env[4096];
    const char *const list[] = {env, NULL};
    ee_job_options_init(&options);
    options.image = argv[0];
    options.node = unless_empty(argv[1]);
    options.vcpus = strtod(argv[2], NULL);
    options.max_cost = unless_empty(argv[3]);
    if (*argv[4]) {
        const char *value = getenv(argv[4]);
        (void)snprintf(env, sizeof env, "%s=%s", argv[4], value ? value : "");
        options.env = list;
    }
    options.command = argv[5] ? (const char *const *)argv + 5 : NULL;
    options.on_output = show;
    ee_status st = ee_run_private_job(NULL, &options, &result, err);
    ee_result_free(result);
    return st;
}

static ee_status get(char **argv, ee_error *err) {
    ee_app *app = NULL;
    ee_response *response = NULL;
    ee_status st = ee_connect(NULL, argv[0], NULL, &app, err);
    if (!st) st = ee_get(app, argv[1], &response, err);
    if (!st) (void)fwrite(ee_response_body(response).data, 1, ee_response_body(response).len, stdout);
    ee_response_free(response);
    ee_app_free(app);
    return st;
}

int main(int argc, char **argv) {
    ee_error err = {0};
    ee_balance balance;
    ee_status st = EE_E_INVALID;
    if (argc > 1 && strcmp(argv[1], "balance") == 0) st = ee_balance_get(NULL, NULL, &balance, &err);
    if (argc > 4 && strcmp(argv[1], "transfer") == 0)
        st = ee_transfer_credits(NULL, argv[2], argv[3], NULL, unless_empty(argv[4]), NULL, NULL, &err);
    if (argc > 6 && strcmp(argv[1], "run") == 0) st = run(argv + 2, &err);
    if (argc > 3 && strcmp(argv[1], "get") == 0) st = get(argv + 2, &err);
    (void)printf("== outcome\n%s\n%s\n%s\n%lld\n%lld\n%s\n", ee_status_word(st), err.message, err.hint, (long long)err.needed,
                 (long long)err.available, err.details);
    return 0;
}
