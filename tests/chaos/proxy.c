#include "proxy.h"

#include "job.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK_BYTES (32u * 1024)
#define PIPE_BYTES_MAX (256u * 1024) /* then nothing is read, and the sender feels it */
#define CONNECTIONS_MAX 2048u

struct chunk {
    struct chunk *next;
    uint64_t due_ms;
    size_t bytes;
    size_t at;
    uint8_t data[];
};

/* One direction of a connection. */
struct pipe {
    struct chunk *first;
    struct chunk **last;
    size_t bytes;
    uint64_t due_ms; /* of the last chunk: order is kept */
    bool ended;      /* its source said so; passed on behind what is queued */
    bool passed_on;
};

struct connection {
    struct connection *next;
    uint32_t caller;
    enum proxy_way way;
    int fd[2];      /* the caller's, the server's */
    bool connected; /* the server's */
    bool has_lost;  /* to be reset when the loss ends */
    bool broken;    /* to be reset now */
    struct pipe pipe[2];
};

struct proxy {
    pthread_t thread;
    pthread_mutex_t lock; /* of everything below */
    int listener;
    int wake;
    bool stop;
    uint64_t random;
    uint16_t ports[WAYS];
    struct proxy_link links[PROXY_CALLERS_MAX][WAYS];
    struct connection *connections;
    struct proxy_stats stats;
};

/* ------------------------------------------------------------------------ connections */

static void pipe_clear(struct pipe *pipe)
{
    for (struct chunk *c = pipe->first, *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
    pipe->first = NULL;
    pipe->last = &pipe->first;
    pipe->bytes = 0;
}

static void close_fd(int fd, bool reset)
{
    struct linger now = {.l_onoff = 1};

    if (fd < 0)
        return;
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void connection_free(struct proxy *p, struct connection *c)
{
    for (int i = 0; i < 2; i++) {
        close_fd(c->fd[i], c->broken);
        pipe_clear(&c->pipe[i]);
    }
    p->stats.resets += c->broken;
    p->stats.open--;
    free(c);
}

static enum proxy_way way_of(const struct proxy *p, uint16_t port)
{
    for (int way = 0; way < WAYS; way++)
        if (way != WAY_LANE && p->ports[way] == port)
            return (enum proxy_way)way;
    return WAY_LANE;
}

/* @return -1: nobody is there. */
static int connect_to(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static void add_connection(struct proxy *p, int fd, uint32_t caller, uint16_t port)
{
    struct connection *c = calloc(1, sizeof *c);
    int on = 1;

    if (c == NULL) {
        close_fd(fd, true);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->caller = caller;
    c->way = way_of(p, port);
    c->fd[0] = fd;
    c->fd[1] = p->links[caller][c->way].refuse ? -1 : connect_to(port);
    c->broken = c->fd[1] < 0;
    for (int i = 0; i < 2; i++)
        c->pipe[i].last = &c->pipe[i].first;
    c->next = p->connections;
    p->connections = c;
    p->stats.connections[c->way]++;
    p->stats.open++;
}

static void accept_all(struct proxy *p)
{
    int fd;

    while ((fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct sockaddr_in here = {0};
        socklen_t bytes = sizeof here;
        uint32_t address;

        getsockname(fd, (struct sockaddr *)&here, &bytes);
        address = ntohl(here.sin_addr.s_addr);
        if (address >> 24 != 127 || (address >> 16 & 0xff) >= PROXY_CALLERS_MAX ||
            p->stats.open == CONNECTIONS_MAX)
            close_fd(fd, true);
        else
            add_connection(p, fd, address >> 16 & 0xff, (uint16_t)address);
    }
}

/* ------------------------------------------------------------------------ bytes */

static struct proxy_link *link_of(struct proxy *p, const struct connection *c)
{
    return &p->links[c->caller][c->way];
}

static uint64_t due_of(struct proxy *p, struct pipe *pipe, const struct proxy_link *link,
                       size_t bytes)
{
    uint64_t due_ms = job_now_ms() + link->delay_ms + job_below(&p->random, link->jitter_ms + 1);

    if (due_ms < pipe->due_ms)
        due_ms = pipe->due_ms;
    if (link->bytes_per_s > 0)
        due_ms += bytes * 1000 / link->bytes_per_s;
    return pipe->due_ms = due_ms;
}

static void read_side(struct proxy *p, struct connection *c, int side)
{
    const struct proxy_link *link = link_of(p, c);
    struct pipe *pipe = &c->pipe[side];
    struct chunk *chunk = malloc(sizeof *chunk + CHUNK_BYTES);
    ssize_t n = chunk != NULL ? recv(c->fd[side], chunk->data, CHUNK_BYTES, 0) : -1;

    if (n <= 0) {
        free(chunk);
        /* An end that nobody can see: who is cut off does not learn of it. */
        pipe->ended = n == 0 || (errno != EAGAIN && errno != EINTR);
        c->has_lost |= pipe->ended && link->lose[side];
        return;
    }
    if (link->lose[side] || c->has_lost) {
        c->has_lost = true;
        p->stats.bytes_lost += (uint64_t)n;
        free(chunk);
        return;
    }
    chunk->next = NULL;
    chunk->at = 0;
    chunk->bytes = (size_t)n;
    chunk->due_ms = due_of(p, pipe, link, (size_t)n);
    *pipe->last = chunk;
    pipe->last = &chunk->next;
    pipe->bytes += (size_t)n;
    p->stats.bytes += (uint64_t)n;
}

static bool is_due(const struct proxy_link *link, const struct pipe *pipe, int side,
                   uint64_t now_ms)
{
    return !link->hold[side] && pipe->first != NULL && pipe->first->due_ms <= now_ms;
}

static void write_side(struct connection *c, int side, uint64_t now_ms)
{
    struct pipe *pipe = &c->pipe[side];

    while (pipe->first != NULL && pipe->first->due_ms <= now_ms) {
        struct chunk *chunk = pipe->first;
        ssize_t n =
            send(c->fd[1 - side], chunk->data + chunk->at, chunk->bytes - chunk->at, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            pipe_clear(pipe); /* the other end is gone, which its own direction tells */
            return;
        }
        chunk->at += (size_t)n;
        pipe->bytes -= (size_t)n;
        if (chunk->at < chunk->bytes)
            return;
        pipe->first = chunk->next;
        if (pipe->first == NULL)
            pipe->last = &pipe->first;
        free(chunk);
    }
}

/* Ends go the way of the bytes. @return true: both have, or a reset is due. */
static bool pass_ends(struct connection *c, const struct proxy_link *link)
{
    for (int side = 0; side < 2; side++) {
        struct pipe *pipe = &c->pipe[side];

        if (!pipe->ended || pipe->passed_on || pipe->first != NULL || link->hold[side] ||
            link->lose[side])
            continue;
        pipe->passed_on = true;
        shutdown(c->fd[1 - side], SHUT_WR);
    }
    return c->pipe[0].passed_on && c->pipe[1].passed_on;
}

static void check_connected(struct connection *c)
{
    int error = 0;
    socklen_t bytes = sizeof error;

    getsockopt(c->fd[1], SOL_SOCKET, SO_ERROR, &error, &bytes);
    c->broken |= error != 0;
    c->connected = error == 0;
}

/* ------------------------------------------------------------------------ the thread */

static void want(struct proxy *p, struct connection *c, uint64_t now_ms, struct pollfd *polls,
                 int *timeout_ms)
{
    const struct proxy_link *link = link_of(p, c);

    for (int side = 0; side < 2; side++) {
        struct pipe *pipe = &c->pipe[side];
        bool reads = !pipe->ended && pipe->bytes < PIPE_BYTES_MAX && (side == 0 || c->connected);

        polls[side].events |= reads ? POLLIN : 0;
        if (is_due(link, pipe, side, now_ms) && c->connected)
            polls[1 - side].events |= POLLOUT;
        else if (pipe->first != NULL && !link->hold[side] &&
                 pipe->first->due_ms < now_ms + (uint64_t)*timeout_ms)
            *timeout_ms = pipe->first->due_ms > now_ms ? (int)(pipe->first->due_ms - now_ms) : 1;
    }
    if (!c->connected)
        polls[1].events |= POLLOUT;
    /* Without anything to wait for, poll() would report hang-ups all the same. */
    for (int i = 0; i < 2; i++)
        polls[i].fd = polls[i].events != 0 ? c->fd[i] : -1;
}

static void serve(struct proxy *p, struct connection *c, const struct pollfd *polls)
{
    uint64_t now_ms = job_now_ms();

    if (c->fd[1] >= 0 && !c->connected && polls[1].revents != 0)
        check_connected(c);
    for (int side = 0; side < 2 && !c->broken; side++) {
        if ((polls[side].events & POLLIN) != 0 && polls[side].revents != 0)
            read_side(p, c, side);
        if (c->connected && is_due(link_of(p, c), &c->pipe[side], side, now_ms))
            write_side(c, side, now_ms);
    }
}

static void sweep(struct proxy *p)
{
    struct connection **at = &p->connections;

    while (*at != NULL) {
        struct connection *c = *at;
        const struct proxy_link *link = link_of(p, c);

        c->broken |= c->has_lost && !link->lose[0] && !link->lose[1];
        if (!c->broken && !pass_ends(c, link)) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        connection_free(p, c);
    }
}

static void turn(struct proxy *p, struct pollfd *polls)
{
    int timeout_ms = 200;
    uint64_t wakes;
    nfds_t n = 2;

    polls[0] = (struct pollfd){.fd = p->listener, .events = POLLIN};
    polls[1] = (struct pollfd){.fd = p->wake, .events = POLLIN};
    for (struct connection *c = p->connections; c != NULL; c = c->next, n += 2) {
        memset(&polls[n], 0, 2 * sizeof *polls);
        want(p, c, job_now_ms(), &polls[n], &timeout_ms);
    }
    pthread_mutex_unlock(&p->lock);
    poll(polls, n, timeout_ms);
    pthread_mutex_lock(&p->lock);
    n = 2;
    for (struct connection *c = p->connections; c != NULL; c = c->next, n += 2)
        serve(p, c, &polls[n]);
    if (polls[1].revents != 0)
        (void)!read(p->wake, &wakes, sizeof wakes);
    if (polls[0].revents != 0)
        accept_all(p);
    sweep(p);
}

static void *run(void *arg)
{
    struct proxy *p = arg;
    struct pollfd *polls = calloc(2 + 2 * CONNECTIONS_MAX, sizeof *polls);

    pthread_mutex_lock(&p->lock);
    while (polls != NULL && !p->stop)
        turn(p, polls);
    pthread_mutex_unlock(&p->lock);
    free(polls);
    return NULL;
}

static void wake(struct proxy *p)
{
    (void)!write(p->wake, &(uint64_t){1}, sizeof(uint64_t));
}

/* ------------------------------------------------------------------------ outside */

/* Every loopback address is wanted, and no other: hence any address, of this device. */
static int listen_at(uint16_t port)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof "lo");
    if (bind(fd, (struct sockaddr *)&any, sizeof any) == 0 && listen(fd, 1024) == 0)
        return fd;
    close(fd);
    return -1;
}

struct proxy *proxy_open(uint16_t port, uint64_t seed)
{
    struct proxy *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    p->random = seed;
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->listener = listen_at(port);
    pthread_mutex_init(&p->lock, NULL);
    if (p->wake < 0 || p->listener < 0 || pthread_create(&p->thread, NULL, run, p) != 0) {
        close_fd(p->wake, false);
        close_fd(p->listener, false);
        free(p);
        return NULL;
    }
    return p;
}

void proxy_close(struct proxy *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    wake(p);
    pthread_join(p->thread, NULL);
    for (struct connection *c = p->connections, *next; c != NULL; c = next) {
        next = c->next;
        connection_free(p, c);
    }
    close_fd(p->listener, false);
    close_fd(p->wake, false);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void proxy_ports(struct proxy *p, uint16_t control, uint16_t intake, uint16_t results)
{
    pthread_mutex_lock(&p->lock);
    p->ports[WAY_CONTROL] = control;
    p->ports[WAY_INTAKE] = intake;
    p->ports[WAY_RESULTS] = results;
    pthread_mutex_unlock(&p->lock);
}

void proxy_set(struct proxy *p, uint32_t caller, enum proxy_way way, const struct proxy_link *link)
{
    pthread_mutex_lock(&p->lock);
    p->links[caller][way] = *link;
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

void proxy_reset(struct proxy *p, uint32_t caller, enum proxy_way way)
{
    pthread_mutex_lock(&p->lock);
    for (struct connection *c = p->connections; c != NULL; c = c->next)
        c->broken |= c->caller == caller && c->way == way;
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

void proxy_stats(struct proxy *p, struct proxy_stats *ret)
{
    pthread_mutex_lock(&p->lock);
    *ret = p->stats;
    pthread_mutex_unlock(&p->lock);
}
