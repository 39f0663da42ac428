/* agent_config.c - see agent_config.h. A new key says here what changing it does to the CONFIG event, or why it may do nothing. */
#include "agent/agent_config.h"

/* Paths of programs and folders are measured because what lies there runs, or is run from: they must lie in the measured root file system,
 * or in memory. */
const config_key agent_keys[] = {
    {"control.ws", CONFIG_TEXT, CONFIG_FIELD(agent_settings, trust.control), 0, 0, NULL, "https://host:port of the control plane",
     CONFIG_NEUTRAL, "an address: who answers there proves itself before anything is sent"},
    {"network.id", CONFIG_TEXT, CONFIG_FIELD(agent_settings, trust.network_id), 0, 0, NULL,
     "network the control plane must prove to be (64 hex digits)", CONFIG_MEASURED, NULL},
    {"node.name", CONFIG_TEXT, CONFIG_FIELD(agent_settings, trust.node), 0, 0, NULL, "this node's name in the ledger", CONFIG_MEASURED,
     NULL},
    {"node.ticket", CONFIG_TEXT, CONFIG_FIELD(agent_settings, trust.ticket), 0, 0, NULL,
     "file with the boot ticket that the node's provider signed", CONFIG_NEUTRAL,
     "whom it lets this program be, the node id, is in every statement"},
    {"node.vcpus_milli", CONFIG_NUMBER, CONFIG_FIELD(agent_settings, vcpus_milli), 1, 1024000, "1000",
     "capacity offered, thousandths of a vcpu", CONFIG_MEASURED, NULL},
    {"node.memory_bytes", CONFIG_NUMBER, CONFIG_FIELD(agent_settings, memory_bytes), 1, 0, "1073741824", "memory offered", CONFIG_MEASURED,
     NULL},
    {"policy", CONFIG_TEXT, CONFIG_FIELD(agent_settings, trust.policy), 0, 0, NULL, "policy.toml that the control plane must satisfy",
     CONFIG_CONTENT, NULL},
    {"pccs.url", CONFIG_TEXT, CONFIG_FIELD(agent_settings, trust.pccs_url), 0, 0, "",
     "https://host:port of a PCCS that is asked for collateral before the control plane is", CONFIG_NEUTRAL,
     "collateral is signed under the anchor and dated, whoever hands it out"},
    {"pccs.ca", CONFIG_TEXT, CONFIG_FIELD(agent_settings, trust.pccs_ca), 0, 0, "",
     "PEM file that its certificate is checked against; default: this machine's CAs", CONFIG_NEUTRAL,
     "the source of collateral is not trusted"},
    {"tdx.machine", CONFIG_TEXT, CONFIG_FIELD(agent_settings, trust.machine), 0, 0, "", "simulated machine file (devnets)", CONFIG_NEUTRAL,
     "which device quotes: the root above it shows in every verdict"},
    {"runtime.dir", CONFIG_TEXT, CONFIG_FIELD(agent_settings, runtime_dir), 0, 0, NULL, "state of sandboxes", CONFIG_MEASURED, NULL},
    {"runtime.images", CONFIG_TEXT, CONFIG_FIELD(agent_settings, image_dir), 0, 0, "", "unpacked images; default below runtime.dir",
     CONFIG_MEASURED, NULL},
    {"runtime.program", CONFIG_TEXT, CONFIG_FIELD(agent_settings, runtime), 0, 0, "", "runc, crun or a path; default: what works here",
     CONFIG_MEASURED, NULL},
    {"runtime.shim", CONFIG_TEXT, CONFIG_FIELD(agent_settings, shim), 0, 0, NULL, "the ee-shim binary", CONFIG_MEASURED, NULL},
    {"log.level", CONFIG_TEXT, CONFIG_FIELD(agent_settings, log_level), 0, 0, "info", "error, warn, info or debug", CONFIG_NEUTRAL,
     "what is written down: never a secret, never a body"},
};
const size_t agent_key_count = sizeof agent_keys / sizeof *agent_keys;
