/* cancel.c - stop a waiting call from another thread or a signal handler. Not for deadlines. Called by users and by every wait. */
#include "cancel.h"

#include "alloc.h"
#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct ee_cancel {
    atomic_int fired; /* lock-free, so allowed in a signal handler (C11 7.14.1.1) */
    int fd;
};
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "ee_cancel_fire() must be async-signal-safe");

ee_status ee_cancel_new(ee_cancel **out, ee_error *err) {
    *out = NULL;
    ee_cancel *cancel = eei_calloc(1, sizeof *cancel);
    if (!cancel) return eei_nomem(err);
    cancel->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (cancel->fd < 0) {
        ee_status st = eei_fail_errno(err, EE_E_IO, errno, "cannot make a cancel object");
        eei_free(cancel);
        return st;
    }
    *out = cancel;
    return EE_OK;
}

void ee_cancel_fire(ee_cancel *cancel) {
    if (!cancel) return;
    int kept = errno; /* a signal handler must not change it */
    uint64_t one = 1;
    if (atomic_exchange(&cancel->fired, 1) == 0) {
        ssize_t n = write(cancel->fd, &one, sizeof one); /* one write to an empty counter cannot block or fail */
        (void)n;
    }
    errno = kept;
}

int ee_cancel_fired(const ee_cancel *cancel) { return cancel ? atomic_load(&cancel->fired) : 0; }

void ee_cancel_free(ee_cancel *cancel) {
    if (!cancel) return;
    close(cancel->fd);
    eei_free(cancel);
}

int eei_cancel_fd(const ee_cancel *cancel) { return cancel ? cancel->fd : -1; }

ee_status eei_cancel_check(const ee_cancel *cancel, ee_error *err) {
    return ee_cancel_fired(cancel) ? eei_fail(err, EE_E_CANCELLED, "cancelled by the caller") : EE_OK;
}

ee_status eei_cancel_pause(const ee_cancel *cancel, uint64_t ms, ee_error *err) {
    const uint64_t until = eei_mono_ms() + ms, longest = 60000; /* a number that poll() takes */
    for (;;) {
        uint64_t now = eei_mono_ms();
        struct pollfd fired = {.fd = eei_cancel_fd(cancel), .events = POLLIN};
        if (now >= until) return eei_cancel_check(cancel, err);
        int n = poll(&fired, 1, (int)(until - now < longest ? until - now : longest));
        if (n > 0) return eei_cancel_check(cancel, err);
        if (n < 0 && errno != EINTR) return eei_fail_errno(err, EE_E_IO, errno, "poll");
    }
}
