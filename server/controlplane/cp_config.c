/* cp_config.c - see cp_config.h. A new key says here what changing it does to the CONFIG event, or why it may do nothing. */
#include "controlplane/cp_config.h"

const config_key cp_keys[] = {
    {"control.bind", CONFIG_TEXT, CONFIG_FIELD(cp_settings, bind), 0, 0, "127.0.0.1", "address to listen on", CONFIG_NEUTRAL,
     "an address: whoever connects to it checks the quote"},
    {"control.port", CONFIG_NUMBER, CONFIG_FIELD(cp_settings, port), 0, 65535, "8088", "port to listen on; 0 = any", CONFIG_NEUTRAL,
     "an address: whoever connects to it checks the quote"},
    {"control.name", CONFIG_TEXT, CONFIG_FIELD(cp_settings, dns_name), 0, 0, "localhost", "DNS name in the certificate", CONFIG_NEUTRAL,
     "a name in the certificate: peers are known by quote and instance, not by name"},
    {"db.path", CONFIG_TEXT, CONFIG_FIELD(cp_settings, db_path), 0, 0, NULL, "the ledger's database file", CONFIG_NEUTRAL,
     "where the ledger lies: what is in it is state, and not a setting"},
    {"genesis", CONFIG_TEXT, CONFIG_FIELD(cp_settings, genesis), 0, 0, NULL, "the network's genesis file", CONFIG_CONTENT, NULL},
    {"policy", CONFIG_TEXT, CONFIG_FIELD(cp_settings, policy), 0, 0, NULL, "policy.toml that agents must satisfy", CONFIG_CONTENT, NULL},
    {"collateral", CONFIG_TEXT, CONFIG_FIELD(cp_settings, collateral), 0, 0, NULL, "collateral file that is used and handed out",
     CONFIG_NEUTRAL, "signed under the anchor and dated: another file can be refused, not believed"},
    {"tdx.machine", CONFIG_TEXT, CONFIG_FIELD(cp_settings, machine), 0, 0, "", "simulated machine file (devnets)", CONFIG_NEUTRAL,
     "which device quotes: the root above it shows in every verdict"},
    {"admin.token", CONFIG_SECRET, CONFIG_FIELD(cp_settings, admin_token), 0, 0, "", "owner's token; empty = the owner's calls are closed",
     CONFIG_PRESENCE, "a credential: its hash would let a weak one be guessed by everybody"},
    {"health.interval_ms", CONFIG_NUMBER, CONFIG_FIELD(cp_settings, health_interval_ms), 100, 3600000, "60000", "between health checks",
     CONFIG_MEASURED, NULL},
    {"attest.interval_ms", CONFIG_NUMBER, CONFIG_FIELD(cp_settings, attest_interval_ms), 1000, 1500000, "600000",
     "between attestation checks of a node", CONFIG_MEASURED, NULL},
    {"log.level", CONFIG_TEXT, CONFIG_FIELD(cp_settings, log_level), 0, 0, "info", "error, warn, info or debug", CONFIG_NEUTRAL,
     "what is written down: never a secret, never a body"},
};
const size_t cp_key_count = sizeof cp_keys / sizeof *cp_keys;
