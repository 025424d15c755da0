#include "sim_parts.h"

#include <stdio.h>

/*
 * What the simulation has seen of each task, and the promises, checked where they could be broken:
 * when a client is told something, when a disk has written something, when something is sent.
 */

#define FENCE_SLACK_MS 1500u /* until the worker's next tick at the latest */
#define PROPOSAL_BYTES 512u  /* what a sink keeps of a message besides the message, at most */

#define RECORD_BYTES 1024u /* a task in V's memory, without its body */

static const dtq_id *id_of(const void *owner, uint32_t index)
{
    const struct sim *s = owner;

    return &s->tasks[index].id;
}

uint32_t check_task(const struct sim *s, const dtq_id *id)
{
    return dtqi_idmap_get(&s->by_id, s, id_of, id);
}

static struct task_info *info_of(struct sim *s, const dtq_id *id)
{
    uint32_t task = check_task(s, id);

    return task != NONE ? &s->tasks[task] : NULL;
}

void check_add_id(struct sim *s, uint32_t task, const dtq_id *id)
{
    struct task_info *t = &s->tasks[task];

    if (t->has_id) {
        if (!dtqi_id_eq(&t->id, id))
            sim_fail(s, "a task that was submitted again has another id");
        return;
    }
    if (check_task(s, id) != NONE) {
        sim_fail(s, "two tasks have one id");
        return;
    }
    t->id = *id;
    t->has_id = true;
    if (!dtqi_idmap_reserve(&s->by_id, s->by_id.count + 1))
        abort();
    dtqi_idmap_add(&s->by_id, id, task);
}

static void fill(uint64_t state, unsigned char *ret, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i += 8) {
        uint64_t word = dtqi_mix64(state + i / 8);

        memcpy(ret + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
}

void check_bytes(const struct sim *s, uint32_t task, uint32_t salt, unsigned char *ret,
                 uint32_t bytes)
{
    uint32_t of = salt == 0 ? s->tasks[task].plan.payload_of : 0;

    fill((uint64_t)(of != 0 ? of - 1 : task) << 32 | salt, ret, bytes);
}

void check_payload_of(uint32_t payload_of, unsigned char *ret, uint32_t bytes)
{
    assert(payload_of != 0);
    fill((uint64_t)(payload_of - 1) << 32, ret, bytes);
}

bool check_is_made(const struct task_info *t)
{
    return t->requeued_from != 0 || t->cron != 0;
}

bool check_are_the_bytes(const struct sim *s, uint32_t task, uint32_t salt, struct dtqi_slice body,
                         uint32_t bytes)
{
    unsigned char *want;
    bool same;

    if (body.len != bytes)
        return false;
    if (bytes == 0)
        return true;
    want = malloc(bytes);
    assert(want != NULL);
    check_bytes(s, task, salt, want, bytes);
    same = memcmp(want, body.at, bytes) == 0;
    free(want);
    return same;
}

/* ---------------------------------------------------------------- is it durable? */

bool check_is_in_journal(struct sim *s, const dtq_id *id)
{
    struct node *n = &s->nodes[VENT];
    struct journal_read read = {.type = JOURNAL_LOOKUP, .ids_n = 1};
    dtq_id copy = *id;
    bool found;

    if (!n->is_up || n->vent.journal == NULL)
        return true; /* looked for when it is up again */
    read.ids = &copy;
    journal_read(n->vent.journal, &read);
    found = read.err == DTQ_OK && read.tasks_n == 1;
    dtqi_buf_unref(read.buf);
    return found;
}

/* R34: what was settled, and its outcome lost with a disk. What the ventilator still had must have
 * an outcome again, unless it was told of the one that is lost. */
static bool may_be_gone(const struct task_info *t)
{
    return t->is_lost && (t->was_told || !t->was_journaled);
}

void check_durable(struct sim *s)
{
    char name[8];

    for (uint32_t i = 0; i < s->tasks_n && !s->has_failed; i++) {
        const struct task_info *t = &s->tasks[i];

        if (t->verdict == VERDICT_CONFIRMED && t->outcome == 0 && !may_be_gone(t) &&
            !check_is_in_journal(s, &t->id))
            sim_fail(s, "%s was confirmed and is neither in the journal nor at a sink",
                     story_task(i, name));
    }
}

void check_verdict(struct sim *s, struct node *client, uint32_t task, dtq_err err)
{
    struct task_info *t = &s->tasks[task];
    char name[8];

    if (t->client != client->index) {
        sim_fail(s, "%s got a verdict on another client's task", client->name);
        return;
    }
    if (err == DTQ_EUNKNOWN) {
        t->verdict = VERDICT_UNKNOWN;
    } else if (err == DTQ_EEXISTS) {
        t->verdict = VERDICT_SAME;
    } else if (err == DTQ_ECONFLICT && t->plan.key != 0) {
        t->verdict = VERDICT_REFUSED;
        rules_conflict(s, task);
    } else if (err != DTQ_OK) {
        t->verdict = VERDICT_REFUSED;
        if (t->outcome != 0)
            sim_fail(s, "%s was refused and has an outcome", story_task(task, name));
    } else {
        t->verdict = VERDICT_CONFIRMED;
        t->confirmed_us = t->confirmed_us != 0 ? t->confirmed_us : s->now_us;
        if (t->outcome == 0 && !may_be_gone(t) && !check_is_in_journal(s, &t->id))
            sim_fail(s, "%s is confirmed and not durable", story_task(task, name));
    }
}

static uint32_t sink_of(struct sim *s, const dtqi_uid *store)
{
    for (uint32_t i = 0; i < s->cfg.sinks; i++)
        if (dtqi_uid_eq(&sim_node(s, SIM_SINK, i)->disk.uid, store) ||
            dtqi_uid_eq(&sim_node(s, SIM_SINK, i)->disk.lost_uid, store))
            return i;
    return NONE;
}

/* What leaves the journal has its outcome at a sink. */
/* R6: neither a clock that jumps nor a start of the ventilator makes an id too old or too new. */
void check_no_refusal_for_time(struct sim *s, const struct node *client, struct dtqi_str text)
{
    static const char *const whys[] = {"dedupe window", "from the future"};

    for (uint32_t i = 0; i < 2; i++)
        if (text.len != 0 && memmem(text.at, text.len, whys[i], strlen(whys[i])) != NULL)
            sim_fail(s, "a task of %s was refused for the time in its id", client->name);
}

/* What WELCOME is late by is missing in the ids of a client. */
static bool has_passed(const struct sim *s, const struct task_info *t, uint64_t ms)
{
    return sim_now_ms(s) + SIM_WELCOME_LATE_MS >= t->submitted_ms + ms;
}

static void check_removal(struct sim *s, const struct journal_op *op)
{
    uint32_t task = check_task(s, &op->task.id);
    char name[8];

    if (task == NONE)
        sim_fail(s, "the journal was told to remove a task that nobody submitted");
    else if (s->tasks[task].is_lost && s->tasks[task].was_told)
        return; /* it was settled */
    else if (s->tasks[task].outcome == 0)
        sim_fail(s, "%s leaves the journal without an outcome", story_task(task, name));
    else if (op->type == JOURNAL_DEAD && s->tasks[task].outcome != DTQ_FAILED)
        sim_fail(s, "%s is a dead letter, but did not fail", story_task(task, name));
}

void check_journal_write(struct sim *s, const struct journal_batch *batch)
{
    if (batch->err == DTQ_OK)
        dead_journal_batch(s, batch);
    for (uint32_t i = 0; i < batch->ops_n && batch->err == DTQ_OK && !s->has_failed; i++) {
        const struct journal_op *op = &batch->ops[i];

        if (op->type == JOURNAL_DEL || op->type == JOURNAL_DEAD)
            check_removal(s, op);
    }
    for (uint32_t i = 0; i < batch->applied_n && batch->err == DTQ_OK; i++) {
        uint32_t sink = sink_of(s, &batch->applied[i].sink);

        if (sink != NONE && (s->told[sink].durable < batch->applied[i].number ||
                             !sim_node(s, SIM_SINK, sink)->disk.was_lost))
            s->told[sink].durable = batch->applied[i].number;
    }
}

/* ---------------------------------------------------------------- outcomes */

uint32_t check_crash_limit(const struct task_info *t)
{
    return t->plan.crash_limit != 0 ? t->plan.crash_limit : DTQI_CRASH_LIMIT;
}

static bool may_fail_for_good(const struct task_info *t)
{
    return t->no_retry || t->failed > t->plan.retries ||
           t->dispatched >= check_crash_limit(t); /* the death of a worker may count, too */
}

/* A success is of an attempt that V gave and a slot ended well. */
static const char *wrong_attempt(const struct task_info *t, uint64_t epoch, uint32_t number)
{
    const struct attempt_info *a = attempt_find(t, epoch, number);

    if (a == NULL && t->is_lost)
        return NULL; /* V took it for a new task, and a worker had it still */
    if (a == NULL)
        return "succeeded in an attempt that was never given";
    return a->end == ATTEMPT_SUCCEEDED ? NULL : "succeeded in an attempt that did not end well";
}

static const char *wrong_expiry(const struct sim *s, const struct task_info *t)
{
    if (t->plan.expires_ms == 0)
        return "expired, but it never does";
    return has_passed(s, t, t->plan.expires_ms) ? NULL : "expired before its time";
}

static const char *wrong_outcome(const struct sim *s, const struct task_info *t, uint32_t kind)
{
    switch (kind) {
    case DTQ_SUCCEEDED:
        if (t->succeeded == 0)
            return "succeeded, but no run has ended well";
        return NULL;
    case DTQ_FAILED: return may_fail_for_good(t) ? NULL : "failed before it may";
    case DTQ_EXPIRED: return wrong_expiry(s, t);
    case DTQ_CANCELLED: return t->cancel ? NULL : "is cancelled, but nobody wanted that";
    }
    return "has an outcome that is none";
}

static void commit_one(struct sim *s, struct node *sink, const struct dtqi_outcomes *o, uint32_t i)
{
    uint32_t kind = dtqi_col32(o->kinds, i, DTQ_SUCCEEDED);
    uint32_t task = check_task(s, &o->ids[i]);
    struct task_info *t;
    const char *wrong;
    char name[8];

    if (task == NONE && o->specs_n != 0)
        task = dead_adopt(s, &o->ids[i], &o->specs[dtqi_col32(o->spec_index, i, 0)]);
    if (task == NONE) {
        sim_fail(s, "%s commits an outcome of a task that nobody submitted", sink->name);
        return;
    }
    t = &s->tasks[task];
    story_task(task, name);
    wrong = wrong_outcome(s, t, kind);
    if (wrong == NULL && kind == DTQ_SUCCEEDED)
        wrong = wrong_attempt(t, o->epoch, dtqi_col32(o->attempts, i, 1));
    if (t->outcome != 0)
        sim_fail(s, "%s has a second outcome", name);
    else if (t->verdict == VERDICT_REFUSED && t->plan.key == 0)
        sim_fail(s, "%s was refused and has an outcome", name);
    else if (wrong != NULL)
        sim_fail(s, "%s %s", name, wrong);
    else if (kind == DTQ_SUCCEEDED &&
             !check_are_the_bytes(s, task, 1, o->bodies[i], t->plan.result_bytes))
        sim_fail(s, "the result of %s is not what the slot made", name);
    t->outcome = (uint8_t)kind;
    t->outcome_reason = (uint8_t)dtqi_col32(o->reasons, i, DTQ_REASON_NONE);
    t->outcome_attempt = dtqi_col32(o->attempts, i, 1);
    t->outcome_sink = sink->index;
    t->outcome_ms = sim_now_ms(s);
    s->settled_n++;
    s->totals.outcomes_again += t->is_lost;
    story(s, "%s commits %s: %s", sink->name, name, dtq_state_name((dtq_state)kind));
}

void check_commit(struct sim *s, struct node *sink, const struct results_batch *batch)
{
    for (uint32_t k = 0; k < batch->proposals_n && batch->err == DTQ_OK; k++) {
        const struct results_proposals *p = &batch->proposals[k];

        for (uint32_t i = 0; i < p->outcomes.n && !p->refused && !s->has_failed; i++)
            if (p->stands[i] == 0 && (p->skip == NULL || p->skip[i] == 0))
                commit_one(s, sink, &p->outcomes, i);
    }
}

void check_result(struct sim *s, struct node *client, const struct client_result *r)
{
    uint32_t task = check_task(s, &r->id);
    struct task_info *t = task != NONE ? &s->tasks[task] : NULL;
    char name[8];

    if (t == NULL || t->client != client->index) {
        sim_fail(s, "%s got a result that is not its", client->name);
        return;
    }
    story_task(task, name);
    if (r->state == DTQ_NOT_FOUND && (t->verdict != VERDICT_CONFIRMED || may_be_gone(t))) {
        t->is_told_gone |= may_be_gone(t);
        return;
    }
    if (t->is_lost && r->state == (dtq_state)t->lost_outcome && r->attempt == t->lost_attempt) {
        t->is_told = true; /* it was under way */
        return;
    }
    if (t->outcome == 0 || r->state != (dtq_state)t->outcome)
        sim_fail(s, "%s is told that %s is %s, but it is %s", client->name, name,
                 dtq_state_name(r->state), dtq_state_name((dtq_state)t->outcome));
    else if (r->attempt != t->outcome_attempt)
        sim_fail(s, "%s is told of another attempt of %s", client->name, name);
    else if (r->state == DTQ_SUCCEEDED &&
             !check_are_the_bytes(s, task, 1, r->body, t->plan.result_bytes))
        sim_fail(s, "%s got another result of %s", client->name, name);
    if (!t->is_told)
        story(s, "%s: %s %s", client->name, name, dtq_state_name(r->state));
    t->is_told = true;
}

/* ---------------------------------------------------------------- dispatch */

/* One message has so many entries and bytes, or is one task alone. */
static void check_batch(struct sim *s, const struct dtqi_tasks *m)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < m->n; i++)
        bytes += m->bodies[i].len;
    if (m->n == 0 || m->n > s->vent_cfg.batch_entries_max ||
        (m->n > 1 && bytes > s->vent_cfg.batch_bytes_max))
        sim_fail(s, "V sends %u tasks of %llu bytes in one message", m->n,
                 (unsigned long long)bytes);
}

/* R34: not one of a sink that has said that its past is another. */
static void check_not_diverged(struct sim *s, const struct dtqi_tasks *m)
{
    for (uint32_t i = 0; i < m->sinks_n; i++) {
        uint32_t sink = sink_of(s, &m->sinks[i]);

        if (sink != NONE && s->told[sink].is_diverged)
            sim_fail(s, "V dispatches for S%u, which has diverged", sink);
    }
}

/* R52: for ever, once that was answered. */
static void check_not_removed(struct sim *s, const struct dtqi_tasks *m)
{
    for (uint32_t k = 0; k < s->cfg.sinks; k++) {
        const struct disk *d = &sim_node(s, SIM_SINK, k)->disk;

        for (uint32_t i = 0; i < m->sinks_n && d->was_removed; i++)
            if (dtqi_uid_eq(&d->lost_uid, &m->sinks[i]))
                sim_fail(s, "V dispatches for S%u, which was removed", k);
    }
}

void check_dispatch(struct sim *s, uint64_t session, const struct dtqi_msg *msg)
{
    const struct dtqi_tasks *m = &msg->tasks;
    uint32_t incarnation = s->nodes[VENT].incarnation;

    check_batch(s, m);
    check_not_diverged(s, m);
    check_not_removed(s, m);
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t task = check_task(s, &m->ids[i]);
        struct task_info *t;
        char name[8];

        if (task == NONE)
            task = dead_adopt(s, &m->ids[i], &m->specs[dtqi_col32(m->spec_index, i, 0)]);
        if (task == NONE) {
            sim_fail(s, "V dispatches a task that nobody submitted");
            return;
        }
        t = &s->tasks[task];
        t->dispatched++;
        if (t->cron != 0)
            cron_dispatched(s, task, &m->specs[dtqi_col32(m->spec_index, i, 0)]);
        if (!t->plan.by_wall && !has_passed(s, t, t->plan.delay_ms))
            sim_fail(s, "V dispatches %s before its delay is over", story_task(task, name));
        if (t->is_resent && t->outcome != 0 && t->outcome_ms <= t->resent_ms)
            sim_fail(s, "V dispatches %s, which was settled before it was sent again",
                     story_task(task, name));
        if (t->settled_in == incarnation)
            sim_fail(s, "V dispatches %s, whose settlement it was told", story_task(task, name));
        if (t->verdict == VERDICT_REFUSED && t->plan.key == 0)
            sim_fail(s, "V dispatches %s, which it refused", story_task(task, name));
        attempt_dispatched(s, session, m, i);
    }
}

void check_lane_msg(struct sim *s, struct node *w, const struct conn *c, const struct dtqi_msg *msg)
{
    struct worker_view view;

    if (msg->type != DTQI_TASKS)
        return;
    worker_view(w->worker.core, &view);
    if (msg->tasks.session != view.session || msg->tasks.lane_seq != w->worker.got_seq + 1)
        return; /* not taken in */
    attempts_taken_in(s, w, c->epoch, &msg->tasks);
    w->worker.got_seq++;
    w->worker.got_tasks += msg->tasks.n;
    if (w->worker.got_tasks > w->worker.told_credit_tasks)
        sim_fail(s, "%s got %llu tasks on credit for %llu", w->name,
                 (unsigned long long)w->worker.got_tasks,
                 (unsigned long long)w->worker.told_credit_tasks);
}

static void raise_credit(struct node *w, uint64_t tasks)
{
    if (tasks > w->worker.told_credit_tasks)
        w->worker.told_credit_tasks = tasks;
}

void check_worker_msg(struct sim *s, struct node *w, const struct dtqi_msg *msg)
{
    (void)s;
    if (msg->type == DTQI_WORKER_HEARTBEAT)
        raise_credit(w, msg->worker_heartbeat.credit_tasks);
    else if (msg->type == DTQI_REPORT)
        raise_credit(w, msg->report.credit_tasks);
}

/* What a worker takes in on its control connection. */
void check_frame_to_worker(struct sim *s, struct node *w, const struct dtqi_msg *msg)
{
    struct worker_view view;

    worker_view(w->worker.core, &view);
    if (msg->type == DTQI_FORGET && view.in_session && msg->forget.session == view.session)
        attempts_forgotten(s, w, &msg->forget);
    else if (msg->type == DTQI_WELCOME || (msg->type == DTQI_VENTILATOR_HEARTBEAT &&
                                           msg->ventilator_heartbeat.session == view.session))
        w->worker.echo_ms = sim_now_ms(s);
}

uint32_t check_feed(struct sim *s, struct node *w, const struct worker_feed *feed)
{
    uint64_t fence_ms = s->vent_cfg.heartbeat_ms * s->vent_cfg.liveness;
    uint32_t task = check_task(s, &feed->id);
    char name[8];

    if (task == NONE) {
        sim_fail(s, "%s runs a task that nobody submitted", w->name);
        return NONE;
    }
    if (!check_are_the_bytes(s, task, 0, feed->body, s->tasks[task].plan.payload_bytes))
        sim_fail(s, "%s runs %s with another payload", w->name, story_task(task, name));
    if (sim_now_ms(s) - w->worker.echo_ms > fence_ms + FENCE_SLACK_MS) /* R14 */
        sim_fail(s, "%s starts %s, and V has not heard of it for %llu ms", w->name,
                 story_task(task, name), (unsigned long long)(sim_now_ms(s) - w->worker.echo_ms));
    return attempt_fed(s, w, task, feed->attempt);
}

/* ---------------------------------------------------------------- sinks */

/* R28: so many settlements are under way at most. */
void check_sink_msg(struct sim *s, struct node *n, const struct dtqi_msg *msg)
{
    const struct dtqi_settled *m = &msg->settled;
    uint64_t last = m->number_first + m->n - 1;

    if (msg->type != DTQI_SETTLED || m->number_first == 0 || m->n == 0)
        return;
    if (last > n->sink.told)
        n->sink.told = last;
    if (m->number_dropped > n->sink.acked)
        n->sink.acked = m->number_dropped;
    if (last > n->sink.acked + n->sink.cfg.settle_window)
        sim_fail(s, "%s sends settlement %llu, and %llu is acknowledged", n->name,
                 (unsigned long long)last, (unsigned long long)n->sink.acked);
}

void check_frame_to_sink(struct node *n, const struct dtqi_msg *msg)
{
    if (msg->type == DTQI_RESUME)
        n->sink.acked = msg->resume.after;
    else if (msg->type == DTQI_SETTLED_ACK && msg->settled_ack.number > n->sink.acked)
        n->sink.acked = msg->settled_ack.number;
}

/* What it committed in an earlier life is there. */
void check_sink_started(struct sim *s, struct node *n)
{
    for (uint32_t i = 0; i < s->tasks_n && !s->has_failed; i++) {
        const struct task_info *t = &s->tasks[i];
        struct results_read read = {.type = RESULTS_CLAIM, .ids_n = 1, .ids = &t->id};
        char name[8];

        if (t->outcome == 0 || t->outcome_sink != n->index)
            continue;
        results_read(n->sink.results, &read);
        if (read.err != DTQ_OK || read.kinds[0] != t->outcome)
            sim_fail(s, "%s starts, and has lost the outcome of %s", n->name, story_task(i, name));
        dtqi_buf_unref(read.buf);
    }
}

static void lose_outcome(struct sim *s, struct task_info *t)
{
    t->is_lost = true;
    t->was_journaled = s->nodes[VENT].is_up && check_is_in_journal(s, &t->id);
    t->lost_outcome = t->outcome;
    t->lost_attempt = t->outcome_attempt;
    t->outcome = 0;
    s->totals.outcomes_lost++;
}

void check_sink_lost(struct sim *s, const struct node *n)
{
    for (uint32_t i = 0; i < s->tasks_n; i++)
        if (s->tasks[i].outcome != 0 && s->tasks[i].outcome_sink == n->index)
            lose_outcome(s, &s->tasks[i]);
}

void check_sink_restored(struct sim *s, const struct node *n, struct results *results)
{
    for (uint32_t i = 0; i < s->tasks_n; i++) {
        struct task_info *t = &s->tasks[i];
        struct results_read read = {.type = RESULTS_CLAIM, .ids_n = 1, .ids = &t->id};

        if (t->outcome == 0 || t->outcome_sink != n->index)
            continue;
        results_read(results, &read);
        if (read.err != DTQ_OK || read.kinds[0] == DTQ_NOT_FOUND)
            lose_outcome(s, t);
        dtqi_buf_unref(read.buf);
    }
}

/* ---------------------------------------------------------------- what the ventilator was told */

void check_vent_started(struct sim *s, const struct journal_start *start)
{
    s->epoch = start->epoch;
    for (uint32_t i = 0; i < s->tasks_n; i++)
        if (!s->tasks[i].is_in_journal)
            s->tasks[i].known_from = s->epoch;
    rules_vent_started(s, start);
    memset(s->told, 0, sizeof s->told);
    for (uint32_t i = 0; i < start->applied_n; i++) {
        uint32_t sink = sink_of(s, &start->applied[i].sink);

        if (sink != NONE && dtqi_uid_eq(&sim_node(s, SIM_SINK, sink)->disk.uid,
                                        &start->applied[i].sink)) /* and not the one before it */
            s->told[sink].applied = s->told[sink].durable = start->applied[i].number;
    }
}

/* R23: a result is let go of when its task has an outcome, and not before. */
static void check_forget(struct sim *s, const struct dtqi_forget *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        const struct task_info *t = info_of(s, &m->ids[i]);
        const struct attempt_info *a =
            t != NULL ? attempt_find(t, m->epoch, dtqi_col32(m->attempts, i, 1)) : NULL;
        char name[8];

        if (a != NULL && a->end == ATTEMPT_SUCCEEDED && t->outcome == 0 &&
            !(t->is_lost && t->was_told))
            sim_fail(s, "V lets the result of %s go, which has no outcome",
                     story_task((uint32_t)(t - s->tasks), name));
    }
}

/* R28: when the deletes are durable, and not before. */
static void check_acknowledged(struct sim *s, const struct told *told, uint64_t number)
{
    if (number > told->durable)
        sim_fail(s, "V acknowledges settlement %llu, and has written down %llu",
                 (unsigned long long)number, (unsigned long long)told->durable);
}

/* Of the sink at the other end; NULL: it is none. */
static struct told *told_on(struct sim *s, uint32_t route)
{
    for (const struct conn *c = s->conns; c != NULL; c = c->next)
        if (c->route == route)
            return c->ends[0]->kind == SIM_SINK ? &s->told[c->ends[0]->index] : NULL;
    return NULL;
}

/* RESUME says from where it applies. */
void check_vent_msg(struct sim *s, uint32_t route, const struct dtqi_msg *msg)
{
    struct told *told;

    rules_vent_msg(s, route, msg);
    if (msg->type == DTQI_UNKNOWN_SESSION)
        s->unknown_route = route;
    if (msg->type == DTQI_VERDICTS)
        attempts_judged(s, &msg->verdicts);
    if (msg->type == DTQI_FORGET)
        check_forget(s, &msg->forget);
    if (msg->type != DTQI_RESUME && msg->type != DTQI_SETTLED_ACK)
        return;
    told = told_on(s, route);
    if (told == NULL)
        return;
    if (msg->type == DTQI_SETTLED_ACK) {
        check_acknowledged(s, told, msg->settled_ack.number);
        return;
    }
    told->is_known = true;
    told->route = route;
    told->applied = msg->resume.after;
}

static void told_of(struct sim *s, const struct dtqi_settled *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct task_info *t = info_of(s, &m->ids[i]);

        uint32_t kind = dtqi_col32(m->kinds, i, DTQ_SUCCEEDED);

        if (t == NULL || (t->outcome != kind && !(t->is_lost && t->lost_outcome == kind))) {
            sim_fail(s, "a sink settles what it has not committed");
            return;
        }
        t->settled_in = s->nodes[VENT].incarnation;
        t->late_in = 0;
        t->was_told = true;
    }
}

/* By the sink as it was before it lost its disk: perhaps on a connection that counts still. */
static void may_be_told_of(struct sim *s, const struct dtqi_settled *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct task_info *t = info_of(s, &m->ids[i]);

        if (t != NULL && t->is_lost && t->lost_outcome == dtqi_col32(m->kinds, i, DTQ_SUCCEEDED))
            t->was_told = true;
    }
}

/* A first copy of a SUBMIT may come so late that the task is settled: V remembers no settled ids,
 * runs it again, and the sink refuses its second outcome (R5, R25). */
static void new_to_vent(struct sim *s, const struct dtqi_submit *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct task_info *t = info_of(s, &m->ids[i]);

        if (t == NULL)
            continue;
        t->is_resent = m->resend && !t->is_in_journal &&
                       t->late_in != s->nodes[VENT].incarnation; /* else V knows it, asks nobody */
        t->resent_ms = sim_now_ms(s);
        if (m->resend && !t->is_lost)
            continue;
        t->settled_in = 0;
        if (t->outcome != 0 && !m->resend)
            t->late_in = s->nodes[VENT].incarnation;
        if (t->outcome != 0 || (t->is_lost && t->was_told)) {
            attempts_reborn(t);
            t->is_reborn = true;
            t->is_stopped = false;
            t->stopped_in = 0;
        }
    }
}

static void accepted_by_vent(struct sim *s, const struct dtqi_operate *m)
{
    for (uint32_t i = 0; i < s->cfg.sinks && m->n == 1; i++)
        if (memcmp(&sim_node(s, SIM_SINK, i)->disk.uid, &m->ids[0], sizeof m->ids[0]) == 0)
            s->told[i].is_diverged = false;
}

/* Numbers are applied in order (R28): what follows a gap does not count as told, nor what comes on
 * a connection that V has no session with any more. */
void check_frame_to_vent(struct sim *s, const struct conn *c, const struct dtqi_msg *msg)
{
    const struct dtqi_settled *m = &msg->settled;
    struct told *told;

    if (msg->type == DTQI_SUBMIT)
        new_to_vent(s, &msg->submit);
    if (msg->type == DTQI_OPERATE)
        accepted_by_vent(s, &msg->operate);
    if (s->unknown_route != c->route) /* else of a session of another start */
        attempts_frame_to_vent(s, msg);
    rules_frame_to_vent(s, c, msg);
    if (msg->type != DTQI_SETTLED || c->ends[0]->kind != SIM_SINK)
        return;
    told = &s->told[c->ends[0]->index];
    if (c->ends[0]->disk.was_lost)
        may_be_told_of(s, m);
    if (!told->is_known || told->route != c->route || s->unknown_route == c->route)
        return;
    if (m->diverged && told->applied == 0)
        return; /* it was asked before V accepted it */
    if (m->diverged || m->number_first != 0)
        told->is_diverged = m->diverged;
    if (told->is_diverged)
        return;
    if (m->number_first != 0 && m->number_dropped > told->applied)
        told->applied = m->number_dropped;
    if (m->number_first == 0) {
        told_of(s, m);
    } else if (m->number_first <= told->applied + 1) {
        told_of(s, m);
        if (m->number_first + m->n - 1 > told->applied)
            told->applied = m->number_first + m->n - 1;
    }
}

/* ---------------------------------------------------------------- nodes */

/* Of what nobody has: at the limit nothing is admitted; but what was asked for comes, for each
 * queue and what is due. What workers have is bounded by what they take. */
static uint64_t vent_bytes_max(const struct vent_cfg *cfg)
{
    uint64_t load = cfg->load_bytes + (uint64_t)cfg->load_tasks * RECORD_BYTES;

    return 2 * cfg->resident_bytes_max + (SIM_QUEUES + 1) * load;
}

static void check_vent(struct sim *s, const struct node *n)
{
    struct vent_census census;

    vent_check(n->vent.core);
    vent_census(n->vent.core, &census);
    if (census.tasks > s->tasks_n + dead_count(s) + SIM_CRONS)
        sim_fail(s, "V holds %u tasks of %u", census.tasks, s->tasks_n);
    if (census.submits > s->vent_cfg.submits_max)
        sim_fail(s, "%u submits wait at V", census.submits);
    if (census.task_bytes > vent_bytes_max(&s->vent_cfg) &&
        census.task_bytes - vent_given_bytes(n->vent.core) > vent_bytes_max(&s->vent_cfg))
        sim_fail(s, "V keeps %llu bytes of tasks in memory", (unsigned long long)census.task_bytes);
}

/* The intake is paused by the message with which there is too much: nothing is read behind it. */
static uint64_t intake_bytes_max(const struct node *n)
{
    return n->sink.cfg.intake_bytes_max + n->sink.intake_bytes_max + PROPOSAL_BYTES;
}

static void check_sink(struct sim *s, const struct node *n)
{
    const struct sink_cfg *cfg = &n->sink.cfg;
    struct sink_census census;

    sink_census(n->sink.core, &census);
    if (census.intake_bytes > intake_bytes_max(n))
        sim_fail(s, "%s keeps %llu bytes of proposals", n->name,
                 (unsigned long long)census.intake_bytes);
    if (census.waiters > cfg->waiters_max || census.routes > cfg->routes_max ||
        census.reads > cfg->reads_max)
        sim_fail(s, "%s keeps %u waiters, %u routes, %u reads", n->name, census.waiters,
                 census.routes, census.reads);
}

static void check_worker(struct sim *s, const struct node *n)
{
    struct worker_view view;

    worker_view(n->worker.core, &view);
    if (view.window > WORKER_WINDOW_MAX ||
        (s->cfg.window_max != 0 && view.window > s->cfg.window_max + s->cfg.slots))
        sim_fail(s, "%s wants %u tasks in advance", n->name, view.window);
    if (view.kept_bytes > (s->cfg.bulky ? worker_memory_min(s->cfg.slots, 0) : WORKER_MEMORY_BYTES))
        sim_fail(s, "%s keeps %llu bytes of results", n->name, (unsigned long long)view.kept_bytes);
}

void check_node(struct sim *s, struct node *n)
{
    switch (n->kind) {
    case SIM_VENTILATOR: check_vent(s, n); break;
    case SIM_SINK: check_sink(s, n); break;
    case SIM_WORKER: check_worker(s, n); break;
    case SIM_CLIENT: break;
    }
}

static bool is_task_settled(const struct sim *s, uint32_t task, char *why, unsigned why_bytes)
{
    const struct task_info *t = &s->tasks[task];
    char name[8];

    if (check_is_made(t) && (t->verdict == VERDICT_NONE || t->outcome != 0))
        return true; /* lost before it was written down; and who asked for it waits for none */
    if (!t->has_id || t->verdict == VERDICT_NONE || t->verdict == VERDICT_UNKNOWN) {
        snprintf(why, why_bytes, "%s has no verdict", story_task(task, name));
        return false;
    }
    if (t->verdict == VERDICT_REFUSED || t->verdict == VERDICT_SAME)
        return true;
    if (t->outcome == 0) {
        snprintf(why, why_bytes, "%s has no outcome", story_task(task, name));
        return may_be_gone(t) && (t->is_told || t->is_told_gone || !s->hears_of_loss);
    }
    if (!t->is_told) /* nor that it is gone, before a worker proposed it once more */
        snprintf(why, why_bytes, "P%u was not told of %s", t->client, story_task(task, name));
    return t->is_told || t->is_told_gone;
}

static bool is_node_empty(const struct node *n, char *why, unsigned why_bytes)
{
    struct vent_census census;
    struct worker_view view;

    if (!n->is_up) {
        snprintf(why, why_bytes, "%s is down", n->name);
        return n->disk.is_gone;
    }
    if (n->kind == SIM_WORKER) {
        worker_view(n->worker.core, &view);
        snprintf(why, why_bytes,
                 "%s (session %llu) holds %u waiting, %u in slots, %u done, %u failed", n->name,
                 (unsigned long long)view.session, view.waiting, view.in_slots, view.done,
                 view.failed);
        return view.in_session && view.waiting + view.in_slots + view.done + view.failed == 0;
    }
    if (n->kind == SIM_SINK) {
        snprintf(why, why_bytes, "%s was told that V applied %llu of %llu", n->name,
                 (unsigned long long)n->sink.acked, (unsigned long long)n->sink.told);
        return n->sink.acked >= n->sink.told;
    }
    if (n->kind != SIM_VENTILATOR)
        return true;
    vent_census(n->vent.core, &census);
    snprintf(why, why_bytes,
             "V holds %u tasks (%u ready, %u scheduled, %u leased, %u done, %u proposed, %u held)",
             census.tasks, census.ready, census.scheduled, census.leased, census.done,
             census.proposed, census.held);
    return census.tasks == 0 && !census.journal_busy;
}

static bool is_journal_empty(struct sim *s, char *why, unsigned why_bytes)
{
    struct journal_read read = {.type = JOURNAL_SCAN, .limit = 1};
    bool empty;

    journal_read(s->nodes[VENT].vent.journal, &read);
    empty = read.err == DTQ_OK && read.tasks_n == 0;
    dtqi_buf_unref(read.buf);
    if (!empty)
        snprintf(why, why_bytes, "the journal is not empty");
    return empty;
}

bool check_is_settled(struct sim *s, char *why, unsigned why_bytes)
{
    for (uint32_t i = 0; i < s->tasks_n; i++)
        if (!is_task_settled(s, i, why, why_bytes))
            return false;
    for (uint32_t i = 0; i < s->nodes_n; i++)
        if (!is_node_empty(&s->nodes[i], why, why_bytes))
            return false;
    if (!cron_are_gone(s, why, why_bytes))
        return false;
    if (!orders_are_done(s)) {
        snprintf(why, why_bytes, "an order is not answered");
        return false;
    }
    return is_journal_empty(s, why, why_bytes);
}
