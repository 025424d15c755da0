/* The ventilator's core: cron entries fire once for each of their times, across restarts and jumps
 * of the clock, and by the policies that they were given. */
#include "vent_world.h"

#include "cron.h"

#define SECOND 1000ull
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static struct world *world_of(const struct vent_cfg *cfg)
{
    struct world *w = world_new(cfg);

    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
    return w;
}

static struct vent_cfg cfg_of(void)
{
    struct vent_cfg cfg;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    cfg.cron = (struct vent_cron_calls){cron_parse, cron_next, cron_free};
    return cfg;
}

static int begin(void **state)
{
    struct vent_cfg cfg = cfg_of();

    *state = world_of(&cfg);
    return 0;
}

static int end(void **state)
{
    world_free(*state);
    return 0;
}

/* As begin(), after a kill -9 and some time: peers come back. */
static void restart_after(struct world *w, uint64_t ms)
{
    world_kill(w);
    w->now_ms += ms;
    world_start(w);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_tick(w);
    world_clear(w);
}

/* ---------------------------------------------------------------- asking and ordering */

static struct world_sent *query(struct world *w, struct dtqi_query q)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY};

    world_clear(w);
    q.request = ++w->requests;
    msg.query = q;
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    return world_take(w, WORLD_SEND, DTQI_QUERY_REPLY);
}

static const struct dtqi_query_reply *tasks(struct world *w)
{
    return &query(w, (struct dtqi_query){.kind = DTQI_QUERY_TASKS, .limit = 1000})->msg.query_reply;
}

static uint32_t tasks_n(struct world *w)
{
    return tasks(w)->tasks_n;
}

static const struct dtqi_cron_info *shown(struct world *w, const char *name)
{
    const struct dtqi_query_reply *r =
        &query(w,
               (struct dtqi_query){.kind = DTQI_QUERY_CRON, .cron = dtqi_str(name), .bodies = true})
             ->msg.query_reply;

    assert_true(r->crons_n <= 1);
    return r->crons_n != 0 ? r->crons : NULL;
}

static void operate(struct world *w, struct dtqi_operate m)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE};

    world_clear(w);
    m.request = ++w->requests;
    msg.operate = m;
    world_msg(w, PRODUCER, &msg);
}

static const struct dtqi_operate_reply *reply_of(struct world *w)
{
    return &world_take(w, WORLD_SEND, DTQI_OPERATE_REPLY)->msg.operate_reply;
}

static const struct dtqi_operate_reply *operated(struct world *w, enum dtqi_operation operation,
                                                 const char *name)
{
    operate(w, (struct dtqi_operate){.operation = operation, .target = dtqi_str(name)});
    world_tick(w);
    return reply_of(w);
}

static void order(struct world *w, enum dtqi_operation operation, const char *name)
{
    const struct dtqi_operate_reply *r = operated(w, operation, name);

    if (r->reason != DTQI_REFUSAL_NONE)
        fail_msg("refused: %.*s", (int)r->text.len, r->text.at);
    assert_int_equal(r->count, 1);
}

struct told {
    struct dtqi_cron_entry entry;
    struct dtqi_spec spec;
    struct dtqi_buf *buf;
};

static void told_init(struct told *t, struct dtqi_cron_entry entry, const char *payload)
{
    t->buf = dtqi_buf_new(4096, 1u << 20);
    t->spec = (struct dtqi_spec){.name = dtqi_str("report"), .queue = dtqi_str("q")};
    t->entry = entry;
    if (entry.spec.name.len != 0)
        t->spec = entry.spec;
    t->spec.raw = dtqi_spec_encode(&t->spec, t->buf);
    t->entry.spec = t->spec;
    t->entry.payload = (struct dtqi_slice){payload, (uint32_t)strlen(payload)};
}

static void add_only(struct world *w, const char *name, struct dtqi_cron_entry entry,
                     const char *payload)
{
    struct told t;

    told_init(&t, entry, payload);
    operate(w, (struct dtqi_operate){
                   .operation = DTQI_CRON_ADD, .target = dtqi_str(name), .cron = &t.entry});
    dtqi_buf_unref(t.buf);
}

static const struct dtqi_operate_reply *added(struct world *w, const char *name,
                                              struct dtqi_cron_entry entry)
{
    add_only(w, name, entry, "body");
    world_tick(w);
    return reply_of(w);
}

static void add(struct world *w, const char *name, struct dtqi_cron_entry entry)
{
    const struct dtqi_operate_reply *r = added(w, name, entry);

    if (r->reason != DTQI_REFUSAL_NONE)
        fail_msg("refused: %.*s", (int)r->text.len, r->text.at);
}

static void expect_refused(struct world *w, const char *name, struct dtqi_cron_entry entry,
                           enum dtqi_refusal reason, const char *part)
{
    const struct dtqi_operate_reply *r = added(w, name, entry);
    char text[600];

    snprintf(text, sizeof text, "%.*s", (int)r->text.len, r->text.at);
    assert_int_equal(r->reason, reason);
    if (strstr(text, part) == NULL)
        fail_msg("'%s' does not say '%s'", text, part);
}

/* Every ten seconds; a default of these tests. */
static struct dtqi_cron_entry each_10s(void)
{
    return (struct dtqi_cron_entry){.every_ms = 10 * SECOND};
}

static struct dtqi_cron_entry at(const char *expression)
{
    return (struct dtqi_cron_entry){.expression = dtqi_str(expression)};
}

/* The times that the open tasks were made for, which their ids tell; they are in that order. */
static void expect_times(struct world *w, const uint64_t *wall_ms, uint32_t n)
{
    const struct dtqi_query_reply *r = tasks(w);

    assert_int_equal(r->tasks_n, n);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(dtqi_id_wall_ms(&r->tasks[i].id), wall_ms[i]);
}

static void settle(struct world *w, const dtq_id *id)
{
    uint32_t kind = DTQ_SUCCEEDED;

    w->settled++;
    world_settled(w, SINK_ROUTE, 0x51, w->settled, w->settled, id, &kind, NULL, 1);
    world_pass(w, 200);
}

static void settle_all(struct world *w)
{
    const struct dtqi_query_reply *r = tasks(w);
    uint32_t n = r->tasks_n;
    dtq_id ids[64];

    assert_true(n <= 64);
    for (uint32_t i = 0; i < n; i++)
        ids[i] = r->tasks[i].id;
    world_sink(w); /* it may have been silent for too long */
    for (uint32_t i = 0; i < n; i++)
        settle(w, &ids[i]);
}

/* ---------------------------------------------------------------- firing */

static void an_interval_fires_at_each_of_its_times(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    const uint64_t times[] = {t0 + 10 * SECOND, t0 + 20 * SECOND, t0 + 30 * SECOND};
    const struct dtqi_cron_info *info;

    add(w, "tick", each_10s());
    world_pass(w, 9999);
    assert_int_equal(tasks_n(w), 0);
    world_pass(w, 25001);
    expect_times(w, times, 3);
    info = shown(w, "tick");
    assert_int_equal(info->fired, 3);
    assert_int_equal(info->missed, 0);
    assert_int_equal(info->due_wall_ms, t0 + 30 * SECOND);
    assert_int_equal(info->fired_wall_ms, t0 + 30 * SECOND);
    assert_int_equal(info->next_wall_ms, t0 + 40 * SECOND);
    assert_int_equal(vent_counters(w->v)->cron_fired, 3);
}

/* The world begins at 22:13:20 UTC on a Tuesday. */
static void an_expression_fires_at_each_of_its_times(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    uint64_t first = t0 + 100 * SECOND; /* 22:15 */
    const uint64_t times[] = {first, first + 5 * MINUTE, first + 10 * MINUTE};
    struct dtqi_cron_entry daily = at("30 0 * * *");

    daily.zone = dtqi_str("Europe/Berlin"); /* 23:30 UTC */
    add(w, "often", at("*/5 * * * *"));
    add(w, "daily", daily);
    world_pass(w, 12 * MINUTE);
    expect_times(w, times, 3);
    assert_int_equal(shown(w, "daily")->next_wall_ms, t0 + 76 * MINUTE + 40 * SECOND);
}

static void a_run_is_the_task_that_was_ordered(void **state)
{
    struct world *w = *state;
    struct dtqi_cron_entry e = each_10s();
    const struct dtqi_task_info *t;

    e.spec = (struct dtqi_spec){.name = dtqi_str("report"),
                                .queue = dtqi_str("slow"),
                                .priority = 7,
                                .retries = 2,
                                .backoff_max_ms = 9};
    add(w, "tick", e);
    world_pass(w, 11 * SECOND);
    t = tasks(w)->tasks;
    assert_true(dtqi_str_eq(t->spec.queue, dtqi_str("slow")));
    assert_int_equal(t->spec.priority, 7);
    assert_int_equal(t->spec.retries, 2);
    assert_int_equal(t->payload_bytes, 4);
    assert_int_equal(t->state, DTQ_READY);
    assert_true(dtqi_str_eq(t->spec.cron, dtqi_str("tick")));
}

static void a_run_may_be_delayed(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    struct dtqi_cron_entry e = each_10s();

    e.delay_ms = 3 * SECOND;
    add(w, "tick", e);
    world_pass(w, 11 * SECOND);
    assert_int_equal(tasks(w)->tasks[0].state, DTQ_SCHEDULED);
    assert_int_equal(tasks(w)->tasks[0].due_wall_ms, t0 + 13 * SECOND);
    world_pass(w, 3 * SECOND);
    assert_int_equal(tasks(w)->tasks[0].state, DTQ_READY);
}

static void a_run_goes_to_a_worker_and_is_settled_as_any_task(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    uint32_t numbers[4];
    uint32_t ticket;

    add(w, "tick", each_10s());
    world_live(w, 10500, &x, NULL);
    assert_int_equal(world_tasks(w, &x, numbers, &ticket, 4), 1);
    world_done(w, &x, &ticket, 1);
    settle_all(w);
    assert_int_equal(tasks_n(w), 0);
}

/* ---------------------------------------------------------------- commits and crashes */

static void an_order_is_answered_when_it_is_committed(void **state)
{
    struct world *w = *state;

    w->journal_stuck = true;
    add_only(w, "tick", each_10s(), "body");
    world_tick(w);
    assert_null(world_find(w, WORLD_SEND, DTQI_OPERATE_REPLY));
    assert_null(shown(w, "tick"));
    w->journal_stuck = false;
    world_clear(w);
    world_tick(w);
    assert_int_equal(reply_of(w)->reason, DTQI_REFUSAL_NONE);
    assert_non_null(shown(w, "tick"));
}

static void entries_survive_a_restart(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    struct dtqi_cron_entry e = at("0 3 * * 1-5");
    const struct dtqi_cron_info *info;

    e.zone = dtqi_str("America/New_York");
    e.missed = DTQI_MISSED_ALL;
    e.missed_max = 7;
    e.skip_overlap = true;
    e.delay_ms = 5;
    add(w, "nightly", e);
    add(w, "tick", each_10s());
    world_pass(w, 15 * SECOND);
    order(w, DTQI_CRON_PAUSE, "tick");
    restart_after(w, 1);
    info = shown(w, "nightly");
    assert_true(dtqi_str_eq(info->entry.expression, dtqi_str("0 3 * * 1-5")));
    assert_true(dtqi_str_eq(info->entry.zone, dtqi_str("America/New_York")));
    assert_int_equal(info->entry.missed, DTQI_MISSED_ALL);
    assert_int_equal(info->entry.missed_max, 7);
    assert_true(info->entry.skip_overlap);
    assert_int_equal(info->entry.delay_ms, 5);
    assert_true(dtqi_str_eq(info->entry.spec.name, dtqi_str("report")));
    assert_int_equal(info->payload_bytes, 4);
    assert_memory_equal(info->entry.payload.at, "body", 4);
    assert_int_equal(info->created_wall_ms, t0);
    info = shown(w, "tick");
    assert_true(info->paused);
    assert_int_equal(info->fired, 1);
    assert_int_equal(info->due_wall_ms, t0 + 10 * SECOND);
    assert_int_equal(info->next_wall_ms, 0);
}

static void a_time_that_was_committed_does_not_fire_again_after_a_crash(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    const uint64_t times[] = {t0 + 10 * SECOND, t0 + 20 * SECOND};

    add(w, "tick", each_10s());
    world_pass(w, 10 * SECOND);
    restart_after(w, 1);
    world_pass(w, 5 * SECOND);
    expect_times(w, times, 1);
    world_pass(w, 5 * SECOND);
    expect_times(w, times, 2);
}

/* The crash comes when the run was made, and even given to a worker, but not committed. */
static void a_time_that_was_not_committed_fires_again_under_the_same_id(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct world_sent *s;
    dtq_id id;

    add(w, "tick", each_10s());
    world_live(w, 9500, &x, NULL);
    w->journal_stuck = true;
    world_live(w, SECOND, &x, NULL);
    s = world_take(w, WORLD_LANE, DTQI_TASKS);
    id = s->msg.tasks.ids[0];
    w->journal_stuck = false;
    restart_after(w, 1);
    assert_int_equal(tasks_n(w), 1);
    assert_true(dtqi_id_eq(&tasks(w)->tasks[0].id, &id));
    assert_int_equal(shown(w, "tick")->fired, 1);
}

/* What changes about an entry while its run is on its way does not take the run along. */
static void a_pause_does_not_commit_a_run_that_is_under_way(void **state)
{
    struct world *w = *state;

    add(w, "tick", each_10s());
    world_pass(w, 9 * SECOND);
    w->journal_stuck = true;
    world_pass(w, 1100);
    w->journal_err = DTQ_ENOSPC; /* its put does not fit .. */
    world_journal(w);
    w->journal_err = DTQ_OK;
    w->journal_stuck = false;
    operate(w, (struct dtqi_operate){.operation = DTQI_CRON_PAUSE, .target = dtqi_str("tick")});
    world_tick(w); /* .. and this is written without it */
    assert_int_equal(reply_of(w)->reason, DTQI_REFUSAL_NONE);
    world_kill(w);
    world_start(w);
    world_sink(w);
    world_producer(w, PRODUCER);
    assert_int_equal(tasks_n(w), 0);
    assert_true(shown(w, "tick")->paused);
    assert_int_equal(shown(w, "tick")->fired, 0);
    order(w, DTQI_CRON_RESUME, "tick");
    world_pass(w, 100);
    assert_int_equal(tasks_n(w), 1);
}

/* A run that is settled before anything of it is written comes with the deletes of a batch; a pause
 * of its entry is in the same batch. */
static void a_run_that_settles_at_once_is_not_forgotten_for_a_change(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    uint32_t numbers[4];
    uint32_t ticket;
    dtq_id id;

    add(w, "tick", each_10s());
    world_live(w, 9500, &x, NULL);
    w->journal_stuck = true;
    add_only(w, "other", each_10s(), "body"); /* a batch is under way */
    world_live(w, SECOND, &x, NULL);
    id = world_take(w, WORLD_LANE, DTQI_TASKS)->msg.tasks.ids[0];
    assert_int_equal(world_tasks(w, &x, numbers, &ticket, 4), 1);
    world_done(w, &x, &ticket, 1);
    settle(w, &id);
    operate(w, (struct dtqi_operate){.operation = DTQI_CRON_PAUSE, .target = dtqi_str("tick")});
    w->journal_stuck = false;
    world_tick(w);
    assert_int_equal(reply_of(w)->reason, DTQI_REFUSAL_NONE);
    restart_after(w, 1);
    assert_true(shown(w, "tick")->paused);
    assert_int_equal(shown(w, "tick")->fired, 1);
    order(w, DTQI_CRON_RESUME, "tick");
    world_pass(w, 100);
    assert_int_equal(tasks_n(w), 0);
}

static void a_run_that_is_under_way_does_not_take_the_times_of_a_replacement_back(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    struct dtqi_cron_entry e = {.every_ms = 7 * SECOND, .replace = true};
    const uint64_t times[] = {t0 + 10 * SECOND, t0 + 11 * SECOND + 7 * SECOND};

    add(w, "tick", each_10s());
    world_pass(w, 9500);
    w->journal_stuck = true;
    add_only(w, "other", each_10s(), "body"); /* a batch is under way */
    world_pass(w, 1500);
    add_only(w, "tick", e, "body");
    world_tick(w);
    w->journal_stuck = false;
    world_tick(w);
    order(w, DTQI_CRON_REMOVE, "other");
    restart_after(w, 1);
    assert_int_equal(shown(w, "tick")->fired, 1);
    assert_int_equal(shown(w, "tick")->next_wall_ms, times[1]);
    world_pass(w, 8 * SECOND);
    expect_times(w, times, 2);
}

/* One entry changes again while it is written, and then another one. */
static void a_change_behind_one_that_is_being_written_is_not_lost(void **state)
{
    struct world *w = *state;

    add(w, "a", each_10s());
    add(w, "b", each_10s());
    w->journal_stuck = true;
    operate(w, (struct dtqi_operate){.operation = DTQI_CRON_PAUSE, .target = dtqi_str("a")});
    world_tick(w);
    operate(w, (struct dtqi_operate){.operation = DTQI_CRON_RESUME, .target = dtqi_str("a")});
    operate(w, (struct dtqi_operate){.operation = DTQI_CRON_REMOVE, .target = dtqi_str("b")});
    w->journal_stuck = false;
    world_tick(w);
    restart_after(w, 1);
    assert_false(shown(w, "a")->paused);
    assert_null(shown(w, "b"));
}

static void a_full_disk_delays_a_run_and_loses_none(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    const uint64_t times[] = {t0 + 10 * SECOND, t0 + 20 * SECOND};

    add(w, "tick", each_10s());
    world_pass(w, 9 * SECOND);
    w->journal_err = DTQ_ENOSPC;
    world_pass(w, 5 * SECOND);
    assert_int_equal(shown(w, "tick")->fired, 0);
    w->journal_err = DTQ_OK;
    world_pass(w, 2 * SECOND);
    expect_times(w, times, 1);
    assert_int_equal(shown(w, "tick")->fired, 1);
    world_pass(w, 4 * SECOND);
    expect_times(w, times, 2);
}

static void an_entry_that_does_not_fit_on_the_disk_is_refused(void **state)
{
    struct world *w = *state;

    w->journal_err = DTQ_ENOSPC;
    add_only(w, "tick", each_10s(), "body");
    for (int i = 0; i < 3; i++) {
        world_tick(w);
        w->now_ms += 100;
    }
    assert_int_equal(reply_of(w)->reason, DTQI_NO_SPACE);
    w->journal_err = DTQ_OK;
    world_pass(w, 2 * SECOND);
    assert_null(shown(w, "tick"));
    add(w, "tick", each_10s());
}

/* ---------------------------------------------------------------- missed runs */

static void of_missed_runs_one_makes_up_for_all(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    const uint64_t times[] = {t0 + 70 * SECOND};

    add(w, "tick", each_10s());
    restart_after(w, 75 * SECOND);
    expect_times(w, times, 1);
    assert_int_equal(shown(w, "tick")->missed, 6);
    assert_int_equal(shown(w, "tick")->next_wall_ms, t0 + 80 * SECOND);
}

/* R51: it counts from when it was due. */
static void what_is_made_late_has_waited(void **state)
{
    struct world *w = *state;
    struct dtqi_operate ageing = {
        .operation = DTQI_QUEUE_AGEING, .target = dtqi_str("q"), .period_ms = SECOND};
    const struct world_task plain = {.priority = 5};
    struct world_worker x;
    uint32_t number;
    uint32_t ticket;
    dtq_id id;

    add(w, "tick", each_10s());
    operate(w, ageing);
    world_tick(w);
    restart_after(w, 18 * SECOND);
    id = world_id_at(1, world_wall_ms(w));
    world_submit_ids(w, &id, 1, &plain);
    x = world_worker(w, 1, 1, 0);
    world_credit(w, &x, 1);
    world_pass(w, 10);
    assert_int_equal(world_tasks(w, &x, &number, &ticket, 1), 1);
    assert_int_not_equal(number, 1);
}

static void missed_runs_may_be_left_out(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    struct dtqi_cron_entry e = {.every_ms = MINUTE, .missed = DTQI_MISSED_SKIP};
    const uint64_t times[] = {t0 + 4 * MINUTE};

    add(w, "tick", e);
    restart_after(w, 3 * MINUTE + 30 * SECOND);
    assert_int_equal(tasks_n(w), 0);
    assert_int_equal(shown(w, "tick")->missed, 3);
    assert_int_equal(shown(w, "tick")->fired, 0);
    world_pass(w, 30 * SECOND);
    expect_times(w, times, 1);
}

static void a_run_that_is_a_little_late_was_not_missed(void **state)
{
    struct world *w = *state;
    struct dtqi_cron_entry e = {.every_ms = MINUTE, .missed = DTQI_MISSED_SKIP};

    add(w, "tick", e);
    restart_after(w, MINUTE + 9 * SECOND);
    assert_int_equal(tasks_n(w), 1);
    assert_int_equal(shown(w, "tick")->missed, 0);
}

static void missed_runs_may_all_be_made_up_for_up_to_a_number(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    struct dtqi_cron_entry e = {.every_ms = MINUTE, .missed = DTQI_MISSED_ALL, .missed_max = 3};
    const uint64_t times[] = {t0 + 3 * MINUTE, t0 + 4 * MINUTE, t0 + 5 * MINUTE};

    add(w, "tick", e);
    restart_after(w, 5 * MINUTE + SECOND);
    expect_times(w, times, 3);
    assert_int_equal(shown(w, "tick")->missed, 2);
    assert_int_equal(shown(w, "tick")->fired, 3);
}

static void missed_runs_of_an_expression_are_found_from_the_end(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w); /* 22:13:20 */
    struct dtqi_cron_entry e = at("0 12 * * *");
    uint64_t noon = t0 + 13 * HOUR + 46 * MINUTE + 40 * SECOND;
    const uint64_t times[] = {noon + 397 * DAY, noon + 398 * DAY, noon + 399 * DAY};

    e.missed = DTQI_MISSED_ALL;
    e.missed_max = 3;
    add(w, "noon", e);
    restart_after(w, 400 * DAY);
    expect_times(w, times, 3);
    assert_int_equal(shown(w, "noon")->missed, 397);
}

static void what_all_means_is_found_one_crash_after_the_other(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    struct dtqi_cron_entry e = {.every_ms = MINUTE, .missed = DTQI_MISSED_ALL, .missed_max = 100};
    const uint64_t times[] = {t0 + 1 * MINUTE, t0 + 2 * MINUTE, t0 + 3 * MINUTE};

    add(w, "tick", e);
    world_kill(w);
    w->now_ms += 3 * MINUTE + SECOND;
    for (int i = 0; i < 6; i++) { /* killed with each commit */
        struct vent_event ev = {.type = VENT_EV_TICK};

        world_start(w);
        world_sink_hello(w, SINK_ROUTE, 0x51, 0x61);
        world_event(w, &ev);
        world_journal(w);
        world_kill(w);
    }
    restart_after(w, 1);
    world_pass(w, 100);
    expect_times(w, times, 3);
}

static void what_was_due_during_a_pause_is_missed(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    struct dtqi_cron_entry skip = {.every_ms = MINUTE, .missed = DTQI_MISSED_SKIP};
    const uint64_t times[] = {t0 + 30 * SECOND};

    add(w, "once", each_10s());
    add(w, "skip", skip);
    order(w, DTQI_CRON_PAUSE, "once");
    order(w, DTQI_CRON_PAUSE, "skip");
    assert_int_equal(shown(w, "once")->next_wall_ms, 0);
    world_pass(w, 35 * SECOND);
    assert_int_equal(tasks_n(w), 0);
    order(w, DTQI_CRON_RESUME, "once");
    world_pass(w, 100);
    expect_times(w, times, 1);
    world_pass(w, 90 * SECOND);
    assert_int_equal(shown(w, "skip")->fired, 0);
    order(w, DTQI_CRON_RESUME, "skip");
    assert_int_equal(shown(w, "skip")->missed + shown(w, "skip")->fired, 2);
}

/* ---------------------------------------------------------------- clocks */

static void a_clock_set_back_fires_no_time_again(void **state)
{
    struct world *w = *state;

    add(w, "often", at("*/5 * * * *"));
    world_pass(w, 6 * MINUTE);
    assert_int_equal(tasks_n(w), 1);
    w->wall_offset_ms -= 5 * MINUTE;
    world_pass(w, 5 * MINUTE - SECOND);
    assert_int_equal(tasks_n(w), 1);
    world_pass(w, 6 * MINUTE);
    assert_int_equal(tasks_n(w), 3);
}

static void an_interval_does_not_wait_for_a_clock_that_was_set_back(void **state)
{
    struct world *w = *state;
    const struct dtqi_query_reply *r;

    add(w, "tick", each_10s());
    world_pass(w, 15 * SECOND);
    w->wall_offset_ms -= (int64_t)DAY;
    world_pass(w, 11 * SECOND);
    assert_int_equal(tasks_n(w), 2);
    restart_after(w, 1);
    world_pass(w, 10 * SECOND);
    r = tasks(w);
    assert_int_equal(r->tasks_n, 3);
    for (uint32_t i = 1; i < 3; i++)
        assert_false(dtqi_id_eq(&r->tasks[i].id, &r->tasks[i - 1].id));
}

static void a_clock_set_forward_by_a_day_is_a_day_of_missed_runs(void **state)
{
    struct world *w = *state;
    struct dtqi_cron_entry skip = at("0 * * * *");

    skip.missed = DTQI_MISSED_SKIP;
    add(w, "once", at("0 * * * *"));
    add(w, "skip", skip);
    w->wall_offset_ms += (int64_t)DAY;
    world_pass(w, 2 * SECOND); /* it is noticed within a second */
    assert_int_equal(shown(w, "once")->fired, 1);
    assert_int_equal(shown(w, "once")->missed, 23);
    assert_int_equal(shown(w, "skip")->fired, 0);
    assert_int_equal(shown(w, "skip")->missed, 24);
    world_pass(w, HOUR);
    assert_int_equal(shown(w, "once")->fired, 2);
    assert_int_equal(shown(w, "skip")->fired, 1);
}

static void a_day_forth_and_back_does_no_harm(void **state)
{
    struct world *w = *state;
    uint32_t n;

    add(w, "tick", each_10s());
    w->wall_offset_ms += (int64_t)DAY;
    world_pass(w, 15 * SECOND);
    w->wall_offset_ms -= (int64_t)DAY;
    n = tasks_n(w);
    world_pass(w, 30 * SECOND);
    assert_int_equal(tasks_n(w), n + 3);
}

/* ---------------------------------------------------------------- overlap */

static struct dtqi_cron_entry each_10s_alone(void)
{
    return (struct dtqi_cron_entry){.every_ms = 10 * SECOND, .skip_overlap = true};
}

static void no_run_begins_while_the_last_one_is_open(void **state)
{
    struct world *w = *state;

    add(w, "alone", each_10s_alone());
    world_pass(w, 35 * SECOND);
    assert_int_equal(tasks_n(w), 1);
    assert_int_equal(shown(w, "alone")->skipped, 2);
    settle_all(w);
    world_pass(w, 10 * SECOND);
    assert_int_equal(tasks_n(w), 1);
    assert_int_equal(shown(w, "alone")->fired, 2);
    assert_int_equal(shown(w, "alone")->skipped, 2);
}

/* It waits for an hour, so that it is not in memory. */
static void a_run_that_only_the_journal_knows_is_open_too(void **state)
{
    struct vent_cfg cfg = cfg_of();
    struct dtqi_cron_entry e = each_10s_alone();
    struct world_task sooner = {0};
    struct world *w;
    dtq_id id;

    (void)state;
    cfg.resident_tasks_max = 64;
    w = world_of(&cfg);
    sooner.not_before_wall_ms = world_wall_ms(w) + 20 * MINUTE;
    world_submit(w, 1, 40, sooner);
    e.delay_ms = HOUR;
    add(w, "alone", e);
    world_pass(w, 11 * SECOND);
    memcpy(id.bytes, shown(w, "alone")->last_id.bytes, sizeof id.bytes);
    restart_after(w, 1);
    world_pass(w, 20 * SECOND);
    assert_int_equal(shown(w, "alone")->fired, 1);
    assert_int_equal(shown(w, "alone")->skipped, 2);
    world_sink(w);
    settle(w, &id);
    world_pass(w, 10 * SECOND);
    assert_int_equal(shown(w, "alone")->fired, 2);
    world_free(w);
}

static void a_run_is_open_across_a_restart(void **state)
{
    struct world *w = *state;

    add(w, "alone", each_10s_alone());
    world_pass(w, 11 * SECOND);
    restart_after(w, 25 * SECOND);
    world_pass(w, 10 * SECOND);
    assert_int_equal(tasks_n(w), 1);
    assert_int_equal(shown(w, "alone")->fired, 1);
}

static void runs_may_overlap(void **state)
{
    struct world *w = *state;

    add(w, "tick", each_10s());
    world_pass(w, 35 * SECOND);
    assert_int_equal(tasks_n(w), 3);
    assert_int_equal(shown(w, "tick")->skipped, 0);
}

/* ---------------------------------------------------------------- orders */

static void a_run_by_hand_is_made_at_once(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);
    const struct dtqi_operate_reply *r;
    dtq_id id;

    add(w, "tick", each_10s());
    order(w, DTQI_CRON_PAUSE, "tick");
    r = operated(w, DTQI_CRON_RUN, "tick");
    assert_int_equal(r->reason, DTQI_REFUSAL_NONE);
    assert_int_equal(r->n, 1);
    id = r->ids[0];
    assert_int_equal(tasks_n(w), 1);
    assert_true(dtqi_id_eq(&tasks(w)->tasks[0].id, &id));
    assert_int_equal(shown(w, "tick")->fired, 1);
    assert_int_equal(shown(w, "tick")->due_wall_ms, t0);
    assert_memory_equal(shown(w, "tick")->last_id.bytes, id.bytes, 16);
    order(w, DTQI_CRON_RESUME, "tick");
    assert_int_equal(shown(w, "tick")->next_wall_ms, t0 + 10 * SECOND);
}

/* Its answer was lost. */
static void an_order_to_run_that_is_repeated_makes_one_run(void **state)
{
    struct world *w = *state;
    dtq_id id = world_id_at(7, world_wall_ms(w));
    struct dtqi_operate run = {
        .operation = DTQI_CRON_RUN, .target = dtqi_str("tick"), .ids = &id, .n = 1};

    add(w, "tick", each_10s());
    w->journal_stuck = true;
    operate(w, run);
    operate(w, run);
    w->journal_stuck = false;
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_OPERATE_REPLY), 2);
    operate(w, run);
    world_tick(w);
    assert_int_equal(reply_of(w)->reason, DTQI_REFUSAL_NONE);
    assert_true(dtqi_id_eq(&reply_of(w)->ids[0], &id));
    assert_int_equal(tasks_n(w), 1);
    assert_int_equal(shown(w, "tick")->fired, 1);
    id = world_id_at(8, world_wall_ms(w) - 2 * HOUR);
    operate(w, run);
    world_tick(w);
    assert_int_equal(reply_of(w)->reason, DTQI_TOO_OLD);
}

/* Its answer was lost; meanwhile its task is over, and the entry has had other runs. */
static void an_order_to_run_is_known_again_behind_other_runs(void **state)
{
    struct world *w = *state;
    dtq_id ids[JOURNAL_CRON_HAND_MAX];
    struct dtqi_operate run = {.operation = DTQI_CRON_RUN, .target = dtqi_str("tick"), .n = 1};

    add(w, "tick", each_10s());
    for (uint8_t i = 0; i < JOURNAL_CRON_HAND_MAX; i++) {
        ids[i] = world_id_at(7 + i, world_wall_ms(w));
        run.ids = &ids[i];
        operate(w, run);
        world_pass(w, 2 * SECOND);
    }
    settle_all(w);
    restart_after(w, 1);
    run.ids = &ids[0];
    operate(w, run);
    world_tick(w);
    assert_int_equal(reply_of(w)->reason, DTQI_REFUSAL_NONE);
    assert_true(dtqi_id_eq(&reply_of(w)->ids[0], &ids[0]));
    assert_int_equal(tasks_n(w), 0);
}

static void runs_by_hand_come_one_after_the_other(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_OPERATE};

    add(w, "tick", each_10s());
    w->journal_stuck = true;
    world_clear(w);
    for (uint64_t i = 1; i <= 3; i++) {
        msg.operate = (struct dtqi_operate){
            .request = 100 + i, .operation = DTQI_CRON_RUN, .target = dtqi_str("tick")};
        world_msg(w, PRODUCER, &msg);
    }
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_OPERATE_REPLY), 0);
    w->journal_stuck = false;
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_OPERATE_REPLY), 3);
    assert_int_equal(tasks_n(w), 3);
    assert_int_equal(shown(w, "tick")->fired, 3);
}

static void what_is_removed_fires_no_more(void **state)
{
    struct world *w = *state;

    add(w, "tick", each_10s());
    world_pass(w, 11 * SECOND);
    order(w, DTQI_CRON_REMOVE, "tick");
    assert_null(shown(w, "tick"));
    world_pass(w, 30 * SECOND);
    assert_int_equal(tasks_n(w), 1);
    restart_after(w, 30 * SECOND);
    assert_null(shown(w, "tick"));
    assert_int_equal(tasks_n(w), 1);
    assert_int_equal(operated(w, DTQI_CRON_REMOVE, "tick")->reason, DTQI_BAD_TASK);
}

/* Its run is on its way into the journal, where there is no entry for it any more. */
static void what_is_removed_while_it_fires_is_gone(void **state)
{
    struct world *w = *state;

    add(w, "tick", each_10s());
    world_pass(w, 9 * SECOND);
    w->journal_stuck = true;
    world_pass(w, 1100);
    operate(w, (struct dtqi_operate){.operation = DTQI_CRON_REMOVE, .target = dtqi_str("tick")});
    operate(w, (struct dtqi_operate){.operation = DTQI_CRON_RUN, .target = dtqi_str("tick")});
    world_tick(w);
    assert_int_equal(reply_of(w)->reason, DTQI_BAD_TASK);
    w->journal_stuck = false;
    world_tick(w);
    world_pass(w, SECOND);
    assert_null(shown(w, "tick"));
    assert_int_equal(tasks_n(w), 1);
    restart_after(w, 1);
    assert_null(shown(w, "tick"));
}

static void the_same_entry_again_changes_nothing(void **state)
{
    struct world *w = *state;
    uint64_t t0 = world_wall_ms(w);

    add(w, "tick", each_10s());
    world_pass(w, 5 * SECOND);
    add(w, "tick", each_10s());
    assert_int_equal(shown(w, "tick")->next_wall_ms, t0 + 10 * SECOND);
}

static void another_entry_of_a_name_must_say_that_it_replaces(void **state)
{
    struct world *w = *state;
    struct dtqi_cron_entry e = {.every_ms = MINUTE};

    add(w, "tick", each_10s());
    world_pass(w, 15 * SECOND);
    expect_refused(w, "tick", e, DTQI_CONFLICT, "replace");
    e.replace = true;
    order(w, DTQI_CRON_PAUSE, "tick");
    add(w, "tick", e);
    assert_int_equal(shown(w, "tick")->entry.every_ms, MINUTE);
    assert_true(shown(w, "tick")->paused);
    assert_int_equal(shown(w, "tick")->fired, 1);
    order(w, DTQI_CRON_RESUME, "tick");
    restart_after(w, 30 * SECOND);
    assert_int_equal(tasks_n(w), 1);
    world_pass(w, 31 * SECOND);
    assert_int_equal(tasks_n(w), 2);
    assert_int_equal(shown(w, "tick")->fired, 2);
}

static void a_replacement_that_does_not_fit_leaves_what_was(void **state)
{
    struct world *w = *state;
    struct dtqi_cron_entry e = {.every_ms = MINUTE, .replace = true};
    uint64_t t0 = world_wall_ms(w);

    add(w, "tick", each_10s());
    w->journal_err = DTQ_ENOSPC;
    assert_int_equal(added(w, "tick", e)->reason, DTQI_NO_SPACE);
    w->journal_err = DTQ_OK;
    world_pass(w, 2 * SECOND);
    assert_int_equal(shown(w, "tick")->entry.every_ms, 10 * SECOND);
    assert_int_equal(shown(w, "tick")->next_wall_ms, t0 + 10 * SECOND);
}

static void an_entry_that_can_never_be_is_refused_with_the_reason(void **state)
{
    struct world *w = *state;
    struct dtqi_cron_entry e = at("61 * * * *");

    expect_refused(w, "x", e, DTQI_BAD_TASK, "minute: '61' is not allowed; allowed are 0-59");
    e = at("* * * * *");
    e.zone = dtqi_str("Europe/Nowhere");
    expect_refused(w, "x", e, DTQI_BAD_TASK, "zone: 'Europe/Nowhere' is not known");
    expect_refused(w, "x", (struct dtqi_cron_entry){0}, DTQI_BAD_TASK, "an expression or an");
    e = at("* * * * *");
    e.every_ms = MINUTE;
    expect_refused(w, "x", e, DTQI_BAD_TASK, "an expression or an");
    e = (struct dtqi_cron_entry){.every_ms = 999};
    expect_refused(w, "x", e, DTQI_BAD_TASK, "every: ");
    e = (struct dtqi_cron_entry){.every_ms = MINUTE, .zone = dtqi_str("UTC")};
    expect_refused(w, "x", e, DTQI_BAD_TASK, "zone: an interval has none");
    e = (struct dtqi_cron_entry){.every_ms = MINUTE, .missed = DTQI_MISSED_ALL};
    expect_refused(w, "x", e, DTQI_BAD_TASK, "missed: ");
    e.missed_max = 1001;
    expect_refused(w, "x", e, DTQI_BAD_TASK, "missed: ");
    e = each_10s();
    e.spec =
        (struct dtqi_spec){.name = dtqi_str("t"), .queue = dtqi_str("q"), .key = dtqi_str("k")};
    expect_refused(w, "x", e, DTQI_BAD_TASK, "key: ");
    e.spec =
        (struct dtqi_spec){.name = dtqi_str("t"), .queue = dtqi_str("q"), .soft_time_limit_ms = 5};
    expect_refused(w, "x", e, DTQI_BAD_TASK, "soft_time_limit: ");
    e.spec =
        (struct dtqi_spec){.name = dtqi_str("t"), .queue = dtqi_str("q"), .cron = dtqi_str("x")};
    expect_refused(w, "x", e, DTQI_BAD_TASK, "cron: ");
    expect_refused(w, "not a name", each_10s(), DTQI_BAD_TASK, "the name of a cron entry");
    expect_refused(w, "", each_10s(), DTQI_BAD_TASK, "the name of a cron entry");
    assert_int_equal(operated(w, DTQI_CRON_ADD, "x")->reason, DTQI_BAD_TASK);
    assert_int_equal(operated(w, DTQI_CRON_RUN, "x")->reason, DTQI_BAD_TASK);
    assert_int_equal(operated(w, DTQI_CRON_PAUSE, "x")->reason, DTQI_BAD_TASK);
    assert_null(shown(w, "x"));
}

static void entries_are_bounded_in_number_and_bytes(void **state)
{
    struct vent_cfg cfg = cfg_of();
    struct world *w;
    char *large = calloc(1, DTQI_CRON_BYTES_MAX + 2);

    (void)state;
    assert_non_null(large);
    memset(large, 'x', DTQI_CRON_BYTES_MAX + 1);
    cfg.crons_max = 3;
    cfg.cron_bytes_max = DTQI_CRON_BYTES_MAX + 1000;
    w = world_of(&cfg);
    add_only(w, "large", each_10s(), large);
    world_tick(w);
    assert_int_equal(reply_of(w)->reason, DTQI_TOO_LARGE);
    large[DTQI_CRON_BYTES_MAX] = '\0';
    add_only(w, "large", each_10s(), large);
    world_tick(w);
    assert_int_equal(reply_of(w)->reason, DTQI_REFUSAL_NONE);
    add_only(w, "large2", each_10s(), large);
    world_tick(w);
    assert_int_equal(reply_of(w)->reason, DTQI_BUSY);
    add(w, "b", each_10s());
    add(w, "c", each_10s());
    expect_refused(w, "d", each_10s(), DTQI_BUSY, "crons_max");
    order(w, DTQI_CRON_REMOVE, "large");
    add(w, "d", each_10s());
    world_free(w);
    free(large);
}

/* ---------------------------------------------------------------- what it waits for */

static void without_a_sink_a_run_waits_and_is_not_lost(void **state)
{
    struct vent_cfg cfg = cfg_of();
    struct world *w = world_new(&cfg);
    uint64_t t0 = world_wall_ms(w);
    const uint64_t times[] = {t0 + 60 * SECOND};
    struct dtqi_cron_entry e = {.every_ms = MINUTE, .missed = DTQI_MISSED_SKIP};

    (void)state;
    world_producer(w, PRODUCER);
    add(w, "tick", e);
    assert_int_equal(operated(w, DTQI_CRON_RUN, "tick")->reason, DTQI_NO_SINK);
    world_pass(w, 90 * SECOND);
    assert_int_equal(tasks_n(w), 0);
    assert_true(dtqi_str_eq(shown(w, "tick")->why, dtqi_str("no sink is registered")));
    world_sink(w);
    world_producer(w, PRODUCER);
    world_pass(w, SECOND);
    expect_times(w, times, 1);
    assert_int_equal(shown(w, "tick")->missed, 0);
    assert_int_equal(shown(w, "tick")->why.len, 0);
    world_free(w);
}

static void what_waits_for_a_sink_when_the_clock_is_set_back_does_not_count(void **state)
{
    struct vent_cfg cfg = cfg_of();
    struct world *w = world_new(&cfg);
    struct dtqi_cron_entry e = {.every_ms = MINUTE};

    (void)state;
    world_producer(w, PRODUCER);
    add(w, "tick", e);
    world_pass(w, 90 * SECOND);
    w->wall_offset_ms -= (int64_t)DAY;
    world_pass(w, 10 * SECOND);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_pass(w, MINUTE);
    assert_int_equal(tasks_n(w), 1);
    assert_int_equal(shown(w, "tick")->fired, 1);
    assert_int_equal(shown(w, "tick")->missed, 0);
    world_free(w);
}

static void a_full_queue_holds_only_its_own_runs(void **state)
{
    struct vent_cfg cfg = cfg_of();
    struct dtqi_cron_entry other = each_10s();
    struct world *w;

    (void)state;
    cfg.queue_tasks_max = 2;
    w = world_of(&cfg);
    other.spec = (struct dtqi_spec){.name = dtqi_str("t"), .queue = dtqi_str("other")};
    add(w, "tick", each_10s());
    world_pass(w, 5 * SECOND);
    add(w, "other", other);
    world_pass(w, 31 * SECOND);
    assert_int_equal(shown(w, "tick")->fired, 2);
    assert_true(shown(w, "tick")->why.len != 0);
    assert_int_equal(shown(w, "other")->fired, 2);
    settle_all(w);
    world_pass(w, 2 * SECOND);
    assert_int_equal(shown(w, "tick")->fired, 3);
    world_free(w);
}

/* Zone data, or a version of dtq, that knows less than the one that took the entry. */
static void an_entry_that_cannot_be_read_any_more_says_so_and_stays(void **state)
{
    struct world *w = *state;

    add(w, "often", at("*/5 * * * *"));
    memset(&w->cfg.cron, 0, sizeof w->cfg.cron);
    restart_after(w, 10 * MINUTE);
    assert_int_equal(tasks_n(w), 0);
    assert_true(shown(w, "often")->why.len != 0);
    expect_refused(w, "more", at("* * * * *"), DTQI_BAD_TASK, "reads no expressions");
    add(w, "tick", each_10s());
    w->cfg.cron = (struct vent_cron_calls){cron_parse, cron_next, cron_free};
    restart_after(w, 1);
    assert_int_equal(shown(w, "often")->fired, 1);
}

static void a_stop_leaves_runs_to_the_next_start(void **state)
{
    struct world *w = *state;
    struct vent_event ev = {.type = VENT_EV_STOP};

    add(w, "tick", each_10s());
    world_pass(w, 9 * SECOND);
    world_event(w, &ev);
    assert_int_equal(operated(w, DTQI_CRON_PAUSE, "tick")->reason, DTQI_BUSY);
    world_pass(w, 5 * SECOND);
    assert_true(w->stopped);
    w->stopped = false;
    restart_after(w, 1);
    assert_int_equal(tasks_n(w), 1);
}

/* ---------------------------------------------------------------- lists */

static void entries_are_listed_by_name_page_by_page(void **state)
{
    struct world *w = *state;
    struct dtqi_query q = {.kind = DTQI_QUERY_CRON, .limit = 2};
    const struct dtqi_query_reply *r;
    char cursor[64];

    add(w, "b", each_10s());
    add(w, "a", each_10s());
    add(w, "a.b", each_10s());
    r = &query(w, q)->msg.query_reply;
    assert_int_equal(r->crons_n, 2);
    assert_true(dtqi_str_eq(r->crons[0].name, dtqi_str("a")));
    assert_true(dtqi_str_eq(r->crons[1].name, dtqi_str("a.b")));
    assert_int_equal(r->crons[0].payload_bytes, 4);
    assert_int_equal(r->crons[0].entry.payload.len, 0);
    assert_int_not_equal(r->next.len, 0);
    memcpy(cursor, r->next.at, r->next.len);
    q.after = (struct dtqi_slice){cursor, r->next.len};
    r = &query(w, q)->msg.query_reply;
    assert_int_equal(r->crons_n, 1);
    assert_true(dtqi_str_eq(r->crons[0].name, dtqi_str("b")));
    assert_int_equal(r->next.len, 0);
    q.after = (struct dtqi_slice){"no name at all!", 15};
    assert_int_equal(query(w, q)->msg.query_reply.crons_n, 2);
}

static void thousands_of_entries_fire_in_their_order(void **state)
{
    struct vent_cfg cfg = cfg_of();
    struct world *w;

    (void)state;
    cfg.resident_tasks_max = 65536;
    w = world_of(&cfg);
    for (uint32_t i = 0; i < 2000; i++) {
        struct dtqi_cron_entry e = {.every_ms = SECOND * (1000 + i % 100)};
        char name[16];

        snprintf(name, sizeof name, "e%04u", (i * 7919) % 2000);
        add_only(w, name, e, "body");
    }
    world_tick(w);
    world_pass(w, 1200 * SECOND);
    assert_int_equal(vent_counters(w->v)->cron_fired, 2000);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_interval_fires_at_each_of_its_times, begin, end),
        cmocka_unit_test_setup_teardown(an_expression_fires_at_each_of_its_times, begin, end),
        cmocka_unit_test_setup_teardown(a_run_is_the_task_that_was_ordered, begin, end),
        cmocka_unit_test_setup_teardown(a_run_may_be_delayed, begin, end),
        cmocka_unit_test_setup_teardown(a_run_goes_to_a_worker_and_is_settled_as_any_task, begin,
                                        end),
        cmocka_unit_test_setup_teardown(an_order_is_answered_when_it_is_committed, begin, end),
        cmocka_unit_test_setup_teardown(entries_survive_a_restart, begin, end),
        cmocka_unit_test_setup_teardown(a_time_that_was_committed_does_not_fire_again_after_a_crash,
                                        begin, end),
        cmocka_unit_test_setup_teardown(a_time_that_was_not_committed_fires_again_under_the_same_id,
                                        begin, end),
        cmocka_unit_test_setup_teardown(a_pause_does_not_commit_a_run_that_is_under_way, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_run_that_settles_at_once_is_not_forgotten_for_a_change,
                                        begin, end),
        cmocka_unit_test_setup_teardown(
            a_run_that_is_under_way_does_not_take_the_times_of_a_replacement_back, begin, end),
        cmocka_unit_test_setup_teardown(a_change_behind_one_that_is_being_written_is_not_lost,
                                        begin, end),
        cmocka_unit_test_setup_teardown(a_full_disk_delays_a_run_and_loses_none, begin, end),
        cmocka_unit_test_setup_teardown(an_entry_that_does_not_fit_on_the_disk_is_refused, begin,
                                        end),
        cmocka_unit_test_setup_teardown(of_missed_runs_one_makes_up_for_all, begin, end),
        cmocka_unit_test_setup_teardown(what_is_made_late_has_waited, begin, end),
        cmocka_unit_test_setup_teardown(missed_runs_may_be_left_out, begin, end),
        cmocka_unit_test_setup_teardown(a_run_that_is_a_little_late_was_not_missed, begin, end),
        cmocka_unit_test_setup_teardown(missed_runs_may_all_be_made_up_for_up_to_a_number, begin,
                                        end),
        cmocka_unit_test_setup_teardown(missed_runs_of_an_expression_are_found_from_the_end, begin,
                                        end),
        cmocka_unit_test_setup_teardown(what_all_means_is_found_one_crash_after_the_other, begin,
                                        end),
        cmocka_unit_test_setup_teardown(what_was_due_during_a_pause_is_missed, begin, end),
        cmocka_unit_test_setup_teardown(a_clock_set_back_fires_no_time_again, begin, end),
        cmocka_unit_test_setup_teardown(an_interval_does_not_wait_for_a_clock_that_was_set_back,
                                        begin, end),
        cmocka_unit_test_setup_teardown(a_clock_set_forward_by_a_day_is_a_day_of_missed_runs, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_day_forth_and_back_does_no_harm, begin, end),
        cmocka_unit_test_setup_teardown(no_run_begins_while_the_last_one_is_open, begin, end),
        cmocka_unit_test(a_run_that_only_the_journal_knows_is_open_too),
        cmocka_unit_test_setup_teardown(a_run_is_open_across_a_restart, begin, end),
        cmocka_unit_test_setup_teardown(runs_may_overlap, begin, end),
        cmocka_unit_test_setup_teardown(a_run_by_hand_is_made_at_once, begin, end),
        cmocka_unit_test_setup_teardown(an_order_to_run_that_is_repeated_makes_one_run, begin, end),
        cmocka_unit_test_setup_teardown(an_order_to_run_is_known_again_behind_other_runs, begin,
                                        end),
        cmocka_unit_test_setup_teardown(runs_by_hand_come_one_after_the_other, begin, end),
        cmocka_unit_test_setup_teardown(what_is_removed_fires_no_more, begin, end),
        cmocka_unit_test_setup_teardown(what_is_removed_while_it_fires_is_gone, begin, end),
        cmocka_unit_test_setup_teardown(the_same_entry_again_changes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(another_entry_of_a_name_must_say_that_it_replaces, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_replacement_that_does_not_fit_leaves_what_was, begin,
                                        end),
        cmocka_unit_test_setup_teardown(an_entry_that_can_never_be_is_refused_with_the_reason,
                                        begin, end),
        cmocka_unit_test(entries_are_bounded_in_number_and_bytes),
        cmocka_unit_test(without_a_sink_a_run_waits_and_is_not_lost),
        cmocka_unit_test(what_waits_for_a_sink_when_the_clock_is_set_back_does_not_count),
        cmocka_unit_test(a_full_queue_holds_only_its_own_runs),
        cmocka_unit_test_setup_teardown(an_entry_that_cannot_be_read_any_more_says_so_and_stays,
                                        begin, end),
        cmocka_unit_test_setup_teardown(a_stop_leaves_runs_to_the_next_start, begin, end),
        cmocka_unit_test_setup_teardown(entries_are_listed_by_name_page_by_page, begin, end),
        cmocka_unit_test(thousands_of_entries_fire_in_their_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
