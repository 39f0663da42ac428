/* test_quote_source.c - quotes from configfs-tsm as a kernel has it (fake_configfs.h), and from a simulated machine. */
/* wraps: open64 read write close mkdir rmdir stat64 access nanosleep eei_mono_ms */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "attest/quote.h"
#include "base/file.h"
#include "fake_configfs.h"
#include "simtdx/parts.h"

#include <pthread.h>

static fake_world world;
static fake_machine machine;

/* ---- configfs -------------------------------------------------------------------------------------------------------- */

/* As in production: the kernel's own paths and an entry of our own, or one that others have too. */
static quote_source *open_source(const char *entry, uint32_t timeout_ms) {
    quote_source_options options = {.tsm_entry = entry, .ccel_path = "/nonexistent/CCEL", .timeout_ms = timeout_ms};
    quote_source *source = NULL;
    ee_error err = {0};
    if (entry) (void)kernel_make(entry);
    if (quote_source_open(&options, &source, &err)) fail_msg("%s", err.message);
    assert_string_equal(quote_source_kind(source), "configfs");
    return source;
}

/* One quote over data[0] = byte: it must come, and be that, or fail with this and leave nothing. */
static ee_error quote_ends(const char *name, quote_source *source, uint8_t byte, ee_status want) {
    eei_buf quote = EEI_BUF_INIT(EE_QUOTE_BYTES_MAX);
    eei_quoter quoter = quote_source_quoter(source);
    eei_quote parsed = {0};
    uint8_t data[64];
    ee_error err = {0};
    memset(data, byte, sizeof data);
    ee_status st = quoter.quote(quoter.user, data, &quote, &err);
    if (st != want) fail_msg("%s: %s: %s", name, ee_status_word(st), err.message);
    if (st && quote.len) fail_msg("%s: %zu bytes in spite of the error", name, quote.len);
    if (!st && (eei_quote_parse(eei_buf_span(&quote), &parsed, NULL) || parsed.trailing.len || memcmp(parsed.report_data, data, 64)))
        fail_msg("%s: not the quote that was asked for", name);
    if (kernel_files()) fail_msg("%s: %zu files are still open", name, kernel_files());
    eei_buf_clear(&quote);
    return err;
}

/* An entry of our own was made, once, and is gone. */
static void our_entry_is_gone(const char *name) {
    if (kernel.made != 1 || kernel.removed != 1 || kernel_entries() != 0)
        fail_msg("%s: %u entries made, %u removed, %zu left", name, kernel.made, kernel.removed, kernel_entries());
}

static void test_quote_comes_through_configfs(void **state) {
    static const struct {
        const char *name;
        fake_kernel with;
    } cases[] = {
        {"exact", {.padding = 0}},
        {"padded with zeros", {.padding = 3000}},
        {"short reads", {.padding = 100, .piece = 100}},
        {"byte by byte", {.piece = 1}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kernel_boot(cases[i].with, &machine);
        quote_source *source = open_source(NULL, 0);
        assert_false(quote_source_quoter(source).simulated);
        quote_ends(cases[i].name, source, (uint8_t)i + 1, EE_OK);
        our_entry_is_gone(cases[i].name);
        assert_int_equal(kernel.quotes, 1);
        assert_int_equal(kernel.sleeps, 0);
        assert_int_equal(kernel.last_mode, 0700);
        quote_source_free(source);
        kernel_halt();
    }
}

/* Each quote has an entry that nobody can know before. */
static void test_every_quote_has_an_entry_of_its_own(void **state) {
    char before[64], begin[32];
    (void)state;
    kernel_boot((fake_kernel){0}, &machine);
    quote_source *source = open_source(NULL, 0);
    (void)snprintf(begin, sizeof begin, "ee-%ld-", (long)getpid());
    for (uint8_t i = 1; i < 4; i++) {
        memcpy(before, kernel.last_name, sizeof before);
        quote_ends("one of several", source, i, EE_OK);
        assert_memory_equal(kernel.last_name, begin, strlen(begin));
        assert_int_equal(strlen(kernel.last_name), strlen(begin) + 16);
        assert_string_not_equal(kernel.last_name, before);
    }
    assert_int_equal(kernel.made, 3);
    assert_int_equal(kernel.removed, 3);
    quote_source_free(source);
    kernel_halt();
}

/* Other writers of the same entry: what was read is not believed, and asked for again. */
static void test_Q10_disturbed_quotes_are_repeated(void **state) {
    static const struct {
        const char *name;
        fake_kernel with;
        unsigned quotes, sleeps;
    } cases[] = {
        {"nobody", {.padding = 0}, 1, 0},
        {"before our write", {.before_write = 1}, 2, 1},
        {"between our write and our read: another's quote", {.before_read = 1}, 2, 1},
        {"after our read: the quote is ours, but who can tell", {.after_read = 1}, 2, 1},
        {"each time, in turn", {.before_write = 1, .before_read = 1, .after_read = 1}, 2, 1},
        {"ours was not taken: the quote of before", {.dropped = 1, .before_write = 1}, 2, 1},
        {"ours was not taken and another's was: the generation fits, the bytes do not", {.dropped = 1, .before_read = 1}, 2, 1},
        {"three times in a row", {.before_read = 3}, 4, 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kernel_boot(cases[i].with, &machine);
        quote_source *source = open_source("shared", 0);
        quote_ends(cases[i].name, source, 9, EE_OK);
        if (kernel.quotes != cases[i].quotes || kernel.sleeps != cases[i].sleeps)
            fail_msg("%s: %u quotes and %zu waits", cases[i].name, kernel.quotes, kernel.sleeps);
        assert_int_equal(kernel.made + kernel.removed, 0); /* it is not ours */
        assert_int_equal(kernel_entries(), 1);
        quote_source_free(source);
        kernel_halt();
    }
}

/* ---- failures that pass ---------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    kernel_fault at;
} steps[] = {
    {"the generation is opened", {OPEN, GENERATION, 0, 1, 0}},
    {"the generation is read", {READ, GENERATION, 0, 1, 0}},
    {"inblob is opened", {OPEN, INBLOB, 0, 1, 0}},
    {"inblob is written", {WRITE, INBLOB, 0, 1, 0}},
    {"inblob is closed", {CLOSE, INBLOB, 0, 1, 0}},
    {"outblob is opened", {OPEN, OUTBLOB, 0, 1, 0}},
    {"outblob is read", {READ, OUTBLOB, 0, 1, 0}},
    {"outblob is read on", {READ, OUTBLOB, 1, 1, 0}},
    {"the generation is opened again", {OPEN, GENERATION, 1, 1, 0}},
    {"the generation is read again", {READ, GENERATION, 2, 1, 0}}, /* the second read saw the end */
};

/* A quote while one step fails with this. */
static ee_error quote_with_fault(size_t step, int number, ee_status want) {
    char name[128];
    fake_kernel with = {.fault = steps[step].at};
    with.fault.number = number;
    (void)snprintf(name, sizeof name, "errno %d when %s", number, steps[step].name);
    kernel_boot(with, &machine);
    quote_source *source = open_source(NULL, 0);
    ee_error err = quote_ends(name, source, 5, want);
    our_entry_is_gone(name);
    if (kernel.fault.times) fail_msg("%s: never came there", name);
    if (kernel.sleeps != (want ? 0 : 1)) fail_msg("%s: %zu waits", name, kernel.sleeps);
    quote_source_free(source);
    kernel_halt();
    return err;
}

static void test_what_passes_is_asked_again(void **state) {
    static const int passing[] = {EBUSY, EINTR, ETIMEDOUT, EAGAIN, EWOULDBLOCK};
    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        for (size_t k = 0; k < sizeof passing / sizeof *passing; k++) {
            quote_with_fault(i, passing[k], EE_OK);
            assert_int_equal(kernel.slept_ms[0], 10);
        }
}

static void test_what_stays_is_told(void **state) {
    static const int staying[] = {EIO, EACCES, EPERM, ENOENT, EINVAL, ENXIO, EOPNOTSUPP, EFBIG, ENOMEM};
    static const char *const files[] = {"generation", "inblob", "outblob"};
    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        for (size_t k = 0; k < sizeof staying / sizeof *staying; k++) {
            ee_error err = quote_with_fault(i, staying[k], EE_E_IO);
            assert_int_equal(err.native_code, staying[k]);
            if (!strstr(err.message, files[steps[i].at.file])) fail_msg("%s: %s", steps[i].name, err.message);
        }
}

/* A machine whose kernel has configfs-tsm, but nothing behind it. */
static void test_no_entry_can_be_made(void **state) {
    (void)state;
    kernel_boot((fake_kernel){.fault = {MAKE, NO_FILE, 0, 1, ENXIO}}, &machine);
    quote_source *source = open_source(NULL, 0);
    ee_error err = quote_ends("ENXIO", source, 5, EE_E_IO);
    assert_int_equal(err.native_code, ENXIO);
    assert_non_null(strstr(err.message, "cannot make " QUOTE_SOURCE_TSM_DIR "/ee-"));
    assert_int_equal(kernel.removed, 0);
    quote_ends("the next one", source, 5, EE_OK);
    our_entry_is_gone("the next one");
    quote_source_free(source);
    kernel_halt();
}

/* What cannot be taken away again is no reason to be without the quote. */
static void test_an_entry_that_stays(void **state) {
    (void)state;
    kernel_boot((fake_kernel){.fault = {REMOVE, NO_FILE, 0, 1, EBUSY}}, &machine);
    quote_source *source = open_source(NULL, 0);
    quote_ends("EBUSY", source, 5, EE_OK);
    assert_int_equal(kernel_entries(), 1);
    quote_source_free(source);
    kernel_halt();
}

/* ---- how long -------------------------------------------------------------------------------------------------------- */

static void test_waits_grow_and_end(void **state) {
    static const uint64_t waits[] = {10, 20, 40, 80, 160, 320, 500, 500, 500, 500};
    static const struct {
        const char *name;
        fake_kernel with;
        uint32_t timeout_ms;
        size_t sleeps;
        const char *message;
    } cases[] = {
        {"busy", {.fault = {READ, OUTBLOB, 0, UINT_MAX, EBUSY}}, 2631, 10, "in 2631 ms"}, /* the sum of these waits is 2,630 */
        {"busy, a millisecond less", {.fault = {READ, OUTBLOB, 0, UINT_MAX, EBUSY}}, 2630, 9, "in 2630 ms"},
        {"somebody always writes", {.before_read = UINT_MAX}, 500, 5, "in 500 ms"},
        {"each report takes long", {.before_read = UINT_MAX, .quote_ms = 250}, 1000, 3, "in 1000 ms"}, /* 250 10 250 20 250 40 250 */
        {"no time at all", {.fault = {WRITE, INBLOB, 0, UINT_MAX, EBUSY}}, 1, 0, "in 1 ms"},
        {"by default", {.fault = {OPEN, INBLOB, 0, UINT_MAX, EINTR}}, 0, 64, "in 30000 ms"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kernel_boot(cases[i].with, &machine);
        quote_source *source = open_source(NULL, cases[i].timeout_ms);
        ee_error err = quote_ends(cases[i].name, source, 5, EE_E_TIMEOUT);
        our_entry_is_gone(cases[i].name);
        if (kernel.sleeps != cases[i].sleeps) fail_msg("%s: %zu waits", cases[i].name, kernel.sleeps);
        for (size_t k = 0; k < kernel.sleeps; k++)
            if (kernel.slept_ms[k] != waits[k < 10 ? k : 9])
                fail_msg("%s: wait %zu of %u ms", cases[i].name, k, (unsigned)kernel.slept_ms[k]);
        if (!strstr(err.message, cases[i].message) || !strstr(err.message, QUOTE_SOURCE_TSM_DIR))
            fail_msg("%s: %s", cases[i].name, err.message);
        quote_source_free(source);
        kernel_halt();
    }
}

/* Whoever waits for a quote waits for it alone: two threads do not disturb each other in one entry. */
static void *ask_often(void *user) {
    eei_buf quote = EEI_BUF_INIT(EE_QUOTE_BYTES_MAX);
    eei_quoter quoter = quote_source_quoter(user);
    eei_quote parsed;
    uint8_t data[64] = {0};
    uintptr_t good = 0;
    for (; data[0] < 50; data[0]++) {
        eei_buf_reset(&quote);
        if (quoter.quote(quoter.user, data, &quote, NULL) || eei_quote_parse(eei_buf_span(&quote), &parsed, NULL)) continue;
        good += memcmp(parsed.report_data, data, sizeof data) == 0;
    }
    eei_buf_clear(&quote);
    return (void *)good; /* NOLINT(performance-no-int-to-ptr) */
}

static void test_one_quote_at_a_time(void **state) {
    pthread_t threads[2];
    (void)state;
    kernel_boot((fake_kernel){.piece = 512}, &machine);
    quote_source *source = open_source("shared", 0);
    for (size_t i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, ask_often, source), 0);
    for (size_t i = 0; i < 2; i++) {
        void *good = NULL;
        assert_int_equal(pthread_join(threads[i], &good), 0);
        assert_int_equal((uintptr_t)good, 50);
    }
    assert_int_equal(kernel.quotes, 100);
    assert_int_equal(kernel_files(), 0);
    assert_int_equal(kernel.sleeps, 0);
    assert_false(atomic_load(&kernel.overlapped));
    quote_source_free(source);
    kernel_halt();
}

/* ---- what is no quote ------------------------------------------------------------------------------------------------ */

static void test_what_is_no_quote_is_refused(void **state) {
    static const struct {
        const char *name;
        fake_kernel with;
        ee_status status;
        const char *message;
    } cases[] = {
        {"a byte behind it", {.padding = 1, .pad_byte = 1}, EE_E_IO, "1 bytes behind its end"},
        {"more than any quote", {.padding = 70000}, EE_E_LIMIT, "outblob holds more than"},
        {"nothing", {.empty = true}, EE_E_MALFORMED, "the kernel's quote"},
        {"zeros only", {.empty = true, .padding = 5000}, EE_E_VERSION, "the kernel's quote"},
        {"a report of SEV-SNP", {.foreign = true}, EE_E_VERSION, "the kernel's quote"},
        {"half of what we wrote", {.takes = 32}, EE_E_IO, "wrote 32 of 64 bytes to " QUOTE_SOURCE_TSM_DIR "/ee-"},
        {"a generation of nothing", {.generation = ""}, EE_E_IO, "/generation is not a number"},
        {"a generation of words", {.generation = "none\n"}, EE_E_IO, "/generation is not a number"},
        {"a generation without an end", {.generation = "1000000000000000000\n"}, EE_E_IO, "/generation is not a number"},
        {"a generation longer than any",
         {.generation = "000000000000000000000000000000001\n"},
         EE_E_LIMIT,
         "/generation holds more than 32"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kernel_boot(cases[i].with, &machine);
        quote_source *source = open_source(NULL, 0);
        ee_error err = quote_ends(cases[i].name, source, 9, cases[i].status);
        if (!strstr(err.message, cases[i].message)) fail_msg("%s: %s", cases[i].name, err.message);
        our_entry_is_gone(cases[i].name);
        assert_int_equal(kernel.sleeps, 0); /* the same again would be the same */
        quote_source_free(source);
        kernel_halt();
    }
}

/* ---- RTMR3 ----------------------------------------------------------------------------------------------------------- */

/* What was extended is in the next quote. */
static void test_rtmr3_is_written_in_one_piece(void **state) {
    eei_buf bytes = EEI_BUF_INIT(EE_QUOTE_BYTES_MAX);
    uint8_t data[64] = {7}, digest[48], want[48];
    eei_quote parsed;
    ee_error err = {0};
    (void)state;
    memset(digest, 0x5a, sizeof digest);
    kernel_boot((fake_kernel){0}, &machine);
    memcpy(want, machine.td.rtmr[3], sizeof want);
    eei_rtmr_extend(want, digest);
    quote_source *source = open_source(NULL, 0);
    eei_quoter quoter = quote_source_quoter(source);
    assert_int_equal(quoter.extend_rtmr3(quoter.user, digest, &err), EE_OK);
    assert_int_equal(kernel.extended, 1);
    assert_int_equal(quoter.quote(quoter.user, data, &bytes, &err), EE_OK);
    assert_int_equal(eei_quote_parse(eei_buf_span(&bytes), &parsed, NULL), EE_OK);
    assert_memory_equal(parsed.rtmr[3], want, sizeof want);
    assert_int_equal(kernel_files(), 0);
    quote_source_free(source);
    kernel_halt();
    eei_buf_clear(&bytes);
}

/* Never twice: a failure does not say whether the register was extended, and an extension without its event ends all attestation. */
static void test_rtmr3_is_not_tried_again(void **state) {
    static const struct {
        const char *name;
        fake_kernel with;
        ee_status status;
        const char *message;
    } cases[] = {
        {"an old kernel", {.no_rtmr3 = true}, EE_E_CONFIG, "RTMR3 cannot be extended: there is no " QUOTE_SOURCE_RTMR3},
        {"busy", {.fault = {WRITE, RTMR3, 0, 1, EBUSY}}, EE_E_IO, "cannot write " QUOTE_SOURCE_RTMR3},
        {"interrupted", {.fault = {WRITE, RTMR3, 0, 1, EINTR}}, EE_E_IO, "cannot write " QUOTE_SOURCE_RTMR3},
        {"not ours to write", {.fault = {OPEN, RTMR3, 0, 1, EACCES}}, EE_E_IO, "cannot open " QUOTE_SOURCE_RTMR3},
        {"half of it", {.takes = 24}, EE_E_IO, "cannot write " QUOTE_SOURCE_RTMR3}, /* the kernel refuses any other length */
    };
    uint8_t digest[48] = {1};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ee_error err = {0};
        kernel_boot(cases[i].with, &machine);
        quote_source *source = open_source(NULL, 0);
        eei_quoter quoter = quote_source_quoter(source);
        ee_status st = quoter.extend_rtmr3(quoter.user, digest, &err);
        if (st != cases[i].status || !strstr(err.message, cases[i].message))
            fail_msg("%s: %s: %s", cases[i].name, ee_status_word(st), err.message);
        if (kernel.extended || kernel.sleeps || kernel_files()) fail_msg("%s: it was tried again", cases[i].name);
        quote_source_free(source);
        kernel_halt();
    }
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
        cmocka_unit_test(test_every_quote_has_an_entry_of_its_own),
        cmocka_unit_test(test_Q10_disturbed_quotes_are_repeated),
        cmocka_unit_test(test_what_passes_is_asked_again),
        cmocka_unit_test(test_what_stays_is_told),
        cmocka_unit_test(test_no_entry_can_be_made),
        cmocka_unit_test(test_an_entry_that_stays),
        cmocka_unit_test(test_waits_grow_and_end),
        cmocka_unit_test(test_one_quote_at_a_time),
        cmocka_unit_test(test_what_is_no_quote_is_refused),
        cmocka_unit_test(test_rtmr3_is_written_in_one_piece),
        cmocka_unit_test(test_rtmr3_is_not_tried_again),
        cmocka_unit_test(test_boot_log_is_read),
        cmocka_unit_test(test_boot_log_without_an_end),
        cmocka_unit_test(test_entry_of_our_own_is_removed),
        cmocka_unit_test(test_simulated_machine_keeps_its_register),
        cmocka_unit_test(test_no_source_says_what_was_looked_for),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
