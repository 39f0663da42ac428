/* toml.h - the subset of TOML our files use: comments, [table], [[array of tables]], bare and quoted keys, basic strings, integers,
 * booleans, arrays of those. Anything else is refused with file, line and key. Not a general TOML library (Debian 12 has none for C).
 * Called by policy, profiles and program configuration. */
#ifndef EEI_TOML_H
#define EEI_TOML_H
#include "encoding.h"

/* The document as JSON (strings, integers, booleans, arrays, objects); every leaf's line is kept beside it. */
typedef struct eei_toml eei_toml;
ee_status eei_toml_parse(ee_span text, const char *name, eei_toml **out, ee_error *err) EE_MUST_USE;
ee_status eei_toml_load(const char *path, size_t max, eei_toml **out, ee_error *err) EE_MUST_USE;
const json_t *eei_toml_root(const eei_toml *toml);
/* Line of "table.key" ("profile.work.url"; "rule.2.mrtd" is the third [[rule]]: elements count from 0, as in the JSON), 0 if there is none.
 */
unsigned eei_toml_line(const eei_toml *toml, const char *path);
const char *eei_toml_name(const eei_toml *toml);
/* EE_E_CONFIG "policy.toml:7: key \"mrtd\": ...". Of a key that is missing the line is its table's, or the file's last. */
ee_status eei_toml_fail(const eei_toml *toml, const char *path, ee_error *err, const char *format, ...) EEI_PRINTF(4, 5);
void eei_toml_free(eei_toml *toml);
#endif
