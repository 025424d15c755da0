#include "worker_internal.h"

#define NO_MEMORY "no memory for a report"

#define TASK_NS_MIN 50u
#define RESULT_BYTES_FIRST 1024u

/* ---------------------------------------------------------------- estimates */

void wk_credit_init(struct worker *w)
{
    uint64_t rest;

    w->task_ns = w->cfg.target_us * 1000ull;
    w->result_bytes = RESULT_BYTES_FIRST;
    w->reserve_bytes = w->cfg.slots * w->cfg.result_bytes_max;
    rest = w->cfg.memory_bytes_max - w->reserve_bytes;
    w->inbox_bytes_max = rest / 4;
    w->kept_bytes_max = rest - w->inbox_bytes_max;
}

void wk_credit_new_session(struct worker *w)
{
    struct session *s = &w->session;

    s->received = s->received_bytes = 0;
    s->told_tasks = s->told_bytes = 0;
    s->told_window = 0;
    s->ended = 0;
}

/* A mean that rises by half the difference at once and falls by a sixteenth per task: one long task
 * is believed at once, and one bad sample does not shut the window for long. */
void wk_credit_ended(struct worker *w, uint64_t duration_us, uint32_t result_bytes)
{
    uint64_t most_us = 86400ull * 1000 * 1000;
    uint64_t ns = (duration_us < most_us ? duration_us : most_us) * 1000;

    if (ns > w->task_ns)
        w->task_ns += (ns - w->task_ns) / 2;
    else
        w->task_ns -= (w->task_ns - ns) / 16;
    if (w->task_ns < TASK_NS_MIN)
        w->task_ns = TASK_NS_MIN;
    if (result_bytes > w->result_bytes)
        w->result_bytes = result_bytes;
    else
        w->result_bytes -= (w->result_bytes - result_bytes) / 64;
}

uint32_t wk_credit_depth(const struct worker *w)
{
    uint64_t depth = 1 + w->cfg.target_us * 500ull / w->task_ns;

    return depth < WORKER_RING_TASKS_MAX ? (uint32_t)depth : WORKER_RING_TASKS_MAX;
}

/* ---------------------------------------------------------------- window */

static uint32_t active(const struct worker *w)
{
    return w->count[ENTRY_LIMBO] + w->count[ENTRY_WAITING] + w->count[ENTRY_FED];
}

static uint32_t window_wanted(const struct worker *w)
{
    uint32_t slots = w->slots_usable;
    uint64_t ahead = slots * (w->cfg.target_us * 1000ull) / w->task_ns;
    uint64_t wanted = slots + (ahead != 0 ? ahead : 1);

    if (slots == 0 || w->stop != STOP_NO)
        return 0;
    if (w->all_overrun || w->cfg.window_max < slots)
        return slots;
    return wanted < w->cfg.window_max ? (uint32_t)wanted : w->cfg.window_max;
}

/* It falls at once, and at most doubles each time a quarter of it has ended. */
void wk_credit_window(struct worker *w)
{
    uint32_t wanted = window_wanted(w);

    if (wanted > w->window) {
        if (w->grown < w->window / 4)
            return;
        w->window = wanted / 2 < w->window || w->window == 0 ? wanted : 2 * w->window;
    } else {
        w->window = wanted;
    }
    w->grown = 0;
}

/* ---------------------------------------------------------------- credit */

/* R16: results that those who are here and those who may come will leave must find room. */
static uint64_t tasks_that_fit(const struct worker *w)
{
    if (w->kept_bytes >= w->kept_bytes_max)
        return 0;
    return 1 + (w->kept_bytes_max - w->kept_bytes) / (ENTRY_OVERHEAD_BYTES + w->result_bytes);
}

uint64_t wk_credit_tasks(const struct worker *w)
{
    uint64_t most = tasks_that_fit(w);

    if (most > w->window)
        most = w->window;
    return w->session.received + (most > active(w) ? most - active(w) : 0);
}

uint64_t wk_credit_bytes(const struct worker *w)
{
    uint64_t room = w->active_bytes < w->inbox_bytes_max ? w->inbox_bytes_max - w->active_bytes : 0;

    return w->session.received_bytes + room;
}

void wk_credit_told(struct worker *w, uint64_t *ret_tasks, uint64_t *ret_bytes)
{
    struct session *s = &w->session;

    *ret_tasks = s->told_tasks = wk_credit_tasks(w);
    *ret_bytes = s->told_bytes = wk_credit_bytes(w);
    s->told_window = w->window;
    s->ended = 0;
}

uint64_t worker_result_room_bytes(const struct worker *w)
{
    uint64_t most = w->kept_bytes_max + w->reserve_bytes;

    return w->kept_bytes < most ? most - w->kept_bytes : 0;
}

/* ---------------------------------------------------------------- what is to be reported */

void wk_report_end(struct worker *w, struct entry *e)
{
    if (!session_is_open(w) || (e->flags & (ENTRY_LISTED | ENTRY_TOLD)) != 0)
        return; /* HOLDINGS will say it, or have said it, or the verdict comes first */
    if (!wk_indexes_add(e->state == ENTRY_DONE ? &w->done : &w->failures, index_of(w, e)))
        w->report_is_short = true;
}

void wk_report_clear(struct worker *w)
{
    w->returned.n = w->stopped.n = w->started.n = 0;
    w->done.n = w->failures.n = 0;
    w->report_is_short = false;
}

struct dtqi_failure wk_failure(const struct worker *w, const struct entry *e)
{
    return (struct dtqi_failure){
        .id = e->id,
        .epoch = w->origins[e->origin].epoch,
        .attempt = e->attempt,
        .reason = (dtq_reason)e->reason,
        .code = e->code,
        .text = {e->at, e->len},
        .started_wall_ms = e->started_wall_ms,
        .duration_us = e->duration_us,
        .no_retry = (e->flags & ENTRY_NO_RETRY) != 0,
        .retry_after_ms = e->number,
    };
}

/* A record may have been given to another attempt since it was noted; then that one was noted too,
 * or has nothing to report. */
static bool is_to_be_told(const struct entry *e, enum entry_state state)
{
    return e->state == state && (e->flags & (ENTRY_HELD | ENTRY_TOLD | ENTRY_LISTED)) == ENTRY_HELD;
}

static uint32_t *done_tickets(struct worker *w, uint32_t *ret_n)
{
    uint32_t *tickets = wk_scratch(w, w->done.n, sizeof *tickets);

    *ret_n = 0;
    if (tickets == NULL)
        return NULL;
    for (uint32_t i = 0; i < w->done.n; i++) {
        struct entry *e = &w->entries[w->done.at[i]];

        if (!is_to_be_told(e, ENTRY_DONE))
            continue;
        e->flags |= ENTRY_TOLD;
        if ((e->flags & ENTRY_STALE) == 0)
            tickets[(*ret_n)++] = e->ticket;
    }
    w->done.n = 0;
    return tickets;
}

static struct dtqi_failure *failures(struct worker *w, uint32_t *ret_n)
{
    struct dtqi_failure *all = wk_scratch(w, w->failures.n, sizeof *all);

    *ret_n = 0;
    if (all == NULL)
        return NULL;
    for (uint32_t i = 0; i < w->failures.n; i++) {
        struct entry *e = &w->entries[w->failures.at[i]];

        if (!is_to_be_told(e, ENTRY_FAILED))
            continue;
        e->flags |= ENTRY_TOLD;
        all[(*ret_n)++] = wk_failure(w, e);
    }
    w->failures.n = 0;
    return all;
}

static dtq_id *ids_out(struct worker *w, struct ids *ids, uint32_t *ret_n)
{
    dtq_id *copy = wk_scratch(w, ids->n, sizeof *copy);

    *ret_n = 0;
    if (copy == NULL)
        return NULL;
    if (ids->n != 0)
        memcpy(copy, ids->at, ids->n * sizeof *copy);
    *ret_n = ids->n;
    ids->n = 0;
    return copy;
}

/* ---------------------------------------------------------------- REPORT */

/* How many of n fit into one message beside nothing else. */
static uint32_t batch(uint32_t n)
{
    return n < DTQI_BATCH_ENTRIES_MAX ? n : DTQI_BATCH_ENTRIES_MAX;
}

static uint32_t failures_batch(const struct dtqi_failure *f, uint32_t n)
{
    uint64_t bytes = 0;
    uint32_t i = 0;

    while (i < batch(n) && (i == 0 || bytes + f[i].text.len <= DTQI_BATCH_BYTES_MAX))
        bytes += f[i++].text.len;
    return i;
}

/* One message of what is left; takes it off. false: no memory. */
static bool report_some(struct worker *w, struct dtqi_report *left)
{
    struct dtqi_msg *msg = wk_send(w, DTQI_REPORT);
    struct dtqi_report r = *left;

    if (msg == NULL)
        return false;
    r.session = w->session.id;
    r.report_seq = ++w->session.report_seq;
    wk_credit_told(w, &r.credit_tasks, &r.credit_bytes);
    r.done_n = batch(r.done_n);
    r.failures_n = failures_batch(r.failures, r.failures_n);
    r.returned_n = batch(r.returned_n);
    r.stopped_n = batch(r.stopped_n);
    r.started_n = batch(r.started_n);
    msg->report = r;
    left->done_tickets += r.done_n;
    left->done_n -= r.done_n;
    left->failures += r.failures_n;
    left->failures_n -= r.failures_n;
    left->returned_ids += r.returned_n;
    left->returned_n -= r.returned_n;
    left->stopped_ids += r.stopped_n;
    left->stopped_n -= r.stopped_n;
    left->started_ids += r.started_n;
    left->started_n -= r.started_n;
    return true;
}

/* Results are news only to the accounting, the outcome itself goes to the sink; all else, the
 * ventilator acts on. */
static bool is_urgent(const struct worker *w)
{
    return w->failures.n + w->returned.n + w->stopped.n + w->started.n != 0;
}

/*
 * New credit is told when a quarter of the window has ended, before the slots run dry, when nothing
 * is left to run, and when the window changed much.
 */
static bool credit_is_due(const struct worker *w)
{
    const struct session *s = &w->session;
    uint32_t slots = w->slots_usable;
    uint32_t ahead = w->window > slots ? (w->window - slots) / 2 : 0;
    uint32_t enough = ahead < w->window / 4 ? ahead : w->window / 4;
    uint64_t tasks = wk_credit_tasks(w);

    if (active(w) == 0 && (s->ended != 0 || tasks > s->told_tasks))
        return true;
    if (tasks > s->told_tasks && tasks - s->told_tasks >= enough)
        return true;
    if (w->window < s->told_window && w->window <= s->told_window - s->told_window / 4)
        return true;
    return wk_credit_bytes(w) >= s->told_bytes + w->inbox_bytes_max / 4;
}

void wk_report(struct worker *w, bool now)
{
    struct dtqi_report left = {0};

    if (!session_is_open(w))
        return;
    if (w->report_is_short) {
        wk_session_lost(w, NO_MEMORY); /* HOLDINGS tell it all */
        return;
    }
    if (!is_urgent(w) && !(now && w->done.n != 0) && !credit_is_due(w))
        return;
    left.done_tickets = done_tickets(w, &left.done_n);
    left.failures = failures(w, &left.failures_n);
    left.returned_ids = ids_out(w, &w->returned, &left.returned_n);
    left.stopped_ids = ids_out(w, &w->stopped, &left.stopped_n);
    left.started_ids = ids_out(w, &w->started, &left.started_n);
    do {
        if (!report_some(w, &left)) {
            wk_session_lost(w, NO_MEMORY);
            return;
        }
    } while (left.done_n + left.failures_n + left.returned_n + left.stopped_n + left.started_n !=
             0);
}
