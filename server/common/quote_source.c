/* quote_source.c - see quote_source.h. A quote goes through one entry of configfs: write 64 bytes, read the quote, and believe it only if
 * the entry's generation shows that nobody else wrote in between and the quote holds the bytes that were written (threat Q10). */
#include "common/quote_source.h"

#include "attest/ccel.h"
#include "attest/quote.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(EE_SIMTDX)
#include "simtdx/simtdx.h"
#endif

enum { TIMEOUT_MS = 30000, BACKOFF_FIRST_MS = 10, BACKOFF_MAX_MS = 500, PATH_CAP = 512 };

struct quote_source {
    pthread_mutex_t mutex; /* guards: one quote and one extension at a time, and the simulated registers */
    bool simulated;
    char *tsm_dir, *tsm_entry, *rtmr3_path;
    uint32_t timeout_ms;
    eei_buf boot_log; /* empty: there is none */
#if defined(EE_SIMTDX)
    simtdx_machine *machine;
    simtdx_td td;
#endif
};

/* ---- files of the kernel --------------------------------------------------------------------------------------------- */

static ee_status fail_io(ee_error *err, const char *what, const char *path) {
    int number = errno;
    return eei_fail_errno(err, EE_E_IO, number, "%s %s", what, path);
}

/* Another writer, or the quoting service was busy or interrupted: the same again may succeed. */
static bool is_passing(uint32_t number) {
    return number == EBUSY || number == EINTR || number == ETIMEDOUT || number == EAGAIN || number == EWOULDBLOCK;
}

/* All of one value: the kernel takes a value in one write or not at all. */
static ee_status write_value(const char *path, const void *data, size_t len, ee_error *err) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return fail_io(err, "cannot open", path);
    ssize_t n = write(fd, data, len);
    ee_status st = n == (ssize_t)len ? EE_OK : n < 0 ? fail_io(err, "cannot write", path) : EE_E_IO;
    if (st && n >= 0) (void)eei_fail(err, st, "wrote %zd of %zu bytes to %s", n, len, path);
    if (close(fd) != 0 && !st) st = fail_io(err, "cannot write", path);
    return st;
}

static ee_status read_value(const char *path, eei_buf *out, ee_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_io(err, "cannot open", path);
    ee_status st = EE_OK;
    for (ssize_t n = 1; !st && n > 0;) {
        uint8_t piece[4096];
        n = read(fd, piece, sizeof piece);
        if (n < 0) st = fail_io(err, "cannot read", path);
        if (n > 0 && eei_buf_append(out, piece, (size_t)n)) st = eei_fail(err, EE_E_LIMIT, "%s holds more than %zu bytes", path, out->max);
    }
    (void)close(fd);
    return st;
}

static ee_status read_generation(const char *path, uint64_t *out, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(32);
    ee_status st = read_value(path, &text, err);
    size_t digits = 0;
    *out = 0;
    for (; !st && digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9'; digits++)
        *out = *out * 10 + (uint64_t)(text.data[digits] - '0');
    if (!st && (digits == 0 || digits > 18)) st = eei_fail(err, EE_E_IO, "%s is not a number", path);
    eei_buf_clear(&text);
    return st;
}

/* ---- configfs -------------------------------------------------------------------------------------------------------- */

typedef struct entry {
    char dir[PATH_CAP];
    bool ours;
} entry;

static ee_status entry_open(const quote_source *source, entry *out, ee_error *err) {
    uint64_t random = 0;
    out->ours = source->tsm_entry == NULL;
    if (!out->ours) {
        (void)snprintf(out->dir, sizeof out->dir, "%s/%s", source->tsm_dir, source->tsm_entry);
        return EE_OK;
    }
    ee_status st = eei_random(&random, sizeof random, err);
    if (st) return st;
    (void)snprintf(out->dir, sizeof out->dir, "%s/ee-%ld-%016llx", source->tsm_dir, (long)getpid(), (unsigned long long)random);
    return mkdir(out->dir, 0700) == 0 ? EE_OK : fail_io(err, "cannot make", out->dir);
}

static void entry_close(const entry *e) {
    if (e->ours && rmdir(e->dir) != 0) eei_log(EEI_LOG_WARN, "quote.entry", "path=%s errno=%d", e->dir, errno);
}

static const char *in_entry(const entry *e, const char *name, char path[PATH_CAP + 16]) {
    (void)snprintf(path, PATH_CAP + 16, "%s/%s", e->dir, name);
    return path;
}

/* The kernel's buffer may be padded with zeros; the quote's own lengths say where it ends. */
static ee_status check_quote(const uint8_t report_data[64], eei_buf *quote, ee_error *err) {
    eei_quote parsed;
    ee_status st = eei_quote_parse(eei_buf_span(quote), &parsed, err);
    if (st) return eei_prefix(err, st, "the kernel's quote");
    for (size_t i = 0; i < parsed.trailing.len; i++)
        if (parsed.trailing.data[i] != 0)
            return eei_fail(err, EE_E_IO, "the kernel's quote has %zu bytes behind its end", parsed.trailing.len);
    if (memcmp(parsed.report_data, report_data, sizeof parsed.report_data) != 0)
        return eei_fail(err, EE_E_AGAIN, "the kernel's quote is over other report data");
    quote->len -= parsed.trailing.len;
    return EE_OK;
}

/* One try; err is not NULL. EE_E_AGAIN: somebody else used the entry, or the service is busy. */
static ee_status quote_once(const entry *e, const uint8_t report_data[64], eei_buf *quote, ee_error *err) {
    char path[PATH_CAP + 16];
    uint64_t before = 0, after = 0;
    eei_buf_reset(quote);
    ee_status st = read_generation(in_entry(e, "generation", path), &before, err);
    if (!st) st = write_value(in_entry(e, "inblob", path), report_data, 64, err);
    if (!st) st = read_value(in_entry(e, "outblob", path), quote, err);
    if (!st) st = read_generation(in_entry(e, "generation", path), &after, err);
    if (st == EE_E_IO && is_passing(err->native_code)) return EE_E_AGAIN;
    if (st) return st;
    if (after != before + 1) return eei_fail(err, EE_E_AGAIN, "%s was written by somebody else", e->dir);
    return check_quote(report_data, quote, err);
}

static void sleep_ms(uint64_t ms) {
    struct timespec ts = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&ts, NULL);
}

static ee_status quote_configfs(quote_source *source, const uint8_t report_data[64], eei_buf *out, ee_error *err) {
    eei_buf quote = EEI_BUF_INIT(EE_QUOTE_BYTES_MAX);
    entry e;
    uint64_t deadline_ms = eei_mono_ms() + source->timeout_ms, backoff = BACKOFF_FIRST_MS;
    ee_error story = {0};
    ee_status st = entry_open(source, &e, err);
    if (st) return st;
    st = quote_once(&e, report_data, &quote, &story);
    while (st == EE_E_AGAIN && eei_mono_ms() + backoff < deadline_ms) {
        sleep_ms(backoff);
        backoff = backoff * 2 < BACKOFF_MAX_MS ? backoff * 2 : BACKOFF_MAX_MS;
        st = quote_once(&e, report_data, &quote, &story);
    }
    entry_close(&e);
    if (st && err) *err = story;
    if (st == EE_E_AGAIN) st = eei_fail(err, EE_E_TIMEOUT, "no quote from %s in %u ms", source->tsm_dir, source->timeout_ms);
    if (!st && eei_buf_append_span(out, eei_buf_span(&quote))) st = eei_nomem(err);
    eei_buf_clear(&quote);
    return st;
}

static ee_status extend_kernel(const quote_source *source, const uint8_t digest[48], ee_error *err) {
    ee_status st = write_value(source->rtmr3_path, digest, 48, err);
    if (st && access(source->rtmr3_path, F_OK) != 0)
        return eei_hint(err, eei_fail(err, EE_E_CONFIG, "RTMR3 cannot be extended: there is no %s", source->rtmr3_path),
                        "run a kernel with TDX measurement registers in sysfs (Linux 6.16 or later)");
    return st;
}

/* ---- the boot log (Spec: Intel GHCI for TDX, "CCEL") ------------------------------------------------------------------- */

static ee_status read_boot_log(const char *ccel_path, const char *log_path, eei_buf *out, ee_error *err) {
    eei_buf table = EEI_BUF_INIT(4096);
    eei_ccel_table ccel;
    ee_status st = read_value(ccel_path, &table, err);
    if (!st) st = eei_ccel_table_parse(eei_buf_span(&table), &ccel, err);
    if (!st) st = read_value(log_path, out, err);
    if (!st && out->len != ccel.area_bytes)
        st = eei_fail(err, EE_E_MALFORMED, "%s is %zu bytes, its table says %llu", log_path, out->len, (unsigned long long)ccel.area_bytes);
    eei_buf_clear(&table);
    if (st) eei_buf_reset(out);
    return st;
}

/* Only quotes are needed to serve; a boot log makes them say more. */
static void take_boot_log(quote_source *source, const quote_source_options *options) {
    const char *ccel = options->ccel_path ? options->ccel_path : QUOTE_SOURCE_CCEL;
    const char *log = options->log_path ? options->log_path : QUOTE_SOURCE_LOG;
    ee_error why = {0};
    if (access(ccel, F_OK) != 0)
        eei_log(EEI_LOG_INFO, "boot_log.none", "path=%s", ccel);
    else if (read_boot_log(ccel, log, &source->boot_log, &why))
        eei_log(EEI_LOG_WARN, "boot_log.unreadable", "reason=%s", why.message);
    else
        eei_log(EEI_LOG_INFO, "boot_log.read", "path=%s bytes=%zu", log, source->boot_log.len);
}

/* ---- the quoter ------------------------------------------------------------------------------------------------------ */

static ee_status quote(void *user, const uint8_t report_data[64], eei_buf *out, ee_error *err) {
    quote_source *source = user;
    ee_status st;
    pthread_mutex_lock(&source->mutex);
#if defined(EE_SIMTDX)
    if (source->simulated)
        st = simtdx_quote(source->machine, &source->td, report_data, out, err);
    else
#endif
        st = quote_configfs(source, report_data, out, err);
    pthread_mutex_unlock(&source->mutex);
    return st;
}

static ee_status extend_rtmr3(void *user, const uint8_t digest[48], ee_error *err) {
    quote_source *source = user;
    ee_status st = EE_OK;
    pthread_mutex_lock(&source->mutex);
#if defined(EE_SIMTDX)
    if (source->simulated)
        eei_rtmr_extend(source->td.rtmr[3], digest);
    else
#endif
        st = extend_kernel(source, digest, err);
    pthread_mutex_unlock(&source->mutex);
    return st;
}

eei_quoter quote_source_quoter(quote_source *source) {
    return (eei_quoter){.quote = quote,
                        .extend_rtmr3 = extend_rtmr3,
                        .user = source,
                        .simulated = source->simulated,
                        .boot_log = eei_buf_span(&source->boot_log)};
}

const char *quote_source_kind(const quote_source *source) { return source->simulated ? "simulated" : "configfs"; }

/* ---- life ------------------------------------------------------------------------------------------------------------ */

static ee_status open_simulated(quote_source *source, const char *path, ee_error *err) {
#if defined(EE_SIMTDX)
    ee_status st = eei_file_check_private(path, err);
    if (!st) st = simtdx_machine_load(path, &source->machine, err);
    if (!st) st = simtdx_boot_log(&source->boot_log, err);
    simtdx_td_default(&source->td);
    source->simulated = true;
    return st;
#else
    (void)source;
    return eei_fail(err, EE_E_CONFIG, "%s is for a simulated machine, which this build does not have", path);
#endif
}

static ee_status probe(quote_source *source, const quote_source_options *options, ee_error *err) {
    struct stat info;
    if (stat(source->tsm_dir, &info) == 0 && S_ISDIR(info.st_mode)) {
        take_boot_log(source, options);
        return EE_OK;
    }
    if (options->machine_file && *options->machine_file) return open_simulated(source, options->machine_file, err);
    return eei_hint(
        err,
        eei_fail(err, EE_E_CONFIG, "this machine cannot quote: there is no %s and no simulated machine is configured", source->tsm_dir),
        "run in a TDX guest with configfs mounted (Linux 6.7 or later), or make a devnet with: ee devnet up");
}

ee_status quote_source_open(const quote_source_options *options, quote_source **out, ee_error *err) {
    *out = NULL;
    quote_source *source = eei_calloc(1, sizeof *source);
    if (!source) return eei_nomem(err);
    (void)pthread_mutex_init(&source->mutex, NULL); /* default attributes: does not fail on Linux */
    source->boot_log = (eei_buf)EEI_BUF_INIT(EEI_CCEL_BYTES_MAX);
    source->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
    source->tsm_dir = eei_strdup(options->tsm_dir ? options->tsm_dir : QUOTE_SOURCE_TSM_DIR);
    source->rtmr3_path = eei_strdup(options->rtmr3_path ? options->rtmr3_path : QUOTE_SOURCE_RTMR3);
    source->tsm_entry = eei_strdup(options->tsm_entry);
    ee_status st = EE_OK;
    if (!source->tsm_dir || !source->rtmr3_path || (options->tsm_entry && !source->tsm_entry)) st = eei_nomem(err);
    if (!st && strlen(source->tsm_dir) + (source->tsm_entry ? strlen(source->tsm_entry) : 48) + 1 >= PATH_CAP)
        st = eei_fail(err, EE_E_CONFIG, "the path %.64s... is too long", source->tsm_dir);
    if (!st) st = probe(source, options, err);
    if (st)
        quote_source_free(source);
    else
        *out = source;
    return st;
}

void quote_source_free(quote_source *source) {
    if (!source) return;
#if defined(EE_SIMTDX)
    simtdx_machine_free(source->machine);
#endif
    (void)pthread_mutex_destroy(&source->mutex);
    eei_buf_clear(&source->boot_log);
    eei_free(source->tsm_dir);
    eei_free(source->tsm_entry);
    eei_free(source->rtmr3_path);
    eei_free(source);
}
