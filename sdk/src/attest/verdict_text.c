/* verdict_text.c - a verdict for people: the table of `ee verify`, as wide as it is asked for. It decides nothing.
 * Called through eesdk/verify.h. */
#include "attest/verdict.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

enum {
    TEXT_BYTES_MAX = 1 << 20,
    COLUMNS_DEFAULT = 100,
    COLUMNS_MIN = 24,          /* below it a word and its mark do not fit */
    COLUMNS_MAX = 1000,        /* wide enough for a whole row; the padding is bounded by it */
    COLUMNS_SIDE_BY_SIDE = 72, /* from here on the sentence stands beside its title, else below it */
    TITLE_AT = 8,
    TEXT_AT = 31,
};

typedef struct table {
    eei_buf out;
    ee_status status;
    size_t columns, text_at;
} table;

static void put_bytes(table *t, const char *text, size_t len) {
    if (!t->status) t->status = eei_buf_append(&t->out, text, len);
}
static void put(table *t, const char *text) { put_bytes(t, text, strlen(text)); }

static void pad(table *t, size_t columns) {
    while (columns-- > 0) put(t, " ");
}

/* Columns of the first `bytes` bytes: code points, as all we print is narrow. */
static size_t columns_of(const char *text, size_t bytes) {
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* Text from column `at` on, broken at spaces; a word that is too long is cut. */
static void put_wrapped(table *t, const char *text, size_t at) {
    size_t room = t->columns - at;
    while (*text) {
        size_t len = strlen(text), fits = 0, last_space = 0;
        for (size_t i = 0; i <= len; i++) {
            if (columns_of(text, i) > room) break;
            fits = i;
            if (text[i] == ' ' || !text[i]) last_space = i;
        }
        while (fits < len && ((unsigned char)text[fits] & 0xc0) == 0x80) fits--;
        size_t take = last_space ? last_space : fits, shown = take;
        while (shown && text[shown - 1] == ' ') shown--;
        put_bytes(t, text, shown);
        put(t, "\n");
        text += take;
        while (*text == ' ') text++;
        if (*text) pad(t, at);
    }
}

/* The hex at the end of a text, when it is long; NULL when there is none. */
static const char *long_hex(const char *text, size_t *len) {
    const char *space = text ? strrchr(text, ' ') : NULL, *hex = space ? space + 1 : text;
    *len = hex ? strlen(hex) : 0;
    return *len > 40 && strspn(hex, "0123456789abcdef") == *len ? hex : NULL;
}

/* "5b1f2a3c…c2d4" for long hex, so that a row stays a row; "…2a3c5b1f…c2d4" from where it is not what `other` has, when that is further in.
 * What was measured is shown whole below, and JSON has all of it. */
static void shorten(const char *text, const char *other, char out[96]) {
    enum { SHOWN = 8, TAIL = 4 };
    size_t len, other_len, from = 0;
    const char *hex = long_hex(text, &len), *against = long_hex(other, &other_len);
    if (!hex) {
        snprintf(out, 96, "%s", text ? text : "");
        return;
    }
    while (against && len == other_len && from < len && hex[from] == against[from]) from++;
    if (from < SHOWN || from >= len - TAIL) from = 0;
    if (from > len - TAIL - SHOWN) from = len - TAIL - SHOWN;
    snprintf(out, 96, "%.*s%s%.8s\xe2\x80\xa6%s", (int)(hex - text > 60 ? 60 : hex - text), text, from ? "\xe2\x80\xa6" : "", hex + from,
             hex + len - TAIL);
}

/* A title, then its sentence: beside it, or where there is no room below it. */
static void put_title(table *t, const char *title, bool alone) {
    size_t used = TITLE_AT + columns_of(title, strlen(title));
    if (alone || t->text_at != TEXT_AT) {
        put_wrapped(t, title, TITLE_AT);
        if (!alone) pad(t, t->text_at);
    } else {
        put(t, title);
        pad(t, used < TEXT_AT - 1 ? TEXT_AT - used : 1);
    }
}

static void put_row(table *t, const ee_verdict *v, eei_check_id id) {
    static const char *const words[] = {"  skip  ", "  pass  ", "  FAIL  ", "  skip  "};
    const eei_check_row *row = &v->rows[id];
    const char *explain = eei_check_explain(v, id);
    char expected[96], actual[96], both[256];
    bool compare = row->state == EEI_CHECK_FAILED && ((row->expected && *row->expected) || (row->actual && *row->actual));
    put(t, words[row->state]);
    put_title(t, eei_check_title(v, id), !*explain && !compare);
    if (compare) {
        shorten(row->expected, row->actual, expected);
        shorten(row->actual, row->expected, actual);
        snprintf(both, sizeof both, "expected %s   actual %s", *expected ? expected : "-", *actual ? actual : "-");
        put_wrapped(t, both, t->text_at);
        if (*explain) pad(t, t->text_at);
    }
    if (*explain) put_wrapped(t, explain, t->text_at);
}

static void put_head(table *t, const ee_verdict *v) {
    const char *head = v->node ? v->node : v->has_statement ? "evidence" : "TDX quote";
    char utc[32], date[40];
    size_t used = columns_of(head, strlen(head));
    eei_format_utc(v->now_unix_s * 1000, utc);
    if (strlen(utc) == 20) {
        utc[10] = ' ';
        utc[19] = '\0';
    }
    (void)snprintf(date, sizeof date, "%s UTC", utc);
    size_t right = t->columns > 81 ? 81 : t->columns;
    if (used + 2 + strlen(date) <= right) {
        put(t, head);
        pad(t, right - used - strlen(date));
        put(t, date);
        put(t, "\n");
    } else {
        put_wrapped(t, head, 0);
        pad(t, 2);
        put_wrapped(t, date, 2);
    }
}

static void put_measured(table *t, const char *name, const uint8_t *value, size_t len) {
    char hex[129];
    eei_hex_encode(eei_span(value, len), hex);
    pad(t, TITLE_AT);
    put_title(t, name, false);
    put_wrapped(t, hex, t->text_at);
}

/* What the quote says of the TD; only what a signature stands behind. Whole, for it is what people pin. */
static void put_measurements(table *t, const ee_verdict *v) {
    const ee_verdict *quoted = v->base ? v->base : v;
    if (!quoted->authentic) return;
    put(t, "  measured\n");
    for (int i = EEI_PIN_MRTD; i <= EEI_PIN_RTMR3; i++)
        put_measured(t, eei_pin_names[i], eei_pin_of_quote(&quoted->quote, (eei_pin_id)i), 48);
    put_measured(t, "machine_id", eei_pck_machine_id(&quoted->pck), 16);
}

static void put_sum(table *t, const ee_verdict *v) {
    size_t counts[4] = {0}, all = 0;
    char line[128];
    for (size_t i = 0; i < EEI_CHECK_COUNT; i++)
        if (v->wanted & EEI_CHECK_BIT(i)) counts[v->rows[i].state]++;
    for (size_t i = 0; i < 4; i++) all += counts[i];
    if (v->policy->simulated)
        put_wrapped(t, "SIMULATED: a devnet's own root, not Intel's. It shows how things work; it protects nothing.", 0);
    if (v->verified)
        snprintf(line, sizeof line, "VERIFIED: %zu checks passed, %zu not asked for.", counts[EEI_CHECK_PASSED],
                 counts[EEI_CHECK_NOT_ASKED]);
    else
        snprintf(line, sizeof line, "NOT VERIFIED: %zu of %zu checks failed.", counts[EEI_CHECK_FAILED], all);
    put_wrapped(t, line, 0);
}

static char *render(const ee_verdict *v, size_t columns) {
    if (columns < COLUMNS_MIN) columns = COLUMNS_MIN;
    if (columns > COLUMNS_MAX) columns = COLUMNS_MAX;
    table t = {EEI_BUF_INIT(TEXT_BYTES_MAX), EE_OK, columns, columns < COLUMNS_SIDE_BY_SIDE ? TITLE_AT : TEXT_AT};
    put_head(&t, v);
    for (size_t i = 0; i < EEI_CHECK_COUNT; i++)
        if (v->wanted & EEI_CHECK_BIT(i)) put_row(&t, v, (eei_check_id)i);
    put_measurements(&t, v);
    put_sum(&t, v);
    const char *text = t.status ? NULL : eei_buf_cstr(&t.out);
    char *kept = text ? eei_strdup(text) : NULL;
    eei_buf_clear(&t.out);
    return kept;
}

static char *render_default(const ee_verdict *v) { return render(v, COLUMNS_DEFAULT); }

const char *ee_verdict_text(const ee_verdict *verdict) {
    ee_verdict *v = (ee_verdict *)(uintptr_t)verdict; /* immutable but for what is made late */
    return v ? eei_verdict_made_once(v, &v->text, render_default) : "";
}

ee_status ee_verdict_render(const ee_verdict *verdict, uint32_t columns, char **out, ee_error *err) {
    if (!verdict || !out) return eei_fail(err, EE_E_INVALID, "verdict or out is NULL");
    *out = render(verdict, columns ? columns : COLUMNS_DEFAULT);
    return *out ? EE_OK : eei_nomem(err);
}
