#include "vent_internal.h"

static bool is_open(enum task_state state)
{
    return state != TASK_FREE && state != TASK_GONE;
}

void vent_unmarked(struct vent *v, const struct task *t, enum task_state from, enum task_state to)
{
    uint32_t more = (uint32_t)is_open(to) - (uint32_t)is_open(from); /* or one less */

    if ((t->flags & (TASK_CANCEL | TASK_MARKED)) == TASK_CANCEL)
        head_of(v, queue_of(v, t))->unmarked += more;
}

void vent_cancel_flag(struct vent *v, struct task *t, uint16_t flag)
{
    vent_unmarked(v, t, (enum task_state)t->state, TASK_FREE);
    t->flags |= flag;
    vent_unmarked(v, t, TASK_FREE, (enum task_state)t->state);
}

bool vent_cancel_task(struct vent *v, struct task *t)
{
    uint64_t since_ms;

    switch ((enum task_state)t->state) {
    case TASK_FREE: /* it came out of the journal: somebody may hold it */
        vent_cancel_flag(v, t, TASK_CANCEL);
        vent_recovered(v, t);
        vent_dirty(v, t, true);
        return true;
    case TASK_HELD: /* who holds it, if anybody does, is told when he lists it (R11) */
        vent_cancel_flag(v, t, TASK_CANCEL);
        vent_dirty(v, t, true);
        return true;
    case TASK_READY:
    case TASK_PARKED:
    case TASK_SCHEDULED:
    case TASK_DEADWAIT: vent_propose_cancelled(v, t); return true;
    case TASK_LEASED:
        vent_cancel_flag(v, t, TASK_CANCEL);
        since_ms = t->since_ms;
        vent_task_move(v, t, TASK_STOPPING);
        t->since_ms = since_ms; /* of the attempt, which goes on until it is stopped */
        vent_stop_attempt(v, &v->workers[t->worker], &t->id);
        vent_dirty(v, t, true);
        return true;
    case TASK_DONE: /* should its outcome not arrive, it is not run again */
        vent_cancel_flag(v, t, TASK_CANCEL);
        vent_dirty(v, t, true);
        return true;
    case TASK_STOPPING: return true;
    case TASK_MARKING: return (t->flags & TASK_CANCEL) != 0; /* else it has failed */
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

    return p != NULL && !vent_is_due(v, p->counters.due_wall_ms) ? DTQ_SCHEDULED : DTQ_READY;
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
        state = t->state == TASK_FREE ? recovered_state(v, t) : vent_public_state(v, t);
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
            cancel_entry(v, wait, i, t, vent_public_state(v, t));
    }
}

/* ---------------------------------------------------------------- by queue */

/* So many have not begun to end. */
static uint64_t open_tasks(const struct queue *q)
{
    uint64_t ending = (uint64_t)resident_of(q, TASK_MARKING) + resident_of(q, TASK_PROPOSED);

    return tasks_of(q) > ending ? tasks_of(q) - ending : 0;
}

static bool is_in(const struct vent *v, const struct task *t, const struct queue *q)
{
    return t->state != TASK_FREE && head_of(v, queue_of(v, t)) == q;
}

/* What is not in memory is looked for in the journal, from the beginning. */
static void search_journal(struct vent *v, struct queue *q)
{
    v->purging += q->settings.purge_seq == 0;
    q->settings.purge_seq = v->seq;
    if (v->purge_queue == (uint32_t)(q - v->queues))
        v->purge_queue = NONE;
    vent_queue_changed(v, q);
    v->urgent = true;
}

/* What waits in memory has its mark one by one; what may be with a worker is let go (R33). */
uint64_t vent_purge(struct vent *v, struct queue *q)
{
    uint64_t held = (uint64_t)resident_of(q, TASK_LEASED) + resident_of(q, TASK_STOPPING) +
                    resident_of(q, TASK_DONE) + resident_of(q, TASK_DEADWAIT);
    uint64_t n = open_tasks(q) > held ? open_tasks(q) - held : 0;

    for (uint32_t i = 0; i < v->tasks_used; i++) {
        struct task *t = task_at(v, i);
        bool waits =
            t->state == TASK_READY || t->state == TASK_PARKED || t->state == TASK_SCHEDULED;

        if (waits && is_in(v, t, q))
            vent_propose_cancelled(v, t);
    }
    search_journal(v, q);
    return n;
}

/* All of it, with what workers hold. */
static void cancel_queue(struct vent *v, uint32_t wait, struct queue *q)
{
    if (q->number == 0)
        return;
    v->waits[wait].count = open_tasks(q);
    for (uint32_t i = 0; i < v->tasks_used; i++) {
        struct task *t = task_at(v, i);

        if (is_in(v, t, q) && t->state != TASK_CLAIMED && t->state != TASK_GONE)
            cancel(v, wait, t);
    }
    search_journal(v, q);
    q->settings.cancel_seq = q->settings.purge_seq;
    if (vent_link_add(v, &q->asks, wait))
        vent_wait_hold(v, wait);
    else
        v->waits[wait].silent = true;
}

static void refuse(struct vent *v, uint32_t route, const struct dtqi_cancel *m,
                   enum dtqi_refusal reason, const char *text)
{
    struct dtqi_msg *msg = vent_send(v, route, DTQI_CANCEL_REPLY);

    if (msg != NULL)
        msg->cancel_reply = (struct dtqi_cancel_reply){
            .request = m->request, .reason = reason, .text = dtqi_str(text)};
}

void vent_on_cancel(struct vent *v, uint32_t route, const struct dtqi_msg *msg)
{
    const struct dtqi_cancel *m = &msg->cancel;
    uint32_t queue = m->n == 0 ? vent_queue_find(v, m->queue) : NONE;
    uint32_t wait;

    if (m->n == 0 && (queue == NONE || m->queue.len == 0)) {
        refuse(v, route, m, DTQI_BAD_TASK, "there is no queue of that name");
        return;
    }
    wait = vent_wait_new(v, WAIT_CANCEL, route, m->request);
    if (wait == NONE) {
        refuse(v, route, m, DTQI_BUSY, "submits_max is reached: too many wait for the disk");
        return;
    }
    if (m->n != 0)
        cancel_ids(v, wait, m);
    else
        cancel_queue(v, wait, &v->queues[queue]);
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
        msg->cancel_reply = (struct dtqi_cancel_reply){.request = w->request,
                                                       .n = w->n,
                                                       .states = states,
                                                       .cancelling = cancelling,
                                                       .count = w->count};
}

/* ---------------------------------------------------------------- what the journal has of it */

#define PURGE_READ_TASKS 256u
#define PURGE_READ_TASKS_LEAST 16u
#define PURGE_AGAIN_MS 100u

static void purge_begin(struct vent *v)
{
    for (uint32_t i = 0; i < v->queues_n; i++)
        if (v->queues[i].used && v->queues[i].settings.purge_seq != 0) {
            v->purge_queue = i;
            v->purge_round++;
            v->purge_has_after = v->purge_ended = false;
            return;
        }
}

/* Everything before the mark of the queue has a mark of its own that is committed: that one is not
 * needed. How long it takes to stop what runs does not matter, others want their turn. */
static bool purge_end(struct vent *v, struct queue *q)
{
    if (q->unmarked != 0 || resident_of(q, TASK_HELD) != 0)
        return false;
    q->settings.purge_seq = q->settings.cancel_seq = 0;
    v->purging--;
    v->purge_queue = NONE;
    vent_queue_changed(v, q);
    return true;
}

/* Not more than what the sink is given at a time, and than there is memory for; the end of any of
 * it makes room. Others may fill the window for long: this does not wait for them. */
static bool has_purge_room(const struct vent *v, const struct queue *q)
{
    uint32_t under_way =
        v->counts[TASK_MARKING] + v->counts[TASK_PROPOSED] + resident_of(q, TASK_HELD);

    return under_way < v->cfg.load_tasks &&
           vent_records(v) < v->cfg.resident_tasks_max - v->cfg.resident_tasks_max / 8 &&
           v->resident_bytes < v->cfg.resident_bytes_max / 4 * 3;
}

static void purge_ask(struct vent *v, const struct queue *q)
{
    struct vent_read *r =
        vent_read_new(v, READ_PURGE, JOURNAL_SCAN, &v->purge_after, v->purge_has_after ? 1 : 0);

    if (r == NULL) {
        v->purge_after_ms = v->now_ms + PURGE_AGAIN_MS;
        return;
    }
    r->queue = v->purge_queue;
    r->boundary_moves = v->purge_round;
    r->read.queue = q->number;
    r->read.limit = v->purge_small ? PURGE_READ_TASKS_LEAST : PURGE_READ_TASKS;
    r->read.bodies = true; /* specs come with them */
    v->purge_reading = true;
    vent_read_send(v, r);
}

void vent_purges_tick(struct vent *v)
{
    while (v->purging != 0 && !v->purge_reading) {
        if (v->purge_queue == NONE)
            purge_begin(v);
        assert(v->purge_queue != NONE);
        if (v->purge_ended && purge_end(v, &v->queues[v->purge_queue]))
            continue;
        if (v->purge_ended || !has_purge_room(v, &v->queues[v->purge_queue]))
            return; /* whatever ends next brings us here again */
        if (v->now_ms < v->purge_after_ms) {
            due_at(v, v->purge_after_ms);
            return;
        }
        purge_ask(v, &v->queues[v->purge_queue]);
    }
}

/* false: no memory for it now. */
static bool purge_task(struct vent *v, const struct queue *q, const struct journal_read *a,
                       uint32_t i)
{
    const struct journal_task *jt = &a->tasks[i];
    struct task *t;

    if (jt->key.seq >= q->settings.purge_seq || vent_task_find(v, &jt->id) != NULL)
        return true;
    t = vent_recover(v, jt, a->buf);
    if (t == NULL)
        return false;
    v->counters.tasks_loaded++;
    vent_recovered(v, t);
    return true;
}

void vent_purge_read(struct vent *v, struct vent_read *r)
{
    const struct journal_read *a = &r->read;
    const struct queue *q = &v->queues[r->queue];

    v->purge_reading = false;
    if (r->queue != v->purge_queue || r->boundary_moves != v->purge_round)
        return;                            /* begun anew since */
    v->purge_small = a->err == DTQ_ENOMEM; /* large payloads: fewer of them at a time */
    if (a->err != DTQ_OK) {
        v->purge_after_ms = v->now_ms + PURGE_AGAIN_MS;
        return;
    }
    for (uint32_t i = 0; i < a->tasks_n; i++) {
        if (!purge_task(v, q, a, i)) {
            v->purge_after_ms = v->now_ms + PURGE_AGAIN_MS;
            return;
        }
        v->purge_has_after = true;
        v->purge_after = a->tasks[i].id;
    }
    v->purge_ended = a->end;
    if (!a->end) {
        v->purge_has_after = true;
        v->purge_after = a->last;
    }
}
