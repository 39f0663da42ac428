/* runtime.h - runs OCI images: pulls them by digest, starts them in sandboxes, hands output and the exit on. One runtime per agent.
 * Not for: deciding who may run what, metering, channels. Called by the agent's job and app code, on the thread of its libuv loop.
 *
 * Life of a job:   agent_image_prepare() -> done(image) -> agent_run_start() -> started, output..., exit -> agent_run_free(),
 * agent_image_release() Life of an app:  the same, and agent_run_connect() for every connection to it.
 *
 * Everything here is for one thread, that of the loop given to agent_runtime_new(). Callbacks come from that loop, never from inside the
 * call that caused them, and may call any function of this header, agent_run_free() of their own run included. */
#ifndef AGENT_RUNTIME_H
#define AGENT_RUNTIME_H
#include "base/buf.h"
#include "wire/messages.h"

#include <eesdk/jobs.h>

#include <stdbool.h>
#include <uv.h>

/* Owns the state directory, the image cache, the pool of prepared sandboxes and what the probe found out about this machine. */
typedef struct agent_runtime agent_runtime;
/* An unpacked image of the cache. Counted: release each one you were given. */
typedef struct agent_image agent_image;
/* A caller that waits for an image. */
typedef struct agent_image_request agent_image_request;
/* One execution of an image. */
typedef struct agent_run agent_run;

/* A zeroed field means its default. Strings are copied. */
typedef struct agent_runtime_options {
    const char *root_dir;  /* state of sandboxes; a tmpfs if there is one. One agent at a time: the directory is locked */
    const char *image_dir; /* unpacked images; default root_dir/images. On storage the host cannot rewrite. Emptied at start: nobody watched
                              what is there */
    const char *runtime;   /* "runc", "crun" or a path; default: the first of runc, crun that passes the probe */
    const char *shim_path; /* the ee-shim binary; it is copied */
    uint64_t image_cache_bytes;  /* all unpacked images together; default 16 GiB. Images in use are never evicted */
    uint64_t image_bytes_max;    /* one image, packed or unpacked; default 8 GiB */
    uint32_t image_entries_max;  /* files of one image; default 500,000 */
    uint32_t pull_timeout_ms;    /* default 10 min */
    int32_t pool_max;            /* spare sandboxes in all; default 4; -1: none */
    uint32_t pool_idle_ms;       /* a spare that nobody used is destroyed after this; default 60 s */
    const char *const *tool_env; /* NULL-ended "NAME=value" for skopeo: proxies, SSL_CERT_FILE, REGISTRY_AUTH_FILE; never job data */
} agent_runtime_options;

/* What this machine can do, as found by starting a real sandbox. */
typedef struct agent_runtime_facts {
    const char *runtime_path; /* "/usr/sbin/runc" */
    int cgroup_version;       /* 1 (hybrid hosts too), 2; 0: none usable */
    bool limits_enforced;     /* memory, vcpus and pids are cgroup limits; false: only per-process rlimits */
    bool user_namespace;      /* root inside is nobody outside */
    bool rootless;            /* the agent itself is not root */
} agent_runtime_facts;

/* Start the runtime: take the directory, delete what a killed predecessor left there (containers, cgroups, mounts, half-pulled images),
 * find an OCI runtime and prove it by starting a sandbox. Blocks, about 0.2 s; call it before the loop runs.
 * Makes this process a child subreaper, so that it can wait for containers.
 * EE_E_CONFIG says what is missing and how to get it; EE_E_CONFLICT when another agent uses root_dir; EE_E_IO; EE_E_NOMEM. */
ee_status agent_runtime_new(uv_loop_t *loop, const agent_runtime_options *options, agent_runtime **out, ee_error *err) EE_MUST_USE;
const agent_runtime_facts *agent_runtime_get_facts(const agent_runtime *rt);
/* Stop everything: pulls end, runs are killed (their exit callbacks still come), spares are destroyed; then done(user). */
typedef void (*agent_runtime_closed_fn)(void *user);
void agent_runtime_close(agent_runtime *rt, agent_runtime_closed_fn done, void *user);
/* After done of agent_runtime_close(). NULL is fine. */
void agent_runtime_free(agent_runtime *rt);

/* ---- images ---- */

/* phase "pulling" (bytes of total) or "unpacking" (bytes of total); about every 200 ms. */
typedef void (*agent_image_progress_fn)(void *user, const char *phase, uint64_t done, uint64_t total);
/* Once, unless the request was cancelled. On EE_OK image is yours; else it is NULL and err says why:
 * EE_E_IMAGE (no such image, tampered, over a limit, not for this machine), EE_E_CONNECT (registry), EE_E_TIMEOUT, EE_E_CANCELLED ... */
typedef void (*agent_image_done_fn)(void *user, ee_status status, agent_image *image, const ee_error *err);

/* Get an image ready to run. The digest is of a manifest, or of an index from which this machine's platform is taken. Every byte that
 * ends up in the root filesystem is hashed against it. Requests for one digest share one pull; a cached image is done on the next loop
 * turn. repository is "host[:port]/path", no tag. insecure_http_ok allows plain HTTP, for registries on loopback addresses only.
 * EE_E_INVALID for a bad repository; EE_E_STATE when closing; EE_E_NOMEM. Then done is not called. */
ee_status agent_image_prepare(agent_runtime *rt, const char *repository, const uint8_t digest[32], bool insecure_http_ok,
                              agent_image_progress_fn progress, agent_image_done_fn done, void *user, agent_image_request **out,
                              ee_error *err) EE_MUST_USE;
/* No more callbacks; the pull ends if nobody else waits for it. Not after done came. */
void agent_image_request_cancel(agent_image_request *request);
void agent_image_release(agent_image *image);                         /* NULL is fine */
const uint8_t *agent_image_digest(const agent_image *image);          /* 32 bytes: as asked for */
const uint8_t *agent_image_manifest_digest(const agent_image *image); /* 32 bytes: of the manifest that runs; differs for an index */
const uint8_t *agent_image_config_digest(const agent_image *image);   /* 32 bytes: the image id; names every layer's content */
uint64_t agent_image_size(const agent_image *image);                  /* bytes unpacked */
uint16_t agent_image_port(const agent_image *image);                  /* lowest TCP port of EXPOSE; 0: none */

/* ---- runs ---- */

typedef struct agent_limits {
    uint32_t vcpus_milli;  /* 1000 = one cpu's time; default 1000, at least 10 */
    uint64_t memory_bytes; /* with the page cache and all tmpfs; default 512 MiB, at least 16 MiB */
    uint32_t pids_max;     /* processes and threads; default 512 */
    uint64_t tmpfs_bytes;  /* size of /tmp, and of each other writable place; default half the memory */
} agent_limits;

typedef struct agent_run_options {
    const char *id;      /* job or app id, for logs */
    const ee_span *args; /* replace the image's Cmd; Entrypoint stays in front (as docker run does) */
    size_t args_count;   /* 0: the image's Cmd */
    const eei_env *env;  /* over the image's Env; reaches the sandbox through a pipe only (threat W11) */
    size_t env_count;
    ee_span stdin_data; /* whole standard input, then end of file */
    agent_limits limits;
    uint64_t timeout_ms; /* wall clock from started; killed at once when it is over, as the time is what was paid for. 0: none */
    bool no_spare;       /* do not prepare a sandbox for the next run of this image (apps) */
} agent_run_options;

typedef enum agent_exit {
    AGENT_EXITED = 0,    /* by itself, or by a signal of its own: see exit_code */
    AGENT_OUT_OF_MEMORY, /* the kernel killed a process of it at the memory limit, and it did not end with 0 */
    AGENT_TIMED_OUT,
    AGENT_CANCELLED,
    AGENT_COMMAND_NOT_FOUND, /* the command is not in the image, or no program there: it never ran */
    AGENT_START_FAILED,      /* the sandbox could not be made: it never ran */
} agent_exit;
const char *agent_exit_word(agent_exit reason); /* "exited" "out_of_memory" "timed_out" "cancelled" "command_not_found" "start_failed" */

typedef struct agent_run_result {
    agent_exit reason;
    int32_t exit_code;          /* 128 + n when signal n ended it; 127 or 126 for a command that was not found or not executable */
    int32_t signal;             /* 0, or the signal that ended it */
    uint64_t wall_ms;           /* started to exit; 0 if it never ran */
    uint64_t cpu_usec;          /* user and system, all processes; 0 if limits are not enforced */
    uint64_t memory_peak_bytes; /* idem */
    uint32_t oom_kills;         /* processes the kernel killed at the memory limit */
    char message[232];          /* one line for people when it did not just exit; no secrets */
} agent_run_result;

typedef struct agent_run_callbacks {
    void (*started)(void *user); /* the command is executing */
    /* Bytes of one stream in their order. data is valid for the call only. Not after agent_run_pause_output(). */
    void (*output)(void *user, ee_stream_id stream, const void *data, size_t len);
    /* Once, last, after all output was handed over. All processes are gone. A paused run does not exit before it is resumed. */
    void (*exit)(void *user, const agent_run_result *result);
} agent_run_callbacks;

/* Start an execution; it takes its own reference of the image. What goes wrong later is told by exit.
 * EE_E_INVALID (limits, args or env that cannot be), EE_E_COMMAND (the image has no command and none was given), EE_E_LIMIT, EE_E_STATE,
 * EE_E_NOMEM. */
ee_status agent_run_start(agent_runtime *rt, agent_image *image, const agent_run_options *options, const agent_run_callbacks *callbacks,
                          void *user, agent_run **out, ee_error *err) EE_MUST_USE;
/* TERM to the command now, KILL to everything after the grace (0: KILL now). The reason becomes "cancelled". Again: a shorter grace counts.
 */
void agent_run_cancel(agent_run *run, uint32_t grace_ms);
/* Backpressure: the pipes fill and the job blocks on its writes; nothing is lost or buffered here. */
void agent_run_pause_output(agent_run *run);
void agent_run_resume_output(agent_run *run);
/* A non-blocking TCP socket to 127.0.0.1:port inside the run's own network namespace; close(2) it. No port exists outside of it.
 * It may still be connecting: wait until writable, then ask SO_ERROR. EE_E_APP_UNAVAILABLE when nothing listens or nothing runs; EE_E_IO.
 */
ee_status agent_run_connect(agent_run *run, uint16_t port, int *fd, ee_error *err) EE_MUST_USE;
/* No more callbacks; what still runs is killed and cleaned up in the background. NULL is fine. */
void agent_run_free(agent_run *run);
#endif
