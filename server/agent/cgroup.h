/* cgroup.h - where the kernel counts and limits a sandbox: v1 and hybrid hierarchies, and v2. Reads counters and removes leftovers.
 * Not for setting limits: the OCI runtime writes those from config.json. Called by sandbox.c and runtime.c, and by a devnet that
 * cleans up after agents that were killed. */
#ifndef AGENT_CGROUP_H
#define AGENT_CGROUP_H
#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

#define AGENT_CGROUP_MOUNTS_MAX 24
#define AGENT_CGROUP_PARENT_MAX 64

typedef struct agent_cgroup_mount {
    char point[128], root[256]; /* root: the part of the hierarchy that is mounted there */
    char controllers[96];       /* v1: "cpu,cpuacct"; v2: "" */
} agent_cgroup_mount;

typedef struct agent_cgroup_layout {
    int version; /* 2; 1 for v1 and hybrid; 0: memory, cpu and pids are not all there */
    bool swap;   /* swap is counted, so it can be limited */
    agent_cgroup_mount mounts[AGENT_CGROUP_MOUNTS_MAX];
    size_t mounts_count;
} agent_cgroup_layout;
/* mountinfo is "/proc/self/mountinfo" but for tests. Never fails: what is not found is version 0. */
void agent_cgroup_find(const char *mountinfo, agent_cgroup_layout *out);

/* The directories of one sandbox. */
typedef struct agent_cgroup {
    int version;
    char memory[512], cpu[512];
} agent_cgroup;
/* process_cgroup is "/proc/PID/cgroup" but for tests. EE_E_IO if a controller's directory is not there. */
ee_status agent_cgroup_open(const agent_cgroup_layout *layout, const char *process_cgroup, agent_cgroup *out, ee_error *err) EE_MUST_USE;

typedef struct agent_cgroup_usage {
    uint64_t cpu_usec, memory_peak_bytes, oom_kills;
} agent_cgroup_usage;
/* Counters as they are now; one that the kernel does not have is 0. */
void agent_cgroup_read(const agent_cgroup *group, agent_cgroup_usage *out);
/* Forget the peak so far, where the kernel can. */
void agent_cgroup_reset_peak(const agent_cgroup *group);
/* "/easyenclave-..." of an agent's root_dir: two agents on one machine have a parent each. */
void agent_cgroup_parent(const char *root_dir, char out[AGENT_CGROUP_PARENT_MAX]);
/* Kill what is in parent ("/easyenclave-...") and below in every hierarchy, and remove it. Waits for the kernel up to 2 s. Returns how many
 * groups were removed. */
unsigned agent_cgroup_remove(const agent_cgroup_layout *layout, const char *parent);
#endif
