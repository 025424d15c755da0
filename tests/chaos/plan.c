#include "plan.h"

#include "job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACT_MS_MAX 12000u

struct maker {
    const struct plan_cfg *cfg;
    struct plan *plan;
    uint64_t random;
    uint32_t from_ms; /* of the act */
    uint32_t to_ms;
};

#define PLAN_NAME(name, text) text,
static const char *const act_names[] = {ACTS(PLAN_NAME)};
static const char *const pair_names[] = {PAIRS(PLAN_NAME)};
static const char *const cut_names[] = {CUTS(PLAN_NAME)};
#undef PLAN_NAME
static const char *const op_names[] = {"act",  "kill", "start", "term", "stop", "cont",
                                       "slot", "cut",  "heal",  "drop", "pass"};

const char *plan_act_name(enum act act)
{
    return act_names[act];
}

const char *plan_pair_name(enum pair pair)
{
    return pair_names[pair];
}

uint32_t plan_act_of(const char *name)
{
    for (uint32_t i = 0; i < ACTS_N; i++)
        if (strcmp(name, act_names[i]) == 0)
            return i + 1;
    return 0;
}

enum role plan_role(const struct plan_cfg *cfg, uint32_t actor)
{
    if (actor == ACTOR_VENTILATOR)
        return ROLE_VENTILATOR;
    if (actor == ACTOR_SINK)
        return ROLE_SINK;
    return actor < 2 + cfg->workers ? ROLE_WORKER : ROLE_PRODUCER;
}

/* ------------------------------------------------------------------------ steps */

static struct step *add(struct maker *m, uint32_t at_ms, enum op op, uint32_t actor)
{
    struct plan *plan = m->plan;
    struct step *step;

    if ((plan->n & (plan->n + 1)) == 0)
        plan->steps = realloc(plan->steps, (2 * plan->n + 2) * sizeof *plan->steps);
    if (plan->steps == NULL) {
        perror("plan");
        exit(1);
    }
    step = &plan->steps[plan->n];
    *step = (struct step){
        .at_ms = at_ms, .order = (uint32_t)plan->n, .op = op, .actor = actor, .amount = 0};
    plan->n++;
    return step;
}

static uint32_t between(struct maker *m, uint32_t low, uint32_t high)
{
    return low + job_below(&m->random, high - low + 1);
}

static uint32_t within(const struct maker *m, uint32_t at_ms)
{
    return at_ms < m->to_ms ? at_ms : m->to_ms;
}

static uint32_t any_worker(struct maker *m)
{
    return 2 + job_below(&m->random, m->cfg->workers);
}

static uint32_t any_producer(struct maker *m)
{
    return 2 + m->cfg->workers + job_below(&m->random, m->cfg->producers);
}

static uint32_t any_actor(struct maker *m)
{
    uint32_t at = job_below(&m->random, 10);

    return at < 5                                    ? any_worker(m)
           : at < 7                                  ? any_producer(m)
           : at < 8 || job_below(&m->random, 2) == 0 ? ACTOR_SINK
                                                     : ACTOR_VENTILATOR;
}

static void kill_one(struct maker *m, uint32_t at_ms, uint32_t actor, uint32_t down_ms)
{
    add(m, at_ms, OP_KILL, actor);
    add(m, within(m, at_ms + down_ms), OP_START, actor);
}

/* Half of them come back at once, the others when they have been missed. */
static uint32_t some_down_ms(struct maker *m)
{
    return job_below(&m->random, 2) == 0 ? 0 : between(m, 1, 2 * m->cfg->dead_ms);
}

static void stop_one(struct maker *m, uint32_t at_ms, uint32_t actor, uint32_t ms)
{
    add(m, at_ms, OP_STOP, actor);
    add(m, within(m, at_ms + ms), OP_CONT, actor);
}

/* Who calls on the links of a pair; of one pair both sides do. */
static uint32_t caller_of(struct maker *m, enum pair pair)
{
    if (pair == PAIR_V_S || job_below(&m->random, 2) == 0)
        return ACTOR_ALL;
    return pair == PAIR_P_V || pair == PAIR_P_S ? any_producer(m) : any_worker(m);
}

static void cut(struct maker *m, uint32_t at_ms, enum pair pair, uint32_t ms)
{
    struct step *step = add(m, at_ms, OP_CUT, caller_of(m, pair));

    step->pair = pair;
    step->cut = (enum cut)job_below(&m->random, CUT_DELAY);
    add(m, within(m, at_ms + ms), OP_HEAL, ACTOR_ALL)->pair = pair;
}

static void all_links(struct maker *m, enum cut kind, uint32_t amount)
{
    for (int pair = 0; pair < PAIRS_N; pair++) {
        struct step *step = add(m, m->from_ms, OP_CUT, ACTOR_ALL);

        step->pair = (enum pair)pair;
        step->cut = kind;
        step->amount = amount;
        add(m, m->to_ms, OP_HEAL, ACTOR_ALL)->pair = (enum pair)pair;
    }
}

/* ------------------------------------------------------------------------ acts */

static void play_cuts(struct maker *m, enum pair pair)
{
    uint32_t dead_ms = m->cfg->dead_ms;

    for (uint32_t at_ms = m->from_ms; at_ms < m->to_ms;) {
        uint32_t ms = between(m, dead_ms / 4, dead_ms * 5 / 2);

        cut(m, at_ms, pair, ms);
        at_ms += ms + between(m, dead_ms / 8, dead_ms);
    }
}

static void play_kills(struct maker *m, uint32_t mean_ms)
{
    for (uint32_t at_ms = m->from_ms + between(m, 0, mean_ms); at_ms < m->to_ms;
         at_ms += between(m, 1, 2 * mean_ms))
        kill_one(m, at_ms, any_actor(m), some_down_ms(m));
}

static void play_zombies(struct maker *m, uint32_t pause_ms)
{
    uint32_t dead_ms = m->cfg->dead_ms;

    for (uint32_t at_ms = m->from_ms; at_ms < m->to_ms; at_ms += between(m, 1, pause_ms))
        stop_one(m, at_ms, any_actor(m), between(m, dead_ms / 2, dead_ms * 3));
}

static void play_rolling(struct maker *m)
{
    uint32_t actors = 2 + m->cfg->workers + m->cfg->producers;

    for (uint32_t actor = 0; actor < actors; actor++) {
        uint32_t at_ms = m->from_ms + (m->to_ms - m->from_ms) / actors * actor;

        add(m, at_ms, OP_TERM, actor);
        add(m, within(m, at_ms + between(m, 1, 200)), OP_TERM, actor); /* while it starts */
    }
}

/* Results gather at the workers, and some of these die with them. */
static void play_sink_away(struct maker *m)
{
    add(m, m->from_ms, job_below(&m->random, 2) == 0 ? OP_KILL : OP_TERM, ACTOR_SINK)->amount = 1;
    add(m, m->to_ms, OP_START, ACTOR_SINK);
    for (uint32_t at_ms = m->from_ms + between(m, 200, 4000); at_ms < m->to_ms;
         at_ms += between(m, 200, 8000))
        kill_one(m, at_ms, any_worker(m), some_down_ms(m));
}

static void play_reboot(struct maker *m)
{
    uint32_t actors = 2 + m->cfg->workers + m->cfg->producers;

    for (uint32_t actor = 0; actor < actors; actor++)
        kill_one(m, m->from_ms, actor, between(m, 0, m->cfg->dead_ms));
}

static void play_crash_loop(struct maker *m)
{
    for (uint32_t at_ms = m->from_ms; at_ms < m->to_ms; at_ms += between(m, 20, 250))
        kill_one(m, at_ms, ACTOR_VENTILATOR, between(m, 0, 20));
}

static void play_slots(struct maker *m)
{
    for (uint32_t at_ms = m->from_ms; at_ms < m->to_ms; at_ms += between(m, 10, 200))
        add(m, at_ms, OP_SLOT, any_worker(m));
}

static void play_resets(struct maker *m)
{
    for (uint32_t at_ms = m->from_ms; at_ms < m->to_ms; at_ms += between(m, 50, 500)) {
        struct step *step = add(m, at_ms, OP_CUT, ACTOR_ALL);

        step->pair = (enum pair)job_below(&m->random, PAIRS_N);
        step->cut = CUT_RESET;
    }
}

/* Every link comes and goes by itself all the time, and mostly stays away for less than death. */
static void play_flapping(struct maker *m)
{
    uint32_t dead_ms = m->cfg->dead_ms;

    for (int pair = 0; pair < PAIRS_N; pair++)
        for (uint32_t at_ms = m->from_ms + between(m, 0, dead_ms / 2); at_ms < m->to_ms;) {
            uint32_t ms = between(m, dead_ms / 6, dead_ms);

            cut(m, at_ms, (enum pair)pair, ms);
            at_ms += ms + between(m, dead_ms / 6, dead_ms);
        }
}

static void play_delay(struct maker *m)
{
    uint32_t most_ms = m->cfg->dead_ms / 12 + 1;

    all_links(m, CUT_DELAY, m->cfg->delay_ms != 0 ? m->cfg->delay_ms : between(m, 1, most_ms));
}

static void play_mixed(struct maker *m)
{
    uint32_t dead_ms = m->cfg->dead_ms;

    play_kills(m, 400);
    play_zombies(m, 4 * dead_ms);
    for (uint32_t at_ms = m->from_ms; at_ms < m->to_ms; at_ms += between(m, 1, 2 * dead_ms))
        cut(m, at_ms, (enum pair)job_below(&m->random, PAIRS_N),
            between(m, dead_ms / 4, dead_ms * 2));
}

/* Of one actor, which it can only notice by waiting; now and then the device is down. */
static void play_packets(struct maker *m)
{
    uint32_t dead_ms = m->cfg->dead_ms;

    for (uint32_t at_ms = m->from_ms; at_ms < m->to_ms;) {
        uint32_t actor = job_below(&m->random, 4) == 0 ? ACTOR_ALL : any_actor(m);
        uint32_t ms = between(m, dead_ms / 4, dead_ms * 2);

        add(m, at_ms, OP_DROP, actor);
        add(m, within(m, at_ms + ms), OP_PASS, actor);
        at_ms += ms + between(m, dead_ms / 8, dead_ms);
    }
}

static void play(struct maker *m, enum act act)
{
    add(m, m->from_ms, OP_ACT, 0)->act = act;
    switch (act) {
    case ACT_CUT_P_V:
    case ACT_CUT_V_W:
    case ACT_CUT_LANE:
    case ACT_CUT_W_S:
    case ACT_CUT_V_S:
    case ACT_CUT_P_S: play_cuts(m, (enum pair)(act - ACT_CUT_P_V)); break;
    case ACT_KILLS: play_kills(m, 200); break;
    case ACT_ZOMBIES: play_zombies(m, m->cfg->dead_ms); break;
    case ACT_ROLLING: play_rolling(m); break;
    case ACT_SINK_AWAY: play_sink_away(m); break;
    case ACT_REBOOT: play_reboot(m); break;
    case ACT_CRASH_LOOP: play_crash_loop(m); break;
    case ACT_SLOTS: play_slots(m); break;
    case ACT_DELAY: play_delay(m); break;
    case ACT_SLOW: all_links(m, CUT_SLOW, 125000); break;
    case ACT_RESETS: play_resets(m); break;
    case ACT_FLAPPING: play_flapping(m); break;
    case ACT_MIXED: play_mixed(m); break;
    case ACT_PACKETS: play_packets(m); break;
    case ACTS_N: break;
    }
}

/* ------------------------------------------------------------------------ the whole */

static void shuffle(struct maker *m, enum act acts[ACTS_N], uint32_t acts_n)
{
    for (uint32_t i = 0; i < acts_n; i++)
        acts[i] = (enum act)i;
    for (uint32_t i = acts_n - 1; i > 0; i--) {
        uint32_t j = job_below(&m->random, i + 1);
        enum act act = acts[i];

        acts[i] = acts[j];
        acts[j] = act;
    }
}

/* Most of the time belongs to kills, alone and with everything else. */
static enum act further_act(struct maker *m, uint32_t acts_n)
{
    uint32_t at = job_below(&m->random, 10);
    enum act act;

    if (at < 7)
        return at < 4 ? ACT_KILLS : ACT_MIXED;
    do
        act = (enum act)job_below(&m->random, acts_n);
    while (act == ACT_SINK_AWAY);
    return act;
}

static int by_time(const void *left, const void *right)
{
    const struct step *l = left;
    const struct step *r = right;

    if (l->at_ms != r->at_ms)
        return l->at_ms < r->at_ms ? -1 : 1;
    return l->order < r->order ? -1 : l->order > r->order;
}

void plan_make(const struct plan_cfg *cfg, struct plan *ret_plan)
{
    struct maker m = {.cfg = cfg, .plan = ret_plan, .random = cfg->seed ^ 0x706c616e};
    uint32_t rest_ms = cfg->run_ms > cfg->away_ms ? cfg->run_ms - cfg->away_ms : 0;
    uint32_t acts_n = ACTS_N - !cfg->packets;
    uint32_t act_ms = rest_ms / acts_n < ACT_MS_MAX ? rest_ms / acts_n : ACT_MS_MAX;
    enum act acts[ACTS_N];
    uint32_t at_ms = cfg->dead_ms / 2; /* some load first */

    *ret_plan = (struct plan){0};
    shuffle(&m, acts, acts_n);
    if (cfg->only != 0)
        act_ms = cfg->run_ms < ACT_MS_MAX ? cfg->run_ms : ACT_MS_MAX;
    for (uint32_t i = 0; (i < acts_n && cfg->only == 0) || i == 0 || at_ms + act_ms < cfg->run_ms;
         i++) {
        enum act act = cfg->only != 0 ? (enum act)(cfg->only - 1)
                       : i < acts_n   ? acts[i]
                                      : further_act(&m, acts_n);
        uint32_t calm_ms = job_below(&m.random, act_ms / 4 + 1);

        m.from_ms = at_ms;
        m.to_ms = at_ms + (act == ACT_SINK_AWAY ? cfg->away_ms : act_ms - calm_ms);
        play(&m, act);
        at_ms = m.to_ms + calm_ms;
    }
    qsort(ret_plan->steps, ret_plan->n, sizeof *ret_plan->steps, by_time);
}

void plan_print(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n; i++) {
        const struct step *s = &plan->steps[i];

        printf("%8u %s", s->at_ms, op_names[s->op]);
        if (s->op == OP_ACT)
            printf(" %s", act_names[s->act]);
        else if (s->actor != ACTOR_ALL)
            printf(" actor %u", s->actor);
        if (s->op == OP_CUT || s->op == OP_HEAL)
            printf(" %s", pair_names[s->pair]);
        if (s->op == OP_CUT)
            printf(": %s %u", cut_names[s->cut], s->amount);
        printf("\n");
    }
}

void plan_free(struct plan *plan)
{
    free(plan->steps);
    *plan = (struct plan){0};
}
