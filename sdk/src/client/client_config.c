/* client_config.c - see client_config.h. The only place of the SDK that reads the environment. */
#include "client_config.h"

#include "attest/evidence.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/home_config.h"
#include "base/toml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HINT_NO_NETWORK                                                                                                                    \
    "run `ee devnet up` to start one on this machine, or set EE_URL, EE_NETWORK_ID and EE_API_KEY to use one that exists"
#define CLIENT_IN_USE "in use"
enum { DEFAULT_TIMEOUT_MS = 30000, DEFAULT_RETRIES = 3, CONFIG_FILE_MAX = 1 << 16, PATH_TEXT_MAX = 512 };

/* ---- one value ------------------------------------------------------------------------------------------------------- */

/* The first source that has the value wins: later calls for the same value do nothing. */
static ee_status offer(client_value *value, const char *name, const char *text, const char *origin, ee_error *err) {
    if (!text || !*text || value->origin[0]) return EE_OK;
    if (strlen(text) >= sizeof value->text)
        return eei_fail(err, EE_E_CONFIG, "%s from %s has %zu bytes; at most %zu", name, origin, strlen(text), sizeof value->text - 1);
    snprintf(value->text, sizeof value->text, "%s", text);
    snprintf(value->origin, sizeof value->origin, "%s", origin);
    return EE_OK;
}

ee_status client_devnet_path(char *out, size_t cap, ee_error *err) { return eei_runtime_path(out, cap, EEI_DEVNET_FILE, err); }

static bool is_missing(const char *path) { return access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR); }

/* A secret in a file that is the user's alone, named by a variable. The name is a setting, so a file that is not there is one that is
 * wrong. */
static ee_status offer_file(client_value *value, const char *variable, ee_error *err) {
    const char *path = getenv(variable);
    eei_buf text = EEI_BUF_INIT_SECRET(CLIENT_VALUE_MAX);
    if (!path || !*path || value->origin[0]) return EE_OK;
    if (is_missing(path)) return eei_fail(err, EE_E_CONFIG, "%s names %s, which does not exist", variable, path);
    ee_status st = eei_file_check_private(path, err);
    if (!st) st = eei_file_read(path, &text, err);
    if (!st) {
        while (text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r')) text.len--;
        const char *secret = eei_buf_cstr(&text);
        st = secret ? offer(value, variable, secret, variable, err) : eei_nomem(err);
    }
    eei_buf_clear(&text);
    return st;
}

static void note(client_value *value, const char *path, const char *what) {
    (void)snprintf(value->text, sizeof value->text, "%s", path);
    (void)snprintf(value->origin, sizeof value->origin, "%s", what);
}

/* ---- a PCCS ---------------------------------------------------------------------------------------------------------- */

/* cache "": none, whatever else says so. */
static ee_status pccs_from_arguments(client_pccs *pccs, const char *url, const char *ca, const char *cache, ee_error *err) {
    ee_status st = offer(&pccs->url, "pccs_url", url, "argument", err);
    if (!st) st = offer(&pccs->ca, "pccs_ca", ca, "argument", err);
    if (!st) st = offer(&pccs->cache, "pccs_cache", cache, "argument", err);
    if (cache && !*cache) note(&pccs->cache, "", "argument");
    return st;
}

static ee_status pccs_from_environment(client_pccs *pccs, ee_error *err) {
    ee_status st = offer(&pccs->url, "pccs_url", getenv("EE_PCCS_URL"), "EE_PCCS_URL", err);
    if (!st) st = offer(&pccs->ca, "pccs_ca", getenv("EE_PCCS_CA"), "EE_PCCS_CA", err);
    return st ? st : offer(&pccs->cache, "pccs_cache", getenv("EE_PCCS_CACHE"), "EE_PCCS_CACHE", err);
}

/* Without a home there is no cache, which is no failure. */
static ee_status pccs_defaults(client_pccs *pccs, ee_error *err) {
    char path[PATH_TEXT_MAX];
    pccs->cache_given = pccs->cache.origin[0] != 0;
    if (pccs->cache_given || eei_home_path(path, sizeof path, "XDG_CACHE_HOME", ".cache", "easyenclave/collateral", NULL)) return EE_OK;
    return offer(&pccs->cache, "pccs_cache", path, "default", err);
}

ee_status client_pccs_load(const char *url, const char *ca, const char *cache, client_pccs *out, ee_error *err) {
    memset(out, 0, sizeof *out);
    ee_status st = pccs_from_arguments(out, url, ca, cache, err);
    if (!st) st = pccs_from_environment(out, err);
    return st ? st : pccs_defaults(out, err);
}

/* ---- sources --------------------------------------------------------------------------------------------------------- */

static ee_status from_environment(client_config *config, char *policy_path, size_t policy_cap, ee_error *err) {
    static const struct {
        const char *variable;
        size_t offset;
    } plain[] = {
        {"EE_URL", offsetof(client_config, url)},
        {"EE_API_KEY", offsetof(client_config, api_key)},
        {"EE_NETWORK_ID", offsetof(client_config, network_id)},
        {"EE_REGISTRY", offsetof(client_config, registry)},
        {"EE_BUDGET", offsetof(client_config, budget)},
        {"EE_ADMIN_TOKEN", offsetof(client_config, admin_token)},
    };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        client_value *value = (client_value *)(void *)((char *)config + plain[i].offset);
        ee_status st = offer(value, plain[i].variable, getenv(plain[i].variable), plain[i].variable, err);
        if (st) return st;
    }
    const char *policy = getenv("EE_POLICY");
    ee_status st = offer_file(&config->api_key, "EE_API_KEY_FILE", err);
    if (!st) st = offer_file(&config->admin_token, "EE_ADMIN_TOKEN_FILE", err);
    if (st) return st;
    if (policy && *policy) snprintf(policy_path, policy_cap, "%s", policy);
    return EE_OK;
}

static ee_status profile_value(const eei_toml *file, const json_t *profile, const char *name, const char *field, client_value *value,
                               ee_error *err) {
    char path[256], origin[CLIENT_VALUE_MAX];
    const json_t *item = json_object_get(profile, field);
    if (!item) return EE_OK;
    snprintf(path, sizeof path, "profile.%s.%s", name, field);
    if (!json_is_string(item)) return eei_toml_fail(file, path, err, "must be a string");
    snprintf(origin, sizeof origin, "profile %s in %s, line %u", name, eei_toml_name(file), eei_toml_line(file, path));
    return offer(value, field, json_string_value(item), origin, err);
}

static const json_t *find_profile(const eei_toml *file, const char *name) {
    return json_object_get(json_object_get(eei_toml_root(file), "profile"), name);
}

static ee_status check_profile_keys(const eei_toml *file, const char *name, const json_t *profile, const char *const *known,
                                    ee_error *err) {
    const char *key;
    json_t *value;
    char path[256];
    json_object_foreach((json_t *)(uintptr_t)profile, key, value) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key) != 0) i++;
        if (known[i]) continue;
        snprintf(path, sizeof path, "profile.%s.%s", name, key);
        return eei_toml_fail(file, path, err, "is not known here");
    }
    return EE_OK;
}

static ee_status no_profile(const char *name, const char *path, const json_t *root, bool is_active, ee_error *err) {
    const char *other;
    const json_t *value;
    char others[200] = "";
    size_t used = 0;
    json_object_foreach(json_object_get(root, "profile"), other, value) {
        int n = snprintf(others + used, sizeof others - used, "%s%s", used ? ", " : "", other);
        if (n < 0 || (size_t)n >= sizeof others - used) break;
        used += (size_t)n;
    }
    eei_fail(err, EE_E_CONFIG, "there is no profile \"%s\" in %s%s", name, path, is_active ? ", whose \"active\" names it" : "");
    return used ? eei_hint(err, EE_E_CONFIG, "it has %.199s", others)
                : eei_hint(err, EE_E_CONFIG, "it has no profile; write [profile.%s]", name);
}

/* config.toml: `active = "work"` names the active one; [profile.work] has url, network_id, policy, registry, budget.
 * pccs_url, pccs_ca, pccs_cache may be there, too. credentials.toml (0600): [profile.work] api_key. No file and no name asked for: nothing
 * found, which is fine. */
static ee_status from_profile(const char *wanted, client_config *config, char *policy_path, size_t policy_cap, bool *found, ee_error *err) {
    static const char *const known[] = {"url", "network_id", "policy", "registry", "budget", "pccs_url", "pccs_ca", "pccs_cache", NULL};
    static const char *const known_secret[] = {"api_key", "admin_token", NULL};
    char path[PATH_TEXT_MAX], secret_path[PATH_TEXT_MAX], name[64];
    eei_toml *file = NULL, *secrets = NULL;
    const json_t *profile, *active;
    const char *asked = wanted ? wanted : getenv("EE_PROFILE");
    ee_status st = eei_home_path(path, sizeof path, "XDG_CONFIG_HOME", ".config", "easyenclave/config.toml", err);

    *found = false;
    if (st) return asked && *asked ? st : EE_OK;
    ee_error why = {0}; /* no file is no failure: the caller's error stays untouched then */
    st = eei_toml_load(path, CONFIG_FILE_MAX, &file, &why);
    note(&config->config_file, path, st == EE_E_NOT_FOUND ? "is not there" : st ? "cannot be used" : "no profile is asked for or active");
    if (st && st != EE_E_NOT_FOUND && err) *err = why;
    if (st == EE_E_NOT_FOUND)
        return asked && *asked ? eei_hint(err, eei_fail(err, EE_E_CONFIG, "profile \"%s\" is wanted, but there is no %s", asked, path),
                                          "write it: [profile.%s] with url and network_id", asked)
                               : EE_OK;
    if (st) return st;
    active = json_object_get(eei_toml_root(file), "active");
    if (asked && *asked)
        snprintf(name, sizeof name, "%s", asked);
    else if (json_is_string(active))
        snprintf(name, sizeof name, "%s", json_string_value(active));
    else
        goto done;
    profile = find_profile(file, name);
    if (!json_is_object(profile)) {
        st = no_profile(name, path, eei_toml_root(file), !asked || !*asked, err);
        goto done;
    }
    *found = true;
    (void)snprintf(config->config_file.origin, sizeof config->config_file.origin, "profile %s", name);
    st = check_profile_keys(file, name, profile, known, err);
    if (!st) st = profile_value(file, profile, name, "url", &config->url, err);
    if (!st) st = profile_value(file, profile, name, "network_id", &config->network_id, err);
    if (!st) st = profile_value(file, profile, name, "registry", &config->registry, err);
    if (!st) st = profile_value(file, profile, name, "budget", &config->budget, err);
    if (!st) st = profile_value(file, profile, name, "pccs_url", &config->pccs.url, err);
    if (!st) st = profile_value(file, profile, name, "pccs_ca", &config->pccs.ca, err);
    if (!st) st = profile_value(file, profile, name, "pccs_cache", &config->pccs.cache, err);
    if (st) goto done;
    const json_t *policy = json_object_get(profile, "policy");
    if (json_is_string(policy) && !*policy_path) snprintf(policy_path, policy_cap, "%s", json_string_value(policy));

    st = eei_home_path(secret_path, sizeof secret_path, "XDG_CONFIG_HOME", ".config", "easyenclave/credentials.toml", err);
    if (st || access(secret_path, F_OK) != 0) goto done;
    st = eei_file_check_private(secret_path, err);
    if (!st) st = eei_toml_load(secret_path, CONFIG_FILE_MAX, &secrets, err);
    if (st) goto done;
    profile = find_profile(secrets, name);
    if (json_is_object(profile)) {
        st = check_profile_keys(secrets, name, profile, known_secret, err);
        if (!st) st = profile_value(secrets, profile, name, "api_key", &config->api_key, err);
        if (!st) st = profile_value(secrets, profile, name, "admin_token", &config->admin_token, err);
    }
done:
    eei_toml_free(secrets);
    eei_toml_free(file);
    return st;
}

static bool note_devnet_file(client_config *config, const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) return false;
    (void)snprintf(config->devnet_seen.path, sizeof config->devnet_seen.path, "%s", path);
    config->devnet_seen.device = (uint64_t)info.st_dev;
    config->devnet_seen.inode = (uint64_t)info.st_ino;
    config->devnet_seen.changed_s = info.st_mtim.tv_sec;
    config->devnet_seen.changed_ns = info.st_mtim.tv_nsec;
    return true;
}

bool client_config_stale(const client_config *config) {
    client_config now = {0};
    if (!config->devnet || !config->devnet_seen.path[0] || !note_devnet_file(&now, config->devnet_seen.path)) return false;
    return now.devnet_seen.device != config->devnet_seen.device || now.devnet_seen.inode != config->devnet_seen.inode ||
           now.devnet_seen.changed_s != config->devnet_seen.changed_s || now.devnet_seen.changed_ns != config->devnet_seen.changed_ns;
}

/* The devnet file is trusted only if it is ours alone; the process behind it proves itself by the network id and the root that the file's
 * policy names, when the first connection attests it. */
static ee_status from_devnet(client_config *config, ee_error *err) {
    static const char *const known[] = {"version", "pid",         "url",    "network",  "network_id", "account",
                                        "api_key", "admin_token", "policy", "registry", NULL};
    char path[PATH_TEXT_MAX], origin[PATH_TEXT_MAX + 16];
    const char *url = NULL, *network_id = NULL, *api_key = NULL, *admin_token = NULL, *policy = NULL, *registry = NULL;
    eei_buf text = EEI_BUF_INIT_SECRET(CONFIG_FILE_MAX);
    json_t *file = NULL;
    ee_status st = client_devnet_path(path, sizeof path, err);

    if (st) return EE_OK;
    note(&config->devnet_file, path, is_missing(path) ? "is not there" : "cannot be used");
    if (is_missing(path)) return EE_OK;
    if (access(path, F_OK) != 0 && config->url.origin[0]) return EE_OK; /* out of reach, but a network is named */
    st = eei_file_check_private(path, err);
    (void)note_devnet_file(config, path); /* before it is read: what replaces it meanwhile is noticed */
    if (!st) st = eei_file_read(path, &text, err);
    if (!st) st = eei_json_parse(eei_buf_span(&text), CONFIG_FILE_MAX, &file, err);
    if (!st) st = eei_json_only(file, known, err);
    if (!st) st = eei_json_string(file, "url", &url, err);
    if (!st) st = eei_json_string(file, "network_id", &network_id, err);
    if (!st) st = eei_json_string(file, "api_key", &api_key, err);
    if (!st) st = eei_json_string(file, "admin_token", &admin_token, err);
    if (!st) st = eei_json_string(file, "policy", &policy, err);
    if (!st) st = eei_json_string(file, "registry", &registry, err);
    if (st) {
        char noun[PATH_TEXT_MAX + 16];
        const bool named = err && strstr(err->message, path);
        snprintf(noun, sizeof noun, "devnet file%s%s", named ? "" : " ", named ? "" : path);
        if (err) {
            err->status = EE_E_CONFIG;
            snprintf(err->word, sizeof err->word, "%s", ee_status_word(EE_E_CONFIG));
        }
        st = eei_hint(err, eei_prefix(err, EE_E_CONFIG, noun),
                      "`ee devnet down` and `ee devnet up` write a new one; remove a file that is not yours");
        goto done;
    }
    snprintf(origin, sizeof origin, "devnet file %s", path);
    config->devnet = !config->url.origin[0] || strcmp(config->url.text, url) == 0;
    note(&config->devnet_file, path, config->devnet ? CLIENT_IN_USE : "not used: the url names another network");
    if (!config->devnet) goto done; /* another network was named: nothing of the devnet's may leak into it */
    st = offer(&config->url, "url", url, origin, err);
    if (!st) st = offer(&config->network_id, "network_id", network_id, origin, err);
    if (!st) st = offer(&config->api_key, "api_key", api_key, origin, err);
    if (!st) st = offer(&config->registry, "registry", registry, origin, err);
    if (!st) st = offer(&config->admin_token, "admin_token", admin_token, origin, err);
    if (!st && !config->policy) {
        st = ee_policy_parse(policy, path, &config->policy, err);
        snprintf(config->policy_origin.origin, sizeof config->policy_origin.origin, "%s", origin);
    }
done:
    json_decref(file);
    eei_buf_clear(&text);
    return st;
}

/* ---- all together ---------------------------------------------------------------------------------------------------- */

/* Of a secret at most what every one of its kind begins with. */
static ee_status add_json(json_t *object, const char *name, const client_value *value, const char *shown, ee_error *err) {
    if (!value->origin[0]) return EE_OK;
    json_t *item = json_pack("{s:s, s:s}", "value", shown ? shown : value->text, "origin", value->origin);
    return item && json_object_set_new(object, name, item) == 0 ? EE_OK : eei_nomem(err);
}

static ee_status make_json(client_config *config, ee_error *err) {
    json_t *object = json_object();
    char key[32];
    eei_buf text = EEI_BUF_INIT(1 << 14);
    ee_status st = object ? EE_OK : eei_nomem(err);
    if (config->policy) snprintf(config->policy_origin.text, sizeof config->policy_origin.text, "%s", ee_policy_hash(config->policy));
    snprintf(key, sizeof key, "%.6s...", config->api_key.text);
    if (!st) st = add_json(object, "url", &config->url, NULL, err);
    if (!st) st = add_json(object, "api_key", &config->api_key, key, err);
    if (!st) st = add_json(object, "network_id", &config->network_id, NULL, err);
    if (!st) st = add_json(object, "registry", &config->registry, NULL, err);
    if (!st) st = add_json(object, "budget", &config->budget, NULL, err);
    if (!st) st = add_json(object, "admin_token", &config->admin_token, "...", err);
    if (!st && config->policy) st = add_json(object, "policy_hash", &config->policy_origin, NULL, err);
    if (!st) st = add_json(object, "pccs_url", &config->pccs.url, NULL, err);
    if (!st) st = add_json(object, "pccs_ca", &config->pccs.ca, NULL, err);
    if (!st && config->pccs.url.origin[0]) st = add_json(object, "pccs_cache", &config->pccs.cache, NULL, err);
    if (!st) st = add_json(object, "config_file", &config->config_file, NULL, err);
    if (!st) st = add_json(object, "devnet_file", &config->devnet_file, NULL, err);
    if (!st) st = eei_json_dump(object, &text, err);
    if (!st && eei_buf_cstr(&text)) config->json = (char *)eei_take(&text.data);
    if (!st && !config->json) st = eei_nomem(err);
    eei_buf_clear(&text);
    json_decref(object);
    return st;
}

static ee_status check_token(const client_value *token, ee_error *err) {
    for (const char *at = token->text; *at; at++)
        if (*at <= ' ' || *at > '~') /* it becomes a header's value */
            return eei_fail(err, EE_E_CONFIG, "byte %zu of the owner's token (%s) is not printable ASCII", (size_t)(at - token->text) + 1,
                            token->origin);
    return EE_OK;
}

static ee_status check(const client_config *config, ee_error *err) {
    uint8_t id[32];
    if (!config->url.origin[0]) return eei_hint(err, eei_fail(err, EE_E_CONFIG, "no network is configured"), HINT_NO_NETWORK);
    if (strncmp(config->url.text, "https://", 8) != 0)
        return eei_fail(err, EE_E_CONFIG, "url \"%s\" (%s) must start with https://", config->url.text, config->url.origin);
    if (!config->api_key.origin[0])
        return eei_hint(err, eei_fail(err, EE_E_CONFIG, "there is no API key for %s", config->url.text),
                        "set EE_API_KEY_FILE, or put api_key into the profile of credentials.toml (0600)");
    if (!config->network_id.origin[0])
        return eei_hint(err, eei_fail(err, EE_E_CONFIG, "it is not said which network %s must prove to be", config->url.text),
                        "set EE_NETWORK_ID, or network_id in the profile");
    if (strlen(config->network_id.text) != 64 || eei_hex_decode(config->network_id.text, id, sizeof id, NULL))
        return eei_fail(err, EE_E_CONFIG, "network_id (%s) must be 64 hex digits", config->network_id.origin);
    if (config->budget.origin[0]) {
        ee_money ignored;
        ee_status st = ee_money_parse(config->budget.text, &ignored, err);
        if (st) return eei_prefix(err, st, "budget");
    }
    return check_token(&config->admin_token, err);
}

/* Named by a setting: one that is not there makes the setting wrong. */
static ee_status load_policy(client_config *config, const char *path, const char *named_by, ee_error *err) {
    snprintf(config->policy_origin.origin, sizeof config->policy_origin.origin, "%.500s", path);
    if (is_missing(path)) return eei_fail(err, EE_E_CONFIG, "%s names %s, which does not exist", named_by, path);
    return ee_policy_load(path, &config->policy, err);
}

ee_status client_config_load(const ee_client_options *options, client_config *config, ee_error *err) {
    char policy_path[CLIENT_VALUE_MAX] = "", path[PATH_TEXT_MAX];
    bool has_profile = false;
    ee_status st;

    memset(config, 0, sizeof *config);
    config->timeout_ms = options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
    config->max_retries = options->max_retries == UINT32_MAX ? 0 : options->max_retries ? options->max_retries : DEFAULT_RETRIES;
    if (options->policy) {
        config->policy = eei_policy_ref(options->policy);
        snprintf(config->policy_origin.origin, sizeof config->policy_origin.origin, "argument");
    }
    st = offer(&config->url, "url", options->url, "argument", err);
    if (!st) st = offer(&config->api_key, "api_key", options->api_key, "argument", err);
    if (!st) st = offer(&config->budget, "budget", options->budget, "argument", err);
    if (!st) st = pccs_from_arguments(&config->pccs, options->pccs_url, options->pccs_ca, NULL, err);
    if (!st) st = pccs_from_environment(&config->pccs, err);
    if (!st) st = from_environment(config, policy_path, sizeof policy_path, err);
    if (!st) st = from_profile(options->profile, config, policy_path, sizeof policy_path, &has_profile, err);
    const char *from_env = getenv("EE_POLICY");
    if (!st && *policy_path && !config->policy)
        st = load_policy(config, policy_path, from_env && *from_env ? "EE_POLICY" : config->config_file.origin, err);
    /* A profile never silently takes a devnet's place, and a devnet never shadows a profile. */
    if (!st && !has_profile) st = from_devnet(config, err);
    if (has_profile && client_devnet_path(path, sizeof path, NULL) == EE_OK && access(path, F_OK) == 0)
        note(&config->devnet_file, path, "not used: a profile is");
    if (!st && !config->policy) {
        st = ee_policy_production(&config->policy, err);
        snprintf(config->policy_origin.origin, sizeof config->policy_origin.origin, "default: production");
    }
    if (!st) st = pccs_defaults(&config->pccs, err);
    if (!st) st = check(config, err);
    ee_status shown = make_json(config, st ? NULL : err);
    return st ? st : shown;
}

void client_config_clear(client_config *config) {
    eei_wipe(config->api_key.text, sizeof config->api_key.text);
    eei_wipe(config->admin_token.text, sizeof config->admin_token.text);
    ee_policy_free(config->policy);
    eei_free(config->json);
    memset(config, 0, sizeof *config);
}
