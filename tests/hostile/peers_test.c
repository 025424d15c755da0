/*
 * Peers that keep to no rule, against the real programs: what they get, what they cost, and whether
 * a good client is served meanwhile. There are no keys in this version: a test says what somebody
 * may *not* do who can reach the ports.
 */
#include "cluster.h"
#include "raw.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define MIB (1024ull * 1024)
#define SERVED_MS (10000ull * DTQ_SLOWNESS)

/* A task is submitted, run, and its result is here, within a bound. */
static void expect_served(struct cluster *c)
{
    uint64_t start_ms = clock_ms();

    assert_string_equal(dtq_expect(c, 0, NULL, "submit", "echo", "fine", "--wait", NULL), "fine\n");
    assert_in_range(clock_ms() - start_ms, 0, SERVED_MS);
    assert_true(run_is_alive(c->ventilator));
    assert_true(run_is_alive(c->sink));
}

static void send_or_fail(int fd, const struct dtqi_msg *msg)
{
    if (!raw_send(fd, msg))
        fail_msg("%s was not taken: %s", dtqi_msg_type_name(msg->type), strerror(errno));
}

static void hello(int fd, enum dtqi_role role, uint8_t mark)
{
    struct dtqi_msg msg = {.type = DTQI_HELLO};

    msg.hello = (struct dtqi_hello){.version_min = 1,
                                    .version_max = 1,
                                    .role = role,
                                    .instance = {{mark, 1}},
                                    .name = dtqi_str("stranger"),
                                    .slots = 1};
    if (role == DTQI_ROLE_SINK) {
        msg.hello.store = (dtqi_uid){{mark, 2}};
        msg.hello.intake = msg.hello.results = dtqi_str("tcp://127.0.0.1:1");
        msg.hello.outcome_memory_ms = DTQI_OUTCOME_MEMORY_MS;
    }
    send_or_fail(fd, &msg);
}

/* The WELCOME, passing over what else comes before it. */
static struct dtqi_msg welcome(int fd)
{
    struct dtqi_msg msg;

    while (raw_recv(fd, &msg, RAW_WAIT_MS)) {
        if (msg.type == DTQI_WELCOME)
            return msg;
        dtqi_msg_done(&msg);
    }
    fail_msg("no WELCOME came");
    return msg;
}

static int open_as(struct cluster *c, enum dtqi_role role, uint8_t mark)
{
    int fd = raw_open(c->control, "DEALER");
    struct dtqi_msg msg;

    if (role == DTQI_ROLE_NONE)
        return fd;
    hello(fd, role, mark);
    msg = welcome(fd);
    dtqi_msg_done(&msg);
    return fd;
}

/* What any client may ask for. */
static struct dtqi_msg ask_workers(struct cluster *c)
{
    int fd = open_as(c, DTQI_ROLE_PRODUCER, 9);
    struct dtqi_msg msg = {.type = DTQI_QUERY,
                           .query = {.request = 1, .kind = DTQI_QUERY_WORKERS, .limit = 10}};

    send_or_fail(fd, &msg);
    assert_true(raw_recv(fd, &msg, RAW_WAIT_MS));
    assert_int_equal(msg.type, DTQI_QUERY_REPLY);
    close(fd);
    return msg;
}

/* One of them is there: it has run a task. */
static struct dtqi_msg ask_first_worker(struct cluster *c)
{
    struct dtqi_msg msg;

    expect_served(c);
    msg = ask_workers(c);
    assert_true(msg.query_reply.workers_n >= 1);
    return msg;
}

/* ---- every message of every role */

/* What a ventilator may answer to a sender of this role; 0: nothing. */
static enum dtqi_msg_type answer_of(enum dtqi_role role, enum dtqi_msg_type type)
{
    if (role != DTQI_ROLE_PRODUCER)
        return DTQI_UNKNOWN_SESSION; /* the samples name no session that exists */
    switch (type) {
    case DTQI_SUBMIT: return DTQI_SUBMITTED;
    case DTQI_CANCEL: return DTQI_CANCEL_REPLY;
    case DTQI_QUERY: return DTQI_QUERY_REPLY;
    case DTQI_OPERATE: return DTQI_OPERATE_REPLY;
    default: return (enum dtqi_msg_type)0;
    }
}

static void send_sample(int fd, enum dtqi_msg_type type, uint64_t seed)
{
    struct dtqi_buf *buf = dtqi_buf_new(4096, SIZE_MAX);
    struct dtqi_msg msg;

    assert_non_null(buf);
    sample_msg(type, seed, true, buf, &msg);
    send_or_fail(fd, &msg);
    dtqi_buf_unref(buf);
}

/* The second HELLO is answered behind everything that came before it. */
static void expect_answers_of(struct cluster *c, enum dtqi_role role, enum dtqi_msg_type type)
{
    int fd = open_as(c, role, (uint8_t)(40 + role));
    enum dtqi_msg_type allowed = answer_of(role, type);
    struct dtqi_msg msg;

    send_sample(fd, type, type);
    hello(fd, DTQI_ROLE_PRODUCER, 8);
    for (;;) {
        enum dtqi_msg_type came;

        assert_true(raw_recv(fd, &msg, RAW_WAIT_MS));
        came = msg.type;
        dtqi_msg_done(&msg);
        if (came == DTQI_WELCOME)
            break;
        if (role == DTQI_ROLE_SINK && came == DTQI_RESUME)
            continue;                              /* the other half of its WELCOME */
        if (came != allowed && came != DTQI_SINKS) /* those come unasked while sinks come and go */
            fail_msg("role %d got %s for %s", (int)role, dtqi_msg_type_name(came),
                     dtqi_msg_type_name(type));
    }
    close(fd);
}

static void nobody_gets_an_answer_that_is_not_his_roles(void **state)
{
    static const enum dtqi_role roles[] = {DTQI_ROLE_NONE, DTQI_ROLE_PRODUCER, DTQI_ROLE_WORKER};
    struct cluster *c = *state;
    struct run *worker = cluster_start(c);

    for (size_t r = 0; r < 3; r++)
        for (size_t i = 0; sample_types[i] != 0; i++)
            if (sample_types[i] != DTQI_HELLO)
                expect_answers_of(c, roles[r], sample_types[i]);
    expect_served(c);
    assert_true(run_is_alive(worker));
}

/* It is the last sink that this ventilator gets to know: what is submitted from then on may be its.
 */
static void nobody_gets_as_a_sink_what_is_anothers(void **state)
{
    struct cluster *c = *state;
    struct dtqi_msg workers;

    cluster_start(c);
    expect_served(c);
    for (size_t i = 0; sample_types[i] != 0; i++)
        if (sample_types[i] != DTQI_HELLO)
            expect_answers_of(c, DTQI_ROLE_SINK, sample_types[i]);
    workers = ask_workers(c);
    assert_int_equal(workers.query_reply.workers_n, 1);
    dtqi_msg_done(&workers);
    assert_true(run_is_alive(c->ventilator));
}

static void a_sink_heeds_no_message_that_is_not_for_it(void **state)
{
    struct cluster *c = *state;
    int intake;
    int results;
    struct dtqi_msg msg;

    cluster_start(c);
    intake = raw_open(c->intake, "PUSH");
    results = raw_open(c->results, "DEALER");
    for (size_t i = 0; sample_types[i] != 0; i++) {
        send_sample(intake, sample_types[i], i);
        if (sample_types[i] != DTQI_WAIT && sample_types[i] != DTQI_RESULTS_QUERY)
            send_sample(results, sample_types[i], i);
    }
    msg =
        (struct dtqi_msg){.type = DTQI_RESULTS_QUERY, .results_query = {.request = 77, .limit = 1}};
    send_or_fail(results, &msg);
    for (;;) { /* the first answer, but for refusals, is that of the last question */
        assert_true(raw_recv(results, &msg, RAW_WAIT_MS));
        dtqi_msg_done(&msg);
        if (msg.type != DTQI_REFUSED)
            break;
    }
    assert_int_equal(msg.type, DTQI_RESULTS_REPLY);
    assert_int_equal(msg.results_reply.request, 77);
    expect_served(c);
    close(intake);
    close(results);
}

/* ---- in the name of another */

/* Says everything that would end a task, in the session of the worker that has it. */
static void speak_for(int fd, uint64_t session, const dtq_id *id, uint64_t epoch)
{
    uint32_t tickets[256];
    struct dtqi_failure failure = {.id = *id,
                                   .epoch = epoch,
                                   .attempt = 1,
                                   .reason = DTQ_REASON_ERROR,
                                   .text = dtqi_str("forged"),
                                   .no_retry = true};
    struct dtqi_msg report = {.type = DTQI_REPORT,
                              .report = {.session = session,
                                         .report_seq = 1,
                                         .credit_tasks = 1u << 30,
                                         .credit_bytes = 1ull << 50,
                                         .done_tickets = tickets,
                                         .done_n = 256,
                                         .failures = &failure,
                                         .failures_n = 1,
                                         .returned_ids = id,
                                         .returned_n = 1,
                                         .stopped_ids = id,
                                         .stopped_n = 1}};
    struct dtqi_msg holdings = {.type = DTQI_HOLDINGS,
                                .holdings = {.session = session, .last = true}};
    struct dtqi_msg bye = {.type = DTQI_BYE,
                           .bye = {.session = session, .abandoned_ids = id, .abandoned_n = 1}};

    for (uint32_t i = 0; i < 256; i++)
        tickets[i] = i;
    for (uint64_t seq = 1; seq < 20; seq++) {
        report.report.report_seq = seq;
        send_or_fail(fd, &report);
    }
    send_or_fail(fd, &holdings);
    send_or_fail(fd, &bye);
}

static void a_session_is_of_no_use_on_another_connection(void **state)
{
    struct cluster *c = *state;
    struct dtqi_msg before;
    struct dtqi_msg after;
    bool is_there = false;
    char text[64];
    dtq_id id;

    cluster_start(c);
    before = ask_first_worker(c);
    dtq_submit_id(c, text, "sleep", "1000", NULL);
    assert_int_equal(dtq_id_parse(text, &id), DTQ_OK);
    for (int role = DTQI_ROLE_NONE; role <= DTQI_ROLE_WORKER; role++) {
        int fd = raw_open(c->control, "DEALER");
        uint64_t epoch = 1;

        if (role != DTQI_ROLE_NONE) {
            struct dtqi_msg own;

            hello(fd, (enum dtqi_role)role, 30);
            own = welcome(fd);
            epoch = own.welcome.epoch;
            dtqi_msg_done(&own);
        }
        speak_for(fd, before.query_reply.workers[0].session, &id, epoch);
        close(fd);
    }
    dtq_expect(c, 0, NULL, "wait", text, NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", text, NULL), "\n");
    after = ask_workers(c);
    for (uint32_t i = 0; i < after.query_reply.workers_n; i++)
        is_there |= after.query_reply.workers[i].session == before.query_reply.workers[0].session;
    assert_true(is_there);
    dtqi_msg_done(&before);
    dtqi_msg_done(&after);
    expect_served(c);
}

/* Same name, same instance: the ventilator takes it for a new connection of the worker (R8). */
static void a_worker_whose_identity_is_taken_comes_back(void **state)
{
    struct cluster *c = *state;
    struct run *worker = cluster_start(c);
    struct dtqi_msg workers = ask_first_worker(c);
    struct dtqi_msg msg = {.type = DTQI_HELLO};
    int fd = raw_open(c->control, "DEALER");

    msg.hello = (struct dtqi_hello){.version_min = 1,
                                    .version_max = 1,
                                    .role = DTQI_ROLE_WORKER,
                                    .instance = workers.query_reply.workers[0].instance,
                                    .name = workers.query_reply.workers[0].name,
                                    .slots = 1};
    send_or_fail(fd, &msg);
    msg = welcome(fd);
    dtqi_msg_done(&msg);
    expect_served(c); /* while the other one is still connected */
    close(fd);
    expect_served(c);
    assert_true(run_is_alive(worker));
    dtqi_msg_done(&workers);
}

/* Another task of the same name: what a replay of an old OUTCOMES, or a forged one, would do. */
static void an_outcome_that_stands_is_not_replaced(void **state)
{
    struct cluster *c = *state;
    uint32_t kind = DTQ_FAILED;
    uint64_t zero = 0;
    struct dtqi_slice body = {"forged", 6};
    struct dtqi_spec spec = {.name = dtqi_str("echo"), .queue = dtqi_str("default")};
    struct dtqi_buf *buf = dtqi_buf_new(1024, SIZE_MAX);
    struct dtqi_msg msg = {.type = DTQI_OUTCOMES};
    struct dtqi_msg hers;
    char text[64];
    dtq_id id;
    int fd;

    assert_non_null(buf);
    cluster_start(c);
    dtq_submit_id(c, text, "echo", "true", NULL);
    assert_int_equal(dtq_id_parse(text, &id), DTQ_OK);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", "--wait", text, NULL), "true\n");
    fd = raw_open(c->control, "DEALER");
    hello(fd, DTQI_ROLE_PRODUCER, 9);
    hers = welcome(fd);
    close(fd);
    spec.raw = dtqi_spec_encode(&spec, buf);
    msg.outcomes = (struct dtqi_outcomes){.ventilator = hers.welcome.store,
                                          .epoch = hers.welcome.epoch,
                                          .worker = dtqi_str("w"),
                                          .heard_wall_ms = hers.welcome.wall_ms,
                                          .sink = hers.welcome.sinks[0].store,
                                          .n = 1,
                                          .ids = &id,
                                          .specs = &spec,
                                          .specs_n = 1,
                                          .started_wall_ms = &zero,
                                          .bodies = &body};
    fd = raw_open(c->intake, "PUSH");
    for (int i = 0; i < 50; i++) {
        msg.outcomes.kinds = i % 2 == 0 ? &kind : NULL;
        send_or_fail(fd, &msg);
    }
    expect_served(c);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", text, NULL), "true\n");
    close(fd);
    dtqi_msg_done(&hers);
    dtqi_buf_unref(buf);
}

/* ---- who is not let in */

static void expect_thrown_out(int fd)
{
    assert_true(raw_is_closed(fd, RAW_WAIT_MS));
    close(fd);
}

static void expect_no_entry(const char *endpoint)
{
    static const char *const mechanisms[] = {"PLAIN", "CURVE", "GSSAPI", "nonsense"};
    static const char *const types[] = {"SUB", "REP", "PUB", "STREAM", "nonsense"};
    static const unsigned char huge[9] = {RAW_LONG, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const unsigned char large[9] = {RAW_LONG, 0, 0, 0, 0, 0, 0x90, 0, 0};
    int fd;

    for (size_t i = 0; i < sizeof mechanisms / sizeof *mechanisms; i++) {
        fd = raw_connect(endpoint);
        assert_true(raw_greet(fd, mechanisms[i]));
        expect_thrown_out(fd);
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        fd = raw_connect(endpoint);
        assert_true(raw_greet(fd, "NULL") && raw_ready(fd, types[i]));
        expect_thrown_out(fd);
    }
    fd = raw_open(endpoint, "DEALER");
    assert_true(raw_bytes(fd, huge, sizeof huge));
    expect_thrown_out(fd);
    fd = raw_open(endpoint, "DEALER");
    assert_true(raw_bytes(fd, large, sizeof large)); /* 9 MiB are to follow */
    expect_thrown_out(fd);
}

static void a_peer_of_another_version_is_told_which_there_are(void **state)
{
    struct cluster *c = *state;
    struct dtqi_msg msg = {.type = DTQI_HELLO,
                           .hello = {.version_min = 2,
                                     .version_max = 2,
                                     .role = DTQI_ROLE_WORKER,
                                     .instance = {{7, 7}},
                                     .name = dtqi_str("newer"),
                                     .slots = 1}};
    int fd;

    cluster_start(c);
    fd = raw_open(c->control, "DEALER");
    send_or_fail(fd, &msg);
    assert_true(raw_recv(fd, &msg, RAW_WAIT_MS));
    assert_int_equal(msg.type, DTQI_REFUSED);
    assert_int_equal(msg.refused.reason, DTQI_BAD_VERSION);
    assert_int_equal(msg.refused.version_min, 1);
    assert_int_equal(msg.refused.version_max, 1);
    dtqi_msg_done(&msg);
    close(fd);
    expect_served(c);
}

static void wrong_mechanisms_and_sockets_and_sizes_are_thrown_out(void **state)
{
    struct cluster *c = *state;

    cluster_start(c);
    expect_no_entry(c->control);
    expect_no_entry(c->results);
    expect_served(c);
}

/* What ZeroMQ 2 and 3 began with: an anonymous identity; and a signature, revision 1, the type of a
 * socket. Then frames of theirs, and rubbish. */
static void greetings_of_older_zmtp_do_no_harm(void **state)
{
    static const unsigned char first[] = {1, 0, 5, 0, 'h', 'e', 'l', 'l', 0xff, 1};
    static const unsigned char second[] = {0xff, 0, 0, 0, 0, 0,   0,   0,   1,   0x7f, 1,
                                           5,    0, 0, 0, 4, 'h', 'e', 'l', 'l', 0xff, 0xff};
    struct cluster *c = *state;
    const char *endpoints[3];

    cluster_start(c);
    endpoints[0] = c->control;
    endpoints[1] = c->intake;
    endpoints[2] = c->results;
    for (unsigned i = 0; i < 60; i++) {
        int fd = raw_connect(endpoints[i % 3]);
        unsigned char noise[300];

        assert_true(fd >= 0);
        memset(noise, (int)(i * 37), sizeof noise);
        (void)(i % 2 == 0 ? raw_bytes(fd, first, sizeof first)
                          : raw_bytes(fd, second, sizeof second - i % 7));
        (void)raw_bytes(fd, noise, i * 5);
        close(fd);
    }
    expect_served(c);
}

/* ---- lanes */

/* A few ports that are free at the moment; below the range that the kernel takes ports from. */
static unsigned free_ports(void)
{
    return 21000 + (unsigned)(clock_ms() * 7919 % 8000);
}

static bool is_joined(struct cluster *c, void *arg)
{
    struct dtqi_msg workers = ask_workers(c);
    bool joined = false;

    for (uint32_t i = 0; i < workers.query_reply.workers_n; i++)
        joined |= dtqi_str_eq(workers.query_reply.workers[i].name, dtqi_str(arg));
    dtqi_msg_done(&workers);
    return joined;
}

static bool is_told(struct cluster *c, void *arg)
{
    char line[512];
    struct run *r = arg;

    (void)c;
    wait_line_of_file(r->said_path, line, sizeof line);
    return strstr(line, "refused") != NULL;
}

static void a_worker_without_a_lane_is_told_and_comes_in_when_one_is_free(void **state)
{
    struct cluster *c = *state;
    unsigned port = free_ports();
    char range[32];
    struct run *first;
    struct run *second;

    snprintf(range, sizeof range, "--lane-ports=%u-%u", port, port);
    cluster_start_ventilator(c, range, NULL);
    cluster_start_sink(c, NULL);
    first = cluster_start_worker(c, "--module", HANDLERS_MODULE, NULL);
    second = run_start(c, NULL, "dtq-worker", "--ventilator", c->control, "--module",
                       HANDLERS_MODULE, "--name=second", NULL);
    wait_until(c, is_told, second);
    expect_served(c); /* the first one goes on */
    assert_int_equal(run_stop(first, SIGTERM), 0);
    wait_until(c, is_joined, (void *)(uintptr_t) "second");
    expect_served(c);
}

/* A lane deals its messages to whoever is connected: the worker misses some, and says so. */
static void a_stranger_on_a_lane_ends_its_session_and_no_task(void **state)
{
    struct cluster *c = *state;
    unsigned port = free_ports();
    char range[32];
    char lane[32];
    char text[64];
    int fd;

    snprintf(range, sizeof range, "--lane-ports=%u-%u", port, port + 3);
    cluster_start_ventilator(c, range, NULL);
    cluster_start_sink(c, NULL);
    cluster_start_worker(c, "--module", HANDLERS_MODULE, NULL);
    expect_served(c); /* it is on its lane */
    for (unsigned i = 0; i < 4; i++) {
        snprintf(lane, sizeof lane, "tcp://127.0.0.1:%u", port + i);
        fd = raw_connect(lane);
        if (fd >= 0)
            break;
    }
    assert_true(fd >= 0);
    close(fd);
    fd = raw_open(lane, "PULL");
    for (int i = 0; i < 6; i++)
        dtq_submit_id(c, text, "echo", "x", NULL);
    dtq_expect(c, 0, NULL, "wait", text, NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", text, NULL), "x\n");
    close(fd);
    expect_served(c);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(nobody_gets_an_answer_that_is_not_his_roles),
        STORY(a_sink_heeds_no_message_that_is_not_for_it),
        STORY(a_session_is_of_no_use_on_another_connection),
        STORY(a_worker_whose_identity_is_taken_comes_back),
        STORY(an_outcome_that_stands_is_not_replaced),
        STORY(a_peer_of_another_version_is_told_which_there_are),
        STORY(nobody_gets_as_a_sink_what_is_anothers),
        STORY(wrong_mechanisms_and_sockets_and_sizes_are_thrown_out),
        STORY(greetings_of_older_zmtp_do_no_harm),
        STORY(a_worker_without_a_lane_is_told_and_comes_in_when_one_is_free),
        STORY(a_stranger_on_a_lane_ends_its_session_and_no_task),
    };

    return RUN_STORIES(argc, argv, tests);
}
