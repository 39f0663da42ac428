/* job_env.c - see job_env.h. */
#include "cli/job_env.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_VALUE_MAX = 1 << 20, ENV_FILE_MAX = 4 << 20 };

void job_env_free(job_env *env) {
    if (!env) return;
    for (size_t i = 0; i < env->count; i++) {
        explicit_bzero(env->items[i], strlen(env->items[i]));
        free(env->items[i]);
    }
    free(env);
}

static int add_env(const cli *c, job_env *env, const char *name, size_t name_len, const char *value) {
    size_t size = name_len + strlen(value) + 2;
    if (env->count >= JOB_ENV_MAX) return cli_usage(c, "run", "more than %d environment variables", JOB_ENV_MAX);
    char *item = malloc(size);
    if (!item) return 1;
    (void)snprintf(item, size, "%.*s=%s", (int)name_len, name, value);
    env->items[env->count++] = item;
    return 0;
}

static int add_env_value(const cli *c, job_env *env, const char *name, size_t name_len, const char *data, size_t len) {
    if (len > FILE_VALUE_MAX) return cli_usage(c, "run", "-e %.*s: the value has more than %d bytes", (int)name_len, name, FILE_VALUE_MAX);
    if (strlen(data) != len) /* what is behind would be lost */
        return cli_usage(c, "run", "-e %.*s: byte %zu of the value is a NUL, which no environment can hold", (int)name_len, name,
                         strlen(data) + 1);
    return add_env(c, env, name, name_len, data);
}

/* NAME, NAME=value, NAME=@file, NAME=-. A value is never in a message. */
int job_env_argument(const cli *c, job_env *env, const char *arg) {
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
    char *data = cli_read_stream(from, FILE_VALUE_MAX, &len);
    int code = !data ? 1 : ferror(from) ? cli_file_error(c, "run", "-e", path) : add_env_value(c, env, arg, name_len, data, len);
    if (from != stdin) (void)fclose(from);
    if (data) explicit_bzero(data, len);
    free(data);
    return code;
}

/* One line, closed by its NUL. What is no name is refused here already, with the line's number: it may be the rest of a value. */
static int add_env_line(const cli *c, job_env *env, const char *path, unsigned number, const char *line, size_t len) {
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

int job_env_file(const cli *c, job_env *env, const char *path) {
    size_t len = 0;
    int code = 0;
    FILE *from = fopen(path, "rb");
    if (!from) return cli_file_error(c, "run", "--env-file", path);
    char *text = cli_read_stream(from, ENV_FILE_MAX, &len), *at = text;
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
