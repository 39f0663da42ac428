/* service.c - see service.h. */
#include "common/service.h"

#include "base/log.h"
#include "common/config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_SECOND_SIGNAL = 130 };

ee_status service_harden(ee_error *err) {
    const struct rlimit none = {0, 0};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)umask(077);
    if (sigaction(SIGPIPE, &ignore, NULL) != 0) return eei_fail_errno(err, EE_E_IO, errno, "cannot ignore SIGPIPE");
    if (setrlimit(RLIMIT_CORE, &none) != 0) return eei_fail_errno(err, EE_E_IO, errno, "cannot turn core dumps off");
#if !defined(__SANITIZE_ADDRESS__) /* the leak checker traces its own process */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return eei_fail_errno(err, EE_E_IO, errno, "cannot make the process undumpable");
#endif
    return EE_OK;
}

ee_status service_log(const char *level, ee_error *err) {
    static const char *const words[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(level, words[i]) != 0) continue;
        eei_log_set(eei_log_to_stderr, NULL, (eei_log_level)i);
        return EE_OK;
    }
    return eei_fail(err, EE_E_CONFIG, "log level \"%s\" is not one of error, warn, info, debug", level);
}

static void on_signal(uv_signal_t *handle, int number) {
    service *self = handle->data;
    if (self->asked) _exit(EXIT_SECOND_SIGNAL);
    self->asked = true;
    eei_log(EEI_LOG_INFO, "service.stopping", "signal=%d", number);
    if (self->stop) self->stop(self->user);
}

ee_status service_watch(service *self, uv_loop_t *loop, void (*stop)(void *user), void *user, ee_error *err) {
    static const int numbers[] = {SIGTERM, SIGINT};
    *self = (service){.stop = stop, .user = user};
    for (int i = 0; i < 2; i++) {
        int bad = uv_signal_init(loop, &self->signals[i]);
        self->signals[i].data = self;
        if (!bad) bad = uv_signal_start(&self->signals[i], on_signal, numbers[i]);
        if (bad) return eei_fail(err, EE_E_IO, "cannot watch signal %d: %s", numbers[i], uv_strerror(bad));
        uv_unref((uv_handle_t *)&self->signals[i]); /* waiting for a signal is no work */
    }
    return EE_OK;
}

void service_unwatch(service *self) {
    for (int i = 0; i < 2; i++)
        if (self->signals[i].loop && !uv_is_closing((uv_handle_t *)&self->signals[i])) uv_close((uv_handle_t *)&self->signals[i], NULL);
}

void service_ready(uint16_t port) {
    char line[32];
    int fd = config_ready_fd();
    eei_log(EEI_LOG_INFO, "service.ready", "port=%u", port);
    if (fd < 0) return;
    int n = snprintf(line, sizeof line, "ready %u\n", port);
    if (write(fd, line, (size_t)n) != n) eei_log(EEI_LOG_WARN, "service.ready", "fd=%d errno=%d", fd, errno);
    (void)close(fd);
}
