#include "worker_internal.h"

#define HELLO_WAIT_MS_MIN 100u
#define HELLO_WAIT_MS_MAX 1000u
#define SILENCE_MS 2500u /* HELLO is not answered: told in the log */
#define HEARTBEAT_MS_MIN 10u
#define HEARTBEAT_MS_MAX 60000u
#define LIVENESS_MAX 100u
#define VERDICTS_MS \
    30000u /* a journal may be slow, and a claim; a verdict that takes longer is lost */

/* ---------------------------------------------------------------- without a session */

void wk_session_init(struct worker *w)
{
    struct session *s = &w->session;

    s->origin = NONE;
    s->heartbeat_ms = DTQI_HEARTBEAT_MS;
    s->liveness_ms = (uint64_t)DTQI_LIVENESS * DTQI_HEARTBEAT_MS;
    s->outcome_fence_ms = DTQI_OUTCOME_FENCE_MS;
    s->result_bytes_max = w->cfg.result_bytes_max;
    s->hello_wait_ms = HELLO_WAIT_MS_MIN;
    s->reconnect_ms = UINT64_MAX;
    s->silent_ms = UINT64_MAX;
}

static void lane_close(struct worker *w)
{
    if (w->session.lane == 0 || wk_act(w, WORKER_ACT_LANE_CLOSE) == NULL)
        return;
    w->session.lane = 0;
}

/* What the last session's ventilator knew of an end, the next one learns from HOLDINGS. */
static void clear_listing(struct worker *w)
{
    for (uint32_t i = 0; i < w->entries_n; i++)
        w->entries[i].flags &= (uint16_t) ~(ENTRY_LISTED | ENTRY_TOLD);
    w->session.listed = 0;
    w->session.list_due = false;
}

static void hello_soon(struct worker *w)
{
    struct session *s = &w->session;
    uint64_t at = s->hello_last_ms + HELLO_WAIT_MS_MIN;

    s->hello_ms = at > w->now_ms ? at : w->now_ms;
    s->hello_wait_ms = HELLO_WAIT_MS_MIN;
}

void wk_session_lost(struct worker *w, const char *why)
{
    struct session *s = &w->session;
    struct entry *e;

    if (s->id == 0)
        return;
    wk_log(w, WORKER_LOG_WARN, "session_lost", "session=%llu why=\"%s\" held=%u",
           (unsigned long long)s->id, why, w->held);
    lane_close(w); /* R8: before HELLO */
    s->previous = s->id;
    s->id = 0;
    s->lost_ms = w->now_ms;
    clear_listing(w);
    wk_report_clear(w);
    w->recall = 0;
    w->stops_ahead_n = 0;
    wk_slots_take_back(w);
    while ((e = entry_at(w, w->inbox.head)) != NULL) {
        list_remove(w, &w->inbox, e);
        wk_entry_wait(w, e, false);
    }
    hello_soon(w);
    s->reconnect_ms = w->now_ms + s->liveness_ms;
}

/* A connection may be dead without saying so, and one that once met a wrong peer stays dead. */
static void reconnect(struct worker *w)
{
    struct session *s = &w->session;

    if (wk_act(w, WORKER_ACT_CONTROL_RECONNECT) == NULL)
        return;
    s->reconnect_ms = w->now_ms + s->liveness_ms;
}

static void say_hello(struct worker *w)
{
    struct session *s = &w->session;
    struct dtqi_msg *msg;

    lane_close(w);
    msg = w->session.lane == 0 ? wk_send(w, DTQI_HELLO) : NULL;
    s->hello_last_ms = w->now_ms;
    s->hello_ms = w->now_ms + s->hello_wait_ms - wk_random_below(w, s->hello_wait_ms / 4);
    s->hello_wait_ms *= 2;
    if (s->hello_wait_ms > HELLO_WAIT_MS_MAX)
        s->hello_wait_ms = HELLO_WAIT_MS_MAX;
    if (s->reconnect_ms == UINT64_MAX)
        s->reconnect_ms = w->now_ms + s->liveness_ms;
    if (s->silent_ms == UINT64_MAX)
        s->silent_ms = w->now_ms;
    if (msg == NULL)
        return;
    s->hello_holdings = w->held;
    msg->hello = (struct dtqi_hello){
        .version_min = DTQI_PROTOCOL_VERSION,
        .version_max = DTQI_PROTOCOL_VERSION,
        .role = DTQI_ROLE_WORKER,
        .instance = w->cfg.instance,
        .name = w->cfg.name,
        .program = w->cfg.program,
        .queues = w->cfg.queues,
        .queues_n = w->cfg.queues_n,
        .queue_weights = w->cfg.queue_weights,
        .queues_strict = w->cfg.queues_strict,
        .slots = w->cfg.slots,
        .previous_session = s->previous,
        .holdings = w->held,
        .result_max_bytes = w->cfg.result_bytes_max,
    };
}

/* Once, until it answers. */
static void tell_silence(struct worker *w)
{
    struct session *s = &w->session;

    if (s->silent_ms == UINT64_MAX || s->silence_told)
        return;
    if (w->now_ms < s->silent_ms + SILENCE_MS) {
        due(w, s->silent_ms + SILENCE_MS);
        return;
    }
    s->silence_told = true;
    wk_log(w, WORKER_LOG_WARN, "ventilator_silent", "endpoint=\"%.*s\"", (int)w->cfg.ventilator.len,
           w->cfg.ventilator.at);
}

static void it_answers(struct session *s)
{
    s->silent_ms = UINT64_MAX;
    s->silence_told = false;
}

static void hello_tick(struct worker *w)
{
    struct session *s = &w->session;

    if (!w->ready_once || w->stop == STOP_COLD)
        return; /* a worker that could not run a task does not join */
    if (s->previous != 0 && w->now_ms >= s->lost_ms + s->outcome_fence_ms)
        s->outcomes_fenced = true; /* R14 */
    if (w->now_ms >= s->reconnect_ms)
        reconnect(w);
    if (w->now_ms >= s->hello_ms)
        say_hello(w);
    tell_silence(w);
    due(w, s->hello_ms);
    due(w, s->reconnect_ms);
}

void wk_on_control_connected(struct worker *w)
{
    struct session *s = &w->session;

    s->beat_now = true; /* a new connection is a new route: the ventilator answers */
    s->beat_echoed = s->beat;
    if (s->id == 0) {
        s->hello_ms = w->now_ms;
        s->hello_wait_ms = HELLO_WAIT_MS_MIN;
    }
}

/* ---------------------------------------------------------------- WELCOME, REFUSED */

static bool is_newer(const struct worker *w, const struct dtqi_welcome *m)
{
    const struct session *s = &w->session;
    const struct origin *o;

    if (s->id == 0)
        return true;
    o = &w->origins[s->origin];
    if (!dtqi_uid_eq(&m->store, &o->store))
        return false;
    return m->epoch > o->epoch || (m->epoch == o->epoch && m->session > s->id);
}

/* R35: another ventilator answers at this endpoint. What has not started is its old one's business
 * again, which will not find it in any holdings. */
static void forget_old_ventilator(struct worker *w)
{
    for (uint32_t i = 0; i < w->entries_n; i++) {
        struct entry *e = &w->entries[i];
        bool idle = e->state == ENTRY_LIMBO || e->state == ENTRY_FAILED;

        if (idle && wk_entry_is_foreign(w, e))
            wk_entry_discard(w, e);
    }
    wk_results_orphan(w);
    wk_entries_recount(w);
}

/* From now on attempts come from this store and epoch. false: no memory. */
static bool set_origin(struct worker *w, const struct dtqi_welcome *m)
{
    struct session *s = &w->session;
    uint32_t old = s->origin;
    uint32_t origin = wk_origin_hold(w, &m->store, m->epoch);
    bool other;

    if (origin == NONE)
        return false;
    other = old != NONE && !dtqi_uid_eq(&w->origins[old].store, &m->store);
    s->origin = origin;
    wk_origin_heard(w, &m->store, m->wall_ms);
    if (other)
        forget_old_ventilator(w);
    if (old != NONE)
        wk_origin_drop(w, old);
    return true;
}

static uint64_t within(uint64_t value, uint64_t otherwise, uint64_t min, uint64_t max)
{
    if (value == 0)
        return otherwise;
    return value < min ? min : value > max ? max : value;
}

static void set_times(struct session *s, const struct dtqi_welcome *m)
{
    s->heartbeat_ms =
        within(m->heartbeat_ms, DTQI_HEARTBEAT_MS, HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX);
    s->liveness_ms = s->heartbeat_ms * within(m->liveness, DTQI_LIVENESS, 2, LIVENESS_MAX);
    s->outcome_fence_ms =
        within(m->outcome_fence_ms, DTQI_OUTCOME_FENCE_MS, s->liveness_ms, UINT64_MAX / 4);
}

static void lane_open(struct worker *w, struct dtqi_str endpoint)
{
    char *copy = wk_scratch(w, endpoint.len, 1);
    struct worker_action *a = copy != NULL ? wk_act(w, WORKER_ACT_LANE_OPEN) : NULL;

    if (a == NULL)
        return; /* V sees no progress on the lane (R18) */
    memcpy(copy, endpoint.at, endpoint.len);
    if (++w->session.lanes == 0)
        w->session.lanes = 1;
    w->session.lane = w->session.lanes;
    w->session.lane_seq = 0;
    a->lane.number = w->session.lane;
    a->lane.endpoint = (struct dtqi_str){copy, endpoint.len};
}

static void on_welcome(struct worker *w, const struct dtqi_welcome *m)
{
    struct session *s = &w->session;
    bool announced;

    if (m->session == 0 || m->version != DTQI_PROTOCOL_VERSION || m->lane.len == 0 ||
        !w->ready_once || !is_newer(w, m)) {
        w->stats.foreign_msgs++;
        return;
    }
    announced = s->hello_holdings != 0 || w->held == 0;
    if (s->id != 0)
        wk_session_lost(w, "a newer one was opened");
    if (!announced) { /* V was told that nothing is held, before this was received */
        hello_soon(w);
        return;
    }
    if (!set_origin(w, m))
        return; /* no memory: HELLO comes again */
    set_times(s, m);
    it_answers(s);
    s->id = m->session;
    s->list_due = s->hello_holdings != 0;
    s->report_seq = 0;
    s->beat = s->beat_echoed = 0;
    s->beat_now = true;
    s->echo_ms = w->now_ms;
    s->reconnect_ms = UINT64_MAX;
    s->result_bytes_max = m->result_bytes_max != 0 && m->result_bytes_max < w->cfg.result_bytes_max
                              ? m->result_bytes_max
                              : w->cfg.result_bytes_max;
    wk_credit_new_session(w);
    wk_sinks_update(w, m->sinks, m->sinks_n, &m->removed);
    if (s->id == 0)
        return;
    lane_open(w, m->lane);
    w->stats.sessions++;
    wk_log(w, WORKER_LOG_INFO, "session_open", "session=%llu sinks=%u held=%u",
           (unsigned long long)s->id, m->sinks_n, w->held);
}

static void on_refused(struct worker *w, const struct dtqi_refused *m)
{
    struct dtqi_str text = m->text;

    if (w->session.id != 0)
        return;
    it_answers(&w->session);
    if (text.len == 0)
        text = dtqi_str("the ventilator refused this worker");
    if (m->reason == DTQI_BAD_VERSION || m->reason == DTQI_BAD_PEER) {
        wk_exit(w, 1, text);
        return;
    }
    w->session.hello_wait_ms = HELLO_WAIT_MS_MAX;
    wk_log(w, WORKER_LOG_WARN, "refused", "reason=%d text=\"%.*s\"", (int)m->reason,
           (int)(text.len < 200 ? text.len : 200), text.at);
}

/* ---------------------------------------------------------------- heartbeats */

static bool is_idle(const struct worker *w)
{
    return w->held == 0 && w->count[ENTRY_FED] == 0;
}

/* The ventilator answered a heartbeat that said "nothing held", has nothing, and sent nothing that
 * is still under way. */
static void leave_after_burst(struct worker *w, const struct dtqi_ventilator_heartbeat *m)
{
    const struct session *s = &w->session;

    if (!w->cfg.burst || !session_is_open(w))
        return;
    if (s->beat_idle && is_idle(w) && m->echo == s->beat && m->backlog == 0 &&
        m->lane_seq == s->lane_seq)
        wk_stop(w, false);
}

static void on_heartbeat(struct worker *w, const struct dtqi_ventilator_heartbeat *m)
{
    struct session *s = &w->session;

    if (m->wall_ms != 0)
        wk_origin_heard(w, &w->origins[s->origin].store, m->wall_ms);
    if (m->echo == 0 || m->echo > s->beat)
        return;
    if (m->echo + 1 >= s->beat && m->report_seq < s->beat_report_seq[m->echo & 1]) {
        wk_session_lost(w, "a report was lost"); /* it went out before the heartbeat */
        return;
    }
    if (m->echo + 1 >= s->beat) {
        s->echo_ms = s->beat_sent_ms[m->echo & 1]; /* not later than V heard from us (R14) */
        if (m->echo > s->beat_echoed)
            s->beat_echoed = m->echo;
    }
    leave_after_burst(w, m);
}

static void beat_running(struct worker *w, struct dtqi_worker_heartbeat *m)
{
    dtq_id *ids = wk_scratch(w, w->cfg.slots, sizeof *ids);

    for (uint32_t i = 0; ids != NULL && i < w->cfg.slots; i++) {
        const struct entry *e = entry_at(w, w->slots[i].fed.head);

        if (e != NULL && (e->flags & (ENTRY_HELD | ENTRY_STALE)) == ENTRY_HELD)
            ids[m->running_n++] = e->id;
    }
    m->running_ids = ids;
}

static void beat_sinks(struct worker *w, struct dtqi_worker_heartbeat *m)
{
    dtqi_uid *stores = wk_scratch(w, DTQI_SINKS_MAX, sizeof *stores);

    for (uint32_t i = 0; stores != NULL && i < DTQI_SINKS_MAX; i++) {
        struct sink *s = &w->sinks[i];

        s->told_unreachable = wk_sink_is_unreachable(w, s);
        if (s->used && s->listed && s->told_unreachable)
            stores[m->unreachable_n++] = s->store;
    }
    m->unreachable_sinks = stores;
}

static void say_beat(struct worker *w)
{
    struct session *s = &w->session;
    struct dtqi_worker_heartbeat m = {.session = s->id, .sequence = s->beat + 1};
    struct dtqi_msg *msg;

    beat_running(w, &m);
    beat_sinks(w, &m);
    m.lane_seq = s->lane_seq;
    m.report_seq = s->report_seq;
    wk_credit_told(w, &m.credit_tasks, &m.credit_bytes);
    m.held = w->held;
    m.held_sum = w->held_sum;
    msg = wk_send(w, DTQI_WORKER_HEARTBEAT);
    if (msg == NULL)
        return;
    msg->worker_heartbeat = m;
    s->beat = m.sequence;
    s->beat_sent_ms[s->beat & 1] = w->now_ms;
    s->beat_report_seq[s->beat & 1] = s->report_seq;
    s->beat_due_ms = w->now_ms + s->heartbeat_ms;
    s->beat_now = false;
    s->beat_idle = is_idle(w);
}

void wk_session_beat(struct worker *w)
{
    struct session *s = &w->session;

    if (!session_is_open(w))
        return;
    if (wk_sinks_changed(w) || (w->cfg.burst && is_idle(w) && !s->beat_idle))
        s->beat_now = true;
    if (s->beat - s->beat_echoed > 1)
        return; /* at most two unanswered (R12) */
    if ((!s->beat_now || s->beat_echoed != s->beat) && w->now_ms < s->beat_due_ms) {
        due(w, s->beat_due_ms);
        return;
    }
    wk_slots_name_started(w);
    wk_report(w, true);
    if (!session_is_open(w))
        return; /* it was lost, as there was no memory for the report */
    say_beat(w);
    if (s->beat - s->beat_echoed < 2)
        due(w, s->beat_due_ms);
}

static void check_verdicts(struct worker *w)
{
    struct session *s = &w->session;

    if (s->id == 0 || s->listed == 0)
        return;
    if (w->now_ms >= s->listed_ms + VERDICTS_MS)
        wk_session_lost(w, "no verdict came");
    else
        due(w, s->listed_ms + VERDICTS_MS);
}

void wk_session_tick(struct worker *w)
{
    struct session *s = &w->session;

    if (s->id != 0 && w->now_ms >= s->echo_ms + s->liveness_ms) {
        wk_session_lost(w, "silence"); /* R14 */
        reconnect(w);
    }
    check_verdicts(w);
    if (s->id == 0) {
        hello_tick(w);
        return;
    }
    due(w, s->echo_ms + s->liveness_ms);
    if (!s->list_due || w->taking_back != 0)
        return;
    s->list_due = false;
    s->listed_ms = w->now_ms;
    if (!wk_holdings_list(w, true))
        wk_session_lost(w, "no memory for the list of holdings");
    else if (s->listed == 0)
        s->outcomes_fenced = false;
    check_verdicts(w);
}

/* ---------------------------------------------------------------- control messages */

/* The session that a message of a session is of; 0: of none. */
static uint64_t session_of(const struct dtqi_msg *msg)
{
    switch (msg->type) {
    case DTQI_UNKNOWN_SESSION: return msg->unknown_session.session;
    case DTQI_VENTILATOR_HEARTBEAT: return msg->ventilator_heartbeat.session;
    case DTQI_FORGET: return msg->forget.session;
    case DTQI_RECALL: return msg->recall.session;
    case DTQI_RESEND: return msg->resend.session;
    case DTQI_STOP_ATTEMPTS: return msg->stop_attempts.session;
    case DTQI_HOLDINGS_WANTED: return msg->holdings_wanted.session;
    case DTQI_VERDICTS: return msg->verdicts.session;
    case DTQI_SINKS: return msg->sinks.session;
    default: return 0; /* of a type that is not for workers */
    }
}

static void on_session_msg(struct worker *w, const struct dtqi_msg *msg)
{
    switch (msg->type) {
    case DTQI_UNKNOWN_SESSION: wk_session_lost(w, "unknown to the ventilator"); break;
    case DTQI_VENTILATOR_HEARTBEAT: on_heartbeat(w, &msg->ventilator_heartbeat); break;
    case DTQI_FORGET: wk_on_forget(w, &msg->forget); break;
    case DTQI_RECALL: w->recall = msg->recall.count; break;
    case DTQI_RESEND: wk_on_resend(w, &msg->resend); break;
    case DTQI_STOP_ATTEMPTS: wk_on_stop_attempts(w, &msg->stop_attempts); break;
    case DTQI_HOLDINGS_WANTED: wk_on_holdings_wanted(w); break;
    case DTQI_VERDICTS: wk_on_verdicts(w, &msg->verdicts); break;
    case DTQI_SINKS:
        wk_sinks_update(w, msg->sinks.sinks, msg->sinks.sinks_n, &msg->sinks.removed);
        break;
    default: break; /* session_of() let none of these through */
    }
}

void wk_on_control_msg(struct worker *w, const struct dtqi_msg *msg)
{
    if (msg->type == DTQI_WELCOME) {
        on_welcome(w, &msg->welcome);
        return;
    }
    if (msg->type == DTQI_REFUSED) {
        on_refused(w, &msg->refused);
        return;
    }
    if (w->session.id == 0 || session_of(msg) != w->session.id) {
        w->stats.foreign_msgs++; /* R8 */
        return;
    }
    on_session_msg(w, msg);
}
