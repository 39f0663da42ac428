/* cli.c - see cli.h. */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
    NAME_BYTES_MAX = 63,
    VALUE_COLUMNS_MIN = 20 /* a time */,
    PROSE_COLUMNS_MAX = 100,
    EXIT_READER_GONE = 128 + 13 /* as if SIGPIPE had ended us */
};

/* ---- errors and talk ------------------------------------------------------------------------------------------------- */

static json_t *money_json(ee_money amount) {
    char text[32];
    (void)ee_money_format(amount, text);
    return json_pack("{s:s, s:I}", "usd", text + 1, "micros", (json_int_t)amount);
}

/* What was typed need not be UTF-8, and may be cut within a character: JSON takes neither. */
static json_t *text_json(const char *text) {
    json_t *value = json_string(text);
    char *copy = value ? NULL : strdup(text);
    for (char *at = copy; at && *at; at++)
        if ((unsigned char)*at >= 0x80) *at = '?';
    if (copy) value = json_string(copy);
    free(copy);
    return value;
}

static void error_json(const ee_error *err, const ee_verdict *refused) {
    json_t *error = json_pack("{s:s, s:o, s:o, s:s, s:b}", "code", err->word, "message", text_json(err->message), "hint",
                              text_json(err->hint), "request_id", err->request_id, "retryable", err->retryable);
    json_t *details = err->details[0] ? json_loads(err->details, 0, NULL) : json_object();
    if (err->status == EE_E_LOW_BALANCE || err->status == EE_E_BUDGET) {
        json_object_set_new(error, "needed", money_json(err->needed)); /* beside the details, as over HTTP */
        json_object_set_new(error, "available", money_json(err->available));
        json_object_set_new(error, "locked", money_json(err->locked));
    }
    if (err->idempotency_key[0]) json_object_set_new(details, "idempotency_key", json_string(err->idempotency_key));
    json_object_set_new(error, "details", details);
    if (refused) json_object_set_new(error, "attestation", json_loads(ee_verdict_json(refused), 0, NULL));
    json_t *document = json_pack("{s:o}", "error", error);
    char *text = json_dumps(document, JSON_COMPACT);
    fprintf(stderr, "%s\n", text ? text : "{}");
    free(text);
    json_decref(document);
}

static void tell_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void tell_line(const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cli_fold(stderr, text, 2);
}

/* An image's name may lead to a registry that is not the configured one. */
static bool is_of_another_registry(const ee_error *err, const json_t *config) {
    const char *own = cli_text(json_object_get(config, "registry"), "value");
    return strstr(err->message, "registry at ") && !(*own && strstr(err->message, own));
}

/* A devnet's program that does not answer will not come back by itself. */
static const ee_error *with_devnet_hint(const cli *c, const ee_error *err, ee_error *copy) {
    if (!c->client || (err->status != EE_E_CONNECT && err->status != EE_E_TIMEOUT)) return err;
    json_t *config = json_loads(ee_client_config_json(c->client), 0, NULL);
    if (cli_uses_devnet(config) && !is_of_another_registry(err, config)) {
        *copy = *err;
        (void)snprintf(
            copy->hint, sizeof copy->hint,
            "`ee devnet status` shows what of the devnet still runs, `ee devnet heal` starts again what ended; `ee devnet down`, then "
            "`ee devnet up`, start anew");
        err = copy;
    }
    json_decref(config);
    return err;
}

/* The library speaks to every caller; here what it advises has a name that can be typed. */
static const ee_error *with_commands(const ee_error *err, ee_error *copy) {
    static const char *const words[][2] = {{"add credits", "add credits with `ee credits buy`"},
                                           {"raise max_cost", "raise --max-cost"},
                                           {"the timeout", "--timeout"},
                                           {"the vcpus", "--vcpus"}};
    if (err->status != EE_E_LOW_BALANCE && err->status != EE_E_BUDGET) return err;
    ee_error made = *err;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char rest[sizeof made.hint];
        char *at = strstr(made.hint, words[i][0]);
        if (!at) continue;
        (void)snprintf(rest, sizeof rest, "%s", at + strlen(words[i][0]));
        (void)snprintf(at, sizeof made.hint - (size_t)(at - made.hint), "%s%s", words[i][1], rest);
    }
    *copy = made;
    return copy;
}

int cli_error(const cli *c, const ee_error *err) {
    ee_error copy, worded;
    ee_verdict *refused = NULL;
    err = with_commands(with_devnet_hint(c, err, &copy), &worded);
    if (err->refusal && c->client && ee_client_refused(c->client, err, &refused, NULL)) refused = NULL; /* told without its table */
    if (c->json) {
        error_json(err, refused);
    } else {
        if (refused) fprintf(stderr, "%s", ee_verdict_text(refused));
        tell_line("ee: %s: %s", err->word, err->message);
        if (err->hint[0]) tell_line("  %s", err->hint);
        if (err->request_id[0]) tell_line("  (request %s)", err->request_id);
    }
    ee_verdict_free(refused);
    return ee_status_exit_code(err->status);
}

int cli_usage(const cli *c, const char *command, const char *format, ...) {
    ee_error err = {.status = EE_E_INVALID};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err.message, sizeof err.message, format, args);
    va_end(args);
    (void)snprintf(err.word, sizeof err.word, "%s", ee_status_word(EE_E_INVALID));
    (void)snprintf(err.hint, sizeof err.hint, "see `ee help%s%s`", command[0] ? " " : "", command);
    return cli_error(c, &err);
}

int cli_file_error(const cli *c, const char *command, const char *option, const char *path) {
    int why = errno;
    ee_error err = {.status = EE_E_NOT_FOUND};
    if (why != ENOENT && why != ENOTDIR) return cli_usage(c, command, "%s%s%.300s: %s", option, option[0] ? " " : "", path, strerror(why));
    (void)snprintf(err.word, sizeof err.word, "%s", ee_status_word(err.status));
    (void)snprintf(err.message, sizeof err.message, "%s%sthere is no file %.300s", option, option[0] ? ": " : "", path);
    return cli_error(c, &err);
}

void cli_talk(const cli *c, const char *format, ...) {
    char text[1024];
    va_list args;
    if (c->quiet || c->json) return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cli_fold(stderr, text, 2);
}

uint64_t cli_clock_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

const char *cli_thousandths(uint64_t n, char buf[32]) {
    int len = snprintf(buf, 32, "%llu.%03u", (unsigned long long)(n / 1000), (unsigned)(n % 1000));
    while (buf[len - 1] == '0') buf[--len] = 0;
    if (buf[len - 1] == '.') buf[--len] = 0;
    return buf;
}

char *cli_read_stream(FILE *from, size_t max, size_t *len) {
    char *data = malloc(max + 2);
    if (!data) return NULL;
    *len = fread(data, 1, max + 1, from);
    data[*len] = 0;
    return data;
}

/* ---- lines ----------------------------------------------------------------------------------------------------------- */

size_t cli_terminal_width(FILE *stream) {
    struct winsize size;
    if (!isatty(fileno(stream))) return SIZE_MAX;
    const char *columns = getenv("COLUMNS");
    if (columns && isdigit((unsigned char)columns[0])) return strtoul(columns, NULL, 10);
    return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

void cli_write_clean(FILE *to, const char *text, size_t most) {
    for (size_t i = 0; i < most && text[i]; i++) (void)fputc((unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i], to);
}

/* A word that is longer than a line stays whole, for ids and paths are copied. */
static void fold_at(FILE *to, const char *text, size_t indent, size_t width) {
    size_t at = 0;
    while (*text) {
        size_t gap = strspn(text, " "), word = strcspn(text + gap, " ");
        if (at > indent && word && at + gap + word > width) {
            (void)fprintf(to, "\n%*s", (int)indent, "");
            at = indent;
        } else {
            cli_write_clean(to, text, gap);
            at += gap;
        }
        cli_write_clean(to, text + gap, word);
        at += word;
        text += gap + word;
    }
    (void)fputc('\n', to);
}

void cli_fold(FILE *to, const char *text, size_t indent) { fold_at(to, text, indent, cli_terminal_width(to)); }

/* Where a line's explanation begins: behind its last gap of two spaces or more; behind its indent when there is none. */
static size_t explanation_of(const char *line) {
    size_t lead = strspn(line, " "), at = 0;
    for (size_t i = lead; line[i]; i++)
        if (i > lead + 1 && line[i - 1] == ' ' && line[i - 2] == ' ' && line[i] != ' ') at = i;
    return at ? at : lead + 2;
}

void cli_fold_lines(FILE *to, const char *text) {
    size_t width = cli_terminal_width(to) < PROSE_COLUMNS_MAX ? cli_terminal_width(to) : PROSE_COLUMNS_MAX;
    while (*text) {
        char line[512];
        size_t len = strcspn(text, "\n");
        (void)snprintf(line, sizeof line, "%.*s", (int)len, text);
        size_t indent = explanation_of(line);
        fold_at(to, line, indent + VALUE_COLUMNS_MIN <= width ? indent : strspn(line, " ") + 2, width);
        text += len + (text[len] == '\n');
    }
}

/* ---- client ---------------------------------------------------------------------------------------------------------- */

/* A variable goes before the profile that was asked for by name: then somebody else may be paying. */
static void tell_overruled(const cli *c) {
    static const char *const names[] = {"url", "network_id", "api_key", "registry", "budget"};
    char found[256] = "";
    size_t len = 0;
    json_t *settings = json_loads(ee_client_config_json(c->client), 0, NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *origin = cli_text(json_object_get(settings, names[i]), "origin");
        if (strncmp(origin, "EE_", 3) == 0) len += (size_t)snprintf(found + len, sizeof found - len, "%s%.40s", len ? ", " : "", origin);
    }
    json_decref(settings);
    if (len) cli_talk(c, "ee: this shell's %s go before --profile %s; unset them to use the profile's", found, c->profile);
}

ee_status cli_client_make(cli *c, ee_error *err) {
    ee_client_options options;
    if (c->client) return EE_OK;
    ee_client_options_init(&options);
    options.profile = c->profile;
    options.url = c->url;
    ee_status st = ee_client_new(&options, &c->client, err);
    if (!st && c->profile) tell_overruled(c);
    return st;
}

ee_client *cli_client(cli *c, int *code) {
    ee_error err = {0};
    *code = cli_client_make(c, &err) ? cli_error(c, &err) : 0;
    return c->client;
}

ee_app *cli_connect(cli *c, const char *name, int *code) {
    ee_client *client = cli_client(c, code);
    ee_connect_options options;
    ee_app *app = NULL;
    ee_error err = {0};
    if (!client) return NULL;
    ee_connect_options_init(&options);
    options.cancel = c->cancel;
    if (ee_connect(client, name, &options, &app, &err)) *code = cli_error(c, &err);
    return app;
}

json_t *cli_call(cli *c, const char *method, const char *path, const json_t *body, const char *key, int *code) {
    ee_client *client = cli_client(c, code);
    ee_error err = {0};
    char *text = NULL, *body_text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_t *answer = NULL;
    if (!client) return NULL;
    if (ee_client_call(client, method, path, body_text, key, c->cancel, &text, &err))
        *code = cli_error(c, &err);
    else
        answer = json_loads(text, 0, NULL);
    ee_string_free(text);
    free(body_text);
    return answer;
}

json_t *cli_list(cli *c, const char *path, int *code) {
    json_t *all = cli_call(c, "GET", path, NULL, NULL, code), *next = json_incref(json_object_get(all, "next"));
    while (json_is_string(next)) {
        char after[256];
        (void)snprintf(after, sizeof after, "%s?after=%s", path, json_string_value(next));
        json_decref(next);
        json_t *page = cli_call(c, "GET", after, NULL, NULL, code);
        next = json_incref(json_object_get(page, "next"));
        if (page) {
            (void)json_array_extend(json_object_get(all, "items"), json_object_get(page, "items"));
        } else {
            json_decref(all);
            all = NULL;
        }
        json_decref(page);
    }
    json_decref(next);
    if (all) (void)json_object_set_new(all, "next", json_null());
    return all;
}

void cli_print_json(const json_t *value) {
    (void)json_dumpf(value, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    (void)fputc('\n', stdout);
}

void cli_print_json_text(const char *text) {
    json_t *value = json_loads(text, 0, NULL);
    cli_print_json(value);
    json_decref(value);
}

static json_t *base64_json(ee_span bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc(bytes.len / 3 * 4 + 5), *at = text;
    if (!text) return NULL;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        unsigned three =
            (unsigned)bytes.data[i] << 16 | (left > 1 ? (unsigned)bytes.data[i + 1] << 8 : 0) | (left > 2 ? bytes.data[i + 2] : 0u);
        *at++ = digits[three >> 18];
        *at++ = digits[three >> 12 & 63];
        *at++ = left > 1 ? digits[three >> 6 & 63] : '=';
        *at++ = left > 2 ? digits[three & 63] : '=';
    }
    json_t *value = json_stringn(text, (size_t)(at - text));
    free(text);
    return value;
}

void cli_json_bytes(json_t *object, const char *name, ee_span bytes) {
    char other[64];
    json_t *text = json_stringn(bytes.len ? (const char *)bytes.data : "", bytes.len);
    (void)snprintf(other, sizeof other, "%s_base64", name);
    bool is_text = text != NULL;
    json_object_set_new(object, name, is_text ? text : json_null());
    json_object_set_new(object, other, is_text ? json_null() : base64_json(bytes));
}

static void write_field(FILE *to, const json_t *value) {
    char money[32];
    const json_t *origin = json_object_get(value, "origin");
    if (json_is_string(value)) {
        (void)fputs(json_string_length(value) ? json_string_value(value) : "-", to);
    } else if (json_is_integer(json_object_get(value, "micros"))) {
        (void)fputs(ee_money_format(json_integer_value(json_object_get(value, "micros")), money), to);
    } else if (origin) { /* a setting and where it comes from */
        write_field(to, json_object_get(value, "value"));
        (void)fputs("   (", to);
        write_field(to, origin);
        (void)fputc(')', to);
    } else {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        (void)fputs(json_is_null(value) || !text ? "-" : text, to);
        free(text);
    }
}

/* How people say it: no units in the name, and sizes as they may be typed. The name's length, and the value in `text` ("" = as it is). */
static size_t for_people(const char *key, const json_t *value, char text[32]) {
    static const char *const ends[] = {"_ppm", "_milli", "_bytes"};
    size_t len = strlen(key), kind = 0, shift = 0;
    text[0] = 0;
    for (; kind < 3; kind++)
        if (len > strlen(ends[kind]) && strcmp(key + len - strlen(ends[kind]), ends[kind]) == 0) break;
    if (!json_is_integer(value) || (kind == 3 && strcmp(key, "memory_used") != 0)) return len;
    unsigned long long n = (unsigned long long)json_integer_value(value);
    if (kind < 2) {
        (void)cli_thousandths(kind == 0 ? n / 1000 : n, text);
        return len - strlen(ends[kind]);
    }
    while (n && n % 1024 == 0 && shift < 4) {
        n /= 1024;
        shift++;
    }
    (void)snprintf(text, 32, "%llu%.1s", n, &"\0KMGT"[shift]);
    return kind == 2 ? len - strlen(ends[kind]) : len;
}

void cli_print_fields(const json_t *object) {
    const char *key;
    json_t *value;
    size_t width = 0;
    char said[32];
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        size_t len = for_people(key, value, said);
        width = len > width ? len : width;
    }
    bool beside = width + 2 + VALUE_COLUMNS_MIN <= cli_terminal_width(stdout); /* else below its name */
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        char *text = NULL;
        size_t len = 0, name = for_people(key, value, said);
        FILE *to = open_memstream(&text, &len);
        if (!to) return;
        if (!beside) (void)printf("%.*s\n", (int)name, key);
        (void)fprintf(to, "%.*s%*s", beside ? (int)name : 0, key, (int)(beside ? width - name + 2 : 2), "");
        if (said[0])
            (void)fputs(said, to);
        else
            write_field(to, value);
        (void)fclose(to);
        cli_fold(stdout, text, beside ? width + 2 : 2);
        free(text);
    }
}

void cli_print_object(const cli *c, const json_t *object) {
    if (c->json)
        cli_print_json(object);
    else
        cli_print_fields(object);
}

/* ---- options --------------------------------------------------------------------------------------------------------- */

static const cli_option *find_option(const cli_option *options, size_t count, const char *arg, size_t len) {
    for (size_t i = 0; i < count; i++) {
        if (options[i].name && strlen(options[i].name) == len && strncmp(options[i].name, arg, len) == 0) return &options[i];
        if (options[i].short_name && strlen(options[i].short_name) == len && strncmp(options[i].short_name, arg, len) == 0)
            return &options[i];
    }
    return NULL;
}

static int take_option(const cli *c, const char *command, const cli_option *option, const char *arg, const char *value) {
    if (option->takes_value && !value) return cli_usage(c, command, "%s needs a value", arg);
    if (!option->takes_value && value) return cli_usage(c, command, "%s takes no value", arg);
    if (option->flag) *option->flag = true;
    if (option->value) *option->value = value;
    if (option->list) {
        if (*option->list_count >= option->list_max) return cli_usage(c, command, "%s is given more than %zu times", arg, option->list_max);
        option->list[(*option->list_count)++] = value;
        option->list[*option->list_count] = NULL;
    }
    return 0;
}

int cli_parse(const cli *c, const char *command, int argc, char **argv, const cli_option *options, size_t count, char **rest,
              int *rest_count) {
    *rest_count = 0;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "--") == 0) {
            for (; i < argc; i++) rest[(*rest_count)++] = argv[i]; /* with the "--", so that a command can tell its own part */
            break;
        }
        /* "-1" is an amount, and the amount's own check says what is wrong with it. */
        if (arg[0] != '-' || arg[1] == 0 || strchr("0123456789.$", arg[1])) {
            rest[(*rest_count)++] = argv[i];
            continue;
        }
        const char *equals = arg[1] == '-' ? strchr(arg, '=') : NULL, *value = equals ? equals + 1 : NULL;
        size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
        const cli_option *option = find_option(options, count, arg, len);
        if (!option) return cli_usage(c, command, "there is no option %.*s", (int)len, arg);
        if (option->takes_value && !value && i + 1 < argc) value = argv[++i];
        int code = take_option(c, command, option, arg, value);
        if (code) return code;
    }
    rest[*rest_count] = NULL;
    return 0;
}

int cli_arguments(const cli *c, const char *command, int argc, char **argv, int min, int max, const char **values, const char *usage) {
    int count = 0;
    bool only_values = false;
    for (int i = 0; i < max; i++) values[i] = NULL;
    for (int i = 1; i < argc; i++) {
        if (!only_values && strcmp(argv[i], "--") == 0) {
            only_values = true;
            continue;
        }
        if (!only_values && argv[i][0] == '-' && argv[i][1])
            return cli_usage(c, command, "there is no option %s; write: %s", argv[i], usage);
        if (count >= max) return cli_usage(c, command, "\"%s\" is too much; write: %s", argv[i], usage);
        values[count++] = argv[i];
    }
    return count < min ? cli_usage(c, command, "something is missing; write: %s", usage) : 0;
}

int cli_check_name(const cli *c, const char *command, const char *what, const char *name) {
    size_t len = strlen(name);
    if (!len || len > NAME_BYTES_MAX)
        return cli_usage(c, command, "the name of %s has %zu bytes; it must have 1 to %d", what, len, NAME_BYTES_MAX);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
            return cli_usage(c, command, "\"%.63s\" is not the name of %s: byte %zu is none of a-z A-Z 0-9 . _ -", name, what, i + 1);
    return 0;
}

/* What is wrong with an option's value, behind the option's name. */
static int option_error(const cli *c, const char *option, const ee_error *err) {
    ee_error named = *err;
    (void)snprintf(named.message, sizeof named.message, "%s %.400s", option, err->message);
    return cli_error(c, &named);
}

int cli_take_duration(const cli *c, const char *option, const char *text, uint64_t *ms) {
    ee_error err = {0};
    return text && ee_duration_parse(text, ms, &err) ? option_error(c, option, &err) : 0;
}

int cli_take_size(const cli *c, const char *option, const char *text, uint64_t *bytes) {
    ee_error err = {0};
    return text && ee_size_parse(text, bytes, &err) ? option_error(c, option, &err) : 0;
}

int cli_take_vcpus(const cli *c, const char *command, const char *text, double *vcpus) {
    if (!text) return 0;
    bool decimal = isdigit((unsigned char)text[0]) && strspn(text, "0123456789.") == strlen(text);
    char *end = NULL;
    *vcpus = decimal ? strtod(text, &end) : 0;
    return end && !*end && *vcpus > 0 ? 0 : cli_usage(c, command, "--vcpus \"%.40s\" is not a number above 0, such as 2 or 0.5", text);
}

/* ---- tables ---------------------------------------------------------------------------------------------------------- */

void cli_table_add(cli_table *table, const char *const *cells) {
    void *grown = realloc(table->cells, (table->rows + 1) * sizeof *table->cells);
    if (!grown) return;
    table->cells = grown;
    for (size_t i = 0; i < table->columns; i++) table->cells[table->rows][i] = strdup(cells[i] ? cells[i] : "");
    table->rows++;
}

static size_t shown_columns(const cli_table *table, const size_t *widths) {
    size_t total = 0, limit = cli_terminal_width(stdout);
    for (size_t i = 0; i < table->columns; i++) {
        total += widths[i] + (i ? 2 : 0);
        if (total > limit && i > 0) return i;
    }
    return table->columns;
}

static void print_row(const cli_table *table, char *const *cells, const size_t *widths, size_t shown) {
    for (size_t i = 0; i < shown; i++) {
        size_t len = strlen(cells[i]), pad = widths[i] > len ? widths[i] - len : 0;
        if (i) (void)fputs("  ", stdout);
        if (table->right[i]) (void)printf("%*s", (int)pad, "");
        cli_write_clean(stdout, cells[i], SIZE_MAX);
        if (!table->right[i] && i + 1 < shown) (void)printf("%*s", (int)pad, "");
    }
    (void)fputc('\n', stdout);
}

void cli_table_print(cli_table *table) {
    size_t widths[CLI_COLUMNS_MAX] = {0};
    char *heads[CLI_COLUMNS_MAX];
    for (size_t i = 0; i < table->columns; i++) {
        heads[i] = (char *)(uintptr_t)table->heads[i];
        widths[i] = strlen(table->heads[i]);
        for (size_t r = 0; r < table->rows; r++)
            if (strlen(table->cells[r][i]) > widths[i]) widths[i] = strlen(table->cells[r][i]);
    }
    size_t shown = shown_columns(table, widths);
    print_row(table, heads, widths, shown);
    for (size_t r = 0; r < table->rows; r++) {
        print_row(table, table->cells[r], widths, shown);
        for (size_t i = 0; i < table->columns; i++) free(table->cells[r][i]);
    }
    free(table->cells);
    table->cells = NULL;
    table->rows = 0;
}

const char *cli_money(const json_t *object, const char *field, char buf[32]) {
    const json_t *micros = json_object_get(json_object_get(object, field), "micros");
    buf[0] = 0;
    return json_is_integer(micros) ? ee_money_format(json_integer_value(micros), buf) : buf;
}

const char *cli_text(const json_t *object, const char *field) {
    const char *text = json_string_value(json_object_get(object, field));
    return text ? text : "";
}

long long cli_number(const json_t *object, const char *field) { return json_integer_value(json_object_get(object, field)); }

/* ---- output of jobs -------------------------------------------------------------------------------------------------- */

/* The length of a colour sequence ESC [ digits ; ... m at the front, 0 if it is none. */
static size_t colour_sequence(const unsigned char *at, size_t left) {
    if (left < 3 || at[0] != 0x1b || at[1] != '[') return 0;
    for (size_t i = 2; i < left && i < 20; i++) {
        if (at[i] == 'm') return i + 1;
        if (!isdigit(at[i]) && at[i] != ';') return 0;
    }
    return 0;
}

static void write_shown(const cli *c, FILE *to, const unsigned char *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        size_t colour = colour_sequence(bytes + i, len - i);
        if (colour) {
            if (c->color) (void)fwrite(bytes + i, 1, colour, to);
            i += colour - 1;
        } else if ((bytes[i] < ' ' && bytes[i] != '\n' && bytes[i] != '\t' && bytes[i] != '\r') || bytes[i] == 0x7f) {
            (void)fprintf(to, "\\x%02x", bytes[i]);
        } else {
            (void)fputc(bytes[i], to);
        }
    }
}

bool cli_write_output(cli *c, FILE *to, const void *data, size_t len) {
    if (c->raw || !isatty(fileno(to)))
        (void)fwrite(data, 1, len, to);
    else
        write_shown(c, to, data, len);
    if (fflush(to) == 0 && !ferror(to)) return true;
    if (!c->output_errno) c->output_errno = errno;
    return false;
}

static bool reader_gone(FILE *stream) {
    struct pollfd reader = {.fd = fileno(stream)};
    return ferror(stream) && poll(&reader, 1, 0) == 1 && (reader.revents & (POLLERR | POLLHUP));
}

void cli_note_done(cli *c, const char *key, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(c->done, sizeof c->done, format, args);
    va_end(args);
    (void)snprintf(c->done_key, sizeof c->done_key, "%s", key);
}

int cli_finish_output(const cli *c, int code) {
    ee_error err = {.status = EE_E_IO};
    int rc = fflush(stdout), why = rc ? errno : c->output_errno;
    /* An earlier write may have failed: then errno is somebody else's by now, and the pipe itself knows. */
    bool unread = (rc && why == EPIPE) || reader_gone(stdout) || reader_gone(stderr);
    if (rc == 0 && !ferror(stdout) && !unread) return code;
    if (unread && !c->done[0]) return EXIT_READER_GONE;
    (void)snprintf(err.word, sizeof err.word, "%s", ee_status_word(EE_E_IO));
    (void)snprintf(err.message, sizeof err.message, "standard output could not be written%s%s", why ? ": " : "", why ? strerror(why) : "");
    (void)snprintf(err.hint, sizeof err.hint, "%s", c->done);
    (void)snprintf(err.idempotency_key, sizeof err.idempotency_key, "%s", c->done_key);
    (void)cli_error(c, &err);
    return unread ? EXIT_READER_GONE : 1;
}
