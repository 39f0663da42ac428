/* renewal.h - keeps a program's certificate young: asks the prover each minute for a new one, on a worker, because a new certificate means
 * a new quote and that may take seconds. The prover makes one past EEI_CERT_RENEW_S only. Loop thread only. Called by the main.c of each
 * program. Not for the certificates of others. */
#ifndef RENEWAL_H
#define RENEWAL_H
#include "ratls/prover.h"

#include <uv.h>

typedef struct renewal {
    uv_timer_t timer;
    uv_work_t work;
    eei_prover *prover; /* [borrowed] until the loop has ended */
    bool working;
} renewal;

/* r is the caller's, and stays where it is until the loop has ended. */
void renewal_start(renewal *r, uv_loop_t *loop, eei_prover *prover);
/* No more of them; the loop ends after the one under way. */
void renewal_stop(renewal *r);
#endif
