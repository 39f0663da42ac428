/* fuzz_money.c - amounts and times as people write them. Run by libFuzzer, and as a corpus replay. */
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = eei_strndup((const char *)data, size), shown[32], when[32];
    ee_money amount = 0, again = 0;
    uint64_t ms = 0, back = 0;
    ee_error err = {0};
    EE_ASSERT(text);
    if (ee_money_parse(text, &amount, &err) == EE_OK) {
        EE_ASSERT(amount > 0);
        EE_ASSERT(ee_money_parse(ee_money_format(amount, shown), &again, NULL) == EE_OK && again == amount);
    } else {
        EE_ASSERT(amount == 0 && err.status == EE_E_INVALID_AMOUNT && err.offset_bytes <= strlen(text));
    }
    if (eei_parse_utc(text, &ms, &err) == EE_OK) EE_ASSERT(eei_parse_utc(eei_format_utc(ms, when), &back, NULL) == EE_OK && back == ms);
    eei_free(text);
    return 0;
}
