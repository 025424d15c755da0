/* common/sock: sockets with explicit options, one frame a message, routes as numbers, lanes. */
#include "sock.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 10000

struct fixture {
    void *context;
    struct sock control;
    struct sock peer;
    char why[SOCK_WHY_BYTES];
};

static int open_fixture(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    f->context = sock_context_new(1000);
    assert_non_null(f->context);
    *state = f;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;

    sock_close(&f->peer);
    sock_close(&f->control);
    sock_context_free(f->context);
    free(f);
    return 0;
}

static void open_pair(struct fixture *f)
{
    assert_int_equal(sock_bind(f->context, SOCK_CONTROL, "tcp://127.0.0.1:*", false, &f->control,
                               f->why, sizeof f->why),
                     DTQ_OK);
    assert_int_equal(sock_connect(f->context, SOCK_CONTROL_PEER, f->control.endpoint, &f->peer,
                                  f->why, sizeof f->why),
                     DTQ_OK);
}

static void await(void *zmq, short events)
{
    zmq_pollitem_t item = {.socket = zmq, .events = events};

    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
}

/* Closing is done by ZeroMQ's thread: wait until nobody answers at the port any more. */
static void await_closed(const char *endpoint)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool answers = true;

    address.sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1));
    while (answers) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        answers = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
        close(fd);
    }
}

static struct dtqi_msg bye(uint64_t session)
{
    return (struct dtqi_msg){.type = DTQI_BYE, .bye = {.session = session}};
}

static void send_bye(struct sock *sock, uint32_t route, uint64_t session)
{
    struct dtqi_msg msg = bye(session);

    await(sock->zmq, ZMQ_POLLOUT);
    assert_int_equal(sock_send(sock, route, &msg), DTQ_OK);
}

/* Polls until something comes: a turn of a loop that found nothing is no error. */
static dtq_err recv_next(struct sock *sock, uint32_t *ret_route, struct dtqi_msg *ret_msg)
{
    dtq_err err;

    do {
        await(sock->zmq, ZMQ_POLLIN);
        err = sock_recv(sock, 1000, ret_route, ret_msg);
    } while (err == DTQ_EAGAIN);
    return err;
}

static void expect_bye(struct sock *sock, uint32_t *ret_route, uint64_t session)
{
    struct dtqi_msg msg;

    assert_int_equal(recv_next(sock, ret_route, &msg), DTQ_OK);
    assert_int_equal(msg.type, DTQI_BYE);
    assert_int_equal(msg.bye.session, session);
    dtqi_msg_done(&msg);
}

static void messages_go_to_a_router_and_back_by_route(void **state)
{
    struct fixture *f = *state;
    uint32_t route;

    open_pair(f);
    send_bye(&f->peer, 0, 1);
    expect_bye(&f->control, &route, 1);
    send_bye(&f->control, route, 2);
    expect_bye(&f->peer, NULL, 2);
    assert_int_equal(f->control.received, 1);
    assert_int_equal(f->control.sent, 1);
    assert_int_equal(f->control.dropped, 0);
}

static void nothing_to_receive_is_said_at_once(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg msg;

    open_pair(f);
    assert_int_equal(sock_recv(&f->control, 1000, NULL, &msg), DTQ_EAGAIN);
}

static int wait_for(struct sock *a, struct sock *b)
{
    struct sock_poll p;

    sock_poll_begin(&p);
    sock_poll_sock(&p, a);
    if (b != NULL)
        sock_poll_sock(&p, b);
    return sock_poll_wait(&p, WAIT_MS);
}

/* As a loop does: whatever woke it, everything that was waited for is received from. */
static void expect_bye_in_a_loop(struct sock *sock, struct sock *other, uint32_t *ret_route,
                                 uint64_t session)
{
    struct dtqi_msg msg;
    dtq_err err = sock_recv(sock, 0, ret_route, &msg);

    while (err == DTQ_EAGAIN) {
        assert_true(wait_for(sock, other) >= 0);
        err = sock_recv(sock, 0, ret_route, &msg);
    }
    assert_int_equal(err, DTQ_OK);
    assert_int_equal(msg.bye.session, session);
    dtqi_msg_done(&msg);
}

static void a_loop_is_woken_for_every_message(void **state)
{
    struct fixture *f = *state;
    uint32_t route = 0;

    open_pair(f);
    send_bye(&f->peer, 0, 0);
    expect_bye_in_a_loop(&f->control, &f->peer, &route, 0);
    for (uint64_t i = 1; i < 1000; i++) {
        struct dtqi_msg msg = bye(i);

        /* Each sends while the other's message may be arriving: a send takes notice of it, too. */
        assert_int_equal(sock_send(&f->peer, 0, &msg), DTQ_OK);
        assert_int_equal(sock_send(&f->control, route, &msg), DTQ_OK);
        expect_bye_in_a_loop(&f->control, &f->peer, &route, i);
        expect_bye_in_a_loop(&f->peer, &f->control, NULL, i);
    }
}

static void what_was_left_in_a_queue_is_not_slept_over(void **state)
{
    struct fixture *f = *state;
    uint32_t route;

    open_pair(f);
    for (uint64_t i = 0; i < 3; i++)
        send_bye(&f->peer, 0, i);
    for (uint64_t i = 0; i < 3; i++) {
        assert_true(wait_for(&f->control, NULL) >= 0); /* at once, though nothing new comes */
        expect_bye_in_a_loop(&f->control, NULL, &route, i);
    }
}

static void a_route_that_is_gone_is_reported(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg msg = bye(1);
    struct dtqi_msg in;
    uint32_t route;
    dtq_err err;

    open_pair(f);
    assert_int_equal(sock_send(&f->control, 12345, &msg), DTQ_EUNREACHABLE);
    send_bye(&f->peer, 0, 1);
    expect_bye(&f->control, &route, 1);
    sock_close(&f->peer);
    do { /* the end takes its time through the kernel; ZeroMQ learns of it when it looks for input
          */
        assert_int_equal(sock_recv(&f->control, 1000, &route, &in), DTQ_EAGAIN);
        err = sock_send(&f->control, route, &msg);
    } while (err != DTQ_EUNREACHABLE);
}

static void send_frames(struct fixture *f, const char *const *frames, size_t n)
{
    await(f->peer.zmq, ZMQ_POLLOUT);
    for (size_t i = 0; i < n; i++)
        assert_true(
            zmq_send(f->peer.zmq, frames[i], strlen(frames[i]), i + 1 < n ? ZMQ_SNDMORE : 0) >= 0);
}

/* What is no good is dropped whole, and the next message is read from its beginning. */
static void bad_messages_are_dropped_and_counted(void **state)
{
    static const char *const three[] = {"a", "b", "c"};
    static const char *const empty[] = {""};
    static const char *const garbage[] = {"garbage that is no frame"};
    struct fixture *f = *state;
    struct dtqi_msg msg;
    uint32_t route;

    open_pair(f);
    send_frames(f, three, 3);
    send_frames(f, empty, 1);
    send_frames(f, garbage, 1);
    send_bye(&f->peer, 0, 7);
    for (int i = 0; i < 3; i++)
        assert_int_equal(recv_next(&f->control, &route, &msg), DTQ_EPROTO);
    expect_bye(&f->control, &route, 7);
    assert_int_equal(f->control.dropped, 3);
}

static void peers_that_choose_their_routing_id_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg msg;
    uint32_t route;

    assert_int_equal(sock_bind(f->context, SOCK_CONTROL, "tcp://127.0.0.1:0", false, &f->control,
                               f->why, sizeof f->why),
                     DTQ_OK);
    f->peer.zmq = zmq_socket(f->context, ZMQ_DEALER);
    f->peer.kind = SOCK_CONTROL_PEER;
    zmq_setsockopt(f->peer.zmq, ZMQ_ROUTING_ID, "abcde", 5);
    assert_int_equal(zmq_connect(f->peer.zmq, f->control.endpoint), 0);
    send_bye(&f->peer, 0, 1);
    assert_int_equal(recv_next(&f->control, &route, &msg), DTQ_EPROTO);
}

static void another_version_is_told_so(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg msg = bye(1);
    zmq_msg_t frame;
    uint32_t route;

    open_pair(f);
    assert_int_equal(sock_encode(&msg, &frame), DTQ_OK);
    ((unsigned char *)zmq_msg_data(&frame))[1] = DTQI_PROTOCOL_VERSION + 1;
    await(f->peer.zmq, ZMQ_POLLOUT);
    assert_int_equal(sock_send_frame(&f->peer, 0, &frame), DTQ_OK);
    assert_int_equal(recv_next(&f->control, &route, &msg), DTQ_EPROTO);

    assert_int_equal(recv_next(&f->peer, NULL, &msg), DTQ_OK);
    assert_int_equal(msg.type, DTQI_REFUSED);
    assert_int_equal(msg.refused.reason, DTQI_BAD_VERSION);
    assert_int_equal(msg.refused.version_max, DTQI_PROTOCOL_VERSION);
    dtqi_msg_done(&msg);
}

static void a_port_in_use_is_named(void **state)
{
    struct fixture *f = *state;
    struct sock second;

    open_pair(f);
    assert_int_equal(sock_bind(f->context, SOCK_CONTROL, f->control.endpoint, false, &second,
                               f->why, sizeof f->why),
                     DTQ_EBUSY);
    assert_null(second.zmq);
    assert_non_null(strstr(f->why, f->control.endpoint));
    assert_non_null(strstr(f->why, "in use"));
}

/* libzmq itself would take the path away from a living process. */
static void an_ipc_path_in_use_is_left_alone(void **state)
{
    struct fixture *f = *state;
    char dir[] = "/tmp/dtq-sock-XXXXXX";
    char endpoint[64];
    struct sock second;

    assert_non_null(mkdtemp(dir));
    snprintf(endpoint, sizeof endpoint, "ipc://%s/control", dir);
    assert_int_equal(
        sock_bind(f->context, SOCK_CONTROL, endpoint, false, &f->control, f->why, sizeof f->why),
        DTQ_OK);
    assert_int_equal(
        sock_bind(f->context, SOCK_CONTROL, endpoint, false, &second, f->why, sizeof f->why),
        DTQ_EBUSY);
    assert_int_equal(
        sock_connect(f->context, SOCK_CONTROL_PEER, endpoint, &f->peer, f->why, sizeof f->why),
        DTQ_OK);
    send_bye(&f->peer, 0, 3);
    expect_bye(&f->control, &(uint32_t){0}, 3);
    sock_close(&f->control);
    unlink(endpoint + 6);
    rmdir(dir);
}

static void other_machines_reach_nothing_unless_told_so(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(
        sock_bind(f->context, SOCK_CONTROL, "tcp://*:*", false, &f->control, f->why, sizeof f->why),
        DTQ_EREFUSED);
    assert_non_null(strstr(f->why, "--insecure"));
    assert_int_equal(
        sock_bind(f->context, SOCK_CONTROL, "tcp://*:*", true, &f->control, f->why, sizeof f->why),
        DTQ_OK);
    assert_int_equal(strncmp(f->control.endpoint, "tcp://*:", 8), 0);
    assert_true(atoi(f->control.endpoint + 8) > 0);
}

static void addresses_that_are_not_ours_are_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(sock_bind(f->context, SOCK_CONTROL, "tcp://192.0.2.1:5570", true, &f->control,
                               f->why, sizeof f->why),
                     DTQ_EINVAL);
    assert_non_null(strstr(f->why, "no such address"));
    assert_int_equal(
        sock_connect(f->context, SOCK_CONTROL_PEER, "tcp://x", &f->peer, f->why, sizeof f->why),
        DTQ_EINVAL);
    assert_non_null(strstr(f->why, "the port is missing"));
}

static void a_peer_that_is_not_there_gets_nothing(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg msg = bye(1);

    assert_int_equal(sock_connect(f->context, SOCK_INTAKE_PEER, "tcp://127.0.0.1:1", &f->peer,
                                  f->why, sizeof f->why),
                     DTQ_OK);
    assert_int_equal(sock_send(&f->peer, 0, &msg), DTQ_EAGAIN);
}

static enum sock_event next_event(struct sock_monitor *monitor)
{
    enum sock_event event;

    do {
        await(monitor->zmq, ZMQ_POLLIN);
        event = sock_monitor_next(monitor);
    } while (event == SOCK_NOTHING);
    return event;
}

static void a_monitor_tells_when_messages_flow_and_when_not(void **state)
{
    struct fixture *f = *state;
    struct sock_monitor monitor;
    char endpoint[sizeof f->control.endpoint];

    assert_int_equal(sock_bind(f->context, SOCK_INTAKE, "tcp://127.0.0.1:*", false, &f->control,
                               f->why, sizeof f->why),
                     DTQ_OK);
    strcpy(endpoint, f->control.endpoint);
    assert_int_equal(sock_connect_monitored(f->context, SOCK_INTAKE_PEER, endpoint, &f->peer,
                                            &monitor, f->why, sizeof f->why),
                     DTQ_OK);
    assert_int_equal(next_event(&monitor), SOCK_CONNECTED);
    sock_close(&f->control);
    assert_int_equal(next_event(&monitor), SOCK_DISCONNECTED);
    sock_monitor_close(&monitor, &f->peer);
    sock_monitor_close(&monitor, &f->peer);
}

/* A connecting socket that met the wrong kind of peer would never find the right one. */
static void a_rejected_socket_lives_again_when_told(void **state)
{
    struct fixture *f = *state;
    struct sock_monitor monitor;
    struct sock wrong;
    char endpoint[sizeof f->control.endpoint];

    assert_int_equal(
        sock_bind(f->context, SOCK_LANE, "tcp://127.0.0.1:*", false, &wrong, f->why, sizeof f->why),
        DTQ_OK);
    strcpy(endpoint, wrong.endpoint);
    assert_int_equal(sock_connect_monitored(f->context, SOCK_INTAKE_PEER, endpoint, &f->peer,
                                            &monitor, f->why, sizeof f->why),
                     DTQ_OK);
    while (next_event(&monitor) != SOCK_REJECTED)
        ;
    sock_close(&wrong);
    await_closed(endpoint);
    assert_int_equal(
        sock_bind(f->context, SOCK_INTAKE, endpoint, false, &f->control, f->why, sizeof f->why),
        DTQ_OK);
    sock_reconnect(&f->peer);
    while (next_event(&monitor) != SOCK_CONNECTED)
        ;
    send_bye(&f->peer, 0, 9);
    expect_bye(&f->control, NULL, 9);
    sock_monitor_close(&monitor, &f->peer);
}

/* Whoever listens there wants a password, which nobody here has. */
static int listen_for_plain(char *ret_endpoint)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
    sprintf(ret_endpoint, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

/* The whole of its greeting, and then nothing, until the other side has gone. */
static void greet_with_plain(int listener)
{
    static const unsigned char greeting[64] = {0xff, 0, 0, 0,   0,   0,   0,   0,  1,
                                               0x7f, 3, 0, 'P', 'L', 'A', 'I', 'N'};
    int fd = accept(listener, NULL, NULL);
    char rest[256];

    assert_true(fd >= 0);
    assert_int_equal(send(fd, greeting, sizeof greeting, MSG_NOSIGNAL), sizeof greeting);
    while (recv(fd, rest, sizeof rest, 0) > 0)
        ;
    close(fd);
}

/* A worker that meets something else at the address of its sink finds the sink when that is there.
 */
static void a_socket_that_met_another_mechanism_lives_again_when_told(void **state)
{
    struct fixture *f = *state;
    struct sock_monitor monitor;
    char endpoint[64];
    int listener = listen_for_plain(endpoint);

    assert_int_equal(sock_connect_monitored(f->context, SOCK_INTAKE_PEER, endpoint, &f->peer,
                                            &monitor, f->why, sizeof f->why),
                     DTQ_OK);
    greet_with_plain(listener);
    while (next_event(&monitor) != SOCK_REJECTED)
        ;
    close(listener);
    assert_int_equal(
        sock_bind(f->context, SOCK_INTAKE, endpoint, false, &f->control, f->why, sizeof f->why),
        DTQ_OK);
    sock_reconnect(&f->peer);
    while (next_event(&monitor) != SOCK_CONNECTED)
        ;
    send_bye(&f->peer, 0, 9);
    expect_bye(&f->control, NULL, 9);
    sock_monitor_close(&monitor, &f->peer);
}

static void options_are_those_of_the_contract(void **state)
{
    struct fixture *f = *state;
    struct sock lane;
    int value;
    int64_t bytes_max;
    size_t bytes = sizeof value;

    assert_int_equal(
        sock_connect(f->context, SOCK_LANE_PEER, "tcp://127.0.0.1:1", &lane, f->why, sizeof f->why),
        DTQ_OK);
    zmq_getsockopt(lane.zmq, ZMQ_RECONNECT_IVL, &value, &bytes);
    assert_int_equal(value, -1); /* R9 */
    zmq_getsockopt(lane.zmq, ZMQ_LINGER, &value, &bytes);
    assert_int_equal(value, 0);
    zmq_getsockopt(lane.zmq, ZMQ_HEARTBEAT_IVL, &value, &bytes);
    assert_int_equal(value, 0);
    bytes = sizeof bytes_max;
    zmq_getsockopt(lane.zmq, ZMQ_MAXMSGSIZE, &bytes_max, &bytes);
    assert_int_equal(bytes_max, DTQI_FRAME_BYTES_MAX);
    sock_close(&lane);
}

/* ---- lanes */

/* A range that is free right now, found by letting the kernel choose its first port. */
static uint32_t free_range(struct fixture *f, uint32_t n)
{
    for (;;) {
        struct sock sock[16];
        uint32_t opened = 1;
        uint32_t lo;
        char endpoint[64];

        assert_int_equal(sock_bind(f->context, SOCK_LANE, "tcp://127.0.0.1:*", false, &sock[0],
                                   f->why, sizeof f->why),
                         DTQ_OK);
        lo = (uint32_t)atoi(strrchr(sock[0].endpoint, ':') + 1);
        for (; opened < n && lo + opened < 65536; opened++) {
            snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", lo + opened);
            if (sock_bind(f->context, SOCK_LANE, endpoint, false, &sock[opened], f->why,
                          sizeof f->why) != DTQ_OK)
                break;
        }
        for (uint32_t i = 0; i < opened; i++) {
            sock_close(&sock[i]);
            await_closed(sock[i].endpoint);
        }
        if (opened == n)
            return lo;
    }
}

static void open_lane(struct fixture *f, struct lane_ports *ports, struct sock *lane)
{
    assert_int_equal(lane_open(ports, f->context, lane, f->why, sizeof f->why), DTQ_OK);
}

static void close_lane(struct lane_ports *ports, struct sock *lane)
{
    char endpoint[sizeof lane->endpoint];

    strcpy(endpoint, lane->endpoint);
    lane_close(ports, lane);
    await_closed(endpoint);
}

static void lane_ports_are_used_least_recently_closed_first(void **state)
{
    struct fixture *f = *state;
    uint32_t lo = free_range(f, 4);
    struct lane_ports *ports = lane_ports_new("tcp://127.0.0.1:5570", lo, lo + 3, 0);
    struct sock a;
    struct sock b;
    struct sock c;
    char first[sizeof a.endpoint];
    char second[sizeof a.endpoint];

    open_lane(f, ports, &a);
    open_lane(f, ports, &b);
    snprintf(first, sizeof first, "%s", a.endpoint);
    snprintf(second, sizeof second, "%s", b.endpoint);
    assert_string_not_equal(first, second);
    close_lane(ports, &b);
    close_lane(ports, &a);
    for (int i = 0; i < 2; i++) { /* the two that were never used come first */
        open_lane(f, ports, &c);
        assert_string_not_equal(c.endpoint, first);
        assert_string_not_equal(c.endpoint, second);
        close_lane(ports, &c);
    }
    open_lane(f, ports, &c);
    assert_string_equal(c.endpoint, second);
    open_lane(f, ports, &b);
    assert_string_equal(b.endpoint, first);
    close_lane(ports, &b);
    close_lane(ports, &c);
    lane_ports_free(ports);
}

static void busy_lane_ports_are_skipped_until_none_is_left(void **state)
{
    struct fixture *f = *state;
    uint32_t lo = free_range(f, 3);
    struct lane_ports *ports = lane_ports_new("tcp://127.0.0.1:5570", lo, lo + 2, 5);
    struct sock lanes[2];
    struct sock none;
    char endpoint[64];

    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", lo + 1);
    assert_int_equal(
        sock_bind(f->context, SOCK_LANE, endpoint, false, &f->control, f->why, sizeof f->why),
        DTQ_OK);
    open_lane(f, ports, &lanes[0]);
    open_lane(f, ports, &lanes[1]);
    assert_int_equal(lane_open(ports, f->context, &none, f->why, sizeof f->why), DTQ_EBUSY);
    assert_non_null(strstr(f->why, "--lane-ports"));
    close_lane(ports, &lanes[0]);
    open_lane(f, ports, &none); /* given back, it is there again */
    close_lane(ports, &none);
    close_lane(ports, &lanes[1]);
    lane_ports_free(ports);
}

static void lanes_next_to_an_ipc_path_are_ipc(void **state)
{
    struct fixture *f = *state;
    struct lane_ports *ports = lane_ports_new("ipc:///tmp/dtq-sock-test", 7, 7, 0);
    struct sock lane;

    open_lane(f, ports, &lane);
    assert_string_equal(lane.endpoint, "ipc:///tmp/dtq-sock-test.lane-7");
    lane_close(ports, &lane);
    lane_ports_free(ports);
}

/* ---- endpoints */

static void endpoints_are_checked_before_they_are_used(void **state)
{
    static const char *const good[] = {"tcp://127.0.0.1:5570", "tcp://host:1",
                                       "tcp://[::1]:5570",     "tcp://[fe80::1%eth0]:65535",
                                       "ipc:///run/dtq/v",     "ipc://@abstract"};
    static const char *const bad[] = {"",
                                      "5570",
                                      "host:5570",
                                      "udp://host:5570",
                                      "tcp://",
                                      "tcp://host",
                                      "tcp://:5570",
                                      "tcp://host:",
                                      "tcp://host:0",
                                      "tcp://host:65536",
                                      "tcp://host:x",
                                      "tcp://host:*",
                                      "tcp://*:5570",
                                      "tcp://::1:5570",
                                      "tcp://[::1:5570",
                                      "tcp://[host]:5570",
                                      "tcp://eth0;host:5570",
                                      "tcp://a b:5570",
                                      "ipc://"};
    char longest[400];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (sock_endpoint_problem(good[i], false) != NULL)
            fail_msg("'%s': %s", good[i], sock_endpoint_problem(good[i], false));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (sock_endpoint_problem(bad[i], false) == NULL)
            fail_msg("'%s' was taken for an endpoint", bad[i]);
    assert_null(sock_endpoint_problem("tcp://*:*", true));
    assert_null(sock_endpoint_problem("tcp://0.0.0.0:0", true));
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memcpy(longest, "ipc://", 6);
    assert_non_null(sock_endpoint_problem(longest, true));
    longest[120] = '\0';
    assert_non_null(sock_endpoint_problem(longest, true));
}

static void loopback_and_ipc_are_local(void **state)
{
    (void)state;
    assert_true(sock_endpoint_is_local("tcp://127.0.0.1:5570"));
    assert_true(sock_endpoint_is_local("tcp://127.1.2.3:5570"));
    assert_true(sock_endpoint_is_local("tcp://localhost:5570"));
    assert_true(sock_endpoint_is_local("tcp://[::1]:5570"));
    assert_true(sock_endpoint_is_local("ipc:///x"));
    assert_false(sock_endpoint_is_local("tcp://*:5570"));
    assert_false(sock_endpoint_is_local("tcp://0.0.0.0:5570"));
    assert_false(sock_endpoint_is_local("tcp://10.0.0.1:5570"));
    assert_false(sock_endpoint_is_local("tcp://127.evil.example:5570"));
    assert_false(sock_endpoint_is_local("tcp://[::]:5570"));
}

static void a_wildcard_is_reached_through_the_host_that_was_reached_before(void **state)
{
    char text[DTQI_ENDPOINT_BYTES_MAX + 1];

    (void)state;
    assert_int_equal(sock_endpoint_through(dtqi_str("tcp://*:20000"), "tcp://head:5570", text),
                     DTQ_OK);
    assert_string_equal(text, "tcp://head:20000");
    assert_int_equal(sock_endpoint_through(dtqi_str("tcp://[::]:1"), "tcp://[::1]:5570", text),
                     DTQ_OK);
    assert_string_equal(text, "tcp://[::1]:1");
    assert_int_equal(sock_endpoint_through(dtqi_str("tcp://a:1"), "tcp://head:5570", text), DTQ_OK);
    assert_string_equal(text, "tcp://a:1");
    assert_int_equal(sock_endpoint_through(dtqi_str("tcp://0.0.0.0:1"), "ipc:///x", text), DTQ_OK);
    assert_string_equal(text, "tcp://127.0.0.1:1");
}

static void a_wildcard_is_told_as_the_address_towards_the_peer(void **state)
{
    char text[DTQI_ENDPOINT_BYTES_MAX + 1];

    (void)state;
    assert_int_equal(sock_endpoint_towards("tcp://*:5571", "tcp://127.0.0.1:5570", text), DTQ_OK);
    assert_string_equal(text, "tcp://127.0.0.1:5571");
    assert_int_equal(sock_endpoint_towards("tcp://a:5571", "tcp://127.0.0.1:5570", text), DTQ_OK);
    assert_string_equal(text, "tcp://a:5571");
    assert_int_equal(sock_endpoint_towards("x", "tcp://127.0.0.1:5570", text), DTQ_EINVAL);
}

#define SOCK_TEST(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SOCK_TEST(messages_go_to_a_router_and_back_by_route),
        SOCK_TEST(nothing_to_receive_is_said_at_once),
        SOCK_TEST(a_loop_is_woken_for_every_message),
        SOCK_TEST(what_was_left_in_a_queue_is_not_slept_over),
        SOCK_TEST(a_route_that_is_gone_is_reported),
        SOCK_TEST(bad_messages_are_dropped_and_counted),
        SOCK_TEST(peers_that_choose_their_routing_id_are_dropped),
        SOCK_TEST(another_version_is_told_so),
        SOCK_TEST(a_port_in_use_is_named),
        SOCK_TEST(an_ipc_path_in_use_is_left_alone),
        SOCK_TEST(other_machines_reach_nothing_unless_told_so),
        SOCK_TEST(addresses_that_are_not_ours_are_refused),
        SOCK_TEST(a_peer_that_is_not_there_gets_nothing),
        SOCK_TEST(a_monitor_tells_when_messages_flow_and_when_not),
        SOCK_TEST(a_rejected_socket_lives_again_when_told),
        SOCK_TEST(a_socket_that_met_another_mechanism_lives_again_when_told),
        SOCK_TEST(options_are_those_of_the_contract),
        SOCK_TEST(lane_ports_are_used_least_recently_closed_first),
        SOCK_TEST(busy_lane_ports_are_skipped_until_none_is_left),
        SOCK_TEST(lanes_next_to_an_ipc_path_are_ipc),
        cmocka_unit_test(endpoints_are_checked_before_they_are_used),
        cmocka_unit_test(loopback_and_ipc_are_local),
        cmocka_unit_test(a_wildcard_is_reached_through_the_host_that_was_reached_before),
        cmocka_unit_test(a_wildcard_is_told_as_the_address_towards_the_peer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
