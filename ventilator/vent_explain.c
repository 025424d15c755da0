#include "vent_internal.h"

#include <stdio.h>

#define WALK_MAX 100000u /* tasks that are counted one by one */
#define WHY_BYTES 160u

/* ---------------------------------------------------------------- why */

static const char *why_busy(struct vent *v, const struct queue *q)
{
    char *at = vent_scratch(v, 1, WHY_BYTES);

    if (at == NULL)
        return "every worker that serves its queue is busy";
    (void)snprintf(at, WHY_BYTES, "every worker that serves its queue is busy: %u of them",
                   q->servers + v->any_servers);
    return at;
}

static const char *why_sink(const struct vent *v, const struct task *t)
{
    const struct sink *s = &v->sinks[t->sink];

    if (s->removed)
        return "its sink was removed, and no other one is there";
    if (s->diverged)
        return "its sink was restored from an old copy: see dtq sink";
    return vent_sink_is_up(s) ? NULL : "its sink cannot be reached";
}

static const char *why_ready(struct vent *v, const struct task *t)
{
    const struct queue *group = queue_of(v, t);
    const struct queue *q = head_of(v, group);
    const char *closed = vent_gate_why(v, group);
    const char *sink = why_sink(v, t);

    if (v->stopping)
        return "the ventilator is stopping";
    if (closed == NULL)
        closed = vent_order_why(v, group, t);
    if (closed != NULL)
        return closed;
    if (q->servers == 0 && v->any_servers == 0)
        return "no worker serves its queue";
    if (sink != NULL)
        return sink;
    if (t->flags & TASK_SUSPECT)
        return "its worker died, so it runs next on a worker that holds nothing else";
    return why_busy(v, q);
}

static const char *why_proposed(const struct vent *v, const struct task *t)
{
    if (v->sinks[t->sink].removed)
        return "its outcome is known, but its sink was removed, and no other one is there";
    if (v->sinks[t->sink].diverged)
        return "its outcome is known, but its sink was restored from an old copy: see dtq sink";
    if (!vent_sink_is_up(&v->sinks[t->sink]))
        return "its outcome is known, but its sink cannot be reached";
    switch ((dtq_state)t->resends) {
    case DTQ_CANCELLED: return "cancelled: the sink is recording that";
    case DTQ_EXPIRED: return "expired: the sink is recording that";
    default: return "failed for good: the sink is recording that";
    }
}

static const char *why_done(const struct sink *s)
{
    if (s->removed)
        return "finished, but its sink was removed, and no other one is there";
    return s->diverged ? "finished, but its sink was restored from an old copy: see dtq sink"
                       : "finished: the sink is recording its outcome";
}

const char *vent_why(struct vent *v, const struct task *t)
{
    switch ((enum task_state)t->state) {
    case TASK_CLAIMED: return "it was sent before: its sink is asked for an outcome";
    case TASK_HELD: return "recovered: held until the workers have said what they hold";
    case TASK_READY: return why_ready(v, t);
    case TASK_PARKED: return vent_why_journaled(v, queue_of(v, t)->number);
    case TASK_SCHEDULED: return "its time has not come";
    case TASK_LEASED: return t->flags & TASK_RUNNING ? "" : "waits for a slot of its worker";
    case TASK_STOPPING: return "its worker is stopping it";
    case TASK_DONE:
    case TASK_DEADWAIT: return why_done(&v->sinks[t->sink]);
    case TASK_MARKING:
        return (t->flags & TASK_CANCEL) != 0 ? "the cancellation is being written to the journal"
                                             : "its failure is being written to the journal";
    case TASK_PROPOSED: return why_proposed(v, t);
    case TASK_FREE:
    case TASK_GONE:
    case TASK_STATES: return "";
    }
    return "";
}

const char *vent_why_journaled(struct vent *v, uint32_t number)
{
    const struct queue *q = vent_queue_of_number(v, number);
    const char *closed = q != NULL ? vent_gate_why(v, q) : NULL;

    if (closed == NULL && q != NULL)
        closed = vent_order_why(v, q, NULL);
    if (closed != NULL)
        return closed;
    if (q != NULL && head_of(v, q)->servers == 0 && v->any_servers == 0)
        return "no worker serves its queue";
    return q != NULL && q->parent != NONE ? "older tasks of its group come first"
                                          : "older tasks of its queue come first";
}

/* ---------------------------------------------------------------- what comes first */

struct before {
    uint64_t n;
    uint32_t walked;
    bool is_least;
};

static bool is_walk_over(struct before *b)
{
    b->is_least |= b->walked >= WALK_MAX;
    return b->walked++ >= WALK_MAX;
}

/* Those of a list that were admitted before this one; a list is in that order. */
static void count_list(const struct vent *v, const struct list *l, uint64_t seq, struct before *b)
{
    for (uint32_t i = l->head; i != NONE && task_at(v, i)->seq < seq; i = task_at(v, i)->next) {
        if (is_walk_over(b))
            return;
        b->n++;
    }
}

static void count_late(const struct vent *v, const struct heap *h, uint64_t seq, struct before *b)
{
    for (uint32_t i = 0; i < h->n; i++) {
        if (is_walk_over(b))
            return;
        b->n += task_at(v, h->at[i])->seq < seq;
    }
}

/* Those of a rank that count as more than this one now (R51). */
static void count_risen(const struct vent *v, const struct lot *lot, uint32_t rank,
                        const struct task *t, struct before *b)
{
    const struct queue *q = queue_of(v, t);

    for (uint32_t i = lot->fifo[rank].head; i != NONE; i = task_at(v, i)->next) {
        if (is_walk_over(b))
            return;
        b->n += vent_age_is_before(v, q, task_at(v, i), t);
    }
    for (uint32_t i = 0; i < lot->late[rank].n && !is_walk_over(b); i++)
        b->n += vent_age_is_before(v, q, task_at(v, lot->late[rank].at[i]), t);
}

static void count_lot(const struct vent *v, const struct lot *lot, const struct task *t,
                      struct before *b)
{
    uint8_t rank = spec_of(v, t)->rank;

    for (uint32_t r = 0; queue_of(v, t)->ageing_ms != 0 && r < DTQI_PRIORITIES; r++)
        if (r != rank)
            count_risen(v, lot, r, t, b);
    for (uint32_t r = 0; queue_of(v, t)->ageing_ms == 0 && r < rank; r++)
        b->n += (uint64_t)lot->fifo[r].n + lot->late[r].n;
    count_list(v, &lot->fifo[rank], t->seq, b);
    count_late(v, &lot->late[rank], t->seq, b);
}

/* Within its group. What others of the queue get before it is not known: they come and go. */
static struct before before_ready(const struct vent *v, const struct task *t)
{
    const struct queue *q = queue_of(v, t);
    struct before b = {.is_least = q->family != NONE};

    if ((t->flags & TASK_SUSPECT) != 0) {
        count_list(v, &q->suspects, t->seq, &b);
        return b;
    }
    b.n = q->suspects.n;
    for (uint32_t left = q->lots_mask; left != 0; left &= left - 1)
        count_lot(v, q->lots[__builtin_ctz(left)], t, &b);
    return b;
}

/* At its worker, which starts them in the order they were sent. */
static struct before before_leased(const struct vent *v, const struct task *t)
{
    struct before b = {0};

    for (uint32_t i = t->prev; i != NONE; i = task_at(v, i)->prev)
        b.n += (task_at(v, i)->flags & TASK_RUNNING) == 0;
    return b;
}

void vent_explain(const struct vent *v, const struct task *t, struct dtqi_task_info *info)
{
    struct before b = {0};

    if (t->state == TASK_READY)
        b = before_ready(v, t);
    else if (t->state == TASK_LEASED && (t->flags & TASK_RUNNING) == 0)
        b = before_leased(v, t);
    else if (t->state == TASK_PARKED || t->state == TASK_HELD)
        b = (struct before){.n = queue_of(v, t)->ready, .is_least = true};
    info->before = b.n;
    info->before_is_least = b.is_least;
}

/* It is behind everything of its queue that is in memory (R41). */
void vent_explain_journaled(const struct vent *v, uint32_t number, struct dtqi_task_info *info)
{
    const struct queue *q = vent_queue_of_number(v, number);

    if (q == NULL || info->state != DTQ_READY)
        return;
    info->before = q->ready;
    info->before_is_least = true;
}
