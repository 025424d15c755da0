/*
 * The messages of proto/dtq.proto as plain structs: what cores take in and give out. The codec
 * makes them from frames and frames from them; nothing else sees protobuf. A decoded message has
 * passed the codec's checks of shape: columns are NULL (every entry has the default) or have n
 * entries, indexes are inside their dictionaries, lengths add up, enumerations are in range, names
 * and texts are within their limits. What a message *means* is the core's to check.
 *
 * Every pointer in a decoded message points into msg.buf; keep a reference to keep a body.
 */
#ifndef DTQI_MSG_H
#define DTQI_MSG_H

#include "bounds.h"
#include "buf.h"
#include "dtq/base.h"

#include <stdbool.h>
#include <string.h>

enum dtqi_msg_type { /* as MessageType on the wire */
                     DTQI_HELLO = 1,
                     DTQI_WELCOME = 2,
                     DTQI_REFUSED = 3,
                     DTQI_UNKNOWN_SESSION = 4,
                     DTQI_BYE = 5,
                     DTQI_SUBMIT = 10,
                     DTQI_SUBMITTED = 11,
                     DTQI_CANCEL = 12,
                     DTQI_CANCEL_REPLY = 13,
                     DTQI_QUERY = 14,
                     DTQI_QUERY_REPLY = 15,
                     DTQI_OPERATE = 16,
                     DTQI_OPERATE_REPLY = 17,
                     DTQI_TASKS = 20,
                     DTQI_WORKER_HEARTBEAT = 21,
                     DTQI_VENTILATOR_HEARTBEAT = 22,
                     DTQI_REPORT = 23,
                     DTQI_FORGET = 24,
                     DTQI_RECALL = 25,
                     DTQI_RESEND = 26,
                     DTQI_STOP_ATTEMPTS = 27,
                     DTQI_HOLDINGS = 28,
                     DTQI_HOLDINGS_WANTED = 29,
                     DTQI_VERDICTS = 30,
                     DTQI_SINKS = 31,
                     DTQI_RESUME = 40,
                     DTQI_SETTLED = 41,
                     DTQI_SETTLED_ACK = 42,
                     DTQI_CLAIM = 43,
                     DTQI_CLAIM_REPLY = 44,
                     DTQI_SINK_HEARTBEAT = 45,
                     DTQI_OUTCOMES = 50,
                     DTQI_FOLLOW = 60,
                     DTQI_WAIT = 61,
                     DTQI_RESULTS = 62,
                     DTQI_RESULTS_QUERY = 63,
                     DTQI_RESULTS_REPLY = 64,
};

enum dtqi_role { DTQI_ROLE_NONE, DTQI_ROLE_PRODUCER, DTQI_ROLE_WORKER, DTQI_ROLE_SINK };

enum dtqi_refusal { /* as Refusal on the wire */
                    DTQI_REFUSAL_NONE,
                    DTQI_BUSY,
                    DTQI_NO_SPACE,
                    DTQI_NO_SINK,
                    DTQI_NO_SUCH_SINK,
                    DTQI_TOO_LARGE,
                    DTQI_TOO_OLD,
                    DTQI_BAD_TIME,
                    DTQI_CONFLICT,
                    DTQI_BAD_TASK,
                    DTQI_BAD_VERSION,
                    DTQI_BAD_PEER,
};

enum dtqi_holding { DTQI_WAITING, DTQI_HELD_RUNNING, DTQI_DONE, DTQI_HELD_FAILED };
enum dtqi_verdict { DTQI_VERDICT_FORGET, DTQI_VERDICT_ADOPT, DTQI_VERDICT_STALE };
enum dtqi_query_kind {
    DTQI_QUERY_STATUS,
    DTQI_QUERY_TASKS,
    DTQI_QUERY_TASK,
    DTQI_QUERY_QUEUES,
    DTQI_QUERY_WORKERS,
    DTQI_QUERY_SINKS,
    DTQI_QUERY_DEAD = 20,
    DTQI_QUERY_ATTEMPTS = 21,
    DTQI_QUERY_CRON = 22,
};

/* 16 bytes that name a store, an instance or a run; the same type as a task's id, but never mixed
 * with it. */
typedef struct dtqi_uid {
    uint8_t bytes[16];
} dtqi_uid;

static inline bool dtqi_uid_eq(const dtqi_uid *a, const dtqi_uid *b)
{
    return memcmp(a->bytes, b->bytes, 16) == 0;
}

static inline bool dtqi_uid_is_zero(const dtqi_uid *a)
{
    static const dtqi_uid zero;

    return dtqi_uid_eq(a, &zero);
}

static inline bool dtqi_id_eq(const dtq_id *a, const dtq_id *b)
{
    return memcmp(a->bytes, b->bytes, 16) == 0;
}

/* The wall time in a UUIDv7: its first 48 bits, milliseconds since the Unix epoch (RFC 9562, 5.7).
 */
static inline uint64_t dtqi_id_wall_ms(const dtq_id *id)
{
    uint64_t ms = 0;

    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id->bytes[i];
    return ms;
}

/* Mixes all 64 bits (the finaliser of SplitMix64). For hash tables and for the sum of holdings. */
static inline uint64_t dtqi_mix64(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static inline uint64_t dtqi_id_hash(const dtq_id *id)
{
    uint64_t a;
    uint64_t b;

    memcpy(&a, id->bytes, 8);
    memcpy(&b, id->bytes + 8, 8);
    return dtqi_mix64(a ^ dtqi_mix64(b));
}

/* What one held attempt adds to WORKER_HEARTBEAT.held_sum (R12). Little-endian reading of the id,
 * as on the wire. */
static inline uint64_t dtqi_holding_hash(const dtq_id *id, uint64_t epoch, uint32_t attempt)
{
    return dtqi_mix64(dtqi_id_hash(id) ^ dtqi_mix64(epoch + attempt));
}

struct dtqi_str { /* text inside msg.buf or static; not NUL-terminated */
    const char *at;
    uint32_t len;
};

static inline struct dtqi_str dtqi_str(const char *text)
{
    return (struct dtqi_str){text, (uint32_t)strlen(text)};
}

static inline bool dtqi_str_eq(struct dtqi_str a, struct dtqi_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static inline bool dtqi_is_name_byte(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == ':' || c == '-';
}

/* A name of a task, queue, key or group: 1..DTQI_NAME_BYTES_MAX bytes of letters, digits and
 * "_.:-". */
static inline bool dtqi_is_name(struct dtqi_str name)
{
    if (name.len == 0 || name.len > DTQI_NAME_BYTES_MAX)
        return false;
    for (uint32_t i = 0; i < name.len; i++)
        if (!dtqi_is_name_byte((unsigned char)name.at[i]))
            return false;
    return true;
}

/* A task without its id and payload. `raw` is the encoded Spec: cores compare and pass it on, the
 * codec makes it. */
struct dtqi_spec {
    struct dtqi_slice raw;
    struct dtqi_str name;
    struct dtqi_str queue;
    uint32_t priority;
    uint32_t retries;
    uint64_t backoff_min_ms;
    uint64_t backoff_max_ms;
    uint64_t time_limit_ms;
    uint64_t soft_time_limit_ms;
    uint32_t crash_limit;
    uint64_t expires_ms;
    uint64_t result_ttl_ms;
    bool no_result;
    struct dtqi_str key;
    uint64_t key_ttl_ms;
    struct dtqi_str group;
    bool group_ordered;
    const struct dtqi_str *argv;
    uint32_t argc;
    struct dtqi_slice requeued_from; /* empty, or 16 bytes */
    struct dtqi_str retry_on;        /* see retry_rules.h */
    struct dtqi_str no_retry_on;
    struct dtqi_str cron;       /* empty: it is no run of an entry */
    struct dtqi_str moved_from; /* a queue, or empty */
    const char *flaw;           /* of a SUBMIT: why its tasks cannot be taken; NULL: they can */
};

struct dtqi_sink_info {
    dtqi_uid store;
    struct dtqi_str intake;
    struct dtqi_str results;
    bool reachable;
    bool diverged; /* R34 */
    bool full;
    bool removed; /* its tasks wait for another one */
    bool waiting_is_least;
    uint64_t applied;
    uint64_t waiting;
    uint64_t dispatched;
    uint64_t unsettled;
};

struct dtqi_hello {
    uint32_t version_min;
    uint32_t version_max;
    enum dtqi_role role;
    dtqi_uid instance;
    struct dtqi_str name;
    struct dtqi_str program;
    const struct dtqi_str *queues;
    uint32_t queues_n;
    const uint32_t *queue_weights; /* NULL: 1 for each */
    bool queues_strict;
    uint32_t slots;
    uint64_t previous_session;
    uint32_t holdings;
    uint64_t result_max_bytes;
    dtqi_uid store;
    dtqi_uid run;
    struct dtqi_str intake;
    struct dtqi_str results;
    uint64_t outcome_memory_ms;
};

/* Sinks that are no more, and who has what was theirs; zeros: nobody yet. */
struct dtqi_removed {
    const dtqi_uid *stores;
    const dtqi_uid *successors;
    uint32_t n;
};

struct dtqi_welcome {
    uint32_t version;
    dtqi_uid store;
    uint64_t epoch;
    uint64_t session;
    uint64_t wall_ms;
    uint64_t heartbeat_ms;
    uint32_t liveness;
    struct dtqi_str lane;
    const struct dtqi_sink_info *sinks;
    uint32_t sinks_n;
    uint64_t task_bytes_max;
    uint64_t result_bytes_max;
    uint64_t dedupe_window_ms;
    uint64_t outcome_fence_ms;
    struct dtqi_removed removed;
};

struct dtqi_refused {
    enum dtqi_refusal reason;
    struct dtqi_str text;
    uint32_t version_min;
    uint32_t version_max;
};

struct dtqi_unknown_session {
    uint64_t session;
};

struct dtqi_bye {
    uint64_t session;
    const dtq_id *abandoned_ids;
    uint32_t abandoned_n;
};

struct dtqi_sinks {
    uint64_t session;
    const struct dtqi_sink_info *sinks;
    uint32_t sinks_n;
    struct dtqi_removed removed;
};

struct dtqi_submit {
    uint64_t request;
    uint32_t n;
    const dtq_id *ids;
    dtqi_uid sink;
    const struct dtqi_spec *specs;
    uint32_t specs_n;
    const uint32_t *spec_index;
    const uint64_t *not_before_wall_ms;
    const uint64_t *delay_ms; /* from the time in the id */
    int64_t id_clock_ms;      /* to be added to the times in `ids` */
    bool resend;
    const dtqi_uid *also_sent_to;
    uint32_t also_sent_to_n;
    uint64_t reply_to;
    const struct dtqi_slice *bodies; /* n payloads; never NULL when n > 0 */
};

/* What one task takes of a worker's credit in bytes (R15): its encoded Spec and its payload, the
 * Spec for each task again. */
static inline uint64_t dtqi_task_credit_bytes(uint32_t spec_bytes, uint32_t payload_bytes)
{
    return (uint64_t)spec_bytes + payload_bytes;
}

struct dtqi_submitted {
    uint64_t request;
    uint32_t refused_n;
    const uint32_t *refused_index;
    const uint32_t *refused_reason; /* enum dtqi_refusal */
    const struct dtqi_str *refused_text;
    uint32_t same_n;
    const uint32_t *same_index;
    const dtq_id *same_ids;
};

struct dtqi_tasks {
    uint64_t session;
    uint32_t lane_seq;
    uint32_t n;
    const dtq_id *ids;
    const uint32_t *tickets;
    const uint32_t *attempts; /* NULL: 1 */
    const struct dtqi_spec *specs;
    uint32_t specs_n;
    const uint32_t *spec_index;
    const uint64_t *expires_in_ms;
    const dtqi_uid *sinks;
    uint32_t sinks_n;
    const uint32_t *sink_index;
    const uint64_t *reply_to;
    const struct dtqi_slice *bodies;
};

struct dtqi_worker_heartbeat {
    uint64_t session;
    uint64_t sequence;
    uint32_t lane_seq;
    uint64_t report_seq;
    uint64_t credit_tasks;
    uint64_t credit_bytes;
    uint32_t held;
    uint64_t held_sum;
    const dtq_id *running_ids;
    uint32_t running_n;
    const dtqi_uid *unreachable_sinks;
    uint32_t unreachable_n;
};

struct dtqi_ventilator_heartbeat {
    uint64_t session;
    uint64_t echo;
    uint64_t report_seq;
    uint32_t lane_seq;
    uint64_t backlog;
    uint64_t wall_ms;
};

struct dtqi_failure {
    dtq_id id;
    uint64_t epoch;
    uint32_t attempt;
    dtq_reason reason;
    int32_t code;
    struct dtqi_str text;
    uint64_t started_wall_ms;
    uint64_t duration_us;
    bool no_retry;
    uint64_t retry_after_ms;
};

struct dtqi_report {
    uint64_t session;
    uint64_t report_seq;
    uint64_t credit_tasks;
    uint64_t credit_bytes;
    const uint32_t *done_tickets;
    uint32_t done_n;
    const struct dtqi_failure *failures;
    uint32_t failures_n;
    const dtq_id *returned_ids;
    uint32_t returned_n;
    const dtq_id *stopped_ids;
    uint32_t stopped_n;
    const dtq_id *started_ids;
    uint32_t started_n;
};

struct dtqi_forget {
    uint64_t session;
    uint64_t epoch;
    uint32_t n;
    const dtq_id *ids;
    const uint32_t *attempts; /* NULL: 1 */
};

struct dtqi_recall {
    uint64_t session;
    uint32_t count;
};

struct dtqi_ids { /* RESEND, STOP_ATTEMPTS */
    uint64_t session;
    const dtq_id *ids;
    uint32_t n;
};

struct dtqi_holdings {
    uint64_t session;
    uint32_t n;
    const dtq_id *ids;
    const uint64_t *epochs;   /* never NULL when n > 0 */
    const uint32_t *attempts; /* never NULL when n > 0 */
    const uint32_t *states;   /* enum dtqi_holding; NULL: waiting */
    const struct dtqi_failure *failures;
    uint32_t failures_n; /* as many as entries that are DTQI_HELD_FAILED */
    bool last;
};

struct dtqi_holdings_wanted {
    uint64_t session;
};

struct dtqi_verdicts {
    uint64_t session;
    uint32_t n;
    const dtq_id *ids;
    const uint64_t *epochs;
    const uint32_t *attempts;
    const uint32_t *verdicts; /* NULL: forget */
    const uint32_t *tickets;  /* NULL: 0 */
};

struct dtqi_outcomes {
    dtqi_uid ventilator;
    uint64_t epoch;
    dtqi_uid instance;
    struct dtqi_str worker;
    uint64_t heard_wall_ms;
    dtqi_uid sink;
    uint32_t n;
    const dtq_id *ids;
    const uint32_t *tickets;
    const uint32_t *attempts; /* NULL: 1 */
    const uint32_t *kinds;    /* dtq_state, an outcome; NULL: DTQ_SUCCEEDED */
    const struct dtqi_spec *specs;
    uint32_t specs_n;
    const uint32_t *spec_index;
    const uint64_t *reply_to;
    const uint64_t *started_wall_ms;
    const uint64_t *durations_us;
    const uint32_t *reasons;
    const int32_t *codes;
    const struct dtqi_slice *bodies;
};

struct dtqi_resume {
    dtqi_uid store;
    dtqi_uid run; /* zero: none */
    uint64_t after;
};

struct dtqi_settled {
    dtqi_uid sink;
    dtqi_uid run;
    uint64_t number_first;
    uint64_t number_head;
    uint32_t n;
    const dtq_id *ids;
    const uint32_t *kinds;   /* NULL: DTQ_SUCCEEDED */
    const uint32_t *tickets; /* NULL: 0 */
    bool diverged;           /* RESUME named a run and number that are not this sink's (R34) */
    uint64_t number_dropped; /* numbers up to this one are gone: take them as applied (R34) */
};

struct dtqi_settled_ack {
    dtqi_uid store;
    uint64_t number;
};

struct dtqi_claim {
    uint64_t request;
    dtqi_uid store;
    uint32_t n;
    const dtq_id *ids;
    const dtqi_uid *also_sent_to;
    uint32_t also_sent_to_n;
};

struct dtqi_claim_reply {
    uint64_t request;
    uint32_t n;
    const uint32_t *kinds; /* never NULL when n > 0 */
};

struct dtqi_sink_heartbeat {
    uint64_t session;
    uint64_t sequence;
    bool full;
};

struct dtqi_follow {
    uint64_t reply_to;
};

struct dtqi_wait {
    uint64_t request;
    uint32_t n;
    const dtq_id *ids;
    bool once;
};

struct dtqi_results {
    dtqi_uid sink;
    uint64_t request;
    uint32_t n;
    const dtq_id *ids;
    const uint32_t *kinds;    /* NULL: DTQ_SUCCEEDED */
    const uint32_t *attempts; /* NULL: 1 */
    const uint32_t *reasons;
    const int32_t *codes;
    const uint64_t *started_wall_ms;
    const uint64_t *durations_us;
    const uint64_t *committed_wall_ms;
    const struct dtqi_str *workers;
    uint32_t workers_n;
    const uint32_t *worker_index;
    const struct dtqi_str *names;
    uint32_t names_n;
    const uint32_t *name_index;
    const struct dtqi_str *queues;
    uint32_t queues_n;
    const uint32_t *queue_index;
    const struct dtqi_slice *bodies;
};

struct dtqi_results_query {
    uint64_t request;
    bool has_after;
    dtq_id after;
    uint32_t limit;
    uint32_t state;
    struct dtqi_str queue;
    struct dtqi_str name;
    dtq_id prefix;
    uint32_t prefix_bits; /* 0..128 */
    bool bodies;
    bool newest_first;
};

struct dtqi_results_reply {
    uint64_t request;
    struct dtqi_results results;
    bool has_next;
    dtq_id next;
    uint64_t held;
    uint64_t refused;
};

struct dtqi_cancel {
    uint64_t request;
    uint32_t n;
    const dtq_id *ids;
    struct dtqi_str queue;
};

struct dtqi_cancel_reply {
    uint64_t request;
    uint32_t n;
    const uint32_t *states;     /* never NULL when n > 0 */
    const uint32_t *cancelling; /* never NULL when n > 0 */
    uint64_t count;
    enum dtqi_refusal reason;
    struct dtqi_str text;
};

struct dtqi_query {
    uint64_t request;
    enum dtqi_query_kind kind;
    dtq_id prefix;
    uint32_t prefix_bits;
    uint32_t state;
    struct dtqi_str queue;
    uint32_t limit;
    struct dtqi_slice after;
    bool explain;
    bool bodies;
    struct dtqi_str cron;
};

struct dtqi_attempt_info {
    uint32_t attempt;
    struct dtqi_str worker;
    uint64_t started_wall_ms;
    uint64_t duration_us;
    dtq_reason reason;
    int32_t code;
    struct dtqi_str text;
};

struct dtqi_task_info {
    dtq_id id;
    struct dtqi_spec spec; /* encoding: only spec.raw is read */
    dtq_state state;
    uint32_t attempt;
    uint32_t failures;
    uint32_t crashes;
    struct dtqi_str worker;
    uint64_t due_wall_ms;
    uint64_t payload_bytes;
    dtqi_uid sink;
    struct dtqi_str why;
    const struct dtqi_attempt_info *attempts;
    uint32_t attempts_n;
    bool cancelling;
    bool durable;
    uint64_t before;
    bool before_is_least;
    uint64_t dead_wall_ms;
    dtq_reason reason;
    int32_t code;
    struct dtqi_str error;
    struct dtqi_slice payload;
};

struct dtqi_queue_info {
    struct dtqi_str name;
    uint64_t ready;
    uint64_t scheduled;
    uint64_t dispatched;
    uint64_t bytes;
    bool paused;
    uint32_t workers;
    uint64_t oldest_wall_ms;
    uint64_t limit;
    uint64_t rate;
    uint64_t rate_period_ms;
    uint32_t groups;
    uint64_t group_limit;
    uint64_t group_rate;
    uint64_t group_rate_period_ms;
    uint64_t ageing_ms;
    uint64_t ending;
};

struct dtqi_worker_info {
    struct dtqi_str name;
    dtqi_uid instance;
    uint64_t session;
    uint32_t slots;
    uint32_t held;
    uint32_t running;
    uint64_t credit;
    uint64_t done;
    uint64_t failed;
    uint64_t silent_ms;
    const struct dtqi_str *queues;
    uint32_t queues_n;
    struct dtqi_str program;
};

struct dtqi_counter {
    struct dtqi_str name;
    uint64_t value;
};

enum dtqi_missed_runs { DTQI_MISSED_ONCE, DTQI_MISSED_SKIP, DTQI_MISSED_ALL };

struct dtqi_cron_entry {
    struct dtqi_str expression; /* empty: every_ms */
    uint64_t every_ms;
    struct dtqi_str zone;
    uint32_t missed; /* enum dtqi_missed_runs */
    uint32_t missed_max;
    bool skip_overlap;
    uint64_t delay_ms;
    struct dtqi_spec spec; /* encoding: only spec.raw is read */
    struct dtqi_slice payload;
    bool replace;
};

struct dtqi_cron_info {
    struct dtqi_str name;
    struct dtqi_cron_entry entry;
    uint64_t payload_bytes;
    bool paused;
    uint64_t next_wall_ms;
    uint64_t due_wall_ms;
    uint64_t fired_wall_ms;
    dtqi_uid last_id; /* zero: none */
    uint64_t fired;
    uint64_t missed;
    uint64_t skipped;
    uint64_t created_wall_ms;
    struct dtqi_str why;
};

struct dtqi_query_reply {
    uint64_t request;
    enum dtqi_refusal reason;
    struct dtqi_str text;
    const struct dtqi_task_info *tasks;
    uint32_t tasks_n;
    const struct dtqi_queue_info *queues;
    uint32_t queues_n;
    const struct dtqi_worker_info *workers;
    uint32_t workers_n;
    const struct dtqi_sink_info *sinks;
    uint32_t sinks_n;
    const struct dtqi_counter *counters;
    uint32_t counters_n;
    const struct dtqi_cron_info *crons;
    uint32_t crons_n;
    struct dtqi_slice next;
    const struct dtqi_attempt_info *attempts;
    uint32_t attempts_n;
};

enum dtqi_operation {
    DTQI_QUEUE_PAUSE = 1,
    DTQI_QUEUE_RESUME = 2,
    DTQI_QUEUE_PURGE = 3,
    DTQI_QUEUE_RATE = 4,
    DTQI_QUEUE_LIMIT = 5,
    DTQI_DEAD_REQUEUE = 6,
    DTQI_DEAD_PURGE = 7,
    DTQI_WORKER_DRAIN = 8,
    DTQI_WORKER_STOP = 9,
    DTQI_SINK_ACCEPT = 10,
    DTQI_SINK_REMOVE = 11,
    DTQI_QUEUE_GROUP_RATE = 20,
    DTQI_QUEUE_GROUP_LIMIT = 21,
    DTQI_QUEUE_MOVE = 22,
    DTQI_QUEUE_AGEING = 23,
    DTQI_CRON_ADD = 12,
    DTQI_CRON_REMOVE = 13,
    DTQI_CRON_PAUSE = 14,
    DTQI_CRON_RESUME = 15,
    DTQI_CRON_RUN = 16,
};

struct dtqi_operate {
    uint64_t request;
    uint32_t operation; /* enum dtqi_operation, or one that we do not know */
    struct dtqi_str target;
    double number;
    const dtq_id *ids;
    uint32_t n;
    bool all;
    uint64_t period_ms;
    bool has_after;
    dtq_id after;
    uint64_t before_wall_ms;
    struct dtqi_str destination;
    const struct dtqi_cron_entry *cron; /* NULL: none */
    bool force;
};

struct dtqi_operate_reply {
    uint64_t request;
    enum dtqi_refusal reason;
    struct dtqi_str text;
    uint64_t count;
    const dtq_id *ids;
    uint32_t n;
    const dtq_id *old_ids; /* as many */
    bool has_next;
    dtq_id next;
};

struct dtqi_msg {
    enum dtqi_msg_type type;
    struct dtqi_buf *buf; /* decoded messages only; else NULL */
    union {
        struct dtqi_hello hello;
        struct dtqi_welcome welcome;
        struct dtqi_refused refused;
        struct dtqi_unknown_session unknown_session;
        struct dtqi_bye bye;
        struct dtqi_submit submit;
        struct dtqi_submitted submitted;
        struct dtqi_cancel cancel;
        struct dtqi_cancel_reply cancel_reply;
        struct dtqi_query query;
        struct dtqi_query_reply query_reply;
        struct dtqi_operate operate;
        struct dtqi_operate_reply operate_reply;
        struct dtqi_tasks tasks;
        struct dtqi_worker_heartbeat worker_heartbeat;
        struct dtqi_ventilator_heartbeat ventilator_heartbeat;
        struct dtqi_report report;
        struct dtqi_forget forget;
        struct dtqi_recall recall;
        struct dtqi_ids resend;
        struct dtqi_ids stop_attempts;
        struct dtqi_holdings holdings;
        struct dtqi_holdings_wanted holdings_wanted;
        struct dtqi_verdicts verdicts;
        struct dtqi_sinks sinks;
        struct dtqi_resume resume;
        struct dtqi_settled settled;
        struct dtqi_settled_ack settled_ack;
        struct dtqi_claim claim;
        struct dtqi_claim_reply claim_reply;
        struct dtqi_sink_heartbeat sink_heartbeat;
        struct dtqi_outcomes outcomes;
        struct dtqi_follow follow;
        struct dtqi_wait wait;
        struct dtqi_results results;
        struct dtqi_results_query results_query;
        struct dtqi_results_reply results_reply;
    };
};

static inline uint32_t dtqi_col32(const uint32_t *column, uint32_t i, uint32_t otherwise)
{
    return column != NULL ? column[i] : otherwise;
}

static inline int32_t dtqi_col32s(const int32_t *column, uint32_t i)
{
    return column != NULL ? column[i] : 0;
}

static inline uint64_t dtqi_col64(const uint64_t *column, uint32_t i)
{
    return column != NULL ? column[i] : 0;
}

#endif
