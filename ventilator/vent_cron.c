/*
 * Cron entries: each makes a task again and again. The host's wall clock decides what is due, and
 * the loop's when to look. What was due is known from a cursor that goes with the task into one
 * commit: each time is made into a task once, whenever the ventilator dies. A clock that is set
 * back waits for the cursor, but for intervals, which begin anew. One run of an entry is on its way
 * into the journal at a time; what changes about it meanwhile is written without that run.
 */
#include "vent_internal.h"

#define LATE_MS 10000u    /* MISSED_SKIP: what is later than this was missed */
#define SLACK_MS 1000u    /* clocks are corrected by that much without a word */
#define RETRY_MS 500u     /* what could not fire is tried again */
#define LOOKS_MAX 64u     /* at entries, in one tick */
#define COUNTED_MAX 1000u /* missed times are counted so far at once */
#define SPAN_MS 1000u     /* no two times of an expression are closer */
#define FLAW_BYTES 512u

static const char no_calls[] = "this ventilator reads no expressions";

/* ---------------------------------------------------------------- what it was told to be */

static bool keep(struct dtqi_buf *buf, const void **at, uint32_t bytes)
{
    void *copy = dtqi_buf_alloc(buf, bytes + 1u);

    if (copy == NULL)
        return false;
    if (bytes != 0)
        memcpy(copy, *at, bytes);
    *at = copy;
    return true;
}

static bool keep_record(struct dtqi_buf *buf, struct journal_cron *r)
{
    return keep(buf, (const void **)&r->name.at, r->name.len) &&
           keep(buf, (const void **)&r->expression.at, r->expression.len) &&
           keep(buf, (const void **)&r->zone.at, r->zone.len) &&
           keep(buf, &r->spec.at, r->spec.len) && keep(buf, &r->body.at, r->body.len);
}

/* false: no memory. What is wrong with it is in the def. */
static bool read_expression(const struct vent *v, struct cron_def *def)
{
    char why[FLAW_BYTES] = "out of memory";
    const void *kept = why;

    if (def->record.expression.len == 0)
        return true;
    def->flaw = no_calls;
    if (v->cfg.cron.parse == NULL)
        return true;
    def->flaw = NULL;
    if (v->cfg.cron.parse(def->record.expression, def->record.zone, &def->expression, why,
                          sizeof why) == DTQ_OK)
        return true;
    if (!keep(def->buf, &kept, (uint32_t)strlen(why) + 1))
        return false;
    def->flaw = kept;
    return true;
}

struct cron_def *vent_cron_def_new(struct vent *v, const struct journal_cron *record)
{
    struct cron_def *def = calloc(1, sizeof *def);

    if (def == NULL)
        return NULL;
    def->record = *record;
    def->buf = dtqi_buf_new(record->spec.len + record->body.len + FLAW_BYTES, SIZE_MAX);
    if (def->buf != NULL && keep_record(def->buf, &def->record) && read_expression(v, def))
        return def;
    vent_cron_def_free(v, def);
    return NULL;
}

void vent_cron_def_free(struct vent *v, struct cron_def *def)
{
    if (def == NULL)
        return;
    if (def->expression != NULL)
        v->cfg.cron.free(def->expression);
    dtqi_buf_unref(def->buf);
    free(def);
}

uint64_t vent_cron_bytes_of(const struct cron_def *def)
{
    return def != NULL ? (uint64_t)def->record.spec.len + def->record.body.len : 0;
}

/* ---------------------------------------------------------------- in the order of names */

uint32_t vent_cron_behind(const struct vent *v, struct dtqi_str name)
{
    uint32_t low = 0;
    uint32_t high = v->crons_n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const char *at = v->crons[middle]->name;
        int order = strncmp(at, name.at, name.len);

        if (order < 0 || (order == 0 && at[name.len] == '\0'))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct cron_entry *vent_cron_find(const struct vent *v, struct dtqi_str name)
{
    uint32_t behind = vent_cron_behind(v, name);
    struct cron_entry *e = behind > 0 ? v->crons[behind - 1] : NULL;

    return e != NULL && dtqi_str_eq(dtqi_str(e->name), name) ? e : NULL;
}

static struct cron_entry *entry_new(struct dtqi_str name)
{
    struct cron_entry *e = calloc(1, sizeof *e);

    if (e == NULL)
        return NULL;
    assert(name.len <= DTQI_NAME_BYTES_MAX);
    memcpy(e->name, name.at, name.len);
    e->asks = e->asked = e->runs = e->place = e->fire.task = NONE;
    e->next_wall_ms = NEVER;
    return e;
}

struct cron_entry *vent_cron_get(struct vent *v, struct dtqi_str name)
{
    struct cron_entry *e = vent_cron_find(v, name);
    uint32_t at = vent_cron_behind(v, name);

    if (e != NULL)
        return e;
    if (!vent_grow(&v->crons, v->crons_n, &v->crons_room, sizeof(struct cron_entry *)) ||
        !vent_grow(&v->cron_heap, v->crons_n, &v->cron_heap_room, sizeof(struct cron_entry *)))
        return NULL;
    e = entry_new(name);
    if (e == NULL)
        return NULL;
    memmove(&v->crons[at + 1], &v->crons[at], (v->crons_n - at) * sizeof(struct cron_entry *));
    v->crons[at] = e;
    v->crons_n++;
    return e;
}

/* ---------------------------------------------------------------- a heap by next time */

static bool is_sooner(const struct cron_entry *a, const struct cron_entry *b)
{
    return a->next_wall_ms != b->next_wall_ms ? a->next_wall_ms < b->next_wall_ms
                                              : strcmp(a->name, b->name) < 0;
}

static void heap_put(struct vent *v, uint32_t at, struct cron_entry *e)
{
    v->cron_heap[at] = e;
    e->place = at;
}

static void sift(struct vent *v, uint32_t at)
{
    struct cron_entry *e = v->cron_heap[at];

    while (at > 0 && is_sooner(e, v->cron_heap[(at - 1) / 2])) {
        heap_put(v, at, v->cron_heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child + 1 < v->cron_heap_n && is_sooner(v->cron_heap[child + 1], v->cron_heap[child]))
            child++;
        if (child >= v->cron_heap_n || !is_sooner(v->cron_heap[child], e))
            break;
        heap_put(v, at, v->cron_heap[child]);
        at = child;
    }
    heap_put(v, at, e);
}

static void heap_remove(struct vent *v, struct cron_entry *e)
{
    uint32_t at = e->place;

    if (at == NONE)
        return;
    e->place = NONE;
    if (at == --v->cron_heap_n)
        return;
    heap_put(v, at, v->cron_heap[v->cron_heap_n]);
    sift(v, at);
}

/* ---------------------------------------------------------------- times */

static bool next_behind(const struct vent *v, const struct cron_entry *e, uint64_t after,
                        uint64_t *ret)
{
    const struct cron_def *def = e->def;
    uint64_t every = def->record.every_ms;
    uint64_t anchor = e->state.anchor_wall_ms;

    if (def->expression != NULL)
        return v->cfg.cron.next(def->expression, after, ret);
    if (def->flaw != NULL)
        return false;
    *ret = after < anchor ? anchor + every : anchor + ((after - anchor) / every + 1) * every;
    return *ret <= DTQI_WALL_MS_MAX;
}

static bool has_in(const struct vent *v, const struct cron_entry *e, uint64_t after, uint64_t until,
                   uint64_t *ret)
{
    uint64_t next;

    if (!next_behind(v, e, after, &next) || next > until)
        return false;
    *ret = next;
    return true;
}

/* The last time in (after, until] of an expression: first how far back it is, then where. */
static bool last_of_expression(const struct vent *v, const struct cron_entry *e, uint64_t after,
                               uint64_t until, uint64_t *ret)
{
    uint64_t span = SPAN_MS;

    if (!has_in(v, e, after, until, &after))
        return false;
    while (until - after > span && !has_in(v, e, until - span, until, &after))
        span *= 2;
    while (after < until) {
        uint64_t middle = after + (until - after + 1) / 2;

        if (!has_in(v, e, middle - 1, until, &after))
            until = middle - 1;
    }
    *ret = after;
    return true;
}

static bool last_in(const struct vent *v, const struct cron_entry *e, uint64_t after,
                    uint64_t until, uint64_t *ret)
{
    uint64_t every = e->def->record.every_ms;
    uint64_t anchor = e->state.anchor_wall_ms;
    uint64_t last;

    if (e->def->expression != NULL)
        return last_of_expression(v, e, after, until, ret);
    if (!has_in(v, e, after, until, &last))
        return false;
    *ret = anchor + (until - anchor) / every * every;
    return true;
}

/* Times in (after, before); so many, or COUNTED_MAX of them. */
static uint64_t count_in(const struct vent *v, const struct cron_entry *e, uint64_t after,
                         uint64_t before)
{
    uint64_t n = 0;

    if (e->def->expression == NULL && has_in(v, e, after, before - 1, &after))
        return 1 + (before - 1 - after) / e->def->record.every_ms;
    while (n < COUNTED_MAX && has_in(v, e, after, before - 1, &after))
        n++;
    return n;
}

/* ---------------------------------------------------------------- what is to be written */

static void link_change(struct vent *v, struct cron_entry *e)
{
    e->changed_next = NULL;
    e->changed_prev = v->cron_changed_tail;
    if (e->changed_prev != NULL)
        e->changed_prev->changed_next = e;
    else
        v->cron_changed = e;
    v->cron_changed_tail = e;
}

static void unlink_change(struct vent *v, struct cron_entry *e)
{
    if (e->changed_prev != NULL)
        e->changed_prev->changed_next = e->changed_next;
    else
        v->cron_changed = e->changed_next;
    if (e->changed_next != NULL)
        e->changed_next->changed_prev = e->changed_prev;
    else
        v->cron_changed_tail = e->changed_prev;
    e->changed_next = e->changed_prev = NULL;
}

static void change(struct vent *v, struct cron_entry *e, enum cron_change what)
{
    if (e->change == CRON_SAME)
        link_change(v, e);
    if (what > (enum cron_change)e->change)
        e->change = (uint8_t)what;
    vent_lazy(v);
}

/* ---------------------------------------------------------------- when it is looked at */

static bool is_removed(const struct cron_entry *e)
{
    return e->change == CRON_DEL || e->handed == CRON_DEL;
}

static bool may_fire(const struct vent *v, const struct cron_entry *e)
{
    return e->def != NULL && e->next == NULL && !e->state.paused && !is_removed(e) &&
           e->fire.task == NONE && e->look == NULL && !v->stopping;
}

static void block(struct vent *v, struct cron_entry *e, const char *why)
{
    v->crons_blocked += (why != NULL) - (e->blocked != NULL);
    e->blocked = why;
}

/* An interval whose times are further away than the interval: the clock was set back. */
static bool is_ahead(const struct vent *v, const struct cron_entry *e)
{
    return e->def->record.every_ms != 0 && e->state.cursor_wall_ms > v->host_wall_ms + SLACK_MS;
}

/* It does not wait until the clock is there again; nor does a time that came before, and could not
 * be made a run of, count among those from now on. */
static void rebase(struct vent *v, struct cron_entry *e)
{
    if (!is_ahead(v, e))
        return;
    e->pinned_wall_ms = 0;
    e->state.anchor_wall_ms = e->state.cursor_wall_ms = v->host_wall_ms;
    change(v, e, CRON_STATE);
}

/* Its next time is found anew. */
static void schedule(struct vent *v, struct cron_entry *e)
{
    heap_remove(v, e);
    block(v, e, NULL);
    e->next_wall_ms = NEVER;
    if (e->def == NULL)
        return;
    rebase(v, e);
    if (!next_behind(v, e, e->state.cursor_wall_ms, &e->next_wall_ms))
        e->next_wall_ms = NEVER;
    if (e->next_wall_ms == NEVER || !may_fire(v, e))
        return;
    assert(v->cron_heap_n < v->cron_heap_room);
    e->place = v->cron_heap_n++;
    heap_put(v, e->place, e);
    sift(v, e->place);
}

/* ---------------------------------------------------------------- orders, and how they are written
 */

void vent_cron_becomes(struct vent *v, struct cron_entry *e, struct cron_def *def)
{
    struct journal_cron *r = &def->record;

    assert(e->next == NULL);
    e->next = def;
    v->cron_bytes += vent_cron_bytes_of(def);
    r->name = dtqi_str(e->name);
    r->state = (struct journal_cron_state){.cursor_wall_ms = v->host_wall_ms,
                                           .anchor_wall_ms = v->host_wall_ms};
    r->created_wall_ms = v->host_wall_ms;
    if (e->def == NULL) {
        uint64_t random[2] = {vent_random(v, UINT64_MAX), vent_random(v, UINT64_MAX)};

        memcpy(e->state.uid.bytes, random, sizeof e->state.uid.bytes);
    } else {
        r->created_wall_ms = e->def->record.created_wall_ms;
    }
    r->uid = e->state.uid;
    heap_remove(v, e);
    change(v, e, CRON_PUT);
}

void vent_cron_remove(struct vent *v, struct cron_entry *e)
{
    change(v, e, CRON_DEL);
    schedule(v, e);
}

void vent_cron_pause(struct vent *v, struct cron_entry *e, bool paused)
{
    if (e->state.paused == paused && e->change == CRON_SAME && e->handed == CRON_SAME)
        return;
    e->state.paused = paused;
    e->pinned_wall_ms = 0;
    change(v, e, CRON_STATE);
    schedule(v, e);
}

static void note_by_hand(struct journal_cron_state *s, const dtq_id *id)
{
    if (s->hand_n < JOURNAL_CRON_HAND_MAX)
        s->hand_n++;
    memmove(&s->hand_ids[1], &s->hand_ids[0], (s->hand_n - 1) * sizeof *id);
    s->hand_ids[0] = *id;
}

/* What it is once its run is committed. */
static struct journal_cron_state after_fire(const struct cron_entry *e)
{
    struct journal_cron_state s = e->state;
    const struct cron_fire *f = &e->fire;

    if (!f->by_hand && f->due_wall_ms > s.cursor_wall_ms)
        s.cursor_wall_ms = f->due_wall_ms;
    s.due_wall_ms = f->due_wall_ms;
    s.fired_wall_ms = f->wall_ms;
    s.last_id = f->id;
    s.missed += f->missed;
    s.fired++;
    if (f->by_hand)
        note_by_hand(&s, &f->id);
    return s;
}

static void tell(struct vent *v, struct cron_entry *e)
{
    static const enum journal_op_type types[] = {[CRON_STATE] = JOURNAL_CRON_STATE,
                                                 [CRON_PUT] = JOURNAL_CRON_PUT,
                                                 [CRON_DEL] = JOURNAL_CRON_DEL};

    e->told = (struct journal_cron){.name = dtqi_str(e->name)};
    if (e->change == CRON_PUT)
        e->told = e->next->record;
    e->told.state = e->state;
    if (e->change == CRON_PUT) {
        e->told.state.cursor_wall_ms = e->next->record.state.cursor_wall_ms;
        e->told.state.anchor_wall_ms = e->next->record.state.anchor_wall_ms;
        v->flight_has_puts = true;
    }
    vent_lone_op(v, types[e->change])->cron = &e->told;
    e->handed = e->change;
    e->change = CRON_SAME;
    e->asked = e->asks;
    e->asks = NONE;
}

void vent_crons_gather(struct vent *v)
{
    while (v->cron_changed != NULL && v->batch.ops_n < v->cfg.journal_ops_max) {
        struct cron_entry *e = v->cron_changed;

        unlink_change(v, e);
        tell(v, e);
        e->handed_next = v->cron_handed;
        v->cron_handed = e;
    }
}

void vent_cron_fire_op(struct vent *v, const struct task *t, struct journal_op *op)
{
    struct cron_entry *e = past_of(v, t)->cron;

    assert(e->fire.task == task_index(v, t));
    e->told_fire = (struct journal_cron){.name = dtqi_str(e->name), .state = after_fire(e)};
    if (e->handed == CRON_PUT) { /* in this batch, before it: its times begin anew */
        e->told_fire.state.cursor_wall_ms = e->told.state.cursor_wall_ms;
        e->told_fire.state.anchor_wall_ms = e->told.state.anchor_wall_ms;
    }
    op->cron = &e->told_fire;
}

/* ---------------------------------------------------------------- what it answered */

static void release_all(struct vent *v, uint32_t *chain)
{
    uint32_t wait;

    while ((wait = vent_link_take(v, chain)) != NONE)
        vent_wait_release(v, wait);
}

static void refuse_all(struct vent *v, uint32_t *chain, enum dtqi_refusal reason, const char *text)
{
    for (uint32_t i = *chain; i != NONE; i = v->links[i].next)
        vent_wait_refuse(v, v->links[i].to, 0, reason, text);
    release_all(v, chain);
}

static void detach(struct vent *v, struct cron_entry *e)
{
    if (e->fire.task != NONE) {
        struct task *t = task_at(v, e->fire.task);

        t->marks &= (uint8_t)~TASK_CRON;
        past_of(v, t)->cron = NULL;
    }
    if (e->look != NULL)
        e->look->cron = NULL;
    heap_remove(v, e);
    block(v, e, NULL);
    if (e->change != CRON_SAME)
        unlink_change(v, e);
}

static void entry_free(struct vent *v, struct cron_entry *e)
{
    uint32_t at = vent_cron_behind(v, dtqi_str(e->name)) - 1;

    assert(v->crons[at] == e);
    detach(v, e);
    refuse_all(v, &e->asks, DTQI_BAD_TASK, "the cron entry is gone");
    refuse_all(v, &e->runs, DTQI_BAD_TASK, "the cron entry is gone");
    v->cron_bytes -= vent_cron_bytes_of(e->def) + vent_cron_bytes_of(e->next);
    vent_cron_def_free(v, e->def);
    vent_cron_def_free(v, e->next);
    v->crons_n--;
    memmove(&v->crons[at], &v->crons[at + 1], (v->crons_n - at) * sizeof(struct cron_entry *));
    free(e);
}

static void put_committed(struct vent *v, struct cron_entry *e)
{
    v->cron_bytes -= vent_cron_bytes_of(e->def);
    vent_cron_def_free(v, e->def);
    e->def = e->next;
    e->next = NULL;
    e->state.cursor_wall_ms = e->told.state.cursor_wall_ms;
    e->state.anchor_wall_ms = e->told.state.anchor_wall_ms;
    e->pinned_wall_ms = 0;
    schedule(v, e);
}

/* Nobody was told that it is so: it is not. */
static void put_failed(struct vent *v, struct cron_entry *e, dtq_err err)
{
    refuse_all(v, &e->asked, err == DTQ_ENOSPC ? DTQI_NO_SPACE : DTQI_BUSY,
               "the cron entry could not be written to the journal");
    if (e->def == NULL) {
        entry_free(v, e);
        return;
    }
    v->cron_bytes -= vent_cron_bytes_of(e->next);
    vent_cron_def_free(v, e->next);
    e->next = NULL;
    schedule(v, e);
}

static void told_in_vain(struct vent *v, struct cron_entry *e, enum cron_change what)
{
    uint32_t *end = &e->asked;

    while (*end != NONE)
        end = &v->links[*end].next;
    *end = e->asks;
    e->asks = e->asked;
    e->asked = NONE;
    v->urgent |= e->asks != NONE;
    change(v, e, what);
}

static void answered(struct vent *v, struct cron_entry *e, dtq_err err)
{
    enum cron_change what = (enum cron_change)e->handed;

    e->handed = CRON_SAME;
    if (err != DTQ_OK && what == CRON_PUT) {
        put_failed(v, e, err);
    } else if (err != DTQ_OK) {
        told_in_vain(v, e, what);
    } else {
        release_all(v, &e->asked);
        if (what == CRON_PUT)
            put_committed(v, e);
        if (what == CRON_DEL)
            entry_free(v, e);
    }
}

void vent_crons_answered(struct vent *v, dtq_err err)
{
    while (v->cron_handed != NULL) {
        struct cron_entry *e = v->cron_handed;

        v->cron_handed = e->handed_next;
        e->handed_next = NULL;
        answered(v, e, err);
    }
}

/* ---------------------------------------------------------------- a run */

/* Of one entry and one of its times: after a crash before the commit the same time gets the same
 * id again, so that what ran of it already and this are one task to the sink. */
static dtq_id run_id(const struct cron_entry *e, uint64_t due_wall_ms)
{
    uint64_t uid[2];
    uint64_t hash[2];
    dtq_id id;

    memcpy(uid, e->state.uid.bytes, sizeof uid);
    hash[0] = dtqi_mix64(uid[0] ^ dtqi_mix64(due_wall_ms));
    hash[1] = dtqi_mix64(uid[1] ^ dtqi_mix64(hash[0] ^ e->state.anchor_wall_ms));
    memcpy(id.bytes, hash, sizeof id.bytes);
    vent_id_stamp(&id, due_wall_ms);
    return id;
}

struct refusal_of_run {
    enum dtqi_refusal reason;
    const char *text;
};

/* The time of the entry, which is one of the host's wall clock, by the clock that tasks go by. */
static uint64_t steady_of(const struct vent *v, uint64_t due_wall_ms)
{
    uint64_t past_ms = due_wall_ms < v->host_wall_ms ? v->host_wall_ms - due_wall_ms : 0;

    return past_ms < v->wall_ms ? v->wall_ms - past_ms : 0;
}

static uint64_t delayed_until(const struct vent *v, uint64_t due_wall_ms, uint64_t delay_ms)
{
    uint64_t until_ms = steady_of(v, due_wall_ms) + delay_ms;

    return until_ms > v->wall_ms ? until_ms : 0;
}

static struct refusal_of_run make_task(struct vent *v, struct cron_entry *e, const dtq_id *id,
                                       uint64_t due_wall_ms, struct task **ret)
{
    const struct journal_cron *r = &e->def->record;
    uint32_t spec = vent_spec_get(v, r->spec);
    uint32_t sink = vent_sink_choose(v, id);
    struct refusal_of_run no = {DTQI_BUSY, "queues_max is reached, or out of memory"};
    struct past *p;
    struct task *t;

    if (spec == NONE)
        return no;
    no.text = vent_refusal_of_new(v, &v->queues[v->specs[spec].queue], &no.reason);
    if (no.text == NULL && sink == NONE)
        no = (struct refusal_of_run){DTQI_NO_SINK, "no sink is registered"};
    if (no.text != NULL) {
        vent_spec_drop(v, spec);
        return no;
    }
    no = (struct refusal_of_run){DTQI_BUSY, "the table of tasks is full, or out of memory"};
    t = vent_queue_lot(v, v->specs[spec].queue, sink)
            ? vent_task_new(v, id, spec, r->body, e->def->buf)
            : NULL;
    if (t == NULL) {
        vent_spec_drop(v, spec);
        return no;
    }
    p = vent_past(v, t);
    if (p == NULL || !vent_delay(v, t, delayed_until(v, due_wall_ms, r->delay_ms))) {
        vent_task_free(v, t);
        return no;
    }
    p->counters.made_wall_ms = at_least_1(steady_of(v, due_wall_ms));
    t->flags |= TASK_DIRTY; /* written with the task */
    t->sink = (uint8_t)sink;
    t->marks = TASK_ALWAYS | TASK_CRON;
    p->cron = e;
    *ret = t;
    return (struct refusal_of_run){DTQI_REFUSAL_NONE, NULL};
}

/* `wait` NONE: nobody waits for it. */
static struct refusal_of_run fire(struct vent *v, struct cron_entry *e, const struct cron_fire *f,
                                  uint32_t wait)
{
    struct task *t = NULL;
    struct refusal_of_run no = make_task(v, e, &f->id, f->due_wall_ms, &t);

    if (t == NULL)
        return no;
    e->fire = *f;
    e->fire.task = task_index(v, t);
    e->pinned_wall_ms = 0;
    heap_remove(v, e);
    block(v, e, NULL);
    if (wait != NONE)
        (void)vent_wait_for(v, wait, t); /* the first one needs no memory */
    vent_task_own_body(t);               /* an entry that is changed lets its memory go */
    vent_admit(v, t);
    v->counters.cron_fired++;
    v->counters.cron_missed += f->missed;
    VENT_LOG(v, VENT_DEBUG, "cron_fired", L_STR("name", dtqi_str(e->name)), L_ID("id", f->id.bytes),
             L_U64("due_wall_ms", f->due_wall_ms));
    return no;
}

/* `same` of the wait has the id. */
static void run_by_hand(struct vent *v, struct cron_entry *e, uint32_t wait)
{
    struct cron_fire f = {.by_hand = true,
                          .id = v->waits[wait].same[0].id,
                          .due_wall_ms = v->host_wall_ms,
                          .wall_ms = v->host_wall_ms};
    struct refusal_of_run no = fire(v, e, &f, wait);

    if (no.text != NULL)
        vent_wait_refuse(v, wait, 0, no.reason, no.text);
}

/* The order was repeated, because its answer was lost. */
static bool was_run(const struct vent *v, const struct cron_entry *e, const dtq_id *id)
{
    const struct task *t = vent_task_find(v, id);

    for (uint32_t i = 0; i < e->state.hand_n; i++)
        if (dtqi_id_eq(&e->state.hand_ids[i], id))
            return true;
    return t != NULL && t->paper == PAPER_WRITTEN;
}

void vent_cron_run(struct vent *v, struct cron_entry *e, uint32_t wait)
{
    struct task *t = vent_task_find(v, &v->waits[wait].same[0].id);

    if (was_run(v, e, &v->waits[wait].same[0].id))
        return;
    if (t != NULL) {
        if (!vent_wait_for(v, wait, t))
            v->waits[wait].silent = true;
        return;
    }
    if (e->def != NULL && e->fire.task == NONE) {
        run_by_hand(v, e, wait);
    } else if (e->def != NULL && vent_link_add(v, &e->runs, wait)) {
        vent_wait_hold(v, wait);
    } else {
        vent_wait_refuse(v, wait, 0, DTQI_BUSY, "the cron entry is being written");
    }
}

/* The run under way is over: the next one by hand, or its next time. */
static void go_on(struct vent *v, struct cron_entry *e)
{
    uint32_t wait;

    while (e->fire.task == NONE && (wait = vent_link_take(v, &e->runs)) != NONE) {
        vent_cron_run(v, e, wait);
        vent_wait_release(v, wait);
    }
    schedule(v, e);
}

void vent_cron_fired(struct vent *v, struct task *t)
{
    struct cron_entry *e = past_of(v, t)->cron;

    t->marks &= (uint8_t)~TASK_CRON;
    past_of(v, t)->cron = NULL;
    e->state = after_fire(e);
    e->fire.task = NONE;
    e->last_closed = false;
    go_on(v, e);
}

void vent_cron_not_fired(struct vent *v, struct task *t)
{
    struct past *p = past_of(v, t);
    struct cron_entry *e = p != NULL ? p->cron : NULL;

    t->marks &= (uint8_t)~TASK_CRON;
    if (e == NULL)
        return;
    p->cron = NULL;
    if (e->fire.task == task_index(v, t)) {
        e->fire.task = NONE;
        schedule(v, e);
    }
}

/* ---------------------------------------------------------------- its time has come */

struct choice {
    bool fire;
    uint64_t due_wall_ms; /* it is this one, or everything up to this one was missed */
    uint64_t missed;
};

/* The first of the last `n` times from `first` to `last`. */
static uint64_t first_of_last(const struct vent *v, const struct cron_entry *e, uint64_t first,
                              uint64_t last, uint32_t n)
{
    uint64_t at = first;
    uint32_t k = 1;

    while (k <= n && has_in(v, e, at, last, &at))
        k++;
    if (k <= n)
        return first;
    for (at = last, k = 1; k < n && last_in(v, e, first, at - 1, &at); k++)
        ;
    return at;
}

static struct choice choose(const struct vent *v, const struct cron_entry *e)
{
    const struct journal_cron *r = &e->def->record;
    uint64_t first = e->next_wall_ms;
    struct choice c = {.fire = true, .due_wall_ms = first};
    uint64_t more;
    uint64_t last;

    if (e->pinned_wall_ms != 0) {
        c.due_wall_ms = e->pinned_wall_ms;
    } else {
        last = first;
        if (has_in(v, e, first, v->host_wall_ms, &more))
            (void)last_in(v, e, first, v->host_wall_ms, &last);
        c.due_wall_ms =
            r->missed == DTQI_MISSED_ALL ? first_of_last(v, e, first, last, r->missed_max) : last;
        c.fire = r->missed != DTQI_MISSED_SKIP || v->host_wall_ms - last <= LATE_MS;
    }
    c.missed = count_in(v, e, e->state.cursor_wall_ms, c.due_wall_ms) + !c.fire;
    return c;
}

/* Nothing comes of the times up to this one. */
static void pass(struct vent *v, struct cron_entry *e, const struct choice *c)
{
    e->state.cursor_wall_ms = c->due_wall_ms;
    e->state.missed += c->missed;
    e->pinned_wall_ms = 0;
    v->counters.cron_missed += c->missed;
    change(v, e, CRON_STATE);
    schedule(v, e);
}

/* The last run is open: this one is left out. */
static void skip_open(struct vent *v, struct cron_entry *e, const struct choice *c)
{
    e->state.skipped++;
    v->counters.cron_skipped++;
    pass(v, e, c);
}

/* By a start that died before it had written it: a worker ran it, and it has just been settled. */
static void was_made(struct vent *v, struct cron_entry *e, const struct cron_fire *f)
{
    e->fire = *f;
    e->fire.task = NONE;
    e->state = after_fire(e);
    e->pinned_wall_ms = 0;
    v->counters.cron_missed += f->missed;
    change(v, e, CRON_STATE);
    schedule(v, e);
}

enum last_run { LAST_CLOSED, LAST_OPEN, LAST_UNKNOWN };

static enum last_run last_run(const struct vent *v, const struct cron_entry *e)
{
    static const dtq_id none;
    const struct task *t = vent_task_find(v, &e->state.last_id);

    if (e->last_closed || dtqi_id_eq(&e->state.last_id, &none))
        return LAST_CLOSED;
    if (t != NULL)
        return t->state != TASK_GONE ? LAST_OPEN : LAST_CLOSED;
    return LAST_UNKNOWN;
}

static void look(struct vent *v, struct cron_entry *e)
{
    struct vent_read *r = vent_read_new(v, READ_CRON, JOURNAL_LOOKUP, &e->state.last_id, 1);

    heap_remove(v, e);
    if (r == NULL) {
        block(v, e, "out of memory");
        return;
    }
    r->cron = e;
    e->look = r;
    vent_read_send(v, r);
}

void vent_cron_looked_up(struct vent *v, struct vent_read *r)
{
    struct cron_entry *e = r->cron;

    if (e == NULL)
        return;
    e->look = NULL;
    if (r->read.err != DTQ_OK) {
        block(v, e, "the journal could not be read");
        return;
    }
    e->last_closed = r->read.tasks_n == 0;
    if (!e->last_closed && e->next_wall_ms <= v->host_wall_ms && may_fire(v, e)) {
        struct choice c = choose(v, e);

        skip_open(v, e, &c);
        return;
    }
    schedule(v, e);
}

static void come(struct vent *v, struct cron_entry *e)
{
    struct choice c = choose(v, e);
    struct cron_fire f = {.id = run_id(e, c.due_wall_ms),
                          .due_wall_ms = c.due_wall_ms,
                          .wall_ms = v->host_wall_ms,
                          .missed = c.missed};
    enum last_run last = e->def->record.skip_overlap ? last_run(v, e) : LAST_CLOSED;

    if (!c.fire) {
        pass(v, e, &c);
    } else if (vent_task_find(v, &f.id) != NULL) {
        was_made(v, e, &f);
    } else if (last == LAST_UNKNOWN) {
        look(v, e);
    } else if (last == LAST_OPEN) {
        skip_open(v, e, &c);
    } else {
        struct refusal_of_run no = fire(v, e, &f, NONE);

        if (no.text == NULL)
            return;
        heap_remove(v, e);
        block(v, e, no.text);
        e->pinned_wall_ms = c.due_wall_ms;
    }
}

/* ---------------------------------------------------------------- time */

static void retry_blocked(struct vent *v)
{
    if (v->crons_blocked == 0)
        return;
    if (v->now_ms >= v->cron_retry_ms) {
        v->cron_retry_ms = v->now_ms + RETRY_MS;
        for (uint32_t i = 0; i < v->crons_n; i++)
            if (v->crons[i]->blocked != NULL)
                schedule(v, v->crons[i]);
    }
    due_at(v, v->cron_retry_ms);
}

static void clock_set_back(struct vent *v)
{
    for (uint32_t i = 0; i < v->crons_n; i++)
        if (v->crons[i]->place != NONE && is_ahead(v, v->crons[i]))
            schedule(v, v->crons[i]);
}

/* Of the journal, at the first tick: before it the host's wall clock is not known. */
static void begin(struct vent *v)
{
    if (v->crons_begun)
        return;
    v->crons_begun = true;
    for (uint32_t i = 0; i < v->crons_n; i++) {
        struct cron_entry *e = v->crons[i];

        schedule(v, e);
        if (e->def != NULL && e->def->flaw != NULL)
            VENT_LOG(v, VENT_WARN, "cron_flawed", L_STR("name", dtqi_str(e->name)),
                     L_TEXT("why", e->def->flaw));
    }
}

void vent_crons_tick(struct vent *v)
{
    if (v->crons_n == 0 || v->stopping)
        return;
    if (v->host_wall_ms < v->cron_wall_ms)
        clock_set_back(v);
    v->cron_wall_ms = v->host_wall_ms;
    begin(v);
    retry_blocked(v);
    for (uint32_t n = 0; v->cron_heap_n != 0; n++) {
        struct cron_entry *e = v->cron_heap[0];

        if (e->next_wall_ms > v->host_wall_ms) {
            vent_due_wall(v, e->next_wall_ms + JOURNAL_DUE_BY_WALL);
            return;
        }
        if (n == LOOKS_MAX) {
            due_at(v, v->now_ms);
            return;
        }
        come(v, e);
    }
}

/* ---------------------------------------------------------------- life */

static dtq_err recover(struct vent *v, const struct journal_cron *record)
{
    struct cron_entry *e = vent_cron_get(v, record->name);

    if (e == NULL)
        return DTQ_ENOMEM;
    e->def = vent_cron_def_new(v, record);
    if (e->def == NULL)
        return DTQ_ENOMEM;
    e->state = record->state;
    v->cron_bytes += vent_cron_bytes_of(e->def);
    return DTQ_OK;
}

dtq_err vent_crons_init(struct vent *v, const struct journal_start *start)
{
    dtq_err err = DTQ_OK;

    for (uint32_t i = 0; i < start->crons_n && err == DTQ_OK; i++)
        err = recover(v, &start->crons[i]);
    return err;
}

void vent_crons_done(struct vent *v)
{
    for (uint32_t i = 0; i < v->crons_n; i++) {
        vent_cron_def_free(v, v->crons[i]->def);
        vent_cron_def_free(v, v->crons[i]->next);
        free(v->crons[i]);
    }
    free(v->crons);
    free(v->cron_heap);
}

static void check_entry(const struct vent *v, const struct cron_entry *e)
{
    assert(e->place == NONE || v->cron_heap[e->place] == e);
    assert(e->place == NONE || may_fire(v, e) || v->stopping);
    assert(e->place == NONE || e->place == 0 || !is_sooner(e, v->cron_heap[(e->place - 1) / 2]));
    assert(e->def != NULL || e->next != NULL);
    assert(e->next == NULL || e->change == CRON_PUT || e->handed == CRON_PUT || is_removed(e));
    if (e->fire.task != NONE) {
        const struct task *t = task_at(v, e->fire.task);

        assert((t->marks & TASK_CRON) != 0);
        assert(past_of(v, t)->cron == e);
        assert(dtqi_id_eq(&t->id, &e->fire.id));
    }
}

void vent_crons_check(const struct vent *v)
{
    uint64_t bytes = 0;
    uint32_t blocked = 0;
    uint32_t in_heap = 0;

    for (uint32_t i = 0; i < v->crons_n; i++) {
        const struct cron_entry *e = v->crons[i];

        check_entry(v, e);
        assert(i == 0 || strcmp(v->crons[i - 1]->name, e->name) < 0);
        bytes += vent_cron_bytes_of(e->def) + vent_cron_bytes_of(e->next);
        blocked += e->blocked != NULL;
        in_heap += e->place != NONE;
    }
    assert(bytes == v->cron_bytes);
    assert(blocked == v->crons_blocked);
    assert(in_heap == v->cron_heap_n);
}
