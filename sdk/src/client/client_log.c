/* client_log.c - see client_log.h. Lines are not of one client: the loop, the collateral and the verifier do not know whom they work for.
 */
#include "client/client_log.h"

#include "base/log.h"

#include <pthread.h>

/* Guards the list. Held for reading while the callbacks run, so that a client that leaves is not called any more; they must not call back.
 */
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static client_log *slots;

static void to_all(void *user, eei_log_level level, const char *line) {
    (void)user;
    pthread_rwlock_rdlock(&lock);
    for (client_log *slot = slots; slot; slot = slot->next) slot->log(slot->user, (int)level, line);
    pthread_rwlock_unlock(&lock);
}

void client_log_join(client_log *slot, ee_log_fn log, void *user) {
    *slot = (client_log){.log = log, .user = user};
    if (!log) return;
    pthread_rwlock_wrlock(&lock);
    slot->next = slots;
    slots = slot;
    if (!slot->next) eei_log_set(to_all, NULL, EEI_LOG_DEBUG);
    pthread_rwlock_unlock(&lock);
}

void client_log_leave(client_log *slot) {
    if (!slot->log) return;
    pthread_rwlock_wrlock(&lock);
    for (client_log **at = &slots; *at; at = &(*at)->next)
        if (*at == slot) {
            *at = slot->next;
            break;
        }
    if (!slots) eei_log_set(NULL, NULL, EEI_LOG_ERROR);
    pthread_rwlock_unlock(&lock);
}
