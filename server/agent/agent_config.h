/* agent_config.h - what ee-agent can be told, and what of it is measured into RTMR3 (threat Q15). Called by main.c, and by the test that
 * holds every key to one or the other. */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H
#include "common/trust.h"

typedef struct agent_settings {
    trust_settings trust;
    char runtime_dir[512], image_dir[512], runtime[256], shim[512], log_level[16];
    uint64_t vcpus_milli, memory_bytes;
} agent_settings;

extern const config_key agent_keys[];
extern const size_t agent_key_count;
#endif
