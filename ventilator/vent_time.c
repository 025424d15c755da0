#include "vent_internal.h"

#define WALL_CHECK_MS 1000u /* wall clocks may jump: look again after this, at the latest */
#define DUE_AHEAD_MS 5000u  /* delayed tasks are loaded so long before their time, at the latest */

/* Three heaps of tasks: by due time, by expiry, by seq; and one of queues. */
enum order { BY_DUE, BY_EXPIRY, BY_SEQ, BY_RATE };

static uint64_t key_of(const struct vent *v, uint32_t index, enum order order)
{
    switch (order) {
    case BY_DUE: return task_at(v, index)->since_ms;
    case BY_EXPIRY: return vent_expires_wall_ms(v, task_at(v, index));
    case BY_SEQ: break;
    case BY_RATE: return v->queues[index].rate_next_ns;
    }
    return task_at(v, index)->seq;
}

static uint64_t tie_of(const struct vent *v, uint32_t index, enum order order)
{
    return order == BY_RATE ? index : task_at(v, index)->seq;
}

static bool is_before(const struct vent *v, uint32_t a, uint32_t b, enum order order)
{
    uint64_t x = key_of(v, a, order);
    uint64_t y = key_of(v, b, order);

    return x != y ? x < y : tie_of(v, a, order) < tie_of(v, b, order);
}

static uint32_t *place_of(const struct vent *v, uint32_t index, enum order order)
{
    if (order == BY_RATE)
        return &v->queues[index].gate_place;
    return order == BY_EXPIRY ? &task_at(v, index)->expiry : &task_at(v, index)->next;
}

static void put(const struct vent *v, struct heap *h, uint32_t at, uint32_t index, enum order order)
{
    h->at[at] = index;
    *place_of(v, index, order) = at;
}

static void sift_up(const struct vent *v, struct heap *h, uint32_t at, enum order order)
{
    uint32_t index = h->at[at];

    while (at > 0 && is_before(v, index, h->at[(at - 1) / 2], order)) {
        put(v, h, at, h->at[(at - 1) / 2], order);
        at = (at - 1) / 2;
    }
    put(v, h, at, index, order);
}

static void sift_down(const struct vent *v, struct heap *h, uint32_t at, enum order order)
{
    uint32_t index = h->at[at];

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= h->n)
            break;
        if (child + 1 < h->n && is_before(v, h->at[child + 1], h->at[child], order))
            child++;
        if (!is_before(v, h->at[child], index, order))
            break;
        put(v, h, at, h->at[child], order);
        at = child;
    }
    put(v, h, at, index, order);
}

static void heap_add(const struct vent *v, struct heap *h, uint32_t index, enum order order)
{
    assert(h->n < h->room);
    h->at[h->n++] = index;
    sift_up(v, h, h->n - 1, order);
}

static void heap_remove(const struct vent *v, struct heap *h, uint32_t index, enum order order)
{
    uint32_t at = *place_of(v, index, order);
    uint32_t last;

    assert(at < h->n);
    assert(h->at[at] == index);
    last = h->at[--h->n];
    *place_of(v, index, order) = NONE;
    if (at == h->n)
        return;
    put(v, h, at, last, order);
    sift_up(v, h, at, order);
    sift_down(v, h, *place_of(v, last, order), order);
}

struct sortable {
    uint64_t key;
    uint64_t seq;
    uint32_t index;
};

static int compare(const void *a, const void *b)
{
    const struct sortable *x = a;
    const struct sortable *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* A sorted array is a heap, too. */
static bool heap_sort(const struct vent *v, struct heap *h, enum order order)
{
    struct sortable *all = malloc(((size_t)h->n + 1) * sizeof *all);

    if (all == NULL)
        return false;
    for (uint32_t i = 0; i < h->n; i++) {
        all[i] =
            (struct sortable){key_of(v, h->at[i], order), tie_of(v, h->at[i], order), h->at[i]};
    }
    qsort(all, h->n, sizeof *all, compare);
    for (uint32_t i = 0; i < h->n; i++)
        put(v, h, i, all[i].index, order);
    free(all);
    return true;
}

void vent_heap_done(struct heap *h)
{
    free(h->at);
    *h = (struct heap){0};
}

/* Room for every record at once: memory that is not used costs nothing, and adding cannot fail. */
dtq_err vent_time_init(struct vent *v)
{
    v->due.at = malloc(v->cfg.resident_tasks_max * sizeof *v->due.at);
    v->expiries.at = malloc(v->cfg.resident_tasks_max * sizeof *v->expiries.at);
    if (v->due.at == NULL || v->expiries.at == NULL)
        return DTQ_ENOMEM;
    v->due.room = v->expiries.room = v->cfg.resident_tasks_max;
    return DTQ_OK;
}

void vent_due_wall(struct vent *v, uint64_t wall_ms)
{
    uint64_t in_ms = wall_ms > v->wall_ms ? wall_ms - v->wall_ms : 0;

    due_at(v, v->now_ms + (in_ms < WALL_CHECK_MS ? in_ms : WALL_CHECK_MS));
}

/* ---------------------------------------------------------------- late ones */

bool vent_late_add(struct vent *v, struct heap *h, struct task *t)
{
    if (!vent_grow(&h->at, h->n, &h->room, sizeof *h->at))
        return false;
    heap_add(v, h, task_index(v, t), BY_SEQ);
    return true;
}

void vent_late_remove(struct vent *v, struct heap *h, struct task *t)
{
    heap_remove(v, h, task_index(v, t), BY_SEQ);
}

bool vent_late_sort(struct vent *v, struct heap *h)
{
    return heap_sort(v, h, BY_SEQ);
}

/* ---------------------------------------------------------------- queues that their rate closes */

void vent_gate_add(struct vent *v, uint32_t queue)
{
    heap_add(v, &v->gates, queue, BY_RATE);
}

void vent_gate_remove(struct vent *v, uint32_t queue)
{
    heap_remove(v, &v->gates, queue, BY_RATE);
}

/* ---------------------------------------------------------------- expiry */

uint64_t vent_expires_wall_ms(const struct vent *v, const struct task *t)
{
    uint64_t expires_ms = spec_of(v, t)->spec.expires_ms;

    return expires_ms != 0 ? dtqi_id_wall_ms(&t->id) + expires_ms : 0;
}

bool vent_is_expired(const struct vent *v, const struct task *t)
{
    return spec_of(v, t)->spec.expires_ms != 0 && vent_expires_wall_ms(v, t) <= v->wall_ms;
}

void vent_expiry_add(struct vent *v, struct task *t)
{
    if (t->expiry == NONE && spec_of(v, t)->spec.expires_ms != 0)
        heap_add(v, &v->expiries, task_index(v, t), BY_EXPIRY);
}

void vent_expiry_remove(struct vent *v, struct task *t)
{
    heap_remove(v, &v->expiries, task_index(v, t), BY_EXPIRY);
}

static void expire(struct vent *v)
{
    while (v->expiries.n != 0) {
        struct task *t = task_at(v, v->expiries.at[0]);

        if (!vent_is_expired(v, t)) {
            vent_due_wall(v, vent_expires_wall_ms(v, t));
            return;
        }
        vent_propose(v, t, DTQ_EXPIRED);
    }
}

/* ---------------------------------------------------------------- due times */

bool vent_due_is_behind(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);

    if (!v->due_unloaded || (t->flags & TASK_DELAYED) == 0)
        return false;
    assert(p != NULL);
    if (p->key_due_wall_ms != v->due_boundary_wall_ms)
        return p->key_due_wall_ms > v->due_boundary_wall_ms;
    return t->seq >= v->due_boundary_seq;
}

void vent_schedule(struct vent *v, struct task *t, uint64_t due_wall_ms)
{
    vent_task_move(v, t, TASK_SCHEDULED);
    t->since_ms = due_wall_ms;
    heap_add(v, &v->due, task_index(v, t), BY_DUE);
    vent_expiry_add(v, t);
    vent_due_wall(v, due_wall_ms);
}

void vent_due_unlink(struct vent *v, struct task *t)
{
    heap_remove(v, &v->due, task_index(v, t), BY_DUE);
}

static void fire(struct vent *v)
{
    while (v->due.n != 0) {
        struct task *t = task_at(v, v->due.at[0]);
        struct past *p = past_of(v, t);

        if (t->since_ms > v->wall_ms) {
            vent_due_wall(v, t->since_ms);
            return;
        }
        if (p != NULL)
            p->counters.due_wall_ms = 0;
        vent_release(v, t);
    }
}

static void load_due(struct vent *v)
{
    struct vent_read *r;
    uint32_t limit = vent_has_room(v) ? v->cfg.load_tasks : v->share;

    if (!v->due_unloaded || v->due_loading || (!vent_has_room(v) && v->due.n >= v->share))
        return;
    if (v->due.n > v->cfg.load_tasks / 2 && v->due_boundary_wall_ms > v->wall_ms + DUE_AHEAD_MS) {
        vent_due_wall(v, v->due_boundary_wall_ms - DUE_AHEAD_MS);
        return;
    }
    r = vent_read_new(v, READ_DUE, JOURNAL_DUE, NULL, 0);
    if (r == NULL)
        return;
    r->read.limit = limit;
    r->read.bytes_max = v->cfg.load_bytes;
    r->boundary_moves = v->due_moves;
    if (v->due_boundary_wall_ms != 0 || v->due_boundary_seq != 0) {
        r->read.has_after = true; /* the last key that can be before the boundary */
        r->read.after = (struct journal_key){
            .delayed = true,
            .rank = UINT8_MAX,
            .queue = UINT32_MAX,
            .due_wall_ms = v->due_boundary_wall_ms - (v->due_boundary_seq == 0),
            .seq = v->due_boundary_seq - 1,
        };
    }
    v->due_loading = true;
    vent_read_send(v, r);
}

void vent_due_loaded(struct vent *v, struct vent_read *r)
{
    const struct journal_read *a = &r->read;
    const struct journal_task *last = a->tasks_n != 0 ? &a->tasks[a->tasks_n - 1] : NULL;

    v->due_loading = false;
    if (r->boundary_moves != v->due_moves || a->err != DTQ_OK)
        return; /* tasks before these have left memory since: asked for again */
    for (uint32_t i = 0; i < a->tasks_n; i++) {
        const struct journal_task *jt = &a->tasks[i];
        struct task *t;

        if (vent_task_find(v, &jt->id) != NULL)
            continue; /* R22 */
        t = vent_recover(v, jt, a->buf);
        if (t == NULL) {
            v->due_boundary_wall_ms = jt->key.due_wall_ms;
            v->due_boundary_seq = jt->key.seq;
            return;
        }
        v->counters.tasks_loaded++;
        vent_recovered(v, t);
    }
    if (a->end || last == NULL) {
        v->due_unloaded = false;
        return;
    }
    v->due_boundary_wall_ms = last->key.due_wall_ms;
    v->due_boundary_seq = last->key.seq + 1;
}

void vent_due_leave_out(struct vent *v, const struct journal_key *key)
{
    if (v->due_unloaded &&
        (key->due_wall_ms > v->due_boundary_wall_ms ||
         (key->due_wall_ms == v->due_boundary_wall_ms && key->seq >= v->due_boundary_seq)))
        return;
    v->due_unloaded = true;
    v->due_boundary_wall_ms = key->due_wall_ms;
    v->due_boundary_seq = key->seq;
    v->due_moves++;
}

static bool may_leave(const struct task *t)
{
    return vent_is_clean(t) && t->wait == NONE && (t->flags & TASK_NO_KEY) == 0;
}

static void evict(struct vent *v, struct task *t)
{
    const struct past *p = past_of(v, t);

    assert(p != NULL);
    v->due_boundary_wall_ms = p->key_due_wall_ms;
    v->due_boundary_seq = t->seq;
    v->due_unloaded = true;
    v->due_moves++;
    v->counters.tasks_evicted++;
    vent_task_free(v, t);
}

void vent_due_evict(struct vent *v)
{
    uint32_t keep = v->due.n / 2;

    if (!heap_sort(v, &v->due, BY_DUE))
        return;
    for (uint32_t i = v->due.n; i > keep;
         i--) { /* each is the last one, or comes after those kept */
        struct task *t = task_at(v, v->due.at[i - 1]);

        if (!may_leave(t))
            continue;
        if ((t->flags & TASK_DELAYED) == 0)
            vent_paper_move(v, t);
        else if (!vent_due_is_behind(v, t))
            evict(v, t);
        else
            vent_unpark(v, t);
    }
}

void vent_time_tick(struct vent *v)
{
    vent_gates_tick(v);
    fire(v);
    expire(v);
    load_due(v);
}

/* ---------------------------------------------------------------- backoff */

/*
 * Exponential with full jitter between MIN and MAX: after the n-th failure anything from MIN to
 * MIN x 2^n is equally likely, MIN x 2^n being at most MAX.
 */
uint64_t vent_backoff_ms(struct vent *v, const struct dtqi_spec *spec, uint32_t failures)
{
    uint64_t min = spec->backoff_min_ms;
    uint64_t ceiling = at_least_1(min);

    for (uint32_t i = 0; i < failures && ceiling < spec->backoff_max_ms; i++)
        ceiling *= 2;
    if (ceiling > spec->backoff_max_ms)
        ceiling = spec->backoff_max_ms;
    if (ceiling < min)
        ceiling = min;
    return min + vent_random(v, ceiling - min);
}
