/* registry_table.h - what of a node outlives a restart: its id, tier, price, size, ban. Not for what it is now (registry) or its stake
 * (ledger). Writing functions run inside a writer's work. */
#ifndef REGISTRY_TABLE_H
#define REGISTRY_TABLE_H
#include "controlplane/ledger.h"
#include "controlplane/registry.h"

/* Make the node's principal, or change tier, price and size of one that is the provider's. Fills profile->id, provider, stake and
 * enrolled_ms; the caller gives name, provider, node_id, tier, price, vcpus, memory and stake_required. EE_E_CONFLICT when the name or
 * the node id is another's; EE_E_PERMISSION when it is banned. */
ee_status nodes_enroll(store *db, registry_profile *profile, uint64_t now_ms, ee_error *err) EE_MUST_USE;
/* For new locks only. EE_E_PERMISSION when the node is not the provider's. */
ee_status nodes_set_price(store *db, int64_t node, int64_t provider, ee_money price, uint64_t now_ms, ee_error *err) EE_MUST_USE;
/* For ever. Again is fine. */
ee_status nodes_ban(store *db, int64_t node, const char *reason, uint64_t now_ms, ee_error *err) EE_MUST_USE;
/* All of them, by name, with their stake; stake_required stays 0, the caller knows the tiers. The callback returns false to stop. */
typedef bool (*nodes_fn)(void *user, const registry_profile *profile);
ee_status nodes_list(store *db, nodes_fn fn, void *user, ee_error *err) EE_MUST_USE;
#endif
