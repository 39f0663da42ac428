/* document.c - see document.h. Called through it. */
#include "attest/document.h"

#include "base/clock.h"
#include "base/encoding.h"

#include <string.h>

/* ---- objects ---- */

ee_status eei_doc_status(eei_document *d) { return eei_pull_error(&d->pull, d->err); }

/* Known members each once, in any order; others are passed over. Intel adds members within a version. */
ee_status eei_doc_object(eei_document *d, const eei_member *members, size_t count, void *into) {
    uint32_t seen = 0;
    ee_span name;
    eei_pull_object(&d->pull);
    while (eei_pull_member(&d->pull, &name)) {
        size_t i = 0;
        while (i < count && !eei_span_equal(eei_span_text(members[i].name), name)) i++;
        if (i == count) {
            eei_pull_skip(&d->pull);
            continue;
        }
        ee_status st = members[i].read(d, members[i].name, into);
        if (!st) st = eei_doc_status(d);
        if (st) return d->pull.why ? eei_doc_named(d, st, members[i].name) : st; /* the cursor knows the place, not the name */
        seen |= 1u << i;
    }
    ee_status st = eei_doc_status(d);
    for (size_t i = 0; !st && i < count; i++)
        if (!members[i].optional && !(seen >> i & 1)) st = eei_fail(d->err, EE_E_MALFORMED, "field \"%s\" is missing", members[i].name);
    return st;
}

ee_status eei_doc_named(eei_document *d, ee_status st, const char *name) {
    return st && st != EE_E_NOMEM ? eei_prefix(d->err, st, name) : st;
}

ee_status eei_doc_wrong(eei_document *d, const char *name, const char *what) {
    return eei_fail(d->err, EE_E_MALFORMED, "field \"%s\" %s", name, what);
}

ee_status eei_doc_read(eei_document *d, ee_span text, const eei_member *members, size_t count, void *into) {
    if (text.len > EEI_COLLATERAL_BYTES_MAX)
        return eei_fail(d->err, EE_E_LIMIT, "JSON of %zu bytes, limit %u", text.len, EEI_COLLATERAL_BYTES_MAX);
    eei_pull_begin(&d->pull, text);
    ee_status st = eei_doc_object(d, members, count, into);
    return st ? st : eei_pull_end(&d->pull, d->err);
}

/* ---- values ---- */

ee_status eei_doc_text(eei_document *d, ee_span *out) {
    *out = eei_pull_text(&d->pull, d->arena);
    return eei_doc_status(d);
}

ee_status eei_doc_number(eei_document *d, const char *name, uint64_t max, uint64_t *out) {
    *out = eei_pull_u64(&d->pull);
    ee_status st = eei_doc_status(d);
    if (!st && *out > max)
        st = eei_fail(d->err, EE_E_MALFORMED, "field \"%s\" is %llu, limit %llu", name, (unsigned long long)*out, (unsigned long long)max);
    return st;
}

ee_status eei_doc_exact_number(eei_document *d, const char *name, uint64_t want) {
    uint64_t got = 0;
    ee_status st = eei_doc_number(d, name, UINT64_MAX, &got);
    if (!st && got != want)
        st =
            eei_fail(d->err, EE_E_MALFORMED, "field \"%s\" is %llu, must be %llu", name, (unsigned long long)got, (unsigned long long)want);
    return st;
}

ee_status eei_doc_exact_text(eei_document *d, const char *name, const char *want) {
    ee_span got;
    ee_status st = eei_doc_text(d, &got);
    if (!st && !eei_span_equal(got, eei_span_text(want))) st = eei_fail(d->err, EE_E_MALFORMED, "field \"%s\" is not \"%s\"", name, want);
    return st;
}

ee_status eei_doc_hex(eei_document *d, const char *name, void *out, size_t len) {
    ee_span hex;
    ee_status st = eei_doc_text(d, &hex);
    return st ? st : eei_doc_named(d, eei_hex_decode_span(hex, out, len, d->err), name);
}

/* A kept string with a NUL behind it. */
ee_status eei_doc_kept(eei_document *d, const char **out) {
    ee_span text;
    ee_status st = eei_doc_text(d, &text);
    if (st) return st;
    *out = eei_arena_text(d->arena, text);
    return *out ? EE_OK : eei_arena_error(d->arena, d->err);
}

ee_status eei_doc_date(eei_document *d, const char *name, const char **text, uint64_t *out_ms) {
    ee_status st = eei_doc_kept(d, text);
    return st ? st : eei_doc_named(d, eei_parse_utc(*text, out_ms, d->err), name);
}

/* ---- lists ---- */

ee_status eei_doc_add(eei_document *d, eei_doc_list *l, size_t bytes, size_t most, const char *name, void **item) {
    if (l->count == most) return eei_fail(d->err, EE_E_LIMIT, "field \"%s\" has over %zu items", name, most);
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 8;
        void *bigger = eei_arena_alloc(d->arena, room * bytes);
        if (!bigger) return eei_arena_error(d->arena, d->err);
        if (l->count) memcpy(bigger, l->items, l->count * bytes);
        l->items = bigger;
        l->room = room;
    }
    *item = (char *)l->items + l->count++ * bytes;
    return EE_OK;
}
