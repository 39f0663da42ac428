/* test_quote_source.c - quotes from a look-alike of configfs-tsm, and from a simulated machine. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "attest/quote.h"
#include "base/file.h"
#include "common/quote_source.h"
#include "simtdx/parts.h"
#include "support/fake_quoter.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static fake_world world;
static fake_machine machine;

/* One entry of configfs as pipes: the far side reads inblob, counts the generation up, and says a quote through outblob. */
typedef struct kernel {
    char dir[64], entry[96], rtmr3[96];
    pthread_t thread;
    unsigned generation, quotes;
    unsigned disturbances; /* quotes during which somebody else writes */
    unsigned wrong;        /* quotes over other report data */
    size_t padding;
    uint8_t pad_byte;
    bool pieces; /* the quote comes in short reads */
} kernel;

static void path_in(const kernel *k, const char *name, char out[128]) { (void)snprintf(out, 128, "%s/%s", k->entry, name); }

static void put_generation(kernel *k) {
    char path[128], text[16];
    path_in(k, "generation", path);
    int n = snprintf(text, sizeof text, "%u\n", k->generation);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, text, (size_t)n) != n) abort();
    (void)close(fd);
}

static void say(const kernel *k, int fd, const uint8_t *data, size_t len) {
    size_t most = k->pieces ? 100 : len;
    while (len > 0) {
        size_t n = len < most ? len : most;
        if (write(fd, data, n) != (ssize_t)n) return; /* nobody reads any more */
        data += n;
        len -= n;
    }
}

static void *run_kernel(void *user) {
    kernel *k = user;
    char in[128], out[128];
    path_in(k, "inblob", in);
    path_in(k, "outblob", out);
    for (;;) {
        uint8_t data[128] = {0};
        eei_buf quote = EEI_BUF_INIT(1u << 20);
        int fd = open(in, O_RDONLY);
        if (fd < 0) return NULL;
        ssize_t n = read(fd, data, sizeof data);
        (void)close(fd);
        if (n != 64) return NULL; /* the test says: enough */
        k->generation += k->disturbances ? 2 : 1;
        if (k->disturbances) k->disturbances--;
        if (k->wrong) {
            k->wrong--;
            data[0] ^= 1;
        }
        put_generation(k);
        k->quotes++;
        if (simtdx_quote(machine.machine, &machine.td, data, &quote, NULL)) abort();
        for (size_t i = 0; i < k->padding; i++)
            if (eei_buf_append(&quote, &k->pad_byte, 1)) abort();
        fd = open(out, O_WRONLY);
        if (fd < 0) abort();
        say(k, fd, quote.data, quote.len);
        (void)close(fd);
        eei_buf_clear(&quote);
    }
}

static void kernel_start(kernel *k) {
    char path[128];
    (void)snprintf(k->dir, sizeof k->dir, "/tmp/ee-tsm-XXXXXX");
    assert_non_null(mkdtemp(k->dir));
    (void)snprintf(k->entry, sizeof k->entry, "%s/entry", k->dir);
    (void)snprintf(k->rtmr3, sizeof k->rtmr3, "%s/rtmr3", k->dir);
    assert_int_equal(mkdir(k->entry, 0700), 0);
    k->generation = 7;
    put_generation(k);
    path_in(k, "inblob", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    path_in(k, "outblob", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pthread_create(&k->thread, NULL, run_kernel, k), 0);
}

static void kernel_stop(kernel *k) {
    static const char *const names[] = {"inblob", "outblob", "generation"};
    char path[128];
    path_in(k, "inblob", path);
    int fd = open(path, O_WRONLY);
    assert_int_equal(write(fd, "x", 1), 1);
    (void)close(fd);
    (void)pthread_join(k->thread, NULL);
    for (size_t i = 0; i < 3; i++) {
        path_in(k, names[i], path);
        (void)unlink(path);
    }
    (void)unlink(k->rtmr3);
    assert_int_equal(rmdir(k->entry), 0);
    assert_int_equal(rmdir(k->dir), 0);
}

static quote_source *open_source(const kernel *k, uint32_t timeout_ms) {
    quote_source_options options = {.tsm_dir = k->dir, .tsm_entry = "entry", .rtmr3_path = k->rtmr3, .timeout_ms = timeout_ms};
    quote_source *source = NULL;
    ee_error err = {0};
    assert_int_equal(quote_source_open(&options, &source, &err), EE_OK);
    return source;
}

static void test_quote_comes_through_configfs(void **state) {
    static const struct {
        const char *name;
        size_t padding;
        bool pieces;
    } cases[] = {{"exact", 0, false}, {"padded with zeros", 3000, false}, {"short reads", 100, true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kernel k = {.padding = cases[i].padding, .pieces = cases[i].pieces};
        eei_buf quote = EEI_BUF_INIT(EE_QUOTE_BYTES_MAX);
        eei_quote parsed;
        uint8_t data[64];
        ee_error err = {0};
        memset(data, (int)i + 1, sizeof data);
        kernel_start(&k);
        quote_source *source = open_source(&k, 0);
        assert_string_equal(quote_source_kind(source), "configfs");
        eei_quoter quoter = quote_source_quoter(source);
        assert_false(quoter.simulated);
        if (quoter.quote(quoter.user, data, &quote, &err)) fail_msg("%s: %s", cases[i].name, err.message);
        assert_int_equal(eei_quote_parse(eei_buf_span(&quote), &parsed, NULL), EE_OK);
        assert_memory_equal(parsed.report_data, data, 64);
        assert_int_equal(parsed.trailing.len, 0);
        assert_int_equal(k.quotes, 1);
        quote_source_free(source);
        kernel_stop(&k);
        eei_buf_clear(&quote);
    }
}

/* Another writer of the same entry: what was read is not believed, and asked for again. */
static void test_Q10_disturbed_quotes_are_repeated(void **state) {
    kernel k = {.disturbances = 1, .wrong = 2};
    eei_buf quote = EEI_BUF_INIT(EE_QUOTE_BYTES_MAX);
    uint8_t data[64] = {9};
    eei_quote parsed;
    ee_error err = {0};
    (void)state;
    kernel_start(&k);
    quote_source *source = open_source(&k, 0);
    eei_quoter quoter = quote_source_quoter(source);
    assert_int_equal(quoter.quote(quoter.user, data, &quote, &err), EE_OK);
    assert_int_equal(k.quotes, 3); /* disturbed and wrong, wrong, good */
    assert_int_equal(eei_quote_parse(eei_buf_span(&quote), &parsed, NULL), EE_OK);
    assert_memory_equal(parsed.report_data, data, 64);
    quote_source_free(source);
    kernel_stop(&k);
    k = (kernel){.disturbances = 1000};
    kernel_start(&k);
    source = open_source(&k, 50);
    quoter = quote_source_quoter(source);
    eei_buf_reset(&quote);
    assert_int_equal(quoter.quote(quoter.user, data, &quote, &err), EE_E_TIMEOUT);
    assert_int_equal(quote.len, 0);
    quote_source_free(source);
    kernel_stop(&k);
    eei_buf_clear(&quote);
}

static void test_bytes_behind_the_quote_are_refused(void **state) {
    kernel k = {.padding = 1, .pad_byte = 1};
    eei_buf quote = EEI_BUF_INIT(EE_QUOTE_BYTES_MAX);
    uint8_t data[64] = {9};
    ee_error err = {0};
    (void)state;
    kernel_start(&k);
    quote_source *source = open_source(&k, 0);
    eei_quoter quoter = quote_source_quoter(source);
    assert_int_equal(quoter.quote(quoter.user, data, &quote, &err), EE_E_IO);
    assert_int_equal(quote.len, 0);
    quote_source_free(source);
    kernel_stop(&k);
    k = (kernel){.padding = 70000}; /* more than any quote */
    kernel_start(&k);
    source = open_source(&k, 0);
    quoter = quote_source_quoter(source);
    assert_int_equal(quoter.quote(quoter.user, data, &quote, &err), EE_E_LIMIT);
    quote_source_free(source);
    kernel_stop(&k);
    eei_buf_clear(&quote);
}

static void test_rtmr3_is_written_in_one_piece(void **state) {
    kernel k = {0};
    eei_buf written = EEI_BUF_INIT(4096);
    uint8_t digest[48];
    ee_error err = {0};
    (void)state;
    memset(digest, 0x5a, sizeof digest);
    kernel_start(&k);
    quote_source *source = open_source(&k, 0);
    eei_quoter quoter = quote_source_quoter(source);
    assert_int_equal(quoter.extend_rtmr3(quoter.user, digest, &err), EE_E_CONFIG); /* no such file: an old kernel */
    assert_int_equal(eei_file_write_atomic(k.rtmr3, eei_span("", 0), 0600, &err), EE_OK);
    assert_int_equal(quoter.extend_rtmr3(quoter.user, digest, &err), EE_OK);
    assert_int_equal(eei_file_read(k.rtmr3, &written, &err), EE_OK);
    assert_true(eei_span_equal(eei_buf_span(&written), eei_span(digest, 48)));
    quote_source_free(source);
    kernel_stop(&k);
    eei_buf_clear(&written);
}

/* ---- boot log -------------------------------------------------------------------------------------------------------- */

typedef struct acpi {
    char dir[64], ccel[96], log[96];
} acpi;

static void put_file(const char *path, ee_span data) { assert_int_equal(eei_file_write_atomic(path, data, 0600, NULL), EE_OK); }

static void acpi_make(acpi *a) {
    (void)snprintf(a->dir, sizeof a->dir, "/tmp/ee-acpi-XXXXXX");
    assert_non_null(mkdtemp(a->dir));
    (void)snprintf(a->ccel, sizeof a->ccel, "%s/CCEL", a->dir);
    (void)snprintf(a->log, sizeof a->log, "%s/data-CCEL", a->dir);
}

static void acpi_remove(const acpi *a) {
    (void)unlink(a->ccel);
    (void)unlink(a->log);
    assert_int_equal(rmdir(a->dir), 0);
}

/* A TDX guest's files, as they are, missing, or not what they should be: quotes come all the same. */
static void test_boot_log_is_read(void **state) {
    static const struct {
        const char *name;
        bool table, log;
        size_t says_more; /* the table's length of the area, over the file's */
        uint8_t flip;     /* in the table */
        bool read;
    } cases[] = {
        {"both", true, true, 0, 0, true},
        {"no table: no boot log", false, true, 0, 0, false},
        {"no log", true, false, 0, 0, false},
        {"the table says more", true, true, 1, 0, false},
        {"a damaged table", true, true, 0, 1, false},
    };
    eei_buf area = EEI_BUF_INIT(65536);
    (void)state;
    assert_int_equal(simtdx_boot_log(&area, NULL), EE_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        acpi files;
        uint8_t table[56];
        quote_source *source = NULL;
        ee_error err = {0};
        acpi_make(&files);
        simtdx_ccel_table(area.len + cases[i].says_more, table);
        table[36] ^= cases[i].flip;
        if (cases[i].table) put_file(files.ccel, eei_span(table, sizeof table));
        if (cases[i].log) put_file(files.log, eei_buf_span(&area));
        quote_source_options options = {.tsm_dir = files.dir, .ccel_path = files.ccel, .log_path = files.log};
        if (quote_source_open(&options, &source, &err)) fail_msg("%s: %s", cases[i].name, err.message);
        ee_span log = quote_source_quoter(source).boot_log;
        if (eei_span_equal(log, eei_buf_span(&area)) != cases[i].read || (!cases[i].read && log.len))
            fail_msg("%s: a boot log of %zu bytes", cases[i].name, log.len);
        quote_source_free(source);
        acpi_remove(&files);
    }
    eei_buf_clear(&area);
}

/* A file without an end is not read for ever. */
static void test_boot_log_without_an_end(void **state) {
    acpi files;
    uint8_t table[56];
    quote_source *source = NULL;
    (void)state;
    acpi_make(&files);
    simtdx_ccel_table(4096, table);
    put_file(files.ccel, eei_span(table, sizeof table));
    quote_source_options options = {.tsm_dir = files.dir, .ccel_path = files.ccel, .log_path = "/dev/zero"};
    assert_int_equal(quote_source_open(&options, &source, NULL), EE_OK);
    assert_int_equal(quote_source_quoter(source).boot_log.len, 0);
    quote_source_free(source);
    acpi_remove(&files);
}

static void test_entry_of_our_own_is_removed(void **state) {
    char dir[] = "/tmp/ee-tsm-XXXXXX";
    eei_buf quote = EEI_BUF_INIT(EE_QUOTE_BYTES_MAX);
    uint8_t data[64] = {1};
    quote_source *source = NULL;
    ee_error err = {0};
    (void)state;
    assert_non_null(mkdtemp(dir));
    quote_source_options options = {.tsm_dir = dir};
    assert_int_equal(quote_source_open(&options, &source, &err), EE_OK);
    eei_quoter quoter = quote_source_quoter(source);
    assert_int_equal(quoter.quote(quoter.user, data, &quote, &err), EE_E_IO); /* a folder that is no configfs makes no files */
    assert_non_null(strstr(err.message, "generation"));
    assert_int_equal(rmdir(dir), 0); /* empty again */
    assert_int_equal(quoter.quote(quoter.user, data, &quote, &err), EE_E_IO);
    quote_source_free(source);
    eei_buf_clear(&quote);
}

static void test_simulated_machine_keeps_its_register(void **state) {
    char dir[] = "/tmp/ee-machine-XXXXXX", path[64];
    eei_buf quote = EEI_BUF_INIT(EE_QUOTE_BYTES_MAX);
    eei_quote parsed;
    uint8_t data[64] = {3}, digest[48] = {4}, want[48] = {0};
    quote_source *source = NULL;
    ee_error err = {0};
    (void)state;
    assert_non_null(mkdtemp(dir)); /* of our own: a file in a folder that others write to is refused */
    (void)snprintf(path, sizeof path, "%s/machine", dir);
    assert_int_equal(simtdx_machine_save(machine.machine, path, &err), EE_OK);
    quote_source_options options = {.tsm_dir = "/nonexistent/tsm", .machine_file = path};
    if (quote_source_open(&options, &source, &err)) fail_msg("%s", err.message);
    assert_string_equal(quote_source_kind(source), "simulated");
    eei_quoter quoter = quote_source_quoter(source);
    assert_true(quoter.simulated);
    eei_buf boot_log = EEI_BUF_INIT(65536);
    assert_int_equal(simtdx_boot_log(&boot_log, &err), EE_OK);
    assert_true(eei_span_equal(quoter.boot_log, eei_buf_span(&boot_log)));
    eei_buf_clear(&boot_log);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(quoter.extend_rtmr3(quoter.user, digest, &err), EE_OK);
        eei_rtmr_extend(want, digest);
        eei_buf_reset(&quote);
        assert_int_equal(quoter.quote(quoter.user, data, &quote, &err), EE_OK);
        assert_int_equal(eei_quote_parse(eei_buf_span(&quote), &parsed, NULL), EE_OK);
        assert_memory_equal(parsed.rtmr[3], want, 48);
        assert_memory_equal(parsed.report_data, data, 64);
    }
    quote_source_free(source);
    assert_int_equal(chmod(path, 0644), 0); /* keys that others can read are refused */
    assert_int_equal(quote_source_open(&options, &source, &err), EE_E_CONFIG);
    assert_null(source);
    (void)unlink(path);
    assert_int_equal(rmdir(dir), 0);
    eei_buf_clear(&quote);
}

static void test_no_source_says_what_was_looked_for(void **state) {
    quote_source_options options = {.tsm_dir = "/nonexistent/tsm"};
    quote_source *source = NULL;
    ee_error err = {0};
    (void)state;
    assert_int_equal(quote_source_open(&options, &source, &err), EE_E_CONFIG);
    assert_non_null(strstr(err.message, "/nonexistent/tsm"));
    assert_true(err.hint[0]);
    options.machine_file = "/nonexistent/machine";
    assert_int_not_equal(quote_source_open(&options, &source, &err), EE_OK);
    assert_null(source);
}

static int setup(void **state) {
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN); /* the look-alike kernel writes to a reader that may have had enough */
    fake_world_init(&world);
    fake_machine_init(&machine, &world, "m");
    return 0;
}
static int teardown(void **state) {
    (void)state;
    fake_machine_clear(&machine);
    fake_world_clear(&world);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quote_comes_through_configfs),
        cmocka_unit_test(test_Q10_disturbed_quotes_are_repeated),
        cmocka_unit_test(test_bytes_behind_the_quote_are_refused),
        cmocka_unit_test(test_rtmr3_is_written_in_one_piece),
        cmocka_unit_test(test_boot_log_is_read),
        cmocka_unit_test(test_boot_log_without_an_end),
        cmocka_unit_test(test_entry_of_our_own_is_removed),
        cmocka_unit_test(test_simulated_machine_keeps_its_register),
        cmocka_unit_test(test_no_source_says_what_was_looked_for),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
