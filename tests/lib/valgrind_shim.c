/*
 * For programs under valgrind, by LD_PRELOAD, what that one cannot do: pidfd_open(2), by way of
 * pidfd_server, which listens at PIDFD_SOCKET; and starting oneself by /proc/self/exe, which is
 * valgrind then.
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_server(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("PIDFD_SOCKET");
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path != NULL ? path : "");
    if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof address) == 0)
        return s;
    close(s);
    return -1;
}

static int take_fd(int from)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {{0}};
    char byte;
    struct iovec piece = {&byte, 1};
    struct msghdr msg = {.msg_iov = &piece,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof control.room};
    int fd = -1;

    if (recvmsg(from, &msg, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&msg) != NULL)
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof fd);
    return fd;
}

static int open_pidfd(pid_t pid)
{
    int s = connect_server();
    int fd = -1;

    if (s >= 0 && write(s, &pid, sizeof pid) == (ssize_t)sizeof pid)
        fd = take_fd(s);
    if (s >= 0)
        close(s);
    if (fd < 0)
        errno = ESRCH;
    return fd;
}

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int posix_spawn(pid_t *ret_pid, const char *path, const posix_spawn_file_actions_t *files,
                         const posix_spawnattr_t *attributes, char *const *argv, char *const *env)
{
    int (*real)(pid_t *, const char *, const posix_spawn_file_actions_t *,
                const posix_spawnattr_t *, char *const *, char *const *);
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    self[n > 0 ? n : 0] = '\0';
    *(void **)&real = dlsym(RTLD_NEXT, "posix_spawn");
    return real(ret_pid, strcmp(path, "/proc/self/exe") == 0 ? self : path, files, attributes, argv,
                env);
}

EXPORTED long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long at[6];
    va_list args;

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        at[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_pidfd_open)
        return open_pidfd((pid_t)at[0]);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    return real(number, at[0], at[1], at[2], at[3], at[4], at[5]);
}
