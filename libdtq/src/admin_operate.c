/* What operators order. */
#include "client_shell.h"

static dtq_err refused(struct dtq_client *c, const struct dtqi_operate_reply *reply)
{
    return shell_fail_with(c, reply->reason == DTQI_BUSY ? DTQ_EBUSY : DTQ_EREFUSED, reply->text);
}

/* One order, until it is committed. */
static dtq_err operate(struct dtq_client *c, struct dtqi_operate *order, uint64_t end_ms,
                       uint64_t *ret_count)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE, .operate = *order};
    dtq_err err;
    const struct dtqi_msg *answer = shell_ask(c, CLIENT_VENTILATOR, &msg, end_ms, &err);

    if (answer == NULL)
        return err;
    if (answer->type != DTQI_OPERATE_REPLY)
        err = shell_fail(c, DTQ_EPROTO, "the ventilator answered something else");
    else if (answer->operate_reply.reason != DTQI_REFUSAL_NONE)
        err = refused(c, &answer->operate_reply);
    else
        *ret_count = answer->operate_reply.count;
    client_question_done(c->core);
    return err;
}

static dtq_err operate_queue(struct dtq_client *c, const char *queue, struct dtqi_operate order,
                             int32_t timeout_ms, uint64_t *ret_count)
{
    dtq_err err;

    if (c == NULL || queue == NULL)
        return DTQ_EINVAL;
    shell_enter(c);
    order.target = dtqi_str(queue);
    if (!dtqi_is_name(order.target))
        err = shell_fail(c, DTQ_EREFUSED, "not the name of a queue");
    else
        err = operate(c, &order, io_end_ms(timeout_ms), ret_count);
    io_settle(c);
    return err;
}

dtq_err dtq_queue_pause(dtq_client *client, const char *queue, int32_t timeout_ms)
{
    uint64_t count;

    return operate_queue(client, queue, (struct dtqi_operate){.operation = DTQI_QUEUE_PAUSE},
                         timeout_ms, &count);
}

dtq_err dtq_queue_resume(dtq_client *client, const char *queue, int32_t timeout_ms)
{
    uint64_t count;

    return operate_queue(client, queue, (struct dtqi_operate){.operation = DTQI_QUEUE_RESUME},
                         timeout_ms, &count);
}

dtq_err dtq_queue_purge(dtq_client *client, const char *queue, int32_t timeout_ms, uint64_t *ret_n)
{
    if (ret_n == NULL)
        return DTQ_EINVAL;
    return operate_queue(client, queue, (struct dtqi_operate){.operation = DTQI_QUEUE_PURGE},
                         timeout_ms, ret_n);
}

dtq_err dtq_queue_limit(dtq_client *client, const char *queue, uint64_t limit, int32_t timeout_ms)
{
    struct dtqi_operate order = {.operation = DTQI_QUEUE_LIMIT, .number = (double)limit};
    uint64_t count;

    return operate_queue(client, queue, order, timeout_ms, &count);
}

dtq_err dtq_queue_rate(dtq_client *client, const char *queue, uint64_t tasks, uint64_t period_ms,
                       int32_t timeout_ms)
{
    struct dtqi_operate order = {
        .operation = DTQI_QUEUE_RATE, .number = (double)tasks, .period_ms = period_ms};
    uint64_t count;

    return operate_queue(client, queue, order, timeout_ms, &count);
}

/* ---------------------------------------------------------------- sinks */

dtq_err dtq_sink_accept(dtq_client *client, const uint8_t store[16], int32_t timeout_ms,
                        uint64_t *ret_n)
{
    struct dtqi_operate order = {.operation = DTQI_SINK_ACCEPT, .n = 1};
    dtq_id id;
    dtq_err err;

    if (client == NULL || store == NULL || ret_n == NULL)
        return DTQ_EINVAL;
    memcpy(id.bytes, store, sizeof id.bytes);
    order.ids = &id;
    shell_enter(client);
    err = operate(client, &order, io_end_ms(timeout_ms), ret_n);
    io_settle(client);
    return err;
}
