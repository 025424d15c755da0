#include "netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

bool netns_enter(void)
{
    return unshare(CLONE_NEWNET) == 0 && netns_device(true);
}

bool netns_device(bool up)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done;

    if (fd < 0)
        return false;
    request.ifr_flags = up ? IFF_UP | IFF_RUNNING : 0;
    done = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    return done;
}

struct route {
    struct nlmsghdr head;
    struct rtmsg message;
    struct rtattr attribute;
    uint32_t to;
};

static bool answer_is_good(int fd)
{
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[512];
    } answer;

    if (recv(fd, &answer, sizeof answer, 0) < (ssize_t)sizeof answer.head)
        return false;
    errno = -answer.error.error;
    return answer.head.nlmsg_type == NLMSG_ERROR && answer.error.error == 0;
}

/* The table of local addresses is the first that is asked, and its longest prefix wins. */
bool netns_drop(uint8_t caller, bool drop)
{
    struct route route = {
        .head = {.nlmsg_len = sizeof route,
                 .nlmsg_type = drop ? RTM_NEWROUTE : RTM_DELROUTE,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | (drop ? NLM_F_CREATE : 0)},
        .message = {.rtm_family = AF_INET,
                    .rtm_dst_len = 16,
                    .rtm_table = RT_TABLE_LOCAL,
                    .rtm_protocol = RTPROT_STATIC,
                    .rtm_scope = RT_SCOPE_HOST,
                    .rtm_type = RTN_BLACKHOLE},
        .attribute = {.rta_len = RTA_LENGTH(sizeof route.to), .rta_type = RTA_DST},
        .to = htonl(127u << 24 | (uint32_t)caller << 16),
    };
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    bool done =
        fd >= 0 && send(fd, &route, sizeof route, 0) == (ssize_t)sizeof route && answer_is_good(fd);

    if (fd >= 0)
        close(fd);
    return done;
}
