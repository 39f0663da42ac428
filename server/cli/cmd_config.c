/* cmd_config.c - `ee config show`: which settings are used, and where each comes from. Also what other commands ask of them. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

json_t *cli_settings(const cli *c, ee_error *err) {
    ee_client_options options;
    char *text = NULL;
    ee_client_options_init(&options);
    options.profile = c->profile;
    options.url = c->url;
    err->status = EE_OK;
    ee_status st = ee_client_config_find(&options, &text, err);
    json_t *found = text ? json_loads(text, 0, NULL) : NULL;
    ee_string_free(text);
    err->status = st; /* what a callee noted and got over is no failure */
    return found ? found : json_object();
}

bool cli_uses_devnet(const json_t *settings) { return strcmp(cli_text(json_object_get(settings, "devnet_file"), "origin"), "in use") == 0; }

int cmd_config(cli *c, int argc, char **argv) {
    const char *verb;
    ee_error err = {0};
    int code = 0;
    if (cli_arguments(c, "config", argc, argv, 0, 1, &verb, "ee config show")) return 2;
    if (verb && strcmp(verb, "show") != 0) return cli_usage(c, "config", "there is no `ee config %s`", verb);
    json_t *found = cli_settings(c, &err);
    cli_print_object(c, found); /* also when something is wrong: what was found shows where */
    json_decref(found);
    if (err.status) code = cli_error(c, &err);
    return code;
}
