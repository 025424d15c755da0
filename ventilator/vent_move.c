/*
 * QUEUE_MOVE: what waits in a queue goes to another one (R46). A page of tasks at a time, in the
 * order of ids: they are read, each gets the spec that it would have had with the other queue, and
 * the page is answered when the journal has all of it. The journal moves each task in one piece, so
 * that it is in one of the two queues whenever the ventilator dies.
 */
#include "vent_internal.h"

#define PAGE_TASKS 512u
#define PAGE_TASKS_LEAST 16u
#define SPEC_BYTES_FIRST 1024u
#define NAMES_BYTES_MAX (2u * (DTQI_NAME_BYTES_MAX + 4)) /* that a spec may grow by */

static struct dtqi_str name_of(const char *name)
{
    return dtqi_str(name);
}

/* ---------------------------------------------------------------- the answer */

static void job_end(struct vent *v)
{
    struct move_job *job = &v->move_job;

    for (uint32_t i = 0; i < job->specs_n; i++)
        vent_spec_drop(v, job->specs[i]);
    if (job->spec_from != NONE) {
        vent_spec_drop(v, job->spec_from);
        vent_spec_drop(v, job->spec_to);
    }
    free(job->specs);
    *job = (struct move_job){.spec_from = NONE, .spec_to = NONE};
}

void vent_moves_init(struct vent *v)
{
    v->move_job = (struct move_job){.spec_from = NONE, .spec_to = NONE};
}

void vent_moves_done(struct vent *v)
{
    free(v->move_job.specs);
}

static void job_answer(struct vent *v)
{
    const struct move_job *job = &v->move_job;
    struct dtqi_msg *reply = vent_send(v, job->route, DTQI_OPERATE_REPLY);

    if (reply != NULL)
        reply->operate_reply = (struct dtqi_operate_reply){
            .request = job->request,
            .reason = job->n == 0 && job->text != NULL ? DTQI_BUSY : DTQI_REFUSAL_NONE,
            .text = dtqi_str(job->n == 0 && job->text != NULL ? job->text : ""),
            .count = job->n,
            .has_next = job->has_next,
            .next = job->next,
        };
    job_end(v);
}

/* ---------------------------------------------------------------- one task */

/* The same task in another queue, with the one that it was submitted to beside it. NONE: no memory.
 */
static uint32_t spec_elsewhere(struct vent *v, uint32_t from, struct dtqi_str queue)
{
    struct dtqi_buf *buf =
        dtqi_buf_new(v->specs[from].spec.raw.len + SPEC_BYTES_FIRST, DTQI_SPEC_BYTES_MAX * 64u);
    struct dtqi_spec spec = v->specs[from].spec;
    struct dtqi_slice raw = {NULL, 0};
    uint32_t to;

    if (buf == NULL)
        return NONE;
    if (spec.moved_from.len == 0)
        spec.moved_from = spec.queue;
    spec.queue = queue;
    raw = v->cfg.spec_encode(&spec, buf);
    to = raw.len != 0 ? vent_spec_get(v, raw) : NONE;
    dtqi_buf_unref(buf);
    return to;
}

/* The last one is kept: tasks of a queue are mostly alike. */
static uint32_t spec_for(struct vent *v, uint32_t from)
{
    struct move_job *job = &v->move_job;
    uint32_t to;

    if (from == job->spec_from)
        return vent_spec_get(v, v->specs[job->spec_to].spec.raw);
    to = spec_elsewhere(v, from, name_of(job->to));
    if (to == NONE)
        return NONE;
    if (job->spec_from != NONE) {
        vent_spec_drop(v, job->spec_from);
        vent_spec_drop(v, job->spec_to);
    }
    job->spec_from = vent_spec_get(v, v->specs[from].spec.raw);
    job->spec_to = to;
    return vent_spec_get(v, v->specs[to].spec.raw);
}

bool vent_is_moved(struct vent *v, const struct task *t, uint32_t spec)
{
    const struct dtqi_spec *own = &spec_of(v, t)->spec;
    uint32_t moved;

    if (spec == NONE || own->moved_from.len == 0 ||
        !dtqi_str_eq(v->specs[spec].spec.queue, own->moved_from))
        return false;
    moved = spec_elsewhere(v, spec, own->queue);
    if (moved != NONE)
        vent_spec_drop(v, moved);
    return moved == t->spec;
}

/* What the queues count of it. */
static void account(struct vent *v, const struct task *t, uint32_t from_spec)
{
    struct queue *from = &v->queues[v->specs[from_spec].queue];
    struct queue *to = queue_of(v, t);
    uint64_t was = (uint64_t)t->body_len + v->specs[from_spec].spec.raw.len;
    uint64_t is = task_bytes(v, t);

    vent_queue_take(v, from, was, (t->flags & TASK_DELAYED) != 0);
    vent_queue_add(v, to, is, (t->flags & TASK_DELAYED) != 0);
    v->resident_bytes = v->resident_bytes - was + is;
}

/* The journal may be reading the old spec: it goes with the end of the page. */
static bool keep_spec(struct vent *v, uint32_t spec)
{
    struct move_job *job = &v->move_job;

    if (!vent_grow(&job->specs, job->specs_n, &job->specs_room, sizeof *job->specs))
        return false;
    job->specs[job->specs_n++] = spec;
    return true;
}

/* A task that waits, or is in no state yet. false: no memory, nothing changed. */
static bool move(struct vent *v, struct task *t)
{
    uint64_t due_wall_ms = t->state == TASK_SCHEDULED ? t->since_ms : 0;
    uint32_t from = t->spec;
    uint32_t to = spec_for(v, from);

    if (to == NONE)
        return false;
    if (!vent_queue_lot(v, v->specs[to].queue, t->sink) || !keep_spec(v, from)) {
        vent_spec_drop(v, to);
        return false;
    }
    if (t->state != TASK_FREE)
        vent_task_move(v, t, TASK_FREE);
    t->spec = to;
    vent_queue_number(v, head_of(v, queue_of(v, t)));
    vent_queue_number(v, queue_of(v, t));
    account(v, t, from);
    vent_paper_transfer(v, t);
    if (due_wall_ms != 0)
        vent_schedule(v, t, due_wall_ms);
    else
        vent_recovered(v, t);
    v->move_job.n++;
    v->counters.tasks_moved++;
    return true;
}

/* ---------------------------------------------------------------- a page */

/* What ends already stays where it is. */
static bool is_ending(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);

    return (t->flags & (TASK_CANCEL | TASK_NO_KEY)) != 0 || vent_is_purged(v, queue_of(v, t), t) ||
           (p != NULL && p->counters.proposed != 0);
}

static bool is_wanted(const struct vent *v, const struct task *t)
{
    bool waits = t->state == TASK_FREE || t->state == TASK_HELD || t->state == TASK_READY ||
                 t->state == TASK_PARKED || t->state == TASK_SCHEDULED;

    return waits && !is_ending(v, t) &&
           dtqi_str_eq(spec_of(v, t)->spec.queue, name_of(v->move_job.from)) &&
           spec_of(v, t)->spec.raw.len <= DTQI_SPEC_BYTES_MAX - NAMES_BYTES_MAX;
}

static bool has_room(const struct vent *v)
{
    return vent_records(v) < v->cfg.resident_tasks_max - v->cfg.resident_tasks_max / 8 &&
           v->resident_bytes < v->cfg.resident_bytes_max / 4 * 3;
}

/* One that only the journal has. false: no room for it now. */
static bool move_journaled(struct vent *v, const struct journal_task *jt, struct dtqi_buf *buf)
{
    struct task *t = has_room(v) ? vent_recover(v, jt, buf) : NULL;

    if (t == NULL)
        return false;
    v->counters.tasks_loaded++;
    if (!is_wanted(v, t)) {
        vent_task_free(v, t);
        return true;
    }
    if (move(v, t)) {
        vent_task_own_body(t); /* else one long-lived task would keep the whole page */
        return true;
    }
    vent_task_free(v, t);
    return false;
}

static bool move_one(struct vent *v, const struct journal_task *jt, struct dtqi_buf *buf)
{
    struct task *t = vent_task_find(v, &jt->id);

    if (t == NULL)
        return move_journaled(v, jt, buf);
    return !is_wanted(v, t) || move(v, t);
}

/* It stops at the first one that there is no room for: those before it are moved. */
static void move_page(struct vent *v, const struct journal_read *a)
{
    struct move_job *job = &v->move_job;

    for (uint32_t i = 0; i < a->tasks_n; i++) {
        if (move_one(v, &a->tasks[i], a->buf))
            continue;
        job->text = "no room in the ventilator's memory now";
        job->has_next = i != 0 || job->has_after;
        job->next = i != 0 ? a->tasks[i - 1].id : job->after;
        return;
    }
    job->has_next = !a->end;
    job->next = a->last;
}

static void move_list(struct vent *v, const struct list *l)
{
    uint32_t next;

    for (uint32_t i = l->head; i != NONE; i = next) {
        struct task *t = task_at(v, i);

        next = t->paper_next;
        if (is_wanted(v, t))
            (void)move(v, t); /* without memory it stays, and may be moved by another order */
    }
}

/* What the journal cannot have answered with. */
static void move_unwritten(struct vent *v)
{
    move_list(v, &v->write);
    move_list(v, &v->fresh);
    for (uint32_t i = 0; v->flight != NULL && i < v->flight->ops_n; i++) {
        uint32_t task = v->flight->ops[i].type == JOURNAL_PUT ? v->batch_tasks[i] : NONE;
        struct task *t = task != NONE ? task_at(v, task) : NULL;

        if (t != NULL && t->state != TASK_FREE && t->paper == PAPER_HANDED && is_wanted(v, t))
            (void)move(v, t);
    }
}

/* ---------------------------------------------------------------- OPERATE */

static bool is_purging(const struct vent *v, struct dtqi_str name)
{
    uint32_t queue = vent_queue_find(v, name);

    return queue != NONE && v->queues[queue].settings.purge_seq != 0;
}

static const char *busy_with(const struct vent *v, const struct dtqi_operate *m)
{
    if (v->move_job.state != MOVE_IDLE)
        return "another queue is being moved";
    if (v->stopping)
        return "the ventilator is stopping";
    if (!v->grace_over)
        return "the ventilator has just started: workers are still saying what they hold";
    if (is_purging(v, m->target) || is_purging(v, m->destination))
        return "one of the two queues is being purged";
    return NULL;
}

static const char *flaw_of(const struct vent *v, const struct dtqi_operate *m)
{
    if (!dtqi_is_name(m->target) || !dtqi_is_name(m->destination))
        return "target, destination: not the names of two queues";
    if (dtqi_str_eq(m->target, m->destination))
        return "a queue cannot be moved into itself";
    if (vent_queue_find(v, m->target) == NONE)
        return "there is no queue of that name";
    return NULL;
}

/* false: no memory. */
static bool ask(struct vent *v, uint32_t limit)
{
    struct move_job *job = &v->move_job;
    uint32_t queue = vent_queue_find(v, name_of(job->from));
    struct vent_read *r =
        vent_read_new(v, READ_MOVE, JOURNAL_SCAN, &job->after, job->has_after ? 1 : 0);

    if (r == NULL)
        return false;
    r->read.queue = v->queues[queue].number;
    r->read.limit = limit;
    r->read.bodies = true;
    job->state = MOVE_READING;
    vent_read_send(v, r);
    return true;
}

void vent_on_move(struct vent *v, uint32_t route, const struct dtqi_operate *m)
{
    const char *flaw = flaw_of(v, m);
    const char *busy = flaw == NULL ? busy_with(v, m) : NULL;
    struct move_job *job = &v->move_job;

    if (flaw != NULL || busy != NULL) {
        vent_operate_refuse(v, route, m, flaw != NULL ? DTQI_BAD_TASK : DTQI_BUSY,
                            flaw != NULL ? flaw : busy);
        return;
    }
    job->route = route;
    job->request = m->request;
    job->has_after = m->has_after;
    job->after = m->after;
    memcpy(job->from, m->target.at, m->target.len);
    memcpy(job->to, m->destination.at, m->destination.len);
    vent_queue_number(v, &v->queues[vent_queue_find(v, m->target)]);
    if (!ask(v, PAGE_TASKS)) {
        job_end(v);
        vent_operate_refuse(v, route, m, DTQI_BUSY, "out of memory");
    }
}

void vent_move_read(struct vent *v, struct vent_read *r)
{
    struct move_job *job = &v->move_job;
    const struct journal_read *a = &r->read;

    assert(job->state == MOVE_READING);
    if (a->err == DTQ_ENOMEM && a->limit > PAGE_TASKS_LEAST && ask(v, PAGE_TASKS_LEAST))
        return; /* large payloads: fewer of them at a time */
    job->state = MOVE_WRITING;
    if (a->err != DTQ_OK) {
        job->text = "the journal could not be read, or out of memory";
        return; /* vent_moves_tick() goes on */
    }
    if (!job->has_after)
        move_unwritten(v);
    move_page(v, a);
}

void vent_moves_tick(struct vent *v)
{
    if (v->move_job.state == MOVE_WRITING && v->transfers == 0)
        job_answer(v);
}
