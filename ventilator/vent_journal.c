#include "vent_internal.h"

#define TEXTS_FIRST_BYTES ((size_t)16 * 1024)
#define TEXTS_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define OPS_PER_TASK (5u + NOTES_MAX)

dtq_err vent_journal_init(struct vent *v)
{
    struct journal_batch *b = &v->batch;
    size_t room = v->cfg.journal_ops_max + OPS_PER_TASK;

    list_init(&v->fresh);
    list_init(&v->write);
    list_init(&v->dirty);
    list_init(&v->deletes);
    v->batch.queues = NULL;
    v->answers = v->answers_tail = v->waits_free = NONE;
    b->ops = malloc(room * sizeof *b->ops);
    b->present = malloc(room * sizeof *b->present);
    b->applied = malloc(DTQI_SINKS_MAX * sizeof *b->applied);
    b->sinks = malloc(2 * DTQI_SINKS_MAX * sizeof *b->sinks);
    v->batch_tasks = malloc(room * sizeof *v->batch_tasks);
    if (b->ops == NULL || b->present == NULL || b->applied == NULL || b->sinks == NULL ||
        v->batch_tasks == NULL)
        return DTQ_ENOMEM;
    return DTQ_OK;
}

void vent_journal_done(struct vent *v)
{
    struct journal_batch *b = &v->batch;

    while (v->reads != NULL) {
        struct vent_read *r = v->reads;

        v->reads = r->next;
        dtqi_buf_unref(r->read.buf);
        dtqi_buf_unref(r->keys);
        free(r->query);
        free(r);
    }
    free(b->ops);
    free(b->present);
    free(b->applied);
    free(b->queues);
    free(b->workers);
    free(b->sinks);
    free(v->batch_tasks);
    free(v->batch_queues);
    dtqi_buf_unref(v->flight_texts);
}

/* ---------------------------------------------------------------- what is to be written */

static struct list *list_of(struct vent *v, enum paper_list which)
{
    switch (which) {
    case PAPER_FRESH: return &v->fresh;
    case PAPER_WRITE: return &v->write;
    case PAPER_DIRTY: return &v->dirty;
    case PAPER_DELETES: return &v->deletes;
    case PAPER_NOWHERE: break;
    }
    return NULL;
}

void vent_paper_unlink(struct vent *v, struct task *t)
{
    struct list *l = list_of(v, t->paper_list);

    if (l != NULL)
        vent_paper_remove(v, l, t);
    t->paper_list = PAPER_NOWHERE;
}

static void paper_link(struct vent *v, struct task *t, enum paper_list which)
{
    assert(t->paper_list == PAPER_NOWHERE);
    t->paper_list = (uint8_t)which;
    vent_paper_push(v, list_of(v, which), t);
}

static void paper_link_head(struct vent *v, struct task *t, enum paper_list which)
{
    assert(t->paper_list == PAPER_NOWHERE);
    t->paper_list = (uint8_t)which;
    vent_paper_push_head(v, list_of(v, which), t);
}

void vent_lazy(struct vent *v)
{
    if (v->lazy_ms == 0)
        v->lazy_ms = at_least_1(v->now_ms);
}

bool vent_is_clean(const struct task *t)
{
    return t->paper == PAPER_WRITTEN && t->paper_list == PAPER_NOWHERE &&
           (t->flags & (TASK_DIRTY | TASK_MOVE | TASK_IN_BATCH)) == 0 &&
           (t->marks & TASK_TRANSFER) == 0;
}

/* How long a task of this queue may wait for its settlement to make writing it needless. */
static uint64_t hold_ms(const struct vent *v, const struct queue *q)
{
    const struct queue *head = head_of(v, q);
    uint64_t ms = 3ull * q->settle_us / 1000;

    if ((head->servers == 0 && v->any_servers == 0) || q->place == QUEUE_CLOSED ||
        head->place == QUEUE_CLOSED || v->stopping || q->settle_us / 1000 > v->cfg.hold_ms_max)
        return 0; /* it would not be settled in time */
    if (q->is_ordered)
        return 0; /* the journal gets them in their order, too */
    if (ms < v->cfg.hold_ms_min)
        return v->cfg.hold_ms_min;
    return ms < v->cfg.hold_ms_max ? ms : v->cfg.hold_ms_max;
}

void vent_paper_new(struct vent *v, struct task *t)
{
    bool is_held =
        t->state == TASK_READY && (t->marks & TASK_ALWAYS) == 0 && hold_ms(v, queue_of(v, t)) != 0;

    assert(t->paper == PAPER_NONE);
    if (t->paper_list == PAPER_NOWHERE)
        paper_link(v, t, is_held ? PAPER_FRESH : PAPER_WRITE);
}

void vent_dirty(struct vent *v, struct task *t, bool urgent)
{
    t->flags |= TASK_DIRTY;
    v->urgent |= urgent;
    if (t->paper == PAPER_NONE && urgent) { /* its counters go with it */
        vent_paper_unlink(v, t);
        paper_link(v, t, PAPER_WRITE);
    } else if (t->paper == PAPER_WRITTEN && t->paper_list == PAPER_NOWHERE) {
        paper_link(v, t, PAPER_DIRTY);
    }
    vent_lazy(v);
}

void vent_paper_move(struct vent *v, struct task *t)
{
    if ((t->flags & TASK_NO_KEY) != 0)
        return;
    t->flags |= TASK_MOVE;
    if (t->paper == PAPER_WRITTEN && t->paper_list == PAPER_NOWHERE)
        paper_link(v, t, PAPER_DIRTY);
    vent_lazy(v);
}

void vent_paper_transfer(struct vent *v, struct task *t)
{
    v->transfers += (t->marks & TASK_TRANSFER) == 0;
    t->marks |= TASK_TRANSFER;
    if (t->paper == PAPER_NONE && t->paper_list == PAPER_FRESH) { /* somebody waits for it */
        vent_paper_unlink(v, t);
        paper_link(v, t, PAPER_WRITE);
    } else if (t->paper == PAPER_WRITTEN && t->paper_list == PAPER_NOWHERE) {
        paper_link(v, t, PAPER_DIRTY);
    }
    v->urgent = true;
    vent_lazy(v);
}

/* The journal has it in this queue. */
static void transferred(struct vent *v, struct task *t, uint32_t queue)
{
    if ((t->marks & TASK_TRANSFER) == 0 || queue_of(v, t)->number != queue)
        return;
    t->marks &= (uint8_t)~TASK_TRANSFER;
    v->transfers--;
}

/* Settled before it was written. A dead letter keeps its task; and some take other things along. */
static bool is_written_anyway(const struct task *t)
{
    return (t->flags & TASK_DEAD) != 0 || (t->marks & TASK_ALWAYS) != 0;
}

void vent_paper_end(struct vent *v, struct task *t)
{
    assert(t->state == TASK_GONE);
    if (t->paper == PAPER_HANDED)
        return; /* the answer decides */
    vent_paper_unlink(v, t);
    if (t->paper == PAPER_NONE && !is_written_anyway(t) && !vent_has_new_notes(v, t)) {
        v->counters.journal_skipped++;
        vent_task_free(v, t);
        return;
    }
    if (t->paper == PAPER_WRITTEN && (t->flags & TASK_NO_BODY) == 0) {
        vent_task_drop_body(v, t);
        t->flags |= TASK_NO_BODY;
    }
    paper_link(v, t, PAPER_DELETES);
    vent_lazy(v);
}

/* ---------------------------------------------------------------- building a batch */

struct journal_key vent_task_key(const struct vent *v, const struct task *t)
{
    struct journal_key key = {
        .rank = spec_of(v, t)->rank, .queue = queue_of(v, t)->number, .seq = t->seq};

    if ((t->flags & TASK_DELAYED) != 0) {
        key.delayed = true;
        key.due_wall_ms = past_of(v, t)->key_due_wall_ms;
    }
    return key;
}

struct journal_counters vent_task_counters(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);
    struct journal_counters c = {0};

    if (p != NULL)
        c = p->counters;
    if (t->attempt != 0)
        c.last = (struct journal_attempt){task_epoch(v, t), t->attempt};
    c.cancel = (t->flags & TASK_CANCEL) != 0;
    c.suspect = (t->flags & TASK_SUSPECT) != 0;
    return c;
}

static struct journal_op *add_op(struct vent *v, struct task *t, enum journal_op_type type)
{
    struct journal_batch *b = &v->batch;
    struct journal_op *op = &b->ops[b->ops_n];

    v->batch_tasks[b->ops_n++] = task_index(v, t);
    *op = (struct journal_op){
        .type = type,
        .has_key = (t->flags & TASK_NO_KEY) == 0,
        .task = {.id = t->id, .key = vent_task_key(v, t), .sink = v->sinks[t->sink].store},
    };
    return op;
}

/* Of no task in memory. */
static struct journal_op *add_lone_op(struct vent *v, const dtq_id *id, enum journal_op_type type)
{
    struct journal_batch *b = &v->batch;
    struct journal_op *op = &b->ops[b->ops_n];

    v->batch_tasks[b->ops_n++] = NONE;
    *op = (struct journal_op){.type = type, .task = {.id = *id}};
    return op;
}

/* Attempts that the journal does not know yet. They are for people: without memory they are left
 * out. */
static void add_logs(struct vent *v, struct task *t)
{
    struct past *p = past_of(v, t);

    for (uint32_t i = 0; p != NULL && i < p->notes_n; i++) {
        struct dtqi_slice text;

        if (p->notes[i]->paper != NOTE_NEW)
            continue;
        if (v->flight_texts == NULL)
            v->flight_texts = dtqi_buf_new(TEXTS_FIRST_BYTES, TEXTS_BYTES_MAX);
        text = vent_note_encode(p->notes[i], v->flight_texts);
        if (text.len == 0)
            return;
        add_op(v, t, JOURNAL_ATTEMPT_LOG)->text = text;
        p->notes[i]->paper = NOTE_HANDED;
    }
}

static void notes_are(const struct vent *v, const struct task *t, enum note_paper paper)
{
    const struct past *p = past_of(v, t);

    for (uint32_t i = 0; p != NULL && i < p->notes_n; i++)
        if (p->notes[i]->paper == NOTE_HANDED)
            p->notes[i]->paper = (uint8_t)paper;
}

/* Until when attempts of a task that ends now are kept; 0: not at all. They are for people: a full
 * disk needs what its end frees. */
static uint64_t past_until_wall_ms(const struct vent *v)
{
    return v->cfg.history_ttl_ms != 0 && !v->map_full ? v->wall_ms + v->cfg.history_ttl_ms : 0;
}

/* R37: the dead letter goes in the same commit; its attempts can be looked at for a while. */
static void add_requeued(struct vent *v, const struct task *t)
{
    dtq_id id;

    memcpy(id.bytes, spec_of(v, t)->spec.requeued_from.at, sizeof id.bytes);
    add_lone_op(v, &id, JOURNAL_DEAD_DEL)->at_wall_ms = past_until_wall_ms(v);
}

struct journal_op *vent_lone_op(struct vent *v, enum journal_op_type type)
{
    static const dtq_id of_none;

    return add_lone_op(v, &of_none, type);
}

static bool tell_of_queue(struct vent *v, struct queue *q)
{
    struct journal_batch *b = &v->batch;
    struct journal_queue *jq;

    if (!vent_grow(&b->queues, b->queues_n, &v->batch_records_room, sizeof *b->queues) ||
        !vent_grow(&v->batch_queues, b->queues_n, &v->batch_queues_room, sizeof *v->batch_queues))
        return false;
    vent_queue_number(v, q);
    jq = &b->queues[b->queues_n];
    *jq = (struct journal_queue){
        .number = q->number,
        .parent = q->parent != NONE ? v->queues[q->parent].number : 0,
        .ordered = q->is_ordered,
        .gone = q->is_gone,
        .settings = q->settings,
    };
    memcpy(jq->name, q->name, q->name_len);
    v->batch_queues[b->queues_n++] = (uint32_t)(q - v->queues);
    q->is_handed = true;
    q->asked = q->asks;
    q->asks = NONE;
    return true;
}

/* A group gets its record with the first of its tasks that is written: most of those that come and
 * go have none. false: no memory. */
static bool tell_of_group(struct vent *v, const struct task *t)
{
    struct queue *q = queue_of(v, t);

    return q->number != 0 || q->parent == NONE || tell_of_queue(v, q);
}

static void add_put(struct vent *v, struct task *t)
{
    struct journal_op *op = add_op(v, t, JOURNAL_PUT);

    op->task.reply_to = t->reply_to;
    op->task.spec = spec_of(v, t)->spec.raw;
    op->task.body = (struct dtqi_slice){t->body, t->body_len};
    if ((t->flags & TASK_DIRTY) != 0)
        op->task.counters = vent_task_counters(v, t);
    t->flags &= (uint16_t)~TASK_DIRTY;
    t->paper = PAPER_HANDED;
    add_logs(v, t);
    if ((t->marks & TASK_REQUEUED) != 0)
        add_requeued(v, t);
    if ((t->marks & TASK_KEYED) != 0)
        vent_key_op(v, t, add_op(v, t, JOURNAL_KEY));
    if ((t->marks & TASK_CRON) != 0)
        vent_cron_fire_op(v, t, vent_lone_op(v, JOURNAL_CRON_STATE));
}

static void add_counters(struct vent *v, struct task *t)
{
    add_op(v, t, JOURNAL_COUNTERS)->task.counters = vent_task_counters(v, t);
    t->flags &= (uint16_t)~TASK_DIRTY;
    t->flags |= TASK_IN_BATCH;
    add_logs(v, t);
}

static void add_transfer(struct vent *v, struct task *t)
{
    struct journal_op *op = add_op(v, t, JOURNAL_TRANSFER);

    op->to = op->task.key;
    op->task.spec = spec_of(v, t)->spec.raw;
    t->flags |= TASK_IN_BATCH;
}

/* Is it where its state calls for? A delayed one that has failed since waits for another time. */
static bool is_placed(struct vent *v, const struct task *t)
{
    if (t->state != TASK_SCHEDULED)
        return (t->flags & TASK_DELAYED) == 0 || t->state != TASK_PARKED;
    return (t->flags & TASK_DELAYED) != 0 && past_of(v, t)->key_due_wall_ms == t->since_ms;
}

static void add_move(struct vent *v, struct task *t)
{
    bool delayed = t->state == TASK_SCHEDULED;
    struct journal_op *op;

    t->flags &= (uint16_t)~TASK_MOVE;
    if (is_placed(v, t) || (delayed && vent_past(v, t) == NULL))
        return;
    op = add_op(v, t, JOURNAL_MOVE);
    op->to = op->task.key;
    op->to.delayed = delayed;
    op->to.due_wall_ms = delayed ? t->since_ms : 0;
    t->flags |= TASK_IN_BATCH;
}

static struct dtqi_slice last_text(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);
    const struct note *note = p != NULL && p->notes_n != 0 ? p->notes[p->notes_n - 1] : NULL;

    if (note == NULL)
        return (struct dtqi_slice){NULL, 0};
    return (struct dtqi_slice){note->texts + note->worker_len, note->text_len};
}

/* What failed of it stays. It costs a task nothing of which no attempt failed. */
static void add_end(struct vent *v, struct task *t)
{
    const struct past *p = past_of(v, t);
    struct journal_op *op = add_op(v, t, JOURNAL_DEL);

    if (t->paper == PAPER_NONE)
        t->paper = PAPER_HANDED; /* its notes are */
    op->at_wall_ms = past_until_wall_ms(v);
    if (op->at_wall_ms == 0 || !vent_has_new_notes(v, t))
        return;
    if (v->flight_texts == NULL)
        v->flight_texts = dtqi_buf_new(TEXTS_FIRST_BYTES, TEXTS_BYTES_MAX);
    op->text = vent_notes_encode(p, v->flight_texts);
}

static void add_delete(struct vent *v, struct task *t)
{
    struct journal_op *op;

    if (t->paper == PAPER_NONE && is_written_anyway(t)) {
        add_put(v, t);
        t->flags |= TASK_IN_BATCH;
    }
    if ((t->flags & TASK_DEAD) == 0) {
        add_end(v, t);
        return;
    }
    if (t->paper == PAPER_WRITTEN && (t->marks & TASK_TRANSFER) != 0)
        add_transfer(v, t);
    add_logs(v, t);
    op = add_op(v, t, JOURNAL_DEAD);
    op->task.counters = vent_task_counters(v, t);
    op->at_wall_ms = v->wall_ms;
    op->text = last_text(v, t);
}

static bool has_op_room(const struct vent *v)
{
    return v->batch.ops_n < v->cfg.journal_ops_max;
}

static struct task *take(struct vent *v, struct list *l)
{
    struct task *t = task_at(v, l->head);

    vent_paper_unlink(v, t);
    return t;
}

static bool is_aged(struct vent *v, const struct task *t)
{
    uint64_t until_ms = t->admitted_ms + hold_ms(v, queue_of(v, t));

    if (until_ms <= v->now_ms)
        return true;
    due_at(v, until_ms);
    return false;
}

static bool has_puts(struct vent *v)
{
    if (v->fresh.n == 0 && v->write.n == 0)
        return false;
    if (v->now_ms < v->puts_after_ms) {
        due_at(v, v->puts_after_ms);
        return false;
    }
    return v->write.n != 0 || is_aged(v, task_at(v, v->fresh.head));
}

static void gather_puts(struct vent *v)
{
    if (v->now_ms < v->puts_after_ms)
        return;
    while (has_op_room(v)) {
        struct task *t;

        if (v->write.n != 0)
            t = take(v, &v->write);
        else if (v->fresh.n != 0 && is_aged(v, task_at(v, v->fresh.head)))
            t = take(v, &v->fresh);
        else
            return;
        if (!tell_of_group(v, t)) {
            paper_link_head(v, t, PAPER_WRITE);
            v->puts_after_ms = v->now_ms + v->cfg.journal_retry_ms;
            return;
        }
        add_put(v, t);
        v->flight_has_puts = true;
    }
}

static void gather_dirty(struct vent *v)
{
    while (has_op_room(v) && v->dirty.n != 0) {
        struct task *t = take(v, &v->dirty);

        if ((t->marks & TASK_TRANSFER) != 0 && !tell_of_group(v, t)) {
            paper_link_head(v, t, PAPER_DIRTY);
            return;
        }
        if ((t->flags & TASK_DIRTY) != 0)
            add_counters(v, t);
        if ((t->marks & TASK_TRANSFER) != 0)
            add_transfer(v, t);
        if ((t->flags & TASK_MOVE) != 0)
            add_move(v, t);
    }
}

static void gather_dead(struct vent *v)
{
    v->dead_dels_handed = 0;
    while (has_op_room(v) && v->dead_dels_handed < v->dead_dels_n) {
        const struct dead_del *d = &v->dead_dels[v->dead_dels_handed++];
        struct journal_op *op = add_lone_op(v, &d->id, JOURNAL_DEAD_DEL);

        op->at_wall_ms = v->map_full ? 0 : d->past_until_wall_ms;
    }
}

static void gather_keys(struct vent *v)
{
    if (!v->keys_forget_due || !has_op_room(v))
        return;
    v->keys_forget_due = false;
    vent_lone_op(v, JOURNAL_KEYS_FORGET)->at_wall_ms = v->wall_ms;
}

static void gather_pasts(struct vent *v)
{
    static const dtq_id of_none;

    if (!v->past_forget_due || !has_op_room(v))
        return;
    v->past_forget_due = false;
    add_lone_op(v, &of_none, JOURNAL_PAST_FORGET)->at_wall_ms = v->wall_ms;
}

static void gather_deletes(struct vent *v)
{
    while (has_op_room(v) && v->deletes.n != 0) {
        struct task *t = take(v, &v->deletes);

        if ((t->paper == PAPER_NONE || (t->marks & TASK_TRANSFER) != 0) && !tell_of_group(v, t)) {
            paper_link_head(v, t, PAPER_DELETES);
            return;
        }
        add_delete(v, t);
    }
}

/* R28: a number goes with all deletes that it caused, or later. */
static void gather_applied(struct vent *v)
{
    struct journal_batch *b = &v->batch;

    b->applied_n = 0;
    for (uint32_t i = 0; v->deletes.n == 0 && i < DTQI_SINKS_MAX; i++) {
        struct sink *s = &v->sinks[i];

        if (!s->used || s->removing || (s->applied == s->applied_durable && !s->rewound))
            continue;
        s->applied_handed = s->applied;
        if (s->rewound) {
            s->rewound = false;
            s->rewinding = true;
            s->asked = s->asks;
            s->asks = NONE;
        }
        b->applied[b->applied_n++] = (struct journal_applied){s->store, s->run, s->applied};
    }
}

/* In the order in which they changed: a queue is before its groups. */
static void gather_queues(struct vent *v)
{
    v->batch.queues_n = 0;
    while (v->changed.n != 0) {
        struct queue *q = &v->queues[v->changed.head];

        if (!tell_of_queue(v, q))
            return;
        q->is_changed = false;
        v->changed.head = q->changed_next;
        if (--v->changed.n == 0)
            v->changed.tail = NONE;
    }
    v->settings_due = false;
}

static void gather_peers(struct vent *v)
{
    struct journal_batch *b = &v->batch;

    b->sinks_n = 0;
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        const struct sink *s = &v->sinks[i];
        struct journal_sink *js = &b->sinks[b->sinks_n];

        if (!s->used || !s->dirty || s->removing)
            continue;
        *js = (struct journal_sink){.store = s->store};
        memcpy(js->intake, s->intake, sizeof js->intake);
        memcpy(js->results, s->results, sizeof js->results);
        b->sinks_n++;
    }
    b->sinks_n += vent_removals_gather(v, b->sinks + b->sinks_n, DTQI_SINKS_MAX);
    b->workers_n = v->roster_handed = 0;
    if (v->roster_n == 0)
        return;
    b->workers = malloc(v->roster_n * sizeof *b->workers);
    if (b->workers == NULL)
        return; /* with the next batch */
    memcpy(b->workers, v->roster, v->roster_n * sizeof *b->workers);
    b->workers_n = v->roster_handed = v->roster_n;
}

/* Settlements that were applied and are not durable yet: of the sink that is furthest ahead. */
static uint64_t applied_ahead(const struct vent *v)
{
    uint64_t most = 0;

    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        const struct sink *s = &v->sinks[i];

        if (s->used && s->applied - s->applied_durable > most)
            most = s->applied - s->applied_durable;
    }
    return most;
}

/* Is there anything but puts? */
static bool has_lazy(const struct vent *v)
{
    bool any = v->dirty.n != 0 || v->deletes.n != 0 || v->roster_n != 0 || v->settings_due ||
               v->dead_dels_n != 0 || v->cron_changed != NULL || v->keys_forget_due ||
               v->past_forget_due || v->mark_due || v->removals_due || applied_ahead(v) != 0;

    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        any |= v->sinks[i].used && (v->sinks[i].dirty || v->sinks[i].rewound);
    return any;
}

/* How full the store is, is known from the last answer. While nothing is admitted because of that,
 * nothing else might ask again. */
static bool is_look_due(struct vent *v)
{
    uint64_t at_ms = v->map_full_ms + v->cfg.journal_retry_ms;

    if (!v->map_full)
        return false;
    if (v->now_ms < at_ms)
        due_at(v, at_ms);
    return v->now_ms >= at_ms;
}

/* Is there something for the journal that does not wait for company any longer? */
static bool is_batch_due(struct vent *v)
{
    if (v->now_ms < v->batch_after_ms) {
        due_at(v, v->batch_after_ms);
        return false;
    }
    if (has_puts(v) || is_look_due(v))
        return true;
    if (v->lazy_ms == 0 || !has_lazy(v)) {
        v->lazy_ms = 0;
        return false;
    }
    if (v->urgent || v->stopping || v->now_ms >= v->lazy_ms + LAZY_MS ||
        v->dirty.n + v->deletes.n >= v->cfg.journal_ops_max / 4 ||
        applied_ahead(v) >= v->cfg.settle_window / 2)
        return true;
    due_at(v, v->lazy_ms + LAZY_MS);
    return false;
}

/* Space that came back is noticed by a put; without any left to try, the next one tries. */
static void retry_space(struct vent *v)
{
    if (!v->no_space)
        return;
    if (v->now_ms < v->puts_after_ms)
        due_at(v, v->puts_after_ms);
    else if (v->write.n == 0 && v->fresh.n == 0)
        v->no_space = false;
}

void vent_journal_tick(struct vent *v)
{
    struct vent_action *a;

    if (v->flight != NULL)
        return;
    retry_space(v);
    if (!is_batch_due(v))
        return;
    a = vent_act(v, VENT_JOURNAL_WRITE);
    if (a == NULL) {
        due_at(v, v->now_ms + 1);
        return;
    }
    v->batch.ops_n = 0;
    v->flight_has_puts = false;
    gather_queues(v);
    if (v->changed.n != 0) { /* no memory: no put may go before them */
        v->puts_after_ms = v->now_ms + v->cfg.journal_retry_ms;
    }
    vent_crons_gather(v); /* before their runs, which may come with the deletes */
    gather_deletes(v);
    gather_dead(v);
    gather_keys(v);
    gather_pasts(v);
    gather_dirty(v);
    gather_puts(v);
    gather_applied(v);
    gather_peers(v);
    v->mark_due = false;
    v->urgent = false;
    v->lazy_ms = 0;
    if (v->dirty.n != 0 || v->deletes.n != 0 || v->settings_due ||
        v->dead_dels_handed < v->dead_dels_n || v->cron_changed != NULL)
        vent_lazy(v);
    v->batch.number = ++v->batches;
    v->batch.err = DTQ_OK;
    v->batch.present_n = 0;
    v->flight = a->batch = &v->batch;
    v->counters.journal_batches++;
}

/* ---------------------------------------------------------------- the answer */

/* Settled while it was written: the journal is to forget it. */
static void ended(struct vent *v, struct task *t)
{
    if (t->paper_list == PAPER_NOWHERE)
        vent_paper_end(v, t);
}

static bool is_waiting(const struct task *t)
{
    return t->state == TASK_READY || t->state == TASK_PARKED || t->state == TASK_SCHEDULED;
}

/* The older record is to take the place of this one; until it is here, or without memory for it,
 * this one goes on in its name. */
static void recover_instead(struct vent *v, const struct task *t)
{
    struct vent_read *r = vent_read_new(v, READ_RECOVER, JOURNAL_LOOKUP, &t->id, 1);

    if (r == NULL)
        return;
    r->read.bodies = true;
    vent_read_send(v, r);
}

/* Somebody waits for it. */
static bool is_mark(const struct journal_counters *c)
{
    return c->cancel != 0 || c->proposed != 0;
}

/*
 * The id was in the journal already, and not in memory (R6): an attempt that is under way goes on
 * in the name of the older record, else that one stands as it is.
 */
static void put_was_present(struct vent *v, struct task *t)
{
    struct queue *q = queue_of(v, t);

    v->counters.tasks_duplicate++;
    t->paper = PAPER_WRITTEN;
    t->flags |= TASK_NO_KEY;
    vent_confirm(v, t);
    if (t->state == TASK_GONE)
        return;
    vent_queue_take(v, q, task_bytes(v, t), (t->flags & TASK_DELAYED) != 0);
    if (is_waiting(t))
        recover_instead(v, t);
}

static void counters_written(struct vent *v, struct task *t, const struct journal_op *op)
{
    if (t->state == TASK_MARKING && (t->flags & TASK_CANCEL) == 0 &&
        op->task.counters.proposed == DTQ_FAILED)
        vent_propose(v, t, DTQ_FAILED);
    if (op->task.counters.cancel == 0 || (t->flags & TASK_MARKED) != 0)
        return;
    vent_cancel_flag(v, t, TASK_MARKED);
    vent_cancel_marked(v, t);
}

/* It waits, and may for long. Its neighbours leave memory before it, or after it (R41): each would
 * keep the whole message that they came in, when priorities are mixed. */
static void leave_batch(struct task *t)
{
    bool stays = t->state == TASK_READY || t->state == TASK_SCHEDULED;

    if (stays && t->buf != NULL && 2ull * t->body_len < t->buf->total)
        vent_task_own_body(t);
}

static void put_written(struct vent *v, struct task *t, const struct journal_op *op, bool present)
{
    transferred(v, t, present ? queue_of(v, t)->number : op->task.key.queue);
    if (present) {
        put_was_present(v, t);
        t->flags |= is_mark(&op->task.counters) ? TASK_DIRTY : 0; /* it was not written */
    } else {
        v->counters.journal_written++;
        t->paper = PAPER_WRITTEN;
        vent_confirm(v, t);
        counters_written(v, t, op);
        leave_batch(t);
    }
    if ((t->marks & TASK_CRON) != 0)
        vent_cron_fired(v, t);
    if (t->state != TASK_GONE)
        return;
    if ((t->flags & TASK_IN_BATCH) == 0)
        ended(v, t); /* else an op that follows in this batch ends it */
}

static void moved(struct vent *v, struct task *t, const struct journal_op *op)
{
    struct past *p = past_of(v, t);
    bool was_delayed = (t->flags & TASK_DELAYED) != 0;

    vent_queue_delayed_here(v, t, (enum task_state)t->state, TASK_FREE);
    t->flags &= (uint16_t) ~(TASK_IN_BATCH | TASK_DELAYED);
    if (op->to.delayed) {
        assert(p != NULL);
        t->flags |= TASK_DELAYED;
        p->key_due_wall_ms = op->to.due_wall_ms;
    }
    vent_queue_delayed_here(v, t, TASK_FREE, (enum task_state)t->state);
    if (op->to.delayed != was_delayed)
        vent_queue_delayed(v, queue_of(v, t), op->to.delayed);
}

/* Settled while it was not in memory: only the journal knew whose it was. */
static void ghost_deleted(struct vent *v, const struct journal_op *op)
{
    struct queue *q = vent_queue_of_number(v, op->task.key.queue);

    if (q == NULL)
        return; /* it was not there */
    vent_queue_take(v, q, op->bytes, op->task.key.delayed);
    vent_queue_unuse(v, (uint32_t)(q - v->queues));
}

/* What else its record needs, now that this much is on the disk. */
static void go_on(struct vent *v, struct task *t)
{
    if (t->state == TASK_GONE) {
        ended(v, t);
        return;
    }
    if (((t->flags & (TASK_DIRTY | TASK_MOVE)) != 0 || (t->marks & TASK_TRANSFER) != 0) &&
        t->paper == PAPER_WRITTEN && t->paper_list == PAPER_NOWHERE) {
        paper_link(v, t, PAPER_DIRTY);
        vent_lazy(v);
    }
    if (t->state == TASK_PARKED || t->state == TASK_SCHEDULED)
        vent_unpark(v, t);
}

static void op_written(struct vent *v, const struct journal_op *op, struct task *t, bool present)
{
    switch (op->type) {
    case JOURNAL_PUT: put_written(v, t, op, present); break;
    case JOURNAL_DEL:
    case JOURNAL_DEAD:
        v->counters.journal_deleted++;
        if (t->spec == v->ghost)
            ghost_deleted(v, op);
        vent_task_free(v, t);
        return;
    case JOURNAL_COUNTERS:
        t->flags &= (uint16_t)~TASK_IN_BATCH;
        counters_written(v, t, op);
        break;
    case JOURNAL_MOVE: moved(v, t, op); break;
    case JOURNAL_TRANSFER:
        t->flags &= (uint16_t)~TASK_IN_BATCH;
        transferred(v, t, op->to.queue);
        break;
    case JOURNAL_ATTEMPT_LOG: notes_are(v, t, NOTE_LOGGED); return;
    case JOURNAL_KEY:
        if ((t->marks & TASK_KEYED) != 0)
            vent_key_remove(v, t); /* it is found in the journal from now on */
        return;
    case JOURNAL_KEYS_FORGET:
    case JOURNAL_PAST_FORGET:
    case JOURNAL_CRON_PUT:
    case JOURNAL_CRON_STATE:
    case JOURNAL_CRON_DEL:
    case JOURNAL_DEAD_DEL: return;
    }
    if (t->state != TASK_FREE && t->state != TASK_GONE)
        go_on(v, t);
    else if (t->state == TASK_GONE && op->type != JOURNAL_PUT)
        ended(v, t);
}

/* An op of a record that an op before it in the batch has freed is over. */
static struct task *task_of_op(const struct vent *v, const struct journal_batch *b, uint32_t i)
{
    struct task *t = v->batch_tasks[i] != NONE ? task_at(v, v->batch_tasks[i]) : NULL;

    return t != NULL && t->state != TASK_FREE && dtqi_id_eq(&b->ops[i].task.id, &t->id) ? t : NULL;
}

/* What is deleted leaves the table, and so does what is written behind the window. */
DTQI_EXPECTS expect_op(const struct vent *v, const struct journal_batch *b, uint32_t i)
{
    if (i >= b->ops_n || v->batch_tasks[i] == NONE)
        return;
    vent_record_expect(v, v->batch_tasks[i]);
    vent_task_expect(v, &b->ops[i].task.id);
}

static void ops_written(struct vent *v, const struct journal_batch *b)
{
    uint32_t present = 0;

    for (uint32_t i = 0; i < b->ops_n; i++) {
        struct task *t;
        bool is_present = present < b->present_n && b->present[present] == i;

        expect_op(v, b, i + DTQI_IDMAP_AHEAD);
        t = task_of_op(v, b, i);
        present += is_present;
        if (t != NULL)
            op_written(v, &b->ops[i], t, is_present);
    }
}

static void dead_written(struct vent *v)
{
    uint32_t n = v->dead_dels_handed;

    if (n == 0)
        return;
    v->dead_dels_n -= n;
    v->dead_dels_done += n;
    memmove(v->dead_dels, v->dead_dels + n, v->dead_dels_n * sizeof *v->dead_dels);
}

static void peers_written(struct vent *v, const struct journal_batch *b)
{
    for (uint32_t i = 0; i < b->applied_n; i++) {
        struct sink *s = &v->sinks[vent_sink_find(v, &b->applied[i].sink)];

        s->applied_durable = s->applied_handed;
        vent_sink_acknowledge(v, s);
    }
    for (uint32_t i = 0; i < b->sinks_n; i++) {
        struct sink *s;

        if (b->sinks[i].removed) {
            vent_removal_written(v, &b->sinks[i]);
            continue;
        }
        s = &v->sinks[vent_sink_find(v, &b->sinks[i].store)];
        s->dirty = strcmp(s->intake, b->sinks[i].intake) != 0 ||
                   strcmp(s->results, b->sinks[i].results) != 0;
        v->sinks_changed |= !s->is_durable;
        s->is_durable = true;
    }
    if (b->sinks_n != 0)
        vent_removals_written(v);
    v->roster_n -= v->roster_handed;
    if (v->roster_n != 0)
        memmove(v->roster, v->roster + v->roster_handed, v->roster_n * sizeof *v->roster);
}

/* Who waits for what a batch told is told in turn; after a failure he goes on waiting. */
static void answer_asked(struct vent *v, uint32_t *asked, uint32_t *asks, dtq_err err)
{
    uint32_t *waits = asked;
    uint32_t wait;

    if (err != DTQ_OK) {
        while (*waits != NONE)
            waits = &v->links[*waits].next;
        *waits = *asks;
        *asks = *asked;
        *asked = NONE;
        v->urgent = true;
        return;
    }
    while ((wait = vent_link_take(v, asked)) != NONE)
        vent_wait_release(v, wait);
}

/* .. for the settings of a queue. */
static void queues_answered(struct vent *v, const struct journal_batch *b)
{
    for (uint32_t i = 0; i < b->queues_n; i++) {
        struct queue *q = &v->queues[v->batch_queues[i]];

        q->is_handed = false;
        answer_asked(v, &q->asked, &q->asks, b->err);
        if (b->err != DTQ_OK) {
            vent_group_kept(q);
            vent_queue_changed(v, q);
        } else if (q->is_gone) {
            vent_group_forgotten(v, q, b->queues[i].gone);
        } else if (q->parent != NONE) {
            vent_group_unuse(v, q);
        }
    }
}

/* .. for one to be removed; whoever asked for it again meanwhile, too. */
static void removals_answered(struct vent *v, const struct journal_batch *b)
{
    for (uint32_t i = 0; i < v->removals_n; i++) {
        struct removal *r = &v->removals[i];
        uint32_t wait;

        v->removals_due |= vent_removal_is_due(r);
        if (r->asked != NONE)
            answer_asked(v, &r->asked, &r->asks, b->err);
        while (r->is_durable && (wait = vent_link_take(v, &r->asks)) != NONE)
            vent_wait_release(v, wait);
    }
    if (v->removals_due)
        vent_lazy(v);
}

/* .. for a sink to be accepted. */
static void sinks_answered(struct vent *v, const struct journal_batch *b)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        struct sink *s = &v->sinks[i];

        if (!s->rewinding)
            continue;
        s->rewinding = false;
        s->rewound |= b->err != DTQ_OK;
        answer_asked(v, &s->asked, &s->asks, b->err);
    }
}

/* ---------------------------------------------------------------- a failed batch */

/* Nothing of it is durable: each thing goes back to the head of what it was taken from. Called from
 * the last op to the first. */
static void op_failed(struct vent *v, const struct journal_op *op, struct task *t)
{
    enum paper_list back = PAPER_NOWHERE;

    switch (op->type) {
    case JOURNAL_PUT:
        t->paper = PAPER_NONE;
        t->flags |= op->task.counters.cancel != 0 || op->task.counters.last.n != 0 ? TASK_DIRTY : 0;
        if (t->state != TASK_GONE) {
            back = PAPER_WRITE;
        } else if (is_written_anyway(t) || vent_has_new_notes(v, t)) {
            back = PAPER_DELETES;
        } else {
            vent_task_free(v, t);
            return;
        }
        break;
    case JOURNAL_DEL:
    case JOURNAL_DEAD:
        back = PAPER_DELETES;
        t->paper = t->paper == PAPER_HANDED ? PAPER_NONE : t->paper;
        break;
    case JOURNAL_COUNTERS:
        t->flags |= TASK_DIRTY;
        v->urgent |= is_mark(&op->task.counters);
        break;
    case JOURNAL_MOVE: t->flags |= TASK_MOVE; break;
    case JOURNAL_TRANSFER: v->urgent = true; break; /* it has its mark still */
    case JOURNAL_ATTEMPT_LOG: notes_are(v, t, NOTE_NEW); return;
    case JOURNAL_KEY:
    case JOURNAL_KEYS_FORGET:
    case JOURNAL_PAST_FORGET:
    case JOURNAL_CRON_PUT:
    case JOURNAL_CRON_STATE:
    case JOURNAL_CRON_DEL:
    case JOURNAL_DEAD_DEL: return;
    }
    t->flags &= (uint16_t)~TASK_IN_BATCH;
    if (back == PAPER_NOWHERE && t->paper == PAPER_WRITTEN)
        back = t->state == TASK_GONE ? PAPER_DELETES : PAPER_DIRTY;
    if (back != PAPER_NOWHERE && t->paper_list == PAPER_NOWHERE)
        paper_link_head(v, t, back);
}

static const char *why_failed(dtq_err err)
{
    if (err == DTQ_ENOSPC)
        return "the disk is full";
    return err == DTQ_ENOMEM ? "out of memory" : "the disk failed";
}

static void batch_failed(struct vent *v, const struct journal_batch *b)
{
    v->counters.journal_errors++;
    VENT_LOG(v, VENT_ERROR, "journal_failed", L_TEXT("why", why_failed(b->err)),
             L_U64("ops", b->ops_n), L_U64("space_used", b->space_used),
             L_U64("space_max", b->space_max));
    if (b->err != DTQ_ENOSPC && b->err != DTQ_ENOMEM) {
        vent_fatal(v, "the journal could not be written: nothing more may be confirmed");
        return;
    }
    if (v->flight_has_puts) { /* deletes and counters may still fit: they go on without puts */
        v->puts_after_ms = v->now_ms + v->cfg.journal_retry_ms;
        v->no_space = b->err == DTQ_ENOSPC;
    } else {
        v->batch_after_ms = v->now_ms + v->cfg.journal_retry_ms;
    }
    for (uint32_t i = b->ops_n; i > 0; i--) {
        struct task *t = task_of_op(v, b, i - 1);

        if (t != NULL)
            op_failed(v, &b->ops[i - 1], t);
    }
    vent_lazy(v);
}

void vent_on_written(struct vent *v, struct journal_batch *b)
{
    assert(b == v->flight);
    v->flight = NULL;
    v->map_full = b->space_max != 0 && b->space_used / BACKLOG_PERCENT >= b->space_max / 100;
    v->map_full_ms = v->now_ms;
    if (b->err != DTQ_OK) {
        batch_failed(v, b);
    } else {
        if (v->flight_has_puts)
            v->no_space = false;
        ops_written(v, b);
        dead_written(v);
        v->keys_n = b->keys_n;
        v->past_n = b->past_n;
        peers_written(v, b);
    }
    queues_answered(v, b);
    sinks_answered(v, b);
    removals_answered(v, b);
    vent_crons_answered(v, b->err);
    free(b->workers);
    b->workers = NULL;
    dtqi_buf_unref(v->flight_texts);
    v->flight_texts = NULL;
}

/* ---------------------------------------------------------------- reads */

struct vent_read *vent_read_new(struct vent *v, enum read_kind kind, enum journal_read_type type,
                                const dtq_id *ids, uint32_t ids_n)
{
    struct vent_read *r = calloc(1, sizeof *r + ids_n * sizeof *ids);

    if (r == NULL) {
        v->counters.messages_dropped++;
        return NULL;
    }
    r->kind = (uint8_t)kind;
    r->read.type = type;
    r->read.number = ++v->read_numbers;
    r->read.ids = (dtq_id *)(void *)(r + 1);
    r->read.ids_n = ids_n;
    if (ids_n != 0)
        memcpy(r->read.ids, ids, ids_n * sizeof *ids);
    r->next = v->reads;
    if (r->next != NULL)
        r->next->prev = r;
    v->reads = r;
    v->reads_n++;
    return r;
}

void vent_read_free(struct vent *v, struct vent_read *r)
{
    if (r->prev != NULL)
        r->prev->next = r->next;
    else
        v->reads = r->next;
    if (r->next != NULL)
        r->next->prev = r->prev;
    v->reads_n--;
    dtqi_buf_unref(r->read.buf);
    dtqi_buf_unref(r->keys);
    free(r->query);
    free(r);
}

/* Without memory for the action it is answered as if the journal had none. */
void vent_read_send(struct vent *v, struct vent_read *r)
{
    struct vent_action *a = vent_act(v, VENT_JOURNAL_READ);

    r->out = true;
    if (a != NULL) {
        a->read = &r->read;
        return;
    }
    r->read.err = DTQ_ENOMEM;
    vent_on_read_done(v, &r->read);
}

static void replace(struct vent *v, const struct journal_read *a)
{
    struct task *t =
        a->err == DTQ_OK && a->tasks_n != 0 ? vent_task_find(v, &a->tasks[0].id) : NULL;

    if (t == NULL || !is_waiting(t) || !vent_is_clean(t) || t->wait != NONE ||
        (t->flags & TASK_NO_KEY) == 0)
        return; /* settled, or under way, since */
    vent_task_free(v, t);
    vent_bring_back(v, &a->tasks[0], a->buf);
}

void vent_on_read_done(struct vent *v, struct journal_read *a)
{
    struct vent_read *r = (struct vent_read *)(void *)a;

    assert(r->out);
    r->out = false;
    if ((a->err == DTQ_EIO || a->err == DTQ_ECORRUPT) && r->kind != READ_QUERY) {
        VENT_LOG(v, VENT_ERROR, "journal_unreadable", L_U64("err", (uint64_t)a->err));
        vent_fatal(v, "the journal could not be read; see dtq store check");
    }
    switch ((enum read_kind)r->kind) {
    case READ_LOAD: vent_loaded(v, r); break;
    case READ_DUE: vent_due_loaded(v, r); break;
    case READ_CLAIM: vent_claim_looked_up(v, r); break;
    case READ_KEYS: vent_keys_looked_up(v, r); break;
    case READ_CANCEL: vent_cancel_looked_up(v, r); break;
    case READ_RECOVER: replace(v, a); break;
    case READ_QUERY: vent_query_read(v, r); break;
    case READ_PURGE: vent_purge_read(v, r); break;
    case READ_DEAD_JOB: vent_dead_job_read(v, r); break;
    case READ_DEAD_SWEEP: vent_dead_sweep_read(v, r); break;
    case READ_MOVE: vent_move_read(v, r); break;
    case READ_CRON: vent_cron_looked_up(v, r); break;
    case READ_HOLDINGS: vent_holdings_looked_up(v, r); return; /* it keeps the answer */
    }
    vent_read_free(v, r);
}
