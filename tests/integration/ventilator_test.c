/* dtq-ventilator as a process: its options, its sockets, its data directory, its ends. The test
 * plays producer, sink and worker. argv[1] is the program. */
#include "sock.h"

#include "child.h"
#include "proc.h"

#include <stdlib.h>

static const char *program;

struct fixture {
    char dir[64];
    char data[96];
    void *context;
    struct child child;
    char control[DTQI_ENDPOINT_BYTES_MAX + 1];
    struct sock producer;
    struct sock sink;
    struct sock intake; /* the sink's, which the ventilator connects to */
    struct sock worker;
    struct sock lane; /* the worker's end */
};

static dtqi_uid uid(uint8_t n)
{
    return (dtqi_uid){{n}};
}

/* Of the present time, as a producer makes it. */
static dtq_id id_of(uint8_t n)
{
    dtq_id id = {{0}};
    uint64_t ms = proc_wall_ms();

    for (int i = 5; i >= 0; i--, ms >>= 8)
        id.bytes[i] = (uint8_t)ms;
    id.bytes[6] = 0x70;
    id.bytes[8] = 0x80;
    id.bytes[15] = n;
    return id;
}

/* ---- the process */

static void start_ventilator(struct fixture *f, const char *bind, const char *more)
{
    const char *args[CHILD_ARGS_MAX] = {"--bind",      bind, "--data", f->data,
                                        "--heartbeat", "1m", more};

    child_start(&f->child, program, args);
    child_wait_ready(&f->child);
    assert_int_equal(sscanf(f->child.ready, "ready control=%256s", f->control), 1);
}

/* A start that fails: its sentence is in child.said. */
static int start_in_vain(const char *const *args, struct child *c)
{
    child_start(c, program, args);
    return child_end(c);
}

/* ---- messages */

static void receive(struct sock *sock, enum dtqi_msg_type type, struct dtqi_msg *ret)
{
    uint64_t until_ms = proc_now_ms() + CHILD_WAIT_MS;

    *ret = (struct dtqi_msg){0};
    while (proc_now_ms() < until_ms) {
        zmq_pollitem_t item = {.socket = sock->zmq, .events = ZMQ_POLLIN};

        zmq_poll(&item, 1, 100);
        if (sock_recv(sock, proc_now_ms(), NULL, ret) != DTQ_OK)
            continue;
        if (ret->type == type)
            return;
        dtqi_msg_done(ret);
    }
    fail_msg("no %s came", dtqi_msg_type_name(type));
}

static void expect(struct sock *sock, enum dtqi_msg_type type)
{
    struct dtqi_msg msg;

    receive(sock, type, &msg);
    dtqi_msg_done(&msg);
}

static void send_msg(struct sock *sock, const struct dtqi_msg *msg)
{
    zmq_pollitem_t item = {.socket = sock->zmq, .events = ZMQ_POLLOUT};

    assert_int_equal(zmq_poll(&item, 1, CHILD_WAIT_MS), 1);
    assert_int_equal(sock_send(sock, 0, msg), DTQ_OK);
}

static void open_peer(struct fixture *f, enum sock_kind kind, const char *endpoint,
                      struct sock *ret)
{
    char why[SOCK_WHY_BYTES] = "";

    if (sock_connect(f->context, kind, endpoint, ret, why, sizeof why) != DTQ_OK)
        fail_msg("%s", why);
}

static struct dtqi_msg hello(enum dtqi_role role)
{
    return (struct dtqi_msg){.type = DTQI_HELLO,
                             .hello = {.version_min = DTQI_PROTOCOL_VERSION,
                                       .version_max = DTQI_PROTOCOL_VERSION,
                                       .role = role,
                                       .instance = uid((uint8_t)(10 + role)),
                                       .name = dtqi_str("test"),
                                       .program = dtqi_str("test 0")}};
}

static void join_producer(struct fixture *f)
{
    struct dtqi_msg msg = hello(DTQI_ROLE_PRODUCER);

    open_peer(f, SOCK_CONTROL_PEER, f->control, &f->producer);
    send_msg(&f->producer, &msg);
    receive(&f->producer, DTQI_WELCOME, &msg);
    if (f->sink.zmq != NULL && msg.welcome.sinks_n == 0)
        expect(&f->producer, DTQI_SINKS); /* its registration was still on its way to the disk */
    dtqi_msg_done(&msg);
}

static void join_sink(struct fixture *f)
{
    struct dtqi_msg msg = hello(DTQI_ROLE_SINK);
    char why[SOCK_WHY_BYTES];

    if (f->intake.zmq == NULL)
        assert_int_equal(sock_bind(f->context, SOCK_INTAKE, "tcp://127.0.0.1:*", false, &f->intake,
                                   why, sizeof why),
                         DTQ_OK);
    msg.hello.store = uid(1);
    msg.hello.run = uid(2);
    msg.hello.intake = dtqi_str(f->intake.endpoint);
    msg.hello.results = dtqi_str("tcp://127.0.0.1:1");
    msg.hello.outcome_memory_ms = DTQI_OUTCOME_MEMORY_MS;
    open_peer(f, SOCK_CONTROL_PEER, f->control, &f->sink);
    send_msg(&f->sink, &msg);
    expect(&f->sink, DTQI_WELCOME);
    expect(&f->sink, DTQI_RESUME);
    /* The head of its stream: nothing is settled here that the ventilator does not know. */
    msg = (struct dtqi_msg){.type = DTQI_SETTLED,
                            .settled = {.sink = uid(1), .run = uid(2), .number_first = 1}};
    send_msg(&f->sink, &msg);
}

static void submit(struct fixture *f, uint64_t request, const dtq_id *ids, uint32_t n,
                   struct dtqi_slice body)
{
    struct dtqi_buf *buf = dtqi_buf_new(256, 4096);
    struct dtqi_spec spec = {.name = dtqi_str("sum"), .queue = dtqi_str("default"), .priority = 5};
    struct dtqi_slice *bodies = calloc(n, sizeof *bodies);
    struct dtqi_msg msg = {.type = DTQI_SUBMIT};

    spec.raw = dtqi_spec_encode(&spec, buf);
    for (uint32_t i = 0; i < n; i++)
        bodies[i] = body;
    msg.submit = (struct dtqi_submit){.request = request,
                                      .n = n,
                                      .ids = ids,
                                      .sink = uid(1),
                                      .specs = &spec,
                                      .specs_n = 1,
                                      .bodies = bodies};
    send_msg(&f->producer, &msg);
    free(bodies);
    dtqi_buf_unref(buf);
}

/* @return DTQI_REFUSAL_NONE: every task was accepted; else why the first of them was not. */
static enum dtqi_refusal submitted(struct fixture *f, uint64_t request)
{
    enum dtqi_refusal reason = DTQI_REFUSAL_NONE;
    struct dtqi_msg msg;

    receive(&f->producer, DTQI_SUBMITTED, &msg);
    assert_int_equal(msg.submitted.request, request);
    if (msg.submitted.refused_n != 0)
        reason = (enum dtqi_refusal)msg.submitted.refused_reason[0];
    dtqi_msg_done(&msg);
    return reason;
}

static uint64_t join_worker(struct fixture *f)
{
    struct dtqi_msg msg = hello(DTQI_ROLE_WORKER);
    char lane[DTQI_ENDPOINT_BYTES_MAX + 1];
    uint64_t session;

    msg.hello.slots = 1;
    msg.hello.result_max_bytes = DTQI_RESULT_BYTES_MAX;
    open_peer(f, SOCK_CONTROL_PEER, f->control, &f->worker);
    send_msg(&f->worker, &msg);
    receive(&f->worker, DTQI_WELCOME, &msg);
    session = msg.welcome.session;
    assert_int_equal(sock_endpoint_through(msg.welcome.lane, f->control, lane), DTQ_OK);
    dtqi_msg_done(&msg);
    /* Credit may be there before the lane is: nothing is lost by that. */
    msg = (struct dtqi_msg){
        .type = DTQI_WORKER_HEARTBEAT,
        .worker_heartbeat = {
            .session = session, .sequence = 1, .credit_tasks = 10, .credit_bytes = 1 << 20}};
    send_msg(&f->worker, &msg);
    expect(&f->worker, DTQI_VENTILATOR_HEARTBEAT);
    open_peer(f, SOCK_LANE_PEER, lane, &f->lane);
    return session;
}

static void expect_task(struct fixture *f, uint64_t session, const dtq_id *id, const char *body)
{
    struct dtqi_msg msg;

    receive(&f->lane, DTQI_TASKS, &msg);
    assert_int_equal(msg.tasks.session, session);
    assert_int_equal(msg.tasks.lane_seq, 1);
    assert_int_equal(msg.tasks.n, 1);
    assert_memory_equal(&msg.tasks.ids[0], id, sizeof *id);
    assert_int_equal(msg.tasks.bodies[0].len, strlen(body));
    assert_memory_equal(msg.tasks.bodies[0].at, body, strlen(body));
    dtqi_msg_done(&msg);
}

static struct dtqi_slice text(const char *at)
{
    return (struct dtqi_slice){at, (uint32_t)strlen(at)};
}

static void leave(struct fixture *f)
{
    sock_close(&f->producer);
    sock_close(&f->sink);
    sock_close(&f->worker);
    sock_close(&f->lane);
}

/* ---- set-up */

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    strcpy(f->dir, "/tmp/dtq-ventilator-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->data, sizeof f->data, "%s/data", f->dir);
    setenv("XDG_CONFIG_HOME", f->dir, 1); /* no configuration file but the test's */
    f->context = sock_context_new(100);
    assert_non_null(f->context);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    if (f->child.pid > 0)
        (void)child_end_by(&f->child, SIGKILL);
    leave(f);
    sock_close(&f->intake);
    sock_context_free(f->context);
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

#define ANY_PORT "tcp://127.0.0.1:*"

/* ---- starting and stopping */

static void it_says_where_it_is_and_stops_when_told(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGQUIT};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        start_ventilator(f, ANY_PORT, NULL);
        assert_int_equal(strncmp(f->control, "tcp://127.0.0.1:", 16), 0);
        assert_true(atoi(f->control + 16) > 0);
        join_producer(f); /* it is ready when it says so */
        leave(f);
        assert_int_equal(child_end_by(&f->child, signals[i]), 0);
        child_expect_said(&f->child, "ev=started");
        child_expect_said(&f->child, f->control);
    }
}

static void a_hangup_does_not_stop_it(void **state)
{
    struct fixture *f = *state;

    start_ventilator(f, ANY_PORT, NULL);
    kill(f->child.pid, SIGHUP);
    join_producer(f);
    assert_int_equal(child_end_by(&f->child, SIGTERM), 0);
    child_expect_said(&f->child, "ev=reload");
}

static void its_directory_belongs_to_one_process(void **state)
{
    struct fixture *f = *state;
    const char *args[] = {"--bind", ANY_PORT, "--data", f->data, NULL};
    struct child second;
    char pid[32];

    start_ventilator(f, ANY_PORT, NULL);
    assert_int_equal(start_in_vain(args, &second), 1);
    snprintf(pid, sizeof pid, "%ld", (long)f->child.pid);
    child_expect_said(&second, f->data);
    child_expect_said(&second, pid);
}

static void a_port_in_use_is_named(void **state)
{
    struct fixture *f = *state;
    char other[96];
    const char *args[] = {"--bind", f->control, "--data", other, NULL};
    struct child second;

    start_ventilator(f, ANY_PORT, NULL);
    snprintf(other, sizeof other, "%s/other", f->dir);
    assert_int_equal(start_in_vain(args, &second), 1);
    child_expect_said(&second, f->control);
    child_expect_said(&second, "in use");
}

static void a_directory_that_cannot_be_is_named(void **state)
{
    struct fixture *f = *state;
    const char *args[] = {"--bind", ANY_PORT, "--data", "/dev/null/data", NULL};
    struct child c;

    (void)f;
    assert_int_equal(start_in_vain(args, &c), 1);
    child_expect_said(&c, "/dev/null/data");
}

static void other_machines_are_shut_out_unless_told_so(void **state)
{
    struct fixture *f = *state;
    const char *args[] = {"--bind", "tcp://*:*", "--data", f->data, NULL};
    struct child c;

    assert_int_equal(start_in_vain(args, &c), 1);
    child_expect_said(&c, "--insecure");
    start_ventilator(f, "tcp://*:*", "--insecure");
    assert_int_equal(strncmp(f->control, "tcp://*:", 8), 0);
}

static void bad_options_are_a_matter_of_usage(void **state)
{
    static const char *const bad[][3] = {
        {"--frobnicate", NULL},   {"--heartbeat", "5x", NULL},     {"--lane-ports", "9-8", NULL},
        {"--bind", "5570", NULL}, {"--durability", "maybe", NULL}, {"operand", NULL}};
    struct child c;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(start_in_vain(bad[i], &c), 2);
        child_expect_said(&c, "Try 'dtq-ventilator --help'.");
    }
}

/* ---- work */

static void tasks_are_confirmed_and_go_down_the_lane_of_a_worker(void **state)
{
    struct fixture *f = *state;
    dtq_id id = id_of(1);
    uint64_t session;

    start_ventilator(f, ANY_PORT, NULL);
    join_sink(f);
    join_producer(f);
    session = join_worker(f);
    submit(f, 1, &id, 1, text("payload"));
    assert_int_equal(submitted(f, 1), DTQI_REFUSAL_NONE);
    expect_task(f, session, &id, "payload");
}

static void without_a_sink_no_task_is_taken(void **state)
{
    struct fixture *f = *state;
    dtq_id id = id_of(1);

    start_ventilator(f, ANY_PORT, NULL);
    join_producer(f);
    submit(f, 1, &id, 1, text("payload"));
    assert_int_not_equal(submitted(f, 1), DTQI_REFUSAL_NONE);
}

/* Accepted means kept. */
static void a_confirmed_task_survives_a_kill(void **state)
{
    struct fixture *f = *state;
    char control[sizeof f->control];
    dtq_id id = id_of(1);
    uint64_t session;

    start_ventilator(f, ANY_PORT, NULL);
    strcpy(control, f->control);
    join_sink(f);
    join_producer(f);
    submit(f, 1, &id, 1, text("kept"));
    assert_int_equal(submitted(f, 1), DTQI_REFUSAL_NONE);
    leave(f);
    assert_int_equal(child_end_by(&f->child, SIGKILL), 1000 + SIGKILL);

    start_ventilator(f, control, NULL); /* the same port, at once */
    session = join_worker(f);
    join_sink(f);
    expect_task(f, session, &id, "kept");
}

/* Tasks that are ready in the only queue. Whatever was sent before has been taken when it returns.
 */
static uint64_t ready_tasks(struct fixture *f)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY, .query = {.request = 9, .kind = DTQI_QUERY_QUEUES}};
    uint64_t ready;

    send_msg(&f->producer, &msg);
    receive(&f->producer, DTQI_QUERY_REPLY, &msg);
    ready = msg.query_reply.queues_n == 1 ? msg.query_reply.queues[0].ready : 0;
    dtqi_msg_done(&msg);
    return ready;
}

/* A warm stop keeps what was taken before, confirmed or not, and ends; it does not wait for
 * workers. (Whether its last confirmations still arrive is left open: a message that is sent just
 * before a connection ends does not always reach a peer with ZMQ_IMMEDIATE.) */
static void a_warm_stop_keeps_what_was_taken(void **state)
{
    enum { TASKS = 2000 };
    struct fixture *f = *state;
    char control[sizeof f->control];
    dtq_id ids[TASKS];

    for (uint32_t i = 0; i < TASKS; i++) {
        ids[i] = id_of((uint8_t)i);
        ids[i].bytes[14] = (uint8_t)(i >> 8);
    }
    start_ventilator(f, ANY_PORT, NULL);
    strcpy(control, f->control);
    join_sink(f);
    join_producer(f);
    submit(f, 1, ids, TASKS, text("payload"));
    assert_int_equal(ready_tasks(f), TASKS);
    leave(f);
    assert_int_equal(child_end_by(&f->child, SIGTERM), 0);
    child_expect_said(&f->child, "ev=stopped");

    start_ventilator(f, control, NULL);
    join_producer(f);
    assert_int_equal(ready_tasks(f), TASKS);
}

static void at_the_limit_of_the_backlog_it_is_busy(void **state)
{
    static const char large[600000];
    struct fixture *f = *state;
    dtq_id ids[] = {id_of(1), id_of(2), id_of(3)};

    start_ventilator(f, ANY_PORT, "--max-backlog-bytes=1m");
    join_sink(f);
    join_producer(f);
    for (uint32_t i = 0; i < 2; i++) {
        submit(f, i, &ids[i], 1, (struct dtqi_slice){large, sizeof large});
        assert_int_equal(submitted(f, i), DTQI_REFUSAL_NONE);
    }
    submit(f, 2, &ids[2], 1, (struct dtqi_slice){large, sizeof large});
    assert_int_equal(submitted(f, 2), DTQI_BUSY);
}

/* Nothing from a socket stops it, and others are served meanwhile. */
static void broken_messages_disturb_nobody(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg msg = hello(DTQI_ROLE_PRODUCER);
    unsigned char frame[600];
    uint64_t seed = 1;

    start_ventilator(f, ANY_PORT, NULL);
    open_peer(f, SOCK_CONTROL_PEER, f->control, &f->worker);
    for (int i = 0; i < 3000; i++) {
        size_t bytes = (seed = dtqi_mix64(seed + 1)) % sizeof frame;
        zmq_pollitem_t item = {.socket = f->worker.zmq, .events = ZMQ_POLLOUT};

        for (size_t k = 0; k < bytes; k++)
            frame[k] = (unsigned char)(seed = dtqi_mix64(seed + 1));
        if (i % 2 == 0 && bytes >= DTQI_FRAME_HEADER_BYTES) { /* looks like one of ours */
            frame[0] = DTQI_FRAME_MAGIC;
            frame[1] = DTQI_PROTOCOL_VERSION;
            frame[2] = (unsigned char)(i % 70);
            frame[3] = 0;
        }
        assert_int_equal(zmq_poll(&item, 1, CHILD_WAIT_MS), 1);
        assert_true(zmq_send(f->worker.zmq, frame, bytes, i % 5 == 0 ? ZMQ_SNDMORE : 0) >= 0);
    }
    send_msg(&f->worker, &msg); /* ends the last one of several frames */
    join_producer(f);
    assert_int_equal(child_end_by(&f->child, SIGTERM), 0);
    child_expect_said(&f->child, "ev=message_dropped");
}

#define VENTILATOR_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        VENTILATOR_TEST(it_says_where_it_is_and_stops_when_told),
        VENTILATOR_TEST(a_hangup_does_not_stop_it),
        VENTILATOR_TEST(its_directory_belongs_to_one_process),
        VENTILATOR_TEST(a_port_in_use_is_named),
        VENTILATOR_TEST(a_directory_that_cannot_be_is_named),
        VENTILATOR_TEST(other_machines_are_shut_out_unless_told_so),
        VENTILATOR_TEST(bad_options_are_a_matter_of_usage),
        VENTILATOR_TEST(tasks_are_confirmed_and_go_down_the_lane_of_a_worker),
        VENTILATOR_TEST(without_a_sink_no_task_is_taken),
        VENTILATOR_TEST(a_confirmed_task_survives_a_kill),
        VENTILATOR_TEST(a_warm_stop_keeps_what_was_taken),
        VENTILATOR_TEST(at_the_limit_of_the_backlog_it_is_busy),
        VENTILATOR_TEST(broken_messages_disturb_nobody),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: %s PROGRAM\n", argv[0]);
        return 2;
    }
    program = argv[1];
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
