/* waiter.c - see waiter.h. */
#include "waiter.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

ee_status client_waiter_init(client_waiter *waiter, ee_error *err) {
    waiter->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return waiter->fd >= 0 ? EE_OK : eei_fail_errno(err, EE_E_IO, errno, "eventfd");
}

void client_waiter_clear(client_waiter *waiter) {
    if (waiter->fd >= 0) close(waiter->fd);
    waiter->fd = -1;
}

void client_waiter_wake(client_waiter *waiter) {
    uint64_t one = 1;
    ssize_t ignored = write(waiter->fd, &one, sizeof one); /* full counter: already awake */
    (void)ignored;
}

ee_status client_waiter_wait(client_waiter *waiter, uint64_t deadline_ms, const ee_cancel *cancel, ee_error *err) {
    for (;;) {
        struct pollfd fds[2] = {{.fd = waiter->fd, .events = POLLIN}, {.fd = eei_cancel_fd(cancel), .events = POLLIN}};
        uint64_t now = eei_mono_ms(), count;
        int timeout = -1;
        if (deadline_ms != UINT64_MAX) {
            uint64_t left = deadline_ms > now ? deadline_ms - now : 0;
            timeout = left > INT_MAX ? INT_MAX : (int)left;
        }
        int n = poll(fds, 2, timeout);
        if (n < 0 && errno != EINTR) return eei_fail_errno(err, EE_E_IO, errno, "poll");
        if (n > 0 && (fds[1].revents & POLLIN)) return eei_fail(err, EE_E_CANCELLED, "the call was cancelled");
        if (n > 0 && read(waiter->fd, &count, sizeof count) == (ssize_t)sizeof count) return EE_OK;
        if (deadline_ms != UINT64_MAX && eei_mono_ms() >= deadline_ms) return eei_fail(err, EE_E_TIMEOUT, "the deadline passed");
    }
}
