/* collateral_supply.h - where a program has its collateral from: a PCCS of its own, behind a cache; files; the control plane. They are
 * asked in this order, and the first answer serves: collateral is signed by itself, so its bringer is not trusted. Thread-safe; get and
 * refresh block. Called by the SDK's client, ee_collateral_fetch() and the programs' main. */
#ifndef EEI_COLLATERAL_SUPPLY_H
#define EEI_COLLATERAL_SUPPLY_H
#include "net/collateral_cache.h"
#include "ratls/ratls.h"

enum {
    EEI_SUPPLY_TIMEOUT_MS = 20000,
    EEI_SUPPLY_FIRST_MS = 5000, /* for a PCCS with a control plane behind it: a peer that waits to be judged closes after 10 s */
};

typedef struct eei_supply eei_supply;
typedef struct eei_supply_options {
    const char *pccs_url, *pccs_ca; /* nullable; see pccs.h */
    const char *cache_folder;       /* of what the PCCS said; nullable: in memory only */
    const char *files;              /* nullable: a collateral file, or a folder of them (*.json); read again at each refresh */
    const char *control_url;        /* nullable: its /v1/collateral, last, and not cached: it has a cache itself */
    const eei_clock *clock;         /* NULL: the system's */
    uint32_t timeout_ms;            /* of a call by a judge, and of each refresh; 0 = EEI_SUPPLY_TIMEOUT_MS */
    uint32_t refresh_s;             /* 0 = EEI_COLLATERAL_REFRESH_S */
    bool limit_misses;              /* see collateral_cache.h */
} eei_supply_options;
/* No network. EE_E_CONFIG; EE_E_INVALID when there is no source at all. */
ee_status eei_supply_new(const eei_supply_options *options, eei_supply **out, ee_error *err) EE_MUST_USE;
void eei_supply_free(eei_supply *supply);
void eei_supply_stop(eei_supply *supply); /* calls under way end with EE_E_CANCELLED, later ones too unless the cache has the answer */

ee_status eei_supply_get(eei_supply *supply, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel, eei_buf *json,
                         ee_error *err) EE_MUST_USE;
eei_collateral_source eei_supply_source(eei_supply *supply); /* for a judge; valid as long as supply */

/* Everything in the files into the cache. EE_E_NOT_FOUND when there is none that is good; *count how many are. */
ee_status eei_supply_load(eei_supply *supply, size_t *count, ee_error *err) EE_MUST_USE;
/* collateral_cache.h's, for programs that hand collateral out. A supply without PCCS and files has no cache: EE_E_NOT_FOUND, false. */
ee_status eei_supply_peek(eei_supply *supply, const eei_collateral_id *id, eei_buf *json, ee_error *err) EE_MUST_USE;
void eei_supply_want(eei_supply *supply, const eei_collateral_id *id);
bool eei_supply_due(eei_supply *supply);
void eei_supply_refresh(eei_supply *supply);
#endif
