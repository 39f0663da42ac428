/* api.h - the HTTP surface: parse, authorize, call a module, encode. No rule lives here. Called by the listener. Proto:
 * docs/protocol.md#http */
#ifndef CP_API_H
#define CP_API_H
#include "cp.h"

/* Answers every request, now or later, exactly once. */
void api_request(cp_context *cp, eei_exchange *exchange);
#endif
