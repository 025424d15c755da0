/*
 * The ventilator's core: cron entries under kills at any moment, commits that come late, not at
 * all, or whose answer is lost, full disks, sinks that go, operators, and clocks that jump; many
 * times, as a seed says.
 */
#include "vent_world.h"

#include "cron.h"

#define SEEDS 150u
#define STEPS 120u
#define TASKS_MAX 4096u

struct chaos {
    struct world *w;
    uint64_t random;
    bool clock_jumps;
};

static uint64_t rnd(struct chaos *c, uint64_t bound)
{
    return dtqi_mix64(c->random += 0x9e3779b97f4a7c15ull) % bound;
}

/* ---------------------------------------------------------------- talking to it */

static void add(struct chaos *c, const char *name, struct dtqi_cron_entry entry)
{
    struct dtqi_buf *buf = dtqi_buf_new(1024, 1u << 20);
    struct dtqi_msg msg = {.type = DTQI_OPERATE};

    entry.spec = (struct dtqi_spec){.name = dtqi_str("t"), .queue = dtqi_str(name)};
    entry.spec.raw = dtqi_spec_encode(&entry.spec, buf);
    msg.operate = (struct dtqi_operate){
        .request = 1, .operation = DTQI_CRON_ADD, .target = dtqi_str(name), .cron = &entry};
    world_msg(c->w, PRODUCER, &msg);
    dtqi_buf_unref(buf);
}

static void order(struct chaos *c, enum dtqi_operation operation, const char *name)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE};

    msg.operate =
        (struct dtqi_operate){.request = 1, .operation = operation, .target = dtqi_str(name)};
    world_msg(c->w, PRODUCER, &msg);
}

static const struct dtqi_query_reply *ask(struct chaos *c, struct dtqi_query q)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY, .query = q};

    world_clear(c->w);
    world_msg(c->w, PRODUCER, &msg);
    world_tick(c->w);
    return &world_take(c->w, WORLD_SEND, DTQI_QUERY_REPLY)->msg.query_reply;
}

/* Open tasks of a queue, in the order of ids. @return how many. */
static uint32_t tasks_of(struct chaos *c, const char *queue, dtq_id *ret_ids)
{
    struct dtqi_query q = {.kind = DTQI_QUERY_TASKS, .limit = 1000, .queue = dtqi_str(queue)};
    uint32_t n = 0;

    for (;;) {
        const struct dtqi_query_reply *r = ask(c, q);

        for (uint32_t i = 0; i < r->tasks_n; i++) {
            assert_true(n < TASKS_MAX);
            ret_ids[n++] = r->tasks[i].id;
        }
        if (r->next.len == 0)
            return n;
        assert_true(n != 0);
        q.after = (struct dtqi_slice){&ret_ids[n - 1], sizeof *ret_ids};
    }
}

/* ---------------------------------------------------------------- what happens */

static void peers_come(struct chaos *c)
{
    if (rnd(c, 4) != 0)
        world_sink_hello(c->w, SINK_ROUTE, 0x51, 0x61);
    world_producer(c->w, PRODUCER);
}

/* With a batch under way: it may be committed all the same. */
static void kill_it(struct chaos *c)
{
    struct world *w = c->w;

    if (w->jobs_n != 0 && w->jobs[0].batch != NULL && rnd(c, 2) == 0 && w->journal_err == DTQ_OK)
        journal_apply(w->journal, w->jobs[0].batch);
    world_kill(w);
    w->cfg.seed = rnd(c, UINT32_MAX); /* as each start has its own */
    w->journal_stuck = false;
    w->now_ms += rnd(c, 2) != 0 ? rnd(c, 8000) : 0;
    world_start(w);
    peers_come(c);
}

static void some_order(struct chaos *c)
{
    static const enum dtqi_operation operations[] = {DTQI_CRON_PAUSE, DTQI_CRON_RESUME,
                                                     DTQI_CRON_RUN, DTQI_CRON_RUN};
    static const char *const names[] = {"pausing", "alone"};

    order(c, operations[rnd(c, 4)], names[rnd(c, 2)]);
    if (rnd(c, 8) == 0) {
        order(c, DTQI_CRON_REMOVE, "fleeting");
        add(c, "fleeting", (struct dtqi_cron_entry){.every_ms = 1000 + rnd(c, 2) * 500});
    }
}

static void anything(struct chaos *c)
{
    struct vent_event ev = {.type = VENT_EV_TICK};

    switch (rnd(c, 12)) {
    case 0: kill_it(c); break;
    case 1: c->w->journal_stuck = !c->w->journal_stuck; break;
    case 2: c->w->journal_err = rnd(c, 2) != 0 ? DTQ_OK : DTQ_ENOSPC; break;
    case 3: world_journal(c->w); break;
    case 4: peers_come(c); break;
    case 5: some_order(c); break;
    case 6:
        if (c->clock_jumps && rnd(c, 3) == 0)
            c->w->wall_offset_ms += (int64_t)rnd(c, 40000) - 20000;
        break;
    case 7: world_event(c->w, &ev); break;
    default: world_pass(c->w, rnd(c, 2500)); break;
    }
    world_clear(c->w);
}

static void settle_down(struct chaos *c)
{
    c->w->journal_stuck = false;
    c->w->journal_err = DTQ_OK;
    world_pass(c->w, 2000);
    world_sink(c->w);
    world_producer(c->w, PRODUCER);
    world_pass(c->w, 60000);
}

/* ---------------------------------------------------------------- what must be */

/* Every second has one task, and in the order of seconds; without jumps of the clock none is
 * left out. */
static void check_seconds(struct chaos *c, uint64_t seed)
{
    static dtq_id ids[TASKS_MAX];
    uint32_t n = tasks_of(c, "seconds", ids);

    if (n < 60)
        fail_msg("seed %llu: %u tasks", (unsigned long long)seed, n);
    for (uint32_t i = 1; i < n; i++) {
        uint64_t at = dtqi_id_wall_ms(&ids[i]);
        uint64_t before = dtqi_id_wall_ms(&ids[i - 1]);

        if (at % 1000 != 0 || at <= before || (!c->clock_jumps && at != before + 1000))
            fail_msg("seed %llu: a task of %llu behind one of %llu", (unsigned long long)seed,
                     (unsigned long long)at, (unsigned long long)before);
    }
}

static void check_counts(struct chaos *c, uint64_t seed)
{
    static dtq_id ids[TASKS_MAX];
    static const char *const names[] = {"seconds", "pausing", "alone"};

    for (int i = 0; i < 3; i++) {
        uint32_t n = tasks_of(c, names[i], ids);
        const struct dtqi_query_reply *r =
            ask(c, (struct dtqi_query){.kind = DTQI_QUERY_CRON, .cron = dtqi_str(names[i])});

        assert_int_equal(r->crons_n, 1);
        if (r->crons[0].fired != n)
            fail_msg("seed %llu: '%s' says %llu runs, and has %u tasks", (unsigned long long)seed,
                     names[i], (unsigned long long)r->crons[0].fired, n);
    }
}

static void run_seed(uint64_t seed)
{
    struct vent_cfg cfg;
    struct chaos c = {.random = seed * 7919, .clock_jumps = seed % 3 == 0};

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = seed % 2 != 0 ? 64 : 4096;
    cfg.journal_ops_max = seed % 5 == 0 ? 8 : 4096;
    cfg.cron = (struct vent_cron_calls){cron_parse, cron_next, cron_free};
    c.w = world_new(&cfg);
    world_sink(c.w);
    world_producer(c.w, PRODUCER);
    add(&c, "seconds",
        (struct dtqi_cron_entry){.expression = dtqi_str("* * * * * *"),
                                 .missed = DTQI_MISSED_ALL,
                                 .missed_max = DTQI_CRON_MISSED_MAX});
    add(&c, "pausing", (struct dtqi_cron_entry){.every_ms = 3000});
    add(&c, "alone", (struct dtqi_cron_entry){.every_ms = 2000, .skip_overlap = true});
    add(&c, "fleeting", (struct dtqi_cron_entry){.every_ms = 1000});
    world_tick(c.w);
    for (uint32_t i = 0; i < STEPS; i++)
        anything(&c);
    settle_down(&c);
    check_seconds(&c, seed);
    check_counts(&c, seed);
    world_free(c.w);
}

static void each_time_fires_once_whatever_happens(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_time_fires_once_whatever_happens)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
