#include "sock.h"

#include "sock_guard.h"
#include "text.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUTE_BYTES 5 /* of a routing id that ROUTER gives: 0 and a big-endian number */
#define MONITOR_HWM 1000

/* What differs between the kinds. Everything else is the same for all (set_common()). */
static const struct kind {
    int type;
    int sndhwm; /* messages per peer; credit and windows bound queues, this only stops a runaway */
    int rcvhwm; /* messages per peer; small where anybody may send: TCP then holds the sender back
                 */
    bool immediate; /* nothing is queued for a peer that is not there */
    bool reconnect;
    const char *name;
} kinds[] = {
    [SOCK_CONTROL] = {ZMQ_ROUTER, 10000, 256, false, true, "control"},
    [SOCK_CONTROL_PEER] = {ZMQ_DEALER, 1000, 1000, true, true, "control"},
    [SOCK_LANE] = {ZMQ_PUSH, 100000, 1, false, false, "lane"},
    [SOCK_LANE_PEER] = {ZMQ_PULL, 1, 100000, false, false, "lane"},
    [SOCK_INTAKE] = {ZMQ_PULL, 1, 4, false, true, "intake"},
    [SOCK_INTAKE_PEER] = {ZMQ_PUSH, 4, 1, true, true, "intake"},
    [SOCK_RESULTS] = {ZMQ_ROUTER, 1000, 256, false, true, "results"},
    [SOCK_RESULTS_PEER] = {ZMQ_DEALER, 1000, 1000, true, true, "results"},
};

static void say(char *why, size_t why_bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(char *why, size_t why_bytes, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, why_bytes, format, args);
    va_end(args);
}

static dtq_err from_errno(int code)
{
    return code == ENOMEM ? DTQ_ENOMEM : code == EADDRINUSE ? DTQ_EBUSY : DTQ_EIO;
}

/* ---------------------------------------------------------------- opening and closing */

void *sock_context_new(unsigned sockets_max)
{
    void *context = zmq_ctx_new();
    int limit;

    if (context == NULL)
        return NULL;
    limit = zmq_ctx_get(context, ZMQ_SOCKET_LIMIT);
    if (limit > 0 && sockets_max > (unsigned)limit)
        sockets_max = (unsigned)limit;
    if (zmq_ctx_set(context, ZMQ_MAX_SOCKETS, (int)sockets_max) == 0 &&
        zmq_ctx_set(context, ZMQ_IO_THREADS, 1) == 0 && zmq_ctx_set(context, ZMQ_IPV6, 1) == 0)
        return context;
    zmq_ctx_term(context);
    return NULL;
}

void sock_context_free(void *context)
{
    while (context != NULL && zmq_ctx_term(context) != 0 && errno == EINTR)
        ;
}

static bool set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

/* Every option that matters, explicitly: the defaults lose messages on closing, wait for ever on
 * terminating, reconnect without backoff, or take two hours to see that a host is gone. */
static bool set_common(void *socket)
{
    int64_t frame_bytes_max = DTQI_FRAME_BYTES_MAX;

    return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof frame_bytes_max) == 0 &&
           set_int(socket, ZMQ_LINGER, 0) && set_int(socket, ZMQ_IPV6, 1) &&
           set_int(socket, ZMQ_BACKLOG, 1024) && set_int(socket, ZMQ_HANDSHAKE_IVL, 5000) &&
           set_int(socket, ZMQ_CONNECT_TIMEOUT, 5000) && set_int(socket, ZMQ_TCP_KEEPALIVE, 1) &&
           set_int(socket, ZMQ_TCP_KEEPALIVE_IDLE, 10) &&
           set_int(socket, ZMQ_TCP_KEEPALIVE_INTVL, 5) && set_int(socket, ZMQ_TCP_KEEPALIVE_CNT, 3);
}

static bool set_kind(void *socket, const struct kind *kind)
{
    if (!set_int(socket, ZMQ_SNDHWM, kind->sndhwm) || !set_int(socket, ZMQ_RCVHWM, kind->rcvhwm) ||
        !set_int(socket, ZMQ_IMMEDIATE, kind->immediate ? 1 : 0) ||
        !set_int(socket, ZMQ_RECONNECT_IVL, kind->reconnect ? 100 : -1) ||
        !set_int(socket, ZMQ_RECONNECT_IVL_MAX, kind->reconnect ? 5000 : 0))
        return false;
    /* Without it, what cannot be sent is dropped and reported as sent. */
    return kind->type != ZMQ_ROUTER || set_int(socket, ZMQ_ROUTER_MANDATORY, 1);
}

static dtq_err open_socket(void *context, enum sock_kind kind, struct sock *ret, char *why,
                           size_t why_bytes)
{
    int code;

    *ret = (struct sock){.kind = kind};
    ret->zmq = zmq_socket(context, kinds[kind].type);
    if (ret->zmq != NULL && set_common(ret->zmq) && set_kind(ret->zmq, &kinds[kind]))
        return DTQ_OK;
    code = errno;
    say(why, why_bytes, "cannot open a %s socket: %s%s", kinds[kind].name, zmq_strerror(code),
        code == EMFILE ? "; raise the limit of open files (LimitNOFILE, ulimit -n)" : "");
    sock_close(ret);
    return from_errno(code);
}

static dtq_err bind_failed(const char *endpoint, int code, char *why, size_t why_bytes)
{
    switch (code) {
    case EADDRINUSE:
        say(why, why_bytes,
            "%s is in use by another process: stop that one, or choose another endpoint", endpoint);
        return DTQ_EBUSY;
    case EACCES:
        say(why, why_bytes, "%s: no permission to listen there; ports below 1024 are root's",
            endpoint);
        return DTQ_EIO;
    case ENODEV:
    case EADDRNOTAVAIL:
        say(why, why_bytes,
            "%s: this machine has no such address; to listen, name one of its own addresses or *",
            endpoint);
        return DTQ_EINVAL;
    default: say(why, why_bytes, "cannot listen on %s: %s", endpoint, zmq_strerror(code)); break;
    }
    return from_errno(code);
}

/* libzmq removes whatever stands at an ipc path before it binds, even the socket of a living
 * process: one that answers is left alone. */
static bool is_ipc_in_use(const char *endpoint)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bool answers;
    int fd;

    if (strncmp(endpoint, "ipc://", 6) != 0 || endpoint[6] == '@')
        return false;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", endpoint + 6);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    answers = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN;
    close(fd);
    return answers;
}

static dtq_err check_bind(const char *endpoint, bool insecure, char *why, size_t why_bytes)
{
    const char *problem = sock_endpoint_problem(endpoint, true);

    if (problem != NULL) {
        say(why, why_bytes, "'%s' is not an endpoint to listen on: %s", endpoint, problem);
        return DTQ_EINVAL;
    }
    if (!insecure && !sock_endpoint_is_local(endpoint)) {
        say(why, why_bytes,
            "%s can be reached from other machines, by anybody: listen on 127.0.0.1 or ipc://, or "
            "say --insecure",
            endpoint);
        return DTQ_EREFUSED;
    }
    if (is_ipc_in_use(endpoint))
        return bind_failed(endpoint, EADDRINUSE, why, why_bytes);
    return DTQ_OK;
}

/* The endpoint as it was bound, which has the real port in place of 0 or "*"; the host stays as it
 * was asked for, since a wildcard tells peers more than 0.0.0.0 does. */
static void read_endpoint(struct sock *sock, const char *asked)
{
    char real[DTQI_ENDPOINT_BYTES_MAX + 1];
    size_t bytes = sizeof real;
    const char *port;

    snprintf(sock->endpoint, sizeof sock->endpoint, "%s", asked);
    if (zmq_getsockopt(sock->zmq, ZMQ_LAST_ENDPOINT, real, &bytes) != 0)
        return;
    port = strrchr(real, ':');
    if (strncmp(asked, "tcp://", 6) != 0)
        snprintf(sock->endpoint, sizeof sock->endpoint, "%s", real);
    else if (port != NULL)
        snprintf(sock->endpoint, sizeof sock->endpoint, "%.*s%s",
                 (int)(strrchr(asked, ':') - asked), asked, port);
}

/* A signal may interrupt these before they have done anything. */
static int connect_now(void *zmq, const char *endpoint)
{
    int code;

    do {
        code = zmq_connect(zmq, endpoint);
    } while (code != 0 && errno == EINTR);
    return code;
}

static int bind_now(void *zmq, const char *endpoint)
{
    int code;

    do {
        code = zmq_bind(zmq, endpoint);
    } while (code != 0 && errno == EINTR);
    return code;
}

static int monitor_now(void *zmq, const char *endpoint, int events)
{
    int code;

    do {
        code = zmq_socket_monitor(zmq, endpoint, events);
    } while (code != 0 && errno == EINTR);
    return code;
}

dtq_err sock_bind(void *context, enum sock_kind kind, const char *endpoint, bool insecure,
                  struct sock *ret_sock, char *why, size_t why_bytes)
{
    dtq_err err = check_bind(endpoint, insecure, why, why_bytes);

    *ret_sock = (struct sock){.kind = kind};
    if (err == DTQ_OK)
        err = open_socket(context, kind, ret_sock, why, why_bytes);
    if (err != DTQ_OK)
        return err;
    if (bind_now(ret_sock->zmq, endpoint) != 0) {
        err = bind_failed(endpoint, errno, why, why_bytes);
        sock_close(ret_sock);
        return err;
    }
    read_endpoint(ret_sock, endpoint);
    return DTQ_OK;
}

static dtq_err open_peer(void *context, enum sock_kind kind, const char *endpoint,
                         struct sock *ret_sock, char *why, size_t why_bytes)
{
    const char *problem = sock_endpoint_problem(endpoint, false);

    dtq_err err;

    *ret_sock = (struct sock){.kind = kind};
    if (problem != NULL) {
        say(why, why_bytes, "'%s' is not an endpoint to connect to: %s", endpoint, problem);
        return DTQ_EINVAL;
    }
    err = open_socket(context, kind, ret_sock, why, why_bytes);
    /* With IPv6 libzmq would only try the IPv6 address of a name that has one of either kind, as
     * localhost has, and find nobody at 127.0.0.1. libdtq does the same. */
    if (err == DTQ_OK)
        (void)set_int(ret_sock->zmq, ZMQ_IPV6, strchr(endpoint, '[') != NULL);
    return err;
}

static dtq_err begin_connecting(struct sock *sock, const char *endpoint, char *why,
                                size_t why_bytes)
{
    dtq_err err;

    if (connect_now(sock->zmq, endpoint) == 0) {
        snprintf(sock->endpoint, sizeof sock->endpoint, "%s", endpoint);
        return DTQ_OK;
    }
    err = errno == EINVAL ? DTQ_EINVAL : from_errno(errno);
    say(why, why_bytes, "cannot connect to %s: %s", endpoint, zmq_strerror(errno));
    return err;
}

dtq_err sock_connect(void *context, enum sock_kind kind, const char *endpoint,
                     struct sock *ret_sock, char *why, size_t why_bytes)
{
    dtq_err err = open_peer(context, kind, endpoint, ret_sock, why, why_bytes);

    if (err == DTQ_OK)
        err = begin_connecting(ret_sock, endpoint, why, why_bytes);
    if (err != DTQ_OK)
        sock_close(ret_sock);
    return err;
}

#define MONITOR_EVENTS                                                            \
    (ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |                     \
     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | \
     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

/* Before the socket connects, so that no event is missed. */
static dtq_err open_monitor(void *context, struct sock *sock, struct sock_monitor *ret_monitor)
{
    static _Atomic unsigned long made; /* names are unique in the process */
    char endpoint[64];

    snprintf(endpoint, sizeof endpoint, "inproc://monitor-%lu", ++made);
    *ret_monitor = (struct sock_monitor){.zmq = zmq_socket(context, ZMQ_PAIR)};
    if (ret_monitor->zmq != NULL && set_int(ret_monitor->zmq, ZMQ_LINGER, 0) &&
        set_int(ret_monitor->zmq, ZMQ_RCVHWM, MONITOR_HWM) &&
        monitor_now(sock->zmq, endpoint, MONITOR_EVENTS) == 0 &&
        connect_now(ret_monitor->zmq, endpoint) == 0)
        return DTQ_OK;
    sock_monitor_close(ret_monitor, sock);
    return DTQ_EIO;
}

dtq_err sock_connect_monitored(void *context, enum sock_kind kind, const char *endpoint,
                               struct sock *ret_sock, struct sock_monitor *ret_monitor, char *why,
                               size_t why_bytes)
{
    dtq_err err = open_peer(context, kind, endpoint, ret_sock, why, why_bytes);

    *ret_monitor = (struct sock_monitor){0};
    if (err == DTQ_OK) {
        err = open_monitor(context, ret_sock, ret_monitor);
        if (err != DTQ_OK)
            say(why, why_bytes, "cannot watch the connection to %s: %s", endpoint,
                zmq_strerror(errno));
    }
    if (err == DTQ_OK)
        err = begin_connecting(ret_sock, endpoint, why, why_bytes);
    if (err == DTQ_OK)
        return DTQ_OK;
    sock_monitor_close(ret_monitor, ret_sock);
    sock_close(ret_sock);
    return err;
}

void sock_reconnect(struct sock *sock)
{
    (void)zmq_disconnect(sock->zmq, sock->endpoint);
    (void)connect_now(sock->zmq, sock->endpoint); /* it was accepted before */
    sock->wake.is_empty = false;
}

void sock_close_linger(struct sock *sock, int linger_ms)
{
    if (sock->zmq == NULL)
        return;
    (void)set_int(sock->zmq, ZMQ_LINGER, linger_ms);
    zmq_close(sock->zmq);
    sock->zmq = NULL;
}

void sock_close(struct sock *sock)
{
    sock_close_linger(sock, 0);
}

/* ---------------------------------------------------------------- receiving */

static uint32_t read_route(const unsigned char *id)
{
    return (uint32_t)id[1] << 24 | (uint32_t)id[2] << 16 | (uint32_t)id[3] << 8 | id[4];
}

static void write_route(uint32_t route, unsigned char id[ROUTE_BYTES])
{
    id[0] = 0;
    id[1] = (unsigned char)(route >> 24);
    id[2] = (unsigned char)(route >> 16);
    id[3] = (unsigned char)(route >> 8);
    id[4] = (unsigned char)route;
}

static bool is_router(const struct sock *sock)
{
    return kinds[sock->kind].type == ZMQ_ROUTER;
}

static bool only_sends(const struct sock *sock)
{
    return kinds[sock->kind].type == ZMQ_PUSH;
}

/* Nothing came since the queue was found empty, so that it need not be asked. */
static bool is_known_empty(const struct sock_wake *wake)
{
    return wake->is_polled && wake->is_empty;
}

/* The rest of a message whose frames are too many: received and forgotten, so that the next receive
 * begins with a new one. */
static void drain_parts(struct sock *sock, zmq_msg_t *frame)
{
    while (zmq_msg_more(frame) && zmq_msg_recv(frame, sock->zmq, ZMQ_DONTWAIT) >= 0)
        ;
}

static void tell_guard(const struct sock *sock, zmq_msg_t *frame)
{
    if (sock->guard != NULL)
        sock_guard_heard(sock->guard, zmq_msg_get(frame, ZMQ_SRCFD));
}

static dtq_err drop(struct sock *sock, uint64_t now_ms, uint32_t route, const char *cause)
{
    uint64_t left_out;

    sock->dropped++;
    if (log_rate_pass(&sock->drop_rate, now_ms, &left_out))
        log_warn("message_dropped", log_str("socket", kinds[sock->kind].name),
                 log_u64("route", route), log_str("why", cause), log_u64("more", left_out));
    return DTQ_EPROTO;
}

/* The routing id of a ROUTER's message, then its one frame; or the one frame of another socket. */
static dtq_err recv_frame(struct sock *sock, uint64_t now_ms, uint32_t *ret_route, zmq_msg_t *frame)
{
    bool is_ours = true;

    if (zmq_msg_recv(frame, sock->zmq, ZMQ_DONTWAIT) < 0)
        return DTQ_EAGAIN;
    if (is_router(sock)) {
        const unsigned char *id = zmq_msg_data(frame);

        is_ours = zmq_msg_size(frame) == ROUTE_BYTES && id[0] == 0;
        if (is_ours)
            *ret_route = read_route(id);
        if (!zmq_msg_more(frame))
            return drop(sock, now_ms, *ret_route, "a message without a frame");
        if (zmq_msg_recv(frame, sock->zmq, ZMQ_DONTWAIT) < 0)
            return DTQ_EAGAIN;
    }
    tell_guard(sock, frame);
    if (zmq_msg_more(frame)) {
        drain_parts(sock, frame);
        return drop(sock, now_ms, *ret_route, "a message of several frames");
    }
    return is_ours ? DTQ_OK : drop(sock, now_ms, 0, "a peer that chose its own routing id");
}

/* The peer can tell its user what is wrong only if it is told. */
static void refuse_version(struct sock *sock, uint32_t route)
{
    struct dtqi_msg msg = {
        .type = DTQI_REFUSED,
        .refused = {.reason = DTQI_BAD_VERSION,
                    .text = dtqi_str("the versions of the protocol differ: upgrade the older side"),
                    .version_min = DTQI_PROTOCOL_VERSION,
                    .version_max = DTQI_PROTOCOL_VERSION}};

    if (is_router(sock))
        (void)!sock_send(sock, route, &msg);
}

static dtq_err decode(struct sock *sock, uint64_t now_ms, uint32_t route, zmq_msg_t *frame,
                      struct dtqi_msg *ret_msg)
{
    char why[256] = "";
    dtq_err err = dtqi_decode(zmq_msg_data(frame), zmq_msg_size(frame), ret_msg, why, sizeof why);

    if (err == DTQ_OK) {
        sock->received++;
        return DTQ_OK;
    }
    if (err == DTQ_EVERSION)
        refuse_version(sock, route);
    (void)drop(sock, now_ms, route, why[0] != '\0' ? why : dtq_strerror(err));
    return err == DTQ_ENOMEM ? DTQ_ENOMEM : DTQ_EPROTO;
}

dtq_err sock_recv(struct sock *sock, uint64_t now_ms, uint32_t *ret_route, struct dtqi_msg *ret_msg)
{
    uint32_t route = 0;
    zmq_msg_t frame;
    dtq_err err;

    if (is_known_empty(&sock->wake))
        return DTQ_EAGAIN;
    zmq_msg_init(&frame);
    err = recv_frame(sock, now_ms, &route, &frame);
    sock->wake.is_empty = err == DTQ_EAGAIN;
    if (err == DTQ_OK)
        err = decode(sock, now_ms, route, &frame, ret_msg);
    zmq_msg_close(&frame);
    if (err == DTQ_OK && ret_route != NULL)
        *ret_route = route;
    return err;
}

/* ---------------------------------------------------------------- sending */

static dtq_err send_failed(int code)
{
    return code == EAGAIN ? DTQ_EAGAIN : code == ENOMEM ? DTQ_ENOMEM : DTQ_EUNREACHABLE;
}

static dtq_err send_route(struct sock *sock, uint32_t route)
{
    unsigned char id[ROUTE_BYTES];

    write_route(route, id);
    return zmq_send(sock->zmq, id, sizeof id, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ? send_failed(errno)
                                                                              : DTQ_OK;
}

static void *place_frame(void *arg, size_t bytes)
{
    zmq_msg_t *frame = arg;

    return zmq_msg_init_size(frame, bytes) == 0 ? zmq_msg_data(frame) : NULL;
}

dtq_err sock_encode(const struct dtqi_msg *msg, zmq_msg_t *ret_frame)
{
    dtq_err err;

    zmq_msg_init(ret_frame); /* closing it is allowed whether or not it was placed */
    err = dtqi_encode(msg, place_frame, ret_frame);
    if (err != DTQ_OK)
        zmq_msg_close(ret_frame);
    return err;
}

dtq_err sock_send_frame(struct sock *sock, uint32_t route, zmq_msg_t *frame)
{
    dtq_err err = is_router(sock) ? send_route(sock, route) : DTQ_OK;

    sock->wake.is_empty = only_sends(sock); /* sending takes notice of arrivals, too */
    if (err == DTQ_OK && zmq_msg_send(frame, sock->zmq, ZMQ_DONTWAIT) < 0)
        err = send_failed(errno);
    if (err == DTQ_OK)
        sock->sent++;
    return err;
}

/* The frame is made before the route is sent: nothing may fail between the two. */
dtq_err sock_send(struct sock *sock, uint32_t route, const struct dtqi_msg *msg)
{
    zmq_msg_t frame;
    dtq_err err = sock_encode(msg, &frame);

    if (err != DTQ_OK)
        return err;
    err = sock_send_frame(sock, route, &frame);
    if (err != DTQ_OK)
        zmq_msg_close(&frame);
    return err;
}

/* ---------------------------------------------------------------- connections as they come and go
 */

/* A peer of the wrong kind shows as a connection that ends before its handshake, or fails in it. */
static enum sock_event event_of(struct sock_monitor *monitor, unsigned number)
{
    bool was_connected = monitor->connected;

    monitor->connected = number == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
    if (monitor->connected)
        return SOCK_CONNECTED;
    return number == ZMQ_EVENT_DISCONNECTED && was_connected ? SOCK_DISCONNECTED : SOCK_REJECTED;
}

/* An event is two frames: its number (16 bits) and a value, then the endpoint. */
enum sock_event sock_monitor_next(struct sock_monitor *monitor)
{
    enum sock_event event = SOCK_NOTHING;
    zmq_msg_t frame;

    if (is_known_empty(&monitor->wake))
        return SOCK_NOTHING;
    zmq_msg_init(&frame);
    monitor->wake.is_empty = zmq_msg_recv(&frame, monitor->zmq, ZMQ_DONTWAIT) < 0;
    if (!monitor->wake.is_empty) {
        uint16_t number = 0;

        if (zmq_msg_size(&frame) >= sizeof number)
            memcpy(&number, zmq_msg_data(&frame), sizeof number);
        event = event_of(monitor, number);
        while (zmq_msg_more(&frame) && zmq_msg_recv(&frame, monitor->zmq, ZMQ_DONTWAIT) >= 0)
            ;
    }
    zmq_msg_close(&frame);
    return event;
}

void sock_monitor_close(struct sock_monitor *monitor, struct sock *sock)
{
    if (monitor->zmq == NULL)
        return;
    if (sock->zmq != NULL)
        zmq_socket_monitor(sock->zmq, NULL, 0);
    zmq_close(monitor->zmq);
    monitor->zmq = NULL;
}

/* ---------------------------------------------------------------- waiting */

bool sock_is_writable(const struct sock *sock)
{
    int events = 0;
    size_t bytes = sizeof events;

    return zmq_getsockopt(sock->zmq, ZMQ_EVENTS, &events, &bytes) == 0 &&
           (events & ZMQ_POLLOUT) != 0;
}

static void add_poll(struct sock_poll *p, int fd, struct sock_wake *wake)
{
    assert(p->n < SOCK_POLL_MAX);
    p->fds[p->n] = (struct pollfd){.fd = fd, .events = POLLIN};
    p->wakes[p->n++] = wake;
}

static void add_zmq(struct sock_poll *p, void *zmq, struct sock_wake *wake)
{
    int fd = -1;
    size_t bytes = sizeof fd;

    (void)zmq_getsockopt(zmq, ZMQ_FD, &fd, &bytes);
    wake->is_polled = true;
    add_poll(p, fd, wake);
}

void sock_poll_fd(struct sock_poll *p, int fd)
{
    add_poll(p, fd, NULL);
}

void sock_poll_sock(struct sock_poll *p, struct sock *sock)
{
    if (sock->zmq == NULL)
        return;
    add_zmq(p, sock->zmq, &sock->wake);
    sock->wake.is_empty |= only_sends(sock);
}

void sock_poll_monitor(struct sock_poll *p, struct sock_monitor *monitor)
{
    if (monitor->zmq != NULL)
        add_zmq(p, monitor->zmq, &monitor->wake);
}

int sock_poll_wait(struct sock_poll *p, long timeout_ms)
{
    int found;

    for (unsigned i = 0; i < p->n; i++)
        if (p->wakes[i] != NULL && !p->wakes[i]->is_empty)
            timeout_ms = 0; /* its descriptor tells of arrivals, not of what is left */
    found = poll(p->fds, p->n, timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms);
    for (unsigned i = 0; i < p->n; i++)
        if (p->wakes[i] != NULL && p->fds[i].revents != 0)
            p->wakes[i]->is_empty = false;
    return found;
}

/* ---------------------------------------------------------------- lanes */

struct lane_ports {
    char prefix[DTQI_ENDPOINT_BYTES_MAX + 1]; /* "tcp://127.0.0.1:" or "ipc:///run/dtq/v.lane-" */
    uint32_t n;
    uint32_t first; /* the port that was closed the longest ago */
    uint32_t count; /* ports in the queue; the others are in use by our lanes */
    uint16_t queue[];
};

static void lane_prefix(const char *control, char *ret, size_t bytes)
{
    if (strncmp(control, "ipc://", 6) == 0)
        snprintf(ret, bytes, "%s.lane-", control);
    else
        snprintf(ret, bytes, "%.*s:", (int)(strrchr(control, ':') - control), control);
}

struct lane_ports *lane_ports_new(const char *control, uint32_t lo, uint32_t hi, uint32_t random32)
{
    uint32_t n = hi - lo + 1;
    struct lane_ports *ports;

    assert(lo <= hi);
    assert(hi <= UINT16_MAX);
    ports = calloc(1, sizeof *ports + n * sizeof *ports->queue);
    if (ports == NULL)
        return NULL;
    lane_prefix(control, ports->prefix, sizeof ports->prefix);
    ports->n = ports->count = n;
    for (uint32_t i = 0; i < n; i++)
        ports->queue[i] = (uint16_t)(lo + (random32 % n + i) % n);
    return ports;
}

void lane_ports_free(struct lane_ports *ports)
{
    free(ports);
}

static uint16_t take_port(struct lane_ports *ports)
{
    uint16_t port = ports->queue[ports->first];

    ports->first = (ports->first + 1) % ports->n;
    ports->count--;
    return port;
}

static void return_port(struct lane_ports *ports, uint16_t port)
{
    assert(ports->count < ports->n);
    ports->queue[(ports->first + ports->count) % ports->n] = port;
    ports->count++;
}

dtq_err lane_open(struct lane_ports *ports, void *context, struct sock *ret_lane, char *why,
                  size_t why_bytes)
{
    for (uint32_t tries = ports->count; tries > 0; tries--) {
        uint16_t port = take_port(ports);
        char endpoint[DTQI_ENDPOINT_BYTES_MAX + 1];
        dtq_err err = DTQ_EINVAL;
        int n = snprintf(endpoint, sizeof endpoint, "%s%u", ports->prefix, (unsigned)port);

        /* The control endpoint was bound as it was allowed: its lanes follow it. */
        if (n > 0 && (size_t)n < sizeof endpoint)
            err = sock_bind(context, SOCK_LANE, endpoint, true, ret_lane, why, why_bytes);
        if (err == DTQ_OK)
            return DTQ_OK;
        return_port(ports, port);
        if (err != DTQ_EBUSY)
            return err;
    }
    say(why, why_bytes, "all %u lane ports are in use: give --lane-ports a wider range", ports->n);
    return DTQ_EBUSY;
}

void lane_close(struct lane_ports *ports, struct sock *lane)
{
    uint64_t port;

    if (lane->zmq == NULL)
        return;
    if (text_parse_u64(lane->endpoint + strlen(ports->prefix), &port) == DTQ_OK)
        return_port(ports, (uint16_t)port);
    sock_close(lane);
}
