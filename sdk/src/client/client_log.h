/* client_log.h - ee_client_options.log: the lines of this library go to each client that asked for them. Called by client.c. */
#ifndef CLIENT_LOG_H
#define CLIENT_LOG_H
#include <eesdk/client.h>

/* From now on `log` gets every line, of all clients of this process; NULL: nothing. The slot is the caller's, until leave. */
typedef struct client_log {
    ee_log_fn log;
    void *user;
    struct client_log *next;
} client_log;
void client_log_join(client_log *slot, ee_log_fn log, void *user);
void client_log_leave(client_log *slot); /* no call is under way when it returns, and none comes after */
#endif
