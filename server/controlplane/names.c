/* names.c - the rule for names, and Damerau's distance for "did you mean". Pure. Called by ledger, apps_table and registry. */
#include "controlplane/names.h"

#include "base/limits.h"

#include <stdio.h>
#include <string.h>

_Static_assert(NAME_CAP == EEI_NAME_BYTES_MAX + 1, "a name and its NUL");

static bool name_byte(uint8_t c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }

ee_status names_check(ee_span name, const char *what, ee_error *err) {
    if (!name.len) return eei_fail(err, EE_E_INVALID, "the %s name is empty", what);
    if (name.len > EEI_NAME_BYTES_MAX)
        return eei_fail(err, EE_E_INVALID, "the %s name is %zu bytes long, limit %u", what, name.len, EEI_NAME_BYTES_MAX);
    for (size_t i = 0; i < name.len; i++)
        if (!name_byte(name.data[i])) return eei_fail(err, EE_E_INVALID, "byte %zu of the %s name is not a-z, 0-9 or '-'", i + 1, what);
    if (name.data[0] == '-' || name.data[name.len - 1] == '-')
        return eei_fail(err, EE_E_INVALID, "the %s name starts or ends with '-'", what);
    return EE_OK;
}

bool names_valid(ee_span name) { return names_check(name, "", NULL) == EE_OK; }

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

unsigned names_distance(ee_span a, ee_span b, unsigned limit) {
    /* Three rows of the table: swapping two neighbours looks back two. */
    unsigned rows[3][NAME_CAP + 1];
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];
    size_t apart = a.len > b.len ? a.len - b.len : b.len - a.len;
    if (a.len > NAME_CAP || b.len > NAME_CAP || apart > limit) return limit + 1;
    for (size_t j = 0; j <= b.len; j++) above[j] = (unsigned)j;
    memset(before, 0, sizeof rows[0]);
    for (size_t i = 1; i <= a.len; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = a.data[i - 1] == b.data[j - 1];
            unsigned d = least(least(above[j] + 1, row[j - 1] + 1), above[j - 1] + (same ? 0u : 1u));
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1]) d = least(d, before[j - 2] + 1);
            row[j] = d;
        }
        unsigned *spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return above[b.len] <= limit ? above[b.len] : limit + 1;
}

names_guess names_guess_for(ee_span wanted) {
    names_guess guess;
    memset(&guess, 0, sizeof guess);
    guess.wanted = wanted;
    guess.distance = wanted.len > 2 ? 3 : (unsigned)wanted.len; /* must get below this: nothing may be all changed */
    return guess;
}

void names_guess_offer(names_guess *guess, ee_span candidate) {
    if (!candidate.len || candidate.len >= NAME_CAP || !guess->distance) return;
    unsigned d = names_distance(guess->wanted, candidate, guess->distance);
    if (d > guess->distance || (d == guess->distance && !guess->best[0])) return;
    if (d == guess->distance) {
        size_t len = strlen(guess->best);
        size_t common = candidate.len < len ? candidate.len : len;
        int order = memcmp(candidate.data, guess->best, common);
        if (order > 0 || (order == 0 && candidate.len >= len)) return;
    }
    guess->distance = d;
    memcpy(guess->best, candidate.data, candidate.len);
    guess->best[candidate.len] = 0;
}

ee_status names_not_found(const names_guess *guess, const char *what, ee_error *err) {
    char wanted[NAME_CAP], shown[NAME_CAP];
    /* What was asked for may be anything; the message shows it cleaned, and only as much of it as a name could be. */
    (void)snprintf(wanted, sizeof wanted, "%.*s", (int)(guess->wanted.len < NAME_CAP ? guess->wanted.len : NAME_CAP - 1),
                   (const char *)guess->wanted.data);
    eei_clean_text(shown, sizeof shown, wanted);
    for (char *c = shown; *c; c++)
        if (*c == '"') *c = '?';
    if (!guess->best[0]) return eei_fail(err, EE_E_NOT_FOUND, "there is no %s \"%s\"", what, shown);
    ee_status st = eei_fail(err, EE_E_NOT_FOUND, "there is no %s \"%s\". Did you mean %s?", what, shown, guess->best);
    return eei_hint(err, st, "Use the name %s, if that is the %s you mean.", guess->best, what);
}
