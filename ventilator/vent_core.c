#include "vent_internal.h"

#include <stdio.h>

#define SCRATCH_KEPT_BYTES ((size_t)1024 * 1024)
#define SCRATCH_FIRST_BYTES ((size_t)64 * 1024)
#define SCRATCH_BYTES_MAX (1024ull * 1024 * 1024)

void vent_cfg_default(struct vent_cfg *cfg)
{
    *cfg = (struct vent_cfg){
        .seed = 1,
        .heartbeat_ms = DTQI_HEARTBEAT_MS,
        .liveness = DTQI_LIVENESS,
        .grace_ms = DTQI_GRACE_MS,
        .grace_begun_ms = DTQI_GRACE_BEGUN_MS,
        .lane_stall_ms = DTQI_LANE_STALL_MS,
        .settle_overdue_ms = DTQI_SETTLE_OVERDUE_MS,
        .settle_overdue_ms_max = DTQI_SETTLE_OVERDUE_MS_MAX,
        .reroute_ms = DTQI_REROUTE_MS,
        .dedupe_window_ms = DTQI_DEDUPE_WINDOW_MS,
        .clock_ahead_ms = DTQI_CLOCK_AHEAD_MS,
        .outcome_fence_ms = DTQI_OUTCOME_FENCE_MS,
        .outcome_slack_ms = DTQI_OUTCOME_SLACK_MS,
        .hold_ms_min = 20,
        .hold_ms_max = 150,
        .hold_ms_start = 50,
        .journal_retry_ms = 1000,
        .task_bytes_max = DTQI_TASK_BYTES_MAX,
        .result_bytes_max = DTQI_RESULT_BYTES_MAX,
        .crash_limit = DTQI_CRASH_LIMIT,
        .batch_entries_max = DTQI_BATCH_ENTRIES_MAX,
        .batch_bytes_max = DTQI_BATCH_BYTES_MAX,
        .journal_ops_max = 16384,
        .settle_window = DTQI_SETTLE_WINDOW,
        .backlog_bytes_max = 1ull << 40,
        .resident_bytes_max = DTQI_RESIDENT_BYTES_MAX,
        .resident_tasks_max = 1u << 20,
        .load_tasks = 8192,
        .load_bytes = 8u * 1024 * 1024,
        .queues_max = DTQI_QUEUES_MAX,
        .groups_max = DTQI_GROUPS_MAX,
        .producers_max = DTQI_PRODUCERS_MAX,
        .workers_max = DTQI_WORKERS_MAX,
        .proposals_max = DTQI_PROPOSALS_MAX,
        .submits_max = 65536,
        .claims_max = 1024,
        .queries_max = 64,
        .keys_max = DTQI_KEYS_MAX,
        .crons_max = DTQI_CRONS_MAX,
        .cron_bytes_max = DTQI_CRON_ALL_BYTES_MAX,
        .dead_ttl_ms = DTQI_DEAD_TTL_MS,
        .history_ttl_ms = DTQI_HISTORY_TTL_MS,
    };
}

/* ---------------------------------------------------------------- actions */

void vent_actions_reset(struct vent_actions *actions)
{
    struct dtqi_buf *b = actions->scratch;

    actions->n = 0;
    if (b == NULL || b->chunks == NULL)
        return;
    if (b->chunks->next == NULL && b->chunks->size <= SCRATCH_KEPT_BYTES) {
        dtqi_buf_reset(b);
        return;
    }
    dtqi_buf_unref(b);
    actions->scratch = NULL;
}

void vent_actions_done(struct vent_actions *actions)
{
    dtqi_buf_unref(actions->scratch);
    free(actions->at);
    *actions = (struct vent_actions){0};
}

bool vent_grow(void *array, uint32_t n, uint32_t *room, size_t bytes)
{
    void *at;
    void *grown;
    uint32_t more = dtqi_more_room(*room, 16);

    if (n < *room)
        return true;
    memcpy(&at, array, sizeof at);
    grown = realloc(at, (size_t)more * bytes);
    if (grown == NULL)
        return false;
    memcpy(array, &grown, sizeof grown);
    *room = more;
    return true;
}

struct vent_action *vent_act(struct vent *v, enum vent_action_type type)
{
    struct vent_actions *out = v->out;
    struct vent_action *a;

    if (!vent_grow(&out->at, out->n, &out->room, sizeof *out->at)) {
        v->counters.messages_dropped++;
        return NULL;
    }
    a = &out->at[out->n++];
    *a = (struct vent_action){.type = type};
    return a;
}

void *vent_scratch(struct vent *v, size_t n, size_t bytes)
{
    struct vent_actions *out = v->out;
    void *at = NULL;

    if (out->scratch == NULL)
        out->scratch = dtqi_buf_new(SCRATCH_FIRST_BYTES, SCRATCH_BYTES_MAX);
    if (out->scratch != NULL && n <= SCRATCH_BYTES_MAX / bytes)
        at = dtqi_buf_alloc(out->scratch, n != 0 ? n * bytes : 1);
    if (at == NULL)
        v->counters.messages_dropped++;
    return at;
}

struct dtqi_msg *vent_send(struct vent *v, uint32_t route, enum dtqi_msg_type type)
{
    struct vent_action *a = vent_act(v, VENT_SEND);

    if (a == NULL)
        return NULL;
    a->route = route;
    a->msg.type = type;
    return &a->msg;
}

void vent_fatal(struct vent *v, const char *text)
{
    struct vent_action *a;

    if (v->fatal)
        return;
    v->fatal = true;
    a = vent_act(v, VENT_FATAL);
    if (a != NULL)
        a->text = dtqi_str(text);
}

static struct dtqi_str number_text(struct vent *v, uint64_t number)
{
    char *at = vent_scratch(v, 1, 24);

    if (at == NULL)
        return dtqi_str("");
    return (struct dtqi_str){at, (uint32_t)snprintf(at, 24, "%llu", (unsigned long long)number)};
}

/* An id as everywhere else: 8-4-4-4-12 digits. */
static struct dtqi_str id_text(struct vent *v, const uint8_t *id)
{
    static const char digits[] = "0123456789abcdef";
    char *at = vent_scratch(v, 1, 40);
    uint32_t n = 0;

    for (uint32_t i = 0; at != NULL && i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            at[n++] = '-';
        at[n++] = digits[id[i] >> 4];
        at[n++] = digits[id[i] & 15];
    }
    return (struct dtqi_str){at, n};
}

struct dtqi_str vent_copy_str(struct vent *v, struct dtqi_str text)
{
    char *at = vent_scratch(v, text.len, 1);

    if (at == NULL || text.len == 0)
        return (struct dtqi_str){at, 0};
    memcpy(at, text.at, text.len);
    return (struct dtqi_str){at, text.len};
}

static struct dtqi_str value_text(struct vent *v, const struct log_value *value)
{
    switch (value->kind) {
    case LOG_STR: return vent_copy_str(v, value->str);
    case LOG_TEXT: return dtqi_str(value->text);
    case LOG_U64: return number_text(v, value->number);
    case LOG_ID: return id_text(v, value->id);
    }
    return dtqi_str("");
}

void vent_log(struct vent *v, enum vent_level level, const char *event,
              const struct log_value *values, uint32_t values_n)
{
    struct vent_action *a = vent_act(v, VENT_LOG);
    struct vent_log *log;

    if (a == NULL)
        return;
    assert(values_n <= VENT_LOG_PAIRS_MAX);
    log = &a->log;
    *log = (struct vent_log){.level = level, .event = event, .pairs_n = values_n};
    for (uint32_t i = 0; i < values_n; i++)
        log->pairs[i] = (struct vent_log_pair){values[i].key, value_text(v, &values[i])};
}

uint64_t vent_random(struct vent *v, uint64_t bound)
{
    uint64_t x = dtqi_mix64(v->random += 0x9e3779b97f4a7c15ull);

    return bound == UINT64_MAX ? x : x % (bound + 1);
}

/* ---------------------------------------------------------------- life */

static bool is_cfg_sound(const struct vent_cfg *c)
{
    return c->spec_decode != NULL && c->spec_encode != NULL && c->heartbeat_ms > 0 &&
           c->liveness > 0 && c->batch_entries_max > 0 &&
           c->batch_entries_max <= DTQI_BATCH_ENTRIES_MAX && c->batch_bytes_max > 0 &&
           c->journal_ops_max >= 8 && c->resident_tasks_max >= 16 &&
           c->resident_tasks_max < (1u << TASK_INDEX_BITS) && c->load_tasks > 0 &&
           c->load_bytes > 0 && c->workers_max > 0 && c->workers_max < 65536 &&
           c->producers_max > 0 && c->submits_max > 0 && c->settle_window > 0 &&
           c->queues_max > 0 && c->hold_ms_min <= c->hold_ms_max;
}

dtq_err vent_new(const struct vent_cfg *cfg, const struct journal_start *start, uint64_t now_ms,
                 uint64_t wall_ms, struct vent **ret_vent)
{
    struct vent *v;
    dtq_err err;

    if (!is_cfg_sound(cfg))
        return DTQ_EINVAL;
    v = calloc(1, sizeof *v);
    if (v == NULL)
        return DTQ_ENOMEM;
    v->cfg = *cfg;
    v->random = cfg->seed;
    v->store = start->store;
    v->epoch = start->epoch;
    v->past_n = start->past_n;
    v->seq = v->seq_start = start->seq_next;
    v->now_ms = v->start_ms = v->deadline_ms = now_ms;
    v->wall_ms = v->host_wall_ms = wall_ms;
    vent_moves_init(v);
    err = vent_sinks_init(v, start);
    if (err == DTQ_OK)
        err = vent_tasks_init(v);
    if (err == DTQ_OK)
        err = vent_time_init(v);
    if (err == DTQ_OK)
        err = vent_queues_init(v, start);
    if (err == DTQ_OK)
        err = vent_peers_init(v);
    if (err == DTQ_OK)
        err = vent_workers_init(v, start);
    if (err == DTQ_OK)
        err = vent_journal_init(v);
    if (err == DTQ_OK)
        err = vent_keys_init(v, start);
    if (err == DTQ_OK)
        err = vent_crons_init(v, start);
    if (err != DTQ_OK) {
        vent_free(v);
        return err;
    }
    *ret_vent = v;
    return DTQ_OK;
}

void vent_free(struct vent *v)
{
    if (v == NULL)
        return;
    vent_waits_done(v);
    vent_workers_done(v); /* their pages keep reads */
    vent_journal_done(v);
    vent_dead_done(v);
    vent_moves_done(v);
    vent_crons_done(v);
    free(v->removals);
    free(v->key_buckets);
    vent_peers_done(v);
    vent_queues_done(v);
    vent_tasks_done(v);
    free(v);
}

const struct vent_counters *vent_counters(const struct vent *v)
{
    return &v->counters;
}

uint64_t vent_deadline_ms(const struct vent *v)
{
    return v->deadline_ms;
}

/* ---------------------------------------------------------------- the step */

static void on_worker_msg(struct vent *v, struct peer *p, const struct dtqi_msg *msg,
                          uint64_t session)
{
    struct worker *w = vent_worker_of_session(v, session);

    if (w == NULL || w->route != p->route) { /* R3, R8 */
        v->counters.messages_foreign++;
        vent_unknown_session(v, p->route, session);
        return;
    }
    vent_worker_heard(v, w);
    switch (msg->type) {
    case DTQI_WORKER_HEARTBEAT: vent_on_worker_heartbeat(v, w, &msg->worker_heartbeat); break;
    case DTQI_REPORT: vent_on_report(v, w, &msg->report); break;
    case DTQI_HOLDINGS: vent_on_holdings(v, w, msg); break;
    case DTQI_BYE: vent_on_worker_bye(v, w); break;
    default: v->counters.messages_foreign++; break;
    }
}

/* The session that a message of a worker names. */
static uint64_t worker_session(const struct dtqi_msg *msg)
{
    switch (msg->type) {
    case DTQI_WORKER_HEARTBEAT: return msg->worker_heartbeat.session;
    case DTQI_REPORT: return msg->report.session;
    case DTQI_HOLDINGS: return msg->holdings.session;
    case DTQI_BYE: return msg->bye.session;
    default: return 0;
    }
}

/* What needs no session but a HELLO: producers, and tools that behave like one. */
static void on_producer_msg(struct vent *v, struct peer *p, const struct dtqi_msg *msg)
{
    vent_producer_heard(v, p);
    switch (msg->type) {
    case DTQI_SUBMIT: vent_on_submit(v, p, msg); break;
    case DTQI_CANCEL: vent_on_cancel(v, p->route, msg); break;
    case DTQI_QUERY: vent_on_query(v, p->route, &msg->query); break;
    case DTQI_OPERATE: vent_on_operate(v, p->route, &msg->operate); break;
    case DTQI_BYE: vent_peer_free(v, p); break;
    default: v->counters.messages_foreign++; break;
    }
}

static void on_msg(struct vent *v, uint32_t route, const struct dtqi_msg *msg)
{
    struct peer *p;

    if (msg->type == DTQI_HELLO) {
        vent_on_hello(v, route, &msg->hello);
        return;
    }
    p = vent_peer_find(v, route);
    if (p == NULL) { /* R3 */
        v->counters.messages_foreign++;
        vent_unknown_session(v, route, worker_session(msg));
        return;
    }
    switch ((enum dtqi_role)p->role) {
    case DTQI_ROLE_WORKER: on_worker_msg(v, p, msg, worker_session(msg)); break;
    case DTQI_ROLE_SINK: vent_on_sink_msg(v, &v->sinks[p->index], msg); break;
    case DTQI_ROLE_PRODUCER: on_producer_msg(v, p, msg); break;
    case DTQI_ROLE_NONE: break;
    }
}

/* Tasks that no put could write while there is room on the disk for nothing new. Nobody was told
 * that they are accepted, so a stop does not wait for room: their producers send them again. */
static bool is_given_up(const struct vent *v)
{
    return v->no_space && v->flight == NULL && (v->fresh.n != 0 || v->write.n != 0);
}

/* Warm stop: everything is in the journal, nothing is under way. */
static void stop_tick(struct vent *v)
{
    if (!v->stopping || v->stopped || v->flight != NULL || v->dirty.n != 0 || v->deletes.n != 0 ||
        v->dead_dels_n != 0 || v->cron_changed != NULL || v->lazy_ms != 0)
        return;
    if (is_given_up(v))
        VENT_LOG(v, VENT_WARN, "unwritten_given_up", L_U64("tasks", v->fresh.n + v->write.n));
    else if (v->fresh.n != 0 || v->write.n != 0)
        return;
    v->stopped = true;
    vent_act(v, VENT_STOPPED);
}

/* The order matters: what came in is settled and released before it is dispatched, and the journal
 * sees what is left. */
static void on_tick(struct vent *v)
{
    v->deadline_ms = NEVER;
    vent_sinks_connect(v);
    vent_pages_tick(v);
    vent_sinks_tick(v);
    vent_removals_tick(v);
    vent_workers_tick(v);
    vent_release_held(v);
    vent_time_tick(v);
    vent_claims_tick(v);
    vent_dead_tick(v);
    vent_dying_tick(v);
    vent_moves_tick(v);
    vent_keys_tick(v);
    vent_notes_tick(v);
    vent_crons_tick(v);
    vent_dispatch_tick(v);
    vent_touched_tick(v);
    vent_proposals_tick(v);
    vent_window_tick(v);
    vent_purges_tick(v);
    vent_waits_tick(v);
    vent_journal_tick(v);
    vent_tell_sinks(v);
    stop_tick(v);
}

/* R13: while the loop was late it heard nobody, so that is nobody's silence. When it stopped is not
 * known: at the earliest after the last step. */
static void note_stall(struct vent *v, uint64_t last_ms)
{
    if (v->deadline_ms == NEVER || v->now_ms <= v->deadline_ms)
        return;
    if (v->now_ms - v->deadline_ms > v->cfg.heartbeat_ms / 2)
        v->stall_ms += v->now_ms - last_ms;
}

static void on_stop(struct vent *v)
{
    if (!v->stopping)
        VENT_LOG(v, VENT_INFO, "stopping", L_U64("unwritten", v->fresh.n + v->write.n));
    v->stopping = true;
}

void vent_step(struct vent *v, const struct vent_event *event, struct vent_actions *actions)
{
    uint64_t last_ms = v->now_ms;

    if (v->fatal)
        return;
    v->out = actions;
    if (event->now_ms > v->now_ms)
        v->now_ms = event->now_ms;
    v->wall_ms = event->wall_ms;
    v->host_wall_ms = event->host_wall_ms;
    v->shown_ahead_ms = steady_shown_ahead_ms(v->shown_ahead_ms, v->wall_ms, v->host_wall_ms);
    note_stall(v, last_ms);
    v->deadline_ms = v->now_ms;
    switch (event->type) {
    case VENT_EV_TICK: on_tick(v); break;
    case VENT_EV_MSG: on_msg(v, event->msg.route, event->msg.msg); break;
    case VENT_EV_ROUTE_GONE: vent_on_route_gone(v, event->route); break;
    case VENT_EV_LANE_OPENED:
        vent_on_lane_opened(v, event->lane.session, event->lane.endpoint);
        break;
    case VENT_EV_LANE_FAILED: vent_on_lane_failed(v, event->lane.session); break;
    case VENT_EV_LANE_BROKEN: vent_on_lane_broken(v, event->lane.session); break;
    case VENT_EV_SINK_BLOCKED: vent_on_sink_blocked(v, event->sink); break;
    case VENT_EV_SINK_CONNECTED: vent_on_sink_connected(v, event->sink); break;
    case VENT_EV_JOURNAL_WRITTEN: vent_on_written(v, event->batch); break;
    case VENT_EV_JOURNAL_READ_DONE: vent_on_read_done(v, event->read); break;
    case VENT_EV_STOP: on_stop(v); break;
    }
    v->out = NULL;
}
