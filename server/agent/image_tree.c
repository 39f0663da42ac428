/* image_tree.c - opening, making and removing inside a root that strangers filled (threat W9). See image_tree.h. */
#include "image_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int agent_tree_open(int root_fd, const char *path, int flags) {
    struct open_how how = {.flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    for (int tries = 0; tries < 16; tries++) {
        int fd = (int)syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN) return fd; /* EAGAIN: something was renamed somewhere meanwhile */
    }
    return -1;
}

int agent_tree_make_dirs(int root_fd, const char *path, uid_t uid, gid_t gid) {
    char prefix[4097];
    size_t len = strlen(path), end = 0, start;
    int fd = agent_tree_open(root_fd, path, O_PATH | O_DIRECTORY);
    if (fd >= 0 || errno != ENOENT || len >= sizeof prefix) return fd;
    fd = agent_tree_open(root_fd, "", O_PATH | O_DIRECTORY);
    while (fd >= 0 && end < len) {
        for (start = end; path[start] == '/'; start++) {
        }
        end = start + strcspn(path + start, "/");
        snprintf(prefix, sizeof prefix, "%.*s", (int)end, path);
        int next = agent_tree_open(root_fd, prefix, O_PATH | O_DIRECTORY);
        if (next < 0 && errno == ENOENT) {
            char name[256];
            if (end - start >= sizeof name)
                errno = ENAMETOOLONG;
            else {
                snprintf(name, sizeof name, "%.*s", (int)(end - start), path + start);
                /* A dangling link is EEXIST here and stays an error: nothing is made through it. */
                if (mkdirat(fd, name, 0755) == 0 && fchownat(fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) == 0)
                    next = agent_tree_open(root_fd, prefix, O_PATH | O_DIRECTORY);
            }
        }
        int why = errno;
        close(fd);
        errno = why;
        fd = next;
    }
    return fd;
}

static int remove_below(int dir_fd, dev_t device, unsigned depth);

/* A directory: what is below it, then itself. */
static int remove_child(int dir_fd, const char *name, dev_t device, unsigned depth) {
    struct stat info = {0};
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno;
    int rc = fstat(fd, &info) ? errno : 0;
    if (!rc && info.st_dev != device) rc = EXDEV;
    if (!rc && depth == 0) rc = ELOOP;
    if (!rc) rc = remove_below(fd, device, depth - 1);
    close(fd);
    return !rc && unlinkat(dir_fd, name, AT_REMOVEDIR) ? errno : rc;
}

/* POSIX says EPERM for unlinking a directory, Linux EISDIR. */
static bool is_directory_error(int error) { return error == EISDIR || error == EPERM; }

static int remove_below(int dir_fd, dev_t device, unsigned depth) {
    int rc = 0, fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        rc = errno;
        if (fd >= 0) close(fd);
        return rc;
    }
    for (struct dirent *e; !rc && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (unlinkat(fd, e->d_name, 0) == 0 || errno == ENOENT) continue;
        rc = is_directory_error(errno) ? remove_child(fd, e->d_name, device, depth) : errno;
    }
    closedir(d);
    return rc;
}

int agent_tree_remove(int dir_fd, const char *name) {
    struct stat info;
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT) return 0;
    if (!is_directory_error(errno)) return errno;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno;
    /* Deeper than layers can make it, for the folders of ours above the root. */
    int rc = fstat(fd, &info) ? errno : remove_below(fd, info.st_dev, AGENT_TREE_DEPTH_MAX + 8);
    close(fd);
    if (!rc && unlinkat(dir_fd, name, AT_REMOVEDIR)) rc = errno;
    return rc;
}

ee_status agent_tree_read(int root_fd, const char *path, eei_buf *out) {
    struct stat info;
    uint8_t *room;
    int fd = agent_tree_open(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return EE_OK;
    ee_status st = EE_OK;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0 && (uint64_t)info.st_size <= out->max) {
        st = eei_buf_reserve(out, (size_t)info.st_size, &room);
        ssize_t n = st ? -1 : read(fd, room, (size_t)info.st_size);
        if (n > 0) eei_buf_commit(out, (size_t)n);
    }
    close(fd);
    return st;
}
