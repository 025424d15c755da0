/*
 * What the files of the simulation share.
 *
 *   sim.c         the world: time, events, nodes that live and die
 *   sim_net.c     connections
 *   sim_disk.c    commit threads and stores
 *   sim_vent.c, sim_sink.c, sim_worker.c, sim_client.c   the shells of the cores
 *   sim_check.c   what the simulation knows about each task, and what must hold
 *   sim_attempts.c   the same of attempts, leases and credit
 *   sim_rules.c   the same of queues, their order, limits and rates, of keys and bounds
 *   sim_dead.c    the same of dead letters
 *   sim_cron.c    the same of cron entries
 *   sim_orders.c  operators
 *   sim_story.c   the story, the trace
 *   sim_faults.c  random runs
 */
#ifndef SIM_PARTS_H
#define SIM_PARTS_H

#include "sim.h"

#include "client_core.h"
#include "codec.h"
#include "idmap.h"
#include "journal.h"
#include "results.h"
#include "sink_core.h"
#include "store.h"
#include "touch.h"
#include "vent_core.h"
#include "worker_core.h"

#define NODES_MAX (1 + SIM_SINKS_MAX + SIM_WORKERS_MAX + SIM_CLIENTS_MAX)
#define VENT 0u                                 /* its node */
#define PORT_CONTROL 0u                         /* of workers, sinks and clients */
#define PORT_LANE 1u                            /* of workers */
#define PORT_SINKS 2u                           /* of workers and the ventilator: intakes */
#define PORTS_MAX (PORT_SINKS + DTQI_SINKS_MAX) /* a client has one for each of its peers */
#define WALL_MS_START 1700000000000ull
#define SLOTS_MAX 8u
#define NONE UINT32_MAX
#define SIM_BACKOFF_TIMES 4u /* so much longer than its first a backoff may get */

/* ---------------------------------------------------------------- network */

struct frame {
    struct frame *next;
    uint64_t at_us;
    size_t bytes;
    unsigned char data[];
};

enum conn_kind { CONN_CONTROL, CONN_LANE, CONN_INTAKE, CONN_RESULTS };

/* One direction of a connection: what is under way, in order. */
struct pipe {
    struct frame *head;
    struct frame *tail;
    uint32_t n;
    uint64_t last_us;
    bool scheduled; /* an event will deliver the first one */
};

/* From the connector, end 0, to the listener, end 1. It stays in the list until the end of the
 * simulation. */
struct conn {
    struct conn *next;
    enum conn_kind kind;
    struct node *ends[2];
    uint32_t incarnation[2];
    uint32_t port;    /* of the connector */
    uint32_t route;   /* at the listener */
    uint64_t session; /* of a lane */
    uint64_t epoch;   /* likewise */
    bool broken;
    uint64_t end_us;      /* when it broke */
    bool is_stalled;      /* nothing passes, though other connections of the two may be well */
    bool knows[2];        /* this end has noticed that it is broken .. */
    bool closed[2];       /* .. or has closed it: takes nothing any more */
    struct pipe pipes[2]; /* from end 0, from end 1 */
};

/* A connecting socket. */
struct port {
    bool is_open;
    enum conn_kind kind;
    struct node *target;
    uint32_t number; /* of a lane's endpoint, and in the core's words */
    uint32_t lane;
    uint64_t generation; /* of attempts to connect */
    uint32_t backoff_ms;
    struct conn *conn;
    struct frame *queue; /* of a client: sent before it was connected */
    struct frame *queue_tail;
    bool is_full;
    bool skip; /* the rest of this list of actions is not sent */
};

/* A lane's listening end. */
struct lane {
    struct lane *next;
    uint64_t session;
    uint32_t number;
    struct conn *conn;
    bool had_peer;
    struct frame *queue; /* sent before the peer was there */
    struct frame *queue_tail;
    uint64_t sent_tasks; /* for the checks: in all, and what the worker allowed at most */
    uint64_t sent_bytes;
    uint64_t told_tasks;
    uint64_t told_bytes;
    uint64_t report_seq; /* applied */
};

/* ---------------------------------------------------------------- nodes */

enum input_type {
    IN_FRAME,     /* conn, end, frame */
    IN_CONNECTED, /* port */
    IN_LOST,      /* port, number */
    IN_WORK,      /* work is done */
    IN_STOP,
};

struct input {
    struct input *next;
    enum input_type type;
    struct conn *conn;
    uint32_t end;
    struct frame *frame;
    uint32_t port;
    uint32_t number;     /* IN_LOST: of a lane */
    uint64_t generation; /* IN_LOST: of the port's connection */
    struct work *work;
    bool cold;
};

struct work {
    struct work *next;
    bool is_write;
    void *at;
};

struct disk {
    struct store *store;    /* NULL: no disk */
    struct store *copy;     /* of an earlier time; NULL: none */
    int64_t copy_offset_ms; /* mark_offset_ms of then */
    dtqi_uid uid;
    dtqi_uid lost_uid; /* of the one before, which is lost .. */
    bool was_lost;     /* .. */
    bool was_removed;  /* .. and V has answered that it has removed it */
    bool is_gone;      /* nobody starts it again */
    struct work *head;
    struct work *tail;
    uint64_t limit_bytes;
};

struct slot_task {
    uint32_t handle;
    uint32_t attempt;
    uint32_t task;
    uint32_t attempt_index; /* among the task's attempts */
    uint64_t time_limit_ms;
};

enum slot_life { SLOT_LIFE_DOWN, SLOT_LIFE_STARTING, SLOT_LIFE_UP, SLOT_LIFE_DEAD };

struct slot_end {
    struct slot_end *next;
    uint32_t handle;
    dtq_reason reason;
    int32_t code;
    bool no_retry;
    uint32_t task;
    uint32_t attempt;
    uint64_t started_wall_ms;
    uint64_t duration_us;
};

struct slot {
    enum slot_life life;
    uint32_t incarnation;
    bool ready_told;
    bool by_signal;
    int32_t status;
    struct slot_task fed[WORKER_RING_TASKS_MAX]; /* in order; the first one runs */
    uint32_t fed_n;
    uint64_t started_us; /* of the first one; UINT64_MAX: not yet */
    bool started_tell;
    struct slot_end *ends; /* not taken by the shell */
    struct slot_end *ends_tail;
    bool back_asked;
    uint32_t back[WORKER_RING_TASKS_MAX];
    uint32_t back_n;
    uint32_t full[WORKER_RING_TASKS_MAX];
    uint32_t full_n;
    bool ran; /* DEAD: the first of fed was running */
};

struct node {
    enum sim_kind kind;
    uint32_t index; /* among its kind */
    char name[16];
    bool is_up;
    bool is_paused;
    bool is_over; /* it has said that it exits */
    int status;
    uint32_t incarnation;
    uint64_t runs_since_ms; /* it was started, or went on when it had been paused */
    int64_t wall_offset_ms;
    uint64_t boot;          /* of its host .. */
    uint64_t boot_ms;       /* .. since when */
    bool has_booted;        /* and the program has not started since */
    int64_t mark_offset_ms; /* of its wall clock, when its disk was told the time */
    struct steady clock;    /* V, S */
    uint64_t wake_us;       /* UINT64_MAX: not */
    uint64_t wake_generation;
    uint32_t idle_wakes; /* in a row, within a millisecond */
    uint64_t idle_since_us;
    struct input *inbox;
    struct input *inbox_tail;
    struct port ports[PORTS_MAX];
    struct disk disk;

    union {
        struct {
            struct vent *core;
            struct vent_actions actions;
            struct journal *journal;
            struct lane *lanes;
            struct vent_event pending[256];
            uint32_t pending_n;
        } vent;
        struct {
            struct sink *core;
            struct sink_actions actions;
            struct results *results;
            struct sink_cfg cfg;
            bool intake_paused;
            uint64_t intake_bytes_max; /* of the largest message of the intake, decoded */
            char intake[32];
            char results_at[32];
            uint64_t acked; /* by V, of the settlements .. */
            uint64_t told;  /* .. that it was sent up to here */
        } sink;
        struct {
            struct worker *core;
            struct worker_actions actions;
            struct slot slots[SLOTS_MAX];
            struct worker_event late[256];
            uint32_t late_n;
            uint32_t got_seq;   /* of the present session, on the lane .. */
            uint64_t got_tasks; /* .. in messages up to this one */
            uint64_t told_credit_tasks;
            uint64_t echo_ms; /* when V was last heard to have heard of it */
        } worker;
        struct {
            struct client *core;
            struct client_actions actions;
            bool down[CLIENT_PEERS_MAX];
            struct dtqi_msg asked; /* the question under way; type 0: none */
            dtq_id asked_id;
            dtq_id asked_pair[2]; /* a sink, and its successor */
            struct dtqi_cron_entry asked_cron;
            struct dtqi_buf *asked_buf;
            uint32_t order; /* that it asks for; NONE: another one */
        } client;
    };
};

/* ---------------------------------------------------------------- what is known of tasks */

enum attempt_end {
    ATTEMPT_OPEN,
    ATTEMPT_SUCCEEDED,
    ATTEMPT_FAILED,
    ATTEMPT_FAILED_FOR_GOOD,
    ATTEMPT_CRASHED,
    ATTEMPT_CRASHED_FOR_GOOD,
};

struct attempt_info {
    uint64_t epoch; /* with the number, its name */
    uint32_t number;
    uint64_t lease_epoch; /* the V that counts it as the lease, on this session: the one that gave
                             it, or adopted it */
    uint64_t session;
    uint32_t node; /* where it arrived, and in which life of that; NONE: nowhere yet */
    uint32_t incarnation;
    enum attempt_end end; /* as the slot saw it, and when */
    uint64_t ended_ms;
    bool is_over; /* V knows that it is no lease any more */
    bool is_counted;
    bool is_listed;
    bool is_forgotten;      /* its worker was told so */
    uint64_t expires_at_ms; /* as its worker was told; 0: never */
};

enum verdict {
    VERDICT_NONE,
    VERDICT_CONFIRMED,
    VERDICT_REFUSED,
    VERDICT_UNKNOWN,
    VERDICT_SAME, /* its key stands for another task */
};

struct task_info {
    dtq_id id;
    bool has_id; /* a client has taken it */
    uint32_t client;
    struct sim_plan plan;
    uint64_t submitted_ms;
    uint64_t submitted_us; /* for the first time .. */
    uint64_t confirmed_us; /* .. and that it was safe; 0: not yet */
    enum verdict verdict;
    uint8_t outcome; /* dtq_state, committed by a sink; 0: none */
    uint8_t outcome_reason;
    uint32_t outcome_attempt;
    uint64_t outcome_bytes;
    bool is_told; /* its client has got the outcome */
    bool cancel;
    uint32_t dispatched; /* attempts sent to workers */
    uint64_t given_us;   /* the first of them; 0: none since it was admitted */
    uint32_t runs;       /* begun */
    uint32_t succeeded;  /* ended well */
    uint32_t failed;     /* ended with an error, or over the time limit */
    uint32_t crashed;    /* slots that died under it */
    uint32_t lost;       /* runs that ended with their worker */
    bool no_retry;       /* said in one of them */
    struct attempt_info *attempts;
    uint32_t attempts_n;
    uint32_t attempts_room;
    uint64_t counted_epoch; /* what this V has counted of it */
    uint32_t counted_failures;
    uint32_t counted_crashes;
    bool counted_final;
    uint32_t outcome_sink; /* index of the sink that committed it, and when */
    uint64_t outcome_ms;
    bool is_resent; /* the last SUBMIT of it that reached V was no first copy, and when that was */
    uint64_t resent_ms;
    uint32_t late_in;    /* incarnation of the ventilator that got a first copy of it when it was
                            settled, and was not told of a settlement since; 0: none */
    uint32_t settled_in; /* incarnation of the ventilator that was told its settlement; 0: none */
    bool was_told;       /* a ventilator was told it, ever */

    /* Its outcome was on a disk in the place of which an older one came (R34), or none (R52): */
    bool is_lost;
    bool was_journaled; /* the ventilator had it still, at that time */
    uint8_t lost_outcome;
    uint32_t lost_attempt;
    bool is_told_gone; /* its client knows that it is not found */

    /* sim_rules.c. Numbers of incarnations are the ventilator's. */
    uint32_t queue;        /* that it is in, as far as is known .. */
    uint64_t back_by_ms;   /* its last backoff is over by then, at the latest; 0: it had none */
    uint32_t passed;       /* tasks that went out before it, though it counts as 9 (R51) */
    uint64_t passed_us;    /* .. when the last one did */
    bool may_move;         /* .. but somebody wanted it to be in another one */
    bool has_reached;      /* V has taken in a SUBMIT of it; the last one of them: */
    uint32_t submit_route; /* .. */
    uint64_t submit_request;
    uint32_t submit_index;
    uint32_t admitted_in; /* V said so in this incarnation, of a task that it had not before */
    bool is_reborn;       /* V took it for new when it was settled */
    bool is_stopped;      /* cancelled or purged, and V has said so: it is not dispatched again */
    uint32_t stopped_in;  /* the same, in this incarnation only: V has not said so .. */
    uint32_t stop_route;  /* .. in answer to this */
    uint64_t stop_request;
    uint64_t retry_at_ms; /* not before this, as V of this incarnation counted its last failure */
    uint32_t retry_in;
    bool is_in_journal;
    uint64_t known_from; /* epoch of the last V that started without its record; 0: none did */
    bool is_dead;        /* a dead letter, in the journal */
    bool was_dead;
    uint64_t dead_wall_ms;
    bool dead_may_go;       /* an operator wants it to */
    bool is_stopped_again;  /* what is being made of it was cancelled with its queue */
    bool is_wanted_again;   /* .. or wants it back */
    uint32_t requeued_from; /* 1 + number of the dead letter that it was made of; 0: none */
    uint32_t requeued;      /* tasks made of it, that are in the journal */
    uint64_t left_wall_ms;  /* V's wall clock when it left the journal */

    /* sim_cron.c */
    uint32_t cron; /* 1 + number of the entry that it is a run of; 0: none */
    bool by_hand;  /* an operator wanted it */
    uint64_t due_wall_ms;
    uint32_t made_in; /* the incarnation of V that made it last */
};

/* What an operator said of a queue, and when. */
struct setting {
    bool paused;
    uint64_t limit;
    uint64_t rate;
    uint64_t period_ms;
    uint64_t ageing_ms;
    uint32_t route; /* the order that said so */
    uint64_t request;
};

/* As V should have it: the first setting is the last that V has answered for, the last one is what
 * it holds. */
struct queue_model {
    struct setting *settings;
    uint32_t settings_n;
    uint32_t settings_room;
    uint64_t rate_next_ns; /* no task before this */
    bool is_moved;         /* to another queue, once or more */
    uint64_t stopped_ms;   /* when V was last told to purge or cancel it; 0: never */
};

/* What the journal says of an idempotency key. */
struct key_model {
    bool is_known;
    dtq_id id;
    uint64_t until_wall_ms;
};

#define SIM_KEYS 4u

struct order {
    struct sim_order what;
    uint32_t client;
    bool is_done;
    dtq_id id; /* CRON_RUN: of the task, once it was asked for .. */
    bool has_id;
    uint64_t asked_us; /* .. then */
};

/* An entry's definition; its number is in the name of the tasks that are made of it. */
struct cron_text {
    struct sim_cron what;
    struct cron *expression; /* NULL: it has an interval */
};

/* What the present V was told of an entry, and has not answered yet or not refused. */
struct cron_said {
    uint32_t operation;
    uint32_t text; /* CRON_ADD */
    uint32_t route;
    uint64_t request;
    bool is_answered;
};

/* An entry as the journal has it. */
struct cron_model {
    bool exists;
    uint32_t text;
    struct journal_cron_state state;
    bool was_replaced;                /* it was there when it became what it is, .. */
    uint32_t text_before;             /* .. was this .. */
    struct journal_cron_state before; /* .. and so until then */
    uint64_t passed_with_it;          /* times that this commit counted as missed or skipped */
    uint64_t fired_wall_ms[2];        /* the last runs that were not by hand; 0: none */
    uint64_t
        since_wall_ms; /* V has chosen its times from here on: it started, or the entry is new */
    uint64_t paused_wall_ms;  /* the last PAUSE came .. */
    uint64_t removed_wall_ms; /* .. and the last REMOVE, */
    uint64_t removed_us;      /* by a clock that does not jump */
    struct cron_said *said;
    uint32_t said_n;
    uint32_t said_room;
};

/* About dead letters, as V took it; one at a time. */
struct dead_order {
    bool is_open;
    uint32_t route;
    uint64_t request;
    uint32_t operation;
    bool all;
    uint32_t queue; /* NONE: of any */
    dtq_id id;      /* of one, if not all */
};

/* A task that went to a worker in the step of V that is under way. */
struct given {
    uint32_t task;
    uint64_t session;
};

/* ---------------------------------------------------------------- the world */

enum event_type {
    EVENT_WAKE,    /* node, number = wake generation */
    EVENT_PUMP,    /* conn, end: the pipe's first frame arrives */
    EVENT_KNOW,    /* conn, end notices that it is broken */
    EVENT_CONNECT, /* node, port, number = generation */
    EVENT_GIVE_UP, /* the same: the attempt times out */
    EVENT_DISK,    /* node: the first work is done */
    EVENT_SLOT,    /* node, port = slot, number = its incarnation: see slot_event() */
    EVENT_CALL,    /* call(s, number, arg) */
};

struct event {
    uint64_t at_us;
    uint64_t order;
    enum event_type type;
    struct node *node;
    uint32_t incarnation;
    struct conn *conn;
    uint32_t port; /* or end */
    uint64_t number;
    void (*call)(struct sim *s, uint64_t number);
};

struct sim {
    struct sim_cfg cfg;
    uint64_t random;
    uint64_t now_us;
    uint64_t steps;
    uint64_t order;
    uint64_t fingerprint;
    struct event *heap;
    uint32_t heap_n;
    uint32_t heap_room;

    struct node nodes[NODES_MAX];
    uint32_t nodes_n;
    bool blocked[NODES_MAX][NODES_MAX]; /* from, to */
    struct conn *conns;
    uint32_t routes;
    uint32_t lane_numbers;

    struct task_info *tasks;
    uint32_t tasks_n;
    uint32_t tasks_room;
    struct dtqi_idmap by_id;
    uint32_t settled_n; /* tasks that have an outcome */

    struct order *orders;
    uint32_t orders_n;
    uint32_t orders_room;
    struct queue_model queues[SIM_QUEUES];
    struct key_model keys[SIM_KEYS + 1];
    struct dead_order dead_order;
    struct given *given;
    uint32_t given_n;
    uint32_t given_room;
    uint64_t vent_start_us; /* of the present ventilator */
    uint32_t refused_route; /* the last order that V refused */
    uint64_t refused_request;
    uint32_t answered_route; /* the last order that V answered with success */
    uint64_t answered_request;
    struct cron_model crons[SIM_CRONS];
    struct cron_text *cron_texts;
    uint32_t cron_texts_n;
    uint32_t cron_texts_room;
    bool has_jumped; /* the wall clock of V's host, ever */

    /* What the present ventilator has been told of each sink's stream; see check_frame_to_vent().
     */
    struct told {
        bool is_known;
        uint32_t route;
        uint64_t applied;
        uint64_t durable;
        bool is_diverged;
    } told[SIM_SINKS_MAX];
    uint64_t epoch;         /* V's */
    bool hears_of_loss;     /* whoever waits for an outcome that is lost is told */
    bool is_faultless;      /* nothing goes wrong in this run */
    uint32_t unknown_route; /* the last one that V answered UNKNOWN_SESSION */

    struct vent_cfg vent_cfg;
    uint32_t full_permille;  /* so many sends on control and results sockets find them full */
    uint32_t lose_permille;  /* so many frames are lost though their connection lives */
    uint32_t twice_permille; /* so many arrive twice */
    struct sim_totals totals;
    bool calm;             /* no commit is delayed for long, and the like .. */
    uint64_t calm_wall_ms; /* .. from here on */
    void *faults;

    bool has_failed;
    char failure[1024];
    char *story;
    uint32_t story_n;
    uint32_t story_room;
};

/* ---- sim.c */

uint64_t sim_random(struct sim *s);
/* 0..n-1 */
uint32_t sim_below(struct sim *s, uint32_t n);
bool sim_chance(struct sim *s, uint32_t percent);
uint32_t sim_between(struct sim *s, const uint32_t bounds[2]);
struct event *sim_at(struct sim *s, uint64_t at_us, enum event_type type, struct node *n);
void sim_call_at(struct sim *s, uint64_t at_us, void (*call)(struct sim *s, uint64_t number),
                 uint64_t number);
#define SIM_CLOCK_NEAR_MS 60000    /* so far off a clock may be without anybody's minding it */
#define SIM_WELCOME_LATE_MS 10000u /* at most, but for very few */

uint64_t sim_wall_ms(const struct sim *s, const struct node *n); /* may jump */
struct host_time sim_host(const struct sim *s, const struct node *n);
uint64_t sim_steady_ms(const struct sim *s, const struct node *n); /* of V and S: does not */
struct steady_mark sim_mark(const struct sim *s, const struct node *n);
uint32_t sim_add_task(struct sim *s, const struct task_info *info);
struct node *sim_node(struct sim *s, enum sim_kind kind, uint32_t index);
struct node *sim_node_at(struct sim *s, struct dtqi_str endpoint, uint32_t *ret_number);
/* An input for a living node, which will look at it soon. NULL: it is not up. */
struct input *sim_input(struct sim *s, struct node *n, enum input_type type);
void sim_wake(struct sim *s, struct node *n, uint64_t at_us);
void sim_exit(struct sim *s, struct node *n, int status, struct dtqi_str why);
dtqi_uid sim_uid(struct sim *s);

/* ---- sim_net.c */

/* Open `port` to `target`, closing what it was before. */
void net_open(struct sim *s, struct node *n, uint32_t port, enum conn_kind kind,
              struct node *target, uint32_t number);
void net_close(struct sim *s, struct node *n, uint32_t port);
struct frame *net_frame(struct sim *s, const struct dtqi_msg *msg);
bool net_is_read(const struct input *in);
/* @return false: not connected, or full. */
bool net_send(struct sim *s, struct node *n, uint32_t port, const struct dtqi_msg *msg);
/* The listener's side. */
enum net_sent { NET_SENT, NET_GONE, NET_FULL };
enum net_sent net_send_to(struct sim *s, struct node *n, uint32_t route,
                          const struct dtqi_msg *msg);
bool net_is_writable(const struct node *n, uint32_t port);
void net_on_connect(struct sim *s, const struct event *e);
void net_on_pump(struct sim *s, struct conn *c, uint32_t end);
void net_on_know(struct sim *s, struct conn *c, uint32_t end);
void net_break(struct sim *s, struct conn *c);
void net_break_between(struct sim *s, struct node *a, struct node *b);
void net_node_died(struct sim *s, struct node *n);
void net_unblocked(struct sim *s);
/* Nothing passes on one connection of any two, until net_flow(). */
struct conn *net_stall_one(struct sim *s);
void net_flow(struct sim *s, struct conn *c);
void net_free(struct sim *s);

void lane_open(struct sim *s, struct node *n, uint64_t session);
void lane_close(struct sim *s, struct node *n, uint64_t session);
struct lane *lane_find(struct node *n, uint64_t session);
bool lane_send(struct sim *s, struct node *n, uint64_t session, const struct dtqi_msg *msg);

/* ---- sim_disk.c */

void disk_push(struct sim *s, struct node *n, bool is_write, void *at);
void disk_on_done(struct sim *s, struct node *n);
/* The process has died: what was not committed is gone. */
void disk_died(struct sim *s, struct node *n);
void disk_free(struct node *n);

/* ---- the shells */

bool vent_start(struct sim *s, struct node *n);
void vent_drop(struct sim *s, struct node *n);
void vent_input(struct sim *s, struct node *n, struct input *in);
void vent_tick(struct sim *s, struct node *n);
uint64_t vent_due_ms(const struct node *n);
void vent_add_counters(struct vent_counters *to, const struct vent_counters *c);

bool sink_start(struct sim *s, struct node *n);
void sink_drop(struct sim *s, struct node *n);
void sink_input(struct sim *s, struct node *n, struct input *in);
void sink_tick(struct sim *s, struct node *n);
uint64_t sink_due_ms(const struct node *n);

bool worker_start(struct sim *s, struct node *n);
void worker_drop(struct sim *s, struct node *n);
void worker_input(struct sim *s, struct node *n, struct input *in);
void worker_tick(struct sim *s, struct node *n);
uint64_t worker_due_ms(const struct node *n);
void worker_on_slot(struct sim *s, struct node *n, const struct event *e);

bool client_start(struct sim *s, struct node *n);
void client_drop(struct sim *s, struct node *n);
void client_input(struct sim *s, struct node *n, struct input *in);
void client_tick(struct sim *s, struct node *n);
uint64_t client_due_ms(const struct node *n);
void client_take_task(struct sim *s, uint32_t task);
void client_cancel_task(struct sim *s, uint64_t task);
void client_accept_sink(struct sim *s, uint64_t sink);
struct dtqi_slice client_spec(const struct sim_plan *plan, const char *name, struct dtqi_buf *buf);
void client_remove_sink(struct sim *s, uint64_t sink);

/* ---- sim_check.c */

uint32_t check_task(const struct sim *s, const dtq_id *id); /* NONE: unknown */
void check_add_id(struct sim *s, uint32_t task, const dtq_id *id);
bool check_is_in_journal(struct sim *s, const dtq_id *id);
void check_vent_started(struct sim *s, const struct journal_start *start);
void check_vent_msg(struct sim *s, uint32_t route, const struct dtqi_msg *msg);
void check_frame_to_vent(struct sim *s, const struct conn *c, const struct dtqi_msg *msg);
void check_dispatch(struct sim *s, uint64_t session, const struct dtqi_msg *msg);
void check_lane_msg(struct sim *s, struct node *w, const struct conn *c,
                    const struct dtqi_msg *msg);
void check_worker_msg(struct sim *s, struct node *w, const struct dtqi_msg *msg);
void check_frame_to_worker(struct sim *s, struct node *w, const struct dtqi_msg *msg);
void check_sink_msg(struct sim *s, struct node *n, const struct dtqi_msg *msg);
void check_frame_to_sink(struct node *n, const struct dtqi_msg *msg);
void check_sink_started(struct sim *s, struct node *n);
/* Its disk is an older one from now on. */
void check_sink_restored(struct sim *s, const struct node *n, struct results *results);
void check_sink_lost(struct sim *s, const struct node *n);
uint32_t check_crash_limit(const struct task_info *t);
void check_journal_write(struct sim *s, const struct journal_batch *batch);
void check_commit(struct sim *s, struct node *sink, const struct results_batch *batch);
void check_verdict(struct sim *s, struct node *client, uint32_t task, dtq_err err);
void check_no_refusal_for_time(struct sim *s, const struct node *client, struct dtqi_str text);
void check_result(struct sim *s, struct node *client, const struct client_result *r);
/* @return the index of its attempt */
uint32_t check_feed(struct sim *s, struct node *w, const struct worker_feed *feed);
void check_node(struct sim *s, struct node *n);
/* The whole of what was confirmed is in the journal or has its outcome. */
void check_durable(struct sim *s);
/* Is there nothing left to do? `why` says what there is. */
bool check_is_settled(struct sim *s, char *why, unsigned why_bytes);
/* The payload or result of a task: the same bytes each time. */
void check_bytes(const struct sim *s, uint32_t task, uint32_t salt, unsigned char *ret,
                 uint32_t bytes);
bool check_are_the_bytes(const struct sim *s, uint32_t task, uint32_t salt, struct dtqi_slice body,
                         uint32_t bytes);
/* The payload of tasks whose plan has this payload_of. */
void check_payload_of(uint32_t payload_of, unsigned char *ret, uint32_t bytes);
/* V made it: it was not submitted. */
bool check_is_made(const struct task_info *t);

/* ---- sim_rules.c */

struct retry_rules {
    const char *retry_on;
    const char *no_retry_on;
};

#define RETRY_RULES_N 7u
const struct retry_rules *rules_of_retries(uint32_t i);
/* Would a failure of this kind be repeated? */
bool rules_repeat(const struct sim_plan *plan, dtq_reason reason, int32_t code);
void rules_vent_started(struct sim *s, const struct journal_start *start);
void rules_frame_to_vent(struct sim *s, const struct conn *c, const struct dtqi_msg *msg);
void rules_vent_msg(struct sim *s, uint32_t route, const struct dtqi_msg *msg);
void rules_dispatched(struct sim *s, uint64_t session, const struct dtqi_tasks *m, uint32_t i);
/* V was told that it has not run: it does not count for a rate. */
void rules_returned(struct sim *s, const struct task_info *t);
void rules_failed(struct sim *s, struct task_info *t, const struct dtqi_failure *f);
void rules_journal_op(struct sim *s, const struct journal_op *op);
void rules_same(struct sim *s, uint32_t task, const dtq_id *id);
void rules_conflict(struct sim *s, uint32_t task);
/* A step of V is over. */
void rules_after_step(struct sim *s);
void rules_check_bounds(struct sim *s);
void rules_done(struct sim *s);
bool rules_is_open(const struct sim *s, uint32_t queue);
enum sim_order_kind rules_what_opens(const struct sim *s, uint32_t queue); /* first */

/* ---- sim_dead.c */

/* V has made a task of a dead letter: from now on it is one of ours. @return its number; NONE: it
 * is none. */
uint32_t dead_adopt(struct sim *s, const dtq_id *id, const struct dtqi_spec *spec);
void dead_journal_batch(struct sim *s, const struct journal_batch *batch);
void dead_ordered(struct sim *s, uint32_t route, const struct dtqi_operate *m);
void dead_answered(struct sim *s, uint32_t route, uint64_t request);
void dead_check(struct sim *s);
void dead_check_all(struct sim *s);
uint32_t dead_count(const struct sim *s);

/* ---- sim_cron.c */

/* The definition's number. */
uint32_t cron_text_of(struct sim *s, const struct sim_cron *what);
/* CRON_ADD of it; what is in `ret` is in `buf`. */
void cron_write(const struct sim *s, uint32_t text, struct dtqi_buf *buf,
                struct dtqi_cron_entry *ret);
/* V has made a task of an entry: from now on it is one of ours. @return its number; NONE: it is
 * none. */
uint32_t cron_adopt(struct sim *s, const dtq_id *id, const struct dtqi_spec *spec);
void cron_dispatched(struct sim *s, uint32_t task, const struct dtqi_spec *spec);
void cron_put(struct sim *s, uint32_t task, struct dtqi_slice spec);
void cron_journal_op(struct sim *s, const struct journal_op *op);
void cron_vent_started(struct sim *s, const struct journal_start *start);
void cron_ordered(struct sim *s, uint32_t route, const struct dtqi_operate *m);
void cron_answered(struct sim *s, uint32_t route, uint64_t request);
void cron_was_run(struct sim *s, const struct order *o);
/* What ends an entry, once it has shown that it goes on; false: nothing is to be ordered. */
bool cron_what_ends(const struct sim *s, uint32_t entry, enum sim_order_kind *ret);
bool cron_are_gone(const struct sim *s, char *why, unsigned why_bytes);
void cron_done(struct sim *s);

/* ---- sim_orders.c */

void orders_answered(struct sim *s, struct node *n, const struct dtqi_msg *answer);
void orders_client_died(struct sim *s, struct node *n);
/* Open what is closed: faults are over. */
void orders_open_all(struct sim *s);
bool orders_are_done(const struct sim *s);
void orders_done(struct sim *s);

/* ---- sim_attempts.c */

struct attempt_info *attempt_find(const struct task_info *t, uint64_t epoch, uint32_t number);
void attempt_dispatched(struct sim *s, uint64_t session, const struct dtqi_tasks *m, uint32_t i);
void attempts_taken_in(struct sim *s, const struct node *w, uint64_t epoch,
                       const struct dtqi_tasks *m);
uint32_t attempt_fed(struct sim *s, const struct node *w, uint32_t task, uint32_t number);
void attempt_ended(const struct sim *s, struct task_info *t, uint32_t index, enum attempt_end end);
void attempts_forgotten(struct sim *s, const struct node *w, const struct dtqi_forget *m);
void attempts_frame_to_vent(struct sim *s, const struct dtqi_msg *msg);
void attempts_judged(struct sim *s, const struct dtqi_verdicts *m);
void attempts_reborn(struct task_info *t);
bool attempt_is_leased(struct sim *s, const struct attempt_info *a);

/* ---- sim_story.c */

void sim_fail(struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void story(struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void trace(struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void trace_msg(struct sim *s, const struct node *from, const struct node *to,
               const struct dtqi_msg *msg, const char *how);
/* "a", "b", .. */
const char *story_task(uint32_t task, char ret[8]);

#endif
