/* seccomp.h - the system calls a sandbox has, as the seccomp part of an OCI runtime config. An allow-list for one architecture.
 * Not the distribution's profile: that one allows unshare, mount, ptrace and keyctl. Called by oci_bundle.c. */
#ifndef AGENT_SECCOMP_H
#define AGENT_SECCOMP_H
#include <jansson.h>

/* New reference; NULL when out of memory. machine: "x86_64" or "aarch64"; NULL: this machine's. */
json_t *agent_seccomp_profile(const char *machine);
#endif
