/* file.h - whole small files, read and written safely. Called by configuration, caches and key files; not for data paths. */
#ifndef EEI_FILE_H
#define EEI_FILE_H
#include "buf.h"

/* EE_E_NOT_FOUND, EE_E_LIMIT, EE_E_IO. Of what is no regular file: EE_E_TIMEOUT when nobody writes to it, or it does not end within 30 s.
 */
ee_status eei_file_read(const char *path, eei_buf *out, ee_error *err) EE_MUST_USE;
ee_status eei_file_read_within(const char *path, uint64_t within_ms, eei_buf *out, ee_error *err) EE_MUST_USE;
/* Temporary file beside it, fsync, rename. A link is replaced, not followed: for files of our own. */
ee_status eei_file_write_atomic(const char *path, ee_span data, unsigned mode, ee_error *err) EE_MUST_USE;
/* The same for a path that a user named. A link stays and what it leads to is written; what is there and no regular file (a device, a FIFO)
 * stays what it is and is written to. EE_E_TIMEOUT when nobody reads from it. */
ee_status eei_file_write_named(const char *path, ee_span data, unsigned mode, ee_error *err) EE_MUST_USE;
/* A regular file owned by us, not open to others (mode & 077 == 0), in a directory that is ours. EE_E_CONFIG says what is wrong. */
ee_status eei_file_check_private(const char *path, ee_error *err) EE_MUST_USE;
ee_status eei_make_dirs(const char *path, unsigned mode, ee_error *err) EE_MUST_USE;
#endif
