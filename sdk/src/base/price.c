/* price.c - price arithmetic in 128 bits. See price.h. */
#include "price.h"

#include <inttypes.h>

__extension__ typedef unsigned __int128 u128;

#define MILLI 1000u

ee_status eei_price_ceiling(ee_money price, uint64_t vcpus_milli, uint64_t wall_ms, ee_money *out, ee_error *err) {
    u128 product = 0;
    const u128 unit = (u128)EEI_PRICE_HOUR_MS * MILLI;
    if (price < 0) return eei_fail(err, EE_E_INVALID, "the price is negative");
    bool over = __builtin_mul_overflow((u128)vcpus_milli * wall_ms, (u128)price, &product);
    u128 cost = over ? 0 : product / unit + (product % unit ? 1 : 0);
    if (over || cost > INT64_MAX)
        return eei_fail(err, EE_E_LIMIT, "the most this could cost is over any sum: %" PRIu64 " thousandths of a vcpu for %" PRIu64 " ms",
                        vcpus_milli, wall_ms);
    *out = (ee_money)cost;
    return EE_OK;
}

uint64_t eei_price_vcpu_ms(uint64_t vcpus_milli, uint64_t wall_ms) {
    u128 product = (u128)vcpus_milli * wall_ms;
    u128 ms = product / MILLI + (product % MILLI ? 1 : 0);
    return ms > UINT64_MAX ? UINT64_MAX : (uint64_t)ms;
}

ee_money eei_price_charge(ee_money price, uint64_t vcpu_ms, ee_money locked) {
    if (price < 0 || locked < 0) return 0;
    u128 cost = (u128)(uint64_t)price * vcpu_ms / EEI_PRICE_HOUR_MS; /* 63 + 64 bits: can not overflow */
    return cost > (u128)(uint64_t)locked ? locked : (ee_money)cost;
}

bool eei_money_add(ee_money *out, ee_money a, ee_money b) {
    ee_money sum = 0;
    if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &sum)) return false;
    *out = sum;
    return true;
}

bool eei_money_sub(ee_money *out, ee_money a, ee_money b) {
    if (a < 0 || b < 0 || b > a) return false;
    *out = a - b;
    return true;
}
