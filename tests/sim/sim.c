#include "sim_parts.h"

#include "cron.h"

#include <stdio.h>

#define IDLE_WAKES_MAX 1000u /* in a row, without an input, within a tenth of a second */

/* ---------------------------------------------------------------- randomness and time */

uint64_t sim_random(struct sim *s)
{
    s->random += 0x9e3779b97f4a7c15ull;
    return dtqi_mix64(s->random);
}

uint32_t sim_below(struct sim *s, uint32_t n)
{
    return n <= 1 ? 0 : (uint32_t)(sim_random(s) % n);
}

bool sim_chance(struct sim *s, uint32_t percent)
{
    return sim_below(s, 100) < percent;
}

uint32_t sim_between(struct sim *s, const uint32_t bounds[2])
{
    assert(bounds[0] <= bounds[1]);
    return bounds[0] + sim_below(s, bounds[1] - bounds[0] + 1);
}

dtqi_uid sim_uid(struct sim *s)
{
    uint64_t halves[2] = {sim_random(s), sim_random(s)};
    dtqi_uid uid;

    memcpy(uid.bytes, halves, sizeof uid.bytes);
    return uid;
}

uint64_t sim_now_ms(const struct sim *s)
{
    return s->now_us / 1000;
}

uint64_t sim_wall_ms(const struct sim *s, const struct node *n)
{
    return WALL_MS_START + sim_now_ms(s) + (uint64_t)n->wall_offset_ms;
}

struct host_time sim_host(const struct sim *s, const struct node *n)
{
    return (struct host_time){n->boot + 1, sim_now_ms(s) - n->boot_ms, sim_wall_ms(s, n)};
}

uint64_t sim_steady_ms(const struct sim *s, const struct node *n)
{
    struct host_time now = sim_host(s, n);

    return steady_ms(&n->clock, &now);
}

struct steady_mark sim_mark(const struct sim *s, const struct node *n)
{
    struct host_time now = sim_host(s, n);

    return steady_mark(&n->clock, &now);
}

/* ---------------------------------------------------------------- events, a binary heap */

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void heap_reserve(struct sim *s)
{
    if (s->heap_n < s->heap_room)
        return;
    s->heap_room = s->heap_room != 0 ? 2 * s->heap_room : 256;
    s->heap = realloc(s->heap, s->heap_room * sizeof *s->heap);
    assert(s->heap != NULL);
}

/* Put `e` at the end and move it up. @return where it is */
static struct event *heap_push(struct sim *s, struct event e)
{
    uint32_t at = s->heap_n;

    heap_reserve(s);
    s->heap_n++;
    while (at > 0 && is_before(&e, &s->heap[(at - 1) / 2])) {
        s->heap[at] = s->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->heap[at] = e;
    return &s->heap[at];
}

static struct event heap_pop(struct sim *s)
{
    struct event top = s->heap[0];
    struct event e = s->heap[--s->heap_n];
    uint32_t at = 0;

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= s->heap_n)
            break;
        if (child + 1 < s->heap_n && is_before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (is_before(&e, &s->heap[child]))
            break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = e;
    return top;
}

/* The event is the caller's to fill in, until the next one. */
struct event *sim_at(struct sim *s, uint64_t at_us, enum event_type type, struct node *n)
{
    return heap_push(s, (struct event){.at_us = at_us > s->now_us ? at_us : s->now_us,
                                       .order = s->order++,
                                       .type = type,
                                       .node = n,
                                       .incarnation = n != NULL ? n->incarnation : 0});
}

void sim_call_at(struct sim *s, uint64_t at_us, void (*call)(struct sim *s, uint64_t number),
                 uint64_t number)
{
    struct event *e = sim_at(s, at_us, EVENT_CALL, NULL);

    e->call = call;
    e->number = number;
}

/* ---------------------------------------------------------------- nodes */

struct node *sim_node(struct sim *s, enum sim_kind kind, uint32_t index)
{
    for (uint32_t i = 0; i < s->nodes_n; i++)
        if (s->nodes[i].kind == kind && s->nodes[i].index == index)
            return &s->nodes[i];
    assert(!"no such node");
    return NULL;
}

/* "tcp://S0:5571": the node and the port's number. NULL: there is no such node. */
struct node *sim_node_at(struct sim *s, struct dtqi_str endpoint, uint32_t *ret_number)
{
    char text[64];
    const char *name = text + strlen("tcp://");
    char *colon;

    snprintf(text, sizeof text, "%.*s", (int)endpoint.len, endpoint.at);
    colon = strrchr(text, ':');
    if (colon == NULL || colon < name)
        return NULL;
    *colon = 0;
    *ret_number = (uint32_t)strtoul(colon + 1, NULL, 10);
    for (uint32_t i = 0; i < s->nodes_n; i++)
        if (strcmp(s->nodes[i].name, name) == 0)
            return &s->nodes[i];
    return NULL;
}

void sim_wake(struct sim *s, struct node *n, uint64_t at_us)
{
    if (n->wake_us <= at_us)
        return;
    n->wake_us = at_us;
    sim_at(s, at_us, EVENT_WAKE, n)->number = ++n->wake_generation;
}

struct input *sim_input(struct sim *s, struct node *n, enum input_type type)
{
    struct input *in;

    if (!n->is_up)
        return NULL;
    in = calloc(1, sizeof *in);
    assert(in != NULL);
    in->type = type;
    if (n->inbox_tail != NULL)
        n->inbox_tail->next = in;
    else
        n->inbox = in;
    n->inbox_tail = in;
    sim_wake(s, n, s->now_us + sim_between(s, s->cfg.think_us));
    return in;
}

static void free_inbox(struct node *n)
{
    struct input *in;

    while ((in = n->inbox) != NULL) {
        n->inbox = in->next;
        free(in->frame);
        free(in->work);
        free(in);
    }
    n->inbox_tail = NULL;
}

static void take_input(struct sim *s, struct node *n, struct input *in)
{
    switch (n->kind) {
    case SIM_VENTILATOR: vent_input(s, n, in); break;
    case SIM_SINK: sink_input(s, n, in); break;
    case SIM_WORKER: worker_input(s, n, in); break;
    case SIM_CLIENT: client_input(s, n, in); break;
    }
}

static void tick(struct sim *s, struct node *n)
{
    switch (n->kind) {
    case SIM_VENTILATOR: vent_tick(s, n); break;
    case SIM_SINK: sink_tick(s, n); break;
    case SIM_WORKER: worker_tick(s, n); break;
    case SIM_CLIENT: client_tick(s, n); break;
    }
}

static uint64_t due_ms(const struct node *n)
{
    switch (n->kind) {
    case SIM_VENTILATOR: return vent_due_ms(n);
    case SIM_SINK: return sink_due_ms(n);
    case SIM_WORKER: return worker_due_ms(n);
    case SIM_CLIENT: return client_due_ms(n);
    }
    return UINT64_MAX;
}

/* A core whose deadline is always now would keep a processor busy. */
static void count_idle_wakes(struct sim *s, struct node *n, bool had_input)
{
    if (had_input || s->now_us - n->idle_since_us > 100000) {
        n->idle_wakes = 0;
        n->idle_since_us = s->now_us;
        return;
    }
    if (++n->idle_wakes > IDLE_WAKES_MAX)
        sim_fail(s, "%s wakes up again and again without anything to do", n->name);
}

/* What a sink that has paused its intake has not read waits, and the rest goes past it. */
static struct input **next_readable(struct node *n, struct input **ret_before)
{
    struct input **at = &n->inbox;

    *ret_before = NULL;
    while (*at != NULL && !net_is_read(*at)) {
        *ret_before = *at;
        at = &(*at)->next;
    }
    return at;
}

static bool has_input(struct node *n)
{
    struct input *before;

    return *next_readable(n, &before) != NULL;
}

/* @return NULL: there is nothing to take in. */
static struct input *next_input(struct node *n)
{
    struct input *before;
    struct input **at = next_readable(n, &before);
    struct input *in = *at;

    if (in == NULL)
        return NULL;
    *at = in->next;
    if (n->inbox_tail == in)
        n->inbox_tail = before;
    return in;
}

/* What a process does in one turn of its loop: take in what is there, then a TICK. */
static void turn(struct sim *s, struct node *n)
{
    bool had_input = has_input(n);
    uint64_t due;
    struct input *in;

    n->wake_us = UINT64_MAX;
    while (n->is_up && !n->is_over && !s->has_failed && (in = next_input(n)) != NULL) {
        take_input(s, n, in);
        free(in->frame);
        free(in->work);
        free(in);
    }
    if (!n->is_over && !s->has_failed)
        tick(s, n);
    s->steps++;
    if (n->is_over) {
        story(s, "%s exits with %d", n->name, n->status);
        sim_kill(s, n->kind, n->index);
        return;
    }
    check_node(s, n);
    count_idle_wakes(s, n, had_input);
    if (has_input(n))
        sim_wake(s, n, s->now_us);
    due = due_ms(n);
    if (due != UINT64_MAX)
        sim_wake(s, n, due * 1000 > s->now_us ? due * 1000 : s->now_us + 20);
}

void sim_exit(struct sim *s, struct node *n, int status, struct dtqi_str why)
{
    trace(s, "%s exit %d %.*s", n->name, status, (int)why.len, why.at);
    n->is_over = true;
    n->status = status;
}

static bool start_shell(struct sim *s, struct node *n)
{
    switch (n->kind) {
    case SIM_VENTILATOR: return vent_start(s, n);
    case SIM_SINK: return sink_start(s, n);
    case SIM_WORKER: return worker_start(s, n);
    case SIM_CLIENT: return client_start(s, n);
    }
    return false;
}

static void drop_shell(struct sim *s, struct node *n)
{
    switch (n->kind) {
    case SIM_VENTILATOR: vent_drop(s, n); break;
    case SIM_SINK: sink_drop(s, n); break;
    case SIM_WORKER: worker_drop(s, n); break;
    case SIM_CLIENT: client_drop(s, n); break;
    }
}

static void node_start(struct sim *s, struct node *n)
{
    if (n->is_up || n->disk.is_gone)
        return;
    n->incarnation++;
    n->is_up = true;
    n->is_paused = false;
    n->runs_since_ms = sim_now_ms(s);
    n->is_over = false;
    n->status = 0;
    n->idle_wakes = 0;
    n->idle_since_us = s->now_us;
    n->wake_us = UINT64_MAX;
    memset(n->ports, 0, sizeof n->ports);
    story(s, "%s starts", n->name);
    if (!start_shell(s, n)) {
        n->is_up = false;
        drop_shell(s, n);
        return;
    }
    n->has_booted = false;
    sim_wake(s, n, s->now_us + sim_between(s, s->cfg.think_us));
}

static void node_kill(struct sim *s, struct node *n)
{
    if (!n->is_up)
        return;
    n->is_up = false;
    disk_died(s, n);
    net_node_died(s, n);
    free_inbox(n);
    drop_shell(s, n);
}

void sim_start(struct sim *s, enum sim_kind kind, uint32_t index)
{
    node_start(s, sim_node(s, kind, index));
}

void sim_kill(struct sim *s, enum sim_kind kind, uint32_t index)
{
    struct node *n = sim_node(s, kind, index);

    if (n->is_up && !n->is_over)
        story(s, "%s is killed", n->name);
    node_kill(s, n);
}

void sim_stop(struct sim *s, enum sim_kind kind, uint32_t index)
{
    struct node *n = sim_node(s, kind, index);

    if (!n->is_up || kind == SIM_CLIENT)
        return;
    story(s, "%s is told to stop", n->name);
    sim_input(s, n, IN_STOP);
}

void sim_pause(struct sim *s, enum sim_kind kind, uint32_t index)
{
    struct node *n = sim_node(s, kind, index);

    if (!n->is_up || n->is_paused)
        return;
    story(s, "%s is paused", n->name);
    n->is_paused = true;
}

void sim_resume(struct sim *s, enum sim_kind kind, uint32_t index)
{
    struct node *n = sim_node(s, kind, index);

    if (!n->is_paused)
        return;
    n->is_paused = false;
    n->runs_since_ms = sim_now_ms(s);
    if (!n->is_up)
        return;
    story(s, "%s goes on", n->name);
    n->wake_us = UINT64_MAX;
    sim_wake(s, n, s->now_us);
}

bool sim_is_up(const struct sim *s, enum sim_kind kind, uint32_t index)
{
    for (uint32_t i = 0; i < s->nodes_n; i++)
        if (s->nodes[i].kind == kind && s->nodes[i].index == index)
            return s->nodes[i].is_up;
    return false;
}

void sim_jump_clock(struct sim *s, enum sim_kind kind, uint32_t index, int64_t ms)
{
    struct node *n = sim_node(s, kind, index);

    story(s, "%s: the clock jumps by %lld ms", n->name, (long long)ms);
    n->wall_offset_ms += ms;
    s->has_jumped |= kind == SIM_VENTILATOR;
}

/* Its wall clock is what it was when the disk was last told the time, and has gone on since; or
 * that is not so, and it comes up a day behind. */
void sim_boot(struct sim *s, enum sim_kind kind, uint32_t index, bool is_behind)
{
    struct node *n = sim_node(s, kind, index);

    assert(!n->is_up);
    n->boot++;
    n->has_booted = true;
    n->boot_ms = sim_now_ms(s);
    n->wall_offset_ms = n->mark_offset_ms - (is_behind ? 24 * 3600 * 1000ll : 0);
    s->has_jumped |= kind == SIM_VENTILATOR && n->wall_offset_ms != 0;
}

/* ---------------------------------------------------------------- who reaches whom */

static void set_blocked(struct sim *s, const struct node *from, const struct node *to, bool blocked)
{
    s->blocked[from - s->nodes][to - s->nodes] = blocked;
}

void sim_block(struct sim *s, enum sim_kind from, uint32_t from_index, enum sim_kind to,
               uint32_t to_index)
{
    struct node *a = sim_node(s, from, from_index);
    struct node *b = sim_node(s, to, to_index);

    story(s, "%s to %s is blocked", a->name, b->name);
    set_blocked(s, a, b, true);
}

void sim_heal(struct sim *s, enum sim_kind from, uint32_t from_index, enum sim_kind to,
              uint32_t to_index)
{
    struct node *a = sim_node(s, from, from_index);
    struct node *b = sim_node(s, to, to_index);

    story(s, "%s to %s is healed", a->name, b->name);
    set_blocked(s, a, b, false);
    net_unblocked(s);
}

void sim_cut_off(struct sim *s, enum sim_kind kind, uint32_t index)
{
    struct node *n = sim_node(s, kind, index);

    story(s, "%s is cut off", n->name);
    for (uint32_t i = 0; i < s->nodes_n; i++) {
        set_blocked(s, n, &s->nodes[i], true);
        set_blocked(s, &s->nodes[i], n, true);
    }
}

void sim_join_again(struct sim *s, enum sim_kind kind, uint32_t index)
{
    struct node *n = sim_node(s, kind, index);

    story(s, "%s is back", n->name);
    for (uint32_t i = 0; i < s->nodes_n; i++) {
        set_blocked(s, n, &s->nodes[i], false);
        set_blocked(s, &s->nodes[i], n, false);
    }
    net_unblocked(s);
}

void sim_break(struct sim *s, enum sim_kind a, uint32_t a_index, enum sim_kind b, uint32_t b_index)
{
    struct node *from = sim_node(s, a, a_index);
    struct node *to = sim_node(s, b, b_index);

    story(s, "connections of %s and %s break", from->name, to->name);
    net_break_between(s, from, to);
}

/* ---------------------------------------------------------------- running */

static bool is_of_this_life(const struct event *e)
{
    return e->node == NULL || (e->node->is_up && e->incarnation == e->node->incarnation);
}

static void on_wake(struct sim *s, const struct event *e)
{
    assert(e->node != NULL);
    if (e->number != e->node->wake_generation || e->node->wake_us == UINT64_MAX)
        return;
    if (!e->node->is_paused) /* else sim_resume() wakes it */
        turn(s, e->node);
}

static void happen(struct sim *s, const struct event *e)
{
    if (!is_of_this_life(e))
        return;
    switch (e->type) {
    case EVENT_WAKE: on_wake(s, e); break;
    case EVENT_PUMP: net_on_pump(s, e->conn, e->port); break;
    case EVENT_KNOW: net_on_know(s, e->conn, e->port); break;
    case EVENT_CONNECT:
    case EVENT_GIVE_UP: net_on_connect(s, e); break;
    case EVENT_DISK: disk_on_done(s, e->node); break;
    case EVENT_SLOT: worker_on_slot(s, e->node, e); break;
    case EVENT_CALL: e->call(s, e->number); break;
    }
}

static bool run_one(struct sim *s, uint64_t until_us)
{
    struct event e;

    if (s->has_failed || s->heap_n == 0 || s->heap[0].at_us > until_us)
        return false;
    e = heap_pop(s);
    assert(e.at_us >= s->now_us);
    s->now_us = e.at_us;
    s->fingerprint = dtqi_mix64(s->fingerprint ^ e.at_us ^ (uint64_t)e.type << 56 ^
                                (e.node != NULL ? (uint64_t)(e.node - s->nodes) << 48 : 0));
    happen(s, &e);
    return true;
}

void sim_run_until_ms(struct sim *s, uint64_t ms)
{
    while (run_one(s, ms * 1000))
        continue;
    if (!s->has_failed && s->now_us < ms * 1000)
        s->now_us = ms * 1000;
}

static void calm_down(struct sim *s)
{
    s->calm = true;
    memset(s->blocked, 0, sizeof s->blocked);
    for (struct conn *c = s->conns; c != NULL; c = c->next)
        c->is_stalled = false;
    net_unblocked(s);
    for (uint32_t i = 0; i < s->nodes_n; i++) {
        struct node *n = &s->nodes[i];

        if (n->kind == SIM_VENTILATOR || n->kind == SIM_SINK)
            sim_disk_limit(s, n->kind, n->index, UINT64_MAX);
        sim_resume(s, n->kind, n->index);
        node_start(s, n);
        if (n->kind == SIM_VENTILATOR)
            n->wall_offset_ms = 0; /* or what is to start at a time of day would wait for it */
    }
    s->calm_wall_ms = sim_wall_ms(s, &s->nodes[VENT]);
}

/* Whoever exits after a fault (an I/O error, a stop) is started again, as a supervisor does. */
static void start_again(struct sim *s)
{
    for (uint32_t i = 0; i < s->nodes_n; i++)
        node_start(s, &s->nodes[i]);
}

bool sim_settle(struct sim *s, uint64_t within_ms)
{
    uint64_t until_ms = sim_now_ms(s) + within_ms;
    char why[512] = "";

    if (!s->calm)
        story(s, "calm");
    calm_down(s);
    while (!s->has_failed && !check_is_settled(s, why, sizeof why)) {
        if (sim_now_ms(s) >= until_ms) {
            sim_fail(s, "not settled within %llu ms: %s", (unsigned long long)within_ms, why);
            break;
        }
        orders_open_all(s);
        sim_run_until_ms(s, sim_now_ms(s) + 100);
        start_again(s);
    }
    check_durable(s);
    dead_check_all(s);
    return !s->has_failed;
}

/* ---------------------------------------------------------------- the world */

struct sim_cfg sim_story_cfg(uint32_t workers)
{
    return (struct sim_cfg){.seed = 1,
                            .workers = workers,
                            .link_us = {10000, 10000},
                            .disk_us = {5000, 5000},
                            .think_us = {0, 0}};
}

static void add_node(struct sim *s, enum sim_kind kind, uint32_t index, char letter)
{
    struct node *n = &s->nodes[s->nodes_n++];

    assert(s->nodes_n <= NODES_MAX);
    n->kind = kind;
    n->index = index;
    n->wake_us = UINT64_MAX;
    n->disk.limit_bytes = UINT64_MAX;
    if (kind == SIM_VENTILATOR)
        snprintf(n->name, sizeof n->name, "%c", letter);
    else
        snprintf(n->name, sizeof n->name, "%c%u", letter, index);
}

static uint32_t or_one(uint32_t n, uint32_t max)
{
    assert(n <= max);
    return n != 0 ? n : 1;
}

static void small_limits(struct vent_cfg *cfg)
{
    cfg->batch_entries_max = 3;
    cfg->batch_bytes_max = 2000;
    cfg->journal_ops_max = 16;
    cfg->resident_bytes_max = 4096;
    cfg->load_tasks = 4;
    cfg->load_bytes = 2000;
    cfg->proposals_max = 4;
    cfg->submits_max = 8;
    cfg->claims_max = 16;
}

struct sim *sim_new(const struct sim_cfg *cfg)
{
    struct sim *s = calloc(1, sizeof *s);

    assert(s != NULL);
    s->cfg = *cfg;
    s->cfg.workers = or_one(cfg->workers, SIM_WORKERS_MAX);
    s->cfg.sinks = or_one(cfg->sinks, SIM_SINKS_MAX);
    s->cfg.clients = or_one(cfg->clients, SIM_CLIENTS_MAX);
    s->cfg.slots = or_one(cfg->slots, SLOTS_MAX);
    s->random = cfg->seed;
    s->routes = (uint32_t)sim_random(s);
    s->lane_numbers = 20000;
    vent_cfg_default(&s->vent_cfg);
    s->vent_cfg.spec_decode = dtqi_spec_decode;
    s->vent_cfg.spec_encode = dtqi_spec_encode;
    s->vent_cfg.cron = (struct vent_cron_calls){cron_parse, cron_next, cron_free};
    s->vent_cfg.trace = cfg->trace;
    s->vent_cfg.queue_tasks_max = cfg->queue_tasks_max;
    s->vent_cfg.backlog_tasks_max = cfg->backlog_tasks_max;
    if (cfg->dead_ttl_ms != 0)
        s->vent_cfg.dead_ttl_ms = cfg->dead_ttl_ms;
    if (cfg->small)
        small_limits(&s->vent_cfg);
    add_node(s, SIM_VENTILATOR, 0, 'V');
    for (uint32_t i = 0; i < s->cfg.sinks; i++)
        add_node(s, SIM_SINK, i, 'S');
    for (uint32_t i = 0; i < s->cfg.workers; i++)
        add_node(s, SIM_WORKER, i, 'W');
    for (uint32_t i = 0; i < s->cfg.clients; i++)
        add_node(s, SIM_CLIENT, i, 'P');
    for (uint32_t i = 0; i < s->nodes_n; i++)
        node_start(s, &s->nodes[i]);
    return s;
}

void sim_free(struct sim *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->nodes_n; i++) {
        struct node *n = &s->nodes[i];

        if (n->is_up) {
            n->is_up = false;
            free_inbox(n);
            drop_shell(s, n);
        }
        disk_free(n);
    }
    net_free(s);
    for (uint32_t i = 0; i < s->tasks_n; i++)
        free(s->tasks[i].attempts);
    dtqi_idmap_done(&s->by_id);
    rules_done(s);
    orders_done(s);
    free(s->tasks);
    free(s->heap);
    free(s->story);
    free(s);
}

/* ---------------------------------------------------------------- tasks */

uint32_t sim_add_task(struct sim *s, const struct task_info *info)
{
    if (s->tasks_n == s->tasks_room) {
        s->tasks_room = s->tasks_room != 0 ? 2 * s->tasks_room : 64;
        s->tasks = realloc(s->tasks, s->tasks_room * sizeof *s->tasks);
        assert(s->tasks != NULL);
    }
    s->tasks[s->tasks_n] = *info;
    s->tasks[s->tasks_n++].queue = info->plan.queue;
    return s->tasks_n - 1;
}

uint32_t sim_submit(struct sim *s, uint32_t client, const struct sim_plan *plan)
{
    struct task_info info = {.client = client, .submitted_us = s->now_us};
    uint32_t task;

    if (plan != NULL)
        info.plan = *plan;
    task = sim_add_task(s, &info);
    client_take_task(s, task);
    return task;
}

uint32_t sim_runs(const struct sim *s, uint32_t task)
{
    return s->tasks[task].runs;
}

const char *sim_failure(const struct sim *s)
{
    return s->has_failed ? s->failure : NULL;
}

uint64_t sim_fingerprint(const struct sim *s)
{
    return s->fingerprint;
}

uint64_t sim_steps(const struct sim *s)
{
    return s->steps;
}
