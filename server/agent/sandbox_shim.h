/* sandbox_shim.h - what goes over the two pipes between the agent and ee-shim. Both are built together and run on one machine: native
 * byte order and layout. Included by shim.c and sandbox.c. */
#ifndef AGENT_SANDBOX_SHIM_H
#define AGENT_SANDBOX_SHIM_H
#include <stdint.h>

#define EE_SHIM_MAGIC       0x3162656au /* "jeb1" */
#define EE_SHIM_BYTES_MAX   (4u << 20)  /* 1 MiB of environment, args, the image's own environment */
#define EE_SHIM_STRINGS_MAX 4096u       /* args, and environment variables */

typedef struct ee_shim_job { /* then: cwd NUL, args x (text NUL), env x (NAME=value NUL); bytes in all */
    uint32_t magic, args, env, bytes;
    uint64_t data_max; /* RLIMIT_DATA of the command: where no cgroup limits it; 0: none. The runtime needs more than it while it starts */
} ee_shim_job;

typedef enum ee_shim_kind {
    EE_SHIM_READY = 1,   /* waits for a job */
    EE_SHIM_STARTED = 2, /* the command is executing */
    EE_SHIM_NO_CWD = 3,  /* value: errno of chdir; nothing ran */
    EE_SHIM_NO_EXEC = 4, /* value: errno of execve, fork or pipe; nothing ran */
    EE_SHIM_ENDED = 5,   /* value: wait status of the command */
} ee_shim_kind;

typedef struct ee_shim_report {
    uint32_t kind; /* ee_shim_kind */
    int32_t value;
} ee_shim_report;
#endif
