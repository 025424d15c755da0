#include "sim_parts.h"

#include <stdio.h>

/*
 * What the simulation has seen of each task, and the promises, checked where they could be broken:
 * when a client is told something, when a disk has written something, when something is sent.
 */

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

void check_bytes(uint32_t task, uint32_t salt, unsigned char *ret, uint32_t bytes)
{
    uint64_t state = (uint64_t)task << 32 | salt;

    for (uint32_t i = 0; i < bytes; i++)
        ret[i] = (unsigned char)(dtqi_mix64(state + i / 8) >> (i % 8 * 8));
}

static bool are_the_bytes(uint32_t task, uint32_t salt, struct dtqi_slice body, uint32_t bytes)
{
    unsigned char *want;
    bool same;

    if (body.len != bytes)
        return false;
    if (bytes == 0)
        return true;
    want = malloc(bytes);
    assert(want != NULL);
    check_bytes(task, salt, want, bytes);
    same = memcmp(want, body.at, bytes) == 0;
    free(want);
    return same;
}

/* ---------------------------------------------------------------- is it durable? */

static bool is_in_journal(struct sim *s, const dtq_id *id)
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

void check_durable(struct sim *s)
{
    char name[8];

    for (uint32_t i = 0; i < s->tasks_n && !s->has_failed; i++) {
        const struct task_info *t = &s->tasks[i];

        if (t->verdict == VERDICT_CONFIRMED && t->outcome == 0 && !is_in_journal(s, &t->id))
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
    } else if (err != DTQ_OK) {
        t->verdict = VERDICT_REFUSED;
        if (t->outcome != 0)
            sim_fail(s, "%s was refused and has an outcome", story_task(task, name));
    } else {
        t->verdict = VERDICT_CONFIRMED;
        if (t->outcome == 0 && !is_in_journal(s, &t->id))
            sim_fail(s, "%s is confirmed and not durable", story_task(task, name));
    }
}

/* What leaves the journal has its outcome at a sink. */
static void check_removal(struct sim *s, const struct journal_op *op)
{
    uint32_t task = check_task(s, &op->task.id);
    char name[8];

    if (task == NONE)
        sim_fail(s, "the journal was told to remove a task that nobody submitted");
    else if (s->tasks[task].outcome == 0)
        sim_fail(s, "%s leaves the journal without an outcome", story_task(task, name));
    else if (op->type == JOURNAL_DEAD && s->tasks[task].outcome != DTQ_FAILED)
        sim_fail(s, "%s is a dead letter, but did not fail", story_task(task, name));
}

void check_journal_write(struct sim *s, const struct journal_batch *batch)
{
    for (uint32_t i = 0; i < batch->ops_n && batch->err == DTQ_OK && !s->has_failed; i++) {
        const struct journal_op *op = &batch->ops[i];

        if (op->type == JOURNAL_DEL || op->type == JOURNAL_DEAD)
            check_removal(s, op);
    }
}

/* ---------------------------------------------------------------- outcomes */

static bool may_fail_for_good(const struct task_info *t)
{
    uint32_t crash_limit = t->plan.crash_limit != 0 ? t->plan.crash_limit : DTQI_CRASH_LIMIT;

    return t->no_retry || t->failed > t->plan.retries ||
           t->dispatched >= crash_limit; /* the death of a worker may count, too */
}

static const char *wrong_outcome(const struct task_info *t, uint32_t kind)
{
    switch (kind) {
    case DTQ_SUCCEEDED:
        if (t->succeeded == 0)
            return "succeeded, but no run has ended well";
        return NULL;
    case DTQ_FAILED: return may_fail_for_good(t) ? NULL : "failed before it may";
    case DTQ_EXPIRED: return t->plan.expires_ms != 0 ? NULL : "expired, but it never does";
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

    if (task == NONE) {
        sim_fail(s, "%s commits an outcome of a task that nobody submitted", sink->name);
        return;
    }
    t = &s->tasks[task];
    story_task(task, name);
    wrong = wrong_outcome(t, kind);
    if (t->outcome != 0)
        sim_fail(s, "%s has a second outcome", name);
    else if (t->verdict == VERDICT_REFUSED)
        sim_fail(s, "%s was refused and has an outcome", name);
    else if (wrong != NULL)
        sim_fail(s, "%s %s", name, wrong);
    else if (kind == DTQ_SUCCEEDED && !are_the_bytes(task, 1, o->bodies[i], t->plan.result_bytes))
        sim_fail(s, "the result of %s is not what the slot made", name);
    t->outcome = (uint8_t)kind;
    t->outcome_reason = (uint8_t)dtqi_col32(o->reasons, i, DTQ_REASON_NONE);
    t->outcome_attempt = dtqi_col32(o->attempts, i, 1);
    s->settled_n++;
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
    if (r->state == DTQ_NOT_FOUND && t->verdict != VERDICT_CONFIRMED)
        return;
    if (t->outcome == 0 || r->state != (dtq_state)t->outcome)
        sim_fail(s, "%s is told that %s is %s, but it is %s", client->name, name,
                 dtq_state_name(r->state), dtq_state_name((dtq_state)t->outcome));
    else if (r->attempt != t->outcome_attempt)
        sim_fail(s, "%s is told of another attempt of %s", client->name, name);
    else if (r->state == DTQ_SUCCEEDED && !are_the_bytes(task, 1, r->body, t->plan.result_bytes))
        sim_fail(s, "%s got another result of %s", client->name, name);
    if (!t->is_told)
        story(s, "%s: %s %s", client->name, name, dtq_state_name(r->state));
    t->is_told = true;
}

/* ---------------------------------------------------------------- dispatch */

void check_dispatch(struct sim *s, const struct dtqi_msg *msg)
{
    const struct dtqi_tasks *m = &msg->tasks;
    uint32_t incarnation = s->nodes[VENT].incarnation;

    for (uint32_t i = 0; i < m->n; i++) {
        struct task_info *t = info_of(s, &m->ids[i]);
        uint32_t task = check_task(s, &m->ids[i]);
        char name[8];

        if (t == NULL) {
            sim_fail(s, "V dispatches a task that nobody submitted");
            return;
        }
        t->dispatched++;
        if (t->settled_in == incarnation)
            sim_fail(s, "V dispatches %s, whose settlement it was told", story_task(task, name));
        if (t->verdict == VERDICT_REFUSED)
            sim_fail(s, "V dispatches %s, which it refused", story_task(task, name));
    }
}

void check_lane_msg(struct sim *s, struct node *w, const struct dtqi_msg *msg)
{
    struct worker_view view;

    if (msg->type != DTQI_TASKS)
        return;
    worker_view(w->worker.core, &view);
    if (msg->tasks.session != view.session || msg->tasks.lane_seq != w->worker.got_seq + 1)
        return; /* not taken in */
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

void check_feed(struct sim *s, struct node *w, const struct worker_feed *feed)
{
    uint32_t task = check_task(s, &feed->id);
    char name[8];

    if (task == NONE)
        sim_fail(s, "%s runs a task that nobody submitted", w->name);
    else if (!are_the_bytes(task, 0, feed->body, s->tasks[task].plan.payload_bytes))
        sim_fail(s, "%s runs %s with another payload", w->name, story_task(task, name));
}

/* ---------------------------------------------------------------- what the ventilator was told */

static uint32_t sink_of(struct sim *s, const dtqi_uid *store)
{
    for (uint32_t i = 0; i < s->cfg.sinks; i++)
        if (dtqi_uid_eq(&sim_node(s, SIM_SINK, i)->disk.uid, store))
            return i;
    return NONE;
}

void check_vent_started(struct sim *s, const struct journal_start *start)
{
    memset(s->told, 0, sizeof s->told);
    for (uint32_t i = 0; i < start->applied_n; i++) {
        uint32_t sink = sink_of(s, &start->applied[i].sink);

        if (sink != NONE)
            s->told[sink].applied = start->applied[i].number;
    }
}

/* RESUME says from where it applies. */
void check_vent_msg(struct sim *s, struct node *v, uint32_t route, const struct dtqi_msg *msg)
{
    (void)v;
    if (msg->type == DTQI_UNKNOWN_SESSION)
        s->unknown_route = route;
    if (msg->type != DTQI_RESUME)
        return;
    for (struct conn *c = s->conns; c != NULL; c = c->next) {
        struct told *told;

        if (c->route != route)
            continue;
        if (c->ends[0]->kind != SIM_SINK)
            return;
        told = &s->told[c->ends[0]->index];
        told->is_known = true;
        told->route = route;
        told->applied = msg->resume.after;
        return;
    }
}

static void told_of(struct sim *s, const struct dtqi_settled *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct task_info *t = info_of(s, &m->ids[i]);

        if (t == NULL || t->outcome != dtqi_col32(m->kinds, i, DTQ_SUCCEEDED)) {
            sim_fail(s, "a sink settles what it has not committed");
            return;
        }
        t->settled_in = s->nodes[VENT].incarnation;
    }
}

/* A first copy of a SUBMIT may come so late that the task is settled: V remembers no settled ids,
 * runs it again, and the sink refuses its second outcome (R5, R25). */
static void new_to_vent(struct sim *s, const struct dtqi_submit *m)
{
    for (uint32_t i = 0; i < m->n && !m->resend; i++) {
        struct task_info *t = info_of(s, &m->ids[i]);

        if (t != NULL)
            t->settled_in = 0;
    }
}

/* Numbers are applied in order (R28): what follows a gap does not count as told, nor what comes on
 * a connection that V has no session with any more. */
void check_frame_to_vent(struct sim *s, const struct conn *c, const struct dtqi_msg *msg)
{
    const struct dtqi_settled *m = &msg->settled;
    struct told *told;

    if (msg->type == DTQI_SUBMIT)
        new_to_vent(s, &msg->submit);
    if (msg->type != DTQI_SETTLED || c->ends[0]->kind != SIM_SINK || m->diverged)
        return;
    told = &s->told[c->ends[0]->index];
    if (!told->is_known || told->route != c->route || s->unknown_route == c->route)
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

void check_node(struct sim *s, struct node *n)
{
    struct vent_census census;

    if (n->kind != SIM_VENTILATOR || n->vent.core == NULL)
        return;
    vent_check(n->vent.core);
    vent_census(n->vent.core, &census);
    if (census.tasks > s->tasks_n)
        sim_fail(s, "V holds %u tasks of %u", census.tasks, s->tasks_n);
}

static bool is_task_settled(const struct sim *s, uint32_t task, char *why, unsigned why_bytes)
{
    const struct task_info *t = &s->tasks[task];
    char name[8];

    if (!t->has_id || t->verdict == VERDICT_NONE || t->verdict == VERDICT_UNKNOWN) {
        snprintf(why, why_bytes, "%s has no verdict", story_task(task, name));
        return false;
    }
    if (t->verdict == VERDICT_REFUSED)
        return true;
    if (t->outcome == 0) {
        snprintf(why, why_bytes, "%s has no outcome", story_task(task, name));
        return false;
    }
    if (!t->is_told)
        snprintf(why, why_bytes, "P%u was not told of %s", t->client, story_task(task, name));
    return t->is_told;
}

static bool is_node_empty(const struct node *n, char *why, unsigned why_bytes)
{
    struct vent_census census;
    struct worker_view view;

    if (!n->is_up) {
        snprintf(why, why_bytes, "%s is down", n->name);
        return false;
    }
    if (n->kind == SIM_WORKER) {
        worker_view(n->worker.core, &view);
        snprintf(why, why_bytes,
                 "%s (session %llu) holds %u waiting, %u in slots, %u done, %u failed", n->name,
                 (unsigned long long)view.session, view.waiting, view.in_slots, view.done,
                 view.failed);
        return view.in_session && view.waiting + view.in_slots + view.done + view.failed == 0;
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
    return is_journal_empty(s, why, why_bytes);
}
