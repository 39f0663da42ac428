/* json_pull.c - see json_pull.h. Every function leaves the cursor behind what it read or marks the failure, which is final.
 * Called through json_pull.h and by the fuzzer. Spec: RFC 8259. */
#include "json_pull.h"

#include <string.h>

void eei_pull_begin(eei_pull *p, ee_span text) {
    p->text = text;
    p->at = p->depth = 0;
    p->why = NULL;
    p->failed_as = EE_OK;
}

static void fail_as(eei_pull *p, ee_status st, const char *why) {
    if (p->why) return;
    p->why = why;
    p->failed_as = st;
}

static void fail(eei_pull *p, const char *why) { fail_as(p, EE_E_MALFORMED, why); }

/* The byte at the cursor; 0, which no JSON has outside of nothing, at the end. */
static uint8_t here(const eei_pull *p) { return p->at < p->text.len ? p->text.data[p->at] : 0; }

static void white_space(eei_pull *p) {
    for (uint8_t c = here(p); c == ' ' || c == '\n' || c == '\r' || c == '\t'; c = here(p)) p->at++;
}

/* White space, then exactly this byte. */
static bool take(eei_pull *p, uint8_t c, const char *why) {
    white_space(p);
    if (!p->why && here(p) == c) {
        p->at++;
        return true;
    }
    fail(p, why);
    return false;
}

/* ---- nesting ---- */

static void enter(eei_pull *p) {
    if (p->why) return;
    if (p->depth == EEI_JSON_DEPTH_MAX) {
        fail(p, "is nested more than 16 deep");
        return;
    }
    p->levels[p->depth].first = true;
    p->levels[p->depth].count = 0;
    p->depth++;
}

/* True when another element follows; false at the end, which is passed. */
static bool more(eei_pull *p, uint8_t close) {
    if (p->why) return false;
    eei_pull_level *level = &p->levels[p->depth - 1];
    white_space(p);
    if (here(p) == close) {
        p->at++;
        p->depth--;
        return false;
    }
    if (!level->first && !take(p, ',', "lacks a comma or an end")) return false;
    level->first = false;
    return true;
}

void eei_pull_object(eei_pull *p) {
    if (take(p, '{', "is not an object where one must be")) enter(p);
}

void eei_pull_array(eei_pull *p) {
    if (take(p, '[', "is not an array where one must be")) enter(p);
}

bool eei_pull_item(eei_pull *p) { return more(p, ']'); }

/* ---- strings ---- */

static const char bad_escape[] = "has a string with an escape that means no character";

/* From behind the opening quote to past the closing one; the bytes between. *plain: no escapes. Control characters and bad UTF-8 fail. */
static ee_span raw_string(eei_pull *p, bool *plain) {
    size_t start = p->at;
    bool high = false;
    *plain = true;
    for (;; p->at++) {
        uint8_t c = here(p);
        if (c == '"') break;
        if (c < 0x20) {
            fail(p, "has a string that does not end, or a control character in it");
            return (ee_span){NULL, 0};
        }
        if (c >= 0x80) high = true;
        if (c != '\\') continue;
        *plain = false;
        p->at++; /* what follows a backslash is no closing quote; unescape() looks at it */
        if (p->at >= p->text.len) p->at = p->text.len - 1;
    }
    ee_span raw = eei_span(p->text.data + start, p->at - start);
    p->at++;
    if (high && !eei_utf8_valid(raw)) fail(p, "has a string that is not UTF-8");
    return p->why ? (ee_span){NULL, 0} : raw;
}

static int hex4(const uint8_t *at) {
    int v = 0;
    for (size_t i = 0; i < 4; i++) {
        uint8_t c = at[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        v = v << 4 | digit;
    }
    return v;
}

static size_t put_utf8(uint8_t *out, unsigned c) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, c >>= 6) out[i] = (uint8_t)(0x80 | (c & 0x3f));
    out[0] = (uint8_t)((0xf00u >> len) | c);
    return len;
}

/* \uXXXX, or a pair of them; at points behind the u. Returns the bytes read, 0 when it is no character. */
static size_t unicode_escape(const uint8_t *at, size_t left, unsigned *c) {
    int high = left >= 4 ? hex4(at) : -1, low = -1;
    if (high <= 0 || (high >= 0xdc00 && high <= 0xdfff)) return 0; /* NUL, too: our strings end with one */
    *c = (unsigned)high;
    if (high < 0xd800 || high > 0xdbff) return 4;
    if (left >= 10 && at[4] == '\\' && at[5] == 'u') low = hex4(at + 6);
    if (low < 0xdc00 || low > 0xdfff) return 0;
    *c = 0x10000 + (((unsigned)high - 0xd800) << 10 | ((unsigned)low - 0xdc00));
    return 10;
}

/* One escape, at points to its backslash. Returns the bytes read, 0 when it means no character. */
static size_t escape(const uint8_t *at, size_t left, uint8_t out[4], size_t *out_len) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint8_t c = left > 1 ? at[1] : 0;
    unsigned wide = 0;
    const char *known = c && c != 'u' ? strchr(from, c) : NULL;
    if (known) {
        out[0] = (uint8_t)to[known - from];
        *out_len = 1;
        return 2;
    }
    size_t taken = c == 'u' ? unicode_escape(at + 2, left - 2, &wide) : 0;
    *out_len = taken ? put_utf8(out, wide) : 0;
    return taken ? taken + 2 : 0;
}

/* Escapes away, into out, which has room for all of raw: no escape is shorter than what it means. Its length; SIZE_MAX on a bad escape.
 * out NULL: only looked at. */
static size_t unescape(ee_span raw, uint8_t *out) {
    uint8_t bytes[4];
    size_t len = 0, n = 0;
    for (size_t i = 0; i < raw.len;) {
        const uint8_t *stop = memchr(raw.data + i, '\\', raw.len - i);
        size_t run = stop ? (size_t)(stop - raw.data) - i : raw.len - i;
        if (out && run) memcpy(out + len, raw.data + i, run);
        len += run;
        i += run;
        if (!stop) break;
        size_t taken = escape(raw.data + i, raw.len - i, bytes, &n);
        if (!taken) return SIZE_MAX;
        if (out) memcpy(out + len, bytes, n);
        len += n;
        i += taken;
    }
    return len;
}

ee_span eei_pull_text(eei_pull *p, eei_arena *arena) {
    bool plain;
    if (!take(p, '"', "is not a string where one must be")) return (ee_span){NULL, 0};
    ee_span raw = raw_string(p, &plain);
    if (p->why || plain) return raw;
    uint8_t *out = eei_arena_alloc(arena, raw.len);
    if (!out) {
        fail_as(p, eei_arena_error(arena, NULL), "has strings with escapes that need more memory than there is for them");
        return (ee_span){NULL, 0};
    }
    size_t len = unescape(raw, out);
    if (len == SIZE_MAX) fail(p, bad_escape);
    return p->why ? (ee_span){NULL, 0} : eei_span(out, len);
}

bool eei_pull_member(eei_pull *p, ee_span *name) {
    bool plain;
    if (!more(p, '}') || !take(p, '"', "lacks the name of a member")) return false;
    eei_pull_level *level = &p->levels[p->depth - 1];
    *name = raw_string(p, &plain);
    if (!plain) fail(p, "has an escape in a name");
    for (size_t i = 0; !p->why && i < level->count; i++)
        if (eei_span_equal(level->names[i], *name)) fail(p, "has a name twice in one object");
    if (level->count == EEI_PULL_MEMBERS_MAX) fail(p, "has an object of more than 32 members");
    if (!take(p, ':', "lacks a colon")) return false;
    level->names[level->count++] = *name;
    return true;
}

/* ---- the rest ---- */

uint64_t eei_pull_u64(eei_pull *p) {
    static const char why[] = "is not a whole number from 0 where one must be";
    uint64_t v = 0;
    white_space(p);
    size_t start = p->at;
    for (uint8_t c = here(p); !p->why && c >= '0' && c <= '9'; c = here(p)) {
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(c - '0'), &v)) fail(p, why);
        p->at++;
    }
    size_t digits = p->at - start;
    uint8_t next = here(p);
    if (!digits || (digits > 1 && p->text.data[start] == '0') || next == '.' || next == 'e' || next == 'E') fail(p, why);
    return p->why ? 0 : v;
}

static const char no_value[] = "has something that is no value";

static void word(eei_pull *p, const char *text) {
    size_t len = strlen(text);
    if (p->text.len - p->at < len || memcmp(p->text.data + p->at, text, len))
        fail(p, no_value);
    else
        p->at += len;
}

/* Not recursive: how deep it goes is counted, and the levels say what each one is. */
void eei_pull_skip(eei_pull *p) {
    bool object[EEI_JSON_DEPTH_MAX + 1] = {false}, plain;
    size_t base = p->depth;
    ee_span name, raw;
    do {
        white_space(p);
        switch (p->why ? 0 : here(p)) {
        case '{':
            eei_pull_object(p);
            object[p->depth] = true;
            break;
        case '[':
            eei_pull_array(p);
            object[p->depth] = false;
            break;
        case '"':
            p->at++;
            raw = raw_string(p, &plain);
            if (!plain && unescape(raw, NULL) == SIZE_MAX) fail(p, bad_escape);
            break;
        case 't': word(p, "true"); break;
        case 'f': word(p, "false"); break;
        case 'n': word(p, "null"); break;
        default:
            if (here(p) != '-' && (here(p) < '0' || here(p) > '9')) fail(p, no_value);
            if (here(p) == '-') p->at++;
            (void)eei_pull_u64(p);
        }
        while (!p->why && p->depth > base && !(object[p->depth] ? eei_pull_member(p, &name) : eei_pull_item(p))) {
        }
    } while (!p->why && p->depth > base);
}

ee_status eei_pull_error(const eei_pull *p, ee_error *err) {
    if (!p->why) return EE_OK;
    if (p->failed_as == EE_E_NOMEM) return eei_nomem(err);
    eei_fail(err, p->failed_as, "JSON %s, at offset %zu", p->why, p->at);
    if (err) err->offset_bytes = p->at;
    return p->failed_as;
}

ee_status eei_pull_end(eei_pull *p, ee_error *err) {
    white_space(p);
    if (!p->why && (p->depth || p->at != p->text.len)) fail(p, "goes on after its end");
    return eei_pull_error(p, err);
}
