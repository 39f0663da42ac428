/* chain.c - see chain.h. PEM has many forms that mean one thing; this reads one of them, so that no two texts give the same chain but for
 * line ends. Called through chain.h. Spec: RFC 7468, strict form. */
#include "attest/chain.h"

#include <string.h>

enum { PEM_LINE_MAX = 76 };

typedef struct pem_text {
    const uint8_t *at, *end;
} pem_text;

static bool take(pem_text *t, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(t->end - t->at) < len || memcmp(t->at, word, len)) return false;
    t->at += len;
    return true;
}

static bool take_eol(pem_text *t) { return take(t, "\n") || take(t, "\r\n"); }

/* One more than the value of a base64 digit; 0 for everything else, so that what is not in the table is refused. RFC 4648 sect. 4. */
enum { B64_PAD = 65 };
static const uint8_t base64_digits[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,  ['I'] = 9,  ['J'] = 10,      ['K'] = 11,
    ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21,      ['V'] = 22,
    ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,      ['g'] = 33,
    ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42, ['q'] = 43,      ['r'] = 44,
    ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54,      ['2'] = 55,
    ['3'] = 56, ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64, ['='] = B64_PAD,
};

/* Four digits of one line into three bytes; false when they are not that plain, and nothing is taken. */
static bool take_quad(pem_text *t, uint8_t *out) {
    if (t->end - t->at < 4) return false;
    uint32_t a = base64_digits[t->at[0]] - 1u, b = base64_digits[t->at[1]] - 1u, c = base64_digits[t->at[2]] - 1u,
             d = base64_digits[t->at[3]] - 1u;
    if ((a | b | c | d) > 63) return false;
    uint32_t held = a << 18 | b << 12 | c << 6 | d;
    out[0] = (uint8_t)(held >> 16);
    out[1] = (uint8_t)(held >> 8);
    out[2] = (uint8_t)held;
    t->at += 4;
    return true;
}

/* The base64 lines of one certificate, as bytes into out, which has room for 3/4 of what is left of the text. */
static ee_status take_base64(pem_text *t, uint8_t *out, size_t *len, ee_error *err) {
    size_t line = 0, pads = 0, chars = 0;
    uint32_t held = 0;
    for (*len = 0; t->at < t->end && *t->at != '-';) {
        if (line && take_eol(t)) {
            line = 0;
            continue;
        }
        if (chars % 4 == 0 && !pads && line + 4 <= PEM_LINE_MAX && take_quad(t, out + *len)) {
            *len += 3;
            line += 4;
            continue;
        }
        uint8_t c = *t->at++, digit = base64_digits[c];
        if (digit == B64_PAD ? ++pads > 2 : pads || !digit) return eei_fail(err, EE_E_MALFORMED, "PEM has a byte 0x%02x out of place", c);
        if (++line > PEM_LINE_MAX) return eei_fail(err, EE_E_MALFORMED, "PEM line is over %d characters", PEM_LINE_MAX);
        held = held << 6 | (digit == B64_PAD ? 0u : digit - 1u);
        if (++chars % 4) continue;
        if (pads && held & (pads == 1 ? 0xffu : 0xffffu)) return eei_fail(err, EE_E_MALFORMED, "PEM certificate has stray bits at its end");
        for (size_t i = 0; i < 3 - pads; i++) out[(*len)++] = (uint8_t)(held >> (16 - 8 * i));
        held = 0;
    }
    if (line || chars % 4) return eei_fail(err, EE_E_MALFORMED, "PEM certificate is cut or badly ended");
    return EE_OK;
}

static ee_status take_certificate(pem_text *t, eei_chain *chain, ee_error *err) {
    size_t len = 0;
    if (!take(t, "-----BEGIN CERTIFICATE-----") || !take_eol(t))
        return eei_fail(err, EE_E_MALFORMED, "PEM chain has something else than certificates");
    const uint8_t *stop = memchr(t->at, '-', (size_t)(t->end - t->at));
    size_t text = (size_t)((stop ? stop : t->end) - t->at);
    uint8_t *der = eei_arena_alloc(&chain->arena, text / 4 * 3 + 3);
    if (!der) return eei_arena_error(&chain->arena, err);
    ee_status st = take_base64(t, der, &len, err);
    if (st) return st;
    if (!take(t, "-----END CERTIFICATE-----") || (t->at < t->end && !take_eol(t)))
        return eei_fail(err, EE_E_MALFORMED, "PEM certificate does not end properly");
    return eei_cert_parse(eei_span(der, len), &chain->certs[chain->count], err);
}

ee_status eei_chain_parse(ee_span pem, eei_chain *out, ee_error *err) {
    memset(out, 0, sizeof *out);
    out->arena = (eei_arena)EEI_ARENA_INIT(2 * EEI_PEM_CHAIN_BYTES_MAX);
    if (pem.len > EEI_PEM_CHAIN_BYTES_MAX)
        return eei_fail(err, EE_E_LIMIT, "PEM chain is %zu bytes, limit %d", pem.len, EEI_PEM_CHAIN_BYTES_MAX);
    if (!pem.len) return eei_fail(err, EE_E_MALFORMED, "PEM chain is empty");
    if (pem.data[pem.len - 1] == 0) pem.len--; /* DCAP's own quotes end the chain with one NUL */
    pem_text t = {pem.data, pem.data + pem.len};
    ee_status st = EE_OK;
    while (!st) {
        while (take_eol(&t)) {
        }
        if (t.at == t.end) break;
        if (out->count == EEI_CHAIN_CERTS_MAX) {
            st = eei_fail(err, EE_E_LIMIT, "PEM chain has more than %d certificates", EEI_CHAIN_CERTS_MAX);
            break;
        }
        st = take_certificate(&t, out, err);
        if (!st) out->count++;
    }
    if (!st && !out->count) st = eei_fail(err, EE_E_MALFORMED, "PEM chain has no certificate");
    if (st) eei_chain_clear(out);
    return st;
}

const eei_cert *eei_chain_root(const eei_chain *chain) { return chain->count ? &chain->certs[chain->count - 1] : NULL; }

bool eei_chain_same(const eei_chain *a, const eei_chain *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++)
        if (!eei_span_equal(a->certs[i].der, b->certs[i].der)) return false;
    return true;
}

void eei_chain_clear(eei_chain *chain) {
    eei_arena_clear(&chain->arena);
    memset(chain, 0, sizeof *chain);
}
