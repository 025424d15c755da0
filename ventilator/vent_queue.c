#include "vent_internal.h"

#define QUEUE_BUCKETS 4096u
#define UNLOADED_PER_TICK 32u
#define LOAD_RETRY_MS 100u
#define QUEUE_SHARE_TASKS_MIN 2u
#define QUEUE_SHARE_BYTES_PART 256u /* .. of the memory there is for tasks */
#define AHEAD_LOADS_MIN 2u
#define AHEAD_LOADS_MAX 8u

/* ---------------------------------------------------------------- queues by name */

static uint32_t hash_name(struct dtqi_str name)
{
    uint64_t h = name.len;

    for (uint32_t i = 0; i < name.len; i++)
        h = (h ^ (uint8_t)name.at[i]) * 0x100000001b3ull;
    return (uint32_t)dtqi_mix64(h) % QUEUE_BUCKETS;
}

static struct dtqi_str name_of(const struct queue *q)
{
    return (struct dtqi_str){q->name, q->name_len};
}

uint32_t vent_queue_find(const struct vent *v, struct dtqi_str name)
{
    uint32_t i = v->queue_buckets[hash_name(name)];

    while (i != NONE && !dtqi_str_eq(name_of(&v->queues[i]), name))
        i = v->queues[i].next_same_hash;
    return i;
}

void vent_queue_reset(struct vent *v, uint32_t queue, struct dtqi_str name)
{
    struct queue *q = &v->queues[queue];

    assert(name.len <= DTQI_NAME_BYTES_MAX);
    *q = (struct queue){
        .used = true,
        .name_len = name.len,
        .parent = NONE,
        .family = NONE,
        .hooks = {{.ring = RING_NONE}, {.ring = RING_NONE}},
        .next = NONE,
        .prev = NONE,
        .next_same_hash = NONE,
        .asks = NONE,
        .asked = NONE,
        .gate_place = NONE,
        .tried = NONE,
        .settle_us = (uint32_t)(v->cfg.hold_ms_start * 1000 / 3),
    };
    memcpy(q->name, name.at, name.len);
    list_init(&q->suspects);
    list_init(&q->parked);
}

static uint32_t queue_new(struct vent *v, struct dtqi_str name)
{
    uint32_t i = v->queues_free;
    uint32_t *bucket = &v->queue_buckets[hash_name(name)];

    if (!vent_numbers_reserve(v))
        return NONE;
    if (i != NONE)
        v->queues_free = v->queues[i].next;
    else if (v->queues_n < v->queues_room)
        i = v->queues_n++;
    else
        return NONE;
    vent_queue_reset(v, i, name);
    v->queues[i].next_same_hash = *bucket;
    *bucket = i;
    v->queues_count++;
    return i;
}

uint32_t vent_queue_get(struct vent *v, struct dtqi_str name)
{
    uint32_t i = vent_queue_find(v, name);

    return i != NONE ? i : queue_new(v, name);
}

/* ---------------------------------------------------------------- numbers in the journal */

bool vent_numbers_reserve(struct vent *v)
{
    while (v->numbers.mask / 2 <= v->queues_count + v->groups_count + 1)
        if (!nummap_grow(&v->numbers))
            return false;
    return true;
}

struct queue *vent_queue_of_number(const struct vent *v, uint32_t number)
{
    uint32_t i = nummap_get(&v->numbers, number);

    return i != NUMMAP_NONE ? &v->queues[i] : NULL;
}

/* There is room for it. */
static void set_number(struct vent *v, struct queue *q, uint32_t number)
{
    bool is_set = nummap_set(&v->numbers, number, (uint32_t)(q - v->queues));

    assert(is_set);
    (void)is_set;
    q->number = number;
    if (number > v->queue_number)
        v->queue_number = number;
}

static void changed_push(struct vent *v, struct queue *q)
{
    uint32_t i = (uint32_t)(q - v->queues);

    if (q->is_changed)
        return;
    q->is_changed = true;
    q->changed_next = NONE;
    if (v->changed.tail != NONE)
        v->queues[v->changed.tail].changed_next = i;
    else
        v->changed.head = i;
    v->changed.tail = i;
    v->changed.n++;
}

void vent_queue_number(struct vent *v, struct queue *q)
{
    if (q->number != 0)
        return;
    set_number(v, q,
               v->numbers_free_n != 0 ? v->numbers_free[--v->numbers_free_n] : v->queue_number + 1);
    changed_push(v, q);
}

void vent_queue_changed(struct vent *v, struct queue *q)
{
    vent_queue_number(v, q);
    changed_push(v, q);
    v->settings_due = true;
    vent_lazy(v);
}

/* ---------------------------------------------------------------- what is counted */

void vent_queue_add(struct vent *v, struct queue *q, uint64_t bytes, bool is_delayed)
{
    struct groups *g = q->parent != NONE ? v->queues[q->parent].groups : NULL;

    q->bytes += bytes;
    v->backlog_tasks++;
    v->backlog_bytes += bytes;
    if (g != NULL) {
        g->with_tasks += q->tasks == 0;
        g->tasks++;
        g->bytes += bytes;
    }
    q->tasks++;
    if (is_delayed)
        vent_queue_delayed(v, q, true);
}

/* Counts are what the journal said, and that may have been damaged: none falls below 0. */
void vent_queue_take(struct vent *v, struct queue *q, uint64_t bytes, bool is_delayed)
{
    struct groups *g = q->parent != NONE ? v->queues[q->parent].groups : NULL;
    bool any = q->tasks != 0;

    if (bytes > q->bytes)
        bytes = q->bytes;
    q->bytes -= bytes;
    q->tasks -= any;
    v->backlog_tasks -= any;
    v->backlog_bytes -= bytes;
    if (g != NULL) {
        g->bytes -= bytes;
        g->tasks -= any;
        g->with_tasks -= any && q->tasks == 0;
    }
    if (is_delayed)
        vent_queue_delayed(v, q, false);
}

void vent_queue_delayed(struct vent *v, struct queue *q, bool is_delayed)
{
    struct groups *g = q->parent != NONE ? v->queues[q->parent].groups : NULL;
    uint64_t more = is_delayed ? 1 : UINT64_MAX; /* or one less */

    if (!is_delayed && q->delayed == 0)
        return;
    q->delayed += more;
    if (g != NULL)
        g->delayed += more;
}

void vent_queue_delayed_here(struct vent *v, const struct task *t, enum task_state from,
                             enum task_state to)
{
    struct queue *q = queue_of(v, t);
    uint64_t more = (uint64_t)is_told(to) - (uint64_t)is_told(from); /* or one less */

    if ((t->flags & TASK_DELAYED) == 0)
        return;
    q->delayed_here += more;
    if (q->parent != NONE)
        v->queues[q->parent].groups->delayed_here += more;
}

static void lots_free(struct queue *q)
{
    for (uint32_t s = 0; s < DTQI_SINKS_MAX; s++) {
        for (uint32_t r = 0; q->lots[s] != NULL && r < DTQI_PRIORITIES; r++)
            vent_heap_done(&q->lots[s]->late[r]);
        free(q->lots[s]);
        q->lots[s] = NULL;
    }
    free(q->able.at);
    q->able = (struct seats){0};
    free(q->ahead);
    q->ahead = NULL;
    free(q->groups);
    q->groups = NULL;
}

void vent_queue_clear(struct vent *v, struct queue *q)
{
    assert(q->ready == 0);
    assert(!q->is_changed && !q->is_handed);
    (void)v;
    lots_free(q);
    q->used = false;
}

void vent_queue_unuse(struct vent *v, uint32_t i)
{
    struct queue *q = &v->queues[i];
    uint32_t *at = &v->queue_buckets[hash_name(name_of(q))];

    if (q->parent != NONE) {
        vent_group_unuse(v, q);
        return;
    }
    if (q->specs != 0 || q->subscribers != 0 || q->number != 0)
        return;
    while (*at != i)
        at = &v->queues[*at].next_same_hash;
    *at = q->next_same_hash;
    vent_queue_clear(v, q);
    q->next = v->queues_free;
    v->queues_free = i;
    v->queues_count--;
}

/* ---------------------------------------------------------------- start and end */

void vent_queue_unloaded(struct vent *v, struct queue *q, bool unloaded)
{
    uint32_t last;

    if (q->unloaded == unloaded)
        return;
    q->unloaded = unloaded;
    if (q->parent != NONE)
        v->queues[q->parent].groups->unloaded += unloaded ? 1 : -1u;
    if (unloaded) {
        q->unloaded_place = v->unloaded_n;
        v->unloaded[v->unloaded_n++] = (uint32_t)(q - v->queues);
        return;
    }
    last = v->unloaded[--v->unloaded_n];
    v->unloaded[q->unloaded_place] = last;
    v->queues[last].unloaded_place = q->unloaded_place;
}

/* So much more, or less, than was counted. */
static void count_start(struct vent *v, struct queue *q, const struct journal_queue *jq)
{
    struct groups *g = q->parent != NONE ? v->queues[q->parent].groups : NULL;
    uint64_t tasks = jq->ready + jq->delayed;

    v->backlog_tasks += tasks - q->tasks;
    v->backlog_bytes += jq->bytes - q->bytes;
    if (g != NULL) {
        g->tasks += tasks - q->tasks;
        g->bytes += jq->bytes - q->bytes;
        g->delayed += jq->delayed - q->delayed;
        g->with_tasks += (uint32_t)(tasks != 0) - (uint32_t)(q->tasks != 0);
    }
    q->tasks = tasks;
    q->bytes = jq->bytes;
    q->delayed = jq->delayed;
}

/* One that is named twice, in a damaged journal, is as the last one says. */
void vent_queue_start(struct vent *v, struct queue *q, const struct journal_queue *jq)
{
    v->purging -= q->settings.purge_seq != 0;
    set_number(v, q, jq->number);
    q->settings = jq->settings;
    if (q->parent != NONE)
        q->settings.purge_seq = q->settings.cancel_seq = 0; /* what its queue says counts */
    v->purging += q->settings.purge_seq != 0;
    vent_age_take(v, q);
    count_start(v, q, jq);
    vent_queue_unloaded(v, q, jq->ready != 0);
    if (jq->delayed != 0)
        vent_due_begin(v);
}

static dtq_err queue_start(struct vent *v, const struct journal_queue *jq)
{
    uint32_t i = vent_queue_get(v, dtqi_str(jq->name));

    if (i == NONE)
        return DTQ_ENOMEM;
    vent_queue_start(v, &v->queues[i], jq);
    vent_gate_set(v, &v->queues[i]);
    return DTQ_OK;
}

static dtq_err queues_alloc(struct vent *v)
{
    uint32_t room = v->queues_room + v->groups_room;

    list_init(&v->active);
    list_init(&v->stuck);
    list_init(&v->changed);
    list_init(&v->hungry);
    v->queues = calloc(room, sizeof *v->queues);
    v->unloaded = malloc(room * sizeof *v->unloaded);
    v->queue_buckets = malloc(QUEUE_BUCKETS * sizeof *v->queue_buckets);
    v->gates.at = malloc(room * sizeof *v->gates.at);
    v->gates.room = room;
    if (v->gates.at == NULL || v->queues == NULL || v->unloaded == NULL || v->queue_buckets == NULL)
        return DTQ_ENOMEM;
    memset(v->queue_buckets, 0xff, QUEUE_BUCKETS * sizeof *v->queue_buckets);
    return DTQ_OK;
}

/* What the journal has must fit, whatever the bounds are now; a queue that it lost for each group,
 * too. */
static void set_rooms(struct vent *v, const struct journal_start *start)
{
    uint32_t groups = 0;

    for (uint32_t i = 0; i < start->queues_n; i++) {
        groups += start->queues[i].parent != 0;
        if (start->queues[i].number > v->queue_number)
            v->queue_number = start->queues[i].number;
    }
    v->queues_room = v->cfg.queues_max;
    if (start->queues_n > v->queues_room)
        v->queues_room = start->queues_n;
    v->groups_room = vent_groups_room(&v->cfg);
    if (groups > v->groups_room)
        v->groups_room = groups;
}

dtq_err vent_queues_init(struct vent *v, const struct journal_start *start)
{
    dtq_err err;

    set_rooms(v, start);
    v->queues_free = v->purge_queue = NONE;
    v->share = v->cfg.resident_tasks_max / 64 + 1;
    if (v->share > QUEUE_SHARE_TASKS_MAX)
        v->share = QUEUE_SHARE_TASKS_MAX;
    err = queues_alloc(v);
    for (uint32_t i = 0; i < start->queues_n && err == DTQ_OK; i++)
        if (start->queues[i].parent == 0)
            err = queue_start(v, &start->queues[i]);
    if (err == DTQ_OK)
        err = vent_groups_init(v, start);
    v->due_current = !v->due[DUE_STEADY].unloaded;
    return err;
}

void vent_queues_done(struct vent *v)
{
    for (uint32_t i = 0; v->queues != NULL && i < v->queues_n; i++)
        lots_free(&v->queues[i]);
    for (uint32_t i = 0; v->queues != NULL && i < v->groups_n; i++)
        lots_free(&v->queues[v->queues_room + i]);
    vent_groups_done(v);
    free(v->queues);
    free(v->unloaded);
    free(v->queue_buckets);
    vent_heap_done(&v->gates);
}

/* ---------------------------------------------------------------- active and stuck */

static void place_remove(struct vent *v, struct list *l, struct queue *q)
{
    if (q->prev != NONE)
        v->queues[q->prev].next = q->next;
    else
        l->head = q->next;
    if (q->next != NONE)
        v->queues[q->next].prev = q->prev;
    else
        l->tail = q->prev;
    l->n--;
}

static void place_push(struct vent *v, struct list *l, struct queue *q)
{
    uint32_t i = (uint32_t)(q - v->queues);

    q->next = NONE;
    q->prev = l->tail;
    if (l->tail != NONE)
        v->queues[l->tail].next = i;
    else
        l->head = i;
    l->tail = i;
    l->n++;
}

static struct list *list_of(struct vent *v, enum queue_place place)
{
    switch (place) {
    case QUEUE_ACTIVE: return &v->active;
    case QUEUE_STUCK: return &v->stuck;
    case QUEUE_IDLE:
    case QUEUE_CLOSED: break;
    }
    return NULL;
}

void vent_queue_set_place(struct vent *v, struct queue *q, enum queue_place place)
{
    if (q->gate_place != NONE)
        vent_gate_remove(v, (uint32_t)(q - v->queues));
    q->place = (uint8_t)place;
}

void vent_queue_place(struct vent *v, struct queue *q, enum queue_place place)
{
    struct list *from = list_of(v, (enum queue_place)q->place);
    struct list *to = list_of(v, place);

    if (q->parent != NONE) {
        vent_queue_set_place(v, q, place);
        vent_group_update(v, q, true);
        return;
    }
    if (from != NULL)
        place_remove(v, from, q);
    vent_queue_set_place(v, q, place);
    if (to != NULL)
        place_push(v, to, q);
}

void vent_unstick(struct vent *v)
{
    while (v->stuck.n != 0)
        vent_queue_place(v, &v->queues[v->stuck.head], QUEUE_ACTIVE);
}

/* ---------------------------------------------------------------- ready lists */

bool vent_queue_lot(struct vent *v, uint32_t queue, uint32_t sink)
{
    struct queue *q = &v->queues[queue];

    if (q->lots[sink] != NULL)
        return true;
    q->lots[sink] = calloc(1, sizeof *q->lots[sink]);
    if (q->lots[sink] == NULL)
        return false;
    for (uint32_t r = 0; r < DTQI_PRIORITIES; r++)
        list_init(&q->lots[sink]->fifo[r]);
    return true;
}

/* In order, by walking: only when there is no memory for the heap. */
static void insert_walking(struct vent *v, struct list *l, struct task *t)
{
    struct task *at = task_at(v, l->head);

    assert(l->n != 0);
    assert(at->seq < t->seq);
    while (at->next != NONE && task_at(v, at->next)->seq < t->seq)
        at = task_at(v, at->next);
    t->prev = task_index(v, at);
    t->next = at->next;
    if (at->next != NONE)
        task_at(v, at->next)->prev = task_index(v, t);
    else
        l->tail = task_index(v, t);
    at->next = task_index(v, t);
    l->n++;
}

static void lot_insert(struct vent *v, struct lot *lot, uint8_t rank, struct task *t)
{
    struct list *l = &lot->fifo[rank];

    lot->ranks |= (uint16_t)(1u << rank);
    if (l->n == 0 || task_at(v, l->tail)->seq < t->seq) {
        vent_list_push(v, l, t);
    } else if (t->seq < task_at(v, l->head)->seq) {
        vent_list_push_head(v, l, t);
    } else if (vent_late_add(v, &lot->late[rank], t)) {
        t->flags |= TASK_LATE;
    } else {
        insert_walking(v, l, t);
    }
}

static void suspects_insert(struct vent *v, struct queue *q, struct task *t)
{
    if (q->suspects.n != 0 && t->seq < task_at(v, q->suspects.head)->seq)
        vent_list_push_head(v, &q->suspects, t);
    else
        vent_list_push(v, &q->suspects, t);
}

void vent_ready_link(struct vent *v, struct task *t)
{
    struct queue *q = queue_of(v, t);
    uint32_t bit = 1u << t->sink;
    bool is_more = (t->flags & TASK_SUSPECT) != 0 || (q->lots_mask & bit) == 0;

    if (is_tried(q, t))
        q->tried = task_index(v, t);
    q->ready++;
    if ((t->flags & TASK_SUSPECT) != 0) {
        suspects_insert(v, q, t);
        v->suspects_n++;
    } else {
        assert(q->lots[t->sink] != NULL);
        lot_insert(v, q->lots[t->sink], spec_of(v, t)->rank, t);
        q->lots_mask |= bit;
    }
    if (q->family != NONE)
        vent_group_update(v, q, is_more);
    else if (q->place == QUEUE_IDLE || (q->place == QUEUE_STUCK && is_more))
        vent_queue_place(v, q, QUEUE_ACTIVE);
}

static void make_ready(struct vent *v, struct task *t)
{
    vent_task_move(v, t, TASK_READY);
    vent_expiry_add(v, t);
    vent_ready_link(v, t);
}

/* There is more of it in the journal: it does not wait for the walk over all that have. */
static void hungry_push(struct vent *v, struct queue *q)
{
    uint32_t i = (uint32_t)(q - v->queues);

    if (!q->unloaded || q->is_hungry)
        return;
    q->is_hungry = true;
    q->hungry_next = NONE;
    if (v->hungry.tail != NONE)
        v->queues[v->hungry.tail].hungry_next = i;
    else
        v->hungry.head = i;
    v->hungry.tail = i;
    v->hungry.n++;
}

static struct queue *hungry_pop(struct vent *v)
{
    struct queue *q = &v->queues[v->hungry.head];

    v->hungry.head = q->hungry_next;
    if (--v->hungry.n == 0)
        v->hungry.tail = NONE;
    q->is_hungry = false;
    return q;
}

void vent_ready_unlink(struct vent *v, struct task *t)
{
    struct queue *q = queue_of(v, t);
    uint8_t rank = spec_of(v, t)->rank;
    struct lot *lot = q->lots[t->sink];

    q->ready--;
    if (q->tried == task_index(v, t))
        q->tried = NONE;
    if ((t->flags & TASK_SUSPECT) != 0) {
        vent_list_remove(v, &q->suspects, t);
        v->suspects_n--;
    } else {
        if ((t->flags & TASK_LATE) != 0)
            vent_late_remove(v, &lot->late[rank], t);
        else
            vent_list_remove(v, &lot->fifo[rank], t);
        t->flags &= (uint16_t)~TASK_LATE;
        if (lot->fifo[rank].n == 0 && lot->late[rank].n == 0)
            lot->ranks &= (uint16_t) ~(1u << rank);
        if (lot->ranks == 0)
            q->lots_mask &= ~(1u << t->sink);
    }
    if (q->ready == 0 || vent_ahead_is_out(q, rank))
        hungry_push(v, q);
    if (q->family != NONE)
        vent_group_update(v, q, false);
    else if (q->ready == 0)
        vent_queue_place(v, q, QUEUE_IDLE);
}

static uint32_t lot_first(const struct vent *v, const struct lot *lot, uint32_t rank)
{
    uint32_t head = lot->fifo[rank].head;
    uint32_t late = lot->late[rank].n != 0 ? lot->late[rank].at[0] : NONE;

    if (head == NONE || late == NONE)
        return head != NONE ? head : late;
    return task_at(v, late)->seq < task_at(v, head)->seq ? late : head;
}

struct task *vent_lot_first(const struct vent *v, const struct lot *lot, uint32_t rank)
{
    return task_at(v, lot_first(v, lot, rank));
}

struct task *vent_queue_peek(struct vent *v, struct queue *q, uint32_t sinks)
{
    return q->groups != NULL ? vent_group_peek(v, q, sinks) : vent_lots_peek(v, q, sinks);
}

struct task *vent_lots_peek(const struct vent *v, const struct queue *q, uint32_t sinks)
{
    uint32_t best = NONE;
    uint32_t best_rank = DTQI_PRIORITIES;

    if (q->ageing_ms != 0)
        return vent_age_peek(v, q, sinks);
    for (uint32_t left = q->lots_mask & sinks; left != 0; left &= left - 1) {
        const struct lot *lot = q->lots[__builtin_ctz(left)];
        uint32_t rank = (uint32_t)__builtin_ctz(lot->ranks);
        uint32_t first;

        if (rank > best_rank)
            continue;
        first = lot_first(v, lot, rank);
        if (rank < best_rank || task_at(v, first)->seq < task_at(v, best)->seq)
            best = first;
        best_rank = rank;
    }
    return best != NONE ? task_at(v, best) : NULL;
}

/* ---------------------------------------------------------------- the window */

uint32_t vent_records(const struct vent *v)
{
    return v->tasks_used - v->free_tasks.n;
}

static uint32_t window_tasks(const struct vent *v)
{
    return v->counts[TASK_READY] + v->counts[TASK_HELD] + v->counts[TASK_SCHEDULED];
}

static uint32_t window_max(const struct vent *v)
{
    return v->cfg.resident_tasks_max / 4;
}

bool vent_is_full_of_bytes(const struct vent *v)
{
    return v->resident_bytes + v->load_bytes_asked >= v->cfg.resident_bytes_max / 2;
}

static bool is_window_full(const struct vent *v)
{
    return window_tasks(v) + v->loads_asked >= window_max(v) || vent_is_full_of_bytes(v);
}

bool vent_has_room(const struct vent *v)
{
    return !is_window_full(v) &&
           vent_records(v) < v->cfg.resident_tasks_max - v->cfg.resident_tasks_max / 8;
}

uint32_t vent_window_room(const struct vent *v)
{
    return window_tasks(v) < window_max(v) ? window_max(v) - window_tasks(v) : 0;
}

static bool is_in_window(const struct queue *q, uint8_t rank, uint64_t seq)
{
    if (!q->unloaded)
        return true;
    return rank != q->boundary_rank ? rank < q->boundary_rank : seq < q->boundary_seq;
}

bool vent_is_behind(const struct vent *v, const struct queue *q, const struct task *t)
{
    uint8_t rank = spec_of(v, t)->rank;

    return !is_in_window(q, rank, t->seq) && (t->flags & TASK_NO_KEY) == 0 &&
           !vent_ahead_has(q, rank, t->seq);
}

static void boundary_back(struct vent *v, struct queue *q, uint8_t rank, uint64_t seq)
{
    vent_ahead_window_back(q, rank, seq);
    vent_queue_unloaded(v, q, true);
    q->boundary_rank = rank;
    q->boundary_seq = seq;
    q->boundary_moves++;
}

/* Ready tasks of it, or of one rank if it is to have some of each (R51). */
static uint32_t ready_of(const struct queue *q, uint32_t rank)
{
    return q->ageing_ms != 0 ? vent_rank_n(q, rank) : q->ready;
}

/* R41: a full window ends where this task would come, unless what is behind that may leave. */
static bool ends_window(const struct vent *v, const struct queue *q, const struct task *t)
{
    uint8_t rank = spec_of(v, t)->rank;
    uint32_t later = ~0u << (rank + 1);

    if (q->unloaded || (t->flags & TASK_NO_KEY) != 0 || t->seq + 1 != v->seq ||
        !is_window_full(v) || ready_of(q, rank) < vent_share_of(v, q))
        return false;
    for (uint32_t left = q->lots_mask; left != 0; left &= left - 1)
        if ((q->lots[__builtin_ctz(left)]->ranks & later) != 0)
            return false;
    return true;
}

void vent_unpark(struct vent *v, struct task *t)
{
    bool fits = t->state == TASK_PARKED ? (t->flags & TASK_DELAYED) == 0 : vent_due_is_behind(v, t);

    if (!fits || (t->marks & TASK_BLOCKS) != 0 || !vent_is_clean(t) || t->wait != NONE ||
        (t->flags & TASK_NO_KEY) != 0)
        return;
    v->counters.tasks_evicted++;
    if (t->state == TASK_PARKED)
        vent_ahead_left(queue_of(v, t), spec_of(v, t)->rank);
    vent_task_free(v, t);
}

/* R51: since when it waits is not told by its id. */
static bool has_been_due(const struct vent *v, const struct task *t)
{
    return queue_of(v, t)->ageing_ms != 0 && past_of(v, t) != NULL &&
           past_of(v, t)->counters.due_wall_ms != 0;
}

void vent_park(struct vent *v, struct task *t)
{
    vent_task_move(v, t, TASK_PARKED);
    vent_list_push(v, &queue_of(v, t)->parked, t);
    vent_expiry_add(v, t);
    if ((t->flags & TASK_DELAYED) != 0)
        vent_paper_move(v, t);
    if ((t->attempt != 0 && task_epoch(v, t) == v->epoch) ||
        ((t->flags & TASK_DELAYED) != 0 && has_been_due(v, t)))
        vent_dirty(v, t, false); /* else its number would be given again (R2) */
    vent_unpark(v, t);
}

bool vent_is_purged(const struct vent *v, const struct queue *q, const struct task *t)
{
    return (t->flags & TASK_RECOVERED) != 0 && t->seq < head_of(v, q)->settings.purge_seq;
}

void vent_release(struct vent *v, struct task *t)
{
    struct queue *q = queue_of(v, t);
    const struct past *p = past_of(v, t);

    if ((t->flags & TASK_CANCEL) != 0 || vent_is_purged(v, q, t))
        vent_propose_cancelled(v, t);
    else if (p != NULL && p->counters.proposed != 0)
        vent_propose(v, t, (dtq_state)p->counters.proposed);
    else if (vent_is_expired(v, t))
        vent_propose(v, t, DTQ_EXPIRED);
    else if (p != NULL && !vent_is_due(v, p->counters.due_wall_ms))
        vent_schedule(v, t, p->counters.due_wall_ms);
    else if (vent_is_behind(v, q, t) && !is_tried(q, t))
        vent_park(v, t);
    else if (ends_window(v, q, t)) {
        boundary_back(v, q, spec_of(v, t)->rank, t->seq);
        vent_park(v, t);
    } else
        make_ready(v, t);
}

/* ---------------------------------------------------------------- leaving memory */

/* What is in memory in order ends before it. */
static void end_before(struct vent *v, struct queue *q, uint8_t rank, uint64_t seq)
{
    if (is_in_window(q, rank, seq))
        boundary_back(v, q, rank, seq);
    else if (vent_ahead_has(q, rank, seq))
        vent_ahead_back(q, rank, seq);
}

static void evict(struct vent *v, struct queue *q, struct task *t)
{
    end_before(v, q, spec_of(v, t)->rank, t->seq);
    vent_park(v, t);
}

static bool may_leave(const struct queue *q, const struct task *t)
{
    return (t->flags & TASK_NO_KEY) == 0 && !is_tried(q, t);
}

/* What of a rank is looked at: late ones are sorted, and those of each sink from here on may not
 * leave. */
struct leaving {
    uint32_t rank;
    uint32_t late[DTQI_SINKS_MAX];
};

static struct task *last_late(const struct vent *v, const struct queue *q, uint32_t sink,
                              struct leaving *l)
{
    const struct heap *h = &q->lots[sink]->late[l->rank];
    uint32_t *n = &l->late[sink];

    if (*n > h->n)
        *n = h->n; /* the last one has left */
    while (*n > 0 && !may_leave(q, task_at(v, h->at[*n - 1])))
        --*n;
    return *n > 0 ? task_at(v, h->at[*n - 1]) : NULL;
}

/* NULL: none may. */
static struct task *last_of_rank(const struct vent *v, const struct queue *q, struct leaving *l)
{
    struct task *last = NULL;

    for (uint32_t left = q->lots_mask; left != 0; left &= left - 1) {
        uint32_t sink = (uint32_t)__builtin_ctz(left);
        uint32_t tail = q->lots[sink]->fifo[l->rank].tail;
        struct task *late = last_late(v, q, sink, l);

        if (tail != NONE && may_leave(q, task_at(v, tail)) &&
            (last == NULL || task_at(v, tail)->seq > last->seq))
            last = task_at(v, tail);
        if (late != NULL && (last == NULL || late->seq > last->seq))
            last = late;
    }
    return last;
}

/* How many there are. Without the memory that sorting takes, their order is not the best. */
static uint32_t sort_late(struct vent *v, struct queue *q, struct leaving *l)
{
    uint32_t n = 0;

    for (uint32_t left = q->lots_mask; left != 0; left &= left - 1) {
        uint32_t sink = (uint32_t)__builtin_ctz(left);
        struct heap *h = &q->lots[sink]->late[l->rank];

        if (h->n != 0)
            (void)vent_late_sort(v, h);
        l->late[sink] = h->n;
        n += h->n;
    }
    return n;
}

/* So many ready tasks stay: of the rank, and of all ranks. */
struct stay {
    uint32_t of_rank;
    uint32_t of_all;
    uint32_t floor;
};

static bool has_more(const struct queue *q, uint32_t rank, const struct stay *stay)
{
    return q->ready > stay->of_all && (stay->of_rank == 0 || vent_rank_n(q, rank) > stay->of_rank);
}

/* The last ones in its order (R41). So many go that sorting late ones is worth it. */
static void evict_of_rank(struct vent *v, struct queue *q, uint32_t rank, struct stay stay)
{
    struct leaving l = {.rank = rank};
    struct task *t;
    uint32_t worth;

    if (!has_more(q, rank, &stay))
        return;
    worth = q->ready - sort_late(v, q, &l) / 2;
    if (worth < stay.of_all)
        stay.of_all = worth > stay.floor ? worth : stay.floor;
    while (has_more(q, rank, &stay) && (t = last_of_rank(v, q, &l)) != NULL)
        evict(v, q, t);
}

/* Nothing of a rank goes before what may go of those after it. */
void vent_evict_ready(struct vent *v, struct queue *q, uint32_t n, uint32_t floor)
{
    struct stay stay = {
        .of_rank = vent_ahead_floor(v, q),
        .of_all = q->ready > n ? q->ready - n : 0,
        .floor = floor,
    };

    if (stay.of_all < floor)
        stay.of_all = floor;
    for (uint32_t rank = DTQI_PRIORITIES; rank > 0 && q->ready > stay.of_all; rank--)
        evict_of_rank(v, q, rank - 1, stay);
}

static bool leaves_behind(struct vent *v, struct queue *q, uint32_t index)
{
    if (index == NONE || !vent_is_behind(v, q, task_at(v, index)))
        return false;
    vent_park(v, task_at(v, index));
    return true;
}

void vent_evict_behind(struct vent *v, struct queue *q)
{
    for (uint32_t s = 0; s < DTQI_SINKS_MAX; s++)
        for (uint32_t r = 0; q->lots[s] != NULL && r < DTQI_PRIORITIES; r++) {
            struct heap *late = &q->lots[s]->late[r];

            while (leaves_behind(v, q, q->lots[s]->fifo[r].tail))
                ;
            if (late->n == 0 || !vent_late_sort(v, late))
                continue;
            while (late->n != 0 && leaves_behind(v, q, late->at[late->n - 1]))
                ;
        }
}

/* Groups count with their queue. */
static struct queue *largest(struct vent *v)
{
    struct queue *best = NULL;

    for (uint32_t i = 0; i < v->queues_n; i++)
        if (v->queues[i].used && (best == NULL || resident_of(&v->queues[i], TASK_READY) >
                                                      resident_of(best, TASK_READY)))
            best = &v->queues[i];
    return best;
}

/* R41, R42. An eighth more than the window may be in memory, so that it is worth the search. */
static void shrink_window(struct vent *v)
{
    uint32_t max = window_max(v);
    uint64_t bytes = v->cfg.resident_bytes_max;
    bool is_heavy = v->resident_bytes > bytes / 2 + bytes / 8;
    uint32_t n = window_tasks(v) > max ? window_tasks(v) - max : 0;
    struct queue *q;

    if (n <= max / 8 && !is_heavy)
        return;
    if (vent_scheduled(v) > window_tasks(v) / 2) {
        vent_due_evict(v);
        return;
    }
    q = largest(v);
    if (n == 0 && q != NULL)
        n = resident_of(q, TASK_READY) / 4;
    if (q != NULL)
        vent_family_evict(v, q, n, false);
}

/* ---------------------------------------------------------------- coming into memory */

bool vent_is_served(const struct vent *v, const struct queue *q)
{
    const struct queue *head = head_of(v, q);

    return !head->settings.paused && (head->servers != 0 || v->any_servers != 0);
}

static uint64_t task_bytes_mean(const struct queue *q)
{
    return q->tasks != 0 ? q->bytes / q->tasks : 0;
}

/* Of large tasks they are fewer, or a few queues would keep all memory, and nothing new came in. */
static uint32_t share_of_large(const struct vent *v, const struct queue *q)
{
    uint64_t most = v->cfg.resident_bytes_max / QUEUE_SHARE_BYTES_PART;
    uint64_t mean = task_bytes_mean(q);

    if (mean <= most / v->share)
        return v->share;
    return mean < most / QUEUE_SHARE_TASKS_MIN ? (uint32_t)(most / mean) : QUEUE_SHARE_TASKS_MIN;
}

/* Groups of a queue that nobody serves leave memory to others, however many they are. */
uint32_t vent_share_of(const struct vent *v, const struct queue *q)
{
    uint32_t share = share_of_large(v, q);

    if (q->parent != NONE && !vent_is_served(v, q))
        return 0;
    if (q->parent != NONE && share > GROUP_SHARE_TASKS)
        share = GROUP_SHARE_TASKS;
    return q->ageing_ms != 0 ? vent_ahead_share(v, share) : share;
}

bool vent_has_records(const struct vent *v)
{
    return vent_records(v) < v->cfg.resident_tasks_max - v->cfg.resident_tasks_max / 8;
}

static bool can_nobody_run(const struct vent *v, const struct queue *q)
{
    return !vent_is_served(v, q) || q->place == QUEUE_CLOSED;
}

/* Ready tasks of a queue and its groups that nobody can run now. */
static uint32_t idle_tasks(const struct vent *v, const struct queue *q)
{
    if (can_nobody_run(v, q))
        return resident_of(q, TASK_READY);
    return q->groups != NULL ? q->groups->resident[TASK_READY] - q->groups->offered : 0;
}

/* The window may be full of tasks that nobody can run now: they leave it to those that somebody
 * can. */
static void make_room(struct vent *v)
{
    struct queue *best = NULL;
    uint32_t most = 0;

    for (uint32_t i = 0; i < v->queues_n; i++) {
        uint32_t n = v->queues[i].used ? idle_tasks(v, &v->queues[i]) : 0;

        if (n <= most)
            continue;
        best = &v->queues[i];
        most = n;
    }
    if (best != NULL)
        vent_family_evict(v, best, v->cfg.load_tasks, !can_nobody_run(v, best));
}

/* What one read brings: groups share what there is room for. */
uint32_t vent_load_tasks(const struct vent *v, const struct queue *q)
{
    uint32_t fair = window_max(v) / (2 * (v->unloaded_n + 1));

    if (q->parent == NONE || fair > v->cfg.load_tasks)
        return v->cfg.load_tasks;
    return fair > GROUP_SHARE_TASKS ? fair : GROUP_SHARE_TASKS;
}

/* A group in order may have nothing but what comes after a task that is not here. */
static bool is_needed(const struct vent *v, const struct queue *q, uint32_t share)
{
    uint32_t here = ready_of(q, q->boundary_rank) + q->resident[TASK_HELD];

    if (q->parent != NONE && (share == 0 || v->resident_bytes >= v->cfg.resident_bytes_max))
        return false;
    return here < (share + 1) / 2 || (q->is_ordered && q->place == QUEUE_CLOSED && here < share);
}

/* So many ready tasks are kept in memory, that workers have some while the journal commits: a
 * commit of many deletes takes as long as a few ten thousand short tasks. */
uint32_t vent_stock_of(const struct vent *v, const struct queue *q)
{
    uint32_t load = vent_load_tasks(v, q);
    uint32_t fair = window_max(v) / (v->unloaded_n + 1);

    if (fair < AHEAD_LOADS_MIN * load)
        return AHEAD_LOADS_MIN * load;
    return fair < AHEAD_LOADS_MAX * load ? fair : AHEAD_LOADS_MAX * load;
}

static uint32_t load_limit(struct vent *v, const struct queue *q)
{
    uint32_t share = vent_share_of(v, q);
    uint32_t here = q->ready + q->resident[TASK_HELD];

    if (vent_is_served(v, q) && here < share && !vent_has_room(v))
        make_room(v);
    if (vent_is_served(v, q) && here < vent_stock_of(v, q) && vent_has_room(v))
        return vent_load_tasks(v, q);
    return is_needed(v, q, share) && vent_has_records(v) ? share : 0;
}

/* false: nothing was asked for. */
static bool load(struct vent *v, struct queue *q)
{
    bool may = !q->loading && q->number != 0;
    uint32_t rank = may ? vent_ahead_wanted(v, q) : NONE;
    uint32_t limit = 0;
    struct vent_read *r;

    if (may)
        limit = rank != NONE ? vent_ahead_limit(v, q) : load_limit(v, q);
    if (limit == 0)
        return false;
    if (v->now_ms < q->load_after_ms) {
        due_at(v, q->load_after_ms);
        return false;
    }
    r = vent_read_new(v, READ_LOAD, JOURNAL_LOAD, NULL, 0);
    if (r == NULL)
        return false;
    r->queue = (uint32_t)(q - v->queues);
    r->boundary_moves = q->boundary_moves;
    r->read.queue = q->number;
    r->read.limit = limit;
    r->read.bytes_max = v->cfg.load_bytes;
    if (rank != NONE) {
        vent_ahead_ask(q, rank, r);
    } else if (q->boundary_rank != 0 || q->boundary_seq != 0) {
        r->read.has_after = true; /* the last key that can be before the boundary */
        r->read.after = (struct journal_key){
            .queue = q->number,
            .rank = (uint8_t)(q->boundary_rank - (q->boundary_seq == 0)),
            .seq = q->boundary_seq - 1,
        };
    }
    r->bytes_asked = limit * task_bytes_mean(q);
    if (r->bytes_asked > r->read.bytes_max)
        r->bytes_asked = r->read.bytes_max;
    q->loading = true;
    v->loads_asked += limit;
    v->load_bytes_asked += r->bytes_asked;
    vent_read_send(v, r);
    return true;
}

/* Those that have nothing left come first. What they cannot have now they get by the walk. */
static bool feed_hungry(struct vent *v)
{
    bool moved = false;

    for (uint32_t i = 0; i < UNLOADED_PER_TICK && v->hungry.n != 0; i++) {
        struct queue *q = hungry_pop(v);

        if (q->unloaded)
            moved |= load(v, q);
        else if (q->parent != NONE)
            vent_group_unuse(v, q);
    }
    if (v->hungry.n != 0)
        due_at(v, v->now_ms + 1);
    return moved;
}

/* Some at a time; all of them once more after anything was dispatched or loaded. */
void vent_window_tick(struct vent *v)
{
    uint32_t n = v->unloaded_n < UNLOADED_PER_TICK ? v->unloaded_n : UNLOADED_PER_TICK;
    bool moved = v->counters.tasks_dispatched != v->dispatched_seen;

    v->dispatched_seen = v->counters.tasks_dispatched;
    shrink_window(v);
    moved |= feed_hungry(v);
    for (uint32_t i = 0; i < n && v->unloaded_n != 0; i++) {
        v->load_next = (v->load_next + 1) % v->unloaded_n;
        moved |= load(v, &v->queues[v->unloaded[v->load_next]]);
    }
    v->load_idle = moved ? 0 : v->load_idle + n;
    if (v->load_idle < v->unloaded_n)
        due_at(v, v->now_ms + (v->unloaded_n > n ? 1 : LOAD_RETRY_MS));
}

/* What was parked is behind the boundary no longer. */
static void release_parked(struct vent *v, struct queue *q)
{
    uint32_t i = q->parked.head;

    for (uint32_t n = q->parked.n; n > 0; n--) {
        struct task *t = task_at(v, i);

        i = t->next;
        if (!vent_is_behind(v, q, t))
            vent_release(v, t);
    }
}

/* false: not all of it could come into memory. */
static bool window_loaded(struct vent *v, struct queue *q, const struct vent_read *r)
{
    const struct journal_read *a = &r->read;
    uint32_t i;

    for (i = 0; i < a->tasks_n; i++) {
        const struct journal_task *jt = &a->tasks[i];
        struct task *t;

        if (i + DTQI_IDMAP_AHEAD < a->tasks_n)
            vent_task_expect(v, &a->tasks[i + DTQI_IDMAP_AHEAD].id);
        if (vent_task_find(v, &jt->id) == NULL) { /* else R22 */
            t = vent_recover(v, jt, a->buf);
            if (t == NULL)
                break;
            v->counters.tasks_loaded++;
            q->boundary_rank = jt->key.rank; /* so that it is before the boundary itself */
            q->boundary_seq = jt->key.seq + 1;
            vent_recovered(v, t);
        }
        q->boundary_rank = jt->key.rank;
        q->boundary_seq = jt->key.seq + 1;
        if (r->boundary_moves != q->boundary_moves)
            return true;
    }
    if (i == a->tasks_n && a->end)
        vent_queue_unloaded(v, q, false);
    return i == a->tasks_n;
}

void vent_loaded(struct vent *v, struct vent_read *r)
{
    struct queue *q = &v->queues[r->queue];
    bool is_whole;

    v->loads_asked -= r->read.limit;
    v->load_bytes_asked -= r->bytes_asked;
    q->loading = false;
    if (r->read.err != DTQ_OK) {
        q->load_after_ms = v->now_ms + LOAD_RETRY_MS;
        return;
    }
    if (r->boundary_moves != q->boundary_moves)
        return; /* tasks before these have left memory since: asked for again */
    is_whole = r->is_ahead ? vent_ahead_loaded(v, q, r) : window_loaded(v, q, r);
    if (r->boundary_moves != q->boundary_moves)
        return;
    if (!is_whole)
        q->load_after_ms = v->now_ms + LOAD_RETRY_MS;
    release_parked(v, q);
    if (q->parent == NONE)
        return;
    vent_gate_open(v, q); /* its order may go on now */
    vent_group_unuse(v, q);
}

/* ---------------------------------------------------------------- recovered tasks */

static bool has_counters(const struct journal_counters *c)
{
    return c->last.n != 0 || c->counted.n != 0 || c->failures != 0 || c->crashes != 0 ||
           c->proposed != 0 || c->cancel != 0 || c->suspect != 0 || c->due_wall_ms != 0 ||
           c->made_wall_ms != 0;
}

static bool recover_past(struct vent *v, struct task *t, const struct journal_task *jt)
{
    struct past *p;

    if (!jt->key.delayed && !has_counters(&jt->counters))
        return true;
    p = vent_past(v, t);
    if (p == NULL)
        return false;
    p->counters = jt->counters;
    t->attempt = jt->counters.last.n;
    p->epoch = jt->counters.last.n != 0 ? jt->counters.last.epoch : 0;
    if (jt->counters.cancel != 0)
        t->flags |= TASK_CANCEL | TASK_MARKED;
    if (jt->counters.suspect != 0)
        t->flags |= TASK_SUSPECT;
    if (jt->key.delayed) {
        t->flags |= TASK_DELAYED;
        p->key_due_wall_ms = jt->key.due_wall_ms;
        if (p->counters.due_wall_ms == 0 ||
            vent_left_ms(v, jt->key.due_wall_ms) > vent_left_ms(v, p->counters.due_wall_ms))
            p->counters.due_wall_ms = jt->key.due_wall_ms;
    }
    return true;
}

struct task *vent_recover(struct vent *v, const struct journal_task *jt, struct dtqi_buf *buf)
{
    uint32_t spec = vent_spec_get(v, jt->spec);
    uint32_t sink = spec != NONE ? vent_sink_get(v, &jt->sink) : NONE;
    struct task *t = NULL;
    const struct queue *q;

    if (sink != NONE && vent_queue_lot(v, v->specs[spec].queue, sink))
        t = vent_task_new(v, &jt->id, spec, jt->body, buf);
    if (t == NULL) {
        if (spec != NONE)
            vent_spec_drop(v, spec);
        return NULL;
    }
    q = queue_of(v, t);
    t->seq = jt->key.seq;
    t->reply_to = jt->reply_to;
    t->sink = (uint8_t)sink;
    t->paper = PAPER_WRITTEN;
    t->flags = TASK_RECOVERED;
    if (q->number != jt->key.queue || v->specs[spec].rank != jt->key.rank)
        t->flags |= TASK_NO_KEY;
    if (t->seq < head_of(v, q)->settings.cancel_seq)
        t->flags |= TASK_CANCEL; /* R44: whoever holds it, if anybody does, has to stop it */
    if (!recover_past(v, t, jt)) {
        vent_task_free(v, t);
        return NULL;
    }
    return t;
}

/* It could not come into memory: what is loaded ends before it. */
static void leave_out(struct vent *v, const struct journal_key *key)
{
    struct queue *q;

    if (key->delayed) {
        vent_due_leave_out(v, key);
        return;
    }
    q = vent_queue_of_number(v, key->queue);
    if (q != NULL)
        end_before(v, q, key->rank, key->seq);
}

void vent_bring_back(struct vent *v, const struct journal_task *jt, struct dtqi_buf *buf)
{
    struct task *t = vent_recover(v, jt, buf);

    if (t != NULL)
        vent_recovered(v, t);
    else
        leave_out(v, &jt->key);
}

/* R33 (a): everybody who may hold a task of before the start has said so, or had the time to. */
static bool is_grace_over(struct vent *v)
{
    uint64_t passed_ms = v->now_ms - v->start_ms;
    bool has_begun = false;

    if (v->expected_n == 0 || passed_ms >= v->cfg.grace_begun_ms)
        return true;
    for (uint32_t i = 0; i < v->workers_n; i++)
        has_begun |= v->workers[i].state == WORKER_LANE || v->workers[i].state == WORKER_LISTING;
    if (passed_ms >= v->cfg.grace_ms && !has_begun)
        return true;
    due_at(v, v->start_ms + (has_begun ? v->cfg.grace_begun_ms : v->cfg.grace_ms));
    return false;
}

static bool is_held(const struct vent *v, const struct task *t)
{
    return t->seq < v->seq_start && (!v->grace_over || !v->sinks[t->sink].caught_up);
}

void vent_recovered(struct vent *v, struct task *t)
{
    if (!is_held(v, t)) {
        vent_release(v, t);
        return;
    }
    vent_task_move(v, t, TASK_HELD);
    vent_list_push(v, &v->held[t->sink], t);
    vent_expiry_add(v, t);
}

/* From the last to the first: each goes to the head of its ready list. */
void vent_release_held(struct vent *v)
{
    if (!v->grace_over && is_grace_over(v)) {
        v->grace_over = true;
        vent_gates_start_over(v);
    }
    if (!v->grace_over)
        return;
    for (uint32_t s = 0; s < DTQI_SINKS_MAX; s++)
        while (v->held[s].n != 0 && v->sinks[s].caught_up)
            vent_release(v, task_at(v, v->held[s].tail));
}
