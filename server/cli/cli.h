/* cli.h - what the commands of `ee` share: global flags, output, errors, tables. Uses the public API only, which proves that it is enough.
 * Data goes to stdout, talk to stderr; --json gives one document on stdout and errors as JSON on stderr. */
#ifndef EE_CLI_H
#define EE_CLI_H
#include <eesdk/eesdk.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct cli {
    bool json, quiet, yes;
    bool color; /* a job's colours may reach a terminal */
    bool raw;   /* a job's bytes reach a terminal as they are */
    const char *profile, *url;
    ee_client *client; /* made on first use */
    int output_errno;  /* of the first write of a job's or an app's bytes that failed */
    /* What was done and must not be lost when standard output cannot be written: a line, the call's key. "" when there is none. */
    char done[256], done_key[72];
    ee_cancel *cancel; /* fired by Ctrl-C */
} cli;

/* One command: argv[0] is its name. Returns the exit code. */
typedef struct cli_command {
    const char *name, *args, *summary, *help;
    int (*run)(cli *c, int argc, char **argv);
} cli_command;
extern const cli_command cli_commands[]; /* ends with a NULL name */

int cmd_run(cli *c, int argc, char **argv);
int cmd_transfer(cli *c, int argc, char **argv);
int cmd_balance(cli *c, int argc, char **argv);
int cmd_credits(cli *c, int argc, char **argv);
int cmd_jobs(cli *c, int argc, char **argv);
int cmd_apps(cli *c, int argc, char **argv);
int cmd_curl(cli *c, int argc, char **argv);
int cmd_forward(cli *c, int argc, char **argv);
int cmd_node(cli *c, int argc, char **argv);
int cmd_nodes(cli *c, int argc, char **argv);
int cmd_verify(cli *c, int argc, char **argv);
int cmd_policy(cli *c, int argc, char **argv);
int cmd_config(cli *c, int argc, char **argv);
int cmd_devnet(cli *c, int argc, char **argv);

/* Ctrl-C ends the process where it is: right while files are read, for then nothing is under way that would have to be ended in order. */
void cli_interrupt_ends(bool now);
ee_status cli_client_make(cli *c, ee_error *err); /* c->client; made on first use */
#define CLI_ORIGIN_BYTES 512
/* What EE_POLICY names, as *out and where it is from; *out stays NULL when it is not set. */
ee_status cli_policy_named(ee_policy **out, char origin[CLI_ORIGIN_BYTES], ee_error *err);
/* That, else the policy this client would judge the network by. Making a client sends nothing. No network configured is no failure: then it
 * is the strictest policy there is, NULL. *owned is the caller's to free. */
ee_status cli_policy_configured(cli *c, const ee_policy **policy, ee_policy **owned, char origin[CLI_ORIGIN_BYTES], ee_error *err);
/* The client, or an error already told (exit code in *code). */
ee_client *cli_client(cli *c, int *code);
/* The settings a client would be made of: {"url": {"value", "origin"}, ...}, as far as they were found. err->status says what is wrong. */
json_t *cli_settings(const cli *c, ee_error *err);
bool cli_uses_devnet(const json_t *settings);
/* An attested way to an app; NULL and *code when there is none. */
ee_app *cli_connect(cli *c, const char *name, int *code);
/* Tell an error in the one form there is; returns its exit code. */
int cli_error(const cli *c, const ee_error *err);
/* "ee: invalid: <message>" with the command's usage; exit code 2. */
int cli_usage(const cli *c, const char *command, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A file that the call named could not be opened or read; errno says why. Not there is not_found, all else invalid. */
int cli_file_error(const cli *c, const char *command, const char *option, const char *path);
/* Signed call; the answer parsed. NULL and *code on failure. */
json_t *cli_call(cli *c, const char *method, const char *path, const json_t *body, const char *key, int *code);
/* A list, all pages of it: {"items": [...], "next": null}. */
json_t *cli_list(cli *c, const char *path, int *code);
void cli_print_json(const json_t *value);
void cli_print_json_text(const char *text);
/* {"a": 1, "b": {...}} for people: one "key  value" a line. */
void cli_print_fields(const json_t *object);
void cli_print_object(const cli *c, const json_t *object); /* fields for people, the document with --json */
void cli_talk(const cli *c, const char *format, ...) __attribute__((format(printf, 2, 3))); /* stderr, not with --quiet or --json */
/* object[name] = the bytes as text and object[name_base64] = null; the other way round when they are no UTF-8. */
void cli_json_bytes(json_t *object, const char *name, ee_span bytes);
/* A line for people: cleaned, on a terminal folded at spaces to its width, what follows indented. */
void cli_fold(FILE *to, const char *text, size_t indent);
/* The same for a text of lines, "  --option  what it does": what follows stands below what it does, where there is room. */
void cli_fold_lines(FILE *to, const char *text);
/* At most `most` bytes; nothing that could move the cursor gets through. */
void cli_write_clean(FILE *to, const char *text, size_t most);
size_t cli_terminal_width(FILE *stream); /* SIZE_MAX when it is no terminal */
uint64_t cli_clock_ms(void);             /* monotonic */
/* "0.04" of 40. */
const char *cli_thousandths(uint64_t n, char buf[32]);
/* Up to max + 1 bytes, so that too much shows; NUL behind. free(). */
char *cli_read_stream(FILE *from, size_t max, size_t *len);

/* Options of one command: long or short, with or without a value. Values "--x v" and "--x=v". */
typedef struct cli_option {
    const char *name, *short_name; /* "--vcpus", "-e"; either may be NULL */
    bool takes_value;
    const char **value; /* last one given; NULL when repeated is used */
    bool *flag;
    const char **list; /* repeated: filled up to list_max, NULL-ended (list has list_max + 1) */
    size_t list_max, *list_count;
} cli_option;
/* Options may stand anywhere before "--"; what is left goes to rest (argc + 1 places). Returns 0, or an exit code after telling. */
int cli_parse(const cli *c, const char *command, int argc, char **argv, const cli_option *options, size_t count, char **rest,
              int *rest_count);

/* A verb without options: all that follows its name goes to values (max places, the rest NULL). Returns 0, or 2 after telling `usage`. */
int cli_arguments(const cli *c, const char *command, int argc, char **argv, int min, int max, const char **values, const char *usage);
/* A name that becomes part of a request's path: whole, or refused. Cut to fit it would name something else. */
int cli_check_name(const cli *c, const char *command, const char *what, const char *name);

/* A table: columns padded to content, cut to the terminal's width by leaving out the last columns, never wrapped; whole when piped. */
enum { CLI_COLUMNS_MAX = 12 };
typedef struct cli_table {
    size_t columns, rows;
    const char *heads[CLI_COLUMNS_MAX];
    bool right[CLI_COLUMNS_MAX];
    char *(*cells)[CLI_COLUMNS_MAX];
} cli_table;
void cli_table_add(cli_table *table, const char *const *cells);
void cli_table_print(cli_table *table); /* frees the rows */
/* "$0.000036" of {"micros": n}; "" when there is none. */
const char *cli_money(const json_t *object, const char *field, char buf[32]);
const char *cli_text(const json_t *object, const char *field); /* "" when absent */
long long cli_number(const json_t *object, const char *field);
/* An option's value; text NULL = it was not given, and nothing is changed. 0, or an exit code after telling. */
int cli_take_duration(const cli *c, const char *option, const char *text, uint64_t *ms);
int cli_take_size(const cli *c, const char *option, const char *text, uint64_t *bytes);
int cli_take_vcpus(const cli *c, const char *command, const char *text, double *vcpus);
/* Bytes of a job to a terminal: control sequences other than colour, tab and newline shown as \xNN; byte for byte otherwise. False when
 * they could not be written: nobody reads any more, or the disk is full. */
bool cli_write_output(cli *c, FILE *to, const void *data, size_t len);
/* Money moved: should standard output fail, standard error has this line and the key that makes a repetition safe. */
void cli_note_done(cli *c, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The exit code once everything is said: 141 when the reader of stdout is gone, 1 when it could not be written, else `code`. */
int cli_finish_output(const cli *c, int code);
#endif
