/*
 * QUERY: what operators ask. Open tasks are in memory, in the journal, or in both; a page of them
 * is a page of the journal in the order of ids, with those put between that the journal has not
 * been given yet. What memory knows of a task is newer than what the journal says.
 */
#include "vent_internal.h"

#define QUERY_TASKS_MAX 1000u
#define QUERY_TASKS_DEFAULT 100u
#define OLDEST_VISITS 10000u                      /* groups that are asked for their oldest task */
#define QUERY_BODIES_MAX 64u                      /* dead letters of a page with payloads .. */
#define QUERY_BODIES_BYTES_MAX (2u * 1024 * 1024) /* .. and their bytes, but for the last one */

struct page_of_tasks {
    struct dtqi_task_info *at;
    uint32_t n;
    uint32_t room;
};

/* It waits for a worker no more, but what becomes of it is for its sink to say. */
static bool is_ending(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);

    return (t->flags & TASK_CANCEL) != 0 || vent_is_purged(v, queue_of(v, t), t) ||
           (p != NULL && p->counters.proposed != 0);
}

/* When the time of one that is held after a start comes; 0: it has come. */
static uint64_t held_due_wall_ms(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);

    return p != NULL && !vent_is_due(v, p->counters.due_wall_ms) ? p->counters.due_wall_ms : 0;
}

dtq_state vent_public_state(const struct vent *v, const struct task *t)
{
    switch ((enum task_state)t->state) {
    case TASK_HELD:
        if (is_ending(v, t))
            return DTQ_DISPATCHED;
        return held_due_wall_ms(v, t) != 0 ? DTQ_SCHEDULED : DTQ_READY;
    case TASK_CLAIMED:
    case TASK_READY:
    case TASK_PARKED: return DTQ_READY;
    case TASK_SCHEDULED: return DTQ_SCHEDULED;
    case TASK_LEASED:
    case TASK_STOPPING: return t->flags & TASK_RUNNING ? DTQ_RUNNING : DTQ_DISPATCHED;
    case TASK_DONE:
    case TASK_DEADWAIT:
    case TASK_MARKING:
    case TASK_PROPOSED: return DTQ_DISPATCHED;
    case TASK_FREE:
    case TASK_GONE:
    case TASK_STATES: return DTQ_NOT_FOUND;
    }
    return DTQ_NOT_FOUND;
}

/* ---------------------------------------------------------------- one task */

static struct dtqi_str holder_name(const struct vent *v, const struct task *t)
{
    const struct worker *w;

    if (t->state != TASK_LEASED && t->state != TASK_STOPPING && t->state != TASK_DONE)
        return dtqi_str("");
    w = &v->workers[t->worker];
    return (struct dtqi_str){w->name, w->name_len};
}

static uint64_t due_wall_ms(const struct vent *v, const struct task *t)
{
    uint64_t at_ms = t->state == TASK_SCHEDULED ? t->since_ms : 0;

    if (t->state == TASK_HELD && vent_public_state(v, t) == DTQ_SCHEDULED)
        at_ms = held_due_wall_ms(v, t);
    return at_ms != 0 ? vent_due_host_wall_ms(v, at_ms) : 0;
}

static void fill_resident(struct vent *v, const struct task *t, struct dtqi_task_info *info)
{
    const struct past *p = past_of(v, t);

    *info = (struct dtqi_task_info){
        .id = t->id,
        .spec = spec_of(v, t)->spec,
        .state = vent_public_state(v, t),
        .attempt = t->attempt,
        .worker = holder_name(v, t),
        .due_wall_ms = due_wall_ms(v, t),
        .payload_bytes = t->body_len,
        .sink = v->sinks[t->sink].store,
        .why = dtqi_str(vent_why(v, t)),
        .cancelling = (t->flags & TASK_CANCEL) != 0 || vent_is_purged(v, queue_of(v, t), t),
        .durable = t->paper == PAPER_WRITTEN,
    };
    if (p == NULL)
        return;
    info->failures = p->counters.failures;
    info->crashes = p->counters.crashes;
}

/* The answer of the journal is gone when the actions are executed: what is told of it is copied. */
static struct dtqi_slice keep_bytes(struct vent *v, struct dtqi_slice bytes)
{
    void *copy = vent_scratch(v, bytes.len, 1);

    if (copy == NULL || bytes.len == 0)
        return (struct dtqi_slice){0};
    memcpy(copy, bytes.at, bytes.len);
    return (struct dtqi_slice){copy, bytes.len};
}

/* What only the journal has of a task that is not over, or is over but for the sink's word. */
static dtq_state journaled_state(const struct journal_task *jt, bool is_cancelled, bool is_due)
{
    if (is_cancelled || jt->counters.proposed != 0)
        return DTQ_DISPATCHED;
    return is_due ? DTQ_READY : DTQ_SCHEDULED;
}

static const char *why_journaled(struct vent *v, const struct journal_task *jt, bool is_cancelled,
                                 bool is_due)
{
    if (is_cancelled)
        return "cancelled: it is not in memory yet, to be proposed to its sink";
    if (jt->counters.proposed != 0)
        return "its outcome is known: it is not in memory yet, to be proposed again";
    return is_due ? vent_why_journaled(v, jt->key.queue) : "its time has not come";
}

static void fill_journaled(struct vent *v, const struct journal_task *jt,
                           struct dtqi_task_info *info)
{
    uint64_t due = jt->key.delayed ? jt->key.due_wall_ms : jt->counters.due_wall_ms;
    const struct queue *q = vent_queue_of_number(v, jt->key.queue);
    bool is_cancelled =
        jt->counters.cancel != 0 || (q != NULL && jt->key.seq < head_of(v, q)->settings.purge_seq);
    bool is_due = vent_is_due(v, due);
    dtq_state state = journaled_state(jt, is_cancelled, is_due);

    *info = (struct dtqi_task_info){
        .id = jt->id,
        .spec.raw = keep_bytes(v, jt->spec),
        .state = state,
        .attempt = jt->counters.last.n,
        .failures = jt->counters.failures,
        .crashes = jt->counters.crashes,
        .due_wall_ms = state == DTQ_SCHEDULED ? vent_due_host_wall_ms(v, due) : 0,
        .payload_bytes = jt->body.len,
        .sink = *vent_store_now(v, &jt->sink),
        .why = dtqi_str(why_journaled(v, jt, is_cancelled, is_due)),
        .cancelling = is_cancelled,
        .durable = true,
    };
    if (info->spec.raw.at == NULL)
        info->state = DTQ_NOT_FOUND; /* no memory: it is left out */
}

/* A dead letter. Attempts and payload go with few of them only: a page must fit into a frame. */
static void fill_dead(struct vent *v, const struct journal_task *jt, bool bodies,
                      struct dtqi_task_info *info)
{
    *info = (struct dtqi_task_info){
        .id = jt->id,
        .spec.raw = keep_bytes(v, jt->spec),
        .state = DTQ_FAILED,
        .attempt = jt->counters.last.n,
        .failures = jt->counters.failures,
        .crashes = jt->counters.crashes,
        .payload_bytes = jt->body.len,
        .sink = jt->sink,
        .durable = true,
        .dead_wall_ms = vent_host_wall_ms(v, jt->dead_wall_ms),
        .reason = (dtq_reason)jt->counters.reason,
        .code = jt->counters.code,
        .error = vent_copy_str(v, (struct dtqi_str){jt->text.at, jt->text.len}),
    };
    if (bodies) {
        info->payload = keep_bytes(v, jt->body);
        vent_notes_fill(v, jt->history, NULL, info);
    }
    if (info->spec.raw.at == NULL)
        info->state = DTQ_NOT_FOUND; /* no memory: it is left out */
}

/* ---------------------------------------------------------------- pages */

static bool begins_with(const dtq_id *id, const dtq_id *prefix, uint32_t bits)
{
    uint32_t bytes = bits / 8;

    if (memcmp(id->bytes, prefix->bytes, bytes) != 0)
        return false;
    return bits % 8 == 0 || (id->bytes[bytes] ^ prefix->bytes[bytes]) >> (8 - bits % 8) == 0;
}

static bool is_wanted(const struct query *q, const struct dtqi_task_info *info)
{
    if (info->state == DTQ_NOT_FOUND)
        return false;
    return q->q.state == DTQ_NOT_FOUND || q->q.state == (uint32_t)info->state;
}

static void add(struct page_of_tasks *page, const struct query *q,
                const struct dtqi_task_info *info)
{
    if (page->n < page->room && is_wanted(q, info))
        page->at[page->n++] = *info;
}

struct span {            /* ids behind `after`, up to `until` */
    const dtq_id *after; /* NULL: from the first */
    const dtq_id *until; /* NULL: to the last */
};

static bool is_in_span(const struct span *s, const dtq_id *id)
{
    return (s->after == NULL || memcmp(id, s->after, sizeof *id) > 0) &&
           (s->until == NULL || memcmp(id, s->until, sizeof *id) <= 0);
}

/* It walks lists: for one task of a question, not for a page of them. */
static void explain_resident(const struct vent *v, const struct dtqi_query *q, const struct task *t,
                             struct dtqi_task_info *info)
{
    if (q->explain && q->prefix_bits == 128)
        vent_explain(v, t, info);
}

static void add_unwritten(struct vent *v, struct page_of_tasks *page, const struct query *q,
                          const struct span *span, const struct task *t)
{
    struct dtqi_task_info info;

    if (!is_in_span(span, &t->id) || !begins_with(&t->id, &q->q.prefix, q->q.prefix_bits))
        return;
    if (q->q.queue.len != 0 && !dtqi_str_eq(q->q.queue, spec_of(v, t)->spec.queue))
        return;
    fill_resident(v, t, &info);
    explain_resident(v, &q->q, t, &info);
    if (q->q.kind == DTQI_QUERY_TASK)
        vent_notes_fill(v, (struct dtqi_slice){NULL, 0}, past_of(v, t), &info);
    add(page, q, &info);
}

/* What the journal cannot have answered with: tasks that it was not given, or was given after it
 * was asked. */
static void add_all_unwritten(struct vent *v, struct page_of_tasks *page, const struct query *q,
                              const struct span *span)
{
    for (uint32_t i = v->fresh.head; i != NONE; i = task_at(v, i)->paper_next)
        add_unwritten(v, page, q, span, task_at(v, i));
    for (uint32_t i = v->write.head; i != NONE; i = task_at(v, i)->paper_next)
        add_unwritten(v, page, q, span, task_at(v, i));
    for (uint32_t i = 0; v->flight != NULL && i < v->flight->ops_n; i++)
        if (v->flight->ops[i].type == JOURNAL_PUT && v->batch_tasks[i] != NONE)
            add_unwritten(v, page, q, span, task_at(v, v->batch_tasks[i]));
}

static void add_journaled(struct vent *v, struct page_of_tasks *page, const struct query *q,
                          const struct journal_task *jt)
{
    struct dtqi_task_info info;
    const struct task *t = vent_task_find(v, &jt->id);

    if (t != NULL && t->paper == PAPER_WRITTEN)
        fill_resident(v, t, &info);
    else if (t == NULL)
        fill_journaled(v, jt, &info);
    else
        return; /* it is among the unwritten */
    if (t == NULL && q->q.explain)
        vent_explain_journaled(v, jt->key.queue, &info);
    else if (t != NULL)
        explain_resident(v, &q->q, t, &info);
    if (q->q.kind == DTQI_QUERY_TASK)
        vent_notes_fill(v, jt->history, t != NULL ? past_of(v, t) : NULL, &info);
    add(page, q, &info);
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(&((const struct dtqi_task_info *)a)->id, &((const struct dtqi_task_info *)b)->id,
                  sizeof(dtq_id));
}

/* Sorted, each id once, at most `limit`. @return true: some were cut off. */
static bool finish_page(struct page_of_tasks *page, uint32_t limit)
{
    uint32_t kept = 0;

    if (page->n > 1)
        qsort(page->at, page->n, sizeof *page->at, compare_ids);
    for (uint32_t i = 0; i < page->n; i++)
        if (i == 0 || compare_ids(&page->at[i - 1], &page->at[i]) != 0)
            page->at[kept++] = page->at[i];
    page->n = kept < limit ? kept : limit;
    return kept > limit;
}

static void set_next(struct vent *v, struct dtqi_query_reply *reply, const dtq_id *id)
{
    dtq_id *next = vent_scratch(v, 1, sizeof *next);

    if (next == NULL)
        return;
    *next = *id;
    reply->next = (struct dtqi_slice){next, sizeof *next};
}

static uint32_t limit_of(const struct dtqi_query *q)
{
    uint32_t max = q->kind == DTQI_QUERY_DEAD && q->bodies ? QUERY_BODIES_MAX : QUERY_TASKS_MAX;

    if (q->limit == 0 && QUERY_TASKS_DEFAULT < max)
        return QUERY_TASKS_DEFAULT;
    return q->limit != 0 && q->limit < max ? q->limit : max;
}

static void refuse(struct vent *v, uint32_t route, uint64_t request, enum dtqi_refusal reason,
                   const char *text)
{
    struct dtqi_msg *m = vent_send(v, route, DTQI_QUERY_REPLY);

    if (m != NULL)
        m->query_reply =
            (struct dtqi_query_reply){.request = request, .reason = reason, .text = dtqi_str(text)};
}

static void refuse_unread(struct vent *v, const struct query *q, dtq_err err)
{
    refuse(v, q->route, q->q.request, DTQI_BUSY,
           err == DTQ_ECORRUPT ? "the journal is damaged" : "the journal could not be read");
}

/* Only the journal knows them. */
static void add_dead(struct vent *v, struct page_of_tasks *page, const struct query *q,
                     const struct journal_read *a)
{
    uint32_t queue = q->q.queue.len != 0 ? vent_queue_find(v, q->q.queue) : NONE;

    for (uint32_t i = 0; i < a->tasks_n; i++) {
        struct dtqi_task_info info;

        if (queue != NONE && a->tasks[i].key.queue != v->queues[queue].number)
            continue;
        if (vent_dead_is_aged(v, &a->tasks[i]))
            continue;
        fill_dead(v, &a->tasks[i], q->q.bodies, &info);
        add(page, q, &info);
    }
}

static void add_open(struct vent *v, struct page_of_tasks *page, const struct query *q,
                     const struct journal_read *a)
{
    struct span span = {q->has_after ? &q->after : NULL, a->end ? NULL : &a->last};

    for (uint32_t i = 0; i < a->tasks_n; i++)
        add_journaled(v, page, q, &a->tasks[i]);
    add_all_unwritten(v, page, q, &span);
}

static void answer_attempts(struct vent *v, const struct query *q, const struct journal_read *a)
{
    const struct task *t = vent_task_find(v, &q->q.prefix);
    struct dtqi_slice history = {NULL, 0};
    struct dtqi_task_info info = {0};
    struct dtqi_msg *m;

    if (a->err != DTQ_OK) {
        refuse_unread(v, q, a->err);
        return;
    }
    if (a->tasks_n != 0)
        history = a->tasks[0].history;
    vent_notes_fill(v, history, t != NULL ? past_of(v, t) : NULL, &info);
    m = vent_send(v, q->route, DTQI_QUERY_REPLY);
    if (m != NULL)
        m->query_reply = (struct dtqi_query_reply){
            .request = q->q.request, .attempts = info.attempts, .attempts_n = info.attempts_n};
}

void vent_query_read(struct vent *v, struct vent_read *r)
{
    const struct journal_read *a = &r->read;
    const struct query *q = r->query;
    uint32_t limit = limit_of(&q->q);
    uint32_t unwritten = v->fresh.n + v->write.n + (v->flight != NULL ? v->flight->ops_n : 0);
    struct page_of_tasks page = {.room = a->tasks_n + unwritten};
    struct dtqi_query_reply *reply;
    struct dtqi_msg *m;
    bool cut;

    v->queries_n--;
    if (q->q.kind == DTQI_QUERY_ATTEMPTS) {
        answer_attempts(v, q, a);
        return;
    }
    page.at = vent_scratch(v, page.room, sizeof *page.at);
    if (a->err != DTQ_OK || page.at == NULL) {
        refuse_unread(v, q, a->err);
        return;
    }
    if (q->q.kind == DTQI_QUERY_DEAD)
        add_dead(v, &page, q, a);
    else
        add_open(v, &page, q, a);
    cut = finish_page(&page, limit);
    m = vent_send(v, q->route, DTQI_QUERY_REPLY);
    if (m == NULL)
        return;
    reply = &m->query_reply;
    *reply =
        (struct dtqi_query_reply){.request = q->q.request, .tasks = page.at, .tasks_n = page.n};
    if (cut)
        set_next(v, reply, &page.at[page.n - 1].id);
    else if (!a->end)
        set_next(v, reply, &a->last);
}

/* ---------------------------------------------------------------- questions about tasks */

static struct query *copy_query(uint32_t route, const struct dtqi_query *m)
{
    struct query *q = calloc(1, sizeof *q);

    if (q == NULL)
        return NULL;
    q->route = route;
    q->q = *m;
    if (m->queue.len != 0)
        memcpy(q->queue_name, m->queue.at,
               m->queue.len); /* a name: the codec has seen to its length */
    q->q.queue.at = q->queue_name;
    q->has_after = m->after.len == sizeof q->after;
    if (q->has_after)
        memcpy(&q->after, m->after.at, sizeof q->after);
    q->q.after = (struct dtqi_slice){0};
    return q;
}

/* Some of its attempts may be in the journal only. */
static bool has_history(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);

    return t->paper != PAPER_NONE && p != NULL &&
           (p->counters.failures != 0 || p->counters.crashes != 0);
}

/* A full id that is in memory needs no journal. */
static bool answer_at_once(struct vent *v, uint32_t route, const struct dtqi_query *m)
{
    const struct task *t = m->prefix_bits == 128 ? vent_task_find(v, &m->prefix) : NULL;
    struct dtqi_task_info *info;
    struct dtqi_msg *reply;

    if (t == NULL || vent_public_state(v, t) == DTQ_NOT_FOUND || has_history(v, t))
        return false;
    info = vent_scratch(v, 1, sizeof *info);
    if (info == NULL)
        return false;
    fill_resident(v, t, info);
    explain_resident(v, m, t, info);
    vent_notes_fill(v, (struct dtqi_slice){NULL, 0}, past_of(v, t), info);
    reply = vent_send(v, route, DTQI_QUERY_REPLY);
    if (reply != NULL)
        reply->query_reply =
            (struct dtqi_query_reply){.request = m->request, .tasks = info, .tasks_n = 1};
    return true;
}

static enum journal_read_type read_type(const struct dtqi_query *m)
{
    if (m->kind == DTQI_QUERY_DEAD)
        return JOURNAL_DEAD_LIST;
    if (m->kind == DTQI_QUERY_ATTEMPTS)
        return JOURNAL_ATTEMPTS;
    return m->prefix_bits != 0 ? JOURNAL_PREFIX : JOURNAL_SCAN;
}

static void ask_journal(struct vent *v, uint32_t route, const struct dtqi_query *m)
{
    struct query *q;
    struct vent_read *r = NULL;
    dtq_id ids[2];
    uint32_t ids_n = 0;

    if (v->queries_n >= v->cfg.queries_max) {
        refuse(v, route, m->request, DTQI_BUSY,
               "queries_max: too many queries wait for the journal");
        return;
    }
    q = copy_query(route, m);
    if (q != NULL) {
        if (m->prefix_bits != 0)
            ids[ids_n++] = m->prefix;
        if (q->has_after)
            ids[ids_n++] = q->after;
        r = vent_read_new(v, READ_QUERY, read_type(m), ids, ids_n);
    }
    if (r == NULL) {
        free(q);
        refuse(v, route, m->request, DTQI_BUSY, "out of memory");
        return;
    }
    r->query = q;
    r->read.prefix_bits = m->prefix_bits;
    r->read.limit = limit_of(m);
    r->read.bodies = true; /* specs come with them */
    if (m->kind == DTQI_QUERY_DEAD)
        r->read.bytes_max = QUERY_BODIES_BYTES_MAX;
    if (m->queue.len != 0) {
        uint32_t queue = vent_queue_find(v, m->queue);

        r->read.queue = queue != NONE ? v->queues[queue].number : 0;
    }
    v->queries_n++;
    if (m->kind == DTQI_QUERY_DEAD && !q->has_after)
        vent_dying_read_send(v, r);
    else
        vent_read_send(v, r);
}

static void ask_tasks(struct vent *v, uint32_t route, const struct dtqi_query *m)
{
    struct dtqi_msg *reply;
    uint32_t queue;

    if (m->kind == DTQI_QUERY_TASK && answer_at_once(v, route, m))
        return;
    queue = m->queue.len != 0 ? vent_queue_find(v, m->queue) : NONE;
    if (m->queue.len == 0 || (queue != NONE && v->queues[queue].number != 0)) {
        ask_journal(v, route, m);
        return;
    }
    reply = vent_send(v, route, DTQI_QUERY_REPLY); /* no such queue: no tasks */
    if (reply != NULL)
        reply->query_reply = (struct dtqi_query_reply){.request = m->request};
}

static void ask_attempts(struct vent *v, uint32_t route, const struct dtqi_query *m)
{
    struct dtqi_query one = *m;

    if (m->prefix_bits != 128) {
        refuse(v, route, m->request, DTQI_BAD_TASK, "the attempts of which task?");
        return;
    }
    one.after = (struct dtqi_slice){0};
    one.queue = (struct dtqi_str){"", 0};
    ask_journal(v, route, &one);
}

/* ---------------------------------------------------------------- queues, workers, status */

static uint64_t oldest_of(const struct vent *v, const struct list *l, uint64_t oldest)
{
    uint64_t at = l->head != NONE ? dtqi_id_wall_ms(&task_at(v, l->head)->id) : oldest;

    return at < oldest ? at : oldest;
}

static uint64_t oldest_ready(const struct vent *v, const struct queue *q, uint64_t oldest)
{
    oldest = oldest_of(v, &q->suspects, oldest);
    for (uint32_t s = 0; s < DTQI_SINKS_MAX; s++)
        for (uint32_t rank = 0; q->lots[s] != NULL && rank < DTQI_PRIORITIES; rank++)
            if (q->lots[s]->ranks >> rank & 1)
                oldest = oldest_of(v, &q->lots[s]->fifo[rank], oldest);
    return oldest;
}

/* The oldest groups come first: the oldest task is among them, unless they are very many. */
static uint64_t oldest_of_all(const struct vent *v, const struct queue *q)
{
    uint64_t oldest = oldest_ready(v, q, UINT64_MAX);
    uint32_t at = q->groups != NULL ? q->groups->members.head : NONE;

    for (uint32_t n = 0; at != NONE && n < OLDEST_VISITS; n++, at = v->queues[at].sibling.next)
        oldest = oldest_ready(v, &v->queues[at], oldest);
    return oldest != UINT64_MAX ? vent_host_wall_ms(v, oldest) : 0;
}

/* A purge, or a cancellation, looks for what of the queue is not in memory: after a crash for all
 * of it. */
static bool is_being_purged(const struct vent *v, const struct queue *q)
{
    bool is_at_end = v->purge_queue == (uint32_t)(q - v->queues) && v->purge_ended;

    return q->settings.purge_seq != 0 && !is_at_end;
}

/* What it has not found yet never starts. What was submitted since is not told apart from that
 * unless it is in memory, and not held. */
static void count_as_ending(const struct queue *q, struct dtqi_queue_info *info)
{
    uint64_t ready = (uint64_t)resident_of(q, TASK_READY) + resident_of(q, TASK_PARKED);
    uint64_t scheduled = resident_of(q, TASK_SCHEDULED);
    uint64_t more = info->ready + info->scheduled;

    if (more <= ready + scheduled)
        return;
    info->ending += more - ready - scheduled;
    info->ready = ready;
    info->scheduled = scheduled;
}

static void fill_queue(const struct vent *v, const struct queue *q, struct dtqi_queue_info *info)
{
    uint64_t dispatched = (uint64_t)resident_of(q, TASK_LEASED) + resident_of(q, TASK_STOPPING) +
                          resident_of(q, TASK_DONE) + resident_of(q, TASK_DEADWAIT);
    uint64_t ending = (uint64_t)resident_of(q, TASK_MARKING) + resident_of(q, TASK_PROPOSED);
    uint64_t scheduled = scheduled_of(q);
    uint64_t others = dispatched + ending + scheduled;

    *info = (struct dtqi_queue_info){
        .name = {q->name, q->name_len},
        .ready = tasks_of(q) > others ? tasks_of(q) - others : 0,
        .scheduled = scheduled,
        .dispatched = dispatched,
        .bytes = bytes_of(q),
        .paused = q->settings.paused,
        .workers = q->servers + v->any_servers,
        .oldest_wall_ms = oldest_of_all(v, q),
        .limit = q->settings.limit,
        .rate = q->settings.rate,
        .rate_period_ms = q->settings.rate_period_ms,
        .groups = q->groups != NULL ? q->groups->with_tasks : 0,
        .group_limit = q->settings.group_limit,
        .group_rate = q->settings.group_rate,
        .group_rate_period_ms = q->settings.group_rate_period_ms,
        .ageing_ms = q->settings.ageing_ms,
        .ending = ending,
    };
    if (is_being_purged(v, q))
        count_as_ending(q, info);
}

static void ask_queues(struct vent *v, uint32_t route, uint64_t request)
{
    struct dtqi_queue_info *infos = vent_scratch(v, v->queues_n, sizeof *infos);
    struct dtqi_msg *m = infos != NULL ? vent_send(v, route, DTQI_QUERY_REPLY) : NULL;
    uint32_t n = 0;

    if (m == NULL)
        return;
    for (uint32_t i = 0; i < v->queues_n && n < DTQI_BATCH_ENTRIES_MAX; i++)
        if (v->queues[i].used && v->queues[i].name_len != 0)
            fill_queue(v, &v->queues[i], &infos[n++]);
    m->query_reply = (struct dtqi_query_reply){.request = request, .queues = infos, .queues_n = n};
}

static const struct dtqi_str *queue_names(struct vent *v, const struct worker *w)
{
    struct dtqi_str *names = vent_scratch(v, w->queues_n, sizeof *names);

    for (uint32_t i = 0; names != NULL && i < w->queues_n; i++)
        names[i] =
            (struct dtqi_str){v->queues[w->queues[i]].name, v->queues[w->queues[i]].name_len};
    return names;
}

static uint32_t running_n(const struct vent *v, const struct worker *w)
{
    uint32_t n = 0;

    for (uint32_t i = w->leased.head; i != NONE; i = task_at(v, i)->next)
        n += (task_at(v, i)->flags & TASK_RUNNING) != 0;
    return n;
}

static void fill_worker(struct vent *v, const struct worker *w, struct dtqi_worker_info *info)
{
    *info = (struct dtqi_worker_info){
        .name = {w->name, w->name_len},
        .instance = w->instance,
        .session = w->session,
        .slots = w->slots,
        .held = w->leased.n + w->done.n,
        .running = running_n(v, w),
        .credit = w->credit_tasks > w->sent_tasks ? w->credit_tasks - w->sent_tasks : 0,
        .done = w->done_total,
        .failed = w->failed_total,
        .silent_ms = vent_silence_ms(v, w->heard_ms, w->heard_stall_ms),
        .program = {w->program, w->program_len},
    };
    if (w->any_queue || w->queues_n == 0)
        return;
    info->queues = queue_names(v, w);
    info->queues_n = info->queues != NULL ? w->queues_n : 0;
}

static void ask_workers(struct vent *v, uint32_t route, uint64_t request)
{
    struct dtqi_worker_info *infos = vent_scratch(v, v->workers_n, sizeof *infos);
    struct dtqi_msg *m;
    uint32_t n = 0;

    if (infos == NULL)
        return;
    for (uint32_t i = 0; i < v->workers_n; i++)
        if (v->workers[i].state != WORKER_FREE)
            fill_worker(v, &v->workers[i], &infos[n++]);
    m = vent_send(v, route, DTQI_QUERY_REPLY);
    if (m != NULL)
        m->query_reply =
            (struct dtqi_query_reply){.request = request, .workers = infos, .workers_n = n};
}

/* Looks at every task in memory: for people who ask. */
static void count_by_sink(const struct vent *v, struct dtqi_sink_info *by_index)
{
    for (uint32_t i = 0; i < v->tasks_used; i++) {
        const struct task *t = task_at(v, i);
        struct dtqi_sink_info *info = &by_index[t->sink];

        switch ((enum task_state)t->state) {
        case TASK_CLAIMED:
        case TASK_HELD:
        case TASK_READY:
        case TASK_PARKED:
        case TASK_SCHEDULED: info->waiting++; break;
        case TASK_LEASED:
        case TASK_STOPPING: info->dispatched++; break;
        case TASK_DONE:
        case TASK_DEADWAIT:
        case TASK_MARKING:
        case TASK_PROPOSED: info->unsettled++; break;
        case TASK_FREE:
        case TASK_GONE:
        case TASK_STATES: break;
        }
    }
}

static bool is_all_in_memory(const struct vent *v)
{
    bool is_due_here = !v->due[DUE_STEADY].unloaded && !v->due[DUE_BY_WALL].unloaded;

    return is_due_here && v->unloaded_n == 0;
}

static struct dtqi_sink_info with_counts(const struct dtqi_sink_info *info,
                                         const struct dtqi_sink_info *counts)
{
    struct dtqi_sink_info both = *info;

    both.waiting = counts->waiting;
    both.dispatched = counts->dispatched;
    both.unsettled = counts->unsettled;
    return both;
}

/* Those that are registered, and others that tasks name: removed, or never seen. */
static bool is_told_of(const struct vent *v, uint32_t i, const struct dtqi_sink_info *info)
{
    const struct sink *s = &v->sinks[i];

    return s->used && ((s->is_durable && s->intake[0] != '\0') || info->waiting != 0 ||
                       info->dispatched != 0 || info->unsettled != 0);
}

static void ask_sinks(struct vent *v, uint32_t route, uint64_t request)
{
    struct dtqi_sink_info by_index[DTQI_SINKS_MAX] = {{.reachable = false}};
    struct dtqi_sink_info *infos = vent_scratch(v, DTQI_SINKS_MAX, sizeof *infos);
    bool is_least = !is_all_in_memory(v);
    uint32_t n = 0;
    const struct dtqi_sink_info *list = vent_sink_list(v, &n);
    struct dtqi_msg *m;

    if (infos == NULL || list == NULL)
        return;
    count_by_sink(v, by_index);
    for (uint32_t i = 0; i < n; i++)
        by_index[vent_sink_find(v, &list[i].store)] =
            with_counts(&list[i], &by_index[vent_sink_find(v, &list[i].store)]);
    n = 0;
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        struct dtqi_sink_info *info = &by_index[i];

        if (!is_told_of(v, i, info))
            continue;
        info->store = v->sinks[i].store;
        info->removed = v->sinks[i].removed;
        info->waiting_is_least = is_least;
        infos[n++] = *info;
    }
    m = vent_send(v, route, DTQI_QUERY_REPLY);
    if (m != NULL)
        m->query_reply =
            (struct dtqi_query_reply){.request = request, .sinks = infos, .sinks_n = n};
}

static const struct dtqi_counter *counter_list(struct vent *v, uint32_t *ret_n)
{
    const struct vent_counters *c = &v->counters;
    const struct dtqi_counter all[] = {
#define VENT_COUNTER_ROW(field) {{#field, sizeof #field - 1}, c->field},
        VENT_COUNTERS(VENT_COUNTER_ROW)
#undef VENT_COUNTER_ROW
            {{"backlog_bytes", sizeof "backlog_bytes" - 1}, v->backlog_bytes},
        {{"resident_bytes", sizeof "resident_bytes" - 1}, v->resident_bytes},
        {{"resident_tasks", sizeof "resident_tasks" - 1}, v->map.count},
        {{"workers_open", sizeof "workers_open" - 1}, v->workers_open},
    };
    struct dtqi_counter *copy = vent_scratch(v, sizeof all / sizeof *all, sizeof *all);

    *ret_n = copy != NULL ? sizeof all / sizeof *all : 0;
    if (copy != NULL)
        memcpy(copy, all, sizeof all);
    return copy;
}

static void ask_status(struct vent *v, uint32_t route, uint64_t request)
{
    struct dtqi_query_reply reply = {.request = request};
    struct dtqi_msg *m;

    reply.sinks = vent_sink_list(v, &reply.sinks_n);
    reply.counters = counter_list(v, &reply.counters_n);
    m = vent_send(v, route, DTQI_QUERY_REPLY);
    if (m != NULL)
        m->query_reply = reply;
}

void vent_on_query(struct vent *v, uint32_t route, const struct dtqi_query *m)
{
    switch (m->kind) {
    case DTQI_QUERY_STATUS: ask_status(v, route, m->request); break;
    case DTQI_QUERY_TASKS:
    case DTQI_QUERY_DEAD:
    case DTQI_QUERY_TASK: ask_tasks(v, route, m); break;
    case DTQI_QUERY_ATTEMPTS: ask_attempts(v, route, m); break;
    case DTQI_QUERY_QUEUES: ask_queues(v, route, m->request); break;
    case DTQI_QUERY_WORKERS: ask_workers(v, route, m->request); break;
    case DTQI_QUERY_SINKS: ask_sinks(v, route, m->request); break;
    case DTQI_QUERY_CRON: vent_on_cron_query(v, route, m); break;
    }
}
