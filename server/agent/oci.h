/* oci.h - the OCI formats as structs: references, manifests, image configs, users, and the runtime's config.json. Pure: bytes in, structs
 * out. Not for files or processes. Called by image.c and sandbox.c. Spec: OCI image-spec v1.1, runtime-spec v1.0.2 */
#ifndef AGENT_OCI_H
#define AGENT_OCI_H
#include "base/arena.h"
#include "base/buf.h"

#include <stdbool.h>

#define AGENT_OCI_LAYERS_MAX   256u       /* docker stops at 127 */
#define AGENT_OCI_MANIFEST_MAX (1u << 20) /* registries take 4 MiB; the largest seen in the wild is far below 1 */
#define AGENT_OCI_CONFIG_MAX   (1u << 20)
#define AGENT_OCI_VOLUMES_MAX  16u
#define AGENT_OCI_GROUPS_MAX   32u
#define AGENT_OCI_IDS          65536u /* user and group ids a sandbox has */

/* "host[:port]/path": lower-case path, no tag, no digest. *loopback: the host is this machine. EE_E_INVALID. */
ee_status agent_oci_check_repository(const char *repository, bool *loopback, ee_error *err) EE_MUST_USE;

typedef enum agent_oci_packing { AGENT_OCI_TAR, AGENT_OCI_TAR_GZIP, AGENT_OCI_TAR_ZSTD } agent_oci_packing;
typedef struct agent_oci_blob {
    uint8_t digest[32];
    uint64_t size_bytes;
    agent_oci_packing packing;
} agent_oci_blob;

typedef struct agent_oci_manifest {
    bool is_index; /* then only `config` is set: the manifest of this machine's platform */
    agent_oci_blob config;
    agent_oci_blob layers[AGENT_OCI_LAYERS_MAX];
    size_t layers_count;
    uint64_t packed_bytes; /* config and layers */
} agent_oci_manifest;
/* EE_E_IMAGE for anything that is not an image manifest or index we can run. */
ee_status agent_oci_parse_manifest(ee_span json, agent_oci_manifest *out, ee_error *err) EE_MUST_USE;

typedef struct agent_oci_config {
    eei_arena arena;         /* holds all texts; cleared by agent_oci_config_clear() */
    const char **entrypoint; /* NULL-ended, never NULL; also the others */
    const char **cmd;
    const char **env;        /* "NAME=value" */
    const char **volumes;    /* absolute, clean, never a place of ours */
    const char *working_dir; /* absolute; "/" if none */
    const char *user;        /* "" if none */
    uint16_t port;
    uint8_t diff_ids[AGENT_OCI_LAYERS_MAX][32];
    size_t diff_ids_count;
} agent_oci_config;
ee_status agent_oci_parse_config(ee_span json, agent_oci_config *out, ee_error *err) EE_MUST_USE;
void agent_oci_config_clear(agent_oci_config *config);

typedef struct agent_oci_user {
    uint32_t uid, gid;
    uint32_t groups[AGENT_OCI_GROUPS_MAX];
    size_t groups_count;
    char home[256]; /* from passwd; "/" if unknown, "/root" for 0 */
} agent_oci_user;
/* "", "uid", "name", "uid:gid", "name:group" against the image's own /etc/passwd and /etc/group (either may be empty). EE_E_IMAGE. */
ee_status agent_oci_find_user(const char *user, ee_span passwd, ee_span group, agent_oci_user *out, ee_error *err) EE_MUST_USE;

/* What a sandbox is made of; agent_oci_write_bundle() turns it into config.json. Holds nothing of a job: no args, no env. */
typedef struct agent_oci_bundle {
    const char *rootfs, *shim, *cgroups_path;
    const agent_oci_user *user;
    const char *const *volumes;            /* NULL-ended; NULL: none */
    uint32_t userns_base, userns_gid_base; /* host ids of the sandbox's root */
    uint32_t userns_size;                  /* 0: no user namespace; 1: rootless, only its own id */
    bool cgroup_limits, swap_limit;
    uint32_t vcpus_milli, pids_max;
    uint64_t memory_bytes, tmpfs_bytes, files_max; /* files_max: RLIMIT_NOFILE */
} agent_oci_bundle;
ee_status agent_oci_write_bundle(const agent_oci_bundle *bundle, eei_buf *out, ee_error *err) EE_MUST_USE;
#endif
