/* cmd_devnet_remains.c - whose a devnet's folders are, and taking away what its agents left, also those that were killed: sandboxes and the
 * cgroups they are in. See cmd_devnet_parts.h. */
#include "agent/cgroup.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/cmd_devnet_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    SWEEP_AGE_S = 60,   /* longer than a devnet takes to start its agents, which then hold locks of their own */
    LOOKED_AT_MS = 200, /* devnet_starting() has the lock for a moment */
};

/* ---- whose the folders are ------------------------------------------------------------------------------------------- */

static ee_status make_parent(const char *path, ee_error *err) {
    char parent[DEVNET_PATH_MAX];
    (void)snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = 0;
    return eei_make_dirs(parent, 0700, err);
}

ee_status devnet_lock(devnet *net, ee_error *err) {
    const uint64_t deadline = eei_mono_ms() + LOOKED_AT_MS;
    ee_status st = make_parent(net->lock, err);
    if (st) return st;
    int fd = open(net->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), rc;
    if (fd < 0) return eei_fail_errno(err, EE_E_IO, errno, "cannot open %s", net->lock);
    while ((rc = flock(fd, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK && eei_mono_ms() < deadline) (void)poll(NULL, 0, 10);
    if (rc != 0) {
        st = errno == EWOULDBLOCK ? eei_hint(err, eei_fail(err, EE_E_CONFLICT, "a devnet is being started already"),
                                             "`ee devnet status` shows it once it is up, `ee devnet down` stops it")
                                  : eei_fail_errno(err, EE_E_IO, errno, "cannot lock %s", net->lock);
        close(fd);
        return st;
    }
    (void)!ftruncate(fd, 0);
    net->lock_fd = fd;
    return EE_OK;
}

void devnet_lock_name(const devnet *net) { (void)dprintf(net->lock_fd, "%d\n", (int)getpid()); }

pid_t devnet_starting(const devnet *net) {
    char text[16] = "";
    int lock = open(net->lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (lock < 0) return 0;
    bool is_free = flock(lock, LOCK_SH | LOCK_NB) == 0;
    ssize_t n = is_free ? 0 : read(lock, text, sizeof text - 1);
    close(lock);
    pid_t pid = n > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
    return pid > 1 && devnet_is_supervisor(pid) ? pid : 0;
}

/* ---- sandboxes ------------------------------------------------------------------------------------------------------- */

static bool lock_folder(const char *path, int *fd) {
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (*fd >= 0 && flock(*fd, LOCK_EX | LOCK_NB) == 0) return true;
    if (*fd >= 0) close(*fd);
    return false;
}

ee_status devnet_make_sandboxes(devnet *net, ee_error *err) {
    ee_status st = eei_make_dirs(net->sandboxes, 0711, err);
    int ours = -1; /* never closed: the end of this process does it */
    if (!st && chmod(net->sandboxes, 0711) != 0) st = eei_fail_errno(err, EE_E_IO, errno, "%s", net->sandboxes);
    if (!st && !lock_folder(net->sandboxes, &ours))
        st = eei_fail_errno(err, EE_E_CONFLICT, errno, "%s is another devnet's", net->sandboxes);
    return st;
}

/* Calls `act` with the path of each agent's folder below `sandboxes`. */
static void each_agent(const char *sandboxes, void (*act)(const char *path, void *user), void *user) {
    DIR *folder = opendir(sandboxes);
    if (!folder) return;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[DEVNET_PATH_MAX + 300];
        if (entry->d_name[0] == '.') continue;
        (void)snprintf(path, sizeof path, "%s/%s", sandboxes, entry->d_name);
        act(path, user);
    }
    (void)closedir(folder);
}

static void remove_cgroups(const char *path, void *user) {
    char parent[AGENT_CGROUP_PARENT_MAX];
    agent_cgroup_parent(path, parent);
    (void)agent_cgroup_remove(user, parent);
}

void devnet_remove_sandboxes(const char *sandboxes) {
    agent_cgroup_layout layout;
    agent_cgroup_find("/proc/self/mountinfo", &layout);
    each_agent(sandboxes, remove_cgroups, &layout);
    eei_ignored(devnet_remove_dir(sandboxes, NULL));
}

void devnet_remove_stale_sandboxes(const char *sandboxes) {
    int fd;
    if (strncmp(sandboxes, DEVNET_SANDBOXES, sizeof DEVNET_SANDBOXES - 1) != 0 || strstr(sandboxes, "..")) return;
    if (!lock_folder(sandboxes, &fd)) return; /* gone, or another devnet's by now: it has a process id in its name */
    devnet_remove_sandboxes(sandboxes);
    close(fd);
}

/* ---- of others ------------------------------------------------------------------------------------------------------- */

static void look_for_agent(const char *path, void *user) {
    char lock[DEVNET_PATH_MAX + 320];
    bool *runs = user;
    (void)snprintf(lock, sizeof lock, "%s/lock", path);
    int fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return;
    if (flock(fd, LOCK_SH | LOCK_NB) != 0) *runs = true;
    close(fd);
}

static void sweep_one(const char *path) {
    struct stat s;
    int fd;
    bool runs = false;
    if (lstat(path, &s) != 0 || !S_ISDIR(s.st_mode) || s.st_uid != geteuid() || s.st_mtime > time(NULL) - SWEEP_AGE_S) return;
    if (!lock_folder(path, &fd)) return;
    each_agent(path, look_for_agent, &runs);
    if (!runs) devnet_remove_sandboxes(path);
    close(fd);
}

void devnet_sweep_sandboxes(void) {
    static const char prefix[] = DEVNET_SANDBOXES;
    char parent[sizeof prefix], path[DEVNET_PATH_MAX];
    if (geteuid() != 0) return; /* others' sandboxes are below the folder of their devnet */
    memcpy(parent, prefix, sizeof prefix);
    char *name = strrchr(parent, '/');
    *name++ = 0;
    DIR *folder = opendir(parent);
    if (!folder) return;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strncmp(entry->d_name, name, strlen(name)) != 0) continue;
        (void)snprintf(path, sizeof path, "%s/%.255s", parent, entry->d_name);
        sweep_one(path);
    }
    (void)closedir(folder);
}
