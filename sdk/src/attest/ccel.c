/* ccel.c - CCEL table and log area, byte by byte. See ccel.h. No allocation, nothing believed: what a log says is compared elsewhere. */
#include "attest/ccel.h"

#include "attest/evidence.h"

#include <string.h>

enum { ALG_SHA384 = 0x000c, SHA384_BYTES = 48, SPEC_ID_BYTES_MIN = 33, MR_END = UINT32_MAX };

/* ---- ACPI table ------------------------------------------------------------------------------------------------------ */

/* Spec: ACPI 6.5 sect. 5.2.6 (header); sect. 5.2.34 (CCEL) */
ee_status eei_ccel_table_parse(ee_span table, eei_ccel_table *out, ee_error *err) {
    uint8_t sum = 0, name[4];
    memset(out, 0, sizeof *out);
    if (table.len != EEI_CCEL_TABLE_BYTES)
        return eei_fail(err, EE_E_MALFORMED, "CCEL table is %zu bytes, must be %d", table.len, EEI_CCEL_TABLE_BYTES);
    for (size_t i = 0; i < table.len; i++) sum = (uint8_t)(sum + table.data[i]);
    eei_reader r = eei_reader_init(table);
    eei_read_bytes(&r, name, sizeof name);
    uint32_t length = eei_read_u32le(&r);
    eei_read_skip(&r, 28); /* revision, checksum, and who made it */
    uint8_t type = eei_read_u8(&r), subtype = eei_read_u8(&r);
    eei_read_skip(&r, 2); /* reserved */
    uint64_t bytes = eei_read_u64le(&r), address = eei_read_u64le(&r);
    ee_status st = eei_reader_expect_end(&r, "CCEL table", err);
    if (st) return st;
    if (memcmp(name, "CCEL", 4)) return eei_fail(err, EE_E_MALFORMED, "CCEL table: the signature is not CCEL");
    if (length != EEI_CCEL_TABLE_BYTES)
        return eei_fail(err, EE_E_MALFORMED, "CCEL table: its length says %u, must be %d", length, EEI_CCEL_TABLE_BYTES);
    if (sum) return eei_fail(err, EE_E_MALFORMED, "CCEL table: its bytes add up to %u, must be 0", sum);
    if (type != 2 || subtype) return eei_fail(err, EE_E_MALFORMED, "CCEL table: type %u.%u, TDX is 2.0", type, subtype);
    if (!bytes || bytes > EEI_CCEL_BYTES_MAX)
        return eei_fail(err, EE_E_LIMIT, "CCEL table: a log area of %llu bytes, 1 to %d are read", (unsigned long long)bytes,
                        EEI_CCEL_BYTES_MAX);
    *out = (eei_ccel_table){bytes, address};
    return EE_OK;
}

/* ---- header of the log ----------------------------------------------------------------------------------------------- */

static bool all(ee_span bytes, uint8_t value) {
    for (size_t i = 0; i < bytes.len; i++)
        if (bytes.data[i] != value) return false;
    return true;
}

/* The one algorithm that a TDX register has. Several, or another one, is a log of another kind of machine. */
static ee_status algorithms(eei_reader *r, ee_error *err) {
    uint32_t count = eei_read_u32le(r);
    if (count != 1) return eei_fail(err, EE_E_VERSION, "boot log: %u digest algorithms are announced, TDX has 1", count);
    uint16_t id = eei_read_u16le(r), bytes = eei_read_u16le(r);
    if (eei_reader_failed(r)) return EE_OK; /* the caller says so */
    if (id != ALG_SHA384 || bytes != SHA384_BYTES)
        return eei_fail(err, EE_E_VERSION, "boot log: digest algorithm 0x%04x of %u bytes is announced, known is 0x%04x (SHA-384) of %d",
                        id, bytes, ALG_SHA384, SHA384_BYTES);
    return EE_OK;
}

/* Spec: TCG PFP, TCG_EfiSpecIdEvent */
static ee_status spec_id(ee_span data, ee_error *err) {
    static const uint8_t magic[16] = "Spec ID Event03";
    uint8_t got[sizeof magic];
    if (data.len < SPEC_ID_BYTES_MIN)
        return eei_fail(err, EE_E_MALFORMED, "boot log: the header's event is %zu bytes, at least %d", data.len, SPEC_ID_BYTES_MIN);
    eei_reader r = eei_reader_init(data);
    eei_read_bytes(&r, got, sizeof got);
    if (memcmp(got, magic, sizeof got)) return eei_fail(err, EE_E_VERSION, "boot log: it does not begin with Spec ID Event03");
    uint32_t platform = eei_read_u32le(&r);
    uint8_t minor = eei_read_u8(&r), major = eei_read_u8(&r);
    eei_read_skip(&r, 1); /* errata */
    uint8_t uintn = eei_read_u8(&r);
    if (platform > 1 || major != 2 || minor != 0 || uintn < 1 || uintn > 2)
        return eei_fail(err, EE_E_VERSION, "boot log: version %u.%u for platform class %u with UINTN size %u; known is 2.0, 0 or 1, 1 or 2",
                        major, minor, platform, uintn);
    ee_status st = algorithms(&r, err);
    if (st) return st;
    eei_read_skip(&r, eei_read_u8(&r)); /* vendor info */
    return eei_reader_expect_end(&r, "boot log's Spec ID event", err);
}

/* The first entry has the old form, with a SHA-1 that is zero. Its index is 1 from EDK2 and 0 from td-shim: it extends nothing. */
ee_status eei_ccel_open(ee_span area, eei_ccel *out, ee_error *err) {
    *out = (eei_ccel){eei_reader_init(area), 0};
    eei_reader *r = &out->r;
    if (area.len > EEI_CCEL_BYTES_MAX) return eei_fail(err, EE_E_LIMIT, "boot log is %zu bytes, limit %d", area.len, EEI_CCEL_BYTES_MAX);
    uint32_t index = eei_read_u32le(r), type = eei_read_u32le(r);
    ee_span digest = eei_read_span(r, 20), data = eei_read_span(r, eei_read_u32le(r));
    ee_status st = eei_reader_error(r, "boot log's header", err);
    if (st) return st;
    if (index > 1 || type != EEI_EV_NO_ACTION || !all(digest, 0))
        return eei_fail(err, EE_E_MALFORMED,
                        "boot log: the first entry has register index %u and type %u; a header has index 0 or 1, type 3 "
                        "and no digest",
                        index, type);
    return spec_id(data, err);
}

/* ---- events ---------------------------------------------------------------------------------------------------------- */

/* Behind the last event the area is fill: all ones as EDK2 leaves it, or all zeros. */
static ee_status at_end(eei_ccel *log, bool *end, ee_error *err) {
    eei_reader peek = log->r;
    size_t at = log->r.at, left = eei_reader_left(&log->r);
    ee_span rest = eei_read_span(&peek, left);
    *end = true;
    if (!left || all(rest, 0xff) || all(rest, 0)) return EE_OK;
    uint32_t index =
        left < 4 ? MR_END : rest.data[0] | (uint32_t)rest.data[1] << 8 | (uint32_t)rest.data[2] << 16 | (uint32_t)rest.data[3] << 24;
    if (index == MR_END)
        return eei_fail(err, EE_E_MALFORMED, "boot log: the %zu bytes from %zu on, behind event %zu, are neither an event nor fill", left,
                        at, log->count);
    *end = false;
    return EE_OK;
}

/* Exactly one digest, of SHA-384. */
static ee_status one_digest(eei_ccel *log, const uint8_t **out, ee_error *err) {
    uint32_t count = eei_read_u32le(&log->r);
    if (eei_reader_failed(&log->r)) return EE_OK;
    if (count != 1) return eei_fail(err, EE_E_MALFORMED, "boot log: event %zu has %u digests, must have 1", log->count, count);
    uint16_t algorithm = eei_read_u16le(&log->r);
    if (!eei_reader_failed(&log->r) && algorithm != ALG_SHA384)
        return eei_fail(err, EE_E_MALFORMED, "boot log: event %zu has a digest of algorithm 0x%04x, announced was 0x%04x (SHA-384)",
                        log->count, algorithm, ALG_SHA384);
    *out = eei_read_span(&log->r, SHA384_BYTES).data;
    return EE_OK;
}

/* Spec: TCG PFP, TCG_PCR_EVENT2. *index is as it lies there: 1 to 4 are RTMR0 to RTMR3. */
static ee_status read_event(eei_ccel *log, uint32_t *index, eei_ccel_event *out, ee_error *err) {
    eei_reader *r = &log->r;
    if (++log->count > EEI_CCEL_EVENTS_MAX) return eei_fail(err, EE_E_LIMIT, "boot log has over %d events", EEI_CCEL_EVENTS_MAX);
    *index = eei_read_u32le(r);
    out->type = eei_read_u32le(r);
    ee_status st = one_digest(log, &out->digest, err);
    if (st) return st;
    out->data = eei_read_span(r, eei_read_u32le(r));
    return eei_reader_error(r, "boot log's event", err);
}

ee_status eei_ccel_next(eei_ccel *log, eei_ccel_event *out, ee_error *err) {
    for (;;) {
        uint32_t index = 0;
        bool end = false;
        memset(out, 0, sizeof *out);
        ee_status st = at_end(log, &end, err);
        if (st || end) return st ? st : EE_E_END;
        st = read_event(log, &index, out, err);
        if (st) return st;
        if (index > EEI_RTMR_COUNT)
            return eei_fail(err, EE_E_MALFORMED, "boot log: event %zu is for register index %u, the last is %d (RTMR3)", log->count, index,
                            EEI_RTMR_COUNT);
        if (out->type == EEI_EV_NO_ACTION) {
            if (all(eei_span(out->digest, SHA384_BYTES), 0)) continue;
            return eei_fail(err, EE_E_MALFORMED, "boot log: event %zu extends nothing (EV_NO_ACTION) and has a digest", log->count);
        }
        if (!index)
            return eei_fail(err, EE_E_MALFORMED, "boot log: event %zu is for MRTD (index 0), which no event can extend", log->count);
        out->rtmr = index - 1;
        return EE_OK;
    }
}

ee_status eei_ccel_replay(ee_span area, eei_ccel_replayed *out, ee_error *err) {
    eei_ccel log;
    eei_ccel_event event;
    eei_ccel_replayed sum = {.count = 0};
    memset(out, 0, sizeof *out);
    ee_status st = eei_ccel_open(area, &log, err);
    while (!st && !(st = eei_ccel_next(&log, &event, err))) {
        eei_rtmr_extend(sum.rtmr[event.rtmr], event.digest);
        sum.events[event.rtmr]++;
    }
    if (st != EE_E_END) return st;
    sum.count = log.count;
    sum.bytes_used = log.r.at;
    *out = sum;
    return EE_OK;
}

/* ---- names ----------------------------------------------------------------------------------------------------------- */

/* Spec: TCG PFP, "Event Types" */
const char *eei_ccel_type_name(uint64_t type) {
    static const struct {
        uint32_t type;
        const char *name;
    } names[] = {
        {0x00000000, "EV_PREBOOT_CERT"},
        {0x00000001, "EV_POST_CODE"},
        {EEI_EV_NO_ACTION, "EV_NO_ACTION"},
        {0x00000004, "EV_SEPARATOR"},
        {0x00000005, "EV_ACTION"},
        {0x00000006, "EV_EVENT_TAG"},
        {0x00000007, "EV_S_CRTM_CONTENTS"},
        {0x00000008, "EV_S_CRTM_VERSION"},
        {0x00000009, "EV_CPU_MICROCODE"},
        {0x0000000a, "EV_PLATFORM_CONFIG_FLAGS"},
        {0x0000000b, "EV_TABLE_OF_DEVICES"},
        {0x0000000c, "EV_COMPACT_HASH"},
        {0x0000000d, "EV_IPL"},
        {0x0000000e, "EV_IPL_PARTITION_DATA"},
        {0x0000000f, "EV_NONHOST_CODE"},
        {0x00000010, "EV_NONHOST_CONFIG"},
        {0x00000011, "EV_NONHOST_INFO"},
        {0x00000012, "EV_OMIT_BOOT_DEVICE_EVENTS"},
        {0x80000001, "EV_EFI_VARIABLE_DRIVER_CONFIG"},
        {0x80000002, "EV_EFI_VARIABLE_BOOT"},
        {0x80000003, "EV_EFI_BOOT_SERVICES_APPLICATION"},
        {0x80000004, "EV_EFI_BOOT_SERVICES_DRIVER"},
        {0x80000005, "EV_EFI_RUNTIME_SERVICES_DRIVER"},
        {0x80000006, "EV_EFI_GPT_EVENT"},
        {0x80000007, "EV_EFI_ACTION"},
        {0x80000008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"},
        {0x80000009, "EV_EFI_HANDOFF_TABLES"},
        {0x8000000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"},
        {0x8000000b, "EV_EFI_HANDOFF_TABLES2"},
        {0x8000000c, "EV_EFI_VARIABLE_BOOT2"},
        {0x80000010, "EV_EFI_HCRTM_EVENT"},
        {0x800000e0, "EV_EFI_VARIABLE_AUTHORITY"},
        {0x800000e1, "EV_EFI_SPDM_FIRMWARE_BLOB"},
        {0x800000e2, "EV_EFI_SPDM_FIRMWARE_CONFIG"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].type == type) return names[i].name;
    return NULL;
}
