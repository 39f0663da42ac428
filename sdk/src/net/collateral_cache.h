/* collateral_cache.h - collateral by platform in front of whatever fetches it: in memory and, if there is a folder, on disk. One fetch for
 * callers that miss together; refreshed ahead of expiry; what is old serves while it is valid, and no longer. What comes in must be signed
 * throughout, for the platform that was asked, and in date, or it is not kept: one bad answer must not last. That is tidiness, not trust:
 * a verifier checks it all again. Thread-safe; get and refresh block in the fetch. Called by collateral_supply.c. */
#ifndef EEI_COLLATERAL_CACHE_H
#define EEI_COLLATERAL_CACHE_H
#include "attest/pcs.h"
#include "base/buf.h"
#include "base/clock.h"

#include <eesdk/types.h>

enum {
    EEI_COLLATERAL_REFRESH_S = 3600, /* asked again after this: a revocation is seen within it, not when the old CRL expires */
    EEI_COLLATERAL_AHEAD_S =
        86400,                    /* from a day before its end it is asked for at each EEI_COLLATERAL_RETRY_S: a day to repair a PCCS in */
    EEI_COLLATERAL_RETRY_S = 300, /* between tries while the old one is still good */
    EEI_COLLATERAL_UNUSED_S = 7 * 86400, /* what nobody asked for in this time is not refreshed any more */
    EEI_COLLATERAL_KEPT_MAX = 64,        /* platforms; in the folder: files */
    EEI_COLLATERAL_KEPT_BYTES = 16 << 20,
    EEI_COLLATERAL_WANTED_MAX = 4,
    EEI_COLLATERAL_MISSES_MAX = 32, /* fetches for platforms never seen, with limit_misses: so many at once, */
    EEI_COLLATERAL_MISS_MS = 2000,  /* and one more each time this has passed */
};

/* Appends JSON. EE_OK, or why not. */
typedef struct eei_collateral_fetcher {
    ee_status (*fetch)(void *user, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel, eei_buf *json, ee_error *err);
    void *user;
} eei_collateral_fetcher;

typedef struct eei_collateral_cache eei_collateral_cache;
typedef struct eei_collateral_cache_options {
    eei_collateral_fetcher fetcher;
    const eei_clock *clock;
    const char *origin;         /* names the fetcher's source: a file that another one wrote is not used */
    const char *folder;         /* nullable: memory only. Made when it is not there; 0700 */
    uint32_t refresh_s;         /* 0 = EEI_COLLATERAL_REFRESH_S */
    bool limit_misses;          /* strangers choose the platforms: bound what they make us ask (threat B9) */
    size_t kept_max, bytes_max; /* 0 = the above */
} eei_collateral_cache_options;
ee_status eei_collateral_cache_new(const eei_collateral_cache_options *options, eei_collateral_cache **out, ee_error *err) EE_MUST_USE;
void eei_collateral_cache_free(eei_collateral_cache *cache); /* when no call is under way */
/* Calls under way, and all later ones that would have to fetch, end with EE_E_CANCELLED. */
void eei_collateral_cache_stop(eei_collateral_cache *cache);

/* Appends the JSON. A failure is the fetch's, or says what was wrong with what came. cancel nullable. */
ee_status eei_collateral_cache_get(eei_collateral_cache *cache, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel,
                                   eei_buf *json, ee_error *err) EE_MUST_USE;
/* Only what is in memory; never waits. EE_E_NOT_FOUND; EE_E_AGAIN for what is wanted and has not come yet; EE_E_EXPIRED. */
ee_status eei_collateral_cache_peek(eei_collateral_cache *cache, const eei_collateral_id *id, eei_buf *json, ee_error *err) EE_MUST_USE;
/* Put in by hand: from a file. The same rules. */
ee_status eei_collateral_cache_add(eei_collateral_cache *cache, ee_span json, ee_error *err) EE_MUST_USE;
/* This one is fetched by refresh even if nobody asked, and never given up. At most EEI_COLLATERAL_WANTED_MAX. */
void eei_collateral_cache_want(eei_collateral_cache *cache, const eei_collateral_id *id);
/* Is there something that refresh would fetch now? */
bool eei_collateral_cache_due(eei_collateral_cache *cache);
/* Fetch all that is due, one after the other; failures are logged. */
void eei_collateral_cache_refresh(eei_collateral_cache *cache, uint32_t timeout_ms);
#endif
