#include "fake_cluster.h"

#include "bounds.h"
#include "codec.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <zmq.h>

#define TASKS_MAX 40000u
#define FOLLOWERS_MAX 64u
#define ENDPOINT_BYTES 64

/* The test must not go on when its own machinery fails. */
#define MUST(what)                                                                 \
    do {                                                                           \
        if (!(what)) {                                                             \
            fprintf(stderr, "fake_cluster.c:%d: " #what " failed: %s\n", __LINE__, \
                    zmq_strerror(errno));                                          \
            abort();                                                               \
        }                                                                          \
    } while (0)

struct route {
    uint8_t bytes[5];
};

struct task {
    dtq_id id;
    uint64_t reply_to;
    bool is_done;
    bool is_cancelled;
    char *body;
    uint32_t body_bytes;
    struct route waiter;
    bool has_waiter;
};

struct follower {
    uint64_t reply_to;
    struct route route;
};

enum order {
    ORDER_NONE,
    ORDER_STOP,
    ORDER_RESTART_VENT,
    ORDER_STOP_VENT,
    ORDER_RESTART_SINK,
    ORDER_RUN
};

struct fake_cluster {
    struct fake_flags flags;
    void *ctx;
    void *vent; /* NULL while it is stopped */
    void *sink;
    void *orders; /* PAIR, the thread's end */
    void *control;
    char vent_endpoint[ENDPOINT_BYTES];
    char sink_endpoint[ENDPOINT_BYTES];
    pthread_t thread;
    struct task *tasks;
    uint32_t tasks_n;
    struct follower followers[FOLLOWERS_MAX];
    uint32_t followers_n;
};

static const dtqi_uid vent_store = {{'V'}};
static const dtqi_uid sink_store = {{'A'}};

/* ---------------------------------------------------------------- messages */

static void *place(void *arg, size_t bytes)
{
    MUST(zmq_msg_init_size(arg, bytes) == 0);
    return zmq_msg_data(arg);
}

static void send_to(void *socket, const struct route *to, const struct dtqi_msg *msg)
{
    zmq_msg_t frame;

    MUST(dtqi_encode(msg, place, &frame) == DTQ_OK);
    if (zmq_send(socket, to->bytes, sizeof to->bytes, ZMQ_SNDMORE) < 0 ||
        zmq_msg_send(&frame, socket, 0) < 0)
        zmq_msg_close(&frame); /* the peer is gone */
}

static void send_garbage(void *socket, const struct route *to)
{
    static const char broken[] = {(char)0xd7, 1, 2, 0, (char)0xff, (char)0xff};

    zmq_send(socket, to->bytes, sizeof to->bytes, ZMQ_SNDMORE);
    zmq_send(socket, "", 0, 0);
    zmq_send(socket, to->bytes, sizeof to->bytes, ZMQ_SNDMORE);
    zmq_send(socket, broken, sizeof broken, 0);
    zmq_send(socket, to->bytes, sizeof to->bytes, ZMQ_SNDMORE);
    zmq_send(socket, broken, sizeof broken, ZMQ_SNDMORE);
    zmq_send(socket, "more", 4, 0);
}

static struct task *find(struct fake_cluster *f, const dtq_id *id)
{
    for (uint32_t i = f->tasks_n; i-- > 0;)
        if (dtqi_id_eq(&f->tasks[i].id, id))
            return &f->tasks[i];
    return NULL;
}

/* ---------------------------------------------------------------- the sink */

static void send_page(struct fake_cluster *f, const struct route *to, uint64_t request,
                      const dtq_id *ids, const uint32_t *kinds, const struct dtqi_slice *bodies,
                      uint32_t n)
{
    struct dtqi_str worker = dtqi_str("fake-worker");
    struct dtqi_msg msg = {.type = DTQI_RESULTS,
                           .results = {.sink = sink_store,
                                       .request = request,
                                       .n = n,
                                       .ids = ids,
                                       .kinds = kinds,
                                       .workers = &worker,
                                       .workers_n = 1,
                                       .bodies = bodies}};

    send_to(f->sink, to, &msg);
}

/* What is known of these, in messages of some 256 KiB. */
static void send_results(struct fake_cluster *f, const struct route *to, uint64_t request,
                         const dtq_id *ids, uint32_t n)
{
    uint32_t *kinds = calloc(n, sizeof *kinds);
    struct dtqi_slice *bodies = calloc(n, sizeof *bodies);
    uint32_t first = 0;
    size_t bytes = 0;

    MUST(kinds != NULL && bodies != NULL);
    for (uint32_t i = 0; i < n; i++) {
        const struct task *t = find(f, &ids[i]);

        if (t != NULL && t->is_done) {
            kinds[i] = t->is_cancelled ? DTQ_CANCELLED : DTQ_SUCCEEDED;
            bodies[i] = (struct dtqi_slice){t->body, t->body_bytes};
        }
        bytes += bodies[i].len;
        if (bytes < DTQI_BATCH_BYTES_MAX && i + 1 < n)
            continue;
        send_page(f, to, request, &ids[first], &kinds[first], &bodies[first], i + 1 - first);
        first = i + 1;
        bytes = 0;
    }
    free(kinds);
    free(bodies);
}

static const struct route *follower_of(const struct fake_cluster *f, uint64_t reply_to)
{
    for (uint32_t i = f->followers_n; i-- > 0;)
        if (f->followers[i].reply_to == reply_to || f->followers[i].reply_to == 0)
            return &f->followers[i].route;
    return NULL;
}

static void finish(struct fake_cluster *f, struct task *t)
{
    const struct route *follower = follower_of(f, t->reply_to);
    uint32_t bytes = f->flags.result_bytes;

    t->is_done = true;
    if (bytes != 0) {
        free(t->body);
        t->body = malloc(bytes);
        MUST(t->body != NULL);
        memset(t->body, 'r', bytes);
        t->body_bytes = bytes;
    }
    if (follower != NULL && !f->flags.push_nothing)
        send_results(f, follower, 0, &t->id, 1);
    if (t->has_waiter)
        send_results(f, &t->waiter, 0, &t->id, 1);
    t->has_waiter = false;
}

static void on_wait(struct fake_cluster *f, const struct route *from, const struct dtqi_wait *w)
{
    f->flags.waits++;
    if (w->once) {
        send_results(f, from, w->request, w->ids, w->n);
        return;
    }
    for (uint32_t i = 0; i < w->n; i++) {
        struct task *t = find(f, &w->ids[i]);

        if (t != NULL && t->is_done) {
            send_results(f, from, w->request, &w->ids[i], 1);
        } else if (t != NULL) {
            t->waiter = *from;
            t->has_waiter = true;
        }
    }
}

/* One page: all that are done, in the order in which they came. */
static void on_results_query(struct fake_cluster *f, const struct route *from,
                             const struct dtqi_results_query *q)
{
    dtq_id *ids = calloc(f->tasks_n + 1, sizeof *ids);
    struct dtqi_slice *bodies = calloc(f->tasks_n + 1, sizeof *bodies);
    struct dtqi_msg msg = {
        .type = DTQI_RESULTS_REPLY,
        .results_reply = {.request = q->request,
                          .held = f->tasks_n,
                          .results = {.sink = sink_store, .ids = ids, .bodies = bodies}}};
    struct dtqi_results *m = &msg.results_reply.results;

    MUST(ids != NULL && bodies != NULL);
    for (uint32_t i = 0; i < f->tasks_n; i++) {
        const struct task *t = &f->tasks[i];

        if (!t->is_done || (q->has_after && memcmp(t->id.bytes, q->after.bytes, 16) <= 0) ||
            memcmp(t->id.bytes, q->prefix.bytes, q->prefix_bits / 8) != 0)
            continue;
        if (m->n == q->limit) {
            msg.results_reply.has_next = true;
            msg.results_reply.next = ids[m->n - 1];
            break;
        }
        bodies[m->n] = (struct dtqi_slice){t->body, t->body_bytes};
        ids[m->n++] = t->id;
    }
    send_to(f->sink, from, &msg);
    free(ids);
    free(bodies);
}

static void on_sink_message(struct fake_cluster *f, const struct route *from,
                            const struct dtqi_msg *msg)
{
    if (f->flags.deaf_sink)
        return;
    if (msg->type == DTQI_FOLLOW) {
        f->flags.follows++;
        if (f->followers_n == FOLLOWERS_MAX) /* of clients that were closed long ago */
            memmove(f->followers, f->followers + 1, --f->followers_n * sizeof *f->followers);
        f->followers[f->followers_n++] = (struct follower){msg->follow.reply_to, *from};
    } else if (msg->type == DTQI_WAIT) {
        on_wait(f, from, &msg->wait);
    } else if (msg->type == DTQI_RESULTS_QUERY) {
        on_results_query(f, from, &msg->results_query);
    }
}

/* ---------------------------------------------------------------- the ventilator */

static void on_hello(struct fake_cluster *f, const struct route *from)
{
    struct dtqi_sink_info sink = {.store = sink_store,
                                  .intake = dtqi_str("tcp://127.0.0.1:1"),
                                  .results = dtqi_str(f->sink_endpoint),
                                  .reachable = true};
    struct dtqi_msg msg = {.type = DTQI_WELCOME,
                           .welcome = {.version = DTQI_PROTOCOL_VERSION,
                                       .store = vent_store,
                                       .epoch = 1,
                                       .session = 1,
                                       .wall_ms = 1800000000000ull,
                                       .heartbeat_ms = 1000,
                                       .liveness = 3,
                                       .sinks = &sink,
                                       .sinks_n = 1,
                                       .task_bytes_max = 8u << 20,
                                       .result_bytes_max = 4u << 20}};

    f->flags.hellos++;
    if (f->flags.refuse_hello != 0)
        msg = (struct dtqi_msg){
            .type = DTQI_REFUSED,
            .refused = {(enum dtqi_refusal)f->flags.refuse_hello, dtqi_str("not you"), 1, 1}};
    send_to(f->vent, from, &msg);
}

static void accept_task(struct fake_cluster *f, const struct dtqi_submit *s, uint32_t i)
{
    struct task *t = find(f, &s->ids[i]);

    if (t != NULL)
        return;
    MUST(f->tasks_n < TASKS_MAX);
    t = &f->tasks[f->tasks_n++];
    *t = (struct task){.id = s->ids[i], .reply_to = s->reply_to, .body_bytes = s->bodies[i].len};
    t->body = malloc(t->body_bytes + 1);
    MUST(t->body != NULL);
    if (t->body_bytes != 0)
        memcpy(t->body, s->bodies[i].at, t->body_bytes);
    f->flags.tasks++;
    if (!f->flags.hold_results)
        finish(f, t);
}

static void on_submit(struct fake_cluster *f, const struct route *from, const struct dtqi_submit *s)
{
    uint32_t index[4096];
    uint32_t reason[4096];
    struct dtqi_str text[4096];
    struct dtqi_msg msg = {.type = DTQI_SUBMITTED,
                           .submitted = {.request = s->request,
                                         .refused_index = index,
                                         .refused_reason = reason,
                                         .refused_text = text}};

    f->flags.submits++;
    f->flags.resends += s->resend;
    if (f->flags.mute)
        return;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t why = (uint32_t)f->flags.refuse_tasks;

        if (why == 0) {
            accept_task(f, s, i);
            continue;
        }
        index[msg.submitted.refused_n] = i;
        reason[msg.submitted.refused_n] = why;
        text[msg.submitted.refused_n++] = dtqi_str("no such luck");
    }
    send_to(f->vent, from, &msg);
}

static void on_query(struct fake_cluster *f, const struct route *from, const struct dtqi_query *q)
{
    struct dtqi_counter counter = {dtqi_str("tasks_submitted"), f->tasks_n};
    struct dtqi_queue_info queue = {.name = dtqi_str("default"), .ready = f->tasks_n};
    struct dtqi_str served = dtqi_str("default");
    struct dtqi_worker_info worker = {.name = dtqi_str("w1"),
                                      .slots = 2,
                                      .queues = &served,
                                      .queues_n = 1,
                                      .program = dtqi_str("fake 1")};
    struct dtqi_buf *buf = dtqi_buf_new(1024, 1u << 20);
    struct dtqi_spec spec = {.name = dtqi_str("name"), .queue = dtqi_str("default")};
    struct dtqi_task_info tasks[2];
    struct dtqi_msg msg = {.type = DTQI_QUERY_REPLY,
                           .query_reply = {.request = q->request, .tasks = tasks}};

    spec.raw = dtqi_spec_encode(&spec, buf);
    if (q->kind == DTQI_QUERY_STATUS) {
        msg.query_reply.counters = &counter;
        msg.query_reply.counters_n = 1;
    }
    if (q->kind == DTQI_QUERY_STATUS || q->kind == DTQI_QUERY_QUEUES) {
        msg.query_reply.queues = &queue;
        msg.query_reply.queues_n = 1;
    }
    if (q->kind == DTQI_QUERY_STATUS || q->kind == DTQI_QUERY_WORKERS) {
        msg.query_reply.workers = &worker;
        msg.query_reply.workers_n = 1;
    }
    for (uint32_t i = 0; i < f->tasks_n && msg.query_reply.tasks_n < 2; i++) {
        const struct task *t = &f->tasks[i];

        if ((q->kind == DTQI_QUERY_TASK || q->kind == DTQI_QUERY_TASKS) && !t->is_done &&
            memcmp(t->id.bytes, q->prefix.bytes, q->prefix_bits / 8) == 0 &&
            (q->after.len == 0 || memcmp(t->id.bytes, q->after.at, 16) > 0))
            tasks[msg.query_reply.tasks_n++] =
                (struct dtqi_task_info){.id = t->id, .spec = spec, .state = DTQ_READY};
    }
    if (q->kind == DTQI_QUERY_TASKS && msg.query_reply.tasks_n == 2)
        msg.query_reply.next = (struct dtqi_slice){tasks[1].id.bytes, 16};
    send_to(f->vent, from, &msg);
    dtqi_buf_unref(buf);
}

static void on_cancel(struct fake_cluster *f, const struct route *from, const struct dtqi_cancel *m)
{
    uint32_t *states = calloc(m->n, sizeof *states);
    uint32_t *cancelling = calloc(m->n, sizeof *cancelling);
    struct dtqi_msg msg = {
        .type = DTQI_CANCEL_REPLY,
        .cancel_reply = {
            .request = m->request, .n = m->n, .states = states, .cancelling = cancelling}};

    MUST(states != NULL && cancelling != NULL);
    f->flags.cancels++;
    for (uint32_t i = 0; i < m->n; i++) {
        struct task *t = find(f, &m->ids[i]);

        if (t != NULL && t->is_done && f->flags.forget_done)
            t = NULL;
        states[i] = t == NULL ? DTQ_NOT_FOUND : t->is_done ? DTQ_SUCCEEDED : DTQ_READY;
        cancelling[i] = states[i] == DTQ_READY;
        if (cancelling[i]) {
            t->is_cancelled = true;
            finish(f, t);
        }
    }
    send_to(f->vent, from, &msg);
    free(states);
    free(cancelling);
}

static void on_vent_message(struct fake_cluster *f, const struct route *from,
                            const struct dtqi_msg *msg)
{
    if (f->flags.garbage)
        send_garbage(f->vent, from);
    if (msg->type == DTQI_HELLO)
        on_hello(f, from);
    else if (msg->type == DTQI_SUBMIT)
        on_submit(f, from, &msg->submit);
    else if (msg->type == DTQI_QUERY)
        on_query(f, from, &msg->query);
    else if (msg->type == DTQI_CANCEL)
        on_cancel(f, from, &msg->cancel);
}

/* ---------------------------------------------------------------- sockets and the thread */

static void *bind_router(struct fake_cluster *f, char endpoint[ENDPOINT_BYTES])
{
    void *socket = zmq_socket(f->ctx, ZMQ_ROUTER);
    size_t size = ENDPOINT_BYTES;
    int zero = 0;
    int one = 1;

    MUST(socket != NULL);
    MUST(zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero) == 0);
    MUST(zmq_setsockopt(socket, ZMQ_SNDHWM, &zero, sizeof zero) == 0);
    MUST(zmq_setsockopt(socket, ZMQ_RCVHWM, &zero, sizeof zero) == 0);
    MUST(zmq_setsockopt(socket, ZMQ_ROUTER_MANDATORY, &one, sizeof one) == 0);
    while (zmq_bind(socket, endpoint[0] != 0 ? endpoint : "tcp://127.0.0.1:*") != 0)
        MUST(errno == EADDRINUSE); /* the old socket is closed by another thread */
    MUST(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size) == 0);
    return socket;
}

typedef void on_message(struct fake_cluster *f, const struct route *from,
                        const struct dtqi_msg *msg);

static void read_all(struct fake_cluster *f, void **socket, on_message *handle)
{
    struct route from;

    while (*socket != NULL &&
           zmq_recv(*socket, from.bytes, sizeof from.bytes, ZMQ_DONTWAIT) == sizeof from.bytes) {
        struct dtqi_msg msg;
        zmq_msg_t frame;
        char why[256];

        MUST(zmq_msg_init(&frame) == 0);
        MUST(zmq_msg_recv(&frame, *socket, 0) >= 0);
        if (dtqi_decode(zmq_msg_data(&frame), zmq_msg_size(&frame), &msg, why, sizeof why) !=
            DTQ_OK) {
            fprintf(stderr, "fake_cluster: %s\n", why);
            abort();
        }
        handle(f, &from, &msg);
        dtqi_msg_done(&msg);
        zmq_msg_close(&frame);
    }
}

static void close_router(void **socket)
{
    if (*socket != NULL)
        zmq_close(*socket);
    *socket = NULL;
}

static void obey(struct fake_cluster *f, enum order order)
{
    switch (order) {
    case ORDER_NONE:
    case ORDER_STOP: break;
    case ORDER_STOP_VENT: close_router(&f->vent); break;
    case ORDER_RESTART_VENT:
        close_router(&f->vent);
        f->vent = bind_router(f, f->vent_endpoint);
        break;
    case ORDER_RESTART_SINK:
        close_router(&f->sink);
        f->followers_n = 0;
        f->sink = bind_router(f, f->sink_endpoint);
        break;
    case ORDER_RUN:
        for (uint32_t i = 0; i < f->tasks_n; i++)
            if (!f->tasks[i].is_done)
                finish(f, &f->tasks[i]);
        break;
    }
}

static void *run(void *arg)
{
    struct fake_cluster *f = arg;
    enum order order = ORDER_NONE;

    while (order != ORDER_STOP) {
        zmq_pollitem_t items[] = {{f->orders, 0, ZMQ_POLLIN, 0},
                                  {f->sink, 0, ZMQ_POLLIN, 0},
                                  {f->vent, 0, ZMQ_POLLIN, 0}};

        MUST(zmq_poll(items, f->vent != NULL ? 3 : 2, -1) >= 0 || errno == EINTR);
        read_all(f, &f->sink, on_sink_message);
        read_all(f, &f->vent, on_vent_message);
        if (zmq_recv(f->orders, &order, sizeof order, ZMQ_DONTWAIT) == sizeof order) {
            obey(f, order);
            MUST(zmq_send(f->orders, "", 0, 0) == 0);
        }
    }
    close_router(&f->vent);
    close_router(&f->sink);
    return NULL;
}

static void tell(struct fake_cluster *f, enum order order)
{
    char none;

    MUST(zmq_send(f->control, &order, sizeof order, 0) == sizeof order);
    MUST(zmq_recv(f->control, &none, sizeof none, 0) == 0);
}

struct fake_cluster *fake_cluster_open(void)
{
    struct fake_cluster *f = calloc(1, sizeof *f);

    MUST(f != NULL);
    f->tasks = calloc(TASKS_MAX, sizeof *f->tasks);
    f->ctx = zmq_ctx_new();
    MUST(f->tasks != NULL && f->ctx != NULL);
    f->vent = bind_router(f, f->vent_endpoint);
    f->sink = bind_router(f, f->sink_endpoint);
    f->orders = zmq_socket(f->ctx, ZMQ_PAIR);
    f->control = zmq_socket(f->ctx, ZMQ_PAIR);
    MUST(zmq_bind(f->orders, "inproc://orders") == 0);
    MUST(zmq_connect(f->control, "inproc://orders") == 0);
    MUST(pthread_create(&f->thread, NULL, run, f) == 0);
    return f;
}

void fake_cluster_close(struct fake_cluster *f)
{
    tell(f, ORDER_STOP);
    MUST(pthread_join(f->thread, NULL) == 0);
    zmq_close(f->orders);
    zmq_close(f->control);
    zmq_ctx_term(f->ctx);
    for (uint32_t i = 0; i < f->tasks_n; i++)
        free(f->tasks[i].body);
    free(f->tasks);
    free(f);
}

const char *fake_cluster_endpoint(const struct fake_cluster *f)
{
    return f->vent_endpoint;
}

struct fake_flags *fake_cluster_flags(struct fake_cluster *f)
{
    return &f->flags;
}

void fake_cluster_restart_ventilator(struct fake_cluster *f)
{
    tell(f, ORDER_RESTART_VENT);
}

void fake_cluster_stop_ventilator(struct fake_cluster *f)
{
    tell(f, ORDER_STOP_VENT);
}

void fake_cluster_restart_sink(struct fake_cluster *f)
{
    tell(f, ORDER_RESTART_SINK);
}

void fake_cluster_run(struct fake_cluster *f)
{
    tell(f, ORDER_RUN);
}
