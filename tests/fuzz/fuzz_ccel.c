/* fuzz_ccel.c - hostile boot logs and CCEL tables: no memory error, what is read lies inside, and the walk and the replay agree. Threat
 * Q19. */
#include "attest/ccel.h"
#include "attest/evidence.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const uint8_t *at, size_t len, ee_span area) {
    if (len > area.len || (len && (at < area.data || at + len > area.data + area.len))) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ee_span area = {data, size};
    uint8_t rtmr[EEI_RTMR_COUNT][48] = {{0}};
    eei_ccel_table table;
    eei_ccel_replayed sum;
    eei_ccel_event event;
    eei_ccel log;
    (void)!eei_ccel_table_parse(area, &table, NULL);
    ee_status st = eei_ccel_open(area, &log, NULL), replayed = eei_ccel_replay(area, &sum, NULL);
    while (!st && !(st = eei_ccel_next(&log, &event, NULL))) {
        if (event.rtmr >= EEI_RTMR_COUNT) abort();
        inside(event.digest, 48, area);
        inside(event.data.data, event.data.len, area);
        eei_rtmr_extend(rtmr[event.rtmr], event.digest);
    }
    if ((st == EE_E_END) != (replayed == EE_OK)) abort();
    if (replayed) return 0;
    if (memcmp(rtmr, sum.rtmr, sizeof rtmr) || sum.bytes_used > size || sum.count > EEI_CCEL_EVENTS_MAX) abort();
    return 0;
}
