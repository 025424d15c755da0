#include "vent_internal.h"

#define SETTLE_US_MAX 10000000u
#define RESUME_AGAIN_MS 500u

/* ---------------------------------------------------------------- the table */

bool vent_sink_is_up(const struct sink *s)
{
    return s->live && !s->full && !s->diverged && !s->removing;
}

uint32_t vent_sink_find(const struct vent *v, const dtqi_uid *store)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        if (v->sinks[i].used && dtqi_uid_eq(&v->sinks[i].store, store))
            return i;
    return NONE;
}

uint32_t vent_sink_choose(const struct vent *v, const dtq_id *id)
{
    uint64_t best_weight = 0;
    uint32_t best = NONE;

    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        const struct sink *s = &v->sinks[i];
        dtq_id store;
        uint64_t weight;

        if (!s->used || !s->is_durable || s->removing)
            continue;
        memcpy(store.bytes, s->store.bytes, sizeof store.bytes);
        weight = dtqi_mix64(dtqi_id_hash(id) ^ dtqi_id_hash(&store));
        if (best != NONE &&
            (weight < best_weight ||
             (weight == best_weight &&
              memcmp(s->store.bytes, v->sinks[best].store.bytes, sizeof s->store.bytes) < 0)))
            continue;
        best = i;
        best_weight = weight;
    }
    return best;
}

uint32_t vent_sink_get(struct vent *v, const dtqi_uid *store)
{
    uint32_t i;

    store = vent_store_now(v, store);
    i = vent_sink_find(v, store);
    if (i != NONE)
        return i;
    for (i = 0; i < DTQI_SINKS_MAX && v->sinks[i].used; i++)
        ;
    if (i == DTQI_SINKS_MAX)
        return NONE;
    v->sinks[i].used = true;
    v->sinks[i].store = *store;
    v->down |= 1u << i;
    if (vent_is_removed(v, store))
        vent_sink_vacate(v, &v->sinks[i]);
    return i;
}

void vent_sink_clear(struct sink *s)
{
    *s = (struct sink){.asks = NONE, .asked = NONE};
    list_init(&s->proposed);
    list_init(&s->unsent);
}

void vent_sink_note(struct vent *v, struct sink *s)
{
    uint32_t bit = 1u << (s - v->sinks);
    uint32_t down = vent_sink_is_up(s) ? v->down & ~bit : v->down | bit;
    bool is_out = s->diverged || s->removing || s->removed;
    uint32_t diverged = is_out ? v->diverged | bit : v->diverged & ~bit;

    if (down == v->down && diverged == v->diverged)
        return;
    v->down = down;
    v->diverged = diverged;
    v->sinks_changed |= s->is_durable;
    vent_unstick(v);
}

dtq_err vent_sinks_init(struct vent *v, const struct journal_start *start)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        vent_sink_clear(&v->sinks[i]);
    for (uint32_t i = 0; i < start->sinks_n; i++) {
        const struct journal_sink *js = &start->sinks[i];
        uint32_t at = js->removed ? NONE : vent_sink_get(v, &js->store);

        if (js->removed && !vent_removals_init(v, js))
            return DTQ_ENOMEM; /* or it would be taken for one of ours again */
        if (at == NONE)
            continue;
        memcpy(v->sinks[at].intake, start->sinks[i].intake, sizeof v->sinks[at].intake);
        memcpy(v->sinks[at].results, start->sinks[i].results, sizeof v->sinks[at].results);
        v->sinks[at].is_durable = v->sinks[at].is_old = true;
        v->sinks_n++;
    }
    for (uint32_t i = 0; i < start->applied_n; i++) {
        uint32_t at = vent_sink_get(v, &start->applied[i].sink);

        if (at == NONE)
            continue;
        v->sinks[at].run = start->applied[i].run;
        v->sinks[at].applied = v->sinks[at].applied_durable = start->applied[i].number;
    }
    vent_removals_start(v);
    return DTQ_OK;
}

void vent_sinks_connect(struct vent *v)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        struct sink *s = &v->sinks[i];
        struct vent_action *a;

        if (!s->used || s->connected || s->intake[0] == '\0')
            continue;
        a = vent_act(v, VENT_SINK_CONNECT);
        if (a == NULL)
            continue;
        a->sink = i;
        a->endpoint = dtqi_str(s->intake);
        s->connected = true;
    }
}

/* ---------------------------------------------------------------- sessions */

static uint64_t memory_needed_ms(const struct vent *v)
{
    return v->cfg.dedupe_window_ms + v->cfg.outcome_fence_ms + v->cfg.outcome_slack_ms; /* R31 */
}

static bool is_endpoint(struct dtqi_str text)
{
    return text.len != 0 && text.len < sizeof((struct sink *)NULL)->intake &&
           memchr(text.at, '\0', text.len) == NULL;
}

static const char *flaw_of_hello(const struct vent *v, const struct dtqi_hello *m)
{
    if (dtqi_uid_is_zero(&m->store) || !is_endpoint(m->intake) || !is_endpoint(m->results))
        return "a sink must name its store, its intake and its results endpoint";
    if (m->outcome_memory_ms < memory_needed_ms(v))
        return "the sink forgets outcomes sooner than this ventilator's windows allow";
    if (vent_is_removed(v, &m->store))
        return "it was removed from this ventilator: with an empty data directory it joins as a "
               "new sink"; /* R52 */
    return NULL;
}

/* R38. For a sink that was killed it passes, when its last life has been silent for long enough. */
static bool has_live_twin(const struct vent *v, uint32_t route, const struct dtqi_hello *m)
{
    uint32_t i = vent_sink_find(v, &m->store);
    const struct sink *s = i != NONE ? &v->sinks[i] : NULL;

    return s != NULL && s->live && s->route != route && !dtqi_uid_eq(&s->instance, &m->instance);
}

static void set_endpoints(struct vent *v, struct sink *s, const struct dtqi_hello *m)
{
    char intake[sizeof s->intake] = {0};
    char results[sizeof s->results] = {0};

    memcpy(intake, m->intake.at, m->intake.len);
    memcpy(results, m->results.at, m->results.len);
    if (s->intake[0] == '\0')
        v->sinks_n++;
    if (strcmp(s->intake, intake) == 0 && strcmp(s->results, results) == 0)
        return;
    memcpy(s->intake, intake, sizeof s->intake);
    memcpy(s->results, results, sizeof s->results);
    s->connected = false;
    s->dirty = true;
    v->sinks_changed |= s->is_durable;
    vent_lazy(v);
    v->urgent = true; /* nobody is told of a new one before */
}

static void send_resume(struct vent *v, struct sink *s)
{
    struct dtqi_msg *msg = vent_send(v, s->route, DTQI_RESUME);

    s->resumed_ms = s->settled_ms = v->now_ms;
    s->resumes++;
    if (msg != NULL)
        msg->resume = (struct dtqi_resume){v->store, s->run, s->applied};
}

static void drop_route(struct vent *v, const struct sink *s)
{
    struct peer *p = vent_peer_find(v, s->route);

    if (p != NULL && p->role == DTQI_ROLE_SINK && &v->sinks[p->index] == s)
        vent_peer_free(v, p);
}

static void end_session(struct vent *v, struct sink *s)
{
    s->live = false;
    drop_route(v, s);
    vent_claims_sink_lost(v, s);
    vent_sink_note(v, s);
}

void vent_sink_lost(struct vent *v, struct sink *s, const char *why)
{
    if (!s->live)
        return;
    VENT_LOG(v, VENT_WARN, "sink_lost", L_ID("store", s->store.bytes), L_TEXT("why", why));
    end_session(v, s);
}

static void on_bye(struct vent *v, struct sink *s)
{
    if (!s->live)
        return;
    VENT_LOG(v, VENT_INFO, "sink_left", L_ID("store", s->store.bytes));
    end_session(v, s);
}

static void begin_session(struct vent *v, struct sink *s, uint32_t route,
                          const struct dtqi_hello *m)
{
    if (!dtqi_uid_eq(&s->instance, &m->instance))
        s->connected = false; /* another process: a fresh connection */
    s->live = true;
    s->full = false;
    s->instance = m->instance;
    s->route = route;
    s->session = ++v->sessions << SESSION_INDEX_BITS | UINT16_MAX;
    s->heard_ms = v->now_ms;
    s->heard_stall_ms = v->stall_ms;
    s->gap_ms = 0;
    s->resumes = 0;
}

void vent_on_sink_hello(struct vent *v, uint32_t route, const struct dtqi_hello *m)
{
    const char *flaw = flaw_of_hello(v, m);
    uint32_t i = flaw == NULL ? vent_sink_get(v, &m->store) : NONE;
    struct peer *p = vent_peer_find(v, route);
    struct sink *s;

    if (flaw == NULL && has_live_twin(v, route, m)) {
        vent_refuse(v, route, DTQI_BUSY,
                    "a sink with the same data directory is registered already");
        return;
    }
    if (flaw != NULL || i == NONE) {
        vent_refuse(v, route, flaw != NULL ? DTQI_BAD_PEER : DTQI_BUSY,
                    flaw != NULL ? flaw : "16 sinks are registered");
        return;
    }
    s = &v->sinks[i];
    if (p != NULL && &v->sinks[p->index] != s)
        vent_sink_lost(v, &v->sinks[p->index], "its connection is another sink's");
    drop_route(v, s);
    if (vent_peer_new(v, route, DTQI_ROLE_SINK, i) == NULL) {
        vent_refuse(v, route, DTQI_BUSY, "out of memory");
        return;
    }
    begin_session(v, s, route, m);
    set_endpoints(v, s, m);
    vent_sink_note(v, s);
    VENT_LOG(v, VENT_INFO, "sink_joined", L_ID("store", s->store.bytes),
             L_TEXT("intake", s->intake), L_U64("applied", s->applied));
    vent_welcome(v, route, s->session, (struct dtqi_str){NULL, 0});
    send_resume(v, s);
}

/* Numbers are missing, or it never said where it stands (R33). */
static void resume_again(struct vent *v, struct sink *s)
{
    bool is_silent = !s->caught_up && v->now_ms - s->settled_ms >= 2 * v->cfg.heartbeat_ms;

    if ((s->gap_ms != 0 || is_silent) && v->now_ms - s->resumed_ms >= RESUME_AGAIN_MS)
        send_resume(v, s);
}

static void on_heartbeat(struct vent *v, struct sink *s, const struct dtqi_sink_heartbeat *m)
{
    struct dtqi_msg *msg;

    if (m->session != s->session) {
        v->counters.messages_foreign++;
        vent_unknown_session(v, s->route, m->session);
        return;
    }
    s->full = m->full;
    vent_sink_note(v, s);
    resume_again(v, s);
    msg = vent_send(v, s->route, DTQI_VENTILATOR_HEARTBEAT);
    if (msg != NULL)
        msg->ventilator_heartbeat = (struct dtqi_ventilator_heartbeat){
            .session = s->session, .echo = m->sequence, .wall_ms = v->wall_ms};
}

/* ---------------------------------------------------------------- settlement */

/* The running mean of what journaling would have taken part in; tasks of before the start had no
 * choice. */
static void note_settle_time(struct vent *v, struct queue *q, const struct task *t)
{
    uint64_t us = (v->now_ms - t->admitted_ms) * 1000;
    int64_t difference;

    if ((t->flags & (TASK_RECOVERED | TASK_DELAYED)) != 0)
        return;
    if (us > SETTLE_US_MAX)
        us = SETTLE_US_MAX;
    difference = (int64_t)us - (int64_t)q->settle_us;
    q->settle_us = (uint32_t)((int64_t)q->settle_us + difference / 16);
}

static void count_outcome(struct vent *v, dtq_state kind)
{
    v->counters.tasks_settled++;
    v->counters.tasks_failed += kind == DTQ_FAILED;
    v->counters.tasks_expired += kind == DTQ_EXPIRED;
    v->counters.tasks_cancelled += kind == DTQ_CANCELLED;
}

/* The journal forgets it, or keeps it as a dead letter. */
static void end_record(struct vent *v, struct task *t, dtq_state kind)
{
    if (kind == DTQ_FAILED) {
        t->flags |= TASK_DEAD;
        vent_dying_settled(v, t);
    }
    vent_paper_end(v, t);
}

void vent_settle(struct vent *v, struct task *t, dtq_state kind)
{
    if (t->state == TASK_GONE)
        return;
    count_outcome(v, kind);
    note_settle_time(v, queue_of(v, t), t);
    vent_queue_take(v, queue_of(v, t), task_bytes(v, t), (t->flags & TASK_DELAYED) != 0);
    if (t->state == TASK_LEASED && kind == DTQ_SUCCEEDED)
        v->workers[t->worker].done_total++; /* its REPORT comes late and finds nothing */
    if (t->state == TASK_LEASED || t->state == TASK_STOPPING || t->state == TASK_DONE)
        vent_forget(v, &v->workers[t->worker], &t->id, task_epoch(v, t), t->attempt);
    if (t->wait != NONE && ((t->marks & TASK_ALWAYS) == 0 || t->paper == PAPER_WRITTEN))
        vent_confirm(v, t); /* else what goes into the journal with it is waited for */
    if ((t->flags & TASK_CANCEL) != 0)
        vent_cancel_end(v, t);
    if (t->paper == PAPER_NONE && kind != DTQ_FAILED && (t->marks & TASK_ALWAYS) == 0 &&
        !vent_has_new_notes(v, t)) { /* the short circuit */
        v->counters.journal_skipped++;
        vent_task_free(v, t);
        return;
    }
    vent_task_move(v, t, TASK_GONE);
    end_record(v, t, kind);
}

static struct task *by_ticket(const struct vent *v, uint32_t ticket, const dtq_id *id)
{
    uint32_t index = ticket & TICKET_INDEX_MASK;
    struct task *t = index < v->tasks_used ? task_at(v, index) : NULL;

    return t != NULL && t->state != TASK_FREE && dtqi_id_eq(&t->id, id) ? t : NULL;
}

/* Not in memory: it may be in the journal. Until that has forgotten it, a record says so (R22).
 * false: there is none left. */
static bool settle_unknown(struct vent *v, const dtq_id *id, dtq_state kind)
{
    struct task *t = vent_ghost(v, id);

    if (t == NULL)
        return false;
    v->counters.settled_unknown++;
    vent_task_move(v, t, TASK_GONE);
    end_record(v, t, kind);
    return true;
}

/* Nothing of it is here but the body, and the journal, which is asked first, may have it. */
static bool settle_claimed(struct vent *v, struct task *t, const dtq_id *id, dtq_state kind)
{
    count_outcome(v, kind);
    vent_confirm(v, t);
    vent_task_free(v, t);
    return settle_unknown(v, id, kind);
}

DTQI_EXPECTS expect_entry(const struct vent *v, const struct dtqi_settled *m, uint32_t i)
{
    if (i >= m->n)
        return;
    vent_record_expect(v, dtqi_col32(m->tickets, i, 0) & TICKET_INDEX_MASK);
    vent_task_expect(v, &m->ids[i]); /* it leaves the table now, or is not found by its ticket */
}

static bool settle_entry(struct vent *v, const struct dtqi_settled *m, uint32_t i)
{
    const dtq_id *id = &m->ids[i];
    dtq_state kind = (dtq_state)dtqi_col32(m->kinds, i, DTQ_SUCCEEDED);
    struct task *t = by_ticket(v, dtqi_col32(m->tickets, i, 0), id);

    if (t == NULL)
        t = vent_task_find(v, id);
    if (t == NULL)
        return settle_unknown(v, id, kind);
    if (t->state == TASK_CLAIMED)
        return settle_claimed(v, t, id, kind);
    vent_settle(v, t, kind);
    return true;
}

static void gap(struct vent *v, struct sink *s)
{
    v->counters.settled_gap++;
    if (s->gap_ms == 0 || v->now_ms - s->resumed_ms >= RESUME_AGAIN_MS)
        send_resume(v, s);
    s->gap_ms = at_least_1(v->now_ms);
}

/* Numbers that the sink has dropped were acknowledged, by this ventilator or one whose data this is
 * a copy of; what they settled and is still here settles by R27. */
static void skip_dropped(struct vent *v, struct sink *s, const dtqi_uid *run_now, uint64_t dropped)
{
    if (dropped <= s->applied)
        return;
    s->applied = dropped;
    s->run = *run_now; /* whichever run gave that number, the present one goes on behind it (R34) */
    vent_lazy(v);
}

/* R28: in order, without gaps; what was applied before is skipped. */
static void apply_stream(struct vent *v, struct sink *s, const struct dtqi_settled *m)
{
    skip_dropped(v, s, &m->run, m->number_dropped);
    if (m->number_first > s->applied + 1) {
        gap(v, s);
        return;
    }
    s->gap_ms = 0;
    for (uint64_t i = s->applied + 1 - m->number_first; i < m->n; i++) {
        expect_entry(v, m, (uint32_t)i + DTQI_IDMAP_AHEAD);
        if (!settle_entry(v, m, (uint32_t)i)) {
            gap(v, s);
            return;
        }
        s->applied++;
        s->run = m->run;
        vent_lazy(v);
    }
    if (s->applied >= m->number_head)
        s->caught_up = true;
    if (m->n == 0 && s->applied_durable > m->number_dropped)
        vent_sink_acknowledge(v, s); /* the last one may be lost, and it waits for that */
}

/* R34. What it says outside of its stream, or without being asked, tells nothing of whose history
 * it has. */
static void note_divergence(struct vent *v, struct sink *s, const struct dtqi_settled *m)
{
    if (m->diverged && s->resumes != 0)
        s->resumes--;
    if (m->diverged && s->applied == 0)
        return; /* the answer to what was asked before it was accepted: any past goes with none */
    if (m->diverged == s->diverged || (!m->diverged && (m->number_first == 0 || s->resumes == 0)))
        return;
    s->diverged = m->diverged;
    vent_sink_note(v, s);
    if (s->diverged)
        VENT_LOG(v, VENT_ERROR, "sink_diverged", L_ID("store", s->store.bytes),
                 L_U64("applied", s->applied));
    else
        VENT_LOG(v, VENT_INFO, "sink_is_itself_again", L_ID("store", s->store.bytes));
}

/* Everything that its stream still has is applied again, which changes nothing that was applied
 * before; what a batch under way says of it is not true any more. */
void vent_sink_accept(struct vent *v, struct sink *s)
{
    VENT_LOG(v, VENT_WARN, "sink_accepted", L_ID("store", s->store.bytes),
             L_U64("applied", s->applied));
    s->diverged = s->caught_up = false;
    s->rewound = true;
    s->run = (dtqi_uid){{0}};
    s->applied = s->applied_durable = s->applied_handed = 0;
    s->gap_ms = 0;
    vent_sink_note(v, s);
    vent_lazy(v);
    v->urgent = true;
    if (s->live)
        send_resume(v, s);
}

static void on_settled(struct vent *v, struct sink *s, const struct dtqi_settled *m)
{
    if (!dtqi_uid_eq(&m->sink, &s->store)) {
        v->counters.messages_foreign++;
        return;
    }
    s->settled_ms = v->now_ms;
    note_divergence(v, s, m);
    if (s->diverged)
        return;
    if (m->number_first != 0) {
        apply_stream(v, s, m);
        return;
    }
    for (uint32_t i = 0; i < m->n; i++)
        (void)settle_entry(v, m, i); /* R27: it may be lost; it is asked for again */
}

void vent_sink_acknowledge(struct vent *v, struct sink *s)
{
    struct dtqi_msg *msg = s->live ? vent_send(v, s->route, DTQI_SETTLED_ACK) : NULL;

    if (msg != NULL)
        msg->settled_ack = (struct dtqi_settled_ack){v->store, s->applied_durable};
}

void vent_on_sink_msg(struct vent *v, struct sink *s, const struct dtqi_msg *msg)
{
    s->heard_ms = v->now_ms;
    s->heard_stall_ms = v->stall_ms;
    switch (msg->type) {
    case DTQI_SINK_HEARTBEAT: on_heartbeat(v, s, &msg->sink_heartbeat); break;
    case DTQI_SETTLED: on_settled(v, s, &msg->settled); break;
    case DTQI_CLAIM_REPLY: vent_on_claim_reply(v, s, &msg->claim_reply); break;
    case DTQI_BYE: on_bye(v, s); break;
    default: v->counters.messages_foreign++; break;
    }
}

void vent_sinks_tick(struct vent *v)
{
    uint64_t limit_ms = v->cfg.heartbeat_ms * v->cfg.liveness;

    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        struct sink *s = &v->sinks[i];
        uint64_t silence_ms;

        if (!s->live)
            continue;
        silence_ms = vent_silence_ms(v, s->heard_ms, s->heard_stall_ms);
        if (silence_ms >= limit_ms)
            vent_sink_lost(v, s, "silence");
        else
            due_at(v, v->now_ms + limit_ms - silence_ms);
    }
}
