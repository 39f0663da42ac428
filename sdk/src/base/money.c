/* money.c - amounts of money as people write and read them. Not for arithmetic on balances (the control plane's ledger does that, checked).
 * Called by the public API, the CLI, and the JSON edge. Exact: no floating point comes near. */
#include "error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DECIMALS = 6, SHOWN_BYTES_MAX = 40 };

#define MICROS_PER_USD INT64_C(1000000)

static ee_status refuse(ee_error *err, const char *text, size_t at, const char *why) {
    if (!err) return EE_E_INVALID_AMOUNT;
    const char *cut = strlen(text) > SHOWN_BYTES_MAX ? "..." : "";
    eei_fail(err, EE_E_INVALID_AMOUNT, "amount \"%.*s%s\": %s, at position %zu", SHOWN_BYTES_MAX, text, cut, why, at + 1);
    err->offset_bytes = at;
    return eei_hint(err, EE_E_INVALID_AMOUNT, "write dollars with at most 6 decimals, like \"$200\", \"200.50 USD\" or \"0.000001\"");
}

/* Why the byte at the place where digits, a point or the end belong is not right. */
static const char *reason_for(const char *at) {
    switch (*at) {
    case '\0': return "a digit is missing";
    case '-': return "a minus sign is not allowed, amounts are positive";
    case '+': return "a plus sign is not allowed";
    case ',':
    case '_':
    case '\'': return "separators are not allowed, write 1000 for a thousand and a point for decimals";
    case 'e':
    case 'E': return "exponents are not allowed";
    case '.': return "a point needs digits on both sides and may come once";
    case '$': return "the dollar sign may stand once, in front";
    case ' ': return "spaces are not allowed, other than one before USD";
    default: break;
    }
    if ((unsigned char)*at >= 0x80) return "only ASCII digits are allowed";
    return "expected only digits, a point, or one space and USD";
}

static int is_digit(char c) { return c >= '0' && c <= '9'; }

/* Digits at *at, value added to *value as value * 10 + digit; at most `most` of them. 0 on overflow. */
static int take_digits(const char *text, size_t *at, size_t most, int64_t *value) {
    int fits = 1;
    for (size_t n = 0; n < most && is_digit(text[*at]); n++, (*at)++)
        if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, text[*at] - '0', value)) fits = 0;
    return fits;
}

/* The rest after the number is neither empty nor " USD": find the first byte that is wrong. */
static ee_status refuse_rest(ee_error *err, const char *text, size_t at) {
    if (text[at] != ' ' && strncmp(text + at, "USD", 3) != 0) return refuse(err, text, at, reason_for(text + at));
    if (text[at] != ' ') return refuse(err, text, at, "one space belongs before USD");
    if (text[at + 1] == '\0') return refuse(err, text, at, reason_for(text + at));
    at++;
    if (strncmp(text + at, "USD", 3) == 0) return refuse(err, text, at + 3, "nothing may follow USD");
    if (text[at] >= 'A' && text[at] <= 'z') return refuse(err, text, at, "the only currency is USD, in capitals");
    return refuse(err, text, at, reason_for(text + at));
}

ee_status ee_money_parse(const char *text, ee_money *out, ee_error *err) {
    *out = 0;
    if (!text) return refuse(err, "", 0, "there is no text");
    size_t at = text[0] == '$';
    const size_t start = at;
    int64_t value = 0;
    if (!is_digit(text[at])) return refuse(err, text, at, reason_for(text + at));
    int fits = take_digits(text, &at, SIZE_MAX, &value);
    size_t decimals = 0;
    if (text[at] == '.') {
        const size_t point = at++;
        if (!is_digit(text[at])) return refuse(err, text, at, text[at] ? reason_for(text + at) : "digits are missing after the point");
        fits &= take_digits(text, &at, DECIMALS, &value);
        decimals = at - point - 1;
        if (is_digit(text[at])) return refuse(err, text, at, "at most 6 decimals are allowed");
    }
    for (; decimals < DECIMALS; decimals++)
        if (__builtin_mul_overflow(value, 10, &value)) fits = 0;
    if (strcmp(text + at, " USD") != 0 && text[at] != '\0') return refuse_rest(err, text, at);
    if (!fits) return refuse(err, text, start, "the largest amount is 9223372036854.775807");
    if (value == 0) return refuse(err, text, start, "zero is not an amount");
    *out = value;
    return EE_OK;
}

char *ee_money_format(ee_money amount, char buf[32]) {
    uint64_t micros = amount < 0 ? UINT64_C(0) - (uint64_t)amount : (uint64_t)amount; /* INT64_MIN has no positive twin */
    int n = snprintf(buf, 32, "%s$%" PRIu64 ".%06" PRIu64, amount < 0 ? "-" : "", micros / (uint64_t)MICROS_PER_USD,
                     micros % (uint64_t)MICROS_PER_USD);
    for (int cut = 0; cut < DECIMALS - 2 && buf[n - 1] == '0'; cut++) buf[--n] = '\0';
    return buf;
}
