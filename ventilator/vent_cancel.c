#include "vent_internal.h"

bool vent_cancel_task(struct vent *v, struct task *t)
{
    switch ((enum task_state)t->state) {
    case TASK_FREE:
    case TASK_HELD:
    case TASK_READY:
    case TASK_PARKED:
    case TASK_SCHEDULED:
    case TASK_DEADWAIT: vent_propose_cancelled(v, t); return true;
    case TASK_LEASED:
        t->flags |= TASK_CANCEL;
        vent_task_move(v, t, TASK_STOPPING);
        vent_stop_attempt(v, &v->workers[t->worker], &t->id);
        vent_dirty(v, t, true);
        return true;
    case TASK_DONE: /* should its outcome not arrive, it is not run again */
        t->flags |= TASK_CANCEL;
        vent_dirty(v, t, true);
        return true;
    case TASK_STOPPING:
    case TASK_MARKING: return true;
    case TASK_PROPOSED: return t->resends == DTQ_CANCELLED;
    case TASK_CLAIMED:
    case TASK_GONE:
    case TASK_STATES: break;
    }
    return false;
}

/* ---------------------------------------------------------------- who waits for the mark */

static void tell_marked(struct vent *v, struct task *t)
{
    struct past *p = past_of(v, t);
    uint32_t wait;

    while (p != NULL && (wait = vent_link_take(v, &p->cancels)) != NONE)
        vent_wait_release(v, wait);
}

void vent_cancel_marked(struct vent *v, struct task *t)
{
    tell_marked(v, t);
    if (t->state == TASK_MARKING)
        vent_propose(v, t, DTQ_CANCELLED);
}

void vent_cancel_end(struct vent *v, struct task *t)
{
    tell_marked(v, t);
}

/* R36: the answer waits for the mark. Without memory to wait with, there is none. */
static void cancel(struct vent *v, uint32_t wait, struct task *t)
{
    struct past *p = vent_past(v, t);

    if (p == NULL || !vent_link_add(v, &p->cancels, wait)) {
        v->waits[wait].silent = true;
        return;
    }
    vent_wait_hold(v, wait);
    if (!vent_cancel_task(v, t) || (t->flags & TASK_MARKED) != 0)
        tell_marked(v, t);
}

/* ---------------------------------------------------------------- by ids */

static void cancel_entry(struct vent *v, uint32_t wait, uint32_t i, struct task *t, dtq_state state)
{
    if (t->state == TASK_CLAIMED || t->state == TASK_GONE)
        return; /* not ours yet, or any more */
    cancel(v, wait, t);
    v->waits[wait].index[i] = state;
    v->waits[wait].reasons[i] = (t->flags & TASK_CANCEL) != 0;
}

/* What a task that comes out of the journal was. */
static dtq_state recovered_state(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);

    return p != NULL && p->counters.due_wall_ms > v->wall_ms ? DTQ_SCHEDULED : DTQ_READY;
}

static bool ask_journal(struct vent *v, uint32_t wait, const struct dtqi_cancel *m)
{
    dtq_id *ids = vent_scratch(v, m->n, sizeof *ids);
    struct vent_read *r = NULL;
    uint32_t n = 0;

    for (uint32_t i = 0; ids != NULL && i < m->n; i++)
        if (vent_task_find(v, &m->ids[i]) == NULL)
            ids[n++] = m->ids[i];
    if (ids != NULL && n == 0)
        return true;
    if (ids != NULL)
        r = vent_read_new(v, READ_CANCEL, JOURNAL_LOOKUP, m->ids, m->n);
    if (r == NULL)
        return false;
    r->owner = wait;
    r->read.bodies = true;
    vent_wait_hold(v, wait);
    vent_read_send(v, r);
    return true;
}

void vent_cancel_looked_up(struct vent *v, struct vent_read *r)
{
    const struct journal_read *a = &r->read;

    if (a->err != DTQ_OK)
        v->waits[r->owner].silent = true;
    for (uint32_t i = 0; a->err == DTQ_OK && i < a->tasks_n; i++) {
        uint32_t entry = a->index[i];
        struct task *t = vent_task_find(v, &a->tasks[i].id);
        dtq_state state;

        if (v->waits[r->owner].index[entry] != DTQ_NOT_FOUND)
            continue; /* it was in memory when the question came */
        if (t == NULL)
            t = vent_recover(v, &a->tasks[i], a->buf);
        if (t == NULL) {
            v->waits[r->owner].silent = true;
            continue;
        }
        state = t->state == TASK_FREE ? recovered_state(v, t) : vent_public_state(t);
        cancel_entry(v, r->owner, entry, t, state);
        if (t->state == TASK_FREE)
            vent_task_free(v, t); /* no memory to wait with */
    }
    vent_wait_release(v, r->owner);
}

static void cancel_ids(struct vent *v, uint32_t wait, const struct dtqi_cancel *m)
{
    struct wait *w = &v->waits[wait];

    w->index = calloc(m->n + 1, sizeof *w->index);
    w->reasons = calloc(m->n + 1, sizeof *w->reasons);
    if (w->index == NULL || w->reasons == NULL) {
        w->silent = true;
        return;
    }
    w->n = m->n;
    if (!ask_journal(v, wait, m)) {
        v->waits[wait].silent = true;
        return;
    }
    for (uint32_t i = 0; i < m->n; i++) {
        struct task *t = vent_task_find(v, &m->ids[i]);

        if (t != NULL)
            cancel_entry(v, wait, i, t, vent_public_state(t));
    }
}

/* ---------------------------------------------------------------- by queue */

/* Those in memory now, the others when they are loaded. */
static void cancel_queue(struct vent *v, uint32_t wait, struct dtqi_str name)
{
    uint32_t queue = vent_queue_find(v, name);

    if (queue == NONE || name.len == 0)
        return;
    v->waits[wait].count = v->queues[queue].tasks;
    v->queues[queue].purge_seq = v->seq;
    for (uint32_t i = 0; i < v->tasks_used; i++) {
        struct task *t = task_at(v, i);

        if (t->state != TASK_FREE && t->state != TASK_CLAIMED && t->state != TASK_GONE &&
            v->specs[t->spec].queue == queue)
            cancel(v, wait, t);
    }
}

void vent_on_cancel(struct vent *v, uint32_t route, const struct dtqi_msg *msg)
{
    const struct dtqi_cancel *m = &msg->cancel;
    uint32_t wait = vent_wait_new(v, WAIT_CANCEL, route, m->request);

    if (wait == NONE) {
        v->counters.messages_dropped++; /* it asks again */
        return;
    }
    if (m->n != 0)
        cancel_ids(v, wait, m);
    else
        cancel_queue(v, wait, m->queue);
    vent_wait_release(v, wait);
}

void vent_cancel_answer(struct vent *v, struct wait *w)
{
    uint32_t *states = vent_scratch(v, w->n, sizeof *states);
    uint32_t *cancelling = vent_scratch(v, w->n, sizeof *cancelling);
    struct dtqi_msg *msg;

    if (states == NULL || cancelling == NULL)
        return;
    if (w->n != 0) {
        memcpy(states, w->index, w->n * sizeof *states);
        memcpy(cancelling, w->reasons, w->n * sizeof *cancelling);
    }
    msg = vent_send(v, w->route, DTQI_CANCEL_REPLY);
    if (msg != NULL)
        msg->cancel_reply =
            (struct dtqi_cancel_reply){w->request, w->n, states, cancelling, w->count};
}
