/* cgroup.c - finding, reading and removing cgroups of v1, hybrid and v2. See cgroup.h. Not for limits.
 * Called by sandbox.c for usage and by runtime.c after a crash. */
#include "cgroup.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/encoding.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REMOVE_DEADLINE_MS 2000
#define DEPTH_MAX          8

/* ---- small kernel files ---- */

/* Whole small file, NUL-ended; false if it cannot be read. */
static bool read_text(const char *path, char *out, size_t cap) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, out, cap - 1);
    close(fd);
    if (n < 0) return false;
    out[n] = '\0';
    return true;
}

static bool join(char *out, size_t cap, const char *a, const char *b) {
    int n = snprintf(out, cap, "%s/%s", a, b);
    return n > 0 && (size_t)n < cap;
}

static uint64_t read_number(const char *dir, const char *file) {
    char path[640], text[64];
    if (!join(path, sizeof path, dir, file) || !read_text(path, text, sizeof text)) return 0;
    return strtoull(text, NULL, 10); /* "max" gives 0 */
}

/* "key value" lines. */
static uint64_t read_key(const char *dir, const char *file, const char *key) {
    char path[640], text[4096];
    size_t len = strlen(key);
    if (!join(path, sizeof path, dir, file) || !read_text(path, text, sizeof text)) return 0;
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, key, len) == 0 && line[len] == ' ') return strtoull(line + len + 1, NULL, 10);
    return 0;
}

static bool exists(const char *dir, const char *file) {
    char path[640];
    return join(path, sizeof path, dir, file) && access(path, F_OK) == 0;
}

/* Is `word` in the list, cut at any of `separators`? */
static bool has_word(const char *list, const char *separators, const char *word) {
    size_t len = strlen(word);
    while (*list) {
        size_t n = strcspn(list, separators);
        if (n == len && memcmp(list, word, len) == 0) return true;
        list += n;
        list += strspn(list, separators);
    }
    return false;
}

/* ---- layout ---- */

/* mountinfo: id parent major:minor ROOT POINT options fields... - TYPE source SUPER. Spec: proc(5) */
static void add_mount(agent_cgroup_layout *out, char *line) {
    char *save = NULL, *fields[6] = {NULL}, *rest = strstr(line, " - ");
    if (!rest || out->mounts_count == AGENT_CGROUP_MOUNTS_MAX) return;
    *rest = '\0';
    char *type = strtok_r(rest + 3, " ", &save);
    (void)strtok_r(NULL, " ", &save);
    char *super = strtok_r(NULL, " \n", &save);
    if (!type || (strcmp(type, "cgroup") != 0 && strcmp(type, "cgroup2") != 0)) return;
    save = NULL;
    for (int i = 0; i < 6; i++) fields[i] = strtok_r(i ? NULL : line, " ", &save);
    if (!fields[4]) return;
    agent_cgroup_mount *m = &out->mounts[out->mounts_count];
    if (strlen(fields[4]) >= sizeof m->point || strlen(fields[3]) >= sizeof m->root) return;
    snprintf(m->point, sizeof m->point, "%s", fields[4]);
    snprintf(m->root, sizeof m->root, "%s", strcmp(fields[3], "/") == 0 ? "" : fields[3]);
    snprintf(m->controllers, sizeof m->controllers, "%s", strcmp(type, "cgroup2") == 0 || !super ? "" : super);
    out->mounts_count++;
}

/* The mount of a v1 controller, or with NULL the v2 one. */
static const agent_cgroup_mount *find_mount(const agent_cgroup_layout *layout, const char *controller) {
    for (size_t i = 0; i < layout->mounts_count; i++) {
        const agent_cgroup_mount *m = &layout->mounts[i];
        if (controller ? has_word(m->controllers, ",", controller) : m->controllers[0] == '\0') return m;
    }
    return NULL;
}

static bool v2_has_all(const agent_cgroup_mount *m) {
    char path[256], text[512];
    if (!m || !join(path, sizeof path, m->point, "cgroup.controllers") || !read_text(path, text, sizeof text)) return false;
    return has_word(text, " \n", "memory") && has_word(text, " \n", "cpu") && has_word(text, " \n", "pids");
}

/* v2 has no swap files in its root group; where nothing can be swapped there is nothing to limit. */
static bool has_swap(void) {
    char text[512];
    const char *line = read_text("/proc/swaps", text, sizeof text) ? strchr(text, '\n') : NULL;
    return line && line[1];
}

void agent_cgroup_find(const char *mountinfo, agent_cgroup_layout *out) {
    char line[4096];
    memset(out, 0, sizeof *out);
    FILE *f = fopen(mountinfo, "re");
    if (!f) return;
    while (fgets(line, sizeof line, f)) add_mount(out, line); /* a longer line is another kind of mount: overlays list many layers */
    fclose(f);
    const agent_cgroup_mount *memory = find_mount(out, "memory");
    if (memory && find_mount(out, "cpu") && find_mount(out, "cpuacct") && find_mount(out, "pids")) {
        out->version = 1;
        out->swap = exists(memory->point, "memory.memsw.limit_in_bytes");
    } else if (v2_has_all(find_mount(out, NULL))) {
        out->version = 2;
        out->swap = has_swap();
    }
}

/* ---- one sandbox ---- */

/* Path of a controller (NULL: v2) in the text of /proc/PID/cgroup: "4:memory:/path". */
static bool find_path(const char *text, const char *controller, char *out, size_t cap) {
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        char names[96];
        if (!path || (size_t)(path - list) > sizeof names) continue;
        snprintf(names, sizeof names, "%.*s", (int)(path - list - 1), list + 1);
        if (controller ? !has_word(names, ",", controller) : names[0] != '\0') continue;
        size_t len = strcspn(path + 1, "\n");
        if (len >= cap) return false;
        memcpy(out, path + 1, len);
        out[len] = '\0';
        return true;
    }
    return false;
}

static bool directory_of(const agent_cgroup_layout *layout, const char *text, const char *controller, char *out, size_t cap) {
    const agent_cgroup_mount *m = find_mount(layout, controller);
    char path[384];
    if (!m || !find_path(text, controller, path, sizeof path)) return false;
    size_t skip = strlen(m->root);
    if (strncmp(path, m->root, skip) != 0) return false;
    int n = snprintf(out, cap, "%s%s", m->point, path + skip);
    return n > 0 && (size_t)n < cap && access(out, F_OK) == 0;
}

ee_status agent_cgroup_open(const agent_cgroup_layout *layout, const char *process_cgroup, agent_cgroup *out, ee_error *err) {
    char text[4096];
    memset(out, 0, sizeof *out);
    if (!read_text(process_cgroup, text, sizeof text)) return eei_fail_errno(err, EE_E_IO, errno, "cannot read %s", process_cgroup);
    bool v1 = layout->version == 1;
    if (!directory_of(layout, text, v1 ? "memory" : NULL, out->memory, sizeof out->memory) ||
        !directory_of(layout, text, v1 ? "cpuacct" : NULL, out->cpu, sizeof out->cpu))
        return eei_fail(err, EE_E_IO, "the sandbox's cgroup (v%d) is not where %s says", layout->version, process_cgroup);
    out->version = layout->version;
    return EE_OK;
}

void agent_cgroup_read(const agent_cgroup *g, agent_cgroup_usage *out) {
    memset(out, 0, sizeof *out);
    if (g->version == 1) {
        out->cpu_usec = read_number(g->cpu, "cpuacct.usage") / 1000;
        out->memory_peak_bytes = read_number(g->memory, "memory.max_usage_in_bytes");
        out->oom_kills = read_key(g->memory, "memory.oom_control", "oom_kill");
    } else if (g->version == 2) {
        out->cpu_usec = read_key(g->cpu, "cpu.stat", "usage_usec");
        out->memory_peak_bytes = read_number(g->memory, "memory.peak");
        out->oom_kills = read_key(g->memory, "memory.events", "oom_kill");
    }
}

void agent_cgroup_reset_peak(const agent_cgroup *g) {
    char path[640];
    if (g->version != 1 || !join(path, sizeof path, g->memory, "memory.max_usage_in_bytes")) return;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    (void)!write(fd, "0", 1); /* an old peak is at worst too high by the sandbox's own start */
    close(fd);
}

/* ---- leftovers ---- */

void agent_cgroup_parent(const char *root_dir, char out[AGENT_CGROUP_PARENT_MAX]) {
    uint8_t digest[32];
    char hex[65];
    eei_sha256(eei_span_text(root_dir), digest);
    eei_hex_encode(eei_span(digest, 32), hex);
    snprintf(out, AGENT_CGROUP_PARENT_MAX, "/easyenclave-%.12s", hex);
}

static void kill_all(const char *dir) {
    char path[640], line[32];
    if (!join(path, sizeof path, dir, "cgroup.procs")) return;
    FILE *f = fopen(path, "re");
    if (!f) return;
    while (fgets(line, sizeof line, f)) {
        long pid = strtol(line, NULL, 10);
        if (pid > 1 && pid <= INT32_MAX && pid != getpid()) kill((pid_t)pid, SIGKILL);
    }
    fclose(f);
}

static unsigned remove_tree(const char *dir, uint64_t deadline_ms, unsigned depth);

static unsigned remove_children(const char *dir, uint64_t deadline_ms, unsigned depth) {
    unsigned removed = 0;
    DIR *d = depth < DEPTH_MAX ? opendir(dir) : NULL;
    if (!d) return 0;
    for (struct dirent *e; (e = readdir(d));) {
        char child[640];
        if (e->d_type == DT_DIR && e->d_name[0] != '.' && join(child, sizeof child, dir, e->d_name))
            removed += remove_tree(child, deadline_ms, depth + 1);
    }
    closedir(d);
    return removed;
}

/* Again each time: what was forked meanwhile, and the groups that a runtime was just making. */
static unsigned remove_tree(const char *dir, uint64_t deadline_ms, unsigned depth) {
    unsigned removed = remove_children(dir, deadline_ms, depth);
    while (rmdir(dir) != 0) {
        if (errno != EBUSY || eei_mono_ms() > deadline_ms) return removed;
        kill_all(dir);
        usleep(2000);
        removed += remove_children(dir, deadline_ms, depth);
    }
    return removed + 1;
}

unsigned agent_cgroup_remove(const agent_cgroup_layout *layout, const char *parent) {
    uint64_t deadline_ms = eei_mono_ms() + REMOVE_DEADLINE_MS;
    unsigned removed = 0;
    for (size_t i = 0; i < layout->mounts_count; i++) {
        char dir[512];
        int n = snprintf(dir, sizeof dir, "%s%s", layout->mounts[i].point, parent);
        if (n > 0 && (size_t)n < sizeof dir) removed += remove_tree(dir, deadline_ms, 0);
    }
    return removed;
}
