#include "client_parts.h"

/*
 * How the outcome of a task is learned. Of tasks that were submitted with our reply_to the sink
 * pushes it; in case a push was lost they are looked up now and then (list SLOW, then BULK). Of
 * others we ask (lists URGENT, then WATCH): the sinks whether it is there; if not, the ventilator
 * whether the task is; if so, the sinks to send it when it is there (WAIT, which looks up once
 * more), each 10 s again; if not, the sinks a last time, since the task may have been settled in
 * between. Only then is it "not found" (R32).
 */

static bool is_ready(const struct peer *p)
{
    return p->is_used && p->link == LINK_OPEN && p->is_proven;
}

static bool is_pushed(const struct record *r)
{
    return (r->flags & REC_PUSHED) != 0 && (r->flags & REC_LOOK) == 0;
}

/* Bits of the sinks that may have its outcome. */
static uint32_t targets(const struct client *c, const struct record *r)
{
    uint32_t bits = 0;

    if (r->sink != 0)
        return 1u << r->sink;
    for (uint32_t i = 1; i < CLIENT_PEERS_MAX; i++)
        bits |= (uint32_t)c->peers[i].is_registered << i;
    return bits;
}

/* Nothing more for now: it is asked again after a while. */
static void put_off(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    r->ask_ms = c->now.now_ms + CLIENT_ASK_AGAIN_MS;
    rec_list(c, index, is_pushed(r) ? LIST_SLOW : LIST_WATCH);
}

static void want(struct client *c, uint32_t index, enum rec_want what)
{
    rec_at(c, index)->want = (uint8_t)what;
    rec_list(c, index, what == WANT_STATE ? LIST_STATE : LIST_URGENT);
}

void asks_begin(struct client *c, uint32_t index, bool at_once)
{
    struct record *r = rec_at(c, index);

    if (is_pushed(r)) {
        r->want = WANT_LOOK;
        put_off(c, index);
        if (at_once)
            rec_list(c, index, LIST_BULK);
    } else if ((r->flags & (REC_WATCHED | REC_FOLLOWED)) != 0) {
        bool is_open_for_sure = (r->flags & REC_OWN) != 0 && (r->flags & REC_LOOK) == 0;

        want(c, index, is_open_for_sure ? WANT_WORD : WANT_LOOK);
    } else {
        rec_release(c, index);
    }
}

/* ---------------------------------------------------------------- what the caller asks */

/* Room for `n` more records, so that making them cannot fail half-way. */
static dtq_err reserve(struct client *c, const dtq_id *ids, uint32_t n)
{
    uint32_t missing = 0;

    for (uint32_t i = 0; i < n; i++)
        missing += rec_find(c, &ids[i]) == NONE;
    if (missing > c->cfg.open_max || c->by_id.count > c->cfg.open_max - missing)
        return DTQ_EBUSY;
    return recs_reserve(c, missing) ? DTQ_OK : DTQ_ENOMEM;
}

static void watch(struct client *c, uint32_t index, bool look)
{
    struct record *r = rec_at(c, index);

    if ((r->flags & REC_WATCHED) != 0)
        return;
    r->flags |= (uint16_t)(REC_WATCHED | (look ? REC_LOOK : 0));
    r->watch_next = c->watched_first;
    c->watched_first = index;
    c->watched_n++;
    if (r->state == REC_HERE || r->state == REC_ENDED)
        rec_answered(c, index);
    else if (r->state == REC_OPEN && (look || r->list == LIST_NONE))
        asks_begin(c, index, false);
}

static void keep(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    if ((r->flags & REC_FOLLOWED) != 0)
        return;
    rec_follow(c, index);
    if (r->state == REC_OPEN && r->list == LIST_NONE)
        asks_begin(c, index, false);
    else if (r->state == REC_HERE || r->state == REC_ENDED)
        rec_is_result(c, index);
}

dtq_err client_ask(struct client *c, const dtq_id *ids, uint32_t n, enum client_interest interest,
                   struct client_time at)
{
    dtq_err err;

    c->now = at;
    err = reserve(c, ids, n);
    if (err != DTQ_OK)
        return err;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t index = rec_find(c, &ids[i]);

        if (index == NONE)
            index = rec_new(c, &ids[i], REC_OPEN);
        assert(index != NONE);
        if (interest == CLIENT_KEEP)
            keep(c, index);
        else
            watch(c, index, interest == CLIENT_LOOK);
    }
    return DTQ_OK;
}

uint32_t client_watched(const struct client *c)
{
    return c->watched_n;
}

uint32_t client_answered(const struct client *c)
{
    return c->answered_n;
}

/* What was asked for a call and is followed too goes on as it would have without that call. */
static void unwatch(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);
    bool looked = (r->flags & REC_LOOK) != 0;

    r->flags &= (uint16_t) ~(REC_WATCHED | REC_LOOK | REC_ANSWERED);
    if (r->state == REC_OPEN) {
        rec_set_page(c, index, NULL, 0);
        if (looked || (r->flags & REC_FOLLOWED) == 0)
            rec_list(c, index, LIST_NONE);
        if (looked && (r->flags & REC_FOLLOWED) != 0)
            asks_begin(c, index, false);
    }
    rec_release(c, index);
}

void client_ask_done(struct client *c)
{
    while (c->watched_first != NONE) {
        uint32_t index = c->watched_first;

        c->watched_first = rec_at(c, index)->watch_next;
        unwatch(c, index);
    }
    c->watched_n = 0;
    c->answered_n = 0;
}

/* ---------------------------------------------------------------- what the sinks say */

static bool is_crowded(const struct client *c, uint64_t bytes)
{
    return c->results.n != 0 && c->results_bytes + bytes > c->cfg.results_bytes_max;
}

/* There is no room: it stays at the sink, and is fetched when there is. */
static void leave_at_sink(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    if (is_pushed(r)) {
        r->want = WANT_LOOK;
        rec_list(c, index, LIST_BULK);
    } else {
        r->want = WANT_WORD;
        put_off(c, index);
    }
}

/* Of a task of somebody else, where everything is followed. */
static uint32_t adopt(struct client *c, const struct dtqi_results *m, uint32_t i)
{
    uint32_t index;

    if (c->cfg.follow != CLIENT_FOLLOW_ALL || m->request != 0 || c->by_id.count >= c->cfg.open_max)
        return NONE;
    index = rec_new(c, &m->ids[i], REC_OPEN);
    if (index != NONE)
        rec_follow(c, index);
    return index;
}

/* An outcome proves that the task was accepted, whatever became of SUBMITTED. */
static void accept_by_outcome(struct client *c, uint32_t index)
{
    enum rec_state state = rec_at(c, index)->state;

    if (state != REC_QUEUED && state != REC_SENT)
        return;
    submit_resolve_early(c, index);
    rec_verdict(c, index, DTQ_OK, dtqi_str(""));
}

struct arrival {
    const struct dtqi_msg *msg;
    struct page *page; /* made for the first entry that is kept */
    bool is_crowded;
};

static void on_outcome(struct client *c, struct arrival *a, uint32_t i)
{
    const struct dtqi_results *m = &a->msg->results;
    uint32_t index = rec_find(c, &m->ids[i]);
    struct record *r;

    if (index == NONE && !a->is_crowded)
        index = adopt(c, m, i);
    if (index == NONE)
        return;
    accept_by_outcome(c, index);
    r = rec_at(c, index);
    if (r->state != REC_OPEN || (r->flags & (REC_FOLLOWED | REC_WATCHED)) == 0)
        return; /* it came before, or nobody wants it */
    if (a->is_crowded && (r->flags & REC_WATCHED) == 0) {
        leave_at_sink(c, index);
        return;
    }
    if (a->page == NULL)
        a->page = page_new(c, a->msg);
    if (a->page == NULL) {
        leave_at_sink(c, index);
        return;
    }
    if (m->bodies != NULL)
        c->result_bytes_usual = (7 * c->result_bytes_usual + m->bodies[i].len) / 8;
    rec_here(c, index, a->page, i);
}

/* The task may be of a time when the sink's answer was older than our question. */
static bool is_current(const struct record *r, uint64_t request)
{
    return r->state == REC_OPEN && (r->want == WANT_LOOK || r->want == WANT_LAST_LOOK) &&
           request != 0 && request >= r->request_min && (r->flags & REC_ANSWERED) == 0;
}

static void on_missing(struct client *c, uint32_t peer, uint32_t index, uint64_t request)
{
    struct record *r = rec_at(c, index);

    if (!is_current(r, request))
        return;
    r->missing |= 1u << peer;
    if ((targets(c, r) & ~r->missing) != 0)
        return;
    if (r->want == WANT_LAST_LOOK)
        rec_here(c, index, NULL, 0);
    else if (is_pushed(r) && ++r->asks % ASKS_PER_ROUND != 0)
        put_off(c, index);
    else
        want(c, index, WANT_STATE);
}

static void count_bulk(struct client *c, uint32_t peer, const struct dtqi_results *m)
{
    struct peer *p = &c->peers[peer];

    if (p->bulk_request == 0 || m->request != p->bulk_request)
        return;
    p->bulk_left -= m->n < p->bulk_left ? m->n : p->bulk_left;
    if (p->bulk_left == 0)
        p->bulk_request = 0;
}

void asks_on_results(struct client *c, uint32_t peer, const struct dtqi_msg *msg)
{
    const struct dtqi_results *m = &msg->results;
    struct arrival a = {.msg = msg};

    a.is_crowded = is_crowded(c, msg->buf != NULL ? msg->buf->total : 0);
    count_bulk(c, peer, m);
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t kind = dtqi_col32(m->kinds, i, DTQ_SUCCEEDED);

        dtqi_idmap_expect_records(&c->by_id, m->ids, i, m->n, c->records, sizeof *c->records);
        if (kind >= DTQ_SUCCEEDED) {
            on_outcome(c, &a, i);
        } else if (kind == DTQ_NOT_FOUND) {
            uint32_t index = rec_find(c, &m->ids[i]);

            if (index != NONE)
                on_missing(c, peer, index, m->request);
        }
    }
    if (a.page != NULL)
        page_unref(c, a.page);
}

/* ---------------------------------------------------------------- what the ventilator says */

static void on_state(struct client *c, uint32_t index, const struct dtqi_msg *msg, uint32_t at)
{
    struct record *r = rec_at(c, index);
    struct page *page;

    if ((r->flags & REC_LOOK) == 0) {
        if (is_pushed(r)) {
            r->want = WANT_LOOK;
            put_off(c, index);
        } else {
            want(c, index, WANT_WORD);
        }
        return;
    }
    page = page_new(c, msg);
    if (page == NULL)
        return; /* asked again */
    rec_set_page(c, index, page, at);
    page_unref(c, page);
    rec_list(c, index, LIST_NONE);
    rec_answered(c, index);
}

void asks_on_query_reply(struct client *c, const struct dtqi_msg *msg)
{
    const struct dtqi_query_reply *m = &msg->query_reply;
    uint32_t slot = 0;
    uint32_t index;

    while (slot < VENT_ASKS_MAX && c->vent_asks[slot].request != m->request)
        slot++;
    if (slot == VENT_ASKS_MAX || m->request == 0)
        return;
    c->vent_asks[slot].request = 0;
    c->vent_asks_n--;
    index = rec_find(c, &c->vent_asks[slot].id);
    if (index == NONE || rec_at(c, index)->state != REC_OPEN ||
        rec_at(c, index)->want != WANT_STATE || rec_at(c, index)->request_min != m->request)
        return;
    if (m->reason != DTQI_REFUSAL_NONE)
        return; /* asked again */
    for (uint32_t i = 0; i < m->tasks_n; i++) {
        if (dtqi_id_eq(&m->tasks[i].id, &c->vent_asks[slot].id)) {
            on_state(c, index, msg, i);
            return;
        }
    }
    want(c, index, WANT_LAST_LOOK);
}

void asks_on_vent_loss(struct client *c)
{
    for (uint32_t i = 0; i < VENT_ASKS_MAX; i++) {
        struct vent_ask *a = &c->vent_asks[i];
        uint32_t index = a->request != 0 ? rec_find(c, &a->id) : NONE;

        a->request = 0;
        if (index != NONE && rec_at(c, index)->state == REC_OPEN &&
            rec_at(c, index)->want == WANT_STATE)
            rec_list(c, index, LIST_STATE);
    }
    c->vent_asks_n = 0;
}

/* Where there are no sinks, only the ventilator is to be asked, and now it can be. */
void asks_on_welcome(struct client *c)
{
    while (c->sinks_n == 0 && c->watch.n != 0)
        want(c, c->watch.first, rec_at(c, c->watch.first)->want);
}

/* ---------------------------------------------------------------- connections of sinks */

bool asks_want_sink(const struct client *c, uint32_t peer)
{
    const struct peer *p = &c->peers[peer];

    if (p->bulk.n != 0)
        return true;
    return (p->is_registered || p->records != 0) && c->urgent.n + c->watch.n + c->state_asks.n != 0;
}

static bool concerns(const struct record *r, uint32_t peer)
{
    return r->state == REC_OPEN && (r->sink == peer || r->sink == 0) && r->list != LIST_NONE &&
           r->want != WANT_STATE;
}

/* R32: repeated on reconnect. */
void asks_on_sink_ready(struct client *c, uint32_t peer)
{
    for (uint32_t i = 0; i < c->records_n; i++) {
        if (!concerns(rec_at(c, i), peer))
            continue;
        rec_list(c, i, is_pushed(rec_at(c, i)) ? LIST_BULK : LIST_URGENT);
    }
}

void asks_on_sink_loss(struct client *c, uint32_t peer)
{
    c->peers[peer].bulk_request = 0;
    c->peers[peer].is_proven = false;
    c->peers[peer].probe = 0;
}

/* An outcome that only the removed sink had is lost: so the next sink that does not have it leads
 * to the question whether the ventilator still has the task (R32). */
static void look_elsewhere(struct client *c, uint32_t index, uint32_t to)
{
    struct record *r = rec_at(c, index);
    bool is_asked = r->state == REC_OPEN && r->list != LIST_NONE;

    rec_list(c, index, LIST_NONE);
    rec_set_sink(c, index, to);
    if (!is_asked)
        return;
    if (!is_pushed(r)) {
        want(c, index, WANT_LOOK);
        return;
    }
    r->want = WANT_LOOK;
    r->asks = ASKS_PER_ROUND - 1;
    rec_list(c, index, LIST_BULK);
}

void asks_on_sink_removed(struct client *c, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < c->records_n; i++) {
        const struct record *r = rec_at(c, i);

        if (r->state == REC_FREE)
            continue;
        if (r->sink == from)
            look_elsewhere(c, i, to);
        else if (r->sink == 0 && r->state == REC_OPEN && r->list == LIST_WATCH)
            want(c, i, r->want);
    }
}

/* ---------------------------------------------------------------- asking */

static bool send_wait(struct client *c, uint32_t peer, const dtq_id *ids, uint32_t n, bool once)
{
    struct client_action *a = client_emit(c, CLIENT_SEND, peer);

    if (a == NULL)
        return false;
    a->msg.type = DTQI_WAIT;
    a->msg.wait =
        (struct dtqi_wait){.request = ++c->sink_request, .n = n, .ids = ids, .once = once};
    if (once)
        client_await(c, peer);
    return true;
}

/* All urgent records of one kind that concern a sink, in messages of a bounded size. */
static bool ask_urgent(struct client *c, uint32_t peer, bool once)
{
    uint32_t left = c->urgent.n;
    uint32_t size = left < DTQI_BATCH_ENTRIES_MAX ? left : DTQI_BATCH_ENTRIES_MAX;
    dtq_id *ids = NULL;
    uint32_t n = 0;

    for (uint32_t i = c->urgent.first; i != NONE; i = rec_at(c, i)->next) {
        struct record *r = rec_at(c, i);

        if ((r->want != WANT_WORD) != once || (targets(c, r) >> peer & 1) == 0)
            continue;
        if (ids == NULL)
            ids = client_scratch(c, size, sizeof *ids);
        if (ids == NULL)
            return false;
        ids[n++] = r->id;
        if (n == size) {
            if (!send_wait(c, peer, ids, n, once))
                return false;
            ids = NULL;
            n = 0;
        }
    }
    return n == 0 || send_wait(c, peer, ids, n, once);
}

/* What comes of having asked: an answer, or the same question in 10 s. */
static void asked(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);

    if (targets(c, r) != 0 || !client_can_send(c))
        put_off(c, index);
    else if (r->want == WANT_LAST_LOOK)
        rec_here(c, index, NULL, 0); /* there is no sink that could have it */
    else
        want(c, index, WANT_STATE);
}

static void urgent_tick(struct client *c)
{
    if (c->urgent.n == 0)
        return;
    for (uint32_t i = c->urgent.first; i != NONE; i = rec_at(c, i)->next) {
        rec_at(c, i)->missing = 0;
        rec_at(c, i)->request_min = c->sink_request + 1;
    }
    for (uint32_t peer = 1; peer < CLIENT_PEERS_MAX; peer++)
        if (is_ready(&c->peers[peer]) &&
            (!ask_urgent(c, peer, true) || !ask_urgent(c, peer, false)))
            return; /* no memory: all of them again */
    for (uint32_t n = c->urgent.n; n > 0; n--)
        asked(c, c->urgent.first);
}

static bool ask_state(struct client *c, uint32_t index)
{
    struct record *r = rec_at(c, index);
    struct client_action *a = client_emit(c, CLIENT_SEND, CLIENT_VENTILATOR);
    uint32_t slot = 0;

    if (a == NULL)
        return false;
    while (c->vent_asks[slot].request != 0)
        slot++;
    a->msg.type = DTQI_QUERY;
    a->msg.query = (struct dtqi_query){.request = ++c->vent_request,
                                       .kind = DTQI_QUERY_TASK,
                                       .prefix = r->id,
                                       .prefix_bits = 128,
                                       .limit = 1};
    c->vent_asks[slot] = (struct vent_ask){c->vent_request, r->id};
    c->vent_asks_n++;
    r->request_min = c->vent_request;
    r->ask_ms = c->now.now_ms + CLIENT_ASK_AGAIN_MS;
    rec_list(c, index, LIST_WATCH);
    client_await(c, CLIENT_VENTILATOR);
    return true;
}

static void state_tick(struct client *c)
{
    if (!client_can_send(c))
        return;
    while (c->state_asks.n != 0 && c->vent_asks_n < VENT_ASKS_MAX)
        if (!ask_state(c, c->state_asks.first))
            return;
}

/* How many results may be asked for, as far as their usual size tells. */
static uint32_t bulk_room(const struct client *c)
{
    uint64_t left;

    if (c->results.n == 0)
        return DTQI_BATCH_ENTRIES_MAX;
    if (c->results_bytes > c->cfg.results_bytes_max / 2)
        return 0;
    left = (c->cfg.results_bytes_max - c->results_bytes) / (2 * (c->result_bytes_usual + 64ull));
    if (left == 0)
        return 1;
    return left < DTQI_BATCH_ENTRIES_MAX ? (uint32_t)left : DTQI_BATCH_ENTRIES_MAX;
}

static bool can_ask_bulk(const struct client *c, uint32_t peer)
{
    const struct peer *p = &c->peers[peer];

    return p->bulk.n != 0 && is_ready(p) && p->bulk_request == 0 && bulk_room(c) != 0;
}

static void ask_bulk(struct client *c, uint32_t peer)
{
    struct peer *p = &c->peers[peer];
    uint32_t n = bulk_room(c);
    dtq_id *ids;

    n = n < p->bulk.n ? n : p->bulk.n;
    ids = client_scratch(c, n, sizeof *ids);
    if (ids == NULL || !send_wait(c, peer, ids, n, true))
        return;
    p->bulk_request = c->sink_request;
    p->bulk_left = n;
    p->bulk_ms = c->now.now_ms;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t index = p->bulk.first;

        ids[i] = rec_at(c, index)->id;
        rec_at(c, index)->missing = 0;
        rec_at(c, index)->request_min = c->sink_request;
        put_off(c, index);
    }
}

static void bulk_tick(struct client *c)
{
    for (uint32_t peer = 1; peer < CLIENT_PEERS_MAX; peer++) {
        struct peer *p = &c->peers[peer];

        if (p->bulk_request != 0 && c->now.now_ms - p->bulk_ms >= CLIENT_ASK_AGAIN_MS)
            p->bulk_request = 0;
        if (can_ask_bulk(c, peer))
            ask_bulk(c, peer);
    }
}

/* ---------------------------------------------------------------- time */

static bool is_due(struct client *c, const struct list *l)
{
    return l->n != 0 && rec_at(c, l->first)->ask_ms <= c->now.now_ms;
}

static void due_watched(struct client *c)
{
    while (is_due(c, &c->watch)) {
        uint32_t index = c->watch.first;
        struct record *r = rec_at(c, index);

        if (r->want == WANT_WORD && ++r->asks % ASKS_PER_ROUND == 0)
            r->want = WANT_LOOK;
        want(c, index, r->want);
    }
}

/* Routine look-ups cost the sink something: so many a second. */
static void due_slow(struct client *c)
{
    if (c->now.now_ms - c->slow_ms >= 1000) {
        c->slow_ms = c->now.now_ms;
        c->slow_n = 0;
    }
    while (is_due(c, &c->slow) && c->slow_n < SLOW_ASKS_PER_S) {
        rec_list(c, c->slow.first, LIST_BULK);
        c->slow_n++;
    }
}

/* A question whose answer was lost must not keep its place for ever. */
static void expire_vent_asks(struct client *c)
{
    for (uint32_t i = 0; c->vent_asks_n != 0 && i < VENT_ASKS_MAX; i++) {
        struct vent_ask *a = &c->vent_asks[i];
        uint32_t index = a->request != 0 ? rec_find(c, &a->id) : NONE;

        if (a->request == 0 || (index != NONE && rec_at(c, index)->request_min == a->request &&
                                rec_at(c, index)->list == LIST_WATCH))
            continue;
        a->request = 0;
        c->vent_asks_n--;
    }
}

void asks_tick(struct client *c)
{
    due_watched(c);
    due_slow(c);
    expire_vent_asks(c);
    urgent_tick(c);
    state_tick(c);
    bulk_tick(c);
}

uint64_t asks_deadline_ms(const struct client *c)
{
    uint64_t at = NEVER;

    if (c->urgent.n != 0)
        return 0;
    if (c->state_asks.n != 0 && client_can_send(c) && c->vent_asks_n < VENT_ASKS_MAX)
        return 0;
    if (c->watch.n != 0)
        at = c->records[c->watch.first].ask_ms;
    if (c->slow.n != 0) {
        uint64_t slow_at = c->records[c->slow.first].ask_ms;

        if (c->slow_n >= SLOW_ASKS_PER_S && slow_at < c->slow_ms + 1000)
            slow_at = c->slow_ms + 1000;
        at = slow_at < at ? slow_at : at;
    }
    for (uint32_t peer = 1; peer < CLIENT_PEERS_MAX; peer++) {
        if (can_ask_bulk(c, peer))
            return 0;
        if (c->peers[peer].bulk_request != 0 && c->peers[peer].bulk_ms + CLIENT_ASK_AGAIN_MS < at)
            at = c->peers[peer].bulk_ms + CLIENT_ASK_AGAIN_MS;
    }
    return at;
}
