/* log.h - one event, one line: a stable event name and key=value pairs to a sink. Never secrets, never bodies (threats L1, L2).
 * A library stays silent until a sink is set. Called everywhere. */
#ifndef EEI_LOG_H
#define EEI_LOG_H
#include "error.h"

typedef enum eei_log_level { EEI_LOG_ERROR = 0, EEI_LOG_WARN = 1, EEI_LOG_INFO = 2, EEI_LOG_DEBUG = 3 } eei_log_level;
typedef void (*eei_log_sink)(void *user, eei_log_level level, const char *line);
/* Set once before threads start. NULL silences. */
void eei_log_set(eei_log_sink sink, void *user, eei_log_level most);
/* Sink for programs: "2026-01-31T13:04:11.123Z level=info event=agent.accepted node=node-a" on stderr. */
void eei_log_to_stderr(void *user, eei_log_level level, const char *line);
/* Bytes outside printable ASCII in the formatted text come out as \xNN: one event is always one line. */
void eei_log(eei_log_level level, const char *event, const char *format, ...) EEI_PRINTF(3, 4);
#endif
