/* file.c - whole small files: read with a limit, replaced atomically, checked for being private. Not for logs or data paths.
 * Called by configuration, key files and caches. */
#include "file.h"

#include "alloc.h"
#include "clock.h"
#include "encoding.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_STEP = 16384, WRITER_MS = 1000, READER_MS = 1000, STREAM_MS = 30000, OPEN_AGAIN_MS = 10, LINKS_MAX = 40 };

/* An open file that is read. What is no regular file may never come, or never end. */
typedef struct source {
    const char *path;
    int fd;
    bool stream, asked;           /* asked: it was waited for already */
    uint64_t within_ms, until_ms; /* of a stream */
} source;

/* Until there is something to read, or its end; *ready is false when it only took too long. */
static ee_status wait_for(source *from, bool *ready, ee_error *err) {
    struct pollfd one = {.fd = from->fd, .events = POLLIN};
    for (;;) {
        const uint64_t now = eei_mono_ms(), left = from->until_ms > now ? from->until_ms - now : 0;
        if (!left) return eei_fail(err, EE_E_TIMEOUT, "%s did not end within %.1f s", from->path, (double)from->within_ms / 1000);
        int n = poll(&one, 1, !from->asked && left > WRITER_MS ? WRITER_MS : (int)left);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return eei_fail_errno(err, EE_E_IO, errno, "cannot wait for %s", from->path);
        *ready = n > 0;
        from->asked = true;
        return EE_OK;
    }
}

static ee_status read_all(source *from, eei_buf *out, ee_error *err) {
    const size_t kept = out->len;
    for (;;) {
        size_t step = out->max - out->len < READ_STEP ? out->max - out->len : READ_STEP;
        uint8_t beyond = 0, *room = &beyond; /* at the maximum one byte more tells "exactly full" from "too large" */
        bool ready = true;
        if (step && eei_buf_reserve(out, step, &room)) return eei_nomem(err);
        ee_status st = from->stream ? wait_for(from, &ready, err) : EE_OK;
        if (st) return st;
        ssize_t n = read(from->fd, room, step ? step : 1);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n < 0) return eei_fail_errno(err, EE_E_IO, errno, "cannot read %s", from->path);
        if (n == 0 && !ready && out->len == kept)
            return eei_fail(err, EE_E_TIMEOUT, "nobody writes to %s", from->path); /* a FIFO without a writer */
        if (n == 0) return EE_OK;
        if (!step) return eei_fail(err, EE_E_LIMIT, "%s is larger than %zu bytes", from->path, out->max);
        eei_buf_commit(out, (size_t)n);
    }
}

ee_status eei_file_read_within(const char *path, uint64_t within_ms, eei_buf *out, ee_error *err) {
    const size_t kept = out->len;
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a FIFO is open at once; regular files are as they always are */
    if (fd < 0) return eei_fail_errno(err, errno == ENOENT || errno == ENOTDIR ? EE_E_NOT_FOUND : EE_E_IO, errno, "cannot open %s", path);
    source from = {.path = path, .fd = fd, .within_ms = within_ms, .until_ms = eei_mono_ms() + within_ms};
    from.stream = fstat(fd, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
    ee_status st = read_all(&from, out, err);
    if (st) {
        if (out->secret && out->len > kept) eei_wipe(out->data + kept, out->len - kept);
        out->len = kept;
    }
    close(fd);
    return st;
}

ee_status eei_file_read(const char *path, eei_buf *out, ee_error *err) { return eei_file_read_within(path, STREAM_MS, out, err); }

static ee_status write_all(int fd, ee_span data) {
    while (data.len > 0) {
        ssize_t n = write(fd, data.data, data.len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return EE_E_IO;
        data.data += n;
        data.len -= (size_t)n;
    }
    return EE_OK;
}

/* "dir" of "dir/name", "." for a bare name, "/" for "/name". Owned; NULL when out of memory. */
static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return eei_strdup(".");
    return eei_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* Make the rename itself durable. */
static ee_status sync_folder(const char *path, ee_error *err) {
    char *folder = folder_of(path);
    if (!folder) return eei_nomem(err);
    ee_status st = EE_OK;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (fsync(fd) && errno != EINVAL)) /* EINVAL: a file system that has no sync for folders */
        st = eei_fail_errno(err, EE_E_IO, errno, "cannot sync the folder of %s", path);
    if (fd >= 0) close(fd);
    eei_free(folder);
    return st;
}

static ee_status temporary_name(const char *path, char **out, ee_error *err) {
    uint8_t random[8];
    char hex[2 * sizeof random + 1];
    size_t len = strlen(path), cap = 0;
    *out = NULL;
    ee_status st = eei_random(random, sizeof random, err);
    if (st) return st;
    eei_hex_encode(eei_span(random, sizeof random), hex);
    if (!eei_add_size(&cap, len, sizeof ".tmp-" + sizeof hex)) return eei_nomem(err);
    *out = eei_malloc(cap);
    if (!*out) return eei_nomem(err);
    snprintf(*out, cap, "%s.tmp-%s", path, hex);
    return EE_OK;
}

ee_status eei_file_write_atomic(const char *path, ee_span data, unsigned mode, ee_error *err) {
    char *temporary = NULL;
    int fd = -1;
    bool left = false;
    ee_status st = temporary_name(path, &temporary, err);
    if (st) goto done;
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600); /* private until it has its mode */
    if (fd < 0) {
        st = eei_fail_errno(err, EE_E_IO, errno, "cannot create %s", temporary);
        goto done;
    }
    left = true;
    if (write_all(fd, data) || fchmod(fd, (mode_t)mode) || fsync(fd) || rename(temporary, path)) {
        st = eei_fail_errno(err, EE_E_IO, errno, "cannot write %s", path);
        goto done;
    }
    left = false;
    st = sync_folder(path, err);
done:
    if (fd >= 0) close(fd);
    if (left) unlink(temporary);
    eei_free(temporary);
    return st;
}

/* ---- what a user named ---- */

/* "dir/link" -> where a chain of links ends; nothing need be there. Owned. */
static ee_status follow_links(const char *path, char **out, ee_error *err) {
    char target[PATH_MAX];
    *out = eei_strdup(path);
    for (size_t links = 0; *out; links++) {
        const ssize_t n = readlink(*out, target, sizeof target);
        if (n < 0) return EE_OK; /* no link, or none that can be read: opening it says what is wrong */
        const char *slash = strrchr(*out, '/');
        const size_t kept = slash && target[0] != '/' ? (size_t)(slash - *out) + 1 : 0, len = (size_t)n;
        if (links == LINKS_MAX || len == sizeof target) {
            eei_free(eei_take(out));
            return eei_fail_errno(err, EE_E_IO, ELOOP, "cannot write %s", path);
        }
        char *next = eei_malloc(kept + len + 1);
        if (next) {
            memcpy(next, *out, kept);
            memcpy(next + kept, target, len);
            next[kept + len] = '\0';
        }
        eei_free(*out);
        *out = next;
    }
    return eei_nomem(err);
}

/* write() to a pipe without a reader is an error here, never a signal that ends the caller's program. */
static ssize_t write_quietly(int fd, ee_span data) {
    const struct timespec at_once = {0};
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    const ssize_t n = write(fd, data.data, data.len);
    const int why = errno;
    if (n < 0 && why == EPIPE && !sigismember(&pending, SIGPIPE)) (void)sigtimedwait(&pipe_signal, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = why;
    return n;
}

static ee_status write_stream(const char *path, int fd, ee_span data, ee_error *err) {
    struct pollfd one = {.fd = fd, .events = POLLOUT};
    const uint64_t until = eei_mono_ms() + STREAM_MS;
    while (data.len > 0) {
        const ssize_t n = write_quietly(fd, data);
        if (n >= 0) {
            data.data += n;
            data.len -= (size_t)n;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR) return eei_fail_errno(err, EE_E_IO, errno, "cannot write %s", path);
        const uint64_t now = eei_mono_ms();
        if (now >= until)
            return eei_fail(err, EE_E_TIMEOUT, "%s took no more within %d s: %zu bytes are left", path, STREAM_MS / 1000, data.len);
        (void)poll(&one, 1, (int)(until - now));
    }
    return EE_OK;
}

/* A device, or a FIFO whose reader may be about to come. */
static ee_status write_existing(const char *path, bool fifo, ee_span data, ee_error *err) {
    const uint64_t until = eei_mono_ms() + READER_MS;
    int fd = -1;
    while ((fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) < 0) {
        if (!fifo || errno != ENXIO) return eei_fail_errno(err, EE_E_IO, errno, "cannot open %s", path);
        if (eei_mono_ms() >= until) return eei_fail(err, EE_E_TIMEOUT, "nobody reads from %s", path);
        (void)poll(NULL, 0, OPEN_AGAIN_MS);
    }
    const ee_status st = write_stream(path, fd, data, err);
    close(fd);
    return st;
}

ee_status eei_file_write_named(const char *path, ee_span data, unsigned mode, ee_error *err) {
    struct stat s;
    char *target = NULL;
    if (stat(path, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode)) return write_existing(path, S_ISFIFO(s.st_mode), data, err);
    ee_status st = follow_links(path, &target, err);
    if (!st) st = eei_file_write_atomic(target, data, mode, err);
    eei_free(target);
    return st;
}

/* ---- whose it is ---- */

static ee_status check_folder(const char *path, ee_error *err) {
    struct stat s;
    char *folder = folder_of(path);
    if (!folder) return eei_nomem(err);
    ee_status st = EE_OK;
    if (stat(folder, &s))
        st = eei_fail_errno(err, EE_E_CONFIG, errno, "cannot look at %s", folder);
    else if (s.st_uid != geteuid() && s.st_uid != 0) /* root's folder is as safe as ours: root can read everything anyway */
        st = eei_fail(err, EE_E_CONFIG, "%s belongs to user %u, not to you (user %u)", folder, (unsigned)s.st_uid, (unsigned)geteuid());
    else if (s.st_mode & (S_IWGRP | S_IWOTH))
        st = eei_fail(err, EE_E_CONFIG, "%s is writable by others (mode %04o)", folder, (unsigned)s.st_mode & 07777u);
    if (st) eei_hint(err, st, "keep it in a folder of yours that only you can write: chmod go-w");
    eei_free(folder);
    return st;
}

ee_status eei_file_check_private(const char *path, ee_error *err) {
    struct stat s;
    ee_status st = EE_OK;
    if (lstat(path, &s)) return eei_fail_errno(err, EE_E_CONFIG, errno, "cannot look at %s", path);
    if (!S_ISREG(s.st_mode))
        st = eei_fail(err, EE_E_CONFIG, "%s is not a regular file", path);
    else if (s.st_uid != geteuid())
        st = eei_fail(err, EE_E_CONFIG, "%s belongs to user %u, not to you (user %u)", path, (unsigned)s.st_uid, (unsigned)geteuid());
    else if (s.st_mode & 077)
        st = eei_fail(err, EE_E_CONFIG, "%s is open to others (mode %04o)", path, (unsigned)s.st_mode & 07777u);
    if (st) return eei_hint(err, st, "it must be yours alone: chmod 600");
    return check_folder(path, err);
}

static ee_status make_one(const char *path, unsigned mode, ee_error *err) {
    struct stat s;
    if (mkdir(path, (mode_t)mode) == 0) return EE_OK;
    if (errno != EEXIST) return eei_fail_errno(err, EE_E_IO, errno, "cannot make folder %s", path);
    if (stat(path, &s) == 0 && S_ISDIR(s.st_mode)) return EE_OK;
    return eei_fail_errno(err, EE_E_IO, ENOTDIR, "%s is in the way", path);
}

ee_status eei_make_dirs(const char *path, unsigned mode, ee_error *err) {
    if (!*path) return eei_fail(err, EE_E_INVALID, "a folder needs a name");
    char *copy = eei_strdup(path);
    if (!copy) return eei_nomem(err);
    ee_status st = EE_OK;
    for (char *p = copy + 1; !st && *p; p++) {
        if (*p != '/' || p[-1] == '/') continue;
        *p = '\0';
        st = make_one(copy, mode, err);
        *p = '/';
    }
    if (!st) st = make_one(copy, mode, err);
    eei_free(copy);
    return st;
}
