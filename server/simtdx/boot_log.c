/* boot_log.c - what firmware, boot loader and kernel of a simulated TD would have measured: one table, from which both the registers of the
 * default TD and its CCEL log are made. Called by simtdx.c, the quote source and tests. Spec: see attest/ccel.h */
#include "attest/ccel.h"
#include "attest/crypto.h"
#include "base/alloc.h"
#include "simtdx/parts.h"

#include <string.h>

enum { FILL_BYTES = 64 };

#define BYTES(text)                                                                                                                        \
    { (const uint8_t *)(text), sizeof(text) - 1 }
#define SECURE_BOOT_VARIABLE                                                                                                               \
    "\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c\x0a\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0S\0e\0c\0u\0r\0e\0B\0o\0o\0t\0"   \
    "\x01"

/* As real logs: some events hold what was measured, others only name it. */
static const struct {
    unsigned rtmr;
    uint32_t type;
    ee_span data, measured; /* measured.len 0: the data itself */
} events[] = {
    {0, 0x8000000a,
     BYTES("\x10"
           "Fv(simulated)\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
     BYTES("easyenclave simulated release firmware")},
    {0, 0x80000001, BYTES(SECURE_BOOT_VARIABLE), {NULL, 0}},
    {0, 0x00000004, BYTES("\0\0\0\0"), {NULL, 0}},
    {0, 0x0000000a, BYTES("ACPI DATA"), BYTES("easyenclave simulated release ACPI tables")},
    {1, 0x80000007, BYTES("Calling EFI Application from Boot Option"), {NULL, 0}},
    {1, 0x00000004, BYTES("\0\0\0\0"), {NULL, 0}},
    {1, 0x80000003, BYTES("\\EFI\\BOOT\\BOOTX64.EFI"), BYTES("easyenclave simulated release kernel")},
    {2, 0x00000006, BYTES("console=hvc0 ro panic=-1 simulated"), {NULL, 0}},
    {2, 0x00000006, BYTES("Linux initrd"), BYTES("easyenclave simulated release initrd")},
    {1, 0x80000007, BYTES("Exit Boot Services Invocation"), {NULL, 0}},
    {1, 0x80000007, BYTES("Exit Boot Services Returned with Success"), {NULL, 0}},
};
enum { EVENT_COUNT = sizeof events / sizeof events[0] };

static void digest_of(size_t i, uint8_t out[48]) {
    eei_hash_parts(EEI_SHA384, events[i].measured.len ? &events[i].measured : &events[i].data, 1, out);
}

void simtdx_boot_registers(uint8_t rtmr[3][48]) {
    uint8_t digest[48];
    memset(rtmr, 0, 3 * 48);
    for (size_t i = 0; i < EVENT_COUNT; i++) {
        digest_of(i, digest);
        eei_rtmr_extend(rtmr[events[i].rtmr], digest);
    }
}

void simtdx_ccel_header(eei_writer *w) {
    static const uint8_t spec_id[] = "Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0c\0\x30\0"; /* its NUL: no vendor info */
    eei_write_u32le(w, 1);
    eei_write_u32le(w, EEI_EV_NO_ACTION);
    eei_write_zeros(w, 20);
    eei_write_u32le(w, sizeof spec_id);
    eei_write_bytes(w, spec_id, sizeof spec_id);
}

void simtdx_ccel_event(eei_writer *w, uint32_t index, uint32_t type, const uint8_t digest[48], ee_span data) {
    eei_write_u32le(w, index);
    eei_write_u32le(w, type);
    eei_write_u32le(w, 1);
    eei_write_u16le(w, 0x000c);
    eei_write_bytes(w, digest, 48);
    eei_write_u32le(w, (uint32_t)data.len);
    eei_write_bytes(w, data.data, data.len);
}

void simtdx_ccel_table(uint64_t area_bytes, uint8_t out[56]) {
    static const uint8_t head[] = "CCEL\x38\0\0\0\x01\0SIM   EASYENCL";
    uint8_t sum = 0;
    memset(out, 0, 56);
    memcpy(out, head, sizeof head - 1);
    out[36] = 2;
    for (unsigned i = 0; i < 8; i++) out[40 + i] = (uint8_t)(area_bytes >> (8 * i));
    for (unsigned i = 0; i < 56; i++) sum = (uint8_t)(sum + out[i]);
    out[9] = (uint8_t)(0 - sum);
}

ee_status simtdx_boot_log(eei_buf *area, ee_error *err) {
    uint8_t digest[48], fill[FILL_BYTES];
    eei_writer w = eei_writer_init(area);
    memset(fill, 0xff, sizeof fill);
    simtdx_ccel_header(&w);
    for (size_t i = 0; i < EVENT_COUNT; i++) {
        digest_of(i, digest);
        simtdx_ccel_event(&w, events[i].rtmr + 1, events[i].type, digest, events[i].data);
    }
    eei_write_bytes(&w, fill, sizeof fill);
    return w.status ? eei_fail(err, w.status, "no room for a boot log") : EE_OK;
}
