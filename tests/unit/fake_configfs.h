/* fake_configfs.h - a TDX guest's kernel for tests of quote_source.c: configfs-tsm and the RTMR3 file, as Linux 6.16 has them, under the
 * production paths. The including test leads the calls of the production code here with its `wraps:` line; whatever is elsewhere in the
 * file system is the machine's own. Time is the kernel's too: nothing sleeps. Spec: Linux Documentation/ABI/testing/configfs-tsm,
 * drivers/virt/coco/tsm.c, fs/configfs/file.c */
#ifndef TESTS_FAKE_CONFIGFS_H
#define TESTS_FAKE_CONFIGFS_H
#include "base/clock.h"
#include "common/quote_source.h"
#include "support/fake_quoter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { KERNEL_FD = 1 << 20, KERNEL_FILES = 4, KERNEL_ENTRIES = 4, KERNEL_SLEEPS = 128, BLOB_MAX = 1 << 17 };

typedef enum kernel_file { GENERATION, INBLOB, OUTBLOB, RTMR3, NO_FILE } kernel_file;
typedef enum kernel_op { OPEN = 1, READ, WRITE, CLOSE, MAKE, REMOVE } kernel_op;

/* This operation fails `times` times with `number`, after it was let through `skip` times. */
typedef struct kernel_fault {
    kernel_op op;
    kernel_file file;
    unsigned skip, times;
    int number;
} kernel_fault;

typedef struct kernel_entry {
    char name[64]; /* empty: there is none */
    unsigned long generation, reported;
    uint8_t inblob[64];
    bool written;
    eei_buf outblob;
} kernel_entry;

typedef struct kernel_open {
    bool used;
    kernel_file file;
    kernel_entry *entry;
    uint8_t written[128];
    size_t len, at;
} kernel_open;

typedef struct fake_kernel {
    fake_machine *machine; /* quotes */
    kernel_fault fault;
    /* So many times somebody else writes to the entry: before our write, between it and our read, and after our read. */
    unsigned before_write, before_read, after_read;
    unsigned dropped; /* our writes that are not taken: configfs takes a value at close(), which does not say so */
    size_t piece;     /* most that one read gives; 0 = all */
    size_t takes;     /* most that one write takes; 0 = all */
    size_t padding;   /* behind the quote */
    uint8_t pad_byte;
    bool empty, foreign;    /* the report is nothing; or of another vendor's machine */
    bool no_rtmr3;          /* an older kernel */
    const char *generation; /* what stands there instead of a number */
    uint64_t quote_ms;      /* what one report takes */

    kernel_entry entries[KERNEL_ENTRIES];
    kernel_open files[KERNEL_FILES];
    uint64_t now_ms;
    unsigned quotes, made, removed, extended;
    uint64_t slept_ms[KERNEL_SLEEPS], slept_all_ms;
    size_t sleeps;
    char last_name[64];
    mode_t last_mode;
    atomic_uint busy; /* between our write and our read */
    atomic_bool overlapped;
} fake_kernel;

static fake_kernel kernel;

/* ---- what it does ---------------------------------------------------------------------------------------------------- */

static bool kernel_fails(kernel_op op, kernel_file file) {
    kernel_fault *f = &kernel.fault;
    if (f->op != op || f->file != file || !f->times) return false;
    if (f->skip) {
        f->skip--;
        return false;
    }
    f->times--;
    errno = f->number;
    return true;
}

/* Once more and true, while it is to happen. */
static bool kernel_once(unsigned *times) { return *times ? (--*times, true) : false; }

static void kernel_written(kernel_entry *e, const uint8_t *data, size_t len) {
    e->generation++;
    e->written = true;
    memset(e->inblob, 0, sizeof e->inblob);
    memcpy(e->inblob, data, len);
}

static void somebody_writes(kernel_entry *e) {
    static const uint8_t theirs[64] = {0xee, 0xee};
    kernel_written(e, theirs, sizeof theirs);
}

/* An attestation report of AMD's SEV-SNP begins with its version as 32 bits, and is as long as this. */
static void kernel_foreign_report(eei_buf *out) {
    uint8_t report[1184] = {2};
    if (eei_buf_append(out, report, sizeof report)) abort();
}

static void kernel_report(kernel_entry *e) {
    eei_buf_reset(&e->outblob);
    kernel.quotes++;
    kernel.now_ms += kernel.quote_ms;
    if (kernel.foreign)
        kernel_foreign_report(&e->outblob);
    else if (!kernel.empty && simtdx_quote(kernel.machine->machine, &kernel.machine->td, e->inblob, &e->outblob, NULL))
        abort();
    for (size_t i = 0; i < kernel.padding; i++)
        if (eei_buf_append(&e->outblob, &kernel.pad_byte, 1)) abort();
    e->reported = e->generation;
}

static kernel_entry *kernel_find(const char *name, size_t len) {
    for (size_t i = 0; len && i < KERNEL_ENTRIES; i++)
        if (strlen(kernel.entries[i].name) == len && memcmp(kernel.entries[i].name, name, len) == 0) return &kernel.entries[i];
    return NULL;
}

static kernel_entry *kernel_make(const char *name) {
    for (size_t i = 0; i < KERNEL_ENTRIES; i++) {
        kernel_entry *e = &kernel.entries[i];
        if (e->name[0]) continue;
        *e = (kernel_entry){.outblob = EEI_BUF_INIT(BLOB_MAX)};
        (void)snprintf(e->name, sizeof e->name, "%s", name);
        return e;
    }
    abort();
}

static void kernel_remove(kernel_entry *e) {
    eei_buf_clear(&e->outblob);
    e->name[0] = '\0';
}

/* A kernel that has just booted, with these faults; and after it. */
static void kernel_boot(fake_kernel with, fake_machine *machine) {
    kernel = with;
    kernel.machine = machine;
    kernel.now_ms = 1000;
}

static size_t kernel_entries(void) {
    size_t n = 0;
    for (size_t i = 0; i < KERNEL_ENTRIES; i++) n += kernel.entries[i].name[0] != '\0';
    return n;
}

static size_t kernel_files(void) {
    size_t n = 0;
    for (size_t i = 0; i < KERNEL_FILES; i++) n += kernel.files[i].used;
    return n;
}

static void kernel_halt(void) {
    for (size_t i = 0; i < KERNEL_ENTRIES; i++) kernel_remove(&kernel.entries[i]);
}

/* ---- the calls ------------------------------------------------------------------------------------------------------- */

/* What stands behind the folder of entries; NULL: the path is not the kernel's. */
static const char *kernel_path(const char *path) {
    size_t n = strlen(QUOTE_SOURCE_TSM_DIR);
    if (strncmp(path, QUOTE_SOURCE_TSM_DIR, n) != 0 || (path[n] && path[n] != '/')) return NULL;
    return path[n] ? path + n + 1 : path + n;
}

static kernel_open *kernel_opened(int fd) {
    return fd >= KERNEL_FD && fd < KERNEL_FD + KERNEL_FILES ? &kernel.files[fd - KERNEL_FD] : NULL;
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...) {
    static const struct {
        const char *name;
        int access;
    } files[] = {[GENERATION] = {"generation", O_RDONLY}, [INBLOB] = {"inblob", O_WRONLY}, [OUTBLOB] = {"outblob", O_RDONLY}};
    const char *in = kernel_path(path), *name = in ? strchr(in, '/') : NULL;
    kernel_entry *e = name ? kernel_find(in, (size_t)(name - in)) : NULL;
    kernel_file file = strcmp(path, QUOTE_SOURCE_RTMR3) == 0 ? RTMR3 : NO_FILE;
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (!in && file == NO_FILE) return __real_open64(path, flags, mode);
    for (size_t i = 0; e && i < sizeof files / sizeof *files; i++)
        if (strcmp(name + 1, files[i].name) == 0 && (flags & O_ACCMODE) == files[i].access) file = (kernel_file)i;
    errno = ENOENT;
    if (file == NO_FILE || (file == RTMR3 && kernel.no_rtmr3) || kernel_fails(OPEN, file)) return -1;
    if (file == INBLOB && kernel_once(&kernel.before_write)) somebody_writes(e);
    if (file == OUTBLOB && kernel_once(&kernel.before_read)) somebody_writes(e);
    if (file == INBLOB && atomic_fetch_add(&kernel.busy, 1)) atomic_store(&kernel.overlapped, true);
    for (int i = 0; i < KERNEL_FILES; i++) {
        if (kernel.files[i].used) continue;
        kernel.files[i] = (kernel_open){.used = true, .file = file, .entry = e};
        return KERNEL_FD + i;
    }
    abort();
}

ssize_t __real_read(int fd, void *out, size_t cap);
ssize_t __wrap_read(int fd, void *out, size_t cap);
ssize_t __wrap_read(int fd, void *out, size_t cap) {
    kernel_open *f = kernel_opened(fd);
    char text[32];
    ee_span all;
    if (!f) return __real_read(fd, out, cap);
    if (kernel_fails(READ, f->file)) return -1;
    if (f->file == GENERATION) {
        (void)snprintf(text, sizeof text, "%lu\n", f->entry->generation);
        all = eei_span_text(kernel.generation ? kernel.generation : text);
    } else {
        if (!f->entry->written) return errno = EINVAL, -1;
        if (f->entry->reported != f->entry->generation) kernel_report(f->entry);
        all = eei_buf_span(&f->entry->outblob);
    }
    size_t n = all.len - f->at < cap ? all.len - f->at : cap;
    if (kernel.piece && n > kernel.piece) n = kernel.piece;
    if (n) memcpy(out, all.data + f->at, n);
    f->at += n;
    return (ssize_t)n;
}

ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len) {
    kernel_open *f = kernel_opened(fd);
    if (!f) return __real_write(fd, data, len);
    if (kernel_fails(WRITE, f->file)) return -1;
    if (kernel.takes && len > kernel.takes) len = kernel.takes;
    if (len > sizeof f->written - f->len || (f->file == RTMR3 && len != 48)) return errno = EINVAL, -1;
    memcpy(f->written + f->len, data, len);
    f->len += len;
    if (f->file == RTMR3) {
        eei_rtmr_extend(kernel.machine->td.rtmr[3], f->written);
        kernel.extended++;
    }
    return (ssize_t)len;
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd) {
    kernel_open *f = kernel_opened(fd);
    if (!f) return __real_close(fd);
    f->used = false; /* whatever it answers */
    if (kernel_fails(CLOSE, f->file)) return -1;
    if (f->file == INBLOB && f->len <= 64 && !kernel_once(&kernel.dropped)) kernel_written(f->entry, f->written, f->len);
    if (f->file == OUTBLOB) atomic_fetch_sub(&kernel.busy, 1);
    if (f->file == OUTBLOB && kernel_once(&kernel.after_read)) somebody_writes(f->entry);
    return 0;
}

int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode) {
    const char *in = kernel_path(path);
    if (!in) return __real_mkdir(path, mode);
    if (kernel_fails(MAKE, NO_FILE)) return -1;
    if (kernel_find(in, strlen(in))) return errno = EEXIST, -1;
    (void)kernel_make(in);
    (void)snprintf(kernel.last_name, sizeof kernel.last_name, "%s", in);
    kernel.last_mode = mode;
    kernel.made++;
    return 0;
}

int __real_rmdir(const char *path);
int __wrap_rmdir(const char *path);
int __wrap_rmdir(const char *path) {
    const char *in = kernel_path(path);
    if (!in) return __real_rmdir(path);
    kernel_entry *e = kernel_find(in, strlen(in));
    if (kernel_fails(REMOVE, NO_FILE)) return -1;
    if (!e) return errno = ENOENT, -1;
    kernel_remove(e);
    kernel.removed++;
    return 0;
}

int __real_stat64(const char *path, struct stat64 *out);
int __wrap_stat64(const char *path, struct stat64 *out);
int __wrap_stat64(const char *path, struct stat64 *out) {
    const char *in = kernel_path(path);
    if (!in || *in) return __real_stat64(path, out);
    memset(out, 0, sizeof *out);
    out->st_mode = S_IFDIR | 0755;
    return 0;
}

int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
int __wrap_access(const char *path, int mode) {
    if (strcmp(path, QUOTE_SOURCE_RTMR3) != 0) return __real_access(path, mode);
    errno = ENOENT;
    return kernel.no_rtmr3 ? -1 : 0;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left) {
    uint64_t ms = (uint64_t)time->tv_sec * 1000u + (uint64_t)time->tv_nsec / 1000000u;
    (void)left;
    if (kernel.sleeps >= KERNEL_SLEEPS) abort();
    kernel.slept_ms[kernel.sleeps++] = ms;
    kernel.slept_all_ms += ms;
    kernel.now_ms += ms;
    return 0;
}

uint64_t __wrap_eei_mono_ms(void);
uint64_t __wrap_eei_mono_ms(void) { return kernel.now_ms; }
#endif
