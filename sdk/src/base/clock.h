/* clock.h - time and randomness, injected: pure code takes now as an argument, everything else asks an eei_clock.
 * Called by net, client and server; tests put a fake in. */
#ifndef EEI_CLOCK_H
#define EEI_CLOCK_H
#include "error.h"

#include <stdbool.h>

typedef struct eei_clock {
    uint64_t (*mono_ms)(void *user); /* never goes back; for durations */
    uint64_t (*wall_ms)(void *user); /* UTC since 1970; for records */
    void *user;
} eei_clock;
const eei_clock *eei_clock_system(void);
uint64_t eei_mono_ms(void);
uint64_t eei_mono_us(void); /* for measurements */
uint64_t eei_wall_ms(void);
/* len bytes from getrandom(2). EE_E_IO when entropy fails; callers must not go on. (threat Q8) */
ee_status eei_random(void *out, size_t len, ee_error *err) EE_MUST_USE;
/* "job_" + 26 characters of Crockford base32: 48 bits of wall_ms, 80 random bits. out needs strlen(prefix) + 27. */
ee_status eei_make_id(const char *prefix, uint64_t wall_ms, char *out, size_t cap, ee_error *err) EE_MUST_USE;
typedef struct eei_utc {
    unsigned year, month, day, hour, minute, second; /* month and day from 1 */
} eei_utc;
/* Seconds since 1970; false when there is no such date, or it is before 1970. */
bool eei_unix_from_utc(const eei_utc *utc, uint64_t *unix_s);
/* "2026-01-31T13:04:11Z" or with .123; out is 32 bytes. */
char *eei_format_utc(uint64_t wall_ms, char out[32]);
/* RFC 3339 with Z only. */
ee_status eei_parse_utc(const char *text, uint64_t *wall_ms, ee_error *err) EE_MUST_USE;
#endif
