/* platform.h - one simulated platform with a quote, its collateral and a policy that accepts it, for measuring programs. Ends the program
 * when it cannot be made. Called by bench_verify*.c. */
#ifndef EE_BENCH_PLATFORM_H
#define EE_BENCH_PLATFORM_H
#include "base/buf.h"

#include <eesdk/verify.h>

#include <stdbool.h>

typedef struct bench_platform {
    eei_buf quote, collateral_json;
    ee_collateral *collateral;
    ee_policy *policy;
    uint64_t now_unix_s;
} bench_platform;

void bench_platform_make(bench_platform *out);
void bench_platform_clear(bench_platform *p);
/* Ends the program when st is not EE_OK. */
void bench_must(ee_status st, const ee_error *err);
/* One verification of quote; the verdict is the caller's. ccel: {NULL, 0} or a boot log. */
ee_status bench_platform_verify(const bench_platform *p, ee_span quote, const ee_collateral *collateral, ee_span ccel, ee_verdict **out);
/* The platform's own quote, from collateral that is parsed for it, or with the collateral that is there: did it verify? */
bool bench_platform_cold(const bench_platform *p);
bool bench_platform_warm(const bench_platform *p);
#endif
