/*
 * Dead letters: tasks that failed for good, as the journal keeps them. They are requeued (R37) and
 * purged a page at a time, read first and changed then, and they are forgotten when they are old.
 */
#include "vent_internal.h"

#define DEAD_PAGE_MAX 256u
#define DEAD_PAGE_BYTES (4u * 1024 * 1024)
#define SWEEP_PAGE 512u
#define SWEEP_EACH_MS 600000u
#define SPEC_BYTES_FIRST 1024u

static const char out_of_memory[] = "out of memory";

/* ---------------------------------------------------------------- deletes */

/* Its attempts are kept until a time after the end of the task, as those of any other. */
static bool forget(struct vent *v, const struct journal_task *jt)
{
    uint64_t until_wall_ms = jt->dead_wall_ms + v->cfg.history_ttl_ms;

    if (!vent_grow(&v->dead_dels, v->dead_dels_n, &v->dead_dels_room, sizeof *v->dead_dels))
        return false;
    v->dead_dels[v->dead_dels_n++] =
        (struct dead_del){jt->id, until_wall_ms > v->wall_ms ? until_wall_ms : 0};
    vent_lazy(v);
    return true;
}

/* ---------------------------------------------------------------- the operation under way */

static void job_end(struct vent *v)
{
    free(v->dead_job.old_ids);
    v->dead_job = (struct dead_job){.state = DEAD_IDLE};
}

static const dtq_id *copy_ids(struct vent *v, const dtq_id *ids, uint32_t n)
{
    dtq_id *copy = vent_scratch(v, n, sizeof *copy);

    if (copy != NULL && n != 0)
        memcpy(copy, ids, n * sizeof *copy);
    return copy;
}

static void job_answer(struct vent *v)
{
    const struct dead_job *job = &v->dead_job;
    bool is_requeue = job->operation == DTQI_DEAD_REQUEUE;
    const dtq_id *old_ids = copy_ids(v, job->old_ids, is_requeue ? job->n : 0);
    const dtq_id *new_ids = copy_ids(v, job->new_ids, is_requeue ? job->n : 0);
    struct dtqi_msg *reply = NULL;

    if (old_ids != NULL && new_ids != NULL)
        reply = vent_send(v, job->route, DTQI_OPERATE_REPLY);
    if (reply == NULL)
        return;
    reply->operate_reply = (struct dtqi_operate_reply){
        .request = job->request,
        .reason = job->n == 0 ? job->reason : DTQI_REFUSAL_NONE,
        .text = dtqi_str(job->text != NULL ? job->text : ""),
        .count = job->n,
        .ids = new_ids,
        .n = is_requeue ? job->n : 0,
        .old_ids = old_ids,
        .has_next = job->has_next,
        .next = job->next,
    };
}

static const char *busy_with(const struct vent *v)
{
    if (v->dead_job.state != DEAD_IDLE)
        return "another operation on dead letters is under way";
    if (v->stopping)
        return "the ventilator is stopping";
    return NULL;
}

static struct vent_read *ask(struct vent *v, const struct dtqi_operate *m)
{
    struct vent_read *r;

    if (m->all)
        r = vent_read_new(v, READ_DEAD_JOB, JOURNAL_DEAD_LIST, &m->after, m->has_after);
    else
        r = vent_read_new(v, READ_DEAD_JOB, JOURNAL_DEAD_LOOKUP, m->ids, m->n);
    if (r == NULL)
        return NULL;
    r->read.limit = DEAD_PAGE_MAX;
    r->read.bytes_max = DEAD_PAGE_BYTES;
    r->read.bodies = true;
    return r;
}

/* Ids are by our clock; how old a dead letter is people tell by the wall clock. */
static uint64_t before_ms(const struct vent *v, const struct dtqi_operate *m)
{
    uint64_t at_ms = m->before_wall_ms;

    if (at_ms == 0 || m->operation != DTQI_DEAD_PURGE)
        return at_ms;
    return at_least_1(vent_steady_wall_ms(v, at_ms));
}

void vent_on_dead_operation(struct vent *v, uint32_t route, const struct dtqi_operate *m)
{
    const char *busy = busy_with(v);
    struct vent_read *r;

    if (m->target.len > DTQI_NAME_BYTES_MAX || (!m->all && m->n == 0)) {
        vent_operate_refuse(v, route, m, DTQI_BAD_TASK, "which dead letters?");
        return;
    }
    if (busy != NULL) {
        vent_operate_refuse(v, route, m, DTQI_BUSY, busy);
        return;
    }
    r = ask(v, m);
    if (r == NULL) {
        vent_operate_refuse(v, route, m, DTQI_BUSY, out_of_memory);
        return;
    }
    v->dead_job = (struct dead_job){
        .state = DEAD_READING,
        .operation = (uint8_t)m->operation,
        .route = route,
        .request = m->request,
        .before_wall_ms = before_ms(v, m),
    };
    if (m->target.len != 0)
        memcpy(v->dead_job.queue, m->target.at, m->target.len);
    if (m->has_after)
        vent_read_send(v, r); /* the first page has waited */
    else
        vent_dying_read_send(v, r);
}

/* ---------------------------------------------------------------- requeue */

/* Where a producer would send it: R4. With no sink registered, where it was. */
static uint32_t choose_sink(struct vent *v, const dtq_id *id, const dtqi_uid *was)
{
    uint32_t chosen = vent_sink_choose(v, id);

    return chosen != NONE ? chosen : vent_sink_get(v, was);
}

/* The spec of the dead letter, with its id in it. The key stays the dead letter's. */
static uint32_t spec_of_dead(struct vent *v, const struct journal_task *jt)
{
    struct dtqi_buf *buf = dtqi_buf_new(jt->spec.len + SPEC_BYTES_FIRST, DTQI_SPEC_BYTES_MAX * 64u);
    struct dtqi_spec spec;
    struct dtqi_slice raw;
    uint32_t index = NONE;
    char why[8];

    if (buf == NULL)
        return NONE;
    if (v->cfg.spec_decode(jt->spec, buf, &spec, why, sizeof why) == DTQ_OK) {
        spec.requeued_from = (struct dtqi_slice){jt->id.bytes, sizeof jt->id.bytes};
        spec.key = (struct dtqi_str){"", 0};
        spec.moved_from = (struct dtqi_str){"", 0};
        spec.key_ttl_ms = 0;
        raw = v->cfg.spec_encode(&spec, buf);
        if (raw.len != 0)
            index = vent_spec_get(v, raw);
    }
    dtqi_buf_unref(buf);
    return index;
}

/* A record for it, in no state yet. NULL: `job` says why not. */
static struct task *task_of_dead(struct vent *v, const struct journal_task *jt,
                                 struct dtqi_buf *buf)
{
    struct dead_job *job = &v->dead_job;
    dtq_id id = vent_new_id(v, v->wall_ms);
    uint32_t spec = spec_of_dead(v, jt);
    struct task *t = NULL;
    uint32_t sink;

    job->reason = DTQI_BUSY;
    job->text = out_of_memory;
    if (spec == NONE)
        return NULL;
    job->text = vent_refusal_of_new(v, &v->queues[v->specs[spec].queue], &job->reason);
    sink = job->text == NULL ? choose_sink(v, &id, &jt->sink) : NONE;
    if (sink != NONE && vent_queue_lot(v, v->specs[spec].queue, sink))
        t = vent_task_new(v, &id, spec, jt->body, buf);
    if (t != NULL) {
        t->sink = (uint8_t)sink;
        return t;
    }
    vent_spec_drop(v, spec);
    if (job->text == NULL) {
        job->reason = DTQI_BUSY;
        job->text = "the table of tasks is full, or out of memory";
    }
    return NULL;
}

static bool requeue(struct vent *v, uint32_t wait, const struct journal_task *jt,
                    struct dtqi_buf *buf)
{
    struct dead_job *job = &v->dead_job;
    struct task *t = task_of_dead(v, jt, buf);

    if (t == NULL)
        return false;
    t->reply_to = jt->reply_to;
    t->marks = TASK_ALWAYS | TASK_REQUEUED;
    vent_task_own_body(t);           /* else one long-lived task would keep the whole page */
    (void)vent_wait_for(v, wait, t); /* the first one needs no memory */
    vent_admit(v, t);
    v->counters.dead_requeued++;
    job->new_ids[job->n] = t->id;
    job->old_ids[job->n++] = jt->id;
    return true;
}

/* ---------------------------------------------------------------- what was read */

bool vent_dead_is_aged(const struct vent *v, const struct journal_task *jt)
{
    return v->cfg.dead_ttl_ms != 0 && jt->dead_wall_ms + v->cfg.dead_ttl_ms <= v->wall_ms;
}

static bool is_wanted(const struct vent *v, const struct journal_task *jt)
{
    const struct dead_job *job = &v->dead_job;
    uint32_t queue = vent_queue_find(v, dtqi_str(job->queue));

    if (job->operation == DTQI_DEAD_REQUEUE && vent_dead_is_aged(v, jt))
        return false; /* the next sweep forgets it */
    if (job->before_wall_ms != 0 && dtqi_id_wall_ms(&jt->id) >= job->before_wall_ms)
        return false;
    return job->queue[0] == '\0' || (queue != NONE && v->queues[queue].number == jt->key.queue);
}

/* It stops at the first one that there is no room for: those before it are requeued. */
static void requeue_page(struct vent *v, const struct journal_read *a, uint32_t wait)
{
    struct dead_job *job = &v->dead_job;

    for (uint32_t i = 0; i < a->tasks_n; i++) {
        if (!is_wanted(v, &a->tasks[i]) || requeue(v, wait, &a->tasks[i], a->buf))
            continue;
        job->has_next = i != 0;
        job->next = a->tasks[i != 0 ? i - 1 : 0].id;
        return;
    }
}

static void purge_page(struct vent *v, const struct journal_read *a)
{
    struct dead_job *job = &v->dead_job;

    for (uint32_t i = 0; i < a->tasks_n; i++) {
        if (!is_wanted(v, &a->tasks[i]))
            continue;
        if (!forget(v, &a->tasks[i])) {
            job->reason = DTQI_BUSY;
            job->text = out_of_memory;
            break;
        }
        job->n++;
        v->counters.dead_purged++;
    }
    job->until = v->dead_dels_done + v->dead_dels_n;
    v->urgent |= job->n != 0;
}

static bool job_begin(struct vent *v, const struct vent_read *r, uint32_t *ret_wait)
{
    struct dead_job *job = &v->dead_job;
    const struct journal_read *a = &r->read;

    if (a->err != DTQ_OK)
        return false;
    job->old_ids = malloc((a->tasks_n + 1) * 2 * sizeof *job->old_ids);
    if (job->old_ids == NULL)
        return false;
    job->new_ids = job->old_ids + a->tasks_n + 1;
    if (job->operation == DTQI_DEAD_REQUEUE) {
        *ret_wait = vent_wait_new(v, WAIT_REQUEUE, job->route, job->request);
        if (*ret_wait == NONE)
            return false;
    }
    job->has_next = !a->end;
    job->next = a->last;
    job->state = DEAD_WRITING;
    return true;
}

void vent_dead_job_read(struct vent *v, struct vent_read *r)
{
    struct dead_job *job = &v->dead_job;
    uint32_t wait = NONE;

    assert(job->state == DEAD_READING);
    if (!job_begin(v, r, &wait)) {
        job->reason = DTQI_BUSY;
        job->text = "the journal could not be read, or out of memory";
        job_answer(v);
        job_end(v);
        return;
    }
    if (job->operation == DTQI_DEAD_PURGE) {
        purge_page(v, &r->read);
        return; /* vent_dead_tick() goes on */
    }
    requeue_page(v, &r->read, wait);
    vent_wait_release(v, wait);
}

void vent_dead_answer(struct vent *v)
{
    job_answer(v);
    job_end(v);
}

/* ---------------------------------------------------------------- old ones */

static void sweep(struct vent *v)
{
    struct vent_read *r;

    if (v->cfg.dead_ttl_ms == 0 || v->dead_sweeping || v->stopping)
        return;
    if (v->now_ms < v->dead_sweep_ms) {
        due_at(v, v->dead_sweep_ms);
        return;
    }
    r = vent_read_new(v, READ_DEAD_SWEEP, JOURNAL_DEAD_LIST, &v->dead_sweep_after,
                      v->dead_sweep_goes_on);
    v->dead_sweep_ms = v->now_ms + SWEEP_EACH_MS;
    if (r == NULL)
        return;
    r->read.limit = SWEEP_PAGE;
    v->dead_sweeping = true;
    vent_read_send(v, r);
}

/* In order of ids, and no task dies before its id was made: behind a young id all are young. */
void vent_dead_sweep_read(struct vent *v, struct vent_read *r)
{
    const struct journal_read *a = &r->read;
    uint64_t ttl_ms = v->cfg.dead_ttl_ms;

    v->dead_sweeping = false;
    for (uint32_t i = 0; a->err == DTQ_OK && i < a->tasks_n; i++)
        if (vent_dead_is_aged(v, &a->tasks[i]) && forget(v, &a->tasks[i]))
            v->counters.dead_aged++;
    v->dead_sweep_goes_on =
        a->err == DTQ_OK && !a->end && dtqi_id_wall_ms(&a->last) + ttl_ms <= v->wall_ms;
    v->dead_sweep_after = a->last;
    if (v->dead_sweep_goes_on)
        v->dead_sweep_ms = v->now_ms;
}

void vent_dead_tick(struct vent *v)
{
    const struct dead_job *job = &v->dead_job;

    if (job->state == DEAD_WRITING && job->operation == DTQI_DEAD_PURGE &&
        v->dead_dels_done >= job->until) {
        job_answer(v);
        job_end(v);
    }
    sweep(v);
}

void vent_dead_done(struct vent *v)
{
    job_end(v);
    free(v->dead_dels);
}
