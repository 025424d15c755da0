#include "worker_internal.h"

#include <stdarg.h>

#define START_MS_MAX 30000u
#define RETIRE_MS_MAX 5000u
#define RESTART_MS_MIN 100u
#define RESTART_MS_MAX 10000u
#define START_FAILS_MAX 3u

/* Take tasks from one slot for another that is idle when they would take so long, or when the slot
 * has been at one task so long. */
#define STEAL_NS 200000u
#define STEAL_MS 1u

dtq_err wk_slots_init(struct worker *w)
{
    w->slots = calloc(w->cfg.slots, sizeof *w->slots);
    if (w->slots == NULL)
        return DTQ_ENOMEM;
    for (uint32_t i = 0; i < w->cfg.slots; i++)
        w->slots[i] = (struct slot){.fed = list_empty(), .victim = NONE};
    return DTQ_OK;
}

void wk_slots_done(struct worker *w)
{
    free(w->slots);
}

bool wk_slots_are_down(const struct worker *w)
{
    return w->slots_usable == 0;
}

static uint32_t slot_index(const struct worker *w, const struct slot *s)
{
    return (uint32_t)(s - w->slots);
}

/* ---------------------------------------------------------------- states of a slot */

/* Ask the shell; the slot's state follows only if the action could be given. */
static bool slot_act(struct worker *w, struct slot *s, enum worker_action_type type,
                     enum slot_state to)
{
    struct worker_action *a = wk_act(w, type);

    if (a == NULL)
        return false;
    a->slot.index = slot_index(w, s);
    a->slot.why = s->why;
    w->slots_usable += (to != SLOT_DOWN) - (s->state != SLOT_DOWN);
    s->state = to;
    s->state_since_ms = w->now_ms;
    return true;
}

static void slot_start(struct worker *w, struct slot *s)
{
    if (!slot_act(w, s, WORKER_ACT_SLOT_START, SLOT_STARTING))
        return;
    s->fed_ever = s->ended_ever = 0;
    s->victim = NONE;
    w->stats.slots_started++;
}

static void slot_kill(struct worker *w, struct slot *s, enum worker_kill why, uint32_t victim)
{
    if (s->state == SLOT_DOWN || s->state == SLOT_KILLED)
        return;
    s->why = why;
    if (slot_act(w, s, WORKER_ACT_SLOT_KILL, SLOT_KILLED))
        s->victim = victim;
}

void wk_slots_kill(struct worker *w)
{
    for (uint32_t i = 0; i < w->cfg.slots; i++)
        slot_kill(w, &w->slots[i], WORKER_KILL_STOP, NONE);
}

static void slot_take_back(struct worker *w, struct slot *s)
{
    if (s->state != SLOT_READY || s->taking_back || s->fed.n == 0)
        return;
    if (!slot_act(w, s, WORKER_ACT_SLOT_TAKE_BACK, SLOT_READY))
        return;
    s->taking_back = true;
    w->taking_back++;
}

void wk_slots_take_back(struct worker *w)
{
    for (uint32_t i = 0; i < w->cfg.slots; i++)
        slot_take_back(w, &w->slots[i]);
}

/* ---------------------------------------------------------------- the tick */

static uint64_t time_limit_ms(const struct worker *w, const struct entry *e)
{
    uint64_t own = w->specs[e->spec].time_limit_ms;

    return own != 0 ? own : w->cfg.time_limit_ms;
}

/* The limit holds whatever the slot does, also when it never takes the task. */
static void check_limit(struct worker *w, struct slot *s)
{
    const struct entry *e = entry_at(w, s->fed.head);
    uint64_t limit_ms = time_limit_ms(w, e);
    uint64_t at = s->head_since_ms + limit_ms + 1;

    if (limit_ms == 0 || at <= limit_ms)
        return;
    if (w->now_ms < at) {
        due(w, at);
        return;
    }
    wk_log(w, WORKER_LOG_WARN, "task_timeout", "task=%s slot=%u limit_ms=%llu",
           wk_id_text(&e->id).at, slot_index(w, s), (unsigned long long)limit_ms);
    w->stats.slots_timed_out++;
    slot_kill(w, s, WORKER_KILL_TIMEOUT, s->fed.head);
}

static bool is_worn(const struct worker *w, const struct slot *s)
{
    return w->cfg.tasks_per_child_max != 0 && s->fed_ever >= w->cfg.tasks_per_child_max;
}

static void ready_tick(struct worker *w, struct slot *s)
{
    if (worker_result_room_bytes(w) == 0)
        s->head_since_ms = w->now_ms; /* it may have ended and wait with its result (R16) */
    if (s->fed.n != 0)
        check_limit(w, s);
    else if (w->stop != STOP_NO || is_worn(w, s))
        slot_act(w, s, WORKER_ACT_SLOT_RETIRE, SLOT_RETIRING);
}

static void hung_tick(struct worker *w, struct slot *s, uint64_t most_ms)
{
    if (w->now_ms < s->state_since_ms + most_ms) {
        due(w, s->state_since_ms + most_ms);
        return;
    }
    wk_log(w, WORKER_LOG_WARN, "slot_hung", "slot=%u state=%s", slot_index(w, s),
           s->state == SLOT_STARTING ? "starting" : "retiring");
    slot_kill(w, s, WORKER_KILL_HUNG, NONE);
}

static void down_tick(struct worker *w, struct slot *s)
{
    if (w->stop != STOP_NO)
        return;
    if (w->now_ms < s->retry_ms)
        due(w, s->retry_ms);
    else
        slot_start(w, s);
}

void wk_slots_tick(struct worker *w)
{
    for (uint32_t i = 0; i < w->cfg.slots; i++) {
        struct slot *s = &w->slots[i];

        if (w->stop == STOP_COLD)
            slot_kill(w, s, WORKER_KILL_STOP, NONE);
        switch (s->state) {
        case SLOT_DOWN: down_tick(w, s); break;
        case SLOT_STARTING: hung_tick(w, s, START_MS_MAX); break;
        case SLOT_READY: ready_tick(w, s); break;
        case SLOT_RETIRING: hung_tick(w, s, RETIRE_MS_MAX); break;
        case SLOT_KILLED: break;
        }
    }
}

void wk_slots_name_started(struct worker *w)
{
    for (uint32_t i = 0; i < w->cfg.slots; i++) {
        struct slot *s = &w->slots[i];
        const struct entry *e = entry_at(w, s->fed.head);

        if (e == NULL || s->named || w->now_ms < s->head_since_ms + w->session.heartbeat_ms)
            continue;
        s->named = true;
        if ((e->flags & (ENTRY_HELD | ENTRY_STALE | ENTRY_LISTED)) == ENTRY_HELD &&
            !wk_ids_add(&w->started, &e->id))
            s->named = false; /* no memory: later */
    }
}

/* ---------------------------------------------------------------- balance */

static uint64_t overrun_at(const struct worker *w, const struct slot *s)
{
    return s->head_since_ms + (w->cfg.target_us + 999) / 1000;
}

static bool is_overrun(const struct worker *w, const struct slot *s)
{
    return s->fed.n != 0 && w->now_ms >= overrun_at(w, s);
}

/*
 * A task that runs longer than all prefetched ones should: what waits behind it goes to others.
 * When every slot is at such a task, nothing is held in advance: another worker may have a free
 * one.
 */
static void relieve_overrun(struct worker *w)
{
    uint32_t overrun = 0;
    struct entry *e;

    for (uint32_t i = 0; i < w->cfg.slots; i++) {
        struct slot *s = &w->slots[i];

        if (s->state != SLOT_READY || s->fed.n == 0)
            continue;
        if (!is_overrun(w, s)) {
            due(w, overrun_at(w, s));
            continue;
        }
        overrun++;
        if (s->fed.n > 1)
            slot_take_back(w, s);
    }
    w->all_overrun = overrun != 0 && overrun == w->slots_usable;
    while (w->all_overrun && (e = entry_at(w, w->inbox.head)) != NULL) {
        list_remove(w, &w->inbox, e);
        wk_entry_return(w, e);
    }
}

/* An idle slot, and nothing in the inbox: take from the one that has most. */
static void steal_for_idle(struct worker *w)
{
    struct slot *most = NULL;
    bool idle = false;

    if (w->inbox.n != 0 || w->taking_back != 0)
        return;
    for (uint32_t i = 0; i < w->cfg.slots; i++) {
        struct slot *s = &w->slots[i];

        if (s->state != SLOT_READY)
            continue;
        idle = idle || s->fed.n == 0;
        if (s->fed.n > 1 && (most == NULL || s->fed.n > most->fed.n))
            most = s;
    }
    if (!idle || most == NULL)
        return;
    if ((most->fed.n - 1) * w->task_ns >= STEAL_NS || w->now_ms >= most->head_since_ms + STEAL_MS)
        slot_take_back(w, most);
    else
        due(w, most->head_since_ms + STEAL_MS);
}

/* R20: the last received first, from the inbox, then from the rings. */
static void give_recalled(struct worker *w)
{
    struct entry *e;

    while (w->recall != 0 && (e = entry_at(w, w->inbox.tail)) != NULL) {
        list_remove(w, &w->inbox, e);
        wk_entry_return(w, e);
        w->recall--;
    }
    for (uint32_t i = 0; w->recall != 0 && i < w->cfg.slots; i++) {
        if (w->slots[i].fed.n > 1)
            slot_take_back(w, &w->slots[i]);
    }
    if (w->taking_back == 0)
        w->recall = 0;
}

/* ---------------------------------------------------------------- feeding */

static bool takes_tasks(const struct worker *w, const struct slot *s)
{
    return s->state == SLOT_READY && !s->taking_back && !s->full && !is_overrun(w, s) &&
           !is_worn(w, s);
}

/* How many more this slot is to get for it to have `goal`. */
static uint32_t lacks(const struct worker *w, const struct slot *s, uint32_t goal)
{
    uint32_t lack = s->fed.n < goal ? goal - s->fed.n : 0;
    uint32_t left = NONE;

    if (w->cfg.tasks_per_child_max != 0)
        left = w->cfg.tasks_per_child_max - s->fed_ever;
    return lack < left ? lack : left;
}

/* Deal what waits: an equal share of all that has not ended, first rounded down, so that none gets
 * a second one before each has its first, then up; no deeper than the estimate allows. */
static void deal(struct worker *w)
{
    uint32_t depth = wk_credit_depth(w);
    uint32_t waiting = w->inbox.n;
    uint32_t total = w->inbox.n;
    uint32_t slots = 0;

    for (uint32_t i = 0; i < w->cfg.slots; i++) {
        struct slot *s = &w->slots[i];

        s->want = 0;
        if (!takes_tasks(w, s))
            continue;
        slots++;
        total += s->fed.n;
    }
    if (slots == 0)
        return;
    for (uint32_t round = 0; round < 2; round++) {
        uint32_t share = (total + round * (slots - 1)) / slots;
        uint32_t goal = share < depth ? share : depth;

        for (uint32_t i = 0; i < w->cfg.slots && waiting != 0; i++) {
            struct slot *s = &w->slots[(i + w->slots_rotate) % w->cfg.slots];
            uint32_t lack = takes_tasks(w, s) ? lacks(w, s, goal) : 0;
            uint32_t more = lack > s->want ? lack - s->want : 0;

            if (more > waiting)
                more = waiting;
            s->want += more;
            waiting -= more;
        }
    }
    w->slots_rotate = (w->slots_rotate + 1) % w->cfg.slots;
}

/* May this one start? If not it is given back: expired (R17), or its sink's share is used up. */
static bool may_start(struct worker *w, const struct entry *e)
{
    if (e->until_ms != 0 && w->now_ms >= e->until_ms) {
        w->stats.tasks_expired++;
        return false;
    }
    return !wk_sink_is_over_share(w, &w->sinks[e->sink]);
}

static struct worker_feed feed_of(const struct worker *w, const struct entry *e)
{
    const struct spec *spec = &w->specs[e->spec];

    return (struct worker_feed){
        .handle = index_of(w, e),
        .attempt = e->attempt,
        .id = e->id,
        .name = spec->name,
        .queue = spec->queue,
        .body = {e->at, e->len},
        .time_limit_ms = time_limit_ms(w, e),
    };
}

static void entry_feed(struct worker *w, struct slot *s, struct entry *e, uint64_t bytes)
{
    if (s->fed.n == 0) {
        s->head_since_ms = w->now_ms;
        s->named = false;
    }
    list_remove(w, &w->inbox, e);
    entry_move(w, e, ENTRY_FED);
    e->slot = (uint16_t)slot_index(w, s);
    e->number = bytes;
    list_push(w, &s->fed, e);
    s->fed_bytes += bytes;
    s->fed_ever++;
}

/* Up to s->want tasks, as far as they fit. @return how many */
static uint32_t fill_feed(struct worker *w, struct slot *s, struct worker_feed *tasks)
{
    struct entry *e;
    uint32_t n = 0;

    while (n < s->want && (e = entry_at(w, w->inbox.head)) != NULL) {
        uint64_t bytes = (uint64_t)entry_spec_bytes(w, e) + e->len;

        if (!may_start(w, e)) {
            list_remove(w, &w->inbox, e);
            wk_entry_return(w, e);
            continue;
        }
        if (s->fed.n != 0 && s->fed_bytes + bytes > w->cfg.ring_bytes)
            break;
        tasks[n++] = feed_of(w, e);
        entry_feed(w, s, e, bytes);
    }
    return n;
}

static void slot_feed(struct worker *w, struct slot *s)
{
    struct worker_feed *tasks = wk_scratch(w, s->want, sizeof *tasks);
    uint32_t at = w->out->n;
    uint32_t n;

    if (tasks == NULL || wk_act(w, WORKER_ACT_SLOT_FEED) == NULL)
        return; /* no memory: the next tick tries again */
    n = fill_feed(w, s, tasks);
    if (n == 0 && w->out->n == at + 1) {
        w->out->n = at;
        return;
    }
    w->out->at[at].feed.index = slot_index(w, s);
    w->out->at[at].feed.n = n;
    w->out->at[at].feed.tasks = tasks;
}

static void feed(struct worker *w)
{
    if (w->inbox.n == 0 || w->kept_bytes >= w->kept_bytes_max)
        return; /* R16 */
    deal(w);
    for (uint32_t i = 0; i < w->cfg.slots; i++) {
        if (w->slots[i].want != 0)
            slot_feed(w, &w->slots[i]);
    }
}

/* What has just been fed counts when it is seen who is overrun or idle. */
void wk_slots_balance(struct worker *w)
{
    w->all_overrun = false;
    if (w->stop != STOP_NO || !session_is_open(w))
        return;
    give_recalled(w);
    feed(w);
    relieve_overrun(w);
    steal_for_idle(w);
}

/* ---------------------------------------------------------------- what slots say */

/* The entry behind a handle, if this slot has it; else NULL, and the report is counted as bad. */
static struct entry *entry_of(struct worker *w, const struct slot *s, uint32_t handle)
{
    struct entry *e = handle < w->entries_n ? &w->entries[handle] : NULL;

    if (e == NULL || e->state != ENTRY_FED || e->slot != slot_index(w, s)) {
        w->stats.bad_slot_reports++;
        return NULL;
    }
    return e;
}

/* Out of the slot's list; the next one runs from now on. */
static void entry_unfeed(struct worker *w, struct slot *s, struct entry *e)
{
    bool head = s->fed.head == index_of(w, e);

    list_remove(w, &s->fed, e);
    s->fed_bytes -= e->number;
    s->full = false;
    e->number = 0;
    if (head) {
        s->head_since_ms = w->now_ms;
        s->named = false;
    }
}

/* Fail with a text made here. */
__attribute__((format(printf, 5, 6))) static void
fail(struct worker *w, struct entry *e, dtq_reason reason, int32_t code, const char *format, ...)
{
    struct dtqi_buf *buf = dtqi_buf_new(0, 1024);
    char *text = buf != NULL ? dtqi_buf_alloc(buf, 256) : NULL;
    struct dtqi_slice slice = {text, 0};
    va_list args;

    if (text != NULL) {
        va_start(args, format);
        slice.len = (uint32_t)vsnprintf(text, 256, format, args);
        va_end(args);
        if (slice.len > 255)
            slice.len = 255;
    }
    wk_entry_fail(w, e, reason, code, slice, buf);
    dtqi_buf_unref(buf);
}

static void succeed(struct worker *w, struct entry *e, const struct worker_result *r,
                    struct dtqi_buf *buf)
{
    struct dtqi_slice body = r->body;

    if (body.len > w->session.result_bytes_max) { /* R24 */
        fail(w, e, DTQ_REASON_RESULT_TOO_LARGE, 0, "its result has %u bytes, %llu are allowed",
             body.len, (unsigned long long)w->session.result_bytes_max);
        return;
    }
    if (w->specs[e->spec].no_result)
        body.len = 0;
    w->stats.tasks_done++;
    entry_move(w, e, ENTRY_DONE);
    wk_entry_set_end(w, e, body, body.len != 0 ? buf : NULL);
    wk_result_keep(w, e);
    wk_report_end(w, e);
}

/* A handler may say any number. What is over its limit on the wire would make the whole message one
 * that nobody reads, and the list of holdings after it. */
static uint64_t at_most(uint64_t number, uint64_t limit)
{
    return number < limit ? number : limit;
}

static void entry_ended(struct worker *w, struct entry *e, const struct worker_result *r,
                        struct dtqi_buf *buf)
{
    if ((e->flags & ENTRY_DROP) != 0) {
        entry_move(w, e, ENTRY_FREE);
        return;
    }
    e->started_wall_ms = at_most(r->started_wall_ms, DTQI_WALL_MS_MAX);
    e->duration_us = r->duration_us;
    if (r->reason == DTQ_REASON_NONE) {
        succeed(w, e, r, buf);
        return;
    }
    e->number = at_most(r->retry_after_ms, DTQI_DURATION_MS_MAX);
    if (r->no_retry)
        e->flags |= ENTRY_NO_RETRY;
    wk_entry_fail(w, e, r->reason, r->code, r->body, buf);
}

static void on_ended(struct worker *w, struct slot *s, const struct worker_event *ev)
{
    for (uint32_t i = 0; i < ev->ended.n; i++) {
        const struct worker_result *r = &ev->ended.results[i];
        struct entry *e = entry_of(w, s, r->handle);

        if (e == NULL)
            continue;
        s->ended_ever++;
        s->fails = 0;
        wk_credit_ended(w, r->duration_us, r->body.len);
        entry_unfeed(w, s, e);
        entry_ended(w, e, r, ev->ended.buf);
    }
}

/* It had not started. */
static void entry_came_back(struct worker *w, struct slot *s, struct entry *e)
{
    entry_unfeed(w, s, e);
    if ((e->flags & (ENTRY_STOP | ENTRY_DROP)) != 0)
        wk_entry_stopped(w, e, false);
    else
        wk_entry_wait(w, e, true);
}

static void entries_came_back(struct worker *w, struct slot *s, const uint32_t *handles, uint32_t n)
{
    for (uint32_t i = n; i > 0; i--) { /* the last first: each goes to the inbox's head */
        struct entry *e = entry_of(w, s, handles[i - 1]);

        if (e != NULL && (e->flags & ENTRY_STARTED) == 0)
            entry_came_back(w, s, e);
    }
}

/* What is still in the slot has started. */
static void on_taken_back(struct worker *w, struct slot *s)
{
    struct entry *e = entry_at(w, s->fed.head);

    s->taking_back = false;
    w->taking_back--;
    if (e == NULL)
        return;
    if ((e->flags & ENTRY_STARTED) == 0)
        wk_entry_drop_payload(w, e);
    if ((e->flags & (ENTRY_STOP | ENTRY_DROP)) != 0)
        slot_kill(w, s, WORKER_KILL_STOP, s->fed.head);
}

void wk_slot_stop_entry(struct worker *w, struct entry *e, enum entry_flags how)
{
    struct slot *s = &w->slots[e->slot];

    e->flags |= (uint16_t)how;
    slot_take_back(w, s);
}

static void on_started(struct worker *w, struct slot *s, const struct worker_event *ev)
{
    struct entry *e = entry_of(w, s, ev->slot.handle);

    if (e == NULL || s->fed.head != index_of(w, e))
        return;
    if ((e->flags & ENTRY_STARTED) == 0)
        wk_entry_drop_payload(w, e);
    if (ev->slot.started_ms <= w->now_ms)
        s->head_since_ms = ev->slot.started_ms;
}

/* ---------------------------------------------------------------- a slot is gone */

/* When it started, and for how long it ran, as far as is known without a word of its slot's. */
static void entry_set_times(const struct worker *w, const struct slot *s, struct entry *e)
{
    uint64_t ran_ms = w->now_ms - s->head_since_ms;

    e->started_wall_ms = ran_ms < w->wall_ms ? w->wall_ms - ran_ms : 0;
    e->duration_us = ran_ms * 1000;
}

/* It was running (or is named in no report) when its slot went. */
static void entry_lost_slot(struct worker *w, struct slot *s, struct entry *e,
                            const struct worker_event *ev)
{
    bool killed = s->state == SLOT_KILLED;

    entry_set_times(w, s, e);
    entry_unfeed(w, s, e);
    if ((e->flags & (ENTRY_STOP | ENTRY_DROP)) != 0) {
        wk_entry_stopped(w, e, true);
    } else if (killed && s->why == WORKER_KILL_TIMEOUT && s->victim == index_of(w, e)) {
        fail(w, e, DTQ_REASON_TIMEOUT, 0, "it ran longer than its time limit of %llu ms",
             (unsigned long long)time_limit_ms(w, e));
    } else if (killed) {
        wk_entry_return(w, e); /* the slot was killed for another's sake */
    } else if (ev->slot.by_signal) {
        fail(w, e, DTQ_REASON_CRASH, ev->slot.status, "its slot was killed by signal %d",
             (int)ev->slot.status);
    } else {
        fail(w, e, DTQ_REASON_CRASH, ev->slot.status, "its slot exited with status %d",
             (int)ev->slot.status);
    }
}

/* A slot that never ended a task is not started again at once: it would likely do the same. */
static void plan_restart(struct worker *w, struct slot *s, bool healthy,
                         const struct worker_event *ev)
{
    uint64_t wait_ms = RESTART_MS_MIN;

    s->retry_ms = w->now_ms;
    if (healthy) {
        s->fails = 0;
        return;
    }
    for (uint32_t i = 0; i < s->fails && wait_ms < RESTART_MS_MAX; i++)
        wait_ms *= 2;
    s->retry_ms += wait_ms < RESTART_MS_MAX ? wait_ms : RESTART_MS_MAX;
    s->fails++;
    if (w->ready_once || s->fails < START_FAILS_MAX || w->stop != STOP_NO)
        return;
    wk_exit(w, 1,
            dtqi_str(ev->slot.by_signal ? "the slots are killed by a signal before they are ready"
                                        : "the slots exit before they are ready"));
}

static void on_exited(struct worker *w, struct slot *s, const struct worker_event *ev)
{
    bool asked =
        s->state == SLOT_RETIRING || (s->state == SLOT_KILLED && s->why != WORKER_KILL_HUNG);
    bool had_task;
    struct entry *e;

    if (s->state == SLOT_DOWN) {
        w->stats.bad_slot_reports++;
        return;
    }
    if (s->taking_back)
        w->taking_back--;
    s->taking_back = false;
    entries_came_back(w, s, ev->slot.handles, ev->slot.handles_n);
    had_task = s->fed.n != 0;
    if (!asked) {
        w->stats.slots_crashed++;
        wk_log(w, WORKER_LOG_WARN, "slot_died", "slot=%u %s=%d tasks=%u", slot_index(w, s),
               ev->slot.by_signal ? "signal" : "status", (int)ev->slot.status, s->ended_ever);
    }
    while ((e = entry_at(w, s->fed.head)) != NULL)
        entry_lost_slot(w, s, e, ev);
    plan_restart(w, s, asked || had_task || s->ended_ever != 0, ev);
    s->state = SLOT_DOWN;
    w->slots_usable--;
}

static void on_ready(struct worker *w, struct slot *s)
{
    if (s->state != SLOT_STARTING)
        return;
    s->state = SLOT_READY;
    w->ready_once = true;
}

/* A slot that cannot even load its handlers: if none ever could, the operator must look. */
static void on_broken(struct worker *w, struct slot *s, struct dtqi_str text)
{
    if (!w->ready_once) {
        wk_exit(w, 1, text);
        return;
    }
    wk_log(w, WORKER_LOG_ERROR, "slot_broken", "slot=%u text=\"%.*s\"", slot_index(w, s),
           (int)(text.len < 300 ? text.len : 300), text.at);
}

/* What the shell could not append; the slot gets no more before one of its tasks has ended. */
static void on_full(struct worker *w, struct slot *s, const struct worker_event *ev)
{
    struct entry *e;

    entries_came_back(w, s, ev->slot.handles, ev->slot.handles_n);
    s->full = s->fed.n != 0;
    e = entry_at(w, w->inbox.head);
    if (s->full || e == NULL || ev->slot.handles_n == 0 || index_of(w, e) != ev->slot.handles[0])
        return;
    list_remove(w, &w->inbox, e); /* not even an empty ring takes it: it would never run */
    fail(w, e, DTQ_REASON_BAD_ENTRY, 0, "it does not fit into a slot's ring");
}

static void on_returned(struct worker *w, struct slot *s, const struct worker_event *ev)
{
    entries_came_back(w, s, ev->slot.handles, ev->slot.handles_n);
    if (s->taking_back)
        on_taken_back(w, s);
    else
        w->stats.bad_slot_reports++;
}

void wk_on_slot(struct worker *w, const struct worker_event *ev)
{
    uint32_t index = ev->type == WORKER_EV_SLOT_ENDED ? ev->ended.index : ev->slot.index;
    struct slot *s = index < w->cfg.slots ? &w->slots[index] : NULL;

    if (s == NULL)
        w->stats.bad_slot_reports++;
    else if (ev->type == WORKER_EV_SLOT_READY)
        on_ready(w, s);
    else if (ev->type == WORKER_EV_SLOT_BROKEN)
        on_broken(w, s, ev->slot.text);
    else if (ev->type == WORKER_EV_SLOT_STARTED)
        on_started(w, s, ev);
    else if (ev->type == WORKER_EV_SLOT_ENDED)
        on_ended(w, s, ev);
    else if (ev->type == WORKER_EV_SLOT_RETURNED)
        on_returned(w, s, ev);
    else if (ev->type == WORKER_EV_SLOT_FULL)
        on_full(w, s, ev);
    else
        on_exited(w, s, ev);
}
