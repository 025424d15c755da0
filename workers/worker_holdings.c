#include "worker_internal.h"

/* ---------------------------------------------------------------- HOLDINGS and verdicts */

static enum dtqi_holding holding_of(const struct worker *w, const struct entry *e)
{
    switch ((enum entry_state)e->state) {
    case ENTRY_DONE: return DTQI_DONE;
    case ENTRY_FAILED: return DTQI_HELD_FAILED;
    case ENTRY_FED:
        return w->slots[e->slot].fed.head == index_of(w, e) ? DTQI_HELD_RUNNING : DTQI_WAITING;
    case ENTRY_FREE:
    case ENTRY_LIMBO:
    case ENTRY_WAITING:
    case ENTRY_STATES: break;
    }
    return DTQI_WAITING;
}

/* One page while it is filled: the columns have room for a whole batch. */
struct page {
    dtq_id *ids;
    uint64_t *epochs;
    uint32_t *attempts;
    uint32_t *states;
    struct dtqi_failure *failures;
    uint32_t n;
    uint32_t failures_n;
    uint64_t bytes;
};

static bool page_new(struct worker *w, struct page *p, uint32_t room)
{
    *p = (struct page){0};
    p->ids = wk_scratch(w, room, sizeof *p->ids);
    p->epochs = wk_scratch(w, room, sizeof *p->epochs);
    p->attempts = wk_scratch(w, room, sizeof *p->attempts);
    p->states = wk_scratch(w, room, sizeof *p->states);
    p->failures = wk_scratch(w, room, sizeof *p->failures);
    return p->ids != NULL && p->epochs != NULL && p->attempts != NULL && p->states != NULL &&
           p->failures != NULL;
}

static void page_add(struct worker *w, struct page *p, const struct entry *e)
{
    uint32_t i = p->n++;

    p->ids[i] = e->id;
    p->epochs[i] = w->origins[e->origin].epoch;
    p->attempts[i] = e->attempt;
    p->states[i] = holding_of(w, e);
    if (e->state == ENTRY_FAILED) {
        p->failures[p->failures_n++] = wk_failure(w, e);
        p->bytes += e->len;
    }
}

static bool page_send(struct worker *w, const struct page *p, bool last)
{
    struct dtqi_msg *msg = wk_send(w, DTQI_HOLDINGS);

    if (msg == NULL)
        return false;
    msg->holdings = (struct dtqi_holdings){
        .session = w->session.id,
        .n = p->n,
        .ids = p->ids,
        .epochs = p->epochs,
        .attempts = p->attempts,
        .states = p->states,
        .failures = p->failures,
        .failures_n = p->failures_n,
        .last = last,
    };
    return true;
}

bool wk_holdings_list(struct worker *w, bool verdicts)
{
    uint32_t left = w->held;
    struct page p = {0};

    for (uint32_t i = 0; i < w->entries_n && left > 0; i++) {
        struct entry *e = &w->entries[i];

        if (e->state == ENTRY_FREE || (e->flags & ENTRY_HELD) == 0)
            continue;
        if (p.n == 0 &&
            !page_new(w, &p, left < DTQI_BATCH_ENTRIES_MAX ? left : DTQI_BATCH_ENTRIES_MAX))
            return false;
        page_add(w, &p, e);
        left--;
        if (e->state == ENTRY_DONE || e->state == ENTRY_FAILED)
            e->flags |= ENTRY_TOLD;
        if (verdicts) {
            e->flags |= ENTRY_LISTED;
            w->session.listed++;
        }
        if (p.n < DTQI_BATCH_ENTRIES_MAX && p.bytes < DTQI_BATCH_BYTES_MAX)
            continue;
        if (!page_send(w, &p, left == 0))
            return false;
        p.n = 0;
        if (left == 0)
            return true;
    }
    return page_send(w, &p, true);
}

void wk_on_holdings_wanted(struct worker *w)
{
    if (!session_is_open(w))
        return; /* the list is under way */
    wk_report(w, true);
    if (!wk_holdings_list(w, false))
        wk_session_lost(w, "no memory for the list of holdings");
}

/* The ventilator does not want this attempt (any more). */
static void forget(struct worker *w, struct entry *e)
{
    if (e->state != ENTRY_FED) {
        wk_entry_discard(w, e);
        return;
    }
    wk_entry_unhold(w, e);
    wk_slot_stop_entry(w, e, ENTRY_DROP);
}

static void adopt(struct worker *w, struct entry *e, uint32_t ticket)
{
    e->ticket = ticket;
    e->flags &= (uint16_t)~ENTRY_STALE;
    switch ((enum entry_state)e->state) {
    case ENTRY_LIMBO:
        list_remove(w, &w->limbo, e);
        wk_entry_wait(w, e, false);
        break;
    case ENTRY_DONE:
        wk_report_end(w, e);
        wk_result_again(w, e);
        break;
    case ENTRY_FAILED: wk_report_end(w, e); break;
    case ENTRY_FREE:
    case ENTRY_WAITING:
    case ENTRY_FED:
    case ENTRY_STATES: break;
    }
}

static void make_stale(struct worker *w, struct entry *e)
{
    switch ((enum entry_state)e->state) {
    case ENTRY_FED: e->flags |= ENTRY_STALE; break;
    case ENTRY_DONE:
        e->flags |= ENTRY_STALE;
        wk_result_again(w, e);
        break;
    case ENTRY_FREE:
    case ENTRY_LIMBO:
    case ENTRY_WAITING:
    case ENTRY_FAILED:
    case ENTRY_STATES: wk_entry_discard(w, e); break;
    }
}

void wk_on_verdicts(struct worker *w, const struct dtqi_verdicts *m)
{
    if (!session_is_open(w))
        return; /* on nothing that was listed */
    for (uint32_t i = 0; i < m->n; i++) {
        struct entry *e =
            wk_entry_find(w, &m->ids[i], dtqi_col64(m->epochs, i), dtqi_col32(m->attempts, i, 1));

        if (e == NULL || (e->flags & ENTRY_HELD) == 0)
            continue;
        if ((e->flags & ENTRY_LISTED) != 0) {
            e->flags &= (uint16_t)~ENTRY_LISTED;
            w->session.listed--;
        }
        switch ((enum dtqi_verdict)dtqi_col32(m->verdicts, i, DTQI_VERDICT_FORGET)) {
        case DTQI_VERDICT_FORGET: forget(w, e); break;
        case DTQI_VERDICT_ADOPT: adopt(w, e, dtqi_col32(m->tickets, i, 0)); break;
        case DTQI_VERDICT_STALE: make_stale(w, e); break;
        }
    }
    if (w->session.listed == 0)
        w->session.outcomes_fenced = false;
}

/* ---------------------------------------------------------------- single attempts */

void wk_on_forget(struct worker *w, const struct dtqi_forget *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct entry *e;

        dtqi_idmap_expect_records(&w->map, m->ids, i, m->n, w->entries, sizeof *w->entries);
        e = wk_entry_find(w, &m->ids[i], m->epoch, dtqi_col32(m->attempts, i, 1));
        if (e != NULL && (e->flags & ENTRY_DROP) == 0)
            forget(w, e);
    }
}

void wk_on_resend(struct worker *w, const struct dtqi_ids *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct entry *e = wk_entry_newest(w, &m->ids[i]);

        for (; e != NULL; e = entry_at(w, e->older)) {
            if (e->state == ENTRY_DONE) {
                wk_entry_own_end(e);
                wk_result_again(w, e);
            }
        }
    }
}

static void stop_entry(struct worker *w, struct entry *e)
{
    switch ((enum entry_state)e->state) {
    case ENTRY_LIMBO:
    case ENTRY_WAITING:
        list_remove(w, e->state == ENTRY_LIMBO ? &w->limbo : &w->inbox, e);
        e->flags |= ENTRY_STOP;
        wk_entry_stopped(w, e, false);
        break;
    case ENTRY_FED: wk_slot_stop_entry(w, e, ENTRY_STOP); break;
    case ENTRY_FREE:
    case ENTRY_DONE: /* an outcome that came first is reported as such (R36) */
    case ENTRY_FAILED:
    case ENTRY_STATES: break;
    }
}

/* What has not come may still be on the lane, which is another connection. */
static void stop_ahead(struct worker *w, const dtq_id *id)
{
    w->stops_ahead[w->stops_ahead_next++ % STOPS_AHEAD_MAX] = *id;
    if (w->stops_ahead_n < STOPS_AHEAD_MAX)
        w->stops_ahead_n++;
}

void wk_on_stop_attempts(struct worker *w, const struct dtqi_ids *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        const struct entry *newest = wk_entry_newest(w, &m->ids[i]);
        uint32_t at = newest != NULL ? index_of(w, newest) : NONE;

        if (at == NONE)
            stop_ahead(w, &m->ids[i]);
        while (at != NONE) {
            struct entry *e = &w->entries[at];

            at = e->older;
            stop_entry(w, e);
        }
    }
}

bool wk_was_stopped_ahead(const struct worker *w, const dtq_id *id)
{
    for (uint32_t i = 0; i < w->stops_ahead_n; i++) {
        uint32_t at = (w->stops_ahead_next - 1 - i) % STOPS_AHEAD_MAX;

        if (dtqi_id_eq(&w->stops_ahead[at], id))
            return true;
    }
    return false;
}
