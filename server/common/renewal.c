/* renewal.c - one at a time, on a worker. See renewal.h. */
#include "common/renewal.h"

#include "base/log.h"

enum { EVERY_MS = 60000 }; /* well below EEI_CERT_RENEW_S: one that failed is tried again soon */

static void renew(uv_work_t *work) {
    renewal *r = work->data;
    ee_error err = {0};
    if (eei_prover_renew(r->prover, &err)) eei_log(EEI_LOG_ERROR, "certificate.not_renewed", "message=%s", err.message);
}

static void renewed(uv_work_t *work, int rc) {
    (void)rc; /* never cancelled */
    ((renewal *)work->data)->working = false;
}

static void on_time(uv_timer_t *timer) {
    renewal *r = timer->data;
    if (!r->working) r->working = uv_queue_work(timer->loop, &r->work, renew, renewed) == 0;
}

void renewal_start(renewal *r, uv_loop_t *loop, eei_prover *prover) {
    *r = (renewal){.prover = prover};
    r->timer.data = r->work.data = r;
    (void)uv_timer_init(loop, &r->timer);
    (void)uv_timer_start(&r->timer, on_time, EVERY_MS, EVERY_MS);
}

void renewal_stop(renewal *r) { uv_close((uv_handle_t *)&r->timer, NULL); }
