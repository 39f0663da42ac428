/* service.h - what every program of ours does as a process: no core dumps, orderly stop on signals, one line when it is ready.
 * Not for configuration or work. Called by the programs' main. */
#ifndef SERVICE_H
#define SERVICE_H
#include "base/error.h"

#include <stdbool.h>
#include <uv.h>

/* First thing in main: no core dumps and no ptrace by others (keys are in memory), SIGPIPE ignored, files are private. */
ee_status service_harden(ee_error *err) EE_MUST_USE;
/* "error" "warn" "info" "debug": lines to stderr from now on. */
ee_status service_log(const char *level, ee_error *err) EE_MUST_USE;

typedef struct service {
    uv_signal_t signals[2];
    bool asked;
    void (*stop)(void *user);
    void *user;
} service;
/* SIGTERM and SIGINT call stop() once, on the loop; another one of them ends the process at once. */
ee_status service_watch(service *self, uv_loop_t *loop, void (*stop)(void *user), void *user, ee_error *err) EE_MUST_USE;
void service_unwatch(service *self); /* its handles close in the next turn of the loop; self must live until then */
/* "ready <port>" to descriptor EE_READY_FD, which is closed then; nothing when it is not set. */
void service_ready(uint16_t port);
#endif
