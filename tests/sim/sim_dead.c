#include "sim_parts.h"

/*
 * Dead letters, as the journal has them after each commit:
 *   - what fails for good is one, with its payload and its attempts, until an operator or its age
 *     says otherwise
 *   - a task is a dead letter or in its queue, never both; one that is requeued becomes one new
 *     task, in the same commit, and the new one names it (R37)
 * And which tasks V made itself: of dead letters, and of cron entries.
 */

#define LETTERS_MAX 10000u

static struct task_info *info_of(struct sim *s, const dtq_id *id)
{
    uint32_t task = check_task(s, id);

    return task != NONE ? &s->tasks[task] : NULL;
}

uint32_t dead_count(const struct sim *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->tasks_n; i++)
        n += s->tasks[i].is_dead;
    return n;
}

/* ---------------------------------------------------------------- orders */

static bool is_meant(const struct sim *s, const struct task_info *t)
{
    const struct dead_order *o = &s->dead_order;

    if (!o->all)
        return dtqi_id_eq(&t->id, &o->id);
    return o->queue == NONE || o->queue == t->queue || t->may_move;
}

static void mark(struct sim *s, struct task_info *t)
{
    if (!s->dead_order.is_open || !is_meant(s, t))
        return;
    t->dead_may_go |= s->dead_order.operation == DTQI_DEAD_PURGE;
    t->is_wanted_again |= s->dead_order.operation == DTQI_DEAD_REQUEUE;
}

/* Those that are there, and those that come before it is answered. */
void dead_ordered(struct sim *s, uint32_t route, const struct dtqi_operate *m)
{
    s->dead_order = (struct dead_order){
        .is_open = true,
        .route = route,
        .request = m->request,
        .operation = m->operation,
        .all = m->all,
        .queue = m->target.len != 0 ? (uint32_t)(m->target.at[1] - '0') : NONE,
    };
    if (!m->all)
        s->dead_order.id = m->ids[0];
    for (uint32_t i = 0; i < s->tasks_n; i++) {
        if (s->tasks[i].is_dead && m->operation == DTQI_DEAD_REQUEUE)
            s->tasks[i].is_stopped_again = false;
        mark(s, &s->tasks[i]);
    }
}

void dead_answered(struct sim *s, uint32_t route, uint64_t request)
{
    if (s->dead_order.route == route && s->dead_order.request == request)
        s->dead_order.is_open = false;
}

/* ---------------------------------------------------------------- requeued */

/* As the dead letter was, and what made it fail is over. */
static struct sim_plan plan_of_requeued(const struct sim *s, uint32_t from)
{
    struct sim_plan plan = s->tasks[from].plan;

    plan.payload_of = plan.payload_of != 0 ? plan.payload_of : 1 + from;
    plan.delay_ms = 0;
    plan.key = 0;
    plan.fail_runs = plan.crash_runs = 0;
    plan.no_retry = false;
    return plan;
}

uint32_t dead_adopt(struct sim *s, const dtq_id *id, const struct dtqi_spec *spec)
{
    struct task_info t = {.has_reached = true};
    uint32_t from;
    uint32_t task;
    char name[8];
    dtq_id old;

    if (spec->requeued_from.len == 0 && spec->cron.len != 0)
        return cron_adopt(s, id, spec);
    if (spec->requeued_from.len != sizeof old.bytes)
        return NONE;
    memcpy(old.bytes, spec->requeued_from.at, sizeof old.bytes);
    from = check_task(s, &old);
    if (from == NONE)
        return NONE;
    if (!s->tasks[from].is_dead || !s->tasks[from].is_wanted_again)
        sim_fail(s, "V requeues %s, which is no dead letter or was not asked for",
                 story_task(from, name));
    t.client = s->tasks[from].client;
    t.plan = plan_of_requeued(s, from);
    t.requeued_from = 1 + from;
    t.submitted_ms = sim_now_ms(s);
    t.cancel = s->tasks[from].is_stopped_again;
    t.may_move = s->tasks[from].may_move || s->queues[t.plan.queue].is_moved;
    task = sim_add_task(s, &t);
    check_add_id(s, task, id);
    story(s, "V makes %s of the dead letter %s", story_task(task, (char[8]){0}),
          story_task(from, name));
    return task;
}

/* ---------------------------------------------------------------- what a commit changes */

static uint32_t adopt_of(struct sim *s, const struct journal_task *jt)
{
    struct dtqi_buf *buf = dtqi_buf_new(1024, SIZE_MAX);
    struct dtqi_spec spec;
    uint32_t task = NONE;
    char why[200];

    assert(buf != NULL);
    if (dtqi_spec_decode(jt->spec, buf, &spec, why, sizeof why) == DTQ_OK)
        task = dead_adopt(s, &jt->id, &spec);
    dtqi_buf_unref(buf);
    return task;
}

static void on_put(struct sim *s, const struct journal_op *op)
{
    uint32_t task = check_task(s, &op->task.id);
    struct task_info *t;
    struct task_info *from;
    char name[8];

    if (task == NONE)
        task = adopt_of(s, &op->task);
    if (task == NONE) {
        sim_fail(s, "a task that nobody submitted is in the journal");
        return;
    }
    t = &s->tasks[task];
    if (t->cron != 0)
        cron_put(s, task, op->task.spec); /* it may be made again */
    if (t->is_dead && !t->is_reborn)
        sim_fail(s, "%s is in its queue and a dead letter", story_task(task, name));
    t->is_in_journal = true;
    if (t->requeued_from == 0)
        return;
    from = &s->tasks[t->requeued_from - 1];
    t->verdict = VERDICT_CONFIRMED;
    s->totals.requeued++;
    if (from->requeued++ != 0)
        sim_fail(s, "the dead letter %s is requeued twice", story_task(t->requeued_from - 1, name));
}

static void left_journal(const struct sim *s, struct task_info *t)
{
    t->is_in_journal = false;
    t->left_wall_ms = sim_wall_ms(s, &s->nodes[VENT]);
}

static void on_dead(struct sim *s, struct task_info *t)
{
    if (t == NULL || !t->is_in_journal)
        return;
    left_journal(s, t);
    t->is_dead = t->was_dead = true;
    t->requeued = 0;
    mark(s, t);
}

static bool is_requeued_in(const struct sim *s, const struct journal_batch *batch, uint32_t from)
{
    for (uint32_t i = 0; i < batch->ops_n; i++) {
        uint32_t task =
            batch->ops[i].type == JOURNAL_PUT ? check_task(s, &batch->ops[i].task.id) : NONE;

        if (task != NONE && s->tasks[task].requeued_from == 1 + from)
            return true;
    }
    return false;
}

static bool is_old(const struct sim *s, const struct task_info *t)
{
    return t->dead_wall_ms + s->vent_cfg.dead_ttl_ms <= sim_steady_ms(s, &s->nodes[VENT]);
}

static void on_dead_del(struct sim *s, const struct journal_batch *batch, const dtq_id *id)
{
    struct task_info *t = info_of(s, id);
    char name[8];

    if (t == NULL || !t->is_dead)
        return;
    t->is_dead = false;
    if (!t->dead_may_go && !is_old(s, t) && !is_requeued_in(s, batch, (uint32_t)(t - s->tasks)))
        sim_fail(s, "V forgets the dead letter %s, and nobody wanted that",
                 story_task((uint32_t)(t - s->tasks), name));
}

static bool is_present(const struct journal_batch *batch, uint32_t op)
{
    for (uint32_t i = 0; i < batch->present_n; i++)
        if (batch->present[i] == op)
            return true;
    return false;
}

static void apply(struct sim *s, const struct journal_batch *batch, uint32_t i)
{
    const struct journal_op *op = &batch->ops[i];
    struct task_info *t = info_of(s, &op->task.id);

    switch (op->type) {
    case JOURNAL_PUT:
        if (!is_present(batch, i))
            on_put(s, op);
        break;
    case JOURNAL_DEL:
        if (t != NULL)
            left_journal(s, t);
        break;
    case JOURNAL_DEAD:
        on_dead(s, t);
        if (t != NULL)
            t->dead_wall_ms = op->at_wall_ms;
        break;
    case JOURNAL_DEAD_DEL: on_dead_del(s, batch, &op->task.id); break;
    case JOURNAL_KEY: rules_journal_op(s, op); break;
    case JOURNAL_COUNTERS:
    case JOURNAL_MOVE:
    case JOURNAL_TRANSFER:
    case JOURNAL_ATTEMPT_LOG:
    case JOURNAL_KEYS_FORGET:
    case JOURNAL_PAST_FORGET: break;
    case JOURNAL_CRON_PUT:
    case JOURNAL_CRON_STATE:
    case JOURNAL_CRON_DEL: cron_journal_op(s, op); break;
    }
}

/* Of a requeued one, before its first operation is looked at. */
static void adopt_all(struct sim *s, const struct journal_batch *batch)
{
    for (uint32_t i = 0; i < batch->ops_n; i++)
        if (batch->ops[i].type == JOURNAL_PUT && check_task(s, &batch->ops[i].task.id) == NONE)
            (void)adopt_of(s, &batch->ops[i].task);
}

void dead_journal_batch(struct sim *s, const struct journal_batch *batch)
{
    adopt_all(s, batch);
    for (uint32_t i = 0; i < batch->ops_n && !s->has_failed; i++)
        apply(s, batch, i);
    rules_check_bounds(s);
}

/* ---------------------------------------------------------------- what is there */

static void check_letter(struct sim *s, const struct journal_task *jt)
{
    uint32_t task = check_task(s, &jt->id);
    struct dtqi_slice rest = jt->history;
    struct dtqi_slice entry;
    char name[8];

    if (task == NONE || !s->tasks[task].is_dead) {
        sim_fail(s, "there is a dead letter that should not be");
        return;
    }
    story_task(task, name);
    if (!check_are_the_bytes(s, task, 0, jt->body, s->tasks[task].plan.payload_bytes))
        sim_fail(s, "the dead letter %s has another payload", name);
    else if (!s->tasks[task].is_reborn && !journal_history_next(&rest, &entry))
        sim_fail(s, "the dead letter %s knows none of its attempts", name);
}

/* What the journal has of them now. */
static void check_letters(struct sim *s)
{
    struct journal_read read = {.type = JOURNAL_DEAD_LIST, .limit = LETTERS_MAX, .bodies = true};

    journal_read(s->nodes[VENT].vent.journal, &read);
    if (read.err != DTQ_OK || read.tasks_n != dead_count(s))
        sim_fail(s, "there are %u dead letters, and should be %u", read.tasks_n, dead_count(s));
    for (uint32_t i = 0; i < read.tasks_n && !s->has_failed; i++)
        check_letter(s, &read.tasks[i]);
    dtqi_buf_unref(read.buf);
}

void dead_check(struct sim *s)
{
    if (!s->has_failed && s->nodes[VENT].is_up && s->nodes[VENT].vent.journal != NULL)
        check_letters(s);
}

/* Everything is settled. */
void dead_check_all(struct sim *s)
{
    char name[8];

    dead_check(s);
    for (uint32_t i = 0; i < s->tasks_n && !s->has_failed; i++) {
        const struct task_info *t = &s->tasks[i];

        if (t->outcome == DTQ_FAILED && !t->is_lost && t->verdict == VERDICT_CONFIRMED &&
            !t->was_dead)
            sim_fail(s, "%s failed for good, and is no dead letter", story_task(i, name));
    }
}
