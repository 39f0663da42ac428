/* test_config.c - a program's configuration: order of sources, and an error for everything that is not known or not right. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/file.h"
#include "base/log.h"
#include "common/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct settings {
    char node[16], address[32], token[16];
    uint64_t port, workers;
    bool verbose;
} settings;

static const config_key keys[] = {
    {.name = "node", .kind = CONFIG_TEXT, CONFIG_FIELD(settings, node), .help = "name in the ledger", .measure = CONFIG_MEASURED},
    {.name = "listen.address",
     .kind = CONFIG_TEXT,
     CONFIG_FIELD(settings, address),
     .fallback = "127.0.0.1",
     .help = "address",
     .measure = CONFIG_MEASURED},
    {.name = "listen.port",
     .kind = CONFIG_NUMBER,
     CONFIG_FIELD(settings, port),
     .max = 65535,
     .fallback = "8443",
     .help = "port",
     .measure = CONFIG_MEASURED},
    {.name = "workers",
     .kind = CONFIG_NUMBER,
     CONFIG_FIELD(settings, workers),
     .min = 1,
     .fallback = "4",
     .help = "threads",
     .measure = CONFIG_MEASURED},
    {.name = "token",
     .kind = CONFIG_SECRET,
     CONFIG_FIELD(settings, token),
     .fallback = "",
     .help = "of the registry",
     .measure = CONFIG_PRESENCE,
     .why = "a credential"},
    {.name = "verbose",
     .kind = CONFIG_BOOL,
     CONFIG_FIELD(settings, verbose),
     .fallback = "false",
     .help = "say more",
     .measure = CONFIG_NEUTRAL,
     .why = "it is only said"},
};
enum { KEYS = sizeof keys / sizeof *keys };

static char path[64], logged[8192];
static void on_log(void *user, eei_log_level level, const char *line) {
    (void)user;
    (void)level;
    (void)strncat(logged, line, sizeof logged - strlen(logged) - 1);
    (void)strncat(logged, "\n", sizeof logged - strlen(logged) - 1);
}

static int setup(void **state) {
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/ee-config-%ld.toml", (long)getpid());
    eei_log_set(on_log, NULL, EEI_LOG_DEBUG);
    return 0;
}

static int clean(void **state) {
    static const char *const variables[] = {"EE_NODE",  "EE_LISTEN_ADDRESS", "EE_LISTEN_PORT", "EE_WORKERS",
                                            "EE_TOKEN", "EE_VERBOSE",        "EE_CONFIG",      "EE_READY_FD"};
    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) (void)unsetenv(variables[i]);
    (void)unlink(path);
    logged[0] = '\0';
    return 0;
}

static void put_file(const char *text) { assert_int_equal(eei_file_write_atomic(path, eei_span_text(text), 0600, NULL), EE_OK); }

static ee_status load(settings *out, ee_error *err, int argc, const char *const *argv) {
    memset(out, 0xee, sizeof *out);
    memset(err, 0, sizeof *err);
    return config_load(keys, KEYS, path, argc, argv, out, err);
}

static void test_later_sources_win(void **state) {
    static const char *const args[] = {"ee-test", "--listen-port=3", "--verbose", "--workers", "9"};
    settings s;
    ee_error err;
    (void)state;
    put_file("node = \"from-file\"\nworkers = 2\ntoken = \"hush-hush\"\n[listen]\naddress = \"::1\"\nport = 1\n");
    assert_int_equal(load(&s, &err, 1, args), EE_OK);
    assert_string_equal(s.node, "from-file");
    assert_string_equal(s.address, "::1");
    assert_int_equal(s.port, 1);
    assert_int_equal(s.workers, 2);
    assert_false(s.verbose);
    (void)setenv("EE_LISTEN_PORT", "2", 1);
    (void)setenv("EE_NODE", "from-env", 1);
    assert_int_equal(load(&s, &err, 1, args), EE_OK);
    assert_string_equal(s.node, "from-env");
    assert_int_equal(s.port, 2);
    assert_int_equal(load(&s, &err, 5, args), EE_OK);
    assert_int_equal(s.port, 3);
    assert_int_equal(s.workers, 9);
    assert_true(s.verbose);
    assert_non_null(strstr(logged, "key=listen.port value=3 from=flag"));
    assert_non_null(strstr(logged, "key=node value=from-env from=environment"));
    assert_non_null(strstr(logged, path));
    assert_non_null(strstr(logged, "key=token value=****"));
    assert_null(strstr(logged, "hush")); /* threat L1 */
}

static void test_defaults_without_a_file(void **state) {
    static const char *const args[] = {"ee-test", "--node", "n"};
    settings s;
    ee_error err;
    (void)state;
    assert_int_equal(load(&s, &err, 3, args), EE_OK);
    assert_string_equal(s.address, "127.0.0.1");
    assert_int_equal(s.port, 8443);
    assert_string_equal(s.token, "");
}

static void test_wrong_files_are_named_with_line_and_key(void **state) {
    static const struct {
        const char *text, *says[3];
    } cases[] = {
        {"node = \"n\"\nnodes = 1\n", {":2", "nodes", NULL}},
        {"node = \"n\"\n[listen]\nprot = 1\n", {":3", "prot", NULL}},
        {"node = \"n\"\n[listn]\nport = 1\n", {":3", "port", NULL}},
        {"node = 7\n", {":1", "node", "text"}},
        {"node = \"n\"\nworkers = \"2\"\n", {":2", "workers", "number"}},
        {"node = \"n\"\nverbose = 1\n", {":2", "verbose", "true or false"}},
        {"node = \"n\"\nworkers = true\n", {":2", "workers", "number"}},
        {"node = \"n\"\nworkers = 0\n", {"workers", "from 1", NULL}},
        {"node = \"n\"\n[listen]\nport = 65536\n", {"listen.port", "65535", NULL}},
        {"node = \"n\"\n[listen]\nport = -1\n", {"listen.port", NULL}},
        {"node = \"0123456789abcdef\"\n", {"node", "15 bytes", NULL}},
        {"node = [\"n\"]\n", {":1", "node", NULL}},
        {"node = \"n\"\nnode = \"m\"\n", {":2", NULL}},
        {"workers = 2\n", {"node", "--node", "EE_NODE"}},
    };
    static const char *const args[] = {"ee-test"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        settings s;
        ee_error err;
        put_file(cases[i].text);
        if (load(&s, &err, 1, args) != EE_E_CONFIG) fail_msg("%s: taken", cases[i].text);
        for (size_t k = 0; k < 3 && cases[i].says[k]; k++)
            if (!strstr(err.message, cases[i].says[k]))
                fail_msg("%s: \"%s\" does not say %s", cases[i].text, err.message, cases[i].says[k]);
    }
}

static void test_wrong_flags_and_variables(void **state) {
    static const struct {
        const char *args[4], *says;
    } cases[] = {
        {{"ee-test", "--nodes=x"}, "--nodes"},
        {{"ee-test", "--listen-por", "1"}, "--listen-por"},
        {{"ee-test", "stray"}, "stray"},
        {{"ee-test", "--workers"}, "needs a value"},
        {{"ee-test", "--workers", "2x"}, "whole"},
        {{"ee-test", "--workers="}, "whole"},
        {{"ee-test", "--verbose=yes"}, "true or"},
        {{"ee-test", "--token", "t"}, "secret"},
        {{"ee-test", "--token=t"}, "secret"},
        {{"ee-test", "--config"}, "--config needs"},
        {{"ee-test", "--workers", "18446744073709551616"}, "whole"},
        {{"ee-test", "--workers", "-1"}, "whole"},
    };
    static const char *const plain[] = {"ee-test", "--node=n"};
    settings s;
    ee_error err;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int argc = 0;
        while (argc < 4 && cases[i].args[argc]) argc++;
        if (load(&s, &err, argc, cases[i].args) != EE_E_CONFIG) fail_msg("%s: taken", cases[i].args[1]);
        if (!strstr(err.message, cases[i].says)) fail_msg("%s: %s", cases[i].args[1], err.message);
    }
    (void)setenv("EE_WORKERS", "many", 1);
    assert_int_equal(load(&s, &err, 2, plain), EE_E_CONFIG);
    assert_non_null(strstr(err.message, "EE_WORKERS"));
}

static void test_named_file_must_be_there(void **state) {
    static const char *const flag[] = {"ee-test", "--config", "/nonexistent/ee.toml", "--node=n"}, *const plain[] = {"ee-test", "--node=n"};
    settings s;
    ee_error err;
    (void)state;
    assert_int_not_equal(load(&s, &err, 4, flag), EE_OK);
    (void)setenv("EE_CONFIG", "/nonexistent/other.toml", 1);
    assert_int_not_equal(load(&s, &err, 2, plain), EE_OK);
    assert_non_null(strstr(err.message, "other.toml"));
    (void)setenv("EE_CONFIG", path, 1);
    put_file("workers = 3\n");
    assert_int_equal(load(&s, &err, 2, plain), EE_OK);
    assert_int_equal(s.workers, 3);
}

static void test_help_names_every_key(void **state) {
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    (void)state;
    config_usage(keys, KEYS, "ee-test", to);
    assert_int_equal(fclose(to), 0);
    assert_non_null(strstr(text, "--listen-port"));
    assert_non_null(strstr(text, "EE_LISTEN_PORT"));
    assert_non_null(strstr(text, "[8443]"));
    assert_non_null(strstr(text, "(required)"));
    assert_non_null(strstr(text, "EE_TOKEN"));
    assert_null(strstr(text, "--token"));
    free(text);
}

static void test_ready_descriptor(void **state) {
    (void)state;
    assert_int_equal(config_ready_fd(), -1);
    (void)setenv("EE_READY_FD", "7", 1);
    assert_int_equal(config_ready_fd(), 7);
    (void)setenv("EE_READY_FD", "x", 1);
    assert_int_equal(config_ready_fd(), -1);
    (void)setenv("EE_READY_FD", "99999999999", 1);
    assert_int_equal(config_ready_fd(), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_later_sources_win, clean),
        cmocka_unit_test_teardown(test_defaults_without_a_file, clean),
        cmocka_unit_test_teardown(test_wrong_files_are_named_with_line_and_key, clean),
        cmocka_unit_test_teardown(test_wrong_flags_and_variables, clean),
        cmocka_unit_test_teardown(test_named_file_must_be_there, clean),
        cmocka_unit_test_teardown(test_help_names_every_key, clean),
        cmocka_unit_test_teardown(test_ready_descriptor, clean),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
