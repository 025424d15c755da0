#include "sink_parts.h"

#define FOLLOW_ALLS_MAX 64u /* routes that get every result of the sink */

/* ---------------------------------------------------------------- tables */

static const dtq_id *waiter_id(const void *owner, uint32_t index)
{
    return &((const struct sink *)owner)->waiters[index].id;
}

dtq_err sink_routes_init(struct sink *s)
{
    s->routes = calloc(s->cfg.routes_max, sizeof *s->routes);
    s->follows_free = NONE;
    s->waiters_free = NONE;
    return s->routes != NULL ? DTQ_OK : DTQ_ENOMEM;
}

void sink_routes_done(struct sink *s)
{
    free(s->routes);
    free(s->follows);
    free(s->waiters);
    nummap_done(&s->route_of);
    nummap_done(&s->follow_of);
    dtqi_idmap_done(&s->waiter_of);
}

/* The first free record of a table that grows by doubling up to `max`; its index, or NONE. */
static uint32_t take_record(void *table, size_t record_bytes, uint32_t *n, uint32_t *size,
                            uint32_t max)
{
    void **at = table;
    uint32_t wanted = dtqi_more_room(*size, 64);
    void *grown;

    if (*n < *size)
        return (*n)++;
    wanted = wanted < max ? wanted : max;
    if (wanted <= *size)
        return NONE;
    grown = realloc(*at, wanted * record_bytes);
    if (grown == NULL)
        return NONE;
    *at = grown;
    *size = wanted;
    return (*n)++;
}

/* ---- follows */

static void follow_unlink(struct sink *s, uint32_t index)
{
    struct follow *f = &s->follows[index];

    if (f->previous != NONE)
        s->follows[f->previous].next = f->next;
    else
        s->routes[f->route].follows = f->next;
    if (f->next != NONE)
        s->follows[f->next].previous = f->previous;
}

static void follow_link(struct sink *s, uint32_t index, uint32_t route)
{
    struct follow *f = &s->follows[index];
    struct route *r = &s->routes[route];

    f->route = route;
    f->previous = NONE;
    f->next = r->follows;
    if (f->next != NONE)
        s->follows[f->next].previous = index;
    r->follows = index;
}

static void follow_free(struct sink *s, uint32_t index)
{
    follow_unlink(s, index);
    nummap_remove(&s->follow_of, s->follows[index].reply_to);
    s->follows[index].next = s->follows_free;
    s->follows_free = index;
}

static uint32_t follow_new(struct sink *s)
{
    uint32_t index = s->follows_free;

    if (index != NONE) {
        s->follows_free = s->follows[index].next;
        return index;
    }
    return take_record(&s->follows, sizeof *s->follows, &s->follows_n, &s->follows_size,
                       s->cfg.follows_max);
}

/* The newest connection that names a number gets its results. */
static bool follow_add(struct sink *s, uint32_t route, uint64_t reply_to)
{
    uint32_t index = nummap_get(&s->follow_of, reply_to);

    if (index != NONE) {
        follow_unlink(s, index);
        follow_link(s, index, route);
        return true;
    }
    index = follow_new(s);
    if (index == NONE)
        return false;
    s->follows[index].reply_to = reply_to;
    follow_link(s, index, route);
    if (nummap_set(&s->follow_of, reply_to, index))
        return true;
    follow_free(s, index);
    return false;
}

uint32_t sink_follower_of(const struct sink *s, uint64_t reply_to)
{
    uint32_t index = reply_to != 0 ? nummap_get(&s->follow_of, reply_to) : NONE;

    return index != NONE ? s->follows[index].route : NONE;
}

/* ---- waiters */

uint32_t sink_waiter_first(const struct sink *s, const dtq_id *id)
{
    return dtqi_idmap_get(&s->waiter_of, s, waiter_id, id);
}

static void waiter_unlink_of_id(struct sink *s, uint32_t index)
{
    struct waiter *w = &s->waiters[index];
    uint32_t head = dtqi_idmap_get(&s->waiter_of, s, waiter_id, &w->id);

    if (head != index) {
        while (s->waiters[head].next_of_id != index)
            head = s->waiters[head].next_of_id;
        s->waiters[head].next_of_id = w->next_of_id;
        return;
    }
    dtqi_idmap_remove(&s->waiter_of, s, waiter_id, &w->id);
    if (w->next_of_id != NONE)
        dtqi_idmap_add(&s->waiter_of, &w->id, w->next_of_id);
}

void sink_waiter_free(struct sink *s, uint32_t index)
{
    struct waiter *w = &s->waiters[index];

    waiter_unlink_of_id(s, index);
    if (w->previous != NONE)
        s->waiters[w->previous].next = w->next;
    else
        s->routes[w->route].waiters = w->next;
    if (w->next != NONE)
        s->waiters[w->next].previous = w->previous;
    w->next = s->waiters_free;
    s->waiters_free = index;
    s->waiters_used--;
}

static uint32_t waiter_new(struct sink *s)
{
    uint32_t index = s->waiters_free;

    if (!dtqi_idmap_reserve(&s->waiter_of, s->waiters_used + 1))
        return NONE;
    if (index != NONE)
        s->waiters_free = s->waiters[index].next;
    else
        index = take_record(&s->waiters, sizeof *s->waiters, &s->waiters_n, &s->waiters_size,
                            s->cfg.waiters_max);
    if (index != NONE)
        s->waiters_used++;
    return index;
}

uint32_t sink_waiter_find(const struct sink *s, uint32_t route, const dtq_id *id)
{
    uint32_t index = sink_waiter_first(s, id);

    while (index != NONE && s->waiters[index].route != route)
        index = s->waiters[index].next_of_id;
    return index;
}

static bool waiter_add(struct sink *s, uint32_t route, const dtq_id *id)
{
    struct route *r = &s->routes[route];
    uint32_t index;
    uint32_t head;

    if (sink_waiter_find(s, route, id) != NONE)
        return true;
    index = waiter_new(s);
    if (index == NONE)
        return false;
    head = dtqi_idmap_get(&s->waiter_of, s, waiter_id, id);
    s->waiters[index] = (struct waiter){*id, route, NONE, r->waiters, NONE};
    if (r->waiters != NONE)
        s->waiters[r->waiters].previous = index;
    r->waiters = index;
    if (head == NONE) {
        dtqi_idmap_add(&s->waiter_of, id, index);
    } else {
        s->waiters[index].next_of_id = s->waiters[head].next_of_id;
        s->waiters[head].next_of_id = index;
    }
    return true;
}

/* ---- routes */

static void route_forget(struct sink *s, uint32_t index)
{
    struct route *r = &s->routes[index];

    while (r->follows != NONE)
        follow_free(s, r->follows);
    while (r->waiters != NONE)
        sink_waiter_free(s, r->waiters);
    s->follow_alls -= r->follows_all;
    nummap_remove(&s->route_of, r->handle);
    r->is_used = false;
    s->routes_used--;
}

/* One that is free, or else the one that was heard least recently: it asks again if it lives. */
static uint32_t route_slot(struct sink *s)
{
    uint32_t oldest = 0;

    if (s->routes_used == s->routes_n && s->routes_n < s->cfg.routes_max)
        return s->routes_n++;
    for (uint32_t i = 0; i < s->routes_n; i++) {
        if (!s->routes[i].is_used)
            return i;
        if (s->routes[i].heard_ms < s->routes[oldest].heard_ms)
            oldest = i;
    }
    route_forget(s, oldest);
    return oldest;
}

/* The route's record, made when it is not there; NONE: no memory. */
static uint32_t route_find(struct sink *s, uint32_t handle)
{
    uint32_t index = nummap_get(&s->route_of, handle);

    if (index == NONE) {
        index = route_slot(s);
        if (!nummap_set(&s->route_of, handle, index))
            return NONE;
        s->routes[index] = (struct route){.handle = handle,
                                          .is_used = true,
                                          .generation = ++s->generations,
                                          .follows = NONE,
                                          .waiters = NONE};
        s->routes_used++;
    }
    s->routes[index].heard_ms = s->now_ms;
    return index;
}

void sink_route_gone(struct sink *s, uint32_t handle)
{
    uint32_t index = nummap_get(&s->route_of, handle);

    if (index != NONE)
        route_forget(s, index);
}

/* Who waits repeats it every 10 s; who has not for a minute is gone without a word. */
void sink_routes_tick(struct sink *s)
{
    if (s->now_ms < s->waiters_sweep_at_ms)
        return;
    s->waiters_sweep_at_ms = s->now_ms + WAITERS_SWEEP_MS;
    for (uint32_t i = 0; i < s->routes_n; i++) {
        struct route *r = &s->routes[i];

        if (!r->is_used || s->now_ms - r->heard_ms < WAITER_MS)
            continue;
        while (r->waiters != NONE)
            sink_waiter_free(s, r->waiters);
    }
}

/* ---------------------------------------------------------------- what comes in */

static void refuse(struct sink *s, uint32_t handle, enum dtqi_refusal reason, const char *text)
{
    struct sink_action *act = sink_act(s, SINK_ACT_RESULTS_SEND);

    s->counters.waits_refused++;
    if (act == NULL)
        return;
    act->route = handle;
    act->msg.type = DTQI_REFUSED;
    act->msg.refused = (struct dtqi_refused){.reason = reason,
                                             .text = dtqi_str(text),
                                             .version_min = DTQI_PROTOCOL_VERSION,
                                             .version_max = DTQI_PROTOCOL_VERSION};
}

static void on_follow(struct sink *s, uint32_t index, const struct dtqi_follow *f)
{
    struct route *r = &s->routes[index];

    if (f->reply_to != 0) {
        if (!follow_add(s, index, f->reply_to))
            refuse(s, r->handle, DTQI_BUSY, "follows_max of the sink is reached");
        return;
    }
    if (r->follows_all)
        return;
    if (s->follow_alls == FOLLOW_ALLS_MAX) {
        refuse(s, r->handle, DTQI_BUSY, "too many connections follow every result");
        return;
    }
    r->follows_all = true;
    s->follow_alls++;
}

static struct job *new_question(struct sink *s, uint32_t index, enum results_read_type type,
                                const struct dtqi_msg *msg, uint64_t request)
{
    struct job *job = sink_job_new(s, type);

    if (job == NULL) {
        refuse(s, s->routes[index].handle, DTQI_BUSY, "reads_max of the sink is reached");
        return NULL;
    }
    assert(msg->buf != NULL);
    job->buf = dtqi_buf_ref(msg->buf);
    job->route = index;
    job->generation = s->routes[index].generation;
    job->request = request;
    job->read.bytes_max = LOOKUP_BYTES_MAX;
    return job;
}

void sink_lookup_on(struct sink *s, struct job *job)
{
    uint32_t left = job->ids_n - job->ids_done;

    job->read.done = 0;
    job->read.outcomes_n = 0;
    job->read.ids = job->ids + job->ids_done;
    job->read.ids_n = left < DTQI_BATCH_ENTRIES_MAX ? left : DTQI_BATCH_ENTRIES_MAX;
    sink_job_ask(s, job, false);
}

/* R32: register first, then look up. What is committed in between is pushed. */
static void on_wait(struct sink *s, uint32_t index, const struct dtqi_msg *msg)
{
    const struct dtqi_wait *w = &msg->wait;
    struct job *job;
    uint32_t registered = w->once ? w->n : 0;

    if (w->n == 0)
        return;
    job = new_question(s, index, RESULTS_LOOKUP, msg, w->request);
    if (job == NULL)
        return;
    while (registered < w->n && waiter_add(s, index, &w->ids[registered]))
        registered++;
    if (registered < w->n)
        refuse(s, s->routes[index].handle, DTQI_BUSY, "waiters_max of the sink is reached");
    job->once = w->once;
    job->ids = w->ids;
    job->ids_n = w->n;
    sink_lookup_on(s, job);
}

static void on_query(struct sink *s, uint32_t index, const struct dtqi_msg *msg)
{
    struct job *job = new_question(s, index, RESULTS_PAGE, msg, msg->results_query.request);

    if (job == NULL)
        return;
    job->read.query = msg->results_query;
    sink_job_ask(s, job, false);
}

void sink_route_message(struct sink *s, uint32_t handle, const struct dtqi_msg *msg)
{
    uint32_t index;

    if (msg->type != DTQI_FOLLOW && msg->type != DTQI_WAIT && msg->type != DTQI_RESULTS_QUERY) {
        s->counters.unexpected++;
        refuse(s, handle, DTQI_BAD_PEER, "this is the results socket of a sink");
        return;
    }
    index = route_find(s, handle);
    if (index == NONE)
        refuse(s, handle, DTQI_BUSY, "the sink is out of memory");
    else if (msg->type == DTQI_FOLLOW)
        on_follow(s, index, &msg->follow);
    else if (msg->type == DTQI_WAIT)
        on_wait(s, index, msg);
    else
        on_query(s, index, msg);
}
