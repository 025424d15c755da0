#include "vent_internal.h"

#define CLAIM_AGAIN_MS 2000u
#define CLAIM_GIVE_UP_MS 10000u

/* ---------------------------------------------------------------- who waits for an answer */

bool vent_wait_has_room(const struct vent *v)
{
    return v->waits_used < v->cfg.submits_max;
}

uint32_t vent_wait_new(struct vent *v, enum wait_kind kind, uint32_t route, uint64_t request)
{
    uint32_t i = v->waits_free;

    if (!vent_wait_has_room(v))
        return NONE;
    if (i != NONE) {
        v->waits_free = v->waits[i].next;
    } else {
        if (!vent_grow(&v->waits, v->waits_n, &v->waits_room, sizeof *v->waits))
            return NONE;
        i = v->waits_n++;
    }
    v->waits[i] = (struct wait){
        .kind = (uint8_t)kind, .route = route, .request = request, .left = 1, .next = NONE};
    v->waits_used++;
    return i;
}

void vent_wait_hold(struct vent *v, uint32_t wait)
{
    assert(v->waits[wait].left > 0);
    v->waits[wait].left++;
}

void vent_wait_release(struct vent *v, uint32_t wait)
{
    assert(v->waits[wait].left > 0);
    if (--v->waits[wait].left != 0)
        return;
    if (v->answers_tail != NONE)
        v->waits[v->answers_tail].next = wait;
    else
        v->answers = wait;
    v->answers_tail = wait;
}

static bool refusals_grow(struct wait *w)
{
    uint32_t room = w->room != 0 ? 2 * w->room : 16;
    uint32_t *index = realloc(w->index, room * sizeof *index);
    uint32_t *reasons = realloc(w->reasons, room * sizeof *reasons);
    const char **texts = realloc(w->texts, room * sizeof *texts);

    w->index = index != NULL ? index : w->index;
    w->reasons = reasons != NULL ? reasons : w->reasons;
    w->texts = texts != NULL ? texts : w->texts;
    if (index == NULL || reasons == NULL || texts == NULL)
        return false;
    w->room = room;
    return true;
}

void vent_wait_refuse(struct vent *v, uint32_t wait, uint32_t index, enum dtqi_refusal reason,
                      const char *text)
{
    struct wait *w = &v->waits[wait];

    v->counters.tasks_refused++;
    if (w->n == w->room && !refusals_grow(w)) {
        w->silent = true;
        return;
    }
    w->index[w->n] = index;
    w->reasons[w->n] = reason;
    w->texts[w->n] = text;
    w->n++;
}

void vent_wait_same(struct vent *v, uint32_t wait, uint32_t index, const dtq_id *id)
{
    struct wait *w = &v->waits[wait];

    v->counters.tasks_duplicate++;
    if (!vent_grow(&w->same, w->same_n, &w->same_room, sizeof *w->same)) {
        w->silent = true;
        return;
    }
    w->same[w->same_n++] = (struct same){index, *id};
}

bool vent_wait_for(struct vent *v, uint32_t wait, struct task *t)
{
    struct past *p;

    if (t->wait == NONE) {
        t->wait = wait;
    } else {
        p = vent_past(v, t);
        if (p == NULL || !vent_link_add(v, &p->waits, wait))
            return false;
    }
    vent_wait_hold(v, wait);
    return true;
}

void vent_confirm(struct vent *v, struct task *t)
{
    struct past *p = past_of(v, t);
    uint32_t wait = t->wait;

    if (wait == NONE)
        return;
    t->wait = NONE;
    vent_wait_release(v, wait);
    while (p != NULL && (wait = vent_link_take(v, &p->waits)) != NONE)
        vent_wait_release(v, wait);
}

/* Entries whose key stands for another task. */
static bool same_columns(struct vent *v, const struct wait *w, struct dtqi_submitted *ret)
{
    uint32_t *index = vent_scratch(v, w->same_n, sizeof *index);
    dtq_id *ids = vent_scratch(v, w->same_n, sizeof *ids);

    if (index == NULL || ids == NULL)
        return false;
    for (uint32_t i = 0; i < w->same_n; i++) {
        index[i] = w->same[i].index;
        ids[i] = w->same[i].id;
    }
    ret->same_n = w->same_n;
    ret->same_index = index;
    ret->same_ids = ids;
    return true;
}

static void submitted(struct vent *v, const struct wait *w)
{
    struct dtqi_submitted same = {0};
    uint32_t *columns = NULL;
    struct dtqi_str *texts = NULL;
    struct dtqi_msg *msg;

    if (w->same_n != 0 && !same_columns(v, w, &same))
        return; /* the producer sends it again */

    if (w->n != 0) {
        columns = vent_scratch(v, w->n, 2 * sizeof *columns);
        texts = vent_scratch(v, w->n, sizeof *texts);
        if (columns == NULL || texts == NULL)
            return; /* the producer sends it again */
    }
    for (uint32_t i = 0; i < w->n; i++) {
        columns[i] = w->index[i];
        columns[w->n + i] = w->reasons[i];
        texts[i] = dtqi_str(w->texts[i]);
        if (w->buf != NULL) /* it goes before the answer is encoded */
            texts[i] = vent_copy_str(v, texts[i]);
    }
    msg = vent_send(v, w->route, DTQI_SUBMITTED);
    if (msg == NULL)
        return;
    msg->submitted = (struct dtqi_submitted){
        .request = w->request,
        .refused_n = w->n,
        .refused_index = columns,
        .refused_reason = w->n != 0 ? columns + w->n : NULL,
        .refused_text = texts,
        .same_n = same.same_n,
        .same_index = same.same_index,
        .same_ids = same.same_ids,
    };
}

static void wait_free(struct vent *v, uint32_t i)
{
    struct wait *w = &v->waits[i];

    free(w->index);
    free(w->reasons);
    free(w->texts);
    dtqi_buf_unref(w->buf);
    free(w->same);
    *w = (struct wait){.kind = WAIT_FREE, .next = v->waits_free};
    v->waits_free = i;
    v->waits_used--;
}

void vent_waits_tick(struct vent *v)
{
    while (v->answers != NONE) {
        uint32_t i = v->answers;
        struct wait *w = &v->waits[i];

        v->answers = w->next;
        if (w->kind == WAIT_REQUEUE) /* that somebody hears it matters less than that it ends */
            vent_dead_answer(v);
        else if (w->silent || vent_peer_find(v, w->route) == NULL)
            v->counters.answers_withheld++;
        else if (w->kind == WAIT_SUBMIT)
            submitted(v, w);
        else if (w->kind == WAIT_CANCEL)
            vent_cancel_answer(v, w);
        else
            vent_operate_answer(v, w);
        wait_free(v, i);
    }
    v->answers_tail = NONE;
}

void vent_waits_done(struct vent *v)
{
    for (uint32_t i = 0; i < v->waits_n; i++) {
        free(v->waits[i].index);
        free(v->waits[i].reasons);
        free(v->waits[i].texts);
        dtqi_buf_unref(v->waits[i].buf);
        free(v->waits[i].same);
    }
    free(v->waits);
    while (v->claims != NULL) {
        struct claim *c = v->claims;

        v->claims = c->next;
        free(c->ids);
        free(c);
    }
}

/* ---------------------------------------------------------------- what is refused */

struct refusal {
    enum dtqi_refusal reason; /* DTQI_REFUSAL_NONE: it is not */
    const char *text;
};

static const struct refusal accepted = {DTQI_REFUSAL_NONE, NULL};
static const struct refusal claim_sink_away = {DTQI_NO_SINK,
                                               "the sink that would know the task is out of reach"};

/* Asked for each task: one SUBMIT may bring thousands. */
static struct refusal refusal_of_backlog(const struct vent *v)
{
    if (v->backlog_bytes >= v->cfg.backlog_bytes_max)
        return (struct refusal){DTQI_BUSY, "max_backlog_bytes is reached"};
    if (v->cfg.backlog_tasks_max != 0 && v->backlog_tasks >= v->cfg.backlog_tasks_max)
        return (struct refusal){DTQI_BUSY, "max_backlog_tasks is reached"};
    return accepted;
}

/* What keeps every new task out, whatever it is. */
static struct refusal refusal_of_all(const struct vent *v)
{
    if (v->stopping)
        return (struct refusal){DTQI_BUSY, "the ventilator is stopping"};
    if (v->no_space)
        return (struct refusal){DTQI_NO_SPACE, "the ventilator's disk is full"};
    if (v->map_full)
        return (struct refusal){DTQI_BUSY, "the journal's size limit is reached"};
    if (v->resident_bytes >= v->cfg.resident_bytes_max)
        return (struct refusal){DTQI_BUSY, "resident_max is reached: the disk is behind"};
    if (vent_records(v) >= v->cfg.resident_tasks_max - v->cfg.resident_tasks_max / 8)
        return (struct refusal){DTQI_BUSY, "the table of tasks is full"};
    return accepted;
}

static struct refusal refusal_of_sink(const struct vent *v, const struct dtqi_submit *m)
{
    const dtqi_uid *store = vent_store_now(v, &m->sink); /* R52 */
    uint32_t sink = vent_sink_find(v, store);

    if (v->sinks_n == 0 || vent_is_waiting(v, store))
        return (struct refusal){DTQI_NO_SINK, "no sink is registered"};
    if (sink != NONE && v->sinks[sink].intake[0] != '\0' && !v->sinks[sink].is_durable)
        return (struct refusal){DTQI_NO_SINK, "the sink is being registered"};
    if (sink == NONE || v->sinks[sink].intake[0] == '\0')
        return (struct refusal){DTQI_NO_SUCH_SINK, "the sink is not registered here"}; /* R4 */
    return accepted;
}

/* A queue that is full keeps out its own tasks only. */
static struct refusal refusal_of_queue(const struct vent *v, const struct queue *q)
{
    q = head_of(v, q);
    if (v->cfg.queue_tasks_max != 0 && tasks_of(q) >= v->cfg.queue_tasks_max)
        return (struct refusal){DTQI_BUSY, "the queue is full: max_queue_tasks is reached"};
    if (v->cfg.queue_bytes_max != 0 && bytes_of(q) >= v->cfg.queue_bytes_max)
        return (struct refusal){DTQI_BUSY, "the queue is full: max_queue_bytes is reached"};
    return accepted;
}

/* When the task was made, by our clock. Ids that are made by another one say how far that is off.
 */
static uint64_t made_ms(const struct dtqi_submit *m, const dtq_id *id)
{
    int64_t at_ms = (int64_t)dtqi_id_wall_ms(id) + m->id_clock_ms;

    return at_ms > 0 ? (uint64_t)at_ms : 0;
}

static struct refusal refusal_of_time(const struct vent *v, uint64_t id_ms)
{
    if (id_ms + v->cfg.dedupe_window_ms < v->wall_ms)
        return (struct refusal){DTQI_TOO_OLD, "the id is older than the dedupe window"};
    if (id_ms > v->wall_ms + v->cfg.clock_ahead_ms)
        return (struct refusal){DTQI_BAD_TIME, "the id is from the future"};
    return accepted;
}

const char *vent_refusal_of_time(const struct vent *v, const dtq_id *id,
                                 enum dtqi_refusal *ret_reason)
{
    struct refusal r = refusal_of_time(v, dtqi_id_wall_ms(id));

    *ret_reason = r.reason;
    return r.text;
}

const char *vent_refusal_of_any(const struct vent *v, enum dtqi_refusal *ret_reason)
{
    struct refusal r = refusal_of_all(v);

    *ret_reason = r.reason;
    return r.text;
}

const char *vent_refusal_of_new(const struct vent *v, const struct queue *q,
                                enum dtqi_refusal *ret_reason)
{
    struct refusal r = refusal_of_all(v);

    if (r.reason == DTQI_REFUSAL_NONE)
        r = refusal_of_backlog(v);
    if (r.reason == DTQI_REFUSAL_NONE)
        r = refusal_of_queue(v, q);
    *ret_reason = r.reason;
    return r.text;
}

/* What no task may be, and what the schema has room for and this version does not do. */
const char *vent_flaw_of_spec(const struct dtqi_spec *s)
{
    if (s->flaw != NULL)
        return s->flaw;
    if (s->group_ordered && s->group.len == 0)
        return "group_ordered: of which group?";
    if (s->argc != 0)
        return "argv: not served by this version";
    if (s->requeued_from.len != 0)
        return "requeued_from: not served by this version";
    if (s->moved_from.len != 0)
        return "moved_from: the ventilator's own";
    if (s->cron.len != 0)
        return "cron: only runs of cron entries have it";
    return s->soft_time_limit_ms != 0 ? "soft_time_limit: not served by this version" : NULL;
}

static struct refusal refusal_of_spec(const struct dtqi_spec *s)
{
    const char *flaw = vent_flaw_of_spec(s);

    return flaw != NULL ? (struct refusal){DTQI_BAD_TASK, flaw} : accepted;
}

/* ---------------------------------------------------------------- one SUBMIT */

struct submission {
    const struct dtqi_submit *m;
    struct dtqi_buf *buf;
    uint32_t wait;
    uint8_t sink;
    struct refusal all;
    uint32_t *specs;         /* interned, by index of the message; NONE: refused */
    struct refusal *refused; /* why, by the same index */
    struct claim *claim;     /* NULL: nothing to claim */
};

/* The same task as this entry? It may have been moved to another queue since that was sent. */
static bool is_same(struct vent *v, const struct submission *s, uint32_t i, const struct task *t,
                    uint32_t spec)
{
    const struct dtqi_slice *body = &s->m->bodies[i];

    return (t->spec == spec || vent_is_moved(v, t, spec)) && t->body_len == body->len &&
           (body->len == 0 || memcmp(t->body, body->at, body->len) == 0);
}

/* R6: the id is here already. */
static struct refusal join(struct vent *v, struct submission *s, uint32_t i, struct task *t,
                           uint32_t spec)
{
    if (t->state == TASK_GONE)
        return accepted; /* settled */
    if (!is_same(v, s, i, t, spec))
        return (struct refusal){DTQI_CONFLICT, "the id stands for another task"};
    v->counters.tasks_duplicate++;
    if (t->paper == PAPER_WRITTEN)
        return accepted;
    if (!vent_wait_for(v, s->wait, t))
        return (struct refusal){DTQI_BUSY, "out of memory"};
    return accepted;
}

/* A delay counts from when the task was made, so that it is the same whenever it comes here; but it
 * is no longer from now on than it was meant to be. A time of day is one of the wall clock. Of both
 * the one that is further off now is waited for. 0: nothing to wait for. */
static uint64_t due_of(const struct vent *v, const struct dtqi_submit *m, uint32_t i)
{
    uint64_t delay_ms = dtqi_col64(m->delay_ms, i);
    uint64_t not_before_ms = dtqi_col64(m->not_before_wall_ms, i);
    uint64_t made = made_ms(m, &m->ids[i]);
    uint64_t at_ms = (made < v->wall_ms ? made : v->wall_ms) + delay_ms;

    if (delay_ms == 0 || at_ms < v->wall_ms)
        at_ms = v->wall_ms;
    if (not_before_ms > v->host_wall_ms && not_before_ms - v->host_wall_ms > at_ms - v->wall_ms)
        return not_before_ms + JOURNAL_DUE_BY_WALL;
    return at_ms > v->wall_ms ? at_ms : 0;
}

bool vent_delay(struct vent *v, struct task *t, uint64_t due_wall_ms)
{
    struct past *p;

    if (due_wall_ms == 0)
        return true;
    p = vent_past(v, t);
    if (p == NULL)
        return false;
    t->flags |= TASK_DELAYED;
    p->key_due_wall_ms = due_wall_ms;
    p->counters.due_wall_ms = due_wall_ms;
    return true;
}

#define ABOUT_MS 1000 /* priorities that rise (R51) need not be more exact than that */

/* The time in its id is by another clock than ours: what counts from there needs the time itself.
 */
static bool note_made(struct vent *v, struct task *t, const struct dtqi_submit *m)
{
    struct past *p;

    if (m->id_clock_ms == 0 || (spec_of(v, t)->spec.expires_ms == 0 && m->id_clock_ms <= ABOUT_MS &&
                                m->id_clock_ms >= -ABOUT_MS))
        return true;
    p = vent_past(v, t);
    if (p == NULL)
        return false;
    p->counters.made_wall_ms = at_least_1(made_ms(m, &t->id));
    t->flags |= TASK_DIRTY; /* written with the task */
    return true;
}

void vent_admit(struct vent *v, struct task *t)
{
    struct queue *q = queue_of(v, t);

    vent_queue_number(v, head_of(v, q));
    t->seq = v->seq++;
    t->admitted_ms = v->now_ms;
    vent_queue_add(v, q, task_bytes(v, t), (t->flags & TASK_DELAYED) != 0);
    v->counters.tasks_submitted++;
    vent_release(v, t);
    vent_paper_new(v, t);
}

static struct claim *claim_new(struct vent *v, const struct submission *s)
{
    struct claim *c;

    if (v->claims_n >= v->cfg.claims_max)
        return NULL;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->ids = malloc(s->m->n * sizeof *c->ids + s->m->also_sent_to_n * sizeof *c->also);
    if (c->ids == NULL) {
        free(c);
        return NULL;
    }
    c->also = (dtqi_uid *)(void *)(c->ids + s->m->n);
    c->also_n = s->m->also_sent_to_n;
    for (uint32_t i = 0; i < c->also_n; i++)
        c->also[i] = s->m->also_sent_to[i];
    c->resend = s->m->resend;
    c->sink = s->sink;
    c->number = ++v->claim_numbers;
    c->since_ms = v->now_ms;
    c->next = v->claims;
    if (c->next != NULL)
        c->next->prev = c;
    v->claims = c;
    v->claims_n++;
    return c;
}

/* R6: before any put, dispatch or answer, who may know it is asked. */
static bool claim_entry(struct vent *v, struct submission *s, struct task *t, uint32_t i)
{
    if (s->claim == NULL)
        s->claim = claim_new(v, s);
    if (s->claim == NULL)
        return false;
    t->worker = s->claim->number;
    s->claim->ids[s->claim->n++] = t->id;
    vent_task_move(v, t, TASK_CLAIMED);
    t->prev = i;
    return true;
}

/* The key stands for a task that is on its way into the journal. Whether that one stays is not
 * known while it is claimed itself. */
static struct refusal join_key(struct vent *v, struct submission *s, uint32_t i, struct task *first)
{
    dtqi_uid digest =
        vent_digest(s->m->specs[dtqi_col32(s->m->spec_index, i, 0)].raw, s->m->bodies[i]);

    if (!vent_key_is_same(v, first, &digest))
        return (struct refusal){DTQI_CONFLICT, "the key stands for another task"};
    if (first->state == TASK_CLAIMED || !vent_wait_for(v, s->wait, first))
        return (struct refusal){DTQI_BUSY, "the key is being looked up"};
    vent_wait_same(v, s->wait, i, &first->id);
    return accepted;
}

static struct refusal admit_entry(struct vent *v, struct submission *s, uint32_t i, uint32_t spec)
{
    const struct dtqi_submit *m = s->m;
    struct dtqi_str key = v->specs[spec].spec.key;
    struct task *first = key.len != 0 ? vent_key_find(v, key) : NULL;
    struct task *t;
    bool is_keyed;

    if (first != NULL)
        return join_key(v, s, i, first);
    if (key.len != 0 && v->keys_n >= v->cfg.keys_max)
        return (struct refusal){DTQI_BUSY, "keys_max is reached"};
    if (!vent_queue_lot(v, v->specs[spec].queue, s->sink))
        return (struct refusal){DTQI_BUSY, "out of memory"};
    v->specs[spec].refs++;
    t = vent_task_new(v, &m->ids[i], spec, m->bodies[i], s->buf);
    if (t == NULL) {
        vent_spec_drop(v, spec);
        return (struct refusal){DTQI_BUSY, "the table of tasks is full"};
    }
    t->sink = s->sink;
    t->reply_to = m->reply_to;
    is_keyed = spec_of(v, t)->spec.key.len != 0;
    if (!note_made(v, t, m) || !vent_delay(v, t, due_of(v, m, i)) ||
        (is_keyed && !vent_key_add(v, t)) ||
        ((m->resend || is_keyed) && !claim_entry(v, s, t, i))) {
        vent_task_free(v, t);
        return (struct refusal){DTQI_BUSY, "too many claims, or out of memory"};
    }
    (void)vent_wait_for(v, s->wait, t); /* the first one needs no memory */
    if (t->state != TASK_CLAIMED)
        vent_admit(v, t);
    return accepted;
}

static struct refusal entry(struct vent *v, struct submission *s, uint32_t i)
{
    uint32_t index = dtqi_col32(s->m->spec_index, i, 0);
    uint32_t spec = s->specs[index];
    struct task *t = vent_task_find(v, &s->m->ids[i]);
    struct refusal r;

    if (spec == NONE)
        return s->refused[index];
    if (t != NULL)
        return join(v, s, i, t, spec);
    if (s->m->bodies[i].len > v->cfg.task_bytes_max)
        return (struct refusal){DTQI_TOO_LARGE, "the payload is over the ventilator's limit"};
    r = refusal_of_time(v, made_ms(s->m, &s->m->ids[i]));
    if (r.reason != DTQI_REFUSAL_NONE)
        return r;
    if (s->all.reason == DTQI_REFUSAL_NONE)
        s->all = refusal_of_backlog(v);
    if (s->all.reason != DTQI_REFUSAL_NONE)
        return s->all;
    r = refusal_of_queue(v, &v->queues[v->specs[spec].queue]);
    if (r.reason != DTQI_REFUSAL_NONE)
        return r;
    return admit_entry(v, s, i, spec);
}

static struct refusal refusal_of_place(const struct vent *v, const struct dtqi_spec *spec)
{
    if (spec->group.len != 0 && vent_groups_full(v))
        return (struct refusal){DTQI_BUSY, "groups_max is reached"};
    return (struct refusal){DTQI_BUSY, "queues_max is reached"};
}

static bool learn_specs(struct vent *v, struct submission *s)
{
    uint32_t n = s->m->specs_n;

    s->specs = vent_scratch(v, n, sizeof *s->specs);
    s->refused = vent_scratch(v, n, sizeof *s->refused);
    if (s->specs == NULL || s->refused == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        s->specs[i] = NONE;
        s->refused[i] = refusal_of_spec(&s->m->specs[i]);
        if (s->m->specs[i].flaw != NULL && v->waits[s->wait].buf == NULL)
            v->waits[s->wait].buf = dtqi_buf_ref(s->buf); /* the text is in it */
        if (s->refused[i].reason != DTQI_REFUSAL_NONE)
            continue;
        s->specs[i] = vent_spec_get(v, s->m->specs[i].raw);
        if (s->specs[i] == NONE)
            s->refused[i] = refusal_of_place(v, &s->m->specs[i]);
    }
    return true;
}

static void claim_begin(struct vent *v, struct claim *c);

static void submission_done(struct vent *v, struct submission *s)
{
    for (uint32_t i = 0; i < s->m->specs_n; i++)
        if (s->specs[i] != NONE)
            vent_spec_drop(v, s->specs[i]);
    if (s->claim != NULL)
        claim_begin(v, s->claim);
    vent_wait_release(v, s->wait);
}

/* No room even to remember who asked: say so at once. */
static void refuse_all(struct vent *v, uint32_t route, const struct dtqi_submit *m)
{
    uint32_t *columns = vent_scratch(v, m->n, 2 * sizeof *columns);
    struct dtqi_str *texts = vent_scratch(v, m->n, sizeof *texts);
    struct dtqi_msg *msg;

    if (columns == NULL || texts == NULL)
        return;
    for (uint32_t i = 0; i < m->n; i++) {
        columns[i] = i;
        columns[m->n + i] = DTQI_BUSY;
        texts[i] = dtqi_str("submits_max is reached: too many wait for the disk");
    }
    v->counters.tasks_refused += m->n;
    msg = vent_send(v, route, DTQI_SUBMITTED);
    if (msg != NULL)
        msg->submitted = (struct dtqi_submitted){.request = m->request,
                                                 .refused_n = m->n,
                                                 .refused_index = columns,
                                                 .refused_reason = columns + m->n,
                                                 .refused_text = texts};
}

void vent_on_submit(struct vent *v, struct peer *p, const struct dtqi_msg *msg)
{
    const struct dtqi_submit *m = &msg->submit;
    struct submission s = {.m = m, .buf = msg->buf, .all = refusal_of_all(v)};
    struct refusal no_sink = refusal_of_sink(v, m);

    s.wait = vent_wait_new(v, WAIT_SUBMIT, p->route, m->request);
    if (s.wait == NONE || !learn_specs(v, &s)) {
        refuse_all(v, p->route, m);
        if (s.wait != NONE) {
            v->waits[s.wait].silent = true; /* the answer has been given */
            vent_wait_release(v, s.wait);
        }
        return;
    }
    if (no_sink.reason == DTQI_REFUSAL_NONE)
        s.sink = (uint8_t)vent_sink_find(v, vent_store_now(v, &m->sink));
    for (uint32_t i = 0; i < m->n; i++) {
        struct refusal r;

        if (i + DTQI_IDMAP_AHEAD < m->n)
            vent_task_expect(v, &m->ids[i + DTQI_IDMAP_AHEAD]);
        r = no_sink.reason != DTQI_REFUSAL_NONE ? no_sink : entry(v, &s, i);

        if (r.reason != DTQI_REFUSAL_NONE)
            vent_wait_refuse(v, s.wait, i, r.reason, r.text);
    }
    submission_done(v, &s);
}

/* ---------------------------------------------------------------- claims */

static void claim_free(struct vent *v, struct claim *c)
{
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        v->claims = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    v->claims_n--;
    v->claims_done++;
    free(c->ids);
    free(c);
}

/* The task of an id, if this claim is still about it. */
static struct task *claimed(const struct vent *v, const struct claim *c, const dtq_id *id)
{
    struct task *t = vent_task_find(v, id);

    return t != NULL && t->state == TASK_CLAIMED && t->worker == c->number ? t : NULL;
}

static void drop_claimed(struct vent *v, struct task *t)
{
    vent_confirm(v, t);
    vent_task_free(v, t);
}

/* The SUBMIT that brought it is told so; one that joined later gave it another index, which nobody
 * kept, and gets no answer. */
static void refuse_claimed(struct vent *v, struct task *t, struct refusal r)
{
    struct past *p = past_of(v, t);
    uint32_t wait = t->wait;

    t->wait = NONE;
    vent_wait_refuse(v, wait, t->prev, r.reason, r.text);
    vent_wait_release(v, wait);
    while (p != NULL && (wait = vent_link_take(v, &p->waits)) != NONE) {
        v->waits[wait].silent = true;
        vent_wait_release(v, wait);
    }
    vent_task_free(v, t);
}

static void claim_fail(struct vent *v, struct claim *c, struct refusal r)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct task *t = claimed(v, c, &c->ids[i]);

        if (t != NULL)
            refuse_claimed(v, t, r);
    }
    claim_free(v, c);
}

static void ask_journal(struct vent *v, struct claim *c)
{
    struct vent_read *r = vent_read_new(v, READ_CLAIM, JOURNAL_LOOKUP, c->ids, c->n);

    if (r == NULL) {
        claim_fail(v, c, (struct refusal){DTQI_BUSY, "out of memory"});
        return;
    }
    r->owner = c->number;
    r->read.bodies = true;
    vent_read_send(v, r);
}

/* Keys first, if there are any: what they stand for makes the rest needless. */
static void claim_begin(struct vent *v, struct claim *c)
{
    dtq_id *ids = vent_scratch(v, c->n, sizeof *ids);
    uint32_t n = 0;

    for (uint32_t i = 0; ids != NULL && i < c->n; i++) {
        const struct task *t = claimed(v, c, &c->ids[i]);

        if (t != NULL && (t->marks & TASK_KEYED) != 0)
            ids[n++] = c->ids[i];
    }
    if (ids == NULL || (n != 0 && !vent_keys_ask(v, c->number, ids, n)))
        claim_fail(v, c, (struct refusal){DTQI_BUSY, "out of memory"});
    else if (n == 0)
        ask_journal(v, c);
}

/* Not the number alone, which the start before had given, too: a sink may answer late what that one
 * asked, and its answer about another task must not confirm this one. */
static uint64_t request_of(const struct vent *v, const struct claim *c)
{
    return (v->epoch & ~(uint64_t)UINT32_MAX) | (c->number & UINT32_MAX);
}

static void ask_sink(struct vent *v, struct claim *c)
{
    const struct sink *s = &v->sinks[c->sink];
    dtq_id *ids = vent_scratch(v, c->n, sizeof *ids);
    dtqi_uid *also = vent_scratch(v, c->also_n, sizeof *also);
    struct dtqi_msg *msg = ids != NULL && also != NULL ? vent_send(v, s->route, DTQI_CLAIM) : NULL;

    c->asked = true;
    c->asked_ms = v->now_ms;
    if (msg == NULL)
        return; /* asked again later */
    memcpy(ids, c->ids, c->n * sizeof *ids);
    for (uint32_t i = 0; i < c->also_n; i++)
        also[i] = c->also[i];
    msg->claim = (struct dtqi_claim){
        .request = request_of(v, c),
        .store = v->store,
        .n = c->n,
        .ids = ids,
        .also_sent_to = also,
        .also_sent_to_n = c->also_n,
    };
}

static struct claim *claim_find(const struct vent *v, uint64_t number)
{
    struct claim *c = v->claims;

    while (c != NULL && c->number != number)
        c = c->next;
    return c;
}

/* The journal has it: it was confirmed before, or would have been. Its own record takes the place
 * of the resent one. */
static void is_journaled(struct vent *v, struct task *t, const struct journal_task *jt,
                         struct dtqi_buf *buf)
{
    drop_claimed(v, t);
    v->counters.tasks_duplicate++;
    vent_bring_back(v, jt, buf);
}

static void keep_unknown(const struct vent *v, struct claim *c)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->n; i++)
        if (claimed(v, c, &c->ids[i]) != NULL)
            c->ids[n++] = c->ids[i];
    c->n = n;
}

void vent_claim_looked_up(struct vent *v, struct vent_read *r)
{
    const struct journal_read *a = &r->read;
    struct claim *c = claim_find(v, r->owner);

    if (c == NULL)
        return;
    if (a->err != DTQ_OK) {
        claim_fail(v, c, (struct refusal){DTQI_BUSY, "the journal could not be read"});
        return;
    }
    for (uint32_t i = 0; i < a->tasks_n; i++) {
        struct task *t = claimed(v, c, &a->tasks[i].id);

        if (t != NULL)
            is_journaled(v, t, &a->tasks[i], a->buf);
    }
    keep_unknown(v, c);
    if (c->n == 0)
        claim_free(v, c);
    else if (vent_sink_is_up(&v->sinks[c->sink]))
        ask_sink(v, c);
    else
        claim_fail(v, c, claim_sink_away);
}

/* The SUBMIT that brought it is told; one that joined later gave it another index, and asks again.
 */
static void drop_same(struct vent *v, struct task *t, const dtq_id *id)
{
    struct past *p = past_of(v, t);
    uint32_t wait = t->wait;

    t->wait = NONE;
    vent_wait_same(v, wait, t->prev, id);
    vent_wait_release(v, wait);
    while (p != NULL && (wait = vent_link_take(v, &p->waits)) != NONE) {
        v->waits[wait].silent = true;
        vent_wait_release(v, wait);
    }
    vent_task_free(v, t);
}

static void key_found(struct vent *v, struct task *t, const struct journal_key_record *found)
{
    if (!found->found || found->until_wall_ms <= v->wall_ms || dtqi_id_eq(&found->id, &t->id))
        return;
    if (vent_key_is_same(v, t, &found->digest))
        drop_same(v, t, &found->id);
    else
        refuse_claimed(v, t, (struct refusal){DTQI_CONFLICT, "the key stands for another task"});
}

/* It counts from here on only, and others may have taken the room meanwhile. */
static void admit_claimed(struct vent *v, struct task *t)
{
    struct refusal r = refusal_of_backlog(v);

    if (r.reason == DTQI_REFUSAL_NONE)
        r = refusal_of_queue(v, queue_of(v, t));
    if (r.reason == DTQI_REFUSAL_NONE)
        vent_admit(v, t);
    else
        refuse_claimed(v, t, r);
}

static void admit_all_claimed(struct vent *v, struct claim *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct task *t = claimed(v, c, &c->ids[i]);

        if (t != NULL)
            admit_claimed(v, t);
    }
    claim_free(v, c);
}

void vent_keys_looked_up(struct vent *v, struct vent_read *r)
{
    const struct journal_read *a = &r->read;
    struct claim *c = claim_find(v, r->owner);

    if (c == NULL)
        return;
    if (a->err != DTQ_OK) {
        claim_fail(v, c, (struct refusal){DTQI_BUSY, "the journal could not be read"});
        return;
    }
    for (uint32_t i = 0; i < a->keys_n; i++) {
        struct task *t = claimed(v, c, &a->ids[i]);

        if (t != NULL)
            key_found(v, t, &a->key_records[i]);
    }
    keep_unknown(v, c);
    if (c->n != 0 && c->resend)
        ask_journal(v, c);
    else
        admit_all_claimed(v, c);
}

void vent_on_claim_reply(struct vent *v, struct sink *s, const struct dtqi_claim_reply *m)
{
    struct claim *c = claim_find(v, m->request & UINT32_MAX);

    if (c == NULL || m->request != request_of(v, c) || !c->asked || &v->sinks[c->sink] != s ||
        m->n != c->n) {
        v->counters.messages_foreign++;
        return;
    }
    for (uint32_t i = 0; i < c->n; i++) {
        struct task *t = claimed(v, c, &c->ids[i]);

        if (t == NULL)
            continue;
        if (m->kinds[i] >= DTQ_SUCCEEDED)
            drop_claimed(v, t);
        else
            admit_claimed(v, t);
    }
    claim_free(v, c);
}

void vent_claims_sink_lost(struct vent *v, struct sink *s)
{
    struct claim *next;

    for (struct claim *c = v->claims; c != NULL; c = next) {
        next = c->next;
        if (c->asked && &v->sinks[c->sink] == s)
            claim_fail(v, c, claim_sink_away);
    }
}

void vent_claims_tick(struct vent *v)
{
    struct claim *next;

    for (struct claim *c = v->claims; c != NULL; c = next) {
        next = c->next;
        if (!c->asked)
            continue; /* the journal always answers */
        if (v->now_ms - c->since_ms >= CLAIM_GIVE_UP_MS) {
            claim_fail(v, c, claim_sink_away);
            continue;
        }
        if (v->now_ms - c->asked_ms >= CLAIM_AGAIN_MS)
            ask_sink(v, c);
        due_at(v, c->asked_ms + CLAIM_AGAIN_MS);
    }
}
