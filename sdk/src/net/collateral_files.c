/* collateral_files.c - see collateral_files.h. A file is a few lines of text, then the JSON as it came:
 *
 *   easyenclave collateral 1
 *   source https://pccs.example:8081
 *   fetched 1790000000
 *   sha256 <of the lines above and the JSON below>
 *   <empty line>
 *   {...}
 *
 * The hash finds damage; it proves nothing, and nothing is concluded from it. Called through collateral_files.h. */
#include "net/collateral_files.h"

#include "attest/digest.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/limits.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "easyenclave collateral 1\n"
enum {
    HEAD_BYTES_MAX = 1024,
    NAME_BYTES = 12 + 1 + 9 + 1 + 16, /* "454553494d00-processor-0123456789abcdef" at most */
    PATH_BYTES_MAX = 1024,
    LEFT_OVER_S = 3600, /* a temporary file older than this is a killed process's */
    LISTED_MAX = 4096,  /* of a folder that others fill, too, no more is looked at */
};

struct eei_collateral_files {
    char folder[PATH_BYTES_MAX - NAME_BYTES - 1];
    char *origin;
    char origin_hex[17];
    size_t files_max, bytes_max;
};

/* ---- names ---- */

static void path_of(const eei_collateral_files *self, const eei_collateral_id *id, char out[PATH_BYTES_MAX]) {
    char fmspc[13];
    eei_hex_encode(eei_span(id->fmspc, sizeof id->fmspc), fmspc);
    (void)snprintf(out, PATH_BYTES_MAX, "%s/%s-%.9s-%s", self->folder, fmspc, id->ca, self->origin_hex);
}

static bool all_hex(const char *text, size_t len) { return strspn(text, "0123456789abcdef") >= len; }

/* Whole files of ours, and what was to become one; nothing else is ever removed. */
static bool is_ours(const char *name, bool *temporary) {
    if (!all_hex(name, 12) || name[12] != '-') return false;
    const char *ca = name + 13, *rest = strchr(ca, '-');
    if (!rest || (strncmp(ca, "platform-", 9) != 0 && strncmp(ca, "processor-", 10) != 0) || !all_hex(rest + 1, 16)) return false;
    *temporary = !strncmp(rest + 17, ".tmp-", 5);
    return *temporary || !rest[17];
}

/* ---- reading ---- */

/* "word value\n" at the front is taken away. */
static bool take_line(ee_span *text, const char *word, ee_span *value) {
    size_t n = strlen(word);
    const uint8_t *end = text->len ? memchr(text->data, '\n', text->len < HEAD_BYTES_MAX ? text->len : HEAD_BYTES_MAX) : NULL;
    if (!end || (size_t)(end - text->data) <= n || memcmp(text->data, word, n) != 0 || text->data[n] != ' ') return false;
    *value = eei_span(text->data + n + 1, (size_t)(end - text->data) - n - 1);
    text->len -= (size_t)(end - text->data) + 1;
    text->data = end + 1;
    return true;
}

static bool take_number(ee_span digits, uint64_t *out) {
    *out = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9' || *out > 1000000000000u) return false;
        *out = *out * 10 + (uint64_t)(digits.data[i] - '0');
    }
    return digits.len > 0;
}

static ee_status hash_of(ee_span head, ee_span json, char hex[65], ee_error *err) {
    eei_sha256_ctx *ctx = NULL;
    uint8_t hash[32];
    ee_status st = eei_sha256_new(&ctx, err);
    if (st) return st;
    eei_sha256_add(ctx, head);
    eei_sha256_add(ctx, json);
    eei_sha256_end(ctx, hash);
    eei_sha256_free(ctx);
    eei_hex_encode(eei_span(hash, sizeof hash), hex);
    return EE_OK;
}

static ee_status take_apart(const eei_collateral_files *self, ee_span text, eei_buf *json, uint64_t *fetched_s, ee_error *err) {
    ee_span rest = text, source, fetched, hash;
    char hex[65];
    if (text.len < sizeof MAGIC - 1 || memcmp(text.data, MAGIC, sizeof MAGIC - 1) != 0)
        return eei_fail(err, EE_E_MALFORMED, "is no collateral of this format");
    rest.data += sizeof MAGIC - 1;
    rest.len -= sizeof MAGIC - 1;
    if (!take_line(&rest, "source", &source) || !take_line(&rest, "fetched", &fetched)) return eei_fail(err, EE_E_MALFORMED, "is damaged");
    ee_span head = eei_span(text.data, (size_t)(rest.data - text.data));
    if (!take_line(&rest, "sha256", &hash) || !rest.len || rest.data[0] != '\n' || !take_number(fetched, fetched_s))
        return eei_fail(err, EE_E_MALFORMED, "is damaged");
    rest.data++;
    rest.len--;
    if (!eei_span_equal(source, eei_span_text(self->origin))) return eei_fail(err, EE_E_MALFORMED, "is of another source");
    ee_status st = hash_of(head, rest, hex, err);
    if (st) return st;
    if (!eei_span_equal(hash, eei_span_text(hex))) return eei_fail(err, EE_E_MALFORMED, "is damaged: its content has another SHA-256");
    return eei_buf_append_span(json, rest) ? eei_nomem(err) : EE_OK;
}

ee_status eei_collateral_files_read(const eei_collateral_files *self, const eei_collateral_id *id, eei_buf *json, uint64_t *fetched_s,
                                    ee_error *err) {
    char path[PATH_BYTES_MAX];
    struct stat s;
    eei_buf text = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX + HEAD_BYTES_MAX);
    path_of(self, id, path);
    if (lstat(path, &s) != 0) return eei_fail(err, EE_E_NOT_FOUND, "there is no %s", path);
    ee_status st = eei_file_check_private(path, err); /* a pipe or a device is not opened at all */
    if (st) return st;
    st = eei_file_read(path, &text, err);
    if (!st) {
        st = take_apart(self, eei_buf_span(&text), json, fetched_s, err);
        if (st == EE_E_MALFORMED) st = eei_prefix(err, st, path);
    }
    eei_buf_clear(&text);
    return st;
}

/* ---- writing ---- */

typedef struct listed {
    char name[NAME_BYTES + 1];
    int64_t changed_ns;
    size_t bytes;
} listed;

static int newest_first(const void *a, const void *b) {
    const listed *x = a, *y = b;
    return x->changed_ns < y->changed_ns ? 1 : x->changed_ns > y->changed_ns ? -1 : strcmp(x->name, y->name);
}

static size_t list_folder(DIR *dir, listed *out, size_t cap) {
    size_t count = 0, looked = 0;
    for (const struct dirent *d = readdir(dir); d && looked < LISTED_MAX; d = readdir(dir), looked++) {
        struct stat s;
        bool temporary;
        if (!is_ours(d->d_name, &temporary) || fstatat(dirfd(dir), d->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(s.st_mode))
            continue;
        if (temporary) {
            if ((uint64_t)s.st_mtim.tv_sec + LEFT_OVER_S < eei_wall_ms() / 1000) (void)unlinkat(dirfd(dir), d->d_name, 0);
            continue;
        }
        if (count == cap) continue;
        (void)snprintf(out[count].name, sizeof out[count].name, "%s", d->d_name);
        out[count].changed_ns = (int64_t)s.st_mtim.tv_sec * 1000000000 + s.st_mtim.tv_nsec;
        out[count++].bytes = (size_t)s.st_size;
    }
    return count;
}

/* What a bound is exceeded by goes, oldest first. Another process may do the same at the same time: a file that is gone is gone. */
static void prune(const eei_collateral_files *self, const char *written) {
    DIR *dir = opendir(self->folder);
    listed *found = dir ? eei_calloc(LISTED_MAX, sizeof *found) : NULL;
    size_t kept = 0, bytes = 0, count = found ? list_folder(dir, found, LISTED_MAX) : 0;
    if (count) qsort(found, count, sizeof *found, newest_first);
    for (size_t i = 0; i < count; i++) {
        bool mine = !strcmp(found[i].name, written);
        if (!mine && (kept + 1 > self->files_max || bytes + found[i].bytes > self->bytes_max)) {
            (void)unlinkat(dirfd(dir), found[i].name, 0);
            continue;
        }
        kept++;
        bytes += found[i].bytes;
    }
    eei_free(found);
    if (dir) closedir(dir);
}

ee_status eei_collateral_files_write(const eei_collateral_files *self, const eei_collateral_id *id, ee_span json, uint64_t fetched_s,
                                     ee_error *err) {
    char path[PATH_BYTES_MAX], hex[65];
    eei_buf text = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX + HEAD_BYTES_MAX);
    path_of(self, id, path);
    ee_status st = eei_buf_printf(&text, MAGIC "source %s\nfetched %llu\n", self->origin, (unsigned long long)fetched_s);
    if (!st) st = hash_of(eei_buf_span(&text), json, hex, err);
    if (!st) st = eei_buf_printf(&text, "sha256 %s\n\n", hex);
    if (!st) st = eei_buf_append_span(&text, json);
    if (st) st = st == EE_E_LIMIT ? eei_fail(err, st, "collateral of %zu bytes is too large for a file", json.len) : eei_nomem(err);
    if (!st) st = eei_make_dirs(self->folder, 0700, err); /* it may have been cleaned away meanwhile */
    if (!st) st = eei_file_write_atomic(path, eei_buf_span(&text), 0600, err);
    if (!st) prune(self, strrchr(path, '/') + 1);
    eei_buf_clear(&text);
    return st;
}

/* ---- life ---- */

ee_status eei_collateral_files_new(const char *folder, const char *origin, size_t files_max, size_t bytes_max, eei_collateral_files **out,
                                   ee_error *err) {
    uint8_t hash[32];
    *out = NULL;
    if (strlen(folder) >= sizeof((eei_collateral_files *)0)->folder || strlen(origin) > HEAD_BYTES_MAX / 2 || strchr(origin, '\n'))
        return eei_fail(err, EE_E_CONFIG, "the cache's folder or its source has too long a name");
    ee_status st = eei_make_dirs(folder, 0700, err);
    if (st) return eei_hint(err, st, "name another folder for the cache, or none");
    eei_collateral_files *self = eei_calloc(1, sizeof *self);
    if (self) self->origin = eei_strdup(origin);
    if (!self || !self->origin) {
        eei_free(self);
        return eei_nomem(err);
    }
    (void)snprintf(self->folder, sizeof self->folder, "%s", folder);
    eei_sha256(eei_span_text(origin), hash);
    eei_hex_encode(eei_span(hash, 8), self->origin_hex);
    self->files_max = files_max;
    self->bytes_max = bytes_max;
    *out = self;
    return EE_OK;
}

void eei_collateral_files_free(eei_collateral_files *self) {
    if (!self) return;
    eei_free(self->origin);
    eei_free(self);
}
