/* waiter.h - how a user's thread waits for the loop's: an eventfd, a deadline, a cancel. Called by dial, jobs and apps. */
#ifndef CLIENT_WAITER_H
#define CLIENT_WAITER_H
#include "base/cancel.h"
#include "base/clock.h"

typedef struct client_waiter {
    int fd;
} client_waiter;
ee_status client_waiter_init(client_waiter *waiter, ee_error *err) EE_MUST_USE;
void client_waiter_clear(client_waiter *waiter);
void client_waiter_wake(client_waiter *waiter); /* any thread */
/* Until woken; the wake-up is taken. deadline in mono_ms, UINT64_MAX = none. EE_E_TIMEOUT, EE_E_CANCELLED. */
ee_status client_waiter_wait(client_waiter *waiter, uint64_t deadline_ms, const ee_cancel *cancel, ee_error *err) EE_MUST_USE;
#endif
