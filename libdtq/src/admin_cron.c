#include "admin_parts.h"

#define MISSED_MAX_DEFAULT 100u
#define SINK_AGAIN_MS 100u /* a run waits for a sink; asked so often */

void dtq_cron_init(dtq_cron *cron, const char *name, const dtq_task *task)
{
    *cron = (dtq_cron){
        .size = sizeof *cron, .name = name, .task = task, .missed_max = MISSED_MAX_DEFAULT};
}

/* ---------------------------------------------------------------- orders */

static dtq_err refused(struct dtq_client *c, const struct dtqi_operate_reply *reply)
{
    switch (reply->reason) {
    case DTQI_TOO_LARGE: return shell_fail_with(c, DTQ_ETOOBIG, reply->text);
    case DTQI_NO_SINK: return shell_fail_with(c, DTQ_EAGAIN, reply->text);
    case DTQI_NO_SPACE:
    case DTQI_BUSY: return shell_fail_with(c, DTQ_EBUSY, reply->text);
    default: return shell_fail_with(c, DTQ_EREFUSED, reply->text);
    }
}

/* One order, until it is committed. `ret_id` may be NULL. */
static dtq_err operate(struct dtq_client *c, const char *name, struct dtqi_operate order,
                       uint64_t end_ms, dtq_id *ret_id)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE, .operate = order};
    const struct dtqi_msg *answer;
    dtq_err err;

    msg.operate.target = dtqi_str(name);
    if (!dtqi_is_name(msg.operate.target))
        return shell_fail(c, DTQ_EREFUSED, "not the name of a cron entry");
    answer = shell_ask(c, CLIENT_VENTILATOR, &msg, end_ms, &err);
    if (answer == NULL)
        return err;
    if (answer->type != DTQI_OPERATE_REPLY)
        err = shell_fail(c, DTQ_EPROTO, "the ventilator answered something else");
    else if (answer->operate_reply.reason != DTQI_REFUSAL_NONE)
        err = refused(c, &answer->operate_reply);
    else if (ret_id != NULL && answer->operate_reply.n == 1)
        *ret_id = answer->operate_reply.ids[0];
    client_question_done(c->core);
    return err;
}

static dtq_err order(struct dtq_client *c, const char *name, enum dtqi_operation operation,
                     int32_t timeout_ms)
{
    dtq_err err;

    if (c == NULL || name == NULL)
        return DTQ_EINVAL;
    shell_enter(c);
    err = operate(c, name, (struct dtqi_operate){.operation = operation}, io_end_ms(timeout_ms),
                  NULL);
    io_settle(c);
    return err;
}

dtq_err dtq_cron_remove(dtq_client *client, const char *name, int32_t timeout_ms)
{
    return order(client, name, DTQI_CRON_REMOVE, timeout_ms);
}

dtq_err dtq_cron_pause(dtq_client *client, const char *name, int32_t timeout_ms)
{
    return order(client, name, DTQI_CRON_PAUSE, timeout_ms);
}

dtq_err dtq_cron_resume(dtq_client *client, const char *name, int32_t timeout_ms)
{
    return order(client, name, DTQI_CRON_RESUME, timeout_ms);
}

/* As a submit does, it waits for a sink. */
static dtq_err run(struct dtq_client *c, const char *name, const dtq_id *id, uint64_t end_ms,
                   dtq_id *ret_id)
{
    struct dtqi_operate order = {.operation = DTQI_CRON_RUN, .ids = id, .n = 1};
    dtq_err err = operate(c, name, order, end_ms, ret_id);

    while (err == DTQ_EAGAIN) {
        uint64_t again_ms = io_time().now_ms + SINK_AGAIN_MS;

        if (again_ms >= end_ms)
            return shell_fail(c, DTQ_ETIMEOUT, "no sink is registered");
        do
            err = io_pump(c, again_ms);
        while (err == DTQ_OK && io_time().now_ms < again_ms);
        if (err == DTQ_OK)
            err = operate(c, name, order, end_ms, ret_id);
    }
    return err;
}

/* The id is made here: an order that is repeated, since its answer was lost, makes no second run.
 */
dtq_err dtq_cron_run(dtq_client *client, const char *name, int32_t timeout_ms, dtq_id *ret_id)
{
    uint64_t end_ms = io_end_ms(timeout_ms);
    dtq_id id;
    dtq_err err;

    if (client == NULL || name == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = shell_wait_welcome(client, end_ms);
    if (err == DTQ_OK) {
        id = client_new_id(client->core);
        err = run(client, name, &id, end_ms, ret_id);
    }
    io_settle(client);
    return err;
}

/* ---------------------------------------------------------------- add */

static dtq_err check(struct dtq_client *c, const dtq_cron *cron)
{
    if (cron->size != sizeof *cron)
        return shell_fail(c, DTQ_EINVAL, "the entry was not initialised by dtq_cron_init()");
    if (cron->name == NULL || cron->task == NULL)
        return shell_fail(c, DTQ_EINVAL, "a cron entry needs a name and a task");
    if ((cron->expression == NULL) == (cron->every_ms == 0))
        return shell_fail(c, DTQ_EINVAL, "a cron entry has an expression or an interval");
    if (cron->every_ms > DTQI_DURATION_MS_MAX)
        return shell_fail(c, DTQ_EINVAL, "the interval is too long");
    if (cron->missed < DTQ_MISSED_ONCE || cron->missed > DTQ_MISSED_ALL)
        return shell_fail(c, DTQ_EINVAL, "missed: no such value");
    if (cron->expression != NULL && strlen(cron->expression) > DTQI_CRON_TEXT_BYTES_MAX)
        return shell_fail(c, DTQ_EINVAL, "the expression is too long");
    if (cron->zone != NULL && strlen(cron->zone) > DTQI_CRON_TEXT_BYTES_MAX)
        return shell_fail(c, DTQ_EINVAL, "the zone is too long");
    return DTQ_OK;
}

static dtq_err check_task(struct dtq_client *c, const struct client_task *task)
{
    if (task->again != NULL || task->not_before_wall_ms != 0)
        return shell_fail(c, DTQ_EINVAL,
                          "the task of a cron entry has no id and no time of its own");
    if (task->payload.len > DTQI_CRON_BYTES_MAX)
        return shell_fail(c, DTQ_ETOOBIG, "the payload of a cron entry has %u bytes, more than %u",
                          task->payload.len, DTQI_CRON_BYTES_MAX);
    return DTQ_OK;
}

static dtq_err add(struct dtq_client *c, const dtq_cron *cron, uint64_t end_ms)
{
    struct client_task task;
    struct dtqi_cron_entry entry;
    dtq_err err = check(c, cron);

    if (err == DTQ_OK)
        err = shell_convert_task(c, cron->task, &task);
    if (err == DTQ_OK)
        err = check_task(c, &task);
    if (err != DTQ_OK)
        return err;
    entry = (struct dtqi_cron_entry){
        .expression = dtqi_str(cron->expression != NULL ? cron->expression : ""),
        .every_ms = cron->every_ms,
        .zone = dtqi_str(cron->zone != NULL ? cron->zone : ""),
        .missed = (uint32_t)cron->missed,
        .missed_max = cron->missed == DTQ_MISSED_ALL ? cron->missed_max : 0,
        .skip_overlap = cron->skip_overlap != 0,
        .delay_ms = task.delay_ms,
        .spec.raw = task.spec,
        .payload = task.payload,
        .replace = cron->replace != 0,
    };
    return operate(c, cron->name, (struct dtqi_operate){.operation = DTQI_CRON_ADD, .cron = &entry},
                   end_ms, NULL);
}

dtq_err dtq_cron_add(dtq_client *client, const dtq_cron *cron, int32_t timeout_ms)
{
    dtq_err err;

    if (client == NULL || cron == NULL)
        return DTQ_EINVAL;
    shell_enter(client);
    err = add(client, cron, io_end_ms(timeout_ms));
    io_settle(client);
    return err;
}

/* ---------------------------------------------------------------- lists */

static const dtq_task *read_task(struct dtq_client *c, const struct dtqi_cron_info *in)
{
    const struct dtqi_cron_entry *e = &in->entry;
    const struct dtqi_spec *spec = &e->spec;
    dtq_task *t = shell_lend(c, sizeof *t);

    if (t == NULL)
        return NULL;
    dtq_task_init(t, shell_lend_text(c, spec->name), NULL, 0);
    t->queue = shell_lend_text(c, spec->queue);
    t->priority = spec->priority;
    t->retries = spec->retries;
    t->backoff_min_ms = spec->backoff_min_ms;
    t->backoff_max_ms = spec->backoff_max_ms;
    t->time_limit_ms = spec->time_limit_ms;
    t->crash_limit = spec->crash_limit;
    t->delay_ms = e->delay_ms;
    t->expires_ms = spec->expires_ms;
    t->result_ttl_ms = spec->result_ttl_ms;
    t->no_result = spec->no_result;
    t->retry_on = shell_lend_text(c, spec->retry_on);
    t->no_retry_on = shell_lend_text(c, spec->no_retry_on);
    t->group = shell_lend_text(c, spec->group);
    t->group_ordered = spec->group_ordered;
    if (e->payload.len == in->payload_bytes) { /* else it was not asked for */
        t->payload = shell_lend_text(c, (struct dtqi_str){e->payload.at, e->payload.len});
        t->payload_bytes = e->payload.len;
        if (t->payload == NULL)
            return NULL;
    }
    return t->name != NULL && t->queue != NULL && t->retry_on != NULL && t->no_retry_on != NULL &&
                   t->group != NULL
               ? t
               : NULL;
}

static bool read_entry(struct dtq_client *c, const struct dtqi_cron_info *in, dtq_cron_info *out)
{
    const struct dtqi_cron_entry *e = &in->entry;

    *out = (dtq_cron_info){
        .name = shell_lend_text(c, in->name),
        .expression = shell_lend_text(c, e->expression),
        .zone = shell_lend_text(c, e->zone),
        .every_ms = e->every_ms,
        .missed = (dtq_missed)e->missed,
        .missed_max = e->missed_max,
        .skip_overlap = e->skip_overlap,
        .task = read_task(c, in),
        .payload_bytes = in->payload_bytes,
        .paused = in->paused,
        .next_wall_ms = in->next_wall_ms,
        .due_wall_ms = in->due_wall_ms,
        .fired_wall_ms = in->fired_wall_ms,
        .fired = in->fired,
        .missed_n = in->missed,
        .skipped = in->skipped,
        .created_wall_ms = in->created_wall_ms,
        .why = shell_lend_text(c, in->why),
    };
    memcpy(out->last_id.bytes, in->last_id.bytes, sizeof out->last_id.bytes);
    return out->name != NULL && out->expression != NULL && out->zone != NULL && out->task != NULL &&
           out->why != NULL;
}

static dtq_err list(struct dtq_client *c, struct dtqi_query query, uint64_t end_ms,
                    dtq_cron_list *ret)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY, .query = query};
    const struct dtqi_query_reply *reply;
    dtq_cron_info *entries;
    dtq_err err;

    msg.query.kind = DTQI_QUERY_CRON;
    reply = admin_query(c, &msg, end_ms, &err);
    if (reply == NULL)
        return err;
    entries = shell_lend(c, (reply->crons_n + 1) * sizeof *entries);
    for (uint32_t i = 0; entries != NULL && i < reply->crons_n; i++)
        if (!read_entry(c, &reply->crons[i], &entries[i]))
            entries = NULL;
    if (entries != NULL)
        *ret = (dtq_cron_list){entries, reply->crons_n, reply->next.len != 0};
    else
        err = admin_no_memory(c);
    client_question_done(c->core);
    return err;
}

dtq_err dtq_crons(dtq_client *client, const char *after, int32_t timeout_ms,
                  dtq_cron_list *ret_list)
{
    struct dtqi_str name = dtqi_str(after != NULL ? after : "");
    struct dtqi_query query = {.after = {name.at, name.len}};
    dtq_err err;

    if (client == NULL || ret_list == NULL || (after != NULL && !dtqi_is_name(name)))
        return DTQ_EINVAL;
    shell_enter(client);
    err = list(client, query, io_end_ms(timeout_ms), ret_list);
    io_settle(client);
    return err;
}

dtq_err dtq_cron_show(dtq_client *client, const char *name, int32_t timeout_ms,
                      dtq_cron_info *ret_entry)
{
    struct dtqi_query query = {.cron = dtqi_str(name != NULL ? name : ""), .bodies = true};
    dtq_cron_list found = {0};
    dtq_err err;

    if (client == NULL || ret_entry == NULL || !dtqi_is_name(query.cron))
        return DTQ_EINVAL;
    shell_enter(client);
    err = list(client, query, io_end_ms(timeout_ms), &found);
    if (err == DTQ_OK && (found.n == 0 || found.entries == NULL))
        err = shell_fail(client, DTQ_ENOTFOUND, "there is no cron entry of that name");
    else if (err == DTQ_OK)
        *ret_entry = found.entries[0];
    io_settle(client);
    return err;
}
