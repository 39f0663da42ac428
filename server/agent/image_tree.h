/* image_tree.h - file trees that strangers wrote: every path is resolved inside its root, symbolic links never lead out.
 * Not for our own small files (base/file.h). Called by image.c, image_layer.c, runtime.c. */
#ifndef AGENT_IMAGE_TREE_H
#define AGENT_IMAGE_TREE_H
#include "base/buf.h"

#include <sys/types.h>

#define AGENT_TREE_DEPTH_MAX 128u

/* open(2) as if root_fd were "/": symbolic links are followed inside only. -1 with errno. */
int agent_tree_open(int root_fd, const char *path, int flags);
/* Directory at "a/b/c" (clean, relative; "" is the root itself), made with its parents as needed. An fd, or -1 with errno. */
int agent_tree_make_dirs(int root_fd, const char *path, uid_t uid, gid_t gid);
/* Remove name and all below it; never follows links, never leaves the file system. Absent is fine. 0, or errno. */
int agent_tree_remove(int dir_fd, const char *name);
/* A regular file of at most out->max bytes inside the root; absent or anything else: empty. */
ee_status agent_tree_read(int root_fd, const char *path, eei_buf *out);
#endif
