/* config.h - a program's configuration: one table of keys fills one struct, from defaults < file < environment < flags. An unknown key
 * is an error that names where it stands. Called by the programs' main. */
#ifndef CONFIG_H
#define CONFIG_H
#include "base/error.h"

#include <stdbool.h>
#include <stdio.h>

typedef enum config_kind {
    CONFIG_TEXT,   /* char[size] */
    CONFIG_SECRET, /* char[size]; masked in output, and not taken from flags, which everybody on the machine can see */
    CONFIG_NUMBER, /* uint64_t, min..max */
    CONFIG_BOOL,   /* bool */
} config_kind;

typedef struct config_key {
    const char *name; /* "listen.port": key port of table listen in the file, EE_LISTEN_PORT, --listen-port */
    config_kind kind;
    size_t offset, size;  /* in the struct */
    uint64_t min, max;    /* NUMBER; max 0 = any */
    const char *fallback; /* NULL: must be given; "" is a value */
    const char *help;
} config_key;
#define CONFIG_FIELD(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)

/* The file is the one of --config or EE_CONFIG, else default_path if it is there (nullable). Logs every value and where it came from.
 * EE_E_END: --help was asked for and printed to stdout. EE_E_CONFIG says key, place and reason. The fields of the keys are zeroed first. */
ee_status config_load(const config_key *keys, size_t count, const char *default_path, int argc, const char *const *argv, void *out,
                      ee_error *err) EE_MUST_USE;
void config_usage(const config_key *keys, size_t count, const char *program, FILE *to);
int config_ready_fd(void); /* EE_READY_FD; -1 when it is not set */
#endif
