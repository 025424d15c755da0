#include "codec_parts.h"

/*
 * Writing: every function below points a generated struct at the columns of a message. Only
 * strings, which protobuf-c wants NUL-terminated, and lists of pointers are made, in scratch memory
 * on the stack as long as they are few. What is asserted here, our own cores made.
 */

/* ---- single fields */

static ProtobufCBinaryData required_16(const void *uid)
{
    return (ProtobufCBinaryData){16, codec_unconst(uid)};
}

static ProtobufCBinaryData optional_16(const dtqi_uid *uid)
{
    return (ProtobufCBinaryData){dtqi_uid_is_zero(uid) ? 0 : 16, codec_unconst(uid)};
}

static ProtobufCBinaryData ids(const dtq_id *list, uint32_t n)
{
    assert(n <= DTQI_BATCH_ENTRIES_MAX);
    return (ProtobufCBinaryData){(size_t)n * 16, codec_unconst(list)};
}

static ProtobufCBinaryData slice(struct dtqi_slice in)
{
    return (ProtobufCBinaryData){in.len, codec_unconst(in.at)};
}

static uint32_t min32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Bytes of the UTF-8 character at `at`, 0 when there is none (RFC 3629: no overlong forms, no
 * surrogates, nothing above U+10FFFF). */
static uint32_t utf8_bytes(const unsigned char *at, uint32_t left)
{
    uint32_t n = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

    if (n == 0 || at[0] > 0xf4 || n > left)
        return 0;
    for (uint32_t i = 1; i < n; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return n;
}

/* A copy of at most `max` bytes in which everything that is not UTF-8, NUL bytes and, if asked for,
 * control characters are "?": other languages refuse a whole message for one bad string. */
static char *cleaned(struct codec_writer *w, struct dtqi_str in, uint32_t max, bool control)
{
    uint32_t len = min32(in.len, max);
    char *out;

    while (len < in.len && len > 0 && ((unsigned char)in.at[len] & 0xc0) == 0x80)
        len--; /* do not cut a character in two */
    out = codec_exact(w, (struct dtqi_str){in.at, len});
    if (out == NULL)
        return NULL;
    for (uint32_t i = 0; i < len;) {
        uint32_t n = utf8_bytes((unsigned char *)out + i, len - i);
        bool bad =
            n == 0 || out[i] == 0 || (!control && ((unsigned char)out[i] < 0x20 || out[i] == 0x7f));

        if (bad)
            out[i] = '?';
        i += bad ? 1 : n;
    }
    return out;
}

static bool text(struct codec_writer *w, struct dtqi_str in, char **ret)
{
    return (*ret = cleaned(w, in, DTQI_TEXT_BYTES_MAX, true)) != NULL;
}

static bool label(struct codec_writer *w, struct dtqi_str in, char **ret)
{
    return (*ret = cleaned(w, in, DTQI_NAME_BYTES_MAX, false)) != NULL;
}

static bool name(struct codec_writer *w, struct dtqi_str in, char **ret)
{
    assert(in.len == 0 || dtqi_is_name(in));
    return (*ret = codec_exact(w, in)) != NULL;
}

static bool endpoint(struct codec_writer *w, struct dtqi_str in, char **ret)
{
    assert(in.len <= DTQI_ENDPOINT_BYTES_MAX);
    return (*ret = codec_exact(w, in)) != NULL;
}

/* ---- lists and columns */

/* A column keeps its name from the message to the schema. */
#define COLUMN(in, out, field)                             \
    ((out)->n_##field = (in)->field != NULL ? (in)->n : 0, \
     (out)->field = codec_unconst((in)->field))
#define FULL_COLUMN(in, out, field)                  \
    do {                                             \
        assert((in)->n == 0 || (in)->field != NULL); \
        COLUMN(in, out, field);                      \
    } while (0)

static bool uids(struct codec_writer *w, const dtqi_uid *in, uint32_t n, ProtobufCBinaryData **ret,
                 size_t *ret_n)
{
    assert(n <= DTQI_BATCH_ENTRIES_MAX);
    *ret_n = n;
    *ret = codec_scratch(w, n, sizeof **ret);
    for (uint32_t i = 0; *ret != NULL && i < n; i++)
        (*ret)[i] = required_16(&in[i]);
    return *ret != NULL;
}

static bool specs(struct codec_writer *w, const struct dtqi_spec *in, uint32_t n,
                  ProtobufCBinaryData **ret, size_t *ret_n)
{
    assert(n <= DTQI_BATCH_ENTRIES_MAX);
    *ret_n = n;
    *ret = codec_scratch(w, n, sizeof **ret);
    for (uint32_t i = 0; *ret != NULL && i < n; i++) {
        assert(in[i].raw.len != 0 || in[i].flaw != NULL);
        (*ret)[i] = slice(in[i].raw);
    }
    return *ret != NULL;
}

static bool strings(struct codec_writer *w, const struct dtqi_str *in, uint32_t n,
                    bool (*one)(struct codec_writer *, struct dtqi_str, char **), char ***ret,
                    size_t *ret_n)
{
    assert(n <= DTQI_BATCH_ENTRIES_MAX);
    *ret_n = n;
    *ret = codec_scratch(w, n, sizeof **ret);
    for (uint32_t i = 0; *ret != NULL && i < n; i++)
        if (!one(w, in[i], &(*ret)[i]))
            return false;
    return *ret != NULL;
}

/* The lengths of bodies; the bodies themselves are appended by dtqi_encode(). */
static bool bodies(struct codec_writer *w, const struct dtqi_slice *in, uint32_t n, uint32_t **ret,
                   size_t *ret_n)
{
    assert(n == 0 || in != NULL);
    w->bodies = in;
    w->bodies_n = n;
    for (uint32_t i = 0; i < n; i++)
        w->bodies_bytes += in[i].len;
    *ret_n = 0;
    if (w->bodies_bytes == 0)
        return true;
    *ret = codec_scratch(w, n, sizeof **ret);
    if (*ret == NULL)
        return false;
    *ret_n = n;
    for (uint32_t i = 0; i < n; i++)
        (*ret)[i] = in[i].len;
    return true;
}

/* ---- sub-messages */

typedef bool write_one(struct codec_writer *w, const void *from, void *to);

/* Writes each of a list of sub-messages with `one`. @return the list of pointers that protobuf-c
 * wants; NULL: no memory. */
static void *each(struct codec_writer *w, const void *in, uint32_t n, size_t in_bytes,
                  const ProtobufCMessageDescriptor *descriptor, write_one *one, size_t *ret_n)
{
    void **list = codec_scratch(w, n, sizeof *list);
    char *objects = codec_scratch(w, n, (descriptor->sizeof_message + 15) & ~(size_t)15);

    assert(n <= DTQI_BATCH_ENTRIES_MAX);
    *ret_n = n;
    if (list == NULL || objects == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        list[i] = objects + i * ((descriptor->sizeof_message + 15) & ~(size_t)15);
        protobuf_c_message_init(descriptor, list[i]);
        if (!one(w, (const char *)in + i * in_bytes, list[i]))
            return NULL;
    }
    return list;
}

#define EACH(w, in, out, field, type, one)                                      \
    (((out)->field = each(w, (in)->field, (in)->field##_n, sizeof *(in)->field, \
                          &dtq__v1__##type##__descriptor, one, &(out)->n_##field)) != NULL)

static bool write_sink_info(struct codec_writer *w, const void *from, void *to)
{
    const struct dtqi_sink_info *in = from;
    Dtq__V1__SinkInfo *out = to;

    out->store = required_16(&in->store);
    out->reachable = in->reachable;
    out->diverged = in->diverged;
    out->full = in->full;
    out->removed = in->removed;
    out->waiting_is_least = in->waiting_is_least;
    out->applied = in->applied;
    out->waiting = in->waiting;
    out->dispatched = in->dispatched;
    out->unsettled = in->unsettled;
    return endpoint(w, in->intake, &out->intake) && endpoint(w, in->results, &out->results);
}

static bool write_failure(struct codec_writer *w, const void *from, void *to)
{
    const struct dtqi_failure *in = from;
    Dtq__V1__Failure *out = to;

    out->id = required_16(&in->id);
    out->epoch = in->epoch;
    out->attempt = in->attempt;
    out->reason = (Dtq__V1__FailureReason)in->reason;
    out->code = in->code;
    out->started_wall_ms = in->started_wall_ms;
    out->duration_us = in->duration_us;
    out->no_retry = in->no_retry;
    out->retry_after_ms = in->retry_after_ms;
    return text(w, in->text, &out->text);
}

static bool write_attempt_info(struct codec_writer *w, const void *from, void *to)
{
    const struct dtqi_attempt_info *in = from;
    Dtq__V1__AttemptInfo *out = to;

    out->attempt = in->attempt;
    out->started_wall_ms = in->started_wall_ms;
    out->duration_us = in->duration_us;
    out->reason = (Dtq__V1__FailureReason)in->reason;
    out->code = in->code;
    return label(w, in->worker, &out->worker) && text(w, in->text, &out->text);
}

static bool write_task_info(struct codec_writer *w, const void *from, void *to)
{
    const struct dtqi_task_info *in = from;
    Dtq__V1__TaskInfo *out = to;

    assert(in->spec.raw.len != 0);
    out->id = required_16(&in->id);
    out->spec = slice(in->spec.raw);
    out->state = (Dtq__V1__TaskState)in->state;
    out->attempt = in->attempt;
    out->failures = in->failures;
    out->crashes = in->crashes;
    out->due_wall_ms = in->due_wall_ms;
    out->payload_bytes = in->payload_bytes;
    out->sink = optional_16(&in->sink);
    out->cancelling = in->cancelling;
    out->durable = in->durable;
    out->before = in->before;
    out->before_is_least = in->before_is_least;
    out->dead_wall_ms = in->dead_wall_ms;
    out->reason = (Dtq__V1__FailureReason)in->reason;
    out->code = in->code;
    out->payload = slice(in->payload);
    return text(w, in->error, &out->error) && label(w, in->worker, &out->worker) &&
           text(w, in->why, &out->why) &&
           EACH(w, in, out, attempts, attempt_info, write_attempt_info);
}

static bool write_queue_info(struct codec_writer *w, const void *from, void *to)
{
    const struct dtqi_queue_info *in = from;
    Dtq__V1__QueueInfo *out = to;

    out->ready = in->ready;
    out->scheduled = in->scheduled;
    out->dispatched = in->dispatched;
    out->bytes = in->bytes;
    out->paused = in->paused;
    out->workers = in->workers;
    out->oldest_wall_ms = in->oldest_wall_ms;
    out->limit = in->limit;
    out->rate = in->rate;
    out->rate_period_ms = in->rate_period_ms;
    out->groups = in->groups;
    out->group_limit = in->group_limit;
    out->group_rate = in->group_rate;
    out->group_rate_period_ms = in->group_rate_period_ms;
    out->ageing_ms = in->ageing_ms;
    out->ending = in->ending;
    return name(w, in->name, &out->name);
}

static bool write_cron_entry(struct codec_writer *w, const struct dtqi_cron_entry *in,
                             Dtq__V1__CronEntry *out)
{
    assert(in->spec.raw.len != 0 || in->spec.flaw != NULL);
    out->every_ms = in->every_ms;
    out->missed = (Dtq__V1__MissedRuns)in->missed;
    out->missed_max = in->missed_max;
    out->skip_overlap = in->skip_overlap;
    out->delay_ms = in->delay_ms;
    out->spec = slice(in->spec.raw);
    out->payload = slice(in->payload);
    out->replace = in->replace;
    return endpoint(w, in->expression, &out->expression) && endpoint(w, in->zone, &out->zone);
}

static Dtq__V1__CronEntry *cron_entry(struct codec_writer *w, const struct dtqi_cron_entry *in)
{
    Dtq__V1__CronEntry *out = codec_scratch(w, 1, sizeof *out);

    if (out == NULL)
        return NULL;
    dtq__v1__cron_entry__init(out);
    return write_cron_entry(w, in, out) ? out : NULL;
}

static bool write_cron_info(struct codec_writer *w, const void *from, void *to)
{
    const struct dtqi_cron_info *in = from;
    Dtq__V1__CronInfo *out = to;

    out->payload_bytes = in->payload_bytes;
    out->paused = in->paused;
    out->next_wall_ms = in->next_wall_ms;
    out->due_wall_ms = in->due_wall_ms;
    out->fired_wall_ms = in->fired_wall_ms;
    out->last_id = optional_16(&in->last_id);
    out->fired = in->fired;
    out->missed = in->missed;
    out->skipped = in->skipped;
    out->created_wall_ms = in->created_wall_ms;
    out->entry = cron_entry(w, &in->entry);
    return out->entry != NULL && name(w, in->name, &out->name) && text(w, in->why, &out->why);
}

static bool write_worker_info(struct codec_writer *w, const void *from, void *to)
{
    const struct dtqi_worker_info *in = from;
    Dtq__V1__WorkerInfo *out = to;

    out->instance = required_16(&in->instance);
    out->session = in->session;
    out->slots = in->slots;
    out->held = in->held;
    out->running = in->running;
    out->credit = in->credit;
    out->done = in->done;
    out->failed = in->failed;
    out->silent_ms = in->silent_ms;
    return label(w, in->name, &out->name) && label(w, in->program, &out->program) &&
           strings(w, in->queues, in->queues_n, name, &out->queues, &out->n_queues);
}

static bool write_counter(struct codec_writer *w, const void *from, void *to)
{
    const struct dtqi_counter *in = from;
    Dtq__V1__Counter *out = to;

    out->value = in->value;
    return label(w, in->name, &out->name);
}

/* ---- sessions */

#define WRITE(member, type)                           \
    const __typeof__(msg->member) *in = &msg->member; \
    Dtq__V1__##type *out = to

bool codec_write_hello(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(hello, Hello);

    out->version_min = in->version_min;
    out->version_max = in->version_max;
    out->role = (Dtq__V1__Role)in->role;
    out->instance = required_16(&in->instance);
    out->slots = in->slots;
    out->previous_session = in->previous_session;
    out->holdings = in->holdings;
    out->result_max_bytes = in->result_max_bytes;
    out->store = optional_16(&in->store);
    out->run = optional_16(&in->run);
    out->outcome_memory_ms = in->outcome_memory_ms;
    out->queues_strict = in->queues_strict;
    out->n_queue_weights = in->queue_weights != NULL ? in->queues_n : 0;
    out->queue_weights = codec_unconst(in->queue_weights);
    return label(w, in->name, &out->name) && label(w, in->program, &out->program) &&
           strings(w, in->queues, in->queues_n, name, &out->queues, &out->n_queues) &&
           endpoint(w, in->intake, &out->intake) && endpoint(w, in->results, &out->results);
}

#define REMOVED(w, from, to)                                                             \
    (uids(w, (from)->stores, (from)->n, &(to)->removed_sinks, &(to)->n_removed_sinks) && \
     uids(w, (from)->successors, (from)->n, &(to)->successors, &(to)->n_successors))

bool codec_write_welcome(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(welcome, Welcome);

    out->version = in->version;
    out->store = required_16(&in->store);
    out->epoch = in->epoch;
    out->session = in->session;
    out->wall_ms = in->wall_ms;
    out->heartbeat_ms = in->heartbeat_ms;
    out->liveness = in->liveness;
    out->task_bytes_max = in->task_bytes_max;
    out->result_bytes_max = in->result_bytes_max;
    out->dedupe_window_ms = in->dedupe_window_ms;
    out->outcome_fence_ms = in->outcome_fence_ms;
    return endpoint(w, in->lane, &out->lane) &&
           EACH(w, in, out, sinks, sink_info, write_sink_info) && REMOVED(w, &in->removed, out);
}

bool codec_write_refused(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(refused, Refused);

    out->reason = (Dtq__V1__Refusal)in->reason;
    out->version_min = in->version_min;
    out->version_max = in->version_max;
    return text(w, in->text, &out->text);
}

bool codec_write_unknown_session(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(unknown_session, UnknownSession);

    (void)w;
    out->session = in->session;
    return true;
}

bool codec_write_bye(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(bye, Bye);

    (void)w;
    out->session = in->session;
    out->abandoned_ids = ids(in->abandoned_ids, in->abandoned_n);
    return true;
}

bool codec_write_sinks(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(sinks, Sinks);

    out->session = in->session;
    return EACH(w, in, out, sinks, sink_info, write_sink_info) && REMOVED(w, &in->removed, out);
}

/* ---- submit */

bool codec_write_submit(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(submit, Submit);

    out->request = in->request;
    out->ids = ids(in->ids, in->n);
    out->sink = required_16(&in->sink);
    COLUMN(in, out, spec_index);
    COLUMN(in, out, not_before_wall_ms);
    COLUMN(in, out, delay_ms);
    out->id_clock_ms = in->id_clock_ms;
    out->resend = in->resend;
    out->reply_to = in->reply_to;
    return specs(w, in->specs, in->specs_n, &out->specs, &out->n_specs) &&
           uids(w, in->also_sent_to, in->also_sent_to_n, &out->also_sent_to,
                &out->n_also_sent_to) &&
           bodies(w, in->bodies, in->n, &out->lengths, &out->n_lengths);
}

bool codec_write_submitted(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(submitted, Submitted);

    assert(in->refused_n <= DTQI_BATCH_ENTRIES_MAX);
    out->request = in->request;
    out->refused_index = codec_unconst(in->refused_index);
    out->n_refused_index = in->refused_n;
    out->refused_reason = codec_unconst(in->refused_reason);
    out->n_refused_reason = in->refused_n;
    out->same_index = codec_unconst(in->same_index);
    out->n_same_index = in->same_n;
    out->same_ids = ids(in->same_ids, in->same_n);
    return strings(w, in->refused_text, in->refused_n, text, &out->refused_text,
                   &out->n_refused_text);
}

/* ---- dispatch */

bool codec_write_tasks(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(tasks, Tasks);

    out->session = in->session;
    out->lane_seq = in->lane_seq;
    out->ids = ids(in->ids, in->n);
    FULL_COLUMN(in, out, tickets);
    COLUMN(in, out, attempts);
    COLUMN(in, out, spec_index);
    COLUMN(in, out, expires_in_ms);
    COLUMN(in, out, sink_index);
    COLUMN(in, out, reply_to);
    return specs(w, in->specs, in->specs_n, &out->specs, &out->n_specs) &&
           uids(w, in->sinks, in->sinks_n, &out->sinks, &out->n_sinks) &&
           bodies(w, in->bodies, in->n, &out->lengths, &out->n_lengths);
}

bool codec_write_worker_heartbeat(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(worker_heartbeat, WorkerHeartbeat);

    out->session = in->session;
    out->sequence = in->sequence;
    out->lane_seq = in->lane_seq;
    out->report_seq = in->report_seq;
    out->credit_tasks = in->credit_tasks;
    out->credit_bytes = in->credit_bytes;
    out->held = in->held;
    out->held_sum = in->held_sum;
    out->running_ids = ids(in->running_ids, in->running_n);
    return uids(w, in->unreachable_sinks, in->unreachable_n, &out->unreachable_sinks,
                &out->n_unreachable_sinks);
}

bool codec_write_ventilator_heartbeat(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(ventilator_heartbeat, VentilatorHeartbeat);

    (void)w;
    out->session = in->session;
    out->echo = in->echo;
    out->report_seq = in->report_seq;
    out->lane_seq = in->lane_seq;
    out->backlog = in->backlog;
    out->wall_ms = in->wall_ms;
    return true;
}

bool codec_write_report(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(report, Report);

    assert(in->done_n <= DTQI_BATCH_ENTRIES_MAX);
    out->session = in->session;
    out->report_seq = in->report_seq;
    out->credit_tasks = in->credit_tasks;
    out->credit_bytes = in->credit_bytes;
    out->done_tickets = codec_unconst(in->done_tickets);
    out->n_done_tickets = in->done_n;
    out->returned_ids = ids(in->returned_ids, in->returned_n);
    out->stopped_ids = ids(in->stopped_ids, in->stopped_n);
    out->started_ids = ids(in->started_ids, in->started_n);
    return EACH(w, in, out, failures, failure, write_failure);
}

bool codec_write_forget(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(forget, Forget);

    (void)w;
    out->session = in->session;
    out->epoch = in->epoch;
    out->ids = ids(in->ids, in->n);
    COLUMN(in, out, attempts);
    return true;
}

bool codec_write_recall(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(recall, Recall);

    (void)w;
    out->session = in->session;
    out->count = in->count;
    return true;
}

bool codec_write_resend(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(resend, Resend);

    (void)w;
    out->session = in->session;
    out->ids = ids(in->ids, in->n);
    return true;
}

bool codec_write_stop_attempts(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(stop_attempts, StopAttempts);

    (void)w;
    out->session = in->session;
    out->ids = ids(in->ids, in->n);
    return true;
}

bool codec_write_holdings(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(holdings, Holdings);

    out->session = in->session;
    out->ids = ids(in->ids, in->n);
    FULL_COLUMN(in, out, epochs);
    FULL_COLUMN(in, out, attempts);
    COLUMN(in, out, states);
    out->last = in->last;
    return EACH(w, in, out, failures, failure, write_failure);
}

bool codec_write_holdings_wanted(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(holdings_wanted, HoldingsWanted);

    (void)w;
    out->session = in->session;
    return true;
}

bool codec_write_verdicts(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(verdicts, Verdicts);

    (void)w;
    out->session = in->session;
    out->ids = ids(in->ids, in->n);
    FULL_COLUMN(in, out, epochs);
    FULL_COLUMN(in, out, attempts);
    COLUMN(in, out, verdicts);
    COLUMN(in, out, tickets);
    return true;
}

/* ---- outcomes and settlement */

bool codec_write_outcomes(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(outcomes, Outcomes);

    out->ventilator = required_16(&in->ventilator);
    out->epoch = in->epoch;
    out->instance = required_16(&in->instance);
    out->heard_wall_ms = in->heard_wall_ms;
    out->sink = required_16(&in->sink);
    out->ids = ids(in->ids, in->n);
    COLUMN(in, out, tickets);
    COLUMN(in, out, attempts);
    COLUMN(in, out, kinds);
    COLUMN(in, out, spec_index);
    COLUMN(in, out, reply_to);
    COLUMN(in, out, started_wall_ms);
    COLUMN(in, out, durations_us);
    COLUMN(in, out, reasons);
    COLUMN(in, out, codes);
    return label(w, in->worker, &out->worker) &&
           specs(w, in->specs, in->specs_n, &out->specs, &out->n_specs) &&
           bodies(w, in->bodies, in->n, &out->lengths, &out->n_lengths);
}

bool codec_write_resume(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(resume, Resume);

    (void)w;
    out->store = required_16(&in->store);
    out->run = optional_16(&in->run);
    out->after = in->after;
    return true;
}

bool codec_write_settled(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(settled, Settled);

    (void)w;
    out->sink = required_16(&in->sink);
    out->run = required_16(&in->run);
    out->number_first = in->number_first;
    out->number_head = in->number_head;
    out->diverged = in->diverged;
    out->number_dropped = in->number_dropped;
    out->ids = ids(in->ids, in->n);
    COLUMN(in, out, kinds);
    COLUMN(in, out, tickets);
    return true;
}

bool codec_write_settled_ack(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(settled_ack, SettledAck);

    (void)w;
    out->store = required_16(&in->store);
    out->number = in->number;
    return true;
}

bool codec_write_claim(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(claim, Claim);

    out->request = in->request;
    out->store = required_16(&in->store);
    out->ids = ids(in->ids, in->n);
    return uids(w, in->also_sent_to, in->also_sent_to_n, &out->also_sent_to, &out->n_also_sent_to);
}

bool codec_write_claim_reply(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(claim_reply, ClaimReply);

    (void)w;
    assert(in->n <= DTQI_BATCH_ENTRIES_MAX);
    out->request = in->request;
    FULL_COLUMN(in, out, kinds);
    return true;
}

bool codec_write_sink_heartbeat(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(sink_heartbeat, SinkHeartbeat);

    (void)w;
    out->session = in->session;
    out->sequence = in->sequence;
    out->full = in->full;
    return true;
}

/* ---- results */

bool codec_write_follow(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(follow, Follow);

    (void)w;
    out->reply_to = in->reply_to;
    return true;
}

bool codec_write_wait(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(wait, Wait);

    (void)w;
    out->request = in->request;
    out->ids = ids(in->ids, in->n);
    out->once = in->once;
    return true;
}

static bool write_results(struct codec_writer *w, const struct dtqi_results *in,
                          Dtq__V1__Results *out)
{
    out->sink = required_16(&in->sink);
    out->request = in->request;
    out->ids = ids(in->ids, in->n);
    COLUMN(in, out, kinds);
    COLUMN(in, out, attempts);
    COLUMN(in, out, reasons);
    COLUMN(in, out, codes);
    COLUMN(in, out, started_wall_ms);
    COLUMN(in, out, durations_us);
    COLUMN(in, out, committed_wall_ms);
    COLUMN(in, out, worker_index);
    COLUMN(in, out, name_index);
    COLUMN(in, out, queue_index);
    return strings(w, in->workers, in->workers_n, label, &out->workers, &out->n_workers) &&
           strings(w, in->names, in->names_n, name, &out->names, &out->n_names) &&
           strings(w, in->queues, in->queues_n, name, &out->queues, &out->n_queues) &&
           bodies(w, in->bodies, in->n, &out->lengths, &out->n_lengths);
}

bool codec_write_results(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    return write_results(w, &msg->results, to);
}

bool codec_write_results_query(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(results_query, ResultsQuery);

    assert(in->prefix_bits <= 128);
    out->request = in->request;
    out->after = ids(&in->after, in->has_after ? 1 : 0);
    out->limit = in->limit;
    out->state = in->state;
    out->prefix = (ProtobufCBinaryData){(in->prefix_bits + 7) / 8, codec_unconst(&in->prefix)};
    out->prefix_bits = in->prefix_bits;
    out->bodies = in->bodies;
    out->newest_first = in->newest_first;
    return name(w, in->queue, &out->queue) && name(w, in->name, &out->name);
}

bool codec_write_results_reply(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(results_reply, ResultsReply);
    Dtq__V1__Results *results = codec_scratch(w, 1, sizeof *results);

    out->request = in->request;
    out->next = ids(&in->next, in->has_next ? 1 : 0);
    out->held = in->held;
    out->refused = in->refused;
    if (results == NULL)
        return false;
    dtq__v1__results__init(results);
    w->inner = &results->base;
    return write_results(w, &in->results, results);
}

/* ---- operate and inspect */

bool codec_write_cancel(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(cancel, Cancel);

    out->request = in->request;
    out->ids = ids(in->ids, in->n);
    return name(w, in->queue, &out->queue);
}

bool codec_write_cancel_reply(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(cancel_reply, CancelReply);

    assert(in->n <= DTQI_BATCH_ENTRIES_MAX);
    out->request = in->request;
    FULL_COLUMN(in, out, states);
    FULL_COLUMN(in, out, cancelling);
    out->count = in->count;
    out->reason = (Dtq__V1__Refusal)in->reason;
    return text(w, in->text, &out->text);
}

bool codec_write_query(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(query, Query);

    assert(in->prefix_bits <= 128);
    out->request = in->request;
    out->kind = (Dtq__V1__QueryKind)in->kind;
    out->explain = in->explain;
    out->prefix = (ProtobufCBinaryData){(in->prefix_bits + 7) / 8, codec_unconst(&in->prefix)};
    out->prefix_bits = in->prefix_bits;
    out->state = in->state;
    out->limit = in->limit;
    out->after = slice(in->after);
    out->bodies = in->bodies;
    return name(w, in->queue, &out->queue) && name(w, in->cron, &out->cron);
}

bool codec_write_query_reply(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(query_reply, QueryReply);

    out->request = in->request;
    out->reason = (Dtq__V1__Refusal)in->reason;
    out->next = slice(in->next);
    return text(w, in->text, &out->text) && EACH(w, in, out, tasks, task_info, write_task_info) &&
           EACH(w, in, out, queues, queue_info, write_queue_info) &&
           EACH(w, in, out, workers, worker_info, write_worker_info) &&
           EACH(w, in, out, sinks, sink_info, write_sink_info) &&
           EACH(w, in, out, counters, counter, write_counter) &&
           EACH(w, in, out, attempts, attempt_info, write_attempt_info) &&
           EACH(w, in, out, crons, cron_info, write_cron_info);
}

bool codec_write_operate(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(operate, Operate);

    out->request = in->request;
    out->operation = (Dtq__V1__Operation)in->operation;
    out->number = in->number;
    out->ids = ids(in->ids, in->n);
    out->all = in->all;
    out->period_ms = in->period_ms;
    out->before_wall_ms = in->before_wall_ms;
    out->force = in->force;
    if (in->has_after)
        out->after = required_16(&in->after);
    if (in->cron != NULL && (out->cron = cron_entry(w, in->cron)) == NULL)
        return false;
    return endpoint(w, in->target, &out->target) && endpoint(w, in->destination, &out->destination);
}

bool codec_write_operate_reply(struct codec_writer *w, const struct dtqi_msg *msg, void *to)
{
    WRITE(operate_reply, OperateReply);

    out->request = in->request;
    out->reason = (Dtq__V1__Refusal)in->reason;
    out->count = in->count;
    out->ids = ids(in->ids, in->n);
    out->old_ids = ids(in->old_ids, in->old_ids != NULL ? in->n : 0);
    if (in->has_next)
        out->next = required_16(&in->next);
    return text(w, in->text, &out->text);
}
