#include "vent_internal.h"

#define SPECS_UNUSED_MAX 1024u
#define SPEC_BUCKETS 1024u
#define SPEC_MEMORY_MAX ((size_t)4 * 1024 * 1024) /* of one, decoded */
#define FREE_BEFORE_REUSE 1024u /* records rest for a while: it keeps generations apart */

#define BIT(state) (1u << (state))
#define WAITING_STATES (BIT(TASK_HELD) | BIT(TASK_READY) | BIT(TASK_PARKED) | BIT(TASK_SCHEDULED))
#define LEASE_STATES (BIT(TASK_LEASED) | BIT(TASK_STOPPING) | BIT(TASK_DONE))
#define HELD_STATES (BIT(TASK_LEASED) | BIT(TASK_STOPPING)) /* what counts against a limit */
#define END_STATES (BIT(TASK_MARKING) | BIT(TASK_PROPOSED) | BIT(TASK_GONE) | BIT(TASK_FREE))

/* What may follow what; the table of docs/PROTOCOL.md. */
static const uint32_t transitions[TASK_STATES] = {
    [TASK_FREE] = BIT(TASK_CLAIMED) | WAITING_STATES | BIT(TASK_LEASED) | BIT(TASK_DONE) |
                  BIT(TASK_MARKING) | BIT(TASK_PROPOSED) | BIT(TASK_GONE),
    [TASK_CLAIMED] = WAITING_STATES | END_STATES,
    [TASK_HELD] = WAITING_STATES | BIT(TASK_LEASED) | BIT(TASK_DONE) | END_STATES,
    [TASK_READY] = WAITING_STATES | BIT(TASK_LEASED) | BIT(TASK_DONE) | END_STATES,
    [TASK_PARKED] = WAITING_STATES | BIT(TASK_LEASED) | BIT(TASK_DONE) | END_STATES,
    [TASK_SCHEDULED] = WAITING_STATES | BIT(TASK_LEASED) | BIT(TASK_DONE) | END_STATES,
    [TASK_LEASED] =
        BIT(TASK_STOPPING) | BIT(TASK_DONE) | BIT(TASK_DEADWAIT) | WAITING_STATES | END_STATES,
    [TASK_STOPPING] = BIT(TASK_DONE) | END_STATES,
    [TASK_DONE] = BIT(TASK_DEADWAIT) | WAITING_STATES | END_STATES,
    [TASK_DEADWAIT] = WAITING_STATES | BIT(TASK_LEASED) | BIT(TASK_DONE) | END_STATES,
    [TASK_MARKING] = BIT(TASK_PROPOSED) | BIT(TASK_GONE) | BIT(TASK_FREE),
    [TASK_PROPOSED] = BIT(TASK_GONE) | BIT(TASK_FREE),
    [TASK_GONE] = BIT(TASK_FREE),
};

const char *vent_task_state_name(enum task_state state)
{
    switch (state) {
    case TASK_FREE: return "free";
    case TASK_CLAIMED: return "claimed";
    case TASK_HELD: return "held";
    case TASK_READY: return "ready";
    case TASK_PARKED: return "parked";
    case TASK_SCHEDULED: return "scheduled";
    case TASK_LEASED: return "leased";
    case TASK_STOPPING: return "stopping";
    case TASK_DONE: return "done";
    case TASK_DEADWAIT: return "deadwait";
    case TASK_MARKING: return "marking";
    case TASK_PROPOSED: return "proposed";
    case TASK_GONE: return "gone";
    case TASK_STATES: break;
    }
    return "?";
}

/* ---------------------------------------------------------------- lists */

void vent_list_push(struct vent *v, struct list *l, struct task *t)
{
    uint32_t i = task_index(v, t);

    t->next = NONE;
    t->prev = l->tail;
    if (l->tail != NONE)
        task_at(v, l->tail)->next = i;
    else
        l->head = i;
    l->tail = i;
    l->n++;
}

void vent_list_push_head(struct vent *v, struct list *l, struct task *t)
{
    uint32_t i = task_index(v, t);

    t->prev = NONE;
    t->next = l->head;
    if (l->head != NONE)
        task_at(v, l->head)->prev = i;
    else
        l->tail = i;
    l->head = i;
    l->n++;
}

void vent_list_remove(struct vent *v, struct list *l, struct task *t)
{
    assert(l->n > 0);
    if (t->prev != NONE)
        task_at(v, t->prev)->next = t->next;
    else
        l->head = t->next;
    if (t->next != NONE)
        task_at(v, t->next)->prev = t->prev;
    else
        l->tail = t->prev;
    t->next = t->prev = NONE;
    l->n--;
}

void vent_paper_push(struct vent *v, struct list *l, struct task *t)
{
    uint32_t i = task_index(v, t);

    t->paper_next = NONE;
    t->paper_prev = l->tail;
    if (l->tail != NONE)
        task_at(v, l->tail)->paper_next = i;
    else
        l->head = i;
    l->tail = i;
    l->n++;
}

void vent_paper_push_head(struct vent *v, struct list *l, struct task *t)
{
    uint32_t i = task_index(v, t);

    t->paper_prev = NONE;
    t->paper_next = l->head;
    if (l->head != NONE)
        task_at(v, l->head)->paper_prev = i;
    else
        l->tail = i;
    l->head = i;
    l->n++;
}

void vent_paper_remove(struct vent *v, struct list *l, struct task *t)
{
    assert(l->n > 0);
    if (t->paper_prev != NONE)
        task_at(v, t->paper_prev)->paper_next = t->paper_next;
    else
        l->head = t->paper_next;
    if (t->paper_next != NONE)
        task_at(v, t->paper_next)->paper_prev = t->paper_prev;
    else
        l->tail = t->paper_prev;
    t->paper_next = t->paper_prev = NONE;
    l->n--;
}

/* ---------------------------------------------------------------- the table */

/* One piece of memory, whose pages cost nothing before they are used. */
dtq_err vent_tasks_init(struct vent *v)
{
    size_t line = 64;
    uint8_t *at = calloc(1, v->cfg.resident_tasks_max * sizeof *v->tasks + line);

    if (at == NULL)
        return DTQ_ENOMEM;
    v->tasks_memory = at;
    v->tasks = (struct task *)(void *)(at + (line - (uintptr_t)at % line) % line);
    list_init(&v->free_tasks);
    list_init(&v->specs_unused);
    list_init(&v->deadwait);
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        list_init(&v->held[i]);
    v->pasts_free = v->links_free = v->specs_free = v->ghost = NONE;
    v->spec_buckets = malloc(SPEC_BUCKETS * sizeof *v->spec_buckets);
    if (v->spec_buckets == NULL)
        return DTQ_ENOMEM;
    v->spec_buckets_mask = SPEC_BUCKETS - 1;
    memset(v->spec_buckets, 0xff, SPEC_BUCKETS * sizeof *v->spec_buckets);
    return DTQ_OK;
}

void vent_tasks_done(struct vent *v)
{
    for (uint32_t i = 0; i < v->tasks_used; i++)
        dtqi_buf_unref(v->tasks[i].buf);
    for (uint32_t i = 0; i < v->pasts_n; i++)
        for (uint32_t k = 0; k < v->pasts[i].notes_n; k++)
            free(v->pasts[i].notes[k]);
    for (uint32_t i = 0; i < v->specs_n; i++)
        dtqi_buf_unref(v->specs[i].buf);
    for (uint32_t i = 0; i < DUE_CLOCKS; i++)
        vent_heap_done(&v->due[i].heap);
    vent_heap_done(&v->expiries);
    dtqi_idmap_done(&v->map);
    free(v->pasts);
    free(v->links);
    free(v->specs);
    free(v->spec_buckets);
    free(v->tasks_memory);
}

static const dtq_id *id_of(const void *owner, uint32_t index)
{
    return &((const struct vent *)owner)->tasks[index].id;
}

struct task *vent_task_find(const struct vent *v, const dtq_id *id)
{
    uint32_t i = dtqi_idmap_get(&v->map, v, id_of, id);

    return i != DTQI_IDMAP_NONE ? task_at(v, i) : NULL;
}

static struct task *record(struct vent *v)
{
    struct task *t;

    if (v->tasks_used < v->cfg.resident_tasks_max && v->free_tasks.n < FREE_BEFORE_REUSE)
        return task_at(v, v->tasks_used++);
    if (v->free_tasks.n == 0)
        return NULL;
    t = task_at(v, v->free_tasks.head);
    vent_list_remove(v, &v->free_tasks, t);
    return t;
}

struct task *vent_task_new(struct vent *v, const dtq_id *id, uint32_t spec, struct dtqi_slice body,
                           struct dtqi_buf *buf)
{
    struct task *t;
    uint16_t generation;

    if (!dtqi_idmap_reserve(&v->map, v->map.count + v->map.count / 2 + 1))
        return NULL;
    t = record(v);
    if (t == NULL)
        return NULL;
    generation = t->generation;
    *t = (struct task){
        .id = *id,
        .body = body.at,
        .buf = buf != NULL ? dtqi_buf_ref(buf) : NULL,
        .body_len = body.len,
        .spec = spec,
        .admitted_ms = v->now_ms,
        .worker = NONE,
        .next = NONE,
        .prev = NONE,
        .paper_next = NONE,
        .paper_prev = NONE,
        .wait = NONE,
        .past = NONE,
        .expiry = NONE,
        .generation = generation,
    };
    dtqi_idmap_add(&v->map, id, task_index(v, t));
    v->resident_bytes += vent_cost(v, t);
    return t;
}

static void past_free(struct vent *v, struct task *t)
{
    struct past *p = past_of(v, t);

    if (p == NULL)
        return;
    assert(p->waits == NONE);
    assert(p->cancels == NONE);
    for (uint32_t i = 0; i < p->notes_n; i++)
        free(p->notes[i]);
    p->notes_n = 0;
    p->next_free = v->pasts_free;
    v->pasts_free = t->past;
    t->past = NONE;
}

void vent_task_drop_body(struct vent *v, struct task *t)
{
    v->resident_bytes -= t->body_len;
    t->body_len = 0;
    t->body = NULL;
    dtqi_buf_unref(t->buf);
    t->buf = NULL;
}

void vent_task_free(struct vent *v, struct task *t)
{
    assert(t->wait == NONE);
    if (t->state != TASK_FREE)
        vent_task_move(v, t, TASK_FREE);
    vent_paper_unlink(v, t);
    if ((t->marks & TASK_KEYED) != 0)
        vent_key_remove(v, t);
    if ((t->marks & TASK_CRON) != 0)
        vent_cron_not_fired(v, t);
    past_free(v, t);
    vent_dying_end(v, t);
    v->transfers -= (t->marks & TASK_TRANSFER) != 0;
    dtqi_idmap_remove(&v->map, v, id_of, &t->id);
    v->resident_bytes -= vent_cost(v, t);
    vent_spec_drop(v, t->spec);
    dtqi_buf_unref(t->buf);
    t->buf = NULL;
    t->body = NULL;
    t->flags = 0;
    vent_list_push(v, &v->free_tasks, t);
}

void vent_task_own_body(struct task *t)
{
    struct dtqi_buf *own;
    void *at;

    if ((t->flags & TASK_OWN_BODY) != 0 || t->body_len == 0 || t->paper == PAPER_HANDED)
        return; /* what the journal is being handed stays where it is */
    own = dtqi_buf_new(t->body_len + 16u, t->body_len + 16u);
    if (own == NULL)
        return;
    at = dtqi_buf_alloc(own, t->body_len);
    assert(at != NULL);
    memcpy(at, t->body, t->body_len);
    dtqi_buf_unref(t->buf);
    t->buf = own;
    t->body = at;
    t->flags |= TASK_OWN_BODY;
}

/* ---------------------------------------------------------------- states */

static void trace(struct vent *v, const struct task *t, enum task_state to)
{
    VENT_LOG(v, VENT_TRACE, "task", L_ID("id", t->id.bytes),
             L_TEXT("from", vent_task_state_name(t->state)), L_TEXT("to", vent_task_state_name(to)),
             L_U64("attempt", t->attempt));
}

static void unlink_from_state(struct vent *v, struct task *t, enum task_state to)
{
    switch ((enum task_state)t->state) {
    case TASK_HELD: vent_list_remove(v, &v->held[t->sink], t); break;
    case TASK_READY: vent_ready_unlink(v, t); break;
    case TASK_PARKED: vent_list_remove(v, &queue_of(v, t)->parked, t); break;
    case TASK_SCHEDULED: vent_due_unlink(v, t); break;
    case TASK_LEASED:
    case TASK_STOPPING:
    case TASK_DONE:
        if ((BIT(to) & LEASE_STATES) == 0) /* else it only changes between its worker's lists */
            vent_unlease(v, t);
        break;
    case TASK_DEADWAIT: vent_list_remove(v, &v->deadwait, t); break;
    case TASK_PROPOSED: vent_proposed_unlink(v, t); break;
    case TASK_FREE:
    case TASK_CLAIMED:
    case TASK_MARKING:
    case TASK_GONE:
    case TASK_STATES: break;
    }
}

void vent_task_move(struct vent *v, struct task *t, enum task_state to)
{
    struct queue *q = queue_of(v, t);

    assert(to < TASK_STATES);
    assert((transitions[t->state] & BIT(to)) != 0);
    if (v->cfg.trace)
        trace(v, t, to);
    unlink_from_state(v, t, to);
    if (t->expiry != NONE && (BIT(to) & WAITING_STATES) == 0)
        vent_expiry_remove(v, t);
    if (t->state != TASK_FREE) {
        v->counts[t->state]--;
        q->resident[t->state]--;
        if (q->place == QUEUE_CLOSED && (q->is_ordered || (BIT(t->state) & HELD_STATES) != 0))
            vent_gate_open(v, q);
    }
    if (to != TASK_FREE) {
        v->counts[to]++;
        q->resident[to]++;
    }
    if (q->parent != NONE)
        vent_group_moved(v, q, (enum task_state)t->state, to);
    vent_queue_delayed_here(v, t, (enum task_state)t->state, to);
    vent_unmarked(v, t, (enum task_state)t->state, to);
    t->state = (uint8_t)to;
    t->since_ms = v->now_ms;
}

/* ---------------------------------------------------------------- specs */

static uint32_t hash_bytes(struct dtqi_slice s)
{
    const uint8_t *at = s.at;
    uint64_t h = s.len;
    uint64_t word;
    uint32_t i = 0;

    for (; i + 8 <= s.len; i += 8) {
        memcpy(&word, at + i, 8);
        h = dtqi_mix64(h ^ word);
    }
    word = 0;
    memcpy(&word, at + i, s.len - i);
    return (uint32_t)dtqi_mix64(h ^ word);
}

static void unused_add(struct vent *v, uint32_t i)
{
    struct spec *s = &v->specs[i];
    struct list *l = &v->specs_unused;

    s->next = NONE;
    s->prev = l->tail;
    if (l->tail != NONE)
        v->specs[l->tail].next = i;
    else
        l->head = i;
    l->tail = i;
    l->n++;
}

static void unused_remove(struct vent *v, uint32_t i)
{
    struct spec *s = &v->specs[i];
    struct list *l = &v->specs_unused;

    if (s->prev != NONE)
        v->specs[s->prev].next = s->next;
    else
        l->head = s->next;
    if (s->next != NONE)
        v->specs[s->next].prev = s->prev;
    else
        l->tail = s->prev;
    l->n--;
}

static void spec_free(struct vent *v, uint32_t i)
{
    struct spec *s = &v->specs[i];
    uint32_t *at = &v->spec_buckets[s->hash & v->spec_buckets_mask];

    while (*at != i)
        at = &v->specs[*at].next_same_hash;
    *at = s->next_same_hash;
    v->queues[s->queue].specs--;
    vent_queue_unuse(v, s->queue);
    dtqi_buf_unref(s->buf);
    s->buf = NULL;
    s->next = v->specs_free;
    v->specs_free = i;
    v->specs_count--;
}

static void grow_buckets(struct vent *v)
{
    uint32_t mask = 2 * v->spec_buckets_mask + 1;
    uint32_t *buckets;

    if (v->specs_count <= v->spec_buckets_mask)
        return;
    buckets = malloc(((size_t)mask + 1) * sizeof *buckets);
    if (buckets == NULL)
        return; /* longer chains, then */
    memset(buckets, 0xff, ((size_t)mask + 1) * sizeof *buckets);
    for (uint32_t i = 0; i < v->specs_n; i++) {
        struct spec *s = &v->specs[i];

        if (s->buf == NULL)
            continue;
        s->next_same_hash = buckets[s->hash & mask];
        buckets[s->hash & mask] = i;
    }
    free(v->spec_buckets);
    v->spec_buckets = buckets;
    v->spec_buckets_mask = mask;
}

/* Read a spec with memory of its own. The texts and everything else come from its own bytes. */
static struct dtqi_buf *spec_read(const struct vent *v, struct dtqi_slice raw,
                                  struct dtqi_spec *ret)
{
    struct dtqi_buf *buf = dtqi_buf_new(raw.len + 512u, SPEC_MEMORY_MAX);
    struct dtqi_slice own = {NULL, raw.len};
    char why[8];
    void *at;

    if (buf == NULL)
        return NULL;
    at = dtqi_buf_alloc(buf, raw.len);
    if (at != NULL) {
        memcpy(at, raw.at, raw.len);
        own.at = at;
        if (v->cfg.spec_decode(own, buf, ret, why, sizeof why) == DTQ_OK)
            return buf;
    }
    dtqi_buf_unref(buf);
    return NULL;
}

static uint32_t spec_place(struct vent *v)
{
    uint32_t i = v->specs_free;

    if (i != NONE) {
        v->specs_free = v->specs[i].next;
        return i;
    }
    if (!vent_grow(&v->specs, v->specs_n, &v->specs_room, sizeof *v->specs))
        return NONE;
    v->specs[v->specs_n] = (struct spec){.next = NONE};
    return v->specs_n++;
}

/* It has the nameless queue, which no task can name. */
static uint32_t ghost_spec(struct vent *v)
{
    uint32_t queue = vent_queue_get(v, (struct dtqi_str){"", 0});
    uint32_t i = queue != NONE ? spec_place(v) : NONE;

    if (i == NONE)
        return NONE;
    v->queues[queue].specs++;
    v->specs[i] = (struct spec){.refs = 1, .queue = queue, .next_same_hash = NONE};
    return i;
}

struct task *vent_ghost(struct vent *v, const dtq_id *id)
{
    struct task *t;

    if (v->ghost == NONE)
        v->ghost = ghost_spec(v);
    if (v->ghost == NONE)
        return NULL;
    v->specs[v->ghost].refs++;
    t = vent_task_new(v, id, v->ghost, (struct dtqi_slice){NULL, 0}, NULL);
    if (t == NULL) {
        vent_spec_drop(v, v->ghost);
        return NULL;
    }
    t->paper = PAPER_WRITTEN;
    t->flags = TASK_NO_KEY | TASK_NO_BODY;
    return t;
}

static uint32_t spec_new(struct vent *v, struct dtqi_slice raw, uint32_t hash)
{
    struct dtqi_spec spec;
    struct dtqi_buf *buf = spec_read(v, raw, &spec);
    uint32_t queue = buf != NULL ? vent_queue_of_spec(v, &spec) : NONE;
    uint32_t i = queue != NONE ? spec_place(v) : NONE;

    if (i == NONE) {
        if (queue != NONE)
            vent_queue_unuse(v, queue);
        dtqi_buf_unref(buf);
        return NONE;
    }
    v->queues[queue].specs++;
    v->specs[i] = (struct spec){
        .spec = spec,
        .buf = buf,
        .refs = 1,
        .hash = hash,
        .queue = queue,
        .rank = v->queues[queue].is_ordered ? 0 : (uint8_t)(DTQI_PRIORITIES - 1 - spec.priority),
        .next_same_hash = v->spec_buckets[hash & v->spec_buckets_mask],
    };
    v->spec_buckets[hash & v->spec_buckets_mask] = i;
    v->specs_count++;
    grow_buckets(v);
    return i;
}

uint32_t vent_spec_get(struct vent *v, struct dtqi_slice raw)
{
    uint32_t hash;
    uint32_t i;

    if (raw.len == 0)
        return NONE;
    hash = hash_bytes(raw);
    i = v->spec_buckets[hash & v->spec_buckets_mask];
    for (; i != NONE; i = v->specs[i].next_same_hash) {
        struct spec *s = &v->specs[i];

        if (s->hash != hash || s->spec.raw.len != raw.len ||
            memcmp(s->spec.raw.at, raw.at, raw.len) != 0)
            continue;
        if (s->refs++ == 0)
            unused_remove(v, i);
        return i;
    }
    return spec_new(v, raw, hash);
}

static void unused_forget(struct vent *v)
{
    uint32_t oldest = v->specs_unused.head;

    unused_remove(v, oldest);
    spec_free(v, oldest);
}

void vent_spec_drop(struct vent *v, uint32_t i)
{
    assert(v->specs[i].refs > 0);
    if (--v->specs[i].refs != 0)
        return;
    unused_add(v, i);
    if (v->specs_unused.n > SPECS_UNUSED_MAX)
        unused_forget(v);
}

void vent_specs_trim(struct vent *v)
{
    while (v->specs_unused.n != 0)
        unused_forget(v);
}

/* ---------------------------------------------------------------- pasts and links */

struct past *vent_past(struct vent *v, struct task *t)
{
    uint32_t i = v->pasts_free;

    if (t->past != NONE)
        return &v->pasts[t->past];
    if (i != NONE) {
        v->pasts_free = v->pasts[i].next_free;
    } else {
        if (!vent_grow(&v->pasts, v->pasts_n, &v->pasts_room, sizeof *v->pasts))
            return NULL;
        i = v->pasts_n++;
    }
    v->pasts[i] = (struct past){.waits = NONE, .cancels = NONE};
    t->past = i;
    return &v->pasts[i];
}

bool vent_link_add(struct vent *v, uint32_t *chain, uint32_t to)
{
    uint32_t i = v->links_free;

    if (i != NONE) {
        v->links_free = v->links[i].next;
    } else {
        if (!vent_grow(&v->links, v->links_n, &v->links_room, sizeof *v->links))
            return false;
        i = v->links_n++;
    }
    v->links[i] = (struct link){to, *chain};
    *chain = i;
    return true;
}

uint32_t vent_link_take(struct vent *v, uint32_t *chain)
{
    uint32_t i = *chain;

    if (i == NONE)
        return NONE;
    *chain = v->links[i].next;
    v->links[i].next = v->links_free;
    v->links_free = i;
    return v->links[i].to;
}

/* RFC 9562, 5.7: the time, then random bits. */
void vent_id_stamp(dtq_id *id, uint64_t wall_ms)
{
    for (int i = 0; i < 6; i++)
        id->bytes[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
    id->bytes[6] = (uint8_t)(0x70 | (id->bytes[6] & 0x0f));
    id->bytes[8] = (uint8_t)(0x80 | (id->bytes[8] & 0x3f));
}

dtq_id vent_new_id(struct vent *v, uint64_t wall_ms)
{
    uint64_t random[2] = {vent_random(v, UINT64_MAX), vent_random(v, UINT64_MAX)};
    dtq_id id;

    memcpy(id.bytes, random, sizeof id.bytes);
    vent_id_stamp(&id, wall_ms);
    return id;
}
