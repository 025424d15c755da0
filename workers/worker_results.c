#include "worker_internal.h"

/* A sink that does not take results for so long is likely not to take them soon: what is kept for
 * it is copied out of its batches, so that the batches can go. */
#define BLOCKED_MS_LONG 1000u

void wk_results_init(struct worker *w)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        w->sinks[i].to_send = w->sinks[i].sent = list_empty();
}

/* ---------------------------------------------------------------- sinks */

static uint32_t sink_index(const struct worker *w, const struct sink *s)
{
    return (uint32_t)(s - w->sinks);
}

/* Who has what is meant for this one (R52): itself, unless it was removed. */
static const dtqi_uid *store_now(const struct worker *w, const dtqi_uid *store)
{
    for (uint32_t i = 0; i < w->removed_n; i++)
        if (dtqi_uid_eq(&w->removed[i], store) && !dtqi_uid_is_zero(&w->successors[i]))
            return &w->successors[i];
    return store;
}

uint32_t wk_sink_get(struct worker *w, const dtqi_uid *store)
{
    struct sink *unused = NULL;

    store = store_now(w, store);
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        struct sink *s = &w->sinks[i];

        if (s->used && dtqi_uid_eq(&s->store, store))
            return i;
        if (!s->used && unused == NULL)
            unused = s;
    }
    if (unused == NULL)
        return NONE;
    *unused = (struct sink){
        .used = true,
        .store = *store,
        .down_ms = w->now_ms,
        .to_send = list_empty(),
        .sent = list_empty(),
    };
    return sink_index(w, unused);
}

static void sink_close(struct worker *w, struct sink *s)
{
    struct worker_action *a = s->open ? wk_act(w, WORKER_ACT_SINK_CLOSE) : NULL;

    if (a == NULL)
        return;
    a->sink.index = sink_index(w, s);
    s->open = s->connected = s->blocked = false;
    s->down_ms = w->now_ms;
}

/* One that nobody names, and for which nothing is held, is given up. */
static void sink_tidy(struct worker *w, struct sink *s)
{
    if (!s->used || s->listed || s->refs != 0)
        return;
    sink_close(w, s);
    if (!s->open)
        s->used = false;
}

void wk_sink_drop(struct worker *w, uint32_t sink)
{
    struct sink *s = &w->sinks[sink];

    assert(s->refs > 0);
    s->refs--;
    if (s->refs == 0 && !s->listed)
        sink_tidy(w, s);
}

/* Results that were sent may be lost with the connection they went out on (R23). */
static void sent_is_to_send(struct worker *w, struct sink *s)
{
    struct entry *e;

    while ((e = entry_at(w, s->sent.tail)) != NULL) {
        list_remove(w, &s->sent, e);
        e->number = 0;
        list_push_head(w, &s->to_send, e);
    }
}

/* false: no memory. */
static bool sink_open(struct worker *w, struct sink *s, struct dtqi_str intake)
{
    struct worker_action *a;
    char *copy;

    if (intake.len == 0 || intake.len > sizeof s->intake)
        return true; /* it stays out of reach */
    if (s->open && dtqi_str_eq(intake, (struct dtqi_str){s->intake, s->intake_len}))
        return true;
    sink_close(w, s);
    copy = s->open ? NULL : wk_scratch(w, intake.len, 1);
    a = copy != NULL ? wk_act(w, WORKER_ACT_SINK_OPEN) : NULL;
    if (a == NULL)
        return false;
    memcpy(copy, intake.at, intake.len);
    memcpy(s->intake, intake.at, intake.len);
    s->intake_len = intake.len;
    a->sink.index = sink_index(w, s);
    a->sink.endpoint = (struct dtqi_str){copy, intake.len};
    s->open = true;
    s->down_ms = w->now_ms;
    return true;
}

/* Who is in the list, found or made. */
static void sinks_list(struct worker *w, const struct dtqi_sink_info *infos, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t sink = wk_sink_get(w, &infos[i].store);

        if (sink != NONE)
            w->sinks[sink].listed = true;
    }
}

static bool removed_keep(struct worker *w, const struct dtqi_removed *m)
{
    dtqi_uid *removed = m->n != 0 ? malloc(2 * m->n * sizeof *removed) : NULL;

    if (m->n != 0 && removed == NULL)
        return false;
    free(w->removed);
    w->removed = removed;
    w->removed_n = m->n;
    if (m->n == 0)
        return true;
    w->successors = removed + m->n;
    memcpy(w->removed, m->stores, m->n * sizeof *removed);
    memcpy(w->successors, m->successors, m->n * sizeof *removed);
    return true;
}

/* What is held for it is held for its successor, who may have its results at once. */
static void sink_succeed(struct worker *w, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < w->entries_n; i++) {
        struct entry *e = &w->entries[i];

        if (e->state == ENTRY_FREE || e->sink != from || wk_entry_is_foreign(w, e))
            continue;
        if (e->state == ENTRY_DONE)
            wk_result_unlink(w, e);
        w->sinks[from].refs--;
        e->sink = (uint8_t)to;
        w->sinks[to].refs++;
        if (e->state == ENTRY_DONE)
            wk_result_keep(w, e);
    }
}

static void sinks_succeed(struct worker *w)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        const struct sink *s = &w->sinks[i];
        uint32_t to = s->used && !s->listed ? wk_sink_get(w, &s->store) : i;

        if (to != i && to != NONE)
            sink_succeed(w, i, to);
    }
}

void wk_sinks_update(struct worker *w, const struct dtqi_sink_info *infos, uint32_t n,
                     const struct dtqi_removed *removed)
{
    bool all = removed_keep(w, removed);

    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        w->sinks[i].listed = false;
    sinks_list(w, infos, n);
    sinks_succeed(w);
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        sink_tidy(w, &w->sinks[i]);
    sinks_list(w, infos, n); /* there may be room now for one more */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t sink = wk_sink_get(w, &infos[i].store);

        if (sink != NONE && !sink_open(w, &w->sinks[sink], infos[i].intake))
            all = false;
    }
    w->sinks_listed = 0;
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        w->sinks_listed += w->sinks[i].listed;
    if (!all)
        wk_session_lost(w, "no memory to know the sinks"); /* WELCOME names them again */
}

bool wk_sink_is_over_share(const struct worker *w, const struct sink *s)
{
    return w->sinks_listed > 1 && s->kept_bytes >= w->kept_bytes_max / 2;
}

bool wk_sink_is_unreachable(const struct worker *w, const struct sink *s)
{
    if (!s->used)
        return false;
    if (!s->open || wk_sink_is_over_share(w, s))
        return true;
    return !s->connected && w->now_ms >= s->down_ms + w->session.liveness_ms;
}

bool wk_sinks_changed(struct worker *w)
{
    bool changed = false;

    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        const struct sink *s = &w->sinks[i];
        bool now;

        if (!s->used || !s->listed)
            continue;
        now = wk_sink_is_unreachable(w, s);
        changed = changed || now != s->told_unreachable;
        if (s->open && !s->connected && !now)
            due(w, s->down_ms + w->session.liveness_ms);
    }
    return changed;
}

/* ---------------------------------------------------------------- connections */

static void own_all(struct worker *w, const struct list *l)
{
    for (struct entry *e = entry_at(w, l->head); e != NULL; e = entry_at(w, e->next))
        wk_entry_own_end(e);
}

static void on_lost(struct worker *w, struct sink *s)
{
    s->connected = s->blocked = false;
    s->down_ms = w->now_ms;
    own_all(w, &s->sent);
    own_all(w, &s->to_send);
}

/* Of what was sent in message `number` or later, nothing left. */
static void unsend(struct worker *w, struct sink *s, struct list *l, uint64_t number)
{
    struct entry *e = entry_at(w, l->tail);

    while (e != NULL && e->number >= number) {
        struct entry *before = entry_at(w, e->prev);

        if (e->sink == sink_index(w, s)) {
            list_remove(w, l, e);
            e->number = e->until_ms = 0;
            list_push_head(w, &s->to_send, e);
        }
        e = before;
    }
}

static void on_full(struct worker *w, struct sink *s, uint64_t number)
{
    if (!s->blocked)
        s->blocked_ms = w->now_ms;
    s->blocked = true;
    unsend(w, s, &s->sent, number);
    unsend(w, s, &w->fading, number);
}

void wk_on_sink(struct worker *w, const struct worker_event *ev)
{
    struct sink *s = ev->sink.index < DTQI_SINKS_MAX ? &w->sinks[ev->sink.index] : NULL;

    if (s == NULL || !s->open)
        return;
    if (ev->type == WORKER_EV_SINK_FULL) {
        on_full(w, s, ev->sink.number);
    } else if (ev->type == WORKER_EV_SINK_WRITABLE) {
        s->blocked = false;
    } else if (ev->type == WORKER_EV_SINK_LOST) {
        on_lost(w, s);
    } else {
        s->connected = true;
        s->blocked = false;
        sent_is_to_send(w, s);
    }
}

/* ---------------------------------------------------------------- what is kept */

/* Where a DONE entry is: to be sent, sent, or sent and fading. */
static struct list *list_of(struct worker *w, const struct entry *e)
{
    struct sink *s = &w->sinks[e->sink];

    if (e->number == 0)
        return &s->to_send;
    return e->until_ms != 0 ? &w->fading : &s->sent;
}

void wk_result_keep(struct worker *w, struct entry *e)
{
    struct sink *s = &w->sinks[e->sink];

    e->number = e->until_ms = 0;
    s->kept_bytes += ENTRY_OVERHEAD_BYTES + e->len;
    if (!s->connected || (s->blocked && w->now_ms >= s->blocked_ms + BLOCKED_MS_LONG))
        wk_entry_own_end(e);
    list_push(w, &s->to_send, e);
}

void wk_result_unlink(struct worker *w, struct entry *e)
{
    w->sinks[e->sink].kept_bytes -= ENTRY_OVERHEAD_BYTES + e->len;
    list_remove(w, list_of(w, e), e);
}

void wk_result_again(struct worker *w, struct entry *e)
{
    if (e->number == 0)
        return; /* it is to be sent anyway */
    list_remove(w, list_of(w, e), e);
    e->number = e->until_ms = 0;
    list_push(w, &w->sinks[e->sink].to_send, e);
}

void wk_results_orphan(struct worker *w)
{
    for (uint32_t i = 0; i < w->entries_n; i++) {
        struct entry *e = &w->entries[i];

        if (e->state == ENTRY_DONE && wk_entry_is_foreign(w, e))
            wk_result_again(w, e);
    }
}

/* Not the result of the lease that the ventilator knows of. */
static bool is_fading(const struct worker *w, const struct entry *e)
{
    return (e->flags & ENTRY_STALE) != 0 || wk_entry_is_foreign(w, e);
}

void wk_results_fade(struct worker *w)
{
    struct entry *e;

    while ((e = entry_at(w, w->fading.head)) != NULL) {
        if (w->now_ms < e->until_ms) {
            due(w, e->until_ms);
            return;
        }
        w->stats.results_faded++;
        wk_entry_discard(w, e);
    }
}

/* ---------------------------------------------------------------- OUTCOMES */

/* How many of the first results go into one message: of one origin, within a batch, or one larger
 * alone. */
static uint32_t batch_of(const struct worker *w, const struct list *l)
{
    const struct entry *first = entry_at(w, l->head);
    const struct entry *e = first;
    uint64_t bytes = 0;
    uint32_t n = 0;

    while (e != NULL && n < DTQI_BATCH_ENTRIES_MAX && e->origin == first->origin) {
        bytes += e->len;
        if (n != 0 && bytes > DTQI_BATCH_BYTES_MAX)
            break;
        n++;
        e = entry_at(w, e->next);
    }
    return n;
}

struct columns {
    dtq_id *ids;
    uint32_t *tickets;
    uint32_t *attempts;
    uint32_t *specs; /* the dictionary, in numbers of the core */
    uint32_t specs_n;
    uint32_t *spec_index;
    uint64_t *reply_to;
    uint64_t *started_wall_ms;
    uint64_t *durations_us;
    struct dtqi_slice *bodies;
    bool other_attempts; /* than 1 */
    bool replies;
};

static bool columns_new(struct worker *w, struct columns *c, uint32_t n)
{
    *c = (struct columns){0};
    c->ids = wk_scratch(w, n, sizeof *c->ids);
    c->tickets = wk_scratch(w, n, sizeof *c->tickets);
    c->attempts = wk_scratch(w, n, sizeof *c->attempts);
    c->specs = wk_scratch(w, n, sizeof *c->specs);
    c->spec_index = wk_scratch(w, n, sizeof *c->spec_index);
    c->reply_to = wk_scratch(w, n, sizeof *c->reply_to);
    c->started_wall_ms = wk_scratch(w, n, sizeof *c->started_wall_ms);
    c->durations_us = wk_scratch(w, n, sizeof *c->durations_us);
    c->bodies = wk_scratch(w, n, sizeof *c->bodies);
    return c->ids != NULL && c->tickets != NULL && c->attempts != NULL && c->specs != NULL &&
           c->spec_index != NULL && c->reply_to != NULL && c->started_wall_ms != NULL &&
           c->durations_us != NULL && c->bodies != NULL;
}

/* The spec's index in this message's dictionary, which the records themselves remember. */
static uint32_t spec_local(struct worker *w, struct columns *c, uint32_t spec)
{
    struct spec *s = &w->specs[spec];

    if (s->mark != w->sends) {
        s->mark = w->sends;
        s->local = c->specs_n;
        c->specs[c->specs_n++] = spec;
    }
    return s->local;
}

static void columns_add(struct worker *w, struct columns *c, uint32_t i, const struct entry *e)
{
    c->ids[i] = e->id;
    c->tickets[i] = e->ticket;
    c->attempts[i] = e->attempt;
    c->spec_index[i] = spec_local(w, c, e->spec);
    c->reply_to[i] = e->reply_to;
    c->started_wall_ms[i] = e->started_wall_ms;
    c->durations_us[i] = e->duration_us;
    c->bodies[i] = (struct dtqi_slice){e->at, e->len};
    c->other_attempts = c->other_attempts || e->attempt != 1;
    c->replies = c->replies || e->reply_to != 0;
}

static void columns_fill(struct worker *w, struct columns *c, const struct list *l, uint32_t n)
{
    const struct entry *e = entry_at(w, l->head);

    for (uint32_t i = 0; i < n; i++) {
        columns_add(w, c, i, e);
        e = entry_at(w, e->next);
    }
}

/* Only the encoded form of a spec is read by the codec. */
static const struct dtqi_spec *dictionary(struct worker *w, const struct columns *c)
{
    struct dtqi_spec *specs = wk_scratch(w, c->specs_n, sizeof *specs);

    for (uint32_t i = 0; specs != NULL && i < c->specs_n; i++) {
        const struct spec *s = &w->specs[c->specs[i]];

        specs[i] = (struct dtqi_spec){.raw = s->raw, .name = s->name, .queue = s->queue};
    }
    return specs;
}

/* Nobody may ever say FORGET to a result that is not the lease's: it goes after a time (R35). */
static void entry_sent(struct worker *w, struct sink *s, struct entry *e)
{
    list_remove(w, &s->to_send, e);
    e->number = w->sends;
    e->until_ms = w->now_ms + DTQI_ORPHAN_MS;
    list_push(w, &w->fading, e);
}

/* The first n of the list have left. */
static void mark_sent(struct worker *w, struct sink *s, uint32_t n)
{
    struct entry *e = entry_at(w, s->to_send.head);
    struct entry *last = NULL;
    uint32_t stay = 0; /* of the first n, so many before e are to be kept until FORGET */

    w->stats.outcomes_sent += n;
    for (; n > 0; n--) {
        struct entry *next = entry_at(w, e->next);

        if (is_fading(w, e)) {
            entry_sent(w, s, e);
        } else {
            e->number = w->sends;
            last = e;
            stay++;
        }
        e = next;
    }
    if (stay != 0)
        list_splice(w, &s->to_send, last, stay, &s->sent);
}

/* One message to one sink. false: no memory. */
static bool send_batch(struct worker *w, struct sink *s)
{
    uint32_t n = batch_of(w, &s->to_send);
    const struct origin *o = &w->origins[w->entries[s->to_send.head].origin];
    const struct dtqi_spec *specs;
    struct worker_action *a;
    struct columns c;

    w->sends++;
    if (!columns_new(w, &c, n))
        return false;
    columns_fill(w, &c, &s->to_send, n);
    specs = dictionary(w, &c);
    a = specs != NULL ? wk_act(w, WORKER_ACT_SINK_SEND) : NULL;
    if (a == NULL)
        return false;
    a->send.index = sink_index(w, s);
    a->send.number = w->sends;
    a->send.msg.type = DTQI_OUTCOMES;
    a->send.msg.outcomes = (struct dtqi_outcomes){
        .ventilator = o->store,
        .epoch = o->epoch,
        .instance = w->cfg.instance,
        .worker = w->cfg.name,
        .heard_wall_ms = o->heard_wall_ms,
        .sink = s->store,
        .n = n,
        .ids = c.ids,
        .tickets = c.tickets,
        .attempts = c.other_attempts ? c.attempts : NULL,
        .specs = specs,
        .specs_n = c.specs_n,
        .spec_index = c.spec_index,
        .reply_to = c.replies ? c.reply_to : NULL,
        .started_wall_ms = c.started_wall_ms,
        .durations_us = c.durations_us,
        .bodies = c.bodies,
    };
    mark_sent(w, s, n);
    return true;
}

void wk_results_send(struct worker *w)
{
    if (w->session.outcomes_fenced)
        return; /* R14 */
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        struct sink *s = &w->sinks[i];

        if (!s->used || !s->connected || s->blocked)
            continue;
        for (uint32_t n = 0; n < SENDS_PER_TICK && s->to_send.n != 0; n++) {
            if (!send_batch(w, s))
                return;
        }
        if (s->to_send.n != 0)
            due(w, w->now_ms); /* the rest at the next tick, behind what came in meanwhile */
    }
}
