/* image_layer.c - layers onto a directory: every path resolved inside the root, no devices, no set-uid bits, counted (threat W9).
 * See image_layer.h. Called by image_unpack.c on a worker thread. */
#include "image_layer.h"

#include "base/alloc.h"
#include "image_tar.h"
#include "image_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHITEOUT        ".wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"
#define NOBODY          65534u

struct agent_layer {
    agent_rootfs *rootfs;
    agent_tar tar;
    int file;             /* being written; -1 */
    agent_tar_entry meta; /* of it; without its texts */
    int parent_fd;        /* of parent; -1 */
    char parent[AGENT_TAR_NAME_MAX + 1];
    uint64_t *added; /* hashes of what this layer made: whiteouts are about the layers below. 0: empty slot */
    size_t added_count, added_cap;
};

/* ---- what this layer made ---- */

/* FNV-1a. A hostile collision can only keep a file of the image's own that a whiteout meant to delete. */
static uint64_t hash_path(const char *parent, const char *name) {
    uint64_t h = 14695981039346656037ull;
    for (; *parent; parent++) h = (h ^ (uint8_t)*parent) * 1099511628211ull;
    h = (h ^ '/') * 1099511628211ull;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 1099511628211ull;
    return h ? h : 1;
}

static void put(uint64_t *slots, size_t cap, uint64_t h) {
    size_t i = (size_t)h & (cap - 1);
    while (slots[i] && slots[i] != h) i = (i + 1) & (cap - 1);
    slots[i] = h;
}

static bool was_added(const agent_layer *l, uint64_t h) {
    if (!l->added_cap) return false;
    for (size_t i = (size_t)h & (l->added_cap - 1); l->added[i]; i = (i + 1) & (l->added_cap - 1))
        if (l->added[i] == h) return true;
    return false;
}

static ee_status remember(agent_layer *l, uint64_t h, ee_error *err) {
    if (2 * (l->added_count + 1) > l->added_cap) {
        size_t cap = l->added_cap ? 2 * l->added_cap : 1024;
        uint64_t *slots = eei_calloc(cap, sizeof *slots);
        if (!slots) return eei_nomem(err);
        for (size_t i = 0; i < l->added_cap; i++)
            if (l->added[i]) put(slots, cap, l->added[i]);
        eei_free(l->added);
        l->added = slots;
        l->added_cap = cap;
    }
    put(l->added, l->added_cap, h);
    l->added_count++;
    return EE_OK;
}

/* ---- paths ---- */

/* "./a//b/" -> "a/b"; "" is the root. Refuses "..", long components and deep trees. */
static ee_status clean_path(const char *path, char out[AGENT_TAR_NAME_MAX + 1], ee_error *err) {
    size_t at = 0;
    unsigned depth = 0;
    for (const char *p = path; *p;) {
        size_t len = strcspn(p, "/");
        bool dot = len == 1 && p[0] == '.';
        if (len == 2 && p[0] == '.' && p[1] == '.') return eei_fail(err, EE_E_IMAGE, "layer: path \"%.100s\" goes up", path);
        if (len > 255) return eei_fail(err, EE_E_IMAGE, "layer: name of %zu bytes, limit 255", len);
        if (len && !dot) {
            if (++depth > AGENT_TREE_DEPTH_MAX) return eei_fail(err, EE_E_IMAGE, "layer: path is more than %u deep", AGENT_TREE_DEPTH_MAX);
            if (at) out[at++] = '/';
            memcpy(out + at, p, len); /* never longer than path, which fits */
            at += len;
        }
        p += len + (p[len] == '/');
    }
    out[at] = '\0';
    return EE_OK;
}

/* Cut "a/b/c" into "a/b" and "c", in place. */
static const char *split_path(char *path, const char **parent) {
    char *slash = strrchr(path, '/');
    if (!slash) {
        *parent = "";
        return path;
    }
    *slash = '\0';
    *parent = path;
    return slash + 1;
}

static void forget_parent(agent_layer *l) {
    if (l->parent_fd >= 0) close(l->parent_fd);
    l->parent_fd = -1;
}

/* Layers come sorted: the last parent is mostly the next one's too. */
static ee_status enter_parent(agent_layer *l, const char *parent, ee_error *err) {
    if (l->parent_fd >= 0 && strcmp(l->parent, parent) == 0) return EE_OK;
    forget_parent(l);
    uid_t root = l->rootfs->set_owner ? l->rootfs->id_base : geteuid();
    l->parent_fd = agent_tree_make_dirs(l->rootfs->fd, parent, root, l->rootfs->set_owner ? l->rootfs->id_base : getegid());
    if (l->parent_fd < 0) return eei_fail_errno(err, EE_E_IMAGE, errno, "layer: cannot enter \"%.100s\"", parent);
    snprintf(l->parent, sizeof l->parent, "%s", parent);
    return EE_OK;
}

/* ---- owners and modes ---- */

static uid_t owner_of(const agent_rootfs *r, uint64_t id) { return r->id_base + (id < AGENT_OCI_IDS ? (uint32_t)id : NOBODY); }

/* Set-uid has no effect under no_new_privs, and must not exist on the host's side either. */
static mode_t mode_of(const agent_rootfs *r, const agent_tar_entry *e) {
    mode_t mode = e->mode & 01777;
    if (!r->set_owner) mode |= e->type == AGENT_TAR_DIR ? 0700 : 0600; /* without root our own files must stay ours to write */
    return mode;
}

static void times_of(const agent_tar_entry *e, struct timespec out[2]) {
    out[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
    out[1] = (struct timespec){.tv_sec = e->mtime_unix_s};
}

static int finish_fd(const agent_rootfs *r, int fd, const agent_tar_entry *e) {
    struct timespec times[2];
    times_of(e, times);
    if (r->set_owner && fchown(fd, owner_of(r, e->uid), owner_of(r, e->gid))) return -1;
    if (fchmod(fd, mode_of(r, e))) return -1;
    return e->type == AGENT_TAR_DIR ? 0 : futimens(fd, times);
}

/* ---- entries ---- */

static ee_status io_failed(ee_error *err, const char *what, const char *name) {
    return eei_fail_errno(err, EE_E_IO, errno, "layer: cannot %s \"%.100s\"", what, name);
}

static ee_status make_dir(agent_layer *l, const agent_tar_entry *e, const char *name, bool exists, ee_error *err) {
    if (!exists && mkdirat(l->parent_fd, name, 0700)) return io_failed(err, "make", name);
    int fd = openat(l->parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = fd < 0 ? -1 : finish_fd(l->rootfs, fd, e);
    ee_status st = rc ? io_failed(err, "make", name) : EE_OK;
    if (fd >= 0) close(fd);
    return st;
}

static ee_status make_symlink(agent_layer *l, const agent_tar_entry *e, const char *name, ee_error *err) {
    const agent_rootfs *r = l->rootfs;
    struct timespec times[2];
    times_of(e, times);
    if (!e->link[0]) return eei_fail(err, EE_E_IMAGE, "layer: symbolic link \"%.100s\" without a target", name);
    if (symlinkat(e->link, l->parent_fd, name)) return io_failed(err, "link", name);
    if (r->set_owner && fchownat(l->parent_fd, name, owner_of(r, e->uid), owner_of(r, e->gid), AT_SYMLINK_NOFOLLOW))
        return io_failed(err, "own", name);
    (void)utimensat(l->parent_fd, name, times, AT_SYMLINK_NOFOLLOW); /* nobody depends on it */
    return EE_OK;
}

static ee_status make_hardlink(agent_layer *l, const agent_tar_entry *e, const char *name, ee_error *err) {
    char target[AGENT_TAR_NAME_MAX + 1];
    const char *parent, *last;
    ee_status st = clean_path(e->link, target, err);
    if (st) return st;
    if (!target[0]) return eei_fail(err, EE_E_IMAGE, "layer: hard link \"%.100s\" to the root", name);
    last = split_path(target, &parent);
    int fd = agent_tree_open(l->rootfs->fd, parent, O_PATH | O_DIRECTORY);
    int rc = fd < 0 ? -1 : linkat(fd, last, l->parent_fd, name, 0);
    if (rc) st = eei_fail_errno(err, EE_E_IMAGE, errno, "layer: hard link \"%.100s\" to \"%.100s\"", name, e->link);
    if (fd >= 0) close(fd);
    return st;
}

static ee_status begin_file(agent_layer *l, const agent_tar_entry *e, const char *name, ee_error *err) {
    l->file = openat(l->parent_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (l->file < 0) return io_failed(err, "make", name);
    l->meta = *e;
    return EE_OK;
}

static ee_status make_fifo(agent_layer *l, const agent_tar_entry *e, const char *name, ee_error *err) {
    const agent_rootfs *r = l->rootfs;
    if (mkfifoat(l->parent_fd, name, mode_of(r, e))) return io_failed(err, "make", name);
    if (r->set_owner && fchownat(l->parent_fd, name, owner_of(r, e->uid), owner_of(r, e->gid), AT_SYMLINK_NOFOLLOW))
        return io_failed(err, "own", name);
    return EE_OK;
}

static ee_status make_entry(agent_layer *l, const agent_tar_entry *e, const char *name, bool exists, ee_error *err) {
    switch (e->type) {
    case AGENT_TAR_FILE: return begin_file(l, e, name, err);
    case AGENT_TAR_DIR: return make_dir(l, e, name, exists, err);
    case AGENT_TAR_SYMLINK: return make_symlink(l, e, name, err);
    case AGENT_TAR_HARDLINK: return make_hardlink(l, e, name, err);
    case AGENT_TAR_FIFO: return make_fifo(l, e, name, err);
    case AGENT_TAR_DEVICE: return EE_OK; /* left out: /dev is the sandbox's own */
    }
    return EE_OK;
}

/* Make room: a directory stays for a directory, everything else is replaced. */
static ee_status replace_old(agent_layer *l, const agent_tar_entry *e, const char *name, bool *exists, ee_error *err) {
    struct stat info;
    *exists = fstatat(l->parent_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    if (!*exists || (S_ISDIR(info.st_mode) && e->type == AGENT_TAR_DIR)) return EE_OK;
    *exists = false;
    int rc = agent_tree_remove(l->parent_fd, name);
    return rc ? eei_fail_errno(err, EE_E_IO, rc, "layer: cannot replace \"%.100s\"", name) : EE_OK;
}

/* ---- whiteouts ---- */

/* Everything in the parent that lower layers put there. */
static ee_status clear_parent(agent_layer *l, const char *parent, ee_error *err) {
    int rc = 0, fd = openat(l->parent_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        rc = errno;
        if (fd >= 0) close(fd);
    }
    for (struct dirent *e; d && !rc && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || was_added(l, hash_path(parent, e->d_name))) continue;
        rc = agent_tree_remove(l->parent_fd, e->d_name);
    }
    if (d) closedir(d);
    return rc ? eei_fail_errno(err, EE_E_IO, rc, "layer: cannot clear \"%.100s\"", parent) : EE_OK;
}

static ee_status apply_whiteout(agent_layer *l, const char *parent, const char *name, ee_error *err) {
    const char *victim = name + strlen(WHITEOUT);
    if (strcmp(name, WHITEOUT_OPAQUE) == 0) return clear_parent(l, parent, err);
    if (strncmp(victim, WHITEOUT, strlen(WHITEOUT)) == 0) return EE_OK; /* bookkeeping of aufs */
    if (!*victim || strcmp(victim, ".") == 0 || strcmp(victim, "..") == 0)
        return eei_fail(err, EE_E_IMAGE, "layer: whiteout of \"%s\"", victim);
    if (was_added(l, hash_path(parent, victim))) return EE_OK;
    int rc = agent_tree_remove(l->parent_fd, victim);
    return rc ? eei_fail_errno(err, EE_E_IO, rc, "layer: cannot delete \"%.100s\"", victim) : EE_OK;
}

/* ---- events of the archive ---- */

static ee_status count_entry(agent_rootfs *r, const agent_tar_entry *e, ee_error *err) {
    if (++r->entries > r->entries_max) return eei_fail(err, EE_E_IMAGE, "the image has more than %u files", r->entries_max);
    if (e->size > r->bytes_max - r->bytes)
        return eei_fail(err, EE_E_IMAGE, "the image unpacks to more than %llu bytes", (unsigned long long)r->bytes_max);
    r->bytes += e->size;
    return EE_OK;
}

static ee_status on_entry(void *user, const agent_tar_entry *e, ee_error *err) {
    agent_layer *l = user;
    char path[AGENT_TAR_NAME_MAX + 1];
    const char *parent, *name;
    bool exists = false;

    ee_status st = count_entry(l->rootfs, e, err);
    if (!st) st = clean_path(e->path, path, err);
    if (st) return st;
    if (!path[0]) return e->type == AGENT_TAR_DIR ? EE_OK : eei_fail(err, EE_E_IMAGE, "layer: the root is not a directory");
    name = split_path(path, &parent);
    st = enter_parent(l, parent, err);
    if (st) return st;
    bool whiteout = strncmp(name, WHITEOUT, strlen(WHITEOUT)) == 0;
    if (whiteout) {
        st = e->size ? eei_fail(err, EE_E_IMAGE, "layer: whiteout \"%.100s\" with content", name) : apply_whiteout(l, parent, name, err);
    } else {
        st = replace_old(l, e, name, &exists, err);
        if (!st) st = make_entry(l, e, name, exists, err);
        if (!st) st = remember(l, hash_path(parent, name), err);
    }
    if (whiteout || (e->type != AGENT_TAR_FILE && e->type != AGENT_TAR_HARDLINK))
        forget_parent(l); /* links and directories change where paths lead */
    return st;
}

static ee_status on_data(void *user, ee_span data, ee_error *err) {
    agent_layer *l = user;
    while (data.len) {
        ssize_t n = write(l->file, data.data, data.len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return io_failed(err, "write", "a file");
        data = eei_span(data.data + n, data.len - (size_t)n);
    }
    return EE_OK;
}

static ee_status on_file_end(void *user, ee_error *err) {
    agent_layer *l = user;
    if (l->file < 0) return EE_OK; /* an empty whiteout */
    ee_status st = finish_fd(l->rootfs, l->file, &l->meta) ? io_failed(err, "finish", "a file") : EE_OK;
    close(l->file);
    l->file = -1;
    return st;
}

ee_status agent_layer_new(agent_rootfs *rootfs, agent_layer **out, ee_error *err) {
    static const agent_tar_events events = {.entry = on_entry, .data = on_data, .file_end = on_file_end};
    agent_layer *l = *out = eei_calloc(1, sizeof *l);
    if (!l) return eei_nomem(err);
    l->rootfs = rootfs;
    l->file = l->parent_fd = -1;
    agent_tar_init(&l->tar, &events, l);
    return EE_OK;
}

ee_status agent_layer_feed(agent_layer *l, ee_span data, ee_error *err) { return agent_tar_feed(&l->tar, data, err); }
ee_status agent_layer_finish(agent_layer *l, ee_error *err) { return agent_tar_finish(&l->tar, err); }

void agent_layer_free(agent_layer *l) {
    if (!l) return;
    forget_parent(l);
    if (l->file >= 0) close(l->file);
    agent_tar_clear(&l->tar);
    eei_free(l->added);
    eei_free(l);
}

/* ---- what a sandbox needs to find ---- */

static int make_plain_dir(agent_rootfs *r, const char *name, mode_t mode) {
    struct stat info;
    uid_t uid = r->set_owner ? r->id_base : geteuid();
    gid_t gid = r->set_owner ? r->id_base : getegid();
    if (fstatat(r->fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode)) return 0;
    int rc = agent_tree_remove(r->fd, name); /* a link here would lead mounts elsewhere */
    if (!rc && (mkdirat(r->fd, name, mode) || fchownat(r->fd, name, uid, gid, AT_SYMLINK_NOFOLLOW))) rc = errno;
    return rc;
}

static int make_path(agent_rootfs *r, const char *path, uint32_t uid, uint32_t gid) {
    while (*path == '/') path++;
    int fd = agent_tree_make_dirs(r->fd, path, r->set_owner ? r->id_base + uid : geteuid(), r->set_owner ? r->id_base + gid : getegid());
    if (fd < 0) return errno;
    close(fd);
    return 0;
}

/* A file in a directory of the root, unless there is something already. */
static int make_file(agent_rootfs *r, const char *dir, const char *name, const char *text, bool replace) {
    int dir_fd = agent_tree_open(r->fd, dir, O_PATH | O_DIRECTORY), rc = 0;
    if (dir_fd < 0) return errno;
    if (replace) rc = agent_tree_remove(dir_fd, name);
    int fd = rc ? -1 : openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (!rc && fd < 0 && errno != EEXIST) rc = errno;
    if (fd >= 0) {
        size_t len = strlen(text);
        if (write(fd, text, len) != (ssize_t)len || fchmod(fd, 0644) || (r->set_owner && fchown(fd, r->id_base, r->id_base)))
            rc = errno ? errno : EIO;
        close(fd);
    }
    close(dir_fd);
    return rc;
}

/* docker's images have an empty /etc/hosts where docker mounts its own. */
static bool is_empty_file(const agent_rootfs *r, const char *path) {
    struct stat info;
    int fd = agent_tree_open(r->fd, path, O_PATH | O_NOFOLLOW);
    bool empty = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size == 0;
    if (fd >= 0) close(fd);
    return empty;
}

ee_status agent_rootfs_complete(agent_rootfs *r, const agent_oci_config *config, const agent_oci_user *user, ee_error *err) {
    static const char *const dirs[] = {"proc", "dev", "sys", "tmp", "run"};
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof dirs / sizeof *dirs; i++) rc = make_plain_dir(r, dirs[i], 0755);
    if (!rc) rc = make_path(r, "var/tmp", 0, 0);
    if (!rc) rc = make_path(r, "etc", 0, 0);
    if (!rc) rc = make_file(r, "", "ee-init", "", true);
    if (!rc) rc = make_file(r, "etc", "hosts", "127.0.0.1 localhost\n::1 localhost\n", is_empty_file(r, "etc/hosts"));
    if (!rc) rc = make_file(r, "etc", "resolv.conf", "", false);
    for (const char **v = config->volumes; !rc && *v; v++) rc = make_path(r, *v, 0, 0);
    if (!rc && strcmp(config->working_dir, "/") != 0) {
        int made = make_path(r, config->working_dir, user->uid, user->gid); /* as docker does; if it cannot be, the start says so */
        (void)made;
    }
    if (!rc && fchmod(r->fd, 0755)) rc = errno;
    return rc ? eei_fail_errno(err, EE_E_IMAGE, rc, "the root filesystem cannot be completed") : EE_OK;
}
