/* image_tar.h - a tar stream as entries: ustar, pax and GNU long names, fed in pieces of any size. Sans-I/O.
 * Not for paths' safety: that is image_layer.c's. Called by image_layer.c and the fuzzer. Spec: POSIX pax, GNU tar "Basic Tar Format" */
#ifndef AGENT_IMAGE_TAR_H
#define AGENT_IMAGE_TAR_H
#include "base/buf.h"

#define AGENT_TAR_NAME_MAX 4096u
#define AGENT_TAR_META_MAX (1u << 20) /* one pax header or long name */

typedef enum agent_tar_type {
    AGENT_TAR_FILE,
    AGENT_TAR_DIR,
    AGENT_TAR_SYMLINK,
    AGENT_TAR_HARDLINK,
    AGENT_TAR_FIFO,
    AGENT_TAR_DEVICE,
} agent_tar_type;

typedef struct agent_tar_entry {
    agent_tar_type type;
    const char *path, *link; /* as written, NUL-ended; link "" but for links */
    uint64_t size;           /* bytes of data that follow; 0 but for files */
    uint32_t mode;           /* 07777 */
    uint64_t uid, gid;
    int64_t mtime_unix_s;
} agent_tar_entry;

typedef struct agent_tar_events {
    ee_status (*entry)(void *user, const agent_tar_entry *entry, ee_error *err);
    ee_status (*data)(void *user, ee_span data, ee_error *err); /* of a file, in order */
    ee_status (*file_end)(void *user, ee_error *err);           /* after the data of a file, empty ones too */
} agent_tar_events;

typedef struct agent_tar {
    const agent_tar_events *events;
    void *user;
    uint8_t block[512];
    size_t block_len;
    uint64_t left, padding; /* of what is being read: data or meta */
    char meta_type;         /* 0: data of a file, else the type of header that is collected */
    eei_buf meta;
    unsigned zero_blocks;
    bool ended;
    /* From the headers before the next entry. */
    char path[AGENT_TAR_NAME_MAX + 1], link[AGENT_TAR_NAME_MAX + 1];
    bool has_path, has_link, has_size, has_uid, has_gid, has_mtime;
    uint64_t size, uid, gid;
    int64_t mtime_unix_s;
} agent_tar;

void agent_tar_init(agent_tar *tar, const agent_tar_events *events, void *user);
/* EE_E_IMAGE for what is not a tar we understand, or whatever an event returned. After a failure only clear it. */
ee_status agent_tar_feed(agent_tar *tar, ee_span data, ee_error *err) EE_MUST_USE;
/* EE_E_IMAGE if it stops in the middle of an entry. */
ee_status agent_tar_finish(agent_tar *tar, ee_error *err) EE_MUST_USE;
void agent_tar_clear(agent_tar *tar);
#endif
