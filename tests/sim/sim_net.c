#include "sim_parts.h"

#include <stdio.h>

/*
 * Connections as ZeroMQ makes them of TCP: in order, none twice, and when one breaks, what came
 * first of what was under way still arrives, late perhaps, and the rest is lost. Sockets send only
 * while connected (IMMEDIATE), but a client's, which is one connection and keeps what it was given
 * before. A blocked direction holds everything back, as TCP does; who waits for it learns nothing.
 */

#define INTAKE_FRAMES_MAX 8u /* both high-water marks */
#define INTAKE_FRAMES_FREE 4u
#define BACKOFF_MS_MIN 100u
#define BACKOFF_MS_MAX 5000u
#define CONNECT_MS 5000u
#define KEEPALIVE_MS 30000u
#define LANE_FRAMES_MAX 64u /* before its peer is there */

static uint64_t link_delay(struct sim *s)
{
    return sim_between(s, s->cfg.link_us);
}

static bool is_random(const struct sim *s)
{
    return s->cfg.link_us[0] != s->cfg.link_us[1];
}

static bool is_blocked(const struct sim *s, const struct node *from, const struct node *to)
{
    return s->blocked[from - s->nodes][to - s->nodes];
}

/* ---------------------------------------------------------------- frames */

static void *place(void *arg, size_t bytes)
{
    struct frame **ret = arg;

    *ret = malloc(sizeof **ret + bytes);
    assert(*ret != NULL);
    (*ret)->next = NULL;
    (*ret)->bytes = bytes;
    return (*ret)->data;
}

struct frame *net_frame(struct sim *s, const struct dtqi_msg *msg)
{
    struct frame *f = NULL;

    if (dtqi_encode(msg, place, &f) != DTQ_OK) {
        sim_fail(s, "%s cannot be encoded", dtqi_msg_type_name(msg->type));
        free(f);
        return NULL;
    }
    return f;
}

static void free_frames(struct frame **head, struct frame **tail)
{
    struct frame *f;

    while ((f = *head) != NULL) {
        *head = f->next;
        free(f);
    }
    *tail = NULL;
}

static void append(struct frame **head, struct frame **tail, struct frame *f)
{
    f->next = NULL;
    if (*tail != NULL)
        (*tail)->next = f;
    else
        *head = f;
    *tail = f;
}

static void schedule(struct sim *s, struct conn *c, uint32_t end)
{
    struct pipe *p = &c->pipes[end];
    struct event *e;

    if (p->scheduled || p->head == NULL)
        return;
    p->scheduled = true;
    e = sim_at(s, p->head->at_us, EVENT_PUMP, NULL);
    e->conn = c;
    e->port = end;
}

static bool happens(struct sim *s, uint32_t permille)
{
    return permille != 0 && !s->calm && sim_below(s, 1000) < permille;
}

static struct frame *copy_of(const struct frame *f)
{
    struct frame *copy = malloc(sizeof *f + f->bytes);

    assert(copy != NULL);
    memcpy(copy, f, sizeof *f + f->bytes);
    return copy;
}

static void under_way(struct pipe *p, struct frame *f, uint64_t at_us)
{
    f->at_us = at_us > p->last_us ? at_us : p->last_us;
    p->last_us = f->at_us;
    append(&p->head, &p->tail, f);
    p->n++;
}

/* TCP loses nothing and doubles nothing while a connection lives; the protocol does not rest on
 * that, so here a frame may do both. */
static void put(struct sim *s, struct conn *c, uint32_t end, struct frame *f)
{
    struct pipe *p = &c->pipes[end];
    uint64_t at_us = s->now_us + link_delay(s);

    if (c->broken) { /* and this end does not know yet */
        free(f);
        return;
    }
    if (happens(s, s->lose_permille)) {
        s->totals.frames_lost++;
        trace(s, "(lost on the way)");
        free(f);
        return;
    }
    if (happens(s, s->twice_permille)) {
        s->totals.frames_twice++;
        trace(s, "(arrives twice)");
        under_way(p, copy_of(f), at_us);
    }
    under_way(p, f, at_us);
    schedule(s, c, end);
}

static bool is_alive(const struct conn *c, uint32_t end)
{
    return !c->closed[end] && c->ends[end]->is_up &&
           c->ends[end]->incarnation == c->incarnation[end];
}

static struct frame *take_first(struct pipe *p)
{
    struct frame *f = p->head;

    p->head = f->next;
    if (p->head == NULL)
        p->tail = NULL;
    p->n--;
    return f;
}

/* A sink that is full reads nothing from its intake. */
static bool is_read(const struct conn *c, uint32_t end)
{
    return c->kind != CONN_INTAKE || end != 1 || !c->ends[1]->sink.intake_paused;
}

bool net_is_read(const struct input *in)
{
    return in->type != IN_FRAME || is_read(in->conn, in->end);
}

static void arrive(struct sim *s, struct conn *c, uint32_t to, struct frame *f)
{
    struct input *in = is_alive(c, to) ? sim_input(s, c->ends[to], IN_FRAME) : NULL;

    if (in == NULL) {
        free(f);
        return;
    }
    in->conn = c;
    in->end = to;
    in->frame = f;
}

static void sender_may_go_on(struct sim *s, struct conn *c)
{
    struct node *from = c->ends[0];

    if (c->kind == CONN_INTAKE && is_alive(c, 0) && from->ports[c->port].is_full &&
        c->pipes[0].n <= INTAKE_FRAMES_FREE)
        sim_wake(s, from, s->now_us);
}

void net_on_pump(struct sim *s, struct conn *c, uint32_t end)
{
    struct pipe *p = &c->pipes[end];
    uint32_t to = 1 - end;

    p->scheduled = false;
    while (p->head != NULL && p->head->at_us <= s->now_us) {
        if (is_alive(c, to) &&
            (c->is_stalled || is_blocked(s, c->ends[end], c->ends[to]) || !is_read(c, to)))
            return; /* goes on in net_unblocked() */
        arrive(s, c, to, take_first(p));
    }
    schedule(s, c, end);
    if (end == 0)
        sender_may_go_on(s, c);
}

void net_unblocked(struct sim *s)
{
    for (struct conn *c = s->conns; c != NULL; c = c->next)
        for (uint32_t end = 0; end < 2; end++)
            schedule(s, c, end);
}

struct conn *net_stall_one(struct sim *s)
{
    struct conn *chosen = NULL;
    uint32_t n = 0;

    for (struct conn *c = s->conns; c != NULL; c = c->next)
        if (!c->broken && !c->is_stalled && sim_below(s, ++n) == 0)
            chosen = c;
    if (chosen != NULL)
        chosen->is_stalled = true;
    return chosen;
}

void net_flow(struct sim *s, struct conn *c)
{
    c->is_stalled = false;
    net_unblocked(s);
}

/* ---------------------------------------------------------------- ends of connections */

/* Of what is under way from `end`, a part that came first arrives after all; now and then so late
 * that what a new connection carries is there before it. */
static void keep_first_part(struct sim *s, struct conn *c, uint32_t end)
{
    struct pipe *p = &c->pipes[end];
    uint32_t keep = is_random(s) ? sim_below(s, p->n + 1) : 0;
    uint64_t late_us = keep != 0 && !s->calm && sim_chance(s, 20) ? sim_below(s, 5000000) : 0;
    struct pipe kept = {.scheduled = p->scheduled};

    while (keep-- > 0) {
        struct frame *f = take_first(p);

        f->at_us += late_us;
        append(&kept.head, &kept.tail, f);
        kept.n++;
    }
    free_frames(&p->head, &p->tail);
    *p = kept;
}

static void let_know(struct sim *s, struct conn *c, uint32_t end, uint64_t delay_us)
{
    struct event *e;

    if (c->knows[end])
        return;
    e = sim_at(s, s->now_us + delay_us, EVENT_KNOW, NULL);
    e->conn = c;
    e->port = end;
}

/* Mostly a reset tells at once; sometimes only keepalive does. */
static uint64_t know_delay(struct sim *s)
{
    if (is_random(s) && !s->calm && sim_chance(s, 10))
        return (1 + sim_below(s, 25)) * 1000000ull;
    return link_delay(s);
}

void net_break(struct sim *s, struct conn *c)
{
    if (c->broken)
        return;
    c->broken = true;
    c->end_us = s->now_us;
    for (uint32_t end = 0; end < 2; end++) {
        keep_first_part(s, c, end);
        let_know(s, c, end, know_delay(s));
    }
}

/* This end closes its socket: nothing is taken in any more, what was sent may still arrive. */
static void close_end(struct sim *s, struct conn *c, uint32_t end)
{
    struct pipe *in = &c->pipes[1 - end];

    if (c->closed[end])
        return;
    c->closed[end] = true;
    c->knows[end] = true;
    if (!c->broken) {
        keep_first_part(s, c, end);
        c->end_us = s->now_us;
    }
    c->broken = true;
    free_frames(&in->head, &in->tail);
    in->n = 0;
    let_know(s, c, 1 - end, know_delay(s));
}

static void connect_later(struct sim *s, struct node *n, uint32_t port, uint64_t delay_us)
{
    struct event *e = sim_at(s, s->now_us + delay_us, EVENT_CONNECT, n);

    e->port = port;
    e->number = ++n->ports[port].generation;
}

static void connector_lost(struct sim *s, struct node *n, uint32_t port)
{
    struct port *p = &n->ports[port];
    struct input *in;

    p->conn = NULL;
    p->is_full = false;
    in = sim_input(s, n, IN_LOST);
    if (in != NULL) {
        in->port = port;
        in->number = p->lane;
        in->generation = p->generation;
    }
    if (p->kind == CONN_LANE || n->kind == SIM_CLIENT)
        return; /* one connection, and no other */
    p->backoff_ms = BACKOFF_MS_MIN;
    connect_later(s, n, port, p->backoff_ms * 1000ull);
}

/* What came before the end of the connection is read before that is known; keepalive tells of the
 * end while the rest is held back, and then nobody reads that any more. */
static bool waits_for_rest(struct sim *s, struct conn *c, uint32_t end)
{
    const struct pipe *in = &c->pipes[1 - end];
    uint64_t at_us;

    if (in->head == NULL || s->now_us >= c->end_us + KEEPALIVE_MS * 1000ull)
        return false;
    at_us = in->head->at_us > s->now_us ? in->head->at_us : s->now_us + 100000;
    let_know(s, c, end, at_us - s->now_us);
    return true;
}

void net_on_know(struct sim *s, struct conn *c, uint32_t end)
{
    struct pipe *in = &c->pipes[1 - end];
    struct node *n = c->ends[end];

    if (c->knows[end] || !is_alive(c, end) || waits_for_rest(s, c, end))
        return;
    c->knows[end] = true;
    free_frames(&in->head, &in->tail);
    in->n = 0;
    if (end == 0 && n->ports[c->port].conn == c)
        connector_lost(s, n, c->port);
}

void net_break_between(struct sim *s, struct node *a, struct node *b)
{
    for (struct conn *c = s->conns; c != NULL; c = c->next)
        if ((c->ends[0] == a && c->ends[1] == b) || (c->ends[0] == b && c->ends[1] == a))
            net_break(s, c);
}

void net_node_died(struct sim *s, struct node *n)
{
    for (struct conn *c = s->conns; c != NULL; c = c->next)
        for (uint32_t end = 0; end < 2; end++)
            if (c->ends[end] == n && c->incarnation[end] == n->incarnation)
                close_end(s, c, end);
    for (uint32_t i = 0; i < PORTS_MAX; i++)
        free_frames(&n->ports[i].queue, &n->ports[i].queue_tail);
}

void net_free(struct sim *s)
{
    struct conn *c;

    for (uint32_t i = 0; i < s->nodes_n; i++)
        for (uint32_t p = 0; p < PORTS_MAX; p++)
            free_frames(&s->nodes[i].ports[p].queue, &s->nodes[i].ports[p].queue_tail);
    while ((c = s->conns) != NULL) {
        s->conns = c->next;
        for (uint32_t end = 0; end < 2; end++)
            free_frames(&c->pipes[end].head, &c->pipes[end].tail);
        free(c);
    }
}

/* ---------------------------------------------------------------- connecting */

void net_open(struct sim *s, struct node *n, uint32_t port, enum conn_kind kind,
              struct node *target, uint32_t number)
{
    struct port *p = &n->ports[port];

    net_close(s, n, port);
    p->is_open = true;
    p->kind = kind;
    p->target = target;
    p->number = number;
    p->backoff_ms = BACKOFF_MS_MIN;
    connect_later(s, n, port, 2 * link_delay(s));
}

void net_close(struct sim *s, struct node *n, uint32_t port)
{
    struct port *p = &n->ports[port];

    if (p->conn != NULL)
        close_end(s, p->conn, 0);
    free_frames(&p->queue, &p->queue_tail);
    *p = (struct port){.generation = p->generation + 1};
}

static bool is_listening(const struct port *p, struct lane **ret_lane)
{
    struct node *target = p->target;

    if (target == NULL || !target->is_up)
        return false;
    if (p->kind != CONN_LANE)
        return true;
    for (struct lane *l = target->vent.lanes; l != NULL; l = l->next) {
        if (l->number != p->number || l->conn != NULL)
            continue;
        *ret_lane = l;
        return true;
    }
    return false;
}

static void flush_lane(struct sim *s, struct lane *l)
{
    struct frame *f;

    while ((f = l->queue) != NULL) {
        l->queue = f->next;
        put(s, l->conn, 1, f);
    }
    l->queue_tail = NULL;
}

static void connected(struct sim *s, struct node *n, uint32_t port, struct lane *lane)
{
    struct port *p = &n->ports[port];
    struct conn *c = calloc(1, sizeof *c);
    struct input *in;
    struct frame *f;

    assert(c != NULL);
    *c = (struct conn){.next = s->conns,
                       .kind = p->kind,
                       .ends = {n, p->target},
                       .incarnation = {n->incarnation, p->target->incarnation},
                       .port = port,
                       .route = ++s->routes};
    s->conns = c;
    p->conn = c;
    p->backoff_ms = BACKOFF_MS_MIN;
    if (lane != NULL) {
        lane->conn = c;
        lane->had_peer = true;
        c->session = lane->session;
        c->epoch = s->epoch;
        flush_lane(s, lane);
    }
    while ((f = p->queue) != NULL) {
        p->queue = f->next;
        put(s, c, 0, f);
    }
    p->queue_tail = NULL;
    in = sim_input(s, n, IN_CONNECTED);
    if (in != NULL)
        in->port = port;
}

static void not_connected(struct sim *s, struct node *n, uint32_t port)
{
    struct port *p = &n->ports[port];
    uint32_t backoff_ms = p->backoff_ms;

    if (p->kind == CONN_LANE || n->kind == SIM_CLIENT) {
        connector_lost(s, n, port);
        return;
    }
    connect_later(s, n, port, (backoff_ms + sim_below(s, is_random(s) ? 100 : 1)) * 1000ull);
    p->backoff_ms = 2 * backoff_ms < BACKOFF_MS_MAX ? 2 * backoff_ms : BACKOFF_MS_MAX;
}

void net_on_connect(struct sim *s, const struct event *e)
{
    struct node *n = e->node;
    struct port *p = &n->ports[e->port];
    struct lane *lane = NULL;
    bool blocked;

    if (e->number != p->generation || p->conn != NULL || !p->is_open)
        return;
    blocked = p->target != NULL && (is_blocked(s, n, p->target) || is_blocked(s, p->target, n));
    if (blocked && e->type == EVENT_CONNECT) {
        struct event *later = sim_at(s, s->now_us + CONNECT_MS * 1000ull, EVENT_GIVE_UP, n);

        later->port = e->port;
        later->number = e->number;
    } else if (blocked || !is_listening(p, &lane)) {
        not_connected(s, n, e->port);
    } else {
        connected(s, n, e->port, lane);
    }
}

/* ---------------------------------------------------------------- sending */

static bool keep_for_later(struct sim *s, struct node *n, struct port *p,
                           const struct dtqi_msg *msg)
{
    struct frame *f;

    if (n->kind != SIM_CLIENT || !p->is_open)
        return false;
    f = net_frame(s, msg);
    if (f != NULL)
        append(&p->queue, &p->queue_tail, f);
    return true;
}

bool net_send(struct sim *s, struct node *n, uint32_t port, const struct dtqi_msg *msg)
{
    struct port *p = &n->ports[port];
    struct frame *f;

    if (p->conn == NULL)
        return keep_for_later(s, n, p, msg);
    if (p->kind == CONN_INTAKE && p->conn->pipes[0].n >= INTAKE_FRAMES_MAX) {
        p->is_full = true;
        return false;
    }
    if (p->kind != CONN_INTAKE && happens(s, s->full_permille)) {
        trace_msg(s, n, p->target, msg, "(full)");
        return false;
    }
    trace_msg(s, n, p->target, msg, p->conn->broken ? "(lost)" : "");
    f = net_frame(s, msg);
    if (f != NULL)
        put(s, p->conn, 0, f);
    return true;
}

bool net_is_writable(const struct node *n, uint32_t port)
{
    const struct port *p = &n->ports[port];

    return p->conn != NULL && p->conn->pipes[0].n <= INTAKE_FRAMES_FREE;
}

static struct conn *find_route(struct sim *s, const struct node *n, uint32_t route)
{
    struct conn *c = s->conns;

    while (c != NULL && (c->route != route || c->ends[1] != n))
        c = c->next;
    return c != NULL && is_alive(c, 1) && !c->knows[1] ? c : NULL;
}

enum net_sent net_send_to(struct sim *s, struct node *n, uint32_t route, const struct dtqi_msg *msg)
{
    struct conn *c = find_route(s, n, route);
    struct frame *f;

    if (c == NULL)
        return NET_GONE;
    if (happens(s, s->full_permille)) {
        trace_msg(s, n, c->ends[0], msg, "(full)");
        return NET_FULL;
    }
    trace_msg(s, n, c->ends[0], msg, c->broken ? "(lost)" : "");
    f = net_frame(s, msg);
    if (f != NULL)
        put(s, c, 1, f);
    return NET_SENT;
}

/* ---------------------------------------------------------------- lanes, the ventilator's side */

struct lane *lane_find(struct node *n, uint64_t session)
{
    for (struct lane *l = n->vent.lanes; l != NULL; l = l->next)
        if (l->session == session)
            return l;
    return NULL;
}

void lane_open(struct sim *s, struct node *n, uint64_t session)
{
    struct lane *l = calloc(1, sizeof *l);

    assert(l != NULL);
    *l = (struct lane){.next = n->vent.lanes, .session = session, .number = ++s->lane_numbers};
    n->vent.lanes = l;
}

void lane_close(struct sim *s, struct node *n, uint64_t session)
{
    struct lane **at = &n->vent.lanes;
    struct lane *l;

    while (*at != NULL && (*at)->session != session)
        at = &(*at)->next;
    l = *at;
    if (l == NULL)
        return;
    *at = l->next;
    if (l->conn != NULL)
        close_end(s, l->conn, 1);
    free_frames(&l->queue, &l->queue_tail);
    free(l);
}

bool lane_send(struct sim *s, struct node *n, uint64_t session, const struct dtqi_msg *msg)
{
    struct lane *l = lane_find(n, session);
    struct frame *f;

    if (l == NULL)
        return false;
    if (l->conn != NULL && l->conn->knows[1])
        return false;
    if (l->conn == NULL && l->had_peer)
        return false;
    trace_msg(s, n, l->conn != NULL ? l->conn->ends[0] : NULL, msg, "lane");
    f = net_frame(s, msg);
    if (f == NULL)
        return false;
    if (l->conn != NULL)
        put(s, l->conn, 1, f);
    else
        append(&l->queue, &l->queue_tail, f);
    return true;
}
