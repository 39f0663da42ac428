/* measure.c - times and sizes as people write them. Exact, no floating point; not for money (money.c) and not for dates.
 * Called by the public API, the CLI and the Python binding, which thereby take the same texts. */
#include "error.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum { DECIMALS = 9, SHOWN_BYTES_MAX = 40 };

#define ONE_WHOLE       UINT64_C(1000000000) /* of DECIMALS */
#define DURATION_MS_MAX UINT64_C(10000000000000)
#define SIZE_BYTES_MAX  (UINT64_MAX / 2) /* what fits into int64_t, too */

#define DURATION_HINT "write it like 90s, 10m, 1h30m, 1.5h or 500ms; a number alone is seconds"
#define SIZE_HINT     "write it like 512M, 2G or 1.5GiB; K, M, G and T are powers of 1024, a number alone is bytes"

typedef struct number {
    uint64_t whole, part; /* part of ONE_WHOLE */
    bool fits;
} number;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* "12", "1.5"; at most 9 decimals. The byte after it, NULL when it is no number. */
static const char *take_number(const char *at, number *out) {
    uint64_t unit = ONE_WHOLE;
    *out = (number){.fits = true};
    if (!is_digit(*at)) return NULL;
    for (; is_digit(*at); at++)
        if (__builtin_mul_overflow(out->whole, 10, &out->whole) || __builtin_add_overflow(out->whole, (uint64_t)(*at - '0'), &out->whole))
            out->fits = false;
    if (*at != '.') return at;
    if (!is_digit(*++at)) return NULL;
    for (; is_digit(*at); at++) {
        unit /= 10;
        if (!unit) return NULL;
        out->part += unit * (uint64_t)(*at - '0');
    }
    return at;
}

/* n * unit added to *sum; *rest is what is left of one. False when it is too large. */
static bool add_units(number n, uint64_t unit, uint64_t *sum, uint64_t *rest) {
    const uint64_t part = n.part * (unit % ONE_WHOLE); /* what a unit has of whole ones is exact without it */
    uint64_t whole;
    if (!n.fits || __builtin_mul_overflow(n.whole, unit, &whole)) return false;
    *rest = part % ONE_WHOLE;
    return !__builtin_add_overflow(whole, n.part * (unit / ONE_WHOLE) + part / ONE_WHOLE, &whole) &&
           !__builtin_add_overflow(*sum, whole, sum);
}

static ee_status refuse(ee_error *err, const char *text, const char *why, const char *hint) {
    const char *cut = strlen(text) > SHOWN_BYTES_MAX ? "..." : "";
    return eei_hint(err, eei_fail(err, EE_E_INVALID, "\"%.*s%s\" %s", SHOWN_BYTES_MAX, text, cut, why), "%s", hint);
}

ee_status ee_duration_parse(const char *text, uint64_t *out_ms, ee_error *err) {
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    enum { UNITS = sizeof units / sizeof *units };
    uint64_t sum = 0, rest = 0;
    const char *at = text ? text : "";
    *out_ms = 0;
    if (!*at) return refuse(err, "", "is not a time", DURATION_HINT);
    for (size_t next = 0; *at;) {
        number n;
        const char *unit = take_number(at, &n);
        if (!unit) return refuse(err, text, "is not a time", DURATION_HINT);
        const size_t len = strspn(unit, "hms");
        size_t i = next;
        while (i < UNITS && !(strlen(units[i].name) == len && strncmp(units[i].name, unit, len) == 0)) i++;
        if (i == UNITS && at == text && !*unit) i = 2; /* a number alone */
        if (i == UNITS) return refuse(err, text, "is not a time", DURATION_HINT);
        if (!add_units(n, units[i].ms, &sum, &rest) || __builtin_add_overflow(sum, rest != 0, &sum) || sum >= DURATION_MS_MAX)
            return refuse(err, text, "is longer than can be", "less than 10,000,000,000 s");
        next = i + 1;
        at = unit + len;
    }
    if (!sum) return refuse(err, text, "is no time at all; it must be above zero", DURATION_HINT);
    *out_ms = sum;
    return EE_OK;
}

ee_status ee_size_parse(const char *text, uint64_t *out_bytes, ee_error *err) {
    static const char letters[] = "KMGT";
    number n;
    uint64_t sum = 0, rest = 0;
    unsigned shift = 0;
    *out_bytes = 0;
    const char *at = take_number(text ? text : "", &n);
    if (!at) return refuse(err, text ? text : "", "is not a size", SIZE_HINT);
    for (size_t i = 0; *at && i < sizeof letters - 1; i++)
        if (strncasecmp(at, letters + i, 1) == 0) shift = 10 * ((unsigned)i + 1);
    if (shift) at++;
    if (*at && strcasecmp(at, "B") != 0 && (!shift || strcasecmp(at, "iB") != 0)) return refuse(err, text, "is not a size", SIZE_HINT);
    if (!add_units(n, UINT64_C(1) << shift, &sum, &rest) || sum > SIZE_BYTES_MAX)
        return refuse(err, text, "is larger than can be", "less than 8,388,608T");
    if (rest) return refuse(err, text, "is not a whole number of bytes", SIZE_HINT);
    if (!sum) return refuse(err, text, "is nothing; it must be above zero", SIZE_HINT);
    *out_bytes = sum;
    return EE_OK;
}
