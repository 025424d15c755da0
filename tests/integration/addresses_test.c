/* Where the programs are: IPv6, names that are not known yet, or that move to another address. */
#include "cluster.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

static void expect_served(struct cluster *c)
{
    assert_string_equal(dtq_expect(c, 0, NULL, "submit", "echo", "fine", "--wait", NULL), "fine\n");
}

static unsigned port_of(const char *endpoint)
{
    return (unsigned)strtoul(strrchr(endpoint, ':') + 1, NULL, 10);
}

static void no_address_of_version_4_is_needed(void **state)
{
    struct cluster *c = *state;

    if (access("/proc/net/if_inet6", F_OK) != 0)
        skip();
    cluster_start_ventilator(c, "--bind=tcp://[::1]:*", NULL);
    cluster_start_sink(c, "--intake=tcp://[::1]:*", "--results=tcp://[::1]:*", NULL);
    cluster_start_worker(c, "--module", HANDLERS_MODULE, NULL);
    expect_served(c);
    assert_non_null(strstr(c->control, "tcp://[::1]:"));
    assert_non_null(strstr(c->intake, "tcp://[::1]:"));
    assert_non_null(strstr(c->results, "tcp://[::1]:"));
}

/* ---- names; this process and its children see a /etc/hosts of their own */

static void write_hosts(const char *path, const char *text)
{
    FILE *f = fopen(path, "we"); /* the same file, which is mounted */

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static bool mount_hosts(struct cluster *c, char path[PATH_MAX])
{
    const char *files_only = cluster_file(c, "hosts: files\n", 13);

    cluster_path(c, "hosts", path, PATH_MAX);
    write_hosts(path, "127.0.0.1 localhost\n");
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount(path, "/etc/hosts", NULL, MS_BIND, NULL) == 0 &&
           mount(files_only, "/etc/nsswitch.conf", NULL, MS_BIND, NULL) == 0;
}

static void unmount_hosts(void)
{
    assert_int_equal(umount2("/etc/hosts", MNT_DETACH), 0);
    assert_int_equal(umount2("/etc/nsswitch.conf", MNT_DETACH), 0);
}

static bool has_named_worker(struct cluster *c, void *arg)
{
    (void)arg;
    return strstr(dtq_run(c, NULL, "status", "--json", NULL)->text, "\"by-name\"") != NULL;
}

/* Who asks for a name that has addresses of both kinds takes the one of version 4, where the
 * ventilator listens unless told otherwise. */
static void a_name_of_two_addresses_reaches_who_listens_at_the_first_kind(void **state)
{
    struct cluster *c = *state;
    char hosts[PATH_MAX];
    char name[64];

    if (!mount_hosts(c, hosts))
        skip();
    write_hosts(hosts, "::1 head\n127.0.0.1 head\n");
    cluster_start_ventilator(c, NULL);
    (void)snprintf(name, sizeof name, "tcp://head:%u", port_of(c->control));
    cluster_start_sink(c, "-V", name, NULL);
    cluster_start_worker(c, "-V", name, "--module", HANDLERS_MODULE, NULL);
    assert_string_equal(
        dtq_expect(c, 0, NULL, "submit", "-V", name, "echo", "fine", "--wait", NULL), "fine\n");
    unmount_hosts();
}

static void a_name_is_asked_for_again_until_it_is_known_and_when_it_moves(void **state)
{
    struct cluster *c = *state;
    char hosts[PATH_MAX];
    char name[64];
    char bind[64];
    unsigned port;

    if (!mount_hosts(c, hosts))
        skip();
    cluster_start_ventilator(c, "--heartbeat=200ms", NULL);
    cluster_start_sink(c, NULL);
    port = port_of(c->control);
    (void)snprintf(name, sizeof name, "tcp://head:%u", port);
    (void)run_start(c, NULL, "dtq-worker", "-V", name, "--name=by-name", "--module",
                    HANDLERS_MODULE, NULL);
    cluster_start_worker(c, "--module", HANDLERS_MODULE, NULL);
    expect_served(c); /* one that finds nobody keeps nobody else waiting */
    write_hosts(hosts, "127.0.0.1 localhost head\n");
    wait_until(c, has_named_worker, NULL);

    assert_int_equal(run_stop(c->ventilator, SIGKILL), 1000 + SIGKILL);
    write_hosts(hosts, "127.0.0.1 localhost\n127.0.0.2 head\n");
    (void)snprintf(bind, sizeof bind, "--bind=tcp://127.0.0.2:%u", port);
    cluster_start_ventilator(c, "--heartbeat=200ms", bind, NULL);
    wait_until(c, has_named_worker, NULL);
    unmount_hosts();
}

/* A socket where name servers are asked, which says nothing. -1: it may not be made. */
static int silent_name_server(const char *address)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int yes = 1;

    assert_int_equal(inet_pton(AF_INET, address, &at.sin_addr), 1);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Its own time-out is what counts, and not that of the resolver, which is 10 s. */
static void a_name_server_that_says_nothing_keeps_no_command(void **state)
{
    static const char dns[] = "hosts: dns\n";
    static const char server[] = "nameserver 127.0.0.77\n";
    struct cluster *c = *state;
    const char *switched = cluster_file(c, dns, sizeof dns - 1);
    const char *resolv = cluster_file(c, server, sizeof server - 1);
    int fd = silent_name_server("127.0.0.77");
    const struct run *r;

    if (fd < 0 || unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(resolv, "/etc/resolv.conf", NULL, MS_BIND, NULL) != 0 ||
        mount(switched, "/etc/nsswitch.conf", NULL, MS_BIND, NULL) != 0)
        skip();
    r = dtq_run(c, NULL, "submit", "-V", "tcp://head.example:5570", "echo", "--timeout=1s", NULL);
    assert_int_equal(r->status, 69);
    expect_in(r, r->said, "the name 'head.example' is not known: no name server has answered yet");
    assert_int_equal(umount2("/etc/resolv.conf", MNT_DETACH), 0);
    assert_int_equal(umount2("/etc/nsswitch.conf", MNT_DETACH), 0);
    close(fd);
}

/* ---- ports */

/* A worker on the same host could come to talk to itself there. */
static void lane_ports_that_the_system_gives_away_are_warned_of(void **state)
{
    struct cluster *c = *state;
    unsigned lo = 0;
    FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    char option[64];

    if (f == NULL)
        skip();
    assert_int_equal(fscanf(f, "%u", &lo), 1);
    fclose(f);
    (void)snprintf(option, sizeof option, "--lane-ports=%u-%u", lo, lo + 9);
    cluster_start_ventilator(c, option, NULL);
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);
    expect_in(c->ventilator, c->ventilator->said, "ev=lane_ports_overlap");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(no_address_of_version_4_is_needed),
        STORY(a_name_server_that_says_nothing_keeps_no_command),
        STORY(lane_ports_that_the_system_gives_away_are_warned_of),
        STORY(a_name_of_two_addresses_reaches_who_listens_at_the_first_kind),
        STORY(a_name_is_asked_for_again_until_it_is_known_and_when_it_moves),
    };

    return RUN_STORIES(argc, argv, tests);
}
