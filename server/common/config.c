/* config.c - see config.h. The one place of the servers that reads the environment. */
#include "common/config.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/toml.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20, NAME_MAX_BYTES = 96, KEYS_MAX = 128 };

typedef enum origin { FROM_NOWHERE, FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG } origin;

typedef struct loading {
    const config_key *keys;
    size_t count;
    uint8_t *out;
    origin origins[KEYS_MAX];
    char file[256];
} loading;

static const char *origin_word(const loading *l, origin from) {
    static const char *const words[] = {"nowhere", "default", NULL, "environment", "flag"};
    return from == FROM_FILE ? l->file : words[from];
}

/* ---- names ----------------------------------------------------------------------------------------------------------- */

/* "listen.port" -> "EE_LISTEN_PORT" */
static void environment_name(const char *key, char out[NAME_MAX_BYTES]) {
    int n = snprintf(out, NAME_MAX_BYTES, "EE_%s", key);
    EE_ASSERT(n > 0 && n < NAME_MAX_BYTES);
    for (char *p = out; *p; p++) *p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
}

/* "listen.port" -> "--listen-port" */
static void flag_name(const char *key, char out[NAME_MAX_BYTES]) {
    int n = snprintf(out, NAME_MAX_BYTES, "--%s", key);
    EE_ASSERT(n > 0 && n < NAME_MAX_BYTES);
    for (char *p = out; *p; p++)
        if (*p == '.' || *p == '_') *p = '-';
}

static const config_key *find_key(const loading *l, const char *name) {
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->keys[i].name, name) == 0) return &l->keys[i];
    return NULL;
}

/* ---- values ---------------------------------------------------------------------------------------------------------- */

static ee_status wrong(const loading *l, const config_key *key, origin from, const char *why, ee_error *err) {
    char name[NAME_MAX_BYTES];
    if (from == FROM_FLAG)
        flag_name(key->name, name);
    else if (from == FROM_ENVIRONMENT)
        environment_name(key->name, name);
    else
        (void)snprintf(name, sizeof name, "%s", key->name);
    return from == FROM_FILE ? eei_fail(err, EE_E_CONFIG, "%s: key \"%s\" %s", l->file, name, why)
                             : eei_fail(err, EE_E_CONFIG, "%s %s", name, why);
}

static bool parse_number(const char *text, uint64_t *out) {
    size_t digits = strspn(text, "0123456789");
    *out = 0;
    if (digits == 0 || text[digits]) return false;
    for (const char *p = text; *p; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (*out > (UINT64_MAX - digit) / 10) return false;
        *out = *out * 10 + digit;
    }
    return true;
}

static ee_status set_text(loading *l, const config_key *key, origin from, const char *text, ee_error *err) {
    char why[96];
    uint8_t *at = l->out + key->offset;
    uint64_t number = 0;
    switch (key->kind) {
    case CONFIG_TEXT:
    case CONFIG_SECRET:
        (void)snprintf(why, sizeof why, "is over %zu bytes", key->size - 1);
        if (strlen(text) >= key->size) return wrong(l, key, from, why, err);
        (void)snprintf((char *)at, key->size, "%s", text);
        break;
    case CONFIG_NUMBER:
        (void)snprintf(why, sizeof why, "must be a whole number from %llu to %llu", (unsigned long long)key->min,
                       (unsigned long long)(key->max ? key->max : UINT64_MAX));
        if (!parse_number(text, &number) || number < key->min || (key->max && number > key->max)) return wrong(l, key, from, why, err);
        memcpy(at, &number, sizeof number);
        break;
    case CONFIG_BOOL: {
        bool yes = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
        if (!yes && strcmp(text, "false") != 0 && strcmp(text, "0") != 0) return wrong(l, key, from, "must be true or false", err);
        memcpy(at, &yes, sizeof yes);
        break;
    }
    }
    l->origins[key - l->keys] = from;
    return EE_OK;
}

/* ---- sources --------------------------------------------------------------------------------------------------------- */

static ee_status take_defaults(loading *l, ee_error *err) {
    ee_status st = EE_OK;
    for (size_t i = 0; i < l->count && !st; i++)
        if (l->keys[i].fallback) st = set_text(l, &l->keys[i], FROM_DEFAULT, l->keys[i].fallback, err);
    return st;
}

static ee_status take_leaf(loading *l, const eei_toml *file, const char *name, const json_t *value, ee_error *err) {
    char text[32];
    const config_key *key = find_key(l, name);
    if (!key) return eei_toml_fail(file, name, err, "is not a key that is known here");
    bool is_text = key->kind == CONFIG_TEXT || key->kind == CONFIG_SECRET;
    if (is_text != json_is_string(value) || (key->kind == CONFIG_BOOL) != json_is_boolean(value))
        return eei_toml_fail(file, name, err, "must be a %s",
                             is_text                    ? "text in quotes"
                             : key->kind == CONFIG_BOOL ? "true or false"
                                                        : "number");
    if (json_is_string(value)) return set_text(l, key, FROM_FILE, json_string_value(value), err);
    if (json_is_boolean(value)) return set_text(l, key, FROM_FILE, json_is_true(value) ? "true" : "false", err);
    if (!json_is_integer(value)) return eei_toml_fail(file, name, err, "must be a number");
    (void)snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
    return set_text(l, key, FROM_FILE, text, err);
}

/* Tables nest once: "table.key". */
static ee_status take_file(loading *l, const char *path, ee_error *err) {
    eei_toml *file = NULL;
    const char *name, *inner_name;
    json_t *value, *inner;
    char full[NAME_MAX_BYTES];
    ee_status st = eei_toml_load(path, FILE_MAX, &file, err);
    if (st) return st;
    (void)snprintf(l->file, sizeof l->file, "%s", path);
    json_object_foreach((json_t *)(uintptr_t)eei_toml_root(file), name, value) {
        if (st) break;
        if (!json_is_object(value)) {
            st = take_leaf(l, file, name, value, err);
            continue;
        }
        json_object_foreach(value, inner_name, inner) {
            if (st) break;
            if (snprintf(full, sizeof full, "%s.%s", name, inner_name) >= (int)sizeof full)
                st = eei_toml_fail(file, name, err, "has a key with a name that is too long");
            else
                st = take_leaf(l, file, full, inner, err);
        }
    }
    eei_toml_free(file);
    return st;
}

static ee_status take_environment(loading *l, ee_error *err) {
    char name[NAME_MAX_BYTES];
    ee_status st = EE_OK;
    for (size_t i = 0; i < l->count && !st; i++) {
        environment_name(l->keys[i].name, name);
        const char *value = getenv(name);
        if (value) st = set_text(l, &l->keys[i], FROM_ENVIRONMENT, value, err);
    }
    return st;
}

static const config_key *match_flag(const loading *l, const char *arg, const char **value) {
    char name[NAME_MAX_BYTES];
    for (size_t i = 0; i < l->count; i++) {
        flag_name(l->keys[i].name, name);
        size_t len = strlen(name);
        if (strncmp(arg, name, len) != 0 || (arg[len] && arg[len] != '=')) continue;
        *value = arg[len] ? arg + len + 1 : NULL;
        return &l->keys[i];
    }
    return NULL;
}

/* --key value, --key=value; --key alone for true. --config was read before. */
static ee_status take_flags(loading *l, int argc, const char *const *argv, ee_error *err) {
    ee_status st = EE_OK;
    for (int i = 1; i < argc && !st; i++) {
        const char *value = NULL;
        if (strcmp(argv[i], "--config") == 0) {
            i++;
            continue;
        }
        if (strncmp(argv[i], "--config=", 9) == 0) continue;
        const config_key *key = match_flag(l, argv[i], &value);
        if (!key) return eei_hint(err, eei_fail(err, EE_E_CONFIG, "\"%.64s\" is not a flag that is known here", argv[i]), "see --help");
        if (key->kind == CONFIG_SECRET)
            return wrong(l, key, FROM_FLAG, "is a secret: give it in the file or the environment, flags can be seen by everybody", err);
        if (!value && key->kind == CONFIG_BOOL) value = "true";
        if (!value && i + 1 < argc) value = argv[++i];
        st = value ? set_text(l, key, FROM_FLAG, value, err) : wrong(l, key, FROM_FLAG, "needs a value", err);
    }
    return st;
}

/* --config and --help come first: what they say decides what else is read. */
static ee_status find_file(int argc, const char *const *argv, const char *default_path, const char **out, ee_error *err) {
    *out = getenv("EE_CONFIG");
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0) *out = argv[i] + 9;
        if (strcmp(argv[i], "--config") != 0) continue;
        if (i + 1 == argc) return eei_fail(err, EE_E_CONFIG, "--config needs a path");
        *out = argv[i + 1];
    }
    if (!*out && default_path && access(default_path, F_OK) == 0) *out = default_path;
    return EE_OK;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------- */

static ee_status check_given(const loading *l, ee_error *err) {
    for (size_t i = 0; i < l->count; i++) {
        char flag[NAME_MAX_BYTES], variable[NAME_MAX_BYTES];
        if (l->origins[i] != FROM_NOWHERE) continue;
        flag_name(l->keys[i].name, flag);
        environment_name(l->keys[i].name, variable);
        if (l->keys[i].kind == CONFIG_SECRET)
            return eei_fail(err, EE_E_CONFIG, "%s is not set: give %s or the key in the file", l->keys[i].name, variable);
        return eei_fail(err, EE_E_CONFIG, "%s is not set: give %s, %s or the key in the file", l->keys[i].name, flag, variable);
    }
    return EE_OK;
}

static void log_values(const loading *l) {
    for (size_t i = 0; i < l->count; i++) {
        const config_key *key = &l->keys[i];
        const uint8_t *at = l->out + key->offset;
        const char *from = origin_word(l, l->origins[i]);
        uint64_t number = 0;
        bool yes = false;
        switch (key->kind) {
        case CONFIG_TEXT: eei_log(EEI_LOG_INFO, "config", "key=%s value=%s from=%s", key->name, (const char *)at, from); break;
        case CONFIG_SECRET: eei_log(EEI_LOG_INFO, "config", "key=%s value=%s from=%s", key->name, *at ? "****" : "", from); break;
        case CONFIG_NUMBER:
            memcpy(&number, at, sizeof number);
            eei_log(EEI_LOG_INFO, "config", "key=%s value=%llu from=%s", key->name, (unsigned long long)number, from);
            break;
        case CONFIG_BOOL:
            memcpy(&yes, at, sizeof yes);
            eei_log(EEI_LOG_INFO, "config", "key=%s value=%s from=%s", key->name, yes ? "true" : "false", from);
            break;
        }
    }
}

void config_usage(const config_key *keys, size_t count, const char *program, FILE *to) {
    char flag[NAME_MAX_BYTES], variable[NAME_MAX_BYTES];
    (void)fprintf(to,
                  "usage: %s [--config FILE] [--key value]...\n\nEvery key may stand in FILE (TOML), in the environment, or be a flag:\n\n",
                  program);
    for (size_t i = 0; i < count; i++) {
        flag_name(keys[i].name, flag);
        environment_name(keys[i].name, variable);
        (void)fprintf(to, "  %-24s %-28s %s", keys[i].kind == CONFIG_SECRET ? "" : flag, variable, keys[i].help);
        if (keys[i].fallback && *keys[i].fallback) (void)fprintf(to, " [%s]", keys[i].kind == CONFIG_SECRET ? "****" : keys[i].fallback);
        (void)fprintf(to, "%s\n", keys[i].fallback ? "" : " (required)");
    }
}

ee_status config_load(const config_key *keys, size_t count, const char *default_path, int argc, const char *const *argv, void *out,
                      ee_error *err) {
    loading l = {.keys = keys, .count = count, .out = out};
    const char *path = NULL;
    EE_ASSERT(count <= KEYS_MAX);
    for (size_t i = 0; i < count; i++) {
        bool reason = keys[i].measure == CONFIG_PRESENCE || keys[i].measure == CONFIG_NEUTRAL;
        EE_ASSERT(keys[i].measure >= CONFIG_MEASURED && keys[i].measure <= CONFIG_NEUTRAL && reason == (keys[i].why != NULL));
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") != 0) continue;
        config_usage(keys, count, argv[0], stdout);
        return EE_E_END;
    }
    for (size_t i = 0; i < count; i++) memset(l.out + keys[i].offset, 0, keys[i].size);
    ee_status st = take_defaults(&l, err);
    if (!st) st = find_file(argc, argv, default_path, &path, err);
    if (!st && path && *path) st = take_file(&l, path, err);
    if (!st) st = take_environment(&l, err);
    if (!st) st = take_flags(&l, argc, argv, err);
    if (!st) st = check_given(&l, err);
    if (!st) log_values(&l);
    return st;
}

int config_ready_fd(void) {
    const char *text = getenv("EE_READY_FD");
    uint64_t number = 0;
    return text && parse_number(text, &number) && number <= INT32_MAX ? (int)number : -1;
}
