/* types.h - the words every other header uses: status, error, span, money, cancel.
 * Nothing here talks to the network. Included by all public headers and by sdk/src/base. */
#ifndef EESDK_TYPES_H
#define EESDK_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define EE_API      __attribute__((visibility("default")))
#define EE_MUST_USE __attribute__((warn_unused_result))
#else
#define EE_API
#define EE_MUST_USE
#endif

/** What a call came to. EE_OK is 0, every failure is negative; see status.def for words and meaning. */
typedef enum ee_status {
#define EE_STATUS(symbol, number, word, http, python, go, exit_code, retryable, text) symbol = number,
#include <eesdk/status.def>
#undef EE_STATUS
    EE_STATUS_FORCE_SIGNED = -2147483647 - 1 /**< never returned; keeps the enum a signed 32-bit integer */
} ee_status;

/** Dollars in millionths: 1 credit = 1 USD = 1,000,000. Exact; there is no conversion from floating point. */
typedef int64_t ee_money;

/** Borrowed bytes. Valid as long as whatever they were borrowed from. */
typedef struct ee_span {
    const uint8_t *data; /**< may be NULL when len is 0 */
    size_t len;          /**< bytes */
} ee_span;

/**
 * The story of a failure. Plain storage in the caller's frame: nothing to free, works when out of memory,
 * never shared between threads. Filled on failure, untouched on success. Every function takes NULL for it.
 */
typedef struct ee_error {
    ee_status status;
    int32_t http_status;      /**< HTTP status the control plane answered with, 0 if there was none */
    uint32_t native_code;     /**< errno, X509_V_ERR_*, CURLcode, SQLite code: for people and logs only */
    uint32_t retry_after_ms;  /**< wait at least this long before a retry; 0 = not said */
    int32_t retryable;        /**< 1 when the same call may succeed later */
    uint64_t refusal;         /**< with EE_E_ATTESTATION: which verdict is behind it, for ee_client_refused(); 0 = none */
    uint64_t offset_bytes;    /**< where in the input, when status is EE_E_MALFORMED or EE_E_INVALID_AMOUNT */
    ee_money needed;          /**< with EE_E_LOW_BALANCE and EE_E_BUDGET; else 0 */
    ee_money available;       /**< idem */
    ee_money locked;          /**< idem: locked elsewhere, not lost */
    char word[32];            /**< stable word for programs: "low_balance" */
    char message[512];        /**< one line, no secrets: what happened, with the numbers */
    char hint[256];           /**< what to do next; may be empty */
    char request_id[48];      /**< of the control plane's answer; may be empty */
    char idempotency_key[72]; /**< with EE_E_OUTCOME_UNKNOWN: repeat the call with it, it cannot happen twice */
    char details[1024];       /**< JSON object, "" if none: {"rejected": {"node-a": "..."}}, {"check": "..."} */
} ee_error;

/** "low_balance" for EE_E_LOW_BALANCE; "unknown" for a number that is not a status. Static storage. Any thread. */
EE_API const char *ee_status_word(ee_status status);
/** One plain sentence part for a status. Static storage. Any thread. */
EE_API const char *ee_status_text(ee_status status);
/** The exit code the CLI uses for a status. Any thread. */
EE_API int ee_status_exit_code(ee_status status);
/** "MAJOR.MINOR.PATCH". Static storage. Any thread. */
EE_API const char *ee_version(void);

/**
 * Parse an amount as people write it: "$200", "200", "200.50 USD", "0.000001".
 * Refused with EE_E_INVALID_AMOUNT, err->offset_bytes at the place: zero, signs, exponents, thousands commas,
 * more than six decimals, other currencies, digits that are not ASCII, empty text, more than 9,223,372,036,854.775807.
 * @param text NUL-terminated UTF-8   @param out [out] microdollars   Any thread.
 */
EE_API EE_MUST_USE ee_status ee_money_parse(const char *text, ee_money *out, ee_error *err);
/** "$200.00", "$0.000036": at least two decimals, more only when they are not zero. @p buf is 32 bytes; returns it. Any thread. */
EE_API char *ee_money_format(ee_money amount, char buf[32]);

/**
 * Parse a time as people write it: "90s", "10m", "1h30m", "1.5h", "500ms"; a number alone is seconds. Part of a millisecond counts as one.
 * EE_E_INVALID for all else, for zero, and from 10,000,000,000 s on. Any thread.
 */
EE_API EE_MUST_USE ee_status ee_duration_parse(const char *text, uint64_t *out_ms, ee_error *err);
/**
 * Parse a size as people write it: "512M", "2G", "1.5GiB", "65536"; K, M, G and T, also small ones, are powers of 1024, with or without "B"
 * or "iB". EE_E_INVALID for all else, for zero, for what is no whole number of bytes, and from 2^63 on. Any thread.
 */
EE_API EE_MUST_USE ee_status ee_size_parse(const char *text, uint64_t *out_bytes, ee_error *err);
/**
 * Behind each ee_..._options_init(): all fields 0, and the size that the calling program was compiled with. A library with more fields
 * takes their defaults for what the struct does not have; one with fewer takes it as long as what it does not know is 0, else it is
 * EE_E_INVALID.
 * @param options a struct that begins with its size   @param struct_bytes sizeof of it   Any thread.
 */
EE_API void ee_options_init(void *options, size_t struct_bytes);

/** A way to stop a waiting call from elsewhere. */
typedef struct ee_cancel ee_cancel;
/** @param out [out, owned] ee_cancel_free(); may be given to any number of calls, one after another or at once */
EE_API EE_MUST_USE ee_status ee_cancel_new(ee_cancel **out, ee_error *err);
/** Any thread, and from signal handlers. Calls that were given @p cancel return EE_E_CANCELLED soon. Stays fired. */
EE_API void ee_cancel_fire(ee_cancel *cancel);
/** 1 once it has fired; 0 for NULL. Any thread, and from signal handlers. */
EE_API int ee_cancel_fired(const ee_cancel *cancel);
/** When no call has it any more. NULL is fine. */
EE_API void ee_cancel_free(ee_cancel *cancel);

#ifdef __cplusplus
}
#endif
#endif
