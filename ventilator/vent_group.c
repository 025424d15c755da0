/*
 * Groups of a queue. A group is a queue of its own, with lists, window, gate and number in the
 * journal, that has a parent; workers, orders and bounds know the parent only. The parent keeps,
 * for each rank, a ring of those groups whose best ready task has that rank: the first of the first
 * ring gives the next task and goes to the end. So priority comes first, then each group has its
 * turn, and a task costs the same with ten groups as with a hundred thousand. A group that may not
 * be dispatched from is in no ring.
 *
 * In a group in order one task at a time is between dispatch and outcome, and the next is the one
 * that was admitted first of all that wait: also before it is loaded, and while it waits for a
 * retry. A delayed task takes its place when its time comes.
 *
 * A group comes with its first task. When nothing names it any more it is forgotten, in the journal
 * too, and its number is used again.
 */
#include "vent_internal.h"

#include <stdio.h>

#define GROUP_BUCKETS 1024u
#define SKIPPED_MAX 64u      /* groups without a task for the sinks that can be reached */
#define EVICT_VISITS 1024u   /* groups that are looked at for tasks that may leave memory */
#define RECORDS_PER_GROUP 8u /* so that all groups at once do not fill the table of tasks */

/* ---------------------------------------------------------------- groups by key */

static struct dtqi_str key_of(const struct queue *q)
{
    return (struct dtqi_str){q->name, q->name_len};
}

static uint32_t *bucket_of(const struct vent *v, uint32_t parent, struct dtqi_str key,
                           bool is_ordered)
{
    uint64_t h = (uint64_t)parent << 1 | is_ordered;

    for (uint32_t i = 0; i < key.len; i++)
        h = (h ^ (uint8_t)key.at[i]) * 0x100000001b3ull;
    return &v->group_buckets[dtqi_mix64(h) & v->group_buckets_mask];
}

static uint32_t find(const struct vent *v, uint32_t parent, struct dtqi_str key, bool is_ordered)
{
    uint32_t i = *bucket_of(v, parent, key, is_ordered);

    while (i != NONE && (v->queues[i].parent != parent || v->queues[i].is_ordered != is_ordered ||
                         !dtqi_str_eq(key_of(&v->queues[i]), key)))
        i = v->queues[i].next_same_hash;
    return i;
}

static void bucket_add(struct vent *v, uint32_t i)
{
    struct queue *q = &v->queues[i];
    uint32_t *bucket = bucket_of(v, q->parent, key_of(q), q->is_ordered);

    q->next_same_hash = *bucket;
    *bucket = i;
}

static void bucket_remove(struct vent *v, uint32_t i)
{
    struct queue *q = &v->queues[i];
    uint32_t *at = bucket_of(v, q->parent, key_of(q), q->is_ordered);

    while (*at != i)
        at = &v->queues[*at].next_same_hash;
    *at = q->next_same_hash;
}

static void grow_buckets(struct vent *v)
{
    uint32_t mask = 2 * v->group_buckets_mask + 1;
    uint32_t *buckets;

    if (v->groups_count <= v->group_buckets_mask)
        return;
    buckets = malloc(((size_t)mask + 1) * sizeof *buckets);
    if (buckets == NULL)
        return; /* longer chains, then */
    memset(buckets, 0xff, ((size_t)mask + 1) * sizeof *buckets);
    free(v->group_buckets);
    v->group_buckets = buckets;
    v->group_buckets_mask = mask;
    for (uint32_t i = v->queues_room; i < v->queues_room + v->groups_n; i++)
        if (v->queues[i].used)
            bucket_add(v, i);
}

/* ---------------------------------------------------------------- coming */

static bool adopt_groups(struct vent *v, struct queue *p)
{
    if (p->groups != NULL)
        return true;
    p->groups = calloc(1, sizeof *p->groups);
    if (p->groups == NULL)
        return false;
    for (uint32_t r = 0; r < GROUP_RINGS; r++)
        list_init(&p->groups->rings[r]);
    list_init(&p->groups->members);
    p->groups->evict_next = NONE;
    p->family = (uint32_t)(p - v->queues);
    vent_group_update(v, p, false);
    return true;
}

static void member_add(struct vent *v, struct queue *p, uint32_t i)
{
    struct list *l = &p->groups->members;

    v->queues[i].sibling = (struct list_place){.next = NONE, .prev = l->tail};
    if (l->tail != NONE)
        v->queues[l->tail].sibling.next = i;
    else
        l->head = i;
    l->tail = i;
    l->n++;
    p->specs++; /* the queue stays as long as its groups */
}

/* What its parent says of every group. When the last task went out is its own. */
static void take_settings(struct vent *v, struct queue *q)
{
    const struct journal_queue_settings *of = &head_of(v, q)->settings;

    q->settings.limit = of->group_limit;
    q->settings.rate = of->group_rate;
    q->settings.rate_period_ms = of->group_rate_period_ms;
    vent_age_take(v, q);
    vent_gate_set(v, q);
}

static uint32_t place_for_one(struct vent *v)
{
    uint32_t i = v->groups_free;

    if (i != NONE)
        v->groups_free = v->queues[i].next;
    else if (v->groups_n < v->groups_room)
        i = v->queues_room + v->groups_n++;
    return i;
}

bool vent_groups_full(const struct vent *v)
{
    return v->groups_count >= v->groups_room;
}

static uint32_t group_new(struct vent *v, uint32_t parent, struct dtqi_str key, bool is_ordered)
{
    struct queue *p = &v->queues[parent];
    struct queue *q;
    uint32_t i;

    p->specs++; /* trimming must not take it */
    if (v->groups_count >= v->groups_room - v->groups_room / 8)
        vent_specs_trim(v); /* in time: the journal forgets them first */
    p->specs--;
    if (!adopt_groups(v, p) || !vent_numbers_reserve(v))
        return NONE;
    i = place_for_one(v);
    if (i == NONE)
        return NONE;
    vent_queue_reset(v, i, key);
    q = &v->queues[i];
    q->parent = q->family = parent;
    q->is_ordered = is_ordered;
    q->settle_us = p->settle_us;
    q->turn = v->turns;
    bucket_add(v, i);
    member_add(v, p, i);
    v->groups_count++;
    grow_buckets(v);
    take_settings(v, q);
    return i;
}

uint32_t vent_group_get(struct vent *v, uint32_t parent, struct dtqi_str key, bool is_ordered)
{
    uint32_t i = find(v, parent, key, is_ordered);

    if (i == NONE)
        return group_new(v, parent, key, is_ordered);
    if (!v->queues[i].is_handed)
        v->queues[i].is_gone = false; /* else the answer is waited for */
    return i;
}

uint32_t vent_queue_of_spec(struct vent *v, const struct dtqi_spec *spec)
{
    uint32_t queue = vent_queue_get(v, spec->queue);
    uint32_t group;

    if (queue == NONE || spec->group.len == 0)
        return queue;
    group = vent_group_get(v, queue, spec->group, spec->group_ordered);
    if (group == NONE)
        vent_queue_unuse(v, queue);
    return group;
}

/* ---------------------------------------------------------------- going */

static void member_remove(struct vent *v, struct queue *p, struct queue *q)
{
    struct groups *g = p->groups;

    if (g->evict_next == (uint32_t)(q - v->queues))
        g->evict_next = q->sibling.next;
    if (q->sibling.prev != NONE)
        v->queues[q->sibling.prev].sibling.next = q->sibling.next;
    else
        g->members.head = q->sibling.next;
    if (q->sibling.next != NONE)
        v->queues[q->sibling.next].sibling.prev = q->sibling.prev;
    else
        g->members.tail = q->sibling.prev;
    g->members.n--;
}

static void number_free(struct vent *v, struct queue *q)
{
    if (q->number == 0)
        return;
    nummap_remove(&v->numbers, q->number);
    if (vent_grow(&v->numbers_free, v->numbers_free_n, &v->numbers_free_room,
                  sizeof *v->numbers_free))
        v->numbers_free[v->numbers_free_n++] = q->number; /* else that one is not used again */
    q->number = 0;
}

static void forget(struct vent *v, struct queue *q)
{
    uint32_t i = (uint32_t)(q - v->queues);
    uint32_t parent = q->parent;

    assert(q->ready == 0);
    assert(q->offered == 0);
    if (q->gate_place != NONE)
        vent_gate_remove(v, i);
    vent_queue_unloaded(v, q, false);
    number_free(v, q);
    bucket_remove(v, i);
    member_remove(v, &v->queues[parent], q);
    vent_queue_clear(v, q);
    q->next = v->groups_free;
    v->groups_free = i;
    v->groups_count--;
    v->queues[parent].specs--;
    vent_queue_unuse(v, parent);
}

static bool is_used(const struct queue *q)
{
    return q->specs != 0 || q->tasks != 0 || q->loading || q->is_hungry;
}

/* What went out lately counts against its rate: it is remembered until that is over. */
static bool waits_for_rate(struct vent *v, struct queue *q)
{
    if (q->rate_step_ns == 0 || q->rate_next_ns <= v->now_ms * 1000000)
        return false;
    if (q->gate_place == NONE)
        vent_gate_add(v, (uint32_t)(q - v->queues));
    return true;
}

void vent_group_unuse(struct vent *v, struct queue *q)
{
    if (is_used(q) || q->is_gone || q->is_handed || waits_for_rate(v, q))
        return;
    if (q->number == 0) {
        forget(v, q);
        return;
    }
    q->is_gone = true;
    vent_queue_changed(v, q);
}

void vent_group_kept(struct queue *q)
{
    q->is_gone = q->is_gone && !is_used(q);
}

void vent_group_forgotten(struct vent *v, struct queue *q, bool is_gone)
{
    bool is_back = is_used(q);

    q->is_gone = false;
    if (is_gone && is_back)
        number_free(v, q); /* it gets one again with its next task */
    else if (is_gone)
        forget(v, q);
}

/* ---------------------------------------------------------------- start and end */

/* A journal that lost the record of a queue has its groups still. */
static uint32_t parent_of(struct vent *v, const struct journal_queue *jq)
{
    const struct queue *p = vent_queue_of_number(v, jq->parent);
    char name[32];
    uint32_t i;

    if (p != NULL && p->parent == NONE)
        return (uint32_t)(p - v->queues);
    (void)snprintf(name, sizeof name, "recovered-%u", jq->parent);
    i = vent_queue_get(v, dtqi_str(name));
    if (i != NONE)
        vent_queue_number(v, &v->queues[i]);
    return i;
}

static dtq_err group_start(struct vent *v, const struct journal_queue *jq)
{
    uint32_t parent = parent_of(v, jq);
    uint32_t i = parent != NONE ? vent_group_get(v, parent, dtqi_str(jq->name), jq->ordered) : NONE;

    if (i == NONE)
        return DTQ_ENOMEM;
    vent_queue_start(v, &v->queues[i], jq);
    take_settings(v, &v->queues[i]);
    vent_group_unuse(v, &v->queues[i]);
    return DTQ_OK;
}

dtq_err vent_groups_init(struct vent *v, const struct journal_start *start)
{
    dtq_err err = DTQ_OK;

    v->group_buckets = malloc(GROUP_BUCKETS * sizeof *v->group_buckets);
    if (v->group_buckets == NULL)
        return DTQ_ENOMEM;
    memset(v->group_buckets, 0xff, GROUP_BUCKETS * sizeof *v->group_buckets);
    v->group_buckets_mask = GROUP_BUCKETS - 1;
    v->groups_free = NONE;
    for (uint32_t i = 0; i < start->queues_n && err == DTQ_OK; i++)
        if (start->queues[i].parent != 0)
            err = group_start(v, &start->queues[i]);
    return err;
}

uint32_t vent_groups_room(const struct vent_cfg *cfg)
{
    uint32_t room = cfg->resident_tasks_max / RECORDS_PER_GROUP;

    return cfg->groups_max < room ? cfg->groups_max : room;
}

void vent_groups_done(struct vent *v)
{
    free(v->group_buckets);
    free(v->numbers_free);
    nummap_done(&v->numbers);
}

void vent_groups_set(struct vent *v, struct queue *p)
{
    uint32_t next;

    for (uint32_t i = p->groups != NULL ? p->groups->members.head : NONE; i != NONE; i = next) {
        struct queue *q = &v->queues[i];

        next = q->sibling.next;
        vent_gate_open(v, q); /* out of the order of their times, before its own changes */
        if (q->gate_place != NONE)
            vent_gate_remove(v, i);
        q->settings.rate_next_wall_ms = 0;
        take_settings(v, q);
        vent_group_unuse(v, q);
    }
}

/* ---------------------------------------------------------------- rings */

static void ring_remove(struct vent *v, struct groups *g, struct queue *q, uint32_t k)
{
    struct hook *h = &q->hooks[k];
    struct list *l = &g->rings[h->ring];

    if (h->prev != NONE)
        v->queues[h->prev].hooks[k].next = h->next;
    else
        l->head = h->next;
    if (h->next != NONE)
        v->queues[h->next].hooks[k].prev = h->prev;
    else
        l->tail = h->prev;
    if (--l->n == 0)
        g->filled &= ~(1u << h->ring);
    h->ring = RING_NONE;
}

static void ring_push(struct vent *v, struct groups *g, struct queue *q, uint32_t k, uint8_t ring)
{
    struct list *l = &g->rings[ring];
    uint32_t i = (uint32_t)(q - v->queues);

    q->hooks[k] = (struct hook){.next = NONE, .prev = l->tail, .ring = ring};
    if (l->tail != NONE)
        v->queues[l->tail].hooks[k].next = i;
    else
        l->head = i;
    l->tail = i;
    l->n++;
    g->filled |= 1u << ring;
}

static void to_ring(struct vent *v, struct groups *g, struct queue *q, uint32_t k, uint8_t ring)
{
    if (q->hooks[k].ring == ring)
        return;
    if (q->hooks[k].ring != RING_NONE)
        ring_remove(v, g, q, k);
    if (ring != RING_NONE)
        ring_push(v, g, q, k, ring);
}

static void to_end(struct vent *v, struct groups *g, struct queue *q, uint32_t k)
{
    uint8_t ring = q->hooks[k].ring;

    if (ring == RING_NONE || q->hooks[k].next == NONE)
        return;
    ring_remove(v, g, q, k);
    ring_push(v, g, q, k, ring);
}

static void offer(struct groups *g, struct queue *q, uint32_t sinks, uint32_t ready)
{
    for (uint32_t left = sinks ^ q->offered_sinks; left != 0; left &= left - 1) {
        uint32_t s = (uint32_t)__builtin_ctz(left);

        g->sinks[s] += (sinks >> s & 1) != 0 ? 1 : -1u;
        if (g->sinks[s] != 0)
            g->sinks_mask |= 1u << s;
        else
            g->sinks_mask &= ~(1u << s);
    }
    q->offered_sinks = sinks;
    g->offered += ready - q->offered;
    q->offered = ready;
}

static uint8_t best_rank(const struct queue *q)
{
    uint32_t best = DTQI_PRIORITIES;

    for (uint32_t left = q->lots_mask; left != 0; left &= left - 1) {
        uint32_t rank = (uint32_t)__builtin_ctz(q->lots[__builtin_ctz(left)]->ranks);

        if (rank < best)
            best = rank;
    }
    return (uint8_t)best;
}

/* Of a group in order: whatever else waits comes after it. */
static struct task *first_of(const struct vent *v, const struct queue *q)
{
    struct task *t = vent_lots_peek(v, q, ~0u);
    struct task *suspect = q->suspects.n != 0 ? task_at(v, q->suspects.head) : NULL;

    if (q->tried != NONE) /* one that was delayed may have been admitted before it */
        return task_at(v, q->tried);
    if (t == NULL || (suspect != NULL && suspect->seq < t->seq))
        return suspect;
    return t;
}

/* Its priority counts among groups, not within its own. */
static void update_ordered(struct vent *v, struct groups *g, struct queue *q)
{
    const struct task *t = q->place == QUEUE_ACTIVE ? first_of(v, q) : NULL;
    bool is_suspect = t != NULL && (t->flags & TASK_SUSPECT) != 0;
    uint8_t rank = RING_NONE;

    if (t != NULL && !is_suspect)
        rank = (uint8_t)(DTQI_PRIORITIES - 1 - spec_of(v, t)->spec.priority);
    to_ring(v, g, q, 0, rank);
    to_ring(v, g, q, 1, is_suspect ? RING_SUSPECTS : RING_NONE);
    offer(g, q, rank != RING_NONE ? 1u << t->sink : 0, rank != RING_NONE ? 1 : 0);
}

static void update_plain(struct vent *v, struct groups *g, struct queue *q)
{
    bool is_open = q->place == QUEUE_ACTIVE;
    uint32_t sinks = is_open ? q->lots_mask : 0;

    to_ring(v, g, q, 0, sinks != 0 ? best_rank(q) : RING_NONE);
    to_ring(v, g, q, 1, is_open && q->suspects.n != 0 ? RING_SUSPECTS : RING_NONE);
    offer(g, q, sinks, is_open ? q->ready : 0);
}

static void update_member(struct vent *v, struct groups *g, struct queue *q)
{
    if (q->ready == 0 && q->place != QUEUE_IDLE)
        vent_queue_set_place(v, q, QUEUE_IDLE);
    else if (q->ready != 0 && q->place == QUEUE_IDLE)
        vent_queue_set_place(v, q, QUEUE_ACTIVE);
    if (q->is_ordered)
        update_ordered(v, g, q);
    else
        update_plain(v, g, q);
}

void vent_group_update(struct vent *v, struct queue *q, bool is_more)
{
    struct queue *p = &v->queues[q->family];
    struct groups *g = p->groups;

    if (q != p)
        update_member(v, g, q);
    else
        to_ring(v, g, q, 0, q->lots_mask != 0 ? best_rank(q) : RING_NONE);
    if (p->ready == 0 && g->filled == 0) {
        if (p->place != QUEUE_IDLE)
            vent_queue_place(v, p, QUEUE_IDLE);
    } else if (p->place == QUEUE_IDLE || (p->place == QUEUE_STUCK && is_more)) {
        vent_queue_place(v, p, QUEUE_ACTIVE);
    }
}

void vent_group_moved(struct vent *v, const struct queue *q, enum task_state from,
                      enum task_state to)
{
    struct queue *p = &v->queues[q->parent];

    if (from != TASK_FREE)
        p->groups->resident[from]--;
    if (to != TASK_FREE)
        p->groups->resident[to]++;
    if (from == TASK_LEASED || from == TASK_STOPPING)
        vent_gate_open(v, p);
}

void vent_group_served(struct vent *v, struct queue *q)
{
    struct groups *g = v->queues[q->family].groups;

    q->turn = ++v->turns;
    to_end(v, g, q, 0);
    to_end(v, g, q, 1);
}

/* ---------------------------------------------------------------- whose turn it is */

/* Of one that is open; NULL: it has none for these sinks. */
static struct task *peek_one(const struct vent *v, const struct queue *q, uint32_t sinks)
{
    struct task *t;

    if (!q->is_ordered)
        return vent_lots_peek(v, q, sinks);
    t = first_of(v, q);
    return t != NULL && (sinks >> t->sink & 1) != 0 ? t : NULL;
}

static struct task *peek_ring(struct vent *v, struct queue *p, uint32_t ring, uint32_t sinks)
{
    struct list *l = &p->groups->rings[ring];

    for (uint32_t skipped = 0; skipped < l->n && skipped < SKIPPED_MAX;) {
        struct queue *q = &v->queues[l->head];
        struct task *t;

        if (q != p && vent_gate_room(v, q) == 0)
            continue; /* closed now, and in no ring */
        t = peek_one(v, q, sinks);
        if (t != NULL)
            return t;
        to_end(v, p->groups, q, 0);
        skipped++;
    }
    return NULL;
}

/* R51: of the groups that are next in their rings. */
static struct task *peek_risen(struct vent *v, struct queue *q, uint32_t sinks)
{
    struct task *best = NULL;

    for (uint32_t ring = 0; ring < RING_SUSPECTS; ring++) {
        struct task *t = peek_ring(v, q, ring, sinks);

        if (t != NULL && (best == NULL || vent_age_is_turn(v, q, t, best)))
            best = t;
    }
    return best;
}

struct task *vent_group_peek(struct vent *v, struct queue *q, uint32_t sinks)
{
    uint32_t left = q->groups->filled & ~(1u << RING_SUSPECTS);

    if (q->ageing_ms != 0)
        return peek_risen(v, q, sinks);
    for (; left != 0; left &= left - 1) {
        struct task *t = peek_ring(v, q, (uint32_t)__builtin_ctz(left), sinks);

        if (t != NULL)
            return t;
    }
    return NULL;
}

struct task *vent_group_suspect(struct vent *v, struct queue *q)
{
    const struct list *l = &q->groups->rings[RING_SUSPECTS];

    while (l->n != 0) {
        struct queue *group = &v->queues[l->head];

        if (vent_gate_room(v, group) != 0)
            return task_at(v, group->suspects.head);
    }
    return NULL;
}

/* ---------------------------------------------------------------- order */

/* Tasks that may be with a worker, or whose outcome is not recorded: after a crash they might run
 * again. Of those that are claimed or held nobody knows that yet. */
static uint32_t in_the_way(const struct queue *q)
{
    const uint32_t *in = q->resident;

    return in[TASK_LEASED] + in[TASK_STOPPING] + in[TASK_DONE] + in[TASK_DEADWAIT] +
           in[TASK_MARKING] + in[TASK_PROPOSED] + in[TASK_HELD] + in[TASK_CLAIMED];
}

/* After a start a task that was delayed and has been tried may be in the journal only. */
static bool is_known(const struct vent *v, const struct queue *q)
{
    return v->grace_over && (q->delayed == 0 || v->due_current);
}

uint32_t vent_order_room(const struct vent *v, const struct queue *q)
{
    const struct task *t;

    if (!q->is_ordered)
        return UINT32_MAX;
    if (in_the_way(q) != 0 || q->backing_off != 0 || !is_known(v, q))
        return 0;
    t = first_of(v, q);
    return t != NULL && (is_tried(q, t) || !vent_is_behind(v, q, t));
}

const char *vent_order_why(struct vent *v, const struct queue *q, const struct task *t)
{
    const uint32_t *in = q->resident;

    if (!q->is_ordered)
        return NULL;
    if (!is_known(v, q))
        return "its group runs in order, and not all workers have said what they hold";
    if (in[TASK_LEASED] + in[TASK_STOPPING] != 0)
        return "an earlier task of its group runs";
    if (q->backing_off != 0)
        return "an earlier task of its group waits for its retry";
    if (in[TASK_HELD] + in[TASK_CLAIMED] != 0)
        return "what became of earlier tasks of its group is not known yet";
    if (in_the_way(q) != 0)
        return "the outcome of an earlier task of its group is being recorded";
    return t == NULL || first_of(v, q) != t ? "earlier tasks of its group come first" : NULL;
}

/* ---------------------------------------------------------------- leaving memory */

/* It may keep `floor`; of more than that half may go, so that one group does not pay for all. */
static uint32_t evict_half(struct vent *v, struct queue *q, uint32_t most, uint32_t floor)
{
    uint32_t before = q->ready;

    if (floor < vent_share_of(v, q))
        floor = vent_share_of(v, q);
    if (before <= floor)
        return 0;
    vent_evict_ready(v, q, before / 2 + 1 < most ? before / 2 + 1 : most, floor);
    return before - q->ready;
}

void vent_family_evict(struct vent *v, struct queue *q, uint32_t n, bool closed)
{
    struct groups *g = q->groups;
    uint32_t fair;
    uint32_t gone = 0;

    if (g == NULL) {
        vent_evict_ready(v, q, n, vent_share_of(v, q));
        return;
    }
    fair = resident_of(q, TASK_READY) / (2 * (g->with_tasks + 1));
    if (!closed)
        gone = evict_half(v, q, n, fair);
    for (uint32_t i = 0; i < EVICT_VISITS && i < g->members.n && gone < n; i++) {
        struct queue *group;

        if (g->evict_next == NONE)
            g->evict_next = g->members.head;
        group = &v->queues[g->evict_next];
        g->evict_next = group->sibling.next;
        if (!closed || group->place == QUEUE_CLOSED)
            gone += evict_half(v, group, n - gone, fair);
    }
}
