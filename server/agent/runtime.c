/* runtime.c - start: directory, lock, recovery, probe of the OCI runtimes; and the pool of prepared sandboxes. See runtime.h.
 * Executions are in runtime_run.c. Called by the agent's main, on its loop. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "image_layer.h"
#include "image_tree.h"
#include "process.h"
#include "runtime_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define USERNS_BASE       100000u /* by convention free of accounts */
#define NOFILE_MAX        65536u
#define IMAGE_CACHE_BYTES ((uint64_t)16 << 30)
#define IMAGE_BYTES       ((uint64_t)8 << 30)
#define IMAGE_ENTRIES     500000u
#define PULL_TIMEOUT_MS   600000u
#define POOL_MAX          4u
#define POOL_IDLE_MS      60000u
#define SHIM_BYTES_MAX    (16u << 20)

/* ---- pool ---- */

static void maybe_closed(agent_runtime *rt) {
    if (rt->live > 0 || !rt->closed) return;
    agent_runtime_closed_fn closed = eei_take(&rt->closed);
    closed(rt->closed_user);
}

static void on_lease_gone(void *user) {
    agent_lease *lease = user;
    agent_runtime *rt = lease->rt;
    agent_image_release(lease->image);
    eei_free(lease);
    rt->live--;
    maybe_closed(rt);
}

void agent_lease_end(agent_lease *lease) { agent_sandbox_close(lease->sandbox, on_lease_gone, lease); }

static ee_status lease_new(agent_runtime *rt, agent_image *image, const agent_limits *limits, const agent_sandbox_events *events,
                           void *user, agent_lease **out, ee_error *err) {
    *out = NULL;
    agent_lease *lease = eei_calloc(1, sizeof *lease);
    if (!lease) return eei_nomem(err);
    *lease = (agent_lease){.rt = rt, .image = image, .limits = *limits};
    agent_sandbox_spec spec = {.rootfs = agent_image_rootfs(image),
                               .user = agent_image_user(image),
                               .volumes = agent_image_config(image)->volumes,
                               .vcpus_milli = limits->vcpus_milli,
                               .pids_max = limits->pids_max,
                               .memory_bytes = limits->memory_bytes,
                               .tmpfs_bytes = limits->tmpfs_bytes};
    ee_status st = agent_sandbox_new(&rt->host, &spec, events, user ? user : lease, &lease->sandbox, err);
    if (st) {
        eei_free(lease);
        return st;
    }
    agent_image_hold(image);
    rt->live++;
    *out = lease;
    return EE_OK;
}

static bool same_limits(const agent_limits *a, const agent_limits *b) {
    return a->vcpus_milli == b->vcpus_milli && a->memory_bytes == b->memory_bytes && a->pids_max == b->pids_max &&
           a->tmpfs_bytes == b->tmpfs_bytes;
}

static agent_lease *unlink_spare(agent_runtime *rt, agent_lease **at) {
    agent_lease *lease = *at;
    *at = lease->next;
    lease->next = NULL;
    rt->spares_count--;
    return lease;
}

static agent_lease **find_spare(agent_runtime *rt, const agent_image *image, const agent_limits *limits) {
    for (agent_lease **at = &rt->spares; *at; at = &(*at)->next)
        if ((*at)->image == image && same_limits(&(*at)->limits, limits)) return at;
    return NULL;
}

ee_status agent_lease_take(agent_runtime *rt, agent_image *image, const agent_limits *limits, const agent_sandbox_events *events,
                           void *user, agent_lease **out, ee_error *err) {
    agent_lease **spare = find_spare(rt, image, limits);
    if (!spare) return lease_new(rt, image, limits, events, user, out, err);
    *out = unlink_spare(rt, spare);
    agent_sandbox_own((*out)->sandbox, events, user);
    return EE_OK;
}

static void drop_spare(agent_lease *lease) {
    for (agent_lease **at = &lease->rt->spares; *at; at = &(*at)->next)
        if (*at == lease) {
            agent_lease_end(unlink_spare(lease->rt, at));
            return;
        }
}

static void on_spare_ready(void *user, ee_status status, const ee_error *err) {
    if (!status) return;
    eei_log(EEI_LOG_WARN, "sandbox.spare_failed", "says=%s", err->message);
    drop_spare(user);
}
static void on_spare_ended(void *user, const agent_sandbox_end *end) {
    (void)end;
    drop_spare(user);
}
static const agent_sandbox_events spare_events = {.ready = on_spare_ready, .ended = on_spare_ended};

void agent_lease_prepare_spare(agent_runtime *rt, agent_image *image, const agent_limits *limits) {
    agent_lease *lease = NULL;
    ee_error err;
    if (rt->closing || rt->pool_max == 0 || find_spare(rt, image, limits)) return;
    if (rt->spares_count == rt->pool_max) {
        agent_lease **oldest = &rt->spares;
        while (*oldest && (*oldest)->next) oldest = &(*oldest)->next; /* newest are in front */
        if (*oldest) agent_lease_end(unlink_spare(rt, oldest));
    }
    if (lease_new(rt, image, limits, &spare_events, NULL, &lease, &err)) {
        eei_log(EEI_LOG_WARN, "sandbox.spare_failed", "says=%s", err.message);
        return;
    }
    lease->since_ms = eei_mono_ms();
    lease->next = rt->spares;
    rt->spares = lease;
    rt->spares_count++;
}

static void drop_spares_of(agent_runtime *rt, const agent_image *image, uint64_t older_than_ms) {
    for (agent_lease **at = &rt->spares; *at;) {
        bool drop = image ? (*at)->image == image : (*at)->since_ms <= older_than_ms;
        if (drop)
            agent_lease_end(unlink_spare(rt, at));
        else
            at = &(*at)->next;
    }
}

static void on_evicting(void *user, agent_image *image) { drop_spares_of(user, image, 0); }

static void on_sweep(uv_timer_t *timer) {
    agent_runtime *rt = timer->data;
    uint64_t now = eei_mono_ms();
    if (now > rt->pool_idle_ms) drop_spares_of(rt, NULL, now - rt->pool_idle_ms);
}

/* ---- probe ---- */

typedef struct probe {
    agent_sandbox *sandbox;
    ee_status status;
    ee_error err;
} probe;

static void on_probe_ready(void *user, ee_status status, const ee_error *err) {
    probe *p = user;
    p->status = status;
    if (status) p->err = *err;
    agent_sandbox_close(p->sandbox, NULL, NULL);
}
/* The OCI runtime writes why it failed to the job's stderr. */
static void on_probe_output(void *user, ee_stream_id stream, const void *data, size_t len) {
    (void)user;
    if (stream == EE_STDERR) eei_log(EEI_LOG_WARN, "runtime.probe", "message=\"%.*s\"", (int)(len > 400 ? 400 : len), (const char *)data);
}
static void on_probe_ended(void *user, const agent_sandbox_end *end) {
    (void)user;
    (void)end; /* closed by then */
}

/* Start a sandbox with the host as it is filled in now, on a loop of its own, and wait until its first process says that it is there. */
static ee_status try_sandbox(agent_host *host, const char *rootfs, ee_error *err) {
    static const agent_sandbox_events events = {.ready = on_probe_ready, .output = on_probe_output, .ended = on_probe_ended};
    static const agent_oci_user root = {.home = "/"};
    agent_sandbox_spec spec = {
        .rootfs = rootfs, .user = &root, .vcpus_milli = 1000, .pids_max = 64, .memory_bytes = 64u << 20, .tmpfs_bytes = 1u << 20};
    probe p = {.status = EE_E_IO};
    uv_loop_t loop, *real = host->loop;
    int rc = uv_loop_init(&loop);
    if (rc) return eei_fail_errno(err, EE_E_IO, -rc, "no event loop");
    host->loop = &loop;
    ee_status st = agent_sandbox_new(host, &spec, &events, &p, &p.sandbox, err);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    EE_ASSERT(uv_loop_close(&loop) == 0);
    host->loop = real;
    if (!st && p.status) {
        st = p.status;
        if (err) *err = p.err;
    }
    return st;
}

static ee_status make_probe_rootfs(const agent_host *host, char out[320], ee_error *err) {
    const char *none[] = {NULL};
    agent_oci_config config = {.volumes = none, .working_dir = "/"};
    agent_oci_user user = {.home = "/"};
    agent_rootfs rootfs = {.fd = -1, .id_base = host->userns_base, .set_owner = !host->rootless};
    snprintf(out, 320, "%s/probe", host->root_dir);
    int rc = agent_tree_remove(AT_FDCWD, out);
    if (rc) return eei_fail_errno(err, EE_E_CONFIG, rc, "cannot clear %s", out);
    if (mkdir(out, 0755)) return eei_fail_errno(err, EE_E_CONFIG, errno, "cannot make %s", out);
    rootfs.fd = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rootfs.fd < 0) return eei_fail_errno(err, EE_E_CONFIG, errno, "cannot open %s", out);
    ee_status st = agent_rootfs_complete(&rootfs, &config, &user, err);
    close(rootfs.fd);
    return st;
}

typedef struct attempt {
    bool userns, limits;
} attempt;

static void fill_attempt(agent_host *host, const attempt *a) {
    host->limits_enforced = a->limits && host->cgroups.version != 0 && !host->rootless;
    host->userns_size = !a->userns ? 0 : host->rootless ? 1 : AGENT_OCI_IDS;
    host->userns_base = host->rootless ? geteuid() : a->userns ? USERNS_BASE : 0;
    host->userns_gid_base = host->rootless ? getegid() : host->userns_base;
}

static ee_status probe_one(agent_host *host, ee_error *err) {
    static const attempt attempts[] = {{true, true}, {false, true}, {true, false}, {false, false}};
    char rootfs[320];
    ee_status st = EE_OK;
    ee_error first = {0};
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        const attempt *a = &attempts[i];
        if (host->rootless && (!a->userns || a->limits)) continue;
        if (a->limits && host->cgroups.version == 0) continue;
        fill_attempt(host, a);
        st = make_probe_rootfs(host, rootfs, err);
        if (!st) st = try_sandbox(host, rootfs, err);
        if (!st) return EE_OK;
        eei_log(EEI_LOG_DEBUG, "runtime.probe", "path=%s userns=%d limits=%d says=%s", host->runtime_path, a->userns, a->limits,
                err ? err->message : "");
        if (!first.status && err) first = *err;
    }
    if (err && first.status) *err = first; /* the reason against the setting we want most */
    return st;
}

static bool is_crun(const char *path) {
    const char *slash = strrchr(path, '/');
    return strcmp(slash ? slash + 1 : path, "crun") == 0;
}

/* Find and prove an OCI runtime; remove what a predecessor left under each that is installed. */
static ee_status probe_all(agent_host *host, const char *wanted, ee_error *err) {
    const char *candidates[] = {wanted ? wanted : "runc", wanted ? NULL : "crun"};
    ee_status st = EE_E_CONFIG;
    char why[600] = "";
    for (size_t i = 0; i < 2 && candidates[i]; i++) {
        ee_error one = {0};
        size_t len = strlen(why);
        ee_status tried = agent_process_find(candidates[i], host->runtime_path, sizeof host->runtime_path, &one);
        if (!tried) {
            host->crun = is_crun(host->runtime_path);
            (void)agent_sandbox_recover(host);
            if (st) tried = probe_one(host, &one);
        }
        if (!tried && st) {
            st = EE_OK;
            break;
        }
        snprintf(why + len, sizeof why - len, "%s%s: %s", len ? "; " : "", candidates[i], one.message);
    }
    if (!st) return EE_OK;
    eei_fail(err, EE_E_CONFIG, "no OCI runtime can start a sandbox here: %s", why);
    return eei_hint(err, EE_E_CONFIG,
                    host->rootless ? "run the agent as root, or allow unprivileged user namespaces and install runc or crun"
                                   : "apt-get install runc (or crun)");
}

/* ---- start ---- */

static ee_status make_dir(const char *path, ee_error *err) {
    if (mkdir(path, 0711) && errno != EEXIST) return eei_fail_errno(err, EE_E_CONFIG, errno, "cannot make %s", path);
    /* Searchable by the sandbox's root, who is somebody else out here, to get to its root filesystem; readable by nobody. */
    if (chmod(path, 0711)) return eei_fail_errno(err, EE_E_CONFIG, errno, "%s is not ours", path);
    return EE_OK;
}

static ee_status make_sub_dir(const agent_host *host, const char *name, ee_error *err) {
    char path[320];
    snprintf(path, sizeof path, "%s/%s", host->root_dir, name);
    return make_dir(path, err);
}

static ee_status lock_dir(agent_runtime *rt, ee_error *err) {
    char path[320];
    snprintf(path, sizeof path, "%s/lock", rt->host.root_dir);
    rt->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (rt->lock_fd < 0) return eei_fail_errno(err, EE_E_CONFIG, errno, "cannot open %s", path);
    if (flock(rt->lock_fd, LOCK_EX | LOCK_NB)) return eei_fail(err, EE_E_CONFLICT, "another agent runs with %s", rt->host.root_dir);
    return EE_OK;
}

/* Our own copy: an upgrade of the installed file must not change what starts. */
static ee_status copy_shim(agent_host *host, const char *from, ee_error *err) {
    eei_buf bytes = EEI_BUF_INIT(SHIM_BYTES_MAX);
    snprintf(host->shim, sizeof host->shim, "%s/ee-shim", host->root_dir);
    ee_status st = from ? eei_file_read(from, &bytes, err) : eei_fail(err, EE_E_CONFIG, "no shim_path is set");
    if (!st) st = eei_file_write_atomic(host->shim, eei_buf_span(&bytes), 0555, err);
    eei_buf_clear(&bytes);
    return st ? eei_prefix(err, EE_E_CONFIG, "the sandbox's first process (ee-shim)") : EE_OK;
}

static ee_status prepare_host(agent_runtime *rt, const agent_runtime_options *o, ee_error *err) {
    agent_host *h = &rt->host;
    struct rlimit files = {0};
    if (!o->root_dir || o->root_dir[0] != '/' || strlen(o->root_dir) > 200)
        return eei_fail(err, EE_E_CONFIG, "root_dir must be an absolute path of at most 200 bytes");
    h->loop = rt->loop;
    snprintf(h->root_dir, sizeof h->root_dir, "%s", o->root_dir);
    h->rootless = geteuid() != 0;
    h->files_max = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < NOFILE_MAX ? files.rlim_max : NOFILE_MAX;
    agent_cgroup_find("/proc/self/mountinfo", &h->cgroups);
    agent_cgroup_parent(h->root_dir, h->cgroup_parent);
    (void)signal(SIGPIPE, SIG_IGN); /* a job that ended while we write to it is not our end */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) return eei_fail_errno(err, EE_E_CONFIG, errno, "cannot become a subreaper");
    ee_status st = eei_make_dirs(h->root_dir, 0711, err);
    if (!st) st = make_dir(h->root_dir, err);
    if (!st) st = lock_dir(rt, err);
    if (!st) st = make_sub_dir(h, "b", err);
    if (!st) st = copy_shim(h, o->shim_path, err);
    if (!st) st = probe_all(h, o->runtime, err);
    return st;
}

static ee_status open_store(agent_runtime *rt, const agent_runtime_options *o, ee_error *err) {
    char dir[320];
    if (o->image_dir && (o->image_dir[0] != '/' || strlen(o->image_dir) > 200))
        return eei_fail(err, EE_E_CONFIG, "image_dir must be an absolute path of at most 200 bytes");
    snprintf(dir, sizeof dir, "%s%s", o->image_dir ? o->image_dir : rt->host.root_dir, o->image_dir ? "" : "/images");
    ee_status st = eei_make_dirs(dir, 0711, err);
    if (!st) st = make_dir(dir, err);
    if (st) return st;
    agent_store_options store = {.loop = rt->loop,
                                 .dir = dir,
                                 .cache_bytes = o->image_cache_bytes ? o->image_cache_bytes : IMAGE_CACHE_BYTES,
                                 .image_bytes_max = o->image_bytes_max ? o->image_bytes_max : IMAGE_BYTES,
                                 .entries_max = o->image_entries_max ? o->image_entries_max : IMAGE_ENTRIES,
                                 .pull_timeout_ms = o->pull_timeout_ms ? o->pull_timeout_ms : PULL_TIMEOUT_MS,
                                 .id_base = rt->host.userns_base,
                                 .set_owner = !rt->host.rootless,
                                 .tool_env = o->tool_env,
                                 .evicting = on_evicting,
                                 .user = rt};
    return agent_store_new(&store, &rt->store, err);
}

ee_status agent_runtime_new(uv_loop_t *loop, const agent_runtime_options *o, agent_runtime **out, ee_error *err) {
    *out = NULL;
    agent_runtime *rt = eei_calloc(1, sizeof *rt);
    if (!rt) return eei_nomem(err);
    rt->loop = loop;
    rt->lock_fd = -1;
    rt->pool_max = o->pool_max < 0 ? 0 : o->pool_max ? (uint32_t)o->pool_max : POOL_MAX;
    rt->pool_idle_ms = o->pool_idle_ms ? o->pool_idle_ms : POOL_IDLE_MS;
    ee_status st = prepare_host(rt, o, err);
    if (!st) st = open_store(rt, o, err);
    if (st) {
        agent_runtime_free(rt);
        return st;
    }
    rt->facts = (agent_runtime_facts){.runtime_path = rt->host.runtime_path,
                                      .cgroup_version = rt->host.cgroups.version,
                                      .limits_enforced = rt->host.limits_enforced,
                                      .user_namespace = rt->host.userns_size > 0,
                                      .rootless = rt->host.rootless};
    rt->sweeper.data = rt;
    (void)uv_timer_init(loop, &rt->sweeper); /* cannot fail */
    (void)uv_timer_start(&rt->sweeper, on_sweep, rt->pool_idle_ms / 4 + 1, rt->pool_idle_ms / 4 + 1);
    uv_unref((uv_handle_t *)&rt->sweeper);
    rt->live++;
    rt->sweeping = true;
    if (!rt->facts.limits_enforced)
        eei_log(EEI_LOG_WARN, "runtime.limits", "memory, vcpus and pids are not enforced: no usable cgroups (version %d)",
                rt->facts.cgroup_version);
    if (!rt->facts.user_namespace)
        eei_log(EEI_LOG_WARN, "runtime.userns", "no user namespaces: root in a sandbox is root outside without capabilities");
    eei_log(EEI_LOG_INFO, "runtime.ready", "path=%s cgroups=v%d limits=%d userns=%d rootless=%d", rt->facts.runtime_path,
            rt->facts.cgroup_version, rt->facts.limits_enforced, rt->facts.user_namespace, rt->facts.rootless);
    *out = rt;
    return EE_OK;
}

const agent_runtime_facts *agent_runtime_get_facts(const agent_runtime *rt) { return &rt->facts; }

ee_status agent_image_prepare(agent_runtime *rt, const char *repository, const uint8_t digest[32], bool insecure_http_ok,
                              agent_image_progress_fn progress, agent_image_done_fn done, void *user, agent_image_request **out,
                              ee_error *err) {
    return agent_store_prepare(rt->store, repository, digest, insecure_http_ok, progress, done, user, out, err);
}

/* ---- end ---- */

static void on_sweeper_closed(uv_handle_t *handle) {
    agent_runtime *rt = handle->data;
    rt->live--;
    maybe_closed(rt);
}

static void on_store_closed(void *user) {
    agent_runtime *rt = user;
    rt->live--;
    maybe_closed(rt);
}

static void on_close_turn(uv_timer_t *timer) {
    agent_runtime *rt = timer->data;
    while (rt->spares) agent_lease_end(unlink_spare(rt, &rt->spares));
    for (agent_run *run = rt->runs, *next; run; run = next) {
        next = agent_run_next(run);
        agent_run_end_now(run);
    }
    rt->live++;
    agent_store_close(rt->store, on_store_closed, rt);
    uv_close((uv_handle_t *)timer, on_sweeper_closed);
}

void agent_runtime_close(agent_runtime *rt, agent_runtime_closed_fn done, void *user) {
    EE_ASSERT(!rt->closing);
    rt->closing = true;
    rt->closed = done;
    rt->closed_user = user;
    uv_ref((uv_handle_t *)&rt->sweeper);
    (void)uv_timer_start(&rt->sweeper, on_close_turn, 0, 0); /* on the next turn: callbacks never come from inside a call */
}

void agent_runtime_free(agent_runtime *rt) {
    if (!rt) return;
    EE_ASSERT(rt->live == 0);
    agent_store_free(rt->store);
    if (rt->facts.runtime_path) (void)agent_cgroup_remove(&rt->host.cgroups, rt->host.cgroup_parent); /* only what is ours by the lock */
    if (rt->lock_fd >= 0) close(rt->lock_fd);
    eei_free(rt);
}
