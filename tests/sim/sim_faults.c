#include "sim_parts.h"

#include <stdio.h>

/*
 * Random runs. The seed chooses a cluster, delays, limits, the tasks and when they are submitted,
 * and faults: what breaks and for how long. Each run has its own mix, so that rare kinds meet.
 * Faults end by themselves; then everything must settle.
 */

#define FAULTS_MS 20000u  /* tasks and faults begin within this time, at most .. */
#define LONG_MS 150000u   /* .. but in long runs, whose faults outlast every timer */
#define SETTLE_MS 240000u /* then this long for everything to settle */
#define FLAPS_MAX 40u
#define BODY_BYTES_MAX 600u
#define BULKY_TASKS_MAX 24u
#define KEYED_PAYLOADS 1000u /* numbers that no task has */
#define CRON_TEXTS 2u
#define CRON_FAULTS_MS 5000u /* at least, so that times come */
#define DOWN_MS_MIN 11000u   /* so long down, V misses times */
#define DOWN_MS_MAX 25000u

struct run {
    uint64_t seed;
    struct sim_cut cut;
    bool restores;
    bool removes;
    uint32_t weights[SIM_FAULT_KINDS];
    bool has_rules; /* tasks with keys and rules of their own, and orders of operators .. */
    bool has_crons; /* .. and cron entries */
    struct sim_cron crons[SIM_CRONS][CRON_TEXTS];      /* what each entry may be .. */
    struct sim_plan cron_plans[SIM_CRONS][CRON_TEXTS]; /* .. and its runs */
    uint32_t faults_ms;
    uint32_t while_ms; /* how long a fault lasts, at most */
};

/*
 * Each task and each fault draws from random numbers of its own, so that leaving one out of a run
 * changes nothing of the others.
 */
enum stream {
    STREAM_TASK = 1,
    STREAM_FAULT,
    STREAM_RESTORE,
    STREAM_REMOVE,
    STREAM_RULES,
    STREAM_ORDER,
    STREAM_KEY,
    STREAM_GROUP,
    STREAM_CRON,
    STREAM_AGEING
};

static uint64_t stream_begin(struct sim *s, enum stream stream, uint64_t number)
{
    const struct run *run = s->faults;
    uint64_t usual = s->random;

    s->random = dtqi_mix64(run->seed ^ dtqi_mix64((uint64_t)stream << 32 | number));
    return usual;
}

static void stream_end(struct sim *s, uint64_t usual)
{
    s->random = usual;
}

/* Mostly small, sometimes large: 0..max */
static uint32_t skewed(struct sim *s, uint32_t max)
{
    uint32_t half = max / (1u + sim_below(s, 8));

    return sim_below(s, half + 1);
}

static struct sim_plan random_plan(struct sim *s)
{
    uint32_t body_bytes_max = s->cfg.bulky ? DTQI_RESULT_BYTES_MAX : BODY_BYTES_MAX;
    struct sim_plan plan = {
        .duration_ms = skewed(s, sim_chance(s, 25) ? 6000 : 200),
        .retries = sim_below(s, 4),
        .backoff_ms = 1 + skewed(s, 2000),
        .priority = sim_below(s, 10),
        .queue = sim_below(s, 3),
        .payload_bytes = skewed(s, body_bytes_max),
        .result_bytes = skewed(s, body_bytes_max),
    };

    if (s->cfg.bulky && sim_chance(s, 80))
        plan.payload_bytes = body_bytes_max / 2 + sim_below(s, body_bytes_max / 2);
    if (sim_chance(s, 15))
        plan.fail_runs = 1 + sim_below(s, 5);
    if (sim_chance(s, 7))
        plan.crash_runs = 1 + sim_below(s, 5);
    plan.no_retry = sim_chance(s, 5);
    if (sim_chance(s, 10))
        plan.expires_ms = 1 + sim_below(s, 10000);
    if (sim_chance(s, 10))
        plan.delay_ms = sim_below(s, 5000);
    plan.by_wall = plan.delay_ms % 4 == 3;
    if (sim_chance(s, 5))
        plan.time_limit_ms = 500;
    return plan;
}

/* In every third run; few groups in order, so that they end in time. */
static void choose_group(struct sim *s, uint64_t number, struct sim_plan *plan)
{
    const struct run *run = s->faults;
    uint64_t usual = stream_begin(s, STREAM_GROUP, number);

    if (run->seed % 3 == 0 && sim_chance(s, 70)) {
        plan->group = 1 + sim_below(s, 8);
        plan->ordered = plan->group <= 3;
    }
    stream_end(s, usual);
}

/* What a key stands for; each has two contents. */
static void random_content(struct sim *s, struct sim_plan *plan)
{
    uint32_t key = 1 + sim_below(s, SIM_KEYS);
    uint32_t content = sim_chance(s, 80) ? 0 : 1;
    uint64_t usual = stream_begin(s, STREAM_KEY, key << 1 | content);

    *plan = random_plan(s);
    if (s->cfg.bulky)
        plan->payload_bytes = skewed(s, BODY_BYTES_MAX);
    plan->key = key;
    plan->key_ttl_ms = sim_chance(s, 30) ? 500 + sim_below(s, 5000) : 0;
    plan->payload_of = KEYED_PAYLOADS + (key << 1 | content);
    stream_end(s, usual);
}

static void random_rules(struct sim *s, uint64_t number, struct sim_plan *plan)
{
    uint64_t usual = stream_begin(s, STREAM_RULES, number);

    if (sim_chance(s, 15))
        random_content(s, plan);
    if (sim_chance(s, 15)) /* longer than those before it let the worker expect */
        plan->duration_ms = 500 + skewed(s, 3000);
    if (plan->key == 0) { /* else it would be another content */
        if (sim_chance(s, 20))
            plan->fail_runs = 1 + sim_below(s, 5);
        if (sim_chance(s, 20))
            plan->rules = 1 + sim_below(s, RETRY_RULES_N - 1);
        if (sim_chance(s, 40))
            plan->fail_code = 75;
        if (sim_chance(s, 5))
            plan->retry_after_ms = 1 + skewed(s, 3000);
        if (sim_chance(s, 10))
            plan->expires_ms = 100 + sim_below(s, 3000);
        if (sim_chance(s, 30))
            plan->queue = 0;
    }
    stream_end(s, usual);
}

static void submit_one(struct sim *s, uint64_t number)
{
    const struct run *run = s->faults;
    uint64_t usual = stream_begin(s, STREAM_TASK, number);
    struct sim_plan plan = random_plan(s);
    uint32_t client = sim_below(s, s->cfg.clients);
    uint32_t task;

    choose_group(s, number, &plan);

    if (run->has_rules)
        random_rules(s, number, &plan);
    task = sim_submit(s, client, &plan);
    if (sim_chance(s, 3))
        sim_call_at(s, s->now_us + sim_below(s, 3000) * 1000ull, client_cancel_task, task);
    stream_end(s, usual);
}

/* ---------------------------------------------------------------- faults and their ends */

static struct node *random_node(struct sim *s)
{
    return &s->nodes[sim_below(s, s->nodes_n)];
}

/* Two that talk to each other: anybody and the ventilator, or a sink. */
static void random_pair(struct sim *s, struct node **ret_a, struct node **ret_b)
{
    do {
        *ret_a = random_node(s);
        *ret_b = &s->nodes[sim_below(s, 1 + s->cfg.sinks)];
    } while (*ret_a == *ret_b);
    if (sim_chance(s, 50)) {
        struct node *a = *ret_a;

        *ret_a = *ret_b;
        *ret_b = a;
    }
}

static void start_node(struct sim *s, uint64_t number)
{
    struct node *n = &s->nodes[number];

    sim_start(s, n->kind, n->index);
}

static void resume_node(struct sim *s, uint64_t number)
{
    struct node *n = &s->nodes[number];

    sim_resume(s, n->kind, n->index);
}

static void heal_pair(struct sim *s, uint64_t number)
{
    struct node *a = &s->nodes[number / NODES_MAX];
    struct node *b = &s->nodes[number % NODES_MAX];

    sim_heal(s, a->kind, a->index, b->kind, b->index);
    if (sim_chance(s, 40))
        sim_break(s, a->kind, a->index, b->kind, b->index);
}

static void join_node(struct sim *s, uint64_t number)
{
    struct node *n = &s->nodes[number];

    sim_join_again(s, n->kind, n->index);
    for (uint32_t i = 0; i < s->nodes_n && sim_chance(s, 50); i++)
        net_break_between(s, n, &s->nodes[i]);
}

static void free_disk(struct sim *s, uint64_t number)
{
    struct node *n = &s->nodes[number];

    sim_disk_limit(s, n->kind, n->index, UINT64_MAX);
}

static uint64_t a_while(struct sim *s)
{
    const struct run *run = s->faults;

    return s->now_us + (uint64_t)skewed(s, run->while_ms) * 1000;
}

static uint64_t number_of(const struct sim *s, const struct node *n)
{
    return (uint64_t)(n - s->nodes);
}

static void kill_node(struct sim *s, enum sim_kind kind, uint32_t count)
{
    struct node *n = sim_node(s, kind, sim_below(s, count));

    sim_kill(s, n->kind, n->index);
    sim_call_at(s, a_while(s), start_node, number_of(s, n));
}

/* The power fails: all processes die at once, and come back one by one. */
static void kill_all(struct sim *s)
{
    for (uint32_t i = 0; i < s->nodes_n; i++) {
        const struct node *n = &s->nodes[i];

        sim_kill(s, n->kind, n->index);
        sim_boot(s, n->kind, n->index, sim_chance(s, 20));
        sim_call_at(s, a_while(s), start_node, i);
    }
}

static void kill_slot(struct sim *s)
{
    sim_kill_slot(s, sim_below(s, s->cfg.workers), sim_below(s, s->cfg.slots));
}

static void stop_node(struct sim *s, enum sim_kind kind, uint32_t count)
{
    struct node *n = sim_node(s, kind, sim_below(s, count));

    if (!n->is_up || n->is_paused)
        return;
    sim_stop(s, n->kind, n->index);
    sim_call_at(s, a_while(s) + 15000000, start_node, number_of(s, n));
}

static void pause_node(struct sim *s)
{
    struct node *n = random_node(s);

    sim_pause(s, n->kind, n->index);
    sim_call_at(s, a_while(s), resume_node, number_of(s, n));
}

static void block(struct sim *s, bool both)
{
    uint64_t until_us = a_while(s);
    struct node *a;
    struct node *b;

    random_pair(s, &a, &b);
    sim_block(s, a->kind, a->index, b->kind, b->index);
    sim_call_at(s, until_us, heal_pair, number_of(s, a) * NODES_MAX + number_of(s, b));
    if (!both)
        return;
    sim_block(s, b->kind, b->index, a->kind, a->index);
    sim_call_at(s, until_us, heal_pair, number_of(s, b) * NODES_MAX + number_of(s, a));
}

static void cut_off(struct sim *s)
{
    struct node *n = random_node(s);

    sim_cut_off(s, n->kind, n->index);
    sim_call_at(s, a_while(s), join_node, number_of(s, n));
}

/* Two lose each other and find each other again, many times: `number` is who, and how often yet. */
static void flap(struct sim *s, uint64_t number)
{
    uint32_t pair = (uint32_t)number;
    uint32_t left = (uint32_t)(number >> 32);
    struct node *a = &s->nodes[pair / NODES_MAX];
    struct node *b = &s->nodes[pair % NODES_MAX];

    if (left % 2 == 0 && !s->calm) {
        sim_block(s, a->kind, a->index, b->kind, b->index);
        sim_block(s, b->kind, b->index, a->kind, a->index);
    } else {
        heal_pair(s, number_of(s, a) * NODES_MAX + number_of(s, b));
        heal_pair(s, number_of(s, b) * NODES_MAX + number_of(s, a));
    }
    if (left > 1 && !s->calm)
        sim_call_at(s, s->now_us + (100 + sim_below(s, 2900)) * 1000ull, flap,
                    (uint64_t)(left - 1) << 32 | pair);
}

static void begin_to_flap(struct sim *s)
{
    uint64_t times = 2 * (1 + sim_below(s, FLAPS_MAX / 2));
    struct node *a;
    struct node *b;

    random_pair(s, &a, &b);
    flap(s, times << 32 | (number_of(s, a) * NODES_MAX + number_of(s, b)));
}

static void break_pair(struct sim *s)
{
    struct node *a;
    struct node *b;

    random_pair(s, &a, &b);
    sim_break(s, a->kind, a->index, b->kind, b->index);
}

static void flow(struct sim *s, uint64_t number)
{
    for (struct conn *c = s->conns; c != NULL; c = c->next)
        if (c->route == number)
            net_flow(s, c);
}

static void stall_one(struct sim *s)
{
    struct conn *c = net_stall_one(s);

    if (c == NULL)
        return;
    story(s, "a connection of %s and %s stalls", c->ends[0]->name, c->ends[1]->name);
    sim_call_at(s, a_while(s), flow, c->route);
}

static struct node *random_disk(struct sim *s)
{
    uint32_t i = sim_below(s, 1 + s->cfg.sinks);

    return i == 0 ? &s->nodes[VENT] : sim_node(s, SIM_SINK, i - 1);
}

static void fill_disk(struct sim *s)
{
    struct node *n = random_disk(s);

    sim_disk_limit(s, n->kind, n->index, sim_below(s, 20000));
    sim_call_at(s, a_while(s), free_disk, number_of(s, n));
}

static void fail_disk(struct sim *s)
{
    struct node *n = random_disk(s);

    if (!n->is_up)
        return;
    sim_disk_fail(s, n->kind, n->index);
    sim_call_at(s, a_while(s) + 1000000, start_node, number_of(s, n));
}

/* By up to a day, either way. */
static void jump_clock(struct sim *s)
{
    const int64_t day_ms = 24 * 3600 * 1000ll;
    struct node *n = random_node(s);
    int64_t offset_ms = (int64_t)sim_below(s, (uint32_t)(2 * day_ms)) - day_ms;

    if (n->has_booted)
        return; /* nobody could know how long that took */
    sim_jump_clock(s, n->kind, n->index, offset_ms - n->wall_offset_ms);
}

static void cancel_one(struct sim *s)
{
    if (s->tasks_n != 0)
        client_cancel_task(s, sim_below(s, s->tasks_n));
}

static void do_fault(struct sim *s, enum sim_fault fault)
{
    s->totals.faults[fault]++;
    switch (fault) {
    case SIM_FAULT_KILL_VENTILATOR: kill_node(s, SIM_VENTILATOR, 1); break;
    case SIM_FAULT_KILL_SINK: kill_node(s, SIM_SINK, s->cfg.sinks); break;
    case SIM_FAULT_KILL_WORKER: kill_node(s, SIM_WORKER, s->cfg.workers); break;
    case SIM_FAULT_KILL_CLIENT: kill_node(s, SIM_CLIENT, s->cfg.clients); break;
    case SIM_FAULT_KILL_ALL: kill_all(s); break;
    case SIM_FAULT_KILL_SLOT: kill_slot(s); break;
    case SIM_FAULT_STOP_VENTILATOR: stop_node(s, SIM_VENTILATOR, 1); break;
    case SIM_FAULT_STOP_SINK: stop_node(s, SIM_SINK, s->cfg.sinks); break;
    case SIM_FAULT_STOP_WORKER: stop_node(s, SIM_WORKER, s->cfg.workers); break;
    case SIM_FAULT_PAUSE: pause_node(s); break;
    case SIM_FAULT_BREAK: break_pair(s); break;
    case SIM_FAULT_STALL: stall_one(s); break;
    case SIM_FAULT_BLOCK_ONE_WAY: block(s, false); break;
    case SIM_FAULT_BLOCK_BOTH_WAYS: block(s, true); break;
    case SIM_FAULT_CUT_OFF: cut_off(s); break;
    case SIM_FAULT_FLAP: begin_to_flap(s); break;
    case SIM_FAULT_DISK_FULL: fill_disk(s); break;
    case SIM_FAULT_DISK_FAILS: fail_disk(s); break;
    case SIM_FAULT_CLOCK: jump_clock(s); break;
    case SIM_FAULT_CANCEL: cancel_one(s); break;
    case SIM_FAULT_KINDS: break;
    }
}

static enum sim_fault random_kind(struct sim *s, const struct run *run)
{
    uint32_t sum = 0;
    uint32_t at;
    uint32_t i = 0;

    for (uint32_t k = 0; k < SIM_FAULT_KINDS; k++)
        sum += run->weights[k];
    at = sim_below(s, sum);
    while (at >= run->weights[i])
        at -= run->weights[i++];
    return (enum sim_fault)i;
}

static void random_fault(struct sim *s, uint64_t number)
{
    uint64_t usual = stream_begin(s, STREAM_FAULT, number);

    do_fault(s, random_kind(s, s->faults));
    stream_end(s, usual);
}

/* ---------------------------------------------------------------- a disk from an old copy */

static void copy_disk(struct sim *s, uint64_t sink)
{
    sim_copy_disk(s, (uint32_t)sink);
}

static void restore_disk(struct sim *s, uint64_t sink)
{
    sim_restore_disk(s, (uint32_t)sink);
    sim_call_at(s, a_while(s), start_node, number_of(s, sim_node(s, SIM_SINK, (uint32_t)sink)));
    sim_call_at(s, a_while(s) + 1000000, client_accept_sink, sink);
}

static void schedule_restore(struct sim *s, const struct run *run)
{
    uint64_t usual = stream_begin(s, STREAM_RESTORE, 0);
    uint32_t sink = sim_below(s, s->cfg.sinks);
    uint32_t copied_ms = sim_below(s, run->faults_ms);
    uint32_t restored_ms = copied_ms + sim_below(s, run->faults_ms - copied_ms);

    sim_call_at(s, s->now_us + copied_ms * 1000ull, copy_disk, sink);
    sim_call_at(s, s->now_us + restored_ms * 1000ull + 1, restore_disk, sink);
    stream_end(s, usual);
}

/* ---------------------------------------------------------------- a disk that is lost */

/* The only sink comes again as a new one, before or after the old one is removed. Of two the other
 * one has all; were the first to come again, who submits a task again would have to choose anew. */
static void lose_disk(struct sim *s, uint64_t sink)
{
    bool is_only = s->cfg.sinks == 1;
    uint64_t number = number_of(s, sim_node(s, SIM_SINK, (uint32_t)sink));

    sim_lose_disk(s, (uint32_t)sink, !is_only);
    if (is_only)
        sim_call_at(s, a_while(s), start_node, number);
    sim_call_at(s, a_while(s), client_remove_sink, sink);
}

static void schedule_removal(struct sim *s, const struct run *run)
{
    uint64_t usual = stream_begin(s, STREAM_REMOVE, 0);
    uint32_t lost_ms = sim_below(s, run->faults_ms);

    s->hears_of_loss = true;
    sim_call_at(s, s->now_us + lost_ms * 1000ull, lose_disk, sim_below(s, s->cfg.sinks));
    stream_end(s, usual);
}

/* ---------------------------------------------------------------- orders */

/* Rare ones are those that leave nothing to do. */
static enum sim_order_kind random_order_kind(struct sim *s)
{
    static const uint8_t weights[SIM_ORDER_KINDS] = {
        [SIM_PAUSE] = 4,        [SIM_RESUME] = 5,  [SIM_PURGE] = 2,
        [SIM_LIMIT] = 5,        [SIM_RATE] = 5,    [SIM_MOVE] = 2,
        [SIM_CANCEL_QUEUE] = 1, [SIM_REQUEUE] = 5, [SIM_DEAD_PURGE] = 1,
    };
    const struct run *run = s->faults;
    uint32_t sum = 0;
    uint32_t at;
    uint32_t i = 0;

    for (uint32_t k = 0; k < SIM_ORDER_KINDS; k++)
        sum += weights[k];
    at = sim_below(s, sum);
    while (at >= weights[i])
        at -= weights[i++];
    if (i == SIM_MOVE && run->seed % 4 != 0)
        i = SIM_RESUME; /* where a task is, is not known for sure any more: that blinds some checks
                         */
    return (enum sim_order_kind)i;
}

/* A task that failed, if there is one. */
static uint32_t random_failed(struct sim *s)
{
    uint32_t chosen = SIM_ALL;
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->tasks_n; i++)
        if (s->tasks[i].outcome == DTQ_FAILED && sim_below(s, ++n) == 0)
            chosen = i;
    return chosen;
}

static void random_order(struct sim *s, uint64_t number)
{
    uint64_t usual = stream_begin(s, STREAM_ORDER, number);
    struct sim_order o = {.kind = random_order_kind(s),
                          .queue = sim_chance(s, 50) ? 0 : sim_below(s, SIM_QUEUES),
                          .task = SIM_ALL};

    if (o.kind == SIM_LIMIT)
        o.number = sim_chance(s, 20) ? 0 : 1 + skewed(s, 5);
    if (o.kind == SIM_RATE) {
        o.number = sim_chance(s, 20) ? 0 : 1 + skewed(s, 20);
        o.period_ms = sim_chance(s, 80) ? 1000 : 10000;
    }
    if (o.kind == SIM_MOVE)
        o.number = (o.queue + 1 + sim_below(s, SIM_QUEUES - 1)) % SIM_QUEUES;
    if (sim_chance(s, 60))
        o.task = random_failed(s);
    sim_give_order(s, sim_below(s, s->cfg.clients), &o);
    stream_end(s, usual);
}

static void schedule_orders(struct sim *s, const struct run *run)
{
    uint64_t from_us = s->now_us;
    uint64_t usual = stream_begin(s, STREAM_ORDER, SIM_ORDERS_MAX);
    uint32_t orders = sim_below(s, SIM_ORDERS_MAX);

    for (uint32_t i = 0; i < orders; i++) {
        uint64_t at_us = from_us + sim_below(s, run->faults_ms * 1000);

        if ((run->cut.orders >> i & 1) == 0)
            sim_call_at(s, at_us, random_order, i);
    }
    stream_end(s, usual);
}

/* ---------------------------------------------------------------- ageing */

static void random_ageing(struct sim *s, uint64_t number)
{
    static const uint32_t steps_ms[] = {0, 1, 50, 300, 2000};
    uint64_t usual = stream_begin(s, STREAM_AGEING, number);
    struct sim_order o = {.kind = SIM_AGEING,
                          .queue = sim_below(s, SIM_QUEUES),
                          .period_ms = steps_ms[sim_below(s, 5)]};

    sim_give_order(s, sim_below(s, s->cfg.clients), &o);
    stream_end(s, usual);
}

/* In every second run, whatever else it has. */
static void schedule_ageing(struct sim *s, const struct run *run)
{
    uint64_t from_us = s->now_us;
    uint64_t usual = stream_begin(s, STREAM_AGEING, SIM_AGEING_ORDERS_MAX);

    for (uint32_t i = 0; i < SIM_AGEING_ORDERS_MAX && run->seed % 2 == 1; i++) {
        uint64_t at_us = from_us + sim_below(s, run->faults_ms * 1000);

        if ((run->cut.orders >> (SIM_ORDERS_MAX + SIM_CRON_ORDERS_MAX + i) & 1) == 0)
            sim_call_at(s, at_us, random_ageing, i);
    }
    stream_end(s, usual);
}

/* ---------------------------------------------------------------- cron entries */

/* Those that come often, as runs are short: in zones of whole, half and quarter hours. */
static const char *const expressions[] = {
    "* * * * * *",   "*/2 * * * * *",          "1-59/3 * * * * *",
    "*/5 * * * * *", "0,7,21,22,48 * * * * *", "*/10 22,23,3 * * *",
};
static const char *const zones[] = {NULL, "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu"};

static void random_cron(struct sim *s, struct sim_cron *cron, struct sim_plan *plan)
{
    bool is_bulky = s->cfg.bulky;
    bool is_rare;

    s->cfg.bulky = false;
    *plan = random_plan(s);
    s->cfg.bulky = is_bulky;
    plan->expires_ms = plan->delay_ms = 0; /* which count from the time that was due */
    plan->by_wall = false;
    *cron = (struct sim_cron){.missed = (enum dtqi_missed_runs)sim_below(s, 3),
                              .skip_overlap = sim_chance(s, 50),
                              .replace = sim_chance(s, 50),
                              .plan = plan};
    if (cron->missed == DTQI_MISSED_ALL)
        cron->missed_max = 1 + skewed(s, 20);
    is_rare = cron->missed == DTQI_MISSED_SKIP && sim_chance(s, 60); /* or none is missed */
    if (is_rare || sim_chance(s, 50)) {
        cron->every_ms = is_rare ? 10000 + sim_below(s, 20000) : 1000 + sim_below(s, 4000);
    } else {
        cron->expression = expressions[sim_below(s, sizeof expressions / sizeof *expressions)];
        cron->zone = zones[sim_below(s, sizeof zones / sizeof *zones)];
    }
}

static enum sim_order_kind random_cron_kind(struct sim *s)
{
    static const enum sim_order_kind kinds[] = {SIM_CRON_ADD,    SIM_CRON_ADD,    SIM_CRON_ADD,
                                                SIM_CRON_REMOVE, SIM_CRON_PAUSE,  SIM_CRON_PAUSE,
                                                SIM_CRON_RESUME, SIM_CRON_RESUME, SIM_CRON_RUN,
                                                SIM_CRON_RUN,    SIM_CRON_RUN,    SIM_CRON_RUN};

    return kinds[sim_below(s, sizeof kinds / sizeof *kinds)];
}

/* The first of each entry adds it. */
static void random_cron_order(struct sim *s, uint64_t number)
{
    const struct run *run = s->faults;
    uint64_t usual = stream_begin(s, STREAM_CRON, number);
    struct sim_order o = {.kind = number < SIM_CRONS ? SIM_CRON_ADD : random_cron_kind(s),
                          .entry = number < SIM_CRONS ? (uint32_t)number : sim_below(s, SIM_CRONS)};

    o.cron = run->crons[o.entry][sim_below(s, CRON_TEXTS)];
    sim_give_order(s, sim_below(s, s->cfg.clients), &o);
    stream_end(s, usual);
}

/* Behind the orders: what it has to miss is there. */
static void miss_times(struct sim *s, uint64_t down_ms)
{
    sim_kill(s, SIM_VENTILATOR, 0);
    sim_call_at(s, s->now_us + down_ms * 1000, start_node, VENT);
}

static void schedule_downtime(struct sim *s, struct run *run)
{
    uint32_t down_ms = DOWN_MS_MIN + sim_below(s, DOWN_MS_MAX - DOWN_MS_MIN);
    uint64_t at_us = s->now_us + (run->faults_ms / 2 + sim_below(s, run->faults_ms / 2)) * 1000ull;

    if ((run->cut.orders >> (SIM_ORDERS_MAX + SIM_CRON_ORDERS_MAX - 1) & 1) != 0)
        return;
    s->is_faultless = false;
    sim_call_at(s, at_us, miss_times, down_ms);
    run->faults_ms += down_ms;
}

static void schedule_crons(struct sim *s, struct run *run)
{
    uint64_t from_us = s->now_us;
    uint64_t usual = stream_begin(s, STREAM_CRON, SIM_CRON_ORDERS_MAX);
    uint32_t entries = 1 + sim_below(s, SIM_CRONS);
    uint32_t more = skewed(s, SIM_CRON_ORDERS_MAX - SIM_CRONS - 1);

    for (uint32_t i = 0; i < SIM_CRONS * CRON_TEXTS; i++)
        random_cron(s, &run->crons[i / CRON_TEXTS][i % CRON_TEXTS],
                    &run->cron_plans[i / CRON_TEXTS][i % CRON_TEXTS]);
    for (uint32_t i = 0; i < SIM_CRONS + more; i++) {
        uint32_t until_ms = i < SIM_CRONS ? run->faults_ms / 4 : run->faults_ms;
        uint64_t at_us = from_us + sim_below(s, until_ms * 1000);
        bool is_left_out = i >= entries && i < SIM_CRONS;

        if (!is_left_out && (run->cut.orders >> (SIM_ORDERS_MAX + i) & 1) == 0)
            sim_call_at(s, at_us, random_cron_order, i);
    }
    if (sim_chance(s, 40))
        schedule_downtime(s, run);
    stream_end(s, usual);
}

/* ---------------------------------------------------------------- a run */

static uint32_t draw(uint64_t *random, uint32_t n)
{
    *random += 0x9e3779b97f4a7c15ull;
    return (uint32_t)(dtqi_mix64(*random) % n);
}

static uint32_t at_most(uint32_t n, uint32_t max)
{
    return max != 0 && n > max ? max : n;
}

static void cut_down(struct sim_cfg *c, const struct sim_cut *cut)
{
    c->workers = at_most(c->workers, cut->workers);
    c->sinks = at_most(c->sinks, cut->sinks);
    c->clients = at_most(c->clients, cut->clients);
    c->slots = at_most(c->slots, cut->slots);
    if ((cut->plain & SIM_PLAIN_LIMITS) != 0) {
        c->window_max = 0;
        c->small = c->bulky = false;
    }
    if ((cut->plain & SIM_PLAIN_DELAYS) != 0) {
        c->link_us[1] = c->link_us[0];
        c->disk_us[1] = c->disk_us[0];
        c->think_us[1] = c->think_us[0];
    }
}

/* Mostly a few of each, now and then many. */
static uint32_t how_many(uint64_t *random, uint32_t usual, uint32_t max)
{
    return 1 + draw(random, draw(random, 16) == 0 ? max : usual);
}

/* The first worker serves all queues, so that none is left alone. */
static void choose_served(struct sim_cfg *c, uint64_t *random)
{
    for (uint32_t i = 1; i < c->workers; i++) {
        struct sim_served *served = &c->served[i];
        uint32_t first = draw(random, SIM_QUEUES);
        uint32_t step = 1 + draw(random, SIM_QUEUES - 1);

        served->n = draw(random, 3) == 0 ? 0 : 1 + draw(random, SIM_QUEUES);
        served->strict = draw(random, 4) != 0;
        for (uint32_t k = 0; k < served->n; k++) {
            served->queues[k] = (first + k * step) % SIM_QUEUES;
            served->weights[k] = 1 + draw(random, 4);
        }
    }
}

static void choose_bounds(struct sim_cfg *c, uint64_t *random)
{
    if (draw(random, 4) == 0)
        c->queue_tasks_max = 1 + draw(random, 12);
    if (draw(random, 6) == 0)
        c->backlog_tasks_max = 1 + draw(random, 20);
    if (draw(random, 6) == 0)
        c->dead_ttl_ms = 1000 + draw(random, 10000);
}

/* Half of the seeds; not those whose outcomes may be lost, as dead letters are of what failed. */
static bool has_rules(const struct sim_fault_cfg *cfg)
{
    return !cfg->restores && !cfg->removes && (dtqi_mix64(cfg->seed ^ 0x72756c6573ull) & 1) != 0;
}

/* An eighth of the seeds. */
static bool has_crons(const struct sim_fault_cfg *cfg)
{
    return has_rules(cfg) && (dtqi_mix64(cfg->seed ^ 0x63726f6eull) & 3) == 0;
}

static struct sim_cfg random_cfg(const struct sim_fault_cfg *cfg)
{
    struct sim_cfg c = {.seed = cfg->seed, .trace = cfg->trace, .is_quiet = !cfg->story};
    uint64_t random = dtqi_mix64(cfg->seed);

    c.workers = how_many(&random, 4, SIM_WORKERS_MAX);
    c.sinks = draw(&random, 8) == 0 ? 2 + draw(&random, SIM_SINKS_MAX - 1) : 1;
    c.clients = how_many(&random, 2, SIM_CLIENTS_MAX);
    c.slots = 1 + draw(&random, 3);
    c.link_us[0] = 50 + draw(&random, 500);
    c.link_us[1] = c.link_us[0] + 1 + draw(&random, draw(&random, 3) == 0 ? 100000 : 2000);
    c.disk_us[0] = 100 + draw(&random, 2000);
    c.disk_us[1] = c.disk_us[0] + 1 + draw(&random, 10000);
    c.think_us[1] = draw(&random, 500);
    c.window_max = draw(&random, 2) == 0 ? 1 + draw(&random, 8) : 0;
    c.small = draw(&random, 3) == 0;
    c.bulky = draw(&random, 100) == 0 && !c.small; /* rarely, as time goes with bytes */
    if (has_rules(cfg)) {
        choose_served(&c, &random);
        choose_bounds(&c, &random);
    }
    if (cfg->removes)
        c.sinks = 1 + draw(&random, 2);
    cut_down(&c, &cfg->cut);
    return c;
}

static void choose_losses(struct sim *s, const struct run *run)
{
    if (sim_chance(s, 20))
        s->full_permille = 1 + sim_below(s, 30);
    if (sim_chance(s, 10))
        s->lose_permille = 1 + sim_below(s, 20);
    if (sim_chance(s, 10))
        s->twice_permille = 1 + sim_below(s, 50);
    if ((run->cut.plain & SIM_PLAIN_LOSSES) != 0)
        s->full_permille = s->lose_permille = s->twice_permille = 0;
}

static void choose_faults(struct sim *s, struct run *run)
{
    uint32_t kinds = 1 + sim_below(s, 5);

    while (kinds-- > 0)
        run->weights[sim_below(s, SIM_FAULT_KINDS)] += 1 + sim_below(s, 3);
    run->faults_ms = 200 + sim_below(s, sim_chance(s, 50) ? 3000 : FAULTS_MS);
    run->while_ms = sim_chance(s, 50) ? 12000 : 2000;
    if (sim_chance(s, 5))
        run->faults_ms = run->while_ms = LONG_MS;
    if (run->has_crons)
        run->faults_ms += CRON_FAULTS_MS;
    choose_losses(s, run);
}

static bool knows_all_sinks(struct sim *s, const struct node *client)
{
    uint32_t peers[DTQI_SINKS_MAX];

    return client_sinks(client->client.core, peers) == s->cfg.sinks;
}

/* With several sinks, all clients must know all of them before the first task: which one a task
 * belongs to depends on which there are. */
static void wait_for_sinks(struct sim *s)
{
    bool all = s->cfg.sinks == 1;

    while (!all) {
        sim_run_until_ms(s, sim_now_ms(s) + 100);
        all = true;
        for (uint32_t i = 0; i < s->cfg.clients; i++)
            all &= knows_all_sinks(s, sim_node(s, SIM_CLIENT, i));
    }
}

static void schedule(struct sim *s, const struct run *run)
{
    uint64_t from_us = s->now_us;
    uint32_t tasks =
        s->cfg.bulky ? 4 + sim_below(s, BULKY_TASKS_MAX - 4) : 1 + skewed(s, SIM_TASKS_MAX - 1);
    uint32_t faults = sim_below(s, sim_chance(s, 50) ? 6 : SIM_FAULTS_MAX);
    uint32_t burst_ms = sim_chance(s, 40) ? 1 : run->faults_ms;

    s->is_faultless = faults == 0 && !run->restores && !run->removes && s->lose_permille == 0 &&
                      s->twice_permille == 0 && s->full_permille == 0;

    for (uint32_t i = 0; i < tasks; i++) {
        uint64_t at_us = from_us + sim_below(s, burst_ms * 1000);

        if ((run->cut.tasks >> i & 1) == 0)
            sim_call_at(s, at_us, submit_one, i);
    }
    for (uint32_t i = 0; i < faults; i++) {
        uint64_t at_us = from_us + sim_below(s, run->faults_ms * 1000);

        if ((run->cut.faults >> i & 1) == 0)
            sim_call_at(s, at_us, random_fault, i);
    }
}

static void add_totals(const struct sim *s, struct sim_totals *to, uint64_t calm_ms)
{
    uint64_t settle_ms = sim_now_ms(s) - calm_ms;

    to->steps += s->steps;
    to->tasks += s->tasks_n;
    for (uint32_t i = 0; i < s->tasks_n; i++)
        to->runs += s->tasks[i].runs;
    to->orders += s->totals.orders;
    to->cron_made += s->totals.cron_made;
    to->cron_again += s->totals.cron_again;
    to->requeued += s->totals.requeued;
    to->keys_same += s->totals.keys_same;
    to->keys_conflict += s->totals.keys_conflict;
    to->frames_lost += s->totals.frames_lost;
    to->frames_twice += s->totals.frames_twice;
    to->removes += s->totals.removes;
    to->restores += s->totals.restores;
    to->accepts += s->totals.accepts;
    to->outcomes_lost += s->totals.outcomes_lost;
    to->outcomes_again += s->totals.outcomes_again;
    if (settle_ms > to->settle_ms_max)
        to->settle_ms_max = settle_ms;
    for (uint32_t i = 0; i < SIM_FAULT_KINDS; i++)
        to->faults[i] += s->totals.faults[i];
    vent_add_counters(&to->ventilators, &s->totals.ventilators);
    if (s->nodes[VENT].is_up)
        vent_add_counters(&to->ventilators, vent_counters(s->nodes[VENT].vent.core));
}

bool sim_random_run(const struct sim_fault_cfg *cfg, char *why, unsigned why_bytes,
                    struct sim_totals *totals, uint64_t *ret_fingerprint)
{
    struct sim_cfg c = random_cfg(cfg);
    struct run run = {.seed = cfg->seed,
                      .cut = cfg->cut,
                      .restores = cfg->restores,
                      .removes = cfg->removes,
                      .has_rules = has_rules(cfg),
                      .has_crons = has_crons(cfg)};
    struct sim *s = sim_new(&c);
    uint64_t calm_ms;
    bool good;

    s->faults = &run;
    wait_for_sinks(s);
    choose_faults(s, &run);
    schedule(s, &run);
    if (run.restores)
        schedule_restore(s, &run);
    if (run.removes)
        schedule_removal(s, &run);
    if (run.has_rules)
        schedule_orders(s, &run);
    if (run.has_crons)
        schedule_crons(s, &run);
    if (!run.restores)
        schedule_ageing(s, &run);
    sim_run_until_ms(s, sim_now_ms(s) + run.faults_ms);
    check_durable(s);
    calm_ms = sim_now_ms(s);
    good = sim_settle(s, SETTLE_MS);
    if (!good)
        snprintf(why, why_bytes, "%s", sim_failure(s));
    if (cfg->story && !cfg->trace)
        fputs(sim_story(s), stdout);
    *ret_fingerprint = sim_fingerprint(s);
    add_totals(s, totals, calm_ms);
    sim_free(s);
    return good;
}
