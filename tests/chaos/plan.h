/*
 * What a chaos run does and when: all of it follows from the seed. A run is a row of acts, each of
 * which is about one kind of fault; every act is played once, in an order that the seed decides,
 * then further ones until the time is up.
 */
#ifndef DTQ_CHAOS_PLAN_H
#define DTQ_CHAOS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum role { ROLE_VENTILATOR, ROLE_SINK, ROLE_WORKER, ROLE_PRODUCER, ROLES };

/* Actors are numbered: the ventilator, the sink, workers, producers. */
#define ACTOR_VENTILATOR 0u
#define ACTOR_SINK 1u
#define ACTORS_MAX 32u
#define ACTOR_ALL UINT32_MAX

/* Who can be cut off from whom. */
#define PAIRS(X)                        \
    X(PAIR_P_V, "producers-ventilator") \
    X(PAIR_V_W, "ventilator-workers")   \
    X(PAIR_LANE, "lanes")               \
    X(PAIR_W_S, "workers-sink")         \
    X(PAIR_V_S, "ventilator-sink")      \
    X(PAIR_P_S, "producers-sink")

#define CUTS(X)                                     \
    X(CUT_HOLD, "hold")       /* late, both ways */ \
    X(CUT_HOLD_UP, "hold up") /* one way */         \
    X(CUT_HOLD_DOWN, "hold down")                   \
    X(CUT_LOSE, "lose") /* gone, both ways */       \
    X(CUT_LOSE_UP, "lose up")                       \
    X(CUT_LOSE_DOWN, "lose down")                   \
    X(CUT_REFUSE, "refuse") /* reset, and again */  \
    X(CUT_RESET, "reset")   /* once */              \
    X(CUT_DELAY, "delay")                           \
    X(CUT_SLOW, "slow")

#define ACTS(X)                       \
    X(ACT_CUT_P_V, "cut P-V")         \
    X(ACT_CUT_V_W, "cut V-W")         \
    X(ACT_CUT_LANE, "cut lanes")      \
    X(ACT_CUT_W_S, "cut W-S")         \
    X(ACT_CUT_V_S, "cut V-S")         \
    X(ACT_CUT_P_S, "cut P-S")         \
    X(ACT_KILLS, "kills")             \
    X(ACT_ZOMBIES, "zombies")         \
    X(ACT_ROLLING, "rolling restart") \
    X(ACT_SINK_AWAY, "sink away")     \
    X(ACT_REBOOT, "all at once")      \
    X(ACT_CRASH_LOOP, "crash loop")   \
    X(ACT_SLOTS, "slots")             \
    X(ACT_DELAY, "delay")             \
    X(ACT_SLOW, "slow links")         \
    X(ACT_RESETS, "resets")           \
    X(ACT_FLAPPING, "flapping")       \
    X(ACT_MIXED, "everything")        \
    X(ACT_PACKETS, "packets") /* last: only in a network of our own */

#define PLAN_ENUM(name, text) name,
enum pair { PAIRS(PLAN_ENUM) PAIRS_N };
enum cut { CUTS(PLAN_ENUM) CUTS_N };
enum act { ACTS(PLAN_ENUM) ACTS_N };
#undef PLAN_ENUM

enum op {
    OP_ACT,   /* begins */
    OP_KILL,  /* -9; OP_START follows */
    OP_START, /* unless it runs */
    OP_TERM,  /* to be started again when it has ended */
    OP_STOP,  /* SIGSTOP */
    OP_CONT,
    OP_SLOT, /* kill a child of a worker */
    OP_CUT,
    OP_HEAL, /* links of the pair pass again */
    OP_DROP, /* packets of an actor, or of all: the device is down */
    OP_PASS,
};

struct step {
    uint32_t at_ms;
    uint32_t order;
    enum op op;
    uint32_t actor; /* of the cut: who calls; ACTOR_ALL */
    enum pair pair;
    enum cut cut;
    enum act act;
    uint32_t
        amount; /* delay in ms, bytes a second; of OP_TERM: 1: it does not come again by itself */
};

struct plan_cfg {
    uint64_t seed;
    uint32_t run_ms;
    uint32_t dead_ms; /* silence after which a peer counts as dead */
    uint32_t away_ms; /* of the sink */
    uint32_t workers;
    uint32_t producers;
    bool packets;      /* faults below TCP too */
    uint32_t delay_ms; /* of ACT_DELAY; 0: up to a quarter of dead_ms */
    uint32_t only;     /* 1 + the one act that is played, again and again; 0: all of them */
};

struct plan {
    struct step *steps;
    size_t n;
};

/* Ends the program when there is no memory. */
void plan_make(const struct plan_cfg *cfg, struct plan *ret_plan);
void plan_print(const struct plan *plan);
void plan_free(struct plan *plan);
enum role plan_role(const struct plan_cfg *cfg, uint32_t actor);
const char *plan_act_name(enum act act);
/* 1 + the act of that name; 0: there is none. */
uint32_t plan_act_of(const char *name);
const char *plan_pair_name(enum pair pair);

#endif
