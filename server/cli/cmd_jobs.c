/* cmd_jobs.c - `ee jobs`: the account's jobs as the control plane knows them. Running one is in cmd_run.c. */
#include "cli/cli.h"

#include <string.h>

static void print_jobs(const json_t *answer) {
    /* What a narrow terminal must keep stands first: 40 columns have room for the id and the state. */
    cli_table table = {.columns = 6,
                       .heads = {"JOB", "STATE", "NODE", "CHARGED", "REASON", "CREATED"},
                       .right = {false, false, false, true, false, false}};
    json_t *item;
    size_t i;
    json_array_foreach(json_object_get(answer, "items"), i, item) {
        char charged[32];
        const char *cells[] = {cli_text(item, "id"),     cli_text(item, "state"),
                               cli_text(item, "node"),   cli_money(item, "charged", charged),
                               cli_text(item, "reason"), cli_text(item, "created_at")};
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
    json_t *answer = lists ? cli_list(c, path, &code) : cli_call(c, cancels ? "DELETE" : "GET", path, NULL, NULL, &code);
    if (!answer) return code;
    if (lists && !c->json)
        print_jobs(answer);
    else
        cli_print_object(c, answer);
    json_decref(answer);
    return 0;
}
