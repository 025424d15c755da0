#include "server.h"

#include "bed.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* One that the kernel chooses and nobody has: the benchmark has a network of its own (as root), so
 * nobody takes it meanwhile. */
static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &bytes) != 0)
        bed_fail("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(at.sin_port);
}

static void add_word(struct server *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_word(struct server *s, const char *format, ...)
{
    size_t n = 0;
    va_list args;

    while (s->argv[n] != NULL)
        n++;
    va_start(args, format);
    vsnprintf(s->words[n], sizeof s->words[n], format, args);
    va_end(args);
    s->argv[n] = s->words[n];
}

static void prepare(struct server *s)
{
    memset(s, 0, sizeof *s);
    bed_make_folder(s->dir, sizeof s->dir);
    s->port = free_port();
}

static void start(struct server *s)
{
    char why[PATH_MAX + 128];

    s->child = (struct child){.program = s->argv[0], .argv = s->argv, .stop_signal = SIGKILL};
    if (child_start(&s->child, why, sizeof why) != DTQ_OK)
        bed_fail("%s", why);
    wire_close(wire_open(s->port));
}

/* Its configuration file. */
static void configure_redis(const struct server *s, bool durable)
{
    char path[PATH_MAX + 16];
    FILE *f;

    snprintf(path, sizeof path, "%s/redis.conf", s->dir);
    f = fopen(path, "we");
    if (f == NULL)
        bed_fail("%s: %s", path, strerror(errno));
    fprintf(f, "bind 127.0.0.1\nport %u\ndir %s\nlogfile %s/log\nsave \"\"\n", s->port, s->dir,
            s->dir);
    fprintf(f, durable ? "appendonly yes\nappendfsync always\n" : "appendonly no\n");
    if (fclose(f) != 0)
        bed_fail("%s: %s", path, strerror(errno));
}

void redis_start(struct server *s, bool durable)
{
    prepare(s);
    configure_redis(s, durable);
    add_word(s, "redis-server");
    add_word(s, "%s/redis.conf", s->dir);
    start(s);
}

/* It has no configuration file, and complains of workers that are gone, which they are at the end.
 */
void beanstalkd_start(struct server *s, bool durable)
{
    prepare(s);
    add_word(s, "sh");
    add_word(s, "-c");
    add_word(s, "exec beanstalkd \"$@\" 2>\"$0\"");
    add_word(s, "%s/log", s->dir);
    add_word(s, "-l127.0.0.1");
    add_word(s, "-p%u", s->port);
    if (durable) {
        add_word(s, "-b%s", s->dir);
        add_word(s, "-f0");
    }
    start(s);
}

void server_stop(struct server *s)
{
    child_signal(&s->child, SIGKILL);
    while (!child_reap(&s->child)) {
        struct pollfd p = {.fd = s->child.pidfd, .events = POLLIN};

        poll(&p, 1, 100);
    }
    bed_remove_folder(s->dir);
}

pid_t worker_start(server_work *work, uint16_t port, unsigned number)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid < 0)
        bed_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            work(port, number);
        _exit(0);
    }
    return pid;
}

void worker_stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
