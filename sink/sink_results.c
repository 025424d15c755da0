#include "sink_parts.h"

/* ---------------------------------------------------------------- messages with results */

/* Columns of one RESULTS message, in scratch memory, filled entry by entry. */
struct parcel {
    uint32_t n;
    uint32_t size;
    uint64_t bytes;
    dtq_id *ids;
    uint32_t *kinds;
    uint32_t *attempts;
    uint32_t *reasons;
    int32_t *codes;
    uint64_t *started_wall_ms;
    uint64_t *durations_us;
    uint64_t *committed_wall_ms;
    struct dictionary {
        struct dtqi_str *words;
        uint32_t n;
        uint32_t *index;
    } workers, names, queues;
    struct dtqi_slice *bodies;
    bool has_kinds;
    bool has_attempts;
    bool has_failures; /* reasons or codes */
};

static bool dictionary_init(struct sink *s, struct dictionary *d, uint32_t size)
{
    d->n = 0;
    d->words = sink_scratch(s, size, sizeof *d->words);
    d->index = sink_scratch(s, size, sizeof *d->index);
    return d->words != NULL && d->index != NULL;
}

/* Room for `left` entries, or for a full message. */
static bool parcel_init(struct sink *s, struct parcel *p, uint32_t left)
{
    uint32_t size = left < DTQI_BATCH_ENTRIES_MAX ? left : DTQI_BATCH_ENTRIES_MAX;

    *p = (struct parcel){.size = size};
    p->ids = sink_scratch(s, size, sizeof *p->ids);
    p->kinds = sink_scratch(s, size, sizeof *p->kinds);
    p->attempts = sink_scratch(s, size, sizeof *p->attempts);
    p->reasons = sink_scratch(s, size, sizeof *p->reasons);
    p->codes = sink_scratch(s, size, sizeof *p->codes);
    p->started_wall_ms = sink_scratch(s, size, sizeof *p->started_wall_ms);
    p->durations_us = sink_scratch(s, size, sizeof *p->durations_us);
    p->committed_wall_ms = sink_scratch(s, size, sizeof *p->committed_wall_ms);
    p->bodies = sink_scratch(s, size, sizeof *p->bodies);
    return p->ids != NULL && p->kinds != NULL && p->attempts != NULL && p->reasons != NULL &&
           p->codes != NULL && p->started_wall_ms != NULL && p->durations_us != NULL &&
           p->committed_wall_ms != NULL && p->bodies != NULL &&
           dictionary_init(s, &p->workers, size) && dictionary_init(s, &p->names, size) &&
           dictionary_init(s, &p->queues, size);
}

/* The word's number; the last ones are looked at first, since neighbours are alike. */
static uint32_t dictionary_add(struct dictionary *d, struct dtqi_str word)
{
    uint32_t looked_at = 0;

    for (uint32_t i = d->n; i-- > 0 && looked_at < 64; looked_at++)
        if (dtqi_str_eq(d->words[i], word))
            return i;
    d->words[d->n] = word;
    return d->n++;
}

static void parcel_add(const struct sink *s, struct parcel *p, const struct results_outcome *row)
{
    uint32_t i = p->n++;

    p->ids[i] = row->id;
    p->kinds[i] = row->state;
    p->attempts[i] = row->attempt;
    p->reasons[i] = row->reason;
    p->codes[i] = row->code;
    p->started_wall_ms[i] = row->started_wall_ms;
    p->durations_us[i] = row->duration_us;
    p->committed_wall_ms[i] = sink_host_wall_ms(s, row->committed_wall_ms);
    p->workers.index[i] = dictionary_add(&p->workers, row->worker);
    p->names.index[i] = dictionary_add(&p->names, row->name);
    p->queues.index[i] = dictionary_add(&p->queues, row->queue);
    p->bodies[i] = row->body;
    p->has_kinds |= row->state != DTQ_SUCCEEDED;
    p->has_attempts |= row->attempt != 1;
    p->has_failures |= row->reason != DTQ_REASON_NONE || row->code != 0;
    p->bytes += row->body.len;
}

/* May another body go into the same message? One larger than all bounds goes alone. */
static bool parcel_has_room(const struct parcel *p, uint32_t bytes)
{
    return p->n < p->size && (p->n == 0 || p->bytes + bytes <= DTQI_BATCH_BYTES_MAX);
}

static void parcel_write(const struct sink *s, const struct parcel *p, uint64_t request,
                         struct dtqi_results *ret)
{
    *ret = (struct dtqi_results){
        .sink = s->cfg.store,
        .request = request,
        .n = p->n,
        .ids = p->ids,
        .kinds = p->has_kinds ? p->kinds : NULL,
        .attempts = p->has_attempts ? p->attempts : NULL,
        .reasons = p->has_failures ? p->reasons : NULL,
        .codes = p->has_failures ? p->codes : NULL,
        .started_wall_ms = p->started_wall_ms,
        .durations_us = p->durations_us,
        .committed_wall_ms = p->committed_wall_ms,
        .workers = p->workers.words,
        .workers_n = p->workers.n,
        .worker_index = p->workers.n > 1 ? p->workers.index : NULL,
        .names = p->names.words,
        .names_n = p->names.n,
        .name_index = p->names.n > 1 ? p->names.index : NULL,
        .queues = p->queues.words,
        .queues_n = p->queues.n,
        .queue_index = p->queues.n > 1 ? p->queues.index : NULL,
        .bodies = p->bodies,
    };
}

static void parcel_send(struct sink *s, const struct parcel *p, const struct route *r,
                        uint64_t request)
{
    struct sink_action *act = sink_act(s, SINK_ACT_RESULTS_SEND);

    if (act == NULL)
        return; /* asked for again by WAIT */
    act->route = r->handle;
    act->msg.type = DTQI_RESULTS;
    parcel_write(s, p, request, &act->msg.results);
    s->counters.pushed += p->n;
}

/* ---------------------------------------------------------------- what was committed */

struct delivery {
    uint32_t proposal;
    uint32_t entry;
    uint32_t route;
};

/* Who gets what of one commit: collected in the order of the commit, then grouped by route. */
struct deliveries {
    struct delivery *at;
    uint32_t n;
    uint32_t size;
    uint32_t *routes; /* each that gets something, once */
    uint32_t routes_n;
};

static void deliver(struct sink *s, struct deliveries *d, uint32_t proposal, uint32_t entry,
                    uint32_t route)
{
    struct route *r = &s->routes[route];

    if (d->n == d->size)
        return; /* more waiters of one id than there was room for: they ask again */
    if (r->count++ == 0)
        d->routes[d->routes_n++] = route;
    d->at[d->n++] = (struct delivery){proposal, entry, route};
}

static void deliver_to_waiters(struct sink *s, struct deliveries *d, uint32_t proposal,
                               uint32_t entry, const dtq_id *id, uint32_t except)
{
    uint32_t index = sink_waiter_first(s, id);

    while (index != NONE) {
        uint32_t next = s->waiters[index].next_of_id;
        uint32_t route = s->waiters[index].route;

        sink_waiter_free(s, index);
        if (route != except && !s->routes[route].follows_all)
            deliver(s, d, proposal, entry, route);
        index = next;
    }
}

static void deliver_to_all(struct sink *s, struct deliveries *d, uint32_t proposal, uint32_t entry,
                           uint32_t except)
{
    for (uint32_t i = 0; i < s->routes_n; i++)
        if (s->routes[i].is_used && s->routes[i].follows_all && i != except)
            deliver(s, d, proposal, entry, i);
}

static void collect_proposal(struct sink *s, struct deliveries *d, const struct group *g,
                             uint32_t proposal)
{
    const struct results_proposals *p = &g->proposals[proposal];
    const struct dtqi_outcomes *o = &p->outcomes;
    uint64_t reply_to = 0;
    uint32_t route = NONE;

    for (uint32_t i = 0; i < o->n; i++) {
        if (!sink_is_won(p, i))
            continue;
        if (dtqi_col64(o->reply_to, i) != reply_to) {
            reply_to = o->reply_to[i];
            route = sink_follower_of(s, reply_to);
        }
        if (route != NONE)
            deliver(s, d, proposal, i, route);
        if (s->waiters_used != 0)
            deliver_to_waiters(s, d, proposal, i, &o->ids[i], route);
        if (s->follow_alls != 0)
            deliver_to_all(s, d, proposal, i, route);
    }
}

static bool deliveries_init(struct sink *s, struct deliveries *d, const struct group *g)
{
    uint64_t most = (uint64_t)g->batch.won * (1 + s->follow_alls) +
                    sink_min(s->waiters_used, 16ull * g->batch.won);

    *d = (struct deliveries){.size = (uint32_t)sink_min(most, UINT32_MAX / sizeof *d->at)};
    d->at = sink_scratch(s, d->size, sizeof *d->at);
    d->routes = sink_scratch(s, s->routes_n, sizeof *d->routes);
    return d->at != NULL && d->routes != NULL;
}

/* All deliveries of a route, next to each other, in the order of the commit. */
static struct delivery *group_by_route(struct sink *s, const struct deliveries *d)
{
    struct delivery *sorted;
    uint32_t from = 0;

    if (d->routes_n <= 1)
        return d->at;
    sorted = sink_scratch(s, d->n, sizeof *sorted);
    if (sorted == NULL)
        return NULL;
    for (uint32_t i = 0; i < d->routes_n; i++) {
        struct route *r = &s->routes[d->routes[i]];

        r->from = from;
        from += r->count;
    }
    for (uint32_t i = 0; i < d->n; i++)
        sorted[s->routes[d->at[i].route].from++] = d->at[i];
    return sorted;
}

static const struct dtqi_spec *spec_of(const struct dtqi_outcomes *o, uint32_t i)
{
    static const struct dtqi_spec none;
    uint32_t spec = dtqi_col32(o->spec_index, i, 0);

    return spec < o->specs_n ? &o->specs[spec] : &none;
}

static void row_of(const struct group *g, const struct delivery *d, struct results_outcome *ret)
{
    const struct dtqi_outcomes *o = &g->proposals[d->proposal].outcomes;
    const struct dtqi_spec *spec = spec_of(o, d->entry);
    uint32_t i = d->entry;

    *ret = (struct results_outcome){
        .id = o->ids[i],
        .state = (dtq_state)dtqi_col32(o->kinds, i, DTQ_SUCCEEDED),
        .reason = (dtq_reason)dtqi_col32(o->reasons, i, DTQ_REASON_NONE),
        .code = dtqi_col32s(o->codes, i),
        .attempt = dtqi_col32(o->attempts, i, 1),
        .started_wall_ms = dtqi_col64(o->started_wall_ms, i),
        .duration_us = dtqi_col64(o->durations_us, i),
        .committed_wall_ms = g->batch.wall_ms,
        .worker = o->worker,
        .name = spec->name,
        .queue = spec->queue,
    };
    /* As the store keeps it. */
    if (o->bodies != NULL && !(spec->no_result && ret->state == DTQ_SUCCEEDED))
        ret->body = o->bodies[i];
}

static void send_to_route(struct sink *s, const struct group *g, const struct route *r,
                          const struct delivery *d, uint32_t n)
{
    struct parcel p = {0};

    for (uint32_t i = 0; i < n; i++) {
        struct results_outcome row;

        row_of(g, &d[i], &row);
        if (!parcel_has_room(&p, row.body.len)) {
            if (p.n != 0)
                parcel_send(s, &p, r, 0);
            if (!parcel_init(s, &p, n - i))
                return; /* asked for again by WAIT */
        }
        parcel_add(s, &p, &row);
    }
    if (p.n != 0)
        parcel_send(s, &p, r, 0);
}

void sink_routes_committed(struct sink *s, const struct group *g)
{
    struct deliveries d;
    const struct delivery *sorted;

    if (g->batch.won == 0 || s->routes_used == 0 || !deliveries_init(s, &d, g))
        return;
    for (uint32_t i = 0; i < g->n; i++)
        if (!g->proposals[i].refused)
            collect_proposal(s, &d, g, i);
    sorted = group_by_route(s, &d);
    for (uint32_t i = 0; i < d.routes_n; i++) {
        struct route *r = &s->routes[d.routes[i]];

        if (sorted != NULL)
            send_to_route(s, g, r, sorted, r->count);
        if (sorted != NULL)
            sorted += r->count;
        r->count = 0;
    }
}

/* ---------------------------------------------------------------- lookups and pages */

static bool is_route_there(const struct sink *s, const struct job *job)
{
    const struct route *r = &s->routes[job->route];

    return r->is_used && r->generation == job->generation;
}

/* Row `i` of the answer to a WAIT: what was found; of one that answers at once, the rest too. */
static bool next_row(const struct job *job, uint32_t *at_id, uint32_t *at_row,
                     struct results_outcome *ret)
{
    const struct results_read *read = &job->read;

    if (*at_row < read->outcomes_n && (!job->once || read->index[*at_row] == *at_id)) {
        *ret = read->outcomes[(*at_row)++];
        ++*at_id;
        return true;
    }
    if (!job->once || *at_id >= read->done)
        return false;
    *ret = (struct results_outcome){.id = read->ids[(*at_id)++]};
    return true;
}

static void send_rows(struct sink *s, const struct job *job)
{
    const struct route *r = &s->routes[job->route];
    struct results_outcome row;
    struct parcel p = {0};
    uint32_t at_id = 0;
    uint32_t at_row = 0;

    while (next_row(job, &at_id, &at_row, &row)) {
        if (!parcel_has_room(&p, row.body.len)) {
            if (p.n != 0)
                parcel_send(s, &p, r, job->request);
            if (!parcel_init(s, &p, job->read.ids_n))
                return;
        }
        parcel_add(s, &p, &row);
    }
    if (p.n != 0)
        parcel_send(s, &p, r, job->request);
}

static void stop_waiting(struct sink *s, const struct job *job)
{
    for (uint32_t i = 0; i < job->read.outcomes_n; i++) {
        uint32_t index = sink_waiter_find(s, job->route, &job->read.outcomes[i].id);

        if (index != NONE)
            sink_waiter_free(s, index);
    }
}

/* @return true: there are more ids to look up. */
static bool lookup_answered(struct sink *s, struct job *job)
{
    if (!sink_hold_room(s, 1))
        return false;
    send_rows(s, job);
    stop_waiting(s, job);
    sink_hold(s, job->read.buf);
    job->read.buf = NULL;
    job->ids_done += job->read.done;
    return job->ids_done < job->ids_n;
}

static void page_answered(struct sink *s, struct job *job)
{
    const struct results_read *read = &job->read;
    struct parcel p = {0};
    struct sink_action *act;

    if (!sink_hold_room(s, 2) || !parcel_init(s, &p, read->outcomes_n))
        return;
    for (uint32_t i = 0; i < read->outcomes_n; i++)
        parcel_add(s, &p, &read->outcomes[i]);
    act = sink_act(s, SINK_ACT_RESULTS_SEND);
    if (act == NULL)
        return;
    act->route = s->routes[job->route].handle;
    act->msg.type = DTQI_RESULTS_REPLY;
    act->msg.results_reply = (struct dtqi_results_reply){
        .request = job->request,
        .has_next = read->has_next,
        .next = read->next,
        .held = read->held,
        .refused = s->counters.second,
    };
    parcel_write(s, &p, job->request, &act->msg.results_reply.results);
    sink_hold(s, job->read.buf);
    job->read.buf = NULL;
}

static void log_read(struct sink *s, const struct results_read *read)
{
    struct sink_log_pair pairs[] = {{"why", dtqi_str(read->why), 0},
                                    {"damaged", {NULL, 0}, read->damaged}};

    if (read->err != DTQ_OK || read->damaged != 0)
        sink_log(s, SINK_ERROR, "read_failed", pairs, 2);
}

void sink_route_read(struct sink *s, struct job *job)
{
    bool more = false;

    log_read(s, &job->read);
    if (job->read.err == DTQ_OK && is_route_there(s, job)) {
        if (job->read.type == RESULTS_PAGE)
            page_answered(s, job);
        else
            more = lookup_answered(s, job);
    }
    if (more)
        sink_lookup_on(s, job);
    else
        sink_job_free(s, job);
}
