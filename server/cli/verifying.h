/* verifying.h - what `ee verify` and `ee policy` share: which policy judges, and a verdict of something on the network. */
#ifndef CLI_VERIFYING_H
#define CLI_VERIFYING_H
#include "cli/cli.h"

/* Who is asked to prove himself. */
typedef enum verify_kind { VERIFY_CONTROL, VERIFY_APP, VERIFY_NODE } verify_kind;
typedef struct verify_subject {
    verify_kind kind;
    const char *name;  /* of the app or node */
    bool either;       /* kind is APP, but a node of that name would do */
    ee_policy *policy; /* NULL = the configured one */
    bool strict;
} verify_subject;
/* "control", "app-name", "node-a", "app/app-name", "node/node-a". Returns 0, or an exit code after telling. */
int verify_subject_parse(const cli *c, const char *command, const char *text, verify_subject *out);
/* *out is set whenever there was something to judge, also on EE_E_ATTESTATION. Any other failure has *out NULL and err. */
ee_status verify_ask(cli *c, const verify_subject *subject, ee_verdict **out, ee_error *err);
#endif
