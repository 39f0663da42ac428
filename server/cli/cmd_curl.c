/* cmd_curl.c - `ee curl` and `ee forward`: from a shell to a private app. Bodies of any size go through in flat memory, both ways. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADERS_MAX = 64, BLOCK_BYTES = 256 << 10, LOOK_MS = 100 /* how often a wait for input looks for Ctrl-C */ };

/* ---- the body that goes out ------------------------------------------------------------------------------------------ */

typedef struct source {
    const char *option, *path; /* "-T", "-" */
    int fd;
    uint64_t bytes; /* of a regular file; 0 = not known */
    bool empty;
} source;

static int source_fail(cli *c, const source *from, int why) {
    errno = why;
    return cli_file_error(c, "curl", from->option, from->path);
}

static int open_source(cli *c, source *from) {
    struct stat info;
    bool standard = strcmp(from->path, "-") == 0;
    from->fd = standard ? STDIN_FILENO : open(from->path, O_RDONLY | O_CLOEXEC);
    if (from->fd < 0 || fstat(from->fd, &info) != 0) return source_fail(c, from, errno);
    if (S_ISDIR(info.st_mode)) return source_fail(c, from, EISDIR);
    if (!S_ISREG(info.st_mode)) return 0;
    off_t at = lseek(from->fd, 0, SEEK_CUR);
    if (at >= 0 && at <= info.st_size) from->bytes = (uint64_t)(info.st_size - at);
    from->empty = from->bytes == 0;
    return 0;
}

static void close_source(source *from) {
    if (from->fd > STDIN_FILENO) (void)close(from->fd);
}

/* Some more of it; 0 at the end. -1: Ctrl-C, or errno says. */
static ssize_t read_source(cli *c, const source *from, char *block) {
    for (;;) {
        struct pollfd input = {.fd = from->fd, .events = POLLIN};
        if (ee_cancel_fired(c->cancel)) {
            errno = EINTR;
            return -1;
        }
        int ready = poll(&input, 1, LOOK_MS);
        if (ready < 0 && errno != EINTR) return -1;
        if (ready <= 0) continue;
        ssize_t n = read(from->fd, block, BLOCK_BYTES);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        /* Whoever wrote into a pipe was interrupted too: what it did not write any more must not look like the end. */
        if (n == 0 && ee_cancel_fired(c->cancel)) continue;
        return n;
    }
}

static int write_body(cli *c, ee_upload *upload, const source *from) {
    char *block = malloc(BLOCK_BYTES);
    ee_error err = {0};
    ee_status st = EE_OK;
    int code = block ? 0 : 1;
    while (!code && !st) {
        ssize_t n = read_source(c, from, block);
        if (n == 0) break;
        if (n < 0 && ee_cancel_fired(c->cancel)) {
            code = 130;
        } else if (n < 0) {
            code = source_fail(c, from, errno);
        } else {
            st = ee_upload_write(upload, (ee_span){(const uint8_t *)block, (size_t)n}, &err);
        }
    }
    free(block);
    if (st && st != EE_E_END) code = cli_error(c, &err); /* the end: the app has answered already */
    return code;
}

static int send_source(cli *c, ee_app *app, const char *method, const char *path, ee_request_options *options, const source *from,
                       ee_response **response) {
    ee_upload *upload = NULL;
    ee_error err = {0};
    int code = 0;
    options->body_bytes = from->bytes;
    if (ee_upload_open(app, method, path, options, &upload, &err)) return cli_error(c, &err);
    code = write_body(c, upload, from);
    if (!code && ee_upload_finish(upload, response, &err)) code = cli_error(c, &err);
    ee_upload_free(upload);
    return code;
}

/* ---- the answer ------------------------------------------------------------------------------------------------------ */

enum { EXIT_HTTP_ERROR = 22 }; /* curl's own, with --fail */

static int print_document(ee_response *response) {
    ee_span body = ee_response_body(response);
    json_t *headers = json_object();
    for (size_t i = 0; i < ee_response_header_count(response); i++)
        json_object_set_new(headers, ee_response_header_name(response, i), json_string(ee_response_header_value(response, i)));
    json_t *value = json_pack("{s:i, s:o}", "status", ee_response_status(response), "headers", headers);
    cli_json_bytes(value, "body", body);
    cli_print_json(value);
    json_decref(value);
    return 0;
}

static void print_head(FILE *to, const ee_response *response) {
    (void)fprintf(to, "HTTP/1.1 %d\n", ee_response_status(response));
    for (size_t i = 0; i < ee_response_header_count(response); i++)
        (void)fprintf(to, "%s: %s\n", ee_response_header_name(response, i), ee_response_header_value(response, i));
    (void)fputc('\n', to);
}

/* As it comes. That it cannot be written ends it: why is told when the stream is closed. */
static int print_body(cli *c, FILE *to, ee_response *response, bool to_file) {
    ee_error err = {0};
    uint8_t last = '\n';
    for (;;) {
        ee_span piece;
        ee_status st = ee_response_read(response, -1, &piece, &err);
        if (st == EE_E_END) break;
        if (st) return cli_error(c, &err);
        if (!piece.len) continue;
        last = piece.data[piece.len - 1];
        if (to_file ? fwrite(piece.data, 1, piece.len, to) != piece.len : !cli_write_output(c, to, piece.data, piece.len)) return 0;
    }
    if (!to_file && isatty(STDOUT_FILENO) && last != '\n') (void)fputc('\n', stdout);
    return 0;
}

static int print_response(cli *c, ee_response *response, bool with_headers, bool fail, const char *output) {
    int status = ee_response_status(response);
    if (fail && status >= 400) {
        cli_talk(c, "ee: the app answered %d", status);
        return EXIT_HTTP_ERROR;
    }
    if (c->json) return print_document(response);
    FILE *to = output ? fopen(output, "wb") : stdout;
    if (!to) return cli_usage(c, "curl", "%s: %s", output, strerror(errno));
    if (with_headers) print_head(to, response);
    int code = print_body(c, to, response, output != NULL);
    bool failed = output && ferror(to);
    if (output && (fclose(to) != 0 || failed)) return cli_usage(c, "curl", "%s could not be written: %s", output, strerror(errno));
    return code;
}

/* ---- the request ----------------------------------------------------------------------------------------------------- */

static bool has_header(const char *const *headers, const char *name) {
    size_t len = strlen(name);
    for (; *headers; headers++)
        if (strncasecmp(*headers, name, len) == 0 && (*headers)[len] == ':') return true;
    return false;
}

typedef struct curl_line {
    const char *method, *data, *file, *output, *headers[HEADERS_MAX + 2];
    size_t header_count;
    bool include, fail;
} curl_line;

static int request(cli *c, ee_app *app, curl_line *line, const char *path, source *from) {
    ee_request_options options;
    ee_response *response = NULL;
    ee_error err = {0};
    int code = 0;
    ee_request_options_init(&options);
    options.headers = line->headers;
    options.cancel = c->cancel;
    options.stream = !c->json;
    if (from->path && !line->file && !has_header(line->headers, "content-type")) /* as curl does; -T says nothing of what it sends */
        line->headers[line->header_count++] = "Content-Type: application/x-www-form-urlencoded";
    if (from->path && !from->empty) {
        code = send_source(c, app, line->method ? line->method : line->file ? "PUT" : "POST", path, &options, from, &response);
    } else {
        const char *usual = line->file ? "PUT" : line->data ? "POST" : "GET";
        if (line->data && !from->path) options.body = (ee_span){(const uint8_t *)line->data, strlen(line->data)};
        if (ee_app_request(app, line->method ? line->method : usual, path, &options, &response, &err)) code = cli_error(c, &err);
    }
    if (!code) code = print_response(c, response, line->include, line->fail, line->output);
    ee_response_free(response);
    return code;
}

int cmd_curl(cli *c, int argc, char **argv) {
    curl_line line = {0};
    source from = {.fd = -1};
    char **rest = calloc((size_t)argc + 2, sizeof *rest), *name = NULL;
    int count, code;
    const cli_option known[] = {{"--request", "-X", true, &line.method, NULL, NULL, 0, NULL},
                                {"--data", "-d", true, &line.data, NULL, NULL, 0, NULL},
                                {"--upload-file", "-T", true, &line.file, NULL, NULL, 0, NULL},
                                {"--output", "-o", true, &line.output, NULL, NULL, 0, NULL},
                                {"--header", "-H", true, NULL, NULL, line.headers, HEADERS_MAX, &line.header_count},
                                {"--fail", "-f", false, NULL, &line.fail, NULL, 0, NULL},
                                {"--raw", NULL, false, NULL, &c->raw, NULL, 0, NULL},
                                {"--include", "-i", false, NULL, &line.include, NULL, 0, NULL}};
    if (!rest) return 1;
    code = cli_parse(c, "curl", argc, argv, known, sizeof known / sizeof *known, rest, &count);
    if (!code && count != 1) code = cli_usage(c, "curl", "write: ee curl APP/PATH");
    if (!code && line.data && line.file) code = cli_usage(c, "curl", "give -d or -T, not both");
    const char *slash = code ? NULL : strchr(rest[0], '/');
    if (!code && !(name = strndup(rest[0], slash ? (size_t)(slash - rest[0]) : strlen(rest[0])))) code = 1;
    if (!code) code = cli_check_name(c, "curl", "an app", name);
    if (!code && line.file) {
        from.option = "-T";
        from.path = line.file;
    } else if (!code && line.data && line.data[0] == '@') {
        from.option = "-d";
        from.path = line.data + 1;
    }
    if (!code && from.path) code = open_source(c, &from);
    ee_app *app = code ? NULL : cli_connect(c, name, &code);
    if (app) code = request(c, app, &line, slash ? slash : "/", &from);
    close_source(&from);
    ee_app_free(app);
    free(name);
    free(rest);
    return code;
}

/* ---- forward --------------------------------------------------------------------------------------------------------- */

int cmd_forward(cli *c, int argc, char **argv) {
    ee_forward *forward = NULL;
    ee_error err = {0};
    int code = 0;
    char *end = NULL;
    const char *values[2];
    if (cli_arguments(c, "forward", argc, argv, 1, 2, values, "ee forward APP [PORT]") || cli_check_name(c, "forward", "an app", values[0]))
        return 2;
    unsigned long port = values[1] ? strtoul(values[1], &end, 10) : 0;
    if (end && (*end || end == values[1] || port > 65535)) return cli_usage(c, "forward", "%s is not a port from 0 to 65535", values[1]);
    ee_app *app = cli_connect(c, values[0], &code);
    if (!app) return code;
    if (ee_app_forward(app, (uint16_t)port, &forward, &err)) {
        code = cli_error(c, &err);
    } else {
        if (c->json)
            (void)printf("{\"url\": \"http://127.0.0.1:%u\", \"app\": \"%s\"}\n", ee_forward_port(forward), values[0]);
        else
            (void)printf("http://127.0.0.1:%u -> %s (attested%s)     Ctrl-C to end\n", ee_forward_port(forward), values[0],
                         ee_verdict_simulated(ee_app_attestation(app)) ? ", simulated" : "");
        bool told = fflush(stdout) == 0;
        ee_error failure;
        while (told && ee_forward_failure(forward, -1, c->cancel, &failure, &err) == EE_OK) (void)cli_error(c, &failure);
        code = 130;
    }
    ee_forward_free(forward);
    ee_app_free(app);
    return code;
}
