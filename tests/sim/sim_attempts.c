#include "sim_parts.h"

/*
 * What the simulation has seen of each attempt, and the promises about attempts:
 *   - a number is given once, and grows
 *   - there is no second lease while the first is alive: its end was reported, it was given back,
 * it is not in a list that V asked for, or the lane it came on is closed (R1, R18, R19)
 *   - none is given when V has counted too many ends (R2, R21). A restart may forget what V had
 *     counted and not yet written: that is the slack of the limit
 *   - a slot gets only what its worker was sent, and nothing that it was told to forget
 *   - credit is kept, in tasks and in bytes, on the side that sends (R15)
 *   - in a group in order nothing is given while a task of it that was given before, or was safe
 *     before this one was made, has no outcome (R50); of what was moved, while one of it is given
 */

struct attempt_info *attempt_find(const struct task_info *t, uint64_t epoch, uint32_t number)
{
    for (uint32_t i = t->attempts_n; i > 0; i--)
        if (t->attempts[i - 1].epoch == epoch && t->attempts[i - 1].number == number)
            return &t->attempts[i - 1];
    return NULL;
}

static struct attempt_info *add_attempt(struct task_info *t)
{
    if (t->attempts_n == t->attempts_room) {
        t->attempts_room = t->attempts_room != 0 ? 2 * t->attempts_room : 4;
        t->attempts = realloc(t->attempts, t->attempts_room * sizeof *t->attempts);
        assert(t->attempts != NULL);
    }
    return &t->attempts[t->attempts_n++];
}

static struct task_info *info_of(struct sim *s, const dtq_id *id)
{
    uint32_t task = check_task(s, id);

    return task != NONE ? &s->tasks[task] : NULL;
}

/* ---------------------------------------------------------------- leases */

bool attempt_is_leased(struct sim *s, const struct attempt_info *a)
{
    return a->lease_epoch == s->epoch && !a->is_over &&
           lane_find(&s->nodes[VENT], a->session) != NULL;
}

/* R30: it is done, and its outcome does not get through. */
static bool is_rerouted(const struct sim *s, const struct attempt_info *a)
{
    return a->end == ATTEMPT_SUCCEEDED && sim_now_ms(s) - a->ended_ms >= s->vent_cfg.reroute_ms;
}

/* Without faults, an attempt ends by what its worker says. */
static bool has_lease(struct sim *s, struct task_info *t)
{
    for (uint32_t i = 0; i < t->attempts_n; i++) {
        struct attempt_info *a = &t->attempts[i];

        a->is_over |= is_rerouted(s, a);
        if (attempt_is_leased(s, a) || (s->is_faultless && !a->is_over))
            return true;
    }
    return false;
}

static bool has_too_many_ends(const struct sim *s, const struct task_info *t)
{
    if (t->counted_epoch != s->epoch)
        return false;
    return t->counted_final || t->counted_failures > t->plan.retries ||
           t->counted_crashes >= check_crash_limit(t);
}

static void check_number(struct sim *s, const struct task_info *t, uint32_t task, uint32_t number)
{
    char name[8];

    for (uint32_t i = 0; i < t->attempts_n; i++)
        if (t->attempts[i].epoch == s->epoch && t->attempts[i].number >= number)
            sim_fail(s, "V gives attempt %u of %s, and gave %u before", number,
                     story_task(task, name), t->attempts[i].number);
}

static void check_credit(struct sim *s, struct lane *l, const struct dtqi_tasks *m, uint32_t i)
{
    const struct dtqi_spec *spec = &m->specs[dtqi_col32(m->spec_index, i, 0)];
    uint64_t bytes = dtqi_task_credit_bytes(spec->raw.len, m->bodies[i].len);

    l->sent_tasks++;
    l->sent_bytes += bytes;
    if (l->sent_tasks > l->told_tasks)
        sim_fail(s, "V sends %llu tasks on credit for %llu", (unsigned long long)l->sent_tasks,
                 (unsigned long long)l->told_tasks);
    if (l->sent_bytes <= l->told_bytes)
        return;
    for (uint32_t k = 0; k < s->tasks_n; k++) /* one of any size for who holds nothing */
        for (uint32_t n = 0;
             n < s->tasks[k].attempts_n && s->tasks[k].settled_in != s->nodes[VENT].incarnation;
             n++) {
            const struct attempt_info *a = &s->tasks[k].attempts[n];

            if (a->session == l->session && attempt_is_leased(s, a))
                sim_fail(s, "V sends %llu bytes on credit for %llu",
                         (unsigned long long)l->sent_bytes, (unsigned long long)l->told_bytes);
        }
}

/* ---------------------------------------------------------------- groups in order */

/* V has not lost it with what it had not written down. A sink's lost outcomes were known to V. */
static bool is_open_at_vent(const struct sim *s, const struct task_info *t)
{
    const struct attempt_info *last = t->attempts_n != 0 ? &t->attempts[t->attempts_n - 1] : NULL;

    if (t->outcome != 0 || t->is_lost || t->was_told)
        return false;
    return t->verdict == VERDICT_CONFIRMED || (last != NULL && last->epoch == s->epoch);
}

/* That it was given in a life before, a delayed one that comes of age now need not know; nor need
 * any, if its record was lost with that life and it was admitted anew: its place is the new one,
 * in each later life, too. */
static bool was_given(const struct sim *s, const struct task_info *t, const struct task_info *other)
{
    bool is_known =
        other->plan.delay_ms == 0 && t->confirmed_us != 0 && t->confirmed_us < s->vent_start_us;

    for (uint32_t i = 0; i < t->attempts_n; i++)
        if (t->attempts[i].epoch == s->epoch ||
            (t->attempts[i].epoch != 0 && t->attempts[i].epoch >= t->known_from && is_known))
            return true;
    return false;
}

static bool was_safe_before(const struct task_info *t, const struct task_info *other)
{
    return t->confirmed_us != 0 && t->confirmed_us < other->submitted_us && t->plan.delay_ms == 0;
}

/* What was settled, which is lost with the sink's disk and with what V had not written, is open
 * again in its old place: before what was given after it. */
static bool is_open_again_before(const struct task_info *t, const struct task_info *other)
{
    return t->is_lost && t->known_from == 0 && t->given_us != 0 && t->given_us < other->given_us;
}

static bool is_leased(struct sim *s, const struct task_info *t)
{
    for (uint32_t i = 0; i < t->attempts_n; i++)
        if (t->attempts[i].end == ATTEMPT_OPEN && attempt_is_leased(s, &t->attempts[i]))
            return true;
    return false;
}

/* Of one group, as far as is known: what may have been moved is in the queue that it was given of,
 * as long as it is given. */
static bool is_of_group(struct sim *s, const struct task_info *t, const struct task_info *other)
{
    if (!t->plan.ordered || t->plan.group != other->plan.group || t->queue != other->queue)
        return false;
    return (!t->may_move && !other->may_move) || is_leased(s, t);
}

static void check_order(struct sim *s, uint32_t task)
{
    const struct task_info *t = &s->tasks[task];
    char name[8];
    char first[8];

    for (uint32_t i = 0; t->plan.ordered && i < s->tasks_n; i++) {
        const struct task_info *u = &s->tasks[i];

        if (i == task || !is_open_at_vent(s, u) || !is_of_group(s, u, t))
            continue;
        if ((was_given(s, u, t) && !is_open_again_before(t, u)) || was_safe_before(u, t))
            sim_fail(s, "V gives %s out of order: %s of its group has no outcome",
                     story_task(task, name), story_task(i, first));
    }
}

void attempt_dispatched(struct sim *s, uint64_t session, const struct dtqi_tasks *m, uint32_t i)
{
    struct lane *l = lane_find(&s->nodes[VENT], session);
    uint32_t task = check_task(s, &m->ids[i]);
    struct task_info *t = &s->tasks[task];
    uint32_t number = dtqi_col32(m->attempts, i, 1);
    char name[8];

    check_number(s, t, task, number);
    if (has_lease(s, t))
        sim_fail(s, "V gives %s away twice", story_task(task, name));
    if (has_too_many_ends(s, t))
        sim_fail(s, "V dispatches %s after %u failures and %u crashes", story_task(task, name),
                 t->counted_failures, t->counted_crashes);
    if (l != NULL)
        check_credit(s, l, m, i);
    *add_attempt(t) = (struct attempt_info){.epoch = s->epoch,
                                            .number = number,
                                            .lease_epoch = s->epoch,
                                            .session = session,
                                            .node = NONE};
    if (t->given_us == 0)
        t->given_us = s->now_us;
    rules_dispatched(s, session, m, i); /* which finds out of which queue it is */
    check_order(s, task);
}

/* ---------------------------------------------------------------- at the worker */

void attempts_taken_in(struct sim *s, const struct node *w, uint64_t epoch,
                       const struct dtqi_tasks *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct task_info *t = info_of(s, &m->ids[i]);
        struct attempt_info *a =
            t != NULL ? attempt_find(t, epoch, dtqi_col32(m->attempts, i, 1)) : NULL;

        if (a == NULL)
            continue; /* of a life that V has forgotten since */
        a->node = (uint32_t)(w - s->nodes);
        a->incarnation = w->incarnation;
        if (dtqi_col64(m->expires_in_ms, i) != 0)
            a->expires_at_ms = sim_now_ms(s) + dtqi_col64(m->expires_in_ms, i);
    }
}

/* The attempt that a slot is to run: the last one of that number which came to this process. */
uint32_t attempt_fed(struct sim *s, const struct node *w, uint32_t task, uint32_t number)
{
    const struct task_info *t = &s->tasks[task];
    char name[8];

    for (uint32_t i = t->attempts_n; i > 0; i--) {
        const struct attempt_info *a = &t->attempts[i - 1];

        if (a->number != number || a->node != (uint32_t)(w - s->nodes) ||
            a->incarnation != w->incarnation)
            continue;
        if (a->is_forgotten)
            sim_fail(s, "%s runs attempt %u of %s, and was told to forget it", w->name, number,
                     story_task(task, name));
        return i - 1;
    }
    sim_fail(s, "%s runs attempt %u of %s, which it was not sent", w->name, number,
             story_task(task, name));
    return NONE;
}

void attempt_ended(const struct sim *s, struct task_info *t, uint32_t index, enum attempt_end end)
{
    if (index >= t->attempts_n)
        return;
    t->attempts[index].end = end;
    t->attempts[index].ended_ms = sim_now_ms(s);
}

/* What is still on the lane, which is another connection, is not there to be forgotten. */
void attempts_forgotten(struct sim *s, const struct node *w, const struct dtqi_forget *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct task_info *t = info_of(s, &m->ids[i]);
        struct attempt_info *a =
            t != NULL ? attempt_find(t, m->epoch, dtqi_col32(m->attempts, i, 1)) : NULL;

        if (a != NULL && a->node == (uint32_t)(w - s->nodes))
            a->is_forgotten = true;
    }
}

/* ---------------------------------------------------------------- at the ventilator */

static void count_end(struct sim *s, struct task_info *t, struct attempt_info *a)
{
    if (a->is_counted)
        return;
    a->is_counted = true;
    if (t->counted_epoch != s->epoch) {
        t->counted_epoch = s->epoch;
        t->counted_failures = t->counted_crashes = 0;
        t->counted_final = false;
    }
    t->counted_failures += a->end == ATTEMPT_FAILED || a->end == ATTEMPT_FAILED_FOR_GOOD;
    t->counted_crashes += a->end == ATTEMPT_CRASHED || a->end == ATTEMPT_CRASHED_FOR_GOOD;
    t->counted_final |= a->end == ATTEMPT_FAILED_FOR_GOOD || a->end == ATTEMPT_CRASHED_FOR_GOOD;
}

static struct attempt_info *lease_of(struct sim *s, const dtq_id *id, uint64_t session)
{
    struct task_info *t = info_of(s, id);

    for (uint32_t i = t != NULL ? t->attempts_n : 0; i > 0; i--)
        if (t->attempts[i - 1].session == session && attempt_is_leased(s, &t->attempts[i - 1]))
            return &t->attempts[i - 1];
    return NULL;
}

static void note_over(struct sim *s, const dtq_id *ids, uint32_t n, uint64_t session)
{
    for (uint32_t i = 0; i < n; i++) {
        struct attempt_info *a = lease_of(s, &ids[i], session);
        const struct task_info *t = info_of(s, &ids[i]);

        if (t != NULL)
            rules_returned(s, t);
        if (a != NULL)
            a->is_over = true;
    }
}

static void note_report(struct sim *s, struct lane *l, const struct dtqi_report *m)
{
    for (uint32_t i = 0; i < m->failures_n; i++) {
        const struct dtqi_failure *f = &m->failures[i];
        struct attempt_info *a = lease_of(s, &f->id, m->session);

        if (a == NULL || a->epoch != f->epoch || a->number != f->attempt)
            continue;
        rules_failed(s, info_of(s, &f->id), f);
        count_end(s, info_of(s, &f->id), a);
        a->is_over = true;
    }
    note_over(s, m->returned_ids, m->returned_n, m->session);
    note_over(s, m->stopped_ids, m->stopped_n, m->session);
    l->report_seq = m->report_seq;
}

/* R18: what a list that was asked for does not name is lost. */
static void note_holdings(struct sim *s, const struct dtqi_holdings *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct task_info *t = info_of(s, &m->ids[i]);
        struct attempt_info *a = t != NULL ? attempt_find(t, m->epochs[i], m->attempts[i]) : NULL;

        if (a != NULL)
            a->is_listed = true;
    }
    for (uint32_t k = 0; m->last && k < s->tasks_n; k++)
        for (uint32_t i = 0; i < s->tasks[k].attempts_n; i++) {
            struct attempt_info *a = &s->tasks[k].attempts[i];

            a->is_over |= a->session == m->session && !a->is_listed;
            a->is_listed = false;
        }
}

static void raise_credit(struct lane *l, uint64_t tasks, uint64_t bytes)
{
    if (l == NULL)
        return;
    if (tasks > l->told_tasks)
        l->told_tasks = tasks;
    if (bytes > l->told_bytes)
        l->told_bytes = bytes;
}

void attempts_frame_to_vent(struct sim *s, const struct dtqi_msg *msg)
{
    struct node *v = &s->nodes[VENT];
    struct lane *l;

    if (msg->type == DTQI_HOLDINGS) {
        note_holdings(s, &msg->holdings);
    } else if (msg->type == DTQI_WORKER_HEARTBEAT) {
        raise_credit(lane_find(v, msg->worker_heartbeat.session),
                     msg->worker_heartbeat.credit_tasks, msg->worker_heartbeat.credit_bytes);
    } else if (msg->type == DTQI_REPORT) {
        l = lane_find(v, msg->report.session);
        raise_credit(l, msg->report.credit_tasks, msg->report.credit_bytes);
        if (l != NULL && msg->report.report_seq == l->report_seq + 1)
            note_report(s, l, &msg->report);
    }
}

/* V answers what a worker listed. */
void attempts_judged(struct sim *s, const struct dtqi_verdicts *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct task_info *t = info_of(s, &m->ids[i]);
        struct attempt_info *a = t != NULL ? attempt_find(t, m->epochs[i], m->attempts[i]) : NULL;

        if (a == NULL)
            continue;
        switch ((enum dtqi_verdict)dtqi_col32(m->verdicts, i, DTQI_VERDICT_FORGET)) {
        case DTQI_VERDICT_ADOPT:
            a->lease_epoch = s->epoch;
            a->session = m->session;
            a->is_over = false;
            break;
        case DTQI_VERDICT_FORGET: a->is_over = true; break; /* counted, or never known here */
        case DTQI_VERDICT_STALE: a->lease_epoch = 0; break;
        }
    }
}

/* V has no memory of this task any more, and takes it for a new one. */
void attempts_reborn(struct task_info *t)
{
    for (uint32_t i = 0; i < t->attempts_n; i++) {
        t->attempts[i].epoch = 0;
        t->attempts[i].is_over = true;
    }
    t->counted_epoch = 0;
    t->given_us = 0;
}
