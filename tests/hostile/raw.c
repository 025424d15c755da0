#include "raw.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int raw_connect(const char *endpoint)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Until it takes more. @return false: it has ended, or takes nothing. */
static bool wait_for_room(int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLOUT | POLLRDHUP};

    return poll(&item, 1, RAW_WAIT_MS) == 1 && (item.revents & (POLLRDHUP | POLLHUP)) == 0;
}

bool raw_bytes(int fd, const void *at, size_t bytes)
{
    const char *from = at;

    while (bytes > 0) {
        ssize_t n = send(fd, from, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN && wait_for_room(fd))
            continue;
        if (n <= 0)
            return false;
        from += n;
        bytes -= (size_t)n;
    }
    return true;
}

bool raw_greet(int fd, const char *mechanism)
{
    unsigned char greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0};

    memcpy(greeting + 12, mechanism, strlen(mechanism));
    return raw_bytes(fd, greeting, sizeof greeting);
}

bool raw_ready(int fd, const char *type)
{
    unsigned char body[64] = "\5READY\13Socket-Type";
    size_t n = strlen((char *)body);
    size_t type_bytes = strlen(type);

    memset(body + n, 0, 3);
    body[n + 3] = (unsigned char)type_bytes;
    memcpy(body + n + 4, type, type_bytes);
    return raw_frame(fd, RAW_COMMAND, body, n + 4 + type_bytes);
}

static bool read_bytes(int fd, void *at, size_t bytes, uint64_t until_ms)
{
    char *to = at;

    while (bytes > 0) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        uint64_t now_ms = clock_ms();
        ssize_t n;

        if (now_ms >= until_ms || poll(&item, 1, (int)(until_ms - now_ms)) != 1)
            return false;
        n = recv(fd, to, bytes, 0);
        if (n <= 0)
            return false;
        to += n;
        bytes -= (size_t)n;
    }
    return true;
}

/* @return its bytes, in memory of the caller's; NULL: none. */
static unsigned char *read_frame(int fd, int *ret_flags, size_t *ret_bytes, uint64_t until_ms)
{
    unsigned char head[9];
    uint64_t bytes = 0;
    unsigned char *at;

    if (!read_bytes(fd, head, 2, until_ms) ||
        ((head[0] & RAW_LONG) != 0 && !read_bytes(fd, head + 2, 7, until_ms)))
        return NULL;
    for (int i = 1; i <= ((head[0] & RAW_LONG) != 0 ? 8 : 1); i++)
        bytes = bytes << 8 | head[i];
    *ret_flags = head[0];
    *ret_bytes = (size_t)bytes;
    at = malloc((size_t)bytes + 1);
    if (at != NULL && read_bytes(fd, at, (size_t)bytes, until_ms))
        return at;
    free(at);
    return NULL;
}

int raw_open(const char *endpoint, const char *type)
{
    uint64_t until_ms = clock_ms() + RAW_WAIT_MS;
    int fd = raw_connect(endpoint);
    unsigned char greeting[64];
    unsigned char *ready = NULL;
    int flags = 0;
    size_t bytes;

    if (fd >= 0 && raw_greet(fd, "NULL") && read_bytes(fd, greeting, sizeof greeting, until_ms) &&
        raw_ready(fd, type))
        ready = read_frame(fd, &flags, &bytes, until_ms);
    if (ready == NULL || (flags & RAW_COMMAND) == 0) {
        fprintf(stderr, "%s does not let a %s in\n", endpoint, type);
        abort();
    }
    free(ready);
    return fd;
}

bool raw_frame(int fd, int flags, const void *at, size_t bytes)
{
    unsigned char head[9] = {(unsigned char)flags};
    size_t n = 2;

    if (bytes > 255) {
        head[0] |= RAW_LONG;
        n = 9;
    }
    for (size_t i = n - 1, left = bytes; i > 0; i--, left >>= 8)
        head[i] = (unsigned char)left;
    return raw_bytes(fd, head, n) && raw_bytes(fd, at, bytes);
}

bool raw_send(int fd, const struct dtqi_msg *msg)
{
    struct sample_frame frame = sample_encode(msg);
    bool sent;

    assert(frame.at != NULL);
    sent = raw_frame(fd, 0, frame.at, frame.bytes);
    free(frame.at);
    return sent;
}

bool raw_recv(int fd, struct dtqi_msg *ret, int wait_ms)
{
    uint64_t until_ms = clock_ms() + (uint64_t)wait_ms;
    unsigned char *at;
    size_t bytes;
    int flags;

    while ((at = read_frame(fd, &flags, &bytes, until_ms)) != NULL) {
        dtq_err err = DTQ_EPROTO;

        if ((flags & (RAW_COMMAND | RAW_MORE)) == 0)
            err = dtqi_decode(at, bytes, ret, NULL, 0);
        free(at);
        if (err == DTQ_OK)
            return true;
    }
    return false;
}

bool raw_is_closed(int fd, int wait_ms)
{
    uint64_t until_ms = clock_ms() + (uint64_t)wait_ms;

    for (;;) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        uint64_t now_ms = clock_ms();
        char bytes[4096];

        if (now_ms >= until_ms || poll(&item, 1, (int)(until_ms - now_ms)) != 1)
            return false;
        if (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) <= 0)
            return true;
    }
}

/* ---------------------------------------------------------------- processes */

uint64_t process_rss_bytes(pid_t pid)
{
    char path[64];
    unsigned long size = 0;
    unsigned long resident = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%ld/statm", (long)pid);
    file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

unsigned process_files(pid_t pid)
{
    char path[64];
    unsigned n = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%ld/fd", (long)pid);
    dir = opendir(path);
    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n - 2;
}

uint64_t process_cpu_ms(pid_t pid)
{
    char path[64];
    unsigned long user = 0;
    unsigned long system = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
               &system) != 2)
        user = system = 0;
    fclose(file);
    return (uint64_t)(user + system) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
}
