/* image.h - the store of unpacked images: pulled once by digest, every byte hashed, kept until the space is needed.
 * Not for running them. Called by runtime.c; the public side is runtime.h's agent_image_*. */
#ifndef AGENT_IMAGE_H
#define AGENT_IMAGE_H
#include "oci.h"
#include "runtime.h"

typedef struct agent_store agent_store;

typedef struct agent_store_options {
    uv_loop_t *loop;
    const char *dir; /* exists, ours */
    uint64_t cache_bytes, image_bytes_max;
    uint32_t entries_max, pull_timeout_ms;
    uint32_t id_base; /* owner of the root's files outside */
    bool set_owner;
    const char *const *tool_env;
    void (*evicting)(void *user, agent_image *image); /* let go of references held for speed only (spare sandboxes) */
    void *user;
} agent_store_options;

/* Blocking; deletes the images a predecessor left in dir: nobody watched them since. */
ee_status agent_store_new(const agent_store_options *options, agent_store **out, ee_error *err) EE_MUST_USE;
ee_status agent_store_prepare(agent_store *store, const char *repository, const uint8_t digest[32], bool insecure_http_ok,
                              agent_image_progress_fn progress, agent_image_done_fn done, void *user, agent_image_request **out,
                              ee_error *err) EE_MUST_USE;
/* Cancel every pull, then done. Images that are still referenced stay valid until agent_store_free(). */
void agent_store_close(agent_store *store, void (*done)(void *user), void *user);
void agent_store_free(agent_store *store);

void agent_image_hold(agent_image *image); /* one more reference */
const agent_oci_config *agent_image_config(const agent_image *image);
const agent_oci_user *agent_image_user(const agent_image *image);
const char *agent_image_rootfs(const agent_image *image);
#endif
