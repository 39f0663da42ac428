/* collateral_files.h - a folder of collateral, one file for each platform and source, so that the next process need not fetch it. A file
 * that is damaged, not ours, or of another source is refused, never repaired. Bounded in number and bytes. Thread-safe, and between
 * processes: files are replaced whole. Called by collateral_cache.c, which checks what is in them. */
#ifndef EEI_COLLATERAL_FILES_H
#define EEI_COLLATERAL_FILES_H
#include "attest/pcs.h"
#include "base/buf.h"

typedef struct eei_collateral_files eei_collateral_files;
/* The folder is made (0700) when it is not there. EE_E_IO, EE_E_CONFIG when others may write to it. */
ee_status eei_collateral_files_new(const char *folder, const char *origin, size_t files_max, size_t bytes_max, eei_collateral_files **out,
                                   ee_error *err) EE_MUST_USE;
void eei_collateral_files_free(eei_collateral_files *files);
/* Appends the JSON. EE_E_NOT_FOUND; EE_E_MALFORMED, EE_E_CONFIG, EE_E_LIMIT, EE_E_IO say why a file that is there is not used. */
ee_status eei_collateral_files_read(const eei_collateral_files *files, const eei_collateral_id *id, eei_buf *json, uint64_t *fetched_unix_s,
                                    ee_error *err) EE_MUST_USE;
/* In place of an older one; then the oldest of all go until the folder is within its bounds. */
ee_status eei_collateral_files_write(const eei_collateral_files *files, const eei_collateral_id *id, ee_span json, uint64_t fetched_unix_s,
                                     ee_error *err) EE_MUST_USE;
#endif
