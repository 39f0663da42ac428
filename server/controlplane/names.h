/* names.h - what a name may be, and the close name that was probably meant. Not for finding things: ledger and apps_table do. */
#ifndef NAMES_H
#define NAMES_H
#include "base/buf.h"

#define NAME_CAP 64 /* EEI_NAME_BYTES_MAX and the NUL */

/* One DNS label: a-z 0-9 and '-', not at the ends, 1 to 63 bytes. EE_E_INVALID says what is wrong; what is the noun: "account". */
ee_status names_check(ee_span name, const char *what, ee_error *err) EE_MUST_USE;
bool names_valid(ee_span name);

/* Number of inserted, deleted, changed or swapped bytes between two names, or limit + 1 when there are more. */
unsigned names_distance(ee_span a, ee_span b, unsigned limit);
/* Keeps the closest of the names it is shown; ties: the first in byte order. Nothing past distance 2, nor as far as the name is long. */
typedef struct names_guess {
    ee_span wanted;
    unsigned distance;
    char best[NAME_CAP]; /* "" when nothing is close */
} names_guess;
names_guess names_guess_for(ee_span wanted);
void names_guess_offer(names_guess *guess, ee_span candidate);
/* EE_E_NOT_FOUND 'there is no account "contractor-di".' with ' Did you mean "contractor-id"?' and the hint when something was close. */
ee_status names_not_found(const names_guess *guess, const char *what, ee_error *err);
#endif
