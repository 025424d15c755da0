#include "codec_parts.h"

/*
 * Reading: every function below takes the generated struct of one type, checks its shape and fills
 * the message. Pointers go into the arena, where protobuf-c put the columns already; nothing is
 * copied again. A check that fails says so through codec_refuse() and returns false.
 */

/* ---- single fields */

static bool optional_16(struct codec_reader *r, const char *field, ProtobufCBinaryData in,
                        void *ret)
{
    if (in.len != 0 && in.len != 16)
        return codec_refuse(r, "%s has %zu bytes, not 16", field, in.len);
    if (in.len == 16)
        memcpy(ret, in.data, 16);
    return true;
}

static bool required_16(struct codec_reader *r, const char *field, ProtobufCBinaryData in,
                        void *ret)
{
    if (in.len != 16)
        return codec_refuse(r, "%s has %zu bytes, not 16", field, in.len);
    memcpy(ret, in.data, 16);
    return true;
}

static bool in_range(struct codec_reader *r, const char *field, uint64_t number, uint64_t max)
{
    if (number <= max)
        return true;
    return codec_refuse(r, "%s is %llu, more than %llu", field, (unsigned long long)number,
                        (unsigned long long)max);
}

static bool in_enum(struct codec_reader *r, const char *field, int32_t number, int32_t max)
{
    if (number >= 0 && number <= max)
        return true;
    return codec_refuse(r, "%s is %d, which stands for nothing", field, number);
}

static bool text_up_to(struct codec_reader *r, const char *field, const char *in, size_t max,
                       struct dtqi_str *ret)
{
    size_t len = strlen(in);

    if (len > max)
        return codec_refuse(r, "%s has %zu bytes, more than %zu", field, len, max);
    *ret = (struct dtqi_str){in, (uint32_t)len};
    return true;
}

/* Ours are cut to DTQI_TEXT_BYTES_MAX; others' clients may be more talkative. */
static bool text(struct codec_reader *r, const char *field, const char *in, struct dtqi_str *ret)
{
    return text_up_to(r, field, in, 16 * (size_t)DTQI_TEXT_BYTES_MAX, ret);
}

static bool endpoint(struct codec_reader *r, const char *field, const char *in,
                     struct dtqi_str *ret)
{
    return text_up_to(r, field, in, DTQI_ENDPOINT_BYTES_MAX, ret);
}

/* What a peer calls itself: printed in tables, so no control characters. */
static bool label(struct codec_reader *r, const char *field, const char *in, struct dtqi_str *ret)
{
    if (!text_up_to(r, field, in, DTQI_NAME_BYTES_MAX, ret))
        return false;
    for (uint32_t i = 0; i < ret->len; i++)
        if ((unsigned char)in[i] < 0x20 || in[i] == 0x7f)
            return codec_refuse(r, "%s holds a control character", field);
    return true;
}

static bool optional_name(struct codec_reader *r, const char *field, const char *in,
                          struct dtqi_str *ret)
{
    *ret = dtqi_str(in);
    if (ret->len == 0 || dtqi_is_name(*ret))
        return true;
    return codec_refuse(r, "%s is not a name", field);
}

/* ---- lists and columns */

static bool count(struct codec_reader *r, const char *field, size_t n, uint32_t *ret)
{
    if (n > DTQI_BATCH_ENTRIES_MAX)
        return codec_refuse(r, "%s has %zu entries, more than %u", field, n,
                            DTQI_BATCH_ENTRIES_MAX);
    *ret = (uint32_t)n;
    return true;
}

static bool ids(struct codec_reader *r, const char *field, ProtobufCBinaryData in,
                const dtq_id **ret_ids, uint32_t *ret_n)
{
    if (in.len % 16 != 0)
        return codec_refuse(r, "%s has %zu bytes, not a multiple of 16", field, in.len);
    if (!count(r, field, in.len / 16, ret_n))
        return false;
    *ret_ids = *ret_n != 0 ? (const dtq_id *)in.data : NULL;
    return true;
}

static bool uids(struct codec_reader *r, const char *field, const ProtobufCBinaryData *in,
                 size_t in_n, const dtqi_uid **ret, uint32_t *ret_n)
{
    dtqi_uid *list;

    if (!count(r, field, in_n, ret_n))
        return false;
    if (in_n == 0)
        return true;
    list = codec_room(r, in_n, sizeof *list);
    if (list == NULL)
        return false;
    for (size_t i = 0; i < in_n; i++)
        if (!required_16(r, field, in[i], &list[i]))
            return false;
    *ret = list;
    return true;
}

/* A list of strings, each read by `one`. */
static bool strings(struct codec_reader *r, const char *field, char *const *in, size_t in_n,
                    bool (*one)(struct codec_reader *, const char *, const char *,
                                struct dtqi_str *),
                    const struct dtqi_str **ret, uint32_t *ret_n)
{
    struct dtqi_str *list;

    if (!count(r, field, in_n, ret_n))
        return false;
    if (in_n == 0)
        return true;
    list = codec_room(r, in_n, sizeof *list);
    if (list == NULL)
        return false;
    for (size_t i = 0; i < in_n; i++)
        if (!one(r, field, in[i], &list[i]))
            return false;
    *ret = list;
    return true;
}

static bool is_column(struct codec_reader *r, const char *field, size_t have, uint32_t n)
{
    if (have == 0 || have == n)
        return true;
    return codec_refuse(r, "column %s has %zu entries for %u", field, have, n);
}

static bool is_full_column(struct codec_reader *r, const char *field, size_t have, uint32_t n)
{
    if (have == n)
        return true;
    return codec_refuse(r, "column %s has %zu entries for %u", field, have, n);
}

/* Columns keep their names from the schema to the message, so one word says it all. */
#define COLUMN(r, in, out, field)                       \
    (is_column(r, #field, (in)->n_##field, (out)->n) && \
     (((out)->field = (in)->n_##field != 0 ? (in)->field : NULL), true))
#define FULL_COLUMN(r, in, out, field)                       \
    (is_full_column(r, #field, (in)->n_##field, (out)->n) && \
     (((out)->field = (in)->n_##field != 0 ? (in)->field : NULL), true))

static bool range32(struct codec_reader *r, const char *field, const uint32_t *column, uint32_t n,
                    uint32_t min, uint32_t max)
{
    for (uint32_t i = 0; column != NULL && i < n; i++)
        if (column[i] < min || column[i] > max)
            return codec_refuse(r, "entry %u of column %s is %u, not %u to %u", i, field, column[i],
                                min, max);
    return true;
}

static bool range64(struct codec_reader *r, const char *field, const uint64_t *column, uint32_t n,
                    uint64_t max)
{
    for (uint32_t i = 0; column != NULL && i < n; i++)
        if (column[i] > max)
            return codec_refuse(r, "entry %u of column %s is %llu, more than %llu", i, field,
                                (unsigned long long)column[i], (unsigned long long)max);
    return true;
}

/* Every entry of the batch refers to an entry of a dictionary, by default to the first. */
static bool indexes(struct codec_reader *r, const char *field, const uint32_t *column, uint32_t n,
                    uint32_t dictionary_n)
{
    if (n == 0)
        return true;
    if (dictionary_n == 0)
        return codec_refuse(r, "%s refers to an empty list", field);
    return range32(r, field, column, n, 0, dictionary_n - 1);
}

static bool fits_batch(struct codec_reader *r, const char *field, uint32_t dictionary_n, uint32_t n)
{
    if (dictionary_n <= n)
        return true;
    return codec_refuse(r, "%s lists %u for %u entries", field, dictionary_n, n);
}

static bool slices(struct codec_reader *r, const uint32_t *lengths, size_t lengths_n,
                   ProtobufCBinaryData bodies, uint32_t n, const struct dtqi_slice **ret)
{
    struct dtqi_slice *list;
    uint64_t at = 0;

    if (!is_column(r, "lengths", lengths_n, n))
        return false;
    if (n == 0 && bodies.len != 0)
        return codec_refuse(r, "bodies of no entries");
    if (n == 0)
        return true;
    list = codec_room(r, n, sizeof *list);
    if (list == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t len = lengths_n != 0 ? lengths[i] : 0;

        if (len > bodies.len - at)
            return codec_refuse(r, "entry %u of lengths goes past the end of bodies", i);
        list[i] = (struct dtqi_slice){len != 0 ? bodies.data + at : NULL, len};
        at += len;
    }
    if (at != bodies.len)
        return codec_refuse(r, "lengths add up to %llu bytes, bodies has %zu",
                            (unsigned long long)at, bodies.len);
    *ret = list;
    return true;
}

typedef bool read_spec(struct codec_reader *r, struct dtqi_slice raw, struct dtqi_spec *ret);

static bool specs(struct codec_reader *r, const ProtobufCBinaryData *in, size_t in_n, uint32_t n,
                  read_spec *read, const struct dtqi_spec **ret, uint32_t *ret_n)
{
    struct dtqi_spec *list;

    if (!count(r, "specs", in_n, ret_n) || !fits_batch(r, "specs", *ret_n, n))
        return false;
    if (in_n == 0)
        return true;
    list = codec_room(r, in_n, sizeof *list);
    if (list == NULL)
        return false;
    for (size_t i = 0; i < in_n; i++) {
        if (in[i].len > DTQI_SPEC_BYTES_MAX)
            return codec_refuse(r, "spec %zu has %zu bytes", i, in[i].len);
        if (!read(r, (struct dtqi_slice){in[i].data, (uint32_t)in[i].len}, &list[i]))
            return false;
    }
    *ret = list;
    return true;
}

static bool prefix(struct codec_reader *r, ProtobufCBinaryData in, uint32_t bits, dtq_id *ret)
{
    if (bits > 128 || in.len > 16 || in.len * 8 < bits)
        return codec_refuse(r, "prefix has %zu bytes for %u bits", in.len, bits);
    *ret = (dtq_id){{0}};
    if (in.len != 0)
        memcpy(ret->bytes, in.data, in.len);
    for (uint32_t i = bits; i < 128; i++)
        ret->bytes[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
    return true;
}

static bool cursor(struct codec_reader *r, const char *field, ProtobufCBinaryData in,
                   struct dtqi_slice *ret)
{
    if (in.len > 512)
        return codec_refuse(r, "%s has %zu bytes, more than 512", field, in.len);
    *ret = (struct dtqi_slice){in.len != 0 ? in.data : NULL, (uint32_t)in.len};
    return true;
}

static bool optional_id(struct codec_reader *r, const char *field, ProtobufCBinaryData in,
                        bool *ret_has, dtq_id *ret)
{
    *ret_has = in.len != 0;
    return optional_16(r, field, in, ret);
}

/* ---- sub-messages */

typedef bool read_one(struct codec_reader *r, const void *from, void *to);

/* Reads each of a list of sub-messages with `one`. @return the list, NULL when it is empty or when
 * r->err is set. */
static void *each(struct codec_reader *r, const char *field, size_t in_n, void *in,
                  size_t object_bytes, read_one *one, uint32_t *ret_n)
{
    void *const *from = in;
    char *list;

    if (!count(r, field, in_n, ret_n) || in_n == 0)
        return NULL;
    list = codec_room(r, in_n, object_bytes);
    for (size_t i = 0; list != NULL && i < in_n; i++)
        if (!one(r, from[i], list + i * object_bytes))
            return NULL;
    return list;
}

/* The columns of these lists have the same name on both sides, too. */
#define EACH(r, in, out, field, one)                                                         \
    ((out)->field = each(r, #field, (in)->n_##field, (in)->field, sizeof *(out)->field, one, \
                         &(out)->field##_n),                                                 \
     (r)->err == DTQ_OK)

static bool read_sink_info(struct codec_reader *r, const void *from, void *to)
{
    const Dtq__V1__SinkInfo *in = from;
    struct dtqi_sink_info *out = to;

    *out = (struct dtqi_sink_info){
        .reachable = in->reachable != 0,
        .diverged = in->diverged != 0,
        .full = in->full != 0,
        .removed = in->removed != 0,
        .waiting_is_least = in->waiting_is_least != 0,
        .applied = in->applied,
        .waiting = in->waiting,
        .dispatched = in->dispatched,
        .unsettled = in->unsettled,
    };
    return required_16(r, "a sink's store", in->store, &out->store) &&
           endpoint(r, "a sink's intake", in->intake, &out->intake) &&
           endpoint(r, "a sink's results", in->results, &out->results);
}

static bool read_failure(struct codec_reader *r, const void *from, void *to)
{
    const Dtq__V1__Failure *in = from;
    struct dtqi_failure *out = to;

    *out = (struct dtqi_failure){
        .epoch = in->epoch,
        .attempt = in->attempt,
        .reason = (dtq_reason)in->reason,
        .code = in->code,
        .started_wall_ms = in->started_wall_ms,
        .duration_us = in->duration_us,
        .no_retry = in->no_retry != 0,
        .retry_after_ms = in->retry_after_ms,
    };
    return required_16(r, "a failure's id", in->id, &out->id) &&
           in_enum(r, "a failure's reason", in->reason, DTQ_REASON_BAD_ENTRY) &&
           in_range(r, "started_wall_ms", in->started_wall_ms, DTQI_WALL_MS_MAX) &&
           in_range(r, "retry_after_ms", in->retry_after_ms, DTQI_DURATION_MS_MAX) &&
           text(r, "a failure's text", in->text, &out->text);
}

static bool read_attempt_info(struct codec_reader *r, const void *from, void *to)
{
    const Dtq__V1__AttemptInfo *in = from;
    struct dtqi_attempt_info *out = to;

    *out = (struct dtqi_attempt_info){
        .attempt = in->attempt,
        .started_wall_ms = in->started_wall_ms,
        .duration_us = in->duration_us,
        .reason = (dtq_reason)in->reason,
        .code = in->code,
    };
    return in_enum(r, "an attempt's reason", in->reason, DTQ_REASON_BAD_ENTRY) &&
           label(r, "an attempt's worker", in->worker, &out->worker) &&
           text(r, "an attempt's text", in->text, &out->text);
}

static bool read_task_info(struct codec_reader *r, const void *from, void *to)
{
    const Dtq__V1__TaskInfo *in = from;
    struct dtqi_task_info *out = to;

    *out = (struct dtqi_task_info){
        .state = (dtq_state)in->state,
        .attempt = in->attempt,
        .failures = in->failures,
        .crashes = in->crashes,
        .due_wall_ms = in->due_wall_ms,
        .payload_bytes = in->payload_bytes,
        .cancelling = in->cancelling != 0,
        .durable = in->durable != 0,
        .before = in->before,
        .before_is_least = in->before_is_least != 0,
        .dead_wall_ms = in->dead_wall_ms,
        .reason = (dtq_reason)in->reason,
        .code = in->code,
        .payload = {in->payload.data, (uint32_t)in->payload.len},
    };
    if (in->spec.len > DTQI_SPEC_BYTES_MAX)
        return codec_refuse(r, "a task's spec has %zu bytes", in->spec.len);
    return required_16(r, "a task's id", in->id, &out->id) &&
           codec_read_spec(r, (struct dtqi_slice){in->spec.data, (uint32_t)in->spec.len},
                           &out->spec) &&
           in_enum(r, "a task's state", in->state, DTQ_CANCELLED) &&
           in_range(r, "due_wall_ms", in->due_wall_ms, DTQI_WALL_MS_MAX) &&
           label(r, "a task's worker", in->worker, &out->worker) &&
           optional_16(r, "a task's sink", in->sink, &out->sink) &&
           in_enum(r, "a task's reason", in->reason, DTQ_REASON_BAD_ENTRY) &&
           in_range(r, "dead_wall_ms", in->dead_wall_ms, DTQI_WALL_MS_MAX) &&
           text(r, "a task's error", in->error, &out->error) &&
           text(r, "why", in->why, &out->why) && EACH(r, in, out, attempts, read_attempt_info);
}

static bool read_queue_info(struct codec_reader *r, const void *from, void *to)
{
    const Dtq__V1__QueueInfo *in = from;
    struct dtqi_queue_info *out = to;

    *out = (struct dtqi_queue_info){
        .ready = in->ready,
        .scheduled = in->scheduled,
        .dispatched = in->dispatched,
        .bytes = in->bytes,
        .paused = in->paused != 0,
        .workers = in->workers,
        .oldest_wall_ms = in->oldest_wall_ms,
        .limit = in->limit,
        .rate = in->rate,
        .rate_period_ms = in->rate_period_ms,
        .groups = in->groups,
        .group_limit = in->group_limit,
        .group_rate = in->group_rate,
        .group_rate_period_ms = in->group_rate_period_ms,
        .ageing_ms = in->ageing_ms,
        .ending = in->ending,
    };
    return optional_name(r, "a queue's name", in->name, &out->name);
}

static bool read_cron_entry(struct codec_reader *r, const Dtq__V1__CronEntry *in, bool foreign,
                            struct dtqi_cron_entry *out)
{
    struct dtqi_slice spec = {in->spec.data, (uint32_t)in->spec.len};

    *out = (struct dtqi_cron_entry){
        .every_ms = in->every_ms,
        .missed = (uint32_t)in->missed,
        .missed_max = in->missed_max,
        .skip_overlap = in->skip_overlap != 0,
        .delay_ms = in->delay_ms,
        .payload = {in->payload.data, (uint32_t)in->payload.len},
        .replace = in->replace != 0,
    };
    if (in->spec.len > DTQI_SPEC_BYTES_MAX)
        return codec_refuse(r, "a cron entry's spec has %zu bytes", in->spec.len);
    return text_up_to(r, "expression", in->expression, DTQI_CRON_TEXT_BYTES_MAX,
                      &out->expression) &&
           text_up_to(r, "zone", in->zone, DTQI_CRON_TEXT_BYTES_MAX, &out->zone) &&
           in_range(r, "every_ms", in->every_ms, DTQI_DURATION_MS_MAX) &&
           in_range(r, "delay_ms", in->delay_ms, DTQI_DURATION_MS_MAX) &&
           in_enum(r, "missed", in->missed, DTQI_MISSED_ALL) &&
           (foreign ? codec_read_foreign_spec(r, spec, &out->spec)
                    : codec_read_spec(r, spec, &out->spec));
}

static bool read_cron_info(struct codec_reader *r, const void *from, void *to)
{
    const Dtq__V1__CronInfo *in = from;
    struct dtqi_cron_info *out = to;

    *out = (struct dtqi_cron_info){
        .payload_bytes = in->payload_bytes,
        .paused = in->paused != 0,
        .next_wall_ms = in->next_wall_ms,
        .due_wall_ms = in->due_wall_ms,
        .fired_wall_ms = in->fired_wall_ms,
        .fired = in->fired,
        .missed = in->missed,
        .skipped = in->skipped,
        .created_wall_ms = in->created_wall_ms,
    };
    if (in->entry == NULL)
        return codec_refuse(r, "a cron entry is empty");
    return optional_name(r, "a cron entry's name", in->name, &out->name) &&
           optional_16(r, "last_id", in->last_id, &out->last_id) &&
           text(r, "why", in->why, &out->why) && read_cron_entry(r, in->entry, false, &out->entry);
}

static bool read_worker_info(struct codec_reader *r, const void *from, void *to)
{
    const Dtq__V1__WorkerInfo *in = from;
    struct dtqi_worker_info *out = to;

    *out = (struct dtqi_worker_info){
        .session = in->session,
        .slots = in->slots,
        .held = in->held,
        .running = in->running,
        .credit = in->credit,
        .done = in->done,
        .failed = in->failed,
        .silent_ms = in->silent_ms,
    };
    return label(r, "a worker's name", in->name, &out->name) &&
           required_16(r, "a worker's instance", in->instance, &out->instance) &&
           label(r, "a worker's program", in->program, &out->program) &&
           strings(r, "a worker's queues", in->queues, in->n_queues, optional_name, &out->queues,
                   &out->queues_n);
}

static bool read_counter(struct codec_reader *r, const void *from, void *to)
{
    const Dtq__V1__Counter *in = from;
    struct dtqi_counter *out = to;

    *out = (struct dtqi_counter){.value = in->value};
    return label(r, "a counter's name", in->name, &out->name);
}

/* ---- sessions */

#define READ(member, type)            \
    const Dtq__V1__##type *in = from; \
    __typeof__(msg->member) *out = &msg->member

bool codec_read_hello(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(hello, Hello);

    out->version_min = in->version_min;
    out->version_max = in->version_max;
    out->role = (enum dtqi_role)in->role;
    out->slots = in->slots;
    out->previous_session = in->previous_session;
    out->holdings = in->holdings;
    out->result_max_bytes = in->result_max_bytes;
    out->outcome_memory_ms = in->outcome_memory_ms;
    out->queues_strict = in->queues_strict != 0;
    out->queue_weights = in->n_queue_weights != 0 ? in->queue_weights : NULL;
    return in_enum(r, "role", in->role, DTQI_ROLE_SINK) &&
           required_16(r, "instance", in->instance, &out->instance) &&
           label(r, "name", in->name, &out->name) &&
           label(r, "program", in->program, &out->program) &&
           strings(r, "queues", in->queues, in->n_queues, optional_name, &out->queues,
                   &out->queues_n) &&
           is_column(r, "queue_weights", in->n_queue_weights, out->queues_n) &&
           range32(r, "queue_weights", out->queue_weights, out->queues_n, 1,
                   DTQI_QUEUE_WEIGHT_MAX) &&
           optional_16(r, "store", in->store, &out->store) &&
           optional_16(r, "run", in->run, &out->run) &&
           endpoint(r, "intake", in->intake, &out->intake) &&
           endpoint(r, "results", in->results, &out->results) &&
           in_range(r, "outcome_memory_ms", in->outcome_memory_ms, DTQI_DURATION_MS_MAX);
}

static bool removed(struct codec_reader *r, const ProtobufCBinaryData *stores, size_t n,
                    const ProtobufCBinaryData *successors, size_t successors_n,
                    struct dtqi_removed *ret)
{
    uint32_t m;

    if (!uids(r, "removed_sinks", stores, n, &ret->stores, &ret->n) ||
        !uids(r, "successors", successors, successors_n, &ret->successors, &m))
        return false;
    return m == ret->n || codec_refuse(r, "successors has %u entries, not %u", m, ret->n);
}

#define REMOVED(r, in, ret)                                                                      \
    removed(r, (in)->removed_sinks, (in)->n_removed_sinks, (in)->successors, (in)->n_successors, \
            ret)

bool codec_read_welcome(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(welcome, Welcome);

    out->version = in->version;
    out->epoch = in->epoch;
    out->session = in->session;
    out->wall_ms = in->wall_ms;
    out->heartbeat_ms = in->heartbeat_ms;
    out->liveness = in->liveness;
    out->task_bytes_max = in->task_bytes_max;
    out->result_bytes_max = in->result_bytes_max;
    out->dedupe_window_ms = in->dedupe_window_ms;
    out->outcome_fence_ms = in->outcome_fence_ms;
    return required_16(r, "store", in->store, &out->store) &&
           in_range(r, "wall_ms", in->wall_ms, DTQI_WALL_MS_MAX) &&
           in_range(r, "heartbeat_ms", in->heartbeat_ms, DTQI_DURATION_MS_MAX) &&
           in_range(r, "liveness", in->liveness, 1000) &&
           in_range(r, "dedupe_window_ms", in->dedupe_window_ms, DTQI_DURATION_MS_MAX) &&
           in_range(r, "outcome_fence_ms", in->outcome_fence_ms, DTQI_DURATION_MS_MAX) &&
           endpoint(r, "lane", in->lane, &out->lane) && EACH(r, in, out, sinks, read_sink_info) &&
           REMOVED(r, in, &out->removed);
}

bool codec_read_refused(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(refused, Refused);

    out->reason = (enum dtqi_refusal)in->reason;
    out->version_min = in->version_min;
    out->version_max = in->version_max;
    return in_enum(r, "reason", in->reason, DTQI_BAD_PEER) && text(r, "text", in->text, &out->text);
}

bool codec_read_unknown_session(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(unknown_session, UnknownSession);

    (void)r;
    out->session = in->session;
    return true;
}

bool codec_read_bye(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(bye, Bye);

    out->session = in->session;
    return ids(r, "abandoned_ids", in->abandoned_ids, &out->abandoned_ids, &out->abandoned_n);
}

bool codec_read_sinks(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(sinks, Sinks);

    out->session = in->session;
    return EACH(r, in, out, sinks, read_sink_info) && REMOVED(r, in, &out->removed);
}

/* ---- submit */

static uint64_t magnitude(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

bool codec_read_submit(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(submit, Submit);

    out->request = in->request;
    out->resend = in->resend != 0;
    out->reply_to = in->reply_to;
    out->id_clock_ms = in->id_clock_ms;
    return ids(r, "ids", in->ids, &out->ids, &out->n) &&
           required_16(r, "sink", in->sink, &out->sink) &&
           specs(r, in->specs, in->n_specs, out->n, codec_read_foreign_spec, &out->specs,
                 &out->specs_n) &&
           COLUMN(r, in, out, spec_index) &&
           indexes(r, "spec_index", out->spec_index, out->n, out->specs_n) &&
           COLUMN(r, in, out, not_before_wall_ms) &&
           range64(r, "not_before_wall_ms", out->not_before_wall_ms, out->n, DTQI_WALL_MS_MAX) &&
           COLUMN(r, in, out, delay_ms) &&
           range64(r, "delay_ms", out->delay_ms, out->n, DTQI_DURATION_MS_MAX) &&
           in_range(r, "id_clock_ms", magnitude(in->id_clock_ms), DTQI_WALL_MS_MAX) &&
           uids(r, "also_sent_to", in->also_sent_to, in->n_also_sent_to, &out->also_sent_to,
                &out->also_sent_to_n) &&
           slices(r, in->lengths, in->n_lengths, in->bodies, out->n, &out->bodies);
}

bool codec_read_submitted(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(submitted, Submitted);
    uint32_t texts;

    out->request = in->request;
    if (!count(r, "refused_index", in->n_refused_index, &out->refused_n))
        return false;
    out->refused_index = in->n_refused_index != 0 ? in->refused_index : NULL;
    out->refused_reason = in->n_refused_index != 0 ? in->refused_reason : NULL;
    out->same_index = in->n_same_index != 0 ? in->same_index : NULL;
    return ids(r, "same_ids", in->same_ids, &out->same_ids, &out->same_n) &&
           is_full_column(r, "same_index", in->n_same_index, out->same_n) &&
           range32(r, "same_index", out->same_index, out->same_n, 0, DTQI_BATCH_ENTRIES_MAX - 1) &&
           is_full_column(r, "refused_reason", in->n_refused_reason, out->refused_n) &&
           is_full_column(r, "refused_text", in->n_refused_text, out->refused_n) &&
           range32(r, "refused_index", out->refused_index, out->refused_n, 0,
                   DTQI_BATCH_ENTRIES_MAX - 1) &&
           range32(r, "refused_reason", out->refused_reason, out->refused_n, DTQI_BUSY,
                   DTQI_BAD_PEER) &&
           strings(r, "refused_text", in->refused_text, in->n_refused_text, text,
                   &out->refused_text, &texts);
}

/* ---- dispatch */

bool codec_read_tasks(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(tasks, Tasks);

    out->session = in->session;
    out->lane_seq = in->lane_seq;
    return ids(r, "ids", in->ids, &out->ids, &out->n) && FULL_COLUMN(r, in, out, tickets) &&
           COLUMN(r, in, out, attempts) &&
           specs(r, in->specs, in->n_specs, out->n, codec_read_spec, &out->specs, &out->specs_n) &&
           COLUMN(r, in, out, spec_index) &&
           indexes(r, "spec_index", out->spec_index, out->n, out->specs_n) &&
           COLUMN(r, in, out, expires_in_ms) &&
           range64(r, "expires_in_ms", out->expires_in_ms, out->n, DTQI_DURATION_MS_MAX) &&
           uids(r, "sinks", in->sinks, in->n_sinks, &out->sinks, &out->sinks_n) &&
           fits_batch(r, "sinks", out->sinks_n, out->n) && COLUMN(r, in, out, sink_index) &&
           indexes(r, "sink_index", out->sink_index, out->n, out->sinks_n) &&
           COLUMN(r, in, out, reply_to) &&
           slices(r, in->lengths, in->n_lengths, in->bodies, out->n, &out->bodies);
}

bool codec_read_worker_heartbeat(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(worker_heartbeat, WorkerHeartbeat);

    out->session = in->session;
    out->sequence = in->sequence;
    out->lane_seq = in->lane_seq;
    out->report_seq = in->report_seq;
    out->credit_tasks = in->credit_tasks;
    out->credit_bytes = in->credit_bytes;
    out->held = in->held;
    out->held_sum = in->held_sum;
    return ids(r, "running_ids", in->running_ids, &out->running_ids, &out->running_n) &&
           uids(r, "unreachable_sinks", in->unreachable_sinks, in->n_unreachable_sinks,
                &out->unreachable_sinks, &out->unreachable_n);
}

bool codec_read_ventilator_heartbeat(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(ventilator_heartbeat, VentilatorHeartbeat);

    out->session = in->session;
    out->echo = in->echo;
    out->report_seq = in->report_seq;
    out->lane_seq = in->lane_seq;
    out->backlog = in->backlog;
    out->wall_ms = in->wall_ms;
    return in_range(r, "wall_ms", in->wall_ms, DTQI_WALL_MS_MAX);
}

bool codec_read_report(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(report, Report);

    out->session = in->session;
    out->report_seq = in->report_seq;
    out->credit_tasks = in->credit_tasks;
    out->credit_bytes = in->credit_bytes;
    out->done_tickets = in->n_done_tickets != 0 ? in->done_tickets : NULL;
    return count(r, "done_tickets", in->n_done_tickets, &out->done_n) &&
           EACH(r, in, out, failures, read_failure) &&
           ids(r, "returned_ids", in->returned_ids, &out->returned_ids, &out->returned_n) &&
           ids(r, "stopped_ids", in->stopped_ids, &out->stopped_ids, &out->stopped_n) &&
           ids(r, "started_ids", in->started_ids, &out->started_ids, &out->started_n);
}

bool codec_read_forget(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(forget, Forget);

    out->session = in->session;
    out->epoch = in->epoch;
    return ids(r, "ids", in->ids, &out->ids, &out->n) && COLUMN(r, in, out, attempts);
}

bool codec_read_recall(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(recall, Recall);

    (void)r;
    out->session = in->session;
    out->count = in->count;
    return true;
}

bool codec_read_resend(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(resend, Resend);

    out->session = in->session;
    return ids(r, "ids", in->ids, &out->ids, &out->n);
}

bool codec_read_stop_attempts(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(stop_attempts, StopAttempts);

    out->session = in->session;
    return ids(r, "ids", in->ids, &out->ids, &out->n);
}

/* One failure for each entry that failed, in order: the same id and attempt. */
static bool failures_match(struct codec_reader *r, const struct dtqi_holdings *h)
{
    uint32_t next = 0;

    for (uint32_t i = 0; i < h->n; i++) {
        if (dtqi_col32(h->states, i, DTQI_WAITING) != DTQI_HELD_FAILED)
            continue;
        if (next == h->failures_n)
            return codec_refuse(r, "entry %u failed, but there are %u failures", i, next);
        if (!dtqi_id_eq(&h->failures[next].id, &h->ids[i]))
            return codec_refuse(r, "failure %u is not that of entry %u", next, i);
        next++;
    }
    if (next != h->failures_n)
        return codec_refuse(r, "%u failures for %u failed entries", h->failures_n, next);
    return true;
}

bool codec_read_holdings(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(holdings, Holdings);

    out->session = in->session;
    out->last = in->last != 0;
    return ids(r, "ids", in->ids, &out->ids, &out->n) && FULL_COLUMN(r, in, out, epochs) &&
           FULL_COLUMN(r, in, out, attempts) && COLUMN(r, in, out, states) &&
           range32(r, "states", out->states, out->n, 0, DTQI_HELD_FAILED) &&
           EACH(r, in, out, failures, read_failure) && failures_match(r, out);
}

bool codec_read_holdings_wanted(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(holdings_wanted, HoldingsWanted);

    (void)r;
    out->session = in->session;
    return true;
}

bool codec_read_verdicts(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(verdicts, Verdicts);

    out->session = in->session;
    return ids(r, "ids", in->ids, &out->ids, &out->n) && FULL_COLUMN(r, in, out, epochs) &&
           FULL_COLUMN(r, in, out, attempts) && COLUMN(r, in, out, verdicts) &&
           range32(r, "verdicts", out->verdicts, out->n, 0, DTQI_VERDICT_STALE) &&
           COLUMN(r, in, out, tickets);
}

/* ---- outcomes and settlement */

bool codec_read_outcomes(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(outcomes, Outcomes);

    out->epoch = in->epoch;
    out->heard_wall_ms = in->heard_wall_ms;
    return required_16(r, "ventilator", in->ventilator, &out->ventilator) &&
           required_16(r, "instance", in->instance, &out->instance) &&
           required_16(r, "sink", in->sink, &out->sink) &&
           label(r, "worker", in->worker, &out->worker) &&
           in_range(r, "heard_wall_ms", in->heard_wall_ms, DTQI_WALL_MS_MAX) &&
           ids(r, "ids", in->ids, &out->ids, &out->n) && COLUMN(r, in, out, tickets) &&
           COLUMN(r, in, out, attempts) && COLUMN(r, in, out, kinds) &&
           range32(r, "kinds", out->kinds, out->n, DTQ_SUCCEEDED, DTQ_CANCELLED) &&
           specs(r, in->specs, in->n_specs, out->n, codec_read_spec, &out->specs, &out->specs_n) &&
           COLUMN(r, in, out, spec_index) &&
           indexes(r, "spec_index", out->spec_index, out->n, out->specs_n) &&
           COLUMN(r, in, out, reply_to) && COLUMN(r, in, out, started_wall_ms) &&
           range64(r, "started_wall_ms", out->started_wall_ms, out->n, DTQI_WALL_MS_MAX) &&
           COLUMN(r, in, out, durations_us) && COLUMN(r, in, out, reasons) &&
           range32(r, "reasons", out->reasons, out->n, 0, DTQ_REASON_BAD_ENTRY) &&
           COLUMN(r, in, out, codes) &&
           slices(r, in->lengths, in->n_lengths, in->bodies, out->n, &out->bodies);
}

bool codec_read_resume(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(resume, Resume);

    out->after = in->after;
    return required_16(r, "store", in->store, &out->store) &&
           optional_16(r, "run", in->run, &out->run);
}

bool codec_read_settled(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(settled, Settled);

    out->number_first = in->number_first;
    out->number_head = in->number_head;
    out->diverged = in->diverged;
    out->number_dropped = in->number_dropped;
    if (in->number_first > UINT64_MAX - DTQI_BATCH_ENTRIES_MAX)
        return codec_refuse(r, "number_first is out of range");
    return required_16(r, "sink", in->sink, &out->sink) &&
           required_16(r, "run", in->run, &out->run) &&
           ids(r, "ids", in->ids, &out->ids, &out->n) && COLUMN(r, in, out, kinds) &&
           range32(r, "kinds", out->kinds, out->n, DTQ_SUCCEEDED, DTQ_CANCELLED) &&
           COLUMN(r, in, out, tickets);
}

bool codec_read_settled_ack(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(settled_ack, SettledAck);

    out->number = in->number;
    return required_16(r, "store", in->store, &out->store);
}

bool codec_read_claim(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(claim, Claim);

    out->request = in->request;
    return required_16(r, "store", in->store, &out->store) &&
           ids(r, "ids", in->ids, &out->ids, &out->n) &&
           uids(r, "also_sent_to", in->also_sent_to, in->n_also_sent_to, &out->also_sent_to,
                &out->also_sent_to_n);
}

bool codec_read_claim_reply(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(claim_reply, ClaimReply);

    out->request = in->request;
    out->kinds = in->n_kinds != 0 ? in->kinds : NULL;
    return count(r, "kinds", in->n_kinds, &out->n) &&
           range32(r, "kinds", out->kinds, out->n, 0, DTQ_CANCELLED);
}

bool codec_read_sink_heartbeat(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(sink_heartbeat, SinkHeartbeat);

    (void)r;
    out->session = in->session;
    out->sequence = in->sequence;
    out->full = in->full != 0;
    return true;
}

/* ---- results */

bool codec_read_follow(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(follow, Follow);

    (void)r;
    out->reply_to = in->reply_to;
    return true;
}

bool codec_read_wait(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(wait, Wait);

    out->request = in->request;
    out->once = in->once != 0;
    return ids(r, "ids", in->ids, &out->ids, &out->n);
}

/* A dictionary of the results may be empty, when nothing is known; then there are no indexes. */
static bool optional_indexes(struct codec_reader *r, const char *field, const uint32_t *column,
                             uint32_t n, uint32_t dictionary_n)
{
    if (!fits_batch(r, field, dictionary_n, n))
        return false;
    if (dictionary_n == 0 && column == NULL)
        return true;
    return indexes(r, field, column, n, dictionary_n);
}

static bool read_results(struct codec_reader *r, const Dtq__V1__Results *in,
                         struct dtqi_results *out)
{
    out->request = in->request;
    return required_16(r, "sink", in->sink, &out->sink) &&
           ids(r, "ids", in->ids, &out->ids, &out->n) && COLUMN(r, in, out, kinds) &&
           range32(r, "kinds", out->kinds, out->n, 0, DTQ_CANCELLED) &&
           COLUMN(r, in, out, attempts) && COLUMN(r, in, out, reasons) &&
           range32(r, "reasons", out->reasons, out->n, 0, DTQ_REASON_BAD_ENTRY) &&
           COLUMN(r, in, out, codes) && COLUMN(r, in, out, started_wall_ms) &&
           COLUMN(r, in, out, durations_us) && COLUMN(r, in, out, committed_wall_ms) &&
           strings(r, "workers", in->workers, in->n_workers, label, &out->workers,
                   &out->workers_n) &&
           COLUMN(r, in, out, worker_index) &&
           optional_indexes(r, "worker_index", out->worker_index, out->n, out->workers_n) &&
           strings(r, "names", in->names, in->n_names, optional_name, &out->names, &out->names_n) &&
           COLUMN(r, in, out, name_index) &&
           optional_indexes(r, "name_index", out->name_index, out->n, out->names_n) &&
           strings(r, "queues", in->queues, in->n_queues, optional_name, &out->queues,
                   &out->queues_n) &&
           COLUMN(r, in, out, queue_index) &&
           optional_indexes(r, "queue_index", out->queue_index, out->n, out->queues_n) &&
           slices(r, in->lengths, in->n_lengths, in->bodies, out->n, &out->bodies);
}

bool codec_read_results(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    return read_results(r, from, &msg->results);
}

bool codec_read_results_query(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(results_query, ResultsQuery);

    out->request = in->request;
    out->limit = in->limit;
    out->state = in->state;
    out->prefix_bits = in->prefix_bits;
    out->bodies = in->bodies != 0;
    out->newest_first = in->newest_first != 0;
    return optional_id(r, "after", in->after, &out->has_after, &out->after) &&
           in_range(r, "state", in->state, DTQ_CANCELLED) &&
           optional_name(r, "queue", in->queue, &out->queue) &&
           optional_name(r, "name", in->name, &out->name) &&
           prefix(r, in->prefix, in->prefix_bits, &out->prefix);
}

bool codec_read_results_reply(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(results_reply, ResultsReply);

    out->request = in->request;
    out->held = in->held;
    out->refused = in->refused;
    return optional_id(r, "next", in->next, &out->has_next, &out->next) &&
           (in->results == NULL || read_results(r, in->results, &out->results));
}

/* ---- operate and inspect */

bool codec_read_cancel(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(cancel, Cancel);

    out->request = in->request;
    return ids(r, "ids", in->ids, &out->ids, &out->n) &&
           optional_name(r, "queue", in->queue, &out->queue);
}

bool codec_read_cancel_reply(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(cancel_reply, CancelReply);

    out->request = in->request;
    out->count = in->count;
    out->reason = (enum dtqi_refusal)in->reason;
    return in_enum(r, "reason", in->reason, DTQI_BAD_PEER) &&
           text(r, "text", in->text, &out->text) && count(r, "states", in->n_states, &out->n) &&
           FULL_COLUMN(r, in, out, states) &&
           range32(r, "states", out->states, out->n, 0, DTQ_CANCELLED) &&
           FULL_COLUMN(r, in, out, cancelling) &&
           range32(r, "cancelling", out->cancelling, out->n, 0, 1);
}

static bool in_query_kind(struct codec_reader *r, int kind)
{
    return kind == DTQI_QUERY_DEAD || kind == DTQI_QUERY_ATTEMPTS || kind == DTQI_QUERY_CRON ||
           in_enum(r, "kind", kind, DTQI_QUERY_SINKS);
}

bool codec_read_query(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(query, Query);

    out->request = in->request;
    out->kind = (enum dtqi_query_kind)in->kind;
    out->explain = in->explain != 0;
    out->prefix_bits = in->prefix_bits;
    out->state = in->state;
    out->limit = in->limit;
    out->bodies = in->bodies != 0;
    return in_query_kind(r, in->kind) && in_range(r, "state", in->state, DTQ_CANCELLED) &&
           prefix(r, in->prefix, in->prefix_bits, &out->prefix) &&
           optional_name(r, "queue", in->queue, &out->queue) &&
           optional_name(r, "cron", in->cron, &out->cron) &&
           cursor(r, "after", in->after, &out->after);
}

bool codec_read_query_reply(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(query_reply, QueryReply);

    out->request = in->request;
    out->reason = (enum dtqi_refusal)in->reason;
    return in_enum(r, "reason", in->reason, DTQI_BAD_PEER) &&
           text(r, "text", in->text, &out->text) && EACH(r, in, out, tasks, read_task_info) &&
           EACH(r, in, out, queues, read_queue_info) &&
           EACH(r, in, out, workers, read_worker_info) && EACH(r, in, out, sinks, read_sink_info) &&
           EACH(r, in, out, counters, read_counter) &&
           EACH(r, in, out, attempts, read_attempt_info) &&
           EACH(r, in, out, crons, read_cron_info) && cursor(r, "next", in->next, &out->next);
}

static bool optional_cron(struct codec_reader *r, const Dtq__V1__CronEntry *in,
                          const struct dtqi_cron_entry **ret)
{
    struct dtqi_cron_entry *entry;

    if (in == NULL)
        return true;
    entry = codec_room(r, 1, sizeof *entry);
    if (entry == NULL)
        return false;
    *ret = entry;
    return read_cron_entry(r, in, true, entry);
}

bool codec_read_operate(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(operate, Operate);

    out->request = in->request;
    out->operation = (uint32_t)in->operation; /* any: one that is not known is answered */
    out->number = in->number;
    out->all = in->all != 0;
    out->period_ms = in->period_ms;
    out->before_wall_ms = in->before_wall_ms;
    out->force = in->force != 0;
    return optional_id(r, "after", in->after, &out->has_after, &out->after) &&
           text_up_to(r, "target", in->target, DTQI_ENDPOINT_BYTES_MAX, &out->target) &&
           text_up_to(r, "destination", in->destination, DTQI_ENDPOINT_BYTES_MAX,
                      &out->destination) &&
           ids(r, "ids", in->ids, &out->ids, &out->n) && optional_cron(r, in->cron, &out->cron);
}

static bool old_ids(struct codec_reader *r, ProtobufCBinaryData in, uint32_t n, const dtq_id **ret)
{
    uint32_t old_n = 0;

    if (!ids(r, "old_ids", in, ret, &old_n))
        return false;
    return old_n == 0 || old_n == n || codec_refuse(r, "old_ids has %u entries, not %u", old_n, n);
}

bool codec_read_operate_reply(struct codec_reader *r, const void *from, struct dtqi_msg *msg)
{
    READ(operate_reply, OperateReply);

    out->request = in->request;
    out->reason = (enum dtqi_refusal)in->reason;
    out->count = in->count;
    return in_enum(r, "reason", in->reason, DTQI_BAD_PEER) &&
           text(r, "text", in->text, &out->text) && ids(r, "ids", in->ids, &out->ids, &out->n) &&
           old_ids(r, in->old_ids, out->n, &out->old_ids) &&
           optional_id(r, "next", in->next, &out->has_next, &out->next);
}
