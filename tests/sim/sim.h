/*
 * The whole of dtq in one thread and in virtual time: the real cores of ventilator, workers, sinks
 * and clients, the real codec, journal and result store, on a simulated network, disk and slots.
 * One seed decides every delay, loss and crash, and replays exactly.
 *
 * After every step the promises are checked against what the simulation itself has seen
 * (sim_check.c, sim_attempts.c; README.md has all of them):
 *   - a confirmed task is in the journal, or its outcome is committed
 *   - an outcome is of a task that was submitted, there is one, and its result is what a slot made
 *   - nothing is dispatched whose settlement the ventilator has been told (R22)
 *   - a worker gets no more than the credit it gave (R15)
 *   - a task fails for good only when its retries or crashes are used up (R2, R21)
 *   - what a client is told is what was committed
 *   - what operators order of queues and dead letters holds from then on, over every crash, and
 *     rates, limits, priorities, keys and bounds are kept (sim_rules.c)
 *   - a cron entry makes one task at each of its times, as its policies say (sim_cron.c)
 * and, once faults have stopped, that everything settles and nothing is left (sim_settle()).
 *
 * A simulation that has failed stands still; sim_failure() says why.
 */
#ifndef SIM_H
#define SIM_H

#include "vent_core.h"

#include <stdbool.h>
#include <stdint.h>

struct sim;

#define SIM_WORKERS_MAX 12
#define SIM_SINKS_MAX 4
#define SIM_CLIENTS_MAX 6
#define SIM_QUEUES 3u

/* The queues that a worker serves; none: all of them. */
struct sim_served {
    uint32_t n;
    uint32_t queues[SIM_QUEUES];
    uint32_t weights[SIM_QUEUES];
    bool strict; /* in this order, else by weights */
};

struct sim_cfg {
    uint64_t seed;
    uint32_t workers; /* 0: 1; the same for the other counts */
    uint32_t sinks;
    uint32_t clients;
    uint32_t slots; /* of each worker */

    /* Each delay is a random number between two bounds, in microseconds; equal bounds: always the
     * same. */
    uint32_t link_us[2];
    uint32_t disk_us[2];
    uint32_t think_us[2]; /* from an input to the step that takes it in */

    uint32_t window_max; /* of workers; 0: the default */
    bool small;          /* small limits everywhere: batches, windows of memory, the journal's
                            resident part */
    bool bulky;          /* payloads and results of megabytes, and workers with as little memory as
                            may be */
    uint32_t queue_tasks_max; /* of the ventilator; 0: any number, as for the next one */
    uint32_t backlog_tasks_max;
    uint64_t dead_ttl_ms; /* 0: the default */
    struct sim_served served[SIM_WORKERS_MAX];
    bool is_quiet; /* no story is written: faster */
    bool trace;    /* every message and log line to stdout */
};

/* Story tests: 1 ventilator, 1 sink, 1 client; links of 10 ms, commits of 5 ms, nothing random. */
struct sim_cfg sim_story_cfg(uint32_t workers);

struct sim *sim_new(const struct sim_cfg *cfg);
void sim_free(struct sim *s);

/* What a task will do; zero: succeeds at once. */
struct sim_plan {
    uint32_t duration_ms;
    uint32_t fail_runs;      /* so many runs end with an error .. */
    uint32_t crash_runs;     /* .. so many after them with the death of the slot */
    bool no_retry;           /* a failure says so */
    uint32_t fail_code;      /* 0: failures are errors; else exits with this */
    uint32_t retry_after_ms; /* a failure says so; 0: it does not */
    uint32_t rules;          /* of retry_on, no_retry_on: index of rules_of_retries() */
    uint32_t retries;
    uint32_t backoff_ms;
    uint32_t crash_limit; /* 0: the default */
    uint32_t expires_ms;  /* 0: never */
    uint32_t delay_ms;
    bool by_wall; /* not a delay, but the time of day at which that is over */
    uint32_t time_limit_ms;
    uint32_t priority;
    uint32_t queue; /* 0..2 */
    uint32_t group; /* 0: none; 1..8 */
    bool ordered;
    uint32_t payload_bytes;
    uint32_t result_bytes;
    uint32_t payload_of; /* 1 + number of the task whose payload it has; 0: its own */
    uint32_t key; /* idempotency key; 0: none. What else differs with it is another content */
    uint32_t key_ttl_ms; /* 0: the default */
};

/* The named ones. A node that was killed is started again by sim_start(). */
enum sim_kind { SIM_VENTILATOR, SIM_SINK, SIM_WORKER, SIM_CLIENT };

/* Let `client` submit a task now; tasks are named a, b, .., z, t26, .. in this order. @return its
 * number. */
uint32_t sim_submit(struct sim *s, uint32_t client, const struct sim_plan *plan);
void sim_cancel(struct sim *s, uint32_t task);

enum sim_order_kind {
    SIM_PAUSE,
    SIM_RESUME,
    SIM_PURGE,
    SIM_LIMIT,
    SIM_RATE,
    SIM_CANCEL_QUEUE,
    SIM_MOVE,    /* what waits, to the queue `number` */
    SIM_REQUEUE, /* dead letters: of `task`, or all of the queue */
    SIM_DEAD_PURGE,
    SIM_AGEING, /* period_ms; 0: none */
    SIM_CRON_ADD,
    SIM_CRON_REMOVE,
    SIM_CRON_PAUSE,
    SIM_CRON_RESUME,
    SIM_CRON_RUN,
    SIM_ORDER_KINDS
};

/* What a cron entry is told to be. */
#define SIM_CRONS 3u
struct sim_cron {
    const char *expression; /* NULL: every_ms */
    const char *zone;       /* NULL: UTC */
    uint32_t every_ms;
    enum dtqi_missed_runs missed;
    uint32_t missed_max;
    bool skip_overlap;
    bool replace;
    const struct sim_plan *plan; /* of each run; lives as long as the simulation */
};

#define SIM_ALL UINT32_MAX

struct sim_order {
    enum sim_order_kind kind;
    uint32_t queue;
    uint32_t number; /* LIMIT, RATE; 0: none; MOVE */
    uint32_t period_ms;
    uint32_t task;        /* REQUEUE, DEAD_PURGE: number of the task, or SIM_ALL */
    uint32_t entry;       /* CRON_*: its number .. */
    struct sim_cron cron; /* .. and CRON_ADD: what it is to be */
};

/* Let `client` give an order now; asked again, by a new process too, until it is answered. */
void sim_give_order(struct sim *s, uint32_t client, const struct sim_order *order);

void sim_kill(struct sim *s, enum sim_kind kind, uint32_t index); /* as kill -9 does */
void sim_start(struct sim *s, enum sim_kind kind, uint32_t index);
void sim_stop(struct sim *s, enum sim_kind kind, uint32_t index);  /* SIGTERM */
void sim_pause(struct sim *s, enum sim_kind kind, uint32_t index); /* SIGSTOP, SIGCONT */
void sim_resume(struct sim *s, enum sim_kind kind, uint32_t index);
bool sim_is_up(const struct sim *s, enum sim_kind kind, uint32_t index);
/* One slot of a worker dies, as by the OOM killer, under whatever it runs. */
void sim_kill_slot(struct sim *s, uint32_t worker, uint32_t slot);

/* Nothing passes from one to the other (TCP holds it back) until sim_heal(). Both directions: two
 * calls. */
void sim_block(struct sim *s, enum sim_kind from, uint32_t from_index, enum sim_kind to,
               uint32_t to_index);
void sim_heal(struct sim *s, enum sim_kind from, uint32_t from_index, enum sim_kind to,
              uint32_t to_index);
/* Both directions of one node to all others. */
void sim_cut_off(struct sim *s, enum sim_kind kind, uint32_t index);
void sim_join_again(struct sim *s, enum sim_kind kind, uint32_t index);
/* All connections between two nodes break: of what is under way in either direction, a part that
 * came first arrives, the rest is lost. */
void sim_break(struct sim *s, enum sim_kind a, uint32_t a_index, enum sim_kind b, uint32_t b_index);
/* The disk of a ventilator or sink: so many bytes; UINT64_MAX: enough. And: the next commit fails
 * as after an I/O error. */
void sim_disk_limit(struct sim *s, enum sim_kind kind, uint32_t index, uint64_t bytes);
void sim_disk_fail(struct sim *s, enum sim_kind kind, uint32_t index);
/* The disk of a sink is copied; later the sink is killed and has that old copy, as a restored
 * backup is. What an operator does then: `dtq sink accept`, again and again until there is
 * something to accept. */
void sim_copy_disk(struct sim *s, uint32_t sink);
void sim_restore_disk(struct sim *s, uint32_t sink);
void sim_accept(struct sim *s, uint32_t sink);
/* A sink is killed and loses its disk; with `for_good` it does not start any more, else as a new
 * one. What an operator does then: `dtq sink remove`, again and again until that is answered. */
void sim_lose_disk(struct sim *s, uint32_t sink, bool for_good);
void sim_remove(struct sim *s, uint32_t sink);
void sim_jump_clock(struct sim *s, enum sim_kind kind, uint32_t index, int64_t ms);
/* The host of a node that is not up boots. */
void sim_boot(struct sim *s, enum sim_kind kind, uint32_t index, bool is_behind);

void sim_run_until_ms(struct sim *s, uint64_t ms);
uint64_t sim_now_ms(const struct sim *s);

/* Heal everything, start what is down, then run until every task has its outcome, the clients know
 * all of them, and the ventilator and the workers hold nothing any more; it is a failure if that
 * takes more than `within_ms`. */
bool sim_settle(struct sim *s, uint64_t within_ms);

/* How often a run of the task has begun. */
uint32_t sim_runs(const struct sim *s, uint32_t task);

/* What happened, line by line, in virtual milliseconds: see sim_story.c. Borrowed. */
const char *sim_story(const struct sim *s);
/* Why it failed; NULL: it did not. */
const char *sim_failure(const struct sim *s);
/* A number that depends on everything that happened: equal for equal seeds. */
uint64_t sim_fingerprint(const struct sim *s);
uint64_t sim_steps(const struct sim *s);

/* ---- random faults */

/* What is left out of a run, to find the smallest one that still fails; zero: nothing. */
struct sim_cut {
    uint64_t tasks;   /* bit i: task i is not submitted .. */
    uint64_t faults;  /* .. and fault i does not happen .. */
    uint64_t orders;  /* .. and order i is not given; those of cron entries, and of ageing, are
                         behind the others */
    uint32_t plain;   /* SIM_PLAIN_.. */
    uint32_t workers; /* at most so many; 0: as the seed says, as for the next three */
    uint32_t sinks;
    uint32_t clients;
    uint32_t slots;
};

#define SIM_PLAIN_LIMITS 1u /* the usual limits, windows and memory */
#define SIM_PLAIN_LOSSES 2u /* no send finds its queue full, no frame is lost or doubled */
#define SIM_PLAIN_DELAYS 4u /* the same delay for every frame and every commit */
#define SIM_PLAIN_ALL 7u

/* The random faults; what each does is in sim_faults.c. */
#define SIM_FAULTS(X)  \
    X(KILL_VENTILATOR) \
    X(KILL_SINK)       \
    X(KILL_WORKER)     \
    X(KILL_CLIENT)     \
    X(KILL_ALL)        \
    X(KILL_SLOT)       \
    X(STOP_VENTILATOR) \
    X(STOP_SINK)       \
    X(STOP_WORKER)     \
    X(PAUSE)           \
    X(BREAK)           \
    X(STALL)           \
    X(BLOCK_ONE_WAY)   \
    X(BLOCK_BOTH_WAYS) \
    X(CUT_OFF)         \
    X(FLAP)            \
    X(DISK_FULL)       \
    X(DISK_FAILS)      \
    X(CLOCK)           \
    X(CANCEL)

enum sim_fault {
#define SIM_FAULT_NAME(name) SIM_FAULT_##name,
    SIM_FAULTS(SIM_FAULT_NAME)
#undef SIM_FAULT_NAME
        SIM_FAULT_KINDS
};

/* Sums over all runs: which paths were taken. */
struct sim_totals {
    uint64_t steps;
    uint64_t tasks;
    uint64_t runs;           /* of tasks, by slots */
    uint64_t orders;         /* that were answered */
    uint64_t requeued;       /* tasks made of dead letters */
    uint64_t cron_made;      /* tasks made by cron entries .. */
    uint64_t cron_again;     /* .. and again, since V died before it had written them */
    uint64_t keys_same;      /* tasks that were not taken, since their key stood for another .. */
    uint64_t keys_conflict;  /* .. or for another content */
    uint64_t frames_lost;    /* silently, on a connection that lives */
    uint64_t frames_twice;   /* likewise */
    uint64_t removes;        /* of sinks whose disk was lost */
    uint64_t restores;       /* of a sink's disk from an old copy .. */
    uint64_t accepts;        /* .. that were noticed, and accepted .. */
    uint64_t outcomes_lost;  /* .. with so many outcomes .. */
    uint64_t outcomes_again; /* .. of which so many tasks have one again */
    uint64_t settle_ms_max;  /* the longest time to settle, once faults had stopped */
    uint64_t faults[SIM_FAULT_KINDS];
    struct vent_counters ventilators;
};

struct sim_fault_cfg {
    uint64_t seed;
    bool trace;    /* every message and log line to stdout .. */
    bool story;    /* .. or only what happened */
    bool restores; /* a sink's disk is replaced by an old copy once, which an operator accepts */
    bool removes;  /* a sink's disk is lost once, and an operator removes the sink */
    struct sim_cut cut;
};

/* How many tasks and faults the last run could have had: bits of sim_cut. */
#define SIM_TASKS_MAX 60u
#define SIM_FAULTS_MAX 30u
#define SIM_ORDERS_MAX 20u
#define SIM_CRON_ORDERS_MAX 16u
#define SIM_AGEING_ORDERS_MAX 6u

/*
 * One run: a cluster, tasks and faults as the seed says, then calm. Adds to `totals`, whatever
 * happens. @return true: all promises were kept; else `why` says which was not.
 */
bool sim_random_run(const struct sim_fault_cfg *cfg, char *why, unsigned why_bytes,
                    struct sim_totals *totals, uint64_t *ret_fingerprint);

#endif
