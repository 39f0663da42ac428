/* cmd_policy.c - `ee policy`: make a policy.toml from what is running, check one, show the one in use. */
#include "cli/verifying.h"

#include <string.h>
#include <time.h>

static int print_policy(cli *c, const ee_policy *policy, const char *head) {
    char *text = NULL;
    ee_error err = {0};
    if (ee_policy_toml(policy, &text, &err)) return cli_error(c, &err);
    if (c->json) {
        json_t *document =
            json_pack("{s:s, s:s, s:b}", "policy", text, "policy_hash", ee_policy_hash(policy), "simulated", ee_policy_simulated(policy));
        cli_print_json(document);
        json_decref(document);
    } else {
        (void)printf("%s%s", head, text);
    }
    ee_string_free(text);
    return 0;
}

/* ---- init ------------------------------------------------------------------------------------------------------------ */

/* From here on by this policy. */
static ee_status use_policy(cli *c, const ee_policy *policy, ee_error *err) {
    ee_client_options options;
    ee_client *client = NULL;
    ee_client_options_init(&options);
    options.profile = c->profile;
    options.url = c->url;
    options.policy = policy;
    ee_status st = ee_client_new(&options, &client, err);
    if (st) return st;
    ee_client_free(c->client);
    c->client = client;
    return EE_OK;
}

/* One more profile for what `subject` showed. */
static ee_status accept_subject(cli *c, const verify_subject *subject, ee_policy **policy, ee_error *err) {
    ee_verdict *verdict = NULL;
    ee_policy *more = NULL;
    const char *name = subject->kind == VERIFY_CONTROL ? "control plane" : subject->name;
    ee_status st = verify_ask(c, subject, &verdict, err);
    if (!st) st = ee_policy_accept(*policy, verdict, name, &more, err);
    ee_verdict_free(verdict);
    if (st) return st;
    ee_policy_free(*policy);
    *policy = more;
    return EE_OK;
}

/* A client judges the control plane by the same policy as its agents: without its measurements nothing could be reached. Where nothing
 * is pinned yet, the first look is taken as it is. */
static ee_status accept_running(cli *c, const verify_subject *subject, ee_policy **policy, ee_error *err) {
    verify_subject control = {.kind = VERIFY_CONTROL};
    ee_status st = cli_client_make(c, err);
    if (!st) st = ee_policy_unpinned(ee_client_policy(c->client), policy, err);
    if (!st && !ee_policy_profile_count(ee_client_policy(c->client))) st = use_policy(c, *policy, err);
    if (!st) st = accept_subject(c, &control, policy, err);
    return !st && subject->kind != VERIFY_CONTROL ? accept_subject(c, subject, policy, err) : st;
}

static int init(cli *c, const char *what) {
    verify_subject subject;
    ee_policy *policy = NULL;
    ee_error err = {0};
    char head[512], when[32];
    time_t now = time(NULL);
    struct tm utc;
    int code = verify_subject_parse(c, "policy", what, &subject);
    if (code) return code;
    if (accept_running(c, &subject, &policy, &err)) {
        code = cli_error(c, &err);
    } else {
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
        (void)snprintf(head, sizeof head,
                       "# What %.63s and its control plane ran at %s. It was taken as it was: compare the\n"
                       "# measurements with those that the builder publishes before you rely on them.\n",
                       what, when);
        code = print_policy(c, policy, head);
    }
    ee_policy_free(policy);
    return code;
}

/* ---- which one ------------------------------------------------------------------------------------------------------- */

ee_status cli_policy_named(ee_policy **out, char origin[CLI_ORIGIN_BYTES], ee_error *err) {
    const char *named = getenv("EE_POLICY");
    origin[0] = 0;
    if (!named || !*named) return EE_OK;
    (void)snprintf(origin, CLI_ORIGIN_BYTES, "%s", named);
    ee_status st = strcmp(named, "production") == 0 ? ee_policy_production(out, err) : ee_policy_load(named, out, err);
    if (st != EE_E_NOT_FOUND) return st;
    err->status = EE_E_CONFIG; /* as the SDK says it: a setting is wrong */
    (void)snprintf(err->word, sizeof err->word, "%s", ee_status_word(EE_E_CONFIG));
    (void)snprintf(err->message, sizeof err->message, "EE_POLICY names %s, which does not exist", named);
    return EE_E_CONFIG;
}

ee_status cli_policy_configured(cli *c, const ee_policy **policy, ee_policy **owned, char origin[CLI_ORIGIN_BYTES], ee_error *err) {
    ee_status st = cli_policy_named(owned, origin, err);
    *policy = *owned;
    if (st || *owned) return st;
    (void)snprintf(origin, CLI_ORIGIN_BYTES, "production");
    ee_error why = {0};
    st = cli_client_make(c, &why);
    if (st && (c->profile || c->url || st != EE_E_CONFIG)) {
        *err = why;
        return st;
    }
    if (st) return EE_OK;
    json_t *config = json_loads(ee_client_config_json(c->client), 0, NULL);
    (void)snprintf(origin, CLI_ORIGIN_BYTES, "%s", cli_text(json_object_get(config, "policy_hash"), "origin"));
    json_decref(config);
    *policy = ee_client_policy(c->client);
    return EE_OK;
}

/* ---- check and show -------------------------------------------------------------------------------------------------- */

static int check(cli *c, const char *path) {
    ee_policy *policy = NULL;
    ee_error err = {0};
    cli_interrupt_ends(true);
    if (ee_policy_load(path, &policy, &err)) {
        (void)cli_error(c, &err);
        return 2; /* as for `ee verify --policy`: the input cannot be used */
    }
    int code = 0;
    if (c->json)
        code = print_policy(c, policy, "");
    else
        (void)printf("%s is a policy%s\npolicy hash  %s\n", path, ee_policy_simulated(policy) ? " for simulated machines" : "",
                     ee_policy_hash(policy));
    ee_policy_free(policy);
    return code;
}

static int show(cli *c) {
    char origin[CLI_ORIGIN_BYTES], head[CLI_ORIGIN_BYTES + 128];
    const ee_policy *policy = NULL;
    ee_policy *owned = NULL;
    ee_error err = {0};
    ee_status st = cli_policy_configured(c, &policy, &owned, origin, &err);
    if (!st && !policy) st = ee_policy_production(&owned, &err);
    if (st) return cli_error(c, &err);
    if (!policy) policy = owned;
    (void)snprintf(head, sizeof head, "# policy %s\n# from %s\n", ee_policy_hash(policy), origin);
    int code = print_policy(c, policy, head);
    ee_policy_free(owned);
    return code;
}

int cmd_policy(cli *c, int argc, char **argv) {
    static const char usage[] = "ee policy init APP|NODE|control, ee policy check FILE or ee policy show";
    const char *values[2];
    if (cli_arguments(c, "policy", argc, argv, 1, 2, values, usage)) return 2;
    if (values[1] && strcmp(values[0], "init") == 0) return init(c, values[1]);
    if (values[1] && strcmp(values[0], "check") == 0) return check(c, values[1]);
    if (!values[1] && strcmp(values[0], "show") == 0) return show(c);
    return cli_usage(c, "policy", "write: %s", usage);
}
