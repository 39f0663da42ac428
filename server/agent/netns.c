/* netns.c - a socket made inside another network namespace. The thread or process that enters it never comes back: it ends, so no failure
 * can leave the agent in a workload's namespace. Called by sandbox.c. */
#include "netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct visit {
    int netns_fd, fd, error;
} visit;

static int tcp_socket(void) { return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

static void *visit_thread(void *user) {
    visit *v = user;
    v->fd = setns(v->netns_fd, CLONE_NEWNET) == 0 ? tcp_socket() : -1;
    v->error = v->fd < 0 ? errno : 0;
    return NULL;
}

/* As root: a thread of its own, about 50 us. */
static int socket_by_thread(int netns_fd, int *error) {
    visit v = {.netns_fd = netns_fd, .fd = -1};
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, visit_thread, &v);
    if (rc == 0) pthread_join(thread, NULL);
    *error = rc ? rc : v.error;
    return v.fd;
}

typedef union fd_message {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
} fd_message;

static bool send_fd(int via, int fd) {
    fd_message control = {.space = {0}};
    struct iovec one = {.iov_base = (char[1]){0}, .iov_len = 1};
    struct msghdr m = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    return sendmsg(via, &m, 0) == 1;
}

static int receive_fd(int via) {
    fd_message control = {.space = {0}};
    char byte;
    struct iovec one = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    int fd = -1;
    if (recvmsg(via, &m, MSG_CMSG_CLOEXEC) != 1 || m.msg_controllen < CMSG_LEN(sizeof(int))) return -1;
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    return fd;
}

/* Without root the owning user namespace must be entered first, which a process with threads may not: a child does it. */
static int socket_by_process(int netns_fd, int userns_fd, int *error) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        *error = errno;
        return -1;
    }
    pid_t child = fork();
    if (child == 0) { /* only async-signal-safe calls from here */
        int fd = setns(userns_fd, CLONE_NEWUSER) == 0 && setns(netns_fd, CLONE_NEWNET) == 0 ? tcp_socket() : -1;
        _exit(fd >= 0 && send_fd(pair[1], fd) ? 0 : 1);
    }
    *error = child < 0 ? errno : EPERM;
    close(pair[1]);
    int fd = child > 0 ? receive_fd(pair[0]) : -1;
    close(pair[0]);
    if (child > 0) (void)waitpid(child, NULL, 0);
    return fd;
}

/* Loopback answers at once, so a refusal can be told now. */
static int start_connect(int fd, uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t len = sizeof error;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    if (poll(&p, 1, 0) > 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0) return error;
    return 0;
}

ee_status agent_netns_connect(int netns_fd, int userns_fd, uint16_t port, int *out, ee_error *err) {
    int error = 0, one = 1;
    *out = -1;
    int fd = userns_fd < 0 ? socket_by_thread(netns_fd, &error) : socket_by_process(netns_fd, userns_fd, &error);
    if (fd < 0) return eei_fail_errno(err, EE_E_IO, error, "no socket in the sandbox's network");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    error = start_connect(fd, port);
    if (error) {
        close(fd);
        return eei_fail_errno(err, error == ECONNREFUSED ? EE_E_APP_UNAVAILABLE : EE_E_IO, error,
                              "nothing listens on port %u in the sandbox", port);
    }
    *out = fd;
    return EE_OK;
}
