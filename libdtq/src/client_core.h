/*
 * The client that decides: which connections to have, what to send on them, when to send it again,
 * and what became of each task. Pure: the time comes in, messages and orders go out (rules: R4, R5,
 * R32 and the table of timers). The shell, client_io.c, has the sockets; the simulation plays shell
 * too.
 *
 * Peers are numbered: 0 is the ventilator, 1..DTQI_SINKS_MAX are sinks. A connection, once lost, is
 * never continued: CLIENT_OPEN asks for a new one, and whatever was queued on the old one must be
 * gone by then (R5).
 */
#ifndef DTQI_CLIENT_CORE_H
#define DTQI_CLIENT_CORE_H

#include "bounds.h"
#include "msg.h"

#define CLIENT_VENTILATOR 0u
#define CLIENT_PEERS_MAX (1u + DTQI_SINKS_MAX)
#define CLIENT_BATCH_ENTRIES_MAX 512u /* of one SUBMIT; measured: larger ones gain nothing */
#define CLIENT_UNCONFIRMED_MAX 16384u
#define CLIENT_OPEN_MAX 262144u
#define CLIENT_UNCONFIRMED_BYTES_MAX (64ull * 1024 * 1024)
#define CLIENT_RESULTS_BYTES_MAX (64ull * 1024 * 1024)

#define CLIENT_HELLO_MS_MIN 10u   /* a cluster that just starts has its sink in a moment */
#define CLIENT_RETRY_MS_MIN 200u  /* after BUSY, NO_SPACE, NO_SINK .. */
#define CLIENT_RETRY_MS_MAX 5000u /* .. doubling up to this */
#define CLIENT_REOPEN_MS_MIN 100u
#define CLIENT_REOPEN_MS_MAX 1000u
#define CLIENT_SILENT_MS 100u  /* who was tried for less is slow, not out of reach */
#define CLIENT_ANSWER_MS 5000u /* a HELLO, SUBMIT, question without answer: new connection .. */
#define CLIENT_ANSWER_MS_MAX 30000u /* .. doubling up to this */
#define CLIENT_ASK_AGAIN_MS 10000u
#define CLIENT_GIVE_UP_MS 1800000u /* then a task's fate is "unknown" */

enum client_follow { CLIENT_FOLLOW_NONE, CLIENT_FOLLOW_OWN, CLIENT_FOLLOW_ALL };

struct client_cfg {
    struct dtqi_str endpoint; /* of the ventilator; texts are copied */
    struct dtqi_str name;
    struct dtqi_str program;
    dtqi_uid instance; /* 16 random bytes */
    uint64_t seed;     /* random: of ids and of jitter */
    uint64_t reply_to; /* random, not 0 */
    enum client_follow follow;
    uint32_t unconfirmed_max; /* 0: the default, here and below */
    uint32_t open_max;
    uint64_t unconfirmed_bytes_max;
    uint64_t results_bytes_max;
};

struct client_time {
    uint64_t now_ms;  /* monotonic, also through suspends of the machine */
    uint64_t wall_ms; /* the local clock; used until the ventilator has told its own */
};

enum client_event_type {
    CLIENT_TICK,      /* the input is drained; batches go out, timers fire */
    CLIENT_MESSAGE,   /* from `peer`, on its present connection */
    CLIENT_DOWN,      /* the present connection to `peer` could not be made, or is lost */
    CLIENT_BAD_FRAME, /* `peer` speaks another version of the protocol */
};

struct client_event {
    enum client_event_type type;
    struct client_time at;
    uint32_t peer;
    const struct dtqi_msg *msg; /* borrowed during the step */
};

enum client_action_type {
    CLIENT_OPEN,  /* connect to `endpoint`; if there is a connection, first close it, linger 0 */
    CLIENT_CLOSE, /* close it, linger 0 */
    CLIENT_SEND,  /* `msg`, on the present connection; if that is not possible now: CLIENT_DOWN */
};

struct client_action {
    enum client_action_type type;
    uint32_t peer;
    struct dtqi_str endpoint;
    struct dtqi_msg msg; /* its specs carry only `raw` */
};

/* Zero it before first use. The shell executes at[0..n) in order, at once, then resets. */
struct client_actions {
    struct client_action *at;
    uint32_t n;
    uint32_t size;
    struct dtqi_buf *scratch; /* what the messages point to, besides the core's own memory */
};

void client_actions_reset(struct client_actions *);
void client_actions_done(struct client_actions *);

struct client;

dtq_err client_new(const struct client_cfg *, struct client **ret);
void client_free(struct client *); /* takes NULL */
void client_step(struct client *, const struct client_event *, struct client_actions *);

/* When the next CLIENT_TICK is needed, if nothing happens before; UINT64_MAX: never. A time that
 * has passed: now. */
uint64_t client_deadline_ms(const struct client *);

/* ------------------------------------------------------------------------- submitting */

enum client_tell {
    CLIENT_TELL_CALL,  /* the verdict is for client_take_verdict(CLIENT_TELL_CALL) */
    CLIENT_TELL_EVENT, /* for client_take_verdict(CLIENT_TELL_EVENT), in order with results */
};

struct client_task {
    struct dtqi_slice spec;    /* encoded */
    struct dtqi_slice payload; /* both are copied */
    const dtq_id *again;       /* NULL: a new id */
    uint64_t delay_ms;
    uint64_t not_before_wall_ms;
    uint64_t order;      /* tasks of one order go to one sink, by this number; 0: each by its id */
    uint64_t timeout_ms; /* for the confirmation; more than CLIENT_GIVE_UP_MS is that */
    uint64_t tag;
    uint64_t call; /* the caller's; comes back in the verdict */
    enum client_tell tell;
};

/*
 * Take a task in; it is sent by the next CLIENT_TICK. Exactly one verdict follows DTQ_OK.
 * @return DTQ_OK; DTQ_EAGAIN (too many unconfirmed: step, then try again), DTQ_EBUSY (too many
 * open: take verdicts and results), DTQ_EINVAL (`again` names a task that is open here),
 * DTQ_ETOOBIG (the ventilator said a lower limit than ours), DTQ_EVERSION or DTQ_EREFUSED (the
 * ventilator refused this client: client_refusal()), DTQ_ENOMEM; then nothing happened.
 */
dtq_err client_submit(struct client *, const struct client_task *, struct client_time,
                      dtq_id *ret_id);

struct client_verdict {
    dtq_id id;
    uint64_t tag;
    uint64_t call;
    dtq_err err;          /* DTQ_OK: confirmed; DTQ_EUNKNOWN: sent, and not known */
    struct dtqi_str text; /* borrowed until the next call */
};

/* Whether client_submit() wants a CLIENT_TICK soon: a batch is full, or the way is free. */
bool client_wants_tick(const struct client *);
bool client_is_welcome(const struct client *);
uint32_t client_unconfirmed(const struct client *);
/* Of the unconfirmed tasks, why one was refused the last time, which is tried again, or that there
 * is no sink to submit for; DTQ_OK: neither. */
dtq_err client_put_off(const struct client *, struct dtqi_str *ret_text);
/* The last final REFUSED of the ventilator, while it stands: its error and text; else DTQ_OK. */
dtq_err client_refusal(const struct client *, struct dtqi_str *ret_text);

/* -------------------------------------------------------------------- taking what came */

struct client_result {
    dtq_id id;
    uint64_t tag;
    dtq_state state;
    dtq_reason reason;
    int32_t code;
    uint32_t attempt;
    uint64_t started_wall_ms;
    uint64_t duration_us;
    uint64_t committed_wall_ms;
    struct dtqi_str worker; /* these and the body are borrowed until the next call */
    struct dtqi_str name;
    struct dtqi_str queue;
    struct dtqi_slice body;
};

enum client_taken { CLIENT_TOOK_NOTHING, CLIENT_TOOK_VERDICT, CLIENT_TOOK_RESULT };

/* The oldest verdict for a call; false: none is there. */
bool client_take_verdict(struct client *, struct client_verdict *ret);
/* The oldest verdict that is an event. */
bool client_take_event_verdict(struct client *, struct client_verdict *ret);
/* The oldest event: a verdict of CLIENT_TELL_EVENT, or a result that was followed or watched. */
enum client_taken client_take_event(struct client *, struct client_verdict *ret_verdict,
                                    struct client_result *ret_result);
/* The same, leaving verdicts; false: no result is there. */
bool client_take_result(struct client *, struct client_result *ret);
/* What client_take_result() would give, borrowed until the next call. */
bool client_peek_result(const struct client *, struct client_result *ret);
/* Takes the one that client_peek_result() gave; what that points to stays until the next call. */
void client_drop_result(struct client *);
/* Is anything there for client_take_event()? */
bool client_has_event(const struct client *);
bool client_has_result(const struct client *);
/* Can a result still come by itself? */
bool client_expects_result(const struct client *);

/* --------------------------------------------------- asking for the results of given ids */

enum client_interest {
    CLIENT_LOOK, /* until its state is known, open or not */
    CLIENT_WAIT, /* until its outcome is known, or that nobody knows it */
    CLIENT_KEEP, /* as CLIENT_WAIT, for longer than a call: the result is an event */
};

/* Ask. An id that is asked for already, or is followed, is asked for once. Errors: DTQ_EBUSY,
 * DTQ_ENOMEM; then none of the new ones is asked for. */
dtq_err client_ask(struct client *, const dtq_id *ids, uint32_t n, enum client_interest,
                   struct client_time);
/* How many different ids are asked for by LOOK and WAIT, and how many of these are known by now. */
uint32_t client_watched(const struct client *);
uint32_t client_answered(const struct client *);
/* The answer for an id that was asked for, borrowed until client_ask_done(); false: not known yet.
 */
bool client_read_answer(const struct client *, const dtq_id *id, struct client_result *ret);
/* It was handed out: it is no event any more. */
void client_answer_taken(struct client *, const dtq_id *id);
/* Give up all LOOK and WAIT; what came for an id that is followed too becomes an event. */
void client_ask_done(struct client *);
#define CLIENT_NOBODY CLIENT_PEERS_MAX
/* Somebody who must answer, and has been tried for `for_ms` (1 or more) without a word from him. */
uint32_t client_silent_peer(const struct client *, uint64_t for_ms);
/* How long he has been tried so; 0: he has been heard since, or nobody has tried. */
uint64_t client_silence_ms(const struct client *, uint32_t peer);
struct dtqi_str client_endpoint(const struct client *, uint32_t peer);
/* Is somebody who must answer out of reach? */
bool client_is_cut_off(const struct client *);

/* -------------------------------------------------------------------- other questions */

/* Ask `peer` a QUERY, CANCEL, OPERATE or RESULTS_QUERY; `msg` (its request is set here) stays the
 * caller's and in place until client_question_done(). One at a time; it is asked again after a
 * loss. */
void client_question(struct client *, uint32_t peer, struct dtqi_msg *msg);
/* The answer, borrowed until client_question_done(); NULL: not there yet. */
const struct dtqi_msg *client_answer(const struct client *);
void client_question_done(struct client *);
/* An id that nothing has yet, by the ventilator's clock; once welcome. */
dtq_id client_new_id(struct client *);
/* The peers that are registered sinks; known once welcome. @return how many */
uint32_t client_sinks(const struct client *, uint32_t ret_peers[DTQI_SINKS_MAX]);
const dtqi_uid *client_sink_store(const struct client *, uint32_t peer);
/* Entry `i` of a list of outcomes; borrowed from it. */
void client_read_results(const struct dtqi_results *, uint32_t i, struct client_result *ret);

#endif
