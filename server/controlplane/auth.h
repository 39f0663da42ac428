/* auth.h - who sent this request: signed by an account's key (Ee-*), or carrying the owner's token. Nonces are remembered for the length of
 * the time window, so a request cannot be replayed (threats S7, S8, S9, S10). Called by api.c. Proto: docs/protocol.md#requests */
#ifndef CP_AUTH_H
#define CP_AUTH_H
#include "cp.h"

/* owner_token NULL or "": the owner's calls are closed, never open. It is kept as a hash. */
ee_status cp_auth_new(const char *owner_token, cp_auth **out, ee_error *err) EE_MUST_USE;
void cp_auth_free(cp_auth *auth);

/* EE_E_AUTH says what is missing or wrong; *evidence (nullable) receives the signed text and signature, to be stored with what it moves. */
ee_status cp_auth_account(cp_context *cp, const eei_exchange *exchange, uint64_t now_ms, ledger_principal *out, eei_buf *evidence,
                          ee_error *err) EE_MUST_USE;
ee_status cp_auth_owner(cp_context *cp, const eei_exchange *exchange, ee_error *err) EE_MUST_USE;
#endif
