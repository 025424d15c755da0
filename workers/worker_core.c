#include "worker_internal.h"

#include <stdarg.h>

#define ACTIONS_MIN 64u
#define SCRATCH_BYTES_FIRST ((size_t)64 * 1024)
#define SCRATCH_BYTES_KEPT ((size_t)4 * 1024 * 1024)
#define LOG_BYTES_MAX 512

/* Least room for what waits and what is kept, beside one result per slot: tasks of any size pass
 * through it one by one. */
#define MEMORY_BESIDE_SLOTS (32ull * 1024 * 1024)

#define STOP_KEPT_MS 10000u
#define STOP_COLD_MS 5000u
#define STOP_SLOTS_MS 5000u /* slots with nothing to do get so long to end */
/* Named in a BYE. What is left out is lost with the session all the same. */
#define ABANDONED_MAX DTQI_BATCH_ENTRIES_MAX

#define NO_MEMORY_MS 20u /* what could not be done for want of memory is tried again so soon */

/* ---------------------------------------------------------------- actions */

void worker_actions_reset(struct worker_actions *a)
{
    a->n = 0;
    if (a->scratch == NULL)
        return;
    if (a->scratch->chunks != NULL && a->scratch->chunks->size > SCRATCH_BYTES_KEPT) {
        dtqi_buf_unref(a->scratch);
        a->scratch = NULL;
        return;
    }
    dtqi_buf_reset(a->scratch);
}

void worker_actions_done(struct worker_actions *a)
{
    free(a->at);
    dtqi_buf_unref(a->scratch);
    *a = (struct worker_actions){0};
}

struct worker_action *wk_act(struct worker *w, enum worker_action_type type)
{
    struct worker_actions *out = w->out;

    if (out->n == out->room) {
        uint32_t room = dtqi_more_room(out->room, ACTIONS_MIN);
        struct worker_action *at = realloc(out->at, room * sizeof *at);

        if (at == NULL) {
            due(w, w->now_ms + NO_MEMORY_MS);
            return NULL;
        }
        out->at = at;
        out->room = room;
    }
    out->at[out->n] = (struct worker_action){.type = type};
    return &out->at[out->n++];
}

void *wk_scratch(struct worker *w, size_t n, size_t size)
{
    void *at = NULL;

    if (w->out->scratch == NULL)
        w->out->scratch = dtqi_buf_new(SCRATCH_BYTES_FIRST, SIZE_MAX);
    if (w->out->scratch != NULL)
        at = dtqi_buf_alloc(w->out->scratch, n * size);
    if (at == NULL)
        due(w, w->now_ms + NO_MEMORY_MS);
    return at;
}

struct dtqi_msg *wk_send(struct worker *w, enum dtqi_msg_type type)
{
    struct worker_action *a = wk_act(w, WORKER_ACT_CONTROL_SEND);

    if (a == NULL)
        return NULL;
    a->msg.type = type;
    return &a->msg;
}

void wk_log(struct worker *w, enum worker_log_level level, const char *event, const char *format,
            ...)
{
    char text[LOG_BYTES_MAX];
    struct worker_action *a;
    va_list args;
    char *copy;
    int len;

    va_start(args, format);
    len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len < 0)
        return;
    if ((size_t)len >= sizeof text)
        len = sizeof text - 1;
    copy = wk_scratch(w, (size_t)len, 1);
    a = copy != NULL ? wk_act(w, WORKER_ACT_LOG) : NULL;
    if (a == NULL)
        return;
    memcpy(copy, text, (size_t)len);
    a->log.level = level;
    a->log.event = event;
    a->log.text = (struct dtqi_str){copy, (uint32_t)len};
}

void wk_exit(struct worker *w, int status, struct dtqi_str text)
{
    char *copy = wk_scratch(w, text.len, 1);
    struct worker_action *a = copy != NULL ? wk_act(w, WORKER_ACT_EXIT) : NULL;

    if (a == NULL)
        return; /* no memory: the next tick tries again */
    memcpy(copy, text.at, text.len);
    a->exit.status = status;
    a->exit.text = (struct dtqi_str){copy, text.len};
    w->stop = STOP_GONE;
}

/* ---------------------------------------------------------------- small helpers */

uint64_t wk_random_below(struct worker *w, uint64_t bound)
{
    w->random += 0x9e3779b97f4a7c15ull; /* SplitMix64 */
    return bound != 0 ? dtqi_mix64(w->random) % bound : 0;
}

bool wk_ids_add(struct ids *ids, const dtq_id *id)
{
    if (ids->n == ids->room) {
        uint32_t room = dtqi_more_room(ids->room, 64);
        dtq_id *at = realloc(ids->at, room * sizeof *at);

        if (at == NULL)
            return false;
        ids->at = at;
        ids->room = room;
    }
    ids->at[ids->n++] = *id;
    return true;
}

bool wk_indexes_add(struct indexes *x, uint32_t index)
{
    if (x->n == x->room) {
        uint32_t room = dtqi_more_room(x->room, 256);
        uint32_t *at = realloc(x->at, room * sizeof *at);

        if (at == NULL)
            return false;
        x->at = at;
        x->room = room;
    }
    x->at[x->n++] = index;
    return true;
}

struct id_text wk_id_text(const dtq_id *id)
{
    static const char digits[] = "0123456789abcdef";
    struct id_text text;

    for (size_t i = 0; i < 16; i++) {
        text.at[2 * i] = digits[id->bytes[i] >> 4];
        text.at[2 * i + 1] = digits[id->bytes[i] & 15];
    }
    text.at[32] = '\0';
    return text;
}

/* ---------------------------------------------------------------- life of the core */

uint64_t worker_memory_min(uint32_t slots, uint64_t result_bytes_max)
{
    uint64_t one = result_bytes_max != 0 ? result_bytes_max : DTQI_RESULT_BYTES_MAX;

    return slots * one + MEMORY_BESIDE_SLOTS;
}

uint64_t worker_memory_default(uint32_t slots, uint64_t result_bytes_max)
{
    uint64_t twice = 2 * worker_memory_min(slots, result_bytes_max);

    return twice > WORKER_MEMORY_BYTES ? twice : WORKER_MEMORY_BYTES;
}

static void set_defaults(struct worker_cfg *cfg)
{
    if (cfg->result_bytes_max == 0 || cfg->result_bytes_max > DTQI_RESULT_BYTES_MAX)
        cfg->result_bytes_max = DTQI_RESULT_BYTES_MAX;
    if (cfg->memory_bytes_max == 0)
        cfg->memory_bytes_max = worker_memory_default(cfg->slots, cfg->result_bytes_max);
    if (cfg->ring_bytes == 0)
        cfg->ring_bytes = 1024ull * 1024;
    if (cfg->stop_kept_ms == 0)
        cfg->stop_kept_ms = STOP_KEPT_MS;
    if (cfg->window_max == 0)
        cfg->window_max = WORKER_WINDOW_MAX;
    if (cfg->target_us == 0)
        cfg->target_us = WORKER_TARGET_US;
}

static struct dtqi_str copy_text(char **at, struct dtqi_str text)
{
    struct dtqi_str copy = {*at, text.len};

    if (text.len != 0)
        memcpy(*at, text.at, text.len);
    *at += text.len;
    return copy;
}

/* Own what the configuration points to. */
static dtq_err copy_texts(struct worker *w)
{
    size_t bytes = w->cfg.name.len + w->cfg.program.len + w->cfg.ventilator.len + 1;
    char *at;

    for (uint32_t i = 0; i < w->cfg.queues_n; i++)
        bytes += w->cfg.queues[i].len;
    at = w->texts = malloc(bytes);
    w->queues = calloc(w->cfg.queues_n + 1, sizeof *w->queues);
    w->queue_weights = calloc(w->cfg.queues_n + 1, sizeof *w->queue_weights);
    if (w->texts == NULL || w->queues == NULL || w->queue_weights == NULL)
        return DTQ_ENOMEM;
    w->cfg.name = copy_text(&at, w->cfg.name);
    w->cfg.program = copy_text(&at, w->cfg.program);
    w->cfg.ventilator = copy_text(&at, w->cfg.ventilator);
    for (uint32_t i = 0; i < w->cfg.queues_n; i++)
        w->queues[i] = copy_text(&at, w->cfg.queues[i]);
    for (uint32_t i = 0; w->cfg.queue_weights != NULL && i < w->cfg.queues_n; i++)
        w->queue_weights[i] = w->cfg.queue_weights[i];
    if (w->cfg.queue_weights != NULL)
        w->cfg.queue_weights = w->queue_weights;
    w->cfg.queues = w->queues;
    return DTQ_OK;
}

dtq_err worker_new(const struct worker_cfg *cfg, struct worker **ret_worker)
{
    struct worker *w;
    dtq_err err = DTQ_EINVAL;

    if (cfg->slots == 0 || cfg->slots > DTQI_SLOTS_MAX)
        return DTQ_EINVAL;
    w = calloc(1, sizeof *w);
    if (w == NULL)
        return DTQ_ENOMEM;
    w->cfg = *cfg;
    w->random = cfg->seed;
    set_defaults(&w->cfg);
    if (w->cfg.memory_bytes_max < worker_memory_min(cfg->slots, w->cfg.result_bytes_max))
        goto fail;
    err = copy_texts(w);
    if (err == DTQ_OK)
        err = wk_entries_init(w);
    if (err == DTQ_OK)
        err = wk_slots_init(w);
    if (err != DTQ_OK)
        goto fail;
    wk_session_init(w);
    wk_credit_init(w);
    wk_results_init(w);
    *ret_worker = w;
    return DTQ_OK;

fail:
    worker_free(w);
    return err;
}

void worker_free(struct worker *w)
{
    if (w == NULL)
        return;
    wk_slots_done(w);
    wk_entries_done(w);
    free(w->returned.at);
    free(w->stopped.at);
    free(w->started.at);
    free(w->done.at);
    free(w->failures.at);
    free(w->removed);
    free(w->queues);
    free(w->queue_weights);
    free(w->texts);
    free(w);
}

/* ---------------------------------------------------------------- stopping */

/* What waits for a verdict that no session will bring. */
static void drop_limbo(struct worker *w)
{
    struct entry *e;

    while (w->session.id == 0 && (e = entry_at(w, w->limbo.head)) != NULL)
        wk_entry_discard(w, e);
}

static void give_back_all(struct worker *w)
{
    struct entry *e;

    wk_slots_take_back(w);
    while ((e = entry_at(w, w->inbox.head)) != NULL) {
        list_remove(w, &w->inbox, e);
        wk_entry_return(w, e);
    }
}

void wk_stop(struct worker *w, bool cold)
{
    if (w->stop == STOP_GONE || w->stop == STOP_COLD || (w->stop == STOP_WARM && !cold))
        return;
    wk_log(w, WORKER_LOG_INFO, "stopping", "how=%s running=%u kept=%u", cold ? "cold" : "warm",
           w->count[ENTRY_FED], w->count[ENTRY_DONE] + w->count[ENTRY_FAILED]);
    w->stop = cold ? STOP_COLD : STOP_WARM;
    w->stop_ms = w->now_ms;
    give_back_all(w);
    if (cold)
        wk_slots_kill(w);
}

/* R40: the ventilator need not wait for this worker's death, and learns what is given up. */
static void say_bye(struct worker *w)
{
    uint32_t kept = w->count[ENTRY_DONE] + w->count[ENTRY_FAILED];
    struct dtqi_msg *msg;
    dtq_id *ids;
    uint32_t n = 0;

    if (w->session.id == 0)
        return;
    if (kept > ABANDONED_MAX)
        kept = ABANDONED_MAX;
    ids = wk_scratch(w, kept, sizeof *ids);
    msg = ids != NULL ? wk_send(w, DTQI_BYE) : NULL;
    if (msg == NULL)
        return;
    for (uint32_t i = 0; n < kept && i < w->entries_n; i++) {
        const struct entry *e = &w->entries[i];

        if ((e->state == ENTRY_DONE || e->state == ENTRY_FAILED) && (e->flags & ENTRY_HELD) != 0)
            ids[n++] = e->id;
    }
    msg->bye.session = w->session.id;
    msg->bye.abandoned_ids = ids;
    msg->bye.abandoned_n = n;
}

static void finish(struct worker *w)
{
    uint32_t kept = w->count[ENTRY_DONE] + w->count[ENTRY_FAILED];

    wk_report(w, true);
    say_bye(w);
    wk_log(w, kept != 0 ? WORKER_LOG_WARN : WORKER_LOG_INFO, "stopped", "abandoned=%u", kept);
    wk_exit(w, 0, dtqi_str("stopped"));
}

/* Warm: all tasks have ended. Wait until the ventilator lets their results go, within limits. */
static bool results_are_settled(struct worker *w)
{
    uint64_t until;

    if (w->stop_kept_ms == 0)
        w->stop_kept_ms = w->now_ms;
    if (w->count[ENTRY_DONE] + w->count[ENTRY_FAILED] == w->fading.n)
        return true;
    until = w->stop_kept_ms + w->cfg.stop_kept_ms;
    due(w, until);
    return w->now_ms >= until;
}

static void stop_tick(struct worker *w)
{
    bool gone = wk_slots_are_down(w);

    if (w->stop == STOP_COLD) {
        due(w, w->stop_ms + STOP_COLD_MS);
        if (gone || w->now_ms >= w->stop_ms + STOP_COLD_MS)
            finish(w);
        return;
    }
    drop_limbo(w);
    if (w->count[ENTRY_FED] + w->count[ENTRY_LIMBO] != 0 || !results_are_settled(w))
        return;
    due(w, w->stop_kept_ms + STOP_SLOTS_MS);
    if (gone || w->now_ms >= w->stop_kept_ms + STOP_SLOTS_MS)
        finish(w);
}

/* Nothing is held, and nothing was for as long as the configuration allows. */
static void leave_when_idle(struct worker *w)
{
    uint64_t until = w->busy_ms + w->cfg.idle_timeout_ms;
    uint32_t held = 0;

    for (int state = ENTRY_LIMBO; state < ENTRY_STATES; state++)
        held += w->count[state];
    if (held != w->fading.n || w->session.id == 0) {
        w->busy_ms = w->now_ms;
        return;
    }
    if (w->cfg.idle_timeout_ms == 0)
        return;
    due(w, until);
    if (w->now_ms >= until)
        wk_stop(w, false);
}

/* ---------------------------------------------------------------- the step */

static void tick(struct worker *w)
{
    w->deadline_ms = UINT64_MAX;
    wk_slots_tick(w);
    wk_session_tick(w);
    wk_slots_balance(w);
    wk_results_fade(w);
    wk_results_send(w); /* what the user waits for goes first */
    wk_credit_window(w);
    wk_report(w, false);
    wk_session_beat(w);
    leave_when_idle(w);
    if (w->stop != STOP_NO)
        stop_tick(w);
}

static void dispatch(struct worker *w, const struct worker_event *ev)
{
    switch (ev->type) {
    case WORKER_EV_TICK: tick(w); break;
    case WORKER_EV_CONTROL_CONNECTED: wk_on_control_connected(w); break;
    case WORKER_EV_CONTROL_MSG: wk_on_control_msg(w, ev->msg); break;
    case WORKER_EV_LANE_MSG: wk_on_lane_msg(w, ev->msg); break;
    case WORKER_EV_LANE_BROKEN: wk_on_lane_broken(w, ev->lane); break;
    case WORKER_EV_SINK_CONNECTED:
    case WORKER_EV_SINK_LOST:
    case WORKER_EV_SINK_FULL:
    case WORKER_EV_SINK_WRITABLE: wk_on_sink(w, ev); break;
    case WORKER_EV_SLOT_READY:
    case WORKER_EV_SLOT_BROKEN:
    case WORKER_EV_SLOT_STARTED:
    case WORKER_EV_SLOT_ENDED:
    case WORKER_EV_SLOT_RETURNED:
    case WORKER_EV_SLOT_FULL:
    case WORKER_EV_SLOT_EXITED: wk_on_slot(w, ev); break;
    case WORKER_EV_STOP: wk_stop(w, ev->cold); break;
    }
}

void worker_step(struct worker *w, const struct worker_event *ev, struct worker_actions *out)
{
    if (w->stop == STOP_GONE) {
        w->deadline_ms = UINT64_MAX;
        return;
    }
    w->now_ms = ev->now_ms;
    w->wall_ms = ev->wall_ms;
    w->out = out;
    if (ev->type != WORKER_EV_TICK)
        due(w, w->now_ms); /* to do what follows from it */
    dispatch(w, ev);
    w->out = NULL;
}

uint64_t worker_deadline_ms(const struct worker *w)
{
    return w->deadline_ms;
}

const struct worker_stats *worker_stats(const struct worker *w)
{
    return &w->stats;
}

void worker_view(const struct worker *w, struct worker_view *ret_view)
{
    *ret_view = (struct worker_view){
        .in_session = w->session.id != 0,
        .session = w->session.id,
        .waiting = w->count[ENTRY_WAITING] + w->count[ENTRY_LIMBO],
        .in_slots = w->count[ENTRY_FED],
        .done = w->count[ENTRY_DONE],
        .failed = w->count[ENTRY_FAILED],
        .window = w->window,
        .credit_tasks = w->session.told_tasks,
        .credit_bytes = w->session.told_bytes,
        .kept_bytes = w->kept_bytes,
        .task_ns = w->task_ns,
        .stopping = w->stop != STOP_NO,
    };
}
