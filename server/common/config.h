/* config.h - a program's configuration: one table of keys fills one struct, from defaults < file < environment < flags. An unknown key
 * is an error that names where it stands. Called by the programs' main. */
#ifndef CONFIG_H
#define CONFIG_H
#include "base/buf.h"

#include <stdio.h>

typedef enum config_kind {
    CONFIG_TEXT,   /* char[size] */
    CONFIG_SECRET, /* char[size]; masked in output, and not taken from flags, which everybody on the machine can see */
    CONFIG_NUMBER, /* uint64_t, min..max */
    CONFIG_BOOL,   /* bool */
} config_kind;

/* What another value does to the CONFIG event in RTMR3, which everybody who verifies can read (threat Q15). */
typedef enum config_measure {
    CONFIG_MEASURED = 1, /* the value is in the event */
    CONFIG_CONTENT,      /* a file whose content decides: the hash of what was read from it is in the event, its path is not */
    CONFIG_PRESENCE,     /* whether it is set is in the event; the value is not, and `why` says why */
    CONFIG_NEUTRAL,      /* it is not in the event: `why` says why nothing that others rely on depends on it */
} config_measure;

typedef struct config_key {
    const char *name; /* "listen.port": key port of table listen in the file, EE_LISTEN_PORT, --listen-port */
    config_kind kind;
    size_t offset, size;  /* in the struct */
    uint64_t min, max;    /* NUMBER; max 0 = any */
    const char *fallback; /* NULL: must be given; "" is a value */
    const char *help;
    config_measure measure; /* every key says: config_load() stops a program with one that does not */
    const char *why;        /* of PRESENCE and NEUTRAL; else NULL */
} config_key;
#define CONFIG_FIELD(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)

/* The file is the one of --config or EE_CONFIG, else default_path if it is there (nullable). Logs every value and where it came from.
 * EE_E_END: --help was asked for and printed to stdout. EE_E_CONFIG says key, place and reason. The fields of the keys are zeroed first. */
ee_status config_load(const config_key *keys, size_t count, const char *default_path, int argc, const char *const *argv, void *out,
                      ee_error *err) EE_MUST_USE;
/* The hash of what was read for a key of kind CONFIG_CONTENT. */
typedef struct config_content {
    const char *key;
    const uint8_t *sha256; /* 32 */
} config_content;
/* The payload of the CONFIG event: a JSON object of every key that is measured, in the order of the table. All contents must be given.
 * EE_E_CONFIG when a text is not UTF-8, or all together is over EEI_EVENT_PAYLOAD_MAX. Proto: docs/protocol.md#events */
ee_status config_event(const config_key *keys, size_t count, const void *settings, const config_content *contents, size_t content_count,
                       eei_buf *out, ee_error *err) EE_MUST_USE;
void config_usage(const config_key *keys, size_t count, const char *program, FILE *to);
int config_ready_fd(void); /* EE_READY_FD; -1 when it is not set */
#endif
