/* Endpoints as text: what they look like, which of them are local, and what stands for a wildcard.
 */
#include "sock.h"

#include "text.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TCP "tcp://"
#define IPC "ipc://"

struct tcp_endpoint {
    struct dtqi_str host; /* with the brackets of a version 6 address */
    struct dtqi_str port;
};

static bool has_prefix(struct dtqi_str text, const char *prefix)
{
    size_t n = strlen(prefix);

    return text.len >= n && memcmp(text.at, prefix, n) == 0;
}

/* tcp://HOST:PORT, split at the last colon. */
static bool split_tcp(struct dtqi_str endpoint, struct tcp_endpoint *ret)
{
    const char *at;
    const char *colon;
    uint32_t len;

    if (!has_prefix(endpoint, TCP))
        return false;
    at = endpoint.at + strlen(TCP);
    len = endpoint.len - (uint32_t)strlen(TCP);
    colon = memrchr(at, ':', len);
    if (colon == NULL)
        return false;
    ret->host = (struct dtqi_str){at, (uint32_t)(colon - at)};
    ret->port = (struct dtqi_str){colon + 1, len - ret->host.len - 1};
    return true;
}

static bool is_wildcard_host(struct dtqi_str host)
{
    return dtqi_str_eq(host, dtqi_str("*")) || dtqi_str_eq(host, dtqi_str("0.0.0.0")) ||
           dtqi_str_eq(host, dtqi_str("[::]"));
}

static const char *port_problem(struct dtqi_str port, bool bind)
{
    char text[8] = "";
    uint64_t number;

    if (bind && dtqi_str_eq(port, dtqi_str("*")))
        return NULL;
    if (port.len == 0 || port.len > 5)
        return "the port must be a number from 1 to 65535";
    memcpy(text, port.at, port.len);
    if (text_parse_u64(text, &number) != DTQ_OK || number > 65535 || (number == 0 && !bind))
        return "the port must be a number from 1 to 65535";
    return NULL;
}

static const char *host_problem(struct dtqi_str host, bool bind)
{
    char text[DTQI_ENDPOINT_BYTES_MAX + 1] = "";
    struct in6_addr address;

    if (host.len == 0)
        return "the host is missing";
    if (host.at[0] != '[') {
        if (memchr(host.at, ':', host.len) != NULL)
            return "an IPv6 address must stand in brackets, as in tcp://[::1]:5570";
        return !bind && is_wildcard_host(host) ? "a wildcard is no host to connect to" : NULL;
    }
    if (host.at[host.len - 1] != ']')
        return "the closing bracket of the IPv6 address is missing";
    memcpy(text, host.at + 1, host.len - 2);
    text[strcspn(text, "%")] = '\0'; /* a zone, as in fe80::1%eth0 */
    if (inet_pton(AF_INET6, text, &address) != 1)
        return "what stands in brackets is not an IPv6 address";
    return !bind && is_wildcard_host(host) ? "a wildcard is no host to connect to" : NULL;
}

static bool has_odd_bytes(struct dtqi_str text)
{
    for (uint32_t i = 0; i < text.len; i++)
        if ((unsigned char)text.at[i] <= ' ' || text.at[i] == 0x7F || text.at[i] == ';')
            return true; /* ";" divides source and destination for libzmq */
    return false;
}

const char *sock_endpoint_problem(const char *endpoint, bool bind)
{
    struct dtqi_str text = dtqi_str(endpoint);
    struct tcp_endpoint tcp;
    const char *problem;

    if (text.len > DTQI_ENDPOINT_BYTES_MAX)
        return "it is longer than 256 bytes";
    if (has_odd_bytes(text))
        return "it has a space, a control character or a semicolon in it";
    if (has_prefix(text, IPC)) {
        size_t path = text.len - strlen(IPC);

        if (path == 0)
            return "the path is missing";
        return path >= sizeof((struct sockaddr_un *)NULL)->sun_path ? "the path is too long" : NULL;
    }
    if (!has_prefix(text, TCP))
        return "it must begin with tcp:// or ipc://";
    if (!split_tcp(text, &tcp))
        return "the port is missing, as in tcp://host:5570";
    problem = host_problem(tcp.host, bind);
    return problem != NULL ? problem : port_problem(tcp.port, bind);
}

bool sock_endpoint_is_local(const char *endpoint)
{
    struct dtqi_str text = dtqi_str(endpoint);
    struct tcp_endpoint tcp;

    if (has_prefix(text, IPC))
        return true;
    if (!split_tcp(text, &tcp))
        return false;
    if (dtqi_str_eq(tcp.host, dtqi_str("localhost")) || dtqi_str_eq(tcp.host, dtqi_str("[::1]")) ||
        dtqi_str_eq(tcp.host, dtqi_str("lo")))
        return true;
    return has_prefix(tcp.host, "127.") && tcp.host.len < INET_ADDRSTRLEN &&
           strspn(tcp.host.at, "0123456789.") >= tcp.host.len;
}

static dtq_err join_tcp(struct dtqi_str host, struct dtqi_str port,
                        char ret_endpoint[DTQI_ENDPOINT_BYTES_MAX + 1])
{
    char text[DTQI_ENDPOINT_BYTES_MAX + 1];
    int n = snprintf(text, sizeof text, TCP "%.*s:%.*s", (int)host.len, host.at, (int)port.len,
                     port.at);

    if (n < 0 || (size_t)n >= sizeof text)
        return DTQ_ETOOBIG;
    memcpy(ret_endpoint, text, sizeof text);
    return DTQ_OK;
}

static dtq_err copy_endpoint(struct dtqi_str endpoint,
                             char ret_endpoint[DTQI_ENDPOINT_BYTES_MAX + 1])
{
    if (endpoint.len > DTQI_ENDPOINT_BYTES_MAX)
        return DTQ_ETOOBIG;
    memcpy(ret_endpoint, endpoint.at, endpoint.len);
    ret_endpoint[endpoint.len] = '\0';
    return DTQ_OK;
}

dtq_err sock_endpoint_through(struct dtqi_str endpoint, const char *through,
                              char ret_endpoint[DTQI_ENDPOINT_BYTES_MAX + 1])
{
    struct tcp_endpoint tcp;
    struct tcp_endpoint via;

    if (!split_tcp(endpoint, &tcp) || !is_wildcard_host(tcp.host))
        return copy_endpoint(endpoint, ret_endpoint);
    /* Next to an ipc socket, a wildcard is reached on the same machine. */
    if (!split_tcp(dtqi_str(through), &via))
        via.host = dtqi_str("127.0.0.1");
    return join_tcp(via.host, tcp.port, ret_endpoint);
}

/* The local address that the kernel would use towards host:port: connecting a UDP socket sends
 * nothing. */
static dtq_err local_address(const struct tcp_endpoint *to, char ret_host[INET6_ADDRSTRLEN + 2])
{
    char host[DTQI_ENDPOINT_BYTES_MAX + 1] = "";
    char port[8] = "";
    char text[INET6_ADDRSTRLEN];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *found;
    struct sockaddr_storage local = {0};
    socklen_t bytes = sizeof local;
    dtq_err err = DTQ_EUNREACHABLE;
    bool brackets = has_prefix(to->host, "[");
    int fd;

    memcpy(host, to->host.at + (brackets ? 1 : 0), to->host.len - (brackets ? 2 : 0));
    memcpy(port, to->port.at, to->port.len);
    if (getaddrinfo(host, port, &hints, &found) != 0)
        return DTQ_EUNREACHABLE;
    fd = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0 &&
        getsockname(fd, (struct sockaddr *)&local, &bytes) == 0 &&
        getnameinfo((struct sockaddr *)&local, bytes, text, sizeof text, NULL, 0, NI_NUMERICHOST) ==
            0) {
        snprintf(ret_host, INET6_ADDRSTRLEN + 2, local.ss_family == AF_INET6 ? "[%s]" : "%s", text);
        err = DTQ_OK;
    }
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return err;
}

dtq_err sock_endpoint_towards(const char *endpoint, const char *towards,
                              char ret_endpoint[DTQI_ENDPOINT_BYTES_MAX + 1])
{
    char host[INET6_ADDRSTRLEN + 2] = "127.0.0.1";
    struct tcp_endpoint tcp;
    struct tcp_endpoint to;

    if (sock_endpoint_problem(endpoint, true) != NULL ||
        sock_endpoint_problem(towards, false) != NULL)
        return DTQ_EINVAL;
    if (!split_tcp(dtqi_str(endpoint), &tcp) || !is_wildcard_host(tcp.host))
        return copy_endpoint(dtqi_str(endpoint), ret_endpoint);
    if (split_tcp(dtqi_str(towards), &to)) {
        dtq_err err = local_address(&to, host);

        if (err != DTQ_OK)
            return err;
    }
    return join_tcp(dtqi_str(host), tcp.port, ret_endpoint);
}
