/* verifying.c - see verifying.h. */
#include "cli/verifying.h"

#include <string.h>

int verify_subject_parse(const cli *c, const char *command, const char *text, verify_subject *out) {
    static const struct {
        const char *prefix;
        verify_kind kind;
    } kinds[] = {{"app/", VERIFY_APP}, {"node/", VERIFY_NODE}};
    *out = (verify_subject){.kind = VERIFY_APP, .name = text, .either = true};
    if (strcmp(text, "control") == 0) {
        out->kind = VERIFY_CONTROL;
        return 0;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t len = strlen(kinds[i].prefix);
        if (strncmp(text, kinds[i].prefix, len) != 0) continue;
        *out = (verify_subject){.kind = kinds[i].kind, .name = text + len};
    }
    return cli_check_name(c, command, out->kind == VERIFY_NODE ? "a node" : "an app or node", out->name);
}

/* The control plane under another policy needs a client of its own: a client has one policy for its network. */
static ee_status ask_control(cli *c, const verify_subject *subject, ee_verdict **out, ee_error *err) {
    ee_client_options options;
    ee_client *own = NULL;
    const ee_verdict *seen = NULL;
    ee_client_options_init(&options);
    options.profile = c->profile;
    options.url = c->url;
    options.policy = subject->policy;
    ee_status st = subject->policy ? ee_client_new(&options, &own, err) : cli_client_make(c, err);
    if (st) return st;
    ee_client *client = own ? own : c->client;
    st = ee_client_attestation(client, c->cancel, &seen, err);
    if (!st) *out = ee_verdict_ref(seen);
    if (st == EE_E_ATTESTATION && ee_client_refused(client, err, out, NULL)) *out = NULL;
    ee_client_free(own);
    return st;
}

static ee_status ask_app(cli *c, const verify_subject *subject, const ee_connect_options *options, ee_verdict **out, ee_error *err) {
    ee_app *app = NULL;
    ee_status st = ee_connect(c->client, subject->name, options, &app, err);
    if (!st) *out = ee_verdict_ref(ee_app_attestation(app));
    if (st == EE_E_ATTESTATION && ee_client_refused(c->client, err, out, NULL)) *out = NULL;
    ee_app_free(app);
    return st;
}

ee_status verify_ask(cli *c, const verify_subject *subject, ee_verdict **out, ee_error *err) {
    ee_connect_options options;
    *out = NULL;
    if (subject->kind == VERIFY_CONTROL) return ask_control(c, subject, out, err);
    ee_connect_options_init(&options);
    options.policy = subject->policy;
    options.strict = subject->strict;
    options.cancel = c->cancel;
    ee_status st = cli_client_make(c, err);
    if (!st && subject->kind == VERIFY_NODE) return ee_node_attestation(c->client, subject->name, &options, out, err);
    if (!st) st = ask_app(c, subject, &options, out, err);
    if (st != EE_E_NOT_FOUND || !subject->either) return st;
    ee_error no_node = {0};
    st = ee_node_attestation(c->client, subject->name, &options, out, &no_node);
    if (st != EE_E_NOT_FOUND)
        *err = no_node;
    else
        (void)snprintf(err->message, sizeof err->message, "there is neither an app nor a node \"%.63s\"", subject->name);
    return st;
}
