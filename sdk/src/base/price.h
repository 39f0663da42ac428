/* price.h - price arithmetic, the same for whoever quotes, locks, meters, charges or checks a receipt: exact, 128-bit, rounded once.
 * A ceiling rounds up, a charge down, and the rest stays with the payer (threat M6). Pure; not for deciding who pays.
 * Called by the control plane's jobs and quotes, the agent's receipts and the client's receipt check. */
#ifndef EEI_PRICE_H
#define EEI_PRICE_H
#include "base/error.h"

#include <stdbool.h>

#define EEI_PRICE_HOUR_MS 3600000u

/* Most that work may cost: price x vcpus x duration, rounded up to the microdollar. EE_E_LIMIT when it does not fit an ee_money;
 * EE_E_INVALID for a negative price. */
ee_status eei_price_ceiling(ee_money price_per_vcpu_hour, uint64_t vcpus_milli, uint64_t wall_ms, ee_money *out, ee_error *err) EE_MUST_USE;
/* Wall clock x vcpus reserved, in vcpu-milliseconds, rounded up. Saturates at UINT64_MAX. */
uint64_t eei_price_vcpu_ms(uint64_t vcpus_milli, uint64_t wall_ms);
/* floor(price x vcpu_ms / 3,600,000), never more than the lock; 0 for a negative price or lock. */
ee_money eei_price_charge(ee_money price_per_vcpu_hour, uint64_t vcpu_ms, ee_money locked);
/* a + b and a - b for money that must stay within [0, INT64_MAX]; false when it would not. */
bool eei_money_add(ee_money *out, ee_money a, ee_money b);
bool eei_money_sub(ee_money *out, ee_money a, ee_money b);
#endif
