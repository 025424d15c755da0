#include "vent_internal.h"

#define LANE_BYTES_PER_MS 131u /* R18: 128 KiB/s at least */
#define HOLDINGS_AGAIN_BEATS 5u
#define HOLDINGS_BEATS_MAX 10u /* asked for, and not come: the session is lost */

/* ---------------------------------------------------------------- life */

dtq_err vent_workers_init(struct vent *v, const struct journal_start *start)
{
    v->oldest = v->newest = NONE;
    v->workers = calloc(v->cfg.workers_max, sizeof *v->workers);
    v->touched = malloc(v->cfg.workers_max * sizeof *v->touched);
    if (v->workers == NULL || v->touched == NULL)
        return DTQ_ENOMEM;
    if (start->workers_n == 0)
        return DTQ_OK;
    v->expected = malloc(start->workers_n * sizeof *v->expected);
    if (v->expected == NULL)
        return DTQ_ENOMEM;
    for (uint32_t i = 0; i < start->workers_n; i++)
        v->expected[v->expected_n++] = start->workers[i].instance;
    return DTQ_OK;
}

static void worker_arrays_free(struct worker *w)
{
    free(w->queues);
    free(w->places);
    free(w->weights);
    free(w->passes);
    free(w->forget.at);
    free(w->forget.attempts);
    free(w->stop.at);
    free(w->stop.attempts);
}

void vent_workers_done(struct vent *v)
{
    for (uint32_t i = 0; i < v->workers_n; i++) {
        vent_pages_drop(v, &v->workers[i]);
        worker_arrays_free(&v->workers[i]);
    }
    free(v->workers);
    free(v->touched);
    free(v->any.at);
    free(v->expected);
    free(v->roster);
}

struct worker *vent_worker_of_session(const struct vent *v, uint64_t session)
{
    uint32_t i = session & UINT16_MAX;

    if (session == 0 || i >= v->workers_n || v->workers[i].state == WORKER_FREE ||
        v->workers[i].state == WORKER_LOST || v->workers[i].session != session)
        return NULL;
    return &v->workers[i];
}

/* ---------------------------------------------------------------- who was heard when */

uint64_t vent_silence_ms(const struct vent *v, uint64_t heard_ms, uint64_t heard_stall_ms)
{
    uint64_t passed = v->now_ms - heard_ms;
    uint64_t stalled = v->stall_ms - heard_stall_ms; /* R13 */

    return passed > stalled ? passed - stalled : 0;
}

static void heard_remove(struct vent *v, struct worker *w)
{
    if (w->older != NONE)
        v->workers[w->older].newer = w->newer;
    else
        v->oldest = w->newer;
    if (w->newer != NONE)
        v->workers[w->newer].older = w->older;
    else
        v->newest = w->older;
}

static void heard_push(struct vent *v, struct worker *w)
{
    w->newer = NONE;
    w->older = v->newest;
    if (v->newest != NONE)
        v->workers[v->newest].newer = w->index;
    else
        v->oldest = w->index;
    v->newest = w->index;
    w->heard_ms = v->now_ms;
    w->heard_stall_ms = v->stall_ms;
}

void vent_worker_heard(struct vent *v, struct worker *w)
{
    heard_remove(v, w);
    heard_push(v, w);
}

/* ---------------------------------------------------------------- who could take a task */

static void seat_put(struct vent *v, struct seats *h, uint32_t at, struct seat seat)
{
    struct worker *w = &v->workers[seat.worker];

    h->at[at] = seat;
    if (seat.k == NONE)
        w->place = at;
    else
        w->places[seat.k] = at;
}

static bool is_better(const struct vent *v, struct seat a, struct seat b)
{
    const struct worker *x = &v->workers[a.worker];
    const struct worker *y = &v->workers[b.worker];

    return x->load != y->load ? x->load < y->load : a.worker < b.worker;
}

static void seat_up(struct vent *v, struct seats *h, uint32_t at)
{
    struct seat seat = h->at[at];

    while (at > 0 && is_better(v, seat, h->at[(at - 1) / 2])) {
        seat_put(v, h, at, h->at[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    seat_put(v, h, at, seat);
}

static void seat_down(struct vent *v, struct seats *h, uint32_t at)
{
    struct seat seat = h->at[at];

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= h->n)
            break;
        if (child + 1 < h->n && is_better(v, h->at[child + 1], h->at[child]))
            child++;
        if (!is_better(v, h->at[child], seat))
            break;
        seat_put(v, h, at, h->at[child]);
        at = child;
    }
    seat_put(v, h, at, seat);
}

static bool seat_add(struct vent *v, struct seats *h, struct seat seat)
{
    if (!vent_grow(&h->at, h->n, &h->room, sizeof *h->at))
        return false;
    h->at[h->n++] = seat;
    seat_up(v, h, h->n - 1);
    return true;
}

static void seat_remove(struct vent *v, struct seats *h, uint32_t at)
{
    struct seat last = h->at[--h->n];

    if (at == h->n)
        return;
    seat_put(v, h, at, last);
    seat_up(v, h, at);
    seat_down(v, h,
              last.k == NONE ? v->workers[last.worker].place
                             : v->workers[last.worker].places[last.k]);
}

static void unseat(struct vent *v, struct worker *w)
{
    if (!w->able)
        return;
    w->able = false;
    v->workers_able--;
    if (w->any_queue)
        seat_remove(v, &v->any, w->place);
    for (uint32_t k = 0; k < w->queues_n; k++)
        if (w->places[k] != NONE) {
            seat_remove(v, &v->queues[w->queues[k]].able, w->places[k]);
            w->places[k] = NONE;
        }
}

static void seat(struct vent *v, struct worker *w)
{
    w->able = true;
    v->workers_able++;
    if (w->any_queue) {
        if (!seat_add(v, &v->any, (struct seat){w->index, NONE})) {
            w->able = false; /* tried again with its next message */
            v->workers_able--;
            return;
        }
        vent_unstick(v);
    }
    for (uint32_t k = 0; k < w->queues_n; k++) {
        struct queue *q = &v->queues[w->queues[k]];

        if (!seat_add(v, &q->able, (struct seat){w->index, k}))
            w->places[k] = NONE;
        if (q->place == QUEUE_STUCK)
            vent_queue_place(v, q, QUEUE_ACTIVE);
    }
}

static bool is_able(const struct worker *w)
{
    bool is_empty = w->leased.n == 0 && w->done.n == 0;

    return w->state == WORKER_OPEN && !w->asked && !w->drying && !w->probation &&
           (!w->reserved || w->leased.n == 0) && w->sent_tasks < w->credit_tasks &&
           w->leased.n < LEASES_MAX &&
           (is_empty || (w->sent_bytes < w->credit_bytes && !w->bytes_short));
}

static void reorder(struct vent *v, struct worker *w)
{
    if (w->any_queue) {
        seat_up(v, &v->any, w->place);
        seat_down(v, &v->any, w->place);
    }
    for (uint32_t k = 0; k < w->queues_n; k++) {
        struct seats *h = &v->queues[w->queues[k]].able;

        if (w->places[k] == NONE)
            continue;
        seat_up(v, h, w->places[k]);
        seat_down(v, h, w->places[k]);
    }
}

void vent_worker_update(struct vent *v, struct worker *w)
{
    uint64_t load = w->slots != 0 ? ((uint64_t)w->leased.n << 20) / w->slots : 0;
    bool able = is_able(w);
    bool was_able = w->able;

    if (w->able && !able)
        unseat(v, w);
    if (w->load != load) {
        w->load = load;
        if (w->able)
            reorder(v, w);
        if (was_able && load == 0 && v->suspects_n != 0)
            vent_unstick(v); /* R21: one of them may have it alone now */
    }
    if (able && !w->able)
        seat(v, w);
}

void vent_worker_touch(struct vent *v, struct worker *w)
{
    if (w->touched)
        return;
    w->touched = true;
    v->touched[v->touched_n++] = w->index;
}

/* ---------------------------------------------------------------- queues that it serves */

static void set_open(struct vent *v, struct worker *w, bool open)
{
    if (w->is_open == open)
        return;
    w->is_open = open;
    v->workers_open += open ? 1 : -1u;
    if (w->any_queue)
        v->any_servers += open ? 1 : -1u;
    for (uint32_t k = 0; k < w->queues_n; k++)
        v->queues[w->queues[k]].servers += open ? 1 : -1u;
}

static void unsubscribe(struct vent *v, struct worker *w)
{
    for (uint32_t k = 0; k < w->queues_n; k++) {
        v->queues[w->queues[k]].subscribers--;
        vent_queue_unuse(v, w->queues[k]);
    }
    free(w->queues);
    free(w->places);
    free(w->weights);
    free(w->passes);
    w->queues = w->places = w->weights = NULL;
    w->passes = NULL;
    w->queues_n = 0;
}

static bool has_queue(const struct worker *w, uint32_t queue)
{
    for (uint32_t k = 0; k < w->queues_n; k++)
        if (w->queues[k] == queue)
            return true;
    return false;
}

static bool subscribe(struct vent *v, struct worker *w, const struct dtqi_hello *m)
{
    unsubscribe(v, w);
    w->any_queue = m->queues_n == 0;
    w->queues = calloc(m->queues_n + 1, sizeof *w->queues);
    w->places = calloc(m->queues_n + 1, sizeof *w->places);
    w->weights = calloc(m->queues_n + 1, sizeof *w->weights);
    w->passes = calloc(m->queues_n + 1, sizeof *w->passes);
    if (w->queues == NULL || w->places == NULL || w->weights == NULL || w->passes == NULL)
        return false;
    w->pass = 0;
    w->is_strict = m->queues_strict;
    w->picks = m->queues_strict && m->queues_n > 1;
    for (uint32_t i = 0; i < m->queues_n; i++) {
        uint32_t queue = vent_queue_get(v, m->queues[i]);

        if (queue == NONE)
            return false;
        if (has_queue(w, queue))
            continue;
        v->queues[queue].subscribers++;
        w->places[w->queues_n] = NONE;
        w->weights[w->queues_n] = dtqi_col32(m->queue_weights, i, 1);
        w->picks |= w->weights[w->queues_n] != w->weights[0];
        w->queues[w->queues_n++] = queue;
    }
    return true;
}

/* ---------------------------------------------------------------- the roster */

static bool is_expected(struct vent *v, const dtqi_uid *instance, bool remove)
{
    for (uint32_t i = 0; i < v->expected_n; i++) {
        if (!dtqi_uid_eq(&v->expected[i], instance))
            continue;
        if (remove)
            v->expected[i] = v->expected[--v->expected_n];
        return true;
    }
    return false;
}

static void roster_add(struct vent *v, const dtqi_uid *instance, bool gone)
{
    if (!vent_grow(&v->roster, v->roster_n, &v->roster_room, sizeof *v->roster))
        return; /* a restart waits for grace, then */
    v->roster[v->roster_n++] = (struct journal_worker){*instance, gone};
    vent_lazy(v);
}

void vent_roster_seen(struct vent *v, struct worker *w)
{
    if (is_expected(v, &w->instance, true))
        w->in_roster = true;
    if (w->in_roster)
        return;
    w->in_roster = true;
    roster_add(v, &w->instance, false);
}

/* ---------------------------------------------------------------- the end of sessions */

void vent_unreserve(struct vent *v, struct worker *w)
{
    if (!w->reserved)
        return;
    w->reserved = false;
    v->workers_reserved--;
    vent_unstick(v); /* a suspect that counted on it looks for another */
}

static void close_lane(struct vent *v, struct worker *w)
{
    struct vent_action *a;

    if (!w->has_lane)
        return;
    w->has_lane = false;
    a = vent_act(v, VENT_LANE_CLOSE);
    if (a != NULL)
        a->session = w->lane_session;
}

static void drop_route(struct vent *v, const struct worker *w)
{
    struct peer *p = vent_peer_find(v, w->route);

    if (p != NULL && p->role == DTQI_ROLE_WORKER && p->index == w->index)
        vent_peer_free(v, p);
}

/* R8: the lane first, then everything that belongs to the session. Leases stay. */
static void close_session(struct vent *v, struct worker *w)
{
    close_lane(v, w);
    drop_route(v, w);
    vent_pages_drop(v, w);
    unseat(v, w);
    set_open(v, w, false);
    vent_unreserve(v, w);
    w->asked = w->drying = w->forgot = w->bytes_short = w->list_ended = false;
    w->forget.n = w->stop.n = 0;
    w->recalled_ms = 0;
    w->state = WORKER_LOST;
}

void vent_worker_lose(struct vent *v, struct worker *w, const char *why, bool tell)
{
    if (w->state == WORKER_LOST)
        return;
    VENT_LOG(v, VENT_WARN, "session_lost",
             L_STR("worker", ((struct dtqi_str){w->name, w->name_len})),
             L_U64("session", w->session), L_TEXT("why", why));
    if (tell)
        vent_unknown_session(v, w->route, w->session);
    close_session(v, w);
}

static void worker_free(struct vent *v, struct worker *w)
{
    close_session(v, w);
    unsubscribe(v, w);
    heard_remove(v, w);
    assert(w->leased.n == 0);
    assert(w->done.n == 0);
    if (w->in_roster)
        roster_add(v, &w->instance, true);
    worker_arrays_free(w);
    w->queues = w->places = w->weights = NULL;
    w->passes = NULL;
    w->forget = w->stop = (struct ids){0};
    w->state = WORKER_FREE;
    v->workers_count--;
}

/* R19: its leases go back, the newest first, so that each goes to the head of its queue. */
static void void_leases(struct vent *v, struct worker *w, enum lost how)
{
    while (w->done.n != 0) {
        struct task *t = task_at(v, w->done.head);

        vent_task_move(v, t, TASK_DEADWAIT);
        vent_list_push(v, &v->deadwait, t);
    }
    while (w->leased.n != 0)
        vent_attempt_lost(v, task_at(v, w->leased.tail), how);
}

static void worker_died(struct vent *v, struct worker *w)
{
    v->counters.workers_lost++;
    VENT_LOG(v, VENT_WARN, "worker_lost",
             L_STR("worker", ((struct dtqi_str){w->name, w->name_len})),
             L_U64("silent_ms", v->now_ms - w->heard_ms), L_U64("leases", w->leased.n),
             L_U64("unsettled", w->done.n));
    close_session(v, w);
    void_leases(v, w, LOST_WITH_WORKER);
    worker_free(v, w);
}

void vent_on_worker_bye(struct vent *v, struct worker *w)
{
    VENT_LOG(v, VENT_INFO, "worker_left",
             L_STR("worker", ((struct dtqi_str){w->name, w->name_len})),
             L_U64("leases", w->leased.n), L_U64("unsettled", w->done.n));
    close_session(v, w);
    void_leases(v, w, LOST_RETURNED); /* R21: it counts nothing */
    worker_free(v, w);
}

/* ---------------------------------------------------------------- leases */

void vent_lease(struct vent *v, struct task *t, struct worker *w, enum task_state state)
{
    vent_task_move(v, t, state);
    t->worker = w->index;
    t->resends = 0;
    t->generation = (uint16_t)((t->generation + 1) % TASK_GENERATIONS);
    if (t->generation == 0)
        t->generation = 1; /* so that no ticket is 0 */
    vent_list_push(v, state == TASK_DONE ? &w->done : &w->leased, t);
    w->held_sum += dtqi_holding_hash(&t->id, task_epoch(v, t), t->attempt);
    w->per_sink[t->sink]++;
}

void vent_unlease(struct vent *v, struct task *t)
{
    struct worker *w = &v->workers[t->worker];

    vent_list_remove(v, t->state == TASK_DONE ? &w->done : &w->leased, t);
    w->held_sum -= dtqi_holding_hash(&t->id, task_epoch(v, t), t->attempt);
    w->per_sink[t->sink]--;
    if ((t->flags & TASK_PROBATION) != 0)
        w->probation = false;
    t->flags &= (uint16_t) ~(TASK_PROBATION | TASK_RUNNING | TASK_LISTED);
    t->worker = NONE;
    vent_worker_touch(v, w);
}

/* An attempt that its worker reports nothing more of. It has begun at the earliest when it was
 * given out. */
static void note_end(struct vent *v, struct task *t, dtq_reason reason, const char *text)
{
    uint64_t ms = v->now_ms - t->since_ms;
    struct dtqi_failure f = {
        .attempt = t->attempt,
        .reason = reason,
        .text = dtqi_str(text),
        .started_wall_ms = v->wall_ms - ms,
        .duration_us = ms * 1000,
    };

    vent_note(v, t, &f, &v->workers[t->worker]);
}

/* R21: what was running, or on probation, may have killed its worker. */
static bool count_crash(struct vent *v, struct task *t)
{
    struct past *p = vent_past(v, t);

    if (p == NULL)
        return false;
    v->counters.attempts_crashed++;
    p->counters.counted = (struct journal_attempt){task_epoch(v, t), t->attempt};
    p->counters.reason = DTQ_REASON_LOST;
    if (p->counters.crashes < UINT16_MAX)
        p->counters.crashes++;
    note_end(v, t, DTQ_REASON_LOST, "the worker died");
    return true;
}

/* R21. What ran is tried again at once, as any other: that it waits for a worker of its own would
 * cost too much when a worker full of long tasks dies. But the last crash that it may have happens
 * on probation: nobody is poison who merely ran beside one. */
static void lost_with_worker(struct vent *v, struct task *t)
{
    bool alone = (t->flags & TASK_PROBATION) != 0;
    bool counts = (alone || (t->flags & TASK_RUNNING) != 0) && count_crash(v, t);

    if (counts && vent_crashes_left(v, t) == 0) {
        vent_propose_failed(v, t);
        return;
    }
    if (alone || !counts || vent_crashes_left(v, t) == 1)
        t->flags |= TASK_SUSPECT;
    vent_dirty(v, t, false);
    vent_release(v, t);
}

/* R36: it runs nowhere any more. What it did until then did not fail. */
static void lost_while_stopping(struct vent *v, struct task *t, enum lost how)
{
    if ((t->flags & TASK_RUNNING) != 0 && how == LOST_WITH_WORKER)
        note_end(v, t, DTQ_REASON_LOST, "the worker died");
    else if ((t->flags & TASK_RUNNING) != 0)
        note_end(v, t, DTQ_REASON_NONE, "cancelled");
    vent_propose_cancelled(v, t);
}

void vent_attempt_lost(struct vent *v, struct task *t, enum lost how)
{
    if (how == LOST_RETURNED && (t->flags & TASK_RUNNING) == 0)
        vent_gate_gave_back(v, queue_of(v, t));
    if (how == LOST_RETURNED)
        v->counters.attempts_returned++;
    else
        v->counters.attempts_lost++;
    if (t->state == TASK_STOPPING)
        lost_while_stopping(v, t, how);
    else if (how == LOST_WITH_WORKER)
        lost_with_worker(v, t);
    else
        vent_release(v, t);
}

/* ---------------------------------------------------------------- HELLO */

static struct worker *find_instance(const struct vent *v, const dtqi_uid *instance)
{
    for (uint32_t i = 0; i < v->workers_n; i++)
        if (v->workers[i].state != WORKER_FREE && dtqi_uid_eq(&v->workers[i].instance, instance))
            return &v->workers[i];
    return NULL;
}

static struct worker *worker_new(struct vent *v, const dtqi_uid *instance)
{
    struct worker *w = NULL;

    for (uint32_t i = 0; i < v->workers_n && w == NULL; i++)
        if (v->workers[i].state == WORKER_FREE)
            w = &v->workers[i];
    if (w == NULL && v->workers_n < v->cfg.workers_max)
        w = &v->workers[v->workers_n++];
    if (w == NULL)
        return NULL;
    /* A place that was touched this tick stays in that list. */
    *w = (struct worker){.state = WORKER_LOST,
                         .touched = w->touched,
                         .index = (uint32_t)(w - v->workers),
                         .instance = *instance,
                         .fresh = NONE,
                         .older = NONE,
                         .newer = NONE};
    list_init(&w->leased);
    list_init(&w->done);
    v->workers_count++;
    heard_push(v, w);
    return w;
}

static const char *flaw_of_hello(const struct dtqi_hello *m)
{
    if (m->slots == 0 || m->slots > DTQI_SLOTS_MAX)
        return "slots is out of range";
    if (m->queues_n > WORKER_QUEUES_MAX)
        return "a worker may name 256 queues";
    if (dtqi_uid_is_zero(&m->instance))
        return "HELLO without an instance";
    for (uint32_t i = 0; i < m->queues_n; i++)
        if (m->queues[i].len == 0 || m->queues[i].len > DTQI_NAME_BYTES_MAX)
            return "a queue's name is not valid";
    return NULL;
}

static void copy_name(struct dtqi_str from, char *to, uint32_t *ret_len)
{
    *ret_len = from.len < DTQI_NAME_BYTES_MAX ? from.len : DTQI_NAME_BYTES_MAX;
    if (*ret_len != 0)
        memcpy(to, from.at, *ret_len);
}

/* A session starts from nothing on both sides (R15). */
static void begin_session(struct vent *v, struct worker *w, uint32_t route,
                          const struct dtqi_hello *m)
{
    copy_name(m->name, w->name, &w->name_len);
    copy_name(m->program, w->program, &w->program_len);
    w->route = route;
    w->session = ++v->sessions << SESSION_INDEX_BITS | w->index;
    w->lane_session = w->session;
    w->slots = m->slots;
    w->holdings = m->holdings;
    w->lane_seq = w->lane_acked = 0;
    w->report_seq = 0;
    w->credit_tasks = w->credit_bytes = w->sent_tasks = w->sent_bytes = w->lane_bytes_acked = 0;
    w->unreachable = 0;
    w->blind = 0;
    w->wanted_ms = 0;
    w->state = WORKER_LANE;
}

static void open_lane(struct vent *v, struct worker *w)
{
    struct vent_action *a = vent_act(v, VENT_LANE_OPEN);

    if (a == NULL) {
        vent_on_lane_failed(v, w->session);
        return;
    }
    w->has_lane = true;
    a->session = w->session;
}

/* Whatever had this route is gone from it. Another instance that has nothing leaves no trace: one
 * connection takes one place, whatever it calls itself. */
static void clear_route(struct vent *v, uint32_t route, const dtqi_uid *instance)
{
    const struct peer *p = vent_peer_find(v, route);
    struct worker *w;

    if (p == NULL || p->role != DTQI_ROLE_WORKER)
        return;
    w = &v->workers[p->index];
    close_session(v, w);
    if (!dtqi_uid_eq(&w->instance, instance) && w->leased.n == 0 && w->done.n == 0)
        worker_free(v, w);
}

void vent_on_worker_hello(struct vent *v, uint32_t route, const struct dtqi_hello *m)
{
    const char *flaw = flaw_of_hello(m);
    struct worker *w;

    if (flaw != NULL) {
        vent_refuse(v, route, DTQI_BAD_PEER, flaw);
        return;
    }
    if (v->stopping) {
        vent_refuse(v, route, DTQI_BUSY, "the ventilator is stopping");
        return;
    }
    clear_route(v, route, &m->instance);
    w = find_instance(v, &m->instance);
    if (w != NULL)
        close_session(v, w);
    else
        w = worker_new(v, &m->instance);
    if (w == NULL) {
        vent_refuse(v, route, DTQI_BUSY, "workers_max is reached");
        return;
    }
    vent_worker_heard(v, w);
    if (!subscribe(v, w, m) || vent_peer_new(v, route, DTQI_ROLE_WORKER, w->index) == NULL) {
        vent_refuse(v, route, DTQI_BUSY, "queues_max is reached, or out of memory");
        return;
    }
    begin_session(v, w, route, m);
    open_lane(v, w);
}

void vent_on_lane_opened(struct vent *v, uint64_t session, struct dtqi_str endpoint)
{
    struct worker *w = vent_worker_of_session(v, session);
    struct vent_action *a;

    if (w == NULL || w->state != WORKER_LANE) { /* it said HELLO again, or went */
        a = vent_act(v, VENT_LANE_CLOSE);
        if (a != NULL)
            a->session = session;
        return;
    }
    w->state = WORKER_LISTING;
    w->asked_ms = at_least_1(v->now_ms);
    w->lane_progress_ms = v->now_ms;
    vent_listing_begins(v, w);
    vent_welcome(v, w->route, w->session, vent_copy_str(v, endpoint));
    VENT_LOG(v, VENT_INFO, "worker_joined",
             L_STR("worker", ((struct dtqi_str){w->name, w->name_len})),
             L_U64("session", w->session), L_U64("slots", w->slots), L_U64("holdings", w->holdings),
             L_ID("instance", w->instance.bytes));
    v->counters.workers_joined++;
    if (w->holdings == 0)
        vent_listing_ended(v, w);
}

void vent_on_lane_failed(struct vent *v, uint64_t session)
{
    struct worker *w = vent_worker_of_session(v, session);

    if (w == NULL || w->state != WORKER_LANE)
        return;
    w->has_lane = false;
    vent_refuse(v, w->route, DTQI_BUSY, "the ventilator has no free port for a lane");
    close_session(v, w);
}

void vent_on_lane_broken(struct vent *v, uint64_t session)
{
    struct worker *w = vent_worker_of_session(v, session);

    if (w != NULL && w->has_lane)
        vent_worker_lose(v, w, "its lane broke", true);
}

void vent_worker_opened(struct vent *v, struct worker *w)
{
    w->state = WORKER_OPEN;
    set_open(v, w, true);
    vent_roster_seen(v, w);
    vent_worker_touch(v, w);
}

/* ---------------------------------------------------------------- heartbeats (R12) */

static void note_running(struct vent *v, struct worker *w, const struct dtqi_worker_heartbeat *m)
{
    for (uint32_t i = 0; i < m->running_n; i++) {
        struct task *t = vent_task_find(v, &m->running_ids[i]);

        if (t == NULL || t->worker != w->index ||
            (t->state != TASK_LEASED && t->state != TASK_STOPPING))
            continue;
        t->flags |= TASK_RUNNING;
        vent_task_own_body(t);
    }
}

static void note_sinks(struct vent *v, struct worker *w, const struct dtqi_worker_heartbeat *m)
{
    uint32_t unreachable;

    if (v->now_ms - w->muted_ms >= v->cfg.reroute_ms)
        w->muted = 0; /* to be tried again */
    unreachable = w->muted;
    for (uint32_t i = 0; i < m->unreachable_n; i++) {
        uint32_t s = vent_sink_find(v, &m->unreachable_sinks[i]);

        if (s != NONE)
            unreachable |= 1u << s;
    }
    if (unreachable == w->unreachable)
        return;
    w->unreachable = unreachable;
    vent_unstick(v);
}

static void note_lane(struct vent *v, struct worker *w, uint32_t lane_seq)
{
    if (lane_seq > w->lane_acked && lane_seq <= w->lane_seq) {
        w->lane_acked = lane_seq;
        w->lane_progress_ms = v->now_ms;
    }
    if (w->lane_acked == w->lane_seq) {
        w->lane_bytes_acked = w->sent_bytes;
        w->lane_progress_ms = v->now_ms;
    }
}

/* R18. */
static bool is_stalled(const struct vent *v, const struct worker *w)
{
    uint64_t limit_ms =
        v->cfg.lane_stall_ms + (w->sent_bytes - w->lane_bytes_acked) / LANE_BYTES_PER_MS;

    return w->lane_acked != w->lane_seq && v->now_ms - w->lane_progress_ms >= limit_ms;
}

/* What it keeps without a lease is forgotten at its next list, once the task is settled: so, after
 * a while, that it is there counts as a difference. */
static bool is_same_account(const struct vent *v, const struct worker *w,
                            const struct dtqi_worker_heartbeat *m)
{
    uint32_t held = w->leased.n + w->done.n;
    bool is_listed_lately = v->now_ms - w->asked_ms < v->cfg.settle_overdue_ms_max;

    return (m->held == held && m->held_sum == w->held_sum) ||
           (is_listed_lately && m->held == held + w->stale_n &&
            m->held_sum == w->held_sum + w->stale_sum);
}

/* It was compared with nothing for long, and its oldest lease does not seem to run. */
static bool is_suspicious(const struct vent *v, const struct worker *w)
{
    const struct task *t = w->leased.head != NONE ? task_at(v, w->leased.head) : NULL;

    return w->blind >= BLIND_BEATS && t != NULL && (t->flags & TASK_RUNNING) == 0 &&
           v->now_ms - t->since_ms > BLIND_BEATS * v->cfg.heartbeat_ms;
}

/*
 * What W holds against what we think: comparable only when it had received everything that we sent
 * and we everything that it sent. FORGETs before our last heartbeat are with it: it answered that,
 * if round trips are shorter than heartbeats; else it may be asked for a list that changes nothing.
 */
static void compare(struct vent *v, struct worker *w, const struct dtqi_worker_heartbeat *m)
{
    bool is_level = m->lane_seq == w->lane_seq && m->report_seq == w->report_seq;

    if (w->state != WORKER_OPEN || w->asked)
        return; /* the list is coming */
    if (is_level && w->drying) {
        vent_ask_holdings(v, w);
    } else if (!is_level || w->forgot) {
        w->blind += w->blind < UINT8_MAX;
        w->drying |= is_suspicious(v, w);
    } else {
        w->blind = 0;
        if (!is_same_account(v, w, m) &&
            (w->wanted_ms == 0 ||
             v->now_ms - w->wanted_ms >= HOLDINGS_AGAIN_BEATS * v->cfg.heartbeat_ms))
            vent_ask_holdings(v, w);
    }
}

/* A page that was not sent, or a list that was not asked for after all, does not come again. */
static bool is_list_overdue(const struct vent *v, const struct worker *w)
{
    bool is_awaited = w->asked || (w->state == WORKER_LISTING && !w->list_ended);

    return is_awaited && v->now_ms - w->asked_ms >= HOLDINGS_BEATS_MAX * v->cfg.heartbeat_ms;
}

static void answer_heartbeat(struct vent *v, struct worker *w, uint64_t sequence)
{
    struct dtqi_msg *msg = vent_send(v, w->route, DTQI_VENTILATOR_HEARTBEAT);

    if (msg == NULL)
        return;
    msg->ventilator_heartbeat = (struct dtqi_ventilator_heartbeat){
        .session = w->session,
        .echo = sequence,
        .report_seq = w->report_seq,
        .lane_seq = w->lane_seq,
        .backlog = vent_backlog_for(v, w),
        .wall_ms = v->wall_ms,
    };
    w->forgot = false;
}

void vent_on_worker_heartbeat(struct vent *v, struct worker *w,
                              const struct dtqi_worker_heartbeat *m)
{
    note_lane(v, w, m->lane_seq);
    if (is_stalled(v, w)) {
        v->counters.lanes_stalled++;
        vent_worker_lose(v, w, "its lane stalled", true);
        return;
    }
    if (is_list_overdue(v, w)) {
        vent_worker_lose(v, w, "its holdings do not come", true);
        return;
    }
    w->credit_tasks = m->credit_tasks;
    w->credit_bytes = m->credit_bytes;
    w->bytes_short = false;
    note_running(v, w, m);
    note_sinks(v, w, m);
    compare(v, w, m);
    vent_worker_touch(v, w);
    vent_flush_forget(v, w); /* before the answer: then it has them when it is heard of next */
    answer_heartbeat(v, w, m->sequence);
}

/* ---------------------------------------------------------------- timers */

static uint64_t liveness_ms(const struct vent *v)
{
    return v->cfg.heartbeat_ms * v->cfg.liveness;
}

static void bury(struct vent *v)
{
    while (v->oldest != NONE) {
        struct worker *w = &v->workers[v->oldest];
        uint64_t silence_ms = vent_silence_ms(v, w->heard_ms, w->heard_stall_ms);

        if (silence_ms < liveness_ms(v)) {
            due_at(v, v->now_ms + liveness_ms(v) - silence_ms);
            return;
        }
        worker_died(v, w);
    }
}

/* When a DONE task is looked at again, counted from its report (R30). */
static uint64_t overdue_ms(const struct vent *v, uint32_t resends)
{
    uint64_t at_ms = v->cfg.settle_overdue_ms;
    uint64_t step_ms = at_ms;

    for (uint32_t i = 0; i < resends; i++) {
        step_ms =
            2 * step_ms < v->cfg.settle_overdue_ms_max ? 2 * step_ms : v->cfg.settle_overdue_ms_max;
        at_ms += step_ms;
    }
    return at_ms;
}

static void send_resend(struct vent *v, const struct worker *w, const dtq_id *ids, uint32_t n)
{
    struct dtqi_msg *msg;

    if (n == 0)
        return;
    vent_tell_sinks_again(v, w); /* it may not know this one, if a message was lost */
    msg = vent_send(v, w->route, DTQI_RESEND);
    if (msg != NULL)
        msg->resend = (struct dtqi_ids){w->session, ids, n};
}

/* R30: ask for the outcome again; W may have no way to the sink, though: then elsewhere. */
static void check_done(struct vent *v, struct worker *w)
{
    dtq_id *ids = NULL;
    uint32_t n = 0;
    uint32_t i = w->done.head;

    while (i != NONE && n < DTQI_BATCH_ENTRIES_MAX) {
        struct task *t = task_at(v, i);
        uint64_t age_ms = v->now_ms - t->since_ms;

        i = t->next;
        if (!vent_sink_is_up(&v->sinks[t->sink])) {
            t->since_ms = v->now_ms;
            t->resends = 0;
        } else if (age_ms >= v->cfg.reroute_ms) {
            v->counters.tasks_rerouted++;
            w->muted |= 1u << t->sink; /* elsewhere: not to this one again, for a while */
            w->muted_ms = v->now_ms;
            w->unreachable |= w->muted;
            vent_dirty(v, t, false);
            vent_release(v, t);
        } else if (age_ms >= overdue_ms(v, t->resends) && w->state == WORKER_OPEN) {
            if (ids == NULL)
                ids = vent_scratch(v, DTQI_BATCH_ENTRIES_MAX, sizeof *ids);
            if (ids == NULL)
                return;
            ids[n++] = t->id;
            t->resends++;
            v->counters.outcomes_overdue++;
        } else if (age_ms < v->cfg.settle_overdue_ms) {
            break; /* and so are those behind it */
        }
    }
    send_resend(v, w, ids, n);
}

static void check_overdue(struct vent *v)
{
    if (v->counts[TASK_DONE] == 0)
        return;
    if (v->now_ms < v->done_check_ms) {
        due_at(v, v->done_check_ms);
        return;
    }
    v->done_check_ms = v->now_ms + v->cfg.settle_overdue_ms / 4 + 1;
    due_at(v, v->done_check_ms);
    for (uint32_t i = 0; i < v->workers_n; i++)
        if (v->workers[i].state != WORKER_FREE && v->workers[i].done.n != 0)
            check_done(v, &v->workers[i]);
}

/* R19: its outcome may have reached the sink before the worker died. */
static void check_deadwait(struct vent *v)
{
    for (uint32_t n = v->deadwait.n; n > 0; n--) {
        struct task *t = task_at(v, v->deadwait.head);

        if (v->now_ms - t->since_ms < v->cfg.settle_overdue_ms) {
            due_at(v, t->since_ms + v->cfg.settle_overdue_ms);
            return;
        }
        if (vent_sink_is_up(&v->sinks[t->sink])) {
            vent_dirty(v, t, false);
            vent_release(v, t);
        } else {
            vent_list_remove(v, &v->deadwait, t);
            vent_list_push(v, &v->deadwait, t);
            t->since_ms = v->now_ms;
        }
    }
}

/* Those that a start waited for in vain hold nothing that is waited for any longer. */
static void forget_expected(struct vent *v)
{
    while (v->grace_over && v->expected_n != 0)
        roster_add(v, &v->expected[--v->expected_n], true);
}

void vent_workers_tick(struct vent *v)
{
    bury(v);
    check_overdue(v);
    check_deadwait(v);
    forget_expected(v);
}
