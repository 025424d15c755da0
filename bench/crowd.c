/*
 * Scenario F: many workers. Thousands of light stand-ins in one process, each with a session, a
 * lane and credit of its own, speak the real protocol with a real ventilator and a real sink; no
 * slots, no handlers. What is measured is the ventilator.
 */
#include "bed.h"
#include "bench.h"
#include "gauge.h"
#include "proc.h"
#include "sock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CROWD_MAX 4000u
#define BATCH 32u /* tasks that each grants at a time: one message */
#define TASKS 1000000u
#define WARM_TASKS 200000u
#define WINDOW (4 * BATCH * CROWD_MAX) /* of all sizes: a deep one has a price of its own */
#define OPEN_MAX (2 * WINDOW)
#define BEAT_MS 1000u
#define HELLO_MS 30000u /* a second HELLO would end the session that the first one began */
#define EVENTS 512
#define ARRIVING_MAX 64u /* at a time: no more than wait in the queue of a listening port */
#define LOOK_MS 100u
#define FILES_EACH 5u /* what a ventilator reckons with */

struct standin {
    struct sock control;
    struct sock lane;
    dtqi_uid instance;
    uint64_t session;
    uint64_t credit;
    uint64_t report_seq;
    uint64_t beats;
    uint64_t said_ms;
    uint64_t held_sum;
    uint32_t held;
    uint32_t lane_seq;
};

struct crowd {
    struct standin *at;
    uint32_t n;
    uint32_t begun; /* have a connection .. */
    uint32_t there; /* .. and a session */
    void *context;
    int epoll;
    struct sock sink;
    dtqi_uid ventilator;
    uint64_t epoch;
    uint64_t now_ms;
    uint64_t heard_wall_ms;
    int tell; /* a byte is written when all are there */
};

static void need(bool ok, const char *what)
{
    if (!ok)
        bed_fail("stand-in: %s", what);
}

static void send_control(struct crowd *c, struct standin *s, const struct dtqi_msg *msg)
{
    need(sock_send(&s->control, 0, msg) == DTQ_OK, "cannot send");
    s->said_ms = c->now_ms;
}

static void watch(struct crowd *c, struct sock *sock, uint64_t mark)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = mark};
    size_t bytes = sizeof(int);
    int fd;

    need(zmq_getsockopt(sock->zmq, ZMQ_FD, &fd, &bytes) == 0 &&
             epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &event) == 0,
         strerror(errno));
}

static void connect_control(struct crowd *c, uint32_t i, const char *endpoint)
{
    struct standin *s = &c->at[i];
    char why[SOCK_WHY_BYTES];

    proc_random(&s->instance, sizeof s->instance);
    need(sock_connect(c->context, SOCK_CONTROL_PEER, endpoint, &s->control, why, sizeof why) ==
             DTQ_OK,
         why);
    watch(c, &s->control, 2 * (uint64_t)i);
}

static void say_hello(struct crowd *c, struct standin *s)
{
    struct dtqi_msg msg = {.type = DTQI_HELLO};

    msg.hello = (struct dtqi_hello){.version_min = DTQI_PROTOCOL_VERSION,
                                    .version_max = DTQI_PROTOCOL_VERSION,
                                    .role = DTQI_ROLE_WORKER,
                                    .instance = s->instance,
                                    .name = dtqi_str("stand-in"),
                                    .program = dtqi_str("bench"),
                                    .slots = 1,
                                    .result_max_bytes = 1024};
    if (sock_send(&s->control, 0, &msg) == DTQ_OK) /* else it is not connected yet */
        s->said_ms = c->now_ms;
}

static void report(struct crowd *c, struct standin *s, const struct dtqi_tasks *done)
{
    struct dtqi_msg msg = {.type = DTQI_REPORT};

    s->credit += done != NULL ? done->n : BATCH;
    msg.report = (struct dtqi_report){.session = s->session,
                                      .report_seq = ++s->report_seq,
                                      .credit_tasks = s->credit,
                                      .credit_bytes = UINT64_MAX / 2};
    if (done != NULL) {
        msg.report.done_tickets = done->tickets;
        msg.report.done_n = done->n;
    }
    send_control(c, s, &msg);
}

static void on_welcome(struct crowd *c, struct standin *s, const struct dtqi_welcome *w)
{
    char text[DTQI_ENDPOINT_BYTES_MAX + 1];
    char why[SOCK_WHY_BYTES];

    if (s->session != 0)
        return;
    s->session = w->session;
    c->ventilator = w->store;
    c->epoch = w->epoch;
    snprintf(text, sizeof text, "%.*s", (int)w->lane.len, w->lane.at);
    need(sock_connect(c->context, SOCK_LANE_PEER, text, &s->lane, why, sizeof why) == DTQ_OK, why);
    watch(c, &s->lane, 2 * (uint64_t)(s - c->at) + 1);
    report(c, s, NULL);
    if (++c->there == c->n)
        need(write(c->tell, "!", 1) == 1, "nobody listens");
}

static void connect_sink(struct crowd *c, const struct dtqi_sink_info *sinks, uint32_t n)
{
    char text[DTQI_ENDPOINT_BYTES_MAX + 1];
    char why[SOCK_WHY_BYTES];

    if (n == 0 || c->sink.zmq != NULL)
        return;
    snprintf(text, sizeof text, "%.*s", (int)sinks->intake.len, sinks->intake.at);
    need(sock_connect(c->context, SOCK_INTAKE_PEER, text, &c->sink, why, sizeof why) == DTQ_OK,
         why);
}

static void beat(struct crowd *c, struct standin *s)
{
    struct dtqi_msg msg = {.type = DTQI_WORKER_HEARTBEAT};

    if (s->session == 0) {
        say_hello(c, s);
        return;
    }
    msg.worker_heartbeat = (struct dtqi_worker_heartbeat){.session = s->session,
                                                          .sequence = ++s->beats,
                                                          .lane_seq = s->lane_seq,
                                                          .report_seq = s->report_seq,
                                                          .credit_tasks = s->credit,
                                                          .credit_bytes = UINT64_MAX / 2,
                                                          .held = s->held,
                                                          .held_sum = s->held_sum};
    send_control(c, s, &msg);
}

/* Those that said nothing for long. */
static void beat_all(struct crowd *c)
{
    c->now_ms = proc_now_ms();
    for (uint32_t i = 0; i < c->begun; i++) {
        struct standin *s = &c->at[i];
        uint64_t patience_ms = s->session == 0 ? HELLO_MS : BEAT_MS;

        if (c->now_ms - s->said_ms >= patience_ms)
            beat(c, s);
    }
}

/* Also while the sink takes nothing everybody is alive. */
static void send_outcomes(struct crowd *c, const struct standin *s, const struct dtqi_tasks *t)
{
    static const char result[16];
    struct dtqi_slice bodies[DTQI_BATCH_ENTRIES_MAX];
    struct dtqi_msg msg = {.type = DTQI_OUTCOMES};
    zmq_pollitem_t item = {.socket = c->sink.zmq, .events = ZMQ_POLLOUT};

    for (uint32_t i = 0; i < t->n; i++)
        bodies[i] = (struct dtqi_slice){result, sizeof result};
    msg.outcomes = (struct dtqi_outcomes){.ventilator = c->ventilator,
                                          .epoch = c->epoch,
                                          .instance = s->instance,
                                          .worker = dtqi_str("stand-in"),
                                          .heard_wall_ms = c->heard_wall_ms,
                                          .sink = t->sinks[0],
                                          .n = t->n,
                                          .ids = t->ids,
                                          .tickets = t->tickets,
                                          .attempts = t->attempts,
                                          .specs = t->specs,
                                          .specs_n = t->specs_n,
                                          .spec_index = t->spec_index,
                                          .reply_to = t->reply_to,
                                          .bodies = bodies};
    while (sock_send(&c->sink, 0, &msg) != DTQ_OK) {
        need(zmq_poll(&item, 1, LOOK_MS) >= 0, "poll");
        beat_all(c);
    }
}

static void on_tasks(struct crowd *c, struct standin *s, const struct dtqi_tasks *t)
{
    need(t->session == s->session && t->lane_seq == s->lane_seq + 1, "a gap in the lane");
    s->lane_seq = t->lane_seq;
    for (uint32_t i = 0; i < t->n; i++)
        s->held_sum += dtqi_holding_hash(&t->ids[i], c->epoch, dtqi_col32(t->attempts, i, 1));
    s->held += t->n;
    send_outcomes(c, s, t);
    report(c, s, t);
}

static void on_forget(struct standin *s, const struct dtqi_forget *f)
{
    for (uint32_t i = 0; i < f->n; i++)
        s->held_sum -= dtqi_holding_hash(&f->ids[i], f->epoch, dtqi_col32(f->attempts, i, 1));
    s->held -= f->n;
}

static void on_message(struct crowd *c, struct standin *s, const struct dtqi_msg *msg)
{
    c->heard_wall_ms = proc_wall_ms();
    if (msg->type == DTQI_WELCOME)
        connect_sink(c, msg->welcome.sinks, msg->welcome.sinks_n);
    if (msg->type == DTQI_SINKS)
        connect_sink(c, msg->sinks.sinks, msg->sinks.sinks_n);
    if (msg->type == DTQI_WELCOME)
        on_welcome(c, s, &msg->welcome);
    else if (msg->type == DTQI_TASKS)
        on_tasks(c, s, &msg->tasks);
    else if (msg->type == DTQI_FORGET)
        on_forget(s, &msg->forget);
    else
        need(msg->type != DTQI_REFUSED && msg->type != DTQI_UNKNOWN_SESSION &&
                 msg->type != DTQI_HOLDINGS_WANTED,
             dtqi_msg_type_name(msg->type));
}

static void drain(struct crowd *c, struct standin *s, struct sock *sock)
{
    struct dtqi_msg msg;
    dtq_err err = sock->zmq != NULL ? DTQ_OK : DTQ_EAGAIN;

    while (err != DTQ_EAGAIN) {
        err = sock_recv(sock, c->now_ms, NULL, &msg);
        if (err != DTQ_OK)
            continue;
        on_message(c, s, &msg);
        dtqi_msg_done(&msg);
    }
}

/* Everybody is looked at now and then, since a send may swallow the sign of an arrival. */
static void look_at_all(struct crowd *c)
{
    for (uint32_t i = 0; i < c->begun; i++) {
        drain(c, &c->at[i], &c->at[i].control);
        drain(c, &c->at[i], &c->at[i].lane);
    }
    beat_all(c);
}

static void run_crowd(struct crowd *c, const char *endpoint)
{
    struct epoll_event events[EVENTS];
    uint64_t look_ms = 0;

    c->context = sock_context_new(2 * c->n + 16);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->at = calloc(c->n, sizeof *c->at);
    need(c->context != NULL && c->epoll >= 0 && c->at != NULL, "out of memory");
    for (;;) {
        int n = epoll_wait(c->epoll, events, EVENTS, 10);

        c->now_ms = proc_now_ms();
        while (c->begun < c->n && c->begun - c->there < ARRIVING_MAX)
            connect_control(c, c->begun++, endpoint);
        for (int i = 0; i < n; i++) {
            struct standin *s = &c->at[events[i].data.u64 / 2];

            drain(c, s, &s->lane);
            drain(c, s, &s->control);
        }
        if (c->now_ms - look_ms < LOOK_MS)
            continue;
        look_ms = c->now_ms;
        look_at_all(c);
    }
}

/* ---------------------------------------------------------------- measuring */

static pid_t start_crowd(uint32_t n, const char *endpoint)
{
    struct crowd crowd = {.n = n};
    pid_t parent = getpid();
    int there[2];
    char byte;
    pid_t pid;

    need(pipe(there) == 0, strerror(errno));
    crowd.tell = there[1];
    pid = fork();
    need(pid >= 0, strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            run_crowd(&crowd, endpoint);
        _exit(0);
    }
    close(there[1]);
    need(read(there[0], &byte, 1) == 1, "they did not come");
    close(there[0]);
    return pid;
}

struct figures {
    double cpu_us;
    double rate;
    double bytes; /* of memory, a session */
};

static void measure(uint32_t n, uint64_t tasks, struct figures *r)
{
    struct bed bed;
    struct load load;
    uint64_t before;
    uint64_t cpu_ns;
    double seconds;
    pid_t crowd;
    pid_t ventilator;

    bed_open(&bed, (struct bed_cfg){.slots = 1});
    ventilator = bed.members[BED_VENTILATOR].pid;
    before = gauge_anonymous_bytes(ventilator);
    crowd = start_crowd(n, bed.control);
    r->bytes = (double)(gauge_anonymous_bytes(ventilator) - before) / n;
    bed_connect_wide(&bed, OPEN_MAX);
    load = bed_noops(&bed);
    load.window = WINDOW;
    if (load_flow(&load, WARM_TASKS, false, &seconds) != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(bed.client));
    cpu_ns = gauge_cpu_ns(ventilator);
    if (load_flow(&load, tasks, false, &seconds) != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(bed.client));
    r->cpu_us = (double)(gauge_cpu_ns(ventilator) - cpu_ns) / 1000 / (double)tasks;
    r->rate = (double)tasks / seconds;
    kill(crowd, SIGKILL);
    waitpid(crowd, NULL, 0);
    bed_close(&bed);
}

void bench_f(const struct bench_opts *o)
{
    uint32_t sizes[] = {10, 100, 1000, CROWD_MAX};
    uint64_t tasks = o->tasks != 0 ? o->tasks : TASKS;
    struct figures r[4];

    if (proc_files_max() / FILES_EACH < CROWD_MAX) {
        sizes[3] = (uint32_t)(proc_files_max() / FILES_EACH);
        report_say("with %llu open files there can be %u workers only (ulimit -n)",
                   (unsigned long long)proc_files_max(), sizes[3]);
    }
    report_say("%8s %14s %12s %14s %8s", "workers", "CPU us/task", "tasks/s", "bytes/session",
               "others");
    for (int i = 0; i < 4; i++) {
        double others = bench_calm(o);

        measure(sizes[i], tasks, &r[i]);
        report_say("%8u %14.3f %12.0f %14.0f %8.2f", sizes[i], r[i].cpu_us, r[i].rate, r[i].bytes,
                   others);
        report_line("crowd", json_pack("{s:i, s:f, s:f, s:f, s:f}", "workers", (int)sizes[i],
                                       "cpu_us", r[i].cpu_us, "per_second", r[i].rate, "bytes",
                                       r[i].bytes, "others_processors", others));
    }
    report_verdict("ventilator's CPU, most to 10 workers", r[3].cpu_us / r[0].cpu_us, "x", false,
                   2);
    report_verdict("memory of a session, at most workers", r[3].bytes / 1000, "kB", false, 100);
}
