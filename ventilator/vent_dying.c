/*
 * Tasks that are about to be dead letters. Whoever has seen the outcome FAILED may ask for the dead
 * letter at once; but the sink tells producers no later than the ventilator, and the journal is
 * told a little later still. So a question about dead letters waits for those that were dying when
 * it came, and not for later ones: what dies is counted in two rounds. A turn begins by counting
 * new ones in the other round, and ends when the one before is empty.
 */
#include "vent_internal.h"

#define WAIT_MS 3000u /* at most: the outcome may be stuck on its way */

static uint8_t stage(enum dying_stage first, unsigned round)
{
    return (uint8_t)(first + round);
}

void vent_dying_end(struct vent *v, struct task *t)
{
    switch ((enum dying_stage)t->dying) {
    case DYING_NOT: return;
    case DYING_PROPOSED_0:
    case DYING_PROPOSED_1: v->sinks[t->sink].dying[t->dying - DYING_PROPOSED_0]--; break;
    case DYING_SETTLED_0:
    case DYING_SETTLED_1: v->dying_settled[t->dying - DYING_SETTLED_0]--; break;
    }
    t->dying = DYING_NOT;
}

void vent_dying_proposed(struct vent *v, struct task *t)
{
    assert(t->dying == DYING_NOT);
    t->dying = stage(DYING_PROPOSED_0, v->dying_round);
    v->sinks[t->sink].dying[v->dying_round]++;
}

/* It stays in its round: who waits for that waits for the whole way. */
void vent_dying_settled(struct vent *v, struct task *t)
{
    bool was_proposed = t->dying == DYING_PROPOSED_0 || t->dying == DYING_PROPOSED_1;
    unsigned round = was_proposed ? (unsigned)t->dying - DYING_PROPOSED_0 : v->dying_round;

    vent_dying_end(v, t);
    t->dying = stage(DYING_SETTLED_0, round);
    v->dying_settled[round]++;
}

/* ---------------------------------------------------------------- who waits */

/* After a start a sink may have outcomes to tell that somebody knows already. */
static bool is_caught_up(const struct vent *v)
{
    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++) {
        const struct sink *s = &v->sinks[i];
        bool may_come = s->live || v->now_ms - v->start_ms < v->cfg.grace_ms;

        if (s->used && s->is_old && !s->caught_up && may_come)
            return false;
    }
    return true;
}

/* What a sink that cannot be reached has been sent is not waited for: it may be long. */
static bool is_empty(const struct vent *v, unsigned round)
{
    bool any = v->dying_settled[round] != 0;

    for (uint32_t i = 0; i < DTQI_SINKS_MAX; i++)
        any |= v->sinks[i].dying[round] != 0 && vent_sink_is_up(&v->sinks[i]);
    return !any;
}

void vent_dying_read_send(struct vent *v, struct vent_read *r)
{
    if (v->dying_reads == NULL && is_caught_up(v) && is_empty(v, 0) && is_empty(v, 1)) {
        vent_read_send(v, r);
        return;
    }
    r->turn = v->dying_turn + 1;
    r->until_ms = v->now_ms + WAIT_MS;
    if (v->dying_reads == NULL)
        v->dying_reads = r;
    else
        v->dying_reads_last->waits_next = r;
    v->dying_reads_last = r;
}

static void turn(struct vent *v)
{
    if (v->dying_turning && is_empty(v, v->dying_round ^ 1u))
        v->dying_turning = false;
    if (v->dying_turning || v->dying_reads->turn <= v->dying_turn || !is_caught_up(v))
        return;
    v->dying_turning = true;
    v->dying_turn++;
    v->dying_round ^= 1u;
    if (is_empty(v, v->dying_round ^ 1u))
        v->dying_turning = false;
}

static bool is_over(const struct vent *v, const struct vent_read *r)
{
    if (v->now_ms >= r->until_ms)
        return true;
    return r->turn < v->dying_turn || (r->turn == v->dying_turn && !v->dying_turning);
}

void vent_dying_tick(struct vent *v)
{
    struct vent_read *r;

    if (v->dying_reads == NULL)
        return;
    turn(v);
    while ((r = v->dying_reads) != NULL && is_over(v, r)) {
        v->dying_reads = r->waits_next;
        vent_read_send(v, r);
    }
    if (r == NULL)
        return;
    due_at(v, r->until_ms);
    if (v->deletes.n != 0) { /* somebody waits for them: they do not wait for company */
        v->urgent = true;
        vent_lazy(v);
    }
}
