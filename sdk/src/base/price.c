/* price.c - see price.h. */
#include "price.h"

__extension__ typedef unsigned __int128 wide;
enum { HOUR_MS = 3600000, MILLI = 1000 };

uint64_t eei_price_vcpu_ms(uint64_t vcpus_milli, uint64_t wall_ms) {
    wide exact = ((wide)vcpus_milli * wall_ms + MILLI - 1) / MILLI;
    return exact > UINT64_MAX ? UINT64_MAX : (uint64_t)exact;
}

ee_money eei_price_charge(ee_money price, uint64_t vcpu_ms, ee_money locked) {
    if (price <= 0 || locked <= 0) return 0;
    wide exact = (wide)(uint64_t)price * vcpu_ms / HOUR_MS;
    return exact > (wide)(uint64_t)locked ? locked : (ee_money)exact;
}
