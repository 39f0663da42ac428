/* uptime_config.h - what ee-uptime can be told, and what of it is measured into RTMR3 (threat Q15). Called by main.c, and by the test that
 * holds every key to one or the other. */
#ifndef UPTIME_CONFIG_H
#define UPTIME_CONFIG_H
#include "common/config.h"

typedef struct uptime_settings {
    char control[512], network_id[80], name[64], ticket[512], policy[512], machine[512], log_level[16], pccs_url[512], pccs_ca[512];
    uint64_t interval_ms;
} uptime_settings;

extern const config_key uptime_keys[];
extern const size_t uptime_key_count;
#endif
