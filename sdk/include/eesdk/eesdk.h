/* eesdk.h - run private jobs, pay in credits, reach private APIs.
 *
 * Every call returns EE_OK (0) or a negative ee_status and takes, last, an ee_error (or NULL) that it fills on failure.
 * Where a client is taken, NULL means the default one, made on first use from EE_* variables, the config file or a running
 * devnet. Objects are opaque, each has one _free function, which accepts NULL. Strings and spans inside an object live as
 * long as it does. Unless its comment says otherwise an object may be used by one thread at a time; different objects are
 * independent. After fork() a child must not use objects made before; it can make new ones. No function raises SIGPIPE. */
#ifndef EESDK_EESDK_H
#define EESDK_EESDK_H

#include <eesdk/apps.h>
#include <eesdk/client.h>
#include <eesdk/jobs.h>
#include <eesdk/provider.h>
#include <eesdk/types.h>
#include <eesdk/verify.h>

#endif
