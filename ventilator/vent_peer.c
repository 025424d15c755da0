#include "vent_internal.h"

/* ---------------------------------------------------------------- routes */

static uint32_t hash_route(uint32_t route)
{
    return (uint32_t)dtqi_mix64(route);
}

/* Where the route is, or where it would be put. */
static uint32_t route_place(const struct map32 *m, uint32_t route)
{
    uint32_t at = hash_route(route) & m->mask;

    while (m->entries[at].value != NONE && m->entries[at].key != route)
        at = (at + 1) & m->mask;
    return at;
}

static bool routes_reserve(struct map32 *m, uint32_t count)
{
    struct map32 grown = {.mask = m->mask != 0 ? m->mask : 63, .count = m->count};

    while (count > grown.mask / 2)
        grown.mask = 2 * grown.mask + 1;
    if (grown.mask == m->mask)
        return true;
    grown.entries = malloc(((size_t)grown.mask + 1) * sizeof *grown.entries);
    if (grown.entries == NULL)
        return false;
    memset(grown.entries, 0xff, ((size_t)grown.mask + 1) * sizeof *grown.entries);
    for (size_t i = 0; m->mask != 0 && i <= m->mask; i++)
        if (m->entries[i].value != NONE)
            grown.entries[route_place(&grown, m->entries[i].key)] = m->entries[i];
    free(m->entries);
    *m = grown;
    return true;
}

static void route_remove(struct map32 *m, uint32_t route)
{
    uint32_t at = route_place(m, route);
    uint32_t next = at;

    assert(m->entries[at].value != NONE);
    for (;;) {
        uint32_t home;

        next = (next + 1) & m->mask;
        if (m->entries[next].value == NONE)
            break;
        home = hash_route(m->entries[next].key) & m->mask;
        if (((next - home) & m->mask) < ((next - at) & m->mask))
            continue; /* it would move before its home */
        m->entries[at] = m->entries[next];
        at = next;
    }
    m->entries[at].value = NONE;
    m->count--;
}

/* ---------------------------------------------------------------- peers */

dtq_err vent_peers_init(struct vent *v)
{
    list_init(&v->producers);
    v->peers_free = NONE;
    return routes_reserve(&v->routes, 1) ? DTQ_OK : DTQ_ENOMEM;
}

void vent_peers_done(struct vent *v)
{
    free(v->routes.entries);
    free(v->peers);
}

struct peer *vent_peer_find(const struct vent *v, uint32_t route)
{
    uint32_t i = v->routes.entries[route_place(&v->routes, route)].value;

    return i != NONE ? &v->peers[i] : NULL;
}

static void producers_push(struct vent *v, struct peer *p)
{
    uint32_t i = (uint32_t)(p - v->peers);
    struct list *l = &v->producers;

    p->next = NONE;
    p->prev = l->tail;
    if (l->tail != NONE)
        v->peers[l->tail].next = i;
    else
        l->head = i;
    l->tail = i;
    l->n++;
}

static void producers_remove(struct vent *v, struct peer *p)
{
    struct list *l = &v->producers;

    if (p->prev != NONE)
        v->peers[p->prev].next = p->next;
    else
        l->head = p->next;
    if (p->next != NONE)
        v->peers[p->next].prev = p->prev;
    else
        l->tail = p->prev;
    l->n--;
}

static uint32_t peer_place(struct vent *v)
{
    uint32_t i = v->peers_free;

    if (i != NONE) {
        assert(v->peers != NULL);
        v->peers_free = v->peers[i].next;
        return i;
    }
    if (!vent_grow(&v->peers, v->peers_n, &v->peers_room, sizeof *v->peers))
        return NONE;
    assert(v->peers != NULL);
    return v->peers_n++;
}

struct peer *vent_peer_new(struct vent *v, uint32_t route, enum dtqi_role role, uint32_t index)
{
    uint32_t i;

    if (!routes_reserve(&v->routes, v->routes.count + 1))
        return NULL;
    i = peer_place(v);
    if (i == NONE)
        return NULL;
    v->peers[i] = (struct peer){.route = route, .role = (uint8_t)role, .index = index};
    v->routes.entries[route_place(&v->routes, route)] = (struct map32_entry){route, i};
    v->routes.count++;
    if (role == DTQI_ROLE_PRODUCER)
        producers_push(v, &v->peers[i]);
    return &v->peers[i];
}

void vent_peer_free(struct vent *v, struct peer *p)
{
    if (p->role == DTQI_ROLE_PRODUCER)
        producers_remove(v, p);
    route_remove(&v->routes, p->route);
    p->role = DTQI_ROLE_NONE;
    p->next = v->peers_free;
    v->peers_free = (uint32_t)(p - v->peers);
}

void vent_producer_heard(struct vent *v, struct peer *p)
{
    if (p->next == NONE)
        return; /* the newest already */
    producers_remove(v, p);
    producers_push(v, p);
}

/* What the route was before is over. */
static void leave_role(struct vent *v, struct peer *p)
{
    switch ((enum dtqi_role)p->role) {
    case DTQI_ROLE_WORKER:
        vent_worker_lose(v, &v->workers[p->index], "its connection is gone", false);
        break;
    case DTQI_ROLE_SINK: vent_sink_lost(v, &v->sinks[p->index], "its connection is gone"); break;
    case DTQI_ROLE_PRODUCER: vent_peer_free(v, p); break;
    case DTQI_ROLE_NONE: break;
    }
}

void vent_on_route_gone(struct vent *v, uint32_t route)
{
    struct peer *p = vent_peer_find(v, route);

    if (p != NULL)
        leave_role(v, p);
}

/* ---------------------------------------------------------------- short answers */

void vent_unknown_session(struct vent *v, uint32_t route, uint64_t session)
{
    struct dtqi_msg *msg = vent_send(v, route, DTQI_UNKNOWN_SESSION);

    if (msg != NULL)
        msg->unknown_session.session = session;
}

void vent_refuse(struct vent *v, uint32_t route, enum dtqi_refusal reason, const char *text)
{
    struct dtqi_msg *msg = vent_send(v, route, DTQI_REFUSED);

    if (msg == NULL)
        return;
    msg->refused = (struct dtqi_refused){
        .reason = reason,
        .text = dtqi_str(text),
        .version_min = DTQI_PROTOCOL_VERSION,
        .version_max = DTQI_PROTOCOL_VERSION,
    };
}

/* ---------------------------------------------------------------- WELCOME and SINKS */

const struct dtqi_sink_info *vent_sink_list(struct vent *v, uint32_t *ret_n)
{
    struct dtqi_sink_info *list = vent_scratch(v, DTQI_SINKS_MAX, sizeof *list);
    uint32_t n = 0;

    for (uint32_t i = 0; list != NULL && i < DTQI_SINKS_MAX; i++) {
        const struct sink *s = &v->sinks[i];

        if (!s->used || !s->is_durable || s->intake[0] == '\0')
            continue; /* named by tasks, and never seen; or the next start might not know it */
        list[n++] = (struct dtqi_sink_info){.store = s->store,
                                            .intake = dtqi_str(s->intake),
                                            .results = dtqi_str(s->results),
                                            .reachable = vent_sink_is_up(s),
                                            .diverged = s->diverged,
                                            .full = s->full,
                                            .applied = s->applied};
    }
    *ret_n = n;
    return list;
}

void vent_welcome(struct vent *v, uint32_t route, uint64_t session, struct dtqi_str lane)
{
    uint32_t sinks_n;
    const struct dtqi_sink_info *sinks = vent_sink_list(v, &sinks_n);
    struct dtqi_msg *msg = vent_send(v, route, DTQI_WELCOME);

    if (msg == NULL)
        return;
    msg->welcome = (struct dtqi_welcome){
        .version = DTQI_PROTOCOL_VERSION,
        .store = v->store,
        .epoch = v->epoch,
        .session = session,
        .wall_ms = v->wall_ms,
        .heartbeat_ms = v->cfg.heartbeat_ms,
        .liveness = v->cfg.liveness,
        .lane = lane,
        .sinks = sinks,
        .sinks_n = sinks_n,
        .task_bytes_max = v->cfg.task_bytes_max,
        .result_bytes_max = v->cfg.result_bytes_max,
        .dedupe_window_ms = v->cfg.dedupe_window_ms,
        .outcome_fence_ms = v->cfg.outcome_fence_ms,
        .removed = vent_removed_list(v),
    };
}

static struct dtqi_sinks sinks_now(struct vent *v)
{
    struct dtqi_sinks m = {.removed = vent_removed_list(v)};

    if (m.removed.stores != NULL && m.removed.successors != NULL)
        m.sinks = vent_sink_list(v, &m.sinks_n);
    return m; /* no memory: without sinks */
}

static void tell_sinks(struct vent *v, uint32_t route, uint64_t session,
                       const struct dtqi_sinks *sinks)
{
    struct dtqi_msg *msg = vent_send(v, route, DTQI_SINKS);

    if (msg == NULL)
        return;
    msg->sinks = *sinks;
    msg->sinks.session = session;
}

void vent_tell_sinks_again(struct vent *v, const struct worker *w)
{
    struct dtqi_sinks m = sinks_now(v);

    if (m.sinks != NULL)
        tell_sinks(v, w->route, w->session, &m);
}

void vent_tell_sinks(struct vent *v)
{
    struct dtqi_sinks m;

    if (!v->sinks_changed)
        return;
    v->sinks_changed = false;
    m = sinks_now(v);
    if (m.sinks == NULL)
        return;
    for (uint32_t i = 0; i < v->workers_n; i++) {
        const struct worker *w = &v->workers[i];

        if (w->state == WORKER_OPEN || w->state == WORKER_LISTING)
            tell_sinks(v, w->route, w->session, &m);
    }
    for (uint32_t i = v->producers.head; i != NONE; i = v->peers[i].next)
        tell_sinks(v, v->peers[i].route, v->peers[i].session, &m);
}

/* ---------------------------------------------------------------- HELLO */

static void on_producer_hello(struct vent *v, uint32_t route)
{
    struct peer *p = vent_peer_find(v, route);

    if (p == NULL && v->producers.n >= v->cfg.producers_max)
        vent_peer_free(v, &v->peers[v->producers.head]); /* it says HELLO again, if it lives */
    if (p == NULL)
        p = vent_peer_new(v, route, DTQI_ROLE_PRODUCER, 0);
    if (p == NULL) {
        vent_refuse(v, route, DTQI_BUSY, "out of memory");
        return;
    }
    vent_producer_heard(v, p);
    p->session = ++v->sessions << SESSION_INDEX_BITS | UINT16_MAX;
    vent_welcome(v, route, p->session, (struct dtqi_str){NULL, 0});
}

void vent_on_hello(struct vent *v, uint32_t route, const struct dtqi_hello *m)
{
    struct peer *p = vent_peer_find(v, route);

    if (m->version_min > DTQI_PROTOCOL_VERSION || m->version_max < DTQI_PROTOCOL_VERSION) {
        vent_refuse(v, route, DTQI_BAD_VERSION, "this ventilator speaks protocol version 1");
        return;
    }
    if (p != NULL && p->role != m->role)
        leave_role(v, p);
    switch (m->role) {
    case DTQI_ROLE_WORKER: vent_on_worker_hello(v, route, m); break;
    case DTQI_ROLE_SINK: vent_on_sink_hello(v, route, m); break;
    case DTQI_ROLE_PRODUCER: on_producer_hello(v, route); break;
    case DTQI_ROLE_NONE: vent_refuse(v, route, DTQI_BAD_PEER, "HELLO without a role"); break;
    }
}
