/* home_config.c - see home_config.h. Reads XDG_* and HOME, nothing else. */
#include "home_config.h"

#include <stdio.h>
#include <stdlib.h>

ee_status eei_home_path(char *out, size_t cap, const char *xdg_name, const char *below_home, const char *rest, ee_error *err) {
    const char *base = getenv(xdg_name), *home = getenv("HOME");
    int n;
    if (base && base[0] == '/')
        n = snprintf(out, cap, "%s/%s", base, rest);
    else if (home && home[0] == '/')
        n = snprintf(out, cap, "%s/%s/%s", home, below_home, rest);
    else
        return eei_fail(err, EE_E_CONFIG, "neither %s nor HOME is set to a path", xdg_name);
    if (n < 0 || (size_t)n >= cap) return eei_fail(err, EE_E_CONFIG, "the path below %s is longer than %zu bytes", xdg_name, cap - 1);
    return EE_OK;
}

ee_status eei_runtime_path(char *out, size_t cap, const char *rest, ee_error *err) {
    return eei_home_path(out, cap, "XDG_RUNTIME_DIR", ".local/state", rest, err);
}
