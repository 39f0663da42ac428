/* uptime_config.h - what ee-uptime can be told, and what of it is measured into RTMR3 (threat Q15). Called by main.c, and by the test that
 * holds every key to one or the other. */
#ifndef UPTIME_CONFIG_H
#define UPTIME_CONFIG_H
#include "common/trust.h"

typedef struct uptime_settings {
    trust_settings trust;
    char log_level[16];
    uint64_t interval_ms;
} uptime_settings;

extern const config_key uptime_keys[];
extern const size_t uptime_key_count;
#endif
