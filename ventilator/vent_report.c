#include "retry_rules.h"
#include "vent_internal.h"

uint32_t vent_crashes_left(const struct vent *v, const struct task *t)
{
    uint32_t limit = spec_of(v, t)->spec.crash_limit;
    const struct past *p = past_of(v, t);
    uint32_t crashes = p != NULL ? p->counters.crashes : 0;

    limit = limit != 0 ? limit : v->cfg.crash_limit;
    return crashes < limit ? limit - crashes : 0;
}

/* ---------------------------------------------------------------- failures */

/* R21: the death of a slot is a crash; every other end is a failure of the task's own. */
static void count(struct past *p, const struct dtqi_failure *f)
{
    bool is_crash = f->reason == DTQ_REASON_CRASH || f->reason == DTQ_REASON_OOM;

    p->counters.reason = (uint8_t)f->reason;
    p->counters.code = f->code;
    if (!is_crash && p->counters.failures < UINT32_MAX)
        p->counters.failures++;
    if (is_crash && p->counters.crashes < UINT16_MAX)
        p->counters.crashes++;
}

/* What the task says of failures like this one. */
static bool is_repeatable(const struct dtqi_spec *s, const struct dtqi_failure *f)
{
    if (s->retry_on.len != 0 && !dtqi_retry_rules_match(s->retry_on, f->reason, f->code))
        return false;
    return !dtqi_retry_rules_match(s->no_retry_on, f->reason, f->code);
}

static bool is_final(const struct vent *v, const struct task *t, const struct past *p,
                     const struct dtqi_failure *f)
{
    const struct dtqi_spec *s = &spec_of(v, t)->spec;

    return f->no_retry || p->counters.failures > s->retries || vent_crashes_left(v, t) == 0 ||
           !is_repeatable(s, f);
}

static uint64_t delay_ms(struct vent *v, const struct task *t, const struct past *p,
                         const struct dtqi_failure *f)
{
    uint32_t times = p->counters.failures + p->counters.crashes;

    if (f->retry_after_ms != 0)
        return f->retry_after_ms < DTQI_DURATION_MS_MAX ? f->retry_after_ms : DTQI_DURATION_MS_MAX;
    return vent_backoff_ms(v, &spec_of(v, t)->spec, times);
}

/* R36: it ended because it was told to, and that is no failure. What it says of its end stays: it
 * may have failed before it was told. */
static void note_cancelled(struct vent *v, struct task *t, const struct dtqi_failure *f)
{
    struct dtqi_failure end = *f;

    end.reason = DTQ_REASON_NONE;
    end.code = 0;
    if (f->reason == DTQ_REASON_SIGNAL || f->text.len == 0)
        end.text = dtqi_str("cancelled");
    vent_note(v, t, &end, &v->workers[t->worker]);
}

/* The end of an attempt that was to be stopped. */
static void stopped(struct vent *v, struct task *t, struct past *p, const struct dtqi_failure *f)
{
    p->counters.counted = (struct journal_attempt){task_epoch(v, t), t->attempt}; /* R2 */
    note_cancelled(v, t, f);
    vent_dirty(v, t, false);
    vent_propose_cancelled(v, t);
}

void vent_failed(struct vent *v, struct task *t, const struct dtqi_failure *f)
{
    struct worker *w = &v->workers[t->worker];
    struct past *p = vent_past(v, t);

    w->failed_total += t->state != TASK_STOPPING;
    t->flags &= (uint16_t)~TASK_SUSPECT; /* it ended, and its worker lives */
    if (p == NULL) {
        v->counters.messages_dropped++;
        vent_attempt_lost(v, t, LOST_RETURNED); /* no memory to count it: it is tried again */
        return;
    }
    if (t->state == TASK_STOPPING) {
        stopped(v, t, p, f);
        return;
    }
    p->counters.counted = (struct journal_attempt){task_epoch(v, t), t->attempt}; /* R2 */
    vent_note(v, t, f, w);
    count(p, f);
    vent_dirty(v, t, false);
    if (is_final(v, t, p, f)) {
        vent_propose_failed(v, t);
    } else {
        p->counters.due_wall_ms = v->wall_ms + delay_ms(v, t, p, f);
        v->counters.tasks_retried++;
        vent_task_own_body(t);
        vent_release(v, t);
    }
}

/* ---------------------------------------------------------------- REPORT */

/* R1: the lease of this worker, and the attempt as named. */
static bool is_lease(const struct task *t, const struct worker *w)
{
    return t != NULL && (t->state == TASK_LEASED || t->state == TASK_STOPPING) &&
           t->worker == w->index;
}

static void report_done(struct vent *v, struct worker *w, uint32_t ticket)
{
    uint32_t index = ticket & TICKET_INDEX_MASK;
    struct task *t = index < v->tasks_used ? task_at(v, index) : NULL;

    if (!is_lease(t, w) || t->generation != ticket >> TASK_INDEX_BITS) {
        v->counters.reports_stale++;
        return;
    }
    vent_list_remove(v, &w->leased, t);
    vent_task_move(v, t, TASK_DONE);
    vent_list_push(v, &w->done, t);
    if ((t->flags & TASK_PROBATION) != 0)
        w->probation = false;
    t->flags &= (uint16_t) ~(TASK_PROBATION | TASK_SUSPECT);
    w->done_total++;
}

static void report_failure(struct vent *v, struct worker *w, const struct dtqi_failure *f)
{
    struct task *t = vent_task_find(v, &f->id);

    if (is_lease(t, w) && t->attempt == f->attempt && task_epoch(v, t) == f->epoch)
        vent_failed(v, t, f);
    else
        v->counters.reports_stale++;
    vent_forget(v, w, &f->id, f->epoch, f->attempt); /* R23: current or not */
}

static void report_returned(struct vent *v, struct worker *w, const dtq_id *id)
{
    struct task *t = vent_task_find(v, id);

    if (is_lease(t, w))
        vent_attempt_lost(v, t, LOST_RETURNED);
    else
        v->counters.reports_stale++;
}

static void report_started(struct vent *v, struct worker *w, const dtq_id *id)
{
    struct task *t = vent_task_find(v, id);

    if (!is_lease(t, w)) {
        v->counters.reports_stale++;
        return;
    }
    t->flags |= TASK_RUNNING;
    vent_task_own_body(t); /* it may stay for long, and would keep its whole batch in memory */
}

static void apply(struct vent *v, struct worker *w, const struct dtqi_report *m)
{
    w->report_seq = m->report_seq;
    w->credit_tasks = m->credit_tasks;
    w->credit_bytes = m->credit_bytes;
    w->bytes_short = false;
    for (uint32_t i = 0; i < m->done_n; i++) {
        if (i + DTQI_IDMAP_AHEAD < m->done_n)
            vent_record_expect(v, m->done_tickets[i + DTQI_IDMAP_AHEAD] & TICKET_INDEX_MASK);
        report_done(v, w, m->done_tickets[i]);
    }
    for (uint32_t i = 0; i < m->failures_n; i++)
        report_failure(v, w, &m->failures[i]);
    for (uint32_t i = m->returned_n; i > 0; i--) /* each goes to the head of its queue */
        report_returned(v, w, &m->returned_ids[i - 1]);
    for (uint32_t i = 0; i < m->started_n; i++)
        report_started(v, w, &m->started_ids[i]);
    for (uint32_t i = 0; i < m->stopped_n; i++)
        report_returned(v, w, &m->stopped_ids[i]);
    if (m->returned_n != 0)
        w->recalled_ms = 0;
}

void vent_on_report(struct vent *v, struct worker *w, const struct dtqi_report *m)
{
    if (m->report_seq <= w->report_seq)
        return; /* applied: the next heartbeat says so */
    if (m->report_seq != w->report_seq + 1) {
        v->counters.reports_gap++;
        vent_worker_lose(v, w, "a report is missing", true);
        return;
    }
    apply(v, w, m);
    vent_worker_touch(v, w);
}
