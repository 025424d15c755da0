#include "vent_internal.h"

#define UNSTICK_MS 100u
#define RECALL_IDLE_MAX 4u
#define FORGET_ENTRIES_MAX 512u /* of one message, when there are many workers */
#define MANY_WORKERS 256u

/* ---------------------------------------------------------------- who gets it */

/* Sinks whose tasks this worker may get (R16, R34). */
static uint32_t sinks_for(const struct vent *v, const struct worker *w)
{
    uint32_t mask = ~(w->unreachable | v->diverged);

    for (uint32_t left = v->down; left != 0; left &= left - 1) {
        uint32_t s = (uint32_t)__builtin_ctz(left);

        if (w->per_sink[s] >= w->slots)
            mask &= ~(1u << s);
    }
    return mask;
}

static struct worker *better(const struct vent *v, const struct seats *h, struct worker *than)
{
    struct worker *w = h->n != 0 ? &v->workers[h->at[0].worker] : NULL;

    if (w == NULL || than == NULL)
        return w != NULL ? w : than;
    return w->load < than->load ? w : than;
}

static struct worker *least_loaded(const struct vent *v, const struct queue *q)
{
    return better(v, &v->any, better(v, &q->able, NULL));
}

/* The same among those that may get what is there: only asked for when a sink is out of reach. */
static struct worker *search(const struct vent *v, const struct seats *h, uint32_t sinks,
                             struct worker *best)
{
    for (uint32_t i = 0; i < h->n; i++) {
        struct worker *w = &v->workers[h->at[i].worker];

        if ((sinks_for(v, w) & sinks) != 0 && (best == NULL || w->load < best->load))
            best = w;
    }
    return best;
}

static struct worker *choose(const struct vent *v, const struct queue *q, uint32_t sinks)
{
    struct worker *w = least_loaded(v, q);

    if (w == NULL || (sinks_for(v, w) & sinks) != 0)
        return w;
    return search(v, &v->any, sinks, search(v, &q->able, sinks, NULL));
}

/* ---------------------------------------------------------------- leases */

static bool holds_nothing(const struct worker *w)
{
    return w->leased.n == 0 && w->done.n == 0;
}

static uint64_t credit_bytes(const struct vent *v, const struct task *t)
{
    return dtqi_task_credit_bytes(spec_of(v, t)->spec.raw.len, t->body_len);
}

static bool fits(const struct vent *v, const struct worker *w, const struct task *t)
{
    return holds_nothing(w) || w->sent_bytes + credit_bytes(v, t) <= w->credit_bytes; /* R15 */
}

static void grant(struct vent *v, struct worker *w, struct task *t)
{
    struct past *p = past_of(v, t);
    struct queue *q = queue_of(v, t);

    if (p != NULL) {
        if (p->counters.last.n > t->attempt)
            t->attempt = p->counters.last.n;
        p->epoch = 0;
    }
    t->attempt++;
    vent_lease(v, t, w, TASK_LEASED);
    w->sent_tasks++;
    w->sent_bytes += credit_bytes(v, t);
    if (w->fresh_n++ == 0)
        w->fresh = task_index(v, t);
    vent_unreserve(v, w);
    v->counters.tasks_dispatched++;
    vent_gate_took(v, q);
    if (q->family != NONE)
        vent_group_served(v, q);
    vent_worker_touch(v, w);
}

/* How many of the queue's tasks one worker gets at once, so that a burst is dealt to all. */
static uint32_t chunk(const struct vent *v, const struct queue *q, const struct worker *w)
{
    uint64_t eligible = (uint64_t)q->servers + v->any_servers;
    uint64_t ready = (uint64_t)q->ready + (q->groups != NULL ? q->groups->offered : 0);
    uint64_t n = ready / (2 * at_least_1(eligible));
    uint64_t credit = w->credit_tasks - w->sent_tasks;

    if (credit > LEASES_MAX - w->leased.n)
        credit = LEASES_MAX - w->leased.n;
    if (v->active.n > 1)
        credit = at_least_1(credit / v->active.n);
    return (uint32_t)at_least_1(n < credit ? n : credit);
}

static struct task *first_suspect(struct vent *v, struct queue *q)
{
    if (q->suspects.n != 0)
        return task_at(v, q->suspects.head);
    return q->groups != NULL ? vent_group_suspect(v, q) : NULL;
}

/* That may go out now; of groups one each is counted. */
static uint32_t suspects_n(const struct queue *q)
{
    return q->suspects.n + (q->groups != NULL ? q->groups->rings[RING_SUSPECTS].n : 0);
}

/* R21: a suspect alone, on a worker that has nothing to lose. One is emptied for it if need be. */
static bool dispatch_suspect(struct vent *v, struct queue *q)
{
    struct task *t = first_suspect(v, q);
    struct worker *w = t != NULL ? choose(v, q, 1u << t->sink) : NULL;
    uint32_t reserved_max = v->workers_open / 2 + 1;

    if (t != NULL && vent_is_expired(v, t)) {
        vent_propose(v, t, DTQ_EXPIRED);
        return true;
    }
    if (w == NULL)
        return false;
    if (w->leased.n == 0) {
        grant(v, w, t);
        t->flags |= TASK_PROBATION;
        w->probation = true;
        vent_worker_update(v, w);
        return true;
    }
    if (v->workers_reserved < reserved_max && v->workers_reserved < suspects_n(q)) {
        w->reserved = true;
        v->workers_reserved++;
        vent_worker_update(v, w);
    }
    return false;
}

/* So many tasks of the queue, at most, to the worker. @return so many were given; UINT32_MAX: there
 * was nothing for it. */
static uint32_t give(struct vent *v, struct queue *q, struct worker *w, uint32_t most)
{
    uint32_t sinks = sinks_for(v, w);
    uint32_t left = most;
    bool any = false;

    while (left > 0) {
        struct task *t = vent_queue_peek(v, q, sinks);

        if (t == NULL)
            break;
        any = true;
        if (vent_is_expired(v, t)) { /* R22 */
            vent_propose(v, t, DTQ_EXPIRED);
            continue;
        }
        if (!fits(v, w, t)) {
            w->bytes_short = true;
            break;
        }
        grant(v, w, t);
        left--;
        if (v->down != 0)
            sinks = sinks_for(v, w);
    }
    vent_worker_update(v, w);
    return any ? most - left : UINT32_MAX;
}

static bool has_for(const struct vent *v, const struct queue *q, const struct worker *w)
{
    return (q->place == QUEUE_ACTIVE || q->place == QUEUE_STUCK) &&
           (sinks_of(q) & sinks_for(v, w)) != 0;
}

/* Which of its queues is the worker's next: the first that has anything for it; or the one that has
 * had least, by its weight. What had nothing for a while has saved nothing up. NONE: none. */
static uint32_t pick(const struct vent *v, struct worker *w)
{
    uint32_t best = NONE;

    for (uint32_t k = 0; k < w->queues_n && (best == NONE || !w->is_strict); k++) {
        if (!has_for(v, &v->queues[w->queues[k]], w))
            continue;
        if (w->passes[k] < w->pass)
            w->passes[k] = w->pass;
        if (best == NONE || w->passes[k] < w->passes[best])
            best = k;
    }
    if (best != NONE)
        w->pass = w->passes[best];
    return best;
}

#define PASS_STEP 1000000u /* of a queue with weight 1, for each task */

/* A worker with an order of its own gets what that says, whichever queue it was chosen for. */
static bool give_picked(struct vent *v, struct worker *w)
{
    uint32_t k;

    while ((k = pick(v, w)) != NONE) {
        struct queue *q = &v->queues[w->queues[k]];
        uint32_t room = vent_gate_room(v, q);
        uint32_t n = chunk(v, q, w);

        if (room == 0)
            continue; /* closed now, and not picked again */
        n = give(v, q, w, n < room ? n : room);
        if (n != UINT32_MAX) {
            w->passes[k] += (uint64_t)n * (PASS_STEP / w->weights[k]);
            return true;
        }
        if (has_for(v, q, w))
            return false; /* else its groups were closed when they were looked at: the next one */
    }
    return false;
}

/* A share of the queue, of `room` tasks at most, to the least loaded worker. false: nobody could
 * take anything. */
static bool dispatch_share(struct vent *v, struct queue *q, uint32_t room)
{
    struct worker *w = choose(v, q, sinks_of(q));
    uint32_t n;

    if (w == NULL)
        return false;
    if (w->picks)
        return give_picked(v, w);
    n = chunk(v, q, w);
    return give(v, q, w, n < room ? n : room) != UINT32_MAX;
}

static bool dispatch_from(struct vent *v, struct queue *q)
{
    uint32_t room = vent_gate_room(v, q);

    if (room == 0)
        return false; /* closed */
    return dispatch_suspect(v, q) || (sinks_of(q) != 0 && dispatch_share(v, q, room));
}

static void dispatch(struct vent *v)
{
    while (v->active.n != 0 && v->workers_able != 0) {
        struct queue *q = &v->queues[v->active.head];
        bool any = dispatch_from(v, q);

        if (q->place == QUEUE_ACTIVE) /* next time the others come first */
            vent_queue_place(v, q, any ? QUEUE_ACTIVE : QUEUE_STUCK);
    }
}

/* The suspects have found other workers: whoever waits for one in vain gets other tasks again. */
static bool release_reserved(struct vent *v)
{
    if (v->workers_reserved <= v->suspects_n)
        return false;
    for (uint32_t i = 0; i < v->workers_n && v->workers_reserved > v->suspects_n; i++) {
        if (!v->workers[i].reserved)
            continue;
        vent_unreserve(v, &v->workers[i]);
        vent_worker_update(v, &v->workers[i]);
    }
    return true;
}

/* ---------------------------------------------------------------- recall (R20) */

static bool share_a_queue(const struct worker *a, const struct worker *b)
{
    if (a->any_queue || b->any_queue)
        return true;
    for (uint32_t i = 0; i < a->queues_n; i++)
        for (uint32_t k = 0; k < b->queues_n; k++)
            if (a->queues[i] == b->queues[k])
                return true;
    return false;
}

static bool was_recalled(const struct vent *v, const struct worker *w)
{
    return w->recalled_ms != 0 && v->now_ms - w->recalled_ms < v->cfg.heartbeat_ms / 4;
}

/* Who has most that has not started. */
static struct worker *fullest(const struct vent *v, const struct worker *idle)
{
    struct worker *best = NULL;
    uint32_t most = 0;

    for (uint32_t i = 0; i < v->workers_n; i++) {
        struct worker *w = &v->workers[i];
        uint32_t excess = w->leased.n > w->slots ? w->leased.n - w->slots : 0;

        if (w->state == WORKER_OPEN && excess > most && !was_recalled(v, w) &&
            share_a_queue(idle, w)) {
            best = w;
            most = excess;
        }
    }
    return best;
}

static void recall(struct vent *v, struct worker *w, uint32_t n)
{
    struct dtqi_msg *msg = vent_send(v, w->route, DTQI_RECALL);

    if (msg == NULL)
        return;
    msg->recall = (struct dtqi_recall){w->session, n};
    w->recalled_ms = at_least_1(v->now_ms);
    v->counters.recalls++;
}

/* Somebody idles, and there is nothing for him, while others have more than they can start. */
static void recall_for_idle(struct vent *v)
{
    uint64_t pause_ms = v->workers_n > MANY_WORKERS ? 5 : 1;
    uint32_t idle = 0;

    if (v->workers_able == 0 || v->workers_open < 2 || v->counts[TASK_LEASED] == 0 ||
        v->now_ms - v->recall_ms < pause_ms)
        return;
    v->recall_ms = v->now_ms;
    for (uint32_t i = 0; i < v->workers_n && idle < RECALL_IDLE_MAX; i++) {
        const struct worker *w = &v->workers[i];
        struct worker *from;

        if (!w->able || w->leased.n != 0)
            continue;
        idle++;
        from = fullest(v, w);
        if (from == NULL)
            return;
        recall(v, from, (from->leased.n - from->slots + 1) / 2);
    }
}

static bool holds_of(const struct vent *v, const struct worker *w, const struct queue *q)
{
    for (uint32_t i = w->leased.head; i != NONE; i = task_at(v, i)->next)
        if (head_of(v, queue_of(v, task_at(v, i))) == q)
            return true;
    return false;
}

void vent_recall_queue(struct vent *v, const struct queue *q)
{
    for (uint32_t i = 0; i < v->workers_n; i++) {
        struct worker *w = &v->workers[i];

        if (w->state == WORKER_OPEN && holds_of(v, w, q))
            recall(v, w, w->leased.n);
    }
}

void vent_dispatch_tick(struct vent *v)
{
    for (uint32_t i = 0; i < v->touched_n; i++)
        if (v->workers[v->touched[i]].state != WORKER_FREE)
            vent_worker_update(v, &v->workers[v->touched[i]]);
    if (v->stopping)
        return;
    if (v->down != 0 && v->stuck.n != 0) { /* what a worker may get of it changes without notice */
        if (v->now_ms - v->stuck_ms >= UNSTICK_MS) {
            v->stuck_ms = v->now_ms;
            vent_unstick(v);
        }
        due_at(v, v->stuck_ms + UNSTICK_MS);
    }
    dispatch(v);
    if (release_reserved(v))
        dispatch(v);
    recall_for_idle(v);
}

/* ---------------------------------------------------------------- TASKS */

/* One message in the making; columns in scratch, for as many as it may get. */
struct batch {
    uint32_t n;
    uint64_t bytes;
    dtq_id *ids;
    uint32_t *tickets;
    uint32_t *attempts;
    struct dtqi_spec *specs;
    uint32_t *spec_index;
    uint64_t *expires;
    uint32_t *sink_index;
    uint64_t *reply_to;
    struct dtqi_slice *bodies;
    uint32_t specs_n;
    uint32_t sinks_n;
    dtqi_uid *sinks;
    uint8_t sink_of[DTQI_SINKS_MAX]; /* 1 + index in sinks */
    bool has_attempts;
    bool has_expires;
    bool has_reply_to;
};

static bool batch_new(struct vent *v, struct batch *b, uint32_t room)
{
    *b = (struct batch){
        .ids = vent_scratch(v, room, sizeof *b->ids),
        .tickets = vent_scratch(v, room, sizeof *b->tickets),
        .attempts = vent_scratch(v, room, sizeof *b->attempts),
        .spec_index = vent_scratch(v, room, sizeof *b->spec_index),
        .expires = vent_scratch(v, room, sizeof *b->expires),
        .sink_index = vent_scratch(v, room, sizeof *b->sink_index),
        .reply_to = vent_scratch(v, room, sizeof *b->reply_to),
        .bodies = vent_scratch(v, room, sizeof *b->bodies),
        .sinks = vent_scratch(v, DTQI_SINKS_MAX, sizeof *b->sinks),
    };
    v->marks++;
    return b->ids != NULL && b->tickets != NULL && b->attempts != NULL && b->spec_index != NULL &&
           b->expires != NULL && b->sink_index != NULL && b->reply_to != NULL &&
           b->bodies != NULL && b->sinks != NULL;
}

static void batch_add(struct vent *v, struct batch *b, const struct task *t)
{
    struct spec *s = spec_of(v, t);
    uint64_t expires = vent_expires_wall_ms(v, t);
    uint32_t i = b->n++;

    if (s->mark != v->marks) {
        s->mark = v->marks;
        s->local = b->specs_n++;
    }
    if (b->sink_of[t->sink] == 0) {
        b->sinks[b->sinks_n] = v->sinks[t->sink].store;
        b->sink_of[t->sink] = (uint8_t)++b->sinks_n;
    }
    b->ids[i] = t->id;
    b->tickets[i] = task_ticket(v, t);
    b->attempts[i] = t->attempt;
    b->spec_index[i] = s->local;
    b->expires[i] = expires > v->wall_ms ? expires - v->wall_ms : expires != 0;
    b->sink_index[i] = b->sink_of[t->sink] - 1u;
    b->reply_to[i] = t->reply_to;
    b->bodies[i] = (struct dtqi_slice){t->body, t->body_len};
    b->bytes += t->body_len;
    b->has_attempts |= t->attempt != 1;
    b->has_expires |= expires != 0;
    b->has_reply_to |= t->reply_to != 0;
}

/* The dictionary, now that its size is known. */
static bool batch_specs(struct vent *v, struct batch *b, uint32_t first)
{
    b->specs = vent_scratch(v, b->specs_n, sizeof *b->specs);
    for (uint32_t n = 0, i = first; b->specs != NULL && n < b->n; n++) {
        const struct spec *s = spec_of(v, task_at(v, i));

        b->specs[s->local] = s->spec;
        if (b->specs_n == 1)
            break;
        i = task_at(v, i)->next;
    }
    return b->specs != NULL;
}

static bool batch_send(struct vent *v, struct worker *w, struct batch *b, uint32_t first)
{
    struct vent_action *a = batch_specs(v, b, first) ? vent_act(v, VENT_LANE_SEND) : NULL;

    if (a == NULL)
        return false;
    if (w->lane_acked == w->lane_seq)
        w->lane_progress_ms = v->now_ms; /* R18: it is waited for from now on */
    a->session = w->session;
    a->msg.type = DTQI_TASKS;
    a->msg.tasks = (struct dtqi_tasks){
        .session = w->session,
        .lane_seq = ++w->lane_seq,
        .n = b->n,
        .ids = b->ids,
        .tickets = b->tickets,
        .attempts = b->has_attempts ? b->attempts : NULL,
        .specs = b->specs,
        .specs_n = b->specs_n,
        .spec_index = b->specs_n > 1 ? b->spec_index : NULL,
        .expires_in_ms = b->has_expires ? b->expires : NULL,
        .sinks = b->sinks,
        .sinks_n = b->sinks_n,
        .sink_index = b->sinks_n > 1 ? b->sink_index : NULL,
        .reply_to = b->has_reply_to ? b->reply_to : NULL,
        .bodies = b->bodies,
    };
    return true;
}

/* As many of the new leases as one message takes. false: no memory. */
static bool send_batch(struct vent *v, struct worker *w)
{
    uint32_t room = w->fresh_n < v->cfg.batch_entries_max ? w->fresh_n : v->cfg.batch_entries_max;
    uint32_t first = w->fresh;
    uint32_t i = first;
    struct batch b;

    if (!batch_new(v, &b, room))
        return false;
    while (b.n < room) {
        const struct task *t = task_at(v, i);

        if (b.n != 0 && b.bytes + t->body_len > v->cfg.batch_bytes_max)
            break;
        batch_add(v, &b, t);
        i = t->next;
    }
    w->fresh = i;
    w->fresh_n -= b.n;
    return batch_send(v, w, &b, first);
}

static void send_tasks(struct vent *v, struct worker *w)
{
    while (w->fresh_n != 0)
        if (!send_batch(v, w)) {
            w->fresh_n = 0;
            vent_worker_lose(v, w, "no memory for its tasks", true);
        }
    w->fresh = NONE;
}

/* ---------------------------------------------------------------- FORGET, STOP_ATTEMPTS */

static bool ids_add(struct ids *l, const dtq_id *id, uint32_t attempt)
{
    if (l->n == l->room) {
        uint32_t room = l->room != 0 ? 2 * l->room : 16;
        dtq_id *at = realloc(l->at, room * sizeof *at);
        uint32_t *attempts = realloc(l->attempts, room * sizeof *attempts);

        l->at = at != NULL ? at : l->at;
        l->attempts = attempts != NULL ? attempts : l->attempts;
        if (at == NULL || attempts == NULL)
            return false;
        l->room = room;
    }
    l->at[l->n] = *id;
    l->attempts[l->n++] = attempt;
    return true;
}

/* A copy for a message; the list is empty again. */
static bool ids_take(struct vent *v, struct ids *l, struct ids *ret)
{
    ret->n = l->n;
    ret->at = vent_scratch(v, l->n, sizeof *ret->at);
    ret->attempts = vent_scratch(v, l->n, sizeof *ret->attempts);
    l->n = 0;
    if (ret->at == NULL || ret->attempts == NULL)
        return false;
    memcpy(ret->at, l->at, ret->n * sizeof *ret->at);
    memcpy(ret->attempts, l->attempts, ret->n * sizeof *ret->attempts);
    return true;
}

void vent_flush_forget(struct vent *v, struct worker *w)
{
    struct ids ids;
    struct dtqi_msg *msg;

    if (w->forget.n == 0)
        return;
    msg = ids_take(v, &w->forget, &ids) ? vent_send(v, w->route, DTQI_FORGET) : NULL;
    if (msg == NULL)
        return; /* its account does not agree, then, and it is asked */
    msg->forget = (struct dtqi_forget){w->session, w->forget_epoch, ids.n, ids.at, ids.attempts};
    w->forgot = true;
}

void vent_forget(struct vent *v, struct worker *w, const dtq_id *id, uint64_t epoch,
                 uint32_t attempt)
{
    uint32_t max = v->workers_count > MANY_WORKERS ? FORGET_ENTRIES_MAX : DTQI_BATCH_ENTRIES_MAX;

    if (w->state == WORKER_LOST || w->state == WORKER_LANE)
        return; /* it lists what it holds, and gets verdicts */
    if (w->forget.n != 0 && (w->forget_epoch != epoch || w->forget.n >= max))
        vent_flush_forget(v, w);
    w->forget_epoch = epoch;
    (void)ids_add(&w->forget, id, attempt); /* without memory: as above */
    vent_worker_touch(v, w);
}

void vent_stop_attempt(struct vent *v, struct worker *w, const dtq_id *id)
{
    if (w->state == WORKER_LOST || w->state == WORKER_LANE)
        return; /* told when its list names it */
    (void)ids_add(&w->stop, id, 0);
    vent_worker_touch(v, w);
}

static void send_stop(struct vent *v, struct worker *w)
{
    while (w->stop.n != 0) {
        struct ids all;
        struct dtqi_msg *msg;

        if (!ids_take(v, &w->stop, &all))
            return;
        for (uint32_t i = 0; i < all.n; i += DTQI_BATCH_ENTRIES_MAX) {
            uint32_t n = all.n - i;

            msg = vent_send(v, w->route, DTQI_STOP_ATTEMPTS);
            if (msg != NULL)
                msg->stop_attempts =
                    (struct dtqi_ids){w->session, all.at + i,
                                      n < DTQI_BATCH_ENTRIES_MAX ? n : DTQI_BATCH_ENTRIES_MAX};
        }
    }
}

void vent_touched_tick(struct vent *v)
{
    for (uint32_t i = 0; i < v->touched_n; i++) {
        struct worker *w = &v->workers[v->touched[i]];

        if (w->state != WORKER_OPEN && w->state != WORKER_LISTING)
            continue;
        send_tasks(v, w);
        vent_flush_forget(v, w);
        send_stop(v, w);
    }
    while (v->touched_n != 0)
        v->workers[v->touched[--v->touched_n]].touched = false;
}

/* ---------------------------------------------------------------- for heartbeats */

static uint64_t backlog_of(const struct queue *q)
{
    return (uint64_t)resident_of(q, TASK_READY) + resident_of(q, TASK_HELD) +
           resident_of(q, TASK_PARKED) + resident_of(q, TASK_DEADWAIT) +
           resident_of(q, TASK_CLAIMED) + q->unloaded +
           (q->groups != NULL ? q->groups->unloaded : 0);
}

uint64_t vent_backlog_for(const struct vent *v, const struct worker *w)
{
    uint64_t n = 0;

    if (w->any_queue)
        return (uint64_t)v->counts[TASK_READY] + v->counts[TASK_HELD] + v->counts[TASK_PARKED] +
               v->counts[TASK_DEADWAIT] + v->counts[TASK_CLAIMED] + v->unloaded_n;
    for (uint32_t k = 0; k < w->queues_n; k++)
        n += backlog_of(&v->queues[w->queues[k]]);
    return n;
}
