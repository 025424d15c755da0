/* dtq-worker as a process: its sockets, its slots, its ends. The test plays the ventilator and one
 * sink. argv: the program, a module of handlers, a module that is no good. */
#include "sock.h"

#include "child.h"
#include "proc.h"

#include <errno.h>

#define TASKS_MAX 50000u
#define BATCH 256u
#define EPOCH 7u

static const char *program;
static const char *module;
static const char *bad_module;

#define HEARTBEAT_MS (200 * DTQ_SLOWNESS)
#if DTQ_SLOWNESS > 1
#define SOME_BEATS_MS "4000"
#else
#define SOME_BEATS_MS "1000"
#endif

struct end {
    uint32_t outcomes; /* so often sent to the sink */
    char body[32];     /* the begin of the result */
    uint32_t bytes;
    bool done; /* a REPORT named its ticket */
    dtq_reason reason;
    int32_t code;
    char text[256];
    const char *name;
    const char *given; /* its payload */
    uint32_t attempt;
    bool returned; /* and not given again */
};

struct fixture {
    void *context;
    struct sock control;
    struct sock lane;
    struct sock intake;
    bool no_sink; /* its intake is not bound now */
    char intake_endpoint[DTQI_ENDPOINT_BYTES_MAX + 1];
    struct child child;

    bool settles; /* what comes is forgotten at once */
    uint64_t backlog;
    uint32_t route;
    uint64_t session;
    uint32_t lane_seq;
    uint32_t lane_heard; /* of that the worker has had, when it last said so */
    uint64_t report_seq;
    uint64_t allowed; /* tasks, since WELCOME */
    uint64_t sent;
    uint32_t hellos;
    uint32_t slots;
    char name[DTQI_NAME_BYTES_MAX + 1];
    char queue[DTQI_NAME_BYTES_MAX + 1]; /* the first of its HELLO */
    uint32_t byes;
    uint32_t abandoned;
    struct end ends[TASKS_MAX];
    uint32_t outcomes;
    uint32_t failures;
    bool gives_again; /* what was returned */
    uint32_t returned;
    uint32_t started; /* named in REPORTs */
    uint32_t next;    /* number of the next task */
};

/* ---------------------------------------------------------------- the process */

/* ---------------------------------------------------------------- ventilator and sink */

static dtqi_uid uid(uint8_t n)
{
    dtqi_uid u = {{n}};

    return u;
}

static dtq_id id_of(uint32_t number)
{
    dtq_id id = {{1, 2, 3, 4, 5, 6, 0x70}};

    memcpy(id.bytes + 12, &number, sizeof number);
    return id;
}

static struct end *end_of(struct fixture *f, const dtq_id *id)
{
    uint32_t number;

    memcpy(&number, id->bytes + 12, sizeof number);
    assert_true(number < f->next);
    return &f->ends[number];
}

/* A worker that was left alone for too long (on a busy machine) has gone, and says HELLO again. */
static void send_control(struct fixture *f, const struct dtqi_msg *msg)
{
    dtq_err err = sock_send(&f->control, f->route, msg);

    assert_true(err == DTQ_OK || err == DTQ_EUNREACHABLE);
}

static void bind_socket(struct fixture *f, enum sock_kind kind, const char *endpoint,
                        struct sock *ret)
{
    uint64_t until_ms = proc_now_ms() + CHILD_WAIT_MS;
    char why[SOCK_WHY_BYTES] = "";

    /* ZeroMQ closes in the background: until then the port is in use. */
    while (sock_bind(f->context, kind, endpoint, false, ret, why, sizeof why) != DTQ_OK) {
        if (proc_now_ms() > until_ms)
            fail_msg("%s", why);
        zmq_poll(NULL, 0, 5);
    }
}

static void on_hello(struct fixture *f, const struct dtqi_msg *m)
{
    struct dtqi_sink_info sink = {
        .store = uid(2), .intake = dtqi_str(f->intake_endpoint), .reachable = true};
    struct dtqi_msg welcome = {.type = DTQI_WELCOME};

    assert_int_equal(m->hello.role, DTQI_ROLE_WORKER);
    f->hellos++;
    f->slots = m->hello.slots;
    snprintf(f->name, sizeof f->name, "%.*s", (int)m->hello.name.len, m->hello.name.at);
    if (m->hello.queues_n > 0)
        snprintf(f->queue, sizeof f->queue, "%.*s", (int)m->hello.queues[0].len,
                 m->hello.queues[0].at);
    sock_close(&f->lane);
    bind_socket(f, SOCK_LANE, "tcp://127.0.0.1:*", &f->lane);
    f->session++;
    f->lane_seq = 0;
    f->report_seq = 0;
    f->allowed = f->sent = 0;
    welcome.welcome = (struct dtqi_welcome){
        .version = DTQI_PROTOCOL_VERSION,
        .store = uid(9),
        .epoch = EPOCH,
        .session = f->session,
        .wall_ms = proc_wall_ms(),
        .heartbeat_ms = HEARTBEAT_MS, /* a session that is lost between is no part of these */
        .liveness = 3,
        .lane = dtqi_str(f->lane.endpoint),
        .sinks = &sink,
        .sinks_n = 1,
        .task_bytes_max = DTQI_TASK_BYTES_MAX,
        .result_bytes_max = DTQI_RESULT_BYTES_MAX,
        .dedupe_window_ms = 3600000,
        .outcome_fence_ms = 600000,
    };
    send_control(f, &welcome);
}

/* Everything it lists is its own. */
static void on_holdings(struct fixture *f, const struct dtqi_msg *m)
{
    uint32_t verdicts[DTQI_BATCH_ENTRIES_MAX];
    uint32_t tickets[DTQI_BATCH_ENTRIES_MAX];
    struct dtqi_msg answer = {.type = DTQI_VERDICTS};

    for (uint32_t i = 0; i < m->holdings.n; i++) {
        verdicts[i] = DTQI_VERDICT_ADOPT;
        tickets[i] = (uint32_t)(end_of(f, &m->holdings.ids[i]) - f->ends);
    }
    answer.verdicts = (struct dtqi_verdicts){
        .session = f->session,
        .n = m->holdings.n,
        .ids = m->holdings.ids,
        .epochs = m->holdings.epochs,
        .attempts = m->holdings.attempts,
        .verdicts = verdicts,
        .tickets = tickets,
    };
    send_control(f, &answer);
}

static void on_heartbeat(struct fixture *f, const struct dtqi_msg *m)
{
    struct dtqi_msg answer = {.type = DTQI_VENTILATOR_HEARTBEAT,
                              .ventilator_heartbeat = {.session = f->session,
                                                       .echo = m->worker_heartbeat.sequence,
                                                       .report_seq = f->report_seq,
                                                       .lane_seq = f->lane_seq,
                                                       .backlog = f->backlog,
                                                       .wall_ms = proc_wall_ms()}};

    f->lane_heard = m->worker_heartbeat.lane_seq;
    f->allowed = m->worker_heartbeat.credit_tasks;
    send_control(f, &answer);
}

static void forget(struct fixture *f, const dtq_id *ids, const uint32_t *attempts, uint32_t n)
{
    struct dtqi_msg m = {
        .type = DTQI_FORGET,
        .forget = {
            .session = f->session, .epoch = EPOCH, .n = n, .ids = ids, .attempts = attempts}};

    if (n > 0)
        send_control(f, &m);
}

static void on_failure(struct fixture *f, const struct dtqi_failure *failure)
{
    struct end *e = end_of(f, &failure->id);

    e->reason = failure->reason;
    e->code = failure->code;
    snprintf(e->text, sizeof e->text, "%.*s", (int)failure->text.len, failure->text.at);
    f->failures++;
    forget(f, &failure->id, &failure->attempt, 1);
}

static void on_report(struct fixture *f, const struct dtqi_msg *m)
{
    const struct dtqi_report *r = &m->report;

    if (r->report_seq <= f->report_seq)
        return; /* said again before our acknowledgement came */
    assert_int_equal(r->report_seq, f->report_seq + 1);
    f->report_seq = r->report_seq;
    f->allowed = r->credit_tasks;
    for (uint32_t i = 0; i < r->done_n; i++)
        f->ends[r->done_tickets[i]].done = true;
    for (uint32_t i = 0; i < r->failures_n; i++)
        on_failure(f, &r->failures[i]);
    for (uint32_t i = 0; i < r->returned_n; i++)
        end_of(f, &r->returned_ids[i])->returned = true;
    f->returned += r->returned_n;
    f->started += r->started_n;
}

static void on_control(struct fixture *f, const struct dtqi_msg *m)
{
    switch ((int)m->type) {
    case DTQI_HELLO: on_hello(f, m); return;
    case DTQI_HOLDINGS: on_holdings(f, m); return;
    case DTQI_WORKER_HEARTBEAT: on_heartbeat(f, m); return;
    case DTQI_REPORT: on_report(f, m); return;
    case DTQI_BYE:
        f->byes++;
        f->abandoned = m->bye.abandoned_n;
        return;
    default: fail_msg("%s is not for a ventilator", dtqi_msg_type_name(m->type));
    }
}

static void on_outcomes(struct fixture *f, const struct dtqi_msg *m)
{
    const struct dtqi_outcomes *o = &m->outcomes;

    assert_int_equal(o->epoch, EPOCH);
    for (uint32_t i = 0; i < o->n; i++) {
        struct end *e = end_of(f, &o->ids[i]);

        e->outcomes++;
        e->bytes = o->bodies[i].len;
        snprintf(e->body, sizeof e->body, "%.*s",
                 (int)(e->bytes < sizeof e->body ? e->bytes : sizeof e->body - 1),
                 (const char *)o->bodies[i].at);
    }
    f->outcomes += o->n;
    if (f->settles)
        forget(f, o->ids, o->attempts, o->n);
}

/* Tasks from `first` on, all of the name of the first. @return false: the lane is not connected. */
static bool send_tasks(struct fixture *f, uint32_t first, uint32_t n)
{
    struct dtqi_buf *buf = dtqi_buf_new(256, 4096);
    struct dtqi_spec spec = {.name = dtqi_str(f->ends[first].name), .queue = dtqi_str("default")};
    struct dtqi_msg m = {.type = DTQI_TASKS};
    dtqi_uid sink = uid(2);
    dtq_id ids[BATCH];
    uint32_t tickets[BATCH];
    uint32_t attempts[BATCH];
    struct dtqi_slice bodies[BATCH];
    bool is_sent;

    assert_true(n <= BATCH);
    assert_non_null(buf);
    spec.raw = dtqi_spec_encode(&spec, buf);
    for (uint32_t i = 0; i < n; i++) {
        struct end *e = &f->ends[first + i];

        ids[i] = id_of(first + i);
        tickets[i] = first + i;
        attempts[i] = e->attempt + 1;
        bodies[i] = (struct dtqi_slice){e->given, (uint32_t)strlen(e->given)};
    }
    m.tasks = (struct dtqi_tasks){
        .session = f->session,
        .lane_seq = f->lane_seq + 1,
        .n = n,
        .ids = ids,
        .tickets = tickets,
        .attempts = attempts,
        .specs = &spec,
        .specs_n = 1,
        .sinks = &sink,
        .sinks_n = 1,
        .bodies = bodies,
    };
    is_sent = sock_send(&f->lane, 0, &m) == DTQ_OK;
    dtqi_buf_unref(buf);
    if (!is_sent)
        return false;
    f->lane_seq++;
    f->sent += n;
    for (uint32_t i = 0; i < n; i++)
        f->ends[first + i].attempt++;
    return true;
}

/* On a busy machine a worker gives back what it cannot start soon. */
static void give_again(struct fixture *f)
{
    for (uint32_t i = 0; f->returned > 0 && i < f->next && f->allowed > f->sent; i++) {
        if (!f->ends[i].returned || !send_tasks(f, i, 1))
            continue;
        f->ends[i].returned = false;
        f->returned--;
    }
}

static void pump(struct fixture *f)
{
    zmq_pollitem_t polls[2] = {{.socket = f->control.zmq, .events = ZMQ_POLLIN},
                               {.socket = f->intake.zmq, .events = ZMQ_POLLIN}};
    struct dtqi_msg m;

    zmq_poll(polls, f->no_sink ? 1 : 2, 10);
    while (sock_recv(&f->control, proc_now_ms(), &f->route, &m) == DTQ_OK) {
        on_control(f, &m);
        dtqi_msg_done(&m);
    }
    while (!f->no_sink && sock_recv(&f->intake, proc_now_ms(), NULL, &m) == DTQ_OK) {
        on_outcomes(f, &m);
        dtqi_msg_done(&m);
    }
    if (f->gives_again)
        give_again(f);
}

#define wait_until(f, condition)                                            \
    do {                                                                    \
        uint64_t until_ms = proc_now_ms() + CHILD_WAIT_MS;                  \
                                                                            \
        while (!(condition)) {                                              \
            if (proc_now_ms() > until_ms)                                   \
                fail_msg("in vain: %s; it said: %s", #condition, words(f)); \
            pump(f);                                                        \
        }                                                                   \
    } while (0)

/* What the worker has said so far, for messages. */
static const char *words(struct fixture *f)
{
    struct pollfd p = {.fd = f->child.err, .events = POLLIN};
    ssize_t n =
        poll(&p, 1, 0) == 1 ? read(f->child.err, f->child.said, sizeof f->child.said - 1) : 0;

    f->child.said[n > 0 ? n : 0] = 0;
    return f->child.said;
}

/* ---------------------------------------------------------------- tasks */

/* One batch of equal tasks, against credit. @return the number of the first. */
static uint32_t give(struct fixture *f, const char *name, const char *body, uint32_t n)
{
    uint32_t first = f->next;

    wait_until(f, f->allowed >= f->sent + n);
    for (; f->next < first + n; f->next++) {
        assert_true(f->next < TASKS_MAX);
        f->ends[f->next].name = name;
        f->ends[f->next].given = body;
    }
    wait_until(f, send_tasks(f, first, n)); /* once its end of the lane is connected */
    return first;
}

/* ---------------------------------------------------------------- fixture */

static void start_worker(struct fixture *f, const char *const *more)
{
    const char *args[CHILD_ARGS_MAX] = {"-V", f->control.endpoint, "--module", module};

    for (int i = 0; more[i] != NULL; i++)
        args[4 + i] = more[i];
    child_start(&f->child, program, args);
    child_read(f->child.out, true, f->child.ready, sizeof f->child.ready);
    if (strncmp(f->child.ready, "ready ", 6) != 0)
        fail_msg("not ready: %s", words(f));
    wait_until(f, f->hellos == 1 && f->allowed > 0);
}

static void start_two_slots(struct fixture *f)
{
    const char *more[] = {"-c", "2", NULL};

    start_worker(f, more);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    *state = f;
    f->settles = true;
    f->gives_again = true;
    f->context = sock_context_new(16);
    bind_socket(f, SOCK_CONTROL, "tcp://127.0.0.1:*", &f->control);
    bind_socket(f, SOCK_INTAKE, "tcp://127.0.0.1:*", &f->intake);
    snprintf(f->intake_endpoint, sizeof f->intake_endpoint, "%s", f->intake.endpoint);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->child.pid > 0) {
        kill(f->child.pid, SIGKILL);
        (void)child_end(&f->child);
    }
    sock_close(&f->control);
    sock_close(&f->lane);
    sock_close(&f->intake);
    sock_context_free(f->context);
    free(f);
    return 0;
}

/* A worker that ends says so first. */
static int end_by(struct fixture *f, int signal)
{
    kill(f->child.pid, signal);
    wait_until(f, f->byes == 1);
    return child_end(&f->child);
}

/* ---------------------------------------------------------------- tests */

static void it_says_who_it_is_and_leaves_when_told(void **state)
{
    struct fixture *f = *state;
    const char *more[] = {"-c", "3", "-n", "me-%h", "-Q", "q1,q2", NULL};
    char name[512] = "me-";

    start_worker(f, more);
    assert_int_equal(gethostname(name + 3, sizeof name - 4), 0);
    assert_string_equal(f->name, name);
    assert_string_equal(f->queue, "q1");
    assert_int_equal(f->slots, 3);
    assert_non_null(strstr(f->child.ready, "slots=3"));
    assert_int_equal(end_by(f, SIGTERM), 0);
    assert_int_equal(f->abandoned, 0);
}

static void results_go_to_the_sink_and_reports_to_the_ventilator(void **state)
{
    struct fixture *f = *state;
    uint32_t first;

    start_two_slots(f);
    first = give(f, "echo", "hello", 1);
    wait_until(f, f->outcomes == 1 && f->ends[first].done);
    assert_string_equal(f->ends[first].body, "hello");
    assert_int_equal(f->ends[first].bytes, 5);
    assert_int_equal(end_by(f, SIGTERM), 0);
    assert_int_equal(f->outcomes, 1);
}

static void many_tasks_come_back_each_once_within_credit(void **state)
{
    struct fixture *f = *state;
    const uint32_t tasks = 20000;

    start_two_slots(f);
    while (f->next < tasks) {
        uint64_t n;

        wait_until(f, f->allowed > f->sent);
        n = f->allowed - f->sent;
        n = n < BATCH ? n : BATCH;
        give(f, "noop", "x", (uint32_t)(n < tasks - f->next ? n : tasks - f->next));
    }
    wait_until(f, f->outcomes >= tasks);
    for (uint32_t i = 0; i < tasks; i++)
        assert_int_equal(f->ends[i].outcomes, 1);
    assert_int_equal(end_by(f, SIGTERM), 0);
    assert_int_equal(f->failures, 0);
    assert_int_equal(f->outcomes, tasks);
}

static void failures_and_crashes_are_reported_with_their_reasons(void **state)
{
    struct fixture *f = *state;
    const char *more[] = {"-c", "1", "--time-limit", "300ms", "--exec", "no=false", NULL};

    start_worker(f, more);
    give(f, "fail", "no luck", 1);
    wait_until(f, f->failures == 1);
    assert_int_equal(f->ends[0].reason, DTQ_REASON_ERROR);
    assert_string_equal(f->ends[0].text, "no luck");
    give(f, "crash", "segv", 1);
    wait_until(f, f->failures == 2);
    assert_int_equal(f->ends[1].reason, DTQ_REASON_CRASH);
    assert_int_equal(f->ends[1].code, SIGSEGV);
    give(f, "sleep", "60000", 1);
    wait_until(f, f->failures == 3);
    assert_int_equal(f->ends[2].reason, DTQ_REASON_TIMEOUT);
    give(f, "nobody", "", 1);
    wait_until(f, f->failures == 4);
    assert_int_equal(f->ends[3].reason, DTQ_REASON_UNKNOWN_TASK);
    give(f, "no", "", 1);
    wait_until(f, f->failures == 5);
    assert_int_equal(f->ends[4].reason, DTQ_REASON_EXIT);
    assert_int_equal(f->ends[4].code, 1);
    give(f, "echo", "still here", 1);
    wait_until(f, f->outcomes == 1);
    assert_string_equal(f->ends[5].body, "still here");
    assert_int_equal(end_by(f, SIGTERM), 0);
}

static void a_broken_lane_is_answered_by_hello(void **state)
{
    struct fixture *f = *state;

    start_two_slots(f);
    give(f, "echo", "a", 1);
    wait_until(f, f->outcomes == 1);
    sock_close(&f->lane);
    wait_until(f, f->hellos == 2 && f->allowed > 0);
    give(f, "echo", "b", 1);
    wait_until(f, f->ends[1].outcomes == 1);
    assert_string_equal(f->ends[1].body, "b");
    assert_int_equal(end_by(f, SIGTERM), 0);
}

static void kept_results_are_sent_again_to_a_sink_that_came_back(void **state)
{
    struct fixture *f = *state;

    f->settles = false;
    start_two_slots(f);
    give(f, "echo", "kept", 1);
    wait_until(f, f->ends[0].outcomes == 1);
    sock_close(&f->intake);
    bind_socket(f, SOCK_INTAKE, f->intake_endpoint, &f->intake);
    f->settles = true;
    wait_until(f, f->ends[0].outcomes == 2);
    assert_string_equal(f->ends[0].body, "kept");
    assert_int_equal(end_by(f, SIGTERM), 0);
}

static void a_sink_that_comes_late_gets_everything(void **state)
{
    struct fixture *f = *state;

    sock_close(&f->intake);
    f->no_sink = true;
    start_two_slots(f);
    give(f, "echo", "early", 2);
    wait_until(f, f->ends[0].done && f->ends[1].done);
    bind_socket(f, SOCK_INTAKE, f->intake_endpoint, &f->intake);
    f->no_sink = false;
    wait_until(f, f->outcomes == 2);
    assert_int_equal(end_by(f, SIGTERM), 0);
}

static void what_runs_is_finished_before_a_warm_end(void **state)
{
    struct fixture *f = *state;
    const char *more[] = {"-c", "1", NULL};

    start_worker(f, more);
    give(f, "sleep", SOME_BEATS_MS, 1); /* it is named with the first heartbeat but one */
    wait_until(f, f->started == 1);
    f->gives_again = false;
    give(f, "echo", "behind", 1);
    wait_until(f, f->lane_heard == f->lane_seq); /* else it is on its way, and with nobody */
    kill(f->child.pid, SIGTERM);
    wait_until(f, f->byes == 1);
    assert_int_equal(child_end(&f->child), 0);
    assert_int_equal(f->ends[0].outcomes, 1);
    assert_true(f->ends[1].returned || f->ends[1].outcomes == 1);
    assert_int_equal(f->abandoned, 0);
}

static void a_second_interrupt_ends_it_at_once(void **state)
{
    struct fixture *f = *state;
    uint64_t before_ms;

    start_two_slots(f);
    give(f, "sleep", "60000", 1);
    wait_until(f, f->started == 1);
    before_ms = proc_now_ms();
    kill(f->child.pid, SIGINT);
    wait_until(f, strstr(words(f), "how=warm") != NULL);
    kill(f->child.pid, SIGINT);
    wait_until(f, f->byes == 1);
    assert_int_equal(child_end(&f->child), 0);
    assert_true(proc_now_ms() - before_ms < 30000);
    assert_int_equal(f->ends[0].outcomes, 0);
}

static void a_burst_ends_when_there_is_nothing_left(void **state)
{
    struct fixture *f = *state;
    const char *more[] = {"-c", "1", "--burst", NULL};

    f->backlog = 1;
    start_worker(f, more);
    give(f, "echo", "last", 1);
    f->backlog = 0;
    wait_until(f, f->byes == 1);
    assert_int_equal(child_end(&f->child), 0);
    assert_int_equal(f->ends[0].outcomes, 1);
}

static void a_slot_is_replaced_after_its_number_of_tasks(void **state)
{
    struct fixture *f = *state;
    const char *more[] = {
        "-c", "1", "--max-tasks-per-child", "2", "--exec", "pid=sh -c 'echo $PPID'", NULL};
    int changes = 0;

    start_worker(f, more);
    for (uint32_t i = 0; i < 6; i++) {
        give(f, "pid", "", 1);
        wait_until(f, f->outcomes == i + 1);
        changes += i > 0 && strcmp(f->ends[i].body, f->ends[i - 1].body) != 0;
    }
    assert_int_equal(changes, 2);
    assert_int_equal(end_by(f, SIGTERM), 0);
}

static void expect_error(struct fixture *f, const char *const *args, int status, const char *text)
{
    child_start(&f->child, program, args);
    assert_int_equal(child_end(&f->child), status);
    child_expect_said(&f->child, text);
}

static void what_cannot_work_is_said_at_once(void **state)
{
    struct fixture *f = *state;

    expect_error(f, (const char *const[]){NULL}, 2, "give --module FILE.so, or --exec");
    expect_error(f, (const char *const[]){"--exec", "a=no-such-command", NULL}, 2,
                 "no command 'no-such-command'");
    expect_error(f, (const char *const[]){"--exec", "a=cat", "--exec", "a=cat", NULL}, 2,
                 "'a' already");
    expect_error(f, (const char *const[]){"--module", "/no/such.so", NULL}, 1,
                 "/no/such.so: No such file");
    expect_error(f, (const char *const[]){"--module", bad_module, NULL}, 1,
                 "built for handler ABI");
    expect_error(f, (const char *const[]){"--module", module, "--module", module, NULL}, 1,
                 "already");
    expect_error(
        f,
        (const char *const[]){"--exec", "a=cat", "-V", "tcp://127.0.0.1:1,tcp://127.0.0.1:2", NULL},
        2, "one ventilator only");
    expect_error(f, (const char *const[]){"--exec", "a=cat", "-n", "a b", NULL}, 2, "'a b'");
}

int main(int argc, char **argv)
{
#define with_worker(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        with_worker(it_says_who_it_is_and_leaves_when_told),
        with_worker(results_go_to_the_sink_and_reports_to_the_ventilator),
        with_worker(many_tasks_come_back_each_once_within_credit),
        with_worker(failures_and_crashes_are_reported_with_their_reasons),
        with_worker(a_broken_lane_is_answered_by_hello),
        with_worker(kept_results_are_sent_again_to_a_sink_that_came_back),
        with_worker(a_sink_that_comes_late_gets_everything),
        with_worker(what_runs_is_finished_before_a_warm_end),
        with_worker(a_second_interrupt_ends_it_at_once),
        with_worker(a_burst_ends_when_there_is_nothing_left),
        with_worker(a_slot_is_replaced_after_its_number_of_tasks),
        with_worker(what_cannot_work_is_said_at_once),
    };

    if (argc < 4) {
        fprintf(stderr, "worker_test PROGRAM MODULE BAD-MODULE\n");
        return 2;
    }
    program = argv[1];
    module = argv[2];
    bad_module = argv[3];
    proc_setup();
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
