#include "worker_internal.h"

/* ---------------------------------------------------------------- the lane */

/* What the entries of one TASKS message share. */
struct arrival {
    const struct dtqi_tasks *m;
    struct dtqi_buf *buf;
    uint32_t *specs; /* by its dictionaries' indexes; held until the message is worked off */
    uint32_t specs_n;
    uint32_t *sinks; /* NONE: too many */
    uint32_t sinks_n;
};

static bool learn_specs(struct worker *w, struct arrival *a)
{
    a->specs = wk_scratch(w, a->m->specs_n, sizeof *a->specs);
    for (uint32_t i = 0; a->specs != NULL && i < a->m->specs_n; i++) {
        a->specs[i] = wk_spec_get(w, &a->m->specs[i]);
        if (a->specs[i] == NONE)
            return false;
        wk_spec_hold(w, a->specs[i]);
        a->specs_n = i + 1;
    }
    return a->specs != NULL;
}

static bool learn_sinks(struct worker *w, struct arrival *a)
{
    a->sinks = wk_scratch(w, a->m->sinks_n, sizeof *a->sinks);
    for (uint32_t i = 0; a->sinks != NULL && i < a->m->sinks_n; i++) {
        a->sinks[i] = wk_sink_get(w, &a->m->sinks[i]);
        if (a->sinks[i] != NONE)
            w->sinks[a->sinks[i]].refs++;
        a->sinks_n = i + 1;
    }
    return a->sinks != NULL;
}

static void arrival_done(struct worker *w, const struct arrival *a)
{
    for (uint32_t i = 0; i < a->specs_n; i++)
        wk_spec_drop(w, a->specs[i]);
    for (uint32_t i = 0; i < a->sinks_n; i++) {
        if (a->sinks[i] != NONE)
            wk_sink_drop(w, a->sinks[i]);
    }
}

static uint32_t dictionary(const uint32_t *numbers, uint32_t n, const uint32_t *index, uint32_t i)
{
    uint32_t at = dtqi_col32(index, i, 0);

    return at < n ? numbers[at] : NONE;
}

/* A higher attempt of a task that is held: the ventilator has done with the older one, or has given
 * it up. What may become an outcome stays. */
static void supersede(struct worker *w, struct entry *old)
{
    switch ((enum entry_state)old->state) {
    case ENTRY_LIMBO:
    case ENTRY_WAITING:
    case ENTRY_FAILED: wk_entry_discard(w, old); break;
    case ENTRY_FED:
    case ENTRY_DONE: old->flags |= ENTRY_STALE; break;
    case ENTRY_FREE:
    case ENTRY_STATES: break;
    }
}

/* Is this attempt one to take in beside what is held of its task? Makes way for it. */
static bool make_way(struct worker *w, struct entry *old, uint32_t attempt)
{
    uint32_t n = 0;

    if (old->origin == w->session.origin && old->attempt >= attempt)
        return false;
    for (const struct entry *e = old; e != NULL; e = entry_at(w, e->older))
        n++;
    if (n >= ATTEMPTS_OF_ONE_ID_MAX)
        return false;
    supersede(w, old);
    return true;
}

static void fail_entry(struct worker *w, struct entry *e, const char *text)
{
    struct dtqi_slice slice = {text, (uint32_t)strlen(text)};

    wk_entry_fail(w, e, DTQ_REASON_BAD_ENTRY, 0, slice, NULL);
}

static void take_task(struct worker *w, const struct arrival *a, uint32_t i)
{
    const struct dtqi_tasks *m = a->m;
    uint32_t attempt = dtqi_col32(m->attempts, i, 1);
    uint32_t spec = dictionary(a->specs, m->specs_n, m->spec_index, i);
    uint32_t sink = dictionary(a->sinks, m->sinks_n, m->sink_index, i);
    uint64_t expires_in_ms = dtqi_col64(m->expires_in_ms, i);
    uint64_t hash = dtqi_id_hash(&m->ids[i]);
    struct entry *old;
    uint32_t place = wk_entry_place(w, &m->ids[i], hash, &old);
    struct entry *e;

    w->session.received++;
    w->session.received_bytes +=
        dtqi_task_credit_bytes(spec != NONE ? w->specs[spec].raw.len : 0, m->bodies[i].len);
    if (old != NULL && !make_way(w, old, attempt)) {
        w->stats.tasks_refused++;
        return;
    }
    e = wk_entry_new(w, &m->ids[i], hash, old == NULL ? place : NONE, attempt, spec,
                     sink != NONE ? sink : ENTRY_NO_SINK);
    e->ticket = dtqi_col32(m->tickets, i, 0);
    e->reply_to = dtqi_col64(m->reply_to, i);
    e->until_ms = expires_in_ms != 0 ? w->now_ms + expires_in_ms : 0;
    if (e->until_ms < expires_in_ms)
        e->until_ms = 0; /* beyond the end of time */
    e->at = m->bodies[i].at;
    e->len = m->bodies[i].len;
    e->buf = a->buf != NULL ? dtqi_buf_ref(a->buf) : NULL;
    if (spec == NONE || w->specs[spec].name.len == 0) {
        fail_entry(w, e, "the entry has no spec");
    } else if (sink == NONE) {
        fail_entry(w, e, "the entry has no sink, or one sink too many");
    } else if (w->stops_ahead_n != 0 && wk_was_stopped_ahead(w, &e->id)) {
        e->flags |= ENTRY_STOP;
        wk_entry_stopped(w, e, false);
    } else {
        wk_entry_wait(w, e, false);
    }
}

static void take_tasks(struct worker *w, const struct dtqi_msg *msg)
{
    struct arrival a = {.m = &msg->tasks, .buf = msg->buf};
    bool known = wk_entries_reserve(w, msg->tasks.n) && learn_specs(w, &a) && learn_sinks(w, &a);

    for (uint32_t i = 0; known && i < msg->tasks.n; i++) {
        if (i + DTQI_IDMAP_AHEAD < msg->tasks.n)
            dtqi_idmap_expect(&w->map, &msg->tasks.ids[i + DTQI_IDMAP_AHEAD]);
        take_task(w, &a, i);
    }
    arrival_done(w, &a);
    w->stats.tasks_received += known ? msg->tasks.n : 0;
    w->session.beat_idle = false;
    if (!known)
        wk_session_lost(w, "no memory for tasks");
}

/* R15: more than was ever allowed. The bound is generous: credit that was taken back may have
 * crossed tasks on their way. */
static bool exceeds_credit(const struct worker *w, const struct dtqi_tasks *m)
{
    uint64_t active =
        (uint64_t)w->count[ENTRY_LIMBO] + w->count[ENTRY_WAITING] + w->count[ENTRY_FED];
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < m->n; i++)
        bytes += m->bodies[i].len;
    return active + m->n > 2ull * w->cfg.window_max + DTQI_BATCH_ENTRIES_MAX ||
           w->active_bytes + bytes > 2 * w->inbox_bytes_max + 2ull * DTQI_FRAME_BYTES_MAX;
}

void wk_on_lane_msg(struct worker *w, const struct dtqi_msg *msg)
{
    struct session *s = &w->session;

    if (s->id == 0 || s->lane == 0 || msg->type != DTQI_TASKS) {
        w->stats.foreign_msgs++;
        return;
    }
    if (msg->tasks.session != s->id || msg->tasks.lane_seq != s->lane_seq + 1) {
        w->stats.lane_gaps++;
        wk_session_lost(w, "a gap on the lane"); /* R17 */
        return;
    }
    if (exceeds_credit(w, &msg->tasks)) {
        wk_session_lost(w, "more tasks than allowed");
        return;
    }
    s->lane_seq++;
    take_tasks(w, msg);
}

void wk_on_lane_broken(struct worker *w, uint32_t lane)
{
    if (lane != 0 && lane == w->session.lane)
        wk_session_lost(w, "the lane broke"); /* R9: never used again */
}
