/* options.c - see options.h. */
#include "options.h"

#include <stdbool.h>
#include <string.h>

enum { OPTIONS_BYTES_MAX = 4096 }; /* no struct is near it: what is over was not initialized, and nothing behind its size is read */

void ee_options_init(void *options, size_t struct_bytes) {
    if (!options || struct_bytes < sizeof struct_bytes) return;
    memset(options, 0, struct_bytes);
    memcpy(options, &struct_bytes, sizeof struct_bytes);
}

static bool all_zero(const uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (bytes[i]) return false;
    return true;
}

ee_status eei_options_take(const eei_options_kind *kind, const void *given, void *out, ee_error *err) {
    size_t bytes = kind->known;
    ee_options_init(out, kind->known);
    if (!given) return EE_OK;
    memcpy(&bytes, given, sizeof bytes);
    if (bytes < kind->least || bytes > OPTIONS_BYTES_MAX || bytes % sizeof(void *) != 0)
        return eei_fail(err, EE_E_INVALID, "%s says that it has %zu bytes; this library knows %zu: use %s_init()", kind->name, bytes,
                        kind->known, kind->name);
    if (bytes > kind->known && !all_zero((const uint8_t *)given + kind->known, bytes - kind->known)) {
        eei_fail(err, EE_E_INVALID, "%s sets a field behind byte %zu, which libeesdk %s does not know", kind->name, kind->known,
                 ee_version());
        return eei_hint(err, EE_E_INVALID, "use the libeesdk that the program was compiled for, or leave the field at 0");
    }
    memcpy(out, given, bytes < kind->known ? bytes : kind->known);
    memcpy(out, &kind->known, sizeof kind->known);
    return EE_OK;
}
