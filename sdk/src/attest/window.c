/* window.c - see window.h. Called through it. */
#include "attest/window.h"

void eei_window_narrow(eei_window *window, uint64_t from_s, uint64_t to_s, const char *what) {
    if (from_s > window->from_s) {
        window->from_s = from_s;
        window->from_what = what;
    }
    if (to_s < window->to_s) {
        window->to_s = to_s;
        window->to_what = what;
    }
}
