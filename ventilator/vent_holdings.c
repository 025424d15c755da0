#include "vent_internal.h"

/* ---------------------------------------------------------------- the beginning and the end */

void vent_listing_begins(struct vent *v, struct worker *w)
{
    for (uint32_t i = w->leased.head; i != NONE; i = task_at(v, i)->next)
        task_at(v, i)->flags &= (uint16_t)~TASK_LISTED;
    for (uint32_t i = w->done.head; i != NONE; i = task_at(v, i)->next)
        task_at(v, i)->flags &= (uint16_t)~TASK_LISTED;
    w->stale_n = 0;
    w->stale_sum = 0;
    w->list_ended = false;
}

void vent_ask_holdings(struct vent *v, struct worker *w)
{
    struct dtqi_msg *msg = vent_send(v, w->route, DTQI_HOLDINGS_WANTED);

    if (msg == NULL)
        return; /* with its next heartbeat, then */
    msg->holdings_wanted.session = w->session;
    w->asked = true;
    w->drying = false;
    w->asked_ms = w->wanted_ms = at_least_1(v->now_ms);
    v->counters.holdings_wanted++;
    vent_listing_begins(v, w);
    vent_worker_update(v, w);
}

/* R18, R19: what the whole list did not name is lost. The newest first: each goes to the head. */
static void drop_unlisted(struct vent *v, struct worker *w)
{
    uint32_t i = w->leased.tail;

    while (i != NONE) {
        struct task *t = task_at(v, i);

        i = t->prev;
        if ((t->flags & TASK_LISTED) != 0)
            t->flags &= (uint16_t)~TASK_LISTED;
        else
            vent_attempt_lost(v, t, LOST_ON_LANE);
    }
    i = w->done.head;
    while (i != NONE) {
        struct task *t = task_at(v, i);

        i = t->next;
        if ((t->flags & TASK_LISTED) != 0) {
            t->flags &= (uint16_t)~TASK_LISTED;
            continue;
        }
        vent_task_move(v, t, TASK_DEADWAIT);
        vent_list_push(v, &v->deadwait, t);
    }
}

void vent_listing_ended(struct vent *v, struct worker *w)
{
    drop_unlisted(v, w);
    w->list_ended = w->asked = w->drying = false;
    w->blind = 0;
    w->forgot = true; /* verdicts are under way: the next heartbeat may not know them */
    if (w->state == WORKER_LISTING)
        vent_worker_opened(v, w);
    vent_worker_touch(v, w);
}

/* ---------------------------------------------------------------- pages */

static void page_free(struct vent *v, struct page *p)
{
    v->pages_bytes -= p->bytes;
    if (p->found != NULL)
        vent_read_free(v, p->found);
    dtqi_buf_unref(p->buf);
    free(p);
}

void vent_pages_drop(struct vent *v, struct worker *w)
{
    while (w->pages != NULL) {
        struct page *p = w->pages;

        w->pages = p->next;
        page_free(v, p);
    }
    w->pages_tail = NULL;
}

static bool page_add(struct vent *v, struct worker *w, const struct dtqi_msg *msg)
{
    const struct dtqi_holdings *m = &msg->holdings;
    size_t bytes = (msg->buf != NULL ? msg->buf->total : 0) + sizeof(struct page);
    struct page *p;

    if (w->pages != NULL && v->pages_bytes + bytes > PAGES_BYTES_MAX)
        return false; /* one page of each worker is always taken */
    p = malloc(sizeof *p + m->n * sizeof *p->positions);
    if (p == NULL)
        return false;
    *p = (struct page){
        .m = *m, .buf = msg->buf != NULL ? dtqi_buf_ref(msg->buf) : NULL, .bytes = bytes};
    v->pages_bytes += bytes;
    if (w->pages_tail != NULL)
        w->pages_tail->next = p;
    else
        w->pages = p;
    w->pages_tail = p;
    w->list_ended = m->last;
    return true;
}

/* R11: absence from memory proves nothing. false: nothing to ask. */
static bool ask_journal(struct vent *v, struct worker *w, struct page *p)
{
    dtq_id *ids = vent_scratch(v, p->m.n, sizeof *ids);
    struct vent_read *r;
    uint32_t n = 0;

    for (uint32_t i = 0; ids != NULL && i < p->m.n; i++) {
        if (vent_task_find(v, &p->m.ids[i]) != NULL)
            continue;
        p->positions[n] = i;
        ids[n++] = p->m.ids[i];
    }
    if (ids != NULL && n == 0)
        return false;
    r = ids != NULL ? vent_read_new(v, READ_HOLDINGS, JOURNAL_LOOKUP, ids, n) : NULL;
    if (r == NULL) {
        vent_worker_lose(v, w, "no memory for what it holds", true);
        return true;
    }
    p->asked = true;
    r->worker = w->index;
    r->session = w->session;
    r->read.bodies = true;
    vent_read_send(v, r);
    return true;
}

static bool has_claim(const struct vent *v, const struct page *p)
{
    for (uint32_t i = 0; i < p->m.n; i++) {
        const struct task *t = vent_task_find(v, &p->m.ids[i]);

        if (t != NULL && t->state == TASK_CLAIMED)
            return true;
    }
    return false;
}

/* ---------------------------------------------------------------- verdicts (R11) */

/* One entry of a page. */
struct entry {
    const dtq_id *id;
    struct journal_attempt attempt;
    enum dtqi_holding state;
    const struct dtqi_failure *failure; /* DTQI_HELD_FAILED */
};

static bool is_current(const struct vent *v, const struct worker *w, const struct task *t,
                       const struct entry *e)
{
    return (t->state == TASK_LEASED || t->state == TASK_STOPPING || t->state == TASK_DONE) &&
           t->worker == w->index && t->attempt == e->attempt.n &&
           task_epoch(v, t) == e->attempt.epoch;
}

/* Never given by this ventilator: from the future, or beyond what this start gave out. */
static bool is_invented(const struct vent *v, const struct journal_counters *c,
                        const struct entry *e)
{
    if (e->attempt.n == 0 || e->attempt.n > ATTEMPTS_MAX || e->attempt.epoch > v->epoch)
        return true;
    return e->attempt.epoch == v->epoch &&
           attempt_is_after(e->attempt.epoch, e->attempt.n, &c->last);
}

static void count_failure(struct vent *v, struct task *t, const struct entry *e)
{
    struct dtqi_failure f = *e->failure;

    f.id = *e->id;
    f.epoch = e->attempt.epoch;
    f.attempt = e->attempt.n;
    vent_failed(v, t, &f);
}

/* It listed what it has the lease of. */
static enum dtqi_verdict confirm_lease(struct vent *v, struct worker *w, struct task *t,
                                       const struct entry *e)
{
    if (t->state == TASK_DONE && e->state != DTQI_DONE)
        return DTQI_VERDICT_STALE; /* it said done before: one of the two is wrong */
    switch (e->state) {
    case DTQI_HELD_FAILED: count_failure(v, t, e); return DTQI_VERDICT_FORGET;
    case DTQI_DONE:
        if (t->state != TASK_DONE) {
            vent_list_remove(v, &w->leased, t);
            vent_task_move(v, t, TASK_DONE);
            vent_list_push(v, &w->done, t);
        }
        break;
    case DTQI_HELD_RUNNING: t->flags |= TASK_RUNNING; break;
    case DTQI_WAITING: break;
    }
    t->flags |= TASK_LISTED;
    if (t->state == TASK_STOPPING)
        vent_stop_attempt(v, w, &t->id);
    return DTQI_VERDICT_ADOPT;
}

/* The attempt becomes the lease. */
static enum dtqi_verdict adopt(struct vent *v, struct worker *w, struct task *t,
                               const struct entry *e)
{
    struct journal_counters c = vent_task_counters(v, t);
    struct past *p = vent_past(v, t);

    if (p == NULL)
        return DTQI_VERDICT_STALE; /* no memory: what it has may still become the outcome */
    p->counters.last = c.last;     /* R2: the highest one stays known */
    p->epoch = e->attempt.epoch != v->epoch ? e->attempt.epoch : 0;
    t->attempt = e->attempt.n;
    vent_lease(v, t, w, e->state == DTQI_DONE ? TASK_DONE : TASK_LEASED);
    v->counters.attempts_adopted++;
    t->flags |= TASK_LISTED;
    if (e->state == DTQI_HELD_RUNNING)
        t->flags |= TASK_RUNNING;
    if (e->state != DTQI_HELD_FAILED)
        return DTQI_VERDICT_ADOPT;
    count_failure(v, t, e);
    return DTQI_VERDICT_FORGET;
}

static bool is_adoptable(const struct vent *v, const struct task *t, const struct entry *e)
{
    struct journal_counters c = vent_task_counters(v, t);

    if (c.proposed != 0 || c.cancel != 0)
        return false;
    return e->state == DTQI_DONE || attempt_is_after(e->attempt.epoch, e->attempt.n, &c.counted);
}

/* Of two attempts that were listed after a restart the higher one is adopted. */
static bool take_over(struct vent *v, struct task *t, const struct entry *e)
{
    struct journal_attempt current = {task_epoch(v, t), t->attempt};

    if ((t->state != TASK_LEASED && t->state != TASK_DONE) || current.epoch == v->epoch ||
        !attempt_is_after(e->attempt.epoch, e->attempt.n, &current))
        return false;
    vent_task_move(v, t, TASK_DEADWAIT);
    vent_list_push(v, &v->deadwait, t);
    return true;
}

/* R36: it was cancelled, perhaps before a restart, and is here: it is stopped before it is
 * cancelled. */
static bool is_to_be_stopped(const struct vent *v, const struct task *t, const struct entry *e)
{
    struct journal_counters c = vent_task_counters(v, t);

    return c.cancel != 0 && c.proposed == 0 &&
           (e->state == DTQI_WAITING || e->state == DTQI_HELD_RUNNING) &&
           attempt_is_after(e->attempt.epoch, e->attempt.n, &c.counted);
}

static enum dtqi_verdict adopt_and_stop(struct vent *v, struct worker *w, struct task *t,
                                        const struct entry *e)
{
    enum dtqi_verdict verdict = adopt(v, w, t, e);

    if (t->state == TASK_LEASED)
        (void)vent_cancel_task(v, t);
    return verdict;
}

static enum dtqi_verdict judge_idle(struct vent *v, struct worker *w, struct task *t,
                                    const struct entry *e)
{
    struct journal_counters c = vent_task_counters(v, t);

    if (is_invented(v, &c, e) || (e->state == DTQI_HELD_FAILED &&
                                  !attempt_is_after(e->attempt.epoch, e->attempt.n, &c.counted)))
        return DTQI_VERDICT_FORGET;
    if (is_to_be_stopped(v, t, e))
        return adopt_and_stop(v, w, t, e);
    return is_adoptable(v, t, e) ? adopt(v, w, t, e) : DTQI_VERDICT_STALE;
}

static enum dtqi_verdict judge_resident(struct vent *v, struct worker *w, struct task *t,
                                        const struct entry *e)
{
    switch ((enum task_state)t->state) {
    case TASK_GONE: return DTQI_VERDICT_FORGET;
    case TASK_FREE:
    case TASK_HELD:
    case TASK_READY:
    case TASK_PARKED:
    case TASK_SCHEDULED:
    case TASK_DEADWAIT: return judge_idle(v, w, t, e);
    case TASK_LEASED:
    case TASK_STOPPING:
    case TASK_DONE:
        if (is_current(v, w, t, e))
            return confirm_lease(v, w, t, e);
        if (is_adoptable(v, t, e) && take_over(v, t, e))
            return judge_idle(v, w, t, e);
        break;
    case TASK_CLAIMED:
    case TASK_MARKING:
    case TASK_PROPOSED:
    case TASK_STATES: break;
    }
    return DTQI_VERDICT_STALE;
}

/* Known to the journal only. What is not adopted stays there: it is behind the boundary. */
static bool judge_journaled(struct vent *v, struct worker *w, const struct journal_task *jt,
                            struct dtqi_buf *buf, const struct entry *e, enum dtqi_verdict *ret)
{
    struct task *t = vent_recover(v, jt, buf);

    if (t == NULL)
        return false;
    *ret = judge_idle(v, w, t, e);
    t = vent_task_find(v, e->id);
    if (t != NULL && t->state == TASK_FREE)
        vent_task_free(v, t);
    return true;
}

struct verdicts {
    uint32_t *verdicts;
    uint32_t *tickets;
};

static bool judge(struct vent *v, struct worker *w, const struct page *p, const uint32_t *found,
                  struct verdicts *out)
{
    const struct journal_read *a = p->found != NULL ? &p->found->read : NULL;
    uint32_t failure = 0;

    for (uint32_t i = 0; i < p->m.n; i++) {
        struct entry e = {
            .id = &p->m.ids[i],
            .attempt = {p->m.epochs[i], p->m.attempts[i]},
            .state = (enum dtqi_holding)dtqi_col32(p->m.states, i, DTQI_WAITING),
        };
        struct task *t = vent_task_find(v, e.id);
        enum dtqi_verdict verdict = DTQI_VERDICT_FORGET;

        if (e.state == DTQI_HELD_FAILED)
            e.failure = &p->m.failures[failure++];
        if (t != NULL)
            verdict = judge_resident(v, w, t, &e);
        else if (a != NULL && found[i] != NONE &&
                 !judge_journaled(v, w, &a->tasks[found[i]], a->buf, &e, &verdict))
            return false;
        if (verdict == DTQI_VERDICT_STALE &&
            (e.state == DTQI_DONE || e.state == DTQI_HELD_RUNNING)) {
            w->stale_n++;
            w->stale_sum += dtqi_holding_hash(e.id, e.attempt.epoch, e.attempt.n);
        }
        t = vent_task_find(v, e.id);
        out->verdicts[i] = verdict;
        out->tickets[i] = verdict == DTQI_VERDICT_ADOPT && t != NULL ? task_ticket(v, t) : 0;
    }
    return true;
}

static void send_verdicts(struct vent *v, const struct worker *w, const struct page *p,
                          const struct verdicts *verdicts)
{
    dtq_id *ids = vent_scratch(v, p->m.n, sizeof *ids);
    uint64_t *epochs = vent_scratch(v, p->m.n, sizeof *epochs);
    uint32_t *attempts = vent_scratch(v, p->m.n, sizeof *attempts);
    struct dtqi_msg *msg = ids != NULL && epochs != NULL && attempts != NULL
                               ? vent_send(v, w->route, DTQI_VERDICTS)
                               : NULL;

    if (msg == NULL)
        return; /* what it holds is counted, and asked for again */
    memcpy(ids, p->m.ids, p->m.n * sizeof *ids);
    memcpy(epochs, p->m.epochs, p->m.n * sizeof *epochs);
    memcpy(attempts, p->m.attempts, p->m.n * sizeof *attempts);
    msg->verdicts = (struct dtqi_verdicts){
        .session = w->session,
        .n = p->m.n,
        .ids = ids,
        .epochs = epochs,
        .attempts = attempts,
        .verdicts = verdicts->verdicts,
        .tickets = verdicts->tickets,
    };
}

/* false: no memory; the session is to begin anew. */
static bool answer_page(struct vent *v, struct worker *w, const struct page *p)
{
    struct verdicts out = {vent_scratch(v, p->m.n, sizeof *out.verdicts),
                           vent_scratch(v, p->m.n, sizeof *out.tickets)};
    uint32_t *found = vent_scratch(v, p->m.n, sizeof *found);

    if (p->m.n == 0)
        return true;
    if (out.verdicts == NULL || out.tickets == NULL || found == NULL)
        return false;
    memset(found, 0xff, p->m.n * sizeof *found);
    for (uint32_t i = 0; p->found != NULL && i < p->found->read.tasks_n; i++)
        found[p->positions[p->found->read.index[i]]] = i;
    if (!judge(v, w, p, found, &out))
        return false;
    send_verdicts(v, w, p, &out);
    return true;
}

/* Work off what can be. */
static void work_off(struct vent *v, struct worker *w)
{
    while (w->pages != NULL) {
        struct page *p = w->pages;

        if (!p->asked && ask_journal(v, w, p))
            return;
        if ((p->asked && p->found == NULL) || has_claim(v, p))
            return;
        if (!answer_page(v, w, p)) {
            vent_worker_lose(v, w, "no memory for what it holds", true);
            return;
        }
        w->pages = p->next;
        if (w->pages == NULL)
            w->pages_tail = NULL;
        page_free(v, p);
    }
    if (w->list_ended)
        vent_listing_ended(v, w);
}

void vent_on_holdings(struct vent *v, struct worker *w, const struct dtqi_msg *msg)
{
    if ((w->state != WORKER_LISTING && !w->asked) || w->list_ended) {
        v->counters.messages_foreign++; /* nobody asked */
        return;
    }
    if (!page_add(v, w, msg)) {
        vent_worker_lose(v, w, "too much to list at once", true);
        return;
    }
    work_off(v, w);
}

void vent_holdings_looked_up(struct vent *v, struct vent_read *r)
{
    struct worker *w = vent_worker_of_session(v, r->session);

    if (w == NULL || w->pages == NULL || !w->pages->asked || w->pages->found != NULL) {
        vent_read_free(v, r);
        return;
    }
    if (r->read.err != DTQ_OK) {
        vent_read_free(v, r);
        vent_worker_lose(v, w, "the journal could not be read", true);
        return;
    }
    w->pages->found = r;
    work_off(v, w);
}

/* Pages that waited for a claim. */
void vent_pages_tick(struct vent *v)
{
    if (v->claims_seen == v->claims_done)
        return;
    v->claims_seen = v->claims_done;
    for (uint32_t i = 0; i < v->workers_n; i++)
        if (v->workers[i].state != WORKER_FREE && v->workers[i].pages != NULL)
            work_off(v, &v->workers[i]);
}
