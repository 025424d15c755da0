#include "wire.h"

#include "bed.h"
#include "proc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 10000
#define RETRY_NS 5000000
#define COMMAND_BYTES 256

static int try_to_connect(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

struct wire *wire_open(uint16_t port)
{
    uint64_t until_ms = proc_now_ms() + PATIENCE_MS;
    struct timespec retry = {.tv_nsec = RETRY_NS};
    struct wire *w = calloc(1, sizeof *w);

    if (w == NULL)
        bed_fail("out of memory");
    while ((w->fd = try_to_connect(port)) < 0) {
        if (proc_now_ms() > until_ms)
            bed_fail("nobody listens at port %u: %s", port, strerror(errno));
        nanosleep(&retry, NULL);
    }
    return w;
}

void wire_close(struct wire *w)
{
    close(w->fd);
    free(w->out);
    free(w);
}

void wire_put(struct wire *w, const void *bytes, size_t n)
{
    if (w->out_bytes + n > w->out_room) {
        size_t room = 2 * (w->out_bytes + n);
        char *out = realloc(w->out, room);

        if (out == NULL)
            bed_fail("out of memory");
        w->out = out;
        w->out_room = room;
    }
    memcpy(w->out + w->out_bytes, bytes, n);
    w->out_bytes += n;
}

void wire_print(struct wire *w, const char *format, ...)
{
    char text[COMMAND_BYTES];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof text)
        bed_fail("a command of %d bytes", n);
    wire_put(w, text, (size_t)n);
}

void wire_count(struct wire *w, char kind, size_t n)
{
    char text[32];
    char *at = text + sizeof text;

    *--at = '\n';
    *--at = '\r';
    do
        *--at = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    *--at = kind;
    wire_put(w, at, (size_t)(text + sizeof text - at));
}

void wire_flush(struct wire *w)
{
    size_t at = 0;

    while (at < w->out_bytes) {
        ssize_t n = send(w->fd, w->out + at, w->out_bytes - at, MSG_NOSIGNAL);

        if (n <= 0)
            bed_fail("a server takes nothing: %s", strerror(errno));
        at += (size_t)n;
    }
    w->out_bytes = 0;
}

static void fill(struct wire *w)
{
    ssize_t n = recv(w->fd, w->in, sizeof w->in, 0);

    if (n <= 0)
        bed_fail("a server has gone: %s", n < 0 ? strerror(errno) : "it closed the connection");
    w->in_at = 0;
    w->in_bytes = (size_t)n;
}

const char *wire_line(struct wire *w)
{
    size_t n = 0;

    for (;;) {
        char c;

        if (w->in_at == w->in_bytes)
            fill(w);
        c = w->in[w->in_at++];
        if (c == '\n')
            break;
        if (n == sizeof w->line - 1)
            bed_fail("a server sent a line without end");
        w->line[n++] = c;
    }
    if (n > 0 && w->line[n - 1] == '\r')
        n--;
    w->line[n] = '\0';
    return w->line;
}

const char *wire_expect(struct wire *w, const char *expected)
{
    const char *line = wire_line(w);

    if (strncmp(line, expected, strlen(expected)) != 0)
        bed_fail("a server answers \"%s\" where \"%s\" was expected", line, expected);
    return line + strlen(expected);
}

void wire_bytes(struct wire *w, void *ret, size_t n)
{
    char *at = ret;

    while (n > 0) {
        size_t piece;

        if (w->in_at == w->in_bytes)
            fill(w);
        piece = w->in_bytes - w->in_at < n ? w->in_bytes - w->in_at : n;
        if (at != NULL) {
            memcpy(at, w->in + w->in_at, piece);
            at += piece;
        }
        w->in_at += piece;
        n -= piece;
    }
}
