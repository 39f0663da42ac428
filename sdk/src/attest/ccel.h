/* ccel.h - the event log that firmware and boot loader leave behind: ACPI table CCEL and its log area, read strictly and replayed into
 * RTMR0 to RTMR3. It parses and hashes; a log says something once its replay gives the registers of a verified quote, and then its digests
 * do: types and data are the writer's words unless a digest is of the data. No allocation. Called by boot_log.c, the quote source and the
 * fuzzer. Spec: UEFI 2.10 sect. 38; TCG PC Client Platform Firmware Profile, "Event Logging"; Intel GHCI for TDX, "CCEL". */
#ifndef EEI_CCEL_H
#define EEI_CCEL_H
#include "base/reader.h"

enum {
    EEI_CCEL_TABLE_BYTES = 56,
    EEI_CCEL_BYTES_MAX = 1 << 20, /* of a log area; firmware reserves 64 to 256 KiB */
    EEI_CCEL_EVENTS_MAX = 4096,   /* of one log; real ones have 30 to 300 */
    EEI_RTMR_COUNT = 4,
    EEI_EV_NO_ACTION = 3, /* in the log, in no register */
};

/* The ACPI table: it says where the area lies and how long it is. EE_E_MALFORMED. */
typedef struct eei_ccel_table {
    uint64_t area_bytes, area_address;
} eei_ccel_table;
ee_status eei_ccel_table_parse(ee_span table, eei_ccel_table *out, ee_error *err) EE_MUST_USE;

/* One event that extends a register. Spans borrow from the area. */
typedef struct eei_ccel_event {
    unsigned rtmr; /* 0 to 3 */
    uint32_t type;
    const uint8_t *digest; /* 48 bytes of SHA-384 */
    ee_span data;
} eei_ccel_event;

/* A walk over the area. */
typedef struct eei_ccel {
    eei_reader r;
    size_t count; /* events walked over, those that extend nothing included */
} eei_ccel;
/* Reads the header. EE_E_MALFORMED, EE_E_VERSION (digests of another kind), EE_E_LIMIT. */
ee_status eei_ccel_open(ee_span area, eei_ccel *out, ee_error *err) EE_MUST_USE;
/* The next event that extends a register; EE_E_END after the last, when the rest of the area is fill and nothing else. */
ee_status eei_ccel_next(eei_ccel *log, eei_ccel_event *out, ee_error *err) EE_MUST_USE;

typedef struct eei_ccel_replayed {
    uint8_t rtmr[EEI_RTMR_COUNT][48];
    size_t events[EEI_RTMR_COUNT]; /* that extended each */
    size_t count;                  /* all of the log but its header */
    size_t bytes_used;             /* without the fill */
} eei_ccel_replayed;
ee_status eei_ccel_replay(ee_span area, eei_ccel_replayed *out, ee_error *err) EE_MUST_USE;

/* "EV_SEPARATOR"; NULL for a type that has no name here. */
const char *eei_ccel_type_name(uint64_t type);
#endif
