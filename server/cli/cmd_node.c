/* cmd_node.c - `ee node`: for providers. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { RELEASES_MAX = 16 };

static int ticket(cli *c, ee_ticket_options *options, const char *life) {
    uint64_t ms = 0;
    char *text = NULL;
    ee_error err = {0};
    int code = 0;
    if (!options->machine_id) return cli_usage(c, "node", "--machine is missing: the machine_id that its quotes show (`ee verify`)");
    if ((code = cli_take_duration(c, "--life", life, &ms)) != 0) return code;
    if (ms > UINT32_MAX) return cli_usage(c, "node", "--life %s is more than a ticket can have, which is 10m", life);
    options->life_ms = (uint32_t)ms;
    ee_client *client = cli_client(c, &code);
    if (!client) return code;
    if (ee_ticket_make(client, options, &text, &err)) return cli_error(c, &err);
    if (c->json)
        (void)printf("{\"ticket\": \"%s\"}\n", text); /* base64url: nothing to escape */
    else
        (void)printf("%s\n", text);
    ee_string_free(text);
    return 0;
}

int cmd_node(cli *c, int argc, char **argv) {
    const char *life = NULL, *releases[RELEASES_MAX + 1] = {NULL};
    char **rest = calloc((size_t)argc + 2, sizeof *rest);
    size_t release_count = 0;
    bool uptime = false;
    ee_ticket_options options;
    int count;
    ee_ticket_options_init(&options);
    const cli_option known[] = {{"--machine", NULL, true, &options.machine_id, NULL, NULL, 0, NULL},
                                {"--release", NULL, true, NULL, NULL, releases, RELEASES_MAX, &release_count},
                                {"--life", NULL, true, &life, NULL, NULL, 0, NULL},
                                {"--uptime-server", NULL, false, NULL, &uptime, NULL, 0, NULL}};
    if (!rest) return 1;
    int code = cli_parse(c, "node", argc, argv, known, sizeof known / sizeof *known, rest, &count);
    if (!code && (count != 2 || strcmp(rest[0], "ticket") != 0)) code = cli_usage(c, "node", "write: ee node ticket NAME --machine ID");
    if (!code) {
        options.node = rest[1];
        options.releases = release_count ? releases : NULL;
        options.uptime_server = uptime;
        code = ticket(c, &options, life);
    }
    free(rest);
    return code;
}
