/* dtq-sink as a process: its sockets, its data directory, its ends. The test plays ventilator,
 * worker and client. argv[1] is the program. */
#include "sock.h"

#include "child.h"
#include "proc.h"

#include <errno.h>
#include <sys/stat.h>

static const char *program;

struct fixture {
    char dir[64];
    void *context;
    struct sock ventilator; /* ROUTER that the sink says HELLO to */
    uint32_t route;         /* of the sink there */
    struct child child;
    char intake[DTQI_ENDPOINT_BYTES_MAX + 1];
    char results[DTQI_ENDPOINT_BYTES_MAX + 1];
    dtqi_uid store;
    dtqi_uid run;
    struct sock worker;
    struct sock client;
};

static dtqi_uid uid(uint8_t n)
{
    dtqi_uid u = {{n}};

    return u;
}

/* Of the present time, as a producer makes it. */
static dtq_id id_of(uint8_t n)
{
    dtq_id id = {{0}};
    uint64_t ms = proc_wall_ms();

    for (int i = 5; i >= 0; i--, ms >>= 8)
        id.bytes[i] = (uint8_t)ms;
    id.bytes[15] = n;
    return id;
}

/* ---- the process */

/* ---- messages */

static void receive(struct sock *sock, enum dtqi_msg_type type, uint32_t *ret_route,
                    struct dtqi_msg *ret)
{
    uint64_t until_ms = proc_now_ms() + CHILD_WAIT_MS;

    *ret = (struct dtqi_msg){0};
    while (proc_now_ms() < until_ms) {
        zmq_pollitem_t poll = {.socket = sock->zmq, .events = ZMQ_POLLIN};

        zmq_poll(&poll, 1, 100);
        if (sock_recv(sock, proc_now_ms(), ret_route, ret) != DTQ_OK)
            continue;
        if (ret->type == type)
            return;
        dtqi_msg_done(ret);
    }
    fail_msg("no %s came", dtqi_msg_type_name(type));
}

static void send_msg(struct sock *sock, uint32_t route, const struct dtqi_msg *msg)
{
    uint64_t until_ms = proc_now_ms() + CHILD_WAIT_MS;

    while (sock_send(sock, route, msg) != DTQ_OK) {
        assert_true(proc_now_ms() < until_ms);
        zmq_poll(NULL, 0, 5);
    }
}

static void open_peer(struct fixture *f, enum sock_kind kind, const char *endpoint,
                      struct sock *ret)
{
    char why[SOCK_WHY_BYTES] = "";

    if (sock_connect(f->context, kind, endpoint, ret, why, sizeof why) != DTQ_OK)
        fail_msg("%s", why);
}

/* HELLO, WELCOME, RESUME. */
static void welcome(struct fixture *f, const dtqi_uid *run, uint64_t after)
{
    struct dtqi_msg m;

    receive(&f->ventilator, DTQI_HELLO, &f->route, &m);
    assert_int_equal(m.hello.role, DTQI_ROLE_SINK);
    assert_true(dtqi_str_eq(m.hello.intake, dtqi_str(f->intake)));
    assert_true(dtqi_str_eq(m.hello.results, dtqi_str(f->results)));
    f->store = m.hello.store;
    f->run = m.hello.run;
    dtqi_msg_done(&m);
    m = (struct dtqi_msg){.type = DTQI_WELCOME,
                          .welcome = {.version = DTQI_PROTOCOL_VERSION,
                                      .store = uid(9),
                                      .epoch = 1,
                                      .session = 5,
                                      .wall_ms = proc_wall_ms(),
                                      .heartbeat_ms = 1000,
                                      .liveness = 3,
                                      .task_bytes_max = DTQI_TASK_BYTES_MAX,
                                      .result_bytes_max = DTQI_RESULT_BYTES_MAX,
                                      .dedupe_window_ms = DTQI_DEDUPE_WINDOW_MS,
                                      .outcome_fence_ms = DTQI_OUTCOME_FENCE_MS}};
    send_msg(&f->ventilator, f->route, &m);
    m = (struct dtqi_msg){.type = DTQI_RESUME,
                          .resume = {.store = uid(9), .run = *run, .after = after}};
    send_msg(&f->ventilator, f->route, &m);
}

static void propose(struct fixture *f, const dtq_id *id, const char *body)
{
    struct dtqi_slice bodies = {body, (uint32_t)strlen(body)};
    struct dtqi_spec spec = {.name = dtqi_str("sum"), .queue = dtqi_str("default")};
    struct dtqi_buf *buf = dtqi_buf_new(256, 4096);
    uint64_t reply_to = 77;
    struct dtqi_msg m = {.type = DTQI_OUTCOMES};

    assert_non_null(buf);
    spec.raw = dtqi_spec_encode(&spec, buf);
    m.outcomes = (struct dtqi_outcomes){
        .ventilator = uid(9),
        .epoch = 1,
        .instance = uid(8),
        .worker = dtqi_str("w1"),
        .heard_wall_ms = proc_wall_ms(),
        .sink = f->store,
        .n = 1,
        .ids = id,
        .specs = &spec,
        .specs_n = 1,
        .reply_to = &reply_to,
        .bodies = &bodies,
    };
    send_msg(&f->worker, 0, &m);
    dtqi_buf_unref(buf);
}

static void expect_result(struct fixture *f, const dtq_id *id, const char *body)
{
    struct dtqi_msg m;

    receive(&f->client, DTQI_RESULTS, NULL, &m);
    assert_int_equal(m.results.n, 1);
    assert_memory_equal(&m.results.ids[0], id, sizeof *id);
    assert_int_equal(dtqi_col32(m.results.kinds, 0, DTQ_SUCCEEDED), DTQ_SUCCEEDED);
    assert_int_equal(m.results.bodies[0].len, strlen(body));
    assert_memory_equal(m.results.bodies[0].at, body, strlen(body));
    dtqi_msg_done(&m);
}

static void expect_settled(struct fixture *f, uint64_t number, const dtq_id *id)
{
    struct dtqi_msg m;

    do {
        receive(&f->ventilator, DTQI_SETTLED, &f->route, &m);
        if (m.settled.n != 0)
            break;
        dtqi_msg_done(&m);
    } while (true);
    assert_int_equal(m.settled.number_first, number);
    assert_memory_equal(&m.settled.ids[0], id, sizeof *id);
    dtqi_msg_done(&m);
}

static void ask_once(struct fixture *f, const dtq_id *id)
{
    struct dtqi_msg m = {.type = DTQI_WAIT,
                         .wait = {.request = 1, .n = 1, .ids = id, .once = true}};

    send_msg(&f->client, 0, &m);
}

/* ---- set-up */

/* ZeroMQ closes in the background: until then the port is in use. */
static void bind_ventilator(struct fixture *f, const char *endpoint)
{
    uint64_t until_ms = proc_now_ms() + CHILD_WAIT_MS;
    char why[SOCK_WHY_BYTES] = "";

    while (sock_bind(f->context, SOCK_CONTROL, endpoint, false, &f->ventilator, why, sizeof why) !=
           DTQ_OK) {
        if (proc_now_ms() > until_ms)
            fail_msg("%s", why);
        zmq_poll(NULL, 0, 5);
    }
}

static void start_sink_with(struct fixture *f, const char *const *more)
{
    const char *args[CHILD_ARGS_MAX] = {
        "-V",       f->ventilator.endpoint, "--data",    f->dir,
        "--intake", "tcp://127.0.0.1:*",    "--results", "tcp://127.0.0.1:0"};

    for (int i = 0; more[i] != NULL; i++)
        args[8 + i] = more[i];
    child_start(&f->child, program, args);
    child_wait_ready(&f->child);
    child_ready_value(&f->child, "intake=", f->intake);
    child_ready_value(&f->child, "results=", f->results);
    open_peer(f, SOCK_INTAKE_PEER, f->intake, &f->worker);
    open_peer(f, SOCK_RESULTS_PEER, f->results, &f->client);
}

static void start_sink(struct fixture *f)
{
    const char *none[] = {NULL};

    start_sink_with(f, none);
}

static void end_sink(struct fixture *f, int signal, int status)
{
    sock_close(&f->worker);
    sock_close(&f->client);
    assert_int_equal(child_end_by(&f->child, signal), status);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/dtq-sink-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->context = sock_context_new(16);
    assert_non_null(f->context);
    bind_ventilator(f, "tcp://127.0.0.1:*");
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    if (f->child.pid > 0)
        (void)child_end_by(&f->child, SIGKILL);
    sock_close(&f->worker);
    sock_close(&f->client);
    sock_close(&f->ventilator);
    sock_context_free(f->context);
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* ---------------------------------------------------------------- stories */

static void outcome_reaches_follower_ventilator_and_disk(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg follow = {.type = DTQI_FOLLOW, .follow.reply_to = 77};
    dtqi_uid none = {{0}};
    dtq_id id = id_of(1);

    start_sink(f);
    welcome(f, &none, 0);
    send_msg(&f->client, 0, &follow);
    ask_once(f, &id); /* answered behind FOLLOW: from then on it follows */
    {
        struct dtqi_msg m;

        receive(&f->client, DTQI_RESULTS, NULL, &m);
        assert_int_equal(m.results.kinds[0], DTQ_NOT_FOUND);
        dtqi_msg_done(&m);
    }
    propose(f, &id, "42");
    expect_result(f, &id, "42");
    expect_settled(f, 1, &id);
    ask_once(f, &id);
    expect_result(f, &id, "42");
    end_sink(f, SIGTERM, 0);
}

static void outcomes_outlive_kill_9(void **state)
{
    struct fixture *f = *state;
    dtqi_uid none = {{0}};
    dtq_id id = id_of(1);
    dtqi_uid run;
    dtqi_uid store;

    start_sink(f);
    welcome(f, &none, 0);
    propose(f, &id, "42");
    expect_settled(f, 1, &id);
    run = f->run;
    store = f->store;
    end_sink(f, SIGKILL, 1000 + SIGKILL);
    start_sink(f);
    welcome(f, &run, 0);
    assert_true(dtqi_uid_eq(&f->store, &store));
    assert_false(dtqi_uid_eq(&f->run, &run));
    expect_settled(f, 1, &id);
    ask_once(f, &id);
    expect_result(f, &id, "42");
}

static void wrong_frames_are_dropped(void **state)
{
    struct fixture *f = *state;
    dtqi_uid none = {{0}};
    dtq_id id = id_of(1);

    start_sink(f);
    welcome(f, &none, 0);
    for (int i = 0; i < 3; i++) {
        zmq_pollitem_t poll = {.socket = f->worker.zmq, .events = ZMQ_POLLOUT};

        assert_int_equal(zmq_poll(&poll, 1, CHILD_WAIT_MS), 1);
        zmq_send(f->worker.zmq, "\xD7\x01\x32\x00garbage", 11, 0);
        zmq_send(f->worker.zmq, "", 0, 0);
        zmq_send(f->worker.zmq, "more", 4, ZMQ_SNDMORE);
        zmq_send(f->worker.zmq, "frames", 6, 0);
    }
    zmq_send(f->client.zmq, "x", 1, ZMQ_SNDMORE);
    zmq_send(f->client.zmq, "y", 1, 0);
    zmq_send(f->client.zmq, "\xD7\x01\x3d\x00\xff\xff", 6, 0);
    propose(f, &id, "42");
    expect_settled(f, 1, &id);
    ask_once(f, &id);
    expect_result(f, &id, "42");
    end_sink(f, SIGTERM, 0);
    assert_non_null(strstr(f->child.said, "message_dropped"));
}

static void says_bye_when_told_to_stop(void **state)
{
    struct fixture *f = *state;
    dtqi_uid none = {{0}};
    struct dtqi_msg m;

    start_sink(f);
    welcome(f, &none, 0);
    receive(&f->ventilator, DTQI_SETTLED, &f->route, &m); /* the answer to RESUME */
    dtqi_msg_done(&m);
    kill(f->child.pid, SIGINT);
    receive(&f->ventilator, DTQI_BYE, &f->route, &m);
    assert_int_equal(m.bye.session, 5);
    dtqi_msg_done(&m);
    assert_int_equal(child_end(&f->child), 0);
}

static void comes_back_after_the_ventilator_went(void **state)
{
    struct fixture *f = *state;
    dtqi_uid none = {{0}};
    char endpoint[DTQI_ENDPOINT_BYTES_MAX + 1];
    dtq_id id = id_of(1);

    start_sink(f);
    welcome(f, &none, 0);
    snprintf(endpoint, sizeof endpoint, "%s", f->ventilator.endpoint);
    sock_close(&f->ventilator);
    propose(f, &id, "42");
    bind_ventilator(f, endpoint);
    welcome(f, &none, 0);
    expect_settled(f, 1, &id);
    end_sink(f, SIGTERM, 0);
}

static void answer_heartbeat(struct fixture *f)
{
    struct dtqi_msg m = {
        .type = DTQI_VENTILATOR_HEARTBEAT,
        .ventilator_heartbeat = {.session = 5, .wall_ms = proc_wall_ms()},
    };

    send_msg(&f->ventilator, f->route, &m);
}

static void wait_full(struct fixture *f, bool is_full)
{
    uint64_t until_ms = proc_now_ms() + CHILD_WAIT_MS;
    struct dtqi_msg m;
    bool said;

    do {
        assert_true(proc_now_ms() < until_ms);
        receive(&f->ventilator, DTQI_SINK_HEARTBEAT, &f->route, &m);
        said = m.sink_heartbeat.full;
        dtqi_msg_done(&m);
        answer_heartbeat(f);
    } while (said != is_full);
}

/* R31: at its bound the sink takes no more, says so, loses nothing, and goes on when results have
 * expired. */
static void full_store_takes_no_more_until_there_is_room(void **state)
{
    struct fixture *f = *state;
    const char *args[] = {"--max-results-bytes", "16m", "--result-ttl", "2s", NULL};
    char *body = calloc(1, 3u << 20);
    dtqi_uid none = {{0}};
    dtq_id ids[8];

    assert_non_null(body);
    memset(body, 'x', (3u << 20) - 1);
    start_sink_with(f, args);
    welcome(f, &none, 0);
    for (uint8_t i = 0; i < 8; i++) {
        ids[i] = id_of(i);
        propose(f, &ids[i], body);
    }
    wait_full(f, true);
    wait_full(f, false);
    for (uint8_t i = 0; i < 8; i++) /* the senders keep what was not settled, and send it again */
        propose(f, &ids[i], "");
    for (uint64_t n = 0; n < 8;) {
        struct dtqi_msg m;

        receive(&f->ventilator, DTQI_SETTLED, &f->route, &m);
        if (m.settled.number_first != 0 && m.settled.n != 0)
            n = m.settled.number_first + m.settled.n - 1;
        dtqi_msg_done(&m);
        answer_heartbeat(f);
    }
    end_sink(f, SIGTERM, 0);
    free(body);
}

/* ---------------------------------------------------------------- what it refuses */

static void expect_refusal(const char *const *args, int status, const char *part)
{
    struct child c;

    child_start(&c, program, args);
    assert_int_equal(child_end(&c), status);
    if (strstr(c.said, part) == NULL)
        fail_msg("\"%s\" is not in: %s", part, c.said);
}

static void data_directory_of_another_process_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *args[] = {
        "--data", f->dir, "--intake", "tcp://127.0.0.1:*", "--results", "tcp://127.0.0.1:*", NULL};

    start_sink(f);
    expect_refusal(args, 1, "DTQ_ELOCKED");
    end_sink(f, SIGTERM, 0);
}

static void port_in_use_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *args[] = {"--data", f->dir, "--intake", f->ventilator.endpoint, NULL};

    expect_refusal(args, 1, "in use by another process");
}

static void listening_to_everybody_must_be_said(void **state)
{
    struct fixture *f = *state;
    const char *args[] = {"--data", f->dir, "--intake", "tcp://*:0", NULL};

    expect_refusal(args, 1, "--insecure");
}

static void second_ventilator_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *args[] = {"--data", f->dir, "-V", "tcp://127.0.0.1:1,tcp://127.0.0.1:2", NULL};

    expect_refusal(args, 2, "one ventilator");
}

static void data_directory_that_cannot_be_made_is_refused(void **state)
{
    const char *args[] = {"--data", "/proc/nowhere/sink", NULL};

    (void)state;
    expect_refusal(args, 1, "/proc/nowhere");
}

static void wildcard_is_announced_as_it_can_be_reached(void **state)
{
    struct fixture *f = *state;
    const char *args[] = {"-V",
                          f->ventilator.endpoint,
                          "--insecure",
                          "--intake",
                          "tcp://*:*",
                          "--data",
                          f->dir,
                          "--results",
                          "tcp://0.0.0.0:*",
                          NULL};
    struct dtqi_msg m;

    child_start(&f->child, program, args);
    child_wait_ready(&f->child);
    receive(&f->ventilator, DTQI_HELLO, &f->route, &m);
    assert_memory_equal(m.hello.intake.at, "tcp://127.0.0.1:", 16);
    assert_memory_equal(m.hello.results.at, "tcp://127.0.0.1:", 16);
    dtqi_msg_done(&m);
    assert_int_equal(child_end_by(&f->child, SIGTERM), 0);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(outcome_reaches_follower_ventilator_and_disk),
        TEST(outcomes_outlive_kill_9),
        TEST(wrong_frames_are_dropped),
        TEST(says_bye_when_told_to_stop),
        TEST(comes_back_after_the_ventilator_went),
        TEST(full_store_takes_no_more_until_there_is_room),
        TEST(data_directory_of_another_process_is_refused),
        TEST(port_in_use_is_refused),
        TEST(listening_to_everybody_must_be_said),
        TEST(second_ventilator_is_refused),
        TEST(data_directory_that_cannot_be_made_is_refused),
        TEST(wildcard_is_announced_as_it_can_be_reached),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: sink_test PROGRAM\n");
        return 2;
    }
    program = argv[1];
    proc_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
