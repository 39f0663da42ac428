/* verify.h - TDX attestation on its own: quote, collateral, policy in; a verdict out. No client, no clock of its own; and no network, but
 * in ee_collateral_fetch(). */
#ifndef EESDK_VERIFY_H
#define EESDK_VERIFY_H

#include <eesdk/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EE_QUOTE_BYTES_MAX 65536u

/** What is acceptable, and under which trust anchor. Immutable once made; thread-safe. */
typedef struct ee_policy ee_policy;
/** TCB info, QE identity, CRLs and their chains, as delivered; nothing in it is trusted before its signature is checked. Immutable;
 * thread-safe. */
typedef struct ee_collateral ee_collateral;
/** The outcome: an ordered list of named checks. Immutable; thread-safe. */
typedef struct ee_verdict ee_verdict;

/** Intel's root, sealed images and non-debug TDs, TCB UpToDate. The default everywhere, and the strictest there is. */
EE_API EE_MUST_USE ee_status ee_policy_production(ee_policy **out, ee_error *err);
/** Read policy.toml, at most 1 MiB. Errors name file, line and key; an unknown key is an error. EE_E_TIMEOUT: it is a pipe that nobody
 * writes to, or that does not end within 30 s. */
EE_API EE_MUST_USE ee_status ee_policy_load(const char *path, ee_policy **out, ee_error *err);
/** The same from text; @p name stands for the file in errors. */
EE_API EE_MUST_USE ee_status ee_policy_parse(const char *toml, const char *name, ee_policy **out, ee_error *err);
/** A copy with one more pin: what = "mrtd", "rtmr0".."rtmr3", "mr_seam", "mr_config_id", "mr_owner", "mr_owner_config", "image",
 *  "genesis"; hex of its full length. */
EE_API EE_MUST_USE ee_status ee_policy_pin(const ee_policy *policy, const char *what, const char *hex, ee_policy **out, ee_error *err);
/**
 * A copy that also accepts what a verified TD was measured as: one more profile, with its mrtd and rtmr0 to rtmr2. (rtmr3 is another one at
 * each boot.) A policy that accepted any measurement accepts only this one then. What is pinned from a first look is trusted from that look
 * on and not before: compare it with what the builder publishes.
 * @param verdict verified, else EE_E_STATE   @param name of the profile, for people; at most 63 bytes of UTF-8, nullable
 */
EE_API EE_MUST_USE ee_status ee_policy_accept(const ee_policy *policy, const ee_verdict *verdict, const char *name, ee_policy **out,
                                              ee_error *err);
/** A copy that pins no measurement and accepts any: what a first look is judged by, and the start of a new list. */
EE_API EE_MUST_USE ee_status ee_policy_unpinned(const ee_policy *policy, ee_policy **out, ee_error *err);
/** How many profiles it has; 0 = it accepts any measurement, or none at all. */
EE_API size_t ee_policy_profile_count(const ee_policy *policy);
/** The policy as policy.toml; reading it gives the same policy, with the same hash. @param out [out, owned] ee_string_free() */
EE_API EE_MUST_USE ee_status ee_policy_toml(const ee_policy *policy, char **out, ee_error *err);
/** SHA-256 over the canonical form, in hex; in every verdict. Tied to the policy. */
EE_API const char *ee_policy_hash(const ee_policy *policy);
/** 1 when simulated quotes (a devnet's own root) are acceptable. */
EE_API int ee_policy_simulated(const ee_policy *policy);
/** What was made under it keeps what it needs. NULL is fine. */
EE_API void ee_policy_free(ee_policy *policy);

/** Parse collateral JSON (keys: pck_crl_issuer_chain, root_ca_crl, pck_crl, tcb_info_issuer_chain, tcb_info, tcb_info_signature,
 *  qe_identity_issuer_chain, qe_identity, qe_identity_signature, optional pck_certificate_chain). At most 1 MiB. */
EE_API EE_MUST_USE ee_status ee_collateral_parse(ee_span json, ee_collateral **out, ee_error *err);
/** Verdicts that it was used for keep what they need. NULL is fine. */
EE_API void ee_collateral_free(ee_collateral *collateral);
/** The JSON it was parsed from, as it was: to keep in a file for later, with no network. Tied to the collateral. Any thread. */
EE_API ee_span ee_collateral_json(const ee_collateral *collateral);
/** Unix time in seconds until which everything in it is valid; 0 when that cannot be known: it is not signed throughout under one root. Any
 *  thread. */
EE_API uint64_t ee_collateral_valid_until(const ee_collateral *collateral);

/** Intel's own PCS, as pccs_url: where the environment may name another one and this one is meant. */
#define EE_PCS_INTEL "https://api.trustedservices.intel.com"

/** Options of ee_collateral_fetch(). Fill with ee_collateral_options_init(); new fields are only ever appended. */
typedef struct ee_collateral_options {
    size_t struct_bytes;
    const char *pccs_url; /**< "https://host:port" of a PCCS; plain http for this machine only. NULL = EE_PCCS_URL, else Intel's PCS */
    const char *pccs_ca;  /**< PEM file of what the PCCS's certificate is checked against instead of this machine's CAs: a PCCS is installed
                               with a certificate of its own. NULL = EE_PCCS_CA, else this machine's. It is always checked */
    const char *cache;    /**< folder; NULL = EE_PCCS_CACHE, else $XDG_CACHE_HOME/easyenclave/collateral; "" = nothing is kept */
    uint32_t timeout_ms;  /**< of everything together; 0 = 20,000 */
    const ee_cancel *cancel; /**< nullable */
} ee_collateral_options;
#define ee_collateral_options_init(options) ee_options_init((options), sizeof *(options))

/**
 * Get the collateral that a quote is checked with, for the platform that its PCK certificate names: from the cache, else from a PCCS.
 * What comes back is signed throughout under the root that the quote's own chain names, for that platform, and in date by this machine's
 * clock. It is not trusted by that: ee_verify_quote() checks all of it under a policy. The cache is asked again after an hour, and from a
 * day before anything in it expires; when the PCCS cannot be reached, what is there serves for as long as it is valid.
 * @param quote raw quote; nothing in it is believed   @param options NULL = defaults   @param out [out, owned] ee_collateral_free()
 * @return EE_OK; EE_E_CONNECT, EE_E_TIMEOUT, EE_E_SERVER, EE_E_RATE_LIMIT (the PCCS cannot be had now); EE_E_NOT_FOUND (it does not know
 * the platform); EE_E_AUTH (it wants a key); EE_E_MALFORMED, EE_E_LIMIT (an answer, or the quote, cannot be read); EE_E_EXPIRED (it has
 *         nothing that is valid now: clock or PCCS); EE_E_ATTESTATION (signed by another root, or for another platform); EE_E_CONFIG (an
 *         address, file or folder); EE_E_CANCELLED; EE_E_NOMEM. err->hint has the next step.
 * Blocks for at most timeout_ms. Any thread; memory at most 8 MiB. Spec: Intel SGX and TDX PCS API, version 4.
 */
EE_API EE_MUST_USE ee_status ee_collateral_fetch(ee_span quote, const ee_collateral_options *options, ee_collateral **out, ee_error *err);

/** Options of ee_verify_quote(). Fill with ee_verify_options_init(); new fields are only ever appended. */
typedef struct ee_verify_options {
    size_t struct_bytes;
    uint64_t now_unix_s;          /**< time for every validity window; 0 = this machine's clock */
    ee_span expected_report_data; /**< exactly 64 bytes, or {NULL, 0}: then the verdict says "skipped" for it */
    ee_span ccel;                 /**< the machine's boot log, /sys/firmware/acpi/tables/data/CCEL, at most 1 MiB: it must replay to the
                                       quote's RTMR0 to RTMR2 (check "boot_log"); {NULL, 0}: "skipped" */
} ee_verify_options;
#define ee_verify_options_init(options) ee_options_init((options), sizeof *(options))

/**
 * Check a TDX quote against collateral and policy, offline.
 * Succeeds only if the quote is authentic AND acceptable: there is no "verified but bad" success.
 * @param quote raw quote, version 4 or 5, at most EE_QUOTE_BYTES_MAX; borrowed for the call
 * @param policy NULL = ee_policy_production()   @param options NULL = defaults
 * @param out [out, owned] release with ee_verdict_free(); also set on EE_E_ATTESTATION, where it says which check failed
 * @return EE_OK; EE_E_ATTESTATION (see the verdict; also for a quote that is too large or cannot be read); EE_E_INVALID (arguments);
 *         EE_E_NOMEM.
 * Thread-safe, also for one collateral: what of it does not depend on the quote is found out once. Never blocks. At most 200 KiB of memory
 * beside the collateral, and 400 KiB more for a boot log. Spec: Intel TDX DCAP Quoting Library API; PCS API v4.
 */
EE_API EE_MUST_USE ee_status ee_verify_quote(ee_span quote, const ee_collateral *collateral, const ee_policy *policy,
                                             const ee_verify_options *options, ee_verdict **out, ee_error *err);

/** The same with collateral as it is delivered (ee_collateral_parse()): when it cannot be read, that is the check "collateral_format"
 * failed and EE_E_ATTESTATION, not a failed call. For one quote; many under one collateral are cheaper with ee_verify_quote(). */
EE_API EE_MUST_USE ee_status ee_verify_quote_json(ee_span quote, ee_span collateral_json, const ee_policy *policy,
                                                  const ee_verify_options *options, ee_verdict **out, ee_error *err);

/** Check a saved evidence file (ee_verdict_export()) with no network at all. @param at_unix_s 0 = the time stored in the file
 *  @return as ee_verify_quote(), and EE_E_NOT_FOUND, EE_E_IO or EE_E_TIMEOUT (a pipe that nobody writes to, or that does not end within 30
 * s) for a path that has nothing to check. What is no evidence, or is over 4 MiB, is a failed check. At most 100 MiB of memory. */
EE_API EE_MUST_USE ee_status ee_verify_file(const char *path, const ee_policy *policy, uint64_t at_unix_s, ee_verdict **out, ee_error *err);

typedef enum ee_check_result { EE_CHECK_PASS = 0, EE_CHECK_FAIL = 1, EE_CHECK_SKIPPED = 2 } ee_check_result;
/** One named check. Strings are tied to the verdict. */
typedef struct ee_check {
    const char *name; /**< "quote_signature", "tcb_status", "measurement" ... */
    ee_check_result result;
    const char *expected; /**< "" when there is nothing to compare */
    const char *actual;
    const char *explain; /**< a sentence for people; names the next step when it failed */
} ee_check;

EE_API int ee_verdict_verified(const ee_verdict *verdict);  /**< 1 only if no check failed; what there was nothing to compare with is
                                                                 skipped, and the table says so */
EE_API int ee_verdict_simulated(const ee_verdict *verdict); /**< 1 when the anchor is not Intel's */
EE_API size_t ee_verdict_check_count(const ee_verdict *verdict);
/** One of its checks, in the order in which they were made. @return EE_E_INVALID past the last */
EE_API EE_MUST_USE ee_status ee_verdict_check_at(const ee_verdict *verdict, size_t index, ee_check *out, ee_error *err);
EE_API const char *ee_verdict_tcb_status(const ee_verdict *verdict); /**< "UpToDate" ...; "" before it was reached */
EE_API const char *ee_verdict_text(const ee_verdict *verdict);       /**< the table of `ee verify`, 100 columns wide */
/** The same table, @p columns wide (24 to 1000, 0 = 100): in a narrow one the sentences stand below their titles. @param out [out, owned]
 * release with ee_string_free() */
EE_API EE_MUST_USE ee_status ee_verdict_render(const ee_verdict *verdict, uint32_t columns, char **out, ee_error *err);
/** {"verified","authentic","simulated","node","tcb_status","advisory_ids":[],"checks":[{"name","title","status","passed","reason","expected",
 * "actual","explain"}],"verified_at","policy_hash", ...}, then what the quote says, in hex as it lies there: "mrtd", "rtmr0".."rtmr3",
 * "report_data", "mr_seam" ..., and "boot_events" when there was a boot log and it replays: [{"rtmr","type","name","digest","data"}], data
 * in hex only where the digest is of it, else null; the type is the log's own word. "reason" of a failed check is "expired" (get newer
 * collateral, or set the clock), "malformed" or "attestation". Where "authentic" is false nobody vouches for what the quote says: no
 * signature under the trust anchor stands behind it. Made when it is first asked for; "" when out of memory. */
EE_API const char *ee_verdict_json(const ee_verdict *verdict);
/** Write an evidence file: quote, collateral, statement, checks, time. Mode 0600, atomically. A symbolic link is followed; a device or FIFO
 * is written to. */
EE_API EE_MUST_USE ee_status ee_verdict_export(const ee_verdict *verdict, const char *path, ee_error *err);
/** Another hold on the same verdict; each is released with ee_verdict_free(). NULL for NULL. */
EE_API ee_verdict *ee_verdict_ref(const ee_verdict *verdict);
/** Give back one hold. NULL is fine. */
EE_API void ee_verdict_free(ee_verdict *verdict);

#ifdef __cplusplus
}
#endif
#endif
