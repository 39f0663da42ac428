/* process.h - helper programs (skopeo, gzip, runc): started with argument arrays, never a shell; output bounded, time bounded.
 * Not for the workload itself: that is the sandbox's. Called by image.c, sandbox.c, runtime.c. */
#ifndef AGENT_PROCESS_H
#define AGENT_PROCESS_H
#include "base/buf.h"

#include <uv.h>

typedef struct agent_process agent_process;

typedef struct agent_process_options {
    const char *const *argv; /* argv[0] is an absolute path */
    const char *const *env;  /* NULL-ended; the agent's own environment is never passed on */
    const int *fds;          /* the child's 0, 1, 2, ...; NULL: null device, captured, captured */
    int fds_count;
    size_t output_max;       /* of each captured stream; more is read and dropped; `truncated` says so. 0: 64 KiB */
    uint32_t timeout_ms;     /* then KILL; 0: 60 s */
    uint64_t file_bytes_max; /* RLIMIT_FSIZE of the child; 0: not set */
} agent_process_options;

typedef struct agent_process_result {
    int exit_code; /* 128 + n when a signal ended it */
    bool timed_out, truncated;
    ee_span out, err; /* borrowed for the call; empty when fds were given */
} agent_process_result;
typedef void (*agent_process_done_fn)(void *user, const agent_process_result *result);

/* EE_E_CONFIG when the program cannot be executed; EE_E_IO; EE_E_NOMEM. done comes once, from the loop. The object frees itself after it.
 */
ee_status agent_process_start(uv_loop_t *loop, const agent_process_options *options, agent_process_done_fn done, void *user,
                              agent_process **out, ee_error *err) EE_MUST_USE;
/* KILL; done still comes. */
void agent_process_kill(agent_process *process);
/* KILL, and done does not come any more. */
void agent_process_abandon(agent_process *process);

/* The same, blocking, for the start and for worker threads. out and errors may be NULL. EE_OK whatever the exit code. */
ee_status agent_process_run(const agent_process_options *options, int *exit_code, eei_buf *out, eei_buf *errors, ee_error *err) EE_MUST_USE;

/* Absolute path of a program: `name` itself if it has a slash, else the first hit in the system directories. EE_E_NOT_FOUND. */
ee_status agent_process_find(const char *name, char *out, size_t cap, ee_error *err) EE_MUST_USE;
/* Last non-empty line of a tool's stderr as printable text, for messages. */
char *agent_process_last_line(ee_span text, char *out, size_t cap);
extern const char AGENT_PROCESS_PATH[]; /* "PATH=..." for environments */
#endif
