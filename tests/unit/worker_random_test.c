/*
 * The worker core under random events, good and bad, in seeded order: nothing asserts, its accounts
 * stay right, and what the ventilator gave is always returned, stopped, ended or held. Half of the
 * runs have memory that fails at random.
 */
#include "worker_internal.h"

static void step_with_bad_memory(struct worker *w, const struct worker_event *ev,
                                 struct worker_actions *out);

#define WORLD_STEP step_with_bad_memory
#include "worker_world.h"

#ifndef SEEDS
#define SEEDS 25
#endif

static uint64_t random_state;
static uint32_t fail_one_in; /* allocations inside the core; 0: none fails */
static uint32_t fail_at;     /* only this one, from 1; 0: none */
static bool in_core;

static uint32_t below(uint32_t bound)
{
    random_state += 0x9e3779b97f4a7c15ull;
    return (uint32_t)(dtqi_mix64(random_state) % bound);
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *at, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *at, size_t size);

static bool fails(void)
{
    if (in_core && fail_at != 0 && --fail_at == 0)
        return true;
    return in_core && fail_one_in != 0 && below(fail_one_in) == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *at, size_t size)
{
    return fails() ? NULL : __real_realloc(at, size);
}

static void step_with_bad_memory(struct worker *w, const struct worker_event *ev,
                                 struct worker_actions *out)
{
    in_core = true;
    worker_step(w, ev, out);
    in_core = false;
}

/* ---------------------------------------------------------------- the accounts */

static uint64_t bytes_of(const struct worker *w, const struct entry *e)
{
    return e->state == ENTRY_DONE || e->state == ENTRY_FAILED
               ? (uint64_t)ENTRY_OVERHEAD_BYTES + e->len
               : dtqi_task_credit_bytes(entry_spec_bytes(w, e), e->len);
}

/* Everything that is counted as it changes, counted anew. */
static void check_accounts(const struct worker *w)
{
    uint32_t count[ENTRY_STATES] = {0};
    uint32_t listed = 0;
    uint32_t held = 0;
    uint64_t sum = 0;
    uint64_t kept = 0;
    uint64_t active = 0;
    uint32_t fed = 0;
    uint32_t usable = 0;
    uint32_t taking_back = 0;

    for (uint32_t i = 0; i < w->entries_n; i++) {
        const struct entry *e = &w->entries[i];

        if (e->state == ENTRY_FREE)
            continue;
        count[e->state]++;
        listed += (e->flags & ENTRY_LISTED) != 0;
        if ((e->flags & ENTRY_HELD) != 0) {
            held++;
            sum += dtqi_holding_hash(&e->id, w->origins[e->origin].epoch, e->attempt);
        }
        if (e->state == ENTRY_DONE || e->state == ENTRY_FAILED)
            kept += bytes_of(w, e);
        else
            active += bytes_of(w, e);
    }
    for (int state = ENTRY_LIMBO; state < ENTRY_STATES; state++)
        assert_int_equal(w->count[state], count[state]);
    assert_int_equal(w->inbox.n, count[ENTRY_WAITING]);
    assert_int_equal(w->limbo.n, count[ENTRY_LIMBO]);
    assert_int_equal(w->failed.n, count[ENTRY_FAILED]);
    assert_int_equal(w->session.listed, listed);
    assert_int_equal(w->held, held);
    assert_int_equal(w->held_sum, sum);
    assert_int_equal(w->kept_bytes, kept);
    assert_int_equal(w->active_bytes, active);
    for (uint32_t i = 0; i < w->cfg.slots; i++) {
        fed += w->slots[i].fed.n;
        usable += w->slots[i].state != SLOT_DOWN;
        taking_back += w->slots[i].taking_back;
    }
    assert_int_equal(fed, count[ENTRY_FED]);
    assert_int_equal(w->slots_usable, usable);
    assert_int_equal(w->taking_back, taking_back);
}

static void check_sinks(const struct worker *w)
{
    uint32_t done = w->fading.n;
    uint32_t refs[DTQI_SINKS_MAX] = {0};

    for (uint32_t i = 0; i < w->entries_n; i++) {
        const struct entry *e = &w->entries[i];

        if (e->state != ENTRY_FREE && e->sink != ENTRY_NO_SINK)
            refs[e->sink]++;
    }
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        const struct sink *s = &w->sinks[i];

        done += s->to_send.n + s->sent.n;
        assert_int_equal(s->refs, refs[i]);
        assert_true(s->used || refs[i] == 0);
    }
    assert_int_equal(done, w->count[ENTRY_DONE]);
}

/* ---------------------------------------------------------------- random events */

/* A slot exits, and it was killed, retired or just dies; or it answers late. */
static void random_slot(struct world *t)
{
    uint32_t i = below(t->w->cfg.slots);
    struct world_slot *s = &t->slots[i];
    struct worker_event ev = {.type = WORKER_EV_SLOT_STARTED, .slot = {.index = i}};

    if (!s->up)
        return;
    if (s->killed || below(40) == 0) {
        world_slot_exits(t, i, below(2) == 0, (int)below(20));
        return;
    }
    s->deaf = below(10) == 0;
    if (t->w->slots[i].taking_back)
        world_give_back(t, i);
    if (t->w->slots[i].state == SLOT_STARTING)
        world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_READY, .slot.index = i});
    if (t->w->slots[i].state == SLOT_RETIRING)
        world_slot_exits(t, i, false, 0);
    else if (s->n != 0 && below(3) != 0) {
        struct world_end end = {.n = 1 + below(s->n), .took_us = (uint64_t)below(4) * below(5000)};

        if (below(5) == 0)
            end.reason = (dtq_reason)(1 + below(10));
        if (below(50) == 0)
            end.body_bytes = 1 + below(2000000);
        world_ends(t, i, end);
    } else if (s->n != 0) {
        world_begin(t, i);
        ev.slot.handle = s->handles[0];
        ev.slot.started_ms = t->now_ms - below(3);
        if (below(2) == 0)
            world_step(t, ev);
    }
}

static void random_sink(struct world *t)
{
    uint32_t type = WORKER_EV_SINK_CONNECTED + below(4);

    world_step(
        t, (struct worker_event){.type = (enum worker_event_type)type,
                                 .sink = {.index = below(3), .number = t->w->sends - below(4)}});
}

static void random_ids(struct world *t)
{
    uint32_t number = 1 + below(t->id_next);
    struct dtqi_msg recall = {.type = DTQI_RECALL,
                              .recall = {.session = t->session, .count = below(50)}};
    struct dtqi_msg wanted = {.type = DTQI_HOLDINGS_WANTED, .holdings_wanted.session = t->session};

    switch (below(8)) {
    case 0:
    case 1:
    case 2: world_forget(t, number, 1 + below(60)); break;
    case 3: world_verdict(t, number, (enum dtqi_verdict)below(3), 5000 + number); break;
    case 4: world_ids(t, DTQI_RESEND, number); break;
    case 5: world_ids(t, DTQI_STOP_ATTEMPTS, number); break;
    case 6: world_control(t, &recall); break;
    case 7: world_control(t, &wanted); break;
    }
}

static void random_tasks(struct world *t)
{
    struct world_tasks g = {.n = 1 + below(40)};

    if (!t->w->session.id)
        return;
    if (below(20) == 0)
        g.attempt = 1 + below(3);
    if (below(20) == 0)
        g.first = 1 + below(t->id_next);
    if (below(10) == 0)
        g.expires_in_ms = 1 + below(10);
    if (below(10) == 0)
        g.time_limit_ms = 1 + below(20);
    if (below(10) == 0)
        g.sink = (uint8_t)(101 + below(20));
    if (below(30) == 0)
        g.body_bytes = below(1000000);
    if (below(10) == 0)
        g.spec = (const char *[]){"a", "bb", "ccc", "d"}[below(4)];
    g.no_result = below(20) == 0;
    g.no_spec = below(100) == 0;
    g.no_sink = below(100) == 0;
    g.skip = below(300) == 0;
    world_give(t, g);
}

static void random_session(struct world *t)
{
    const struct dtqi_msg *beat = world_last(t, DTQI_WORKER_HEARTBEAT);
    uint32_t sinks_n = 1 + below(2);
    struct dtqi_msg list = {
        .type = DTQI_SINKS,
        .sinks = {.session = t->session, .sinks = t->sinks, .sinks_n = sinks_n}};

    switch (below(12)) {
    case 0:
        if (below(4) == 0)
            world_unknown(t);
        break;
    case 1:
        if (below(6) == 0)
            t->epoch++;
        if (below(10) == 0)
            t->store = world_uid((uint8_t)(1 + below(3)));
        world_welcome(t);
        break;
    case 2: world_control(t, &list); break;
    case 3:
        world_step(t, (struct worker_event){.type = WORKER_EV_LANE_BROKEN, .lane = below(3)});
        break;
    case 4: world_step(t, (struct worker_event){.type = WORKER_EV_CONTROL_CONNECTED}); break;
    default:
        if (!t->w->session.id && below(3) == 0)
            world_welcome(t);
        else if (beat != NULL)
            world_echo(t, beat->worker_heartbeat.sequence - (below(10) == 0), below(2));
        break;
    }
}

static void random_event(struct world *t)
{
    switch (below(12)) {
    case 0: random_session(t); break;
    case 1: random_sink(t); break;
    case 2:
    case 3: random_ids(t); break;
    case 4:
    case 5: random_tasks(t); break;
    default: random_slot(t); break;
    }
    if (below(3) == 0)
        t->now_ms += below(4) == 0 ? below(300) : below(4);
    if (below(5000) == 0)
        t->now_ms += below(2 * DTQI_ORPHAN_MS);
}

/* Everybody does what he should, until nothing is held. */
static void settle_all(struct world *t)
{
    fail_one_in = 0;
    for (uint32_t i = 0; i < t->w->cfg.slots; i++)
        t->slots[i].deaf = false;
    t->slots_start = t->sinks_connect = true;
    for (int i = 0; i < 60 && t->w->held + t->w->count[ENTRY_FED] != 0; i++) {
        for (uint32_t k = 0; k < t->w->cfg.slots; k++) {
            struct world_slot *s = &t->slots[k];

            if (s->up && t->w->slots[k].taking_back)
                world_give_back(t, k);
            if (s->up && t->w->slots[k].state == SLOT_STARTING)
                world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_READY, .slot.index = k});
            if (s->up && (s->killed || t->w->slots[k].state == SLOT_RETIRING))
                world_slot_exits(t, k, true, 9);
            if (s->n != 0)
                world_ends(t, k, (struct world_end){.n = s->n});
        }
        t->now_ms += 50;
        world_tick(t);
        if (t->w->session.id == 0)
            world_welcome(t);
        for (uint32_t k = 0; k < t->w->entries_n; k++) {
            const struct entry *e = &t->w->entries[k];
            const dtq_id id = e->id;
            const uint32_t attempt = e->attempt;
            struct dtqi_msg msg = {.type = DTQI_FORGET};

            if (e->state == ENTRY_FREE)
                continue;
            msg.forget = (struct dtqi_forget){.session = t->session,
                                              .epoch = t->w->origins[e->origin].epoch,
                                              .n = 1,
                                              .ids = &id,
                                              .attempts = &attempt};
            world_control(t, &msg);
        }
        world_tick(t);
        if (world_last(t, DTQI_WORKER_HEARTBEAT) != NULL)
            world_echo(t, world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat.sequence, 1);
    }
    assert_int_equal(t->w->held, 0);
    assert_int_equal(t->w->count[ENTRY_FED], 0);
    assert_int_equal(t->w->count[ENTRY_WAITING] + t->w->count[ENTRY_LIMBO], 0);
}

/* A stop comes to its end whatever went before. */
static void leave(struct world *t, bool cold)
{
    fail_one_in = 0;
    world_clear(t);
    for (uint32_t i = 0; i < t->w->cfg.slots; i++)
        t->slots[i].deaf = false;
    world_step(t, (struct worker_event){.type = WORKER_EV_STOP, .cold = cold});
    for (int i = 0; i < 400 && world_find(t, WORKER_ACT_EXIT, 0) == NULL; i++) {
        for (uint32_t k = 0; k < t->w->cfg.slots; k++) {
            if (t->slots[k].up && t->slots[k].killed)
                world_slot_exits(t, k, true, 9);
            if (t->slots[k].n != 0)
                world_ends(t, k, (struct world_end){.n = t->slots[k].n});
        }
        t->now_ms += 100;
        world_tick(t);
    }
    assert_non_null(world_find(t, WORKER_ACT_EXIT, 0));
}

static void run_seed(uint64_t seed, uint32_t one_in)
{
    struct worker_cfg cfg = world_cfg(1 + (uint32_t)(seed % 4));
    struct world *t;

    random_state = seed * 1000003;
    fail_one_in = 0;
    cfg.seed = seed;
    if (seed % 3 == 0)
        cfg.tasks_per_child_max = 50;
    if (seed % 5 == 0)
        cfg.memory_bytes_max = worker_memory_min(cfg.slots, 0);
    t = world_in_session(&cfg);
    fail_one_in = one_in;
    for (int i = 0; i < 3000; i++) {
        random_event(t);
        if (below(3) == 0)
            world_tick(t);
        if (below(20) == 0)
            check_accounts(t->w);
        if (below(20) == 0)
            check_sinks(t->w);
        if (t->out.n > 3000)
            world_clear(t);
    }
    if (seed % 4 == 0)
        leave(t, seed % 8 == 0);
    else
        settle_all(t);
    check_accounts(t->w);
    check_sinks(t->w);
    world_free(t);
}

static void random_events_keep_the_accounts_right(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed, 0);
}

static void memory_that_fails_keeps_the_accounts_right(void **state)
{
    (void)state;
    for (uint64_t seed = 100001; seed <= 100000 + SEEDS; seed++)
        run_seed(seed, 2 + (uint32_t)(seed % 60));
}

/* Nothing else may come that would wake the core. */
static void what_memory_was_missing_for_is_tried_again_by_itself(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct worker_actions out = {0};
    struct worker_event tick = {.type = WORKER_EV_TICK, .now_ms = 1000};
    struct worker *w;

    (void)state;
    assert_int_equal(worker_new(&cfg, &w), DTQ_OK);
    fail_one_in = 1;
    step_with_bad_memory(w, &tick, &out);
    assert_int_equal(out.n, 0);
    assert_in_range(worker_deadline_ms(w), 1001, 1100);
    fail_one_in = 0;
    tick.now_ms = worker_deadline_ms(w);
    step_with_bad_memory(w, &tick, &out);
    assert_int_equal(out.at[0].type, WORKER_ACT_SLOT_START);
    worker_actions_done(&out);
    worker_free(w);
}

static void a_worker_gets_to_know_the_sinks_whatever_allocation_fails(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    bool was_met = true;

    (void)state;
    for (uint32_t n = 1; was_met; n++) {
        struct world *t = world_new(&cfg);

        world_tick(t);
        world_tick(t);
        fail_at = n;
        world_welcome(t);
        was_met = fail_at == 0;
        fail_at = 0;
        if (world_find(t, WORKER_ACT_SINK_OPEN, 0) == NULL) {
            world_clear(t);
            world_pass(t, 1000);
            assert_non_null(world_sent(t, DTQI_HELLO, 0));
            world_welcome(t);
            assert_non_null(world_find(t, WORKER_ACT_SINK_OPEN, 0));
        }
        world_free(t);
    }
}

/* The ventilator waits for as long as the session lasts. */
static void an_end_is_reported_or_the_session_ended_whatever_allocation_fails(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    bool was_met = true;

    (void)state;
    for (uint32_t n = 1; was_met; n++) {
        struct world *t = world_in_session(&cfg);
        uint32_t number = world_give(t, (struct world_tasks){0});

        world_tick(t);
        world_begin(t, 0);
        fail_at = n;
        world_ends(t, 0, (struct world_end){.reason = DTQ_REASON_ERROR, .text = "no"});
        world_tick(t);
        was_met = fail_at == 0;
        fail_at = 0;
        world_pass(t, 100);
        assert_true(world_failure(t, number) != NULL || world_sent(t, DTQI_HELLO, 0) != NULL);
        world_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_events_keep_the_accounts_right),
        cmocka_unit_test(memory_that_fails_keeps_the_accounts_right),
        cmocka_unit_test(a_worker_gets_to_know_the_sinks_whatever_allocation_fails),
        cmocka_unit_test(an_end_is_reported_or_the_session_ended_whatever_allocation_fails),
        cmocka_unit_test(what_memory_was_missing_for_is_tried_again_by_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
