/* cmd_devnet_parts.h - what the files of `ee devnet` share. The supervisor is a process of its own: it makes the network's files, starts
 * every program as its child, deploys the sample app, and takes everything down with itself. Called by cmd_devnet.c. */
#ifndef CMD_DEVNET_PARTS_H
#define CMD_DEVNET_PARTS_H
#include "base/buf.h"
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/types.h>

#define DEVNET_SANDBOXES "/run/easyenclave-devnet-" /* then the pid of `ee devnet up`; root only */
enum { DEVNET_PATH_MAX = 512, DEVNET_CHILDREN_MAX = 16, DEVNET_NODES = 3 };

typedef struct devnet_child {
    char name[32];
    pid_t pid; /* 0 = does not run */
    pid_t started_as;
    int ready_fd;
    long log_from;     /* where its log begins, behind those of its predecessors */
    unsigned answered; /* orders to kill or heal it that were carried out */
    char failure[256]; /* of the last one; "" */
} devnet_child;

/* Orders to the supervisor: this signal, with the child's place in children.json and what to do as its value. Realtime, so that none is
 * merged with another. */
#define DEVNET_ORDER SIGRTMIN
enum { DEVNET_KILL = 0x100, DEVNET_HEAL = 0x200, DEVNET_PLACE = 0xff };

typedef struct devnet {
    char dir[DEVNET_PATH_MAX];       /* state: files, logs, databases; removed by `down` */
    char sandboxes[DEVNET_PATH_MAX]; /* the agents' sandboxes and images; removed by `down` */
    char cache[DEVNET_PATH_MAX];     /* image layout and registry storage; kept */
    char bin[DEVNET_PATH_MAX];       /* where the programs are */
    char file[DEVNET_PATH_MAX];      /* devnet.json */
    char lock[DEVNET_PATH_MAX];      /* held by the supervisor from before its start to its end */
    int lock_fd;
    int stop_fd; /* readable once the supervisor was asked to end */
    uint16_t port, registry_port;
    uint64_t attest_ms; /* between attestation checks */
    char network_id[65], url[64], registry[64];
    char dev_key[80], owner_key[80], admin_token[80];
    char provider_keys[DEVNET_NODES][80];
    char machine_ids[8][33]; /* PIID of each machine, in hex: what genesis pins */
    char *policy;            /* toml text */
    devnet_child children[DEVNET_CHILDREN_MAX];
    size_t child_count;
} devnet;

/* cmd_devnet_files.c */
ee_status devnet_find_paths(devnet *net, ee_error *err) EE_MUST_USE;
/* Root, machines, collateral, policy, genesis, keys. */
ee_status devnet_write_files(devnet *net, ee_error *err) EE_MUST_USE;
/* devnet.json, 0600: what clients look for. Written last, so that who finds it finds a network that is up. */
ee_status devnet_write_profile(const devnet *net, pid_t pid, ee_error *err) EE_MUST_USE;
/* dir/children.json: which programs run and which ended. Written by the supervisor on each change and after each order. */
ee_status devnet_write_children(const devnet *net, ee_error *err) EE_MUST_USE;
/* {"items": [{"name", "pid", "running", "answered", "failure"}], "sandboxes": path}; NULL when there is no such file. */
json_t *devnet_read_children(const devnet *net);
/* dir/NAME.ticket: this boot of `name`, signed by its provider. A devnet is its own launcher. */
ee_status devnet_write_ticket(const devnet *net, const char *name, ee_error *err) EE_MUST_USE;
/* The key of an account of the devnet: {"dev": "ee_sk_...", ...}; NULL when there is none. */
json_t *devnet_read_accounts(const devnet *net);
/* The supervisor's pid from devnet.json; 0 when there is none or it does not run any more. */
pid_t devnet_running(const devnet *net);
/* A pid may belong to somebody else by now: it is ours if it runs this very program. */
bool devnet_is_supervisor(pid_t pid);

/* cmd_devnet_remains.c */
/* No other `ee devnet up` gets this devnet's folders, for as long as a process has net->lock_fd. EE_E_CONFLICT: another one has them. */
ee_status devnet_lock(devnet *net, ee_error *err) EE_MUST_USE;
/* Write down that it is this process. */
void devnet_lock_name(const devnet *net);
/* The process that makes this devnet now, and has not made it yet; 0 when there is none. */
pid_t devnet_starting(const devnet *net);
/* Locked for as long as this process lives. */
ee_status devnet_make_sandboxes(devnet *net, ee_error *err) EE_MUST_USE;
/* What this devnet's agents, however they ended, have left: sandboxes with their cgroups. */
void devnet_remove_sandboxes(const char *sandboxes);
/* The same of one whose supervisor was killed, as it wrote them down; not if they are below the folder of its devnet. */
void devnet_remove_stale_sandboxes(const char *sandboxes);
/* The same of root's devnets whose supervisor was killed and whose `ee devnet down` never came. */
void devnet_sweep_sandboxes(void);

/* cmd_devnet_image.c */
/* myapp:latest from Debian's busybox, in an OCI layout below cache. Made once per busybox. */
ee_status devnet_make_image(const devnet *net, char layout[DEVNET_PATH_MAX], ee_error *err) EE_MUST_USE;
ee_status devnet_push_image(const devnet *net, const char *layout, ee_error *err) EE_MUST_USE;

/* cmd_devnet_process.c */
/* Run a tool to its end; EE_E_CONFIG when it is not installed, EE_E_IO with its last words when it fails. */
ee_status devnet_tool(const char *const *argv, ee_error *err) EE_MUST_USE;
/* Start a program of the network, also one that ended: log in dir/logs/NAME.log, dies with us, ready line on a pipe. env: NULL-ended
 * "NAME=value" on top of ours. */
ee_status devnet_start(devnet *net, const char *name, const char *const *argv, const char *const *env, ee_error *err) EE_MUST_USE;
/* EE_E_CANCELLED once the supervisor was asked to end. The waits below end with it, too. */
ee_status devnet_stopped(const devnet *net, ee_error *err) EE_MUST_USE;
/* Wait for "ready[ <port>]". EE_E_CONFIG with the end of its log when it ended instead. */
ee_status devnet_wait_ready(devnet *net, const char *name, uint64_t timeout_ms, unsigned *port, ee_error *err) EE_MUST_USE;
/* The same for a program that says nothing when it is ready: until its port takes connections. */
ee_status devnet_wait_port(devnet *net, const char *name, uint16_t port, uint64_t timeout_ms, ee_error *err) EE_MUST_USE;
/* `wanted` if it is free, else another one. */
uint16_t devnet_free_port(uint16_t wanted);
/* EE_E_CONFLICT when port (0 = any) cannot be had; option is the one that asked for it. */
ee_status devnet_check_port(const char *option, uint16_t port, ee_error *err) EE_MUST_USE;
/* TERM to all, newest first, KILL after a grace; reaps everything. */
void devnet_stop_all(devnet *net);
/* The name of a child that ended by itself, NULL if none did. */
const char *devnet_reap(devnet *net);
/* KILL, and it is gone when this returns. */
void devnet_kill(devnet_child *child);
ee_status devnet_remove_dir(const char *path, ee_error *err) EE_MUST_USE;

/* cmd_devnet_faults.c: `ee devnet kill NAME`, `ee devnet heal [NAME]`. */
int devnet_fault(cli *c, const devnet *net, bool heals, const char *name);
/* The names of the programs that ended, "a, b"; "" when all run. */
void devnet_find_ended(const json_t *children, char out[256]);

/* cmd_devnet_supervise.c: never returns to the caller's work; writes progress and "up" lines to tell_fd. */
int devnet_supervise(devnet *net, int tell_fd);
#endif
