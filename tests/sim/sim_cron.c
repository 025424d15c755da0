#include "sim_parts.h"

#include "cron.h"

#include <stdio.h>

/*
 * Cron entries (R48), as the journal has them after each commit, and as V makes tasks of them:
 *   - an entry changes when somebody wanted that, is as was confirmed then, and is there after a
 *     start
 *   - a run is of one of its times, which has come, and there is one of each: over restarts, too,
 *     for it is written in one commit with its task, under an id that the time gives
 *   - each time is a run, or counted as missed, or as skipped; how many are made up for is what
 *     the entry says
 *   - what overlaps is skipped only then, and with that no run begins while the last one is open
 *   - nothing fires that was paused or removed when its time came
 *   - a run by hand is one task, however often it is asked for
 *   - when faults are over each entry goes on
 * When the wall clock of V's host has jumped, nobody can say from outside when which time has come:
 * that each is counted once holds all the same.
 */

#define PAYLOADS 2000u    /* number of the payload of the first definition; no task has it */
#define LATE_MS 10000u    /* what is later was missed, for who skips that */
#define COUNTED_MAX 1000u /* of missed times of an expression */
#define STOPPED_MS 10000u /* a task may be made so long before anybody hears of it */
#define GOES_ON_MS 10000u /* an entry without a time for so long need not show that it goes on */

/* ---------------------------------------------------------------- definitions */

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool is_same(const struct sim_cron *a, const struct sim_cron *b)
{
    return is_same_text(a->expression, b->expression) && is_same_text(a->zone, b->zone) &&
           a->every_ms == b->every_ms && a->missed == b->missed && a->missed_max == b->missed_max &&
           a->skip_overlap == b->skip_overlap && a->plan == b->plan;
}

static struct dtqi_str str_of(const char *text)
{
    return dtqi_str(text != NULL ? text : "");
}

static uint32_t add_text(struct sim *s, const struct sim_cron *what)
{
    struct cron_text *text;
    char why[200];

    if (s->cron_texts_n == s->cron_texts_room) {
        s->cron_texts_room = s->cron_texts_room != 0 ? 2 * s->cron_texts_room : 8;
        s->cron_texts = realloc(s->cron_texts, s->cron_texts_room * sizeof *s->cron_texts);
        assert(s->cron_texts != NULL);
    }
    text = &s->cron_texts[s->cron_texts_n];
    *text = (struct cron_text){.what = *what};
    if (what->expression != NULL && cron_parse(str_of(what->expression), str_of(what->zone),
                                               &text->expression, why, sizeof why) != DTQ_OK)
        abort();
    return s->cron_texts_n++;
}

uint32_t cron_text_of(struct sim *s, const struct sim_cron *what)
{
    for (uint32_t i = 0; i < s->cron_texts_n; i++)
        if (is_same(&s->cron_texts[i].what, what))
            return i;
    return add_text(s, what);
}

void cron_write(const struct sim *s, uint32_t text, struct dtqi_buf *buf,
                struct dtqi_cron_entry *ret)
{
    const struct sim_cron *what = &s->cron_texts[text].what;
    uint32_t payload_bytes = what->plan->payload_bytes;
    void *payload = dtqi_buf_alloc(buf, payload_bytes);
    char name[16];

    snprintf(name, sizeof name, "d%u", text);
    assert(payload != NULL);
    check_payload_of(1 + PAYLOADS + text, payload, payload_bytes);
    *ret = (struct dtqi_cron_entry){.expression = str_of(what->expression),
                                    .every_ms = what->every_ms,
                                    .zone = str_of(what->zone),
                                    .missed = what->missed,
                                    .missed_max = what->missed_max,
                                    .skip_overlap = what->skip_overlap,
                                    .spec.raw = client_spec(what->plan, name, buf),
                                    .payload = {payload, payload_bytes},
                                    .replace = what->replace};
}

/* "d12" */
static uint32_t text_named(const struct sim *s, struct dtqi_str name)
{
    uint32_t text = 0;

    if (name.len < 2 || name.at[0] != 'd')
        return NONE;
    for (uint32_t i = 1; i < name.len; i++)
        text = 10 * text + (uint32_t)(name.at[i] - '0');
    return text < s->cron_texts_n ? text : NONE;
}

static uint32_t entry_named(struct dtqi_str name)
{
    if (name.len != 2 || name.at[0] != 'c' || name.at[1] < '0' ||
        name.at[1] >= '0' + (int)SIM_CRONS)
        return NONE;
    return (uint32_t)(name.at[1] - '0');
}

static uint32_t text_of_spec(const struct sim *s, struct dtqi_slice spec)
{
    struct dtqi_buf *buf = dtqi_buf_new(1024, SIZE_MAX);
    struct dtqi_spec decoded;
    uint32_t text = NONE;
    char why[200];

    assert(buf != NULL);
    if (dtqi_spec_decode(spec, buf, &decoded, why, sizeof why) == DTQ_OK)
        text = text_named(s, decoded.name);
    dtqi_buf_unref(buf);
    return text;
}

/* ---------------------------------------------------------------- times */

static bool next_behind(const struct cron_text *text, uint64_t anchor, uint64_t after,
                        uint64_t *ret)
{
    uint64_t every = text->what.every_ms;

    if (text->expression != NULL)
        return cron_next(text->expression, after, ret);
    *ret = after < anchor ? anchor + every : anchor + ((after - anchor) / every + 1) * every;
    return true;
}

static bool is_a_time(const struct cron_text *text, uint64_t anchor, uint64_t at)
{
    uint64_t next;

    return next_behind(text, anchor, at - 1, &next) && next == at;
}

/* Times in (after, until]; more than COUNTED_MAX are as many as that. */
static uint64_t count_in(const struct cron_text *text, uint64_t anchor, uint64_t after,
                         uint64_t until)
{
    uint64_t n = 0;

    if (text->expression == NULL && next_behind(text, anchor, after, &after))
        return after > until ? 0 : 1 + (until - after) / text->what.every_ms;
    while (n <= COUNTED_MAX && next_behind(text, anchor, after, &after) && after <= until)
        n++;
    return n;
}

static uint64_t wall_ms(const struct sim *s)
{
    return sim_wall_ms(s, &s->nodes[VENT]);
}

/* ---------------------------------------------------------------- tasks that V made */

static bool is_by_hand(const struct sim *s, const dtq_id *id)
{
    for (uint32_t i = 0; i < s->orders_n; i++)
        if (s->orders[i].has_id && dtqi_id_eq(&s->orders[i].id, id))
            return true;
    return false;
}

/* Of a time that has come, and the first one of it. */
static void check_time(struct sim *s, uint32_t entry, uint32_t text, uint64_t due_wall_ms)
{
    const struct cron_model *e = &s->crons[entry];
    uint64_t now_wall_ms = wall_ms(s);

    if (s->has_jumped)
        return;
    if (due_wall_ms > now_wall_ms)
        sim_fail(s, "V makes a task of c%u %llu ms before its time", entry,
                 (unsigned long long)(due_wall_ms - now_wall_ms));
    if (s->cron_texts[text].expression != NULL || (e->exists && e->text == text))
        if (!is_a_time(&s->cron_texts[text], e->state.anchor_wall_ms, due_wall_ms))
            sim_fail(s, "V makes a task of c%u at a time that is none of its", entry);
    for (uint32_t i = 0; i < s->tasks_n; i++)
        if (s->tasks[i].cron == 1 + entry && !s->tasks[i].by_hand &&
            s->tasks[i].due_wall_ms == due_wall_ms)
            sim_fail(s, "V makes two tasks of one time of c%u", entry);
}

static struct sim_plan plan_of(const struct sim *s, uint32_t text)
{
    struct sim_plan plan = *s->cron_texts[text].what.plan;

    plan.payload_of = 1 + PAYLOADS + text;
    return plan;
}

uint32_t cron_adopt(struct sim *s, const dtq_id *id, const struct dtqi_spec *spec)
{
    uint32_t entry = entry_named(spec->cron);
    uint32_t text = text_named(s, spec->name);
    struct task_info t = {.has_reached = true};
    const struct queue_model *q;
    uint32_t task;
    char name[8];

    if (entry == NONE || text == NONE)
        return NONE;
    t.plan = plan_of(s, text);
    t.cron = 1 + entry;
    t.by_hand = is_by_hand(s, id);
    t.due_wall_ms = dtqi_id_wall_ms(id);
    t.made_in = s->nodes[VENT].incarnation;
    t.submitted_ms = sim_now_ms(s);
    t.submitted_us = s->now_us;
    q = &s->queues[t.plan.queue];
    t.may_move = q->is_moved;
    t.cancel = q->stopped_ms != 0 && q->stopped_ms + STOPPED_MS > sim_now_ms(s);
    if (!t.by_hand)
        check_time(s, entry, text, t.due_wall_ms);
    task = sim_add_task(s, &t);
    check_add_id(s, task, id);
    s->totals.cron_made++;
    story(s, "V makes %s of c%u, due at %llu", story_task(task, name), entry,
          (unsigned long long)(t.due_wall_ms - WALL_MS_START));
    return task;
}

/* An order to run that is repeated when its task is over, and the entry has been removed since and
 * added anew, is another one to V. */
static bool is_repeated(const struct sim *s, const struct task_info *t)
{
    const struct journal_cron_state *state = &s->crons[t->cron - 1].state;

    for (uint32_t i = 0; i < state->hand_n; i++)
        if (dtqi_id_eq(&state->hand_ids[i], &t->id))
            return false;
    return t->by_hand;
}

/* What was made by a V that died before it had written it is made again, and may have run. */
static void made_again(struct sim *s, struct task_info *t, uint32_t text)
{
    if (t->made_in == s->nodes[VENT].incarnation && t->verdict != VERDICT_CONFIRMED)
        return;
    if (t->verdict == VERDICT_CONFIRMED) {
        attempts_reborn(t);
        t->plan = plan_of(s, text); /* the entry may be another one by now */
        t->queue = t->plan.queue;
    }
    t->made_in = s->nodes[VENT].incarnation;
    t->verdict = VERDICT_NONE;
    t->settled_in = 0;
    t->is_reborn = true;
    s->totals.cron_again++;
}

void cron_dispatched(struct sim *s, uint32_t task, const struct dtqi_spec *spec)
{
    struct task_info *t = &s->tasks[task];
    char name[8];

    if (t->is_in_journal)
        return;
    if (t->verdict == VERDICT_CONFIRMED && !is_repeated(s, t))
        sim_fail(s, "V dispatches %s of c%u again, which has left the journal",
                 story_task(task, name), t->cron - 1);
    made_again(s, t, text_named(s, spec->name));
}

void cron_put(struct sim *s, uint32_t task, struct dtqi_slice spec)
{
    struct task_info *t = &s->tasks[task];
    char name[8];

    if (t->verdict == VERDICT_CONFIRMED && !is_repeated(s, t))
        sim_fail(s, "%s of c%u is made again, and was written before", story_task(task, name),
                 t->cron - 1);
    made_again(s, t, text_of_spec(s, spec));
    t->verdict = VERDICT_CONFIRMED;
    t->confirmed_us = s->now_us;
}

void cron_was_run(struct sim *s, const struct order *o)
{
    uint32_t task = check_task(s, &o->id);

    if (task == NONE ||
        (s->tasks[task].verdict != VERDICT_CONFIRMED && s->tasks[task].outcome == 0))
        sim_fail(s, "a run of c%u by hand is confirmed and not durable", o->what.entry);
}

/* ---------------------------------------------------------------- orders */

static void add_said(struct cron_model *e, const struct cron_said *said)
{
    if (e->said_n == e->said_room) {
        e->said_room = e->said_room != 0 ? 2 * e->said_room : 8;
        e->said = realloc(e->said, e->said_room * sizeof *e->said);
        assert(e->said != NULL);
    }
    e->said[e->said_n++] = *said;
}

static bool is_as_said(const struct cron_model *e, const struct cron_said *said)
{
    switch (said->operation) {
    case DTQI_CRON_ADD: return e->exists && e->text == said->text;
    case DTQI_CRON_REMOVE: return !e->exists;
    case DTQI_CRON_PAUSE: return e->exists && e->state.paused;
    case DTQI_CRON_RESUME: return e->exists && !e->state.paused;
    }
    return true;
}

/* V says that it is so: in the journal, unless something else was said since. */
static void check_answer(struct sim *s, uint32_t entry, uint32_t i)
{
    struct cron_model *e = &s->crons[entry];

    e->said[i].is_answered = true;
    if (i + 1 == e->said_n && !is_as_said(e, &e->said[i]))
        sim_fail(s, "V confirms what was ordered of c%u, and has not written it", entry);
}

void cron_answered(struct sim *s, uint32_t route, uint64_t request)
{
    for (uint32_t entry = 0; entry < SIM_CRONS; entry++)
        for (uint32_t i = 0; i < s->crons[entry].said_n; i++) {
            const struct cron_said *said = &s->crons[entry].said[i];

            if (said->route == route && said->request == request && !said->is_answered) {
                check_answer(s, entry, i);
                return;
            }
        }
}

void cron_ordered(struct sim *s, uint32_t route, const struct dtqi_operate *m)
{
    uint32_t entry = entry_named(m->target);
    struct cron_said said = {.operation = m->operation, .route = route, .request = m->request};
    struct cron_model *e;

    assert(entry != NONE);
    if (m->operation == DTQI_CRON_RUN)
        return;
    e = &s->crons[entry];
    if (m->operation == DTQI_CRON_ADD)
        said.text = text_of_spec(s, m->cron->spec.raw);
    if (m->operation == DTQI_CRON_PAUSE)
        e->paused_wall_ms = wall_ms(s);
    if (m->operation == DTQI_CRON_REMOVE) {
        e->removed_wall_ms = wall_ms(s);
        e->removed_us = s->now_us;
    }
    add_said(e, &said);
    if (s->answered_route == route && s->answered_request == m->request)
        check_answer(s, entry, e->said_n - 1); /* at once: it was so */
}

static bool was_said(const struct cron_model *e, uint32_t operation, uint32_t text)
{
    for (uint32_t i = 0; i < e->said_n; i++)
        if (e->said[i].operation == operation &&
            (operation != DTQI_CRON_ADD || e->said[i].text == text))
            return true;
    return false;
}

/* ---------------------------------------------------------------- runs */

/* How many times are made up for. `since` is when this V may have chosen at the earliest, so what
 * had come by then it knew. */
static void check_missed(struct sim *s, uint32_t entry, const struct cron_text *text,
                         const struct journal_cron_state *was, const struct journal_cron_state *is)
{
    const struct cron_model *e = &s->crons[entry];
    uint64_t anchor = is->anchor_wall_ms;
    uint64_t due = is->due_wall_ms;
    uint64_t passed_over = count_in(text, anchor, was->cursor_wall_ms, due - 1);
    uint64_t known_later =
        e->since_wall_ms > due ? count_in(text, anchor, due, e->since_wall_ms) : 0;

    switch (text->what.missed) {
    case DTQI_MISSED_ONCE:
        if (known_later != 0 || (e->fired_wall_ms[0] != 0 && due <= e->fired_wall_ms[0]))
            sim_fail(s, "c%u makes up for more than the last time that it has missed", entry);
        return;
    case DTQI_MISSED_SKIP:
        if (due + LATE_MS < e->since_wall_ms)
            sim_fail(s, "c%u makes up for a time that it has missed", entry);
        return;
    case DTQI_MISSED_ALL:
        if (known_later >= text->what.missed_max)
            sim_fail(s, "c%u makes up for more than %u times that it has missed", entry,
                     text->what.missed_max);
        if (passed_over != 0 && is->skipped == was->skipped &&
            count_in(text, anchor, due - 1, is->fired_wall_ms) < text->what.missed_max)
            sim_fail(s, "c%u leaves a time out that it should make up for", entry);
        return;
    }
}

/* R48: it is open until it is settled. */
static void check_overlap(struct sim *s, uint32_t entry, const struct journal_cron_state *was)
{
    uint32_t last = check_task(s, &was->last_id);
    char name[8];

    if (last != NONE && s->tasks[last].outcome == 0)
        sim_fail(s, "c%u runs, and its last run %s is open", entry, story_task(last, name));
}

static void check_is_wanted(struct sim *s, uint32_t entry, const struct journal_cron_state *was,
                            const struct journal_cron_state *is)
{
    const struct cron_model *e = &s->crons[entry];

    bool is_paused = is->paused || (was->paused && !was_said(e, DTQI_CRON_RESUME, 0));

    if (is_paused && is->fired_wall_ms > e->paused_wall_ms)
        sim_fail(s, "c%u runs, and was paused before", entry);
}

/* A run that is at one of the entry's times: not by hand, nor under way when it was replaced. */
static bool is_of_times(const struct sim *s, uint32_t entry, uint32_t task)
{
    return task != NONE && !s->tasks[task].by_hand &&
           s->tasks[task].plan.payload_of == 1 + PAYLOADS + s->crons[entry].text;
}

static void on_run(struct sim *s, uint32_t entry, const struct journal_cron_state *is)
{
    struct cron_model *e = &s->crons[entry];
    const struct journal_cron_state *was = &e->state;
    uint32_t task = check_task(s, &is->last_id);
    const struct cron_text *text;
    const struct task_info *t;

    if (task == NONE || s->tasks[task].cron != 1 + entry) {
        sim_fail(s, "c%u has a run without a task", entry);
        return;
    }
    t = &s->tasks[task];
    if (!t->by_hand && t->confirmed_us != s->now_us &&
        (t->outcome == 0 || t->verdict == VERDICT_CONFIRMED))
        sim_fail(s, "c%u has a run whose task was not written with it", entry);
    if (!is_of_times(s, entry, task))
        return;
    text = &s->cron_texts[e->text];
    if (is->due_wall_ms != t->due_wall_ms || is->due_wall_ms <= was->cursor_wall_ms ||
        is->cursor_wall_ms < is->due_wall_ms)
        sim_fail(s, "c%u runs at a time that has been seen to", entry);
    if (text->what.skip_overlap)
        check_overlap(s, entry, was);
    if (!s->has_jumped && is->anchor_wall_ms == was->anchor_wall_ms) {
        check_is_wanted(s, entry, was, is);
        check_missed(s, entry, text, was, is);
    }
    e->fired_wall_ms[0] = e->fired_wall_ms[1];
    e->fired_wall_ms[1] = is->fired_wall_ms;
}

/* ---------------------------------------------------------------- what a commit changes */

static bool is_run_of_another(const struct sim *s, uint32_t entry, uint32_t task)
{
    return task != NONE && !s->tasks[task].by_hand && !is_of_times(s, entry, task);
}

/* A run that was under way when its entry was replaced is written after that, or with it. What it
 * counts as missed are the times before it of what the entry was, as its cursor went with the old
 * times, but for those that were counted with the replacement. Nobody knows from outside where they
 * begin when the entry was replaced more than once meanwhile, or the clock jumped. */
static void check_counts_before(struct sim *s, uint32_t entry, uint32_t task, uint64_t counted)
{
    const struct cron_model *e = &s->crons[entry];
    const struct task_info *t = &s->tasks[task];
    uint64_t times;

    if (!e->was_replaced || s->has_jumped || t->plan.payload_of != 1 + PAYLOADS + e->text_before ||
        e->before.cursor_wall_ms >= t->due_wall_ms)
        return;
    times = count_in(&s->cron_texts[e->text_before], e->before.anchor_wall_ms,
                     e->before.cursor_wall_ms, t->due_wall_ms - 1);
    if (times <= COUNTED_MAX && times != e->passed_with_it + counted)
        sim_fail(s, "c%u had %llu times before it was replaced, and counts %llu", entry,
                 (unsigned long long)times, (unsigned long long)(e->passed_with_it + counted));
}

/* Each time is seen to in one way. */
static void check_counts(struct sim *s, uint32_t entry, const struct journal_cron_state *is)
{
    const struct cron_model *e = &s->crons[entry];
    const struct journal_cron_state *was = &e->state;
    uint64_t times = count_in(&s->cron_texts[e->text], is->anchor_wall_ms, was->cursor_wall_ms,
                              is->cursor_wall_ms);
    uint32_t run = is->fired != was->fired ? check_task(s, &is->last_id) : NONE;
    uint64_t missed = is->missed - was->missed;
    uint64_t counted = is_of_times(s, entry, run) + missed + (is->skipped - was->skipped);

    if (is_run_of_another(s, entry, run)) {
        check_counts_before(s, entry, run, missed);
        counted -= missed;
    }
    if (times <= COUNTED_MAX && times != counted)
        sim_fail(s, "c%u has had %llu times, and counts %llu", entry, (unsigned long long)times,
                 (unsigned long long)counted);
}

/* The last run had left the journal when that time came. */
static void check_skipped(struct sim *s, uint32_t entry, const struct journal_cron_state *is)
{
    const struct journal_cron_state *was = &s->crons[entry].state;
    uint32_t last = check_task(s, &was->last_id);

    if (is->skipped == was->skipped || is->missed != was->missed || is->fired != was->fired ||
        s->has_jumped)
        return; /* else it is another time that it has come to */
    if (last == NONE ||
        (!s->tasks[last].is_in_journal && s->tasks[last].left_wall_ms < is->cursor_wall_ms))
        sim_fail(s, "c%u skips a time, and its last run is over", entry);
}

static void check_state(struct sim *s, uint32_t entry, const struct journal_cron_state *is)
{
    const struct cron_model *e = &s->crons[entry];
    const struct journal_cron_state *was = &e->state;
    bool is_rebased = is->anchor_wall_ms != was->anchor_wall_ms;

    if (is_rebased && (!s->has_jumped || s->cron_texts[e->text].expression != NULL))
        sim_fail(s, "the times of c%u are other ones, and no clock was set back", entry);
    if (!is_rebased && is->cursor_wall_ms < was->cursor_wall_ms)
        sim_fail(s, "c%u goes back to times that have been seen to", entry);
    if (is->fired < was->fired || is->fired > was->fired + 1 || is->missed < was->missed ||
        is->skipped < was->skipped)
        sim_fail(s, "c%u counts wrongly", entry);
    if (is->paused != was->paused &&
        !was_said(e, is->paused ? DTQI_CRON_PAUSE : DTQI_CRON_RESUME, 0))
        sim_fail(s, "c%u is %s, and nobody wanted that", entry, is->paused ? "paused" : "resumed");
    if (!is_rebased)
        check_counts(s, entry, is);
    check_skipped(s, entry, is);
}

static void on_state(struct sim *s, uint32_t entry, const struct journal_cron *cron)
{
    struct cron_model *e = &s->crons[entry];
    const struct journal_cron_state *is = &cron->state;
    uint32_t last = check_task(s, &is->last_id);

    if (!e->exists || !dtqi_uid_eq(&e->state.uid, &is->uid)) {
        if (!s->has_jumped && last != NONE && !s->tasks[last].by_hand &&
            is->fired_wall_ms > e->removed_wall_ms)
            sim_fail(s, "c%u runs, and was removed before", entry);
        return;
    }
    check_state(s, entry, is);
    if (is->fired != e->state.fired)
        on_run(s, entry, is);
    e->state = *is;
}

static void on_cron_put(struct sim *s, uint32_t entry, const struct journal_cron *cron)
{
    struct cron_model *e = &s->crons[entry];
    uint32_t text = text_of_spec(s, cron->spec);

    if (!was_said(e, DTQI_CRON_ADD, text))
        sim_fail(s, "c%u is what nobody wanted it to be", entry);
    if (e->exists &&
        (!dtqi_uid_eq(&e->state.uid, &cron->state.uid) || e->state.fired > cron->state.fired))
        sim_fail(s, "c%u is replaced, and its past is lost", entry);
    if (!e->exists && cron->state.fired != 0)
        sim_fail(s, "c%u is new, and has run", entry);
    e->was_replaced = e->exists;
    e->text_before = e->text;
    e->before = e->state;
    e->passed_with_it = cron->state.missed - e->state.missed + cron->state.skipped -
                        e->state.skipped; /* of an entry that is new, nobody asks */
    e->exists = true;
    e->text = text;
    e->state = cron->state;
    e->fired_wall_ms[0] = e->fired_wall_ms[1] = 0;
    e->since_wall_ms = cron->state.cursor_wall_ms;
}

static void on_cron_del(struct sim *s, uint32_t entry)
{
    struct cron_model *e = &s->crons[entry];

    if (!was_said(e, DTQI_CRON_REMOVE, 0))
        sim_fail(s, "c%u is removed, and nobody wanted that", entry);
    e->exists = false;
}

void cron_journal_op(struct sim *s, const struct journal_op *op)
{
    uint32_t entry = entry_named(op->cron->name);

    assert(entry != NONE);
    if (op->type == JOURNAL_CRON_PUT)
        on_cron_put(s, entry, op->cron);
    else if (op->type == JOURNAL_CRON_STATE)
        on_state(s, entry, op->cron);
    else
        on_cron_del(s, entry);
}

/* ---------------------------------------------------------------- a start */

static bool is_as_written(const struct journal_cron_state *a, const struct journal_cron_state *b)
{
    return dtqi_uid_eq(&a->uid, &b->uid) && a->paused == b->paused &&
           a->cursor_wall_ms == b->cursor_wall_ms && a->anchor_wall_ms == b->anchor_wall_ms &&
           a->due_wall_ms == b->due_wall_ms && a->fired_wall_ms == b->fired_wall_ms &&
           dtqi_id_eq(&a->last_id, &b->last_id) && a->fired == b->fired && a->missed == b->missed &&
           a->skipped == b->skipped && a->hand_n == b->hand_n &&
           memcmp(a->hand_ids, b->hand_ids, a->hand_n * sizeof *a->hand_ids) == 0;
}

void cron_vent_started(struct sim *s, const struct journal_start *start)
{
    uint32_t found = 0;
    uint32_t want = 0;

    for (uint32_t i = 0; i < start->crons_n; i++) {
        uint32_t entry = entry_named(start->crons[i].name);
        const struct cron_model *e = &s->crons[entry];

        assert(entry != NONE);
        found += e->exists && e->text == text_of_spec(s, start->crons[i].spec) &&
                 is_as_written(&e->state, &start->crons[i].state);
    }
    for (uint32_t entry = 0; entry < SIM_CRONS; entry++) {
        want += s->crons[entry].exists;
        s->crons[entry].said_n = 0;
        s->crons[entry].since_wall_ms = wall_ms(s);
    }
    if (found != want || found != start->crons_n)
        sim_fail(s, "V starts with other cron entries than were written");
}

/* ---------------------------------------------------------------- the end */

/* Something of it has happened since faults are over, or nothing is due for long. */
static bool goes_on(const struct sim *s, const struct cron_model *e)
{
    uint64_t next;

    if (e->state.cursor_wall_ms > s->calm_wall_ms)
        return true;
    return !next_behind(&s->cron_texts[e->text], e->state.anchor_wall_ms, e->state.cursor_wall_ms,
                        &next) ||
           next > wall_ms(s) + GOES_ON_MS;
}

bool cron_what_ends(const struct sim *s, uint32_t entry, enum sim_order_kind *ret)
{
    const struct cron_model *e = &s->crons[entry];

    *ret = e->state.paused ? SIM_CRON_RESUME : SIM_CRON_REMOVE;
    return e->exists && (e->state.paused || goes_on(s, e));
}

bool cron_are_gone(const struct sim *s, char *why, unsigned why_bytes)
{
    for (uint32_t entry = 0; entry < SIM_CRONS; entry++) {
        if (!s->crons[entry].exists)
            continue;
        snprintf(why, why_bytes, "c%u does not go on", entry);
        return false;
    }
    return true;
}

void cron_done(struct sim *s)
{
    for (uint32_t i = 0; i < SIM_CRONS; i++)
        free(s->crons[i].said);
    for (uint32_t i = 0; i < s->cron_texts_n; i++)
        cron_free(s->cron_texts[i].expression);
    free(s->cron_texts);
}
