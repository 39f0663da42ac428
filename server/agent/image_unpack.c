/* image_unpack.c - blobs to a root filesystem. Nothing is decompressed before its hash fits, from the same open file; nothing is
 * accepted before the hash of what was decompressed fits too (threat Q14). See image_unpack.h. Called by image.c on a worker thread. */
#include "image_unpack.h"

#include "attest/digest.h"
#include "base/encoding.h"
#include "image_layer.h"
#include "image_tree.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK_BYTES  65536
#define PASSWD_BYTES (1u << 20)

static bool stopped(agent_unpack *u) { return atomic_load(&u->stop); }
static ee_status cancelled(ee_error *err) { return eei_fail(err, EE_E_CANCELLED, "the pull was cancelled"); }

/* Read to the end: hashed into sha, and handed to layer if there is one. */
static ee_status consume(agent_unpack *u, int fd, eei_sha256_ctx *sha, agent_layer *layer, ee_error *err) {
    uint8_t chunk[CHUNK_BYTES];
    for (;;) {
        if (stopped(u)) return cancelled(err);
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return eei_fail_errno(err, EE_E_IO, errno, "cannot read a layer");
        if (n == 0) return EE_OK;
        eei_sha256_add(sha, eei_span(chunk, (size_t)n));
        ee_status st = layer ? agent_layer_feed(layer, eei_span(chunk, (size_t)n), err) : EE_OK;
        if (st) return st;
    }
}

static ee_status check_hash(eei_sha256_ctx *sha, const uint8_t want[32], const char *what, ee_error *err) {
    uint8_t got[32];
    char got_hex[65], want_hex[65];
    eei_sha256_end(sha, got);
    if (eei_same(got, want, 32)) return EE_OK;
    eei_hex_encode(eei_span(got, 32), got_hex);
    eei_hex_encode(eei_span(want, 32), want_hex);
    return eei_fail(err, EE_E_IMAGE, "%s is not what its digest says: sha256:%.16s..., expected sha256:%.16s...", what, got_hex, want_hex);
}

/* An open blob whose content is what its digest says, at its start. -1 and err. */
static int open_blob(agent_unpack *u, const agent_oci_blob *blob, ee_error *err, ee_status *st) {
    char hex[65], path[80];
    struct stat info;
    eei_sha256_ctx *sha = NULL;
    eei_hex_encode(eei_span(blob->digest, 32), hex);
    snprintf(path, sizeof path, "blobs/%s", hex);
    int fd = openat(u->dir_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) || !S_ISREG(info.st_mode))
        *st = eei_fail_errno(err, EE_E_IMAGE, errno, "blob sha256:%.16s... was not delivered", hex);
    else if ((uint64_t)info.st_size != blob->size_bytes)
        *st = eei_fail(err, EE_E_IMAGE, "blob sha256:%.16s... has %lld bytes, the manifest says %llu", hex, (long long)info.st_size,
                       (unsigned long long)blob->size_bytes);
    else
        *st = eei_sha256_new(&sha, err);
    if (!*st) *st = consume(u, fd, sha, NULL, err);
    if (!*st) *st = check_hash(sha, blob->digest, "blob", err);
    if (!*st && lseek(fd, 0, SEEK_SET) != 0) *st = eei_fail_errno(err, EE_E_IO, errno, "cannot read a blob");
    eei_sha256_free(sha);
    if (*st && fd >= 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* ---- decompression: a program of its own, which cannot touch our memory ---- */

static ee_status spawn_unpacker(const char *program, int from, int *to, pid_t *pid, ee_error *err) {
    char path[256];
    int ends[2];
    ee_status st = agent_process_find(program, path, sizeof path, err);
    if (st) return eei_fail(err, EE_E_CONFIG, "a layer needs %s, which is not installed", program);
    if (pipe2(ends, O_CLOEXEC)) return eei_fail_errno(err, EE_E_IO, errno, "no pipe");
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t usual;
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &usual); /* it must end when we stop reading */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_adddup2(&actions, from, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    char arg[] = "-dc", *argv[] = {path, arg, NULL}, env[] = "LC_ALL=C", *envp[] = {env, NULL};
    int rc = posix_spawn(pid, path, &actions, &attributes, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(ends[1]);
    *to = ends[0];
    if (!rc) return EE_OK;
    close(ends[0]);
    return eei_fail_errno(err, EE_E_CONFIG, rc, "cannot execute %s", path);
}

static ee_status feed_layer(agent_unpack *u, const agent_oci_blob *blob, int fd, agent_layer *layer, eei_sha256_ctx *sha, ee_error *err) {
    pid_t pid = -1;
    int tar = -1;
    if (blob->packing == AGENT_OCI_TAR) return consume(u, fd, sha, layer, err);
    ee_status st = spawn_unpacker(blob->packing == AGENT_OCI_TAR_GZIP ? "gzip" : "zstd", fd, &tar, &pid, err);
    if (st) return st;
    st = consume(u, tar, sha, layer, err);
    close(tar);
    if (st) kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    } /* its exit code adds nothing: the diff id says whether all is there */
    return st;
}

static ee_status apply_layer(agent_unpack *u, agent_rootfs *rootfs, size_t i, ee_error *err) {
    const agent_oci_blob *blob = &u->manifest->layers[i];
    agent_layer *layer = NULL;
    eei_sha256_ctx *sha = NULL;
    ee_status st;
    char noun[32];

    int fd = open_blob(u, blob, err, &st);
    if (fd < 0) return st;
    st = eei_sha256_new(&sha, err);
    if (!st) st = agent_layer_new(rootfs, &layer, err);
    if (!st) st = feed_layer(u, blob, fd, layer, sha, err);
    if (!st) st = agent_layer_finish(layer, err);
    if (!st) st = check_hash(sha, u->config.diff_ids[i], "content", err);
    agent_layer_free(layer);
    eei_sha256_free(sha);
    close(fd);
    atomic_fetch_add(&u->packed_done, blob->size_bytes);
    snprintf(noun, sizeof noun, "layer %zu of %zu", i + 1, u->manifest->layers_count);
    return st && st != EE_E_CANCELLED ? eei_prefix(err, st, noun) : st;
}

/* ---- the whole ---- */

static ee_status read_config(agent_unpack *u, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(AGENT_OCI_CONFIG_MAX);
    uint8_t *room;
    ee_status st;
    int fd = open_blob(u, &u->manifest->config, err, &st);
    if (fd < 0) return st;
    size_t size = (size_t)u->manifest->config.size_bytes; /* checked against the file and its limit */
    st = eei_buf_reserve(&text, size, &room);
    if (st)
        st = eei_nomem(err);
    else if (read(fd, room, size) != (ssize_t)size)
        st = eei_fail_errno(err, EE_E_IO, errno, "cannot read the image config");
    else
        eei_buf_commit(&text, size);
    close(fd);
    if (!st) st = agent_oci_parse_config(eei_buf_span(&text), &u->config, err);
    eei_buf_clear(&text);
    if (!st && u->config.diff_ids_count != u->manifest->layers_count)
        st = eei_fail(err, EE_E_IMAGE, "the image has %zu layers and %zu diff ids", u->manifest->layers_count, u->config.diff_ids_count);
    return st;
}

static ee_status find_user(agent_unpack *u, int rootfs_fd, ee_error *err) {
    eei_buf passwd = EEI_BUF_INIT(PASSWD_BYTES), group = EEI_BUF_INIT(PASSWD_BYTES);
    ee_status st = agent_tree_read(rootfs_fd, "etc/passwd", &passwd);
    if (!st) st = agent_tree_read(rootfs_fd, "etc/group", &group);
    if (st)
        st = eei_nomem(err);
    else
        st = agent_oci_find_user(u->config.user, eei_buf_span(&passwd), eei_buf_span(&group), &u->user, err);
    eei_buf_clear(&passwd);
    eei_buf_clear(&group);
    return st;
}

ee_status agent_unpack_run(agent_unpack *u, ee_error *err) {
    agent_rootfs rootfs = {
        .fd = -1, .id_base = u->id_base, .set_owner = u->set_owner, .bytes_max = u->bytes_max, .entries_max = u->entries_max};
    ee_status st = read_config(u, err);
    if (st) goto done;
    if (mkdirat(u->dir_fd, "rootfs", 0755) == 0) rootfs.fd = openat(u->dir_fd, "rootfs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (rootfs.fd < 0 || (u->set_owner && fchown(rootfs.fd, u->id_base, u->id_base))) {
        st = eei_fail_errno(err, EE_E_IO, errno, "cannot make a root filesystem");
        goto done;
    }
    for (size_t i = 0; !st && i < u->manifest->layers_count; i++) st = apply_layer(u, &rootfs, i, err);
    if (!st) st = find_user(u, rootfs.fd, err);
    if (!st) st = agent_rootfs_complete(&rootfs, &u->config, &u->user, err);
    u->bytes = rootfs.bytes;
done:
    if (rootfs.fd >= 0) close(rootfs.fd);
    if (st) agent_oci_config_clear(&u->config);
    return st;
}
