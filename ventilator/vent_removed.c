/*
 * Sinks that were removed (R52). What is decided is written first: from then on, and for ever, the
 * store of a removed sink stands for its successor's, in whatever names it: records of the journal,
 * which stay as they are, SUBMITs, and what workers hold. Tasks in memory are given the successor
 * once that is committed. A sink that has no successor yet keeps its place without being one, and
 * its tasks wait there.
 */
#include "vent_internal.h"

#define RETRY_MS 100u

/* ---------------------------------------------------------------- the table */

static struct removal *find(const struct vent *v, const dtqi_uid *store)
{
    for (uint32_t i = 0; i < v->removals_n; i++)
        if (dtqi_uid_eq(&v->removals[i].store, store))
            return &v->removals[i];
    return NULL;
}

bool vent_is_removed(const struct vent *v, const dtqi_uid *store)
{
    return find(v, store) != NULL;
}

/* A successor was registered when it became one, and so was not removed before: this ends. */
const dtqi_uid *vent_store_now(const struct vent *v, const dtqi_uid *store)
{
    const struct removal *r = find(v, store);

    while (r != NULL && r->is_durable && !dtqi_uid_is_zero(&r->written)) {
        store = &r->written;
        r = find(v, store);
    }
    return store;
}

static struct removal *add(struct vent *v, const dtqi_uid *store)
{
    struct removal *r;

    if (!vent_grow(&v->removals, v->removals_n, &v->removals_room, sizeof *v->removals))
        return NULL;
    r = &v->removals[v->removals_n++];
    *r = (struct removal){.store = *store, .asks = NONE, .asked = NONE};
    return r;
}

bool vent_removal_is_due(const struct removal *r)
{
    return !r->is_durable || !dtqi_uid_eq(&r->successor, &r->written);
}

static void write_soon(struct vent *v)
{
    v->removals_due = true;
    v->urgent = true;
    vent_lazy(v);
}

/* ---------------------------------------------------------------- successors */

static bool may_succeed(const struct sink *s)
{
    return s->used && s->is_durable && !s->removing && s->intake[0] != '\0';
}

/* One that can be reached, if there is one; else any. NULL: none is registered. */
static const struct sink *choose(const struct vent *v, const dtqi_uid *store)
{
    const struct sink *best = NULL;
    uint64_t best_weight = 0;
    dtq_id id;

    memcpy(id.bytes, store->bytes, sizeof id.bytes);
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        const struct sink *s = &v->sinks[i];
        uint64_t weight;
        dtq_id other;

        if (!may_succeed(s) || dtqi_uid_eq(&s->store, store))
            continue;
        memcpy(other.bytes, s->store.bytes, sizeof other.bytes);
        weight = (dtqi_mix64(dtqi_id_hash(&id) ^ dtqi_id_hash(&other)) >> 1) |
                 (uint64_t)vent_sink_is_up(s) << 63;
        if (best != NULL && weight <= best_weight)
            continue;
        best = s;
        best_weight = weight;
    }
    return best;
}

/* Whoever waits for a successor gets the first sink that is there. */
static void choose_missing(struct vent *v)
{
    for (uint32_t i = 0; i < v->removals_n; i++) {
        struct removal *r = &v->removals[i];
        const struct sink *s = dtqi_uid_is_zero(&r->successor) ? choose(v, &r->store) : NULL;

        if (s == NULL)
            continue;
        r->successor = s->store;
        write_soon(v);
    }
}

/* ---------------------------------------------------------------- tasks in memory */

/* Their queues must have room for them wherever they become ready. */
static bool make_lots(struct vent *v, uint32_t from, uint32_t to)
{
    bool ok = true;

    for (uint32_t i = 0; i < v->queues_room + v->groups_room && ok; i++)
        if (v->queues[i].used && v->queues[i].lots[from] != NULL)
            ok = vent_queue_lot(v, i, to);
    return ok;
}

static void move_lease(struct vent *v, const struct task *t, uint8_t to)
{
    struct worker *w = &v->workers[t->worker];

    w->per_sink[t->sink]--;
    w->per_sink[to]++;
}

static void move_dying(struct vent *v, const struct task *t, uint8_t to)
{
    unsigned round = t->dying == DYING_PROPOSED_1;

    if (t->dying != DYING_PROPOSED_0 && t->dying != DYING_PROPOSED_1)
        return;
    v->sinks[t->sink].dying[round]--;
    v->sinks[to].dying[round]++;
}

static void move_task(struct vent *v, struct task *t, uint8_t to)
{
    move_dying(v, t, to);
    switch ((enum task_state)t->state) {
    case TASK_READY:
        vent_ready_unlink(v, t);
        t->sink = to;
        vent_ready_link(v, t);
        break;
    case TASK_HELD:
        vent_list_remove(v, &v->held[t->sink], t);
        vent_list_push(v, &v->held[to], t);
        break;
    case TASK_PROPOSED:
        vent_proposed_unlink(v, t);
        t->worker = NONE;
        vent_list_push(v, &v->sinks[to].unsent, t);
        break;
    case TASK_LEASED:
    case TASK_STOPPING:
    case TASK_DONE: move_lease(v, t, to); break;
    case TASK_CLAIMED:
    case TASK_PARKED:
    case TASK_SCHEDULED:
    case TASK_DEADWAIT:
    case TASK_MARKING:
    case TASK_GONE:
    case TASK_FREE:
    case TASK_STATES: break;
    }
    t->sink = to;
}

static void move_tasks(struct vent *v, uint32_t from, uint32_t to)
{
    for (struct claim *c = v->claims; c != NULL; c = c->next)
        if (c->sink == from)
            c->sink = (uint8_t)to;
    for (uint32_t i = 0; i < v->tasks_used; i++) {
        struct task *t = task_at(v, i);

        if (t->state != TASK_FREE && t->sink == from)
            move_task(v, t, (uint8_t)to);
    }
    for (uint32_t i = 0; i < v->workers_n; i++) {
        v->workers[i].muted &= ~(1u << from);
        v->workers[i].unreachable &= ~(1u << from);
    }
}

/* ---------------------------------------------------------------- the place of a removed one */

static void disconnect(struct vent *v, struct sink *s)
{
    struct vent_action *a = s->connected ? vent_act(v, VENT_SINK_DISCONNECT) : NULL;

    s->connected = false;
    if (a != NULL)
        a->sink = (uint32_t)(s - v->sinks);
}

/* Nobody is there any more, and tasks may wait: for no sink, and for nothing that it had to say. */
void vent_sink_vacate(struct vent *v, struct sink *s)
{
    uint32_t bit = 1u << (s - v->sinks);

    if (s->live)
        vent_sink_lost(v, s, "it was removed");
    disconnect(v, s);
    v->sinks_n -= s->intake[0] != '\0';
    s->intake[0] = s->results[0] = '\0';
    s->is_durable = s->dirty = s->is_old = s->rewound = s->diverged = false;
    s->applied = s->applied_durable = s->gap_ms = 0;
    s->removed = s->caught_up = true;
    v->down |= bit;
    v->diverged |= bit;
    v->sinks_changed = true;
}

static void free_place(struct vent *v, struct sink *s)
{
    uint32_t bit = 1u << (s - v->sinks);
    uint32_t wait;

    while ((wait = vent_link_take(v, &s->asks)) != NONE)
        vent_wait_release(v, wait);
    while ((wait = vent_link_take(v, &s->asked)) != NONE)
        vent_wait_release(v, wait);
    v->down &= ~bit;
    v->diverged &= ~bit;
    vent_sink_clear(s);
}

/* false: no memory; later. */
static bool apply(struct vent *v, const struct removal *r)
{
    uint32_t from = vent_sink_find(v, &r->store);
    const dtqi_uid *now = vent_store_now(v, &r->store);
    uint32_t to;

    if (from == NONE)
        return true;
    if (!v->sinks[from].removed)
        vent_sink_vacate(v, &v->sinks[from]);
    if (dtqi_uid_eq(now, &r->store))
        return true; /* its tasks wait */
    to = vent_sink_get(v, now);
    if (to == NONE || !make_lots(v, from, to))
        return false;
    move_tasks(v, from, to);
    free_place(v, &v->sinks[from]);
    vent_unstick(v);
    return true;
}

static void apply_all(struct vent *v)
{
    v->removals_left = false;
    for (uint32_t i = 0; i < v->removals_n; i++)
        if (v->removals[i].is_durable && !apply(v, &v->removals[i]))
            v->removals_left = true;
}

void vent_removals_tick(struct vent *v)
{
    if (!v->removals_left)
        return;
    if (v->now_ms >= v->removals_ms) {
        v->removals_ms = v->now_ms + RETRY_MS;
        apply_all(v);
    }
    due_at(v, v->removals_ms);
}

/* ---------------------------------------------------------------- the journal */

bool vent_removals_init(struct vent *v, const struct journal_sink *js)
{
    struct removal *r = add(v, &js->store);

    if (r == NULL)
        return false;
    r->successor = r->written = js->successor;
    r->is_durable = true;
    return true;
}

void vent_removals_start(struct vent *v)
{
    choose_missing(v);
}

uint32_t vent_removals_gather(struct vent *v, struct journal_sink *at, uint32_t room)
{
    uint32_t n = 0;

    v->removals_due = false;
    for (uint32_t i = 0; i < v->removals_n; i++) {
        struct removal *r = &v->removals[i];

        if (!vent_removal_is_due(r))
            continue;
        if (n == room) {
            v->removals_due = true;
            return n;
        }
        at[n++] =
            (struct journal_sink){.store = r->store, .removed = true, .successor = r->successor};
        r->asked = r->asks;
        r->asks = NONE;
    }
    return n;
}

void vent_removal_written(struct vent *v, const struct journal_sink *js)
{
    struct removal *r = find(v, &js->store);

    assert(r != NULL);
    r->is_durable = true;
    r->written = js->successor;
    VENT_LOG(v, VENT_WARN, "sink_removed", L_ID("store", r->store.bytes),
             L_ID("successor", r->written.bytes));
    v->sinks_changed = true;
}

void vent_removals_written(struct vent *v)
{
    choose_missing(v);
    apply_all(v);
}

/* ---------------------------------------------------------------- who is told */

struct dtqi_removed vent_removed_list(struct vent *v)
{
    dtqi_uid *stores = vent_scratch(v, v->removals_n, sizeof *stores);
    dtqi_uid *successors = vent_scratch(v, v->removals_n, sizeof *successors);
    struct dtqi_removed list = {stores, successors, 0};

    for (uint32_t i = 0; stores != NULL && successors != NULL && i < v->removals_n; i++) {
        const struct removal *r = &v->removals[i];
        const dtqi_uid *now = vent_store_now(v, &r->store);

        if (!r->is_durable)
            continue;
        stores[list.n] = r->store;
        successors[list.n] = vent_is_waiting(v, now) ? (dtqi_uid){{0}} : *now;
        list.n++;
    }
    return list;
}

/* Removed for good, and nobody has taken its place. */
bool vent_is_waiting(const struct vent *v, const dtqi_uid *store)
{
    const struct removal *r = find(v, store);

    return r != NULL && r->is_durable && dtqi_uid_is_zero(&r->written);
}

/* ---------------------------------------------------------------- the order */

static const char *flaw_of_successor(const struct vent *v, const struct dtqi_operate *m)
{
    dtqi_uid store;
    uint32_t i;

    if (m->n < 2)
        return NULL;
    memcpy(store.bytes, m->ids[1].bytes, sizeof store.bytes);
    i = vent_sink_find(v, &store);
    if (i == NONE || !may_succeed(&v->sinks[i]))
        return "ids: the successor is not a sink that is registered";
    return memcmp(m->ids[0].bytes, m->ids[1].bytes, sizeof m->ids[0].bytes) == 0
               ? "ids: a sink is not its own successor"
               : NULL;
}

/* Asked again, as when the answer was lost: there is nothing to do, but what is not written yet is
 * waited for. */
static void remove_again(struct vent *v, uint32_t route, const struct dtqi_operate *m,
                         struct removal *r)
{
    bool is_same = m->n < 2 || memcmp(m->ids[1].bytes, r->successor.bytes, 16) == 0;

    if (!is_same)
        vent_operate_refuse(v, route, m, DTQI_CONFLICT, "it was removed with another successor");
    else if (r->is_durable)
        vent_operate_answer(v, &(struct wait){.route = route, .request = m->request});
    else
        vent_operate_answer_later(v, route, m, r->asked != NONE ? &r->asked : &r->asks, 0);
}

static void begin(struct vent *v, uint32_t route, const struct dtqi_operate *m, struct sink *s)
{
    const struct sink *heir = m->n < 2 ? choose(v, &s->store) : NULL;
    bool is_full = v->removals_n >= DTQI_SINKS_REMOVED_MAX;
    struct removal *r = is_full ? NULL : add(v, &s->store);

    if (r == NULL) {
        vent_operate_refuse(v, route, m, DTQI_BUSY,
                            is_full ? "too many sinks were removed" : "out of memory");
        return;
    }
    if (m->n > 1)
        memcpy(r->successor.bytes, m->ids[1].bytes, sizeof r->successor.bytes);
    else if (heir != NULL)
        r->successor = heir->store;
    s->removing = true;
    vent_sink_note(v, s);
    write_soon(v);
    vent_operate_answer_later(v, route, m, &r->asks, 1);
}

void vent_on_sink_remove(struct vent *v, uint32_t route, const struct dtqi_operate *m)
{
    const char *flaw = flaw_of_successor(v, m);
    struct removal *r;
    dtqi_uid store;
    uint32_t i;

    if (m->n == 0 || m->n > 2) {
        vent_operate_refuse(v, route, m, DTQI_BAD_TASK,
                            "ids: the store of a sink, and perhaps of its successor");
        return;
    }
    memcpy(store.bytes, m->ids[0].bytes, sizeof store.bytes);
    i = vent_sink_find(v, &store);
    r = find(v, &store);
    if (r != NULL)
        remove_again(v, route, m, r);
    else if (i == NONE)
        vent_operate_refuse(v, route, m, DTQI_BAD_TASK, "there is no such sink");
    else if (flaw != NULL)
        vent_operate_refuse(v, route, m, DTQI_BAD_TASK, flaw);
    else if (v->sinks[i].live && !m->force)
        vent_operate_refuse(v, route, m, DTQI_BAD_TASK,
                            "the sink is connected: stop it first, or remove it by force");
    else
        begin(v, route, m, &v->sinks[i]);
}
