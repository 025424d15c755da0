/*
 * Valgrind of Debian 12 does not know pidfd_open(2), without which a worker has no slots. This
 * process opens them for programs that run under it (valgrind_shim.c asks): pidfd_server SOCKET.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void answer(int to, int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {{0}};
    char byte = 0;
    struct iovec nothing = {&byte, 1};
    struct msghdr msg = {.msg_iov = &nothing, .msg_iovlen = 1};

    if (fd >= 0) {
        msg.msg_control = control.room;
        msg.msg_controllen = sizeof control.room;
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    (void)sendmsg(to, &msg, MSG_NOSIGNAL);
}

static void serve(int client)
{
    pid_t pid = 0;
    int fd = -1;

    if (read(client, &pid, sizeof pid) == (ssize_t)sizeof pid)
        fd = (int)syscall(SYS_pidfd_open, pid, 0);
    answer(client, fd);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (argc != 2 || snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[1]) < 1)
        return 2;
    if (bind(s, (struct sockaddr *)&address, sizeof address) != 0 || listen(s, 100) != 0) {
        perror("pidfd_server");
        return 1;
    }
    for (;;) {
        int client = accept4(s, NULL, NULL, SOCK_CLOEXEC);

        if (client < 0)
            continue;
        serve(client);
        close(client);
    }
}
