/* toml.c - the strict subset of TOML our files use, as JSON with a line for every key. Not a general TOML parser: what is not in
 * the subset is refused by name, so that a setting is never read differently than it was meant. Called by policy and configuration. */
#include "toml.h"

#include "alloc.h"
#include "file.h"
#include "limits.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    TOML_BYTES_MAX = 1 << 20,
    PATH_BYTES_MAX = 512,
    KEY_BYTES_MAX = 128,
    STRING_BYTES_MAX = 65536,
    ARRAY_ITEMS_MAX = 4096,
    HEADER_DEPTH_MAX = 8,
    LINES_MAX = 16384
};

typedef struct line_entry {
    char *path;
    unsigned line;
} line_entry;

struct eei_toml {
    char *name;
    json_t *root;
    line_entry *lines; /* where each key and table was written */
    size_t line_count, line_cap;
    unsigned last_line;
};

typedef struct parser {
    const char *at, *end, *begin;
    unsigned line;
    eei_toml *toml;
    json_t *table;             /* where "key = value" goes now; borrowed from the root */
    char path[PATH_BYTES_MAX]; /* of that table, "" for the root */
    const char *key;           /* whose value is being read; NULL between */
    ee_error *err;
} parser;

/* ---- errors and lines ---- */

static ee_status fail_here(parser *p, const char *format, ...) EEI_PRINTF(2, 3);
static ee_status fail_here(parser *p, const char *format, ...) {
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (p->key)
        eei_fail(p->err, EE_E_CONFIG, "%s:%u: key \"%s\": %s", p->toml->name, p->line, p->key, what);
    else
        eei_fail(p->err, EE_E_CONFIG, "%s:%u: %s", p->toml->name, p->line, what);
    if (p->err) p->err->offset_bytes = (uint64_t)(p->at - p->begin);
    return EE_E_CONFIG;
}

static ee_status note_line(parser *p, const char *path) {
    eei_toml *t = p->toml;
    if (t->line_count >= LINES_MAX) return fail_here(p, "more than %d keys and tables", LINES_MAX);
    if (t->line_count == t->line_cap) {
        size_t cap = t->line_cap ? t->line_cap * 2 : 32, bytes = 0;
        if (!eei_mul_size(&bytes, cap, sizeof *t->lines)) return eei_nomem(p->err);
        line_entry *grown = eei_realloc(t->lines, bytes);
        if (!grown) return eei_nomem(p->err);
        t->lines = grown;
        t->line_cap = cap;
    }
    char *copy = eei_strdup(path);
    if (!copy) return eei_nomem(p->err);
    t->lines[t->line_count++] = (line_entry){copy, p->line};
    return EE_OK;
}

unsigned eei_toml_line(const eei_toml *toml, const char *path) {
    for (size_t i = 0; i < toml->line_count; i++)
        if (strcmp(toml->lines[i].path, path) == 0) return toml->lines[i].line;
    return 0;
}

/* path of `key` in `table`; EE_E_CONFIG when the names together are too long. A key with a dot keeps its quotes: a."b.c" is not a.b.c. */
static ee_status join(parser *p, char out[PATH_BYTES_MAX], const char *table, const char *key) {
    const char *quote = strchr(key, '.') ? "\"" : "";
    int n = snprintf(out, PATH_BYTES_MAX, "%s%s%s%s%s", table, *table ? "." : "", quote, key, quote);
    return n < 0 || n >= PATH_BYTES_MAX ? fail_here(p, "the names are longer than %d bytes together", PATH_BYTES_MAX - 1) : EE_OK;
}

/* ---- characters ---- */

static char peek(const parser *p) { return p->at < p->end ? *p->at : '\0'; } /* a NUL in the text is refused before parsing */

static void skip_blank(parser *p) {
    while (peek(p) == ' ' || peek(p) == '\t') p->at++;
}

static ee_status skip_comment(parser *p) {
    if (peek(p) != '#') return EE_OK;
    for (; p->at < p->end && *p->at != '\n'; p->at++) {
        unsigned char c = (unsigned char)*p->at;
        bool crlf = c == '\r' && p->end - p->at > 1 && p->at[1] == '\n';
        if ((c < 0x20 && c != '\t' && !crlf) || c == 0x7f) return fail_here(p, "control character 0x%02x in a comment", c);
    }
    return EE_OK;
}

/* Past one line end, "\n" or "\r\n". False if there is none here. */
static bool take_newline(parser *p) {
    if (peek(p) == '\r' && p->end - p->at > 1 && p->at[1] == '\n') p->at++;
    if (peek(p) != '\n') return false;
    p->at++;
    p->line++;
    return true;
}

static ee_status expect_line_end(parser *p, const char *after) {
    skip_blank(p);
    ee_status st = skip_comment(p);
    if (st || p->at == p->end || take_newline(p)) return st;
    return fail_here(p, "unexpected text after %s", after);
}

/* ---- values ---- */

static void put_utf8(char *out, size_t *len, uint32_t c) {
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    const unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    out[(*len)++] = (char)(lead[more] | c >> (6 * more));
    for (unsigned i = more; i > 0; i--) out[(*len)++] = (char)(0x80u | (c >> (6 * (i - 1)) & 0x3fu));
}

/* \uXXXX and \UXXXXXXXX, cursor past the u. */
static ee_status take_unicode(parser *p, int digits, char *out, size_t *len) {
    uint32_t c = 0;
    for (int i = 0; i < digits; i++) {
        char d = peek(p);
        bool number = d >= '0' && d <= '9', upper = d >= 'A' && d <= 'F', lower = d >= 'a' && d <= 'f';
        if (!number && !upper && !lower) return fail_here(p, "\\%c needs %d hex digits", digits == 4 ? 'u' : 'U', digits);
        c = c << 4 | (uint32_t)(number ? d - '0' : upper ? d - 'A' + 10 : d - 'a' + 10);
        p->at++;
    }
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return fail_here(p, "U+%04X is not a character", (unsigned)c);
    put_utf8(out, len, c);
    return EE_OK;
}

static ee_status take_escape(parser *p, char *out, size_t *len) {
    static const char from[] = "\"\\ntrbf", to[] = "\"\\\n\t\r\b\f";
    char c = peek(p);
    const char *known = c ? strchr(from, c) : NULL;
    if (known) {
        out[(*len)++] = to[known - from];
        p->at++;
        return EE_OK;
    }
    if (c == 'u' || c == 'U') {
        p->at++;
        return take_unicode(p, c == 'u' ? 4 : 8, out, len);
    }
    return fail_here(p, "unknown escape in a string; \\\" \\\\ \\n \\t \\r \\b \\f \\uXXXX \\UXXXXXXXX are known");
}

/* A basic string, cursor on the opening quote. out: at most cap - 1 bytes and a NUL. */
static ee_status take_string(parser *p, char *out, size_t cap) {
    size_t len = 0;
    if (p->end - p->at >= 3 && memcmp(p->at, "\"\"\"", 3) == 0) return fail_here(p, "multi-line strings are not supported");
    for (p->at++; peek(p) != '"';) {
        unsigned char c = (unsigned char)peek(p);
        if (c == '\0' || c == '\n' || c == '\r') return fail_here(p, "the string has no closing quote on this line");
        if ((c < 0x20 && c != '\t') || c == 0x7f) return fail_here(p, "control character 0x%02x in a string", c);
        if (len + 5 >= cap) return fail_here(p, "the string is longer than %zu bytes", cap - 5);
        p->at++;
        if (c != '\\') {
            out[len++] = (char)c;
            continue;
        }
        ee_status st = take_escape(p, out, &len);
        if (st) return st;
    }
    p->at++;
    out[len] = '\0';
    return EE_OK;
}

static ee_status string_value(parser *p, json_t **out) {
    char *text = eei_malloc(STRING_BYTES_MAX + 5);
    if (!text) return eei_nomem(p->err);
    ee_status st = take_string(p, text, STRING_BYTES_MAX + 5);
    if (!st && !(*out = json_string(text))) st = eei_nomem(p->err);
    eei_free(text);
    return st;
}

static bool bare_char(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; }

/* true, false or a whole number: one word, taken whole so that 12abc or 1.5 is one error and not two values. */
static ee_status word_value(parser *p, json_t **out) {
    const char *start = p->at, *c = start;
    while (c < p->end && (bare_char(*c) || *c == '.' || *c == '+' || *c == ':')) c++;
    const size_t len = (size_t)(c - start);
    if (len == 4 && memcmp(start, "true", 4) == 0) *out = json_true();
    if (len == 5 && memcmp(start, "false", 5) == 0) *out = json_false();
    if (*out) {
        p->at = c;
        return EE_OK;
    }
    const bool negative = len > 1 && *start == '-';
    const char *digit = start + negative;
    if (len == 0) return fail_here(p, "a value is missing or not supported here");
    if (*digit == '0' && c - digit > 1) return fail_here(p, "numbers are decimal, without leading zeros");
    int64_t v = 0;
    for (; digit < c; digit++) {
        if (*digit < '0' || *digit > '9')
            return fail_here(p, "\"%.*s\" is not a value; strings need quotes, numbers are whole and decimal", (int)(len < 40 ? len : 40),
                             start);
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, *digit - '0', &v))
            return fail_here(p, "the number is too large");
    }
    if (!negative && __builtin_sub_overflow((int64_t)0, v, &v)) return fail_here(p, "the number is too large");
    p->at = c;
    *out = json_integer(v);
    return *out ? EE_OK : eei_nomem(p->err);
}

static ee_status scalar_value(parser *p, json_t **out) {
    *out = NULL;
    switch (peek(p)) {
    case '"': return string_value(p, out);
    case '\'': return fail_here(p, "literal strings are not supported, use double quotes");
    case '{': return fail_here(p, "inline tables are not supported, use [table]");
    case '[': return fail_here(p, "arrays inside arrays are not supported");
    default: return word_value(p, out);
    }
}

/* Blanks, comments and line ends between the items of an array. */
static ee_status skip_space(parser *p) {
    do {
        skip_blank(p);
        ee_status st = skip_comment(p);
        if (st) return st;
    } while (take_newline(p));
    return EE_OK;
}

static ee_status array_value(parser *p, json_t **out) {
    json_t *item = NULL;
    *out = json_array();
    if (!*out) return eei_nomem(p->err);
    p->at++;
    for (;;) {
        ee_status st = skip_space(p);
        if (st) return st;
        if (peek(p) == ']') break;
        if (p->at == p->end) return fail_here(p, "the array has no closing bracket");
        if (json_array_size(*out) >= ARRAY_ITEMS_MAX) return fail_here(p, "more than %d items in an array", ARRAY_ITEMS_MAX);
        st = scalar_value(p, &item);
        if (st) return json_decref(item), st;
        if (json_array_append_new(*out, item)) return eei_nomem(p->err);
        st = skip_space(p);
        if (st) return st;
        if (peek(p) == ',')
            p->at++;
        else if (peek(p) != ']' && p->at < p->end)
            return fail_here(p, "expected a comma or a closing bracket in the array");
    }
    p->at++;
    return EE_OK;
}

/* ---- keys, tables ---- */

static ee_status take_key(parser *p, char out[KEY_BYTES_MAX]) {
    size_t len = 0;
    if (peek(p) == '"') {
        ee_status st = take_string(p, out, KEY_BYTES_MAX);
        return st ? st : *out ? EE_OK : fail_here(p, "a key must not be empty");
    }
    for (; bare_char(peek(p)); p->at++) {
        if (len + 1 >= KEY_BYTES_MAX) return fail_here(p, "the key is longer than %d bytes", KEY_BYTES_MAX - 1);
        out[len++] = *p->at;
    }
    out[len] = '\0';
    return len ? EE_OK : fail_here(p, "expected a key: letters, digits, _ and -, or a string in double quotes");
}

static ee_status key_line(parser *p) {
    char key[KEY_BYTES_MAX], path[PATH_BYTES_MAX];
    json_t *value = NULL;
    ee_status st = take_key(p, key);
    if (!st) st = join(p, path, p->path, key);
    if (st) return st;
    if (json_object_get(p->table, key)) return fail_here(p, "key \"%s\" is already there, line %u", key, eei_toml_line(p->toml, path));
    skip_blank(p);
    if (peek(p) == '.') return fail_here(p, "dotted keys are not supported, use [table]");
    if (peek(p) != '=') return fail_here(p, "expected = after key \"%s\"", key);
    p->at++;
    skip_blank(p);
    st = note_line(p, path);
    p->key = key;
    if (!st) st = peek(p) == '[' ? array_value(p, &value) : scalar_value(p, &value);
    if (!st) st = expect_line_end(p, "the value");
    p->key = NULL;
    if (st) return json_decref(value), st;
    return json_object_set_new(p->table, key, value) ? eei_nomem(p->err) : EE_OK;
}

static bool is_table_array(const json_t *value) {
    return json_is_array(value) && json_is_object(json_array_get(value, 0)); /* arrays of values hold no objects */
}

static ee_status add_object(parser *p, json_t *parent, const char *key, json_t **out) {
    *out = json_object();
    if (!*out || json_object_set_new(parent, key, *out)) return eei_nomem(p->err);
    return EE_OK;
}

/* One step into a header's path: table `key` of *table, made when absent; the last element of an array of tables. */
static ee_status step_into(parser *p, json_t **table, char path[PATH_BYTES_MAX], const char *key) {
    char joined[PATH_BYTES_MAX], index[24];
    ee_status st = join(p, joined, path, key);
    if (st) return st;
    json_t *next = json_object_get(*table, key);
    if (!next) st = add_object(p, *table, key, &next);
    if (st) return st;
    memcpy(path, joined, sizeof joined);
    if (is_table_array(next)) {
        const size_t last = json_array_size(next) - 1;
        snprintf(index, sizeof index, "%zu", last);
        st = join(p, joined, path, index);
        if (st) return st;
        memcpy(path, joined, sizeof joined);
        next = json_array_get(next, last);
    }
    if (!json_is_object(next)) return fail_here(p, "\"%s\" is a value, not a table, line %u", key, eei_toml_line(p->toml, path));
    *table = next;
    return EE_OK;
}

static ee_status enter_table(parser *p, json_t *parent, char path[PATH_BYTES_MAX], const char *key) {
    if (is_table_array(json_object_get(parent, key))) return fail_here(p, "\"%s\" is an array of tables, write [[%s]]", key, key);
    ee_status st = step_into(p, &parent, path, key);
    if (st) return st;
    unsigned before = eei_toml_line(p->toml, path);
    if (before) return fail_here(p, "table \"%s\" is already there, line %u", path, before);
    p->table = parent;
    memcpy(p->path, path, PATH_BYTES_MAX);
    return note_line(p, path);
}

static ee_status enter_array(parser *p, json_t *parent, char path[PATH_BYTES_MAX], const char *key) {
    char joined[PATH_BYTES_MAX], index[24];
    json_t *array = json_object_get(parent, key);
    if (array && !is_table_array(array)) return fail_here(p, "\"%s\" is already there and is not an array of tables", key);
    if (!array) {
        array = json_array();
        if (!array || json_object_set_new(parent, key, array)) return eei_nomem(p->err);
    }
    const size_t at = json_array_size(array);
    if (at >= ARRAY_ITEMS_MAX) return fail_here(p, "more than %d tables [[%s]]", ARRAY_ITEMS_MAX, key);
    snprintf(index, sizeof index, "%zu", at);
    json_t *table = json_object();
    if (!table || json_array_append_new(array, table)) return eei_nomem(p->err);
    ee_status st = join(p, joined, path, key);
    if (!st) st = join(p, p->path, joined, index);
    if (st) return st;
    p->table = table;
    return note_line(p, p->path);
}

/* [a.b] and [[a.b]] */
static ee_status header_line(parser *p) {
    char key[KEY_BYTES_MAX], path[PATH_BYTES_MAX] = "";
    json_t *table = p->toml->root;
    const bool array = p->end - p->at >= 2 && p->at[1] == '[';
    p->at += array ? 2 : 1;
    for (int depth = 0;; depth++) {
        if (depth >= HEADER_DEPTH_MAX) return fail_here(p, "tables deeper than %d", HEADER_DEPTH_MAX);
        skip_blank(p);
        ee_status st = take_key(p, key);
        if (st) return st;
        skip_blank(p);
        if (peek(p) != '.') break;
        p->at++;
        st = step_into(p, &table, path, key);
        if (st) return st;
    }
    const char *close = array ? "]]" : "]";
    if ((size_t)(p->end - p->at) < strlen(close) || memcmp(p->at, close, strlen(close)) != 0)
        return fail_here(p, "expected %s at the end of the table's name", close);
    p->at += strlen(close);
    ee_status st = array ? enter_array(p, table, path, key) : enter_table(p, table, path, key);
    return st ? st : expect_line_end(p, "the table's name");
}

static ee_status parse_lines(parser *p) {
    while (p->at < p->end) {
        skip_blank(p);
        if (take_newline(p)) continue;
        if (p->at == p->end) break;
        ee_status st = EE_OK;
        if (peek(p) == '#')
            st = expect_line_end(p, "the comment");
        else if (peek(p) == '[')
            st = header_line(p);
        else
            st = key_line(p);
        if (st) return st;
    }
    return EE_OK;
}

static ee_status check_text(parser *p, ee_span text) {
    if (text.len > TOML_BYTES_MAX) return eei_fail(p->err, EE_E_LIMIT, "%s: %zu bytes, limit %d", p->toml->name, text.len, TOML_BYTES_MAX);
    if (!eei_utf8_valid(text)) return eei_fail(p->err, EE_E_CONFIG, "%s: is not UTF-8 text", p->toml->name);
    if (text.len && memchr(text.data, 0, text.len)) return eei_fail(p->err, EE_E_CONFIG, "%s: has a NUL byte", p->toml->name);
    return EE_OK;
}

ee_status eei_toml_parse(ee_span text, const char *name, eei_toml **out, ee_error *err) {
    *out = NULL;
    eei_toml *toml = eei_calloc(1, sizeof *toml);
    if (!toml) return eei_nomem(err);
    ee_status st = EE_OK;
    const char *begin = text.len ? (const char *)text.data : "";
    parser p = {.at = begin, .end = begin + text.len, .begin = begin, .line = 1, .toml = toml, .err = err};
    toml->name = eei_strdup(name ? name : "toml");
    toml->root = json_object();
    if (!toml->name || !toml->root) {
        st = eei_nomem(err);
        goto done;
    }
    p.table = toml->root;
    st = check_text(&p, text);
    if (!st) st = parse_lines(&p);
    toml->last_line = p.line > 1 && text.len && begin[text.len - 1] == '\n' ? p.line - 1 : p.line;
    if (!st) *out = eei_take(&toml);
done:
    eei_toml_free(toml);
    return st;
}

ee_status eei_toml_load(const char *path, size_t max, eei_toml **out, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(max);
    *out = NULL;
    ee_status st = eei_file_read(path, &text, err);
    if (!st) st = eei_toml_parse(eei_buf_span(&text), path, out, err);
    eei_buf_clear(&text);
    return st;
}

const json_t *eei_toml_root(const eei_toml *toml) { return toml->root; }
const char *eei_toml_name(const eei_toml *toml) { return toml->name; }

ee_status eei_toml_fail(const eei_toml *toml, const char *path, ee_error *err, const char *format, ...) {
    char what[256], place[PATH_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    const char *dot = strrchr(path, '.');
    snprintf(place, sizeof place, "%s", path);
    unsigned line = eei_toml_line(toml, place);
    for (char *cut; !line && (cut = strrchr(place, '.')) != NULL;) { /* a key that is missing: its table's line */
        *cut = '\0';
        line = eei_toml_line(toml, place);
    }
    char *key = dot ? place + (dot + 1 - path) : place;
    snprintf(place, sizeof place, "%s", path);
    if (dot && key[strspn(key, "0123456789")] == '\0') { /* an element of [[key]], which is what it is called in the file */
        key[-1] = '\0';
        const char *before = strrchr(place, '.');
        key = before ? place + (before + 1 - place) : place;
    }
    return eei_fail(err, EE_E_CONFIG, "%s:%u: key \"%s\": %s", toml->name, line ? line : toml->last_line, key, what);
}

void eei_toml_free(eei_toml *toml) {
    if (!toml) return;
    for (size_t i = 0; i < toml->line_count; i++) eei_free(toml->lines[i].path);
    eei_free(toml->lines);
    eei_free(toml->name);
    json_decref(toml->root);
    eei_free(toml);
}
