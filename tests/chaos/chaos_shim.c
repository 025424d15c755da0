/*
 * Loaded into the programs of a chaos run (LD_PRELOAD), which are otherwise as they are built:
 * every TCP connection to 127.0.0.1 goes to the fault proxy instead. The proxy listens on one port
 * of every loopback address; the address says who connects and where to: 127.CALLER.PORT.PORT.
 *
 * That needs no option in the programs, works for endpoints that they tell each other while they
 * run (lanes, intake, results), and lets the proxy know each caller from the others.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t number_of(const char *variable)
{
    const char *text = getenv(variable);

    return text != NULL ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

static int is_stream(int fd)
{
    int type = 0;
    socklen_t bytes = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_STREAM;
}

/* Where the proxy has this port of 127.0.0.1 for this process. */
static uint32_t proxied(uint16_t port)
{
    return htonl(127u << 24 | number_of("CHAOS_CALLER") << 16 | port);
}

static int connect4(int fd, struct sockaddr_in to, uint16_t proxy)
{
    to.sin_addr.s_addr = proxied(ntohs(to.sin_port));
    to.sin_port = htons(proxy);
    return (int)syscall(SYS_connect, fd, &to, sizeof to);
}

/* ::ffff:127.0.0.1, as sockets for both versions have it. */
static int connect6(int fd, struct sockaddr_in6 to, uint16_t proxy)
{
    uint32_t address = proxied(ntohs(to.sin6_port));

    memcpy(&to.sin6_addr.s6_addr[12], &address, sizeof address);
    to.sin6_port = htons(proxy);
    return (int)syscall(SYS_connect, fd, &to, sizeof to);
}

__attribute__((visibility("default"))) int connect(int fd, const struct sockaddr *address,
                                                   socklen_t bytes)
{
    static const uint8_t mapped[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};
    uint16_t proxy = (uint16_t)number_of("CHAOS_PROXY");
    struct sockaddr_in to;
    struct sockaddr_in6 to6;

    if (proxy != 0 && address->sa_family == AF_INET && bytes >= sizeof to && is_stream(fd)) {
        memcpy(&to, address, sizeof to);
        if (to.sin_addr.s_addr == htonl(INADDR_LOOPBACK))
            return connect4(fd, to, proxy);
    }
    if (proxy != 0 && address->sa_family == AF_INET6 && bytes >= sizeof to6 && is_stream(fd)) {
        memcpy(&to6, address, sizeof to6);
        if (memcmp(&to6.sin6_addr, mapped, sizeof mapped) == 0)
            return connect6(fd, to6, proxy);
    }
    return (int)syscall(SYS_connect, fd, address, bytes);
}
