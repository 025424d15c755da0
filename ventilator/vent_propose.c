#include "vent_internal.h"

#define BLOCKED_MS 200u

/* ---------------------------------------------------------------- what is proposed */

void vent_propose(struct vent *v, struct task *t, dtq_state kind)
{
    struct past *p = past_of(v, t);

    vent_task_move(v, t, TASK_PROPOSED);
    t->resends = (uint8_t)kind;
    t->worker = NONE;
    vent_list_push(v, &v->sinks[t->sink].unsent, t);
    if (p != NULL)
        p->counters.proposed = (uint8_t)kind;
    if (kind == DTQ_FAILED && t->dying == DYING_NOT)
        vent_dying_proposed(v, t);
}

/* A dead letter has its payload and its attempts: they are written down before anybody can settle
 * the task. */
void vent_propose_failed(struct vent *v, struct task *t)
{
    struct past *p = past_of(v, t);

    assert(p != NULL); /* a failure is counted there */
    p->counters.proposed = DTQ_FAILED;
    vent_task_move(v, t, TASK_MARKING);
    vent_dying_proposed(v, t); /* who cancels it now waits for that */
    vent_dirty(v, t, true);
}

void vent_propose_cancelled(struct vent *v, struct task *t)
{
    vent_cancel_flag(v, t, TASK_CANCEL);
    if ((t->flags & TASK_MARKED) != 0) {
        vent_propose(v, t, DTQ_CANCELLED);
        return;
    }
    vent_task_move(v, t, TASK_MARKING);
    vent_dirty(v, t, true);
}

void vent_proposed_unlink(struct vent *v, struct task *t)
{
    struct sink *s = &v->sinks[t->sink];

    if (t->worker == NONE) {
        vent_list_remove(v, &s->unsent, t);
        return;
    }
    vent_list_remove(v, &s->proposed, t);
    v->proposals--;
}

static void unsend(struct vent *v, struct sink *s, struct task *t)
{
    vent_list_remove(v, &s->proposed, t);
    v->proposals--;
    t->worker = NONE;
    vent_list_push_head(v, &s->unsent, t);
}

/* What went out last did not: again, a little later. */
void vent_on_sink_blocked(struct vent *v, uint32_t sink)
{
    struct sink *s;

    if (sink >= DTQI_SINKS_MAX)
        return;
    s = &v->sinks[sink];
    s->blocked_until_ms = v->now_ms + BLOCKED_MS;
    while (s->proposed.n != 0 && task_at(v, s->proposed.tail)->since_ms == s->sent_ms)
        unsend(v, s, task_at(v, s->proposed.tail));
}

void vent_on_sink_connected(struct vent *v, uint32_t sink)
{
    struct sink *s;

    if (sink >= DTQI_SINKS_MAX)
        return;
    s = &v->sinks[sink];
    s->blocked_until_ms = 0;
    while (s->proposed.n != 0)
        unsend(v, s, task_at(v, s->proposed.tail));
}

/* ---------------------------------------------------------------- OUTCOMES */

struct batch {
    struct dtqi_outcomes m;
    dtq_id *ids;
    uint32_t *tickets;
    uint32_t *attempts;
    uint32_t *kinds;
    uint32_t *spec_index;
    struct dtqi_spec *specs;
    uint64_t *reply_to;
    uint64_t *started_wall_ms;
    uint64_t *durations_us;
    uint32_t *reasons;
    int32_t *codes;
    struct dtqi_slice *bodies;
    uint64_t bytes;
};

static bool batch_new(struct vent *v, struct batch *b, uint32_t n)
{
    *b = (struct batch){
        .ids = vent_scratch(v, n, sizeof *b->ids),
        .tickets = vent_scratch(v, n, sizeof *b->tickets),
        .attempts = vent_scratch(v, n, sizeof *b->attempts),
        .kinds = vent_scratch(v, n, sizeof *b->kinds),
        .spec_index = vent_scratch(v, n, sizeof *b->spec_index),
        .specs = vent_scratch(v, n, sizeof *b->specs),
        .reply_to = vent_scratch(v, n, sizeof *b->reply_to),
        .started_wall_ms = vent_scratch(v, n, sizeof *b->started_wall_ms),
        .durations_us = vent_scratch(v, n, sizeof *b->durations_us),
        .reasons = vent_scratch(v, n, sizeof *b->reasons),
        .codes = vent_scratch(v, n, sizeof *b->codes),
        .bodies = vent_scratch(v, n, sizeof *b->bodies),
    };
    v->marks++;
    return b->ids != NULL && b->tickets != NULL && b->attempts != NULL && b->kinds != NULL &&
           b->spec_index != NULL && b->specs != NULL && b->reply_to != NULL &&
           b->started_wall_ms != NULL && b->durations_us != NULL && b->reasons != NULL &&
           b->codes != NULL && b->bodies != NULL;
}

static const struct note *last_note(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);

    return p != NULL && p->notes_n != 0 ? p->notes[p->notes_n - 1] : NULL;
}

/* Of the attempt that ended it: it failed, or was stopped. NULL: it had none, or nothing is known
 * of it. */
static const struct note *note_of_end(const struct vent *v, const struct task *t)
{
    const struct note *note = last_note(v, t);

    if (t->resends == DTQ_FAILED)
        return note;
    if (t->resends != DTQ_CANCELLED || note == NULL || note->attempt != t->attempt)
        return NULL;
    return note->reason == DTQ_REASON_NONE ? note : NULL; /* else it waited to be tried again */
}

/* Who had the attempt that ended it. */
static struct dtqi_str worker_of(const struct vent *v, const struct task *t)
{
    const struct note *note = note_of_end(v, t);

    return note != NULL ? (struct dtqi_str){note->texts, note->worker_len}
                        : (struct dtqi_str){NULL, 0};
}

static void add_end(struct vent *v, struct batch *b, uint32_t i, const struct task *t)
{
    const struct past *p = past_of(v, t);
    const struct note *note = note_of_end(v, t);
    bool has_failed = t->resends == DTQ_FAILED && p != NULL;

    if (note != NULL) {
        b->started_wall_ms[i] = note->started_wall_ms;
        b->durations_us[i] = note->duration_us;
    }
    if (!has_failed)
        return;
    b->reasons[i] = p->counters.reason;
    b->codes[i] = p->counters.code;
    if (note == NULL)
        return;
    b->bodies[i] = (struct dtqi_slice){note->texts + note->worker_len, note->text_len};
    b->bytes += note->text_len;
}

static void batch_add(struct vent *v, struct batch *b, const struct task *t)
{
    struct spec *s = spec_of(v, t);
    uint32_t i = b->m.n++;

    if (s->mark != v->marks) {
        s->mark = v->marks;
        s->local = b->m.specs_n;
        b->specs[b->m.specs_n++] = s->spec;
        b->bytes += s->spec.raw.len;
    }
    b->ids[i] = t->id;
    b->tickets[i] = task_ticket(v, t);
    b->attempts[i] = t->attempt;
    b->kinds[i] = t->resends;
    b->spec_index[i] = s->local;
    b->reply_to[i] = t->reply_to;
    b->started_wall_ms[i] = 0;
    b->durations_us[i] = 0;
    b->reasons[i] = DTQ_REASON_NONE;
    b->codes[i] = 0;
    b->bodies[i] = (struct dtqi_slice){NULL, 0};
    add_end(v, b, i, t);
}

static void batch_send(struct vent *v, uint32_t sink, const struct batch *b)
{
    struct vent_action *a = vent_act(v, VENT_SINK_SEND);

    if (a == NULL)
        return; /* sent again when it is overdue */
    a->sink = sink;
    a->msg.type = DTQI_OUTCOMES;
    a->msg.outcomes = b->m;
    a->msg.outcomes.ventilator = v->store;
    a->msg.outcomes.epoch = v->epoch;
    a->msg.outcomes.instance = v->store;
    a->msg.outcomes.heard_wall_ms = v->wall_ms;
    a->msg.outcomes.sink = v->sinks[sink].store;
    a->msg.outcomes.ids = b->ids;
    a->msg.outcomes.tickets = b->tickets;
    a->msg.outcomes.attempts = b->attempts;
    a->msg.outcomes.kinds = b->kinds;
    a->msg.outcomes.specs = b->specs;
    a->msg.outcomes.spec_index = b->spec_index;
    a->msg.outcomes.reply_to = b->reply_to;
    a->msg.outcomes.started_wall_ms = b->started_wall_ms;
    a->msg.outcomes.durations_us = b->durations_us;
    a->msg.outcomes.reasons = b->reasons;
    a->msg.outcomes.codes = b->codes;
    a->msg.outcomes.bodies = b->bodies;
}

/* The next one to be sent: overdue, or new while not too many are open (R24). NULL: none. */
static struct task *next(struct vent *v, struct sink *s)
{
    struct task *t = s->proposed.n != 0 ? task_at(v, s->proposed.head) : NULL;

    if (t != NULL && v->now_ms - t->since_ms >= v->cfg.settle_overdue_ms) {
        vent_list_remove(v, &s->proposed, t);
        v->proposals--;
        return t;
    }
    if (t != NULL)
        due_at(v, t->since_ms + v->cfg.settle_overdue_ms);
    if (s->unsent.n == 0 || v->proposals >= v->cfg.proposals_max)
        return NULL;
    t = task_at(v, s->unsent.head);
    vent_list_remove(v, &s->unsent, t);
    return t;
}

static void put_back(struct vent *v, struct sink *s, struct task *t)
{
    t->worker = NONE;
    vent_list_push_head(v, &s->unsent, t);
}

/* Those of a worker are few at a time, and what follows is another's: room for all would be taken
 * for each message anew. */
#define OF_A_WORKER_MAX 256u

/* One message, of one worker's tasks: the schema names a worker once. false: there was nothing to
 * send. */
static bool send_some(struct vent *v, uint32_t sink)
{
    struct sink *s = &v->sinks[sink];
    uint32_t room = s->proposed.n + s->unsent.n;
    struct task *t = next(v, s);
    struct batch b;

    if (t == NULL)
        return false;
    if (room > v->cfg.batch_entries_max)
        room = v->cfg.batch_entries_max;
    if (worker_of(v, t).len != 0 && room > OF_A_WORKER_MAX)
        room = OF_A_WORKER_MAX;
    if (!batch_new(v, &b, room)) {
        put_back(v, s, t);
        return false;
    }
    b.m.worker = worker_of(v, t);
    for (;;) {
        batch_add(v, &b, t);
        t->worker = 0;
        t->since_ms = v->now_ms;
        vent_list_push(v, &s->proposed, t);
        v->proposals++;
        if (b.m.n == room || b.bytes >= v->cfg.batch_bytes_max || (t = next(v, s)) == NULL)
            break;
        if (!dtqi_str_eq(worker_of(v, t), b.m.worker)) {
            put_back(v, s, t);
            break;
        }
    }
    s->sent_ms = v->now_ms;
    v->counters.proposals_sent += b.m.n;
    batch_send(v, sink, &b);
    return true;
}

void vent_proposals_tick(struct vent *v)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        struct sink *s = &v->sinks[i];

        if ((s->proposed.n == 0 && s->unsent.n == 0) || !vent_sink_is_up(s))
            continue;
        if (v->now_ms < s->blocked_until_ms) {
            due_at(v, s->blocked_until_ms);
            continue;
        }
        while (send_some(v, i))
            ;
    }
}
