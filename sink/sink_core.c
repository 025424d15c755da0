#include "sink_core.h"

#include "sink_parts.h"

/* ---------------------------------------------------------------- configuration */

void sink_cfg_init(struct sink_cfg *cfg)
{
    *cfg = (struct sink_cfg){
        .ventilator = "",
        .name = "",
        .program = "",
        .intake = "",
        .results = "",
        .outcome_memory_ms = DTQI_OUTCOME_MEMORY_MS,
        .result_bytes_max = DTQI_RESULT_BYTES_MAX,
        .peers = 1,
        .batch_entries_max = 16384,
        .intake_bytes_max = 64ull * 1024 * 1024,
        .settle_window = DTQI_SETTLE_WINDOW,
        .waiters_max = 1024 * 1024,
        .routes_max = DTQI_PRODUCERS_MAX,
        .follows_max = 65536,
        .reads_max = 4096,
        .full_percent = 95,
    };
}

dtq_err sink_new(const struct sink_cfg *cfg, struct sink **ret_sink)
{
    struct sink *s = calloc(1, sizeof *s);

    assert(cfg->peers > 0);
    assert(cfg->peers <= SINK_PEERS_MAX);
    if (s == NULL)
        return DTQ_ENOMEM;
    s->cfg = *cfg;
    sink_peers_init(s);
    if (sink_routes_init(s) != DTQ_OK) {
        sink_free(s);
        return DTQ_ENOMEM;
    }
    *ret_sink = s;
    return DTQ_OK;
}

static void group_unprepare(struct group *g)
{
    free(g->proposals);
    free(g->ranges);
    free(g->stands);
    g->proposals = NULL;
    g->ranges = NULL;
    g->stands = NULL;
}

static void group_free(struct group *g)
{
    if (g == NULL)
        return;
    for (uint32_t i = 0; i < g->n; i++) {
        dtqi_buf_unref(g->items[i].buf);
        free(g->items[i].skip);
    }
    group_unprepare(g);
    free(g->items);
    free(g);
}

void sink_free(struct sink *s)
{
    struct group *g;

    if (s == NULL)
        return;
    while ((g = s->forming) != NULL) {
        s->forming = g->next;
        group_free(g);
    }
    group_free(s->under_way);
    group_free(s->failed);
    while (s->jobs != NULL)
        sink_job_free(s, s->jobs);
    sink_routes_done(s);
    free(s);
}

/* ---------------------------------------------------------------- actions */

void sink_actions_reset(struct sink_actions *a)
{
    for (uint32_t i = 0; i < a->held_n; i++)
        dtqi_buf_unref(a->held[i]);
    dtqi_buf_unref(a->scratch);
    a->scratch = NULL;
    a->held_n = 0;
    a->n = 0;
}

void sink_actions_done(struct sink_actions *a)
{
    sink_actions_reset(a);
    free(a->items);
    free(a->held);
    *a = (struct sink_actions){0};
}

static bool reserve_action(struct sink_actions *a)
{
    uint32_t size = dtqi_more_room(a->size, 64);
    struct sink_action *items;

    if (a->n < a->size)
        return true;
    items = realloc(a->items, size * sizeof *items);
    if (items == NULL)
        return false;
    a->items = items;
    a->size = size;
    return true;
}

struct sink_action *sink_act(struct sink *s, enum sink_action_type type)
{
    struct sink_action *act;

    if (!reserve_action(s->out)) {
        s->counters.no_memory++;
        return NULL;
    }
    act = &s->out->items[s->out->n++];
    *act = (struct sink_action){.type = type};
    return act;
}

void *sink_scratch(struct sink *s, size_t n, size_t bytes)
{
    void *at = NULL;

    if (s->out->scratch == NULL)
        s->out->scratch = dtqi_buf_new(4096, SIZE_MAX);
    if (s->out->scratch != NULL)
        at = dtqi_buf_alloc(s->out->scratch, n * bytes + 1);
    s->counters.no_memory += at == NULL;
    return at;
}

bool sink_hold_room(struct sink *s, uint32_t n)
{
    struct sink_actions *a = s->out;
    uint32_t size = a->held_size != 0 ? a->held_size : 64;
    struct dtqi_buf **held;

    if (n <= a->held_size - a->held_n)
        return true;
    while (n > size - a->held_n)
        size *= 2;
    held = realloc(a->held, size * sizeof(struct dtqi_buf *));
    if (held == NULL) {
        s->counters.no_memory++;
        return false;
    }
    a->held = held;
    a->held_size = size;
    return true;
}

void sink_hold(struct sink *s, struct dtqi_buf *buf)
{
    struct sink_actions *a = s->out;

    assert(a->held_n < a->held_size);
    if (buf != NULL)
        a->held[a->held_n++] = buf;
}

/* What a text points to may be gone when the line is written. */
static struct dtqi_str copy_text(struct sink *s, struct dtqi_str text)
{
    char *copy = text.at != NULL ? sink_scratch(s, text.len, 1) : NULL;

    if (copy == NULL)
        return (struct dtqi_str){text.at != NULL ? "" : NULL, 0};
    memcpy(copy, text.at, text.len);
    return (struct dtqi_str){copy, text.len};
}

void sink_log(struct sink *s, enum sink_level level, const char *event,
              const struct sink_log_pair *pairs, uint32_t pairs_n)
{
    struct sink_action *act = sink_act(s, SINK_ACT_LOG);

    assert(pairs_n <= SINK_LOG_PAIRS_MAX);
    if (act == NULL)
        return;
    act->log = (struct sink_log){.level = level, .event = event, .pairs_n = pairs_n};
    for (uint32_t i = 0; i < pairs_n; i++) {
        act->log.pairs[i] = pairs[i];
        act->log.pairs[i].text = copy_text(s, pairs[i].text);
    }
}

void sink_exit(struct sink *s, int status, struct dtqi_str text)
{
    uint32_t bytes = text.len < sizeof s->exit_text ? text.len : (uint32_t)sizeof s->exit_text;

    if (s->must_exit)
        return;
    s->must_exit = true;
    s->exit_status = status;
    s->exit_text_bytes = bytes;
    if (bytes != 0)
        memcpy(s->exit_text, text.at, bytes);
}

static void act_exit(struct sink *s)
{
    struct sink_action *act = sink_act(s, SINK_ACT_EXIT);

    if (act == NULL)
        return; /* with the next step, then */
    act->status = s->exit_status;
    act->text = (struct dtqi_str){s->exit_text, s->exit_text_bytes};
    s->has_exited = true;
}

/* ---------------------------------------------------------------- reads */

struct job *sink_job_new(struct sink *s, enum results_read_type type)
{
    struct job *job = s->jobs_n < s->cfg.reads_max ? calloc(1, sizeof *job) : NULL;

    if (job == NULL)
        return NULL;
    job->read.type = type;
    if (s->jobs_last != NULL)
        s->jobs_last->next = job;
    else
        s->jobs = job;
    s->jobs_last = job;
    s->jobs_n++;
    return job;
}

void sink_job_free(struct sink *s, struct job *job)
{
    struct job *before = NULL;

    for (struct job *j = s->jobs; j != job; j = j->next)
        before = j;
    if (before != NULL)
        before->next = job->next;
    else
        s->jobs = job->next;
    if (s->jobs_last == job)
        s->jobs_last = before;
    s->jobs_n--;
    dtqi_buf_unref(job->read.buf);
    dtqi_buf_unref(job->buf);
    free(job);
}

static void job_act(struct sink *s, struct job *job)
{
    struct sink_action *act = sink_act(s, SINK_ACT_READ);

    if (act == NULL)
        return; /* with the next TICK, then */
    job->read.wall_ms = s->wall_ms;
    act->read = &job->read;
    job->is_asked = true;
}

static void job_ask(struct sink *s, struct job *job)
{
    dtqi_buf_unref(job->read.buf);
    job->read.buf = NULL;
    job->is_asked = false;
    if (job->after <= s->handed)
        job_act(s, job);
}

void sink_job_ask(struct sink *s, struct job *job, bool behind)
{
    job->after = behind ? s->batches : 0;
    job_ask(s, job);
}

bool sink_job_is_early(struct sink *s, struct job *job)
{
    if (job->after <= s->handed)
        return false;
    job_ask(s, job);
    return true;
}

static void ask_jobs(struct sink *s)
{
    for (struct job *j = s->jobs; j != NULL; j = j->next)
        if (!j->is_asked && j->after <= s->handed)
            job_act(s, j);
}

static struct job *job_of(struct sink *s, const struct results_read *read)
{
    struct job *job = s->jobs;

    while (job != NULL && &job->read != read)
        job = job->next;
    assert(job != NULL);
    return job;
}

static void on_read_done(struct sink *s, struct results_read *read)
{
    struct job *job = job_of(s, read);

    switch (read->type) {
    case RESULTS_LOOKUP:
    case RESULTS_PAGE: sink_route_read(s, job); return;
    case RESULTS_CLAIM:
    case RESULTS_RESUME:
    case RESULTS_STREAM: sink_peer_read(s, job); return;
    }
    assert(!"a type of read");
}

/* ---------------------------------------------------------------- intake */

static void log_refusal(struct sink *s, const char *why, const struct dtqi_outcomes *o)
{
    struct sink_log_pair pairs[] = {
        {"why", dtqi_str(why), 0}, {"worker", o->worker, 0}, {"outcomes", {NULL, 0}, o->n}};

    if (s->now_ms < s->refusal_log_at_ms)
        return;
    s->refusal_log_at_ms = s->now_ms + LOG_MS;
    sink_log(s, SINK_WARN, "outcomes_refused", pairs, 3);
}

/* R24: a message may have slept in a process that was stopped, and what it proposes may have been
 * decided and forgotten since. What is refused here, the ventilator asks for again (R30). Too far
 * in the future is as unknown as too old. */
static bool is_too_old(const struct sink *s, const struct dtqi_outcomes *o)
{
    uint64_t now_ms = sink_peer_wall_ms(s, &o->ventilator);
    uint64_t apart_ms =
        now_ms > o->heard_wall_ms ? now_ms - o->heard_wall_ms : o->heard_wall_ms - now_ms;

    return apart_ms > DTQI_OUTCOME_FENCE_MS + DTQI_OUTCOME_SLACK_MS;
}

static enum skip skip_of(const struct sink *s, const struct dtqi_outcomes *o, uint32_t i)
{
    uint32_t kind = dtqi_col32(o->kinds, i, DTQ_SUCCEEDED);

    if (kind < DTQ_SUCCEEDED || kind > DTQ_CANCELLED)
        return SKIP_BAD_KIND;
    if (o->bodies != NULL && o->bodies[i].len > s->cfg.result_bytes_max)
        return SKIP_TOO_LARGE;
    return SKIP_NOT;
}

static bool mark_skip(struct proposal *p, uint32_t i, enum skip why)
{
    if (p->skip == NULL)
        p->skip = calloc(p->outcomes.n, 1);
    if (p->skip == NULL)
        return false;
    p->skip[i] = (uint8_t)why;
    return true;
}

/* Look at every entry; what is no good must not be committed, and must not keep its neighbours. */
static bool check_entries(struct sink *s, struct proposal *p)
{
    for (uint32_t i = 0; i < p->outcomes.n; i++) {
        enum skip why = skip_of(s, &p->outcomes, i);

        if (why == SKIP_NOT)
            continue;
        if (!mark_skip(p, i, why))
            return false;
        s->counters.bad_kind += why == SKIP_BAD_KIND;
        s->counters.too_large += why == SKIP_TOO_LARGE;
        log_refusal(s, why == SKIP_TOO_LARGE ? "too large" : "not an outcome", &p->outcomes);
    }
    return true;
}

static struct group *forming_for(struct sink *s, uint32_t entries)
{
    struct group *g = s->forming_last;

    if (g != NULL && g->entries + entries <= s->cfg.batch_entries_max)
        return g;
    g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->batch.number = ++s->batches;
    if (s->forming_last != NULL)
        s->forming_last->next = g;
    else
        s->forming = g;
    s->forming_last = g;
    return g;
}

static struct proposal *group_add(struct group *g)
{
    uint32_t size = dtqi_more_room(g->size, 16);
    struct proposal *items;

    if (g->n == g->size) {
        items = realloc(g->items, size * sizeof *items);
        if (items == NULL)
            return NULL;
        g->items = items;
        g->size = size;
    }
    return &g->items[g->n]; /* counted when it is whole */
}

static uint64_t bytes_of(const struct dtqi_msg *msg)
{
    return msg->buf->total + sizeof(struct proposal) + msg->outcomes.n;
}

static bool add_proposal(struct sink *s, const struct dtqi_msg *msg)
{
    struct group *g = forming_for(s, msg->outcomes.n);
    struct proposal *p = g != NULL ? group_add(g) : NULL;

    if (p == NULL)
        return false;
    *p = (struct proposal){.outcomes = msg->outcomes};
    if (!check_entries(s, p)) {
        free(p->skip);
        return false;
    }
    p->buf = dtqi_buf_ref(msg->buf);
    p->bytes = bytes_of(msg);
    g->n++;
    g->entries += p->outcomes.n;
    g->bytes += p->bytes;
    s->intake_bytes += p->bytes;
    s->intake_entries += msg->outcomes.n;
    return true;
}

static void on_outcomes(struct sink *s, const struct dtqi_msg *msg)
{
    const struct dtqi_outcomes *o = &msg->outcomes;

    assert(msg->buf != NULL);
    if (o->n == 0)
        return;
    if (!dtqi_uid_eq(&o->sink, &s->cfg.store)) {
        s->counters.wrong_sink += o->n;
        log_refusal(s, "for another sink", o);
    } else if (is_too_old(s, o)) {
        s->counters.too_old += o->n;
        log_refusal(s, "too old", o);
    } else if (!add_proposal(s, msg)) {
        s->counters.no_memory++;
    }
}

static void on_intake(struct sink *s, const struct dtqi_msg *msg)
{
    if (msg->type == DTQI_OUTCOMES && !s->is_stopping)
        on_outcomes(s, msg);
    else
        s->counters.unexpected += msg->type != DTQI_OUTCOMES;
}

/* ---------------------------------------------------------------- commits */

static bool group_prepare(struct group *g)
{
    uint32_t at = 0;

    if (g->proposals != NULL || g->n == 0)
        return true;
    g->proposals = calloc(g->n, sizeof *g->proposals);
    g->ranges = calloc(g->n, sizeof *g->ranges);
    g->stands = calloc(g->entries, 1);
    if (g->proposals == NULL || g->ranges == NULL || g->stands == NULL) {
        group_unprepare(g);
        return false;
    }
    for (uint32_t i = 0; i < g->n; i++) {
        g->proposals[i].outcomes = g->items[i].outcomes;
        g->proposals[i].skip = g->items[i].skip;
        g->proposals[i].stands = g->stands + at;
        at += g->items[i].outcomes.n;
    }
    g->batch.proposals = g->proposals;
    g->batch.proposals_n = g->n;
    g->batch.ranges = g->ranges;
    return true;
}

static bool is_sweep_due(const struct sink *s)
{
    return s->now_ms >= s->sweep_at_ms && !s->is_stopping;
}

static bool has_ack_due(const struct sink *s)
{
    for (uint32_t i = 0; i < s->cfg.peers; i++)
        if (s->peers[i].has_ack && s->now_ms >= s->peers[i].ack_at_ms)
            return true;
    return false;
}

/* The batch to commit next, taken off its list; NULL: none now. */
static struct group *next_group(struct sink *s)
{
    struct group *g = s->failed;

    if (g != NULL && s->now_ms >= s->retry_at_ms) {
        s->failed = NULL;
        return g;
    }
    g = g == NULL ? s->forming : NULL;
    if (g != NULL) {
        s->forming = g->next;
        s->forming_last = s->forming != NULL ? s->forming_last : NULL;
        s->intake_entries -= g->entries;
        return g;
    }
    return is_sweep_due(s) || has_ack_due(s) ? calloc(1, sizeof *g) : NULL;
}

/* Back to where it was, for want of memory. */
static void put_back(struct sink *s, struct group *g)
{
    if (g->n == 0) {
        group_free(g);
        return;
    }
    s->failed = g;
    s->retry_at_ms = s->now_ms + RETRY_MS;
}

static void hand_over(struct sink *s)
{
    struct group *g = s->under_way == NULL ? next_group(s) : NULL;
    struct sink_action *act;

    if (g == NULL)
        return;
    act = group_prepare(g) ? sink_act(s, SINK_ACT_COMMIT) : NULL;
    if (act == NULL) {
        put_back(s, g);
        return;
    }
    g->batch.wall_ms = s->wall_ms;
    g->batch.acks = g->acks;
    g->batch.acks_n = sink_peers_acks(s, g->acks);
    g->batch.sweep_max = is_sweep_due(s) ? SWEEP_VISITS + g->entries : 0;
    act->batch = &g->batch;
    s->under_way = g;
    if (g->batch.number != 0)
        s->handed = g->batch.number;
}

/* A pass looks at about 10,000 records a second, and faster where it finds much to remove; then it
 * pauses for as long, and until something can have expired. */
static void plan_sweep(struct sink *s, const struct results_batch *b)
{
    uint64_t wait_ms = b->sweep_due_wall_ms > s->wall_ms ? b->sweep_due_wall_ms - s->wall_ms : 0;

    if (b->sweep_max != 0 && b->sweep_more) {
        s->sweep_steps++;
        s->sweep_at_ms = s->now_ms + (b->swept >= b->sweep_max / 2 ? 0 : SWEEP_STEP_MS);
        return;
    }
    if (b->sweep_max != 0) {
        s->sweep_rest_ms = s->now_ms + SWEEP_PAUSE_MS + (uint64_t)s->sweep_steps * SWEEP_STEP_MS;
        s->sweep_steps = 0;
    }
    if (b->sweep_more)
        return; /* a step of the pass is planned already */
    wait_ms = sink_min(wait_ms, SWEEP_WAIT_MS_MAX);
    s->sweep_at_ms =
        s->now_ms + wait_ms > s->sweep_rest_ms ? s->now_ms + wait_ms : s->sweep_rest_ms;
    if (s->is_full) /* whatever has expired makes room, and the store is asked for its space */
        s->sweep_at_ms = sink_min(s->sweep_at_ms, s->now_ms + RETRY_MS);
}

static void set_full(struct sink *s, const char *why)
{
    struct sink_log_pair pairs[] = {{"why", dtqi_str(why), 0}};
    bool is_full = s->failed != NULL || s->is_over;

    if (is_full == s->is_full)
        return;
    s->is_full = is_full;
    if (is_full)
        sink_log(s, SINK_ERROR, "full", pairs, 1);
    else
        sink_log(s, SINK_INFO, "space_again", NULL, 0);
    sink_peers_heartbeat_now(s);
}

static void note_space(struct sink *s, const struct results_batch *b)
{
    uint64_t percent = b->space_max >= 100 ? b->space_used / (b->space_max / 100) : 0;

    s->is_over =
        percent >= s->cfg.full_percent || (s->is_over && percent + 2 >= s->cfg.full_percent);
    set_full(s, "the result store has reached its bound");
}

static void log_replaced(struct sink *s, const struct group *g)
{
    struct sink_log_pair pairs[] = {{"outcomes", {NULL, 0}, g->batch.replaced}};

    if (g->batch.replaced != 0)
        sink_log(s, SINK_ERROR, "damaged_outcomes_replaced", pairs, 1);
}

static void count_committed(struct sink *s, const struct group *g)
{
    log_replaced(s, g);
    s->counters.replaced += g->batch.replaced;
    s->counters.commits++;
    s->counters.committed += g->batch.won;
    s->counters.second += g->batch.second;
    s->counters.swept += g->batch.swept;
    for (uint32_t i = 0; i < g->n; i++)
        if (g->proposals[i].refused) {
            s->counters.foreign += g->items[i].outcomes.n;
            log_refusal(s, "too many ventilators", &g->items[i].outcomes);
        }
}

/* Messages of this step point to the bodies in these buffers. */
static void hold_buffers(struct sink *s, struct group *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        sink_hold(s, g->items[i].buf);
        g->items[i].buf = NULL;
    }
}

/* The later half of a batch goes back to what forms. Number and claims stay with it, as they stand
 * behind all of the batch. */
static bool split(struct sink *s, struct group *g)
{
    uint32_t keep = g->n / 2;
    struct group *rest = keep != 0 ? calloc(1, sizeof *rest) : NULL;

    if (rest == NULL)
        return false;
    rest->items = calloc(g->n - keep, sizeof *rest->items);
    if (rest->items == NULL) {
        free(rest);
        return false;
    }
    rest->n = g->n - keep;
    rest->size = rest->n;
    memcpy(rest->items, g->items + keep, rest->n * sizeof *rest->items);
    for (uint32_t i = 0; i < rest->n; i++) {
        rest->entries += rest->items[i].outcomes.n;
        rest->bytes += rest->items[i].bytes;
    }
    g->n = keep;
    g->entries -= rest->entries;
    g->bytes -= rest->bytes;
    group_unprepare(g);
    rest->batch.number = g->batch.number;
    g->batch.number = 0;
    rest->next = s->forming;
    s->forming = rest;
    s->forming_last = s->forming_last != NULL ? s->forming_last : rest;
    s->intake_entries += rest->entries;
    return true;
}

static void on_commit_failed(struct sink *s, struct group *g)
{
    s->counters.commits_failed++;
    if (g->batch.err != DTQ_ENOSPC && g->batch.err != DTQ_ENOMEM) {
        sink_exit(s, 1, dtqi_str(g->batch.why)); /* the disk's state is not known: start anew */
        group_free(g);
    } else if (g->n == 0) {
        s->sweep_at_ms = s->now_ms + RETRY_MS;
        group_free(g);
    } else {
        s->failed = g;
        s->retry_at_ms = s->now_ms;
        if (g->batch.number != 0)
            s->handed = g->batch.number - 1; /* claims wait for it, R6 */
        if (split(s, g))
            return; /* all together they may never fit, however much expires */
        s->retry_at_ms = s->now_ms + RETRY_MS;
        set_full(s, g->batch.why);
    }
}

static void on_committed(struct sink *s, struct results_batch *batch)
{
    struct group *g = s->under_way;

    assert(g != NULL);
    assert(batch == &g->batch);
    s->under_way = NULL;
    if (batch->err != DTQ_OK) {
        on_commit_failed(s, g);
        return;
    }
    count_committed(s, g);
    /* First what people wait for, then what machines do. */
    if (sink_hold_room(s, g->n + 1)) {
        sink_routes_committed(s, g);
        sink_peers_committed(s, g);
        hold_buffers(s, g);
    } else {
        sink_peers_committed(s, g);
    }
    s->intake_bytes -= g->bytes;
    note_space(s, batch);
    plan_sweep(s, batch);
    group_free(g);
}

static void update_intake(struct sink *s)
{
    uint64_t bound = s->is_paused ? s->cfg.intake_bytes_max / 2 : s->cfg.intake_bytes_max;
    bool pause = s->is_stopping || s->is_full || s->intake_bytes > bound;

    if (pause == s->is_paused)
        return;
    if (sink_act(s, pause ? SINK_ACT_INTAKE_PAUSE : SINK_ACT_INTAKE_RESUME) != NULL)
        s->is_paused = pause;
}

/* ---------------------------------------------------------------- steps */

static void finish_stop(struct sink *s)
{
    if (s->under_way != NULL || (s->forming != NULL && s->failed == NULL))
        return;
    /* What could not be committed was acknowledged to nobody: its senders keep it. */
    sink_peers_bye(s);
    sink_exit(s, 0, dtqi_str(""));
}

static void on_tick(struct sink *s)
{
    sink_peers_tick(s);
    sink_routes_tick(s);
    hand_over(s);
    ask_jobs(s);
    if (s->is_stopping)
        finish_stop(s);
}

static void on_stop(struct sink *s)
{
    if (s->is_stopping)
        sink_exit(s, 0, dtqi_str("")); /* asked twice: at once */
    s->is_stopping = true;
}

static void on_event(struct sink *s, const struct sink_event *event)
{
    switch (event->type) {
    case SINK_EV_TICK: on_tick(s); return;
    case SINK_EV_CONTROL: sink_peer_message(s, event->peer, event->msg); return;
    case SINK_EV_CONNECTED: sink_peer_connected(s, event->peer); return;
    case SINK_EV_INTAKE: on_intake(s, event->msg); return;
    case SINK_EV_RESULTS: sink_route_message(s, event->route, event->msg); return;
    case SINK_EV_ROUTE_GONE: sink_route_gone(s, event->route); return;
    case SINK_EV_ROUTE_FULL: s->counters.pushes_dropped++; return;
    case SINK_EV_COMMITTED: on_committed(s, event->batch); return;
    case SINK_EV_READ_DONE: on_read_done(s, event->read); return;
    case SINK_EV_STOP: on_stop(s); return;
    }
    assert(!"a type of event");
}

/* The store gets the time with every commit. After a jump it is told at once, so that a start after
 * a boot does not take the jump for time that has passed. */
static void note_jump(struct sink *s)
{
    uint64_t ahead_ms = s->host_wall_ms - s->wall_ms;
    uint64_t by_ms = ahead_ms - s->host_ahead_ms;

    if (by_ms < STEADY_JUMP_MS || 0 - by_ms < STEADY_JUMP_MS)
        return;
    s->host_ahead_ms = ahead_ms;
    s->sweep_at_ms = s->now_ms;
}

uint64_t sink_host_wall_ms(const struct sink *s, uint64_t wall_ms)
{
    uint64_t host_ms = wall_ms + s->shown_ahead_ms;

    return host_ms <= DTQI_WALL_MS_MAX ? host_ms : 0;
}

void sink_step(struct sink *s, const struct sink_event *event, struct sink_actions *out)
{
    if (s->has_exited)
        return;
    s->out = out;
    s->now_ms = event->now_ms;
    s->wall_ms = event->wall_ms;
    s->host_wall_ms = event->host_wall_ms;
    s->shown_ahead_ms = steady_shown_ahead_ms(s->shown_ahead_ms, s->wall_ms, s->host_wall_ms);
    note_jump(s);
    on_event(s, event);
    update_intake(s);
    if (s->must_exit)
        act_exit(s);
    s->out = NULL;
}

uint64_t sink_deadline_ms(const struct sink *s)
{
    uint64_t at_ms = sink_peers_deadline_ms(s);

    if (s->has_exited)
        return UINT64_MAX;
    if (s->waiters_used != 0)
        at_ms = sink_min(at_ms, s->waiters_sweep_at_ms);
    if (s->under_way != NULL)
        return at_ms;
    if (s->failed != NULL)
        at_ms = sink_min(at_ms, s->retry_at_ms);
    else if (s->forming != NULL)
        return 0;
    return s->is_stopping ? at_ms : sink_min(at_ms, s->sweep_at_ms);
}

/* ---------------------------------------------------------------- what is asked from outside */

const struct sink_counters *sink_counters(const struct sink *s)
{
    return &s->counters;
}

void sink_census(const struct sink *s, struct sink_census *ret)
{
    *ret = (struct sink_census){
        .pending = s->intake_entries + (s->failed != NULL ? s->failed->entries : 0),
        .committing = s->under_way != NULL ? s->under_way->entries : 0,
        .intake_bytes = s->intake_bytes,
        .waiters = s->waiters_used,
        .routes = s->routes_used,
        .reads = s->jobs_n,
        .paused = s->is_paused,
    };
}

bool sink_is_full(const struct sink *s)
{
    return s->is_full;
}

bool sink_has_session(const struct sink *s, uint32_t peer)
{
    assert(peer < s->cfg.peers);
    return s->peers[peer].is_welcome;
}
