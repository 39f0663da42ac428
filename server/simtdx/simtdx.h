/* simtdx.h - a simulated TDX machine: quotes of the real format through a real chain under a devnet's own root, and the collateral
 * for it. Nothing above a quote source knows it; verification runs the same code with the other anchor. Never in production builds
 * (EE_SIMTDX=OFF). Called by server/common/quote_source.c, the devnet and tests. Spec: shared names follow attest/. */
#ifndef EES_SIMTDX_H
#define EES_SIMTDX_H
#include "attest/evidence.h"

/* The root and what it signs for everybody: root CA, platform CA, TCB signer, TCB info, QE identity, CRLs. */
typedef struct simtdx_root simtdx_root;
/* Make a root valid from now - 1 h, collateral for 30 days. Keys are P-256. */
ee_status simtdx_root_new(uint64_t now_unix_s, simtdx_root **out, ee_error *err) EE_MUST_USE;
ee_span simtdx_root_der(const simtdx_root *root);                                                    /* root certificate */
ee_status simtdx_root_collateral(const simtdx_root *root, eei_buf *json, ee_error *err) EE_MUST_USE; /* for ee_collateral_parse() */
void simtdx_root_free(simtdx_root *root);

/* One machine: its PCK key and certificate (with PIID), attestation key and QE report. */
typedef struct simtdx_machine simtdx_machine;
ee_status simtdx_machine_new(const simtdx_root *root, const char *label, simtdx_machine **out, ee_error *err) EE_MUST_USE;
/* A machine file (0600) carries what a TDX host has in silicon: written by the devnet, read by a quote source. */
ee_status simtdx_machine_save(const simtdx_machine *machine, const char *path, ee_error *err) EE_MUST_USE;
ee_status simtdx_machine_load(const char *path, simtdx_machine **out, ee_error *err) EE_MUST_USE;
const uint8_t *simtdx_machine_piid(const simtdx_machine *machine); /* 16 bytes, of a machine that was made, not loaded: what a node pins */
void simtdx_machine_free(simtdx_machine *machine);

/* What the TD's registers hold. mrtd..rtmr2 are the simulated release's; rtmr3 is extended at run time. */
typedef struct simtdx_td {
    uint8_t mrtd[48], rtmr[4][48];
    uint64_t td_attributes, xfam;
    uint8_t mr_config_id[48], mr_owner[48], mr_owner_config[48];
    int quote_version; /* 4 or 5 */
} simtdx_td;
void simtdx_td_default(simtdx_td *td); /* the simulated release's measurements, SEPT_VE_DISABLE, no debug */
ee_status simtdx_quote(const simtdx_machine *machine, const simtdx_td *td, const uint8_t report_data[64], eei_buf *out,
                       ee_error *err) EE_MUST_USE;
/* The boot log of the default TD: a CCEL log area whose replay gives its RTMR0 to RTMR2 and leaves RTMR3 alone. */
ee_status simtdx_boot_log(eei_buf *area, ee_error *err) EE_MUST_USE;
/* policy.toml text that accepts this root's quotes of the default TD, and no other. */
ee_status simtdx_policy_toml(const simtdx_root *root, eei_buf *out, ee_error *err) EE_MUST_USE;
#endif
