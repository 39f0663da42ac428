/* oci_bundle.c - the runtime's config.json of a sandbox: nothing writable but tmpfs, no capabilities, own namespaces, our seccomp list.
 * It holds nothing of the job that will run in it: that comes through a pipe. Called by sandbox.c. Spec: OCI runtime-spec v1.0.2 */
#include "base/encoding.h"
#include "oci.h"
#include "seccomp.h"

#include <string.h>

/* Everything below builds with json_pack, which takes ownership of its "o" arguments and gives NULL if any of them is NULL,
 * so one check of the end result covers every allocation. */

static json_t *empty_list(void) { return json_array(); }

static json_t *capabilities(void) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "bounding", empty_list(), "effective", empty_list(), "permitted", empty_list(),
                     "inheritable", empty_list(), "ambient", empty_list());
}

static json_t *rlimit(const char *type, uint64_t value) {
    return json_pack("{s:s, s:I, s:I}", "type", type, "hard", (json_int_t)value, "soft", (json_int_t)value);
}

static json_t *rlimits(const agent_oci_bundle *b) {
    return json_pack("[o, o]", rlimit("RLIMIT_CORE", 0), rlimit("RLIMIT_NOFILE", b->files_max)); /* no core: threat L4 */
}

static json_t *groups(const agent_oci_user *user) {
    json_t *list = json_array();
    for (size_t i = 0; i < user->groups_count; i++)
        if (json_array_append_new(list, json_integer(user->groups[i]))) return NULL;
    return list;
}

static json_t *user_of(const agent_oci_bundle *b) {
    if (b->userns_size == 1) return json_pack("{s:i, s:i}", "uid", 0, "gid", 0); /* rootless: there is no other id */
    return json_pack("{s:I, s:I, s:o}", "uid", (json_int_t)b->user->uid, "gid", (json_int_t)b->user->gid, "additionalGids",
                     groups(b->user));
}

static json_t *process_of(const agent_oci_bundle *b) {
    return json_pack("{s:b, s:o, s:[s], s:o, s:s, s:o, s:b, s:o}", "terminal", 0, "user", user_of(b), "args", "/ee-init", "env",
                     empty_list(), "cwd", "/", "capabilities", capabilities(), "noNewPrivileges", 1, "rlimits", rlimits(b));
}

static bool add_mount(json_t *mounts, const char *destination, const char *type, const char *source, json_t *options) {
    json_t *mount = json_pack("{s:s, s:s, s:s, s:o}", "destination", destination, "type", type, "source", source, "options", options);
    return json_array_append_new(mounts, mount) == 0;
}

/* Inodes cost kernel memory that tmpfs size does not count: one for every 4 KiB at most (threat W6). */
static bool add_tmpfs(json_t *mounts, const char *destination, uint64_t bytes, const char *mode, bool executable) {
    const uint64_t inodes_max = bytes / 4096 + 16;
    json_t *options = json_pack("[s, s, s]", "nosuid", "nodev", mode);
    json_t *size = json_sprintf("size=%llu", (unsigned long long)bytes),
           *inodes = json_sprintf("nr_inodes=%llu", (unsigned long long)inodes_max);
    bool ok = json_array_append_new(options, size) == 0;
    ok = json_array_append_new(options, inodes) == 0 && ok;
    if (!executable) ok = json_array_append_new(options, json_string("noexec")) == 0 && ok;
    if (!ok) {
        json_decref(options);
        return false;
    }
    return add_mount(mounts, destination, "tmpfs", "tmpfs", options);
}

static json_t *mounts_of(const agent_oci_bundle *b) {
    json_t *m = json_array();
    bool ok = m && add_mount(m, "/proc", "proc", "proc", json_pack("[s, s, s]", "nosuid", "noexec", "nodev"));
    ok = ok &&
         add_mount(m, "/dev", "tmpfs", "tmpfs", json_pack("[s, s, s, s, s]", "nosuid", "noexec", "strictatime", "mode=755", "size=65536"));
    ok = ok && add_mount(m, "/dev/pts", "devpts", "devpts",
                         json_pack("[s, s, s, s, s]", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"));
    ok = ok && add_mount(m, "/dev/mqueue", "mqueue", "mqueue", json_pack("[s, s, s]", "nosuid", "noexec", "nodev"));
    ok = ok && add_tmpfs(m, "/dev/shm", b->tmpfs_bytes, "mode=1777", false);
    ok = ok && add_tmpfs(m, "/tmp", b->tmpfs_bytes, "mode=1777", true);
    ok = ok && add_tmpfs(m, "/var/tmp", b->tmpfs_bytes, "mode=1777", true);
    ok = ok && add_tmpfs(m, "/run", b->tmpfs_bytes, "mode=1777", true);
    for (const char *const *v = b->volumes; ok && v && *v; v++) ok = add_tmpfs(m, *v, b->tmpfs_bytes, "mode=1777", true);
    ok = ok && add_mount(m, "/ee-init", "bind", b->shim, json_pack("[s, s, s, s]", "bind", "ro", "nosuid", "nodev"));
    if (ok) return m;
    json_decref(m);
    return NULL;
}

static bool add_namespace(json_t *list, const char *type) { return json_array_append_new(list, json_pack("{s:s}", "type", type)) == 0; }

static json_t *namespaces_of(const agent_oci_bundle *b) {
    static const char *const always[] = {"pid", "network", "ipc", "uts", "mount", "cgroup"};
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < sizeof always / sizeof *always; i++) ok = add_namespace(list, always[i]);
    if (b->userns_size) ok = ok && add_namespace(list, "user");
    if (ok) return list;
    json_decref(list);
    return NULL;
}

static json_t *id_map(const agent_oci_bundle *b, uint32_t base) {
    return json_pack("[{s:i, s:I, s:I}]", "containerID", 0, "hostID", (json_int_t)base, "size", (json_int_t)b->userns_size);
}

static json_t *resources_of(const agent_oci_bundle *b) {
    json_t *devices = json_pack("[{s:b, s:s}]", "allow", 0, "access", "rwm");
    if (!b->cgroup_limits) return json_pack("{s:o}", "devices", devices);
    json_t *memory = b->swap_limit ? json_pack("{s:I, s:I}", "limit", (json_int_t)b->memory_bytes, "swap", (json_int_t)b->memory_bytes)
                                   : json_pack("{s:I}", "limit", (json_int_t)b->memory_bytes);
    json_t *cpu = json_pack("{s:I, s:I}", "quota", (json_int_t)b->vcpus_milli * 100, "period", (json_int_t)100000);
    return json_pack("{s:o, s:o, s:o, s:{s:I}}", "devices", devices, "memory", memory, "cpu", cpu, "pids", "limit",
                     (json_int_t)b->pids_max);
}

static json_t *hidden_paths(void) {
    return json_pack("[s, s, s, s, s, s, s, s, s]", "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                     "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi");
}

static json_t *readonly_paths(void) {
    return json_pack("[s, s, s, s, s]", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger");
}

static json_t *linux_of(const agent_oci_bundle *b) {
    json_t *linux_part = json_pack("{s:o, s:o, s:o, s:o, s:o}", "namespaces", namespaces_of(b), "resources", resources_of(b), "seccomp",
                                   agent_seccomp_profile(NULL), "maskedPaths", hidden_paths(), "readonlyPaths", readonly_paths());
    bool ok = linux_part != NULL;
    if (b->cgroups_path) ok = ok && json_object_set_new(linux_part, "cgroupsPath", json_string(b->cgroups_path)) == 0;
    if (b->userns_size) {
        ok = ok && json_object_set_new(linux_part, "uidMappings", id_map(b, b->userns_base)) == 0;
        ok = ok && json_object_set_new(linux_part, "gidMappings", id_map(b, b->userns_gid_base)) == 0;
    }
    if (ok) return linux_part;
    json_decref(linux_part);
    return NULL;
}

ee_status agent_oci_write_bundle(const agent_oci_bundle *b, eei_buf *out, ee_error *err) {
    json_t *root = json_pack("{s:s, s:o, s:{s:s, s:b}, s:s, s:o, s:o}", "ociVersion", "1.0.2", "process", process_of(b), "root", "path",
                             b->rootfs, "readonly", 1, "hostname", "sandbox", "mounts", mounts_of(b), "linux", linux_of(b));
    if (!root) return eei_nomem(err);
    ee_status st = eei_json_dump(root, out, err);
    json_decref(root);
    return st;
}
