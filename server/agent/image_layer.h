/* image_layer.h - applies the layers of an image to a directory, whiteouts included, within limits. Blocking: for worker threads.
 * Not for decompression or hashing. Called by image_unpack.c. Spec: OCI image-spec layer.md. Threat W9 */
#ifndef AGENT_IMAGE_LAYER_H
#define AGENT_IMAGE_LAYER_H
#include "oci.h"

/* The root filesystem that is being made. Counts run over all its layers. */
typedef struct agent_rootfs {
    int fd;
    uint32_t id_base; /* added to every owner */
    bool set_owner;   /* false without root: everything is ours */
    uint64_t bytes_max, bytes;
    uint32_t entries_max, entries;
} agent_rootfs;

typedef struct agent_layer agent_layer;
ee_status agent_layer_new(agent_rootfs *rootfs, agent_layer **out, ee_error *err) EE_MUST_USE;
/* Uncompressed tar bytes, in pieces. EE_E_IMAGE (hostile or over a limit), EE_E_IO, EE_E_NOMEM. */
ee_status agent_layer_feed(agent_layer *layer, ee_span data, ee_error *err) EE_MUST_USE;
ee_status agent_layer_finish(agent_layer *layer, ee_error *err) EE_MUST_USE;
void agent_layer_free(agent_layer *layer);

/* After the last layer: the places a sandbox mounts over, and files that programs expect. */
ee_status agent_rootfs_complete(agent_rootfs *rootfs, const agent_oci_config *config, const agent_oci_user *user,
                                ee_error *err) EE_MUST_USE;
#endif
