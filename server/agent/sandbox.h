/* sandbox.h - one container from its preparation to its removal: bundle, OCI runtime, shim, pipes, counters. Prepared first and given its
 * job later, so that preparation can be ahead of time. Not for images, pools or docker semantics. Called by runtime.c. */
#ifndef AGENT_SANDBOX_H
#define AGENT_SANDBOX_H
#include "cgroup.h"
#include "oci.h"
#include "sandbox_shim.h"

#include <eesdk/jobs.h>

#include <uv.h>

#define AGENT_SANDBOX_READ_BYTES 65536

/* What all sandboxes of a runtime share; owned by it, outlives them. */
typedef struct agent_host {
    uv_loop_t *loop;
    char root_dir[256], runtime_path[256], shim[320], cgroup_parent[AGENT_CGROUP_PARENT_MAX];
    agent_cgroup_layout cgroups;
    bool crun, limits_enforced, rootless;
    uint32_t userns_base, userns_gid_base, userns_size; /* host ids of the sandbox's root; size 0: no user namespace */
    uint64_t files_max;
    char read_buffer[AGENT_SANDBOX_READ_BYTES]; /* of whichever pipe is being read: reads do not overlap on one loop */
} agent_host;

typedef struct agent_sandbox agent_sandbox;

typedef struct agent_sandbox_spec { /* borrowed for agent_sandbox_new() only */
    const char *rootfs;
    const agent_oci_user *user;
    const char *const *volumes;
    uint32_t vcpus_milli, pids_max;
    uint64_t memory_bytes, tmpfs_bytes;
} agent_sandbox_spec;

typedef struct agent_sandbox_end {
    bool reported;   /* the shim told the command's end; else it was killed with everything */
    int wait_status; /* of the command, or of the shim */
    agent_cgroup_usage usage;
    uint64_t ended_us; /* eei_mono_us() */
} agent_sandbox_end;

typedef struct agent_sandbox_events {
    void (*ready)(void *user, ee_status status, const ee_error *err); /* once: may be given a job; or failed, then only close it */
    void (*started)(void *user);
    void (*not_started)(void *user, ee_shim_kind kind, int error_number); /* instead of started; ended follows */
    void (*output)(void *user, ee_stream_id stream, const void *data, size_t len);
    void (*ended)(void *user, const agent_sandbox_end *end); /* once after a job was given, or when an idle one dies */
} agent_sandbox_events;

/* Begin to prepare. Events come from the loop only. */
ee_status agent_sandbox_new(agent_host *host, const agent_sandbox_spec *spec, const agent_sandbox_events *events, void *user,
                            agent_sandbox **out, ee_error *err) EE_MUST_USE;
/* Hand it to someone else. events NULL: silence. */
void agent_sandbox_own(agent_sandbox *sandbox, const agent_sandbox_events *events, void *user);
bool agent_sandbox_is_ready(const agent_sandbox *sandbox);
/* Once, when ready. job: header and strings of sandbox_shim.h; its content is taken, and wiped when written. */
ee_status agent_sandbox_deliver(agent_sandbox *sandbox, eei_buf *job, ee_span stdin_data, ee_error *err) EE_MUST_USE;
void agent_sandbox_signal(agent_sandbox *sandbox, int signal_number); /* KILL goes to everything in it, others to the command */
void agent_sandbox_read(agent_sandbox *sandbox, bool on);             /* output flows only while on; on at birth */
void agent_sandbox_discard(agent_sandbox *sandbox);                   /* output that was not handed over is dropped: it can end while off */
ee_status agent_sandbox_connect(agent_sandbox *sandbox, uint16_t port, int *fd, ee_error *err) EE_MUST_USE;
/* Kill, remove, free; then closed(user). No more events. */
void agent_sandbox_close(agent_sandbox *sandbox, void (*closed)(void *user), void *user);

/* Blocking: remove what sandboxes of a killed predecessor left under host->root_dir. Returns how many there were. */
unsigned agent_sandbox_recover(const agent_host *host);
#endif
