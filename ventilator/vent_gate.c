/*
 * When a queue may be dispatched from. One that may not is closed: in no list that dispatch looks
 * at, so that it costs nothing and keeps nobody else waiting, and its tasks hold neither slot nor
 * credit. What closed it opens it: RESUME, the end of a lease, the time of the next task.
 *
 * A rate is kept by the time of the next task, which moves by period / rate with each one. A queue
 * that is late because the loop was may catch up; one that had nothing to do, or nobody to do it,
 * may not: so no second has more than the rate allows, but for a few milliseconds' worth.
 */
#include "vent_internal.h"

#include <stdio.h>

#define NS_PER_MS 1000000u
#define LATE_NS (50u * NS_PER_MS)     /* of a queue that waits for its rate: it catches up .. */
#define IDLE_NS (5u * NS_PER_MS)      /* .. and of one that does not */
#define WRITTEN_NS (1000 * NS_PER_MS) /* a rate with such a step survives a restart in mid-step */

static uint64_t now_ns(const struct vent *v)
{
    return v->now_ms * NS_PER_MS;
}

static uint32_t held(const struct queue *q)
{
    return resident_of(q, TASK_LEASED) + resident_of(q, TASK_STOPPING);
}

/* ---------------------------------------------------------------- rates */

/* Before the start others may have gone out: the journal knows when the last one did. */
static void rate_begin(const struct vent *v, struct queue *q)
{
    uint64_t next_ms = q->settings.rate_next_wall_ms;
    uint64_t wait_ns = next_ms > v->wall_ms ? (next_ms - v->wall_ms) * NS_PER_MS : 0;

    q->rate_next_ns = now_ns(v) + (wait_ns < q->rate_step_ns ? wait_ns : q->rate_step_ns);
}

void vent_gate_set(struct vent *v, struct queue *q)
{
    const struct journal_queue_settings *s = &q->settings;

    q->rate_step_ns = s->rate != 0 ? at_least_1(s->rate_period_ms * NS_PER_MS / s->rate) : 0;
    q->rate_waits = false;
    if (q->rate_step_ns != 0)
        rate_begin(v, q);
}

static uint64_t rate_room(const struct vent *v, struct queue *q)
{
    uint64_t floor_ns = now_ns(v) - (q->rate_waits ? LATE_NS : IDLE_NS);

    if (q->rate_step_ns == 0)
        return UINT64_MAX;
    if (q->rate_next_ns < floor_ns)
        q->rate_next_ns = floor_ns;
    q->rate_waits = q->rate_next_ns > now_ns(v);
    return q->rate_waits ? 0 : (now_ns(v) - q->rate_next_ns) / q->rate_step_ns + 1;
}

static void rate_note(struct vent *v, struct queue *q)
{
    uint64_t wait_ns = q->rate_next_ns > now_ns(v) ? q->rate_next_ns - now_ns(v) : 0;

    if (q->rate_step_ns < WRITTEN_NS)
        return;
    q->settings.rate_next_wall_ms = v->wall_ms + wait_ns / NS_PER_MS;
    vent_queue_changed(v, q);
}

static void took(struct vent *v, struct queue *q)
{
    if (q->rate_step_ns == 0)
        return;
    q->rate_next_ns += q->rate_step_ns;
    rate_note(v, q);
}

void vent_gate_took(struct vent *v, struct queue *q)
{
    took(v, q);
    if (q->parent != NONE)
        took(v, &v->queues[q->parent]);
}

static void gave_back(struct vent *v, struct queue *q)
{
    if (q->rate_step_ns == 0 || q->rate_next_ns < q->rate_step_ns)
        return;
    vent_gate_open(v, q); /* out of the order of their times, before its own changes */
    q->rate_next_ns -= q->rate_step_ns;
    rate_note(v, q);
}

void vent_gate_gave_back(struct vent *v, struct queue *q)
{
    gave_back(v, q);
    if (q->parent != NONE)
        gave_back(v, &v->queues[q->parent]);
}

/* ---------------------------------------------------------------- limits */

/* After a start nobody knows what workers hold before they have said it. */
static uint64_t limit_room(const struct vent *v, const struct queue *q)
{
    if (q->settings.limit == 0)
        return UINT64_MAX;
    if (!v->grace_over || held(q) >= q->settings.limit)
        return 0;
    return q->settings.limit - held(q);
}

/* ---------------------------------------------------------------- the gate */

static void close_until(struct vent *v, struct queue *q)
{
    vent_gate_add(v, (uint32_t)(q - v->queues));
    due_at(v, (q->rate_next_ns + NS_PER_MS - 1) / NS_PER_MS);
}

uint32_t vent_gate_room(struct vent *v, struct queue *q)
{
    uint64_t room = q->settings.paused ? 0 : limit_room(v, q);
    uint64_t by_order = room != 0 ? vent_order_room(v, q) : 0;
    uint64_t by_rate = by_order != 0 ? rate_room(v, q) : UINT64_MAX;

    if (by_order < room)
        room = by_order;
    if (by_rate < room)
        room = by_rate;
    if (room != 0)
        return room < UINT32_MAX ? (uint32_t)room : UINT32_MAX;
    vent_queue_place(v, q, QUEUE_CLOSED);
    if (by_rate == 0) /* what else closes it opens it again: its time would not */
        close_until(v, q);
    return 0;
}

void vent_gate_open(struct vent *v, struct queue *q)
{
    if (q->place == QUEUE_CLOSED)
        vent_queue_place(v, q, QUEUE_ACTIVE);
}

void vent_gates_tick(struct vent *v)
{
    while (v->gates.n != 0) {
        struct queue *q = &v->queues[v->gates.at[0]];

        if (q->rate_next_ns > now_ns(v)) {
            due_at(v, (q->rate_next_ns + NS_PER_MS - 1) / NS_PER_MS);
            return;
        }
        if (q->place == QUEUE_CLOSED) {
            vent_gate_open(v, q);
        } else { /* a group that was remembered for its rate only */
            vent_gate_remove(v, (uint32_t)(q - v->queues));
            vent_group_unuse(v, q);
        }
    }
}

void vent_gates_start_over(struct vent *v)
{
    for (uint32_t i = 0; i < v->queues_n; i++)
        if (v->queues[i].used)
            vent_gate_open(v, &v->queues[i]);
    for (uint32_t i = v->queues_room; i < v->queues_room + v->groups_n; i++)
        if (v->queues[i].used)
            vent_gate_open(v, &v->queues[i]);
}

/* ---------------------------------------------------------------- for people */

#define WHY_BYTES 160u

static const char *noun(const struct queue *q)
{
    return q->parent != NONE ? "group" : "queue";
}

static const char *why_limit(struct vent *v, const struct queue *q)
{
    char *at = vent_scratch(v, 1, WHY_BYTES);

    if (!v->grace_over)
        return "its queue has a limit, and not all workers have said what they hold";
    if (at == NULL)
        return "its queue is at its limit";
    (void)snprintf(at, WHY_BYTES, "its %s is at its limit: workers hold %u tasks of it", noun(q),
                   held(q));
    return at;
}

static const char *why_rate(struct vent *v, const struct queue *q)
{
    char *at = vent_scratch(v, 1, WHY_BYTES);
    uint64_t wait_ns = q->rate_next_ns > now_ns(v) ? q->rate_next_ns - now_ns(v) : 0;

    if (at == NULL)
        return "its queue is at its rate";
    (void)snprintf(at, WHY_BYTES, "its %s is at its rate: the next task goes out in %llu ms",
                   noun(q), (unsigned long long)((wait_ns + NS_PER_MS - 1) / NS_PER_MS));
    return at;
}

static const char *why_one(struct vent *v, const struct queue *q)
{
    if (q->settings.paused)
        return "its queue is paused";
    if (limit_room(v, q) == 0)
        return why_limit(v, q);
    return q->rate_step_ns != 0 && q->rate_next_ns > now_ns(v) ? why_rate(v, q) : NULL;
}

const char *vent_gate_why(struct vent *v, const struct queue *q)
{
    const char *why = why_one(v, head_of(v, q));

    return why == NULL && q->parent != NONE ? why_one(v, q) : why;
}
