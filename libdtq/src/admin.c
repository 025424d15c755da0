#include "admin_parts.h"

#include "codec.h"

#define LIMIT_DEFAULT 1000u
#define CURSOR_BYTES_MAX 48u

const dtq_filter admin_all;

/* ---------------------------------------------------------------- asking */

/* An answer of the ventilator of the expected type that is no refusal. */
const struct dtqi_query_reply *admin_query(struct dtq_client *c, struct dtqi_msg *msg,
                                           uint64_t end_ms, dtq_err *ret_err)
{
    const struct dtqi_msg *answer = shell_ask(c, CLIENT_VENTILATOR, msg, end_ms, ret_err);
    const struct dtqi_query_reply *reply;

    if (answer == NULL)
        return NULL;
    reply = &answer->query_reply;
    if (answer->type != DTQI_QUERY_REPLY) {
        *ret_err = shell_fail(c, DTQ_EPROTO, "the ventilator answered something else");
    } else if (reply->reason == DTQI_BUSY) {
        *ret_err = shell_fail_with(c, DTQ_EBUSY, reply->text);
    } else if (reply->reason != DTQI_REFUSAL_NONE) {
        *ret_err = shell_fail_with(c, DTQ_EREFUSED, reply->text);
    } else {
        return reply;
    }
    client_question_done(c->core);
    return NULL;
}

static const struct dtqi_results_reply *query_sink(struct dtq_client *c, uint32_t peer,
                                                   struct dtqi_msg *msg, uint64_t end_ms,
                                                   dtq_err *ret_err)
{
    const struct dtqi_msg *answer = shell_ask(c, peer, msg, end_ms, ret_err);

    if (answer == NULL)
        return NULL;
    if (answer->type == DTQI_RESULTS_REPLY)
        return &answer->results_reply;
    *ret_err = shell_fail(c, DTQ_EPROTO, "the sink answered something else");
    client_question_done(c->core);
    return NULL;
}

dtq_err admin_no_memory(struct dtq_client *c)
{
    return shell_fail(c, DTQ_ENOMEM, "%s", dtq_strerror(DTQ_ENOMEM));
}

/* Room for a list that grows by pages: what was there is copied. */
static void *grow(struct dtq_client *c, const void *at, size_t n, size_t more, size_t bytes_each)
{
    void *grown = shell_lend(c, (n + more + 1) * bytes_each);

    if (grown != NULL && n != 0)
        memcpy(grown, at, n * bytes_each);
    return grown;
}

/* ---------------------------------------------------------------- tasks */

/* NULL: no memory. */
static const dtq_attempt_info *read_attempts(struct dtq_client *c,
                                             const struct dtqi_attempt_info *in, uint32_t n)
{
    dtq_attempt_info *attempts = shell_lend(c, (n + 1) * sizeof *attempts);

    for (uint32_t i = 0; attempts != NULL && i < n; i++) {
        const struct dtqi_attempt_info *a = &in[i];

        attempts[i] = (dtq_attempt_info){
            .attempt = a->attempt,
            .worker = shell_lend_text(c, a->worker),
            .started_wall_ms = a->started_wall_ms,
            .duration_us = a->duration_us,
            .reason = a->reason,
            .code = a->code,
            .text = shell_lend_text(c, a->text),
        };
        if (attempts[i].worker == NULL || attempts[i].text == NULL)
            return NULL;
    }
    return attempts;
}

static bool read_task(struct dtq_client *c, const struct dtqi_task_info *in, dtq_task_info *out)
{
    *out = (dtq_task_info){
        .id = in->id,
        .state = in->state,
        .name = shell_lend_text(c, in->spec.name),
        .queue = shell_lend_text(c, in->spec.queue),
        .priority = in->spec.priority,
        .retries = in->spec.retries,
        .time_limit_ms = in->spec.time_limit_ms,
        .expires_ms = in->spec.expires_ms,
        .payload_bytes = in->payload_bytes,
        .attempt = in->attempt,
        .failures = in->failures,
        .crashes = in->crashes,
        .worker = shell_lend_text(c, in->worker),
        .due_wall_ms = in->due_wall_ms,
        .why = shell_lend_text(c, in->why),
        .moved_from = shell_lend_text(c, in->spec.moved_from),
        .cancelling = in->cancelling,
        .durable = in->durable,
        .before = in->before,
        .before_is_least = in->before_is_least,
        .group = shell_lend_text(c, in->spec.group),
        .group_ordered = in->spec.group_ordered,
        .attempts = read_attempts(c, in->attempts, in->attempts_n),
        .attempts_n = in->attempts_n,
        .cron = shell_lend_text(c, in->spec.cron),
    };
    if (in->spec.requeued_from.len == sizeof(dtq_id)) {
        dtq_id *from = shell_lend(c, sizeof *from);

        if (from == NULL)
            return false;
        memcpy(from, in->spec.requeued_from.at, sizeof *from);
        out->requeued_from = from;
    }
    return out->name != NULL && out->queue != NULL && out->worker != NULL && out->why != NULL &&
           out->moved_from != NULL && out->group != NULL && out->attempts != NULL &&
           out->cron != NULL;
}

static dtq_err check_filter(struct dtq_client *c, const dtq_filter *f)
{
    if (f->prefix_bits > 128)
        return shell_fail(c, DTQ_EINVAL, "a prefix of %u bits", f->prefix_bits);
    if (f->queue != NULL && !dtqi_is_name(dtqi_str(f->queue)))
        return shell_fail(c, DTQ_EINVAL, "not the name of a queue");
    if (f->name != NULL && !dtqi_is_name(dtqi_str(f->name)))
        return shell_fail(c, DTQ_EINVAL, "not the name of a task");
    return DTQ_OK;
}

static uint32_t limit_of(const dtq_filter *f)
{
    if (f->limit == 0)
        return LIMIT_DEFAULT;
    return f->limit < DTQI_BATCH_ENTRIES_MAX ? f->limit : DTQI_BATCH_ENTRIES_MAX;
}

/* The ventilator's own cursor, kept as it is: its length, then its bytes. */
static struct dtqi_slice cursor_of_tasks(const dtq_cursor *cursor)
{
    uint64_t len = cursor->opaque[0] < CURSOR_BYTES_MAX ? cursor->opaque[0] : CURSOR_BYTES_MAX;

    return (struct dtqi_slice){&cursor->opaque[1], (uint32_t)len};
}

static bool keep_cursor(dtq_cursor *cursor, struct dtqi_slice next)
{
    if (next.len > CURSOR_BYTES_MAX)
        return false;
    *cursor = (dtq_cursor){{next.len}};
    if (next.len != 0)
        memcpy(&cursor->opaque[1], next.at, next.len);
    return true;
}

dtq_err admin_read_tasks(struct dtq_client *c, const struct dtqi_query_reply *reply,
                         dtq_task_info **ret_tasks)
{
    dtq_task_info *tasks = shell_lend(c, (reply->tasks_n + 1) * sizeof *tasks);

    for (uint32_t i = 0; tasks != NULL && i < reply->tasks_n; i++)
        if (!read_task(c, &reply->tasks[i], &tasks[i]))
            tasks = NULL;
    *ret_tasks = tasks;
    return tasks != NULL ? DTQ_OK : admin_no_memory(c);
}

static dtq_err list(struct dtq_client *c, const dtq_filter *f, dtq_cursor *cursor,
                    struct dtqi_query query, uint64_t end_ms, admin_take *take, void *ret_list)
{
    dtq_cursor given = *cursor;
    struct dtqi_msg msg = {.type = DTQI_QUERY, .query = query};
    const struct dtqi_query_reply *reply;
    dtq_err err;

    msg.query.prefix = f->prefix;
    msg.query.prefix_bits = f->prefix_bits;
    msg.query.queue = dtqi_str(f->queue != NULL ? f->queue : "");
    msg.query.limit = limit_of(f);
    msg.query.after = cursor_of_tasks(&given);
    reply = admin_query(c, &msg, end_ms, &err);
    if (reply == NULL)
        return err;
    err = take(c, reply, ret_list);
    if (err == DTQ_OK && !keep_cursor(cursor, reply->next))
        err = shell_fail(c, DTQ_EPROTO, "a cursor of %u bytes", reply->next.len);
    client_question_done(c->core);
    return err;
}

dtq_err admin_list(dtq_client *client, const dtq_filter *filter, dtq_cursor *cursor,
                   struct dtqi_query query, int32_t timeout_ms, admin_take *take, void *ret_list)
{
    dtq_cursor start = {{0}};
    dtq_err err;

    if (client == NULL || ret_list == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = check_filter(client, filter);
    if (err == DTQ_OK)
        err = list(client, filter, cursor != NULL ? cursor : &start, query, io_end_ms(timeout_ms),
                   take, ret_list);
    io_settle(client);
    return err;
}

static dtq_err take_tasks(struct dtq_client *c, const struct dtqi_query_reply *reply,
                          void *ret_list)
{
    dtq_task_info *tasks;
    dtq_err err = admin_read_tasks(c, reply, &tasks);

    if (err == DTQ_OK)
        *(dtq_task_list *)ret_list = (dtq_task_list){tasks, reply->tasks_n, reply->next.len != 0};
    return err;
}

dtq_err dtq_tasks(dtq_client *client, const dtq_filter *filter, dtq_cursor *cursor,
                  int32_t timeout_ms, dtq_task_list *ret_list)
{
    const dtq_filter *f = filter != NULL ? filter : &admin_all;

    return admin_list(client, f, cursor,
                      (struct dtqi_query){.kind = DTQI_QUERY_TASKS, .state = (uint32_t)f->state},
                      timeout_ms, take_tasks, ret_list);
}

/* Open tasks that begin with a prefix. The reply is borrowed until client_question_done(). */
static const struct dtqi_query_reply *query_task(struct dtq_client *c, struct dtqi_msg *msg,
                                                 const dtq_id *prefix, uint32_t bits, bool explain,
                                                 uint64_t end_ms, dtq_err *ret_err)
{
    *msg = (struct dtqi_msg){.type = DTQI_QUERY,
                             .query = {.kind = DTQI_QUERY_TASK,
                                       .prefix = *prefix,
                                       .prefix_bits = bits,
                                       .limit = 2,
                                       .explain = explain}};
    return admin_query(c, msg, end_ms, ret_err);
}

static dtq_err show(struct dtq_client *c, const dtq_id *id, bool explain, uint64_t end_ms,
                    dtq_task_info *ret)
{
    const struct dtqi_query_reply *reply;
    struct dtqi_msg msg;
    dtq_task_info task;
    dtq_err err;

    reply = query_task(c, &msg, id, 128, explain, end_ms, &err);
    if (reply == NULL)
        return err;
    if (reply->tasks_n == 0)
        err = shell_fail(c, DTQ_ENOTFOUND, "the ventilator does not have this task");
    else if (!read_task(c, &reply->tasks[0], &task))
        err = admin_no_memory(c);
    else
        *ret = task;
    client_question_done(c->core);
    return err;
}

static dtq_err ask_task(dtq_client *client, const dtq_id *id, bool explain, int32_t timeout_ms,
                        dtq_task_info *ret_task)
{
    dtq_err err;

    if (client == NULL || id == NULL || ret_task == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = show(client, id, explain, io_end_ms(timeout_ms), ret_task);
    io_settle(client);
    return err;
}

dtq_err dtq_show(dtq_client *client, const dtq_id *id, int32_t timeout_ms, dtq_task_info *ret_task)
{
    return ask_task(client, id, false, timeout_ms, ret_task);
}

dtq_err dtq_explain(dtq_client *client, const dtq_id *id, int32_t timeout_ms,
                    dtq_task_info *ret_task)
{
    return ask_task(client, id, true, timeout_ms, ret_task);
}

static dtq_err list_attempts(struct dtq_client *c, const dtq_id *id, uint64_t end_ms,
                             dtq_attempt_list *ret)
{
    struct dtqi_msg msg = {
        .type = DTQI_QUERY,
        .query = {.kind = DTQI_QUERY_ATTEMPTS, .prefix = *id, .prefix_bits = 128}};
    dtq_err err;
    const struct dtqi_query_reply *reply = admin_query(c, &msg, end_ms, &err);
    const dtq_attempt_info *attempts;

    if (reply == NULL)
        return err;
    attempts = read_attempts(c, reply->attempts, reply->attempts_n);
    if (attempts != NULL)
        *ret = (dtq_attempt_list){attempts, reply->attempts_n};
    client_question_done(c->core);
    return attempts != NULL ? DTQ_OK : admin_no_memory(c);
}

dtq_err dtq_attempts(dtq_client *client, const dtq_id *id, int32_t timeout_ms,
                     dtq_attempt_list *ret_list)
{
    dtq_err err;

    if (client == NULL || id == NULL || ret_list == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = list_attempts(client, id, io_end_ms(timeout_ms), ret_list);
    io_settle(client);
    return err;
}

/* ---------------------------------------------------------------- outcomes */

static struct client_result row(const struct dtqi_results *m, uint32_t i)
{
    struct client_result r;

    client_read_results(m, i, &r);
    return r;
}

static dtq_err read_outcomes(struct dtq_client *c, const struct dtqi_results *m,
                             dtq_result **ret_results)
{
    dtq_result *results = shell_lend(c, (m->n + 1) * sizeof *results);

    if (results == NULL)
        return admin_no_memory(c);
    for (uint32_t i = 0; i < m->n; i++) {
        struct client_result r = row(m, i);
        dtq_err err = shell_lend_result(c, &r, &results[i]);

        if (err != DTQ_OK)
            return err;
        results[i].index = i;
    }
    *ret_results = results;
    return DTQ_OK;
}

/* Sinks are gone through in the order of their stores, whichever there are when a page is asked
 * for. */
struct place {
    uint64_t begun; /* `sink` is set */
    uint64_t has_after;
    dtqi_uid sink;
    dtq_id after;
};

static struct place place_of(const dtq_cursor *cursor)
{
    struct place at;

    _Static_assert(sizeof at <= sizeof *cursor, "a cursor holds a place");
    memcpy(&at, cursor, sizeof at);
    return at;
}

static void keep_place(dtq_cursor *cursor, const struct place *at)
{
    *cursor = (dtq_cursor){{0}};
    memcpy(cursor, at, sizeof *at);
}

/* The sink that is at `at`, or else the next one; 0: there is none. */
static uint32_t sink_at(const struct dtq_client *c, const struct place *at, bool is_past)
{
    uint32_t peers[DTQI_SINKS_MAX];
    uint32_t n = client_sinks(c->core, peers);
    uint32_t best = 0;

    for (uint32_t i = 0; i < n; i++) {
        const dtqi_uid *store = client_sink_store(c->core, peers[i]);
        int order = at->begun != 0 ? memcmp(store->bytes, at->sink.bytes, sizeof store->bytes) : 1;

        if (order < 0 || (order == 0 && is_past))
            continue;
        if (best == 0 ||
            memcmp(store->bytes, client_sink_store(c->core, best)->bytes, sizeof store->bytes) < 0)
            best = peers[i];
    }
    return best;
}

static struct dtqi_msg outcome_query(const dtq_filter *f, const struct place *at)
{
    return (struct dtqi_msg){.type = DTQI_RESULTS_QUERY,
                             .results_query = {.has_after = at->has_after != 0,
                                               .after = at->after,
                                               .limit = limit_of(f),
                                               .state = (uint32_t)f->state,
                                               .queue = dtqi_str(f->queue != NULL ? f->queue : ""),
                                               .name = dtqi_str(f->name != NULL ? f->name : ""),
                                               .prefix = f->prefix,
                                               .prefix_bits = f->prefix_bits,
                                               .bodies = f->bodies != 0,
                                               .newest_first = f->newest_first != 0}};
}

/* Behind the page that a sink answered: further on there, or at the next sink. false: that was all.
 */
static bool advance(const struct dtq_client *c, const struct dtqi_results_reply *reply,
                    struct place *at)
{
    uint32_t next;

    at->has_after = reply->has_next;
    at->after = reply->next;
    if (reply->has_next)
        return true;
    next = sink_at(c, at, true);
    if (next != 0)
        *at = (struct place){.begun = 1, .sink = *client_sink_store(c->core, next)};
    return next != 0;
}

static dtq_err list_outcomes(struct dtq_client *c, const dtq_filter *f, dtq_cursor *cursor,
                             uint64_t end_ms, dtq_outcome_list *ret)
{
    struct place at = place_of(cursor);
    uint32_t peer = sink_at(c, &at, false);
    const struct dtqi_results_reply *reply;
    dtq_outcome_list list = {0};
    dtq_result *results = NULL;
    struct dtqi_msg msg;
    dtq_err err;

    *ret = list;
    if (peer == 0)
        return DTQ_OK; /* there is no sink, or the last one has left meanwhile */
    if (at.begun == 0 || !dtqi_uid_eq(&at.sink, client_sink_store(c->core, peer)))
        at = (struct place){.begun = 1, .sink = *client_sink_store(c->core, peer)};
    msg = outcome_query(f, &at);
    reply = query_sink(c, peer, &msg, end_ms, &err);
    if (reply == NULL)
        return err;
    err = read_outcomes(c, &reply->results, &results);
    if (err == DTQ_OK) {
        list = (dtq_outcome_list){results, reply->results.n, 0, reply->held, reply->refused};
        list.more = advance(c, reply, &at);
        keep_place(cursor, &at);
        *ret = list;
    }
    client_question_done(c->core);
    return err;
}

dtq_err dtq_outcomes(dtq_client *client, const dtq_filter *filter, dtq_cursor *cursor,
                     int32_t timeout_ms, dtq_outcome_list *ret_list)
{
    const dtq_filter *f = filter != NULL ? filter : &admin_all;
    uint64_t end_ms = io_end_ms(timeout_ms);
    dtq_cursor start = {{0}};
    dtq_err err;

    if (client == NULL || ret_list == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = check_filter(client, f);
    if (err == DTQ_OK)
        err = shell_wait_welcome(client, end_ms);
    if (err == DTQ_OK)
        err = list_outcomes(client, f, cursor != NULL ? cursor : &start, end_ms, ret_list);
    io_settle(client);
    return err;
}

/* ---------------------------------------------------------------- prefixes */

struct found {
    dtq_id id;
    bool any;
    bool several;
};

static void find(struct found *f, const dtq_id *id)
{
    if (f->any && !dtqi_id_eq(&f->id, id))
        f->several = true;
    f->any = true;
    f->id = *id;
}

/* `kind`: open tasks, or dead letters, which may outlive what the sinks remember. */
static dtq_err find_at_ventilator(struct dtq_client *c, enum dtqi_query_kind kind,
                                  const dtq_id *prefix, uint32_t bits, uint64_t end_ms,
                                  struct found *found)
{
    struct dtqi_msg msg = {
        .type = DTQI_QUERY,
        .query = {.kind = kind, .prefix = *prefix, .prefix_bits = bits, .limit = 2}};
    const struct dtqi_query_reply *reply;
    dtq_err err;

    reply = admin_query(c, &msg, end_ms, &err);
    if (reply == NULL)
        return err;
    for (uint32_t i = 0; i < reply->tasks_n; i++)
        find(found, &reply->tasks[i].id);
    client_question_done(c->core);
    return DTQ_OK;
}

static dtq_err find_outcomes(struct dtq_client *c, uint32_t peer, const dtq_id *prefix,
                             uint32_t bits, uint64_t end_ms, struct found *found)
{
    struct dtqi_msg msg = {.type = DTQI_RESULTS_QUERY,
                           .results_query = {.limit = 2, .prefix = *prefix, .prefix_bits = bits}};
    const struct dtqi_results_reply *reply;
    dtq_err err;

    reply = query_sink(c, peer, &msg, end_ms, &err);
    if (reply == NULL)
        return err;
    for (uint32_t i = 0; i < reply->results.n; i++)
        find(found, &reply->results.ids[i]);
    client_question_done(c->core);
    return DTQ_OK;
}

/* The ventilator is asked first: a task that is settled meanwhile is found at its sink. */
static dtq_err resolve(struct dtq_client *c, const dtq_id *prefix, uint32_t bits, uint64_t end_ms,
                       struct found *found)
{
    uint32_t peers[DTQI_SINKS_MAX];
    dtq_err err = find_at_ventilator(c, DTQI_QUERY_TASK, prefix, bits, end_ms, found);
    uint32_t n = client_sinks(c->core, peers);

    for (uint32_t i = 0; i < n && err == DTQ_OK && !found->several; i++)
        err = find_outcomes(c, peers[i], prefix, bits, end_ms, found);
    if (err == DTQ_OK && !found->any)
        err = find_at_ventilator(c, DTQI_QUERY_DEAD, prefix, bits, end_ms, found);
    return err;
}

dtq_err dtq_resolve(dtq_client *client, const dtq_id *prefix, uint32_t prefix_bits,
                    int32_t timeout_ms, dtq_id *ret_id)
{
    struct found found = {.any = false};
    dtq_err err;

    if (client == NULL || prefix == NULL || ret_id == NULL || prefix_bits == 0 || prefix_bits > 128)
        return DTQ_EINVAL;
    shell_enter(client);
    err = resolve(client, prefix, prefix_bits, io_end_ms(timeout_ms), &found);
    io_settle(client);
    if (err != DTQ_OK)
        return err;
    if (found.several)
        return shell_fail(client, DTQ_ECONFLICT, "several tasks begin like this");
    if (!found.any)
        return shell_fail(client, DTQ_ENOTFOUND, "no task begins like this");
    *ret_id = found.id;
    return DTQ_OK;
}

/* ---------------------------------------------------------------- queues, workers, status */

static bool read_queue(struct dtq_client *c, const struct dtqi_queue_info *in, dtq_queue_info *out)
{
    *out = (dtq_queue_info){
        .name = shell_lend_text(c, in->name),
        .ready = in->ready,
        .scheduled = in->scheduled,
        .dispatched = in->dispatched,
        .bytes = in->bytes,
        .paused = in->paused,
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
    return out->name != NULL;
}

static bool read_worker(struct dtq_client *c, const struct dtqi_worker_info *in,
                        dtq_worker_info *out)
{
    const char **queues = shell_lend(c, (in->queues_n + 1) * sizeof *queues);

    if (queues == NULL)
        return false;
    *out = (dtq_worker_info){
        .name = shell_lend_text(c, in->name),
        .program = shell_lend_text(c, in->program),
        .queues = queues,
        .queues_n = in->queues_n,
        .session = in->session,
        .slots = in->slots,
        .held = in->held,
        .running = in->running,
        .credit = in->credit,
        .done = in->done,
        .failed = in->failed,
        .silent_ms = in->silent_ms,
    };
    memcpy(out->instance, in->instance.bytes, sizeof out->instance);
    for (uint32_t i = 0; i < in->queues_n; i++) {
        queues[i] = shell_lend_text(c, in->queues[i]);
        if (queues[i] == NULL)
            return false;
    }
    return out->name != NULL && out->program != NULL;
}

static bool read_sink(struct dtq_client *c, const struct dtqi_sink_info *in, dtq_sink_info *out)
{
    *out = (dtq_sink_info){
        .removed = in->removed,
        .intake = shell_lend_text(c, in->intake),
        .results = shell_lend_text(c, in->results),
        .reachable = in->reachable,
        .diverged = in->diverged,
        .full = in->full,
        .applied = in->applied,
        .waiting = in->waiting,
        .waiting_is_least = in->waiting_is_least,
        .dispatched = in->dispatched,
        .unsettled = in->unsettled,
    };
    memcpy(out->store, in->store.bytes, sizeof out->store);
    return out->intake != NULL && out->results != NULL;
}

static bool read_counter(struct dtq_client *c, const struct dtqi_counter *in, dtq_counter *out)
{
    *out = (dtq_counter){shell_lend_text(c, in->name), in->value};
    return out->name != NULL;
}

/* Lists of a reply are added to what `s` has already. */
#define ADD_LIST(kind, type, read)                                                     \
    static bool add_##kind(struct dtq_client *c, const struct dtqi_query_reply *reply, \
                           dtq_status *s)                                              \
    {                                                                                  \
        type *at = grow(c, s->kind, s->kind##_n, reply->kind##_n, sizeof *at);         \
                                                                                       \
        if (at == NULL)                                                                \
            return false;                                                              \
        for (uint32_t i = 0; i < reply->kind##_n; i++)                                 \
            if (!read(c, &reply->kind[i], &at[s->kind##_n + i]))                       \
                return false;                                                          \
        s->kind = at;                                                                  \
        s->kind##_n += reply->kind##_n;                                                \
        return true;                                                                   \
    }

ADD_LIST(queues, dtq_queue_info, read_queue)
ADD_LIST(workers, dtq_worker_info, read_worker)
ADD_LIST(sinks, dtq_sink_info, read_sink)
ADD_LIST(counters, dtq_counter, read_counter)

/* Every page of an answer. */
static dtq_err query_all(struct dtq_client *c, enum dtqi_query_kind kind, uint64_t end_ms,
                         dtq_status *ret)
{
    dtq_cursor cursor = {{0}};
    dtq_status s = {0};
    dtq_err err;

    do {
        struct dtqi_msg msg = {
            .type = DTQI_QUERY,
            .query = {.kind = kind, .limit = LIMIT_DEFAULT, .after = cursor_of_tasks(&cursor)}};
        const struct dtqi_query_reply *reply = admin_query(c, &msg, end_ms, &err);

        if (reply == NULL)
            return err;
        if (!add_queues(c, reply, &s) || !add_workers(c, reply, &s) || !add_sinks(c, reply, &s) ||
            !add_counters(c, reply, &s))
            err = admin_no_memory(c);
        else if (!keep_cursor(&cursor, reply->next))
            err = shell_fail(c, DTQ_EPROTO, "a cursor of %u bytes", reply->next.len);
        client_question_done(c->core);
    } while (err == DTQ_OK && cursor.opaque[0] != 0);
    if (err == DTQ_OK)
        *ret = s;
    return err;
}

static dtq_err ask_status(struct dtq_client *c, enum dtqi_query_kind kind, int32_t timeout_ms,
                          dtq_status *ret)
{
    dtq_err err;

    shell_enter(c);
    err = query_all(c, kind, io_end_ms(timeout_ms), ret);
    io_settle(c);
    return err;
}

dtq_err dtq_status_get(dtq_client *client, int32_t timeout_ms, dtq_status *ret_status)
{
    if (client == NULL || ret_status == NULL)
        return DTQ_EINVAL;
    return ask_status(client, DTQI_QUERY_STATUS, timeout_ms, ret_status);
}

dtq_err dtq_queues(dtq_client *client, int32_t timeout_ms, const dtq_queue_info **ret_queues,
                   size_t *ret_n)
{
    dtq_status s = {0};
    dtq_err err;

    if (client == NULL || ret_queues == NULL || ret_n == NULL)
        return DTQ_EINVAL;
    err = ask_status(client, DTQI_QUERY_QUEUES, timeout_ms, &s);
    if (err != DTQ_OK)
        return err;
    *ret_queues = s.queues;
    *ret_n = s.queues_n;
    return DTQ_OK;
}

dtq_err dtq_workers(dtq_client *client, int32_t timeout_ms, const dtq_worker_info **ret_workers,
                    size_t *ret_n)
{
    dtq_status s = {0};
    dtq_err err;

    if (client == NULL || ret_workers == NULL || ret_n == NULL)
        return DTQ_EINVAL;
    err = ask_status(client, DTQI_QUERY_WORKERS, timeout_ms, &s);
    if (err != DTQ_OK)
        return err;
    *ret_workers = s.workers;
    *ret_n = s.workers_n;
    return DTQ_OK;
}

dtq_err dtq_sinks(dtq_client *client, int32_t timeout_ms, const dtq_sink_info **ret_sinks,
                  size_t *ret_n)
{
    dtq_status s = {0};
    dtq_err err;

    if (client == NULL || ret_sinks == NULL || ret_n == NULL)
        return DTQ_EINVAL;
    err = ask_status(client, DTQI_QUERY_SINKS, timeout_ms, &s);
    if (err != DTQ_OK)
        return err;
    *ret_sinks = s.sinks;
    *ret_n = s.sinks_n;
    return DTQ_OK;
}
