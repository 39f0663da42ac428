/* probe.h - does the app's port answer? A TCP connect inside the app's own network namespace, with a deadline. One use, then gone.
 * Called by apps.c while an app starts and by health.c for every check. */
#ifndef AGENT_PROBE_H
#define AGENT_PROBE_H
#include "agent/runtime.h"

typedef struct agent_probe agent_probe;
typedef void (*agent_probe_fn)(void *user, bool ok, const char *message);
/* done comes from the loop, once, unless the probe is freed first; the probe is gone after it. NULL when it cannot even start. */
agent_probe *agent_probe_start(uv_loop_t *loop, agent_run *run, uint16_t port, uint32_t timeout_ms, agent_probe_fn done, void *user);
void agent_probe_free(agent_probe *probe); /* no callback; NULL is fine */
#endif
