#include "sink_parts.h"

static struct sink_action *send(struct sink *s, const struct peer *p, enum dtqi_msg_type type)
{
    struct sink_action *act = sink_act(s, SINK_ACT_CONTROL_SEND);

    if (act == NULL)
        return NULL;
    act->peer = (uint32_t)(p - s->peers);
    act->msg = (struct dtqi_msg){.type = type};
    return act;
}

void sink_peers_init(struct sink *s)
{
    for (uint32_t i = 0; i < s->cfg.peers; i++)
        s->peers[i] = (struct peer){.heartbeat_ms = DTQI_HEARTBEAT_MS,
                                    .liveness = DTQI_LIVENESS,
                                    .hello_wait_ms = HELLO_MS_MIN};
}

uint64_t sink_peer_wall_ms(const struct sink *s, const dtqi_uid *store)
{
    for (uint32_t i = 0; i < s->cfg.peers; i++) {
        const struct peer *p = &s->peers[i];

        if (p->was_welcome && dtqi_uid_eq(&p->store, store))
            return s->wall_ms + (uint64_t)p->clock_ms;
    }
    return s->wall_ms;
}

/* ---------------------------------------------------------------- sessions */

static uint64_t silence_ms(const struct peer *p)
{
    return p->liveness * p->heartbeat_ms;
}

/* Once, until it answers. */
static void tell_silence(struct sink *s, struct peer *p)
{
    struct sink_log_pair pairs[] = {{"endpoint", dtqi_str(s->cfg.ventilator), 0}};

    if (!p->silence_told)
        sink_log(s, SINK_WARN, "ventilator_silent", pairs, 1);
    p->silence_told = true;
}

static void say_hello(struct sink *s, struct peer *p)
{
    struct sink_action *act = NULL;

    if (p->hellos != 0 && p->hellos % HELLOS_PER_CONNECTION == 0) {
        /* A connection that once met the wrong peer stays dead; and what waits in it is old. */
        act = sink_act(s, SINK_ACT_CONTROL_RECONNECT);
        if (act != NULL)
            act->peer = (uint32_t)(p - s->peers);
    }
    if (p->hellos == HELLOS_PER_CONNECTION)
        tell_silence(s, p);
    p->hellos++;
    p->hello_at_ms = s->now_ms + p->hello_wait_ms;
    p->hello_wait_ms = sink_min(2 * p->hello_wait_ms, HELLO_MS_MAX);
    act = send(s, p, DTQI_HELLO);
    if (act == NULL)
        return;
    act->msg.hello = (struct dtqi_hello){
        .version_min = DTQI_PROTOCOL_VERSION,
        .version_max = DTQI_PROTOCOL_VERSION,
        .role = DTQI_ROLE_SINK,
        .instance = s->cfg.instance,
        .name = dtqi_str(s->cfg.name),
        .program = dtqi_str(s->cfg.program),
        .store = s->cfg.store,
        .run = s->cfg.run,
        .intake = dtqi_str(s->cfg.intake),
        .results = dtqi_str(s->cfg.results),
        .outcome_memory_ms = s->cfg.outcome_memory_ms,
    };
}

static void lose_session(struct sink *s, struct peer *p, const char *why)
{
    struct sink_log_pair pairs[] = {{"why", dtqi_str(why), 0}};

    if (!p->is_welcome)
        return;
    p->is_welcome = false;
    p->is_streaming = false;
    p->generation++;
    p->hellos = 0;
    p->hello_wait_ms = HELLO_MS_MIN;
    p->hello_at_ms = s->now_ms;
    sink_log(s, SINK_WARN, "session_lost", pairs, 1);
}

/* R31: a ventilator whose tasks may come back later than this sink remembers them is not served. */
static bool is_memory_long_enough(const struct sink *s, const struct dtqi_welcome *w)
{
    uint64_t room = s->cfg.outcome_memory_ms;

    if (room < DTQI_OUTCOME_SLACK_MS)
        return false;
    room -= DTQI_OUTCOME_SLACK_MS;
    return w->dedupe_window_ms <= room && w->outcome_fence_ms <= room - w->dedupe_window_ms;
}

static void refuse_welcome(struct sink *s, struct peer *p)
{
    static const char why[] = "the ventilator's dedupe window and outcome fence are longer than "
                              "this sink remembers outcomes";
    struct sink_log_pair pairs[] = {{"why", dtqi_str(why), 0}};

    sink_log(s, SINK_ERROR, "welcome_refused", pairs, 1);
    if (!p->was_welcome)
        sink_exit(s, 1, dtqi_str(why));
}

static void note_clock(const struct sink *s, struct peer *p, uint64_t wall_ms)
{
    p->clock_ms = (int64_t)(wall_ms - s->wall_ms);
}

static void on_welcome(struct sink *s, struct peer *p, const struct dtqi_welcome *w)
{
    struct sink_log_pair pairs[] = {{"epoch", {NULL, 0}, w->epoch},
                                    {"session", {NULL, 0}, w->session}};

    if (w->version != DTQI_PROTOCOL_VERSION || !is_memory_long_enough(s, w)) {
        refuse_welcome(s, p);
        return;
    }
    p->is_streaming = false;
    p->generation++;
    if (!p->was_welcome || !dtqi_uid_eq(&p->store, &w->store)) {
        p->has_ack = false;
        p->acked = 0;
    }
    p->is_welcome = true;
    p->was_welcome = true;
    p->has_resumed = false;
    p->silence_told = false;
    p->store = w->store;
    p->session = w->session;
    p->heartbeat_ms = w->heartbeat_ms != 0 ? w->heartbeat_ms : DTQI_HEARTBEAT_MS;
    p->liveness = w->liveness != 0 ? w->liveness : DTQI_LIVENESS;
    p->hellos = 0;
    p->hello_wait_ms = HELLO_MS_MIN;
    p->heartbeat_at_ms = s->now_ms + p->heartbeat_ms;
    p->resume_by_ms = s->now_ms + silence_ms(p);
    note_clock(s, p, w->wall_ms);
    sink_log(s, SINK_INFO, "session_open", pairs, 2);
}

static void on_refused(struct sink *s, struct peer *p, const struct dtqi_refused *r)
{
    struct sink_log_pair pairs[] = {{"why", r->text, 0},
                                    {"reason", {NULL, 0}, r->reason},
                                    {"again_in_ms", {NULL, 0}, HELLO_MS_MAX}};
    bool may_pass = r->reason == DTQI_BUSY; /* R38: so it is after a kill -9, for some seconds */

    if (p->is_welcome)
        return;
    p->silence_told = false;
    p->hellos = 1; /* somebody answers: the connection is good */
    p->hello_wait_ms = HELLO_MS_MAX;
    p->hello_at_ms = s->now_ms + HELLO_MS_MAX;
    if (s->now_ms < s->refused_log_at_ms)
        return;
    s->refused_log_at_ms = s->now_ms + LOG_MS;
    sink_log(s, may_pass ? SINK_WARN : SINK_ERROR, "refused", pairs, 3);
}

static void on_unknown_session(struct sink *s, struct peer *p, const struct dtqi_unknown_session *u)
{
    if (u->session == 0 || u->session == p->session)
        lose_session(s, p, "the ventilator does not know it");
}

static void send_heartbeat(struct sink *s, struct peer *p)
{
    struct sink_action *act = send(s, p, DTQI_SINK_HEARTBEAT);

    if (act == NULL)
        return;
    act->msg.sink_heartbeat = (struct dtqi_sink_heartbeat){p->session, ++p->sequence, s->is_full};
}

/* ---------------------------------------------------------------- the settlement stream */

static struct sink_action *send_settled(struct sink *s, struct peer *p, uint64_t first)
{
    struct sink_action *act = send(s, p, DTQI_SETTLED);

    if (act == NULL)
        return NULL;
    act->msg.settled = (struct dtqi_settled){
        .sink = s->cfg.store,
        .run = s->cfg.run,
        .number_first = first,
        .number_head = p->head,
        .number_dropped = p->dropped,
    };
    return act;
}

/* Where the stream stands. A ventilator that misses what was sent sees a gap, and asks again. */
static void send_position(struct sink *s, struct peer *p)
{
    send_settled(s, p, p->sent + 1);
}

static uint64_t window_left(const struct sink *s, const struct peer *p)
{
    uint64_t from = p->acked > p->resumed ? p->acked : p->resumed;
    uint64_t open = p->sent > from ? p->sent - from : 0;

    return open < s->cfg.settle_window ? s->cfg.settle_window - open : 0;
}

/* Send what the ventilator has not got, read from the store (R28). */
static void read_on(struct sink *s, struct peer *p)
{
    uint64_t left = window_left(s, p);
    struct job *job;

    if (!p->is_streaming || p->is_reading || p->sent >= p->head || left == 0)
        return;
    job = sink_job_new(s, RESULTS_STREAM);
    if (job == NULL)
        return; /* tried again with the next commit or heartbeat */
    job->peer = (uint32_t)(p - s->peers);
    job->generation = p->generation;
    job->read.ventilator = p->store;
    job->read.after = p->sent;
    job->read.limit = (uint32_t)sink_min(left, DTQI_BATCH_ENTRIES_MAX);
    p->is_reading = true;
    sink_job_ask(s, job, false);
}

static void on_resume(struct sink *s, struct peer *p, const struct dtqi_resume *r)
{
    struct job *job;

    if (!dtqi_uid_eq(&r->store, &p->store))
        return;
    job = sink_job_new(s, RESULTS_RESUME);
    if (job == NULL)
        return; /* it asks again */
    p->has_resumed = true;
    p->is_streaming = false;
    p->is_reading = false;
    job->peer = (uint32_t)(p - s->peers);
    job->generation = ++p->generation;
    job->read.ventilator = r->store;
    job->read.run = r->run;
    job->read.after = r->after;
    sink_job_ask(s, job, false);
}

static void send_diverged(struct sink *s, struct peer *p, const struct results_read *read)
{
    struct sink_log_pair pairs[] = {{"after", {NULL, 0}, read->after},
                                    {"head", {NULL, 0}, read->head}};
    struct sink_action *act = send_settled(s, p, 0);

    if (act != NULL)
        act->msg.settled.diverged = true;
    sink_log(s, SINK_ERROR, "diverged", pairs, 2);
}

static void resume_answered(struct sink *s, struct peer *p, const struct results_read *read)
{
    p->head = read->head;
    p->dropped = read->dropped;
    if (read->diverged) {
        send_diverged(s, p, read);
        return;
    }
    p->is_streaming = true;
    p->sent = read->after > read->dropped ? read->after : read->dropped;
    p->resumed = p->sent;
    if (!p->has_ack)
        p->acked = read->dropped;
    p->sent_at_heartbeat = p->sent;
    if (p->sent == p->head)
        send_position(s, p);
    else
        read_on(s, p);
}

/* Nothing can be read up to `head`: the ventilator must not wait for it. What it misses is settled
 * by R27 and R30. */
static void skip_damaged(struct sink *s, struct peer *p, uint64_t head)
{
    if (p->sent >= head)
        return;
    p->dropped = head;
    p->sent = head;
    send_position(s, p);
    read_on(s, p);
}

static void stream_answered(struct sink *s, struct peer *p, struct job *job)
{
    const struct results_read *read = &job->read;
    struct sink_action *act;

    p->is_reading = false;
    if (read->entries_n == 0) {
        skip_damaged(s, p, read->head);
        return;
    }
    if (read->first > p->sent + 1) /* damaged: lost to the stream, for ever */
        p->dropped = read->first - 1;
    if (!sink_hold_room(s, 1))
        return;
    act = send_settled(s, p, read->first);
    if (act == NULL)
        return;
    act->msg.settled.n = read->entries_n;
    act->msg.settled.ids = read->entry_ids;
    act->msg.settled.kinds = read->kinds;
    act->msg.settled.tickets = read->tickets;
    p->sent = read->first + read->entries_n - 1;
    sink_hold(s, job->read.buf);
    job->read.buf = NULL;
    read_on(s, p);
}

static void on_settled_ack(struct sink *s, struct peer *p, const struct dtqi_settled_ack *a)
{
    if (!dtqi_uid_eq(&a->store, &p->store) || a->number <= p->acked || a->number > p->sent)
        return;
    p->acked = a->number;
    if (!p->has_ack)
        p->ack_at_ms = s->now_ms + ACK_MS;
    p->has_ack = true;
    read_on(s, p);
}

uint32_t sink_peers_acks(struct sink *s, struct results_ack *ret_acks)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->cfg.peers; i++) {
        struct peer *p = &s->peers[i];

        if (!p->has_ack)
            continue;
        p->has_ack = false;
        p->dropped = p->acked > p->dropped ? p->acked : p->dropped;
        ret_acks[n++] = (struct results_ack){p->store, p->acked};
    }
    return n;
}

/* ---- straight from a commit */

struct gathered { /* columns of one SETTLED, in scratch memory */
    dtq_id *ids;
    uint32_t *kinds;
    uint32_t *tickets;
    uint32_t n;
    uint32_t size;
    bool has_kinds;
};

static bool gather_room(struct sink *s, struct gathered *g, uint32_t left)
{
    uint32_t size = left < DTQI_BATCH_ENTRIES_MAX ? left : DTQI_BATCH_ENTRIES_MAX;

    *g = (struct gathered){.size = size};
    g->ids = sink_scratch(s, size, sizeof *g->ids);
    g->kinds = sink_scratch(s, size, sizeof *g->kinds);
    g->tickets = sink_scratch(s, size, sizeof *g->tickets);
    return g->ids != NULL && g->kinds != NULL && g->tickets != NULL;
}

static void gather(struct gathered *g, const struct dtqi_outcomes *o, uint32_t i, uint32_t kind)
{
    g->ids[g->n] = o->ids[i];
    g->tickets[g->n] = dtqi_col32(o->tickets, i, 0);
    g->kinds[g->n] = kind;
    g->has_kinds |= kind != DTQ_SUCCEEDED;
    g->n++;
}

static bool send_gathered(struct sink *s, struct peer *p, const struct gathered *g, uint64_t first)
{
    struct sink_action *act = send_settled(s, p, first);

    if (act == NULL)
        return false;
    act->msg.settled.n = g->n;
    act->msg.settled.ids = g->ids;
    act->msg.settled.kinds = g->has_kinds ? g->kinds : NULL;
    act->msg.settled.tickets = g->tickets;
    return true;
}

/* The entries of `r`, which come next in the stream and fit into the window: no need to read them
 * back. */
static void send_range(struct sink *s, struct peer *p, const struct group *group,
                       const struct results_range *r)
{
    struct gathered g = {0};
    uint32_t left = r->n;

    for (uint32_t k = 0; k < group->n; k++) {
        const struct dtqi_outcomes *o = &group->proposals[k].outcomes;

        if (!dtqi_uid_eq(&o->ventilator, &p->store))
            continue;
        for (uint32_t i = 0; i < o->n; i++) {
            if (!sink_is_won(&group->proposals[k], i))
                continue;
            if (g.n == g.size && !gather_room(s, &g, left))
                return; /* read from the store later */
            gather(&g, o, i, dtqi_col32(o->kinds, i, DTQ_SUCCEEDED));
            if (g.n < g.size)
                continue;
            if (!send_gathered(s, p, &g, p->sent + 1))
                return;
            p->sent += g.n;
            left -= g.n;
        }
    }
    assert(left == 0);
}

/* R27: what came second is answered outside the stream, with what stands. */
static void send_seconds(struct sink *s, struct peer *p, const struct group *group)
{
    struct gathered g = {0};

    for (uint32_t k = 0; k < group->n; k++) {
        const struct results_proposals *from = &group->proposals[k];

        if (from->refused || !dtqi_uid_eq(&from->outcomes.ventilator, &p->store))
            continue;
        for (uint32_t i = 0; i < from->outcomes.n; i++) {
            if (from->stands[i] == 0)
                continue;
            if (g.n == g.size && g.n != 0) {
                send_gathered(s, p, &g, 0);
                g.size = 0;
            }
            if (g.size == 0 && !gather_room(s, &g, group->batch.second))
                return;
            gather(&g, &from->outcomes, i, from->stands[i]);
        }
    }
    if (g.n != 0)
        send_gathered(s, p, &g, 0);
}

static const struct results_range *range_of(const struct group *g, const dtqi_uid *store)
{
    for (uint32_t i = 0; i < g->batch.ranges_n; i++)
        if (dtqi_uid_eq(&g->ranges[i].ventilator, store))
            return &g->ranges[i];
    return NULL;
}

static void committed_for(struct sink *s, struct peer *p, const struct group *g)
{
    const struct results_range *r = range_of(g, &p->store);

    if (r != NULL && p->is_streaming) {
        p->head = r->first + r->n - 1;
        if (!p->is_reading && p->sent + 1 == r->first && r->n <= window_left(s, p))
            send_range(s, p, g, r);
        read_on(s, p);
    }
    if (g->batch.second != 0)
        send_seconds(s, p, g);
}

void sink_peers_committed(struct sink *s, const struct group *g)
{
    for (uint32_t i = 0; i < s->cfg.peers; i++)
        if (s->peers[i].is_welcome)
            committed_for(s, &s->peers[i], g);
}

/* ---------------------------------------------------------------- claims */

/* R6: answered after the commit of everything that was received before. */
static void on_claim(struct sink *s, struct peer *p, const struct dtqi_msg *msg)
{
    struct job *job;

    assert(msg->buf != NULL);
    if (!dtqi_uid_eq(&msg->claim.store, &p->store))
        return;
    job = sink_job_new(s, RESULTS_CLAIM);
    if (job == NULL)
        return; /* it asks again */
    job->peer = (uint32_t)(p - s->peers);
    job->request = msg->claim.request;
    job->buf = dtqi_buf_ref(msg->buf);
    job->read.ids = msg->claim.ids;
    job->read.ids_n = msg->claim.n;
    sink_job_ask(s, job, true);
}

static void claim_answered(struct sink *s, struct peer *p, struct job *job)
{
    struct sink_action *act;

    if (!p->is_welcome || !sink_hold_room(s, 1))
        return;
    act = send(s, p, DTQI_CLAIM_REPLY);
    if (act == NULL)
        return;
    act->msg.claim_reply =
        (struct dtqi_claim_reply){job->request, job->read.ids_n, job->read.kinds};
    sink_hold(s, job->read.buf);
    job->read.buf = NULL;
}

/* ---------------------------------------------------------------- what comes in */

static void log_read_error(struct sink *s, const struct results_read *read)
{
    struct sink_log_pair pairs[] = {{"why", dtqi_str(read->why), 0}};

    sink_log(s, SINK_ERROR, "read_failed", pairs, 1);
}

void sink_peer_read(struct sink *s, struct job *job)
{
    struct peer *p = &s->peers[job->peer];
    bool is_current = job->generation == p->generation;

    if (sink_job_is_early(s, job))
        return;
    if (job->read.err != DTQ_OK) {
        log_read_error(s, &job->read);
        p->is_reading = p->is_reading && !is_current;
    } else if (job->read.type == RESULTS_CLAIM) {
        claim_answered(s, p, job);
    } else if (is_current && job->read.type == RESULTS_RESUME) {
        resume_answered(s, p, &job->read);
    } else if (is_current) {
        stream_answered(s, p, job);
    }
    sink_job_free(s, job);
}

static void on_ventilator_heartbeat(struct sink *s, struct peer *p,
                                    const struct dtqi_ventilator_heartbeat *h)
{
    if (h->session == p->session)
        note_clock(s, p, h->wall_ms);
}

void sink_peer_message(struct sink *s, uint32_t peer, const struct dtqi_msg *msg)
{
    struct peer *p = &s->peers[peer];

    assert(peer < s->cfg.peers);
    p->heard_ms = s->now_ms;
    if (msg->type == DTQI_WELCOME) {
        on_welcome(s, p, &msg->welcome);
        return;
    }
    if (msg->type == DTQI_REFUSED) {
        on_refused(s, p, &msg->refused);
        return;
    }
    if (!p->is_welcome)
        return; /* of a session that is over; the next one begins with WELCOME */
    if (msg->type == DTQI_UNKNOWN_SESSION)
        on_unknown_session(s, p, &msg->unknown_session);
    else if (msg->type == DTQI_VENTILATOR_HEARTBEAT)
        on_ventilator_heartbeat(s, p, &msg->ventilator_heartbeat);
    else if (msg->type == DTQI_RESUME)
        on_resume(s, p, &msg->resume);
    else if (msg->type == DTQI_SETTLED_ACK)
        on_settled_ack(s, p, &msg->settled_ack);
    else if (msg->type == DTQI_CLAIM)
        on_claim(s, p, msg);
    else
        s->counters.unexpected++;
}

/* ---------------------------------------------------------------- time */

static void heartbeat(struct sink *s, struct peer *p)
{
    p->heartbeat_at_ms = s->now_ms + p->heartbeat_ms;
    send_heartbeat(s, p);
    if (!p->is_streaming)
        return;
    /* Something is not acknowledged, and nothing more came for an interval: was it lost? */
    if (p->sent > p->acked && p->sent > p->resumed && p->sent == p->sent_at_heartbeat)
        send_position(s, p);
    p->sent_at_heartbeat = p->sent;
    read_on(s, p);
}

void sink_peer_connected(struct sink *s, uint32_t peer)
{
    struct peer *p = &s->peers[peer];

    assert(peer < s->cfg.peers);
    p->heartbeat_at_ms =
        s->now_ms; /* on a new connection the ventilator knows no session: it says so */
    if (p->is_welcome)
        return;
    p->hellos = 0;
    p->hello_wait_ms = HELLO_MS_MIN;
    p->hello_at_ms = s->now_ms;
}

static void tick(struct sink *s, struct peer *p)
{
    if (p->is_welcome && s->now_ms - p->heard_ms >= silence_ms(p))
        lose_session(s, p, "the ventilator is silent");
    if (p->is_welcome && !p->has_resumed && s->now_ms >= p->resume_by_ms)
        lose_session(s, p, "the ventilator did not ask for settlements");
    if (p->is_welcome && s->now_ms >= p->heartbeat_at_ms)
        heartbeat(s, p);
    if (!p->is_welcome && s->now_ms >= p->hello_at_ms)
        say_hello(s, p);
}

/* The time in which this process did not run is not the ventilator's silence (R13). */
static void forgive_stall(struct sink *s)
{
    uint64_t late_ms = s->now_ms > s->tick_due_ms ? s->now_ms - s->tick_due_ms : 0;

    for (uint32_t i = 0; i < s->cfg.peers; i++)
        if (s->peers[i].is_welcome && late_ms > s->peers[i].heartbeat_ms / 2)
            s->peers[i].heard_ms = sink_min(s->peers[i].heard_ms + late_ms, s->now_ms);
}

void sink_peers_tick(struct sink *s)
{
    forgive_stall(s);
    for (uint32_t i = 0; i < s->cfg.peers && !s->is_stopping; i++)
        tick(s, &s->peers[i]);
    s->tick_due_ms = sink_peers_deadline_ms(s);
}

uint64_t sink_peers_deadline_ms(const struct sink *s)
{
    uint64_t at_ms = UINT64_MAX;

    for (uint32_t i = 0; i < s->cfg.peers && !s->is_stopping; i++) {
        const struct peer *p = &s->peers[i];

        if (p->is_welcome)
            at_ms = sink_min(at_ms, sink_min(p->heartbeat_at_ms, p->heard_ms + silence_ms(p)));
        else
            at_ms = sink_min(at_ms, p->hello_at_ms);
        if (p->has_ack && s->under_way == NULL)
            at_ms = sink_min(at_ms, p->ack_at_ms);
    }
    return at_ms;
}

void sink_peers_heartbeat_now(struct sink *s)
{
    for (uint32_t i = 0; i < s->cfg.peers; i++)
        if (s->peers[i].is_welcome)
            send_heartbeat(s, &s->peers[i]);
}

void sink_peers_bye(struct sink *s)
{
    for (uint32_t i = 0; i < s->cfg.peers; i++) {
        struct sink_action *act;

        if (!s->peers[i].is_welcome)
            continue;
        act = send(s, &s->peers[i], DTQI_BYE);
        if (act != NULL)
            act->msg.bye.session = s->peers[i].session;
        s->peers[i].is_welcome = false;
    }
}
