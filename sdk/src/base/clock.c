/* clock.c - system time, randomness, ids and UTC text. Not for deadlines inside pure code, which gets now as an argument.
 * Called by net, client and server. No gmtime: it is not thread-safe and knows time zones we do not want. */
#include "clock.h"

#include "buf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t now_us(clockid_t id) {
    struct timespec t = {0};
    EE_ASSERT(clock_gettime(id, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

uint64_t eei_mono_us(void) { return now_us(CLOCK_MONOTONIC); }
uint64_t eei_mono_ms(void) { return eei_mono_us() / 1000u; }
uint64_t eei_wall_ms(void) { return now_us(CLOCK_REALTIME) / 1000u; }

static uint64_t system_mono(void *user) { return (void)user, eei_mono_ms(); }
static uint64_t system_wall(void *user) { return (void)user, eei_wall_ms(); }

const eei_clock *eei_clock_system(void) {
    static const eei_clock system_clock = {system_mono, system_wall, NULL};
    return &system_clock;
}

ee_status eei_random(void *out, size_t len, ee_error *err) {
    uint8_t *at = out;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return eei_fail_errno(err, EE_E_IO, n < 0 ? errno : EIO, "no randomness from the system");
        at += n;
        len -= (size_t)n;
    }
    return EE_OK;
}

enum { ID_CHARS = 26, ID_RANDOM_BYTES = 10 };

ee_status eei_make_id(const char *prefix, uint64_t wall_ms, char *out, size_t cap, ee_error *err) {
    static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; /* Crockford: no I, L, O, U */
    uint8_t bits[16];
    size_t at = strlen(prefix);
    if (cap < at + ID_CHARS + 1) return eei_fail(err, EE_E_INTERNAL, "an id needs %zu bytes, has %zu", at + ID_CHARS + 1, cap);
    for (size_t i = 0; i < 6; i++) bits[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
    ee_status st = eei_random(bits + 6, ID_RANDOM_BYTES, err);
    if (st) return st;
    memcpy(out, prefix, at);
    unsigned held = 0, count = 2; /* 26 characters hold 130 bits: the first two are zero */
    for (size_t i = 0; i < sizeof bits; i++) {
        held = held << 8 | bits[i];
        for (count += 8; count >= 5; count -= 5) out[at++] = alphabet[held >> (count - 5) & 31u];
        held &= 31u;
    }
    out[at] = '\0';
    return EE_OK;
}

typedef struct civil {
    uint64_t year;
    unsigned month, day;
} civil;

/* Days since 1970-01-01 to a date and back, on years that start in March, so that the leap day comes last.
 * Spec: proleptic Gregorian calendar, RFC 3339 appendix B for the other direction's idea. */
static civil civil_from_days(uint64_t days) {
    days += 719468; /* 0000-03-01 */
    uint64_t era = days / 146097;
    unsigned of_era = (unsigned)(days % 146097);
    unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
    unsigned m = (5 * of_year + 2) / 153;
    civil c = {year + era * 400, m < 10 ? m + 3 : m - 9, of_year - (153 * m + 2) / 5 + 1};
    c.year += c.month <= 2;
    return c;
}

static uint64_t days_from_civil(civil c) {
    uint64_t y = c.year - (c.month <= 2);
    uint64_t of_era = y % 400;
    unsigned m = c.month > 2 ? c.month - 3 : c.month + 9;
    uint64_t of_year = (153 * m + 2) / 5 + c.day - 1;
    return y / 400 * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

char *eei_format_utc(uint64_t wall_ms, char out[32]) {
    civil c = civil_from_days(wall_ms / 86400000u);
    unsigned ms = (unsigned)(wall_ms % 86400000u);
    int n = snprintf(out, 32, "%04u-%02u-%02uT%02u:%02u:%02u", (unsigned)c.year, c.month % 100, c.day % 100, ms / 3600000 % 100,
                     ms / 60000 % 60, ms / 1000 % 60);
    if (ms % 1000)
        snprintf(out + n, 32 - (size_t)n, ".%03uZ", ms % 1000);
    else
        snprintf(out + n, 32 - (size_t)n, "Z");
    return out;
}

static unsigned days_in_month(uint64_t year, unsigned month) {
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

bool eei_unix_from_utc(const eei_utc *t, uint64_t *unix_s) {
    bool ok = t->year >= 1970 && t->year <= 9999 && t->month >= 1 && t->month <= 12 && t->hour <= 23 && t->minute <= 59 && t->second <= 59;
    if (!ok || t->day < 1 || t->day > days_in_month(t->year, t->month)) return false;
    civil c = {t->year, t->month, t->day};
    *unix_s = days_from_civil(c) * 86400u + t->hour * 3600u + t->minute * 60u + t->second;
    return true;
}

/* `count` digits at *p; -1 if there are not so many. The NUL is not a digit, so this stops at the end. */
static int digits(const char **p, int count) {
    int v = 0;
    for (int i = 0; i < count; i++, (*p)++) {
        if (**p < '0' || **p > '9') return -1;
        v = v * 10 + (**p - '0');
    }
    return v;
}

static bool literal(const char **p, char c) { return **p == c ? ((*p)++, true) : false; }

ee_status eei_parse_utc(const char *text, uint64_t *wall_ms, ee_error *err) {
    const char *p = text ? text : "";
    int year = digits(&p, 4), month = -1, day = -1, hour = -1, minute = -1, second = -1;
    unsigned ms = 0;
    *wall_ms = 0;
    if (year >= 0 && literal(&p, '-')) month = digits(&p, 2);
    if (month >= 0 && literal(&p, '-')) day = digits(&p, 2);
    if (day >= 0 && literal(&p, 'T')) hour = digits(&p, 2);
    if (hour >= 0 && literal(&p, ':')) minute = digits(&p, 2);
    if (minute >= 0 && literal(&p, ':')) second = digits(&p, 2);
    bool ok = second >= 0;
    if (ok && literal(&p, '.')) {
        unsigned scale = 100;
        ok = *p >= '0' && *p <= '9';
        for (int i = 0; i < 9 && *p >= '0' && *p <= '9'; i++, p++, scale /= 10) ms += scale * (unsigned)(*p - '0');
    }
    ok = ok && literal(&p, 'Z') && *p == '\0';
    const eei_utc t = {(unsigned)year, (unsigned)month, (unsigned)day, (unsigned)hour, (unsigned)minute, (unsigned)second};
    uint64_t unix_s = 0;
    if (!ok || !eei_unix_from_utc(&t, &unix_s)) {
        eei_fail(err, EE_E_MALFORMED, "a time must look like 2026-01-31T13:04:11Z and be after 1970, this is \"%.40s\"", text ? text : "");
        if (err) err->offset_bytes = text ? (uint64_t)(p - text) : 0;
        return EE_E_MALFORMED;
    }
    *wall_ms = unix_s * 1000u + ms;
    return EE_OK;
}
