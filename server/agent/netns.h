/* netns.h - sockets inside a sandbox's network namespace, so that an app is reached without a port existing outside of it.
 * Not for setting the namespace up: the OCI runtime does. Called by sandbox.c. */
#ifndef AGENT_NETNS_H
#define AGENT_NETNS_H
#include "base/error.h"

/* Non-blocking TCP connect to 127.0.0.1:port in the namespace. userns_fd: -1 as root, else the namespace that owns netns_fd.
 * EE_E_APP_UNAVAILABLE when nothing listens; EE_E_IO. May return while still connecting. */
ee_status agent_netns_connect(int netns_fd, int userns_fd, uint16_t port, int *fd, ee_error *err) EE_MUST_USE;
#endif
