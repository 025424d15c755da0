/*
 * Priorities that rise with waiting (R51), and what of a queue that has them is in memory.
 *
 * Such a queue is dispatched from by comparing the first ready task of each priority. For that the
 * first ones of each must be in memory, however much of a higher one comes before them in the order
 * of the journal. So each rank behind the boundary of the window may have a part in memory of its
 * own, its first tasks up to a seq: what is *ahead* of the window. It is read when little of it is
 * left; ranks of which the journal has nothing more are known, so that nobody looks for them again.
 */
#include "vent_internal.h"

#define ALL_RANKS ((1u << DTQI_PRIORITIES) - 1)

struct ahead {
    uint64_t seqs[DTQI_PRIORITIES]; /* in memory is what is below, behind the boundary, too */
    uint16_t more;                  /* ranks of which the journal may have what is not: mask */
    uint8_t next;                   /* rank to look at first */
};

/* ---------------------------------------------------------------- whose turn it is */

/* When it could have run first: since it was made, or since it was last due. */
static uint64_t ready_since_ms(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);
    uint64_t made_ms = vent_made_wall_ms(v, t);
    uint64_t due_ms = p != NULL ? p->counters.due_wall_ms : 0;

    if (due_ms >= JOURNAL_DUE_BY_WALL)
        due_ms = vent_steady_wall_ms(v, due_ms - JOURNAL_DUE_BY_WALL);
    return due_ms > made_ms ? due_ms : made_ms;
}

/* The rank of the priority that it counts as now. */
static uint64_t rank_now(const struct vent *v, const struct task *t, uint64_t step_ms)
{
    uint64_t rank = (uint64_t)DTQI_PRIORITIES - 1 - spec_of(v, t)->spec.priority;
    uint64_t since_ms = rank != 0 ? ready_since_ms(v, t) : v->wall_ms;
    uint64_t risen = v->wall_ms > since_ms ? (v->wall_ms - since_ms) / step_ms : 0;

    return risen < rank ? rank - risen : 0;
}

bool vent_age_is_before(const struct vent *v, const struct queue *q, const struct task *a,
                        const struct task *b)
{
    uint64_t x = rank_now(v, a, q->ageing_ms);
    uint64_t y = rank_now(v, b, q->ageing_ms);

    return x != y ? x < y : a->seq < b->seq;
}

bool vent_age_is_turn(const struct vent *v, const struct queue *p, const struct task *a,
                      const struct task *b)
{
    uint64_t x = rank_now(v, a, p->ageing_ms);
    uint64_t y = rank_now(v, b, p->ageing_ms);

    if (x != y)
        return x < y;
    x = queue_of(v, a)->turn;
    y = queue_of(v, b)->turn;
    return x != y ? x < y : a->seq < b->seq;
}

struct task *vent_age_peek(const struct vent *v, const struct queue *q, uint32_t sinks)
{
    struct task *best = NULL;

    for (uint32_t left = q->lots_mask & sinks; left != 0; left &= left - 1) {
        const struct lot *lot = q->lots[__builtin_ctz(left)];

        for (uint32_t ranks = lot->ranks; ranks != 0; ranks &= ranks - 1) {
            struct task *t = vent_lot_first(v, lot, (uint32_t)__builtin_ctz(ranks));

            if (best == NULL || vent_age_is_before(v, q, t, best))
                best = t;
        }
    }
    return best;
}

/* A group in order has an order of its own; among groups it counts as its first task does. */
void vent_age_take(const struct vent *v, struct queue *q)
{
    q->ageing_ms = q->is_ordered ? 0 : head_of(v, q)->settings.ageing_ms;
}

/* What is ahead of the window leaves memory when nobody wants it any more: it would count as being
 * there, and go out before what comes first and is in the journal. */
static void set(struct vent *v, struct queue *q)
{
    bool had = q->ageing_ms != 0;

    vent_age_take(v, q);
    if (!had || q->ageing_ms != 0)
        return;
    free(q->ahead);
    q->ahead = NULL;
    q->boundary_moves++; /* what is being read of it is not wanted, either */
    vent_evict_behind(v, q);
}

void vent_age_set(struct vent *v, struct queue *p)
{
    uint32_t i = p->groups != NULL ? p->groups->members.head : NONE;
    uint32_t next;

    set(v, p);
    for (; i != NONE; i = next) {
        next = v->queues[i].sibling.next;
        set(v, &v->queues[i]);
    }
    v->load_idle = 0; /* what is ahead of their windows is wanted now */
}

/* ---------------------------------------------------------------- what is in memory */

uint32_t vent_rank_n(const struct queue *q, uint32_t rank)
{
    uint32_t n = 0;

    for (uint32_t left = q->lots_mask; left != 0; left &= left - 1) {
        const struct lot *lot = q->lots[__builtin_ctz(left)];

        n += lot->fifo[rank].n + lot->late[rank].n;
    }
    return n;
}

bool vent_ahead_has(const struct queue *q, uint32_t rank, uint64_t seq)
{
    return q->ahead != NULL && seq < q->ahead->seqs[rank];
}

/* Nobody knows yet what the journal has. NULL: no memory, and only the window is. */
static struct ahead *ahead_get(struct queue *q)
{
    if (q->ahead != NULL)
        return q->ahead;
    q->ahead = calloc(1, sizeof *q->ahead);
    if (q->ahead != NULL)
        q->ahead->more = ALL_RANKS;
    return q->ahead;
}

/* From there on it is the window's again, wherever that ends later on. */
void vent_ahead_window_back(struct queue *q, uint32_t rank, uint64_t seq)
{
    if (vent_ahead_has(q, rank, seq))
        q->ahead->seqs[rank] = seq;
}

void vent_ahead_back(struct queue *q, uint32_t rank, uint64_t seq)
{
    assert(vent_ahead_has(q, rank, seq));
    q->ahead->seqs[rank] = seq;
    q->boundary_moves++;
}

void vent_ahead_left(struct queue *q, uint32_t rank)
{
    if (q->ahead != NULL)
        q->ahead->more |= (uint16_t)(1u << rank);
}

/* Each rank may have as many as the queue would without all this; of large tasks, which fill memory
 * sooner than the table, all ranks together. */
uint32_t vent_ahead_share(const struct vent *v, uint32_t share)
{
    if (!vent_is_full_of_bytes(v) || share == 0)
        return share;
    return share > DTQI_PRIORITIES ? share / DTQI_PRIORITIES : 1;
}

/* Groups, of which there may be very many, have nothing ahead then. */
static bool may_have(const struct vent *v, const struct queue *q)
{
    return q->parent == NONE || !vent_is_full_of_bytes(v);
}

uint32_t vent_ahead_floor(const struct vent *v, const struct queue *q)
{
    return q->ageing_ms != 0 && may_have(v, q) ? vent_share_of(v, q) : 0;
}

/* ---------------------------------------------------------------- coming into memory */

/* All ranks together have no more than the window would. */
uint32_t vent_ahead_limit(const struct vent *v, const struct queue *q)
{
    uint32_t share = vent_share_of(v, q);
    uint32_t most = vent_stock_of(v, q);

    if (vent_has_room(v) && q->ready < most && most / DTQI_PRIORITIES > share)
        return most / DTQI_PRIORITIES;
    return vent_has_records(v) && may_have(v, q) ? share : 0;
}

/* What is held after a start (R33) is of no rank yet. */
uint32_t vent_ahead_wanted(const struct vent *v, struct queue *q)
{
    bool may = q->ageing_ms != 0 && q->unloaded && vent_is_served(v, q) &&
               q->resident[TASK_HELD] < vent_share_of(v, q);
    struct ahead *a = may ? ahead_get(q) : NULL;
    uint32_t low = a != NULL ? (vent_ahead_limit(v, q) + 1) / 2 : 0; /* then more is read */

    for (uint32_t i = 0; i < DTQI_PRIORITIES && low != 0; i++) {
        uint32_t rank = (a->next + i) % DTQI_PRIORITIES;

        if (rank < q->boundary_rank || vent_rank_n(q, rank) >= low)
            continue;
        if (rank != q->boundary_rank && (a->more >> rank & 1) == 0)
            continue;
        a->next = (uint8_t)((rank + 1) % DTQI_PRIORITIES);
        return rank != q->boundary_rank ? rank : NONE; /* the window's own turn */
    }
    return NONE;
}

bool vent_ahead_is_out(const struct queue *q, uint32_t rank)
{
    return q->ageing_ms != 0 && q->ahead != NULL && (q->ahead->more >> rank & 1) != 0 &&
           vent_rank_n(q, rank) == 0;
}

void vent_ahead_ask(struct queue *q, uint32_t rank, struct vent_read *r)
{
    uint64_t seq = q->ahead->seqs[rank];

    r->is_ahead = true;
    r->rank = (uint8_t)rank;
    r->read.has_after = true; /* the last key that can be before it */
    r->read.after = (struct journal_key){
        .queue = q->number,
        .rank = (uint8_t)(rank - (seq == 0)),
        .seq = seq - 1,
    };
}

static void reach(struct queue *q, const struct journal_key *key)
{
    if (q->ahead->seqs[key->rank] <= key->seq)
        q->ahead->seqs[key->rank] = key->seq + 1;
}

/* false: it could not come into memory. */
static bool bring(struct vent *v, struct queue *q, const struct journal_task *jt,
                  struct dtqi_buf *buf)
{
    struct task *t;

    if (vent_task_find(v, &jt->id) != NULL) { /* R22 */
        reach(q, &jt->key);
        return true;
    }
    t = vent_recover(v, jt, buf);
    if (t == NULL)
        return false;
    v->counters.tasks_loaded++;
    reach(q, &jt->key); /* so that it is not behind that itself */
    vent_recovered(v, t);
    return true;
}

bool vent_ahead_loaded(struct vent *v, struct queue *q, const struct vent_read *r)
{
    const struct journal_read *a = &r->read;
    uint32_t first = r->rank; /* of those that are not known to the end */
    uint32_t i;

    for (i = 0; i < a->tasks_n && bring(v, q, &a->tasks[i], a->buf); i++) {
        if (r->boundary_moves != q->boundary_moves)
            return true;
        first = a->tasks[i].key.rank;
    }
    if (i == a->tasks_n && a->end)
        first = DTQI_PRIORITIES;
    for (uint32_t rank = r->rank; rank < first; rank++) /* what left since comes later (R22) */
        q->ahead->more &= (uint16_t) ~(1u << rank);
    return i == a->tasks_n;
}
