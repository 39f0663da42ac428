/* encoding.h - hex, base64url, and strict JSON at the edges. Called by wire views, attest collateral, client and server.
 * JSON is jansson with our rules on top: no duplicate keys, bounded depth and size, no trailing bytes, no numbers with a fraction. */
#ifndef EEI_ENCODING_H
#define EEI_ENCODING_H
#include "buf.h"

#include <jansson.h>

void eei_hex_encode(ee_span in, char *out);                                                   /* lower case; out has 2*len + 1 */
ee_status eei_hex_decode(const char *hex, void *out, size_t len, ee_error *err) EE_MUST_USE;  /* exactly len bytes; either case */
ee_status eei_hex_decode_span(ee_span hex, void *out, size_t len, ee_error *err) EE_MUST_USE; /* the same */
ee_status eei_hex_append(ee_span hex, eei_buf *out, ee_error *err) EE_MUST_USE;               /* any length */
ee_status eei_base64url_encode(ee_span in, eei_buf *out) EE_MUST_USE;                         /* no padding */
ee_status eei_base64url_decode(const char *text, eei_buf *out, ee_error *err) EE_MUST_USE; /* canonical only: no padding, no stray bits */

/* Parse a JSON object or array of at most max bytes, depth EEI_JSON_DEPTH_MAX. *out: json_decref(). EE_E_MALFORMED with offset. */
ee_status eei_json_parse(ee_span text, size_t max, json_t **out, ee_error *err) EE_MUST_USE;
/* Field access that says which field is wrong: EE_E_INVALID "field \"amount\" must be a string". Borrowed from the object. */
ee_status eei_json_string(const json_t *object, const char *field, const char **out, ee_error *err) EE_MUST_USE;
ee_status eei_json_string_opt(const json_t *object, const char *field, const char **out, ee_error *err) EE_MUST_USE; /* absent: NULL */
ee_status eei_json_u64(const json_t *object, const char *field, uint64_t *out, ee_error *err) EE_MUST_USE;
/* Refuse fields that are not in the NULL-ended list: EE_E_INVALID names the first. */
ee_status eei_json_only(const json_t *object, const char *const *allowed, ee_error *err) EE_MUST_USE;
ee_status eei_json_dump(const json_t *value, eei_buf *out, ee_error *err) EE_MUST_USE; /* compact */
/* {"usd": "0.000036", "micros": 36} */
/* Takes value, also NULL (out of memory); what fails is noted in *ok. */
void eei_json_put(json_t *object, const char *key, json_t *value, bool *ok);
json_t *eei_json_hex(const uint8_t *data, size_t len); /* of at most 64 bytes */
json_t *eei_json_money(ee_money amount);
#endif
