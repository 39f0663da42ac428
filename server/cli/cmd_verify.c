/* cmd_verify.c - `ee verify`: a quote, an evidence file, or something on the network, judged check by check. Exit 0 verified, 6 refused, 2
 * when there was nothing to judge (a file that cannot be read, a policy that is none); what cannot be reached has its own code. */
#include "cli/verifying.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STATUSES_MAX = 8, COLLATERAL_BYTES_MAX = 1 << 20, CCEL_BYTES_MAX = 1 << 20, ROOT_BYTES_MAX = 8192, REPORT_DATA_BYTES = 64 };
enum { EXIT_UNUSABLE = 2, TELL_MS = 1000, INPUT_MS = 30000 };

typedef struct verify_line {
    const char *quote, *collateral, *pccs, *ccel, *root, *at, *policy, *report_data, *export_path;
    const char *statuses[STATUSES_MAX + 1];
    size_t status_count;
    bool offline, strict;
    uint64_t at_unix_s;
    ee_policy *chosen; /* NULL with no flag: what that means depends on what is verified */
} verify_line;

/* An input that is named but cannot be used, whatever the error's own exit code says. */
static int unusable(const cli *c, const ee_error *err) {
    (void)cli_error(c, err);
    return EXIT_UNUSABLE;
}

/* ---- files ----------------------------------------------------------------------------------------------------------- */

typedef struct input {
    char *bytes;
    size_t len;
} input;

static int no_file(const cli *c, const char *option, const char *path) {
    (void)cli_file_error(c, "verify", option, path);
    return EXIT_UNUSABLE;
}

static int nothing_comes(const cli *c, const char *option, const char *path, const char *what) {
    ee_error err = {.status = EE_E_TIMEOUT};
    (void)snprintf(err.word, sizeof err.word, "%s", ee_status_word(err.status));
    (void)snprintf(err.message, sizeof err.message, "%s %.300s: %s", option, path, what);
    return unusable(c, &err);
}

/* A pipe may never give anything, or never end: that is told after a second, and not waited for without end. */
static int read_bytes(const cli *c, const char *option, const char *path, int fd, size_t max, input *out) {
    const uint64_t started = cli_clock_ms();
    struct pollfd one = {.fd = fd, .events = POLLIN};
    bool told = false;
    while (out->len <= max) {
        if (cli_clock_ms() - started > INPUT_MS) return nothing_comes(c, option, path, "did not end within 30 seconds");
        int ready = poll(&one, 1, TELL_MS);
        if (ready < 0 && errno == EINTR) continue;
        if (ready == 0 && fd == STDIN_FILENO) errno = EAGAIN; /* it blocks */
        ssize_t n = ready == 0 && fd == STDIN_FILENO ? -1 : read(fd, out->bytes + out->len, max + 1 - out->len);
        if (n == 0) return ready || out->len ? 0 : nothing_comes(c, option, path, "nobody writes to it");
        if (n > 0) {
            out->len += (size_t)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            return no_file(c, option, path);
        } else if (!told) {
            cli_talk(c, "waiting for %s %s: nothing has come for a second, Ctrl-C ends it", option, path);
            told = true;
        }
    }
    return 0;
}

/* Whole, or one byte more than it may have: then what judges it says so. "-" is standard input. */
static int read_input(const cli *c, const char *option, const char *path, size_t max, input *out) {
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    out->bytes = malloc(max + 1);
    int code = fd < 0 || !out->bytes ? no_file(c, option, path) : read_bytes(c, option, path, fd, max, out);
    if (fd >= 0 && !standard) (void)close(fd);
    return code;
}

/* ---- flags that make a policy ---------------------------------------------------------------------------------------- */

static bool put(char *toml, size_t cap, size_t *at, const char *text) {
    size_t len = strlen(text);
    if (len >= cap - *at) return false;
    memcpy(toml + *at, text, len + 1);
    *at += len;
    return true;
}

static bool put_root(char *toml, size_t cap, size_t *at, const input *der) {
    static const char digits[] = "0123456789abcdef";
    bool fits = put(toml, cap, at, "simulated = true\nanchor_der = \"") && 2 * der->len + 1 < cap - *at;
    for (size_t i = 0; fits && i < der->len; i++) {
        toml[(*at)++] = digits[(unsigned char)der->bytes[i] >> 4];
        toml[(*at)++] = digits[(unsigned char)der->bytes[i] & 15];
    }
    return fits && put(toml, cap, at, "\"\n");
}

/* The words of --accept-tcb are known by now, so it is the certificate that is wrong. `why` names it as the key of a policy. */
static int no_root(const cli *c, const verify_line *line, const input *root, const ee_error *why) {
    static const char pem[] = "-----BEGIN";
    const char *tail = strstr(why->message, "\"anchor_der\": ");
    ee_error err = {.status = EE_E_MALFORMED};
    if (why->status == EE_E_NOMEM) return unusable(c, why);
    (void)snprintf(err.word, sizeof err.word, "%s", ee_status_word(err.status));
    (void)snprintf(err.message, sizeof err.message, "--root %.300s: %.600s", line->root,
                   tail ? tail + strlen("\"anchor_der\": ") : why->message);
    if (root->len > strlen(pem) && memcmp(root->bytes, pem, strlen(pem)) == 0)
        (void)snprintf(err.hint, sizeof err.hint, "it is PEM: openssl x509 -in %.300s -outform DER -out root.der", line->root);
    return unusable(c, &err);
}

/* --root and --accept-tcb as the policy.toml they stand for: any measurement, and UpToDate in any case. */
static int policy_from_flags(const cli *c, const verify_line *line, const input *root, ee_policy **out) {
    size_t cap = 2 * ROOT_BYTES_MAX + 1024, at = 0;
    char *toml = malloc(cap);
    ee_error err = {0};
    bool fits = toml && put(toml, cap, &at, "allow_any_measurement = true\n");
    if (fits && root->bytes) fits = put_root(toml, cap, &at, root);
    fits = fits && put(toml, cap, &at, "tcb_status = [\"UpToDate\"");
    for (size_t i = 0; fits && i < line->status_count; i++)
        fits = put(toml, cap, &at, ", \"") && put(toml, cap, &at, line->statuses[i]) && put(toml, cap, &at, "\"");
    fits = fits && put(toml, cap, &at, "]\n");
    int code = !toml ? 1 : !fits ? cli_usage(c, "verify", "--root %s is too large to be a certificate", line->root) : 0;
    if (!code && ee_policy_parse(toml, root->bytes ? "--root and --accept-tcb" : "--accept-tcb", out, &err))
        code = root->bytes ? no_root(c, line, root, &err) : unusable(c, &err);
    free(toml);
    return code;
}

static int check_status(const cli *c, const char *word) {
    static const char *const known[] = {"UpToDate",
                                        "SWHardeningNeeded",
                                        "ConfigurationNeeded",
                                        "ConfigurationAndSWHardeningNeeded",
                                        "OutOfDate",
                                        "OutOfDateConfigurationNeeded",
                                        "TDRelaunchAdvised",
                                        "TDRelaunchAdvisedConfigurationNeeded"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(word, known[i]) == 0) return 0;
    if (strcmp(word, "Revoked") == 0) return cli_usage(c, "verify", "--accept-tcb Revoked: what Intel has revoked is never acceptable");
    return cli_usage(c, "verify",
                     "--accept-tcb %.60s is no TCB status; it is one of UpToDate, SWHardeningNeeded, ConfigurationNeeded, "
                     "ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded, TDRelaunchAdvised, "
                     "TDRelaunchAdvisedConfigurationNeeded",
                     word);
}

static int choose_policy(cli *c, verify_line *line) {
    input root = {NULL, 0};
    ee_error err = {0};
    int code = 0;
    bool der = line->root && strcmp(line->root, "intel") != 0;
    if (line->policy && (line->root || line->status_count))
        return cli_usage(c, "verify", "--policy says it all: %s does not go with it", line->root ? "--root" : "--accept-tcb");
    for (size_t i = 0; !code && i < line->status_count; i++) code = check_status(c, line->statuses[i]);
    if (code) return code;
    if (line->policy && strcmp(line->policy, "production") == 0) return ee_policy_production(&line->chosen, &err) ? unusable(c, &err) : 0;
    if (line->policy) return ee_policy_load(line->policy, &line->chosen, &err) ? unusable(c, &err) : 0;
    if (!line->root && !line->status_count) return 0;
    if (der) code = read_input(c, "--root", line->root, ROOT_BYTES_MAX, &root);
    if (!code) code = policy_from_flags(c, line, &root, &line->chosen);
    free(root.bytes);
    return code;
}

/* ---- values of flags ------------------------------------------------------------------------------------------------- */

/* Unix seconds, or "2026-01-31T13:04:11Z". */
static int parse_at(const cli *c, verify_line *line) {
    struct tm utc = {0};
    char *end = NULL;
    if (!line->at) return 0;
    if (line->at[0] && strspn(line->at, "0123456789") == strlen(line->at)) {
        errno = 0;
        line->at_unix_s = strtoull(line->at, &end, 10);
        if (!errno && line->at_unix_s && line->at_unix_s < (UINT64_C(1) << 40)) return 0;
    } else if ((end = strptime(line->at, "%Y-%m-%dT%H:%M:%SZ", &utc)) && !*end) {
        char same[32] = "";
        time_t seconds = timegm(&utc);
        (void)strftime(same, sizeof same, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc)); /* there is no 31 February */
        line->at_unix_s = (uint64_t)seconds;
        if (seconds > 0 && strcmp(same, line->at) == 0) return 0;
    }
    return cli_usage(c, "verify", "--at %.60s is neither unix seconds nor a time such as 2026-01-31T13:04:11Z", line->at);
}

static int parse_report_data(const cli *c, const char *hex, uint8_t out[REPORT_DATA_BYTES]) {
    size_t len = strlen(hex);
    if (len != 2 * REPORT_DATA_BYTES || strspn(hex, "0123456789abcdefABCDEF") != len)
        return cli_usage(c, "verify", "--report-data has %zu characters; it must be %d hex digits", len, 2 * REPORT_DATA_BYTES);
    for (size_t i = 0; i < REPORT_DATA_BYTES; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return 0;
}

/* ---- the verdict ----------------------------------------------------------------------------------------------------- */

static int print_verdict(cli *c, const ee_verdict *verdict) {
    size_t width = cli_terminal_width(stdout);
    char *text = NULL;
    ee_error err = {0};
    if (c->json) {
        cli_print_json_text(ee_verdict_json(verdict));
        return 0;
    }
    if (ee_verdict_render(verdict, width == SIZE_MAX ? 0 : (uint32_t)(width > 1000 ? 1000 : width), &text, &err)) return cli_error(c, &err);
    (void)fputs(text, stdout);
    ee_string_free(text);
    return 0;
}

/* 0, or the exit code of what was told. A refusal has the last word, and under --json the only one. */
static int export_verdict(cli *c, const verify_line *line, bool refused, const ee_verdict *verdict) {
    ee_error err = {0};
    if (!ee_verdict_export(verdict, line->export_path, &err)) {
        cli_talk(c, "wrote %s", line->export_path);
        return 0;
    }
    if (!refused) return cli_error(c, &err);
    if (!c->json) (void)cli_error(c, &err);
    return 0;
}

/* What came of it: the table, the file that was asked for, and for a refusal its one line. */
static int tell(cli *c, const verify_line *line, ee_status st, const ee_verdict *verdict, const ee_error *why) {
    ee_error told = *why;
    int code = verdict ? print_verdict(c, verdict) : 0;
    cli_interrupt_ends(false);
    if (!code && verdict && line->export_path) code = export_verdict(c, line, st != EE_OK, verdict);
    if (verdict) told.refusal = 0; /* its table was shown */
    if (!code && st) code = cli_error(c, &told);
    return code;
}

/* ---- a quote --------------------------------------------------------------------------------------------------------- */

static ee_span span_of(const input *from) { return (ee_span){(const uint8_t *)from->bytes, from->len}; }

/* From a file, or from a PCCS and its cache, as the text that judges take. Neither: then nothing can be judged, and the verdict says so. */
static int get_collateral(const cli *c, const verify_line *line, const input *quote, input *out) {
    ee_collateral_options options;
    ee_collateral *fetched = NULL;
    ee_error err = {0};
    if (line->collateral) return read_input(c, "--collateral", line->collateral, COLLATERAL_BYTES_MAX, out);
    if (!line->pccs) return 0;
    ee_collateral_options_init(&options);
    options.pccs_url = strcmp(line->pccs, "intel") == 0 ? EE_PCS_INTEL : line->pccs;
    options.cancel = c->cancel;
    cli_interrupt_ends(false); /* it is cancelled instead: what it keeps is written whole */
    if (ee_collateral_fetch(span_of(quote), &options, &fetched, &err))
        return err.status == EE_E_MALFORMED ? unusable(c, &err) : cli_error(c, &err);
    ee_span json = ee_collateral_json(fetched);
    out->bytes = malloc(json.len + 1);
    if (out->bytes) memcpy(out->bytes, json.data, out->len = json.len);
    ee_collateral_free(fetched);
    return out->bytes ? 0 : 1;
}

/* With no flag: EE_POLICY, else any measurement under Intel's root, because a first look at a quote shows what could be pinned. */
static int quote_policy(cli *c, ee_policy **out) {
    char origin[CLI_ORIGIN_BYTES];
    ee_error err = {0};
    if (cli_policy_named(out, origin, &err)) return unusable(c, &err);
    if (*out) {
        cli_talk(c, "policy  %s", origin);
        return 0;
    }
    ee_status st = ee_policy_production(out, &err);
    ee_policy *pinned = *out;
    if (!st) st = ee_policy_unpinned(pinned, out, &err);
    ee_policy_free(pinned);
    if (st) return cli_error(c, &err);
    cli_talk(c, "policy  Intel's root, UpToDate alone, any measurement");
    return 0;
}

static int verify_quote(cli *c, const verify_line *line) {
    input quote = {NULL, 0}, collateral = {NULL, 0}, ccel = {NULL, 0};
    uint8_t report_data[REPORT_DATA_BYTES];
    ee_verify_options options;
    ee_policy *unasked = NULL;
    ee_verdict *verdict = NULL;
    ee_error err = {0};
    ee_verify_options_init(&options);
    options.now_unix_s = line->at_unix_s;
    int code = 0;
    if (line->report_data) {
        code = parse_report_data(c, line->report_data, report_data);
        options.expected_report_data = (ee_span){report_data, sizeof report_data};
    }
    if (!code) code = read_input(c, "--quote", line->quote, EE_QUOTE_BYTES_MAX, &quote);
    if (!code && line->ccel) code = read_input(c, "--ccel", line->ccel, CCEL_BYTES_MAX, &ccel);
    if (line->ccel) options.ccel = span_of(&ccel);
    if (!code) code = get_collateral(c, line, &quote, &collateral);
    if (!code && !line->chosen) code = quote_policy(c, &unasked);
    if (!code) {
        ee_status st =
            ee_verify_quote_json(span_of(&quote), span_of(&collateral), line->chosen ? line->chosen : unasked, &options, &verdict, &err);
        if (st && !collateral.len)
            (void)snprintf(err.hint, sizeof err.hint, "give it with --collateral FILE, or have it fetched with --pccs URL|intel");
        code = tell(c, line, st, verdict, &err);
    }
    ee_verdict_free(verdict);
    ee_policy_free(unasked);
    free(quote.bytes);
    free(collateral.bytes);
    free(ccel.bytes);
    return code;
}

/* ---- an evidence file ------------------------------------------------------------------------------------------------ */

static int verify_file(cli *c, const verify_line *line, const char *what) {
    const char *path = strcmp(what, "-") == 0 ? "/dev/stdin" : what;
    char origin[CLI_ORIGIN_BYTES] = "";
    const ee_policy *policy = line->chosen;
    ee_policy *owned = NULL;
    ee_verdict *verdict = NULL;
    ee_error err = {0};
    if (access(path, R_OK) != 0) return no_file(c, "", what);
    if (!policy && cli_policy_configured(c, &policy, &owned, origin, &err)) return unusable(c, &err);
    if (!line->chosen) cli_talk(c, "policy  %s", origin);
    ee_status st = ee_verify_file(path, policy, line->at_unix_s, &verdict, &err);
    int code = st && !verdict ? unusable(c, &err) : tell(c, line, st, verdict, &err);
    ee_verdict_free(verdict);
    ee_policy_free(owned);
    return code;
}

/* ---- the network ----------------------------------------------------------------------------------------------------- */

static int verify_subject_line(cli *c, const verify_line *line, const char *what) {
    verify_subject subject;
    ee_verdict *verdict = NULL;
    ee_error err = {0};
    int code = verify_subject_parse(c, "verify", what, &subject);
    if (code) return code;
    subject.policy = line->chosen;
    subject.strict = line->strict;
    ee_status st = verify_ask(c, &subject, &verdict, &err);
    code = tell(c, line, st, verdict, &err);
    ee_verdict_free(verdict);
    return code;
}

/* "app-name" is on the network, also beside a folder of that name, as its sources often are; what has a dot or another slash, or is a file
 * that is there, is a file. */
static bool names_file(const char *what) {
    struct stat s;
    if (strncmp(what, "app/", 4) == 0 || strncmp(what, "node/", 5) == 0) return false;
    return strcmp(what, "-") == 0 || strpbrk(what, "./") || (stat(what, &s) == 0 && !S_ISDIR(s.st_mode));
}

/* Standard input is one of the inputs at most. */
static int check_standard_input(const cli *c, const verify_line *line, const char *file) {
    const char *const all[] = {line->quote, line->collateral, line->ccel, line->root, file};
    int count = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) count += all[i] && strcmp(all[i], "-") == 0;
    return count > 1 ? cli_usage(c, "verify", "- is standard input: only one of the inputs can be that") : 0;
}

static int dispatch(cli *c, verify_line *line, int count, char **rest) {
    bool control = count == 1 && strcmp(rest[0], "control") == 0, file = count == 1 && !control && names_file(rest[0]);
    if (line->quote ? count != 0 : count != 1)
        return cli_usage(c, "verify", "write: ee verify APP|NODE|control, ee verify FILE, or ee verify --quote FILE --collateral FILE");
    const char *alone = line->collateral ? "--collateral" : line->pccs ? "--pccs" : line->ccel ? "--ccel" : "--report-data";
    if (!line->quote && (line->collateral || line->pccs || line->ccel || line->report_data))
        return cli_usage(c, "verify", "%s goes with --quote", alone);
    if (line->pccs && (line->collateral || line->offline))
        return cli_usage(c, "verify", "--pccs does not go with %s", line->collateral ? "--collateral" : "--offline");
    if (control && line->strict)
        return cli_usage(
            c, "verify",
            "--strict asks an agent for a new quote; the control plane's is in its certificate, and it signs for each connection");
    if (!line->quote && !file && (line->at || line->offline))
        return cli_usage(c, "verify", "%s goes with a file; \"%s\" is none", line->at ? "--at" : "--offline", rest[0]);
    if ((line->quote || file) && line->strict) return cli_usage(c, "verify", "--strict asks for a new quote; a file has the one it has");
    if (file && line->export_path) return cli_usage(c, "verify", "--export: %s is an evidence file already", rest[0]);
    int code = check_standard_input(c, line, file ? rest[0] : NULL);
    if (!code) code = parse_at(c, line);
    cli_interrupt_ends(true);
    if (!code) code = choose_policy(c, line);
    if (code) return code;
    cli_interrupt_ends(line->quote || file);
    return line->quote ? verify_quote(c, line) : file ? verify_file(c, line, rest[0]) : verify_subject_line(c, line, rest[0]);
}

int cmd_verify(cli *c, int argc, char **argv) {
    verify_line line = {0};
    char **rest = calloc((size_t)argc + 2, sizeof *rest);
    int count;
    const cli_option known[] = {{"--quote", NULL, true, &line.quote, NULL, NULL, 0, NULL},
                                {"--collateral", NULL, true, &line.collateral, NULL, NULL, 0, NULL},
                                {"--pccs", NULL, true, &line.pccs, NULL, NULL, 0, NULL},
                                {"--ccel", NULL, true, &line.ccel, NULL, NULL, 0, NULL},
                                {"--root", NULL, true, &line.root, NULL, NULL, 0, NULL},
                                {"--at", NULL, true, &line.at, NULL, NULL, 0, NULL},
                                {"--policy", NULL, true, &line.policy, NULL, NULL, 0, NULL},
                                {"--accept-tcb", NULL, true, NULL, NULL, line.statuses, STATUSES_MAX, &line.status_count},
                                {"--report-data", NULL, true, &line.report_data, NULL, NULL, 0, NULL},
                                {"--export", NULL, true, &line.export_path, NULL, NULL, 0, NULL},
                                {"--strict", NULL, false, NULL, &line.strict, NULL, 0, NULL},
                                {"--offline", NULL, false, NULL, &line.offline, NULL, 0, NULL}};
    if (!rest) return 1;
    int code = cli_parse(c, "verify", argc, argv, known, sizeof known / sizeof *known, rest, &count);
    if (!code) code = dispatch(c, &line, count, rest);
    ee_policy_free(line.chosen);
    free(rest);
    return code;
}
