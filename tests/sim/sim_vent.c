#include "sim_parts.h"

#include "store_memory.h"

#include <stdio.h>

/* The ventilator's shell: as vent_io.c, on simulated sockets. */

static bool open_store(struct sim *s, struct node *n)
{
    struct store_cfg cfg = {.kind = JOURNAL_KIND,
                            .tables = journal_tables,
                            .tables_n = JOURNAL_TABLES_N,
                            .map_bytes_max = 1ull << 30,
                            .durability = STORE_SYNC};
    struct store *old = n->disk.store;
    dtq_err err;

    if (old == NULL) {
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

bool vent_start(struct sim *s, struct node *n)
{
    struct journal_start start;
    struct host_time now;
    char why[200];
    bool ok;

    memset(&n->vent, 0, sizeof n->vent);
    if (!open_store(s, n))
        return false;
    if (journal_open(n->disk.store, (uint32_t)sim_random(s), &n->vent.journal, &start, why,
                     sizeof why) != DTQ_OK) {
        trace(s, "%s cannot open its journal: %s", n->name, why);
        return false;
    }
    check_vent_started(s, &start);
    check_durable(s);
    dead_check(s);
    s->vent_cfg.seed = sim_random(s);
    now = sim_host(s, n);
    if (journal_start_clock(n->vent.journal, &start, &now, &n->clock) == DTQ_OK)
        n->mark_offset_ms = n->wall_offset_ms;
    ok =
        vent_new(&s->vent_cfg, &start, sim_now_ms(s), sim_steady_ms(s, n), &n->vent.core) == DTQ_OK;
    journal_start_done(&start);
    s->vent_start_us = s->now_us;
    return ok;
}

void vent_add_counters(struct vent_counters *to, const struct vent_counters *c)
{
#define ADD(name) to->name += c->name;
    VENT_COUNTERS(ADD)
#undef ADD
}

void vent_drop(struct sim *s, struct node *n)
{
    if (n->vent.core != NULL)
        vent_add_counters(&s->totals.ventilators, vent_counters(n->vent.core));
    while (n->vent.lanes != NULL)
        lane_close(s, n, n->vent.lanes->session);
    vent_actions_done(&n->vent.actions);
    vent_free(n->vent.core);
    n->vent.core = NULL;
    journal_close(n->vent.journal);
    n->vent.journal = NULL;
}

/* ---------------------------------------------------------------- actions */

static struct vent_event *later(struct node *n, enum vent_event_type type)
{
    struct vent_event *e = &n->vent.pending[n->vent.pending_n++];

    assert(n->vent.pending_n <= sizeof n->vent.pending / sizeof *n->vent.pending);
    *e = (struct vent_event){.type = type};
    return e;
}

static void open_lane(struct sim *s, struct node *n, uint64_t session)
{
    bool fails = s->cfg.link_us[0] != s->cfg.link_us[1] && !s->calm && sim_chance(s, 2);

    if (!fails)
        lane_open(s, n, session);
    later(n, fails ? VENT_EV_LANE_FAILED : VENT_EV_LANE_OPENED)->lane.session = session;
}

static void connect_sink(struct sim *s, struct node *n, uint32_t sink, struct dtqi_str endpoint)
{
    uint32_t number = 0;
    struct node *target = sim_node_at(s, endpoint, &number);

    net_open(s, n, PORT_SINKS + sink, CONN_INTAKE, target, number);
}

static void write_log(struct sim *s, const struct node *n, const struct vent_log *l)
{
    char text[600] = "";
    size_t at = 0;

    for (uint32_t i = 0; i < l->pairs_n; i++)
        touch_str(l->pairs[i].value);
    if (!s->cfg.trace)
        return;
    for (uint32_t i = 0; i < l->pairs_n && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, " %s=%.*s", l->pairs[i].key,
                               (int)l->pairs[i].value.len, l->pairs[i].value.at);
    trace(s, "%s: %s%s", n->name, l->event, text);
}

static void execute(struct sim *s, struct node *n, const struct vent_action *a)
{
    switch (a->type) {
    case VENT_SEND:
        check_vent_msg(s, a->route, &a->msg);
        if (net_send_to(s, n, a->route, &a->msg) != NET_SENT)
            later(n, VENT_EV_ROUTE_GONE)->route = a->route;
        return;
    case VENT_LANE_OPEN: open_lane(s, n, a->session); return;
    case VENT_LANE_CLOSE: lane_close(s, n, a->session); return;
    case VENT_LANE_SEND:
        check_dispatch(s, a->session, &a->msg);
        if (!lane_send(s, n, a->session, &a->msg))
            later(n, VENT_EV_LANE_BROKEN)->lane.session = a->session;
        return;
    case VENT_SINK_CONNECT: connect_sink(s, n, a->sink, a->endpoint); return;
    case VENT_SINK_DISCONNECT: net_close(s, n, PORT_SINKS + a->sink); return;
    case VENT_SINK_SEND:
        if (!net_send(s, n, PORT_SINKS + a->sink, &a->msg))
            later(n, VENT_EV_SINK_BLOCKED)->sink = a->sink;
        return;
    case VENT_JOURNAL_WRITE: disk_push(s, n, true, a->batch); return;
    case VENT_JOURNAL_READ: disk_push(s, n, false, a->read); return;
    case VENT_LOG: write_log(s, n, &a->log); return;
    case VENT_FATAL: sim_exit(s, n, 1, a->text); return;
    case VENT_STOPPED: sim_exit(s, n, 0, dtqi_str("stopped")); return;
    }
}

static void step_once(struct sim *s, struct node *n, struct vent_event *e)
{
    e->now_ms = sim_now_ms(s);
    e->wall_ms = sim_steady_ms(s, n);
    e->host_wall_ms = sim_wall_ms(s, n);
    vent_step(n->vent.core, e, &n->vent.actions);
    for (uint32_t i = 0; i < n->vent.actions.n; i++)
        execute(s, n, &n->vent.actions.at[i]);
    vent_actions_reset(&n->vent.actions);
}

/* The endpoint of a lane that was opened; false: it was closed meanwhile. */
static bool complete(struct node *n, struct vent_event *e, char *endpoint, size_t bytes)
{
    struct lane *l;

    if (e->type != VENT_EV_LANE_OPENED)
        return true;
    l = lane_find(n, e->lane.session);
    if (l == NULL)
        return false;
    snprintf(endpoint, bytes, "tcp://%s:%u", n->name, l->number);
    e->lane.endpoint = dtqi_str(endpoint);
    return true;
}

static void step(struct sim *s, struct node *n, struct vent_event e)
{
    s->given_n = 0;
    step_once(s, n, &e);
    for (uint32_t i = 0; i < n->vent.pending_n && !n->is_over; i++) {
        char endpoint[64];
        struct vent_event next = n->vent.pending[i];

        if (complete(n, &next, endpoint, sizeof endpoint))
            step_once(s, n, &next);
    }
    n->vent.pending_n = 0;
    rules_after_step(s);
}

/* ---------------------------------------------------------------- inputs */

static void on_frame(struct sim *s, struct node *n, struct input *in)
{
    struct dtqi_msg msg;
    char why[200];

    if (in->conn->closed[in->end])
        return;
    if (dtqi_decode(in->frame->data, in->frame->bytes, &msg, why, sizeof why) != DTQ_OK) {
        sim_fail(s, "%s got what does not decode: %s", n->name, why);
        return;
    }
    s->unknown_route = 0;
    step(s, n, (struct vent_event){.type = VENT_EV_MSG, .msg = {in->conn->route, &msg}});
    check_frame_to_vent(s, in->conn, &msg);
    dtqi_msg_done(&msg);
}

static void on_work(struct sim *s, struct node *n, struct work *w)
{
    if (w->is_write)
        step(s, n, (struct vent_event){.type = VENT_EV_JOURNAL_WRITTEN, .batch = w->at});
    else
        step(s, n, (struct vent_event){.type = VENT_EV_JOURNAL_READ_DONE, .read = w->at});
}

void vent_input(struct sim *s, struct node *n, struct input *in)
{
    switch (in->type) {
    case IN_FRAME: on_frame(s, n, in); return;
    case IN_WORK: on_work(s, n, in->work); return;
    case IN_STOP: step(s, n, (struct vent_event){.type = VENT_EV_STOP}); return;
    case IN_CONNECTED:
        step(s, n,
             (struct vent_event){.type = VENT_EV_SINK_CONNECTED, .sink = in->port - PORT_SINKS});
        return;
    case IN_LOST: return; /* the shell hears of it, the core need not */
    }
}

void vent_tick(struct sim *s, struct node *n)
{
    step(s, n, (struct vent_event){.type = VENT_EV_TICK});
}

uint64_t vent_due_ms(const struct node *n)
{
    return vent_deadline_ms(n->vent.core);
}
