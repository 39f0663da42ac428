/* bench_base.c - what the smallest steps cost: a bounds-checked read beside a plain one. Not for whole requests.
 * Run by ./dev bench. */
#include "base/buf.h"
#include "base/reader.h"
#include "bench/bench.h"

#include <string.h>

enum { BYTES = 1 << 20 };
static uint8_t data[BYTES];

static double megabytes_per_s(uint64_t start_ns) { return (double)BYTES / 1e6 / ((double)(bench_now_ns() - start_ns) / 1e9); }

static double plain_read(void *user) {
    uint64_t start = bench_now_ns();
    uint32_t sum = 0;
    (void)user;
    for (size_t at = 0; at + 4 <= BYTES; at += 4) {
        uint32_t word;
        memcpy(&word, data + at, sizeof word);
        sum += word;
        bench_use(&sum);
    }
    return megabytes_per_s(start);
}

static double reader_read(void *user) {
    uint64_t start = bench_now_ns();
    uint32_t sum = 0;
    eei_reader r = eei_reader_init(eei_span(data, BYTES));
    (void)user;
    while (eei_reader_left(&r) >= 4) {
        sum += eei_read_u32le(&r);
        bench_use(&sum);
    }
    return eei_reader_failed(&r) ? -1 : megabytes_per_s(start);
}

int main(int argc, char **argv) {
    bench *b = bench_open(argc, argv, "base");
    const bench_case cases[] = {
        {"memcpy u32", "MB/s", NULL, plain_read, NULL},
        {"eei_reader u32", "MB/s", "memcpy u32", reader_read, NULL},
    };
    memset(data, 0x5a, sizeof data);
    bench_run(b, cases, sizeof cases / sizeof *cases, 0);
    return bench_close(b);
}
