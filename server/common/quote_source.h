/* quote_source.h - where this machine's TDX quotes come from: the kernel's configfs-tsm, or a devnet's simulated machine. It quotes what
 * prover.c hands it and knows nothing of statements. Called by the programs' main. Spec: Linux Documentation/ABI/testing/configfs-tsm */
#ifndef QUOTE_SOURCE_H
#define QUOTE_SOURCE_H
#include "ratls/prover.h"

#define QUOTE_SOURCE_TSM_DIR "/sys/kernel/config/tsm/report"
#define QUOTE_SOURCE_CCEL    "/sys/firmware/acpi/tables/CCEL"
#define QUOTE_SOURCE_LOG     "/sys/firmware/acpi/tables/data/CCEL"
#define QUOTE_SOURCE_RTMR3   "/sys/class/misc/tdx_guest/measurements/rtmr3:sha384"

typedef struct quote_source quote_source;
typedef struct quote_source_options {
    const char *tsm_dir;      /* NULL = QUOTE_SOURCE_TSM_DIR */
    const char *tsm_entry;    /* NULL = an entry of our own, made for one quote and removed; else one that exists and stays */
    const char *rtmr3_path;   /* NULL = QUOTE_SOURCE_RTMR3 */
    const char *ccel_path;    /* NULL = QUOTE_SOURCE_CCEL: the table that says that there is a boot log, and how long its area is */
    const char *log_path;     /* NULL = QUOTE_SOURCE_LOG: that area */
    const char *machine_file; /* nullable: of a simulated machine, used when there is no tsm_dir; refused in builds without simulation */
    uint32_t timeout_ms;      /* of one quote with all its repeats; 0 = 30 s */
} quote_source_options;

/* configfs first, then the simulated machine if one is named, else EE_E_CONFIG that says what was looked for. The boot log is read here;
 * a machine without one, or with one that cannot be read, quotes all the same: then the log says why there is none. */
ee_status quote_source_open(const quote_source_options *options, quote_source **out, ee_error *err) EE_MUST_USE;
void quote_source_free(quote_source *source);
/* Thread-safe. Valid as long as the source. */
eei_quoter quote_source_quoter(quote_source *source);
const char *quote_source_kind(const quote_source *source); /* "configfs" "simulated" */
#endif
