/* image_unpack.h - from a folder of pulled blobs to a root filesystem: hash, decompress, apply. Blocking: for a worker thread.
 * Not for the network or the cache. Called by image.c. */
#ifndef AGENT_IMAGE_UNPACK_H
#define AGENT_IMAGE_UNPACK_H
#include "oci.h"

#include <stdatomic.h>

typedef struct agent_unpack {
    /* in */
    int dir_fd; /* has blobs/HEX; gets rootfs/ */
    const agent_oci_manifest *manifest;
    uint64_t bytes_max;
    uint32_t entries_max, id_base;
    bool set_owner;
    atomic_bool stop; /* set by another thread: give up soon */
    /* out */
    atomic_uint_least64_t packed_done; /* bytes of blobs consumed, for progress */
    agent_oci_config config;           /* on EE_OK: clear it */
    agent_oci_user user;
    uint64_t bytes;
} agent_unpack;

/* Every blob against its digest, then every layer's content against its diff id. EE_E_IMAGE, EE_E_CANCELLED, EE_E_CONFIG (no gzip),
 * EE_E_IO. */
ee_status agent_unpack_run(agent_unpack *unpack, ee_error *err) EE_MUST_USE;
#endif
