/* uptime_config.c - see uptime_config.h. A new key says here what changing it does to the CONFIG event, or why it may do nothing. */
#include "uptime/uptime_config.h"

const config_key uptime_keys[] = {
    {"control.ws", CONFIG_TEXT, CONFIG_FIELD(uptime_settings, trust.control), 0, 0, NULL, "https://host:port of the control plane",
     CONFIG_NEUTRAL, "an address: who answers there proves itself before anything is sent"},
    {"network.id", CONFIG_TEXT, CONFIG_FIELD(uptime_settings, trust.network_id), 0, 0, NULL,
     "network the control plane must prove to be (64 hex digits)", CONFIG_MEASURED, NULL},
    {"node.name", CONFIG_TEXT, CONFIG_FIELD(uptime_settings, trust.node), 0, 0, NULL, "this observer's name", CONFIG_MEASURED, NULL},
    {"node.ticket", CONFIG_TEXT, CONFIG_FIELD(uptime_settings, trust.ticket), 0, 0, NULL,
     "file with the boot ticket that its provider signed", CONFIG_NEUTRAL,
     "whom it lets this program be, the node id, is in every statement"},
    {"policy", CONFIG_TEXT, CONFIG_FIELD(uptime_settings, trust.policy), 0, 0, NULL,
     "policy.toml that control plane and agents must satisfy", CONFIG_CONTENT, NULL},
    {"pccs.url", CONFIG_TEXT, CONFIG_FIELD(uptime_settings, trust.pccs_url), 0, 0, "",
     "https://host:port of a PCCS that is asked for collateral before the control plane is", CONFIG_NEUTRAL,
     "collateral is signed under the anchor and dated, whoever hands it out"},
    {"pccs.ca", CONFIG_TEXT, CONFIG_FIELD(uptime_settings, trust.pccs_ca), 0, 0, "",
     "PEM file that its certificate is checked against; default: this machine's CAs", CONFIG_NEUTRAL,
     "the source of collateral is not trusted"},
    {"sealed", CONFIG_BOOL, CONFIG_FIELD(uptime_settings, trust.sealed), 0, 0, "false",
     "nobody can log in to this image, nor change it: said in every statement", CONFIG_MEASURED, NULL},
    {"tdx.machine", CONFIG_TEXT, CONFIG_FIELD(uptime_settings, trust.machine), 0, 0, "", "simulated machine file (devnets)", CONFIG_NEUTRAL,
     "which device quotes: the root above it shows in every verdict"},
    {"health.interval_ms", CONFIG_NUMBER, CONFIG_FIELD(uptime_settings, interval_ms), 100, 3600000, "60000", "between rounds",
     CONFIG_MEASURED, NULL},
    {"log.level", CONFIG_TEXT, CONFIG_FIELD(uptime_settings, log_level), 0, 0, "info", "error, warn, info or debug", CONFIG_NEUTRAL,
     "what is written down: never a secret, never a body"},
};
const size_t uptime_key_count = sizeof uptime_keys / sizeof *uptime_keys;
