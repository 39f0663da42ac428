/* boot_log.h - a machine's boot log as evidence carries it: the events of a CCEL log, made small, and their replay. Whether it is the log
 * of a quoted boot is the check `boot_log` (verdict.h). Pure. Called by prover.c, appraisal and evidence files.
 * Proto: docs/protocol.md#boot-log */
#ifndef EEI_BOOT_LOG_H
#define EEI_BOOT_LOG_H
#include "attest/ccel.h"
#include "attest/evidence.h"
#include "base/encoding.h"

/* The events of a log area that extend a register, in order, in the arena. Data is kept where its digest is of it and it is at most
 * EEI_BOOT_DATA_MAX; of a long log only what is shorter still, so that 512 events fit EEI_BOOT_LOG_BYTES_MAX in evidence. */
ee_status eei_boot_log_compact(ee_span area, eei_arena *arena, eei_boot_event **out, size_t *count, ee_error *err) EE_MUST_USE;

typedef struct eei_boot_registers {
    uint8_t rtmr[EEI_RTMR_COUNT][48];
    size_t events[EEI_RTMR_COUNT];
} eei_boot_registers;
/* Refuses what no compact log has: a register over 3, an event that extends nothing, data of another digest. EE_E_AUTH, EE_E_MALFORMED. */
ee_status eei_boot_log_replay(const eei_boot_event *events, size_t count, eei_boot_registers *out, ee_error *err) EE_MUST_USE;

/* [{"rtmr","type","name","digest","data"}, ...]: new reference; NULL when out of memory. data is null where it is not shown. */
json_t *eei_boot_log_json(const eei_boot_event *events, size_t count);
#endif
