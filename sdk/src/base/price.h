/* price.h - price arithmetic, the same for whoever quotes, meters, charges or checks a receipt: exact, 128-bit, rounded once. Pure.
 * Called by the control plane's metering, the agent's receipts and the client's receipt check. */
#ifndef EEI_PRICE_H
#define EEI_PRICE_H
#include <eesdk/types.h>

/* Wall clock x vcpus reserved, in vcpu-milliseconds, rounded up. Saturates at UINT64_MAX. */
uint64_t eei_price_vcpu_ms(uint64_t vcpus_milli, uint64_t wall_ms);
/* floor(price per vcpu-hour x vcpu_ms / 3,600,000), never more than the lock; 0 for a negative price or lock. */
ee_money eei_price_charge(ee_money price, uint64_t vcpu_ms, ee_money locked);
#endif
