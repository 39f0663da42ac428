/* cp_config.h - what ee-controlplane can be told, and what of it is measured into RTMR3 (threat Q15). Called by main.c, and by the test
 * that holds every key to one or the other. */
#ifndef CP_CONFIG_H
#define CP_CONFIG_H
#include "common/config.h"

typedef struct cp_settings {
    char bind[64], db_path[512], genesis[512], policy[512], collateral[512], machine[512], admin_token[256], log_level[16], dns_name[256];
    char pccs_url[512], pccs_ca[512], pccs_cache[512];
    bool sealed;
    uint64_t port, health_interval_ms, attest_interval_ms, pccs_refresh_ms;
} cp_settings;

extern const config_key cp_keys[];
extern const size_t cp_key_count;
#endif
