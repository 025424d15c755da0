#include "sock_guard.h"

#include "log.h"
#include "proc.h"
#include "sock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GROWTH_BYTES (SOCK_GUARD_BYTES / 2) /* of this process; less is not worth a look */
#define LOOK_ANYWAY_MS 10000

#define STRANGER_MS 1000 /* nobody who is to be served is silent for so long at first */
/* While no file is left at all the listener spins: then it has to go faster. */
#define STRANGER_FULL_MS 200
#define LOOK_FULL_MS 50
#define PORTS_MAX 2
#define ESTABLISHED 1 /* as <netinet/tcp.h> has it, which does not go with <linux/tcp.h> */

struct connection {
    uint64_t cookie;   /* the kernel's name for it; 0: none was seen with this descriptor */
    uint64_t base;     /* bytes that it had brought when a message last came out of it */
    uint64_t since_ms; /* heard last, or seen first */
    bool known;        /* was heard ever */
    bool heard;        /* since the last look */
};

struct sock_guard {
    struct connection *connections; /* by descriptor */
    int room;
    uint16_t ports[PORTS_MAX]; /* of the sockets that are watched */
    int ports_n;
    int statm;  /* /proc/self/statm */
    DIR *files; /* /proc/self/fd: when no file is left, it could not be opened */
    uint64_t page_bytes;
    uint64_t resident_bytes; /* at the last look */
    uint64_t check_ms;
    uint64_t look_ms; /* even if memory has not grown */
    uint64_t now_ms;  /* of the look */
    struct log_rate rate;
    bool was_cut; /* at the last look: there is memory to give back */
};

struct sock_guard *sock_guard_new(void)
{
    struct sock_guard *guard = calloc(1, sizeof *guard);

    if (guard == NULL)
        return NULL;
    guard->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    guard->files = opendir("/proc/self/fd");
    guard->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    return guard;
}

void sock_guard_free(struct sock_guard *guard)
{
    if (guard == NULL)
        return;
    if (guard->statm >= 0)
        close(guard->statm);
    if (guard->files != NULL)
        closedir(guard->files);
    free(guard->connections);
    free(guard);
}

void sock_guard_watch(struct sock_guard *guard, struct sock *sock)
{
    const char *port = strrchr(sock->endpoint, ':');

    sock->guard = guard;
    if (strncmp(sock->endpoint, "tcp://", 6) == 0 && guard->ports_n < PORTS_MAX)
        guard->ports[guard->ports_n++] = (uint16_t)strtoul(port + 1, NULL, 10);
}

static bool make_room(struct sock_guard *guard, int fd)
{
    int room = guard->room != 0 ? guard->room : 64;
    struct connection *grown;

    if (fd < guard->room)
        return true;
    while (room <= fd)
        room *= 2;
    grown = realloc(guard->connections, (size_t)room * sizeof *grown);
    if (grown == NULL)
        return false;
    memset(grown + guard->room, 0, (size_t)(room - guard->room) * sizeof *grown);
    guard->connections = grown;
    guard->room = room;
    return true;
}

void sock_guard_heard(struct sock_guard *guard, int fd)
{
    if (fd >= 0 && make_room(guard, fd))
        guard->connections[fd].heard = true;
}

/* @return false: it is no TCP connection. A listener is none, and must never be shut down: ZeroMQ
 * ends the process then. */
static bool read_received(int fd, uint64_t *ret_cookie, uint64_t *ret_bytes)
{
    struct tcp_info info;
    socklen_t bytes = sizeof info;
    socklen_t cookie_bytes = sizeof *ret_cookie;

    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret_cookie, &cookie_bytes) != 0)
        return false;
    *ret_bytes = info.tcpi_bytes_received;
    return info.tcpi_state == ESTABLISHED;
}

/* Is it one that somebody made to a socket that is watched? Lanes and what we connect to are not.
 */
static bool is_watched(const struct sock_guard *guard, int fd)
{
    struct sockaddr_in6 own = {0}; /* its port is where that of sockaddr_in is */
    socklen_t bytes = sizeof own;

    if (getsockname(fd, (struct sockaddr *)&own, &bytes) != 0)
        return false;
    for (int i = 0; i < guard->ports_n; i++)
        if (ntohs(own.sin6_port) == guard->ports[i])
            return true;
    return false;
}

/* ZeroMQ's own thread sees the end of the connection, and gives back what it kept. */
static void cut(struct sock_guard *guard, int fd, const char *why, uint64_t bytes)
{
    uint64_t left_out;

    if (log_rate_pass(&guard->rate, guard->now_ms, &left_out))
        log_warn("connection_cut", log_str("why", why), log_u64("bytes", bytes),
                 log_u64("more", left_out));
    (void)shutdown(fd, SHUT_RDWR);
    guard->was_cut = true;
}

enum crowd { ROOM, CROWDED, FULL };

static uint64_t patience_ms(const struct connection *c, enum crowd crowd)
{
    if (c->known)
        return SOCK_GUARD_SILENT_MS;
    return crowd == FULL ? STRANGER_FULL_MS : STRANGER_MS;
}

static void look_at(struct sock_guard *guard, int fd, enum crowd crowd)
{
    struct connection *c;
    uint64_t cookie;
    uint64_t received;

    if (!read_received(fd, &cookie, &received) || !make_room(guard, fd))
        return;
    c = &guard->connections[fd];
    if (c->cookie != cookie || c->heard)
        *c = (struct connection){.cookie = cookie,
                                 .base = received,
                                 .since_ms = guard->now_ms,
                                 .known = c->heard || (c->cookie == cookie && c->known)};
    else if (received - c->base > SOCK_GUARD_BYTES)
        cut(guard, fd, "it begins a message and does not end it", received - c->base);
    else if (crowd != ROOM && is_watched(guard, fd) &&
             guard->now_ms - c->since_ms >= patience_ms(c, crowd))
        cut(guard, fd, "it is silent, and open files run out", received);
}

static void look_at_all(struct sock_guard *guard, enum crowd crowd)
{
    const struct dirent *entry;

    if (guard->files == NULL)
        return;
    rewinddir(guard->files);
    while ((entry = readdir(guard->files)) != NULL)
        if (entry->d_name[0] != '.')
            look_at(guard, (int)strtol(entry->d_name, NULL, 10), crowd);
}

/* The lowest descriptor that is free says how many are in use, nearly. */
static enum crowd crowd_of(const struct sock_guard *guard)
{
    uint64_t files_max = proc_files_max();
    int fd = guard->statm >= 0 ? fcntl(guard->statm, F_DUPFD_CLOEXEC, 0) : 0;

    if (fd < 0)
        return errno == EMFILE ? FULL : ROOM;
    if (fd > 0)
        close(fd);
    return (uint64_t)fd >= files_max - files_max / 8 ? CROWDED : ROOM;
}

/* The second number of statm is what is resident, in pages; 0: not known. */
static uint64_t resident_bytes(const struct sock_guard *guard)
{
    char text[128] = "";
    const char *second;

    if (pread(guard->statm, text, sizeof text - 1, 0) <= 0)
        return 0;
    second = strchr(text, ' ');
    return second != NULL ? strtoull(second, NULL, 10) * guard->page_bytes : 0;
}

uint64_t sock_guard_deadline_ms(const struct sock_guard *guard)
{
    return guard->check_ms;
}

void sock_guard_look(struct sock_guard *guard, uint64_t now_ms)
{
    enum crowd crowd;
    uint64_t resident;

    if (now_ms < guard->check_ms)
        return;
    crowd = crowd_of(guard);
    guard->check_ms = now_ms + (crowd == FULL ? LOOK_FULL_MS : SOCK_GUARD_LOOK_MS);
    if (guard->was_cut)
        proc_trim();
    guard->was_cut = false;
    resident = resident_bytes(guard);
    if (resident < guard->resident_bytes)
        guard->resident_bytes = resident;
    if (resident < guard->resident_bytes + GROWTH_BYTES && now_ms < guard->look_ms && crowd == ROOM)
        return;
    guard->now_ms = now_ms;
    look_at_all(guard, crowd);
    guard->resident_bytes = resident;
    guard->look_ms = now_ms + LOOK_ANYWAY_MS;
}
