#include "sim_parts.h"

#include <stdio.h>

/*
 * A worker's shell: as worker_io.c and slot_pool.c, with slots that only pretend. A slot takes
 * tasks in order, each for as long as its plan says, and ends as the plan says; what it says is
 * taken up when the worker next looks.
 */

#define SLOT_START_US 20000u
#define SLOT_EXIT_US 2000u
#define START_SLACK_MS 100u
#define STARTED_AFTER_US 100000u /* then the core is told that the first task runs */

enum slot_event { SLOT_IS_READY, SLOT_TASK_ENDS, SLOT_RUNS_ON, SLOT_IS_GONE };

static void choose_queues(const struct sim_served *served, struct dtqi_str *queues,
                          uint32_t *weights, struct worker_cfg *cfg)
{
    static const char *const names[SIM_QUEUES] = {"q0", "q1", "q2"};

    for (uint32_t i = 0; i < served->n; i++) {
        queues[i] = dtqi_str(names[served->queues[i]]);
        weights[i] = served->weights[i];
    }
    cfg->queues = queues;
    cfg->queues_n = served->n;
    cfg->queue_weights = served->strict ? NULL : weights;
    cfg->queues_strict = served->strict;
}

bool worker_start(struct sim *s, struct node *n)
{
    struct worker_cfg cfg = {.instance = sim_uid(s),
                             .seed = sim_random(s),
                             .name = dtqi_str(n->name),
                             .program = dtqi_str("dtq-worker"),
                             .slots = s->cfg.slots,
                             .memory_bytes_max =
                                 s->cfg.bulky ? worker_memory_min(s->cfg.slots, 0) : 0,
                             .window_max = s->cfg.window_max};

    struct dtqi_str queues[SIM_QUEUES];
    uint32_t weights[SIM_QUEUES];

    choose_queues(&s->cfg.served[n->index], queues, weights, &cfg);
    memset(&n->worker, 0, sizeof n->worker);
    if (worker_new(&cfg, &n->worker.core) != DTQ_OK)
        return false;
    net_open(s, n, PORT_CONTROL, CONN_CONTROL, &s->nodes[VENT], 5570);
    return true;
}

static void free_ends(struct slot *slot)
{
    struct slot_end *e;

    while ((e = slot->ends) != NULL) {
        slot->ends = e->next;
        free(e);
    }
    slot->ends_tail = NULL;
}

void worker_drop(struct sim *s, struct node *n)
{
    for (uint32_t i = 0; i < s->cfg.slots; i++) {
        struct slot *slot = &n->worker.slots[i];

        if (slot->fed_n != 0 && slot->started_us != UINT64_MAX)
            s->tasks[slot->fed[0].task].lost++;
        free_ends(slot);
    }
    worker_actions_done(&n->worker.actions);
    worker_free(n->worker.core);
    n->worker.core = NULL;
}

/* ---------------------------------------------------------------- slots */

static void slot_event(struct sim *s, struct node *n, uint32_t index, uint64_t at_us,
                       enum slot_event what)
{
    struct event *e = sim_at(s, at_us, EVENT_SLOT, n);

    e->port = index | (uint32_t)what << 16;
    e->number = n->worker.slots[index].incarnation;
}

static void look_soon(struct sim *s, struct node *n)
{
    sim_wake(s, n, s->now_us + sim_between(s, s->cfg.think_us));
}

static void start_slot(struct sim *s, struct node *n, uint32_t index)
{
    struct slot *slot = &n->worker.slots[index];
    uint32_t incarnation = slot->incarnation;

    free_ends(slot);
    *slot = (struct slot){
        .life = SLOT_LIFE_STARTING, .incarnation = incarnation + 1, .started_us = UINT64_MAX};
    slot_event(s, n, index, s->now_us + SLOT_START_US, SLOT_IS_READY);
}

static uint64_t run_us(const struct sim *s, const struct slot_task *t, bool *ret_times_out)
{
    uint64_t us = 1000ull * s->tasks[t->task].plan.duration_ms;

    *ret_times_out = t->time_limit_ms != 0 && us > 1000 * t->time_limit_ms + 1000000;
    return us;
}

static void run_next(struct sim *s, struct node *n, uint32_t index)
{
    struct slot *slot = &n->worker.slots[index];
    struct slot_task *t = &slot->fed[0];
    bool times_out;
    const struct attempt_info *a;
    char name[8];
    uint64_t us;

    if (slot->life != SLOT_LIFE_UP || slot->fed_n == 0 || slot->started_us != UINT64_MAX)
        return;
    slot->started_us = s->now_us;
    s->tasks[t->task].runs++;
    a = &s->tasks[t->task].attempts[t->attempt_index];
    if (a->expires_at_ms != 0 && sim_now_ms(s) > a->expires_at_ms + START_SLACK_MS) /* R17 */
        sim_fail(s, "%s starts %s, which expired %llu ms ago", n->name, story_task(t->task, name),
                 (unsigned long long)(sim_now_ms(s) - a->expires_at_ms));
    story(s, "%s runs %s (attempt %u)", n->name, story_task(t->task, name), t->attempt);
    us = run_us(s, t, &times_out);
    if (us > STARTED_AFTER_US)
        slot_event(s, n, index, s->now_us + STARTED_AFTER_US, SLOT_RUNS_ON);
    if (!times_out)
        slot_event(s, n, index, s->now_us + us, SLOT_TASK_ENDS);
}

static void drop_first(struct slot *slot)
{
    memmove(slot->fed, slot->fed + 1, --slot->fed_n * sizeof *slot->fed);
    slot->started_us = UINT64_MAX;
    slot->started_tell = false;
}

static bool fails_now(struct task_info *t, bool *ret_crash)
{
    const struct sim_plan *plan = &t->plan;

    *ret_crash = false;
    if (t->failed < plan->fail_runs)
        return true;
    *ret_crash = t->crashed < plan->crash_runs;
    return *ret_crash;
}

static void end_of(struct sim *s, struct node *n, struct slot *slot, dtq_reason reason)
{
    struct slot_task *t = &slot->fed[0];
    struct task_info *info = &s->tasks[t->task];
    struct slot_end *e = calloc(1, sizeof *e);
    uint64_t us = s->now_us - slot->started_us;
    int32_t code = reason == DTQ_REASON_NONE   ? 0
                   : info->plan.fail_code != 0 ? (int32_t)info->plan.fail_code
                                               : 1;
    bool is_last;
    char name[8];

    assert(e != NULL);
    is_last = reason != DTQ_REASON_NONE &&
              (info->plan.no_retry || !rules_repeat(&info->plan, reason, code));
    *e = (struct slot_end){.handle = t->handle,
                           .reason = reason,
                           .code = code,
                           .no_retry = reason != DTQ_REASON_NONE && info->plan.no_retry,
                           .task = t->task,
                           .attempt = t->attempt,
                           .started_wall_ms = sim_wall_ms(s, n) - us / 1000,
                           .duration_us = us};
    if (slot->ends_tail != NULL)
        slot->ends_tail->next = e;
    else
        slot->ends = e;
    slot->ends_tail = e;
    attempt_ended(s, info, t->attempt_index,
                  reason == DTQ_REASON_NONE ? ATTEMPT_SUCCEEDED
                  : is_last                 ? ATTEMPT_FAILED_FOR_GOOD
                                            : ATTEMPT_FAILED);
    info->succeeded += reason == DTQ_REASON_NONE;
    info->failed += reason != DTQ_REASON_NONE;
    info->no_retry |= is_last;
    story(s, "%s ends %s: %s", n->name, story_task(t->task, name),
          reason == DTQ_REASON_NONE ? "done" : dtq_reason_name(reason));
    drop_first(slot);
}

static void die(struct sim *s, struct node *n, uint32_t index, bool by_signal, int32_t status)
{
    struct slot *slot = &n->worker.slots[index];

    if (slot->life == SLOT_LIFE_DEAD || slot->life == SLOT_LIFE_DOWN)
        return;
    slot->life = SLOT_LIFE_DEAD;
    slot->ran = slot->started_us != UINT64_MAX;
    slot->by_signal = by_signal;
    slot->status = status;
    slot->incarnation++;
    slot_event(s, n, index, s->now_us + SLOT_EXIT_US, SLOT_IS_GONE);
}

static void crash(struct sim *s, struct node *n, uint32_t index)
{
    struct slot *slot = &n->worker.slots[index];
    char name[8];

    if (slot->started_us != UINT64_MAX) {
        struct task_info *info = &s->tasks[slot->fed[0].task];
        bool is_last = !rules_repeat(&info->plan, DTQ_REASON_CRASH, 11);

        info->crashed++;
        info->no_retry |= is_last;
        attempt_ended(s, info, slot->fed[0].attempt_index,
                      is_last ? ATTEMPT_CRASHED_FOR_GOOD : ATTEMPT_CRASHED);
        story(s, "%s: slot dies under %s", n->name, story_task(slot->fed[0].task, name));
    }
    die(s, n, index, true, 11);
}

void sim_kill_slot(struct sim *s, uint32_t worker, uint32_t slot)
{
    struct node *n = sim_node(s, SIM_WORKER, worker);

    if (!n->is_up || n->worker.slots[slot].life != SLOT_LIFE_UP)
        return;
    if (n->worker.slots[slot].started_us == UINT64_MAX)
        story(s, "%s: an idle slot dies", n->name);
    crash(s, n, slot);
}

static void task_ends(struct sim *s, struct node *n, uint32_t index)
{
    struct slot *slot = &n->worker.slots[index];
    struct task_info *info = &s->tasks[slot->fed[0].task];
    bool crashes;
    bool fails;

    fails = fails_now(info, &crashes);
    if (crashes) {
        crash(s, n, index);
        return;
    }
    end_of(s, n, slot,
           !fails                      ? DTQ_REASON_NONE
           : info->plan.fail_code != 0 ? DTQ_REASON_EXIT
                                       : DTQ_REASON_ERROR);
    run_next(s, n, index);
    look_soon(s, n);
}

void worker_on_slot(struct sim *s, struct node *n, const struct event *e)
{
    uint32_t index = e->port & 0xffff;
    struct slot *slot = &n->worker.slots[index];

    if (e->number != slot->incarnation)
        return;
    switch ((enum slot_event)(e->port >> 16)) {
    case SLOT_IS_READY:
        slot->life = SLOT_LIFE_UP;
        run_next(s, n, index);
        look_soon(s, n);
        return;
    case SLOT_TASK_ENDS:
        if (slot->life == SLOT_LIFE_UP && slot->fed_n != 0 && slot->started_us != UINT64_MAX)
            task_ends(s, n, index);
        return;
    case SLOT_RUNS_ON:
        if (slot->started_us != UINT64_MAX && s->now_us - slot->started_us >= STARTED_AFTER_US)
            slot->started_tell = true;
        look_soon(s, n);
        return;
    case SLOT_IS_GONE: look_soon(s, n); return;
    }
}

/* ---------------------------------------------------------------- actions */

static void tell_later(struct node *n, struct worker_event ev)
{
    assert(n->worker.late_n < sizeof n->worker.late / sizeof *n->worker.late);
    n->worker.late[n->worker.late_n++] = ev;
}

static void feed(struct sim *s, struct node *n, const struct worker_action *a)
{
    struct slot *slot = &n->worker.slots[a->feed.index];

    for (uint32_t i = 0; i < a->feed.n; i++) {
        const struct worker_feed *f = &a->feed.tasks[i];
        bool full = slot->fed_n == WORKER_RING_TASKS_MAX || slot->full_n != 0 ||
                    (s->cfg.small && slot->fed_n >= 3);
        uint32_t attempt;

        attempt = check_feed(s, n, f);
        if (slot->life == SLOT_LIFE_DEAD || slot->life == SLOT_LIFE_DOWN || full) {
            slot->full[slot->full_n++] = f->handle;
            continue;
        }
        slot->fed[slot->fed_n++] = (struct slot_task){
            .handle = f->handle,
            .attempt = f->attempt,
            .task = check_task(s, &f->id),
            .attempt_index = attempt,
            .time_limit_ms = f->time_limit_ms,
        };
    }
    run_next(s, n, a->feed.index);
}

/* What has not started, in order. */
static void take_back(struct slot *slot)
{
    uint32_t first = slot->started_us != UINT64_MAX ? 1 : 0;

    slot->back_asked = true;
    if (slot->life == SLOT_LIFE_DEAD)
        return; /* named when it is gone */
    for (uint32_t i = first; i < slot->fed_n; i++)
        slot->back[slot->back_n++] = slot->fed[i].handle;
    if (slot->fed_n > first)
        slot->fed_n = first;
}

static void open_sink(struct sim *s, struct node *n, const struct worker_action *a)
{
    uint32_t number = 0;
    struct node *target = sim_node_at(s, a->sink.endpoint, &number);

    net_open(s, n, PORT_SINKS + a->sink.index, CONN_INTAKE, target, number);
}

static void open_lane(struct sim *s, struct node *n, const struct worker_action *a)
{
    uint32_t number = 0;
    struct node *target = sim_node_at(s, a->lane.endpoint, &number);

    net_open(s, n, PORT_LANE, CONN_LANE, target, number);
    n->ports[PORT_LANE].lane = a->lane.number;
    n->worker.got_seq = 0;
    n->worker.got_tasks = 0;
    n->worker.told_credit_tasks = 0;
}

static void time_out(struct sim *s, struct task_info *t, uint32_t attempt_index)
{
    bool is_last = !rules_repeat(&t->plan, DTQ_REASON_TIMEOUT, 0);

    attempt_ended(s, t, attempt_index, is_last ? ATTEMPT_FAILED_FOR_GOOD : ATTEMPT_FAILED);
    t->failed++;
    t->no_retry |= is_last || t->plan.no_retry;
}

static void kill_slot(struct sim *s, struct node *n, const struct worker_action *a)
{
    struct slot *slot = &n->worker.slots[a->slot.index];

    if (slot->life == SLOT_LIFE_UP && slot->started_us != UINT64_MAX) {
        struct task_info *t = &s->tasks[slot->fed[0].task];
        char name[8];

        story(s, "%s kills the slot of %s", n->name, story_task(slot->fed[0].task, name));
        if (a->slot.why == WORKER_KILL_TIMEOUT)
            time_out(s, t, slot->fed[0].attempt_index);
    }
    die(s, n, a->slot.index, true, 9);
}

static void send_to_sink(struct sim *s, struct node *n, const struct worker_action *a)
{
    struct port *p = &n->ports[PORT_SINKS + a->send.index];

    if (p->skip)
        return;
    if (net_send(s, n, PORT_SINKS + a->send.index, &a->send.msg))
        return;
    p->skip = true;
    p->is_full = true;
    tell_later(n, (struct worker_event){.type = WORKER_EV_SINK_FULL,
                                        .sink = {a->send.index, a->send.number}});
}

static void execute(struct sim *s, struct node *n, const struct worker_action *a)
{
    switch (a->type) {
    case WORKER_ACT_CONTROL_SEND:
        check_worker_msg(s, n, &a->msg);
        (void)net_send(s, n, PORT_CONTROL, &a->msg);
        return;
    case WORKER_ACT_CONTROL_RECONNECT:
        net_open(s, n, PORT_CONTROL, CONN_CONTROL, &s->nodes[VENT], 5570);
        return;
    case WORKER_ACT_LANE_OPEN: open_lane(s, n, a); return;
    case WORKER_ACT_LANE_CLOSE: net_close(s, n, PORT_LANE); return;
    case WORKER_ACT_SINK_OPEN: open_sink(s, n, a); return;
    case WORKER_ACT_SINK_CLOSE: net_close(s, n, PORT_SINKS + a->sink.index); return;
    case WORKER_ACT_SINK_SEND: send_to_sink(s, n, a); return;
    case WORKER_ACT_SLOT_START: start_slot(s, n, a->slot.index); return;
    case WORKER_ACT_SLOT_FEED: feed(s, n, a); return;
    case WORKER_ACT_SLOT_TAKE_BACK:
        take_back(&n->worker.slots[a->slot.index]);
        look_soon(s, n);
        return;
    case WORKER_ACT_SLOT_RETIRE: die(s, n, a->slot.index, false, 0); return;
    case WORKER_ACT_SLOT_KILL: kill_slot(s, n, a); return;
    case WORKER_ACT_LOG:
        touch_str(a->log.text);
        trace(s, "%s: %s %.*s", n->name, a->log.event, (int)a->log.text.len, a->log.text.at);
        return;
    case WORKER_ACT_EXIT: sim_exit(s, n, a->exit.status, a->exit.text); return;
    }
}

static void step_once(struct sim *s, struct node *n, struct worker_event *ev)
{
    ev->now_ms = sim_now_ms(s);
    ev->wall_ms = sim_wall_ms(s, n);
    worker_step(n->worker.core, ev, &n->worker.actions);
    for (uint32_t i = 0; i < n->worker.actions.n; i++)
        execute(s, n, &n->worker.actions.at[i]);
    worker_actions_reset(&n->worker.actions);
    for (uint32_t i = PORT_SINKS; i < PORTS_MAX; i++)
        n->ports[i].skip = false;
}

static void step(struct sim *s, struct node *n, struct worker_event ev)
{
    step_once(s, n, &ev);
    while (n->worker.late_n > 0 && !n->is_over) {
        struct worker_event late = n->worker.late[0];

        n->worker.late_n--;
        memmove(n->worker.late, n->worker.late + 1, n->worker.late_n * sizeof late);
        step_once(s, n, &late);
    }
}

/* ---------------------------------------------------------------- what the slots say */

static struct worker_event of_slot(enum worker_event_type type, uint32_t index)
{
    return (struct worker_event){.type = type, .slot = {.index = index}};
}

#define RESULTS_AT_ONCE 64u

static struct worker_result result_of(struct sim *s, const struct slot_end *e, struct dtqi_buf *buf)
{
    uint32_t bytes = s->tasks[e->task].plan.result_bytes;
    bool failed = e->reason != DTQ_REASON_NONE;
    void *body = dtqi_buf_alloc(buf, bytes != 0 ? bytes : 1);

    assert(body != NULL);
    if (!failed)
        check_bytes(s, e->task, 1, body, bytes);
    return (struct worker_result){
        .handle = e->handle,
        .reason = e->reason,
        .code = e->code,
        .no_retry = e->no_retry,
        .retry_after_ms = failed ? s->tasks[e->task].plan.retry_after_ms : 0,
        .body = failed ? (struct dtqi_slice){"it failed", 9} : (struct dtqi_slice){body, bytes},
        .started_wall_ms = e->started_wall_ms,
        .duration_us = e->duration_us,
    };
}

/* As long as there is room for results (R16), or the slot must be emptied. */
static bool say_ended(struct sim *s, struct node *n, uint32_t index)
{
    struct slot *slot = &n->worker.slots[index];
    struct worker_result results[RESULTS_AT_ONCE];
    bool all = slot->back_asked || slot->life == SLOT_LIFE_DEAD;
    uint64_t room = all ? UINT64_MAX : worker_result_room_bytes(n->worker.core);
    struct dtqi_buf *buf;
    uint64_t bytes = 0;
    uint32_t count = 0;

    if (slot->ends == NULL || room == 0)
        return false;
    buf = dtqi_buf_new(256, SIZE_MAX);
    assert(buf != NULL);
    while (slot->ends != NULL && bytes < room && count < RESULTS_AT_ONCE) {
        struct slot_end *e = slot->ends;

        results[count++] = result_of(s, e, buf);
        bytes += results[count - 1].body.len;
        slot->ends = e->next;
        if (slot->ends == NULL)
            slot->ends_tail = NULL;
        free(e);
    }
    step(
        s, n,
        (struct worker_event){.type = WORKER_EV_SLOT_ENDED, .ended = {index, count, results, buf}});
    dtqi_buf_unref(buf);
    return true;
}

static void say_exited(struct sim *s, struct node *n, uint32_t index)
{
    struct slot *slot = &n->worker.slots[index];
    struct worker_event ev = of_slot(WORKER_EV_SLOT_EXITED, index);
    uint32_t handles[WORKER_RING_TASKS_MAX];

    for (uint32_t i = slot->ran ? 1 : 0; i < slot->fed_n; i++)
        handles[ev.slot.handles_n++] = slot->fed[i].handle;
    ev.slot.handles = handles;
    ev.slot.by_signal = slot->by_signal;
    ev.slot.status = slot->status;
    slot->life = SLOT_LIFE_DOWN;
    slot->fed_n = 0;
    slot->started_us = UINT64_MAX;
    slot->back_asked = false;
    step(s, n, ev);
}

/* @return true: it said something, and may have more to say. */
static bool say_one(struct sim *s, struct node *n, uint32_t index)
{
    struct slot *slot = &n->worker.slots[index];
    struct worker_event ev;

    if (slot->life == SLOT_LIFE_UP && !slot->ready_told) {
        slot->ready_told = true;
        step(s, n, of_slot(WORKER_EV_SLOT_READY, index));
        return true;
    }
    if (say_ended(s, n, index))
        return true;
    if (slot->full_n != 0) {
        ev = of_slot(WORKER_EV_SLOT_FULL, index);
        ev.slot.handles = slot->full;
        ev.slot.handles_n = slot->full_n;
        slot->full_n = 0;
        step(s, n, ev);
        return true;
    }
    if (slot->back_asked && slot->life != SLOT_LIFE_DEAD) {
        ev = of_slot(WORKER_EV_SLOT_RETURNED, index);
        ev.slot.handles = slot->back;
        ev.slot.handles_n = slot->back_n;
        slot->back_asked = false;
        slot->back_n = 0;
        step(s, n, ev);
        return true;
    }
    if (slot->started_tell && slot->life == SLOT_LIFE_UP) {
        ev = of_slot(WORKER_EV_SLOT_STARTED, index);
        ev.slot.handle = slot->fed[0].handle;
        ev.slot.started_ms = slot->started_us / 1000;
        slot->started_tell = false;
        step(s, n, ev);
        return true;
    }
    if (slot->life != SLOT_LIFE_DEAD || slot->ends != NULL)
        return false;
    say_exited(s, n, index);
    return true;
}

static void drain_slots(struct sim *s, struct node *n)
{
    for (uint32_t i = 0; i < s->cfg.slots; i++)
        while (!n->is_over && say_one(s, n, i))
            continue;
}

/* ---------------------------------------------------------------- inputs */

static void on_frame(struct sim *s, struct node *n, struct input *in)
{
    bool lane = in->conn->kind == CONN_LANE;
    struct dtqi_msg msg;
    char why[200];

    if (in->conn->closed[in->end])
        return;
    if (dtqi_decode(in->frame->data, in->frame->bytes, &msg, why, sizeof why) != DTQ_OK) {
        sim_fail(s, "%s got what does not decode: %s", n->name, why);
        return;
    }
    if (lane)
        check_lane_msg(s, n, in->conn, &msg);
    else
        check_frame_to_worker(s, n, &msg);
    step(s, n,
         (struct worker_event){.type = lane ? WORKER_EV_LANE_MSG : WORKER_EV_CONTROL_MSG,
                               .msg = &msg});
    dtqi_msg_done(&msg);
}

static void on_connection(struct sim *s, struct node *n, const struct input *in)
{
    bool is_up = in->type == IN_CONNECTED;
    struct worker_event ev = {.type = WORKER_EV_CONTROL_CONNECTED};

    if (in->port == PORT_CONTROL && !is_up)
        return;
    if (in->port == PORT_LANE && (is_up || in->number != n->ports[PORT_LANE].lane))
        return;
    if (in->port == PORT_LANE) {
        ev.type = WORKER_EV_LANE_BROKEN;
        ev.lane = in->number;
    } else if (in->port >= PORT_SINKS) {
        ev.type = is_up ? WORKER_EV_SINK_CONNECTED : WORKER_EV_SINK_LOST;
        ev.sink.index = in->port - PORT_SINKS;
        if (!n->ports[in->port].is_open)
            return;
    }
    step(s, n, ev);
}

void worker_input(struct sim *s, struct node *n, struct input *in)
{
    switch (in->type) {
    case IN_FRAME: on_frame(s, n, in); return;
    case IN_CONNECTED:
    case IN_LOST: on_connection(s, n, in); return;
    case IN_STOP:
        step(s, n, (struct worker_event){.type = WORKER_EV_STOP, .cold = in->cold});
        return;
    case IN_WORK: return;
    }
}

static void check_full_sinks(struct sim *s, struct node *n)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        struct port *p = &n->ports[PORT_SINKS + i];

        if (!p->is_full || !net_is_writable(n, PORT_SINKS + i))
            continue;
        p->is_full = false;
        step(s, n, (struct worker_event){.type = WORKER_EV_SINK_WRITABLE, .sink = {.index = i}});
    }
}

void worker_tick(struct sim *s, struct node *n)
{
    drain_slots(s, n);
    if (!n->is_over)
        check_full_sinks(s, n);
    if (!n->is_over)
        step(s, n, (struct worker_event){.type = WORKER_EV_TICK});
}

static bool wants_to_speak(const struct node *n, uint32_t slots)
{
    for (uint32_t i = 0; i < slots; i++) {
        const struct slot *slot = &n->worker.slots[i];

        if ((slot->life == SLOT_LIFE_UP && !slot->ready_told) || slot->full_n != 0 ||
            (slot->ends != NULL && worker_result_room_bytes(n->worker.core) != 0) ||
            slot->back_asked)
            return true;
    }
    return false;
}

uint64_t worker_due_ms(const struct node *n)
{
    if (wants_to_speak(n, SLOTS_MAX))
        return 0;
    return worker_deadline_ms(n->worker.core);
}
