/*
 * What the files of the client core share: client_core.c has connections and time, client_records.c
 * the tasks that are remembered and what is handed out, client_submit.c batches of unconfirmed
 * tasks, client_asks.c the questions about results. Nothing outside of these files includes this
 * header.
 */
#ifndef DTQI_CLIENT_PARTS_H
#define DTQI_CLIENT_PARTS_H

#include "client_core.h"
#include "id.h"
#include "idmap.h"

#define NONE UINT32_MAX
#define NEVER UINT64_MAX
#define SENT_TO_MAX 4u          /* ventilator stores that may hold one batch */
#define VENT_ASKS_MAX 64u       /* QUERY messages for single ids under way */
#define SLOW_ASKS_PER_S 4096u   /* routine look-ups per second, for all sinks */
#define ASKS_PER_ROUND 6u       /* each so many-th look-up asks the ventilator too (R32) */
#define NO_MEMORY_PAUSE_MS 100u /* before trying again what memory was missing for */
#define BATCHES_SPARE_MAX 32u
#define SCRATCH_BYTES_MAX (64u * 1024 * 1024)

/* A message that results point into; freed with the last record that refers to it. */
struct page {
    uint32_t refs;
    uint64_t bytes;
    struct dtqi_msg msg;
};

enum rec_state {
    REC_FREE,
    REC_QUEUED, /* in a batch; no copy of it is under way on the present connection */
    REC_SENT,   /* in a batch; SUBMITTED is awaited */
    REC_OPEN,   /* accepted, or of somebody else: its outcome is not here */
    REC_HERE,   /* its outcome is here, or it is known that there is none */
    REC_ENDED,  /* not accepted, or not known to be */
    REC_STATES
};

enum rec_flag {
    REC_OWN = 1,          /* submitted here: accepted means that there will be an outcome */
    REC_VERDICT = 2,      /* its verdict was not taken yet .. */
    REC_TELL_EVENT = 4,   /* .. and is an event */
    REC_FOLLOWED = 8,     /* its result is an event */
    REC_WATCHED = 16,     /* a call waits for it .. */
    REC_LOOK = 32,        /* .. and takes an open state for an answer .. */
    REC_ANSWERED = 64,    /* .. and has its answer */
    REC_IN_RESULTS = 128, /* is in the list of results */
    REC_PUSHED = 256      /* the sink sends its outcome by itself: it has our reply_to */
};

/* What is to be asked next about an open record. */
enum rec_want {
    WANT_LOOK,      /* the sinks: is the outcome there? */
    WANT_STATE,     /* the ventilator: is the task there? */
    WANT_LAST_LOOK, /* the sinks again, after the ventilator said no (R32) */
    WANT_WORD       /* the sinks: send it when it is there */
};

enum rec_list {
    LIST_NONE,
    LIST_URGENT, /* to be asked at the sinks, at once */
    LIST_STATE,  /* to be asked at the ventilator, at once */
    LIST_BULK,   /* of its sink: to be asked there, one message at a time */
    LIST_WATCH,  /* asked; due again at ask_ms */
    LIST_SLOW    /* comes by itself; looked up now and then */
};

struct list {
    uint32_t first;
    uint32_t last;
    uint32_t n;
};

struct record {
    dtq_id id;
    dtq_id same; /* ended with DTQ_EEXISTS: the task that its key stands for */
    uint64_t tag;
    uint64_t call;
    uint64_t deadline_ms;
    uint64_t ask_ms;
    uint64_t request_min; /* older answers say nothing about the present question */
    struct batch *batch;
    struct page *page;
    char *text; /* why not; may be NULL */
    uint32_t page_index;
    uint32_t batch_index;
    uint32_t next; /* in rec_list, or free */
    uint32_t previous;
    uint32_t result_next;
    uint32_t result_previous;
    uint32_t verdict_next;
    uint32_t watch_next;
    uint32_t missing; /* bit per sink that said no */
    uint16_t flags;
    uint8_t state;
    uint8_t list;
    uint8_t want;
    uint8_t sink; /* peer; 0: not known */
    uint8_t err;
    uint8_t asks;
};

enum batch_place { BATCH_FORMING, BATCH_UNPLACED, BATCH_READY, BATCH_SENT, BATCH_RETRY };

/* Tasks of one SUBMIT. Entries that are settled have record NONE, and are dropped before the next
 * copy is sent, so that indexes in SUBMITTED are ours. */
struct batch {
    struct batch *next;
    struct batch *previous;
    enum batch_place place;
    uint32_t sink;
    bool resend;     /* a copy was sent that may have been accepted */
    bool has_times;  /* a task has not_before_wall_ms .. */
    bool has_delays; /* .. or delay_ms */
    bool unproven;   /* a copy was sent when the sink may not have known that we follow */
    uint64_t request;
    uint64_t sent_ms;
    uint64_t due_ms;        /* BATCH_RETRY */
    uint64_t clock_base_ms; /* of the clock that made the ids; 0: the ventilator's */
    uint64_t bytes;
    uint32_t n;
    uint32_t left; /* entries with a record */
    uint32_t size;
    uint32_t *records;
    dtq_id *ids;
    uint32_t *spec_index;
    uint64_t *not_before_wall_ms;
    uint64_t *delay_ms;
    uint64_t *sink_hashes; /* what chooses the sink */
    struct dtqi_slice *bodies;
    struct dtqi_spec *specs;
    uint32_t specs_n;
    uint32_t specs_size;
    struct dtqi_buf *buf;
    dtqi_uid sent_to[SENT_TO_MAX]; /* stores of ventilators that may hold it */
    uint32_t sent_to_n;
};

struct batches {
    struct batch *first;
    struct batch *last;
};

enum link {              /* the connection to a peer */
            LINK_CLOSED, /* reopened at reopen_ms */
            LINK_HELLO,  /* ventilator: HELLO is on its way */
            LINK_OPEN,   /* ventilator: welcome; sink: open */
};

struct peer {
    enum link link;
    uint64_t reopen_ms; /* of a closed one; NEVER: not wanted */
    uint32_t backoff_ms;
    uint32_t answer_ms; /* patience for an answer; doubles with each loss for want of one */
    uint64_t asked_ms;  /* an answer is awaited since; 0: none is */
    uint64_t silent_ms; /* tried since then without a word from it; 0: not tried, or heard */
    struct dtqi_str endpoint;
    char endpoint_text[DTQI_ENDPOINT_BYTES_MAX];
    /* Sinks. */
    bool is_used;
    bool is_registered;
    bool is_proven; /* it has taken our FOLLOW (or none is needed) */
    dtqi_uid store;
    uint64_t probe;     /* request of the look-up behind FOLLOW */
    uint64_t follow_ms; /* FOLLOW is said again at this time */
    uint32_t records;
    struct list bulk;
    uint64_t bulk_request; /* under way; 0: none */
    uint64_t bulk_ms;
    uint32_t bulk_left;
};

struct vent_ask {
    uint64_t request; /* 0: free */
    dtq_id id;
};

struct client {
    struct client_cfg cfg;
    char name[DTQI_NAME_BYTES_MAX];
    char program[DTQI_NAME_BYTES_MAX];
    uint64_t random;
    struct dtqi_idgen idgen;
    struct client_time now;     /* of the step or call under way */
    struct client_actions *out; /* of the step under way; else NULL */
    bool no_memory;             /* an action could not be emitted in this step */
    uint64_t paused_until_ms;

    struct peer peers[CLIENT_PEERS_MAX];
    uint32_t sinks_n; /* registered */
    uint64_t vent_request;
    uint64_t sink_request;
    uint64_t hello_again_ms; /* there are tasks and no sink */
    uint64_t
        sinks_again_ms; /* a sink is silent: not before is it asked again whether it was removed */
    uint32_t hello_backoff_ms;
    dtqi_uid vent_store;
    uint64_t clock_base_ms; /* ids are made by this and our time; 0: no clock was asked yet */
    uint64_t task_bytes_max;
    dtq_err hello_err; /* why there is no welcome, when it was said */
    bool is_refused;   /* for good, as far as the ventilator is concerned */
    char hello_text[DTQI_TEXT_BYTES_MAX];
    uint32_t hello_text_len;

    /* client_records.c */
    struct record *records;
    uint32_t records_n;
    uint32_t records_size;
    uint32_t free_record;
    struct dtqi_idmap by_id;                            /* its count: records in use */
    struct list results;                                /* by result_next */
    uint32_t call_verdicts_first, call_verdicts_last;   /* by verdict_next */
    uint32_t event_verdicts_first, event_verdicts_last; /* by verdict_next */
    uint32_t followed_n;
    uint64_t results_bytes;
    uint32_t result_bytes_usual; /* running mean, for the size of look-ups */
    struct page *lent;           /* what the last take_*() points into */
    char *lent_text;

    /* client_submit.c */
    struct batch *forming[CLIENT_PEERS_MAX];
    struct batches places[BATCH_RETRY + 1];
    struct batch *spare;
    uint32_t spare_n;
    uint32_t unconfirmed;
    uint64_t unconfirmed_bytes;
    uint64_t submit_due_ms; /* a task's deadline may be reached */
    uint32_t retry_ms;
    uint32_t buf_hint; /* bytes that the last full batch needed */

    /* client_asks.c */
    struct list urgent, state_asks, watch, slow; /* by next */
    uint32_t watched_first;                      /* by watch_next */
    uint32_t watched_n;
    uint32_t answered_n;
    struct vent_ask vent_asks[VENT_ASKS_MAX];
    uint32_t vent_asks_n;
    uint64_t slow_ms; /* the present second of SLOW_ASKS_PER_S .. */
    uint32_t slow_n;  /* .. and what was asked in it */

    /* One other question. */
    struct dtqi_msg *question;
    uint32_t question_peer;
    uint64_t question_request; /* 0: not sent on this connection .. */
    uint64_t question_ms;      /* .. else when it was */
    struct page *answer;
};

/* ---- client_core.c */

/* Appends an action; NULL: no memory, and the tick tries again. */
struct client_action *client_emit(struct client *c, enum client_action_type type, uint32_t peer);
/* Memory for what a message points to; NULL: no memory. */
void *client_scratch(struct client *c, uint32_t n, size_t bytes_each);
uint64_t client_random(struct client *c);
/* A time in the second half of `ms`. */
uint32_t client_jitter(struct client *c, uint32_t ms);
uint64_t client_wall_ms(struct client *c);
static inline bool client_can_send(const struct client *c)
{
    return c->peers[CLIENT_VENTILATOR].link == LINK_OPEN;
}
/* The sink of an id or an order among the registered ones, by rendezvous (R4); 0: there is none. */
uint32_t client_sink_of(const struct client *c, uint64_t hash);
/* Notes that an answer is awaited from now on. */
void client_await(struct client *c, uint32_t peer);
/* Close the connection, and open another one later. What was under way on it counts as lost. */
void client_lose(struct client *c, uint32_t peer);

/* ---- client_records.c */

static inline struct record *rec_at(struct client *c, uint32_t index)
{
    return &c->records[index];
}
bool client_records_init(struct client *c);
void client_records_done(struct client *c);
uint32_t rec_find(const struct client *c, const dtq_id *id);
/* A new one in state `state`; NONE: no memory. */
uint32_t rec_new(struct client *c, const dtq_id *id, enum rec_state state);
void rec_move(struct client *c, uint32_t index, enum rec_state state);
/* Frees it when nothing needs it any more. */
void rec_release(struct client *c, uint32_t index);
/* Room for `n` more, so that making them does not fail. */
bool recs_reserve(struct client *c, uint32_t n);
/* What is here of a followed record becomes an event. */
void rec_is_result(struct client *c, uint32_t index);
void rec_set_sink(struct client *c, uint32_t index, uint32_t peer);
void rec_follow(struct client *c, uint32_t index);
/* Into `list`, out of the one it is in. */
void rec_list(struct client *c, uint32_t index, enum rec_list list);
struct list *rec_list_of(struct client *c, const struct record *r);
/* Its verdict is known: DTQ_OK makes it open, an error ends it. Its batch was told. */
void rec_verdict(struct client *c, uint32_t index, dtq_err err, struct dtqi_str text);
/* Its outcome is entry `at` of `page`; NULL: there is none. */
void rec_here(struct client *c, uint32_t index, struct page *page, uint32_t at);
/* The call that watches it has its answer. */
void rec_answered(struct client *c, uint32_t index);
void rec_set_text(struct client *c, uint32_t index, struct dtqi_str text);
void rec_set_page(struct client *c, uint32_t index, struct page *page, uint32_t at);
struct page *page_new(struct client *c, const struct dtqi_msg *msg);
void page_unref(struct client *c, struct page *page);

/* ---- client_submit.c */

void submit_done(struct client *c);
void submit_tick(struct client *c);
void submit_on_submitted(struct client *c, const struct dtqi_submitted *s);
/* The connection to the ventilator is gone. */
void submit_on_loss(struct client *c);
/* The ventilator refuses this client: what was never sent fails. */
void submit_on_refusal(struct client *c);
/* The follow of this sink may not have been known when what is under way was sent. */
void submit_on_sink_loss(struct client *c, uint32_t peer);
/* What was for a sink that was removed is for another one (R52). */
void submit_on_sink_removed(struct client *c, uint32_t from, uint32_t to);
/* Takes an entry out of its batch; its record is the caller's to move. */
void submit_resolve(struct client *c, uint32_t index);
/* The same for an outcome that came before SUBMITTED. */
void submit_resolve_early(struct client *c, uint32_t index);
uint64_t submit_deadline_ms(const struct client *c);
bool submit_is_waiting_for_sink(const struct client *c);

/* ---- client_asks.c */

void asks_tick(struct client *c);
uint64_t asks_deadline_ms(const struct client *c);
/* An open record: decide what to ask about it, and when. */
void asks_begin(struct client *c, uint32_t index, bool at_once);
void asks_on_results(struct client *c, uint32_t peer, const struct dtqi_msg *msg);
void asks_on_query_reply(struct client *c, const struct dtqi_msg *msg);
void asks_on_welcome(struct client *c);
void asks_on_vent_loss(struct client *c);
void asks_on_sink_ready(struct client *c, uint32_t peer);
void asks_on_sink_loss(struct client *c, uint32_t peer);
/* Whose outcome was to come from a sink that was removed is looked for at once, here and there. */
void asks_on_sink_removed(struct client *c, uint32_t from, uint32_t to);
/* Must this sink be connected? */
bool asks_want_sink(const struct client *c, uint32_t peer);

#endif
