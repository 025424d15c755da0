#include "sim_parts.h"

#include <stdio.h>

/*
 * Operators: a client gives an order, asks again when its connection breaks or it is started again,
 * and hears the answer.
 */

#define ASK_AGAIN_US 50000u

static const char *const queues[SIM_QUEUES] = {"q0", "q1", "q2"};

static bool closes(const struct sim_order *o)
{
    return o->kind == SIM_PAUSE || o->kind == SIM_CRON_ADD || o->kind == SIM_CRON_PAUSE ||
           ((o->kind == SIM_LIMIT || o->kind == SIM_RATE) && o->number != 0);
}

static bool opens(const struct sim_order *o)
{
    return o->kind == SIM_RESUME ||
           ((o->kind == SIM_LIMIT || o->kind == SIM_RATE) && o->number == 0);
}

static const char *words(const struct sim_order *o, char ret[80])
{
    static const char *const verbs[SIM_ORDER_KINDS] = {
        [SIM_PAUSE] = "pause",
        [SIM_RESUME] = "resume",
        [SIM_PURGE] = "purge",
        [SIM_LIMIT] = "limit",
        [SIM_RATE] = "rate",
        [SIM_CANCEL_QUEUE] = "cancel",
        [SIM_MOVE] = "move",
        [SIM_REQUEUE] = "requeue",
        [SIM_DEAD_PURGE] = "forget",
        [SIM_AGEING] = "ageing",
        [SIM_CRON_ADD] = "cron add",
        [SIM_CRON_REMOVE] = "cron remove",
        [SIM_CRON_PAUSE] = "cron pause",
        [SIM_CRON_RESUME] = "cron resume",
        [SIM_CRON_RUN] = "cron run",
    };
    bool is_dead = o->kind == SIM_REQUEUE || o->kind == SIM_DEAD_PURGE;
    char name[8];

    if (o->kind >= SIM_CRON_ADD)
        snprintf(ret, 80, "%s c%u", verbs[o->kind], o->entry);
    else if (is_dead && o->task != SIM_ALL)
        snprintf(ret, 80, "%s %s", verbs[o->kind], story_task(o->task, name));
    else if (o->kind == SIM_RATE && o->number != 0)
        snprintf(ret, 80, "rate q%u %u in %u ms", o->queue, o->number, o->period_ms);
    else if (o->kind == SIM_AGEING)
        snprintf(ret, 80, "ageing q%u %u ms", o->queue, o->period_ms);
    else if (o->kind == SIM_MOVE)
        snprintf(ret, 80, "move q%u to q%u", o->queue, o->number);
    else if (o->kind == SIM_LIMIT || o->kind == SIM_RATE)
        snprintf(ret, 80, "%s q%u %u", verbs[o->kind], o->queue, o->number);
    else
        snprintf(ret, 80, "%s %sq%u", verbs[o->kind], is_dead ? "dead letters of " : "", o->queue);
    return ret;
}

static enum dtqi_operation operation_of(enum sim_order_kind kind)
{
    switch (kind) {
    case SIM_PAUSE: return DTQI_QUEUE_PAUSE;
    case SIM_RESUME: return DTQI_QUEUE_RESUME;
    case SIM_PURGE: return DTQI_QUEUE_PURGE;
    case SIM_LIMIT: return DTQI_QUEUE_LIMIT;
    case SIM_RATE: return DTQI_QUEUE_RATE;
    case SIM_MOVE: return DTQI_QUEUE_MOVE;
    case SIM_AGEING: return DTQI_QUEUE_AGEING;
    case SIM_REQUEUE: return DTQI_DEAD_REQUEUE;
    case SIM_CRON_ADD: return DTQI_CRON_ADD;
    case SIM_CRON_REMOVE: return DTQI_CRON_REMOVE;
    case SIM_CRON_PAUSE: return DTQI_CRON_PAUSE;
    case SIM_CRON_RESUME: return DTQI_CRON_RESUME;
    case SIM_CRON_RUN: return DTQI_CRON_RUN;
    case SIM_DEAD_PURGE:
    case SIM_CANCEL_QUEUE:
    case SIM_ORDER_KINDS: break;
    }
    return DTQI_DEAD_PURGE;
}

/* Of a cron entry. A run has one id, however often it is asked for. */
static void write_cron_question(struct sim *s, struct node *n, struct order *order)
{
    static const char *const names[SIM_CRONS] = {"c0", "c1", "c2"};
    const struct sim_order *o = &order->what;
    struct dtqi_operate *m = &n->client.asked.operate;

    n->client.asked = (struct dtqi_msg){.type = DTQI_OPERATE};
    *m = (struct dtqi_operate){.operation = operation_of(o->kind),
                               .target = dtqi_str(names[o->entry])};
    if (o->kind == SIM_CRON_ADD) {
        n->client.asked_buf = dtqi_buf_new(1024, SIZE_MAX);
        assert(n->client.asked_buf != NULL);
        cron_write(s, cron_text_of(s, &o->cron), n->client.asked_buf, &n->client.asked_cron);
        m->cron = &n->client.asked_cron;
    } else if (o->kind == SIM_CRON_RUN) {
        if (!order->has_id) {
            order->id = client_new_id(n->client.core);
            order->asked_us = s->now_us;
        }
        order->has_id = true;
        n->client.asked_id = order->id;
        m->ids = &n->client.asked_id;
        m->n = 1;
    }
}

static void write_question(struct sim *s, struct node *n, const struct sim_order *o)
{
    struct dtqi_msg *m = &n->client.asked;
    bool is_dead = o->kind == SIM_REQUEUE || o->kind == SIM_DEAD_PURGE;

    if (o->kind == SIM_CANCEL_QUEUE) {
        *m = (struct dtqi_msg){.type = DTQI_CANCEL};
        m->cancel.queue = dtqi_str(queues[o->queue]);
        return;
    }
    *m = (struct dtqi_msg){.type = DTQI_OPERATE};
    m->operate = (struct dtqi_operate){.operation = operation_of(o->kind),
                                       .target = dtqi_str(queues[o->queue]),
                                       .number = o->number,
                                       .period_ms = o->period_ms,
                                       .all = is_dead && o->task == SIM_ALL};
    if (o->kind == SIM_MOVE)
        m->operate.destination = dtqi_str(queues[o->number]);
    if (!is_dead || o->task == SIM_ALL)
        return;
    n->client.asked_id = s->tasks[o->task].id;
    m->operate.target = dtqi_str("");
    m->operate.ids = &n->client.asked_id;
    m->operate.n = 1;
}

/* Nobody repeats a run of an entry that is another one by now: to V that is another order. */
static bool is_outdated(const struct sim *s, const struct order *o)
{
    return o->has_id && s->crons[o->what.entry].removed_us > o->asked_us;
}

static void ask(struct sim *s, uint64_t number)
{
    struct order *o = &s->orders[number];
    struct node *n = sim_node(s, SIM_CLIENT, o->client);
    char text[80];

    if (o->is_done)
        return;
    if ((s->calm && closes(&o->what)) || is_outdated(s, o)) {
        o->is_done = true;
        return;
    }
    if (!n->is_up || n->is_paused || n->client.asked.type != 0 ||
        (o->what.kind == SIM_CRON_RUN && !client_is_welcome(n->client.core))) {
        sim_call_at(s, s->now_us + ASK_AGAIN_US, ask, number);
        return;
    }
    story(s, "%s orders: %s", n->name, words(&o->what, text));
    n->client.order = (uint32_t)number;
    if (o->what.kind >= SIM_CRON_ADD)
        write_cron_question(s, n, o);
    else
        write_question(s, n, &o->what);
    client_question(n->client.core, CLIENT_VENTILATOR, &n->client.asked);
    sim_wake(s, n, s->now_us);
}

void sim_give_order(struct sim *s, uint32_t client, const struct sim_order *order)
{
    if (s->orders_n == s->orders_room) {
        s->orders_room = s->orders_room != 0 ? 2 * s->orders_room : 16;
        s->orders = realloc(s->orders, s->orders_room * sizeof *s->orders);
        assert(s->orders != NULL);
    }
    s->orders[s->orders_n++] = (struct order){.what = *order, .client = client};
    ask(s, s->orders_n - 1);
}

/* The operator was gone before he read the answer. */
static void again_as_unanswered(struct sim *s, struct order *o)
{
    o->is_done = false;
    sim_call_at(s, s->now_us + sim_below(s, 3000) * 1000ull, ask, (uint64_t)(o - s->orders));
}

void orders_answered(struct sim *s, struct node *n, const struct dtqi_msg *answer)
{
    struct order *o = &s->orders[n->client.order];
    char text[80];

    o->is_done = true;
    s->totals.orders++;
    words(&o->what, text);
    if (answer->type == DTQI_CANCEL_REPLY)
        story(s, "%s: %s: %llu tasks", n->name, text,
              (unsigned long long)answer->cancel_reply.count);
    else if (answer->operate_reply.reason != DTQI_REFUSAL_NONE)
        story(s, "%s: %s is refused: %.*s", n->name, text, (int)answer->operate_reply.text.len,
              answer->operate_reply.text.at);
    else
        story(s, "%s: %s is done: %llu", n->name, text,
              (unsigned long long)answer->operate_reply.count);
    if (o->what.kind != SIM_CRON_RUN || answer->operate_reply.reason != DTQI_REFUSAL_NONE)
        return;
    cron_was_run(s, o);
    if (s->faults != NULL && !s->calm && sim_chance(s, 40))
        again_as_unanswered(s, o);
}

/* Its operator asks again when it is back. */
void orders_client_died(struct sim *s, struct node *n)
{
    if (n->client.order != NONE)
        sim_call_at(s, s->now_us + ASK_AGAIN_US, ask, n->client.order);
}

static bool is_being_ended(const struct sim *s, uint32_t entry)
{
    for (uint32_t i = 0; i < s->orders_n; i++) {
        const struct order *o = &s->orders[i];

        if (!o->is_done && o->what.entry == entry &&
            (o->what.kind == SIM_CRON_RESUME || o->what.kind == SIM_CRON_REMOVE))
            return true;
    }
    return false;
}

static void end_crons(struct sim *s)
{
    for (uint32_t i = 0; i < SIM_CRONS; i++) {
        struct sim_order o = {.entry = i};

        if (cron_what_ends(s, i, &o.kind) && !is_being_ended(s, i))
            sim_give_order(s, 0, &o);
    }
}

static bool is_being_opened(const struct sim *s, uint32_t queue, enum sim_order_kind kind)
{
    for (uint32_t i = 0; i < s->orders_n; i++) {
        const struct order *o = &s->orders[i];

        if (!o->is_done && o->what.queue == queue && o->what.kind == kind && opens(&o->what))
            return true;
    }
    return false;
}

void orders_open_all(struct sim *s)
{
    for (uint32_t q = 0; q < SIM_QUEUES; q++) {
        struct sim_order o = {.kind = rules_what_opens(s, q), .queue = q};

        if (!rules_is_open(s, q) && !is_being_opened(s, q, o.kind))
            sim_give_order(s, 0, &o);
    }
    end_crons(s);
}

bool orders_are_done(const struct sim *s)
{
    for (uint32_t i = 0; i < s->orders_n; i++)
        if (!s->orders[i].is_done)
            return false;
    return true;
}

void orders_done(struct sim *s)
{
    free(s->orders);
}
