/*
 * OPERATE: what operators order. An order holds at once, and is answered when it is committed, so
 * that what was answered holds after any crash.
 */
#include "vent_internal.h"

#define NUMBER_MAX 1000000000u
#define PER_SECOND_MAX 1000000u /* a rate */

/* A peer may send any double at all. */
static bool is_whole(double number)
{
    return number >= 0 && number <= NUMBER_MAX && (double)(uint64_t)number == number;
}

struct order {
    uint32_t route;
    const struct dtqi_operate *m;
};

void vent_operate_refuse(struct vent *v, uint32_t route, const struct dtqi_operate *m,
                         enum dtqi_refusal reason, const char *text)
{
    struct dtqi_msg *reply = vent_send(v, route, DTQI_OPERATE_REPLY);

    if (reply != NULL)
        reply->operate_reply = (struct dtqi_operate_reply){
            .request = m->request, .reason = reason, .text = dtqi_str(text)};
}

static void refuse(struct vent *v, const struct order *o, enum dtqi_refusal reason,
                   const char *text)
{
    vent_operate_refuse(v, o->route, o->m, reason, text);
}

static const dtq_id *copy_id(struct vent *v, const dtq_id *id)
{
    dtq_id *copy = vent_scratch(v, 1, sizeof *copy);

    if (copy != NULL)
        *copy = *id;
    return copy;
}

static void answer(struct vent *v, uint32_t route, uint64_t request, uint64_t count)
{
    struct dtqi_msg *reply = vent_send(v, route, DTQI_OPERATE_REPLY);

    if (reply != NULL)
        reply->operate_reply = (struct dtqi_operate_reply){.request = request, .count = count};
}

void vent_operate_answer(struct vent *v, const struct wait *w)
{
    struct dtqi_msg *reply;

    if (w->n == 0 && w->same_n == 0) {
        answer(v, w->route, w->request, w->count);
        return;
    }
    reply = vent_send(v, w->route, DTQI_OPERATE_REPLY);
    if (reply == NULL)
        return;
    reply->operate_reply = (struct dtqi_operate_reply){.request = w->request, .count = w->count};
    if (w->n != 0) {
        reply->operate_reply.reason = (enum dtqi_refusal)w->reasons[0];
        reply->operate_reply.text = dtqi_str(w->texts[0]);
    } else if (w->same_n != 0) {
        reply->operate_reply.ids = copy_id(v, &w->same[0].id);
        reply->operate_reply.n = reply->operate_reply.ids != NULL;
    }
}

void vent_operate_answer_later(struct vent *v, uint32_t route, const struct dtqi_operate *m,
                               uint32_t *asks, uint64_t count)
{
    uint32_t wait = vent_wait_new(v, WAIT_OPERATE, route, m->request);

    if (wait == NONE) {
        v->counters.messages_dropped++;
        return;
    }
    v->waits[wait].count = count;
    if (vent_link_add(v, asks, wait))
        vent_wait_hold(v, wait);
    else
        v->waits[wait].silent = true;
    vent_wait_release(v, wait);
}

/* false: nobody would hear of its commit, and it was refused. */
static bool has_answer_room(struct vent *v, const struct order *o)
{
    if (vent_wait_has_room(v))
        return true;
    refuse(v, o, DTQI_BUSY, "submits_max is reached: too many wait for the disk");
    return false;
}

/* ---------------------------------------------------------------- queues */

/* A queue exists from its first use on; an order that gives it a setting is one. NULL: refused. */
static struct queue *queue_for(struct vent *v, const struct order *o)
{
    uint32_t i = vent_queue_find(v, o->m->target);

    if (!dtqi_is_name(o->m->target)) {
        refuse(v, o, DTQI_BAD_TASK, "target: not the name of a queue");
        return NULL;
    }
    if (i == NONE &&
        (o->m->operation == DTQI_QUEUE_RESUME || o->m->operation == DTQI_QUEUE_PURGE)) {
        refuse(v, o, DTQI_BAD_TASK, "there is no queue of that name");
        return NULL;
    }
    i = vent_queue_get(v, o->m->target);
    if (i == NONE) {
        refuse(v, o, DTQI_BUSY, "queues_max is reached");
        return NULL;
    }
    return &v->queues[i];
}

static void answer_when_written(struct vent *v, const struct order *o, struct queue *q,
                                uint64_t count)
{
    vent_queue_changed(v, q);
    v->urgent = true;
    vent_operate_answer_later(v, o->route, o->m, &q->asks, count);
}

static void pause_queue(struct vent *v, const struct order *o, struct queue *q)
{
    q->settings.paused = true;
    vent_recall_queue(v, q);
    answer_when_written(v, o, q, 0);
}

static void resume_queue(struct vent *v, const struct order *o, struct queue *q)
{
    q->settings.paused = false;
    vent_gate_open(v, q);
    answer_when_written(v, o, q, 0);
}

static void purge_queue(struct vent *v, const struct order *o, struct queue *q)
{
    answer_when_written(v, o, q, vent_purge(v, q));
}

static void limit_queue(struct vent *v, const struct order *o, struct queue *q)
{
    q->settings.limit = (uint64_t)o->m->number;
    vent_gate_open(v, q);
    answer_when_written(v, o, q, 0);
}

static void rate_queue(struct vent *v, const struct order *o, struct queue *q)
{
    q->settings.rate = (uint64_t)o->m->number;
    q->settings.rate_period_ms = q->settings.rate != 0 ? o->m->period_ms : 0;
    q->settings.rate_next_wall_ms = 0;
    vent_gate_open(v, q); /* out of the order of their times, before its own changes */
    vent_gate_set(v, q);
    answer_when_written(v, o, q, 0);
}

static void limit_groups(struct vent *v, const struct order *o, struct queue *q)
{
    q->settings.group_limit = (uint64_t)o->m->number;
    vent_groups_set(v, q);
    answer_when_written(v, o, q, 0);
}

static void rate_groups(struct vent *v, const struct order *o, struct queue *q)
{
    q->settings.group_rate = (uint64_t)o->m->number;
    q->settings.group_rate_period_ms = q->settings.group_rate != 0 ? o->m->period_ms : 0;
    vent_groups_set(v, q);
    answer_when_written(v, o, q, 0);
}

static void age_queue(struct vent *v, const struct order *o, struct queue *q)
{
    q->settings.ageing_ms = o->m->period_ms;
    vent_age_set(v, q);
    answer_when_written(v, o, q, 0);
}

static const char *flaw_of_rate(const struct dtqi_operate *m)
{
    if (!is_whole(m->number))
        return "number: a rate is a whole number, up to a thousand million";
    if (m->number != 0 && (m->period_ms == 0 || m->period_ms > DTQI_DURATION_MS_MAX))
        return "period_ms: a rate is per second, minute or hour, or what else there is";
    if (m->number * 1000 > (double)m->period_ms * PER_SECOND_MAX)
        return "number: a rate of more than a million a second is no limit";
    return NULL;
}

static const char *flaw_of(const struct dtqi_operate *m)
{
    bool is_limit = m->operation == DTQI_QUEUE_LIMIT || m->operation == DTQI_QUEUE_GROUP_LIMIT;

    if (m->operation == DTQI_QUEUE_RATE || m->operation == DTQI_QUEUE_GROUP_RATE)
        return flaw_of_rate(m);
    if (is_limit && !is_whole(m->number))
        return "number: a limit is a whole number, up to a thousand million";
    if (m->operation == DTQI_QUEUE_AGEING && m->period_ms > DTQI_DURATION_MS_MAX)
        return "period_ms: more than a hundred years";
    return NULL;
}

static void operate_queue(struct vent *v, const struct order *o,
                          void (*act)(struct vent *v, const struct order *o, struct queue *q))
{
    const char *flaw = flaw_of(o->m);
    struct queue *q;

    if (flaw != NULL) {
        refuse(v, o, DTQI_BAD_TASK, flaw);
        return;
    }
    if (!has_answer_room(v, o))
        return;
    q = queue_for(v, o);
    if (q == NULL)
        return;
    VENT_LOG(v, VENT_INFO, "queue_operated",
             L_STR("queue", ((struct dtqi_str){q->name, q->name_len})),
             L_U64("operation", o->m->operation),
             L_U64("number", is_whole(o->m->number) ? (uint64_t)o->m->number : 0),
             L_U64("period_ms", o->m->period_ms));
    act(v, o, q);
}

/* ---------------------------------------------------------------- sinks */

static struct sink *sink_of_order(struct vent *v, const struct order *o)
{
    dtqi_uid store;
    uint32_t i;

    if (o->m->n != 1)
        return NULL;
    memcpy(store.bytes, o->m->ids[0].bytes, sizeof store.bytes);
    i = vent_sink_find(v, &store);
    return i != NONE && v->sinks[i].intake[0] != '\0' && !v->sinks[i].removing ? &v->sinks[i]
                                                                               : NULL;
}

/* Asked again, as when the answer was lost, it is answered with 0: there is nothing to accept. What
 * was accepted and is not written yet is waited for. */
static void accept_sink(struct vent *v, const struct order *o)
{
    struct sink *s = sink_of_order(v, o);
    bool is_due;

    if (s == NULL) {
        refuse(v, o, DTQI_BAD_TASK, "ids: not one store of a sink that is registered");
        return;
    }
    if (!has_answer_room(v, o))
        return;
    is_due = s->diverged;
    if (is_due)
        vent_sink_accept(v, s);
    if (s->rewound)
        vent_operate_answer_later(v, o->route, o->m, &s->asks, is_due);
    else if (s->rewinding)
        vent_operate_answer_later(v, o->route, o->m, &s->asked, 0);
    else
        answer(v, o->route, o->m->request, 0);
}

void vent_on_operate(struct vent *v, uint32_t route, const struct dtqi_operate *m)
{
    struct order o = {route, m};

    switch (m->operation) {
    case DTQI_QUEUE_PAUSE: operate_queue(v, &o, pause_queue); break;
    case DTQI_QUEUE_RESUME: operate_queue(v, &o, resume_queue); break;
    case DTQI_QUEUE_PURGE: operate_queue(v, &o, purge_queue); break;
    case DTQI_QUEUE_LIMIT: operate_queue(v, &o, limit_queue); break;
    case DTQI_QUEUE_RATE: operate_queue(v, &o, rate_queue); break;
    case DTQI_QUEUE_GROUP_LIMIT: operate_queue(v, &o, limit_groups); break;
    case DTQI_QUEUE_GROUP_RATE: operate_queue(v, &o, rate_groups); break;
    case DTQI_QUEUE_AGEING: operate_queue(v, &o, age_queue); break;
    case DTQI_QUEUE_MOVE: vent_on_move(v, route, m); break;
    case DTQI_DEAD_REQUEUE:
    case DTQI_DEAD_PURGE: vent_on_dead_operation(v, route, m); break;
    case DTQI_SINK_ACCEPT: accept_sink(v, &o); break;
    case DTQI_SINK_REMOVE:
        if (has_answer_room(v, &o))
            vent_on_sink_remove(v, route, m);
        break;
    case DTQI_CRON_ADD:
    case DTQI_CRON_REMOVE:
    case DTQI_CRON_PAUSE:
    case DTQI_CRON_RESUME:
    case DTQI_CRON_RUN: vent_on_cron_operation(v, route, m); break;
    default: refuse(v, &o, DTQI_BAD_TASK, "the operation is not known to this version");
    }
}
