#include "client_shell.h"

#include "codec.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#define READS_MAX 1000u /* of one connection, before others have their turn */
#define CONNECT_TIMEOUT_MS 5000
#define SILENCE_MS 2500         /* of somebody who must answer, then it is told */
#define VENTILATOR_RCVHWM 32768 /* answers to as many tasks as may be unconfirmed */
#define SINK_RCVHWM 64          /* batches of results; more wait in TCP, and at the sink */
#define POLL_ITEMS_MAX (2 * CLIENT_PEERS_MAX)
#define DESCRIPTORS_NEEDED 9 /* of a context and one connection that is watched */

/* ---------------------------------------------------------------- time */

static uint64_t clock_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

struct client_time io_time(void)
{
    return (struct client_time){clock_ms(CLOCK_BOOTTIME), clock_ms(CLOCK_REALTIME)};
}

uint64_t io_end_ms(int32_t timeout_ms)
{
    if (timeout_ms < 0)
        return UINT64_MAX;
    return timeout_ms == 0 ? 0 : clock_ms(CLOCK_BOOTTIME) + (uint64_t)timeout_ms;
}

/* ---------------------------------------------------------------- connections */

static void epoll_add(struct dtq_client *c, void *socket)
{
    struct epoll_event event = {.events = EPOLLIN};
    int fd;
    size_t size = sizeof fd;

    if (c->epoll_fd >= 0 && zmq_getsockopt(socket, ZMQ_FD, &fd, &size) == 0)
        epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void epoll_remove(struct dtq_client *c, void *socket)
{
    int fd;
    size_t size = sizeof fd;

    if (c->epoll_fd >= 0 && zmq_getsockopt(socket, ZMQ_FD, &fd, &size) == 0)
        epoll_ctl(c->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static void close_socket(struct dtq_client *c, void **socket)
{
    if (*socket == NULL)
        return;
    epoll_remove(c, *socket);
    zmq_close(*socket);
    *socket = NULL;
}

static void close_connection(struct dtq_client *c, uint32_t peer)
{
    struct connection *k = &c->connections[peer];

    if (k->socket != NULL)
        zmq_socket_monitor(k->socket, NULL, 0);
    close_socket(c, &k->monitor);
    close_socket(c, &k->socket);
    k->is_down = false;
}

static bool set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

/* RECONNECT_IVL -1: a socket is one connection. What was queued on it must never surface on a later
 * one (R5). */
static bool set_options(void *socket, uint32_t peer, const char *endpoint)
{
    int64_t frame_bytes_max = DTQI_FRAME_BYTES_MAX;

    return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof frame_bytes_max) == 0 &&
           set_int(socket, ZMQ_LINGER, 0) && set_int(socket, ZMQ_RECONNECT_IVL, -1) &&
           set_int(socket, ZMQ_SNDHWM, 0) &&
           set_int(socket, ZMQ_RCVHWM,
                   peer == CLIENT_VENTILATOR ? VENTILATOR_RCVHWM : SINK_RCVHWM) &&
           set_int(socket, ZMQ_CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS) &&
           set_int(socket, ZMQ_HANDSHAKE_IVL, CONNECT_TIMEOUT_MS) &&
           set_int(socket, ZMQ_TCP_KEEPALIVE, 1) && set_int(socket, ZMQ_TCP_KEEPALIVE_IDLE, 10) &&
           set_int(socket, ZMQ_TCP_KEEPALIVE_INTVL, 5) &&
           set_int(socket, ZMQ_TCP_KEEPALIVE_CNT, 3) &&
           set_int(socket, ZMQ_IPV6, strchr(endpoint, '[') != NULL);
}

static bool open_monitor(struct dtq_client *c, struct connection *k)
{
    char name[64];

    snprintf(name, sizeof name, "inproc://monitor-%llu", (unsigned long long)++c->monitors);
    if (zmq_socket_monitor(
            k->socket, name,
            ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) != 0)
        return false;
    k->monitor = zmq_socket(c->ctx, ZMQ_PAIR);
    return k->monitor != NULL && set_int(k->monitor, ZMQ_LINGER, 0) &&
           zmq_connect(k->monitor, name) == 0;
}

static bool try_open(struct dtq_client *c, uint32_t peer, const char *endpoint)
{
    struct connection *k = &c->connections[peer];

    k->socket = zmq_socket(c->ctx, ZMQ_DEALER);
    if (k->socket == NULL || !set_options(k->socket, peer, endpoint) || !open_monitor(c, k) ||
        zmq_connect(k->socket, endpoint) != 0)
        return false;
    epoll_add(c, k->socket);
    epoll_add(c, k->monitor);
    return true;
}

static void open_connection(struct dtq_client *c, uint32_t peer, struct dtqi_str endpoint)
{
    char text[DTQI_ENDPOINT_BYTES_MAX + 1];

    close_connection(c, peer);
    snprintf(text, sizeof text, "%.*s", (int)endpoint.len, endpoint.at);
    if (!try_open(c, peer, text)) {
        close_connection(c, peer);
        c->connections[peer].is_down = true;
    }
}

/* ---------------------------------------------------------------- sending */

static void *place(void *arg, size_t bytes)
{
    zmq_msg_t *msg = arg;

    return zmq_msg_init_size(msg, bytes) == 0 ? zmq_msg_data(msg) : NULL;
}

static void send_message(struct dtq_client *c, uint32_t peer, const struct dtqi_msg *msg)
{
    struct connection *k = &c->connections[peer];
    zmq_msg_t frame;

    if (k->socket == NULL || k->is_down)
        return; /* the core is about to hear of it */
    if (dtqi_encode(msg, place, &frame) != DTQ_OK) {
        k->is_down = true;
        return;
    }
    if (zmq_msg_send(&frame, k->socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&frame);
        k->is_down = true;
    }
}

static void act(struct dtq_client *c)
{
    for (uint32_t i = 0; i < c->actions.n; i++) {
        struct client_action *a = &c->actions.at[i];

        switch (a->type) {
        case CLIENT_OPEN: open_connection(c, a->peer, a->endpoint); break;
        case CLIENT_CLOSE: close_connection(c, a->peer); break;
        case CLIENT_SEND: send_message(c, a->peer, &a->msg); break;
        }
    }
    client_actions_reset(&c->actions);
}

static void step(struct dtq_client *c, enum client_event_type type, uint32_t peer,
                 const struct dtqi_msg *msg)
{
    struct client_event e = {.type = type, .at = io_time(), .peer = peer, .msg = msg};

    client_step(c->core, &e, &c->actions);
    act(c);
}

static void tell_losses(struct dtq_client *c)
{
    for (uint32_t i = 0; i < CLIENT_PEERS_MAX; i++) {
        if (!c->connections[i].is_down)
            continue;
        close_connection(c, i);
        step(c, CLIENT_DOWN, i, NULL);
    }
}

/* The core opens lost connections again after a while, so this comes to an end. */
static void tick(struct dtq_client *c)
{
    tell_losses(c);
    step(c, CLIENT_TICK, 0, NULL);
    tell_losses(c);
}

/* ---------------------------------------------------------------- receiving */

static void take_frame(struct dtq_client *c, uint32_t peer, zmq_msg_t *frame)
{
    struct dtqi_msg msg;
    dtq_err err;

    err = dtqi_decode(zmq_msg_data(frame), zmq_msg_size(frame), &msg, NULL, 0);
    if (err == DTQ_OK) {
        step(c, CLIENT_MESSAGE, peer, &msg);
        dtqi_msg_done(&msg);
    } else if (err == DTQ_EVERSION) {
        step(c, CLIENT_BAD_FRAME, peer, NULL);
    } else if (err == DTQ_ENOMEM) {
        c->connections[peer].is_down = true; /* what was lost is asked for on the next one */
    }
    /* Nonsense is dropped: whoever sent it may still answer properly. */
}

/* Takes in one message; false: there is none. Messages of several frames are none of ours. */
static bool read_message(struct dtq_client *c, uint32_t peer)
{
    void *socket = c->connections[peer].socket;
    bool is_single;
    zmq_msg_t frame;

    zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&frame);
        return false;
    }
    is_single = zmq_msg_more(&frame) == 0;
    while (zmq_msg_more(&frame) != 0 && zmq_msg_recv(&frame, socket, 0) >= 0)
        continue;
    if (is_single)
        take_frame(c, peer, &frame);
    zmq_msg_close(&frame);
    return true;
}

static void read_connection(struct dtq_client *c, uint32_t peer)
{
    void *socket = c->connections[peer].socket;

    for (uint32_t i = 0; i < READS_MAX; i++)
        if (c->connections[peer].socket != socket || !read_message(c, peer))
            return;
}

/* Whatever it says, the connection is over; nothing is read from it before that is known, so what
 * came before the end is not lost. */
static void read_monitor(struct dtq_client *c, uint32_t peer)
{
    struct connection *k = &c->connections[peer];
    zmq_msg_t frame;

    zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, k->monitor, ZMQ_DONTWAIT) >= 0)
        k->is_down = true;
    zmq_msg_close(&frame);
}

static int fill_items(const struct dtq_client *c, zmq_pollitem_t *items, uint32_t *peers)
{
    int n = 0;

    for (uint32_t i = 0; i < CLIENT_PEERS_MAX; i++) {
        const struct connection *k = &c->connections[i];

        if (k->socket == NULL)
            continue;
        items[n] = (zmq_pollitem_t){.socket = k->socket, .events = ZMQ_POLLIN};
        peers[n++] = i;
        items[n] = (zmq_pollitem_t){.socket = k->monitor, .events = ZMQ_POLLIN};
        peers[n++] = i;
    }
    return n;
}

/* When somebody will have been silent for so long that it is to be told. */
static uint64_t silence_due_ms(const struct dtq_client *c, uint64_t now_ms)
{
    uint32_t peer = c->on_silence != NULL ? client_silent_peer(c->core, 1) : CLIENT_NOBODY;
    uint64_t silent_ms;

    if (peer == CLIENT_NOBODY || peer == c->told_peer)
        return UINT64_MAX;
    silent_ms = client_silence_ms(c->core, peer);
    return silent_ms < SILENCE_MS ? now_ms + SILENCE_MS - silent_ms : now_ms;
}

static void tell_silence(struct dtq_client *c)
{
    uint32_t peer = c->on_silence != NULL ? client_silent_peer(c->core, SILENCE_MS) : CLIENT_NOBODY;

    if (c->told_peer != CLIENT_NOBODY && client_silence_ms(c->core, c->told_peer) == 0)
        c->told_peer = CLIENT_NOBODY;
    if (peer == CLIENT_NOBODY || peer == c->told_peer)
        return;
    c->told_peer = peer;
    shell_note_silence(c, peer);
    c->on_silence(c->silence_arg, &c->silence);
}

static long wait_ms(const struct dtq_client *c, uint64_t end_ms)
{
    uint64_t until = client_deadline_ms(c->core);
    uint64_t now_ms = clock_ms(CLOCK_BOOTTIME);
    uint64_t silence_due = silence_due_ms(c, now_ms);

    until = end_ms < until ? end_ms : until;
    until = silence_due < until ? silence_due : until;
    if (until == UINT64_MAX)
        return -1;
    if (until <= now_ms)
        return 0;
    return until - now_ms < 3600 * 1000 ? (long)(until - now_ms) : 3600 * 1000;
}

/* A signal ends the wait early, which the caller's loop makes up for. */
static dtq_err receive(struct dtq_client *c, long timeout_ms)
{
    zmq_pollitem_t items[POLL_ITEMS_MAX];
    uint32_t peers[POLL_ITEMS_MAX];
    int n = fill_items(c, items, peers);

    if (zmq_poll(items, n, timeout_ms) < 0)
        return errno == EINTR ? DTQ_OK
                              : shell_fail(c, DTQ_EIO, "cannot poll: %s", zmq_strerror(errno));
    for (int i = 0; i < n; i += 2) {
        if ((items[i].revents & ZMQ_POLLIN) != 0)
            read_connection(c, peers[i]);
        if ((items[i + 1].revents & ZMQ_POLLIN) != 0 &&
            c->connections[peers[i]].monitor == items[i + 1].socket)
            read_monitor(c, peers[i]);
    }
    return DTQ_OK;
}

dtq_err io_pump(struct dtq_client *c, uint64_t end_ms)
{
    dtq_err err;

    if (getpid() != c->pid)
        return shell_fail(c, DTQ_EINVAL, "a client cannot be used in a forked child");
    if (end_ms != 0)
        tick(c);
    err = receive(c, end_ms != 0 ? wait_ms(c, end_ms) : 0);
    tick(c);
    tell_silence(c);
    return err;
}

/* ---------------------------------------------------------------- the descriptor */

static bool has_input(void *socket)
{
    int events = 0;
    size_t size = sizeof events;

    return zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN) != 0;
}

/* ZMQ_FD tells of changes only, and sending takes notice of them too: look what is there. */
static bool is_anything_left(const struct dtq_client *c)
{
    bool left = false;

    if (client_has_event(c->core))
        return true;
    for (uint32_t i = 0; i < CLIENT_PEERS_MAX; i++) {
        const struct connection *k = &c->connections[i];

        if (k->socket == NULL)
            continue;
        left |= has_input(k->socket);
        left |= has_input(k->monitor);
    }
    return left;
}

static void set_timer(struct dtq_client *c, uint64_t at_ms)
{
    struct itimerspec spec = {0};

    if (at_ms == c->timer_ms)
        return;
    c->timer_ms = at_ms;
    if (at_ms != UINT64_MAX) {
        spec.it_value.tv_sec = (time_t)(at_ms / 1000);
        spec.it_value.tv_nsec = (long)(at_ms % 1000) * 1000000 + 1; /* 0 would stop it */
    }
    timerfd_settime(c->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

void io_settle(struct dtq_client *c)
{
    if (c->epoll_fd < 0)
        return;
    set_timer(c, is_anything_left(c) ? 0 : client_deadline_ms(c->core));
}

static bool make_fd(struct dtq_client *c)
{
    struct epoll_event event = {.events = EPOLLIN};

    c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    c->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (c->epoll_fd >= 0 && c->timer_fd >= 0 &&
        epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, c->timer_fd, &event) == 0)
        return true;
    shell_fail(c, DTQ_EIO, "cannot make a descriptor: %s", strerror(errno));
    if (c->epoll_fd >= 0)
        close(c->epoll_fd);
    if (c->timer_fd >= 0)
        close(c->timer_fd);
    c->epoll_fd = c->timer_fd = -1;
    return false;
}

int io_fd(struct dtq_client *c)
{
    if (c->epoll_fd >= 0)
        return c->epoll_fd;
    if (!make_fd(c))
        return -1;
    c->timer_ms = UINT64_MAX;
    for (uint32_t i = 0; i < CLIENT_PEERS_MAX; i++) {
        if (c->connections[i].socket == NULL)
            continue;
        epoll_add(c, c->connections[i].socket);
        epoll_add(c, c->connections[i].monitor);
    }
    io_settle(c);
    return c->epoll_fd;
}

/* ---------------------------------------------------------------- life */

/* libzmq aborts the process when there are no descriptors for its threads, so see whether there are
 * before it is started. */
static bool has_descriptors(void)
{
    int fds[DESCRIPTORS_NEEDED];
    int n = 0;

    while (n < DESCRIPTORS_NEEDED && (fds[n] = eventfd(0, EFD_CLOEXEC)) >= 0)
        n++;
    for (int i = 0; i < n; i++)
        close(fds[i]);
    return n == DESCRIPTORS_NEEDED;
}

dtq_err io_open(struct dtq_client *c)
{
    c->pid = getpid();
    c->epoll_fd = -1;
    c->timer_fd = -1;
    if (!has_descriptors())
        return DTQ_EIO;
    c->ctx = zmq_ctx_new();
    return c->ctx != NULL ? DTQ_OK : DTQ_ENOMEM;
}

void io_close(struct dtq_client *c)
{
    client_actions_done(&c->actions);
    if (getpid() != c->pid)
        return; /* sockets and descriptors are the parent's */
    for (uint32_t i = 0; i < CLIENT_PEERS_MAX; i++)
        close_connection(c, i);
    if (c->ctx != NULL)
        while (zmq_ctx_term(c->ctx) != 0 && errno == EINTR)
            continue;
    if (c->epoll_fd >= 0) {
        close(c->epoll_fd);
        close(c->timer_fd);
    }
}
