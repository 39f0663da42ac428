/* genesis.h - what a network is, in one file that every side of it reads: name, kind, period, and (for the control plane's first start)
 * accounts and nodes. The network id is a hash of its constants, so nobody can pass for it by name. Called by the control plane and the
 * devnet. Proto: docs/protocol.md#genesis */
#ifndef GENESIS_H
#define GENESIS_H
#include "base/toml.h"

#define GENESIS_NAME_CAP 64u
enum { GENESIS_ACCOUNTS_MAX = 256, GENESIS_NODES_MAX = 256, GENESIS_UPTIME_MAX = 64 };

typedef struct genesis_account {
    char name[GENESIS_NAME_CAP];
    uint8_t key[32]; /* Ed25519 public key */
    bool provider;
    ee_money credits; /* minted once, at the first start; sandbox networks only */
} genesis_account;

typedef struct genesis_node {
    char name[GENESIS_NAME_CAP], provider[GENESIS_NAME_CAP], tier[16];
    ee_money price; /* per vcpu-hour */
    uint64_t vcpus_milli, memory_bytes;
    uint8_t machine_id[16];         /* PIID (else PPID) of the machine it runs on: another one cannot pass for it (threats Q9, R3) */
    bool machine_pinned;            /* false: any machine of the policy; sandbox networks only */
    ee_money stake, stake_required; /* stake is moved from the provider once, at the first start; sandbox networks only */
} genesis_node;

typedef struct genesis_uptime {
    char name[GENESIS_NAME_CAP], provider[GENESIS_NAME_CAP];
    uint8_t machine_id[16];
    bool machine_pinned;
} genesis_uptime;

typedef struct genesis {
    char network[GENESIS_NAME_CAP];
    uint8_t network_id[32], sha256[32]; /* sha256: of the file as it was read */
    bool sandbox;                       /* unsealed and simulated machines are admitted */
    uint64_t period_ms;
    genesis_account *accounts;
    size_t account_count;
    genesis_node *nodes;
    size_t node_count;
    genesis_uptime *uptime;
    size_t uptime_count;
} genesis;

/* EE_E_CONFIG with file, line and key. */
ee_status genesis_load(const char *path, genesis *out, ee_error *err) EE_MUST_USE;
void genesis_clear(genesis *g);
/* SHA-256("EE1-network" || name || 0 || sandbox byte || u64be period_ms || 32-byte salt): the salt makes two devnets of one name differ. */
void genesis_network_id(const char *name, bool sandbox, uint64_t period_ms, const uint8_t salt[32], uint8_t out[32]);
#endif
