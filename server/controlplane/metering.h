/* metering.h - price arithmetic: what is locked, what is metered, what is charged. Exact, 128-bit, rounded once, in one place.
 * Pure; not for deciding who pays. Called by jobs_table, by quotes and by whoever checks a receipt. Spec: network.md#spending-and-locks */
#ifndef METERING_H
#define METERING_H
#include "base/error.h"

#include <stdbool.h>

#define METERING_HOUR_MS 3600000u

/* Most that work may cost: price x vcpus x duration, rounded up to the microdollar. EE_E_LIMIT when it does not fit an ee_money;
 * EE_E_INVALID for a negative price. */
ee_status metering_ceiling(ee_money price_per_vcpu_hour, uint64_t vcpus_milli, uint64_t wall_ms, ee_money *out, ee_error *err) EE_MUST_USE;
/* Wall clock x vcpus reserved, in vcpu-milliseconds, rounded up. Saturates at UINT64_MAX. */
uint64_t metering_vcpu_ms(uint64_t vcpus_milli, uint64_t wall_ms);
/* floor(price x vcpu_ms / 3,600,000), never more than the lock; 0 for a negative price or lock. */
ee_money metering_charge(ee_money price_per_vcpu_hour, uint64_t vcpu_ms, ee_money locked);
/* a + b and a - b for money that must stay within [0, INT64_MAX]; false when it would not. */
bool metering_add(ee_money *out, ee_money a, ee_money b);
bool metering_sub(ee_money *out, ee_money a, ee_money b);
#endif
