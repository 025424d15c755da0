#include "vent_internal.h"

void vent_census(const struct vent *v, struct vent_census *ret)
{
    *ret = (struct vent_census){
        .tasks = vent_records(v),
        .task_bytes = v->resident_bytes,
        .ready = v->counts[TASK_READY],
        .scheduled = v->counts[TASK_SCHEDULED],
        .leased = v->counts[TASK_LEASED] + v->counts[TASK_STOPPING],
        .done = v->counts[TASK_DONE] + v->counts[TASK_DEADWAIT],
        .proposed = v->counts[TASK_PROPOSED],
        .held = v->counts[TASK_HELD],
        .workers = v->workers_open,
        .submits = v->waits_used,
        .journal_busy = v->flight != NULL || v->reads_n != 0 || v->fresh.n != 0 ||
                        v->write.n != 0 || v->dirty.n != 0 || v->deletes.n != 0 ||
                        v->dead_dels_n != 0 || v->cron_changed != NULL || v->lazy_ms != 0,
    };
}

uint64_t vent_given_bytes(const struct vent *v)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < v->tasks_used; i++) {
        const struct task *t = task_at(v, i);

        if (t->state == TASK_LEASED || t->state == TASK_STOPPING || t->state == TASK_DONE ||
            t->state == TASK_DEADWAIT)
            bytes += vent_cost(v, t);
    }
    return bytes;
}

static uint32_t count_list(const struct vent *v, const struct list *l, enum task_state state)
{
    uint32_t n = 0;
    uint32_t before = NONE;

    for (uint32_t i = l->head; i != NONE; i = task_at(v, i)->next) {
        const struct task *t = task_at(v, i);

        assert(t->state == state || (state == TASK_LEASED && t->state == TASK_STOPPING));
        assert(t->prev == before);
        before = i;
        n++;
    }
    assert(l->tail == before);
    assert(l->n == n);
    return n;
}

static void check_paper(const struct vent *v, const struct list *l, enum paper_list which)
{
    uint32_t n = 0;

    for (uint32_t i = l->head; i != NONE; i = task_at(v, i)->paper_next) {
        assert(task_at(v, i)->state != TASK_FREE);
        assert(task_at(v, i)->paper_list == which);
        n++;
    }
    assert(l->n == n);
}

static void check_task(const struct vent *v, const struct task *t)
{
    assert(vent_task_find(v, &t->id) == t);
    assert(v->specs[t->spec].refs != 0);
    assert((t->state == TASK_GONE) >= ((t->flags & TASK_DEAD) != 0));
    assert(t->paper != PAPER_NONE || t->state == TASK_CLAIMED || t->paper_list == PAPER_FRESH ||
           t->paper_list == PAPER_WRITE || t->paper_list == PAPER_DELETES);
    assert(t->paper != PAPER_HANDED || v->flight != NULL);
    if (t->expiry != NONE)
        assert(v->expiries.at[t->expiry] == task_index(v, t));
    if (t->state == TASK_SCHEDULED)
        assert(v->due[t->since_ms >= JOURNAL_DUE_BY_WALL].heap.at[t->next] == task_index(v, t));
    if (t->state == TASK_LEASED || t->state == TASK_STOPPING || t->state == TASK_DONE) {
        assert(t->worker < v->workers_n);
        assert(v->workers[t->worker].state != WORKER_FREE);
        assert(t->attempt > 0);
    }
}

/* What questions about dead letters, and moves, wait for. */
static void check_dying(const struct vent *v)
{
    uint32_t transfers = 0;
    uint32_t proposed[2] = {0};
    uint32_t settled[2] = {0};
    uint32_t of_sinks[2] = {0};

    for (uint32_t i = 0; i < v->tasks_used; i++) {
        uint8_t stage = task_at(v, i)->state != TASK_FREE ? task_at(v, i)->dying : DYING_NOT;

        proposed[0] += stage == DYING_PROPOSED_0;
        proposed[1] += stage == DYING_PROPOSED_1;
        settled[0] += stage == DYING_SETTLED_0;
        settled[1] += stage == DYING_SETTLED_1;
        transfers +=
            task_at(v, i)->state != TASK_FREE && (task_at(v, i)->marks & TASK_TRANSFER) != 0;
    }
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        for (int round = 0; round < 2; round++)
            of_sinks[round] += v->sinks[i].dying[round];
    assert(memcmp(proposed, of_sinks, sizeof proposed) == 0);
    assert(memcmp(settled, v->dying_settled, sizeof settled) == 0);
    assert(transfers == v->transfers);
}

static void check_tasks(const struct vent *v)
{
    uint32_t counts[TASK_STATES] = {0};
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < v->tasks_used; i++) {
        const struct task *t = task_at(v, i);

        if (t->state == TASK_FREE)
            continue;
        check_task(v, t);
        counts[t->state]++;
        bytes += vent_cost(v, t);
    }
    for (uint32_t s = 1; s < TASK_STATES; s++)
        assert(counts[s] == v->counts[s]);
    assert(bytes == v->resident_bytes);
    assert(vent_records(v) == v->map.count);
    assert(vent_scheduled(v) == v->counts[TASK_SCHEDULED]);
}

static uint32_t check_lot(const struct vent *v, const struct lot *lot)
{
    uint32_t n = 0;

    for (uint32_t r = 0; r < DTQI_PRIORITIES; r++) {
        n += count_list(v, &lot->fifo[r], TASK_READY) + lot->late[r].n;
        assert((lot->fifo[r].n != 0 || lot->late[r].n != 0) == (lot->ranks >> r & 1));
        for (uint32_t i = 0; i < lot->late[r].n; i++) {
            assert((task_at(v, lot->late[r].at[i])->flags & TASK_LATE) != 0);
            assert(task_at(v, lot->late[r].at[i])->next == i);
        }
    }
    return n;
}

struct queue_sums {
    uint32_t ready;
    uint32_t parked;
    uint32_t suspects;
    uint32_t gates;
    uint64_t backlog;
    uint32_t hungry;
    uint32_t changed;
};

static void check_gate(const struct vent *v, const struct queue *q)
{
    if (q->gate_place == NONE)
        return;
    assert(v->gates.at[q->gate_place] == (uint32_t)(q - v->queues));
    assert(q->place == QUEUE_CLOSED || (q->parent != NONE && q->ready == 0));
}

static void check_ahead(const struct vent *v, const struct queue *q)
{
    for (uint32_t r = 0; q->ahead != NULL && r < DTQI_PRIORITIES; r++)
        assert(!vent_ahead_has(q, r, v->seq));
    assert(q->ageing_ms == (q->is_ordered ? 0 : head_of(v, q)->settings.ageing_ms));
}

static void check_queue(const struct vent *v, const struct queue *q, struct queue_sums *sums)
{
    bool offers = q->ready != 0 || (q->groups != NULL && q->groups->filled != 0);
    uint32_t n = 0;

    for (uint32_t s = 0; s < DTQI_SINKS_MAX; s++) {
        uint32_t in_lot = q->lots[s] != NULL ? check_lot(v, q->lots[s]) : 0;

        assert((in_lot != 0) == (q->lots_mask >> s & 1));
        n += in_lot;
    }
    n += count_list(v, &q->suspects, TASK_READY);
    assert(n == q->ready);
    assert(n == q->resident[TASK_READY]);
    assert((q->place == QUEUE_IDLE) == !offers);
    check_gate(v, q);
    check_ahead(v, q);
    sums->suspects += q->suspects.n;
    sums->gates += q->gate_place != NONE;
    sums->backlog += q->tasks;
    sums->ready += n;
    sums->parked += count_list(v, &q->parked, TASK_PARKED);
    sums->hungry += q->is_hungry;
    sums->changed += q->is_changed;
    if (q->number != 0)
        assert(vent_queue_of_number(v, q->number) != NULL);
}

/* ---------------------------------------------------------------- groups */

static void check_ring(const struct vent *v, const struct queue *p, uint32_t ring)
{
    const struct list *l = &p->groups->rings[ring];
    uint32_t k = ring == RING_SUSPECTS;
    uint32_t before = NONE;
    uint32_t n = 0;

    for (uint32_t i = l->head; i != NONE; i = v->queues[i].hooks[k].next) {
        const struct queue *q = &v->queues[i];

        assert(q->hooks[k].ring == ring);
        assert(q->hooks[k].prev == before);
        assert(q == p || (&v->queues[q->parent] == p && q->place == QUEUE_ACTIVE));
        assert(k == 0 ? q->lots_mask != 0 : q->suspects.n != 0);
        before = i;
        n++;
    }
    assert(l->tail == before);
    assert(l->n == n);
    assert((n != 0) == (p->groups->filled >> ring & 1));
}

static void check_member(const struct vent *v, const struct queue *p, const struct queue *q,
                         struct groups *sum)
{
    bool is_offered = q->hooks[0].ring != RING_NONE || q->hooks[1].ring != RING_NONE;

    assert(q->used);
    assert(&v->queues[q->parent] == p);
    assert(q->family == q->parent);
    assert(q->groups == NULL);
    assert(q->tried == NONE || (q->is_ordered && task_at(v, q->tried)->state == TASK_READY));
    assert(q->place != QUEUE_STUCK);
    assert(is_offered == (q->place == QUEUE_ACTIVE));
    assert(is_offered || q->offered == 0);
    for (uint32_t s = 0; s < TASK_STATES; s++)
        sum->resident[s] += q->resident[s];
    for (uint32_t s = 0; s < DTQI_SINKS_MAX; s++)
        sum->sinks[s] += q->offered_sinks >> s & 1;
    sum->offered += q->offered;
    sum->unloaded += q->unloaded;
    sum->tasks += q->tasks;
    sum->delayed += q->delayed;
    sum->delayed_here += q->delayed_here;
    sum->bytes += q->bytes;
    sum->with_tasks += q->tasks != 0;
    sum->members.n++;
}

static uint32_t check_groups(const struct vent *v, const struct queue *p)
{
    const struct groups *g = p->groups;
    struct groups sum = {0};

    for (uint32_t i = g->members.head; i != NONE; i = v->queues[i].sibling.next)
        check_member(v, p, &v->queues[i], &sum);
    for (uint32_t r = 0; r < GROUP_RINGS; r++)
        check_ring(v, p, r);
    for (uint32_t s = 0; s < TASK_STATES; s++)
        assert(sum.resident[s] == g->resident[s]);
    for (uint32_t s = 0; s < DTQI_SINKS_MAX; s++) {
        assert(sum.sinks[s] == g->sinks[s]);
        assert((sum.sinks[s] != 0) == (g->sinks_mask >> s & 1));
    }
    assert(sum.offered == g->offered);
    assert(sum.unloaded == g->unloaded);
    assert(sum.tasks == g->tasks);
    assert(sum.delayed == g->delayed);
    assert(sum.delayed_here == g->delayed_here);
    assert(sum.bytes == g->bytes);
    assert(sum.with_tasks == g->with_tasks);
    assert(sum.members.n == g->members.n);
    return g->members.n;
}

static void check_queues(const struct vent *v)
{
    struct queue_sums sums = {0};
    uint32_t groups = 0;

    for (uint32_t i = 0; i < v->queues_n; i++) {
        if (!v->queues[i].used)
            continue;
        assert(v->queues[i].parent == NONE);
        check_queue(v, &v->queues[i], &sums);
        groups += v->queues[i].groups != NULL ? check_groups(v, &v->queues[i]) : 0;
    }
    for (uint32_t i = v->queues_room; i < v->queues_room + v->groups_n; i++)
        if (v->queues[i].used)
            check_queue(v, &v->queues[i], &sums);
    assert(groups == v->groups_count);
    assert(sums.suspects == v->suspects_n);
    assert(sums.ready == v->counts[TASK_READY]);
    assert(sums.parked == v->counts[TASK_PARKED]);
    assert(sums.gates == v->gates.n);
    assert(sums.backlog == v->backlog_tasks);
    assert(sums.hungry == v->hungry.n);
    assert(sums.changed == v->changed.n);
}

static void check_delayed(const struct vent *v)
{
    uint64_t here = 0;
    uint64_t counted = 0;

    for (uint32_t i = 0; i < v->tasks_used; i++)
        here += is_told((enum task_state)task_at(v, i)->state) &&
                (task_at(v, i)->flags & TASK_DELAYED) != 0;
    for (uint32_t i = 0; i < v->queues_room + v->groups_n; i++)
        counted += v->queues[i].used ? v->queues[i].delayed_here : 0;
    assert(here == counted);
}

static void check_unmarked(const struct vent *v)
{
    uint64_t here = 0;
    uint64_t counted = 0;

    for (uint32_t i = 0; i < v->tasks_used; i++) {
        const struct task *t = task_at(v, i);

        here += t->state != TASK_FREE && t->state != TASK_GONE &&
                (t->flags & (TASK_CANCEL | TASK_MARKED)) == TASK_CANCEL;
    }
    for (uint32_t i = 0; i < v->queues_n; i++)
        counted += v->queues[i].used ? v->queues[i].unmarked : 0;
    assert(here == counted);
}

static void check_seats(const struct vent *v, const struct seats *h)
{
    for (uint32_t i = 0; i < h->n; i++) {
        const struct worker *w = &v->workers[h->at[i].worker];

        assert(w->able);
        assert((h->at[i].k == NONE ? w->place : w->places[h->at[i].k]) == i);
        if (i != 0)
            assert(v->workers[h->at[(i - 1) / 2].worker].load <= w->load);
    }
}

static uint64_t held_sum(const struct vent *v, const struct list *l)
{
    uint64_t sum = 0;

    for (uint32_t i = l->head; i != NONE; i = task_at(v, i)->next)
        sum += dtqi_holding_hash(&task_at(v, i)->id, task_epoch(v, task_at(v, i)),
                                 task_at(v, i)->attempt);
    return sum;
}

static void check_workers(const struct vent *v)
{
    uint32_t leased = 0;
    uint32_t done = 0;
    uint32_t open = 0;
    uint32_t able = 0;
    uint32_t reserved = 0;

    for (uint32_t i = 0; i < v->workers_n; i++) {
        const struct worker *w = &v->workers[i];

        if (w->state == WORKER_FREE)
            continue;
        leased += count_list(v, &w->leased, TASK_LEASED);
        done += count_list(v, &w->done, TASK_DONE);
        assert(w->held_sum == held_sum(v, &w->leased) + held_sum(v, &w->done));
        assert(w->is_open == (w->state == WORKER_OPEN));
        /* R15: credit bounds what is sent, but for a worker that says less than it said before. */
        assert(w->leased.n <= LEASES_MAX);
        open += w->is_open;
        able += w->able;
        reserved += w->reserved;
    }
    assert(leased == v->counts[TASK_LEASED] + v->counts[TASK_STOPPING]);
    assert(done == v->counts[TASK_DONE]);
    assert(open == v->workers_open);
    assert(able == v->workers_able);
    assert(reserved == v->workers_reserved);
    check_seats(v, &v->any);
    for (uint32_t i = 0; i < v->queues_n; i++)
        if (v->queues[i].used)
            check_seats(v, &v->queues[i].able);
}

static void check_sinks(const struct vent *v)
{
    uint32_t sent = 0;
    uint32_t unsent = 0;
    uint32_t held = 0;

    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        sent += count_list(v, &v->sinks[i].proposed, TASK_PROPOSED);
        unsent += count_list(v, &v->sinks[i].unsent, TASK_PROPOSED);
        held += count_list(v, &v->held[i], TASK_HELD);
        assert(v->sinks[i].applied_durable <= v->sinks[i].applied);
    }
    assert(sent == v->proposals);
    assert(sent + unsent == v->counts[TASK_PROPOSED]);
    assert(held == v->counts[TASK_HELD]);
    assert(count_list(v, &v->deadwait, TASK_DEADWAIT) == v->counts[TASK_DEADWAIT]);
}

bool vent_is_left_to_journal(const struct vent *v, const dtq_id *id)
{
    const struct task *t = vent_task_find(v, id);

    return t == NULL || t->state == TASK_PARKED;
}

void vent_check(const struct vent *v)
{
    if (v->fatal)
        return; /* it has stopped in the middle of something */
    check_tasks(v);
    check_dying(v);
    check_queues(v);
    check_delayed(v);
    check_unmarked(v);
    check_workers(v);
    check_sinks(v);
    check_paper(v, &v->fresh, PAPER_FRESH);
    check_paper(v, &v->write, PAPER_WRITE);
    check_paper(v, &v->dirty, PAPER_DIRTY);
    check_paper(v, &v->deletes, PAPER_DELETES);
    vent_crons_check(v);
    assert(vent_records(v) <= v->cfg.resident_tasks_max);
}
