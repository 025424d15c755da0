/*
 * Peers that want to use up what a process has: connections that say nothing, messages without end,
 * answers that are never read, tasks by the hundred thousand. Memory and open files stay within
 * bounds, and a good client is served meanwhile.
 */
#include "cluster.h"
#include "raw.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024ull * 1024)
#define SERVED_MS (10000ull * DTQ_SLOWNESS)
#define CONNECTIONS 1000

/* A task is submitted, run, and its result is here, within a bound. */
static void expect_served(struct cluster *c)
{
    uint64_t start_ms = clock_ms();

    assert_string_equal(dtq_expect(c, 0, NULL, "submit", "echo", "fine", "--wait", NULL), "fine\n");
    assert_in_range(clock_ms() - start_ms, 0, SERVED_MS);
    assert_true(run_is_alive(c->ventilator));
    assert_true(run_is_alive(c->sink));
}

static int open_producer(struct cluster *c, struct dtqi_msg *ret_welcome)
{
    int fd = raw_open(c->control, "DEALER");
    struct dtqi_msg msg = {.type = DTQI_HELLO,
                           .hello = {.version_min = 1,
                                     .version_max = 1,
                                     .role = DTQI_ROLE_PRODUCER,
                                     .instance = {{77}},
                                     .name = dtqi_str("flood")}};

    assert_true(raw_send(fd, &msg));
    assert_true(raw_recv(fd, ret_welcome, RAW_WAIT_MS));
    assert_int_equal(ret_welcome->type, DTQI_WELCOME);
    return fd;
}

/* ---- endless messages */

/* As much of one message as the other side takes, up to `bytes_max`. */
static uint64_t send_endless(int fd, uint64_t bytes_max)
{
    static const char part[100000];
    uint64_t sent = 0;

    while (sent < bytes_max && raw_frame(fd, RAW_MORE, part, sizeof part))
        sent += sizeof part;
    return sent;
}

static void expect_cut(struct cluster *c, const char *endpoint, const char *type, pid_t pid)
{
    int fd = raw_open(endpoint, type);
    uint64_t sent = send_endless(fd, 16384 * MIB);

    if (sent >= 16384 * MIB)
        fail_msg("16 GiB of one message were taken");
    /* What comes before the next look is taken; it is given back soon. */
    assert_in_range(process_rss_bytes(pid), 0, 2048 * MIB);
    assert_true(raw_is_closed(fd, RAW_WAIT_MS));
    close(fd);
    expect_served(c);
}

static void connections_that_never_end_a_message_are_cut(void **state)
{
    struct cluster *c = *state;

    cluster_start(c);
    expect_cut(c, c->control, "DEALER", c->ventilator->pid);
    expect_cut(c, c->intake, "PUSH", c->sink->pid);
    expect_cut(c, c->results, "DEALER", c->sink->pid);
}

/* ---- connections that say nothing */

/* As many as a process may have. */
static void raise_files_limit(void)
{
    struct rlimit files;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
}

struct crowd {
    int fds[CONNECTIONS];
    unsigned n;
};

/* @param talk  up to and with the handshake, else nothing */
static void crowd_add(struct crowd *crowd, const char *endpoint, const char *type, unsigned n,
                      bool talk)
{
    for (unsigned i = 0; i < n && crowd->n < CONNECTIONS; i++) {
        int fd = talk ? raw_open(endpoint, type) : raw_connect(endpoint);

        assert_true(fd >= 0);
        crowd->fds[crowd->n++] = fd;
    }
}

static void crowd_close(struct crowd *crowd)
{
    for (unsigned i = 0; i < crowd->n; i++)
        close(crowd->fds[i]);
    crowd->n = 0;
}

/* The other side has closed them all. */
static void expect_all_closed(const struct crowd *crowd)
{
    for (unsigned i = 0; i < crowd->n; i++)
        assert_true(raw_is_closed(crowd->fds[i], RAW_WAIT_MS));
}

static void a_crowd_that_never_shakes_hands_is_shown_out(void **state)
{
    struct cluster *c = *state;
    struct crowd crowd = {.n = 0};
    unsigned before;

    raise_files_limit();
    cluster_start(c);
    before = process_files(c->ventilator->pid);
    crowd_add(&crowd, c->control, NULL, CONNECTIONS / 3, false);
    crowd_add(&crowd, c->intake, NULL, CONNECTIONS / 3, false);
    crowd_add(&crowd, c->results, NULL, CONNECTIONS / 3, false);
    expect_served(c);
    expect_all_closed(&crowd);
    crowd_close(&crowd);
    assert_in_range(process_files(c->ventilator->pid), 0, before + 20);
    expect_served(c);
}

static void limit_files(pid_t pid, rlim_t files)
{
    struct rlimit limit = {files, files};

    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

/* More come than there are files, some that shake hands, none that says anything: who was there
 * goes on, who is silent is shown out, who comes is let in, and no thread spins at what it cannot
 * take. */
static void open_files_that_run_out_are_taken_from_the_silent(void **state)
{
    struct cluster *c = *state;
    struct crowd crowd = {.n = 0};
    struct run *worker;
    uint64_t cpu_ms;

    raise_files_limit();
    worker = cluster_start(c);
    limit_files(c->ventilator->pid, process_files(c->ventilator->pid) + 60);
    limit_files(c->sink->pid, process_files(c->sink->pid) + 60);
    cpu_ms = process_cpu_ms(c->ventilator->pid) + process_cpu_ms(c->sink->pid);
    crowd_add(&crowd, c->control, "DEALER", 50, true);
    crowd_add(&crowd, c->intake, "PUSH", 50, true);
    crowd_add(&crowd, c->control, NULL, 100, false);
    crowd_add(&crowd, c->intake, NULL, 100, false);
    expect_served(c);
    expect_all_closed(&crowd);
    cpu_ms = process_cpu_ms(c->ventilator->pid) + process_cpu_ms(c->sink->pid) - cpu_ms;
    crowd_close(&crowd);
    expect_served(c);
    assert_in_range(cpu_ms, 0, 3000 * DTQ_SLOWNESS);
    assert_true(run_is_alive(worker));
}

/* ---- never reading */

#define UNREAD 20000

/* So many lines of text, each a number. */
static void submit_lines(struct cluster *c, unsigned n)
{
    char *lines = malloc(n * 12ul);
    size_t bytes = 0;

    assert_non_null(lines);
    for (unsigned i = 0; i < n; i++)
        bytes += (size_t)sprintf(lines + bytes, "%u\n", i);
    dtq_expect(c, 0, lines, "submit", "--each-line", "-", "echo", NULL);
    free(lines);
}

static void answers_that_are_not_read_do_not_pile_up(void **state)
{
    struct cluster *c = *state;
    struct dtqi_msg msg;
    int fd;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    submit_lines(c, 3000);
    fd = open_producer(c, &msg);
    dtqi_msg_done(&msg);
    for (uint64_t n = 1; n <= UNREAD / DTQ_SLOWNESS; n++) {
        msg = (struct dtqi_msg){.type = DTQI_QUERY,
                                .query = {.request = n, .kind = DTQI_QUERY_TASKS, .limit = 1000}};
        if (!raw_send(fd, &msg))
            break; /* it was shown out: just as well */
    }
    cluster_start_worker(c, "--module", HANDLERS_MODULE, NULL);
    expect_served(c);
    assert_in_range(process_rss_bytes(c->ventilator->pid), 0, 512 * MIB);
    close(fd);
}

static void results_that_are_not_read_do_not_pile_up(void **state)
{
    struct cluster *c = *state;
    struct dtqi_msg msg = {.type = DTQI_FOLLOW}; /* of all results */
    int followers[8];

    cluster_start(c);
    for (int i = 0; i < 8; i++) {
        followers[i] = raw_open(c->results, "DEALER");
        assert_true(raw_send(followers[i], &msg));
    }
    for (int i = 0; i < 4; i++)
        submit_lines(c, 10000 / DTQ_SLOWNESS);
    expect_served(c);
    assert_in_range(process_rss_bytes(c->sink->pid), 0, 512 * MIB);
    for (int i = 0; i < 8; i++)
        close(followers[i]);
}

/* ---- tasks by the hundred thousand */

#define FLOOD_TASKS (400000u / DTQ_SLOWNESS / DTQ_SLOWNESS)
#define FLOOD_BATCH 4096u

static dtq_id id_at(uint64_t wall_ms, uint32_t number)
{
    dtq_id id = {{0}};

    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
    id.bytes[6] = 0x70;
    id.bytes[8] = 0x80;
    for (int i = 0; i < 4; i++)
        id.bytes[12 + i] = (uint8_t)(number >> (24 - 8 * i));
    return id;
}

static void send_flood(int fd, const struct dtqi_welcome *w)
{
    static dtq_id ids[FLOOD_BATCH];
    static struct dtqi_slice bodies[FLOOD_BATCH];
    struct dtqi_buf *buf = dtqi_buf_new(1024, SIZE_MAX);
    struct dtqi_spec spec = {.name = dtqi_str("echo"), .queue = dtqi_str("flood")};
    struct dtqi_msg msg = {.type = DTQI_SUBMIT};

    assert_non_null(buf);
    spec.raw = dtqi_spec_encode(&spec, buf);
    for (uint32_t first = 0; first < FLOOD_TASKS; first += FLOOD_BATCH) {
        for (uint32_t i = 0; i < FLOOD_BATCH; i++) {
            ids[i] = id_at(w->wall_ms, first + i);
            bodies[i] = (struct dtqi_slice){"payload", 7};
        }
        msg.submit = (struct dtqi_submit){.request = first + 1,
                                          .n = FLOOD_BATCH,
                                          .ids = ids,
                                          .sink = w->sinks[0].store,
                                          .specs = &spec,
                                          .specs_n = 1,
                                          .bodies = bodies};
        if (!raw_send(fd, &msg))
            break;
    }
    dtqi_buf_unref(buf);
}

static void a_producer_that_floods_does_not_keep_others_from_being_served(void **state)
{
    struct cluster *c = *state;
    struct dtqi_msg msg;
    int fd;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    cluster_start_worker(c, "--module", HANDLERS_MODULE, "--queues=default", NULL);
    expect_served(c); /* the sink is known from here on */
    fd = open_producer(c, &msg);
    assert_true(msg.welcome.sinks_n == 1);
    send_flood(fd, &msg.welcome);
    expect_served(c);
    dtqi_msg_done(&msg);
    /* 256 MiB of tasks in memory at most, and what a journal of this size maps. */
    assert_in_range(process_rss_bytes(c->ventilator->pid), 0, 1024 * MIB);
    close(fd);
    expect_served(c);
}

/* ---- outcomes without end */

/* The same ones over and over: each is looked up, and only the first of each is kept. */
static void send_outcomes(int fd, const struct dtqi_welcome *w)
{
    static dtq_id ids[512];
    static struct dtqi_slice bodies[512];
    static uint64_t started[512];
    struct dtqi_buf *buf = dtqi_buf_new(1024, SIZE_MAX);
    struct dtqi_spec spec = {.name = dtqi_str("echo"), .queue = dtqi_str("flood")};
    struct dtqi_msg msg = {.type = DTQI_OUTCOMES};

    spec.raw = dtqi_spec_encode(&spec, buf);
    for (uint32_t i = 0; i < 512; i++) {
        ids[i] = id_at(w->wall_ms, i);
        bodies[i] = (struct dtqi_slice){"payload", 7};
    }
    msg.outcomes = (struct dtqi_outcomes){.ventilator = w->store,
                                          .epoch = w->epoch,
                                          .worker = dtqi_str("w"),
                                          .heard_wall_ms = w->wall_ms,
                                          .sink = w->sinks[0].store,
                                          .n = 512,
                                          .ids = ids,
                                          .specs = &spec,
                                          .specs_n = 1,
                                          .started_wall_ms = started,
                                          .bodies = bodies};
    while (raw_send(fd, &msg))
        ;
}

static void one_that_floods_a_sink_does_not_keep_the_results_of_others_out(void **state)
{
    struct cluster *c = *state;
    struct dtqi_msg msg;
    pid_t child;
    int status;
    int fd;

    cluster_start(c);
    expect_served(c);
    close(open_producer(c, &msg));
    fd = raw_open(c->intake, "PUSH");
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        send_outcomes(fd, &msg.welcome);
        _exit(0);
    }
    for (int i = 0; i < 10; i++)
        expect_served(c);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status)); /* it was still at it */
    expect_in(c->sink, dtq_expect(c, 0, NULL, "results", "--limit", "0", "--json", NULL),
              "\"queue\":\"flood\"");
    assert_in_range(process_rss_bytes(c->sink->pid), 0, 512 * MIB * DTQ_SLOWNESS);
    close(fd);
    dtqi_msg_done(&msg);
    expect_served(c);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(connections_that_never_end_a_message_are_cut),
        STORY(a_crowd_that_never_shakes_hands_is_shown_out),
        STORY(open_files_that_run_out_are_taken_from_the_silent),
        STORY(answers_that_are_not_read_do_not_pile_up),
        STORY(results_that_are_not_read_do_not_pile_up),
        STORY(a_producer_that_floods_does_not_keep_others_from_being_served),
        STORY(one_that_floods_a_sink_does_not_keep_the_results_of_others_out),
    };

    return RUN_STORIES(argc, argv, tests);
}
