#include "sim_parts.h"

#include "store_memory.h"

#include <stdio.h>

/* A sink's shell: as sink_io.c, on simulated sockets. */

static bool open_store(struct sim *s, struct node *n)
{
    struct store_cfg cfg = {.map_bytes_max = 1ull << 30, .durability = STORE_SYNC};
    struct store *old = n->disk.store;
    dtq_err err;

    if (old == NULL) {
        results_store_cfg(&cfg);
        n->disk.uid = sim_uid(s);
        err = store_open_memory(&cfg, &n->disk.uid, &n->disk.store);
    } else {
        err = store_memory_clone(old, &n->disk.store);
        store_close(old);
    }
    if (err != DTQ_OK)
        return false;
    if (n->disk.limit_bytes != UINT64_MAX)
        store_memory_set_limit(n->disk.store, n->disk.limit_bytes);
    return true;
}

bool sink_start(struct sim *s, struct node *n)
{
    struct results_cfg results = {DTQI_RESULT_TTL_MS, DTQI_OUTCOME_MEMORY_MS};
    struct sink_cfg *cfg;
    struct host_time now = sim_host(s, n);
    dtqi_uid run = sim_uid(s);
    char why[200];

    memset(&n->sink, 0, sizeof n->sink);
    if (!open_store(s, n))
        return false;
    if (results_open(n->disk.store, &results, &run, &n->sink.results, why, sizeof why) != DTQ_OK) {
        trace(s, "%s cannot open its results: %s", n->name, why);
        return false;
    }
    results_start_clock(n->sink.results, &now, &n->clock);
    check_sink_started(s, n);
    snprintf(n->sink.intake, sizeof n->sink.intake, "tcp://%s:5571", n->name);
    snprintf(n->sink.results_at, sizeof n->sink.results_at, "tcp://%s:5572", n->name);
    cfg = &n->sink.cfg;
    sink_cfg_init(cfg);
    cfg->store = n->disk.uid;
    cfg->run = run;
    cfg->instance = sim_uid(s);
    cfg->name = n->name;
    cfg->program = "dtq-sink";
    cfg->intake = n->sink.intake;
    cfg->results = n->sink.results_at;
    if (s->cfg.small) {
        cfg->batch_entries_max = 4;
        cfg->intake_bytes_max = 4000;
        cfg->settle_window = 6;
        cfg->reads_max = 64;
    }
    if (sink_new(cfg, &n->sink.core) != DTQ_OK)
        return false;
    net_open(s, n, PORT_CONTROL, CONN_CONTROL, &s->nodes[VENT], 5570);
    return true;
}

void sink_drop(struct sim *s, struct node *n)
{
    (void)s;
    sink_actions_done(&n->sink.actions);
    sink_free(n->sink.core);
    n->sink.core = NULL;
    results_close(n->sink.results);
    n->sink.results = NULL;
}

/* ---------------------------------------------------------------- actions */

static void write_log(struct sim *s, const struct node *n, const struct sink_log *l)
{
    char text[600] = "";
    size_t at = 0;

    for (uint32_t i = 0; i < l->pairs_n; i++)
        touch_str(l->pairs[i].text);
    if (!s->cfg.trace)
        return;
    for (uint32_t i = 0; i < l->pairs_n && at < sizeof text; i++) {
        const struct sink_log_pair *p = &l->pairs[i];

        if (p->text.at != NULL)
            at += (size_t)snprintf(text + at, sizeof text - at, " %s=%.*s", p->key,
                                   (int)p->text.len, p->text.at);
        else
            at += (size_t)snprintf(text + at, sizeof text - at, " %s=%llu", p->key,
                                   (unsigned long long)p->number);
    }
    trace(s, "%s: %s%s", n->name, l->event, text);
}

static void pause_intake(struct sim *s, struct node *n, bool pause)
{
    n->sink.intake_paused = pause;
    trace(s, "%s: intake %s", n->name, pause ? "paused" : "resumed");
    if (!pause)
        net_unblocked(s);
}

#define MISSED_MAX 256u

/* What sending came to, told to the core behind the actions. */
struct missed {
    struct sink_event at[MISSED_MAX];
    uint32_t n;
};

static void send_results(struct sim *s, struct node *n, const struct sink_action *a,
                         struct missed *m)
{
    enum net_sent sent = net_send_to(s, n, a->route, &a->msg);

    if (sent == NET_SENT || m->n == MISSED_MAX)
        return;
    m->at[m->n++] = (struct sink_event){
        .type = sent == NET_FULL ? SINK_EV_ROUTE_FULL : SINK_EV_ROUTE_GONE, .route = a->route};
}

static void execute(struct sim *s, struct node *n, const struct sink_action *a, struct missed *m)
{
    switch (a->type) {
    case SINK_ACT_CONTROL_SEND:
        check_sink_msg(s, n, &a->msg);
        (void)net_send(s, n, PORT_CONTROL, &a->msg);
        return;
    case SINK_ACT_CONTROL_RECONNECT:
        net_open(s, n, PORT_CONTROL, CONN_CONTROL, &s->nodes[VENT], 5570);
        return;
    case SINK_ACT_RESULTS_SEND: send_results(s, n, a, m); return;
    case SINK_ACT_COMMIT: disk_push(s, n, true, a->batch); return;
    case SINK_ACT_READ: disk_push(s, n, false, a->read); return;
    case SINK_ACT_INTAKE_PAUSE: pause_intake(s, n, true); return;
    case SINK_ACT_INTAKE_RESUME: pause_intake(s, n, false); return;
    case SINK_ACT_LOG: write_log(s, n, &a->log); return;
    case SINK_ACT_EXIT: sim_exit(s, n, a->status, a->text); return;
    }
}

static void step_once(struct sim *s, struct node *n, struct sink_event e, struct missed *m)
{
    e.now_ms = sim_now_ms(s);
    e.wall_ms = sim_steady_ms(s, n);
    e.host_wall_ms = sim_wall_ms(s, n);
    sink_step(n->sink.core, &e, &n->sink.actions);
    for (uint32_t i = 0; i < n->sink.actions.n; i++)
        execute(s, n, &n->sink.actions.items[i], m);
    sink_actions_reset(&n->sink.actions);
}

static void step(struct sim *s, struct node *n, struct sink_event e)
{
    struct missed missed;

    missed.n = 0;
    step_once(s, n, e, &missed);
    while (missed.n > 0 && !n->is_over) {
        struct sink_event next = missed.at[--missed.n];

        step_once(s, n, next, &missed);
    }
}

/* ---------------------------------------------------------------- inputs */

static void on_frame(struct sim *s, struct node *n, struct input *in)
{
    struct sink_event e = {.type = SINK_EV_CONTROL, .route = in->conn->route};
    struct dtqi_msg msg;
    char why[200];

    if (in->conn->closed[in->end])
        return;
    if (dtqi_decode(in->frame->data, in->frame->bytes, &msg, why, sizeof why) != DTQ_OK) {
        sim_fail(s, "%s got what does not decode: %s", n->name, why);
        return;
    }
    if (in->conn->kind == CONN_INTAKE) {
        e.type = SINK_EV_INTAKE;
        if (msg.buf->total > n->sink.intake_bytes_max)
            n->sink.intake_bytes_max = msg.buf->total;
    } else if (in->conn->kind == CONN_RESULTS) {
        e.type = SINK_EV_RESULTS;
    }
    e.msg = &msg;
    if (e.type == SINK_EV_CONTROL)
        check_frame_to_sink(n, &msg);
    step(s, n, e);
    dtqi_msg_done(&msg);
}

void sink_input(struct sim *s, struct node *n, struct input *in)
{
    struct sink_event e = {.type = SINK_EV_STOP};

    switch (in->type) {
    case IN_FRAME: on_frame(s, n, in); return;
    case IN_LOST: return;
    case IN_CONNECTED: e.type = SINK_EV_CONNECTED; break;
    case IN_STOP: break;
    case IN_WORK:
        e.type = in->work->is_write ? SINK_EV_COMMITTED : SINK_EV_READ_DONE;
        if (in->work->is_write)
            e.batch = in->work->at;
        else
            e.read = in->work->at;
        break;
    }
    step(s, n, e);
}

void sink_tick(struct sim *s, struct node *n)
{
    step(s, n, (struct sink_event){.type = SINK_EV_TICK});
}

uint64_t sink_due_ms(const struct node *n)
{
    return sink_deadline_ms(n->sink.core);
}
