#include "sim_parts.h"

/*
 * A client's shell, and the program above it: it submits when the story says so, takes every event,
 * and remembers on its disk (the tasks of the simulation) what it has submitted. After a crash it
 * submits again, under the same ids, what was not confirmed, and asks for what it did not learn.
 */

#define SUBMIT_AGAIN_US 50000u /* when the client takes no more just now */
#define ACCEPT_AGAIN_US 2000000u

static struct client_time time_of(const struct sim *s, const struct node *n)
{
    return (struct client_time){sim_now_ms(s), sim_wall_ms(s, n)};
}

static void ask_again(struct sim *s, struct node *n);

bool client_start(struct sim *s, struct node *n)
{
    struct client_cfg cfg = {.endpoint = dtqi_str("tcp://V:5570"),
                             .name = dtqi_str(n->name),
                             .program = dtqi_str("sim"),
                             .instance = sim_uid(s),
                             .seed = sim_random(s),
                             .reply_to = sim_random(s) | 1,
                             .follow = CLIENT_FOLLOW_OWN};

    memset(&n->client, 0, sizeof n->client);
    n->client.order = NONE;
    if (client_new(&cfg, &n->client.core) != DTQ_OK)
        return false;
    ask_again(s, n);
    return true;
}

void client_drop(struct sim *s, struct node *n)
{
    if (n->client.asked.type != 0)
        orders_client_died(s, n);
    client_actions_done(&n->client.actions);
    client_free(n->client.core);
    n->client.core = NULL;
    dtqi_buf_unref(n->client.asked_buf);
    n->client.asked_buf = NULL;
}

/* ---------------------------------------------------------------- the program */

struct dtqi_slice client_spec(const struct sim_plan *plan, const char *name, struct dtqi_buf *buf)
{
    static const char *const queues[SIM_QUEUES] = {"q0", "q1", "q2"};
    static const char *const keys[SIM_KEYS + 1] = {"", "k1", "k2", "k3", "k4"};
    static const char *const groups[] = {"", "g1", "g2", "g3", "g4", "g5", "g6", "g7", "g8"};
    const struct retry_rules *rules = rules_of_retries(plan->rules);
    struct dtqi_spec spec = {.name = dtqi_str(name),
                             .queue = dtqi_str(queues[plan->queue % SIM_QUEUES]),
                             .priority = plan->priority,
                             .retries = plan->retries,
                             .backoff_min_ms = plan->backoff_ms,
                             .backoff_max_ms = (uint64_t)SIM_BACKOFF_TIMES * plan->backoff_ms,
                             .time_limit_ms = plan->time_limit_ms,
                             .crash_limit = plan->crash_limit,
                             .expires_ms = plan->expires_ms,
                             .retry_on = dtqi_str(rules->retry_on),
                             .no_retry_on = dtqi_str(rules->no_retry_on),
                             .key = dtqi_str(keys[plan->key]),
                             .key_ttl_ms = plan->key != 0 ? plan->key_ttl_ms : 0,
                             .group = dtqi_str(groups[plan->group]),
                             .group_ordered = plan->ordered};

    return dtqi_spec_encode(&spec, buf);
}

static void try_again(struct sim *s, uint64_t task)
{
    client_take_task(s, (uint32_t)task);
}

static dtq_err submit(struct sim *s, struct node *n, uint32_t task, struct dtqi_buf *buf,
                      dtq_id *ret_id)
{
    struct task_info *t = &s->tasks[task];
    void *payload = dtqi_buf_alloc(buf, t->plan.payload_bytes);
    struct client_task c = {.payload = {payload, t->plan.payload_bytes},
                            .again = t->has_id ? &t->id : NULL,
                            .timeout_ms = (uint64_t)CLIENT_GIVE_UP_MS,
                            .tag = task,
                            .tell = CLIENT_TELL_EVENT};

    if (!t->has_id)
        t->submitted_ms = sim_now_ms(s);
    if (t->plan.by_wall)
        c.not_before_wall_ms = WALL_MS_START + t->submitted_ms + t->plan.delay_ms;
    else
        c.delay_ms = t->plan.delay_ms;
    c.spec = client_spec(&t->plan, "work", buf);
    check_bytes(s, task, 0, payload, t->plan.payload_bytes);
    return client_submit(n->client.core, &c, time_of(s, n), ret_id);
}

/* A program whose clock is wrong waits for that of the ventilator, as dtq_submit() does. */
static bool may_submit(const struct node *n)
{
    return client_is_welcome(n->client.core) || llabs(n->wall_offset_ms) <= SIM_CLOCK_NEAR_MS;
}

void client_take_task(struct sim *s, uint32_t task)
{
    struct node *n = sim_node(s, SIM_CLIENT, s->tasks[task].client);
    struct dtqi_buf *buf = dtqi_buf_new(1024, SIZE_MAX);
    dtq_err err = DTQ_EAGAIN;
    char name[8];
    dtq_id id;

    assert(buf != NULL);
    if (n->is_up && !n->is_paused && may_submit(n))
        err = submit(s, n, task, buf, &id);
    dtqi_buf_unref(buf);
    if (err == DTQ_EAGAIN || err == DTQ_EBUSY) {
        sim_call_at(s, s->now_us + SUBMIT_AGAIN_US, try_again, task);
        return;
    }
    if (err == DTQ_EINVAL && s->tasks[task].has_id)
        return; /* this process has it already */
    if (err != DTQ_OK) {
        sim_fail(s, "%s cannot submit: %s", n->name, dtq_errname(err));
        return;
    }
    story(s, "%s submits %s", n->name, story_task(task, name));
    check_add_id(s, task, &id);
    sim_wake(s, n, s->now_us);
}

/* A new process of the same program. */
static void ask_again(struct sim *s, struct node *n)
{
    for (uint32_t i = 0; i < s->tasks_n; i++) {
        struct task_info *t = &s->tasks[i];

        if (t->client != n->index || !t->has_id || t->is_told || check_is_made(t))
            continue;
        if (t->verdict == VERDICT_NONE || t->verdict == VERDICT_UNKNOWN)
            sim_call_at(s, s->now_us + 1000, try_again, i);
        else if (t->verdict == VERDICT_CONFIRMED &&
                 client_ask(n->client.core, &t->id, 1, CLIENT_KEEP, time_of(s, n)) != DTQ_OK)
            sim_fail(s, "%s cannot ask", n->name);
    }
}

static void on_verdict(struct sim *s, struct node *n, const struct client_verdict *v)
{
    uint32_t task = v->err == DTQ_EEXISTS ? (uint32_t)v->tag : check_task(s, &v->id);
    char name[8];

    trace(s, "%s: verdict %s %.*s", n->name, dtq_errname(v->err), (int)v->text.len, v->text.at);
    if (task == NONE) {
        sim_fail(s, "%s got a verdict on a task that it did not submit", n->name);
        return;
    }
    if (v->err == DTQ_EEXISTS)
        rules_same(s, task, &v->id);
    if (v->err == DTQ_OK)
        story(s, "%s: %s is confirmed", n->name, story_task(task, name));
    else
        story(s, "%s: %s is refused: %s", n->name, story_task(task, name), dtq_errname(v->err));
    check_verdict(s, n, task, v->err);
    check_no_refusal_for_time(s, n, v->text);
    if (v->err == DTQ_EUNKNOWN)
        sim_call_at(s, s->now_us + SUBMIT_AGAIN_US, try_again, task);
}

void client_cancel_task(struct sim *s, uint64_t task)
{
    struct task_info *t = &s->tasks[task];
    struct node *n = sim_node(s, SIM_CLIENT, t->client);
    char name[8];

    if (!n->is_up || n->is_paused || !t->has_id || n->client.asked.type != 0) {
        sim_call_at(s, s->now_us + SUBMIT_AGAIN_US, client_cancel_task, task);
        return;
    }
    story(s, "%s cancels %s", n->name, story_task((uint32_t)task, name));
    t->cancel = true;
    n->client.asked_id = t->id;
    n->client.order = NONE;
    n->client.asked = (struct dtqi_msg){.type = DTQI_CANCEL};
    n->client.asked.cancel = (struct dtqi_cancel){.n = 1, .ids = &n->client.asked_id};
    client_question(n->client.core, CLIENT_VENTILATOR, &n->client.asked);
    sim_wake(s, n, s->now_us);
}

void sim_cancel(struct sim *s, uint32_t task)
{
    client_cancel_task(s, task);
}

static void end_question(struct node *n)
{
    client_question_done(n->client.core);
    n->client.asked.type = (enum dtqi_msg_type)0;
    dtqi_buf_unref(n->client.asked_buf);
    n->client.asked_buf = NULL;
}

/* About sinks: who orders something else waits until that is answered. */
static bool is_own_question(const struct node *n)
{
    return n->client.asked.type == DTQI_OPERATE && n->client.order == NONE;
}

/* The operator does not know whether the ventilator has noticed, and asks again until it has. An
 * answer that does not come is not waited for. */
void client_accept_sink(struct sim *s, uint64_t sink)
{
    struct node *n = sim_node(s, SIM_CLIENT, 0);

    if (sim_node(s, SIM_SINK, (uint32_t)sink)->disk.copy == NULL)
        return; /* accepted */
    if (n->is_up && !n->is_paused && is_own_question(n))
        end_question(n);
    if (n->is_up && !n->is_paused && n->client.asked.type == 0) {
        memcpy(&n->client.asked_id, &sim_node(s, SIM_SINK, (uint32_t)sink)->disk.uid,
               sizeof n->client.asked_id);
        n->client.order = NONE;
        n->client.asked = (struct dtqi_msg){.type = DTQI_OPERATE};
        n->client.asked.operate = (struct dtqi_operate){
            .operation = DTQI_SINK_ACCEPT, .n = 1, .ids = &n->client.asked_id};
        client_question(n->client.core, CLIENT_VENTILATOR, &n->client.asked);
        sim_wake(s, n, s->now_us);
    }
    sim_call_at(s, s->now_us + ACCEPT_AGAIN_US, client_accept_sink, sink);
}

void sim_accept(struct sim *s, uint32_t sink)
{
    client_accept_sink(s, sink);
}

/* Half of them say who is to have what was its. */
static void ask_to_remove(struct sim *s, struct node *n, uint32_t sink)
{
    uint32_t other = (sink + 1) % s->cfg.sinks;
    bool is_named = sim_chance(s, 50) && other != sink;

    memcpy(&n->client.asked_pair[0], &sim_node(s, SIM_SINK, sink)->disk.lost_uid, sizeof(dtq_id));
    memcpy(&n->client.asked_pair[1], &sim_node(s, SIM_SINK, other)->disk.uid, sizeof(dtq_id));
    n->client.order = NONE;
    n->client.asked = (struct dtqi_msg){.type = DTQI_OPERATE};
    n->client.asked.operate = (struct dtqi_operate){.operation = DTQI_SINK_REMOVE,
                                                    .n = is_named ? 2 : 1,
                                                    .ids = n->client.asked_pair,
                                                    .force = sim_chance(s, 50)};
    client_question(n->client.core, CLIENT_VENTILATOR, &n->client.asked);
    sim_wake(s, n, s->now_us);
}

/* As above; it may be refused, since the ventilator takes it for alive, or does not know the
 * successor yet. */
void client_remove_sink(struct sim *s, uint64_t sink)
{
    struct node *n = sim_node(s, SIM_CLIENT, 0);
    const struct disk *d = &sim_node(s, SIM_SINK, (uint32_t)sink)->disk;

    if (!d->was_lost || d->was_removed)
        return;
    if (n->is_up && !n->is_paused && is_own_question(n))
        end_question(n);
    if (n->is_up && !n->is_paused && n->client.asked.type == 0)
        ask_to_remove(s, n, (uint32_t)sink);
    sim_call_at(s, s->now_us + ACCEPT_AGAIN_US, client_remove_sink, sink);
}

void sim_remove(struct sim *s, uint32_t sink)
{
    client_remove_sink(s, sink);
}

static void sink_is_removed(struct sim *s, const dtq_id *store)
{
    for (uint32_t i = 0; i < s->cfg.sinks; i++) {
        struct node *sink = sim_node(s, SIM_SINK, i);

        if (!sink->disk.was_lost || sink->disk.was_removed ||
            memcmp(&sink->disk.lost_uid, store, sizeof *store) != 0)
            continue;
        story(s, "%s is removed", sink->name);
        sink->disk.was_removed = true;
        s->totals.removes++;
    }
}

static void sink_is_accepted(struct sim *s, const dtq_id *store)
{
    for (uint32_t i = 0; i < s->cfg.sinks; i++) {
        struct node *sink = sim_node(s, SIM_SINK, i);

        if (memcmp(&sink->disk.uid, store, sizeof *store) != 0 || sink->disk.copy == NULL)
            continue;
        story(s, "%s is accepted", sink->name);
        store_close(sink->disk.copy);
        sink->disk.copy = NULL;
        s->totals.accepts++;
    }
}

static void take_answer(struct sim *s, struct node *n)
{
    const struct dtqi_msg *answer = NULL;

    if (n->client.asked.type != 0)
        answer = client_answer(n->client.core);
    if (answer == NULL)
        return;
    if (n->client.order != NONE)
        orders_answered(s, n, answer);
    else if (answer->type == DTQI_OPERATE_REPLY &&
             n->client.asked.operate.operation == DTQI_SINK_REMOVE &&
             answer->operate_reply.reason == DTQI_REFUSAL_NONE)
        sink_is_removed(s, &n->client.asked_pair[0]);
    else if (answer->type == DTQI_OPERATE_REPLY && answer->operate_reply.count != 0)
        sink_is_accepted(s, &n->client.asked_id);
    end_question(n);
}

static void take_events(struct sim *s, struct node *n)
{
    struct client_verdict verdict;
    struct client_result result;

    for (;;) {
        switch (client_take_event(n->client.core, &verdict, &result)) {
        case CLIENT_TOOK_NOTHING: return;
        case CLIENT_TOOK_VERDICT: on_verdict(s, n, &verdict); break;
        case CLIENT_TOOK_RESULT: check_result(s, n, &result); break;
        }
        if (s->has_failed)
            return;
    }
}

/* ---------------------------------------------------------------- the shell */

static void execute(struct sim *s, struct node *n, struct client_action *a)
{
    struct node *target;
    uint32_t number = 0;

    switch (a->type) {
    case CLIENT_OPEN:
        target = sim_node_at(s, a->endpoint, &number);
        net_open(s, n, a->peer, a->peer == CLIENT_VENTILATOR ? CONN_CONTROL : CONN_RESULTS, target,
                 number);
        n->client.down[a->peer] = false;
        return;
    case CLIENT_CLOSE:
        net_close(s, n, a->peer);
        n->client.down[a->peer] = false;
        return;
    case CLIENT_SEND:
        if (!net_send(s, n, a->peer, &a->msg))
            n->client.down[a->peer] = true;
        return;
    }
}

static void step(struct sim *s, struct node *n, enum client_event_type type, uint32_t peer,
                 const struct dtqi_msg *msg)
{
    struct client_event e = {.type = type, .at = time_of(s, n), .peer = peer, .msg = msg};

    client_step(n->client.core, &e, &n->client.actions);
    for (uint32_t i = 0; i < n->client.actions.n; i++)
        execute(s, n, &n->client.actions.at[i]);
    client_actions_reset(&n->client.actions);
}

static void tell_losses(struct sim *s, struct node *n)
{
    for (uint32_t i = 0; i < CLIENT_PEERS_MAX; i++) {
        if (!n->client.down[i])
            continue;
        n->client.down[i] = false;
        net_close(s, n, i);
        step(s, n, CLIENT_DOWN, i, NULL);
    }
}

static void on_frame(struct sim *s, struct node *n, struct input *in)
{
    struct dtqi_msg msg;
    char why[200];

    if (in->conn->closed[in->end])
        return;
    if (dtqi_decode(in->frame->data, in->frame->bytes, &msg, why, sizeof why) != DTQ_OK) {
        sim_fail(s, "%s got what does not decode: %s", n->name, why);
        return;
    }
    step(s, n, CLIENT_MESSAGE, in->conn->port, &msg);
    dtqi_msg_done(&msg);
}

void client_input(struct sim *s, struct node *n, struct input *in)
{
    if (in->type == IN_FRAME)
        on_frame(s, n, in);
    else if (in->type == IN_LOST && n->ports[in->port].generation == in->generation)
        n->client.down[in->port] = true;
}

void client_tick(struct sim *s, struct node *n)
{
    tell_losses(s, n);
    step(s, n, CLIENT_TICK, 0, NULL);
    tell_losses(s, n);
    take_answer(s, n);
    take_events(s, n);
}

uint64_t client_due_ms(const struct node *n)
{
    return client_deadline_ms(n->client.core);
}
