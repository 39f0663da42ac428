/* cancel.h - the inside of ee_cancel: a descriptor that becomes readable when it fires and stays so, for poll and event loops.
 * Nobody reads from it, so any number of waiters may poll one. Called by net and client. */
#ifndef EEI_CANCEL_H
#define EEI_CANCEL_H
#include "error.h"

int eei_cancel_fd(const ee_cancel *cancel); /* -1 for NULL; closed by ee_cancel_free() */
/* EE_E_CANCELLED once fired; NULL never is. For loops between waits. */
ee_status eei_cancel_check(const ee_cancel *cancel, ee_error *err) EE_MUST_USE;
/* Let this much time pass, but not through a cancel: EE_E_CANCELLED. NULL never is. */
ee_status eei_cancel_pause(const ee_cancel *cancel, uint64_t ms, ee_error *err) EE_MUST_USE;
#endif
