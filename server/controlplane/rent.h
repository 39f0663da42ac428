/* rent.h - what an app's owner pays: credits for each period are locked before it starts (the first when the app is placed), what ran is
 * used, the rest goes back at once, and an app whose next period cannot be locked is stopped at the boundary with a clear reason.
 * Works inside the writer's transactions; the clock is an argument. Not for placing apps (placer). Spec: network.md#spending-and-locks */
#ifndef RENT_H
#define RENT_H
#include "controlplane/apps_table.h"

/* Lock what the app may use in the rest of the period that now lies in. In the transaction that places it: EE_E_LOW_BALANCE places nothing.
 * More than its owner authorized for a period is EE_E_BUDGET. 0 in
 * *locked: it is free. */
ee_status rent_open(store *db, const app_row *app, ee_span evidence, uint64_t period_ms, uint64_t now_ms, ee_money *locked,
                    ee_error *err) EE_MUST_USE;
/* The app leaves its place (stopped, failed, moved, placed anew): close its open locks. app is the row as it was before. */
ee_status rent_close(store *db, const app_row *app, uint64_t period_ms, uint64_t now_ms, ee_error *err) EE_MUST_USE;

/* Every live app: close locks of past periods, lock the next period when it is near, and stop what has no lock for the running one and
 * cannot get it: its state becomes FAILED, word low_balance. stopped() is told after the row is written, inside the transaction. */
typedef void (*rent_stopped_fn)(void *user, const app_row *app);
ee_status rent_sweep(store *db, uint64_t period_ms, uint64_t now_ms, rent_stopped_fn stopped, void *user, ee_error *err) EE_MUST_USE;
/* How long before a period its lock is taken: 2 min, or a tenth of a short period. */
uint64_t rent_lead_ms(uint64_t period_ms);
#endif
