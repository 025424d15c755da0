#include "sim_parts.h"

/*
 * The rules of queues, as the simulation sees them kept:
 *   - what an operator said of a queue holds from the step in which V got it (R43); what V has
 *     answered for is there after a start, or what was said after it
 *   - nothing of a paused queue is dispatched, no more than its limit is leased, and its rate is
 *     kept but for the 50 ms that a late loop may catch up
 *   - what was cancelled or purged while it waited is not dispatched (R36, R44)
 *   - nothing is dispatched before its time, after its expiry, or before its backoff is over
 *   - of the tasks of a queue that wait, none is dispatched before one of a higher priority, as
 *     its waiting has raised it (R51); what counts as 9 is not left for what came later; no worker
 *     with a strict order gets a task of a later queue while an open earlier one has one
 *   - an idempotency key stands for one task at a time (R7)
 *   - there are no more open tasks than the bounds allow
 */

#define NS_PER_MS 1000000ull
#define LATE_NS (50 * NS_PER_MS)
#define EXPIRY_SLACK_MS 100u
#define ID_SLACK_MS 300u
#define AGE_SLACK_MS 1300u /* that, and what a client's clock may be off without a word (R47) */
#define PASSED_MAX 3u

/* ---------------------------------------------------------------- which failures are repeated */

static const struct {
    struct retry_rules rules;
    bool error;
    bool exit75;
    bool timeout;
    bool crash;
} retries[RETRY_RULES_N] = {
    {{"", ""}, true, true, true, true},
    {{"error", ""}, true, false, false, false},
    {{"exit:75,crash", ""}, false, true, false, true},
    {{"", "error"}, false, true, true, true},
    {{"", "exit:70-80,timeout"}, true, false, false, true},
    {{"exit,timeout", "exit:75"}, false, false, true, false},
    {{"", "crash"}, true, true, true, false},
};

const struct retry_rules *rules_of_retries(uint32_t i)
{
    assert(i < RETRY_RULES_N);
    return &retries[i].rules;
}

bool rules_repeat(const struct sim_plan *plan, dtq_reason reason, int32_t code)
{
    switch (reason) {
    case DTQ_REASON_ERROR: return retries[plan->rules].error;
    case DTQ_REASON_EXIT: assert(code == 75); return retries[plan->rules].exit75;
    case DTQ_REASON_TIMEOUT: return retries[plan->rules].timeout;
    case DTQ_REASON_CRASH: return retries[plan->rules].crash;
    default: return true;
    }
}

/* ---------------------------------------------------------------- settings of queues */

static uint32_t queue_named(struct dtqi_str name)
{
    if (name.len != 2 || name.at[0] != 'q' || name.at[1] < '0' ||
        name.at[1] >= '0' + (int)SIM_QUEUES)
        return NONE;
    return (uint32_t)(name.at[1] - '0');
}

static uint32_t incarnation(const struct sim *s)
{
    return s->nodes[VENT].incarnation;
}

static const struct setting *present(const struct sim *s, uint32_t queue)
{
    static const struct setting none;
    const struct queue_model *q = &s->queues[queue];

    return q->settings_n != 0 ? &q->settings[q->settings_n - 1] : &none;
}

bool rules_is_open(const struct sim *s, uint32_t queue)
{
    const struct setting *now = present(s, queue);

    return !now->paused && now->limit == 0 && now->rate == 0;
}

enum sim_order_kind rules_what_opens(const struct sim *s, uint32_t queue)
{
    const struct setting *now = present(s, queue);

    if (now->paused)
        return SIM_RESUME;
    return now->limit != 0 ? SIM_LIMIT : SIM_RATE;
}

static void push_setting(struct queue_model *q, const struct setting *setting)
{
    if (q->settings_n == q->settings_room) {
        q->settings_room = q->settings_room != 0 ? 2 * q->settings_room : 8;
        q->settings = realloc(q->settings, q->settings_room * sizeof *q->settings);
        assert(q->settings != NULL);
    }
    q->settings[q->settings_n++] = *setting;
}

static bool is_same_setting(const struct setting *a, const struct journal_queue_settings *b)
{
    return a->paused == b->paused && a->limit == b->limit && a->rate == b->rate &&
           a->period_ms == b->rate_period_ms && a->ageing_ms == b->ageing_ms;
}

/* One of those since the last answer. */
static void queue_started(struct sim *s, uint32_t queue, const struct journal_queue_settings *found)
{
    struct queue_model *q = &s->queues[queue];
    struct setting is = {.paused = found->paused,
                         .limit = found->limit,
                         .rate = found->rate,
                         .ageing_ms = found->ageing_ms,
                         .period_ms = found->rate_period_ms};
    bool was_said = q->settings_n == 0 && is_same_setting(&(struct setting){0}, found);

    for (uint32_t i = 0; i < q->settings_n; i++)
        was_said |= is_same_setting(&q->settings[i], found);
    if (!was_said)
        sim_fail(s, "V starts, and what holds for q%u is not what it has answered for", queue);
    q->settings_n = 0;
    push_setting(q, &is);
    q->rate_next_ns = sim_now_ms(s) * NS_PER_MS;
}

void rules_vent_started(struct sim *s, const struct journal_start *start)
{
    static const struct journal_queue_settings none;

    s->dead_order.is_open = false;
    cron_vent_started(s, start);
    for (uint32_t queue = 0; queue < SIM_QUEUES; queue++) {
        const struct journal_queue_settings *found = &none;

        for (uint32_t i = 0; i < start->queues_n; i++)
            if (queue_named(dtqi_str(start->queues[i].name)) == queue)
                found = &start->queues[i].settings;
        queue_started(s, queue, found);
    }
}

static void set(struct sim *s, uint32_t queue, uint32_t route, const struct dtqi_operate *m)
{
    struct setting next = *present(s, queue);

    next.route = route;
    next.request = m->request;
    switch (m->operation) {
    case DTQI_QUEUE_PAUSE: next.paused = true; break;
    case DTQI_QUEUE_RESUME: next.paused = false; break;
    case DTQI_QUEUE_AGEING: next.ageing_ms = m->period_ms; break;
    case DTQI_QUEUE_LIMIT: next.limit = (uint64_t)m->number; break;
    case DTQI_QUEUE_RATE:
        next.rate = (uint64_t)m->number;
        next.period_ms = next.rate != 0 ? m->period_ms : 0;
        s->queues[queue].rate_next_ns = sim_now_ms(s) * NS_PER_MS;
        break;
    }
    push_setting(&s->queues[queue], &next);
}

/* V answers: what was said before this one is over. */
static void settings_answered(struct sim *s, uint32_t route, uint64_t request)
{
    for (uint32_t k = 0; k < SIM_QUEUES; k++) {
        struct queue_model *q = &s->queues[k];
        uint32_t i = q->settings_n;

        while (i > 0 &&
               (q->settings[i - 1].route != route || q->settings[i - 1].request != request))
            i--;
        if (i <= 1)
            continue;
        q->settings_n -= i - 1;
        memmove(q->settings, q->settings + i - 1, q->settings_n * sizeof *q->settings);
    }
}

/* ---------------------------------------------------------------- what is cancelled */

static bool is_admitted(const struct task_info *t)
{
    return t->has_reached && (t->verdict == VERDICT_CONFIRMED || t->admitted_in != 0);
}

/* A purge: from this step on what waits is not dispatched; when V has answered, not after a start
 * either. A cancellation may find no place to wait for its answer, and is then asked again. */
static void stop_queue(struct sim *s, uint32_t queue, uint32_t route, uint64_t request,
                       bool is_purge)
{
    s->queues[queue].stopped_ms = sim_now_ms(s);
    for (uint32_t i = 0; i < s->tasks_n; i++) {
        struct task_info *t = &s->tasks[i];

        if (!t->has_reached || (t->queue != queue && !t->may_move))
            continue;
        t->is_stopped_again |= t->is_wanted_again;
        if (t->outcome != 0)
            continue;
        t->cancel = true;
        if (!is_admitted(t) || t->may_move || (is_purge && t->dispatched != 0) || t->is_stopped)
            continue;
        if (is_purge)
            t->stopped_in = incarnation(s);
        t->stop_route = route;
        t->stop_request = request;
    }
}

static void stop_one(struct sim *s, uint32_t route, const struct dtqi_cancel *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t task = check_task(s, &m->ids[i]);

        if (task == NONE || s->tasks[task].stopped_in == incarnation(s))
            continue;
        s->tasks[task].stop_route = route; /* V may have to look for it first */
        s->tasks[task].stop_request = m->request;
    }
}

static void stops_answered(struct sim *s, uint32_t route, uint64_t request)
{
    for (uint32_t i = 0; i < s->tasks_n; i++) {
        struct task_info *t = &s->tasks[i];

        if (t->stop_route == route && t->stop_request == request && t->outcome == 0)
            t->is_stopped = true;
    }
}

/* ---------------------------------------------------------------- what V takes in, and says */

static void on_submit(struct sim *s, uint32_t route, const struct dtqi_submit *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t task = check_task(s, &m->ids[i]);
        struct task_info *t;

        if (task == NONE)
            continue;
        t = &s->tasks[task];
        t->has_reached = true;
        if (!m->resend)
            t->retry_at_ms = 0; /* a late or doubled copy: V may not have it in memory, and take it
                                   for a new one (R6) */
        t->may_move |= s->queues[t->queue].is_moved;
        t->submit_route = m->resend ? 0 : route;
        t->submit_request = m->request;
        t->submit_index = i;
    }
}

static bool is_named(const uint32_t *index, uint32_t n, uint32_t i)
{
    for (uint32_t k = 0; k < n; k++)
        if (index[k] == i)
            return true;
    return false;
}

static void on_submitted(struct sim *s, uint32_t route, const struct dtqi_submitted *m)
{
    for (uint32_t i = 0; i < s->tasks_n; i++) {
        struct task_info *t = &s->tasks[i];

        if (t->submit_route == route && t->submit_request == m->request &&
            !is_named(m->refused_index, m->refused_n, t->submit_index) &&
            !is_named(m->same_index, m->same_n, t->submit_index))
            t->admitted_in = incarnation(s);
    }
}

/* What of it goes, and when, is told by what is dispatched later. */
static void move_queue(struct sim *s, uint32_t queue)
{
    s->queues[queue].is_moved = true; /* what comes before the page is read goes, too */
    for (uint32_t i = 0; i < s->tasks_n; i++)
        s->tasks[i].may_move |=
            s->tasks[i].queue == queue && (s->tasks[i].outcome == 0 || s->tasks[i].is_reborn);
}

static void on_operate(struct sim *s, uint32_t route, const struct dtqi_operate *m)
{
    uint32_t queue = queue_named(m->target);

    if ((s->refused_route == route && s->refused_request == m->request) ||
        m->operation == DTQI_SINK_ACCEPT || m->operation == DTQI_SINK_REMOVE)
        return;
    if (m->operation == DTQI_DEAD_REQUEUE || m->operation == DTQI_DEAD_PURGE) {
        dead_ordered(s, route, m);
        return;
    }
    if (m->operation >= DTQI_CRON_ADD && m->operation <= DTQI_CRON_RUN) {
        cron_ordered(s, route, m);
        return;
    }
    assert(queue != NONE);
    if (m->operation == DTQI_QUEUE_MOVE)
        move_queue(s, queue);
    else if (m->operation == DTQI_QUEUE_PURGE)
        stop_queue(s, queue, route, m->request, true);
    else
        set(s, queue, route, m);
}

void rules_frame_to_vent(struct sim *s, const struct conn *c, const struct dtqi_msg *msg)
{
    if (msg->type == DTQI_BYE) /* it gives back what it had not started */
        for (uint32_t q = 0; q < SIM_QUEUES; q++)
            s->queues[q].rate_next_ns = 0;
    if (c->ends[0]->kind != SIM_CLIENT || s->unknown_route == c->route)
        return;
    if (msg->type == DTQI_SUBMIT)
        on_submit(s, c->route, &msg->submit);
    else if (msg->type == DTQI_OPERATE)
        on_operate(s, c->route, &msg->operate);
    else if (msg->type == DTQI_CANCEL && msg->cancel.n == 0)
        stop_queue(s, queue_named(msg->cancel.queue), c->route, msg->cancel.request, false);
    else if (msg->type == DTQI_CANCEL)
        stop_one(s, c->route, &msg->cancel);
}

void rules_vent_msg(struct sim *s, uint32_t route, const struct dtqi_msg *msg)
{
    if (msg->type == DTQI_SUBMITTED) {
        on_submitted(s, route, &msg->submitted);
    } else if (msg->type == DTQI_CANCEL_REPLY) {
        if (msg->cancel_reply.reason == DTQI_REFUSAL_NONE &&
            (msg->cancel_reply.n == 0 || msg->cancel_reply.cancelling[0] != 0))
            stops_answered(s, route, msg->cancel_reply.request);
    } else if (msg->type == DTQI_OPERATE_REPLY && msg->operate_reply.reason != DTQI_REFUSAL_NONE) {
        s->refused_route = route;
        s->refused_request = msg->operate_reply.request;
    } else if (msg->type == DTQI_OPERATE_REPLY) {
        s->answered_route = route;
        s->answered_request = msg->operate_reply.request;
        cron_answered(s, route, msg->operate_reply.request);
        settings_answered(s, route, msg->operate_reply.request);
        dead_answered(s, route, msg->operate_reply.request);
        stops_answered(s, route, msg->operate_reply.request);
    }
}

/* ---------------------------------------------------------------- limits and rates */

/* At a worker as far as V knows, and not ended. */
static bool is_leased(struct sim *s, const struct task_info *t)
{
    for (uint32_t k = 0; k < t->attempts_n; k++)
        if (t->attempts[k].end == ATTEMPT_OPEN && attempt_is_leased(s, &t->attempts[k]))
            return true;
    return false;
}

static uint32_t leased_of(struct sim *s, uint32_t queue)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->tasks_n; i++)
        n += s->tasks[i].queue == queue && s->tasks[i].settled_in != incarnation(s) &&
             is_leased(s, &s->tasks[i]);
    return n;
}

static uint64_t step_ns(const struct setting *setting)
{
    uint64_t step = setting->period_ms * NS_PER_MS / setting->rate;

    return step != 0 ? step : 1;
}

static void check_rate(struct sim *s, uint32_t queue, const struct setting *setting)
{
    struct queue_model *q = &s->queues[queue];
    uint64_t now_ns = sim_now_ms(s) * NS_PER_MS;

    if (now_ns > LATE_NS && q->rate_next_ns < now_ns - LATE_NS)
        q->rate_next_ns = now_ns - LATE_NS;
    if (q->rate_next_ns > now_ns)
        sim_fail(s, "V dispatches a task of q%u %llu ms before its rate allows it", queue,
                 (unsigned long long)((q->rate_next_ns - now_ns) / NS_PER_MS));
    q->rate_next_ns += step_ns(setting);
}

void rules_returned(struct sim *s, const struct task_info *t)
{
    struct queue_model *q = &s->queues[t->queue];
    const struct setting *setting = present(s, t->queue);
    uint64_t step = setting->rate != 0 ? step_ns(setting) : 0;

    q->rate_next_ns = q->rate_next_ns > step ? q->rate_next_ns - step : 0;
}

static void check_gate(struct sim *s, uint32_t task)
{
    const struct task_info *t = &s->tasks[task];
    const struct setting *setting = present(s, t->queue);
    char name[8];

    if (setting->paused)
        sim_fail(s, "V dispatches %s of q%u, which is paused", story_task(task, name), t->queue);
    if (setting->limit != 0 && leased_of(s, t->queue) > setting->limit)
        sim_fail(s, "V gives workers %u tasks of q%u, whose limit is %llu", leased_of(s, t->queue),
                 t->queue, (unsigned long long)setting->limit);
    if (setting->rate != 0)
        check_rate(s, t->queue, setting);
}

/* ---------------------------------------------------------------- times */

void rules_failed(struct sim *s, struct task_info *t, const struct dtqi_failure *f)
{
    uint64_t wait_ms = f->retry_after_ms != 0 ? f->retry_after_ms : t->plan.backoff_ms;
    uint64_t most_ms = f->retry_after_ms != 0 ? wait_ms : SIM_BACKOFF_TIMES * wait_ms;

    t->back_by_ms = sim_now_ms(s) + most_ms;
    t->retry_at_ms = sim_now_ms(s) + wait_ms;
    t->retry_in = incarnation(s);
}

/* Without faults the time in an id is not older than a message takes. Of a task that expires, V
 * reckons with its own clock: a host that boots may hold that back. */
static void check_times(struct sim *s, uint32_t task)
{
    const struct task_info *t = &s->tasks[task];
    uint64_t now_ms = sim_now_ms(s);
    char name[8];

    if (t->retry_in == incarnation(s) && now_ms < t->retry_at_ms)
        sim_fail(s, "V dispatches %s %llu ms before its backoff is over", story_task(task, name),
                 (unsigned long long)(t->retry_at_ms - now_ms));
    if (s->is_faultless && !t->plan.by_wall &&
        now_ms + ID_SLACK_MS < t->submitted_ms + t->plan.delay_ms)
        sim_fail(s, "V dispatches %s before its delay is over", story_task(task, name));
    if (t->plan.expires_ms != 0 && s->nodes[VENT].boot == 0 &&
        now_ms > t->submitted_ms + t->plan.expires_ms + EXPIRY_SLACK_MS)
        sim_fail(s, "V dispatches %s, which has expired", story_task(task, name));
}

void rules_dispatched(struct sim *s, uint64_t session, const struct dtqi_tasks *m, uint32_t i)
{
    uint32_t task = check_task(s, &m->ids[i]);
    struct task_info *t = &s->tasks[task];
    uint32_t queue = queue_named(m->specs[dtqi_col32(m->spec_index, i, 0)].queue);
    char name[8];

    if (queue != t->queue && !t->may_move)
        sim_fail(s, "V dispatches %s of q%u, which is in q%u", story_task(task, name), queue,
                 t->queue);
    t->queue = queue;
    if (t->is_stopped || t->stopped_in == incarnation(s))
        sim_fail(s, "V dispatches %s, which was cancelled", story_task(task, name));
    check_gate(s, task);
    check_times(s, task);
    if (s->given_n == s->given_room) {
        s->given_room = s->given_room != 0 ? 2 * s->given_room : 64;
        s->given = realloc(s->given, s->given_room * sizeof *s->given);
        assert(s->given != NULL);
    }
    s->given[s->given_n++] = (struct given){task, session};
}

/* ---------------------------------------------------------------- order */

/* It has waited for nothing but a worker since before this step, and still does. One of a group
 * may wait for others, of any priority: in order (R50), or because each group has a window of its
 * own, and what a full memory has left to the journal is loaded group by group. */
static bool is_ready(const struct sim *s, const struct task_info *t)
{
    return t->admitted_in == incarnation(s) && t->verdict == VERDICT_CONFIRMED &&
           t->dispatched == 0 && t->outcome == 0 && !t->cancel && !t->may_move &&
           t->plan.delay_ms == 0 && t->plan.expires_ms == 0 && t->plan.group == 0;
}

/* What a task of the queue counts as (R51). */
static uint64_t risen(const struct sim *s, uint32_t queue, uint64_t priority, uint64_t waited_ms)
{
    uint64_t step_ms = present(s, queue)->ageing_ms;
    uint64_t level = step_ms != 0 ? priority + waited_ms / step_ms : priority;

    return level < 9 ? level : 9;
}

/* The priority that it counts as at most: clocks do not agree exactly. A run of an entry has waited
 * since it was due, though there was no V to make it; when that was nobody knows whose wall clock
 * has jumped. */
static uint64_t level_most(const struct sim *s, const struct task_info *t)
{
    bool is_run = t->cron != 0 && !t->by_hand;
    uint64_t since_ms = t->submitted_ms;

    if (is_run && s->has_jumped)
        since_ms = 0;
    else if (is_run && t->due_wall_ms < WALL_MS_START + since_ms)
        since_ms = t->due_wall_ms > WALL_MS_START ? t->due_wall_ms - WALL_MS_START : 0;
    return risen(s, t->queue, t->plan.priority, sim_now_ms(s) - since_ms + AGE_SLACK_MS);
}

/* .. at least, if it has waited since then. */
static uint64_t level_least(const struct sim *s, const struct task_info *t, uint64_t since_ms)
{
    uint64_t now_ms = sim_now_ms(s);
    uint64_t from_ms = since_ms + AGE_SLACK_MS;

    return risen(s, t->queue, t->plan.priority, now_ms > from_ms ? now_ms - from_ms : 0);
}

static bool was_given(const struct sim *s, const struct task_info *t)
{
    for (uint32_t i = 0; i < s->given_n; i++)
        if (&s->tasks[s->given[i].task] == t)
            return true;
    return false;
}

/* When V may have begun to count its waiting, at the latest: that a delay or a backoff is over is
 * seen by a V that runs, and after a boot its clock may not know how long it did not. */
static uint64_t waits_since_ms(const struct sim *s, const struct task_info *t)
{
    const struct node *v = &s->nodes[VENT];
    uint64_t ret = t->submitted_ms + t->plan.delay_ms;

    if (t->plan.delay_ms == 0 && t->back_by_ms == 0 && v->boot == 0)
        return ret;
    if (ret < t->back_by_ms)
        ret = t->back_by_ms;
    return ret > v->runs_since_ms ? ret : v->runs_since_ms;
}

/* R51 compares the first task of each priority, and of those of one priority the order stays that
 * of admission: so u is behind x, and x counts for the less that it has waited since its delay or
 * its backoff was over. What has a group is not in this order. */
static bool may_hide(struct sim *s, const struct task_info *x, const struct task_info *u)
{
    if (x == u || !x->has_reached || x->outcome != 0 || x->submitted_us > u->confirmed_us ||
        x->plan.priority != u->plan.priority || x->plan.group != 0 ||
        (x->queue != u->queue && !x->may_move))
        return false;
    if (is_leased(s, x) && !was_given(s, x))
        return false;
    return (x->plan.by_wall && s->has_jumped) || level_least(s, x, waits_since_ms(s, x)) < 9;
}

static bool is_hidden(struct sim *s, const struct task_info *u)
{
    for (uint32_t i = 0; i < s->tasks_n; i++)
        if (may_hide(s, &s->tasks[i], u))
            return true;
    return false;
}

/* V has to read it first, and may give workers what it has meanwhile. */
static bool is_in_journal_only(const struct sim *s, const struct task_info *u)
{
    const struct vent *v = s->nodes[VENT].vent.core;

    return v == NULL || vent_is_left_to_journal(v, &u->id);
}

/* After a start V keeps what workers may hold (R33), which may leave no room for others. */
static bool keeps_held(const struct sim *s)
{
    const struct vent *v = s->nodes[VENT].vent.core;
    struct vent_census census = {.held = 0};

    if (v != NULL)
        vent_census(v, &census);
    return census.held != 0;
}

/* Of what V has to read first, all that goes out in one step counts as one. */
static bool is_counted(const struct sim *s, struct task_info *u)
{
    bool is_left = is_in_journal_only(s, u);
    bool is_more = !is_left || (u->passed_us != s->now_us && !keeps_held(s));

    u->passed_us = s->now_us;
    return is_more;
}

/* What counts as 9 may be passed by what came before it, and by groups, which have their turns
 * (R49); by others while one of its own priority hides it, and by some while V reads it from its
 * journal. */
static void check_passed(struct sim *s, const struct task_info *t, struct task_info *u, uint32_t i)
{
    bool is_later = u->confirmed_us != 0 && t->submitted_us > u->confirmed_us;
    char other[8];

    if (present(s, u->queue)->ageing_ms == 0 || !is_later || t->plan.group != 0 ||
        level_least(s, u, u->submitted_ms) < 9 || is_hidden(s, u))
        return;
    if (is_counted(s, u) && ++u->passed > PASSED_MAX)
        sim_fail(s, "V leaves %s, which has waited for long, again and again",
                 story_task(i, other));
}

/* What a queue has in memory comes first in its order (R41). But each group has a window of its own
 * (R49), and with ageing each priority (R51). */
static bool may_pass(const struct sim *s, const struct task_info *t, const struct task_info *u)
{
    bool has_more_windows = t->plan.group != 0 || present(s, t->queue)->ageing_ms != 0;

    return has_more_windows && is_in_journal_only(s, u);
}

static void check_priority(struct sim *s, uint32_t task)
{
    const struct task_info *t = &s->tasks[task];
    char name[8];
    char other[8];

    for (uint32_t i = 0; i < s->tasks_n; i++) {
        struct task_info *u = &s->tasks[i];

        if (u->queue != t->queue || !is_ready(s, u))
            continue;
        if (u->plan.priority > level_most(s, t) && !may_pass(s, t, u))
            sim_fail(s, "V dispatches %s (priority %u) and leaves %s (priority %u)",
                     story_task(task, name), t->plan.priority, story_task(i, other),
                     u->plan.priority);
        check_passed(s, t, u, i);
    }
}

static const struct sim_served *served_by(struct sim *s, uint64_t session)
{
    const struct lane *l = lane_find(&s->nodes[VENT], session);

    return l != NULL && l->conn != NULL ? &s->cfg.served[l->conn->ends[0]->index] : NULL;
}

static void check_strict(struct sim *s, const struct given *g, const struct sim_served *served)
{
    const struct task_info *t = &s->tasks[g->task];
    char name[8];
    char other[8];

    for (uint32_t k = 0; k < served->n && served->queues[k] != t->queue; k++)
        for (uint32_t i = 0; i < s->tasks_n && rules_is_open(s, served->queues[k]); i++)
            if (s->tasks[i].queue == served->queues[k] && is_ready(s, &s->tasks[i]) &&
                !is_in_journal_only(s, &s->tasks[i]))
                sim_fail(s, "a worker gets %s of q%u, and %s of q%u would come first for it",
                         story_task(g->task, name), t->queue, story_task(i, other),
                         served->queues[k]);
}

static bool is_served(const struct sim_served *served, uint32_t queue)
{
    for (uint32_t k = 0; k < served->n; k++)
        if (served->queues[k] == queue)
            return true;
    return served->n == 0;
}

static void check_order(struct sim *s, const struct given *g)
{
    const struct sim_served *served = served_by(s, g->session);
    char name[8];

    if (served != NULL && !is_served(served, s->tasks[g->task].queue))
        sim_fail(s, "a worker gets %s of q%u, which it does not serve", story_task(g->task, name),
                 s->tasks[g->task].queue);
    if (s->tasks[g->task].dispatched != 1 || s->cfg.sinks != 1 ||
        sim_node(s, SIM_SINK, 0)->disk.was_lost)
        return; /* a suspect goes where it can be alone (R21), and not every worker reaches each
                   sink (R16) */
    check_priority(s, g->task);
    if (served != NULL && served->strict)
        check_strict(s, g, served);
}

void rules_after_step(struct sim *s)
{
    for (uint32_t i = 0; i < s->given_n && !s->has_failed; i++)
        check_order(s, &s->given[i]);
    s->given_n = 0;
}

/* ---------------------------------------------------------------- keys */

void rules_journal_op(struct sim *s, const struct journal_op *op)
{
    const char *key = op->text.at;
    struct key_model *k;

    assert(op->type == JOURNAL_KEY);
    assert(op->text.len == 2 && key[0] == 'k' && key[1] > '0' && key[1] <= '0' + (int)SIM_KEYS);
    k = &s->keys[key[1] - '0'];
    if (k->is_known && !dtqi_id_eq(&k->id, &op->task.id) &&
        k->until_wall_ms > sim_steady_ms(s, &s->nodes[VENT]))
        sim_fail(s, "the key %.2s stands for two tasks", key);
    *k = (struct key_model){true, op->task.id, op->at_wall_ms};
}

void rules_same(struct sim *s, uint32_t task, const dtq_id *id)
{
    uint32_t first = check_task(s, id);
    char name[8];
    char other[8];

    story_task(task, name);
    s->totals.keys_same++;
    if (first == NONE || first == task || s->tasks[task].plan.key == 0) {
        sim_fail(s, "%s is said to be another task, and is not", name);
        return;
    }
    story(s, "P%u: the key of %s stands for %s", s->tasks[task].client, name,
          story_task(first, other));
    if (s->tasks[first].plan.key != s->tasks[task].plan.key ||
        s->tasks[first].plan.payload_of != s->tasks[task].plan.payload_of)
        sim_fail(s, "%s is said to be %s, and has another key or content", name, other);
    else if (s->tasks[first].outcome == 0 && !check_is_in_journal(s, id))
        sim_fail(s, "%s is said to be %s, which is not durable", name, other);
}

void rules_conflict(struct sim *s, uint32_t task)
{
    const struct task_info *t = &s->tasks[task];
    char name[8];

    s->totals.keys_conflict++;
    for (uint32_t i = 0; i < s->tasks_n; i++)
        if (s->tasks[i].plan.key == t->plan.key && s->tasks[i].has_reached &&
            s->tasks[i].plan.payload_of != t->plan.payload_of)
            return;
    sim_fail(s, "%s is refused for its key, which stands for nothing else", story_task(task, name));
}

/* ---------------------------------------------------------------- bounds */

void rules_check_bounds(struct sim *s)
{
    uint32_t open[SIM_QUEUES] = {0};
    uint32_t all = 0;

    for (uint32_t i = 0; i < s->tasks_n; i++) {
        const struct task_info *t = &s->tasks[i];

        if (!t->is_in_journal || t->outcome != 0 || t->may_move)
            continue;
        open[t->queue]++;
        all++;
    }
    for (uint32_t q = 0; q < SIM_QUEUES; q++)
        if (s->cfg.queue_tasks_max != 0 && open[q] > s->cfg.queue_tasks_max)
            sim_fail(s, "q%u has %u open tasks, and may have %u", q, open[q],
                     s->cfg.queue_tasks_max);
    if (s->cfg.backlog_tasks_max != 0 && all > s->cfg.backlog_tasks_max)
        sim_fail(s, "V has %u open tasks, and may have %u", all, s->cfg.backlog_tasks_max);
}

void rules_done(struct sim *s)
{
    for (uint32_t i = 0; i < SIM_QUEUES; i++)
        free(s->queues[i].settings);
    free(s->given);
    cron_done(s);
}
