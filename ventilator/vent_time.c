#include "vent_internal.h"

#define WALL_CHECK_MS                                                           \
    1000u /* clocks may jump, hosts sleep: look again after this, at the latest \
           */
#define MARK_EACH_MS                                                            \
    60000u /* so much of a delay may be waited for again after a boot, at worst \
            */
#define LOAD_RETRY_MS 100u
#define DUE_AHEAD_MS 5000u /* delayed tasks are loaded so long before their time, at the latest */

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
static dtq_err heap_init(const struct vent *v, struct heap *h)
{
    h->at = malloc(v->cfg.resident_tasks_max * sizeof *h->at);
    h->room = h->at != NULL ? v->cfg.resident_tasks_max : 0;
    return h->at != NULL ? DTQ_OK : DTQ_ENOMEM;
}

dtq_err vent_time_init(struct vent *v)
{
    dtq_err err = heap_init(v, &v->expiries);

    for (uint32_t i = 0; err == DTQ_OK && i < DUE_CLOCKS; i++)
        err = heap_init(v, &v->due[i].heap);
    v->due[DUE_BY_WALL].boundary_wall_ms = JOURNAL_DUE_BY_WALL;
    v->mark_at_ms = v->now_ms + MARK_EACH_MS;
    return err;
}

/* ---------------------------------------------------------------- clocks */

static enum due_clock clock_of(uint64_t due_wall_ms)
{
    return due_wall_ms >= JOURNAL_DUE_BY_WALL ? DUE_BY_WALL : DUE_STEADY;
}

uint64_t vent_left_ms(const struct vent *v, uint64_t due_wall_ms)
{
    uint64_t now_ms =
        clock_of(due_wall_ms) == DUE_BY_WALL ? v->host_wall_ms | JOURNAL_DUE_BY_WALL : v->wall_ms;

    return due_wall_ms > now_ms ? due_wall_ms - now_ms : 0;
}

bool vent_is_due(const struct vent *v, uint64_t due_wall_ms)
{
    return vent_left_ms(v, due_wall_ms) == 0;
}

uint64_t vent_host_wall_ms(const struct vent *v, uint64_t wall_ms)
{
    uint64_t host_ms = wall_ms + v->shown_ahead_ms;

    return host_ms <= DTQI_WALL_MS_MAX ? host_ms : 0;
}

uint64_t vent_steady_wall_ms(const struct vent *v, uint64_t host_wall_ms)
{
    uint64_t at_ms = host_wall_ms - v->shown_ahead_ms;

    return at_ms <= DTQI_WALL_MS_MAX ? at_ms : 0;
}

uint64_t vent_due_host_wall_ms(const struct vent *v, uint64_t due_wall_ms)
{
    if (clock_of(due_wall_ms) == DUE_BY_WALL)
        return due_wall_ms - JOURNAL_DUE_BY_WALL;
    return vent_host_wall_ms(v, due_wall_ms);
}

/* Our own deadline for it; never far off. */
void vent_due_wall(struct vent *v, uint64_t due_wall_ms)
{
    uint64_t in_ms = vent_left_ms(v, due_wall_ms);

    due_at(v, v->now_ms + (in_ms < WALL_CHECK_MS ? in_ms : WALL_CHECK_MS));
}

static bool has_jumped(const struct vent *v)
{
    uint64_t ahead_ms = v->host_wall_ms - v->wall_ms;
    uint64_t by_ms = ahead_ms - v->host_ahead_ms;

    return by_ms >= STEADY_JUMP_MS && 0 - by_ms >= STEADY_JUMP_MS;
}

/* The journal gets the time with every batch. When there is none, and time matters, one is made:
 * after a boot the time is taken up from there. */
static void mark_clock(struct vent *v)
{
    bool matters = v->backlog_tasks != 0 || v->keys_n != 0;

    if (matters && v->now_ms < v->mark_at_ms)
        due_at(v, v->mark_at_ms);
    if (!has_jumped(v) && (!matters || v->now_ms < v->mark_at_ms))
        return;
    v->host_ahead_ms = v->host_wall_ms - v->wall_ms;
    v->mark_at_ms = v->now_ms + MARK_EACH_MS;
    v->mark_due = true;
    vent_lazy(v);
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

uint64_t vent_made_wall_ms(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);

    return p != NULL && p->counters.made_wall_ms != 0 ? p->counters.made_wall_ms
                                                      : dtqi_id_wall_ms(&t->id);
}

uint64_t vent_expires_wall_ms(const struct vent *v, const struct task *t)
{
    uint64_t expires_ms = spec_of(v, t)->spec.expires_ms;

    return expires_ms != 0 ? vent_made_wall_ms(v, t) + expires_ms : 0;
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

static struct due *due_of(struct vent *v, const struct task *t)
{
    return &v->due[clock_of(t->since_ms)];
}

uint32_t vent_scheduled(const struct vent *v)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < DUE_CLOCKS; i++)
        n += v->due[i].heap.n;
    return n;
}

static bool is_key_behind(const struct due *d, uint64_t due_wall_ms, uint64_t seq)
{
    if (!d->unloaded || due_wall_ms < d->boundary_wall_ms)
        return false;
    return due_wall_ms > d->boundary_wall_ms || seq >= d->boundary_seq;
}

bool vent_due_is_behind(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);

    if ((t->flags & TASK_DELAYED) == 0)
        return false;
    assert(p != NULL);
    return is_key_behind(&v->due[clock_of(p->key_due_wall_ms)], p->key_due_wall_ms, t->seq);
}

void vent_schedule(struct vent *v, struct task *t, uint64_t due_wall_ms)
{
    vent_task_move(v, t, TASK_SCHEDULED);
    if (t->attempt != 0 &&
        queue_of(v, t)->is_ordered) { /* else it takes its place when it is due */
        t->marks |= TASK_BLOCKS;
        queue_of(v, t)->backing_off++;
    }
    t->since_ms = due_wall_ms;
    if (t->attempt != 0 && task_epoch(v, t) == v->epoch)
        vent_dirty(v, t, false); /* or, once it left memory, its number would be given again (R2) */
    heap_add(v, &due_of(v, t)->heap, task_index(v, t), BY_DUE);
    vent_expiry_add(v, t);
    vent_due_wall(v, due_wall_ms);
}

void vent_due_unlink(struct vent *v, struct task *t)
{
    if ((t->marks & TASK_BLOCKS) != 0) {
        t->marks &= (uint8_t)~TASK_BLOCKS;
        queue_of(v, t)->backing_off--;
    }
    heap_remove(v, &due_of(v, t)->heap, task_index(v, t), BY_DUE);
}

static void fire(struct vent *v, struct due *d)
{
    while (d->heap.n != 0) {
        struct task *t = task_at(v, d->heap.at[0]);
        struct past *p = past_of(v, t);

        if (!vent_is_due(v, t->since_ms)) {
            vent_due_wall(v, t->since_ms);
            return;
        }
        if (p != NULL)
            p->counters.due_wall_ms = v->wall_ms; /* it has waited since then (R51) */
        vent_release(v, t);
    }
}

static bool is_far(const struct vent *v, const struct due *d)
{
    return d->boundary_wall_ms > DUE_AHEAD_MS &&
           !vent_is_due(v, d->boundary_wall_ms - DUE_AHEAD_MS);
}

/* No more than fit: of two orders one would push out the other, and be pushed out by it. */
static uint32_t load_limit(const struct vent *v)
{
    uint32_t room = vent_window_room(v);

    if (!vent_has_room(v))
        return v->share;
    return room < v->cfg.load_tasks ? room : v->cfg.load_tasks;
}

/* What is held after a start (R33) is in no order, and in memory all the same. */
static bool has_room_for(const struct vent *v, const struct due *d)
{
    return vent_has_room(v) || d->heap.n + v->counts[TASK_HELD] < v->share;
}

static void load_due(struct vent *v, enum due_clock clock)
{
    struct due *d = &v->due[clock];
    struct vent_read *r;
    uint32_t limit = load_limit(v);

    if (!d->unloaded || d->loading || !has_room_for(v, d))
        return;
    if (v->now_ms < d->load_after_ms) {
        due_at(v, d->load_after_ms);
        return;
    }
    if (d->heap.n > v->cfg.load_tasks / 2 && is_far(v, d)) {
        vent_due_wall(v, d->boundary_wall_ms - DUE_AHEAD_MS);
        return;
    }
    r = vent_read_new(v, READ_DUE, JOURNAL_DUE, NULL, 0);
    if (r == NULL)
        return;
    r->read.limit = limit;
    r->read.bytes_max = v->cfg.load_bytes;
    r->clock = clock;
    r->boundary_moves = d->moves;
    if (d->boundary_wall_ms != 0 || d->boundary_seq != 0) {
        r->read.has_after = true; /* the last key that can be before the boundary */
        r->read.after = (struct journal_key){
            .delayed = true,
            .rank = UINT8_MAX,
            .queue = UINT32_MAX,
            .due_wall_ms = d->boundary_wall_ms - (d->boundary_seq == 0),
            .seq = d->boundary_seq - 1,
        };
    }
    d->loading = true;
    vent_read_send(v, r);
}

/* false: it could not come into memory. */
static bool bring(struct vent *v, const struct journal_task *jt, struct dtqi_buf *buf)
{
    struct task *t;

    if (vent_task_find(v, &jt->id) != NULL)
        return true; /* R22 */
    t = vent_recover(v, jt, buf);
    if (t == NULL)
        return false;
    v->counters.tasks_loaded++;
    vent_recovered(v, t);
    return true;
}

/* So many of an answer belong to this clock: those by the wall clock come behind all others. */
static uint32_t count_of(const struct vent_read *r)
{
    uint32_t n = 0;

    while (n < r->read.tasks_n && clock_of(r->read.tasks[n].key.due_wall_ms) == r->clock)
        n++;
    return n;
}

/* What was due at the start is here: groups in order waited for that (R50). */
static void note_current(struct vent *v)
{
    for (uint32_t i = 0; i < DUE_CLOCKS; i++)
        if (v->due[i].unloaded && vent_is_due(v, v->due[i].boundary_wall_ms))
            return;
    if (v->due_current)
        return;
    v->due_current = true;
    vent_gates_start_over(v);
}

void vent_due_loaded(struct vent *v, struct vent_read *r)
{
    struct due *d = &v->due[r->clock];
    const struct journal_read *a = &r->read;
    uint32_t n = count_of(r);

    d->loading = false;
    if (r->boundary_moves != d->moves || a->err != DTQ_OK)
        return; /* tasks before these have left memory since: asked for again */
    for (uint32_t i = 0; i < n; i++) {
        const struct journal_key *key = &a->tasks[i].key;

        if (!bring(v, &a->tasks[i], a->buf)) {
            d->boundary_wall_ms = key->due_wall_ms;
            d->boundary_seq = key->seq;
            d->load_after_ms = v->now_ms + LOAD_RETRY_MS;
            return;
        }
    }
    if (n == 0 || n < a->tasks_n || a->end) {
        d->unloaded = false;
    } else {
        d->boundary_wall_ms = a->tasks[n - 1].key.due_wall_ms;
        d->boundary_seq = a->tasks[n - 1].key.seq + 1;
    }
    note_current(v);
}

void vent_due_begin(struct vent *v)
{
    for (uint32_t i = 0; i < DUE_CLOCKS; i++)
        v->due[i].unloaded = true;
}

static void boundary_back(struct due *d, uint64_t due_wall_ms, uint64_t seq)
{
    d->unloaded = true;
    d->boundary_wall_ms = due_wall_ms;
    d->boundary_seq = seq;
    d->moves++;
}

void vent_due_leave_out(struct vent *v, const struct journal_key *key)
{
    struct due *d = &v->due[clock_of(key->due_wall_ms)];

    if (!is_key_behind(d, key->due_wall_ms, key->seq))
        boundary_back(d, key->due_wall_ms, key->seq);
}

/* A group in order waits for its retry, so that is not forgotten here. */
static bool may_leave(const struct task *t)
{
    return vent_is_clean(t) && t->wait == NONE && (t->flags & TASK_NO_KEY) == 0 &&
           (t->marks & TASK_BLOCKS) == 0;
}

static void evict(struct vent *v, struct task *t)
{
    const struct past *p = past_of(v, t);

    assert(p != NULL);
    boundary_back(&v->due[clock_of(p->key_due_wall_ms)], p->key_due_wall_ms, t->seq);
    v->counters.tasks_evicted++;
    vent_task_free(v, t);
}

void vent_due_evict(struct vent *v)
{
    struct heap *steady = &v->due[DUE_STEADY].heap;
    struct heap *by_wall = &v->due[DUE_BY_WALL].heap;
    struct heap *h = steady->n >= by_wall->n ? steady : by_wall;
    uint32_t keep = h->n / 2;

    if (!heap_sort(v, h, BY_DUE))
        return;
    /* What may be loaded all the same would be put out again at once, and so on. */
    v->due[h == steady ? DUE_STEADY : DUE_BY_WALL].load_after_ms = v->now_ms + LOAD_RETRY_MS;
    for (uint32_t i = h->n; i > keep; i--) { /* each is the last one, or comes after those kept */
        struct task *t = task_at(v, h->at[i - 1]);

        if (!may_leave(t))
            continue;
        if ((t->flags & TASK_DELAYED) == 0 || past_of(v, t)->key_due_wall_ms != t->since_ms)
            vent_paper_move(v, t); /* or it would be loaded again at once */
        else if (!vent_due_is_behind(v, t))
            evict(v, t);
        else
            vent_unpark(v, t);
    }
}

void vent_time_tick(struct vent *v)
{
    mark_clock(v);
    vent_gates_tick(v);
    for (uint32_t i = 0; i < DUE_CLOCKS; i++)
        fire(v, &v->due[i]);
    expire(v);
    for (uint32_t i = 0; i < DUE_CLOCKS; i++)
        load_due(v, (enum due_clock)i);
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
